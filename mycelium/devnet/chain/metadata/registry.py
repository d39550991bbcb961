"""Portable type ids: every type that a declaration uses gets one, each type once (scale-info's `PortableRegistry`).

Types are asked for by expression and numbered as they are met, so that only what is used is in the metadata. A type
may refer to itself, as a batch of calls does: its number is given before its parts are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mycelium.devnet.chain.metadata.notation import Expression, Field, Named, Reader, Variant
from mycelium.devnet.chain.metadata.scale import compact, option, text, vector
from mycelium.errors import UsageError

PRIMITIVES: Final = (
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256",
)  # fmt: skip
"""In the order of their SCALE discriminants."""


class Generic(NamedTuple):
    """A type of Rust's libraries with parameters; `declare` gives what it is for given arguments."""

    params: tuple[str, ...]
    declare: Callable[..., str]


GENERICS: Final[dict[str, Generic]] = {
    "Option": Generic(("T",), lambda t: f"enum Option<T = {t}> {{ None = 0, Some({t}) = 1 }}"),
    "Result": Generic(
        ("T", "E"), lambda t, e: f"enum Result<T = {t}, E = {e}> {{ Ok({t}) = 0, Err({e}) = 1 }}"
    ),
    "Cow": Generic(("T",), lambda t: f"struct Cow<T = {t}>({t})"),
    "BTreeMap": Generic(("K", "V"), lambda k, v: f"struct BTreeMap<K = {k}, V = {v}>(Vec<({k}, {v})>)"),
    "BTreeSet": Generic(("T",), lambda t: f"struct BTreeSet<T = {t}>(Vec<{t}>)"),
    "BoundedVec": Generic(
        ("T",), lambda t: f"struct bounded_collections::bounded_vec::BoundedVec<T = {t}, S>(Vec<{t}>)"
    ),
    "WeakBoundedVec": Generic(
        ("T",),
        lambda t: f"struct bounded_collections::weak_bounded_vec::WeakBoundedVec<T = {t}, S>(Vec<{t}>)",
    ),
    "PerDispatchClass": Generic(
        ("T",),
        lambda t: (
            f"struct frame_support::dispatch::PerDispatchClass<T = {t}> "
            f"{{ normal: {t}, operational: {t}, mandatory: {t} }}"
        ),
    ),
    "IdAmount": Generic(
        ("Id", "Balance"),
        lambda i, b: (
            f"struct frame_support::traits::tokens::misc::IdAmount<Id = {i}, Balance = {b}> {{ id: {i}, amount: {b} }}"
        ),
    ),
    "FixedU128": Generic(
        ("Frac",), lambda f: f"struct substrate_fixed::FixedU128<Frac = {f}> {{ bits: u128 }}"
    ),
    "FixedI128": Generic(
        ("Frac",), lambda f: f"struct substrate_fixed::FixedI128<Frac = {f}> {{ bits: i128 }}"
    ),
}
_UNSIGNED: Final = {f"U{number}": number for number in (1, 2, 4, 8, 16, 32, 64)}
"""Numbers as types (typenum): how many bits of a fixed-point number are its fraction."""


