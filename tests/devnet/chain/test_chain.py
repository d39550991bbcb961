"""The whole development chain with its real runtime: extrinsics, refusals, faults, as a client on a socket sees it."""

from __future__ import annotations

import bittensor_core
import pytest
from devnet.chain.wirekit import Refused, hexed, transfer, unhexed, wire

from mycelium.devnet.chain.population import account, development, miner_path, validator_path
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.identity import account as accounts

ALICE, BOB, STRANGER = account("//Alice"), account("//Bob"), account("//nobody//yet")
TAO = 10**9


@pytest.fixture
def chain():
    with ThreadedChain(development(), blocks="manual") as chain:
        yield chain


@pytest.fixture
def client(chain):
    with wire(chain.url) as client:
        yield client


def address(raw):
    return accounts.format(raw)


def state_root(client):
    return client.ask("chain_getHeader")["stateRoot"]


def names(events):
    """Pallet.Event of each, whatever shape the decoder gives."""
    found = []
    for record in events:
        event = record["event"]
        if "event_id" in event:
            found.append(f"{event['module_id']}.{event['event_id']}")
        else:
            (pallet, inner), *_ = event.items()
            found.append(f"{pallet}.{inner if isinstance(inner, str) else next(iter(inner))}")
    return found


def test_a_transfer_goes_its_way(chain, client):
    before = client.balance(address(STRANGER)), client.balance(address(ALICE))
    watched = client.ask(
        "author_submitAndWatchExtrinsic", hexed(client.sign("//Alice", transfer(address(STRANGER), 5 * TAO)))
    )
    assert client.note() == {"subscription": watched, "result": "ready"}
    assert client.ask("account_nextIndex", address(ALICE)) == 1
    chain.step(3)
    block = client.ask("chain_getBlockHash", 1)
    assert client.note()["result"] == {"inBlock": block}
    assert client.note()["result"] == {"finalized": block}
    assert client.balance(address(STRANGER)) == before[0] + 5 * TAO
    assert client.balance(address(ALICE)) < before[1] - 5 * TAO, "a transfer costs a fee"
    happened = names(client.events(block))
    assert "Balances.Transfer" in happened
    assert "System.ExtrinsicSuccess" in happened
    assert client.read("System", "Account", address(ALICE))["nonce"] == 1


def refusal(client, extrinsic):
    with pytest.raises(Refused) as refused:
        client.submit(extrinsic)
    return refused.value.code, refused.value.data


def test_forged_and_stale_extrinsics_change_nothing(chain, client):
    chain.step()
    client.submit(client.sign("//Alice", transfer(address(BOB), TAO)))
    chain.step()
    root, call = state_root(client), transfer(address(BOB), TAO)
    bad_signature = (1010, "Transaction has a bad signature")
    assert refusal(client, client.sign("//Alice", call, signer="//Bob")) == bad_signature
    assert refusal(client, client.sign("//Alice", call, genesis=bytes(32))) == bad_signature
    other = bittensor_core.Runtime(
        unhexed(client.ask("state_getMetadata")),
        client.codec.spec_version + 1,
        client.codec.transaction_version,
    )
    assert refusal(client, client.sign("//Alice", call, codec=other)) == bad_signature
    assert refusal(client, client.sign("//Alice", call, nonce=0)) == (1010, "Transaction is outdated")
    unpaid = (1010, "Inability to pay some fees (e.g. account balance too low)")
    assert refusal(client, client.sign("//nobody//yet", call)) == unpaid
    good = client.sign("//Alice", call)
    assert refusal(client, good[:-1])[0] == 1040
    broken = bytearray(good)
    broken[-1] ^= 1
    assert refusal(client, bytes(broken))[0] in (1010, 1002)
    assert refusal(client, b"\x10\xff\xff\xff\xff")[0] == 1002
    assert client.ask("author_pendingExtrinsics") == []
    assert state_root(client) == root


def test_an_era_that_is_over(chain, client):
    # A birth that the era names but whose block the signer has wrong, and one that is long past.
    chain.step(40)
    call = transfer(address(BOB), TAO)
    era = {"period": 8, "current": 40}
    birth = bittensor_core.era_birth(8, 40)
    good = client.sign("//Alice", call, era=era, era_hash=unhexed(client.ask("chain_getBlockHash", birth)))
    wrong = client.sign("//Alice", call, era=era, era_hash=client.genesis)
    assert refusal(client, wrong) == (1010, "Transaction has a bad signature")
    client.submit(good)
    chain.step()
    assert client.read("System", "Account", address(ALICE))["nonce"] == 1


