"""`mycelium blacklist` and `mycelium peers` against two nodes in processes of their own."""

from __future__ import annotations

import json

import clikit
import kit
import pytest
from clikit import invoke, invoke_json, running

from mycelium.devnet.layout import prepare
from mycelium.identity.account import format as format_account

NOBODY = format_account(kit.keypair("nobody").account)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two nodes that have a session; whoever changes their lists sets them right again."""
    one, other = prepare(tmp_path_factory.mktemp("net") / "net", 2)
    with running(one.config), running(other.config):
        yield one, other


def connected(place):
    while True:
        found = invoke_json("peers", "--config", place.config)
        if any(peer["connected"] for peer in found):
            return found


def test_peers(pair):
    one, other = pair
    (found,) = connected(one)
    assert (found["account"], found["role"], found["score"]) == (other.address, "validator", 0)
    assert found["standing"] == "alive"
    out, _ = invoke("peers", "--config", one.config)
    assert f"{other.address[:6]}..{other.address[-6:]}" in out
    assert "validator" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_list_that_is_empty(tmp_path):
    (one,) = prepare(tmp_path / "net", 1)
    with running(one.config):
        assert invoke("blacklist", "list", "--config", one.config)[0] == "there is nothing against anybody\n"
        assert invoke_json("blacklist", "list", "--config", one.config) == []
        assert invoke("peers", "--config", one.config)[0] == "no peer is connected\n"


def test_add_and_remove(pair):
    one, other = pair
    connected(one)
    out, _ = invoke("blacklist", "add", other.address, "--why", "lies", "--config", one.config)
    assert out == f"{other.address} is listed: always\n"
    (found,) = [
        found
        for found in invoke_json("blacklist", "list", "--config", one.config)
        if found["account"] == other.address
    ]
    assert (found["account"], found["standing"], found["by"]) == (other.address, "blacklisted", "operator")
    out, _ = invoke("blacklist", "list", "--config", one.config)
    assert "blacklisted" in out
    assert "lies" in out
    out, _ = invoke("blacklist", "explain", other.address, "--config", one.config)
    assert out.startswith(f"{other.address}: blacklisted: blacklisted by the operator: lies\n")
    out, _ = invoke("peers", "--config", one.config)
    assert f"{other.address}: blacklisted by the operator: lies\n" in out
    found = invoke_json("peers", "--config", one.config)
    assert [(peer["connected"], peer["account"]) for peer in found] == [(False, other.address)]
    out, _ = invoke("blacklist", "remove", other.address, "--config", one.config)
    assert out == f"{other.address} is pardoned; it is good\n"
    connected(one)
    (found,) = invoke_json("blacklist", "explain", other.address, "--config", one.config)
    assert found["pardoned_s"] > 0


def test_the_other_list(pair):
    one, _ = pair
    (found,) = invoke_json("blacklist", "add", NOBODY, "--never", "--config", one.config)
    assert (found["listed"], found["standing"], found["member"]) == ("never", "good", False)
    (found,) = invoke_json("blacklist", "remove", NOBODY, "--config", one.config)
    assert found["listed"] == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("remove", NOBODY), "there is nothing against"),
        (("add", "5Fnonsense"), "is not"),
        (("explain", "x"), "is not"),
    ],
    ids=["nothing against", "no account", "no account to explain"],
)
def test_what_cannot_be_done(pair, arguments, said):
    one, _ = pair
    _, err = invoke("blacklist", *arguments, "--config", one.config, code=2)
    assert said in err
    _, err = invoke("blacklist", *arguments, "--config", one.config, "--json", code=2)
    assert said in json.loads(err)["error"]


def test_a_node_does_not_list_itself(pair):
    one, _ = pair
    _, err = clikit.run("blacklist", "add", one.address, "--config", one.config, code=2)
    assert "its own account" in err
