"""What queries give: for programs that read `.value`, and for those that do not."""

from __future__ import annotations

import copy
import pickle

import pytest
from chain.opskit import ALICE, COLD, MINERS, NETUID, PALLET, VALIDATORS, running, ss58
from scalecodec.base import ScaleType

from mycelium.chain import chain_utils
from mycelium.chain.answers import Plain, answer, plain
from mycelium.errors import ChainError, UnknownToChain, UsageError

ME = ss58(VALIDATORS[1])


@pytest.fixture(scope="module")
def link():
    with running() as (chain, connection):
        chain_utils.serve_axon(connection, MINERS[0], "203.0.113.7", 8091, NETUID)
        chain.step(6)
        yield chain, connection


def test_numbers(link):
    _, connection = link
    number = connection.query("System", "Number")
    assert (number.value, int(number), float(number), f"{number:03d}", str(number)) == (7, 7, 7.0, "007", "7")
    assert isinstance(number, ScaleType)
    assert number == 7 != number - 1
    assert (number != 8, number < 8, number > 6, number >= 7, number <= 7) == (True,) * 5
    assert [7].index(number) == 0
    assert (number + 1, 1 + number, number - 2, 10 - number, number * 2, number / 2) == (8, 8, 5, 3, 14, 3.5)
    assert (number % 4, 15 // number, number**2, -number, abs(number), round(number)) == (3, 2, 49, -7, 7, 7)
    assert (number & 3, number | 8, number ^ 1, number + number) == (3, 15, 6, 14)
    assert len(range(number)) == 7
    assert {number: "x"}[7] == "x"
    assert not connection.query(PALLET, "CommitRevealWeightsEnabled", [NETUID])


def test_lists(link):
    _, connection = link
    updates = connection.query(PALLET, "LastUpdate", [NETUID])
    assert updates.value == [0] * 6 == updates
    assert (len(updates), sum(updates), updates[0], updates[0].value, updates[1:3]) == (6, 0, 0, 0, [0, 0])
    assert 0 in updates
    assert updates.count(0) == 6
    assert [one.value for one in updates] == list(updates) == [0] * 6
    assert not connection.query(PALLET, "Weights", [NETUID, 0])


def test_structs(link):
    _, connection = link
    axon = connection.query(PALLET, "Axons", [NETUID, ss58(MINERS[0])])
    assert (axon["port"], axon["port"].value, axon.value["port"], axon.get("port")) == (8091,) * 4
    assert dict(axon) == axon.value
    assert {**axon} == axon.value
    assert dict(axon.items()) == axon.value
    assert "port" in axon
    with pytest.raises(KeyError):
        axon["nothing"]
    account = connection.query("System", "Account", [ss58(ALICE)])
    assert account["data"]["free"] / 10**9 == account.value["data"]["free"] / 10**9 > 0


def test_text_and_nothing(link):
    _, connection = link
    owner = connection.query(PALLET, "Owner", [ME])
    assert owner == ss58(COLD) == owner.value
    assert owner.startswith("5")
    assert owner[:2] == ss58(COLD)[:2]
    assert connection.query(PALLET, "OwnedHotkeys", [owner]).value
    nobody = connection.query(PALLET, "Uids", [NETUID, ss58(COLD)])
    assert nobody.value is None
    assert nobody == None  # noqa: E711 - as programs that know plain values may write it
    assert not nobody
    with pytest.raises(AttributeError, match="nothing"):
        _ = nobody.nothing
    with pytest.raises(AttributeError, match="_private"):
        _ = nobody._private


def test_maps(link):
    _, connection = link
    found = dict(iter(connection.query_map(PALLET, "Keys", [NETUID], page_size=4)))
    assert found[1] == ME
    assert {key.value: value.value for key, value in found.items()}[1] == ME
    places = {key for key, _ in connection.query_map(PALLET, "Keys")}
    assert (NETUID, 0) in places
    key = connection.create_storage_key(PALLET, "Tempo", [NETUID])
    assert [value + 1 for _, value in connection.query_multi([key])] == [11]
    assert connection.get_constant("System", "SS58Prefix") == 42


def test_what_other_code_makes_of_them(link):
    _, connection = link
    tempo = connection.query(PALLET, "Tempo", [NETUID])
    assert answer(tempo) is tempo
    assert type(tempo).__name__ == "Answer<U16>"
    # Nothing that scalecodec makes afterwards is one by itself.
    assert type(connection.create_scale_object("u16")).__name__ == "U16"
    assert answer(5) == 5
    assert connection.get_events() is not None


def test_runtime_calls(link):
    _, connection = link
    found = connection.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [NETUID])
    assert found.value["hotkeys"][1] == found["hotkeys"][1] == ME
    assert found.get("tempo") == 10
    assert found.serialize() is found.value
    named = connection.runtime_call(
        api="SubnetInfoRuntimeApi",
        method="get_metagraph",
        params={"netuid": 99},
        block_hash=connection.hash_of(1),
    )
    assert named.value is None
    assert not named
    assert connection.runtime_call("AccountNonceApi", "account_nonce", [ss58(ALICE)]).value == 0
    with pytest.raises(ValueError, match=r"Runtime API Call 'No\.thing' not found in registry"):
        connection.runtime_call("No", "thing")
    with pytest.raises(ValueError, match="takes"):
        connection.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [])


def test_plain_ones():
    held = Plain({"a": [1, 2]})
    assert (held["a"][0], held.value, held.value_object) == (1, {"a": [1, 2]}, {"a": [1, 2]})
    assert repr(held) == "<Plain(value={'a': [1, 2]})>"
    assert copy.deepcopy(held) == held == pickle.loads(pickle.dumps(held))
    assert Plain([1, 2])[0:1] == [1]
    assert Plain(3) == Plain(3)
    assert plain(Plain(3)) == plain(3) == 3
    with pytest.raises(TypeError):
        iter(Plain(None))
    with pytest.raises(TypeError):
        hash(held)


# --- query_substrate --------------------------------------------------------------------------------------


def test_query_substrate(link):
    _, connection = link
    query = chain_utils.query_substrate
    same, tempo = query(connection, PALLET, "Tempo", [NETUID])
    assert same is connection
    assert type(tempo) is int
    _, whole = query(connection, PALLET, "Tempo", [NETUID], return_value=False)
    assert (whole.value, whole) == (10, 10)
    assert query(connection, "System", "Number", [], True, 3)[1] == 3
    assert query(connection, "System", "Number", [], return_value=False, block=0)[1].value == 0
    _, uid = query(connection, PALLET, "Uids", [NETUID, ME], False)
    assert query(connection, PALLET, "Keys", [NETUID, uid])[1] == ME
    assert query(connection, PALLET, "Uids", [NETUID, ss58(COLD)])[1] is None


def test_query_substrate_says_what_is_wrong(link):
    _, connection = link
    with pytest.raises(UnknownToChain):
        chain_utils.query_substrate(connection, PALLET, "Nothing", [])
    with pytest.raises(UsageError):
        chain_utils.query_substrate(connection, PALLET, "Tempo", [])
    with pytest.raises(ChainError, match="no block 999999 yet"):
        chain_utils.query_substrate(connection, PALLET, "Tempo", [NETUID], block=999_999)


def test_query_substrate_over_another_librarys_connection(link):
    import substrateinterface

    chain, _ = link
    theirs = substrateinterface.SubstrateInterface(url=chain.url)
    same, tempo = chain_utils.query_substrate(theirs, PALLET, "Tempo", [NETUID])
    assert same is theirs
    assert tempo == 10
    assert theirs.websocket.connected
    theirs.close()
