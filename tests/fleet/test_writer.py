"""The writer of a member, with a stream that does what the test says: nothing is answered before the stream has it."""

from __future__ import annotations

import asyncio

import kit
import pytest
from kit import TABLES, put
from nodekit import run, until

from mycelium.config import BATCH_CHANGES_MAX
from mycelium.database import value
from mycelium.errors import (
    BrokerUnreachable,
    Fenced,
    NoOwner,
    Overloaded,
    StoreClosed,
    StoreError,
    StoreFull,
    Unauthorised,
    ValueRefused,
    WriteUnknown,
)
from mycelium.fleet import events
from mycelium.fleet import writer as writer_module
from mycelium.fleet.slots import Slots
from mycelium.fleet.writer import REMOVE, Removal, StreamWriter
from mycelium.protocol.messages import Op

MINE = [("main", 0)]


class Stream:
    """What was published, in order. gate: a publish waits while it is clear; fail: raised by the next ones."""

    def __init__(self):
        self.published = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = []
        self.under_way = 0

    async def publish(self, space, raw, signature, batch_id):
        self.under_way += 1
        assert self.under_way == 1, "one batch of a space at a time"
        try:
            await self.gate.wait()
            if self.fail:
                raise self.fail.pop(0)
            self.published.append(raw)
            return len(self.published)
        finally:
            self.under_way -= 1


class World:
    def __init__(self, store=None):
        self.database = kit.database("a", store)
        self.engine = self.database.engine
        self.engine.stream_first = True
        self.stream = Stream()
        self.drained = []
        self.problem = ""
        self.connected = True
        self.slots = Slots(self.drained.append, lambda space: len(self.stream.published))
        self.slots.serve("main", 0)
        self.writer = StreamWriter(
            self.engine,
            self.database.store,
            self.database.acks,
            self.stream,
            self.slots,
            lambda: kit.NOW_MS,
            lambda: self.connected,
            lambda: self.problem,
        )

    def write(self, *changes, ack="durable", whole=False, places=MINE):
        return asyncio.ensure_future(self.writer.write(changes or [put("k")], places, ack, whole=whole))

    @property
    def head(self):
        return self.engine.own_head("main")


def test_nothing_is_here_and_nobody_is_answered_before_the_stream_has_it():
    async def main():
        world = World()
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        assert (world.head, first.done(), world.slots.flying) == (0, False, 1)
        second, third = world.write(put("l")), world.write(put("m"))
        await asyncio.sleep(0)
        world.stream.gate.set()
        await asyncio.gather(first, second, third)
        # What came while the first was under way went together.
        assert (world.head, len(world.stream.published), world.writer.batches, world.writer.changes) == (
            3,
            2,
            2,
            3,
        )
        assert world.slots.flying == 0
        assert await world.database.table("scores").get("m") == b"v"

    run(main())


def test_what_is_written_at_once_goes_together_up_to_the_size_of_a_batch_and_a_batch_goes_alone():
    async def main():
        world = World()
        await asyncio.gather(*(world.write(put(f"k{at}")) for at in range(BATCH_CHANGES_MAX + 10)))
        assert world.writer.batches == 2
        await asyncio.gather(
            world.write(put("a")), world.write(put("b"), put("c"), whole=True), world.write(put("d"))
        )
        assert world.writer.batches == 5
        await asyncio.gather(*(world.write(put("b", "x" * 40_000)) for _ in range(3)))
        assert world.writer.batches == 8

    run(main())


def test_a_refused_batch_leaves_nothing_and_the_next_has_its_numbers():
    async def main():
        world = World()
        world.stream.fail.append(Fenced("over"))
        with pytest.raises(Fenced):
            await world.write()
        assert (world.head, world.slots.flying) == (0, 0)
        await world.write(put("l"))
        assert world.head == 1
        assert await world.database.table("scores").get("k") is None

    run(main())


def test_a_change_that_is_wrong_is_its_callers_error_and_no_other_writes_are_lost():
    async def main():
        world = World()
        with pytest.raises(ValueRefused):
            await world.write(*[put(f"k{at}", "x" * 500_000) for at in range(3)], whole=True)
        world.writer.refusal = lambda: "the clock is wrong"
        with pytest.raises(StoreError, match="the clock is wrong"):
            await world.write()
        world.writer.refusal = lambda: None
        await world.write()
        assert (world.head, world.slots.flying) == (1, 0)

    run(main())


def test_rights_are_asked_before_anything_is_published():
    async def main():
        world = World()
        world.engine._authority.writers = set()
        with pytest.raises(Unauthorised):
            await world.write()
        assert world.stream.published == []

    run(main())


def test_a_stream_that_says_nothing_leaves_its_caller_in_doubt_and_others_with_nothing_written(monkeypatch):
    monkeypatch.setattr(writer_module, "FLEET_WRITE_S", 0.2)

    async def main():
        world = World()
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        second = world.write(put("l"))
        with pytest.raises(WriteUnknown, match="is not known"):
            await first
        with pytest.raises(BrokerUnreachable, match="not written"):
            await second
        assert world.slots.flying == 1, "the first may yet be there"
        world.stream.gate.set()
        await until(lambda: world.head == 1)
        await until(lambda: world.slots.flying == 0)
        await world.write(put("m"))
        assert [await world.database.table("scores").get(key) for key in "klm"] == [b"v", None, b"v"]

    run(main())


def test_who_stops_waiting_takes_back_what_has_not_left_and_nothing_else():
    async def main():
        world = World()
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        second = world.write(put("l"))
        await asyncio.sleep(0)
        for one in (first, second):
            one.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        world.stream.gate.set()
        await world.write(put("m"))
        assert [await world.database.table("scores").get(key) for key in "klm"] == [b"v", None, b"v"]

    run(main())


