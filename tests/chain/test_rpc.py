"""Several endpoints: another one when one fails, nothing longer than its time, no change sent twice."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from chain.clientkit import (
    Drop,
    Eager,
    RawServer,
    Refused,
    Scripted,
    Silent,
    chain_threads,
    descriptors,
    free_port,
    until,
)

from mycelium.chain.connection import Connection
from mycelium.chain.rpc import Lost, Rpc, repeatable
from mycelium.errors import ChainRefused, ChainUnreachable


@pytest.fixture
def pair():
    """Two nodes that tell who they are."""
    with Scripted(who=lambda: "first") as first, Scripted(who=lambda: "second") as second:
        yield first, second


def client(*nodes, **keywords):
    return Rpc([node if isinstance(node, str) else node.url for node in nodes], rng=Eager(), **keywords)


def never():
    raise Silent


def drop():
    raise Drop


def test_another_endpoint_when_one_is_gone(pair):
    first, second = pair
    rpc = client(*pair)
    assert rpc.request("who") == "first"
    first.stop()
    assert rpc.request("who") == "second"
    assert rpc.endpoint == second.url
    assert rpc.connections == 2
    rpc.close()


def test_another_endpoint_while_one_hangs(pair):
    first, _ = pair
    first.methods["who"] = never
    rpc = client(*pair, timeout_s=0.9)
    began = time.monotonic()
    assert rpc.request("who") == "second"
    assert time.monotonic() - began < 0.9
    rpc.close()


def test_another_endpoint_while_one_drops_each_request(pair):
    first, _ = pair
    first.methods["who"] = drop
    rpc = client(*pair)
    assert rpc.request("who") == "second"
    rpc.close()


@pytest.mark.parametrize("way", ["upgrade", "answer"])
def test_another_endpoint_while_one_has_had_enough(pair, way):
    first, second = pair
    if way == "upgrade":
        first.admit = None
        first.stop()
        busy = RawServer(lambda connection, ended: connection.sendall(b"HTTP/1.1 429 No\r\n\r\n"))
    else:

        def refuse():
            raise Refused(-32029, "Too many requests")

        first.methods["who"] = refuse
        busy = RawServer(lambda connection, ended: None)
    with busy:
        rpc = client(busy.url if way == "upgrade" else first, second)
        assert rpc.request("who") == "second"
        rpc.close()


def test_a_refusal_is_an_answer(pair):
    def refuse():
        raise Refused(4003, "Client error", "UnknownBlock")

    first, second = pair
    first.methods["who"] = refuse
    rpc = client(*pair)
    with pytest.raises(ChainRefused, match="UnknownBlock"):
        rpc.request("who")
    assert second.asked == []
    rpc.close()


def test_nobody_is_one_line_that_names_each():
    urls = [f"ws://127.0.0.1:{free_port()}" for _ in range(2)]
    rpc = client(*urls, timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(ChainUnreachable) as caught:
        rpc.request("who")
    assert time.monotonic() - began < 15, "the second has its 0.3 s, and that is all"
    for url in urls:
        assert f"{url}: connection refused" in caught.value.what
    assert "\n" not in caught.value.what


def test_no_request_waits_longer_than_its_time_for_another_that_connects():
    """One thread is held up by a handshake that does not end; the others are not."""

    def hold_up():
        with pytest.raises(ChainUnreachable):
            rpc.request("who", timeout_s=1)

    with RawServer(lambda connection, ended: ended.wait(20)) as stuck:
        rpc = client(stuck)
        slow = threading.Thread(target=hold_up)
        slow.start()
        until(lambda: rpc._opening.locked())
        began = time.monotonic()
        with pytest.raises(ChainUnreachable):
            rpc.request("who", timeout_s=0.2)
        assert time.monotonic() - began < 1
        rpc.close()
        slow.join(10)
        assert not slow.is_alive()


def test_a_submission_is_never_sent_twice(pair):
    first, second = pair
    for node in pair:
        node.methods["author_submitExtrinsic"] = lambda data: drop()
    rpc = client(*pair)
    with pytest.raises(Lost):
        rpc.request("author_submitExtrinsic", ["0x00"])
    assert len(first.asked_for("author_submitExtrinsic")) == 1
    assert second.asked == []
    rpc.close()


def test_a_submission_that_never_left_is_sent_elsewhere(pair):
    first, second = pair
    second.methods["author_submitExtrinsic"] = lambda data: "0x01"
    rpc = client(*pair)
    assert rpc.request("who") == "first"
    first.stop()
    assert rpc.request("author_submitExtrinsic", ["0x00"]) == "0x01"
    rpc.close()


def test_what_may_be_repeated():
    assert all(map(repeatable, ["state_getStorage", "author_pendingExtrinsics", "chain_subscribeNewHeads"]))
    once = ["author_submitExtrinsic", "author_submitAndWatchExtrinsic", "author_insertKey", "dev_step"]
    assert not any(map(repeatable, once))


def test_endpoints_are_tried_again_and_waits_are_the_bounds(pair):
    first, _ = pair
    first.stop()
    rng, waits, now = Eager(), [], [0.0]
    rng.uniform = lambda low, high: high

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    rpc = Rpc([first.url], rng=rng, clock_s=lambda: now[0], sleep=sleep, timeout_s=10)
    with pytest.raises(ChainUnreachable):
        rpc.request("who")
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0]


def test_a_node_that_comes_back_is_found_again(pair):
    first, _ = pair
    port = first.port
    rpc = client(first)
    assert rpc.request("who") == "first"
    first.stop()
    with pytest.raises(ChainUnreachable):
        rpc.request("who", timeout_s=0.05)
    assert port
    assert rpc.closed is False
    rpc.close()
    with pytest.raises(ChainUnreachable, match="was closed"):
        rpc.request("who")


def test_close_ends_what_waits_and_reopen_begins_again(pair):
    first, _ = pair
    first.methods["never"] = never
    rpc = client(*pair)
    failed = []

    def ask():
        with pytest.raises(ChainUnreachable) as caught:
            rpc.request("never", timeout_s=60)
        failed.append(caught.value)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: first.asked_for("never"))
    rpc.close()
    thread.join(5)
    assert failed
    rpc.reopen()
    assert rpc.request("who") == "first"
    rpc.close()


def test_many_threads_over_connections_that_break(pair):
    """Every thread gets its own answers, whatever happens to the connection meanwhile."""
    for node in pair:
        node.methods["echo"] = lambda value: value
    rpc = client(*pair)
    wrong, stop = [], threading.Event()

    def ask(number):
        wrong.extend(at for at in range(60) if rpc.request("echo", [[number, at]]) != [number, at])

    def break_them():
        while not stop.wait(0.005):
            for node in pair:
                node.drop()

    breaker = threading.Thread(target=break_them)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in (breaker, *threads):
        thread.start()
    for thread in threads:
        thread.join(30)
    stop.set()
    breaker.join()
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)
    rpc.close()
    assert chain_threads() == []


def test_a_thousand_disconnects_leave_nothing_behind(chain):
    connection = Connection(chain.url, cache_dir=None, rng=Eager())
    connection.head()
    before, threads = descriptors(), threading.active_count()
    for _ in range(1_000):
        chain.faults.drop_connections()
        connection.head()
    assert connection.access.rpc.connections > 1_000
    # The one in use, and at most one whose thread is about to end.
    until(lambda: len(chain_threads()) == 1)
    assert threading.active_count() == threads
    assert descriptors() <= before + 1
    until(lambda: len(chain.server.connections) == 1)
    connection.close()
    assert chain_threads() == []


def test_a_connection_that_is_forgotten_closes_itself(chain):
    for _ in range(5):
        connection = Connection(chain.url, cache_dir=None)
        connection.head()
        del connection
    gc.collect()
    until(lambda: not chain_threads())
    until(lambda: not chain.server.connections)


def test_an_endpoint_that_is_left_is_not_the_next_one(pair):
    """Not even for what its end wakes, which asks for another connection at once."""
    first, second = pair
    for node in pair:
        node.methods["chain_subscribeHeads"] = lambda: "1"
    rpc = client(*pair)
    _, subscription = rpc.subscribe("chain_subscribeHeads")
    woken = []
    ended = threading.Event()

    def wake():
        if subscription.ended and not woken:
            woken.append(rpc.request("who"))
            ended.set()

    subscription.listen(lambda: threading.Thread(target=wake).start())
    rpc.leave("it stands still", second.url)
    assert not subscription.ended
    rpc.leave("it stands still", first.url)
    assert ended.wait(5)
    assert woken == ["second"]
    rpc.close()


def test_the_only_endpoint_is_left_and_taken_again(pair):
    """What was subscribed over the connection ends, and can be begun anew."""
    first, _ = pair
    rpc = client(first)
    rpc.leave("nothing is connected yet")
    assert rpc.request("who") == "first"
    old = rpc.socket
    rpc.leave("it has fallen silent")
    assert not old.open
    assert rpc.request("who") == "first"
    assert rpc.connections == 2
    rpc.close()
