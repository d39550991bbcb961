"""Weights that are committed first: by hash, or sealed until a drand round (`weights.rs`, `reveal_commits.rs`).

A commit belongs to the epoch it is made in and is revealed `RevealPeriodEpochs` later, in that epoch alone.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from mycelium.devnet.chain.runtime import weights
from mycelium.devnet.chain.runtime.calls import Context, DispatchError, call
from mycelium.devnet.chain.runtime.epoch import is_due
from mycelium.devnet.chain.runtime.state import PALLET, State, Subnet, as_bytes, index_of
from mycelium.devnet.chain.runtime.timelock import Beacon, is_for_beacon, open_with_pulse

UNREVEALED_MAX: Final = 10
COMMIT_VERSION: Final = 4
"""What `commit_crv3_mechanism_weights` says, which has no parameter for it."""
_ACCOUNT_BYTES: Final = 32


def current_epoch(context: Context, subnet: Subnet) -> int:
    """The epoch that counts for commits now; one that is due has begun."""
    index: int = subnet["SubnetEpochIndex"]
    return index + is_due(subnet, context.number)


def is_expired(context: Context, subnet: Subnet, epoch: int) -> bool:
    """Whether what was committed in that epoch can be revealed no more."""
    period: int = subnet["RevealPeriodEpochs"]
    return current_epoch(context, subnet) > epoch + period


def _committing(
    context: Context, netuid: int, mecid: int, *, version: int | None = None
) -> tuple[Subnet, int]:
    """What every commit must be: allowed here, by a neuron, not too soon. The neuron's uid."""
    subnet = weights.mechanism(context, netuid, mecid)
    if not subnet["CommitRevealWeightsEnabled"]:
        context.refuse("CommitRevealDisabled")
    if version is not None and version != context.state.get(PALLET, "CommitRevealWeightsVersion"):
        context.refuse("IncorrectCommitRevealVersion")
    uid = subnet.uid(context.account())
    if uid is None:
        context.refuse("HotKeyNotRegisteredInSubNet")
    if not weights.passes_rate_limit(context, subnet, uid, mecid):
        context.refuse("CommittingWeightsTooFast")
    return subnet, uid


# --- by hash ----------------------------------------------------------------------------------------------


@call(PALLET, "commit_weights", pays=False)
def commit_weights(context: Context, netuid: int, commit_hash: Any) -> None:
    commit_mechanism_weights(context, netuid, 0, commit_hash)


@call(PALLET, "commit_mechanism_weights", pays=False)
def commit_mechanism_weights(context: Context, netuid: int, mecid: int, commit_hash: Any) -> None:
    subnet, uid = _committing(context, netuid, mecid)
    hotkey, index = context.account(), index_of(netuid, mecid)
    kept, _ = _held(context, subnet, index)
    if len(kept) >= UNREVEALED_MAX:
        context.refuse("TooManyUnrevealedCommits")
    # The last number was once the block that a reveal had to wait for, and is zero since.
    kept.append((commit_hash, current_epoch(context, subnet), context.number, 0))
    context.state.put(PALLET, "WeightCommits", index, hotkey, value=kept)
    weights.touch(context, subnet, uid, mecid)
    context.deposit(PALLET, "WeightsCommitted", (hotkey, index, commit_hash))


@call(PALLET, "batch_commit_weights", pays=False)
def batch_commit_weights(context: Context, netuids: Any, commit_hashes: Any) -> None:
    """Each on its own: one that fails is reported and does not stop the others."""
    if len(netuids) != len(commit_hashes):
        context.refuse("InputLengthsUnequal")
    items = [(netuid, (given,)) for netuid, given in zip(netuids, commit_hashes, strict=True)]
    weights.run_batch(context, commit_weights, items)


@call(PALLET, "reveal_weights", pays=False)
def reveal_weights(
    context: Context, netuid: int, uids: Any, values: Any, salt: Any, version_key: int
) -> None:
    reveal_mechanism_weights(context, netuid, 0, uids, values, salt, version_key)


@call(PALLET, "reveal_mechanism_weights", pays=False)
def reveal_mechanism_weights(
    context: Context, netuid: int, mecid: int, uids: Any, values: Any, salt: Any, version_key: int
) -> None:
    """Older commits than the one that is revealed are gone with it."""
    given = (list(uids), list(values), list(salt), version_key)
    subnet, index = Subnet(context.state, netuid), index_of(netuid, mecid)
    kept, position = _find(context, subnet, index, given)
    _keep(context, index, kept[position + 1 :])
    weights.store(context, netuid, mecid, context.account(), given[0], given[1], version_key)
    revealed = kept[position][0]
    context.deposit(PALLET, "WeightsRevealed", (context.account(), index, revealed))


