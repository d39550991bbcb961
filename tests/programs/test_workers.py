"""examples/workers on real nodes: what one validator takes all follow, unbinds too, and who was down misses nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from examplekit import Program, hotkey, module, network, once
from nodekit import run

from mycelium.identity.account import format as format_account
from mycelium.identity.keys import Keypair

EXAMPLE = "workers"


registration = module(EXAMPLE, "registration")
index = module(EXAMPLE, "index")


async def signed(prepared, wallet, action, worker):
    return await once(EXAMPLE, "miner.py", action, worker, "--key", hotkey(prepared, wallet))


async def taken(node, lines, **keywords):
    return await once(EXAMPLE, "validator.py", "accept", "--config", node.config, stdin=lines, **keywords)


def following(node, file):
    return Program(EXAMPLE, "validator.py", "follow", "--config", node.config, "--index", file)


def test_what_one_takes_all_follow_and_who_was_down_misses_nothing(tmp_path):
    async def main():
        files = [tmp_path / "first.db", tmp_path / "third.db"]
        async with network(tmp_path, EXAMPLE, 3) as (nodes, prepared):
            first, second, third = prepared.nodes
            ada, bob = (wallet.address for wallet in prepared.miners)
            async with following(first, files[0]) as here, following(third, files[1]) as there:
                bound = await signed(prepared, "miner1", "bind", "worker-7")
                assert await taken(second, bound) == "accepted: bind worker-7\n"
                for program in (here, there):
                    await program.says("following after 0")
                    await program.says(f"worker-7 is of {ada}")
                # The third validator goes down, its program first: both by SIGKILL.
                await there.kill()
                await nodes.kill(2)
                unbound, eighth, rebound = await asyncio.gather(
                    signed(prepared, "miner1", "unbind", "worker-7"),
                    signed(prepared, "miner1", "bind", "worker-8"),
                    signed(prepared, "miner2", "bind", "worker-7"),
                )
                # Shown again, and for another worker than was signed: neither changes anything.
                forged = json.dumps({**json.loads(bound), "worker": "worker-9"})
                await taken(first, unbound + eighth)
                said = await taken(second, rebound + bound + forged, code=1)
                assert said.splitlines() == [
                    "accepted: bind worker-7",
                    "accepted: bind worker-7",
                    "refused: no registration that its miner signed",
                ]
                table = nodes.remote(1).database.table("registrations")
                await table.put("worker-9", json.loads(forged))
                await here.says_all("worker-7 is free", f"worker-8 is of {ada}", f"worker-7 is of {bob}")
                # It comes back, and its program before its node.
                await there.start()
                await there.says("the node is away")
                await nodes.start(2)
                assert int((await there.says(r"following after (\d+)"))[1]) > 0
                # Of what it missed, it says what is so now; in what order it came is the network's affair.
                await there.says_all(f"worker-7 is of {bob}", f"worker-8 is of {ada}")
                # A node that is killed under its program is found again when it is back.
                await nodes.kill(0)
                await here.says("the node is away")
                await nodes.start(0)
                await here.says("following after")
                await taken(third, await signed(prepared, "miner1", "unbind", "worker-8"))
                await here.says("worker-8 is free")
                await there.says("worker-8 is free")
                assert await here.kill(signal.SIGTERM) == -signal.SIGTERM
            for file in files:
                assert index.workers(file) == {"worker-7": bob}
            assert len(await nodes.remote(0).database.table("registrations").get("worker-7")) == 4

    run(main())


@pytest.mark.parametrize(
    "arguments", [("bind", "w", "--key", "nobody/none"), ("bind", "w", "--key", "/no/file")]
)
def test_a_miner_without_a_key_is_told_so(arguments):
    async def main():
        assert "error: " in await once(EXAMPLE, "miner.py", *arguments, code=2)

    run(main())


def test_a_validator_without_settings_is_told_so(tmp_path):
    async def main():
        missing = tmp_path / "none.toml"
        said = await once(
            EXAMPLE, "validator.py", "follow", "--config", missing, "--index", tmp_path / "workers.db", code=2
        )
        assert "error: " in said
        assert str(missing) in said

    run(main())


# --- what is signed, and whose a worker is ------------------------------------------------------------------------


ADA, BOB = (Keypair.development(name) for name in ("//Ada", "//Bob"))


def fact(keypair, action, at_ms, worker="w", **wrong):
    found = registration.Registration(action, worker, format_account(keypair.account), at_ms).signed(keypair)
    return {**json.loads(registration.msgspec.json.encode(found)), **wrong}


def name(keypair):
    return None if keypair is None else format_account(keypair.account)


@pytest.mark.parametrize(
    ("facts", "holder"),
    [
        ([], None),
        ([fact(ADA, "bind", 1)], ADA),
        ([fact(ADA, "bind", 1), fact(BOB, "bind", 2)], ADA),
        ([fact(ADA, "bind", 9), fact(BOB, "unbind", 10)], ADA),
        ([fact(ADA, "bind", 1), fact(ADA, "unbind", 2), fact(BOB, "bind", 1)], BOB),
        ([fact(ADA, "bind", 1), fact(ADA, "unbind", 2), fact(ADA, "bind", 1)], None),
        ([fact(ADA, "unbind", 2), fact(ADA, "bind", 1)], None),
        ([fact(ADA, "bind", 1, worker="other")], None),
        ([fact(ADA, "bind", 1, time_ms=2)], None),
        ([fact(ADA, "bind", 1, hotkey=name(BOB))], None),
        ([fact(ADA, "bind", 1, signature="0x00")], None),
        ([fact(ADA, "bind", 1, more=1), "text", 7, None, {}, b"\0"], None),
        (["text", fact(BOB, "bind", 1)], BOB),
    ],
    ids=list("abcdefghijklm"),
)
def test_whose_a_worker_is(facts, holder):
    assert registration.owner("w", facts) == name(holder)


def test_the_index_changes_whole(tmp_path: Path):
    kept = index.Index(tmp_path / "workers.db")
    assert kept.cursor(2**63 + 1) == 0
    assert kept.keep(2**63 + 1, 5, "w", "ada")
    assert not kept.keep(2**63 + 1, 6, "w", "ada")
    assert (kept.cursor(2**63 + 1), kept.cursor(7)) == (6, 0)
    assert kept.keep(7, 1, "w", None)
    assert (kept.cursor(2**63 + 1), kept.cursor(7)) == (0, 1)
    kept.close()
    assert index.workers(tmp_path / "workers.db") == {}
