"""A replica whose epochs come from a development chain: it waits for what it does not know yet, and for nobody else."""

from __future__ import annotations

from jetstream.followkit import connected
from node.test_chain_node import chain_of, pass_epoch, prepared
from nodekit import run, until
from replica.replicakit import bridged, equal, replica

from mycelium.devnet.layout import free_ports
from mycelium.jetstream import layout
from mycelium.node.node import Node
from mycelium.node.settings import Settings


def replica_of(place):
    """A replica's file beside a node's of a network with a chain."""
    folder = place.directory.parent / "replica"
    folder.mkdir()
    lines, section = [], ""
    for line in place.config.read_text().splitlines():
        section = line if line.startswith("[") else section
        if section != "[identity]":
            lines.append(f'listen = "127.0.0.1:{free_ports(1)[0]}"' if line.startswith("listen") else line)
    path = folder / "replica.toml"
    path.write_text("\n".join([*lines, "[replica]"]) + "\n")
    return path


def test_batches_of_epochs_that_it_does_not_know_yet_wait_for_them(tmp_path, clean):
    """Its chain is the node's, and it hears of blocks by itself: what refers to one that it has not heard of waits."""
    network = prepared(tmp_path, 1)
    (place,) = network.nodes
    path = replica_of(place)

    async def main(chain):
        async with Node.open(Settings.load(place.config)) as node, connected(clean.url) as client:
            names = layout.Network(node.settings.netuid, node.network.genesis)
            for space in node.database.spaces:
                await client.jetstream().add_stream(
                    name=names.stream(space), subjects=[names.subjects(space)]
                )
            async with bridged(node, client, names=names):
                table = node.database.table("records")
                for number in range(3):
                    await table.put(f"k{number}", number)
                    pass_epoch(chain)
                    await until(lambda: node.source.epoch().number == number + 2)  # noqa: B023
                async with replica(path, client) as one:
                    await equal(one, node)
                    assert one.source.epoch().number == node.source.epoch().number
                    assert await one.database.state_digests() == await node.database.state_digests()
                    pass_epoch(chain)
                    await until(lambda: node.source.epoch().number == 5)
                    await table.put("late", 1)
                    await equal(one, node)
                    found = one.status()
                    assert found["chain"]["ready"]
                    assert found["epoch"] == 5

    with chain_of(network) as chain:
        run(main(chain))
