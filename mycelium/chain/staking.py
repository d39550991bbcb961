"""Stake: TAO becomes alpha of a subnet and back, at the pool's price, with a limit of the price if one is given.

Owns the rules that are looked at beforehand. Amounts are whole rao on the wire and in every parameter: of TAO where
stake is added, of alpha where it is removed; `balance.rao` makes them of text. Prices are rao of TAO for one alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from mycelium.chain import balance
from mycelium.chain.balance import Rao, format_tao
from mycelium.chain.dispatch import Subject, refuse
from mycelium.chain.extrinsics import account_of
from mycelium.chain.outcome import Check, Options, Outcome, event_of, perform
from mycelium.chain.schedule import PALLET
from mycelium.chain.signer import address
from mycelium.errors import UnknownToChain, UsageError
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

_NOBODY: Final = accounts.format(accounts.NOBODY)
_NONE: Final = Rao(0)
_MIN_STAKE_RAO: Final = 2_000_000
"""`InitialMinStake` of the public chain, where a runtime does not say."""
_STAKE_INFO: Final = ("StakeInfoRuntimeApi", "get_stake_info_for_hotkey_coldkey_netuid")
_PRICE: Final = ("SwapRuntimeApi", "current_alpha_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeResult(Outcome):
    """What became of a stake. amount_rao: what was asked for. tao_rao, alpha_rao: what moved; 0 where nothing did.

    price_rao: of one alpha, beforehand; None where the chain does not say.
    """

    netuid: int
    hotkey: str
    amount_rao: Rao
    tao_rao: Rao = _NONE
    alpha_rao: Rao = _NONE
    price_rao: Rao | None = None


def add_stake(
    connection: Connection,
    coldkey: Any,
    hotkey: Any,
    netuid: int,
    amount: Rao,
    *,
    limit_price: Rao | None = None,
    allow_partial: bool = False,
    **options: Unpack[Options],
) -> StakeResult:
    """Stake TAO of a coldkey (the keypair) to a hotkey. amount: in rao of TAO; a float is a TypeError.

    limit_price: above which price nothing is bought, or with allow_partial only what is below it.
    """
    return _move(connection, coldkey, hotkey, netuid, amount, limit_price, allow_partial, options, add=True)


def remove_stake(
    connection: Connection,
    coldkey: Any,
    hotkey: Any,
    netuid: int,
    amount: Rao,
    *,
    limit_price: Rao | None = None,
    allow_partial: bool = False,
    **options: Unpack[Options],
) -> StakeResult:
    """Take stake back. amount: in rao of alpha (on the root subnet, of TAO); a float is a TypeError.

    limit_price: below which price nothing is sold, or with allow_partial only what is above it.
    """
    return _move(connection, coldkey, hotkey, netuid, amount, limit_price, allow_partial, options, add=False)


def _move(
    connection: Connection,
    keypair: Any,
    hotkey: Any,
    netuid: int,
    amount: Rao,
    limit: Rao | None,
    partial: bool,
    options: Options,
    *,
    add: bool,
) -> StakeResult:
    amount, target = balance.check(amount), address(hotkey)
    coldkey = address(account_of(keypair))
    params: dict[str, Any] = {
        "hotkey": target,
        "netuid": netuid,
        "amount_staked" if add else "amount_unstaked": amount,
    }
    name = "add_stake" if add else "remove_stake"
    if limit is not None:
        params |= {"limit_price": balance.check(limit), "allow_partial": bool(partial)}
        name += "_limit"
    elif partial:
        raise UsageError("a part of a stake is only ever left out for a limit price: give one")
    price = price_of(connection, netuid)
    checks = _checks(connection, coldkey, target, netuid, amount, add=add)
    checks += _price_checks(price, limit, partial, add=add)
    more = {"netuid": netuid, "hotkey": target, "amount_rao": amount, "price_rao": price}
    subject = Subject(name, coldkey, netuid)
    done = perform(StakeResult, connection, keypair, subject, params, checks, more, **options)
    tao, alpha = _moved(event_of(done.receipt, "StakeAdded" if add else "StakeRemoved"))
    return replace(done, tao_rao=tao, alpha_rao=alpha)


def _moved(event: Any) -> tuple[Rao, Rao]:
    """TAO and alpha of the event (coldkey, hotkey, tao, alpha, netuid, fee); of older runtimes that say less, 0."""
    if not isinstance(event, list | tuple) or len(event) < 4:
        return Rao(0), Rao(0)
    return Rao(int(event[2])), Rao(int(event[3]))


# --- rules ------------------------------------------------------------------------------------------------


def _checks(
    connection: Connection, coldkey: str, hotkey: str, netuid: int, amount: int, *, add: bool
) -> list[Check]:
    wanted: dict[str, tuple[str, str, list[Any]]] = {
        "exists": (PALLET, "NetworksAdded", [netuid]),
        "owner": (PALLET, "Owner", [hotkey]),
        "account": ("System", "Account", [coldkey]),
        "begun": (PALLET, "SubtokenEnabled", [netuid]),
        "swap": (PALLET, "ColdkeySwapAnnouncements", [coldkey]),
    }
    wanted = {name: one for name, one in wanted.items() if connection.has_storage(one[0], one[1])}
    values = dict(zip(wanted, connection.read_many(list(wanted.values())), strict=True))
    if not values["exists"]:
        what = f"there is no subnet {netuid}"
        return [Check("SubnetNotExists", what, refuse("SubnetNotExists", what))]
    found = [Check("SubnetNotExists", f"subnet {netuid}"), *common_checks(values, coldkey)]
    known = values["owner"] not in (None, _NOBODY)
    found.append(Check("HotKeyAccountNotExists", hotkey, None if known else refuse("HotKeyAccountNotExists")))
    if add:
        begun = values.get("begun", True)
        found.append(
            Check("SubtokenDisabled", f"begun: {begun}", None if begun else refuse("SubtokenDisabled"))
        )
        return found + _add_checks(connection, values, amount)
    return found + _remove_checks(connection, coldkey, hotkey, netuid, amount)


def common_checks(values: Mapping[str, Any], coldkey: str) -> Sequence[Check]:
    """Of every call of a coldkey: it is not about to be replaced. values: of `ColdkeySwapAnnouncements` as "swap"."""
    rule = "ColdkeySwapAnnounced"
    if values.get("swap") is None:
        return []
    return [Check(rule, coldkey, refuse(rule))]


def _add_checks(connection: Connection, values: Mapping[str, Any], amount: int) -> list[Check]:
    least, free = min_stake(connection), int(values["account"]["data"]["free"])
    low = refuse(
        "AmountTooLow", f"{format_tao(amount)} TAO is less than the least stake, {format_tao(least)} TAO"
    )
    poor = refuse(
        "NotEnoughBalanceToStake",
        f"the coldkey has {format_tao(free)} TAO free, and {format_tao(amount)} TAO are to be staked",
    )
    return [
        Check("AmountTooLow", f"at least {format_tao(least)} TAO", low if amount < least else None),
        Check("NotEnoughBalanceToStake", f"{format_tao(free)} TAO free", poor if free < amount else None),
    ]


def _remove_checks(
    connection: Connection, coldkey: str, hotkey: str, netuid: int, amount: int
) -> list[Check]:
    held = staked(connection, hotkey, coldkey, netuid)
    none = refuse("AmountTooLow", "there is nothing to remove")
    more = refuse(
        "NotEnoughStakeToWithdraw",
        f"{format_tao(held)} is staked to the hotkey on subnet {netuid}, and {format_tao(amount)} is to be removed",
    )
    return [
        Check("AmountTooLow", "above zero", none if not amount else None),
        Check("NotEnoughStakeToWithdraw", f"{format_tao(held)} staked", more if amount > held else None),
    ]


def _price_checks(price: int | None, limit: int | None, partial: bool, *, add: bool) -> list[Check]:
    if price is None or limit is None:
        return []
    what = f"price {format_tao(price)} TAO, limit {format_tao(limit)} TAO"
    # Even a part is only traded on the right side of the limit.
    beyond = price > limit if add else price < limit
    return [
        Check(
            "SlippageTooHigh",
            what,
            refuse("SlippageTooHigh", f"beyond the limit: {what}") if beyond else None,
        )
    ]


# --- what is staked ---------------------------------------------------------------------------------------


def min_stake(connection: Connection) -> Rao:
    """The least amount that is staked at once."""
    try:
        return Rao(int(connection.constant(PALLET, "InitialMinStake")))
    except UnknownToChain:
        return Rao(_MIN_STAKE_RAO)


def price_of(connection: Connection, netuid: int) -> Rao | None:
    """Rao of TAO for one alpha of a subnet now; one TAO on the root subnet, None where the chain does not say."""
    if netuid == 0:
        return Rao(balance.RAO_PER_TAO)
    if not connection.has_api(*_PRICE):
        return None
    return Rao(int(connection.runtime_api(*_PRICE, [netuid])))


def staked(connection: Connection, hotkey: Any, coldkey: Any, netuid: int) -> Rao:
    """What a coldkey has staked to a hotkey on one subnet, in rao of alpha (TAO on the root subnet)."""
    keys = [address(hotkey), address(coldkey), netuid]
    if connection.has_api(*_STAKE_INFO):
        found = connection.runtime_api(*_STAKE_INFO, keys)
        return Rao(0 if found is None else int(found["stake"]))
    # Older chains: shares as fixed-point numbers with 64 bits behind the point, equal to stake until dividends came.
    bits = connection.read(PALLET, "Alpha", keys)
    return Rao(int(bits["bits"]) >> 64)


def total_staked(connection: Connection, hotkey: Any, coldkey: Any) -> Rao:
    """What a coldkey has staked to a hotkey on all subnets, in rao of TAO at the prices of now."""
    target = address(hotkey)
    rows = connection.runtime_api("StakeInfoRuntimeApi", "get_stake_info_for_coldkey", [address(coldkey)])
    total = 0
    for row in rows or ():
        if row["hotkey"] == target and row["stake"]:
            price = price_of(connection, int(row["netuid"]))
            total += (
                int(row["stake"]) * (balance.RAO_PER_TAO if price is None else price) // balance.RAO_PER_TAO
            )
    return Rao(total)
