"""Dashboards over the WebSocket: what they are told, and that a dead one costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import nodekit
import pytest
from admin.adminkit import ANY, one, where
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mycelium.admin import live, server
from mycelium.admin.live import Client
from mycelium.admin.server import Place, open_admin
from mycelium.config import admin as limits


def watching(admin, **options):
    return connect(f"ws://{':'.join(map(str, where(admin)))}/live", compression=None, proxy=None, **options)


async def told(dashboard) -> dict:
    async with asyncio.timeout(20):
        return json.loads(await dashboard.recv())


def test_it_is_told_of_a_node_that_dies_and_returns(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            async with open_admin(mesh[0], Place(ANY)) as admin, watching(admin) as dashboard:
                first = await told(dashboard)
                assert first["history"].keys() >= set()
                assert [event["kind"] for event in first["events"]].count("session-opened") >= 1
                (peer,) = first["peers"]
                assert peer["account"] == mesh.places[1].address
                numbers = [event["number"] for event in first["events"]]

                async def seen(state):
                    while (said := await told(dashboard))["peers"][0]["state"] != state:
                        numbers.extend(event["number"] for event in said["events"])
                    numbers.extend(event["number"] for event in said["events"])
                    assert "history" not in said
                    assert said["rates"].keys() >= {
                        "in_bytes",
                        "out_bytes",
                        "written",
                        "received",
                        "lag_ms",
                        "cpu",
                    }

                await mesh.stop(1)
                await seen("absent")
                await mesh.start(1)
                await seen("linked")
                assert numbers == list(range(1, len(numbers) + 1)), "each event once, and none left out"

    nodekit.run(main())


def test_one_that_reads_nothing_is_dropped_and_others_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(server.Connection, "head_s", 0.2)
    monkeypatch.setattr(server.Connection, "unread_s", 0.4)
    monkeypatch.setattr(limits, "LIVE_PERIOD_S", 0.02)
    monkeypatch.setattr("mycelium.admin.watch.LIVE_PERIOD_S", 0.02)

    async def main():
        async with one(tmp_path) as (node, admin):
            # A message must be larger than what sockets hold for a reader that is away.
            big = [{"account": "x" * 1000, "state": "absent"}] * 2000
            monkeypatch.setattr(live.views, "_all_peers", lambda node: big)
            loop = asyncio.get_running_loop()
            dead = socket.socket()
            dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            dead.setblocking(False)
            await loop.sock_connect(dead, where(admin))
            head = (
                f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{where(admin)[1]}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n"
            )
            await loop.sock_sendall(dead, head.encode())
            await nodekit.until(lambda: len(admin.live) == 1)
            async with watching(admin, max_size=None, close_timeout=0.2) as dashboard:
                for _ in range(5):
                    assert len((await told(dashboard))["peers"]) == 2000
                await nodekit.until(lambda: len(admin.live) == 1, "the dead one is dropped")
                await told(dashboard)
            await nodekit.until(lambda: len(admin.live) == 0)
            await nodekit.until(lambda: not admin.connections)
            dead.close()
            await node.database.table("scores").put("after", 1)

    nodekit.run(main())


def test_a_place_holds_one_message():
    client = Client()
    assert client.offer(b"1")
    assert not client.offer(b"2")
    assert client.message == b"1"
    assert client.missed == 1
    client.filled.clear()
    assert client.offer(b"3")


def test_a_full_house_is_refused_and_a_place_comes_free(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "LIVE_CLIENTS_MAX", 2)

    async def main():
        async with one(tmp_path) as (_, admin):
            async with watching(admin) as first, watching(admin) as second:
                await told(first)
                await told(second)
                with pytest.raises(InvalidStatus) as refused:
                    await watching(admin)
                assert refused.value.response.status_code == 503
                assert refused.value.response.headers["retry-after"] == "5"
            await nodekit.until(lambda: len(admin.live) == 0)
            async with watching(admin) as third:
                await told(third)

    nodekit.run(main())


@pytest.mark.parametrize("said", ["hello", b"\0\1"], ids=["text", "bytes"])
def test_who_talks_is_shown_out(tmp_path, said):
    async def main():
        async with one(tmp_path) as (_, admin), watching(admin) as dashboard:
            await told(dashboard)
            await dashboard.send(said)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await told(dashboard)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            await nodekit.until(lambda: len(admin.live) == 0)

    nodekit.run(main())


def test_who_says_too_much_is_cut_off(tmp_path):
    async def main():
        async with one(tmp_path) as (_, admin), watching(admin) as dashboard:
            await told(dashboard)
            with contextlib.suppress(ConnectionClosed):
                await dashboard.send("x" * (limits.LIVE_MESSAGE_BYTES_MAX + 1))
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await told(dashboard)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
            await nodekit.until(lambda: len(admin.live) == 0)

    nodekit.run(main())


def test_nothing_is_made_for_nobody(tmp_path, monkeypatch):
    async def main():
        async with one(tmp_path) as (_, admin):
            monkeypatch.setattr(live.views, "snapshot", lambda *_: pytest.fail("nobody watches"))
            admin.live.tick()

    nodekit.run(main())


def test_dashboards_are_told_when_the_port_closes(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 1)) as mesh:
            node = await mesh.start()
            async with open_admin(node, Place(ANY)) as admin:
                dashboard = await watching(admin)
                await told(dashboard)
            with pytest.raises(ConnectionClosed):
                while True:
                    await told(dashboard)

    nodekit.run(main())
