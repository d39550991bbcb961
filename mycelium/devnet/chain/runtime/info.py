"""What the runtime APIs say of neurons, subnets and stake (pallet-subtensor `rpc_info`): plain values by field name.

A field that is not given here is zero in the answer (`shapes`): the chain keeps it no longer, or this chain has no use
for it. Lists of trust, rank and pruning scores are empty, as on the public chain since spec 424.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime import staking
from mycelium.devnet.chain.runtime.epoch import activity_cutoff, next_epoch_block
from mycelium.devnet.chain.runtime.state import PALLET, State, Subnet, as_bytes, index_of

_NO_AXON: Final = {
    "block": 0, "version": 0, "ip": 0, "port": 0, "ip_type": 0, "protocol": 0, "placeholder1": 0, "placeholder2": 0,
}  # fmt: skip
_NO_PROMETHEUS: Final = {"block": 0, "version": 0, "ip": 0, "port": 0, "ip_type": 0}

_HYPERPARAMETERS: Final = {
    "rho": "Rho",
    "kappa": "Kappa",
    "immunity_period": "ImmunityPeriod",
    "min_allowed_weights": "MinAllowedWeights",
    "max_weights_limit": "MaxWeightsLimit",
    "tempo": "Tempo",
    "min_difficulty": "MinDifficulty",
    "max_difficulty": "MaxDifficulty",
    "difficulty": "Difficulty",
    "weights_version": "WeightsVersionKey",
    "weights_rate_limit": "WeightsSetRateLimit",
    "adjustment_interval": "AdjustmentInterval",
    "adjustment_alpha": "AdjustmentAlpha",
    "registration_allowed": "NetworkRegistrationAllowed",
    "target_regs_per_interval": "TargetRegistrationsPerInterval",
    "min_burn": "MinBurn",
    "max_burn": "MaxBurn",
    "burn": "Burn",
    "bonds_moving_avg": "BondsMovingAverage",
    "max_regs_per_block": "MaxRegistrationsPerBlock",
    "serving_rate_limit": "ServingRateLimit",
    "max_validators": "MaxAllowedValidators",
    "max_allowed_validators": "MaxAllowedValidators",
    "max_uids": "MaxAllowedUids",
    "max_allowed_uids": "MaxAllowedUids",
    "commit_reveal_period": "RevealPeriodEpochs",
    "commit_reveal_weights_enabled": "CommitRevealWeightsEnabled",
    "liquid_alpha_enabled": "LiquidAlphaOn",
}
"""Field of the answers -> storage item."""


def hyperparameters(subnet: Subnet) -> dict[str, Any]:
    """All of them, and the two that are kept together."""
    found = {name: subnet[item] for name, item in _HYPERPARAMETERS.items()}
    found["alpha_low"], found["alpha_high"] = subnet["AlphaValues"]
    found["subnet_is_active"] = subnet["FirstEmissionBlockNumber"] is not None
    return found | {"activity_cutoff": activity_cutoff(subnet), "transfers_enabled": True}


def subnet_info(subnet: Subnet) -> dict[str, Any]:
    """SubnetInfo, versions 1 and 2."""
    return hyperparameters(subnet) | {
        "netuid": subnet.netuid,
        "subnetwork_n": subnet["SubnetworkN"],
        "blocks_since_last_step": subnet["BlocksSinceLastStep"],
        "owner": subnet["SubnetOwner"],
    }


def dynamic(subnet: Subnet, block: int) -> dict[str, Any]:
    """What a subnet is, apart from its neurons."""
    last_step: int = subnet["LastMechansimStepBlock"]
    name = list(f"subnet {subnet.netuid}".encode() if subnet.netuid else b"root")
    symbol = list(as_bytes(subnet["TokenSymbol"]))
    return {
        "netuid": subnet.netuid,
        "name": name,
        "subnet_name": name,
        "symbol": symbol,
        "token_symbol": symbol,
        "network_registered_at": subnet["NetworkRegisteredAt"],
        "owner_hotkey": subnet["SubnetOwnerHotkey"],
        "owner_coldkey": subnet["SubnetOwner"],
        "block": block,
        "tempo": subnet["Tempo"],
        "last_step": last_step,
        "blocks_since_last_step": block - last_step,
        "alpha_in": subnet["SubnetAlphaIn"],
        "alpha_out": subnet["SubnetAlphaOut"],
        "tao_in": subnet["SubnetTAO"],
        "moving_price": {"bits": 1 << 32},
    }


def metagraph(state: State, subnet: Subnet, mecid: int = 0) -> dict[str, Any]:
    """The whole metagraph of a subnet, by field of `Metagraph`."""
    block = state.get("System", "Number")
    hotkeys = subnet.hotkeys()
    size = len(hotkeys)
    alpha = [subnet.stake(hotkey) for hotkey in hotkeys]
    weight = [subnet.weight(hotkey) for hotkey in hotkeys]
    axons = dict(state.map(PALLET, "Axons", subnet.netuid))
    index = index_of(subnet.netuid, mecid)
    return (
        hyperparameters(subnet)
        | dynamic(subnet, block)
        | {
            "num_uids": size,
            "hotkeys": hotkeys,
            "coldkeys": [state.get(PALLET, "Owner", hotkey) for hotkey in hotkeys],
            "identities": [None] * size,
            "axons": [axons.get(hotkey, _NO_AXON) for hotkey in hotkeys],
            "active": subnet.vector("Active"),
            "validator_permit": subnet.vector("ValidatorPermit"),
            "last_update": subnet.vector("LastUpdate", index=index),
            "emission": subnet.vector("Emission"),
            "dividends": subnet.vector("Dividends"),
            "incentives": subnet.vector("Incentive", index=index),
            "consensus": subnet.vector("Consensus"),
            "block_at_registration": [
                state.get(PALLET, "BlockAtRegistration", subnet.netuid, uid) for uid in range(size)
            ],
            "alpha_stake": alpha,
            "tao_stake": [state.get(PALLET, "TotalHotkeyAlpha", hotkey, 0) for hotkey in hotkeys],
            "total_stake": weight,
        }
    )


def selective(
    state: State, subnet: Subnet, fields: list[str], indices: list[int], mecid: int
) -> dict[str, Any]:
    """The metagraph with those fields only, by their place in `SelectiveMetagraph`; unknown places are passed over."""
    whole = metagraph(state, subnet, mecid)
    wanted = {fields[index] for index in indices if index < len(fields)}
    if "validators" in wanted:
        whole["validators"] = [uid for uid, permit in enumerate(whole["validator_permit"]) if permit]
    if "commitments" in wanted:
        whole["commitments"] = [
            (who, list(_commitment(state, subnet.netuid, who)))
            for who, _ in state.map("Commitments", "CommitmentOf", subnet.netuid)
        ]
    empty: dict[str, Any] = {"trust": [], "rank": [], "pruning_score": []}
    found = {name: whole.get(name, empty.get(name)) for name in fields if name in wanted}
    return {**found, "netuid": subnet.netuid}


def _commitment(state: State, netuid: int, who: str) -> bytes:
    """What is kept of a commitment, encoded (`Registration`): that is what the real chain gives."""
    return state.view.get(state.layout.key("Commitments", "CommitmentOf", (netuid, who))) or b""


def neuron(
    state: State, subnet: Subnet, uid: int, vectors: dict[str, list[Any]], *, whole: bool
) -> dict[str, Any]:
    """NeuronInfoLite; `whole`: NeuronInfo, with weights."""
    hotkey = subnet.hotkey(uid)
    coldkey = state.get(PALLET, "Owner", hotkey)
    found = {
        "hotkey": hotkey,
        "coldkey": coldkey,
        "uid": uid,
        "netuid": subnet.netuid,
        "axon_info": state.get(PALLET, "Axons", subnet.netuid, hotkey) or _NO_AXON,
        "prometheus_info": state.get(PALLET, "Prometheus", subnet.netuid, hotkey) or _NO_PROMETHEUS,
        "stake": [(coldkey, subnet.stake(hotkey))],
        "pruning_score": 65_535,
    } | {name: values[uid] for name, values in vectors.items()}
    if whole:
        weights = state.get(PALLET, "Weights", subnet.netuid, uid)
        found["weights"] = [(target, weight) for target, weight in weights if weight]
    return found


def vectors(subnet: Subnet) -> dict[str, list[Any]]:
    """What is kept of all uids together, by field of `NeuronInfoLite`."""
    items = {
        "active": "Active",
        "emission": "Emission",
        "incentive": "Incentive",
        "consensus": "Consensus",
        "validator_trust": "ValidatorTrust",
        "dividends": "Dividends",
        "last_update": "LastUpdate",
        "validator_permit": "ValidatorPermit",
    }
    return {name: subnet.vector(item) for name, item in items.items()}


def stakes(state: State, coldkey: str) -> list[dict[str, Any]]:
    """What a coldkey has staked, to any hotkey on any subnet."""
    netuids = [netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added]
    found = []
    for hotkey in state.get(PALLET, "StakingHotkeys", coldkey):
        for netuid in netuids:
            one = stake(state, hotkey, coldkey, netuid)
            if one["stake"]:
                found.append(one)
    return found


def stake(state: State, hotkey: str, coldkey: str, netuid: int) -> dict[str, Any]:
    """StakeInfo of one hotkey on one subnet."""
    return {
        "hotkey": hotkey,
        "coldkey": coldkey,
        "netuid": netuid,
        "stake": staking.staked(state, hotkey, coldkey, netuid),
        "is_registered": Subnet(state, netuid).uid(hotkey) is not None,
    }


def delegate(state: State, hotkey: str) -> dict[str, Any] | None:
    """DelegateInfo; None for a hotkey that nobody owns."""
    if not state.has(PALLET, "Owner", hotkey):
        return None
    netuids = [netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added]
    registered = [netuid for netuid in netuids if Subnet(state, netuid).uid(hotkey) is not None]
    permits = [
        netuid
        for netuid in registered
        if Subnet(state, netuid).vector("ValidatorPermit")[Subnet(state, netuid).uid(hotkey) or 0]
    ]
    owner = state.get(PALLET, "Owner", hotkey)
    staked = [(netuid, Subnet(state, netuid).stake(hotkey)) for netuid in netuids]
    return {
        "delegate_ss58": hotkey,
        "take": state.get(PALLET, "Delegates", hotkey),
        "nominators": [(owner, [pair for pair in staked if pair[1]])],
        "owner_ss58": owner,
        "registrations": registered,
        "validator_permits": permits,
    }


def next_epoch(subnet: Subnet) -> int | None:
    """The block in which the next epoch is computed."""
    return next_epoch_block(subnet)
