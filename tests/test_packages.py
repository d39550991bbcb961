"""What people install: the source distribution is whole, what is imported is declared, a missing extra is named."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import packages_distributions

import pytest

from mycelium.cli import output
from mycelium.errors import ConfigError, MissingExtra
from mycelium.extras import load, need

FIBER = ("fastapi", "httptools", "httpx", "uvicorn")
OVER_HTTP = {"http", "miner", "encrypted", "validator"}
"""Packages that may import what the extra `fiber` brings."""
HALVES = {"pydantic-core": "pydantic"}
"""What is one thing in two distributions."""


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


def names(requirements):
    """Distribution names of requirement lines, as packaging normalises them."""
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements}


# --- the source distribution --------------------------------------------------------------------------------


def wheel_test(root):
    spec = importlib.util.spec_from_file_location("wheel_test", root / "ci" / "wheel_test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tracked(root):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    return {name for name in listed.split("\0") if name and (root / name).is_file()}


GENERATED = (
    "build/cython/mycelium/_core/merge.c",
    "mycelium/_core/merge.c",
    "mycelium/_core/merge.html",
    "mycelium/_core/merge.cpython-311-x86_64-linux-gnu.so",
    "mycelium/__pycache__/config.cpython-311.pyc",
    "tests/__pycache__/kit.cpython-311.pyc",
    "tests/generated/wire.py",
)


@pytest.mark.usefixtures("sources")
@pytest.mark.skipif(shutil.which("git") is None, reason="git says what belongs to the repository")
def test_the_source_distribution_is_the_repository(tmp_path, root):
    """Every file that git tracks, and none that a build or a test leaves behind."""
    if not (root / ".git").exists():
        pytest.skip("not a clone: nothing says what belongs to the repository")
    script = wheel_test(root)
    source = tmp_path / "source"
    script.copy_of_the_sources(source)
    for name in GENERATED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("left behind")
    archive = script.build_sdist(source, tmp_path / "dist")
    with tarfile.open(archive) as tar:
        found = {member.name.partition("/")[2] for member in tar if member.isfile()}
    made = {name for name in found if name.startswith("mycelium_node.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert sorted(tracked(root) - found) == []
    assert sorted(found - tracked(root) - made) == []
    assert {"mycelium/_core/codec.pyx", "mycelium/_core/codec.pyi", "mycelium/_core/cursor.pxd"} <= found
    assert {"mycelium/py.typed", "schemas/wire.fbs", "LICENSE"} <= found
    assert any(name.startswith("mycelium/sim/scenarios/") for name in found)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("sources")
def test_a_wheel_from_it_works_elsewhere(root):
    """In a new environment, with its own dependencies and no extra: ci/wheel_smoke.py. `make wheel-test` does more."""
    command = [sys.executable, root / "ci" / "wheel_test.py", "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the smoke test passed" in done.stdout


# --- what is declared ---------------------------------------------------------------------------------------


def imported(path):
    """Top-level names of the modules that a file imports, wherever it does, but for the type checker alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


@pytest.fixture(scope="module")
def uses(sources):
    """(what `fiber` may bring: bool) -> distributions that the package imports, each with a file that does."""
    known = packages_distributions()
    found = {False: {}, True: {}}
    for path in sorted(sources.rglob("*.py")):
        for name in set(imported(path)) - set(sys.stdlib_module_names) - {"mycelium", "fiber"}:
            (of,) = {HALVES.get(one, one) for one in names(known[name])}
            inside = path.relative_to(sources).parts[0] in OVER_HTTP
            found[inside].setdefault(of, path.relative_to(sources).as_posix())
    return found


def test_what_the_package_imports_is_declared(project, uses):
    base = names(project["project"]["dependencies"])
    fiber = names(project["project"]["optional-dependencies"]["fiber"])
    assert {name: path for name, path in uses[False].items() if name not in base} == {}
    assert {name: path for name, path in uses[True].items() if name not in base | fiber} == {}


