"""Publishing an address, by function and by command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from functools import partialmethod

import pytest
import substrateinterface
from chain.opskit import COLD, MINERS, NETUID, PALLET, running, ss58

from mycelium.chain import post_ip_to_chain
from mycelium.chain.connection import Connection
from mycelium.chain.post_ip_to_chain import (
    ip_to_int,
    ip_version,
    post_node_ip_to_chain,
    resolve_hostname_to_ip,
)
from mycelium.errors import ChainUnreachable, UsageError
from mycelium.identity.keys import Keypair
from mycelium.scripts import post_ip_to_chain as script

ME = MINERS[0]


@pytest.fixture
def link():
    with running() as (chain, connection):
        yield chain, connection


def axon(connection, keypair=ME):
    return connection.read(PALLET, "Axons", [NETUID, ss58(keypair)])


def test_numbers_of_addresses():
    assert (ip_to_int("10.0.0.1"), ip_version("10.0.0.1")) == (167_772_161, 4)
    assert (ip_to_int("2001:db8::1"), ip_version(str_val="2001:db8::1")) == (0x20010DB8 << 96 | 1, 6)
    for wrong in ("10.0.0.256", "", "x"):
        with pytest.raises(UsageError, match="no IPv4 or IPv6 address"):
            ip_to_int(wrong)
        with pytest.raises(UsageError, match="no IPv4 or IPv6 address"):
            ip_version(wrong)


def test_names_of_hosts(monkeypatch):
    monkeypatch.setattr(socket, "gethostbyname", {"miner.example.org": "203.0.113.9"}.__getitem__)
    assert resolve_hostname_to_ip("miner.example.org") == "203.0.113.9"
    assert resolve_hostname_to_ip("203.0.113.7") == "203.0.113.7"
    assert resolve_hostname_to_ip("2001:db8::1") == "2001:db8::1"


@pytest.mark.parametrize(
    "waits", [(), (True, False), (False, False), (False, True), (True, True)], ids=lambda waits: f"{waits}"
)
def test_published(link, waits):
    _, connection = link
    assert post_node_ip_to_chain(connection, ME, NETUID, "203.0.113.7", 8091, ss58(COLD), *waits) is True
    found = axon(connection)
    assert (found["ip"], found["port"], found["ip_type"]) == (ip_to_int("203.0.113.7"), 8091, 4)
    assert (found["version"], found["protocol"], found["placeholder1"]) == (1, 4, 0)
    assert not connection.access.rpc.closed


def test_published_once(link, caplog):
    _, connection = link
    caplog.set_level("INFO")
    for _ in range(2):
        assert post_node_ip_to_chain(connection, ME, NETUID, "203.0.113.7", 8091, ss58(COLD))
    assert "nothing was sent" in caplog.text
    assert post_node_ip_to_chain(connection, ME, NETUID, "203.0.113.7", 8092, ss58(COLD)) is False
    assert "ServingRateLimitExceeded" in caplog.text


def test_published_by_another_librarys(link, monkeypatch):
    chain, connection = link
    monkeypatch.setattr(socket, "gethostbyname", {"miner.example.org": "203.0.113.9"}.__getitem__)
    theirs = substrateinterface.SubstrateInterface(url=chain.url)
    pair = substrateinterface.Keypair.create_from_uri("//miner//1")
    assert post_node_ip_to_chain(
        substrate=theirs,
        keypair=pair,
        netuid=NETUID,
        external_ip="miner.example.org",
        external_port=1,
        coldkey_ss58_address="",
        wait_for_inclusion=True,
        wait_for_finalization=False,
    )
    assert axon(connection, MINERS[1])["ip"] == ip_to_int("203.0.113.9")
    assert theirs.websocket.connected
    theirs.close()


def test_refused(link, caplog, monkeypatch):
    _, connection = link
    stranger = Keypair.development("//stranger")
    assert post_node_ip_to_chain(connection, stranger, NETUID, "203.0.113.7", 1, "") is False
    assert "HotKeyNotRegisteredInNetwork" in caplog.text
    assert post_node_ip_to_chain(connection, ME, NETUID, "127.0.0.1", 1, "") is False
    assert "InvalidIpAddress" in caplog.text
    with pytest.raises(UsageError, match="no port"):
        post_node_ip_to_chain(connection, ME, NETUID, "203.0.113.7", 70_000, "")

    def unknown(name):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    with pytest.raises(UsageError, match=r"'nobody\.invalid' has no address"):
        post_node_ip_to_chain(connection, ME, NETUID, "nobody.invalid", 1, "")
    with pytest.raises(socket.gaierror):
        post_ip_to_chain.resolve_hostname_to_ip("nobody.invalid")


def test_nobody_answers():
    with (
        Connection("ws://127.0.0.1:1", cache_dir=None, timeout_s=0.2) as dead,
        pytest.raises(ChainUnreachable),
    ):
        post_node_ip_to_chain(dead, ME, NETUID, "203.0.113.7", 1, "")


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def wallet(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".bittensor/wallets/default"
    (folder / "hotkeys").mkdir(parents=True)
    hotkey = folder / "hotkeys/default"
    hotkey.write_bytes(ME.key_file())
    hotkey.chmod(0o600)
    (folder / "coldkeypub.txt").write_text(json.dumps({"ss58Address": ss58(COLD)}))
    return folder


def options(url, ip="203.0.113.7", port=8091):
    place = ["--external_ip", ip, "--external_port", str(port)]
    return ["--subtensor.chain_endpoint", url, "--netuid", str(NETUID), *place]


def test_the_command(link, wallet, capsys):
    chain, connection = link
    assert script.main(options(chain.url)) == 0
    assert capsys.readouterr().out == f"published: 203.0.113.7:8091 for subnet {NETUID}\n"
    assert axon(connection)["port"] == 8091
    # Again too soon, with another port.
    assert script.main(options(chain.url, port=8092)) == 1
    assert "NOT published" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["--wallet.name", "nobody"], ["--wallet.hotkey", "none"]])
def test_the_command_without_a_key(link, wallet, capsys, caplog, more):
    chain, _ = link
    assert script.main([*options(chain.url), *more]) == 1
    assert "Failed to load keypair" in caplog.text


def test_the_command_and_nobody_answers(wallet, monkeypatch, caplog, capsys):
    monkeypatch.setattr(Connection, "__init__", partialmethod(Connection.__init__, timeout_s=0.2))
    assert script.main(options("ws://127.0.0.1:1")) == 1
    assert "NOT published" in capsys.readouterr().out
    assert script.main([*options("", ip="203.0.113.7"), "--subtensor.network", "nowhere"]) == 1
    assert "Unrecognized chain network" in caplog.text


@pytest.mark.parametrize("wrong", [[], ["--netuid", "x"], ["--netuid", "1", "--external_ip", "1.2.3.4"]])
def test_options_that_are_wrong(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        script.main(wrong)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_command_in_a_process_of_its_own(link, wallet):
    chain, _ = link
    command = [sys.executable, "-m", "mycelium.scripts.post_ip_to_chain"]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    for option in ("chain_endpoint", "network", "external_ip", "examples:", "--wallet.hotkey"):
        assert option in told
    done = subprocess.run(
        [*command, *options(chain.url)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"published: 203.0.113.7:8091 for subnet {NETUID}\n")
    assert "Traceback" not in done.stderr
