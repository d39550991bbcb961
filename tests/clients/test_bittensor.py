"""The bittensor SDK 11.x, unmodified, against the development chain.

What it reads works on spec 424. It sets weights and names the price of a registration only where the chain has items
that are newer than that, so those tests are on a runtime with `recent_items`.
"""

from __future__ import annotations

from dataclasses import replace

import bittensor_drand
import pytest
from clients.runkit import ENVIRONMENT_S_MAX, TAO, address, client, free, state

from mycelium.devnet import wallets
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.population import account, development, miner_path, validator_path
from mycelium.devnet.chain.thread import ThreadedChain

pytestmark = pytest.mark.timeout(ENVIRONMENT_S_MAX)
run = client("bittensor", "uses_bittensor.py")
NETUID = 1
COLDKEY, VALIDATOR, MINER = "//coldkey", validator_path(0), miner_path(0)
RECENT = RuntimeSpec(spec_version=437, netuid_newtype=True, recent_items=True)


def chain_of(runtime=RECENT, *, tempo=20, commit_reveal=False, **hyperparameters):
    """The default chain with another runtime and another way to set weights."""
    spec = development()
    (subnet,) = spec.subnets
    subnet = replace(subnet, tempo=tempo, commit_reveal=commit_reveal, hyperparameters=hyperparameters)
    return ThreadedChain(replace(spec, runtime=runtime, subnets=(subnet,)))


def of_subnet(chain, item, *keys):
    return state(chain, "SubtensorModule", item, NETUID, *keys)


@pytest.mark.parametrize("runtime", [RuntimeSpec(), RECENT], ids=["spec 424", "recent"])
def test_it_reads(run, runtime):
    with chain_of(runtime) as chain:
        chain.step(3)
        found = run("reads", chain, coldkey=address(COLDKEY), hotkey=address(VALIDATOR), netuid=NETUID)
        permits, uids = of_subnet(chain, "ValidatorPermit"), range(of_subnet(chain, "SubnetworkN"))
        hotkeys = [of_subnet(chain, "Keys", uid) for uid in uids]
        stakes = [state(chain, "SubtensorModule", "TotalHotkeyAlpha", hotkey, NETUID) for hotkey in hotkeys]
    assert (found["spec_version"], found["block"]) == (runtime.spec_version, 3)
    assert found["block_time"] == 0.25
    assert found["balance"] == 1_000_000 * TAO
    assert found["stake"] == stakes[0] == 10_000 * TAO
    assert (found["uid"], found["tempo"], found["commit_reveal"]) == (0, 20, False)
    assert found["metagraph"] == [NETUID, 3, 20, address("//owner")]
    assert found["neurons"] == [
        [uid, hotkeys[uid], address(COLDKEY), permits[uid], stakes[uid], None] for uid in uids
    ]
    assert permits == [True, True, False, False]


def test_it_has_an_answer_to_every_read_but_those_of_what_is_not_simulated(run):
    """All of the SDK's reads: no metagraph, price, epoch or stake is left out, nor anything that fails unforeseen."""
    coldkey, hotkey = address(COLDKEY), address(VALIDATOR)
    given = {
        "netuid": NETUID,
        "netuids": [NETUID],
        "coldkey_ss58": coldkey,
        "coldkey_ss58s": [coldkey],
        "hotkey_ss58": hotkey,
        "hotkey_ss58s": [hotkey],
        "account_ss58": coldkey,
        "call_hash": f"0x{bytes(32).hex()}",
        "amount_tao": 1.0,
        "amount_alpha": 1.0,
        "lite": True,
        **dict.fromkeys(("mechid", "uid", "crowdloan_id", "block", "lease_id"), 0),
    }
    with chain_of() as chain:
        chain.step(3)
        found = run("reads_everything", chain, given=given)
    assert found["count"] > 100
    assert all("not found" in reason for reason in found["missing"].values()), found["missing"]
    later = ("basket", "crowdloan", "collateral", "childkey_threshold", "total_alpha_staked")
    assert [name for name in found["missing"] if not any(word in name for word in later)] == []


def test_it_sets_weights(run):
    with chain_of(MinAllowedWeights=1, WeightsSetRateLimit=100) as chain:
        # A neuron's very first weights are free of the limit; the second time is what it counts from.
        chain.step()
        found = set_weights(run, chain)
        assert found["first"]["success"], found
        assert "SubtensorModule.WeightsSet" in found["first"]["events"]
        assert found["first"]["fee"] == 0
        assert of_subnet(chain, "Weights", 0) == [(2, 21_845), (3, 65_535)]
        assert of_subnet(chain, "LastUpdate")[0] == found["block"] + 1
        assert "direct plaintext set" in " ".join(found["effects"])
        assert found["second"]["refused"] == "rate_limited"
        assert found["stranger"]["refused"] == "not_registered"
        assert of_subnet(chain, "Weights", 1) == []


def set_weights(run, chain):
    return run(
        "sets_weights",
        chain,
        coldkey=COLDKEY,
        hotkey=VALIDATOR,
        stranger="//nobody",
        netuid=NETUID,
        uids=[2, 3],
        weights=[1, 3],
    )


