"""The chain that `mycelium devnet chain` begins with: one subnet, its members from well-known paths, all funded.

Owns who is there by default. Anyone can derive these keys (`Keypair.development`): they are for one machine.
"""

from __future__ import annotations

from typing import Final

from mycelium.config import DEVCHAIN_BLOCK_MS
from mycelium.devnet.chain.spec import ChainSpec, Neuron, Subnet
from mycelium.identity.keys import Keypair

SUDO: Final = "//Alice"
OWNER: Final = "//owner"
COLDKEY: Final = "//coldkey"
VALIDATOR: Final = "//validator"
MINER: Final = "//miner"
RICH_RAO: Final = 1_000_000 * 10**9
"""What each coldkey, and //Alice, has: a million TAO."""
STAKE_RAO: Final = 10_000 * 10**9
"""What the first validator has at stake; each further one a little less, so that their order is known."""
STAKE_STEP_RAO: Final = 100 * 10**9


def account(path: str) -> bytes:
    """The account of a development path, 32 bytes."""
    return Keypair.development(path).account


def validator_path(index: int) -> str:
    return f"{VALIDATOR}//{index}"


def miner_path(index: int) -> str:
    return f"{MINER}//{index}"


def development(
    *,
    netuid: int = 1,
    validators: int = 2,
    miners: int = 2,
    seed: int = 0,
    block_ms: int = DEVCHAIN_BLOCK_MS,
    name: str = "Mycelium development chain",
) -> ChainSpec:
    """One subnet with that many members: validators first, uids in the order of their numbers."""
    coldkey, owner = account(COLDKEY), account(OWNER)
    neurons = [
        Neuron(
            hotkey=account(validator_path(index)),
            coldkey=coldkey,
            stake_rao=max(STAKE_RAO - index * STAKE_STEP_RAO, STAKE_STEP_RAO),
            validator=True,
        )
        for index in range(validators)
    ]
    neurons += [Neuron(hotkey=account(miner_path(index)), coldkey=coldkey) for index in range(miners)]
    subnet = Subnet(netuid=netuid, owner_hotkey=owner, owner_coldkey=owner, neurons=tuple(neurons))
    rich = (account(SUDO), account("//Bob"), coldkey, owner)
    return ChainSpec(
        name=name,
        seed=seed,
        block_ms=block_ms,
        balances=dict.fromkeys(rich, RICH_RAO),
        subnets=(subnet,),
        sudo=account(SUDO),
    )
