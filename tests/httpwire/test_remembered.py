"""What is remembered is bounded, and the oldest of it goes first."""

from __future__ import annotations

from mycelium.http.remembered import Remembered


def test_the_oldest_gives_way():
    found = Remembered(3)
    for one in "abc":
        found.add(one)
    found.add("a")
    found.add("d")
    assert [one in found for one in "abcd"] == [True, False, True, True]
    assert len(found) == 3
