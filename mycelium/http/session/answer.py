"""The answer of a call as programs know answers: an httpx.Response, built only where more of it is asked for.

Status, content, text and JSON cost nothing; anything else makes the httpx.Response that it then is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import httpx

from mycelium.http.session.message import Headers

_OPTIONAL: Final = frozenset({"_raw_headers", "_text", "_encoding", "_decoder"})
"""What httpx has only once it was asked for."""


class SessionResponse(httpx.Response):
    """status_code, content, text, json(), headers, is_success, raise_for_status(), elapsed, request and all else."""

    def __init__(
        self, status: int, headers: Headers, content: bytes, method: str, url: str, took_s: float
    ) -> None:
        # Not the parent's: that takes as long as the call itself. `__getattr__` does it when it must.
        self.status_code = status
        self._content = content
        self._raw_headers = headers
        self._raw_request = method, url
        self._took_s = took_s

    def __getattr__(self, name: str) -> Any:
        """Only for what is not there yet."""
        if name in _OPTIONAL or "_raw_headers" not in self.__dict__:
            raise AttributeError(name)
        self._build()
        return object.__getattribute__(self, name)

    def _build(self) -> None:
        headers = self.__dict__.pop("_raw_headers")
        method, url = self.__dict__.pop("_raw_request")
        content = self._content
        super().__init__(
            self.status_code,
            headers=headers,
            content=content,
            request=httpx.Request(method, url),
            extensions={"http_version": b"mycelium.v1"},
        )
        self.is_closed = self.is_stream_consumed = True
        self._elapsed = timedelta(seconds=self.__dict__.pop("_took_s"))

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code <= 299

    def raise_for_status(self) -> httpx.Response:
        """Itself for 2xx; httpx.HTTPStatusError otherwise."""
        return self if self.is_success else super().raise_for_status()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, as httpx has it."""
        if "_raw_headers" in self.__dict__:
            self._build()
        state: dict[str, Any] = super().__getstate__()
        return state
