"""The files of a local network on a development chain: wallets, what the chain begins with, settings of the nodes.

    DIR/network.json    DIR/chain.json    DIR/chain.state    DIR/chain.log    DIR/.env
    DIR/wallets/{validator1,...,miner1,...}/    DIR/node1/{node.toml,data/,node.log}    DIR/node2/...

Each validator runs a node; the first one also owns the subnet. A directory that holds a network already keeps its
wallets, its chain, its data and its ports. Starts no process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mycelium.devnet import layout, wallets
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.spec import ChainSpec, Neuron, RecordedNeuron, Subnet, recorded_neurons
from mycelium.devnet.layout import HOST, NETUID, ChainPlace, NetworkState, NodePlace
from mycelium.devnet.wallets import HOTKEY, Wallet
from mycelium.identity import account as accounts

TAO: Final = 10**9
BALANCE_RAO: Final = 10_000 * TAO
STAKE_RAO: Final = 5_000 * TAO
EPOCH_BLOCKS: Final = 20
TEMPO: Final = 20
"""Short, as on the chain's own networks for tests: permits are computed again as often as epochs change."""
BLOCK_MS: Final = 1_000
"""A network of a day has 86,400 blocks, of which the chain keeps the states of the last four hours."""
NEURONS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class ChainNetwork:
    """A prepared network: `nodes[i]` is run by the wallet `validators[i]`."""

    directory: Path
    chain: ChainPlace
    nodes: list[NodePlace]
    validators: list[Wallet]
    miners: list[Wallet]

    @property
    def env_file(self) -> Path:
        return self.directory / ".env"


def prepare(
    directory: Path,
    nodes: int,
    *,
    miners: int = 2,
    metagraph: Path | None = None,
    block_ms: int = BLOCK_MS,
    tables: str | None = None,
) -> ChainNetwork:
    """Write the files, or take over those that are there. Raises ConfigError, KeyFileError.

    metagraph: a recording of a real subnet, whose stakes and permits the neurons begin with; its other hotkeys are
    registered too, and nobody has their keys. miners, metagraph, block_ms: of a new network. tables: what
    `layout.read_tables` gave; without it one for each way of merging.
    """
    directory = directory.absolute()
    # Read before anything is written: a file that cannot be read leaves no half of a network.
    recorded = [] if metagraph is None else recorded_neurons(metagraph)
    network = layout.state(directory, layout.new_state(nodes, chain=True, miners=miners, block_ms=block_ms))
    root = directory / "wallets"
    validators = [wallets.make(root, f"validator{number}") for number in range(1, nodes + 1)]
    mining = [wallets.make(root, f"miner{number}") for number in range(1, network.miners + 1)]
    chain_port, *ports = network.ports
    chain = ChainPlace(directory, chain_port, network.block_ms, EPOCH_BLOCKS + 5)
    places = []
    admin_ports = layout.free_ports(nodes, network.ports)
    for number, (wallet, port) in enumerate(zip(validators, ports, strict=True), start=1):
        folder = directory / f"node{number}"
        folder.mkdir(exist_ok=True)
        places.append(NodePlace(folder.name, folder, wallet.hotkey, port, admin_ports[number - 1]))
    found = ChainNetwork(directory, chain, places, validators, mining)
    if not chain.spec.exists():
        specfile.write(chain.spec, _spec(found, network, recorded))
    for place, wallet in zip(places, validators, strict=True):
        place.config.write_text(_settings(place, wallet, chain, tables), encoding="utf-8")
    found.env_file.write_text(environment(found), encoding="utf-8")
    return found


def _spec(network: ChainNetwork, state: NetworkState, recorded: list[RecordedNeuron]) -> ChainSpec:
    """A subnet in which every wallet is registered, validators staked and with a permit."""
    owner = network.validators[0]
    by_stake = sorted(recorded, key=lambda neuron: neuron.stake_rao, reverse=True)
    with_permit = [neuron for neuron in by_stake if neuron.permit]
    without = [neuron for neuron in by_stake if not neuron.permit]
    # Ours take the places of those with the most stake.
    taken, left = with_permit[: len(network.nodes)], with_permit[len(network.nodes) :]
    taken_miners, left_miners = without[: len(network.miners)], without[len(network.miners) :]
    neurons = [
        Neuron(
            hotkey=wallet.hotkey.account,
            coldkey=wallet.coldkey.account,
            stake_rao=taken[index].stake_rao if index < len(taken) else STAKE_RAO,
            axon=(HOST, place.port),
            validator=True,
        )
        for index, (wallet, place) in enumerate(zip(network.validators, network.nodes, strict=True))
    ]
    neurons += [
        Neuron(
            hotkey=wallet.hotkey.account,
            coldkey=wallet.coldkey.account,
            stake_rao=taken_miners[index].stake_rao if index < len(taken_miners) else 0,
        )
        for index, wallet in enumerate(network.miners)
    ]
    others = [
        Neuron(hotkey, hotkey, neuron.stake_rao, validator=neuron.permit)
        for neuron in (*left, *left_miners)
        if (hotkey := accounts.parse(neuron.hotkey))
    ]
    subnet = Subnet(
        netuid=NETUID,
        owner_hotkey=owner.hotkey.account,
        owner_coldkey=owner.coldkey.account,
        tempo=TEMPO,
        neurons=(*neurons, *others)[:NEURONS_MAX],
        # With few neurons, and as the owner of a real subnet would set it: weights for one of them are enough.
        hyperparameters={"MaxAllowedUids": NEURONS_MAX, "MinAllowedWeights": 1},
    )
    balances = {wallet.coldkey.account: BALANCE_RAO for wallet in (*network.validators, *network.miners)}
    return ChainSpec(
        block_ms=state.block_ms,
        balances=balances,
        subnets=(subnet,),
        genesis_time_ms=state.genesis_time_ms,
        runtime=RuntimeSpec(recent_items=True),
        # Another network, another genesis: no node takes one for the other.
        seed=int(state.genesis, 16) % 2**31,
        sudo=owner.coldkey.account,
    )


def _settings(place: NodePlace, wallet: Wallet, chain: ChainPlace, tables: str | None) -> str:
    return f"""{layout.HEADER}
[node]
data_dir = "data"
listen = {json.dumps(f"{HOST}:{place.port}")}

# By its file, so that WALLET_NAME in ../.env makes no node another's.
[identity]
key_file = "../wallets/{wallet.name}/hotkeys/{HOTKEY}"

[network]
netuid = {NETUID}

[chain]
endpoints = ["{chain.url}"]
epoch_blocks = {EPOCH_BLOCKS}

{layout.admin(place)}{tables or layout.all_tables()}"""


def environment(network: ChainNetwork) -> str:
    """The `.env` with which programs of either family of libraries find this chain and its first wallet."""
    first = network.validators[0].name
    lines = {
        "NETUID": str(NETUID),
        "SUBTENSOR_NETWORK": "local",
        "SUBTENSOR_ADDRESS": network.chain.url,
        "WALLET_NAME": first,
        "HOTKEY_NAME": HOTKEY,
        "MIN_STAKE_THRESHOLD": "1000",
        "BT_NETWORK": "local",
        "BT_CHAIN_ENDPOINT": network.chain.url,
        "BT_WALLET": first,
        "BT_WALLET_HOTKEY": HOTKEY,
        "BT_WALLET_PATH": str(network.directory / "wallets"),
        "MYCELIUM_CHAIN_URL": network.chain.url,
        "MYCELIUM_CONFIG": str(network.nodes[0].config),
    }
    return "# The development network in this directory.\n" + "".join(
        f"{name}={value}\n" for name, value in lines.items()
    )
