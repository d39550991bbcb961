"""The nodes of a subnet: all of them from the chain, or those of a metagraph that meet a condition.

Those of a metagraph are hotkeys in the order of their uids, and no chain is read for them: sync first. Both ends of a
range belong to it; None leaves it open. On chains that keep no rank and trust both are zero. Those from the chain are
`models.Node`; reading it is `neurons`' work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Dict, Final, List, Optional, Set, Tuple  # noqa: UP035 - names kept for programs

from mycelium import constants as fcst
from mycelium.chain import chain_utils, models, neurons, type_registries
from mycelium.chain.balance import RAO_PER_TAO
from mycelium.chain.chain_utils import ss58_encode
from mycelium.chain.interface import SubstrateInterface, get_substrate
from mycelium.chain.metagraph import Metagraph
from mycelium.chain.models import IP, Node
from mycelium.chain.schedule import PALLET

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection
    from mycelium.chain.legacy_scale import (
        _encode_params,
        _execute_rpc_request,
        _get_node_from_neuron_info,
        _get_nodes_from_vec8,
        _normalise_u16_float,
        _query_runtime_api,
        _rao_to_tao,
    )

logger = logging.getLogger(__name__)

__all__ = [
    "Any",
    "Dict",
    "List",
    "Metagraph",
    "Node",
    "Optional",
    "Set",
    "SubstrateInterface",
    "Tuple",
    "_encode_params",
    "_execute_rpc_request",
    "_get_node_from_neuron_info",
    "_get_nodes_for_uid",
    "_get_nodes_from_vec8",
    "_normalise_u16_float",
    "_query_runtime_api",
    "_rao_to_tao",
    "_ss58_encode",
    "chain_utils",
    "fcst",
    "get_active_nodes",
    "get_nodes_by_consensus",
    "get_nodes_by_dividends",
    "get_nodes_by_emission",
    "get_nodes_by_incentive",
    "get_nodes_by_multiple_criteria",
    "get_nodes_by_prometheus",
    "get_nodes_by_rank",
    "get_nodes_by_stake",
    "get_nodes_by_trust",
    "get_nodes_by_version",
    "get_nodes_for_netuid",
    "get_substrate",
    "logger",
    "models",
    "ss58_encode",
    "type_registries",
]

_DEPRECATED: Final = frozenset(
    (
        "_encode_params",
        "_execute_rpc_request",
        "_get_node_from_neuron_info",
        "_get_nodes_from_vec8",
        "_normalise_u16_float",
        "_query_runtime_api",
        "_rao_to_tao",
    )
)


# --- from the chain ---------------------------------------------------------------------------------------


def get_nodes_for_netuid(substrate: Any, netuid: int, block: int | None = None) -> list[Node]:
    """All nodes of a subnet by uid, at the best block or at a given one, over the connection that is given.

    Where Fiber raised `tenacity.RetryError` it is ChainUnreachable, or ChainError for a subnet or a block that does not
    exist. Nothing is opened or closed: the connection has its own ways to other endpoints.
    """
    return _get_nodes_for_uid(substrate, netuid, block)


def _get_nodes_for_uid(substrate: Any, netuid: int, block: int | None = None) -> list[Node]:
    """The same as `get_nodes_for_netuid`, for programs that took this one because it opened no connection."""
    connection = chain_utils.as_connection(substrate)
    at = None if block is None else chain_utils.block_hash(connection, block)
    subnet = neurons.read(connection, int(netuid), block_hash=at, details=False)
    trust = _validator_trust(connection, subnet, at)
    rows = subnet.neurons
    return [_node(row, subnet.netuid, trust[row.uid] if row.uid < len(trust) else 0) for row in rows]


def _validator_trust(connection: Connection, subnet: neurons.Subnet, at: str | None) -> Sequence[int]:
    """By uid, as u16, of the same block: the metagraph that the runtime gives leaves it out."""
    if not connection.has_storage(PALLET, "ValidatorTrust"):
        return ()
    wanted: list[tuple[str, str, list[Any]]] = [
        ("System", "Number", []),
        (PALLET, "ValidatorTrust", [subnet.netuid]),
    ]
    number, trust = connection.read_many(wanted, at)
    if at is None and int(number) != subnet.block:
        # A block came in between: uids may have changed hands in it.
        _, trust = connection.read_many(wanted, chain_utils.block_hash(connection, subnet.block))
    return list(trust or ())


def _node(row: neurons.Neuron, netuid: int, validator_trust: int) -> Node:
    axon = row.axon or {"ip": "0.0.0.0", "ip_type": 0, "port": 0, "protocol": 0}  # noqa: S104 - nobody binds to it
    return Node(
        hotkey=row.hotkey,
        coldkey=row.coldkey,
        node_id=row.uid,
        # As the chain keeps it; programs divide it themselves.
        incentive=float(round(row.incentive * fcst.U16_MAX)),
        netuid=netuid,
        alpha_stake=row.alpha_rao / RAO_PER_TAO,
        tao_stake=row.tao_rao / RAO_PER_TAO,
        stake=row.stake_rao / RAO_PER_TAO,
        trust=row.trust,
        vtrust=validator_trust / fcst.U16_MAX,
        last_updated=float(row.last_update),
        ip=IP(axon["ip"]),
        ip_type=axon["ip_type"],
        port=axon["port"],
        protocol=axon["protocol"],
    )


def _ss58_encode(
    address: str | Sequence[int] | Sequence[Sequence[int]], ss58_format: int = fcst.SS58_FORMAT
) -> str:
    """The address of an account that a decoder gave as numbers, or as numbers within a list; text stays as it is.

    ValueError for what has not 32 bytes.
    """
    if isinstance(address, str):
        return address
    numbers: Any = address
    if len(numbers) == 1 and not isinstance(numbers[0], int):
        numbers = numbers[0]
    return str(ss58_encode(bytes(numbers), ss58_format=ss58_format))


if not TYPE_CHECKING:  # which would take any name for one of them

    def __getattr__(name: str) -> Any:
        # Loaded when they are asked for: they decode by scalecodec, and by types of 2024.
        if name in _DEPRECATED:
            from mycelium.chain import legacy_scale

            return getattr(legacy_scale, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# --- of a metagraph ---------------------------------------------------------------------------------------


def get_active_nodes(metagraph: Metagraph) -> list[str]:
    """Those whose weights are recent enough to count, and newly registered ones."""
    return [hotkey for hotkey in metagraph.hotkeys if metagraph.is_active(hotkey)]


def get_nodes_by_stake(
    metagraph: Metagraph, min_stake: float | None = None, max_stake: float | None = None
) -> list[str]:
    """By stake in TAO."""
    return _within(metagraph, metagraph.get_stake, min_stake, max_stake)


def get_nodes_by_rank(
    metagraph: Metagraph, min_rank: int | None = None, max_rank: int | None = None
) -> list[str]:
    """By rank, 0 to 65,535."""
    return _within(metagraph, metagraph.get_rank, min_rank, max_rank)


def get_nodes_by_trust(
    metagraph: Metagraph, min_trust: float | None = None, max_trust: float | None = None
) -> list[str]:
    """By trust, 0 to 1."""
    return _within(metagraph, metagraph.get_trust, min_trust, max_trust)


def get_nodes_by_consensus(
    metagraph: Metagraph, min_consensus: float | None = None, max_consensus: float | None = None
) -> list[str]:
    """By consensus, 0 to 1."""
    return _within(metagraph, metagraph.get_consensus, min_consensus, max_consensus)


def get_nodes_by_incentive(
    metagraph: Metagraph, min_incentive: float | None = None, max_incentive: float | None = None
) -> list[str]:
    """By incentive, 0 to 1."""
    return _within(metagraph, metagraph.get_incentive, min_incentive, max_incentive)


def get_nodes_by_dividends(
    metagraph: Metagraph, min_dividends: float | None = None, max_dividends: float | None = None
) -> list[str]:
    """By dividends, 0 to 1."""
    return _within(metagraph, metagraph.get_dividends, min_dividends, max_dividends)


def get_nodes_by_emission(
    metagraph: Metagraph, min_emission: int | None = None, max_emission: int | None = None
) -> list[str]:
    """By emission of the last epoch, in rao."""
    return _within(metagraph, metagraph.get_emission, min_emission, max_emission)


def get_nodes_by_version(metagraph: Metagraph, version: str) -> list[str]:
    """By the version that their axons publish: as in "1.2.3", or the number as the chain keeps it."""
    wanted = chain_utils.version_number(version)
    return [
        hotkey
        for hotkey in metagraph.hotkeys
        if hotkey in metagraph.axons and metagraph.axons[hotkey]["version"] == wanted
    ]


def get_nodes_by_prometheus(metagraph: Metagraph, has_prometheus: bool = True) -> list[str]:
    """With a Prometheus endpoint on chain, or without one."""
    return [
        hotkey for hotkey in metagraph.hotkeys if (hotkey in metagraph.prometheus) == bool(has_prometheus)
    ]


def get_nodes_by_multiple_criteria(
    metagraph: Metagraph,
    min_stake: float | None = None,
    max_stake: float | None = None,
    min_rank: int | None = None,
    max_rank: int | None = None,
    min_trust: float | None = None,
    max_trust: float | None = None,
    min_consensus: float | None = None,
    max_consensus: float | None = None,
    min_incentive: float | None = None,
    max_incentive: float | None = None,
    min_dividends: float | None = None,
    max_dividends: float | None = None,
    min_emission: int | None = None,
    max_emission: int | None = None,
    version: str | None = None,
    has_prometheus: bool | None = None,
    active_only: bool = True,
) -> list[str]:
    """Those that meet all conditions that are given."""
    groups = [
        get_nodes_by_stake(metagraph, min_stake, max_stake),
        get_nodes_by_rank(metagraph, min_rank, max_rank),
        get_nodes_by_trust(metagraph, min_trust, max_trust),
        get_nodes_by_consensus(metagraph, min_consensus, max_consensus),
        get_nodes_by_incentive(metagraph, min_incentive, max_incentive),
        get_nodes_by_dividends(metagraph, min_dividends, max_dividends),
        get_nodes_by_emission(metagraph, min_emission, max_emission),
    ]
    if version is not None:
        groups.append(get_nodes_by_version(metagraph, version))
    if has_prometheus is not None:
        groups.append(get_nodes_by_prometheus(metagraph, has_prometheus))
    if active_only:
        groups.append(get_active_nodes(metagraph))
    kept = set.intersection(*map(set, groups))
    return [hotkey for hotkey in metagraph.hotkeys if hotkey in kept]


def _within(
    metagraph: Metagraph, value: Callable[[str], float], least: float | None, most: float | None
) -> list[str]:
    return [
        hotkey
        for hotkey in metagraph.hotkeys
        if (least is None or value(hotkey) >= least) and (most is None or value(hotkey) <= most)
    ]
