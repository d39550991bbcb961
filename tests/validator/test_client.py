"""A validator's operations bound to one subnet and its keys, each of them tried out first, which changes nothing."""

from __future__ import annotations

import pytest
from chain.opskit import ALICE, COLD, MINERS, NETUID, PALLET, TAO, VALIDATORS, running, ss58

from mycelium.errors import ExtrinsicInvalid, UsageError
from mycelium.identity.keys import Keypair
from mycelium.validator.client import ValidatorClient, certificate, format_tao, rao

ME = VALIDATORS[1]
NEW = Keypair.development("//new")


@pytest.fixture
def link():
    with running(ServingRateLimit=10) as (chain, connection):
        chain.step(6)
        yield chain, ValidatorClient(connection, NETUID, hotkey="//validator//1", coldkey=COLD)


OPERATIONS = {
    "weights": (lambda client, **o: client.set_weights({0: 1, 3: 1}, **o), "set_weights"),
    "axon": (lambda client, **o: client.serve_axon("203.0.113.7", 8091, **o), "serve_axon"),
    "tls": (
        lambda client, **o: client.serve_axon_tls("203.0.113.7", 8091, certificate(1, b"key"), **o),
        "serve_axon_tls",
    ),
    "prometheus": (lambda client, **o: client.serve_prometheus("203.0.113.7", 9090, **o), "serve_prometheus"),
    "add": (lambda client, **o: client.add_stake(rao("1.5"), **o), "add_stake"),
    "remove": (lambda client, **o: client.remove_stake(rao("1.5"), **o), "remove_stake"),
    "limit": (
        lambda client, **o: client.add_stake(rao(1), limit_price=rao(2), allow_partial=True, **o),
        "add_stake_limit",
    ),
    "register": (
        lambda client, **o: client.burned_register(max_burn=rao(1), hotkey=NEW, **o),
        "register_limit",
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_tried_out_first_and_then_done(link, name):
    chain, client = link
    operate, call = OPERATIONS[name]
    head = client.connection.head()
    trial = operate(client, dry_run=True)
    assert (trial.call, trial.success, trial.sent, trial.dry_run) == (f"{PALLET}.{call}", True, False, True)
    assert trial.params["netuid"] == NETUID
    assert trial.checks
    assert all(check.ok for check in trial.checks)
    assert "would succeed" in trial.describe()
    assert client.connection.head() == head
    assert chain.run(lambda core: core.pool.pending()) == []
    done = operate(client).check()
    assert (done.call, done.params, done.sent, done.dry_run) == (trial.call, trial.params, True, False)
    # What it would have cost is what it did.
    assert done.fee_rao == trial.fee_rao
    assert done.receipt.block_number == head.number + 1


def test_questions(link):
    _, client = link
    assert (client.uid(), client.is_registered(), client.is_registered(NEW)) == (1, True, False)
    assert client.uid(ss58(MINERS[0])) == 3
    assert client.current_burn() == client.connection.read(PALLET, "Burn", [NETUID]) < 100_000_000
    assert client.staked() == 2000 * TAO
    assert client.staked(hotkey=MINERS[0], coldkey=ss58(ALICE)) == 0
    assert client.axon() is client.prometheus() is None
    client.serve_axon("203.0.113.7", 8091).check()
    client.serve_prometheus("203.0.113.7", 9090).check()
    assert (client.axon()["port"], client.prometheus(ME)["port"]) == (8091, 9090)
    assert client.metagraph().n == 6
    assert format_tao(client.staked()) == "2000"


def test_a_refusal_is_a_result_until_it_is_checked(link):
    _, client = link
    client.set_weights({0: 1}).check()
    refused = client.set_weights({0: 1})
    assert not refused
    with pytest.raises(ExtrinsicInvalid, match=r"SettingWeightsTooFast\] \(again from block 12"):
        refused.check()


def test_without_a_key_its_operations_say_so(link):
    _, client = link
    bare = ValidatorClient(client.connection, NETUID)
    for operate in (
        lambda: bare.set_weights({0: 1}),
        lambda: bare.serve_axon("203.0.113.7", 1),
        lambda: bare.serve_axon_tls("203.0.113.7", 1, certificate(1, b"k")),
        lambda: bare.serve_prometheus("203.0.113.7", 1),
        bare.uid,
    ):
        with pytest.raises(UsageError, match=r"hotkey=\.\.\."):
            operate()
    for operate in (
        lambda: bare.add_stake(rao(1), hotkey=ME),
        lambda: bare.remove_stake(rao(1), hotkey=ME),
        lambda: bare.burned_register(max_burn=None, hotkey=ME),
    ):
        with pytest.raises(UsageError, match=r"coldkey=\.\.\."):
            operate()
    assert bare.uid(ME) == 1


@pytest.mark.parametrize("amount", [1.5, "1.5", True])
def test_amounts_are_never_floats(link, amount):
    _, client = link
    for operate in (
        lambda: client.add_stake(amount),
        lambda: client.remove_stake(amount),
        lambda: client.add_stake(rao(1), limit_price=amount),
        lambda: client.burned_register(max_burn=amount, hotkey=NEW),
    ):
        with pytest.raises(TypeError, match="whole number"):
            operate()
