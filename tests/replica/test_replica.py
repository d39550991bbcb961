"""A replica in this process: the same state as the node, and the same answers; no writes, no hotkey, no mesh."""

from __future__ import annotations

import logging
import stat
from collections import Counter
from contextlib import aclosing

import kit
import pytest
from jetstream.followkit import connected
from nodekit import Mesh, places, run, until
from replica.replicakit import bridged, equal, replica, replica_file, streams

import mycelium
from mycelium.admin.exposition import render
from mycelium.errors import ConfigError, StoreForeign, Unauthorised, UsageError, WrongPeer
from mycelium.identity import wallet
from mycelium.metagraph.membership import Epoch, StaticSource
from mycelium.node.settings import Settings
from mycelium.replica import replica as replica_module
from mycelium.replica.key import open_key
from mycelium.replica.replica import Replica
from mycelium.replica.status import families

READER = kit.keypair("reader")


async def filled(node) -> None:
    """A bit of every merge type."""
    database = node.database
    for number in range(5):
        await database.table("scores").put(f"k{number}", {"score": number}, ack="applied")
        await database.table("hits").add(f"k{number % 2}", number, ack="applied")
        await database.table("tags").insert("all", f"t{number}", ack="applied")
        await database.table("events").put("log", f"happened {number}", ack="applied")
        await database.table("profile").put(f"{node.address}/name", "n", ack="applied")
    await database.table("scores").delete("k0")


def world(tmp_path, server, scenario, *, clients=(), more=""):
    """Run `scenario(node, replica, client, path)` with a bridged node and a replica of it."""

    async def main():
        (place,) = places(tmp_path, 1, extra=[READER])
        path = replica_file(place, clients=clients, more=more)
        async with Mesh([place]) as mesh, connected(server.url) as client:
            node = await mesh.start()
            await streams(client)
            async with bridged(node, client), replica(path, client) as one:
                await filled(node)
                await equal(one, node)
                return await scenario(node, one, client, path)

    return run(main())


def test_it_holds_what_the_node_holds(tmp_path, clean):
    async def scenario(node, one, client, path):
        assert await one.database.state_digests() == await node.database.state_digests()
        await node.database.table("scores").put("late", 1)
        await equal(one, node)
        assert await one.database.table("scores").get("late") == 1
        assert one.hub.links() == []

    world(tmp_path, clean, scenario)


def test_its_key_is_its_own_and_stays(tmp_path, clean):
    async def scenario(node, one, client, path):
        file = one.settings.data_dir / "replica.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert wallet.load_file(file).account == one.account != node.account
        assert one.source.epoch().role(one.account) is None
        return one.account, path

    account, path = world(tmp_path, clean, scenario)
    assert open_key(Settings.load(path).data_dir).account == account


def test_clients_expect_its_account(tmp_path, clean):
    async def scenario(node, one, client, path):
        async with mycelium.connect(one.url, READER, one.account) as remote:
            assert remote.account == one.account
            assert await remote.database.table("scores").get("k1") == {"score": 1}
        with pytest.raises(WrongPeer):
            await mycelium.connect(one.url, READER, node.account)

    world(tmp_path, clean, scenario)


# --- what it answers ----------------------------------------------------------------------------------------

POLICY = (
    b'{"version": 1, "rules": ['
    b'{"who": "validator", "tables": "*", "may": ["read", "put", "delete"]},'
    b'{"who": "%(reader)s", "tables": "main/scores", "may": ["read"], "keys": {"prefix": "k1"}},'
    b'{"who": "%(reader)s", "tables": "main/hits", "may": ["read"]}]}'
)


async def outcome(awaitable):
    """What it gives, or the class and the text of the error."""
    try:
        return await awaitable
    except mycelium.errors.MyceliumError as error:
        return type(error).__name__, str(error)


async def listed(stream, most=None):
    found = []
    async with aclosing(stream) as items:
        async for item in items:
            found.append(item)
            if len(found) == most:
                break
    return found


async def answers(remote) -> dict:
    """Everything that a reader can ask, but for what names the node itself."""
    database = remote.database
    found = {}
    for name in ("scores", "hits", "tags", "events", "profile"):
        if name not in database.tables:
            found[name] = "is not shown"
            continue
        table = database.table(name)
        for key in ("k1", "k2", "all", "log", "none"):
            found[f"get {name} {key}"] = await outcome(table.get(key))
        found[f"scan {name}"] = await outcome(listed(table.scan()))
        found[f"scan {name} some"] = await outcome(listed(table.scan(prefix="k", limit=2, reverse=True)))
        found[f"count {name}"] = await outcome(table.count())
    for name in ("sys", "main", "nowhere"):
        batches = await outcome(listed(database.history(name)))
        found[f"history {name}"] = sorted(batches) if isinstance(batches, list) else batches
    found["rows"] = await outcome(rows(remote))
    return found


