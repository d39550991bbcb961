"""Scores against an oracle that remembers every fault; bans of addresses, that end."""

from __future__ import annotations

import kit
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer.linkkit import Raw, attacked, run, until

from mycelium import errors
from mycelium.errors import ProtocolError, Silence
from mycelium.peer.admission import Admission
from mycelium.peer.greeting import Local
from mycelium.peer.network import Network
from mycelium.peer.observer import NullObserver
from mycelium.peer.scores import POINT, Addresses, Scores, weight
from mycelium.peer.server import Server

FAILURES, FORGET_MS = 5, 3_600_000
LINE = FAILURES * POINT
REASONS = sorted(
    {
        kind.reason
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ProtocolError)
    }
)
EXCUSED = {"silence", "version", "replay-table-full", "blacklisted"}


@pytest.mark.parametrize("reason", REASONS)
def test_whoever_keeps_misbehaving_ends_below_the_line(reason):
    scores: Scores[bytes] = Scores(FAILURES, FORGET_MS, 10)
    crossed = [scores.fault(b"a", weight(reason), 1_000 * at) for at in range(100)]
    assert any(crossed) == (reason not in EXCUSED)


def test_what_is_nobodys_fault_leaves_no_trace():
    scores: Scores[bytes] = Scores(FAILURES, FORGET_MS, 10)
    assert not scores.fault(b"a", weight(Silence.reason), 0)
    assert len(scores) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 2 * POINT), st.integers(0, FORGET_MS // 2)),
        max_size=40,
    )
)
def test_against_an_oracle_step_by_step(steps):
    scores: Scores[str] = Scores(FAILURES, FORGET_MS, 10)
    held = {"a": (0, 0), "b": (0, 0)}
    now_ms = 0
    for who, points, passed_ms in steps:
        now_ms += passed_ms
        before, at_ms = held[who]
        left = before
        # The obvious way: a point of a thousand is gone after each thousandth of the time, one by one.
        for _ in range((now_ms - at_ms) * LINE // FORGET_MS):
            left = left - 1 if left > 0 else 0
        assert scores.points(who, now_ms) == left
        assert scores.score(who, now_ms) <= 0
        assert scores.fault(who, points, now_ms) == (left + points > LINE - POINT)
        held[who] = min(left + points, 2 * LINE), now_ms


def test_serving_well_makes_up_for_nothing_and_time_does():
    scores: Scores[bytes] = Scores(FAILURES, FORGET_MS, 10)
    scores.fault(b"a", 2 * POINT, 0)
    assert scores.score(b"a", 0) == -2
    assert scores.points(b"a", FORGET_MS // 5) == POINT
    assert scores.points(b"a", FORGET_MS) == 0
    assert scores.points(b"a", -FORGET_MS) == 2 * POINT, "a clock that is set back forgets nothing"


def test_the_table_is_bounded_and_the_oldest_offender_gives_way():
    scores: Scores[bytes] = Scores(FAILURES, FORGET_MS, 3)
    for at, who in enumerate(b"abcad"):
        scores.fault(bytes([who]), POINT, at)
    assert scores.keys() == [b"c", b"a", b"d"]


def test_an_address_is_banned_for_a_while():
    addresses = Addresses(failures=3, ban_ms=1_000, entries_max=8)
    assert [addresses.failed("198.51.100.1", "bad-signature", at) for at in range(3)] == [False, False, True]
    assert addresses.banned("198.51.100.1", 500)
    assert not addresses.banned("198.51.100.2", 500)
    assert not addresses.banned("198.51.100.1", 1_002)
    assert not addresses.failed("198.51.100.1", "bad-signature", 1_003), "and starts anew"


def test_the_tables_of_addresses_are_bounded():
    addresses = Addresses(failures=1, ban_ms=1_000, entries_max=4)
    for at in range(100):
        assert addresses.failed(f"198.51.100.{at}", "malformed", 0)
    assert sum(addresses.banned(f"198.51.100.{at}", 1) for at in range(100)) == 4


class _Stranger:
    def __init__(self, address: str) -> None:
        self.address = address

    def drop(self) -> None:
        raise AssertionError("nobody has to give way")


def test_a_banned_address_is_not_let_in_and_this_machine_always_is():
    now_ns = 0
    local = Local(kit.keypair("a"), Network(7, bytes(32)), 1, lambda account: None)
    admission = Admission(local, NullObserver(), lambda: now_ns)
    for address in ("198.51.100.1", "127.0.0.1"):
        for _ in range(100):
            admission.failed(address, "bad-signature")
    assert not admission.arrive(_Stranger("198.51.100.1"))
    assert admission.arrive(_Stranger("198.51.100.2"))
    assert admission.arrive(_Stranger("127.0.0.1"))
    now_ns = 61 * 10**9
    assert admission.arrive(_Stranger("198.51.100.1"))


def test_a_failed_handshake_is_counted_against_its_address():
    async def main():
        async with attacked() as alice:
            addresses = alice.server.admission.addresses
            async with await Raw.open(alice.server.port) as raw:
                raw.writer.write(b"\x82\x84\0\0\0\0\7\7\7\7")
                await raw.end()
            await until(lambda: len(addresses._scores) == 1)
            assert addresses._scores.keys() == ["127.0.0.1"]

    run(main())


def test_a_ban_holds_at_every_listener_of_a_node():
    """Else whoever is banned would only have to wait for the node's next port."""

    async def main():
        async with attacked() as alice:
            for _ in range(100):
                alice.server.admission.failed("198.51.100.1", "bad-signature")
            another = Server(alice.hub, "127.0.0.1", 0)
            assert another.admission.addresses.banned("198.51.100.1", alice.hub.clock_ns() // 1_000_000)

    run(main())
