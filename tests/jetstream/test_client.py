"""The way to NATS: login, TLS, connections that break in every way, errors as the tree's, and no secret in any text."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import signal
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jskit import connected, settings, until
from natskit import Servers, free_ports
from nodekit import run

from mycelium.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnreachable,
    ConfigError,
    StreamGone,
)
from mycelium.jetstream.client import Broker, broker_errors, refused
from mycelium.node.nats_settings import Login, NatsSettings

PASSWORD = "correct-horse-battery"
USERS = f'authorization {{ users: [{{user: "me", password: "{PASSWORD}"}}] }}'


def test_a_session_asks_and_is_answered(tmp_path):
    async def main(nats):
        async with connected(nats) as session:
            assert session.alive
            assert session.server == nats.url.removeprefix("nats://")
            assert session.server_name == "n0"
            assert session.max_payload == 1024 * 1024
            made = await session.api("STREAM.CREATE.A", {"name": "A", "subjects": ["a.>"]})
            assert made["config"]["name"] == "A"
            with pytest.raises(StreamGone, match="stream not found"):
                await session.api("STREAM.INFO.B")
            with pytest.raises(BrokerError, match="overlap"):
                await session.api("STREAM.CREATE.B", {"name": "B", "subjects": ["a.b"]})
        assert not session.alive
        with pytest.raises(BrokerUnreachable):
            await session.api("STREAM.INFO.A")

    with Servers.of(tmp_path) as nats:
        run(main(nats))


def test_without_jetstream_it_says_so(tmp_path):
    with Servers.of(
        tmp_path, extra="accounts { A { users: [{user: a, password: b}] } }\nno_auth_user: a"
    ) as nats:

        async def main():
            async with connected(nats) as session:
                with pytest.raises(BrokerUnreachable, match=r"(?i)jetstream not enabled"):
                    await session.api("STREAM.INFO.A")

        run(main())


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], ids=["kill", "term", "stop"]
)
def test_what_waits_fails_when_the_server_goes_and_all_begins_again_when_it_is_back(tmp_path, how):
    async def main(nats):
        (server,) = nats.servers
        async with Broker(settings(nats), "test") as broker:
            sessions = broker.sessions()
            first = await anext(sessions)
            assert broker.session is first
            waiting = asyncio.ensure_future(first.held(asyncio.sleep(60)))
            await asyncio.sleep(0)
            # A server that only stopped keeps the socket: what was sent to it must not be waited for.
            await first.nc.publish("x", bytes(500_000))
            since = time.monotonic()
            server.send(how)
            if how == signal.SIGSTOP:
                with pytest.raises(BrokerUnreachable), broker_errors("x"):
                    while True:
                        await first.nc.publish("x", bytes(500_000))
            with pytest.raises(BrokerUnreachable):
                await waiting
            assert time.monotonic() - since < 6
            assert await asyncio.wait_for(first.lost, 1)
            await until(lambda: broker.problem)
            with pytest.raises(BrokerUnreachable):
                _ = broker.session
            server.send(signal.SIGCONT)
            server.stop()
            server.start()
            second = await anext(sessions)
            assert second.number > first.number
            assert broker.problem == ""
            await second.request("$JS.API.INFO")
            await sessions.aclose()

    with Servers.of(tmp_path) as nats:
        run(main(nats))


def test_a_server_that_is_gone_is_no_matter_where_there_are_others(tmp_path):
    async def main(nats):
        async with Broker(settings(nats), "test") as broker:
            first = await broker.ready(5)
            server = next(one for one in nats.servers if one.url.endswith(first.server))
            server.kill()
            await asyncio.wait_for(first.lost, 5)
            second = await broker.ready(5)
            assert second.server != first.server

    with Servers.of(tmp_path, 3) as nats:
        run(main(nats))


def test_nobody_listens(caplog):
    (port,) = free_ports(1)
    wanted = NatsSettings(urls=(f"nats://me:{PASSWORD}@127.0.0.1:{port}",))

    async def main():
        async with Broker(wanted, "test") as broker:
            since = time.monotonic()
            with pytest.raises(BrokerUnreachable, match=f"127.0.0.1:{port}") as raised:
                await broker.ready(5, once=True)
            assert time.monotonic() - since < 2
            assert PASSWORD not in str(raised.value)
            assert PASSWORD not in repr(broker) + broker.problem
            with pytest.raises(BrokerUnreachable):
                await broker.ready(0.6)

    with caplog.at_level(logging.DEBUG):
        run(main())
    said = [record for record in caplog.records if "no connection to NATS" in record.message]
    assert len(said) == 1, "it is said once, however often it is tried"
    assert PASSWORD not in caplog.text


def login_of(kind, environ):
    if kind == "url":
        return Login()
    environ["NATS_PW"] = PASSWORD
    return Login(user="me", password_env="NATS_PW") if kind == "user" else Login(token_env="NATS_PW")


@pytest.mark.parametrize("kind", ["url", "user", "token"])
def test_logins(tmp_path, kind, caplog):
    extra = f'authorization {{ token: "{PASSWORD}" }}' if kind == "token" else USERS
    environ = {}
    login = login_of(kind, environ)

    async def main(nats):
        host = nats.url.removeprefix("nats://")
        urls = (f"nats://me:{PASSWORD}@{host}",) if kind == "url" else (nats.url,)
        good = NatsSettings(urls=urls, login=login)
        async with Broker(good, "test", environ=environ) as broker:
            assert await broker.ready(5)
            assert PASSWORD not in repr(broker) + repr(good)
        bad = environ | {"NATS_PW": f"{PASSWORD}-not"}
        wrong = (f"nats://me:{PASSWORD}-not@{host}",) if kind == "url" else (nats.url,)
        async with Broker(NatsSettings(urls=wrong, login=login), "test", environ=bad) as broker:
            with pytest.raises(BrokerUnreachable, match="login is refused") as raised:
                await broker.ready(5, once=True)
        assert PASSWORD not in str(raised.value)
        if kind != "url":
            async with Broker(good, "test", environ={}) as broker:
                with pytest.raises(ConfigError, match="NATS_PW, which is not set"):
                    await broker.ready(5)

    with Servers.of(tmp_path, extra=extra) as nats, caplog.at_level(logging.DEBUG):
        run(main(nats))
    assert PASSWORD not in caplog.text


def test_an_nkey(tmp_path):
    nkeys = pytest.importorskip("nkeys")
    import os

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file = tmp_path / "user.nk"
    file.write_bytes(seed)

    async def main(nats):
        async with Broker(settings(nats, login=Login(nkey_file=file)), "test") as broker:
            assert await broker.ready(5)
        missing = Login(nkey_file=tmp_path / "none.nk")
        async with Broker(settings(nats, login=missing), "test") as broker:
            with pytest.raises(ConfigError, match=r"none\.nk"):
                await broker.ready(5)

    with Servers.of(tmp_path / "s", extra=f"authorization {{ users: [{{nkey: {public}}}] }}") as nats:
        run(main(nats))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself."""
    path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def test_tls(tmp_path, certificates):
    pem, key = certificates / "cert.pem", certificates / "key.pem"
    tls = f'tls {{ cert_file: "{pem}", key_file: "{key}", ca_file: "{pem}", verify: true }}'

    async def main(nats):
        mine = settings(nats, tls_ca=pem, tls_cert=pem, tls_key=key)
        async with Broker(mine, "test") as broker:
            assert await broker.ready(5)
        for other, said in (
            (settings(nats, tls_ca=pem), "certificate required|closed|EOF|broke|lost"),
            (settings(nats, tls_cert=pem, tls_key=key), "certificate verify failed|self.signed"),
        ):
            async with Broker(other, "test") as broker:
                with pytest.raises(BrokerUnreachable, match=f"(?i){said}"):
                    await broker.ready(5, once=True)
        async with Broker(settings(nats, tls_ca=tmp_path / "none.pem"), "test") as broker:
            with pytest.raises(ConfigError, match="TLS for NATS"):
                await broker.ready(5)

    with Servers.of(tmp_path, extra=tls) as nats:
        run(main(nats))


