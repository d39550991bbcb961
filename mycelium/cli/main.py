"""The `mycelium` command: says which commands there are, and where. `python -m mycelium.cli.main` is the same.

Loads no command before it is used: see `lazy`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

import typer

from mycelium.cli import output
from mycelium.cli.lazy import LazyGroup, Place


def _module(name: str) -> Any:
    return import_module(f"mycelium.cli.{name}")


def _group(top: typer.Typer, name: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=COMMANDS[name].help)
    top.add_typer(group, name=name)
    return group


def _about(top: typer.Typer) -> None:
    _module("about").register(top)


def _data(top: typer.Typer) -> None:
    _module("data").register(top)


def _node(top: typer.Typer) -> None:
    _module("node").register(top, _group(top, "node"))


def _backup(top: typer.Typer) -> None:
    _module("backup").register(top)


def _config(top: typer.Typer) -> None:
    _module("configuration").register(_group(top, "config"))


def _init(top: typer.Typer) -> None:
    _module("init").register(top)


def _doctor(top: typer.Typer) -> None:
    _module("doctor").register(top)


def _trim(top: typer.Typer) -> None:
    _module("trim").register(top)


def _policy(top: typer.Typer) -> None:
    _module("policy").register(_group(top, "policy"))


def _blacklist(top: typer.Typer) -> None:
    _module("blacklist").register(top, _group(top, "blacklist"))


def _rotate(top: typer.Typer) -> None:
    _module("rotate").register(_group(top, "rotate"))


def _replica(top: typer.Typer) -> None:
    _module("replica").register(_group(top, "replica"))


def _devnet(top: typer.Typer) -> None:
    group = _group(top, "devnet")
    _module("devnet").register(group)
    _module("devchain").register(group)


def _sim(top: typer.Typer) -> None:
    _module("sim").register(_group(top, "sim"))


def _feed(top: typer.Typer) -> None:
    _module("feed").register(_group(top, "feed"))


def _sink(top: typer.Typer) -> None:
    _module("sink").register(_group(top, "sink"))


def _fleet(top: typer.Typer) -> None:
    _module("fleet").register(_group(top, "fleet"))


def _fiber(top: typer.Typer) -> None:
    _module("fiber").register(_group(top, "fiber"))


COMMANDS: Final = {
    "version": Place(_about, "Print the version."),
    "completion": Place(_about, "Print the script that lets a shell complete this command."),
    "init": Place(_init, "Write the configuration file of a node: five questions, or none with --yes."),
    "config": Place(_config, "Look at a node's configuration: what is in force, whence, and what is wrong."),
    "doctor": Place(_doctor, "Look for what keeps a node from working, before its start or after trouble."),
    "node": Place(_node, "Run a node, or look at one."),
    "status": Place(_node, "Show what a running node holds and whom it is connected to."),
    "get": Place(_data, "Print the value of one key; exit 1 when there is none."),
    "put": Place(_data, "Set a key (lww and own tables), or add one more fact to it (append tables)."),
    "delete": Place(_data, "Remove a key of an lww or own table."),
    "add": Place(_data, "Add to a counter."),
    "insert": Place(_data, "Put an element into the set at a key."),
    "remove": Place(_data, "Take an element out of the set at a key."),
    "scan": Place(_data, "Print the rows of a range of keys, in the order of their keys."),
    "watch": Place(
        _data, "Print changes as they become durable at the node, whoever wrote them, until Ctrl-C."
    ),
    "count": Place(_data, "Print how many keys a table has."),
    "digest": Place(_data, "Print the digest of the node's state, space by space."),
    "backup": Place(
        _backup, "Write a backup of a node's data, running or not, to a new directory on the same machine."
    ),
    "restore": Place(
        _backup,
        "Make a data directory from a backup, under a new generation. The backup stays as it is.",
    ),
    "trim": Place(_trim, "Let the node drop from its log what was overwritten long ago."),
    "policy": Place(_policy, "Who may read and write what: policies and grants."),
    "blacklist": Place(_blacklist, "Who gets no session with one's own node, and why."),
    "peers": Place(
        _blacklist, "Show whom the node has a session with: role, address, round trip, score, standing."
    ),
    "rotate": Place(_rotate, "Let a node listen on another port."),
    "feed": Place(_feed, "The change feed of a node: onto NATS JetStream, its state, or printed."),
    "sink": Place(_sink, "Keep a PostgreSQL, or files, filled from a node's change feed."),
    "replica": Place(
        _replica, "A read replica: a verified copy of the data, kept by streams on NATS JetStream."
    ),
    "fleet": Place(_fleet, "Several nodes of one hotkey: who has what, and moving it."),
    "devnet": Place(_devnet, "A local network of real nodes, for trying things out."),
    "sim": Place(_sim, "Real nodes in a simulated network, repeatable from a seed."),
    "fiber": Place(_fiber, "Programs written for Fiber, unmodified."),
}
"""Every command, in the order of the help. The texts are the first paragraphs of what the commands say of
themselves."""

LazyGroup.places = COMMANDS
app = typer.Typer(
    name="mycelium",
    cls=LazyGroup,
    help="Replicate a signed store among the validators of a Bittensor subnet.",
    epilog="Try it on this machine: mycelium devnet demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _top() -> None:
    """Replicate a signed store among the validators of a Bittensor subnet."""


def main() -> None:
    """The entry point. An interrupt before a command handles it itself still ends without a traceback."""
    output.open_closed_streams()
    try:
        app(prog_name="mycelium")
    except KeyboardInterrupt:
        sys.exit(output.INTERRUPTED)


if __name__ == "__main__":
    main()
