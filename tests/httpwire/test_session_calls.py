"""Requests over a session: the same answers as by HTTP, of routes and of native handlers, plain and encrypted."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from httpwire.httpkit import OTHER, VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, on_loop
from httpwire.sessionkit import World, over_session, until

KINDS = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
WAYS = pytest.mark.parametrize("way", ["", "/native"], ids=["route", "native"])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Miners write where they are started."""
    monkeypatch.chdir(tmp_path)


@KINDS
@on_loop
async def test_the_first_request_goes_by_http_and_then_over_a_session(encrypted):
    async with World(encrypted=encrypted) as world:
        first = await world.post("/ask")
        assert not over_session(first)
        assert first.headers["mycelium-session"] == "mycelium.v1"
        await until(lambda: world.session() is not None)
        second = await world.post("/ask")
        assert over_session(second)
        assert (second.status_code, second.json()) == (first.status_code, first.json())
        assert over_session(await world.get("/get"))
        by_http, by_session = world.doings.seen
        same = {"content-type", "validator-hotkey", "miner-hotkey", "host", "content-length"}
        for name in same - ({"content-length"} if encrypted else set()):
            assert by_session[name] == by_http[name], name
        assert by_session["signature"] == "session"


@KINDS
@on_loop
async def test_every_kind_of_answer_is_what_http_brings(encrypted):
    async def answers(world):
        found = {}
        for endpoint in (
            "/ask",
            "/refuse",
            "/fail",
            "/nothing",
            "/cookies",
            "/none",
            "/native/ask",
            "/native/who",
        ):
            answer = await world.post(endpoint)
            found[endpoint] = answer.status_code, answer.content, answer.headers.get("x-tea")
        for endpoint in (
            "/native/model",
            "/native/refuse",
            "/native/fail",
            "/native/empty",
            "/native/unbegun",
        ):
            answer = await world.post(endpoint)
            found[endpoint] = answer.status_code, answer.content, answer.headers["content-type"]
        wrong = (
            await world.post("/ask", {"times": "many"}),
            await world.post("/native/ask", {"times": "many"}),
        )
        found["wrong"] = [(answer.status_code, answer.content) for answer in wrong]
        for endpoint in ("/get", "/get?of=somebody%20else", "/native/get"):
            answer = await world.get(endpoint)
            found[endpoint] = answer.status_code, answer.json()
        for endpoint in ("/lines", "/native/lines", "/native/objects", "/native/empty"):
            found["lines of " + endpoint] = [line async for line in world.lines(endpoint)]
        for endpoint in ("/refuse", "/native/refuse", "/native/unbegun", "/fail"):
            with pytest.raises(httpx.HTTPStatusError) as caught:
                [line async for line in world.lines(endpoint)]
            found["error of " + endpoint] = caught.value.response.status_code, caught.value.response.text
        return found

    async with World(encrypted=encrypted) as world:
        world.sessions._closed = True  # all that is offered is left
        by_http = await answers(world)
        world.sessions._closed = False
        await world.session_opened()
        by_session = await answers(world)
        assert by_session == by_http
        assert by_http["/native/ask"] == (200, b'{"answer":"aa"}', None)
        assert by_http["/native/who"][1] == f'{{"hotkey":"{VALIDATOR_ADDRESS}","stake":5000.0}}'.encode()
        assert by_http["/fail"][0] == by_http["/native/fail"][0] == 500
        assert b"secret" not in by_http["/native/fail"][1]
        assert [status for status, _ in by_http["wrong"]] == [422, 422]
        assert by_http["/get?of=somebody%20else"] == (200, {"answer": "somebody else"})


@KINDS
@WAYS
@on_loop
async def test_answers_and_questions_of_any_size(encrypted, way):
    async with World(encrypted=encrypted) as world:
        await world.session_opened()
        for size in (0, 1, 786_432, 786_433, 5_000_000):
            answer = await world.post(f"{way}/large", {"text": "", "times": size})
            assert over_session(answer)
            assert answer.content == bytes(size)
        answer = await world.post(f"{way}/ask", {"text": "x" * 1_000_000})
        assert not over_session(answer), "too large for a call, so it goes by HTTP"
        assert answer.json() == {"answer": "x" * 1_000_000}


