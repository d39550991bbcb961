"""All declarations of a runtime, read and put together for one `RuntimeSpec`. Encodes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from mycelium.devnet.chain.metadata import apis, extrinsic, substrate_types, subtensor_types
from mycelium.devnet.chain.metadata.notation import Constant, Expression, Item, Method, Named, Reader
from mycelium.devnet.chain.metadata.pallets import DECLARATIONS, recent
from mycelium.devnet.chain.metadata.registry import parse_named
from mycelium.errors import UsageError

SPEC_VERSION: Final = 424
SLOT_MS: Final = 12_000
RUNTIME: Final = "node_subtensor_runtime"
_GROWN: Final = frozenset({"Metagraph", "SelectiveMetagraph", "NeuronInfoLite", "SubnetHyperparams"})
GROWN_FIELD: Final = "added_by_upgrade"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """Which runtime the chain runs.

    netuid_newtype: netuid is the newtype `NetUid`, as on the public chain since about spec 429, and not a plain u16.
    grown: metagraph, neuron and hyperparameter structs have one more field at their end, as after an upgrade.
    recent_items: the storage items are there that clients of a later runtime than spec 424 ask for; see
    `pallets.recent`.
    slot_ms: how far blocks are apart, as clients that count time in blocks are told; the public chain's by default.
    """

    spec_version: int = SPEC_VERSION
    transaction_version: int = 1
    netuid_newtype: bool = False
    grown: bool = False
    recent_items: bool = False
    slot_ms: int = SLOT_MS


@dataclass(slots=True)
class Pallet:
    """One pallet as declared. `prefix` is what its storage keys are hashed from."""

    name: str
    index: int
    prefix: str
    items: list[Item] | None = None
    constants: list[Constant] = field(default_factory=list)
    enums: dict[str, Named] = field(default_factory=dict)
    """"calls", "events" and "errors", those that it has."""


@dataclass(slots=True)
class Extrinsic:
    """The parts of a signed extrinsic. extensions: (name, type in the extrinsic, type that is only signed)."""

    version: int
    parts: dict[str, Expression]
    extensions: list[tuple[str, Expression, Expression]]


@dataclass(slots=True)
class Declared:
    """Everything that metadata is made of."""

    types: dict[str, Named]
    pallets: list[Pallet]
    apis: list[tuple[str, list[Method]]]
    extrinsic: Extrinsic


def declared(spec: RuntimeSpec) -> Declared:
    """Read the declarations for `spec`. Raises UsageError for two things of one name or number."""
    types = {}
    texts = [substrate_types.DECLARATION, subtensor_types.DECLARATION]
    if spec.recent_items:
        texts.append(recent.TYPES)
    for text in texts:
        for named in _types(Reader(_text(text, spec))):
            if named.alias in types:
                raise UsageError(f"the type {named.alias} is declared twice")
            types[named.alias] = named
    if spec.netuid_newtype:
        types["NetUid"] = parse_named(Reader("struct subtensor_runtime_common::NetUid(u16)"))
    if spec.grown:
        for alias in _GROWN:
            named = types[alias]
            grown: tuple[str, Expression] = (GROWN_FIELD, ("generic", "Compact", ("name", "u64")))
            types[alias] = named._replace(fields=((*(named.fields or ()), grown)))
    pallets = [pallet(_text(text, spec)) for text in DECLARATIONS]
    if spec.recent_items:
        later = pallet(_text(recent.DECLARATION, spec))
        known = next(one for one in pallets if one.name == later.name)
        known.items = [*(known.items or ()), *(later.items or ())]
    for one in pallets:
        check(one)
        for kind, enum in one.enums.items():
            types[f"{one.name}:{kind}"] = enum
    return Declared(
        types,
        sorted(pallets, key=lambda one: one.index),
        list(_apis(Reader(_text(apis.DECLARATION, spec)))),
        _extrinsic(Reader(extrinsic.DECLARATION)),
    )


def _text(text: str, spec: RuntimeSpec) -> str:
    return text if spec.netuid_newtype else text.replace("NetUid", "u16")


def _types(reader: Reader) -> list[Named]:
    found = []
    while reader.more:
        found.append(parse_named(reader))
        reader.given(";")
    return found


def pallet(text: str) -> Pallet:
    """Read one pallet."""
    reader = Reader(text)
    reader.take("pallet")
    name = reader.take()
    reader.take("=")
    found = Pallet(name, int(reader.take()), name)
    reader.take(";")
    while reader.more:
        part = reader.take()
        if part == "storage":
            found.items = _block(reader, reader.item)
        elif part == "constants":
            found.constants = _block(reader, reader.constant)
        elif part in ("calls", "events", "errors"):
            _, path, params = reader.head()
            found.enums[part] = Named(f"{name}:{part}", path, params, None, reader.variants())
        else:
            raise UsageError(
                f"pallet {name} has no {part!r}; storage, calls, events, errors and constants are known"
            )
    return found


def check(found: Pallet) -> None:
    """UsageError for two items of one name, or two variants of one number: clients would find the wrong one."""
    for kind, enum in found.enums.items():
        variants = enum.variants or ()
        for what in ({one.name for one in variants}, {one.number for one in variants}):
            if len(what) != len(variants):
                raise UsageError(f"two {kind} of pallet {found.name} have one name or one number")
    for items in (found.items or [], found.constants):
        if len({one.name for one in items}) != len(items):
            raise UsageError(f"two items of pallet {found.name} have one name")


def _block(reader: Reader, item: Callable[[], T]) -> list[T]:
    reader.take("{")
    found = []
    while not reader.given("}"):
        found.append(item())
    return found


def _apis(reader: Reader) -> Iterator[tuple[str, list[Method]]]:
    while reader.more:
        reader.take("api")
        yield reader.take(), _block(reader, reader.method)


def _extrinsic(reader: Reader) -> Extrinsic:
    reader.take("extrinsic")
    found = Extrinsic(int(reader.take()), {}, [])
    reader.take("{")
    while not reader.given("}"):
        name = reader.take()
        reader.take(":")
        kind = reader.type()
        if reader.given("+"):
            found.extensions.append((name, kind, reader.type()))
        else:
            found.parts[name] = kind
        reader.take(";")
    return found
