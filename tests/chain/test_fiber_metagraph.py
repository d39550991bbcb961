"""A subnet's nodes in a metagraph: which of two kinds a call makes, the file they are kept in, and the loop."""

from __future__ import annotations

import json
import logging
import threading

import pytest
from chain.clientkit import until
from chain.opskit import NETUID, VALIDATORS, running, ss58

from mycelium.chain import fetch_nodes, metagraph, node_list
from mycelium.chain.metagraph import Metagraph
from mycelium.chain.models import Node
from mycelium.chain.node_list import NodeList
from mycelium.errors import ChainError, ChainUnreachable, MetagraphError, UsageError

ME = ss58(VALIDATORS[1])


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def link():
    with running() as (chain, connection):
        chain.step(3)
        yield chain, connection


def node(hotkey="h", **more):
    fields = {"coldkey": "c", "node_id": 0, "incentive": 0, "netuid": NETUID, "stake": 1, "trust": 0}
    fields |= {"vtrust": 0, "last_updated": 0, "ip": "10.0.0.1", "ip_type": 4, "port": 1}
    return Node(hotkey=hotkey, **{**fields, **more})


# --- two kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("s", "1"), {}),
        ((None, 1), {}),
        ((None, 1, False), {}),
        ((None,), {"netuid": 1}),
        ((), {"substrate": None, "netuid": "1"}),
        ((), {"netuid": 1, "substrate": None, "load_old_nodes": True}),
    ],
)
def test_called_as_fibers_was(arguments, keywords):
    made = Metagraph(*arguments, **keywords)
    assert (type(made), made.netuid, made.nodes, made.is_in_sync) == (NodeList, 1, {}, False)
    assert isinstance(made, Metagraph)
    assert made.load_old_nodes is not (False in arguments)
    assert isinstance(made.stop_event, threading.Event)
    assert made
    assert len(made) == 0
    assert repr(made) == "<Metagraph of subnet 1: 0 nodes>"


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((1,), {}),
        ((1, "s"), {}),
        ((1,), {"substrate": "s"}),
        ((), {"netuid": 1}),
        ((), {"netuid": 1, "substrate": "s", "mechanism": 0}),
    ],
)
def test_called_as_it_always_was(arguments, keywords):
    made = Metagraph(*arguments, **keywords)
    assert (type(made), made.netuid, made.n) == (Metagraph, 1, 0)


@pytest.mark.parametrize("wrong", ["x", None, 70_000, "-1"])
def test_what_is_no_netuid(wrong):
    with pytest.raises(UsageError, match="a netuid is"):
        Metagraph(None, wrong)
    with pytest.raises(UsageError, match="a netuid is"):
        Metagraph(object())


def test_it_is_the_other_kind_too(link):
    _, connection = link
    both = Metagraph(substrate=connection, netuid=NETUID)
    assert both.sync()
    assert (both.get_uid(ME), both.nodes, len(both)) == (1, {}, 6)
    both.sync_nodes()
    assert both.nodes[ME].node_id == 1
    assert len(both) == 6


def test_names_that_are_loaded_late():
    assert metagraph.fetch_nodes is fetch_nodes
    assert metagraph.models.Node is Node


# --- reading ----------------------------------------------------------------------------------------------


def test_nodes_are_read(link):
    _, connection = link
    made = Metagraph(connection, str(NETUID), load_old_nodes=False)
    made.sync_nodes()
    assert made.is_in_sync
    assert made.nodes[ME].stake == 2000.0


def test_reading_without_a_connection():
    made = Metagraph(None, NETUID)
    with pytest.raises(MetagraphError, match="no connection"):
        made.sync_nodes()


def test_what_fails_changes_nothing(link):
    made = Metagraph(link[1], 99)
    made.nodes = {"h": node()}
    with pytest.raises(ChainError, match="no subnet 99"):
        made.sync_nodes()
    assert list(made.nodes) == ["h"]


# --- the loop ---------------------------------------------------------------------------------------------


def looping(made):
    thread = threading.Thread(target=made.periodically_sync_nodes, daemon=True)
    thread.start()
    return thread


def ended(made, thread):
    made.stop_event.set()
    thread.join(10)
    return not thread.is_alive()


