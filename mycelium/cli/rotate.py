"""The command `rotate now`: let one's own node listen on another port."""

from __future__ import annotations

import typer

from mycelium.cli import output
from mycelium.cli.target import Session, connected


def register(app: typer.Typer) -> None:
    """Add the command."""
    # With a single command typer would leave out its name.
    app.callback()(_group)
    connected(app, "now")(now)


def _group() -> None:
    """Let a node listen on another port of its range."""


async def now(session: Session) -> None:
    """Let the node listen on another port of its range, and tell its peers.

    Needs a section rotation in node.toml. No session ends and nothing is
    lost; the old port accepts as well until the overlap is over. If no port
    can be had, or the node cannot reach itself there, the port stays.

    Example:

        mycelium rotate now --config node.toml
    """
    found = await session.node.rotate()
    if session.json:
        output.emit(found)
        return
    others = ", ".join(str(port) for port in found["ports"] if port != found["port"])
    still = f"; {others} accepts for {found['next_s']:.0f} s more" if others else ""
    output.line(f"listens on port {found['port']}{still}")
