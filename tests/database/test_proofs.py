"""Proofs: what proves something and what does not, what a frozen origin still is, and that all agree about it."""

from __future__ import annotations

import random
from itertools import pairwise

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import forge

from mycelium.config import GENERATIONS_MAX
from mycelium.database import backup, proofs
from mycelium.database.engine import Outcome
from mycelium.database.memory import MemoryStore
from mycelium.database.proofs import judge
from mycelium.database.store import Column
from mycelium.database.sync import SyncMachine
from mycelium.database.vector import ZERO_DIGEST
from mycelium.errors import (
    BadSignature,
    Equivocation,
    MalformedMessage,
    ProtocolError,
    StaleMessage,
    StoreError,
    Unproven,
    WrongNetwork,
)
from mycelium.identity import signing
from mycelium.identity.keys import digest
from mycelium.protocol.messages import MergeType, Op, Proof

NOW = kit.NOW_MS
HOUR_MS = 3_600_000


def put(key, side):
    return [(0, int(Op.PUT), key.encode(), b"\0" + side.encode())]


def history(author, sides):
    """A chain of signed batches of one change each; sides: what each says."""
    found, before = [], ZERO_DIGEST
    for at, side in enumerate(sides):
        batch = forge(author, put(f"k{at}", side), seq_first=at + 1, prev_digest=before)
        found.append(batch)
        before = digest(batch[0])
    return found


def judged(*batches):
    return judge(Proof(*batches).encode(), kit.NETUID, kit.GENESIS, kit.FixedAuthority())


def give(engine, batches):
    for batch in batches:
        engine.receive(*batch, NOW)


# --- what proves something --------------------------------------------------------------------------------


def test_two_batches_of_one_number():
    liar = kit.engine("liar")
    first, second = forge(liar, put("k", "one")), forge(liar, put("k", "two"))
    proven = judged(first, second)
    assert (proven.space, proven.origin, proven.at, proven.what) == ("main", liar.origin, 1, "equivocation")
    assert proven.exact
    assert judged(second, first).at == 1


@pytest.mark.parametrize(
    ("fields", "at", "exact"),
    [
        ({"seq_first": 3, "prev_digest": b"x" * 32}, 3, False),
        ({"seq_first": 1, "changes": put("a", "b") * 3}, 1, True),
        ({"seq_first": 2, "changes": put("a", "b") * 5, "prev_digest": b"x" * 32}, 2, False),
    ],
    ids=["does not follow", "longer", "within"],
)
def test_other_ways_to_contradict(fields, at, exact):
    liar = kit.engine("liar")
    proven = judged(forge(liar, put("k", "one") * 2), forge(liar, **fields))
    assert (proven.at, proven.exact) == (at, exact)


def test_one_batch_that_breaks_a_rule():
    liar = kit.engine("liar")
    assert judged(forge(liar, hlc_first=(NOW - 2 * HOUR_MS) << 16)).what == "stale"
    assert judged(forge(liar, epoch=1)).what == "stale"
    own = {"tables": [("profile", int(MergeType.OWN))]}
    assert judged(forge(liar, put("5F/other", "x"), **own)).what == "unauthorised"
    assert judged(forge(liar, prev_digest=b"x" * 32)).what == "equivocation"


def test_what_proves_nothing():
    liar, other = kit.engine("liar"), kit.engine("other")
    first, second = forge(liar, put("k", "one")), forge(liar, put("k", "two"))
    refused = [
        ((first, first), MalformedMessage),
        ((first, forge(other)), MalformedMessage),
        ((first, forge(liar, space="other")), MalformedMessage),
        ((first, forge(liar, generation=1)), MalformedMessage),
        ((first, forge(liar, seq_first=2, prev_digest=digest(first[0]))), MalformedMessage),
        ((first, forge(liar, seq_first=9, prev_digest=b"x" * 32)), MalformedMessage),
        ((first, (second[0], first[1])), BadSignature),
        (((second[0], bytes(64)), first), BadSignature),
        ((forge(liar, netuid=8), forge(liar, put("k", "x"), netuid=8)), WrongNetwork),
        ((forge(liar, genesis=bytes(32)), second), WrongNetwork),
        ((first,), Unproven),
        (((b"\7" * 80, bytes(64)), second), MalformedMessage),
    ]
    for batches, error in refused:
        with pytest.raises(error):
            judged(*batches)
    with pytest.raises(MalformedMessage):
        judge(b"\7" * 80, kit.NETUID, kit.GENESIS, kit.FixedAuthority())


