"""The timed events of a scenario, done to the members of a world. Who is hit is drawn from the seed."""

from __future__ import annotations

import asyncio
import dataclasses

from mycelium.sim.member import SimMember
from mycelium.sim.scenario import Event
from mycelium.sim.world import World


class Events:
    """All of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.events_rng
        self._backed_up: list[SimMember] = []

    async def run(self) -> None:
        """Do them, each at its time; returns when all are over and what they took is given back."""
        await asyncio.gather(*[self._one(event) for event in self._world.scenario.events])

    def late_joiners(self) -> list[SimMember]:
        """The members that start only when an event says so: the last ones."""
        members = self._world.members
        joins = [event for event in self._world.scenario.events if event.action == "join"]
        count = sum(self._count(event) for event in joins)
        return members[max(2, len(members) - count) :] if count else []

    def _count(self, event: Event) -> int:
        return max(1, len(self._world.members) * event.percent // 100)

    def _some(self, event: Event) -> list[SimMember]:
        """Members that are up, in the order of their numbers, so that what is drawn does not depend on history."""
        up = self._world.up()
        return sorted(self._rng.sample(up, min(self._count(event), len(up))), key=lambda one: one.number)

    async def _one(self, event: Event) -> None:
        await asyncio.sleep(event.at_ms / 1000)
        world = self._world
        hit = [] if event.action in ("join", "restore", "loss") else self._some(event)
        world.trace.event(world.loop.now_ns(), f"{event.action} {[member.number for member in hit]}")
        for_s = event.for_ms / 1000
        if event.action == "partition":
            cut = world.network.cut(member.number for member in hit)
            await asyncio.sleep(for_s)
            world.network.heal(cut)
        elif event.action == "crash":
            await self._crash(hit, event, for_s)
        elif event.action == "stall":
            for on in (True, False):
                for member in hit:
                    member.host.stall(on)
                await asyncio.sleep(for_s if on else 0)
        elif event.action == "full":
            stores = [member.store for member in hit]
            for on in (True, False):
                for store in stores:
                    store.full = on
                await asyncio.sleep(for_s if on else 0)
        elif event.action == "skew":
            for member in hit:
                member.clock.offset_ms += event.by_ms
            if event.for_ms:
                await asyncio.sleep(for_s)
                for member in hit:
                    member.clock.offset_ms -= event.by_ms
        elif event.action == "loss":
            await self._loss(event, for_s)
        elif event.action == "backup":
            for member in hit:
                member.back_up()
            self._backed_up = hit
        elif event.action == "restore":
            await self._restore(for_s)
        else:
            for member in self.late_joiners():
                await member.start()

    async def _crash(self, hit: list[SimMember], event: Event, for_s: float) -> None:
        for member in hit:
            lost = None if self._rng.random() < 0.5 else self._rng.randrange(4)
            member.crash(power=event.power, lost=lost)
        await asyncio.sleep(for_s)
        for member in hit:
            await member.start()

    async def _loss(self, event: Event, for_s: float) -> None:
        network = self._world.network
        before = network.conditions
        network.conditions = dataclasses.replace(before, loss=event.per_mille / 1000)
        await asyncio.sleep(for_s)
        network.conditions = before

    async def _restore(self, for_s: float) -> None:
        """Their disks break; after a while they are back with an older one."""
        world = self._world
        for member in self._backed_up:
            member.crash(power=True, lost=None)
        await asyncio.sleep(for_s)
        for member in self._backed_up:
            member.restore()
            if world.checkers.replaced(member):
                world.driver.promises.forfeited = True
            await member.start()
