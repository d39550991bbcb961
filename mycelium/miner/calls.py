"""Native handlers of a miner: typed functions that answer a validator's calls over its session, without FastAPI.

```python
from mycelium.miner.calls import Calls, Validator
from mycelium.miner.server import factory_app

calls = Calls()

@calls.on("/ask")
async def ask(question: Question, validator: Validator) -> Answer: ...

app = factory_app(calls=calls)
```

They answer HTTP too, as routes that check what every route checks. What one raises as `Refused(status, detail)` is
its answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from mycelium.errors import RequestRefused as Refused
from mycelium.http.session.message import Headers, split
from mycelium.http.session.native import Calls, Native, Validator
from mycelium.http.signing import VALIDATOR_HOTKEY

__all__ = ["Calls", "Refused", "Validator", "router_of"]


def router_of(
    calls: Calls,
    guards: Callable[[str], Sequence[Any]],
    body_of: Callable[..., Any],
    config_of: Callable[..., Any],
) -> APIRouter:
    """The same handlers as routes. guards: the dependencies of a method. body_of: one that gives a POST's plain body.
    config_of: one that gives the miner's configuration."""
    router = APIRouter()
    for native in calls:
        router.add_api_route(
            native.endpoint,
            _route(native, _nothing if native.method == "GET" else body_of, config_of),
            methods=[native.method],
            dependencies=list(guards(native.method)),
            response_model=None,
        )
    return router


def _route(native: Native, body_of: Callable[..., Any], config_of: Callable[..., Any]) -> Callable[..., Any]:
    async def answer(
        request: Request, body: bytes = Depends(body_of), config: Any = Depends(config_of)
    ) -> Response:
        hotkey = request.headers[VALIDATOR_HOTKEY]
        validator = Validator(hotkey, config.metagraph.nodes[hotkey])
        if not native.streams:
            return _response(*split(await native.answer(body, validator)))
        items = native.items(body, validator)
        status, headers, first = split(await anext(items))

        async def parts() -> AsyncIterator[bytes]:
            yield first
            async for item in items:
                yield item

        response = StreamingResponse(parts(), status_code=status)
        response.raw_headers = list(headers)
        return response

    return answer


async def _nothing() -> bytes:
    return b""


def _response(status: int, headers: Headers, body: bytes) -> Response:
    response = Response(body, status_code=status)
    response.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return response
