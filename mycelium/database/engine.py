"""Applies batches: the one place where a signed batch becomes rows. Sans-IO but for the `Store` it is given.

Order of the checks: size, shape, network, authority, duplicate, signature; nothing is stored before all of them hold
(invariant 4). A batch's rows, its log record, its origin's vector and its place in the feed are one store commit.

The engine does not wait for durability (`commit`), does not know peers (`sync`), and reads no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice

from mycelium._core import merge
from mycelium._core.codec import Batch, decode_batch
from mycelium._core.fanout import SeenSet
from mycelium.config import (
    BATCH_BYTES_MAX,
    BATCH_CHANGES_MAX,
    CLOCK_AHEAD_MS,
    GAPS_PER_ORIGIN_MAX,
    GENERATIONS_MAX,
    INDEX_ENTRIES_MAX,
    SEEN_MAX,
    TABLE_SETS_MAX,
)
from mycelium.database import backup, feed, rebuild, repair, schema, value, voids
from mycelium.database.access import SEALS, SYS
from mycelium.database.clock import Clock, time_ms_of
from mycelium.database.hold import Holds
from mycelium.database.originating import LocalChange, Originator, Own
from mycelium.database.outcome import Applied, Outcome
from mycelium.database.proofs import Frozen, Proven
from mycelium.database.quota import Quotas
from mycelium.database.schema import StoreIdentity
from mycelium.database.seals import Cut, Seals
from mycelium.database.store import Column, Store, WriteBatch, after_prefix
from mycelium.database.validity import Authority, check
from mycelium.database.vector import ZERO_DIGEST, ForkError, Origin, OriginLog, Span, Vector, vector_digest
from mycelium.errors import (
    BadSignature,
    Equivocation,
    OversizedMessage,
    ProtocolError,
    StaleMessage,
    StoreError,
    Unauthorised,
)
from mycelium.identity import signing
from mycelium.identity.keys import Keypair, preimage, verify_preimage
from mycelium.protocol.messages import MergeType, Op

SIGNATURE_BYTES = 64


class Engine:
    """State of one store. All methods run on one thread; each call is complete when it returns.

    Of `spaces` it takes everything; batches of other spaces are none of this node's business.
    """

    def __init__(
        self,
        store: Store,
        identity: StoreIdentity,
        keypair: Keypair,
        authority: Authority,
        *,
        spaces: frozenset[str],
        index_seed: bytes,
        index_entries_max: int = INDEX_ENTRIES_MAX,
    ) -> None:
        self.identity = identity
        self.origin = Origin(identity.account, identity.generation)
        self.counts: Counter[str] = Counter()
        self.on_applied: list[Callable[[Applied], None]] = []
        self.on_rewound: list[Callable[[int], None]] = []
        """Called with the index in the feed that says that rows were made anew."""
        self._store = store
        self._keypair = keypair
        self._authority = authority
        self._spaces = spaces
        self.voided = voids.noted(store)
        """Spaces of which not every batch is in the log: see `voids`."""
        self._logs: dict[str, dict[Origin, OriginLog]] = {}
        self._digests: dict[str, bytes] = {}
        self._vectors: dict[str, Vector] = {}
        self._holds = Holds()
        self._quotas = Quotas(store)
        self.own_log_cut = False
        self.stream_first = False
        """Whether this node's own batches come from elsewhere too, where they are before they are here (a fleet)."""
        self.attest: Callable[[Sequence[LocalChange], int], object] = partial(self.originate, SYS)
        """Writes what this node says of others' seals; a fleet has it written by one of its members."""
        self._made: dict[str, Own] = {}
        self.grants: list[bytes] = []
        """Tokens that this node's own writes may need (see `grants`)."""
        self._seen = SeenSet(SEEN_MAX)
        self._prefixes: dict[str, dict[tuple[tuple[str, int], ...], tuple[list[bytes], bytes]]] = {}
        self._index = merge.Index(index_entries_max, index_seed)
        clock = store.get(Column.META, schema.META_CLOCK)
        self.clock = Clock(int.from_bytes(clock, "big") if clock else 0)
        self._originator = Originator(identity, keypair, authority, self.clock)
        unfinished = rebuild.pending(store)
        if unfinished is not None:
            self._carry_out(unfinished)
        self._load(index_entries_max)
        self.seals = Seals(store, authority)
        self.frozen = Frozen(store, identity, authority, spaces, self._give_up)
        self.frozen.settle()
        self.doubted = self.frozen.doubted
        self.feed_last = feed.last_index(store)

    # --- reading what is held ---------------------------------------------------------------------------

    def spaces(self) -> list[str]:
        return sorted(self._logs)

    def vector(self, space: str) -> Vector:
        """What is held of each origin. Shared between callers until the next batch: not to be changed."""
        found = self._vectors.get(space)
        if found is None:
            logs = self._logs.get(space, {})
            found = self._vectors[space] = {origin: log.held() for origin, log in logs.items() if log.spans}
        return found

    def vector_digest(self, space: str) -> bytes:
        """16 bytes; equal on two nodes when they hold the same batches of the space."""
        found = self._digests.get(space)
        if found is None:
            found = self._digests[space] = vector_digest(self._logs.get(space, {}))
        return found

    def vector_digest_before(self, space: str, first: Batch) -> bytes:
        """`vector_digest` as it was before `first` and what followed it of this node's own log. It has no gaps."""
        logs = dict(self._logs.get(space, {}))
        del logs[self.origin]
        if first.seq_first > 1:
            logs[self.origin] = OriginLog([Span(1, first.seq_first - 1, ZERO_DIGEST, first.prev_digest)])
        return vector_digest(logs)

    def head(self, space: str, origin: Origin) -> int:
        """The sequence number up to which everything of the origin is held."""
        return self._log(space, origin).head

    def log_of(self, space: str, origin: Origin) -> OriginLog:
        """The spans held of an origin. Not to be changed."""
        return self._log(space, origin)

    def own_head(self, space: str) -> int:
        return self.head(space, self.origin)

    def log_records(
        self, space: str, origin: Origin, first: int, last: int
    ) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq_first, batch bytes, signature) of the logged batches that begin in first..last, in order."""
        start = schema.log_key(space, origin, first)
        stop = schema.log_key(space, origin, last + 1)
        for key, record in self._store.scan(Column.LOG, start, stop):
            yield schema.log_seq(key), record[SIGNATURE_BYTES:], record[:SIGNATURE_BYTES]

    # --- writing ----------------------------------------------------------------------------------------

    def originate(self, space: str, changes: Sequence[LocalChange], now_ms: int) -> Applied:
        """Sign and apply a batch of this node's own. Unauthorised, ValueRefused, StoreFull; nothing changed then."""
        return self.apply_own(self.make(space, changes, now_ms))

    def make(self, space: str, changes: Sequence[LocalChange], now_ms: int) -> Own:
        """Sign a batch of this node's own, to be applied or abandoned before another of its space is made.

        Unauthorised, ValueRefused, StoreError; nothing changed then.
        """
        assert space not in self._made, f"the batch before in {space!r} was neither applied nor abandoned"
        self._require_own_log()
        log = self._log(space, self.origin)
        own = self._originator.make(space, changes, now_ms, log, self.grants, self._quotas)
        self._made[space] = own
        return own

    def abandon(self, own: Own) -> None:
        """Forget what `make` made and nobody has seen: its numbers and its times are given to the next."""
        self._made.pop(own.batch.space, None)
        self.clock.give_back(own.batch.hlc_first, own.batch.count)

    def apply_own(self, own: Own) -> Applied:
        """Apply what `make` made. StoreFull, StoreError; nothing changed then but that it is forgotten here."""
        batch = own.batch
        self._made.pop(batch.space, None)
        self._require_own_log()
        log = self._log(batch.space, self.origin)
        last = batch.seq_first + batch.count - 1
        if self.stream_first and log.covers(batch.seq_first, last):
            # It came back before whoever sent it out was told that it had arrived (invariant 1).
            return Applied(self.feed_last, batch, own.signature, own=True)
        span = Span(batch.seq_first, last, batch.prev_digest, own.digest)
        return self._apply(batch, own.signature, log, span, own=True)

    def receive(self, raw: bytes, signature: bytes, now_ms: int, void_first: int = 0) -> Outcome:
        """Check and apply a batch from a peer. Raises a ProtocolError when the batch breaks a rule, StoreFull.

        void_first: above 0, what is missing from there up to the batch is a void, by the word of who sent it.
        """
        if len(raw) > BATCH_BYTES_MAX:
            raise OversizedMessage(f"a batch of {len(raw)} bytes")
        if len(signature) != SIGNATURE_BYTES:
            raise BadSignature("a batch without a whole signature")
        batch = decode_batch(raw)
        try:
            decided = check(batch, self.identity.netuid, self.identity.genesis, self._authority)
        except (Unauthorised, StaleMessage):
            # Only its signature makes this the fault of its origin, and not of whoever sent it.
            if not verify_preimage(batch.account, preimage(signing.BATCH, raw), signature):
                raise BadSignature("a batch whose signature does not verify") from None
            self.frozen.accuse((raw, signature))
            raise
        origin = Origin(batch.account, batch.generation)
        log = self._log(batch.space, origin)
        last = batch.seq_first + batch.count - 1
        signed = preimage(signing.BATCH, raw)
        covered = log.covers(batch.seq_first, last)
        if covered:
            if signed[-32:] in self._seen:
                return self._count(Outcome.DUPLICATE)
            held = self._store.get(Column.LOG, schema.log_key(batch.space, origin, batch.seq_first))
            if held is not None and held[SIGNATURE_BYTES:] == raw:
                return self._count(Outcome.DUPLICATE)
        if self._holds.knows(raw):
            return self._count(Outcome.HELD)
        if not verify_preimage(batch.account, signed, signature):
            raise BadSignature("a batch whose signature does not verify")
        if batch.space not in self._spaces:
            return self._count(Outcome.LEFT)
        due_ms = time_ms_of(batch.hlc_first + batch.count - 1) - CLOCK_AHEAD_MS
        if not decided or due_ms > now_ms:
            kept = self._holds.add(
                batch.account,
                raw,
                signature,
                due_ms if decided else now_ms + CLOCK_AHEAD_MS,
                undecided=not decided,
            )
            return self._count(Outcome.HELD if kept else Outcome.LEFT)
        if not log.spans and self._generations(batch.space, batch.account) >= GENERATIONS_MAX:
            return self._count(Outcome.LEFT)
        rights = self._authority.rights(batch.epoch, batch.account, batch.space)
        if rights is None or not self._quotas.check(batch, rights, log):
            return self._count(Outcome.LEFT)
        limit = self.seals.limit(batch.space, origin, batch.epoch)
        if self.frozen.reaches(batch.space, origin, last) or (limit is not None and last > limit):
            return self._count(Outcome.LEFT)
        span = voids.joined(
            log, Span(batch.seq_first, last, batch.prev_digest, signed[-32:]), 0 if covered else void_first
        )
        opens = not covered and span.first > 1 and all(one.last + 1 != span.first for one in log.spans)
        if log.gaps >= GAPS_PER_ORIGIN_MAX and opens:
            return self._count(Outcome.LEFT)
        self._apply(batch, signature, log, span, own=self.stream_first and origin == self.origin)
        return self._count(Outcome.APPLIED)

    def release(self, now_ms: int) -> int:
        """Try again what was held and is due. Returns how many batches were applied."""
        applied = 0
        for raw, signature in self._holds.due(now_ms):
            try:
                applied += self.receive(raw, signature, now_ms) is Outcome.APPLIED
            except ProtocolError as error:
                # The relayer is long gone; the batch was signed, so this is its origin's fault.
                self.counts[f"refused-{error.reason}"] += 1
        return applied

    def known(self, now_ms: int) -> int:
        """An epoch or a block has become known: try again what waited for one. Returns how many were applied."""
        self._holds.hurry()
        return self.release(now_ms)

    @property
    def held(self) -> int:
        """Batches waiting in memory."""
        return len(self._holds)

    def seal(self, now_ms: int) -> int:
        """Attest and give up what the seals of departed writers ask for. Returns how many batches were given up."""
        self.seals.look()
        said = self.seals.due(self.origin.account, self._logs)
        for at in range(0, len(said), BATCH_CHANGES_MAX):
            rows = [
                (SEALS, int(Op.PUT), one.key, value.value_bytes(one.heads))
                for one in said[at : at + BATCH_CHANGES_MAX]
            ]
            self.attest(rows, now_ms)
        given_up = 0
        for cut in self.seals.cuts(self._logs):
            rebuild.begin(self._store, cut)
            self._carry_out(cut)
            given_up += len(cut.log_keys)
        return given_up

    async def rederive(self, space: str, row_keys: Collection[bytes]) -> int:
        """Make the rows of these keys anew from the log; how many were wrong. See `repair`."""
        wrong = await repair.rederive(self._store, space, row_keys, self._table_prefixes)
        if wrong:
            write = self._store.batch()
            feed.mark_rewound(self._store, space, write)
            self._store.commit(write)
            self._rewound()
            # It may have learnt the clock of a row that was damaged. Without it rows are read: slower, never wrong.
            self._index.clear()
        return wrong

    def _carry_out(self, cut: Cut) -> None:
        kept = rebuild.carry_out(self._store, cut, self._table_prefixes)
        self._index.clear()
        self._seen = SeenSet(SEEN_MAX)
        self._quotas = Quotas(self._store)
        if kept.spans:
            self._logs.setdefault(cut.space, {})[cut.origin] = kept
        else:
            self._logs.get(cut.space, {}).pop(cut.origin, None)
        self._digests.pop(cut.space, None)
        self._vectors.pop(cut.space, None)
        self.counts["given-up"] += len(cut.log_keys)
        self._rewound()
        if cut.origin == self.origin:
            # Its numbers were signed once: they are not signed again, whatever became of the batches.
            self.own_log_cut = True
            backup.renew_identity(self._store, self.identity)

    def _rewound(self) -> None:
        self.feed_last = feed.last_index(self._store)
        for callback in self.on_rewound:
            callback(self.feed_last)

    # --- inside -----------------------------------------------------------------------------------------

    def _require_own_log(self) -> None:
        if self.own_log_cut:
            raise StoreError(
                "what this node had written and nobody had received was given up when its log was sealed: "
                "restart it, and it goes on under a new generation"
            )

    def _count(self, outcome: Outcome) -> Outcome:
        self.counts[outcome.value] += 1
        return outcome

    def _log(self, space: str, origin: Origin) -> OriginLog:
        log = self._logs.get(space, {}).get(origin)
        return log if log is not None else OriginLog()

    def _generations(self, space: str, account: bytes) -> int:
        logged = {origin for origin in self._logs.get(space, ()) if origin.account == account}
        return len(logged | self.frozen.generations(space, account))

    def _get(self, column: int, keys: list[bytes]) -> list[bytes | None]:
        return self._store.get_many(Column(column), keys)

    def bridge(self, space: str, origin: Origin, first: int, last: int) -> int:
        """Take the gaps in an origin's log within first..last for voids; how many numbers that adds. StoreError.

        On the word of others: what they left out that is not superseded, comparing rows must find.
        """
        grown, added = voids.bridge(self._log(space, origin), first, last)
        if added:
            write = self._store.batch()
            column = self._store.column(Column.VECTOR)
            write.put(schema.vector_key(space, origin), grown.encode(), column)
            self.note_void(space, write)
            self._store.commit(write)
            self._set_log(space, origin, grown)
        return added

    def note_void(self, space: str, write: WriteBatch) -> None:
        """Let a write say that the space has voids, if it is the first that makes one."""
        if space not in self.voided:
            write.put(schema.META_VOIDS + space.encode(), b"", self._store.column(Column.META))
            self.voided.add(space)

    def _set_log(self, space: str, origin: Origin, grown: OriginLog) -> None:
        self._logs.setdefault(space, {})[origin] = grown
        self._digests.pop(space, None)
        self._vectors.pop(space, None)

    def _grown(self, batch: Batch, signature: bytes, log: OriginLog, span: Span) -> OriginLog:
        """The log with a batch in it: behind what is held, beyond a gap, or in a void. Equivocation."""
        found: int | None = None
        if log.covers(batch.seq_first, span.last):
            found = voids.conflict(self._store, batch, span.digest)
            if found is None:
                return log
        else:
            try:
                return OriginLog(log.added(span))
            except ForkError as fork:
                # With voids about, the number that is in dispute need not be one of the batch that disputes it.
                found = voids.conflict(self._store, batch, span.digest) or fork.seq
        self.frozen.fork(batch, signature, found)
        raise Equivocation(f"two batches of one origin contradict each other at {found}") from None

    def _apply(self, batch: Batch, signature: bytes, log: OriginLog, span: Span, *, own: bool) -> Applied:
        origin = Origin(batch.account, batch.generation)
        grown = self._grown(batch, signature, log, span)
        prefixes, merges = self._table_prefixes(batch.space, batch.tables)
        store = self._store
        write = store.batch()
        live, dead = store.column(Column.LIVE), store.column(Column.DEAD)
        plan = merge.resolve(
            self._index,
            batch.raw,
            batch.spans,
            prefixes,
            merges,
            batch.account,
            batch.generation,
            batch.seq_first,
            batch.hlc_first,
            self._get,
        )
        hlc_last = max(self.clock.last, batch.hlc_first + batch.count - 1)
        log_key = schema.log_key(batch.space, origin, batch.seq_first)
        index = self.feed_last + 1
        try:
            plan.emit(write.put, write.delete, (live, dead))
            write.put(log_key, signature + batch.raw, store.column(Column.LOG))
            write.put(schema.vector_key(batch.space, origin), grown.encode(), store.column(Column.VECTOR))
            write.put(schema.feed_key(index), feed.encode(log_key, plan.winners), store.column(Column.FEED))
            write.put(schema.META_CLOCK, hlc_last.to_bytes(8, "big"), store.column(Column.META))
            if span.first < batch.seq_first:
                self.note_void(batch.space, write)
            store.commit(write)
        except BaseException:
            # The index already counts the batch's rows. Empty, it is merely slower, and never wrong.
            self._index.clear()
            raise
        self._set_log(batch.space, origin, grown)
        self._seen.add(span.digest)
        self.clock.observe(hlc_last)
        self.feed_last = index
        self.counts["changes"] += batch.count
        applied = Applied(index, batch, signature, own)
        if batch.space == SYS:
            self.seals.written(batch)
        for callback in self.on_applied:
            callback(applied)
        return applied

    def _table_prefixes(self, space: str, tables: tuple[tuple[str, int], ...]) -> tuple[list[bytes], bytes]:
        cache = self._prefixes.setdefault(space, {})
        found = cache.get(tables)
        if found is None:
            if len(cache) >= TABLE_SETS_MAX:
                cache.clear()
            found = (
                [schema.table_prefix(space, name, merge_type) for name, merge_type in tables],
                bytes(merge_type for _, merge_type in tables),
            )
            cache[tables] = found
        return found

    def _give_up(self, proven: Proven) -> None:
        cut = self.frozen.cut(proven.space, proven.origin)
        if cut is not None:
            rebuild.begin(self._store, cut)
            self._carry_out(cut)
        elif proven.origin == self.origin:
            self.own_log_cut = True
            backup.renew_identity(self._store, self.identity)

    def _load(self, index_entries_max: int) -> None:
        for key, spans in self._store.scan(Column.VECTOR, b"", None):
            space, origin = schema.parse_vector_key(key)
            self._logs.setdefault(space, {})[origin] = OriginLog.decode(spans)
        room = index_entries_max
        for column in (Column.LIVE, Column.DEAD):
            for prefix in self.table_prefixes(column):
                if prefix[-1] in (MergeType.LWW, MergeType.OWN, MergeType.SET):
                    rows = self._store.scan(column, prefix, after_prefix(prefix))
                    room -= self._index.load(islice(rows, room + 1), column is Column.DEAD)
                    if room < 0:
                        self._index.clear()
                        return

    def table_prefixes(self, column: Column = Column.LIVE) -> Iterator[bytes]:
        """The prefix of every table that has a row in the column: space, name and merge type."""
        start: bytes | None = b""
        while start is not None:
            row = next(iter(self._store.scan(column, start, None)), None)
            if row is None:
                return
            space, name, rest = row[0].split(b"\0", 2)
            prefix = b"%b\0%b\0%b" % (space, name, rest[:1])
            yield prefix
            start = after_prefix(prefix)


__all__ = ["SIGNATURE_BYTES", "Applied", "Engine", "Outcome"]
