"""A group of commands whose modules are loaded when they are used, and whose usage errors are one line and a remedy.

`mycelium --help` must answer at once, and no command needs the modules of another. The listing is drawn from texts that
`main` has; a test holds them against the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup

from mycelium.cli import listing, output

_USAGE_ERROR: Final = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""Click's, which some versions of typer bring along and others install."""


class Place(NamedTuple):
    """load: adds the command, and those that share its module, to an app. help: its line in the listing."""

    load: Callable[[typer.Typer], None]
    help: str


class LazyGroup(TyperGroup):
    """The top of the command line; `places` says what there is."""

    places: ClassVar[Mapping[str, Place]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of `places`."""
        del ctx
        return list(self.places)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, loaded now."""
        del ctx
        place = self.places.get(cmd_name)
        if place is None:
            return None
        if cmd_name not in self.commands:
            self.commands.update(loaded(place))
        return self.commands[cmd_name]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The listing, without loading what is listed."""
        records = (parameter.get_help_record(ctx) for parameter in self.get_params(ctx))
        formatter.write(
            listing.page(
                f"{ctx.command_path} {' '.join(self.collect_usage_pieces(ctx))}",
                self.help or "",
                [
                    ("Options", [record for record in records if record is not None]),
                    ("Commands", [(name, place.help) for name, place in self.places.items()]),
                ],
                self.epilog or "",
            )
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does, which suggests only what is loaded: where it fails, everything counts as that."""
        if not args or args[0] in self.places:
            return super().resolve_command(ctx, args)
        kept, self.commands = self.commands, {name: TyperCommand(name=name) for name in self.places}
        try:
            return super().resolve_command(ctx, args)
        finally:
            self.commands = kept

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run it. A usage error is one line on stderr, or one JSON object, and exit code 2."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except _USAGE_ERROR as error:
            if not standalone_mode:
                raise
            usage_error(error, json="--json" in given)
            sys.exit(output.USAGE)
        except typer.Abort:
            if not standalone_mode:
                raise
            sys.exit(output.INTERRUPTED)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def loaded(place: Place) -> dict[str, Any]:
    """The commands of a place by name, as click has them."""
    app = typer.Typer(rich_markup_mode="rich")
    app.callback()(_nothing)
    place.load(app)
    return dict(typer.main.get_group(app).commands)


def _nothing() -> None:
    """Typer wants a callback where it is to keep the name of a single command."""


def usage_error(error: Any, *, json: bool) -> None:
    """Say what is wrong with the command line. Whoever gives no command at all sees the help instead."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return  # typer has printed it
    command = context.command_path if context is not None else "mycelium"
    text = " ".join(error.format_message().split()).rstrip(".")
    output.say_error(text, f"see {command} --help", "UsageError", json=json)
