"""One connection over both protocols: what is negotiated, who is refused, and what is renewed by itself."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import pytest
from cryptography.fernet import Fernet
from httpwire.httpkit import OTHER, VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, on_loop
from httpwire.sessionkit import World, over_session, until

from mycelium.encrypted import connection as connection_module
from mycelium.encrypted.validator import handshake as fibers
from mycelium.errors import HandshakeFailed, Unauthorised, Unreachable, UsageError, WrongPeer
from mycelium.http.keyring import Keyring
from mycelium.validator import handshake
from mycelium.validator.handshake import FIBER, SESSION, connect


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Miners write where they are started."""
    monkeypatch.chdir(tmp_path)


class FibersMiner(World):
    """A miner as Fiber's: no sessions, and a key that nobody has signed."""

    def __init__(self, monkeypatch):
        monkeypatch.setenv("MYCELIUM_SESSIONS", "0")
        super().__init__(encrypted=True)
        inner = self.app.build_middleware_stack()

        async def unsigned(scope, receive, send):
            async def without(message):
                if message["type"] == "http.response.start":
                    names = (b"content-length", b"mycelium-sealed")
                    message["headers"] = [one for one in message["headers"] if one[0] not in names]
                elif scope["path"] == "/public-encryption-key":
                    fields = json.loads(message["body"])
                    del fields["signature"], fields["hotkey"]
                    message["body"] = json.dumps(fields).encode()
                await send(message)

            if scope["type"] == "http":
                scope["headers"] = [one for one in scope["headers"] if one[0] != b"mycelium-accept"]
                await inner(scope, receive, without)
            else:
                await inner(scope, receive, send)

        self.app.middleware_stack = unsigned


async def used(connection):
    """Everything that a connection can do."""
    answer = await connection.post("/ask", {"text": "é", "times": 2}, 5)
    assert (answer.status_code, answer.json()) == (200, {"answer": "éé"})
    assert (await connection.get("/get?of=me", 5)).json() == {"answer": "me"}
    assert [line async for line in connection.lines("/lines", {"text": "", "times": 2})] == [
        "0 .......",
        "1 .......",
    ]
    with pytest.raises(httpx.HTTPStatusError):
        [line async for line in connection.lines("/refuse", {"text": ""})]
    return over_session(answer)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@on_loop
async def test_of_two_of_ours_the_session_is_taken(encrypted):
    async with World(encrypted=encrypted) as world:
        async with await connect(world.client, world.address, VALIDATOR, ME) as connection:
            assert await used(connection)
            agreed = connection.agreed
            assert (agreed.protocol, agreed.version) == (SESSION, 1)
            assert str(agreed).endswith("miner proved, answers sealed, forward secret")
            assert agreed.cipher in ("AES-256-GCM", "ChaCha20-Poly1305")
            assert (connection.miner, connection.validator) == (ME, VALIDATOR_ADDRESS)
        again = await connect(world.client, world.address, VALIDATOR, ME)
        assert over_session(await again.post("/ask", {"text": ""})), "the client's session goes on"


@on_loop
async def test_fibers_protocol_with_a_miner_that_proves_its_key():
    async with World(encrypted=True) as world:
        for proved in (None, True):
            connection = await connect(
                world.client, world.address, VALIDATOR, ME, protocols=(FIBER,), proved=proved
            )
            assert not await used(connection)
            assert str(connection.agreed) == (
                "fiber, Fernet (AES-128-CBC, HMAC-SHA256), miner proved, answers sealed"
            )
            assert connection._uuid not in repr(connection)


@on_loop
async def test_fibers_miner_is_spoken_to_in_its_protocol_and_unproved():
    with pytest.MonkeyPatch.context() as patch:
        async with FibersMiner(patch) as world:
            connection = await connect(world.client, world.address, VALIDATOR, ME)
            assert not await used(connection)
            assert str(connection.agreed).endswith("miner not proved, answers in plain text")
            for asked in ({"proved": True}, {}):
                if not asked:
                    patch.setenv("MYCELIUM_REQUIRE_SIGNED_KEY", "1")
                with pytest.raises(HandshakeFailed, match="not signed"):
                    await connect(world.client, world.address, VALIDATOR, ME, **asked)


@on_loop
async def test_who_fails_to_prove_himself_is_not_asked_for_less(monkeypatch):
    def never(*args, **keywords):
        raise AssertionError("a worse protocol was tried")

    monkeypatch.setattr(handshake, "perform_handshake", never)
    async with World(encrypted=True) as world:
        with pytest.raises(WrongPeer):
            await connect(world.client, world.address, VALIDATOR, OTHER.ss58_address)
        with pytest.raises(Unauthorised):
            await connect(world.client, world.address, OTHER, ME)


@on_loop
async def test_where_nobody_speaks_any_of_it(monkeypatch):
    async with httpx.AsyncClient() as client:
        with pytest.raises(Unreachable, match=r"session: .*; fiber: "):
            await connect(client, "http://127.0.0.1:1", VALIDATOR, ME)
        with pytest.raises(Unreachable, match="http:// address"):
            await connect(client, "https://127.0.0.1:1", VALIDATOR, ME, protocols=(SESSION,))
        for wrong in ((), ("tls",), (SESSION, "tls")):
            with pytest.raises(UsageError, match="protocols are session and fiber"):
                await connect(client, "http://127.0.0.1:1", VALIDATOR, ME, protocols=wrong)
    async with World(encrypted=False) as world:
        with pytest.raises(Unreachable, match="answered 404"):
            await connect(world.client, world.address, VALIDATOR, ME, protocols=(FIBER,))
        connection = await connect(world.client, world.address, VALIDATOR, ME, protocols=(FIBER, SESSION))
        assert connection.agreed.protocol == SESSION
    async with World(encrypted=True) as world:
        world.settings.metagraph.nodes[VALIDATOR_ADDRESS].stake = 1.0
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(world.client, world.address, VALIDATOR, ME, protocols=(FIBER,))


