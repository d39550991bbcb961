"""@polkadot/api from npm, unmodified, against the development chain."""

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
)

from mycelium.devnet.chain.population import development
from mycelium.devnet.chain.thread import ThreadedChain

pytestmark = pytest.mark.timeout(ENVIRONMENT_S_MAX)
run = client("polkadot-api", "uses_polkadot_api.cjs")
HAPPENED = ["balances.Transfer", "transactionPayment.TransactionFeePaid", "system.ExtrinsicSuccess"]


@on_old_and_new_runtimes
def test_it_reads(run, runtime):
    with ThreadedChain(replace(development(), runtime=runtime)) as chain:
        chain.step(3)
        found = run("reads", chain, account=address(ALICE), netuid=NETUID)
        hotkeys, permits = hotkeys_and_permits(chain)
        genesis = f"0x{chain.genesis.hex()}"
    assert found["chain"] == "Mycelium development chain"
    assert (found["spec_version"], found["metadata"]) == (runtime.spec_version, 15)
    assert found["token"] == ["TAO", 9, 42]
    assert found["genesis"] == genesis
    assert found["free"] == [1_000_000 * TAO] * 2
    assert (found["nonce"], found["deposit"]) == (0, 500)
    assert found["keys"] == [list(pair) for pair in enumerate(hotkeys)]
    assert found["permits"] == permits
    assert found["metagraph"] == [NETUID, hotkeys, 3]
    assert found["lite"] == [[uid, *pair] for uid, pair in enumerate(zip(hotkeys, permits, strict=True))]
    assert (found["number"], found["calls"]) == (3, ["timestamp.set"])


def test_it_transfers_and_sees_what_happened(chain, run):
    before = free(chain, ALICE)
    found = run("moves", chain, signer=ALICE, to=address(NEW), rao=5 * TAO)
    mortal, immortal = found["mortal"], found["immortal"]
    assert free(chain, NEW) == 10 * TAO
    assert free(chain, ALICE) == before - 10 * TAO - mortal["fee"] - immortal["fee"]
    assert found["told"] == mortal["fee"]
    for one in (mortal, immortal):
        assert one["error"] is None
        assert (one["statuses"][0], one["statuses"][-1]) == ("Ready", "Finalized")
        assert [event for event in one["events"] if event in HAPPENED] == HAPPENED
    assert mortal["block"] == chain.run(lambda core: f"0x{core.chain.hash_of(1).hex()}")


def test_what_fails_says_why(chain, run):
    before, too_much = free(chain, ALICE), 10**7 * TAO
    found = run("fails", chain, signer=ALICE, to=address(NEW), rao=str(too_much), netuid=NETUID)
    assert found["module"]["error"] == "HotKeyAccountNotExists"
    assert found["token"]["error"] == {"token": "FundsUnavailable"}
    assert found["token"]["events"][-1] == "system.ExtrinsicFailed"
    paid = found["module"]["fee"] + found["token"]["fee"]
    assert free(chain, ALICE) == before - paid, "a call that fails is paid for"
    assert found["stale"] == "1010: Invalid Transaction: Transaction is outdated"


def test_it_follows_heads_storage_and_an_extrinsic(run):
    # Finality comes so late that it does not overtake the client while it looks at the block.
    with ThreadedChain(blocks="time", block_ms=100, finality_lag=8) as chain:
        found = run("watches", chain, signer=ALICE, to=address("//Bob"), rao=7 * TAO)
        heads_and_a_transfer_were_seen(chain, found, "//Bob")
        assert found["statuses"] == ["Ready", "InBlock", "Finalized"]


def test_it_comes_back_after_a_dropped_connection(chain, run):
    assert run("returns", chain, account=address(ALICE)) == {"dropped": 1, "same": True}


def test_it_outlives_a_runtime_upgrade(chain, run):
    found = run("outlives", chain, signer=ALICE, to=address(NEW), rao=TAO)
    assert found == {"errors": [None, None], "version": 425}
    assert free(chain, NEW) == 2 * TAO
