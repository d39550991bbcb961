"""substrate-interface's client over our transport: the same class and methods, with a lock, time limits and fail-over.

Programs that know `substrateinterface.SubstrateInterface` get an instance of it. Its decoder, scalecodec, is slow to
load and not safe from several threads: it is loaded when one of its methods is called, and one thread at a time is in
it. Our own reads (`connection`) do not use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final

from substrateinterface import SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from mycelium.chain.access import Access
from mycelium.chain.answers import Plain, answer
from mycelium.config import CHAIN_IDLE_S, CHAIN_INCLUSION_S
from mycelium.errors import (
    ChainRefused,
    ChainUnreachable,
    ExtrinsicInvalid,
    ExtrinsicTimeout,
    UnknownToChain,
    UsageError,
)

_WATCH: Final = "author_submitAndWatchExtrinsic"
_GIVEN_UP: Final = ("invalid", "usurped", "finalitytimeout")
"""Ends that substrate-interface waits beyond, for ever."""


class _Transport:
    """What substrate-interface sends its requests through."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def connect(self) -> None:
        self._access.reopen()
        self._access.rpc.greeting()

    def close(self) -> None:
        self._access.close()


class Substrate(SubstrateInterface):  # type: ignore[misc] # it has no types
    """See the module. Not to be made by itself: `Connection` is."""

    def __init__(self, access: Access, ss58_format: int) -> None:
        self._access = access
        self._codec_lock = threading.RLock()
        self._types_loaded = False
        # Given a socket it opens none; this one is replaced below, before anything is sent.
        super().__init__(websocket=object(), ss58_format=ss58_format)
        self.transport = _Transport(access)

    @property
    def websocket(self) -> Any:
        """websocket-client's object of the connection in use, None while there is none."""
        socket = self._access.rpc.socket
        return None if socket is None else socket.websocket

    @websocket.setter
    def websocket(self, value: object) -> None:
        del value  # set by the parent class; ours come and go with the endpoints

    @property
    def url(self) -> str:
        """The endpoint in use, or the preferred one while there is none."""
        return self._access.rpc.endpoint

    @url.setter
    def url(self, value: object) -> None:
        del value

    def connect_websocket(self) -> None:
        """Open the connection, also after `close`."""
        self.transport.connect()

    def reload_type_registry(self, use_remote_preset: bool = False, auto_discover: bool = True) -> None:
        """Load scalecodec's types; not yet while the connection is being made."""
        if self._types_loaded:
            super().reload_type_registry(use_remote_preset, auto_discover)

    def _load_types(self) -> None:
        if not self._types_loaded:
            self._types_loaded = True
            try:
                self.reload_type_registry()
            except BaseException:
                self._types_loaded = False
                raise

    def rpc_request(
        self, method: str, params: Sequence[Any] | None, result_handler: Callable[..., Any] | None = None
    ) -> Any:
        """As the parent class: the answer as a dict, or what the handler returned of a subscription.

        Raises SubstrateRequestException (the node said no), ChainUnreachable, and for a submission that is
        watched ExtrinsicInvalid and ExtrinsicTimeout.
        """
        try:
            if callable(result_handler):
                return self._follow(method, list(params or ()), result_handler)
            result = self._access.request(method, list(params or ()))
        except ExtrinsicInvalid:
            raise
        except ChainRefused as refused:
            error = {"code": refused.code, "message": refused.what, "data": refused.data}
            raise SubstrateRequestException(error) from None
        with self._codec_lock:
            self.request_id += 1
            return {"jsonrpc": "2.0", "result": result, "id": self.request_id}

    def _follow(self, method: str, params: list[Any], handler: Callable[..., Any]) -> Any:
        """Give notices to the handler until it returns something; begin anew on another connection when one ends."""
        deadline_s = time.monotonic() + CHAIN_INCLUSION_S if method == _WATCH else None
        updates = 0
        while True:
            socket, subscription = self._access.rpc.subscribe(method, params)
            try:
                while True:
                    notice = _next(subscription, deadline_s)
                    message = {
                        "jsonrpc": "2.0",
                        "method": method,
                        "params": {"subscription": subscription.id, "result": notice},
                    }
                    if deadline_s is not None:
                        _still_alive(notice)
                    with self._codec_lock:
                        result = handler(message, updates, subscription.id)
                    updates += 1
                    if result is not None:
                        return result
            except ChainUnreachable as error:
                if deadline_s is not None:
                    raise ChainUnreachable(
                        f"the watch of a submission was lost: {error.what}",
                        "it may be in a block: look for its hash before submitting anew",
                    ) from None
            finally:
                socket.unsubscribe(subscription)

    def query(self, *arguments: Any, **keywords: Any) -> Any:
        """As the parent class; the answer is also usable without `.value`, see `answers`.

        A subscription does not hold the lock while it waits.
        """
        handler = keywords.get("subscription_handler", arguments[4] if len(arguments) > 4 else None)
        if callable(handler):
            return super().query(*arguments, **keywords)
        with self._codec_lock:
            self._load_types()
            return answer(super().query(*arguments, **keywords))

    def query_map(self, *arguments: Any, **keywords: Any) -> Any:
        """As the parent class; keys and values are also usable without `.value`."""
        with self._codec_lock:
            self._load_types()
            found = super().query_map(*arguments, **keywords)
            found.records = [(_key(key), answer(value)) for key, value in found.records]
            return found

    def query_multi(self, *arguments: Any, **keywords: Any) -> Any:
        """As the parent class; values are also usable without `.value`."""
        with self._codec_lock:
            self._load_types()
            return [(key, answer(value)) for key, value in super().query_multi(*arguments, **keywords)]

    def get_constant(self, *arguments: Any, **keywords: Any) -> Any:
        """As the parent class; the constant is also usable without `.value`."""
        with self._codec_lock:
            self._load_types()
            return answer(super().get_constant(*arguments, **keywords))

    def runtime_call(
        self,
        api: str,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        block_hash: str | None = None,
    ) -> Any:
        """What a function of the runtime returns: `.value`, or as it is. params: in order, or by name.

        By scalecodec's registry where that knows the function, else by the chain's own metadata. ValueError for a
        function that neither knows, and for arguments that do not fit; else as `query`.
        """
        with self._codec_lock:
            self._load_types()
            known = self.runtime_config.type_registry.get("runtime_api", {}).get(api, {}).get("methods", {})
            if method in known:
                return answer(super().runtime_call(api, method, params, block_hash))
        ask: Callable[..., Any] = self.runtime_api  # `Connection` has it
        try:
            return Plain(ask(api, method, params or (), block_hash))
        except UnknownToChain as error:
            raise ValueError(f"Runtime API Call '{api}.{method}' not found in registry") from error
        except UsageError as error:
            raise ValueError(str(error)) from error

    def get_account_nonce(self, account_address: str) -> int:
        """The next nonce, with what waits in the node's pool: two submissions in one block work."""
        return int(self._access.request("system_accountNextIndex", [account_address]))


