"""JSON behind tag 0x01: as strict as the binary form, with one spelling for each value."""

from __future__ import annotations

import json

import pytest
from reference import values

from mycelium import config
from mycelium._core import codec
from mycelium.errors import MalformedMessage, OversizedMessage

SENDER, SIGNATURE = "ab" * 32, "cd" * 64
WHOLE = {"version": 1, "type": "Gossip", "sender_id": SENDER, "timestamp": 5, "nonce": 6}
WHOLE |= {"payload": "cGF5bG9hZA==", "signature": SIGNATURE}


def message(text):
    return codec.decode_message(b"\x01" + (text if isinstance(text, bytes) else text.encode()))


def changed(**fields):
    return json.dumps(WHOLE | fields)


def test_a_message():
    m = message(json.dumps(WHOLE))
    assert m.fields() == (1, 4, b"\xab" * 32, 5, 6, b"payload", b"\xcd" * 64)


def test_what_may_be_left_out():
    m = message(json.dumps({"sender_id": SENDER}))
    assert m.fields() == (0, 0, b"\xab" * 32, 0, 0, b"", b"")
    with pytest.raises(MalformedMessage, match="sender_id"):
        message("{}")


@pytest.mark.parametrize(
    "fields",
    [
        {"more": 1},
        {"version": "1"},
        {"version": 1.0},
        {"version": True},
        {"version": None},
        {"version": -1},
        {"version": 65536},
        {"timestamp": 2**64},
        {"timestamp": 10**400},
        {"type": 4},
        {"type": "gossip"},
        {"type": "Nonsense"},
        {"type": ["Gossip"]},
        {"sender_id": SENDER[:-2]},
        {"sender_id": SENDER + "ab"},
        {"sender_id": SENDER.upper()},
        {"sender_id": " " + SENDER[1:]},
        {"sender_id": "zz" * 32},
        {"sender_id": "é" * 64},
        {"sender_id": [171] * 32},
        {"payload": "cGF5bG9hZA"},
        {"payload": "cGF5bG9hZB=="},
        {"payload": "cGF5 bG9hZA=="},
        {"payload": "cGF5bG9hZA==\n"},
        {"payload": "-_-_"},
        {"payload": "é"},
        {"payload": {}},
        {"signature": SIGNATURE[:-2]},
        {"signature": "ab"},
    ],
)
def test_wrong_fields(fields):
    with pytest.raises(MalformedMessage):
        message(changed(**fields))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "1",
        '"x"',
        "{",
        '{"sender_id":"' + SENDER + '"} x',
        '{"sender_id":"' + SENDER + '","sender_id":"' + SENDER + '"}',
        '{"sender_id":"' + SENDER + '","nonce":NaN}',
        '{"sender_id":"' + SENDER + '","nonce":Infinity}',
        '{"sender_id":"' + SENDER + '","nonce":1e2}',
        '{"sender_id":"' + SENDER + '","nonce":' + "9" * 5000 + "}",
        "{'sender_id':1}",
        '{"sender_id":"\n"}',
        '{"\\ud800":1}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"sender_id":"\xff"}',
    ],
)
def test_wrong_documents(text):
    with pytest.raises(MalformedMessage):
        message(text)


@pytest.mark.parametrize("bomb", ["[" * 60_000, '{"a":' * 60_000, "[[],[" * 40_000, '{"vectors":[' * 5_000])
def test_recursion_bombs(bomb):
    with pytest.raises(MalformedMessage):
        message(bomb)
    for kind in (codec.GOSSIP, codec.CALL):
        with pytest.raises(MalformedMessage):
            codec.from_json(kind, b"\x01" + bomb.encode())


def test_size_cap_by_type():
    padding = " " * config.HANDSHAKE_BYTES_MAX
    with pytest.raises(OversizedMessage):
        message(changed(type="Handshake") + padding)
    assert message(changed(type="Gossip") + padding).type == 4


def test_what_would_be_too_long_in_json_is_not_written():
    payload = bytes(config.HANDSHAKE_BYTES_MAX - 200)
    assert codec.decode_message(codec.encode_message(1, 0, bytes(32), 0, 0, payload)).payload == payload
    with pytest.raises(OversizedMessage):
        codec.encode_message(1, 0, bytes(32), 0, 0, payload, encoding=1)
    call = (1, "", 0, 0, True, bytes(config.DATA_BYTES_MAX - 200))
    codec.encode(codec.CALL, call)
    with pytest.raises(OversizedMessage):
        codec.to_json(codec.CALL, call)


ALICE = "01" * 32


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Ping", '{"sequence":1,"sent":2,"vectors":{}}'),
        ("Ping", '{"vectors":[1]}'),
        ("Ping", '{"vectors":[{"space":"main"}]}'),
        ("Ping", '{"vectors":[{"space":"Main","digest":"' + "00" * 16 + '"}]}'),
        ("Ping", '{"vectors":null}'),
        ("Call", '{"method":1}'),
        ("Call", '{"method":"\\ud800"}'),
        ("Call", '{"end":1}'),
        ("Call", '{"end":"true"}'),
        ("Hello", '{"versions":[65536]}'),
        ("Hello", '{"versions":["1"]}'),
        ("Hello", '{"ephemeral":"00"}'),
        ("EndpointRecord", '{"account":"' + ALICE + '","prev_digest":"' + ALICE + '","addresses":[1]}'),
        ("SyncRequest", '{"space":"main"}'),
        ("SyncRequest", '{"space":"main","vector":[]}'),
        ("SyncRequest", '{"space":"main","vector":{"origins":[],"more":1}}'),
        ("OriginVersion", '{"account":"' + ALICE + '","ranges":[[1,2]]}'),
        ("OriginVersion", '{"account":"' + ALICE + '","ranges":[{"first":1}]}'),
        ("OriginVersion", '{"account":"' + ALICE + '","ranges":[{"first":1,"last":"2"}]}'),
        ("OriginVersion", '{"account":"' + ALICE + '","ranges":[{"first":2,"last":1}]}'),
        ("OriginVersion", '{"account":"' + ALICE + '","ranges":[{"first":1,"last":2,"x":3}]}'),
        ("Change", '{"key":"aw==","op":"add","table":true}'),
        ("TableRef", '{"name":"t","merge":0}'),
    ],
)
def test_wrong_tables(kind, text):
    with pytest.raises(MalformedMessage):
        values.from_json(kind, b"\x01" + text.encode())


@pytest.mark.parametrize(
    "edit", [{"count": 4}, {"seq_first": 0}, {"tables": []}, {"changes": []}, {"space": "A"}]
)
def test_batches_are_judged_as_in_binary(edit):
    whole = values.vectors("Batch")["valid"][0]["json"]
    assert values.from_json("Batch", b"\x01" + json.dumps(whole).encode())
    with pytest.raises(MalformedMessage):
        values.from_json("Batch", b"\x01" + json.dumps(whole | edit).encode())


@pytest.mark.parametrize("tag", [b"", b"\x00", b"\x02", b"{"])
def test_only_behind_its_tag(tag):
    with pytest.raises(MalformedMessage):
        codec.from_json(codec.PING, tag + b'{"sequence":1}')
    assert codec.from_json(codec.PING, b'\x01{"sequence":1}') == (1, 0, [])


def test_text_stays_readable():
    text = codec.to_json(codec.CALL, (1, "żółw", 0, 0, True, b""))
    assert text.startswith(b"\x01{")
    assert "żółw" in text[1:].decode()


def test_values_that_cannot_be_written_have_no_json_either():
    with pytest.raises(MalformedMessage):
        codec.to_json(codec.SPACE_DIGEST, ("Main", bytes(16)))