def test_a_nonce_of_the_future_waits(chain, client):
    call = transfer(address(BOB), TAO)
    watched = client.ask("author_submitAndWatchExtrinsic", hexed(client.sign("//Alice", call, nonce=1)))
    assert client.note() == {"subscription": watched, "result": "future"}
    chain.step()
    client.submit(client.sign("//Alice", call, nonce=0))
    assert client.note()["result"] == "ready"
    chain.step()
    assert list(client.note()["result"]) == ["inBlock"]
    assert client.read("System", "Account", address(ALICE))["nonce"] == 2


def test_a_price_and_a_dry_run(client):
    extrinsic = client.sign("//Alice", transfer(address(BOB), TAO))
    price = client.ask("payment_queryInfo", hexed(extrinsic))
    assert price["class"] == "normal"
    assert int(price["partialFee"]) > 0
    assert client.ask("payment_queryFeeDetails", hexed(extrinsic))["inclusionFee"]["baseFee"].startswith("0x")
    assert client.ask("system_dryRun", hexed(extrinsic)) == "0x0000"
    too_much = client.sign("//Alice", transfer(address(BOB), 10**18))
    assert client.ask("system_dryRun", hexed(too_much)).startswith("0x0001")
    assert client.balance(address(BOB)) == client.balance(address(ALICE))


def test_metadata_comes_in_both_versions(client):
    assert unhexed(client.ask("state_getMetadata"))[:5] == b"meta\x0e"
    assert client.codec.is_v15
    assert client.ask("state_call", "Metadata_metadata_versions", "0x")[:4] != "0x00"
    assert client.ask("state_call", "Metadata_metadata_at_version", "0x63000000") == "0x00"


def test_faults_on_a_subnet(chain, client):
    chain.step(2)
    validator, miner = account(validator_path(0)), account(miner_path(0))
    uid = client.read("SubtensorModule", "Uids", 1, address(miner))
    chain.faults.deregister(1, uid)
    assert client.read("SubtensorModule", "Uids", 1, address(miner)) is None
    permits = client.read("SubtensorModule", "ValidatorPermit", 1)
    of = client.read("SubtensorModule", "Uids", 1, address(validator))
    assert permits[of] is True
    chain.faults.remove_permit(1, of)
    assert client.read("SubtensorModule", "ValidatorPermit", 1)[of] is False
    chain.faults.set_item("SubtensorModule", "Tempo", [1], 33)
    assert client.read("SubtensorModule", "Tempo", 1) == 33


def test_an_upgrade_grows_a_struct(chain, client):
    netuid = (1).to_bytes(2, "little")
    before = client.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", netuid)
    version = client.ask("state_getRuntimeVersion")["specVersion"]
    old_head = client.ask("chain_getHead")
    chain.faults.upgrade()
    assert client.ask("state_getRuntimeVersion")["specVersion"] == version + 1
    assert client.ask("state_getRuntimeVersion", old_head)["specVersion"] == version
    with wire(chain.url) as again:
        after = again.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", netuid)
        assert len(after) == len(before) + 1
        again.submit(again.sign("//Alice", transfer(address(BOB), TAO)))
    with pytest.raises(Refused, match="bad signature"):
        client.submit(client.sign("//Alice", transfer(address(BOB), TAO), nonce=5))


def test_an_upgrade_brings_what_newer_clients_ask_for(chain, client):
    with pytest.raises(KeyError):
        client.read("SubtensorModule", "CollateralLockShare", 1)
    chain.faults.upgrade(437, recent_items=True)
    chain.faults.upgrade(438)
    with wire(chain.url) as again:
        assert again.read("SubtensorModule", "CollateralLockShare", 1) == 0
        assert again.read("SubtensorModule", "SubnetEpochConsensus", 1) == "Yuma"


def test_extrinsics_survive_a_reorganisation(chain, client):
    client.submit(client.sign("//Alice", transfer(address(STRANGER), TAO)))
    chain.step()
    old = client.ask("chain_getHead")
    chain.faults.reorg(1)
    assert client.ask("chain_getHead") != old
    assert client.balance(address(STRANGER)) == 0
    assert len(client.ask("author_pendingExtrinsics")) == 1
    chain.step()
    assert client.balance(address(STRANGER)) == TAO


def test_epochs_run_when_it_is_fast_forwarded(chain, client):
    chain.faults.set_item("SubtensorModule", "Tempo", [1], 10)
    chain.step(50)
    assert client.read("System", "Number") >= 51
    assert client.read("SubtensorModule", "BlocksSinceLastStep", 1) <= 11
    assert client.read("Timestamp", "Now") > 0


def test_the_same_seed_is_the_same_chain():
    heads = set()
    for seed in (0, 0, 1):
        spec = development(seed=seed)
        with ThreadedChain(spec, blocks="manual", clock=lambda: 1_700_000_000_000) as chain:
            heads.add(chain.step(30))
    assert len(heads) == 2
