"""The record book: what is taken and what refused, and that books end equal whatever the order."""

from __future__ import annotations

import random

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium import config
from mycelium.errors import BadSignature, MalformedMessage, OversizedMessage, ProtocolError, UsageError
from mycelium.identity.signing import BATCH, ENDPOINT
from mycelium.peer import endpoints
from mycelium.peer.endpoints import EndpointBook, Head, Verdict, address, is_local, parse_address
from mycelium.protocol.messages import EndpointRecord

NOW_MS = 1_750_000_000_000
MS = 1_000_000
PAIRS = [kit.keypair(f"member {number}") for number in range(4)]
STRANGER = kit.keypair("stranger")
MEMBERS = {pair.account for pair in PAIRS}


def book(own=0, members=None):
    wanted = MEMBERS if members is None else members
    return EndpointBook(PAIRS[own].account, lambda account: account in wanted)


def record(pair=PAIRS[1], *, signer=None, domain=ENDPOINT, **fields):
    """(raw, signature) of a right record, unless told otherwise."""
    given = {
        "account": pair.account,
        "generation": 7,
        "record_seq": 1,
        "valid_from": NOW_MS * MS,
        "valid_until": (NOW_MS + 3_600_000) * MS,
        "addresses": ["ws://203.0.113.7:9090"],
        "features": 0,
        "prev_digest": bytes(32),
    } | fields
    raw = EndpointRecord(**given).encode()
    return raw, (signer or pair).sign(domain, raw)


def heads(books):
    return [sorted(one.heads()) for one in books]


# --- one record -------------------------------------------------------------------------------------------


def test_the_newest_number_wins_whatever_comes_first():
    old = record(record_seq=5, addresses=["ws://a.example:1"])
    new = record(record_seq=6, addresses=["ws://b.example:2"], generation=1)
    for order in ([old, new], [new, old]):
        one = book()
        for raw, signature in order:
            one.offer(raw, signature, NOW_MS)
        assert one.addresses(PAIRS[1].account, NOW_MS) == ("ws://b.example:2",)


def test_of_two_records_with_one_number_all_keep_the_same():
    pair = [record(addresses=[f"ws://{name}.example:1"]) for name in "ab"]
    found = []
    for order in (pair, pair[::-1]):
        one = book()
        for raw, signature in order:
            one.offer(raw, signature, NOW_MS)
        found.append(one.addresses(PAIRS[1].account, NOW_MS))
    assert found[0] == found[1]


def test_a_repeat_and_an_older_one_are_not_news():
    one = book()
    assert one.offer(*record(record_seq=5), NOW_MS)[1] is Verdict.NEW
    assert one.offer(*record(record_seq=5), NOW_MS)[1] is Verdict.OLD
    assert one.offer(*record(record_seq=4), NOW_MS)[1] is Verdict.OLD
    assert one.get(PAIRS[1].account).record.record_seq == 5


def test_records_of_strangers_are_not_kept():
    one = book()
    assert one.offer(*record(STRANGER), NOW_MS)[1] is Verdict.STRANGER
    assert len(one) == 0
    assert one.beyond([Head(STRANGER.account, 9, bytes(16))]) == ([], [])


def test_who_leaves_is_forgotten():
    members = set(MEMBERS)
    one = book(members=members)
    one.offer(*record(PAIRS[1]), NOW_MS)
    one.offer(*record(PAIRS[2]), NOW_MS)
    before = one.digest()
    assert one.retain() == []
    members.discard(PAIRS[1].account)
    assert one.retain() == [PAIRS[1].account]
    assert one.get(PAIRS[1].account) is None
    assert one.digest() != before
    assert one.offer(*record(PAIRS[1]), NOW_MS)[1] is Verdict.STRANGER


