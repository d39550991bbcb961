"""A miner that is served over signed HTTP: `server.factory_app()`, and the dependencies of its routes."""

from mycelium.extras import need

need("fiber", "fastapi", "httpx", "httptools")
