"""The generated metadata, held against that of the public chain item by item, and against the clients' decoders."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import bittensor_core
import pytest
from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset

from mycelium.devnet.chain.metadata import GROWN_FIELD, RuntimeSpec, build
from mycelium.devnet.chain.metadata.declared import check, declared, pallet
from mycelium.devnet.chain.metadata.notation import Reader
from mycelium.devnet.chain.metadata.registry import Registry
from mycelium.devnet.chain.runtime import Runtime
from mycelium.devnet.chain.spec import ChainSpec
from mycelium.errors import UsageError

_spec = importlib.util.spec_from_file_location("metakit", Path(__file__).with_name("metakit.py"))
metakit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(metakit)

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared/chain"
SPECS = [
    RuntimeSpec(),
    RuntimeSpec(spec_version=430, netuid_newtype=True),
    RuntimeSpec(spec_version=431, grown=True),
    RuntimeSpec(spec_version=432, netuid_newtype=True, grown=True),
    RuntimeSpec(spec_version=437, netuid_newtype=True, recent_items=True),
]
OUTER = ("RuntimeCall", "RuntimeEvent", "RuntimeError")
READ_ONLY = {"Multisig", "MevShield", "AlphaAssets"}
"""Pallets that are declared for what clients read of them."""
LIBRARY = {
    ("Option",),
    ("Result",),
    ("BTreeMap",),
    ("BTreeSet",),
    ("bounded_collections", "bounded_vec", "BoundedVec"),
}
"""Types that are only a shell around others."""


@pytest.fixture(scope="module")
def real():
    return recorded("metadata_v15_spec424_converted.scale")


def recorded(name):
    path = REAL / name
    if not path.exists():
        pytest.skip("the recorded metadata of the public chain is not part of a clone")
    return metakit.read(path.read_bytes())


@pytest.fixture(scope="module")
def ours():
    return metakit.read(build(RuntimeSpec()).v15)


class Comparison:
    """Compares types of two metadata by structure; `differences` names the place of each that is not the same."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours["types"], theirs["types"]
        self.differences = []
        self.seen = set()

    def same(self, where, one, other):
        if one != other:
            self.differences.append(f"{where}: {one!r} is {other!r} on the public chain")
            return False
        return True

    def types(self, where, one, other):
        if (one, other) in self.seen or one is None or other is None:
            self.same(where, one is None, other is None)
            return
        self.seen.add((one, other))
        mine, real = self.ours[one], self.theirs[other]
        where = f"{where}/{mine.path[-1] if mine.path else mine.kind}"
        if not self.same(where, (mine.path, mine.kind), (real.path, real.kind)):
            return
        if self.same(where, [name for name, _ in mine.params], [name for name, _ in real.params]):
            for (name, param), (_, there) in zip(mine.params, real.params, strict=True):
                self.types(f"{where}<{name}>", param, there)
        getattr(self, mine.kind)(where, mine, real)

    def fields(self, where, mine, real):
        if self.same(where, [field.name for field in mine], [field.name for field in real]):
            for field, there in zip(mine, real, strict=True):
                self.types(f"{where}.{field.name}", field.type, there.type)

    def composite(self, where, mine, real):
        self.fields(where, mine.body, real.body)

    def variant(self, where, mine, real):
        """Outer enums, and those of calls, may leave out what is not declared; no other enum may."""
        there = {index: (name, fields) for name, index, fields in real.body}
        partial = mine.path[-1] in OUTER or mine.path[-1] == "Call"
        if not partial:
            self.same(where, len(mine.body), len(real.body))
        for name, index, fields in mine.body:
            if self.same(f"{where}::{name}", name, there.get(index, (None,))[0]):
                self.fields(f"{where}::{name}", fields, there[index][1])

    def sequence(self, where, mine, real):
        self.types(where, mine.body, real.body)

    compact = sequence

    def array(self, where, mine, real):
        self.same(where, mine.body[0], real.body[0])
        self.types(where, mine.body[1], real.body[1])

    def tuple(self, where, mine, real):
        if self.same(where, len(mine.body), len(real.body)):
            for position, (kind, there) in enumerate(zip(mine.body, real.body, strict=True)):
                self.types(f"{where}.{position}", kind, there)

    def primitive(self, where, mine, real):
        self.same(where, mine.body, real.body)

    def storage(self, pallet_, mine, real):
        self.same(pallet_, mine["prefix"], real["prefix"])
        for item, entry in mine["items"].items():
            where, known = f"{pallet_}.{item}", real["items"].get(item)
            if self.same(where, True, known is not None):
                for part in ("modifier", "hashers", "default"):
                    self.same(f"{where} {part}", entry[part], known[part])
                self.types(f"{where} key", entry["key"], known["key"])
                self.types(f"{where} value", entry["value"], known["value"])

    def extrinsic(self, mine, real):
        self.same("extrinsic", mine["version"], real["version"])
        for part in ("address", "call", "signature"):
            self.types(f"extrinsic {part}", mine[part], real[part])
        names = [name for name, _, _ in mine["extensions"]]
        if self.same("extensions", names, [name for name, _, _ in real["extensions"]]):
            for one, there in zip(mine["extensions"], real["extensions"], strict=True):
                self.types(one[0], one[1], there[1])
                self.types(f"{one[0]} signed", one[2], there[2])


