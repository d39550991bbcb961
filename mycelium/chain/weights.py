"""Setting weights on today's chain, and the conversions that programs know under these names.

Owns the choice of the path, which is read from the chain: in the open, sealed until a drand round, or by hash; of the
mechanism or of the subnet; by the newest call that the chain's metadata has. What the rules say comes from
`weights_state`, what is sealed from `commit_reveal`; Fiber's names are `node_weights`'. A refusal is a result, not an
error.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from secrets import randbelow
from typing import TYPE_CHECKING, Any, Dict, Final, List, Union, Unpack  # noqa: UP035 - names kept for programs

from mycelium import constants as fcst
from mycelium.chain import extras, quantise, weights_state
from mycelium.chain.commit_reveal import SALT_NUMBERS, commit_hash, sealed_commit
from mycelium.chain.dispatch import Refusal, Subject
from mycelium.chain.extrinsics import account_of
from mycelium.chain.node_weights import (
    Keypair,
    SubstrateInterface,
    _log_and_reraise,
    _normalize_and_quantize_weights,
    _send_commit_reveal_weights_to_chain,
    _send_weights_to_chain,
    _set_weights_with_commit_reveal,
    _set_weights_without_commit_reveal,
    blocks_since_last_update,
    can_set_weights,
    format_error_message,
    get_substrate,
    min_interval_to_set_weights,
    query_substrate,
    set_node_weights,
)
from mycelium.chain.outcome import Check, Options, Outcome, first_refusal, perform
from mycelium.chain.quantise import U16_MAX, is_number, number
from mycelium.chain.schedule import PALLET
from mycelium.chain.signer import address
from mycelium.errors import UnknownToChain, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mycelium.chain.connection import Connection

logger = logging.getLogger(__name__)

__all__ = [
    "U16_MAX",
    "Any",
    "Callable",
    "Dict",
    "Keypair",
    "List",
    "SubstrateInterface",
    "Union",
    "WeightsResult",
    "_log_and_reraise",
    "_normalize_and_quantize_weights",
    "_send_commit_reveal_weights_to_chain",
    "_send_weights_to_chain",
    "_set_weights_with_commit_reveal",
    "_set_weights_without_commit_reveal",
    "blocks_since_last_update",
    "can_set_weights",
    "compute_weight_matrix",
    "convert_weights_from_u16",
    "convert_weights_to_u16",
    "fcst",
    "format_error_message",
    "get_substrate",
    "logger",
    "min_interval_to_set_weights",
    "normalize_weights",
    "query_substrate",
    "reveal_weights",
    "set_node_weights",
    "set_weights",
    "validate_weights",
    "warnings",
    "wraps",
]

OPEN: Final = "open"
SEALED: Final = "sealed"
HASHED: Final = "hashed"

_PATHS: Final[dict[bool, tuple[tuple[str, str], ...]]] = {
    False: (("set_weights", OPEN), ("set_mechanism_weights", OPEN)),
    True: (
        ("commit_timelocked_weights", SEALED),
        ("commit_timelocked_mechanism_weights", SEALED),
        ("commit_crv3_weights", SEALED),
        ("commit_crv3_mechanism_weights", SEALED),
        ("commit_weights", HASHED),
        ("commit_mechanism_weights", HASHED),
    ),
}
"""By whether weights are committed first: calls and their kinds, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsResult(Outcome):
    """What became of weights. path: the call that the chain asked for; "" where it did not get that far.

    uids, values: as they were sent, u16. reveal_round: the drand round with which sealed weights open; reveal_at_block:
    the first block in which the chain shows committed weights, if the subnet's tempo stays. salt: of weights committed
    by hash, which `reveal_weights` must show itself; keep it.
    """

    path: str = ""
    uids: tuple[int, ...] = ()
    values: tuple[int, ...] = ()
    version_key: int = 0
    mechanism: int = 0
    netuid: int = 0
    reveal_round: int | None = None
    reveal_at_block: int | None = None
    salt: tuple[int, ...] = ()


