"""What nobody signed, and what a member may sign without end: neither fills memory nor keeps others from repair."""

from __future__ import annotations

import kit
import pytest

from mycelium._core import codec
from mycelium.config import SYNC_TIMEOUT_MS
from mycelium.database.sync import FRESH_MS, SyncMachine
from mycelium.database.vector import ZERO_DIGEST
from mycelium.errors import ProtocolError, StoreError
from mycelium.identity import signing
from mycelium.protocol.messages import MergeType, Op, SyncRequest, SyncResponse

NOW = kit.NOW_MS
LATER = NOW + 10 * FRESH_MS


def forge(pair, now_ms: int = NOW, sign: bool = True, **fields: object) -> tuple[bytes, bytes]:
    epoch, block = kit.FixedAuthority().anchor(now_ms)
    values: dict[str, object] = {
        "netuid": kit.NETUID,
        "genesis": kit.GENESIS,
        "space": "main",
        "account": pair.account,
        "generation": 1,
        "seq_first": 1,
        "prev_digest": ZERO_DIGEST,
        "epoch": epoch,
        "ref_block": block,
        "hlc_first": now_ms << 16,
        "tables": [("scores", int(MergeType.LWW))],
        "changes": [(0, int(Op.PUT), b"k", b"\0v")],
    } | fields
    raw = codec.encode_batch(*values.values())
    return raw, pair.sign(signing.BATCH, raw) if sign else bytes(64)


def machine(engine) -> SyncMachine:
    return SyncMachine(engine, lambda _peer, _space: True, ["main"])


def response(request: SyncRequest | None, *batches: tuple[bytes, bytes], done: bool = False) -> SyncResponse:
    return SyncResponse(request.request_id if request else 99, "main", list(batches), False, done, None)


@pytest.mark.parametrize("asked", [True, False])
def test_what_nobody_signed_does_not_keep_an_origin_from_being_asked_for(asked: bool) -> None:
    """A batch in another's name, stamped wrong: it must not pass for that origin's fault."""
    a, b = kit.engine("a"), kit.engine("b")
    kit.write(a, kit.put("k"))
    right = machine(b)
    right.peer_up(1, NOW)
    right.peer_up(2, NOW)
    request = right.digest_seen(2, "main", bytes(16), LATER) if asked else None
    forged = forge(
        kit.keypair("a"), sign=False, generation=a.origin.generation, hlc_first=(NOW - 2 * 3_600_000) << 16
    )
    try:
        right.response(2, response(request, forged, done=True), LATER)
    except ProtocolError:
        right.peer_down(2)
    request = right.digest_seen(1, "main", a.vector_digest("main"), LATER + 1)
    assert request is not None
    assert a.origin not in [(one.account, one.generation) for one in request.vector]


def test_a_peer_that_brings_a_little_does_not_keep_the_others_from_being_asked() -> None:
    """A member makes a batch of its own every nine seconds, and never ends its answer."""
    a, b, hostile = kit.engine("a"), kit.engine("b"), kit.engine("h")
    kit.write(a, kit.put("k"))
    right = machine(b)
    right.peer_up(1, NOW)
    right.peer_up(2, NOW)
    asked, request, now = set(), None, LATER
    for n in range(60):
        now += SYNC_TIMEOUT_MS - 1000
        found = right.digest_seen(1, "main", bytes(16), now)
        request = found or request
        made = kit.write(hostile, kit.put(f"{n}"), now_ms=now)
        right.response(1, response(request, (made.batch.raw, made.signature)), now)
        if right.digest_seen(2, "main", a.vector_digest("main"), now) is not None:
            asked.add(2)
    assert asked == {2}


def test_held_batches_are_bounded_over_all_accounts() -> None:
    """Of an epoch that is not known yet, anyone may sign: each account that a member makes up has its share."""
    reader = kit.engine("b", authority=kit.FixedAuthority(blocks_known=5))
    held = 0
    for n in range(40):
        raw, signature = forge(
            kit.keypair(f"made up {n}"),
            changes=[(0, int(Op.PUT), b"%d" % m, bytes(330_000)) for m in range(2)],
        )
        reader.receive(raw, signature, NOW)
    held = sum(len(raw) for _, raw, *_ in reader._holds._heap)
    assert held <= 16 * 2**20


def test_names_of_tables_are_remembered_within_bounds() -> None:
    """256 names a batch, of 64 bytes each: what is remembered of 1,024 such batches is some 80 MiB."""
    reader, pair = kit.engine("b"), kit.keypair("h")
    digest = ZERO_DIGEST
    for n in range(150):
        tables = [(f"{n}.{m}.".ljust(64, "x"), int(MergeType.LWW)) for m in range(256)]
        raw, signature = forge(pair, tables=tables, seq_first=n + 1, prev_digest=digest)
        digest = signing_digest(raw)
        reader.receive(raw, signature, NOW)
    assert sum(len(tables) for cache in reader._prefixes.values() for tables in cache) <= 16_384


def signing_digest(raw: bytes) -> bytes:
    from mycelium.identity.keys import digest

    return digest(raw)


def test_equal_digests_of_vectors_mean_equal_batches() -> None:
    """A member shows each node another batch of the same number: nobody would ever notice."""
    a, b, pair = kit.engine("a"), kit.engine("b"), kit.keypair("h")
    a.receive(*forge(pair), NOW)
    b.receive(*forge(pair, changes=[(0, int(Op.PUT), b"k", b"\0w")]), NOW)
    assert kit.rows(a._store) != kit.rows(b._store)
    assert a.vector_digest("main") != b.vector_digest("main")


def test_a_clock_that_was_years_ahead_is_not_followed_in_silence() -> None:
    """What is written now would be due at the others in ten years: its writer must hear so."""
    writer = kit.engine("a")
    kit.write(writer, kit.put("k"), now_ms=NOW + 10 * 365 * 86_400_000)
    with pytest.raises(StoreError, match="clock"):
        kit.write(writer, kit.put("k"), now_ms=NOW)
