"""JSON-RPC 2.0 as a Subtensor node speaks it: requests, batches, parameters, answers, errors. Sans-IO.

Owns the form of messages and the table of methods; what a method does is in `rpc_state`, `rpc_chain`,
`rpc_author` and `rpc_dev`. The codes and texts of errors are those of the real node, because clients match on
them: jsonrpsee for the protocol, polkadot-sdk `sc-rpc-api` for each module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mycelium.config import (
    DEVCHAIN_BATCH_MAX,
    DEVCHAIN_REQUEST_BYTES_MAX,
    DEVCHAIN_RESPONSE_BYTES_MAX,
)

log = logging.getLogger(__name__)

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
TOO_MANY_SUBSCRIPTIONS: Final = -32006
REQUEST_TOO_BIG: Final = -32007
RESPONSE_TOO_BIG: Final = -32008
BATCH_TOO_BIG: Final = -32010
TOO_MANY_REQUESTS: Final = -32029
"""What public gateways in front of nodes answer to a client that asks too often."""


class RpcError(Exception):
    """An answer that is an error. Never leaves the server as an exception."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


def invalid_params(why: str) -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid params", why)


# --- parameters ---------------------------------------------------------------------------------------------


def hex_bytes(value: Any) -> bytes:
    """Bytes of any length from hex digits, with or without 0x."""
    if not isinstance(value, str):
        raise invalid_params(f"invalid type: {_kind(value)}, expected a (both 0x-prefixed or not) hex string")
    digits = value.removeprefix("0x")
    try:
        if not digits or digits.isalnum():  # `fromhex` alone would skip spaces
            return bytes.fromhex(digits)
    except ValueError:
        pass
    raise invalid_params(f"invalid hex string of {len(value)} characters")


def block_hash(value: Any) -> bytes:
    """32 bytes from 0x and 64 hex digits."""
    data = hex_bytes(value)
    if len(data) != 32:
        raise invalid_params(f"invalid length {len(data) * 2}, expected a 0x-prefixed hex string of 32 bytes")
    return data


def unsigned(value: Any) -> int:
    """A u32, as a number; a hex string too, as block numbers are written."""
    if isinstance(value, str) and value.startswith("0x"):
        try:
            value = int(value, 16)
        except ValueError:
            raise invalid_params("invalid hex number") from None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise invalid_params(f"invalid value: {_kind(value)}, expected u32")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise invalid_params(f"invalid type: {_kind(value)}, expected a string")
    return value


def integer(value: Any) -> int:
    """Any whole number, negative ones too."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_params(f"invalid type: {_kind(value)}, expected an integer")
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid_params(f"invalid type: {_kind(value)}, expected a boolean")
    return value


def anything(value: Any) -> Any:
    return value


def hex_list(value: Any) -> list[bytes]:
    if not isinstance(value, list):
        raise invalid_params(f"invalid type: {_kind(value)}, expected a sequence")
    return [hex_bytes(item) for item in value]


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


# --- methods ------------------------------------------------------------------------------------------------

Convert = Callable[[Any], Any]
Parameter = tuple[str, Convert, bool]
"""Name, converter, whether it may be left out (it is None then)."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the server: `call(peer, *parameters)` gives the result or raises RpcError."""

    name: str
    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]

    def bind(self, params: Any) -> list[Any]:
        """The arguments in order, converted, from a JSON array or object. Raises RpcError -32602."""
        if params is None:
            params = []
        if isinstance(params, dict):
            params = [params.get(name) for name, _, _ in self.parameters]
        elif len(params) > len(self.parameters):
            raise invalid_params(f"expected at most {len(self.parameters)} parameters, got {len(params)}")
        bound: list[Any] = []
        for index, (name, convert, optional) in enumerate(self.parameters):
            value = params[index] if index < len(params) else None
            if value is None:
                if not optional:
                    raise invalid_params(f"missing parameter {name!r}")
                bound.append(None)
                continue
            bound.append(convert(value))
        return bound


Table = dict[str, Method]


