"""The JSON-RPC methods without a socket: state, blocks, extrinsics, subscriptions, and those of development."""

from __future__ import annotations

import pytest
from devnet.chain.fakechain import ALICE, FakeRuntimeSpec, FakeSpec, extrinsic, make_core
from devnet.chain.rpckit import TABLE, Client, hexed

from mycelium.config import DEVCHAIN_KEYS_PAGE_MAX, DEVCHAIN_STATES_MAX
from mycelium.devnet.chain.blocks import digest
from mycelium.identity import account as accounts

# --- state --------------------------------------------------------------------------------------------------


def test_storage():
    client = Client()
    key = hexed(b"name")
    assert client.ask("state_getStorage", key) == hexed(b"a fake chain")
    assert client.ask("state_getStorageAt", key, hexed(client.core.chain.genesis)) == hexed(b"a fake chain")
    assert client.ask("state_getStorage", "0x00") is None
    assert client.ask("state_getStorageHash", key) == hexed(digest(b"a fake chain"))
    assert client.ask("state_getStorageHash", "0x00") is None
    assert client.ask("state_getStorageSize", key) == 12
    assert client.ask("state_getStorageSize", "0x6e") == 12 + 4
    assert client.ask("state_getStorageSize", "0x00") is None
    assert client.ask("state_getKeys", hexed(b"na")) == [key]
    assert client.ask("state_getPairs", hexed(b"na")) == [[key, hexed(b"a fake chain")]]


def test_keys_come_in_pages():
    client = Client()
    for name in (b"k1", b"k2", b"k3"):
        client.core.edit(lambda state, name=name: state.put(name, b"v"))
    assert client.ask("state_getKeysPaged", hexed(b"k"), 2) == [hexed(b"k1"), hexed(b"k2")]
    assert client.ask("state_getKeysPaged", hexed(b"k"), 2, hexed(b"k2")) == [hexed(b"k3")]
    assert client.ask("state_getKeysPagedAt", hexed(b"k"), 2, None, hexed(client.core.chain.genesis)) == []
    assert hexed(b"k1") in client.ask("state_getKeysPaged", None, 100)
    error = client.ask("state_getKeysPaged", "0x", DEVCHAIN_KEYS_PAGE_MAX + 1)
    assert error == {"code": 4002, "message": "count exceeds maximum value. value: 1001, max: 1000"}


def test_storage_of_several_keys_and_its_history():
    client = Client()
    core = client.core
    key, other = hexed(b"kv:a"), hexed(b"name")
    core.submit(extrinsic())
    core.step()
    first = core.chain.best.hash
    core.submit(extrinsic(nonce=1, text="a=2"))
    core.step(2)
    now = client.ask("state_queryStorageAt", [key, other])
    assert now == [
        {
            "block": hexed(core.chain.best.hash),
            "changes": [[key, hexed(b"2")], [other, hexed(b"a fake chain")]],
        }
    ]
    assert client.ask("state_queryStorageAt", [key], hexed(core.chain.genesis))[0]["changes"] == [[key, None]]
    history = client.ask("state_queryStorage", [key], hexed(core.chain.genesis))
    assert [item["changes"] for item in history] == [
        [[key, None]],
        [[key, hexed(b"1")]],
        [[key, hexed(b"2")]],
    ]
    assert history[1]["block"] == hexed(first)
    backwards = client.ask("state_queryStorage", [key], hexed(core.chain.best.hash), hexed(first))
    assert backwards["code"] == 4001
    assert client.ask("state_queryStorage", [key], hexed(bytes(32)))["code"] == 4001


def test_the_state_of_a_block_that_is_pruned_or_unknown():
    client = Client()
    genesis = hexed(client.core.chain.genesis)
    client.core.step(DEVCHAIN_STATES_MAX + 1)
    discarded = f"State already discarded for {genesis}"
    for method, params in (
        ("state_getStorage", ["0x00"]),
        ("state_getKeysPaged", ["0x", 1, None]),
        ("state_call", ["Fake_echo", "0x"]),
        ("state_getRuntimeVersion", []),
    ):
        error = client.ask(method, *params, genesis)
        assert error == {"code": 4003, "message": f"Client error: UnknownBlock: {discarded}"}
    error = client.ask("state_getMetadata", genesis)
    assert error["message"] == f"Client error: Api called for an unknown Block: {discarded}"
    error = client.ask("state_getStorage", "0x00", hexed(bytes(32)))
    assert error["code"] == 4003
    assert "not found" in error["message"]