@on_loop
async def test_a_lost_session_is_made_anew():
    async with World() as world:
        connection = await connect(world.client, world.address, VALIDATOR, ME)
        first = world.session()
        await world.stop()
        await until(lambda: first.ended)
        with pytest.raises(Unreachable):
            await connection.post("/ask", {"text": ""})
        await world.start()
        assert await used(connection)
        assert world.session() is not first


@on_loop
async def test_a_key_is_replaced_before_its_time_is_over_and_when_the_miner_has_lost_it(monkeypatch):
    async with World(encrypted=True) as world:
        connection = await connect(world.client, world.address, VALIDATOR, ME, protocols=(FIBER,))
        first = connection._uuid
        world.settings.encryption_keys_handler._keys = Keyring()
        assert not await used(connection)
        second = connection._uuid
        assert second != first
        monkeypatch.setattr(connection_module, "_RENEW_S", -1.0)
        assert not await used(connection)
        assert connection._uuid != second


@on_loop
async def test_a_renewed_key_is_no_worse_than_the_one_before(monkeypatch):
    async with World(encrypted=True) as world:
        connection = await connect(world.client, world.address, VALIDATOR, ME, protocols=(FIBER,))
        asked = []

        async def perform(*args, **keywords):
            asked.append(keywords["signed_only"])
            return await real(*args, **keywords)

        real = fibers.perform_handshake
        monkeypatch.setattr(fibers, "perform_handshake", perform)
        await connection._renew()
        assert asked == [True]


@on_loop
async def test_what_is_too_large_for_a_session_says_what_to_do():
    async with World(encrypted=True) as world:
        connection = await connect(world.client, world.address, VALIDATOR, ME)
        with pytest.raises(UsageError, match="protocols="):
            await connection.post("/ask", {"text": "x" * 1_000_000})
        with pytest.raises(UsageError, match="protocols="):
            [line async for line in connection.lines("/lines", {"text": "x" * 1_000_000})]
        connection = await connect(world.client, world.address, VALIDATOR, ME, protocols=(FIBER,))
        assert (await connection.post("/ask", {"text": "x" * 1_000_000})).status_code == 200


@on_loop
async def test_a_miner_without_room_is_an_error_of_httpx(monkeypatch):
    async with World() as world:
        connection = await connect(world.client, world.address, VALIDATOR, ME)
        monkeypatch.setattr("mycelium.peer.callserver.CALLS_PENDING_BYTES_MAX", 1)
        with pytest.raises(httpx.ConnectError, match="no call now"):
            await connection.post("/ask", {"text": ""})
        with pytest.raises(httpx.ConnectError, match="no call now"):
            [line async for line in connection.lines("/lines", {"text": ""})]


@on_loop
async def test_a_client_with_a_transport_of_its_own_has_sessions_that_end_with_the_connection():
    client = httpx.AsyncClient(follow_redirects=True)
    async with World(client=client) as world:
        connection = await connect(client, world.address, VALIDATOR, ME)
        assert await used(connection)
        session = await connection._session()
        await connection.aclose()
        assert session.ended
        with pytest.raises(WrongPeer):
            await connect(client, world.address, VALIDATOR, OTHER.ss58_address)
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if "dial" in repr(task)]


@on_loop
async def test_fibers_handshake_goes_over_a_session_where_there_is_one(monkeypatch):
    async with World(encrypted=True) as world:
        await world.session_opened()
        monkeypatch.setattr(fibers, "get_public_encryption_key", None)  # which is not asked for
        key, uuid = await fibers.perform_handshake(world.client, world.address, VALIDATOR, ME)
        info = world.settings.encryption_keys_handler.get_symmetric_key(VALIDATOR_ADDRESS, uuid)
        assert info.fernet.decrypt(Fernet(key).encrypt(b"the same key")) == b"the same key"
        world._secret = Fernet(key), uuid
        world.sessions._places.clear()  # by HTTP
        world.sessions._closed = True
        answer = await world.post("/ask")
        assert (answer.status_code, over_session(answer)) == (200, False)


@on_loop
async def test_a_key_is_only_given_as_it_is_over_a_session():
    async with World(encrypted=True) as world:
        given = {"symmetric_key": base64.b64encode(bytes(32)).decode(), "symmetric_key_uuid": "u"}
        assert (await world.post("/mycelium/symmetric-key", given)).status_code == 404
        await world.session_opened()
        session = world.session()

        async def give(**changes):
            body = json.dumps(given | changes).encode()
            return (await session.ask("POST", "/mycelium/symmetric-key", body, 5)).status_code

        assert await give() == 200
        assert await give(symmetric_key="no base64!") == 400
        assert await give(symmetric_key=base64.b64encode(bytes(31)).decode()) == 400
        assert await give(symmetric_key_uuid="") == 400
        assert await give(symmetric_key_uuid="x" * 200) == 400
        assert await give(symmetric_key=1) == 422


@on_loop
async def test_a_miner_that_takes_no_key_over_a_session_gets_it_by_http(monkeypatch):
    async with World(encrypted=True) as world:
        await world.session_opened()
        monkeypatch.setattr("mycelium.http.exchange.OVER_SESSION", "/something-newer")
        _, uuid = await fibers.perform_handshake(world.client, world.address, VALIDATOR, ME)
        assert world.settings.encryption_keys_handler.get_symmetric_key(VALIDATOR_ADDRESS, uuid)
        world.session().link.close()
        assert await fibers.perform_handshake(world.client, world.address, VALIDATOR, ME)
