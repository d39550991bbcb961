"""The commands version and completion: about the program itself."""

from __future__ import annotations

import platform
from enum import StrEnum
from typing import Annotated

import typer

from mycelium import __version__
from mycelium.cli import output
from mycelium.config import PROTOCOL_VERSION


class Shell(StrEnum):
    """Shells for which there is completion."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("version")(version)
    app.command("completion")(completion)


def version(
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Print the version.

    With it, the protocol that it speaks and the Python that it runs on.

    Example:

        mycelium version --json
    """
    with output.guard(json=json):
        if json:
            output.emit(
                {"version": __version__, "protocol": PROTOCOL_VERSION, "python": platform.python_version()}
            )
        else:
            output.line(
                f"mycelium {__version__}, protocol {PROTOCOL_VERSION}, Python {platform.python_version()}"
            )


def completion(
    shell: Annotated[Shell, typer.Argument(help="Of which shell.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Print the script that lets a shell complete this command.

    `mycelium --install-completion` puts it where the shell looks for it.

    Examples:

        mycelium completion bash > ~/.local/share/bash-completion/completions/mycelium

        mycelium completion zsh > ~/.zfunc/_mycelium

        mycelium completion fish > ~/.config/fish/completions/mycelium.fish
    """
    with output.guard(json=json):
        from typer.completion import get_completion_script  # type: ignore[attr-defined]

        script = get_completion_script(
            prog_name="mycelium", complete_var="_MYCELIUM_COMPLETE", shell=shell.value
        )
        if json:
            output.emit({"shell": shell.value, "script": script})
        else:
            output.line(script)
