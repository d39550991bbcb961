"""Replicas under policies: a chain that tells its epochs one after the other, and engines that learn of them."""

from __future__ import annotations

import json

import kit

from mycelium.database import policy
from mycelium.database.access import POLICIES, SYS
from mycelium.database.engine import Engine, Outcome
from mycelium.database.memory import MemoryStore
from mycelium.database.store import Column
from mycelium.database.value import value_bytes, value_of
from mycelium.errors import ProtocolError
from mycelium.identity.keys import digest
from mycelium.metagraph.membership import Epoch, Member, SourceStatus
from mycelium.node.authority import SourceAuthority
from mycelium.protocol.messages import Op

EPOCH_MS = kit.TEMPO * kit.BLOCK_MS
FIRST = kit.FixedAuthority().anchor(kit.NOW_MS)[0]
"""The number of the first epoch that these tests use."""


class Chain:
    """A `Source` whose epochs are known once they are told."""

    def __init__(self, epochs: dict[int, Epoch], told: bool = True) -> None:
        self.epochs = epochs
        self.known = set(epochs) if told else set()
        self.tempo = kit.TEMPO

    def epoch_at(self, number):
        return self.epochs.get(number) if number in self.known else None

    def peek(self, number):
        return self.epoch_at(number)

    def epoch(self):
        return self.epochs[max(self.known)] if self.known else Epoch(0, {})

    def block_time_ms(self, block):
        return kit.GENESIS_MS + block * kit.BLOCK_MS

    def block_now(self, now_ms):
        return (now_ms - kit.GENESIS_MS) // kit.BLOCK_MS

    def status(self, now_ms):
        del now_ms
        return SourceStatus(0, 0)


def epoch(number, roles, document=None):
    """roles: name of a key -> role."""
    members = {}
    for name, role in roles.items():
        account = kit.keypair(name).account
        members[account] = Member(account, role, 10**9)
    return Epoch(number, members, None if document is None else digest(document))


def document(*rules, **more):
    return json.dumps({"version": 1, "rules": list(rules), **more}).encode()


def rule(who, may, tables="main/*", **more):
    return {"who": who, "tables": tables, "may": list(may), **more}


def replica(name, chain, store=None) -> Engine:
    """An engine that holds `main` and `sys` under what the chain and the documents in its store say."""
    store = store if store is not None else MemoryStore()
    authority = SourceAuthority(chain)
    made = kit.engine(name, store, authority)
    made._spaces = frozenset({"main", SYS})

    def find(wanted):
        row = store.get(Column.LIVE, POLICIES.prefix + wanted.hex().encode())
        return None if row is None else value_of(row[56:])

    authority.documents = find
    made.authority = authority
    return made


def publish(author: Engine, data: bytes, now_ms=kit.NOW_MS):
    """A policy document as a batch of `sys`."""
    change = (POLICIES, int(Op.PUT), digest(data).hex().encode(), value_bytes(data))
    return author.originate(SYS, [change], now_ms)


def offer(engine: Engine, raw, signature, now_ms=kit.NOW_MS):
    """What became of a batch: an Outcome, or the error's reason."""
    try:
        return engine.receive(raw, signature, now_ms)
    except ProtocolError as error:
        return error.reason


def settle(engine: Engine, batches, now_ms):
    """Offer everything again and again, as sync and the tick do, until nothing changes."""
    quiet = 0
    while quiet < 3:
        now_ms += 10_000
        before = engine.counts["applied"]
        engine.release(now_ms)
        for raw, signature in batches:
            offer(engine, raw, signature, now_ms)
        quiet = quiet + 1 if engine.counts["applied"] == before else 0


def picture(engine: Engine):
    """The whole visible and invisible state, byte for byte."""
    store = engine._store
    rows = [list(store.scan(column, b"", None)) for column in (Column.LIVE, Column.DEAD)]
    return rows, {space: engine.vector_digest(space) for space in ("main", SYS)}


__all__ = [
    "EPOCH_MS",
    "FIRST",
    "Chain",
    "Outcome",
    "document",
    "epoch",
    "offer",
    "picture",
    "policy",
    "publish",
    "replica",
    "rule",
    "settle",
]
