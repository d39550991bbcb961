"""Commands on the node itself: node run, node status, backup, restore."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mycelium.cli import output
from mycelium.cli.target import Json, Session, connected
from mycelium.config import DRAIN_S
from mycelium.errors import ConfigError, LinkError
from mycelium.identity import account as accounts

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="MYCELIUM_CONFIG", help="The node's settings, node.toml.")
]
_EXIT_S: Final = DRAIN_S + 1.5
"""After SIGTERM the process is gone within 10 s, whatever hangs."""


def register(app: typer.Typer, node_app: typer.Typer) -> None:
    """Add the commands."""
    node_app.command("run")(run)
    connected(node_app, "status")(status)
    app.command("backup")(backup)
    app.command("restore")(restore)


def run(
    config: ConfigFile,
    json: Json = False,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error; the log goes to stderr.")
    ] = "warning",
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Run a node until SIGTERM (exit 0) or Ctrl-C (exit 130).

    It drains first, and is gone within 10 seconds. Prints one line when it
    is ready, with --json an object with event, url, account, generation,
    pid and data_dir.

    Examples:

        mycelium node run --config node.toml

        mycelium node run --config node.toml --json --log-level info
    """
    with output.guard(json=json):
        level = logging.getLevelNamesMapping().get(log_level.upper())
        if level is None:
            raise ConfigError(
                f"--log-level {log_level!r} is not a level", "use debug, info, warning or error"
            )
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        code = output.run(_serve(config, json=json, until_eof=until_eof))
        if code:
            raise typer.Exit(code)


async def _serve(config: Path, *, json: bool, until_eof: bool) -> int:
    from mycelium.node import process
    from mycelium.node.node import Node
    from mycelium.node.notify import Notify, summary

    process.prepare()
    manager = Notify.from_environment()
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not asked.done():
            asked.set_result(code)
            manager.stopping()
            _leave_in(_EXIT_S)
        elif code == output.INTERRUPTED:
            os._exit(output.INTERRUPTED)  # Ctrl-C again: the operator does not want to wait

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, end, output.INTERRUPTED)
    if until_eof:
        threading.Thread(target=_watch_stdin, args=(loop, end), daemon=True).start()
    manager.status("opening the store and looking for the network")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(manager.close)
        opening = asyncio.ensure_future(stack.enter_async_context(Node.open(config)))
        # It may wait for the chain, a minute long: who ends it meanwhile is not kept waiting.
        either: set[asyncio.Future[Any]] = {opening, asked}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await opening
            return await asked
        node = await opening
        ready = {
            "event": "ready",
            "url": node.url,
            "account": accounts.format(node.account),
            "generation": node.generation,
            "pid": os.getpid(),
            "data_dir": str(node.settings.data_dir),
        }
        if json:
            output.emit(ready)
        else:
            output.line(
                f"ready: {ready['url']} as {ready['account']}, data in {ready['data_dir']}, pid {ready['pid']}"
            )
        async with manager.serving(lambda: summary(node)):
            return await asked


def _leave_in(seconds: float) -> None:
    """End the process after `seconds` even if draining hangs; durable data is safe by then."""
    timer = threading.Timer(seconds, os._exit, (output.FAILED,))
    timer.daemon = True
    timer.start()


def _watch_stdin(loop: asyncio.AbstractEventLoop, end: Any) -> None:
    """End the node when stdin does: the process that started it is gone, however it went."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    _leave_in(_EXIT_S)
    loop.call_soon_threadsafe(end, 0)


async def status(session: Session) -> None:
    """Show what a running node holds and whom it is connected to.

    Members that it dials and does not reach stand at the end, with the reason.

    Examples:

        mycelium node status --config node.toml

        mycelium node status --url ws://127.0.0.1:9090 --key-file hot.json --json
    """
    found = await session.node.status()
    if session.json:
        output.emit(found)
        return
    from mycelium.cli.status import status_view

    output.console().print(status_view(found))


def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; must not exist.")],
    config: ConfigFile,
    json: Json = False,
) -> None:
    """Write a backup of a node's data, running or not, to a new directory on the same machine.

    A running node makes it itself, without a pause. Restore it with `mycelium restore`.

    Example:

        mycelium backup /backups/2026-07-01 --config node.toml
    """
    with output.guard(json=json):
        from mycelium.node.settings import Settings

        settings = Settings.load(config)
        target = directory.expanduser().absolute()
        if target.exists():
            raise ConfigError(f"{target} exists", "name a directory that does not exist yet")
        if not target.parent.is_dir():
            raise ConfigError(f"{target.parent}: no such directory", "create it first")
        running = output.run(_backup(settings, target))
        how = "the running node" if running else "the data directory (no node is running)"
        if json:
            output.emit({"backup": str(target), "data_dir": str(settings.data_dir), "node_running": running})
        else:
            output.line(f"backed up {how} to {target}")


async def _backup(settings: Any, target: Path) -> bool:
    """Whether a running node made it."""
    from mycelium.node.remote import connect

    try:
        keypair = settings.keypair()
        async with connect(settings.url, keypair, keypair.account) as node:
            await node.database.checkpoint(target)
            return True
    except LinkError as unreachable:
        # Nothing answers at the address. If the node runs all the same, the store's lock says so.
        _backup_offline(settings.data_dir, target, unreachable)
        return False


def _backup_offline(data_dir: Path, target: Path, unreachable: LinkError) -> None:
    from mycelium.database.backup import read_identity
    from mycelium.database.rocks import RocksStore
    from mycelium.errors import StoreForeign, StoreLocked

    if not (data_dir / "CURRENT").is_file():
        raise ConfigError(f"{data_dir} holds no node's data", "check data_dir in the settings")
    try:
        store = RocksStore(data_dir)
    except StoreLocked:
        raise ConfigError(
            f"a node runs on {data_dir} but does not answer ({unreachable})",
            "check its listen address, or stop it",
        ) from None
    try:
        if read_identity(store) is None:
            raise StoreForeign(
                f"{data_dir} is not a Mycelium data directory", "check data_dir in the settings"
            )
        store.checkpoint(target)
    finally:
        store.close()


def restore(
    directory: Annotated[Path, typer.Argument(metavar="BACKUP_DIR", help="A backup.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="DATA_DIR", help="The new data_dir; must be empty or absent.")
    ],
    json: Json = False,
) -> None:
    """Make a data directory from a backup, under a new generation. The backup stays as it is.

    Then start the node with that data_dir; what was written since the
    backup comes back from the other nodes.

    Example:

        mycelium restore /backups/2026-07-01 --to /var/lib/mycelium
    """
    with output.guard(json=json):
        from mycelium.database.backup import restore as restore_backup

        source, target = directory.expanduser().absolute(), to.expanduser().absolute()
        if not source.is_dir():
            raise ConfigError(f"{source}: no such directory", "name the directory of a backup")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} is not empty", "restore to a new or an empty directory")
        if not target.parent.is_dir():
            raise ConfigError(f"{target.parent}: no such directory", "create it first")
        identity = restore_backup(source, target)
        account = accounts.format(identity.account)
        if json:
            output.emit({"data_dir": str(target), "account": account, "generation": identity.generation})
        else:
            output.line(f"restored {account} to {target}, generation {identity.generation}")
