"""The `dev_*` methods: what this chain can do and a real one cannot - step, and break on demand.

Each is a method of `Faults` under its name in camel case; errors of use are JSON-RPC error -32602.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from mycelium.devnet.chain.faults import Faults
from mycelium.devnet.chain.rpc import (
    Convert,
    RpcError,
    Table,
    add,
    anything,
    boolean,
    hex_bytes,
    integer,
    invalid_params,
    parameter,
    text,
)
from mycelium.errors import MyceliumError


class DevSession(Protocol):
    """One connection, as these methods see it."""

    @property
    def faults(self) -> Faults: ...


def texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise invalid_params("expected a list of method names")
    return [text(item) for item in value]


def anything_listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise invalid_params("expected a list")
    return value


_CONVERTERS: Final[dict[str, Convert]] = {
    "bool": boolean,
    "bool | None": boolean,
    "int": integer,
    "int | None": integer,
    "str": text,
    "bytes": hex_bytes,
    "bytes | None": hex_bytes,
    "Sequence[str]": texts,
    "Sequence[Any]": anything_listed,
    "Any": anything,
}
METHODS: Final = (
    "stall_head",
    "stall_finality",
    "reorg",
    "upgrade",
    "deregister",
    "remove_permit",
    "give_permit",
    "set_storage",
    "set_item",
    "shift_time",
    "step",
    "new_genesis",
    "drop_connections",
    "refuse_connections",
    "too_many_requests",
    "delay",
    "never_answer",
    "garbage",
    "mute",
    "clear",
    "status",
)


def rpc_name(name: str) -> str:
    """`stall_head` is `dev_stallHead`."""
    return "dev_" + re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def register(table: Table) -> None:
    """Add the methods."""
    for name in METHODS:
        signature = inspect.signature(getattr(Faults, name))
        wanted = list(signature.parameters.values())[1:]
        parameters = [
            parameter(
                item.name,
                _CONVERTERS[str(item.annotation)],
                item.default is not item.empty
                or str(item.annotation) == "Any"
                or "None" in str(item.annotation),
            )
            for item in wanted
        ]
        defaults = {item.name: item.default for item in wanted if item.default is not item.empty}
        names = [rpc_name(name), "dev_fastForward"] if name == "step" else [rpc_name(name)]
        add(table, names, _caller(name, [item.name for item in wanted], defaults), *parameters)


def _caller(name: str, names: list[str], defaults: dict[str, Any]) -> Callable[..., Any]:
    def call(session: DevSession, *values: Any) -> Any:
        given = dict(zip(names, values, strict=True))
        arguments = {key: defaults.get(key) if value is None else value for key, value in given.items()}
        try:
            return getattr(session.faults, name)(**arguments)
        except MyceliumError as error:
            raise invalid_params(str(error)) from None
        except (LookupError, ValueError) as error:
            raise RpcError(-32000, str(error) or type(error).__name__) from None

    return call
