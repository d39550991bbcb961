"""Ordinary sync beside voids: what was dropped is said so, taken on nobody's word, and not asked for without end."""

from __future__ import annotations

import kit
import pytest
from snapshotkit import LATER_MS, Server, engine, fetched, rows, trim

from mycelium.config import SYNC_WINDOW_BYTES
from mycelium.config.database import SYNC_VOID_MS
from mycelium.database.sync import SyncMachine
from mycelium.database.vector import vector_to_wire
from mycelium.protocol.messages import OriginVersion, SyncRequest, SyncResponse


def machine(one, accounts):
    made = SyncMachine(one, lambda _peer, _space: True, ["main"])
    for peer, account in accounts.items():
        made.peer_up(peer, LATER_MS - 10_000, account)
    return made


def answered(server, request, now_ms=LATER_MS):
    server.request(1, SyncRequest.decode(request.encode()), now_ms)
    found = []
    while (response := server.pump(1)) is not None:
        found.append(SyncResponse.decode(response.encode()))
    return found


@pytest.fixture
def world():
    """An author whose log is trimmed, another member that has it whole, and one that has the first batch."""
    author, whole, late = engine("author"), engine("whole"), engine("late")
    for number in range(30):
        kit.write(author, kit.put(f"k{number % 3}", str(number)))
        if not number:
            kit.exchange([author, late], LATER_MS)
    kit.exchange([author, whole], LATER_MS)
    assert trim(author).dropped == 27
    return author, whole, late


def test_what_was_dropped_is_named_and_nothing_beyond_it_is_sent(world):
    author, _, late = world
    server, asker = machine(author, {1: b"late"}), machine(late, {7: b"author", 8: b"whole"})
    request = asker.digest_seen(7, "main", author.vector_digest("main"), LATER_MS)
    (response,) = answered(server, request)
    assert not response.batches
    assert response.vector == [OriginVersion(*author.origin, 0, [(2, 30)])]
    assert asker.response(7, response, LATER_MS) is None
    assert late.vector("main")[author.origin].head == 1, "nobody's word is taken for it"
    assert not late.voided
    assert "main" not in asker.last_sync_ms


def test_the_one_who_dropped_it_is_left_alone_for_a_while_and_others_are_asked(world):
    author, whole, late = world
    server, asker = machine(author, {1: b"late"}), machine(late, {7: b"author", 8: b"whole"})
    digest = author.vector_digest("main")
    (response,) = answered(server, asker.digest_seen(7, "main", digest, LATER_MS))
    asker.response(7, response, LATER_MS)
    assert [asker.digest_seen(7, "main", digest, LATER_MS + at) for at in range(1, SYNC_VOID_MS, 999)] == [
        None
    ] * 31
    request = asker.digest_seen(8, "main", digest, LATER_MS + 2_000)
    for one in answered(machine(whole, {1: b"late"}), request):
        asker.response(8, one, LATER_MS + 2_000)
    assert late.vector_digest("main") == digest
    assert rows(late) == rows(whole) == rows(author)
    assert not asker.differs("main", 8) or asker.digest_seen(8, "main", digest, LATER_MS) is None


def test_after_that_while_it_is_asked_again(world):
    author, _, late = world
    server, asker = machine(author, {1: b"late"}), machine(late, {7: b"author"})
    digest = author.vector_digest("main")
    (response,) = answered(server, asker.digest_seen(7, "main", digest, LATER_MS))
    asker.response(7, response, LATER_MS)
    assert asker.digest_seen(7, "main", digest, LATER_MS + SYNC_VOID_MS) is not None


def test_while_a_snapshot_is_fetched_nothing_is_asked_for(world):
    author, whole, late = world
    asker = machine(late, {7: b"whole"})
    asker.suspended.add("main")
    assert asker.digest_seen(7, "main", whole.vector_digest("main"), LATER_MS) is None
    assert asker.differs("main")
    assert asker.differs("main", 7)
    assert not asker.differs("main", 99)
    asker.suspended.discard("main")
    request = asker.digest_seen(7, "main", whole.vector_digest("main"), LATER_MS)
    asker.suspended.add("main")
    batches = [(raw, sig) for _, raw, sig in whole.log_records("main", author.origin, 2, 3)]
    assert (
        asker.response(7, SyncResponse(request.request_id, "main", batches, True, True, []), LATER_MS) is None
    )
    assert late.vector("main")[author.origin].head == 3, "what comes all the same is taken"


def test_who_lacks_only_what_is_beyond_the_void_gets_it(world):
    author, whole, _ = world
    late = engine("other")
    fetched(late, {author.origin.account: Server(author)})
    kit.write(author, kit.put("k9", "new"), now_ms=LATER_MS - 60_000)
    kit.exchange([author, whole], LATER_MS)
    server, asker = machine(author, {1: b"late"}), machine(late, {7: b"author"})
    request = asker.digest_seen(7, "main", author.vector_digest("main"), LATER_MS)
    (response,) = answered(server, request)
    assert len(response.batches) == 1
    assert not response.vector
    asker.response(7, response, LATER_MS)
    assert late.vector_digest("main") == author.vector_digest("main")


def test_what_a_server_has_between_two_voids_is_not_sent_as_a_gap():
    author = engine("author")
    for key in ("a", "b", "c", "d", "b", "c", "a", "c", "b"):
        kit.write(author, kit.put(key, key))
    trim(author)
    request = SyncRequest(1, "main", vector_to_wire({}), SYNC_WINDOW_BYTES, 0)
    (response,) = answered(machine(author, {1: b"late"}), request)
    assert not response.batches
    assert response.vector == [OriginVersion(*author.origin, 0, [(1, 9)])]
