"""Write schemas/vectors/*.json: one file per table, with bytes that every implementation must read or refuse.

    python ci/golden_vectors.py           write them
    python ci/golden_vectors.py --check   exit with 1 where a file differs

In a file, `valid` holds pairs of the same value in both encodings: `json` is the object behind tag 0x01,
`flatbuffers` the exact bytes our writer gives, in hex (a Message's with its tag). `invalid` holds bytes that must
be refused. The files are the contract between versions: a change in one is a change of the wire.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

from mycelium._core import codec, schema
from mycelium.errors import ProtocolError

VECTORS = Path(__file__).parents[1] / "schemas" / "vectors"

ALICE, BOB = bytes(range(32)), bytes(range(32, 64))
GENESIS = bytes.fromhex("2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03")
DIGEST, SIGNATURE = bytes(range(64, 96)), bytes(range(96, 160))
TOP = 2**64 - 1
CHANGES = [
    (0, 0, b"5F3s", b'{"score":0.93}'),
    (0, 1, b"gone", b""),
    (1, 2, "schlüssel".encode(), struct.pack(">q", -7)),
    (2, 3, b"tags", b"red"),
    (2, 4, b"tags", bytes(48)),
]
TABLES = [("scores", 0), ("hits", 1), ("tags.v1", 2)]
BATCH = (
    2,
    GENESIS,
    "main",
    ALICE,
    1,
    513,
    len(CHANGES),
    DIGEST,
    812,
    292_320,
    1_700_000_000_000 << 16,
    TABLES,
    CHANGES,
)
RAW = codec.encode(codec.BATCH, BATCH)

STATUS = (
    "mycelium/0.1 é",
    1_700_000_000_000_000_000,
    1_700_000_001_000_000_000,
    1_700_000_002_000_000_000,
    True,
    "ready",
    7,
    1_000_000,
    1000,
    45_000,
    223 * 2**20,
    125,
)

CLAIM = (2, GENESIS, ALICE, BOB, "bad-signature", 1_700_000_000_000_000_000, 1_700_000_003_600_000_000)

VALUES: dict[str, list[tuple[str, Any]]] = {
    "Message": [
        ("session", (1, 4, ALICE, 1_700_000_000_123_456_789, 42, b"payload", b"")),
        ("signed", (1, 2, BOB, TOP, TOP, b"", SIGNATURE)),
        ("zeros", (0, 0, bytes(32), 0, 0, b"", b"")),
    ],
    "TableRef": [("lww", ("scores", 0)), ("longest name", ("a" * 64, 4))],
    "Change": [("put", CHANGES[0]), ("delete", CHANGES[1]), ("shortest key", (65535, 4, b"\0", b"v"))],
    "Batch": [
        ("five changes", BATCH),
        (
            "last sequence number",
            (0, GENESIS, "a", BOB, TOP, TOP, 1, bytes(32), 0, 0, TOP, [("t", 4)], [(0, 0, b"k", b"")]),
        ),
    ],
    "SignedBatch": [("a batch", (RAW, SIGNATURE)), ("opaque bytes", (b"\0", SIGNATURE))],
    "Gossip": [
        ("two", ([(RAW, SIGNATURE), (b"opaque", SIGNATURE)], 0)),
        ("none", ([], 0)),
        ("along a tree", ([(RAW, SIGNATURE)], 64)),
    ],
    "OriginVersion": [
        ("whole", (ALICE, 1, 512, [])),
        ("gaps", (BOB, TOP, 5, [(7, 9), (11, 11), (TOP, TOP)])),
    ],
    "VersionVector": [("two origins", [(ALICE, 1, 512, []), (BOB, 2, 0, [(7, 9)])]), ("empty", [])],
    "SyncRequest": [
        ("a vector", (7, "main", [(ALICE, 1, 512, [(514, 520)])], 4_194_304, 1_700_000_000_000_000_000)),
        ("nothing held", (0, "sys", [], 0, 0)),
    ],
    "SyncResponse": [
        ("part", (7, "main", [(RAW, SIGNATURE)], True, False, None)),
        ("last, with a vector", (7, "main", [], False, True, [(ALICE, 1, 512, [])])),
        ("last, with an empty vector", (7, "main", [], False, True, [])),
    ],
    "SpaceDigest": [("main", ("main", bytes(range(16))))],
    "Ping": [
        ("digests", (3, 1_700_000_000_000_000_000, [("main", bytes(16)), ("sys", DIGEST[:16])])),
        ("bare", (0, 0, [])),
    ],
    "EndpointRecord": [
        (
            "two addresses",
            (ALICE, 1, 4, 10, 20, ["ws://198.51.100.7:9090", "ws://[2001:db8::7]:9091"], 3, DIGEST),
        ),
        ("withdrawn", (ALICE, 1, 5, 0, TOP, [], 0, DIGEST)),
    ],
    "Call": [
        ("request", (9, "get", 0, 0, True, b"\x81\xa1k\x01")),
        ("error", (9, "", 404, 0, True, "żaden".encode())),
    ],
    "Hello": [
        ("offer", ([1], b"\1\2", b"\2\1", ALICE, BOB, b"", b"", "")),
        ("refusal", ([], b"", b"", b"", b"", b"", b"", "no protocol version in common")),
    ],
    "SpaceAck": [("main", ("main", [(ALICE, 1, 512, [])]))],
    "NodeStatus": [("busy", STATUS), ("zeros", ("m", 0, 0, 0, False, "", 0, 0, 0, 0, 0, 0))],
    "Sync": [
        ("acks and status", ([("main", [(ALICE, 1, 512, [])]), ("sys", [])], STATUS)),
        ("acks", ([("main", [(BOB, 2, 7, [])])], None)),
        ("nothing", ([], None)),
    ],
    "Claim": [("one hour", CLAIM), ("zeros", (0, bytes(32), bytes(32), bytes(32), "a", 0, 0))],
    "SignedClaim": [
        ("a claim", (codec.encode(codec.CLAIM, CLAIM), SIGNATURE)),
        ("opaque", (b"\0", SIGNATURE)),
    ],
    "Proof": [
        ("two histories", ((RAW, SIGNATURE), (b"opaque", SIGNATURE))),
        ("one batch", ((RAW, SIGNATURE), None)),
    ],
    "ProofHead": [("main", ("main", ALICE, 1, 513))],
    "BlacklistSync": [
        ("both", ([(codec.encode(codec.CLAIM, CLAIM), SIGNATURE)], [("main", ALICE, 1, 513)])),
        ("nothing", ([], [])),
    ],
    "BatchRefs": [
        ("two", ("main", ALICE, 1, [(5, 5), (6, 9)], 1_024)),
        ("none", ("main", ALICE, 1, [], 0)),
    ],
    "Branch": [("main", ("main", ALICE))],
    "Tree": [
        ("all", ([("main", ALICE, 1, [(5, 9)], 300)], [("main", BOB, 2, [(1, 1)], 0)], [("main", ALICE)])),
        ("nothing", ([], [], [])),
    ],
    "Identity": [("node", (ALICE, 1, 2, GENESIS, 0, 1_114_112, "mycelium/0.1 é", SIGNATURE))],
}


def flatbuffers(kind: str, values: Any) -> bytes:
    if kind == "Message":
        return codec.encode_message(*values)
    return codec.encode(schema.KINDS[kind], values)


def as_json(kind: str, values: Any) -> bytes:
    if kind == "Message":
        return codec.encode_message(*values, encoding=1)
    return codec.to_json(schema.KINDS[kind], values)


def refused(kind: str, data: bytes) -> bool:
    try:
        if kind == "Message":
            codec.decode_message(data)
        else:
            codec.decode(schema.KINDS[kind], data)
    except ProtocolError:
        return True
    return False


def invalid(kind: str, data: bytes) -> list[tuple[str, bytes]]:
    """Ways to spoil a valid buffer that every reader can check for."""
    skip = 1 if kind == "Message" else 0
    head, body = data[:skip], data[skip:]
    (root,) = struct.unpack_from("<I", body)
    (soffset,) = struct.unpack_from("<i", body, root)
    vtable = root - soffset
    (vtable_bytes,) = struct.unpack_from("<H", body, vtable)
    longer = bytearray(body)
    struct.pack_into("<H", longer, vtable, vtable_bytes + 2)
    outside = bytearray(body)
    struct.pack_into("<i", outside, root, root + 4)
    wide = bytearray(body)
    struct.pack_into("<H", wide, vtable + 2, 65535)
    return [
        ("empty", b""),
        ("cut in half", data[: len(data) // 2]),
        ("root offset zero", head + bytes(4) + body[4:]),
        ("root offset beyond the end", head + b"\xfc\xff\xff\xff" + body[4:]),
        ("root offset not aligned", head + struct.pack("<I", root + 1) + body[4:]),
        ("vtable before the buffer", head + bytes(outside)),
        ("vtable longer than the schema", head + bytes(longer)),
        ("table longer than the buffer", head + bytes(wide)),
    ]


def document(kind: str) -> dict[str, Any]:
    valid = [
        {
            "name": name,
            "json": json.loads(as_json(kind, values)[1:]),
            "flatbuffers": flatbuffers(kind, values).hex(),
        }
        for name, values in VALUES[kind]
    ]
    spoilt = invalid(kind, flatbuffers(kind, VALUES[kind][0][1]))
    for name, data in spoilt:
        if not refused(kind, data):
            raise SystemExit(f"{kind}, {name}: accepted")
    return {
        "kind": kind,
        "valid": valid,
        "invalid": [{"name": name, "flatbuffers": data.hex()} for name, data in spoilt],
    }


def main() -> int:
    VECTORS.mkdir(exist_ok=True)
    differing = 0
    for kind in schema.KINDS:
        path = VECTORS / f"{kind}.json"
        text = json.dumps(document(kind), indent=1, ensure_ascii=False) + "\n"
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != text:
                print(f"{path.name} differs from what the codec gives", file=sys.stderr)
                differing = 1
        else:
            path.write_text(text)
    return differing


if __name__ == "__main__":
    sys.exit(main())