def test_without_a_connection_it_is_waited_for_a_moment_and_then_refused_at_once():
    async def main():
        world = World()
        world.connected = False
        waiting = world.write()
        await asyncio.sleep(0.05)
        assert (waiting.done(), world.stream.under_way) == (False, 0)
        world.connected = True
        await waiting
        world.connected = False
        waiting = world.write()
        await asyncio.sleep(0.05)
        world.problem = "no server answers"
        for one in (waiting, world.write()):
            with pytest.raises(BrokerUnreachable, match="no server answers"):
                await one
        assert (world.head, world.slots.flying) == (1, 0)

    run(main())


def test_a_slot_that_is_given_away_takes_nothing_new_and_is_drained_when_all_of_it_is_known():
    async def main():
        world = World()
        world.slots.serve("main", 1)
        world.stream.gate.clear()
        first, second = world.write(), world.write(put("l"), places=[("main", 1)])
        await until(lambda: world.stream.under_way == 1)
        world.slots.drain("main", 0, 7, "b")
        with pytest.raises(NoOwner):
            await world.write(put("m"))
        assert world.drained == []
        world.stream.gate.set()
        await asyncio.gather(first, second)
        assert world.drained == [events.Drained("main", 0, 7, 1)]
        await world.write(put("n"), places=[("main", 1)])
        # Nothing of it is in flight: it is drained at once.
        world.slots.drain("main", 1, 8, "b")
        assert world.drained[1:] == [events.Drained("main", 1, 8, 2)]

    run(main())


def test_a_slot_that_was_lost_while_its_writes_waited_is_not_written():
    async def main():
        world = World()
        world.slots.serve("main", 1)
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        lost, kept = world.write(put("l")), world.write(put("m"), places=[("main", 1)])
        await asyncio.sleep(0)
        world.slots.stop("main", 0, "the lease is over")
        world.stream.gate.set()
        await asyncio.gather(first, kept)
        with pytest.raises(NoOwner, match="lost meanwhile"):
            await lost
        assert [await world.database.table("scores").get(key) for key in "klm"] == [b"v", None, b"v"]

    run(main())


def test_what_a_remove_takes_out_is_looked_up_when_everything_before_it_is_there():
    async def main():
        world = World()
        tags, element = TABLES["tags"], value.value_bytes("x")
        insert = (tags, int(Op.INSERT), b"t", element)
        world.stream.gate.clear()
        writes = [world.write(insert)]
        await until(lambda: world.stream.under_way == 1)
        writes.append(world.write(Removal((tags, REMOVE, b"t", element))))
        await asyncio.sleep(0)
        world.stream.gate.set()
        await asyncio.gather(*writes)
        assert not await world.database.table("tags").get("t")
        head = world.head
        await world.write(Removal((tags, REMOVE, b"t", element)))
        assert world.head == head, "there is nothing to write"

    run(main())


def test_what_the_stream_has_comes_into_the_store_before_anything_else(monkeypatch):
    monkeypatch.setattr(writer_module, "_APPLY_RETRY_S", 0.01)

    async def main():
        world = World()
        commit, full = world.database.store.commit, [True]

        def refusing(batch):
            if full[0]:
                raise StoreFull("no room")
            commit(batch)

        world.database.store.commit = refusing
        first, second = world.write(), world.write(put("l"), whole=True)
        await until(lambda: len(world.stream.published) == 1)
        await asyncio.sleep(0.05)
        assert (world.head, first.done(), len(world.stream.published)) == (0, False, 1)
        full[0] = False
        await asyncio.gather(first, second)
        assert world.head == 2

    run(main())


def test_a_log_that_was_cut_meanwhile_leaves_in_doubt_what_was_published():
    async def main():
        world = World()
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        world.engine.own_log_cut = True
        world.stream.gate.set()
        with pytest.raises(WriteUnknown, match="given up"):
            await first
        assert world.slots.flying == 0

    run(main())


def test_an_end_tells_everybody_what_is_certain():
    async def main():
        world = World()
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        second = world.write(put("l"))
        await asyncio.sleep(0)
        await world.writer.stop()
        with pytest.raises(WriteUnknown, match="closing"):
            await first
        with pytest.raises(StoreClosed, match="nothing was written"):
            await second
        with pytest.raises(StoreClosed):
            await world.write(put("m"))

    run(main())


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(writer_module, "FLEET_WAITING_MAX", 2)

    async def main():
        world = World()
        world.stream.gate.clear()
        first = world.write()
        await until(lambda: world.stream.under_way == 1)
        waiting = [world.write(put("l")), world.write(put("m"))]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="nothing was written"):
            await world.write(put("n"))
        world.stream.gate.set()
        await asyncio.gather(first, *waiting)

    run(main())


def test_an_acknowledgement_of_peers_is_waited_for_after_the_stream():
    async def main():
        world = World()
        waiting = world.write(ack=1)
        await until(lambda: world.head == 1)
        await asyncio.sleep(0.01)
        assert not waiting.done()
        world.database.acks.record("main", b"p" * 32, 1)
        await waiting

    run(main())


def test_a_bug_of_the_stream_leaves_in_doubt_and_stops_the_space_but_no_other(caplog):
    async def main():
        world = World()
        world.slots.serve("other", 0)
        world.stream.fail.append(RuntimeError("a bug"))
        with pytest.raises(WriteUnknown, match="internal error"):
            await world.write()
        with pytest.raises(AssertionError, match="neither applied nor abandoned"):
            await world.write(put("l"))
        await world.write(put("m", table="aside"), places=[("other", 0)])
        assert world.head == 0
        assert "a bug" in caplog.text

    run(main())
