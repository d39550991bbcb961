"""A JSON-RPC client without a socket, for tests of the methods. No assertions about the chain live here."""

from __future__ import annotations

import msgspec
from devnet.chain.fakechain import make_core

from mycelium.devnet.chain import rpc
from mycelium.devnet.chain.faults import Faults
from mycelium.devnet.chain.server import table
from mycelium.devnet.chain.subscriptions import Hub

TABLE = table()


class Client:
    """A connection without a socket: what is pushed is kept."""

    def __init__(self, core=None):
        self.core = core or make_core()
        self.hub = Hub(self.core)
        self.faults = Faults(self.core, lambda: 0)
        self.pushed = []

    def push(self, data):
        self.pushed.append(msgspec.json.decode(data))

    def raw(self, data):
        answer = rpc.answer(data, TABLE, self)
        return None if answer is None else msgspec.json.decode(answer)

    def ask(self, method, *params):
        answer = self.raw(
            msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        )
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
        return answer["result"] if "result" in answer else answer["error"]

    def notes(self, subscription):
        """What that subscription was sent since it was last looked at."""
        mine = [
            note["params"]["result"] for note in self.pushed if note["params"]["subscription"] == subscription
        ]
        self.pushed = [note for note in self.pushed if note["params"]["subscription"] != subscription]
        return mine


def hexed(data):
    return "0x" + data.hex()
