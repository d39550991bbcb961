"""Shared by tests of voids, the horizon and snapshots: histories of several writers, trimming, and members that serve.
No assertions live here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import kit

from mycelium.config.database import SNAPSHOT_PAGE_BYTES
from mycelium.database import snapshot
from mycelium.database.engine import Engine
from mycelium.database.fetching import Ask, Fetch
from mycelium.database.horizon import Horizon, Trimmed
from mycelium.database.snapshot import Page, Survey
from mycelium.database.store import Column
from mycelium.database.vector import Origin
from mycelium.errors import ProtocolError
from mycelium.identity import account as accounts
from mycelium.protocol.messages import Op

NOW_MS = kit.NOW_MS
HOUR_MS = 3_600_000
LATER_MS = NOW_MS + 100 * HOUR_MS
"""When all that these tests write is long past."""
KINDS = ("scores", "profile", "hits", "tags", "events")
SINGLE = ("scores", "profile")


@dataclass
class Late(kit.FixedAuthority):
    """The present epoch is one long after everything."""

    def present(self) -> int:
        return self.anchor(LATER_MS)[0]


def engine(name: str, store=None, authority: kit.FixedAuthority | None = None) -> Engine:
    return kit.engine(name, store, authority or Late())


def change(author: Engine, table: str, key: int, op: int, value: int):
    """A change of an engine's own; what its numbers mean depends on the table."""
    spec, name = kit.TABLES[table], f"k{key}".encode()
    if table == "profile":
        name = accounts.format(author.origin.account).encode() + b"/" + name
    if table == "hits":
        return spec, Op.ADD, name, (value - 3).to_bytes(8, "big", signed=True)
    if table == "tags":
        return spec, Op.INSERT, name, b"\0" + bytes([value])
    if table != "events" and op == 0:
        return spec, Op.DELETE, name, b""
    return spec, Op.PUT, name, b"\0" + bytes([value])


def written(authors: Sequence[Engine], steps: Iterable[tuple], now_ms: int = NOW_MS) -> None:
    """Each step is (author, [(table, key, op, value)], whether all exchange what they have then)."""
    for number, (who, rows, meets) in enumerate(steps):
        author = authors[who % len(authors)]
        kit.write(author, *[change(author, *row) for row in rows], now_ms=now_ms + number)
        if meets:
            kit.exchange(authors, LATER_MS)
    kit.exchange(authors, LATER_MS)


def history(
    seed: int, batches: int, writers: int = 3, tables: Sequence[str] = SINGLE, keys: int = 6
) -> list[Engine]:
    """Writers that hold all of a random history, in the end."""
    rng = random.Random(seed)
    authors = [engine(name) for name in "abcdefgh"[:writers]]
    steps = [
        (
            rng.randrange(writers),
            [
                (rng.choice(tables), rng.randrange(keys), rng.randrange(4), rng.randrange(7))
                for _ in range(rng.randrange(1, 4))
            ],
            rng.random() < 0.2,
        )
        for _ in range(batches)
    ]
    written(authors, steps)
    return authors


def trim(one: Engine, keep_ms: int = 0, now_ms: int = LATER_MS) -> Trimmed:
    return asyncio.run(Horizon(one._store, one, one._authority, keep_ms).walk(now_ms))


def rows(one: Engine) -> tuple[list, list]:
    return kit.rows(one._store), kit.rows(one._store, Column.DEAD)


def logged(one: Engine) -> dict[bytes, bytes]:
    return dict(kit.rows(one._store, Column.LOG))


def reopened(one: Engine, name: str, store) -> Engine:
    return engine(name, store, one._authority)


@dataclass
class Server:
    """A member that serves its survey; `lie` may change a page, and `drop` makes it not answer."""

    engine: Engine
    page_bytes: int = SNAPSHOT_PAGE_BYTES
    lie: Callable[[Ask, Page], Page] = lambda ask, page: page
    asked: list[Ask] = field(default_factory=list)
    survey: Survey | None = None

    def surveyed(self) -> Survey:
        if self.survey is None:
            self.survey = asyncio.run(
                snapshot.survey(self.engine._store, self.engine, self.engine._authority, "main")
            )
        return self.survey

    def page(self, ask: Ask) -> Page:
        self.asked.append(ask)
        found = snapshot.page(
            self.engine._store, self.surveyed(), ask.origin, ask.first, ask.last, self.page_bytes
        )
        return self.lie(ask, found)


def fetch_of(joiner: Engine, servers: dict[bytes, Server], *, again: bool = False) -> Fetch:
    vectors = {peer: server.surveyed().vector for peer, server in servers.items()}
    return Fetch("main", joiner, vectors, LATER_MS, again=again)


def fetched(
    joiner: Engine,
    servers: dict[bytes, Server],
    *,
    again: bool = False,
    rng: random.Random | None = None,
    pages_max: int = 100_000,
) -> tuple[Fetch, dict[bytes, ProtocolError]]:
    """Run a whole fetch, or `pages_max` pages of it; who broke a rule, and how. rng: in which order answers come."""
    fetch = fetch_of(joiner, servers, again=again)
    flying: list[Ask] = []
    lied: dict[bytes, ProtocolError] = {}
    now_ms, pages = LATER_MS, 0
    while not fetch.done and pages < pages_max:
        now_ms += 200
        flying += fetch.asks(now_ms)
        if not flying:
            continue
        ask = flying.pop(rng.randrange(len(flying)) if rng else 0)
        pages += 1
        try:
            for _ in fetch.take(ask, servers[ask.peer].page(ask), now_ms):
                pass
        except ProtocolError as error:
            lied[ask.peer] = error
            fetch.gone(ask.peer)
            fetch.failed(ask, now_ms)
    return fetch, lied


def origin_of(one: Engine) -> Origin:
    return one.origin
