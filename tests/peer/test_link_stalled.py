"""A peer that stops reading costs a bounded amount of memory, loses pushes and nothing else, and catches up."""

from __future__ import annotations

import asyncio

from peer.linkkit import BULK, CONTROL, GOSSIP, PING, PUSH, REPAIR, Node, local, run, until

from mycelium.config import FRAME_BYTES_MAX, OUTBOUND_BYTES_MAX, TRANSPORT_BUFFER_BYTES

MESSAGE_BYTES = 256 * 1024


async def stall(node: Node, link) -> None:
    """Stop reading from the socket of a link, as a process does that hangs."""
    link.wire.transport.underlying_transport.pause_reading()


async def fill(link, klass: int) -> int:
    """Send until the queue refuses; the number that it took."""
    taken = 0
    while link.post(GOSSIP, taken.to_bytes(4, "big") + bytes(MESSAGE_BYTES), klass):
        taken += 1
        await asyncio.sleep(0)
    return taken


def test_a_stalled_reader_is_bounded_lags_and_catches_up():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob, Node("//Carol") as carol:
            slow, good = await alice.dial(bob), await alice.dial(carol)
            theirs = await bob.opened.get()
            await stall(bob, theirs)
            taken = await fill(slow, PUSH)
            transport = slow.wire.transport.underlying_transport
            held = transport.get_write_buffer_size() + alice.hub.fanout.pending_bytes(slow.id)
            assert slow.wire.paused
            assert transport.get_write_buffer_size() <= TRANSPORT_BUFFER_BYTES + FRAME_BYTES_MAX
            assert held <= OUTBOUND_BYTES_MAX + TRANSPORT_BUFFER_BYTES + FRAME_BYTES_MAX
            assert slow.lagging
            assert not good.lagging
            assert alice.counts.drops[PUSH] == 1
            assert not slow.post(GOSSIP, bytes(MESSAGE_BYTES), PUSH)
            assert alice.hub.post(GOSSIP, bytes(MESSAGE_BYTES), PUSH, [slow, good]) == [slow]

            # control has its own room, overtakes what is queued, and arrives once the reader reads again
            assert slow.post(PING, b"control", CONTROL)
            assert alice.counts.drops[CONTROL] == 0
            await until(lambda: carol.messages.qsize() == 1)
            theirs.wire.transport.underlying_transport.resume_reading()
            before = 0
            while (await bob.messages.get())[1].type != PING:
                before += 1
            assert before < taken
            await until(lambda: bob.messages.qsize() == taken - before)
            await slow.drained(BULK)
            slow.clear_lagging()
            assert not slow.lagging
            assert slow.post(GOSSIP, b"after", PUSH)
            await until(lambda: bob.messages.qsize() == taken - before + 1)
            assert slow.session.epoch == 0
            assert not good.closed.done()

    run(main())


def test_repair_and_bulk_are_refused_and_not_dropped():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            link = await alice.dial(bob)
            theirs = await bob.opened.get()
            await stall(bob, theirs)
            taken = await fill(link, BULK)
            assert not link.post(GOSSIP, bytes(MESSAGE_BYTES), REPAIR)
            assert not link.lagging
            waiting = asyncio.create_task(link.drained(BULK))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            theirs.wire.transport.underlying_transport.resume_reading()
            await waiting
            assert link.post(GOSSIP, b"last", BULK)
            await until(lambda: bob.messages.qsize() == taken + 1)

    run(main())


def test_the_end_of_the_link_ends_the_wait_and_frees_the_queue():
    async def main():
        async with Node("//Alice") as alice, Node(local("//Bob")) as bob:
            link = await alice.dial(bob)
            await stall(bob, await bob.opened.get())
            await fill(link, BULK)
            waiting = asyncio.create_task(link.drained(BULK))
            await asyncio.sleep(0)
            link.close()
            (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
            assert "ended" in str(outcome)
            assert alice.hub.fanout.pending_bytes(link.id) == 0
            await link.wire.disconnected()  # though its buffer never drains

    run(main())


def test_many_small_messages_share_frames():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            link = await alice.dial(bob)
            sizes = []
            transport = link.wire.transport

            class Recording:
                def send(self, kind, data):
                    sizes.append(len(data))
                    transport.send(kind, data)

            link.wire.transport = Recording()
            for number in range(1000):
                link.post(PING, number.to_bytes(4, "big"), CONTROL)
            for number in range(1000):
                assert (await bob.messages.get())[1].payload == number.to_bytes(4, "big")
            link.wire.transport = transport
            assert len(sizes) <= 3
            assert sum(sizes) > 1000 * 50

    run(main())
