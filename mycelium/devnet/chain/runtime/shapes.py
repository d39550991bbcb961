"""Types of the runtime by number: the fields of structs, and the value that stands for "nothing" of any type.

With it a runtime API answers in whatever shape the metadata gives its result: what the code does not fill is zero, a
field that an upgrade added too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mycelium.identity import account as accounts


class Shapes:
    """Over the registry of one runtime. Types are named as the codec names them: "scale_info::N"."""

    def __init__(self, registry_json: str) -> None:
        self._types = {entry["id"]: entry["type"] for entry in json.loads(registry_json)["types"]}
        self._zeros: dict[int, Any] = {}

    def named(self, *path: str) -> str:
        """The type at a path, as in ("sp_runtime", "DispatchError"). KeyError where there is none."""
        for number, kind in self._types.items():
            if kind.get("path") == list(path):
                return f"scale_info::{number}"
        raise KeyError("::".join(path))

    def fields(self, name: str) -> dict[str, int]:
        """The named fields of a struct and their types' numbers."""
        return self._fields(_number(name))

    def fill(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """A struct's value with zero for every field that `value` lacks."""
        return {
            field: value[field] if field in value else self._zero(kind)
            for field, kind in self.fields(name).items()
        }

    def item(self, name: str) -> str:
        """The type inside an Option, a Vec or a Vec of Options."""
        kind = self._types[_number(name)]
        definition = kind["def"]
        if "sequence" in definition:
            return f"scale_info::{definition['sequence']['type']}"
        if kind.get("path") == ["Option"]:
            return f"scale_info::{kind['params'][0]['type']}"
        raise TypeError(f"{name} holds no items")

    def _fields(self, number: int) -> dict[str, int]:
        composite = self._types[number]["def"].get("composite", {})
        return {field["name"]: field["type"] for field in composite.get("fields", ())}

    def zero(self, name: str) -> Any:
        """The value of a type that stands for nothing."""
        return self._zero(_number(name))

    def _zero(self, number: int) -> Any:
        if number not in self._zeros:
            self._zeros[number] = self._make_zero(number)
        return self._zeros[number]

    def _make_zero(self, number: int) -> Any:
        kind = self._types[number]
        path, definition = kind.get("path", []), kind["def"]
        if path[-1:] == ["AccountId32"]:
            return accounts.format(bytes(32))
        if path == ["Option"]:
            return None
        if "primitive" in definition:
            return {"bool": False, "str": ""}.get(definition["primitive"], 0)
        if "compact" in definition:
            return 0
        if "sequence" in definition:
            return []
        if "array" in definition:
            return [self._zero(definition["array"]["type"])] * definition["array"]["len"]
        if "tuple" in definition:
            return tuple(self._zero(part) for part in definition["tuple"])
        if "variant" in definition:
            return definition["variant"]["variants"][0]["name"]
        fields = definition["composite"].get("fields", [])
        if fields and fields[0].get("name") is None:
            return self._zero(fields[0]["type"])
        return {field["name"]: self._zero(field["type"]) for field in fields}


def _number(name: str) -> int:
    return int(name.removeprefix("scale_info::"))