class Registry:
    """The types of one metadata. `named`: alias -> declaration."""

    def __init__(self, named: dict[str, Named]) -> None:
        self._named = named
        self._ids: dict[str, int] = {}
        self._types: list[bytes] = []

    def __len__(self) -> int:
        return len(self._types)

    def encode(self) -> bytes:
        """All types, as in the metadata."""
        return compact(len(self._types)) + b"".join(
            compact(number) + body for number, body in enumerate(self._types)
        )

    def id_of(self, expression: Expression) -> int:
        """The number of a type. UsageError for a name that nobody declared."""
        key = show(expression)
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self._types)
            self._types.append(b"")
            self._types[number] = self._define(expression)
        return number

    def declared(self, name: str) -> int:
        """The number of a declared type."""
        return self.id_of(("name", name))

    def variant(self, variant: Variant) -> bytes:
        """One variant of an enum."""
        fields = vector(variant.fields, self._field)
        return text(variant.name) + fields + bytes((variant.number,)) + compact(0)

    # --- inside -----------------------------------------------------------------------------------------

    def _define(self, expression: Expression) -> bytes:
        kind, *parts = expression
        if kind == "array":
            item, length = parts
            assert isinstance(item, tuple)
            assert isinstance(length, int)
            return _anonymous(b"\3" + length.to_bytes(4, "little") + compact(self.id_of(item)))
        if kind == "tuple":
            return _anonymous(b"\4" + vector([p for p in parts if isinstance(p, tuple)], self._compact_id))
        name, *arguments = parts
        assert isinstance(name, str)
        if kind == "generic":
            return self._generic(name, [argument for argument in arguments if isinstance(argument, tuple)])
        if name in PRIMITIVES:
            return _anonymous(b"\5" + bytes((PRIMITIVES.index(name),)))
        if name in _UNSIGNED:
            return self._unsigned(_UNSIGNED[name])
        declared = self._named.get(name)
        if declared is None:
            raise UsageError(f"the type {name} is not declared")
        return self._declared(declared)

    def _generic(self, name: str, arguments: list[Expression]) -> bytes:
        if name == "Vec":
            return _anonymous(b"\2" + self._compact_id(arguments[0]))
        if name == "Compact":
            return _anonymous(b"\6" + self._compact_id(arguments[0]))
        generic = GENERICS.get(name)
        if generic is None or len(arguments) != len(generic.params):
            raise UsageError(f"there is no type {name} with {len(arguments)} parameters")
        return self._declared(parse_named(Reader(generic.declare(*map(show, arguments)))))

    def _unsigned(self, number: int) -> bytes:
        """A number as a type: its bits, most significant first, as nested pairs."""
        rest: Expression = ("name", "UTerm")
        if number > 1:
            rest = ("name", f"U{number >> 1}")
        bit: Expression = ("name", f"B{number & 1}")
        path = ("substrate_typenum", "uint", "UInt")
        return self._declared(Named("", path, (("U", rest), ("B", bit)), (("msb", rest), ("lsb", bit)), None))

    def _declared(self, named: Named) -> bytes:
        head = vector(named.path, text) + vector(named.params, self._param)
        if named.variants is not None:
            return head + b"\1" + vector(named.variants, self.variant) + compact(0)
        return head + b"\0" + vector(named.fields or (), self._field) + compact(0)

    def _param(self, param: tuple[str, Expression | None]) -> bytes:
        return text(param[0]) + option(param[1], self._compact_id)

    def _field(self, field: Field) -> bytes:
        # Some clients take a field's type name for granted; the real one is what the source code says.
        named = option(show(field[1]), text)
        return option(field[0], text) + self._compact_id(field[1]) + named + compact(0)

    def _compact_id(self, expression: Expression) -> bytes:
        return compact(self.id_of(expression))


def _anonymous(definition: bytes) -> bytes:
    """A type without path, parameters and documentation."""
    return compact(0) + compact(0) + definition + compact(0)


def show(expression: Expression) -> str:
    """An expression as it is written."""
    kind, *parts = expression
    shown = [show(part) if isinstance(part, tuple) else str(part) for part in parts]
    if kind == "name":
        return shown[0]
    if kind == "array":
        return f"[{shown[0]}; {shown[1]}]"
    if kind == "tuple":
        return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"
    return f"{shown[0]}<{', '.join(shown[1:])}>"


def parse_named(reader: Reader) -> Named:
    """One `struct` or `enum`."""
    kind = reader.take()
    alias, path, params = reader.head()
    if kind == "struct":
        return Named(alias, path, params, reader.fields(), None)
    if kind == "enum":
        return Named(alias, path, params, None, reader.variants())
    raise UsageError(f"{kind!r} declares no type; struct and enum do")
