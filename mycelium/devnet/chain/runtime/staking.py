"""Stake: TAO becomes alpha of a subnet and back, one for one.

The real chain prices alpha by a pool that each trade moves; here every subnet is of the stable kind (mechanism 0),
whose price is always one. Limit orders are therefore filled whole, or not at all.
"""

from __future__ import annotations

from typing import Final

from mycelium.devnet.chain.runtime import balances
from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.state import PALLET, State

STAKE_MIN_RAO: Final = 2_000_000
PRICE_RAO: Final = 10**9
"""Rao for one alpha."""


def move(state: State, hotkey: str, coldkey: str, netuid: int, by_rao: int) -> None:
    """Add to or take from what a coldkey has staked to a hotkey on a subnet."""
    held = staked(state, hotkey, coldkey, netuid) + by_rao
    if held:
        state.put(PALLET, "Alpha", hotkey, coldkey, netuid, value={"bits": held << 64})
    else:
        state.delete(PALLET, "Alpha", hotkey, coldkey, netuid)
    total = state.get(PALLET, "TotalHotkeyAlpha", hotkey, netuid) + by_rao
    state.put(PALLET, "TotalHotkeyAlpha", hotkey, netuid, value=total)
    state.put(PALLET, "TotalHotkeyShares", hotkey, netuid, value={"bits": total << 64})
    out = state.get(PALLET, "SubnetAlphaOut", netuid)
    state.put(PALLET, "SubnetAlphaOut", netuid, value=max(0, out + by_rao))
    tao = state.get(PALLET, "SubnetTAO", netuid)
    state.put(PALLET, "SubnetTAO", netuid, value=max(0, tao + by_rao))
    all_stake = state.get(PALLET, "TotalStake")
    state.put(PALLET, "TotalStake", value=max(0, all_stake + by_rao))
    staking = state.get(PALLET, "StakingHotkeys", coldkey)
    if hotkey not in staking:
        state.put(PALLET, "StakingHotkeys", coldkey, value=[*staking, hotkey])


def staked(state: State, hotkey: str, coldkey: str, netuid: int) -> int:
    """What a coldkey has staked to a hotkey on a subnet, in rao of alpha."""
    bits: int = state.get(PALLET, "Alpha", hotkey, coldkey, netuid)["bits"]
    return bits >> 64


def _check_add(context: Context, hotkey: str, netuid: int, amount_rao: int, limit_rao: int | None) -> None:
    subnet = context.subnet(netuid)
    if not subnet["SubtokenEnabled"]:
        context.refuse("SubtokenDisabled")
    if amount_rao < STAKE_MIN_RAO:
        context.refuse("AmountTooLow")
    if limit_rao is not None and limit_rao < PRICE_RAO:
        context.refuse("SlippageTooHigh")
    if balances.free_rao(context.state, context.account()) < amount_rao:
        context.refuse("NotEnoughBalanceToStake")
    if not context.state.has(PALLET, "Owner", hotkey):
        context.refuse("HotKeyAccountNotExists")


@call(PALLET, "add_stake")
def add_stake(context: Context, hotkey: str, netuid: int, amount_staked: int) -> None:
    _add(context, hotkey, netuid, amount_staked, None)


@call(PALLET, "add_stake_limit")
def add_stake_limit(
    context: Context, hotkey: str, netuid: int, amount_staked: int, limit_price: int, allow_partial: bool
) -> None:
    """The price never moves, so that there is no part of a trade that could be done: all of it or nothing."""
    if limit_price < PRICE_RAO and allow_partial:
        context.subnet(netuid)
        context.refuse("AmountTooLow")
    _add(context, hotkey, netuid, amount_staked, limit_price)


def _add(context: Context, hotkey: str, netuid: int, amount_rao: int, limit_rao: int | None) -> None:
    coldkey = context.account()
    _check_add(context, hotkey, netuid, amount_rao, limit_rao)
    balances.change(context, coldkey, -amount_rao)
    move(context.state, hotkey, coldkey, netuid, amount_rao)
    context.deposit(PALLET, "StakeAdded", (coldkey, hotkey, amount_rao, amount_rao, netuid, 0))


@call(PALLET, "remove_stake")
def remove_stake(context: Context, hotkey: str, netuid: int, amount_unstaked: int) -> None:
    _remove(context, hotkey, netuid, amount_unstaked, None)


@call(PALLET, "remove_stake_limit")
def remove_stake_limit(
    context: Context, hotkey: str, netuid: int, amount_unstaked: int, limit_price: int, allow_partial: bool
) -> None:
    if limit_price > PRICE_RAO and allow_partial:
        context.subnet(netuid)
        context.refuse("AmountTooLow")
    _remove(context, hotkey, netuid, amount_unstaked, limit_price)


@call(PALLET, "remove_stake_full_limit")
def remove_stake_full_limit(context: Context, hotkey: str, netuid: int, limit_price: int | None) -> None:
    _remove(context, hotkey, netuid, 2**64 - 1, limit_price)


@call(PALLET, "unstake_all")
def unstake_all(context: Context, hotkey: str) -> None:
    """From every subnet; where there is nothing or too little, nothing happens."""
    if not context.state.has(PALLET, "Owner", hotkey):
        context.refuse("HotKeyAccountNotExists")
    for netuid, added in list(context.state.map(PALLET, "NetworksAdded")):
        if added and staked(context.state, hotkey, context.account(), netuid):
            _remove(context, hotkey, netuid, 2**64 - 1, None)


def _remove(context: Context, hotkey: str, netuid: int, amount_rao: int, limit_rao: int | None) -> None:
    """Of what is asked, at most what is there: fees may have been paid from it."""
    coldkey, state = context.account(), context.state
    context.subnet(netuid)
    held = staked(state, hotkey, coldkey, netuid)
    amount_rao = min(amount_rao, held)
    if not amount_rao or (amount_rao < STAKE_MIN_RAO and amount_rao != held):
        context.refuse("AmountTooLow")
    if limit_rao is not None and limit_rao > PRICE_RAO:
        context.refuse("SlippageTooHigh")
    if not state.has(PALLET, "Owner", hotkey):
        context.refuse("HotKeyAccountNotExists")
    move(state, hotkey, coldkey, netuid, -amount_rao)
    balances.change(context, coldkey, amount_rao)
    context.deposit(PALLET, "StakeRemoved", (coldkey, hotkey, amount_rao, amount_rao, netuid, 0))
