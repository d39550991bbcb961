"""The settings of one node, from its `node.toml`. Reads the file and names every mistake; opens nothing else.

```toml
[node]
data_dir = "data"                  # relative paths start at this file's directory
listen = "127.0.0.1:9090"          # "[::1]:9090" for IPv6; port 0 takes a free one
advertise = ["203.0.113.7"]        # hosts that members are told to dial, at the port this node listens on; [] for none:
                                   # it only dials out. Without it the host of `listen`, or of its address on chain
uplink_mbit = 100                  # pushing changes to everybody may take 40 % of it; beyond, they go along a tree
bootstrap = ["ws://..."]           # dialled while there is no session; who answers there is learnt from them

[identity]                         # one of: wallet + hotkey, key_file, seed_env
wallet = "default"
hotkey = "default"
wallet_path = "~/.bittensor/wallets"

[network]
netuid = 1
genesis = "0x2f05..."              # the chain's genesis hash; without it that of the named network or the data

[chain]                            # members and roles from the chain: see `chain_settings`
network = "finney"

[membership]                       # instead of [chain]: members and roles from a file
file = "members.toml"

[peers]                            # where members are reached that announce no address on chain, or a wrong one
"5F..." = ["ws://203.0.113.7:9090"]

[rotation]                         # another port by and by: see `rotation_settings`
range = "9090-9100"

[blacklist]                        # who gets no session: see `blacklist_settings`
pardon_tao = 1000

[store]                            # how much of the log is kept: see `store_settings`
log_keep_hours = 168

[nats]                             # JetStream, for the feed's bridge, replicas and fleets: see `nats_settings`
urls = ["nats://127.0.0.1:4222"]

[replica]                          # no node, but a read replica that follows streams: see `replica_settings`
writes_at = "ws://10.0.0.5:9090"

[log]                              # how much the daemon says: see `log_settings`
level = "warning"

[admin]                            # health, metrics and the dashboard over HTTP: see `admin_settings`
listen = "127.0.0.1:9091"

[tables.scores]
merge = "lww"                      # lww, counter, set, append, own
space = "main"

[auth]
mode = "session"                   # or "signed": every message carries its signature
clients = []                       # SS58 accounts of programs that may use this node's API
```
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mycelium import config
from mycelium.config.peer import UPLINK_MBIT, UPLINK_MBIT_MAX
from mycelium.database.access import SYS
from mycelium.errors import ConfigError
from mycelium.identity import account as accounts
from mycelium.identity import keys
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair
from mycelium.metagraph.membership import check_url
from mycelium.node import (
    admin_settings,
    blacklist_settings,
    chain_settings,
    fleet_settings,
    log_settings,
    nats_settings,
    replica_settings,
    rotation_settings,
    store_settings,
)
from mycelium.node.admin_settings import AdminSettings
from mycelium.node.chain_settings import ChainSettings
from mycelium.node.fleet_settings import FleetSettings
from mycelium.node.log_settings import LogSettings
from mycelium.node.nats_settings import NatsSettings
from mycelium.node.replica_settings import ReplicaSettings
from mycelium.node.store_settings import StoreSettings
from mycelium.peer import endpoints
from mycelium.peer.blacklist import Rules
from mycelium.peer.mesh import MESH, Mesh
from mycelium.peer.rotation import Plan
from mycelium.tomlfile import Section, TomlFile

MERGES: Final = ("lww", "counter", "set", "append", "own")
AUTH_MODES: Final = ("session", "signed")
DEFAULT_LISTEN: Final = "127.0.0.1:9090"
DEFAULT_SPACE: Final = "main"
PORT_FILE: Final = "listening"
"""In the data directory of a node that rotates: the port it listens on now, for programs on its machine."""

_NAME: Final = re.compile(rf"[a-z0-9_.-]{{1,{config.NAME_BYTES_MAX}}}")
_NAME_SAID: Final = f"up to {config.NAME_BYTES_MAX} of a-z 0-9 _ . -"
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})")
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Where the hotkey is: a wallet's `hotkey`, a `key_file`, or the variable `seed_env`; exactly one."""

    wallet: str = ""
    hotkey: str = ""
    wallet_path: Path | None = None
    key_file: Path | None = None
    seed_env: str = ""

    def keypair(self) -> Keypair:
        """Load the hotkey. Raises KeyFileError, with the remedy."""
        if self.key_file is not None:
            return wallets.load_file(self.key_file)
        if self.seed_env:
            return wallets.from_env(self.seed_env)
        return wallets.load(self.wallet, self.hotkey, self.wallet_path or wallets.WALLETS)

    @property
    def file(self) -> Path | None:
        """The hotkey's file; None where a variable holds it."""
        if self.seed_env:
            return None
        if self.key_file is not None:
            return self.key_file
        root = self.wallet_path or Path(wallets.WALLETS).expanduser()
        return root / self.wallet / "hotkeys" / self.hotkey

    def secret_texts(self, environ: Mapping[str, str]) -> frozenset[str]:
        """The hotkey's secret as text, in every form it has: for `redaction` alone. Raises KeyFileError."""
        keypair, file = self.keypair(), self.file
        raw = environ.get(self.seed_env, "").encode() if file is None else file.read_bytes()
        return keys.secret_texts(raw) | keys.secret_texts(keypair.key_file())


