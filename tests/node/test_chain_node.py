"""Nodes that take their members from a development chain: epochs, outages, wrong chains, and a node that comes late."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from nodekit import Mesh, agreed, run, set_clock, until

from mycelium.chain.connection import Connection
from mycelium.chain.epochs import policy_commitment
from mycelium.database import grants
from mycelium.database.database import wall_ms
from mycelium.database.policy import Action, encode
from mycelium.devnet import chainlayout
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.devnet.layout import NETUID
from mycelium.errors import (
    ChainError,
    ChainOutage,
    ChainUnreachable,
    ConfigError,
    StoreForeign,
    Unauthorised,
    WrongChain,
)
from mycelium.identity.keys import Keypair
from mycelium.metagraph.membership import MINER, OWNER, VALIDATOR
from mycelium.node import joining
from mycelium.node.node import Node
from mycelium.node.remote import connect
from mycelium.node.settings import Settings

EPOCH = chainlayout.EPOCH_BLOCKS


@contextlib.contextmanager
def chain_of(network, blocks=EPOCH + 5):
    """The network's chain in this process: blocks are made by hand and final at once, and the first ones are there."""
    chain = ThreadedChain(
        specfile.read(network.chain.spec),
        blocks="manual",
        finality_lag=0,
        port=network.chain.port,
        states_max=10_000,
    )
    with chain:
        if blocks:
            chain.step(blocks)
        yield chain


def prepared(path, nodes=3, **keywords):
    return chainlayout.prepare(path / "net", nodes, **keywords)


@contextlib.asynccontextmanager
async def started(network):
    """All nodes of a network, connected with each other."""
    async with Mesh(network.nodes) as mesh:
        await mesh.start()
        await mesh.connected()
        yield mesh


def pass_epoch(chain):
    """As many blocks as bring the next epoch, and one in it."""
    number = chain.run(lambda core: core.chain.best.number)
    chain.step(EPOCH - number % EPOCH + 1)


async def entered(nodes, number):
    await until(lambda: all(node.source.epoch().number == number for node in nodes), f"epoch {number}")


def test_roles_and_addresses_come_from_the_chain(tmp_path):
    network = prepared(tmp_path)

    async def main():
        async with started(network) as mesh:
            epoch = mesh[0].source.epoch()
            roles = [epoch.role(place.keypair.account) for place in network.nodes]
            assert roles == [OWNER, VALIDATOR, VALIDATOR]
            assert epoch.role(network.miners[0].hotkey.account) == MINER
            for number, node in enumerate(mesh.nodes):
                await node.database.table("records").put(f"k{number}", number)
            await agreed(mesh.nodes)
            status = mesh[1].status()
            assert status["epoch"] == epoch.number == 1
            assert status["chain"]["ready"] is True
            assert status["chain"]["problems"] == []
            assert status["network"]["nakamoto"] == 2
            sample = mesh[1].metrics.registry.get_sample_value
            assert (sample("mycelium_epoch"), sample("mycelium_chain_ready")) == (1, 1)
            assert sample("mycelium_chain_head_age_seconds") >= 0

    with chain_of(network):
        run(main())


def test_who_loses_its_permit_writes_no_more_until_it_has_it_again(tmp_path):
    network = prepared(tmp_path)

    async def main(chain):
        async with started(network) as mesh:
            late = mesh[2].database.table("records")
            await late.put("before", 1)
            await agreed(mesh.nodes)
            chain.faults.remove_permit(NETUID, 2)
            # Not yet: roles are those of the epoch's first block.
            await late.put("still", 1)
            await agreed(mesh.nodes)
            pass_epoch(chain)
            await entered(mesh.nodes, 2)
            with pytest.raises(Unauthorised, match="may not write"):
                await late.put("after", 1)
            await until(lambda: not mesh[2].replicator.members(), "the sessions end")
            await mesh[0].database.table("records").put("without", 1)
            await agreed(mesh.nodes[:2])
            assert await late.get("without") is None
            assert "has no validator permit" in mesh[2].status()["chain"]["problems"][0]
            chain.faults.give_permit(NETUID, 2)
            pass_epoch(chain)
            await entered(mesh.nodes, 3)
            await late.put("again", 1)
            await agreed(mesh.nodes)
            assert await mesh[0].database.table("records").get("again") == 1

    with chain_of(network) as chain:
        run(main(chain))


