"""The server under attack, on real sockets: each attack costs the attacker its connection and nobody else theirs."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import pytest
from peer.linkkit import (
    NETWORK,
    PING,
    Node,
    Raw,
    RawSession,
    attacked,
    local,
    run,
    until,
    upgrade_request,
    ws_frame,
)
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import InvalidStatus

from mycelium import config
from mycelium.config import HANDSHAKE_BYTES_MAX, SUBPROTOCOL
from mycelium.errors import (
    MalformedMessage,
    Overloaded,
    OversizedMessage,
    Silence,
    Unauthorised,
    WrongNetwork,
    WrongPeer,
)
from mycelium.peer import admission as admission_module
from mycelium.peer import hub as hub_module
from mycelium.peer import server as server_module
from mycelium.peer.dialer import dial_once
from mycelium.peer.handshake import Initiator
from mycelium.peer.network import Network
from mycelium.protocol import frame


def hello(node: Node, name: str = "//Eve") -> bytes:
    me = local(name)
    return Initiator(me.keypair, me.network, node.local.account, 1, me.random).hello()


# --- before the upgrade -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x" * 20_000,
    ],
    ids=["binary", "tls", "post", "no upgrade", "endless line"],
)
def test_garbage_instead_of_an_upgrade(garbage):
    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port, upgrade=False) as raw:
            raw.writer.write(garbage)
            answer = await raw.end()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
            await until(lambda: alice.counts.reasons.total() == 1)
            assert set(alice.counts.reasons) <= {"upgrade", "subprotocol"}

    run(main())


@pytest.mark.parametrize("offered", [None, "chat", "mycelium.v2, chat"])
def test_another_subprotocol_is_refused_in_words(offered):
    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port, upgrade=False) as raw:
            raw.writer.write(upgrade_request(alice.server.port, offered))
            answer = await raw.end()
            assert answer.startswith(b"HTTP/1.1 400")
            assert b"mycelium.v1" in answer
            assert alice.counts.reasons == {"subprotocol": 1}

    run(main())


def test_a_websocket_client_without_our_subprotocol_gets_an_http_error():
    async def main():
        async with Node("//Alice") as alice:
            with pytest.raises(InvalidStatus, match="400"):
                await ws_connect(alice.url)

    run(main())


def test_compression_is_not_agreed_to():
    async def main():
        async with (
            Node("//Alice") as alice,
            ws_connect(alice.url, subprotocols=["other", SUBPROTOCOL]) as client,
        ):
            assert client.subprotocol == SUBPROTOCOL
            assert client.protocol.extensions == []

    run(main())


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: "])
def test_silence_and_slow_loris_before_the_upgrade(said, monkeypatch):
    monkeypatch.setattr(server_module, "HANDSHAKE_TIMEOUT_MS", 150)

    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port, upgrade=False) as raw:

            async def drip():
                with contextlib.suppress(ConnectionError):
                    for letter in b"a" * 1000:
                        raw.writer.write(bytes([letter]))
                        await asyncio.sleep(0.01)

            raw.writer.write(said)
            dripping = asyncio.create_task(drip()) if said else None
            assert await raw.end() == b""
            assert alice.counts.reasons == {"silence": 1}
            if dripping is not None:
                dripping.cancel()

    run(main())


def test_a_port_scan_is_not_counted():
    async def main():
        async with attacked() as alice:
            async with await Raw.open(alice.server.port, upgrade=False):
                await until(lambda: alice.server.pending == 1)
            await until(lambda: alice.server.pending == 0)
            assert alice.counts.reasons == {}

    run(main())


# --- after the upgrade, before the session ----------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1], ids=["says nothing", "says hello only"])
def test_silence_before_the_session(steps, monkeypatch):
    monkeypatch.setattr(server_module, "HANDSHAKE_TIMEOUT_MS", 150)

    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port) as raw:
            if steps:
                raw.writer.write(ws_frame(hello(alice)))
            code, text = await raw.close_frame()
            assert code == Silence.close_code
            assert text.startswith("silence")
            assert alice.counts.reasons == {"silence": 1}
            assert alice.counts.handshakes[False, True] == 1

    run(main())


BAD_FIRST = {
    "garbage": (ws_frame(b"\xde\xad" * 100), 4001),
    "empty": (ws_frame(b""), 4001),
    "unknown tag": (ws_frame(b"\x09" + bytes(99)), 4001),
    "text": (ws_frame(b"hello", 1), 4001),
    "extension bits": (ws_frame(b"hello", rsv=4), 4001),
    "continuation of nothing": (ws_frame(b"x", 0), 4001),
    "not masked": (ws_frame(b"x" * 200, masked=False), 1002),
    "unknown opcode": (ws_frame(b"x" * 200, 5), 1002),
    "fragmented ping": (ws_frame(b"x", 9, fin=False), 1002),
    "oversized": (ws_frame(bytes(HANDSHAKE_BYTES_MAX + 1)), 4002),
    "far too large": (ws_frame(bytes(3_000_000)), 4002),
    "announced 2^62": (b"\x82\xff" + struct.pack(">Q", 2**62) + bytes(4), 4002),
    "oversized in fragments": (
        ws_frame(bytes(1500), fin=False) + ws_frame(bytes(1500), 0, fin=True),
        4002,
    ),
    "endless fragments": (ws_frame(bytes(400), fin=False) + ws_frame(bytes(400), 0, fin=False) * 6, 4002),
    "fragments within fragments": (ws_frame(b"ab", fin=False) + ws_frame(b"cd"), 4001),
}


@pytest.mark.parametrize("name", BAD_FIRST)
def test_a_bad_first_message_ends_that_connection_with_its_reason(name):
    data, code = BAD_FIRST[name]

    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port) as raw:
            raw.writer.write(data)
            told, text = await raw.close_frame()
            assert told == code
            reason = {4001: "malformed", 4002: "oversized", 1002: "malformed"}[code]
            if code >= 4000:
                assert text.startswith(reason)
            raw.writer.write(ws_frame(struct.pack(">H", told), 8))
            await raw.end()
            assert alice.counts.reasons == {reason: 1}
            assert alice.counts.handshakes[False, True] == 1

    run(main())


def test_an_oversized_first_message_in_drops_is_stopped_at_two_kib():
    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port) as raw:
            head = ws_frame(bytes(100_000))[:8]
            sent = 0

            async def drip():
                nonlocal sent
                raw.writer.write(head[:1])  # the announced size arrives in parts, too
                await asyncio.sleep(0.02)
                raw.writer.write(head[1:])
                with contextlib.suppress(ConnectionError):
                    while sent < 90_000:
                        raw.writer.write(bytes(256))
                        sent += 256
                        await asyncio.sleep(0.002)

            dripping = asyncio.create_task(drip())
            code, _ = await raw.close_frame()
            assert code == OversizedMessage.close_code
            assert sent < 20_000
            assert alice.counts.reasons == {"oversized": 1}
            dripping.cancel()

    run(main())


def test_fragments_and_pings_between_them_are_put_together():
    async def main():
        async with Node("//Alice") as alice, await Raw.open(alice.server.port) as raw:
            m1 = hello(alice)
            raw.writer.write(
                ws_frame(m1[:100], fin=False)
                + ws_frame(b"are you there", 9)
                + ws_frame(b"", 10)
                + ws_frame(m1[100:101], 0, fin=False)
                + ws_frame(m1[101:], 0)
            )
            assert await raw.frame() == (10, b"are you there")
            opcode, m2 = await raw.frame()
            assert opcode == 2
            assert len(m2) <= len(m1)

    run(main())


def test_a_half_open_connection_frees_its_place(monkeypatch):
    monkeypatch.setattr(server_module, "HANDSHAKE_TIMEOUT_MS", 200)

    async def main():
        async with attacked() as alice:
            raw = await Raw.open(alice.server.port)
            raw.writer.write(ws_frame(hello(alice))[:50])
            raw.writer.write_eof()
            await raw.end()
            await until(lambda: alice.server.pending == 0)
            await raw.aclose()

    run(main())


def test_m1_twice_and_m3_from_another_session_are_refused():
    async def main():
        async with attacked() as alice, await Raw.open(alice.server.port) as raw:
            raw.writer.write(ws_frame(hello(alice)))
            await raw.frame()
            raw.writer.write(ws_frame(hello(alice)))
            code, _ = await raw.close_frame()
            assert code >= 4000
            assert alice.counts.reasons.total() == 1

    run(main())


@pytest.mark.parametrize(
    ("alice_role", "network", "kind"),
    [
        (lambda account: None, NETWORK, Unauthorised),
        ("validator", Network(8, NETWORK.genesis), WrongNetwork),
        ("validator", Network(7, bytes(32)), WrongNetwork),
    ],
    ids=["stranger", "netuid", "genesis"],
)
def test_the_dialler_learns_why_it_was_refused(alice_role, network, kind):
    async def main():
        async with (
            Node(local("//Alice", role=alice_role)) as alice,
            Node(local("//Bob", network=network)) as bob,
        ):
            with pytest.raises(kind):
                await bob.dial(alice)
            await until(lambda: alice.server.pending == 0)
            assert alice.hub.links() == bob.hub.links() == []
            assert (alice.counts.reasons + bob.counts.reasons) == {kind.reason: 1}

    run(main())


def test_whoever_dials_another_account_than_it_expected_hears_wrong_peer():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            with pytest.raises(WrongPeer):
                await dial_once(bob.hub, alice.url, local("//Carol").account, as_client=False)
            assert alice.counts.reasons == {"wrong-peer": 1}

    run(main())


# --- places -----------------------------------------------------------------------------------------------


def test_a_flood_from_one_address_is_capped_per_address(monkeypatch):
    monkeypatch.setattr(admission_module, "PENDING_PER_ADDRESS_MAX", 5)

    async def main():
        async with attacked() as alice:
            raws = [await Raw.open(alice.server.port, upgrade=False) for _ in range(20)]
            await until(lambda: alice.counts.reasons["address-full"] == 15)
            assert alice.server.pending == 5
            for raw in raws:
                await raw.aclose()

    run(main())


@pytest.mark.parametrize("upgraded", [False, True])
def test_a_flood_crowds_out_itself_and_not_others(upgraded, monkeypatch):
    monkeypatch.setattr(admission_module, "HANDSHAKES_PENDING_MAX", 8)
    monkeypatch.setattr(
        server_module, "address_group", lambda host: host if host == "127.0.0.1" else "the flood"
    )

    async def main():
        async with attacked() as alice:
            flood = []
            for number in range(30):
                source = (f"127.0.0.{2 + number}", 0)
                flood.append(
                    Raw(*await asyncio.open_connection("127.0.0.1", alice.server.port, local_addr=source))
                )
                if upgraded and number < 8:
                    flood[-1].writer.write(upgrade_request(alice.server.port))
                    await flood[-1].reader.readuntil(b"\r\n\r\n")
            await until(lambda: alice.counts.reasons["handshakes-full"] == 22)
            assert alice.server.pending == 8
            async with Node("//Bob") as bob:  # an honest one finds a place while the flood lasts
                link = await bob.dial(alice)
                link.close()
                await until(lambda: len(alice.hub.links()) == 1)
            for raw in flood:
                await raw.aclose()

    run(main())


def test_under_load_strangers_are_asked_for_a_cookie_and_the_dialler_brings_it(monkeypatch):
    monkeypatch.setattr(admission_module, "COOKIE_THRESHOLD", 2)

    async def main():
        async with attacked() as alice:
            idle = [await Raw.open(alice.server.port, upgrade=False) for _ in range(4)]
            await until(lambda: alice.server.pending == 4)
            async with await Raw.open(alice.server.port) as raw:
                m1 = hello(alice)
                raw.writer.write(ws_frame(m1))
                _, demand = await raw.frame()
                assert len(demand) < len(m1) // 2
            async with Node("//Bob") as bob:
                link = await bob.dial(alice)
                link.close()
                await until(lambda: len(alice.hub.links()) == 1)
            for raw in idle:
                await raw.aclose()

    run(main())


@pytest.mark.parametrize("role", ["validator", "client"])
def test_sessions_above_the_cap_are_told_that_it_is_full(role, monkeypatch):
    monkeypatch.setattr(hub_module, "SESSIONS_MAX", 2)
    monkeypatch.setattr(hub_module, "CLIENTS_MAX", 2)

    async def main():
        async with Node(local("//Alice", role=role)) as alice:
            others = [Node(f"//Other{number}", server=False) for number in range(3)]
            for other in others[:2]:
                await other.dial(alice, as_client=role == "client")
            with pytest.raises(Overloaded, match=r"2 (members|clients)"):
                await others[2].dial(alice, as_client=role == "client")
            label = "clients-full" if role == "client" else "sessions-full"
            assert alice.counts.reasons == {label: 1}
            assert len(alice.hub.links()) == 2
            for other in others:
                await other.hub.close()

    run(main())


# --- in a session -----------------------------------------------------------------------------------------


def test_frames_larger_than_agreed_close_the_link():
    async def main():
        async with attacked() as alice, RawSession.open(alice, local("//Eve")) as raw:
            await raw.socket.send(bytes(config.FRAME_BYTES_MAX + 1))
            code, _ = await raw.close_reason()
            # picows refuses by itself, with the code of RFC 6455, what its own limit forbids
            assert code in (1009, OversizedMessage.close_code)
            await until(lambda: alice.counts.reasons == {"oversized": 1})

    run(main())


def test_a_session_in_fragments_of_websocket_frames_works():
    async def main():
        async with Node("//Alice") as alice, RawSession.open(alice, local("//Bob")) as raw:
            wrapped = Node("//Bob", server=False).hub.envelope.wrap(raw.session, PING, b"x" * 5000)
            sealed = raw.session.seal(frame.join([wrapped]))

            async def parts():
                for at in range(0, len(sealed), 1000):
                    yield sealed[at : at + 1000]

            await raw.socket.send(parts())
            _, message = await alice.messages.get()
            assert message.payload == b"x" * 5000

    run(main())


def test_text_in_a_session_closes_it():
    async def main():
        async with attacked() as alice, RawSession.open(alice, local("//Eve")) as raw:
            await raw.socket.send("text")
            code, text = await raw.close_reason()
            assert code == MalformedMessage.close_code
            assert "text" in text

    run(main())


def test_a_connection_that_breaks_off_ends_its_link():
    async def main():
        async with attacked() as alice:
            async with RawSession.open(alice, local("//Eve")) as raw:
                raw.socket.transport.abort()
                _, error = await alice.closed.get()
                assert "lost" in str(error)
            assert alice.counts.reasons == {}

    run(main())


def test_a_flood_of_pings_that_reads_nothing_fills_no_memory():
    async def main():
        async with Node("//Alice") as alice, await Raw.open(alice.server.port) as raw:
            raw.writer.transport.set_write_buffer_limits(high=1 << 20)
            raw.reader._limit = 1 << 10
            arrival = alice.server.admission.strangers()[0]
            ping = ws_frame(bytes(120), 9) * 500
            for _ in range(200):  # 12 MB of pings
                raw.writer.write(ping)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(raw.writer.drain(), 0.02)
            held = arrival.wire.transport.underlying_transport.get_write_buffer_size()
            assert held <= config.TRANSPORT_BUFFER_BYTES + 4096
            raw.writer.transport.abort()

    run(main())
