"""When things happen on the chain: how far blocks are apart, when a subnet's next epoch is, when to try again.

Owns the arithmetic of epochs as the runtime does it (`run_coinbase.rs`): an epoch runs a tempo after the last one, or
in the block its owner asked for. Runtimes before `LastEpochBlock` counted by the block's number; that is expressed in
the same terms. Blocks are numbers, times seconds. Submits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mycelium.errors import UnknownToChain

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

PALLET: Final = "SubtensorModule"
"""Bittensor's own pallet."""
_BLOCK_S: Final = 12.0
"""Of the public chain, where a runtime says nothing."""
_BLOCKS_MAX: Final = 50_400
"""After so many blocks without an epoch there is one, whatever the tempo (`MAX_TEMPO`)."""


class Clock(NamedTuple):
    """The best block, and how far blocks are apart."""

    number: int
    block_s: float

    def wait_s(self, block: int) -> float:
        """Seconds until an extrinsic that is submitted then can be in that block: the next block is free now."""
        return max(0, block - self.number - 1) * self.block_s


def block_s(connection: Connection) -> float:
    """Seconds between two blocks, from the runtime's constants: 12 on the public chain, 0.25 on fast ones."""
    for pallet, name, factor in (("Aura", "SlotDuration", 1), ("Timestamp", "MinimumPeriod", 2)):
        try:
            found = int(connection.constant(pallet, name)) * factor
        except UnknownToChain:
            continue
        if found > 0:
            return found / 1000
    return _BLOCK_S


@dataclass(frozen=True, slots=True)
class Schedule:
    """A subnet's epochs, seen from the best block. tempo: blocks between two of them, 0 for none ever."""

    number: int
    tempo: int
    last_epoch: int
    pending: int
    epoch: int
    since_step: int
    reveal_epochs: int = 1

    @property
    def next_epoch(self) -> int | None:
        """The block that begins with the next epoch; None: never. It is not before the next block."""
        if not self.tempo:
            return None
        due = self.last_epoch + self.tempo
        if self.pending:
            due = min(due, self.pending)
        # Counted at the best block; the next one counts once more before it looks.
        if self.since_step + 1 > _BLOCKS_MAX:
            due = min(due, self.number + 1)
        return max(due, self.number + 1)

    @property
    def reveal_at(self) -> int | None:
        """The first block in which what is committed now can be revealed, if the tempo stays; None: never."""
        soon = self.next_epoch
        if soon is None:
            return None
        # A commit in the block in which an epoch is due belongs to the epoch that begins there.
        first = soon if soon > self.number + 1 else soon + self.tempo
        return first + (self.reveal_epochs - 1) * self.tempo

    @property
    def commit_epoch(self) -> int:
        """The epoch to which a commit in the next block belongs."""
        return self.epoch + (self.next_epoch == self.number + 1)


ITEMS: Final = (
    "Tempo",
    "LastEpochBlock",
    "PendingEpochAt",
    "SubnetEpochIndex",
    "BlocksSinceLastStep",
    "RevealPeriodEpochs",
)
"""What a schedule is made of: storage items of a netuid. Older runtimes have not all of them."""


def schedule_of(found: dict[str, Any], netuid: int, number: int) -> Schedule:
    """From the values of `ITEMS`, where those a runtime has not are missing."""
    tempo, since = int(found.get("Tempo") or 0), int(found.get("BlocksSinceLastStep") or 0)
    reveal = int(found.get("RevealPeriodEpochs") or 1)
    if "LastEpochBlock" in found:
        last, pending = int(found["LastEpochBlock"] or 0), int(found.get("PendingEpochAt") or 0)
        return Schedule(number, tempo, last, pending, int(found.get("SubnetEpochIndex") or 0), since, reveal)
    if not tempo:
        return Schedule(number, 0, 0, 0, 0, since, reveal)
    # Before: an epoch where (block + netuid + 1) divides by tempo + 1, which makes tempo + 1 blocks between two.
    epoch, passed = divmod(number + netuid + 1, tempo + 1)
    return Schedule(number, tempo + 1, number - passed, 0, epoch, min(since, passed), reveal)
