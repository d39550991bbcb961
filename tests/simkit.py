"""Shared by the tests of the simulator: scenarios written in a test, and worlds that are sabotaged while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from mycelium.sim.crypto import signing_with
from mycelium.sim.run import Result, Run, replay_of
from mycelium.sim.scenario import Scenario, load
from mycelium.sim.world import World

SMALL = """
[scenario]
summary = "a test's own"
nodes = 4
load_ms = 3000
settle_ms = 15000

[load]
changes_per_s = 20
value_bytes = 64
"""


def scenario(folder: Path, text: str = SMALL) -> Scenario:
    path = folder / "scenario.toml"
    path.write_text(text)
    return load(path, str(path))


def run_sabotaged(
    found: Scenario, sabotage: Callable[[World], None], *, at_s: float = 3.0, seed: int = 1
) -> Result:
    """Run it, and do that to the world in the middle of its load."""
    with signing_with(found.crypto):
        world = World(found, seed, replay_of(found, seed))

        async def later() -> None:
            await asyncio.sleep(at_s)
            sabotage(world)

        task = world.loop.create_task(later())
        try:
            return Run(world, lambda phase, now_s, end_s: None).result()
        finally:
            # A sabotage that fails itself must not pass for a checker that sees nothing.
            broken = None if not task.done() or task.cancelled() else task.exception()
            task.cancel()
            world.close()
            if broken is not None:
                raise broken
