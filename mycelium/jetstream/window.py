"""What a bridge has read of the feed and not yet seen acknowledged, in the feed's order, and the cursor before it.

A machine: told what was read, sent, acknowledged; asked whether there is room. The cursor is behind everything that was
read and is settled without a gap, so that whoever goes on after it loses nothing. Sends nothing; has no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mycelium.feed.cursor import Cursor


class Item:
    """One batch on its way. number: of this window, from 0 on; sent_s: when it was published last."""

    __slots__ = ("body", "cursor", "headers", "number", "sent_s", "settled", "space", "subject")

    def __init__(
        self, number: int, cursor: Cursor, space: str, subject: str, body: bytes, headers: dict[str, str]
    ) -> None:
        self.number = number
        self.cursor = cursor
        self.space = space
        self.subject = subject
        self.body = body
        self.headers = headers
        self.sent_s = 0.0
        self.settled = False


class Window:
    """items_max, bytes_max: of what is not settled. span_max: how far, in the feed, the newest may be from the oldest.

    A bridge that has lost its cursor goes back by `span_max` from the newest batch in a stream, and lacks nothing.
    """

    def __init__(self, cursor: Cursor, items_max: int, bytes_max: int, span_max: int) -> None:
        self._cursor = cursor
        self._passed = cursor
        self._items: deque[Item] = deque()
        self._by_number: dict[int, Item] = {}
        self._next = 0
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._span_max = span_max
        self.size_bytes = 0

    def __len__(self) -> int:
        """How many are not settled."""
        return len(self._by_number)

    @property
    def cursor(self) -> Cursor:
        """Everything up to it is in its stream, or belongs into none."""
        return self._cursor

    @property
    def read(self) -> Cursor:
        """Everything up to it was read: where the feed goes on."""
        return self._passed

    def room(self) -> bool:
        """Whether another batch may be read. One is always taken, however large."""
        if not self._by_number:
            return True
        span = self._passed.index - self._cursor.index
        return (
            len(self._by_number) < self._items_max
            and self.size_bytes < self._bytes_max
            and span < self._span_max
        )

    def add(self, cursor: Cursor, space: str, subject: str, body: bytes, headers: dict[str, str]) -> Item:
        """A batch that is to be published."""
        item = Item(self._next, cursor, space, subject, body, headers)
        self._next += 1
        self._items.append(item)
        self._by_number[item.number] = item
        self.size_bytes += len(body)
        self._passed = cursor
        return item

    def skip(self, cursor: Cursor) -> None:
        """Up to here there is nothing more to publish."""
        if cursor.index <= self._passed.index:
            return
        self._passed = cursor
        if not self._items:
            self._cursor = cursor

    def settle(self, number: int) -> Item | None:
        """A batch is in its stream; None for one that was settled before, as what is sent twice is answered twice."""
        item = self._by_number.pop(number, None)
        if item is None:
            return None
        item.settled = True
        self.size_bytes -= len(item.body)
        while self._items and self._items[0].settled:
            self._cursor = self._items.popleft().cursor
        if not self._items:
            self._cursor = self._passed
        return item

    def item(self, number: int) -> Item | None:
        """One that is not settled."""
        return self._by_number.get(number)

    def unsettled(self) -> Iterator[Item]:
        """All that are not settled, in the feed's order."""
        return iter([item for item in self._items if not item.settled])

    def oldest(self) -> Item | None:
        """The first that is not settled."""
        return self._items[0] if self._items else None
