"""The payloads of messages as named tuples, and the enums of the wire.

Owns the names of fields; must not judge them: `decode` raises what codec raises (MalformedMessage,
OversizedMessage), and `encode` the same for values that a peer would refuse. Field order is that of
schemas/wire.fbs. Times are in ns since the Unix epoch, sizes in bytes. Batches and envelopes have their own
types in _core.codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Self

from mycelium._core import codec


class MessageType(IntEnum):
    """What the payload of a message is."""

    HANDSHAKE = 0
    HANDSHAKE_RESPONSE = 1
    PING = 2
    PONG = 3
    GOSSIP = 4
    SYNC = 5
    DB_SYNC_REQ = 6
    DB_SYNC_RESP = 7
    BLACKLIST_SYNC = 8
    REQUEST = 9
    RESPONSE = 10
    STREAM = 11
    TREE = 12


class MergeType(IntEnum):
    """How concurrent changes of one key are joined; part of a table's identity."""

    LWW = 0
    COUNTER = 1
    SET = 2
    APPEND = 3
    OWN = 4


class Op(IntEnum):
    """One operation on one record."""

    PUT = 0
    DELETE = 1
    ADD = 2
    INSERT = 3
    REMOVE = 4


class OriginVersion(NamedTuple):
    """What a node holds of one origin: all up to `head`, and the (first, last) ranges beyond gaps."""

    account: bytes
    generation: int
    head: int
    ranges: list[tuple[int, int]]


def encode_vector(origins: Sequence[OriginVersion]) -> bytes:
    """A version vector on its own."""
    return codec.encode(codec.VERSION_VECTOR, origins)


def decode_vector(data: bytes) -> list[OriginVersion]:
    """A version vector on its own. Origins come in the sender's order and may repeat."""
    return [OriginVersion(*origin) for origin in codec.decode(codec.VERSION_VECTOR, data)]


class SpaceDigest(NamedTuple):
    """The 16-byte digest of one space's version vector."""

    space: str
    digest: bytes


class Ping(NamedTuple):
    """Ping and Pong; a Pong repeats the `sequence` of its Ping."""

    sequence: int
    sent: int
    vectors: list[SpaceDigest]

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.PING, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        sequence, sent, vectors = codec.decode(codec.PING, data)
        return cls(sequence, sent, [SpaceDigest(*item) for item in vectors])


class SyncRequest(NamedTuple):
    """What the sender holds of `space`. `last_sync` is for information and never a cursor."""

    request_id: int
    space: str
    vector: list[OriginVersion]
    max_bytes: int
    last_sync: int

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.SYNC_REQUEST, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        request_id, space, vector, max_bytes, last_sync = codec.decode(codec.SYNC_REQUEST, data)
        return cls(request_id, space, [OriginVersion(*item) for item in vector], max_bytes, last_sync)


class SyncResponse(NamedTuple):
    """Batches with their signatures. `done`: the last response to the request; `more`: the window is full."""

    request_id: int
    space: str
    batches: list[tuple[bytes, bytes]]
    more: bool
    done: bool
    vector: list[OriginVersion] | None

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.SYNC_RESPONSE, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        request_id, space, batches, more, done, vector = codec.decode(codec.SYNC_RESPONSE, data)
        held = None if vector is None else [OriginVersion(*item) for item in vector]
        return cls(request_id, space, batches, more, done, held)


