"""The example client of docs/wire.md, in a process of its own, against real nodes; and what the page says of it."""

import ast
import asyncio
import json
import os
import re
import sys
from pathlib import Path

import docskit
import kit
import nodekit
import pytest
from docskit import ROOT

CLIENT = ROOT / "examples/wire/client.py"
LIBRARIES = {"blake3", "cryptography", "flatbuffers", "msgspec", "sr25519", "websockets", "wire_generated"}
PROGRAM = kit.keypair("a program")


def seed(keypair):
    return json.loads(keypair.key_file())["secretSeed"].removeprefix("0x")


async def client(node, keypair, *arguments):
    """(exit code, stdout, stderr). It finds flatc beside this Python, and none of our packages."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        CLIENT,
        node.url,
        seed(keypair),
        *arguments,
        cwd=CLIENT.anchor,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("whose", ["own", "client"])
def test_it_puts_and_gets(tmp_path, whose):
    async def main():
        places = nodekit.places(tmp_path, 1)
        async with nodekit.Mesh(places) as mesh:
            mesh.changes[0] = {"clients": frozenset({PROGRAM.account})}
            node = await mesh.start()
            keypair = places[0].keypair if whose == "own" else PROGRAM
            put = await client(node, keypair, "put", "scores", "miner-7", '{"score": 0.93}')
            assert put == (0, f"{node.account.hex()} None\n", ""), put
            assert await node.database.table("scores").get("miner-7") == {"score": 0.93}
            await node.database.table("scores").put("miner-8", [1, b"\0"])
            got = await client(node, keypair, "get", "scores", "miner-8")
            assert got == (0, f"{node.account.hex()} [[1, b'\\x00'], False]\n", ""), got
            code, out, _ = await client(node, keypair, "get", "nothing", "miner-8")
            assert code == 0
            assert "no table 'nothing' is declared" in out

    nodekit.run(main())


def test_a_stranger_is_refused(tmp_path):
    async def main():
        async with nodekit.Mesh(nodekit.places(tmp_path, 1)) as mesh:
            node = await mesh.start()
            code, out, err = await client(node, PROGRAM, "get", "scores", "miner-7")
            assert code != 0
            assert out == ""
            assert "it does not accept us" in err
            assert node.hub.clients() == 0

    nodekit.run(main())


def test_it_uses_no_code_of_ours():
    names = set()
    for node in ast.walk(ast.parse(CLIENT.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == LIBRARIES


def test_its_length_is_as_the_page_says():
    source = CLIENT.read_text()
    tree, inside = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            inside |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    code = [line for at, line in enumerate(source.splitlines(), 1) if line.strip() and at not in inside]
    imports = sum(line.startswith(("import ", "from ")) for line in code)
    said = re.search(r"It\s+has (\d+) beside its (\d+) imports", (docskit.DOCS / "wire.md").read_text())
    assert said is not None
    assert (len(code) - imports, imports) == (int(said[1]), int(said[2]))


def test_settings_that_it_needs_are_settings(tmp_path):
    """[auth] clients, as the page says, is read from the file, and not only set by the test above."""
    place = nodekit.places(tmp_path, 1)[0]
    text = place.config.read_text().replace('mode = "session"', 'mode = "session"\nclients = ["%s"]')
    place.config.write_text(text % nodekit.accounts.format(PROGRAM.account))
    assert nodekit.Settings.load(place.config).clients == {PROGRAM.account}
