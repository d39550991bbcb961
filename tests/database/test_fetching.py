"""Fetching a snapshot: several servers, slow ones, those that fail and those that lie; crashes in the midst of it."""

from __future__ import annotations

import random

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshotkit import (
    KINDS,
    LATER_MS,
    Late,
    Server,
    engine,
    fetch_of,
    fetched,
    history,
    logged,
    rows,
    trim,
)

from mycelium.config.database import SNAPSHOT_ASKS_PER_PEER, SNAPSHOT_TRIES_MAX
from mycelium.database import fetching
from mycelium.database.fetching import Fetch
from mycelium.database.memory import MemoryStore
from mycelium.database.snapshot import Page
from mycelium.database.vector import Held, Origin
from mycelium.errors import BadSignature, Equivocation, MalformedMessage, Unauthorised


@pytest.fixture(autouse=True)
def many_ranges(monkeypatch):
    monkeypatch.setattr(fetching, "SNAPSHOT_RANGE_MIN", 4)


def served(seed: int = 1, batches: int = 40, tables=KINDS, page_bytes: int = 600):
    """Three members that hold the same, as servers by their accounts."""
    authors = history(seed, batches, tables=tables)
    return authors, {one.origin.account: Server(one, page_bytes) for one in authors}


def test_all_are_asked_and_nothing_twice():
    authors, servers = served()
    joiner = engine("joiner")
    fetch, lied = fetched(joiner, servers)
    assert fetch.complete
    assert not lied
    assert all(server.asked for server in servers.values())
    asked = [(ask.origin, ask.first) for server in servers.values() for ask in server.asked]
    assert len(asked) == len(set(asked))
    assert rows(joiner) == rows(authors[0])
    assert fetch.news == len(logged(joiner)) == servers[authors[0].origin.account].surveyed().size
    progress = fetch.progress(LATER_MS + 20_000)
    assert progress.done == progress.total == sum(held.head for held in authors[0].vector("main").values())
    assert progress.remaining_s == 0


def test_what_is_held_is_not_asked_for():
    _, servers = served()
    joiner = engine("joiner")
    fetched(joiner, servers)
    for server in servers.values():
        server.asked.clear()
    again, _ = fetched(joiner, servers)
    assert again.complete
    assert not any(server.asked for server in servers.values())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_after_a_crash_it_goes_on_from_what_is_there(seed, rng):
    authors, servers = served(seed, 30)
    for one in authors:
        if rng.random() < 0.5:
            trim(one)
    store = MemoryStore()
    joiner = engine("joiner", store)
    crashes = 0
    while True:
        fetch, _ = fetched(joiner, servers, rng=rng, pages_max=rng.randrange(1, 6))
        if fetch.complete:
            break
        if rng.random() < 0.5:
            store.sync()
        held = joiner.vector("main")
        store = store.crash(rng.choice([None, 0, 1, 2]))
        joiner = engine("joiner", store)
        assert joiner.vector("main").keys() <= held.keys()
        crashes += 1
        if crashes > 40:
            rng = random.Random(seed)
            fetched(joiner, servers, rng=rng)
            break
    assert joiner.vector_digest("main") == authors[0].vector_digest("main")
    assert rows(joiner) == rows(authors[0])


def test_a_member_whose_session_ends_leaves_its_ranges_to_others():
    authors, servers = served()
    joiner = engine("joiner")
    fetch = fetch_of(joiner, servers)
    gone = min(servers)
    flying = fetch.asks(LATER_MS)
    assert {ask.peer for ask in flying} == set(servers)
    fetch.gone(gone)
    while not fetch.done:
        flying += fetch.asks(LATER_MS)
        ask = flying.pop(0)
        # What the one that is gone had sent comes late, and does no harm.
        for _ in fetch.take(ask, servers[ask.peer].page(ask), LATER_MS):
            pass
    assert fetch.complete
    assert gone not in fetch.sources
    assert rows(joiner) == rows(authors[0])


def test_a_member_that_fails_again_and_again_is_asked_no_more():
    authors, servers = served()
    joiner = engine("joiner")
    fetch = fetch_of(joiner, servers)
    broken = min(servers)
    now_ms, failures = LATER_MS, 0
    while not fetch.done:
        now_ms += 1_000
        for ask in fetch.asks(now_ms):
            if ask.peer == broken:
                failures += 1
                fetch.failed(ask, now_ms)
            else:
                for _ in fetch.take(ask, servers[ask.peer].page(ask), now_ms):
                    pass
    assert 3 <= failures <= 2 + SNAPSHOT_ASKS_PER_PEER
    assert fetch.complete
    assert rows(joiner) == rows(authors[0])


def test_it_ends_when_everybody_is_gone():
    _, servers = served()
    fetch = fetch_of(engine("joiner"), servers)
    fetch.asks(LATER_MS)
    for peer in servers:
        fetch.gone(peer)
    assert fetch.done
    assert not fetch.complete
    assert not fetch.asks(LATER_MS)


