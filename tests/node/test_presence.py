"""Members that fall silent, as real nodes see them, and the statuses that they exchange."""

from __future__ import annotations

import pytest
from nodekit import Mesh, places, run, until

from mycelium._core import fanout
from mycelium.errors import CallFailed
from mycelium.node import presence
from mycelium.peer import liveness as liveness_module
from mycelium.peer.liveness import Standing
from mycelium.protocol.messages import MessageType, NodeStatus, Sync


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """One silent second makes a suspect."""
    monkeypatch.setattr(liveness_module, "SUSPECT_MISSES", 1)


class Deaf:
    """Stands for a link whose incoming half is dead: what comes is not heard, and the session goes on."""

    def __init__(self, link):
        self.link = link

    def frame_received(self, data):
        pass

    def writable(self):
        self.link.writable()

    def wire_closed(self, error, by_peer):
        self.link.wire_closed(error, by_peer)


def test_a_member_that_others_hear_gets_a_new_session(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 5)) as mesh:
            await mesh.start()
            await mesh.connected()
            node, silent = mesh[0], mesh[1].account
            link = node.hub.link_of(silent)
            link.wire.owner = Deaf(link)
            await until(link.closed.done, "its session is ended")
            await until(lambda: node.hub.link_of(silent) is not None, "and made anew")
            await until(lambda: node.presence.liveness.standing(silent) is Standing.ALIVE)
            assert all(one.presence.liveness.standing(silent) is not Standing.DEAD for one in mesh.nodes)

    run(main())


def test_a_member_that_is_gone_is_dead_for_everybody_and_alive_when_it_returns(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 4)) as mesh:
            await mesh.start()
            await mesh.connected()
            gone = mesh[3].account
            await mesh.stop(3)
            await until(
                lambda: all(node.presence.liveness.standing(gone) is Standing.DEAD for node in mesh.nodes)
            )
            await mesh.start(3)
            await until(
                lambda: all(
                    node is mesh[3] or node.presence.liveness.standing(gone) is Standing.ALIVE
                    for node in mesh.nodes
                )
            )

    run(main())


def test_members_know_how_each_other_are(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 3)) as mesh:
            await mesh.start()
            await mesh.connected()
            await until(lambda: all(len(node.presence.statuses) == 2 for node in mesh.nodes))
            status = mesh[0].status()
            assert status["node"]["is_active"]
            assert status["node"]["peer_count"] == 2
            fields = {
                "id", "version", "start_time_s", "last_sync_s", "last_heartbeat_s", "is_active", "status",
                "peer_count", "serving_rate_bytes_s", "sync_progress", "response_latency_s", "memory_usage_bytes",
                "cpu_usage_cores",
            }  # fmt: skip
            assert set(status["node"]) == fields
            assert [set(member) - fields for member in status["members"]] == [{"standing"}] * 2
            assert {member["standing"] for member in status["members"]} == {"alive"}
            for member in status["members"]:
                assert member["memory_usage_bytes"] > 2**20
                assert abs(member["start_time_s"] - status["node"]["start_time_s"]) < 60
            assert {peer["standing"] for peer in status["peers"]} == {"alive"}

    run(main())


def test_what_a_member_says_is_cut_and_printable_and_of_members_only(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            node, other = mesh[0], mesh[1]
            link = other.hub.link_of(node.account)
            vain = NodeStatus(
                "\x1b[31m" + "v" * 1000, 2**64 - 1, 0, 0, True, "a\nb", 2**32 - 1, 0, 65535, 0, 0, 0
            )
            link.post(MessageType.SYNC, Sync([], vain).encode(), fanout.CONTROL)
            await until(lambda: "?[31m" in node.presence.statuses[other.account].software)
            found = node.presence.statuses[other.account]
            assert len(found.software) == 64
            assert found.status == "a?b"
            assert node.status()["members"][0]["sync_progress"] == 1.0
            node.presence.keep([])
            assert node.presence.statuses == {}
            assert node.presence.liveness.standings() == {}

    run(main())


@pytest.mark.parametrize("body", [b"", b"x", bytes(33)], ids=["empty", "short", "long"])
def test_a_probe_that_names_nobody_is_refused(tmp_path, body):
    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            with pytest.raises(CallFailed):
                await mesh[0].peercalls.call(mesh[1].account, presence.PROBE, body)
            assert await mesh[0].peercalls.call(mesh[1].account, presence.PROBE, bytes(32)) == b""
            ago = await mesh[0].peercalls.call(mesh[1].account, presence.PROBE, mesh[0].account)
            assert int.from_bytes(ago, "big") < 10_000

    run(main())


def test_a_meter_looks_no_more_than_once_a_second():
    now_s, cpu_s = [100.0], [1.0]
    meter = presence.Meter(lambda: int(now_s[0] * 1e9), lambda: cpu_s[0])
    now_s[0] += 0.5
    meter.look(1_000)
    assert (meter.serving_rate, meter.cpu_usage) == (0, 0)
    now_s[0] += 1.5
    cpu_s[0] += 0.5
    meter.look(4_000)
    assert (meter.serving_rate, meter.cpu_usage) == (2_000, 250)
    now_s[0] += 1
    cpu_s[0] += 1_000
    meter.look(4_000)
    assert (meter.serving_rate, meter.cpu_usage) == (0, 65_535)


def test_a_status_on_the_wire_is_small():
    status = NodeStatus("mycelium/0.1.0", 1, 1, 1, True, "ready", 7, 1, 1000, 1, 1, 1)
    assert len(Sync([], status).encode()) < 200
    assert Sync.decode(Sync([], status).encode()).status == status
