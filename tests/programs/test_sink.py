"""The example of a sink of one's own, as its README runs it: killed and started again, beside a node that is too."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import clikit
import nodekit
from examplekit import Program

from mycelium.devnet import layout


def facts(path) -> dict:
    with sqlite3.connect(path) as database:
        return {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM facts")}


def test_it_holds_what_the_node_holds(tmp_path):
    (place,) = layout.prepare(tmp_path / "net", 1)
    path = tmp_path / "facts.db"
    arguments = ("--config", place.config, "--file", path)

    async def told(*words):
        await asyncio.to_thread(clikit.run, *words, "--config", place.config)

    async def put(key, value):
        await told("put", "records", key, json.dumps(value))

    async def main():
        async with Program("sink", "sqlite.py", *arguments) as program:
            with clikit.running(place.config):
                await put("alpha", {"score": 0.5})
                await nodekit.until(lambda: path.exists() and has_position(path) and "alpha" in facts(path))
                await put("beta", [1, 2])
                await nodekit.until(lambda: "beta" in facts(path))
                await program.kill()
                await put("gamma", None)
                await told("delete", "records", "alpha")
                await program.start()
                await nodekit.until(lambda: facts(path) == {"beta": [1, 2], "gamma": None})
            await program.says("waiting: ")
            with clikit.running(place.config):
                await put("delta", 4)
                await program.says("it goes on: live")
                await nodekit.until(lambda: facts(path).get("delta") == 4)

    nodekit.run(main())


def has_position(path) -> bool:
    with sqlite3.connect(path) as database:
        try:
            return database.execute("SELECT count(*) FROM position").fetchone() == (1,)
        except sqlite3.OperationalError:
            return False
