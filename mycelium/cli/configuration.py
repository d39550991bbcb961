"""The commands config check, show and options: what a node's configuration is, whence, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mycelium.cli import output
from mycelium.cli.node import Set, parse_set
from mycelium.cli.target import Config, EnvFile, Json
from mycelium.errors import ConfigError, MyceliumError

if TYPE_CHECKING:
    from mycelium.node.configuration import Configuration, Value

_ABSENT: Final = "-"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check")(check)
    app.command("show")(show)
    app.command("options")(list_options)


def check(config: Config = None, env_file: EnvFile = None, settings: Set = None, json: Json = False) -> None:
    """Print every setting with its origin and meaning, and every mistake in one pass.

    A mistake is named with its line or variable and the remedy. Looks also
    at the files that are named: hotkey, members, grants. Changes nothing
    and connects to nothing. Exit 2 when something is wrong.

    Examples:

        mycelium config check --config node.toml

        NETUID=7 mycelium config check --set log.level=info --json
    """
    with output.guard(json=json):
        found = _read(config, env_file, settings)
        mistakes = _mistakes(found)
        if json and mistakes:
            text = "\n".join(f"{what} -- {remedy}" if remedy else what for what, remedy in mistakes)
            raise ConfigError(text, f"{len(mistakes)} to mend in {found.path}")
        if json:
            output.emit(_shown(found))
            return
        _print(found)
        for what, remedy in mistakes:
            output.say_error(what, remedy, "ConfigError", json=False)
        if mistakes:
            raise typer.Exit(output.USAGE)
        output.line(f"\n{found.path}: no mistakes")


def show(config: Config = None, env_file: EnvFile = None, settings: Set = None, json: Json = False) -> None:
    """Print the configuration in force: what node.toml, environment and flags come to.

    No secret is in it. With --json one object: path, how it was found,
    values by name, each with value, origin and used.

    Examples:

        mycelium config show --config node.toml

        mycelium config show --json | jq '.values["node.listen"]'
    """
    with output.guard(json=json):
        found = _read(config, env_file, settings)
        found.settings()
        if json:
            output.emit(_shown(found))
            return
        for value in found.values():
            if value.used and (value.value is not None or value.origin != "default"):
                output.line(f"{value.path} = {_text(value.value)}")


def list_options(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page of the documentation.")
    ] = False,
    json: Json = False,
) -> None:
    """List every setting there is: name, variables, default, meaning.

    With --json one object a setting. Needs no configuration file.

    Examples:

        mycelium config options

        mycelium config options --json | jq .variable
    """
    with output.guard(json=json):
        if markdown:
            from mycelium.cli.configuration_page import page

            text = page()
            if json:
                output.emit({"markdown": text})
            else:
                output.line(text.rstrip("\n"))
            return
        from mycelium.node.options import OPTIONS, PROGRAM_VARIABLES, REQUIRED

        for option in OPTIONS:
            default = None if option.default == REQUIRED else option.default
            if json:
                output.emit(
                    {
                        "name": option.path,
                        "kind": option.kind,
                        "required": option.default == REQUIRED,
                        "default": default,
                        "variable": option.variable or None,
                        "aliases": option.aliases,
                        "reload": option.reload,
                        "meaning": option.meaning,
                    }
                )
                continue
            output.line(f"{option.path} ({'required' if option.default == REQUIRED else _text(default)})")
            output.line(f"    {option.meaning}{' SIGHUP changes it.' if option.reload else ''}")
            if option.variable:
                output.line(f"    {', '.join((option.variable, *option.aliases))}")
        if not json:
            output.line("\nVariables of the program:")
            for name, meaning in PROGRAM_VARIABLES.items():
                output.line(f"{name}\n    {meaning}")


def _read(config: Path | None, env_file: Path | None, settings: list[str] | None) -> Configuration:
    from mycelium.node import configuration

    return configuration.read(config, parse_set(settings or []), None, env_file)


def _mistakes(found: Configuration) -> list[tuple[str, str]]:
    """What is wrong with the settings, and where these are right, with the files that they name."""
    from mycelium.metagraph.membership import StaticSource
    from mycelium.node.preflight import read_grants

    try:
        settings = found.settings()
    except ConfigError:
        return found.file.mistakes
    wrong: list[tuple[str, str]] = []
    keypair = None
    try:
        # A replica makes its key at its first start.
        keypair = settings.keypair() if settings.replica is None else None
    except MyceliumError as error:
        wrong.append((output.reason(error), output.remedy(error)))
    members = settings.members_file
    genesis = settings.genesis
    checks: list[Any] = [] if members is None else [lambda: StaticSource.load(members)]
    if keypair is not None and genesis is not None:
        checks.append(lambda: read_grants(settings, genesis))
    for look in checks:
        try:
            look()
        except MyceliumError as error:
            remedy = output.remedy(error)
            for part in output.reason(error).splitlines():  # a members file may have several mistakes
                what, _, own = part.partition(" -- ")
                wrong.append((what, own or remedy))
    return wrong


def _shown(found: Configuration) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "found": found.how,
        "values": {
            value.path: {
                "value": value.value,
                "origin": value.origin,
                "used": value.used,
                "meaning": value.option.meaning,
            }
            for value in found.values()
        },
        "notes": found.notes,
    }


def _print(found: Configuration) -> None:
    from rich.padding import Padding
    from rich.text import Text

    how = {"--config": "named by --config", "found": "found, as none was named"}.get(
        found.how, f"named by {found.how}"
    )
    console = output.console()
    console.print(Text(f"{found.path} ({how})\n"), soft_wrap=True)
    values = found.values()
    unused = {value.option.section for value in values} - {
        value.option.section for value in values if value.used
    }
    section = ""
    for value in values:
        if value.option.section in unused or not value.used:
            continue
        if value.option.section != section:
            section = value.option.section
            console.print(Text(f"[{section}]", style="bold"))
        console.print(_line(value, found.path), soft_wrap=True)
        console.print(Padding(Text(value.option.meaning, style="dim"), (0, 0, 0, 6)))
    for name in sorted(unused):
        console.print(Text(f"[{name}] is not used", style="dim"))
    for note in found.notes:
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)


def _line(value: Value, path: Path) -> Any:
    from rich.text import Text

    origin = value.origin.replace(f"{path}:", "line ")
    text = Text(f"  {value.path} = {_text(value.value)}")
    text.append(
        f"  ({origin})", style="red" if origin == "missing" else "cyan" if origin != "default" else "dim"
    )
    return text


def _text(value: Any) -> str:
    return _ABSENT if value is None or value == "" else output.show(value)
