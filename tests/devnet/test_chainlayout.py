"""The files of a network on a chain: what is written, what stays, what is taken from a recording, what is refused."""

from __future__ import annotations

import json

import pytest

from mycelium.devnet.chain import specfile
from mycelium.devnet.chainlayout import BLOCK_MS, STAKE_RAO, prepare
from mycelium.devnet.layout import NETUID
from mycelium.errors import ConfigError
from mycelium.identity import account as accounts
from mycelium.node.settings import Settings


def test_settings_are_what_a_node_reads(tmp_path):
    network = prepare(tmp_path / "net", 3)
    assert [place.name for place in network.nodes] == ["node1", "node2", "node3"]
    for place, wallet in zip(network.nodes, network.validators, strict=True):
        settings = Settings.load(place.config)
        assert settings.keypair().account == wallet.hotkey.account == place.keypair.account
        assert settings.chain.endpoints == (network.chain.url,)
        assert (settings.netuid, settings.members_file, settings.url) == (NETUID, None, place.url)


def test_the_chain_begins_with_all_of_them(tmp_path):
    network = prepare(tmp_path / "net", 2, miners=3)
    spec = specfile.read(network.chain.spec)
    (subnet,) = spec.subnets
    assert subnet.owner_hotkey == network.validators[0].hotkey.account
    hotkeys = [wallet.hotkey.account for wallet in (*network.validators, *network.miners)]
    assert [neuron.hotkey for neuron in subnet.neurons] == hotkeys
    assert [neuron.validator for neuron in subnet.neurons] == [True, True, False, False, False]
    assert subnet.neurons[1].axon == ("127.0.0.1", network.nodes[1].port)
    assert spec.block_ms == BLOCK_MS
    assert "--fast-forward" in network.chain.arguments


def test_used_again_it_is_the_same_network(tmp_path):
    first = prepare(tmp_path / "net", 2, miners=1)
    begun = first.chain.spec.read_bytes()
    first.chain.state.write_bytes(b"")
    again = prepare(tmp_path / "net", 2, miners=5, block_ms=9)
    assert [place.url for place in again.nodes] == [place.url for place in first.nodes]
    assert [wallet.address for wallet in again.validators] == [wallet.address for wallet in first.validators]
    assert (len(again.miners), again.chain.url, again.chain.block_ms) == (1, first.chain.url, BLOCK_MS)
    assert again.chain.spec.read_bytes() == begun
    assert again.chain.arguments == first.chain.arguments


def test_two_networks_are_two_chains(tmp_path):
    seeds = {specfile.read(prepare(tmp_path / name, 1).chain.spec).seed for name in "abc"}
    assert len(seeds) == 3


def test_stakes_of_a_recording(tmp_path):
    rows = [
        {
            "hotkey": accounts.format(number.to_bytes(32, "big")),
            "stake_rao": 10**9 * number,
            "validator_permit": number > 290,
        }
        for number in range(1, 301)
    ]
    (tmp_path / "recorded.json").write_text(json.dumps(rows))
    network = prepare(tmp_path / "net", 3, miners=1, metagraph=tmp_path / "recorded.json")
    (subnet,) = specfile.read(network.chain.spec).subnets
    assert [neuron.stake_rao // 10**9 for neuron in subnet.neurons[:5]] == [300, 299, 298, 290, 297]
    assert [neuron.validator for neuron in subnet.neurons].count(True) == 10
    assert len(subnet.neurons) == 256
    assert len({neuron.hotkey for neuron in subnet.neurons}) == 256


def test_a_recording_smaller_than_the_network(tmp_path):
    (tmp_path / "recorded.json").write_text("[]")
    network = prepare(tmp_path / "net", 2, metagraph=tmp_path / "recorded.json")
    (subnet,) = specfile.read(network.chain.spec).subnets
    assert [neuron.stake_rao for neuron in subnet.neurons] == [STAKE_RAO, STAKE_RAO, 0, 0]


def test_a_recording_that_cannot_be_read_leaves_nothing_behind(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        prepare(tmp_path / "net", 2, metagraph=tmp_path / "nowhere.json")
    assert not (tmp_path / "net").exists()


def test_the_environment_for_programs(tmp_path):
    network = prepare(tmp_path / "net", 2)
    lines = dict(line.split("=", 1) for line in network.env_file.read_text().splitlines() if "=" in line)
    assert lines["SUBTENSOR_ADDRESS"] == lines["BT_CHAIN_ENDPOINT"] == network.chain.url
    assert lines["WALLET_NAME"] == "validator1"
