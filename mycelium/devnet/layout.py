"""The files of a local network: one directory with a members file and, per node, settings, a hotkey and data.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from mycelium.errors import ConfigError
from mycelium.identity import account as accounts
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair

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

_STATE: Final = "network.json"
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class NetworkState(msgspec.Struct, forbid_unknown_fields=True):
    """What must stay the same when a directory is used again."""

    genesis: str
    genesis_time_ms: int
    nodes: int


@dataclass(frozen=True, slots=True)
class NodePlace:
    """One node of the network, before it runs."""

    name: str
    directory: Path
    keypair: Keypair
    port: int

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


def prepare(directory: Path, nodes: int) -> list[NodePlace]:
    """Write the files of a network of `nodes`, or take over those that are there. Raises ConfigError."""
    directory = directory.absolute()
    state = _state(directory, nodes)
    ports = free_ports(nodes)
    places = []
    for number, port in enumerate(ports, start=1):
        folder = directory / f"node{number}"
        folder.mkdir(exist_ok=True)
        key_file = folder / "hotkey.json"
        if not key_file.exists():
            wallets.write_file(key_file, Keypair.generate())
        places.append(NodePlace(folder.name, folder, wallets.load_file(key_file), port))
    (directory / "members.toml").write_text(_members(places, state), encoding="utf-8")
    for place in places:
        place.config.write_text(_settings(place, state), encoding="utf-8")
    return places


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on, below those that the system gives to clients.

    A port from the clients' range could be taken by an outgoing connection while its node is being restarted.
    """
    try:
        top = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        top = 32_768
    low, high = (10_240, top) if top > 12_288 else (49_152, 65_536)
    found: list[int] = []
    for port in random.sample(range(low, high), min(high - low, 100 * count)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ConfigError(f"no {count} free ports on {HOST}", "end what listens there")


def _state(directory: Path, nodes: int) -> NetworkState:
    path = directory / _STATE
    if path.exists():
        try:
            state = msgspec.json.decode(path.read_bytes(), type=NetworkState)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{path}: {error}", "name another directory, or remove this one") from None
        if state.nodes != nodes:
            raise ConfigError(
                f"{directory} holds a network of {state.nodes} nodes, not of {nodes}",
                f"give --nodes {state.nodes}, or another --dir",
            )
        return state
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(
            f"{directory} is not empty and holds no local network", "name an empty or a new directory"
        )
    state = NetworkState("0x" + secrets.token_hex(32), time.time_ns() // 1_000_000 - 60_000, nodes)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(state) + b"\n")
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}", "name a directory that can be written") from None
    return state


def _members(places: list[NodePlace], state: NetworkState) -> str:
    parts = [
        "# Written by `mycelium devnet`; changes are lost when it starts again.",
        "[chain]",
        f"genesis_time_ms = {state.genesis_time_ms}",
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


def _settings(place: NodePlace, state: NetworkState) -> str:
    tables = "".join(f'\n[tables.{name}]\nmerge = "{merge}"\n' for name, merge in TABLES)
    return f"""# Written by `mycelium devnet`; changes are lost when it starts again.
[node]
data_dir = "data"
listen = {json.dumps(f"{HOST}:{place.port}")}

[identity]
key_file = "hotkey.json"

[network]
netuid = {NETUID}
genesis = "{state.genesis}"

[membership]
file = "../members.toml"
{tables}"""
