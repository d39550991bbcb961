"""The commands `blacklist list`, `add`, `remove` and `explain`, and `peers`: whom one's node has a session with, and
whom not, and why. Layout and options; the node decides."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from mycelium.cli import output
from mycelium.cli.target import Session, connected

_GOOD: Final = "good"
Who = Annotated[str, typer.Argument(metavar="ACCOUNT", help="SS58 address of a hotkey.")]
Why = Annotated[str, typer.Option("--why", help="Why, for whoever asks later.")]
Never = Annotated[bool, typer.Option("--never", help="Add it to those that are never listed instead.")]


def register(app: typer.Typer, blacklist_app: typer.Typer) -> None:
    """Add the commands."""
    connected(blacklist_app, "list")(list_)
    connected(blacklist_app, "add")(add)
    connected(blacklist_app, "remove")(remove)
    connected(blacklist_app, "explain")(explain)
    connected(app, "peers")(peers)


async def list_(session: Session) -> None:
    """List everybody about whom the node has anything: who, since when, why.

    What it holds against others is the node's own and is never told to
    anybody, except as claims, which greylist nobody alone.

    Examples:

        mycelium blacklist list --config node.toml

        mycelium blacklist list --config node.toml --json
    """
    found = await _ask(session, "list")
    if session.json:
        for one in found:
            output.emit(one)
        return
    if not found:
        output.line("there is nothing against anybody")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("account", min_width=14, no_wrap=True)
    table.add_column("standing", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("by", no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in found:
        table.add_row(_short(one["account"]), _standing(one), f"{one['score']:g}", one["by"], _why(one))
    output.console().print(table)


async def add(session: Session, who: Who, why: Why = "", never: Never = False) -> None:
    """Have no session with an account any more, until it is removed.

    Its session ends at once. With --never it is put on the other list: it is
    never greylisted or blacklisted, whatever it does and others claim.

    Examples:

        mycelium blacklist add 5F... --why "sends nonsense" --config node.toml

        mycelium blacklist add 5F... --never --config node.toml
    """
    found = await _ask(session, "add", who, why, never=never)
    _done(session, found, f"{who} is listed: {found['listed']}")


async def remove(session: Session, who: Who) -> None:
    """Take an account off the list, and forgive what it did.

    Also what made the node greylist or blacklist it by itself; claims of
    others until now count no more. A log that is frozen by a proof stays so.

    Example:

        mycelium blacklist remove 5F... --config node.toml
    """
    found = await _ask(session, "remove", who)
    _done(session, found, f"{who} is pardoned; it is {found['standing']}")


async def explain(session: Session, who: Who) -> None:
    """Say what is known of an account: what it did, who accuses it.

    With --json all of it, times in seconds since 1970, stake in rao.

    Example:

        mycelium blacklist explain 5F... --config node.toml
    """
    found = await _ask(session, "explain", who)
    if session.json:
        output.emit(found)
        return
    output.line(f"{found['account']}: {_standing(found)}{': ' + found['why'] if found['why'] else ''}")
    output.line(f"  score {found['score']:g}, greylisted {found['greylistings']} times")
    for name, count in found["failures"].items():
        output.line(f"  {count} x {name}")
    if found["listed"]:
        output.line(f"  the operator's list: {found['listed']}")
    if found["pardoned_by_stake"]:
        output.line(f"  its stake of {found['stake_rao'] / 1e9:,.0f} TAO stands above claims and failures")
    for one in found["frozen"]:
        output.line(
            f"  frozen: {one['why']}, its generation {one['generation']} in {one['space']!r} ends "
            f"before number {one['from']}"
        )
    for one in found["claims"]:
        output.line(f"  claim of {one['issuer']}: {one['reason']}, until {_time(one['until_s'])}")


async def peers(session: Session) -> None:
    """Show whom the node has a session with: role, address, round trip, score, standing.

    Whoever has no session because of the blacklist stands at the end.

    Examples:

        mycelium peers --config node.toml

        mycelium peers --config node.toml --json
    """
    status = await session.node.status()
    blocked = [one for one in await _ask(session, "list") if one["standing"] != _GOOD]
    if session.json:
        for peer in status["peers"]:
            output.emit({"connected": True, **peer})
        for one in blocked:
            output.emit({"connected": False, **one})
        return
    if not status["peers"]:
        output.line("no peer is connected")
    else:
        output.console().print(_table(status["peers"]))
    for one in blocked:
        output.line(f"{one['account']}: {one['why']}")


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("peer", min_width=14, no_wrap=True)
    table.add_column("role", overflow="fold")
    table.add_column("address", no_wrap=True)
    table.add_column("rtt", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("standing", overflow="fold")
    for peer in found:
        rtt = peer["rtt_ms"]
        table.add_row(
            _short(peer["account"]),
            peer["role"],
            peer["remote"],
            "-" if rtt is None else f"{rtt:.1f} ms",
            f"{peer['score']:g}",
            peer["standing"] or "-",
        )
    return table


async def _ask(session: Session, what: str, who: str = "", why: str = "", *, never: bool = False) -> Any:
    from mycelium.identity import account as accounts
    from mycelium.node import calls

    account = accounts.parse(who) if who else b""
    return await session.node.blacklist(calls.Blacklist(what, account, why, never))


def _done(session: Session, found: dict[str, Any], text: str) -> None:
    if session.json:
        output.emit(found)
    else:
        output.line(text)


def _short(account: str) -> str:
    return f"{account[:6]}..{account[-6:]}"


def _standing(found: dict[str, Any]) -> str:
    """With what the standing does not say."""
    if found["standing"] == _GOOD and found["listed"]:
        return f"{_GOOD} ({found['listed']} listed)"
    return f"{found['standing']}, frozen" if found["frozen"] else str(found["standing"])


def _why(found: dict[str, Any]) -> str:
    if found["why"]:
        return str(found["why"])
    if found["frozen"]:
        return ", ".join(sorted({one["why"] for one in found["frozen"]}))
    accused = len(found["claims"])
    return (
        f"{accused} claims" if accused else ", ".join(f"{n} {name}" for name, n in found["failures"].items())
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
