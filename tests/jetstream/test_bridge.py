"""The bridge with a real node and a real server: every batch in its stream, none twice, whatever breaks; said once."""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest
from bridgekit import world
from jskit import connected
from natskit import Servers
from nodekit import run, until

from mycelium.errors import BrokerUnsafe, Unauthorised
from mycelium.jetstream import bridge as bridge_module
from mycelium.jetstream import marks, streams
from mycelium.node import node as node_module


@pytest.fixture
def served(tmp_path):
    """Runs a test with a node and one server."""

    def served(main, count=1, seconds=30, **options):
        async def inside(nats):
            async with world(tmp_path / "node", nats) as one:
                await main(one)

        with Servers.of(tmp_path / "nats", count, **options) as nats:
            run(inside(nats), seconds)

    return served


def check(found, wanted, *, repeats=False):
    """Every batch of the feed as it was signed, each once and in the feed's order where there are no repeats."""
    by_id = dict(zip(found.ids, found.records, strict=True))
    lost = [number for number, one in enumerate(wanted) if one.id.hex() not in by_id]
    assert lost == [], f"of {len(wanted)}"
    assert [by_id[one.id.hex()] for one in wanted] == [(one.raw, one.signature) for one in wanted]
    assert by_id.keys() == {one.id.hex() for one in wanted}
    if not repeats:
        assert found.ids == [one.id.hex() for one in wanted]
        assert found.cursors == [str(one.cursor) for one in wanted]


def test_every_batch_is_in_its_stream_as_it_was_signed(served):
    async def main(one):
        await one.write(20, "before")
        async with one.bridge() as bridge:
            await one.write(20, "live")
            await one.caught_up(bridge)
            await one.write(3, "aside", table="aside")
            await one.caught_up(bridge)
            for space in ("main", "other"):
                found, wanted = await one.stored(space), await one.wanted(space)
                assert wanted
                check(found, wanted)
                batch = wanted[0]
                assert found.subjects[0] == one.network.subject(space, batch.account, batch.generation)
            status = bridge.status()
            assert status["published"] == len(await one.wanted())
            assert (status["repeated"], status["underway"], status["problems"]) == (0, 0, [])
            assert status["servers"][0]["safe"] is True

    served(main)


def test_a_bridge_that_is_started_again_repeats_nothing_and_loses_nothing(served):
    async def main(one):
        await one.write(10)
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
        await one.write(10, "between")
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
        check(await one.stored(), await one.wanted("main"))

    served(main)


def test_a_cursor_that_is_lost_is_found_in_the_streams(served, monkeypatch):
    monkeypatch.setattr(bridge_module, "WINDOW_SPAN", 8)

    async def main(one):
        await one.write(30)
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
        async with connected(one.nats) as session:
            await session.api(f"STREAM.DELETE.KV_{one.network.cursors()}")
        await one.write(10, "between")
        async with one.bridge(duplicate_window_s=1) as bridge:
            await one.caught_up(bridge)
            assert 0 < bridge.repeated <= 8, "it went back by no more than what may have been under way"
        check(await one.stored(), await one.wanted("main"))

    served(main)


def test_what_another_bridge_of_the_network_put_there_is_dropped_by_the_server(served):
    async def main(one):
        await one.write(10)
        async with one.bridge() as first, one.bridge() as second:
            await one.write(10, "both")
            await one.caught_up(first)
            await one.caught_up(second)
        check(await one.stored(), await one.wanted("main"), repeats=False)

    served(main)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="stopped", marks=pytest.mark.soak),
    ],
)
def test_a_server_that_goes_away_under_load_and_comes_back(served, how, caplog):
    async def main(one):
        (server,) = one.nats.servers
        async with one.bridge() as bridge:
            await one.write(5)
            await one.caught_up(bridge)
            writing = asyncio.create_task(one.write(300, "load"))
            await until(lambda: bridge.published > 30)
            server.send(how)
            await until(lambda: any("no connection to NATS" in text for text in bridge.status()["problems"]))
            # The node goes on, and does not notice.
            await one.write(5, "away")
            await writing
            if how == signal.SIGSTOP:
                server.send(signal.SIGCONT)
            else:
                server.process.wait()
                server.start()
            await one.caught_up(bridge)
            await until(lambda: bridge.status()["problems"] == [])
            check(await one.stored(), await one.wanted("main"), repeats=True)
            found = await one.stored()
            assert len(found.ids) == len(set(found.ids)), (
                "within its window the server drops what is repeated"
            )

    with caplog.at_level(logging.INFO):
        served(main)
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(said) <= 4, said