def test_a_slow_member_gives_its_ranges_to_the_others():
    authors, servers = served()
    joiner = engine("joiner")
    fetch = fetch_of(joiner, servers)
    slow = max(servers)
    now_ms, late = LATER_MS, []
    stuck = []
    while not fetch.done:
        now_ms += 100
        late += fetch.overdue(now_ms)
        for ask in fetch.asks(now_ms):
            if ask.peer == slow:
                stuck.append(ask)
            else:
                for _ in fetch.take(ask, servers[ask.peer].page(ask), now_ms + 10):
                    pass
        assert now_ms < LATER_MS + 100_000
    assert fetch.complete
    assert len(stuck) == len(late) == SNAPSHOT_ASKS_PER_PEER
    for ask in stuck:
        for _ in fetch.take(ask, servers[slow].page(ask), now_ms):
            pass
    assert rows(joiner) == rows(authors[0])


def test_the_only_member_may_be_as_slow_as_it_is():
    authors, servers = served()
    only = dict([min(servers.items())])
    joiner = engine("joiner")
    fetch = fetch_of(joiner, only)
    now_ms = LATER_MS
    while not fetch.done:
        now_ms += 60_000
        assert not fetch.overdue(now_ms)
        for ask in fetch.asks(now_ms):
            for _ in fetch.take(ask, only[ask.peer].page(ask), now_ms):
                pass
    assert rows(joiner) == rows(authors[0])


def test_a_slow_member_is_asked_for_what_only_it_has():
    _authors, servers = served()
    joiner = engine("joiner")
    slow = max(servers)
    vectors = {peer: server.surveyed().vector for peer, server in servers.items()}
    fetch = Fetch("main", joiner, vectors, LATER_MS)
    fetch._sources[slow].slow = True
    assert slow not in {ask.peer for ask in fetch.asks(LATER_MS)}
    for peer in servers:
        if peer != slow:
            fetch.gone(peer)
    assert slow in {ask.peer for ask in fetch.asks(LATER_MS)}


def test_what_cannot_be_taken_yet_is_asked_for_again_and_then_left():
    authors, servers = served()
    unknowing = Late(blocks_known=0)
    joiner = engine("joiner", authority=unknowing)
    fetch = fetch_of(joiner, servers)
    now_ms, asked = LATER_MS, 0
    while not fetch.done:
        now_ms += 100
        for ask in fetch.asks(now_ms):
            asked += 1
            for _ in fetch.take(ask, servers[ask.peer].page(ask), now_ms):
                pass
    assert not fetch.complete
    assert not rows(joiner)[0]
    assert asked == SNAPSHOT_TRIES_MAX * sum(len(ranges) for ranges in fetch._by_origin.values())
    assert now_ms - LATER_MS > 10_000
    unknowing.blocks_known = 2**62
    joiner.known(now_ms)
    fetched(joiner, servers)
    assert rows(joiner) == rows(authors[0])


def test_it_goes_on_as_soon_as_the_epoch_is_known():
    authors, servers = served()
    unknowing = Late(blocks_known=0)
    joiner = engine("joiner", authority=unknowing)
    fetch = fetch_of(joiner, servers)
    now_ms = LATER_MS
    while not fetch.done:
        now_ms += 100
        if now_ms == LATER_MS + 3_000:
            unknowing.blocks_known = 2**62
            joiner.known(now_ms)
        for ask in fetch.asks(now_ms):
            for _ in fetch.take(ask, servers[ask.peer].page(ask), now_ms):
                pass
    assert fetch.complete
    assert joiner.vector_digest("main") == authors[0].vector_digest("main")
    assert rows(joiner) == rows(authors[0])


def test_a_log_that_a_proof_has_ended_is_fetched_up_to_there():
    authors, servers = served(tables=("scores",))
    joiner = engine("joiner")
    origin = authors[0].origin
    vectors = {peer: server.surveyed().vector for peer, server in servers.items()}
    fetch = Fetch("main", joiner, vectors, LATER_MS, lambda one: 5 if one == origin else None)
    assert max(one.last for one in fetch._by_origin[origin]) == 4
    assert not any(one.tail for one in fetch._by_origin[origin])


# --- who lies ---------------------------------------------------------------------------------------------


def altered(ask, page):
    """A byte of the first batch is another."""
    if not page.batches:
        return page
    raw, sig = page.batches[0]
    return Page([(raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:], sig), *page.batches[1:]], page.following)


def backwards(ask, page):
    return Page(page.batches[::-1], page.following)


def repeated(ask, page):
    return Page([*page.batches, *page.batches], page.following)


def endless(ask, page):
    """Always the same number to go on with."""
    return Page([], ask.first)


def beyond(ask, page):
    return Page(page.batches, ask.last + 1)


def before(ask, page):
    return Page(page.batches, 1) if ask.first > 1 else Page([], 1)


LIES = {
    "altered": (altered, (BadSignature, MalformedMessage)),
    "backwards": (backwards, (MalformedMessage,)),
    "repeated": (repeated, (MalformedMessage,)),
    "endless": (endless, (MalformedMessage,)),
    "beyond": (beyond, (MalformedMessage,)),
    "before": (before, (MalformedMessage,)),
}


