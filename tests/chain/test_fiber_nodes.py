"""Nodes as programs hold them: the model, its address in both spellings, and a subnet's nodes from the chain."""

from __future__ import annotations

import copy
import ipaddress
import json
import pickle

import pytest
import substrateinterface
from chain.opskit import COLD, MINERS, NETUID, PALLET, VALIDATORS, running, ss58
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from mycelium.chain import chain_utils, fetch_nodes, legacy_scale
from mycelium.chain.fetch_nodes import _get_nodes_for_uid, _ss58_encode, get_nodes_for_netuid
from mycelium.chain.models import IP, Node
from mycelium.chain.serving import serve_axon
from mycelium.errors import ChainError, ChainRefused, ChainUnreachable

OLD = {
    "hotkey": "h",
    "coldkey": "c",
    "node_id": 3,
    "incentive": 100.0,
    "netuid": 1,
    "stake": 2.5,
    "trust": 0.0,
    "vtrust": 0.5,
    "last_updated": 9.0,
    "ip": "10.0.0.1",
    "ip_type": 4,
    "port": 8091,
}
"""A node as it was before alpha and TAO were told apart."""


# --- addresses --------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_an_address_is_text_and_a_number(number):
    text = str(ipaddress.IPv4Address(number))
    for given_ in (number, str(number), text, IP(text)):
        ip = IP(given_)
        assert (str(ip), int(ip), ip == text, hash(ip)) == (text, number, True, hash(text))
    assert type(str(IP(number))) is str


@given(st.integers(2**32, 2**128 - 1))
def test_an_address_of_ipv6(number):
    text = str(ipaddress.IPv6Address(number))
    assert (IP(number), int(IP(text)), IP(str(number))) == (text, number, text)


@pytest.mark.parametrize("wrong", [-1, 2**128, str(2**128), True, None, 1.5, b"x"])
def test_what_is_no_address(wrong):
    with pytest.raises(ValueError, match="is no address"):
        IP(wrong)


def test_a_host_name_stays_and_has_no_number():
    assert IP("miner.example.org") == "miner.example.org"
    with pytest.raises(ValueError, match="miner"):
        int(IP("miner.example.org"))
    assert IP() == ""


def test_an_address_survives_what_programs_do_with_it():
    ip = IP("10.0.0.1")
    for other in (copy.deepcopy(ip), pickle.loads(pickle.dumps(ip))):
        assert (type(other), int(other)) == (IP, 167_772_161)
    assert json.dumps(ip) == '"10.0.0.1"'
    assert f"http://{ip}:80" == "http://10.0.0.1:80"


# --- the model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", ["10.0.0.1", "167772161", 167_772_161, IP("10.0.0.1")])
def test_a_node_comes_back_as_it_went(ip):
    node = Node(**{**OLD, "ip": ip})
    again = (
        Node.model_validate(node.model_dump()),
        Node.model_validate(node.model_dump(mode="json")),
        Node.model_validate_json(node.model_dump_json()),
        Node(**json.loads(json.dumps(node.model_dump()))),
        node.model_copy(),
    )
    for other in (node, *again):
        assert other == node
        assert (other.ip, int(other.ip), type(other.ip)) == ("10.0.0.1", 167_772_161, IP)
    assert type(node.model_dump(mode="json")["ip"]) is str


def test_an_older_node_has_no_alpha():
    node = Node(**OLD)
    assert (node.alpha_stake, node.tao_stake, node.protocol) == (0.0, 0.0, 4)


def test_a_node_that_is_none():
    with pytest.raises(ValidationError, match="ip"):
        Node(**{**OLD, "ip": 2**128})
    with pytest.raises(ValidationError, match="hotkey"):
        Node(**{name: value for name, value in OLD.items() if name != "hotkey"})


def test_a_model_of_a_program_has_a_schema():
    class More(Node):
        extra: int = 0

    assert More(**OLD, extra=2).ip == "10.0.0.1"
    assert issubclass(Node, BaseModel)
    assert "ip" in Node.model_json_schema()["properties"]
    assert Node.model_json_schema(mode="serialization")["properties"]["ip"]["type"] == "string"


# --- from the chain ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def link():
    with running() as (chain, connection):
        serve_axon(connection, MINERS[0], NETUID, "203.0.113.7", 8091)
        serve_axon(connection, MINERS[1], NETUID, "2001:db8::1", 8092)
        chain.faults.set_item(PALLET, "ValidatorTrust", [NETUID], [65_535, 32_768, 0, 0, 0, 0])
        chain.faults.set_item(PALLET, "Incentive", [NETUID], [0, 0, 0, 65_534, 1, 0])
        yield chain, connection


