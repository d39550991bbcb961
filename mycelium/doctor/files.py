"""Checks of files: the hotkey, its wallet, the configuration and who may read or change them, and the store."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mycelium.database import rocks
from mycelium.database.backup import read_label
from mycelium.doctor.finding import Finding, fail, ok, skipped, warn
from mycelium.errors import ConfigError, KeyFileError, StoreError
from mycelium.identity.account import format as format_account
from mycelium.node.settings import IdentitySettings, Settings

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def hotkey(identity: IdentitySettings) -> Finding:
    """Whether the hotkey can be loaded, and by nobody else."""
    name = "hotkey"
    try:
        account = format_account(identity.keypair().account)
    except KeyFileError as error:
        return fail(name, error.what, error.remedy or "mend [identity]")
    file = identity.file
    if file is None:
        return ok(name, f"{account}, from the environment")
    mode = file.stat().st_mode
    if mode & _OTHERS:
        return fail(
            name,
            f"{account}: {file} has mode {stat.S_IMODE(mode):o}, so that others can read or change it",
            f"chmod 600 {file}",
        )
    return ok(name, f"{account}, {file}")


def wallet(identity: IdentitySettings) -> Finding:
    """Whether others can change what is in the wallet, and whether it holds more than a node needs."""
    name, file = "wallet", identity.file
    if file is None or identity.key_file is not None:
        return skipped(name, "the hotkey is not in a wallet")
    folder = file.parent.parent
    for place in (file.parent, folder, folder.parent):
        try:
            mode = place.stat().st_mode
        except OSError as error:
            return fail(name, f"{place}: {error.strerror}", "mend [identity], or the rights of the directory")
        if mode & _OTHERS_WRITE:
            return fail(name, f"others can write to {place} ({stat.S_IMODE(mode):o})", f"chmod 700 {place}")
    if (folder / "coldkey").exists():
        return warn(
            name,
            f"{folder} holds the coldkey too",
            "a node never needs it: move it off this machine, and leave coldkeypub.txt",
        )
    return ok(name, str(folder))


def configuration_file(path: Path, secrets: bool = False) -> Finding:
    """Whether others can change the configuration, or read one with a secret in it."""
    mode = path.stat().st_mode
    if mode & _OTHERS_WRITE:
        return fail(
            "configuration", f"others can write to {path} ({stat.S_IMODE(mode):o})", f"chmod 600 {path}"
        )
    if secrets and mode & _OTHERS:
        return fail("configuration", f"{path} holds a secret, and others can read it", f"chmod 600 {path}")
    return ok("configuration", f"{path}, no mistakes")


def data_dir(settings: Settings, account: bytes | None) -> Finding:
    """Whether the data directory is a node's, and this one's."""
    name, path = "data directory", settings.data_dir
    try:
        entries = set(os.listdir(path))  # noqa: PTH208 - only the names, and its errors
    except FileNotFoundError:
        return ok(name, f"{path} is made at the first start")
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", "set data_dir to a directory of this user")
    if entries and rocks.MARKER not in entries:
        return fail(
            name,
            f"{path} is not empty and holds no Mycelium store",
            "set data_dir to an empty or a new directory",
        )
    label = read_label(path)
    wanted = {"netuid": str(settings.netuid)}
    if account is not None:
        wanted["account"] = format_account(account)
    if settings.genesis is not None:
        wanted["genesis"] = settings.genesis.hex()
    for key, value in wanted.items():
        if label.get(key, value) != value:
            return fail(
                name,
                f"{path} belongs to {key} {label[key]}, not to {value}",
                "set another data_dir, or mend the rest",
            )
    if not os.access(path, os.W_OK | os.X_OK):
        return fail(name, f"{path} cannot be written by this user", "make it writable, or run as its owner")
    return ok(name, str(path))


def integrity(path: Path, what: str, each: Callable[[int], None] = lambda rows: None) -> Finding:
    """Every row of a store that nobody has open, read with its checksum."""
    name = "store"
    if not (path / "CURRENT").is_file():
        return skipped(name, f"no data in {path} yet")
    if _is_open(path):
        return fail(
            name,
            f"a process has {path} open and does not answer as a node",
            "end it, or see what its log says",
        )
    try:
        rows = rocks.verify(path, each)
    except StoreError as error:
        remedy = (
            isinstance(error, ConfigError) and error.remedy
        ) or "restore a backup with `mycelium restore`"
        return fail(name, getattr(error, "what", "") or str(error), remedy)
    return ok(name, f"{rows:,} rows of {what} read, every checksum right")


def _is_open(path: Path) -> bool:
    """Whether another process holds RocksDB's lock; taken for a moment here, where none does."""
    try:
        with (path / "LOCK").open("rb+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # what cannot be locked cannot be read either, and reading it says why
    return False


def secrets_in_environment(environ: Mapping[str, str], identity: IdentitySettings) -> Finding:
    """Whether a seed is in the environment, where every program of this user can read it."""
    name = "environment"
    if identity.seed_env and environ.get(identity.seed_env):
        return warn(
            name,
            f"the hotkey's seed is in {identity.seed_env}: programs of this user can read it",
            "keep it in a file of mode 600 (key_file), or hand it over with systemd's LoadCredential",
        )
    return ok(name, "no seed in it")
