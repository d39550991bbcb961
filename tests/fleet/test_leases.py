"""A fleet on a real server: who has a slot, when members come, go, are cut off, and when its bucket is deleted."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from fleet.memberkit import LEASE_MS, SPACE, Member, messages
from jskit import NETWORK, ORIGIN, until
from natskit import Servers
from nodekit import run

from mycelium.errors import Fenced
from mycelium.fleet import events, records
from mycelium.jetstream import layout

ALL = [0, 1, 2, 3]


@pytest.fixture
def nats(tmp_path):
    with Servers.of(tmp_path) as found:
        yield found


def shared(*members):
    """Whether the members serve every slot, each once."""
    return sorted(slot for member in members for slot in member.serving()) == ALL


def test_a_member_alone_serves_everything_and_leaves_nothing_behind(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a:
            await until(lambda: shared(a))
            assert await a.publish("b1") > 0
            a.leases.tell(events.Leave())
            await asyncio.wait_for(a.left_event.wait(), 5)
            assert a.serving() == []
            assert {kind for kind, *_ in a.told} == {"serve", "drain", "stop"}
        async with Member(nats, "b", 0xB) as b:
            began = time.monotonic()
            await until(lambda: shared(b))
            # Slots that were given up are not waited for.
            assert time.monotonic() - began < 2 * LEASE_MS / 1000

    run(main())


def test_a_member_that_dies_is_fenced_and_replaced(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a, Member(nats, "b", 0xB) as b:
            await until(lambda: shared(a, b) and a.serving() and b.serving())
            for number in range(5):
                await a.publish(f"a{number}")
            began = time.monotonic()
            await a.kill()
            await until(lambda: shared(b), every=0.005)
            took_ms = 1000 * (time.monotonic() - began)
            assert took_ms < LEASE_MS + 700
            stored = await messages(b.broker.session)
            # The seal is the last that the dead member's subject has, and b has read it.
            assert [kind for *_, kind, _, _ in stored].count(layout.SEAL) == 1
            assert b.position >= max(seq for seq, kind, _, _ in stored if kind == layout.SEAL)

    run(main())


def test_a_member_that_slept_is_fenced_and_comes_back(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a, Member(nats, "b", 0xB) as b:
            await until(lambda: shared(a, b) and a.serving())
            # Its connection is dropped and its clock goes on: as after SIGSTOP, but for what it had read.
            ready, session = a.broker.ready, a.broker.session
            blocked = asyncio.Event()

            async def never(*_, **__):
                await blocked.wait()
                return await ready()

            a.broker.ready = never
            a.broker._session = None
            await until(lambda: shared(b))
            assert a.serving() == []
            a.broker._session = session
            a.broker.ready = ready
            blocked.set()
            with pytest.raises(Fenced):
                await a.publish("late")
            await until(lambda: shared(a, b) and a.serving())
            assert await a.publish("again") > 0
            bodies = [body[64:] for _, kind, _, body in await messages(session) if not kind]
            assert bodies == [b"again"]

    run(main())


def test_a_plan_moves_a_slot_and_nobody_is_asked_twice(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a, Member(nats, "b", 0xB) as b:
            await until(lambda: shared(a, b) and a.serving() and b.serving())
            slot = a.serving()[0]
            plan = records.encode(records.Plan("b"))
            session = a.broker.session
            put = a.leases._bucket.put(session, records.plan_key(SPACE, slot), 0, plan)
            moved = asyncio.create_task(put)
            await until(lambda: slot in b.serving())
            assert await moved
            assert ("drain", slot, "b") in a.told
            # b may have heard of it before a.
            await until(lambda: ("stop", slot, "moved to b") in a.told)
            assert all(kind != layout.SEAL for _, kind, _, _ in await messages(session))

    run(main())


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGKILL, id="kill", marks=pytest.mark.nightly),
        pytest.param(signal.SIGSTOP, id="stop"),
    ],
)
def test_without_a_server_nobody_serves_and_then_everybody_goes_on_where_they_were(nats, how):
    async def main():
        (server,) = nats.servers
        async with Member(nats, "a", 0xA) as a, Member(nats, "b", 0xB) as b:
            await until(lambda: shared(a, b) and a.serving() and b.serving())
            terms = [a.placement.term(SPACE), b.placement.term(SPACE)]
            if how == signal.SIGKILL:
                await asyncio.to_thread(server.kill)
            else:
                server.send(how)
            began = time.monotonic()
            await until(lambda: not a.serving() and not b.serving())
            assert time.monotonic() - began < LEASE_MS / 1000 + 0.3
            # Longer than anybody's lease.
            await asyncio.sleep(1.5 * LEASE_MS / 1000)
            if how == signal.SIGKILL:
                server.start()
            else:
                server.send(signal.SIGCONT)
            await nats.ready()
            await until(lambda: shared(a, b))
            if how == signal.SIGSTOP:
                # Both hear it go on at once; after a new connection one may be so late that it is declared gone.
                assert [a.placement.term(SPACE), b.placement.term(SPACE)] == terms
                assert all(kind != layout.SEAL for _, kind, _, _ in await messages(a.broker.session))

    run(main())


def test_a_bucket_that_is_deleted_is_made_anew(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a, Member(nats, "b", 0xB) as b:
            await until(lambda: shared(a, b) and a.serving())
            terms = [a.placement.term(SPACE), b.placement.term(SPACE)]
            await a.broker.session.api(f"STREAM.DELETE.KV_{NETWORK.fleet(ORIGIN)}")
            await until(lambda: not a.serving() and not b.serving())
            await until(lambda: shared(a, b))
            # What was offered before is not offered again: nobody can tell who else had relied on it.
            assert not {a.placement.term(SPACE), b.placement.term(SPACE)} & set(terms)

    run(main())


def test_a_stream_that_is_deleted_is_made_anew_and_served(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a, Member(nats, "b", 0xB) as b:
            await until(lambda: shared(a, b) and a.serving() and b.serving())
            await a.publish("a1")
            await a.broker.session.api(f"STREAM.DELETE.{NETWORK.stream(SPACE)}")
            await asyncio.gather(a.publish("a2"), b.publish("b2"))
            await until(lambda: shared(a, b))
            stored = await messages(a.broker.session)
            assert {body[64:] for _, kind, _, body in stored if not kind} == {b"a2", b"b2"}

    run(main())


def test_two_processes_of_one_name_do_not_both_serve(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a:
            await until(lambda: shared(a))
            async with Member(nats, "a", 0xB) as other:
                await until(lambda: other.placement.whole and other.placement.displaced)
                await asyncio.sleep(2 * LEASE_MS / 1000)
                assert shared(a)
                assert other.serving() == []
                await a.kill()
                await until(lambda: shared(other))

    run(main())


def test_what_lies_in_the_bucket_and_is_no_entry_of_a_fleet_is_passed_over(nats):
    async def main():
        async with Member(nats, "a", 0xA) as a:
            await until(lambda: shared(a))
            session, bucket = a.broker.session, a.leases._bucket
            for key in ("note", "slot.main.0x", "member.UPPER", "plan.main.99999"):
                assert await bucket.put(session, key, 0, b"{}")
            assert await bucket.put(session, "plan.main.1", 0, b"not json")
            assert await bucket.put(session, "member.z", 0, b'{"beat": -1}')
            await until(lambda: sum(a.placement.view.refused.values()) == 6)
            assert shared(a)

    run(main())
