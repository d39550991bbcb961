"""Anti-entropy by version vectors: who asks whom for what, and what to answer. Sans-IO.

    digests differ ──> request(my vector) ──> responses, each up to SYNC_RESPONSE_BYTES, until the window is full
                          ^                                      │
                          └────────── more ──────────────────────┘  (the vector is the cursor, so any peer can go on)

A digest of each space's vector rides on every ping. On first contact a difference is acted on at once; later only when
it is seen twice, since under load a push is always on its way. One fetch at a time for each space, so that three peers
do not send the same gap. `since` timestamps would lose data for ever (replication.md A.3) and are never used.

Where this node's log has a void (`voids`), it gives what is before it, and names the void in the vector of its
response. The asker takes no void on that word: it asks others, who may have the batches, and leaves the space to a
snapshot where nobody has.

Who asks twice with our own vector has another batch under one of its numbers: an origin signed two histories. It is
sent the newest batch of each origin, and keeps the proof.

Knows no socket and no clock: `now_ms` is passed in, what to send is returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from mycelium._core.codec import decode_batch
from mycelium.config import (
    BATCH_CHANGES_HARD_MAX,
    BATCH_CHANGES_MAX,
    SYNC_BAR_MS,
    SYNC_FETCH_MAX_MS,
    SYNC_RANGES_MAX,
    SYNC_REPEAT_MAX_MS,
    SYNC_REPEAT_MIN_MS,
    SYNC_RESPONSE_BYTES,
    SYNC_TIMEOUT_MS,
    SYNC_WINDOW_BYTES,
)
from mycelium.config.database import SYNC_VOID_MS
from mycelium.database.clock import time_ms_of
from mycelium.database.engine import Outcome
from mycelium.database.vector import (
    SEQUENCE_MAX,
    Held,
    Origin,
    Vector,
    lacking,
    vector_from_wire,
    vector_to_wire,
)
from mycelium.errors import Equivocation, StaleMessage, Unauthorised
from mycelium.protocol.messages import OriginVersion, SyncRequest, SyncResponse

_BARRED_MAX = 4_096
_HEAD_SEARCH = (0, BATCH_CHANGES_MAX - 1, BATCH_CHANGES_HARD_MAX - 1)
"""How far before an origin's head its newest batch may begin; most have one change, or as many as are flushed."""
_VOIDS_SAID_MAX = 64
"""In one response; one is as good as all."""
FRESH_MS = 1_000
"""A batch this young was pushed on an open session and is likely under way: sync does not send it again."""


class Library(Protocol):
    """What the machine reads and writes; `Engine` is one."""

    @property
    def voided(self) -> Collection[str]:
        """Spaces of which not every batch is in the log."""
        ...

    def vector(self, space: str) -> Vector: ...
    def vector_digest(self, space: str) -> bytes: ...
    def log_records(
        self, space: str, origin: Origin, first: int, last: int
    ) -> Iterator[tuple[int, bytes, bytes]]: ...
    def receive(self, raw: bytes, signature: bytes, now_ms: int) -> Outcome: ...

    def doubted(self, space: str) -> Sequence[Origin]:
        """Origins whose histories may part somewhere in what is held."""
        ...


_REPEATS_MAX: Final = 16


@dataclass(slots=True)
class Fetch:
    """A request of ours under way, for one space."""

    peer: int
    request_id: int
    asked_ms: int
    progress_ms: int
    """When it last brought something new, or began."""


@dataclass(slots=True)
class Serve:
    """A peer's request that we are answering."""

    request: SyncRequest
    records: Iterator[tuple[int, bytes, bytes]]
    left_bytes: int
    voids: list[OriginVersion]
    """Found on the way: what was asked for and is not in the log."""
    carried: tuple[bytes, bytes] | None = None
    """Read, but did not fit into the last response."""


@dataclass(slots=True)
class Asked:
    """The last request of a peer for a space, what this node held then, and how often it was answered again in full."""

    theirs: Vector
    given: Vector
    at_ms: int
    repeats: int

    def is_recent(self, now_ms: int) -> bool:
        """Whether it was answered in full a short while ago."""
        return now_ms - self.at_ms < min(SYNC_REPEAT_MIN_MS << self.repeats, SYNC_REPEAT_MAX_MS)


