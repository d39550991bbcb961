"""Balances and fees (pallet-balances, pallet-transaction-payment): what accounts have, when they begin and end.

Fees are simplified: a fixed part and one for each byte, where the real chain weighs each call. They are burned.
Nothing is ever reserved, held or locked.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, DispatchError, call
from mycelium.devnet.chain.runtime.state import State

EXISTENTIAL_RAO: Final = 500
"""An account with less is no account: it is reaped, what it had is lost."""
FEE_BASE_RAO: Final = 100_000
FEE_BYTE_RAO: Final = 100


def fee_rao(length_bytes: int, *, pays: bool) -> int:
    """What an extrinsic of that length costs its signer."""
    return FEE_BASE_RAO + FEE_BYTE_RAO * length_bytes if pays else 0


def free_rao(state: State, account: str) -> int:
    """An account's free balance."""
    free: int = state.get("System", "Account", account)["data"]["free"]
    return free


def exists(state: State, account: str) -> bool:
    """Whether something keeps the account alive: only then may it sign what costs a fee.

    One that has only ever made free calls has a nonce, and nothing more.
    """
    providers: int = state.get("System", "Account", account)["providers"]
    return providers > 0


def can_pay(state: State, account: str, fee: int) -> bool:
    """Whether the account can pay a fee and live on."""
    return free_rao(state, account) - fee >= EXISTENTIAL_RAO


def change(context: Context, account: str, by_rao: int) -> None:
    """Add to or take from a free balance, and from the total issuance. DispatchError when it does not suffice.

    An account that is given its first balance begins, one that falls below the existential deposit ends.
    """
    state = context.state
    found = state.get("System", "Account", account)
    free = found["data"]["free"] + by_rao
    if free < 0:
        context.refuse("InsufficientBalance", "Balances")
    issued = state.get("Balances", "TotalIssuance") + by_rao
    if free < EXISTENTIAL_RAO:
        if free:
            context.deposit("Balances", "DustLost", {"account": account, "amount": free})
        if found["providers"]:
            state.delete("System", "Account", account)
            context.deposit("System", "KilledAccount", {"account": account})
        state.put("Balances", "TotalIssuance", value=issued - free)
        return
    found["data"]["free"] = free
    if not found["providers"]:
        found["providers"] = 1
        context.deposit("System", "NewAccount", {"account": account})
        context.deposit("Balances", "Endowed", {"account": account, "free_balance": free})
    state.put("System", "Account", account, value=found)
    state.put("Balances", "TotalIssuance", value=issued)


def take_fee(context: Context, account: str, fee: int) -> None:
    """Take what an extrinsic costs; `validate` has seen that it is there."""
    change(context, account, -fee)
    context.deposit("Balances", "Withdraw", {"who": account, "amount": fee})


def next_nonce(state: State, account: str) -> None:
    found = state.get("System", "Account", account)
    found["nonce"] += 1
    state.put("System", "Account", account, value=found)


def target(dest: Any) -> str:
    """The account of a MultiAddress, as the codec gives it. CannotLookup for other kinds of address."""
    if isinstance(dest, dict):
        dest = dest.get("Id")
    if not isinstance(dest, str):
        raise DispatchError("", "CannotLookup")
    return dest


def transfer(context: Context, dest: Any, value: int, *, keep: bool) -> None:
    """Move a balance. `keep`: the sender must not fall below what keeps an account alive."""
    sender, receiver = context.account(), target(dest)
    state = context.state
    left = free_rao(state, sender) - value
    if left < 0:
        raise DispatchError("", "FundsUnavailable")
    if sender != receiver:
        if keep and left < EXISTENTIAL_RAO:
            raise DispatchError("", "NotExpendable")
        if not exists(state, receiver) and value < EXISTENTIAL_RAO:
            raise DispatchError("", "BelowMinimum")
        change(context, sender, -value)
        change(context, receiver, value)
    context.deposit("Balances", "Transfer", {"from": sender, "to": receiver, "amount": value})


@call("Balances", "transfer_allow_death")
def transfer_allow_death(context: Context, dest: Any, value: int) -> None:
    transfer(context, dest, value, keep=False)


@call("Balances", "transfer_keep_alive")
def transfer_keep_alive(context: Context, dest: Any, value: int) -> None:
    transfer(context, dest, value, keep=True)


@call("Balances", "transfer_all")
def transfer_all(context: Context, dest: Any, keep_alive: bool) -> None:
    kept = EXISTENTIAL_RAO if keep_alive else 0
    transfer(context, dest, max(0, free_rao(context.state, context.account()) - kept), keep=keep_alive)


@call("Balances", "force_set_balance")
def force_set_balance(context: Context, who: Any, new_free: int) -> None:
    """Root gives or takes whatever it likes; less than the existential deposit is nothing."""
    context.root()
    account, wanted = target(who), new_free if new_free >= EXISTENTIAL_RAO else 0
    by_rao = wanted - free_rao(context.state, account)
    if context.state.get("Balances", "TotalIssuance") + by_rao >= 1 << 64:
        raise DispatchError("", "Overflow")
    if by_rao:
        change(context, account, by_rao)
    context.deposit("Balances", "BalanceSet", {"who": account, "free": wanted})
