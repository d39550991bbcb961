"""Submissions: each sent once, each nonce its own, and an end to every wait, whatever blocks and nodes do."""

from __future__ import annotations

import time

import bittensor_core
import pytest
import substrateinterface
from chain.clientkit import until
from chain.submitkit import ALICE, BOB, POOR, TAO, Later, balance, pooled, to, transfer

from mycelium.chain import refusals
from mycelium.devnet.chain.population import RICH_RAO
from mycelium.errors import (
    ExtrinsicFailed,
    ExtrinsicInvalid,
    ExtrinsicTimeout,
    UsageError,
)

# --- what becomes of one ------------------------------------------------------------------------------------


def test_included_with_its_events_and_fee(chain):
    with to(chain) as connection:
        receipt = connection.submit(transfer(connection), ALICE)
        assert receipt.success
        assert receipt.check() is receipt
        assert receipt.block_hash == connection.hash_of(receipt.block_number)
        assert ("Balances", "Transfer") in [(event.pallet, event.name) for event in receipt.events]
        assert balance(connection, ALICE) == RICH_RAO - TAO - receipt.fee_rao
        assert receipt.fee_rao > 0


@pytest.mark.parametrize(("wait", "number"), [("submitted", None), ("included", 1), ("finalised", 1)])
def test_what_can_be_waited_for(chain, wait, number):
    with to(chain) as connection:
        receipt = connection.submit(transfer(connection), ALICE, wait=wait)
        assert (receipt.success, receipt.block_number) == (True, number)
        assert receipt.hash.startswith("0x")


def test_finality_is_waited_for(stepped):
    with to(stepped) as connection:
        later = Later(lambda: connection.submit(transfer(connection), ALICE, wait="finalised"))
        until(lambda: pooled(stepped))
        stepped.step()
        time.sleep(0.05)
        assert not later.done
        stepped.step(2)
        assert later.result().block_number == 1


def test_a_call_that_fails_is_named(chain):
    with to(chain) as connection:
        receipt = connection.submit(transfer(connection, RICH_RAO * 2), ALICE)
        assert not receipt.success
        assert str(receipt.error) == "Token.FundsUnavailable"
        register = connection.compose(
            "SubtensorModule", "burned_register", {"netuid": 77, "hotkey": BOB.account}
        )
        receipt = connection.submit(register, ALICE)
        assert receipt.error.pallet == "SubtensorModule"
        assert receipt.error.name
        with pytest.raises(ExtrinsicFailed, match=r"SubtensorModule\.") as caught:
            receipt.check()
        assert (caught.value.pallet, caught.value.name) == ("SubtensorModule", receipt.error.name)


@pytest.mark.parametrize(
    "keypair",
    [
        ALICE,
        substrateinterface.Keypair.create_from_uri("//Alice"),
        bittensor_core.Keypair.create_from_uri("//Alice"),
    ],
    ids=["ours", "substrateinterface", "bittensor_core"],
)
def test_keypairs_of_others(chain, keypair):
    with to(chain) as connection:
        assert connection.submit(transfer(connection), keypair).success


@pytest.mark.parametrize("era_blocks", [None, 4, 5, 8, 64, 65_536])
def test_eras(chain, era_blocks):
    chain.step(100)
    with to(chain) as connection:
        assert connection.submit(transfer(connection), ALICE, era_blocks=era_blocks).success


def test_an_era_while_finality_hangs_back(stepped):
    stepped.step(20)
    stepped.faults.stall_finality()
    stepped.step(50)
    with to(stepped) as connection:
        later = Later(lambda: connection.submit(transfer(connection), ALICE))
        until(lambda: pooled(stepped))
        stepped.step()
        assert later.result().success


def test_a_dry_run_changes_nothing(chain):
    with to(chain) as connection:
        receipt = connection.submit(transfer(connection), ALICE, dry_run=True)
        assert receipt.success
        assert receipt.block_number is None
        real = connection.submit(transfer(connection), ALICE)
        assert (real.block_number, real.fee_rao) == (1, receipt.fee_rao)
        failing = connection.submit(transfer(connection, RICH_RAO * 2), ALICE, dry_run=True)
        assert str(failing.error) == "Token.FundsUnavailable"
        with pytest.raises(ExtrinsicInvalid, match="cannot pay the fee"):
            connection.submit(transfer(connection), POOR, dry_run=True)


# --- refused ------------------------------------------------------------------------------------------------


def test_refusals_have_the_code_and_a_remedy(chain):
    with to(chain) as connection:
        with pytest.raises(ExtrinsicInvalid, match="cannot pay the fee") as caught:
            connection.submit(transfer(connection), POOR)
        assert caught.value.code == 1010
        assert caught.value.remedy
        connection.submit(transfer(connection), ALICE)
        with pytest.raises(ExtrinsicInvalid, match="nonce was used before"):
            connection.submit(transfer(connection), ALICE, nonce=0)
        assert connection.submit(transfer(connection), ALICE).success


def test_a_rule_of_the_chains_own_is_a_number(chain):
    with to(chain) as connection:
        place = {"ip": 0x0A000001, "port": 8091, "ip_type": 4, "version": 1, "protocol": 4}
        call = connection.compose(
            "SubtensorModule", "serve_axon", {"netuid": 1, "placeholder1": 0, "placeholder2": 0, **place}
        )
        for dry_run in (False, True):
            with pytest.raises(ExtrinsicInvalid, match="custom error 10") as caught:
                connection.submit(call, ALICE, dry_run=dry_run)
            assert refusals.custom_of(caught.value) == 10  # not registered


