"""What Subtensor looks at before a call is let into a block, and again before it is carried out (`guards/`).

At submission a refusal is a number (`CustomTransactionError`), within a block the error itself.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.devnet.chain.runtime import commits, serving, weights
from mycelium.devnet.chain.runtime.calls import GUARDS, Context
from mycelium.devnet.chain.runtime.state import PALLET, Subnet, index_of

CUSTOM: Final = {
    "NotEnoughStakeToSetWeights": 1,
    "CommittingWeightsTooFast": 6,
    "SettingWeightsTooFast": 6,
    "HotKeyNotRegisteredInNetwork": 10,
    "InvalidIpAddress": 11,
    "ServingRateLimitExceeded": 12,
    "InvalidPort": 13,
    "InvalidRevealRound": 15,
    "NoWeightsCommitFound": 16,
    "RevealTooEarly": 17,
    "InputLengthsUnequal": 18,
}
"""The numbers of those that are refused here."""
BAD_REQUEST: Final = 255
"""The number of all others."""

_COMMITS: Final = ("commit_weights", "commit_mechanism_weights")
_SETS: Final = ("set_weights", "set_mechanism_weights")
_REVEALS: Final = ("reveal_weights", "reveal_mechanism_weights")
_SEALED: Final = (
    "commit_timelocked_weights",
    "commit_timelocked_mechanism_weights",
    "commit_crv3_mechanism_weights",
)
_BATCHES: Final = {
    "batch_commit_weights": ("netuids", "commit_hashes"),
    "batch_set_weights": ("netuids", "weights", "version_keys"),
    "batch_reveal_weights": ("uids_list", "values_list", "salts_list", "version_keys"),
}


def check(context: Context, module: str, function: str, given: dict[str, Any]) -> None:
    """DispatchError for a signed call that must not be tried."""
    if module != PALLET:
        return
    if function in ("serve_axon", "serve_axon_tls"):
        serving.check_axon(context, **_without(given, "certificate"))
    elif function == "serve_prometheus":
        serving.check_prometheus(context, **given)
    elif function in (*_COMMITS, *_SETS, *_REVEALS, *_SEALED, *_BATCHES):
        _check_weights(context, function, given)


def _check_weights(context: Context, function: str, given: dict[str, Any]) -> None:
    if len({len(given[name]) for name in _BATCHES.get(function, ())}) > 1:
        context.refuse("InputLengthsUnequal")
    for netuid in [given["netuid"]] if "netuid" in given else given["netuids"]:
        weights.check_stake(context.state, Subnet(context.state, netuid), context.account())
    if function in _SEALED and given["reveal_round"] < context.state.get("Drand", "LastStoredRound"):
        context.refuse("InvalidRevealRound")
    if function in _BATCHES and function != "batch_reveal_weights":
        return
    subnet, mecid = Subnet(context.state, given["netuid"]), given.get("mecid", 0)
    index = index_of(subnet.netuid, mecid)
    if function in _REVEALS:
        shown = (list(given["uids"]), list(given["values"]), list(given["salt"]), given["version_key"])
        commits.check_reveal(context, subnet, index, shown)
    elif function == "batch_reveal_weights":
        lists = [given[name] for name in _BATCHES[function]]
        for uids, values, salt, key in zip(*lists, strict=True):
            commits.check_reveal(context, subnet, index, (list(uids), list(values), list(salt), key))
    elif function in _COMMITS:
        _check_rate(context, subnet, mecid, "CommittingWeightsTooFast")
    elif function in _SETS and not subnet["CommitRevealWeightsEnabled"]:
        _check_rate(context, subnet, mecid, "SettingWeightsTooFast")


def _check_rate(context: Context, subnet: Subnet, mecid: int, error: str) -> None:
    uid = subnet.uid(context.account())
    if uid is None:
        return
    # A mechanism that is not there passes no limit either.
    known = mecid < subnet["MechanismCountCurrent"]
    if not known or not weights.passes_rate_limit(context, subnet, uid, mecid):
        context.refuse(error)


def _without(given: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != name}


GUARDS.append(check)