@WAYS
@on_loop
async def test_many_calls_at_once_get_their_own_answers(way):
    async with World() as world:
        await world.session_opened()
        asked = [world.post(f"{way}/ask", {"text": f"{number} "}) for number in range(300)]
        answers = await asyncio.gather(*asked)
        assert [answer.json()["answer"] for answer in answers] == [f"{number} " for number in range(300)]
        assert all(over_session(answer) for answer in answers)


@WAYS
@on_loop
async def test_a_call_that_is_cancelled_is_cancelled_at_the_miner(way):
    async with World() as world:
        await world.session_opened()
        task = asyncio.create_task(world.post(f"{way}/wait"))
        await until(lambda: world.doings.started == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: world.doings.cancelled == 1)
        assert (await world.post(f"{way}/ask")).status_code == 200


@WAYS
@on_loop
async def test_a_call_has_its_deadline_and_others_go_on(way):
    async with World() as world:
        await world.session_opened()
        patient = asyncio.create_task(world.post(f"{way}/wait"))
        with pytest.raises(httpx.ReadTimeout):
            await world.post(f"{way}/wait", timeout=0.2)
        await until(lambda: world.doings.cancelled == 1)
        await until(lambda: world.session() is not None)
        assert over_session(await world.post(f"{way}/ask"))
        world.doings.gate.set()
        assert (await patient).json() == {"answer": "waited"}


@WAYS
@on_loop
async def test_a_stream_waits_for_its_reader_and_ends_with_it(way):
    async with World() as world:
        await world.session_opened()
        lines = world.lines(f"{way}/lines", {"text": "", "times": 1_000_000})
        assert (await anext(lines)).startswith("0 ")
        before = -1
        while before != world.doings.produced:
            before = world.doings.produced
            # Other calls go on meanwhile.
            assert (await world.post(f"{way}/ask")).status_code == 200
        assert world.doings.produced < 20_000
        for number in range(1, 100):
            assert (await anext(lines)).startswith(f"{number} ")
        await lines.aclose()
        await until(lambda: world.doings.cancelled == 1)
        assert (await world.post(f"{way}/ask")).status_code == 200


@WAYS
@on_loop
async def test_each_part_of_a_stream_has_its_deadline(way):
    async with World() as world:
        await world.session_opened()
        with pytest.raises(httpx.ReadTimeout):
            [line async for line in world.lines(f"{way}/wait", timeout=0.2)]
        await until(lambda: world.doings.cancelled == 1)


@WAYS
@on_loop
async def test_a_stream_that_breaks_is_no_whole_one(way):
    async with World() as world:
        await world.session_opened()
        found = []
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            async for line in world.lines(f"{way}/broken_lines"):
                found.append(line)  # noqa: PERF401 - what came before the end
        assert found in (["one"], [])
        assert "secret" not in str(caught.value)


@WAYS
@on_loop
async def test_who_loses_his_stake_is_refused_on_an_open_session(way):
    async with World() as world:
        await world.session_opened()
        world.settings.metagraph.nodes[VALIDATOR_ADDRESS].stake = 10.0
        answer = await world.post(f"{way}/ask")
        assert (answer.status_code, answer.json()) == (403, {"detail": "Insufficient stake of 10.0 "})
        del world.settings.metagraph.nodes[VALIDATOR_ADDRESS]
        assert (await world.post(f"{way}/ask")).status_code == 403
        with pytest.raises(httpx.HTTPStatusError):
            [line async for line in world.lines(f"{way}/lines")]


@on_loop
async def test_what_a_program_puts_in_front_of_its_routes_sees_calls_too():
    async with World() as world:
        paths = []

        async def look(scope, receive, send):
            paths.append((scope["type"], scope.get("path")))
            await inner(scope, receive, send)

        inner = world.app.build_middleware_stack()
        world.app.middleware_stack = look
        await world.session_opened()
        paths.clear()
        assert over_session(await world.post("/ask"))
        assert paths == [("http", "/ask")]


@on_loop
async def test_a_session_is_only_for_the_keypair_and_miner_it_was_opened_with():
    async with World() as world:
        await world.session_opened()
        world.miner = OTHER.ss58_address
        answer = await world.post("/ask")
        assert not over_session(answer)
        assert answer.status_code == 401
        world.miner = ME
        assert over_session(await world.post("/ask"))
        world.keypair = None
        answer = await world.get("/get")
        assert answer.status_code == 422, "not signed, so it does not go over a session that is"
        world.keypair = VALIDATOR
        assert over_session(await world.get("/get"))
