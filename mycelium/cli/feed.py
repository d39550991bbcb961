"""Commands on the change feed: bridge, status, follow.

Owns what is asked and printed. A bridge is a process of its own beside the node: when it dies the node does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mycelium.cli import output
from mycelium.cli.target import (
    Session,
    Target,
    connected,
    load,
    targeted,
)
from mycelium.errors import FeedRewound, MyceliumError
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from mycelium.feed.batch import FeedBatch
    from mycelium.jetstream.bridge import Bridge
    from mycelium.jetstream.layout import Network
    from mycelium.node.log_settings import LogSettings
    from mycelium.node.nats_settings import NatsSettings
    from mycelium.node.remote import RemoteNode

_PANEL: Final = "NATS, before what the configuration says"

Nats = Annotated[
    str | None,
    typer.Option(
        "--nats",
        metavar="URL",
        help="Servers of NATS, with commas between. A password rather in the section nats of its file.",
        rich_help_panel=_PANEL,
    ),
]
Monitors = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Monitoring of every NATS server, with commas between; else port 8222 of each.",
        rich_help_panel=_PANEL,
    ),
]
AcceptUnsynced = Annotated[
    bool,
    typer.Option(
        "--accept-unsynced",
        help="Go on though a server may lose what it acknowledged when its power fails.",
        rich_help_panel=_PANEL,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    targeted(app, "bridge")(bridge)
    targeted(app, "status")(status)
    connected(app, "follow")(follow)


def bridge(
    target: Target,
    *,
    json: bool,
    nats: Nats = None,
    monitors: Monitors = None,
    accept_unsynced: AcceptUnsynced = False,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error; the log goes to stderr.")
    ] = None,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Put every batch of a node into NATS JetStream, until SIGTERM or Ctrl-C.

    Each space has a stream, each batch its message, exactly as it was signed;
    snapshots for new replicas lie beside it. Started again it goes on where
    it was: nothing is lost, and what is repeated the server drops. NATS away,
    full or without the stream, or the node away: it says so once, waits, and
    mends what it can. The node never waits for it. A server that acknowledges
    before its disk has it is refused; see --accept-unsynced.

    Examples:

        mycelium feed bridge --nats nats://127.0.0.1:4222 --config node.toml

        mycelium feed bridge --config node.toml --log-level info --json
    """
    with output.guard(json=json):
        given, log = _settings(target, nats, monitors, log_level)
        if accept_unsynced:
            given = replace(given, accept_unsynced=True)
        code = output.run(_bridge(target, given, log, json=json, until_eof=until_eof))
        if code:
            raise typer.Exit(code)


def status(
    target: Target,
    *,
    json: bool,
    nats: Nats = None,
    monitors: Monitors = None,
) -> None:
    """Show how far the feed is: the node's, the bridges', the streams'.

    LAG is in batches of the feed that are not in their streams. A stream is
    complete if a new replica finds everything: in its newest snapshot, and in
    the stream after it. Exit 1 if NATS cannot be asked, or a bridge stands.

    Example:

        mycelium feed status --config node.toml
    """
    with output.guard(json=json):
        given, _ = _settings(target, nats, monitors, None)
        if not output.run(_status(target, given, json=json)):
            raise typer.Exit(output.FAILED)


async def follow(
    session: Session,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help='After this cursor, or "start"; else from now.')
    ] = None,
    space: Annotated[list[str] | None, typer.Option("--space", help="Only this; may be given again.")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after this many batches.")] = None,
) -> None:
    """Print the batches of a node's feed as it applies them, until Ctrl-C.

    With --json the first line is {"event": "following", "cursor": ...}, then
    one object a batch, with its changes; its cursor resumes after it. A
    change that does not win was older than what the node had.

    Examples:

        mycelium feed follow --config node.toml

        mycelium feed follow --after start --space main --json --config node.toml
    """
    cursor: Any = after
    seen = 0
    while True:
        feed = session.node.feed(cursor, space or None, table or None)
        try:
            cursor = await feed.start()
            if not seen and session.json:
                output.emit({"event": "following", "cursor": str(cursor)})
            async for batch in feed:
                cursor = batch.cursor
                _print_batch(batch, json=session.json)
                seen += 1
                if seen == limit:
                    return
        except FeedRewound as error:
            if session.json:
                output.emit({"event": "rewound", "space": error.space, "cursor": error.cursor})
            else:
                output.line(f"rewound\t{error.space}\trows were made anew: read the space again")
            cursor = error.cursor or feed.cursor
        finally:
            if not session.json and seen != limit:
                sys.stderr.write(f"resume with --after {feed.cursor or cursor}\n")
            await feed.aclose()


def _print_batch(batch: FeedBatch, *, json: bool) -> None:
    from mycelium.database.value import key_of
    from mycelium.database.watch import shown_value

    changes = [
        {
            "table": one.table,
            "op": one.op.name.lower(),
            "key": key_of(one.key),
            "value": shown_value(one.merge, one.op, one.value),
            "wins": one.wins,
        }
        for one in batch.changes
    ]
    author = accounts.format(batch.account)
    if json:
        output.emit(
            {
                "event": "batch",
                "cursor": str(batch.cursor),
                "newest": batch.newest,
                "id": batch.id.hex(),
                "space": batch.space,
                "account": author,
                "generation": batch.generation,
                "seq_first": batch.seq_first,
                "count": batch.count,
                "epoch": batch.epoch,
                "hlc_first": batch.hlc_first,
                "changes": changes,
            }
        )
        return
    for one in changes:
        value = "" if one["value"] is None else output.show(one["value"])
        old = "" if one["wins"] else "\tolder"
        output.line(
            f"{batch.space}/{one['table']}\t{one['op']}\t{output.show(one['key'])}\t{value}\t{author}{old}"
        )


