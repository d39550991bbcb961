"""The command `trim`: let one's own node drop from its log what was overwritten long ago."""

from __future__ import annotations

from typing import Any

import typer

from mycelium.cli import output
from mycelium.cli.target import Session, connected
from mycelium.node import calls

_TRIM_S = 600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    connected(app, "trim")(trim)


async def trim(session: Session) -> None:
    """Let the node drop from its log what was overwritten long ago.

    Needs log_keep_hours in the section store of node.toml; a node does it
    by itself once an hour. Values do not change, and other nodes need not do
    the same: who lacks what was dropped needs it no more.

    Example:

        mycelium trim --config node.toml
    """
    found = await session.node.database.ask(calls.TRIM, b"", dict[str, Any], timeout_s=_TRIM_S)
    if session.json:
        output.emit(found)
        return
    output.line(
        f"dropped {found['dropped']:,} of {found['looked']:,} batches, {output.size(found['dropped_bytes'])}"
    )