def _key(key: Any) -> Any:
    """A key of a map, or the keys of several maps within each other."""
    return type(key)(map(answer, key)) if isinstance(key, list | tuple) else answer(key)


def _next(subscription: Any, deadline_s: float | None) -> Any:
    while True:
        left_s = CHAIN_IDLE_S if deadline_s is None else deadline_s - time.monotonic()
        try:
            return subscription.next(max(0.0, left_s))
        except TimeoutError:
            # Silence is no fault of a subscription: the connection itself is watched by pings.
            if deadline_s is not None:
                raise ExtrinsicTimeout(
                    f"the extrinsic was in no block within {CHAIN_INCLUSION_S:.0f} s",
                    "it may still be: look for its hash before submitting anew",
                ) from None


def _still_alive(notice: Any) -> None:
    name = str(next(iter(notice), "") if isinstance(notice, dict) else notice)
    if name.lower() in _GIVEN_UP:
        raise ExtrinsicInvalid(
            f"the node gave the extrinsic up: it is {name}", "check the account's nonce and balance"
        )


def _guarded(name: str) -> Callable[..., Any]:
    """A method of the parent class, one thread at a time, with scalecodec's types loaded."""
    method = getattr(SubstrateInterface, name)

    @wraps(method)
    def guarded(self: Substrate, *arguments: Any, **keywords: Any) -> Any:
        with self._codec_lock:
            self._load_types()
            return method(self, *arguments, **keywords)

    return guarded


_GUARDED: Final = (
    "init_runtime",
    "create_storage_key",
    "retrieve_pending_extrinsics",
    "get_events",
    "get_metadata",
    "get_runtime_metadata",
    "get_block_metadata",
    "create_scale_object",
    "compose_call",
    "generate_signature_payload",
    "create_signed_extrinsic",
    "create_unsigned_extrinsic",
    "generate_multisig_account",
    "create_multisig_extrinsic",
    "get_payment_info",
    "get_type_registry",
    "get_type_definition",
    "get_metadata_modules",
    "get_metadata_module",
    "get_metadata_call_functions",
    "get_metadata_call_function",
    "get_metadata_events",
    "get_metadata_event",
    "get_metadata_constants",
    "get_metadata_constant",
    "get_metadata_storage_functions",
    "get_metadata_storage_function",
    "get_metadata_errors",
    "get_metadata_error",
    "get_metadata_runtime_call_functions",
    "get_metadata_runtime_call_function",
    "get_block",
    "get_block_header",
    "retrieve_extrinsic_by_identifier",
    "retrieve_extrinsic_by_hash",
    "get_extrinsics",
    "decode_scale",
    "encode_scale",
    "serialize_storage_item",
    "serialize_constant",
    "serialize_module_call",
    "serialize_module_event",
    "serialize_module_error",
)
"""Everything that touches scalecodec, but for what waits for notices: those decode in `_follow`, under the lock."""
for _name in _GUARDED:
    setattr(Substrate, _name, _guarded(_name))
