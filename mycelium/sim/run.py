"""Runs a scenario to its end: start, load, events, settling, last checks; and says what was measured."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from mycelium.errors import SimulationFailed
from mycelium.sim.crypto import signing_with
from mycelium.sim.events import Events
from mycelium.sim.measure import Propagation, percentile
from mycelium.sim.scenario import Scenario
from mycelium.sim.world import Unexpected, World

START_GAP_S: Final = 0.02
"""Between the starts of two members, on average."""
CONNECT_S: Final = 120
POLL_S: Final = 0.25
MANY: Final = 32
"""Above so many members what costs a pass over all of them is done less often."""

Progress = Callable[[str, float, float], None]
"""What is going on, virtual seconds passed, and how many they may become."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run. Times in s or ms as their names say; `trace` is equal for equal seeds."""

    scenario: str
    seed: int
    nodes: int
    hostile: int
    crypto: str
    virtual_s: float
    wall_s: float
    connected_s: float
    agreed_s: float
    """After the load ended."""
    frames: int
    messages: int
    bytes: int
    changes: int
    acknowledged: int
    refused: int
    batches: int
    deliveries: int
    copies_per_delivery: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    evidence: int
    """Members that hold a proof of equivocation."""
    frozen_ms: float
    """From the first member that knew a proof to the last."""
    blocking: int
    """Members that have all hostile ones greylisted."""
    packets_lost: int
    sweeps: int
    trace: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Result:
    summary: Summary
    propagation: Propagation


def replay_of(scenario: Scenario, seed: int) -> str:
    """The command that repeats a run."""
    return f"mycelium sim run {scenario.target} --nodes {scenario.nodes} --seed {seed}"


def run(scenario: Scenario, seed: int, progress: Progress | None = None) -> Result:
    """Run it. SimulationFailed for a broken invariant, or an end that the scenario does not expect."""
    with signing_with(scenario.crypto), _quiet_collector():
        world = World(scenario, seed, replay_of(scenario, seed))
        handler = Unexpected(world.checkers.fail)
        logger = logging.getLogger("mycelium")
        logger.addHandler(handler)
        try:
            return Run(world, progress or _nothing).result()
        finally:
            logger.removeHandler(handler)
            world.close()