@pytest.mark.parametrize("ask", [get_nodes_for_netuid, _get_nodes_for_uid])
def test_all_nodes(link, ask):
    _, connection = link
    nodes = ask(connection, NETUID)
    assert [node.hotkey for node in nodes] == [ss58(pair) for pair in (*VALIDATORS, *MINERS)]
    first, second, _, miner, other, silent = nodes
    assert (first.stake, first.alpha_stake + first.tao_stake > 0) == (3000.0, True)
    assert second.coldkey == ss58(COLD)
    assert (first.vtrust, second.vtrust, first.trust) == (1.0, 32_768 / 65_535, 0.0)
    assert (miner.incentive, other.incentive) == (65_534.0, 1.0)
    assert (miner.ip, int(miner.ip), miner.ip_type, miner.port) == ("203.0.113.7", 3_405_803_783, 4, 8091)
    assert (other.ip, other.ip_type) == ("2001:db8::1", 6)
    assert (silent.ip, int(silent.ip), silent.port, silent.ip_type) == ("0.0.0.0", 0, 0, 0)
    assert [node.node_id for node in nodes] == list(range(6))
    assert {node.netuid for node in nodes} == {NETUID}


def test_at_a_block(link):
    _, connection = link
    assert get_nodes_for_netuid(connection, NETUID, block=0)[3].port == 0
    assert get_nodes_for_netuid(substrate=connection, netuid=NETUID, block=1)[3].port == 8091
    with pytest.raises(ChainError, match="no block 99999 yet"):
        get_nodes_for_netuid(connection, NETUID, 99_999)
    with pytest.raises(ChainError, match="no subnet 99"):
        get_nodes_for_netuid(connection, 99)


def test_the_connection_is_left_as_it_was(link):
    _, connection = link
    socket = connection.access.rpc.socket
    get_nodes_for_netuid(connection, NETUID)
    assert connection.access.rpc.socket is socket


def test_over_another_librarys_connection(link):
    chain, _ = link
    theirs = substrateinterface.SubstrateInterface(url=chain.url)
    assert len(get_nodes_for_netuid(theirs, NETUID)) == 6
    assert theirs.websocket.connected
    theirs.close()


def test_a_block_that_comes_in_between(monkeypatch):
    """Both halves of the answer are of one block, though another one was made between the two questions."""
    with running() as (chain, connection):
        chain.faults.set_item(PALLET, "ValidatorTrust", [NETUID], [1, 2, 3, 4, 5, 6])
        real = fetch_nodes.neurons.read

        def read(*arguments, **keywords):
            found = real(*arguments, **keywords)
            chain.faults.set_item(PALLET, "ValidatorTrust", [NETUID], [9] * 6)
            return found

        monkeypatch.setattr(fetch_nodes.neurons, "read", read)
        found = get_nodes_for_netuid(connection, NETUID)
        assert [round(node.vtrust * 65_535) for node in found] == [1, 2, 3, 4, 5, 6]


def test_a_chain_that_keeps_no_validator_trust(link, monkeypatch):
    _, connection = link
    monkeypatch.setattr(type(connection), "has_storage", lambda *_: False)
    assert {node.vtrust for node in get_nodes_for_netuid(connection, NETUID)} == {0.0}


def test_nobody_answers():
    from mycelium.chain.connection import Connection

    with (
        Connection("ws://127.0.0.1:1", cache_dir=None, timeout_s=0.2) as dead,
        pytest.raises(ChainUnreachable),
    ):
        get_nodes_for_netuid(dead, NETUID)


def test_what_a_program_puts_in_its_place(link, monkeypatch):
    _, connection = link
    monkeypatch.setattr(fetch_nodes, "_get_nodes_for_uid", lambda *_: ["mine"])
    assert get_nodes_for_netuid(connection, NETUID) == ["mine"]


def test_accounts_as_numbers():
    account = COLD.account
    assert _ss58_encode(list(account)) == _ss58_encode([list(account)]) == ss58(COLD)
    assert _ss58_encode((tuple(account),)) == _ss58_encode(ss58(COLD)) == ss58(COLD)
    assert _ss58_encode(list(account), ss58_format=0)[0] == "1"
    with pytest.raises(ValueError):
        _ss58_encode([1, 2, 3, 4, 5])


# --- as they were read in 2024 ----------------------------------------------------------------------------


def warned():
    return pytest.warns(DeprecationWarning, match="types of 2024")