def test_a_node_that_was_away_for_epochs_takes_what_was_written_in_them(tmp_path):
    network = prepared(tmp_path)

    async def main(chain):
        async with started(network) as mesh:
            await mesh.stop(2)
            for number in range(2, 8):
                pass_epoch(chain)
                await entered(mesh.nodes, number)
                for node in mesh.nodes:
                    await node.database.table("facts").put(f"epoch {number}", node.url)
            await mesh.start(2)
            await agreed(mesh.nodes)
            assert len(await mesh[2].database.table("facts").get("epoch 4")) == 2

    with chain_of(network) as chain:
        run(main(chain))


def test_an_outage_of_the_chain_stops_writes_in_the_end_and_ends_by_itself(tmp_path):
    network = prepared(tmp_path, 2)

    async def main():
        with contextlib.ExitStack() as first:
            first.enter_context(chain_of(network))
            async with started(network) as mesh:
                first.close()
                records = mesh[0].database.table("records")
                await records.put("during", 1)
                await agreed(mesh.nodes)
                later = [0]
                for node in mesh.nodes:
                    set_clock(node, lambda: wall_ms() + later[0])
                later[0] = 3_300_000
                with pytest.raises(ChainOutage, match="s old: nothing can be written"):
                    await records.put("too late", 1)
                assert await records.get("during") == 1
                status = mesh[0].status()["chain"]
                assert status["ready"] is False
                assert "check the endpoints" in status["problems"][0]
                # The same blocks again, as it was never gone, and some more; the clock is right again too.
                later[0] = 0
                with chain_of(network, 2 * EPOCH + 5):
                    await entered(mesh.nodes, 2)
                    await records.put("after", 1)
                    await agreed(mesh.nodes)

    run(main())


def test_a_restart_during_an_outage(tmp_path):
    network = prepared(tmp_path, 2)

    async def once():
        async with Node.open(network.nodes[0].config) as node:
            await node.database.table("records").put(str(time.monotonic_ns()), 1)

    with chain_of(network):
        run(once())
    run(once())


RULING = encode(
    {
        "version": 1,
        "rules": [
            {"who": "owner", "tables": "*", "may": ["read", "put", "delete", "admin"]},
            {"who": "validator", "tables": "*", "may": ["read"]},
            {"who": "validator", "tables": "main/records", "may": ["put"], "keys": {"prefix": "v/"}},
            {"who": "miner", "tables": "main/hits", "may": ["read"], "keys": {"prefix": "public/"}},
        ],
    }
)


async def ruled(chain, network, mesh):
    """The policy is published by the owner, named on chain, and in force in epoch 2; its digest."""
    owner = network.validators[0].hotkey
    async with connect(mesh[0].url, owner) as remote:
        info = await remote.publish_policy(RULING)
        assert (await remote.policy()).digest is None
    with Connection(chain.url, cache_dir=None) as connection:
        call = connection.compose("Commitments", "set_commitment", policy_commitment(NETUID, info.digest))
        connection.submit(call, owner, wait="submitted")
    await mesh[1].database.table("records").put("free", 1)
    pass_epoch(chain)
    await entered(mesh.nodes, 2)
    await until(lambda: not any(node.authority.policy_missing() for node in mesh.nodes), "the policy")
    return info.digest


def test_a_policy_on_chain_decides_who_writes_and_who_sees_what(tmp_path):
    network = prepared(tmp_path)

    async def main(chain):
        async with started(network) as mesh:
            name = await ruled(chain, network, mesh)
            with pytest.raises(Unauthorised, match="may not put the key b'free'"):
                await mesh[1].database.table("records").put("free", 2)
            await mesh[1].database.table("records").put("v/1", 1)
            await mesh[0].database.table("records").put("free", 3)
            await mesh[0].database.table("hits").add("public/a", 5)
            await mesh[0].database.table("hits").add("secret", 5)
            await agreed(mesh.nodes)
            # A miner is no member: it is a program that sees what the policy lets it.
            async with connect(mesh[2].url, network.miners[0].hotkey) as remote:
                hits = remote.database.table("hits")
                assert [row.key async for row in hits.scan()] == ["public/a"]
                assert await hits.get("public/a") == 5
                with pytest.raises(Unauthorised):
                    await hits.get("secret")
                with pytest.raises(Unauthorised):
                    await remote.policy()
            assert mesh[1].status()["chain"]["policy"] == name.hex()

    with chain_of(network) as chain:
        run(main(chain))


