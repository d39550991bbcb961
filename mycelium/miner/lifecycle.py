"""A miner's beginning and end: its configuration, the thread that follows the chain, and what it saves. Shared."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI

from mycelium.http.session.door import Door

log = logging.getLogger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]
_END_S: Final = 5.0
"""The thread that follows the chain may be in the middle of a question when the miner ends."""


def lifespan_of(
    factory_config: Callable[[], Any],
    get_config: Callable[[], Any],
    further: Sequence[Lifespan],
    door: Door | None,
) -> Lifespan:
    """The lifespan of an app. further: entered in order once the miner is configured, left before it ends. door: its
    sessions end first."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        overridden = app.dependency_overrides.get(get_config)
        # It connects to the chain, which takes seconds: the loop goes on.
        made = await asyncio.to_thread(overridden or factory_config)
        config = await made if inspect.isawaitable(made) else made
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_end, config)
            _follow(config.metagraph, stack)
            state: dict[str, Any] = {}
            for one in further:
                state |= await stack.enter_async_context(one(app)) or {}
            if door is not None:
                stack.push_async_callback(door.close)
            yield state

    return lifespan


def _follow(metagraph: Any, stack: AsyncExitStack) -> None:
    if metagraph.substrate is None:
        stack.callback(metagraph.shutdown)
        return
    thread = threading.Thread(target=metagraph.periodically_sync_nodes, name="metagraph", daemon=True)
    thread.start()

    async def end() -> None:
        metagraph.shutdown()
        await asyncio.to_thread(thread.join, _END_S)

    stack.push_async_callback(end)


async def _end(config: Any) -> None:
    keys = getattr(config, "encryption_keys_handler", None)
    if keys is not None:
        keys.close()
    if config.httpx_client is not None:
        await config.httpx_client.aclose()
