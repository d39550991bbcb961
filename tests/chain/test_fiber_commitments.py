"""Commitments: what one writes is what everybody reads, in every form in which decoders give it."""

from __future__ import annotations

import pytest
from chain.opskit import MINERS, NETUID, VALIDATORS, running, ss58
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import chain_utils, commitments
from mycelium.chain.answers import Plain
from mycelium.chain.commitments import (
    _deserialize_commitment_field,
    _query_commitment,
    _serialize_commitment_field,
    get_raw_commitment,
    publish_raw_commitment,
    query_commitment,
    set_commitment,
)
from mycelium.chain.connection import Connection
from mycelium.chain.models import CommitmentDataFieldType as Kind
from mycelium.chain.models import CommitmentQuery, RawCommitmentQuery
from mycelium.errors import ChainError, ChainUnreachable, UsageError
from mycelium.identity.keys import Keypair

ME, OTHER = MINERS[0], MINERS[1]
HASH = bytes(range(32))
INCLUDED = {"wait_for_inclusion": True}


@pytest.fixture(scope="module")
def link():
    with running() as (chain, connection):
        yield chain, connection


# --- fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (None, {"None": b""}),
        ((Kind.RAW, b""), {"Raw0": b""}),
        ((Kind.RAW, b"x" * 128), {"Raw128": b"x" * 128}),
        ((Kind.RAW, b"x" * 129), {"BigRaw": b"x" * 129}),
        ((Kind.SHA_256, HASH), {"Sha256": HASH}),
    ],
)
def test_to_the_chain(field, found):
    assert _serialize_commitment_field(field) == found


@pytest.mark.parametrize("field", [(Kind.RAW, bytes(513)), (Kind.KECCAK_256, bytes(31))])
def test_what_the_chain_does_not_take(field):
    with pytest.raises(UsageError, match="bytes"):
        _serialize_commitment_field(field)


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ({"None": b""}, None),
        ({"None": None}, None),
        ("None", None),
        ({}, None),
        ({"Raw5": "0x68656c6c6f"}, (Kind.RAW, b"hello")),
        ({"Raw5": "hello"}, (Kind.RAW, b"hello")),
        ({"Raw5": b"hello"}, (Kind.RAW, b"hello")),
        ({"Raw5": tuple(b"hello")}, (Kind.RAW, b"hello")),
        ({"Raw5": (tuple(b"hello"),)}, (Kind.RAW, b"hello")),
        ({"Raw5": Plain("0x68656c6c6f")}, (Kind.RAW, b"hello")),
        ({"Raw1": [7]}, (Kind.RAW, b"\x07")),
        ({"Raw0": []}, (Kind.RAW, b"")),
        ({"BigRaw": "0x" + "ab" * 200}, (Kind.RAW, b"\xab" * 200)),
        ({"BigRaw": "ab" * 200}, (Kind.RAW, b"ab" * 200)),
        ({"BigRaw": "0x" + "61" * 200}, (Kind.RAW, b"0x" + b"61" * 200)),
        ({"BigRaw": "0xabc"}, (Kind.RAW, b"0xabc")),
        ({"BigRaw": [1, 2]}, (Kind.RAW, b"\x01\x02")),
        ({"BlakeTwo256": "0x" + HASH.hex()}, (Kind.BLAKE_TWO_256, HASH)),
    ],
)
def test_from_the_chain(field, found):
    assert _deserialize_commitment_field(field) == found


def test_what_is_not_what_it_says():
    with pytest.raises(ValueError, match="Got commitment raw field expecting 4 data but got 5 data"):
        _deserialize_commitment_field({"Raw4": "0x68656c6c6f"})
    with pytest.raises(ValueError, match="ResetBondsFlag"):
        _deserialize_commitment_field("ResetBondsFlag")
    with pytest.raises(ValueError):
        _deserialize_commitment_field({"Raw1": "0xzz"})


