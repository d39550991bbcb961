"""A chain's beginning as a file: `ChainSpec` to JSON and back, for a chain that runs in another process.

Accounts are SS58 addresses, other bytes 0x and hex digits, amounts whole rao. Driven by the dataclasses' own
types, so that a new field needs nothing here. Errors name the place in the file.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mycelium import wholefile
from mycelium.errors import AccountRefused, ConfigError
from mycelium.identity import account as accounts

if TYPE_CHECKING:
    from mycelium.devnet.chain.spec import ChainSpec


def write(path: Path, spec: ChainSpec) -> None:
    """Write a spec to a file. Raises OSError."""
    wholefile.write(path, msgspec.json.format(msgspec.json.encode(to_json(spec)), indent=2))


def read(path: Path) -> ChainSpec:
    """Read a spec from a file. Raises ConfigError that names the place."""
    from mycelium.devnet.chain.spec import ChainSpec

    try:
        value = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", "Name a file with a chain's beginning."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    try:
        spec: ChainSpec = from_json(ChainSpec, value, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return spec


def to_json(value: Any) -> Any:
    """What JSON has for a spec or a part of one."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return accounts.format(value) if len(value) == accounts.ACCOUNT_BYTES else f"0x{value.hex()}"
    if isinstance(value, Mapping):
        return {str(to_json(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def from_json(kind: Any, value: Any, place: str) -> Any:
    """The value of a type from JSON. place: where in the file, for errors. Raises ConfigError."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        choices = [item for item in arguments if item is not type(None)]
        exact = next((item for item in choices if type(value) is item), choices[0])
        return from_json(exact, value, place)
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, place)
    if kind is bytes:
        return _bytes(value, place)
    if origin is tuple:
        return _tuple(arguments, value, place)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        key_kind, item_kind = arguments
        return {
            from_json(key_kind, int(key) if key_kind is int and key.isdecimal() else key, place): from_json(
                item_kind, item, f"{place}.{key}"
            )
            for key, item in value.items()
        }
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(place, kind.__name__, value)
    return value


def _record(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(place, "an object", value)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            known = ", ".join(fields)
            raise ConfigError(f"{_place(place)} has {name!r}, which is not known: there are {known}")
    for name, field in fields.items():
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and name not in value:
            raise ConfigError(f"{_place(place)} has no {name}")
    return kind(**{name: from_json(hints[name], item, f"{place}.{name}") for name, item in value.items()})


def _tuple(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(place, "a list", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(from_json(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(value))
    if len(arguments) != len(value):
        raise ConfigError(f"{_place(place)} has {len(value)} items, not {len(arguments)}")
    return tuple(
        from_json(each, item, f"{place}[{at}]")
        for at, (each, item) in enumerate(zip(arguments, value, strict=True))
    )


def _bytes(value: Any, place: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(place, "an SS58 address or 0x and hex digits", value)
    try:
        return bytes.fromhex(value[2:]) if value.startswith("0x") else accounts.parse(value)
    except (ValueError, AccountRefused) as error:
        raise ConfigError(f"{_place(place)}: {error}") from None


def _wrong(place: str, wanted: str, value: Any) -> ConfigError:
    return ConfigError(f"{_place(place)} is {wanted}, not {str(value)[:40]!r}")


def _place(place: str) -> str:
    return place.lstrip(".") or "the file"
