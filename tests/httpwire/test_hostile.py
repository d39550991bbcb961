"""Hostile requests to both kinds of miners: each is answered with 4xx, nothing fails, hangs or stays behind."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import itertools
import threading

import pytest
from cryptography.fernet import Fernet
from httpwire.hostile import (
    GARBAGE,
    LINES,
    Attacks,
    answer,
    asked,
    errors_logged,
    limit,
    router_of,
    status_of,
)
from httpwire.minerkit import VALIDATOR_ADDRESS, app_of, config, on_loop, serving

ROUNDS = 5
BODY_BYTES_MAX = 100_000
WAIT_S = 20
KINDS = pytest.mark.parametrize("encrypts", [False, True], ids=["plain", "encrypted"])


class Miner:
    """A miner with a key of the validator's, and attacks on it. Counts the requests that it has not answered yet."""

    def __init__(self, *, encrypts, seed=1, body_s=WAIT_S):
        self.settings = config(encrypted=encrypts)
        self.app = app_of(self.settings, router_of(encrypted=encrypts), encrypted=encrypts)
        limit(self.app, body_bytes_max=BODY_BYTES_MAX, body_s=body_s)
        fernet = Fernet(Fernet.generate_key()) if encrypts else None
        if encrypts:
            self.settings.encryption_keys_handler.add_symmetric_key("u", VALIDATOR_ADDRESS, fernet)
        self.attacks = Attacks(encrypted=encrypts, seed=seed, body_bytes_max=BODY_BYTES_MAX, fernet=fernet)
        self._changed = threading.Condition()
        self._under_way = self._begun = 0

    async def __call__(self, scope, receive, send):
        http = scope["type"] == "http"
        self._count(http, 1)
        try:
            await self.app(scope, receive, send)
        finally:
            self._count(http, -1)

    def _count(self, http, change):
        with self._changed:
            self._under_way += change if http else 0
            self._begun += http and change > 0
            self._changed.notify_all()

    async def wait(self, what):
        """Until what(under way, begun) holds."""
        await asyncio.to_thread(self._wait, what)

    def _wait(self, what):
        with self._changed:
            assert self._changed.wait_for(lambda: what(self._under_way, self._begun), WAIT_S)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Miners write where they are started."""
    monkeypatch.chdir(tmp_path)


@contextlib.asynccontextmanager
async def attacked(**keywords):
    """A miner behind a socket, and its port; afterwards it still answers, and has logged no error."""
    miner = Miner(**keywords)
    with errors_logged() as errors:
        with serving(miner) as address:
            port = int(address.rpartition(":")[2])
            async with asyncio.timeout(60):
                yield miner, port
                assert await asked(port, miner.attacks.good().wire) == 200
                await miner.wait(lambda under_way, begun: under_way == 0)
        assert errors == []


def refused(statuses):
    """What was not answered with 4xx, and should have been."""
    return [found for found in statuses if found[1] is None or not 400 <= found[1] < 500]


@KINDS
@on_loop
async def test_every_class_is_refused(encrypts):
    miner = Miner(encrypts=encrypts)
    attacks = miner.attacks
    attacks.spent = attacks.good()
    with errors_logged() as errors:
        assert await status_of(miner, attacks.spent) == 200
        count = ROUNDS * len(attacks.classes)
        found = [(one.name, await status_of(miner, one)) for one in itertools.islice(attacks, count)]
        assert refused(found) == []
        assert await status_of(miner, attacks.good()) == 200
    assert errors == []
    kinds = collections.Counter(status for _, status in found)
    assert set(kinds) == {400, 401, 403, 404, 405, 413, 422}


@KINDS
@on_loop
async def test_every_class_is_refused_over_a_socket(encrypts):
    async with attacked(encrypts=encrypts) as (miner, port):
        sent = itertools.islice(miner.attacks, len(miner.attacks.classes))

        async def send():
            return [(one.name, await asked(port, one.wire)) for one in sent]

        found = list(itertools.chain(*await asyncio.gather(*(send() for _ in range(8)))))
        assert len(found) == len(miner.attacks.classes)
        assert refused(found) == []


@on_loop
async def test_one_connection_is_refused_again_and_again():
    """A connection that is kept has no memory of what was wrong with the request before."""
    async with attacked(encrypts=False) as (miner, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lasting = (
            one for one in miner.attacks if one.method == "POST" and one.declared is None and not one.unended
        )
        for one in itertools.islice(lasting, 100):
            writer.write(one.wire)
            status, goes_on = await answer(reader)
            assert 400 <= status < 500, one.name
            assert goes_on, one.name
        writer.write(miner.attacks.good().wire)
        assert (await answer(reader))[0] == 200
        writer.close()


@on_loop
async def test_what_is_no_http():
    async with attacked(encrypts=False) as (_, port):
        found = [(name, await asked(port, data)) for name, data in GARBAGE.items()]
        assert refused(found) == []


# --- slow and half-open clients ---------------------------------------------------------------------------

LEFT = {
    "nothing": lambda wire: b"",
    "half a line": lambda wire: wire[:8],
    "half the headers": lambda wire: wire[: wire.index(b"\r\n\r\n") // 2],
    "no body": lambda wire: wire[: wire.index(b"\r\n\r\n") + 4],
    "half a body": lambda wire: wire[:-5],
    "all, and no answer read": lambda wire: wire,
    "many, and no answer read": lambda wire: wire * 50,
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("sent", LEFT)
@on_loop
async def test_who_leaves(sent, reset):
    async with attacked(encrypts=False) as (miner, port):
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(LEFT[sent](miner.attacks.good().wire))
            await writer.drain()
            if reset:
                writer.transport.abort()
            else:
                writer.close()


def abort(writer):
    writer.transport.abort()


@on_loop
async def test_who_stays_and_says_no_more_holds_nobody_up():
    async with attacked(encrypts=False) as (miner, port), contextlib.AsyncExitStack() as stack:
        for number in range(60):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(abort, writer)
            writer.write(list(LEFT.values())[number % 5](miner.attacks.good().wire))
        # Those that have sent all their headers have begun.
        await miner.wait(lambda under_way, begun: begun == 24)
        for _ in range(20):
            assert await asked(port, miner.attacks.good().wire) == 200


@KINDS
@on_loop
async def test_a_body_that_does_not_come_is_408(encrypts):
    async with attacked(encrypts=encrypts, body_s=0.2) as (miner, port):
        wires = [change(miner.attacks.good().wire) for change in (LEFT["no body"], LEFT["half a body"])]
        found = await asyncio.gather(*(asked(port, wire) for wire in wires * 10))
        assert found == [408] * 20


@on_loop
async def test_a_body_that_comes_byte_by_byte():
    async with attacked(encrypts=False) as (miner, port):
        for one, status in ((miner.attacks.good(), 200), (miner.attacks.classes["signature changed"](), 401)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for at in range(len(one.wire)):
                writer.write(one.wire[at : at + 1])
                await writer.drain()
            assert (await answer(reader))[0] == status
            writer.transport.abort()


@KINDS
@on_loop
async def test_who_leaves_in_the_middle_of_a_stream(encrypts):
    async with attacked(encrypts=encrypts) as (miner, port):
        for number in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            text = b'{"text": "' + b"a" * 1_000 + b'", "times": 1000000}'
            writer.write(miner.attacks.good(LINES, text).wire)
            assert (await answer(reader))[0] == 200
            await reader.readexactly(100_000)
            if number % 2:
                writer.transport.abort()
            else:
                writer.close()
        await miner.wait(lambda under_way, begun: under_way == 0)


# --- memory -----------------------------------------------------------------------------------------------


@KINDS
@on_loop
async def test_what_was_refused_leaves_no_object_behind(encrypts):
    """At 100,000: bench/test_hostile.py."""
    miner = Miner(encrypts=encrypts)
    sent = list(itertools.islice(miner.attacks, 4 * len(miner.attacks.classes)))

    async def objects():
        for one in sent:
            await status_of(miner, one)
        gc.collect()
        return len(gc.get_objects())

    await objects()
    before = await objects()
    # Timers that were cancelled are let go of a hundred at a time, with two objects each.
    assert await objects() - before < 250 < len(sent)


@on_loop
async def test_only_what_was_let_in_is_remembered():
    miner = Miner(encrypts=False)
    verified = 0
    for one in itertools.islice(miner.attacks, len(miner.attacks.classes)):
        await status_of(miner, one)
        verified += one.name.startswith(("/ask ", "/lines ", "no such", "an odd", "PUT"))
    assert len(miner.settings.nonce_manager._book) <= verified + 2
