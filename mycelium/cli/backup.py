"""The commands backup and restore: a node's data as files, and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from mycelium.cli import output, progress
from mycelium.cli.target import Config, EnvFile, Json, load
from mycelium.errors import ConfigError, LinkError
from mycelium.identity import account as accounts


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; must not exist.")],
    config: Config = None,
    env_file: EnvFile = None,
    json: Json = False,
) -> None:
    """Write a backup of a node's data, running or not, to a new directory on the same machine.

    A running node makes it itself, without a pause. Restore it with `mycelium restore`.

    Example:

        mycelium backup /backups/2026-07-01 --config node.toml
    """
    with output.guard(json=json):
        settings = load(config, env_file)
        target = directory.expanduser().absolute()
        if target.exists():
            raise ConfigError(f"{target} exists", "name a directory that does not exist yet")
        if not target.parent.is_dir():
            raise ConfigError(f"{target.parent}: no such directory", "create it first")
        with progress.line("the node writes its backup", "bytes", json=json) as line:
            running = output.run(_watched(_backup(settings, target), target, line))
        how = "the running node" if running else "the data directory (no node is running)"
        if json:
            output.emit({"backup": str(target), "data_dir": str(settings.data_dir), "node_running": running})
        else:
            output.line(f"backed up {how} to {target}")


async def _watched(work: Coroutine[Any, Any, bool], target: Path, line: progress.Line) -> bool:
    """Do it, and show how large the backup is by now."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=progress.REFRESH_S))[0]:
            line.at(await asyncio.to_thread(_size_bytes, target))
        return task.result()
    finally:
        task.cancel()


def _size_bytes(directory: Path) -> int:
    """What is there by now, also under the name that RocksDB gives it until it is whole."""
    total = 0
    for place in (directory, directory.with_name(f"{directory.name}.tmp")):
        with contextlib.suppress(OSError):
            total += sum(path.stat().st_size for path in place.iterdir())
    return total


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
        with progress.line("copying", "bytes", json=json) as line:

            def copied(done: int, total: int) -> None:
                line.total = total
                line.at(done)

            identity = restore_backup(source, target, copied)
        account = accounts.format(identity.account)
        if json:
            output.emit({"data_dir": str(target), "account": account, "generation": identity.generation})
        else:
            output.line(f"restored {account} to {target}, generation {identity.generation}")
