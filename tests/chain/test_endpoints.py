"""Which endpoint comes next: fewest failures first, jitter within its bounds, patience with who is busy."""

from __future__ import annotations

import random

import pytest
from chain.clientkit import Eager
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain.endpoints import Endpoints
from mycelium.chain.socket import Busy
from mycelium.config import CHAIN_BACKOFF_MAX_S, CHAIN_BACKOFF_MIN_S, CHAIN_BUSY_S
from mycelium.errors import ChainUnreachable, ConfigError, WrongChain

A, B, C = "ws://a", "wss://b", "ws://c"
GONE = ChainUnreachable("ws://a: connection refused")


def test_the_preferred_one_is_first_and_a_failed_one_last():
    endpoints = Endpoints([A, B, C], Eager())
    assert endpoints.next(0) == (A, 0)
    endpoints.failed(A, GONE, 0)
    assert endpoints.next(0) == (B, 0)
    endpoints.failed(B, GONE, 0)
    endpoints.failed(C, GONE, 0)
    endpoints.failed(C, GONE, 0)
    assert endpoints.next(0) == (A, 0)
    endpoints.good(C)
    assert endpoints.next(0) == (C, 0)


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_waits_are_drawn_below_a_bound_that_doubles(seed, failures):
    endpoints = Endpoints([A], random.Random(seed))
    for number in range(failures):
        wait_s = endpoints.failed(A, GONE, 100.0)
        assert 0 <= wait_s <= min(CHAIN_BACKOFF_MAX_S, CHAIN_BACKOFF_MIN_S * 2**number)
    url, left_s = endpoints.next(100.0)
    assert url == A
    assert 0 <= left_s <= CHAIN_BACKOFF_MAX_S


def test_jitter_is_full_and_its_bound_is_reached_and_forgotten():
    rng = Eager()
    endpoints = Endpoints([A], rng)
    for _ in range(12):
        endpoints.failed(A, GONE, 0)
    assert rng.bounds[:4] == [CHAIN_BACKOFF_MIN_S * 2**number for number in range(4)]
    assert rng.bounds[-1] == CHAIN_BACKOFF_MAX_S
    endpoints.good(A)
    endpoints.failed(A, GONE, 0)
    assert rng.bounds[-1] == CHAIN_BACKOFF_MIN_S


def test_who_is_busy_is_left_alone_longer():
    endpoints = Endpoints([A, B], Eager())
    assert endpoints.failed(A, Busy("ws://a: HTTP 429"), 0) == CHAIN_BUSY_S
    endpoints.failed(B, GONE, 0)
    endpoints.failed(B, GONE, 0)
    assert endpoints.next(1) == (B, 0)
    assert endpoints.next(CHAIN_BUSY_S) == (A, 0)


def test_why_nobody_can_be_asked_is_one_line_that_names_each():
    endpoints = Endpoints([A, B, C], Eager())
    endpoints.failed(A, GONE, 0)
    endpoints.failed(B, Busy("wss://b: HTTP 429"), 0)
    error = endpoints.error()
    assert isinstance(error, ChainUnreachable)
    assert error.what == (
        "the chain does not answer: ws://a: connection refused; wss://b: HTTP 429; ws://c: not tried in time"
    )
    assert error.remedy


def test_what_failed_in_a_hurry_does_not_hide_what_was_said_before():
    endpoints = Endpoints([A], Eager())
    late = ChainUnreachable("ws://a: not open within 0.02 s")
    endpoints.failed(A, late, 0, hurried=True)
    assert "not open" in endpoints.error().what
    endpoints.failed(A, GONE, 0)
    endpoints.failed(A, late, 0, hurried=True)
    assert "connection refused" in endpoints.error().what
    endpoints.failed(A, WrongChain("another chain"), 0, hurried=True)
    assert endpoints.hopeless


def test_only_where_each_is_another_chain_the_chain_is_the_wrong_one():
    endpoints = Endpoints([A, B], Eager())
    wrong = WrongChain("ws://a is another chain", "name another")
    assert endpoints.failed(A, wrong, 0) == CHAIN_BACKOFF_MAX_S
    assert not endpoints.hopeless
    assert isinstance(endpoints.error(), ChainUnreachable)
    endpoints.failed(B, wrong, 0)
    assert endpoints.hopeless
    assert isinstance(endpoints.error(), WrongChain)


@pytest.mark.parametrize("urls", [[], ["http://127.0.0.1:9944"], ["127.0.0.1:9944"]])
def test_what_is_no_endpoint(urls):
    with pytest.raises(ConfigError):
        Endpoints(urls, random.Random())


def test_the_same_one_twice_counts_once():
    assert Endpoints([A, B, A], Eager()).urls == (A, B)
