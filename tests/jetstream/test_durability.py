"""Whether servers sync before they acknowledge: the verdict on every mixture of answers, and real servers asked."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jskit import connected, settings
from natskit import Servers

from mycelium.errors import BrokerUnsafe, ConfigError
from mycelium.jetstream import durability
from mycelium.jetstream.durability import Answer, judge
from mycelium.node.nats_settings import Login, NatsSettings

SYSTEM = (
    'accounts { $SYS { users: [{user: "admin", password: "open sesame"}] }\n'
    ' A { jetstream: enabled\n users: [{user: "a", password: "b"}] } }\nno_auth_user: a'
)


def server(name, synced=True, **members):
    return Answer(name, name, "2", synced, members)


def silent(where="http"):
    return Answer(where, problem="Connection refused")


def test_one_server():
    assert judge([server("a")], "a").safe
    assert judge([server("a")], "a").shown() == [{"name": "a", "version": "2", "safe": True, "why": ""}]


@pytest.mark.parametrize(
    ("answers", "connected_to", "said"),
    [
        ([server("a", False)], "a", "a acknowledges before"),
        ([server("a"), server("b", False)], "a", "b acknowledges before"),
        ([silent()], "a", "Connection refused"),
        ([], "a", "cannot be learnt"),
        ([server("b")], "a", "a syncs before it acknowledges cannot be learnt"),
        ([server("a", None)], "a", "has no JetStream"),
        ([server("a", a=True, b=True)], "a", "b syncs before it acknowledges cannot be learnt"),
        ([server("a", a=True, b=True), silent()], "a", "b syncs before"),
        ([server("a", a=True, b=False), server("c", a=True, b=True)], "a", "b syncs before"),
    ],
    ids=[
        "unsynced",
        "another",
        "silent",
        "none",
        "foreign",
        "without",
        "member",
        "silent-member",
        "leader-knows",
    ],
)
def test_what_is_refused(answers, connected_to, said):
    verdict = judge(answers, connected_to)
    assert said in verdict.problem
    assert verdict.remedy
    with pytest.raises(BrokerUnsafe) as raised:
        verdict.require()
    assert isinstance(raised.value, ConfigError)
    assert said in str(raised.value)


def test_who_is_down_is_not_asked_and_who_stores_nothing_need_not_sync():
    verdict = judge([server("a", a=True, b=False), server("r", None)], "r")
    assert verdict.safe
    assert verdict.down == ("b",)
    verdict.require()
    assert [one["why"] for one in verdict.shown()] == ["", "has no JetStream", "down"]


@given(
    st.dictionaries(
        st.sampled_from("abcde"), st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1
    )
)
def test_it_is_safe_only_if_every_server_that_is_up_syncs(cluster):
    """Against what is plainly meant. For each server: whether it syncs, is up, and is asked."""
    up = {name for name, (_, is_up, _) in cluster.items() if is_up}
    members = {name: name in up for name in cluster}
    answers = [
        Answer(name, name, "2", synced, members)
        for name, (synced, is_up, asked) in cluster.items()
        if is_up and asked
    ]
    connected_to = min(up) if up else "a"
    plainly = bool(up) and all(cluster[name][0] and cluster[name][2] for name in up)
    assert judge(answers, connected_to).safe is plainly


async def asked(nats, **changed):
    async with connected(nats, **changed) as session:
        return await durability.ask(settings(nats, **changed), session)


@pytest.mark.parametrize("synced", [True, False], ids=["always", "default"])
def test_a_real_server(tmp_path, synced):
    with Servers.of(tmp_path, synced=synced) as nats:
        verdict = asyncio.run(asked(nats))
    assert verdict.safe is synced
    (shown,) = verdict.shown()
    assert shown["name"] == "n0"
    assert shown["safe"] is synced
    assert synced or "sync_interval: always" in verdict.remedy


def test_an_interval_is_not_always(tmp_path):
    with Servers.of(tmp_path, synced=False, jetstream=" sync_interval: 1s\n") as nats:
        assert "acknowledges before" in asyncio.run(asked(nats)).problem


def test_the_system_account_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("SYS_PASSWORD", "open sesame")
    system = Login(user="admin", password_env="SYS_PASSWORD")
    with Servers.of(tmp_path, extra=SYSTEM) as nats:
        assert asyncio.run(asked(nats, system=system, monitors=())).safe
        monkeypatch.setenv("SYS_PASSWORD", "open barley")
        verdict = asyncio.run(asked(nats, system=system, monitors=()))
    assert "login is refused" in verdict.problem
    assert "barley" not in repr(verdict)


def test_who_is_not_of_the_system_account_learns_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SYS_PASSWORD", "b")
    system = Login(user="a", password_env="SYS_PASSWORD")
    with Servers.of(tmp_path, extra=SYSTEM) as nats:
        verdict = asyncio.run(asked(nats, system=system, monitors=()))
    assert "cannot be learnt" in verdict.problem
    assert "system_creds_file" in verdict.remedy


def test_a_cluster_is_asked_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("SYS_PASSWORD", "open sesame")
    system = Login(user="admin", password_env="SYS_PASSWORD")
    with Servers.of(tmp_path, 3, extra=SYSTEM) as nats:

        async def look():
            found = await asked(nats)
            assert found.safe, found.problem
            assert {one["name"] for one in found.shown()} == {"n0", "n1", "n2"}
            found = await asked(nats, system=system)
            assert found.safe, found.problem
            assert len(found.answers) == 3
            # Of a server that nobody names, nobody knows.
            async with connected(nats, urls=(nats.urls[0],)) as session:
                one = await durability.ask(settings(nats, monitors=(nats.monitors[0],)), session)
                assert "cannot be learnt" in one.problem

        asyncio.run(look())


def monitoring(answers):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers(self)
            self.send_response(200 if body else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
    return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "malformed"),
        (b"[]", "Expected `object`"),
        (b"{}", "no NATS server"),
        (b'{"server_name": "x", "jetstream": 5}', "no NATS server"),
        (b"", "HTTP 401"),
        (b" " * (5 * 1024 * 1024), "more than"),
    ],
    ids=["html", "list", "empty", "types", "refused", "endless"],
)
def test_what_is_no_monitoring(body, said):
    with monitoring(lambda handler: body) as found:
        answer = asyncio.run(durability._by_monitor(f"http://127.0.0.1:{found.server_port}", NatsSettings()))
        found.shutdown()
    assert said in answer.problem


def test_a_password_of_the_monitoring_goes_to_it_and_nowhere_else():
    seen = []

    def answer(handler):
        seen.append(handler.headers["Authorization"])
        return json.dumps({"server_name": "x", "jetstream": {"config": {"sync_always": True}}}).encode()

    with monitoring(answer) as found:
        url = f"http://me:swordfish%21@127.0.0.1:{found.server_port}"
        told = asyncio.run(durability._by_monitor(url, NatsSettings()))
        found.shutdown()
    assert told.synced is True
    assert seen == ["Basic bWU6c3dvcmRmaXNoIQ=="] * 2
    assert "swordfish" not in repr(told)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"server": 1}', b"\xff"], ids=["none", "empty", "list", "type", "bytes"]
)
def test_an_answer_of_the_system_account_that_is_none(raw):
    assert durability._of_system(raw).problem