@pytest.mark.parametrize(
    "fields",
    [
        {"record_seq": 0},
        {"record_seq": endpoints.SEQ_MAX},
        {"record_seq": 2**64 - 1},
        {"valid_until": NOW_MS * MS},
        {"valid_until": 0},
        {"valid_until": (NOW_MS + config.ENDPOINT_LIFETIME_MS) * MS + 1},
        {"valid_from": 0, "valid_until": 2**64 - 1},
        {"addresses": ["ws://a.example:1"] * 2},
        {"addresses": [f"ws://a.example:{port}" for port in range(1, config.ENDPOINT_ADDRESSES_MAX + 2)]},
        {"addresses": [""]},
        {"addresses": ["wss://a.example:1"]},
        {"addresses": ["http://a.example:1"]},
        {"addresses": ["ws://a.example"]},
        {"addresses": ["ws://a.example:0"]},
        {"addresses": ["ws://a.example:09"]},
        {"addresses": ["ws://a.example:65536"]},
        {"addresses": ["ws://a.example:1/"]},
        {"addresses": ["ws://u:p@a.example:1"]},
        {"addresses": ["ws://a b:1"]},
        {"addresses": ["ws://A.example:1"]},
        {"addresses": ["ws://-a:1"]},
        {"addresses": ["ws://a.:1"]},
        {"addresses": ["ws://\u00e4.example:1"]},
        {"addresses": ["ws://a.example:\u0661"]},
        {"addresses": ["ws://a.example:1\n"]},
        {"addresses": ["ws://" + "a" * 254 + ":1"]},
        {"addresses": ["ws://[::1]"]},
        {"addresses": ["ws://[:::]:1"]},
        {"addresses": ["ws://[0:0:0:0:0:0:0:1]:1"]},
    ],
    ids=str,
)
def test_a_record_that_nobody_may_pass_on(fields):
    one = book()
    with pytest.raises(MalformedMessage):
        one.offer(*record(**fields), NOW_MS)
    assert len(one) == 0


def test_a_record_that_is_too_large_or_no_record():
    one = book()
    with pytest.raises(OversizedMessage):
        one.offer(bytes(config.ENDPOINT_BYTES_MAX + 1), bytes(64), NOW_MS)
    with pytest.raises(MalformedMessage):
        one.offer(b"\xff" * 100, bytes(64), NOW_MS)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: record(signer=PAIRS[2]),
        lambda: record(domain=BATCH),
        lambda: (record()[0], bytes(64)),
        lambda: (record()[0], b""),
        lambda: (record()[0], record(record_seq=2)[1]),
    ],
    ids=["another's", "another domain", "zeros", "none", "of another record"],
)
def test_a_record_that_its_account_did_not_sign(wrong):
    one = book()
    with pytest.raises(BadSignature):
        one.offer(*wrong(), NOW_MS)
    assert len(one) == 0
    assert one.offer(*record(), NOW_MS)[1] is Verdict.NEW


def test_a_repeat_costs_no_public_key_work(monkeypatch):
    one = book()
    one.offer(*record(), NOW_MS)

    def nothing(*_):
        raise AssertionError("verified")

    monkeypatch.setattr(endpoints, "verify", nothing)
    assert one.offer(*record(), NOW_MS)[1] is Verdict.OLD
    assert one.offer(*record(STRANGER), NOW_MS)[1] is Verdict.STRANGER


# --- time -------------------------------------------------------------------------------------------------


def test_a_record_of_the_future_waits_and_one_of_the_past_gives_no_address():
    one = book()
    slack_ms = config.ENDPOINT_CLOCK_SLACK_MS
    early = record(record_seq=9, valid_from=(NOW_MS + slack_ms + 1) * MS)
    assert one.offer(*early, NOW_MS)[1] is Verdict.LATER
    assert one.offer(*early, NOW_MS + 1)[1] is Verdict.NEW
    over = NOW_MS + 3_600_000 + slack_ms
    assert one.addresses(PAIRS[1].account, over - 1) == ("ws://203.0.113.7:9090",)
    assert one.addresses(PAIRS[1].account, over) is None
    # It stays as a mark: an older record, had it a longer life, does not come back.
    assert one.offer(*record(record_seq=8), over)[1] is Verdict.OLD


