"""Real subnets' stakes and permits, from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mycelium.devnet.chain.spec import RecordedNeuron, recorded_neurons
from mycelium.errors import ConfigError

RECORDED = Path(__file__).parents[4] / "shared" / "chain" / "recorded_rpc.json"
HOTKEY = "5DkMmXtWf16RNdusZGCrJ7ca7ADPgRnZLVWCWbgA7s7sy1AQ"


@pytest.fixture
def file(tmp_path):
    def write(value):
        path = tmp_path / "metagraph.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return write


def test_a_list_of_neurons(file):
    rows = [{"hotkey": HOTKEY, "stake_rao": 5, "validator_permit": True}]
    assert recorded_neurons(file(rows)) == [RecordedNeuron(HOTKEY, 5, True)]
    assert recorded_neurons(file({"neurons": rows})) == recorded_neurons(file(rows))


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded chain data is not beside the repository")
@pytest.mark.parametrize("left_out", [None, "SubnetInfoRuntimeApi_get_subnet_state"])
def test_the_recorded_answers_of_a_real_node(file, left_out):
    recorded = json.loads(RECORDED.read_text())
    calls = recorded["metagraph"]["state_call"]
    recorded["metagraph"]["state_call"] = {
        parameters: answer for parameters, answer in calls.items() if json.loads(parameters)[0] != left_out
    }
    found = recorded_neurons(file(recorded))
    assert len(found) == 1024
    assert found[0].hotkey == HOTKEY
    assert sum(one.permit for one in found) == 12
    permitted = min(one.stake_rao for one in found if one.permit)
    assert left_out is not None or permitted > 0


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "5",
        {"neurons": [{"hotkey": HOTKEY}]},
        {"metagraph": {}},
        {"metagraph": {"state_call": {}}},
        {"metagraph": {"state_call": {"[]": {"result": "0x"}}}},
        {"metagraph": {"state_call": {'["NeuronInfoRuntimeApi_get_neurons_lite"]': {"result": "0x01"}}}},
        {"metagraph": {"state_call": {'["NeuronInfoRuntimeApi_get_neurons_lite"]': {"error": {}}}}},
    ],
)
def test_a_file_that_is_none_is_said_to_be_none(file, content):
    with pytest.raises(ConfigError, match=r"metagraph\.json"):
        recorded_neurons(file(content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        recorded_neurons(tmp_path / "metagraph.json")
