"""substrate-interface's own methods, over our transport: they work, they end, and threads do not disturb each other."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from chain.clientkit import Eager, until
from substrateinterface import Keypair, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from mycelium.chain import legacy
from mycelium.chain.connection import Connection
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import ChainUnreachable, ExtrinsicInvalid, ExtrinsicTimeout

ALICE, BOB = (Keypair.create_from_uri(f"//{name}") for name in ("Alice", "Bob"))


@pytest.fixture(scope="module")
def chain():
    """One for all: scalecodec takes half a second to read a chain's metadata."""
    with ThreadedChain() as running:
        yield running


@pytest.fixture(scope="module")
def client(chain):
    with Connection(chain.url, cache_dir=None, rng=Eager()) as made:
        yield made


@pytest.fixture(scope="module")
def manual():
    with (
        ThreadedChain(blocks="manual") as running,
        Connection(running.url, cache_dir=None, rng=Eager()) as made,
    ):
        made.query("SubtensorModule", "Tempo", [1])
        yield running, made


@pytest.fixture
def stepped(manual):
    """A chain whose blocks are made by hand, its pool empty and its faults gone."""
    chain, _ = manual
    yield chain
    chain.faults.clear()
    chain.step(10)
    chain.faults.set_item("SubtensorModule", "Tempo", [1], 20)


@pytest.fixture
def stepping(manual):
    return manual[1]


def signed(client, value=10**9, **keywords):
    call = client.compose_call("Balances", "transfer_keep_alive", {"dest": BOB.ss58_address, "value": value})
    return client.create_signed_extrinsic(call, ALICE, **keywords)


def test_scalecodec_loads_nothing_before_it_is_used(chain):
    with Connection(chain.url, cache_dir=None) as client:
        client.read("SubtensorModule", "Tempo", [1])
        assert client.metadata is None
        assert not client._types_loaded
        assert client.query("SubtensorModule", "Tempo", [1]).value == 20
        assert client.metadata is not None


def test_reads(client):
    assert client.chain == "Mycelium development chain"
    assert client.properties["tokenSymbol"] == "TAO"
    assert client.ss58_format == 42
    keys = {
        key.value: value.value for key, value in client.query_map("SubtensorModule", "Keys", [1], page_size=3)
    }
    assert len(keys) == 4
    assert client.get_constant("System", "SS58Prefix").value == 42
    assert client.get_block_number(client.get_block_hash(0)) == 0
    assert client.get_block(block_number=0)["header"]["number"] == 0
    storage_key = client.create_storage_key("SubtensorModule", "Tempo", [1])
    assert [(key.storage_function, value.value) for key, value in client.query_multi([storage_key])] == [
        ("Tempo", 20)
    ]
    assert client.get_metadata_call_function("SubtensorModule", "set_weights").name == "set_weights"
    assert client.rpc_request("system_chain", None)["result"] == "Mycelium development chain"


def test_submissions(client):
    receipt = client.submit_extrinsic(signed(client), wait_for_inclusion=True)
    assert receipt.is_success
    assert receipt.triggered_events
    receipt = client.submit_extrinsic(signed(client, era={"period": 8}), wait_for_finalization=True)
    assert receipt.finalized
    receipt = client.submit_extrinsic(signed(client, value=10**18), wait_for_inclusion=True)
    assert not receipt.is_success
    assert client.submit_extrinsic(signed(client)).extrinsic_hash.startswith("0x")


def test_two_submissions_in_one_block(stepped, stepping):
    before = stepping.query("System", "Account", [ALICE.ss58_address]).value["nonce"]
    for _ in range(2):
        stepping.submit_extrinsic(signed(stepping))
    assert stepped.run(lambda core: len(core.pool)) == 2
    stepped.step()
    assert stepping.query("System", "Account", [ALICE.ss58_address]).value["nonce"] == before + 2


def test_a_refusal_is_substrate_interfaces_own(client):
    with pytest.raises(SubstrateRequestException, match="Method not found"):
        client.rpc_request("no_such_method", [])
    client.submit_extrinsic(signed(client), wait_for_inclusion=True)
    with pytest.raises(SubstrateRequestException) as caught:
        client.submit_extrinsic(signed(client, nonce=0))
    assert caught.value.args[0]["code"] == 1010


def test_a_submission_that_never_comes_into_a_block_is_not_waited_for_for_ever(
    stepped, stepping, monkeypatch
):
    monkeypatch.setattr(legacy, "CHAIN_INCLUSION_S", 0.2)
    with pytest.raises(ExtrinsicTimeout, match="in no block within"):
        stepping.submit_extrinsic(signed(stepping), wait_for_inclusion=True)