@call(PALLET, "batch_reveal_weights", pays=False)
def batch_reveal_weights(
    context: Context, netuid: int, uids_list: Any, values_list: Any, salts_list: Any, version_keys: Any
) -> None:
    """All or none, in the order given."""
    if not len(uids_list) == len(values_list) == len(salts_list) == len(version_keys):
        context.refuse("InputLengthsUnequal")
    subnet, revealed = Subnet(context.state, netuid), []
    for uids, values, salt, key in zip(uids_list, values_list, salts_list, version_keys, strict=True):
        given = (list(uids), list(values), list(salt), key)
        kept, position = _find(context, subnet, netuid, given)
        revealed.append(kept.pop(position)[0])
        _keep(context, netuid, kept)
        weights.store(context, netuid, 0, context.account(), given[0], given[1], key)
    context.deposit(PALLET, "WeightsBatchRevealed", (context.account(), netuid, revealed))


Revealed = tuple[list[int], list[int], list[int], int]
"""uids, values, salt and version key, of which a commit is the hash."""


def _held(context: Context, subnet: Subnet, index: int) -> tuple[list[Any], list[Any]]:
    """The signer's commits that can still be revealed, and those that have expired."""
    held = list(context.state.get(PALLET, "WeightCommits", index, context.account()) or [])
    first = 0
    while first < len(held) and is_expired(context, subnet, held[first][1]):
        first += 1
    return held[first:], held[:first]


def _find(context: Context, subnet: Subnet, index: int, given: Revealed) -> tuple[list[Any], int]:
    """The signer's commits, and which of them is the hash of what is given, to be revealed now."""
    if not subnet["CommitRevealWeightsEnabled"]:
        context.refuse("CommitRevealDisabled")
    kept, expired = _held(context, subnet, index)
    wanted = commit_hash_of(context.state, context.account(), index, *given)
    position = next((at for at, entry in enumerate(kept) if _hash_text(entry[0]) == wanted), None)
    if position is None:
        if any(_hash_text(entry[0]) == wanted for entry in expired):
            context.refuse("ExpiredWeightCommit")
        context.refuse("InvalidRevealCommitHashNotMatch" if kept else "NoWeightsCommitFound")
    if current_epoch(context, subnet) != kept[position][1] + subnet["RevealPeriodEpochs"]:
        context.refuse("RevealTooEarly")
    return kept, position


def check_reveal(context: Context, subnet: Subnet, index: int, given: Revealed) -> None:
    """What is looked at before a reveal is let into a block: NoWeightsCommitFound, RevealTooEarly."""
    held = context.state.get(PALLET, "WeightCommits", index, context.account()) or []
    wanted = commit_hash_of(context.state, context.account(), index, *given)
    found = next((entry for entry in held if _hash_text(entry[0]) == wanted), None)
    if found is None:
        context.refuse("NoWeightsCommitFound")
    if current_epoch(context, subnet) != found[1] + subnet["RevealPeriodEpochs"]:
        context.refuse("RevealTooEarly")


def _keep(context: Context, index: int, kept: list[Any]) -> None:
    if kept:
        context.state.put(PALLET, "WeightCommits", index, context.account(), value=kept)
    else:
        context.state.delete(PALLET, "WeightCommits", index, context.account())


def commit_hash_of(
    state: State, hotkey: str, index: int, uids: list[int], values: list[int], salt: list[int], key: int
) -> str:
    """The hash that is committed, 0x text: blake2b-256 of all of them in SCALE."""
    codec, vector = state.layout.codec, "Vec<u16>"
    parts = [("AccountId32", hotkey), ("u16", index), (vector, uids), (vector, values), (vector, salt)]
    data = b"".join(bytes(codec.encode(kind, value)) for kind, value in [*parts, ("u64", key)])
    return "0x" + blake2b(data, digest_size=32).hexdigest()


def _hash_text(value: Any) -> str:
    return value if isinstance(value, str) else "0x" + bytes(value).hex()


# --- until a round ----------------------------------------------------------------------------------------


@call(PALLET, "commit_timelocked_weights", pays=False)
def commit_timelocked_weights(
    context: Context, netuid: int, commit: Any, reveal_round: int, commit_reveal_version: int
) -> None:
    commit_timelocked_mechanism_weights(context, netuid, 0, commit, reveal_round, commit_reveal_version)


@call(PALLET, "commit_crv3_mechanism_weights", pays=False)
def commit_crv3_mechanism_weights(
    context: Context, netuid: int, mecid: int, commit: Any, reveal_round: int
) -> None:
    commit_timelocked_mechanism_weights(context, netuid, mecid, commit, reveal_round, COMMIT_VERSION)


