"""What the owner publishes and what an auditor computes anew. Both programs import it."""

from __future__ import annotations

import msgspec


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a miner in a period: how many tasks it was asked, how many it had right, and the score for it."""

    period: int
    miner: str
    asked: int
    right: int
    score: float

    @property
    def key(self) -> str:
        """Ordered by period: eight digits."""
        return f"{self.period:08}/{self.miner}"

    @property
    def recomputed(self) -> float:
        """The score that follows from the rest, by the rule of this subnet."""
        return round(self.right / self.asked, 6) if self.asked > 0 else 0.0


def read(value: object) -> Result | None:
    """A record as a result; None for what is none."""
    try:
        return msgspec.convert(value, Result)
    except msgspec.ValidationError:
        return None
