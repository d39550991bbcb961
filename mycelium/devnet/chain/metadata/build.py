"""Runtime metadata, versions 14 and 15, from the declarations (frame-metadata's `RuntimeMetadataV14` and `V15`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from mycelium.devnet.chain.metadata.declared import (
    RUNTIME,
    SPEC_VERSION,
    Declared,
    Pallet,
    RuntimeSpec,
    declared,
)
from mycelium.devnet.chain.metadata.notation import (
    HASHERS,
    Constant,
    Expression,
    Field,
    Item,
    Method,
    Named,
    Variant,
)
from mycelium.devnet.chain.metadata.registry import Registry
from mycelium.devnet.chain.metadata.scale import compact, option, sized, text, vector

_NO_DOCS: Final = compact(0)
_OUTER: Final = {"calls": "RuntimeCall", "events": "RuntimeEvent", "errors": "RuntimeError"}


class Metadata(NamedTuple):
    """Both versions, raw: `meta`, the version's number, SCALE."""

    v14: bytes
    v15: bytes


@lru_cache(maxsize=16)
def build(spec: RuntimeSpec) -> Metadata:
    """The metadata of a runtime; the same spec gives the same bytes."""
    builder = _Builder(declared(spec), spec)
    return Metadata(builder.metadata(14), builder.metadata(15))


class _Builder:
    def __init__(self, source: Declared, spec: RuntimeSpec) -> None:
        self._source = source
        self._spec = spec
        named = source.types
        for kind, name in _OUTER.items():
            named[name] = self._outer(kind, name)
        self._extra: Expression = ("tuple", *(kind for _, kind, _ in source.extrinsic.extensions))
        parts = source.extrinsic.parts
        params = (("Address", parts["address"]), ("Call", parts["call"]), ("Signature", parts["signature"]))
        raw: tuple[Field, ...] = ((None, ("generic", "Vec", ("name", "u8"))),)
        path = ("sp_runtime", "generic", "unchecked_extrinsic", "UncheckedExtrinsic")
        named["Generic"] = Named("Generic", path, (*params, ("Extra", parts["nested"])), raw, None)
        # Subtensor wraps Substrate's own type, to take Ethereum's transactions too.
        outer = ("fp_self_contained", "unchecked_extrinsic", "UncheckedExtrinsic")
        wrapped: tuple[Field, ...] = ((None, ("name", "Generic")),)
        extension = ("Extension", parts["nested"])
        named["UncheckedExtrinsic"] = Named("UncheckedExtrinsic", outer, (*params, extension), wrapped, None)

    def metadata(self, version: int) -> bytes:
        """Types come first in the bytes and are known last: everything else is encoded before them."""
        registry = self._registry = Registry(self._source.types)
        pallets = vector(self._source.pallets, lambda pallet: self._pallet(pallet, version))
        extrinsic = self._extrinsic(version)
        rest = compact(registry.declared("Runtime"))
        if version == 15:
            rest += vector(self._source.apis, self._api)
            rest += b"".join(compact(registry.declared(name)) for name in _OUTER.values())
            rest += compact(0)  # no custom metadata
        return b"meta" + bytes((version,)) + registry.encode() + pallets + extrinsic + rest

    # --- parts ------------------------------------------------------------------------------------------

    def _outer(self, kind: str, name: str) -> Named:
        variants = tuple(
            Variant(pallet.name, pallet.index, ((None, ("name", f"{pallet.name}:{kind}")),))
            for pallet in self._source.pallets
            if kind in pallet.enums
        )
        return Named(name, (RUNTIME, name), (), None, variants)

    def _pallet(self, pallet: Pallet, version: int) -> bytes:
        def enum(kind: str) -> bytes:
            found = f"{pallet.name}:{kind}" if kind in pallet.enums else None
            return option(found, lambda alias: compact(self._registry.declared(alias)))

        storage = option(pallet.items, lambda items: text(pallet.prefix) + vector(items, self._item))
        constants = vector(pallet.constants, lambda constant: self._constant(pallet, constant))
        parts = text(pallet.name) + storage + enum("calls") + enum("events") + constants + enum("errors")
        return parts + bytes((pallet.index,)) + (_NO_DOCS if version == 15 else b"")

    def _item(self, item: Item) -> bytes:
        head = text(item.name) + bytes((not item.optional,))
        value = self._id(item.value)
        if not item.keys:
            return head + b"\0" + value + sized(item.default) + _NO_DOCS
        hashers = vector(item.keys, lambda key: bytes((HASHERS.index(key[0]),)))
        types = [kind for _, kind in item.keys]
        key: Expression = types[0] if len(types) == 1 else ("tuple", *types)
        return head + b"\1" + hashers + self._id(key) + value + sized(item.default) + _NO_DOCS

    def _constant(self, pallet: Pallet, constant: Constant) -> bytes:
        value = self._own(pallet.name, constant)
        return text(constant.name) + self._id(constant.type) + sized(value) + _NO_DOCS

    def _own(self, pallet: str, constant: Constant) -> bytes:
        """The constant's value: declared, or what this runtime has in its place."""
        match pallet, constant.name:
            case "System", "Version":
                return runtime_version(constant.value, self._spec)
            case "Aura", "SlotDuration":
                return self._spec.slot_ms.to_bytes(8, "little")
            case "Timestamp", "MinimumPeriod":
                return (self._spec.slot_ms // 2).to_bytes(8, "little")
        return constant.value

    def _api(self, api: tuple[str, list[Method]]) -> bytes:
        name, methods = api
        return text(name) + vector(methods, self._method) + _NO_DOCS

    def _method(self, method: Method) -> bytes:
        inputs = vector(method.inputs, lambda argument: text(argument[0]) + self._id(argument[1]))
        return text(method.name) + inputs + self._id(method.output) + _NO_DOCS

    def _extrinsic(self, version: int) -> bytes:
        extrinsic = self._source.extrinsic
        extensions = vector(
            extrinsic.extensions, lambda one: text(one[0]) + self._id(one[1]) + self._id(one[2])
        )
        number = bytes((extrinsic.version,))
        if version == 14:
            return compact(self._registry.declared("UncheckedExtrinsic")) + number + extensions
        parts = b"".join(self._id(extrinsic.parts[name]) for name in ("address", "call", "signature"))
        return number + parts + self._id(self._extra) + extensions

    def _id(self, expression: Expression) -> bytes:
        return compact(self._registry.id_of(expression))


def runtime_version(value: bytes, spec: RuntimeSpec) -> bytes:
    """The constant `System.Version` of spec 424 with other versions of spec and transactions in their places."""
    at = value.index(SPEC_VERSION.to_bytes(4, "little"))
    middle, system_version = value[at + 4 : -5], value[-1:]
    transactions = spec.transaction_version.to_bytes(4, "little")
    return value[:at] + spec.spec_version.to_bytes(4, "little") + middle + transactions + system_version
