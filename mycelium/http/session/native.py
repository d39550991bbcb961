"""A miner's native handlers: typed functions that answer calls without a web framework in between.

```python
calls = Calls()

@calls.on("/ask")
async def ask(question: Question) -> Answer: ...

@calls.on("/lines")
async def lines(question: Question, validator: Validator) -> AsyncIterator[str]:
    yield "a line\\n"

app = factory_app(calls=calls)
```

Types are msgspec's or pydantic's. Owns decoding, encoding and what errors become; whoever serves them checks who asks.
Knows no web framework: an exception with `status_code` and `detail` is one of FastAPI's.
"""

from __future__ import annotations

import inspect
import json
import logging
import typing
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
import msgspec.inspect
from pydantic import BaseModel, TypeAdapter, ValidationError

from mycelium.errors import RequestRefused, UsageError
from mycelium.http.session.message import JSON_HEAD, JSON_HEADERS, head

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
Decode = Callable[[bytes], Any]

_METHODS: Final = ("GET", "POST")
_OCTETS: Final = ((b"content-type", b"application/octet-stream"),)
_TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
_NONCE: Final = "nonce"


@dataclass(frozen=True, slots=True)
class Validator:
    """Who asks, as the chain has it. hotkey: SS58. node: of the miner's metagraph, with its stake and uid."""

    hotkey: str
    node: Any


class Calls:
    """The native handlers of one miner."""

    def __init__(self) -> None:
        self._natives: dict[tuple[str, str], Native] = {}

    def on(self, endpoint: str, *, method: str = "POST") -> Callable[[F], F]:
        """Answer requests to this endpoint ("/path"): an async function, or an async generator for a stream.

        Its first argument is the request's JSON as the type that it is annotated with; one annotated `Validator` is
        who asks. What it returns is encoded as JSON; a generator's text and bytes go as they are, other items as
        lines of JSON. `RequestRefused(status, detail)` and FastAPI's HTTPException are answers too.

        Raises UsageError for a function that is not async, arguments that cannot be filled, an endpoint that is taken.
        """
        if method not in _METHODS:
            raise UsageError(f"a call's method is GET or POST, not {method!r}")
        if not endpoint.startswith("/") or "?" in endpoint or not endpoint.isascii():
            raise UsageError(f"an endpoint is a path, as /ask would be, not {endpoint!r}")
        if (method, endpoint) in self._natives:
            raise UsageError(f"{method} {endpoint} has a handler already")

        def register(function: F) -> F:
            self._natives[method, endpoint] = Native(endpoint, method, function)
            return function

        return register

    def find(self, method: str, target: str) -> Native | None:
        """The handler of a request. target: the path, and perhaps a query, which no handler sees."""
        return self._natives.get((method, target.partition("?")[0]))

    def __iter__(self) -> Iterator[Native]:
        return iter(self._natives.values())


class Native:
    """One handler. streams: whether it is a generator."""

    def __init__(self, endpoint: str, method: str, function: Callable[..., Any]) -> None:
        self.endpoint = endpoint
        self.method = method
        self.streams = inspect.isasyncgenfunction(function)
        self._function = function
        if not (self.streams or inspect.iscoroutinefunction(function)):
            raise UsageError(f"{_name(function)} is not async: write `async def`, and `yield` for a stream")
        self._decode, self._wants = _read_signature(function, method)

    async def answer(self, body: bytes, validator: Validator) -> bytes:
        """The whole answer, as `message` lays it out. Errors are answers."""
        try:
            found = await self._function(*self._arguments(body, validator))
            return _encoded(found)
        except Exception as error:  # noqa: BLE001 - it is answered, and logged if it is nobody's answer
            return self.failed(error)

    async def items(self, body: bytes, validator: Validator) -> AsyncGenerator[bytes, None]:
        """The answer of a generator in items. An error before the first is an answer, a later one is raised."""
        begun = False
        try:
            async for item in self._function(*self._arguments(body, validator)):
                data = _line(item)
                if begun:
                    yield data
                else:
                    begun = True
                    yield head(200, _TEXT) + data
        except Exception as error:
            if begun:
                raise
            yield self.failed(error)
            return
        if not begun:
            yield head(200, _TEXT)

    def _arguments(self, body: bytes, validator: Validator) -> list[Any]:
        payload = None if self._decode is None else self._decode(body)
        return [validator if wanted else payload for wanted in self._wants]

    def failed(self, error: Exception) -> bytes:
        """The answer that an error is."""
        status, detail = 500, "Internal Server Error"
        headers = list(JSON_HEADERS)
        framework_status = getattr(error, "status_code", None)
        if isinstance(error, RequestRefused):
            status, detail = error.status, error.detail
        elif isinstance(framework_status, int):
            status, detail = framework_status, getattr(error, "detail", "")
            given = getattr(error, "headers", None) or {}
            headers += [(name.lower().encode(), value.encode()) for name, value in given.items()]
        else:
            log.error("the handler of %s %s failed", self.method, self.endpoint, exc_info=error)
        return head(status, headers) + msgspec.json.encode({"detail": detail})