def test_runtime_calls():
    client = Client()
    assert client.ask("state_call", "Fake_echo", "0x0102") == "0x0102"
    missing = client.ask("state_call", "Metadata_metadata_at_version", "0x0f000000")
    assert missing["code"] == 4003
    assert "Exported method Metadata_metadata_at_version is not found" in missing["message"]
    trapped = client.ask("state_call", "Fake_echo", hexed(b"bad"))
    assert trapped["code"] == 4003
    assert "trap" in trapped["message"]


def test_metadata_and_version_follow_an_upgrade():
    client = Client()
    assert client.ask("state_getMetadata") == hexed(b"meta\x0e")
    client.core.upgrade(FakeRuntimeSpec(9))
    assert client.ask("state_getRuntimeVersion")["specVersion"] == 9
    assert client.ask("chain_getRuntimeVersion", hexed(client.core.chain.genesis))["specVersion"] == 1


# --- chain and system ---------------------------------------------------------------------------------------


def test_blocks_and_hashes():
    client = Client()
    core = client.core
    core.submit(extrinsic())
    core.step(3)
    chain = core.chain
    best, genesis = hexed(chain.best.hash), hexed(chain.genesis)
    assert client.ask("chain_getHead") == client.ask("chain_getBlockHash") == best
    assert client.ask("chain_getBlockHash", 0) == client.ask("chain_getBlockHash", "0x0") == genesis
    assert client.ask("chain_getBlockHash", [0, 3, 4]) == [genesis, best, None]
    assert client.ask("chain_getFinalizedHead") == hexed(chain.hash_of(1))
    header = client.ask("chain_getHeader")
    assert header["number"] == "0x3"
    assert header["parentHash"] == hexed(chain.hash_of(2))
    block = client.ask("chain_getBlock", hexed(chain.hash_of(1)))
    assert block["block"]["header"] == client.ask("chain_getHeader", hexed(chain.hash_of(1)))
    assert block["block"]["extrinsics"][1] == hexed(extrinsic())
    assert block["justifications"] is None
    assert client.ask("chain_getBlock", hexed(bytes(32))) is None
    assert client.ask("chain_getHeader", hexed(bytes(32))) is None


def test_what_the_node_says_of_itself():
    client = Client()
    assert client.ask("system_chain") == "a fake chain"
    assert client.ask("system_chainType") == "Development"
    assert client.ask("system_properties") == {
        "ss58Format": 42,
        "tokenDecimals": 9,
        "tokenSymbol": "TAO",
    }
    assert client.ask("system_health") == {"peers": 0, "isSyncing": False, "shouldHavePeers": False}
    client.core.step(2)
    assert client.ask("system_syncState") == {"startingBlock": 0, "currentBlock": 2, "highestBlock": 2}
    assert client.ask("system_peers") == client.ask("system_localListenAddresses") == []
    assert client.ask("system_nodeRoles") == ["Authority"]
    assert client.ask("system_localPeerId").startswith("12D3")
    methods = client.ask("rpc_methods")["methods"]
    assert methods == sorted(TABLE)
    assert {"state_getStorage", "author_submitAndWatchExtrinsic", "chain_subscribeFinalizedHeads"} <= set(
        methods
    )
    assert not [method for method in methods if method.startswith(("chainHead", "archive"))]


def test_the_next_index_counts_what_waits():
    client = Client()
    address = accounts.format(ALICE)
    assert client.ask("account_nextIndex", address) == 0
    client.core.submit(extrinsic())
    assert client.ask("system_accountNextIndex", address) == 1
    client.core.step()
    assert client.ask("system_accountNextIndex", address) == 1


