"""Sync by vectors: the machine alone, and whole networks of it under loss, partitions and restarts."""

from __future__ import annotations

import random
from collections.abc import Sequence

import kit
import pytest

from mycelium.config import (
    SYNC_REPEAT_MAX_MS,
    SYNC_REPEAT_MIN_MS,
    SYNC_RESPONSE_BYTES,
    SYNC_TIMEOUT_MS,
    SYNC_WINDOW_BYTES,
)
from mycelium.database.engine import Applied, Engine
from mycelium.database.store import Column
from mycelium.database.sync import FRESH_MS, SyncMachine
from mycelium.database.vector import vector_to_wire
from mycelium.errors import Unauthorised
from mycelium.protocol.messages import Op, SyncRequest, SyncResponse

NOW = kit.NOW_MS
LATER = NOW + 10 * FRESH_MS


def machine(engine: Engine, may_read: bool = True) -> SyncMachine:
    return SyncMachine(engine, lambda _peer, _space: may_read, ["main"])


def pair() -> tuple[Engine, SyncMachine, Engine, SyncMachine]:
    """`a` and `b`, each with the other as its peer 1."""
    a, b = kit.engine("a"), kit.engine("b")
    left, right = machine(a), machine(b)
    left.peer_up(1, NOW)
    right.peer_up(1, NOW)
    return a, left, b, right


def fill(engine: Engine, batches: int, size: int = 1000) -> list[Applied]:
    return [kit.write(engine, kit.put(f"{n}", "x" * size)) for n in range(batches)]


def answer(server: SyncMachine, request: SyncRequest | None, now_ms: int = LATER) -> list[SyncResponse]:
    """All responses to a request, through their encoding."""
    assert request is not None
    server.request(1, SyncRequest.decode(request.encode()), now_ms)
    found = []
    while (response := server.pump(1)) is not None:
        found.append(SyncResponse.decode(response.encode()))
    return found


def ask(client: SyncMachine, server_engine: Engine, now_ms: int = LATER) -> SyncRequest | None:
    return client.digest_seen(1, "main", server_engine.vector_digest("main"), now_ms)


def test_first_contact_fetches_what_is_missing() -> None:
    a, left, b, right = pair()
    fill(a, 5)
    (response,) = answer(left, ask(right, a))
    assert len(response.batches) == 5
    assert response.done
    assert not response.more
    assert right.response(1, response, LATER) is None
    assert b.vector("main") == a.vector("main")
    assert kit.rows(b._store) == kit.rows(a._store)
    assert right.last_sync_ms == {"main": LATER}
    assert right.fetching == 0


def test_equal_vectors_need_nothing() -> None:
    a, left, b, right = pair()
    fill(a, 3)
    kit.exchange([a, b])
    assert ask(right, a) is None
    assert ask(left, b) is None


@pytest.mark.parametrize("changes", [1, 7, 600])
def test_two_histories_with_the_same_numbers_are_found(changes: int) -> None:
    """Found by the simulator: an equivocator that shows each half one history was never seen by any."""
    a, left, b, right = pair()
    liar = kit.engine("liar")
    fill(a, 3)
    kit.exchange([a, b])
    for engine, side in ((a, "left"), (b, "right")):
        rows = [(0, int(Op.PUT), f"{n}".encode(), b"\0" + side.encode()) for n in range(changes)]
        engine.receive(*kit.forge(liar, rows), NOW)
    assert a.vector("main") == b.vector("main")
    assert a.vector_digest("main") != b.vector_digest("main")
    sizes = []
    for _ in range(4):
        request = None
        while request is None:
            request = ask(right, a)
        (response,) = answer(left, request)
        sizes.append(len(response.batches))
        right.response(1, response, LATER)
    assert sizes == [0, 2, 0, 0], "not at first, when it may be a race, and once in a session"
    assert right.passed_over == {"equivocation": 1}
    assert kit.rows(b._store, Column.EVIDENCE)
    assert not kit.rows(a._store, Column.EVIDENCE)


