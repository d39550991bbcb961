"""Membership from a development chain: epochs as they come, second opinions, outages, stalls, and a restart."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import time

import pytest
from chain.opskit import NETUID, TAO, VALIDATORS, spec
from devnet.chain.chainkit import MINERS

from mycelium.chain import epochs
from mycelium.chain.connection import Connection
from mycelium.chain.epochs import Rules
from mycelium.chain.source import ChainSource
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import ChainError, ChainUnreachable, StoreFull, WrongChain
from mycelium.metagraph.epochfile import EpochFile
from mycelium.metagraph.membership import MINER, OBSERVER, VALIDATOR

BLOCKS = 10
SECOND = VALIDATORS[1].account
SOON_S = 20


def on_loop(test):
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


def chain_of(**keywords):
    """A chain begun ten minutes ago, so that fifty blocks are not of the future."""
    keywords = {"blocks": "manual", "finality_lag": 0} | keywords
    begun_ms = int(time.time() * 1000) - 600_000
    return ThreadedChain(dataclasses.replace(spec(), genesis_time_ms=begun_ms), **keywords)


@contextlib.asynccontextmanager
async def following(*urls, file=None, netuid=NETUID, genesis=None, start=True, timeout_s=5, **keywords):
    """A source on these endpoints."""
    connection = Connection(urls, cache_dir=None, genesis=genesis, timeout_s=timeout_s)
    options = {"change_percent_max": 50, "outage_max_s": 3000} | keywords
    kept = EpochFile(file, BLOCKS)
    source = ChainSource(connection, Rules(netuid, BLOCKS, 1000 * TAO), kept, **options)
    try:
        if start:
            await source.start()
        yield source
    finally:
        await source.close()


async def until(condition):
    """Wait for something that the source's own tasks bring about."""
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.01)


@on_loop
async def test_epochs_come_with_finalised_blocks():
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:
            told = []
            source.on_epoch.append(told.append)
            assert (source.epoch().number, source.tempo, source.block_now(0)) == (1, BLOCKS, 12)
            assert source.epoch().role(SECOND) == VALIDATOR
            chain.faults.remove_permit(NETUID, 1)
            chain.step(9)
            await until(lambda: source.epoch().number == 2)
            assert not source.epoch().may_write(SECOND)
            assert [epoch.number for epoch in told] == [2]
            assert source.epoch_at(1).may_write(SECOND)
            head = chain.run(lambda core: core.chain.best)
            assert source.block_time_ms(head.number) == head.timestamp_ms
            assert source.status(head.timestamp_ms + 2_000).head_age_s == 2.0


@on_loop
async def test_an_older_epoch_and_block_are_read_when_they_are_needed():
    with chain_of() as chain:
        chain.step(55)
        async with following(chain.url) as source:
            known = []
            source.on_known.append(known.append)
            assert source.epoch_at(2) is None
            assert source.block_time_ms(23) is None
            await until(lambda: source.epoch_at(2) is not None and source.block_time_ms(23) is not None)
            assert source.epoch_at(2).number == 2
            assert (
                source.block_time_ms(23)
                == chain.run(lambda core: core.chain.block(core.chain.hash_of(23))).timestamp_ms
            )
            assert True in known
            assert source.epoch_at(99) is None


@on_loop
async def test_observers_may_read_and_change_nothing_else():
    stranger, miner = b"o" * 32, MINERS[0].account
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url, observers=[stranger, miner, SECOND]) as source:
            epoch = source.epoch()
            assert [epoch.role(account) for account in (stranger, miner, SECOND)] == [
                OBSERVER,
                OBSERVER,
                VALIDATOR,
            ]
            assert epoch.may_read(stranger)
            assert not epoch.may_write(stranger)
            # What decides about batches is the chain's alone.
            assert source.epoch_at(1).role(stranger) is None
            assert source.epoch_at(1).role(miner) == MINER
            assert source.epoch() is epoch


@on_loop
async def test_a_large_change_is_confirmed_by_the_other_endpoint():
    # Two endpoints of one chain: the same server under two names.
    with chain_of() as chain:
        chain.step(12)
        other = chain.url.replace("127.0.0.1", "localhost")
        async with following(chain.url, other, change_percent_max=10) as source:
            chain.faults.remove_permit(NETUID, 1)
            chain.step(10)
            await until(lambda: source.epoch().number == 2)
            assert not source.epoch().may_write(SECOND)


