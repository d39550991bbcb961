"""The door of sessions under attack, on a real socket, and its carrier by itself: strangers hurt nobody."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from httpwire.minerkit import on_loop
from httpwire.sessionkit import World, over_session, until
from httpwire.test_sessions import doors
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mycelium.config import HANDSHAKE_BYTES_MAX, TRANSPORT_BUFFER_BYTES
from mycelium.errors import LinkClosed, MalformedMessage
from mycelium.http.session import door as door_module
from mycelium.http.session.carrier import AsgiCarrier
from mycelium.miner import dependencies
from mycelium.peer import admission as admission_module
from mycelium.peer.observer import NullObserver


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Miners write where they are started."""
    monkeypatch.chdir(tmp_path)


def dial(world, subprotocol="mycelium.v1", path="/mycelium/session"):
    url = world.address.replace("http", "ws") + path
    return connect(url, subprotocols=[subprotocol], compression=None, max_size=2**20, proxy=None)


async def closed_with(socket):
    """The code by which the other side ends it."""
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


@pytest.mark.parametrize(
    "sent",
    [b"", b"\x00", b"\x02garbage", b"\x01{}", os.urandom(600), bytes(HANDSHAKE_BYTES_MAX + 1), "a text"],
    ids=["empty", "zero", "flat", "json", "random", "oversized", "text"],
)
@on_loop
async def test_garbage_ends_its_own_connection(sent):
    async with World() as world:
        await world.session_opened()
        async with dial(world) as socket:
            assert socket.subprotocol == "mycelium.v1"
            await socket.send(sent)
            assert await closed_with(socket) >= 4000
        (door,) = doors(world.app)
        await until(lambda: door._room._admission.pending == 0)
        assert over_session(await world.post("/ask"))


@on_loop
async def test_other_websockets_are_the_app_s_own():
    async with World() as world:

        @world.app.websocket("/own")
        async def own(websocket):
            await websocket.accept()
            await websocket.send_text("mine")
            await websocket.close()

        own.__annotations__.clear()
        for path, subprotocol in (("/none", "other.v1"), ("/mycelium/session", "mycelium.v2")):
            with pytest.raises(InvalidStatus) as caught:
                await dial(world, subprotocol, path)
            assert caught.value.response.status_code == 403


@on_loop
async def test_who_says_nothing_is_put_out(monkeypatch):
    monkeypatch.setattr(door_module, "HANDSHAKE_TIMEOUT_MS", 50)
    async with World() as world:
        async with dial(world) as socket:
            assert await closed_with(socket) >= 4000
        (door,) = doors(world.app)
        await until(lambda: door._room._admission.pending == 0)


@on_loop
async def test_one_address_has_only_so_many_places_for_strangers(monkeypatch):
    monkeypatch.setattr(admission_module, "PENDING_PER_ADDRESS_MAX", 3)
    async with World() as world:
        strangers = [await dial(world) for _ in range(3)]
        with pytest.raises(InvalidStatus) as caught:
            await dial(world)
        assert caught.value.response.status_code == 403
        await strangers[0].close()
        (door,) = doors(world.app)
        await until(lambda: door._room._admission.pending == 2)
        await world.session_opened()
        for stranger in strangers:
            await stranger.close()


