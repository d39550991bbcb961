"""`mycelium replica run` and `replica status` as processes, and a replica killed under load."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import urllib.error
import urllib.request

import clikit
import kit
import pytest
from jetstream.followkit import connected
from natskit import Servers
from nodekit import Mesh, places, run
from replica.replicakit import ReplicaProcess, bridged, replica_file, streams
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import InvalidStatus

import mycelium
from mycelium.errors import LinkClosed, Unauthorised

READER = kit.keypair("reader")


async def state(url, account) -> dict[str, str]:
    """The digests of a replica's spaces, as a client that may do everything there."""
    async with mycelium.connect(url, kit.keypair("client"), account) as remote:
        return await remote.database.state_digests()


async def caught_up(ready, node, seconds=60) -> None:
    wanted = await node.database.state_digests()
    async with asyncio.timeout(seconds):
        while await state(ready["url"], ready["account"]) != wanted:
            await asyncio.sleep(0.1)


async def writes(node, stop):
    number = 0
    while not stop.is_set():
        async with node.database.batch(ack="applied") as batch:
            for row in range(50):
                batch.put("scores", f"k{(number * 50 + row) % 3000}", f"{number} {row}")
                batch.add("hits", f"h{row}", 1)
        number += 1
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("seed", "kills"), [(7, 3), pytest.param(8, 30, marks=pytest.mark.soak)], ids=["some", "many"]
)
def test_a_replica_killed_under_load_ends_up_the_same(tmp_path, clean, seed, kills):
    """Killed wherever it is, while the node writes without a pause."""
    rng = random.Random(seed)

    async def main():
        (place,) = places(tmp_path, 1, extra=[READER])
        config = replica_file(place, nats=clean.url, clients=[kit.keypair("client")])
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            stop = asyncio.Event()
            async with bridged(node, client), ReplicaProcess(config) as process:
                writing = asyncio.create_task(writes(node, stop))
                accounts = set()
                for _ in range(kills):
                    ready = await process.start()
                    accounts.add(ready["account"])
                    await asyncio.sleep(rng.uniform(0, 0.4))
                    process.signal(signal.SIGKILL)
                    assert await process.gone() == -signal.SIGKILL
                stop.set()
                await writing
                ready = await process.start()
                assert accounts == {ready["account"]}
                await caught_up(ready, node)
                process.signal(signal.SIGTERM)
                assert await process.gone() == 0

    run(main(), 30 + 4 * kills)


@pytest.mark.soak
def test_replica_and_server_killed_in_turns(tmp_path):
    """Under load, wherever each is: nothing is lost, and nothing applied twice."""
    rng = random.Random(9)

    async def main(servers):
        (place,) = places(tmp_path, 1, extra=[READER])
        config = replica_file(place, nats=servers.url, clients=[kit.keypair("client")])
        async with Mesh([place]) as mesh, connected(servers.url) as client:
            node = await mesh.start()
            await streams(client)
            stop = asyncio.Event()
            async with bridged(node, client), ReplicaProcess(config) as process:
                writing = asyncio.create_task(writes(node, stop))
                ready = await process.start()
                for _ in range(20):
                    await asyncio.sleep(rng.uniform(0, 0.5))
                    if rng.random() < 0.5:
                        servers.servers[0].kill()
                        await asyncio.sleep(rng.uniform(0, 0.5))
                        servers.servers[0].start()
                        await servers.ready()
                    else:
                        process.signal(signal.SIGKILL)
                        await process.gone()
                        ready = await process.start()
                stop.set()
                await writing
                await caught_up(ready, node)

    with Servers.of(tmp_path / "nats") as servers:
        run(main(servers), 240)


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_status_health_and_metrics(tmp_path, clean):
    async def main():
        (place,) = places(tmp_path, 1, extra=[READER])
        config = replica_file(place, nats=clean.url, clients=[kit.keypair("client")])
        config.write_text(config.read_text().replace("enabled = false", 'listen = "127.0.0.1:0"'))
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            await node.database.table("scores").put("k", 1)
            async with bridged(node, client), ReplicaProcess(config) as process:
                ready = await process.start()
                await caught_up(ready, node)
                out, _ = await asyncio.to_thread(
                    clikit.run, "replica", "status", "--config", config, "--json"
                )
                found = json.loads(out)
                assert found["account"] == ready["account"]
                assert found["replica"]["main"]["position"] == 1
                out, _ = await asyncio.to_thread(clikit.run, "replica", "status", "--config", config)
                assert ready["account"] in out
                assert "behind" in out
                await client.jetstream().publish("myc.7.00010203.main.aa.01", b"rubbish")
                async with asyncio.timeout(20):
                    while (
                        "refused: message 2 of main: a message of 7 bytes is no batch (malformed)" not in out
                    ):
                        out, _ = await asyncio.to_thread(
                            clikit.run, "replica", "status", "--config", config, COLUMNS="200"
                        )
                # The commands of nodes read a replica too.
                out, _ = await asyncio.to_thread(clikit.run, "get", "scores", "k", "--config", config)
                assert out == "1\n"
                out, _ = await asyncio.to_thread(clikit.run, "status", "--config", config)
                assert ready["account"] in out
                _, err = await asyncio.to_thread(
                    clikit.run, "put", "scores", "k", "2", "--config", config, code=2
                )
                assert "read replica" in err
                async with asyncio.timeout(20):
                    while (await asyncio.to_thread(get, ready["admin"] + "readyz"))[0] != 200:
                        await asyncio.sleep(0.1)
                code, text = await asyncio.to_thread(get, ready["admin"] + "metrics")
                assert code == 200
                assert '\nmycelium_replica_lag_messages{space="main"} 0.0\n' in text
                assert '\nmycelium_replica_position{space="main"} 2.0\n' in text
                assert (await asyncio.to_thread(get, ready["admin"] + "livez")) == (200, "alive\n")
                code, text = await asyncio.to_thread(get, ready["admin"] + "status")
                assert json.loads(text)["health"]["ready"]
                # There is no dashboard: nobody watches, by whatever path.
                for path in ("", "live", "peers", "snapshot"):
                    assert (await asyncio.to_thread(get, ready["admin"] + path))[0] == 404
                with pytest.raises(InvalidStatus):
                    await ws_connect(ready["admin"].replace("http", "ws") + "live")

    run(main())


