"""What a running node answers on its admin port."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import msgspec
import nodekit
import pytest
from admin import adminkit
from admin.adminkit import ANY, get, one, request, send

from mycelium.admin.server import Place, open_admin, read_token
from mycelium.config import admin as limits
from mycelium.errors import AddressInUse, ConfigError, StoreFull, Unreachable
from mycelium.identity import account as accounts
from mycelium.node.admin_settings import AdminSettings
from mycelium.peer.blacklist import Listed

THIRTEEN = {
    "id",
    "version",
    "start_time_s",
    "last_sync_s",
    "last_heartbeat_s",
    "is_active",
    "status",
    "peer_count",
    "serving_rate_bytes_s",
    "sync_progress",
    "response_latency_s",
    "memory_usage_bytes",
    "cpu_usage_cores",
}
TOKEN = "0123456789abcdef0123456789abcdef"


def test_what_it_says_of_itself_and_of_others(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 3)) as mesh:
            await mesh.start(0, 1)
            await nodekit.until(lambda: len(mesh[0].replicator.members()) == 1)
            async with open_admin(mesh[0], Place(ANY)) as admin:
                await mesh[0].database.table("scores").put("a", 1, ack=1)

                async def ready():
                    return (await get(admin, "/readyz")).status == 200

                async with asyncio.timeout(20):
                    while not await ready():
                        await asyncio.sleep(0.05)
                alive = await get(admin, "/livez")
                assert (alive.status, alive.body) == (200, b"alive\n")
                health = (await get(admin, "/readyz")).json
                assert health["missing"] == []
                assert {check["name"] for check in health["checks"]} == {
                    "chain",
                    "epoch",
                    "store",
                    "sync",
                    "clock",
                }
                status = (await get(admin, "/status")).json
                assert set(status["node"]) == THIRTEEN
                assert status["health"]["ready"]
                peers = {peer["account"]: peer for peer in (await get(admin, "/peers")).json["peers"]}
                linked = peers[mesh.places[1].address]
                assert linked["state"] == "linked"
                assert linked["spaces"]["sys"]
                assert linked["lag_changes"] == 0
                absent = peers[mesh.places[2].address]
                assert absent["state"] == "absent"
                # Who dialled us is connected, whatever came of our own dialling.
                mesh[0].dialer.failures[mesh.places[1].account] = Unreachable("refused")
                await nodekit.until(lambda: mesh.places[2].account in mesh[0].dialer.failures)
                unreachable = (await get(admin, "/peers")).json["unreachable"]
                assert unreachable.keys() == {mesh.places[2].address}
                feed = (await get(admin, "/feed")).json
                assert feed["newest"] == str(mesh[0].feed().cursor)
                assert feed["readers"] == []
                sync = (await get(admin, "/sync")).json
                assert {space["space"]: space["changes"] for space in sync["spaces"]} == {"main": 1, "sys": 0}
                assert sync["peers"][0]["acknowledged"]["main"] == 1
                assert (await get(admin, "/blacklist")).json == {"accounts": [], "left_out": 0}
                await mesh[0].blacklisting.add(mesh.places[2].account, Listed.ALWAYS, "it <b>spams</b>")
                (listed,) = (await get(admin, "/blacklist")).json["accounts"]
                assert listed["why"].endswith("it <b>spams</b>")
                snapshot = (await get(admin, "/snapshot")).json
                assert snapshot["blacklist"][0]["by"] == ["operator"]
                assert [event["kind"] for event in snapshot["events"]][-1] == "blocked"
                assert snapshot["account"] == accounts.format(mesh[0].account)

    nodekit.run(main())


def test_not_ready_says_what_is_missing(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 2)) as mesh:
            node = await mesh.start(0)
            async with open_admin(node, Place(ANY)) as admin:
                found = await get(admin, "/readyz")
                assert found.status == 503
                assert found.json["missing"] == ["sync"]
                assert (await get(admin, "/livez")).status == 200
                node.database.committer.failure = StoreFull("no space left")
                admin.watch.look()
                assert (await get(admin, "/readyz")).json["missing"] == ["store", "sync"]
                text = (await get(admin, "/metrics")).body.decode()
                assert "mycelium_ready 0.0" in text
                assert 'mycelium_ready_check{check="chain"} 1.0' in text
                assert "mycelium_store_failing 1.0" in text
                assert [event.kind for event in node.events.after(0)].count("not-ready") == 0, "it never was"
                node.database.committer.failure = None
                node.database.store.trouble = "the disk is gone"
                admin.watch.look()
                assert admin.watch.health.checks["store"].text == "the disk is gone"
                node.database.store.trouble = ""

    nodekit.run(main())


def test_the_page_is_small_and_allows_nothing_from_elsewhere(tmp_path):
    async def main():
        async with one(tmp_path) as (_, admin):
            size = 0
            for path, kind in (
                ("/", "text/html"),
                ("/dashboard.js", "text/javascript"),
                ("/mesh.js", "text/javascript"),
                ("/dashboard.css", "text/css"),
            ):
                found = await get(admin, path)
                assert found.status == 200
                assert found.headers["content-type"].startswith(kind)
                policy = found.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "://" not in policy
                assert found.headers["x-content-type-options"] == "nosniff"
                text = found.body.decode()
                assert "://" not in text.replace("http://www.w3.org/2000/svg", "").replace("}://", "")
                assert "innerHTML" not in text, "what comes from peers is never markup"
                size += len(found.body)
            assert size < 100_000

    nodekit.run(main())


def test_head_is_get_without_the_body(tmp_path):
    async def main():
        async with one(tmp_path) as (_, admin):
            found = await send(admin, request("/readyz", "HEAD"))
            assert found.status in (200, 503)
            assert int(found.headers["content-length"]) > 0
            assert found.body == b""

    nodekit.run(main())


# --- the address and the token ------------------------------------------------------------------------------


def test_a_token_is_asked_for(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)

    async def main():
        async with one(tmp_path, AdminSettings(port=0, token_file=file)) as (_, admin):
            assert (await get(admin, "/livez")).status == 200
            for path in ("/", "/status", "/metrics", "/readyz", "/live", "/nothing"):
                assert (await get(admin, path)).status == 401
            found = await get(admin, "/status", f"Authorization: Bearer {TOKEN}")
            assert found.status == 200
            assert TOKEN not in found.body.decode()

    nodekit.run(main())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("", "does not hold"),
        ("short", "does not hold"),
        ("with space " * 3, "does not hold"),
    ],
    ids=["absent", "empty", "short", "space"],
)
def test_a_token_that_is_none(tmp_path, text, said):
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_token(file)
    assert said in str(caught.value)
    assert "openssl rand" in caught.value.remedy


def test_a_token_that_everybody_reads_is_told(tmp_path, caplog):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    assert read_token(file) == TOKEN.encode()
    assert "chmod 600" in caplog.text
    assert TOKEN not in caplog.text


def test_other_machines_need_a_token_here_too(tmp_path):
    async def main():
        with pytest.raises(ConfigError, match="no token"):
            async with one(tmp_path, AdminSettings(host="0.0.0.0", port=0, chosen=True)):
                pass

    nodekit.run(main())


def test_a_port_that_is_taken(tmp_path):
    async def main():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            async with nodekit.Mesh(nodekit.places(tmp_path, 1)) as mesh:
                node = await mesh.start()
                with pytest.raises(AddressInUse, match=r"\[admin\] listen"):
                    async with open_admin(node, Place(AdminSettings(port=port, chosen=True))):
                        pass
                # Where nobody chose the port another one will do.
                async with open_admin(node, Place(AdminSettings(port=port))) as admin:
                    assert adminkit.where(admin)[1] != port
                    assert (await get(admin, "/livez")).status == 200
                with pytest.raises(ConfigError, match="another address"):
                    async with open_admin(
                        node, Place(AdminSettings(host="192.0.2.1", token_file=_token(tmp_path)))
                    ):
                        pass

    nodekit.run(main())


def _token(directory):
    file = directory / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


def test_it_ends_with_its_block(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 1)) as mesh:
            node = await mesh.start()
            async with open_admin(node, Place(ANY)) as admin:
                reader, writer = await asyncio.open_connection(*adminkit.where(admin))
                writer.write(request("/livez"))
                assert (await adminkit.answer(reader)).status == 200
            assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()
            with pytest.raises(OSError):
                await asyncio.open_connection(*adminkit.where(admin))
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert "admin-watch" not in names

    nodekit.run(main())


def test_a_failure_of_ours_is_a_500_and_is_logged(tmp_path, caplog, monkeypatch):
    async def main():
        async with one(tmp_path) as (node, admin):
            monkeypatch.setattr(node, "status", lambda: 1 / 0)
            found = await get(admin, "/status")
            assert found.status == 500
            assert b"ZeroDivision" not in found.body
            assert (await get(admin, "/livez")).status == 200
            monkeypatch.setattr(node.source, "status", lambda now_ms: 1 / 0)
            await asyncio.sleep(limits.LIVE_PERIOD_S * 1.2)
            assert (await get(admin, "/livez")).status == 200

    nodekit.run(main())
    assert "ZeroDivisionError" in caplog.text
    assert "the next look is in a second" in caplog.text


def test_a_crowd_is_shown_whole_and_small(tmp_path):
    async def main():
        async with one(tmp_path) as (node, admin):
            links = adminkit.crowd(node, 256)
            try:
                found = await get(admin, "/peers")
                assert len(found.json["peers"]) == 256
                snapshot = msgspec.json.encode(admin.live.snapshot())
                assert len(snapshot) < 400_000
                text = (await get(admin, "/metrics")).body.decode()
                assert text.count("mycelium_peer_lag_changes{") == 256
                assert "mycelium_active_validators 257.0" in text
            finally:
                adminkit.disperse(node, links)

    nodekit.run(main())
