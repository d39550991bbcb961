"""The policy commands: checking, publishing on a chain, showing, granting, and each mistake in one line."""

import json
import signal
import time

import clikit
import pytest
from cli.test_devnet import finish, start

from mycelium.database import grants
from mycelium.devnet import chainlayout
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.identity import account as accounts

RULES = {
    "version": 1,
    "rules": [
        {"who": "owner", "tables": "*", "may": ["read", "put", "delete", "admin"]},
        {"who": "validator", "tables": "*", "may": ["read"]},
    ],
}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(RULES))
    return path


def test_check(document, tmp_path):
    (found,) = clikit.invoke_json("policy", "check", document)
    assert found["rules"] == 2
    out, _ = clikit.invoke("policy", "check", document)
    assert found["digest"] in out
    (tmp_path / "bad.json").write_text(
        '{"version": 1, "rules": [{"who": "king", "tables": "*", "may": ["read"]}]}'
    )
    _, err = clikit.invoke("policy", "check", tmp_path / "bad.json", code=2)
    assert "rules[0].who is 'king'" in err
    _, err = clikit.invoke("policy", "check", tmp_path / "nowhere.json", code=2)
    assert "nowhere.json" in err


def test_publishing_puts_it_in_force_in_the_next_epoch(document, tmp_path):
    process, started = start("up", "--nodes", 2, "--records", 0, "--dir", tmp_path / "net")
    try:
        owner, other = (node["config"] for node in started["nodes"])
        assert clikit.invoke_json("policy", "show", "--config", other)[0]["digest"] is None
        assert "the default one" in clikit.invoke("policy", "show", "--config", other)[0]
        (published,) = clikit.invoke_json("policy", "publish", document, "--config", owner)
        clikit.run("devnet", "fault", "step", 25, "--url", started["chain"]["url"])
        end = time.monotonic() + 20
        while (shown := clikit.invoke_json("policy", "show", "--config", other)[0])["document"] is None:
            assert time.monotonic() < end, shown
            time.sleep(0.1)
        assert shown["digest"] == published["digest"]
        assert json.loads(shown["document"]) == RULES
        assert published["digest"] in clikit.invoke("policy", "show", "--config", other)[0]
        _, err = clikit.invoke("put", "records", "k", "1", "--config", other, code=1)
        assert "may not write" in err
        clikit.invoke("put", "records", "k", "1", "--config", owner)
    finally:
        process.send_signal(signal.SIGTERM)
        finish(process, 130)


def test_grants(tmp_path):
    network = chainlayout.prepare(tmp_path / "net", 2)
    to = network.validators[1].address
    config = network.nodes[0].config
    with ThreadedChain(specfile.read(network.chain.spec), blocks="manual", port=network.chain.port) as chain:
        given = ("--to", to, "--tables", "main/records", "--epochs", "3-9", "--config", config)
        (found,) = clikit.invoke_json("policy", "grant", *given, "--prefix", "a/")
        name = grants.network_id(1, chain.genesis)
        grant = grants.read(bytes.fromhex(found["grant"]), name)
        assert (accounts.format(grant.holder), grant.id.hex()) == (to, found["id"])
        path = tmp_path / "one.grant"
        path.write_text(clikit.invoke("policy", "grant", *given)[0])
        handed = ("--to", to, "--tables", "main/records", "--epochs", "3-9", "--parent", path)
        (second,) = clikit.invoke_json("policy", "grant", *handed, "--config", network.nodes[1].config)
        assert len(grants.read(bytes.fromhex(second["grant"]), name).blocks) == 2
        for wrong, said in (
            (("--tables", "records"), "space/table"),
            (("--epochs", "x"), "FIRST-LAST"),
            (("--may", "fly"), "name put, delete"),
            (("--parent", tmp_path / "nowhere"), "nowhere"),
            (("--parent", path), "who alone can hand it on"),
        ):
            arguments = list(given)
            if wrong[0] in arguments:
                arguments[arguments.index(wrong[0]) + 1] = wrong[1]
            else:
                arguments += wrong
            _, err = clikit.invoke("policy", "grant", *arguments, code=2)
            assert said in err, err


def test_a_network_without_a_chain_has_no_policy(document, tmp_path):
    from mycelium.devnet.layout import prepare

    (place,) = prepare(tmp_path / "net", 1)
    _, err = clikit.invoke("policy", "publish", document, "--config", place.config, code=2)
    assert "a policy is named on chain" in err
