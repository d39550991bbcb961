"""A node with every secret known runs, fails, reloads and is looked at; none of them is in anything that it says.

Its seed as hex, as private key and as phrase, passwords of wallets in its environment, the key of a hosted endpoint,
and the host that it keeps to itself.
"""

import json
import os
import signal
import subprocess

import clikit
import kit
import pytest

from mycelium.devnet.layout import prepare
from mycelium.identity.keys import Keypair
from mycelium.node import logs
from mycelium.node.settings import IdentitySettings, Settings

PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
PASSWORD = "correct-horse-battery"


def secrets_of(keypair):
    fields = json.loads(keypair.key_file())
    found = {fields["privateKey"], fields["secretSeed"]} - {None}
    return {text.removeprefix("0x") for text in found}


def as_member(place, keypair):
    """Let that keypair be the member whose node the place is."""
    from mycelium.identity import account as accounts

    members = place.directory.parent / "members.toml"
    members.write_text(
        members.read_text().replace(accounts.format(place.keypair.account), accounts.format(keypair.account))
    )


@pytest.mark.parametrize("form", ["phrase", "seed", "file"])
def test_nothing_that_a_node_says_has_a_secret_in_it(tmp_path, form):
    (place,) = prepare(tmp_path / "net", 1)
    extra = {"BT_WALLET_PASSWORD": PASSWORD, "BT_PW__W": PASSWORD + "2"}
    hidden = {PASSWORD, PASSWORD + "2"}
    keypair = place.keypair
    if form != "file":
        keypair = Keypair.from_phrase(PHRASE)
        as_member(place, keypair)
        hidden |= {PHRASE, "obey lake curtain"} if form == "phrase" else set()
        extra["SECRET_SEED"] = (
            PHRASE if form == "phrase" else next(text for text in secrets_of(keypair) if len(text) == 64)
        )
        text = place.config.read_text()
        place.config.write_text(text.replace('key_file = "hotkey.json"', 'seed_env = "SECRET_SEED"'))
        assert "SECRET_SEED" in place.config.read_text()
    hidden |= secrets_of(keypair)
    said = run_through(place, extra)
    assert "ready" in said
    assert "was read again" in said
    for secret in hidden:
        assert secret.lower() not in said.lower()


def run_through(place, extra):
    """Everything that a node says on stdout and stderr at its loudest, and commands beside it."""
    environment = clikit.environment(**extra)
    process = subprocess.Popen(
        clikit.command(
            "node", "run", "--config", place.config, "--log-level", "debug", "--log-format", "json"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    said = b""
    try:
        said += process.stdout.readline()
        for arguments in (
            ["config", "check"],
            ["config", "show", "--json"],
            ["doctor"],
            ["node", "status", "--json"],
            ["put", "nowhere", "k", "v"],
        ):
            done = subprocess.run(
                clikit.command(*arguments, "--config", place.config),
                capture_output=True,
                env=environment,
                check=False,
            )
            said += done.stdout + done.stderr
        place.config.write_text(place.config.read_text() + '\n[blacklist]\nfailures = "x"\n')
        process.send_signal(signal.SIGHUP)
        done = subprocess.run(
            clikit.command("node", "status", "--config", place.config),
            capture_output=True,
            env=environment,
            check=False,
        )
        said += done.stdout + done.stderr
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        said += out + err
    finally:
        process.kill()
        process.wait()
    for line in err.decode().splitlines():
        assert json.loads(line)["level"], "a line that is not the log's"
    return said.decode()


def test_what_the_log_hides(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    settings = Settings.load(place.config)
    found = logs.secrets_of(settings, {"BT_PW_X": PASSWORD, "PATH": os.defpath}, ["a token"])
    assert {PASSWORD, "a token"} <= found
    assert os.defpath not in found
    assert secrets_of(place.keypair) <= {text.removeprefix("0x") for text in found}
    text = place.config.read_text().split("[membership]")[0].replace("genesis", "# genesis")
    endpoints = 'endpoints = ["wss://h.example/v1/KEYKEYKEY?token=TOKENTOKEN"]'
    tables = '\n[tables.t]\nmerge = "lww"\n'
    hidden = text.replace("127.0.0.1", "203.0.113.9").replace("[node]", "[node]\nadvertise = []")
    place.config.write_text(f"{hidden}\n[chain]\n{endpoints}{tables}")
    found = logs.secrets_of(Settings.load(place.config), {})
    assert {"v1/KEYKEYKEY", "token=TOKENTOKEN", "203.0.113.9"} <= found
    place.config.write_text(f"{hidden.replace('advertise = []', '')}\n[chain]\n{endpoints}{tables}")
    assert "203.0.113.9" not in logs.secrets_of(Settings.load(place.config), {})


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[]", b'{"secretSeed": 7}', b"{" * 100_000])
def test_a_key_file_that_is_none_has_no_secrets_that_could_be_found(content):
    from mycelium.identity import keys

    assert all(isinstance(text, str) for text in keys.secret_texts(content))


def test_a_key_that_is_missing_is_named_as_such(tmp_path):
    from mycelium.errors import KeyFileError

    identity = IdentitySettings(key_file=tmp_path / "no")
    with pytest.raises(KeyFileError, match="there is no key file"):
        identity.secret_texts({})
    assert kit.keypair("x").account not in repr(identity).encode()