async def rows(remote):
    export = remote.export()
    return sorted([row async for page in export.pages() for row in page])


@pytest.mark.parametrize("who", ["validator", "reader", "miner"])
def test_it_answers_as_the_node_does(tmp_path, clean, who, monkeypatch):
    """Under a policy that lets a reader see a part; the policy itself comes through the stream of `sys`."""
    from mycelium.identity import account as accounts
    from mycelium.identity.keys import digest

    pair = {"validator": kit.keypair("node 0"), "reader": kit.keypair("part"), "miner": kit.keypair("miner")}[
        who
    ]
    policy = POLICY.replace(b"%(reader)s", accounts.format(kit.keypair("part").account).encode())
    monkeypatch.setattr(
        StaticSource, "epoch_at", lambda self, number: Epoch(number, self.members, digest(policy))
    )

    async def main():
        (place,) = places(tmp_path, 1, extra=[READER])
        path = replica_file(place)
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            async with mycelium.connect(node.url, place.keypair) as own:
                await own.publish_policy(policy)
            async with bridged(node, client), replica(path, client) as one:
                await filled(node)
                await equal(one, node)
                for at in (node, one):
                    assert at.authority.policy_missing() is None
                found = []
                for at in (node, one):
                    try:
                        async with mycelium.connect(at.url, pair, at.account) as remote:
                            found.append(await answers(remote))
                    except Unauthorised:
                        found.append("no session")
                if who == "validator":
                    # At its own node it may do everything; here what the policy lets it, which is to read it all.
                    assert found[0].keys() == found[1].keys()
                assert found[0] == found[1]
                assert (found[0] == "no session") == (who == "miner")
                if who == "reader":
                    assert found[1]["get scores k1"] == {"score": 1}
                    assert found[1]["get scores k2"][0] == "Unauthorised"
                    assert found[1]["tags"] == "is not shown"
                    assert found[1]["history main"][0] == "Unauthorised"

    run(main())


def test_watches_and_feeds_go_on(tmp_path, clean):
    async def scenario(node, one, client, path):
        async with mycelium.connect(one.url, READER, one.account) as remote:
            watch = remote.database.table("scores").watch(prefix="w")
            feed = remote.feed(spaces=["main"])
            await watch.start()
            await feed.start()
            await node.database.table("scores").put("w1", "one")
            change = await anext(watch)
            assert (change.key, change.value) == ("w1", "one")
            batch = await anext(feed)
            assert [one.key for one in batch.changes] == [b"w1"]
            assert batch.cursor.generation == one.database.generation
            await watch.aclose()
            await feed.aclose()

    world(tmp_path, clean, scenario)


@pytest.mark.parametrize("named", [True, False])
def test_writes_are_refused_and_told_where_they_belong(tmp_path, clean, named):
    async def scenario(node, one, client, path):
        said = "write at the node at ws://10.0.0.5:9090" if named else "write at a node of your own hotkey"
        before = await one.database.state_digests()
        for pair in (READER, kit.keypair("client")):
            async with mycelium.connect(one.url, pair, one.account) as remote:
                table = remote.database.table("scores")
                for write in (lambda: table.put("x", 1), lambda: table.delete("k1")):  # noqa: B023
                    with pytest.raises(
                        UsageError, match=f"this is a read replica, and nothing was written: {said}"
                    ):
                        await write()
                with pytest.raises(UsageError, match="read replica"):
                    async with remote.database.batch() as batch:
                        batch.put("scores", "x", 1)
        with pytest.raises(UsageError, match="read replica"):
            await one.database.table("scores").put("x", 1)
        async with mycelium.connect(one.url, kit.keypair("client"), one.account) as remote:
            with pytest.raises(UsageError, match="read replica"):
                await remote.publish_policy(b'{"version": 1, "rules": []}')
        assert await one.database.state_digests() == before
        assert one.database.engine.own_head("main") == 0

    more = '[replica]\nwrites_at = "ws://10.0.0.5:9090"\n' if named else ""
    text = more.replace("[replica]\n", "")

    async def main():
        (place,) = places(tmp_path, 1, extra=[READER])
        path = replica_file(place, clients=[kit.keypair("client")])
        path.write_text(path.read_text().replace("[replica]\n", f"[replica]\n{text}"))
        async with Mesh([place]) as mesh, connected(clean.url) as client:
            node = await mesh.start()
            await streams(client)
            async with bridged(node, client), replica(path, client) as one:
                await filled(node)
                await equal(one, node)
                await scenario(node, one, client, path)

    run(main())


# --- what it says of itself ---------------------------------------------------------------------------------


