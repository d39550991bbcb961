"""All randomness of a run, from one seed: a stream for each name, so that what one part draws moves no other part."""

from __future__ import annotations

import random
from collections.abc import Callable

from blake3 import blake3


class Streams:
    """Streams of one seed. The same seed and name give the same stream, whatever else was drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def material(self, name: str) -> bytes:
        """32 bytes that belong to the name."""
        return blake3(b"mycelium/sim/" + str(self.seed).encode() + b"/" + name.encode()).digest()

    def rng(self, name: str) -> random.Random:
        """A generator for the name."""
        return random.Random(self.material(name))  # noqa: S311 - repeatable is what it must be

    def source(self, name: str) -> Callable[[int], bytes]:
        """What stands for os.urandom."""
        return self.rng(name).randbytes
