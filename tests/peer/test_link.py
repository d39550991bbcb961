"""Links over real sockets: messages, closing, errors of handlers, signed mode, tie-break, change of keys."""

from __future__ import annotations

import asyncio
import logging

import pytest
from peer.linkkit import (
    BULK,
    CONTROL,
    GOSSIP,
    PING,
    PUSH,
    Node,
    Proxy,
    RawSession,
    local,
    run,
    until,
)

from mycelium import errors
from mycelium._core import codec
from mycelium.errors import LinkClosed, ProtocolError
from mycelium.identity.signing import sign_message
from mycelium.peer import envelope
from mycelium.peer.dialer import dial_once
from mycelium.protocol import frame

PROTOCOL_ERRORS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProtocolError)
]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_messages_arrive_complete_and_in_order_both_ways(loop):
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            out = await bob.dial(alice)
            back = await alice.opened.get()
            assert (out.account, back.account) == (alice.local.account, bob.local.account)
            assert (out.inbound, back.inbound, out.url) == (False, True, alice.url)
            sizes = [0, 1, 1000, 70_000, 900_000] * 3
            for link, receiver in ((out, alice), (back, bob)):
                for index, size in enumerate(sizes):
                    assert link.post(GOSSIP, index.to_bytes(4, "big") + bytes(size), PUSH)
                for index, size in enumerate(sizes):
                    _, message = await receiver.messages.get()
                    assert message.type == GOSSIP
                    assert message.payload == index.to_bytes(4, "big") + bytes(size)
            assert alice.counts.types_in[GOSSIP] == bob.counts.types_out[GOSSIP] == len(sizes)
            assert alice.counts.received > 0
            assert alice.counts.sessions == 1
            assert back.last_received_ns > back.opened_ns

    run(main(), loop=loop)


def test_json_is_spoken_where_it_was_negotiated():
    async def main():
        async with Node("//Alice") as alice, Node(local("//Bob", encodings=(1,))) as bob:
            link = await bob.dial(alice)
            assert link.session.encoding == 1
            raw = alice.hub.envelope.wrap((await alice.opened.get()).session, PING, b"1")
            assert raw[0] == 1
            link.post(PING, b"hello", CONTROL)
            _, message = await alice.messages.get()
            assert message.payload == b"hello"

    run(main())


def test_publish_reaches_every_link_and_encodes_per_encoding():
    async def main():
        async with (
            Node("//Alice") as alice,
            Node("//Bob") as bob,
            Node(local("//Carol", encodings=(1,))) as carol,
        ):
            for other in (bob, carol):
                await other.dial(alice)
                await alice.opened.get()
            assert alice.hub.post(GOSSIP, b"news", PUSH, alice.hub.links()) == []
            for other in (bob, carol):
                _, message = await other.messages.get()
                assert message.payload == b"news"
            assert alice.counts.types_out[GOSSIP] == 2

    run(main())


@pytest.mark.parametrize("kind", PROTOCOL_ERRORS, ids=lambda kind: kind.reason)
def test_a_protocol_error_of_a_handler_closes_that_one_link_and_says_why(kind):
    async def main():
        def judge(link, message, size):
            if message.payload == b"bad":
                raise kind("what exactly")

        async with Node("//Alice", on_message=judge) as alice, Node("//Bob") as bob, Node("//Carol") as carol:
            bad, good = await bob.dial(alice), await carol.dial(alice)
            bad.post(PING, b"bad", CONTROL)
            error = await bad.closed
            assert type(error) is kind
            assert "what exactly" in str(error)
            assert bad.closed_by_peer
            link, error = await alice.closed.get()
            assert type(error) is kind
            assert (link.account, link.closed_by_peer) == (bob.local.account, False)
            assert alice.counts.reasons == {kind.reason: 1}
            assert bob.counts.reasons == {}
            good.post(PING, b"fine", CONTROL)
            await until(lambda: alice.counts.types_in[PING] == 2)
            assert not good.closed.done()
            assert alice.hub.link_of(bob.local.account) is None

    run(main())


