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

import msgspec

from mycelium.devnet import layout, wallets
from mycelium.devnet.chain.spec import ChainSpec, Neuron, Subnet
from mycelium.devnet.layout import HOST, NETUID, ChainPlace, NodePlace
from mycelium.devnet.wallets import HOTKEY, Wallet

TAO: Final = 10**9
BALANCE_RAO: Final = 10_000 * TAO
STAKE_RAO: Final = 5_000 * TAO
EPOCH_BLOCKS: Final = 20
BLOCK_MS: Final = 250
TEMPO: Final = 20
"""Short, as on the chain's own fast-runtime networks: permits are computed again every five seconds."""


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


def prepare(directory: Path, nodes: int, *, miners: int = 2, metagraph: Path | None = None) -> ChainNetwork:
    """Write the files, or take over those that are there. Raises ConfigError, KeyFileError.

    metagraph: a recording of a real subnet, whose stakes and permits the neurons begin with.
    """
    directory = directory.absolute()
    network = layout.state(directory, layout.new_state(nodes, chain=True, miners=miners))
    root = directory / "wallets"
    validators = [wallets.make(root, f"validator{number}") for number in range(1, nodes + 1)]
    mining = [wallets.make(root, f"miner{number}") for number in range(1, network.miners + 1)]
    chain_port, *ports = network.ports
    chain = ChainPlace(directory, chain_port, BLOCK_MS)
    places = []
    for number, (wallet, port) in enumerate(zip(validators, ports, strict=True), start=1):
        folder = directory / f"node{number}"
        folder.mkdir(exist_ok=True)
        places.append(NodePlace(folder.name, folder, wallet.hotkey, port))
    found = ChainNetwork(directory, chain, places, validators, mining)
    if not chain.spec.exists():
        chain.spec.write_bytes(msgspec.json.encode(_spec(found, network.genesis_time_ms, metagraph)))
    for place, wallet in zip(places, validators, strict=True):
        place.config.write_text(_settings(place, wallet, chain), encoding="utf-8")
    found.env_file.write_text(environment(found), encoding="utf-8")
    return found


def _spec(network: ChainNetwork, genesis_time_ms: int, metagraph: Path | None) -> ChainSpec:
    """A subnet in which every wallet is registered, validators staked and with a permit."""
    del metagraph
    owner = network.validators[0]
    neurons = [
        Neuron(
            hotkey=wallet.hotkey.account,
            coldkey=wallet.coldkey.account,
            stake_rao=STAKE_RAO,
            axon=(HOST, place.port),
            validator=True,
        )
        for wallet, place in zip(network.validators, network.nodes, strict=True)
    ]
    neurons += [
        Neuron(hotkey=wallet.hotkey.account, coldkey=wallet.coldkey.account) for wallet in network.miners
    ]
    subnet = Subnet(
        netuid=NETUID,
        owner_hotkey=owner.hotkey.account,
        owner_coldkey=owner.coldkey.account,
        tempo=TEMPO,
        neurons=tuple(neurons),
    )
    balances = {wallet.coldkey.account: BALANCE_RAO for wallet in (*network.validators, *network.miners)}
    return ChainSpec(block_ms=BLOCK_MS, balances=balances, subnets=(subnet,), genesis_time_ms=genesis_time_ms)


def _settings(place: NodePlace, wallet: Wallet, chain: ChainPlace) -> str:
    return f"""{layout.HEADER}
[node]
data_dir = "data"
listen = {json.dumps(f"{HOST}:{place.port}")}

[identity]
wallet = "{wallet.name}"
hotkey = "{HOTKEY}"
wallet_path = "../wallets"

[network]
netuid = {NETUID}

[chain]
endpoints = ["{chain.url}"]
epoch_blocks = {EPOCH_BLOCKS}
{layout.tables()}"""


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
        "MYCELIUM_CONFIG": str(network.nodes[0].config),
    }
    return "# The development network in this directory.\n" + "".join(
        f"{name}={value}\n" for name, value in lines.items()
    )
