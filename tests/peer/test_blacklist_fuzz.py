"""BlacklistSync from a peer that sends what it likes, made from valid ones: it is taken or it is a ProtocolError, and
what is taken stays within its bounds."""

from __future__ import annotations

import contextlib
import random

import pytest
from claimkit import NETWORK, NOW_MS, OTHERS, PAIRS, SELF, signed
from hypothesis import given, settings
from hypothesis import strategies as st
from spoilkit import spoilt

from mycelium.errors import MalformedMessage, OversizedMessage, ProtocolError
from mycelium.peer.blacklist import Blacklist
from mycelium.protocol.messages import BlacklistSync, Claim, Proof, ProofHead

CLAIMS = [signed(issuer, accused) for issuer in OTHERS[:3] for accused in OTHERS[3:6]]
HEADS = [ProofHead("main", pair.account, at, 7 * at) for at, pair in enumerate(OTHERS[:4])]
CORPUS = [
    BlacklistSync([], []).encode(),
    BlacklistSync(CLAIMS, []).encode(),
    BlacklistSync([], HEADS).encode(),
    BlacklistSync(CLAIMS[:2], HEADS[:1]).encode(),
]
STAKES = {pair.account: 0 for pair in PAIRS}


def take(blacklist, payload):
    """What the node does with a payload."""
    said = BlacklistSync.decode(payload)
    for raw, signature in said.claims:
        blacklist.claim(raw, signature, NOW_MS)
        blacklist.weigh(NOW_MS)
    for head in said.proofs:
        assert len(head.account) == 32
        assert 1 <= len(head.space) <= 64
        assert 0 <= head.at < 2**64


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_the_corpus_is_valid(number):
    blacklist = Blacklist(SELF, NETWORK)
    blacklist.members(STAKES, STAKES, (), NOW_MS)
    take(blacklist, CORPUS[number])
    assert len(blacklist.claims) == len(BlacklistSync.decode(CORPUS[number]).claims)


@settings(max_examples=1500, deadline=None)
@given(number=st.integers(0, len(CORPUS) - 1), seed=st.integers(0, 2**64))
def test_any_bytes_are_taken_or_refused(number, seed):
    blacklist = Blacklist(SELF, NETWORK)
    blacklist.members(STAKES, STAKES, (), NOW_MS)
    payload = spoilt(CORPUS[number], random.Random(seed), CORPUS)
    with contextlib.suppress(ProtocolError):  # anything else is a bug
        take(blacklist, payload)
    valid = {raw for raw, _ in CLAIMS}
    assert {held.raw for held in blacklist.claims.all()} <= valid, "only what was signed is kept"
    assert not any(blacklist.is_blocked(pair.account) for pair in PAIRS)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_claims_and_proofs_too(seed):
    for kind, data in ((Claim, CLAIMS[0][0]), (Proof, Proof(CLAIMS[0], CLAIMS[1]).encode())):
        wrong = spoilt(data, random.Random(seed), CORPUS)
        with contextlib.suppress(MalformedMessage, OversizedMessage):
            found = kind.decode(wrong)
            assert kind.decode(found.encode()) == found
