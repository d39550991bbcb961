"""examples/audit on real nodes: an auditor whom the policy lets in proves what the owner signed, and resumes."""

from __future__ import annotations

import asyncio
import json
import shutil

import clikit
import pytest
from examplekit import EXAMPLES, Program, hotkey, module, network, once
from nodekit import run

from mycelium.database.policy import parse
from mycelium.database.watch import Change
from mycelium.errors import Unauthorised
from mycelium.node.settings import Settings

EXAMPLE = "audit"
results = module(EXAMPLE, "results")


async def command(*arguments):
    """`mycelium ARGUMENTS`, at the same time as what else this test does."""
    return (await asyncio.to_thread(clikit.run, *arguments))[0]


def test_an_auditor_proves_and_computes_anew_what_the_owner_publishes(tmp_path):
    folder, policy = tmp_path / "auditor", tmp_path / "policy.json"

    async def main():
        async with network(tmp_path, EXAMPLE, 2) as (nodes, prepared):
            owner, other = prepared.nodes
            as_owner = ("--config", owner.config)
            address = prepared.miners[0].address
            said = await once(
                EXAMPLE, "owner.py", "invite", address, "--to", folder, "--policy", policy, *as_owner
            )
            assert "policy publish" in said
            shutil.copy(hotkey(prepared, "miner1"), folder / "hotkey.json")
            async with Program(EXAMPLE, "auditor.py", folder / "node.toml") as auditor:
                await auditor.says("auditing after 0")
                await command("policy", "publish", policy, *as_owner)
                assert "published 3" in await once(
                    EXAMPLE, "owner.py", "publish", EXAMPLES / EXAMPLE / "results.jsonl", *as_owner
                )
                # Nothing is sent to a stranger: it comes with the epoch in which the policy is in force.
                await auditor.says_all(
                    "ok: 00000001/5Ann 0.9",
                    "ok: 00000001/5Bob 0.5",
                    "MISMATCH: 00000001/5Eve has 0.8, and 0.1 follows",
                )
                await auditor.says(f"verified: {owner.address} signed 3 changes in 1 batches")
                with pytest.raises(Unauthorised):
                    await nodes.remote(1).database.table("results").put("00000001/5Mal", {})
                await auditor.kill()
                second = tmp_path / "second.jsonl"
                second.write_text(
                    json.dumps({"period": 2, "miner": "5Ann", "asked": 4, "right": 1, "score": 0.25})
                )
                await once(EXAMPLE, "owner.py", "publish", second, *as_owner)
                assert await nodes.wait_agreed(20) is not None
                # The owner is gone: what it signed is as good from anybody.
                await nodes.kill(0)
                await auditor.start()
                assert int((await auditor.says(r"auditing after (\d+)"))[1]) > 0
                await auditor.says("ok: 00000002/5Ann 0.25")
                await auditor.says(f"verified: {owner.address} signed 4 changes in 2 batches")
                assert sum(line.startswith(("ok", "MISMATCH")) for line in auditor.lines) == 1
                assert sorted((folder / "data").iterdir())
            assert other.address not in "".join(auditor.lines)

    run(main())


def test_an_invitation_is_settings_and_a_policy(tmp_path):
    async def main():
        (tmp_path / "node.toml").write_text(
            '[node]\ndata_dir = "data"\n[identity]\nseed_env = "SEED"\n[network]\nnetuid = 3\n'
            '[chain]\nendpoints = ["ws://127.0.0.1:1"]\nepoch_blocks = 30\n[tables.results]\nmerge = "append"\n'
        )
        given = (
            "--config",
            tmp_path / "node.toml",
            "--to",
            tmp_path / "to",
            "--policy",
            tmp_path / "policy.json",
        )
        ann, bob = (
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
            "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
        )
        for address in (ann, bob, ann):
            await once(EXAMPLE, "owner.py", "invite", address, *given)
        document = parse((tmp_path / "policy.json").read_bytes()).document
        assert [rule.who for rule in document.rules[3:]] == [ann, bob]
        settings = Settings.load(tmp_path / "to" / "node.toml")
        assert (settings.netuid, settings.chain.epoch_blocks, settings.tables["results"].space) == (
            3,
            30,
            "audit",
        )
        assert "error: " in await once(EXAMPLE, "owner.py", "invite", "nobody", *given, code=1)
        bad = tmp_path / "bad.jsonl"
        bad.write_text('{"period": 1}\n')
        assert "error: " in await once(EXAMPLE, "owner.py", "publish", bad, *given[:2], code=1)
        said = await once(EXAMPLE, "auditor.py", tmp_path / "to" / "node.toml", code=2)
        assert "hotkey.json" in said

    run(main())


GOOD = {"period": 1, "miner": "m", "asked": 3, "right": 1, "score": 0.333333}


@pytest.mark.parametrize(
    ("value", "author", "said"),
    [
        (GOOD, b"o", "ok: 00000001/m"),
        (GOOD, b"x" * 32, "NOT THE OWNER'S"),
        (GOOD | {"score": 0.4}, b"o", "MISMATCH"),
        (GOOD | {"asked": 0}, b"o", "MISMATCH"),
        (GOOD | {"period": 2}, b"o", "NO RESULT"),
        (GOOD | {"more": 1}, b"o", "NO RESULT"),
        (b"bytes", b"o", "NO RESULT"),
        (None, b"o", "NO RESULT"),
    ],
    ids=list("abcdefgh"),
)
def test_what_is_said_of_a_result(value, author, said, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / EXAMPLE)
    auditor = module(EXAMPLE, "auditor")
    change = Change(1, "results", "00000001/m", "put", value, author, 0)
    assert auditor.judged(change, b"o").startswith(said)
