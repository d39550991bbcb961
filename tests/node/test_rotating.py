"""A node that changes its port, on real sockets: under load, past taken ports, past failures, for those who slept."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from dataclasses import replace

import clikit
import pytest
from nodekit import Mesh, agreed, places, run, settings, until

from mycelium.devnet.layout import free_ports
from mycelium.errors import CallFailed, ConfigError, Unauthorised, Unreachable, UsageError
from mycelium.node import rotating as rotating_module
from mycelium.node.discovery import Discovery
from mycelium.node.remote import connect
from mycelium.node.settings import PORT_FILE, Settings
from mycelium.peer.rotation import Plan
from mycelium.peer.server import Server

HOUR_MS = 3_600_000


def rotates(mesh, number, ports, *, overlap_ms=100, drain_ms=50, **options):
    options = {"period_ms": HOUR_MS} | options
    plan = Plan(ports, overlap_ms=overlap_ms, drain_ms=drain_ms, **options)
    mesh.changes[number] = {"rotation": plan}


def state(node):
    return node.rotating.status()


async def rested(node):
    await until(lambda: state(node)["state"] == "idle", "the end of the rotation")


@contextlib.asynccontextmanager
async def trio(tmp_path, **options):
    """Three nodes, of which the first rotates. Of each two one dials, so that no session gives way to another."""
    made = places(tmp_path, 3, dials={1: [0], 2: [0, 1]})
    for place in made:
        place.config.write_text(settings(place))
    async with Mesh(made) as mesh:
        rotates(mesh, 0, free_ports(6), **options)
        await mesh.start()
        await mesh.connected()
        yield mesh


def answers(url):
    """Whether somebody listens there."""
    host, port = url.removeprefix("ws://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


# --- under load -------------------------------------------------------------------------------------------


class Load:
    """Programs that write and call without a break; each wait is measured."""

    def __init__(self):
        self.waits_s = []
        self.written = 0
        self.stopped = False

    async def write(self, node, name):
        number = 0
        while not self.stopped:
            began = time.perf_counter()
            await node.database.table("scores").put(f"{name}/{number}", number, ack=2)
            assert await node.database.table("scores").get(f"{name}/{number}") == number
            self.waits_s.append(time.perf_counter() - began)
            number += 1
            self.written += 1
            await asyncio.sleep(0.002)


def test_ten_rotations_under_load_lose_nothing(tmp_path, capsys):
    async def main():
        async with trio(tmp_path) as mesh:
            node = mesh[0]
            before = {id(link) for each in mesh.nodes for link in each.hub.links()}
            load = Load()
            urls = [node.url]
            async with (
                connect(node.url, node.settings.keypair(), node.account) as own,
                connect(mesh[1].url, mesh.places[1].keypair, mesh[1].account) as other,
            ):
                programs = [
                    asyncio.create_task(load.write(own, "own")),
                    asyncio.create_task(load.write(other, "other")),
                ]
                for _ in range(10):
                    await rested(node)
                    found = await own.rotate()
                    assert found["state"] == "overlap"
                    assert len(found["ports"]) == 2
                    urls.append(node.url)
                    # A program that comes now finds it by its settings; a peer's next dial by its record.
                    async with connect(node.settings.url, node.settings.keypair(), node.account) as late:
                        await late.database.table("scores").put(f"late/{found['port']}", 1)
                    for peer in (mesh[1], mesh[2]):
                        await until(
                            lambda peer=peer: peer.dialer.wanted()[node.account][0] == node.url, "news"
                        )
                await rested(node)
                load.stopped = True
                await asyncio.gather(*programs)
                assert state(node)["rotations"] == 10
                assert all(url != later for url, later in itertools.pairwise(urls))
                assert len(set(urls)) > 3
            await agreed(mesh.nodes)
            for each in mesh.nodes:
                rows = [row.key async for row in each.database.table("scores").scan()]
                assert sum(key.startswith(("own/", "other/")) for key in rows) == load.written
            after = {id(link) for each in mesh.nodes for link in each.hub.links() if link.role == "validator"}
            assert after <= before, "no session with a member was opened anew"
            assert len(after) == 6
            assert not any(each.metrics.rejects for each in mesh.nodes)
            waits = sorted(load.waits_s)
            p50, p99, longest = (1e3 * waits[at] for at in (len(waits) // 2, len(waits) * 99 // 100, -1))
            with capsys.disabled():
                print(f"\n10 rotations, {load.written} writes with ack=2 and reads of them, in ms:")
                print(f"p50 {p50:.1f}, p99 {p99:.1f}, longest {longest:.1f}")

    run(main())


# --- its steps --------------------------------------------------------------------------------------------


def test_both_ports_accept_in_the_overlap_and_then_the_new_one_alone(tmp_path):
    async def main():
        async with trio(tmp_path, overlap_ms=1_500) as mesh:
            node = mesh[0]
            old = node.url
            await node.rotating.rotate()
            new = node.url
            for url in (old, new):
                async with connect(url, node.settings.keypair(), node.account) as program:
                    assert (await program.status())["rotation"]["state"] == "overlap"
            assert node.status()["rotation"]["port"] == node.server.port
            async with connect(old, node.settings.keypair(), node.account) as stays:
                await rested(node)
                assert not answers(old)
                assert answers(new)
                await stays.database.table("scores").put("k", 1, ack=2)  # its session is the hub's
            assert node.discovery.announced == (new,)

    run(main())


def test_it_rotates_by_itself_when_it_is_time(tmp_path):
    async def main():
        async with trio(tmp_path, period_ms=200) as mesh:
            await until(lambda: state(mesh[0])["rotations"] >= 3, "three rotations")
            assert len(mesh[0].replicator.members()) == 2
            assert state(mesh[0])["failures"] == 0

    run(main())


def test_all_rotate_at_once_and_all_know_where_all_are(tmp_path):
    async def main():
        made = places(tmp_path, 4)
        ports = free_ports(16)
        async with Mesh(made) as mesh:
            for number in range(4):
                # The same range for all, on one machine: they skip what another has.
                rotates(mesh, number, ports, period_ms=150, overlap_ms=40, drain_ms=20)
            await mesh.start()
            await mesh.connected()
            for step in range(30):
                await mesh[step % 4].database.table("scores").put(f"k{step}", step, ack=3)
            await until(lambda: all(state(node)["rotations"] >= 3 for node in mesh.nodes), "three each")
            for node in mesh.nodes:
                node.rotating._machine._plan = replace(node.rotating._plan, enabled=False)
            # One that was to begin by time may do so once more.
            await until(lambda: all(state(node)["next_s"] is None for node in mesh.nodes), "rest")
            for node in mesh.nodes:
                await rested(node)

            def told():
                return all(
                    set(node.dialer.wanted()[other.account]) >= {other.url}
                    and len({each.discovery.book.digest() for each in mesh.nodes}) == 1
                    for node in mesh.nodes
                    for other in mesh.nodes
                    if other is not node
                )

            await until(told, "everybody's newest record at everybody's")
            assert all(node.discovery.announced == (node.url,) for node in mesh.nodes)
            assert all(len(node.rotating.ports) == 1 and answers(node.url) for node in mesh.nodes)
            await agreed(mesh.nodes)

    run(main())


def test_a_taken_port_is_skipped(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1)) as mesh:
            ports = free_ports(4)
            rotates(mesh, 0, ports)
            node = await mesh.start()
            with contextlib.ExitStack() as stack:
                for port in ports[:3]:
                    taken = stack.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", port))
                    taken.listen()
                found = await node.rotating.rotate()
                assert found["port"] == ports[3]
                await rested(node)
                old = node.url
                with pytest.raises(Unreachable, match="another process listens there"):
                    await node.rotating.rotate()
                assert (node.url, state(node)["failures"]) == (old, 1)
                assert "another process listens there" in state(node)["last_error"]
            assert (await node.rotating.rotate())["failures"] == 0

    run(main())


async def cannot_reach(*args, **options):
    raise Unreachable("the firewall says no")


async def cannot_bind(self):
    raise ConfigError("not permitted")


async def cannot_announce(self, addresses):
    raise UsageError("the numbers are used up")


async def breaks(*args, **options):
    raise ZeroDivisionError("a bug")


FAULTS = {
    "self-test": (rotating_module, "dial_once", cannot_reach, "the firewall says no"),
    "bind": (Server, "start", cannot_bind, "not permitted"),
    "announcement": (Discovery, "announce", cannot_announce, "used up"),
    "a bug of ours": (rotating_module, "dial_once", breaks, "internal error: a bug"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failure_keeps_the_old_port_and_it_tries_again(tmp_path, monkeypatch, name):
    where, what, instead, said = FAULTS[name]

    async def main():
        async with trio(tmp_path) as mesh:
            node = mesh[0]
            old = node.url
            with monkeypatch.context() as patched:
                patched.setattr(where, what, instead)
                with pytest.raises(Unreachable, match=said):
                    await node.rotating.rotate()
                assert node.url == old
                assert node.rotating.ports == [node.server.port], "the new one is closed"
                assert answers(old)
                assert said in state(node)["last_error"]
                assert 40 < state(node)["next_s"] <= 60
                assert node.discovery.announced == (old,)
            await mesh[1].database.table("scores").put("k", 1, ack=2)
            await node.rotating.rotate()
            assert node.url != old

    run(main())


def test_a_stranger_on_the_port_is_not_taken_for_ourselves(tmp_path, monkeypatch):
    """Behind a wildcard address another process may have the loopback one: the self-test finds it out."""

    async def main():
        async with trio(tmp_path) as mesh:
            node, port = mesh[0], mesh[1].server.port
            monkeypatch.setattr(rotating_module, "listen_url", lambda host, _: f"ws://127.0.0.1:{port}")
            with pytest.raises(Unreachable):
                await node.rotating.rotate()
            assert state(node)["rotations"] == 0

    run(main())


def test_one_rotation_at_a_time_and_none_where_it_is_not_set_up(tmp_path):
    async def main():
        async with trio(tmp_path, overlap_ms=60_000) as mesh:
            first = asyncio.ensure_future(mesh[0].rotating.rotate())
            await asyncio.sleep(0)
            with pytest.raises(UsageError, match="under way"):
                await mesh[0].rotating.rotate()
            await first
            with pytest.raises(UsageError, match="under way: overlap"):
                await mesh[0].rotating.rotate()
            with pytest.raises(UsageError, match=r"add a \[rotation\] section"):
                await mesh[1].rotating.rotate()
            assert mesh[1].status()["rotation"] == {}

    run(main())


def test_a_node_that_stops_in_the_midst_of_it_closes_everything(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1)) as mesh:
            rotates(mesh, 0, free_ports(3), overlap_ms=60_000)
            node = await mesh.start()
            old = node.url
            await node.rotating.rotate()
            file = node.settings.data_dir / PORT_FILE
            assert file.read_text() == f"{node.server.port}\n"
            await mesh.stop(0)
            with pytest.raises(UsageError, match="shutting down"):
                await node.rotating.rotate()
            assert not answers(old)
            assert not answers(node.url)
            assert not file.exists()

    run(main())


def test_only_the_operator_may_ask(tmp_path):
    async def main():
        made = places(tmp_path, 2)
        program = made[1].keypair
        text = settings(made[0]).replace("[auth]", f'[auth]\nclients = ["{made[1].address}"]')
        made[0].config.write_text(text)
        members = made[0].directory / "members.toml"
        kept = [part for part in members.read_text().split("[[member]]") if made[1].address not in part]
        members.write_text("[[member]]".join(kept))
        async with Mesh(made[:1]) as mesh:
            rotates(mesh, 0, free_ports(2))
            node = await mesh.start()
            async with connect(node.url, program, node.account) as remote:
                with pytest.raises(Unauthorised, match="only the node's own account"):
                    await remote.rotate()
            async with connect(node.url, made[0].keypair, node.account) as remote:
                await remote.rotate()
                with pytest.raises((UsageError, CallFailed), match="under way"):
                    await remote.rotate()

    run(main())


# --- those who were away ----------------------------------------------------------------------------------


def test_who_slept_through_a_rotation_finds_the_node_by_the_record_another_has(tmp_path):
    async def main():
        made = places(tmp_path, 3)
        # Nobody can dial the third: it has no address. It must find the first by itself.
        made[2].config.write_text(settings(made[2], advertise=[]))
        for place in made[:2]:
            members = place.directory / "members.toml"
            members.write_text(members.read_text().replace(f'urls = ["{made[2].url}"]\n', ""))
        async with Mesh(made) as mesh:
            rotates(mesh, 0, free_ports(6))
            await mesh.start()
            await mesh.connected()
            await mesh.stop(2)
            old = mesh[0].url
            await mesh[0].rotating.rotate()
            await rested(mesh[0])
            assert not answers(old)
            await mesh.start(2)
            await mesh.connected()
            link = mesh[2].hub.link_of(mesh[0].account)
            assert (link.inbound, link.url) == (False, mesh[0].url)
            await mesh[0].database.table("scores").put("k", 1, ack=2)

    run(main())


# --- settings and the command -----------------------------------------------------------------------------


def two_ports():
    """Two free ports that follow each other."""
    for port in free_ports(50):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("there are no two free ports side by side")


def test_the_command(tmp_path):
    (place,) = places(tmp_path, 1)
    port = two_ports()
    place = replace(place, port=port)
    place.config.write_text(settings(place) + f'[rotation]\nrange = "{port}-{port + 1}"\noverlap_s = 1\n')
    with clikit.running(place.config) as (process, ready):
        assert ready["url"] == f"ws://127.0.0.1:{port}"
        out, _ = clikit.invoke("rotate", "now", "--config", place.config)
        assert out == f"listens on port {port + 1}; {port} accepts for 1 s more\n"
        _, err = clikit.invoke("rotate", "now", "--config", place.config, code=2)
        assert "a rotation is under way: overlap" in err
        clikit.invoke("put", "scores", "k", "1", "--config", place.config)
        deadline = time.monotonic() + 20
        while answers(ready["url"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (status,) = clikit.invoke_json("node", "status", "--config", place.config)
        assert status["url"] == f"ws://127.0.0.1:{port + 1}"
        shown = clikit.invoke("node", "status", "--config", place.config)[0]
        assert f"port {port + 1}," in shown
        while status["rotation"]["state"] != "idle":
            assert time.monotonic() < deadline
            (status,) = clikit.invoke_json("node", "status", "--config", place.config)
        found = json.loads(clikit.invoke("rotate", "now", "--config", place.config, "--json")[0])
        assert found["port"] == port
        process.terminate()
        assert process.wait(10) == 0
    _, err = clikit.invoke("rotate", "now", "--config", place.config, code=1)
    assert f"ws://127.0.0.1:{port}" in err


def test_a_port_file_that_says_nothing_is_not_believed(tmp_path):
    (place,) = places(tmp_path, 1)
    place.config.write_text(settings(place) + "[rotation]\n")
    place.data_dir.mkdir()
    found = Settings.load(place.config)
    for text, port in ((b"9095\n", 9095), (b"", place.port), (b"x\n", place.port), (b"70000\n", place.port)):
        (place.data_dir / PORT_FILE).write_bytes(text)
        assert found.url == f"ws://127.0.0.1:{port}"
    assert replace(found, rotation=None).url == place.url
