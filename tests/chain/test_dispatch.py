"""Every refusal has a name, a remedy, and a time where waiting helps."""

from __future__ import annotations

import pytest
from chain.opskit import NETUID, PALLET, VALIDATORS, FakeConnection, ss58

from mycelium.chain import dispatch
from mycelium.chain.dispatch import RULES, Subject, explain, of_failure, rule_of_custom
from mycelium.chain.extrinsics import DispatchError
from mycelium.chain.refusals import invalid
from mycelium.chain.schedule import Clock
from mycelium.devnet.chain.metadata import RuntimeSpec, build
from mycelium.devnet.chain.runtime import guards
from mycelium.errors import ChainRefused, ExtrinsicInvalid

ME = Subject("set_weights", ss58(VALIDATORS[1]), NETUID)
NOT_OF_THE_PALLET = {"FundsUnavailable", "BadOrigin", "CallFiltered"}


def custom(number):
    return invalid(ChainRefused("Invalid Transaction", code=1010, data=f"Custom error: {number}"))


def test_every_rule_is_an_error_of_the_chain():
    import bittensor_core

    codec = bittensor_core.Runtime(build(RuntimeSpec()).v15, 424, 1)
    pallets = {pallet["name"]: pallet for pallet in codec.metadata_ir()["pallets"]}
    known = {error["name"] for error in pallets[PALLET]["errors"]}
    assert set(RULES) - known == NOT_OF_THE_PALLET


def test_every_rule_says_why_and_what_to_do():
    assert all(rule.reason and rule.remedy for rule in RULES.values())


@pytest.mark.parametrize(
    ("error", "number", "call"),
    [
        *((name, number, "serve_axon") for name, number in guards.CUSTOM.items() if number > 6),
        ("NotEnoughStakeToSetWeights", 1, "set_weights"),
        ("NotEnoughStakeToSetWeights", 1, "commit_timelocked_weights"),
        ("AmountTooLow", 1, "add_stake"),
        ("SettingWeightsTooFast", 6, "set_mechanism_weights"),
        ("CommittingWeightsTooFast", 6, "commit_weights"),
        ("NetworkTxRateLimitExceeded", 6, "register_network"),
        ("TxRateLimitExceeded", 6, "swap_hotkey"),
        ("HotKeyNotRegisteredInSubNet", 19, "set_weights"),
        ("BadRequest", 255, "serve_axon"),
        ("Custom99", 99, "serve_axon"),
    ],
)
def test_the_numbers_of_the_extension(error, number, call):
    assert rule_of_custom(number, call) == error
    assert of_failure(custom(number), call).rule == error


def test_a_number_that_nobody_knows_is_named():
    found = of_failure(custom(99), "set_weights")
    assert "rule number 99" in found.reason
    assert found.retry_at_block is None


def test_a_refusal_of_the_pool_keeps_its_words():
    found = of_failure(
        invalid(ChainRefused("Invalid Transaction", code=1010, data="Inability to pay some fees")),
        "add_stake",
    )
    assert (found.rule, "cannot pay" in found.reason) == ("payment", True)
    assert found.remedy


def test_an_error_of_the_future_keeps_its_name_and_its_documentation():
    found = of_failure(DispatchError(PALLET, "MoonTooFull", "the moon is too full"), "set_weights")
    assert (found.rule, found.reason) == ("MoonTooFull", f"{PALLET}.MoonTooFull: the moon is too full")


@pytest.mark.parametrize(
    ("failure", "call", "values", "block"),
    [
        ("SettingWeightsTooFast", "set_weights", {"LastUpdate": [0, 90, 0, 0]}, 110),
        ("SettingWeightsTooFast", "set_weights", {"Uids": None}, None),
        ("SettingWeightsTooFast", "set_weights", {"LastUpdate": []}, None),
        ("CommittingWeightsTooFast", "commit_weights", {"LastUpdate": [0, 99, 0, 0]}, 119),
        ("NeuronNoValidatorPermit", "set_weights", {}, 105),
        ("NeuronNoValidatorPermit", "set_weights", {"Tempo": 0}, None),
        ("TooManyUnrevealedCommits", "commit_weights", {"PendingEpochAt": 103}, 103),
        ("ServingRateLimitExceeded", "serve_axon", {"Axons": {"block": 80}}, 130),
        ("ServingRateLimitExceeded", "serve_prometheus", {"Prometheus": {"block": 70}}, 120),
        ("ServingRateLimitExceeded", "serve_axon", {"Axons": None}, None),
        ("TooManyRegistrationsThisBlock", "burned_register", {}, 101),
        ("DuplicateUids", "set_weights", {}, None),
    ],
)
def test_when_to_try_again(failure, call, values, block):
    connection = FakeConnection(
        {"ServingRateLimit": 50, "Axons": None, "Prometheus": None, **values},
        constants={"SlotDuration": 12_000},
    )
    subject = Subject(call, ME.account, NETUID)
    found = explain(connection, DispatchError(PALLET, failure), subject)
    assert (found.rule, found.retry_at_block) == (failure, block)
    assert found.retry_in_s == (None if block is None else (block - 101) * 12)
    assert connection.requests == (0 if failure == "DuplicateUids" else 1)


def test_a_full_block_is_tried_again_in_the_next():
    full = ExtrinsicInvalid("the block is full", code=1010, data={"invalid": {"exhaustsResources": None}})
    found = explain(FakeConnection(), full, Subject("add_stake", ME.account))
    assert (found.rule, found.retry_at_block, found.retry_in_s) == ("exhaustsResources", 101, 0)


def test_what_depends_on_a_subnet_has_no_time_without_one():
    found = explain(FakeConnection(), DispatchError(PALLET, "RevealTooEarly"), Subject("reveal_weights"))
    assert found.retry_at_block is None


def test_a_refusal_in_one_line():
    refusal = dispatch.refuse("SettingWeightsTooFast").at(120, Clock(100, 12.0))
    assert str(refusal) == (
        "weights were set too short a while ago [SettingWeightsTooFast] (again from block 120, in 228 s)"
    )
    assert str(dispatch.refuse("Unheard")) == "the chain's rule Unheard forbids it [Unheard]"
