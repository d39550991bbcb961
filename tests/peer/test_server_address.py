"""The address a server listens on, and the small arithmetic of admission."""

from __future__ import annotations

import errno
import socket

import pytest
from peer.linkkit import (
    CONTROL,
    PING,
    Node,
    Raw,
    run,
)

from mycelium.errors import (
    AddressInUse,
    ConfigError,
)
from mycelium.peer import server as server_module
from mycelium.peer.admission import address_group
from mycelium.peer.dialer import dial_once
from mycelium.peer.server import Server
from mycelium.peer.wire import announced_bytes

# --- the address ------------------------------------------------------------------------------------------


def test_a_port_in_use_is_named_with_a_remedy():
    async def main():
        async with Node("//Alice") as alice:
            other = Server(alice.hub, "127.0.0.1", alice.server.port)
            with pytest.raises(AddressInUse) as caught:
                await other.start()
            assert f"127.0.0.1:{alice.server.port}" in caught.value.what
            assert "another port" in caught.value.remedy
            await other.close()

    run(main())


def test_a_port_that_is_not_permitted_is_named_with_a_remedy():
    error = server_module._listen_error(PermissionError(errno.EACCES, "Permission denied"), "127.0.0.1", 80)
    assert "127.0.0.1:80" in error.what
    assert "1024" in error.remedy


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [("192.0.2.1", 0, "192.0.2.1:0"), ("no.such.host.invalid", 0, "no.such.host.invalid")],
)
def test_an_address_that_is_not_ours_is_named(host, port, words):
    async def main():
        with pytest.raises(ConfigError, match=words):
            await Server(Node("//Alice", server=False).hub, host, port).start()

    run(main())


def test_a_closed_server_frees_its_port_and_leaves_its_sessions():
    async def main():
        async with Node("//Alice") as alice, Node("//Bob") as bob:
            link = await bob.dial(alice)
            stranger = await Raw.open(alice.server.port)
            await alice.server.close()
            assert await stranger.end() == b""
            await stranger.aclose()
            again = Server(alice.hub, "127.0.0.1", alice.server.port)
            await again.start()
            link.post(PING, b"still here", CONTROL)
            assert (await alice.messages.get())[1].payload == b"still here"
            await again.close()

    run(main())


def test_ipv6_is_served_where_there_is_any():
    async def main():
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                pytest.skip("no IPv6 on this machine")
        alice = Node("//Alice")
        alice.server = Server(alice.hub, "::1", 0)
        async with alice, Node("//Bob", server=False) as bob:
            link = await dial_once(bob.hub, f"ws://[::1]:{alice.server.port}", alice.local.account)
            assert link.remote.startswith("[::1]:")

    run(main())


def test_addresses_are_grouped_by_who_controls_them():
    assert address_group("192.0.2.7") == "192.0.2.7"
    assert address_group("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_group("2001:db8:1:2:3:4:5:6") == address_group("2001:db8:1:2:ffff::1")
    assert address_group("2001:db8:1:2::1") != address_group("2001:db8:1:3::1")
    assert address_group("fe80::1%eth0") == address_group("fe80::2")
    assert address_group("") == ""


def test_the_announced_size_is_read_only_when_it_is_there():
    assert announced_bytes(memoryview(b"")) == 0
    assert announced_bytes(memoryview(b"\x82")) == 0
    assert announced_bytes(memoryview(b"\x82\x85")) == 5
    assert announced_bytes(memoryview(b"\x82\xfe\x01")) == 0
    assert announced_bytes(memoryview(b"\x82\xfe\x01\x02")) == 0x102
    assert announced_bytes(memoryview(b"\x80\xff" + bytes(6) + b"\x01\x02")) == 0x102
    assert announced_bytes(memoryview(b"\x89\xfe\xff\xff")) == 0  # a control frame
