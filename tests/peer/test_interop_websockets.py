"""The wire is plain RFC 6455: the `websockets` library's client and server speak it with us."""

from __future__ import annotations

import asyncio

import pytest
from peer.linkkit import CONTROL, NETWORK, PING, Node, RawSession, local, run
from websockets.asyncio.server import serve as ws_serve
from websockets.exceptions import ConnectionClosed

from mycelium._core import codec
from mycelium.config import SUBPROTOCOL
from mycelium.errors import Unauthorised, Unreachable, VersionRefused
from mycelium.peer.cookie import CookieJar
from mycelium.peer.dialer import dial_once
from mycelium.peer.greeting import CONFIRMATION
from mycelium.peer.handshake import Responder
from mycelium.protocol import frame
from mycelium.protocol.messages import Ping


@pytest.mark.parametrize("encoding", [1, 2])
def test_their_client_completes_our_handshake_and_exchanges_sealed_pings(encoding):
    async def main():
        async with Node(
            "//Alice", on_message=lambda link, message, size: link.post(3, message.payload, 0)
        ) as alice:
            me = local("//Bob")
            async with RawSession.open(alice, me, encodings=(encoding,)) as raw:
                assert raw.session.peer == alice.local.account
                assert raw.session.encoding == encoding
                for number in range(20):
                    ping = Ping(number, me.now_ns(), []).encode()
                    message = codec.encode_message(
                        1, PING, me.account, me.now_ns(), number, ping, b"", encoding
                    )
                    await raw.send(frame.join([message]))
                    (answer,) = frame.split(await raw.receive())
                    pong = codec.decode_message(answer)
                    assert answer[0] == encoding
                    assert (pong.type, pong.sender_id, pong.payload) == (3, alice.local.account, ping)
                await raw.socket.ping()
                await raw.socket.close(1000, "bye")
                assert raw.socket.close_code == 1000
            _, error = await alice.closed.get()
            assert error is None

    run(main())


def test_their_client_offers_an_old_version_and_reads_why_it_was_refused():
    async def main():
        async with Node("//Alice") as alice:
            with pytest.raises(VersionRefused, match="no protocol version in common"):
                async with RawSession.open(alice, local("//Bob"), versions=(0,)):
                    raise AssertionError("it was let in")
            assert alice.counts.reasons == {"version": 1}

    run(main())


class TheirServer:
    """A node made of the websockets library and the sans-IO Responder; it answers every message with itself."""

    def __init__(self, authorise=lambda account: "validator", subprotocols=(SUBPROTOCOL,)):
        self.local = local("//Alice")
        self.authorise = authorise
        self.subprotocols = subprotocols
        self.ended = asyncio.Event()

    async def __aenter__(self):
        self._server = await ws_serve(
            self._serve, "127.0.0.1", 0, subprotocols=self.subprotocols, compression="deflate", max_size=None
        )
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket):
        me = self.local
        responder = Responder(
            me.keypair,
            NETWORK,
            1,
            self.authorise,
            CookieJar(me.random),
            lambda: False,
            me.random,
            b"127.0.0.1",
        )
        try:
            while responder.session is None:
                answer = responder.receive(await socket.recv(), me.now_ns())
                if answer is not None:
                    await socket.send(answer)
        except Unauthorised as error:
            await socket.send(responder.refusal)
            await socket.close(error.close_code, error.reason)
            return
        session = responder.session
        await socket.send(session.seal(CONFIRMATION))
        try:
            async for data in socket:
                body = session.open(data)
                messages = [codec.decode_message(raw) for raw in frame.split(body)]
                answers = [
                    codec.encode_message(1, one.type, me.account, 0, number, one.payload)
                    for number, one in enumerate(messages)
                ]
                await socket.send(session.seal(frame.join(answers)))
        except ConnectionClosed:
            pass
        self.close = socket.close_code, socket.close_reason
        self.ended.set()


def test_our_dialler_speaks_with_their_server():
    async def main():
        async with TheirServer() as alice:
            bob = Node("//Bob", server=False)
            link = await dial_once(bob.hub, alice.url, alice.local.account, as_client=False)
            assert (link.account, link.role) == (alice.local.account, "validator")
            for number in range(50):
                link.post(PING, number.to_bytes(4, "big") + bytes(number * 500), CONTROL)
            for number in range(50):
                _, message = await bob.messages.get()
                assert message.payload == number.to_bytes(4, "big") + bytes(number * 500)
            link.close(text="enough for today")
            await alice.ended.wait()
            assert alice.close == (1000, "enough for today")
            await bob.hub.close()

    run(main())


def test_our_dialler_learns_that_their_server_refuses_it():
    async def main():
        async with TheirServer(authorise=lambda account: None) as alice:
            bob = Node("//Bob", server=False)
            with pytest.raises(Unauthorised, match="is not a member"):
                await dial_once(bob.hub, alice.url, alice.local.account)
            assert bob.counts.reasons == {}
            assert bob.counts.handshakes == {(False, False): 1}

    run(main())


def test_our_dialler_refuses_a_server_of_another_subprotocol():
    async def main():
        async with TheirServer(subprotocols=["chat"]) as alice:
            with pytest.raises(Unreachable, match="not a Mycelium node"):
                await dial_once(Node("//Bob", server=False).hub, alice.url)

    run(main())
