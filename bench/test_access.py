"""What it costs to authorise a batch of 512 changes, against what it costs to receive and apply it.

A node receives batches that another signed, into RocksDB, without the sync of the disk, which would only make the
applying look larger. Authorising is timed on the same batches in the same run: under the default policy, where a writer
has the whole space, and under one that allows it a range of keys, where each key is looked at. Required: at most 5 %.

    python -m pytest bench/test_access.py -s        or        python bench/test_access.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import kit

from mycelium._core.codec import decode_batch
from mycelium.database import policy
from mycelium.database.access import Rights, check_writes
from mycelium.database.rocks import RocksStore
from mycelium.protocol.messages import Op

BATCHES = 60
CHANGES = 512
SHARE_MAX = 0.05
RANGES = policy.parse(
    b'{"version":1,"rules":['
    b'{"who":"validator","tables":"main/scores","keys":{"prefix":"0"},"may":["put"]},'
    b'{"who":"validator","tables":"main/scores","keys":{"prefix":"k/"},"may":["put","delete"]},'
    b'{"who":"validator","tables":"main/scores","keys":{"from":"x","to":"z"},"may":["put"]}]}'
)


class Ruled(kit.FixedAuthority):
    """Everybody is a validator under one policy."""

    def __init__(self, ruling):
        super().__init__()
        self._ruling = ruling
        self._rights = {}

    def rights(self, epoch, account, space):
        found = self._rights.get(account)
        if found is None:
            found = self._rights[account] = Rights(self._ruling, policy.VALIDATOR, account)
        return found


def batches():
    author = kit.engine("author")
    made = []
    for at in range(BATCHES):
        changes = [
            (kit.TABLES["scores"], int(Op.PUT), b"k/%06d/%04d" % (at, n), b"\0" + b"v" * 180)
            for n in range(CHANGES)
        ]
        applied = author.originate("main", changes, kit.NOW_MS)
        made.append((applied.batch.raw, applied.signature))
    return made


def applied_s(ruling, made, directory):
    """Median seconds of receiving one batch."""
    store = RocksStore(Path(directory))
    engine = kit.engine("reader", store, Ruled(ruling))
    times = []
    for raw, signature in made:
        began = time.perf_counter()
        engine.receive(raw, signature, kit.NOW_MS)
        times.append(time.perf_counter() - began)
    assert engine.counts["applied"] == BATCHES
    store.close()
    return statistics.median(times)


def authorised_s(ruling, made):
    """Median seconds of deciding whether one batch's account may make its changes."""
    authority, times = Ruled(ruling), []
    for raw, _ in made * 3:
        batch = decode_batch(raw)
        began = time.perf_counter()
        rights = authority.rights(batch.epoch, batch.account, batch.space)
        allowed = check_writes(batch, rights, authority)
        times.append(time.perf_counter() - began)
        assert allowed
    return statistics.median(times)


def test_authorising_costs_little_of_applying():
    made = batches()
    shares = {}
    for name, ruling in (("default", policy.DEFAULT), ("ranges of keys", RANGES)):
        with tempfile.TemporaryDirectory() as directory:
            whole = applied_s(ruling, made, directory)
        part = authorised_s(ruling, made)
        shares[name] = part / whole
        print(
            f"\n{name}: authorising {part * 1e6:.1f} us of {whole * 1e6:.0f} us, {100 * part / whole:.2f} %",
            end="",
        )
    print()
    assert max(shares.values()) <= SHARE_MAX, shares


if __name__ == "__main__":
    test_authorising_costs_little_of_applying()
