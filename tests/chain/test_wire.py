"""The socket under a connection: shared by two threads, seen by one process, and silent about secrets."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from chain.clientkit import Scripted, chain_threads, free_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mycelium.chain import socket as chain_socket
from mycelium.chain import wire
from mycelium.chain.socket import Socket
from mycelium.errors import ChainUnreachable


@pytest.fixture
def node():
    with Scripted() as running:
        yield running


# --- secrets and processes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("ws://127.0.0.1:9944", "ws://127.0.0.1:9944"),
        ("wss://user:secret@node.invalid:443/path?apikey=secret", "wss://node.invalid:443/..."),
        ("wss://node.invalid/?secret", "wss://node.invalid/..."),
    ],
)
def test_no_message_shows_what_may_be_a_secret(url, name):
    assert chain_socket.shown(url) == name
    with pytest.raises(ChainUnreachable) as caught:
        Socket(f"ws://me:secret@127.0.0.1:{free_port()}/?apikey=secret", 2)
    assert "secret" not in str(caught.value)


FORK = """
import os, sys
from mycelium.chain.connection import Connection
connection = Connection(sys.argv[1], cache_dir=None)
first = connection.connect().access.rpc.socket
if os.fork() == 0:
    # Nobody reads the parent's connection here: the child opens its own.
    assert connection.head().number == 0
    assert connection.access.rpc.connections == 2
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert connection.head().number == 0
assert connection.access.rpc.socket is first and first.open
"""


def test_a_forked_process_leaves_its_parents_connection_alone(chain):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, chain.url]
    subprocess.run(command, check=True, timeout=30)


# --- the shared socket --------------------------------------------------------------------------------------


class Wants(socket.socket):
    """A socket that first wants to be asked again, as TLS does in the middle of a record."""

    errors = ()

    def recv(self, size):
        if self.errors:
            raise self.errors.pop()
        return super().recv(size)


@pytest.mark.parametrize("error", [ssl.SSLWantReadError(), ssl.SSLWantWriteError(), BlockingIOError()])
def test_a_socket_that_wants_to_be_asked_again(error):
    ours, theirs = socket.socketpair()
    wanting = Wants(fileno=ours.detach())
    wanting.errors = [error]
    duplex = wire.Duplex(wanting, 2)
    theirs.sendall(b"abc")
    assert duplex.recv(10) == b"abc"
    duplex.settimeout(0.05)
    with pytest.raises(TimeoutError):
        duplex.recv(10)
    duplex.wake()
    assert duplex.recv(10) == b""
    duplex.close()
    theirs.close()


def test_a_send_that_nobody_reads_has_a_limit():
    ours, theirs = socket.socketpair()
    duplex = wire.Duplex(ours, 0.1)
    with pytest.raises(TimeoutError):
        while True:
            duplex.send(b"x" * 100_000)
    duplex.close()
    theirs.close()


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1, signed by itself: the path of a file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
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
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Scripted(tls=context, echo=lambda value: value) as node:
        yield node


def test_many_threads_over_tls(secure, certificate, monkeypatch):
    """Reading and writing at once, in records that do not end where messages do."""
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(certificate))
    client = Socket(secure.url)
    wrong = []

    def ask(number):
        for at in range(12):
            value = [number, at, "x" * (7_000 * at)]
            if client.request("echo", [value], 20) != value:
                wrong.append((number, at))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert client.open
    client.close()
    assert chain_threads() == []


def test_a_certificate_that_nobody_vouches_for(secure):
    with pytest.raises(ChainUnreachable, match="certificate verify failed"):
        Socket(secure.url)