def test_what_members_decide_is_no_proof():
    """A members file speaks for all epochs: who is taken out of it wrote rightly before."""
    liar = kit.engine("liar")
    reader = kit.engine("b", authority=kit.FixedAuthority(writers=set()))
    with pytest.raises(ProtocolError, match="may not"):
        reader.receive(*forge(liar), NOW)
    assert len(reader.frozen) == 0


def test_a_block_that_is_not_known_yet_decides_nothing():
    liar = kit.engine("liar")
    early = kit.FixedAuthority(blocks_known=1)
    assert judge(Proof(forge(liar, epoch=1)).encode(), kit.NETUID, kit.GENESIS, early) is None


def test_a_batch_that_breaks_a_rule_freezes_its_origin():
    liar, reader = kit.engine("liar"), kit.engine("b")
    give(reader, history(liar, "ab"))
    bad = forge(liar, seq_first=3, epoch=1, prev_digest=digest(history(liar, "ab")[1][0]))
    with pytest.raises(StaleMessage):
        reader.receive(*bad, NOW)
    assert reader.frozen.get("main", liar.origin).at == 3
    assert reader.head("main", liar.origin) == 2, "what came before is as right as it was"
    assert reader.receive(*history(liar, "abc")[2], NOW) is Outcome.LEFT


# --- what a frozen origin still is ------------------------------------------------------------------------


def test_it_stays_so_after_a_restart_also_one_in_the_midst_of_it():
    liar, store = kit.engine("liar"), MemoryStore()
    reader = kit.engine("b", store)
    left, right = history(liar, "aaaa"), history(liar, "aabb")
    give(reader, left)
    # As if the node were killed between the proof and what follows from it.
    reader.frozen._give_up = lambda proven: None
    with pytest.raises(Equivocation):
        reader.receive(*right[2], NOW)
    assert reader.head("main", liar.origin) == 4
    again = kit.engine("b", store)
    assert again.head("main", liar.origin) == 2
    assert again.receive(*left[2], NOW) is again.receive(*right[2], NOW) is Outcome.LEFT
    assert len(kit.rows(store)) == 2
    third = kit.engine("b", store)
    assert (third.head("main", liar.origin), len(third.frozen)) == (2, 1)


def test_a_proof_that_holds_no_more_is_dropped():
    """A members file with a wrong genesis time made batches of others stale; it was mended."""
    liar, store = kit.engine("liar"), MemoryStore()
    reader = kit.engine("b", store)
    batch = forge(liar, put("k", "v"))
    reader.frozen._write(b"main\0" + liar.origin.account + bytes(8), Proof(batch).encode())
    again = kit.engine("b", store)
    assert len(again.frozen) == 0
    assert kit.rows(store, Column.EVIDENCE) == []
    assert again.receive(*batch, NOW) is Outcome.APPLIED


def test_a_restored_backup_is_another_origin():
    store = MemoryStore()
    writer, reader = kit.engine("a", store), kit.engine("b")
    first = kit.write(writer, kit.put("k", "before"))
    store.sync()
    copied = store.copy()
    second = kit.write(writer, kit.put("k", "lost"))
    backup.renew_identity(copied, backup.read_identity(copied))
    restored = kit.engine("a", copied)
    third = kit.write(restored, kit.put("k", "other"))
    for one in (first, second, third):
        assert reader.receive(one.batch.raw, one.signature, NOW) is Outcome.APPLIED
    assert len(reader.frozen) == 0


def test_a_copied_directory_is_an_equivocator_and_goes_on_under_a_new_generation():
    store = MemoryStore()
    one = kit.engine("a", store)
    kit.write(one, kit.put("both"))
    store.sync()
    other = kit.engine("a", store.copy())
    theirs = kit.write(other, kit.put("k", "theirs"))
    kit.write(one, kit.put("k", "ours"))
    with pytest.raises(Equivocation):
        one.receive(theirs.batch.raw, theirs.signature, NOW)
    with pytest.raises(StoreError, match="restart"):
        kit.write(one, kit.put("more"))
    assert one.own_head("main") == 1
    again = kit.engine("a", store)
    assert again.origin.generation != one.origin.generation
    kit.write(again, kit.put("more"))
    assert again.own_head("main") == 1


