"""A whole run of a fleet with everything that can go wrong, and the peace after it, in which all must hold."""

from __future__ import annotations

import random

from fleet.fleetkit import World


def rampage(seed, steps=60, names="abc", **options):
    """One whole run with everything that can go wrong, ended by peace: the world, after its promises were checked."""
    rng = random.Random(seed)
    world = World(
        names, seed=seed, faults=rng.choice([0.0, 0.3, 1.0]), deduplicates=rng.random() < 0.5, **options
    )
    world.run(4_000)
    for _ in range(steps):
        name = rng.choice(names)
        process = world.members[name]
        match rng.randrange(12):
            case 0:
                process.paused = True
            case 1 | 2 if process.paused:
                process.paused = False
                use(world, [process])
                process.resume()
            case 3:
                if rng.random() < 0.5:
                    world.crash(name)
            case 4 if not process.alive:
                world.start(name)
            case 5:
                world.cut(name)
            case 6:
                world.heal(name)
            case 7 | 8:
                world.plan(rng.randrange(world.slots), name)
            case 9 if rng.random() < 0.3:
                world.renew_bucket()
            case 10 if rng.random() < 0.4:
                process.leave()
        for _ in range(rng.randrange(12)):
            use(world, world.members.values())
            world.run(rng.choice([1, 5, 40, 200, 700]))
    peace(world)
    return world


def use(world, processes):
    """Writes and reads of every slot, at everybody."""
    for process in processes:
        for slot in range(world.slots):
            process.write(slot)
            process.read(slot)


def peace(world, within_ms=12_000):
    """All faults end; soon everything is served, and everything that was promised holds."""
    world.faults = 0.0
    for name, process in world.members.items():
        world.heal(name)
        process.resume()
    if not any(process.alive and not process.leaving for process in world.members.values()):
        world.run(15_000)  # who was asked to leave has left
        world.start(next(name for name, process in world.members.items() if not process.alive))
    world.run_until_settled(within_ms)
    use(world, world.members.values())
    world.run(2_000)
    use(world, world.members.values())
    world.check_end()
