"""Whose a store is, and making a backup a store again.

A checkpoint is a backup. Restoring one mints a new generation: its own log continues as another origin, so that a
sequence number is never signed twice (replication.md D 17).
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from mycelium.database import schema
from mycelium.database.rocks import MARKER, RocksStore
from mycelium.database.schema import StoreIdentity
from mycelium.database.store import Column, Store, after_prefix
from mycelium.errors import StoreError, StoreForeign
from mycelium.identity.account import format as format_account


def mint_generation() -> int:
    """A new generation: 63 random bits, never 0. Random, because a restored clock cannot be trusted to be unique."""
    return secrets.randbits(63) | 1


def read_identity(store: Store) -> StoreIdentity | None:
    """The identity written at creation; None in a store that never had one. StoreForeign for another format."""
    stored = store.get(Column.META, schema.META_IDENTITY)
    if stored is None:
        return None
    try:
        identity = msgspec.msgpack.decode(stored, type=StoreIdentity)
    except msgspec.DecodeError as error:
        raise StoreForeign(
            f"the store's identity record is unreadable: {error}", "restore a backup"
        ) from None
    if identity.format != schema.FORMAT:
        raise StoreForeign(
            f"the store has format {identity.format}; this version reads format {schema.FORMAT}",
            "run the version that wrote it, or start with a new data_dir",
        )
    return identity


def write_identity(store: Store, identity: StoreIdentity) -> None:
    batch = store.batch()
    batch.put(schema.META_IDENTITY, msgspec.msgpack.encode(identity), store.column(Column.META))
    store.commit(batch)
    store.sync()


def renew_identity(store: Store, identity: StoreIdentity) -> None:
    """Let the store be another origin from its next opening on."""
    write_identity(store, msgspec.structs.replace(identity, generation=mint_generation()))


def open_identity(store: Store, account: bytes, netuid: int, genesis: bytes) -> StoreIdentity:
    """Check that the store is this account's on this network, or make it so when it is new. StoreForeign."""
    path: Path | None = getattr(store, "path", None)
    identity = read_identity(store)
    if identity is None:
        identity = StoreIdentity(schema.FORMAT, account, netuid, genesis, mint_generation())
        write_identity(store, identity)
    else:
        where = str(path or "the data directory")
        held = _label(identity.account, identity.netuid, identity.genesis)
        _check(where, held, _label(account, netuid, genesis))
    if path is not None:
        _write_label(path, _label(account, netuid, genesis))
    return identity


def fleet_mark(generation: int, stream: str) -> bytes:
    """What a member of a fleet notes of a space: as which generation it writes there, and to which stream."""
    return f"{generation:016x} {stream}".encode()


def check_alone(store: Store, generation: int) -> None:
    """StoreForeign where the store is a fleet's member: the stream may have batches of it that were never applied here,
    and a node alone would sign their numbers a second time."""
    marks = store.scan(Column.META, schema.META_FLEET, after_prefix(schema.META_FLEET))
    if any(mark.startswith(fleet_mark(generation, "")) for _, mark in marks):
        raise StoreForeign(
            "the data directory is of a member of a fleet, and what the fleet's streams have of it may not all be here",
            "start it with its [fleet], or restore a backup of it (mycelium backup, restore) into another data_dir",
        )


def check_label(path: Path, account: bytes, netuid: int, genesis: bytes) -> None:
    """Before the store is opened, which writes: StoreForeign when its marker file names another owner or network.

    A directory without a marker, or a backup whose marker names nobody, passes; `open_identity` has the last word.
    """
    _check(str(path), read_label(path), _label(account, netuid, genesis))


def read_label(path: Path) -> dict[str, str]:
    """What a data directory's marker file says: account, netuid and genesis; empty where there is none."""
    try:
        lines = (path / MARKER).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.split(" ", 1) for line in lines[1:] if " " in line)


def _label(account: bytes, netuid: int, genesis: bytes) -> dict[str, str]:
    return {"account": format_account(account), "netuid": str(netuid), "genesis": genesis.hex()}


def _check(where: str, held: dict[str, str], wanted: dict[str, str]) -> None:
    if held.get("account", wanted["account"]) != wanted["account"]:
        raise StoreForeign(
            f"the data directory belongs to {held['account']}, not to {wanted['account']}: {where}",
            "use that account's hotkey, or set another data_dir",
        )
    for name in ("netuid", "genesis"):
        if held.get(name, wanted[name]) != wanted[name]:
            raise StoreForeign(
                f"the data directory belongs to {name} {held[name]}, not to {wanted[name]}: {where}",
                "mend [network] in the config, or set another data_dir",
            )


def _write_label(path: Path, label: dict[str, str]) -> None:
    marker = path / MARKER
    first = marker.read_text(encoding="utf-8").split("\n", 1)[0]
    text = "\n".join([first, *(f"{name} {value}" for name, value in label.items())]) + "\n"
    if marker.read_text(encoding="utf-8") != text:
        fresh = marker.with_name(MARKER + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(marker)


def restore(
    backup: Path, target: Path, each: Callable[[int, int], None] = lambda copied, total: None
) -> StoreIdentity:
    """Copy a backup to `target`, which must be empty or absent, under a new generation. The backup is unchanged.

    each: called with the bytes copied so far, and of all.
    """
    if not (backup / MARKER).is_file():
        raise StoreForeign(
            f"{backup} is not a backup made by `mycelium backup`", "name the directory of a backup"
        )
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target} is not empty; a backup is restored to a new directory")
    temporary = target.with_name(target.name + ".restoring")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        # Its files are hard links: RocksDB never changes one in place, but a copy also survives the original's disk.
        total = sum(path.stat().st_size for path in backup.rglob("*") if path.is_file())
        copied = 0

        def copy(source: str, destination: str) -> str:
            nonlocal copied
            shutil.copy2(source, destination)
            copied += Path(destination).stat().st_size
            each(copied, total)
            return destination

        shutil.copytree(backup, temporary, copy_function=copy)
        store = RocksStore(temporary)
        try:
            identity = read_identity(store)
            if identity is None:
                raise StoreForeign(f"{backup} is not a Mycelium backup", "name the directory of a backup")
            restored = msgspec.structs.replace(identity, generation=mint_generation())
            write_identity(store, restored)
        finally:
            store.close()
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return restored