@call(PALLET, "commit_timelocked_mechanism_weights", pays=False)
def commit_timelocked_mechanism_weights(
    context: Context, netuid: int, mecid: int, commit: Any, reveal_round: int, commit_reveal_version: int
) -> None:
    subnet, uid = _committing(context, netuid, mecid, version=commit_reveal_version)
    hotkey, raw = context.account(), as_bytes(commit)
    index, epoch = index_of(netuid, mecid), current_epoch(context, subnet)
    held = list(context.state.get(PALLET, "TimelockedWeightCommits", index, epoch))
    if sum(who == hotkey for who, *_ in held) >= UNREVEALED_MAX:
        context.refuse("TooManyUnrevealedCommits")
    held.append((hotkey, context.number, raw, reveal_round))
    context.state.put(PALLET, "TimelockedWeightCommits", index, epoch, value=held)
    weights.touch(context, subnet, uid, mecid)
    commit_hash = "0x" + blake2b(raw, digest_size=32).hexdigest()
    context.deposit(PALLET, "TimelockedWeightsCommitted", (hotkey, index, commit_hash, reveal_round))


def reveal_due(context: Context, subnet: Subnet, beacon: Beacon, round_now: int) -> None:
    """Open the sealed commits whose epoch it is, and drop the older ones. Called in every block.

    A commit whose round is not out yet is tried again in each block of the epoch; one that does not open, or that
    breaks a rule of weights, is dropped.
    """
    period, now = subnet["RevealPeriodEpochs"], current_epoch(context, subnet)
    for mecid, index in enumerate(subnet.mechanisms()):
        for epoch, entries in list(context.state.map(PALLET, "TimelockedWeightCommits", index)):
            if epoch + period > now:
                continue
            waiting = []
            for entry in entries if epoch + period == now else ():
                opened = _open(context.state, beacon, as_bytes(entry[2]), entry[3], round_now)
                if opened is None:
                    waiting.append((entry[0], entry[1], as_bytes(entry[2]), entry[3]))
                elif opened:
                    _reveal(context, subnet.netuid, mecid, entry[0], opened)
            if not waiting:
                context.state.delete(PALLET, "TimelockedWeightCommits", index, epoch)
            elif len(waiting) != len(entries):
                context.state.put(PALLET, "TimelockedWeightCommits", index, epoch, value=waiting)


def _open(state: State, beacon: Beacon, commit: bytes, round_number: int, round_now: int) -> bytes | None:
    """What is in a commit, empty when it does not open; None while nothing is known of its round."""
    if is_for_beacon(commit):
        return (beacon.open(commit, round_number) or b"") if round_number <= round_now else None
    pulse = state.get("Drand", "Pulses", round_number)
    return None if pulse is None else open_with_pulse(commit, as_bytes(pulse["signature"])) or b""


def _reveal(context: Context, netuid: int, mecid: int, hotkey: str, opened: bytes) -> None:
    account = bytes(context.state.layout.codec.encode("AccountId32", hotkey))
    outer = context.state
    context.state = outer.nested()
    try:
        uids, values, version_key = _payload(opened, account)
        weights.store(context, netuid, mecid, hotkey, uids, values, version_key)
        context.deposit(PALLET, "TimelockedWeightsRevealed", (index_of(netuid, mecid), hotkey))
        context.state.raw.fold()
    except (DispatchError, ValueError):
        return
    finally:
        context.state = outer


def _payload(opened: bytes, account: bytes) -> tuple[list[int], list[int], int]:
    """uids, values and version key; older clients leave the hotkey out. ValueError when it is not the account's."""
    try:
        named, start = _sized(opened, 0)
        found = _vectors(opened, start)
    except ValueError:
        return _vectors(opened, 0)
    if len(named) < _ACCOUNT_BYTES:
        return _vectors(opened, 0)
    if named[:_ACCOUNT_BYTES] != account:
        raise ValueError("sealed by somebody else")
    return found


def _vectors(data: bytes, at: int) -> tuple[list[int], list[int], int]:
    uids, at = _sized(data, at, item_bytes=2)
    values, at = _sized(data, at, item_bytes=2)
    if len(data) < at + 8:
        raise ValueError("cut short")
    return _numbers(uids), _numbers(values), int.from_bytes(data[at : at + 8], "little")


def _numbers(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]


def _sized(data: bytes, at: int, item_bytes: int = 1) -> tuple[bytes, int]:
    """The bytes of a SCALE vector, and where it ends. ValueError when it is cut short."""
    if at >= len(data) or data[at] & 3 == 3:
        raise ValueError("no vector of that length")
    width = (1, 2, 4)[data[at] & 3]
    size = (int.from_bytes(data[at : at + width], "little") >> 2) * item_bytes
    if at + width + size > len(data):
        raise ValueError("cut short")
    return data[at + width : at + width + size], at + width + size
