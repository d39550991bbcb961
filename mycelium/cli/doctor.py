"""The command doctor: runs the checks of `mycelium.doctor` and prints each as it comes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import typer

from mycelium.cli import output, progress
from mycelium.cli.node import Set, parse_set
from mycelium.cli.target import Config, EnvFile, Json
from mycelium.errors import UsageError

if TYPE_CHECKING:
    from mycelium.node.configuration import Configuration

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(config: Config = None, env_file: EnvFile = None, settings: Set = None, json: Json = False) -> None:
    """Look for what keeps a node from working, before its start or after trouble.

    Clock, ports, disk, limits, keys, chain, registration, store, versions;
    each with a verdict (ok, warn, fail, skipped) and a remedy. Asks only
    the endpoints that are configured, and the running node if there is
    one. Changes nothing. Exit 1 when a check fails.

    Examples:

        mycelium doctor --config node.toml

        mycelium doctor --config node.toml --json | jq '.checks[] | select(.verdict == "fail")'
    """
    with output.guard(json=json):
        from mycelium.node import configuration

        found = configuration.read(config, parse_set(settings or []), None, env_file)
        # A mistake in it is the first thing to mend, and all of them are named at once.
        if found.settings().replica is not None:
            raise UsageError(
                "doctor examines nodes: of a replica, `mycelium replica status` says what is wrong"
            )
        if not json:
            output.line(f"configuration: {found.path} ({found.how})")
        checks = output.run(_examine(found, json=json))
        failed = sum(check["verdict"] == "fail" for check in checks)
        warned = sum(check["verdict"] == "warn" for check in checks)
        if json:
            verdict = "fail" if failed else "warn" if warned else "ok"
            output.emit({"verdict": verdict, "configuration": str(found.path), "checks": checks})
        else:
            output.line(f"\n{len(checks)} checks: {failed} failed, {warned} with a warning")
        if failed:
            raise typer.Exit(output.FAILED)


async def _examine(found: Configuration, *, json: bool) -> list[dict[str, Any]]:
    from mycelium.doctor.examine import examine

    checks = []
    with progress.line("reading the store", "rows", json=json) as line:
        async for finding in examine(
            found.settings(), os.environ, secrets=bool(found.secrets()), each=line.at
        ):
            check = {
                "name": finding.name,
                "verdict": finding.verdict.value,
                "found": finding.found,
                "remedy": finding.remedy,
            }
            checks.append(check)
            if not json:
                line.clear()
                _print(check)
    return checks


def _print(check: dict[str, Any]) -> None:
    from rich.text import Text

    text = Text()
    text.append(f"{check['verdict']:<8}", style=_STYLES[check["verdict"]])
    text.append(f"{check['name']}: {check['found']}")
    if check["remedy"]:
        text.append(f"\n        -> {check['remedy']}", style="cyan")
    output.console().print(text, soft_wrap=True)