def test_it_reads_its_file_again_on_sighup(tmp_path, clean):
    """Who may use it changes, and a mistake changes nothing; the signal ends nothing."""

    async def main():
        (place,) = places(tmp_path, 1)
        client = kit.keypair("client")
        config = replica_file(place, nats=clean.url, clients=[client])
        listed = config.read_text()
        async with ReplicaProcess(config) as process:
            ready = await process.start()
            async with mycelium.connect(ready["url"], client, ready["account"]) as remote:
                config.write_text(listed + "[nonsense]\n")
                process.signal(signal.SIGHUP)
                await asyncio.sleep(0.3)
                assert (await remote.status())["account"] == ready["account"]
                config.write_text(replica_file(place, nats=clean.url, port=9).read_text())
                process.signal(signal.SIGHUP)
                async with asyncio.timeout(20):
                    with pytest.raises((Unauthorised, LinkClosed)):
                        while True:
                            await remote.status()
                            await asyncio.sleep(0.05)
            with pytest.raises(Unauthorised):
                await mycelium.connect(ready["url"], client, ready["account"])
            process.signal(signal.SIGINT)
            assert await process.gone() == 130

    run(main())


def test_what_is_wrong_is_said_in_a_line(tmp_path):
    (place,) = places(tmp_path, 1)
    config = replica_file(place)
    _, err = clikit.invoke("replica", "status", "--config", config, code=2)
    assert "start the replica once" in err
    _, err = clikit.invoke("replica", "run", "--config", place.config, code=2)
    assert "write [replica] in place of [identity]" in err
    _, err = clikit.invoke("node", "run", "--config", config, code=2)
    assert "mycelium replica run" in err
    _, err = clikit.invoke("doctor", "--config", config, code=2)
    assert "doctor examines nodes" in err
    clikit.invoke("config", "check", "--config", config)
    _, err = clikit.invoke("replica", "run", "--config", config, "--nats", "http://x:1", code=2)
    assert "--nats" in err


def test_a_nodes_file_without_its_identity_is_enough(tmp_path, clean):
    async def main():
        (place,) = places(tmp_path, 1)
        config = replica_file(place, nats=clean.url)
        config.write_text(config.read_text().replace("[replica]\n", ""))
        async with ReplicaProcess(config) as process:
            ready = await process.start()
            out, _ = await asyncio.to_thread(clikit.run, "replica", "status", "--config", config, "--json")
            assert json.loads(out)["account"] == ready["account"]
            assert json.loads(out)["replica"]["main"]["state"] == "no stream"

    run(main())