def test_who_is_merely_late_is_not_sent_what_it_has() -> None:
    """Each time it asks it has become equal meanwhile; between two such times something new came."""
    a, left, b, right = pair()
    for _ in range(5):
        fill(a, 2)
        request = None
        while request is None:
            request = ask(right, a)
        kit.exchange([a, b])
        (response,) = answer(left, request._replace(vector=vector_to_wire(b.vector("main"))))
        right.response(1, response._replace(request_id=request.request_id), LATER)
        assert response.batches == []


def test_only_what_is_missing_is_sent() -> None:
    a, left, b, right = pair()
    made = fill(a, 9)
    for one in (made[0], made[3], made[4], made[8]):
        b.receive(one.batch.raw, one.signature, NOW)
    (response,) = answer(left, ask(right, a))
    assert [raw for raw, _ in response.batches] == [
        one.batch.raw for i, one in enumerate(made) if i not in (0, 3, 4, 8)
    ]


def test_windows_and_responses_are_bounded_and_go_on() -> None:
    a, left, b, right = pair()
    fill(a, 40, size=400_000)
    request, windows = ask(right, a), 0
    while request is not None:
        windows += 1
        responses = answer(left, request)
        total = 0
        for response in responses[:-1]:
            assert not response.done
        for response in responses:
            size = sum(len(raw) for raw, _ in response.batches)
            assert size <= SYNC_RESPONSE_BYTES or len(response.batches) == 1
            total += size
        assert total <= SYNC_WINDOW_BYTES + 410_000
        assert responses[-1].done
        for response in responses:
            request = right.response(1, response, LATER)
    assert windows == 4
    assert b.vector("main") == a.vector("main")


def test_a_small_window_of_the_requester_is_kept() -> None:
    a, left, b, _ = pair()
    fill(a, 10)
    responses = answer(left, SyncRequest(9, "main", vector_to_wire(b.vector("main")), 2_500, 0))
    assert sum(len(response.batches) for response in responses) <= 3
    assert responses[-1].more
    (empty,) = answer(left, SyncRequest(9, "main", vector_to_wire(a.vector("main")), 0, 0))
    assert empty.batches == []
    assert empty.done


def test_later_differences_must_be_seen_twice() -> None:
    a, _, b, right = pair()
    assert ask(right, a) is None
    fill(a, 1)
    assert ask(right, a) is None
    assert ask(right, a) is not None
    assert b.vector("main") == {}


def test_one_fetch_at_a_time_and_another_after_silence() -> None:
    a, left, b, right = pair()
    right.peer_up(2, NOW)
    fill(a, 2)
    first = ask(right, a)
    assert first is not None
    digest = a.vector_digest("main")
    assert right.digest_seen(2, "main", digest, LATER) is None
    assert right.digest_seen(2, "main", digest, LATER + SYNC_TIMEOUT_MS - 1) is None
    assert right.digest_seen(2, "main", digest, LATER + SYNC_TIMEOUT_MS) is not None
    # The silent peer answers after all: what it sends is as good as any.
    for response in answer(left, first):
        assert right.response(1, response, LATER) is None
    assert b.vector("main") == a.vector("main")
    assert right.fetching == 1


def test_a_lost_peer_frees_its_fetch() -> None:
    a, _, _, right = pair()
    right.peer_up(2, NOW)
    fill(a, 2)
    assert ask(right, a) is not None
    right.peer_down(1)
    assert right.fetching == 0
    assert right.digest_seen(2, "main", a.vector_digest("main"), LATER) is not None
    assert right.digest_seen(1, "main", a.vector_digest("main"), LATER) is None


def test_a_cut_connection_resumes_where_it_stopped() -> None:
    a, left, b, right = pair()
    made = fill(a, 20, size=100_000)
    responses = answer(left, ask(right, a))
    right.response(1, responses[0], LATER)
    got = len(responses[0].batches)
    assert 0 < got < len(made)
    right.peer_down(1)
    right.peer_up(1, LATER)
    again = answer(left, ask(right, a))
    assert sum(len(response.batches) for response in again) == len(made) - got
    for response in again:
        right.response(1, response, LATER)
    assert b.vector("main") == a.vector("main")
    assert b.counts["duplicate"] == 0


