"""The blacklist's machine: rule by rule, and against a slow oracle that looks at everything that ever happened."""

from __future__ import annotations

from dataclasses import replace

import kit
import msgspec
import pytest
from claimkit import HOUR_MS, NETWORK, NOW_MS, OTHERS, PAIRS, SELF, signed
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.config import peer as limits
from mycelium.errors import UsageError
from mycelium.peer.blacklist import Blacklist, Block, Forget, Listed, Rules, Save, Say, Standing, Unblock

BAD = "bad-signature"
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
A, B = OTHERS[0].account, OTHERS[1].account


def machine(stakes=None, rules=None, owners=(), pairs=PAIRS):
    found = Blacklist(SELF, NETWORK, rules)
    all_of_them = {pair.account: 0 for pair in pairs} | (stakes or {})
    assert found.members(all_of_them, all_of_them, owners, NOW_MS) == []
    return found


def fail(blacklist, account, times, now_ms=NOW_MS):
    return [effect for _ in range(times) for effect in blacklist.failure(account, BAD, now_ms)]


def restarted(blacklist, effects):
    """Another machine, with what was stored."""
    rows = {}
    for effect in effects:
        if isinstance(effect, Save):
            rows[effect.row.account] = msgspec.msgpack.encode(effect.row)
        elif isinstance(effect, Forget):
            rows.pop(effect.account, None)
    other = Blacklist(SELF, NETWORK, blacklist.rules)
    assert all(other.load(row) for row in rows.values())
    return other, other.members(blacklist._stakes, blacklist._stakes, (), NOW_MS)


def test_five_failures_greylist_for_an_hour():
    blacklist = machine()
    assert fail(blacklist, A, 4) == []
    save, block, say = fail(blacklist, A, 1)
    assert (save.row.account, save.row.greylistings) == (A, 1)
    assert (block.account, block.why) == (A, "greylisted for 3600 s: 5 bad-signature")
    assert (say.held.claim.accused, say.held.claim.reason, say.relay) == (A, BAD, False)
    assert blacklist.is_blocked(A)
    assert not blacklist.is_blocked(B)
    assert blacklist.tick(NOW_MS + HOUR_MS - 1) == []
    assert blacklist.tick(NOW_MS + HOUR_MS) == [Unblock(A)]
    assert blacklist.standing(A, NOW_MS + HOUR_MS) is Standing.GOOD


def test_ten_greylistings_blacklist():
    blacklist, now_ms = machine(), NOW_MS
    for _ in range(10):
        fail(blacklist, A, 5, now_ms)
        now_ms += HOUR_MS + 1
        blacklist.tick(now_ms)
    assert blacklist.standing(A, now_ms + 1000 * DAY_MS) is Standing.BLACKLISTED
    assert blacklist.tick(now_ms + 1000 * DAY_MS) == []


def test_greylistings_of_long_ago_do_not_count():
    blacklist, now_ms = machine(), NOW_MS
    for _ in range(20):
        fail(blacklist, A, 5, now_ms)
        now_ms += WEEK_MS + 1
        blacklist.tick(now_ms)
    assert blacklist.standing(A, now_ms) is Standing.GOOD


