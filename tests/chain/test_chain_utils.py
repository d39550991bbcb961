"""The small questions and operations that programs know, over whichever connection they hold."""

from __future__ import annotations

import gc
import weakref
from functools import partialmethod

import pytest
import substrateinterface
from chain.opskit import COLD, MINERS, NETUID, PALLET, VALIDATORS, running, ss58
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import chain_utils
from mycelium.chain.chain_utils import as_connection, version_number
from mycelium.chain.connection import Connection
from mycelium.chain.interface import SubstrateInterface
from mycelium.errors import ChainError, SubstrateConnectionError, UsageError
from mycelium.identity.keys import Keypair

ME = VALIDATORS[1]


@pytest.fixture
def link():
    with running() as (chain, connection):
        yield chain, connection


def test_questions(link):
    chain, connection = link
    assert chain_utils.get_stake(connection, ss58(ME), ss58(COLD)) == 2000.0
    assert chain_utils.is_hotkey_registered(connection, ss58(ME), NETUID)
    assert not chain_utils.is_hotkey_registered(connection, ss58(COLD), NETUID)
    chain.step(3)
    assert chain_utils.get_current_block(connection) == 3
    assert chain_utils.query_subtensor(connection, PALLET, "Tempo", [NETUID]) == 10
    assert chain_utils.query_subtensor(connection, "System", "Number") == 3
    with pytest.raises(SubstrateConnectionError, match="Query failed: the chain"):
        chain_utils.query_subtensor(connection, PALLET, "Nothing")


def test_a_connection_is_opened(link, monkeypatch):
    chain, _ = link
    monkeypatch.setattr(Connection, "__init__", partialmethod(Connection.__init__, timeout_s=0.3))
    with chain_utils.get_substrate_connection(chain.url) as connection:
        assert isinstance(connection, substrateinterface.SubstrateInterface)
        assert chain_utils.get_current_block(connection) == 0
    for url in ("ws://127.0.0.1:1", "nowhere"):
        with pytest.raises(SubstrateConnectionError, match=f"Failed to connect to {url}: ") as caught:
            chain_utils.get_substrate_connection(url)
        assert isinstance(caught.value, ChainError)


def test_an_axon(link, caplog):
    _, connection = link
    assert chain_utils.serve_axon(connection, ME, "203.0.113.7", 8091, NETUID, "1.2.3")
    assert connection.read(PALLET, "Axons", [NETUID, ss58(ME)])["version"] == 1_002_003
    assert chain_utils.serve_axon(connection, ME, "203.0.113.7", 8091, NETUID, "1.2.3")
    assert not chain_utils.serve_axon(connection, ME, "203.0.113.7", 8092, NETUID)
    assert "ServingRateLimitExceeded" in caplog.text
    assert chain_utils.serve_axon(connection, "//miner//0", "203.0.113.7", 8091, NETUID)
    with pytest.raises(UsageError, match="an address cannot sign"):
        chain_utils.serve_axon(connection, ss58(ME), "203.0.113.7", 8091, NETUID)


def test_signatures(link):
    _, connection = link
    theirs = substrateinterface.Keypair.create_from_uri("//Alice")
    signature = theirs.sign(b"text")
    verify = chain_utils.verify_signature
    assert verify(connection, theirs.ss58_address, signature, b"text")
    assert verify(connection, theirs.ss58_address, "0x" + signature.hex(), "text")
    assert not verify(connection, theirs.ss58_address, signature, b"other")
    assert not verify(connection, ss58(ME), signature, b"text")
    assert not verify(connection, "nobody", signature, b"text")
    assert not verify(connection, theirs.ss58_address, b"short", b"text")
    assert not verify(connection, theirs.ss58_address, "0xzz", b"text")


# --- whichever connection ---------------------------------------------------------------------------------


def test_ours_and_what_wraps_it(link):
    chain, connection = link
    assert as_connection(connection) is connection
    wrapped = SubstrateInterface(chain.url)
    assert as_connection(wrapped) is wrapped.substrate
    wrapped.close()
    with as_connection(chain.url) as own:
        assert isinstance(own, Connection)


def test_another_librarys(link):
    chain, _ = link
    theirs = substrateinterface.SubstrateInterface(url=chain.url)
    ours = as_connection(theirs)
    assert as_connection(theirs) is ours
    assert chain_utils.get_current_block(theirs) == 0
    theirs.close()
    assert theirs in chain_utils._ours
    gone = weakref.ref(theirs), ours._closer
    del theirs, ours
    gc.collect()  # theirs, a cycle: its entry goes with it
    gc.collect()  # ours, which the entry held
    assert gone[0]() is None
    assert not gone[1].alive, "it is closed"


@pytest.mark.parametrize("wrong", [None, 5, object()])
def test_what_is_no_connection(wrong):
    with pytest.raises(UsageError, match="no connection to a chain"):
        as_connection(wrong)


# --- versions ---------------------------------------------------------------------------------------------


@given(st.integers(0, 4293), st.integers(0, 999), st.integers(0, 999))
def test_versions_keep_their_order_and_their_parts(major, minor, patch):
    found = version_number(f"{major}.{minor}.{patch}")
    assert (found // 10**6, found // 1000 % 1000, found % 1000) == (major, minor, patch)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("1.0.0", 1_000_000),
        ("1.2", 1_002_000),
        ("v2.0.1", 2_000_001),
        ("7", 7),
        (9, 9),
        (" 1.0.0 ", 1_000_000),
    ],
)
def test_versions(version, number):
    assert version_number(version) == number


@pytest.mark.parametrize(
    "wrong", ["", "1.2.3.4", "1.x", "1..2", "1.1000.0", "9999.0.0", -1, 2**32, True, None, 1.5]
)
def test_what_is_no_version(wrong):
    with pytest.raises(UsageError, match="no version"):
        version_number(wrong)


def test_a_development_path_signs():
    assert chain_utils.signer("//miner//0") == MINERS[0] == Keypair.development("//miner//0")
