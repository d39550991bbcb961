"""`mycelium fleet`: what it prints, what it changes, what it refuses; over real members in processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal

import clikit
import natskit
import pytest
from fleet.nodefleetkit import members
from natskit import Servers
from nodekit import Process, run

from mycelium.cli.fleet import lines_of, shards_of
from mycelium.errors import UsageError


def test_shards_are_named_by_number_range_or_all() -> None:
    assert shards_of(["0", "2-4,7"], 8) == [0, 2, 3, 4, 7]
    assert shards_of(["all"], 3) == [0, 1, 2]
    for wrong in ("8", "3-1", "0-8", "-1", "x", "1-", "", "all-", "9" * 30, "٣x"):
        with pytest.raises(UsageError, match="shard"):
            shards_of([wrong], 8)


def test_what_is_printed_says_who_has_what_and_what_is_wrong() -> None:
    fleet = {
        "id": "a",
        "generation": "00" * 8,
        "servers": "h:1",
        "problem": "no server",
        "displaced": True,
        "serving": 2,
        "changes": 1000,
        "batches": 10,
        "forwarded": 3,
        "in_flight": 1,
        "members": {
            "a": {"shards": 2, "gone": "", "leaving": False, "spaces": ["main"], "url": "ws://a"},
            "b": {"shards": 0, "gone": "no heartbeat", "leaving": False, "spaces": [], "url": "ws://b"},
            "c": {"shards": 0, "gone": "", "leaving": True, "spaces": [], "url": "ws://c"},
            "d": {"shards": 0, "gone": "", "leaving": False, "spaces": [], "url": "ws://d"},
        },
        "spaces": {"main": {"shards": 5, "owners": ["a", "a", "", "b", "a"], "plans": {"3": "a", "4": "a"}}},
        "streams": {
            "main": {
                "read": 9,
                "lag": 2,
                "state": "reading",
                "waiting": 1,
                "refused": {"quota": 3},
                "lacking": "",
            },
            "far": {
                "read": 9,
                "lag": 0,
                "state": "reading",
                "waiting": 0,
                "refused": {},
                "lacking": "too old",
            },
        },
    }
    text = "\n".join(lines_of(fleet))
    for said in (
        "nothing can be written: no server",
        "another process has this member's name",
        "serves 2 shards; 1,000 changes in 10 batches, 3 requests passed on, 1 under way",
        "offers main",
        "no heartbeat",
        "leaving",
        "catching up",
        "a: 0-1, 4; b: 3; nobody: 2",
        "shard 3 is wished to be at a",
        "reading, 3 refused, 1 wait",
        "none of its shards is served here: too old; give it",
    ):
        assert said in text
    assert "shard 4 is wished" not in text


def test_a_fleet_is_made_looked_at_and_moved(tmp_path):
    natskit.binary()
    with Servers.of(tmp_path / "nats") as nats:
        places = members(tmp_path, nats, "ab", a="[fleet.spaces.main]\nshards = 8\n", unsynced=False)
        config = places[0].config

        def fleet(*arguments, code=0):
            out, err = clikit.run("fleet", *arguments, "--config", config, "--json", code=code)
            return json.loads(out) if not code else err

        made = fleet("init")
        assert made["spaces"] == {"main": 8, "sys": 1}
        assert fleet("init") == made

        async def main():
            async with Process(places[0]) as one, Process(places[1]) as two:
                for process in (one, two):
                    await process.spawn()
                    await process.ready()

                async def status():
                    return await asyncio.to_thread(fleet, "status")

                async def until(holds):
                    async with asyncio.timeout(20):
                        while not holds(found := await status()):
                            await asyncio.sleep(0.1)
                    return found

                found = await until(lambda one: "" not in one["spaces"]["main"]["owners"])
                assert found["id"] == "a"
                assert set(found["members"]) == {"a", "b"}
                moved = await asyncio.to_thread(fleet, "move", "main", "0-6", "--to", "b")
                assert moved == {"space": "main", "shards": list(range(7)), "to": "b", "changed": 7}
                await until(lambda one: one["spaces"]["main"]["owners"][:7] == ["b"] * 7)
                assert (await asyncio.to_thread(fleet, "move", "main", "0-6", "--to", "b"))["changed"] == 0
                assert (await asyncio.to_thread(fleet, "move", "main", "all", "--back"))["changed"] == 7
                await until(lambda one: one["spaces"]["main"]["owners"] == found["spaces"]["main"]["owners"])
                for wrong, why in (
                    (["main", "0", "--to", "z"], "no member 'z' that lives; it has a, b"),
                    (["nothing", "0", "--to", "b"], "no space 'nothing'; it has main, sys"),
                    (["main", "8", "--to", "b"], "the space has 0 to 7"),
                    (["main", "0"], "say where to"),
                    (["main", "0", "--to", "b", "--back"], "say where to"),
                ):
                    said = await asyncio.to_thread(fleet, "move", *wrong, code=2)
                    assert why in str(said)
                one.signal(signal.SIGTERM)
                assert await one.gone() == 0
                assert two.process.returncode is None

        run(main())
    assert "NATS server" in str(fleet("init", code=1))