def test_no_error_ends_the_loop(monkeypatch, caplog):
    answers = [ChainUnreachable("nobody answers"), TypeError("a bug"), [node()], KeyError("x"), [node("g")]]
    asked = []

    def get(substrate, netuid):
        asked.append((substrate, netuid))
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(fetch_nodes, "get_nodes_for_netuid", get)
    monkeypatch.setattr(node_list, "SYNC_S", 0.01)
    monkeypatch.setattr(node_list, "RETRY_S", 0.001)
    made = Metagraph("s", NETUID, load_old_nodes=False)
    thread = looping(made)
    until(lambda: "g" in made.nodes)
    assert ended(made, thread)
    assert set(asked) == {("s", NETUID)}
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failed) >= 3
    assert "check the endpoint" in failed[0].getMessage()
    assert failed[0].exc_info


def test_each_failure_is_waited_for_longer(monkeypatch):
    made = Metagraph("s", NETUID, load_old_nodes=False)
    waited = []

    class Event:
        def wait(self, seconds):
            waited.append(seconds)
            return len(waited) == 10

    made.stop_event = Event()
    outcomes = iter([True] * 8 + [False])

    def get(*_):
        if next(outcomes):
            raise ChainUnreachable("nobody answers")
        return [node()]

    monkeypatch.setattr(fetch_nodes, "get_nodes_for_netuid", get)
    made.periodically_sync_nodes()
    assert waited == [0, 5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_the_loop_ends_at_once_when_it_waits():
    made = Metagraph("s", NETUID)
    made.is_in_sync = True  # then it waits for five minutes first
    thread = looping(made)
    assert thread.is_alive()
    assert ended(made, thread)


def test_shutdown_ends_it_and_keeps_the_nodes(directory):
    made = Metagraph("s", NETUID)
    made.nodes, made.is_in_sync = {"h": node()}, True
    thread = looping(made)
    made.shutdown()
    thread.join(10)
    assert not thread.is_alive()
    assert json.loads((directory / "nodes.json").read_text())["h"]["ip"] == "10.0.0.1"


# --- the file ---------------------------------------------------------------------------------------------


def test_nodes_are_kept_and_found_again(directory):
    made = Metagraph(None, NETUID)
    made.nodes = {"h": node(alpha_stake=2.0), "i": node("i", ip="2001:db8::1")}
    made.save_nodes()
    assert [path.name for path in directory.iterdir()] == ["nodes.json"]
    again = Metagraph(None, NETUID)
    assert again.is_in_sync
    assert again.nodes == made.nodes
    assert int(again.nodes["h"].ip) == 167_772_161
    assert not Metagraph(None, NETUID, False).nodes


def test_a_file_of_an_older_version(directory):
    old = node().model_dump(mode="json", exclude={"alpha_stake", "tao_stake"})
    newer = node("i").model_dump(mode="json") | {"ip": "167772161"}
    (directory / "nodes.json").write_text(json.dumps({"h": old, "i": newer}))
    made = Metagraph(None, NETUID)
    assert made.nodes["h"].alpha_stake == 0.0
    assert made.nodes["i"].ip == "10.0.0.1"


@pytest.mark.parametrize("bad", ["{", "[]", '{"h": {}}', '{"h": 5}', "null", "[" * 100_000, "\xff"])
def test_a_file_that_is_bad_is_passed_over(directory, caplog, bad):
    (directory / "nodes.json").write_bytes(bad.encode("latin-1"))
    made = Metagraph(None, NETUID)
    assert (made.nodes, made.is_in_sync) == ({}, False)
    assert "nodes.json cannot be read and is passed over" in caplog.text


def test_a_file_of_another_subnet_is_passed_over(directory, caplog):
    made = Metagraph(None, 7)
    made.nodes = {"h": node(netuid=7)}
    made.save_nodes()
    assert not Metagraph(None, NETUID).nodes
    assert "another subnet" in caplog.text


def test_nothing_is_not_kept(directory, caplog):
    made = Metagraph(None, NETUID)
    made.save_nodes()
    Metagraph(None, NETUID, load_old_nodes=False).save_nodes()
    assert list(directory.iterdir()) == []
    assert caplog.text.count("no nodes to keep") == 1


def test_a_directory_that_cannot_be_written(directory):
    made = Metagraph(None, NETUID)
    made.nodes = {"h": node()}
    (directory / "nodes.json").mkdir()
    with pytest.raises(OSError, match="nodes"):
        made.save_nodes()
    assert [path.name for path in directory.iterdir()] == ["nodes.json"]
