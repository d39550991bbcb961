"""JSON-RPC 2.0 without a socket: requests, batches, parameters and errors as the real node has them."""

from __future__ import annotations

import msgspec
import pytest
from devnet.chain.rpckit import TABLE, Client, hexed
from hypothesis import given
from hypothesis import strategies as st

from mycelium import __version__
from mycelium.config import DEVCHAIN_BATCH_MAX
from mycelium.devnet.chain import rpc


@pytest.mark.parametrize("data", ["", "{", "nonsense", '{"a":}', b"\xff\xfe", "[" * 100_000])
def test_what_is_no_json(data):
    assert Client().raw(data) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "Parse error"},
    }


@pytest.mark.parametrize(
    ("request_", "id_"),
    [
        ("1", None),
        ("[]", None),
        ('"text"', None),
        ("{}", None),
        ('{"jsonrpc":"1.0","id":3,"method":"system_name"}', 3),
        ('{"jsonrpc":"2.0","id":"x","method":5}', "x"),
        ('{"jsonrpc":"2.0","id":3,"method":"system_name","params":"x"}', 3),
        ('{"jsonrpc":"2.0","id":{},"method":"system_name"}', None),
        ('{"jsonrpc":"2.0","id":true,"method":"system_name"}', None),
    ],
)
def test_what_is_no_request(request_, id_):
    error = {"code": -32600, "message": "Invalid request"}
    assert Client().raw(request_) == {"jsonrpc": "2.0", "id": id_, "error": error}


@pytest.mark.parametrize("id_", [0, 5, "a b", "", None])
def test_ids_come_back_as_they_were(id_):
    request = {"jsonrpc": "2.0", "id": id_, "method": "system_chain"}
    assert Client().raw(msgspec.json.encode(request)) == {
        "jsonrpc": "2.0",
        "id": id_,
        "result": "a fake chain",
    }


def test_a_notification_is_not_answered():
    client = Client()
    assert client.raw('{"jsonrpc":"2.0","method":"dev_step"}') is None
    assert client.core.chain.best.number == 0


@pytest.mark.parametrize(
    "method", ["chainHead_v1_follow", "archive_v1_body", "nothing", "transaction_v1_broadcast"]
)
def test_a_method_that_is_not_there(method):
    assert Client().ask(method) == {"code": -32601, "message": "Method not found"}


def test_a_batch_is_answered_in_order():
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "system_version"},
        {"jsonrpc": "2.0", "method": "system_version"},
        5,
        {"jsonrpc": "2.0", "id": 2, "method": "nothing"},
    ]
    answers = Client().raw(msgspec.json.encode(batch))
    assert [answer["id"] for answer in answers] == [1, None, 2]
    assert answers[0]["result"] == __version__
    assert Client().raw(msgspec.json.encode([batch[1]])) is None


def test_a_batch_has_a_limit():
    batch = [{"jsonrpc": "2.0", "id": 1, "method": "system_version"}] * (DEVCHAIN_BATCH_MAX + 1)
    answer = Client().raw(msgspec.json.encode(batch))
    assert answer["error"]["code"] == -32010
    assert answer["error"]["data"] == f"Exceeded max limit of {DEVCHAIN_BATCH_MAX}"


def test_requests_and_answers_have_a_limit(monkeypatch):
    client = Client()
    monkeypatch.setattr(rpc, "DEVCHAIN_RESPONSE_BYTES_MAX", 60)
    assert client.ask("rpc_methods")["code"] == -32008
    ask = {"jsonrpc": "2.0", "id": 1, "method": "system_name"}
    assert client.raw(msgspec.json.encode([ask, ask]))["error"]["code"] == -32008
    monkeypatch.setattr(rpc, "DEVCHAIN_REQUEST_BYTES_MAX", 50)
    answer = client.raw('{"jsonrpc":"2.0","id":1,"method":"' + "x" * 50 + '"}')
    assert answer["error"] == {
        "code": -32007,
        "message": "Request is too big",
        "data": "Exceeded max limit of 50",
    }


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("state_getStorage", []),
        ("state_getStorage", [None]),
        ("state_getStorage", [5]),
        ("state_getStorage", ["0x1"]),
        ("state_getStorage", ["0xzz"]),
        ("state_getStorage", ["0x12 34"]),
        ("state_getStorage", ["0x12", "0x12"]),
        ("state_getStorage", ["0x12", None, 3]),
        ("state_getKeysPaged", ["0x", "x"]),
        ("state_getKeysPaged", ["0x", -1]),
        ("state_getKeysPaged", ["0x", True]),
        ("state_queryStorageAt", ["0x12"]),
        ("state_call", [5, "0x"]),
        ("chain_getBlockHash", ["0xq"]),
        ("chain_getBlockHash", [2**32]),
        ("system_accountNextIndex", ["5Nonsense"]),
        ("dev_reorg", [1, "yes"]),
        ("dev_delay", [5, "state_call"]),
        ("dev_delay", [-5]),
        ("dev_delay", ["5"]),
        ("dev_tooManyRequests", ["sometimes"]),
        ("dev_step", [0]),
    ],
)
def test_wrong_parameters(method, params):
    client = Client()
    error = client.ask(method, *params)
    assert (error["code"], error["message"]) == (-32602, "Invalid params")
    assert error["data"]
    assert client.core.chain.best.number == 0


def test_parameters_by_name():
    client = Client()
    request = {"jsonrpc": "2.0", "id": 1, "method": "state_getStorage", "params": {"key": hexed(b"name")}}
    assert client.raw(msgspec.json.encode(request))["result"] == hexed(b"a fake chain")


def test_a_bug_is_an_internal_error(caplog):
    client = Client()
    client.core.pool = None
    assert client.ask("author_pendingExtrinsics") == {"code": -32603, "message": "Internal error"}
    assert "author_pendingExtrinsics failed" in caplog.text


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_nothing_breaks_it(data):
    answer = rpc.answer(data, TABLE, None)
    assert answer is None or msgspec.json.decode(answer)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["0x", "0x00", hexed(bytes(32))]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(TABLE)), st.lists(values, max_size=4))
def test_no_parameters_break_a_method(method, params):
    if method in ("dev_step", "dev_fastForward"):
        return  # a million blocks is what it may be asked for
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    try:
        data = msgspec.json.encode(request)
    except (UnicodeEncodeError, OverflowError):
        return
    error = Client().raw(data).get("error", {})
    assert error.get("code") != -32603, error
