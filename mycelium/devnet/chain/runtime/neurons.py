"""Registration on subnets, and where neurons are reached: axons and Prometheus endpoints (pallet-subtensor)."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from mycelium.devnet.chain.runtime import balances
from mycelium.devnet.chain.runtime.calls import Context, call
from mycelium.devnet.chain.runtime.state import State, Subnet, as_bytes

PALLET: Final = "SubtensorModule"
VECTORS: Final = (
    ("Active", True),
    ("ValidatorPermit", False),
    ("ValidatorTrust", 0),
    ("Consensus", 0),
    ("Incentive", 0),
    ("Dividends", 0),
    ("Emission", 0),
    ("LastUpdate", 0),
)
"""What is kept of each uid, and what a new neuron has."""
_CERTIFICATE_BYTES_MAX: Final = 65
NETWORK_COST_RAO: Final = 100 * 10**9
"""What a subnet costs here, always: the real cost falls with time."""


def own(state: State, hotkey: str, coldkey: str) -> None:
    """A hotkey belongs to a coldkey from the first time that it is used."""
    if state.has(PALLET, "Owner", hotkey):
        return
    state.put(PALLET, "Owner", hotkey, value=coldkey)
    owned = state.get(PALLET, "OwnedHotkeys", coldkey)
    state.put(PALLET, "OwnedHotkeys", coldkey, value=[*owned, hotkey])


def append(subnet: Subnet, hotkey: str, block: int) -> int:
    """Give a hotkey the next uid; or, when the subnet is full, that of the one with the least incentive."""
    state, size = subnet.state, subnet["SubnetworkN"]
    if size >= subnet["MaxAllowedUids"]:
        uid = _to_replace(subnet, block)
        remove(subnet, uid)
    else:
        uid = size
        subnet["SubnetworkN"] = size + 1
    state.put(PALLET, "Keys", subnet.netuid, uid, value=hotkey)
    state.put(PALLET, "Uids", subnet.netuid, hotkey, value=uid)
    state.put(PALLET, "IsNetworkMember", hotkey, subnet.netuid, value=True)
    state.put(PALLET, "BlockAtRegistration", subnet.netuid, uid, value=block)
    for item, value in VECTORS:
        subnet.set_in(item, uid, block if item == "LastUpdate" else value)
    return uid


def remove(subnet: Subnet, uid: int) -> None:
    """Take a hotkey off its uid; the place stays, for the next one."""
    state, hotkey = subnet.state, subnet.hotkey(uid)
    state.delete(PALLET, "Uids", subnet.netuid, hotkey)
    state.delete(PALLET, "IsNetworkMember", hotkey, subnet.netuid)
    state.delete(PALLET, "Weights", subnet.netuid, uid)
    for item in ("Axons", "Prometheus", "NeuronCertificates"):
        state.delete(PALLET, item, subnet.netuid, hotkey)
    for item, value in VECTORS:
        subnet.set_in(item, uid, value)


def _to_replace(subnet: Subnet, block: int) -> int:
    """The uid with the least incentive among those whose immunity is over; the owner's is never taken."""
    incentive, immune = subnet.vector("Incentive"), subnet["ImmunityPeriod"]
    owner = subnet.state.get(PALLET, "SubnetOwnerHotkey", subnet.netuid)

    def rank(uid: int) -> tuple[bool, int, int]:
        since: int = subnet.state.get(PALLET, "BlockAtRegistration", subnet.netuid, uid)
        return (block - since < immune, incentive[uid], since)

    return min((uid for uid in range(subnet["SubnetworkN"]) if subnet.hotkey(uid) != owner), key=rank)


@call(PALLET, "burned_register")
def burned_register(context: Context, netuid: int, hotkey: str) -> None:
    register(context, netuid, hotkey, limit_rao=None)


@call(PALLET, "register_limit")
def register_limit(context: Context, netuid: int, hotkey: str, limit_price: int) -> None:
    register(context, netuid, hotkey, limit_rao=limit_price)


def register(context: Context, netuid: int, hotkey: str, *, limit_rao: int | None) -> None:
    """Pay the burn and get a uid."""
    coldkey = context.account()
    subnet = context.subnet(netuid)
    state = context.state
    if not subnet["NetworkRegistrationAllowed"]:
        context.refuse("SubNetRegistrationDisabled")
    if subnet.uid(hotkey) is not None:
        context.refuse("HotKeyAlreadyRegisteredInSubNet")
    if subnet["RegistrationsThisBlock"] >= subnet["MaxRegistrationsPerBlock"]:
        context.refuse("TooManyRegistrationsThisBlock")
    burn: int = subnet["Burn"]
    if limit_rao is not None and burn > limit_rao:
        context.refuse("RegistrationPriceLimitExceeded")
    if balances.free_rao(state, coldkey) < burn:
        context.refuse("NotEnoughBalanceToStake")
    if state.has(PALLET, "Owner", hotkey) and state.get(PALLET, "Owner", hotkey) != coldkey:
        context.refuse("NonAssociatedColdKey")
    balances.change(state, coldkey, -burn)
    own(state, hotkey, coldkey)
    uid = append(subnet, hotkey, context.number)
    subnet["RegistrationsThisBlock"] = subnet["RegistrationsThisBlock"] + 1
    context.deposit(PALLET, "NeuronRegistered", (netuid, uid, hotkey))


