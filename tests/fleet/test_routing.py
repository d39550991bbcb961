"""Where requests go, with members that say what the test wants: each goes to one place, and again only when it may."""

from __future__ import annotations

import asyncio

import kit
import pytest
from kit import TABLES, put
from nodekit import run, until

from mycelium.errors import (
    BrokerUnreachable,
    Fenced,
    NoOwner,
    Overloaded,
    StoreClosed,
    Unauthorised,
    Unreachable,
    UsageError,
    ValueRefused,
    WriteUnknown,
)
from mycelium.fleet import routing as routing_module
from mycelium.fleet.forwarding import Forwarded, Forwarding, Serving
from mycelium.fleet.layout import slot_of
from mycelium.fleet.records import Member
from mycelium.fleet.routing import Routing
from mycelium.fleet.slots import Slots
from mycelium.fleet.tables import FleetTable
from mycelium.fleet.view import View
from mycelium.fleet.writer import REMOVE, Removal
from mycelium.node import calls
from mycelium.node.service import Service
from mycelium.peer.network import Network

SHARDS = 4
OTHER = Member("0" * 16, "1" * 16, 1, 2500, "ws://127.0.0.1:1", holds=("main", "other"))


def key_in(slot, table="scores"):
    return next(key for key in map("k{}".format, range(99)) if slot_of(table, key.encode(), SHARDS) == slot)


class Elsewhere:
    """The other members: what was sent to whom, and what they say to it."""

    def __init__(self):
        self.sent = []
        self.says = []
        self.values = {}

    async def write(self, name, member, changes, ack, *, whole):
        self.sent.append((name, list(changes), ack, whole))
        if self.says:
            raise self.says.pop(0)

    async def get(self, name, member, table, key):
        self.sent.append((name, table, key))
        if self.says:
            raise self.says.pop(0)
        return self.values.get(key)


class Here:
    """This member's writer."""

    def __init__(self):
        self.written = []
        self.says = []
        self.refusal = lambda: None

    async def write(self, changes, places, ack, *, whole):
        if self.says:
            raise self.says.pop(0)
        self.written.append((list(changes), list(places), ack, whole))

    def close(self):
        self.written = None


class World:
    """The member `a`. owners: of the slots of main; None: nobody."""

    def __init__(self, *owners):
        self.database = kit.database("a")
        self.owners = list(owners)
        self.known = True
        self.view = View()
        self.problem = ""
        self.here, self.elsewhere = Here(), Elsewhere()
        self.slots_state = Slots(lambda event: None, lambda space: 0)
        self.routing = Routing(
            "a",
            self,
            lambda space, slot: self.owners[slot] == "a",
            self.slots_state,
            self.here,
            self.elsewhere,
            self.database.store,
            frozenset({"main", "sys"}),
            lambda: self.problem,
        )
        for slot, owner in enumerate(owners):
            if owner == "a":
                self.slots_state.serve("main", slot)
        self.database.route(
            self.routing, lambda spec: FleetTable(self.database, spec, self.routing, self.elsewhere)
        )

    def slots(self, space):
        return SHARDS if self.known else 0

    def owner(self, space, slot):
        name = self.owners[slot]
        return None if name is None else (name, OTHER)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(routing_module, "FLEET_ROUTE_S", 0.5)
    monkeypatch.setattr(routing_module, "FLEET_LOOK_S", 0.01)


def test_each_write_goes_to_who_has_its_shard():
    async def main():
        world = World("a", "b", "c", "a")
        table = world.database.table("scores")
        await asyncio.gather(*(table.put(key_in(slot), slot, ack=1) for slot in range(4)))
        assert [places for _, places, _, _ in world.here.written] == [[("main", 0)], [("main", 3)]]
        assert [(name, ack, whole) for name, _, ack, whole in world.elsewhere.sent] == [
            ("b", 1, False),
            ("c", 1, False),
        ]
        await world.database.table("tags").remove(key_in(1, "tags"), "x")
        change = world.elsewhere.sent[-1][1][0]
        assert isinstance(change, Removal)
        assert change[1] == REMOVE

    run(main())


