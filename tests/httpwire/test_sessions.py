"""Sessions come and go: offered, opened once, lost, opened again, refused, switched off; HTTP does the rest."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from httpwire.httpkit import OTHER, VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, on_loop
from httpwire.sessionkit import World, over_session, until

from mycelium.config import HTTP_CONNECTIONS_MAX
from mycelium.errors import Unauthorised, Unreachable, UsageError, WrongPeer
from mycelium.http import sending
from mycelium.http.session import sessions as sessions_module
from mycelium.http.session.sessions import NotSent, Sessions
from mycelium.identity import account as accounts


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Miners write where they are started."""
    monkeypatch.chdir(tmp_path)


@on_loop
async def test_a_miner_that_starts_anew_is_called_by_http_and_then_over_a_new_session():
    async with World() as world:
        await world.session_opened()
        first = world.session()
        under_way = asyncio.create_task(world.post("/wait"))
        await until(lambda: world.doings.started == 1)
        await world.stop()
        with pytest.raises(httpx.RemoteProtocolError, match="session ended"):
            await under_way
        with pytest.raises(httpx.ConnectError):
            await world.post("/ask")
        await world.start()
        answer = await world.post("/ask")
        assert answer.status_code == 200
        assert not over_session(answer)
        await until(lambda: world.session() is not None)
        assert world.session() is not first
        assert over_session(await world.post("/ask"))


@on_loop
async def test_requests_at_once_open_one_session():
    async with World() as world:
        answers = await asyncio.gather(*(world.post("/ask") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        await until(lambda: world.session() is not None)
        dialled = next(iter(world.sessions._hubs.values()))
        assert len(dialled.hub.links()) == 1
        assert over_session(await world.post("/ask"))


@on_loop
async def test_the_client_that_is_closed_leaves_no_session_and_no_attempt():
    async with World() as world:
        await world.session_opened()
        link = world.session().link
        await world.client.aclose()
        assert link.closed.done()
        world.client = httpx.AsyncClient()
        await world.post("/ask")
        place = next(iter(world.sessions._places.values()))
        assert place.dialling is not None
        task = place.dialling
        await world.client.aclose()
        assert task.done()
        assert sending.sessions_of(world.client) is None


@pytest.mark.parametrize("side", ["miner", "validator"])
@on_loop
async def test_either_side_can_switch_sessions_off(side):
    with pytest.MonkeyPatch.context() as patch:
        if side == "miner":
            patch.setenv("MYCELIUM_SESSIONS", "0")
        async with World() as world:
            patch.setenv("MYCELIUM_SESSIONS", "off")
            answer = await world.post("/ask")
            assert ("mycelium-session" in answer.headers) == (side == "validator")
            await world.post("/ask")
            assert world.session() is None
            assert not world.sessions._places
            if side == "miner":
                with pytest.raises(Exception, match="not a Mycelium node"):
                    await world.sessions.open(world.address, VALIDATOR_ADDRESS, ME, VALIDATOR)


def hooked():
    async def look(request):
        pass

    return httpx.AsyncClient(event_hooks={"request": [look]})


@pytest.mark.parametrize(
    "client",
    [
        hooked,
        lambda: httpx.AsyncClient(auth=("a", "b")),
        lambda: httpx.AsyncClient(follow_redirects=True),
        lambda: httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=1)),
        lambda: httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address="127.0.0.1")),
        lambda: httpx.AsyncClient(limits=httpx.Limits(keepalive_expiry=1)),
        type("Own", (httpx.AsyncClient,), {}),
    ],
    ids=["hooks", "auth", "redirects", "retries", "address", "limits", "subclass"],
)
@on_loop
async def test_a_client_that_must_see_every_request_sees_it(client):
    async with World(client=client()) as world:
        for _ in range(2):
            answer = await world.post("/ask")
            assert not over_session(answer)
        assert sending.sessions_of(world.client) is None


@on_loop
async def test_how_many_connections_a_program_allows_is_heeded():
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=3))
    async with World(client=client) as world:
        assert (await world.post("/ask")).status_code == 200
        assert sending._transport_of(client)._places._value == 3
    async with World() as world:
        await world.post("/ask")
        assert sending._transport_of(world.client)._places._value == HTTP_CONNECTIONS_MAX


