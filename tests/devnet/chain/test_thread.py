"""A chain in a thread: started, used from this one, ended; errors come back as themselves."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from devnet.chain.fakechain import FakeRuntime, FakeSpec, extrinsic
from websockets.sync.client import connect

from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import AddressInUse, UsageError


def fake(**keywords):
    return ThreadedChain(FakeSpec(), make_runtime=FakeRuntime, **keywords)


def ask(wire, method, *params):
    wire.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    return json.loads(wire.recv(timeout=10)).get("result")


def test_it_serves_and_is_driven_from_here():
    with fake(blocks="manual") as chain, connect(chain.url) as wire:
        assert ask(wire, "chain_getBlockHash", 0) == "0x" + chain.genesis.hex()
        head = chain.step(3)
        assert ask(wire, "chain_getHead") == head
        chain.run(lambda core: core.submit(extrinsic()))
        chain.step()
        assert ask(wire, "state_getStorage", "0x" + b"kv:a".hex()) == "0x31"


def test_instant_is_what_it_does_without_being_told():
    with fake() as chain, connect(chain.url) as wire:
        ask(wire, "author_submitExtrinsic", "0x" + extrinsic().hex())
        assert ask(wire, "chain_getHeader")["number"] == "0x1"


def test_faults_run_on_its_thread():
    with fake(blocks="manual", finality_lag=9) as chain:
        chain.step(3)
        assert chain.faults.reorg(2).startswith("0x")
        assert chain.faults.status()["silent"] is False
        with pytest.raises(UsageError, match="force it"):
            chain.faults.reorg(50)


def test_what_is_raised_there_is_raised_here():
    with fake() as chain, pytest.raises(ZeroDivisionError):
        chain.run(lambda core: 1 // 0)


def test_it_leaves_nothing_behind():
    with fake(blocks="time", block_ms=5) as chain:
        port = chain.server.port
    assert not [thread for thread in threading.enumerate() if thread.name == "devchain"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AddressInUse):
            fake(port=taken.getsockname()[1]).start()