# --- extrinsics ---------------------------------------------------------------------------------------------


def test_submission_and_what_waits():
    client = Client()
    raw = hexed(extrinsic())
    assert client.ask("author_submitExtrinsic", raw) == hexed(digest(extrinsic()))
    assert client.ask("author_pendingExtrinsics") == [raw]
    assert client.ask("author_submitExtrinsic", raw) == {
        "code": 1013,
        "message": "Transaction Already Imported",
        "data": hexed(digest(extrinsic())),
    }
    client.core.step()
    assert client.ask("author_pendingExtrinsics") == []


@pytest.mark.parametrize("method", ["author_submitExtrinsic", "author_submitAndWatchExtrinsic"])
def test_refusals_are_errors_and_leave_no_watch(method):
    client = Client()
    assert client.ask(method, hexed(extrinsic(text="!BadProof"))) == {
        "code": 1010,
        "message": "Invalid Transaction",
        "data": "Transaction has a bad signature",
    }
    malformed = client.ask(method, "0x04")
    assert malformed["code"] == (1040 if method == "author_submitExtrinsic" else 1001)
    assert client.pushed == []
    assert len(client.hub) == 0


def test_a_watch_ends_with_its_extrinsic():
    client = Client()
    core = client.core
    id_ = client.ask("author_submitAndWatchExtrinsic", hexed(extrinsic()))
    core.step(3)
    block = hexed(core.chain.hash_of(1))
    assert client.notes(id_) == ["ready", {"inBlock": block}, {"finalized": block}]
    assert len(client.hub) == 0
    assert client.ask("author_unwatchExtrinsic", id_) is False


def test_a_watch_can_be_given_up():
    client = Client()
    id_ = client.ask("author_submitAndWatchExtrinsic", hexed(extrinsic()))
    assert client.ask("chain_unsubscribeNewHeads", id_) is False
    assert client.ask("author_unwatchExtrinsic", id_) is True
    client.core.step(3)
    assert client.notes(id_) == ["ready"]


def test_a_dry_run_changes_nothing():
    client = Client()
    assert client.ask("system_dryRun", hexed(extrinsic())) == "0x0000"
    assert client.ask("system_dryRun", hexed(extrinsic(text="!Stale"))) == "0x010003"
    client.core.edit(lambda state: state.put(b"closed", b"1"))
    assert client.ask("system_dryRun", hexed(extrinsic(text="?=1"))) == "0x01000707"
    assert client.ask("system_dryRun", "0x0861")["code"] == 2
    assert len(client.core.pool) == 0


# --- subscriptions ------------------------------------------------------------------------------------------


def test_heads_are_told():
    client = Client()
    new = client.ask("chain_subscribeNewHeads")
    every = client.ask("chain_subscribeAllHeads")
    final = client.ask("chain_subscribeFinalizedHeads")
    client.core.step(3)
    assert [head["number"] for head in client.notes(new)] == ["0x0", "0x1", "0x2", "0x3"]
    assert [head["number"] for head in client.notes(every)] == ["0x0", "0x1", "0x2", "0x3"]
    assert [head["number"] for head in client.notes(final)] == ["0x0", "0x1"]
    assert client.ask("chain_unsubscribeNewHeads", new) is True
    assert client.ask("chain_unsubscribeNewHeads", new) is False
    assert client.ask("chain_unsubscribeAllHeads", {"no": "id"}) is False
    client.core.step()
    assert client.notes(new) == []
    assert len(client.notes(every)) == 1


def test_storage_is_told_when_it_changes():
    client = Client()
    key = hexed(b"kv:a")
    id_ = client.ask("state_subscribeStorage", [key])
    client.core.step()
    client.core.submit(extrinsic())
    client.core.step()
    changes = [note["changes"] for note in client.notes(id_)]
    assert changes == [[[key, None]], [[key, hexed(b"1")]]]
    client.core.reorganise(1)
    assert [note["changes"] for note in client.notes(id_)] == [[[key, None]]]
    assert client.ask("state_unsubscribeStorage", id_) is True


