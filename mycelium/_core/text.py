"""The JSON encoding (tag 0x01): for people, debugging and a first step in other languages.

Owns the text form of each field type and refuses every other; must not judge widths, names or counts: codec
writes the values as FlatBuffers and so judges them once, for both encodings.

An object per table with the schema's field names. Enums are their names, `bytes` of one fixed width hex,
other `bytes` base64 (RFC 4648 section 4, padded). A field may be left out unless the schema requires it; a
field that the schema has not, one that comes twice, and any other type of value is MalformedMessage.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn

from mycelium._core.schema import BATCH, KINDS, MESSAGE, SIZE_MAX, TABLES, Field
from mycelium.errors import MalformedMessage, OversizedMessage

TAG = b"\x01"
_BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64}


def message_to_json(encoding: int, values: tuple[Any, ...]) -> bytes:
    """`values` are encode_message's arguments, already judged. MalformedMessage for an unknown encoding."""
    if encoding != TAG[0]:
        raise MalformedMessage(f"no encoding {encoding}")
    data = _dump(MESSAGE, values)
    if len(data) > SIZE_MAX[values[1]]:
        raise OversizedMessage(f"{len(data)} bytes of JSON, at most {SIZE_MAX[values[1]]}")
    return data


def message_from_json(data: bytes) -> tuple[Any, ...]:
    """Seven fields for encode_message, each of the right type and range but not yet of the right width."""
    values = _load(MESSAGE, data)
    assert isinstance(values, tuple)
    return values


def table_to_json(kind: int, values: Any) -> bytes:
    """`values` as codec.encode accepted them."""
    data = _dump(kind, values)
    if len(data) > TABLES[kind].bytes_max:
        raise OversizedMessage(f"{len(data)} bytes of JSON, at most {TABLES[kind].bytes_max}")
    return data


def table_from_json(kind: int, data: bytes) -> Any:
    """Values for codec.encode. The size cap is the one of the binary form."""
    if len(data) > TABLES[kind].bytes_max:
        raise OversizedMessage(f"{len(data)} bytes of JSON, at most {TABLES[kind].bytes_max}")
    return _load(kind, data)


def _dump(kind: int, values: Any) -> bytes:
    return TAG + json.dumps(_table_out(kind, values), separators=(",", ":"), ensure_ascii=False).encode()


def _load(kind: int, data: bytes) -> Any:
    if data[:1] != TAG:
        raise MalformedMessage("an unknown encoding tag")
    try:
        parsed = json.loads(
            data[1:].decode(), object_pairs_hook=_object, parse_float=_refused, parse_constant=_refused
        )
    except RecursionError:
        raise MalformedMessage("JSON nested too deeply") from None
    except ValueError as error:
        # Also UnicodeDecodeError, and integers beyond the interpreter's limit of digits.
        raise MalformedMessage(f"not JSON: {error}") from None
    values = _table_in(kind, parsed)
    if kind == BATCH and values[6] != len(values[12]):
        raise MalformedMessage(f"{len(values[12])} changes where {values[6]} are announced")
    return values


def _refused(token: str) -> NoReturn:
    raise MalformedMessage(f"the number {token[:32]} is not an integer")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedMessage("a JSON object with a key twice")
    return found


def _table_out(kind: int, values: Any) -> dict[str, Any]:
    fields = TABLES[kind].fields
    held = (values,) if len(fields) == 1 else tuple(values)
    # An absent table has no JSON form but its absence.
    return {
        field.name: _field_out(field, value)
        for field, value in zip(fields, held, strict=True)
        if not (field.type == "table" and value is None)
    }


def _field_out(field: Field, value: Any) -> Any:
    match field.type:
        case "bytes":
            return value.hex() if field.fixed else base64.b64encode(value).decode()
        case "table":
            return _table_out(KINDS[field.table], value)
        case "tables":
            return [_table_out(KINDS[field.table], item) for item in value]
        case "ranges":
            return [{"first": first, "last": last} for first, last in value]
        case "strings" | "u16s":
            return list(value)
        case "u8":
            return field.enum[value]
        case "bool":
            return bool(value)
        case _:
            return value


def _table_in(kind: int, found: Any) -> Any:
    table = TABLES[kind]
    if not isinstance(found, dict):
        raise MalformedMessage(f"{table.name} is not a JSON object")
    unknown = found.keys() - {field.name for field in table.fields}
    if unknown:
        raise MalformedMessage(f"{table.name} has no field {min(unknown)[:64]!r}")
    values = tuple(_field_in(field, found.get(field.name, _ABSENT)) for field in table.fields)
    return values[0] if len(values) == 1 else values


_ABSENT = object()
_DEFAULTS: dict[str, Any] = {
    "bool": False,
    "u8": 0,
    "u16": 0,
    "u32": 0,
    "u64": 0,
    "bytes": b"",
    "string": "",
    "table": None,
}


def _field_in(field: Field, found: Any) -> Any:
    if found is _ABSENT:
        if field.required:
            raise MalformedMessage(f"the field {field.name!r} is required")
        return _DEFAULTS.get(field.type, [])
    match field.type:
        case "bool":
            if isinstance(found, bool):
                return found
        case "u8":
            if isinstance(found, str) and found in field.enum:
                return field.enum.index(found)
        case "u16" | "u32" | "u64":
            if _is_number(found, _BITS[field.type]):
                return found
        case "string" | "name":
            if isinstance(found, str):
                return found
        case "bytes":
            if isinstance(found, str):
                return _bytes_in(field, found)
        case "table":
            return _table_in(KINDS[field.table], found)
        case _:
            if isinstance(found, list):
                return [_item_in(field, item) for item in found]
    raise MalformedMessage(f"the field {field.name!r} is not a {field.type}")


def _item_in(field: Field, found: Any) -> Any:
    match field.type:
        case "tables":
            return _table_in(KINDS[field.table], found)
        case "strings":
            if isinstance(found, str):
                return found
        case "u16s":
            if _is_number(found, 16):
                return found
        case _:
            if isinstance(found, dict) and found.keys() == {"first", "last"}:
                first, last = found["first"], found["last"]
                if _is_number(first, 64) and _is_number(last, 64):
                    return first, last
    raise MalformedMessage(f"an item of {field.name!r} is not one of {field.type}")


def _is_number(found: Any, bits: int) -> bool:
    return type(found) is int and 0 <= found < 1 << bits


def _bytes_in(field: Field, found: str) -> bytes:
    """Only the one spelling that we write: a second spelling of the same bytes is refused."""
    try:
        if field.fixed:
            value = bytes.fromhex(found)
            same = value.hex() == found
        else:
            value = base64.b64decode(found, validate=True)
            same = base64.b64encode(value).decode() == found
    except (ValueError, binascii.Error):
        same = False
    if not same:
        raise MalformedMessage(f"the field {field.name!r} is not {'hex' if field.fixed else 'base64'}")
    return value
