"""A fleet of three processes under load, while processes and NATS servers are killed and stopped: judged by what its
clients saw. Nothing acknowledged is lost, nothing is there twice, no reader goes back, at whichever member.

A member that is gone is replaced within 5 s. For a NATS server that led a stream the servers themselves need longer:
they wait 4 to 9 s before they elect another (nats-server, raft.go), and so do writes.
"""

from __future__ import annotations

import asyncio
import signal

import natskit
import pytest
from fleet.chaoskit import Chaos
from fleet.nodefleetkit import members
from natskit import Servers
from nodekit import run

FAILOVER_S = 5.0
ELECTION_S = 25.0
"""An election, one that is held again, and what members do after it, on a machine that does other things too."""
KILLS = 30


def recovered(chaos, lease_ms):
    """After every kill the shards answered again in time: at night, when nothing else keeps the machine busy."""
    for took, (_, what) in zip(chaos.recovered_s(), chaos.kills, strict=True):
        limit = FAILOVER_S if what.startswith("member") else ELECTION_S
        assert took < limit, f"{what}: {took} s, with a lease of {lease_ms} ms"


def test_members_that_are_killed_and_stopped_lose_nothing(tmp_path):
    natskit.binary()

    async def main(nats):
        places = members(tmp_path, nats, "abc", unsynced=False)
        async with Chaos(places, nats, 5) as chaos:
            await asyncio.sleep(0.5)
            await chaos.kill_member()
            number = await chaos.stop_member(2.5)
            await chaos.served()
            generation = chaos.processes[number].generation
            async with asyncio.timeout(15):
                while not ((found := await chaos.status(number)) and found["serving"]):
                    await asyncio.sleep(0.1)
            # It was fenced, and goes on as what it was.
            assert found["generation"] == f"{generation:016x}"
            await chaos.judge()

    with Servers.of(tmp_path / "nats") as nats:
        run(main(nats))


@pytest.mark.nightly
def test_thirty_kills_of_any_process_and_any_server(tmp_path):
    natskit.binary()

    async def main(nats):
        places = members(tmp_path, nats, "abc", lease=2500, unsynced=False)
        async with Chaos(places, nats, 7) as chaos:
            await asyncio.sleep(1)
            for _ in range(KILLS):
                await (chaos.kill_member() if chaos.rng.random() < 0.6 else chaos.kill_server())
                await asyncio.sleep(1.5)
                await chaos.served(60)
            print(await chaos.judge())
            recovered(chaos, 2500)

    with Servers.of(tmp_path / "nats", 3) as nats:
        run(main(nats), seconds=1200)


@pytest.mark.nightly
def test_all_servers_down_for_a_while(tmp_path):
    natskit.binary()

    async def main(nats):
        places = members(tmp_path, nats, "abc", lease=2500, unsynced=False)
        async with Chaos(places, nats, 9) as chaos:
            for _ in range(2):
                await asyncio.sleep(2)
                for server in nats.servers:
                    server.send(signal.SIGKILL)
                    server.process.wait()
                    server.process = None
                await asyncio.sleep(6)
                refused = chaos.errors["BrokerUnreachable"]
                await asyncio.sleep(2)
                assert chaos.errors["BrokerUnreachable"] > refused + 20, "writes are refused at once"
                for number in range(3):
                    found = await chaos.status(number)
                    assert found["problem"]
                    assert found["serving"] == 0
                for server in nats.servers:
                    server.start()
                await nats.ready()
                await chaos.served(60)
            print(await chaos.judge(stale_reads=True))

    with Servers.of(tmp_path / "nats", 3) as nats:
        run(main(nats), seconds=300)
