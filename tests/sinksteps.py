"""What happens at a node, for tests of sinks: a little of everything, and anything at all for property tests."""

from __future__ import annotations

import math

import hypothesis.strategies as st
from sinkkit import FakeNode

from mycelium.database.value import value_of


def some(node: FakeNode) -> None:
    """A little of everything."""
    node.set("scores", "a", {"score": 0.5, "name": "one"})
    node.set("scores", "b", {"score": 2.0, "name": "two"}, account=1)
    node.add("hits", "x", 5)
    node.add("hits", "x", -2, account=1)
    node.insert("tags", "t", "red")
    node.insert("tags", "t", "red", account=1)
    node.insert("tags", "t", "blue")
    node.set("events", "e", {"at": 1})
    node.set("events", "e", {"at": 2}, account=1)
    node.set("profile", "p", {"name": "me"})


def later(node: FakeNode) -> None:
    """Changes to all of that."""
    node.set("scores", "a", {"score": 0.75, "name": "one"})
    node.delete("scores", "b")
    node.set("scores", "c", {"score": 1.0, "name": "three"})
    node.add("hits", "x", 10)
    node.add("hits", "y", 1)
    node.remove("tags", "t", "red")
    node.insert("tags", "u", "green")
    node.set("events", "e", {"at": 3})
    node.set("scores", "a", {"score": 9.0, "name": "old"}, at_ms=1)


KEYS = st.sampled_from([b"a", b"b", b"\\x61", b"\xff", b"n\0l", b"t\tb", "é".encode()])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    # Beyond 2^53 the shortest text of a whole float is another integer, which reads back as the same float.
    st.floats(-(2**53), 2**53),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -0.0]),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["a\0b", "\\N", "\\.", "tab\tnew\nline\\", {"$bytes": "x"}, {"$": 1}, 10**18, 0.1]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "b", "score", "key", "_x", "K", "k", "ctid", "n\0"]), inner, max_size=4
        ),
    ),
    max_leaves=6,
)
ACCOUNT = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(["scores", "profile", "events"]), KEYS, VALUES, ACCOUNT),
        st.tuples(st.just("delete"), st.sampled_from(["scores", "profile"]), KEYS, st.none(), ACCOUNT),
        st.tuples(st.just("add"), st.just("hits"), KEYS, st.integers(-(2**63), 2**63 - 1), ACCOUNT),
        st.tuples(st.just("insert"), st.just("tags"), KEYS, VALUES, ACCOUNT),
        st.tuples(st.just("remove"), st.just("tags"), KEYS, VALUES, ACCOUNT),
        st.tuples(st.just("old"), st.just("scores"), KEYS, VALUES, ACCOUNT),
        st.just(("run",)),
    ),
    min_size=1,
    max_size=14,
)


def play(node: FakeNode, verb: str, table: str, key: bytes, value, account: int) -> None:
    """One of STEPS."""
    if verb == "delete":
        node.delete(table, key, account=account)
    elif verb == "remove":
        node.remove(table, key, _some_element(node, key, value), account=account)
    elif verb == "old":
        node.set(table, key, value, account=account, at_ms=5)
    else:
        getattr(node, verb)(table, key, value, account=account)


def _some_element(node: FakeNode, key: bytes, otherwise):
    found = [row.value for row in node.rows() if row.table == "tags" and row.key == key]
    return value_of(found[0]) if found else otherwise
