"""Reads of a chain: right values from the right block, and errors that say what to do."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest
import substrateinterface
from chain.clientkit import Eager, Refused, Scripted, recorded, shared, until

from mycelium.chain.connection import Connection
from mycelium.devnet.chain.metadata import RuntimeSpec
from mycelium.devnet.chain.population import account, development, validator_path
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import (
    ChainError,
    ChainRefused,
    ChainUnreachable,
    ConfigError,
    UnknownToChain,
    UsageError,
    WrongChain,
)
from mycelium.identity import account as accounts

VALIDATOR = accounts.format(account(validator_path(0)))


@pytest.fixture(scope="module")
def still():
    """A chain that nothing changes, for reads."""
    with ThreadedChain() as running:
        running.step(5)
        yield running


@pytest.fixture(scope="module")
def reader(still):
    connection = Connection(still.url, cache_dir=None)
    yield connection
    connection.close()


@pytest.fixture
def connect(chain):
    """Makes connections to the test's own chain, which end with it."""
    made = []

    def make(*endpoints, **keywords):
        keywords.setdefault("cache_dir", None)
        made.append(Connection(list(endpoints) or chain.url, rng=Eager(), **keywords))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- reading ------------------------------------------------------------------------------------------------


def test_it_is_substrate_interfaces_client(reader):
    assert isinstance(reader, substrateinterface.SubstrateInterface)


def test_which_chain(reader, still):
    assert reader.genesis == still.genesis
    assert reader.spec_version == 424
    assert reader.endpoint == still.url == reader.url
    assert reader.constant("System", "SS58Prefix") == 42


def test_values_defaults_and_nothing(reader):
    assert reader.read("SubtensorModule", "Tempo", [1]) == 20
    assert reader.read("SubtensorModule", "Tempo", [77]) == 360
    assert reader.read("SubtensorModule", "Uids", [1, VALIDATOR]) == 0
    assert reader.read("SubtensorModule", "Uids", [1, account(validator_path(0))]) == 0
    assert reader.read("SubtensorModule", "Uids", [77, VALIDATOR]) is None


def test_many_values_in_one_request(reader, still):
    asked = []
    request = reader.access.rpc.request
    reader.access.rpc.request = lambda method, *rest, **more: (
        asked.append(method) or request(method, *rest, **more)
    )
    try:
        values = reader.read_many(
            [
                ("SubtensorModule", "Tempo", [1]),
                ("SubtensorModule", "Tempo", [77]),
                ("SubtensorModule", "Tempo", [1]),
                ("System", "Number", []),
            ]
        )
    finally:
        del reader.access.rpc.request
    assert values == [20, 360, 20, 5]
    assert asked.count("state_queryStorageAt") == 1
    assert reader.read_many([]) == []


def test_maps_and_parts_of_them(reader, monkeypatch):
    monkeypatch.setattr("mycelium.chain.connection.CHAIN_KEYS_PAGE", 3)
    whole = reader.read_map("SubtensorModule", "Keys")
    part = reader.read_map("SubtensorModule", "Keys", [1])
    assert len(part) == 4
    assert part[0] == VALIDATOR
    assert {key[1]: value for key, value in whole.items() if key[0] == 1} == part
    assert reader.read_map("SubtensorModule", "Keys", [77]) == {}


def test_a_runtime_api_by_position_or_name(reader):
    metagraph = reader.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", [1])
    assert metagraph["netuid"] == 1
    assert metagraph["hotkeys"][0] == VALIDATOR
    assert reader.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", {"netuid": 1}) == metagraph
    assert reader.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", [77]) is None


def test_blocks(reader, still):
    head = reader.head()
    assert head.number == 5
    assert reader.hash_of(5) == head.hash
    assert reader.hash_of(6) is None
    assert reader.finalised_head() == head
    assert reader.number_of(reader.hash_of(3)) == 3
    times = [reader.timestamp_ms(reader.hash_of(number)) for number in range(1, 6)]
    assert times == still.run(
        lambda core: [core.chain.block(core.chain.hash_of(number)).timestamp_ms for number in range(1, 6)]
    )
    with pytest.raises(ChainError, match="no timestamp"):
        reader.timestamp_ms(reader.hash_of(0))
    with pytest.raises(ChainError, match="no node knows the block"):
        reader.timestamp_ms("0x" + "ee" * 32)
    with pytest.raises(ChainError, match="does not know that block"):
        reader.number_of("0x" + "ee" * 32)


def test_a_value_of_an_older_block(stepped):
    with Connection(stepped.url, cache_dir=None) as connection:
        stepped.step()
        before = connection.head()
        stepped.faults.set_item("SubtensorModule", "Tempo", [1], 99)
        assert connection.read("SubtensorModule", "Tempo", [1]) == 99
        assert connection.read("SubtensorModule", "Tempo", [1], before.hash) == 20
        assert connection.read_map("SubtensorModule", "Tempo", (), before.hash)[1] == 20


