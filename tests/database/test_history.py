"""The signed history of a space: read in order, once it is durable; a verifier lets nothing else through."""

from __future__ import annotations

import asyncio

import kit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium._core import codec
from mycelium.database import history as histories
from mycelium.database.history import Head, SignedBatch, Verifier
from mycelium.database.vector import ZERO_DIGEST, Origin
from mycelium.errors import (
    BadSignature,
    HistoryBroken,
    MalformedMessage,
    NotDurable,
    OversizedMessage,
    StoreError,
    WrongNetwork,
)
from mycelium.identity import signing
from mycelium.identity.keys import digest
from mycelium.protocol.messages import Op


def verifier():
    return Verifier(kit.NETUID, kit.GENESIS)


def batches(*counts, name="a", generation=1):
    """A log of batches with so many changes each."""
    pair, found, seq, before = kit.keypair(name), [], 1, ZERO_DIGEST
    for count in counts:
        changes = [(0, int(Op.PUT), b"k%d" % (seq + at), b"\1\x07") for at in range(count)]
        tables = [("scores", 0)]
        raw = codec.encode_batch(
            kit.NETUID, kit.GENESIS, "main", pair.account, generation, seq, before, 3, 40, 9 << 16, tables, changes
        )  # fmt: skip
        found.append(SignedBatch(raw, pair.sign(signing.BATCH, raw)))
        seq, before = seq + count, digest(raw)
    return found


async def everything(database, *which):
    return [batch async for batch in database.history("main", *which)]


def test_what_was_written_is_what_is_verified():
    async def main():
        database, other = kit.database("a"), kit.database("b")
        for number in range(40):  # more than one page
            await database.table("scores").put(f"k{number}", {"n": number})
        await database.table("tags").insert("t", "x")
        await database.table("tags").remove("t", "x")
        await database.table("hits").add("h", -3)
        await other.table("scores").put("theirs", 1)
        kit.exchange([database.engine, other.engine])
        check = verifier()
        facts = [fact for batch in await everything(database) for fact in check.take(batch)]
        mine = [fact for fact in facts if fact.account == database.account]
        assert [fact.seq for fact in mine] == list(range(1, 44))
        assert [(fact.table, fact.key, fact.op, fact.value) for fact in mine[39:]] == [
            ("scores", "k39", "put", {"n": 39}),
            ("tags", "t", "insert", "x"),
            ("tags", "t", "remove", None),
            ("hits", "h", "add", -3),
        ]
        assert [fact.key for fact in facts if fact.account == other.account] == ["theirs"]
        assert {origin: head.seq for origin, head in check.heads.items()} == {
            Origin(database.account, database.generation): 43,
            Origin(other.account, other.generation): 1,
        }
        assert await everything(database, other.account) == await everything(other, other.account)
        assert await everything(database, kit.keypair("nobody").account) == []
        assert [batch async for batch in database.history("no such space")] == []
        await database.close()
        await other.close()

    asyncio.run(main())


def test_nothing_is_shown_before_it_is_durable(monkeypatch):
    async def main():
        database = kit.database("a")
        await database.table("scores").put("safe", 1)

        def failing():
            raise StoreError("no space left")

        monkeypatch.setattr(database.committer, "_sync", failing)
        await database.table("scores").put("not yet", 1, ack="applied")
        with pytest.raises(NotDurable):
            await everything(database)
        monkeypatch.undo()
        assert len(await everything(database)) == 2
        await database.close()

    asyncio.run(main())


def test_what_is_written_meanwhile_comes_next_time():
    async def main():
        database = kit.database("a")
        for number in range(20):
            await database.table("scores").put(f"k{number}", 1)
        count = 0
        async for _ in database.history("main"):
            count += 1
            await database.table("scores").put(f"more{count}", 1, ack="applied")
        assert count == 20
        assert len(await everything(database)) == 40
        await database.close()

    asyncio.run(main())


# --- what a verifier refuses --------------------------------------------------------------------------------


def test_heads_grow_batch_by_batch():
    check, log = verifier(), batches(1, 3)
    check.take(log[0])
    check.take(log[1])
    origin = Origin(kit.keypair("a").account, 1)
    assert check.heads == {origin: Head(4, digest(log[1].raw), 2)}


def test_a_gap_a_repeat_and_another_past_are_seen():
    check, log = verifier(), batches(1, 3, 2)
    check.take(log[0])
    with pytest.raises(HistoryBroken, match=r"change 2 of .* should come next, and 5 does"):
        check.take(log[2])
    with pytest.raises(HistoryBroken):
        check.take(log[0])
    with pytest.raises(HistoryBroken, match="another past"):
        check.take(batches(1, 4)[1]._replace(raw=other_past(log[1].raw)))
    assert len(check.take(log[1])) == 3  # what was refused changed nothing
    assert len(check.take(log[2])) == 2


def test_a_trimmed_log_is_taken_by_who_asks_for_it():
    check, log = Verifier(kit.NETUID, kit.GENESIS, trimmed=True), batches(1, 3, 2, 1)
    for at in (1, 2):
        check.take(log[at])
    (head,) = check.heads.values()
    assert head == Head(6, digest(log[2].raw), 2, missing=1)
    for before in (log[0], log[1], log[2]):
        with pytest.raises(HistoryBroken):
            check.take(before)
    with pytest.raises(HistoryBroken, match="another past"):
        check.take(log[3]._replace(raw=other_past(log[3].raw)))


def other_past(raw):
    batch = codec.decode_batch(raw)
    return codec.encode_batch(
        batch.netuid, batch.genesis, batch.space, batch.account, batch.generation, batch.seq_first, b"\1" * 32,
        batch.epoch, batch.ref_block, batch.hlc_first, batch.tables, batch.changes(),
    )  # fmt: skip


def test_another_network_is_refused():
    (one,) = batches(1)
    for check in (Verifier(kit.NETUID + 1, kit.GENESIS), Verifier(kit.NETUID, b"\1" * 32)):
        with pytest.raises(WrongNetwork):
            check.take(one)


def test_two_generations_are_two_logs():
    check = verifier()
    for generation in (1, 2):
        for one in batches(1, 1, generation=generation):
            check.take(one)
    assert [head.seq for head in check.heads.values()] == [2, 2]


def test_logs_are_capped(monkeypatch):
    monkeypatch.setattr(histories, "ORIGINS_MAX", 1)
    check = verifier()
    check.take(batches(1)[0])
    with pytest.raises(HistoryBroken, match="verify them in parts"):
        check.take(batches(1, name="b")[0])


def test_what_is_no_batch_is_refused():
    with pytest.raises(MalformedMessage):
        verifier().take(SignedBatch(b"no batch", bytes(64)))
    with pytest.raises(OversizedMessage):
        verifier().take(SignedBatch(bytes(2 * 1024 * 1024), bytes(64)))


@given(st.data())
def test_no_changed_byte_passes(data):
    one = data.draw(st.sampled_from(batches(2)))
    part = data.draw(st.sampled_from(SignedBatch._fields))
    value = bytearray(getattr(one, part))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    check = verifier()
    with pytest.raises((BadSignature, HistoryBroken, WrongNetwork, MalformedMessage)):
        check.take(one._replace(**{part: bytes(value)}))
    assert not check.heads
