"""substrate-interface 1.8, unmodified, against the development chain."""

from __future__ import annotations

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
    state,
    two_transfers_were_seen,
)

from mycelium.devnet.chain.population import validator_path
from mycelium.devnet.chain.thread import ThreadedChain

pytestmark = pytest.mark.timeout(ENVIRONMENT_S_MAX)
run = client("substrate-interface", "uses_substrate_interface.py")


def test_it_reads(chain, run):
    chain.step(3)
    found = run("reads", chain, account=address(ALICE), netuid=NETUID)
    assert found["chain"] == "Mycelium development chain"
    assert found["spec_version"] == found["version"] == 424
    assert found["token"] == ["TAO", 9, 42]
    assert found["pallets"] == 16
    account = state(chain, "System", "Account", address(ALICE))
    assert found["free"] == account["data"]["free"] == 1_000_000 * TAO
    assert found["several"] == [account, 20]
    assert found["nonce"] == found["called"] == 0
    hotkeys, _ = hotkeys_and_permits(chain)
    assert found["keys"] == [list(pair) for pair in enumerate(hotkeys)]
    assert found["deposit"] == 500
    assert (found["number"], found["calls"]) == (3, ["set"])
    assert found["head"] == found["finalised"] == chain.run(lambda core: f"0x{core.chain.best.hash.hex()}")


def test_it_transfers_and_sees_what_happened(chain, run):
    before = free(chain, ALICE)
    first, second = run("moves", chain, signer=ALICE, to=address(NEW), rao=5 * TAO)
    two_transfers_were_seen(chain, before, first, second)


def test_a_fee_is_what_was_said_before(chain, run):
    """Balances are u64 on Subtensor, here as there, and the client's own type for an answer to `query_info` has u128:
    `get_payment_info` fails on the public chain too, until the client is told that its `Balance` is a u64."""
    found = run("fees", chain, signer=ALICE, to=address(NEW), rao=TAO)
    assert "<U128>" in found["refused"]
    assert int(found["asked"]) == found["told"] == found["paid"] > 0


def test_what_fails_says_why(chain, run):
    before, too_much = free(chain, ALICE), 10**7 * TAO
    found = run(
        "fails", chain, signer=ALICE, to=address(NEW), rao=too_much, hotkey=address(NEW), netuid=NETUID
    )
    module, token = found["module"], found["token"]
    assert (module["success"], module["error"]["name"]) == (False, "HotKeyAccountNotExists")
    # The client names errors of modules and four others; of the tokens' it keeps nothing but the event.
    assert (token["success"], token["error"]) == (False, None)
    assert found["said"] == {"Token": "FundsUnavailable"}
    assert token["events"][-1] == "System.ExtrinsicFailed"
    assert free(chain, ALICE) == before - module["fee"] - token["fee"], "a call that fails is paid for"
    assert found["stale"] == {
        "code": 1010,
        "message": "Invalid Transaction",
        "data": "Transaction is outdated",
    }


def test_it_follows_heads_and_storage(run):
    with ThreadedChain(blocks="time", block_ms=100) as chain:
        found = run("watches", chain, signer=ALICE, to=address(validator_path(0)), rao=7 * TAO)
        heads_and_a_transfer_were_seen(chain, found, validator_path(0))


def test_it_connects_again_after_its_connection_was_dropped(chain, run):
    assert run("returns", chain, account=address(ALICE)) == {"dropped": 1, "lost": True, "same": True}


def test_it_outlives_a_runtime_upgrade(chain, run):
    found = run("outlives", chain, signer=ALICE, to=address(NEW), rao=TAO, netuid=NETUID)
    assert found["succeeded"] == [True, True]
    assert found["versions"] == [424, 425, 424], "the last read was of a block before the upgrade"
    assert found["tempos"] == [20, 20]
    assert free(chain, NEW) == 2 * TAO