def test_every_item_is_that_of_the_public_chain(ours, real):
    compare = Comparison(ours, real)
    for name, pallet_ in ours["pallets"].items():
        there = real["pallets"][name]
        compare.same(name, pallet_["index"], there["index"])
        if pallet_["storage"] is not None:
            compare.storage(name, pallet_["storage"], there["storage"])
        for part in ("calls", "events", "errors"):
            if pallet_[part] is not None or name not in READ_ONLY:
                compare.types(f"{name} {part}", pallet_[part], there[part])
        for constant, entry in pallet_["constants"].items():
            known = there["constants"].get(constant)
            if compare.same(f"{name}.{constant}", True, known is not None):
                compare.same(f"{name}.{constant}", entry["value"], known["value"])
                compare.types(f"{name}.{constant}", entry["type"], known["type"])
    assert compare.differences == []


def test_runtime_apis_and_extrinsics_are_those_of_the_public_chain(ours, real):
    compare = Comparison(ours, real)
    for api, methods in ours["apis"].items():
        for method, entry in methods.items():
            where, known = f"{api}_{method}", real["apis"][api].get(method)
            if compare.same(where, True, known is not None):
                compare.same(where, [n for n, _ in entry["inputs"]], [n for n, _ in known["inputs"]])
                for (name, kind), (_, there) in zip(entry["inputs"], known["inputs"], strict=True):
                    compare.types(f"{where}({name})", kind, there)
                compare.types(f"{where} ->", entry["output"], known["output"])
    compare.extrinsic(ours["extrinsic"], real["extrinsic"])
    compare.types("extra", ours["extrinsic"]["extra"], real["extrinsic"]["extra"])
    compare.types("runtime", ours["runtime"], real["runtime"])
    for name, kind in ours["outer"].items():
        compare.types(f"all of {name}", kind, real["outer"][name])
    compare.same("custom", ours["custom"], real["custom"])
    assert compare.differences == []


def test_version_14_is_that_of_the_public_chain_too():
    """Its extrinsic is one type, whose extensions are nested where those of version 15 are a plain list."""
    real = recorded("metadata_v14_spec424_converted.scale")
    ours = metakit.read(build(RuntimeSpec()).v14)
    compare = Comparison(ours, real)
    compare.types("extrinsic", ours["extrinsic"]["type"], real["extrinsic"]["type"])
    compare.extrinsic(ours["extrinsic"], real["extrinsic"])
    compare.types("runtime", ours["runtime"], real["runtime"])
    for name, pallet_ in ours["pallets"].items():
        if pallet_["storage"] is not None:
            compare.storage(name, pallet_["storage"], real["pallets"][name]["storage"])
    assert compare.differences == []


def test_a_difference_would_be_seen(ours, real):
    """The comparison above finds what is changed on purpose."""
    for spec, place in ((SPECS[1], "netuid"), (SPECS[2], "NeuronInfoLite")):
        changed = metakit.read(build(spec).v15)
        compare = Comparison(changed, real)
        api = changed["apis"]["NeuronInfoRuntimeApi"]["get_neurons_lite"]
        known = real["apis"]["NeuronInfoRuntimeApi"]["get_neurons_lite"]
        compare.types("netuid", api["inputs"][0][1], known["inputs"][0][1])
        compare.types("out", api["output"], known["output"])
        assert any(place in difference for difference in compare.differences)


