"""The metagraph: who is on a subnet, with what stake, scores and endpoints; and what it adds up to.

Owns the copy that a program holds, replaced whole by `sync`: who reads it in another thread sees the old one or the new
one of each attribute, never half of one. Amounts are TAO as floats where the names are older than Mycelium, and rao in
`neurons`, which is exact. Reading the chain is `neurons`' work.
"""

from __future__ import annotations

import importlib
import json
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Self, Set, Tuple, overload  # noqa: UP035

from substrateinterface import SubstrateInterface
from substrateinterface.utils.ss58 import ss58_decode, ss58_encode

from mycelium import constants as fcst
from mycelium.chain import chain_utils, extras, neurons
from mycelium.chain.balance import RAO_PER_TAO
from mycelium.chain.networks import DEFAULT
from mycelium.chain.neurons import Neuron, Subnet
from mycelium.chain.quantise import U16_MAX
from mycelium.errors import ChainError, MetagraphError, UsageError

if TYPE_CHECKING:
    from mycelium.chain import fetch_nodes, models
    from mycelium.chain.connection import Connection

logger = logging.getLogger(__name__)

__all__ = [
    "Dict",
    "List",
    "Metagraph",
    "MetagraphError",
    "NetworkStatistics",
    "Neuron",
    "Optional",
    "Performance",
    "Set",
    "SubstrateInterface",
    "Tuple",
    "chain_utils",
    "fcst",
    "fetch_nodes",
    "json",
    "logger",
    "models",
    "ss58_decode",
    "ss58_encode",
    "threading",
    "time",
]


@dataclass(frozen=True, slots=True)
class NetworkStatistics:
    """A subnet in numbers. Stake and emission in rao, over all neurons.

    decisive: how few validators hold more than half of the validators' stake. gini: of stake, 0 (even) to 1.
    stale: validators that set no weights for `activity_cutoff` blocks or longer.
    """

    netuid: int
    block: int
    neurons: int
    validators: int
    miners: int
    active: int
    serving: int
    stake_rao: int
    validators_stake_rao: int
    emission_rao: int
    decisive: int
    gini: float
    stale: int


@dataclass(frozen=True, slots=True)
class Performance:
    """One neuron among the others. Places count from 1; shares are parts of the subnet's sum.

    age: blocks since its last weights, None for one that never set any.
    """

    hotkey: str
    uid: int
    stake_place: int
    stake_share: float
    incentive_place: int
    dividends_place: int
    emission_share: float
    validator_trust: float
    consensus: float
    age: int | None