class EndpointRecord(NamedTuple):
    """Where an account can be reached; the record with the newest `record_seq` wins."""

    account: bytes
    generation: int
    record_seq: int
    valid_from: int
    valid_until: int
    addresses: list[str]
    features: int
    prev_digest: bytes

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return codec.encode(codec.ENDPOINT_RECORD, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the bytes that were signed."""
        return cls(*codec.decode(codec.ENDPOINT_RECORD, data))


class Call(NamedTuple):
    """The payload of Request, Response and Stream."""

    id: int
    method: str
    status: int
    sequence: int
    end: bool
    body: bytes

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.CALL, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        return cls(*codec.decode(codec.CALL, data))


class NodeStatus(NamedTuple):
    """What a node says of itself. Times in ns, `serving_rate` in bytes/s, `response_latency` in us, `sync_progress` and
    `cpu_usage` in thousandths (of its peers' spaces that it agrees with, of one core), `memory_usage` in bytes."""

    software: str
    started: int
    last_sync: int
    last_heartbeat: int
    active: bool
    status: str
    peer_count: int
    serving_rate: int
    sync_progress: int
    response_latency: int
    memory_usage: int
    cpu_usage: int


class SpaceAck(NamedTuple):
    """How far a space's origins are durable at the sender."""

    space: str
    vector: list[OriginVersion]


class Sync(NamedTuple):
    """Acknowledgements, and now and then the sender's status."""

    acks: list[SpaceAck]
    status: NodeStatus | None = None

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.SYNC, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        acks, status = codec.decode(codec.SYNC, data)
        return cls(
            [SpaceAck(space, [OriginVersion(*origin) for origin in vector]) for space, vector in acks],
            None if status is None else NodeStatus(*status),
        )


class Claim(NamedTuple):
    """What `issuer` says that `accused` did to it; `reason` is a name of 1 to 64 letters."""

    netuid: int
    genesis: bytes
    issuer: bytes
    accused: bytes
    reason: str
    issued: int
    expires: int

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return codec.encode(codec.CLAIM, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the bytes that were signed."""
        return cls(*codec.decode(codec.CLAIM, data))


class Proof(NamedTuple):
    """Signed batches, as (bytes, signature), that show by themselves what their origin did."""

    first: tuple[bytes, bytes]
    second: tuple[bytes, bytes] | None = None

    def encode(self) -> bytes:
        """As it is kept, and fetched by a call."""
        return codec.encode(codec.PROOF, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From what was fetched."""
        return cls(*codec.decode(codec.PROOF, data))


class ProofHead(NamedTuple):
    """Which proof there is: `at` is the first of its origin's numbers that nobody takes any more."""

    space: str
    account: bytes
    generation: int
    at: int


class BlacklistSync(NamedTuple):
    """Claims as (bytes, signature), and which proofs the sender holds."""

    claims: list[tuple[bytes, bytes]]
    proofs: list[ProofHead]

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.BLACKLIST_SYNC, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        claims, proofs = codec.decode(codec.BLACKLIST_SYNC, data)
        return cls(claims, [ProofHead(*item) for item in proofs])


class BatchRefs(NamedTuple):
    """Batches of one origin in a space, each by its first and last number; `size` is of the largest, in bytes."""

    space: str
    account: bytes
    generation: int
    spans: list[tuple[int, int]]
    size: int = 0


class Branch(NamedTuple):
    """Whose tree: that of one account's batches in a space."""

    space: str
    account: bytes


class Tree(NamedTuple):
    """Upkeep of the trees along which batches are pushed: see schemas/wire.fbs."""

    have: list[BatchRefs]
    graft: list[BatchRefs]
    prune: list[Branch]

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.TREE, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        have, graft, prune = codec.decode(codec.TREE, data)
        return cls(
            [BatchRefs(*item) for item in have],
            [BatchRefs(*item) for item in graft],
            [Branch(*item) for item in prune],
        )


class Hello(NamedTuple):
    """Handshake messages 1 to 3. Which fields are present depends on the step; absent ones are empty."""

    versions: tuple[int, ...] = ()
    suites: bytes = b""
    encodings: bytes = b""
    ephemeral: bytes = b""
    random: bytes = b""
    cookie: bytes = b""
    sealed: bytes = b""
    refusal: str = ""

    def encode(self) -> bytes:
        """The payload of a message."""
        return codec.encode(codec.HELLO, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the payload of a message."""
        versions, *others = codec.decode(codec.HELLO, data)
        return cls(tuple(versions), *others)


class Identity(NamedTuple):
    """Who speaks, on which network, and the signature over the transcript. Travels sealed."""

    account: bytes
    generation: int
    netuid: int
    genesis: bytes
    features: int
    frame_max: int
    software: str
    signature: bytes

    def encode(self) -> bytes:
        """The plaintext of Hello.sealed."""
        return codec.encode(codec.IDENTITY, self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the plaintext of Hello.sealed."""
        return cls(*codec.decode(codec.IDENTITY, data))
