"""Miners of ours in this process, plain and encrypted, and their configurations without a chain."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from types import SimpleNamespace

import httpx
import uvicorn
from cryptography.fernet import Fernet
from httpwire.httpkit import MINER, OTHER, VALIDATOR

from mycelium.encrypted.miner import dependencies as encrypted_dependencies
from mycelium.encrypted.miner import server as encrypted_server
from mycelium.encrypted.miner.security.key_management import EncryptionKeysHandler
from mycelium.miner import dependencies as plain_dependencies
from mycelium.miner import server as plain_server
from mycelium.miner.security.nonce_management import NonceManager

ME = MINER.ss58_address
VALIDATOR_ADDRESS = VALIDATOR.ss58_address


class Nodes(SimpleNamespace):
    """A metagraph that nobody follows."""

    substrate = None

    def __init__(self, **stakes):
        super().__init__(
            nodes={name: SimpleNamespace(stake=stake) for name, stake in stakes.items()}, ended=False
        )

    def shutdown(self):
        self.ended = True


def nodes():
    """The validator with 5,000 TAO, another account with 1."""
    found = Nodes()
    found.nodes = {
        VALIDATOR_ADDRESS: SimpleNamespace(stake=5_000.0),
        OTHER.ss58_address: SimpleNamespace(stake=1.0),
    }
    return found


def config(*, encrypted, nonces=None, stake=1000.0):
    manager = NonceManager(nonces)
    common = {
        "keypair": MINER,
        "metagraph": nodes(),
        "min_stake_threshold": stake,
        "httpx_client": httpx.AsyncClient(),
    }
    if not encrypted:
        return SimpleNamespace(nonce_manager=manager, **common)
    handler = EncryptionKeysHandler(manager, Fernet.generate_key().decode(), "test")
    return SimpleNamespace(encryption_keys_handler=handler, **common)


def app_of(settings, *routers, encrypted, **keywords):
    server, dependencies = (
        (encrypted_server, encrypted_dependencies) if encrypted else (plain_server, plain_dependencies)
    )
    app = server.factory_app(routers=routers, **keywords)
    app.dependency_overrides[dependencies.get_config] = lambda: settings
    return app


def on_loop(test):
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


@contextlib.asynccontextmanager
async def asking(app):
    """An httpx client whose requests go to the app in this process; the app's lifespan runs."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://miner") as client:
            yield client


@contextlib.contextmanager
def serving(app, **keywords):
    """The app behind a real socket, on a thread; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", **keywords))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
