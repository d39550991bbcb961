"""Endpoints as witnesses: by names without secrets, one another's second opinion, and nothing raised but ChainError."""

from __future__ import annotations

import dataclasses

import pytest
from chain.clientkit import free_port
from chain.opskit import NETUID, TAO, spec

from mycelium.chain.connection import Connection
from mycelium.chain.epochs import Rules
from mycelium.chain.header import Head
from mycelium.chain.witnesses import Witnesses, understood
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import ChainError, ChainUnreachable, MetagraphError
from mycelium.metagraph.events import EpochRead, HeadSeen, Opinion, ReadFailed

RULES = Rules(NETUID, 10, 1000 * TAO)


@pytest.fixture(scope="module")
def chains():
    """Three nodes of one chain with the same first 12 blocks; the second one has 8 of them, the third 30."""
    begun = dataclasses.replace(spec(), genesis_time_ms=1_700_000_000_000)
    keywords = {"blocks": "manual", "finality_lag": 0, "block_ms": 12_000}
    with (
        ThreadedChain(begun, **keywords) as first,
        ThreadedChain(begun, **keywords) as second,
        ThreadedChain(begun, **keywords) as third,
    ):
        for chain, blocks in ((first, 12), (second, 8), (third, 30)):
            chain.step(blocks)
        yield first, second, third


@pytest.fixture
def witnesses_of():
    opened = []

    def make(*urls):
        connection = Connection(urls, cache_dir=None, timeout_s=5)
        opened.append((Witnesses(connection), connection))
        return opened[-1][0]

    yield make
    for witnesses, connection in opened:
        witnesses.close()
        connection.close()


def hash_of(chain, number):
    return f"0x{chain.run(lambda core: core.chain.hash_of(number)).hex()}"


def time_of(number):
    return 1_700_000_000_000 + 12_000 * number


def test_names_tell_endpoints_apart_and_no_secrets(witnesses_of):
    urls = [f"wss://rpc.invalid/v1/{key}" for key in ("secret-1", "secret-2")]
    witnesses = witnesses_of(*urls, "ws://127.0.0.1:9944")
    assert len(witnesses) == 3
    assert list(witnesses._urls) == [
        "wss://rpc.invalid/...",
        "wss://rpc.invalid/... (2)",
        "ws://127.0.0.1:9944",
    ]
    assert witnesses.url("wss://rpc.invalid/... (2)") == urls[1]
    assert witnesses.followed == "wss://rpc.invalid/..."


def test_a_head_comes_with_its_time_and_the_anchor(chains, witnesses_of):
    first, *_ = chains
    witnesses = witnesses_of(first.url)
    head = Head(12, hash_of(first, 12))
    assert witnesses.head(head, None) == HeadSeen(12, head.hash, time_of(12), first.url, None)
    assert witnesses.head(head, 3).anchor == (3, hash_of(first, 3))
    assert witnesses.head(head, 99).anchor == (99, None)
    with pytest.raises(ChainError):
        witnesses.head(Head(1, "0x" + "77" * 32), None)


def test_a_second_opinion(chains, witnesses_of):
    first, second, third = chains
    asked = witnesses_of(first.url, second.url)
    assert asked.opinion(8, first.url) == Opinion(8, second.url, hash_of(first, 8))
    # What is not final there yet is not known there, whatever its best chain says; and how far it is comes too.
    assert asked.opinion(9, first.url) == Opinion(9, second.url, None, time_of(8))
    ahead = witnesses_of(first.url, third.url)
    assert ahead.opinion(30, first.url) == Opinion(30, third.url, hash_of(third, 30))


def test_a_chain_without_final_blocks_has_no_time(chains, witnesses_of):
    begun = dataclasses.replace(spec(), genesis_time_ms=1_700_000_000_000)
    with ThreadedChain(begun, blocks="manual", block_ms=12_000) as young:
        assert witnesses_of(chains[0].url, young.url).opinion(5, chains[0].url) == Opinion(
            5, young.url, None, 0
        )


def test_others_are_asked_in_turn_until_one_answers(chains, witnesses_of, monkeypatch):
    first, second, third = chains
    monkeypatch.setattr("mycelium.chain.witnesses.EPOCH_OPINION_S", 0.3)
    nobody = f"ws://127.0.0.1:{free_port()}"
    asked = witnesses_of(first.url, nobody, second.url, third.url)
    answered = {asked.opinion(5, first.url).endpoint for _ in range(6)}
    assert answered == {second.url, third.url}
    alone = witnesses_of(first.url, nobody)
    assert alone.opinion(5, first.url) == Opinion(5)


def test_an_epoch_of_who_is_not_excluded(chains, witnesses_of):
    first, second, third = chains
    witnesses = witnesses_of(first.url, second.url, third.url)
    read = witnesses.read(RULES, 1, frozenset(), 0)
    assert isinstance(read, EpochRead)
    assert read.endpoint == first.url
    assert (read.reading.block_hash, read.reading.known_hash) == (hash_of(first, 10), hash_of(first, 0))
    assert witnesses.read(RULES, 1, {first.url, second.url}, None).endpoint == third.url
    failed = witnesses.read(RULES, 1, {first.url, third.url}, None)
    assert isinstance(failed, ReadFailed)
    assert (failed.endpoint, failed.error.what) == (second.url, "the node has no block 10")


def test_an_endpoint_that_changes_while_it_is_read_is_no_witness(chains, witnesses_of, monkeypatch):
    first, second, _ = chains
    witnesses = witnesses_of(first.url, second.url)
    witnesses.main.connect()
    time_of_block = witnesses.main.timestamp_ms

    def leaving(block_hash):
        found = time_of_block(block_hash)
        witnesses.main.access.rpc.leave("another one now")
        witnesses.main.head()
        return found

    monkeypatch.setattr(witnesses.main, "timestamp_ms", leaving)
    with pytest.raises(ChainUnreachable, match="was lost while it was read"):
        witnesses.head(Head(5, hash_of(first, 5)), None)


def test_times_are_those_that_can_be_had(chains, witnesses_of):
    first, *_ = chains
    assert witnesses_of(first.url).times([0, 3, 12, 99]).times_ms == {3: time_of(3), 12: time_of(12)}


def test_whatever_is_answered_only_a_chain_error_comes_of_it():
    for error in (ValueError("x" * 10_000), KeyError("a"), TypeError(), OverflowError(), RecursionError()):

        def broken(error=error):
            raise error

        with pytest.raises(MetagraphError, match="cannot be read") as caught:
            understood(broken)
        assert len(caught.value.what) < 400
    assert understood(lambda: 5) == 5
    with pytest.raises(ChainUnreachable):
        understood(lambda: (_ for _ in ()).throw(ChainUnreachable("gone")))