def _read_signature(function: Callable[..., Any], method: str) -> tuple[Decode | None, tuple[bool, ...]]:
    """How the payload is decoded, None where there is none; and for each argument whether it is who asks."""
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise UsageError(f"{_name(function)}: {error}: define the type where the module can see it") from None
    decode: Decode | None = None
    wants = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise UsageError(f"{_name(function)}: the argument {name} cannot be filled; use plain ones")
        kind = hints.get(name, Any)
        if kind is Validator:
            wants.append(True)
        elif decode is None and method != "GET":
            decode = _decoder(kind)
            wants.append(False)
        elif parameter.default is parameter.empty:
            rest = "a GET has no payload" if method == "GET" else "the payload is another argument"
            raise UsageError(f"{_name(function)}: nothing is there for the argument {name}: {rest}")
    return decode, tuple(wants)


def _decoder(kind: Any) -> Decode:
    pydantic = isinstance(kind, type) and issubclass(kind, BaseModel)
    try:
        if not pydantic and isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
            raise TypeError("it is neither msgspec's nor pydantic's, no dataclass, and nothing of JSON")
        validate: Decode = TypeAdapter(kind).validate_json if pydantic else msgspec.json.Decoder(kind).decode
    except TypeError as error:
        raise UsageError(f"no payload can be read as {kind!r}: {error}") from None
    strict = _is_strict(kind)

    def decode(body: bytes) -> Any:
        try:
            return validate(_without_nonce(body) if strict else body)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestRefused(422, [{**one, "loc": ["body", *one["loc"]]} for one in details]) from None
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            detail = {"type": "json_invalid", "loc": ["body"], "msg": str(error)}
            raise RequestRefused(422, [detail]) from None

    return decode


def _is_strict(kind: Any) -> bool:
    """Whether a type refuses the nonce that validators put into what they encrypt."""
    if not isinstance(kind, type):
        return False
    if issubclass(kind, BaseModel):
        return kind.model_config.get("extra") == "forbid" and _NONCE not in kind.model_fields
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.forbid_unknown_fields and _NONCE not in kind.__struct_encode_fields__
    return False


def _without_nonce(body: bytes) -> bytes:
    fields = json.loads(body)
    if isinstance(fields, dict):
        fields.pop(_NONCE, None)
    return json.dumps(fields).encode()


def _encoded(found: Any) -> bytes:
    if isinstance(found, bytes):
        return head(200, _OCTETS) + found
    return JSON_HEAD + _json(found)


def _json(found: Any) -> bytes:
    if isinstance(found, BaseModel):
        return found.model_dump_json().encode()
    return msgspec.json.encode(found, enc_hook=_plain)


def _plain(found: Any) -> Any:
    """What msgspec does not know by itself."""
    if isinstance(found, BaseModel):
        return found.model_dump(mode="json")
    raise UsageError(f"a {type(found).__name__} has no JSON")


def _line(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    return item if isinstance(item, bytes) else _json(item) + b"\n"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
