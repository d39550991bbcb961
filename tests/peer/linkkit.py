"""Shared by the tests of links: nodes on loopback, an observer that counts, raw WebSocket frames, a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

import uvloop
from websockets.asyncio.client import connect as ws_connect

from mycelium._core import fanout
from mycelium.config import SUBPROTOCOL
from mycelium.identity.keys import Keypair
from mycelium.peer.dialer import dial_once
from mycelium.peer.greeting import Local
from mycelium.peer.handshake import Initiator
from mycelium.peer.hub import Hub
from mycelium.peer.network import Network
from mycelium.peer.server import Server
from mycelium.protocol.messages import MessageType

NETWORK = Network(7, bytes(range(32)))
PING, GOSSIP = MessageType.PING, MessageType.GOSSIP
CONTROL, REPAIR, PUSH, BULK = fanout.CONTROL, fanout.REPAIR, fanout.PUSH, fanout.BULK


def run(main: Awaitable, *, loop: str = "uvloop", seconds: float = 30):
    async def limited():
        async with asyncio.timeout(seconds):
            return await main

    return uvloop.run(limited()) if loop == "uvloop" else asyncio.run(limited())


class Counts:
    """An observer that can be asked, and waited for."""

    def __init__(self):
        self.reasons = Counter()
        self.handshakes = Counter()
        self.types_in = Counter()
        self.types_out = Counter()
        self.drops = Counter()
        self.sessions = 0
        self.received = 0
        self.sent = 0

    def rejected(self, reason):
        self.reasons[reason] += 1

    def handshake(self, ok, inbound):
        self.handshakes[ok, inbound] += 1

    def bytes_in(self, n):
        self.received += n

    def bytes_out(self, n):
        self.sent += n

    def message_in(self, type, size_bytes):
        self.types_in[type] += 1

    def message_out(self, type, size_bytes):
        self.types_out[type] += 1

    def dropped(self, klass, n):
        self.drops[klass] += n

    def session_opened(self, inbound):
        self.sessions += 1

    def session_closed(self, inbound):
        self.sessions -= 1


def local(name: str, *, role: Callable[[bytes], str | None] | str | None = "validator", **changes) -> Local:
    authorise = role if callable(role) else lambda account: role
    return Local(Keypair.development(name), changes.pop("network", NETWORK), 1, authorise, **changes)


def lower_and_higher() -> tuple[Local, Local]:
    """Two members, the one with the lower account first."""
    pair = sorted((local("//Alice"), local("//Bob")), key=lambda one: one.account)
    return pair[0], pair[1]


class Node:
    """A hub with a server on a free port of loopback. Records what happens to it."""

    def __init__(self, me: Local | str, *, on_message=None, server: bool = True, auth_mode="session"):
        self.local = local(me) if isinstance(me, str) else me
        self.counts = Counts()
        self.messages: asyncio.Queue = asyncio.Queue()
        self.opened: asyncio.Queue = asyncio.Queue()
        self.closed: asyncio.Queue = asyncio.Queue()
        self.on_message = on_message or (
            lambda link, message, size: self.messages.put_nowait((link, message))
        )
        self.hub = Hub(
            self.local,
            lambda link, message, size: self.on_message(link, message, size),
            on_open=self.opened.put_nowait,
            on_close=lambda link, error: self.closed.put_nowait((link, error)),
            observer=self.counts,
            auth_mode=auth_mode,
        )
        self.server = Server(self.hub, "127.0.0.1", 0) if server else None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    async def dial(self, other: Node, **options):
        options.setdefault("as_client", False)
        return await dial_once(self.hub, other.url, other.local.account, **options)

    async def __aenter__(self):
        if self.server is not None:
            await self.server.start()
        return self

    async def __aexit__(self, *exc):
        if self.server is not None:
            await self.server.close()
        await self.hub.close()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Poll for what has no event to await."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


# --- raw WebSocket ----------------------------------------------------------------------------------------


def ws_frame(
    payload: bytes, opcode: int = 2, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """One frame as a client sends it, with a mask of zeros."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([mask | 127]) + struct.pack(">Q", len(payload))
    return head + (bytes(4) if masked else b"") + payload


