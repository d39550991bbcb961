"""Calls a `dev_*` method of a development chain that runs in another process. Owns one connection per call."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException
from websockets.sync.client import connect

from mycelium.devnet.chain.rpc_dev import rpc_name
from mycelium.devnet.chain.server import DEV_PATH
from mycelium.errors import ChainRefused, ChainUnreachable, UsageError

ANSWER_S: Final = 60


def call(url: str, name: str, arguments: list[Any]) -> Any:
    """Call a `dev_*` method; its result. Raises ChainUnreachable, ChainRefused, UsageError."""
    request = {"jsonrpc": "2.0", "id": 1, "method": rpc_name(name), "params": arguments}
    try:
        with connect(url.rstrip("/") + DEV_PATH, compression=None, max_size=None) as wire:
            wire.send(msgspec.json.encode(request).decode())
            answer = msgspec.json.decode(wire.recv(timeout=ANSWER_S))
    except InvalidURI:
        raise UsageError(f"{url!r} is not the address of a chain, as ws://127.0.0.1:9944 would be") from None
    except InvalidHandshake:
        raise ChainUnreachable(f"{url}: something answers, but not a chain") from None
    except (OSError, TimeoutError, WebSocketException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ChainUnreachable(
            f"{url}: {why.lower()}", "Is it running? Start one with `mycelium devnet chain`."
        ) from None
    if "error" in answer:
        error_ = answer["error"]
        if error_["code"] == -32601:
            raise UsageError(f"{url} is a chain, but not one for development: it has no {request['method']}")
        raise ChainRefused(str(error_.get("data") or error_["message"]), code=error_["code"])
    return answer["result"]
