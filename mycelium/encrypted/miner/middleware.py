"""The same as `mycelium.miner.middleware`."""

from __future__ import annotations

from mycelium.miner.middleware import (
    FastAPI,
    JSONResponse,
    Request,
    Response,
    _custom_exception_handler,
    _logging_middleware,
    configure_extra_logging_middleware,
    logger,
)

__all__ = [
    "FastAPI",
    "JSONResponse",
    "Request",
    "Response",
    "_custom_exception_handler",
    "_logging_middleware",
    "configure_extra_logging_middleware",
    "logger",
]
