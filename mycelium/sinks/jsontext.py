"""A value as JSON text, without loss: what JSON or PostgreSQL has not is an object with one name that begins with $.

    bytes       {"$bytes": "<base64>"}      text with a NUL, which PostgreSQL cannot hold   {"$utf8": "<base64>"}
    NaN         {"$float": "NaN"}           an object whose names are not all such text     {"$pairs": [[name, value]]}
    a time      {"$time": "2026-01-02T.."}  an extension of msgpack                         {"$ext": [code, "<base64>"]}
    nested deep {"$msgpack": "<base64>"}

An object that looks like one of these is written as $pairs, so that two values never have one text. Pure.
"""

from __future__ import annotations

import base64
import math
from datetime import datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_PLAIN = frozenset({bool, type(None)})


def json_text(value: Any) -> str:
    """The JSON of a value that `database.value` decodes."""
    try:
        return _encode(_plain(value)).decode()
    except RecursionError:
        # Some hundred levels deep: nobody queries that, and a writer must not stop a sink with it.
        return _encode({"$msgpack": _base64(msgspec.msgpack.encode(value))}).decode()


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return value if "\0" not in value else {"$utf8": _base64(value.encode())}
    if kind is int or kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": float_text(value)}
    if kind is dict:
        return _object(value)
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if kind is bytes:
        return {"$bytes": _base64(value)}
    if kind is datetime:
        return {"$time": value.isoformat()}
    if kind is msgspec.msgpack.Ext:
        return {"$ext": [value.code, _base64(bytes(value.data))]}
    return {"$text": str(value)}


def _object(value: dict[Any, Any]) -> Any:
    for name in value:
        if type(name) is not str or "\0" in name or (name[:1] == "$" and len(value) == 1):
            return {"$pairs": [[_plain(one), _plain(item)] for one, item in value.items()]}
    return {name: _plain(item) for name, item in value.items()}


def float_text(value: float) -> str:
    """As PostgreSQL writes it."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
