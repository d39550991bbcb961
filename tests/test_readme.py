"""The README's configuration files and its Python example are run as they are printed."""

import re
import subprocess
import sys
from pathlib import Path

import mycelium
from mycelium.devnet.layout import free_ports
from mycelium.identity import account as accounts
from mycelium.identity import wallet as wallets
from mycelium.identity.keys import Keypair

ROOT = Path(mycelium.__file__).parents[1]


def blocks(language):
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new)


def test_the_python_example_runs_on_the_printed_configuration(tmp_path):
    (example,) = blocks("python")
    node, members = blocks("toml")
    keypair = Keypair.generate()
    (tmp_path / "wallets/default/hotkeys").mkdir(parents=True)
    wallets.write_file(tmp_path / "wallets/default/hotkeys/default", keypair)
    node = replaced(node, ":9090", f":{free_ports(1)[0]}")
    node = replaced(node, 'hotkey = "default"', 'hotkey = "default"\nwallet_path = "wallets"')
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


def test_the_commands_in_it_exist():
    text = (ROOT / "README.md").read_text()
    from mycelium.cli.main import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups} | {"COMMAND"}
    named = set(re.findall(r"^\$ mycelium (\w+)", text, re.MULTILINE))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    named |= set(re.findall(r"`mycelium (\w+)", prose))
    assert named <= known, named - known
    assert {"put", "node", "devnet", "backup"} <= named
