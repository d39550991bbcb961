"""Balances, fees, batches, proxies and root's calls: what is not Subtensor's own.

Fees are simplified: a fixed part and one for each byte, where the real chain weighs each call. They are burned.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, DispatchError, arguments, call
from mycelium.devnet.chain.runtime.state import State

EXISTENTIAL_RAO: Final = 500
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
    """Whether the account has ever been given anything: only then may it sign."""
    return state.has("System", "Account", account)


def change(state: State, account: str, by_rao: int) -> None:
    """Add to or take from a free balance, and from the total issuance. DispatchError when it does not suffice."""
    found = state.get("System", "Account", account)
    free = found["data"]["free"] + by_rao
    if free < 0:
        raise DispatchError("Balances", "InsufficientBalance")
    found["data"]["free"] = free
    found["providers"] = max(1, found["providers"])
    state.put("System", "Account", account, value=found)
    issued = state.get("Balances", "TotalIssuance")
    state.put("Balances", "TotalIssuance", value=max(0, issued + by_rao))


def next_nonce(state: State, account: str) -> None:
    found = state.get("System", "Account", account)
    found["nonce"] += 1
    state.put("System", "Account", account, value=found)


def target(dest: Any) -> str:
    """The account of a MultiAddress, as the codec gives it."""
    if isinstance(dest, dict):
        dest = next(iter(dest.values()))
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
    if keep and left < EXISTENTIAL_RAO:
        raise DispatchError("", "NotExpendable")
    if not exists(state, receiver) and value < EXISTENTIAL_RAO:
        raise DispatchError("", "BelowMinimum")
    change(state, sender, -value)
    change(state, receiver, value)
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
    transfer(context, dest, free_rao(context.state, context.account()) - kept, keep=keep_alive)


@call("System", "remark")
@call("System", "remark_with_event")
def remark(context: Context, remark: Any) -> None:
    """Nothing happens: for tests of clients."""


@call("Utility", "batch")
def batch(context: Context, calls: list[Any]) -> None:
    """Stops at the first call that fails; what was done before it stays."""
    for index, inner in enumerate(calls):
        try:
            context.dispatch(inner["call_module"], inner["call_function"], arguments(inner))
        except DispatchError as error:
            failed = {"index": index, "error": encoded_error(context.state, error)}
            context.deposit("Utility", "BatchInterrupted", failed)
            return
        context.deposit("Utility", "ItemCompleted")
    context.deposit("Utility", "BatchCompleted")


@call("Utility", "batch_all")
def batch_all(context: Context, calls: list[Any]) -> None:
    """All or nothing."""
    for inner in calls:
        context.dispatch(inner["call_module"], inner["call_function"], arguments(inner))
        context.deposit("Utility", "ItemCompleted")
    context.deposit("Utility", "BatchCompleted")


@call("Utility", "force_batch")
def force_batch(context: Context, calls: list[Any]) -> None:
    """Goes on after a call that fails."""
    failed = False
    for inner in calls:
        try:
            context.dispatch(inner["call_module"], inner["call_function"], arguments(inner))
        except DispatchError as error:
            context.deposit("Utility", "ItemFailed", {"error": encoded_error(context.state, error)})
            failed = True
            continue
        context.deposit("Utility", "ItemCompleted")
    context.deposit("Utility", "BatchCompletedWithErrors" if failed else "BatchCompleted")


@call("Sudo", "sudo")
def sudo(context: Context, call: Any) -> None:
    if context.account() != context.state.get("Sudo", "Key"):
        raise DispatchError("Sudo", "RequireSudo")
    try:
        context.as_signer(None).dispatch(call["call_module"], call["call_function"], arguments(call))
        result: Any = {"Ok": ()}
    except DispatchError as error:
        result = {"Err": encoded_error(context.state, error)}
    context.deposit("Sudo", "Sudid", {"sudo_result": result})


@call("Proxy", "add_proxy")
def add_proxy(context: Context, delegate: Any, proxy_type: Any, delay: int) -> None:
    owner, entry = context.account(), {"delegate": target(delegate), "proxy_type": proxy_type, "delay": delay}
    if entry["delegate"] == owner:
        context.refuse("NoSelfProxy", "Proxy")
    held, deposit = context.state.get("Proxy", "Proxies", owner)
    if entry in held:
        context.refuse("Duplicate", "Proxy")
    context.state.put("Proxy", "Proxies", owner, value=([*held, entry], deposit))
    added = {"delegator": owner, "delegatee": entry["delegate"], "proxy_type": proxy_type, "delay": delay}
    context.deposit("Proxy", "ProxyAdded", added)


@call("Proxy", "proxy")
def proxy(context: Context, real: Any, force_proxy_type: Any, call: Any) -> None:
    """Any proxy may make any call, but for `force_proxy_type`: the real chain also filters calls by the type."""
    owner, delegate = target(real), context.account()
    held, _ = context.state.get("Proxy", "Proxies", owner)
    if not any(
        entry["delegate"] == delegate and force_proxy_type in (None, entry["proxy_type"]) for entry in held
    ):
        context.refuse("NotProxy", "Proxy")
    try:
        context.as_signer(owner).dispatch(call["call_module"], call["call_function"], arguments(call))
        result: Any = {"Ok": ()}
    except DispatchError as error:
        result = {"Err": encoded_error(context.state, error)}
    context.deposit("Proxy", "ProxyExecuted", {"result": result})


def encoded_error(state: State, error: DispatchError) -> Any:
    """A DispatchError as the codec takes it: module errors by the numbers that the metadata gives them."""
    if not error.pallet:
        token = {"FundsUnavailable", "OnlyProvider", "BelowMinimum", "CannotCreate", "NotExpendable"}
        return {"Token": error.name} if error.name in token else error.name
    pallet, number = state.layout.module_error(error.pallet, error.name)
    return {"Module": {"index": pallet, "error": "0x" + bytes((number, 0, 0, 0)).hex()}}
