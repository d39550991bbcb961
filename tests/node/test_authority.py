"""What a node allows now and in an epoch, from a membership and the documents it has."""

from __future__ import annotations

import json
from itertools import count

import pytest

from mycelium.config import POLICIES_CACHED_MAX, RIGHTS_CACHED_MAX
from mycelium.database.policy import Action
from mycelium.errors import ChainOutage
from mycelium.identity.keys import digest
from mycelium.metagraph.membership import Epoch, Member, SourceStatus
from mycelium.node.authority import SourceAuthority

ACCOUNT = b"a" * 32


class Chain:
    def __init__(self, policy=None, role="validator", status=None):
        self.tempo = 10
        self.present = Epoch(5, {ACCOUNT: Member(ACCOUNT, role)}, policy)
        self.said = status or SourceStatus(5, 57)

    def epoch(self):
        return self.present

    def epoch_at(self, number):
        return self.present if number == 5 else None

    def block_now(self, now_ms):
        return 57

    def status(self, now_ms):
        return self.said


def test_an_anchor_is_refused_while_the_chain_is_out():
    assert SourceAuthority(Chain()).anchor(0) == (5, 57)
    out = SourceStatus(5, 57, 4000.0, False, ("the chain is gone",))
    with pytest.raises(ChainOutage, match="the chain is gone"):
        SourceAuthority(Chain(status=out)).anchor(0)
    with pytest.raises(ChainOutage, match="not been heard"):
        SourceAuthority(Chain(status=SourceStatus(-1, -1, None, False))).anchor(0)


def test_rights_are_those_of_the_epoch():
    authority = SourceAuthority(Chain())
    assert authority.rights(6, ACCOUNT, "main") is None
    assert authority.rights(5, ACCOUNT, "main").whole(Action.PUT, "main")
    assert authority.rights(5, b"b" * 32, "main").role is None
    assert authority.rights(5, ACCOUNT, "main") is authority.rights_now(ACCOUNT)


def test_a_policy_is_looked_for_until_it_is_there():
    text = json.dumps(
        {"version": 1, "rules": [{"who": "validator", "tables": "main/*", "may": ["read"]}]}
    ).encode()
    authority = SourceAuthority(Chain(digest(text)))
    assert authority.rights(5, ACCOUNT, "main") is None
    assert authority.rights_now(ACCOUNT) is None
    assert authority.policy_missing() == digest(text)
    # In which it comes.
    assert authority.rights(5, ACCOUNT, "sys").whole(Action.READ, "sys")
    authority.documents = {digest(text): text}.get
    assert authority.policy_missing() is None
    assert authority.rights_now(ACCOUNT).whole(Action.READ, "main")
    assert not authority.rights(5, ACCOUNT, "main").whole(Action.PUT, "main")


def test_what_is_remembered_is_bounded():
    chain = Chain()
    authority = SourceAuthority(chain)
    for number in range(RIGHTS_CACHED_MAX + 50):
        authority.rights(5, number.to_bytes(32, "big"), "main")
    assert len(authority._rights) <= RIGHTS_CACHED_MAX
    texts = (json.dumps({"version": 1, "rules": [], "revoked": [f"{n:064x}"]}).encode() for n in count())
    for _ in range(POLICIES_CACHED_MAX + 5):
        text = next(texts)
        chain.present = Epoch(5, chain.present.members, digest(text))
        authority.documents = {digest(text): text}.get
        assert authority.rights_now(ACCOUNT) is not None
    assert len(authority._policies) <= POLICIES_CACHED_MAX
