"""Grants: made, handed on and only ever narrower; every forgery refused."""

from __future__ import annotations

import kit
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config import GRANT_BLOCKS_MAX, GRANT_BYTES_MAX
from mycelium.database import grants
from mycelium.database.grants import Block, issue, network_id, read
from mycelium.database.policy import Action
from mycelium.database.ranges import EVERYTHING, NOTHING, Ranges, prefixed
from mycelium.errors import PolicyRefused
from mycelium.identity import signing

NETWORK = network_id(kit.NETUID, kit.GENESIS)
A, B, C = (kit.keypair(name) for name in "abc")
BOTH = Action.READ | Action.PUT


def token(keypair=A, to=B, may=BOTH, space="main", table="*", keys=EVERYTHING, epochs=(0, 100), **more):
    return issue(keypair, to.account, space, table, may, network=NETWORK, keys=keys, epochs=epochs, **more)


def test_a_grant_says_what_it_allows():
    grant = read(token(keys=prefixed(b"x")), NETWORK)
    assert (grant.issuer, grant.holder, len(grant.id)) == (A.account, B.account, 32)
    assert grant.allows(Action.PUT, "main", "scores", 5) == prefixed(b"x")
    assert grant.allows(Action.DELETE, "main", "scores", 5) == NOTHING
    assert grant.allows(Action.PUT, "other", "scores", 5) == NOTHING
    assert grant.allows(Action.PUT, "main", "scores", 101) == NOTHING
    assert read(token(table="scores"), NETWORK).allows(Action.PUT, "main", "hits", 5) == NOTHING


@given(
    st.sampled_from([Action.READ, Action.PUT, BOTH]),
    st.sampled_from(["*", "scores", "hits"]),
    st.sampled_from([EVERYTHING, prefixed(b"a"), prefixed(b"ab"), Ranges([(b"b", None)])]),
    st.tuples(st.integers(0, 9), st.integers(10, 20)),
    st.sampled_from(list(Action)),
    st.sampled_from(["scores", "hits"]),
    st.integers(0, 30),
)
def test_handing_on_never_widens(may, table, keys, epochs, action, asked, epoch):
    first = token(may=BOTH, table="scores", keys=prefixed(b"a"), epochs=(5, 15))
    second = token(B, C, may=may, table=table, keys=keys, epochs=epochs, parent=first)
    one, two = read(first, NETWORK), read(second, NETWORK)
    wide = one.allows(action, "main", asked, epoch)
    narrow = two.allows(action, "main", asked, epoch)
    assert (wide & narrow) == narrow
    assert (two.holder, two.issuer, two.ids[0]) == (C.account, A.account, one.id)


def test_only_its_holder_hands_it_on():
    with pytest.raises(PolicyRefused, match="who alone can hand it on"):
        token(C, A, parent=token())


def test_handed_on_too_often():
    chain, pairs = token(A, B), [B, A] * GRANT_BLOCKS_MAX
    for at in range(GRANT_BLOCKS_MAX - 1):
        chain = token(pairs[at], pairs[at + 1], parent=chain)
    with pytest.raises(PolicyRefused, match="1 to 8 blocks"):
        token(pairs[GRANT_BLOCKS_MAX - 1], C, parent=chain)


def test_a_grant_is_good_on_one_network():
    with pytest.raises(PolicyRefused, match="not signed"):
        read(token(), network_id(kit.NETUID + 1, kit.GENESIS))


@pytest.mark.parametrize(
    "change",
    [
        {"to": C.account},
        {"stop": None, "start": b""},
        {"may": 7},
        {"epoch_until": 10**6},
        {"issuer": C.account},
        {"signature": bytes(64)},
        {"signature": b""},
        {"space": "other"},
        {"table": "hits"},
    ],
)
def test_a_changed_block_is_refused(change):
    (block,) = msgspec.msgpack.decode(token(table="scores", keys=prefixed(b"q")), type=tuple[Block, ...])
    forged = msgspec.msgpack.encode([msgspec.structs.replace(block, **change)])
    with pytest.raises(PolicyRefused):
        read(forged, NETWORK)


def test_blocks_of_two_grants_do_not_mix():
    one, two = token(A, B), token(B, C)
    blocks = [msgspec.msgpack.decode(each, type=list[Block])[0] for each in (one, two)]
    with pytest.raises(PolicyRefused, match="block 1 of the grant is not signed"):
        read(msgspec.msgpack.encode(blocks), NETWORK)
    with pytest.raises(PolicyRefused, match="not by the account"):
        read(msgspec.msgpack.encode(blocks[::-1]), NETWORK)


@pytest.mark.parametrize(
    "keywords", [{"may": Action(0)}, {"may": Action.ADMIN}, {"epochs": (5, 4)}, {"table": "A B"}]
)
def test_what_makes_no_grant(keywords):
    with pytest.raises(PolicyRefused):
        token(**keywords)
    with pytest.raises(PolicyRefused, match="one range"):
        token(keys=Ranges([(b"a", b"b"), (b"c", b"d")]))


@given(st.binary(max_size=80))
def test_garbage_is_refused(data):
    with pytest.raises(PolicyRefused):
        read(data, NETWORK)


def test_too_large():
    with pytest.raises(PolicyRefused, match="at most"):
        read(bytes(GRANT_BYTES_MAX + 1), NETWORK)


def test_signatures_are_of_their_own_domain():
    assert signing.GRANT in signing.DOMAINS
    assert grants.TABLE == "sys.grants"
