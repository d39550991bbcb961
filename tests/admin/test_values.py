"""The numbers of two nodes after known traffic: what one sent the other received, by count, by bytes and by type."""

from __future__ import annotations

import nodekit
from admin.adminkit import ANY, get
from prometheus_client.parser import text_string_to_metric_families

from mycelium.admin.server import Place, open_admin

WRITES = 40


async def values(admin) -> dict[tuple[str, ...], float]:
    """(name, label values...) to value."""
    text = (await get(admin, "/metrics")).body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_two_nodes(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 2)) as mesh:
            await mesh.start()
            await mesh.connected()
            writer, reader = mesh.nodes
            async with open_admin(writer, Place(ANY)) as one, open_admin(reader, Place(ANY)) as other:
                for at in range(WRITES):
                    await writer.database.table("scores").put(f"key {at}", at, ack=1)
                await nodekit.agreed(mesh.nodes)
                await nodekit.until(
                    lambda: all(link.rtt_ms is not None for link in writer.replicator.members())
                )
                sent, received = await values(one), await values(other)
        peer = mesh.places[1].address
        assert sent["mycelium_changes_written_total",] == WRITES
        assert sent["mycelium_changes_pushed_total",] == WRITES
        assert sent["mycelium_changes_received_total",] == 0
        assert received["mycelium_changes_received_total",] == WRITES
        assert received["mycelium_changes_written_total",] == 0
        gossip = sent["mycelium_messages_sent_total", "gossip"]
        assert gossip == received["mycelium_messages_received_total", "gossip"] == WRITES, (
            "one a batch, as each is awaited"
        )
        size = sent["mycelium_message_sent_bytes_total", "gossip"]
        assert size == received["mycelium_message_received_bytes_total", "gossip"]
        assert size > WRITES * 100
        by_type = sum(
            value for name, value in received.items() if name[0] == "mycelium_message_received_bytes_total"
        )
        assert by_type < received["mycelium_received_bytes_total",], (
            "sealing and framing have their own bytes"
        )
        assert sent["mycelium_peer_lag_changes", peer] == 0
        assert 0 < sent["mycelium_peer_round_trip_seconds", peer] < 5
        for found in (sent, received):
            assert found["mycelium_space_changes", "main"] == WRITES
            assert found["mycelium_active_validators",] == 2
            assert found["mycelium_peers",] == found["mycelium_peers_expected",] == 1
            assert found["mycelium_fsync_seconds_count",] >= WRITES
            assert found["mycelium_fsync_seconds_bucket", "+Inf"] == found["mycelium_fsync_seconds_count",]
            assert 0 < found["mycelium_commit_seconds_count",] <= found["mycelium_fsync_seconds_count",]
            assert found["mycelium_commit_seconds_sum",] > 0
            assert found["mycelium_resident_memory_bytes",] > 2**20
            assert found["mycelium_undurable_batches",] == 0

    nodekit.run(main())
