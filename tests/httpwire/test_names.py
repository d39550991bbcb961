"""Every name of Fiber 2.1.0 and 2.5.0 is here, in the same place, and takes what it took in either version."""

from __future__ import annotations

import importlib
import inspect
import json
import typing

import pytest
from httpwire.httpkit import SHARED, VERSIONS

KEYS = "fiber.encrypted.miner.security.key_management.EncryptionKeysHandler"
GONE = {
    ("fiber.chain.interface", "TYPE_REGISTERY"): "a re-export; it lies in type_registries",
}
"""(module, name) -> why it is not here."""
OTHER_SIGNATURES = {
    "fiber.chain.metagraph.Metagraph.__init__": "one class with the older Metagraph(netuid, substrate); types tell",
    f"{KEYS}._clean_expired_keys": "there is no thread that comes by: keys end with their time",
    f"{KEYS}._periodic_cleanup": "as above",
}
INTERNALS = {"logger", "T", "__all__", "__reexports__", "__import_side_effects__"}
SHOWN = ("Keypair", "SubstrateInterface")


def api(version):
    path = SHARED / f"fiber_api_{version}.json"
    if not path.exists():
        pytest.skip(f"Fiber's names are not here: {path.name}")
    return json.loads(path.read_text())


def entries():
    for version in VERSIONS:
        path = SHARED / f"fiber_api_{version}.json"
        if path.exists():
            for module, names in json.loads(path.read_text()).items():
                for name, entry in names.items():
                    if name not in INTERNALS:
                        yield version, module, name, entry


def ours(module):
    return importlib.import_module(module.replace("fiber", "mycelium", 1))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_module_and_name(version):
    missing = []
    for module, names in api(version).items():
        try:
            found = ours(module)
        except ModuleNotFoundError as error:
            missing.append(f"{module}: {error}")
            continue
        wanted = {name for name in names if name not in INTERNALS}
        missing += [
            f"{module}.{name}"
            for name in sorted(wanted)
            if not hasattr(found, name) and (module, name) not in GONE
        ]
    assert missing == []


def parameters(function):
    given = list(inspect.signature(function).parameters.values())
    return [one for one in given if one.name not in {"self", "cls"}]


def check(function, entry, where):
    """Each parameter by its name, and those that may be given by place in their place; none needed that was not."""
    mine = parameters(function)
    names = [one.name for one in mine]
    wanted = [one for one in entry["params"] if one["name"] not in {"self", "cls"}]
    anything = any(each.kind is each.VAR_KEYWORD for each in mine)
    problems = [f"{where} lacks {one['name']}" for one in wanted if one["name"] not in names and not anything]
    known = {one["name"] for one in wanted}
    for each in mine:
        needed = each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        if needed and each.name not in known:
            problems.append(f"{where} needs {each.name}, which was not there")
        theirs = next((one for one in wanted if one["name"] == each.name), None)
        if needed and theirs is not None and not theirs["required"]:
            problems.append(f"{where} needs {each.name}, which had a default")
    if entry.get("async") and not (
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    ):
        problems.append(f"{where} is no coroutine")
    return problems


def test_every_signature():
    problems = []
    for version, module, name, entry in entries():
        found = getattr(ours(module), name, None)
        where = f"{module}.{name}"
        if found is None or where in OTHER_SIGNATURES:
            continue
        if entry["kind"] == "function":
            problems += check(found, entry, f"{version} {where}")
        elif entry["kind"] == "class":
            if where == "fiber.chain.metagraph.Metagraph":
                found = type(found(None, 1, load_old_nodes=False))
            for method, inner in entry.get("methods", {}).items():
                if f"{where}.{method}" in OTHER_SIGNATURES:
                    continue
                function = getattr(found, method, None)
                if function is None:
                    problems.append(f"{version} {where} has no {method}")
                else:
                    problems += check(function, inner, f"{version} {where}.{method}")
    assert problems == []


def positions():
    """What the older version takes by place and the newer one in another order: understood by what it is."""
    return {
        "fiber.validator.client.make_non_streamed_get",
        "fiber.encrypted.validator.client.make_non_streamed_get",
        "fiber.encrypted.validator.client._get_headers",
        "fiber.validator.client._get_headers",
    }


@pytest.mark.parametrize("version", ["2.5.0"])
def test_places_are_those_of_the_newer_version(version):
    problems = []
    for module, names in api(version).items():
        for name, entry in names.items():
            if name in INTERNALS or entry.get("kind") != "function":
                continue
            found = getattr(ours(module), name, None)
            if found is None:
                continue
            mine = [one.name for one in parameters(found) if one.kind is not one.KEYWORD_ONLY]
            theirs = [one["name"] for one in entry["params"]]
            if mine[: len(theirs)] != theirs:
                problems.append(f"{module}.{name}: {mine} and not {theirs}")
    assert problems == []


def test_every_literal_constant():
    wrong = []
    for version, module, name, entry in entries():
        if entry["kind"] == "constant" and entry.get("literal"):
            found = getattr(ours(module), name, None)
            if found != entry["value"] and not isinstance(entry["value"], dict):
                wrong.append(f"{version} {module}.{name} is {found!r}, not {entry['value']!r}")
    assert wrong == []


def test_what_the_package_shows():
    package = importlib.import_module("mycelium")
    theirs = importlib.import_module("substrateinterface")
    for name in SHOWN:
        assert getattr(package, name) is getattr(theirs, name)


def test_hints_can_be_read():
    """FastAPI and programs read them when they run."""
    for _, module, name, entry in entries():
        if entry["kind"] == "function":
            typing.get_type_hints(getattr(ours(module), name))