class Run:
    """One run of one world."""

    def __init__(self, world: World, progress: Progress) -> None:
        self._world = world
        self._progress = progress
        self._began_s = time.perf_counter()
        self._phase = "start"
        self._end_s = 0.0

    def result(self) -> Result:
        summary = self._world.loop.run_until_complete(self._main())
        return Result(summary, self._world.checkers.propagation)

    async def _main(self) -> Summary:
        world, scenario = self._world, self._world.scenario
        watch = asyncio.create_task(self._watch())
        events = Events(world)
        await self._start(events)
        connected_s = world.loop.time()
        self._phase = "load"
        load_s = scenario.load_ms / 1000
        self._end_s = connected_s + load_s + scenario.settle_ms / 1000
        happening = asyncio.create_task(events.run())
        await world.driver.run(load_s)
        await happening
        ended_s = world.loop.time()
        self._phase = "settle"
        await self._settle(ended_s)
        agreed_s = world.loop.time() - ended_s
        await world.driver.answered()
        watch.cancel()
        self._judge()
        summary = self._summary(connected_s, agreed_s)
        await self._stop()
        return summary

    async def _start(self, events: Events) -> None:
        world = self._world
        rng = world.streams.rng("starts")
        late = events.late_joiners()
        for member in world.members:
            if member not in late:
                await asyncio.sleep(rng.uniform(0, 2 * START_GAP_S))
                await member.start()
        for hostile in world.hostile:
            hostile.start()
        self._phase = "connect"
        self._end_s = world.loop.time() + CONNECT_S
        while not world.connected():
            if world.loop.time() > self._end_s:
                world.checkers.fail(f"not every two members have a session after {CONNECT_S} s")
            await asyncio.sleep(0.1)

    async def _settle(self, ended_s: float) -> None:
        world, scenario = self._world, self._world.scenario
        step_s = POLL_S if len(world.members) <= MANY else 4 * POLL_S
        while not self._settled():
            if world.loop.time() > ended_s + scenario.settle_ms / 1000:
                world.checkers.fail(f"{self._found()} {scenario.settle_ms} ms after the load ended")
            await asyncio.sleep(step_s)

    def _settled(self) -> bool:
        world, expect = self._world, self._world.scenario.expect
        if not world.network.whole or len(world.up()) < len(world.members):
            return False
        proved = not expect.evidence or world.evidence() == len(world.members)
        blocked = not expect.blocked or world.standings.blocking == len(world.members)
        return proved and blocked and world.agreed(expect.agree == "all")

    def _found(self) -> str:
        """How far it came, for whoever asks why it did not end."""
        world, expect = self._world, self._world.scenario.expect
        agreed = world.agreed(expect.agree == "all")
        said = [f"the members {'agree' if agreed else 'do not agree'}"]
        if expect.evidence:
            said.append(f"{world.evidence()} hold a proof of the equivocation")
        if expect.blocked:
            said.append(f"{world.standings.blocking} have the hostile ones greylisted")
        return ", ".join(said)

    async def _watch(self) -> None:
        """Sweeps and progress."""
        world = self._world
        many = len(world.members) > MANY
        turn = 0
        while True:
            await asyncio.sleep(1.0 if many else 0.1)
            turn += 1
            if turn % (5 if many else 10) == 0:
                world.checkers.sweep()
                world.nobody_is_wronged()
            elif not many:
                world.checkers.caps()
            self._progress(self._phase, world.loop.time(), self._end_s)

    def _judge(self) -> None:
        """The last checks, and what the scenario expects."""
        world, expect = self._world, self._world.scenario.expect
        checkers = world.checkers
        checkers.finish()
        world.promises_are_kept()
        world.scans_are_within_rights()
        world.nobody_is_wronged()
        frozen_ms = world.standings.frozen_ms
        if expect.frozen_ms and frozen_ms > expect.frozen_ms:
            checkers.fail(
                f"a proof took {frozen_ms:.0f} ms to be everywhere, expected are {expect.frozen_ms}"
            )
        if expect.evidence and world.evidence() < len(world.members):
            checkers.fail(
                f"{world.evidence()} of {len(world.members)} members hold a proof of the equivocation"
            )
        p99_ms = percentile(checkers.propagation.latencies_ms(), 0.99)
        if expect.p99_ms and p99_ms > expect.p99_ms:
            checkers.fail(f"p99 of propagation is {p99_ms:.1f} ms, expected are {expect.p99_ms}")
        copies = checkers.propagation.copies_per_delivery
        if expect.copies_percent and copies * 100 > expect.copies_percent:
            checkers.fail(
                f"{copies:.3f} copies for each delivery, expected are {expect.copies_percent / 100}"
            )
        checkers.stop()

    async def _stop(self) -> None:
        for hostile in self._world.hostile:
            await hostile.stop()
        if len(self._world.members) > MANY:
            # One after the other, each ends while all others dial it again: at 64 that was as long as the run itself.
            await asyncio.gather(*(member.stop() for member in self._world.members))
        else:
            for member in self._world.members:
                await member.stop()
        self._world.checkers.stop()

    def _summary(self, connected_s: float, agreed_s: float) -> Summary:
        world, scenario = self._world, self._world.scenario
        propagation, promises = world.checkers.propagation, world.driver.promises
        latencies = propagation.latencies_ms()
        return Summary(
            scenario=scenario.target,
            seed=world.streams.seed,
            nodes=len(world.members),
            hostile=len(world.hostile),
            crypto=scenario.crypto,
            virtual_s=round(world.loop.time(), 6),
            wall_s=round(time.perf_counter() - self._began_s, 3),
            connected_s=round(connected_s, 6),
            agreed_s=round(agreed_s, 6),
            frames=world.network.frames,
            messages=world.messages,
            bytes=world.network.bytes,
            changes=promises.attempted,
            acknowledged=promises.acknowledged,
            refused=promises.refused,
            batches=len(propagation.spreads),
            deliveries=propagation.deliveries,
            copies_per_delivery=round(propagation.copies_per_delivery, 4),
            p50_ms=round(percentile(latencies, 0.5), 3),
            p99_ms=round(percentile(latencies, 0.99), 3),
            max_ms=round(percentile(latencies, 1.0), 3),
            evidence=world.evidence(),
            frozen_ms=round(world.standings.frozen_ms, 3),
            blocking=world.standings.blocking,
            packets_lost=world.network.counts["lost"],
            sweeps=world.checkers.sweeps,
            trace=world.trace.digest(),
        )


def _nothing(phase: str, now_s: float, end_s: float) -> None:
    """Nobody watches."""


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """A world has millions of objects that live to its end: looking at them all again and again is most of a run."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.collect()


__all__ = ["Progress", "Result", "SimulationFailed", "Summary", "replay_of", "run"]
