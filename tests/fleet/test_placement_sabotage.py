"""The model can fail: each rule of a fleet that is taken out is missed, and the promise that it kept is named."""

from __future__ import annotations

import pytest
from fleet.fleetservers import Broken
from fleet.fleetstorm import rampage

from mycelium.fleet import lease, parts, publishing
from mycelium.fleet.placement import Placement
from mycelium.fleet.publishing import Accepted, First, Found, Send, Unknown, identity
from mycelium.fleet.view import View

STORMS = 40


def broken(*promises):
    """The first storm that breaks a promise breaks one of these."""
    said = next(filter(None, map(_said, range(STORMS))), "")
    assert any(promise in said for promise in promises), said or f"{STORMS} storms broke nothing"


def _said(seed):
    try:
        rampage(seed)
    except Broken as error:
        return str(error)
    return ""


def test_a_lease_that_is_relied_on_for_longer_than_the_others_wait(monkeypatch):
    monkeypatch.setattr(lease, "FLEET_LEASE_OWN", 1.6)
    broken("I2", "reads", "answers a read", "begins to serve")


@pytest.mark.nightly
def test_a_slot_that_is_taken_though_its_holder_lives(monkeypatch):
    monkeypatch.setattr(View, "holder", lambda *_: None)
    broken("I2", "answers a read", "begins to serve", "I3")


def test_a_slot_that_is_served_before_what_comes_before_is_applied(monkeypatch):
    monkeypatch.setattr(parts.Held, "after", lambda *_: 0)
    broken("begins to serve", "answers a read")


def test_requests_that_are_answered_without_a_lease(monkeypatch):
    monkeypatch.setattr(Placement, "serves", lambda self, space, slot, _: (space, slot) in self._serving)
    broken("answers a read", "I2")


@pytest.mark.nightly
def test_an_answer_that_is_lost_and_taken_for_a_refusal(monkeypatch):
    def place(message, expected):
        answer = yield Send(message, expected)
        return answer.seq if isinstance(answer, Accepted) and not answer.duplicate else None

    monkeypatch.setattr(publishing, "place", place)
    broken("refused, and in the stream", "numbers a batch", "I2", "applied twice")


def test_a_publish_that_comes_after_whatever_is_there(monkeypatch):
    """As one does without naming the sequence number before: nobody can be fenced off."""

    def place(message, expected):
        while True:
            answer = yield Send(message, expected)
            if isinstance(answer, Accepted):
                return answer.seq
            if isinstance(answer, Unknown):
                continue
            taken = yield First(message.subject, expected)
            if isinstance(taken, Found):
                if identity(taken.headers) == message.identity:
                    return taken.seq
                expected = taken.seq

    monkeypatch.setattr(publishing, "place", place)
    broken("I1", "I2", "numbers a batch")
