"""Logging of requests, for development. Shared by both kinds of miners."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

__all__ = [
    "FastAPI",
    "JSONResponse",
    "Request",
    "Response",
    "configure_extra_logging_middleware",
    "logger",
]

logger = logging.getLogger(__name__)


async def _logging_middleware(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    logger.debug("%s %s", request.method, request.url.path)
    response = await call_next(request)
    if response.status_code >= 400:
        logger.error("%s %s was answered with %d", request.method, request.url.path, response.status_code)
    return response


async def _custom_exception_handler(request: Request, exc: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return JSONResponse(content={"detail": "Internal Server Error"}, status_code=500)


def configure_extra_logging_middleware(app: FastAPI) -> None:
    """Log each request, what is refused, and the trace of what fails, which is answered with 500."""
    app.middleware("http")(_logging_middleware)
    app.add_exception_handler(Exception, _custom_exception_handler)