def test_what_is_declared_of_a_pallet_or_an_api_is_all_of_it(ours, real):
    """But for what only block authors and root use, and for pallets that are there to be read."""

    def inventory(made):
        for name, pallet_ in made["pallets"].items():
            for item in (pallet_["storage"] or {"items": {}})["items"]:
                yield name, item
            for constant in pallet_["constants"]:
                yield name, constant
            for part in ("calls", "events", "errors"):
                variants = made["types"][pallet_[part]].body if pallet_[part] is not None else ()
                for variant, _, _ in variants:
                    yield f"{name} {part}", variant
        for api, methods in made["apis"].items():
            for method in methods:
                yield api, method

    known = {*ours["pallets"], *ours["apis"]} - READ_ONLY
    left_out = {item for item in inventory(real) if item[0].split()[0] in known} - set(inventory(ours))
    assert left_out == {
        ("Utility calls", "dispatch_as"),
        ("Utility calls", "dispatch_as_fallible"),
        ("Aura", "Authorities"),
        ("Aura", "CurrentSlot"),
        ("AuraApi", "authorities"),
        ("Core", "execute_block"),
        ("Core", "initialize_block"),
    }


def test_recent_items_are_there_only_when_asked_for(ours):
    recent = metakit.read(build(RuntimeSpec(recent_items=True)).v15)
    known = ours["pallets"]["SubtensorModule"]["storage"]["items"]
    made = recent["pallets"]["SubtensorModule"]["storage"]["items"]
    assert set(made) - set(known) == {"SubnetEpochConsensus", "CollateralLockShare"}
    assert set(known) < set(made)
    mode = made["SubnetEpochConsensus"]
    assert (mode["hashers"], mode["default"], mode["modifier"]) == (("Identity",), b"\0", "Default")
    variants = recent["types"][mode["value"]].body
    assert [(name, index) for name, index, _ in variants] == [("Yuma", 0), ("Null", 1)]
    share = made["CollateralLockShare"]
    assert (share["hashers"], share["default"]) == (("Identity",), bytes(2))
    others = {name: pallet_ for name, pallet_ in recent["pallets"].items() if name != "SubtensorModule"}
    assert list(others) == [name for name in ours["pallets"] if name != "SubtensorModule"]


def test_nothing_that_clients_ask_for_is_left_out(ours):
    pallets = ours["pallets"]
    assert len(pallets["SubtensorModule"]["storage"]["items"]) > 200
    assert set(pallets) >= {
        "System",
        "Timestamp",
        "Balances",
        "SubtensorModule",
        "Commitments",
        "Proxy",
        "Utility",
    }
    assert set(pallets) >= {"Drand", "TransactionPayment", "Sudo", "AdminUtils", "Swap"}
    assert "get_selective_metagraph" in ours["apis"]["SubnetInfoRuntimeApi"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.spec_version))
def test_both_versions_say_the_same(spec):
    made = build(spec)
    old, new = metakit.read(made.v14), metakit.read(made.v15)
    compare = Comparison(old, new)
    compare.same("pallets", list(old["pallets"]), list(new["pallets"]))
    for name, pallet_ in old["pallets"].items():
        there = new["pallets"][name]
        for part in ("calls", "events", "errors"):
            compare.types(f"{name} {part}", pallet_[part], there[part])
        if compare.same(name, pallet_["storage"] is None, there["storage"] is None) and pallet_["storage"]:
            compare.same(name, list(pallet_["storage"]["items"]), list(there["storage"]["items"]))
            compare.storage(name, pallet_["storage"], there["storage"])
        compare.same(name, list(pallet_["constants"]), list(there["constants"]))
        for constant, entry in pallet_["constants"].items():
            compare.same(f"{name}.{constant}", entry["value"], there["constants"][constant]["value"])
    compare.extrinsic(old["extrinsic"], new["extrinsic"])
    assert compare.differences == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.spec_version))