@pytest.mark.parametrize("name", sorted(LIES))
def test_a_member_that_breaks_a_rule_is_found_out_and_does_no_harm(name):
    lie, kinds = LIES[name]
    authors, servers = served(batches=60, page_bytes=2_000)
    liar = min(servers)
    servers[liar].lie = lie
    joiner = engine("joiner")
    fetch, lied = fetched(joiner, servers)
    assert lied.keys() == {liar}
    assert isinstance(lied[liar], kinds)
    assert fetch.complete
    assert rows(joiner) == rows(authors[0])
    assert joiner.vector_digest("main") == authors[0].vector_digest("main")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2_000), st.integers(1, 1_000))
def test_no_altered_byte_gets_in(where, seed):
    authors, servers = served(seed % 7, 20)
    liar = min(servers)

    def lie(ask, page):
        if not page.batches:
            return page
        raw, sig = page.batches[0]
        whole = bytearray(raw + sig)
        whole[where % len(whole)] ^= 1
        return Page([(bytes(whole[: len(raw)]), bytes(whole[len(raw) :])), *page.batches[1:]], page.following)

    servers[liar].lie = lie
    joiner = engine("joiner")
    fetch, lied = fetched(joiner, servers)
    assert lied.keys() == {liar}
    assert fetch.complete
    assert rows(joiner) == rows(authors[0])
    assert not joiner.frozen._proven, "nobody but the liar is to blame"


def test_batches_of_another_space_or_origin_are_refused():
    _authors, servers = served()
    stranger = engine("stranger")
    aside = kit.write(stranger, kit.put("k", table="aside"))
    other = kit.write(stranger, kit.put("k"))
    for foreign in (aside, other):
        joiner = engine("joiner")
        liar = min(servers)
        servers[liar].lie = lambda ask, page, one=foreign: Page([(one.batch.raw, one.signature)], 0)
        fetch, lied = fetched(joiner, servers)
        assert isinstance(lied[liar], MalformedMessage)
        assert fetch.complete
        assert stranger.origin not in joiner.vector("main")


def test_a_head_that_does_not_exist_is_believed_of_nobody_and_costs_a_question():
    authors, servers = served()
    liar = min(servers)
    made_up = Origin(kit.keypair("nobody").account, 5)
    vector = dict(servers[liar].surveyed().vector)
    servers[liar].survey = (
        servers[liar]
        .surveyed()
        ._replace(vector=vector | {authors[0].origin: Held(2**60, ()), made_up: Held(2**60, ())})
    )
    joiner = engine("joiner")
    fetch, lied = fetched(joiner, servers)
    assert not lied
    assert fetch.complete
    assert joiner.vector_digest("main") == authors[0].vector_digest("main")
    assert fetch.progress(LATER_MS).total < 2**20
    alone = engine("alone")
    fetch, _ = fetched(alone, {liar: servers[liar]})
    assert alone.vector_digest("main") == authors[0].vector_digest("main"), "it can say it, and not show it"


def test_what_a_member_withholds_is_not_seen_here_and_comes_by_walking_through_another():
    authors, servers = served(tables=("scores", "hits"), page_bytes=5_000)
    liar = min(servers)
    servers[liar].lie = lambda ask, page: Page(page.batches[-1:], page.following)
    joiner = engine("joiner")
    _fetch, lied = fetched(joiner, {liar: servers[liar]})
    assert not lied
    assert joiner.vector_digest("main") == authors[0].vector_digest("main"), (
        "the vector is that of the whole log"
    )
    assert rows(joiner) != rows(authors[0])
    honest = max(servers)
    again, _ = fetched(joiner, {honest: servers[honest]}, again=True)
    assert again.news > 0
    assert rows(joiner) == rows(authors[0])


def test_what_a_server_sends_of_its_own_that_breaks_a_rule_is_its_own_fault():
    authors, servers = served()
    refusing = Late(writers={one.origin.account for one in authors[1:]})
    joiner = engine("joiner", authority=refusing)
    fetch, lied = fetched(joiner, servers)
    assert lied.keys() == {authors[0].origin.account}
    assert isinstance(lied[authors[0].origin.account], (Unauthorised, Equivocation))
    assert fetch.passed_over > 0, "the others were right to take it"
    assert authors[0].origin not in joiner.vector("main")
    assert {one.origin for one in authors[1:]} == set(joiner.vector("main"))


def test_a_member_that_comes_later_takes_its_share():
    authors, servers = served()
    first, later, last = servers
    joiner = engine("joiner")
    fetch = fetch_of(joiner, {first: servers[first]})
    fetch.add(later, servers[later].surveyed().vector)
    fetch.add(later, {})
    assert fetch.sources == sorted([first, later])
    flying = fetch.asks(LATER_MS)
    assert {ask.peer for ask in flying} == {first, later}
    fetch.gone(first)
    fetch.add(last, servers[last].surveyed().vector)
    while not fetch.done:
        flying += fetch.asks(LATER_MS)
        ask = flying.pop(0)
        for _ in fetch.take(ask, servers[ask.peer].page(ask), LATER_MS):
            pass
    assert fetch.complete
    assert rows(joiner) == rows(authors[0])
