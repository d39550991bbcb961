"""Epochs of a subnet: who gets a validator permit, what the weights add up to, and when the next one is.

Yuma consensus is simplified to its core: consensus is the stake-weighted median of what permitted validators gave a
uid, weights above it are clipped, incentive is what is left. Bonds have no memory: dividends follow this epoch alone.
"""

from __future__ import annotations

from typing import Final

from mycelium.devnet.chain.runtime.calls import Context
from mycelium.devnet.chain.runtime.neurons import PALLET
from mycelium.devnet.chain.runtime.state import State, Subnet
from mycelium.devnet.chain.runtime.weights import U16_MAX

EMISSION_RAO: Final = 10**9
"""Alpha for each block of an epoch."""
REMOVED: Final = b"mycelium:permit-removed:"
"""Where an operator's removal of a permit is kept, outside the pallets: it holds until it is taken back."""


def next_epoch_block(subnet: Subnet) -> int | None:
    """The block whose end computes the next epoch; None: never."""
    pending: int = subnet["PendingEpochAt"]
    if pending:
        return pending
    tempo: int = subnet["Tempo"]
    return subnet["LastEpochBlock"] + tempo if tempo else None


def run_due(context: Context, subnet: Subnet) -> bool:
    """Compute the epoch if it is due; whether it was."""
    due = next_epoch_block(subnet)
    if due is None or context.number < due:
        subnet["BlocksSinceLastStep"] = subnet["BlocksSinceLastStep"] + 1
        return False
    compute(context, subnet)
    subnet["LastEpochBlock"] = subnet["LastMechansimStepBlock"] = context.number
    subnet["SubnetEpochIndex"] = subnet["SubnetEpochIndex"] + 1
    subnet["BlocksSinceLastStep"] = subnet["PendingEpochAt"] = 0
    return True


def compute(context: Context, subnet: Subnet) -> None:
    """Write permits, consensus, incentive, dividends, emission and activity."""
    state, size = context.state, subnet["SubnetworkN"]
    hotkeys = subnet.hotkeys()
    stakes = [subnet.weight(hotkey) for hotkey in hotkeys]
    permits = permitted(state, subnet, hotkeys, stakes)
    cutoff: int = subnet["ActivityCutoff"]
    updated = subnet.vector("LastUpdate")
    subnet["ValidatorPermit"] = permits
    subnet["Active"] = [context.number - block < max(1, cutoff) for block in updated]
    rows = {
        uid: dict(state.get(PALLET, "Weights", subnet.netuid, uid)) for uid in range(size) if permits[uid]
    }
    voting = {uid: stakes[uid] for uid, row in rows.items() if row and stakes[uid]}
    consensus = [_median(uid, rows, voting) for uid in range(size)]
    clipped = {uid: {t: min(w, consensus[t]) for t, w in rows[uid].items() if t < size} for uid in voting}
    ranks = [sum(voting[v] * clipped[v].get(uid, 0) for v in voting) for uid in range(size)]
    total = sum(ranks)
    earned = [
        sum(clipped[v].get(uid, 0) * ranks[uid] for uid in range(size)) * voting[v] if v in voting else 0
        for v in range(size)
    ]
    incentive, dividends = _shares(ranks), _shares(earned)
    subnet["Consensus"], subnet["Incentive"], subnet["Dividends"] = consensus, incentive, dividends
    trust = [
        sum(clipped[v].values()) * U16_MAX // max(1, sum(rows[v].values())) if v in voting else 0
        for v in range(size)
    ]
    subnet["ValidatorTrust"] = trust
    amount = EMISSION_RAO * max(1, subnet["BlocksSinceLastStep"])
    subnet["Emission"] = [
        amount * (incentive[uid] + dividends[uid]) // (2 * U16_MAX) if total else 0 for uid in range(size)
    ]


def permitted(state: State, subnet: Subnet, hotkeys: list[str], stakes: list[int]) -> list[bool]:
    """The top `MaxAllowedValidators` by stake, of those with any and at least `StakeThreshold`; the owner always."""
    threshold = state.get(PALLET, "StakeThreshold")
    able = [uid for uid, stake in enumerate(stakes) if stake and stake >= threshold]
    able.sort(key=lambda uid: (-stakes[uid], uid))
    chosen = set(able[: subnet["MaxAllowedValidators"]])
    owner = subnet["SubnetOwnerHotkey"]
    return [
        (uid in chosen or hotkey == owner) and state.view.get(removed_key(subnet.netuid, hotkey)) is None
        for uid, hotkey in enumerate(hotkeys)
    ]


def removed_key(netuid: int, hotkey: str) -> bytes:
    """Where it is noted that an operator took a hotkey's permit."""
    return REMOVED + netuid.to_bytes(2, "big") + hotkey.encode()


def _median(uid: int, rows: dict[int, dict[int, int]], voting: dict[int, int]) -> int:
    """The largest weight that validators with at least half of the stake gave the uid."""
    half, above = sum(voting.values()) / 2, 0.0
    for given, stake in sorted(((rows[v].get(uid, 0), stake) for v, stake in voting.items()), reverse=True):
        above += stake
        if above >= half:
            return given
    return 0


def _shares(values: list[int]) -> list[int]:
    """Shares of the largest, as u16."""
    largest = max(values, default=0)
    return [value * U16_MAX // largest for value in values] if largest else [0] * len(values)
