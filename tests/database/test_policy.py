"""Policy documents: what they allow, and each mistake in one said line."""

from __future__ import annotations

import json

import kit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config import POLICY_BYTES_MAX, POLICY_RULES_MAX
from mycelium.database import policy
from mycelium.database.policy import DEFAULT, MINER, OBSERVER, OWNER, VALIDATOR, WRITE, Action, encode, parse
from mycelium.errors import PolicyRefused
from mycelium.identity import account as accounts

SOMEBODY = kit.keypair("somebody").account
NAME = accounts.format(SOMEBODY)


def ruled(*rules, **more):
    return parse(json.dumps({"version": 1, "rules": rules, **more}).encode())


def rule(who=VALIDATOR, tables="main/*", may=("put",), **more):
    return {"who": who, "tables": tables, "may": list(may), **more}


def test_the_default():
    everything = Action.READ | Action.PUT | Action.DELETE
    for role, may in (
        (OWNER, everything | Action.ADMIN),
        (VALIDATOR, everything),
        (OBSERVER, Action.READ),
        (MINER, 0),
        (None, 0),
    ):
        for action in Action:
            assert DEFAULT.whole(role, SOMEBODY, action, "any") == (action in Action(may))
            assert DEFAULT.ranges(role, SOMEBODY, action, "any", "t").whole == (action in Action(may))
            assert DEFAULT.any(role, SOMEBODY, action) == (action in Action(may))


def test_rules_add_up_and_what_none_allows_is_denied():
    found = ruled(
        rule(MINER, "main/scores", keys={"prefix": "a"}),
        rule(NAME, "main/*", ["put", "read"], keys={"from": "c", "to": "0x64"}),
        rule(VALIDATOR, "*", ["put"]),
    )
    put = found.ranges(MINER, SOMEBODY, Action.PUT, "main", "scores")
    assert list(put) == [(b"a", b"b"), (b"c", b"d")]
    assert list(found.ranges(MINER, SOMEBODY, Action.READ, "main", "scores")) == [(b"c", b"d")]
    assert list(found.ranges(MINER, kit.keypair("other").account, Action.PUT, "main", "scores")) == [
        (b"a", b"b")
    ]
    assert not found.ranges(MINER, SOMEBODY, Action.DELETE, "main", "scores")
    assert not found.ranges(MINER, SOMEBODY, Action.PUT, "other", "scores")
    assert found.whole(VALIDATOR, SOMEBODY, Action.PUT, "other")
    assert not found.whole(VALIDATOR, SOMEBODY, WRITE, "other")
    assert not found.whole(MINER, SOMEBODY, Action.PUT, "main")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([OWNER, VALIDATOR, MINER, NAME]),
            st.sampled_from(["*", "main/*", "main/scores", "other/x"]),
            st.sets(st.sampled_from(["read", "put", "delete", "admin"]), min_size=1),
            st.none()
            | st.sampled_from([{"prefix": "a"}, {"from": "b"}, {"to": "b"}, {"from": "a", "to": "c"}]),
        ),
        max_size=6,
    ),
    st.sampled_from([OWNER, VALIDATOR, MINER, None]),
    st.sampled_from(list(Action)),
    st.sampled_from(["main", "other", "third"]),
    st.sampled_from(["scores", "x"]),
    st.sampled_from([b"a", b"ab", b"b", b"c", b"\xff"]),
)
def test_against_the_words_of_the_rules(rules, role, action, space, table, key):
    written = [rule(who, tables, may, **({"keys": keys} if keys else {})) for who, tables, may, keys in rules]
    found = ruled(*written)

    def holds(one):
        keys = one.get("keys") or {}
        low, high = keys.get("from", keys.get("prefix", "")).encode(), keys.get("to")
        return (
            one["who"] in {role, NAME}
            and one["tables"] in {"*", f"{space}/*", f"{space}/{table}"}
            and action.name.lower() in one["may"]
            and key.startswith(keys.get("prefix", "").encode())
            and low <= key
            and (high is None or key < high.encode())
        )

    allowed = any(holds(one) for one in written)
    assert (key in found.ranges(role, SOMEBODY, action, space, table)) == allowed
    if found.whole(role, SOMEBODY, action, space):
        assert allowed
    if allowed:
        assert found.any(role, SOMEBODY, action)


def test_quotas_of_a_role_and_of_an_account_both_hold():
    found = ruled(
        quotas=[
            {"who": VALIDATOR, "spaces": "*", "changes_per_epoch": 5},
            {"who": NAME, "spaces": "main", "bytes_per_epoch": 9},
        ]
    )
    assert len(found.quotas(VALIDATOR, SOMEBODY, "main")) == 2
    assert len(found.quotas(VALIDATOR, SOMEBODY, "other")) == 1
    assert found.quotas(MINER, kit.keypair("other").account, "main") == []


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"{", "not a policy document"),
        (b"\xff\xfe", "not a policy document"),
        (b'{"version":1,"rules":[],"extra":1}', "extra"),
        (b'{"version":2,"rules":[]}', "version 2"),
        (b" " * (POLICY_BYTES_MAX + 1), "at most"),
        ({"revoked": ["x"]}, r"revoked\[0\]"),
        ({"rules": [rule("king")]}, r"rules\[0\].who is 'king'"),
        ({"rules": [rule("5F" + "x" * 46)]}, r"rules\[0\].who"),
        ({"rules": [rule(tables="main")]}, "space/table"),
        ({"rules": [rule(tables="main/Sc ores")]}, "space/table"),
        ({"rules": [rule(tables="*/scores")]}, "of one space"),
        ({"rules": [rule(may=())]}, r"rules\[0\].may"),
        ({"rules": [rule(may=("fly",))]}, "name some of read, put"),
        ({"rules": [rule(OBSERVER, may=("read", "put"))]}, "observer only reads"),
        ({"rules": [rule(keys={"prefix": "a", "to": "b"})]}, "prefix stands alone"),
        ({"rules": [rule(keys={"from": "b", "to": "a"})]}, "holds no key"),
        ({"rules": [rule(keys={"prefix": "0xzz"})]}, "no hex"),
        ({"quotas": [{"who": VALIDATOR, "spaces": "*"}]}, "needs changes_per_epoch"),
        ({"quotas": [{"who": VALIDATOR, "spaces": "*", "bytes_per_epoch": -1}]}, "0 or more"),
        ({"quotas": [{"who": VALIDATOR, "spaces": "A B", "bytes_per_epoch": 1}]}, "name a space"),
        ({"rules": [rule()] * (POLICY_RULES_MAX + 1)}, "at most"),
    ],
)
def test_mistakes_are_said(document, said):
    data = (
        document
        if isinstance(document, bytes)
        else json.dumps({"version": 1, "rules": []} | document).encode()
    )
    with pytest.raises(PolicyRefused, match=said):
        parse(data)


def test_writing_one():
    data = encode({"version": 1, "rules": [rule()]})
    assert parse(data).whole(VALIDATOR, SOMEBODY, Action.PUT, "main")
    with pytest.raises(PolicyRefused):
        encode({"version": 1})
    assert policy.ROLES == (OWNER, VALIDATOR, MINER, OBSERVER)