def test_a_few_failures_an_hour_are_forgotten():
    blacklist = machine()
    assert all(fail(blacklist, A, 1, NOW_MS + at * HOUR_MS // 4) == [] for at in range(100))


def test_a_stake_pardons_and_nothing_else_does():
    blacklist = machine({A: limits.PARDON_RAO, B: limits.PARDON_RAO - 1})
    assert fail(blacklist, A, 100) == []
    assert fail(blacklist, B, 100)
    assert blacklist.scores.score(A, NOW_MS) == -10, "it is seen all the same"
    # A stake that comes later pardons too, and one that goes does not.
    stakes = {pair.account: 0 for pair in PAIRS} | {B: limits.PARDON_RAO}
    assert blacklist.members(stakes, stakes, (), NOW_MS) == [Unblock(B)]
    assert [type(one) for one in blacklist.members(dict.fromkeys(stakes, 0), stakes, (), NOW_MS)] == [Block]


def test_no_stake_pardons_where_the_operator_says_so():
    blacklist = machine({A: 10**18}, Rules(pardon_rao=0))
    assert fail(blacklist, A, 5)


def test_only_members_have_a_record():
    blacklist = machine(pairs=PAIRS[:5])
    assert fail(blacklist, kit.keypair("stranger").account, 100) == []
    assert fail(blacklist, SELF.account, 100) == []
    assert len(blacklist.scores) == 0


def test_what_is_nobodys_fault_does_not_count():
    blacklist = machine()
    assert [blacklist.failure(A, "silence", NOW_MS) for _ in range(100)] == [[]] * 100


def test_a_proof_greylists_at_once_and_whoever_has_a_stake_not():
    blacklist = machine({B: limits.PARDON_RAO})
    assert Block in [type(one) for one in blacklist.proven(A, "equivocation", NOW_MS)]
    assert blacklist.explain(A, NOW_MS)["failures"] == {"proven-equivocation": 1}
    assert blacklist.proven(B, "equivocation", NOW_MS) == []


def test_a_claim_of_ours_is_not_made_where_it_shall_not_or_nobody_would_believe_it():
    assert [type(one) for one in fail(machine(rules=Rules(claims=False)), A, 5)] == [Save, Block]
    blacklist = machine()
    stakes = {pair.account: 0 for pair in PAIRS}
    blacklist.members(stakes, {A: 0, B: 0}, (), NOW_MS)
    assert [type(one) for one in fail(blacklist, A, 5)] == [Save, Block], "we do not write"


def accuse(blacklist, accused, issuers, now_ms=NOW_MS):
    found = []
    for issuer in issuers:
        found += blacklist.claim(*signed(issuer, accused, now_ms), now_ms)[1]
        found += blacklist.weigh(now_ms)
    return found


def test_a_quorum_greylists_while_it_lasts_and_counts_for_nothing_more():
    blacklist = machine()
    effects = accuse(blacklist, OTHERS[0], OTHERS[1:10])
    assert [type(one) for one in effects] == [Say] * 9, "nine of thirty are no third"
    effects = accuse(blacklist, OTHERS[0], OTHERS[10:11])
    assert [type(one) for one in effects] == [Say, Block]
    assert all(one.relay for one in effects if isinstance(one, Say))
    assert blacklist.standing(A, NOW_MS) is Standing.CLAIMED
    assert blacklist.explain(A, NOW_MS)["greylistings"] == 0
    assert len(blacklist.explain(A, NOW_MS)["claims"]) == 10
    assert blacklist.tick(NOW_MS + HOUR_MS) == [Unblock(A)]


@pytest.mark.parametrize("spared", ["owner", "stake", "never", "pardon"])
def test_whom_no_claim_touches(spared):
    stakes = {A: limits.PARDON_RAO} if spared == "stake" else {pair.account: 1 for pair in PAIRS}
    if spared == "stake":
        stakes |= {pair.account: limits.PARDON_RAO - 1 for pair in OTHERS[1:]}
    blacklist = machine(stakes, owners=[A] if spared == "owner" else ())
    if spared == "never":
        blacklist.put(A, Listed.NEVER, "", NOW_MS)
    accuse(blacklist, OTHERS[0], OTHERS[1:10])
    if spared == "pardon":
        blacklist.pardon(A, NOW_MS)
    # With the first ones they are more than enough.
    accuse(blacklist, OTHERS[0], OTHERS[10:19], NOW_MS + 1)
    assert len(blacklist.claims.against(A)) == 18
    assert blacklist.standing(A, NOW_MS) is Standing.GOOD
    assert blacklist.tick(NOW_MS) == []


def test_small_accounts_are_no_quorum_however_many():
    big = {pair.account: 900 * 10**9 for pair in OTHERS[20:]}
    blacklist = machine({pair.account: 10**9 for pair in PAIRS} | big)
    accuse(blacklist, OTHERS[0], OTHERS[1:20])
    assert blacklist.standing(A, NOW_MS) is Standing.GOOD


def test_a_tenth_at_most():
    blacklist = machine()
    for accused in OTHERS[:8]:
        accuse(blacklist, accused, OTHERS[10:25])
    assert sum(blacklist.is_blocked(pair.account) for pair in PAIRS) == 3


def test_the_operator_has_the_last_word_and_it_outlives_the_process():
    blacklist = machine({A: limits.PARDON_RAO})
    effects = blacklist.put(A, Listed.ALWAYS, "sends\nnonsense", NOW_MS)
    assert [type(one) for one in effects] == [Save, Block]
    assert effects[1].why == "blacklisted by the operator: sends?nonsense"
    other, blocked = restarted(blacklist, effects)
    assert [one.account for one in blocked] == [A]
    assert other.explain(A, NOW_MS)["by"] == "operator"
    assert other.pardon(A, NOW_MS)[1:] == [Unblock(A)]
    with pytest.raises(UsageError):
        other.pardon(B, NOW_MS)
    with pytest.raises(UsageError):
        other.put(SELF.account, Listed.ALWAYS, "", NOW_MS)


def test_a_greylisting_and_its_count_outlive_the_process():
    blacklist = machine()
    other, blocked = restarted(blacklist, fail(blacklist, A, 5))
    assert [one.account for one in blocked] == [A]
    assert other.explain(A, NOW_MS)["greylistings"] == 1
    assert other.tick(NOW_MS + HOUR_MS) == [Unblock(A)]


def test_the_lists_of_the_settings():
    rules = Rules(always=frozenset({A}), never=frozenset({B}))
    blacklist = Blacklist(SELF, NETWORK, rules)
    stakes = {pair.account: 0 for pair in PAIRS}
    assert [one.account for one in blacklist.members(stakes, stakes, (), NOW_MS)] == [A]
    assert fail(blacklist, B, 100) == []
    with pytest.raises(UsageError, match="settings"):
        blacklist.pardon(A, NOW_MS)
    assert blacklist.put(A, Listed.NEVER, "", NOW_MS)[1:] == [Unblock(A)], "a command is newer than the file"


def test_a_clock_that_is_set_back_does_not_make_it_longer():
    blacklist = machine()
    fail(blacklist, A, 5)
    assert blacklist.tick(NOW_MS - HOUR_MS + 1) == [], "an hour is within reason"
    assert blacklist.tick(NOW_MS - DAY_MS) == [Unblock(A)]


def test_a_damaged_record_is_left_out():
    blacklist = machine()
    assert not blacklist.load(b"\xc1 nonsense")
    assert blacklist.accounts() == []


def test_records_are_bounded_and_the_operators_word_goes_last(monkeypatch):
    monkeypatch.setattr(limits, "BLACKLIST_ROWS_MAX", 4)
    blacklist = machine()
    blacklist.put(A, Listed.ALWAYS, "", NOW_MS)
    effects = []
    for at, pair in enumerate(OTHERS[1:10]):
        effects += fail(blacklist, pair.account, 5, NOW_MS + at)
    assert len(blacklist._rows) == 4
    assert [one.account for one in effects if isinstance(one, Forget)] == [
        pair.account for pair in OTHERS[1:7]
    ]
    assert blacklist.is_blocked(A)
    with pytest.raises(UsageError, match="have a record"):
        blacklist.put(OTHERS[20].account, Listed.ALWAYS, "", NOW_MS)


def test_a_record_that_says_nothing_any_more_is_forgotten():
    blacklist = machine()
    fail(blacklist, A, 5)
    assert Forget(A) in blacklist.tick(NOW_MS + WEEK_MS + 1)
    assert blacklist._rows == {}


# --- against an oracle ------------------------------------------------------------------------------------


class Oracle:
    """Remembers all that happened and decides from the beginning each time."""

    def __init__(self, rules):
        self.rules = rules
        self.events = []

    def blocked(self, account, now_ms, rich):
        points, at_ms, greylistings, last_ms, until_ms = 0, 0, 0, -(10**15), 0
        black, listed = False, None
        for when_ms, who, what, spared in self.events:
            if who != account:
                continue
            if what in {"always", "never"}:
                listed = what
            elif what == "pardon":
                points, greylistings, last_ms, until_ms, black, listed = 0, 0, -(10**15), 0, False, None
            else:
                points -= min(points, (when_ms - at_ms) * self.rules.failures * 1000 // HOUR_MS)
                points = points + 1000
                at_ms = when_ms
                over = points > (self.rules.failures - 1) * 1000
                points = min(points, 2 * self.rules.failures * 1000)
                if over and not (spared or listed or black or when_ms < until_ms):
                    greylistings = 1 if when_ms - last_ms > WEEK_MS else greylistings + 1
                    last_ms, until_ms, points = when_ms, when_ms + self.rules.greylist_ms, 0
                    black = greylistings >= self.rules.greylistings
        if listed:
            return listed == "always"
        return not rich and (black or now_ms < until_ms)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_against_an_oracle(data):
    rules = Rules(failures=3, greylistings=3, claims=False)
    blacklist, oracle = machine(rules=rules), Oracle(rules)
    told = set()
    rich = {A: False, B: False}
    known = set()
    now_ms = NOW_MS
    for _ in range(data.draw(st.integers(1, 60))):
        now_ms += data.draw(st.sampled_from([0, 1, 1_000, HOUR_MS // 3, HOUR_MS, DAY_MS]))
        account = data.draw(st.sampled_from([A, B]))
        what = data.draw(
            st.sampled_from(["failure"] * 8 + ["always", "never", "pardon", "stake", "tick", "restart"])
        )
        effects = list(blacklist.tick(now_ms))
        if what == "failure":
            oracle.events.append((now_ms, account, what, rich[account]))
            effects += blacklist.failure(account, BAD, now_ms)
        elif what in {"always", "never"}:
            oracle.events.append((now_ms, account, what, False))
            effects += blacklist.put(account, Listed(what), "", now_ms)
            known.add(account)
        elif what == "pardon" and account in known:
            oracle.events.append((now_ms, account, what, False))
            effects += blacklist.pardon(account, now_ms)
            known.discard(account)
        elif what == "stake":
            rich[account] = not rich[account]
            stakes = {pair.account: 0 for pair in PAIRS}
            stakes |= {one: limits.PARDON_RAO for one in rich if rich[one]}
            effects += blacklist.members(stakes, stakes, (), now_ms)
        for effect in effects:
            if isinstance(effect, Block):
                assert effect.account not in told
                told.add(effect.account)
            elif isinstance(effect, Unblock):
                told.remove(effect.account)
            elif isinstance(effect, Forget):
                known.discard(effect.account)
        for one in (A, B):
            expected = oracle.blocked(one, now_ms, rich[one])
            assert blacklist.is_blocked(one) is (one in told) is expected, (what, one == A)


def test_rules_are_what_the_specification_says():
    assert replace(Rules()) == Rules(5, HOUR_MS, 10, 1000 * 10**9)