@dataclass(slots=True)
class Peer:
    """What the machine knows of one session."""

    opened_ms: int
    account: bytes
    differed: set[str] = field(default_factory=set)
    """Spaces whose digest differed at the peer's last ping."""
    greeted: set[str] = field(default_factory=set)
    serves: dict[str, Serve] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    equal: dict[str, Vector] = field(default_factory=dict)
    """By space, the vector with which it last asked, where that was ours."""
    shown: set[str] = field(default_factory=set)
    """Spaces of which it was sent the heads."""


class SyncMachine:
    """Both roles, for all peers. `peer` is the caller's number for a session."""

    def __init__(self, library: Library, may_read: Callable[[int, str], bool], spaces: list[str]) -> None:
        self._library = library
        self._may_read = may_read
        self._spaces = spaces
        self._peers: dict[int, Peer] = {}
        self._fetches: dict[str, Fetch] = {}
        self._next_id = 1
        self._barred: dict[tuple[str, Origin], int] = {}
        """Origins that are not asked for until then, as what they have cannot be taken now."""
        self._newly_barred = False
        self._shunned: dict[bytes, int] = {}
        """Accounts whose fetch brought nothing in time: others are asked first, until then."""
        self.suspended: set[str] = set()
        """Spaces that a snapshot is being fetched of: they are not asked for here."""
        self.voids_said: dict[str, dict[bytes, int]] = {}
        """By space, accounts that have dropped what we lack, and until when they are not asked for it."""
        self.passed_over: Counter[str] = Counter()
        """Batches that broke a rule by their origin's fault and not that of the peer that had them, by reason."""
        self.last_sync_ms: dict[str, int] = {}
        """When each space was last seen to lack nothing that a peer has."""

    # --- sessions ---------------------------------------------------------------------------------------

    def peer_up(self, peer: int, now_ms: int, account: bytes = b"") -> None:
        """A session opened; without an account the peer is known by its number alone."""
        self._peers[peer] = Peer(now_ms, account or peer.to_bytes(8, "big"))

    def peer_down(self, peer: int) -> None:
        """What it was sending us is asked of the next peer whose digest differs."""
        self._peers.pop(peer, None)
        for space in [space for space, fetch in self._fetches.items() if fetch.peer == peer]:
            del self._fetches[space]

    @property
    def fetching(self) -> int:
        return len(self._fetches)

    def unbar(self) -> None:
        """What could not be taken may be taken now: ask for it again."""
        self._barred.clear()

    # --- the asking side --------------------------------------------------------------------------------

    def agreement(self) -> float:
        """The share of its peers' spaces that this node agrees with, 0 to 1; 1 without peers."""
        spaces = sum(len(peer.greeted) for peer in self._peers.values())
        differed = sum(len(peer.differed) for peer in self._peers.values())
        return 1.0 if not spaces else 1.0 - differed / spaces

    def differs(self, space: str, peer: int | None = None) -> bool:
        """Whether a peer's digest of the space, or any peer's, was not ours when it was last heard."""
        peers = self._peers.values() if peer is None else [self._peers[peer]] if peer in self._peers else []
        return any(space in one.differed for one in peers)

    def compared(self, peer: int) -> dict[str, bool]:
        """Of each space that the peer spoke of: whether it holds the same as this node, by its last ping."""
        state = self._peers.get(peer)
        return {} if state is None else {space: space not in state.differed for space in state.greeted}

    def digest_seen(self, peer: int, space: str, digest: bytes, now_ms: int) -> SyncRequest | None:
        """The peer's ping said this of a space. Returns the request to send it, if any."""
        state = self._peers.get(peer)
        if state is None or space not in self._spaces:
            return None
        if digest == self._library.vector_digest(space):
            state.differed.discard(space)
            state.greeted.add(space)
            self.last_sync_ms[space] = now_ms
            return None
        seen_before = space in state.differed or space not in state.greeted
        state.differed.add(space)
        state.greeted.add(space)
        if not seen_before or now_ms < self._shunned.get(state.account, 0) or space in self.suspended:
            return None
        if now_ms < self.voids_said.get(space, {}).get(state.account, 0):
            return None
        fetch = self._fetches.get(space)
        if fetch is not None:
            if now_ms - fetch.progress_ms < SYNC_TIMEOUT_MS and now_ms - fetch.asked_ms < SYNC_FETCH_MAX_MS:
                return None
            # It said nothing, or nothing new. Were it asked again at once, nobody else would ever be.
            idle = self._peers.get(fetch.peer)
            if idle is not None:
                self._shunned = {account: until for account, until in self._shunned.items() if until > now_ms}
                self._shunned[idle.account] = now_ms + 3 * SYNC_TIMEOUT_MS
            del self._fetches[space]
            if fetch.peer == peer:
                return None
        return self._ask(peer, space, now_ms)

    def response(self, peer: int, response: SyncResponse, now_ms: int) -> SyncRequest | None:
        """Apply what came. Returns the next request, if the peer has more.

        Raises what `receive` raises and is the fault of the peer itself. What is its origin's fault is passed over:
        the peer may have been right to take it.
        """
        fetch = self._fetches.get(response.space)
        ours = fetch is not None and fetch.peer == peer and fetch.request_id == response.request_id
        # A late answer to a request that was given up is as good as any: every batch proves itself.
        sender = self._peers[peer].account if peer in self._peers else b""
        progress = sum([self._take(raw, sig, now_ms, ours, sender) for raw, sig in response.batches])
        if fetch is None or not ours:
            return None
        if progress:
            fetch.progress_ms = now_ms
        if not response.done:
            return None
        del self._fetches[response.space]
        if response.vector:
            self.voids_said.setdefault(response.space, {})[sender] = now_ms + SYNC_VOID_MS
        if response.space in self.suspended:
            return None
        if response.more:
            # Also without progress: what could not be taken is barred now, and the next window holds something else.
            return self._ask(peer, response.space, now_ms) if progress or self._newly_barred else None
        if not response.vector:
            self.last_sync_ms[response.space] = now_ms
        return None

    def _take(self, raw: bytes, signature: bytes, now_ms: int, asked_for: bool, sender: bytes) -> bool:
        try:
            outcome = self._library.receive(raw, signature, now_ms)
        except (Equivocation, Unauthorised, StaleMessage) as error:
            if decode_batch(raw).account == sender:
                raise
            self.passed_over[error.reason] += 1
            outcome = Outcome.LEFT
        if asked_for and outcome in (Outcome.HELD, Outcome.LEFT):
            batch = decode_batch(raw)
            key = batch.space, Origin(batch.account, batch.generation)
            if key not in self._barred and len(self._barred) < _BARRED_MAX:
                self._barred[key] = now_ms + SYNC_BAR_MS
                self._newly_barred = True
        return outcome is Outcome.APPLIED

    def _ask(self, peer: int, space: str, now_ms: int) -> SyncRequest:
        request_id = self._next_id
        self._next_id += 1
        self._newly_barred = False
        self._fetches[space] = Fetch(peer, request_id, now_ms, now_ms)
        self._barred = {key: until_ms for key, until_ms in self._barred.items() if until_ms > now_ms}
        vector = dict(self._library.vector(space))
        if sum(len(held.ranges) for held in vector.values()) > SYNC_RANGES_MAX:
            vector = {origin: Held(held.head, ()) for origin, held in vector.items()}
        # Two histories part somewhere before the batches that prove it: where, only all of the other one shows.
        vector |= {origin: Held(0, ()) for origin in self._library.doubted(space)}
        # Of a barred origin we claim to have everything: else its batches would fill each window, again and again.
        vector |= {origin: Held(SEQUENCE_MAX, ()) for barred, origin in self._barred if barred == space}
        last_sync_ns = self.last_sync_ms.get(space, 0) * 1_000_000
        return SyncRequest(request_id, space, vector_to_wire(vector), SYNC_WINDOW_BYTES, last_sync_ns)

    # --- the answering side -----------------------------------------------------------------------------

    def request(self, peer: int, request: SyncRequest, now_ms: int) -> None:
        """Begin to answer; `pump` gives the responses. A new request for a space replaces the one before."""
        state = self._peers.get(peer)
        if state is None:
            return
        if request.space not in self._spaces or not self._may_read(peer, request.space):
            raise Unauthorised(f"may not read the space {request.space!r}")
        vector = vector_from_wire(request.vector)
        window = min(request.max_bytes, SYNC_WINDOW_BYTES)
        serve, asked = state.serves.get(request.space), state.asked.get(request.space)
        if serve is not None and asked is not None and asked.theirs == vector and asked.is_recent(now_ms):
            # The same once more, before all of it was sent: it goes on where it is.
            serve.request, serve.left_bytes = request, window
            return
        said: list[OriginVersion] = []
        if self._forked(state, request.space, vector):
            records = self._heads(request.space)
        else:
            counted = self._counted(state, request.space, vector, now_ms)
            records = self._missing(request.space, counted, state.opened_ms, now_ms, said)
        state.serves[request.space] = Serve(request, records, window, said)

    def _forked(self, state: Peer, space: str, theirs: Vector) -> bool:
        """Whether the peer holds the numbers that we hold, and not the same batches. Said once in a session.

        It asks because our digest was not its own. If it does so again, and neither of us got anything since it last
        did, then its numbers are ours and its batches are not. Once alone may mean that we became equal meanwhile.
        """
        if theirs != self._library.vector(space):
            state.equal.pop(space, None)
            return False
        again = state.equal.get(space) == theirs
        state.equal[space] = theirs
        if not again or space in state.shown:
            return False
        state.shown.add(space)
        return True

    def _heads(self, space: str) -> Iterator[tuple[int, bytes, bytes]]:
        """The newest batch of each origin: it stands for the whole chain before it."""
        for origin, held in sorted(self._library.vector(space).items()):
            for back in _HEAD_SEARCH:
                found = list(self._library.log_records(space, origin, max(1, held.head - back), held.head))
                if found:
                    yield found[-1]
                    break

    def _counted(self, state: Peer, space: str, theirs: Vector, now_ms: int) -> Vector:
        """What a peer is taken to have. Who keeps what it gets asks with a larger vector the next time: who does not,
        and asks again at once, is sent only what is new since."""
        asked = state.asked.get(space)
        mine = self._library.vector(space)
        if asked is None or asked.theirs != theirs:
            state.asked[space] = Asked(theirs, mine, now_ms, 0)
            return theirs
        given, asked.given = asked.given, mine
        if asked.is_recent(now_ms):
            self.passed_over["sync-repeated"] += 1
            return given
        asked.at_ms = now_ms
        asked.repeats = min(asked.repeats + 1, _REPEATS_MAX)
        return theirs

    def pump(self, peer: int) -> SyncResponse | None:
        """The next response for the peer; None when there is nothing (more) to say."""
        state = self._peers.get(peer)
        if state is None or not state.serves:
            return None
        space, serve = next(iter(state.serves.items()))
        batches: list[tuple[bytes, bytes]] = []
        size = 0
        exhausted = False
        room = min(SYNC_RESPONSE_BYTES, serve.left_bytes)
        while size < room:
            record = serve.carried or self._next_record(serve)
            serve.carried = None
            if record is None:
                exhausted = True
                break
            if batches and size + len(record[0]) > room:
                serve.carried = record
                break
            batches.append(record)
            size += len(record[0])
        serve.left_bytes -= size
        done = exhausted or serve.left_bytes <= 0
        if done:
            del state.serves[space]
        said = serve.voids if done else []
        return SyncResponse(serve.request.request_id, space, batches, done and not exhausted, done, said)

    @staticmethod
    def _next_record(serve: Serve) -> tuple[bytes, bytes] | None:
        record = next(serve.records, None)
        return None if record is None else (record[1], record[2])

    def _missing(
        self, space: str, theirs: Vector, opened_ms: int, now_ms: int, voids: list[OriginVersion]
    ) -> Iterator[tuple[int, bytes, bytes]]:
        voided = space in self._library.voided
        for origin, first, last in lacking(self._library.vector(space), theirs):
            at = first
            for record in self._library.log_records(space, origin, first, last):
                batch = decode_batch(record[1])
                if voided and record[0] > at:
                    break
                made_ms = time_ms_of(batch.hlc_first)
                if made_ms >= opened_ms and 0 <= now_ms - made_ms < FRESH_MS:
                    at = SEQUENCE_MAX
                    break
                yield record
                at = record[0] + batch.count
            if voided and at <= last and len(voids) < _VOIDS_SAID_MAX:
                voids.append(OriginVersion(*origin, 0, [(at, last)]))
