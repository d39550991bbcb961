"""100,000 hostile requests to a miner behind uvicorn: its resident memory meanwhile, and how late good answers come.

Server, attackers and the one who asks well are processes of their own. Attackers send every class of
tests/httpwire/hostile.py over 16 connections as fast as they are answered, and at every fiftieth request one more
connection says what is no HTTP, or half a request, and leaves. Required: 4xx to each; resident memory at most
16 MiB above that after 10,000 requests: the replay table's pages, which nonces of a validator that is let in touch one
after the other, are 8 MiB of it, and then 24 bytes a nonce.

    python -m pytest bench/test_hostile.py -s
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REQUESTS = 100_000
MARKS = (10_000, 50_000, REQUESTS)
CONNECTIONS = 16
GROWTH_MIB_MAX = 16
BEFORE_S = 5.0
PAUSE_S = 0.02
"""Between two good requests."""
BODY_BYTES_MAX = 1024 * 1024
UUID, KEY = "u", b"a" * 43 + b"="


# --- processes --------------------------------------------------------------------------------------------


def serve(kind, loop):
    """A miner as it is run, its nonces in a file; prints its port."""
    import uvicorn
    from cryptography.fernet import Fernet
    from httpwire.hostile import limit, router_of
    from httpwire.minerkit import VALIDATOR_ADDRESS, app_of, config

    encrypted = kind == "encrypted"
    settings = config(encrypted=encrypted, nonces=Path("nonces.sqlite"))
    if encrypted:
        settings.encryption_keys_handler.add_symmetric_key(UUID, VALIDATOR_ADDRESS, Fernet(KEY))
    app = app_of(settings, router_of(encrypted=encrypted), encrypted=encrypted)
    limit(app, body_bytes_max=BODY_BYTES_MAX)

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            print(json.dumps(self.servers[0].sockets[0].getsockname()[1]), flush=True)

    Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", loop=loop)).run()


def attacks_of(kind):
    from cryptography.fernet import Fernet
    from httpwire.hostile import Attacks

    encrypted = kind == "encrypted"
    fernet = Fernet(KEY) if encrypted else None
    return Attacks(encrypted=encrypted, seed=1, body_bytes_max=BODY_BYTES_MAX, fernet=fernet, uuid=UUID)


async def attack(kind, port):
    """Prints the number of requests at each mark, and waits for a line before it goes on; then the statuses."""
    from httpwire.hostile import GARBAGE, answer, asked

    attacks = attacks_of(kind)
    statuses, garbage = {}, itertools.cycle(GARBAGE.values())
    one_round = len(attacks.classes)

    async def leave(wire, number):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wire[: len(wire) * (number % 7) // 8])
        await writer.drain()
        writer.transport.abort() if number % 2 else writer.close()

    async def work(sent):
        writer = None
        for number, one in sent:
            if writer is None or writer.is_closing():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(one.wire)
            status, goes_on = await answer(reader, bodiless=one.method == "HEAD")
            statuses[status] = statuses.get(status, 0) + 1
            if not goes_on:
                writer.close()
                writer = None
            if number % 50 == 0:
                status = await asked(port, next(garbage))
                statuses[status] = statuses.get(status, 0) + 1
                await leave(attacks.good().wire, number // 50)
        if writer is not None:
            writer.close()

    numbered, done = enumerate(attacks), 0
    for mark in (one_round * 5, *MARKS):
        batch = itertools.islice(numbered, mark - done)
        await asyncio.gather(*(work(batch) for _ in range(CONNECTIONS)))
        done = mark
        print(json.dumps(mark), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps({str(status): count for status, count in sorted(statuses.items())}), flush=True)


@contextlib.contextmanager
def process(home, *arguments):
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    started = subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        cwd=home,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


# --- what is measured -------------------------------------------------------------------------------------


def resident_mib(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def latencies(attacks, port, until):
    """Of good requests, one after the other, in milliseconds; until(): whether it is over."""
    from httpwire.hostile import answer

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    while not until():
        data = attacks.good().wire
        began = time.perf_counter()
        writer.write(data)
        status, goes_on = await answer(reader)
        found.append((time.perf_counter() - began) * 1000)
        assert (status, goes_on) == (200, True)
        await asyncio.sleep(PAUSE_S)
    writer.close()
    return found


async def measure(kind, loop, home):
    attacks, resident = attacks_of(kind), {}
    with process(home, "serve", kind, loop) as server:
        port = json.loads(await asyncio.to_thread(server.stdout.readline))
        end = time.perf_counter() + BEFORE_S
        before = await latencies(attacks, port, lambda: time.perf_counter() > end)
        began = time.perf_counter()
        with process(home, "attack", kind, port) as attacker:
            marks = iter((0, *MARKS))

            async def follow():
                for mark in marks:
                    json.loads(await asyncio.to_thread(attacker.stdout.readline))
                    resident[mark] = resident_mib(server.pid)
                    attacker.stdin.write("\n")
                    attacker.stdin.flush()
                return json.loads(await asyncio.to_thread(attacker.stdout.readline))

            following = asyncio.ensure_future(follow())
            during = await latencies(attacks, port, following.done)
            return before, during, resident, await following, time.perf_counter() - began


def percentile(values, share):
    return statistics.quantiles(values, n=100)[share - 1]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_hostile_requests(kind, loop, tmp_path):
    before, during, resident, statuses, took_s = asyncio.run(measure(kind, loop, tmp_path))
    print(f"\n{kind}, {loop}: {REQUESTS} hostile requests in {took_s:.0f} s, {statuses}")
    print("  resident MiB: " + ", ".join(f"{mib:.1f} at {mark}" for mark, mib in resident.items()))
    for name, values in (("before", before), ("during", during)):
        p50_ms, p99_ms = percentile(values, 50), percentile(values, 99)
        print(f"  {len(values)} good requests {name}: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")
    assert {status for status in statuses if not status.startswith("4")} == set()
    assert resident[REQUESTS] - resident[MARKS[0]] <= GROWTH_MIB_MAX


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3])
    else:
        asyncio.run(attack(sys.argv[2], int(sys.argv[3])))
