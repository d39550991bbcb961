"""Stake: exact amounts, limits of the price, and what the chain would refuse, known beforehand."""

from __future__ import annotations

import pytest
from chain.opskit import ALICE, COLD, MINERS, NETUID, PALLET, TAO, VALIDATORS, FakeConnection, running, ss58

from mycelium.chain import staking
from mycelium.chain.balance import rao
from mycelium.chain.dispatch import Subject
from mycelium.chain.outcome import Outcome, perform
from mycelium.chain.staking import add_stake, remove_stake, staked, total_staked
from mycelium.errors import UnknownToChain, UsageError
from mycelium.identity.keys import Keypair

ME = VALIDATORS[1]
STRANGER = Keypair.development("//stranger")


@pytest.fixture
def link():
    with running() as (_, connection):
        yield connection


def free(connection, keypair):
    return connection.read("System", "Account", [ss58(keypair)])["data"]["free"]


def test_added_and_removed(link):
    before = staked(link, ME, COLD, NETUID)
    balance = free(link, COLD)
    added = add_stake(link, COLD, ME, NETUID, rao("1.5")).check()
    assert added.call == f"{PALLET}.add_stake"
    assert (added.amount_rao, added.tao_rao, added.alpha_rao, added.price_rao) == (
        1_500_000_000,
        1_500_000_000,
        1_500_000_000,
        TAO,
    )
    assert added.fee_rao > 0
    assert staked(link, ME, COLD, NETUID) == before + 1_500_000_000
    assert free(link, COLD) == balance - 1_500_000_000 - added.fee_rao
    removed = remove_stake(link, COLD, ss58(ME), NETUID, rao("0.5")).check()
    assert removed.call == f"{PALLET}.remove_stake"
    assert removed.tao_rao == 500_000_000
    assert staked(link, ME, COLD, NETUID) == before + 1_000_000_000


def test_within_a_limit_of_the_price(link):
    added = add_stake(link, COLD, ME, NETUID, rao(1), limit_price=rao("1.1")).check()
    assert added.call == f"{PALLET}.add_stake_limit"
    assert added.params["limit_price"] == 1_100_000_000
    assert added.params["allow_partial"] is False
    removed = remove_stake(link, COLD, ME, NETUID, rao(1), limit_price=rao("0.9"), allow_partial=True).check()
    assert removed.call == f"{PALLET}.remove_stake_limit"
    assert removed.params["allow_partial"] is True


@pytest.mark.parametrize(
    ("move", "arguments", "rule"),
    [
        (add_stake, {"limit_price": rao("0.9")}, "SlippageTooHigh"),
        (remove_stake, {"limit_price": rao("1.1")}, "SlippageTooHigh"),
        (add_stake, {"amount": rao("0.001")}, "AmountTooLow"),
        (add_stake, {"amount": rao(10**6)}, "NotEnoughBalanceToStake"),
        (add_stake, {"hotkey": STRANGER}, "HotKeyAccountNotExists"),
        (add_stake, {"netuid": 9}, "SubnetNotExists"),
        (remove_stake, {"amount": rao(0)}, "AmountTooLow"),
        (remove_stake, {"netuid": 9}, "SubnetNotExists"),
    ],
)
def test_what_the_chain_would_refuse(link, move, arguments, rule):
    given = {"hotkey": ME, "netuid": NETUID, "amount": rao(1), **arguments}
    head = link.head()
    refused = move(link, COLD, **given)
    assert (refused.rule, refused.success, refused.sent) == (rule, False, False)
    assert (refused.tao_rao, refused.alpha_rao) == (0, 0)
    assert refused.reason
    assert refused.remedy
    assert link.head() == head
    # And it does: the same, with nothing looked at beforehand.
    call = refused.call.removeprefix(f"{PALLET}.")
    result = perform(Outcome, link, COLD, Subject(call, ss58(COLD), given["netuid"]), refused.params, ())
    assert result.rule == rule


def test_nothing_is_removed_from_a_stranger(link):
    assert remove_stake(link, COLD, STRANGER, NETUID, rao(1)).rule == "HotKeyAccountNotExists"


def test_more_than_is_staked_is_not_removed(link):
    # The chain takes what there is; who names a number means it.
    refused = remove_stake(link, COLD, MINERS[0], NETUID, rao(1))
    assert (refused.rule, refused.sent) == ("NotEnoughStakeToWithdraw", False)


def test_a_subnet_that_has_not_begun():
    with running(SubtokenEnabled=False) as (_, connection):
        assert add_stake(connection, COLD, ME, NETUID, rao(1)).rule == "SubtokenDisabled"


@pytest.mark.parametrize("move", [add_stake, remove_stake])
def test_a_dry_run_changes_nothing(link, move):
    head = link.head()
    result = move(link, COLD, ME, NETUID, rao(1), dry_run=True)
    assert (result.success, result.sent, result.tao_rao) == (True, False, 0)
    assert result.fee_rao > 0
    assert all(check.ok for check in result.checks)
    assert link.head() == head


@pytest.mark.parametrize("move", [add_stake, remove_stake])
@pytest.mark.parametrize("amount", [1.0, 0.1, "1", True, None])
def test_floats_and_text_are_no_amounts(link, move, amount):
    with pytest.raises(TypeError, match="whole number"):
        move(link, COLD, ME, NETUID, amount)
    with pytest.raises(TypeError, match="whole number"):
        move(link, COLD, ME, NETUID, rao(1), limit_price=amount or 1.5)


@pytest.mark.parametrize("move", [add_stake, remove_stake])
def test_a_part_is_only_left_out_for_a_limit(link, move):
    with pytest.raises(UsageError, match="limit price"):
        move(link, COLD, ME, NETUID, rao(1), allow_partial=True)


@pytest.mark.parametrize("move", [add_stake, remove_stake])
@pytest.mark.parametrize("amount", [-1, 2**64])
def test_amounts_that_do_not_fit(link, move, amount):
    with pytest.raises(ValueError, match="must be 0 to"):
        move(link, COLD, ME, NETUID, amount)


def test_a_coldkey_that_is_about_to_be_replaced():
    values = {
        "Owner": ss58(COLD),
        "Account": {"data": {"free": 10 * TAO}},
        "SubtokenEnabled": True,
        "ColdkeySwapAnnouncements": (1, "0x00"),
    }
    assert add_stake(FakeConnection(values), COLD, ME, NETUID, rao(1)).rule == "ColdkeySwapAnnounced"


def test_an_older_runtime_is_read_too():
    connection = FakeConnection({"Alpha": {"bits": 5 << 64}})
    assert staked(connection, ME, COLD, NETUID) == 5
    assert staking.price_of(connection, NETUID) is None
    assert staking.price_of(connection, 0) == TAO
    assert staking.min_stake(connection) == 2_000_000


def test_what_moved_is_read_from_the_event_that_says_it():
    assert staking._moved(("c", "h", 5, 6, 1, 0)) == (5, 6)
    assert staking._moved(("c", "h", 5)) == (0, 0)
    assert staking._moved(None) == (0, 0)


def test_all_that_is_staked_to_a_hotkey(link):
    assert total_staked(link, ME, COLD) == 2000 * TAO
    assert total_staked(link, MINERS[0], COLD) == 0
    assert total_staked(link, ME, ALICE) == 0
    with pytest.raises(KeyError):
        total_staked(FakeConnection(), ME, COLD)


def test_the_runtimes_own_least_stake(link):
    assert staking.min_stake(link) == link.constant(PALLET, "InitialMinStake")
    with pytest.raises(UnknownToChain):
        link.constant(PALLET, "Nothing")
