"""What becomes of a message of a stream, and how far all is settled: against an obvious oracle, and an engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import pairwise

import kit
import pytest
from database.accesskit import EPOCH_MS, FIRST, Chain, epoch, replica
from hypothesis import given
from hypothesis import strategies as st

from mycelium._core.codec import decode_batch
from mycelium.config import replica as limits
from mycelium.database.memory import MemoryStore
from mycelium.database.outcome import Outcome
from mycelium.database.store import Column
from mycelium.errors import BadSignature, Overloaded, StoreFull
from mycelium.identity import account as accounts
from mycelium.identity import signing
from mycelium.jetstream import layout
from mycelium.jetstream.intake import UNREAD, Intake, Taken

NOW_MS = kit.NOW_MS
HOUR_MS = 3_600_000
SUBJECT = "myc.7.00010203.main.aa.01"


@dataclass
class Scripted:
    """A library that says of each batch what the test says of it now."""

    says: dict[bytes, object] = field(default_factory=dict)
    gone: dict[bytes, str] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)

    def receive(self, raw, signature, now_ms, void_first=0):
        self.asked.append(raw)
        found = self.says[raw]
        if isinstance(found, Exception):
            raise found
        return found

    def never(self, batch):
        return self.gone.get(batch.raw)


def intake_of(library: Scripted, **more) -> Intake:
    return Intake(library, "main", never=library.never, **more)


BATCHES = [kit.forge(kit.engine("a"), seq_first=number + 1)[0] for number in range(24)]
WORDS = {
    "applied": Outcome.APPLIED,
    "duplicate": Outcome.DUPLICATE,
    "held": Outcome.HELD,
    "left": Outcome.LEFT,
    "refused": BadSignature("no"),
}
WORD = st.sampled_from(sorted(WORDS))


@given(st.lists(st.tuples(WORD, st.integers(1, 3), st.booleans()), max_size=len(BATCHES)), st.data())
def test_the_position_is_below_all_that_waits(offers, data):
    """The oracle: every sequence up to the position was settled, and the next one was not."""
    library, settled, sequence = Scripted(), {}, 0
    intake = intake_of(library)
    for number, (word, step, again) in enumerate(offers):
        sequence += step
        raw = BATCHES[number]
        library.says[raw] = WORDS[word]
        intake.take(sequence, raw, bytes(64), NOW_MS)
        settled[sequence] = word not in ("held", "left")
        if again:
            for at, (known, done) in enumerate(list(settled.items())):
                if not done:
                    turned = data.draw(WORD)
                    library.says[BATCHES[at]] = WORDS[turned]
                    settled[known] = turned not in ("held", "left")
            intake.retry(NOW_MS, hurry=True)
        open_at = [known for known, done in settled.items() if not done]
        assert intake.position == (min(open_at) - 1 if open_at else sequence)
        assert intake.waiting == len(open_at)
        assert intake.read == sequence


def test_what_was_read_is_not_read_again():
    library = Scripted({BATCHES[0]: Outcome.APPLIED})
    intake = intake_of(library, position=7)
    assert intake.take(7, BATCHES[0], bytes(64), NOW_MS) is Taken.SKIPPED
    assert intake.message(6, SUBJECT, b"", NOW_MS) is Taken.SKIPPED
    assert not library.asked
    assert intake.take(8, BATCHES[0], bytes(64), NOW_MS) is Taken.APPLIED


def test_no_more_is_taken_when_too_much_waits(monkeypatch):
    monkeypatch.setattr("mycelium.jetstream.intake.INTAKE_WAITING_MAX", 2)
    library = Scripted(dict.fromkeys(BATCHES, Outcome.LEFT))
    intake = intake_of(library)
    for sequence in (1, 2):
        intake.take(sequence, BATCHES[sequence], bytes(64), NOW_MS)
    assert intake.full
    with pytest.raises(Overloaded, match="2 batches of 'main' wait"):
        intake.take(3, BATCHES[3], bytes(64), NOW_MS)
    assert (intake.read, intake.position, intake.waiting) == (2, 0, 2)
    # What can be taken is taken all the same.
    library.says[BATCHES[3]] = Outcome.APPLIED
    assert intake.take(3, BATCHES[3], bytes(64), NOW_MS) is Taken.APPLIED
    library.says[BATCHES[1]] = library.says[BATCHES[2]] = Outcome.DUPLICATE
    assert intake.retry(NOW_MS, hurry=True) == 2
    assert not intake.full
    assert intake.position == 3


def test_bytes_that_wait_are_bounded_too(monkeypatch):
    monkeypatch.setattr("mycelium.jetstream.intake.INTAKE_WAITING_BYTES_MAX", len(BATCHES[0]) + 1)
    intake = intake_of(Scripted(dict.fromkeys(BATCHES, Outcome.HELD)))
    intake.take(1, BATCHES[0], bytes(64), NOW_MS)
    assert not intake.full
    intake.take(2, BATCHES[1], bytes(64), NOW_MS)
    assert intake.full


def test_tries_become_rarer_while_nothing_changes():
    library = Scripted({BATCHES[0]: Outcome.LEFT})
    intake = intake_of(library)
    intake.take(1, BATCHES[0], bytes(64), NOW_MS)
    tried, now_ms = [], NOW_MS
    while now_ms < NOW_MS + 200_000:
        before = len(library.asked)
        intake.retry(now_ms)
        if len(library.asked) > before:
            tried.append(now_ms)
        now_ms += 250
    gaps = [after - before for before, after in pairwise(tried)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == limits.INTAKE_RETRY_MAX_MS
    # A clock that is set back puts nothing off.
    before = len(library.asked)
    intake.retry(NOW_MS - HOUR_MS)
    assert len(library.asked) == before + 1


def test_a_store_that_is_full_loses_nothing():
    library = Scripted(dict.fromkeys(BATCHES, Outcome.LEFT))
    intake = intake_of(library)
    for sequence in (1, 2, 3):
        intake.take(sequence, BATCHES[sequence], bytes(64), NOW_MS)
    library.says |= {BATCHES[1]: Outcome.APPLIED, BATCHES[2]: StoreFull("full")}
    with pytest.raises(StoreFull):
        intake.retry(NOW_MS, hurry=True)
    assert (intake.position, intake.waiting) == (1, 2)
    library.says[BATCHES[4]] = StoreFull("full")
    with pytest.raises(StoreFull):
        intake.take(4, BATCHES[4], bytes(64), NOW_MS)
    assert intake.read == 3
    library.says = dict.fromkeys(BATCHES, Outcome.APPLIED)
    assert intake.take(4, BATCHES[4], bytes(64), NOW_MS) is Taken.APPLIED
    assert intake.retry(NOW_MS, hurry=True) == 2
    assert intake.position == 4


def test_a_restart_reads_what_waits_again():
    library = Scripted({BATCHES[0]: Outcome.LEFT, BATCHES[1]: Outcome.APPLIED})
    intake = intake_of(library)
    intake.take(0, BATCHES[0], bytes(64), NOW_MS)
    intake.take(9, BATCHES[1], bytes(64), NOW_MS)
    assert intake.position == UNREAD, "no stream brings it again: a restart has to begin anew"
    library.says[BATCHES[0]] = Outcome.APPLIED
    intake.retry(NOW_MS, hurry=True)
    assert intake.position == 9


def test_another_stream_keeps_what_waits():
    library = Scripted({BATCHES[0]: Outcome.LEFT, BATCHES[1]: Outcome.APPLIED})
    intake = intake_of(library)
    intake.take(40, BATCHES[0], bytes(64), NOW_MS)
    intake.restart(3)
    assert (intake.read, intake.position, intake.waiting) == (3, UNREAD, 1)
    assert intake.take(4, BATCHES[1], bytes(64), NOW_MS) is Taken.APPLIED
    library.says[BATCHES[0]] = Outcome.APPLIED
    intake.retry(NOW_MS, hurry=True)
    assert intake.position == 4


def test_what_waits_the_longest_is_named():
    author = accounts.format(kit.keypair("a").account)
    intake = intake_of(Scripted(dict.fromkeys(BATCHES, Outcome.LEFT)))
    assert intake.oldest() is None
    intake.take(5, BATCHES[0], bytes(64), NOW_MS)
    intake.take(6, BATCHES[1], bytes(64), NOW_MS + 9)
    assert intake.oldest() == (5, author, NOW_MS)


# --- with an engine -----------------------------------------------------------------------------------------


def written(count: int, name: str = "a"):
    """An author, and messages of its batches."""
    author = kit.engine(name)
    applied = [kit.write(author, kit.put(f"{name}{number}")) for number in range(count)]
    return author, [layout.body(one.batch.raw, one.signature) for one in applied]


def given_all(intake: Intake, bodies, first: int = 1, now_ms: int = NOW_MS) -> list[Taken]:
    return [intake.message(first + at, SUBJECT, body, now_ms) for at, body in enumerate(bodies)]


def test_batches_are_applied_and_repeats_are_not():
    author, bodies = written(5)
    reader = kit.engine("reader")
    intake = Intake(reader, "main")
    assert given_all(intake, bodies) == [Taken.APPLIED] * 5
    assert given_all(intake, bodies, first=6) == [Taken.DUPLICATE] * 5
    assert reader.vector("main") == author.vector("main")
    assert kit.rows(reader._store) == kit.rows(author._store)
    assert intake.position == 10


def damaged(kind: str, body: bytes) -> bytes:
    author = kit.engine("a")
    if kind == "short":
        return body[:60]
    if kind == "empty":
        return b""
    if kind == "noise":
        return bytes(64) + b"no batch at all"
    if kind == "altered":
        return body[:-1] + bytes((body[-1] ^ 1,))
    if kind == "forged":
        raw = body[64:]
        return layout.body(raw, kit.keypair("thief").sign(signing.BATCH, raw))
    if kind == "foreign":
        return layout.body(*kit.forge(author, netuid=8))
    if kind == "stale":
        return layout.body(*kit.forge(author, hlc_first=(NOW_MS - 3 * HOUR_MS) << 16))
    raise AssertionError(kind)


REASONS = {
    "short": "malformed",
    "empty": "malformed",
    "noise": "malformed",
    "altered": ("bad-signature", "malformed"),
    "forged": "bad-signature",
    "foreign": "wrong-network",
    "stale": "stale",
}


@pytest.mark.parametrize("kind", sorted(REASONS))
def test_what_breaks_a_rule_is_named_once_and_passed_over(kind, caplog):
    author, bodies = written(3)
    reader = kit.engine("reader")
    intake = Intake(reader, "main")
    with caplog.at_level(logging.WARNING):
        found = given_all(intake, [bodies[0], damaged(kind, bodies[1]), *bodies[1:]])
    assert found == [Taken.APPLIED, Taken.REFUSED, Taken.APPLIED, Taken.APPLIED]
    assert intake.position == 4
    assert reader.vector("main") == author.vector("main")
    (refusal,) = intake.refusals
    assert (refusal.sequence, refusal.subject) == (2, SUBJECT)
    assert refusal.reason in REASONS[kind]
    assert dict(intake.refused) == {refusal.reason: 1}
    assert len(caplog.records) == 1
    assert "message 2 of the stream of 'main' is refused" in caplog.text
    assert SUBJECT in caplog.text


def test_a_flood_of_refusals_does_not_flood_the_log(caplog):
    intake = Intake(kit.engine("reader"), "main")
    with caplog.at_level(logging.WARNING):
        given_all(intake, [b"x" * 100] * 500)
    assert len(caplog.records) == 1
    assert intake.refused["malformed"] == 500
    assert len(intake.refusals) == limits.INTAKE_REFUSALS_KEPT


def test_an_unknown_epoch_waits_and_is_applied_when_it_is_known():
    author, bodies = written(4)
    chain = kit.FixedAuthority(blocks_known=0)
    reader = kit.engine("reader", authority=chain)
    intake = Intake(reader, "main")
    assert given_all(intake, bodies) == [Taken.WAITS] * 4
    assert (intake.position, intake.read) == (0, 4)
    chain.blocks_known = 2**62
    reader.known(NOW_MS)
    assert intake.retry(NOW_MS, hurry=True) == 4
    assert intake.position == 4
    assert reader.vector("main") == author.vector("main")


def test_a_batch_ahead_of_the_clock_waits_until_it_is_due():
    author = kit.engine("a")
    one = kit.write(author, kit.put("k"), now_ms=NOW_MS + 60_000)
    reader = kit.engine("reader")
    intake = Intake(reader, "main")
    assert intake.message(1, SUBJECT, layout.body(one.batch.raw, one.signature), NOW_MS) is Taken.WAITS
    reader.release(NOW_MS)
    intake.retry(NOW_MS, hurry=True)
    assert intake.position == 0
    reader.release(NOW_MS + 60_000)
    intake.retry(NOW_MS + 60_000, hurry=True)
    assert intake.position == 1
    assert kit.rows(reader._store) == kit.rows(author._store)


def test_two_histories_freeze_their_origin_as_on_any_node():
    store = MemoryStore()
    one = kit.engine("a", store)
    first = kit.write(one, kit.put("k"))
    store.sync()
    # The same origin once more, from the same store as it was before the second batch.
    other = kit.engine("a", store.copy())
    second, contrary = kit.write(one, kit.put("x")), kit.write(other, kit.put("y"))
    reader = kit.engine("reader")
    intake = Intake(reader, "main")
    bodies = [layout.body(each.batch.raw, each.signature) for each in (first, second, contrary)]
    assert given_all(intake, bodies) == [Taken.APPLIED, Taken.APPLIED, Taken.REFUSED]
    assert intake.refusals[-1].reason == "equivocation"
    assert reader.frozen.get("main", one.origin).at == 2
    assert len(kit.rows(reader._store, Column.EVIDENCE)) == 1
    # Whoever comes later with more of it is passed over, and stops nobody.
    third = kit.write(one, kit.put("z"))
    assert intake.message(4, SUBJECT, layout.body(third.batch.raw, third.signature), NOW_MS) is Taken.PASSED
    assert (intake.position, dict(intake.passed)) == (4, {"frozen": 1})


def test_a_space_that_is_not_followed_is_passed_over():
    author = kit.engine("a")
    raw, signature = kit.forge(author, space="elsewhere")
    intake = Intake(kit.engine("reader"), "main")
    assert intake.take(1, raw, signature, NOW_MS) is Taken.PASSED
    assert (intake.position, dict(intake.passed)) == (1, {"space": 1})


def test_too_many_generations_of_one_account_are_passed_over():
    reader = kit.engine("reader")
    intake = Intake(reader, "main")
    author = kit.engine("a")
    found = []
    for generation in range(1, 19):
        raw, signature = kit.forge(author, generation=generation)
        found.append(intake.take(generation, raw, signature, NOW_MS))
    assert found == [Taken.APPLIED] * 16 + [Taken.PASSED] * 2
    assert decode_batch(raw).generation == 18
    assert intake.position == 18


def test_a_void_is_taken_with_the_batch_behind_it():
    author, bodies = written(5)
    reader = kit.engine("reader")
    intake = Intake(reader, "main")
    for at, void_first in ((1, 1), (4, 3)):
        raw, signature = layout.parse(bodies[at])
        assert intake.take(0, raw, signature, NOW_MS, void_first=void_first) is Taken.APPLIED
    assert reader.vector("main") == author.vector("main")
    assert "main" in reader.voided


# --- the log of a writer that departed ----------------------------------------------------------------------

ALL = dict.fromkeys("abcd", "validator")
EPOCHS = {FIRST + at: epoch(FIRST + at, ALL if at < 1 else ALL | {"d": "miner"}) for at in range(5)}


class Departed:
    """d wrote four batches and departed; a, b and c hold `given` of them and attest that; the reader follows both."""

    def __init__(self, given: dict[str, int]) -> None:
        self.chains = {name: Chain(dict(EPOCHS)) for name in (*"abcd", "reader")}
        self.engines = {name: replica(name, chain) for name, chain in self.chains.items()}
        self.enter(FIRST)
        author = self.engines["d"]
        written = [author.originate("main", [kit.put(f"k{n}")], self.now_ms) for n in range(4)]
        self.origin, self.batches = author.origin, [(one.batch.raw, one.signature) for one in written]
        for name, count in given.items():
            for raw, signature in self.batches[:count]:
                self.engines[name].receive(raw, signature, self.now_ms)
        self.reader = self.engines["reader"]
        self.main, self.sys = Intake(self.reader, "main"), Intake(self.reader, "sys")

    def enter(self, number: int) -> None:
        for chain in self.chains.values():
            chain.known = set(range(FIRST, number + 1))
        self.now_ms = NOW_MS + (number - FIRST) * EPOCH_MS + 1_000

    def attest(self, *names: str) -> None:
        """Of those, and each word goes through the stream of `sys`."""
        for name in names:
            self.engines[name].seal(self.now_ms)
            for _, raw, signature in self.engines[name].log_records("sys", self.engines[name].origin, 0, 99):
                self.sys.take(self.sys.read + 1, raw, signature, self.now_ms)

    def read(self) -> list[Taken]:
        """All four batches, from a stream that has them."""
        return [self.main.take(self.main.read + 1, *one, self.now_ms) for one in self.batches]


def test_what_lies_beyond_a_seal_waits_until_that_is_settled_and_is_passed_over_then():
    world = Departed({"a": 2, "b": 2, "c": 1})
    world.enter(FIRST + 2)
    world.attest("a")
    assert world.read() == [Taken.WAITS] * 4, "one word is no majority"
    world.attest("b", "c")
    assert world.main.retry(world.now_ms, hurry=True) == 2
    assert world.reader.head("main", world.origin) == 2
    assert world.main.position == 2, "a word may still come that raises the seal"
    world.enter(FIRST + 3)
    assert world.main.retry(world.now_ms, hurry=True) == 2
    assert (world.main.position, dict(world.main.passed)) == (4, {"sealed": 2})
    assert world.reader.head("main", world.origin) == 2


def test_what_was_read_before_the_seal_is_given_up_as_on_any_node():
    world = Departed({"a": 2, "b": 2, "c": 2})
    assert world.read() == [Taken.APPLIED] * 4
    world.enter(FIRST + 2)
    world.attest("a", "b", "c")
    world.enter(FIRST + 3)
    world.reader.seal(world.now_ms)
    assert world.reader.head("main", world.origin) == 2
    assert world.main.position == 4
