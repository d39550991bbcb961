"""Nodes for tests of the chain client: scripted ones that answer as they are told, raw ones that misbehave."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
GENESIS = "0x" + "11" * 32
VERSION = {"specVersion": 424, "transactionVersion": 1}


class Eager(random.Random):
    """Jitter that always draws the shortest wait, and remembers the bounds it was asked for."""

    def __init__(self):
        super().__init__(0)
        self.bounds = []

    def uniform(self, low, high):
        self.bounds.append(high)
        return low


class Refused(Exception):
    """A JSON-RPC error to answer with."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": data}


class Silent(Exception):
    """No answer to this one."""


class Drop(Exception):
    """The connection is cut instead of an answer."""


class Scripted:
    """A node whose methods are functions of their parameters. A context manager; `url` is where it listens."""

    def __init__(self, tls=None, **methods):
        self.tls = tls
        self.methods = {
            "chain_getBlockHash": lambda *numbers: GENESIS,
            "state_getRuntimeVersion": lambda *at: VERSION,
            "state_subscribeRuntimeVersion": self._subscribe(VERSION),
            "system_chain": lambda: "Scripted",
            **methods,
        }
        self.asked = []
        self.sockets = []
        self._server = None
        self._count = 0

    def _subscribe(self, first):
        def subscribe(*params):
            self._count += 1
            return Subscribed(f"s{self._count}", first)

        return subscribe

    def __enter__(self):
        self._server = serve(
            self._handle,
            "127.0.0.1",
            0,
            compression=None,
            ping_interval=None,
            process_request=self.admit,
            ssl=self.tls,
        )
        self.port = self._server.socket.getsockname()[1]
        self.url = f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._server.shutdown()
        self.drop()
        self._thread.join(5)

    def drop(self):
        for one in list(self.sockets):
            with contextlib.suppress(OSError):
                one.socket.shutdown(socket.SHUT_RDWR)

    def admit(self, connection, request):
        """Override to refuse the upgrade."""

    def _handle(self, connection):
        self.sockets.append(connection)
        try:
            for message in connection:
                self._serve(connection, json.loads(message))
        except (ConnectionClosed, Drop):
            pass
        finally:
            self.sockets.remove(connection)

    def _serve(self, connection, request):
        requests = request if isinstance(request, list) else [request]
        answers, notices = [], []
        for one in requests:
            self.asked.append((one["method"], one["params"]))
            answer = {"jsonrpc": "2.0", "id": one["id"]}
            try:
                result = self.methods[one["method"]](*one["params"])
                if isinstance(result, Subscribed):
                    notices.append(result)
                    result = result.id
                answers.append({**answer, "result": result})
            except Silent:
                continue
            except Refused as refused:
                answers.append({**answer, "error": refused.body})
            except KeyError:
                answers.append({**answer, "error": {"code": -32601, "message": "Method not found"}})
        if answers:
            connection.send(json.dumps(answers if isinstance(request, list) else answers[0]))
        for notice in notices:
            self.tell(connection, notice.id, notice.first)

    def tell(self, connection, subscription, result):
        body = {"jsonrpc": "2.0", "method": "x", "params": {"subscription": subscription, "result": result}}
        connection.send(json.dumps(body))

    def asked_for(self, method):
        return [params for name, params in self.asked if name == method]


class Subscribed:
    """The answer to a subscription, and its first notice."""

    def __init__(self, id, first):
        self.id = id
        self.first = first


class RawServer:
    """A TCP server: each connection is given to a function, on its own thread."""

    def __init__(self, serve_one):
        self._serve_one = serve_one
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ended = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection, contextlib.suppress(OSError):
            self._serve_one(connection, self.ended)


def accept(connection):
    """The server's half of the opening handshake."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(4096)
    key = next(
        line.split(b": ")[1] for line in data.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    digest = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


def frame(payload, opcode=1, fin=True):
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + bytes([127]) + struct.pack("!Q", len(payload)) + payload


def read_frame(connection):
    """(opcode, payload) of one masked frame shorter than 126 bytes."""
    head = connection.recv(2)
    if not head:
        raise ConnectionError("the client is gone")
    length = head[1] & 0x7F
    mask, data = connection.recv(4), b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    return head[0] & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descriptors():
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def chain_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("chain ")]


def until(condition, timeout_s=10.0):
    """Wait for what another thread does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def shared(name):
    """A file beside the repository, or the test is skipped."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is kept beside the repository")
    return path


def recorded():
    return json.loads(shared("chain/recorded_rpc.json").read_text())