@call(PALLET, "register_network")
def register_network(context: Context, hotkey: str) -> None:
    """A new subnet, whose owner hotkey is its first neuron."""
    coldkey, state = context.account(), context.state
    if balances.free_rao(state, coldkey) < NETWORK_COST_RAO:
        context.refuse("NotEnoughBalanceToStake")
    netuid = 1 + max((netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added), default=0)
    balances.change(state, coldkey, -NETWORK_COST_RAO)
    own(state, hotkey, coldkey)
    create_network(state, netuid, hotkey, coldkey, context.number)
    append(Subnet(state, netuid), hotkey, context.number)
    context.deposit(PALLET, "NetworkAdded", (netuid, 0))


def create_network(state: State, netuid: int, owner_hotkey: str, owner_coldkey: str, block: int) -> None:
    """The items that make a subnet; hyperparameters have the defaults of the metadata."""
    subnet = Subnet(state, netuid)
    subnet["NetworksAdded"] = True
    subnet["SubnetworkN"] = 0
    subnet["SubnetOwner"] = owner_coldkey
    subnet["SubnetOwnerHotkey"] = owner_hotkey
    subnet["NetworkRegisteredAt"] = block
    subnet["LastEpochBlock"] = block
    subnet["SubtokenEnabled"] = True
    subnet["SubnetAlphaIn"] = subnet["SubnetTAO"] = NETWORK_COST_RAO
    subnet["TokenSymbol"] = b"\xce\xb1"
    total = state.get(PALLET, "TotalNetworks")
    state.put(PALLET, "TotalNetworks", value=total + 1)


@call(PALLET, "start_call")
def start_call(context: Context, netuid: int) -> None:
    subnet = context.subnet(netuid)
    if subnet["SubnetOwner"] != context.account():
        context.refuse("NotSubnetOwner")
    if subnet["FirstEmissionBlockNumber"] is not None:
        context.refuse("FirstEmissionBlockNumberAlreadySet")
    subnet["FirstEmissionBlockNumber"] = context.number + 1
    context.deposit(PALLET, "FirstEmissionBlockNumberSet", (netuid, context.number + 1))


# --- serving ----------------------------------------------------------------------------------------------


@call(PALLET, "serve_axon", pays=False)
def serve_axon(context: Context, netuid: int, **given: Any) -> None:
    hotkey = context.account()
    check_axon(context, netuid, **given)
    shown = {name: given[name] for name in ("version", "ip", "port", "ip_type", "protocol")}
    placeholders = {name: given[name] for name in ("placeholder1", "placeholder2")}
    axon = {"block": context.number, **shown, **placeholders}
    context.state.put(PALLET, "Axons", netuid, hotkey, value=axon)
    context.deposit(PALLET, "AxonServed", (netuid, hotkey))


@call(PALLET, "serve_axon_tls", pays=False)
def serve_axon_tls(context: Context, netuid: int, certificate: Any, **given: Any) -> None:
    serve_axon(context, netuid, **given)
    raw = as_bytes(certificate)
    # Other certificates are passed over, as the real chain does: the axon is served all the same.
    if 1 < len(raw) <= _CERTIFICATE_BYTES_MAX:
        value = {"public_key": raw[1:], "algorithm": raw[0]}
        context.state.put(PALLET, "NeuronCertificates", netuid, context.account(), value=value)


@call(PALLET, "serve_prometheus", pays=False)
def serve_prometheus(context: Context, netuid: int, version: int, ip: int, port: int, ip_type: int) -> None:
    hotkey = context.account()
    subnet = _served(context, netuid, hotkey, "Prometheus", ip, port, ip_type, zero=False)
    served = {"block": context.number, "version": version, "ip": ip, "port": port, "ip_type": ip_type}
    subnet.state.put(PALLET, "Prometheus", netuid, hotkey, value=served)
    context.deposit(PALLET, "PrometheusServed", (netuid, hotkey))


def check_axon(context: Context, netuid: int, *, ip: int, port: int, ip_type: int, **_: Any) -> None:
    """Whether an axon may be served now; the same before submission and in the block."""
    _served(context, netuid, context.account(), "Axons", ip, port, ip_type, zero=True)


def _served(
    context: Context, netuid: int, hotkey: str, item: str, ip: int, port: int, ip_type: int, *, zero: bool
) -> Subnet:
    state = context.state
    subnet = Subnet(state, netuid)
    if subnet.uid(hotkey) is None:
        context.refuse("HotKeyNotRegisteredInNetwork")
    if ip_type not in (4, 6):
        context.refuse("InvalidIpType")
    if not _valid_ip(ip, ip_type, zero=zero):
        context.refuse("InvalidIpAddress")
    if port == 0:
        context.refuse("InvalidPort")
    before = state.get(PALLET, item, netuid, hotkey)
    if before is not None and context.number - before["block"] < subnet["ServingRateLimit"]:
        context.refuse("ServingRateLimitExceeded")
    return subnet


def _valid_ip(ip: int, ip_type: int, *, zero: bool) -> bool:
    if ip == 0:
        return zero
    try:
        address = ipaddress.IPv4Address(ip) if ip_type == 4 else ipaddress.IPv6Address(ip)
    except ipaddress.AddressValueError:
        return False
    return address not in (
        ipaddress.IPv4Address("127.0.0.1"),
        ipaddress.IPv4Address("255.255.255.255"),
        ipaddress.IPv6Address("::1"),
    )
