"""Commands for programs written for Fiber: fiber run, fiber post-ip."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from mycelium.cli import output
from mycelium.errors import UsageError

_STAND_IN = str(Path(__file__).with_name("stand_in"))
_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run", context_settings=_PASSED_ON, add_help_option=False)(run)
    app.command("post-ip", context_settings=_PASSED_ON, add_help_option=False)(post_ip)


def run(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="SCRIPT.py | -m MODULE [ARGUMENTS]...")
    ] = None,
) -> None:
    """Run an unmodified program that imports fiber on Mycelium.

    What follows the script or module is the program's own.

    Examples:

        mycelium fiber run miner.py

        mycelium fiber run -m uvicorn miner:app --port 8091
    """
    given = arguments or []
    if given[:1] in (["--help"], ["-h"]):
        output.line(context.get_help())
        return
    with output.guard(json=False):
        module = given[:1] == ["-m"]
        rest = given[1:] if module else given
        if not rest:
            raise UsageError("name a script, or a module after -m: mycelium fiber run miner.py")
        if not module and not Path(rest[0]).is_file():
            raise UsageError(f"{rest[0]} is no file")
    import mycelium.fiber  # noqa: F401 - from here on `fiber` is this package

    # Also in the processes that it starts: workers of uvicorn, and pools of multiprocessing, begin anew.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([_STAND_IN, *([before] if before else [])])
    sys.path.insert(0, _STAND_IN)
    # As Python itself starts a program.
    sys.argv = list(rest)
    if module:
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(rest[0]).resolve().parent))
        runpy.run_path(rest[0], run_name="__main__")


def post_ip(arguments: Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS]...")] = None) -> None:
    """Publish a node's address on the chain; as `fiber-post-ip`.

    Example:

        mycelium fiber post-ip --help
    """
    from mycelium.scripts import post_ip_to_chain

    sys.argv = ["mycelium fiber post-ip", *(arguments or [])]
    raise SystemExit(post_ip_to_chain.main())
