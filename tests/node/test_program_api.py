"""What programs ask beside tables: by the node's settings file, for the epoch, for the signed history."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import kit
import pytest
from node.test_service import Direct

import mycelium
from mycelium.database.access import Rights
from mycelium.database.policy import MINER, parse
from mycelium.devnet.layout import TABLES, prepare
from mycelium.errors import ConfigError, Unauthorised, Unreachable, UsageError, WrongPeer
from mycelium.metagraph.membership import Epoch, Member
from mycelium.node import calls
from mycelium.node.remote import RemoteDatabase
from mycelium.node.service import Service
from mycelium.node.settings import Settings

READER = kit.keypair("reader").account


def test_by_the_settings_of_the_node(tmp_path):
    async def main():
        place, other = prepare(tmp_path / "net", 2)
        with pytest.raises(Unreachable):
            await mycelium.connect(place.config)
        async with mycelium.Node.open(place.config) as node, mycelium.connect(str(place.config)) as remote:
            assert (remote.account, remote.url) == (node.account, place.url)
            assert set(remote.database.tables) == {name for name, _ in TABLES}
            # The account that a program expects beside its settings is the one that counts.
            with pytest.raises(WrongPeer):
                await mycelium.connect(place.config, account=other.address)

    asyncio.run(main())


def test_what_names_no_node_is_refused_before_anything_is_dialled(tmp_path):
    with pytest.raises(UsageError, match="an address needs a keypair"):
        mycelium.connect("ws://127.0.0.1:1")
    with pytest.raises(ConfigError, match="no such configuration file"):
        mycelium.connect(tmp_path / "none.toml")


def test_the_epoch_is_the_same_in_the_process_and_from_another(tmp_path):
    async def main():
        owner, validator = prepare(tmp_path / "net", 2)
        async with mycelium.Node.open(owner.config) as node, mycelium.connect(owner.config) as remote:
            found = await remote.epoch()
            assert found.members == (await node.epoch()).members
            assert (node.address, remote.address) == (owner.address, owner.address)
            assert [member.address for member in found.members if member.role == "owner"] == [owner.address]
            assert found.stakes == {owner.address: 10**12, validator.address: 10**12}
            assert found.first_block <= found.block < found.first_block + found.epoch_blocks
            assert (node.network.netuid, len(node.network.genesis)) == (node.settings.netuid, 32)

    asyncio.run(main())


def test_an_epoch_counts_the_stake_of_those_who_write():
    members = {
        bytes((number,)) * 32: Member(
            bytes((number,)) * 32, role, number, uid=None if number == 4 else number
        )
        for number, role in enumerate(("owner", "validator", "miner", "observer"), start=1)
    }
    found = calls.decode(calls.encode(calls.epoch_info(Epoch(7, members), 2530, 360)), calls.EpochInfo)
    assert (found.number, found.first_block, found.block) == (7, 2520, 2530)
    assert sorted(found.stakes.values()) == [1, 2]
    assert [(member.role, member.uid) for member in found.members] == [
        ("owner", 1),
        ("validator", 2),
        ("miner", 3),
        ("observer", None),
    ]


def served(scenario, rules=None, **options):
    """Run `scenario(database, remote)`; with rules, as a miner to whom they apply."""

    async def main():
        database = kit.database("one")
        rights = Rights(parse(json.dumps({"version": 1, "rules": rules or []}).encode()), MINER, READER)
        service = Service(database, dict, rights_now=lambda account: rights, **options)
        account = database.account if rules is None else READER
        try:
            await scenario(database, RemoteDatabase(Direct(service, account), database.tables, 5.0))
        finally:
            await database.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "rules", [None, [{"who": "miner", "tables": "main/*", "may": ["read"]}]], ids=["own", "policy"]
)
def test_the_history_comes_over_a_connection_as_it_is(rules):
    async def scenario(database, remote):
        await database.table("scores").put("large", b"x" * 300_000)
        await database.table("scores").put("small", 1)
        found = [batch async for batch in remote.history("main")]
        assert found == [batch async for batch in database.history("main")]
        assert [batch async for batch in remote.history("main", READER)] == []
        verifier = mycelium.Verifier(kit.NETUID, kit.GENESIS)
        assert [fact.key for batch in found for fact in verifier.take(batch)] == ["large", "small"]

    served(scenario, rules)


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{"who": "miner", "tables": "other/*", "may": ["read"]}],
        [{"who": "miner", "tables": "main/scores", "may": ["read"]}],
        [{"who": "miner", "tables": "main/*", "may": ["read"], "keys": {"prefix": "a"}}],
        [{"who": "miner", "tables": "main/*", "may": ["put"]}],
    ],
    ids=["nothing", "another space", "a table", "a range", "writes"],
)
def test_the_history_is_for_who_may_read_all_of_the_space(rules):
    async def scenario(database, remote):
        await database.table("scores").put("a", 1)
        with pytest.raises(Unauthorised, match="may not read all of the space 'main'"):
            [batch async for batch in remote.history("main")]

    served(scenario, rules)


def test_a_service_without_epochs_says_so():
    async def scenario(database, remote):
        del database
        with pytest.raises(UsageError, match="follows no epochs"):
            await remote.ask(calls.EPOCH, b"", calls.EpochInfo)

    served(scenario)


def test_settings_are_public(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    assert mycelium.Settings is Settings
    assert replace(Settings.load(place.config), port=1).url == "ws://127.0.0.1:1"
