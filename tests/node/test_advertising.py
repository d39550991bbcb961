"""What a node tells the others of where it is, and what it believes of theirs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mycelium.metagraph.membership import Epoch, Member
from mycelium.node.advertising import addresses, dialable

ME = bytes(range(32))
RANGE = object()


def said(host, *, advertise=None, rotation=None, urls=(), port=9090):
    settings = SimpleNamespace(host=host, advertise=advertise, rotation=rotation)
    epoch = Epoch(1, {ME: Member(ME, "validator", urls=urls)} if urls is not None else {})
    return addresses(settings, epoch, ME, port)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (said("203.0.113.7"), ("ws://203.0.113.7:9090",)),
        (said("127.0.0.1", port=7), ("ws://127.0.0.1:7",)),
        (said("2001:db8::1"), ("ws://[2001:db8::1]:9090",)),
        (said("Node.Example"), ("ws://node.example:9090",)),
        (said("ends.with.a.dot."), ()),
        (said("0.0.0.0"), ()),
        (said("::"), ()),
        (said("0.0.0.0", urls=None), ()),
        (said("0.0.0.0", urls=("ws://198.51.100.1:8091",)), ("ws://198.51.100.1:8091",)),
        (said("0.0.0.0", urls=("wss://198.51.100.1:8091", "ws://a:1/path")), ()),
        (said("0.0.0.0", urls=("ws://198.51.100.1:8091",), rotation=RANGE), ("ws://198.51.100.1:9090",)),
        (said("0.0.0.0", advertise=("a", "b")), ("ws://a:9090", "ws://b:9090")),
        (said("203.0.113.7", advertise=()), ()),
        (said("203.0.113.7", advertise=("a", "a")), ("ws://a:9090",)),
    ],
    ids=range(14),
)
def test_what_is_announced(found, wanted):
    assert found == wanted


def test_nobody_is_sent_to_knock_at_his_own_machine():
    far, near = "ws://203.0.113.7:1", ("ws://127.0.0.1:22", "ws://[::1]:22", "ws://localhost:22")
    assert dialable((*near, far), "203.0.113.9") == (far,)
    assert dialable((*near, far), "0.0.0.0") == (far,)
    assert dialable((*near, far), "::") == (far,)
    assert dialable((*near, far), "127.0.0.1") == (*near, far)
    assert dialable((*near, far), "odd.") == (far,)