@on_loop
async def test_a_newcomer_takes_the_place_of_an_idle_stranger(monkeypatch):
    monkeypatch.setattr(admission_module, "HANDSHAKES_PENDING_MAX", 2)
    addresses = iter(("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    monkeypatch.setattr(door_module, "address_group", lambda host: next(addresses))
    async with World() as world:
        strangers = [await dial(world) for _ in range(3)]
        assert await closed_with(strangers[0]) == 1013
        for stranger in strangers[1:]:
            await stranger.close()


@on_loop
async def test_a_frame_that_was_changed_ends_the_session_and_the_next_is_a_new_one():
    async with World() as world:
        await world.session_opened()
        link = world.session().link
        link.wire.send(b"not sealed at all")
        await until(link.closed.done)
        assert not over_session(await world.post("/ask"))
        await until(lambda: world.session() is not None)


@on_loop
async def test_a_configuration_that_has_to_be_waited_for():
    async with World() as world:

        async def later():
            await asyncio.sleep(0)
            return world.settings

        world.app.dependency_overrides[dependencies.get_config] = later
        await world.session_opened()
        assert over_session(await world.post("/ask"))


@on_loop
async def test_a_mounted_app_has_sessions_too():
    async with World() as world:
        inner = world.app
        outer = FastAPI(lifespan=lambda app: inner.router.lifespan_context(inner))
        outer.mount("/under", inner)
        await world.stop()
        world.app = outer
        await world.start()
        plain = type(world).address
        try:
            type(world).address = property(lambda self: f"http://127.0.0.1:{self.port}/under")
            first = await world.post("/ask")
            assert (first.status_code, over_session(first)) == (200, False)
            await until(lambda: world.session() is not None)
            second = await world.post("/ask")
            assert (second.status_code, over_session(second)) == (200, True)
        finally:
            type(world).address = plain


# --- the carrier ------------------------------------------------------------------------------------------


class Socket:
    """An ASGI server's end of a WebSocket, in the test's hands."""

    def __init__(self):
        self.sent = []
        self.open = asyncio.Event()
        self.open.set()
        self.fails = None
        self._incoming = asyncio.Queue()

    def put(self, **message):
        self._incoming.put_nowait({"type": "websocket.receive", **message})

    def lose(self, code=1005, reason=""):
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def receive(self):
        return await self._incoming.get()

    async def send(self, message):
        await self.open.wait()
        if self.fails is not None:
            raise self.fails
        self.sent.append(message)


class Owner:
    def __init__(self):
        self.frames, self.ended, self.writables, self.raises = [], [], 0, None

    def frame_received(self, data):
        self.frames.append(data)
        if self.raises is not None:
            raise self.raises

    def writable(self):
        self.writables += 1

    def wire_closed(self, error, by_peer):
        self.ended.append((error, by_peer))


def carrying():
    socket, owner = Socket(), Owner()
    carrier = AsgiCarrier(NullObserver(), socket.receive, socket.send, "192.0.2.1:5")
    carrier.owner = owner
    return SimpleNamespace(
        carrier=carrier, socket=socket, owner=owner, task=asyncio.create_task(carrier.run())
    )


@on_loop
async def test_a_slow_reader_is_noticed_before_there_is_much_to_hold():
    one = carrying()
    one.socket.open.clear()
    frame = bytes(TRANSPORT_BUFFER_BYTES // 4)
    for _ in range(5):
        one.carrier.send(frame)
    assert one.carrier.paused
    one.socket.open.set()
    await until(lambda: one.owner.writables == 1)
    assert not one.carrier.paused
    await until(lambda: len(one.socket.sent) == 5)
    one.socket.lose()
    await one.task
    ((error, by_peer),) = one.owner.ended
    assert isinstance(error, LinkClosed)
    assert by_peer


@pytest.mark.parametrize("fails", [OSError("gone"), RuntimeError("after close")], ids=["os", "runtime"])
@on_loop
async def test_what_cannot_be_written_ends_it(fails, monkeypatch):
    monkeypatch.setattr("mycelium.http.session.carrier.CLOSE_LINGER_MS", 20)
    one = carrying()
    one.socket.fails = fails
    one.carrier.send(b"x")
    await one.task
    assert len(one.owner.ended) == 1
    one.carrier.send(b"goes nowhere")
    await one.carrier.disconnected()


@on_loop
async def test_our_goodbye_comes_after_what_was_to_be_sent_and_once(monkeypatch):
    monkeypatch.setattr("mycelium.http.session.carrier.CLOSE_LINGER_MS", 20)
    one = carrying()
    one.carrier.send(b"last words")
    one.carrier.close(1000, "done")
    one.carrier.close(1011, "not heard")
    one.socket.put(bytes=b"too late")
    await one.task
    assert [message["type"] for message in one.socket.sent] == ["websocket.send", "websocket.close"]
    assert (one.socket.sent[1]["code"], one.socket.sent[1]["reason"]) == (1000, "done")
    assert one.owner.ended == [(None, False)]
    assert one.owner.frames == []


@on_loop
async def test_a_goodbye_of_the_other_side_is_one():
    one = carrying()
    one.socket.lose(1000)
    await one.task
    assert one.owner.ended == [(None, True)]


@pytest.mark.parametrize(
    ("raised", "code"), [(MalformedMessage("no"), MalformedMessage.close_code), (ZeroDivisionError(), 1011)]
)
@on_loop
async def test_what_its_owner_raises_closes_it(raised, code, monkeypatch, caplog):
    monkeypatch.setattr("mycelium.http.session.carrier.CLOSE_LINGER_MS", 20)
    one = carrying()
    one.owner.raises = raised
    one.socket.put(bytes=b"frame")
    await one.task
    assert one.socket.sent[-1]["code"] == code
    assert len(one.owner.ended) == 1
    assert ("a handler failed" in caplog.text) == (code == 1011)


@on_loop
async def test_a_server_that_is_cancelled_leaves_nothing_running():
    one = carrying()
    await asyncio.sleep(0)
    one.task.cancel()
    await asyncio.gather(one.task, return_exceptions=True)
    assert len(one.owner.ended) == 1
    assert len(asyncio.all_tasks()) == 1
