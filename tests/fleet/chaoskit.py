"""Shared by the tests that kill: members in processes, clients that record what they see, and who kills what when."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import signal
import time
from collections import Counter

from natskit import Server, Servers
from nodekit import Place, Process, until

import mycelium
from mycelium.errors import (
    BrokerError,
    CallFailed,
    Fenced,
    LinkError,
    MyceliumError,
    NoOwner,
    StoreClosed,
    Unreachable,
    WriteUnknown,
)
from mycelium.fleet.checker import OK, REFUSED, UNKNOWN, Call, Final, check
from mycelium.fleet.layout import slot_of

SHARDS = 16
KEYS = [f"k{number}" for number in range(12)]
CERTAIN = (NoOwner, Fenced, BrokerError, StoreClosed, Unreachable)
"""What says that nothing was written."""
PAUSE_S = 0.005
"""Between two calls of a client: the machine has others to serve."""


def now_ms() -> float:
    return time.monotonic() * 1000


class Client:
    """One after the other, puts, gets, adds and appends at whichever member answers; each is recorded."""

    numbers = itertools.count(1)

    def __init__(self, places: list[Place], seed: int, calls: list[Call]) -> None:
        self._places = places
        self._rng = random.Random(seed)
        self._calls = calls
        self._nodes: dict[int, mycelium.RemoteNode] = {}
        self._until_s: dict[int, float] = {}
        self.errors: Counter[str] = Counter()
        self.ending = False
        """A call that is under way when the test ends must be recorded too."""

    async def run(self) -> None:
        try:
            while not self.ending:
                await self._one()
                await asyncio.sleep(PAUSE_S)
        finally:
            for node in self._nodes.values():
                await node.close()

    async def _one(self) -> None:
        number = self._rng.randrange(len(self._places))
        node = await self._node(number)
        if node is None:
            return
        what = self._rng.choice(["put", "get", "add", "append"])
        key = self._rng.choice(KEYS)
        value: object = next(self.numbers) if what in ("put", "append") else 1
        began, outcome = now_ms(), OK
        try:
            value = await self._call(node, what, key, value)
        except CERTAIN as error:
            outcome = REFUSED
            self.errors[type(error).__name__] += 1
        except (WriteUnknown, LinkError, CallFailed) as error:
            outcome = UNKNOWN
            self.errors[type(error).__name__] += 1
        if what != "get" or outcome == OK:
            table = {"put": "scores", "get": "scores", "add": "hits", "append": "events"}[what]
            returned = now_ms() if outcome != UNKNOWN else math.inf
            slot = slot_of(table, key.encode(), SHARDS)
            name = self._places[number].name
            self._calls.append(Call(what, key, value, began, returned, outcome, name, slot))

    @staticmethod
    async def _call(node: mycelium.RemoteNode, what: str, key: str, value: object) -> object:
        table = node.database.table
        if what == "put":
            await table("scores").put(key, value)
        elif what == "add":
            await table("hits").add(key, 1)
        elif what == "append":
            await table("events").put(key, value)
        else:
            return await table("scores").get(key)
        return value

    async def _node(self, number: int) -> mycelium.RemoteNode | None:
        node = self._nodes.get(number)
        if node is not None and node.connected:
            return node
        if time.monotonic() < self._until_s.get(number, 0):
            return None
        place = self._places[number]
        try:
            async with asyncio.timeout(2):
                self._nodes[number] = await mycelium.connect(place.url, place.keypair, timeout_s=20)
        except (MyceliumError, TimeoutError):
            self._until_s[number] = time.monotonic() + 0.3
            return None
        return self._nodes[number]


class Chaos:
    """Members in processes over NATS servers, with clients."""

    def __init__(self, places: list[Place], nats: Servers, seed: int) -> None:
        self.places = places
        self.nats = nats
        self.rng = random.Random(seed)
        self.calls: list[Call] = []
        self.kills: list[tuple[float, str]] = []
        self.clients = [Client(places, seed * 100 + number, self.calls) for number in range(4)]
        self.processes = [Process(place) for place in places]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Chaos:
        await asyncio.gather(*(self._start(process) for process in self.processes))
        await self.served()
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.quiet()
        for process in self.processes:
            await process.__aexit__()

    async def quiet(self) -> None:
        """No client calls any more."""
        for client in self.clients:
            client.ending = True
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)

    @staticmethod
    async def _start(process: Process) -> None:
        await process.spawn()
        await process.ready()

    async def status(self, number: int) -> dict | None:
        """What a member says of the fleet; None while it says nothing."""
        place = self.places[number]
        try:
            async with asyncio.timeout(3), mycelium.connect(place.url, place.keypair) as node:
                return (await node.status())["fleet"]
        except (MyceliumError, TimeoutError):
            return None

    async def served(self, seconds: float = 30) -> None:
        """Wait until every shard is served by somebody, as they say themselves."""
        async with asyncio.timeout(seconds):
            while True:
                found = await asyncio.gather(*(self.status(number) for number in range(len(self.places))))
                alive = [one for one in found if one is not None]
                if alive and sum(one["serving"] for one in alive) == SHARDS + 1:
                    return
                await asyncio.sleep(0.1)

    # --- what is done to them ---------------------------------------------------------------------------

    async def kill_member(self) -> None:
        """SIGKILL, a while without it, and its return."""
        process = self.rng.choice(self.processes)
        self.kills.append((now_ms(), f"member {process.place.name}"))
        process.process.kill()
        await process.gone()
        await asyncio.sleep(self.rng.uniform(0.2, 4))
        await self._start(process)

    async def stop_member(self, seconds: float) -> int:
        """SIGSTOP for longer than its lease, and SIGCONT: it was replaced meanwhile, and comes back. Which it was."""
        process = self.rng.choice(self.processes)
        self.kills.append((now_ms(), f"member {process.place.name} stopped"))
        process.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.signal(signal.SIGCONT)
        return self.processes.index(process)

    async def kill_server(self) -> None:
        """The same to one NATS server."""
        server: Server = self.rng.choice(self.nats.servers)
        self.kills.append((now_ms(), f"server {self.nats.servers.index(server)}"))
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(self.rng.uniform(0.2, 4))
        server.start()
        await until(server.healthy, "the server is back", 40)

    @property
    def errors(self) -> Counter[str]:
        """What clients were told, by the names of errors."""
        return sum((client.errors for client in self.clients), Counter())

    # --- what came of it --------------------------------------------------------------------------------

    async def final(self) -> Final:
        """What is in the store in the end: the same at all members."""
        found = []
        for place in self.places:
            async with mycelium.connect(place.url, place.keypair) as node:
                table = node.database.table
                values = {row.key: row.value async for row in table("scores").scan()}
                counters = {row.key: row.value async for row in table("hits").scan()}
                facts = {row.key: row.value async for row in table("events").scan()}
                found.append(Final(values, counters, facts))
        assert all(one == found[0] for one in found), "the members have different states"
        return found[0]

    async def agreed(self) -> None:
        """Wait until all members have everything."""

        async def digests() -> set[str]:
            found = set()
            for place in self.places:
                async with mycelium.connect(place.url, place.keypair) as node:
                    found.add((await node.database.state_digests())["main"])
            return found

        async with asyncio.timeout(30):
            while len(await digests()) != 1:
                await asyncio.sleep(0.1)

    async def judge(self, *, stale_reads: bool = False) -> dict[str, object]:
        """End, and check everything. What was done, in numbers.

        stale_reads: members were cut off from NATS, and answered reads from their copies.
        """
        await self.quiet()
        await self.served()
        await self.agreed()
        calls = [call for call in self.calls if call.what != "get"] if stale_reads else self.calls
        violations = check(calls, await self.final())
        assert violations == [], violations[:10]
        outcomes = Counter(call.outcome for call in self.calls)
        assert outcomes[OK] > 100
        return {
            "calls": len(self.calls),
            "outcomes": dict(outcomes),
            "errors": dict(self.errors),
            "kills": [what for _, what in self.kills],
            "recovered_s": self.recovered_s(),
        }

    def recovered_s(self) -> list[float]:
        """After each kill, until the slowest of all shards that were asked had answered again, in seconds."""
        found = []
        for at, _ in self.kills:
            slots = {call.slot for call in self.calls if call.invoked_ms >= at}
            slowest = 0.0
            for slot in slots:
                done = [
                    c.returned_ms
                    for c in self.calls
                    if c.slot == slot and c.outcome == OK and c.invoked_ms >= at
                ]
                slowest = max(slowest, min(done, default=math.inf) - at)
            found.append(round(slowest / 1000, 2))
        return found
