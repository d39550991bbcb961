"""The metagraph: one runtime call and one request, whatever the runtime leaves out, adds or renames."""

from __future__ import annotations

import json
import sys
import time

import bittensor_core
import pytest
from chain.clientkit import recorded, shared
from chain.opskit import COLD, MINERS, NETUID, TAO, VALIDATORS, linked, running, ss58

from mycelium.chain import neurons
from mycelium.chain.metagraph import Metagraph, _decisive, _gini
from mycelium.chain.neurons import Neuron, Subnet, subnet_of
from mycelium.chain.serving import serve_axon, serve_prometheus
from mycelium.chain.weights import set_weights
from mycelium.errors import ConfigError, MetagraphError, UsageError

ONE, TWO, THREE = (ss58(pair) for pair in VALIDATORS)
MINER = ss58(MINERS[0])
IP = "203.0.113.7"


@pytest.fixture
def busy():
    """A subnet whose two largest validators have set weights, and one serves; past an epoch."""
    with running(tempo=10) as (chain, connection):
        chain.step(6)
        set_weights(connection, VALIDATORS[0], NETUID, {3: 1}).check()
        set_weights(connection, VALIDATORS[1], NETUID, {0: 1, 3: 3}).check()
        serve_axon(connection, VALIDATORS[1], NETUID, IP, 8091, version=7_002_001).check()
        serve_prometheus(connection, MINERS[0], NETUID, IP, 9090).check()
        chain.step(15)
        yield chain, connection


def synced(connection, **keywords):
    metagraph = Metagraph(NETUID, connection, **keywords)
    assert metagraph.sync() is True
    return metagraph


def test_what_programs_read(busy):
    _, connection = busy
    before = time.time()
    metagraph = synced(connection)
    assert (metagraph.n, len(metagraph), metagraph.tempo) == (6, 6, 10)
    assert metagraph.block == connection.head().number
    assert metagraph.difficulty == 10_000_000
    assert before <= metagraph.last_sync <= time.time()
    assert metagraph.hotkeys == [*map(ss58, VALIDATORS), *map(ss58, MINERS)]
    assert metagraph.coldkeys[TWO] == ss58(COLD)
    assert [metagraph.get_stake(hotkey) for hotkey in metagraph.hotkeys] == [3000, 2000, 1000, 0, 0, 0]
    assert metagraph.total_stake == 6000.0
    assert metagraph.get_weights(TWO) == {ONE: 21_845 / 65_535, MINER: 1.0}
    assert metagraph.get_weights(THREE) == {}
    assert metagraph.get_incentive(MINER) > 0
    assert metagraph.get_dividends(TWO) > 0
    assert metagraph.get_consensus(MINER) > 0
    assert metagraph.validator_trust[TWO] > 0
    assert metagraph.get_emission(MINER) > 0
    assert metagraph.total_emission == sum(metagraph.emission.values())
    assert metagraph.is_active(TWO)
    assert metagraph.last_update[TWO] == 8
    assert metagraph.get_uid(MINER) == 3
    axon = metagraph.get_axon_info(TWO)
    assert (axon["ip"], axon["port"], axon["version"], axon["hotkey"]) == (IP, 8091, 7_002_001, TWO)
    assert metagraph.get_axon_info(ONE) is None
    assert metagraph.prometheus == {MINER: metagraph.prometheus[MINER]}
    assert metagraph.prometheus[MINER]["port"] == 9090
    # The chain keeps neither since spec 424.
    assert metagraph.get_rank(TWO) == metagraph.get_trust(TWO) == 0
    assert "6 neurons" in repr(metagraph)


def test_strangers_have_nothing(busy):
    _, connection = busy
    metagraph, nobody = synced(connection), ss58(COLD)
    assert metagraph.get_stake(nobody) == metagraph.get_emission(nobody) == metagraph.get_rank(nobody) == 0
    assert metagraph.get_weights(nobody) == {}
    assert metagraph.get_axon_info(nobody) is None
    assert metagraph.get_uid(nobody) is None
    assert not metagraph.is_active(nobody)
    with pytest.raises(MetagraphError, match="is not on subnet 1"):
        metagraph.performance(nobody)