def test_a_refused_nonce_leaves_no_gap(chain):
    with to(chain) as connection:
        chain.faults.stall_head()
        for _ in range(3):
            with pytest.raises(ExtrinsicInvalid):
                connection.submit(transfer(connection), POOR, wait="submitted")
        first = connection.submit(transfer(connection), ALICE, wait="submitted")
        assert first.success
        chain.faults.stall_head(False)
        assert connection.submit(transfer(connection), ALICE).success


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"wait": "for ever"}, "submitted, included, finalised can"),
        ({"era_blocks": 0}, "an era of 0 blocks"),
        ({"era_blocks": 100_000}, "an era of 100000 blocks"),
        ({"nonce": -1}, "cannot be signed"),
    ],
)
def test_what_cannot_be_submitted(chain, keywords, says):
    with to(chain) as connection, pytest.raises(UsageError, match=says):
        connection.submit(transfer(connection), ALICE, **keywords)


# --- several at once ----------------------------------------------------------------------------------------


def test_two_within_one_block(stepped):
    with to(stepped) as connection:
        receipts = [connection.submit(transfer(connection), ALICE, wait="submitted") for _ in range(2)]
        assert len({receipt.hash for receipt in receipts}) == 2
        stepped.step()
        assert balance(connection, BOB) == RICH_RAO + 2 * TAO


def test_many_threads_and_one_account(stepped):
    with to(stepped) as connection:
        later = [Later(lambda: connection.submit(transfer(connection), ALICE)) for _ in range(12)]
        until(lambda: pooled(stepped) == 12)
        stepped.step()
        assert {one.result().block_number for one in later} == {1}
        assert balance(connection, BOB) == RICH_RAO + 12 * TAO


def test_another_program_with_the_same_key(stepped):
    with to(stepped) as first, to(stepped) as second:
        first.submit(transfer(first), ALICE, wait="submitted")
        second.submit(transfer(second), ALICE, wait="submitted")
        stepped.step()
        assert balance(first, BOB) == RICH_RAO + 2 * TAO
        # What the first knows is behind by now; the node's count leads.
        first.submit(transfer(first), ALICE, wait="submitted")
        stepped.step()
        assert balance(first, BOB) == RICH_RAO + 3 * TAO


def test_a_nonce_that_another_program_took_meanwhile_is_drawn_anew(stepped, monkeypatch):
    with to(stepped) as connection:
        connection.submit(transfer(connection), ALICE, wait="submitted")
        connection._submitter.nonces.release(ALICE.account, 0)
        real = connection._submitter._heads_and_nonce
        behind = [0]

        def late(account):
            best, final, node_next = real(account)
            return best, final, behind.pop() if behind else node_next

        monkeypatch.setattr(connection._submitter, "_heads_and_nonce", late)
        # The same nonce, of the same priority: 1014, and then anew with the next one.
        connection.submit(transfer(connection, 2 * TAO), ALICE, wait="submitted")
        stepped.step()
        assert balance(connection, BOB) == RICH_RAO + 3 * TAO


# --- blocks that go away, or do not come --------------------------------------------------------------------


def test_a_reorganisation_while_finality_is_waited_for(stepped):
    with to(stepped) as connection:
        stepped.step(5)
        later = Later(lambda: connection.submit(transfer(connection), ALICE, wait="finalised"))
        until(lambda: pooled(stepped))
        stepped.step()
        stepped.faults.reorg(1)
        until(lambda: pooled(stepped))
        assert not later.done
        stepped.step(4)
        receipt = later.result()
        assert receipt.success
        assert receipt.block_hash == connection.hash_of(receipt.block_number)
        assert receipt.block_number == 7


def test_a_block_that_is_gone_before_it_is_looked_at(stepped, monkeypatch):
    with to(stepped) as connection:
        stepped.step(5)
        look = connection._submitter._receipt
        looks = []

        def slow(signed, block_hash):
            looks.append(block_hash)
            if len(looks) == 1:
                stepped.faults.reorg(1)
                stepped.step()
            return look(signed, block_hash)

        monkeypatch.setattr(connection._submitter, "_receipt", slow)
        later = Later(lambda: connection.submit(transfer(connection), ALICE))
        until(lambda: pooled(stepped))
        stepped.step()
        receipt = later.result()
        assert len(looks) == 2
        assert receipt.block_hash == connection.hash_of(receipt.block_number) == looks[1]


def test_no_block_comes_and_the_wait_ends(chain):
    with to(chain) as connection:
        chain.faults.stall_head()
        began = time.monotonic()
        with pytest.raises(ExtrinsicTimeout, match="was not included in time") as caught:
            connection.submit(transfer(connection), ALICE, timeout_s=0.3)
        assert time.monotonic() - began < 2
        assert "until block" in caught.value.remedy
        with pytest.raises(ExtrinsicTimeout, match="was not finalised in time"):
            connection.submit(transfer(connection), ALICE, timeout_s=0.3, wait="finalised", era_blocks=None)


def test_one_that_the_node_gives_up(stepped):
    """Its era ends while it waits for a nonce that never comes."""
    with to(stepped) as connection:
        later = Later(lambda: connection.submit(transfer(connection), ALICE, nonce=5))
        until(lambda: pooled(stepped))
        stepped.step(12)
        with pytest.raises((ExtrinsicInvalid, ExtrinsicTimeout)) as caught:
            later.result()
        assert "gave the extrinsic up" in caught.value.what or "its era ended" in caught.value.what
        assert pooled(stepped) == 0
        # The nonce is free: the next submission is not stuck behind a gap.
        done = Later(lambda: connection.submit(transfer(connection), ALICE))
        until(lambda: pooled(stepped))
        stepped.step()
        assert done.result().success
