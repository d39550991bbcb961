"""Commands for the simulator: sim run, sim list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mycelium.cli import output, progress
from mycelium.cli.target import Json
from mycelium.errors import SimulationFailed, UsageError

if TYPE_CHECKING:
    from mycelium.sim.run import Result, Summary
    from mycelium.sim.scenario import Scenario

SEEDS_MAX: Final = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("list")(list_scenarios)


def run(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A name of `sim list`, or a path that ends in .toml.")
    ],
    nodes: Annotated[
        int | None, typer.Option(min=2, max=512, help="How many members. Without it, as the scenario says.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same run, byte for byte.")] = 1,
    seeds: Annotated[
        str | None, typer.Option(metavar="A..B", help="Run all of these instead, and say which fail.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw how changes spread over the members.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a scenario of real nodes over virtual time and a simulated network.

    Everything is drawn from the seed: a failure names it, and the command
    that repeats it. The design's invariants are checked while it runs.
    Exit 1 when one is broken, or the members do not end as expected.

    Examples:

        mycelium sim run calm

        mycelium sim run storm --seeds 1..100

        mycelium sim run calm --nodes 64 --plot spread.svg
    """
    with output.guard(json=json):
        from mycelium.sim.scenario import find

        found = find(scenario).sized(nodes)
        wanted = _seeds(seeds, seed)
        if plot is not None and seeds is not None:
            raise UsageError("--plot draws one run: give --seed, not --seeds")
        if seeds is None:
            result = _one(found, wanted[0], json)
            if plot is not None:
                _draw(plot, result)
        elif _many(found, wanted, json):
            raise typer.Exit(output.FAILED)


def list_scenarios(json: Json = False) -> None:
    """List the scenarios that come with Mycelium.

    With --json one object each: name, summary, nodes.

    Example:

        mycelium sim list
    """
    with output.guard(json=json):
        from mycelium.sim.scenario import find, names

        found = [find(name) for name in names()]
        for one in found:
            if json:
                output.emit({"name": one.target, "summary": one.summary, "nodes": one.nodes})
            else:
                output.line(f"{one.target:<16} {one.nodes:>3} nodes  {one.summary}")


def _seeds(text: str | None, seed: int) -> list[int]:
    if text is None:
        return [seed]
    first, dots, last = text.partition("..")
    if not (dots and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise UsageError(f"--seeds is A..B, as 1..100, not {text!r}")
    if not int(first) <= int(last) < int(first) + SEEDS_MAX:
        raise UsageError(f"--seeds {text}: from the lower to the higher, at most {SEEDS_MAX} of them")
    return list(range(int(first), int(last) + 1))


def _one(scenario: Scenario, seed: int, json: bool) -> Result:
    from mycelium.sim.run import run as run_scenario

    with progress.line("simulated", "s", json=json) as line:

        def tell(phase: str, now_s: float, end_s: float) -> None:
            line.what, line.total = f"{phase}, simulated", int(end_s)
            line.at(int(now_s))

        result = run_scenario(scenario, seed, tell if line.on else None)
    if json:
        output.emit(result.summary.as_dict())
    else:
        _show(scenario, result.summary)
    return result


def _many(scenario: Scenario, seeds: list[int], json: bool) -> int:
    """How many failed."""
    from mycelium.sim.run import run as run_scenario

    failed = 0
    with progress.line("running", "seeds", len(seeds), json=json) as line:
        for at, seed in enumerate(seeds):
            line.what = f"seed {seed}, {failed} failed"
            line.at(at)
            try:
                summary = run_scenario(scenario, seed).summary
            except SimulationFailed as error:
                failed += 1
                line.clear()
                if json:
                    output.emit({"seed": seed, "error": str(error)})
                else:
                    output.line(f"seed {seed} failed: {error}")
            else:
                if json:
                    output.emit(summary.as_dict())
    if not json:
        output.line(f"{scenario.target}: {len(seeds)} seeds, {failed} failed")
    return failed


def _show(scenario: Scenario, summary: Summary) -> None:
    hostile = f" and {summary.hostile} hostile" if summary.hostile else ""
    signatures = "sr25519" if summary.crypto == "real" else "stand-ins (crypto = fast)"
    rows = (
        ("scenario", f"{scenario.target}: {scenario.summary}"),
        ("members", f"{summary.nodes}{hostile}, seed {summary.seed}, signatures: {signatures}"),
        ("time", f"{summary.virtual_s:.1f} s simulated in {summary.wall_s:.1f} s"),
        (
            "network",
            f"{summary.frames:,} frames, {summary.messages:,} messages, {summary.bytes / 1e6:,.1f} MB",
        ),
        (
            "changes",
            f"{summary.changes:,} written, {summary.acknowledged:,} acknowledged as durable, "
            f"{summary.refused:,} refused",
        ),
        ("deliveries", f"{summary.deliveries:,}, {summary.copies_per_delivery:.3f} copies for each"),
        (
            "propagation",
            f"p50 {summary.p50_ms:.0f} ms, p99 {summary.p99_ms:.0f} ms, the slowest {summary.max_ms:.0f} ms",
        ),
        ("agreement", f"all hold the same {summary.agreed_s:.2f} s after the last change"),
        ("invariants", f"1 to 6 held in {summary.sweeps} sweeps"),
        ("trace", summary.trace),
    )
    for name, text in rows:
        output.line(f"{name:<12} {text}")


def _draw(path: Path, result: Result) -> None:
    from mycelium.sim.plot import svg

    summary = result.summary
    title = f"How a change spreads: {summary.scenario}, {summary.nodes} members"
    subtitle = (
        f"{summary.batches:,} batches, {summary.deliveries:,} deliveries, "
        f"{summary.copies_per_delivery:.2f} copies each, seed {summary.seed}"
    )
    path.write_text(svg(result.propagation, summary.nodes - 1, title, subtitle), encoding="utf-8")
