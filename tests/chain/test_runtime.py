"""Which runtime decodes what: upgrades while connected, older blocks, metadata on disk, nodes that lack things."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from chain.clientkit import Eager, Refused, Scripted, until

from mycelium.chain.connection import Connection
from mycelium.devnet.chain.metadata import RuntimeSpec, build
from mycelium.devnet.chain.population import development
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import ChainError, ChainRefused, UnknownToChain
from mycelium.identity.keys import Keypair


@pytest.fixture
def connection(stepped, tmp_path):
    with Connection(stepped.url, cache_dir=tmp_path / "metadata", rng=Eager()) as made:
        yield made


def metagraph(connection, block_hash=None):
    return connection.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", [1], block_hash)


def counted(connection):
    """How often each method was asked for from here on."""
    asked = []
    rpc = connection.access.rpc
    batch, request = rpc.batch, rpc.request
    rpc.batch = lambda calls, **more: asked.extend(method for method, _ in calls) or batch(calls, **more)
    rpc.request = lambda method, *rest, **more: asked.append(method) or request(method, *rest, **more)
    return asked


def test_an_upgrade_is_noticed_without_asking(stepped, connection):
    before = metagraph(connection)
    asked = counted(connection)
    assert metagraph(connection) == before
    assert asked == ["state_call"]
    assert stepped.faults.upgrade() == 425
    until(lambda: connection.spec_version == 425)
    after = metagraph(connection)
    assert len(after) == len(before) + 1
    assert connection.read("SubtensorModule", "Tempo", [1]) == 20


def test_older_blocks_are_decoded_by_their_own_runtime(stepped, connection):
    stepped.step(2)
    old = connection.head()
    before = metagraph(connection, old.hash)
    stepped.faults.upgrade(netuid_newtype=True)
    upgrade = connection.head()
    stepped.step(2)
    new = connection.head()
    until(lambda: connection.spec_version == 425)
    assert metagraph(connection, old.hash) == before
    # The block of the upgrade has the new runtime in its state, and was made by the old one.
    assert len(metagraph(connection, upgrade.hash)) == len(before) + 1
    assert len(metagraph(connection, new.hash)) == len(before) + 1
    runtimes = connection._runtimes
    assert runtimes.made(old.hash).version.spec == 424
    assert runtimes.made(upgrade.hash).version.spec == 424
    assert runtimes.in_force(upgrade.hash).version.spec == 425
    assert runtimes.made(new.hash).version.spec == 425
    for head in (old, upgrade, new):
        assert connection.read("SubtensorModule", "Tempo", [1], head.hash) == 20
        assert connection.read_map("SubtensorModule", "Tempo", (), head.hash) == {1: 20}


def test_a_second_read_of_a_block_asks_nothing_more_of_it(stepped, connection):
    stepped.step(3)
    first, second = connection.hash_of(2), connection.hash_of(3)
    connection.read("SubtensorModule", "Tempo", [1], first)
    asked = counted(connection)
    connection.read("SubtensorModule", "Tempo", [1], first)
    assert asked == ["state_queryStorageAt"]
    # Of a later block: its own runtime, and not its parent's, since runtimes only grow.
    connection.read("SubtensorModule", "Tempo", [1], second)
    assert sorted(asked[1:]) == ["chain_getHeader", "state_getRuntimeVersion", "state_queryStorageAt"]


def test_an_upgrade_over_another_connection_is_noticed(stepped, connection):
    assert connection.spec_version == 424
    stepped.faults.drop_connections()
    stepped.faults.upgrade()
    until(lambda: connection.spec_version == 425)


def test_a_call_composed_before_an_upgrade_is_composed_anew(stepped, connection):
    alice = Keypair.development("//Alice")
    call = connection.compose("Balances", "transfer_keep_alive", {"dest": alice.account, "value": 1})
    assert call.spec_version == 424
    stepped.faults.upgrade()
    until(lambda: connection.spec_version == 425)
    receipt = []
    thread = threading.Thread(target=lambda: receipt.append(connection.submit(call, alice)))
    thread.start()
    until(lambda: stepped.run(lambda core: len(core.pool)))
    stepped.step()
    thread.join(10)
    assert receipt[0].success


def test_an_upgrade_that_was_not_told_of_is_found_by_the_bytes(stepped, connection, monkeypatch):
    """As on a node that tells of it late: an answer that does not decode leads to the new runtime."""
    metagraph(connection)
    old = connection.access.version()
    monkeypatch.setattr(connection._runtimes, "_now", lambda: old)
    stepped.faults.upgrade()
    assert len(metagraph(connection)) > 70


def test_an_answer_that_never_decodes_is_an_error(stepped, connection):
    request = connection.access.rpc.request

    def cut(method, *rest, **more):
        answer = request(method, *rest, **more)
        return answer[:-2] if method == "state_call" else answer

    metagraph(connection)
    connection.access.rpc.request = cut
    with pytest.raises(ChainError, match="cannot be decoded") as caught:
        metagraph(connection)
    assert "424" in caught.value.what


# --- metadata on disk ---------------------------------------------------------------------------------------


def files(connection):
    return sorted(connection._runtimes._cache.directory.glob("*"))


def test_metadata_is_fetched_once_and_then_read(stepped, connection, tmp_path):
    connection.read("SubtensorModule", "Tempo", [1])
    (path,) = files(connection)
    with Connection(stepped.url, cache_dir=tmp_path / "metadata") as second:
        asked = counted(second)
        assert second.read("SubtensorModule", "Tempo", [1]) == 20
        assert "state_call" not in asked
    assert files(connection) == [path]


def test_damaged_metadata_is_fetched_again(stepped, connection, tmp_path, caplog):
    connection.read("SubtensorModule", "Tempo", [1])
    (path,) = files(connection)
    data = path.read_bytes()
    path.write_bytes(data[:5000])
    with Connection(stepped.url, cache_dir=tmp_path / "metadata") as second:
        assert second.read("SubtensorModule", "Tempo", [1]) == 20
    assert "is fetched again" in caplog.text
    assert path.read_bytes() == data


def test_whole_files_of_nonsense_are_fetched_again(stepped, connection, tmp_path, caplog):
    """The file is what was written, and what was written is no metadata."""
    version, code = connection.access.version(), connection._runtimes._code(connection.head().hash)
    connection._runtimes._cache.save(connection.genesis, version.spec, code, 0, b"meta\x0fnonsense")
    assert connection.read("SubtensorModule", "Tempo", [1]) == 20
    assert "cached metadata of spec version 424 is fetched again" in caplog.text


def test_an_upgrade_is_a_file_of_its_own(stepped, connection):
    metagraph(connection)
    stepped.faults.upgrade()
    until(lambda: connection.spec_version == 425)
    metagraph(connection)
    assert [path.name.split("-")[1] for path in files(connection)] == ["424", "425"]


def test_chains_with_the_same_version_do_not_share_metadata(tmp_path):
    found = []
    for spec in (RuntimeSpec(), RuntimeSpec(grown=True)):
        made = dataclasses.replace(development(), runtime=spec, genesis_time_ms=1)
        with ThreadedChain(made) as chain, Connection(chain.url, cache_dir=tmp_path) as connection:
            found.append(len(metagraph(connection)))
    assert found[1] == found[0] + 1
    assert len(list(tmp_path.glob("*.metadata"))) == 2


def test_runtimes_in_memory_are_few(stepped, connection, monkeypatch):
    monkeypatch.setattr("mycelium.chain.runtime.CHAIN_RUNTIMES_MAX", 2)
    hashes = []
    for _ in range(4):
        stepped.faults.upgrade(grown=False)
        stepped.step()
        hashes.append(connection.head().hash)
    for block_hash in (*hashes, *hashes):
        assert connection.read("SubtensorModule", "Tempo", [1], block_hash) == 20
    assert len(connection._runtimes._codecs) == 2


def test_threads_that_begin_together_fetch_once(stepped, tmp_path):
    with Connection(stepped.url, cache_dir=None) as connection:
        asked = counted(connection)
        threads = [
            threading.Thread(target=lambda: connection.read("SubtensorModule", "Tempo", [1]))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asked.count("state_call") == 1


# --- nodes that lack things ---------------------------------------------------------------------------------

RAW = build(RuntimeSpec())
HEADER = {
    "parentHash": "0x" + "00" * 32,
    "number": "0x1",
    "stateRoot": "0x" + "00" * 32,
    "extrinsicsRoot": "0x" + "00" * 32,
    "digest": {"logs": []},
}


def missing(*params):
    raise Refused(-32601, "Method not found")


def node(**methods):
    return Scripted(
        chain_getHeader=lambda *at: HEADER,
        state_getStorageHash=missing,
        state_queryStorageAt=lambda keys, *at: [{"changes": [[key, None] for key in keys]}],
        state_getMetadata=lambda *at: f"0x{RAW.v14.hex()}",
        **methods,
    )


@pytest.mark.parametrize("call", [missing, lambda *params: "0x00"])
def test_a_node_with_metadata_14_serves_all_but_runtime_apis(call):
    with node(state_call=call) as old, Connection(old.url, cache_dir=None) as connection:
        assert connection.read("SubtensorModule", "Tempo", [1]) == 360
        assert connection.has_call("SubtensorModule", "set_weights")
        assert not connection.has_api("SubnetInfoRuntimeApi", "get_metagraph")
        with pytest.raises(UnknownToChain, match="version 15"):
            metagraph(connection)


@pytest.mark.parametrize(
    "answer", ["0x0104", "0x01", "0x02", "0x0110" + b"meta".hex() + "00", "0x0110" + "00" * 4]
)
def test_what_is_no_metadata(answer):
    with (
        node(state_call=lambda *params: answer) as odd,
        Connection(odd.url, cache_dir=None) as connection,
        pytest.raises(ChainError, match=r"no runtime metadata|cannot be read"),
    ):
        connection.read("SubtensorModule", "Tempo", [1])


def test_a_node_that_does_not_tell_of_upgrades_is_asked_now_and_then(monkeypatch):
    versions = [424]
    with (
        node(
            state_subscribeRuntimeVersion=missing,
            state_getRuntimeVersion=lambda *at: {"specVersion": versions[-1], "transactionVersion": 1},
            state_call=lambda *params: "0x00",
        ) as old,
        Connection(old.url, cache_dir=None) as connection,
    ):
        assert connection.spec_version == 424
        versions.append(425)
        assert connection.spec_version == 424
        monkeypatch.setattr("mycelium.chain.runtime._POLL_S", -1.0)
        assert connection.spec_version == 425


def test_the_oldest_block_that_is_kept_has_no_parent_to_ask():
    parent = "0x" + "22" * 32

    def version(*at):
        if at == (parent,):
            raise Refused(4003, "Client error: UnknownBlock: State already discarded")
        return {"specVersion": 424, "transactionVersion": 1}

    with node(
        state_call=lambda *params: "0x00",
        state_getRuntimeVersion=version,
    ) as pruned:
        pruned.methods["chain_getHeader"] = lambda *at: {**HEADER, "parentHash": parent}
        with Connection(pruned.url, cache_dir=None) as connection:
            assert connection.read("SubtensorModule", "Tempo", [1], "0x" + "33" * 32) == 360


def test_an_unknown_block_is_refused_before_it_is_decoded(connection):
    with pytest.raises(ChainRefused):
        metagraph(connection, "0x" + "ee" * 32)