def test_a_submission_that_the_node_gives_up_is_not_waited_for_for_ever(stepped, stepping):
    caught = []

    def submit():
        with pytest.raises(ExtrinsicInvalid) as raised:
            stepping.submit_extrinsic(
                signed(stepping, nonce=10**6, era={"period": 4}), wait_for_inclusion=True
            )
        caught.append(raised.value)

    thread = threading.Thread(target=submit)
    thread.start()
    until(lambda: stepped.run(lambda core: len(core.pool)))
    stepped.step(8)
    thread.join(10)
    assert "it is invalid" in caught[0].what


def test_a_submission_whose_watch_is_lost_says_so(stepped, stepping):
    caught = []

    def submit():
        with pytest.raises(ChainUnreachable) as raised:
            stepping.submit_extrinsic(signed(stepping), wait_for_inclusion=True)
        caught.append(raised.value)

    thread = threading.Thread(target=submit)
    thread.start()
    until(lambda: stepped.run(lambda core: len(core.pool)))
    stepped.faults.drop_connections()
    thread.join(10)
    assert "look for its hash" in caught[0].remedy
    # Nothing was sent a second time.
    assert stepped.run(lambda core: len(core.pool)) == 1


def test_subscriptions_outlive_a_lost_connection_and_hold_no_lock(stepped, stepping):
    key = stepping.create_storage_key("SubtensorModule", "Tempo", [1])
    seen, results = [], []

    def handler(storage_key, value, update, subscription):
        seen.append((value.value, update))
        return "done" if value.value == 22 else None

    thread = threading.Thread(target=lambda: results.append(stepping.subscribe_storage([key], handler)))
    thread.start()
    until(lambda: seen)
    # Another thread is not held up by the one that waits.
    assert stepping.query("SubtensorModule", "Tempo", [1]).value == 20
    stepped.faults.set_item("SubtensorModule", "Tempo", [1], 21)
    until(lambda: (21, 1) in seen)
    stepped.faults.drop_connections()
    until(lambda: seen.count((21, 2)) == 1)
    stepped.faults.set_item("SubtensorModule", "Tempo", [1], 22)
    thread.join(10)
    assert results == ["done"]


def test_a_subscription_by_query_and_to_heads(stepped, stepping):
    results, goal = [], stepping.head().number + 2

    def number(value, *_):
        return value.value if value.value >= goal else None

    def header(value, *_):
        return value["header"]["number"] if value["header"]["number"] >= goal else None

    threads = [
        threading.Thread(
            target=lambda: results.append(stepping.query("System", "Number", subscription_handler=number))
        ),
        threading.Thread(target=lambda: results.append(stepping.subscribe_block_headers(header))),
    ]
    before = stepped.run(lambda core: len(stepped.server.hub))
    for thread in threads:
        thread.start()
    until(lambda: stepped.run(lambda core: len(stepped.server.hub)) == before + 2)
    stepped.step()
    stepped.step()
    for thread in threads:
        thread.join(10)
    assert results == [goal, goal]


def test_closed_and_opened_again(chain):
    client = Connection(chain.url, cache_dir=None)
    assert client.websocket is None
    client.connect_websocket()
    assert client.websocket.connected
    client.close()
    with pytest.raises(ChainUnreachable, match="was closed"):
        client.rpc_request("system_chain", [])
    client.connect_websocket()
    assert client.chain == "Mycelium development chain"
    client.close()


def test_types_that_cannot_be_loaded_now_are_loaded_later(chain):
    with Connection(chain.url, cache_dir=None, rng=Eager(), timeout_s=0.3) as client:
        chain.faults.never_answer(True, ["system_chain"])
        with pytest.raises(ChainUnreachable):
            client.query("SubtensorModule", "Tempo", [1])
        assert not client._types_loaded
        chain.faults.clear()
        assert client.query("SubtensorModule", "Tempo", [1]).value == 20


def test_every_method_of_the_parent_is_there_and_guarded():
    public = {name for name in vars(SubstrateInterface) if not name.startswith("_")}
    for name in public:
        assert hasattr(Connection, name)
    for name in legacy._GUARDED:
        assert getattr(legacy.Substrate, name).__wrapped__ is getattr(SubstrateInterface, name)


def test_importing_the_client_loads_no_store_and_no_loop():
    code = "import sys, mycelium.chain.interface, mycelium.chain.aio; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    for name in ("rocksdict", "uvloop", "picows", "mycelium.node", "mycelium.database"):
        assert f"'{name}'" not in done.stdout
