"""Claims against an oracle that counts them from scratch; those that nobody may pass on; tables that are bounded."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from claimkit import HOUR_MS, NETWORK, NOW_MS, OTHERS, PAIRS, SELF, signed
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config.peer import CLAIM_CLOCK_SLACK_MS, CLAIM_LIFETIME_MS, CLAIMS_PER_ISSUER_MAX
from mycelium.errors import BadSignature, MalformedMessage, OversizedMessage, StaleMessage, WrongNetwork
from mycelium.identity.signing import BATCH, CLAIM
from mycelium.peer.claims import Claims, Verdict


def book(stakes=None, members=PAIRS):
    claims = Claims(SELF.account, NETWORK)
    claims.members(stakes if stakes is not None else {pair.account: 0 for pair in members})
    return claims


def nobody(account, issued_ms):
    return False


def oracle(live, stakes, pardoned):
    """From scratch, and slowly: who is accused by enough."""
    weights = {account: stake if stake > 0 else 1 for account, stake in stakes.items()}
    found = []
    for accused in stakes:
        if accused == SELF.account:
            continue
        by = {issuer for issuer, other in live if other == accused and accused not in pardoned}
        held = sum(weights[issuer] for issuer in by)
        if len(by) >= 5 and held * 3 >= sum(weights.values()):
            found.append((held, accused))
    return {accused for _, accused in sorted(found, reverse=True)[: len(stakes) // 10]}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_against_an_oracle(data):
    members = PAIRS[: data.draw(st.integers(6, 30))]
    stakes = {pair.account: data.draw(st.sampled_from([0, 1, 5, 50])) for pair in members}
    claims = book(stakes)
    live: dict[tuple[bytes, bytes], int] = {}
    accused = members[: data.draw(st.integers(1, 4))]
    for issuer in members:
        for one in accused:
            if one is issuer or issuer is SELF or not data.draw(st.integers(0, 3)):
                continue
            lifetime_ms = data.draw(st.sampled_from([HOUR_MS, 2 * HOUR_MS]))
            _, verdict = claims.offer(*signed(issuer, one, lifetime_ms=lifetime_ms), NOW_MS)
            assert verdict is Verdict.NEW
            live[issuer.account, one.account] = NOW_MS + lifetime_ms
    pardoned = {one.account for one in accused if data.draw(st.booleans())}
    for now_ms in (NOW_MS, NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS):
        claims.tick(now_ms)
        live = {key: until_ms for key, until_ms in live.items() if until_ms > now_ms}
        assert len(claims) == len(live)
        found = set(claims.greylisted(lambda account, issued_ms: account in pardoned))
        assert found == oracle(live, stakes, pardoned)
    assert not live


def test_their_order_decides_nothing():
    offered = [signed(issuer, accused) for issuer in OTHERS[5:] for accused in OTHERS[:5]]
    found = []
    for seed in range(5):
        claims = book()
        random.Random(seed).shuffle(offered)
        for one in offered:
            claims.offer(*one, NOW_MS)
        found.append(set(claims.greylisted(nobody)))
    assert len(found[0]) == 3, "a tenth of thirty"
    assert all(one == found[0] for one in found)


WRONG = {
    "signature": (lambda: (signed(OTHERS[0], OTHERS[1])[0], bytes(64)), BadSignature),
    "by another": (
        lambda: (signed(OTHERS[0], OTHERS[1])[0], OTHERS[2].sign(CLAIM, signed(OTHERS[0], OTHERS[1])[0])),
        BadSignature,
    ),
    "another domain": (
        lambda: (signed(OTHERS[0], OTHERS[1])[0], OTHERS[0].sign(BATCH, signed(OTHERS[0], OTHERS[1])[0])),
        BadSignature,
    ),
    "over": (
        lambda: signed(OTHERS[0], OTHERS[1], NOW_MS - HOUR_MS - CLAIM_CLOCK_SLACK_MS - 1),
        StaleMessage,
    ),
    "from the future": (
        lambda: signed(OTHERS[0], OTHERS[1], NOW_MS + CLAIM_CLOCK_SLACK_MS + 1),
        StaleMessage,
    ),
    "another subnet": (
        lambda: signed(OTHERS[0], OTHERS[1], network=replace(NETWORK, netuid=8)),
        WrongNetwork,
    ),
    "another chain": (
        lambda: signed(OTHERS[0], OTHERS[1], network=replace(NETWORK, genesis=bytes(32))),
        WrongNetwork,
    ),
    "itself": (lambda: signed(OTHERS[0], OTHERS[0]), MalformedMessage),
    "no time": (lambda: signed(OTHERS[0], OTHERS[1], lifetime_ms=0), MalformedMessage),
    "large": (lambda: (bytes(513), bytes(64)), OversizedMessage),
    "garbage": (lambda: (b"\7" * 100, bytes(64)), MalformedMessage),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_nobody_may_pass_on(name):
    make, error = WRONG[name]
    claims = book()
    with pytest.raises(error):
        claims.offer(*make(), NOW_MS)
    assert len(claims) == 0


def test_foreigners_have_no_say_and_are_not_accused():
    claims = book(members=OTHERS[:10])
    assert claims.offer(*signed(OTHERS[11], OTHERS[1]), NOW_MS)[1] is Verdict.FOREIGN
    assert claims.offer(*signed(OTHERS[1], OTHERS[11]), NOW_MS)[1] is Verdict.FOREIGN


def test_a_lifetime_is_clamped():
    claims = book()
    claims.offer(*signed(OTHERS[0], OTHERS[1], lifetime_ms=1000 * CLAIM_LIFETIME_MS), NOW_MS)
    claims.offer(*signed(OTHERS[1], OTHERS[0], expires=2**64 - 1), NOW_MS)
    claims.tick(NOW_MS + CLAIM_LIFETIME_MS - 1)
    assert len(claims) == 2
    claims.tick(NOW_MS + CLAIM_LIFETIME_MS)
    assert len(claims) == 0


def test_one_live_claim_of_one_about_another_the_newest():
    claims = book()
    newer = signed(OTHERS[0], OTHERS[1], NOW_MS + 1)
    assert claims.offer(*newer, NOW_MS)[1] is Verdict.NEW
    for one in (newer, signed(OTHERS[0], OTHERS[1])):
        assert claims.offer(*one, NOW_MS)[1] is Verdict.OLD
    assert [held.raw for held in claims.all()] == [newer[0]]


def test_who_accuses_everybody_accuses_few():
    claims = book()
    verdicts = [
        claims.offer(*signed(OTHERS[0], one, NOW_MS + at), NOW_MS)[1] for at, one in enumerate(OTHERS[1:])
    ]
    assert verdicts[:CLAIMS_PER_ISSUER_MAX] == [Verdict.NEW] * CLAIMS_PER_ISSUER_MAX
    assert Verdict.LATER in verdicts, "it says more than it may in a while"
    assert len(claims) <= CLAIMS_PER_ISSUER_MAX
    assert claims.greylisted(nobody) == {}


def test_claims_of_who_has_left_are_nothing():
    claims = book()
    for issuer in OTHERS[1:15]:
        claims.offer(*signed(issuer, OTHERS[0]), NOW_MS)
    assert set(claims.greylisted(nobody)) == {OTHERS[0].account}
    claims.members({pair.account: 0 for pair in (SELF, OTHERS[0], *OTHERS[10:])})
    assert len(claims.against(OTHERS[0].account)) == 5
    assert claims.greylisted(nobody) == {}, "five, but not a third"


def test_our_own_claims_are_ours_to_make():
    claims = book()
    held = claims.make(SELF, OTHERS[0].account, "malformed", NOW_MS, HOUR_MS)
    assert claims.offer(held.raw, held.signature, NOW_MS)[1] is Verdict.OLD
    other = book(members=PAIRS)
    other._account = OTHERS[5].account
    assert other.offer(held.raw, held.signature, NOW_MS)[1] is Verdict.NEW
