"""The [fleet] section of `node.toml`: this node is one of several of one hotkey. Parses; opens nothing.

```toml
[fleet]                            # needs [nats], and the same hotkey, network and tables at every member
id = "a"                           # this member's name in the fleet, of no other member's
holds = ["main"]                   # spaces of which it keeps a copy; all that are declared unless said
url = "ws://10.0.0.1:9090"         # where the other members reach its API; as it listens unless said
lease_ms = 2500                    # a member that is silent for so long loses its shards
shards = 16                        # of each space, when the fleet is made

[fleet.spaces.config]              # of one space
shards = 1                         # keys that are written together in one batch must be in one member's hands
```
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from mycelium.config.fleet import (
    FLEET_ID_CHARS_MAX,
    FLEET_LEASE_MAX_MS,
    FLEET_LEASE_MIN_MS,
    FLEET_LEASE_MS,
    FLEET_SLOTS,
    FLEET_SLOTS_MAX,
)
from mycelium.database.access import SYS
from mycelium.errors import ConfigError
from mycelium.tomlfile import Section

WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
SHARDS: Final = FLEET_SLOTS
LEASE_MS: Final = FLEET_LEASE_MS
_ID_SAID: Final = 'a name of small letters, digits, - and _, like "a"'
_URL_SAID: Final = 'an address like "ws://10.0.0.1:9090"'


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """id: of this member. holds: spaces that it keeps; sys is always one of them. url: "" for where it listens.

    slots: how many shards a space is given, where it is not `slots_default`.
    """

    id: str
    holds: frozenset[str]
    url: str = ""
    lease_ms: int = FLEET_LEASE_MS
    slots_default: int = SHARDS
    slots: Mapping[str, int] = field(default_factory=dict)

    def slots_of(self, space: str) -> int:
        """How many shards a space is given when nobody gave it any before. `sys` has one."""
        return 1 if space == SYS else self.slots.get(space, self.slots_default)


def of(root: Section, spaces: Collection[str], host: str) -> FleetSettings | None:
    """The section of a file, None where there is none; mistakes are recorded in it. host: where the node listens."""
    if "fleet" not in root:
        return None
    if "nats" not in root:
        root.mistake(
            "nats", "is missing", "a [fleet] writes through NATS: add a [nats] section with its urls"
        )
    if "replica" in root:
        root.mistake("replica", "is set beside [fleet]", "a replica writes nothing: remove one of the two")
    if "rotation" in root:
        root.mistake("rotation", "is set beside [fleet]", "members find each other at one address: remove it")
    section = root.section("fleet", "a [fleet] section")
    if host in WILDCARDS and "url" not in section:
        section.mistake(
            "url", "is missing", f"this node listens on all addresses: say which one others dial, {_URL_SAID}"
        )
    return parse(section, spaces)


def parse(section: Section, spaces: Collection[str]) -> FleetSettings:
    """Read the section; mistakes are recorded in its file. spaces: those of the declared tables."""
    known = {SYS, *spaces}
    name = section.text("id", f"this member's name, {_ID_SAID}")
    section.parsed("id", name or "a", check_id, f"write {_ID_SAID}", None)
    holds = section.strings("holds", 'names of spaces, like "main"')
    for space in holds:
        if space not in known:
            section.mistake(
                "holds", f"names {space[:60]!r}", f"name spaces of declared tables: {_listed(spaces)}"
            )
    url = section.text("url", _URL_SAID, None)
    if url:
        section.parsed("url", url, _check_url, f"write {_URL_SAID}", None)
    lease_ms = section.integer("lease_ms", FLEET_LEASE_MIN_MS, FLEET_LEASE_MAX_MS, FLEET_LEASE_MS)
    shards = section.integer("shards", 1, FLEET_SLOTS_MAX, SHARDS)
    slots = {}
    for space, own in section.section("spaces", "[fleet.spaces.NAME] sections", required=False).subsections():
        slots[space] = own.integer("shards", 1, FLEET_SLOTS_MAX, shards)
        if space not in known:
            own.mistake(
                "shards", f"is of {space[:60]!r}", f"name spaces of declared tables: {_listed(spaces)}"
            )
        elif space == SYS and slots[space] != 1:
            own.mistake("shards", "is of sys, which is never divided", "remove it")
        own.finish()
    section.finish()
    return FleetSettings(
        id=name,
        holds=frozenset(holds or spaces) | {SYS},
        url=url,
        lease_ms=lease_ms,
        slots_default=shards,
        slots=MappingProxyType(slots),
    )


def check_id(text: str) -> None:
    """ValueError for what is no member's name."""
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
    if not 1 <= len(text) <= FLEET_ID_CHARS_MAX:
        raise ValueError(f"a name has 1 to {FLEET_ID_CHARS_MAX} characters")
    if text[0] not in allowed or not set(text) <= set(allowed + "-_"):
        raise ValueError("it has characters that no name has")


def _check_url(text: str) -> None:
    # Errors of others would show the text, and what is wrong in it may be a password.
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError("it does not parse") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
        raise ConfigError("it is no address of a node")
    if parts.username or parts.password:
        raise ConfigError("it has a user or a password in it")


def _listed(spaces: Collection[str]) -> str:
    return ", ".join(sorted(spaces)) or "none"
