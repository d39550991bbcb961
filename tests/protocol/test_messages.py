"""Named payloads: what is encoded decodes to an equal value of the same types."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import codec as oracle
from reference import values

from mycelium._core import codec
from mycelium.errors import MalformedMessage
from mycelium.protocol import messages
from mycelium.protocol.messages import (
    BatchRefs,
    BlacklistSync,
    Branch,
    Hello,
    OriginVersion,
    Ping,
    ProofHead,
    SpaceDigest,
    SyncRequest,
    SyncResponse,
    Tree,
)

KINDS = (
    "Ping",
    "SyncRequest",
    "SyncResponse",
    "EndpointRecord",
    "Call",
    "Hello",
    "Identity",
    "Claim",
    "Proof",
    "Tree",
)
ACCOUNT = bytes(range(32))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_round_trip(kind, data):
    named = getattr(messages, kind)
    drawn = data.draw(values.table(kind))
    assert named._fields == tuple(column.name for column in oracle.TABLES[kind])
    once = named.decode(values.encode(kind, drawn))
    assert type(once) is named
    assert named.decode(once.encode()) == once
    assert once.encode() == values.encode(kind, drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_malformed(kind):
    with pytest.raises(MalformedMessage):
        getattr(messages, kind).decode(b"\xff" * 64)


def test_nested_values_are_named_too():
    ping = Ping.decode(Ping(1, 2, [SpaceDigest("main", bytes(16))]).encode())
    assert ping.vectors[0].space == "main"
    vector = [OriginVersion(ACCOUNT, 1, 5, [(7, 9)])]
    request = SyncRequest.decode(SyncRequest(1, "main", vector, 100, 0).encode())
    assert request.vector[0].head == 5
    response = SyncResponse.decode(SyncResponse(1, "main", [], False, True, vector).encode())
    assert response.vector is not None
    assert response.vector[0].ranges == [(7, 9)]


def test_the_heads_of_proofs_are_named():
    sent = BlacklistSync([(b"claim", bytes(64))], [ProofHead("main", ACCOUNT, 1, 7)])
    assert BlacklistSync.decode(sent.encode()) == sent
    assert BlacklistSync.decode(sent.encode()).proofs[0].at == 7


def test_the_parts_of_a_tree_are_named():
    sent = Tree(
        [BatchRefs("main", ACCOUNT, 1, [(1, 1), (2, 9)], 70)],
        [BatchRefs("main", ACCOUNT, 2, [])],
        [Branch("main", ACCOUNT)],
    )
    found = Tree.decode(sent.encode())
    assert found == sent
    assert (found.have[0].spans, found.graft[0].size, found.prune[0].space) == ([(1, 1), (2, 9)], 0, "main")


def test_no_vector_is_not_an_empty_vector():
    for vector in (None, []):
        assert SyncResponse.decode(SyncResponse(1, "main", [], False, True, vector).encode()).vector == vector


def test_a_vector_on_its_own():
    vector = [OriginVersion(ACCOUNT, 1, 5, [(7, 9)]), OriginVersion(ACCOUNT, 2, 0, [])]
    assert messages.decode_vector(messages.encode_vector(vector)) == vector
    with pytest.raises(MalformedMessage):
        messages.decode_vector(b"")


def test_a_bare_hello_is_empty():
    assert Hello.decode(Hello().encode()) == Hello()
    assert Hello((1, 2), refusal="no").versions == Hello.decode(Hello((1, 2), refusal="no").encode()).versions


def test_types_are_those_of_the_codec():
    for kind in messages.MessageType:
        data = codec.encode_message(1, kind, ACCOUNT, 0, 0, b"")
        assert codec.decode_message(data).type == kind
    assert len(messages.MessageType) == 13
