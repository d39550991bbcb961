"""What `import mycelium` offers, and that it loads nothing heavy to offer it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mycelium

ROOT = Path(mycelium.__file__).parents[1]


def loaded_after(code):
    """The names of the modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_version_and_author():
    assert mycelium.__version__.count(".") == 2
    assert mycelium.__author__ == "Mycelium Contributors"


def test_node_and_connect_are_what_they_are_elsewhere():
    from mycelium.node.node import Node
    from mycelium.node.remote import connect

    assert mycelium.Node is Node
    assert mycelium.connect is connect


@pytest.mark.parametrize("name", ["chain", "validator", "encrypted"])
def test_packages_load_at_first_use(name):
    assert getattr(mycelium, name).__name__ == f"mycelium.{name}"
    assert f"mycelium.{name}" not in loaded_after("import mycelium")
    assert f"mycelium.{name}" in loaded_after(f"import mycelium; mycelium.{name}")


def test_importing_the_package_loads_no_engine():
    modules = loaded_after("import mycelium")
    assert not modules & {"rocksdict", "uvloop", "picows", "msgspec", "mycelium.node", "asyncio"}


def test_a_package_that_sets_weights_needs_no_store():
    modules = loaded_after("import mycelium; mycelium.chain; mycelium.validator; mycelium.encrypted")
    assert not modules & {"rocksdict", "uvloop", "picows"}


def test_everything_in_all_is_there():
    for name in mycelium.__all__:
        assert getattr(mycelium, name) is not None
    assert set(mycelium.__all__) <= set(dir(mycelium))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nod'"):
        mycelium.nod  # noqa: B018
