"""The generated metadata, held against that of the public chain item by item, and against the clients' decoders."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import bittensor_core
import pytest
from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset

from mycelium.devnet.chain.metadata import GROWN_FIELD, RuntimeSpec, build
from mycelium.devnet.chain.metadata.declared import check, declared, pallet
from mycelium.devnet.chain.metadata.notation import Reader
from mycelium.devnet.chain.metadata.registry import Registry
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
]
OUTER = ("RuntimeCall", "RuntimeEvent", "RuntimeError")


@pytest.fixture(scope="module")
def real():
    path = REAL / "metadata_v15_spec424_converted.scale"
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
        if self.same(where, [name for name, _ in mine], [name for name, _ in real]):
            for (name, kind), (_, there) in zip(mine, real, strict=True):
                self.types(f"{where}.{name}", kind, there)

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


def test_every_item_is_that_of_the_public_chain(ours, real):
    compare = Comparison(ours, real)
    for name, pallet_ in ours["pallets"].items():
        there = real["pallets"][name]
        compare.same(name, pallet_["index"], there["index"])
        if compare.same(name, pallet_["storage"] is None, there["storage"] is None) and pallet_["storage"]:
            compare.same(name, pallet_["storage"]["prefix"], there["storage"]["prefix"])
            for item, entry in pallet_["storage"]["items"].items():
                where, known = f"{name}.{item}", there["storage"]["items"].get(item)
                if compare.same(where, True, known is not None):
                    for part in ("modifier", "hashers", "default"):
                        compare.same(f"{where} {part}", entry[part], known[part])
                    compare.types(f"{where} key", entry["key"], known["key"])
                    compare.types(f"{where} value", entry["value"], known["value"])
        for part in ("calls", "events", "errors"):
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
    mine, there = ours["extrinsic"], real["extrinsic"]
    compare.same("extrinsic", mine["version"], there["version"])
    for part in ("address", "call", "signature"):
        compare.types(f"extrinsic {part}", mine[part], there[part])
    names = [name for name, _, _ in mine["extensions"]]
    compare.same("extensions", names, [name for name, _, _ in there["extensions"]])
    for (name, kind, signed), (_, real_kind, real_signed) in zip(
        mine["extensions"], there["extensions"], strict=True
    ):
        compare.types(name, kind, real_kind)
        compare.types(f"{name} signed", signed, real_signed)
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
    for name, pallet_ in old["pallets"].items():
        there = new["pallets"][name]
        for part in ("calls", "events", "errors"):
            compare.types(f"{name} {part}", pallet_[part], there[part])
        for item, entry in (pallet_["storage"] or {"items": {}})["items"].items():
            compare.types(f"{name}.{item}", entry["value"], there["storage"]["items"][item]["value"])
    for part in ("address", "call", "signature"):
        compare.types(part, old["extrinsic"][part], new["extrinsic"][part])
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
    neuron = {name for name, _ in fields(made.v15, "NeuronInfoLite")}
    assert (GROWN_FIELD in neuron) == spec.grown


def fields(raw, name):
    types = metakit.read(raw)["types"].values()
    return next(kind.body for kind in types if kind.path[-1:] == (name,))


def test_scalecodec_reads_version_14():
    config = RuntimeConfigurationObject()
    config.update_type_registry(load_type_registry_preset("core"))
    decoder = config.create_scale_object("MetadataVersioned", ScaleBytes(build(RuntimeSpec()).v14))
    decoder.decode()
    assert {pallet_.name for pallet_ in decoder.pallets} >= {"System", "SubtensorModule"}


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
