"""What the chain knows that decides about a neuron's weights, read in one request; and its rules, looked at beforehand.

Owns the rules of `subnets/weights.rs` and of the extension before it, in the order in which the chain looks. The rules
are pure functions of the state. Submits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from mycelium.chain import quantise
from mycelium.chain.balance import format_tao
from mycelium.chain.dispatch import Refusal, index_of, refuse, updated_until
from mycelium.chain.outcome import Check
from mycelium.chain.schedule import ITEMS, PALLET, Clock, Schedule, block_s, schedule_of

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

UNREVEALED_MAX: Final = 10
"""Commits of one hotkey in one epoch."""

_OF_SUBNET: Final = (
    "NetworksAdded",
    "SubnetworkN",
    "SubnetOwnerHotkey",
    "ValidatorPermit",
    "CommitRevealWeightsEnabled",
    "MechanismCountCurrent",
    "WeightsVersionKey",
    "WeightsSetRateLimit",
    "MinAllowedWeights",
    "MaxWeightsLimit",
    "SubnetEpochConsensus",
    *ITEMS,
)
_OF_CHAIN: Final = (
    ("System", "Number"),
    (PALLET, "StakeThreshold"),
    (PALLET, "CommitRevealWeightsVersion"),
    ("Drand", "BeaconConfig"),
    ("Drand", "LastStoredRound"),
)


@dataclass(frozen=True, slots=True)
class WeightsState:
    """The chain at its best block, for one hotkey (SS58) on one mechanism of a subnet. Stake in rao.

    uid: None where it is not registered. stake: its stake weight, None where nothing depends on it. sole: the subnet
    has one writer by consensus ("Null"), whose permit nothing replaces. last_round: the newest drand round the
    chain has. waiting: its commits of this epoch.
    """

    netuid: int
    mechanism: int
    hotkey: str
    block_s: float
    schedule: Schedule
    exists: bool
    size: int = 0
    uid: int | None = None
    is_owner: bool = False
    has_permit: bool = False
    sole: bool = False
    commit_reveal: bool = False
    commit_version: int = 0
    mechanisms: int = 1
    version_key: int = 0
    rate_limit: int = 0
    allowed_from: int | None = None
    min_weights: int = 0
    max_weight: int = quantise.U16_MAX
    stake_threshold: int = 0
    stake: int | None = None
    beacon: dict[str, Any] | None = None
    last_round: int = 0
    waiting: int = 0

    @property
    def clock(self) -> Clock:
        return Clock(self.schedule.number, self.block_s)

    @property
    def index(self) -> int:
        """Where the mechanism's weights are kept."""
        return index_of(self.netuid, self.mechanism)


def read(connection: Connection, netuid: int, hotkey: str, mechanism: int = 0) -> WeightsState:
    """Ask the chain: one request, and one more where stake or commits have to be counted."""
    index = index_of(netuid, mechanism)
    wanted: dict[str, tuple[str, str, list[Any]]] = {item: (PALLET, item, [netuid]) for item in _OF_SUBNET}
    wanted |= {item: (pallet, item, []) for pallet, item in _OF_CHAIN}
    wanted["Uids"] = (PALLET, "Uids", [netuid, hotkey])
    wanted["LastUpdate"] = (PALLET, "LastUpdate", [index])
    # What a runtime does not keep (yet, or any more) decides about nothing there.
    wanted = {item: one for item, one in wanted.items() if connection.has_storage(one[0], one[1])}
    values = dict(zip(wanted, connection.read_many(list(wanted.values())), strict=True))
    state = state_of(values, netuid, hotkey, mechanism, block_s(connection))
    if state.uid is not None and state.stake_threshold and not state.is_owner:
        state = replace(state, stake=_stake_weight(connection, netuid, hotkey))
    if state.commit_reveal and connection.has_storage(PALLET, "TimelockedWeightCommits"):
        held = connection.read(PALLET, "TimelockedWeightCommits", [index, state.schedule.commit_epoch])
        state = replace(state, waiting=sum(entry[0] == hotkey for entry in held))
    return state


