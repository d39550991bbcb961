"""Key-value state of the development chain: the head in full, and what each recent block changed.

Raw keys and values, as a client sees them. A block's changes are kept as what stood there before, so that older
blocks can be read and the newest ones taken back (a reorganisation). Knows nothing of pallets or encodings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol

from sortedcontainers import SortedDict

Undo = dict[bytes, bytes | None]
"""Key -> the value that stood there before; None: there was none."""


class View(Protocol):
    """Read access to one state. `Storage` and `Overlay` are views."""

    def get(self, key: bytes) -> bytes | None:
        """The value at a key, None where there is none."""
        ...

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Keys that begin with `prefix`, in order, those greater than `after` only."""
        ...


class Storage:
    """The state at the head, and the way back to the states of the last blocks."""

    def __init__(self, genesis: Mapping[bytes, bytes] | None = None, undo: Iterable[Undo] = ()) -> None:
        self._head: SortedDict = SortedDict(genesis or {})
        self._undo: list[Undo] = list(undo)

    @property
    def depth(self) -> int:
        """How many committed blocks can be taken back."""
        return len(self._undo)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """The whole state at the head, in the order of its keys."""
        yield from self._head.items()

    def undo(self) -> list[Undo]:
        """What the last blocks overwrote, oldest first."""
        return list(self._undo)

    def undo_of_last(self) -> Undo | None:
        """What the newest block overwrote."""
        return self._undo[-1] if self._undo else None

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._head.get(key)
        return value

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        low = prefix if after is None or after < prefix else after + b"\0"
        for key in self._head.irange(low):
            if not key.startswith(prefix):
                return
            yield key

    def commit(self, changes: Mapping[bytes, bytes | None], *, keep_max: int = 256) -> Undo:
        """Apply one block's changes (None deletes). The oldest block beyond `keep_max` can no longer be read."""
        undo: Undo = {}
        for key, value in changes.items():
            before = self._head.get(key)
            if before == value:
                continue
            undo[key] = before
            if value is None:
                del self._head[key]
            else:
                self._head[key] = value
        self._undo.append(undo)
        if len(self._undo) > keep_max:
            del self._undo[0]
        return undo

    def revert(self) -> None:
        """Take back the newest block."""
        for key, value in self._undo.pop().items():
            if value is None:
                del self._head[key]
            else:
                self._head[key] = value

    def at(self, back: int) -> View:
        """The state `back` blocks before the head. IndexError when that is too long ago."""
        if back == 0:
            return self
        if back > len(self._undo):
            raise IndexError(f"the state {back} blocks ago is no longer kept")
        merged: dict[bytes, bytes | None] = {}
        # The oldest record of a key is what stood there then.
        for undo in islice(reversed(self._undo), back):
            merged.update(undo)
        return Overlay(self, merged)


class Overlay:
    """Changes on top of another state, not committed yet: a block being made, an extrinsic being applied."""

    def __init__(self, base: View, changes: dict[bytes, bytes | None] | None = None) -> None:
        self.changes: dict[bytes, bytes | None] = {} if changes is None else changes
        self._base = base

    def get(self, key: bytes) -> bytes | None:
        if key in self.changes:
            return self.changes[key]
        return self._base.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        self.changes[key] = None

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        low = prefix if after is None or after < prefix else after + b"\0"
        ours = sorted(key for key in self.changes if key >= low and key.startswith(prefix))
        position = 0
        for key in self._base.keys(prefix, after):
            while position < len(ours) and ours[position] < key:
                if self.changes[ours[position]] is not None:
                    yield ours[position]
                position += 1
            if position < len(ours) and ours[position] == key:
                position += 1
                if self.changes[key] is None:
                    continue
            yield key
        for key in ours[position:]:
            if self.changes[key] is not None:
                yield key

    def fold(self) -> None:
        """Move the changes into the overlay below: what an extrinsic did when it succeeded."""
        assert isinstance(self._base, Overlay), "only an overlay takes changes that are not committed"
        self._base.changes.update(self.changes)
        self.changes.clear()
