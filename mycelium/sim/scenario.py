"""Scenarios: data files that say what happens in a run and what must be true at its end. Reads, checks, runs nothing.

```toml
[scenario]
summary = "what it shows, in a line"
nodes = 8
load_ms = 10000        # for so long changes are written
settle_ms = 60000      # and after so long more all must agree
crypto = "real"        # or "fast": signatures are stand-ins (sim.crypto)
auth_mode = "session"  # or "signed": every message carries its signature
private_percent = 0    # above 0: this share of the members alone may read and write the space `private`
stake_tao = 1000       # of each honest member; 1000 and more stand above claims and failures

[load]
changes_per_s = 20     # of all writers together
value_bytes = 256
writers = 0            # how many members write; 0 is all
tables = ["scores", "hits", "tags", "events"]

[network]
places = "world"       # or "room": all in one place
uplink_mbit = 100      # also what nodes are told that they have
neighbours = 0         # an even number: a partial mesh of so many sessions each, as in a large network; 0: a full one
jitter_percent = 10
loss_per_mille = 0
skew_ms = 0            # each clock is off by up to this much, either way
drift_ppm = 0

[[event]]              # at_ms counts from when the load begins
at_ms = 2000
action = "partition"   # for_ms, percent
                       # crash: for_ms, percent, power. stall: for_ms, percent. full: for_ms, percent. backup, restore:
                       # for_ms, percent. skew: by_ms, percent, for_ms (0: it stays so). loss: for_ms, per_mille.
                       # join: percent (of late joiners)

[[hostile]]            # members with a right key and a wrong program; they come out of `nodes`
kind = "silent"        # garbage, equivocator, flood, stalled, poisoner, stranger
percent = 20           # or count = 1
stake_tao = 1000

[expect]
agree = "all"          # or "honest": what honest members wrote, whatever others did
evidence = 0           # 1: every honest member holds a proof of equivocation
frozen_ms = 0          # so long after the first member the last one knows the proof, at most; 0 is not asked
blocked = 0            # 1: every honest member has greylisted the hostile ones
p99_ms = 0             # at most; 0 is not asked
copies_percent = 0     # copies for each hundred deliveries, at most; 0 is not asked
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from mycelium.errors import ConfigError
from mycelium.node.settings import AUTH_MODES
from mycelium.sim.crypto import FAST, REAL
from mycelium.tomlfile import Section, TomlFile, nearest

ACTIONS: Final = ("partition", "crash", "stall", "full", "backup", "restore", "skew", "loss", "join")
KINDS: Final = ("silent", "garbage", "equivocator", "flood", "stalled", "poisoner", "stranger")
TABLES: Final = ("scores", "hits", "tags", "events", "secrets")
NODES_MAX: Final = 512
_STAKE_TAO: Final = 1_000
_TAO_MAX: Final = 21_000_000
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens. percent: of the honest members, at least one."""

    at_ms: int
    action: str
    for_ms: int
    percent: int
    power: bool
    by_ms: int
    per_mille: int


