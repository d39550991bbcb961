"""How a miner's configuration and its framework meet the checks of `http.gate`. Shared by both kinds of miners.

Owns the translation of a refusal into the framework's, and where the layer's findings are taken from.
"""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.fernet import Fernet
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from mycelium.errors import RequestRefused
from mycelium.http import gate
from mycelium.http.gate import Claim, Nonces
from mycelium.http.layer import CHECKED, Checked, Scope, SignedRequests
from mycelium.http.session.door import Door


class ConfiguredMiner:
    """A configuration as `http.layer` wants to see it. Reads it anew each time: programs change it while it runs."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._keys = getattr(config, "encryption_keys_handler", None)

    @property
    def hotkey(self) -> str:
        """SS58."""
        return str(self._config.keypair.ss58_address)

    @property
    def keypair(self) -> Any:
        """That signs."""
        return self._config.keypair

    @property
    def netuid(self) -> int:
        """0 where its metagraph does not know."""
        netuid = getattr(self._config.metagraph, "netuid", 0)
        return netuid if isinstance(netuid, int) else 0

    @property
    def nodes(self) -> Mapping[str, Any]:
        """By hotkey."""
        nodes: Mapping[str, Any] = self._config.metagraph.nodes
        return nodes

    @property
    def stake_min(self) -> float:
        """TAO."""
        return float(self._config.min_stake_threshold)

    @property
    def nonces(self) -> Nonces:
        """Of the configuration, wherever it has them."""
        manager: Nonces = self._config.nonce_manager if self._keys is None else self._keys.nonce_manager
        return manager

    def fernet(self, validator: str, uuid: str) -> Fernet | None:
        """See `layer.Miner`."""
        info = None if self._keys is None else self._keys.get_symmetric_key(validator, uuid)
        return None if info is None else info.fernet


def guard(
    app: FastAPI, get_config: Callable[[], Any], door: Door | None, body_bytes_max: int, *, encrypted: bool
) -> None:
    """Put the layer in front of an app's routes. get_config: the dependency, which a program may override. door: for
    sessions, None where they are switched off."""

    async def miner_of(scope: Scope) -> ConfiguredMiner:
        return ConfiguredMiner(await configured_of(scope.get("app", app), get_config))

    app.add_middleware(
        SignedRequests,
        miner_of=miner_of,
        encrypted=encrypted,
        door=door,
        body_bytes_max=body_bytes_max,
    )
    app.add_exception_handler(RequestValidationError, _invalid)


async def _invalid(request: Request, error: Exception) -> Response:
    """422 as the framework answers it, which fails itself where a body is no text that it could quote."""
    assert isinstance(error, RequestValidationError), "it is registered for this one"
    try:
        return await request_validation_exception_handler(request, error)
    except (ValueError, RecursionError):
        details = [{name: one[name] for name in ("type", "loc", "msg")} for one in error.errors()]
        return JSONResponse({"detail": details}, status_code=422)


async def configured_of(app: Any, get_config: Callable[[], Any]) -> Any:
    """What the dependency `get_config` gives, or what a program has put in its place.

    A dependency that is no coroutine gets a thread for each request, which costs more than all else that is checked
    here together. Only its first call, which may connect to the chain, gets one.
    """
    chosen = _chosen(app, get_config)
    if chosen in _called:
        found = chosen()
    else:
        found = await asyncio.to_thread(chosen)
        _called.add(chosen)
    return await found if inspect.isawaitable(found) else found


async def configured(request: Request, get_config: Callable[[], Any]) -> Any:
    """The same for a request."""
    return await configured_of(request.app, get_config)


_called: weakref.WeakSet[Callable[[], Any]] = weakref.WeakSet()


def _chosen(app: Any, get_config: Callable[[], Any]) -> Callable[[], Any]:
    overrides: dict[Any, Callable[[], Any]] = getattr(app, "dependency_overrides", {})
    return overrides.get(get_config, get_config)


async def verify(request: Request | None, claim: Claim, config: Any, *, with_body: bool) -> None:
    """Raise what Fiber raises for a request that is not the validator's. with_body: its body is signed."""
    checked: Checked | None = None if request is None else request.scope.get(CHECKED)
    if checked is not None and checked.claim == claim:
        if checked.verified:
            return
        if checked.refusal is not None:
            raise refused(checked.refusal)
    body = await request.body() if request is not None and with_body else None
    miner = ConfiguredMiner(config)
    try:
        gate.check_signed(claim, gate.message_of(claim, body), miner.hotkey, miner.nonces)
    except RequestRefused as error:
        raise refused(error) from None


def check_stake(validator: str, config: Any) -> None:
    """Raise 403 for who has no place or too little stake."""
    try:
        gate.check_stake(config.metagraph.nodes, validator, config.min_stake_threshold)
    except RequestRefused as error:
        raise refused(error) from None


def refused(error: RequestRefused) -> HTTPException:
    """The framework's exception."""
    return HTTPException(status_code=error.status, detail=error.detail)