def parameter(name: str, convert: Convert, optional: bool = False) -> Parameter:
    return (name, convert, optional)


def add(table: Table, names: Sequence[str], call: Callable[..., Any], *parameters: Parameter) -> None:
    """Put one method into the table, under each of its names."""
    for name in names:
        assert name not in table, f"{name} is declared twice"
        table[name] = Method(name, call, parameters)


# --- messages -----------------------------------------------------------------------------------------------

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def answer(data: str | bytes, table: Table, peer: Any) -> bytes | None:
    """What to send back for one message: an answer, a list of them for a batch, None for notifications.

    peer: handed to the methods as their first argument. Nothing is raised for bad input: it is answered.
    """
    if len(data) > DEVCHAIN_REQUEST_BYTES_MAX:
        return _too_big(REQUEST_TOO_BIG, "Request is too big", DEVCHAIN_REQUEST_BYTES_MAX)
    try:
        request = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _failure(None, RpcError(PARSE_ERROR, "Parse error"))
    if not isinstance(request, list):
        return _respond(request, table, peer)
    if not request:
        return _failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
    if len(request) > DEVCHAIN_BATCH_MAX:
        return _too_big(BATCH_TOO_BIG, "The batch request was too large", DEVCHAIN_BATCH_MAX)
    parts = [part for item in request if (part := _respond(item, table, peer)) is not None]
    if not parts:
        return None
    whole = b"[" + b",".join(parts) + b"]"
    if len(whole) > DEVCHAIN_RESPONSE_BYTES_MAX:
        return _too_big(RESPONSE_TOO_BIG, "Response is too big", DEVCHAIN_RESPONSE_BYTES_MAX)
    return whole


def _respond(request: Any, table: Table, peer: Any) -> bytes | None:
    if not isinstance(request, dict):
        return _failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
    identity = request.get("id")
    name = request.get("method")
    params = request.get("params")
    well_formed = (
        request.get("jsonrpc") == "2.0"
        and isinstance(name, str)
        and isinstance(params, list | dict | None)
        and (identity is None or (isinstance(identity, int | str) and not isinstance(identity, bool)))
    )
    if not well_formed:
        known = identity if isinstance(identity, int | str) and not isinstance(identity, bool) else None
        return _failure(known, RpcError(INVALID_REQUEST, "Invalid request"))
    if "id" not in request:
        return None  # a notification: nobody waits for an answer, and nothing is done
    method = table.get(str(name))
    if method is None:
        return _failure(identity, RpcError(METHOD_NOT_FOUND, "Method not found"))
    try:
        result = method.call(peer, *method.bind(params))
    except RpcError as error:
        return _failure(identity, error)
    except Exception:
        log.exception("%s failed", name)
        return _failure(identity, RpcError(INTERNAL_ERROR, "Internal error"))
    encoded = _encode({"jsonrpc": "2.0", "id": identity, "result": result})
    if len(encoded) > DEVCHAIN_RESPONSE_BYTES_MAX:
        return _too_big(RESPONSE_TOO_BIG, "Response is too big", DEVCHAIN_RESPONSE_BYTES_MAX, identity)
    return encoded


def refusal(data: str | bytes, error: RpcError) -> bytes:
    """`error` as the answer to whatever is asked in `data`, with its id where that can be read."""
    try:
        request = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = None
    if isinstance(request, list):
        identities = [item.get("id") if isinstance(item, dict) else None for item in request]
        return b"[" + b",".join(_failure(identity, error) for identity in identities) + b"]"
    return _failure(request.get("id") if isinstance(request, dict) else None, error)


def notification(method: str, subscription: str, result: Any) -> bytes:
    """What a subscription sends."""
    return _encode(
        {"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": result}}
    )


def _failure(identity: Any, error: RpcError) -> bytes:
    return _encode({"jsonrpc": "2.0", "id": identity, "error": error.body()})


def _too_big(code: int, message: str, limit: int, identity: Any = None) -> bytes:
    return _failure(identity, RpcError(code, message, f"Exceeded max limit of {limit}"))