def set_weights(
    connection: Connection,
    keypair: Any,
    netuid: int,
    weights: Mapping[int, float] | Mapping[str, float] | Sequence[int],
    values: Sequence[float] | None = None,
    *,
    mechanism: int = 0,
    version_key: int = 0,
    **options: Unpack[Options],
) -> WeightsResult:
    """Set a hotkey's weights by the path that the chain has in force, and say what became of it.

    weights: uid or hotkey (SS58) -> weight, or uids, with `values` beside them. They count relative to each other; the
    largest may be cut to the subnet's limit. keypair: the hotkey. mechanism: of the subnet, from 0. version_key: which
    version of the subnet's code is at work. options: see `outcome.Options`.

    Raises UsageError for weights that are none, ChainUnreachable, ExtrinsicTimeout, ChainError for a chain whose
    weights cannot be sealed. A rule that refuses is in the result, with the block from which it will not.
    """
    account = account_of(keypair)
    hotkey = address(account)
    weighed = quantise.pairs(*_by_uid(connection, netuid, weights, values))
    _in_range("version_key", version_key, 64)
    _in_range("mechanism", mechanism, 8)
    state = weights_state.read(connection, netuid, hotkey, mechanism)
    itself = [uid for uid, weight in weighed if weight > 0] == [state.uid]
    uids, scaled = quantise.quantise(weighed, U16_MAX if itself else state.max_weight)
    checks = weights_state.checks(state, uids, scaled, version_key)
    more: dict[str, Any] = {
        "uids": tuple(uids),
        "values": tuple(scaled),
        "version_key": version_key,
        "mechanism": mechanism,
        "netuid": netuid,
    }
    refusal = first_refusal(checks)
    if refusal is not None:
        return _refused(refusal, checks, more, options)
    call, kind = path_of(connection, commit_reveal=state.commit_reveal, mechanism=mechanism)
    params: dict[str, Any] = {"netuid": netuid}
    if "mechanism" in call:
        params["mecid"] = mechanism
    if kind == OPEN:
        params |= {"dests": uids, "weights": scaled, "version_key": version_key}
    elif kind == SEALED:
        sealed = sealed_commit(state, account, uids, scaled, version_key)
        checks.append(weights_state.check_round(state, sealed.reveal_round))
        params |= {"commit": sealed.sealed, "reveal_round": sealed.reveal_round}
        if "timelocked" in call:
            params["commit_reveal_version"] = state.commit_version
        more |= {"reveal_round": sealed.reveal_round, "reveal_at_block": state.schedule.reveal_at}
    else:
        salt = [randbelow(U16_MAX + 1) for _ in range(SALT_NUMBERS)]
        params["commit_hash"] = commit_hash(account, state.index, uids, scaled, salt, version_key)
        more |= {"salt": tuple(salt), "reveal_at_block": state.schedule.reveal_at}
    subject = Subject(call, hotkey, netuid, mechanism)
    return perform(
        WeightsResult, connection, keypair, subject, params, checks, {"path": call, **more}, **options
    )


def reveal_weights(
    connection: Connection, keypair: Any, committed: WeightsResult, **options: Unpack[Options]
) -> WeightsResult:
    """Show weights that were committed by hash, in or after `committed.reveal_at_block`. Sealed ones show themselves.

    UsageError for a result that holds no such commit.
    """
    if not committed.salt:
        raise UsageError(f"{committed.path or 'what was refused'} needs no reveal: it holds no salt")
    call = "reveal_mechanism_weights" if "mechanism" in committed.path else "reveal_weights"
    more = {
        name: getattr(committed, name)
        for name in ("uids", "values", "version_key", "mechanism", "netuid", "salt", "reveal_at_block")
    }
    params: dict[str, Any] = {
        "netuid": committed.netuid,
        "uids": list(committed.uids),
        "values": list(committed.values),
        "salt": list(committed.salt),
        "version_key": committed.version_key,
    }
    if "mechanism" in call:
        params["mecid"] = committed.mechanism
    subject = Subject(call, address(keypair), committed.netuid, committed.mechanism)
    return perform(WeightsResult, connection, keypair, subject, params, (), {"path": call, **more}, **options)


