"""Changes of keys, full queues, and the end of links and hubs."""

from __future__ import annotations

import pytest
from peer.linkkit import (
    CONTROL,
    GOSSIP,
    PING,
    PUSH,
    Node,
    RawSession,
    local,
    run,
    until,
)

from mycelium import errors
from mycelium.config import CONTROL_QUEUE_BYTES_MAX, OUTBOUND_BYTES_MAX, REKEY_S
from mycelium.errors import LinkClosed, MalformedMessage, Overloaded, ProtocolError
from mycelium.peer import closing
from mycelium.peer.wire import Wire

PROTOCOL_ERRORS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProtocolError)
]


# --- keys, queues, the end --------------------------------------------------------------------------------


def test_keys_change_under_way_and_nothing_is_lost():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            link = await bob.dial(alice)
            back = await alice.opened.get()
            for round_number in range(3):
                for number in range(50):
                    link.post(PING, bytes([number]), CONTROL)
                    back.post(PING, bytes([number]), CONTROL)
                    if number == 20:
                        now_ns = bob.hub.clock_ns() + (REKEY_S + 1) * (round_number + 1) * 10**9
                        link.tick(now_ns)
                        if round_number == 1:
                            back.tick(now_ns)  # both at once
                for number in range(50):
                    for node in (alice, bob):
                        assert (await node.messages.get())[1].payload == bytes([number])
                epoch = round_number + 1
                await until(lambda epoch=epoch: link.session.epoch == back.session.epoch == epoch)

    run(main())


def test_an_offer_of_keys_without_answer_closes_the_link():
    async def main():
        async with Node("//Alice") as alice, RawSession.open(alice, local("//Bob")) as raw:
            link = await alice.opened.get()
            now_ns = alice.hub.clock_ns() + (REKEY_S + 1) * 10**9
            link.tick(now_ns)
            link.tick(now_ns + 10**12)
            assert (await raw.close_reason())[0] == errors.Silence.close_code
            assert alice.counts.reasons == {"silence": 1}

    run(main())


def test_closing_a_hub_lets_the_queue_leave_first():
    async def main():
        async with Node("//Alice") as alice:
            bob = Node("//Bob", server=False)
            link = await bob.dial(alice)
            for _ in range(8):
                assert link.post(GOSSIP, bytes(OUTBOUND_BYTES_MAX // 9), PUSH)
            await bob.hub.close(drain_s=5)
            await until(lambda: alice.messages.qsize() == 8)
            assert link.closed.done()
            _, error = await alice.closed.get()
            assert error is None
            with pytest.raises(LinkClosed):
                await bob.dial(alice)

    run(main())


def test_control_left_unread_closes_the_peer():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            link = await bob.dial(alice)
            link.wire.paused = True  # as if the socket took no more
            size = 60_000
            sent = 0
            while link.post(PING, bytes(size), CONTROL):
                sent += size
            assert sent <= CONTROL_QUEUE_BYTES_MAX
            assert isinstance(await link.closed, Overloaded)
            _, error = await alice.closed.get()
            assert isinstance(error, Overloaded)
            assert bob.counts.drops[CONTROL] == 1

    run(main())


def test_a_link_that_cannot_be_written_does_not_hold_up_the_others(caplog):
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob, Node("//Carol") as carol:
            for other in (bob, carol):
                await other.dial(alice)
            bad, good = (alice.hub.link_of(other.local.account) for other in (bob, carol))
            bad.session._frames_hard_max = 0  # its key is used up
            alice.hub.post(PING, b"news", CONTROL, [bad, good])
            assert (await carol.messages.get())[1].payload == b"news"
            assert "1011" in str((await bob.closed.get())[1])
            assert alice.hub.links() == [good]

    run(main())
    assert "writing to" in caplog.text


def test_control_published_to_one_who_leaves_it_unread_closes_that_one():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob, Node("//Carol") as carol:
            for other in (bob, carol):
                await other.dial(alice)
            slow, good = (alice.hub.link_of(other.local.account) for other in (bob, carol))
            slow.wire.paused = True
            refused = []
            while not refused:
                refused = alice.hub.post(PING, bytes(60_000), CONTROL, [slow, good])
                await good.emptied()
            assert refused == [slow]
            assert isinstance(await slow.closed, Overloaded)
            assert not good.closed.done()

    run(main())


def test_close_texts_fit_a_control_frame_and_a_terminal():
    text = closing.reason_text(MalformedMessage("ü" * 200))
    assert len(text.encode()) <= closing.REASON_BYTES_MAX
    assert text.startswith("malformed: ü")
    assert closing.reason_text(MalformedMessage()) == "malformed"
    assert closing.error_of(1000, "", "there") is None
    assert "\x1b" not in str(closing.error_of(4001, "\x1b[31mred", "there"))
    assert isinstance(closing.error_of(1009, "", "there"), errors.OversizedMessage)
    assert isinstance(closing.error_of(1013, "", "there"), Overloaded)
    assert "4999" in str(closing.error_of(4999, "", "there"))


def test_a_wire_without_connection_ends_quietly():
    async def main():
        wire = Wire(Node("//Alice", server=False).counts)
        wire.send(b"nowhere")
        wire.close()
        wire.abort()
        await wire.disconnected()

    run(main())
