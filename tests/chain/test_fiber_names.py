"""Every name of two versions of Fiber's chain modules, with its parameters; what is not carried over is listed here."""

from __future__ import annotations

import importlib
import inspect
import json

import pytest
from chain.clientkit import shared

from mycelium import constants

VERSIONS = ("2.1.0", "2.5.0")
MODULES = (
    "chain.chain_utils",
    "chain.commitments",
    "chain.fetch_nodes",
    "chain.interface",
    "chain.metagraph",
    "chain.models",
    "chain.post_ip_to_chain",
    "chain.signatures",
    "chain.type_registries",
    "chain.weights",
    "constants",
    "scripts.post_ip_to_chain",
)
CASES = [(version, module) for version in VERSIONS for module in MODULES]
OF_OTHER_LIBRARIES = {
    "retry",
    "stop_after_attempt",
    "wait_exponential",
    "netaddr",
    "scalecodec",
    "ScaleBytes",
    "ScaleType",
    "RuntimeConfiguration",
    "load_type_registry_preset",
    "get_encrypted_commit",
    "get_logger",
    "utils",
}
"""What the modules had imported for themselves, and nobody takes from them: it is at its own place."""
OTHERWISE = {("chain.metagraph", "Metagraph")}
"""Two classes in one name: `test_fiber_metagraph` looks at both calls."""


@pytest.fixture(scope="module")
def api():
    return {
        version: json.loads(shared(f"fiber/fiber_api_{version}.json").read_text()) for version in VERSIONS
    }


def entries(api, version, module):
    return api[version].get(f"fiber.{module}", {})


def test_nothing_is_left_out(api):
    theirs = {
        name.removeprefix("fiber.")
        for version in VERSIONS
        for name in api[version]
        if name.startswith(("fiber.chain.", "fiber.constants", "fiber.scripts."))
    }
    assert theirs == set(MODULES)


@pytest.mark.parametrize(("version", "module"), CASES)
def test_names(api, version, module):
    found = importlib.import_module(f"mycelium.{module}")
    wanted = entries(api, version, module)
    reexported = set(wanted.get("__reexports__", {"names": {}})["names"]) - OF_OTHER_LIBRARIES
    names = {*wanted, *reexported} - {"__reexports__"}
    assert sorted(name for name in names if not hasattr(found, name)) == []


@pytest.mark.parametrize(("version", "module"), CASES)
def test_parameters(api, version, module):
    found = importlib.import_module(f"mycelium.{module}")
    for name, entry in entries(api, version, module).items():
        if entry.get("kind") != "function" or (module, name) in OTHERWISE:
            continue
        check(getattr(found, name), entry["params"], f"{module}.{name}")


def check(function, theirs, where):
    """Each parameter in its place and by its name, with its default; more may follow that have defaults."""
    mine = list(inspect.signature(function).parameters.values())
    for place, one in enumerate(theirs):
        assert mine[place].name == one["name"], where
        assert mine[place].kind == inspect.Parameter.POSITIONAL_OR_KEYWORD, where
        if one["required"]:
            assert mine[place].default is inspect.Parameter.empty, where
        else:
            assert mine[place].default == eval(one["default"], {"fcst": constants}), where
    assert all(one.default is not inspect.Parameter.empty for one in mine[len(theirs) :]), where


@pytest.mark.parametrize("version", VERSIONS)
def test_constants(api, version):
    for name, entry in entries(api, version, "constants").items():
        if entry.get("literal"):
            assert getattr(constants, name) == entry["value"], name
    assert constants.SUBTENSOR_NETWORK_TO_SUBTENSOR_ADDRESS == {
        "finney": "wss://entrypoint-finney.opentensor.ai:443",
        "test": "wss://test.finney.opentensor.ai:443/",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_fields(api, version):
    from mycelium.chain import models

    for name, entry in entries(api, version, "chain.models").items():
        fields = entry.get("fields")
        if not fields:
            continue
        mine = getattr(models, name)
        names = [one["name"] for one in fields] if isinstance(fields, list) else list(fields)
        known = getattr(mine, "model_fields", None) or getattr(mine, "__members__", mine.__annotations__)
        assert [one for one in names if one not in known] == [], name


def test_type_registries(api):
    from mycelium.chain import type_registries

    theirs = entries(api, "2.1.0", "chain.type_registries")
    for name in ("TYPE_REGISTERY", "CUSTOM_TYPE_REGISTRY"):
        assert getattr(type_registries, name) == theirs[name]["value"]
    assert type_registries.get_type_registry() is type_registries.TYPE_REGISTERY
    assert type_registries.get_custom_type_registry() is type_registries.CUSTOM_TYPE_REGISTRY


@pytest.mark.parametrize("module", ["chain_utils", "fetch_nodes", "metagraph"])
def test_what_is_loaded_late_is_not_everything(module):
    found = importlib.import_module(f"mycelium.chain.{module}")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = found.nothing
