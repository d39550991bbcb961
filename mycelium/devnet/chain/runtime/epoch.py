"""Epochs of a subnet: when they are, who gets a validator permit, what the weights add up to (`run_coinbase.rs`).

Emission is shown and paid to nobody: stake changes by stake calls alone, so that a test can count on it.
"""

from __future__ import annotations

from typing import Final

from mycelium.devnet.chain.runtime import yuma
from mycelium.devnet.chain.runtime.calls import Context
from mycelium.devnet.chain.runtime.state import PALLET, State, Subnet

EMISSION_RAO: Final = 10**9
"""Alpha for each block of an epoch."""
BLOCKS_MAX: Final = 50_400
"""After so many blocks without an epoch there is one, whatever the tempo (`MAX_TEMPO`)."""
REMOVED: Final = b"mycelium:permit-removed:"
"""Where an operator's removal of a permit is kept, outside the pallets: it holds until it is taken back."""


def next_epoch_block(subnet: Subnet) -> int | None:
    """The block that begins with the next epoch; None: never."""
    tempo: int = subnet["Tempo"]
    if not tempo:
        return None
    due: int = subnet["LastEpochBlock"] + tempo
    pending: int = subnet["PendingEpochAt"]
    return min(due, pending) if pending else due


def blocks_left(subnet: Subnet, block: int) -> int:
    """How many blocks it is until the next epoch by tempo."""
    left: int = subnet["LastEpochBlock"] + subnet["Tempo"] - block
    return max(0, left)


def is_due(subnet: Subnet, block: int) -> bool:
    """Whether an epoch must be computed in that block."""
    due = next_epoch_block(subnet)
    return due is not None and (block >= due or subnet["BlocksSinceLastStep"] > BLOCKS_MAX)


def deferred(subnets: list[Subnet], block: int, most: int) -> set[int]:
    """The netuids whose epoch is due and must wait: no more than `most` are computed in one block."""
    return {subnet.netuid for subnet in [one for one in subnets if is_due(one, block)][most:]}


def run_due(context: Context, subnet: Subnet, *, wait: bool) -> bool:
    """Count the block; compute the epoch if it is due, or put it off for a block. Whether it was computed."""
    subnet["BlocksSinceLastStep"] = subnet["BlocksSinceLastStep"] + 1
    if not is_due(subnet, context.number):
        return False
    if wait:
        subnet["PendingEpochAt"] = context.number + 1
        put_off = {"netuid": subnet.netuid, "from_block": context.number, "to_block": context.number + 1}
        context.deposit(PALLET, "EpochDeferred", put_off)
        return False
    compute(context, subnet)
    subnet["BlocksSinceLastStep"] = subnet["PendingEpochAt"] = 0
    subnet["LastEpochBlock"] = subnet["LastMechansimStepBlock"] = context.number
    subnet["SubnetEpochIndex"] = subnet["SubnetEpochIndex"] + 1
    return True


def activity_cutoff(subnet: Subnet) -> int:
    """For how many blocks a validator counts as active after its last weights."""
    blocks: int = subnet["ActivityCutoffFactorMilli"] * subnet["Tempo"] // 1000
    return max(1, blocks)


