"""Nonces: each one once while its extrinsic may be included, and free again when it cannot."""

from __future__ import annotations

import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mycelium.chain.nonces import Nonces
from mycelium.errors import ExtrinsicTimeout

ALICE, BOB = b"a" * 32, b"b" * 32


def test_two_within_one_block_though_the_node_has_not_heard_of_the_first():
    nonces = Nonces()
    assert [nonces.take(ALICE, 7, 100, 108) for _ in range(3)] == [7, 8, 9]
    assert nonces.take(BOB, 7, 100, 108) == 7
    assert nonces.peek(ALICE, 7, 100) == 10
    assert nonces.peek(ALICE, 20, 100) == 20


def test_a_refused_one_is_free_again():
    nonces = Nonces()
    assert nonces.take(ALICE, 7, 100, 108) == 7
    nonces.release(ALICE, 7)
    assert nonces.take(ALICE, 7, 100, 108) == 7
    assert nonces.take(ALICE, 7, 100, 108) == 8
    nonces.release(ALICE, 7)
    assert nonces.take(ALICE, 7, 100, 108) == 7


def test_one_whose_era_is_over_is_free_again():
    nonces = Nonces()
    assert nonces.take(ALICE, 7, 100, 108) == 7
    assert nonces.take(ALICE, 7, 107, 115) == 8
    assert nonces.take(ALICE, 7, 108, 116) == 7


def test_one_that_its_sender_chose_counts():
    nonces = Nonces()
    nonces.note(ALICE, 7, 108)
    assert nonces.take(ALICE, 7, 100, 108) == 8


def test_one_signs_at_a_time():
    nonces = Nonces()
    with nonces.turn(ALICE, 1):
        with pytest.raises(ExtrinsicTimeout, match="still being submitted"), nonces.turn(ALICE, 0.01):
            pass
        with nonces.turn(BOB, 0.01):
            pass
    with nonces.turn(ALICE, 0.01):
        pass


def test_threads_get_different_ones():
    nonces, taken = Nonces(), []
    threads = [
        threading.Thread(target=lambda: taken.extend(nonces.take(ALICE, 0, 1, 9) for _ in range(100)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(400))


class Accounts(RuleBasedStateMachine):
    """A chain that includes extrinsics in order, nodes that lag behind it, and refusals."""

    def __init__(self):
        super().__init__()
        self.nonces = Nonces()
        self.included = 0
        self.number = 1
        self.alive = {}

    @rule(lag=st.integers(0, 3))
    def submit(self, lag):
        nonce = self.nonces.take(ALICE, max(0, self.included - lag), self.number, self.number + 8)
        assert nonce not in self.alive, "of two living extrinsics one would be lost"
        self.alive[nonce] = self.number + 8

    @rule(data=st.data())
    def refuse(self, data):
        if self.alive:
            nonce = data.draw(st.sampled_from(sorted(self.alive)))
            del self.alive[nonce]
            self.nonces.release(ALICE, nonce)

    @rule(blocks=st.integers(1, 5))
    def block(self, blocks):
        self.number += blocks
        while self.included in self.alive:
            self.included += 1
        self.alive = {nonce: death for nonce, death in self.alive.items() if death > self.number}

    @invariant()
    def no_gap_stays(self):
        """With nothing alive the next nonce is the chain's own."""
        if not self.alive:
            assert self.nonces.peek(ALICE, self.included, self.number) == self.included


TestAccounts = Accounts.TestCase
