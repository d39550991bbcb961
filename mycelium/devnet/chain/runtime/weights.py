"""Weights set in the open, and the rules that all weights keep, revealed ones too (`subnets/weights.rs`)."""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime.calls import Context, DispatchError, call, encoded_error
from mycelium.devnet.chain.runtime.state import PALLET, State, Subnet, index_of

U16_MAX: Final = 65_535


def check_stake(state: State, subnet: Subnet, hotkey: str) -> None:
    """NotEnoughStakeToSetWeights below the chain's threshold; the subnet's owner is excepted."""
    owner = subnet.owner_uid()
    if owner is not None and owner == subnet.uid(hotkey):
        return
    if subnet.weight(hotkey) < state.get(PALLET, "StakeThreshold"):
        raise DispatchError(PALLET, "NotEnoughStakeToSetWeights")


def mechanism(context: Context, netuid: int, mecid: int) -> Subnet:
    """A subnet that has the mechanism. MechanismDoesNotExist, for a subnet that does not exist too."""
    subnet = Subnet(context.state, netuid)
    if not subnet.exists or mecid >= subnet["MechanismCountCurrent"]:
        context.refuse("MechanismDoesNotExist")
    return subnet


def passes_rate_limit(context: Context, subnet: Subnet, uid: int, mecid: int) -> bool:
    """Whether enough blocks have passed since a neuron's last weights, or since it registered."""
    last: int = subnet.vector("LastUpdate", index=index_of(subnet.netuid, mecid))[uid]
    limit: int = subnet["WeightsSetRateLimit"]
    return last == 0 or context.number - last >= limit


def touch(context: Context, subnet: Subnet, uid: int, mecid: int) -> None:
    """Note that a neuron has set or committed weights in this block."""
    subnet.set_in("LastUpdate", uid, context.number, index=index_of(subnet.netuid, mecid))


@call(PALLET, "set_weights", pays=False)
def set_weights(context: Context, netuid: int, dests: Any, weights: Any, version_key: int) -> None:
    set_mechanism_weights(context, netuid, 0, dests, weights, version_key)


@call(PALLET, "set_mechanism_weights", pays=False)
def set_mechanism_weights(
    context: Context, netuid: int, mecid: int, dests: Any, weights: Any, version_key: int
) -> None:
    if Subnet(context.state, netuid)["CommitRevealWeightsEnabled"]:
        context.refuse("CommitRevealEnabled")
    store(context, netuid, mecid, context.account(), list(dests), list(weights), version_key)


@call(PALLET, "batch_set_weights", pays=False)
def batch_set_weights(context: Context, netuids: Any, weights: Any, version_keys: Any) -> None:
    """Each on its own: one that fails is reported and does not stop the others."""
    if not len(netuids) == len(weights) == len(version_keys):
        context.refuse("InputLengthsUnequal")
    items = [
        (netuid, ([uid for uid, _ in pairs], [weight for _, weight in pairs], version_key))
        for netuid, pairs, version_key in zip(netuids, weights, version_keys, strict=True)
    ]
    run_batch(context, set_weights, items)


def run_batch(context: Context, function: Any, items: list[tuple[int, tuple[Any, ...]]]) -> None:
    """Carry out `function(context, netuid, *arguments)` for each, and report those that failed."""
    failures = []
    for netuid, arguments in items:
        outer = context.state
        context.state = outer.nested()
        try:
            function(context, netuid, *arguments)
            context.state.raw.fold()
        except DispatchError as error:
            failures.append((netuid, encoded_error(outer, error)))
        finally:
            context.state = outer
    if failures:
        context.deposit(PALLET, "BatchCompletedWithErrors")
    for failure in failures:
        context.deposit(PALLET, "BatchWeightItemFailed", failure)
    context.deposit(PALLET, "BatchWeightsCompleted", ([netuid for netuid, _ in items], context.account()))


def store(
    context: Context,
    netuid: int,
    mecid: int,
    hotkey: str,
    uids: list[int],
    values: list[int],
    version_key: int,
) -> None:
    """Check and keep a neuron's weights, scaled so that the largest is 65,535.

    Where weights are committed first, the commit was limited in its rate and noted as the update, not this.
    """
    if netuid == 0:
        context.refuse("CanNotSetRootNetworkWeights")
    if len(uids) != len(values):
        context.refuse("WeightVecNotEqualSize")
    subnet = mechanism(context, netuid, mecid)
    size: int = subnet["SubnetworkN"]
    if len(uids) > size:
        context.refuse("UidsLengthExceedUidsInSubNet")
    uid = subnet.uid(hotkey)
    if uid is None:
        context.refuse("HotKeyNotRegisteredInSubNet")
    check_stake(context.state, subnet, hotkey)
    wanted = subnet["WeightsVersionKey"]
    if wanted != 0 and version_key < wanted:
        context.refuse("IncorrectWeightVersionKey")
    open_weights = not subnet["CommitRevealWeightsEnabled"]
    if open_weights and not passes_rate_limit(context, subnet, uid, mecid):
        context.refuse("SettingWeightsTooFast")
    _check_vector(context, subnet, uid, uids, values, size)
    scaled = _upscaled(values)
    limit: int = subnet["MaxWeightsLimit"]
    if uids != [uid] and limit != U16_MAX and scaled and max(scaled) * U16_MAX > limit * sum(scaled):
        context.refuse("MaxWeightExceeded")
    pairs = list(zip(uids, scaled, strict=True))
    context.state.put(PALLET, "Weights", index_of(netuid, mecid), uid, value=pairs)
    if open_weights:
        touch(context, subnet, uid, mecid)
    context.deposit(PALLET, "WeightsSet", (index_of(netuid, mecid), uid))


def _check_vector(
    context: Context, subnet: Subnet, uid: int, uids: list[int], values: list[int], size: int
) -> None:
    # A weight for oneself alone asks for no permit and no length.
    itself = uids == [uid]
    if not (itself or subnet.owner_uid() == uid or subnet.vector("ValidatorPermit")[uid]):
        context.refuse("NeuronNoValidatorPermit")
    if len(set(uids)) != len(uids):
        context.refuse("DuplicateUids")
    if any(other >= size for other in uids):
        context.refuse("UidVecContainInvalidOne")
    if not itself and len(values) < min(subnet["MinAllowedWeights"], size):
        context.refuse("WeightVecLengthIsLow")


def _upscaled(values: list[int]) -> list[int]:
    largest = max(values, default=0)
    if largest in (0, U16_MAX):
        return values
    # Rounded to the nearest, as `vec_u16_max_upscale_to_u16` does.
    return [(value * U16_MAX * 2 + largest) // (2 * largest) for value in values]
