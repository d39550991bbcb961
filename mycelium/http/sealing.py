"""Answers sealed with the symmetric key of their request, where both sides are ours; Fiber's answers are plain.

The client asks by a header that a Fiber miner passes over. What is sealed begins with the nonce of the request, so
that no answer can be put under another request. A whole answer is one Fernet token; a stream is a token in each line,
numbered, and ended by one that says so: none can be dropped, moved or cut off unseen. Nor can the seal be taken off: a
miner that signs its key seals, and nothing else is taken of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import httpx
from cryptography.fernet import Fernet, InvalidToken

from mycelium.config import HTTP_KEYS_MAX
from mycelium.errors import BrokenSeal
from mycelium.http.remembered import Remembered

ACCEPT: Final = "mycelium-accept"
SEALED: Final = "mycelium-sealed"
ENCODING: Final = "mycelium-encoding"
"""What Content-Encoding the answer had before it was sealed; over what is sealed it would tell a lie."""
FERNET: Final = "fernet"
STREAM: Final = "fernet-stream"
SEALING: Final = Remembered(HTTP_KEYS_MAX)
"""Uuids of keys that were given to a miner whose own key proved that it is one of ours: it seals."""
_NO_CONTENT: Final = (204,)
_LINE: Final = "line:"
"""Nothing seals the header that tells a stream from a whole answer: a line of one must not pass for the other."""
_END: Final = b"end"
_DATA: Final = b"data"
_NUMBER_BYTES: Final = 8
_KIND_BYTES: Final = 4
_HEAD_BYTES: Final = _NUMBER_BYTES + _KIND_BYTES


def is_sealed(response: httpx.Response) -> bool:
    """Whether an answer is sealed, whole or as a stream."""
    return SEALED in response.headers


def sealed(fernet: Fernet, nonce: str, data: bytes) -> bytes:
    """A whole answer."""
    return fernet.encrypt(_bound(nonce) + data)


def opened(response: httpx.Response, fernet: Fernet, nonce: str, uuid: str = "") -> httpx.Response:
    """The answer in plain text; itself if it is not sealed. BrokenSeal for one that was changed.

    uuid: of the key. Of a miner that seals, what is not sealed is no answer to a request that was let in.
    """
    how = response.headers.get(SEALED)
    if how is None:
        check_sealed(response, uuid)
        return response
    if how == STREAM:
        opener = Opener(fernet, nonce)
        content = b"".join(opener.feed(response.content))
        opener.finish()
    else:
        content = _open(fernet, _bound(nonce), response.content)
    found = httpx.Response(
        response.status_code,
        headers=_headers(response),
        content=content,
        request=response.request,
        extensions=response.extensions,
    )
    with contextlib.suppress(RuntimeError):  # a stream has none until it is over
        found.elapsed = response.elapsed
    return found


def check_sealed(response: httpx.Response, uuid: str) -> None:
    """BrokenSeal for an answer without a seal where there must be one. Refusals may come of who has no key: a proxy."""
    if uuid in SEALING and response.is_success and response.status_code not in _NO_CONTENT:
        raise BrokenSeal("this miner seals its answers, and this one is not: somebody has taken the seal off")


async def opened_lines(response: httpx.Response, fernet: Fernet, nonce: str) -> AsyncIterator[str]:
    """The lines of a sealed answer, as `aiter_lines` gives them of a plain one. BrokenSeal."""
    if response.headers[SEALED] == STREAM:
        plain = httpx.Response(
            response.status_code,
            headers=_headers(response),
            stream=_Opened(response, fernet, nonce),
            request=response.request,
        )
    else:
        # It came in one piece, though it was asked for as a stream.
        await response.aread()
        plain = opened(response, fernet, nonce)
    async for line in plain.aiter_lines():
        yield line


class _Opened(httpx.AsyncByteStream):
    """The body of an answer that is opened as it comes."""

    def __init__(self, response: httpx.Response, fernet: Fernet, nonce: str) -> None:
        self._response = response
        self._opener = Opener(fernet, nonce)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Not as it was on the wire: a middleware of the miner's may have compressed what was sealed.
        async for chunk in self._response.aiter_bytes():
            for piece in self._opener.feed(chunk):
                yield piece
        self._opener.finish()


def _headers(response: httpx.Response) -> list[tuple[str, str]]:
    """Those of the answer as it was before it was sealed."""
    return [
        ("content-encoding" if name.lower() == ENCODING else name, value)
        for name, value in response.headers.multi_items()
        if name.lower() not in {SEALED, "content-length", "content-encoding", "transfer-encoding"}
    ]


class Sealer:
    """Makes the lines of one sealed stream."""

    def __init__(self, fernet: Fernet, nonce: str) -> None:
        self._fernet = fernet
        self._bound = _bound(nonce, _LINE)
        self._next = 0

    def line(self, data: bytes, *, last: bool = False) -> bytes:
        """One line; the last one carries no data."""
        kind = _END if last else _DATA
        number = self._next.to_bytes(_NUMBER_BYTES, "big")
        self._next += 1
        return self._fernet.encrypt(self._bound + number + kind.ljust(_KIND_BYTES) + data) + b"\n"


class Opener:
    """Reads them, however they were cut on the way."""

    def __init__(self, fernet: Fernet, nonce: str) -> None:
        self._fernet = fernet
        self._bound = _bound(nonce, _LINE)
        self._next = 0
        self._rest: list[bytes] = []
        self._ended = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the lines that are whole now. BrokenSeal."""
        # A line may come in thousands of chunks: each byte of it is copied once.
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        found = []
        for line in lines:
            plain = _open(self._fernet, self._bound, line)
            number, kind = int.from_bytes(plain[:_NUMBER_BYTES], "big"), plain[_NUMBER_BYTES:_HEAD_BYTES]
            if number != self._next or self._ended:
                raise BrokenSeal("a line of the stream is missing, or came twice")
            self._next += 1
            self._ended = kind.strip() == _END
            found.append(plain[_HEAD_BYTES:])
        return found

    def finish(self) -> None:
        """The stream is over. BrokenSeal where its end did not say so."""
        if self._rest or not self._ended:
            raise BrokenSeal("the stream was cut off")


def _bound(nonce: str, before: str = "") -> bytes:
    return f"{before}{nonce}\n".encode()


def _open(fernet: Fernet, bound: bytes, token: bytes) -> bytes:
    try:
        plain = fernet.decrypt(token)
    except InvalidToken:
        raise BrokenSeal("the answer was changed on the way, or sealed with another key") from None
    if not plain.startswith(bound):
        raise BrokenSeal("the answer is another request's")
    return plain[len(bound) :]
