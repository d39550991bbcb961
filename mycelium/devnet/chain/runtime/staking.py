"""Stake: TAO becomes alpha of a subnet and back, one for one.

The real chain prices alpha by a pool that each trade moves; here every subnet is of the stable kind (mechanism 0),
whose price is always one. Limit orders are therefore filled whole, or not at all.
"""

from __future__ import annotations

from typing import Final

from mycelium.devnet.chain.runtime import balances
from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.neurons import PALLET
from mycelium.devnet.chain.runtime.state import State, Subnet

STAKE_MIN_RAO: Final = 2_000_000
PRICE_RAO: Final = 10**9
"""Rao for one alpha."""


def move(state: State, hotkey: str, coldkey: str, netuid: int, by_rao: int) -> None:
    """Add to or take from what a coldkey has staked to a hotkey on a subnet."""
    staked = state.get(PALLET, "Alpha", hotkey, coldkey, netuid)["bits"] >> 64
    state.put(PALLET, "Alpha", hotkey, coldkey, netuid, value={"bits": (staked + by_rao) << 64})
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


def check_add(context: Context, hotkey: str, netuid: int, amount_rao: int) -> Subnet:
    """Whether that much may be staked; the same before submission and in the block."""
    subnet = context.subnet(netuid)
    if amount_rao < STAKE_MIN_RAO:
        context.refuse("AmountTooLow")
    if not context.state.has(PALLET, "Owner", hotkey):
        context.refuse("HotKeyAccountNotExists")
    if balances.free_rao(context.state, context.account()) < amount_rao:
        context.refuse("NotEnoughBalanceToStake")
    return subnet


def check_remove(context: Context, hotkey: str, netuid: int, amount_rao: int) -> None:
    """Whether that much may be taken back."""
    context.subnet(netuid)
    if not context.state.has(PALLET, "Owner", hotkey):
        context.refuse("HotKeyAccountNotExists")
    staked = context.state.get(PALLET, "Alpha", hotkey, context.account(), netuid)["bits"] >> 64
    if amount_rao > staked:
        context.refuse("NotEnoughStakeToWithdraw")
    if amount_rao < STAKE_MIN_RAO and amount_rao != staked:
        context.refuse("AmountTooLow")


@call(PALLET, "add_stake")
def add_stake(context: Context, hotkey: str, netuid: int, amount_staked: int) -> None:
    coldkey = context.account()
    check_add(context, hotkey, netuid, amount_staked)
    balances.change(context.state, coldkey, -amount_staked)
    move(context.state, hotkey, coldkey, netuid, amount_staked)
    context.deposit(PALLET, "StakeAdded", (coldkey, hotkey, amount_staked, amount_staked, netuid, 0))


@call(PALLET, "add_stake_limit")
def add_stake_limit(
    context: Context, hotkey: str, netuid: int, amount_staked: int, limit_price: int, allow_partial: bool
) -> None:
    if limit_price < PRICE_RAO:
        context.refuse("ZeroMaxStakeAmount" if allow_partial else "SlippageTooHigh")
    add_stake(context, hotkey, netuid, amount_staked)


@call(PALLET, "remove_stake")
def remove_stake(context: Context, hotkey: str, netuid: int, amount_unstaked: int) -> None:
    coldkey = context.account()
    check_remove(context, hotkey, netuid, amount_unstaked)
    move(context.state, hotkey, coldkey, netuid, -amount_unstaked)
    balances.change(context.state, coldkey, amount_unstaked)
    context.deposit(PALLET, "StakeRemoved", (coldkey, hotkey, amount_unstaked, amount_unstaked, netuid, 0))


@call(PALLET, "remove_stake_limit")
def remove_stake_limit(
    context: Context, hotkey: str, netuid: int, amount_unstaked: int, limit_price: int, allow_partial: bool
) -> None:
    if limit_price > PRICE_RAO:
        context.refuse("ZeroMaxStakeAmount" if allow_partial else "SlippageTooHigh")
    remove_stake(context, hotkey, netuid, amount_unstaked)
