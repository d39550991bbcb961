"""Sets of keys as sorted, disjoint, half-open ranges: what an account may touch of one table. Pure.

A range [start, stop) holds the keys start <= key < stop in the order of their bytes; stop None is no bound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[bytes, bytes | None]


class Ranges:
    """Immutable. Equal when they hold the same keys, as the ranges are merged where they touch."""

    __slots__ = ("_pairs", "_starts", "_stops", "columns")

    def __init__(self, pairs: Iterable[Range] = ()) -> None:
        self._pairs = _merged(pairs)
        self._starts = [start for start, _ in self._pairs]
        self._stops = [stop for _, stop in self._pairs]
        self.columns = (tuple(self._starts), tuple(self._stops))
        """Starts and stops, for `_core.allow`."""

    def __iter__(self) -> Iterator[Range]:
        return iter(self._pairs)

    def __bool__(self) -> bool:
        """Whether any key is in it."""
        return bool(self._pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(tuple(self._pairs))

    def __repr__(self) -> str:
        return f"Ranges({self._pairs!r})"

    def __contains__(self, key: bytes) -> bool:
        at = bisect_right(self._starts, key) - 1
        if at < 0:
            return False
        stop = self._stops[at]
        return stop is None or key < stop

    @property
    def whole(self) -> bool:
        """Whether every key is in it."""
        return self._pairs == [(b"", None)]

    def __or__(self, other: Ranges) -> Ranges:
        return Ranges([*self._pairs, *other._pairs])

    def __and__(self, other: Ranges) -> Ranges:
        found: list[Range] = []
        mine, theirs = iter(self._pairs), iter(other._pairs)
        one, two = next(mine, None), next(theirs, None)
        while one is not None and two is not None:
            start = max(one[0], two[0])
            stop = _least(one[1], two[1])
            if stop is None or start < stop:
                found.append((start, stop))
            # The one that ends first cannot meet anything else.
            if stop == one[1]:
                one = next(mine, None)
            else:
                two = next(theirs, None)
        return Ranges(found)


def prefixed(prefix: bytes) -> Ranges:
    """The keys that begin with `prefix`."""
    return Ranges([(prefix, _after(prefix))])


def _after(prefix: bytes) -> bytes | None:
    """The first key after all that begin with `prefix`."""
    kept = prefix.rstrip(b"\xff")
    return None if not kept else kept[:-1] + bytes((kept[-1] + 1,))


def _least(one: bytes | None, two: bytes | None) -> bytes | None:
    if one is None or two is None:
        return two if one is None else one
    return min(one, two)


def _merged(pairs: Iterable[Range]) -> list[Range]:
    found: list[Range] = []
    for start, stop in sorted((pair for pair in pairs if pair[1] is None or pair[0] < pair[1]), key=_start):
        if found:
            last_start, last_stop = found[-1]
            if last_stop is None:
                break
            if start <= last_stop:
                found[-1] = (last_start, None if stop is None else max(last_stop, stop))
                continue
        found.append((start, stop))
    return found


def _start(pair: Range) -> bytes:
    return pair[0]


NOTHING = Ranges()
EVERYTHING = Ranges([(b"", None)])
