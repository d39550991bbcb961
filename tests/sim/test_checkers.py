"""Each checker fails when its invariant is broken on purpose, and says how to repeat the run."""

from __future__ import annotations

import pytest
from simkit import SMALL, run_sabotaged, scenario

from mycelium._core import codec
from mycelium.config import OUTBOUND_BYTES_MAX
from mycelium.database.clock import hlc_of
from mycelium.database.memory import MemoryStore
from mycelium.database.policy import Policy
from mycelium.database.proofs import Frozen
from mycelium.database.ranges import EVERYTHING
from mycelium.database.store import Column
from mycelium.database.sync import SyncMachine
from mycelium.database.vector import ZERO_DIGEST, OriginLog, Span
from mycelium.errors import SimulationFailed
from mycelium.identity import signing
from mycelium.identity.keys import Keypair, digest
from mycelium.metagraph.membership import BLOCK_MS, TEMPO
from mycelium.node.blacklisting import Blacklisting
from mycelium.node.dissemination import Dissemination
from mycelium.node.replicator import Replicator
from mycelium.peer.blacklist import Blacklist
from mycelium.protocol.messages import MergeType, Op
from mycelium.sim import run as run_module
from mycelium.sim.crypto import KeyedDigest, signing_with
from mycelium.sim.member import GENESIS, GENESIS_MS, NETUID
from mycelium.sim.run import run
from mycelium.sim.scenario import find

CRASH = SMALL + '[[event]]\nat_ms = 1500\naction = "crash"\npercent = 25\nfor_ms = 500\n'
PARTITION = SMALL + '[[event]]\nat_ms = 500\naction = "partition"\npercent = 50\nfor_ms = 1500\n'
PRIVATE = SMALL.replace("settle_ms", "private_percent = 50\nsettle_ms") + 'tables = ["scores", "secrets"]\n'


def fails(found, sabotage=None, **options):
    """The text of the failure."""
    with pytest.raises(SimulationFailed) as caught:
        if sabotage is None:
            run(found, 1)
        else:
            run_sabotaged(found, sabotage, **options)
    return str(caught.value)


def test_without_sabotage_nothing_fails(tmp_path):
    for text in (SMALL, CRASH, PARTITION, PRIVATE):
        found = scenario(tmp_path, text)
        assert run_sabotaged(found, lambda world: None).summary.deliveries > 0


def test_a_failure_says_how_to_repeat_it(tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryStore, "crash", forgets)
    found = scenario(tmp_path, CRASH)
    text = fails(found)
    assert "seed 1;" in text
    assert f"mycelium sim run {found.target} --nodes 4 --seed 1" in text
    assert " s, " in text.split("(at ")[1]
    assert fails(found) == text, "and the repetition fails alike"


def forgets(store, lost=None):
    """A disk that did not keep what it said was synced."""
    del lost
    store._synced = store._synced[:2]
    store._closed = True
    return store._with([])


def test_1_a_durable_batch_that_a_crash_took_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryStore, "crash", forgets)
    text = fails(scenario(tmp_path, CRASH))
    assert "invariant 1 is broken" in text
    assert "lost a batch that was durable" in text


def test_1_what_is_applied_twice_is_seen(tmp_path):
    def sabotage(world):
        engine = world.members[0].running.database.engine
        engine.on_applied.append(lambda applied: engine.on_applied[1](applied))

    assert "twice" in fails(scenario(tmp_path), sabotage)


def test_1_an_acknowledged_batch_that_is_gone_at_the_end_is_missed(tmp_path, monkeypatch):
    judge = run_module.Run._judge

    def late(self):
        store = self._world.members[2].store
        key = store._keys[Column.LOG].pop()
        del store._rows[Column.LOG][key]
        judge(self)

    monkeypatch.setattr(run_module.Run, "_judge", late)
    assert "invariant 1 is broken" in fails(scenario(tmp_path))


def test_1_a_counter_below_what_was_acknowledged_is_seen(tmp_path):
    def sabotage(world):
        said = world.driver.promises
        said.added["k1"] = said.tried["k1"] = said.tried.get("k1", 0) + 10_000

    text = fails(scenario(tmp_path, SMALL + 'tables = ["hits"]\n'), sabotage)
    assert "invariant 1 is broken" in text
    assert "were acknowledged" in text


def test_1_an_acknowledged_fact_that_nobody_has_is_seen(tmp_path):
    def sabotage(world):
        world.driver.promises.facts["never written"] = "k1"

    assert "0 times" in fails(scenario(tmp_path, SMALL + 'tables = ["events"]\n'), sabotage)


def test_2_equal_batches_with_different_rows_are_seen(tmp_path):
    def sabotage(world):
        store = world.members[1].store
        key = store._keys[Column.LIVE][0]
        store._rows[Column.LIVE][key] += b"rot"

    text = fails(scenario(tmp_path), sabotage)
    assert "invariant 2 is broken" in text


def test_3_a_batch_that_one_takes_and_another_refuses_is_seen(tmp_path):
    def sabotage(world):
        # A member whose chain says other times than that of the others.
        world.members[0].running.authority.block_time_ms = lambda block: 0

    text = fails(scenario(tmp_path), sabotage)
    assert "invariant 3 is broken" in text


def span_of(raw):
    batch = codec.decode_batch(raw)
    return Span(batch.seq_first, batch.seq_first + batch.count - 1, batch.prev_digest, digest(raw))