def test_it_commits_weights_to_a_round_of_the_real_beacon(run):
    """The commit is taken and kept with the round that our own library finds for the same schedule.

    It is not opened: the SDK has the real beacon's key built in, which signs no round for a development chain.
    """
    tempo = 120
    with chain_of(tempo=tempo, commit_reveal=True, MinAllowedWeights=1, RevealPeriodEpochs=1) as chain:
        # Rounds are 3 s apart and blocks here 250 ms: near an epoch's end the round would be out before the block is.
        chain.step(5)
        earliest = reveal_round(schedule := schedule_of(chain))
        found = set_weights(run, chain)
        latest = reveal_round(schedule)
        assert found["first"]["success"], found
        assert "SubtensorModule.TimelockedWeightsCommitted" in found["first"]["events"]
        assert "commit-reveal enabled" in " ".join(found["effects"])
        ((who, block, commit, round_number),) = of_subnet(
            chain, "TimelockedWeightCommits", schedule["subnet_epoch_index"]
        )
        assert (who, block) == (address(VALIDATOR), found["block"] + 1)
        assert round_number == found["first"]["data"]["reveal_round"]
        assert earliest <= round_number <= latest
        assert len(commit) > 100
        chain.step(3 * tempo)
        assert of_subnet(chain, "Weights", 0) == []
        assert of_subnet(chain, "TimelockedWeightCommits", schedule["subnet_epoch_index"]) == []


def schedule_of(chain):
    return {
        "last_epoch_block": of_subnet(chain, "LastEpochBlock"),
        "pending_epoch_at": of_subnet(chain, "PendingEpochAt"),
        "subnet_epoch_index": of_subnet(chain, "SubnetEpochIndex"),
        "tempo": of_subnet(chain, "Tempo"),
        "blocks_since_last_step": of_subnet(chain, "BlocksSinceLastStep"),
        "current_block": state(chain, "System", "Number"),
        "subnet_reveal_period_epochs": of_subnet(chain, "RevealPeriodEpochs"),
    }


def reveal_round(schedule):
    """For a commit that is made now."""
    _, found = bittensor_drand.get_encrypted_commit_v2(
        uids=[2, 3],
        weights=[21_845, 65_535],
        version_key=0,
        block_time=0.25,
        hotkey=account(VALIDATOR),
        **schedule,
    )
    return found


def test_it_serves_an_axon(run):
    with chain_of() as chain:
        found = run(
            "serves", chain, coldkey=COLDKEY, hotkey=MINER, netuid=NETUID, ip="203.0.113.9", port=8091
        )
        served = of_subnet(chain, "Axons", address(MINER))
    assert found["first"]["success"]
    assert found["first"]["fee"] == 0
    assert "SubtensorModule.AxonServed" in found["first"]["events"]
    assert found["axon"] == "203.0.113.9:8091"
    assert (served["ip"], served["port"], served["ip_type"]) == (0xCB007109, 8091, 4)


def test_it_adds_and_removes_stake(run):
    with chain_of() as chain:
        before, staked = free(chain, COLDKEY), 10_000 * TAO
        added, removed, too_much = run(
            "stakes", chain, coldkey=COLDKEY, hotkey=VALIDATOR, netuid=NETUID, more=5, less=2
        )
        after = free(chain, COLDKEY)
        assert state(chain, "SubtensorModule", "TotalHotkeyAlpha", address(VALIDATOR), NETUID) == removed[1]
    fees = [done["fee"] for done, _, _ in (added, removed)]
    assert [done["success"] for done, _, _ in (added, removed, too_much)] == [True, True, False]
    assert "SubtensorModule.StakeAdded" in added[0]["events"]
    assert "SubtensorModule.StakeRemoved" in removed[0]["events"]
    # An alpha costs a TAO here.
    assert added[1:] == [staked + 5 * TAO, before - 5 * TAO - fees[0]]
    assert removed[1:] == [staked + 3 * TAO, before - 3 * TAO - sum(fees)]
    assert too_much[0]["error"][0] == "insufficient_balance"
    assert too_much[1:] == [staked + 3 * TAO, after]


def test_it_registers(run):
    with chain_of() as chain:
        before, price = free(chain, "//Bob"), of_subnet(chain, "Burn")
        found = run("registers", chain, coldkey="//Bob", hotkey="//fresh", netuid=NETUID)
        assert "MEV Shield NextKey not available" in found["shielded"]["said"]
        assert found["plain"]["success"], found
        assert "SubtensorModule.NeuronRegistered" in found["plain"]["events"]
        assert found["uid"] == of_subnet(chain, "Uids", address("//fresh")) == 4
        assert free(chain, "//Bob") == before - price - found["plain"]["fee"]


def test_it_outlives_a_runtime_upgrade_and_a_dropped_connection(run):
    with chain_of() as chain:
        found = run(
            "outlives", chain, coldkey=COLDKEY, hotkey=VALIDATOR, to=address("//someone"), netuid=NETUID
        )
        hotkeys = [of_subnet(chain, "Keys", uid) for uid in range(of_subnet(chain, "SubnetworkN"))]
        assert free(chain, "//someone") == 3 * TAO
    assert found == [[True, hotkeys, version] for version in (437, 438, 438)]


def test_it_signs_with_the_files_of_a_development_network(run, tmp_path):
    made = wallets.make(tmp_path / "wallets", "validator1")
    spec = replace(development(), balances={made.coldkey.account: 10 * TAO})
    with ThreadedChain(spec) as chain:
        found = run(
            "signs_from_files",
            chain,
            path=str(tmp_path / "wallets"),
            name=made.name,
            to=address("//someone"),
            rao=3 * TAO,
        )
        assert found["hotkey"] == made.address
        assert found["transfer"]["success"]
        assert free(chain, "//someone") == 3 * TAO
