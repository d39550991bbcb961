"""What a fleet costs as it grows: messages and bytes for each change, and for nothing but being there.

    python -m mycelium.fleet.costs

The real machines (placements, terms, the codec) run over a bucket and a stream that count what passes through them;
nothing is late and nothing is lost. `expected` has the same as a formula, which a test holds against the count. What
NATS sends to its own copies is counted too; acknowledgements of TCP, WebSocket and TLS are not.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mycelium._core.codec import encode_gossip, encode_message
from mycelium.config.fleet import FLEET_LEASE_MS, FLEET_RENEWALS, FLEET_TICK_MS, FLEET_WATCH_HEARTBEAT_MS
from mycelium.database.schema import encode_own
from mycelium.fleet import events, publishing
from mycelium.fleet.layout import slot_of
from mycelium.fleet.parts import Self
from mycelium.fleet.placement import Placement
from mycelium.fleet.publishing import Accepted, Found, Last, Message, Nothing, Send
from mycelium.jetstream import layout
from mycelium.protocol.messages import MergeType, Op

SPACE: Final = "main"
TABLE: Final = "scores"
MEMBERS: Final = (1, 3, 10, 100)
PEERS: Final = (1, 64)
BATCHES: Final = (1, 64)
SLOTS: Final = 256
"""More than members, so that each has some."""
KEY_BYTES: Final = 48
VALUE_BYTES: Final = 200
COPIES: Final = 3
"""Servers that hold a stream."""

_NATS_BYTES: Final = 60
"""A line of NATS' protocol with its numbers and the inbox for the answer."""
_ACK_BYTES: Final = _NATS_BYTES + 70
"""`{"stream":"MYC-...","seq":...}` to an inbox."""
_SEAL_BYTES: Final = 24
"""Of a session's frame: WebSocket's header, the length, the tag."""
_ANSWER_BYTES: Final = 8
"""Of a call that has nothing to say but that it was done."""
_BEAT_BYTES: Final = _NATS_BYTES + 60
"""A server's word that a watch lives."""


@dataclass(frozen=True, slots=True)
class Case:
    """members: of the fleet, all with a copy of the space. peers: in the mesh. batch: changes published together."""

    members: int
    peers: int
    batch: int


@dataclass(slots=True)
class Count:
    """By the way they went: `forward` between members, `publish` to NATS and back, `copy` between its servers, `follow`
    from NATS to members, `mesh` to peers, `lease` all of the bucket."""

    messages: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    sizes_bytes: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, way: str, size_bytes: int, times: float = 1) -> None:
        self.messages[way] += times
        self.sizes_bytes[way] += size_bytes * times