def test_status_says_where_it_is(tmp_path, clean):
    async def scenario(node, one, client, path):
        await until(lambda: one.status()["lag_messages"] == 0)
        await until(lambda: one.status()["replica"]["main"]["in_step_s"] is not None)
        await client.jetstream().publish(f"myc.7.00010203.main.{'ab' * 8}.{1:016x}", b"x" * 100)
        await until(lambda: one.status()["refused"] == 1)
        found = one.status()
        main = found["replica"]["main"]
        assert (found["role"], found["waiting"], found["lag_s"]) == ("replica", 0, 0.0)
        assert (main["state"], main["stream"]) == ("reading", "MYC-7-00010203-main")
        assert main["position"] == main["read"]
        assert main["refused"] == {"malformed": 1}
        (refusal,) = main["refusals"]
        assert refusal["message"] == main["read"]
        assert refusal["subject"].endswith(f"{'ab' * 8}.{1:016x}")
        text = render(families(one)).decode()
        assert 'mycelium_replica_refused_total{reason="malformed",space="main"} 1.0\n' in text
        assert 'mycelium_replica_lag_messages{space="main"} 0.0\n' in text
        assert "mycelium_chain_ready 1.0\n" in text

    world(tmp_path, clean, scenario)


def test_a_space_without_a_stream_is_in_step_until_it_has_one(tmp_path, clean):
    async def main():
        (place,) = places(tmp_path, 1)
        path = replica_file(place)
        async with connected(clean.url) as client, replica(path, client) as one:
            tail = one.tails["main"]
            await until(lambda: tail.in_step_ms is not None)
            assert one.status()["replica"]["main"]["state"] == "no stream"
            await streams(client, ["main"])
            await until(lambda: tail.follower.state == "reading")
            await client.jetstream().delete_stream("MYC-7-00010203-main")
            await until(lambda: tail.follower.state == "no stream")
            was_ms = tail.in_step_ms
            tail.tick()
            assert tail.in_step_ms == was_ms, "there was one, and it is gone"

    run(main())


# --- what it is opened with ---------------------------------------------------------------------------------


def test_a_hotkey_in_its_file_is_a_mistake(tmp_path):
    (place,) = places(tmp_path, 1)
    path = replica_file(place)
    path.write_text(path.read_text() + '[identity]\nkey_file = "hotkey.json"\n')
    with pytest.raises(ConfigError, match="a replica has no hotkey"):
        Settings.load(path)


def test_a_nodes_file_is_no_replicas(tmp_path):
    async def main():
        (place,) = places(tmp_path, 1)
        with pytest.raises(ConfigError, match="is a node's, not a replica's"):
            async with Replica.open(Settings.load(place.config), None):
                raise AssertionError

    run(main())


def test_a_nodes_directory_is_left_alone(tmp_path):
    async def main():
        (place,) = places(tmp_path, 1)
        async with Mesh([place]) as mesh:
            await mesh.start()
        path = replica_file(place)
        path.write_text(path.read_text().replace('data_dir = "data"', f'data_dir = "{place.data_dir}"'))
        with pytest.raises(StoreForeign, match="it is a node's, or its key is lost"):
            async with Replica.open(Settings.load(path), None):
                raise AssertionError
        assert not (place.data_dir / "replica.key").exists()

    run(main())


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("x")
    with pytest.raises(StoreForeign, match="holds no Mycelium store"):
        open_key(tmp_path / "data")
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["thesis.tex"]


def test_a_replica_killed_before_it_had_a_store_begins_again(tmp_path):
    first = open_key(tmp_path / "data")
    (tmp_path / "data" / "replica.key").unlink()
    assert open_key(tmp_path / "data").account != first.account


@pytest.mark.parametrize("failing", ["timekeeping", "what waits", "trimming"])
def test_a_part_that_fails_keeps_no_other_from_its_turn(tmp_path, clean, failing, monkeypatch, caplog):
    monkeypatch.setattr(replica_module, "REPLICA_TICK_S", 0.01)
    turns = Counter()

    async def scenario(node, one, client, path):
        def watch(name, owner, method):
            tick = getattr(owner, method)

            def turn(**given):
                turns[name] += 1
                if name == failing:
                    raise ZeroDivisionError
                return tick(**given)

            monkeypatch.setattr(owner, method, turn)

        watch("timekeeping", one.timekeeping, "tick")
        watch("trimming", one.trimming, "tick")
        watch("what waits", one, "_release")
        await until(lambda: len(turns) == 3 and min(turns.values()) > 2)

    with caplog.at_level(logging.ERROR, logger="mycelium"):
        world(tmp_path, clean, scenario)
    said = {record.getMessage() for record in caplog.records if record.exc_info}
    assert said == {f"the periodic work of {failing} failed; the others have theirs"}
