"""Snapshots between real nodes over sockets: joining by one, after the horizon, resumed, and from members that lie."""

from __future__ import annotations

import asyncio
import signal
from unittest import mock

import msgspec
import pytest
from node.surveykit import KEYS, LIVE_BATCHES, LOW, ROUNDS, at_leisure, members, overwrite
from nodekit import Mesh, Process, agreed, places, run, until

from mycelium.database import fetching, horizon
from mycelium.database.schema import META_SNAPSHOT
from mycelium.database.store import Column
from mycelium.errors import UsageError
from mycelium.node import calls, fingerprinting, snapshotserving, snapshotting, store_settings
from mycelium.node.node import Node
from mycelium.node.snapshotserving import OFFER, PAGE, ROWS, Paged
from mycelium.node.snapshotting import Mark
from mycelium.node.store_settings import StoreSettings


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Rows of this very moment are compared, as often as one likes; little is much, and what is old may go."""
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_FRESH_MS", -60_000)
    monkeypatch.setattr(fingerprinting, "FINGERPRINT_SERVE_MS", 0)
    monkeypatch.setattr(snapshotting, "SNAPSHOT_COMPARE_MS", 200)
    monkeypatch.setattr(snapshotting, "SNAPSHOT_OFFER_MS", 500)
    monkeypatch.setattr(store_settings, "SNAPSHOT_LACK_MIN", 100)
    monkeypatch.setattr(horizon, "LOG_KEEP_EPOCHS_MIN", 0)
    monkeypatch.setattr(fetching, "SNAPSHOT_RANGE_MIN", 20)


async def join(mesh, number, avoid=()):
    """Start a node to which ordinary sync of `main` brings nothing before a snapshot did.

    avoid: members that it does not fetch from.
    """
    start = Node.start

    async def held_back(node):
        node.replicator.sync.suspended.add("main")
        node.snapshotting._avoided |= dict.fromkeys((one.account for one in avoid), node.now_ms() + 500_000)
        node.snapshotting._offer_ms["main"] = node.now_ms() + 500_000
        await start(node)

    with mock.patch.object(Node, "start", held_back):
        node = await mesh.start(number)
    await mesh.connected()
    node.snapshotting._offer_ms.clear()
    return node


def logged(node) -> int:
    return len(list(node.database.store.scan(Column.LOG, LOW, LOW + b"\xff")))


async def compared(node):
    await until(lambda: node.snapshotting.counts["fetches"] > 0, "a snapshot")
    await until(lambda: not node.snapshotting.status()["spaces"], "compared with two")


# --- joining ----------------------------------------------------------------------------------------------


def test_a_node_that_lacks_much_joins_by_a_snapshot(tmp_path):
    async def main():
        async with members(tmp_path, 4) as mesh:
            joiner = await join(mesh, 3)
            await compared(joiner)
            await agreed(mesh.nodes)
            assert logged(joiner) == LIVE_BATCHES < logged(mesh[0])
            status = joiner.status()["snapshots"]
            assert (status["fetches"], status["compared"], status["withheld"]) == (1, 2, 0)
            assert status["voided"] == ["main"]
            assert sum(node.snapshotserving.counts["pages"] for node in mesh.nodes[:3]) >= 1
            await joiner.database.table("scores").put("k0000", "new", ack=1)
            await agreed(mesh.nodes)

    run(main())


def test_a_node_that_comes_back_after_the_horizon_is_told_so_and_takes_a_snapshot(tmp_path):
    async def main():
        async with members(tmp_path, 4, joins=0) as mesh:
            mesh.changes[3] = {"store": StoreSettings(None, 10**9)}  # however much it lacks
            await mesh.stop(3)
            await overwrite(mesh[0], 2)
            await agreed(mesh.nodes)
            for node in mesh.nodes:
                assert (await node.trimming.trim())["dropped"] >= KEYS // 10
            late = await mesh.start(3)
            before = logged(late)
            await compared(late)
            await agreed(mesh.nodes)
            assert logged(late) < before + 2 * KEYS // 10
            assert late.snapshotting.counts["withheld"] == 0

    run(main())


def test_where_one_has_all_of_the_log_ordinary_sync_brings_it(tmp_path):
    async def main():
        async with members(tmp_path, 4) as mesh:
            for number in (0, 1):
                await mesh[number].trimming.trim()
            mesh.changes[3] = {"store": StoreSettings(None, 0)}
            joiner = await mesh.start(3)
            await agreed(mesh.nodes, 50)
            assert joiner.snapshotting.counts["fetches"] == 0
            assert logged(joiner) == logged(mesh[2])
            assert not joiner.database.engine.voided

    run(main())


def test_until_others_agree_it_says_so(tmp_path):
    async def main():
        async with members(tmp_path, 2) as mesh:
            joiner = await join(mesh, 1)
            await until(lambda: joiner.snapshotting.counts["compared"] > 0)
            await until(lambda: joiner.snapshotting.status()["spaces"]["main"]["compared_with"] == 1)
            assert joiner.snapshotting.status()["spaces"]["main"]["compare_with"] == 2
            assert joiner.node_status().status == "comparing a snapshot"
            await mesh.stop(1)
            again = await mesh.start(1)
            assert again.snapshotting.status()["spaces"]["main"]["compared_with"] == 1, "also after a restart"
            await agreed(mesh.nodes)

    run(main())


def test_a_note_that_is_unreadable_means_comparing_anew(tmp_path):
    async def main():
        async with members(tmp_path, 2) as mesh:
            store = mesh[0].database.store
            write = store.batch()
            write.put(META_SNAPSHOT + b"main", b"\xc1", store.column(Column.META))
            store.commit(write)
            assert mesh[0].snapshotting._load() == {"main": Mark([], [])}

    run(main())


def test_a_survey_that_takes_its_time_is_waited_for_at_a_pace_that_its_maker_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshotserving, "SNAPSHOT_OFFERS_BURST", 3)
    at_leisure(monkeypatch, 2)

    async def main():
        async with members(tmp_path, 2) as mesh:
            joiner = await join(mesh, 1)
            await until(lambda: joiner.snapshotting.counts["fetches"] > 0, "a snapshot")
            assert mesh[0].snapshotserving.counts["refused"] == 0

    run(main())


def slowly(node, asked=None):
    """Let a member take its time for each page. asked: told the number that it begins with."""
    page = node.peercalls._handlers[PAGE]

    async def handler(link, body):
        if asked is not None:
            asked.append(msgspec.msgpack.decode(body)[3])
        await asyncio.sleep(0.05)
        return await page(link, body)

    node.peercalls._handlers[PAGE] = handler


def test_a_node_that_is_killed_goes_on_from_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshotserving, "SNAPSHOT_PAGE_BYTES", 3_000)
    asked = []

    async def main():
        async with members(tmp_path, 3) as mesh:
            for node in mesh.nodes:
                slowly(node, asked)
                monkeypatch.setattr(node.replicator.sync, "request", lambda peer, request, now_ms: None)
            place = mesh.places[2]
            place.config.write_text(place.config.read_text() + "[store]\nsnapshot_lack = 100\n")
            heads = [node.database.engine.vector_digest("main") for node in mesh.nodes]
            async with Process(place) as process:
                await process.spawn()
                await process.ready()
                await until(lambda: len(asked) > 6, "some pages")
                process.signal(signal.SIGKILL)
                await process.gone()
            first = list(asked)
            asked.clear()
            joiner = await join(mesh, 2)
            await until(lambda: joiner.database.engine.vector_digest("main") == heads[0])
            await agreed(mesh.nodes)
            # A page that was on its way when it died is asked for again, as may be the last ones that were not synced.
            assert min(asked, default=10**9) > min(first)

    run(main(), 90)


# --- who lies ---------------------------------------------------------------------------------------------


def lying(node, change):
    """Let a member change its pages: `change` is given a Paged and gives another."""
    page = node.peercalls._handlers[PAGE]

    async def handler(link, body):
        return calls.encode(change(calls.decode(await page(link, body), Paged)))

    node.peercalls._handlers[PAGE] = handler


def test_a_forged_batch_ends_the_session_of_who_gave_it_and_others_give_the_right_one(tmp_path):
    def forge(paged):
        bad = [(raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:], sig) for raw, sig in paged.batches]
        return Paged(bad, paged.following)

    async def main():
        async with members(tmp_path, 5) as mesh:
            lying(mesh[1], forge)
            for number in (0, 2, 3):
                slowly(mesh[number])  # it is asked for most of it
            joiner = await join(mesh, 4)
            await until(lambda: mesh[1].account in joiner.snapshotting._avoided, "it is found out")
            assert joiner.blacklisting.machine.scores.score(mesh[1].account, joiner.now_ms()) != 0
            await compared(joiner)
            await agreed([joiner, mesh[0], mesh[2], mesh[3]])
            assert joiner.snapshotting.counts["withheld"] == 0

    run(main())


def test_what_was_withheld_is_found_row_by_row_and_fetched_from_who_has_it(tmp_path):
    def withhold(paged):
        return Paged(paged.batches[-1:], paged.following)

    async def main():
        async with members(tmp_path, 4) as mesh:
            lying(mesh[0], withhold)
            joiner = await join(mesh, 3, avoid=mesh.nodes[1:3])
            await until(lambda: joiner.snapshotting.counts["fetches"] == 1)
            await until(
                lambda: (
                    joiner.database.engine.vector_digest("main")
                    == mesh[1].database.engine.vector_digest("main")
                )
            )
            assert joiner.snapshotting.word is not None
            await until(lambda: joiner.snapshotting.counts["withheld"] > 0, "it shows")
            await compared(joiner)
            await until(lambda: not joiner.fingerprinting._suspects)
            await agreed(mesh.nodes)
            assert await joiner.database.table("hits").get("all") == ROUNDS, "counters with them"
            assert mesh[0].account in joiner.snapshotting._avoided
            assert joiner.snapshotting.counts["fetches"] == 2
            assert mesh[1].fingerprinting.counts["repaired"] == 0

    run(main())


def test_a_member_that_withheld_from_us_is_shown_its_own_rows_too(tmp_path):
    """The one that lacks rows is asked by the other: it fetches what they are from, and is right then."""

    async def main():
        async with members(tmp_path, 4) as mesh:
            lying(mesh[0], lambda paged: Paged(paged.batches[-1:], paged.following))
            joiner = await join(mesh, 3, avoid=mesh.nodes[1:3])
            await until(lambda: joiner.snapshotting.counts["fetches"] == 1)
            joiner.snapshotting._compare_ms["main"] = joiner.now_ms() + 500_000  # it does not look by itself
            await until(lambda: not joiner.snapshotting._tasks)
            found = await mesh[1].fingerprinting.compare(joiner.account, "main")
            assert found
            await until(lambda: joiner.snapshotting.counts["withheld"] > 0)

    run(main())


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (PAGE, b"\xc1"),
        (PAGE, calls.encode(Paged([(b"x", b"y")], 0))),
        (PAGE, calls.encode(Paged([], 7))),
        (OFFER, b"\x93"),
        (OFFER, calls.encode([True, False, [(b"x", "y", 1)]])),
    ],
    ids=["no page", "no batch", "endless", "no offer", "no vector"],
)
def test_nonsense_is_refused_and_others_are_asked(tmp_path, method, answer):
    async def main():
        async with members(tmp_path, 4) as mesh:

            async def nonsense(link, body):
                return answer

            mesh[0].peercalls._handlers[method] = nonsense
            for number in (1, 2):
                slowly(mesh[number])
            joiner = await join(mesh, 3)
            await until(lambda: mesh[0].account in joiner.snapshotting._avoided)
            await until(lambda: joiner.snapshotting.counts["fetches"] > 0)
            await agreed([joiner, mesh[1], mesh[2]])

    run(main())


def test_rows_that_are_answered_with_nonsense_cost_the_one_who_does_its_session(tmp_path):
    async def main():
        async with members(tmp_path, 3, trimmed=True) as mesh:
            one, other = mesh.nodes
            keys = [key for key, _ in one.database.store.scan(Column.LIVE, LOW, LOW + b"\xff")]
            assert await one.snapshotting._filling.fill(other.account, "main", keys) == 0, "it has them all"
            for answer in ([[], 0], [[], len(keys) + 9], [[(b"x", b"y")], 1], "none"):

                async def nonsense(link, body, said=answer):
                    return calls.encode(said)

                other.peercalls._handlers[ROWS] = nonsense
                await mesh.connected()
                assert await one.snapshotting._filling.fill(other.account, "main", keys) == 0
                assert other.account in one.snapshotting._avoided
                await until(lambda: one.hub.link_of(other.account) is None)
                one.snapshotting._avoided.clear()
                await one.blacklisting.remove(other.account)

    run(main())


# --- trimming ---------------------------------------------------------------------------------------------


def test_trimming_by_the_api_and_by_the_clock(tmp_path):
    async def main():
        async with members(tmp_path, 2) as mesh:
            node = mesh[0]
            state = await node.database.state_digest("main")
            found = await asyncio.gather(node.trimming.trim(), node.trimming.trim())
            assert found[0] == found[1], "one walk for both"
            assert found[0]["dropped"] == KEYS // 10 * (ROUNDS - 1)
            assert node.status()["log"]["dropped"] == found[0]["dropped"]
            assert await node.database.state_digest("main") == state
            await overwrite(node, 1)

            def trimmed():
                node.trimming._due_ms = node.now_ms()
                node.trimming.tick()
                return node.status()["log"]["dropped"] >= KEYS // 10 * ROUNDS

            await until(trimmed)

    run(main())


def test_without_the_setting_nothing_is_dropped(tmp_path):
    async def main():
        async with Mesh(places(tmp_path, 1)) as mesh:
            node = await mesh.start(0)
            await overwrite(node, 2)
            with pytest.raises(UsageError, match="log_keep_hours"):
                await node.trimming.trim()
            node.trimming._due_ms = node.now_ms()
            node.trimming.tick()
            await until(lambda: node.trimming._task is None)
            log = node.status()["log"]
            assert (log["log_keep_hours"], log["dropped"]) == (None, 0)

    run(main())
