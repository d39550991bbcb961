"""The parts of calls over a session by themselves: layout, native handlers, and answers as httpx has them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from httpwire.httpkit import MINER, OTHER
from httpwire.minerkit import ME, on_loop
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from mycelium.errors import MalformedMessage, UsageError
from mycelium.http.session import enabled, message
from mycelium.http.session.answer import SessionResponse
from mycelium.http.session.identity import signer_of
from mycelium.http.session.message import JSON_HEAD, JSON_HEADERS
from mycelium.http.session.native import Calls, Validator
from mycelium.identity.keys import Keypair, verify

WHO = Validator(ME, None)

# --- layout -----------------------------------------------------------------------------------------------

HEADERS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=8)


@given(st.integers(200, 599), HEADERS, st.binary(max_size=200))
def test_an_answer_is_read_as_it_was_written(status, headers, body):
    assert message.split(message.head(status, headers) + body) == (status, headers, body)


@given(st.binary(max_size=300))
def test_garbage_is_an_answer_or_malformed(data):
    try:
        status, headers, body = message.split(data)
    except MalformedMessage:
        return
    assert 200 <= status <= 599
    assert data.endswith(body)
    assert all(isinstance(name, bytes) for name, _ in headers)


def test_what_most_answers_say_takes_two_bytes():
    assert message.head(200, JSON_HEADERS) == JSON_HEAD
    assert message.split(JSON_HEAD + b"{}") == (200, JSON_HEADERS, b"{}")
    with pytest.raises(MalformedMessage, match="headers"):
        message.head(200, [(b"x", bytes(70_000))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("POST /ask", ("POST", "/ask")),
        ("GET /a?b=c d", ("GET", "/a?b=c d")),
        ("PUT /ask", ("", "")),
        ("POST ask", ("", "")),
        ("POST /é", ("", "")),
        ("POST", ("", "")),
        ("", ("", "")),
    ],
)
def test_methods(text, expected):
    assert message.split_method(text) == expected


def test_the_switch(monkeypatch):
    monkeypatch.delenv("MYCELIUM_SESSIONS", raising=False)
    assert enabled()
    for text, on in (("1", True), ("true", True), ("0", False), (" Off ", False), ("no", False)):
        monkeypatch.setenv("MYCELIUM_SESSIONS", text)
        assert enabled() is on


# --- native handlers --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Plain:
    text: str


class Struct(msgspec.Struct):
    text: str


class Model(BaseModel):
    text: str


class Odd:
    pass


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str


class StrictStruct(msgspec.Struct, forbid_unknown_fields=True):
    text: str


@pytest.mark.parametrize("kind", [Plain, Struct, Model, Strict, StrictStruct, dict, None])
@on_loop
async def test_payloads_of_every_kind(kind):
    calls = Calls()

    async def handler(question):
        return {"text": question["text"] if isinstance(question, dict) else question.text}

    if kind is not None:
        handler.__annotations__["question"] = kind
    calls.on("/a")(handler)
    native = calls.find("POST", "/a?ignored=1")
    assert await native.answer(b'{"text": "hi", "nonce": "1_a"}', WHO) == JSON_HEAD + b'{"text":"hi"}'
    if kind not in (dict, None):
        for wrong in (b"{}", b'{"text": 1}', b"", b"\xff", b"[" * 100_000):
            status, headers, body = message.split(await native.answer(wrong, WHO))
            assert (status, headers) == (422, list(JSON_HEADERS)), wrong
            details = msgspec.json.decode(body)["detail"]
            assert details[0]["loc"][0] == "body"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Struct("a"), b'{"text":"a"}'),
        (Model(text="a"), b'{"text":"a"}'),
        ([Model(text="a"), {"b": Struct("c")}], b'[{"text":"a"},{"b":{"text":"c"}}]'),
        (None, b"null"),
        ("text", b'"text"'),
        (1.5, b"1.5"),
    ],
    ids=["struct", "model", "mixed", "none", "text", "number"],
)
@on_loop
async def test_answers_of_every_kind(found, expected):
    calls = Calls()

    @calls.on("/a")
    async def handler():
        return found

    assert await calls.find("POST", "/a").answer(b"", WHO) == JSON_HEAD + expected


@on_loop
async def test_what_has_no_json_is_an_error_of_the_handler(caplog):
    calls = Calls()

    @calls.on("/a")
    async def handler():
        return object()

    status, _, body = message.split(await calls.find("POST", "/a").answer(b"", WHO))
    assert (status, body) == (500, b'{"detail":"Internal Server Error"}')
    assert "has no JSON" in caplog.text


def test_what_cannot_be_a_handler():
    calls = Calls()

    def blocking(question: Struct):
        return question

    async def two(question: Struct, other: Struct):
        return question

    async def named(*, question: Struct):
        return question

    async def asked(question: Struct):
        return question

    class Local:
        pass

    async def local(question: Local):
        return question

    async def odd(question: Odd):
        return question

    for function, text in (
        (blocking, "async def"),
        (two, "the payload is another argument"),
        (named, "cannot be filled"),
        (local, "define the type where"),
        (odd, "no payload can be read"),
    ):
        with pytest.raises(UsageError, match=text):
            calls.on("/a")(function)
    with pytest.raises(UsageError, match="a GET has no payload"):
        calls.on("/a", method="GET")(asked)
    for endpoint in ("a", "/a?b", "/é"):
        with pytest.raises(UsageError, match="an endpoint is a path"):
            calls.on(endpoint)
    with pytest.raises(UsageError, match="GET or POST"):
        calls.on("/a", method="PUT")
    assert calls.on("/a")(asked) is asked
    with pytest.raises(UsageError, match="has a handler already"):
        calls.on("/a")
    assert [native.endpoint for native in calls] == ["/a"]
    assert calls.find("GET", "/a") is None


@on_loop
async def test_arguments_in_any_order_and_defaults_left_alone():
    calls = Calls()

    @calls.on("/a")
    async def handler(validator: Validator, question: Struct, more: int = 7) -> AsyncIterator[bytes]:
        yield f"{validator.hotkey == ME} {question.text} {more}".encode()

    native = calls.find("POST", "/a")
    items = [item async for item in native.items(b'{"text": "hi"}', WHO)]
    assert message.split(items[0])[2] == b"True hi 7"


# --- answers ----------------------------------------------------------------------------------------------

SHOWN = [
    "status_code",
    "content",
    "text",
    "reason_phrase",
    "http_version",
    "url",
    "encoding",
    "charset_encoding",
    "is_informational",
    "is_success",
    "is_redirect",
    "is_client_error",
    "is_server_error",
    "is_error",
    "has_redirect_location",
    "links",
    "num_bytes_downloaded",
    "cookies",
    "history",
    "is_closed",
    "is_stream_consumed",
    "next_request",
]


def pair(status, headers, content):
    """Ours, and httpx's own with the same in it."""
    ours = SessionResponse(status, headers, content, "POST", "http://miner/ask", 0.25)
    theirs = httpx.Response(
        status,
        headers=list(headers),
        content=content,
        request=httpx.Request("POST", "http://miner/ask"),
        extensions={"http_version": b"mycelium.v1"},
    )
    theirs.is_closed = theirs.is_stream_consumed = True
    return ours, theirs


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("status", [200, 404, 500])
def test_each_part_by_itself_is_httpx_s(name, status):
    ours, theirs = pair(status, JSON_HEADERS, '{"a": "é"}'.encode())
    assert repr(getattr(ours, name)) == repr(getattr(theirs, name))