def kill_one_after_another(count):
    async def main(one):
        async with one.bridge(replicas=3) as bridge:
            await one.write(5)
            await one.caught_up(bridge)
            async with one.writing():
                for server in one.nats.servers[:count]:
                    before = bridge.published
                    await until(lambda before=before: bridge.published > before + 10)
                    server.kill()
                    before = bridge.published
                    await until(lambda before=before: bridge.published > before + 10)
                    server.start()
                    await one.nats.ready()
            await one.caught_up(bridge)
            check(await one.stored(), await one.wanted("main"), repeats=True)

    return main


@pytest.mark.soak
@pytest.mark.parametrize("count", [1, 3], ids=["one", "each"])
def test_servers_of_three_are_killed_under_load(served, count):
    served(kill_one_after_another(count), 3, 100)


def test_a_stream_that_is_deleted_is_made_anew_and_what_it_had_lies_in_a_snapshot(served, caplog):
    async def main(one):
        name = one.network.stream("main")
        async with one.bridge() as bridge:
            await one.write(10)
            await one.caught_up(bridge)
            async with connected(one.nats) as session:
                await session.api(f"STREAM.DELETE.{name}")
                await one.write(10, "after")
                await one.caught_up(bridge)
                state = await streams.look(session, name)
                assert state.messages >= 10
                await until(lambda: bridge.status()["snapshots"] > 0)
                held = {raw for raw, _ in (await one.stored()).records} | {
                    raw for raw, _ in (await one.snapshot()).records
                }
                assert held >= {batch.raw for batch in await one.wanted("main")}

    served(main)
    assert "another stream stands in its place" in caplog.text


@pytest.mark.parametrize("limit", ["keep_messages", "keep_bytes"])
def test_a_stream_that_drops_the_old_has_snapshots_for_what_it_dropped(served, limit):
    async def main(one):
        async with one.bridge(**{limit: 10 if limit == "keep_messages" else 8_000}) as bridge:
            await one.write(60)
            await one.caught_up(bridge)

            async def complete():
                found, held = await one.stored(), await one.snapshot()
                return held is not None and held.stream_seq + 1 >= found.sequences[0]

            async with asyncio.timeout(20):
                while not await complete():
                    await asyncio.sleep(0.1)
            held = {raw for raw, _ in (await one.stored()).records}
            held |= {raw for raw, _ in (await one.snapshot()).records}
            assert held >= {batch.raw for batch in await one.wanted("main")}

    served(main)


def test_a_stream_that_refuses_the_new_stops_the_bridge_and_not_the_node(served, caplog):
    async def main(one):
        name = one.network.stream("main")
        async with one.bridge(discard="new", keep_messages=10) as bridge:
            await one.write(40)
            await until(
                lambda: any("maximum messages exceeded" in text for text in bridge.status()["problems"])
            )
            assert bridge.published <= 11
            await one.write(5, "more")
            async with connected(one.nats) as session:
                mark = await marks.load(session, one.network, marks.key_of(one.node.account, one.generation))
                await until(lambda: bridge.status()["lag"] >= 30)
                assert mark is not None
                # Room again: somebody who has read it all takes it away.
                for _ in range(30):
                    await session.api(f"STREAM.PURGE.{name}")
                    await asyncio.sleep(0.05)
                    if bridge.status()["lag"] == 0:
                        break
                else:
                    async with asyncio.timeout(20):
                        while bridge.status()["lag"]:
                            await session.api(f"STREAM.PURGE.{name}")
                            await asyncio.sleep(0.05)
            await one.caught_up(bridge)
            await until(lambda: bridge.status()["problems"] == [])

    served(main)
    assert sum("maximum messages exceeded" in record.message for record in caplog.records) <= 3


def test_settings_that_are_changed_under_it_are_changed_back(served):
    async def main(one):
        async with one.bridge() as bridge:
            await one.write(3)
            await one.caught_up(bridge)
            async with connected(one.nats) as session:
                name = one.network.stream("main")
                state = await streams.look(session, name)
                await session.api(f"STREAM.UPDATE.{name}", {**state.config, "max_msgs": 2})
                async with asyncio.timeout(10):
                    while (await streams.look(session, name)).config["max_msgs"] != -1:
                        await asyncio.sleep(0.05)
            await one.write(3, "on")
            await one.caught_up(bridge)

    served(main)