def test_nothing_is_declared_that_nobody_imports(project, uses):
    everywhere = set(uses[False]) | set(uses[True])
    assert names(project["project"]["dependencies"]) - everywhere == set()
    assert names(project["project"]["optional-dependencies"]["fiber"]) - set(uses[True]) == set()


def test_wheels_are_built_for_the_versions_that_are_promised(project):
    promised = [
        line.rpartition(" ")[2]
        for line in project["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    ]
    assert promised == ["3.11", "3.12", "3.13", "3.14"]
    wheels = project["tool"]["cibuildwheel"]
    assert wheels["build"] == [f"cp{version.replace('.', '')}-*" for version in promised]
    assert project["project"]["requires-python"] == f">={promised[0]}"
    assert wheels["linux"]["archs"] == ["x86_64", "aarch64"]
    assert {wheels["linux"][f"manylinux-{arch}-image"] for arch in wheels["linux"]["archs"]} == {
        "manylinux_2_28"
    }


def test_the_extras_are_there(project):
    assert set(project["project"]["optional-dependencies"]) >= {"numpy", "pandas", "fiber", "nats", "dev"}


# --- an extra that is not installed -------------------------------------------------------------------------


def without(modules, code):
    """Run `code` in an interpreter that has none of these modules."""
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"
    return subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "code",
    [
        "import mycelium.miner.server",
        "import mycelium.encrypted.miner.server",
        "from mycelium import encrypted",
        "import mycelium; mycelium.validator",
        "from mycelium.encrypted.validator import client",
        "import mycelium.fiber; from fiber.miner import server",
        "import mycelium.fiber; import fiber.encrypted.validator.client",
        "import mycelium.fiber; from fiber import validator",
    ],
)
@pytest.mark.parametrize("lacking", [*FIBER, FIBER], ids=[*FIBER, "all"])
def test_the_last_line_names_the_extra(code, lacking):
    hidden = [lacking] if isinstance(lacking, str) else list(lacking)
    done = without(hidden, code)
    if done.returncode == 0:
        # A validator's side asks for less.
        assert "validator" in code or lacking == "uvicorn"
        assert not isinstance(lacking, tuple)
        return
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"mycelium\.errors\.MissingExtra: \w+ is not installed: pip install 'mycelium-node\[fiber\]'", last
    ), done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "from mycelium.node import node, process, notify",
        "from mycelium.chain import weights, interface, metagraph, fetch_nodes, source, registration, serving",
        "import mycelium.devnet.chain.server, mycelium.devnet.demo",
        "import mycelium.sim.run, mycelium.cli.main",
        "import mycelium.utils, mycelium.networking.models, mycelium.fiber",
    ],
    ids=["node", "chain", "devnet", "sim and cli", "utils"],
)
def test_what_needs_no_extra_asks_for_none(code):
    done = without([*FIBER, "numpy", "pandas", "nats"], code)
    assert done.returncode == 0, done.stderr


def test_it_is_both_kinds_of_error():
    with pytest.raises(ImportError, match=r"^nothing-such is not installed: pip install ") as caught:
        load("nothing-such", "numpy")
    assert isinstance(caught.value, ConfigError)
    assert (caught.value.name, caught.value.extra) == ("nothing-such", "numpy")
    assert output.error_line(caught.value) == (
        "nothing-such is not installed -- pip install 'mycelium-node[numpy]'"
    )
    with pytest.raises(MissingExtra, match="'mycelium-node\\[fiber\\]'"):
        need("fiber", "json", "nothing_such")
    need("fiber", "json")
    assert load("json", "fiber") is json


def test_a_module_that_lacks_something_itself_says_so(tmp_path, monkeypatch):
    (tmp_path / "halfthere.py").write_text("import nothing_such\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nothing_such"):
        load("halfthere", "numpy")


# --- what an import costs -----------------------------------------------------------------------------------


def loaded(code):
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_next_to_nothing():
    """Under 100 ms, said in modules, as a busy machine cannot be timed: the command line loads 300, a node 490."""
    more = loaded("import mycelium") - loaded("import importlib, typing")
    assert {name for name in more if name.startswith("mycelium")} == {"mycelium", "mycelium._version"}
    assert len(more) <= 4, sorted(more)
