"""One connection to one node: every step has an end, every answer its asker, and nothing is left behind."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from chain.clientkit import (
    Drop,
    RawServer,
    Refused,
    Scripted,
    Silent,
    accept,
    chain_threads,
    descriptors,
    frame,
    free_port,
    read_frame,
    until,
)

from mycelium.chain import socket as chain_socket
from mycelium.chain import wire
from mycelium.chain.socket import Busy, NotSent, Socket
from mycelium.errors import ChainRefused, ChainUnreachable


@pytest.fixture
def node():
    with Scripted() as running:
        yield running


# --- opening ------------------------------------------------------------------------------------------------


def test_nobody_there_is_unreachable_and_named():
    url = f"ws://127.0.0.1:{free_port()}"
    with pytest.raises(ChainUnreachable, match=f"{url}: connection refused"):
        Socket(url, 2)


def test_a_host_that_does_not_exist():
    with pytest.raises(ChainUnreachable, match=r"no-such-host\.invalid"):
        Socket("ws://no-such-host.invalid:9944", 5)


@pytest.mark.parametrize(("status", "kind"), [(429, Busy), (403, Busy), (502, ChainUnreachable)])
def test_an_upgrade_that_is_refused(status, kind):
    def answer(connection, ended):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
        ended.wait(5)

    with RawServer(answer) as server, pytest.raises(ChainUnreachable, match=f"HTTP {status}") as caught:
        Socket(server.url, 2)
    assert type(caught.value) is kind


def silent(connection, ended):
    ended.wait(20)


def drip(connection, ended):
    """A handshake that goes on for ever, one byte at a time: no single receive is ever late."""
    connection.recv(4096)
    for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        if ended.wait(0.02):
            return


@pytest.mark.parametrize("stage", [silent, drip])
def test_a_handshake_that_does_not_end_has_a_limit(stage):
    with RawServer(stage) as server:
        began = time.monotonic()
        with pytest.raises(ChainUnreachable, match=r"not open within|timed out"):
            Socket(server.url, 0.3)
        assert time.monotonic() - began < 1.5
        until(lambda: not chain_threads(), 5)


def test_a_server_that_is_no_websocket():
    def answer(connection, ended):
        connection.recv(4096)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    with RawServer(answer) as server, pytest.raises(ChainUnreachable):
        Socket(server.url, 2)


def test_tls_that_is_none():
    with RawServer(silent) as server, pytest.raises(ChainUnreachable):
        Socket(server.url.replace("ws://", "wss://"), 0.3)


# --- asking -------------------------------------------------------------------------------------------------


def test_answers_find_their_askers(node):
    node.methods["echo"] = lambda value: value
    client = Socket(node.url)
    results = {}

    def ask(number):
        results[number] = [client.request("echo", [number * 1000 + at], 5) for at in range(50)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[number] == [number * 1000 + at for at in range(50)] for number in range(8))
    client.close()


def test_a_batch_and_its_refusal(node):
    node.methods["no"] = lambda: (_ for _ in ()).throw(Refused(4003, "Client error", "UnknownBlock"))
    client = Socket(node.url)
    assert client.batch([("system_chain", []), ("chain_getBlockHash", [0])], 5)[0] == "Scripted"
    with pytest.raises(ChainRefused, match="Client error: UnknownBlock") as caught:
        client.batch([("system_chain", []), ("no", [])], 5)
    assert (caught.value.code, caught.value.data) == (4003, "UnknownBlock")
    with pytest.raises(ChainRefused, match="Method not found"):
        client.request("nonesuch", [], 5)
    client.close()


def test_a_node_that_is_busy_says_so_in_an_answer(node):
    def busy():
        raise Refused(-32029, "Too many requests")

    node.methods["busy"] = busy
    client = Socket(node.url)
    with pytest.raises(Busy):
        client.request("busy", [], 5)
    client.close()


def test_no_answer_is_waited_for_beyond_its_time(node):
    def never():
        raise Silent

    node.methods["never"] = never
    client = Socket(node.url)
    began = time.monotonic()
    with pytest.raises(ChainUnreachable, match="no answer within"):
        client.request("never", [], 0.2)
    assert time.monotonic() - began < 1
    assert client.request("system_chain", [], 5) == "Scripted"
    client.close()


@pytest.mark.parametrize("others", [True, False])
def test_a_slow_call_is_waited_for_while_others_are_answered(others):
    """The node answers the first call late; meanwhile it answers others, or nothing."""

    def serve(connection, ended):
        accept(connection)
        read_frame(connection)
        time.sleep(0.1)
        if others:
            read_frame(connection)
            connection.sendall(frame(b'{"jsonrpc":"2.0","id":2,"result":"quick"}'))
        time.sleep(0.3)
        connection.sendall(frame(b'{"jsonrpc":"2.0","id":1,"result":"late"}'))
        ended.wait(5)

    def slow():
        try:
            results.append(client.request("slow", [], 0.25, 10))
        except ChainUnreachable as error:
            results.append(error)

    results = []
    with RawServer(serve) as server:
        client = Socket(server.url)
        thread = threading.Thread(target=slow)
        thread.start()
        if others:
            until(lambda: client._next_id == 1)
            assert client.request("quick", [], 5) == "quick"
        thread.join(5)
        assert results == ["late"] if others else isinstance(results[0], ChainUnreachable)
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"not JSON",
        b'{"jsonrpc":"2.0","id":1,"result":',
        b'"text"',
        b"[1,2]",
        b'{"jsonrpc":"2.0","method":"x","params":7}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_ends_the_connection(answer):
    def serve(connection, ended):
        accept(connection)
        read_frame(connection)
        connection.sendall(frame(answer))
        ended.wait(5)

    with RawServer(serve) as server:
        client = Socket(server.url)
        with pytest.raises(ChainUnreachable):
            client.request("x", [], 5)
        assert not client.open
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b'{"jsonrpc":"2.0","id":[1],"result":1}',
        b'{"jsonrpc":"2.0","id":"1","result":1}',
        b'{"jsonrpc":"2.0","id":99,"result":1}',
        b'{"jsonrpc":"2.0","method":"x","params":{"subscription":"who","result":1}}',
    ],
)
def test_an_answer_to_nothing_is_passed_over(answer):
    def serve(connection, ended):
        accept(connection)
        read_frame(connection)
        connection.sendall(frame(answer) + frame(b'{"jsonrpc":"2.0","id":1,"result":"yes"}'))
        ended.wait(5)

    with RawServer(serve) as server:
        client = Socket(server.url)
        assert client.request("x", [], 5) == "yes"
        client.close()


@pytest.mark.parametrize("parts", [1, 3])
def test_an_answer_too_large_is_refused_before_it_is_read(parts, monkeypatch):
    monkeypatch.setattr(chain_socket.wire, "unconnected", lambda: wire_unconnected(4096))

    def serve(connection, ended):
        accept(connection)
        read_frame(connection)
        if parts == 1:
            connection.sendall(bytes([0x81, 127]) + struct.pack("!Q", 2**40))
        else:
            for at in range(parts):
                connection.sendall(frame(b"x" * 2000, opcode=0 if at else 1, fin=False))
        ended.wait(5)

    with RawServer(serve) as server:
        client = Socket(server.url)
        with pytest.raises(ChainUnreachable, match="bytes or more is refused"):
            client.request("x", [], 5)
        client.close()


wire_unconnected = wire.unconnected


def test_fragments_and_large_answers_are_put_together(node):
    node.methods["large"] = lambda: "x" * 3_000_000
    client = Socket(node.url)
    assert len(client.request("large", [], 10)) == 3_000_000
    client.close()


# --- the end ------------------------------------------------------------------------------------------------


def test_a_lost_connection_fails_all_that_wait_at_once(node):
    def drop():
        raise Drop

    def never():
        raise Silent

    node.methods |= {"drop": drop, "never": never}
    client = Socket(node.url)
    failures = []

    def ask(method):
        with pytest.raises(ChainUnreachable) as caught:
            client.request(method, [], 30)
        failures.append(caught.value)

    subscription = client.subscribe("state_subscribeRuntimeVersion", [], 5)
    threads = [threading.Thread(target=ask, args=("never",)) for _ in range(5)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    until(lambda: len(node.asked_for("never")) == 5)
    ask("drop")
    for thread in threads:
        thread.join(5)
    assert len(failures) == 6
    assert time.monotonic() - began < 5
    assert subscription.next(1) == {"specVersion": 424, "transactionVersion": 1}
    with pytest.raises(ChainUnreachable):
        subscription.next(30)
    with pytest.raises(NotSent):
        client.request("system_chain", [], 5)
    client.close()


def test_close_leaves_no_thread_and_no_descriptor(node):
    before = descriptors()
    for _ in range(5):
        client = Socket(node.url)
        client.request("system_chain", [], 5)
        client.close()
        assert not client.open
    until(lambda: not node.sockets)
    assert chain_threads() == []
    assert descriptors() <= before + 1  # the server's own thread may be slower


def test_close_wakes_a_reader_that_hears_nothing():
    def serve(connection, ended):
        accept(connection)
        ended.wait(20)

    with RawServer(serve) as server:
        client = Socket(server.url)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 1
        assert chain_threads() == []


def test_a_silent_connection_is_pinged_and_given_up():
    heard = []

    def serve(connection, ended):
        accept(connection)
        while not ended.is_set():
            heard.append(read_frame(connection)[0])

    with RawServer(serve) as server:
        client = Socket(server.url, ping_s=0.05)
        until(lambda: not client.open, 5)
        assert heard.count(9) >= 3
        client.close()


def test_pings_of_the_node_are_answered_while_nobody_asks():
    answered = threading.Event()

    def serve(connection, ended):
        accept(connection)
        connection.sendall(frame(b"are you there", opcode=9))
        if read_frame(connection) == (10, b"are you there"):
            answered.set()
        ended.wait(5)

    with RawServer(serve) as server:
        client = Socket(server.url)
        assert answered.wait(5)
        assert client.open
        client.close()


def test_a_pong_keeps_a_silent_connection():
    def serve(connection, ended):
        accept(connection)
        while not ended.is_set():
            opcode, payload = read_frame(connection)
            if opcode == 9:
                connection.sendall(frame(payload, opcode=10))

    with RawServer(serve) as server:
        client = Socket(server.url, ping_s=0.03)
        time.sleep(0.5)  # four times what a silent one is given
        assert client.open
        client.close()


# --- subscriptions ------------------------------------------------------------------------------------------


def test_notices_come_in_order_and_end_with_unsubscribe(node):
    client = Socket(node.url)
    subscription = client.subscribe("state_subscribeRuntimeVersion", [], 5)
    assert subscription.next(5) == {"specVersion": 424, "transactionVersion": 1}
    for number in range(100):
        node.tell(node.sockets[0], subscription.id, number)
    assert [subscription.next(5) for _ in range(100)] == list(range(100))
    with pytest.raises(TimeoutError):
        subscription.next(0.05)
    client.unsubscribe(subscription)
    until(lambda: node.asked_for("state_unsubscribeRuntimeVersion"))
    assert node.asked_for("state_unsubscribeRuntimeVersion") == [[subscription.id]]
    client.close()


@pytest.mark.parametrize("answer", [None, True, {"id": 1}, ["x"], 1.5])
def test_a_subscription_without_an_id_is_refused(node, answer):
    """Its notices could not be told from others: who waits for them would wait for ever."""
    node.methods["chain_subscribeHeads"] = lambda: answer
    socket = Socket(node.url, 2)
    with pytest.raises(ChainUnreachable, match="which is no subscription"):
        socket.subscribe("chain_subscribeHeads", [], 2)
    socket.close()


def test_what_a_node_says_fits_into_a_line(node):
    said = "trapped\n" + "\x1b[31m" + "backtrace " * 1_000
    node.methods["fails"] = lambda: (_ for _ in ()).throw(Refused(-32000, said, said))
    socket = Socket(node.url, 2)
    with pytest.raises(ChainRefused, match="trapped ") as caught:
        socket.request("fails", [], 2)
    socket.close()
    text = str(caught.value)
    assert len(text) < 700
    assert text.isprintable()
    # What programs look at is whole.
    assert caught.value.data == said


def test_a_reader_too_slow_loses_the_subscription_and_not_the_connection(node):
    client = Socket(node.url)
    subscription = client.subscribe("state_subscribeRuntimeVersion", [], 5)
    subscription.next(5)
    for number in range(1_100):
        node.tell(node.sockets[0], subscription.id, number)
    assert client.request("system_chain", [], 5) == "Scripted"
    assert subscription.ended
    with pytest.raises(ChainUnreachable, match="faster than they were read"):
        for _ in range(1_100):
            subscription.next(1)
    client.close()