def path_of(connection: Connection, *, commit_reveal: bool, mechanism: int = 0) -> tuple[str, str]:
    """The call by which weights are set, and its kind: OPEN, SEALED or HASHED. UnknownToChain where there is none."""
    for call, kind in _PATHS[commit_reveal]:
        if (mechanism == 0 or "mechanism" in call) and connection.has_call(PALLET, call):
            return call, kind
    what = "committing weights" if commit_reveal else "setting weights"
    raise UnknownToChain(
        f"the chain has no call that Mycelium knows for {what} of mechanism {mechanism}", "update Mycelium"
    )


def _refused(
    refusal: Refusal, checks: Sequence[Check], more: Mapping[str, Any], options: Options
) -> WeightsResult:
    return WeightsResult(
        call="",
        success=False,
        refusal=refusal,
        dry_run=options.get("dry_run", False),
        checks=tuple(checks),
        **more,
    )


def _by_uid(
    connection: Connection, netuid: int, weights: Any, values: Sequence[float] | None
) -> tuple[Any, Sequence[float] | None]:
    """Hotkeys that name weights are replaced by their uids, read in one request. UsageError for one without."""
    named = list(weights) if isinstance(weights, Mapping) else []
    hotkeys = [name for name in named if isinstance(name, str) and not name.isdecimal()]
    if not hotkeys:
        return weights, values
    found = connection.read_many([(PALLET, "Uids", [netuid, address(name)]) for name in hotkeys])
    uids = dict(zip(hotkeys, found, strict=True))
    strangers = [name for name, uid in uids.items() if uid is None]
    if strangers:
        raise UsageError(
            f"{strangers[0]} and {len(strangers) - 1} more are not registered on subnet {netuid}"
            if len(strangers) > 1
            else f"{strangers[0]} is not registered on subnet {netuid}"
        )
    return [(uids.get(name, name)) for name in named], [weights[name] for name in named]


def _in_range(name: str, value: Any, bits: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise UsageError(f"{name} is a whole number below 2^{bits}, not {value!r}")


# --- conversions, by hotkey -------------------------------------------------------------------------------


def normalize_weights(weights: dict[str, float]) -> dict[str, float]:
    """The same weights with the sum 1; all zero where they are. UsageError for what is no weight."""
    found = {name: number(value, f"the weight of {name}") for name, value in weights.items()}
    top = max(found.values(), default=0.0)
    if top == 0:
        return dict.fromkeys(found, 0.0)
    # Divided by the largest first: the sum of large floats is not infinite then.
    total = sum(value / top for value in found.values())
    return {name: value / top / total for name, value in found.items()}


def convert_weights_to_u16(weights: dict[str, float]) -> dict[str, int]:
    """Weights from 0 to 1 as 0 to 65,535, rounded. UsageError for others: `normalize_weights` first."""
    found = {name: number(value, f"the weight of {name}") for name, value in weights.items()}
    beyond = next((name for name, value in found.items() if value > 1), None)
    if beyond is not None:
        raise UsageError(f"the weight of {beyond} is {found[beyond]}, above 1; normalise the weights first")
    return {name: round(value * U16_MAX) for name, value in found.items()}


def convert_weights_from_u16(weights: dict[str, int]) -> dict[str, float]:
    """Weights of 0 to 65,535 as 0 to 1. UsageError for others."""
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= U16_MAX:
            raise UsageError(f"the weight of {name} is {value!r}, not a whole number from 0 to {U16_MAX}")
    return {name: value / U16_MAX for name, value in weights.items()}


def validate_weights(weights: dict[str, float | int]) -> bool:
    """Whether they can be set: there are some, all finite and not negative, and not all of them zero."""
    return all(is_number(value) for value in weights.values()) and any(weights.values())


def compute_weight_matrix(weights: dict[str, dict[str, float]], hotkeys: list[str]) -> NDArray[Any]:
    """Row: who weighs, column: who is weighed, both in the order of `hotkeys`; float64, zero where nothing is said.

    Hotkeys that are not in the list are left out. ConfigError without numpy.
    """
    matrix: NDArray[Any] = extras.numpy().zeros((len(hotkeys), len(hotkeys)))
    places = {hotkey: place for place, hotkey in enumerate(hotkeys)}
    for source, row in weights.items():
        for target, weight in row.items():
            if source in places and target in places:
                matrix[places[source], places[target]] = number(weight, f"the weight of {target}")
    return matrix
