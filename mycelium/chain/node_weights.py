"""Setting weights under the names of Fiber's programs, which get True or False. `weights` has these names too.

Owns the arithmetic that those programs expect, and the answer in one word; the way in which the chain takes weights is
`weights`' choice. Uses the connection that is given: opens none, closes none. Programs put a function of their own in
the place of `chain_utils.query_substrate`, so it is looked up there.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final

from substrateinterface import Keypair, SubstrateInterface

from mycelium.chain import chain_utils, weights_state
from mycelium.chain.chain_utils import as_connection, format_error_message, query_substrate, wait_for
from mycelium.chain.commit_reveal import sealed_commit
from mycelium.chain.dispatch import Refusal, Subject
from mycelium.chain.extrinsics import account_of
from mycelium.chain.interface import get_substrate
from mycelium.chain.outcome import Outcome, perform
from mycelium.chain.quantise import U16_MAX
from mycelium.chain.schedule import PALLET
from mycelium.chain.signer import address
from mycelium.errors import ChainError, UnknownToChain, UsageError

logger = logging.getLogger("mycelium.chain.weights")

__all__ = [
    "Keypair",
    "SubstrateInterface",
    "blocks_since_last_update",
    "can_set_weights",
    "format_error_message",
    "get_substrate",
    "min_interval_to_set_weights",
    "query_substrate",
    "set_node_weights",
]

_TIMELOCKED: Final = "commit_timelocked_weights"


def set_node_weights(
    substrate: SubstrateInterface,
    keypair: Any,
    node_ids: list[int],
    node_weights: list[float],
    netuid: int,
    validator_node_id: int,
    version_key: int = 0,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = False,
    max_attempts: int | None = None,
) -> bool:
    """Set a hotkey's weights by the path that the chain has in force: in the open, or committed first.

    node_ids, node_weights: uids and weights that count relative to each other. validator_node_id: whose uid it is; the
    chain itself is asked whose it is. max_attempts: nothing; DeprecationWarning. Waited for neither inclusion nor
    finalisation, True says that a node has taken them. False: a rule refused, which is logged, with the block from
    which it will not; `weights.set_weights` returns it.

    ValueError for negative weights, for others that are no numbers, and for lists of different lengths; UsageError for
    what is no connection or no keypair. Where Fiber repeated and raised what came last, it is ChainUnreachable,
    ExtrinsicTimeout or another ChainError.
    """
    from mycelium.chain.weights import set_weights

    if max_attempts is not None:
        warnings.warn("max_attempts does nothing: the connection repeats", DeprecationWarning, stacklevel=2)
    uids, values = _normalize_and_quantize_weights(node_ids, node_weights)
    connection = as_connection(substrate)
    account_of(keypair)
    try:
        result = set_weights(
            connection,
            keypair,
            netuid,
            uids,
            values,
            version_key=version_key,
            wait=wait_for(wait_for_inclusion, wait_for_finalization),
        )
    except UsageError as error:
        logger.error("The weights of node %s were not set: %s", validator_node_id, error)
        return False
    if not result.success:
        logger.error(
            "The weights of node %s were not set: %s\n  %s", validator_node_id, result.refusal, result.remedy
        )
        return False
    told = "" if result.reveal_at_block is None else f"; they are revealed in block {result.reveal_at_block}"
    logger.info("Set %d weights on subnet %s by %s%s", len(result.uids), netuid, result.path, told)
    return True


def _normalize_and_quantize_weights(
    node_ids: Sequence[int], node_weights: Sequence[float]
) -> tuple[list[int], list[int]]:
    """Uids and u16 weights, the largest 65,535; who weighs nothing is left out, who weighs next to nothing has 0.

    Both empty where all weights are zero. ValueError for negative ones, for others that are no finite numbers, and for
    lists of different lengths.
    """
    weights = list(node_weights)
    if len(node_ids) != len(weights) or any(weight < 0 for weight in weights):
        raise ValueError("Invalid input: length mismatch or negative values")
    if not all(map(math.isfinite, weights)):
        raise ValueError("Invalid input: weights are finite numbers")
    if not any(weights):
        return [], []
    scale = U16_MAX / max(weights)
    if math.isinf(scale):  # the largest is next to nothing itself
        weights = [weight / max(weights) for weight in weights]
        scale = U16_MAX
    kept = [(uid, round(weight * scale)) for uid, weight in zip(node_ids, weights, strict=True) if weight > 0]
    return [uid for uid, _ in kept], [value for _, value in kept]


# --- when -------------------------------------------------------------------------------------------------


def blocks_since_last_update(substrate: SubstrateInterface, netuid: int, node_id: int) -> int:
    """Blocks since a uid last set or committed weights. IndexError for a uid that the subnet has not; ChainError."""
    substrate, number = chain_utils.query_substrate(substrate, "System", "Number", [])
    substrate, updates = chain_utils.query_substrate(substrate, PALLET, "LastUpdate", [netuid])
    if not 0 <= node_id < len(updates):
        raise IndexError(f"subnet {netuid} has {len(updates)} uids, and no {node_id}")
    return int(number) - int(updates[node_id])


def min_interval_to_set_weights(substrate: SubstrateInterface, netuid: int) -> int:
    """Blocks that must lie between two times that a uid sets weights. ChainError."""
    _, limit = chain_utils.query_substrate(substrate, PALLET, "WeightsSetRateLimit", [netuid])
    return int(limit)


def can_set_weights(substrate: SubstrateInterface, netuid: int, validator_node_id: int) -> bool:
    """Whether the last weights of a uid are long enough ago; if not, that is logged. IndexError, ChainError."""
    since = blocks_since_last_update(substrate, netuid, validator_node_id)
    least = min_interval_to_set_weights(substrate, netuid)
    if since >= least:
        return True
    logger.error("It is too soon to set weights! The last were %d blocks ago, of at least %d", since, least)
    return False


# --- by one path ------------------------------------------------------------------------------------------


def _log_and_reraise(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose errors are logged on their way."""

    @wraps(func)
    def logged(*arguments: Any, **keywords: Any) -> Any:
        try:
            return func(*arguments, **keywords)
        except Exception:
            logger.exception("%s failed", getattr(func, "__name__", func))
            raise

    return logged


