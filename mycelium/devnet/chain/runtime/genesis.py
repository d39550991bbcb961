"""The state of block 0, from a `ChainSpec`."""

from __future__ import annotations

import ipaddress
from typing import Any

from mycelium.devnet.chain.runtime import balances, neurons, staking
from mycelium.devnet.chain.runtime.calls import Context
from mycelium.devnet.chain.runtime.epoch import permitted
from mycelium.devnet.chain.runtime.neurons import PALLET
from mycelium.devnet.chain.runtime.state import State
from mycelium.devnet.chain.runtime.state import Subnet as SubnetState
from mycelium.devnet.chain.runtime.timelock import Beacon
from mycelium.devnet.chain.spec import ChainSpec, Neuron, Subnet
from mycelium.identity import account as accounts

CODE_KEY = b":code"
_ROOT = 0


def write(state: State, spec: ChainSpec) -> None:
    """Write it all. The runtime's code is a name: there is no wasm to run."""
    context = Context(state, None, 0, spec.genesis_time_ms or 0, "Initialization", spec.block_ms)
    state.raw.put(CODE_KEY, f"{spec.name} {spec.seed}".encode())
    upgrade = {"spec_version": spec.runtime.spec_version, "spec_name": "node-subtensor"}
    state.put("System", "LastRuntimeUpgrade", value=upgrade)
    state.put("Timestamp", "Now", value=spec.genesis_time_ms or 0)
    for account, rao in spec.balances.items():
        balances.change(state, accounts.format(account), rao)
    if spec.sudo is not None:
        state.put("Sudo", "Key", value=accounts.format(spec.sudo))
    state.put(PALLET, "NetworksAdded", _ROOT, value=True)
    beacon = state.get("Drand", "BeaconConfig")
    state.put("Drand", "BeaconConfig", value=Beacon(spec.seed).config(beacon))
    for subnet in spec.subnets:
        _subnet(context, subnet)


def _subnet(context: Context, subnet: Subnet) -> None:
    state = context.state
    owner, coldkey = accounts.format(subnet.owner_hotkey), accounts.format(subnet.owner_coldkey)
    neurons.own(state, owner, coldkey)
    neurons.create_network(state, subnet.netuid, owner, coldkey, 0)
    found = SubnetState(state, subnet.netuid)
    found["Tempo"] = subnet.tempo
    found["CommitRevealWeightsEnabled"] = subnet.commit_reveal
    found["FirstEmissionBlockNumber"] = 1
    for item, value in subnet.hyperparameters.items():
        found[item] = value
    for neuron in subnet.neurons:
        _neuron(context, found, neuron)
    hotkeys = found.hotkeys()
    stakes = [found.weight(hotkey) for hotkey in hotkeys]
    earned = permitted(state, found, hotkeys, stakes)
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
