"""One seed, one run, byte for byte: in one process and in two, and whatever order hashes give to sets."""

from __future__ import annotations

import json
import subprocess

import clikit
import pytest

from mycelium.sim.measure import Trace
from mycelium.sim.randomness import Streams
from mycelium.sim.run import run
from mycelium.sim.scenario import find


def figures(result):
    """All that is measured, but the time it took."""
    return {name: value for name, value in result.summary.as_dict().items() if name != "wall_s"}


@pytest.mark.parametrize("name", ["storm", "equivocator", "flood", "private_space"])
def test_the_same_seed_gives_the_same_run(name):
    assert figures(run(find(name), 11)) == figures(run(find(name), 11))


def test_different_seeds_give_different_runs():
    traces = {run(find("calm"), seed).summary.trace for seed in range(4)}
    assert len(traces) == 4


def test_two_processes_with_other_hashes_give_the_same_run():
    found = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            clikit.command("sim", "run", "storm", "--seed", 3, "--json"),
            capture_output=True,
            timeout=60,
            env=clikit.environment(PYTHONHASHSEED=hash_seed),
            check=True,
        )
        summary = json.loads(done.stdout)
        summary.pop("wall_s")
        found.append(summary)
    assert found[0] == found[1]
    assert found[0]["trace"] == run(find("storm"), 3).summary.trace


def test_streams_depend_on_seed_and_name_alone():
    streams = Streams(5)
    first = streams.rng("a").random()
    streams.rng("b").random()
    assert streams.rng("a").random() == first
    assert streams.rng("b").random() != first
    assert Streams(6).rng("a").random() != first
    assert len(streams.source("c")(33)) == 33


def test_a_trace_tells_every_field_apart():
    def digest(*calls):
        trace = Trace()
        for name, *arguments in calls:
            getattr(trace, name)(*arguments)
        return trace.digest()

    whole = ("frame", 1, 2, 3, 0, 100)
    others = [("frame", *(value + (at == place) for at, value in enumerate(whole[1:]))) for place in range(5)]
    assert len({digest(one) for one in [whole, *others, ("message", *whole[1:])]}) == 7
    assert digest(whole, others[0]) != digest(others[0], whole)
    assert digest(("applied", 1, 2, b"x")) != digest(("event", 1, "x"))
