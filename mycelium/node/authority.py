"""What the database asks of the chain, answered from a membership source."""

from __future__ import annotations

from mycelium.errors import ChainOutage
from mycelium.metagraph.membership import Source


class SourceAuthority:
    """`database.validity.Authority` over `metagraph.membership.Source`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def may_write(self, epoch: int, account: bytes, space: str) -> bool | None:
        """None: the epoch is unknown as yet. The same for every space until there is a policy."""
        del space
        found = self._source.epoch_at(epoch)
        return None if found is None else found.may_write(account)

    def block_time_ms(self, block: int) -> int | None:
        return self._source.block_time_ms(block)

    def epoch_of(self, block: int) -> int:
        return block // self._source.tempo

    def anchor(self, now_ms: int) -> tuple[int, int]:
        """ChainOutage when the chain has not been heard for too long."""
        status = self._source.status(now_ms)
        if not status.writes_allowed:
            raise ChainOutage("; ".join(status.problems) or "the chain has not been heard yet")
        block = self._source.block_now(now_ms)
        return block // self._source.tempo, block
