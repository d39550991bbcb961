"""Runs other people's clients: each in its own environment and process, against a chain.

A script is in tests/clients/scripts and holds scenarios. One run is one scenario: it is given the chain's url and
arguments, and what it prints last is a line of JSON, which the test holds against the chain's state. What several
clients must see alike is asserted here, once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.population import account
from mycelium.identity import account as accounts

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parent / "scripts"
TAO = 10**9
NETUID = 1
ALICE, NEW = "//Alice", "//of//a//client"
RUN_S_MAX = 100
ENVIRONMENT_S_MAX = 600
"""Of a test that may be the first to need its environment."""

on_old_and_new_runtimes = pytest.mark.parametrize(
    "runtime",
    [RuntimeSpec(), RuntimeSpec(spec_version=437, netuid_newtype=True, grown=True)],
    ids=["spec 424", "newer"],
)

_spec = importlib.util.spec_from_file_location("client_env", ROOT / "ci" / "client_env.py")
client_env = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client_env)


def address(path):
    """The SS58 address of a development path."""
    return accounts.format(account(path))


def state(chain, pallet, item, *keys):
    """What the chain has in a storage item now, decoded."""
    return chain.run(lambda core: core.runtime.state(core.chain.storage).get(pallet, item, *keys))


def free(chain, path):
    return state(chain, "System", "Account", address(path))["data"]["free"]


def hotkeys_and_permits(chain):
    """Of the subnet's neurons, in the order of their uids."""
    uids = range(state(chain, "SubtensorModule", "SubnetworkN", NETUID))
    hotkeys = [state(chain, "SubtensorModule", "Keys", NETUID, uid) for uid in uids]
    return hotkeys, state(chain, "SubtensorModule", "ValidatorPermit", NETUID)


def two_transfers_were_seen(chain, before, first, second):
    """5 TAO each from ALICE, who had `before`, to NEW: the receipts of a substrate-interface."""
    assert free(chain, NEW) == 10 * TAO
    assert free(chain, ALICE) == before - 10 * TAO - first["fee"] - second["fee"]
    assert (first["success"], first["error"], first["identifier"]) == (True, None, "1-1")
    assert (second["success"], second["finalised"], second["identifier"]) == (True, True, "2-1")
    happened = ["Balances.Transfer", "TransactionPayment.TransactionFeePaid", "System.ExtrinsicSuccess"]
    assert [event for event in first["events"] if event in happened] == happened
    assert "System.NewAccount" in first["events"]
    assert "System.NewAccount" not in second["events"]
    assert first["block"] == chain.run(lambda core: f"0x{core.chain.hash_of(1).hex()}")


def heads_and_a_transfer_were_seen(chain, found, to):
    """Heads in order, and a balance before and after 7 TAO came to it."""
    first, *others = found["heads"]
    assert others == [first + 1, first + 2, first + 3]
    before, after = found["frees"]
    assert after == before + 7 * TAO == free(chain, to)


def client(name, script):
    """A fixture: `run(scenario, chain, **arguments)` of a script in the environment of a client."""

    @pytest.fixture
    def run(tmp_path):
        try:
            environment = client_env.environment(name)
        except client_env.Unavailable as error:
            pytest.skip(f"no environment for {name}: {error}")

        def run(scenario, chain, **arguments):
            return run_in(environment, SCRIPTS / script, tmp_path, scenario, chain.url, arguments)

        return run

    return run


def run_in(environment, script, home, scenario, url, arguments):
    """One run. Clients keep things in their user's home, which is the test's own here."""
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment.variables()}
    command = [*environment.command(script), scenario, url, json.dumps(arguments)]
    done = subprocess.run(
        command, env=variables, cwd=home, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    said = done.stdout.splitlines()
    if done.returncode or not said:
        pytest.fail(f"{scenario} left with {done.returncode}:\n{done.stdout}{done.stderr}", pytrace=False)
    return json.loads(said[-1])