def test_a_server_that_does_not_sync_is_refused_unless_that_is_accepted(served, caplog):
    async def main(one):
        await one.write(3)
        with pytest.raises(BrokerUnsafe, match="acknowledges before its disk has it") as raised:
            async with one.bridge() as bridge:
                await asyncio.wait((one.task,))
        assert "sync_interval: always" in raised.value.remedy
        assert bridge.published == 0
        async with one.bridge(accept_unsynced=True) as bridge:
            await one.caught_up(bridge)
            assert "acknowledges before" in bridge.status()["accepted"]
            assert bridge.status()["problems"] == []

    served(main, synced=False)


def test_a_server_that_comes_back_without_syncing_is_not_trusted_until_it_does(served):
    async def main(one):
        (server,) = one.nats.servers
        text = server._config.read_text()
        async with one.bridge() as bridge:
            await one.write(3)
            await one.caught_up(bridge)
            server.kill()
            server._config.write_text(text.replace("sync_interval: always", ""))
            server.start()
            await until(lambda: any("acknowledges before" in said for said in bridge.status()["problems"]))
            published = bridge.published
            await one.write(3, "kept")
            await until(lambda: bridge.status()["lag"] >= 3)
            assert bridge.published == published
            server.kill()
            server._config.write_text(text)
            server.start()
            await one.caught_up(bridge)
            await until(lambda: bridge.status()["problems"] == [])

    served(main)


def test_a_server_with_small_messages_is_refused(served):
    async def main(one):
        with pytest.raises(BrokerUnsafe, match="takes messages of 10000 bytes") as raised:
            async with one.bridge():
                await asyncio.wait((one.task,))
        assert "max_payload" in raised.value.remedy

    served(main, extra="max_payload: 10000")


def test_a_node_that_stops_and_starts_is_waited_for(served):
    async def main(one):
        async with one.bridge() as bridge:
            await one.write(5)
            await one.caught_up(bridge)
            await one.stop()
            await until(lambda: any("the node" in text or "feed" in text for text in bridge.problems._known))
            await one.start()
            await one.write(5, "again")
            await one.caught_up(bridge)
            await until(lambda: bridge.status()["problems"] == [])
            check(await one.stored(), await one.wanted("main"))

    served(main)


def test_a_feed_that_does_not_reach_back_is_passed_over_and_snapshots_have_the_rest(served, caplog):
    async def main(one):
        await one.write(20)
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
        await one.write(10, "lost")
        one.forget()
        await one.write(5, "kept")
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
            wanted = {batch.raw for batch in await one.wanted("main", history=True)}
            async with asyncio.timeout(10):
                while not ((found := await one.snapshot()) and wanted <= {raw for raw, _ in found.records}):
                    await asyncio.sleep(0.1)
            assert len(wanted) == 35

    served(main)
    assert "snapshots of all spaces are made" in caplog.text


def test_an_account_that_may_not_read_everything_ends_with_one_clear_error(served):
    async def main(one):
        with pytest.raises(Unauthorised, match="is not a member"):
            async with one.bridge(stranger=True):
                await asyncio.wait((one.task,))

    served(main)


def test_batches_of_a_fleet_are_left_to_the_fleet(served, monkeypatch):
    async def main(one):
        await one.write(10)
        whole = node_module.node_status
        monkeypatch.setattr(node_module, "node_status", lambda node: whole(node) | {"fleet": {"streams": {}}})
        async with one.bridge() as bridge:
            await one.caught_up(bridge)
            assert bridge.published == 0

    served(main)


def test_memory_is_bounded_while_nats_is_away(served, monkeypatch):
    monkeypatch.setattr(bridge_module, "WINDOW_MESSAGES", 20)

    async def main(one):
        async with one.bridge() as bridge:
            await one.write(3)
            await one.caught_up(bridge)
            one.nats.servers[0].kill()
            await one.write(200, "away")
            await until(lambda: bridge.status()["problems"] != [])
            assert bridge.status()["underway"] <= 20
            one.nats.servers[0].start()
            await one.caught_up(bridge)
            check(await one.stored(), await one.wanted("main"), repeats=True)

    served(main)
