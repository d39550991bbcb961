"""Who passes the gate of the admin port."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.admin.access import Gate

TOKEN = b"a-token-of-thirty-two-characters"
OPEN = Gate({"127.0.0.1", "Node1.Example"}, None)
LOCKED = Gate({"10.0.0.7"}, TOKEN)


def status(gate, *headers, method="GET", path="/status", socket=False, host=b"localhost"):
    given = [] if host is None else [(b"host", host)]
    refusal = gate.judge(method, path, [*given, *headers], socket=socket)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("host", "code"),
    [
        (b"localhost", 200),
        (b"LOCALHOST:9091", 200),
        (b"127.0.0.1", 200),
        (b"127.0.0.1:1", 200),
        (b"127.8.8.8:80", 200),
        (b"[::1]:9091", 200),
        (b"[::1]", 200),
        (b"node1.example:9091", 200),
        (b"NODE1.EXAMPLE", 200),
        (b"evil.example", 421),
        (b"evil.example:9091", 421),
        (b"127.0.0.1.evil.example", 421),
        (b"localhost.evil.example", 421),
        (b"localhost.", 421),
        (b"192.168.1.9", 421),
        (b"0.0.0.0", 421),
        (b"2130706433", 421),
        (b"127.1", 421),
        (b"0x7f.0.0.1", 421),
        (b"[::ffff:8.8.8.8]", 421),
        (b"[::1", 421),
        (b"[::1]evil.example", 421),
        (b"localhost:9091:9091", 421),
        (b"localhost:port", 421),
        (b"localhost@evil.example", 421),
        (b"user@localhost", 421),
        (b"", 421),
        (b":9091", 421),
        (b"\xe4.example", 421),
        (None, 400),
    ],
)
def test_hosts(host, code):
    assert status(OPEN, host=host) == code


def test_two_hosts_are_none():
    assert status(OPEN, (b"Host", b"evil.example")) == 400


def test_with_a_token_an_address_may_be_asked_by_any_number_and_no_name():
    token = (b"authorization", b"Bearer " + TOKEN)
    assert status(LOCKED, token, host=b"203.0.113.9:9091") == 200
    assert status(LOCKED, token, host=b"evil.example") == 421


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"]
)
def test_methods(method):
    refusal = OPEN.judge(method, "/status", [(b"host", b"localhost")])
    assert refusal.status == 405
    assert (b"allow", b"GET, HEAD") in refusal.headers


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ((b"content-length", b"0"), 200),
        ((b"content-length", b"1"), 413),
        ((b"Content-Length", b"99999999999999999999"), 413),
        ((b"content-length", b"-1"), 413),
        ((b"transfer-encoding", b"chunked"), 413),
        ((b"Transfer-Encoding", b"identity"), 413),
    ],
)
def test_bodies(header, code):
    assert status(OPEN, header) == code


@pytest.mark.parametrize(
    ("origins", "code"),
    [
        ([], 200),
        ([b"http://localhost:9091"], 200),
        ([b"https://localhost:9091"], 200),
        ([b"http://localhost"], 403),
        ([b"http://evil.example"], 403),
        ([b"null"], 403),
        ([b"http://localhost:9091", b"http://localhost:9091"], 403),
    ],
)
def test_a_socket_is_for_pages_of_this_port(origins, code):
    headers = [(b"origin", origin) for origin in origins]
    assert status(OPEN, *headers, socket=True, host=b"localhost:9091", path="/live") == code


def basic(password: bytes, user: bytes = b"anyone") -> bytes:
    return b"Basic " + base64.b64encode(user + b":" + password)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([b"Bearer " + TOKEN], 200),
        ([b"bearer  " + TOKEN + b" "], 200),
        ([basic(TOKEN)], 200),
        ([basic(TOKEN, b"")], 200),
        ([], 401),
        ([b""], 401),
        ([TOKEN], 401),
        ([b"Bearer"], 401),
        ([b"Bearer " + TOKEN[:-1]], 401),
        ([b"Bearer " + TOKEN + b"x"], 401),
        ([b"Digest " + TOKEN], 401),
        ([b"Basic " + TOKEN], 401),
        ([b"Basic !!!"], 401),
        ([basic(b"")], 401),
        ([b"Bearer " + TOKEN, b"Bearer " + TOKEN], 401),
        ([b"Bearer \xff\xfe"], 401),
    ],
)
def test_tokens(values, code):
    headers = [(b"authorization", value) for value in values]
    assert status(LOCKED, *headers) == code
    assert status(LOCKED, *headers, path="/nothing-here") == code, (
        "who has no token does not learn what there is"
    )
    assert status(LOCKED, *headers, path="/livez") == 200
    assert status(LOCKED, *headers, path="/live", socket=True) == code


def test_a_browser_is_told_how_to_ask():
    refusal = LOCKED.judge("GET", "/", [(b"host", b"localhost")])
    assert [value.split()[0] for name, value in refusal.headers if name == b"www-authenticate"] == [
        b"Bearer",
        b"Basic",
    ]


HEADER = st.tuples(
    st.sampled_from([b"host", b"authorization", b"origin", b"content-length", b"x"]) | st.binary(max_size=8),
    st.sampled_from([b"localhost", b"Bearer " + TOKEN]) | st.binary(max_size=40),
)


@given(st.lists(HEADER, max_size=6), st.text(max_size=6), st.booleans())
def test_whatever_comes_is_judged(headers, method, socket):
    """Nobody passes the lock without exactly one host of ours and exactly one token."""
    if LOCKED.judge(method, "/status", headers, socket=socket) is None:
        found = [value for name, value in headers if name.lower() == b"authorization"]
        assert len(found) == 1
        assert TOKEN in found[0] or found[0].lower().startswith(b"basic")
        assert method in ("GET", "HEAD")
        assert len([name for name, _ in headers if name.lower() == b"host"]) == 1
