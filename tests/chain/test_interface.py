"""The low-level interface by its known names, and its one error."""

from __future__ import annotations

import inspect
import json
import threading

import pytest
from chain.clientkit import free_port, shared, until
from substrateinterface import Keypair
from substrateinterface import SubstrateInterface as Theirs

from mycelium.chain import interface
from mycelium.chain.interface import SubstrateError, SubstrateInterface
from mycelium.devnet.chain.population import RICH_RAO, account
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import ChainError, ChainUnreachable
from mycelium.identity import account as accounts

OWNER = accounts.format(account("//owner"))
ALICE, BOB = (Keypair.create_from_uri(f"//{name}") for name in ("Alice", "Bob"))
TO_BOB = {"dest": BOB.ss58_address, "value": 10**9}


@pytest.fixture(scope="module")
def chain():
    """One for all: scalecodec takes half a second to read a chain's metadata."""
    with ThreadedChain() as running:
        yield running


@pytest.fixture(scope="module")
def client(chain):
    with SubstrateInterface(chain.url) as made:
        made.query("SubtensorModule", "Tempo", [1])
        yield made


def test_the_known_names_are_there():
    known = json.loads(shared("fiber/original_mycelium_python_api.json").read_text())[
        "mycelium.chain.interface"
    ]
    for name in known["__reexports__"]["names"]:
        assert hasattr(interface, name)
    for name, method in known["SubstrateInterface"]["methods"].items():
        ours = list(inspect.signature(getattr(SubstrateInterface, name)).parameters.values())
        theirs = method["params"]
        assert [one.name for one in ours] == [one["name"] for one in theirs]
        for one, their in zip(ours, theirs, strict=True):
            assert (one.default is inspect.Parameter.empty) == their["required"] or one.name == "self"
            if their["default"] is not None:
                assert repr(one.default) == their["default"]


def test_queries(client):
    assert isinstance(client.substrate, Theirs)
    assert client.query("SubtensorModule", "Tempo", [1]).value == 20
    assert client.query("System", "Number").value == client.get_block_number()
    assert {key.value for key, _ in client.query_map("SubtensorModule", "Keys", [1])} == {0, 1, 2, 3}
    assert client.get_account_info(OWNER)["data"]["free"] == RICH_RAO
    assert client.get_block()["header"]["number"] == client.get_block_number()
    genesis = client.substrate.hash_of(0)
    assert client.get_block_number(genesis) == 0
    assert client.get_block(genesis)["header"]["number"] == 0


@pytest.mark.parametrize(("inclusion", "finalization"), [(True, False), (False, True), (False, False)])
def test_submissions(client, inclusion, finalization):
    before = client.get_account_info(BOB.ss58_address)["data"]["free"]
    found = client.submit_extrinsic("Balances", "transfer_keep_alive", TO_BOB, ALICE, inclusion, finalization)
    assert found.startswith("0x")
    until(lambda: client.get_account_info(BOB.ss58_address)["data"]["free"] == before + 10**9)


def test_a_call_that_fails_is_an_error_by_name(client):
    with pytest.raises(SubstrateError, match=r"Extrinsic submission failed: .*Token\.FundsUnavailable"):
        client.submit_extrinsic("Balances", "transfer_keep_alive", {**TO_BOB, "value": 10**18}, ALICE)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda c: c.query("SubtensorModule", "Nonesuch"), "Query failed"),
        (lambda c: c.query("SubtensorModule", "Tempo", ["x"]), "Query failed"),
        (lambda c: c.query_map("Nonesuch", "Keys"), "Query map failed"),
        (lambda c: c.get_block("0x" + "ee" * 32), "Get block failed"),
        (lambda c: c.get_block_number("0x" + "ee" * 32), "Get block number failed"),
        (lambda c: c.get_account_info("5Grw"), "Get account info failed"),
        (lambda c: c.get_storage_key("SubtensorModule", "Nonesuch"), "Create storage key failed"),
        (lambda c: c.submit_extrinsic("Nonesuch", "x", {}, ALICE), "Extrinsic submission failed"),
        (lambda c: c.submit_extrinsic("Balances", "transfer_keep_alive", TO_BOB, None), "is no keypair"),
    ],
)
def test_what_goes_wrong_is_one_error_with_its_cause(client, ask, says):
    with pytest.raises(SubstrateError, match=says) as caught:
        ask(client)
    assert isinstance(caught.value, ChainError)
    assert caught.value.__cause__ is not None


def test_nobody_there():
    url = f"ws://127.0.0.1:{free_port()}"
    before = threading.active_count()
    interface_timeout = interface.Connection.__init__.__kwdefaults__["timeout_s"]
    assert interface_timeout > 0
    interface.Connection.__init__.__kwdefaults__["timeout_s"] = 0.2
    try:
        with pytest.raises(SubstrateError, match=f"Failed to connect to {url}: .*refused"):
            SubstrateInterface(url)
    finally:
        interface.Connection.__init__.__kwdefaults__["timeout_s"] = interface_timeout
    assert threading.active_count() <= before
    with pytest.raises(SubstrateError, match="Failed to connect"):
        SubstrateInterface("nonesuch")


def test_a_question_is_repeated_so_often_and_no_oftener(client, monkeypatch):
    tries, naps = [], []
    monkeypatch.setattr(interface.time, "sleep", naps.append)

    def fail(*arguments, **keywords):
        tries.append(arguments)
        raise ChainUnreachable("nobody")

    monkeypatch.setattr(client.substrate, "query", fail)
    with pytest.raises(SubstrateError, match="Query failed: nobody"):
        client.query("System", "Number", max_retries=4, retry_delay=0.5)
    assert (len(tries), naps) == (4, [0.5] * 3)


def test_changes_of_storage(chain, client):
    key = client.get_storage_key("SubtensorModule", "Tempo", [1])
    seen = []

    def callback(storage_key, value, update, subscription):
        seen.append((storage_key.storage_function, value.value, update))
        return True if value.value == 21 else None

    thread = threading.Thread(target=lambda: client.subscribe_storage_changes([key], callback))
    thread.start()
    until(lambda: seen)
    chain.faults.set_item("SubtensorModule", "Tempo", [1], 21)
    thread.join(10)
    chain.faults.set_item("SubtensorModule", "Tempo", [1], 20)
    assert seen == [("Tempo", 20, 0), ("Tempo", 21, 1)]


def test_closing_ends_a_subscription(chain):
    client = SubstrateInterface(chain.url)
    key = client.get_storage_key("SubtensorModule", "Tempo", [1])
    seen, ended = [], []

    def follow():
        with pytest.raises(SubstrateError, match="was closed"):
            client.subscribe_storage_changes([key], lambda *_: seen.append(1))
        ended.append(True)

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: seen)
    client.close()
    thread.join(10)
    assert ended