def test_a_bug_in_a_handler_is_logged_and_closes_that_one_link(caplog):
    async def main():
        def fail(link, message, size):
            if message.payload == b"bad":
                raise ZeroDivisionError("a bug")

        async with Node("//Alice", on_message=fail) as alice, Node("//Bob") as bob, Node("//Carol") as carol:
            bad, good = await bob.dial(alice), await carol.dial(alice)
            bad.post(PING, b"bad", CONTROL)
            error = await bad.closed
            assert isinstance(error, LinkClosed)
            assert "1011" in str(error)
            good.post(PING, b"fine", CONTROL)
            await until(lambda: alice.counts.types_in[PING] == 2)
            assert not good.closed.done()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert any("a bug" in record.exc_text for record in caplog.records if record.exc_text)


def test_what_follows_in_a_frame_is_not_looked_at_after_a_link_closed():
    async def main():
        seen = []

        def close(link, message, size):
            seen.append(message.payload)
            link.close(text="enough")

        async with Node("//Alice", on_message=close) as alice, Node("//Bob") as bob:
            link = await bob.dial(alice)
            for _ in range(5):
                link.post(PING, b"x", CONTROL)
            assert await link.closed is None
            assert seen == [b"x"]
            assert link.send(b"\x02late", PUSH) is False
            assert link.post(PING, b"late", PUSH) is False
            with pytest.raises(LinkClosed):
                await link.drained(BULK)

    run(main())


def test_a_failing_close_handler_is_logged_and_harms_nobody(caplog):
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            alice.hub._on_close = lambda link, error: 1 / 0
            link = await bob.dial(alice)
            link.close()
            await until(lambda: not alice.hub.links())

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "close handler failed" in caplog.text


# --- who may say what ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sender_id": bytes(32)}, "malformed"),
        ({"version": 2}, "malformed"),
        ({"type": 0}, "handshake"),
        ({"type": 1}, "handshake"),
    ],
)
def test_a_message_that_does_not_fit_its_session_closes_the_link(change, reason):
    async def main():
        async with Node("//Alice") as alice:
            me = local("//Bob")
            async with RawSession.open(alice, me) as raw:
                fields = {
                    "version": 1,
                    "type": 2,
                    "sender_id": me.account,
                    "timestamp": 1,
                    "nonce": 1,
                    "payload": b"",
                }
                await raw.send(frame.join([codec.encode_message(**fields | change)]))
                code, text = await raw.close_reason()
                assert text.startswith(reason)
                assert alice.counts.reasons == {reason: 1}
                assert alice.messages.empty()
                assert code >= 4000

    run(main())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"\x01\x00", "malformed"),
        (b"\x05\x00\x00\x00\x02ab", "malformed"),
        (frame.join([b"\x07what"]), "malformed"),
        (frame.join([b"\x02" + bytes(40)]), "malformed"),
        (b"\xff\xff\x1f\x00" + bytes(1000), "oversized"),
    ],
)
def test_a_sealed_body_that_does_not_parse_closes_the_link(body, reason):
    async def main():
        async with Node("//Alice") as alice, RawSession.open(alice, local("//Bob")) as raw:
            await raw.send(body)
            _, text = await raw.close_reason()
            assert text.startswith(reason)
            assert alice.counts.reasons == {reason: 1}

    run(main())


SEALED_ATTACKS = {
    "replayed": lambda held: lambda index, data: [data, data] if index == 3 else [data],
    "dropped": lambda held: lambda index, data: [] if index == 3 else [data],
    "reordered": lambda held: lambda index, data: _reorder(held, index, data),
    "truncated": lambda held: lambda index, data: [data[:-1]] if index == 3 else [data],
    "changed": lambda held: lambda index, data: [bytes([data[0] ^ 1]) + data[1:]] if index == 3 else [data],
    "shorter than a seal": lambda held: lambda index, data: [data[:3]] if index == 3 else [data],
    "garbage": lambda held: lambda index, data: [b"garbage" * 9] if index == 3 else [data],
}


