"""Commands on the node itself: node run, node status."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mycelium.cli import output
from mycelium.cli.daemon import Ending
from mycelium.cli.target import Config, EnvFile, Json, Session, connected
from mycelium.errors import UsageError
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from rich.live import Live

    from mycelium.admin.server import Admin
    from mycelium.node.configuration import Configuration
    from mycelium.node.logs import Log
    from mycelium.node.node import Node
    from mycelium.node.settings import Settings

logger = logging.getLogger(__name__)

_PANEL: Final = "Settings, before environment and file"

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any setting, as node.listen=0.0.0.0:9090.", rich_help_panel=_PANEL
    ),
]
_FLAGS: Final = {
    "listen": ("node.listen", "HOST:PORT to listen on."),
    "data_dir": ("node.data_dir", "Directory of the store."),
    "wallet": ("identity.wallet", "The wallet that the hotkey is in."),
    "hotkey": ("identity.hotkey", "The hotkey's name in the wallet."),
    "netuid": ("network.netuid", "The subnet's number."),
    "network": ("chain.network", "finney, test, archive or local."),
    "log_level": ("log.level", "debug, info, warning or error; the log goes to stderr."),
    "log_format": ("log.format", "auto, console or json."),
}
"""Options that are short for a --set: their setting and their help."""


def _flag(name: str) -> Any:
    return typer.Option(help=_FLAGS[name][1], rich_help_panel=_PANEL)


def register(app: typer.Typer, node_app: typer.Typer) -> None:
    """Add the commands."""
    node_app.command("run")(run)
    connected(node_app, "status")(status)
    connected(app, "status")(status)


def run(
    config: Config = None,
    env_file: EnvFile = None,
    listen: Annotated[str | None, _flag("listen")] = None,
    data_dir: Annotated[str | None, _flag("data_dir")] = None,
    wallet: Annotated[str | None, _flag("wallet")] = None,
    hotkey: Annotated[str | None, _flag("hotkey")] = None,
    netuid: Annotated[str | None, _flag("netuid")] = None,
    network: Annotated[str | None, _flag("network")] = None,
    log_level: Annotated[str | None, _flag("log_level")] = None,
    log_format: Annotated[str | None, _flag("log_format")] = None,
    settings: Set = None,
    json: Json = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Run a node until SIGTERM (exit 0) or Ctrl-C (exit 130).

    It drains first, and is gone within 10 seconds. SIGHUP reads the
    configuration again. Prints one line when it is ready, with --json an
    object with event, url, account, generation, pid and data_dir.

    Examples:

        mycelium node run --config node.toml

        mycelium node run --json --log-level info --set node.listen=0.0.0.0:9090
    """
    given = {
        "listen": listen,
        "data_dir": None
        if data_dir is None
        else str(Path(data_dir).absolute()),  # of where the command is given
        "wallet": wallet,
        "hotkey": hotkey,
        "netuid": netuid,
        "network": network,
        "log_level": log_level,
        "log_format": log_format,
    }
    with output.guard(json=json):
        flags = {_FLAGS[name][0]: text for name, text in given.items() if text is not None}
        by_set = parse_set(settings or [])
        named = {_FLAGS[name][0]: f"--{name.replace('_', '-')}" for name in given}
        named = {path: flag for path, flag in named.items() if path not in by_set}
        flags |= by_set

        def read() -> Configuration:
            from mycelium.node import configuration

            return configuration.read(config, flags, None, env_file, named)

        code = output.run(_logged(read, json=json, until_eof=until_eof))
        if code:
            raise typer.Exit(code)


def parse_set(given: list[str]) -> dict[str, str]:
    """--set KEY=VALUE as paths and texts. UsageError."""
    flags = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise UsageError(
                f"--set {path!r} has no value: write --set KEY=VALUE, as node.listen=127.0.0.1:9090"
            )
        flags[path.strip()] = value
    return flags