def test_a_new_request_replaces_the_one_before() -> None:
    a, left, b, _ = pair()
    fill(a, 20, size=100_000)
    wire = vector_to_wire(b.vector("main"))
    left.request(1, SyncRequest(1, "main", wire, SYNC_WINDOW_BYTES, 0), LATER)
    left.pump(1)
    left.request(1, SyncRequest(2, "main", wire, SYNC_WINDOW_BYTES, 0), LATER + SYNC_REPEAT_MIN_MS)
    seen = []
    while (response := left.pump(1)) is not None:
        seen.append(response)
    assert {response.request_id for response in seen} == {2}
    assert sum(len(response.batches) for response in seen) == 20


def test_the_same_request_at_once_goes_on_where_the_one_before_is() -> None:
    a, left, b, _ = pair()
    fill(a, 20, size=100_000)
    wire = vector_to_wire(b.vector("main"))
    left.request(1, SyncRequest(1, "main", wire, SYNC_WINDOW_BYTES, 0), LATER)
    first = left.pump(1)
    seen = []
    for number in range(2, 100):
        left.request(1, SyncRequest(number, "main", wire, SYNC_WINDOW_BYTES, 0), LATER + number)
        response = left.pump(1)
        if response is not None:
            seen.append(response)
    assert sum(len(response.batches) for response in [first, *seen]) == 20, "nothing is sent twice"


def test_a_fresh_batch_is_on_its_way_already() -> None:
    a, left, b, right = pair()
    fill(a, 3)
    responses = answer(left, ask(right, a, NOW + 1), NOW + FRESH_MS - 1)
    assert [response.batches for response in responses] == [[]]
    right.response(1, responses[0], NOW)
    assert b.vector("main") == {}
    # What is older than the session was never pushed on it, however young it is.
    left.peer_up(1, NOW + 10)
    (response,) = answer(left, SyncRequest(5, "main", [], SYNC_WINDOW_BYTES, 0), NOW + 20)
    assert len(response.batches) == 3


def test_strangers_to_a_space() -> None:
    a = kit.engine("a")
    server = machine(a, may_read=False)
    server.peer_up(1, NOW)
    request = SyncRequest(1, "main", [], SYNC_WINDOW_BYTES, 0)
    with pytest.raises(Unauthorised):
        server.request(1, request, NOW)
    readable = machine(a)
    readable.peer_up(1, NOW)
    with pytest.raises(Unauthorised):
        readable.request(1, request._replace(space="secret"), NOW)
    assert readable.digest_seen(1, "secret", bytes(16), NOW) is None
    readable.request(99, request, NOW)
    assert readable.pump(99) is None
    assert readable.pump(1) is None


class Network:
    """Nodes over a lossy, partitioned network with a virtual clock. Pushes may be lost; pings and sync too."""

    def __init__(self, size: int, rng: random.Random, edges: Sequence[tuple[int, int]]) -> None:
        self.rng = rng
        self.now_ms = NOW
        self.engines = [kit.engine(f"n{n}") for n in range(size)]
        self.machines = [machine(engine) for engine in self.engines]
        self.edges: set[tuple[int, int]] = set()
        self.loss = 0.0
        for edge in edges:
            self.connect(*edge)

    def connect(self, one: int, two: int) -> None:
        self.edges |= {(one, two), (two, one)}
        self.machines[one].peer_up(two, self.now_ms)
        self.machines[two].peer_up(one, self.now_ms)

    def cut(self, one: int, two: int) -> None:
        self.edges -= {(one, two), (two, one)}
        self.machines[one].peer_down(two)
        self.machines[two].peer_down(one)

    def restart(self, node: int) -> None:
        """A crash: what was not synced is gone, and so is everything in memory."""
        peers = [b for a, b in self.edges if a == node]
        for peer in peers:
            self.cut(node, peer)
        store = self.engines[node]._store
        self.engines[node] = kit.engine(f"n{node}", store.crash(self.rng.randrange(4)))  # type: ignore[attr-defined]
        self.machines[node] = machine(self.engines[node])
        for peer in peers:
            self.connect(node, peer)

    def lost(self) -> bool:
        return self.rng.random() < self.loss

    def write(self, node: int) -> None:
        engine = self.engines[node]
        if engine._log("main", engine.origin).gaps:
            return  # refuses to write until it has its own batches back
        applied = kit.write(
            engine, kit.put(f"{self.rng.randrange(30)}", str(self.rng.random())), now_ms=self.now_ms
        )
        engine._store.sync()  # pushed only when durable
        for a, b in sorted(self.edges):
            if a == node and not self.lost():
                self.engines[b].receive(applied.batch.raw, applied.signature, self.now_ms)

    def ping_round(self) -> None:
        self.now_ms += 1000
        for a, b in self.rng.sample(sorted(self.edges), len(self.edges)):
            if self.lost():
                continue
            request = self.machines[b].digest_seen(
                a, "main", self.engines[a].vector_digest("main"), self.now_ms
            )
            while request is not None and not self.lost():
                self.machines[a].request(b, request, self.now_ms)
                request = None
                while (response := self.machines[a].pump(b)) is not None and not self.lost():
                    request = self.machines[b].response(a, response, self.now_ms) or request
                if response is not None:
                    self.cut(a, b)  # TCP loses nothing in the middle: a loss is a broken connection
                    self.connect(a, b)
                    request = None


