"""The development chain's JSON-RPC server against a bare echo over the `websockets` library, and its start.

One client, 64 requests in flight over loopback, client and server in processes of their own, rounds of one
alternating with rounds of the other. Ours does more: it reads JSON, looks a key of 80 bytes up, and writes JSON.
Required: 2,000 storage queries a second, at least a quarter of the echo's rate, and a start in under a second.

    python -m pytest bench/test_devchain.py -s        or        python bench/test_devchain.py
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

IN_FLIGHT = 64
ROUNDS = 5
ROUND_S = 1.0
RATE_MIN = 2_000
SHARE_MIN = 0.25
START_S_MAX = 1.0
STARTS = 5


def answering(kind: str, ready) -> None:
    asyncio.run(serve_echo(ready) if kind == "echo" else serve_chain(ready))


async def serve_echo(ready) -> None:
    async def echo(socket):
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    server = await serve(echo, "127.0.0.1", 0, compression=None)
    ready.send((server.sockets[0].getsockname()[1], "0x00"))
    await asyncio.Event().wait()


async def serve_chain(ready) -> None:
    from mycelium.devnet.chain.core import Core
    from mycelium.devnet.chain.population import development
    from mycelium.devnet.chain.server import ChainServer, wall_ms

    core = Core(development(), clock=wall_ms)
    async with ChainServer(core) as server:
        key = next(key for key in core.chain.storage.keys(b"") if len(key) >= 80)
        ready.send((server.port, f"0x{key.hex()}"))
        await asyncio.Event().wait()


async def ask(port: int, key: str, seconds: float) -> float:
    """Requests answered a second."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "state_getStorage", "params": [key]})
    async with connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
        began = time.perf_counter()
        count = 0
        for _ in range(IN_FLIGHT):
            await socket.send(request)
        while time.perf_counter() - began < seconds:
            await socket.recv()
            count += 1
            await socket.send(request)
        rate = count / (time.perf_counter() - began)
        for _ in range(IN_FLIGHT):
            await socket.recv()  # what is unread would keep the closing handshake from being seen
        return rate


def measure() -> tuple[list[float], list[float]]:
    context = multiprocessing.get_context("spawn")
    servers, rates = {}, {"echo": [], "chain": []}
    try:
        for kind in rates:
            ours, theirs = context.Pipe()
            process = context.Process(target=answering, args=(kind, theirs), daemon=True)
            process.start()
            assert ours.poll(10), f"the {kind} server did not start"
            servers[kind] = (process, *ours.recv())
        for _ in range(ROUNDS):
            for kind, found in rates.items():
                _, port, key = servers[kind]
                found.append(asyncio.run(ask(port, key, ROUND_S)))
    finally:
        for process, *_ in servers.values():
            process.terminate()
            process.join()
    return rates["chain"], rates["echo"]


def test_storage_queries():
    chain, echo = measure()
    ours, theirs = statistics.median(chain), statistics.median(echo)
    print(f"\nstorage queries {ours:,.0f}/s, echo {theirs:,.0f}/s, share {ours / theirs:.2f}")
    assert ours >= RATE_MIN
    assert ours / theirs >= SHARE_MIN


def start_once() -> float:
    """From the command to the line that says where it listens, seconds."""
    command = [
        sys.executable,
        "-m",
        "mycelium.cli.main",
        "devnet",
        "chain",
        "--port",
        "0",
        "--json",
        "--until-eof",
    ]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert b'"started"' in process.stdout.readline()
        took = time.perf_counter() - began
        process.stdin.close()
        process.wait(timeout=10)
    return took


def test_start():
    took = sorted(start_once() for _ in range(STARTS))
    print(
        f"\nstart {took[0] * 1000:.0f} ms at best, {statistics.median(took) * 1000:.0f} ms in the middle of {STARTS}"
    )
    assert took[0] < START_S_MAX


if __name__ == "__main__":
    test_storage_queries()
    test_start()
