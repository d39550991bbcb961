"""Nodes of other protocol versions: who shares a version gets on, who shares none is told, and not blamed for it."""

from __future__ import annotations

import kit
import pytest
from nodekit import Author, Hostile, Mesh, places, run, until

from mycelium.errors import ProtocolError, VersionRefused
from mycelium.peer.blacklist import Standing

OTHER = kit.keypair("another version")


def test_a_node_of_the_next_version_that_still_speaks_this_one_takes_part(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1, extra=[OTHER])) as mesh:
            node = await mesh.start()
            async with Hostile.open(node, OTHER, versions=(2, 1), features=2**63) as peer:
                assert peer.session.version == 1
                assert peer.session.features == 0, "a feature that only one side has is not used"
                await peer.gossip(Author(node, OTHER).batch("from the future"))
                table = node.database.table("scores")
                await until(lambda: node.database.engine.counts["applied"] == 1, "its change")
                assert await table.get("from the future")

    run(main())


@pytest.mark.parametrize("versions", [(2,), (0,), (3, 2)], ids=["next", "older", "later"])
def test_a_node_without_a_common_version_is_told_both_and_not_greylisted(tmp_path, versions):
    async def main():
        async with Mesh(places(tmp_path, 1, extra=[OTHER])) as mesh:
            node = await mesh.start()
            for _ in range(7):
                with pytest.raises(ProtocolError) as caught:
                    async with Hostile.open(node, OTHER, versions=versions):
                        pass
                assert "1" in str(caught.value)
            assert node.metrics.rejects[VersionRefused.reason] == 7
            machine = node.blacklisting.machine
            assert machine.standing(OTHER.account, node.now_ms()) is Standing.GOOD
            async with Hostile.open(node, OTHER):
                await until(lambda: node.hub.link_of(OTHER.account), "a session once it is up to date")

    run(main())