@pytest.mark.parametrize("seed", range(12))
def test_a_partial_mesh_converges_after_loss_partitions_and_crashes(seed: int) -> None:
    rng = random.Random(seed)
    size = 6
    ring = [(n, (n + 1) % size) for n in range(size)]
    network = Network(size, rng, ring)
    network.loss = 0.2
    for _ in range(120):
        action = rng.random()
        if action < 0.6:
            network.write(rng.randrange(size))
        elif action < 0.8:
            network.ping_round()
        elif action < 0.9:
            edge = ring[rng.randrange(size)]
            (network.cut if edge in network.edges else network.connect)(*edge)
        else:
            network.restart(rng.randrange(size))
    network.loss = 0.0
    for edge in ring:
        if edge not in network.edges:
            network.connect(*edge)
    # A fetch that broke off is given up after SYNC_TIMEOUT_MS, and its peer left alone for three times as long.
    for _ in range(3 * size + 4 * SYNC_TIMEOUT_MS // 1000 + 2):
        network.ping_round()
    first, *others = network.engines
    assert first.vector("main") != {}
    for other in others:
        assert other.vector("main") == first.vector("main")
        for column in (Column.LIVE, Column.DEAD):
            assert kit.rows(other._store, column) == kit.rows(first._store, column)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 500))
def test_many_more_meshes_converge(seed: int) -> None:
    test_a_partial_mesh_converges_after_loss_partitions_and_crashes(seed)


def test_who_asks_again_at_once_is_sent_only_what_is_new() -> None:
    a, left, _, right = pair()
    fill(a, 5)
    request = ask(right, a)

    def sent(now_ms: int) -> int:
        return sum(len(response.batches) for response in answer(left, request, now_ms))

    assert sent(LATER) == 5
    assert sent(LATER + 1) == 0
    fill(a, 2)
    assert sent(LATER + 2) == 2
    assert sent(LATER + 3) == 0
    assert left.passed_over["sync-repeated"] == 3
    now_ms, pauses = LATER, []
    for _ in range(12):
        asked_ms = now_ms
        while sent(now_ms) != 7:
            now_ms += 50
        pauses.append(now_ms - asked_ms)
        now_ms += 1
    assert pauses == sorted(pauses), "each time longer"
    assert SYNC_REPEAT_MAX_MS <= pauses[-1] <= SYNC_REPEAT_MAX_MS + 100, "and never for ever"
    assert pauses[0] <= 2 * SYNC_REPEAT_MIN_MS


def test_who_keeps_what_it_gets_never_waits() -> None:
    a, left, b, right = pair()
    for number in range(20):
        fill(a, 1, 10)
        request = right._ask(1, "main", LATER + number)
        (response,) = answer(left, request, LATER + number)
        assert len(response.batches) == 1
        right.response(1, response, LATER + number)
    assert b.vector("main") == a.vector("main")
    assert not left.passed_over
