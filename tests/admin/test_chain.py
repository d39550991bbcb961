"""Readiness of a node whose members come from a chain, when the chain falls silent and when it speaks again."""

from __future__ import annotations

import nodekit
from admin.adminkit import ANY, get
from node.test_chain_node import chain_of, prepared

from mycelium.admin.server import Place, open_admin
from mycelium.config import ANCHOR_SKEW_MS


def test_a_chain_that_falls_silent(tmp_path):
    network = prepared(tmp_path, 1)

    async def main():
        with chain_of(network):
            async with nodekit.Mesh(network.nodes) as mesh:
                node = await mesh.start()
                async with open_admin(node, Place(ANY)) as admin:
                    found = await get(admin, "/readyz")
                    assert found.status == 200, found.json
                    epoch = (await get(admin, "/snapshot")).json["epoch"]
                    assert epoch["block"] >= epoch["number"] * epoch["blocks"]
                    assert epoch["head_age_s"] is not None
                    text = (await get(admin, "/metrics")).body.decode()
                    assert "mycelium_epoch_age_seconds" in text
                    now_ms = node.now_ms
                    node.now_ms = lambda: now_ms() + 24 * ANCHOR_SKEW_MS
                    admin.watch.look()
                    found = await get(admin, "/readyz")
                    assert found.status == 503
                    assert found.json["missing"] == ["chain"]
                    (check,) = [check for check in found.json["checks"] if not check["ok"]]
                    assert "nothing can be written" in check["text"]
                    assert [event.kind for event in node.events.after(0)][-1] == "not-ready"
                    assert "mycelium_chain_ready 0.0" in (await get(admin, "/metrics")).body.decode()
                    assert (await get(admin, "/livez")).status == 200
                    node.now_ms = now_ms
                    admin.watch.look()
                    assert (await get(admin, "/readyz")).status == 200

    nodekit.run(main())
