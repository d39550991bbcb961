"""A reader of runtime metadata V14 and V15, written apart from the writer it is held against.

`read(raw)` gives plain dictionaries; types are `Type` objects by id. Follows frame-metadata 16 and scale-info 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

HASHERS = (
    "Blake2_128", "Blake2_256", "Blake2_128Concat", "Twox128", "Twox256", "Twox64Concat", "Identity",
)  # fmt: skip
PRIMITIVES = (
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256",
)  # fmt: skip


class Field(NamedTuple):
    """written: the type's name in the source code, which for an alias is not the type's own."""

    name: str | None
    type: int
    written: str | None


class Type(NamedTuple):
    path: tuple[str, ...]
    params: tuple[tuple[str, int | None], ...]
    kind: str
    body: Any


class Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.raw):
            raise ValueError("the metadata ends early")
        self.at += size
        return self.raw[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def compact(self) -> int:
        first = self.byte()
        mode = first & 3
        if mode == 3:
            return int.from_bytes(self.take((first >> 2) + 4), "little")
        return int.from_bytes(bytes((first,)) + self.take((1 << mode) - 1), "little") >> 2

    def text(self) -> str:
        return self.take(self.compact()).decode()

    def bytes(self) -> bytes:
        return self.take(self.compact())

    def many(self, item):
        return [item() for _ in range(self.compact())]

    def option(self, item):
        return item() if self.byte() else None

    def docs(self) -> list[str]:
        return self.many(self.text)

    # --- types

    def field(self):
        found = Field(self.option(self.text), self.compact(), self.option(self.text))
        self.docs()
        return found

    def variant(self):
        name, fields, index = self.text(), self.many(self.field), self.byte()
        self.docs()
        return name, index, tuple(fields)

    def type(self) -> tuple[int, Type]:
        number = self.compact()
        path = tuple(self.many(self.text))
        params = tuple(self.many(lambda: (self.text(), self.option(self.compact))))
        kind = self.byte()
        body: Any
        if kind == 0:
            name, body = "composite", tuple(self.many(self.field))
        elif kind == 1:
            name, body = "variant", tuple(self.many(self.variant))
        elif kind == 2:
            name, body = "sequence", self.compact()
        elif kind == 3:
            name, body = "array", (int.from_bytes(self.take(4), "little"), self.compact())
        elif kind == 4:
            name, body = "tuple", tuple(self.many(self.compact))
        elif kind == 5:
            name, body = "primitive", PRIMITIVES[self.byte()]
        elif kind == 6:
            name, body = "compact", self.compact()
        else:
            raise ValueError(f"a type definition of kind {kind}")
        self.docs()
        return number, Type(path, params, name, body)

    # --- pallets

    def entry(self):
        name, modifier = self.text(), ("Optional", "Default")[self.byte()]
        if self.byte() == 0:
            hashers, key, value = (), None, self.compact()
        else:
            hashers = tuple(HASHERS[index] for index in self.many(self.byte))
            key, value = self.compact(), self.compact()
        found = {
            "modifier": modifier,
            "hashers": hashers,
            "key": key,
            "value": value,
            "default": self.bytes(),
        }
        self.docs()
        return name, found

    def storage(self):
        return {"prefix": self.text(), "items": dict(self.many(self.entry))}

    def constant(self):
        name, found = self.text(), {"type": self.compact(), "value": self.bytes()}
        self.docs()
        return name, found

    def pallet(self, version: int):
        name = self.text()
        found = {
            "storage": self.option(self.storage),
            "calls": self.option(self.compact),
            "events": self.option(self.compact),
            "constants": dict(self.many(self.constant)),
            "errors": self.option(self.compact),
            "index": self.byte(),
        }
        if version == 15:
            self.docs()
        return name, found

    def method(self):
        name = self.text()
        inputs = tuple(self.many(lambda: (self.text(), self.compact())))
        output = self.compact()
        self.docs()
        return name, {"inputs": inputs, "output": output}

    def api(self):
        name, methods = self.text(), dict(self.many(self.method))
        self.docs()
        return name, methods


def read(raw: bytes) -> dict[str, Any]:
    reader = Reader(raw)
    assert reader.take(4) == b"meta"
    version = reader.byte()
    assert version in (14, 15)
    types = dict(reader.many(reader.type))
    found: dict[str, Any] = {"version": version, "types": types}
    found["pallets"] = dict(reader.many(lambda: reader.pallet(version)))
    names = ("address", "call", "signature", "extra")
    if version == 14:
        whole = reader.compact()
        params = dict(types[whole].params)
        extrinsic: dict[str, Any] = {"type": whole, "version": reader.byte()}
        extrinsic |= dict(zip(names, params.values(), strict=True))
    else:
        extrinsic = {"version": reader.byte()}
        extrinsic |= {name: reader.compact() for name in names}
    extrinsic["extensions"] = reader.many(lambda: (reader.text(), reader.compact(), reader.compact()))
    found["extrinsic"] = extrinsic
    found["runtime"] = reader.compact()
    if version == 15:
        found["apis"] = dict(reader.many(reader.api))
        found["outer"] = {name: reader.compact() for name in ("call", "event", "error")}
        found["custom"] = reader.many(lambda: (reader.text(), reader.compact(), reader.bytes()))
    assert reader.at == len(raw), "the metadata has more bytes than it should"
    return found