def test_a_grant_lets_a_node_write_what_the_policy_does_not(tmp_path):
    network = prepared(tmp_path)
    second = network.validators[1].hotkey.account

    async def main(chain):
        async with started(network) as mesh:
            await ruled(chain, network, mesh)
            await mesh.stop(1)
            token = grants.issue(
                network.validators[0].hotkey,
                second,
                "main",
                "records",
                Action.PUT,
                network=grants.network_id(NETUID, chain.genesis),
                epochs=(2, 3),
            )
            (network.nodes[1].directory / "records.grant").write_text(token.hex() + "\n")
            config = network.nodes[1].config
            config.write_text(config.read_text() + '\n[auth]\ngrants = ["records.grant"]\n')
            await mesh.start(1)
            await mesh[1].database.table("records").put("free", 4)
            await agreed(mesh.nodes)
            assert await mesh[2].database.table("records").get("free") == 4
            for number in (3, 4):
                pass_epoch(chain)
                await entered(mesh.nodes, number)
            with pytest.raises(Unauthorised):
                await mesh[1].database.table("records").put("free", 5)

    with chain_of(network) as chain:
        run(main(chain))


@pytest.mark.parametrize(
    ("text", "said"), [("zz", "non-hexadecimal"), ("00", "no grant"), (None, "No such file")]
)
def test_a_grant_that_is_none(tmp_path, text, said):
    network = prepared(tmp_path, 1)
    config = network.nodes[0].config
    config.write_text(config.read_text() + '\n[auth]\ngrants = ["x.grant"]\n')
    if text is not None:
        config.with_name("x.grant").write_text(text)
    with chain_of(network), pytest.raises(ConfigError, match=said):
        run(opened(config))


def test_a_grant_of_another_account(tmp_path):
    network = prepared(tmp_path, 1)
    config = network.nodes[0].config
    config.write_text(config.read_text() + '\n[auth]\ngrants = ["x.grant"]\n')
    with chain_of(network) as chain:
        token = grants.issue(
            Keypair.generate(),
            b"x" * 32,
            "main",
            "*",
            Action.PUT,
            network=grants.network_id(NETUID, chain.genesis),
            epochs=(0, 1),
        )
        config.with_name("x.grant").write_text(token.hex())
        with pytest.raises(ConfigError, match="not to this node's account"):
            run(opened(config))


def test_the_log_of_who_departed_is_sealed(tmp_path):
    network = prepared(tmp_path)

    async def main(chain):
        async with started(network) as mesh:
            await mesh[2].database.table("records").put("before", 1)
            await agreed(mesh.nodes)
            chain.faults.remove_permit(NETUID, 2)
            for number in (2, 3):
                pass_epoch(chain)
                await entered(mesh.nodes, number)
            seals = mesh[0].database.system("seals")

            def attested():
                return {node.database.engine.vector_digest("sys") for node in mesh.nodes[:2]}

            async def said():
                return [row.value async for row in seals.scan()]

            async with asyncio.timeout(30):
                while len(await said()) < 2 or len(attested()) > 1:
                    await asyncio.sleep(0.05)
            generation = str(mesh[2].generation)
            assert {row["main"][generation] for row in await said()} == {1}
            chain.faults.give_permit(NETUID, 2)
            pass_epoch(chain)
            await entered(mesh.nodes, 4)
            await mesh[2].database.table("records").put("after", 1)
            await agreed(mesh.nodes)

    with chain_of(network) as chain:
        run(main(chain))


# --- refused, in one line ---------------------------------------------------------------------------------


