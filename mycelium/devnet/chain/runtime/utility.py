"""Calls that carry out other calls: batches, proxies, root's. And remarks, which do nothing."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from mycelium.devnet.chain.runtime.balances import target
from mycelium.devnet.chain.runtime.calls import Context, DispatchError, arguments, call, encoded_error
from mycelium.devnet.chain.runtime.state import as_bytes

PROXIES_MAX: Final = 20
BATCH_MAX: Final = 10_922
"""`Utility.batched_calls_limit` of the real chain."""


@call("System", "remark")
def remark(context: Context, remark: Any) -> None:
    """Nothing happens: for tests of clients."""


@call("System", "remark_with_event")
def remark_with_event(context: Context, remark: Any) -> None:
    digest = "0x" + blake2b(as_bytes(remark), digest_size=32).hexdigest()
    context.deposit("System", "Remarked", {"sender": context.account(), "hash": digest})


def _not_too_many(context: Context, calls: list[Any]) -> None:
    if len(calls) > BATCH_MAX:
        context.refuse("TooManyCalls", "Utility")


@call("Utility", "batch")
def batch(context: Context, calls: list[Any]) -> None:
    """Stops at the first call that fails; what was done before it stays."""
    _not_too_many(context, calls)
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
    _not_too_many(context, calls)
    for inner in calls:
        context.dispatch(inner["call_module"], inner["call_function"], arguments(inner))
        context.deposit("Utility", "ItemCompleted")
    context.deposit("Utility", "BatchCompleted")


@call("Utility", "force_batch")
def force_batch(context: Context, calls: list[Any]) -> None:
    """Goes on after a call that fails."""
    _not_too_many(context, calls)
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


# --- proxies ----------------------------------------------------------------------------------------------

_STAKING: Final = ("add_stake", "remove_stake", "unstake", "move_stake", "swap_stake")
_REGISTRATION: Final = ("burned_register", "register_limit", "register")


def _may(proxy_type: str, module: str, function: str) -> bool:
    """Whether a proxy of that type may make a call (`InstanceFilter` of the real runtime, its common types)."""
    subtensor = module == "SubtensorModule"
    if proxy_type == "NonTransfer":
        return module != "Balances" and function != "transfer_stake"
    if proxy_type == "NonCritical":
        return module != "Sudo" and function not in ("dissolve_network", "root_register", "burned_register")
    if proxy_type == "Transfer":
        return module == "Balances" or (subtensor and function == "transfer_stake")
    if proxy_type == "Staking":
        return subtensor and function.startswith(_STAKING)
    if proxy_type == "Registration":
        return subtensor and function in _REGISTRATION
    if proxy_type == "Owner":
        return module == "AdminUtils" or (subtensor and function in ("start_call", "set_subnet_identity"))
    return proxy_type == "Any"


def _proxies(context: Context, owner: str) -> tuple[list[Any], int]:
    held, deposit = context.state.get("Proxy", "Proxies", owner)
    return list(held), deposit


@call("Proxy", "add_proxy")
def add_proxy(context: Context, delegate: Any, proxy_type: Any, delay: int) -> None:
    """No deposit is taken; a delay is kept, and nothing can be announced: such a proxy can make no call."""
    owner, entry = context.account(), {"delegate": target(delegate), "proxy_type": proxy_type, "delay": delay}
    if entry["delegate"] == owner:
        context.refuse("NoSelfProxy", "Proxy")
    held, deposit = _proxies(context, owner)
    if entry in held:
        context.refuse("Duplicate", "Proxy")
    if len(held) >= PROXIES_MAX:
        context.refuse("TooMany", "Proxy")
    context.state.put("Proxy", "Proxies", owner, value=([*held, entry], deposit))
    added = {"delegator": owner, "delegatee": entry["delegate"], "proxy_type": proxy_type, "delay": delay}
    context.deposit("Proxy", "ProxyAdded", added)


@call("Proxy", "remove_proxy")
def remove_proxy(context: Context, delegate: Any, proxy_type: Any, delay: int) -> None:
    owner, entry = context.account(), {"delegate": target(delegate), "proxy_type": proxy_type, "delay": delay}
    held, deposit = _proxies(context, owner)
    if entry not in held:
        context.refuse("NotFound", "Proxy")
    held.remove(entry)
    context.state.put("Proxy", "Proxies", owner, value=(held, deposit))
    removed = {"delegator": owner, "delegatee": entry["delegate"], "proxy_type": proxy_type, "delay": delay}
    context.deposit("Proxy", "ProxyRemoved", removed)


@call("Proxy", "proxy")
def proxy(context: Context, real: Any, force_proxy_type: Any, call: Any) -> None:
    """Make a call as the account that named the signer its proxy; how it ended is in the event."""
    owner, delegate = target(real), context.account()
    held, _ = _proxies(context, owner)
    found = next(
        (
            entry
            for entry in held
            if entry["delegate"] == delegate and force_proxy_type in (None, entry["proxy_type"])
        ),
        None,
    )
    if found is None:
        context.refuse("NotProxy", "Proxy")
    if found["delay"]:
        context.refuse("Unannounced", "Proxy")
    module, function = call["call_module"], call["call_function"]
    try:
        if not _may(found["proxy_type"], module, function):
            context.refuse("CallFiltered", "System")
        context.as_signer(owner).dispatch(module, function, arguments(call))
        result: Any = {"Ok": ()}
    except DispatchError as error:
        result = {"Err": encoded_error(context.state, error)}
    context.deposit("Proxy", "ProxyExecuted", {"result": result})