def test_old_helpers(link):
    _, connection = link
    definition = fetch_nodes.type_registries.TYPE_REGISTERY["runtime_api"]["NeuronInfoRuntimeApi"]["methods"]
    params = definition["get_neuron_lite"]["params"]
    assert fetch_nodes._encode_params(connection, params, [1, 2]) == "0x01000200"
    assert fetch_nodes._encode_params(connection, params, {"uid": 2, "netuid": 1}) == "0x01000200"
    for wrong in ({"netuid": 1}, [1]):
        with pytest.raises(ValueError, match="Missing param uid in params"):
            fetch_nodes._encode_params(connection, params, wrong)
    assert (fetch_nodes._normalise_u16_float(65_535), fetch_nodes._rao_to_tao(5 * 10**8)) == (1.0, 0.5)


def test_old_ways_to_the_nodes(link):
    _, connection = link
    with warned():
        answer = fetch_nodes._query_runtime_api(
            connection, "NeuronInfoRuntimeApi", "get_neurons_lite", [NETUID]
        )
    with warned():
        nodes = fetch_nodes._get_nodes_from_vec8(bytes.fromhex(answer[2:]))
    fresh = get_nodes_for_netuid(connection, NETUID)
    assert [(one.hotkey, one.ip, one.port, one.incentive) for one in nodes] == [
        (one.hotkey, one.ip, one.port, one.incentive) for one in fresh
    ]
    assert nodes[0].stake > 0
    with warned(), pytest.raises(ValueError, match="no list of NeuronInfoLite"):
        fetch_nodes._get_nodes_from_vec8(b"\xfc\x01")


def test_old_requests(link):
    _, connection = link
    ask = fetch_nodes._execute_rpc_request
    assert ask(connection, "Core_version", "0x")["result"].startswith("0x")
    assert ask(connection, "Core_version", "0x", block=1)["result"].startswith("0x")
    with pytest.raises(ChainRefused):
        ask(connection, "No_thing", "0x")
    with warned(), pytest.raises(ChainError, match=r"no runtime API No\.thing"):
        fetch_nodes._query_runtime_api(connection, "No", "thing", None)


def test_an_old_answer_of_nothing(link, monkeypatch):
    monkeypatch.setattr(legacy_scale, "_execute_rpc_request", lambda *_: {"result": "0x0400"})
    with warned():
        assert (
            fetch_nodes._query_runtime_api(
                link[1], "SubnetRegistrationRuntimeApi", "get_network_registration_cost", None
            )
            is None
        )


def test_a_coldkey_that_is_named_twice_counts_twice():
    axon = {"ip": 167_772_161, "ip_type": 4, "port": 1, "protocol": 4}
    info = {
        "hotkey": f"0x{COLD.account.hex()}",
        "coldkey": ss58(COLD),
        "uid": 1,
        "netuid": 1,
        "incentive": 5,
        "trust": 0,
        "validator_trust": 65_535,
        "last_update": 8,
        "axon_info": axon,
    }
    node = fetch_nodes._get_node_from_neuron_info({**info, "stake": [("a", 10**9), ("a", 10**9)]})
    assert (node.stake, node.vtrust, node.ip) == (2.0, 1.0, "10.0.0.1")
    assert node.hotkey == node.coldkey == ss58(COLD)
    assert fetch_nodes._get_node_from_neuron_info({**info, "stake": {"a": 10**9}}).stake == 1.0


def test_scale_objects(monkeypatch):
    from scalecodec import ScaleBytes

    decode = chain_utils.create_scale_object_from_scale_encoding
    with warned():
        made = chain_utils.create_scale_object_from_scale_bytes("u16", ScaleBytes("0x0100"))
    assert made.decode() == 1
    with warned():
        assert decode([1, 0], "u16") == 1
        assert decode(b"\x08\x01\x00\x02\x00", "u16", is_vec=True) == [1, 2]
        assert decode(ScaleBytes(b"\x08\x00\x01\x02\x00"), "u16", True, True) == [None, 2]
    with pytest.raises(TypeError, match=r"input_ must be a List\[int\], bytes, or ScaleBytes"):
        decode("0x01", "u16")
    with warned(), pytest.raises(ValueError, match="no u64"):
        decode(b"\x01", "u64")
    with warned(), pytest.raises(ValueError, match="not known"):
        decode(b"\x01", "NoSuchThing")
    # Programs put one of their own in its place.
    monkeypatch.setattr(chain_utils, "create_scale_object_from_scale_bytes", lambda *_: made, raising=False)
    made.data.reset()
    assert decode(b"", "whatever") == 1
