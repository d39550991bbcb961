"""Writes changes through members and remembers what was promised: which write was acknowledged as durable."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from mycelium.errors import MyceliumError
from mycelium.sim.member import SimMember
from mycelium.sim.scenario import Load

_KEYS: int = 200


@dataclass(slots=True)
class Promises:
    """What the load asked for and what it was told. Sums of counters by key; facts of the append table."""

    attempted: int = 0
    acknowledged: int = 0
    refused: int = 0
    added: dict[str, int] = field(default_factory=dict)
    """Acknowledged amounts by counter."""
    tried: dict[str, int] = field(default_factory=dict)
    """All amounts by counter, also of writes that nobody confirmed."""
    facts: dict[str, str] = field(default_factory=dict)
    """Acknowledged facts of the append table: fact to key."""
    forfeited: bool = False
    """A disk was replaced by a backup: what only it held was not promised any more, so sums are not compared."""


class Driver:
    """Writes at random times, at random members, to random keys; all of the seed."""

    def __init__(
        self, load: Load, members: Sequence[SimMember], rng: random.Random, private: frozenset[int]
    ) -> None:
        self.promises = Promises()
        self.first_put_ns: dict[int, int] = {}
        """By member: when the oldest change was written that no batch holds yet."""
        self._load = load
        self._members = members
        self._rng = rng
        self._private = private
        self._writes: dict[asyncio.Task[None], None] = {}
        self._fact = 0

    async def run(self, for_s: float) -> None:
        """Write for that long, then wait until each write has been answered or its member is gone."""
        loop = asyncio.get_running_loop()
        end = loop.time() + for_s
        while True:
            await asyncio.sleep(self._rng.expovariate(self._load.changes_per_s))
            if loop.time() >= end:
                break
            member = self._rng.choice(self._members)
            if member.node is not None:
                # The task is the member's: it ends with it, as the program that writes would.
                task = member.host.context.run(asyncio.create_task, self._write(member))
                self._writes[task] = None
                task.add_done_callback(lambda done: self._writes.pop(done, None))

    async def answered(self) -> None:
        """Wait for the writes that are under way."""
        while self._writes:
            await asyncio.gather(*list(self._writes), return_exceptions=True)

    async def _write(self, member: SimMember) -> None:
        rng, said = self._rng, self.promises
        names = [name for name in self._load.tables if name != "secrets" or member.number in self._private]
        if not names:
            return
        name = rng.choice(names)
        table = member.running.database.table(name)
        key = f"k{rng.randrange(_KEYS)}"
        content = rng.randbytes(self._load.value_bytes)
        amount = rng.randrange(1, 100)
        self._fact += 1
        fact = f"{self._fact}:{content.hex()}"[: max(16, self._load.value_bytes)]
        said.attempted += 1
        self.first_put_ns.setdefault(member.number, member.shared.loop.now_ns())
        if name == "hits":
            said.tried[key] = said.tried.get(key, 0) + amount
        try:
            if name == "hits":
                await table.add(key, amount)
            elif name == "events":
                await table.put(key, fact)
            elif name == "tags":
                await table.insert(key, rng.randrange(20))
            elif rng.random() < 0.05:
                await table.delete(key)
            else:
                await table.put(key, content)
        except MyceliumError:
            said.refused += 1
            return
        said.acknowledged += 1
        if name == "hits":
            said.added[key] = said.added.get(key, 0) + amount
        elif name == "events":
            said.facts[fact] = key
