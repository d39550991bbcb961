"""A node without its network: submission, statuses, finality, reorganisation with the pool, and the clock."""

from __future__ import annotations

import pytest
from devnet.chain.fakechain import (
    ALICE,
    BOB,
    NOW_MS,
    Clock,
    FakeRuntimeSpec,
    FakeSpec,
    extrinsic,
    make_core,
)

from mycelium.devnet.chain.blocks import UnknownBlock, digest
from mycelium.devnet.chain.core import Finalised, NewHead, Restarted, Upgraded
from mycelium.devnet.chain.pool import PoolRefusal, Status


def watched(core):
    events = []
    core.observers.append(events.append)
    return events


def statuses(events, txid):
    return [event.what for event in events if isinstance(event, Status) and event.hash == txid]


def test_an_extrinsic_goes_its_way():
    core = make_core()
    events = watched(core)
    txid = core.submit(extrinsic())
    assert txid == digest(extrinsic())
    core.step(3)
    assert statuses(events, txid) == ["ready", "inBlock", "finalized"]
    assert core.chain.storage.get(b"kv:a") == b"1"
    heads = [event.block.number for event in events if isinstance(event, NewHead)]
    final = [event.block.number for event in events if isinstance(event, Finalised)]
    assert (heads, final) == ([1, 2, 3], [1])


def test_instantly_made_blocks_are_final_at_once():
    core = make_core(blocks="instant")
    events = watched(core)
    txid = core.submit(extrinsic())
    core.author()
    assert statuses(events, txid) == ["ready", "inBlock", "finalized"]


@pytest.mark.parametrize(
    ("raw", "code", "message", "data"),
    [
        (extrinsic(text="!BadProof"), 1010, "Invalid Transaction", "Transaction has a bad signature"),
        (extrinsic(text="!Payment"), 1010, "Invalid Transaction", "Inability to pay some fees"),
        (extrinsic(text="!AncientBirthBlock"), 1010, "Invalid Transaction", "ancient birth block"),
        (b"", 1001, "Extrinsic has invalid format", None),
        (extrinsic()[:-1], 1001, "Extrinsic has invalid format", None),
        (extrinsic() + b"x", 1001, "Extrinsic has invalid format", None),
        (b"\x03\x00\x00\x00\x00", 1001, "Extrinsic has invalid format", None),
        (b"\x08ab", 1002, "Verification Error: Runtime error: Execution failed", "RuntimeApi("),
    ],
)
def test_what_is_refused_changes_nothing(raw, code, message, data):
    core = make_core()
    events = watched(core)
    before = core.chain.best
    with pytest.raises(PoolRefusal, match=message) as refused:
        core.submit(raw)
    assert refused.value.code == code
    assert refused.value.data is None if data is None else data in refused.value.data
    assert (len(core.pool), events, core.chain.best) == (0, [], before)


def test_a_custom_refusal_has_its_number():
    core = make_core()
    core.edit(lambda state: state.put(b"closed", b"1"))
    with pytest.raises(PoolRefusal) as refused:
        core.submit(extrinsic(text="?=1"))
    assert refused.value.data == "Custom error: 7"


def test_what_was_refused_is_banned_and_what_cannot_be_decoded_is_not():
    core = make_core()
    for raw, codes in ((extrinsic(text="!Call"), (1010, 1012)), (b"\x08ab", (1002, 1002))):
        for code in codes:
            with pytest.raises(PoolRefusal) as refused:
                core.submit(raw)
            assert refused.value.code == code


def test_a_stale_nonce_and_one_that_is_in_a_block():
    core = make_core()
    core.submit(extrinsic())
    core.step()
    with pytest.raises(PoolRefusal, match="Invalid") as refused:
        core.submit(extrinsic(text="b=1"))
    assert refused.value.data == "Transaction is outdated"
    with pytest.raises(PoolRefusal, match="banned"):
        core.submit(extrinsic())


def test_one_that_turned_invalid_in_the_pool_is_told():
    core = make_core()
    events = watched(core)
    txid = core.submit(extrinsic(text="?=1"))
    core.edit(lambda state: state.put(b"closed", b"1"))
    assert statuses(events, txid) == ["ready", "invalid"]
    assert len(core.pool) == 0


def test_an_era_that_ends_in_the_pool_is_told():
    core = make_core()
    events = watched(core)
    core.head_stalled = True
    txid = core.submit(extrinsic(longevity=2, nonce=1))
    core.head_stalled = False
    core.step(3)
    assert statuses(events, txid) == ["future", "invalid"]


def test_a_stalled_head_and_finality():
    core = make_core()
    core.head_stalled = True
    assert core.author() is None
    assert core.step(3).number == 0
    core.head_stalled = False
    core.finality_stalled = True
    core.step(5)
    assert core.chain.finalised.number == 0
    core.finality_stalled = False
    core.catch_up_finality()
    assert core.chain.finalised.number == 3


