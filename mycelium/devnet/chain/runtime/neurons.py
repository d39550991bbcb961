"""Registration: who has which uid on a subnet, and new subnets (pallet-subtensor, `subnets/registration.rs`).

Subnets cost the same always, and none is ever pruned for a new one.
"""

from __future__ import annotations

from typing import Final

from mycelium.devnet.chain.runtime import balances
from mycelium.devnet.chain.runtime.calls import Context, DispatchError, call
from mycelium.devnet.chain.runtime.state import PALLET, State, Subnet

VECTORS: Final = (
    ("Active", True),
    ("ValidatorPermit", False),
    ("ValidatorTrust", 0),
    ("Consensus", 0),
    ("Dividends", 0),
    ("Emission", 0),
)
"""What is kept of each uid, and what a new neuron has."""
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
    """Give a hotkey the next uid, or the place of another on a full subnet. NoNeuronIdAvailable."""
    size: int = subnet["SubnetworkN"]
    if size >= subnet["MaxAllowedUids"]:
        uid = _to_replace(subnet, block)
        if uid is None:
            raise DispatchError(PALLET, "NoNeuronIdAvailable")
        replace(subnet, uid, hotkey, block)
        return uid
    subnet["SubnetworkN"] = size + 1
    _enter(subnet, size, hotkey, block)
    return size


def replace(subnet: Subnet, uid: int, hotkey: str, block: int) -> None:
    """Give a uid to another hotkey: what the old one served and said is gone, and what was said of it is zero."""
    state, old = subnet.state, subnet.hotkey(uid)
    state.delete(PALLET, "Uids", subnet.netuid, old)
    state.delete(PALLET, "IsNetworkMember", old, subnet.netuid)
    for item in ("Axons", "Prometheus", "NeuronCertificates"):
        state.delete(PALLET, item, subnet.netuid, old)
    for index in subnet.mechanisms():
        state.delete(PALLET, "Weights", index, uid)
        for other, row in list(state.map(PALLET, "Weights", index)):
            if any(target == uid for target, _ in row):
                kept = [(target, 0 if target == uid else weight) for target, weight in row]
                state.put(PALLET, "Weights", index, other, value=kept)
    _enter(subnet, uid, hotkey, block)


def _enter(subnet: Subnet, uid: int, hotkey: str, block: int) -> None:
    state = subnet.state
    state.put(PALLET, "Keys", subnet.netuid, uid, value=hotkey)
    state.put(PALLET, "Uids", subnet.netuid, hotkey, value=uid)
    state.put(PALLET, "IsNetworkMember", hotkey, subnet.netuid, value=True)
    state.put(PALLET, "BlockAtRegistration", subnet.netuid, uid, value=block)
    for item, value in VECTORS:
        subnet.set_in(item, uid, value)
    for index in subnet.mechanisms():
        subnet.set_in("Incentive", uid, 0, index=index)
        # Weights may be set once the rate limit has passed since the registration.
        subnet.set_in("LastUpdate", uid, block, index=index)


def _to_replace(subnet: Subnet, block: int) -> int | None:
    """The uid with the least emission, then the oldest; immune ones only when few others are left. None: none."""
    emission, immunity = subnet.vector("Emission"), subnet["ImmunityPeriod"]
    kept = _owners_uids(subnet)
    free: list[tuple[int, int, int]] = []
    immune: list[tuple[int, int, int]] = []
    for uid in range(subnet["SubnetworkN"]):
        if uid not in kept:
            since: int = subnet.state.get(PALLET, "BlockAtRegistration", subnet.netuid, uid)
            (immune if block - since < immunity else free).append((emission[uid], since, uid))
    if free and len(free) > subnet["MinNonImmuneUids"]:
        return min(free)[2]
    return min(immune)[2] if immune else None


def _owners_uids(subnet: Subnet) -> set[int]:
    """The uids that the subnet's owner keeps: `ImmuneOwnerUidsLimit` of its hotkeys, that of the subnet first."""
    state, netuid = subnet.state, subnet.netuid
    limit: int = subnet["ImmuneOwnerUidsLimit"]
    found = []
    for hotkey in state.get(PALLET, "OwnedHotkeys", subnet["SubnetOwner"]):
        uid = subnet.uid(hotkey)
        if uid is not None:
            found.append((state.get(PALLET, "BlockAtRegistration", netuid, uid), uid))
    uids = [uid for _, uid in sorted(found)[:limit]]
    first = subnet.owner_uid()
    if first is not None and first not in uids:
        uids.insert(0, first)
    return set(uids[:limit])