@on_loop
async def test_a_large_change_of_the_only_endpoint_is_not_believed(caplog):
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url, change_percent_max=10) as source:
            chain.faults.remove_permit(NETUID, 1)
            chain.step(10)
            await until(lambda: "no second endpoint" in caplog.text)
            status = source.status(int(time.time() * 1000))
            assert (status.epoch, source.epoch().number) == (1, 1)
            assert "no second endpoint confirms it" in status.problems[0]


# --- starting ---------------------------------------------------------------------------------------------


@on_loop
async def test_without_a_chain_and_an_epoch_it_does_not_start():
    with chain_of() as chain:
        url = chain.url
    with pytest.raises(ChainUnreachable, match="does not answer"):
        async with following(url, timeout_s=0.5):
            pass


@on_loop
async def test_with_an_epoch_on_disk_it_starts_without_the_chain(tmp_path):
    with chain_of() as chain:
        chain.step(12)
        url = chain.url
        async with following(url, file=tmp_path / "epochs.sqlite") as source:
            first = source.epoch()
    async with following(url, file=tmp_path / "epochs.sqlite", timeout_s=0.5) as source:
        assert source.epoch() == first
        now_ms = int(time.time() * 1000)
        assert source.status(now_ms).writes_allowed
        late = source.status(now_ms + 4_000_000)
        assert not late.writes_allowed
        assert "s old: nothing can be written" in late.problems[0]


@on_loop
async def test_a_subnet_that_does_not_exist_is_said_at_once():
    with chain_of() as chain:
        chain.step(12)
        with pytest.raises(ChainError, match="no subnet 77"):
            async with following(chain.url, netuid=77):
                pass


@on_loop
async def test_another_chain_is_refused():
    with chain_of() as chain, pytest.raises(WrongChain, match="is another chain"):
        async with following(chain.url, genesis=bytes(32)):
            pass


@on_loop
async def test_a_chain_without_final_blocks_is_waited_for_and_then_said():
    with chain_of() as chain, pytest.raises(ChainUnreachable, match="no finalised block"):
        async with following(chain.url, start_s=0.2):
            pass


@on_loop
async def test_each_endpoint_gets_its_turn_while_it_starts():
    """The first one has no final blocks: it answers, and would be waited for until the start is given up."""
    with chain_of() as chain:
        begun = dataclasses.replace(
            spec(), genesis_time_ms=chain.run(lambda core: core.chain.best).timestamp_ms
        )
        with ThreadedChain(begun, blocks="manual", finality_lag=0) as young:
            chain.step(12)
            async with following(young.url, chain.url, start_s=6) as source:
                assert source.epoch().number == 1


@on_loop
async def test_an_epoch_that_the_first_endpoint_has_discarded_is_read_of_the_second(monkeypatch):
    with chain_of() as pruned:
        pruned.step(12)
        archive = pruned.url.replace("127.0.0.1", "localhost")
        read = epochs.read

        def reading(connection, *arguments, **keywords):
            if connection.endpoint == pruned.url:
                raise ChainError("State already discarded", "ask an archive")
            return read(connection, *arguments, **keywords)

        monkeypatch.setattr(epochs, "read", reading)
        async with following(pruned.url, archive) as source:
            assert source.epoch().number == 1
        with pytest.raises(ChainError, match="State already discarded"):
            async with following(pruned.url):
                pass


@on_loop
async def test_what_no_endpoint_makes_believable_is_in_the_error():
    with chain_of() as chain:
        chain.step(12)
        with pytest.raises(ChainUnreachable, match=r"(?s)can be believed.*clock right"):
            async with following(chain.url, start_s=1, clock_ms=lambda: 1_000_000):
                pass