@pytest.mark.parametrize("error", [NoOwner, Fenced, Unreachable, BrokerUnreachable])
def test_what_was_certainly_not_written_is_sent_again_to_who_has_it_then(error):
    async def main():
        world = World("b", "b", "b", "b")
        world.elsewhere.says = [error("not I")] * 3
        writing = asyncio.ensure_future(world.database.table("scores").put(key_in(0), 1))
        await until(lambda: len(world.elsewhere.sent) >= 2)
        world.owners[0] = "c"
        world.slots_state.changed()
        await writing
        assert world.elsewhere.sent[-1][0] == "c"
        here = World("a", "a", "a", "a")
        here.here.says = [error("lost it")]
        await here.database.table("scores").put(key_in(0), 1)
        assert len(here.here.written) == 1

    run(main())


@pytest.mark.parametrize("error", [WriteUnknown, Overloaded, Unauthorised, ValueRefused])
def test_anything_else_is_never_sent_again(error):
    async def main():
        world = World("b", "b", "b", "b")
        world.elsewhere.says = [error("that is it")]
        with pytest.raises(error):
            await world.database.table("scores").put(key_in(0), 1)
        assert len(world.elsewhere.sent) == 1

    run(main())


def test_who_gets_a_shard_is_waited_for_and_not_for_ever():
    async def main():
        world = World(None, "a", "a", "a")
        writing = asyncio.ensure_future(world.database.table("scores").put(key_in(0), 1))
        reading = asyncio.ensure_future(world.database.table("scores").get(key_in(0)))
        await asyncio.sleep(0.05)
        assert [writing.done(), reading.done()] == [False, False]
        world.owners[0] = "a"
        world.slots_state.serve("main", 0)
        await writing
        assert await reading is None
        world.owners[1] = None
        world.slots_state.stop("main", 1, "gone")
        with pytest.raises(NoOwner, match="nobody has shard 1 of 'main'"):
            await world.database.table("scores").put(key_in(1), 1)
        # Its own, which it does not serve yet or no more.
        world.owners[2] = "a"
        world.slots_state.stop("main", 2, "gone")
        with pytest.raises(NoOwner, match="about to move"):
            await world.database.table("scores").put(key_in(2), 1)
        world.known = False
        with pytest.raises(NoOwner, match="how the space 'main' is divided"):
            await world.database.table("scores").put(key_in(1), 1)

    run(main())


def test_without_nats_writes_are_refused_at_once_and_reads_are_of_the_copy():
    async def main():
        world = World(None, "b", "a", "a")
        kit.write(world.database.engine, put(key_in(0)))
        kit.write(world.database.engine, put(key_in(1)))
        world.problem = "no server answers"
        world.elsewhere.says = [NoOwner("nor I"), Unreachable("gone"), Unreachable("gone")]
        for slot in (0, 1):
            before = asyncio.get_running_loop().time()
            with pytest.raises(BrokerUnreachable, match="no server answers"):
                await world.database.table("scores").put(key_in(slot), 1)
            assert asyncio.get_running_loop().time() - before < 0.3
            assert await world.database.table("scores").get(key_in(slot)) == b"v"
        # While another member answers, it is asked: only this one may be cut off.
        world.elsewhere.says = []
        world.elsewhere.values = {key_in(1).encode(): "newer"}
        assert await world.database.table("scores").get(key_in(1)) == "newer"
        await world.database.table("scores").put(key_in(1), 1)
        with pytest.raises(BrokerUnreachable):
            # Of what is not held here there is no copy.
            await world.database.table("aside").get(key_in(0, "aside"))

    run(main())


