"""The state of block 0, from a `ChainSpec`."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from mycelium.devnet.chain.runtime import balances, neurons, staking
from mycelium.devnet.chain.runtime.calls import Context
from mycelium.devnet.chain.runtime.epoch import counted_stakes, permitted
from mycelium.devnet.chain.runtime.state import PALLET, State
from mycelium.devnet.chain.runtime.state import Subnet as SubnetState
from mycelium.devnet.chain.runtime.timelock import Beacon
from mycelium.devnet.chain.spec import ChainSpec, Neuron, Subnet
from mycelium.identity import account as accounts

SPEC_NAME: Final = "node-subtensor"
NAME_KEY: Final = b"mycelium:name"
CODE_KEY: Final = b":code"
_ROOT: Final = 0


def write(state: State, spec: ChainSpec, code: bytes) -> None:
    """Write it all. code: what stands for the runtime's own."""
    context = Context(state, None, 0, spec.genesis_time_ms or 0, "Initialization", spec.block_ms)
    # What the chain is called is part of its first state, so that other names are other chains.
    state.raw.put(NAME_KEY, f"{spec.name} {spec.seed}".encode())
    note_runtime(state, spec.runtime.spec_version, code)
    state.put("Timestamp", "Now", value=spec.genesis_time_ms or 0)
    for account, rao in spec.balances.items():
        balances.change(context, accounts.format(account), rao)
    if spec.sudo is not None:
        state.put("Sudo", "Key", value=accounts.format(spec.sudo))
    state.put(PALLET, "NetworksAdded", _ROOT, value=True)
    state.put(PALLET, "SubtokenEnabled", _ROOT, value=True)
    state.put(PALLET, "TokenSymbol", _ROOT, value="Τ".encode())
    # Without the real chain's week of waiting.
    state.put(PALLET, "StartCallDelay", value=0)
    beacon = state.get("Drand", "BeaconConfig")
    state.put("Drand", "BeaconConfig", value=Beacon(spec.seed).config(beacon))
    for subnet in spec.subnets:
        _subnet(context, subnet)


def note_runtime(state: State, spec_version: int, code: bytes) -> None:
    """Which runtime the state belongs to."""
    state.raw.put(CODE_KEY, code)
    upgrade = {"spec_version": spec_version, "spec_name": SPEC_NAME}
    state.put("System", "LastRuntimeUpgrade", value=upgrade)


def _subnet(context: Context, subnet: Subnet) -> None:
    state = context.state
    owner, coldkey = accounts.format(subnet.owner_hotkey), accounts.format(subnet.owner_coldkey)
    neurons.own(state, owner, coldkey)
    neurons.create_network(state, subnet.netuid, owner, coldkey, 0)
    found = SubnetState(state, subnet.netuid)
    found["Tempo"] = subnet.tempo
    found["CommitRevealWeightsEnabled"] = subnet.commit_reveal
    found["FirstEmissionBlockNumber"] = 1
    found["SubtokenEnabled"] = True
    # Small subnets would otherwise never have a place to give away.
    found["MinNonImmuneUids"] = 0
    for item, value in subnet.hyperparameters.items():
        found[item] = value
    for neuron in subnet.neurons:
        _neuron(context, found, neuron)
    earned = permitted(found, counted_stakes(state, found))
    given = [neuron.validator for neuron in subnet.neurons]
    found["ValidatorPermit"] = [one or other for one, other in zip(earned, given, strict=True)]


def _neuron(context: Context, subnet: SubnetState, neuron: Neuron) -> None:
    state = context.state
    hotkey, coldkey = accounts.format(neuron.hotkey), accounts.format(neuron.coldkey)
    neurons.own(state, hotkey, coldkey)
    neurons.append(subnet, hotkey, 0)
    if neuron.stake_rao:
        staking.move(state, hotkey, coldkey, subnet.netuid, neuron.stake_rao)
    if neuron.axon is not None:
        place: dict[str, Any] = {"protocol": 4, "placeholder1": 0, "placeholder2": 0}
        state.put(PALLET, "Axons", subnet.netuid, hotkey, value=_served(neuron.axon) | place)
    if neuron.prometheus is not None:
        state.put(PALLET, "Prometheus", subnet.netuid, hotkey, value=_served(neuron.prometheus))


def _served(address: tuple[str, int]) -> dict[str, Any]:
    ip = int(ipaddress.IPv4Address(address[0]))
    return {"block": 0, "version": 1, "ip": ip, "port": address[1], "ip_type": 4}
