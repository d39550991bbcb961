"""async-substrate-interface 2.x, unmodified, against the development chain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clients.runkit import (
    ALICE,
    ENVIRONMENT_S_MAX,
    NETUID,
    NEW,
    TAO,
    address,
    client,
    free,
    heads_and_a_transfer_were_seen,
    hotkeys_and_permits,
    on_old_and_new_runtimes,
    state,
    two_transfers_were_seen,
)

from mycelium.devnet.chain.population import development
from mycelium.devnet.chain.thread import ThreadedChain

pytestmark = pytest.mark.timeout(ENVIRONMENT_S_MAX)
run = client("async-substrate-interface", "uses_async_substrate_interface.py")


@on_old_and_new_runtimes
def test_it_reads(run, runtime):
    with ThreadedChain(replace(development(), runtime=runtime)) as chain:
        chain.step(3)
        found = run("reads", chain, account=address(ALICE), netuid=NETUID)
        account = state(chain, "System", "Account", address(ALICE))
        hotkeys, permits = hotkeys_and_permits(chain)
        head = chain.run(lambda core: f"0x{core.chain.best.hash.hex()}")
    assert found["chain"] == "Mycelium development chain"
    assert found["spec_version"] == runtime.spec_version
    assert found["pallets"] == 16
    assert found["free"] == account["data"]["free"] == 1_000_000 * TAO
    assert found["several"] == [account, 20]
    assert found["nonce"] == found["next_nonce"] == 0
    assert found["keys"] == [list(pair) for pair in enumerate(hotkeys)]
    assert found["deposit"] == 500
    assert found["number"] == 3
    assert found["head"] == found["finalised"] == head
    assert found["metagraph"] == [NETUID, hotkeys, 3]
    assert found["lite"] == [[uid, *pair] for uid, pair in enumerate(zip(hotkeys, permits, strict=True))]
    assert found["chosen"] == [NETUID, hotkeys]


def test_it_transfers_and_sees_what_happened(chain, run):
    before = free(chain, ALICE)
    found = run("moves", chain, signer=ALICE, to=address(NEW), rao=5 * TAO)
    first, second = found["receipts"]
    two_transfers_were_seen(chain, before, first, second)
    # It asks for an immortal extrinsic's fee, which is one byte shorter.
    assert found["told"] == second["fee"] < first["fee"]


def test_what_fails_says_why(chain, run):
    before, too_much = free(chain, ALICE), 10**7 * TAO
    found = run(
        "fails", chain, signer=ALICE, to=address(NEW), rao=too_much, hotkey=address(NEW), netuid=NETUID
    )
    module, token = found["module"], found["token"]
    assert (module["success"], module["error"]["name"]) == (False, "HotKeyAccountNotExists")
    assert (token["success"], token["error"]["name"], token["error"]["docs"]) == (
        False,
        "Token",
        "FundsUnavailable",
    )
    assert free(chain, ALICE) == before - module["fee"] - token["fee"], "a call that fails is paid for"
    assert "'code': 1010" in found["stale"]
    assert "Transaction is outdated" in found["stale"]


def test_it_follows_heads_and_storage(run):
    with ThreadedChain(blocks="time", block_ms=100) as chain:
        found = run("watches", chain, signer=ALICE, to=address("//Bob"), rao=7 * TAO)
        heads_and_a_transfer_were_seen(chain, found, "//Bob")


def test_it_asks_again_when_its_connection_was_dropped(chain, run):
    found = run("returns", chain, account=address(ALICE), netuid=NETUID)
    assert found["dropped"] == 1
    assert found["answers"] == [0, f"0x{chain.genesis.hex()}"]
    assert found["same"]
    assert found["tempo"] == 20


def test_it_outlives_a_runtime_upgrade(chain, run):
    found = run("outlives", chain, signer=ALICE, to=address(NEW), rao=TAO, netuid=NETUID)
    assert found["succeeded"] == [True, True]
    assert found["version"] == 425
    assert found["grown"] == [[NETUID, False], [NETUID, True]]
    assert free(chain, NEW) == 2 * TAO