def test_a_batch_of_several_owners_is_refused_with_what_to_do():
    async def main():
        world = World("a", "b", "c", "b")
        with pytest.raises(UsageError, match=r"3 members \(a, b, c\).*\[fleet.spaces.main\] shards = 1"):
            async with world.database.batch() as batch:
                for slot in range(3):
                    batch.put("scores", key_in(slot), 1)
        async with world.database.batch(ack="applied") as batch:
            batch.put("scores", key_in(1), 1)
            batch.add("hits", key_in(3, "hits"), 1)
        assert [(name, len(changes), ack, whole) for name, changes, ack, whole in world.elsewhere.sent] == [
            ("b", 2, "applied", True)
        ]
        with pytest.raises(UsageError, match="atomic within one space"):
            async with world.database.batch() as batch:
                batch.put("scores", "k", 1)
                batch.put("aside", "k", 1)
        with pytest.raises(UsageError, match="ack"):
            await world.database.table("scores").put("k", 1, ack="soon")

    run(main())


def test_a_member_that_ends_takes_no_more():
    async def main():
        world = World("a", "a", "a", "a")
        world.routing.flush_all()
        world.routing.close()
        with pytest.raises(StoreClosed):
            await world.database.table("scores").put("k", 1)

    run(main())


# --- the answering end --------------------------------------------------------------------------------------


class Link:
    def __init__(self, account):
        self.account = account


def served(world):
    service = Service(world.database, dict)
    Serving(service, world.database, world.routing.here, world.routing.read_here)
    return service


def test_what_another_member_sends_is_written_or_refused_and_never_passed_on():
    async def main():
        world = World("a", "b", "a", "a")
        service, own = served(world), Link(world.database.account)
        change = ("scores", 0, key_in(0).encode(), b"\0v")
        await service.handlers["fleet.write"](own, calls.encode(Forwarded([change], "durable", False)))
        assert world.here.written == [([(TABLES["scores"], *change[1:])], [("main", 0)], "durable", False)]
        removal = ("tags", REMOVE, b"t", b"x")
        await service.handlers["fleet.write"](own, calls.encode(Forwarded([removal], 1, True)))
        assert isinstance(world.here.written[-1][0][0], Removal)
        await service.handlers["fleet.write"](own, calls.encode(Forwarded([], 1, True)))
        assert len(world.here.written) == 2
        with pytest.raises(UsageError, match="same tables"):
            await service.handlers["fleet.write"](
                own, calls.encode(Forwarded([("nothing", 0, b"k", b"")], "durable", False))
            )
        with pytest.raises(NoOwner):
            await service.handlers["fleet.get"](own, calls.encode(calls.Get("scores", key_in(1).encode())))
        assert world.elsewhere.sent == []

    run(main())


def test_a_value_is_answered_by_who_has_it_however_large_and_to_nobody_else():
    async def main():
        world = World("a", "a", "a", "a")
        service, own = served(world), Link(world.database.account)
        for number in range(2):
            kit.write(world.database.engine, put("k", str(number) * 500_000, "events"))
        asked = calls.encode(calls.Get("events", b"k"))
        assert calls.decode(await service.handlers["fleet.get"](own, asked), calls.Got).large
        records = calls.Records(2**22)
        found = [
            calls.decode(record, calls.Got)
            async for message in service.streams["fleet.fetch"](own, asked)
            for record in records.feed(message)
        ]
        assert sorted(len(one) for one in found[0].value) == [500_000, 500_000]
        for method in ("fleet.get", "fleet.write"):
            with pytest.raises(Unauthorised, match="members of a fleet"):
                await service.handlers[method](Link(b"x" * 32), asked)
        with pytest.raises(Unauthorised):
            await anext(service.streams["fleet.fetch"](Link(b"x" * 32), asked))

    run(main())


def test_a_member_that_cannot_be_reached_was_asked_nothing():
    async def main():
        forwarding = Forwarding(kit.keypair("a"), Network(7, bytes(32)), "session")
        with pytest.raises(Unreachable, match="'b' at ws:"):
            await forwarding.write("b", OTHER, [put("k")], "durable", whole=False)
        with pytest.raises(Unreachable, match="has no address"):
            await forwarding.get("b", Member("0" * 16, "1" * 16, 1, 2500), "scores", b"k")
        assert forwarding.forwarded == 0
        await forwarding.close()

    run(main())
