"""The token bucket against one that counts tokens, and what a flood costs who sends it."""

from __future__ import annotations

import asyncio
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from peer.linkkit import Node, local, run, until

from mycelium import config
from mycelium._core import fanout
from mycelium.peer import link as link_module
from mycelium.peer.bucket import Bucket
from mycelium.protocol.messages import MessageType, Ping


class Slow:
    """Tokens as an exact number."""

    def __init__(self, rate_s, burst):
        self.rate_s, self.burst, self.tokens, self.at_ns = rate_s, burst, Fraction(burst), None

    def take(self, amount, now_ns):
        if self.at_ns is not None:
            self.tokens += Fraction(self.rate_s * (now_ns - self.at_ns), 10**9)
        self.at_ns = now_ns
        self.tokens = min(self.tokens, Fraction(self.burst)) - amount
        return max(Fraction(0), -self.tokens * 10**9 / self.rate_s)


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**12)), max_size=30),
)
def test_it_says_what_an_exact_one_says(rate_s, burst, steps):
    bucket, oracle, now_ns = Bucket(rate_s, burst), Slow(rate_s, burst), 10**18
    for number, (amount, passed_ns) in enumerate(steps, 1):
        now_ns += passed_ns
        # Each step rounds by less than a nanosecond.
        assert abs(bucket.take(amount, now_ns) - oracle.take(amount, now_ns)) <= number + 1


def test_when_it_is_full():
    bucket = Bucket(10, 5)
    assert bucket.is_full(0)
    bucket.take(1, 0)
    assert not bucket.is_full(0)
    assert bucket.is_full(10**8)


def test_a_flood_is_read_at_the_rate_that_is_allowed_and_nothing_of_it_is_lost(monkeypatch):
    monkeypatch.setattr(link_module, "LINK_MESSAGES_PER_S", 1_000)
    monkeypatch.setattr(link_module, "LINK_MESSAGES_BURST", 200)

    async def main():
        heard = []
        loop = asyncio.get_running_loop()
        async with Node(
            local("//Alice", role="validator"), on_message=lambda *message: heard.append(loop.time())
        ) as alice:
            bob = Node(local("//Bob", role="validator"), server=False)
            link = await bob.dial(alice, as_client=False)
            began_s = loop.time()
            for number in range(600):
                payload = Ping(number, 0, []).encode()
                while not link.post(MessageType.GOSSIP, payload, fanout.REPAIR):
                    await link.drained(fanout.REPAIR)
                if number % 20 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(heard) == 600)
            # 200 at once, the other 400 at 1,000 a second; never sooner, however slow this machine is.
            assert heard[-1] - began_s > 0.3
            (theirs,) = alice.hub.links()
            assert theirs.throttled > 0
            await bob.hub.close()

    run(main())


def test_a_program_is_not_throttled(monkeypatch):
    monkeypatch.setattr(link_module, "LINK_MESSAGES_PER_S", 1)
    monkeypatch.setattr(link_module, "LINK_MESSAGES_BURST", 1)

    async def main():
        heard = []
        async with Node(
            local("//Alice", role="client"), on_message=lambda *message: heard.append(message)
        ) as alice:
            bob = Node(local("//Bob"), server=False)
            link = await bob.dial(alice, as_client=True)
            for number in range(50):
                assert link.post(MessageType.PING, Ping(number, 0, []).encode(), fanout.REPAIR)
            await until(lambda: len(heard) == 50)
            await bob.hub.close()

    run(main())


def test_a_session_that_waits_can_still_be_closed(monkeypatch):
    monkeypatch.setattr(link_module, "LINK_MESSAGES_PER_S", 1)
    monkeypatch.setattr(link_module, "LINK_MESSAGES_BURST", 1)

    async def main():
        heard = []
        async with Node(
            local("//Alice", role="validator"), on_message=lambda *message: heard.append(message)
        ) as alice:
            bob = Node(local("//Bob", role="validator"), server=False)
            link = await bob.dial(alice, as_client=False)
            for number in range(50):
                assert link.post(MessageType.PING, Ping(number, 0, []).encode(), fanout.REPAIR)
            await until(lambda: bool(heard))
            (theirs,) = alice.hub.links()
            theirs.close()
            await until(link.closed.done)
            await until(lambda: not alice.hub.links())
            await theirs.wire.disconnected()
            await bob.hub.close()

    run(main())


def test_what_costs_a_node_more_weighs_more():
    weights = dict(zip(MessageType, link_module._WEIGHTS, strict=True))
    assert weights[MessageType.PING] == weights[MessageType.DB_SYNC_REQ] == 80
    assert (
        weights[MessageType.GOSSIP] == weights[MessageType.STREAM] == weights[MessageType.DB_SYNC_RESP] == 1
    )
    # An honest member on a fast disk, whose every write is a batch: 1,500 of them a second, as many answers, and pings.
    honest = 1_500 * (weights[MessageType.SYNC] + weights[MessageType.GOSSIP]) + 4 * weights[MessageType.PING]
    assert honest < config.LINK_MESSAGES_PER_S