def test_all_storage_can_be_watched():
    client = Client()
    id_ = client.ask("state_subscribeStorage")
    client.core.step()
    first, second = client.notes(id_)
    assert first["changes"] == []
    assert [key for key, _ in second["changes"]] == [hexed(b"number"), hexed(b"now"), hexed(b"last")]


def test_an_upgrade_is_told():
    client = Client()
    id_ = client.ask("state_subscribeRuntimeVersion")
    client.core.upgrade(FakeRuntimeSpec(2))
    assert [version["specVersion"] for version in client.notes(id_)] == [1, 2]
    assert client.ask("chain_unsubscribeRuntimeVersion", id_) is True


def test_subscriptions_are_limited(monkeypatch):
    from mycelium.devnet.chain import subscriptions

    monkeypatch.setattr(subscriptions, "DEVCHAIN_SUBSCRIPTIONS_MAX", 2)
    client = Client()
    client.ask("chain_subscribeNewHeads")
    client.ask("chain_subscribeAllHeads")
    error = client.ask("chain_subscribeNewHeads")
    assert (error["code"], error["data"]) == (-32006, "Exceeded max limit of 2")
    error = client.ask("author_submitAndWatchExtrinsic", hexed(extrinsic()))
    assert error["code"] == -32006
    assert len(client.core.pool) == 0


def test_a_gone_peer_leaves_nothing():
    client = Client()
    client.ask("chain_subscribeNewHeads")
    client.ask("state_subscribeStorage", ["0x00"])
    client.ask("author_submitAndWatchExtrinsic", hexed(extrinsic()))
    client.hub.forget(client)
    client.pushed.clear()
    client.core.step(4)
    assert (len(client.hub), client.pushed) == (0, [])


# --- the switches of development ----------------------------------------------------------------------------


def test_steps_and_status():
    client = Client()
    assert client.ask("dev_step", 3) == hexed(client.core.chain.best.hash)
    assert client.ask("dev_fastForward", 1000) == client.ask("chain_getBlockHash", 1003)
    client.ask("dev_stallHead")
    assert client.ask("dev_status")["head_stalled"] is True
    client.ask("dev_stallHead", False)
    client.ask("dev_delay", 5, ["state_call"])
    assert client.ask("dev_status")["methods"] == ["state_call"]
    client.ask("dev_clear")
    assert client.ask("dev_status")["delay_ms"] == 0


def test_every_action_is_a_method():
    client = Client(make_core(finality_lag=10))
    client.core.step(3)
    old = client.ask("chain_getHead")
    assert client.ask("dev_reorg", 2) not in (old, None)
    assert client.ask("dev_upgrade") == 2
    assert client.ask("dev_upgrade", 7, False, True) == 7
    assert client.core.runtime_spec == FakeRuntimeSpec(7, grown=False, netuid_newtype=True)
    client.ask("dev_deregister", 1, 3)
    assert client.ask("state_getStorage", hexed(b"gone")) == "0x0103"
    client.ask("dev_removePermit", 1, 4)
    assert client.ask("state_getStorage", hexed(b"unpermitted")) == "0x0104"
    client.ask("dev_givePermit", 1, 4)
    assert client.ask("state_getStorage", hexed(b"unpermitted")) is None
    client.ask("dev_setStorage", "0xaa", "0xbb")
    assert client.ask("state_getStorage", "0xaa") == "0xbb"
    client.ask("dev_setStorage", "0xaa", None)
    assert client.ask("state_getStorage", "0xaa") is None
    client.ask("dev_shiftTime", 5000)
    genesis = client.ask("chain_getBlockHash", 0)
    assert client.ask("dev_newGenesis") == client.ask("chain_getBlockHash", 0) != genesis
    assert client.core.spec == FakeSpec(seed=1)


def test_finalised_blocks_are_not_reorganised_unless_forced():
    client = Client()
    client.core.step(5)
    error = client.ask("dev_reorg", 3)
    assert "force it" in error["data"]
    assert client.ask("dev_reorg", 3, True).startswith("0x")
