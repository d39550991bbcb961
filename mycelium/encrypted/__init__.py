"""Encrypted calls in the shape of older programs. Sessions between nodes are always encrypted: see `mycelium.peer`."""

from mycelium.extras import need

need("fiber", "fastapi", "httpx", "httptools")
