"""Who lives and has no session here: asked for one member at a time, believed for the mode alone, and bounded."""

from __future__ import annotations

import asyncio
import random

import pytest

from mycelium.config.peer import ABSENT_ACCOUNTS_MAX, ABSENT_ASK_MS, ABSENT_MS
from mycelium.errors import CallTimeout, MalformedMessage
from mycelium.node.absence import HEARD, Absence
from mycelium.peer.liveness import Standing

ME, NEAR, FAR, DEAD = (bytes([number]) * 32 for number in range(1, 5))
NOW_MS = 1_000_000


class Calls:
    """Answers as it is told to, and remembers who was asked."""

    def __init__(self) -> None:
        self.handlers = {}
        self.asked = []
        self.answer = b""
        self.error = None

    def on(self, method, handler):
        self.handlers[method] = handler

    async def call(self, account, method, body, timeout_s):
        self.asked.append((account, body))
        if self.error is not None:
            raise self.error
        return self.answer


class World:
    def __init__(self, *, linked=(NEAR,), holders=(NEAR, FAR, DEAD), full_max=256, may_hold=None) -> None:
        self.calls = Calls()
        self.links = dict.fromkeys(linked, object())
        self.holders = list(holders)
        self.now_ms = NOW_MS
        self.standings = {}
        self.absence = Absence(
            self.calls,
            self.standings.get,
            self.links.get,
            lambda: self.holders,
            may_hold or (lambda account, space: True),
            full_max,
            random.Random(1),
            lambda: self.now_ms,
        )

    async def seconds(self, count):
        for _ in range(count):
            self.now_ms += 1_000
            self.absence.tick(self.now_ms)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def why(self, space="main"):
        return self.absence.why(space, self.now_ms)


def played(play):
    asyncio.run(play())


def test_who_others_hear_for_long_is_out_of_reach_and_who_nobody_hears_is_not():
    async def play():
        world = World()
        world.calls.answer = FAR
        await world.seconds(2)
        assert set(world.absence.heard) == {FAR}
        assert world.why() == ""
        await world.seconds(ABSENT_MS // 1_000)
        assert FAR.hex()[:16] in world.why()
        assert {account for account, _ in world.calls.asked} == {NEAR}

    played(play)


def test_with_a_session_or_without_a_word_for_long_it_is_not_out_of_reach():
    async def play():
        world = World()
        world.calls.answer = FAR
        await world.seconds(ABSENT_MS // 1_000 + 2)
        assert world.why()
        world.links[FAR] = object()
        assert world.why() == ""
        await world.seconds(1)
        del world.links[FAR]
        assert world.why() == "", "its absence counts anew"
        world.calls.answer = b""
        await world.seconds(ABSENT_MS // 1_000 + 2)
        assert world.why() == ""

    played(play)


def test_what_was_heard_long_ago_counts_no_more():
    async def play():
        world = World()
        world.calls.answer = FAR
        await world.seconds(ABSENT_MS // 1_000 + 2)
        world.calls.answer = b""
        await world.seconds(3 * ABSENT_ASK_MS // 1_000 + 1)
        assert world.why() == ""
        assert world.absence.heard == {}

    played(play)


def test_who_may_not_read_a_space_is_not_missed_in_it():
    async def play():
        world = World(may_hold=lambda account, space: space == "main")
        world.calls.answer = FAR
        await world.seconds(ABSENT_MS // 1_000 + 2)
        assert world.why("main")
        assert world.why("private") == ""

    played(play)


def test_above_a_full_mesh_nobody_is_asked():
    async def play():
        world = World(full_max=3)
        await world.seconds(3)
        assert world.calls.asked == []
        assert "4 members" in world.why()
        world.holders = [NEAR, FAR]
        await world.seconds(1)
        assert world.why() == ""

    played(play)


def test_nobody_is_asked_while_nobody_is_absent_or_nobody_can_be():
    async def play():
        for world in (World(linked=(NEAR, FAR, DEAD)), World(linked=())):
            await world.seconds(20)
            assert world.calls.asked == []

    played(play)


def test_the_first_questions_come_soon_and_later_ones_seldom():
    async def play():
        world = World()
        await world.seconds(8)
        assert len(world.calls.asked) == 8
        await world.seconds(60)
        assert 12 <= len(world.calls.asked) <= 15

    played(play)


def test_no_answer_is_no_harm_and_the_next_question_comes():
    async def play():
        world = World()
        world.calls.error = CallTimeout("no answer")
        await world.seconds(3)
        assert world.absence.answers == 0
        world.calls.error, world.calls.answer = None, FAR
        await world.seconds(1)
        assert world.absence.answers == 1
        world.absence.close()

    played(play)


@pytest.mark.parametrize(
    "answer",
    [ME + NEAR, b"x" * 31, bytes(32) * 10_000, FAR[:-1]],
    ids=["others", "short", "long", "cut"],
)
def test_what_was_not_asked_for_is_not_believed(answer):
    async def play():
        world = World()
        world.calls.answer = answer
        await world.seconds(2)
        assert world.absence.heard == {}

    played(play)


def test_a_question_is_bounded_whoever_is_absent():
    async def play():
        crowd = [number.to_bytes(32, "big") for number in range(1, 1_000)]
        world = World(holders=[NEAR, *crowd], full_max=2_000)
        await world.seconds(2)
        assert {len(body) for _, body in world.calls.asked} == {ABSENT_ACCOUNTS_MAX * 32}

    played(play)


def test_it_answers_with_those_that_it_hears_itself():
    async def play():
        world = World(linked=(NEAR, FAR))
        world.standings |= {NEAR: Standing.ALIVE, FAR: Standing.SUSPECT, DEAD: Standing.ALIVE}
        hears = world.calls.handlers[HEARD]
        assert await hears(None, NEAR + FAR + DEAD + ME) == NEAR
        assert await hears(None, b"") == b""
        for body in (b"x", bytes(32 * ABSENT_ACCOUNTS_MAX + 32)):
            with pytest.raises(MalformedMessage):
                await hears(None, body)

    played(play)
