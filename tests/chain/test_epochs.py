"""Epochs as they are read from a development chain: roles, addresses, policy, and why somebody may not write."""

from __future__ import annotations

import pytest
from chain.opskit import ALICE, COLD, MINERS, NETUID, OWNER, TAO, VALIDATORS, linked, running, ss58

from mycelium.chain.epochs import (
    POLICY_MARK,
    Rules,
    members_of,
    place_of,
    policy_commitment,
    policy_of,
    read,
    url_of,
)
from mycelium.chain.neurons import Subnet
from mycelium.devnet.chain.spec import ChainSpec, Neuron
from mycelium.devnet.chain.spec import Subnet as SubnetSpec
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import ChainError, MetagraphError
from mycelium.metagraph.membership import MINER, VALIDATOR, Epoch, Member
from mycelium.metagraph.membership import OWNER as OWNER_ROLE

RULES = Rules(NETUID, 10, 1000 * TAO)
FIRST, SECOND, THIRD = VALIDATORS
DIGEST, OTHER = bytes(range(32)), b"\xff" * 32


@pytest.fixture
def manual():
    with running("manual") as (chain, connection):
        chain.step(25)
        yield chain, connection


def committed(digest):
    return {"info": policy_commitment(NETUID, digest)["info"]}


def test_roles_are_of_the_first_block_of_the_epoch(manual):
    chain, connection = manual
    chain.faults.remove_permit(NETUID, 1)
    chain.step(10)
    before, after = read(connection, RULES, 2), read(connection, RULES, 3, known=2)
    assert before.epoch.role(SECOND.account) == VALIDATOR
    assert after.epoch.role(SECOND.account) == MINER
    assert before.epoch.members[SECOND.account] == Member(SECOND.account, VALIDATOR, 2000 * TAO, (), 1, True)
    assert before.epoch.role(FIRST.account) == OWNER_ROLE
    assert {before.epoch.role(pair.account) for pair in MINERS} == {MINER}
    assert before.epoch.role(ALICE.account) is None
    assert before.block_hash == connection.hash_of(20) == after.known_hash
    assert before.time_ms == connection.timestamp_ms(before.block_hash)
    assert before.epoch.policy is None


def test_the_first_epoch_has_no_time(manual):
    _, connection = manual
    assert read(connection, RULES, 0).time_ms is None


def test_a_stake_below_the_least_makes_no_validator(manual):
    _, connection = manual
    found = read(connection, Rules(NETUID, 10, 1500 * TAO), 2).epoch
    assert [found.role(pair.account) for pair in VALIDATORS] == [OWNER_ROLE, VALIDATOR, MINER]


def test_what_cannot_be_read_is_said(manual):
    _, connection = manual
    with pytest.raises(ChainError, match="no block 900"):
        read(connection, RULES, 90)
    with pytest.raises(ChainError, match="no subnet 77"):
        read(connection, Rules(77, 10, 0), 1)
    with pytest.raises(MetagraphError, match="who owns subnet 1"):
        members_of(Subnet(1, 1, ()), RULES)


def test_an_owner_without_a_place_may_write_all_the_same():
    neuron = Neuron(
        SECOND.account, COLD.account, stake_rao=2000 * TAO, axon=("203.0.113.7", 8091), validator=True
    )
    subnet = SubnetSpec(NETUID, OWNER.account, COLD.account, neurons=(neuron,))
    begun = ChainSpec(subnets=(subnet,))
    with ThreadedChain(begun, blocks="manual") as chain, linked(chain) as connection:
        chain.step(12)
        found = read(connection, RULES, 1).epoch
    assert found.members[OWNER.account] == Member(OWNER.account, OWNER_ROLE)
    assert found.members[SECOND.account].urls == ("ws://203.0.113.7:8091",)


@pytest.mark.parametrize(
    ("axon", "urls"),
    [
        (None, ()),
        ({"ip": "10.1.2.3", "port": 90}, ("ws://10.1.2.3:90",)),
        ({"ip": "2001:db8::1", "port": 90}, ("ws://[2001:db8::1]:90",)),
        ({"ip": "1.2.3.4", "port": 70_000}, ()),
    ],
)
def test_addresses(axon, urls):
    assert url_of(axon) == urls


# --- policy -----------------------------------------------------------------------------------------------


def test_the_owner_names_a_policy_and_it_is_in_force_from_the_next_epoch_on(manual):
    chain, connection = manual
    call = connection.compose("Commitments", "set_commitment", policy_commitment(NETUID, DIGEST))
    connection.submit(call, FIRST, wait="submitted")
    chain.step(10)
    assert [read(connection, RULES, number).epoch.policy for number in (2, 3)] == [None, DIGEST]


def members(**stakes):
    pairs = {"owner": FIRST, "second": SECOND, "third": THIRD, "miner": MINERS[0]}
    roles = {"owner": OWNER_ROLE, "miner": MINER}
    return {
        pairs[name].account: Member(pairs[name].account, roles.get(name, VALIDATOR), stake)
        for name, stake in stakes.items()
    }


@pytest.mark.parametrize(
    ("commitments", "expected"),
    [
        ({}, None),
        ({FIRST: DIGEST}, DIGEST),
        ({MINERS[0]: DIGEST, ALICE: DIGEST}, None),
        # Two thirds of the validators' stake stand above the owner, and less does not.
        ({FIRST: DIGEST, SECOND: OTHER}, OTHER),
        ({FIRST: DIGEST, THIRD: OTHER}, DIGEST),
        ({THIRD: OTHER}, None),
    ],
)
def test_who_decides_about_the_policy(commitments, expected):
    some = members(owner=10**6, second=200, third=100, miner=10**6)
    named = {ss58(pair): committed(digest) for pair, digest in commitments.items()}
    assert policy_of(some, named) == expected


@pytest.mark.parametrize(
    "field",
    [
        {"Raw5": "hello"},
        {"Raw48": "0x" + "00" * 48},
        {"Raw17": "0x" + (POLICY_MARK + b"x").hex()},
        {"TimelockEncrypted": {"encrypted": "0x00", "reveal_round": 5}},
        "None",
    ],
)
def test_other_commitments_name_no_policy(field):
    assert policy_of(members(owner=1), {ss58(FIRST): {"info": {"fields": [field]}}}) is None


def test_a_commitment_that_happens_to_be_text_is_one_too():
    text = (POLICY_MARK + b"a" * 32).decode()
    found = policy_of(members(owner=1), {ss58(FIRST): {"info": {"fields": ["None", {"Raw48": text}]}}})
    assert found == b"a" * 32


# --- why not ----------------------------------------------------------------------------------------------


def test_why_somebody_may_not_write():
    rows = [
        Member(FIRST.account, VALIDATOR, 5, (), 0, True),
        Member(SECOND.account, MINER, 5 * TAO, (), 1, True),
        Member(THIRD.account, MINER, 0, (), 2, False),
    ]
    epoch = Epoch(3, {member.account: member for member in rows})
    said = [place_of(epoch, pair.account, NETUID, 10 * TAO) for pair in (FIRST, SECOND, THIRD, ALICE)]
    assert said[0] is None
    assert "5 TAO of stake: less than 10 (stake_min_tao)" in said[1]
    assert "(uid 2) has no validator permit in epoch 3" in said[2]
    assert "is not registered in subnet 1 (epoch 3)" in said[3]
    assert "btcli subnets register --netuid 1" in said[3]
    assert all("\n" not in one for one in said[1:])