def test_a_reorganisation_returns_extrinsics_to_the_pool():
    core = make_core(finality_lag=10)
    events = watched(core)
    first, second = core.submit(extrinsic()), core.submit(extrinsic(BOB))
    core.step(2)
    old = core.chain.best.hash
    core.submit(extrinsic(nonce=1, text="b=2"))
    core.reorganise(2)
    assert core.chain.best.number == 2
    assert core.chain.best.hash != old
    assert core.chain.storage.get(b"kv:a") is None
    assert statuses(events, first)[-2:] == ["retracted", "ready"]
    assert len(core.pool.pending()) == 3
    assert [event.reorganised for event in events if isinstance(event, NewHead)] == [
        False,
        False,
        True,
        False,
    ]
    core.step()
    assert statuses(events, first)[-1] == "inBlock"
    assert statuses(events, second)[-1] == "inBlock"
    assert core.chain.storage.get(b"kv:b") == b"2"


def test_a_shorter_branch_and_one_without_blocks():
    core = make_core(finality_lag=10)
    core.step(4)
    assert core.reorganise(3, blocks=1).number == 2
    assert core.reorganise(1, blocks=0).number == 1
    assert core.reorganise(1, blocks=3).number == 3


def test_finalised_blocks_go_only_when_forced():
    core = make_core()
    core.step(5)
    with pytest.raises(UnknownBlock, match="only 2 are not final"):
        core.reorganise(3)
    assert core.chain.best.number == 5
    core.reorganise(4, forced=True)
    assert core.chain.finalised.number == 3


def test_what_waits_and_is_invalid_after_a_reorganisation_is_told():
    core = make_core(finality_lag=10)
    core.submit(extrinsic())
    core.edit(lambda state: state.put(b"opened", b"1"))
    events = watched(core)
    waiting = core.submit(extrinsic(BOB, text="?=1"))
    core.chain.edit(lambda state: state.put(b"closed", b"1"))
    core.reorganise(1)
    assert statuses(events, waiting) == ["ready", "invalid"]


def test_an_upgrade_makes_its_block():
    core = make_core()
    events = watched(core)
    core.upgrade(FakeRuntimeSpec(2))
    assert core.chain.best.number == 1
    assert core.runtime.version["specVersion"] == 2
    assert next(event for event in events if isinstance(event, Upgraded)).runtime is core.runtime
    assert core.runtime_of(core.chain.genesis).version["specVersion"] == 1


def test_an_instant_chain_makes_the_first_block_of_the_new_runtime_too():
    """Clients take the version to sign by from the head's parent, and there no block would come by itself."""
    core = make_core(blocks="instant")
    core.upgrade(FakeRuntimeSpec(2))
    head = core.chain.best
    assert head.number == 2
    assert core.runtime_of(head.header.parent).version["specVersion"] == 2
    core.head_stalled = True
    assert core.upgrade(FakeRuntimeSpec(3)) is None
    assert core.chain.best is head


def test_time_follows_the_clock_or_the_steps():
    clock = Clock()
    core = make_core(clock=clock, blocks="time")
    clock.now_ms += 1000
    assert core.author().timestamp_ms == NOW_MS + 1000
    assert core.step(4).timestamp_ms == NOW_MS + 2000
    assert core.now_ms() == NOW_MS + 2000, "the chain's clock goes on from where it was put"
    clock.now_ms += 10
    assert core.author().timestamp_ms == NOW_MS + 2010
    core.shift_time(5000)
    assert core.author().timestamp_ms == NOW_MS + 7010


def test_stepped_time_needs_no_clock():
    core = make_core(block_ms=12_000)
    core.step(3)
    assert core.author().timestamp_ms == NOW_MS + 48_000
    core.shift_time(500)
    assert core.author().timestamp_ms == NOW_MS + 60_500
    assert core.author().timestamp_ms == NOW_MS + 72_500


def test_a_genesis_without_a_time_is_now():
    core = make_core(spec=FakeSpec(genesis_time_ms=None), clock=Clock(123_000))
    assert core.chain.best.timestamp_ms == 123_000


def test_a_restart_is_another_chain():
    core = make_core()
    events = watched(core)
    genesis = core.chain.genesis
    core.submit(extrinsic())
    core.step(2)
    core.restart()
    assert core.chain.genesis != genesis
    assert (core.chain.best.number, len(core.pool)) == (0, 0)
    assert isinstance(events[-1], Restarted)
    core.restart(FakeSpec())
    assert core.chain.genesis == genesis


def test_the_same_seed_times_and_extrinsics_give_the_same_chain():
    heads = set()
    for _ in range(2):
        core = make_core()
        core.submit(extrinsic())
        core.step(2)
        core.submit(extrinsic(BOB))
        core.step(2)
        core.reorganise(1)
        heads.add(core.step().hash)
    assert len(heads) == 1
    assert core.pool.next_nonce(ALICE, 1) == 1