# --- the settings ---------------------------------------------------------------------------------------------


def _settings(
    target: Target, nats: str | None, monitors: str | None, log_level: str | None
) -> tuple[NatsSettings, LogSettings]:
    """[nats] and [log] of the node's file, where there is one, under what the options say."""
    from mycelium.node import nats_settings
    from mycelium.node.log_settings import LogSettings
    from mycelium.node.nats_settings import NatsSettings

    flags = {} if log_level is None else {"log.level": log_level}
    if target.config is not None or target.url is None:
        settings = load(target.config, target.env_file, flags)
        given, log = settings.nats, settings.log
    else:
        given, log = NatsSettings(), LogSettings(level=log_level or LogSettings().level)
    if nats is not None:
        given = replace(given, urls=nats_settings.given_urls(nats))
    if monitors is not None:
        given = replace(given, monitors=nats_settings.given_monitors(monitors))
    return given, log


# --- the bridge -----------------------------------------------------------------------------------------------


async def _bridge(
    target: Target, given: NatsSettings, log: LogSettings, *, json: bool, until_eof: bool
) -> int:
    from mycelium.cli.daemon import Ending
    from mycelium.database.database import wall_ms
    from mycelium.jetstream.bridge import Bridge
    from mycelium.node import logs
    from mycelium.node.remote import connect
    from mycelium.redaction import Redactor

    url, keypair, account = target.resolve()
    ending = Ending(until_eof=until_eof)

    async def dial() -> RemoteNode:
        return await connect(url, keypair, account, timeout_s=target.timeout)

    logging = logs.Log(log, Redactor(given.secret_texts(os.environ)))
    try:
        running = Bridge(given, dial, wall_ms)
        work = asyncio.create_task(running.run())
        telling = asyncio.create_task(_tell(running, url, json=json))
        try:
            waiting: set[asyncio.Future[Any]] = {work, ending.asked}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return await ending.asked
        finally:
            for task in (work, telling):
                task.cancel()
            await asyncio.gather(work, telling, return_exceptions=True)
    finally:
        logging.close()


async def _tell(running: Bridge, url: str, *, json: bool) -> None:
    """One line when the first batch may go."""
    await running.began.wait()
    status = running.status()
    if json:
        output.emit({"event": "ready", "node": url, "pid": os.getpid(), **status})
    else:
        output.line(
            f"ready: from {url} after {status['cursor']}, {status['lag']:,} batches behind, pid {os.getpid()}"
        )


# --- status ---------------------------------------------------------------------------------------------------


async def _status(target: Target, given: NatsSettings, *, json: bool) -> bool:
    """Print it; whether all of it is well."""
    node, network = await _of_node(target)
    nats: dict[str, Any] = {"error": "which network's streams, the node does not say"}
    if network is not None:
        nats = await _of_nats(given, network, node)
    found = {"node": node, "nats": nats}
    if json:
        output.emit(found)
    else:
        from mycelium.cli.feedview import feed_view

        output.console().print(feed_view(found))
    bridges: list[dict[str, Any]] = nats.get("bridges", [])
    standing = [one for one in bridges if one["problem"] or not one["running"]]
    return "error" not in node and "error" not in nats and not standing


async def _of_node(target: Target) -> tuple[dict[str, Any], Network | None]:
    """What the node says of its feed, and its network; of a node that does not answer that of its file."""
    from mycelium.jetstream.layout import Network
    from mycelium.jetstream.marks import key_of
    from mycelium.node.remote import connect

    url, keypair, account = target.resolve()
    try:
        async with connect(url, keypair, account, timeout_s=target.timeout) as node:
            found = await node.status()
            said: dict[str, Any] = {
                "url": url,
                "account": node.address,
                "key": key_of(node.account, int(found["database"]["generation"])),
                "durable": found["database"]["durable"],
                **found["feed"],
            }
            return said, Network(int(found["netuid"]), bytes.fromhex(found["genesis"]))
    except (MyceliumError, OSError, TimeoutError) as error:
        said = {"url": url, "error": output.error_line(error)}
    network = None
    if target.config is not None or target.url is None:
        with contextlib.suppress(MyceliumError):
            settings = load(target.config, target.env_file)
            network = None if settings.genesis is None else Network(settings.netuid, settings.genesis)
    return said, network


async def _of_nats(given: NatsSettings, network: Network, node: dict[str, Any]) -> dict[str, Any]:
    from mycelium.config.jetstream import CONNECT_S
    from mycelium.database.database import wall_ms
    from mycelium.jetstream import overview
    from mycelium.jetstream.client import Broker

    newest = {node["key"]: int(node["durable"])} if "key" in node else {}
    try:
        async with Broker(given, "status") as broker:
            session = await broker.ready(2 * CONNECT_S * len(given.urls), once=True)
            return await overview.gather(session, network, given, wall_ms(), newest)
    except (MyceliumError, OSError) as error:
        return {"error": output.error_line(error)}