def test_an_empty_record_says_that_nobody_should_dial():
    one = book()
    assert one.addresses(PAIRS[1].account, NOW_MS) is None
    one.offer(*record(addresses=[]), NOW_MS)
    assert one.addresses(PAIRS[1].account, NOW_MS) == ()


def test_updates_of_one_account_are_limited_and_the_others_are_not():
    one = book()
    for seq in range(1, config.ENDPOINT_UPDATES_MAX + 1):
        assert one.offer(*record(record_seq=seq), NOW_MS)[1] is Verdict.NEW
    late = record(record_seq=100)
    assert one.offer(*late, NOW_MS)[1] is Verdict.LATER
    assert one.offer(*record(PAIRS[2]), NOW_MS)[1] is Verdict.NEW
    assert one.offer(*late, NOW_MS - 300_000)[1] is Verdict.LATER, "a clock set back gives nothing"
    assert one.offer(*late, NOW_MS - 300_000 + config.ENDPOINT_UPDATE_MS)[1] is Verdict.NEW


def test_what_fails_to_verify_takes_no_token():
    one = book()
    for _ in range(config.ENDPOINT_UPDATES_MAX + 1):
        with pytest.raises(BadSignature):
            one.offer(*record(signer=PAIRS[2]), NOW_MS)
    assert one.offer(*record(), NOW_MS)[1] is Verdict.NEW


# --- our own ----------------------------------------------------------------------------------------------


def test_our_numbers_never_go_back():
    one = book(own=1)
    pair = PAIRS[1]
    first = one.make(pair, 7, ["ws://a.example:1"], NOW_MS)
    again = one.make(pair, 7, ["ws://a.example:2"], NOW_MS - 86_400_000)
    assert again.record.record_seq == first.record.record_seq + 1
    assert again.record.prev_digest == first.digest
    # A restart: it loads what it kept. A backup of before: the time alone is above all.
    restarted = book(own=1)
    assert restarted.load(again.raw, again.signature)
    assert restarted.make(pair, 7, [], NOW_MS).record.record_seq > again.record.record_seq
    assert book(own=1).make(pair, 8, [], NOW_MS + 1_000).record.record_seq > again.record.record_seq
    # A backup with the clock restored too: others show it what it said later.
    lost = book(own=1)
    lost.make(pair, 8, [], NOW_MS - 1_000)
    assert lost.offer(again.raw, again.signature, NOW_MS - 1_000)[1] is Verdict.NEW
    assert lost.make(pair, 8, [], NOW_MS - 1_000).record.record_seq > again.record.record_seq


def test_our_record_is_one_that_others_take():
    one, other = book(own=1), book(own=2)
    made = one.make(PAIRS[1], 7, ["ws://a.example:1", "ws://[2001:db8::1]:2"], NOW_MS)
    assert other.offer(made.raw, made.signature, NOW_MS)[1] is Verdict.NEW
    assert one.digest() == other.digest()


def test_what_cannot_be_announced():
    one = book(own=1)
    with pytest.raises(UsageError, match="not ws://"):
        one.make(PAIRS[1], 7, ["ws://a"], NOW_MS)
    with pytest.raises(UsageError, match="addresses"):
        one.make(PAIRS[1], 7, [f"ws://a:{port}" for port in range(1, 9)], NOW_MS)
    used_up = record(PAIRS[1], record_seq=endpoints.SEQ_MAX - 1)
    one.offer(*used_up, NOW_MS)
    with pytest.raises(UsageError, match="number"):
        one.make(PAIRS[1], 7, [], NOW_MS)


def test_a_damaged_record_is_not_loaded():
    raw, signature = record()
    one = book()
    assert not one.load(raw[:-1], signature)
    assert not one.load(raw, bytes(64))
    assert not one.load(b"", b"")
    assert len(one) == 0
    assert one.load(raw, signature)


# --- addresses --------------------------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_an_address_is_refused_or_read_as_it_is_written(text):
    try:
        host, port = parse_address(text)
    except MalformedMessage:
        return
    assert text == f"ws://{host}:{port}"


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_every_ip_address_can_be_written(ip, port):
    text = address(str(ip), port)
    host, found = parse_address(text)
    assert (host.strip("[]"), found) == (str(ip), port)


