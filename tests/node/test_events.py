"""The ring of events: bounded, numbered, and printable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mycelium.node.events import EVENTS_MAX, TEXT_CHARS_MAX, Events


def test_each_has_a_number_a_time_and_a_kind() -> None:
    now = [1_000]
    events = Events(lambda: now[0])
    events.add("ready", "all is well")
    now[0] = 2_000
    events.add("session-opened", "from 127.0.0.1:1", b"\1" * 32)
    first, second = events.after(0)
    assert (first.number, first.at_ms, first.kind, first.text, first.account) == (
        1,
        1_000,
        "ready",
        "all is well",
        b"",
    )
    assert (second.number, second.at_ms, second.account) == (2, 2_000, b"\1" * 32)
    assert events.after(1) == [second]
    assert events.after(2) == []
    assert events.after(99) == []


def test_texts_are_cut_and_printable() -> None:
    events = Events(lambda: 0)
    events.add("closed", "\x1b[31mred\r\n" + "x" * 1_000)
    (event,) = events.after(0)
    assert event.text.startswith("?[31mred??x")
    assert len(event.text) == TEXT_CHARS_MAX


@given(st.integers(0, 3 * EVENTS_MAX), st.integers(0, 3 * EVENTS_MAX))
def test_against_a_list_of_everything(count: int, after: int) -> None:
    events = Events(lambda: 0)
    for number in range(1, count + 1):
        events.add("kind", str(number))
    everything = list(range(1, count + 1))
    assert [event.number for event in events.after(after)] == [
        number for number in everything[-EVENTS_MAX:] if number > after
    ]