def upgrade_request(port: int, subprotocol: str | None = SUBPROTOCOL) -> bytes:
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Raw:
    """A socket whose every byte the test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, upgrade: bool = True) -> Raw:
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        if upgrade:
            raw.writer.write(upgrade_request(port))
            assert b"101" in await raw.reader.readuntil(b"\r\n\r\n")
        return raw

    async def frame(self) -> tuple[int, bytes]:
        head = await self.reader.readexactly(2)
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
        return head[0] & 0x0F, await self.reader.readexactly(size)

    async def close_frame(self) -> tuple[int, str]:
        """Read up to the close frame: its code and text."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def end(self) -> bytes:
        """Everything up to the end of the connection, however it ends."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await self.reader.read(65536):
                data += chunk
        return data

    async def aclose(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.aclose()


class RawSession:
    """A whole handshake driven by hand over the websockets library's client; then sealed frames by hand."""

    def __init__(self, socket, session):
        self.socket = socket
        self.session = session

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, node: Node, me: Local, **options):
        async with ws_connect(
            node.url, subprotocols=[SUBPROTOCOL], compression=None, max_size=None
        ) as socket:
            initiator = Initiator(me.keypair, me.network, node.local.account, 1, me.random, **options)
            await socket.send(initiator.hello())
            while initiator.session is None:
                await socket.send(initiator.receive(await socket.recv(), me.now_ns()))
            raw = cls(socket, initiator.session)
            assert raw.session.open(await socket.recv()) == b""  # the confirmation
            yield raw

    async def send(self, body: bytes) -> None:
        await self.socket.send(self.session.seal(body))

    async def receive(self) -> bytes:
        body = self.session.open(await self.socket.recv())
        assert body is not None
        return body

    async def close_reason(self) -> tuple[int, str]:
        with contextlib.suppress(Exception):
            while True:
                await self.socket.recv()
        return self.socket.close_code, self.socket.close_reason


class Proxy:
    """Passes bytes between a dialler and a server, and gives `tamper` each frame the dialler sends.

    tamper(index, frame) -> the frames to send instead, index 0 is m1, 1 is m3, 2 the first sealed one.
    """

    def __init__(self, port: int, tamper: Callable[[int, bytes], list[bytes]]):
        self._target = port
        self._tamper = tamper
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        onward = await asyncio.open_connection("127.0.0.1", self._target)
        back = asyncio.create_task(self._copy(onward[0], writer))
        self._tasks.add(back)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            onward[1].write(await reader.readuntil(b"\r\n\r\n"))
            index = 0
            while True:
                head = await reader.readexactly(2)
                size = head[1] & 0x7F
                extra = await reader.readexactly({126: 2, 127: 8}.get(size, 0))
                size = int.from_bytes(extra, "big") if extra else size
                mask = await reader.readexactly(4)
                payload = await reader.readexactly(size)
                plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
                opcode = head[0] & 0x0F
                frames = self._tamper(index, plain) if opcode == 2 else [plain]
                index += opcode == 2
                onward[1].write(b"".join(ws_frame(frame, opcode) for frame in frames))
        with contextlib.suppress(ConnectionError):
            onward[1].close()

    async def _copy(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()


@contextlib.asynccontextmanager
async def attacked(**changes):
    """A node with a good link; at the end the link must still work."""
    async with Node(local("//Alice", **changes)) as alice, Node("//Good") as good:
        link = await good.dial(alice)
        await alice.opened.get()
        yield alice
        await until(lambda: alice.server.pending == 0)
        assert not link.closed.done()
        link.post(PING, b"fine", CONTROL)
        _, message = await alice.messages.get()
        assert message.payload == b"fine"
        assert len(alice.hub.links()) == 1
