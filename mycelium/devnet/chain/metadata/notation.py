"""The notation in which the metadata of the development chain is declared, read into plain tuples. Assigns no ids.

    struct path::Name<Param = Type> { field: Type, ... };      struct path::Name(Type, ...);
    enum path::Name { Variant = 0, Variant(Type) = 1, Variant { field: Type } = 2, }
    pallet Name = 7;
    storage { Item: Hasher(Key), Hasher(Key) -> Value = 0x<default>;  Optional?: Value; }
    calls | events | errors path::Name<T> { variants as in an enum }
    constants { Name: Type = 0x<SCALE>; }
    api Name { method(argument: Type) -> Type; }
    extrinsic 4 { address: Type; call: Type; signature: Type; Extension: Type + Additional; }

`Alias = path::Name` gives a type another name to be called by. Types are Rust's: u8, str, Vec<T>, [T; 4], (A, B),
Compact<T>, Option<T>, and names of declared types. Hex may be cut into several 0x parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from mycelium.errors import UsageError

Expression = tuple["str | Expression | int", ...]
"""("name", text) | ("generic", text, args...) | ("array", T, length) | ("tuple", T...)"""
Field = tuple[str | None, Expression]

HASHERS: Final = (
    "Blake2_128", "Blake2_256", "Blake2_128Concat", "Twox128", "Twox256", "Twox64Concat", "Identity",
)  # fmt: skip
"""In the order of their SCALE discriminants."""

T = TypeVar("T")
_TOKEN = re.compile(r"\s*(?:(0x[0-9a-f]*)|([A-Za-z_]\w*(?:::[A-Za-z_]\w*)*)|(\d+)|(->|[^\s\w]))")


class Variant(NamedTuple):
    """One variant of an enum; `number` is its SCALE discriminant."""

    name: str
    number: int
    fields: tuple[Field, ...]


class Named(NamedTuple):
    """A struct (`fields`) or an enum (`variants`) with its path and type parameters."""

    alias: str
    path: tuple[str, ...]
    params: tuple[tuple[str, Expression | None], ...]
    fields: tuple[Field, ...] | None
    variants: tuple[Variant, ...] | None


class Item(NamedTuple):
    """A storage item. keys: (hasher, type) of each key of a map, empty for a plain value."""

    name: str
    optional: bool
    keys: tuple[tuple[str, Expression], ...]
    value: Expression
    default: bytes


class Constant(NamedTuple):
    """A constant; `value` is SCALE."""

    name: str
    type: Expression
    value: bytes


class Method(NamedTuple):
    """A function of a runtime API."""

    name: str
    inputs: tuple[tuple[str, Expression], ...]
    output: Expression


class Reader:
    """Reads one text. Raises UsageError that names the line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._tokens)

    def peek(self) -> str:
        """The next token, "" at the end."""
        return self._tokens[self._at][0] if self.more else ""

    def take(self, expected: str = "") -> str:
        """The next token, which must be `expected` if that is given."""
        token = self.peek()
        if not token or (expected and token != expected):
            where = self._tokens[min(self._at, len(self._tokens) - 1)][1] if self._tokens else 0
            line = self._text.count("\n", 0, where) + 1
            raise UsageError(
                f"declaration, line {line}: {token or 'the end'!r} where {expected or 'more'!r} belongs"
            )
        self._at += 1
        return token

    def given(self, token: str) -> bool:
        """Take the token if it is next."""
        if self.peek() != token:
            return False
        self._at += 1
        return True

    # --- types ------------------------------------------------------------------------------------------

    def type(self) -> Expression:
        """A type expression."""
        if self.given("["):
            item = self.type()
            self.take(";")
            length = int(self.take())
            self.take("]")
            return ("array", item, length)
        if self.peek() == "(":
            return ("tuple", *self._list("(", ")", self.type))
        name = self.take()
        if self.peek() == "<":
            return ("generic", name, *self._list("<", ">", self.type))
        return ("name", name)

    def fields(self) -> tuple[Field, ...]:
        """`(T, T)` or `{ name: T, ... }`, or nothing."""
        if self.peek() == "(":
            return tuple((None, item) for item in self._list("(", ")", self.type))
        if self.peek() == "{":
            return tuple(self._list("{", "}", self._field))
        return ()

    def variants(self) -> tuple[Variant, ...]:
        """The variants of an enum, in braces."""
        return tuple(self._list("{", "}", self._variant))

    def head(self) -> tuple[str, tuple[str, ...], tuple[tuple[str, Expression | None], ...]]:
        """Alias, path and type parameters."""
        first = self.take()
        path = self.take() if self.given("=") else first
        params = self._list("<", ">", self._param) if self.peek() == "<" else []
        parts = tuple(path.split("::"))
        return (parts[-1] if path == first else first), parts, tuple(params)

    # --- items ------------------------------------------------------------------------------------------

    def item(self) -> Item:
        """One storage item."""
        name = self.take()
        optional = self.given("?")
        self.take(":")
        keys = []
        start = self._at
        while self.peek() in HASHERS:
            hasher = self.take()
            self.take("(")
            keys.append((hasher, self.type()))
            self.take(")")
            if not self.given(","):
                break
        if keys:
            self.take("->")
        else:
            self._at = start
        value = self.type()
        default = self.hex() if self.given("=") else b"\0"
        self.take(";")
        return Item(name, optional, tuple(keys), value, default)

    def constant(self) -> Constant:
        """One constant."""
        name = self.take()
        self.take(":")
        kind = self.type()
        self.take("=")
        value = self.hex()
        self.take(";")
        return Constant(name, kind, value)

    def method(self) -> Method:
        """One function of a runtime API."""
        name = self.take()
        inputs = tuple(self._list("(", ")", self._argument))
        self.take("->")
        output = self.type()
        self.take(";")
        return Method(name, inputs, output)

    def hex(self) -> bytes:
        """One or more 0x parts."""
        parts = []
        while self.peek().startswith("0x"):
            parts.append(self.take()[2:])
        return bytes.fromhex("".join(parts))

    def _argument(self) -> tuple[str, Expression]:
        name = self.take()
        self.take(":")
        return name, self.type()

    def _field(self) -> Field:
        return self._argument()

    def _variant(self) -> Variant:
        name = self.take()
        fields = self.fields()
        self.take("=")
        return Variant(name, int(self.take()), fields)

    def _param(self) -> tuple[str, Expression | None]:
        name = self.take()
        return name, self.type() if self.given("=") else None

    def _list(self, left: str, right: str, item: Callable[[], T]) -> list[T]:
        self.take(left)
        found = []
        while not self.given(right):
            found.append(item())
            if not self.given(","):
                self.take(right)
                break
        return found


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    for match in _TOKEN.finditer(text):
        yield match[0].strip(), match.start()
