"""Registration: whether a hotkey has a uid on a subnet, and getting one by burning TAO, never more than is allowed.

Owns the rules of `subnets/registration.rs`, looked at beforehand. Where the chain can keep to a limit of the price
itself (`register_limit`), it is told; the price may rise between our look and the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from mycelium.chain import balance
from mycelium.chain.balance import Rao, format_tao
from mycelium.chain.dispatch import Subject, refuse
from mycelium.chain.extrinsics import account_of
from mycelium.chain.outcome import Check, Options, Outcome, event_of, perform
from mycelium.chain.schedule import PALLET
from mycelium.chain.signer import address
from mycelium.chain.staking import common_checks
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

_NOBODY: Final = accounts.format(accounts.NOBODY)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterResult(Outcome):
    """What became of a registration. burn_rao: what it cost just before. uid: where it is registered now, or None."""

    netuid: int
    hotkey: str
    burn_rao: Rao
    uid: int | None = None


def uid_of(connection: Connection, netuid: int, hotkey: Any) -> int | None:
    """A hotkey's uid on a subnet; None where it has none."""
    found = connection.read(PALLET, "Uids", [netuid, address(hotkey)])
    return None if found is None else int(found)


def is_registered(connection: Connection, netuid: int, hotkey: Any) -> bool:
    """Whether a hotkey has a uid on a subnet."""
    return uid_of(connection, netuid, hotkey) is not None


def current_burn(connection: Connection, netuid: int) -> Rao:
    """What a registration costs now, in rao."""
    return Rao(int(connection.read(PALLET, "Burn", [netuid])))


def burned_register(
    connection: Connection,
    coldkey: Any,
    hotkey: Any,
    netuid: int,
    *,
    max_burn: Rao | None,
    **options: Unpack[Options],
) -> RegisterResult:
    """Register a hotkey; the coldkey (the keypair) pays. max_burn: in rao, more than which it must not cost.

    max_burn None takes whatever price there is: it says so on purpose. A hotkey that is registered already is a
    success that sends nothing.
    """
    target, payer = address(hotkey), address(account_of(coldkey))
    limit = None if max_burn is None else balance.check(max_burn)
    values = _read(connection, netuid, target, payer)
    burn = Rao(int(values["burn"]))
    common: dict[str, Any] = {"netuid": netuid, "hotkey": target, "burn_rao": burn}
    if values["uid"] is not None:
        check = Check("HotKeyAlreadyRegisteredInSubNet", f"uid {values['uid']}")
        dry_run = options.get("dry_run", False)
        return RegisterResult(
            call="", success=True, dry_run=dry_run, checks=(check,), uid=int(values["uid"]), **common
        )
    checks = _checks(values, netuid, payer, burn, limit)
    params: dict[str, Any] = {"netuid": netuid, "hotkey": target}
    name = "burned_register"
    if limit is not None and connection.has_call(PALLET, "register_limit"):
        name = "register_limit"
        params["limit_price"] = limit
    subject = Subject(name, payer, netuid)
    done = perform(RegisterResult, connection, coldkey, subject, params, checks, common, **options)
    event = event_of(done.receipt, "NeuronRegistered")
    return replace(done, uid=int(event[1])) if event is not None else done


def _read(connection: Connection, netuid: int, hotkey: str, coldkey: str) -> dict[str, Any]:
    wanted: dict[str, tuple[str, str, list[Any]]] = {
        "exists": (PALLET, "NetworksAdded", [netuid]),
        "open": (PALLET, "NetworkRegistrationAllowed", [netuid]),
        "uid": (PALLET, "Uids", [netuid, hotkey]),
        "burn": (PALLET, "Burn", [netuid]),
        "owner": (PALLET, "Owner", [hotkey]),
        "account": ("System", "Account", [coldkey]),
        "swap": (PALLET, "ColdkeySwapAnnouncements", [coldkey]),
    }
    wanted = {name: one for name, one in wanted.items() if connection.has_storage(one[0], one[1])}
    return dict(zip(wanted, connection.read_many(list(wanted.values())), strict=True))


def _checks(
    values: Mapping[str, Any], netuid: int, coldkey: str, burn: int, limit: int | None
) -> list[Check]:
    if netuid == 0:
        rule = "RegistrationNotPermittedOnRootSubnet"
        return [Check(rule, "netuid 0", refuse(rule))]
    if not values["exists"]:
        what = f"there is no subnet {netuid}"
        return [Check("SubnetNotExists", what, refuse("SubnetNotExists", what))]
    found = [Check("SubnetNotExists", f"subnet {netuid}"), *common_checks(values, coldkey)]
    rule, allowed = "SubNetRegistrationDisabled", values.get("open", True)
    found.append(Check(rule, f"open: {allowed}", None if allowed else refuse(rule)))
    rule, what = "RegistrationPriceLimitExceeded", f"it costs {format_tao(burn)} TAO"
    if limit is not None:
        what += f", of at most {format_tao(limit)} TAO"
    found.append(Check(rule, what, refuse(rule, what) if limit is not None and burn > limit else None))
    rule, free = "NotEnoughBalanceToStake", int(values["account"]["data"]["free"])
    reason = f"the coldkey has {format_tao(free)} TAO free, and it costs {format_tao(burn)} TAO"
    found.append(Check(rule, f"{format_tao(free)} TAO free", refuse(rule, reason) if free < burn else None))
    rule, mine = "NonAssociatedColdKey", values["owner"] in (None, _NOBODY, coldkey)
    found.append(Check(rule, f"owner {coldkey if mine else values['owner']}", None if mine else refuse(rule)))
    return found
