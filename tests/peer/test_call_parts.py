"""Answers that are larger than a message, for callers who ask for them in parts."""

from __future__ import annotations

import asyncio

import pytest
from peer.callkit import World
from peer.linkkit import run, until

from mycelium._core import fanout
from mycelium.config import CALL_BYTES_MAX, CALL_PART_BYTES
from mycelium.errors import CallFailed, CallTimeout, LinkClosed, MalformedMessage
from mycelium.peer import caller as caller_module
from mycelium.peer.call import FAILED, ITEM, OK
from mycelium.peer.link import Link
from mycelium.protocol.messages import Call, MessageType

LARGE = 4 * 1024 * 1024
SIZES = [
    0,
    1,
    CALL_BYTES_MAX,
    CALL_BYTES_MAX + 1,
    4 * CALL_PART_BYTES,
    4 * CALL_PART_BYTES + 1,
    LARGE,
]


@pytest.mark.parametrize("encodings", [(2,), (1,)], ids=["flatbuffers", "json"])
def test_an_answer_of_any_size_comes_whole(encodings):
    async def main():
        async with World(encodings) as world:
            for size in SIZES:
                if encodings == (1,) and CALL_BYTES_MAX // 2 < size <= CALL_BYTES_MAX:
                    continue  # one message, which does not fit in JSON
                body = await world.caller.call("large", str(size).encode(), 10, LARGE)
                assert body == bytes(size), size
            assert await asyncio.gather(
                *(world.caller.call("large", b"2000000", 10, LARGE) for _ in range(4))
            )

    run(main())


def test_an_answer_above_what_was_asked_for_is_refused_before_any_of_it_is_sent():
    async def main():
        async with World() as world:
            with pytest.raises(CallFailed, match="2000000 bytes, at most 1000000") as caught:
                await world.caller.call("large", b"2000000", 10, 1_000_000)
            assert caught.value.kind == "ValueRefused"
            with pytest.raises(CallFailed, match=f"at most {CALL_BYTES_MAX}"):
                await world.caller.call("large", b"2000000", 10)
            assert await world.caller.call("echo", b"alive") == b"alive"

    run(main())


class Answering:
    """A caller whose server's messages are made by the test."""

    def __init__(self, world):
        self.world = world

    async def ask(self, *calls, timeout_s=10.0, most=2_000_000):
        """The answer to one call, for which the server sends these."""
        task = asyncio.create_task(self.world.caller.call("wait", b"", timeout_s, most))
        await until(lambda: self.world.service.started == 1)
        for kind, call in calls:
            self.world.alice.hub.links()[0].post(kind, call.encode(), fanout.BULK)
        return await task


@pytest.mark.parametrize("with_end", [True, False])
def test_more_than_was_asked_for_closes_the_link(with_end):
    async def main():
        async with World() as world:
            part = (MessageType.STREAM, Call(1, "", ITEM, 0, False, bytes(700_000)))
            last = (MessageType.RESPONSE, Call(1, "", OK, 0, True, bytes(700_000)))
            sent = (part, part, last) if with_end else (part, part, part)
            with pytest.raises(LinkClosed, match="more than the 2000000 bytes"):
                await Answering(world).ask(*sent)

    run(main())


def test_an_error_after_some_parts_is_the_error():
    async def main():
        async with World() as world:
            part = (MessageType.STREAM, Call(1, "", ITEM, 0, False, bytes(700_000)))
            failed = (MessageType.RESPONSE, Call(1, "ValueRefused", FAILED, 0, True, b"no"))
            with pytest.raises(CallFailed, match="no"):
                await Answering(world).ask(part, failed)

    run(main())


def test_each_part_gives_the_rest_as_much_time_again():
    async def main():
        waiting = caller_module._Waiting("method", 60.0, 100)
        before_s = waiting._timer.when()
        await asyncio.sleep(0.002)
        waiting.part(b"some")
        assert waiting._timer.when() > before_s
        with pytest.raises(MalformedMessage, match="more than the 100 bytes"):
            waiting.part(bytes(97))
        waiting.close()

    run(main())


def test_parts_that_stop_coming_time_out_and_leave_nothing_behind():
    async def main():
        async with World() as world:
            part = (MessageType.STREAM, Call(1, "", ITEM, 0, False, bytes(1000)))
            with pytest.raises(CallTimeout):
                await Answering(world).ask(part, timeout_s=0.2)
            assert not world.caller._answers
            await until(lambda: world.service.cancelled == 1)

    run(main())


def test_a_call_that_cannot_be_sent_in_time_has_timed_out_and_leaves_nothing(caplog, monkeypatch):
    async def main():
        async with World() as world:
            full = True

            async def never(link, klass):
                await asyncio.get_running_loop().create_future()

            with monkeypatch.context() as patch:
                patch.setattr(Link, "post", lambda *message: not full)
                patch.setattr(Link, "drained", never)
                with pytest.raises(CallTimeout):
                    await world.caller.call("echo", b"x", 0.05)
            assert not world.caller._answers
            assert await world.caller.call("echo", b"x", 5) == b"x"
        assert len(asyncio.all_tasks()) == 1

    run(main())
    assert "never retrieved" not in caplog.text
