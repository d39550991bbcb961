"""Checks of ports and of the running node."""

import socket
from dataclasses import replace

import pytest

from mycelium.devnet.layout import free_ports, prepare
from mycelium.doctor import ports
from mycelium.doctor.finding import Verdict
from mycelium.node.settings import Settings
from mycelium.peer.rotation import Plan

OK, WARN, FAIL, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED
URL = "ws://203.0.113.7:9090"
RUNNING = {
    "url": URL,
    "pid": 7,
    "uptime_s": 60.0,
    "peers": [{}],
    "unreachable": {},
    "rotation": {},
    "endpoints": {"announced": [URL]},
    "chain": {"problems": [], "ready": True, "members": 3},
}


@pytest.fixture
def settings(tmp_path):
    return Settings.load(prepare(tmp_path / "net", 1)[0].config)


def test_the_port(settings):
    assert ports.listening(settings, RUNNING).verdict is OK
    assert ports.listening(settings, None).verdict is OK
    with socket.create_server((settings.host, settings.port)):
        found = ports.listening(settings, None, "it speaks HTTP")
        assert found.verdict is FAIL
        assert "something that is not this node" in found.found
        assert "it speaks HTTP" in found.found
    assert ports.listening(replace(settings, host="192.0.2.1"), None).verdict is FAIL


def test_the_ports_of_a_rotation(settings):
    assert ports.rotation(settings, None).verdict is SKIPPED
    first = next(port for port in free_ports(1) if port < 65_000)
    span = range(first, first + 3)
    rotating = replace(settings, rotation=Plan(span, 1000, 100, True))
    taken = []
    try:
        assert ports.rotation(rotating, None).verdict in {OK, WARN}
        taken += [socket.create_server(("127.0.0.1", port)) for port in span]
        assert ports.rotation(rotating, None).verdict is FAIL
        ours = {**RUNNING, "rotation": {"ports": list(span)}}
        assert ports.rotation(rotating, ours).verdict is OK
    finally:
        for one in taken:
            one.close()


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([{"account": "5F", "addresses": {URL: ""}}], OK),
        ([{"account": "5F", "addresses": {URL: "refused"}}], FAIL),
        ([{"account": "5F", "addresses": {URL: "refused"}}, {"account": "5G", "addresses": {URL: ""}}], WARN),
        ([{"account": "5F", "addresses": {}}], SKIPPED),
        ([{"account": "5F", "error": "no such method"}], SKIPPED),
        ([], SKIPPED),
    ],
    ids=["reached", "not reached", "by one of two", "not known yet", "an older version", "nobody"],
)
def test_reachable(settings, answers, verdict):
    found = ports.reachable(settings, RUNNING, answers)
    assert found.verdict is verdict
    assert bool(found.remedy) is (verdict is not OK)


def test_reachable_without_a_node(settings):
    assert ports.reachable(settings, None, []).verdict is WARN  # 127.0.0.1
    assert ports.reachable(replace(settings, advertise=()), None, []).verdict is SKIPPED
    assert ports.reachable(replace(settings, host="0.0.0.0"), None, []).verdict is SKIPPED
    assert ports.reachable(replace(settings, host="localhost"), None, []).verdict is WARN
    silent = {**RUNNING, "endpoints": {"announced": []}}
    assert ports.reachable(settings, silent, []).verdict is OK


def test_the_running_node():
    assert ports.peers(None).verdict is SKIPPED
    assert ports.peers(RUNNING).verdict is OK
    chain = RUNNING["chain"]
    assert ports.peers({**RUNNING, "chain": {**chain, "problems": ["no permit"]}}).verdict is FAIL
    assert ports.peers({**RUNNING, "chain": {**chain, "ready": False}}).verdict is WARN
    lonely = ports.peers({**RUNNING, "peers": [], "unreachable": {"5F": "refused"}})
    assert lonely.verdict is WARN
    assert lonely.found.endswith(": refused")
    assert ports.peers({**RUNNING, "peers": [], "chain": {**chain, "members": 1}}).verdict is OK
