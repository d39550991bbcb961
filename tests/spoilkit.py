"""Messages that were right and are so no longer: what tests send to whoever must take it or refuse it."""

from __future__ import annotations

import random
from collections.abc import Sequence

ABSURD = [0, 1, 0x7F, 0xFF, 2**15, 2**31 - 1, 2**31, 2**32 - 1]


def spoilt(data: bytes, rng: random.Random, others: Sequence[bytes], times: range = range(1, 6)) -> bytes:
    """A few bytes changed, cut out, doubled, made absurd, strange, or of another message.

    times: one of these numbers of changes, so that range(4) leaves some as they are.
    """
    found = bytearray(data)
    for _ in range(rng.choice(times)):
        at = rng.randrange(len(found) + 1)
        what = rng.randrange(7)
        if what == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            del found[at : at + rng.randrange(1, 30)]
        elif what == 2:
            found[at:at] = found[at : at + rng.randrange(1, 200)]
        elif what == 3:
            found[at : at + 4] = rng.choice(ABSURD).to_bytes(4, "little")
        elif what == 4:
            found[at:] = rng.choice(others)[at:]
        elif what == 5:
            found[at : at + 16] = rng.choice(others)[at : at + 16]
        else:
            found[at:at] = rng.randbytes(rng.randrange(1, 64))
    return bytes(found)