def state_of(
    values: dict[str, Any], netuid: int, hotkey: str, mechanism: int, seconds: float
) -> WeightsState:
    """The state from storage values by item; those a runtime has not are missing."""
    uid = values.get("Uids")
    permits = values.get("ValidatorPermit") or []
    limit = values.get("WeightsSetRateLimit") or 0
    most = values.get("MaxWeightsLimit")
    return WeightsState(
        netuid=netuid,
        mechanism=mechanism,
        hotkey=hotkey,
        block_s=seconds,
        schedule=schedule_of(values, netuid, int(values["Number"])),
        exists=bool(values.get("NetworksAdded")),
        size=int(values.get("SubnetworkN") or 0),
        uid=uid,
        is_owner=uid is not None and values.get("SubnetOwnerHotkey") == hotkey,
        has_permit=uid is not None and uid < len(permits) and bool(permits[uid]),
        sole=_is_null(values.get("SubnetEpochConsensus")),
        commit_reveal=bool(values.get("CommitRevealWeightsEnabled")),
        commit_version=int(values.get("CommitRevealWeightsVersion") or 0),
        mechanisms=int(values.get("MechanismCountCurrent") or 1),
        version_key=int(values.get("WeightsVersionKey") or 0),
        rate_limit=int(limit),
        allowed_from=updated_until(values.get("LastUpdate"), uid, limit),
        min_weights=int(values.get("MinAllowedWeights") or 0),
        max_weight=quantise.U16_MAX if most is None else int(most),
        stake_threshold=int(values.get("StakeThreshold") or 0),
        beacon=values.get("BeaconConfig"),
        last_round=int(values.get("LastStoredRound") or 0),
    )


def _is_null(mode: Any) -> bool:
    return mode == "Null" or (isinstance(mode, dict) and "Null" in mode)


def _stake_weight(connection: Connection, netuid: int, hotkey: str) -> int | None:
    """What the chain holds against its threshold: inherited alpha and root stake. None where it cannot be asked."""
    for method in ("get_subnet_state", "get_metagraph"):
        if connection.has_api("SubnetInfoRuntimeApi", method):
            found = connection.runtime_api("SubnetInfoRuntimeApi", method, [netuid])
            if found is None or hotkey not in found["hotkeys"]:
                return None
            return int(found["total_stake"][found["hotkeys"].index(hotkey)])
    return None


# --- the rules --------------------------------------------------------------------------------------------


def checks(state: WeightsState, uids: Sequence[int], values: Sequence[int], version_key: int) -> list[Check]:
    """Every rule that these weights must keep, in the chain's order; it ends with the first that is broken."""
    found: list[Check] = []
    for rule in (_place, _registered, _stake, _version, _rate, _permit, _vector, _limit, _unrevealed):
        found += rule(state, list(uids), list(values), version_key)
        if found and not found[-1].ok:
            break
    return found


