"""What a development chain begins with: accounts, subnets, neurons. Frozen data; `runtime.genesis` makes state of it.

Amounts in rao (10^-9 TAO), accounts as 32 raw bytes, times in ms since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mycelium.devnet.chain.metadata import RuntimeSpec, build
from mycelium.errors import ConfigError

BLOCK_MS: Final = 250
TEMPO: Final = 20


@dataclass(frozen=True, slots=True)
class Neuron:
    """One registered hotkey. axon, prometheus: (IPv4 address, port) as if served. validator: holds a permit at once."""

    hotkey: bytes
    coldkey: bytes
    stake_rao: int = 0
    axon: tuple[str, int] | None = None
    prometheus: tuple[str, int] | None = None
    validator: bool = False


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet; uids follow the order of `neurons`.

    hyperparameters: SubtensorModule storage item -> its value for this subnet, as in {"WeightsSetRateLimit": 0}.
    """

    netuid: int
    owner_hotkey: bytes
    owner_coldkey: bytes
    tempo: int = TEMPO
    neurons: tuple[Neuron, ...] = ()
    commit_reveal: bool = False
    hyperparameters: Mapping[str, int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """The whole chain. The same spec gives the same genesis hash; genesis_time_ms None: now."""

    name: str = "Mycelium development chain"
    seed: int = 0
    block_ms: int = BLOCK_MS
    balances: Mapping[bytes, int] = field(default_factory=dict)
    subnets: tuple[Subnet, ...] = ()
    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)
    genesis_time_ms: int | None = None
    sudo: bytes | None = None


@dataclass(frozen=True, slots=True)
class RecordedNeuron:
    """A neuron of a real subnet: its stake in rao and whether it held a permit."""

    hotkey: str
    stake_rao: int
    permit: bool


def recorded_neurons(path: Path) -> list[RecordedNeuron]:
    """Stakes and permits of a real subnet from a JSON file, by uid.

    The file is a list of objects with hotkey, stake_rao and validator_permit; or the node's own answers, recorded:
    `{"metagraph": {"state_call": {parameters: {"result": hex}}}}`, of which the subnet's state is read, or its
    neurons. ConfigError says what is wrong with the file.
    """
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", "name a JSON file of neurons") from None
    if isinstance(rows, dict) and "metagraph" in rows:
        return _recorded_answers(path, rows["metagraph"])
    if isinstance(rows, dict):
        rows = rows.get("neurons")
    try:
        return [
            RecordedNeuron(str(row["hotkey"]), int(row["stake_rao"]), bool(row["validator_permit"]))
            for row in rows
        ]
    except (TypeError, KeyError, ValueError):
        raise ConfigError(
            f"{path} is not a list of neurons", "each needs hotkey, stake_rao and validator_permit"
        ) from None


def _recorded_answers(path: Path, recorded: Any) -> list[RecordedNeuron]:
    # Loaded only here: who makes a chain of their own needs no decoder.
    import bittensor_core

    spec = RuntimeSpec()
    codec = bittensor_core.Runtime(build(spec).v15, spec.spec_version, spec.transaction_version)
    apis = codec.runtime_api_map()
    try:
        answers = {
            json.loads(parameters)[0]: answer["result"]
            for parameters, answer in recorded["state_call"].items()
        }
        for method in ("SubnetInfoRuntimeApi_get_subnet_state", "NeuronInfoRuntimeApi_get_neurons_lite"):
            if method in answers:
                api, _, function = method.partition("_")
                data = bytes.fromhex(answers[method].removeprefix("0x"))
                return _neurons_of(codec.decode(apis[api][function]["output"], data))
    except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(f"{path}: a recorded answer cannot be read: {error}") from None
    raise ConfigError(f"{path} holds no recorded subnet", "record get_subnet_state or get_neurons_lite")


def _neurons_of(answer: Any) -> list[RecordedNeuron]:
    """Of a subnet's state (stakes that count, with the root's), or of its neurons (alpha alone)."""
    if isinstance(answer, dict):
        columns = (answer["hotkeys"], answer["total_stake"], answer["validator_permit"])
        return [RecordedNeuron(*row) for row in zip(*columns, strict=True)]
    return [
        RecordedNeuron(one["hotkey"], sum(rao for _, rao in one["stake"]), one["validator_permit"])
        for one in answer
    ]