@on_loop
async def test_no_secret_of_an_address_is_in_status_or_log(caplog):
    caplog.set_level(logging.DEBUG)
    with chain_of() as chain:
        chain.step(12)
        urls = [f"{chain.url}/v1/SECRET?key=SECRET", f"{chain.url.replace('127.0.0.1', 'localhost')}/SECRET"]
        async with following(*urls, change_percent_max=10, stall_s=0.5) as source:
            chain.faults.remove_permit(NETUID, 1)
            chain.step(10)
            await until(lambda: source.epoch().number == 2)
            chain.faults.reorg(15, True)
            chain.step(10)
            now_ms = int(time.time() * 1000)
            await until(lambda: source.status(now_ms).problems)
            problems = " ".join(source.status(now_ms).problems)
    assert "final as" in problems
    assert "SECRET" not in problems
    ours = [record for record in caplog.records if record.name.startswith("mycelium")]
    assert ours
    assert not [record for record in ours if "SECRET" in record.getMessage()]


# --- faults -----------------------------------------------------------------------------------------------


@on_loop
async def test_a_lost_connection_recovers_by_itself():
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:
            for round_ in range(2, 5):
                chain.faults.drop_connections()
                chain.step(10)
                await until(lambda number=round_: source.epoch().number == number)


@on_loop
async def test_an_endpoint_that_stalls_is_left_for_another():
    with chain_of(block_ms=12_000) as chain:
        begun = dataclasses.replace(
            spec(), genesis_time_ms=chain.run(lambda core: core.chain.best).timestamp_ms
        )
        with ThreadedChain(begun, blocks="manual", finality_lag=0, block_ms=12_000) as twin:
            assert twin.genesis == chain.genesis
            twin.step(1)
            chain.step(12)
            async with following(twin.url, chain.url, stall_s=0.3) as source:
                # The one that stands still is asked about the other's blocks, and has no say.
                await until(lambda: source.epoch().number == 1)
                assert source._connection.endpoint == chain.url


@on_loop
async def test_a_subscription_that_falls_silent_is_begun_again():
    """The only endpoint answers, and tells of no blocks any more."""
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url, stall_s=0.5) as source:
            chain.faults.mute()
            chain.step(10)
            await until(lambda: source.epoch().number == 2)


@on_loop
async def test_garbage_does_not_end_the_following(caplog):
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:
            chain.faults.garbage()
            chain.step(10)
            await asyncio.sleep(0)
            chain.faults.clear()
            chain.step(10)
            await until(lambda: source.epoch().number == 3)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@on_loop
async def test_what_is_no_epoch_at_all_is_read_again(monkeypatch):
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:
            read, broken = epochs.read, [ValueError("no such thing"), KeyError("hotkeys"), TypeError("None")]

            def reading(*arguments, **keywords):
                if broken:
                    raise broken.pop()
                return read(*arguments, **keywords)

            monkeypatch.setattr(epochs, "read", reading)
            chain.step(10)
            await until(lambda: any("what cannot be read" in said for said in source.status(0).problems))
            await until(lambda: source.epoch().number == 2)
            assert not broken


@on_loop
async def test_what_fails_when_an_epoch_begins_does_not_end_the_following(caplog):
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:

            def failing(epoch):
                raise RuntimeError(f"no place for epoch {epoch.number}")

            source.on_epoch.append(failing)
            for number in (2, 3):
                chain.step(10)
                await until(lambda number=number: source.epoch().number == number)
    assert "no place for epoch 2" in caplog.text


@on_loop
async def test_an_epoch_that_nobody_needs_is_not_read():
    with chain_of() as chain:
        chain.step(55)
        async with following(chain.url) as source:
            assert source.peek(2) is None
            assert source._tracker._wanted == {}
            assert source.peek(5) is source.epoch_at(5)


@on_loop
async def test_a_full_disk_keeps_what_was_known_and_recovers(caplog):
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:
            keep, failing = source._file.keep_times, [True]

            def full(times_ms):
                if failing:
                    raise StoreFull("no space left")
                keep(times_ms)

            source._file.keep_times = full
            chain.step(1)
            await until(lambda: "no space left" in caplog.text)
            assert source.epoch().number == 1
            failing.clear()
            chain.step(10)
            await until(lambda: source.epoch().number == 2)


@on_loop
async def test_closing_twice_is_one_close():
    with chain_of() as chain:
        chain.step(12)
        async with following(chain.url) as source:
            await source.close()
