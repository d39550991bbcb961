"""The README's configuration files and its Python example are run as they are printed."""

import asyncio
import re
import subprocess
import sys
import types
from pathlib import Path

import httpx
import nodekit
from httpwire.httpkit import VALIDATOR
from httpwire.minerkit import ME, config, serving

import mycelium
from mycelium.database.policy import parse
from mycelium.devnet.chain.population import development
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.devnet.layout import free_ports
from mycelium.identity import account as accounts
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair
from mycelium.miner import dependencies
from mycelium.node.settings import Settings

ROOT = Path(mycelium.__file__).parents[1]


def blocks(language):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new)


def test_the_python_example_runs_on_the_printed_configuration(tmp_path):
    example = blocks("python")[0]
    node, members, blacklist = blocks("toml")
    keypair = Keypair.generate()
    (tmp_path / "wallets/default/hotkeys").mkdir(parents=True)
    wallets.write_file(tmp_path / "wallets/default/hotkeys/default", keypair)
    node = replaced(node, ":9090", f":{free_ports(1)[0]}")
    node = replaced(node, 'hotkey = "default"', 'hotkey = "default"\nwallet_path = "wallets"')
    node += blacklist
    node = replaced(node, "netuid = 1\n", f'netuid = 1\ngenesis = "0x{"01" * 32}"\n')
    node = re.sub(r"^\[chain\].*?\n\n", '[membership]\nfile = "members.toml"\n\n', node, flags=re.M | re.S)
    (tmp_path / "node.toml").write_text(node)
    account = re.search(r'"(5\w+)"', members)[1]
    (tmp_path / "members.toml").write_text(replaced(members, account, accounts.format(keypair.account)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "{'epoch': 812, 'score': 0.93}"
    assert lines[1:4] == [
        "miner-7 {'epoch': 812, 'score': 0.93}",
        "miner-8 {'epoch': 812, 'score': 0.41}",
        "12",
    ]
    assert [line.split(" ", 1)[1] for line in lines[4:]] == [
        "put miner-7 {'epoch': 812, 'score': 0.93}",
        "put miner-8 {'epoch': 812, 'score': 0.41}",
    ]


def test_the_chain_example_runs_on_a_development_chain():
    example = blocks("python")[1]
    with ThreadedChain(development(validators=3, miners=5), blocks="manual") as chain:
        chain.step(30)
        example = replaced(example, '"finney"', f'"{chain.url}"')
        example = replaced(example, '"default/default"', '"//validator//1"')
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", example],
            env={"PYTHONPATH": str(ROOT), "PATH": "", "XDG_CACHE_HOME": ""},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("8 neurons, 3 validators, block 3")
    assert done.stdout.splitlines()[1] == "set_weights would work"


def test_the_examples_of_a_miner_and_a_validator_talk_to_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    miner, validator = blocks("python")[2:4]
    built = {}
    exec(f"import msgspec\nclass Question(msgspec.Struct):\n    text: str\nAnswer = Question\n{miner}", built)
    app = built["app"]
    app.dependency_overrides[dependencies.get_config] = lambda: config(encrypted=False)
    said = []
    with serving(app) as address:
        validator = replaced(validator, "http://203.0.113.7:8091", address)
        body = validator.replace("\n", "\n    ")
        text = f"async def main(http, hotkey, miner_hotkey, print):\n    {body}\n    return answer"
        exec(text, built)

        async def ask():
            async with httpx.AsyncClient() as http:
                return await built["main"](http, VALIDATOR, ME, said.append)

        answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (200, {"text": "muilecym"})
    assert str(said[0]).startswith("session/1, ")


def test_the_feed_example_prints_a_batch(tmp_path, capsys):
    (example,) = blocks("python")[4:]
    built = {}
    exec(example, built)

    async def main():
        (place,) = nodekit.places(tmp_path, 1)
        async with nodekit.Mesh([place]) as mesh:
            node = await mesh.start()
            built["mycelium"] = types.SimpleNamespace(
                connect=lambda path: (
                    mycelium.connect(node.url, place.keypair) if path == "node.toml" else None
                )
            )
            following = asyncio.ensure_future(built["follow"](node.feed("start").cursor))
            await node.database.table("scores").put("miner-7", 1)
            printed = []
            await nodekit.until(
                lambda: printed.append(capsys.readouterr().out) or "".join(printed), "a batch"
            )
            following.cancel()
            return node.generation, "".join(printed)

    generation, printed = nodekit.run(main())
    assert printed == f"{generation:016x}-1 [('scores', 'PUT', b'miner-7')]\n"


def test_the_node_example_is_what_a_node_reads(tmp_path):
    node, *_ = blocks("toml")
    (tmp_path / "node.toml").write_text(node)
    settings = Settings.load(tmp_path / "node.toml")
    assert (settings.chain.network, settings.chain.epoch_blocks, settings.members_file) == (
        "finney",
        360,
        None,
    )


def test_the_policy_example_is_a_policy():
    (document,) = blocks("json")
    assert parse(document.encode()).document.quotas


def test_the_commands_in_it_exist():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    from mycelium.cli.main import COMMANDS

    known = {*COMMANDS, "COMMAND"}
    named = set(re.findall(r"^\$ mycelium (\w+)", text, re.MULTILINE))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    named |= set(re.findall(r"`mycelium (\w+)", prose))
    assert named <= known, named - known
    assert {"put", "node", "devnet", "backup"} <= named
