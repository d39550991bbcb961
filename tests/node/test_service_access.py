"""What an account that is no client sees through a node: under random policies, a subset of what it is allowed."""

from __future__ import annotations

import asyncio
import json

import kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node.test_service import Direct

from mycelium.database.access import Rights
from mycelium.database.policy import MINER, Action, parse
from mycelium.database.ranges import Ranges
from mycelium.errors import Unauthorised, WatchBroken
from mycelium.node.remote import RemoteDatabase
from mycelium.node.service import Service

MINE = kit.keypair("reader").account
KEYS = ["a", "ab", "b", "ba", "c\x00d", "\xff"]
TABLES = ("scores", "hits", "tags", "events")
RULES = st.lists(
    st.builds(
        lambda tables, keys: {
            "who": "miner",
            "tables": tables,
            "may": ["read"],
            **({"keys": keys} if keys else {}),
        },
        st.sampled_from(["*", "main/*", "main/scores", "main/hits", "main/tags", "other/*"]),
        st.none()
        | st.sampled_from([{"prefix": "a"}, {"from": "ab"}, {"from": "b", "to": "c"}, {"prefix": "c"}]),
    ),
    max_size=3,
)


def policy(rules):
    return parse(json.dumps({"version": 1, "rules": rules}).encode())


def world(scenario, rules):
    async def main():
        database = kit.database("one")
        ruling = [policy(rules)]
        service = Service(database, dict, rights_now=lambda account: Rights(ruling[0], MINER, account))
        remote = RemoteDatabase(Direct(service, MINE), database.tables, 5.0)
        try:
            return await scenario(database, remote, ruling)
        finally:
            await database.close()

    return asyncio.run(main())


async def filled(database):
    for key in KEYS:
        await database.table("scores").put(key, f"value of {key}")
        await database.table("hits").add(key, 2)
        await database.table("tags").insert(key, "x")
        await database.table("events").put(key, "happened")
        await database.table("aside").put(key, "aside")


async def seen(awaitable, nothing):
    try:
        return await awaitable
    except Unauthorised:
        return nothing


async def listed(rows):
    return [row.key async for row in rows]


@settings(max_examples=40)
@given(RULES, st.none() | st.sampled_from(["a", "b"]), st.booleans(), st.none() | st.integers(0, 4))
def test_every_path_gives_a_subset_of_what_is_allowed(rules, prefix, reverse, limit):
    async def scenario(database, remote, ruling):
        await filled(database)
        for name in (*TABLES, "aside"):
            spec = database.tables[name]
            allowed = ruling[0].ranges(MINER, MINE, Action.READ, spec.space, name)
            visible = [key for key in sorted(KEYS, key=str.encode) if key.encode() in allowed]
            assert await seen(listed(remote.table(name).scan()), []) == visible
            wanted = [key for key in visible if prefix is None or key.startswith(prefix)]
            wanted = (wanted[::-1] if reverse else wanted)[:limit]
            rows = listed(remote.table(name).scan(prefix=prefix, reverse=reverse, limit=limit))
            assert await seen(rows, []) == wanted
            assert await seen(remote.table(name).count(), 0) == len(visible)
            for key in KEYS:
                got = await seen(remote.table(name).get(key), None)
                assert (got not in (None, 0, [])) == (key in visible), (name, key)
            assert await watched(remote.table(name), visible) == visible

    world(scenario, rules)


async def watched(table, visible):
    """The keys that a watch from the beginning shows."""
    found = []
    try:
        async with asyncio.timeout(5 if visible else 0.02):
            async for change in table.watch(after=0):
                found.append(change.key)
                if len(found) == len(visible):
                    break
    except Unauthorised:
        return []
    except TimeoutError:
        assert not visible
    return sorted(found, key=str.encode)


def test_a_stranger_to_the_policy_is_refused_everything():
    async def scenario(database, remote, ruling):
        del ruling
        await filled(database)
        for refused in (
            remote.table("scores").get("a"),
            remote.table("scores").count(),
            remote.table("scores").put("a", 1),
            listed(remote.table("scores").scan()),
            remote.state(),
        ):
            with pytest.raises(Unauthorised):
                await refused

    world(scenario, [])


def test_a_reader_does_not_write_and_sees_no_state():
    async def scenario(database, remote, ruling):
        del ruling
        await filled(database)
        assert await remote.table("scores").get("a") == "value of a"
        for refused in (remote.table("scores").put("a", 1), remote.state()):
            with pytest.raises(Unauthorised, match="may not use the node"):
                await refused
        with pytest.raises(Unauthorised, match="may not read this key"):
            await remote.table("scores").get("b")

    world(scenario, [{"who": "miner", "tables": "main/scores", "may": ["read"], "keys": {"prefix": "a"}}])


def test_a_watch_ends_when_the_right_does():
    async def scenario(database, remote, ruling):
        changes = remote.table("scores").watch(after=0)
        await database.table("scores").put("a", 1)
        assert (await anext(changes)).key == "a"
        ruling[0] = policy([])
        await database.table("scores").put("a", 2)
        with pytest.raises((Unauthorised, WatchBroken)):
            await anext(changes)

    world(scenario, [{"who": "miner", "tables": "main/*", "may": ["read"]}])


def test_whole_tables_are_whole():
    assert policy([{"who": "miner", "tables": "*", "may": ["read"]}]).ranges(
        MINER, MINE, Action.READ, "main", "scores"
    ) == Ranges([(b"", None)])
