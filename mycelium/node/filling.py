"""Asks members for the batches that rows are from, where this node's log has voids: what was withheld, row by row.

The asking half of `snapshot.rows`. Comparing rows (`node.fingerprinting`) says which keys; what comes is a batch like
any other, and proves itself. Owns the count of what had been withheld.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from mycelium._core.codec import decode_batch
from mycelium.config.database import SNAPSHOT_PAGE_S, SNAPSHOT_ROWS_MAX
from mycelium.database.database import Database
from mycelium.database.engine import Outcome
from mycelium.database.vector import Held, Origin
from mycelium.errors import Equivocation, MalformedMessage, ProtocolError, StaleMessage, Unauthorised
from mycelium.node import calls
from mycelium.node.peercalls import PeerCalls
from mycelium.node.snapshotserving import ROWS, Rowed, RowsAsked

log = logging.getLogger(__name__)


class Filling:
    """One node's. misbehaved: told who answered what breaks a rule. withheld: batches that were not given before."""

    def __init__(
        self,
        database: Database,
        peercalls: PeerCalls,
        misbehaved: Callable[[bytes, ProtocolError], None],
        now_ms: Callable[[], int],
    ) -> None:
        self.withheld = 0
        self._engine = database.engine
        self._peercalls = peercalls
        self._misbehaved = misbehaved
        self._now_ms = now_ms

    async def fill(self, account: bytes, space: str, row_keys: Collection[bytes]) -> int:
        """Ask a member for the batches that rows are from, where this node's log has voids; how many were taken.

        A member that answers what breaks a rule loses its session. LinkError, StoreError.
        """
        if space not in self._engine.voided:
            return 0
        taken = 0
        try:
            async for raw, signature in self._sources_of(account, space, sorted(row_keys)):
                taken += self._filled(account, space, raw, signature)
                await asyncio.sleep(0)
        except ProtocolError as error:
            self._misbehaved(account, error)
        if taken:
            self.withheld += taken
            log.warning("%d batches that rows of %r are from had not been given", taken, space)
        return taken

    async def _sources_of(
        self, account: bytes, space: str, keys: Sequence[bytes]
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        at = 0
        while at < len(keys):
            some = list(keys[at : at + SNAPSHOT_ROWS_MAX])
            body = calls.encode(RowsAsked(space, some))
            answer = calls.decode(await self._peercalls.call(account, ROWS, body, SNAPSHOT_PAGE_S), Rowed)
            if not 0 < answer.keys <= len(some):
                raise MalformedMessage("an answer that is for no row, or for more than were asked for")
            at += answer.keys
            for one in answer.batches:
                yield one

    def _filled(self, account: bytes, space: str, raw: bytes, signature: bytes) -> bool:
        batch = decode_batch(raw)
        if batch.space != space:
            raise MalformedMessage("a batch of another space than was asked for")
        held = self._engine.vector(space).get(Origin(batch.account, batch.generation), Held(0, ()))
        covered = batch.seq_first in held
        try:
            outcome = self._engine.receive(raw, signature, self._now_ms())
        except (Equivocation, Unauthorised, StaleMessage):
            if batch.account == account:
                raise
            return False
        return covered and outcome is Outcome.APPLIED
