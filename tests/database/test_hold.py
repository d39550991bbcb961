"""What waits in memory is bounded for each account and comes out when it is due."""

from __future__ import annotations

from mycelium.config import HELD_BATCHES_MAX, HELD_BYTES_MAX
from mycelium.database.hold import Holds

A, B = b"a" * 32, b"b" * 32


def test_due_in_order() -> None:
    holds = Holds()
    assert holds.add(A, b"late", b"s", 30)
    assert holds.add(B, b"early", b"t", 10)
    assert holds.knows(b"late")
    assert holds.due(9) == []
    assert holds.due(10) == [(b"early", b"t")]
    assert len(holds) == 1
    assert holds.due(99) == [(b"late", b"s")]
    assert not holds.knows(b"late")


def test_a_full_account_degrades_alone() -> None:
    holds = Holds()
    for number in range(HELD_BATCHES_MAX):
        assert holds.add(A, number.to_bytes(4, "big"), b"", 0)
    assert not holds.add(A, b"more", b"", 0)
    assert holds.add(B, b"other", b"", 0)
    holds.due(0)
    assert holds.add(A, b"more", b"", 0)


def test_bytes_are_bounded() -> None:
    holds = Holds()
    assert holds.add(A, bytes(HELD_BYTES_MAX), b"", 0)
    assert not holds.add(A, b"x", b"", 0)
    assert holds.add(B, bytes(HELD_BYTES_MAX), b"", 0)


def test_what_waits_to_be_known_is_due_as_soon_as_something_is() -> None:
    holds = Holds()
    holds.add(A, b"ahead", b"s", 50)
    holds.add(A, b"unknown", b"t", 60, undecided=True)
    assert holds.due(10) == []
    holds.hurry()
    assert holds.due(10) == [(b"unknown", b"t")]
    holds.hurry()
    assert holds.due(10) == []
    assert holds.due(50) == [(b"ahead", b"s")]
    assert len(holds) == 0