@pytest.mark.parametrize(
    ("host", "port"), [("", 1), ("a b", 1), ("a", 0), ("a", 70_000), ("::g", 1)], ids=str
)
def test_what_is_no_address_cannot_be_written(host, port):
    with pytest.raises(UsageError):
        address(host, port)


def test_local_addresses_are_known():
    local = ["127.0.0.1", "[::1]", "localhost", "x.localhost", "0.0.0.0", "[::]", "169.254.1.1", "224.0.0.1"]
    assert all(is_local(f"ws://{host}:1") for host in [*local, "[::ffff:7f00:1]"])
    assert not any(
        is_local(f"ws://{host}:1") for host in ["203.0.113.7", "10.0.0.1", "a.example", "[2001:db8::1]"]
    )


# --- books among each other -------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(0, 2), st.booleans()),
        max_size=24,
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_all_books_end_equal_to_the_greatest_of_each(given_records, rng):
    offered = [
        record(
            PAIRS[of],
            record_seq=seq,
            generation=generation,
            valid_from=(NOW_MS - 90_000_000 * over) * MS,
            valid_until=(NOW_MS - 90_000_000 * over + 60_000) * MS,
        )
        for of, seq, generation, over in given_records
    ]
    books = []
    for _ in range(3):
        order = [*offered, *rng.sample(offered, len(offered) // 2)]
        rng.shuffle(order)
        one = book()
        for raw, signature in order:
            one.offer(raw, signature, NOW_MS)
        books.append(one)
    wanted = {}
    for raw, _ in offered:
        found = EndpointRecord.decode(raw)
        rank = (found.record_seq, endpoints.digest(raw)[:16])
        wanted[found.account] = max(rank, wanted.get(found.account, (0, b"")))
    assert heads(books) == [sorted(Head(account, *rank) for account, rank in wanted.items())] * 3
    assert len({one.digest() for one in books}) == 1


def exchange(one, other, now_ms):
    """One comparison, as two nodes make it."""
    if one.digest() == other.digest():
        return
    newer, wanted = one.beyond(other.heads())
    answered = [other.get(account) for account in wanted]
    for signed in newer:
        other.offer(signed.raw, signed.signature, now_ms)
    for signed in answered:
        one.offer(signed.raw, signed.signature, now_ms)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_books_that_compare_end_equal_whatever_limits_made_them_wait(seed, updates):
    rng = random.Random(seed)
    books = [book(own) for own in range(4)]
    now_ms = NOW_MS
    skew = [rng.randrange(-300_000, 300_000) for _ in books]
    for _ in range(updates):
        number = rng.randrange(4)
        made = books[number].make(PAIRS[number], 1, [f"ws://a:{rng.randrange(1, 99)}"], now_ms + skew[number])
        for at, other in enumerate(books):
            if at != number and rng.random() < 0.5:
                other.offer(made.raw, made.signature, now_ms + skew[at])
        now_ms += rng.randrange(2_000)
    for _ in range(6):
        now_ms += config.ENDPOINT_UPDATE_MS
        for at in range(4):
            exchange(books[at], books[(at + 1) % 4], now_ms)
    assert len({one.digest() for one in books}) == 1
    for number, one in enumerate(books):
        own = PAIRS[number].account
        assert all(other.get(own) == one.get(own) for other in books), "its own record is everybody's"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8),
    st.one_of(st.none(), st.integers(0, 400)),
)
def test_a_damaged_record_is_refused_and_nothing_else_happens(changes, cut):
    raw, signature = record()
    damaged = bytearray(raw)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    damaged = bytes(damaged[:cut])
    one = book()
    if damaged == raw:
        assert one.offer(damaged, signature, NOW_MS)[1] is Verdict.NEW
        return
    try:
        _, verdict = one.offer(damaged, signature, NOW_MS)
    except ProtocolError:
        verdict = None
    assert verdict in {None, Verdict.STRANGER, Verdict.LATER}
    assert len(one) == 0