class Metagraph:
    """A subnet's state; empty until `sync`. Scores are 0 to 1; dicts are by hotkey.

    n, block, tempo, difficulty; hotkeys (by uid); coldkeys, stakes (TAO, the weight that counts), ranks and trust (zero
    since the chain keeps them no more), consensus, incentive, dividends, emission (rao), active, last_update (block),
    weights (hotkey -> hotkey -> 0 to 1), axons (only who published one); total_stake (TAO), total_emission (rao);
    last_sync: seconds since 1970. Beyond those: uids, permits, validator_trust, prometheus, neurons, subnet.

    Called as Fiber's programs do, with the connection first, it is a `node_list.NodeList`: all of this, and `.nodes`.
    """

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        if cls is Metagraph and _is_node_list(arguments, keywords):
            from mycelium.chain.node_list import NodeList

            cls = NodeList  # type: ignore[assignment] # a subclass, whose constructor takes what was given
        return super().__new__(cls)

    @overload
    def __init__(self, netuid: int, substrate: Any = None, *, mechanism: int = 0) -> None: ...

    @overload
    def __init__(self, substrate: Any, netuid: int | str, load_old_nodes: bool = True) -> None: ...

    def __init__(  # type: ignore[misc] # the second call is `NodeList`'s, and comes to its constructor
        self, netuid: int, substrate: Any = None, *, mechanism: int = 0
    ) -> None:
        """netuid: the subnet. substrate: a connection of ours or of substrate-interface; None: the public network."""
        if isinstance(netuid, bool) or not isinstance(netuid, int) or not 0 <= netuid <= U16_MAX:
            raise UsageError(f"a netuid is 0 to {U16_MAX}, not {netuid!r}")
        self.netuid = netuid
        self.substrate = substrate
        self.mechanism = mechanism
        self._fill(Subnet(netuid, 0, ()))
        self.last_sync: float = 0.0

    def sync(self, block: int | None = None) -> bool:
        """Read the subnet anew, at the best block or at a given one; True. MetagraphError; then nothing changed."""
        try:
            connection = self._connection()
            block_hash = None
            if block is not None:
                block_hash = connection.hash_of(block)
                if block_hash is None:
                    raise ChainError(f"there is no block {block} yet")
            subnet = neurons.read(connection, self.netuid, mechanism=self.mechanism, block_hash=block_hash)
        except ChainError as error:
            raise MetagraphError(
                f"the metagraph of subnet {self.netuid} cannot be read: {error.what}", error.remedy
            ) from error
        self._fill(subnet)
        self.last_sync = time.time()
        return True

    def _connection(self) -> Connection:
        if self.substrate is None:
            from mycelium.chain.connection import Connection

            self.substrate = Connection(DEFAULT)
        return chain_utils.as_connection(self.substrate)

    def _fill(self, subnet: Subnet) -> None:
        rows, facts = subnet.neurons, subnet.facts
        self.subnet = subnet
        self.neurons: tuple[Neuron, ...] = rows
        self.n: int = len(rows)
        self.block: int = subnet.block
        self.hotkeys: list[str] = [row.hotkey for row in rows]
        self.uids: dict[str, int] = {row.hotkey: row.uid for row in rows}
        self.coldkeys: dict[str, str] = {row.hotkey: row.coldkey for row in rows}
        self.stakes: dict[str, float] = {row.hotkey: row.stake_rao / RAO_PER_TAO for row in rows}
        self.ranks: dict[str, int] = {row.hotkey: row.rank for row in rows}
        self.trust: dict[str, float] = {row.hotkey: row.trust for row in rows}
        self.consensus: dict[str, float] = {row.hotkey: row.consensus for row in rows}
        self.validator_trust: dict[str, float] = {row.hotkey: row.validator_trust for row in rows}
        self.incentive: dict[str, float] = {row.hotkey: row.incentive for row in rows}
        self.dividends: dict[str, float] = {row.hotkey: row.dividends for row in rows}
        self.emission: dict[str, int] = {row.hotkey: row.emission_rao for row in rows}
        self.active: dict[str, bool] = {row.hotkey: row.active for row in rows}
        self.permits: dict[str, bool] = {row.hotkey: row.permit for row in rows}
        self.last_update: dict[str, int] = {row.hotkey: row.last_update for row in rows}
        self.weights: dict[str, dict[str, float]] = {
            rows[uid].hotkey: {
                rows[target].hotkey: weight / U16_MAX for target, weight in row if target < len(rows)
            }
            for uid, row in subnet.weights.items()
        }
        self.axons: dict[str, dict[str, Any]] = {
            row.hotkey: _axon(row) for row in rows if row.axon is not None
        }
        self.prometheus: dict[str, dict[str, Any]] = {
            row.hotkey: dict(row.prometheus) for row in rows if row.prometheus is not None
        }
        self.total_stake: float = sum(row.stake_rao for row in rows) / RAO_PER_TAO
        self.total_emission: int = sum(row.emission_rao for row in rows)
        self.difficulty: int = int(facts.get("difficulty") or 0)
        self.tempo: int = int(facts.get("tempo") or 0)

    # --- one neuron -------------------------------------------------------------------------------------

    def get_weights(self, hotkey: str) -> dict[str, float]:
        """The weights that a validator set, hotkey -> 0 to 1, as the chain keeps them; empty for none."""
        return dict(self.weights.get(hotkey, {}))

    def get_stake(self, hotkey: str) -> float:
        """Stake in TAO; 0 for a stranger, as all of these."""
        return self.stakes.get(hotkey, 0.0)

    def get_rank(self, hotkey: str) -> int:
        """Rank as u16; 0 on chains that keep none (since spec 424)."""
        return self.ranks.get(hotkey, 0)

    def get_trust(self, hotkey: str) -> float:
        """Trust; 0 on chains that keep none (since spec 424)."""
        return self.trust.get(hotkey, 0.0)

    def get_consensus(self, hotkey: str) -> float:
        """Consensus score."""
        return self.consensus.get(hotkey, 0.0)

    def get_incentive(self, hotkey: str) -> float:
        """Incentive score."""
        return self.incentive.get(hotkey, 0.0)

    def get_dividends(self, hotkey: str) -> float:
        """Dividends score."""
        return self.dividends.get(hotkey, 0.0)

    def get_emission(self, hotkey: str) -> int:
        """Emission of the last epoch in rao."""
        return self.emission.get(hotkey, 0)

    def is_active(self, hotkey: str) -> bool:
        """Whether its weights are recent enough to count."""
        return self.active.get(hotkey, False)

    def get_axon_info(self, hotkey: str) -> dict[str, Any] | None:
        """The published axon: ip (text), port, ip_type, protocol, version, block, hotkey, coldkey; None for none."""
        found = self.axons.get(hotkey)
        return None if found is None else dict(found)

    def get_uid(self, hotkey: str) -> int | None:
        """Its uid; None for a stranger."""
        return self.uids.get(hotkey)

    # --- all of them ------------------------------------------------------------------------------------

    def validators(self) -> list[Neuron]:
        """Who holds a permit, by stake, the largest first."""
        return sorted((row for row in self.neurons if row.permit), key=lambda row: (-row.stake_rao, row.uid))

    def statistics(self) -> NetworkStatistics:
        """What the subnet adds up to."""
        rows, permitted = self.neurons, self.validators()
        cutoff = int(self.subnet.facts.get("activity_cutoff") or 0)
        return NetworkStatistics(
            netuid=self.netuid,
            block=self.block,
            neurons=len(rows),
            validators=len(permitted),
            miners=len(rows) - len(permitted),
            active=sum(row.active for row in rows),
            serving=len(self.axons),
            stake_rao=sum(row.stake_rao for row in rows),
            validators_stake_rao=sum(row.stake_rao for row in permitted),
            emission_rao=self.total_emission,
            decisive=_decisive([row.stake_rao for row in permitted]),
            gini=_gini([row.stake_rao for row in rows]),
            stale=sum(row.last_update + cutoff < self.block for row in permitted) if cutoff else 0,
        )

    def performance(self, hotkey: str) -> Performance:
        """How one neuron does among the others. MetagraphError for a stranger."""
        uid = self.uids.get(hotkey)
        if uid is None:
            raise MetagraphError(
                f"{hotkey} is not on subnet {self.netuid}", "sync the metagraph, or register it"
            )
        row, rows = self.neurons[uid], self.neurons
        stake, emission = sum(one.stake_rao for one in rows), self.total_emission
        return Performance(
            hotkey=hotkey,
            uid=uid,
            stake_place=_place(row.stake_rao, (one.stake_rao for one in rows)),
            stake_share=row.stake_rao / stake if stake else 0.0,
            incentive_place=_place(row.incentive, (one.incentive for one in rows)),
            dividends_place=_place(row.dividends, (one.dividends for one in rows)),
            emission_share=row.emission_rao / emission if emission else 0.0,
            validator_trust=row.validator_trust,
            consensus=row.consensus,
            age=self.block - row.last_update if row.last_update else None,
        )

    def arrays(self) -> dict[str, Any]:
        """Columns by uid as numpy arrays: stake, alpha, tao (float64, TAO), scores (float64), emission (uint64, rao)...

        ConfigError without numpy.
        """
        numpy = extras.numpy()
        columns = {
            name: numpy.array([getattr(row, source) for row in self.neurons], dtype=kind)
            for name, (source, kind) in _ARRAYS.items()
        }
        for name in ("stake", "alpha", "tao"):
            columns[name] = columns[name] / RAO_PER_TAO
        return columns

    def weight_matrix(self) -> Any:
        """Weights as an n by n numpy array of float32, row: who weighs, column: who is weighed. ConfigError."""
        matrix = extras.numpy().zeros((self.n, self.n), dtype="float32")
        for uid, row in self.subnet.weights.items():
            for target, weight in row:
                if target < self.n:
                    matrix[uid, target] = weight / U16_MAX
        return matrix

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each uid; amounts in rao, as they are exact. ConfigError without pandas."""
        names = Neuron.__slots__
        rows = [[getattr(row, name) for name in names] for row in self.neurons]
        return extras.pandas().DataFrame(rows, columns=list(names)).set_index("uid")

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        return f"<Metagraph of subnet {self.netuid}: {self.n} neurons at block {self.block}>"


def _is_node_list(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether a call is Fiber's: (substrate, netuid, load_old_nodes=True)."""
    if "load_old_nodes" in keywords or len(arguments) > 2:
        return True
    if arguments:
        first_is_netuid = isinstance(arguments[0], int) or "substrate" in keywords
        return not first_is_netuid and (len(arguments) > 1 or "netuid" in keywords)
    # Both by name might be either's call: a list of nodes can do all that both can.
    return "substrate" in keywords and "netuid" in keywords and "mechanism" not in keywords