@call(PALLET, "burned_register")
def burned_register(context: Context, netuid: int, hotkey: str) -> None:
    register(context, netuid, hotkey, limit_rao=None)


@call(PALLET, "register_limit")
def register_limit(context: Context, netuid: int, hotkey: str, limit_price: int) -> None:
    register(context, netuid, hotkey, limit_rao=limit_price)


def register(context: Context, netuid: int, hotkey: str, *, limit_rao: int | None) -> None:
    """Pay the burn and get a uid; the next one costs more."""
    coldkey, state = context.account(), context.state
    if netuid == 0:
        context.refuse("RegistrationNotPermittedOnRootSubnet")
    subnet = context.subnet(netuid)
    burn: int = subnet["Burn"]
    if limit_rao is not None and burn > limit_rao:
        context.refuse("RegistrationPriceLimitExceeded")
    if not subnet["NetworkRegistrationAllowed"]:
        context.refuse("SubNetRegistrationDisabled")
    if subnet.uid(hotkey) is not None:
        context.refuse("HotKeyAlreadyRegisteredInSubNet")
    if balances.free_rao(state, coldkey) < burn:
        context.refuse("NotEnoughBalanceToStake")
    own(state, hotkey, coldkey)
    if state.get(PALLET, "Owner", hotkey) != coldkey:
        context.refuse("NonAssociatedColdKey")
    balances.change(context, coldkey, -burn)
    uid = append(subnet, hotkey, context.number)
    raised = burn * max(subnet["BurnIncreaseMult"]["bits"], 1 << 64) >> 64
    subnet["Burn"] = min(max(raised, subnet["MinBurn"]), subnet["MaxBurn"])
    subnet["RegistrationsThisBlock"] = subnet["RegistrationsThisBlock"] + 1
    subnet["RAORecycledForRegistration"] = min(subnet["RAORecycledForRegistration"] + burn, 2**64 - 1)
    context.deposit(PALLET, "NeuronRegistered", (netuid, uid, hotkey))


def decay_burn(subnet: Subnet, block: int) -> None:
    """Let the price of a registration fall, by half in `BurnHalfLife` blocks, within its bounds."""
    burn: int = subnet["Burn"]
    half_life: int = subnet["BurnHalfLife"]
    # To 32 bits, as the real chain: the last bits of a power differ between machines, and state must not.
    factor = round(2**32 * 0.5 ** (1 / half_life)) if half_life and block > 1 else 2**32
    fallen = burn * factor >> 32
    kept = min(max(fallen, subnet["MinBurn"]), subnet["MaxBurn"])
    if kept != burn:
        subnet["Burn"] = kept


@call(PALLET, "register_network")
def register_network(context: Context, hotkey: str) -> None:
    """A new subnet, whose owner hotkey is its first neuron."""
    coldkey, state = context.account(), context.state
    if state.has(PALLET, "Owner", hotkey) and state.get(PALLET, "Owner", hotkey) != coldkey:
        context.refuse("NonAssociatedColdKey")
    taken = {netuid for netuid, added in state.map(PALLET, "NetworksAdded") if added}
    if len(taken - {0}) >= state.get(PALLET, "SubnetLimit"):
        context.refuse("SubnetLimitReached")
    if balances.free_rao(state, coldkey) < NETWORK_COST_RAO:
        context.refuse("CannotAffordLockCost")
    netuid = next(number for number in range(1, len(taken) + 2) if number not in taken)
    balances.change(context, coldkey, -NETWORK_COST_RAO)
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
    subnet["SubnetAlphaIn"] = subnet["SubnetTAO"] = NETWORK_COST_RAO
    subnet["TokenSymbol"] = b"\xce\xb1"
    total = state.get(PALLET, "TotalNetworks")
    state.put(PALLET, "TotalNetworks", value=total + 1)


@call(PALLET, "start_call")
def start_call(context: Context, netuid: int) -> None:
    """The subnet's owner lets it begin: only then can stake be added on it."""
    subnet = context.subnet(netuid)
    context.owner(subnet)
    if subnet["FirstEmissionBlockNumber"] is not None:
        context.refuse("FirstEmissionBlockNumberAlreadySet")
    if context.number < subnet["NetworkRegisteredAt"] + context.state.get(PALLET, "StartCallDelay"):
        context.refuse("NeedWaitingMoreBlocksToStarCall")
    subnet["FirstEmissionBlockNumber"] = context.number + 1
    subnet["SubtokenEnabled"] = True
    context.deposit(PALLET, "FirstEmissionBlockNumberSet", (netuid, context.number + 1))
