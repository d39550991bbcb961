"""The machine that asks a consumer for messages: a server that obeys is drained, and one that does not is found out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config.replica import PULL_BYTES, PULL_HEARTBEAT_MS, PULL_MESSAGES
from mycelium.jetstream.pulling import Pulling, Said


@given(
    st.lists(st.integers(1, 200_000), max_size=300),
    st.lists(st.sampled_from(["give", "apply", "expire"]), max_size=600),
)
def test_a_stream_is_drained_and_memory_is_bounded(sizes, steps):
    """Against a server that keeps a request's word: everything comes once, and never more than two requests' bytes."""
    pulling, now_ms = Pulling(0), 0
    undone: list[int] = []
    completed: list[int] = []
    given_out = applied = open_messages = open_bytes = number = 0

    def step(what: str) -> None:
        nonlocal given_out, applied, open_messages, open_bytes, number, now_ms
        now_ms += 1
        if completed and what != "give":
            completed.pop()
            assert pulling.status("409", "Batch Completed", now_ms) is Said.FINE
        asked = pulling.ask(sum(undone), now_ms)
        if asked is not None:
            assert open_messages == 0, "one request at a time"
            open_messages, open_bytes = asked["batch"], asked["max_bytes"]
        if what == "give" and open_messages and given_out < len(sizes):
            size = sizes[given_out]
            if size > open_bytes:
                open_messages = 0
                assert pulling.status("409", "Message Size Exceeds MaxBytes", now_ms) is Said.FINE
                return
            open_messages, open_bytes = open_messages - 1, open_bytes - size
            given_out, number = given_out + 1, number + 1
            undone.append(size)
            assert pulling.message(number, now_ms) is Said.FINE
            if open_messages == 0:
                completed.append(number)
        elif what == "expire" and open_messages:
            open_messages = 0
            assert pulling.status("408", "Request Timeout", now_ms) is Said.FINE
        elif what == "apply" and undone:
            undone.pop(0)
            applied += 1
        assert sum(undone) <= 2 * PULL_BYTES

    for what in steps:
        step(what)
    for _ in range(4 * len(sizes) + 4):
        step("give")
        step("apply")
    assert applied == len(sizes)


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        ("100", "Idle Heartbeat", Said.FINE),
        ("404", "No Messages", Said.FINE),
        ("408", "Request Timeout", Said.FINE),
        ("409", "Message Size Exceeds MaxBytes", Said.FINE),
        ("409", "Batch Completed", Said.FINE),
        ("409", "Consumer Deleted", Said.LOST),
        ("409", "Leadership Change", Said.LOST),
        ("409", "Server Shutdown", Said.LOST),
        ("503", "", Said.LOST),
        ("400", "Bad Request", Said.LOST),
    ],
)
def test_what_a_status_means(code, text, said):
    pulling = Pulling(0)
    assert pulling.ask(0, 0) is not None
    assert pulling.status(code, text, 0) is said
    # What ends a request lets the next one be made; a heartbeat does not, nor what was counted anyway.
    ends = said is Said.FINE and text not in ("Idle Heartbeat", "Batch Completed")
    assert (pulling.ask(0, 0) is not None) == ends


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (1, 1), (1, 2, 2)])
def test_a_number_that_does_not_follow(numbers):
    pulling = Pulling(0)
    pulling.ask(0, 0)
    assert [pulling.message(number, 0) for number in numbers[:-1]] == [Said.FINE] * (len(numbers) - 1)
    assert pulling.message(numbers[-1], 0) is Said.LOST


def test_nothing_more_is_asked_for_while_too_much_is_undone():
    pulling = Pulling(0)
    assert pulling.ask(PULL_BYTES, 0) is None
    asked = pulling.ask(PULL_BYTES - 1, 0)
    assert (asked["batch"], asked["max_bytes"]) == (PULL_MESSAGES, PULL_BYTES)
    assert pulling.ask(0, 0) is None


def test_silence():
    pulling = Pulling(0)
    assert not pulling.silent(10**9), "nothing is asked for, so nothing is owed"
    pulling.ask(0, 10**9)
    assert not pulling.silent(10**9 + 2 * PULL_HEARTBEAT_MS)
    assert pulling.silent(10**9 + 2 * PULL_HEARTBEAT_MS + 1)
    pulling.status("100", "Idle Heartbeat", 10**9 + 2 * PULL_HEARTBEAT_MS + 1)
    assert not pulling.silent(10**9 + 2 * PULL_HEARTBEAT_MS + 1)
