"""The table of every setting: its name, kind, default, meaning, and the environment variables that set it.

One place from which the environment and the flags, `mycelium config`, `mycelium init` and the documentation draw. A
test holds it against what the parsers of `settings` and `*_settings` ask for, so that a setting that is missing here,
or is here and read nowhere, fails. Data; reads nothing.

A setting's own variable is made from its name: `node.data_dir` is MYCELIUM_NODE_DATA_DIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mycelium.chain import networks
from mycelium.config import ROTATION_OVERLAP_S, ROTATION_PERIOD_S, ROTATION_PORTS
from mycelium.config import peer as limits
from mycelium.config.database import SNAPSHOT_LACK_MIN
from mycelium.config.feed import FEED_KEEP_HOURS
from mycelium.metagraph.membership import TEMPO
from mycelium.node import chain_settings, fleet_settings, log_settings, settings
from mycelium.node import nats_settings as nats

PREFIX: Final = "MYCELIUM_"
REQUIRED: Final = "required"
"""In place of a default: there must be a value."""
TEXT, INTEGER, FLAG, STRINGS, TABLE = "text", "integer", "flag", "strings", "table"
"""Kinds of values. As text: a flag is true or false; strings have commas between; a table is TOML in { }."""
_RAO: Final = 10**9


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. path: as in the file, `*` for a name of the operator's own. meaning: one sentence.

    aliases: variables of Fiber and of the Bittensor SDK that mean the same, the strongest first. reload: whether SIGHUP
    changes it in a running node. secret: its value is shown nowhere.
    """

    path: str
    kind: str
    default: Any
    meaning: str
    aliases: tuple[str, ...] = ()
    reload: bool = False
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of its own; "" for one below a name of the operator's."""
        return "" if "*" in self.path else variable(self.path)

    @property
    def section(self) -> str:
        """The first part of its path."""
        return self.path.partition(".")[0]

    def matches(self, path: str) -> bool:
        """Whether a path as the file has it is this setting."""
        mine, theirs = self.path.split("."), path.split(".", self.path.count("."))
        if mine[0] == "tables" and len(mine) == 3:
            # Names of tables have dots in them.
            head, _, last = path.rpartition(".")
            theirs = [*head.split(".", 1), last]
        return len(mine) == len(theirs) and all(
            a in ("*", b) and b for a, b in zip(mine, theirs, strict=True)
        )