def test_what_is_handed_out_is_the_callers():
    metagraph = Metagraph(NETUID, object())
    metagraph._fill(Subnet(1, 5, (Neuron(0, ONE, TWO, axon={"ip": IP, "port": 1}),), {0: [(0, 65_535)]}))
    metagraph.get_weights(ONE).clear()
    metagraph.get_axon_info(ONE).clear()
    assert metagraph.get_weights(ONE) == {ONE: 1.0}
    assert metagraph.get_axon_info(ONE)["ip"] == IP


def test_statistics_and_performance(busy):
    _, connection = busy
    metagraph = synced(connection)
    found = metagraph.statistics()
    assert (found.neurons, found.validators, found.miners, found.serving) == (6, 3, 3, 1)
    assert (found.stake_rao, found.validators_stake_rao) == (6000 * TAO, 6000 * TAO)
    assert (found.decisive, found.stale) == (2, 0)
    assert 0 < found.gini < 1
    assert [row.hotkey for row in metagraph.validators()] == [ONE, TWO, THREE]
    mine = metagraph.performance(TWO)
    assert (mine.uid, mine.stake_place, mine.stake_share, mine.dividends_place) == (1, 2, 1 / 3, 2)
    assert mine.age == metagraph.block - 8
    assert metagraph.performance(MINER).incentive_place == 1


@pytest.mark.parametrize(
    ("stakes", "decisive"), [([], 0), ([0, 0], 0), ([5], 1), ([1, 1], 2), ([1, 1, 1], 2), ([9, 1, 1], 1)]
)
def test_who_decides(stakes, decisive):
    assert _decisive(stakes) == decisive


def test_how_even_stake_is():
    assert _gini([]) == _gini([0, 0]) == 0
    assert _gini([5, 5, 5]) == pytest.approx(0)
    assert _gini([0, 0, 0, 8]) == pytest.approx(0.75)


def test_at_an_earlier_block(busy):
    chain, connection = busy
    block = connection.head().number
    chain.faults.deregister(NETUID, 3)
    chain.step(3)
    metagraph = Metagraph(NETUID, connection)
    metagraph.sync(block)
    assert (metagraph.block, metagraph.hotkeys[3]) == (block, MINER)
    assert metagraph.prometheus[MINER]["port"] == 9090
    assert MINER not in synced(connection).uids
    with pytest.raises(MetagraphError, match="no block 10000 yet"):
        metagraph.sync(10_000)
    assert metagraph.block == block


def test_a_block_that_comes_in_between_is_read_around(busy, monkeypatch):
    chain, connection = busy
    whole = connection.runtime_api

    def slow(*arguments):
        found = whole(*arguments)
        monkeypatch.undo()
        chain.faults.deregister(NETUID, 3)
        return found

    monkeypatch.setattr(connection, "runtime_api", slow)
    metagraph = synced(connection)
    # All of it is of the block of the runtime's answer.
    assert metagraph.hotkeys[3] == MINER
    assert metagraph.prometheus[MINER]["port"] == 9090


def test_errors_say_what_and_leave_what_was_there(busy):
    chain, connection = busy
    metagraph = synced(connection)
    with pytest.raises(MetagraphError, match="no subnet 9"):
        Metagraph(9, connection).sync()
    with linked(chain) as gone:
        gone.close()
        metagraph.substrate = gone
        with pytest.raises(MetagraphError, match="the metagraph of subnet 1 cannot be read"):
            metagraph.sync()
    assert metagraph.n == 6


@pytest.mark.parametrize("netuid", [-1, 65_536, "1", True, None])
def test_what_is_no_netuid(netuid):
    with pytest.raises(UsageError, match="netuid"):
        Metagraph(netuid)


def test_empty_until_it_is_synced():
    metagraph = Metagraph(1)
    assert (metagraph.n, metagraph.hotkeys, metagraph.total_stake, metagraph.last_sync) == (0, [], 0, 0)
    assert metagraph.statistics().gini == 0
    assert metagraph.to_pandas().empty


@pytest.mark.parametrize("netuid_newtype", [False, True])
def test_over_an_upgrade_that_adds_a_field(busy, netuid_newtype):
    chain, connection = busy
    before = synced(connection)
    chain.faults.upgrade(grown=True, netuid_newtype=netuid_newtype)
    after = synced(connection)
    assert after.stakes == before.stakes
    assert set(after.subnet.facts) > set(before.subnet.facts)


