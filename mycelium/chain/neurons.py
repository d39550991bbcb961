"""A subnet as the chain's runtime gives it, in rows by uid: one runtime call, and one request for what it leaves out.

Owns the reading, tolerant of what other runtimes add, rename or leave empty: since spec 424 the lists of trust and rank
are. Amounts in rao, u16 scores as 0 to 1. Keeps nothing between two calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from mycelium.chain.dispatch import index_of
from mycelium.chain.quantise import U16_MAX
from mycelium.chain.schedule import PALLET
from mycelium.chain.serving import served_info
from mycelium.errors import ChainError, UnknownToChain

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

_API: Final = "SubnetInfoRuntimeApi"
_FIELDS_MAX: Final = 128
"""Places in `SelectiveMetagraphIndex` that are asked for; those that a runtime has not it passes over."""


@dataclass(frozen=True, slots=True)
class Neuron:
    """One uid. Stake and emission in rao; stake: the weight that counts, alpha and the root's TAO by `TaoWeight`.

    last_update, registered_at: block numbers. axon, prometheus: see `serving.served_info`; None: none published.
    """

    uid: int
    hotkey: str
    coldkey: str
    stake_rao: int = 0
    alpha_rao: int = 0
    tao_rao: int = 0
    active: bool = False
    permit: bool = False
    rank: int = 0
    trust: float = 0.0
    consensus: float = 0.0
    validator_trust: float = 0.0
    incentive: float = 0.0
    dividends: float = 0.0
    emission_rao: int = 0
    last_update: int = 0
    registered_at: int = 0
    axon: Mapping[str, Any] | None = None
    prometheus: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet at one block. weights: uid -> [(uid, u16)] of those who set some. facts: all else it says of itself."""

    netuid: int
    block: int
    neurons: tuple[Neuron, ...]
    weights: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def read(
    connection: Connection,
    netuid: int,
    *,
    mechanism: int = 0,
    block_hash: str | None = None,
    details: bool = True,
) -> Subnet:
    """Ask the chain, by default at its best block. details: weights, Prometheus endpoints and validator trust too.

    ChainError for a subnet that does not exist.
    """
    found = _ask(connection, netuid, mechanism, block_hash)
    if found is None:
        raise ChainError(f"there is no subnet {netuid}", "check the netuid")
    subnet = subnet_of(found, netuid)
    return _with_details(connection, subnet, mechanism, block_hash) if details else subnet


def _ask(
    connection: Connection, netuid: int, mechanism: int, block_hash: str | None
) -> dict[str, Any] | None:
    whole, selective = ("get_metagraph", "get_selective_metagraph")
    place: list[Any] = [netuid]
    if mechanism:
        whole, selective, place = "get_mechagraph", "get_selective_mechagraph", [netuid, mechanism]
    method = whole
    if not connection.has_api(_API, whole):
        if not connection.has_api(_API, selective):
            raise UnknownToChain(
                f"the chain has no runtime API {_API}.{whole}", "name an endpoint whose runtime is newer"
            )
        method, place = selective, [*place, list(range(_FIELDS_MAX))]
    found: dict[str, Any] | None = connection.runtime_api(_API, method, place, block_hash)
    return found


def subnet_of(found: Mapping[str, Any], netuid: int) -> Subnet:
    """Rows of the columns that `get_metagraph` gives; a column that is missing or too short counts as zeros."""
    hotkeys: list[str] = list(found["hotkeys"])
    size = len(hotkeys)

    def column(name: str, default: Any) -> list[Any]:
        values = list(found.get(name) or ())
        return values[:size] + [default] * (size - len(values))

    def scores(name: str) -> list[float]:
        return [value / U16_MAX for value in column(name, 0)]

    rows = zip(
        range(size),
        hotkeys,
        column("coldkeys", ""),
        column("total_stake", 0),
        column("alpha_stake", 0),
        column("tao_stake", 0),
        column("active", False),
        column("validator_permit", False),
        column("rank", 0),
        scores("trust"),
        scores("consensus"),
        [0.0] * size,
        scores("incentives"),
        scores("dividends"),
        column("emission", 0),
        column("last_update", 0),
        column("block_at_registration", 0),
        [served_info(axon) for axon in column("axons", None)],
        strict=True,
    )
    facts = {name: value for name, value in found.items() if name not in _COLUMNS}
    return Subnet(netuid, int(found.get("block") or 0), tuple(Neuron(*row) for row in rows), {}, facts)


_COLUMNS: Final = frozenset(
    (
        "hotkeys",
        "coldkeys",
        "identities",
        "axons",
        "active",
        "validator_permit",
        "pruning_score",
        "last_update",
        "emission",
        "dividends",
        "incentives",
        "consensus",
        "trust",
        "rank",
        "block_at_registration",
        "alpha_stake",
        "tao_stake",
        "total_stake",
        "tao_dividends_per_hotkey",
        "alpha_dividends_per_hotkey",
    )
)


def _with_details(
    connection: Connection,
    subnet: Subnet,
    mechanism: int,
    block_hash: str | None,
) -> Subnet:
    """With what the runtime call leaves out, of the same block."""
    netuid, index = subnet.netuid, index_of(subnet.netuid, mechanism)
    # Who never had a permit may have weights too: a weight for itself. It counts for nothing, and is passed over.
    writers = [neuron.uid for neuron in subnet.neurons if neuron.permit]
    wanted: list[tuple[str, str, list[Any]]] = [("System", "Number", [])]
    has_trust = connection.has_storage(PALLET, "ValidatorTrust")
    if has_trust:
        wanted.append((PALLET, "ValidatorTrust", [netuid]))
    wanted += [(PALLET, "Weights", [index, uid]) for uid in writers]
    wanted += [(PALLET, "Prometheus", [netuid, neuron.hotkey]) for neuron in subnet.neurons]
    values = connection.read_many(wanted, block_hash)
    if block_hash is None and int(values[0]) != subnet.block:
        # A block came in between: uids may have changed hands in it.
        at = connection.hash_of(subnet.block)
        values = connection.read_many(wanted, at) if at is not None else values
    rest = values[1:]
    trust: Sequence[int] = rest.pop(0) if has_trust else ()
    weights = {uid: row for uid, row in zip(writers, rest, strict=False) if row}
    served = rest[len(writers) :]
    neurons = tuple(
        _detailed(neuron, trust[neuron.uid] if neuron.uid < len(trust) else 0, prometheus)
        for neuron, prometheus in zip(subnet.neurons, served, strict=True)
    )
    return Subnet(netuid, subnet.block, neurons, weights, subnet.facts)


def _detailed(neuron: Neuron, trust: int, prometheus: Mapping[str, Any] | None) -> Neuron:
    if not trust and prometheus is None:
        return neuron
    return replace(neuron, validator_trust=trust / U16_MAX, prometheus=served_info(prometheus))