def variable(path: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + path.replace(".", "_").upper()


OPTIONS: Final = (
    # --- node ---
    Option("node.data_dir", TEXT, REQUIRED, "Directory of the store; relative to this file's directory."),
    Option("node.listen", TEXT, settings.DEFAULT_LISTEN, "HOST:PORT to listen on; port 0 takes a free one."),
    Option(
        "node.advertise",
        STRINGS,
        [],
        "Hosts that members are told to dial; [] for none. Without it that of listen, or the one on chain.",
    ),
    Option(
        "node.bootstrap",
        STRINGS,
        [],
        "Addresses dialled while there is no session: ws://HOST:PORT.",
        (),
        True,
    ),
    Option(
        "node.uplink_mbit",
        INTEGER,
        limits.UPLINK_MBIT,
        "Width of the uplink in Mbit/s: pushing to everybody takes 40 % of it, beyond that changes go along a tree.",
        (),
        True,
    ),
    # --- identity ---
    Option("identity.wallet", TEXT, None, "The wallet that the hotkey is in.", ("WALLET_NAME", "BT_WALLET")),
    Option(
        "identity.hotkey",
        TEXT,
        None,
        "The hotkey's name in the wallet.",
        ("HOTKEY_NAME", "WALLET_HOTKEY", "BT_WALLET_HOTKEY"),
    ),
    Option(
        "identity.wallet_path",
        TEXT,
        None,
        "Directory of the wallets; ~/.bittensor/wallets unless set.",
        ("BT_WALLET_PATH", "WALLET_PATH"),
    ),
    Option("identity.key_file", TEXT, None, "Instead of a wallet: the hotkey's file."),
    Option("identity.seed_env", TEXT, None, "Instead of a wallet: the variable that holds the seed."),
    # --- network ---
    Option("network.netuid", INTEGER, REQUIRED, "The subnet's number.", ("NETUID", "BT_NETUID")),
    Option(
        "network.genesis", TEXT, "", "Hash of the chain's first block; that of the named network unless set."
    ),
    # --- chain ---
    Option(
        "chain.network",
        TEXT,
        "",
        f"Network whose chain says who is a member: {', '.join(networks.NETWORKS)}; {networks.DEFAULT} unless set.",
        ("SUBTENSOR_NETWORK", "BT_NETWORK"),
    ),
    Option(
        "chain.endpoints",
        STRINGS,
        [],
        "Instead of a network: addresses of nodes of the chain; the first that works is used, another confirms.",
        ("SUBTENSOR_ADDRESS", "BT_CHAIN_ENDPOINT"),
    ),
    Option(
        "chain.archive",
        STRINGS,
        [],
        "Endpoints asked for what the others have pruned.",
        ("BT_ARCHIVE_ENDPOINTS",),
    ),
    Option(
        "chain.stake_min_tao",
        TEXT,
        chain_settings.STAKE_MIN_TAO,
        "Stake that makes a member with a permit a validator, in TAO; the same on every node.",
    ),
    Option("chain.epoch_blocks", INTEGER, TEMPO, "Length of an epoch in blocks; the same on every node."),
    Option("chain.observers", STRINGS, [], "SS58 accounts that may read and hold no place on chain."),
    Option(
        "chain.change_percent_max",
        INTEGER,
        chain_settings.CHANGE_PERCENT_MAX,
        "A member set that changes by more, in percent, needs a second endpoint that says the same.",
    ),
    Option(
        "chain.outage_max_s",
        INTEGER,
        chain_settings.OUTAGE_MAX_S,
        "Seconds for which writes go on while the chain does not answer.",
    ),
    # --- membership ---
    Option("membership.file", TEXT, REQUIRED, "Instead of [chain]: the file of members and roles."),
    # --- peers ---
    Option(
        "peers", TABLE, {}, "Where members are reached that announce no address, or a wrong one.", (), True
    ),
    Option("peers.*", STRINGS, [], "The addresses of one account: ws://HOST:PORT.", (), True),
    # --- rotation ---
    Option(
        "rotation.range",
        TEXT,
        f"{ROTATION_PORTS[0]}-{ROTATION_PORTS[1]}",
        "Ports to listen on in turn, FIRST-LAST; a firewall must let all of them through.",
    ),
    Option("rotation.period_s", INTEGER, ROTATION_PERIOD_S, "Seconds between two rotations."),
    Option("rotation.overlap_s", INTEGER, ROTATION_OVERLAP_S, "Seconds for which the old port accepts too."),
    Option("rotation.enabled", FLAG, True, "Whether it rotates by itself; else only when asked."),
    # --- blacklist ---
    Option(
        "blacklist.failures",
        INTEGER,
        limits.BLACKLIST_FAILURES,
        "Broken rules within an hour that greylist an account.",
        (),
        True,
    ),
    Option(
        "blacklist.greylist_s",
        INTEGER,
        limits.GREYLIST_MS // 1000,
        "Seconds for which a greylisted account has no session.",
        (),
        True,
    ),
    Option(
        "blacklist.greylistings",
        INTEGER,
        limits.GREYLISTINGS_MAX,
        "Greylistings that blacklist an account until it is removed by command.",
        (),
        True,
    ),
    Option(
        "blacklist.pardon_tao",
        INTEGER,
        limits.PARDON_RAO // _RAO,
        "Stake in TAO of an account that is spared; 0 spares nobody for it.",
        (),
        True,
    ),
    Option(
        "blacklist.claims", FLAG, True, "Whether others are told whom this node has greylisted.", (), True
    ),
    Option("blacklist.always", STRINGS, [], "SS58 accounts that never have a session.", (), True),
    Option("blacklist.never", STRINGS, [], "SS58 accounts that are never listed.", (), True),
    # --- store ---
    Option(
        "store.feed_keep_hours",
        INTEGER,
        FEED_KEEP_HOURS,
        "Hours for which the feed is kept: who reads it and falls further behind begins anew; 0: for good.",
    ),
    Option(
        "store.log_keep_hours",
        INTEGER,
        0,
        "Hours for which the log keeps what was overwritten; 0: for good.",
    ),
    Option(
        "store.snapshot_lack",
        INTEGER,
        SNAPSHOT_LACK_MIN,
        "A node that lacks so many changes fetches a snapshot and not the log; 0: never.",
    ),
    # --- admin ---
    Option("admin.enabled", FLAG, True, "Whether health, metrics and the dashboard are served over HTTP."),
    Option("admin.listen", TEXT, "", "HOST:PORT of it; without it port 9091 of 127.0.0.1, or a free one."),
    Option("admin.token_file", TEXT, "", "A file with what requests must carry, as from other machines."),
    Option("admin.hosts", STRINGS, [], "Names by which it is asked for, beside localhost and its address."),
    # --- nats ---
    Option(
        "nats.urls",
        STRINGS,
        [],
        f"Servers of JetStream, for bridge, replicas, fleets; {nats.DEFAULT_URL} unless set.",
    ),
    Option("nats.creds_file", TEXT, None, "A file of credentials (.creds) for NATS."),
    Option("nats.nkey_file", TEXT, None, "Instead: the file of an NKey's seed."),
    Option("nats.user", TEXT, None, "Instead: a user of the NATS server."),
    Option("nats.password_env", TEXT, None, "The variable that holds the user's password."),
    Option("nats.token_env", TEXT, None, "Instead of a user: the variable that holds a token."),
    Option(
        "nats.tls_ca",
        TEXT,
        None,
        "Certificates (PEM) that vouch for the servers; those of the system unless set.",
    ),
    Option("nats.tls_cert", TEXT, None, "A certificate (PEM) to show to the servers."),
    Option("nats.tls_key", TEXT, None, "The key (PEM) of that certificate."),
    Option(
        "nats.monitors",
        STRINGS,
        [],
        "Monitoring addresses of every NATS server, http://HOST:8222: whether it syncs before it acknowledges.",
    ),
    Option("nats.system_creds_file", TEXT, None, "Instead of monitors: credentials of the system account."),
    Option("nats.system_user", TEXT, None, "Instead: a user of the system account."),
    Option("nats.system_password_env", TEXT, None, "The variable that holds that user's password."),
    Option(
        "nats.accept_unsynced",
        FLAG,
        False,
        "Whether a server may lose what it acknowledged when its power fails.",
    ),
    Option("nats.replicas", INTEGER, 1, "Servers that hold each stream; 3 in a cluster of three."),
    Option(
        "nats.keep_hours", INTEGER, nats.KEEP_HOURS, "Hours for which a stream keeps batches; 0: for good."
    ),
    Option("nats.keep_bytes", INTEGER, 0, "Bytes that a stream keeps; 0: no limit."),
    Option("nats.keep_messages", INTEGER, 0, "Batches that a stream keeps; 0: no limit."),
    Option(
        "nats.discard",
        TEXT,
        nats.DISCARDS[0],
        'What a full stream does: drop the "old", or refuse the "new".',
    ),
    Option(
        "nats.duplicate_window_s",
        INTEGER,
        nats.DUPLICATE_WINDOW_S,
        "Seconds for which a server drops a batch that it has already; some 150 bytes each.",
    ),
    Option(
        "nats.snapshot_hours",
        INTEGER,
        nats.SNAPSHOT_HOURS,
        "Hours between two snapshots for new replicas; 0: only where they would lack something.",
    ),
    # --- replica ---
    Option(
        "replica.writes_at",
        TEXT,
        "",
        "Of a read replica: the address of a node, for who tries to write here.",
    ),
    # --- fleet ---
    Option(
        "fleet.id", TEXT, REQUIRED, "This member's name in a fleet: several nodes of one hotkey, over [nats]."
    ),
    Option("fleet.holds", STRINGS, [], "Spaces of which this member keeps a copy; all unless set."),
    Option("fleet.url", TEXT, "", "Where other members reach this one; where it listens unless set."),
    Option(
        "fleet.lease_ms",
        INTEGER,
        fleet_settings.LEASE_MS,
        "A member that is silent for so long loses its shards.",
    ),
    Option("fleet.shards", INTEGER, fleet_settings.SHARDS, "Shards of each space, when the fleet is made."),
    Option("fleet.spaces", TABLE, {}, "Spaces that differ from that: NAME = { shards } for each."),
    Option(
        "fleet.spaces.*.shards",
        INTEGER,
        fleet_settings.SHARDS,
        "Shards of that space; 1 for batches of any keys.",
    ),
    # --- tables ---
    Option("tables", TABLE, REQUIRED, "The tables: NAME = { merge, space } for each."),
    Option("tables.*.merge", TEXT, REQUIRED, f"How writes of one key meet: {', '.join(settings.MERGES)}."),
    Option("tables.*.space", TEXT, settings.DEFAULT_SPACE, "The space it is in."),
    # --- auth ---
    Option(
        "auth.mode", TEXT, settings.AUTH_MODES[0], '"session", or "signed": each message has a signature.'
    ),
    Option("auth.clients", STRINGS, [], "SS58 accounts of programs that may use this node.", (), True),
    Option("auth.grants", STRINGS, [], "Files of grants that this node's account holds."),
    # --- log ---
    Option("log.level", TEXT, log_settings.DEFAULT_LEVEL, "debug, info, warning or error.", (), True),
    Option(
        "log.format",
        TEXT,
        log_settings.DEFAULT_FORMAT,
        '"auto" is console on a terminal and JSON lines elsewhere; or "console", or "json".',
    ),
)
"""In the order of the file."""

PROGRAM_VARIABLES: Final = {
    "MYCELIUM_CONFIG": "The configuration file, where no --config names one.",
    "MYCELIUM_ENV_FILE": "A file of variables in the form of .env, where no --env-file names one.",
    "MYCELIUM_CHAIN_URL": "The development chain that `mycelium devnet fault` is for.",
    "MYCELIUM_SESSIONS": "0: miners and validators on the Fiber-shaped API use no sessions.",
    "MYCELIUM_REQUIRE_SIGNED_KEY": "1: take no encryption key that the miner has not signed.",
    "MYCELIUM_DEBUG": "When building: C assertions, no optimisation.",
    "MYCELIUM_ANNOTATE": "When building: Cython's HTML.",
}
"""Variables that begin with MYCELIUM_ and are no setting of a node."""


def find(path: str) -> Option | None:
    """The setting that a path means, as `node.listen` or `tables.scores.merge`."""
    return next((option for option in OPTIONS if option.matches(path)), None)


SECTIONS: Final = tuple(dict.fromkeys(option.section for option in OPTIONS))
BY_VARIABLE: Final = {option.variable: option for option in OPTIONS if option.variable}
BY_ALIAS: Final = {alias: option for option in OPTIONS for alias in option.aliases}