def test_the_fast_decoder_reads_both(spec):
    made = build(spec)
    for raw in made:
        runtime = bittensor_core.Runtime(raw, spec.spec_version, spec.transaction_version)
        call = {"netuid": 1, "dests": [0], "weights": [65535], "version_key": 7}
        composed = runtime.compose_call("SubtensorModule", "set_weights", call)
        assert bytes(composed).hex() == "0700010004000004ffff0700000000000000"
        assert runtime.decode_call(bytes(composed))["call_function"] == "set_weights"
        assert runtime.constant("System", "Version")["spec_version"] == spec.spec_version
    assert runtime.is_v15
    for name in ("Metagraph", "SelectiveMetagraph", "NeuronInfoLite", "SubnetHyperparams"):
        grown = [field.name for field in body(made.v15, name)]
        assert (grown[-1] == GROWN_FIELD) == spec.grown, name


def body(raw, name):
    types = metakit.read(raw)["types"].values()
    return next(kind.body for kind in types if kind.path[-1:] == (name,))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.spec_version))
def test_scalecodec_reads_version_14(spec):
    """As substrate-interface does: types from the metadata itself, then values, calls and errors by them."""
    config = RuntimeConfigurationObject()
    config.update_type_registry(load_type_registry_preset("core"))
    metadata = config.create_scale_object("MetadataVersioned", ScaleBytes(build(spec).v14))
    metadata.decode()
    config.add_portable_registry(metadata)
    assert {pallet_.name for pallet_ in metadata.pallets} >= {"System", "SubtensorModule"}
    module = metadata.get_metadata_pallet("SubtensorModule")
    assert {"netuid", "dests"} <= {argument.name for argument in named(module.calls, "set_weights").args}
    weights = module.get_storage_function("Weights")
    value = config.create_scale_object(weights.get_value_type_string(), ScaleBytes("0x040400ffff"))
    assert value.decode() == [(4, 65_535)]
    call = config.create_scale_object("Call", metadata=metadata)
    call.encode(
        {
            "call_module": "SubtensorModule",
            "call_function": "set_weights",
            "call_args": {"netuid": 1, "dests": [0], "weights": [65_535], "version_key": 7},
        }
    )
    assert call.data.to_hex() == "0x0700010004000004ffff0700000000000000"
    assert metadata.get_module_error(module_index=7, error_index=0).name == module.errors[0].name


def named(items, name):
    return next(item for item in items if item.name == name)


def contains(types, kind, name):
    """Whether a type is, or is made of, the one called that; structs and enums are not looked into."""
    found = types[kind]
    if found.path[-1:] == (name,):
        return True
    if found.path in LIBRARY:
        parts = [param for _, param in found.params if param is not None]
    elif found.kind in ("sequence", "compact"):
        parts = [found.body]
    elif found.kind == "array":
        parts = [found.body[1]]
    else:
        parts = found.body if found.kind == "tuple" else []
    return any(contains(types, part, name) for part in parts)


def test_netuid_is_a_type_of_its_own_wherever_the_source_says_netuid(real):
    """The public chain's metadata tells, as a field's type name, where the source has NetUid and not another u16."""
    types = metakit.read(build(SPECS[1]).v15)["types"]
    ours = {kind.path: kind for kind in types.values() if kind.path and kind.path not in LIBRARY}
    wrong, seen = [], 0
    for kind in real["types"].values():
        for place, written, mine in pairs(kind, ours.get(kind.path)):
            there = "NetUid" in re.findall(r"\w+", written or "")
            seen += there
            if there != contains(types, mine, "NetUid"):
                wrong.append(f"{'::'.join(kind.path)} {place}: {written}")
    assert wrong == []
    assert seen > 200


def pairs(real, ours):
    """(place, type name in the source, our type) of each field that both have."""
    if ours is None or real.kind not in ("composite", "variant"):
        return
    mine = {"": ours.body} if ours.kind == "composite" else {name: fields for name, _, fields in ours.body}
    there = {"": real.body} if real.kind == "composite" else {name: fields for name, _, fields in real.body}
    for variant in mine.keys() & there.keys():
        for field, known in zip(mine[variant], there[variant], strict=True):
            yield f"{variant}.{field.name}", known.written, field.type


