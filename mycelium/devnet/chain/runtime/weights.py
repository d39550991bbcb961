"""Weights: set in the open, committed by hash, or sealed until a drand round; with the rules of pallet-subtensor."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, DispatchError, call
from mycelium.devnet.chain.runtime.neurons import PALLET
from mycelium.devnet.chain.runtime.state import State, Subnet, as_bytes
from mycelium.devnet.chain.runtime.timelock import Beacon, open_with_pulse

U16_MAX: Final = 65_535
MECHANISM_STEP: Final = 4_096
"""A mechanism's weights are kept under netuid + 4096 * mechanism (pallet-subtensor, `GLOBAL_MAX_SUBNET_COUNT`)."""
UNREVEALED_MAX: Final = 10
COMMIT_VERSION: Final = 4


def index_of(netuid: int, mecid: int) -> int:
    """Where a mechanism's weights are kept."""
    return netuid + MECHANISM_STEP * mecid


def check_stake(state: State, subnet: Subnet, hotkey: str) -> None:
    """NotEnoughStakeToSetWeights below the chain's threshold; the subnet's owner is excepted."""
    if hotkey == subnet["SubnetOwnerHotkey"]:
        return
    if subnet.weight(hotkey) < state.get(PALLET, "StakeThreshold"):
        raise DispatchError(PALLET, "NotEnoughStakeToSetWeights")


def _mechanism(context: Context, netuid: int, mecid: int) -> Subnet:
    subnet = context.subnet(netuid)
    if mecid >= subnet["MechanismCountCurrent"]:
        # Named "sub-subnet" in the chain's first version of mechanisms.
        context.refuse("MechanismDoesNotExist")
    return subnet


def _not_too_fast(context: Context, subnet: Subnet, uid: int, mecid: int, error: str) -> None:
    last = _last_update(subnet, mecid)[uid]
    limit = subnet["WeightsSetRateLimit"]
    # A neuron that has never set weights was last updated when it registered, and need not wait.
    registered = context.state.get(PALLET, "BlockAtRegistration", subnet.netuid, uid)
    if last > registered and context.number - last < limit:
        context.refuse(error)


def _last_update(subnet: Subnet, mecid: int) -> list[int]:
    index = index_of(subnet.netuid, mecid)
    found = list(subnet.state.get(PALLET, "LastUpdate", index))
    size: int = subnet["SubnetworkN"]
    return (found + [0] * size)[:size]


def _touch(context: Context, subnet: Subnet, uid: int, mecid: int) -> None:
    updated = _last_update(subnet, mecid)
    updated[uid] = context.number
    context.state.put(PALLET, "LastUpdate", index_of(subnet.netuid, mecid), value=updated)


# --- in the open ------------------------------------------------------------------------------------------


@call(PALLET, "set_weights", pays=False)
def set_weights(context: Context, netuid: int, dests: Any, weights: Any, version_key: int) -> None:
    set_mechanism_weights(context, netuid, 0, dests, weights, version_key)


@call(PALLET, "set_mechanism_weights", pays=False)
def set_mechanism_weights(
    context: Context, netuid: int, mecid: int, dests: Any, weights: Any, version_key: int
) -> None:
    subnet = _mechanism(context, netuid, mecid)
    if subnet["CommitRevealWeightsEnabled"]:
        context.refuse("CommitRevealEnabled")
    store(context, subnet, mecid, context.account(), list(dests), list(weights), version_key)


@call(PALLET, "batch_set_weights", pays=False)
def batch_set_weights(context: Context, netuids: Any, weights: Any, version_keys: Any) -> None:
    """Each on its own: one that fails is reported and does not stop the others."""
    if not len(netuids) == len(weights) == len(version_keys):
        context.refuse("InputLengthsUnequal")
    for netuid, pairs, version_key in zip(netuids, weights, version_keys, strict=True):
        try:
            set_weights(context, netuid, [uid for uid, _ in pairs], [w for _, w in pairs], version_key)
        except DispatchError as error:
            number = context.state.layout.module_error(error.pallet, error.name)
            failed = {"Module": {"index": number[0], "error": "0x" + bytes((number[1], 0, 0, 0)).hex()}}
            context.deposit(PALLET, "BatchWeightItemFailed", failed)
    context.deposit(PALLET, "BatchWeightsCompleted", (list(netuids), context.account()))