def _reorder(held, index, data):
    if index == 3:
        held.append(data)
        return []
    if index == 4:
        return [data, *held]
    return [data]


@pytest.mark.parametrize("attack", SEALED_ATTACKS)
def test_a_sealed_frame_changed_on_the_way_breaks_the_session(attack):
    async def main():
        tamper = SEALED_ATTACKS[attack]([])
        async with Node("//Alice") as alice, Node("//Bob") as bob, Node("//Carol") as carol:
            good = await carol.dial(alice)
            async with Proxy(alice.server.port, tamper) as proxy:
                link = await dial_once(bob.hub, proxy.url, alice.local.account, as_client=False)
                for number in range(4):
                    link.post(PING, bytes([number]), CONTROL)
                    await asyncio.sleep(0.01)  # one frame each
                error = await link.closed
                assert isinstance(error, errors.BrokenSeal)
                assert alice.counts.reasons == {"broken-seal": 1}
                payloads = [alice.messages.get_nowait()[1].payload for _ in range(alice.messages.qsize())]
                assert payloads == [bytes([number]) for number in range(len(payloads))]
                assert len(payloads) == (2 if attack == "replayed" else 1)
            assert not good.closed.done()
            good.post(PING, b"fine", CONTROL)
            _, message = await alice.messages.get()
            assert message.payload == b"fine"

    run(main())


# --- auth_mode signed ------------------------------------------------------------------------------------


def test_signed_messages_are_verified_and_counted_once():
    async def main():
        async with Node("//Alice", auth_mode="signed") as alice, Node("//Bob", auth_mode="signed") as bob:
            link = await bob.dial(alice)
            link.post(GOSSIP, b"news", PUSH)
            _, message = await alice.messages.get()
            assert len(message.signature) == 64
            assert len(alice.hub.envelope._window) == 1
            back = await alice.opened.get()
            assert alice.hub.post(GOSSIP, b"answer", PUSH, [back]) == []
            _, message = await bob.messages.get()
            assert message.payload == b"answer"

    run(main())


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("unsigned", "bad-signature"),
        ("signed for another session", "bad-signature"),
        ("changed after signing", "bad-signature"),
        ("replayed", "replayed"),
        ("old", "stale"),
        ("in the future", "stale"),
    ],
)
def test_signed_mode_refuses(flaw, reason):
    async def main():
        async with Node("//Alice", auth_mode="signed") as alice:
            me = local("//Bob")
            async with RawSession.open(alice, me) as raw:
                now_ns = me.now_ns() + {"old": -120, "in the future": 60}.get(flaw, 0) * 10**9
                binding = bytes(32) if flaw == "signed for another session" else raw.session.binding
                signature = sign_message(me.keypair, binding, 1, 2, now_ns, 77, b"payload")
                if flaw == "unsigned":
                    signature = b""
                payload = b"other" if flaw == "changed after signing" else b"payload"
                message = codec.encode_message(1, 2, me.account, now_ns, 77, payload, signature)
                await raw.send(frame.join([message]))
                if flaw == "replayed":
                    await raw.send(frame.join([message]))
                _, text = await raw.close_reason()
                assert text.startswith(reason)
                assert alice.counts.reasons == {reason: 1}
                assert alice.messages.qsize() == len(alice.hub.envelope._window) == (flaw == "replayed")

    run(main())


def test_signed_mode_fails_closed_when_it_cannot_remember_more(monkeypatch):
    monkeypatch.setattr(envelope, "REPLAY_PER_SENDER_MAX", 2)

    async def main():
        async with Node("//Alice", auth_mode="signed") as alice, Node("//Bob", auth_mode="signed") as bob:
            link = await bob.dial(alice)
            for _ in range(20):
                link.post(PING, b"x", CONTROL)
            assert isinstance(await link.closed, errors.ReplayTableFull)
            assert 2 <= alice.messages.qsize() < 20

    run(main())