@dataclass(frozen=True, slots=True)
class TableSettings:
    """One declared table. `merge` is part of its identity: see schemas/wire.fbs."""

    name: str
    space: str
    merge: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a node, checked. Paths are absolute. Exactly one of `members_file` and `chain` is given.

    genesis: None where the file leaves it to the chain; a members file always comes with one. advertise: hosts, None
    where the file leaves it to us. mesh: in no file, as it is the whole network's. replica: None for a node; the
    identity of a replica is a key of its own.
    """

    path: Path
    data_dir: Path
    host: str
    port: int
    identity: IdentitySettings
    netuid: int
    genesis: bytes | None
    members_file: Path | None
    chain: ChainSettings | None
    tables: Mapping[str, TableSettings]
    auth_mode: str = "session"
    clients: frozenset[bytes] = field(default_factory=frozenset)
    grants: tuple[Path, ...] = ()
    peers: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)
    advertise: tuple[str, ...] | None = None
    bootstrap: tuple[str, ...] = ()
    rotation: Plan | None = None
    blacklist: Rules = field(default_factory=Rules)
    uplink_mbit: int = UPLINK_MBIT
    mesh: Mesh = MESH
    store: StoreSettings = field(default_factory=StoreSettings)
    log: LogSettings = field(default_factory=LogSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    nats: NatsSettings = field(default_factory=NatsSettings)
    replica: ReplicaSettings | None = None
    fleet: FleetSettings | None = None

    @classmethod
    def load(cls, path: str | Path) -> Settings:
        """Read `path` and nothing else: `node.configuration` adds the environment and flags.

        Raises ConfigError that names every mistake with its line and remedy.
        """
        return cls.parse(TomlFile(Path(path).expanduser().absolute(), "configuration file"))

    @classmethod
    def parse(cls, file: TomlFile) -> Settings:
        """The settings in a file that was read. ConfigError, as in `load`."""
        path = file.path
        base = path.parent
        node = file.root.section("node", "a [node] section with data_dir")
        data_dir = _path(base, node.text("data_dir", 'a directory, data_dir = "data"'))
        listen = node.text("listen", 'HOST:PORT, like "127.0.0.1:9090"', DEFAULT_LISTEN)
        host, port = node.parsed(
            "listen", listen, parse_listen, 'write HOST:PORT, like "127.0.0.1:9090"', ("", 0)
        )
        advertise, bootstrap = _reached(node)
        uplink_mbit = node.integer("uplink_mbit", 1, UPLINK_MBIT_MAX, UPLINK_MBIT)
        node.finish()
        replica = replica_settings.parse(file, data_dir)
        identity = (
            _identity(base, file.root.section("identity", "an [identity] section with wallet and hotkey"))
            if replica is None
            else IdentitySettings(key_file=replica.key_file)
        )
        network = file.root.section("network", "a [network] section with netuid and genesis")
        netuid = network.integer("netuid", 0, 65_535)
        text = network.text("genesis", "the chain's genesis hash, 0x and 64 hex digits", "")
        genesis = None
        if text:
            genesis = network.parsed("genesis", text, parse_genesis, "write 0x and 64 hex digits", None)
        network.finish()
        members_file, chain = _members(base, file, network, genesis)
        tables = tables_of(file.root.section("tables", "at least one [tables.NAME] section"))
        auth_mode, clients, grants = _auth(
            base, file.root.section("auth", "an [auth] section", required=False)
        )
        peers = _peers(file.root.section("peers", "a [peers] section", required=False))
        rotation = None
        if "rotation" in file.root:
            rotation = rotation_settings.parse(file.root.section("rotation", "a [rotation] section"))
        blacklist = blacklist_settings.parse(
            file.root.section("blacklist", "a [blacklist] section", required=False)
        )
        store = store_settings.parse(file.root.section("store", "a [store] section", required=False))
        log = log_settings.parse(file.root.section("log", "a [log] section", required=False))
        admin = admin_settings.parse(file.root.section("admin", "an [admin] section", required=False), base)
        nats = nats_settings.parse(file.root.section("nats", "a [nats] section", required=False), base)
        fleet = fleet_settings.of(file.root, {table.space for table in tables.values()}, host)
        file.root.finish()
        file.check()
        return cls(
            path=path,
            data_dir=data_dir,
            host=host,
            port=port,
            identity=identity,
            netuid=netuid,
            genesis=genesis,
            members_file=members_file,
            chain=chain,
            tables=MappingProxyType(tables),
            auth_mode=auth_mode,
            clients=clients,
            grants=grants,
            peers=MappingProxyType(peers),
            advertise=advertise,
            bootstrap=bootstrap,
            rotation=rotation,
            blacklist=blacklist,
            uplink_mbit=uplink_mbit,
            store=store,
            log=log,
            admin=admin,
            nats=nats,
            replica=replica,
            fleet=fleet,
        )

    @property
    def url(self) -> str:
        """The address of this node as a program on this machine dials it: of `listen`, or where it rotated to."""
        port = None if self.rotation is None else read_port(self.data_dir)
        return listen_url(self.host, self.port if port is None else port)

    @property
    def held(self) -> frozenset[str] | None:
        """The spaces of which this node keeps a copy; None for those of all its tables."""
        return None if self.fleet is None else self.fleet.holds

    def keypair(self) -> Keypair:
        """Load the hotkey. Raises KeyFileError, with the remedy."""
        return self.identity.keypair()


def read_port(data_dir: Path) -> int | None:
    """The port that a node which rotates wrote down last; None where there is none to read."""
    try:
        text = (data_dir / PORT_FILE).read_bytes()[:8].strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and 0 < int(text) <= 65_535 else None


def listen_url(host: str, port: int) -> str:
    """Return the WebSocket address to dial for a listen address; a wildcard becomes the loopback address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Split HOST:PORT or [IPV6]:PORT. Raises ValueError."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not host:
        raise ValueError("has no host or no port")
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65_535:
        raise ValueError("the port is not a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host:
        raise ValueError("an IPv6 address is written in [brackets]")
    elif not _HOST.fullmatch(host):
        raise ValueError("the host is neither a name nor an address")
    return host, int(port_text)


def parse_genesis(text: str) -> bytes:
    """Parse a 32-byte hash from hex, with or without 0x. Raises ValueError."""
    digits = text.removeprefix("0x")
    if len(digits) != 64 or not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise ValueError(f"not 64 hex digits but {len(digits)} characters")
    return bytes.fromhex(digits)


def _members(
    base: Path, file: TomlFile, network: Section, genesis: bytes | None
) -> tuple[Path | None, ChainSettings | None]:
    """Where members and roles come from: a file if [membership] is there, else the chain."""
    if "membership" not in file.root:
        return None, chain_settings.parse(file.root.section("chain", "a [chain] section", required=False))
    membership = file.root.section("membership", "a [membership] section with file")
    members_file = _path(base, membership.text("file", 'the members file, file = "members.toml"'))
    membership.finish()
    if "chain" in file.root:
        file.root.section("chain", "a [chain] section", required=False)
        file.mistake(("chain",), "members come from [chain] or from [membership]", "remove one of the two")
    if genesis is None and "genesis" not in network:
        network.mistake("genesis", "is missing", "add it: the chain's genesis hash, 0x and 64 hex digits")
    return members_file, None


def _path(base: Path, text: str) -> Path:
    path = base / Path(text).expanduser()
    return path.resolve() if ".." in path.parts else path


def _identity(base: Path, section: Section) -> IdentitySettings:
    wallet = section.text("wallet", "the wallet's name", None)
    hotkey = section.text("hotkey", "the hotkey's name", None)
    wallet_path = section.text("wallet_path", "the directory of the wallets", None)
    key_file = section.text("key_file", "the path of a hotkey file", None)
    seed_env = section.text("seed_env", "the name of an environment variable", None)
    section.finish()
    given = [
        name
        for name, value in (("wallet", wallet or hotkey), ("key_file", key_file), ("seed_env", seed_env))
        if value
    ]
    if len(given) != 1:
        what = "names no hotkey" if not given else f"names more than one hotkey ({', '.join(given)})"
        remedy = 'write wallet = "..." and hotkey = "...", or key_file = "...", or seed_env = "..."'
        section.file.mistake(section.where, f"[identity] {what}", remedy)
    elif given == ["wallet"] and not (wallet and hotkey):
        absent = "hotkey" if wallet else "wallet"
        section.mistake(absent, "is missing", "wallet and hotkey are both needed")
    elif wallet_path and given != ["wallet"]:
        section.mistake("wallet_path", f"has no meaning beside {given[0]}", "remove it")
    # The variable's value is the secret; a seed written here by accident must not be printed back.
    if seed_env and not _ENV.fullmatch(seed_env):
        section.mistake("seed_env", "is not the name of a variable", "name the variable that holds the seed")
    return IdentitySettings(
        wallet=wallet,
        hotkey=hotkey,
        wallet_path=_path(base, wallet_path) if wallet_path else None,
        key_file=_path(base, key_file) if key_file else None,
        seed_env=seed_env,
    )


def _auth(base: Path, auth: Section) -> tuple[str, frozenset[bytes], tuple[Path, ...]]:
    """The mode, the clients and the files of grants."""
    mode = auth.choice("mode", AUTH_MODES, AUTH_MODES[0])
    clients = frozenset(
        auth.parsed("clients", client, accounts.parse, "write the SS58 address of the program's hotkey", b"")
        for client in auth.strings("clients", "SS58 accounts")
    )
    grants = tuple(_path(base, name) for name in auth.strings("grants", "files of grants"))
    auth.finish()
    return mode, clients, grants


def _reached(node: Section) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """`advertise` and `bootstrap`."""
    advertise = None
    hosts = node.strings("advertise", 'hosts like "203.0.113.7"')
    if "advertise" in node:
        for host in hosts:
            node.parsed("advertise", host, _check_host, 'write a host alone, like "203.0.113.7"', None)
        if len(hosts) > config.ENDPOINT_ADDRESSES_MAX:
            node.mistake("advertise", f"has {len(hosts)} hosts", f"name {config.ENDPOINT_ADDRESSES_MAX}")
        advertise = tuple(hosts)
    bootstrap = node.strings("bootstrap", 'addresses like "ws://203.0.113.7:9090"')
    for url in bootstrap:
        node.parsed("bootstrap", url, check_url, 'write it like "ws://203.0.113.7:9090"', None)
    return advertise, tuple(bootstrap)


def _check_host(host: str) -> None:
    endpoints.address(host, 1)


def _peers(section: Section) -> dict[bytes, tuple[str, ...]]:
    peers = {}
    for name in section.names():
        account = section.parsed(name, name, accounts.parse, "write the SS58 address of a hotkey", b"")
        urls = section.strings(name, 'addresses like "ws://203.0.113.7:9090"')
        for url in urls:
            section.parsed(name, url, check_url, 'write it like "ws://203.0.113.7:9090"', None)
        peers[account] = tuple(urls)
    return peers


def tables_of(section: Section) -> dict[str, TableSettings]:
    """The declared tables; mistakes are recorded in the section's file."""
    tables: dict[str, TableSettings] = {}
    for name, table in section.subsections():
        if not _NAME.fullmatch(name):
            section.mistake(name, "is no table name", f"use {_NAME_SAID}")
        merge = table.choice("merge", MERGES)
        space = table.text("space", "the name of a space", DEFAULT_SPACE)
        if not _NAME.fullmatch(space):
            table.mistake("space", f"is {space!r}", f"use {_NAME_SAID}")
        elif space == SYS:
            table.mistake("space", f"is {SYS!r}, which is the network's own", "name another space")
        if name.startswith(f"{SYS}."):
            section.mistake(name, f"begins with {SYS!r}, which is the network's own", "name it differently")
        table.finish()
        tables[name] = TableSettings(name, space, merge)
    if not tables:
        section.file.mistake(("tables",), "no table is declared", 'add [tables.NAME] with merge = "lww"')
    elif len(tables) > config.TABLES_PER_BATCH_MAX:
        section.mistake(
            "", f"declares {len(tables)} tables", f"declare at most {config.TABLES_PER_BATCH_MAX}"
        )
    return tables


__all__ = [
    "AUTH_MODES",
    "MERGES",
    "ConfigError",
    "IdentitySettings",
    "Settings",
    "TableSettings",
    "listen_url",
    "parse_genesis",
    "parse_listen",
    "tables_of",
]