@dataclass(frozen=True, slots=True)
class Hostile:
    """So many members of one kind of misconduct."""

    kind: str
    count: int
    percent: int
    stake_tao: int

    def of(self, nodes: int) -> int:
        return max(1, nodes * self.percent // 100) if self.percent else self.count


@dataclass(frozen=True, slots=True)
class Load:
    changes_per_s: int
    value_bytes: int
    writers: int
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Weather:
    """The network, and the clocks."""

    world: bool
    uplink_mbit: int
    neighbours: int
    jitter_percent: int
    loss_per_mille: int
    skew_ms: int
    drift_ppm: int


@dataclass(frozen=True, slots=True)
class Expect:
    agree: str
    evidence: bool
    frozen_ms: int
    blocked: bool
    p99_ms: int
    copies_percent: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A file that was checked. `target` is what the command line names it by."""

    target: str
    summary: str
    nodes: int
    load_ms: int
    settle_ms: int
    crypto: str
    auth_mode: str
    private_percent: int
    stake_tao: int
    load: Load
    weather: Weather
    events: tuple[Event, ...]
    hostile: tuple[Hostile, ...]
    expect: Expect

    def sized(self, nodes: int | None) -> Scenario:
        """The same with another number of nodes. ConfigError when the hostile ones leave fewer than two."""
        sized = self if nodes is None else replace(self, nodes=nodes)
        bad = sum(one.of(sized.nodes) for one in sized.hostile if one.kind != "stranger")
        if sized.nodes - bad < 2 or sized.nodes > NODES_MAX:
            raise ConfigError(
                f"{self.target}: {sized.nodes} nodes, {bad} of them hostile",
                f"take 2 honest ones to {NODES_MAX}",
            )
        return sized


def names() -> list[str]:
    """The scenarios that come with Mycelium."""
    folder = resources.files("mycelium.sim") / "scenarios"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def find(target: str) -> Scenario:
    """A scenario by its name, or the file at a path. ConfigError, with every mistake and its line."""
    if target.endswith(".toml"):
        return load(Path(target), target)
    known = names()
    if target not in known:
        raise ConfigError(f"there is no scenario {target!r}", nearest(target, known))
    with resources.as_file(resources.files("mycelium.sim") / "scenarios" / f"{target}.toml") as path:
        return load(path, target)


def load(path: Path, target: str) -> Scenario:
    """Read a file. ConfigError."""
    file = TomlFile(path, "scenario")
    head = file.root.section("scenario", "a [scenario] section")
    found = Scenario(
        target=target,
        summary=head.text("summary", "what it shows, in a line"),
        nodes=head.integer("nodes", 2, NODES_MAX),
        load_ms=head.integer("load_ms", 1, _HOUR_MS),
        settle_ms=head.integer("settle_ms", 1, _HOUR_MS, 60_000),
        crypto=head.choice("crypto", (REAL, FAST), REAL),
        auth_mode=head.choice("auth_mode", AUTH_MODES, AUTH_MODES[0]),
        private_percent=head.integer("private_percent", 0, 100, 0),
        stake_tao=head.integer("stake_tao", 0, _TAO_MAX, _STAKE_TAO),
        load=_load(file.root.section("load", "a [load] section")),
        weather=_weather(file.root.section("network", "a [network] section", required=False)),
        events=tuple(_event(one) for one in file.root.array("event", "[[event]] tables")),
        hostile=tuple(_hostile(one) for one in file.root.array("hostile", "[[hostile]] tables")),
        expect=_expect(file.root.section("expect", "an [expect] section", required=False)),
    )
    head.finish()
    file.root.finish()
    file.check()
    return found.sized(None)


def _load(section: Section) -> Load:
    rate = section.integer("changes_per_s", 1, 100_000)
    size = section.integer("value_bytes", 1, 65_536, 256)
    writers = section.integer("writers", 0, NODES_MAX, 0)
    tables = tuple(section.strings("tables", "tables")) or TABLES[:4]
    for name in tables:
        if name not in TABLES:
            section.mistake("tables", f"names {name!r}", nearest(name, TABLES))
    section.finish()
    return Load(rate, size, writers, tables)


def _weather(section: Section) -> Weather:
    found = Weather(
        world=section.choice("places", ("world", "room"), "world") == "world",
        uplink_mbit=section.integer("uplink_mbit", 1, 100_000, 100),
        neighbours=section.integer("neighbours", 0, NODES_MAX, 0),
        jitter_percent=section.integer("jitter_percent", 0, 1_000, 10),
        loss_per_mille=section.integer("loss_per_mille", 0, 500, 0),
        skew_ms=section.integer("skew_ms", 0, 2 * _HOUR_MS, 0),
        drift_ppm=section.integer("drift_ppm", 0, 1_000, 0),
    )
    if found.neighbours % 2:
        section.mistake("neighbours", f"is {found.neighbours}", "take an even number: those before and after")
    section.finish()
    return found


def _event(section: Section) -> Event:
    found = Event(
        at_ms=section.integer("at_ms", 0, _HOUR_MS),
        action=section.choice("action", ACTIONS),
        for_ms=section.integer("for_ms", 0, _HOUR_MS, 0),
        percent=section.integer("percent", 0, 100, 0),
        power=section.integer("power", 0, 1, 0) == 1,
        by_ms=section.integer("by_ms", -2 * _HOUR_MS, 2 * _HOUR_MS, 0),
        per_mille=section.integer("per_mille", 0, 500, 0),
    )
    section.finish()
    return found


def _hostile(section: Section) -> Hostile:
    found = Hostile(
        kind=section.choice("kind", KINDS),
        count=section.integer("count", 1, NODES_MAX, 1),
        percent=section.integer("percent", 0, 90, 0),
        stake_tao=section.integer("stake_tao", 0, _TAO_MAX, _STAKE_TAO),
    )
    section.finish()
    return found


def _expect(section: Section) -> Expect:
    found = Expect(
        agree=section.choice("agree", ("all", "honest"), "all"),
        evidence=section.integer("evidence", 0, 1, 0) == 1,
        frozen_ms=section.integer("frozen_ms", 0, _HOUR_MS, 0),
        blocked=section.integer("blocked", 0, 1, 0) == 1,
        p99_ms=section.integer("p99_ms", 0, _HOUR_MS, 0),
        copies_percent=section.integer("copies_percent", 0, 100_000, 0),
    )
    section.finish()
    return found
