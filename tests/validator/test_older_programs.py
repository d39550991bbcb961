"""`SubstrateClient` and the functions over it, as older programs use them: exact amounts, and errors that say why."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
from chain.opskit import COLD, MINERS, NETUID, PALLET, VALIDATORS, running, ss58
from hypothesis import given
from hypothesis import strategies as st

from mycelium import substrate
from mycelium.chain.balance import format_tao
from mycelium.chain.connection import Connection
from mycelium.encrypted.validator import client as functions
from mycelium.errors import ChainError, ExtrinsicInvalid, MyceliumError, ValidatorError
from mycelium.substrate import SubstrateClient, SubstrateError, exact_rao, wait_of

HOTKEY = "//validator//1"
ME = ss58(VALIDATORS[1])
MINER = ss58(MINERS[0])


@pytest.fixture
def link():
    with running() as (chain, connection), SubstrateClient(chain.url, netuid=NETUID) as client:
        chain.step(6)
        yield client, connection


@pytest.fixture(params=["methods", "functions"])
def api(request, link):
    """The same names, as methods of the client and as functions that take it."""
    client, connection = link
    if request.param == "methods":
        return client, connection, client, SubstrateError
    bound = _Bound(client)
    return client, connection, bound, ValidatorError


class _Bound:
    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        known = {"is_registered": "is_hotkey_registered"}.get(name, name)
        return partial(getattr(functions, known), self._client)


def test_weights(api):
    _, connection, names, error = api
    assert names.set_weights(NETUID, {ME: 0.25, MINER: 0.75}, HOTKEY) is True
    assert connection.read(PALLET, "Weights", [NETUID, 1]) == [(1, 21_845), (3, 65_535)]
    with pytest.raises(error, match="SettingWeightsTooFast") as caught:
        names.set_weights(NETUID, {ME: 1.0}, VALIDATORS[1])
    assert caught.value.remedy == "wait for the block given"
    with pytest.raises(error, match="not registered"):
        names.set_weights(NETUID, {ss58(COLD): 1.0}, HOTKEY)


def test_the_version_counts_as_version_key():
    with running(WeightsVersionKey=1_000_001) as (chain, _), SubstrateClient(chain.url) as client:
        chain.step(6)
        with pytest.raises(ValidatorError, match="IncorrectWeightVersionKey"):
            functions.set_weights(client, NETUID, {ME: 1.0}, HOTKEY)
        assert functions.set_weights(client, NETUID, {ME: 1.0}, HOTKEY, "1.0.1")


def test_stake(api):
    _, _, names, error = api
    assert names.get_stake(ME, ss58(COLD)) == 2000.0
    assert names.add_stake(0.1, ME, COLD) is True
    assert names.get_stake(ME, ss58(COLD)) == 2000.1
    assert names.remove_stake(0.1, ME, "//cold", True, True) is True
    assert names.get_stake(ME, ss58(COLD)) == 2000.0
    with pytest.raises(error, match="NotEnoughBalanceToStake"):
        names.add_stake(1e6, ME, COLD)
    with pytest.raises(error, match="NotEnoughStakeToWithdraw"):
        names.remove_stake(1e6, ME, COLD)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf"), 1e-10, 1e11, "x", None, True])
def test_what_is_no_amount(api, amount):
    _, connection, names, _ = api
    head = connection.head()
    for move in (names.add_stake, names.remove_stake):
        with pytest.raises(ChainError, match="stake"):
            move(amount, ME, COLD)
    assert connection.head() == head


@given(st.integers(0, 10**15))
def test_floats_mean_what_they_print(amount):
    assert exact_rao(float(format_tao(amount))) == amount
    assert exact_rao(format_tao(amount)) == amount


def test_an_axon(api):
    _, connection, names, error = api
    assert names.serve_axon(NETUID, "203.0.113.7", 8091, HOTKEY, "1.2.3") is True
    assert connection.read(PALLET, "Axons", [NETUID, ME])["version"] == 1_002_003
    with pytest.raises(error, match="ServingRateLimitExceeded"):
        names.serve_axon(NETUID, "203.0.113.7", 8092, HOTKEY)
    with pytest.raises(error, match="an address cannot sign"):
        names.serve_axon(NETUID, "203.0.113.7", 8092, ME)
    with pytest.raises(error, match="no IPv4 or IPv6 address"):
        names.serve_axon(NETUID, "nowhere", 8092, HOTKEY)


def test_registration_and_prometheus(api):
    client, _, names, error = api
    assert names.is_registered(ME, NETUID) is True
    assert names.is_registered(ss58(COLD), NETUID) is False
    assert names.get_prometheus_info(ME, NETUID) is None
    with pytest.raises(error, match="is not an SS58 address"):
        names.is_registered("nobody!", NETUID)
    from mycelium.chain.serving import serve_prometheus

    serve_prometheus(client.connection, VALIDATORS[1], NETUID, "203.0.113.7", 9090).check()
    assert names.get_prometheus_info(ME, NETUID) == {"ip": "203.0.113.7", "port": "9090", "version": "1"}


def test_a_key_that_is_nowhere(api):
    _, _, names, error = api
    with pytest.raises(error, match="there is no hotkey at"):
        names.set_weights(NETUID, {ME: 1.0}, "no-wallet/no-hotkey")


def test_errors_are_of_one_tree_and_keep_their_cause(link):
    client, _ = link
    client.set_weights(NETUID, {ME: 1.0}, HOTKEY)
    with pytest.raises(ValidatorError) as caught:
        functions.set_weights(client, NETUID, {ME: 1.0}, HOTKEY)
    assert isinstance(caught.value, MyceliumError)
    assert str(caught.value).startswith("Error setting weights: Failed to set weights: ")
    assert isinstance(caught.value.__cause__, SubstrateError)
    assert isinstance(caught.value.__cause__.__cause__, ExtrinsicInvalid)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "nowhere"])
def test_nobody_there(url, monkeypatch):
    monkeypatch.setattr(substrate, "Connection", partial(Connection, timeout_s=0.3))
    with pytest.raises(SubstrateError, match="Failed to create substrate client"):
        SubstrateClient(url)


def test_a_client_that_is_closed_or_dropped(link):
    client, _ = link
    client.close()
    with pytest.raises(SubstrateError):
        client.is_registered(ME, NETUID)
    with contextlib.closing(SubstrateClient(client.url)) as other:
        assert other.is_registered(ME, NETUID)
    del other


@pytest.mark.parametrize(
    ("flags", "wait"),
    [
        ((True, False), "included"),
        ((False, False), "submitted"),
        ((True, True), "finalised"),
        ((False, True), "finalised"),
    ],
)
def test_what_is_waited_for(flags, wait):
    assert wait_of(*flags) == wait