def store(
    context: Context,
    subnet: Subnet,
    mecid: int,
    hotkey: str,
    uids: list[int],
    values: list[int],
    version_key: int,
    *,
    revealed: bool = False,
) -> None:
    """Check and keep a neuron's weights, scaled so that the largest is 65,535.

    revealed: they were committed in time, so that the rate limit does not apply again.
    """
    state = context.state
    if len(uids) != len(values):
        context.refuse("WeightVecNotEqualSize")
    if len(uids) > subnet["SubnetworkN"]:
        context.refuse("UidsLengthExceedUidsInSubNet")
    uid = subnet.uid(hotkey)
    if uid is None:
        context.refuse("HotKeyNotRegisteredInSubNet")
        return
    check_stake(state, subnet, hotkey)
    wanted = subnet["WeightsVersionKey"]
    if wanted != 0 and version_key < wanted:
        context.refuse("IncorrectWeightVersionKey")
    if not revealed:
        _not_too_fast(context, subnet, uid, mecid, "SettingWeightsTooFast")
    if uids != [uid] and not subnet.vector("ValidatorPermit")[uid]:
        context.refuse("NeuronNoValidatorPermit")
    if len(set(uids)) != len(uids):
        context.refuse("DuplicateUids")
    if any(other >= subnet["SubnetworkN"] for other in uids):
        context.refuse("UidVecContainInvalidOne")
    if uids != [uid] and len(uids) < min(subnet["MinAllowedWeights"], subnet["SubnetworkN"]):
        context.refuse("WeightVecLengthIsLow")
    largest = max(values, default=0)
    scaled = [value * U16_MAX // largest for value in values] if largest else values
    total = sum(scaled)
    limit = subnet["MaxWeightsLimit"]
    if uids != [uid] and limit < U16_MAX and total and max(scaled) * U16_MAX // total > limit:
        context.refuse("MaxWeightExceeded")
    pairs = list(zip(uids, scaled, strict=True))
    state.put(PALLET, "Weights", index_of(subnet.netuid, mecid), uid, value=pairs)
    if not revealed:
        _touch(context, subnet, uid, mecid)
    context.deposit(PALLET, "WeightsSet", (index_of(subnet.netuid, mecid), uid))


# --- by hash ----------------------------------------------------------------------------------------------


@call(PALLET, "commit_weights", pays=False)
def commit_weights(context: Context, netuid: int, commit_hash: Any) -> None:
    subnet, uid = _committing(context, netuid, 0)
    hotkey, epoch = context.account(), subnet["SubnetEpochIndex"]
    held = list(context.state.get(PALLET, "WeightCommits", netuid, hotkey) or [])
    if len(held) >= UNREVEALED_MAX:
        context.refuse("TooManyUnrevealedCommits")
    first = epoch + subnet["RevealPeriodEpochs"]
    held.append((commit_hash, context.number, first, first))
    context.state.put(PALLET, "WeightCommits", netuid, hotkey, value=held)
    _touch(context, subnet, uid, 0)
    context.deposit(PALLET, "WeightsCommitted", (hotkey, netuid, commit_hash))


@call(PALLET, "reveal_weights", pays=False)
def reveal_weights(
    context: Context, netuid: int, uids: Any, values: Any, salt: Any, version_key: int
) -> None:
    """The commit's hash is blake2b-256 of (hotkey, netuid, uids, values, salt, version key) in SCALE."""
    subnet, hotkey = context.subnet(netuid), context.account()
    held = list(context.state.get(PALLET, "WeightCommits", netuid, hotkey) or [])
    if not held:
        context.refuse("NoWeightsCommitFound")
    given = commit_hash_of(context.state, hotkey, netuid, list(uids), list(values), list(salt), version_key)
    found = next((entry for entry in held if _hash_text(entry[0]) == given), None)
    if found is None:
        context.refuse("InvalidRevealCommitHashNotMatch")
        return
    epoch = subnet["SubnetEpochIndex"]
    if epoch < found[2]:
        context.refuse("RevealTooEarly")
    if epoch > found[3]:
        context.refuse("ExpiredWeightCommit")
    held.remove(found)
    context.state.put(PALLET, "WeightCommits", netuid, hotkey, value=held)
    store(context, subnet, 0, hotkey, list(uids), list(values), version_key, revealed=True)
    context.deposit(PALLET, "WeightsRevealed", (hotkey, netuid, found[0]))


def commit_hash_of(
    state: State, hotkey: str, netuid: int, uids: list[int], values: list[int], salt: list[int], key: int
) -> str:
    """The hash that was committed, 0x text."""
    codec = state.layout.codec
    vector = "Vec<u16>"
    parts = [("AccountId32", hotkey), ("u16", netuid), (vector, uids), (vector, values), (vector, salt)]
    data = b"".join(bytes(codec.encode(kind, value)) for kind, value in [*parts, ("u64", key)])
    return "0x" + blake2b(data, digest_size=32).hexdigest()


def _hash_text(value: Any) -> str:
    return value if isinstance(value, str) else "0x" + bytes(value).hex()


# --- until a round ----------------------------------------------------------------------------------------


@call(PALLET, "commit_timelocked_weights", pays=False)
def commit_timelocked_weights(
    context: Context, netuid: int, commit: Any, reveal_round: int, commit_reveal_version: int
) -> None:
    _commit_timelocked(context, netuid, 0, commit, reveal_round, commit_reveal_version)


@call(PALLET, "commit_timelocked_mechanism_weights", pays=False)
def commit_timelocked_mechanism_weights(
    context: Context, netuid: int, mecid: int, commit: Any, reveal_round: int, commit_reveal_version: int
) -> None:
    _commit_timelocked(context, netuid, mecid, commit, reveal_round, commit_reveal_version)


@call(PALLET, "commit_crv3_mechanism_weights", pays=False)
def commit_crv3_mechanism_weights(
    context: Context, netuid: int, mecid: int, commit: Any, reveal_round: int
) -> None:
    _commit_timelocked(context, netuid, mecid, commit, reveal_round, COMMIT_VERSION)


def _committing(context: Context, netuid: int, mecid: int) -> tuple[Subnet, int]:
    """What every commit must be: allowed here, by a neuron, not too soon."""
    subnet = _mechanism(context, netuid, mecid)
    if not subnet["CommitRevealWeightsEnabled"]:
        context.refuse("CommitRevealDisabled")
    uid = subnet.uid(context.account())
    if uid is None:
        raise DispatchError(PALLET, "HotKeyNotRegisteredInSubNet")
    check_stake(context.state, subnet, context.account())
    _not_too_fast(context, subnet, uid, mecid, "CommittingWeightsTooFast")
    return subnet, uid


def _commit_timelocked(
    context: Context, netuid: int, mecid: int, commit: Any, reveal_round: int, version: int
) -> None:
    if version != context.state.get(PALLET, "CommitRevealWeightsVersion"):
        context.refuse("IncorrectCommitRevealVersion")
    subnet, uid = _committing(context, netuid, mecid)
    hotkey, raw = context.account(), as_bytes(commit)
    index, epoch = index_of(netuid, mecid), subnet["SubnetEpochIndex"]
    waiting = sum(
        who == hotkey
        for _, entries in context.state.map(PALLET, "TimelockedWeightCommits", index)
        for who, *_ in entries
    )
    if waiting >= UNREVEALED_MAX:
        context.refuse("TooManyUnrevealedCommits")
    held = list(context.state.get(PALLET, "TimelockedWeightCommits", index, epoch))
    held.append((hotkey, context.number, raw, reveal_round))
    context.state.put(PALLET, "TimelockedWeightCommits", index, epoch, value=held)
    _touch(context, subnet, uid, mecid)
    commit_hash = "0x" + blake2b(raw, digest_size=32).hexdigest()
    context.deposit(PALLET, "TimelockedWeightsCommitted", (hotkey, index, commit_hash, reveal_round))


def reveal_due(context: Context, subnet: Subnet, beacon: Beacon, round_now: int) -> None:
    """Open the sealed commits of the epochs that are due; a commit nobody can open expires an epoch later."""
    due = subnet["SubnetEpochIndex"] - subnet["RevealPeriodEpochs"]
    for mecid in range(subnet["MechanismCountCurrent"]):
        index = index_of(subnet.netuid, mecid)
        for epoch, entries in list(context.state.map(PALLET, "TimelockedWeightCommits", index)):
            if epoch > due:
                continue
            kept = []
            for hotkey, block, commit, round_number in entries:
                opened = _open(context.state, beacon, as_bytes(commit), round_number, round_now)
                if opened is not None:
                    _reveal(context, subnet, mecid, hotkey, opened)
                elif epoch >= due:
                    kept.append((hotkey, block, commit, round_number))
            if kept:
                context.state.put(PALLET, "TimelockedWeightCommits", index, epoch, value=kept)
            else:
                context.state.delete(PALLET, "TimelockedWeightCommits", index, epoch)


def _open(state: State, beacon: Beacon, commit: bytes, round_number: int, round_now: int) -> bytes | None:
    pulse = state.get("Drand", "Pulses", round_number)
    if pulse is not None:
        opened = open_with_pulse(commit, as_bytes(pulse["signature"]))
        if opened is not None:
            return opened
    return beacon.open(commit, round_number) if round_number <= round_now else None


def _reveal(context: Context, subnet: Subnet, mecid: int, hotkey: str, opened: bytes) -> None:
    """Keep the weights of an opened commit; one that breaks a rule is passed over, as the real chain does."""
    codec, outer = context.state.layout.codec, context.state
    try:
        key_bytes, at = _sized(opened, 0)
        uids, at = _sized(opened, at, item_bytes=2)
        values, at = _sized(opened, at, item_bytes=2)
        version_key = int.from_bytes(opened[at : at + 8], "little")
        if len(opened) != at + 8 or key_bytes != bytes(codec.encode("AccountId32", hotkey)):
            return
        context.state = outer.nested()
        pairs = [
            [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]
            for raw in (uids, values)
        ]
        store(context, subnet, mecid, hotkey, pairs[0], pairs[1], version_key, revealed=True)
        context.deposit(PALLET, "TimelockedWeightsRevealed", (index_of(subnet.netuid, mecid), hotkey))
        context.state.raw.fold()
    except (DispatchError, ValueError):
        return
    finally:
        context.state = outer


def _sized(data: bytes, at: int, item_bytes: int = 1) -> tuple[bytes, int]:
    """The bytes of a SCALE vector, and where it ends. ValueError when it is cut short."""
    if at >= len(data) or data[at] & 3 == 3:
        raise ValueError("no vector of that length")
    width = (1, 2, 4)[data[at] & 3]
    size = (int.from_bytes(data[at : at + width], "little") >> 2) * item_bytes
    if at + width + size > len(data):
        raise ValueError("cut short")
    return data[at + width : at + width + size], at + width + size