def test_what_the_chain_has(reader):
    assert reader.has_call("SubtensorModule", "set_weights")
    assert not reader.has_call("SubtensorModule", "commit_crv3_weights")
    assert not reader.has_call("Nonesuch", "set_weights")
    assert reader.has_storage("SubtensorModule", "Tempo")
    assert not reader.has_storage("SubtensorModule", "Rank")
    assert reader.has_api("SubnetInfoRuntimeApi", "get_metagraph")
    assert not reader.has_api("SubnetInfoRuntimeApi", "nonesuch")
    assert reader.call_parameters("SubtensorModule", "set_weights") == [
        "netuid",
        "dests",
        "weights",
        "version_key",
    ]


# --- what is wrong with a question --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.read("SubtensorModule", "Nonesuch", []),
        lambda c: c.read("Nonesuch", "Tempo", []),
        lambda c: c.read_map("SubtensorModule", "Nonesuch"),
        lambda c: c.runtime_api("Nonesuch", "get_metagraph", [1]),
        lambda c: c.runtime_api("SubnetInfoRuntimeApi", "nonesuch", [1]),
        lambda c: c.constant("SubtensorModule", "Nonesuch"),
        lambda c: c.call_parameters("SubtensorModule", "nonesuch"),
        lambda c: c.compose("SubtensorModule", "nonesuch", {}),
    ],
)
def test_what_the_chain_has_not(reader, ask):
    with pytest.raises(UnknownToChain, match=r"spec version 424\) has no .*[Nn]onesuch") as caught:
        ask(reader)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda c: c.read("SubtensorModule", "Tempo", []), "is read by 1 keys, not 0"),
        (lambda c: c.read("SubtensorModule", "Tempo", [1, 2]), "is read by 1 keys, not 2"),
        (lambda c: c.read("SubtensorModule", "Tempo", ["one"]), "cannot be read by"),
        (lambda c: c.read("SubtensorModule", "Uids", [1, "5Grw"]), "cannot be read by"),
        (lambda c: c.read_map("System", "Number"), "is read by no map"),
        (lambda c: c.read_map("SubtensorModule", "Tempo", [1]), "fewer than 1 keys"),
        (lambda c: c.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", []), r"takes \(netuid\)"),
        (lambda c: c.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", {"uid": 1}), r"takes \(netuid\)"),
        (lambda c: c.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", [-1]), "cannot be called with"),
        (
            lambda c: c.compose("Balances", "transfer_keep_alive", {"dest": VALIDATOR}),
            r"takes \(dest, value\)",
        ),
        (
            lambda c: c.compose(
                "Balances", "transfer_keep_alive", {"dest": VALIDATOR, "value": 1, "more": 1}
            ),
            r"takes \(dest, value\)",
        ),
        (
            lambda c: c.compose("Balances", "transfer_keep_alive", {"dest": "Bob", "value": 1}),
            "cannot be composed",
        ),
        (
            lambda c: c.compose("Balances", "transfer_keep_alive", {"dest": VALIDATOR, "value": 0.5}),
            "cannot be composed",
        ),
    ],
)
def test_what_does_not_fit_the_chain(reader, ask, says):
    with pytest.raises(UsageError, match=says):
        ask(reader)


def test_an_unknown_block_is_the_nodes_refusal(reader):
    with pytest.raises(ChainRefused, match="UnknownBlock"):
        reader.read("SubtensorModule", "Tempo", [1], "0x" + "ee" * 32)


@pytest.mark.parametrize("endpoints", ["nonesuch", [], ["http://127.0.0.1:1"]])
def test_endpoints_that_are_none(endpoints):
    with pytest.raises(ConfigError):
        Connection(endpoints, cache_dir=None)


# --- which chain, and whether -------------------------------------------------------------------------------


def test_a_connection_opens_nothing_before_it_is_asked():
    connection = Connection("ws://127.0.0.1:9", cache_dir=None, timeout_s=0.2)
    assert connection.endpoint == "ws://127.0.0.1:9"
    with pytest.raises(ChainUnreachable, match=r"ws://127\.0\.0\.1:9: "):
        connection.connect()
    connection.close()


def test_a_chain_of_another_genesis_is_refused(chain, connect):
    right = connect(genesis=chain.genesis)
    assert right.connect().genesis == chain.genesis
    wrong = connect(genesis=bytes(32))
    with pytest.raises(WrongChain, match="is another chain: its genesis is 0x") as caught:
        wrong.head()
    assert chain.url in caught.value.what
    assert caught.value.remedy


def test_an_endpoint_of_another_chain_is_passed_over(chain, connect):
    with Scripted() as other:
        connection = connect(other.url, chain.url, genesis=chain.genesis)
        connection.head()
        assert connection.endpoint == chain.url


def test_a_chain_that_was_begun_anew_is_another(chain, connect):
    connection = connect()
    connection.head()
    chain.faults.new_genesis()
    until(lambda: not connection.access.rpc.socket.open)
    with pytest.raises(WrongChain):
        connection.head()


def test_fail_over_while_reading(chain, connect):
    with ThreadedChain(dataclasses.replace(development(), genesis_time_ms=1)) as other:
        first = connect(chain.url, other.url)
        assert first.read("SubtensorModule", "Tempo", [1]) == 20
        chain.faults.drop_connections(refuse=True)
        with pytest.raises((ChainUnreachable, WrongChain)):
            connect(chain.url, timeout_s=0.3).head()
        # The other one is another chain, and is not taken for this one.
        with pytest.raises(ChainUnreachable, match="is another chain"):
            first.access.request("chain_getHeader", timeout_s=0.5)


# --- faults of nodes ----------------------------------------------------------------------------------------


def test_answers_that_are_not_what_they_should_be(connect):
    with Scripted(chain_getHeader=lambda *at: {"number": 7}, state_queryStorageAt=lambda *at: "yes") as node:
        connection = connect(node.url, timeout_s=1)
        with pytest.raises(ChainError, match="where a block header belongs"):
            connection.head()
    with (
        Scripted(chain_getBlockHash=lambda *at: None) as node,
        pytest.raises(ChainUnreachable, match="bytes in hex"),
    ):
        connect(node.url, timeout_s=0.3).head()


def test_a_version_that_is_none(connect):
    with Scripted(state_getRuntimeVersion=lambda *at: {}) as node:
        del node.methods["state_subscribeRuntimeVersion"]
        with pytest.raises(ChainUnreachable, match="where a runtime version belongs"):
            connect(node.url, timeout_s=0.3).head()


def test_an_archive_is_asked_for_what_others_discarded(chain, connect):
    def gone(*params):
        raise Refused(4003, "Client error: UnknownBlock: State already discarded")

    genesis = f"0x{chain.genesis.hex()}"
    with Scripted(
        chain_getBlockHash=lambda *at: genesis,
        state_queryStorageAt=gone,
        chain_getHeader=gone,
        state_getRuntimeVersion=gone,
        state_getStorageHash=gone,
        state_call=gone,
    ) as pruned:
        connection = connect(pruned.url, archive=chain.url)
        assert connection.read("SubtensorModule", "Tempo", [1], genesis) == 20
        alone = connect(pruned.url)
        with pytest.raises(ChainRefused, match="discarded"):
            alone.number_of(genesis)


def test_an_archive_of_another_chain_is_none(chain, connect):
    def gone(*params):
        raise Refused(4003, "Client error: UnknownBlock: State already discarded")

    with Scripted(chain_getHeader=gone) as pruned:
        connection = connect(pruned.url, archive=chain.url, timeout_s=0.5)
        with pytest.raises(WrongChain):
            connection.number_of("0x" + "11" * 32)


@pytest.mark.parametrize("fault", ["garbage", "never_answer"])
def test_a_node_that_answers_badly_for_a_while(chain, connect, fault):
    connection = connect(timeout_s=0.6)
    connection.read("SubtensorModule", "Tempo", [1])
    getattr(chain.faults, fault)()
    with pytest.raises(ChainUnreachable):
        connection.read("SubtensorModule", "Tempo", [1])
    chain.faults.clear()
    assert connection.read("SubtensorModule", "Tempo", [1]) == 20


def test_too_many_requests_for_a_while(chain, connect):
    connection = connect(timeout_s=0.3)
    connection.head()
    chain.faults.too_many_requests("rpc")
    with pytest.raises(ChainUnreachable, match="Too many requests"):
        connection.head()


def test_reads_from_many_threads(chain, connect):
    """Ours, and substrate-interface's, whose decoder takes one thread at a time."""
    connection = connect()
    results = []

    def ask(number):
        netuid, tempo = (1, 20) if number % 2 else (77, 360)
        for _ in range(20):
            results.append(connection.read("SubtensorModule", "Tempo", [netuid]) == tempo)
            results.append(connection.query("SubtensorModule", "Tempo", [netuid]).value == tempo)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 240


# --- the real chain's answers -------------------------------------------------------------------------------


def real_node(case, spec):
    """A node that answers as the public one did, with the metadata of a spec version at hand."""
    answers = recorded()[case]
    calls = {
        (method, data.removeprefix("0x")): answers["state_call"][known]["result"]
        for known in answers["state_call"]
        for method, data in [json.loads(known)[:2]]
    }

    name = "chain/metadata_v15_spec343.scale" if spec == 343 else "chain/metadata_v15_spec424_converted.scale"
    raw = shared(name).read_bytes()
    length = (len(raw) << 2 | 2).to_bytes(4, "little")
    head = answers["chain_getHead"]["[]"]["result"]
    header = next(iter(answers["chain_getHeader"].values()))["result"]

    def call(method, data, *at):
        if method.startswith("Metadata"):
            return "0x01" + (length + raw).hex()
        return calls[method, data.removeprefix("0x")]

    return Scripted(
        chain_getBlockHash=lambda *number: head,
        chain_getHeader=lambda *at: header,
        state_getRuntimeVersion=lambda *at: {"specVersion": spec, "transactionVersion": 1},
        state_subscribeRuntimeVersion=lambda *at: (_ for _ in ()).throw(Refused(-32601, "Method not found")),
        state_getStorageHash=lambda *at: None,
        state_call=call,
    )


def calls_of(case):
    """(method, bytes of its arguments) of what was recorded."""
    for known in recorded()[case]["state_call"]:
        method, data = json.loads(known)[:2]
        yield method, bytes.fromhex(data.removeprefix("0x"))


@pytest.mark.parametrize("spec", [343, 424])
def test_a_real_metagraph_and_neurons(connect, spec):
    with real_node("metagraph", spec) as node:
        connection = connect(node.url)
        neurons = connection.runtime_api("NeuronInfoRuntimeApi", "get_neurons_lite", [1])
        assert [neuron["uid"] for neuron in neurons] == list(range(len(neurons)))
        assert len(neurons) >= 256
        assert neurons[0]["hotkey"] == "5DkMmXtWf16RNdusZGCrJ7ca7ADPgRnZLVWCWbgA7s7sy1AQ"
        state = connection.runtime_api("SubnetInfoRuntimeApi", "get_subnet_state", [1])
        assert state["hotkeys"] == [neuron["hotkey"] for neuron in neurons]
        wanted = next(data for method, data in calls_of("metagraph") if "selective" in method)
        # netuid, mecid, and a list of u16 behind its compact length.
        numbers = [int.from_bytes(pair, "little") for pair in zip(wanted[5::2], wanted[6::2], strict=True)]
        metagraph = connection.runtime_api(
            "SubnetInfoRuntimeApi", "get_selective_mechagraph", [1, 0, numbers]
        )
        assert metagraph["hotkeys"] == state["hotkeys"]
        assert len(metagraph["validator_permit"]) == len(neurons)


@pytest.mark.parametrize("spec", [343, 424])
def test_real_subnets_and_a_neuron(connect, spec):
    with real_node("get_all_subnets_info", spec) as node:
        subnets = connect(node.url).runtime_api("SubnetInfoRuntimeApi", "get_subnets_info_v2")
        assert len(subnets) == 129
        assert [subnet["netuid"] for subnet in subnets] == list(range(129))
    with real_node("get_neuron_for_pubkey_and_subnet", spec) as node:
        neuron = connect(node.url).runtime_api("NeuronInfoRuntimeApi", "get_neuron", [14, 29])
        assert (neuron["netuid"], neuron["uid"]) == (14, 29)


@pytest.mark.parametrize(
    ("case", "api", "method"),
    [
        ("get_subnet_hyperparameters", "SubnetInfoRuntimeApi", "get_subnet_hyperparams"),
        ("neurons_lite", "NeuronInfoRuntimeApi", "get_neurons_lite"),
    ],
)
def test_answers_of_a_runtime_whose_metadata_is_not_at_hand(connect, case, api, method):
    """Recorded under spec 208: they are refused, and not taken for something else."""
    with real_node(case, 424) as node, pytest.raises(ChainError, match="cannot be decoded"):
        connect(node.url).runtime_api(api, method, [23])


@pytest.mark.parametrize(
    "spec", [RuntimeSpec(netuid_newtype=True), RuntimeSpec(grown=True), RuntimeSpec(430, 1, True, True)]
)
def test_newer_runtimes_break_nothing(spec):
    with (
        ThreadedChain(dataclasses.replace(development(), runtime=spec)) as chain,
        Connection(chain.url, cache_dir=None) as connection,
    ):
        assert connection.read("SubtensorModule", "Tempo", [1]) == 20
        assert connection.read_map("SubtensorModule", "Keys", [1])[0] == VALIDATOR
        metagraph = connection.runtime_api("SubnetInfoRuntimeApi", "get_metagraph", [1])
        assert metagraph["hotkeys"][0] == VALIDATOR
        params = {"netuid": 1, "dests": [0], "weights": [1], "version_key": 0}
        assert (
            connection.compose("SubtensorModule", "set_weights", params).hex()
            == "07000100040000040100" + "00" * 8
        )
