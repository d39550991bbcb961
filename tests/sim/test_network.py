"""The simulated network, with carriers and without nodes: latency, bandwidth, order, loss, partitions, ends."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import TRANSPORT_BUFFER_BYTES
from mycelium.errors import LinkClosed, ProtocolError, Unreachable
from mycelium.peer.observer import NullObserver
from mycelium.sim.carrier import SimCarrier
from mycelium.sim.loop import SECOND_NS, VirtualLoop
from mycelium.sim.network import RTO_MIN_NS, Conditions, Network
from mycelium.sim.places import PLACES, one_way_ns

CALM = Conditions(jitter=0.0)


class End:
    """Owner of a carrier: what came and when, and how it ended."""

    def __init__(self, carrier, loop):
        self.carrier = carrier
        self.loop = loop
        self.got = []
        self.times_ns = []
        self.writable_at_ns = None
        self.ended = None
        carrier.owner = self
        carrier.open_session()

    def frame_received(self, data):
        self.got.append(data)
        self.times_ns.append(self.loop.now_ns())

    def writable(self):
        self.writable_at_ns = self.loop.now_ns()

    def wire_closed(self, error, by_peer):
        assert self.ended is None
        self.ended = (error, by_peer)


class World:
    def __init__(self, conditions=CALM, seed=1):
        self.loop = VirtualLoop()
        self.network = Network(self.loop, random.Random(seed), conditions)
        self.hosts = [self.network.add(at, f"h{at}", at) for at in range(4)]

    def pair(self, a=0, b=1):
        near = SimCarrier(NullObserver(), self.hosts[a])
        far = SimCarrier(NullObserver(), self.hosts[b], inbound=True)
        far.join(near, 9090)
        return End(near, self.loop), End(far, self.loop)

    def run(self, main):
        try:
            return self.loop.run_until_complete(main)
        finally:
            self.loop.close()


def test_the_table_of_latencies_is_symmetric_and_positive():
    for a in range(len(PLACES)):
        for b in range(len(PLACES)):
            assert one_way_ns(a, b) == one_way_ns(b, a) > 0


def test_a_frame_takes_the_latency_of_its_pair():
    world = World()

    async def main():
        near, far = world.pair()
        near.carrier.send(b"x")
        await asyncio.sleep(1)
        assert far.got == [b"x"]
        assert 0 <= far.times_ns[0] - one_way_ns(0, 1) < 1_000_000

    world.run(main())


def test_an_uplink_gives_its_rate_and_each_connection_its_turn():
    world = World(Conditions(uplink_bps=1_000_000, jitter=0.0, spread=False))

    async def main():
        bulk, bulk_end = world.pair(0, 1)
        small, small_end = world.pair(0, 2)
        for _ in range(5):
            bulk.carrier.send(bytes(100_000))
        small.carrier.send(b"x")
        await asyncio.sleep(5)
        # 500 kB and headers at 1 MB/s; the small frame waits for two large ones and not for five.
        assert 0.5 < bulk_end.times_ns[-1] / SECOND_NS < 0.56
        assert 0.2 < small_end.times_ns[0] / SECOND_NS < 0.22

    world.run(main())


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 20_000), min_size=1, max_size=30),
    st.integers(0, 100),
    st.sampled_from([0.0, 0.01, 0.3]),
)
def test_whatever_is_lost_everything_arrives_once_and_in_order(sizes, seed, loss):
    world = World(Conditions(loss=loss, jitter=2.0), seed)

    async def main():
        near, far = world.pair()
        frames = [at.to_bytes(2, "big") + bytes(size) for at, size in enumerate(sizes)]
        for frame in frames:
            near.carrier.send(frame)
            await asyncio.sleep(0.01)
        await asyncio.sleep(600)
        if far.ended is None:
            assert far.got == frames
        else:  # too many losses in a row: a beginning of it, and both ends know
            assert far.got == frames[: len(far.got)]
            assert loss == 0.3
            assert near.ended is not None

    world.run(main())


def test_a_lost_packet_costs_a_timeout_and_holds_up_what_follows():
    world = World(Conditions(loss=0.5, jitter=0.0), seed=3)

    async def main():
        near, far = world.pair()
        for _ in range(20):
            near.carrier.send(b"x")
        await asyncio.sleep(500)
        late = [at for at, when in enumerate(far.times_ns) if when > one_way_ns(0, 1) + RTO_MIN_NS]
        assert late
        assert late == list(range(late[0], len(far.got)))
        assert far.times_ns == sorted(far.times_ns)
        assert world.network.counts["lost"] > 0

    world.run(main())


def test_frames_of_different_connections_overtake_each_other():
    world = World(Conditions(jitter=3.0, spread=False), seed=5)

    async def main():
        ends = [world.pair(0, 1) for _ in range(20)]
        for near, _ in ends:
            near.carrier.send(b"x")
        await asyncio.sleep(1)
        times = [far.times_ns[0] for _, far in ends]
        assert times != sorted(times)

    world.run(main())


def test_a_partition_holds_back_and_heals():
    world = World()

    async def main():
        near, far = world.pair()
        other, other_end = world.pair(0, 2)
        cut = world.network.cut([1])
        near.carrier.send(b"1")
        near.carrier.send(b"2")
        other.carrier.send(b"there")
        await asyncio.sleep(10)
        assert far.got == []
        assert other_end.got == [b"there"]
        assert not world.network.whole
        world.network.heal(cut)
        near.carrier.send(b"3")
        await asyncio.sleep(30)
        assert far.got == [b"1", b"2", b"3"]
        assert far.ended is None

    world.run(main())


def test_two_partitions_must_both_heal():
    world = World()

    async def main():
        near, far = world.pair()
        first, second = world.network.cut([0]), world.network.cut([1, 2])
        near.carrier.send(b"x")
        await asyncio.sleep(5)
        world.network.heal(first)
        await asyncio.sleep(30)
        assert far.got == []
        world.network.heal(second)
        await asyncio.sleep(60)
        assert far.got == [b"x"]

    world.run(main())


def test_a_reader_that_stalls_makes_the_sender_pause_and_resume():
    world = World()

    async def main():
        near, far = world.pair()
        world.hosts[1].stall(True)
        sent = 0
        while not near.carrier.paused:
            near.carrier.send(bytes(50_000))
            sent += 1
            assert sent * 50_000 < 2 * TRANSPORT_BUFFER_BYTES
        await asyncio.sleep(60)
        assert near.carrier.paused
        assert far.got == []
        world.hosts[1].stall(False)
        await asyncio.sleep(5)
        assert len(far.got) == sent
        assert not near.carrier.paused
        assert near.writable_at_ns is not None
        assert near.carrier.buffered_bytes == 0

    world.run(main())


def test_a_goodbye_is_heard_after_what_was_sent_before_it():
    world = World()

    async def main():
        near, far = world.pair()
        near.carrier.send(b"x")
        near.carrier.close(1000, "bye")
        near.carrier.send(b"after the end")
        await near.carrier.disconnected()
        await far.carrier.disconnected()
        assert far.got == [b"x"]
        assert (near.ended, far.ended) == ((None, False), (None, True))
        assert not world.hosts[0].carriers
        assert not world.hosts[1].carriers

    world.run(main())


def test_a_broken_rule_is_told_with_its_reason():
    world = World()

    async def main():
        near, far = world.pair()

        def refuse(data):
            raise ProtocolError("rubbish")

        far.frame_received = refuse
        near.carrier.send(b"x")
        await near.carrier.disconnected()
        assert far.ended[1] is False
        assert near.ended[1] is True
        assert "rubbish" in str(near.ended[0])

    world.run(main())


def test_a_frame_that_is_too_large_for_a_stranger_ends_it():
    world = World()

    async def main():
        near, far = world.pair()
        far.carrier._size_max = 100
        near.carrier.send(bytes(101))
        await near.carrier.disconnected()
        assert far.got == []
        assert far.ended[0].reason == "oversized"

    world.run(main())


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_resets_connections_unless_the_machine_is_off(power):
    world = World()

    async def main():
        near, far = world.pair()
        world.hosts[1].fail(power=power)
        await asyncio.sleep(5)
        near.carrier.send(b"x")
        await asyncio.sleep(5)
        assert far.got == []
        assert far.ended is None, "nobody is left who could be told"
        if power:
            assert near.ended is None
            world.hosts[1].up = True
            near.carrier.send(b"y")
            await asyncio.sleep(5)
        assert isinstance(near.ended[0], LinkClosed)

    world.run(main())


def test_an_answer_to_a_stranger_that_is_larger_than_its_question_is_seen():
    world = World()

    async def main():
        near = SimCarrier(NullObserver(), world.hosts[0])
        far = SimCarrier(NullObserver(), world.hosts[1], inbound=True)
        far.join(near, 9090)
        far.send(b"who are you?")
        return list(world.network.amplified)

    assert len(world.run(main())) == 1


def test_dialling_finds_who_listens_and_nobody_else():
    world = World()

    class Listener:
        def accept(self, dialled_by):
            SimCarrier(NullObserver(), world.hosts[1], inbound=True).join(dialled_by, 9090)

    async def main():
        carrier = SimCarrier(NullObserver(), world.hosts[0])
        connect = world.network.connect
        for url in ("ws://h1:9090", "ws://nobody:9090"):
            with pytest.raises(Unreachable):
                await connect(world.hosts[0], carrier, url)
        world.hosts[1].listeners[9090] = Listener()
        with pytest.raises(Unreachable):
            await connect(world.hosts[0], carrier, "ws://h1:9091")
        began_ns = world.loop.now_ns()
        await connect(world.hosts[0], carrier, "ws://h1:9090")
        assert world.loop.now_ns() - began_ns == 4 * one_way_ns(0, 1)
        world.hosts[2].up = False
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await connect(world.hosts[0], SimCarrier(NullObserver(), world.hosts[0]), "ws://h2:9090")

    world.run(main())
