"""The tables of schemas/wire.fbs as data, with the rules its language cannot state: widths, names, size caps.

Owns what a valid field is; must not encode or decode. codec turns it into C structs once, text walks it.
A test holds names, order, types and `required` against the .fbs file, which stays the source of truth.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mycelium.config import (
    BATCH_BYTES_MAX,
    CLAIM_BYTES_MAX,
    CONTROL_BYTES_MAX,
    DATA_BYTES_MAX,
    HANDSHAKE_BYTES_MAX,
    KEY_BYTES_MAX,
    PROOF_BYTES_MAX,
    VALUE_BYTES_MAX,
)

MESSAGE_TYPES: Final = (
    "Handshake",
    "HandshakeResponse",
    "Ping",
    "Pong",
    "Gossip",
    "Sync",
    "DBSyncReq",
    "DBSyncResp",
    "BlacklistSync",
    "Request",
    "Response",
    "Stream",
    "Tree",
)
MERGE_TYPES: Final = ("lww", "counter", "set", "append", "own")
OPS: Final = ("put", "delete", "add", "insert", "remove")

SIZE_MAX: Final = (
    HANDSHAKE_BYTES_MAX,
    HANDSHAKE_BYTES_MAX,
    CONTROL_BYTES_MAX,
    CONTROL_BYTES_MAX,
    DATA_BYTES_MAX,
    DATA_BYTES_MAX,
    DATA_BYTES_MAX,
    DATA_BYTES_MAX,
    CONTROL_BYTES_MAX,
    DATA_BYTES_MAX,
    DATA_BYTES_MAX,
    DATA_BYTES_MAX,
    CONTROL_BYTES_MAX,
)
"""Bytes of an encoded message with its tag, by message type."""

TYPES: Final = (
    "bool",
    "u8",
    "u16",
    "u32",
    "u64",
    "bytes",
    "string",
    "name",
    "table",
    "tables",
    "strings",
    "u16s",
    "ranges",
)
"""Field types, numbered as in wire.pxd. `name` is a string of 1..64 of [a-z0-9_.-]."""

UNBOUNDED: Final = 2**32 - 1


class Field(NamedTuple):
    """One field. `low` and `high` bound the bytes of a `bytes` field that is required or not empty."""

    name: str
    type: str
    required: bool = False
    low: int = 0
    high: int = UNBOUNDED
    enum: tuple[str, ...] = ()
    table: str = ""

    @property
    def fixed(self) -> bool:
        """A `bytes` field of one width: hex in JSON, where others are base64."""
        return self.low == self.high


class Table(NamedTuple):
    """One table; `bytes_max` is the cap of a buffer whose root it is."""

    name: str
    bytes_max: int
    fields: tuple[Field, ...]


def _fixed(name: str, width: int, *, required: bool = True) -> Field:
    return Field(name, "bytes", required, width, width)


TABLES: Final = (
    Table(
        "Message",
        DATA_BYTES_MAX - 1,
        (
            Field("version", "u16"),
            Field("type", "u8", enum=MESSAGE_TYPES),
            _fixed("sender_id", 32),
            Field("timestamp", "u64"),
            Field("nonce", "u64"),
            Field("payload", "bytes"),
            _fixed("signature", 64, required=False),
        ),
    ),
    Table(
        "TableRef", CONTROL_BYTES_MAX, (Field("name", "name", True), Field("merge", "u8", enum=MERGE_TYPES))
    ),
    Table(
        "Change",
        DATA_BYTES_MAX,
        (
            Field("table", "u16"),
            Field("op", "u8", enum=OPS),
            Field("key", "bytes", True, 1, KEY_BYTES_MAX),
            Field("value", "bytes", False, 0, VALUE_BYTES_MAX),
        ),
    ),
    Table(
        "Batch",
        BATCH_BYTES_MAX,
        (
            Field("netuid", "u16"),
            _fixed("genesis", 32),
            Field("space", "name", True),
            _fixed("account", 32),
            Field("generation", "u64"),
            Field("seq_first", "u64"),
            Field("count", "u32"),
            _fixed("prev_digest", 32),
            Field("epoch", "u64"),
            Field("ref_block", "u64"),
            Field("hlc_first", "u64"),
            Field("tables", "tables", True, table="TableRef"),
            Field("changes", "tables", True, table="Change"),
        ),
    ),
    Table(
        "SignedBatch",
        DATA_BYTES_MAX,
        (Field("batch", "bytes", True, 1, BATCH_BYTES_MAX), _fixed("signature", 64)),
    ),
    Table(
        "Gossip",
        DATA_BYTES_MAX,
        (Field("batches", "tables", True, table="SignedBatch"), Field("hops", "u16")),
    ),
    Table(
        "OriginVersion",
        CONTROL_BYTES_MAX,
        (
            _fixed("account", 32),
            Field("generation", "u64"),
            Field("head", "u64"),
            Field("ranges", "ranges"),
        ),
    ),
    Table("VersionVector", DATA_BYTES_MAX, (Field("origins", "tables", True, table="OriginVersion"),)),
    Table(
        "SyncRequest",
        DATA_BYTES_MAX,
        (
            Field("request_id", "u64"),
            Field("space", "name", True),
            Field("vector", "table", True, table="VersionVector"),
            Field("max_bytes", "u32"),
            Field("last_sync", "u64"),
        ),
    ),
    Table(
        "SyncResponse",
        DATA_BYTES_MAX,
        (
            Field("request_id", "u64"),
            Field("space", "name", True),
            Field("batches", "tables", True, table="SignedBatch"),
            Field("more", "bool"),
            Field("done", "bool"),
            Field("vector", "table", table="VersionVector"),
        ),
    ),
    Table("SpaceDigest", CONTROL_BYTES_MAX, (Field("space", "name", True), _fixed("digest", 16))),
    Table(
        "Ping",
        CONTROL_BYTES_MAX,
        (Field("sequence", "u64"), Field("sent", "u64"), Field("vectors", "tables", table="SpaceDigest")),
    ),
    Table(
        "EndpointRecord",
        CONTROL_BYTES_MAX,
        (
            _fixed("account", 32),
            Field("generation", "u64"),
            Field("record_seq", "u64"),
            Field("valid_from", "u64"),
            Field("valid_until", "u64"),
            Field("addresses", "strings", True),
            Field("features", "u64"),
            _fixed("prev_digest", 32),
        ),
    ),
    Table(
        "Call",
        DATA_BYTES_MAX,
        (
            Field("id", "u64"),
            Field("method", "string"),
            Field("status", "u16"),
            Field("sequence", "u64"),
            Field("end", "bool"),
            Field("body", "bytes"),
        ),
    ),
    Table(
        "Hello",
        HANDSHAKE_BYTES_MAX,
        (
            Field("versions", "u16s"),
            Field("suites", "bytes"),
            Field("encodings", "bytes"),
            _fixed("ephemeral", 32, required=False),
            _fixed("random", 32, required=False),
            Field("cookie", "bytes"),
            Field("sealed", "bytes"),
            Field("refusal", "string"),
        ),
    ),
    Table(
        "Identity",
        HANDSHAKE_BYTES_MAX,
        (
            _fixed("account", 32),
            Field("generation", "u64"),
            Field("netuid", "u16"),
            _fixed("genesis", 32),
            Field("features", "u64"),
            Field("frame_max", "u32"),
            Field("software", "string"),
            _fixed("signature", 64),
        ),
    ),
    Table(
        "SpaceAck",
        DATA_BYTES_MAX,
        (Field("space", "name", True), Field("vector", "table", True, table="VersionVector")),
    ),
    Table(
        "NodeStatus",
        CONTROL_BYTES_MAX,
        (
            Field("software", "string", True),
            Field("started", "u64"),
            Field("last_sync", "u64"),
            Field("last_heartbeat", "u64"),
            Field("active", "bool"),
            Field("status", "string"),
            Field("peer_count", "u32"),
            Field("serving_rate", "u64"),
            Field("sync_progress", "u16"),
            Field("response_latency", "u32"),
            Field("memory_usage", "u64"),
            Field("cpu_usage", "u16"),
        ),
    ),
    Table(
        "Sync",
        DATA_BYTES_MAX,
        (Field("acks", "tables", table="SpaceAck"), Field("status", "table", table="NodeStatus")),
    ),
    Table(
        "Claim",
        CLAIM_BYTES_MAX,
        (
            Field("netuid", "u16"),
            _fixed("genesis", 32),
            _fixed("issuer", 32),
            _fixed("accused", 32),
            Field("reason", "name", True),
            Field("issued", "u64"),
            Field("expires", "u64"),
        ),
    ),
    Table(
        "SignedClaim",
        CONTROL_BYTES_MAX,
        (Field("claim", "bytes", True, 1, CLAIM_BYTES_MAX), _fixed("signature", 64)),
    ),
    Table(
        "Proof",
        PROOF_BYTES_MAX,
        (
            Field("first", "table", True, table="SignedBatch"),
            Field("second", "table", table="SignedBatch"),
        ),
    ),
    Table(
        "ProofHead",
        CONTROL_BYTES_MAX,
        (
            Field("space", "name", True),
            _fixed("account", 32),
            Field("generation", "u64"),
            Field("at", "u64"),
        ),
    ),
    Table(
        "BlacklistSync",
        CONTROL_BYTES_MAX,
        (
            Field("claims", "tables", table="SignedClaim"),
            Field("proofs", "tables", table="ProofHead"),
        ),
    ),
    Table(
        "BatchRefs",
        CONTROL_BYTES_MAX,
        (
            Field("space", "name", True),
            _fixed("account", 32),
            Field("generation", "u64"),
            Field("spans", "ranges"),
            Field("size", "u32"),
        ),
    ),
    Table("Branch", CONTROL_BYTES_MAX, (Field("space", "name", True), _fixed("account", 32))),
    Table(
        "Tree",
        CONTROL_BYTES_MAX,
        (
            Field("have", "tables", table="BatchRefs"),
            Field("graft", "tables", table="BatchRefs"),
            Field("prune", "tables", table="Branch"),
        ),
    ),
)
"""In the order of the .fbs file; a kind is an index into it. No table contains itself, which bounds depth."""

(
    MESSAGE,
    TABLE_REF,
    CHANGE,
    BATCH,
    SIGNED_BATCH,
    GOSSIP,
    ORIGIN_VERSION,
    VERSION_VECTOR,
    SYNC_REQUEST,
    SYNC_RESPONSE,
    SPACE_DIGEST,
    PING,
    ENDPOINT_RECORD,
    CALL,
    HELLO,
    IDENTITY,
    SPACE_ACK,
    NODE_STATUS,
    SYNC,
    CLAIM,
    SIGNED_CLAIM,
    PROOF,
    PROOF_HEAD,
    BLACKLIST_SYNC,
    BATCH_REFS,
    BRANCH,
    TREE,
) = range(27)
PONG = PING
KINDS: Final = {table.name: kind for kind, table in enumerate(TABLES)}


def depth(kind: int) -> int:
    """Levels of tables below and including `kind`."""
    return 1 + max((depth(KINDS[field.table]) for field in TABLES[kind].fields if field.table), default=0)