def test_an_answer_is_an_httpx_response():
    ours, theirs = pair(200, JSON_HEADERS, b'{"a": 1}')
    assert isinstance(ours, httpx.Response)
    assert ours.json() == {"a": 1}
    assert "_raw_headers" in ours.__dict__, "what most programs ask for builds nothing"
    assert ours.raise_for_status() is ours
    assert ours.headers == theirs.headers
    assert ours.elapsed.total_seconds() == 0.25
    assert (ours.request.method, str(ours.request.url)) == ("POST", "http://miner/ask")
    assert repr(ours) == "<Response [200 OK]>"
    with pytest.raises(AttributeError, match="nothing_like_it"):
        ours.nothing_like_it  # noqa: B018
    bad, _ = pair(404, JSON_HEADERS, b"no")
    with pytest.raises(httpx.HTTPStatusError) as caught:
        bad.raise_for_status()
    assert caught.value.response is bad
    for one in (pair(200, JSON_HEADERS, b"x")[0], ours):
        again = pickle.loads(pickle.dumps(one))
        assert (again.status_code, again.content) == (200, one.content)


@on_loop
async def test_an_answer_can_be_read_as_a_stream():
    ours, _ = pair(200, JSON_HEADERS, b"one\ntwo")
    assert [line async for line in ours.aiter_lines()] == ["one", "two"]
    assert await ours.aread() == b"one\ntwo"
    assert ours.read() == b"one\ntwo"
    await ours.aclose()
    assert list(pair(200, JSON_HEADERS, b"one\ntwo")[0].iter_lines()) == ["one", "two"]


# --- keypairs ---------------------------------------------------------------------------------------------


def test_keypairs_of_other_libraries_sign():
    signer = signer_of(MINER)
    assert signer.account == MINER.public_key
    assert verify(signer.account, b"handshake", b"data", signer.sign(b"handshake", b"data"))
    assert not verify(OTHER.public_key, b"handshake", b"data", signer.sign(b"handshake", b"data"))
    assert repr(signer) == f"<Keypair {ME}>"
    ours = Keypair.generate()
    assert signer_of(ours) is ours
    with pytest.raises(UsageError):
        signer_of("5F...")
