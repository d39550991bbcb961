"""Sealed echo over our links against unsealed echo over the `websockets` library.

1 KiB, 64 in flight, one connection over loopback, client and server in processes of their own, both libraries in
one run, rounds of one alternating with rounds of the other. Ours does more: it seals, frames, verifies and decodes
each message. Required: at least as fast (ratio >= 1).

    python -m pytest bench/test_session.py -s        or        python bench/test_session.py
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable

import uvloop
from websockets.asyncio.client import connect as ws_connect
from websockets.asyncio.server import serve as ws_serve
from websockets.exceptions import ConnectionClosed

from mycelium._core import fanout
from mycelium.identity.keys import Keypair
from mycelium.peer.dialer import dial_once
from mycelium.peer.greeting import Local
from mycelium.peer.hub import Hub
from mycelium.peer.network import Network
from mycelium.peer.server import Server
from mycelium.protocol.messages import MessageType

SIZE_BYTES = 1024
IN_FLIGHT = 64
ROUNDS = 5
ROUND_S = 1.0
NETWORK = Network(1, bytes(32))


def local(name: str) -> Local:
    return Local(Keypair.development(name), NETWORK, 1, lambda account: "validator")


async def serve_ours(ready) -> None:
    def echo(link, message, size):
        link.post(message.type, message.payload, fanout.PUSH)

    server = Server(Hub(local("//Alice"), echo), "127.0.0.1", 0)
    await server.start()
    ready.send(server.port)
    await asyncio.Event().wait()


async def serve_theirs(ready) -> None:
    async def echo(socket):
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    server = await ws_serve(echo, "127.0.0.1", 0, compression=None)
    ready.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def echo_ours(port: int, seconds: float) -> tuple[int, float, float]:
    payload = bytes(SIZE_BYTES)
    count = 0
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def again(link, message, size):
        nonlocal count
        count += 1
        if time.perf_counter() < deadline:
            link.post(message.type, message.payload, fanout.PUSH)
        elif not over.done():
            over.set_result(None)

    hub = Hub(local("//Bob"), again)
    link = await dial_once(hub, f"ws://127.0.0.1:{port}", as_client=False)
    started, cpu = time.perf_counter(), time.process_time()
    deadline = started + seconds
    for _ in range(IN_FLIGHT):
        link.post(MessageType.GOSSIP, payload, fanout.PUSH)
    await over
    result = count, time.perf_counter() - started, time.process_time() - cpu
    await hub.close()
    return result


async def echo_theirs(port: int, seconds: float) -> tuple[int, float, float]:
    payload = bytes(SIZE_BYTES)
    count = 0
    async with ws_connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
        started, cpu = time.perf_counter(), time.process_time()
        deadline = started + seconds
        for _ in range(IN_FLIGHT):
            await socket.send(payload)
        async for message in socket:
            count += 1
            if time.perf_counter() >= deadline:
                break
            await socket.send(message)
        result = count, time.perf_counter() - started, time.process_time() - cpu
        socket.transport.abort()  # its close handshake would wait for the echoes under way
        return result


def _serve(kind: str, ready) -> None:
    uvloop.run(serve_ours(ready) if kind == "ours" else serve_theirs(ready))


def _client(kind: str, port: int, seconds: float, answer) -> None:
    answer.send(uvloop.run((echo_ours if kind == "ours" else echo_theirs)(port, seconds)))


def in_process(target: Callable[..., None], *arguments: object):
    """Start `target` in a fresh process; returns it and the pipe that it answers on."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    return process, ours


def measure() -> dict[str, dict[str, float]]:
    """Echoes per second (median of the rounds) and client CPU in us per echo, of both."""
    servers = {kind: in_process(_serve, kind) for kind in ("ours", "theirs")}
    ports = {kind: pipe.recv() for kind, (_, pipe) in servers.items()}
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for kind in rates:
            process, pipe = in_process(_client, kind, ports[kind], ROUND_S)
            count, seconds, cpu_s = pipe.recv()
            process.join()
            rates[kind].append(count / seconds)
            cpu[kind].append(cpu_s / count * 1e6)
    for process, _ in servers.values():
        process.terminate()
        process.join()
    return {
        kind: {
            "echoes_per_s": statistics.median(rates[kind]),
            "lowest": min(rates[kind]),
            "highest": max(rates[kind]),
            "client_cpu_us": statistics.median(cpu[kind]),
        }
        for kind in rates
    }


def test_sealed_echo_against_websockets_unsealed(benchmark):
    result = benchmark.pedantic(measure, rounds=1, iterations=1)
    ratio = result["ours"]["echoes_per_s"] / result["theirs"]["echoes_per_s"]
    benchmark.extra_info.update(result, ratio=ratio)
    print(f"\nsealed echo, {SIZE_BYTES} B, {IN_FLIGHT} in flight: {ratio:.2f}x websockets unsealed")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=2)
    print()
