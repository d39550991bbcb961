"""Dialling: errors that say what is wrong, backoff from the injected source of jitter, sessions that are kept."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest
from peer.linkkit import CONTROL, PING, Node, local, run, until

from mycelium.config import DIAL_BACKOFF_MAX_MS, DIAL_BACKOFF_MIN_MS
from mycelium.errors import LinkClosed, MyceliumError, Silence, Unauthorised, Unreachable, UsageError
from mycelium.peer import dialer as dialer_module
from mycelium.peer.dialer import Dialer, dial_once


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NoWait(random.Random):
    """Jitter that always draws the shortest wait, and remembers the bounds it was asked for."""

    def __init__(self):
        super().__init__(0)
        self.bounds = []

    def uniform(self, low, high):
        self.bounds.append(high)
        return 1.0


def test_nobody_there_is_unreachable_and_named():
    async def main():
        bob = Node("//Bob", server=False)
        url = f"ws://127.0.0.1:{free_port()}"
        with pytest.raises(Unreachable, match=f"{url}.*refused"):
            await dial_once(bob.hub, url)

    run(main())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_host_that_does_not_exist(loop):
    async def main():
        bob = Node("//Bob", server=False)
        with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
            await dial_once(bob.hub, "ws://no-such-host.invalid:9090")

    run(main(), loop=loop)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:9090", "ws://", "ws://h:99999999"])
def test_what_is_no_url_is_a_usage_error(url):
    async def main():
        with pytest.raises(UsageError, match="ws://"):
            await dial_once(Node("//Bob", server=False).hub, url)

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n",
        b"",
    ],
    ids=["http", "ssh", "redirect", "hangs up"],
)
def test_something_else_answers(answer):
    async def main():
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unreachable, match=url):
            await dial_once(Node("//Bob", server=False).hub, url)
        server.close()

    run(main())


def test_one_who_never_answers_is_given_up():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
            bob = Node("//Bob", server=False)
            with pytest.raises(Unreachable, match="no answer in 100 ms"):
                await dial_once(bob.hub, url, timeout_ms=100)
            connection, _ = silent.accept()
            with connection:
                connection.setblocking(False)
                while await asyncio.get_running_loop().sock_recv(connection, 4096):
                    pass  # its request; then the end, for it hung up

    run(main())


def test_one_who_upgrades_and_falls_silent_is_given_up(monkeypatch):
    async def main():
        async with Node("//Alice") as alice:
            monkeypatch.setattr("mycelium.peer.greeting.Greeting.frame_received", lambda self, data: None)
            bob = Node("//Bob", server=False)
            with pytest.raises(Silence):
                await dial_once(bob.hub, alice.url, timeout_ms=100)
            assert bob.counts.handshakes == {(False, False): 1}

    run(main())


@pytest.mark.parametrize("kind", [Unauthorised, ZeroDivisionError])
def test_an_open_handler_that_fails_fails_the_dial(kind):
    async def main():
        async with Node("//Alice") as alice:
            bob = Node("//Bob", server=False)

            def refuse(link):
                raise kind("not this one")

            bob.hub._on_open = refuse
            with pytest.raises(Unauthorised if kind is Unauthorised else LinkClosed):
                await bob.dial(alice)
            await until(lambda: not alice.hub.links())
            assert bob.hub.links() == []

    run(main())


def test_a_cancelled_dial_leaves_nothing_behind(monkeypatch):
    async def main():
        async with Node("//Alice") as alice:
            monkeypatch.setattr("mycelium.peer.greeting.Greeting.frame_received", lambda self, data: None)
            bob = Node("//Bob", server=False)
            task = asyncio.create_task(dial_once(bob.hub, alice.url))
            await until(lambda: alice.server.pending == 1)
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: alice.server.pending == 0)
            assert bob.hub.links() == []

    run(main())


def test_backoff_doubles_to_its_bound_and_is_spread_over_all_of_it():
    async def main():
        dialer = Dialer(Node("//Bob", server=False).hub, random.Random(7))
        for failures in (1, 2, 3, 10, 1000):
            bound = min(DIAL_BACKOFF_MIN_MS * 2 ** min(failures - 1, 16), DIAL_BACKOFF_MAX_MS)
            draws = [dialer.backoff_ms(failures) for _ in range(400)]
            assert all(0 <= draw <= bound for draw in draws)
            assert min(draws) < bound * 0.1
            assert max(draws) > bound * 0.9
        same = Dialer(Node("//Bob", server=False).hub, random.Random(7))
        assert same.backoff_ms(1) == Dialer(dialer.hub, random.Random(7)).backoff_ms(1)

    run(main())


def test_a_wanted_session_is_kept_through_restarts_of_the_other_side():
    async def main():
        bob = Node("//Bob", server=False)
        dialer = Dialer(bob.hub, NoWait())
        port = None
        async with Node("//Alice") as alice:
            port = alice.server.port
            dialer.want(alice.local.account, [alice.url])
            await alice.opened.get()
            await until(lambda: bool(bob.hub.links()))
            first = bob.hub.link_of(alice.local.account)
            assert first.role == "validator"
            first.close()
            await alice.opened.get()
        account = alice.local.account
        await until(lambda: account in dialer.failures)
        assert isinstance(dialer.failures[account], MyceliumError)
        again = Node("//Alice")
        again.server._port = port
        async with again:
            await again.opened.get()
            await until(lambda: bool(bob.hub.links()))
            link = bob.hub.link_of(account)
            link.post(PING, b"back", CONTROL)
            await again.messages.get()
            assert account not in dialer.failures
            dialer.forget(account)
            assert not link.closed.done()
            await dialer.close()
        await bob.hub.close()

    run(main())


def test_failures_raise_the_bound_and_urls_are_tried_in_turn():
    async def main():
        bob = Node("//Bob", server=False)
        rng = NoWait()
        dialer = Dialer(bob.hub, rng)
        async with Node("//Alice") as alice:
            dead = f"ws://127.0.0.1:{free_port()}"
            dialer.want(alice.local.account, [dead, dead, dead, alice.url])
            assert dialer.wanted() == {alice.local.account: (dead, dead, dead, alice.url)}
            await alice.opened.get()
            assert rng.bounds == [DIAL_BACKOFF_MIN_MS * factor for factor in (1, 2, 4)]
            await dialer.close()
        await bob.hub.close()

    run(main())


def test_a_session_thrown_out_at_once_counts_as_a_failure():
    async def main():
        bob = Node("//Bob", server=False)
        rng = NoWait()
        dialer = Dialer(bob.hub, rng)
        async with Node("//Alice") as alice:
            dialer.want(alice.local.account, [alice.url])
            for _ in range(4):
                (await alice.opened.get()).close(text="not you")
            await until(lambda: len(rng.bounds) >= 3)
            assert rng.bounds[:3] == [DIAL_BACKOFF_MIN_MS * factor for factor in (1, 2, 4)]
            await dialer.close()
        await bob.hub.close()

    run(main())


def test_attempts_under_way_are_capped(monkeypatch):
    async def main():
        now, most = 0, 0

        async def slow_dial(hub, url, account, *, as_client):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            raise Unreachable(url)

        monkeypatch.setattr(dialer_module, "dial_once", slow_dial)
        dialer = Dialer(Node("//Bob", server=False).hub, NoWait(), dials_max=3)
        accounts = [bytes([number]) * 32 for number in range(12)]
        for account in accounts:
            dialer.want(account, ["ws://127.0.0.1:1"])
        await until(lambda: len(dialer.failures) == 12)
        assert most == 3
        await dialer.close()

    run(main())


def test_a_bug_while_dialling_is_logged_and_dialling_goes_on(monkeypatch, caplog):
    async def main():
        calls = 0

        async def broken(hub, url, account, *, as_client):
            nonlocal calls
            calls += 1
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(dialer_module, "dial_once", broken)
        dialer = Dialer(Node("//Bob", server=False).hub, NoWait())
        dialer.want(bytes(31) + b"\x01", ["ws://127.0.0.1:1"])
        await until(lambda: calls >= 2)
        assert "internal error" in str(dialer.failures[bytes(31) + b"\x01"])
        await dialer.close()

    run(main())
    assert "a bug" in caplog.text


def test_a_node_does_not_dial_itself_and_no_urls_mean_no_dialling():
    async def main():
        bob = Node("//Bob", server=False)
        dialer = Dialer(bob.hub, NoWait())
        with pytest.raises(UsageError, match="itself"):
            dialer.want(bob.local.account, ["ws://127.0.0.1:1"])
        dialer.want(bytes(32), [])
        assert dialer.wanted() == {}
        dialer.forget(bytes(32))
        await dialer.close()

    run(main())


def test_two_who_want_each_other_settle_on_one_session():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            dialers = []
            for me, other in ((alice, bob), (bob, alice)):
                dialer = Dialer(me.hub, random.Random(me.local.account))
                dialer.want(other.local.account, [other.url])
                dialers.append(dialer)
            await until(lambda: len(alice.hub.links()) == len(bob.hub.links()) == 1)
            await asyncio.sleep(0.5)
            assert len(alice.hub.links()) == len(bob.hub.links()) == 1
            lower = min(alice, bob, key=lambda node: node.local.account)
            higher = bob if lower is alice else alice
            assert not lower.hub.link_of(higher.local.account).inbound or lower.closed.qsize() == 0
            for dialer in dialers:
                await dialer.close()

    run(main())


def test_a_hub_that_shuts_down_says_goodbye():
    async def main():
        async with Node("//Alice") as alice:
            bob = Node(local("//Bob"), server=False)
            link = await bob.dial(alice)
            await alice.hub.close()
            assert await link.closed is None
            with pytest.raises((LinkClosed, Unreachable)):
                await bob.dial(alice)
            await bob.hub.close()

    run(main())


def test_new_urls_are_tried_at_once_whatever_the_backoff():
    class LongWait(random.Random):
        def uniform(self, low, high):
            return 3_600_000

    async def main():
        async with Node("//Alice") as alice, Node("//Bob", server=False) as bob:
            dialer = Dialer(bob.hub, LongWait())
            dialer.want(alice.local.account, [f"ws://127.0.0.1:{free_port()}"])
            await until(lambda: dialer.failures)
            dialer.want(alice.local.account, [alice.url])
            assert (await bob.opened.get()).url == alice.url
            # Also those that came while there was a session, once it has ended.
            dialer.want(alice.local.account, [alice.url + "/"])
            bob.hub.link_of(alice.local.account).close()
            assert (await bob.opened.get()).url == alice.url + "/"
            await dialer.close()

    run(main())