_ARRAYS = {
    "uid": ("uid", "uint16"),
    "stake": ("stake_rao", "float64"),
    "alpha": ("alpha_rao", "float64"),
    "tao": ("tao_rao", "float64"),
    "rank": ("rank", "uint16"),
    "trust": ("trust", "float64"),
    "consensus": ("consensus", "float64"),
    "validator_trust": ("validator_trust", "float64"),
    "incentive": ("incentive", "float64"),
    "dividends": ("dividends", "float64"),
    "emission": ("emission_rao", "uint64"),
    "active": ("active", "bool"),
    "permit": ("permit", "bool"),
    "last_update": ("last_update", "uint64"),
    "registered_at": ("registered_at", "uint64"),
}
"""Name of an array -> attribute of `Neuron`, and its type."""


def _axon(row: Neuron) -> dict[str, Any]:
    return {**(row.axon or {}), "hotkey": row.hotkey, "coldkey": row.coldkey}


def _decisive(stakes: list[int]) -> int:
    """How few of them, largest first, are more than half."""
    half, held = sum(stakes) / 2, 0
    for count, stake in enumerate(sorted(stakes, reverse=True), 1):
        held += stake
        if held > half:
            return count
    return 0


def _gini(values: list[int]) -> float:
    total, count = sum(values), len(values)
    if not total:
        return 0.0
    # The mean difference of all pairs, over twice the mean.
    ranked = sum((2 * place - count - 1) * value for place, value in enumerate(sorted(values), 1))
    return ranked / (count * total)


def _place(value: float, others: Iterable[float]) -> int:
    return 1 + sum(other > value for other in others)


if not TYPE_CHECKING:  # which would take any name for one of them

    def __getattr__(name: str) -> Any:
        # Both know this module, and are loaded when they are asked for.
        if name in ("fetch_nodes", "models"):
            return importlib.import_module(f"mycelium.chain.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