@on_loop
async def test_no_session_for_who_may_not_ask():
    async with World() as world:
        with pytest.raises(Unauthorised):
            await world.sessions.open(world.address, OTHER.ss58_address, ME, OTHER)
        with pytest.raises(WrongPeer):
            await world.sessions.open(world.address, VALIDATOR_ADDRESS, OTHER.ss58_address, VALIDATOR)
        with pytest.raises(UsageError, match="not that of"):
            await world.sessions.open(world.address, VALIDATOR_ADDRESS, ME, OTHER)
        with pytest.raises(Unreachable, match="http://"):
            await world.sessions.open("https://127.0.0.1:1", VALIDATOR_ADDRESS, ME, VALIDATOR)
        assert (await world.post("/ask")).status_code == 200


@on_loop
async def test_after_a_failed_attempt_the_next_waits_each_time_twice_as_long(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(sessions_module.time, "monotonic", lambda: now[0])
    sessions = Sessions()
    key = ("http://127.0.0.1:1", VALIDATOR_ADDRESS, ME)
    waits = []
    for _ in range(9):
        sessions.offered(*key, VALIDATOR, "mycelium.v1")
        place = sessions._places[key]
        await place.dialling
        waits.append(place.retry_s - now[0])
        sessions.offered(*key, VALIDATOR, "mycelium.v1")
        assert place.dialling is None, "not yet"
        now[0] = place.retry_s
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    sessions.offered(*key, VALIDATOR, "mycelium.v2")
    assert place.dialling is None, "of a protocol that is not ours"
    await sessions.aclose()


@on_loop
async def test_a_miner_that_is_gone_without_a_word_is_found_out(monkeypatch):
    monkeypatch.setattr(sessions_module, "SESSION_DIAL_MS", 200)
    async with World() as world:
        await world.session_opened()
        session = world.session()
        # The miner's side hears nothing any more, as if its machine had lost its power.
        room = next(one for one in doors(world.app))._room
        room.hub._on_message = lambda link, message, size: None
        with pytest.raises(httpx.ReadTimeout):
            await world.post("/ask", timeout=0.1)
        assert not session.alive
        assert not over_session(await world.post("/ask")), "HTTP meanwhile"
        await until(lambda: session.ended)


@on_loop
async def test_a_miner_that_is_only_slow_keeps_its_session():
    async with World() as world:
        await world.session_opened()
        session = world.session()
        with pytest.raises(httpx.ReadTimeout):
            await world.post("/wait", timeout=0.1)
        await until(lambda: session.alive)
        assert over_session(await world.post("/ask"))


@on_loop
async def test_what_a_session_cannot_take_goes_by_http(monkeypatch):
    async with World() as world:
        await world.session_opened()
        monkeypatch.setattr("mycelium.peer.caller.CALLS_PER_CLIENT_MAX", 2)
        slow = [asyncio.create_task(world.post("/wait")) for _ in range(2)]
        await until(lambda: world.doings.started == 2)
        assert not over_session(await world.post("/ask"))
        world.doings.gate.set()
        assert all(over_session(answer) for answer in await asyncio.gather(*slow))
        monkeypatch.setattr("mycelium.peer.callserver.CALLS_PENDING_BYTES_MAX", 10)
        assert not over_session(await world.post("/ask")), "the miner had no room and had not begun"
        assert not [over for over in [over_session(await world.post("/" + "a" * 3000))] if over]
        session = world.session()
        session.link.close()
        with pytest.raises(NotSent):
            await session.ask("POST", "/ask", b"{}", 1.0)


def doors(app):
    """Of an app: what its layer was given."""
    return [layer.kwargs["door"] for layer in app.user_middleware if "door" in layer.kwargs]


@on_loop
async def test_the_end_of_the_app_ends_its_sessions():
    async with World() as world:
        await world.session_opened()
        (door,) = doors(world.app)
        assert door.sessions == 1
        assert accounts.format(door._room.account) == ME
        await door.close()
        assert door.sessions == 0
        await until(lambda: world.session() is None)
        assert (await world.post("/ask")).status_code == 200
