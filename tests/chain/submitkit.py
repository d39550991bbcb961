"""What tests of submissions share: accounts, a transfer, and threads whose outcome is asked for."""

from __future__ import annotations

import contextlib
import threading

from chain.clientkit import Eager

from mycelium.chain.connection import Connection
from mycelium.errors import ChainError
from mycelium.identity.keys import Keypair

ALICE, BOB, POOR = (Keypair.development(f"//{name}") for name in ("Alice", "Bob", "poor"))
TAO = 10**9


@contextlib.contextmanager
def to(chain, **keywords):
    with Connection(chain.url, cache_dir=None, rng=Eager(), scan_s=0.01, **keywords) as connection:
        yield connection


def transfer(connection, amount=TAO, to=BOB):
    return connection.compose("Balances", "transfer_keep_alive", {"dest": to.account, "value": amount})


def balance(connection, keypair):
    return connection.read("System", "Account", [keypair.account])["data"]["free"]


class Later:
    """Something done on another thread; `result()` is what it returned or raised."""

    def __init__(self, do):
        self._outcome = None
        self._thread = threading.Thread(target=self._run, args=(do,))
        self._thread.start()

    def _run(self, do):
        try:
            self._outcome = (do(), None)
        except ChainError as error:
            self._outcome = (None, error)

    @property
    def done(self):
        return self._outcome is not None

    def result(self):
        self._thread.join(20)
        value, error = self._outcome
        if error is not None:
            raise error
        return value


def pooled(chain):
    return chain.run(lambda core: len(core.pool))
