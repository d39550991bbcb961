"""A chain that goes on where it was: after every kind of block, a kill, and with old states still to be read."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest
from devnet.chain.chainkit import ALICE, BOB, GENESIS_MS, NETUID, Bench, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import DEVCHAIN_STATES_MAX
from mycelium.devnet.chain.core import INSTANT, MANUAL, TIME, Core, NewHead
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.statefile import StateFile
from mycelium.errors import ConfigError

BEGIN = spec()


def core_of(begin=BEGIN, blocks=MANUAL, **keywords):
    return Core(begin, clock=lambda: GENESIS_MS, blocks=blocks, block_ms=250, **keywords)


def picture(core):
    """All that a client could ask of a chain, cheaply."""
    chain = core.chain
    hashes, _, undo = chain.kept()
    return (
        hashes,
        chain.best,
        dict(chain.storage.items()),
        undo,
        core.runtime.version,
        chain.finalised.number <= chain.best.number,
    )


def test_a_chain_goes_on_where_it_was(tmp_path):
    bench = Bench(BEGIN)
    file = StateFile(tmp_path / "chain", bench.core)
    bench.submit(ALICE, "Balances", "transfer_keep_alive", dest={"Id": BOB.account}, value=5 * 10**9)
    bench.core.step(30)
    before = picture(bench.core)
    # As a kill would: what is in the file is what was told.
    again = core_of()
    restored = StateFile(tmp_path / "chain", again)
    assert picture(again) == before
    assert (
        again.chain.block(again.chain.hash_of(1)).extrinsics
        == bench.core.chain.block(again.chain.hash_of(1)).extrinsics
    )
    twins = [core.step(25).hash for core in (bench.core, again)]
    assert twins[0] == twins[1]
    restored.close()
    file.close()
    file.close()


def test_old_states_and_reorganisations_work_after_it(tmp_path):
    first = core_of()
    with_file = StateFile(tmp_path / "chain", first)
    first.step(40)
    at = first.chain.hash_of(17)
    key = first.runtime.layout.key("System", "Number", ())
    expected = first.chain.state(at).get(key)
    with_file.close()
    again = core_of()
    file = StateFile(tmp_path / "chain", again)
    assert again.chain.state(at).get(key) == expected
    again.reorganise(3, forced=True)
    after = picture(again)
    file.close()
    last = core_of()
    StateFile(tmp_path / "chain", last).close()
    assert picture(last) == after


def test_an_upgrade_is_remembered(tmp_path):
    first = core_of()
    file = StateFile(tmp_path / "chain", first)
    first.step(3)
    first.upgrade(RuntimeSpec(spec_version=430, netuid_newtype=True))
    first.step(3)
    file.close()
    again = core_of()
    StateFile(tmp_path / "chain", again).close()
    assert again.runtime.version["specVersion"] == 430
    assert again.runtime_spec == RuntimeSpec(spec_version=430, netuid_newtype=True)
    assert again.runtime_of(again.chain.hash_of(2)).version["specVersion"] == 424
    assert again.chain.best.hash == first.chain.best.hash


@settings(max_examples=15)
@given(
    st.lists(st.one_of(st.integers(1, 20), st.just("reorg"), st.just("edit"), st.just("reopen")), max_size=8)
)
def test_whatever_happens_the_file_says_what_the_chain_says(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("state") / "chain"
    core = core_of(states_max=30)
    file = StateFile(path, core)
    for step in steps:
        if step == "reorg":
            core.step(2)
            core.reorganise(2, blocks=3, forced=True)
        elif step == "edit":
            core.edit(lambda state, core=core: core.runtime.remove_permit(state, NETUID, 1))
        elif step == "reopen":
            file.close()
            core = core_of(states_max=30)
            file = StateFile(path, core)
        else:
            core.step(step)
    again = core_of(states_max=30)
    StateFile(path, again).close()
    assert picture(again) == picture(core)
    file.close()


def test_a_chain_begun_anew_is_in_the_file(tmp_path):
    first = core_of()
    file = StateFile(tmp_path / "chain", first)
    first.step(5)
    first.restart()
    first.step(2)
    file.close()
    with pytest.raises(ConfigError, match="of another chain"):
        StateFile(tmp_path / "chain", core_of())
    again = core_of(dataclasses.replace(BEGIN, seed=BEGIN.seed + 1))
    StateFile(tmp_path / "chain", again).close()
    assert again.chain.best.hash == first.chain.best.hash


def test_a_full_disk_leaves_no_gap(tmp_path, caplog):
    """The chain goes on without its file, which is whole at each moment, and has all of it when there is space."""
    path = tmp_path / "chain"
    first = core_of()
    file = StateFile(path, first)
    first.step(5)
    kept = picture(first)
    file._db.execute("pragma max_page_count=1")
    first.step(600)
    first.upgrade(RuntimeSpec(spec_version=430))
    first.step(2)
    first.reorganise(1, forced=True)
    assert "it lags behind, and is written anew" in caplog.text
    during = core_of()
    StateFile(path, during).close()
    assert during.chain.best.number >= kept[1].number
    assert during.chain.best.hash == first.chain.hash_of(during.chain.best.number)
    file._db.execute("pragma max_page_count=1000000")
    first.step(1)
    again = core_of()
    StateFile(path, again).close()
    assert picture(again) == picture(first)
    assert again.runtime.version["specVersion"] == 430
    file.close()


@pytest.mark.parametrize("number", [3, 7])
def test_a_file_that_lacks_a_block_is_not_gone_on_with(tmp_path, number):
    file = StateFile(tmp_path / "chain", core_of())
    file._core.step(7)
    file._db.execute("delete from blocks where number=?", (number,))
    file._db.execute("insert or ignore into blocks values(8, x'00', null, null)")
    file.close()
    with pytest.raises(ConfigError, match="lacks blocks"):
        StateFile(tmp_path / "chain", core_of())


def test_an_upgrade_is_written_with_its_block(tmp_path):
    """Killed right after the block, before anything else is told of it."""
    first = core_of()
    file = StateFile(tmp_path / "chain", first)

    class Killed(BaseException):
        pass

    def kill(event):
        if isinstance(event, NewHead):
            raise Killed

    first.observers.append(kill)
    with pytest.raises(Killed):
        first.upgrade(RuntimeSpec(spec_version=430))
    file.close()
    again = core_of()
    StateFile(tmp_path / "chain", again).close()
    assert again.chain.best.number == 1
    assert again.runtime.version["specVersion"] == 430


def test_a_chain_that_was_ahead_of_the_clock_stays_ahead(tmp_path):
    first = core_of(blocks=TIME)
    file = StateFile(tmp_path / "chain", first)
    first.step(100)
    file.close()
    again = core_of(blocks=TIME)
    StateFile(tmp_path / "chain", again).close()
    assert again.now_ms() == first.chain.best.timestamp_ms


def test_an_archive_keeps_more_states():
    pruned, archive = core_of(blocks=INSTANT), core_of(blocks=INSTANT, states_max=1_000)
    for core in (pruned, archive):
        core.step(DEVCHAIN_STATES_MAX + 20)
    assert (pruned.chain.storage.depth, archive.chain.storage.depth) == (
        DEVCHAIN_STATES_MAX,
        DEVCHAIN_STATES_MAX + 20,
    )


@pytest.mark.parametrize("content", [b"garbage" * 1000, None])
def test_no_such_file_is_said(tmp_path, content):
    path = tmp_path / "chain"
    if content is None:
        path = tmp_path / "nowhere" / "chain"
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="remove this one"):
        StateFile(path, core_of())


def test_another_format_is_said(tmp_path):
    with sqlite3.connect(tmp_path / "chain") as db:
        db.execute("pragma user_version=9")
    db.close()
    with pytest.raises(ConfigError, match="format 9"):
        StateFile(tmp_path / "chain", core_of())