def test_netuid_is_a_type_of_its_own_in_keys_and_apis():
    """Weights and the like are kept by mechanism: their index is no netuid."""
    made = metakit.read(build(SPECS[1]).v15)
    types = made["types"]
    plain = set()
    for item, entry in made["pallets"]["SubtensorModule"]["storage"]["items"].items():
        if entry["key"] is not None and entry["hashers"][0] in ("Identity", "Twox64Concat"):
            first = types[entry["key"]]
            first = types[first.body[0]] if first.kind == "tuple" else first
            if first.body == "u16":
                plain.add(item)
    assert plain == {
        *("Weights", "Bonds", "Incentive", "LastUpdate", "WeightCommits", "TimelockedWeightCommits"),
        *("CRV3WeightCommits", "CRV3WeightCommitsV2"),
    }
    holding = {
        item
        for pallet_ in made["pallets"].values()
        for item, entry in (pallet_["storage"] or {"items": {}})["items"].items()
        if contains(types, entry["value"], "NetUid")
    }
    assert holding == {"RootClaimable", "TimelockedIndex"}
    for api in made["apis"].values():
        for method in api.values():
            for name, kind in method["inputs"]:
                is_netuid = name in ("netuid", "netuids", "origin", "destination")
                assert contains(types, kind, "NetUid") == is_netuid, name


def test_a_runtime_says_how_far_its_blocks_are_apart():
    fast = bittensor_core.Runtime(build(RuntimeSpec(slot_ms=250)).v15, 424, 1)
    assert (fast.constant("Aura", "SlotDuration"), fast.constant("Timestamp", "MinimumPeriod")) == (250, 125)


@pytest.mark.parametrize("version", [14, 15])
def test_a_chain_of_other_blocks_says_so_after_an_upgrade_too(version):
    for spec in SPECS:
        runtime = Runtime(spec)
        runtime.begin(ChainSpec(block_ms=40))
        read = bittensor_core.Runtime(runtime.metadata(version), spec.spec_version, 1)
        assert read.constant("Aura", "SlotDuration") == 40


def test_chains_of_other_metadata_are_other_chains():
    """Clients keep metadata on disk by genesis hash and spec version."""
    specs = [
        ChainSpec(),
        ChainSpec(block_ms=40),
        ChainSpec(runtime=RuntimeSpec(netuid_newtype=True)),
        ChainSpec(),
    ]
    states = [Runtime(spec.runtime).genesis(spec) for spec in specs]
    codes = [state[b":code"] for state in states]
    assert len(set(codes)) == 3
    assert states[0] == states[3]


def test_a_runtime_says_its_versions():
    spec = RuntimeSpec(spec_version=500, transaction_version=3)
    version = bittensor_core.Runtime(build(spec).v15, 500, 3).constant("System", "Version")
    assert (version["spec_version"], version["transaction_version"]) == (500, 3)
    assert (version["authoring_version"], version["system_version"]) == (1, 1)


def test_the_same_spec_gives_the_same_bytes():
    first = build.__wrapped__(RuntimeSpec())
    assert first == build.__wrapped__(RuntimeSpec()) == build(RuntimeSpec())
    assert len({build(spec) for spec in SPECS}) == len(SPECS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pallet A = 1; errors a::E { X = 0, Y = 0, }", "one number"),
        ("pallet A = 1; calls a::C { x = 0, x = 1, }", "one name"),
        ("pallet A = 1; storage { X: u8 = 0x00; X: u8 = 0x00; }", "one name"),
        ("pallet A = 1; constants { X: u8 = 0x00; X: u8 = 0x00; }", "one name"),
        ("pallet A = 1; nothing { }", "no 'nothing'"),
        ("pallet A 1;", "'1' where '=' belongs"),
        ("pallet A = 1;\nstorage { X u8; }", "line 2"),
        ("pallet A = 1; storage { X: u8", "the end"),
    ],
)
def test_a_wrong_declaration_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        check(pallet(text))


@pytest.mark.parametrize("text", ["Nobody", "Vec<Nobody>", "Option<u8, u8>", "Strange<u8>"])
def test_an_unknown_type_is_refused(text):
    with pytest.raises(UsageError, match=r"not declared|there is no type"):
        Registry({}).id_of(Reader(text).type())


def test_every_declared_type_is_used():
    """What nothing refers to would be dead text."""
    known = declared(RuntimeSpec())
    used = {kind.path for kind in metakit.read(build(RuntimeSpec()).v15)["types"].values()}
    assert [named.alias for named in known.types.values() if named.path not in used] == []
