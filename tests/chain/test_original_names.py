"""Every name that the older programs import is there, and takes what it took."""

from __future__ import annotations

import importlib
import inspect
import json

import pytest
from chain.clientkit import shared

from mycelium.errors import MyceliumError

MODULES = (
    "mycelium.chain.chain_utils",
    "mycelium.chain.fetch_nodes",
    "mycelium.chain.interface",
    "mycelium.chain.metagraph",
    "mycelium.chain.weights",
    "mycelium.encrypted.validator",
    "mycelium.encrypted.validator.client",
    "mycelium.encrypted.validator.handshake",
    "mycelium.substrate",
)
NOT_CARRIED_OVER = {"_lib", "_lib_path", "ctypes", "np"}
"""A shared library that never existed, and numpy, which is optional."""


@pytest.fixture(scope="module")
def api():
    return json.loads(shared("fiber/original_mycelium_python_api.json").read_text())


def names(entry):
    reexported = entry.get("__reexports__", {"names": {}})["names"]
    return ({*entry, *reexported} - {"__reexports__", "__all__"}) - NOT_CARRIED_OVER


@pytest.mark.parametrize("module", MODULES)
def test_names(api, module):
    found = importlib.import_module(module)
    assert sorted(name for name in names(api[module]) if not hasattr(found, name)) == []


def parameters(function, method=False):
    given = list(inspect.signature(function).parameters.values())
    return given[1:] if method else given


def check(function, wanted, where, method=False):
    """Each parameter in its place, with its default; more may follow that have defaults."""
    mine = parameters(function, method)
    theirs = [one for one in wanted if one["name"] != "self"]
    for place, one in enumerate(theirs):
        assert place < len(mine), f"{where} lacks {one['name']}"
        assert mine[place].name == one["name"], where
        required = mine[place].default is inspect.Parameter.empty
        assert required == one["required"], f"{where}: {one['name']}"
        if not one["required"]:
            assert repr(mine[place].default) == one["default"], f"{where}: {one['name']}"
    assert all(one.default is not inspect.Parameter.empty for one in mine[len(theirs) :]), where


@pytest.mark.parametrize("module", MODULES)
def test_functions_and_classes(api, module):
    found = importlib.import_module(module)
    for name, entry in api[module].items():
        if name in NOT_CARRIED_OVER or entry.get("kind") not in ("function", "class"):
            continue
        mine, where = getattr(found, name), f"{module}.{name}"
        if entry["kind"] == "function":
            check(mine, entry["params"], where)
            continue
        if "Exception" in entry["bases"]:
            assert issubclass(mine, MyceliumError), where
            continue
        for method, told in entry["methods"].items():
            if method != "__del__":
                check(getattr(mine, method), told["params"], f"{where}.{method}", method=True)


def test_a_metagraphs_attributes(api):
    from mycelium.chain.metagraph import Metagraph

    told = api["mycelium.chain.metagraph"]["Metagraph"]["instance_attributes"]
    metagraph = Metagraph(1)
    for name, entry in told.items():
        assert hasattr(metagraph, name), name
        kind = entry["annotation"]
        if kind is not None:
            wanted = {"int": int, "float": float, "List": list, "Dict": dict}[kind.partition("[")[0]]
            assert isinstance(getattr(metagraph, name), wanted), name


def test_packages():
    import mycelium.chain
    import mycelium.encrypted.validator

    assert set(mycelium.chain.__all__) == {"chain_utils", "interface", "weights", "fetch_nodes", "metagraph"}
    assert mycelium.chain.weights.U16_MAX == 65_535
    assert mycelium.encrypted.validator.client.ValidatorError
    with pytest.raises(AttributeError):
        _ = mycelium.encrypted.validator.nothing
