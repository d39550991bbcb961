"""A miner whose requests are encrypted: `server.factory_app()`, and the dependencies of its routes."""
