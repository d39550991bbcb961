"""The files of a local network without a chain: one directory with a members file and, per node, settings, a hotkey
and data. `chainlayout` is the same on a development chain.

    DIR/members.toml    DIR/network.json    DIR/node1/{node.toml,hotkey.json,data/,node.log}    DIR/node2/...

A directory that holds a network already keeps its hotkeys and data and gets new ports. The hotkeys are made for
this network alone and are worth nothing. Starts no process.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from mycelium import wholefile
from mycelium.errors import ConfigError
from mycelium.identity import account as accounts
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair
from mycelium.node.settings import tables_of
from mycelium.tomlfile import TomlFile

NODES_MAX: Final = 64
NETUID: Final = 1
HOST: Final = "127.0.0.1"
TABLES: Final = (
    ("records", "lww"),
    ("hits", "counter"),
    ("groups", "set"),
    ("facts", "append"),
    ("notes", "own"),
)
"""One table for each way of merging, so that a development network can try them all."""

HEADER: Final = "# Written by `mycelium devnet`; changes are lost when it starts again."

_STATE: Final = "network.json"
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class NetworkState(msgspec.Struct, forbid_unknown_fields=True):
    """What must stay the same when a directory is used again."""

    genesis: str
    genesis_time_ms: int
    nodes: int
    chain: bool = False
    miners: int = 0
    ports: list[int] = []
    """Of the chain and of the nodes: on a chain they stay, as the chain tells them to everybody."""
    block_ms: int = 0


@dataclass(frozen=True, slots=True)
class NodePlace:
    """One node of the network, before it runs."""

    name: str
    directory: Path
    keypair: Keypair
    port: int
    admin_port: int = 0
    """Of its dashboard; 0 takes a free one."""

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    @property
    def config(self) -> Path:
        return self.directory / "node.toml"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "node.log"

    @property
    def address(self) -> str:
        """The account as SS58."""
        return accounts.format(self.keypair.account)


@dataclass(frozen=True, slots=True)
class ChainPlace:
    """The development chain of a network, before it runs."""

    directory: Path
    port: int
    block_ms: int
    begun_blocks: int = 0
    """Made before anybody connects, the first time."""

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    @property
    def spec(self) -> Path:
        """What the chain begins with."""
        return self.directory / "chain.json"

    @property
    def state(self) -> Path:
        """Where the chain keeps what it has become."""
        return self.directory / "chain.state"

    @property
    def log(self) -> Path:
        return self.directory / "chain.log"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command that runs it: on from where it was, or from an epoch that is final already."""
        where = ("--port", str(self.port), "--spec", str(self.spec), "--state", str(self.state), "--archive")
        pace = ("--block-ms", str(self.block_ms), "--fast-forward", str(self.begun_blocks))
        return ("devnet", "chain", *where, *pace)


def prepare(directory: Path, nodes: int, *, tables: str | None = None) -> list[NodePlace]:
    """Write the files of a network of `nodes`, or take over those that are there. Raises ConfigError.

    tables: what `read_tables` gave; without it one for each way of merging.
    """
    directory = directory.absolute()
    network = state(directory, new_state(nodes))
    ports = free_ports(2 * nodes)
    places = []
    for number, (port, admin_port) in enumerate(zip(ports[:nodes], ports[nodes:], strict=True), start=1):
        folder = directory / f"node{number}"
        folder.mkdir(exist_ok=True)
        key_file = folder / "hotkey.json"
        if not key_file.exists():
            wallets.write_file(key_file, Keypair.generate())
        places.append(NodePlace(folder.name, folder, wallets.load_file(key_file), port, admin_port))
    (directory / "members.toml").write_text(_members(places, network), encoding="utf-8")
    for place in places:
        place.config.write_text(_settings(place, network, tables), encoding="utf-8")
    return places


def free_ports(count: int, but: Collection[int] = ()) -> list[int]:
    """Ports of the loopback address that nobody listens on, below those that the system gives to clients.

    A port from the clients' range could be taken by an outgoing connection while its node is being restarted.
    but: ports that are promised already.
    """
    try:
        top = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        top = 32_768
    low, high = (10_240, top) if top > 12_288 else (49_152, 65_536)
    found: list[int] = []
    for port in random.sample(range(low, high), min(high - low, 100 * count)):
        if port in but:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ConfigError(f"no {count} free ports on {HOST}", "end what listens there")


def state(directory: Path, fresh: NetworkState) -> NetworkState:
    """What the directory's network is; `fresh` is written down where there is none. ConfigError for another's."""
    path = directory / _STATE
    if path.exists():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=NetworkState)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{path}: {error}", "name another directory, or remove this one") from None
        if found.nodes != fresh.nodes:
            raise ConfigError(
                f"{directory} holds a network of {found.nodes} nodes, not of {fresh.nodes}",
                f"give --nodes {found.nodes}, or another --dir",
            )
        if found.chain != fresh.chain:
            kind, remedy = (
                ("on a chain", "leave out --static") if found.chain else ("without one", "give --static")
            )
            raise ConfigError(f"{directory} holds a network {kind}", f"{remedy}, or give another --dir")
        return found
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(
            f"{directory} is not empty and holds no local network", "name an empty or a new directory"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        wholefile.write(path, msgspec.json.encode(fresh) + b"\n")
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}", "name a directory that can be written") from None
    return fresh


def new_state(nodes: int, *, chain: bool = False, miners: int = 0, block_ms: int = 0) -> NetworkState:
    """A network that begins now. Its blocks began a minute ago, so that the first writes have one to refer to."""
    genesis_time_ms = time.time_ns() // 1_000_000 - 60_000
    ports = free_ports(nodes + 1) if chain else []
    return NetworkState("0x" + secrets.token_hex(32), genesis_time_ms, nodes, chain, miners, ports, block_ms)


def _members(places: list[NodePlace], network: NetworkState) -> str:
    parts = [
        HEADER,
        "[chain]",
        f"genesis_time_ms = {network.genesis_time_ms}",
    ]
    for number, place in enumerate(places):
        parts += [
            "",
            "[[member]]",
            f'account = "{place.address}"',
            f'role = "{"owner" if number == 0 else "validator"}"',
            f"stake_rao = {1_000 * 10**9}",
            f'urls = ["{place.url}"]',
        ]
    return "\n".join(parts) + "\n"


def _settings(place: NodePlace, network: NetworkState, tables: str | None) -> str:
    return f"""{HEADER}
[node]
data_dir = "data"
listen = {json.dumps(f"{HOST}:{place.port}")}

[identity]
key_file = "hotkey.json"

[network]
netuid = {NETUID}
genesis = "{network.genesis}"

[membership]
file = "../members.toml"

{admin(place)}{tables or all_tables()}"""


def admin(place: NodePlace) -> str:
    """The [admin] of a node's settings."""
    return f"[admin]\nlisten = {json.dumps(f'{HOST}:{place.admin_port}')}\n"


def read_tables(path: Path) -> str:
    """The [tables.NAME] sections of a file, to stand in the settings of every node. ConfigError."""
    file = TomlFile(path, "file of tables")
    tables_of(file.root.section("tables", "at least one [tables.NAME] section"))
    file.root.finish()
    file.check()
    return f"\n{file.text}"


def all_tables() -> str:
    """The [tables] of a node's settings: one for each way of merging."""
    return "".join(f'\n[tables.{name}]\nmerge = "{merge}"\n' for name, merge in TABLES)
