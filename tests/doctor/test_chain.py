"""Checks of the chain, on a development chain: endpoint, clock, and the place of a hotkey."""

import time

import pytest

from mycelium.devnet import chainlayout
from mycelium.devnet.chain import specfile
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.devnet.layout import NETUID, prepare
from mycelium.doctor import chain as checks
from mycelium.doctor.finding import Verdict
from mycelium.metagraph.membership import MINER, OBSERVER, VALIDATOR, Epoch, Member
from mycelium.node.settings import Settings

OK, WARN, FAIL, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED
TAO = 10**9
A, B = bytes([1]) * 32, bytes([2]) * 32


def by_name(findings):
    return {finding.name.split(" ")[0]: finding for finding in findings}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    found = chainlayout.prepare(tmp_path_factory.mktemp("doctor") / "net", 2)
    chain = ThreadedChain(
        specfile.read(found.chain.spec),
        blocks="manual",
        finality_lag=0,
        port=found.chain.port,
        states_max=1000,
    )
    with chain:
        chain.step(chainlayout.EPOCH_BLOCKS + 5)
        yield found


def test_a_chain_that_is_well(network):
    settings = Settings.load(network.nodes[0].config)
    account = settings.keypair().account
    found = by_name(checks.examine(settings, account, time.time()))
    assert found["chain"].verdict is OK
    assert found["registration"].verdict is OK
    assert "uid 0, owner" in found["registration"].found
    assert found["clock"].verdict in {OK, WARN}  # its blocks are made by hand


def test_a_hotkey_that_is_not_registered(network):
    found = by_name(checks.examine(Settings.load(network.nodes[0].config), A))
    assert found["registration"].verdict is FAIL
    assert "is not registered in subnet" in found["registration"].found
    assert "btcli subnets register" in found["registration"].remedy
    assert (
        by_name(checks.examine(Settings.load(network.nodes[0].config), None))["registration"].verdict
        is SKIPPED
    )


def changed(network, tmp_path, old, new):
    text = network.nodes[0].config.read_text()
    assert old in text
    (tmp_path / "node.toml").write_text(text.replace(old, new))
    return Settings.load(tmp_path / "node.toml")


def test_another_subnet_another_chain_and_none(network, tmp_path):
    account = Settings.load(network.nodes[0].config).keypair().account
    other = changed(network, tmp_path, f"netuid = {NETUID}", "netuid = 77")
    assert by_name(checks.examine(other, account))["registration"].verdict is FAIL
    other = changed(network, tmp_path, f"netuid = {NETUID}", f'netuid = {NETUID}\ngenesis = "{"2f" * 32}"')
    found = by_name(checks.examine(other, account))
    assert found["chain"].verdict is FAIL
    assert found["chain"].remedy
    assert found["registration"].verdict is SKIPPED
    nobody = changed(network, tmp_path, network.chain.url, "ws://127.0.0.1:1")
    found = by_name(checks.examine(nobody, account))
    assert (found["chain"].verdict, found["registration"].verdict) == (FAIL, SKIPPED)


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [(-3600, FAIL), (-2.1, FAIL), (-1, OK), (0, OK), (30, OK), (121, WARN), (86_400, WARN)],
)
def test_the_clock(age_s, verdict):
    found = checks.clock(1_000_000, 1000 + age_s)
    assert found.verdict is verdict
    assert bool(found.remedy) is (verdict is not OK)


@pytest.mark.parametrize(
    ("member", "verdict"),
    [
        (Member(A, VALIDATOR, 2000 * TAO, (), 3, True), OK),
        (Member(A, MINER, 500 * TAO, (), 3, True), WARN),
        (Member(A, MINER, 5000 * TAO, (), 3, False), WARN),
        (Member(A, OBSERVER), WARN),
        (Member(B, VALIDATOR, 2000 * TAO, (), 3, True), FAIL),
    ],
    ids=["validator", "little stake", "no permit", "observer", "stranger"],
)
def test_the_place_of_a_hotkey(member, verdict):
    found = checks.place(Epoch(4, {member.account: member}), A, 7, 1000 * TAO)
    assert found.verdict is (FAIL if member.role == OBSERVER else verdict)
    assert bool(found.remedy) is (found.verdict is not OK)


def test_members_of_a_file(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    settings = Settings.load(place.config)
    account = place.keypair.account
    found = by_name(checks.examine(settings, account))
    assert (found["chain"].verdict, found["registration"].verdict) == (SKIPPED, OK)
    assert checks.members_file(settings, A).verdict is FAIL
    assert checks.members_file(settings, None).verdict is SKIPPED
    members = settings.members_file
    text = members.read_text()
    members.write_text(text.replace('"owner"', '"miner"'))
    assert checks.members_file(settings, account).verdict is WARN
    members.write_text(text.replace('"owner"', '"boss"'))
    assert checks.members_file(settings, account).verdict is FAIL