def test_4_a_batch_of_a_stranger_in_a_store_is_seen(tmp_path):
    def sabotage(world):
        engine = world.members[0].running.database.engine
        raw, signature = batch_of(Keypair.from_seed(bytes(32)), world)
        engine._apply(codec.decode_batch(raw), signature, OriginLog(), span_of(raw), own=False)

    assert "who may not write" in fails(scenario(tmp_path), sabotage)


def test_4_a_batch_that_is_not_signed_in_a_store_is_seen(tmp_path):
    def sabotage(world):
        engine = world.members[0].running.database.engine
        raw, _ = batch_of(world.members[1].keypair, world)
        engine._apply(codec.decode_batch(raw), bytes(64), OriginLog(), span_of(raw), own=False)

    assert "does not verify" in fails(scenario(tmp_path), sabotage)


def batch_of(keypair, world):
    now_ms = world.members[0].clock.now_ms()
    block = (now_ms - GENESIS_MS) // BLOCK_MS
    raw = codec.encode_batch(
        NETUID,
        GENESIS,
        "main",
        keypair.account,
        77,
        1,
        ZERO_DIGEST,
        block // TEMPO,
        block,
        hlc_of(now_ms),
        [("scores", int(MergeType.LWW))],
        [(0, int(Op.PUT), b"k", b"\0v")],
    )
    return raw, keypair.sign(signing.BATCH, raw)


def test_4_a_row_that_comes_from_no_batch_is_seen(tmp_path):
    def sabotage(world):
        for member in world.members:
            batch = member.store.batch()
            batch.put(b"main\0scores\0\0zz", bytes(48) + (9).to_bytes(8, "big") + b"\0v", Column.LIVE)
            member.store.commit(batch)

    assert "a row of a batch that it does not hold" in fails(scenario(tmp_path), sabotage)


def test_5_a_queue_without_its_cap_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("mycelium.peer.hub.OUTBOUND_BYTES_MAX", 64 * OUTBOUND_BYTES_MAX)
    text = SMALL.replace("value_bytes = 64", "value_bytes = 65536\ntables = ['scores']").replace(
        "= 20", "= 300"
    )
    text += '[[hostile]]\nkind = "stalled"\n[expect]\nagree = "honest"\n'
    found = fails(scenario(tmp_path, text))
    assert "invariant 5 is broken" in found
    assert "a queue" in found


def test_6_a_batch_that_reaches_who_may_not_read_it_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(Replicator, "may_read", lambda self, peer, space: True)
    assert "invariant 6 is broken" in fails(scenario(tmp_path, PRIVATE))


def test_6_a_right_to_scan_that_nobody_gave_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(Policy, "ranges", lambda *asked: EVERYTHING)
    found = fails(scenario(tmp_path, PRIVATE))
    assert "invariant 6 is broken" in found
    assert "lets" in found


def test_members_that_never_agree_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(SyncMachine, "digest_seen", lambda *seen: None)
    text = PARTITION.replace("for_ms = 1500", "for_ms = 17000")
    assert "do not agree" in fails(scenario(tmp_path, text))


def test_a_bug_in_a_node_fails_the_run(tmp_path, monkeypatch):
    def bug(self, link, payload, now_ms):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Dissemination, "gossip", bug)
    text = fails(scenario(tmp_path))
    assert "a node logged an error" in text
    assert "a bug" in text


def test_expectations_are_held_against_the_run(tmp_path):
    assert "p99 of propagation" in fails(scenario(tmp_path, SMALL + "[expect]\np99_ms = 1\n"))
    assert "copies for each" in fails(scenario(tmp_path, SMALL + "[expect]\ncopies_percent = 1\n"))
    assert "hold a proof" in fails(scenario(tmp_path, SMALL + "[expect]\nevidence = 1\n"))


def test_an_honest_member_that_was_talked_out_of_its_sessions_is_seen(monkeypatch):
    monkeypatch.setattr("mycelium.peer.claims.CLAIM_ACCOUNTS_MIN", 1)
    monkeypatch.setattr("mycelium.peer.claims.CLAIM_STAKE_SHARE", 10**6)
    assert "greylisted by the claims of 6 members" in fails(find("small_quorum"))


def test_a_proof_that_does_not_spread_is_seen(monkeypatch):
    monkeypatch.setattr(Blacklisting, "_want", lambda *asked: None)
    monkeypatch.setattr(Frozen, "accuse", lambda *asked: None)
    assert "0 hold a proof of the equivocation" in fails(find("equivocator"))


def test_rubbish_that_nothing_follows_from_is_seen(monkeypatch):
    monkeypatch.setattr(Blacklist, "failure", lambda *asked: [])
    assert "0 have the hostile ones greylisted" in fails(find("garbage"))


def test_the_stand_in_for_signatures_verifies_only_what_was_signed():
    with signing_with("fast"):
        one, other = Keypair.from_seed(bytes(32)), Keypair.from_seed(bytes(31) + b"\1")
        signature = one.sign(signing.BATCH, b"x")
        verify = signing.verify
        assert verify(one.account, signing.BATCH, b"x", signature)
        assert not verify(one.account, signing.BATCH, b"y", signature)
        assert not verify(one.account, signing.MESSAGE, b"x", signature)
        assert not verify(other.account, signing.BATCH, b"x", signature)
        assert KeyedDigest.pair_from_seed(bytes(32))[0] == one.account
    real = Keypair.from_seed(bytes(32))
    assert real.account != one.account
    assert verify(real.account, signing.BATCH, b"x", real.sign(signing.BATCH, b"x"))