def test_the_origins_of_one_account_that_can_be_frozen_are_few():
    reader = kit.engine("b")
    for number in range(2 * GENERATIONS_MAX):
        liar = kit.engine("liar")
        proof = Proof(
            forge(liar, put("k", "1"), generation=number), forge(liar, put("k", "2"), generation=number)
        )
        reader.frozen.accuse(*proof)
    assert len(reader.frozen) == GENERATIONS_MAX
    assert reader.receive(*forge(kit.engine("liar"), generation=99), NOW) is Outcome.LEFT


def test_of_a_space_that_is_not_held_no_proof_is_kept():
    liar, reader = kit.engine("liar"), kit.engine("b")
    reader.frozen.accuse(forge(liar, space="third"), forge(liar, put("k", "x"), space="third"))
    assert len(reader.frozen) == 0


# --- that all agree ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    common=st.integers(0, 3),
    tails=st.lists(st.integers(1, 4), min_size=2, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_who_knows_the_same_proofs_holds_the_same(common, tails, seed):
    """Whatever history each saw first, and in whatever order the proofs come."""
    rng = random.Random(seed)
    liar = kit.engine("liar")
    histories = [history(liar, "c" * common + str(side) * length) for side, length in enumerate(tails)]
    readers = [kit.engine(f"r{at}") for at in range(len(histories))]
    for reader, batches in zip(readers, histories, strict=True):
        give(reader, batches)
    raws = [
        Proof(first[-1], second[common]).encode()
        for first in histories
        for second in histories
        if first is not second and len(first) > common + 1
    ]
    raws += [Proof(first[common], second[common]).encode() for first, second in pairwise(histories)]
    for reader in readers:
        rng.shuffle(raws)
        for raw in raws:
            try:
                reader.frozen.convict(reader.frozen.judge(raw))
            except MalformedMessage:
                assert tails, "some of these pairs do not contradict each other"
    assert {reader.head("main", liar.origin) for reader in readers} == {common}
    assert len({reader.vector_digest("main") for reader in readers}) == 1
    assert len({tuple(kit.rows(reader._store)) for reader in readers}) == 1


@pytest.mark.parametrize("common", [0, 1, 5, 40])
def test_two_long_histories_are_cut_where_they_part(common):
    """Their newest batches show that they differ, and not since when: all of the other one is asked for."""
    liar, a, b = kit.engine("liar"), kit.engine("a"), kit.engine("b")
    give(a, history(liar, "c" * common + "l" * 30))
    give(b, history(liar, "c" * common + "r" * 30))
    exchange = _Sessions(a, b)
    for _ in range(20):
        exchange.round()
    assert a.head("main", liar.origin) == b.head("main", liar.origin) == common
    assert a.vector_digest("main") == b.vector_digest("main")
    assert kit.rows(a._store) == kit.rows(b._store)
    assert not a.doubted("main")
    assert a.frozen.get("main", liar.origin).at == common + 1


class _Sessions:
    """Two engines that ping each other and sync, and tell each other of proofs, as two nodes do."""

    def __init__(self, a, b):
        self.engines = (a, b)
        self.machines = [SyncMachine(one, lambda peer, space: True, ["main", "other"]) for one in (a, b)]
        self.now = NOW + HOUR_MS
        for machine, other in zip(self.machines, (b, a), strict=True):
            machine.peer_up(1, self.now, other.origin.account)
        for one, other in ((a, b), (b, a)):
            one.frozen.on_proof.append(
                lambda proven, other=other: other.frozen.convict(other.frozen.judge(proven.raw))
            )

    def round(self):
        self.now += 30_000
        for at in (0, 1):
            mine, theirs = self.machines[at], self.machines[1 - at]
            request = mine.digest_seen(1, "main", self.engines[1 - at].vector_digest("main"), self.now)
            while request is not None:
                theirs.request(1, request, self.now)
                request = None
                while (response := theirs.pump(1)) is not None:
                    request = mine.response(1, response, self.now) or request


def test_contradict_is_symmetric_and_no_batch_contradicts_itself():
    liar = kit.engine("liar")
    batches = [proofs.decode_batch(raw) for raw, _ in history(liar, "abc") + history(liar, "abd")]
    for one in batches:
        for other in batches:
            found = proofs.contradict(one, other)
            assert found == proofs.contradict(other, one)
            assert found == (one.seq_first == other.seq_first == 3 and one.raw != other.raw)


def test_the_signature_is_of_the_domain_of_batches():
    liar = kit.keypair("liar")
    first, second = forge(kit.engine("liar"), put("k", "1")), forge(kit.engine("liar"), put("k", "2"))
    with pytest.raises(BadSignature):
        judged(first, (second[0], liar.sign(signing.CLAIM, second[0])))