def compute(context: Context, subnet: Subnet) -> None:
    """Write permits, consensus, incentive, dividends, emission and activity.

    Permits that the epoch gives count from the next one on, as on the real chain.
    """
    state, size = context.state, subnet["SubnetworkN"]
    stakes = counted_stakes(state, subnet)
    permits = held_permits(subnet)
    cutoff = activity_cutoff(subnet)
    mechanisms = subnet.mechanisms()
    parts, active = [], [False] * size
    for index in mechanisms:
        updated = subnet.vector("LastUpdate", index=index)
        awake = [block + cutoff >= context.number for block in updated]
        active = [one or other for one, other in zip(active, awake, strict=True)]
        voting = {uid: stakes[uid] for uid in range(size) if permits[uid] and awake[uid] and stakes[uid]}
        rows = {uid: _row(state, subnet, index, uid, updated[uid]) for uid in voting}
        part = yuma.terms(size, voting, rows, subnet["Kappa"] / yuma.U16_MAX)
        state.put(PALLET, "Incentive", index, value=yuma.u16(part.incentive))
        parts.append(part)
    # Mechanisms share the emission evenly.
    count = len(parts)
    mean = {
        name: [sum(column) / count for column in zip(*(getattr(part, name) for part in parts), strict=True)]
        for name in ("consensus", "trust", "incentive", "dividends")
    }
    subnet["Consensus"], subnet["ValidatorTrust"] = yuma.u16(mean["consensus"]), yuma.u16(mean["trust"])
    subnet["Dividends"], subnet["Active"] = yuma.u16(mean["dividends"]), active
    total = sum(stakes)
    subnet["StakeWeight"] = yuma.u16([stake / total if total else 0.0 for stake in stakes])
    subnet["ValidatorPermit"] = permitted(subnet, stakes)
    subnet["Emission"] = _emission(subnet, mean, stakes)


def _row(state: State, subnet: Subnet, index: int, uid: int, updated: int) -> list[tuple[int, int]]:
    """A validator's weights that count: not for itself, unless it is the owner, and not for who came after them."""
    owner = subnet.owner_uid()
    return [
        (target, weight)
        for target, weight in state.get(PALLET, "Weights", index, uid)
        if (target != uid or uid == owner)
        and updated > state.get(PALLET, "BlockAtRegistration", subnet.netuid, target)
    ]


def _emission(subnet: Subnet, mean: dict[str, list[float]], stakes: list[int]) -> list[int]:
    """Half to incentive, half to dividends; by stake while nobody has set weights."""
    amount = EMISSION_RAO * max(1, subnet["BlocksSinceLastStep"])
    if any(mean["incentive"]) or any(mean["dividends"]):
        earned = [(one + other) / 2 for one, other in zip(mean["incentive"], mean["dividends"], strict=True)]
    else:
        total = sum(stakes)
        earned = [stake / total if total else 0.0 for stake in stakes]
    return [int(amount * share) for share in earned]


def counted_stakes(state: State, subnet: Subnet) -> list[int]:
    """Each uid's stake weight in rao; zero below `StakeThreshold`, but for the owner."""
    threshold, owner = state.get(PALLET, "StakeThreshold"), subnet.owner_uid()
    weights = [subnet.weight(hotkey) for hotkey in subnet.hotkeys()]
    return [weight if weight >= threshold or uid == owner else 0 for uid, weight in enumerate(weights)]


def held_permits(subnet: Subnet) -> list[bool]:
    """Who holds a permit now; the owner always, unless an operator took it."""
    permits: list[bool] = subnet.vector("ValidatorPermit")
    owner = subnet.owner_uid()
    if owner is not None and not is_removed(subnet, owner):
        permits[owner] = True
    return permits


def permitted(subnet: Subnet, stakes: list[int]) -> list[bool]:
    """Who holds a permit from now on: the top `MaxAllowedValidators` by counted stake, and the owner."""
    able = [uid for uid, stake in enumerate(stakes) if stake]
    # Of equal stakes the later uid goes first, as the real chain sorts.
    able.sort(key=lambda uid: (stakes[uid], uid), reverse=True)
    chosen: set[int | None] = {*able[: subnet["MaxAllowedValidators"]], subnet.owner_uid()}
    return [uid in chosen and not is_removed(subnet, uid) for uid in range(len(stakes))]


def is_removed(subnet: Subnet, uid: int) -> bool:
    """Whether an operator took the permit of the hotkey that has the uid."""
    return subnet.state.view.get(removed_key(subnet.netuid, subnet.hotkey(uid))) is not None


def removed_key(netuid: int, hotkey: str) -> bytes:
    """Where it is noted that an operator took a hotkey's permit."""
    return REMOVED + netuid.to_bytes(2, "big") + hotkey.encode()
