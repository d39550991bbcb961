"""Registration: never for more than is allowed, and nothing is paid for what is there already."""

from __future__ import annotations

import pytest
from chain.opskit import (
    ALICE,
    COLD,
    NETUID,
    OWNER,
    PALLET,
    TAO,
    VALIDATORS,
    FakeConnection,
    failed,
    running,
    ss58,
)

from mycelium.chain.balance import rao
from mycelium.chain.dispatch import Subject
from mycelium.chain.extrinsics import Receipt
from mycelium.chain.outcome import Outcome, perform
from mycelium.chain.registration import burned_register, current_burn, is_registered, uid_of
from mycelium.identity.keys import Keypair

NEW = Keypair.development("//new")
BURN = 100_000_000


@pytest.fixture
def link():
    with running() as (_, connection):
        yield connection


def free(connection, keypair):
    return connection.read("System", "Account", [ss58(keypair)])["data"]["free"]


def test_registered_for_the_price_that_was_shown(link):
    assert current_burn(link, NETUID) == BURN
    before = free(link, COLD)
    done = burned_register(link, COLD, NEW, NETUID, max_burn=rao("0.1")).check()
    assert (done.uid, done.burn_rao, done.hotkey) == (6, BURN, ss58(NEW))
    # The chain keeps to the limit too.
    assert (done.call, done.params["limit_price"]) == (f"{PALLET}.register_limit", BURN)
    assert free(link, COLD) == before - BURN - done.fee_rao
    assert uid_of(link, NETUID, NEW) == 6
    assert is_registered(link, NETUID, ss58(NEW))


def test_for_whatever_it_costs(link):
    done = burned_register(link, COLD, NEW, NETUID, max_burn=None).check()
    assert (done.call, done.uid) == (f"{PALLET}.burned_register", 6)


def test_what_is_registered_is_not_paid_for_again(link):
    head = link.head()
    done = burned_register(link, COLD, VALIDATORS[1], NETUID, max_burn=rao(0)).check()
    assert (done.success, done.call, done.sent, done.uid) == (True, "", False, 1)
    assert link.head() == head


def test_more_than_is_allowed_is_not_spent(link):
    head = link.head()
    refused = burned_register(link, COLD, NEW, NETUID, max_burn=rao("0.05"))
    assert (refused.rule, refused.sent, refused.burn_rao) == ("RegistrationPriceLimitExceeded", False, BURN)
    assert "it costs 0.1 TAO, of at most 0.05 TAO" in refused.reason
    assert link.head() == head


def test_a_price_that_rises_before_the_block_is_refused_by_the_chain():
    values = {
        "NetworkRegistrationAllowed": True,
        "Burn": BURN,
        "Owner": ss58(COLD),
        "Account": {"data": {"free": TAO}},
        "Uids": None,
    }
    connection = FakeConnection(
        values, calls=["register_limit"], submit=lambda *_: failed("RegistrationPriceLimitExceeded")
    )
    result = burned_register(connection, COLD, NEW, NETUID, max_burn=BURN)
    assert (result.rule, result.sent, result.uid) == ("RegistrationPriceLimitExceeded", True, None)


def test_an_older_chain_keeps_no_limit_and_is_asked_all_the_same():
    values = {
        "NetworkRegistrationAllowed": True,
        "Burn": BURN,
        "Owner": "absent",
        "Account": {"data": {"free": TAO}},
        "Uids": None,
    }
    connection = FakeConnection(
        {**values, "Owner": None},
        calls=["burned_register"],
        submit=lambda *_: Receipt("0x01", "0x02", 101, True),
    )
    result = burned_register(connection, COLD, NEW, NETUID, max_burn=BURN).check()
    assert result.call == f"{PALLET}.burned_register"
    assert set(result.params) == {"netuid", "hotkey"}


@pytest.mark.parametrize(
    ("netuid", "coldkey", "hotkey", "rule"),
    [
        (0, COLD, NEW, "RegistrationNotPermittedOnRootSubnet"),
        (9, COLD, NEW, "SubnetNotExists"),
        (NETUID, Keypair.development("//poor"), NEW, "NotEnoughBalanceToStake"),
    ],
)
def test_what_the_chain_would_refuse(link, netuid, coldkey, hotkey, rule):
    refused = burned_register(link, coldkey, hotkey, netuid, max_burn=rao(1))
    assert (refused.rule, refused.sent) == (rule, False)
    assert refused.remedy


def test_a_hotkey_of_another_coldkey():
    with running() as (chain, connection):
        uid = burned_register(connection, COLD, NEW, NETUID, max_burn=rao(1)).check().uid
        chain.faults.deregister(NETUID, uid)
        # Registered nowhere any more, it still belongs to who had it.
        refused = burned_register(connection, ALICE, NEW, NETUID, max_burn=rao(1))
        assert (refused.rule, refused.sent) == ("NonAssociatedColdKey", False)
        forced = perform(
            Outcome,
            connection,
            ALICE,
            Subject("burned_register", ss58(ALICE), NETUID),
            {"netuid": NETUID, "hotkey": ss58(NEW)},
            (),
        )
        assert forced.rule == "NonAssociatedColdKey"


def test_a_subnet_that_is_closed():
    with running(NetworkRegistrationAllowed=False) as (_, connection):
        refused = burned_register(connection, COLD, NEW, NETUID, max_burn=rao(1))
        assert (refused.rule, refused.sent) == ("SubNetRegistrationDisabled", False)


def test_a_dry_run_changes_nothing(link):
    head = link.head()
    result = burned_register(link, COLD, NEW, NETUID, max_burn=rao(1), dry_run=True)
    assert (result.success, result.sent, result.uid, result.burn_rao) == (True, False, None, BURN)
    assert result.fee_rao > 0
    assert link.head() == head
    assert "it costs 0.1 TAO, of at most 1 TAO" in result.describe()


@pytest.mark.parametrize("wrong", [0.5, "1", True])
def test_a_limit_is_whole_rao(link, wrong):
    with pytest.raises(TypeError, match="whole number"):
        burned_register(link, COLD, NEW, NETUID, max_burn=wrong)


def test_a_limit_must_be_given(link):
    with pytest.raises(TypeError, match="max_burn"):
        burned_register(link, OWNER, NEW, NETUID)
