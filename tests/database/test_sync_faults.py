"""Sync against hostile origins, hostile peers and clocks that step."""

from __future__ import annotations

import kit
import pytest
from kit import forge

from mycelium.config import SYNC_TIMEOUT_MS, SYNC_WINDOW_BYTES
from mycelium.database.sync import FRESH_MS, SyncMachine
from mycelium.errors import ProtocolError
from mycelium.protocol.messages import Op, SyncRequest, SyncResponse

NOW = kit.NOW_MS
LATER = NOW + 10 * FRESH_MS


def machine(engine) -> SyncMachine:
    return SyncMachine(engine, lambda _peer, _space: True, ["main"])


def sessions(a, b, rounds: int = 6, ahead_ms: int = 0) -> int:
    """b syncs from a as nodes do: an error ends the session, and another follows. Returns how many ended.

    ahead_ms: how much a's clock is before b's.
    """
    left, right, now, ended = machine(a), machine(b), LATER, 0
    left.peer_up(1, NOW + ahead_ms)
    right.peer_up(1, NOW)
    for _ in range(rounds):
        now += 1000
        request = right.digest_seen(1, "main", a.vector_digest("main"), now)
        try:
            while request is not None:
                left.request(1, SyncRequest.decode(request.encode()), now + ahead_ms)
                request = None
                while (response := left.pump(1)) is not None:
                    again = right.response(1, SyncResponse.decode(response.encode()), now)
                    request = again or request
        except ProtocolError:
            ended += 1
            for one in (left, right):
                one.peer_down(1)
                one.peer_up(1, now)
    return ended


def ordered(*names: str):
    """Engines by the order of their accounts: that of sync."""
    return sorted((kit.engine(name) for name in names), key=lambda engine: engine.origin)


def test_one_equivocating_origin_does_not_part_honest_nodes() -> None:
    hostile, honest = ordered("p", "q")
    a, b = kit.engine("a"), kit.engine("b")
    put = int(Op.PUT)
    ours, theirs = forge(hostile, [(0, put, b"k", b"\0one")]), forge(hostile, [(0, put, b"k", b"\0two")])
    a.receive(*ours, NOW)
    b.receive(*theirs, NOW)
    hostile.receive(*ours, NOW)
    a.receive(*forge(hostile), NOW)  # goes on from one of the two
    good = kit.write(honest, kit.put("good"))
    a.receive(good.batch.raw, good.signature, NOW)
    ended = sessions(a, b)
    assert honest.origin in b.vector("main")
    assert ended == 0


def test_a_member_that_was_removed_does_not_part_those_who_hold_its_log() -> None:
    """members.toml speaks for all epochs: who was taken out of it was never a writer, for those who sync late."""
    removed, honest = ordered("p", "q")
    a = kit.engine("a")
    b = kit.engine("b", authority=kit.FixedAuthority(writers={honest.origin.account, a.origin.account}))
    for writer in (removed, honest):
        made = kit.write(writer, kit.put(writer.origin.account.hex()))
        a.receive(made.batch.raw, made.signature, NOW)
    ended = sessions(a, b)
    assert honest.origin in b.vector("main")
    assert ended == 0


def test_what_is_held_or_refused_does_not_starve_other_origins() -> None:
    """A window of batches that are not due here comes again and again, and nothing behind it ever does."""
    ahead, honest = ordered("p", "q")
    a, b = kit.engine("a"), kit.engine("b")
    for n in range(20):
        made = kit.write(ahead, kit.put(f"{n}", "x" * 400_000), now_ms=NOW + 30 * 60_000)
        a.receive(made.batch.raw, made.signature, NOW + 31 * 60_000)
    made = kit.write(honest, kit.put("good"))
    a.receive(made.batch.raw, made.signature, NOW + 31 * 60_000)
    sessions(a, b, rounds=30, ahead_ms=40 * 60_000)
    assert honest.origin in b.vector("main")


@pytest.mark.parametrize("answers", [False, True])
def test_a_peer_that_brings_nothing_does_not_keep_the_others_from_being_asked(answers: bool) -> None:
    a, b = kit.engine("a"), kit.engine("b")
    kit.write(a, kit.put("k"))
    right = machine(b)
    right.peer_up(1, NOW)
    right.peer_up(2, NOW)
    asked, request, now = set(), None, LATER
    for _ in range(10 * SYNC_TIMEOUT_MS // 500):
        now += 500
        # The hostile peer 1 pings twice as often as the honest peer 2, and always just before it.
        found = right.digest_seen(1, "main", bytes(16), now)
        request = found or request
        if answers and request is not None:
            right.response(1, SyncResponse(request.request_id, "main", [], False, False, None), now)
        if right.digest_seen(2, "main", a.vector_digest("main"), now) is not None:
            asked.add(2)
    assert asked == {2}


def test_a_clock_that_stepped_back_does_not_withhold_batches() -> None:
    a, b = kit.engine("a"), kit.engine("b")
    kit.write(a, kit.put("k"), now_ms=NOW)
    back = NOW - 30 * 60_000
    left = machine(a)
    left.peer_up(1, back)
    left.request(1, SyncRequest(1, "main", [], SYNC_WINDOW_BYTES, 0), back + 60_000)
    response = left.pump(1)
    assert response is not None
    assert len(response.batches) == 1
    assert b.vector("main") == {}
