"""The examples as a new user runs them: a miner that publishes its address on a development chain, and a validator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chain.clientkit import free_port

from mycelium.chain.connection import Connection
from mycelium.chain.serving import serve_axon
from mycelium.devnet.chain.population import development, miner_path, validator_path
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.identity import wallet
from mycelium.identity.keys import Keypair

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def hotkey(home, name, path):
    folder = home / ".bittensor" / "wallets" / name
    (folder / "hotkeys").mkdir(parents=True)
    keypair = Keypair.development(path)
    wallet.write_file(folder / "hotkeys" / "default", keypair)
    (folder / "coldkeypub.txt").write_text(f'{{"ss58Address": "{keypair.as_substrate().ss58_address}"}}')


SAYS = {
    "ours": "2 200 muilecym\n",
    "fibers": "2 200 muilecym\n",
    "session": "2 200 muilecym a b c\nsession/1, AES-256-GCM, miner proved, answers sealed, forward secret\n",
}


@pytest.mark.parametrize("way", ["ours", "fibers", "session"])
def test_a_miner_and_a_validator(tmp_path, way):
    """With our names, unmodified with Fiber's by `mycelium fiber run`, and native ones over a session."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("miner.py", "validator.py"):
        text = (EXAMPLES / ("session" if way == "session" else "fiber") / name).read_text()
        (programs / name).write_text(text.replace("mycelium.", "fiber.") if way == "fibers" else text)
    command = [sys.executable, "-m", "mycelium.cli.main"]
    run = [*command, "fiber", "run"] if way == "fibers" else [sys.executable]
    hotkey(tmp_path, "miner", miner_path(0))
    hotkey(tmp_path, "validator", validator_path(0))
    port = str(free_port())
    with ThreadedChain(development()) as chain:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(programs)]),
            "HOME": str(tmp_path),
            "NETUID": "1",
            "SUBTENSOR_ADDRESS": chain.url,
            "HOTKEY_NAME": "default",
            "MIN_STAKE_THRESHOLD": "1000",
        }
        published = subprocess.run(
            [
                *command, "fiber", "post-ip", "--subtensor.chain_endpoint", chain.url, "--wallet.name", "miner",
                "--netuid", "1", "--external_ip", "0.0.0.1", "--external_port", port,
            ],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert published.returncode == 0, published.stderr
        miner = subprocess.Popen(
            [*run, "-m", "uvicorn", "miner:app", "--port", port],
            env={**environment, "WALLET_NAME": "miner"}, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            said = ""
            while "running on" not in said:
                line = miner.stderr.readline()
                assert line, said
                said += line
            asked = subprocess.run(
                [*run, str(programs / "validator.py")],
                env={**environment, "WALLET_NAME": "validator"},
                cwd=tmp_path, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            miner.send_signal(signal.SIGTERM)
            _, rest = miner.communicate(timeout=20)
        finally:
            miner.kill()
            miner.communicate()
    assert asked.returncode == 0, asked.stderr + said
    assert asked.stdout.replace("ChaCha20-Poly1305", "AES-256-GCM") == SAYS[way]
    assert "Traceback" not in said + rest, rest
    assert (tmp_path / "default_symmetric_keys.encrypted").exists() == (way != "session")


def test_a_miner_that_is_not_there_stops_nobody(tmp_path):
    """Its address is on chain, and nothing answers there."""
    hotkey(tmp_path, "miner", miner_path(0))
    hotkey(tmp_path, "validator", validator_path(0))
    with ThreadedChain(development()) as chain:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "NETUID": "1",
            "SUBTENSOR_ADDRESS": chain.url,
            "HOTKEY_NAME": "default",
            "MIN_STAKE_THRESHOLD": "1000",
        }
        with Connection(chain.url) as connection:
            key = Keypair.development(miner_path(0))
            serve_axon(connection, key, 1, "0.0.0.1", free_port()).check()
        for way in ("fiber", "session"):
            asked = subprocess.run(
                [sys.executable, str(EXAMPLES / way / "validator.py")],
                env={**environment, "WALLET_NAME": "validator"},
                cwd=tmp_path, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert asked.returncode == 0, asked.stderr
            assert asked.stdout.startswith("2 does not answer: "), asked.stdout
