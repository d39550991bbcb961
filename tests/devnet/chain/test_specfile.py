"""A chain's beginning as a file: whatever is written is read back, and errors name the place."""

from __future__ import annotations

import json

import pytest

from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.population import account, development
from mycelium.devnet.chain.spec import ChainSpec, Neuron, Subnet
from mycelium.errors import ConfigError
from mycelium.identity import account as accounts

ALICE, BOB = account("//Alice"), account("//Bob")


@pytest.mark.parametrize(
    "spec",
    [
        ChainSpec(),
        development(netuid=7, validators=3, miners=1, seed=5),
        ChainSpec(
            name="ü",
            balances={ALICE: 2**63},
            runtime=RuntimeSpec(500, 2, True, True),
            genesis_time_ms=1,
            sudo=BOB,
            subnets=(
                Subnet(
                    3,
                    ALICE,
                    BOB,
                    neurons=(Neuron(ALICE, BOB, 5, axon=("10.0.0.1", 8091), prometheus=("10.0.0.2", 1)),),
                    commit_reveal=True,
                    hyperparameters={"Tempo": 9, "RegistrationAllowed": False},
                ),
            ),
        ),
    ],
)
def test_what_is_written_is_read_back(tmp_path, spec):
    path = tmp_path / "chain.json"
    specfile.write(path, spec)
    assert specfile.read(path) == spec


def test_accounts_are_addresses(tmp_path):
    path = tmp_path / "chain.json"
    specfile.write(path, ChainSpec(balances={ALICE: 1}))
    assert json.loads(path.read_text())["balances"] == {accounts.format(ALICE): 1}


NEURON = {"hotkey": accounts.format(ALICE), "coldkey": "0x" + BOB.hex()}
SUBNET = {"netuid": 1, "owner_hotkey": accounts.format(ALICE), "owner_coldkey": accounts.format(ALICE)}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], r"the file is an object, not '\[\]'"),
        ({"sed": 1}, "the file has 'sed', which is not known: there are name, seed"),
        ({"seed": "1"}, "seed is int, not '1'"),
        ({"seed": True}, "seed is int, not 'True'"),
        ({"balances": []}, "balances is an object"),
        ({"balances": {"5Nonsense": 1}}, "balances: '5Nonsense'"),
        ({"balances": {accounts.format(ALICE): 1.5}}, r"balances\.5Grw\w+ is int, not '1.5'"),
        ({"subnets": {}}, "subnets is a list"),
        ({"subnets": [{"netuid": 1}]}, r"subnets\[0\] has no owner_hotkey"),
        (
            {"subnets": [SUBNET | {"neurons": [{"hotkey": 5, "coldkey": ""}]}]},
            r"subnets\[0\]\.neurons\[0\]\.hotkey is",
        ),
        ({"subnets": [SUBNET | {"neurons": [NEURON | {"axon": ["10.0.0.1"]}]}]}, "axon has 1 items, not 2"),
        ({"sudo": "0xzz"}, "sudo: non-hexadecimal"),
    ],
)
def test_a_mistake_is_named(tmp_path, value, says):
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=says) as wrong:
        specfile.read(path)
    assert str(path) in str(wrong.value)


def test_what_is_no_json_or_not_there(tmp_path):
    path = tmp_path / "chain.json"
    with pytest.raises(ConfigError, match="No such file"):
        specfile.read(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        specfile.read(path)