def _send_weights_to_chain(
    substrate: SubstrateInterface,
    keypair: Any,
    node_ids: list[int],
    node_weights: list[float],
    netuid: int,
    version_key: int = 0,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = False,
) -> tuple[bool, str | None]:
    """Set weights in the open, as they are: u16 beside uids. (True, None), or (False, what the chain says).

    ChainError, and UsageError for weights that are no whole numbers up to 65,535.
    """
    params = {
        "netuid": netuid,
        "dests": [int(uid) for uid in node_ids],
        "weights": [_whole(weight) for weight in node_weights],
        "version_key": version_key,
    }
    wait = wait_for(wait_for_inclusion, wait_for_finalization)
    return _sent(substrate, keypair, "set_weights", netuid, params, wait)


def _send_commit_reveal_weights_to_chain(
    substrate: SubstrateInterface,
    keypair: Any,
    commit: bytes,
    reveal_round: int,
    netuid: int,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = False,
) -> tuple[bool, str | None]:
    """Commit to weights that are sealed until a drand round. (True, None), or (False, what the chain says).

    The commit must be of the version that the chain says: see `commit_reveal.sealed_commit`. ChainError.
    """
    from mycelium.chain.weights import SEALED, path_of

    connection = as_connection(substrate)
    call, kind = path_of(connection, commit_reveal=True)
    if kind != SEALED:
        raise UnknownToChain(f"the chain takes no sealed weights, but {call}", "use set_node_weights")
    params: dict[str, Any] = {"netuid": netuid, "commit": bytes(commit), "reveal_round": int(reveal_round)}
    if "mechanism" in call:
        params["mecid"] = 0
    if "timelocked" in call:
        params["commit_reveal_version"] = int(connection.read(PALLET, "CommitRevealWeightsVersion"))
    wait = wait_for(wait_for_inclusion, wait_for_finalization)
    return _sent(connection, keypair, call, netuid, params, wait)


def _set_weights_without_commit_reveal(
    substrate: SubstrateInterface,
    keypair: Any,
    node_ids: list[int],
    node_weights: list[float],
    netuid: int,
    version_key: int = 0,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = False,
) -> bool:
    """Set u16 weights in the open, whatever the chain has in force; whether it took them. Raises as the one above."""
    success, error = _send_weights_to_chain(
        substrate,
        keypair,
        node_ids,
        node_weights,
        netuid,
        version_key,
        wait_for_inclusion,
        wait_for_finalization,
    )
    return _told(success, error)


def _set_weights_with_commit_reveal(
    substrate: SubstrateInterface,
    keypair: Any,
    node_ids: list[int],
    node_weights: list[float],
    netuid: int,
    version_key: int = 0,
    wait_for_inclusion: bool = False,
    wait_for_finalization: bool = False,
) -> bool:
    """Commit to u16 weights, whatever the chain has in force; whether it took the commit. ChainError, UsageError."""
    connection = as_connection(substrate)
    account = account_of(keypair)
    state = weights_state.read(connection, netuid, address(account))
    uids, values = [int(uid) for uid in node_ids], [_whole(weight) for weight in node_weights]
    sealed = sealed_commit(state, account, uids, values, version_key)
    success, error = _send_commit_reveal_weights_to_chain(
        connection,
        keypair,
        sealed.sealed,
        sealed.reveal_round,
        netuid,
        wait_for_inclusion,
        wait_for_finalization,
    )
    return _told(success, error)


def _whole(weight: Any) -> int:
    if weight != weight or int(weight) != weight or not 0 <= weight <= U16_MAX:
        raise UsageError(f"{weight!r} is no weight as the chain takes them: quantise them first")
    return int(weight)


def _sent(
    substrate: Any, keypair: Any, call: str, netuid: int, params: Mapping[str, Any], wait: str
) -> tuple[bool, str | None]:
    subject = Subject(call, address(keypair), netuid)
    done = perform(Outcome, as_connection(substrate), keypair, subject, params, (), wait=wait)
    return (True, None) if done.success else (False, _as_module_error(done.refusal))


def _as_module_error(refusal: Refusal | None) -> str:
    if refusal is None:
        raise ChainError("the chain refused, and did not say why")
    told = f"{refusal.reason}; {refusal.remedy}" if refusal.remedy else refusal.reason
    return format_error_message({"type": "Module", "name": refusal.rule, "docs": [told]})


def _told(success: bool, error: str | None) -> bool:
    if not success:
        logger.error("The weights were not set: %s", error)
    return success
