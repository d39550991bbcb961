"""The metagraph of a real subnet, recorded from the public chain: one record per neuron into one node of four.

The addresses in it are data and are never dialled. The decoder here is for this test alone and reads the one
recorded shape (`NeuronInfoLite` of runtime spec 343), by the layout in that runtime's metadata version 15.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from nodekit import Mesh, agreed, places, run

import mycelium
from mycelium.identity import account as accounts

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "chain" / "recorded_rpc.json"
NETUID = 1
NEURONS = 1024


class Scale:
    """Reads SCALE (docs.substrate.io/reference/scale-codec): fixed-width little-endian and compact integers."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        assert end <= len(self.data), "the recorded answer is shorter than its layout says"
        found, self.at = self.data[self.at : end], end
        return found

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def boolean(self) -> bool:
        found = self.integer(1)
        assert found in (0, 1)
        return bool(found)

    def compact(self) -> int:
        mode = self.data[self.at] & 3
        if mode == 3:
            return self.integer((self.integer(1) >> 2) + 4)
        return self.integer((1, 2, 4)[mode]) >> 2


def address(ip: int, ip_type: int) -> str:
    return str(ipaddress.IPv4Address(ip) if ip_type == 4 else ipaddress.IPv6Address(ip)) if ip else ""


def neuron(scale: Scale) -> dict:
    """One NeuronInfoLite. Accounts as SS58; stakes in rao by coldkey; the weights as they are, of 65535."""
    found = {"hotkey": accounts.format(scale.take(32)), "coldkey": accounts.format(scale.take(32))}
    found |= {"uid": scale.compact(), "netuid": scale.compact(), "active": scale.boolean()}
    block, version, ip, port = (scale.integer(size) for size in (8, 4, 16, 2))
    ip_type, protocol, _, _ = (scale.integer(1) for _ in range(4))
    found["axon"] = {"block": block, "version": version, "port": port, "protocol": protocol}
    found["axon"]["ip"] = address(ip, ip_type)
    block, version, ip, port, ip_type = (scale.integer(size) for size in (8, 4, 16, 2, 1))
    found["prometheus"] = {"block": block, "version": version, "port": port, "ip": address(ip, ip_type)}
    found["stake_rao"] = {accounts.format(scale.take(32)): scale.compact() for _ in range(scale.compact())}
    names = (
        "rank",
        "emission",
        "incentive",
        "consensus",
        "trust",
        "validator_trust",
        "dividends",
        "last_update",
    )
    found |= {name: scale.compact() for name in names}
    found |= {"validator_permit": scale.boolean(), "pruning_score": scale.compact()}
    return found


def recorded() -> list[dict]:
    if not RECORDED.is_file():
        pytest.skip(f"no recorded chain data at {RECORDED}")
    calls = json.loads(RECORDED.read_text())["metagraph"]["state_call"]
    (answer,) = (
        answer["result"]
        for parameters, answer in calls.items()
        if json.loads(parameters)[0] == "NeuronInfoRuntimeApi_get_neurons_lite"
    )
    scale = Scale(bytes.fromhex(answer.removeprefix("0x")))
    neurons = [neuron(scale) for _ in range(scale.compact())]
    assert scale.at == len(scale.data), "the layout does not consume the whole answer"
    return neurons


def test_the_recorded_metagraph_is_read_whole():
    neurons = recorded()
    assert len(neurons) == NEURONS
    assert [one["uid"] for one in neurons] == list(range(NEURONS))
    assert {one["netuid"] for one in neurons} == {NETUID}
    assert len({one["hotkey"] for one in neurons}) == NEURONS
    for one in neurons:
        shares = ("rank", "incentive", "consensus", "trust", "validator_trust", "dividends", "pruning_score")
        assert all(0 <= one[name] <= 65_535 for name in shares)
    assert any(one["validator_permit"] for one in neurons)
    assert any(one["axon"]["ip"] for one in neurons)


def test_a_real_metagraph_on_four_nodes(tmp_path):
    neurons = recorded()

    async def main():
        async with Mesh(places(tmp_path, 4)) as mesh:
            await mesh.start()
            await mesh.connected()
            remote = await mycelium.connect(mesh.places[0].url, mesh.places[0].keypair)
            async with remote.database.batch(ack=3) as batch:
                for one in neurons:
                    batch.put("scores", one["hotkey"], one)
            await remote.close()
            await agreed(mesh.nodes)
            wanted = sorted((one["hotkey"], one) for one in neurons)
            for node in mesh.nodes:
                rows = [row async for row in node.database.table("scores").scan()]
                assert sorted((row.key, row.value) for row in rows) == wanted
                assert {row.account for row in rows} == {mesh.places[0].account}
                # Whom the nodes speak to is what their members file says, and nothing in the records.
                peers = {link.account for link in node.replicator.members()}
                assert peers == {place.account for place in mesh.places} - {node.account}
            one = neurons[17]
            await mesh[3].database.table("scores").put(one["hotkey"], one | {"incentive": 1}, ack=3)
            for node in mesh.nodes:
                assert (await node.database.table("scores").get(one["hotkey"]))["incentive"] == 1

    run(main())
