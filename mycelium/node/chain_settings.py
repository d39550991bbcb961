"""The [chain] section of a node's settings: which chain, and how its membership is read. Opens nothing.

```toml
[chain]
network = "finney"          # finney, test, archive, local; or endpoints of your own:
endpoints = []              # ["ws://127.0.0.1:9944", "wss://..."]: the first that works is used, another confirms
archive = []                # asked for what the others have pruned
stake_min_tao = "1000"      # of a validator; the same on every node
epoch_blocks = 360          # the length of an epoch, the same on every node and fixed from its first one on
observers = []              # SS58 accounts that may read and hold no place on chain
change_percent_max = 50     # a member set that changes by more needs a second endpoint that says the same
outage_max_s = 3000         # writes go on for this long while the chain does not answer
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mycelium.chain import balance, networks
from mycelium.config import ANCHOR_SKEW_MS
from mycelium.identity import account as accounts
from mycelium.metagraph.membership import TEMPO
from mycelium.tomlfile import Section

STAKE_MIN_TAO: Final = "1000"
CHANGE_PERCENT_MAX: Final = 50
OUTAGE_MAX_S: Final = 3_000
_OUTAGE_LIMIT_S: Final = ANCHOR_SKEW_MS // 1000 - 60
"""A batch may be stamped at most ANCHOR_SKEW_MS after its block; a minute of that is for clocks that differ."""


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """Checked values of the section. `network` is "" where `endpoints` were given."""

    endpoints: tuple[str, ...]
    network: str = ""
    archive: tuple[str, ...] = ()
    stake_min_rao: int = 1_000 * 10**9
    epoch_blocks: int = TEMPO
    observers: frozenset[bytes] = frozenset()
    change_percent_max: int = CHANGE_PERCENT_MAX
    outage_max_s: int = OUTAGE_MAX_S


def parse(section: Section) -> ChainSettings:
    """Read the section; mistakes are recorded in its file."""
    urls = 'addresses like "ws://127.0.0.1:9944"'
    network = section.text("network", "the name of a network", "")
    given = _urls(section, "endpoints", urls)
    archive = _urls(section, "archive", urls)
    endpoints = given
    if network and given:
        section.mistake("network", "has no meaning beside endpoints", "remove one of the two")
    elif not given:
        network = network or networks.DEFAULT
        endpoints = section.parsed(
            "network", network, networks.endpoints, "name a network, or give endpoints", ()
        )
    stake = section.text("stake_min_tao", 'an amount of TAO as text, like "1000"', STAKE_MIN_TAO)
    stake_min_rao = section.parsed("stake_min_tao", stake, balance.rao, 'write it like "1000" or "0.5"', 0)
    epoch_blocks = section.integer("epoch_blocks", 1, 1_000_000, TEMPO)
    observers = frozenset(
        section.parsed("observers", observer, accounts.parse, "write SS58 addresses", b"")
        for observer in section.strings("observers", "SS58 accounts")
    )
    change = section.integer("change_percent_max", 1, 100, CHANGE_PERCENT_MAX)
    outage = section.integer("outage_max_s", 1, _OUTAGE_LIMIT_S, OUTAGE_MAX_S)
    section.finish()
    return ChainSettings(
        endpoints=tuple(endpoints),
        network="" if given else network,
        archive=archive,
        stake_min_rao=stake_min_rao,
        epoch_blocks=epoch_blocks,
        observers=observers,
        change_percent_max=change,
        outage_max_s=outage,
    )


def _urls(section: Section, key: str, said: str) -> tuple[str, ...]:
    found = section.strings(key, said)
    for url in found:
        section.parsed(key, url, _check_url, 'write it like "ws://127.0.0.1:9944"', None)
    return tuple(found)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError("not a WebSocket address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address carries no user or password")