def _place(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    if state.netuid == 0:
        return [Check("CanNotSetRootNetworkWeights", "netuid 0", refuse("CanNotSetRootNetworkWeights"))]
    if not state.exists:
        what = f"there is no subnet {state.netuid}"
        return [Check("SubnetNotExists", what, refuse("SubnetNotExists", what))]
    many = f"mechanism {state.mechanism} of {state.mechanisms}"
    missing = None
    if state.mechanism >= state.mechanisms:
        missing = refuse(
            "MechanismDoesNotExist",
            f"subnet {state.netuid} has {state.mechanisms} mechanisms, and none is number {state.mechanism}",
        )
    return [Check("MechanismDoesNotExist", many, missing)]


def _registered(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    rule = "HotKeyNotRegisteredInSubNet"
    if state.uid is None:
        what = f"{state.hotkey} is not registered on subnet {state.netuid}"
        return [Check(rule, what, refuse(rule, what))]
    return [Check(rule, f"uid {state.uid}")]


def _stake(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    rule = "NotEnoughStakeToSetWeights"
    if state.is_owner or not state.stake_threshold or state.stake is None:
        return [Check(rule, "the subnet's owner" if state.is_owner else "no threshold")]
    what = f"stake weight {format_tao(state.stake)}, of at least {format_tao(state.stake_threshold)} TAO"
    low = state.stake < state.stake_threshold
    return [Check(rule, what, refuse(rule, f"{state.hotkey} has {what}") if low else None)]


def _version(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    rule = "IncorrectWeightVersionKey"
    what = f"version key {key}, of at least {state.version_key}"
    if state.version_key and key < state.version_key:
        reason = f"subnet {state.netuid} asks for version key {state.version_key} or later, not {key}"
        return [Check(rule, what, refuse(rule, reason))]
    return [Check(rule, what)]


def _rate(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    rule = "CommittingWeightsTooFast" if state.commit_reveal else "SettingWeightsTooFast"
    allowed, next_block = state.allowed_from, state.schedule.number + 1
    if allowed is None or allowed <= next_block:
        return [Check(rule, f"one in {state.rate_limit} blocks")]
    ago = next_block - (allowed - state.rate_limit)
    reason = f"the last were {ago} blocks ago, and there may be one in {state.rate_limit} blocks"
    return [Check(rule, reason, refuse(rule, reason).at(allowed, state.clock))]


def _permit(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    rule = "NeuronNoValidatorPermit"
    if state.has_permit:
        return [Check(rule, "it has one")]
    if not state.sole and (state.is_owner or uids == [state.uid]):
        why = "the subnet's owner needs none" if state.is_owner else "a weight for oneself alone needs none"
        return [Check(rule, why)]
    refusal = refuse(rule, f"uid {state.uid} holds no validator permit on subnet {state.netuid}")
    return [Check(rule, "it has none", refusal.at(state.schedule.next_epoch, state.clock))]


def _vector(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    unknown = [uid for uid in uids if uid >= state.size]
    if unknown:
        reason = f"subnet {state.netuid} has uids 0 to {state.size - 1}, and no {unknown[0]}"
        return [Check("UidVecContainInvalidOne", reason, refuse("UidVecContainInvalidOne", reason))]
    rule, least = "WeightVecLengthIsLow", min(state.min_weights, state.size)
    what = f"{len(values)} weights above zero, of at least {least}"
    if (len(values) < least and uids != [state.uid]) or not values:
        reason = f"there are {what}" if values else "all weights are zero"
        return [Check(rule, what, refuse(rule, reason))]
    return [Check(rule, what)]


def _limit(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    rule = "MaxWeightExceeded"
    what = f"none above {state.max_weight / quantise.U16_MAX:.4f} of all"
    if uids != [state.uid] and quantise.exceeds(values, state.max_weight):
        least = quantise.needed(state.max_weight)
        return [Check(rule, what, refuse(rule, remedy=f"give at least {least} uids a weight above zero"))]
    return [Check(rule, what)]


def _unrevealed(state: WeightsState, uids: list[int], values: list[int], key: int) -> list[Check]:
    if not state.commit_reveal:
        return []
    rule, what = "TooManyUnrevealedCommits", f"{state.waiting} of {UNREVEALED_MAX}"
    refusal: Refusal | None = None
    if state.waiting >= UNREVEALED_MAX:
        refusal = refuse(rule).at(state.schedule.next_epoch, state.clock)
    return [Check(rule, what, refusal)]


def check_round(state: WeightsState, reveal_round: int) -> Check:
    """Of sealed weights: their round must not be out yet, or anybody could open them at once."""
    rule, what = "InvalidRevealRound", f"round {reveal_round}, not before {state.last_round}"
    return Check(rule, what, refuse(rule) if reveal_round < state.last_round else None)