@pytest.mark.parametrize("how", ["address", "authority"])
def test_a_password_is_not_sent_in_clear_where_tls_was_asked_for(tmp_path, certificates, how):
    async def main():
        read = []

        async def pretend(reader, writer):
            writer.write(b'INFO {"server_id": "x", "max_payload": 1000, "auth_required": true}\r\n')
            read.append(await reader.read())
            writer.close()

        server = await asyncio.start_server(pretend, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        scheme = "tls" if how == "address" else "nats"
        ca = certificates / "cert.pem" if how == "authority" else None
        wanted = NatsSettings(urls=(f"{scheme}://me:{PASSWORD}@127.0.0.1:{port}",), tls_ca=ca)
        async with Broker(wanted, "test") as broker:
            with pytest.raises(BrokerUnreachable, match="secure connection"):
                await broker.ready(5, once=True)
            await until(lambda: read)
        server.close()
        assert b"".join(read) == b""

    run(main())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ((503, 10077, "maximum bytes exceeded"), BrokerFull),
        ((503, 10023, "insufficient resources"), BrokerFull),
        ((500, 10047, "insufficient storage resources available"), BrokerFull),
        ((404, 10059, "stream not found"), StreamGone),
        ((404, None, None), StreamGone),
        ((503, 10008, "JetStream system temporarily unavailable"), BrokerUnreachable),
        ((400, 10054, "message size exceeds maximum allowed"), BrokerError),
        ((None, None, None), BrokerError),
    ],
    ids=["bytes", "resources", "storage", "stream", "message", "leaderless", "large", "nothing"],
)
def test_what_jetstream_refuses(error, kind):
    assert type(refused("S", *error)) is kind
    assert str(refused("S", *error)).startswith("S: ")


def test_errors_of_the_library():
    import nats.errors
    import nats.js.errors

    for raised, kind in (
        (nats.errors.TimeoutError(), BrokerUnreachable),
        (TimeoutError(), BrokerUnreachable),
        (nats.errors.NoRespondersError(), BrokerUnreachable),
        (nats.js.errors.NoStreamResponseError(), StreamGone),
        (nats.js.errors.NotFoundError(code=404, err_code=10059, description="stream not found"), StreamGone),
        (ConnectionResetError("gone"), BrokerUnreachable),
        (nats.errors.Error(f"nats://me:{PASSWORD}@host"), BrokerUnreachable),
    ):
        with pytest.raises(kind) as caught, broker_errors("S"):
            raise raised
        assert PASSWORD not in str(caught.value)
    with pytest.raises(ValueError, match="ours"), broker_errors("S"):
        raise ValueError("ours")