async def _logged(read: Any, *, json: bool, until_eof: bool) -> int:
    from mycelium.node import logs
    from mycelium.redaction import Redactor

    configuration = read()
    settings = configuration.settings()
    if settings.replica is not None:
        raise UsageError(f"{settings.path} is a read replica's: run it with `mycelium replica run`")
    if configuration.how == "found":
        output.note(f"configuration: {configuration.path}")
    redact = Redactor(logs.secrets_of(settings, os.environ, configuration.secrets()))
    log = logs.Log(settings.log, redact)
    say_whence(configuration)
    try:
        return await _serve(configuration, log, read, json=json, until_eof=until_eof)
    finally:
        log.close()


def say_whence(configuration: Configuration) -> None:
    """In the log: what the environment and the flags say before the file, and what of them has no force."""
    for note in configuration.notes:
        logger.warning("%s -- unset it, or see `mycelium config check`", note)
    for value in configuration.values():
        if value.used and value.origin.startswith(("environment", "--")):
            logger.info("%s is %s, by %s", value.path, output.show(value.value), value.origin)


async def _serve(configuration: Configuration, log: Log, read: Any, *, json: bool, until_eof: bool) -> int:
    from mycelium.admin.server import Place, open_admin
    from mycelium.node import process
    from mycelium.node.notify import Notify, summary
    from mycelium.node.reloading import Reloader
    from mycelium.peer.server import check_address

    process.prepare()
    manager = Notify.from_environment()
    ending = Ending(until_eof=until_eof, on_end=manager.stopping)
    reloader = Reloader(configuration, log, read)
    # Before the node is there too: left alone, the signal ends the process.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.reload)
    manager.status("opening the store and looking for the network")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(manager.close)
        settings = configuration.settings()
        # Of a node that is started twice both addresses are taken, and its own is the one to name.
        check_address(settings.host, settings.port)
        place = Place(settings.admin) if settings.admin.enabled else None
        if place is not None:
            stack.callback(place.close)
        opening = asyncio.ensure_future(stack.enter_async_context(_opened(settings)))
        node = await ending.unless(opening)
        if node is None:
            return await ending.asked
        admin = None if place is None else await stack.enter_async_context(open_admin(node, place))
        reloader.node = node
        _ready(node, admin, json=json)
        async with manager.serving(lambda: summary(node)):
            return await ending.asked


def _opened(settings: Settings) -> contextlib.AbstractAsyncContextManager[Node]:
    """A node alone, or one of a fleet."""
    if settings.fleet is not None:
        from mycelium.fleet.member import open_member

        return open_member(settings)
    from mycelium.node.node import Node

    return Node.open(settings)


def _ready(node: Node, admin: Admin | None, *, json: bool) -> None:
    ready = {
        "event": "ready",
        "url": node.url,
        "account": accounts.format(node.account),
        "generation": node.generation,
        "pid": os.getpid(),
        "data_dir": str(node.settings.data_dir),
        "admin": "" if admin is None else admin.url,
    }
    if json:
        output.emit(ready)
    else:
        output.line(
            f"ready: {ready['url']} as {ready['account']}, data in {ready['data_dir']}, pid {ready['pid']}"
            + (f", dashboard {ready['admin']}" if admin else "")
        )


async def status(
    session: Session,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --watch: seconds between two looks.")] = 1.0,
    times: Annotated[int, typer.Option(min=0, help="With --watch: end after so many looks; 0 is never.")] = 0,
) -> None:
    """Show what a running node holds and whom it is connected to.

    Members that it dials and does not reach stand at the end, with the
    reason. With --watch and --json one line for each look. The same in a
    browser: the dashboard, whose address `node run` prints.

    Examples:

        mycelium status --config node.toml

        mycelium status --config node.toml --watch

        mycelium node status --url ws://127.0.0.1:9090 --key-file hot.json --json
    """
    from mycelium.cli.status import status_view

    console = output.console()
    looks = itertools.count(1) if watch and not times else range(1, max(1, times if watch else 1) + 1)
    with contextlib.ExitStack() as stack:
        live: Live | None = None
        if watch and console.is_terminal and not session.json:
            from rich.live import Live

            live = stack.enter_context(Live(console=console, auto_refresh=False, screen=True))
        for look in looks:
            if look > 1:
                await asyncio.sleep(every)
            found = await session.node.status()
            if session.json:
                output.emit(found)
            elif live is not None:
                live.update(status_view(found), refresh=True)
            else:
                console.print(status_view(found))