class Simulated:
    """A fleet of real placements in one loop, over one bucket and one stream that answer at once."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        self.case = case
        self.count = Count()
        self.now_ms = 0
        self._random = random.Random(seed)  # noqa: S311 - repeatable, and nothing is kept secret by it
        self._revision = 0
        self._entries: dict[str, int] = {}
        self._last: dict[str, Found] = {}
        self._sequence = 0
        self._events: deque[tuple[str, events.Event]] = deque()
        self._terms: dict[str, publishing.Term] = {}
        self.placements: dict[str, Placement] = {}
        for number in range(case.members):
            name = f"m{number:03d}"
            me = Self(name, 1 + number, self._token(), f"wss://{name}.example:9100", {SPACE: SLOTS}, "0.0.0")
            self.placements[name] = Placement(me, self._token)
            self._events.append((name, events.Watching(True, "0" * 16)))

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        until_ms = self.now_ms + for_ms
        while self.now_ms < until_ms:
            self._events.extend((name, events.Tick()) for name in self.placements)
            while self._events:
                name, event = self._events.popleft()
                for effect in self.placements[name].handle(event, self.now_ms):
                    self._carry_out(name, effect)
            self.now_ms += FLEET_TICK_MS
            self.count.add("lease", _BEAT_BYTES, self.case.members * FLEET_TICK_MS / FLEET_WATCH_HEARTBEAT_MS)

    def owners(self) -> Counter[str]:
        """How many slots each member serves."""
        return Counter(
            name
            for name, one in self.placements.items()
            for place in one.serving()
            if one.serves(*place, self.now_ms)
        )

    def change(self, changes: int) -> None:
        """So many changes of keys at random, each at a member at random, published by their owners in batches."""
        gathered: dict[str, list[tuple[int, int, bytes, bytes]]] = {name: [] for name in self.placements}
        names = sorted(self.placements)
        for _ in range(changes):
            key = self._random.randbytes(KEY_BYTES // 2).hex().encode()
            at = self._random.choice(names)
            owner = self.placements[at].owner(SPACE, slot_of(TABLE, key, SLOTS))
            assert owner is not None, "the fleet is not whole yet"
            change = (0, int(Op.PUT), key, self._random.randbytes(VALUE_BYTES))
            if owner[0] != at:
                self.count.add("forward", call_bytes(change))
                self.count.add("forward", answer_bytes())
            gathered[owner[0]].append(change)
            if len(gathered[owner[0]]) == self.case.batch:
                self._publish(owner[0], gathered[owner[0]])
                gathered[owner[0]] = []

    def _token(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _carry_out(self, name: str, effect: events.Effect) -> None:
        match effect:
            case events.Put():
                self._put(name, effect)
            case events.Open():
                me = self.placements[name].me
                self._terms[name] = term = publishing.Term(
                    _subject(me.generation), effect.term, me.incarnation
                )
                seq = self._run(term.open())
                self._events.append((name, events.Opened(SPACE, effect.term, seq, "1" * 16)))
                self._applied()
            case events.CloseOthers():
                self._events.append((name, events.OthersClosed(SPACE, 0, "1" * 16)))
            case events.Drain():
                self._events.append((name, events.Drained(SPACE, effect.slot, effect.ticket, self._sequence)))

    def _put(self, name: str, put: events.Put) -> None:
        size = len(put.value) + len(put.key) + _NATS_BYTES
        self.count.add("lease", size)
        self.count.add("lease", _ACK_BYTES)
        if self._entries.get(put.key, 0) != put.revision:
            self._events.append((name, events.Refused(put.call)))
            return
        self._revision += 1
        self._entries[put.key] = self._revision
        self._events.append((name, events.Stored(put.call, self._revision)))
        self.count.add("lease", size, COPIES - 1 + self.case.members)
        for other in self.placements:
            self._events.append((other, events.Entry(put.key, self._revision, put.value)))

    def _publish(self, name: str, changes: list[tuple[int, int, bytes, bytes]]) -> None:
        raw = batch_bytes(self.placements[name].me.generation, changes)
        identity = self._random.randbytes(32)
        self._run(self._terms[name].publish(raw, bytes(layout.SIGNATURE_BYTES), identity))
        self.count.add("mesh", push_bytes(raw), self.case.peers)
        self._applied()

    def _applied(self) -> None:
        self._events.extend(
            (name, events.Applied(SPACE, self._sequence, "1" * 16)) for name in self.placements
        )

    def _run(self, procedure: publishing.Procedure[int]) -> int:
        answer: publishing.Answer | None = None
        while True:
            try:
                ask = procedure.send(answer)  # type: ignore[arg-type]
            except StopIteration as end:
                return int(end.value)
            if isinstance(ask, Send):
                answer = self._accept(ask.message)
            else:
                assert isinstance(ask, Last), "nothing is refused here"
                answer = self._last.get(ask.subject, Nothing())

    def _accept(self, message: Message) -> Accepted:
        self._sequence += 1
        self._last[message.subject] = Found(self._sequence, message.headers)
        if layout.KIND not in message.headers:
            size = message_bytes(message)
            self.count.add("publish", size)
            self.count.add("publish", _ACK_BYTES)
            self.count.add("copy", size, COPIES - 1)
            self.count.add("follow", size, self.case.members)
        return Accepted(self._sequence)


# --- sizes ------------------------------------------------------------------------------------------------


def _subject(generation: int) -> str:
    return layout.Network(1, bytes(32)).subject(SPACE, bytes(32), generation)


def batch_bytes(generation: int, changes: list[tuple[int, int, bytes, bytes]]) -> bytes:
    """A batch of these changes, as it is signed."""
    tables = [(TABLE, int(MergeType.LWW))]
    return encode_own(
        1, bytes(32), SPACE, bytes(32), generation, 1, bytes(32), 1, 1, 1 << 60, tables, changes
    )


def message_bytes(message: Message) -> int:
    """Of a message of NATS: its line, its headers, its body."""
    headers = sum(len(name) + len(value) + 4 for name, value in message.headers.items())
    expected = len(layout.EXPECTED) + 12
    return _NATS_BYTES + len(message.subject) + 14 + headers + expected + len(message.body)


def call_bytes(change: tuple[int, int, bytes, bytes]) -> int:
    """Of one change that is forwarded."""
    _, op, key, value = change
    body = msgspec.msgpack.encode((SPACE, [(TABLE, op, key, value)], "durable", False))
    return _SEAL_BYTES + len(encode_message(1, 8, bytes(32), 1 << 60, 1 << 60, body))


def answer_bytes() -> int:
    return _SEAL_BYTES + len(encode_message(1, 8, bytes(32), 1 << 60, 1 << 60, bytes(_ANSWER_BYTES)))


def push_bytes(raw: bytes) -> int:
    """Of a batch to one peer of the mesh."""
    gossip = encode_gossip([(raw, bytes(layout.SIGNATURE_BYTES))])
    return _SEAL_BYTES + len(encode_message(1, 4, bytes(32), 1 << 60, 1 << 60, gossip))


# --- as a formula -----------------------------------------------------------------------------------------


def expected(case: Case) -> Count:
    """For one change; messages of `lease` are for one second instead.

    Of n members each is as likely to be asked, so that a share of (n - 1) / n is forwarded. A batch of b changes is
    published once, copied to the other servers, read by all n members, and pushed to each peer by one of them. Each
    heartbeat is written once and read by everybody: that alone grows with the square.
    """
    change = (0, int(Op.PUT), bytes(KEY_BYTES), bytes(VALUE_BYTES))
    raw = batch_bytes(1, [change] * case.batch)
    size = message_bytes(
        publishing.batch(_subject(1), raw, bytes(layout.SIGNATURE_BYTES), bytes(32), "0" * 16)
    )
    count = Count()
    ways = (
        ("forward", call_bytes(change) + answer_bytes(), 2, (case.members - 1) / case.members),
        ("publish", size + _ACK_BYTES, 2, 1 / case.batch),
        ("copy", size, 1, (COPIES - 1) / case.batch),
        ("follow", size, 1, case.members / case.batch),
        ("mesh", push_bytes(raw), 1, case.peers / case.batch),
    )
    for way, size_bytes, messages, share in ways:
        count.messages[way] = messages * share
        count.sizes_bytes[way] = size_bytes * share
    beats = (
        case.members
        * 1000
        / (FLEET_LEASE_MS // FLEET_RENEWALS // FLEET_TICK_MS * FLEET_TICK_MS + FLEET_TICK_MS)
    )
    watched = case.members * 1000 / FLEET_WATCH_HEARTBEAT_MS
    count.messages["lease"] = beats * (1 + COPIES + case.members) + watched
    return count


def table() -> Iterator[str]:
    """Lines of a table in Markdown, by the formula."""
    yield "| members | peers | changes in a batch | messages a change | bytes a change | of them forwarded |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for case in (Case(n, m, b) for b in BATCHES for m in PEERS for n in MEMBERS):
        one = expected(case)
        messages, size = sum(one.messages.values()) - one.messages["lease"], sum(one.sizes_bytes.values())
        yield (
            f"| {case.members} | {case.peers} | {case.batch} | {messages:.2f} | {size:,.0f} "
            f"| {one.sizes_bytes['forward']:,.0f} |"
        )
    yield ""
    yield "| members | messages of leases a second | for each member |"
    yield "|---:|---:|---:|"
    for members in MEMBERS:
        beats = expected(Case(members, 1, 1)).messages["lease"]
        yield f"| {members} | {beats:,.0f} | {beats / members:.1f} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*table(), ""]))