async def opened(config):
    async with Node.open(config):
        pytest.fail("it opened")


def test_an_endpoint_that_does_not_answer(tmp_path):
    network = prepared(tmp_path, 1)
    with pytest.raises(ChainUnreachable, match=r"(?s)does not answer.*check the endpoints"):
        run(opened(network.nodes[0].config))
    assert not network.nodes[0].data_dir.exists()


def test_another_chain(tmp_path):
    mine, other = prepared(tmp_path, 1), chainlayout.prepare(tmp_path / "other", 1)
    config = mine.nodes[0].config

    async def once():
        async with Node.open(config):
            pass

    with chain_of(mine), chain_of(other):
        run(once())
        text = config.read_text()
        config.write_text(text.replace(mine.chain.url, other.chain.url))
        with pytest.raises(WrongChain, match="is another chain"):
            run(opened(config))
        other_genesis = "0x" + "22" * 32
        config.write_text(text.replace("netuid = 1", f'netuid = 1\ngenesis = "{other_genesis}"'))
        with pytest.raises(StoreForeign, match="belongs to genesis"):
            run(opened(config))


def test_a_node_that_cannot_be_made_leaves_nothing_open(tmp_path, monkeypatch):
    network = prepared(tmp_path, 1)
    config = network.nodes[0].config

    def broken(*arguments, **keywords):
        raise RuntimeError("no hub")

    with chain_of(network) as chain:
        with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="no hub"):
            patched.setattr("mycelium.node.node.Hub", broken)
            run(opened(config))
        assert not chain.run(lambda _: chain.server.connections)

        async def opens():
            async with Node.open(config):
                pass

        run(opens())


def test_a_subnet_that_does_not_exist(tmp_path):
    network = prepared(tmp_path, 1)
    config = network.nodes[0].config
    text = config.read_text().replace("netuid = 1", "netuid = 9")
    with chain_of(network):
        config.write_text(text)
        with pytest.raises(ChainError, match="no subnet 9"):
            run(opened(config))


def test_the_length_of_an_epoch_is_fixed_when_there_is_one(tmp_path):
    network = prepared(tmp_path, 1)
    config = network.nodes[0].config
    text = config.read_text()

    def with_epochs_of(blocks):
        config.write_text(text.replace(f"epoch_blocks = {EPOCH}", f"epoch_blocks = {blocks}"))

    async def tempo():
        async with Node.open(config) as node:
            return node.source.tempo

    with chain_of(network):
        with_epochs_of(11)
        assert run(tempo()) == 11
        with_epochs_of(21)
        with pytest.raises(ConfigError, match="was begun with epochs of 11 blocks, not 21"):
            run(opened(config))


def test_a_hotkey_that_is_not_registered_is_said(tmp_path, caplog):
    network = prepared(tmp_path, 1)
    from mycelium.identity import wallet

    stranger = Keypair.generate()
    wallet.write_file(tmp_path / "stranger.json", stranger)
    config = network.nodes[0].config
    lines = [line for line in config.read_text().splitlines() if not line.startswith("key_file")]
    at = lines.index("[identity]")
    lines.insert(at + 1, f'key_file = "{tmp_path / "stranger.json"}"')
    config.write_text("\n".join(lines))

    async def main():
        async with Node.open(config) as node:
            (problem,) = node.status()["chain"]["problems"]
            assert "is not registered in subnet 1" in problem
            assert "btcli subnets register --netuid 1" in problem
            with pytest.raises(Unauthorised):
                await node.database.table("records").put("k", 1)

    with chain_of(network):
        run(main())
    assert "is not registered in subnet 1" in caplog.text


def test_known_networks_need_no_connection_to_be_known(tmp_path):
    network = prepared(tmp_path, 1)
    config = network.nodes[0].config
    config.write_text(
        config.read_text().replace(f'endpoints = ["{network.chain.url}"]', 'network = "finney"')
    )

    async def main():
        joined = await joining.find(Settings.load(config))
        try:
            assert joined.genesis.hex().startswith("2f0555cc")
            assert joined.members is None
        finally:
            joined.close()

    run(main())
