"""SIGHUP: what a running node takes over, what it says needs a restart, and that a mistake changes nothing."""

import contextlib
import json
import logging
import signal

import clikit
import kit
import pytest
from nodekit import Mesh, places, run, until

from mycelium.devnet.layout import prepare
from mycelium.errors import MyceliumError
from mycelium.identity import account as accounts
from mycelium.node import configuration, options
from mycelium.node.node import Node
from mycelium.node.reloading import Reloader
from mycelium.node.remote import connect
from mycelium.redaction import Redactor

STRANGER = kit.keypair("stranger")
ADDRESS = accounts.format(STRANGER.account)


class Log:
    """Stands for the daemon's log."""

    def __init__(self):
        self.level = ""
        self.redact = Redactor()

    def set_level(self, level):
        self.level = level


@contextlib.asynccontextmanager
async def reloadable(place):
    def read():
        return configuration.read(place.config, {}, {})

    now = read()
    log = Log()
    async with Node.open(now.settings()) as node:
        reloader = Reloader(now, log, read)
        reloader.node = node
        yield node, reloader, log


def amend(place, old, new):
    text = place.config.read_text()
    assert old in text
    place.config.write_text(text.replace(old, new))


def test_what_reloads(tmp_path, caplog):
    (place,) = places(tmp_path, 1)

    async def main():
        async with reloadable(place) as (node, reloader, log):
            with pytest.raises(MyceliumError):
                await connect(node.url, STRANGER, node.account)
            amend(place, "[node]", "[node]\nuplink_mbit = 7")
            amend(
                place,
                "[network]",
                f'[log]\nlevel = "debug"\n[blacklist]\nfailures = 9\nalways = ["{ADDRESS}"]\n[network]',
            )
            text = place.config.read_text()
            place.config.write_text(
                text.replace("[auth]", f'[auth]\nclients = ["{ADDRESS}"]')
                if "[auth]" in text
                else f'{text}\n[auth]\nclients = ["{ADDRESS}"]\n'
            )
            taken, left = reloader.reload()
            assert taken == [
                "auth.clients",
                "blacklist.always",
                "blacklist.failures",
                "log.level",
                "node.uplink_mbit",
            ]
            assert node.replicator.dissemination.plumtree.uplink_bytes_s == 7 * 125_000
            assert left == []
            assert log.level == "debug"
            assert node.blacklisting.machine.rules.failures == 9
            assert node.blacklisting.is_blocked(STRANGER.account)
            assert node.settings.clients == {STRANGER.account}
            assert node.service.may_call(STRANGER.account)
            assert reloader.reload() == ([], [])

    with caplog.at_level(logging.WARNING, "mycelium.node.reloading"):
        run(main())
    assert "changed are auth.clients, blacklist.always" in caplog.text


def test_a_client_that_is_taken_off_the_list_loses_its_session(tmp_path):
    (place,) = places(tmp_path, 1)

    async def main():
        async with reloadable(place) as (node, reloader, _):
            place.config.write_text(f"{place.config.read_text()}\n[log]\n")
            with_client = configuration.read(place.config, {"auth.clients": ADDRESS}, {})
            reloader._read = lambda: with_client
            reloader.reload()
            async with connect(node.url, STRANGER, node.account) as remote:
                await remote.status()
                reloader._read = lambda: configuration.read(place.config, {"auth.clients": ""}, {})
                assert reloader.reload()[0] == ["auth.clients"]
                with pytest.raises(MyceliumError):
                    await remote.status()

    run(main())


def test_what_needs_a_restart_is_said_each_time(tmp_path, caplog):
    (place,) = places(tmp_path, 1)

    async def main():
        async with reloadable(place) as (node, reloader, log):
            before = node.settings
            amend(place, f"127.0.0.1:{place.port}", "127.0.0.1:1")
            amend(place, "[network]", '[log]\nlevel = "error"\n[network]')
            assert reloader.reload() == (["log.level"], ["node.listen"])
            assert reloader.reload() == ([], ["node.listen"])
            assert node.settings.port == before.port
            assert log.level == "error"

    with caplog.at_level(logging.WARNING, "mycelium.node.reloading"):
        run(main())
    assert caplog.text.count("stay as they were: node.listen -- restart it") == 2


def test_a_mistake_changes_nothing(tmp_path, caplog):
    (place,) = places(tmp_path, 1)

    async def main():
        async with reloadable(place) as (node, reloader, log):
            before = node.settings
            member = accounts.format(place.account)
            for wrong in (
                '[log]\nlevel = "loud"\n[blacklist]\nfailures = 9\n',
                f'[blacklist]\nfailures = 9\nalways = ["{member}x"]\n',
                "[blacklist",
            ):
                text = place.config.read_text()
                place.config.write_text(text + "\n" + wrong)
                assert reloader.reload() == ([], [])
                place.config.write_text(text)
            place.config.unlink()
            assert reloader.reload() == ([], [])
            assert node.settings is before
            assert log.level == ""

    with caplog.at_level(logging.ERROR, "mycelium.node.reloading"):
        run(main())
    assert caplog.text.count("nothing is changed") == 4


def test_peers_and_bootstrap_are_dialled_anew(tmp_path):
    network = places(tmp_path, 2, dials={0: [], 1: []})

    async def main():
        async with Mesh(network) as mesh:
            await mesh.start()
            node = mesh.nodes[1]
            now = configuration.read(network[1].config, {}, {})
            url = network[0].url
            later = configuration.read(network[1].config, {"node.bootstrap": url}, {})
            reloader = Reloader(now, None, lambda: later)
            reloader.node = node
            taken, left = reloader.reload()
            assert (taken, left) == (["node.bootstrap"], [])
            await until(lambda: len(node.replicator.members()) == 1, "the other node's session")

    run(main())


def test_before_the_node_is_there_only_the_level_changes(tmp_path):
    (place,) = places(tmp_path, 1)
    now = configuration.read(place.config, {}, {})
    later = configuration.read(place.config, {"log.level": "debug", "blacklist.failures": "9"}, {})
    log = Log()
    assert Reloader(now, log, lambda: later).reload() == (["log.level"], ["blacklist.failures"])
    assert log.level == "debug"


def test_every_setting_that_reloads_is_one_that_apply_takes():
    assert {option.path.split(".")[0] for option in options.OPTIONS if option.reload} == {
        "node",
        "peers",
        "blacklist",
        "auth",
        "log",
    }


def test_sighup_reloads_a_running_process(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    with clikit.running(place.config) as (process, _):
        place.config.write_text(place.config.read_text() + "\n[blacklist]\nfailures = 9\n")
        process.send_signal(signal.SIGHUP)
        said = json.loads(process.stderr.readline())
        assert said["event"] == "the configuration was read again: changed are blacklist.failures"
        clikit.invoke("node", "status", "--config", place.config)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