@given(st.binary(max_size=128))
def test_there_and_back(data):
    ((name, value),) = _serialize_commitment_field((Kind.RAW, data)).items()
    for given_ in (value, list(value), "0x" + value.hex()):
        assert _deserialize_commitment_field({name: given_}) == (Kind.RAW, data)


# --- on the chain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"hello", b"", b"0xdeadbeef", "grüß dich".encode(), b"\xff\x00", b"y" * 128, b"z" * 300]
)
def test_what_is_published_is_read(data):
    with running() as (_, connection):
        assert publish_raw_commitment(connection, ME, NETUID, data) is True
        found = get_raw_commitment(connection, NETUID, ss58(ME))
        assert found == RawCommitmentQuery(data=data, block=1, deposit=0)
        assert not connection.access.rpc.closed


def test_several_fields_and_blocks(link):
    chain, connection = link
    fields = [(Kind.SHA_256, HASH), None, (Kind.RAW, b"x")]
    assert set_commitment(connection, ME, NETUID, fields, True, False)
    first = connection.head().number
    assert query_commitment(connection, NETUID, ss58(ME)) == CommitmentQuery(
        fields=fields, block=first, deposit=0
    )
    with pytest.raises(ValueError, match=f"{ss58(ME)} in netuid {NETUID} is of type Sha256 and not Raw"):
        get_raw_commitment(connection, NETUID, ss58(ME))
    chain.step(12)  # into the next epoch, which has its own space
    assert set_commitment(connection, ME, NETUID, [None])
    assert get_raw_commitment(connection, NETUID, ss58(ME)) is None
    assert query_commitment(connection, NETUID, ss58(ME), block=first).fields == fields
    assert _query_commitment(connection, NETUID, ss58(ME), first).value["block"] == first
    with pytest.raises(ChainError, match="no block"):
        query_commitment(connection, NETUID, ss58(ME), 10**6)


def test_nothing_committed(link):
    _, connection = link
    assert query_commitment(connection, NETUID, ss58(OTHER)) is None
    assert get_raw_commitment(connection, NETUID, ss58(OTHER)) is None
    assert _query_commitment(connection, NETUID, ss58(OTHER)).value is None


def test_refused(link, caplog):
    _, connection = link
    stranger = Keypair.development("//stranger")
    assert set_commitment(connection, stranger, NETUID, [(Kind.RAW, b"x")], **INCLUDED) is False
    assert "AccountNotAllowedCommit" in caplog.text
    assert set_commitment(connection, OTHER, NETUID, [None] * 4, **INCLUDED) is False
    assert "TooManyFieldsInCommitmentInfo" in caplog.text


def test_refused_before_it_is_in_a_block(link, caplog, monkeypatch):
    from mycelium.errors import ExtrinsicInvalid

    def submit(*_, **__):
        raise ExtrinsicInvalid("Inability to pay some fees", code=1010)

    _, connection = link
    monkeypatch.setattr(Connection, "submit", submit)
    assert (
        publish_raw_commitment(substrate_interface=connection, keypair=ME, netuid=NETUID, data=b"x") is False
    )
    assert "The commitment was not taken" in caplog.text


def test_nobody_answers():
    with Connection("ws://127.0.0.1:1", cache_dir=None, timeout_s=0.2) as dead:
        with pytest.raises(ChainUnreachable):
            set_commitment(dead, ME, NETUID, [None])
        with pytest.raises(ChainUnreachable):
            query_commitment(dead, NETUID, ss58(ME))


@pytest.mark.parametrize("nested", [False, True])
def test_fields_in_lists_of_their_own(monkeypatch, nested):
    fields = [{"Raw1": "0x07"}, "None"]
    held = {"deposit": 0, "block": 3, "info": {"fields": [[one] for one in fields] if nested else fields}}
    monkeypatch.setattr(chain_utils, "query_substrate", lambda given_, *_, **__: (given_, held))
    assert commitments.get_raw_commitment("s", NETUID, ss58(VALIDATORS[0])).data == b"\x07"
    assert query_commitment("s", NETUID, "h").fields == [(Kind.RAW, b"\x07"), None]
