"""Which peers hold how much of this node's own log durably: what `ack=k` waits for. Sans-IO but for futures.

A peer with several nodes, told apart by generation, is one peer: it holds what one of them does.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection

from mycelium.errors import StoreClosed


class Acks:
    """Contiguous durable heads of this node's origin, by space and peer account."""

    def __init__(self) -> None:
        self._heads: defaultdict[str, dict[bytes, dict[int, int]]] = defaultdict(dict)
        self._closed = False
        self._waiting: defaultdict[str, list[tuple[int, int, asyncio.Future[None]]]] = defaultdict(list)

    def heads(self, space: str) -> dict[bytes, int]:
        """For each peer that said so, the sequence number up to which it holds everything durably."""
        return {peer: max(heads.values()) for peer, heads in self._heads[space].items()}

    def head(self, space: str, peer: bytes) -> int:
        """How far one peer has said to hold everything durably; 0 if it said nothing."""
        return max(self._heads[space].get(peer, {0: 0}).values())

    def keep(self, peer: bytes, generations: Collection[int]) -> None:
        """These are the nodes that it has now; what others of its said counts no more."""
        for space, peers in self._heads.items():
            heads = {one: head for one, head in peers.get(peer, {}).items() if one in generations}
            if heads:
                self._heads[space][peer] = heads
            else:
                peers.pop(peer, None)

    def record(self, space: str, peer: bytes, head: int, generation: int = 0) -> None:
        """A node of `peer` holds everything up to `head`. A lower head than before is one that started anew."""
        self._heads[space].setdefault(peer, {})[generation] = head
        waiting = self._waiting[space]
        if not waiting:
            return
        heads = sorted(self.heads(space).values(), reverse=True)
        left = []
        for entry in waiting:
            seq, peers, future = entry
            if peers <= len(heads) and heads[peers - 1] >= seq:
                if not future.done():
                    future.set_result(None)
            elif not future.done():
                left.append(entry)
        self._waiting[space] = left

    def close(self) -> None:
        """No more acknowledgements will come: StoreClosed for those who wait."""
        self._closed = True
        for waiting in self._waiting.values():
            for _, _, future in waiting:
                if not future.done():
                    future.set_exception(StoreClosed("the node closed before enough peers had acknowledged"))
        self._waiting.clear()

    async def wait(self, space: str, seq: int, peers: int) -> None:
        """Return once `peers` peers hold everything up to `seq` durably. StoreClosed when the node closes first."""
        if sum(head >= seq for head in self.heads(space).values()) >= peers:
            return
        if self._closed:
            raise StoreClosed("the database is closed")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[space].append((seq, peers, future))
        await future
