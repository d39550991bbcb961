"""The `mycelium` command: puts the subcommands together. `python -m mycelium.cli.main` is the same."""

from __future__ import annotations

import platform
import sys

import typer

from mycelium import __version__
from mycelium.cli import blacklist, data, devchain, node, output, policy, rotate, trim
from mycelium.cli import devnet as devnet_commands
from mycelium.cli import fiber as fiber_commands
from mycelium.cli import sim as sim_commands
from mycelium.cli.target import Json
from mycelium.config import PROTOCOL_VERSION

app = typer.Typer(
    name="mycelium",
    help="Replicate a signed store among the validators of a Bittensor subnet.",
    epilog="Try it on this machine: mycelium devnet demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
node_app = typer.Typer(no_args_is_help=True, help="Run a node, or look at one.")
policy_app = typer.Typer(no_args_is_help=True, help="Who may read and write what: policies and grants.")
blacklist_app = typer.Typer(no_args_is_help=True, help="Who gets no session with one's own node, and why.")
rotate_app = typer.Typer(no_args_is_help=True, help="Let a node listen on another port.")
devnet_app = typer.Typer(no_args_is_help=True, help="A local network of real nodes, for trying things out.")
sim_app = typer.Typer(no_args_is_help=True, help="Real nodes in a simulated network, repeatable from a seed.")
fiber_app = typer.Typer(no_args_is_help=True, help="Programs written for Fiber, unmodified.")


@app.command()
def version(json: Json = False) -> None:
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


app.add_typer(node_app, name="node")
data.register(app)
node.register(app, node_app)
trim.register(app)
app.add_typer(policy_app, name="policy")
policy.register(policy_app)
app.add_typer(blacklist_app, name="blacklist")
blacklist.register(app, blacklist_app)
app.add_typer(rotate_app, name="rotate")
rotate.register(rotate_app)
app.add_typer(devnet_app, name="devnet")
devnet_commands.register(devnet_app)
devchain.register(devnet_app)
app.add_typer(sim_app, name="sim")
sim_commands.register(sim_app)
app.add_typer(fiber_app, name="fiber")
fiber_commands.register(fiber_app)


def main() -> None:
    """The entry point. An interrupt before a command handles it itself still ends without a traceback."""
    output.open_closed_streams()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(output.INTERRUPTED)


if __name__ == "__main__":
    main()
