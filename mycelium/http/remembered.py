"""A set that forgets its oldest: what was learnt of keys, for as many as can be in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Remembered:
    """At most `count_max` things; the one that was added first gives way."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._found: OrderedDict[Hashable, None] = OrderedDict()

    def add(self, one: Hashable) -> None:
        """Remember it."""
        self._found[one] = None
        self._found.move_to_end(one)
        if len(self._found) > self._count_max:
            self._found.popitem(last=False)

    def __contains__(self, one: Hashable) -> bool:
        return one in self._found

    def __len__(self) -> int:
        return len(self._found)