def test_mechanisms(busy):
    _, connection = busy
    assert synced(connection).get_weights(TWO)
    with running(MechanismCountCurrent=2) as (chain, connection):
        chain.step(6)
        set_weights(connection, VALIDATORS[1], NETUID, {4: 1}, mechanism=1).check()
        assert synced(connection, mechanism=1).get_weights(TWO) == {ss58(MINERS[1]): 1.0}
        assert synced(connection).get_weights(TWO) == {}


def test_a_runtime_with_the_selective_call_alone(busy, monkeypatch):
    _, connection = busy
    whole = synced(connection)
    has = connection.has_api
    monkeypatch.setattr(
        connection, "has_api", lambda api, method: method != "get_metagraph" and has(api, method)
    )
    assert synced(connection).neurons == whole.neurons
    monkeypatch.setattr(connection, "has_api", lambda api, method: False)
    with pytest.raises(MetagraphError, match=r"no runtime API SubnetInfoRuntimeApi\.get_metagraph"):
        synced(connection)


def test_columns_that_are_missing_or_short_are_zeros():
    found = {"hotkeys": [ONE, TWO], "total_stake": [5], "trust": [], "axons": [None], "new": 1, "block": 9}
    subnet = subnet_of(found, 1)
    assert subnet.block == 9
    assert [row.stake_rao for row in subnet.neurons] == [5, 0]
    assert [row.trust for row in subnet.neurons] == [0, 0]
    assert subnet.neurons[1] == Neuron(1, TWO, "")
    assert subnet.facts == {"new": 1, "block": 9}


def test_one_call_and_one_request(busy, monkeypatch):
    _, connection = busy
    synced(connection)
    asked = []
    request = connection.access.rpc.request
    monkeypatch.setattr(
        connection.access.rpc,
        "request",
        lambda method, *rest, **more: (asked.append(method), request(method, *rest, **more))[1],
    )
    synced(connection)
    assert asked == ["state_call", "state_queryStorageAt"]


# --- tables -----------------------------------------------------------------------------------------------


def test_numpy(busy):
    _, connection = busy
    metagraph = synced(connection)
    arrays = metagraph.arrays()
    assert arrays["stake"].tolist() == [3000, 2000, 1000, 0, 0, 0]
    assert arrays["permit"].tolist() == [True] * 3 + [False] * 3
    assert arrays["emission"].dtype == "uint64"
    assert set(map(len, arrays.values())) == {6}
    matrix = metagraph.weight_matrix()
    assert matrix.shape == (6, 6)
    assert matrix[1].tolist() == pytest.approx([21_845 / 65_535, 0, 0, 1, 0, 0])


def test_pandas(busy):
    _, connection = busy
    frame = synced(connection).to_pandas()
    assert frame.index.name == "uid"
    assert frame.loc[1, "hotkey"] == TWO
    assert frame["stake_rao"].sum() == 6000 * TAO
    assert frame.loc[1, "axon"]["ip"] == IP


@pytest.mark.parametrize(
    ("name", "call"), [("numpy", "arrays"), ("numpy", "weight_matrix"), ("pandas", "to_pandas")]
)
def test_without_the_extras_the_remedy_is_named(name, call, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"pip install .mycelium-node\[{name}\]"):
        getattr(Metagraph(1), call)()


# --- the public chain's own answers -----------------------------------------------------------------------


def test_a_recorded_subnet_of_the_public_chain():
    answers = recorded()["metagraph"]["state_call"]
    raw = shared("chain/metadata_v15_spec424_converted.scale").read_bytes()
    codec = bittensor_core.Runtime(raw, 424, 1)
    apis = codec.runtime_api_map()["SubnetInfoRuntimeApi"]
    for parameters, answer in answers.items():
        method = json.loads(parameters)[0].removeprefix("SubnetInfoRuntimeApi_")
        if method != "get_subnet_state":
            continue
        found = codec.decode(apis[method]["output"], bytes.fromhex(answer["result"].removeprefix("0x")))
        subnet = subnet_of(found, 1)
        assert len(subnet.neurons) == len(found["hotkeys"]) > 100
        assert sum(row.permit for row in subnet.neurons) > 0
        assert max(row.stake_rao for row in subnet.neurons) == max(found["total_stake"])
        return
    pytest.fail("the recorded answers hold no subnet state")


def test_neurons_without_details(busy):
    _, connection = busy
    subnet = neurons.read(connection, NETUID, details=False)
    assert subnet.weights == {}
    assert all(row.prometheus is None for row in subnet.neurons)
