"""`fiber` as a name of this package: every module, the same classes, and unmodified programs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import fiber
import fiber.chain.models
from fiber import Keypair, SubstrateInterface, constants as cst
from fiber.chain import signatures
from fiber.encrypted.miner.security.nonce_management import NonceManager
from fiber.validator.generate_nonce import generate_nonce
from fiber.logging_utils import get_logger
import mycelium.chain.models
import mycelium.miner.security.nonce_management as ours
assert fiber.chain.models.Node is mycelium.chain.models.Node
assert fiber.chain.models is mycelium.chain.models
assert mycelium.chain.models.__spec__.name == "mycelium.chain.models"
assert mycelium.chain.models.__name__ == "mycelium.chain.models"
assert NonceManager is ours.NonceManager
assert fiber.chain is mycelium.chain
assert cst.NONCE == "nonce"
assert fiber.utils.get_logger is get_logger
import importlib
try:
    importlib.import_module("fiber.no_such_module")
except ModuleNotFoundError as error:
    assert error.name == "fiber.no_such_module", error.name
else:
    raise AssertionError("found what is not there")
try:
    fiber.no_such_name
except AttributeError:
    pass
else:
    raise AssertionError("found what is not there")
import substrateinterface
assert Keypair is substrateinterface.Keypair and SubstrateInterface is substrateinterface.SubstrateInterface
print("ran", *__import__("sys").argv[1:], __name__)
"""


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def test_programs_that_import_fiber_run_on_mycelium():
    done = run("-c", "import mycelium.fiber\n" + PROGRAM)
    assert (done.returncode, done.stdout) == (0, "ran __main__\n"), done.stderr


def test_the_other_fiber_is_not_mixed_with_this_one(tmp_path):
    (tmp_path / "fiber").mkdir()
    (tmp_path / "fiber" / "__init__.py").write_text("")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport fiber\nimport mycelium.fiber"
    done = run("-c", program)
    assert done.returncode == 1
    assert "`fiber` is imported already" in done.stderr
    ours_first = "import mycelium.fiber\nimport fiber\nfiber.constants"
    assert run("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{ours_first}").returncode == 0


def test_a_module_that_fails_to_load_says_why(tmp_path):
    program = textwrap.dedent("""
        import mycelium.fiber, sys
        sys.modules["pydantic"] = None
        try:
            import fiber.networking.models
        except ImportError as error:
            assert "pydantic" in str(error), error
        else:
            raise AssertionError
    """)
    done = run("-c", program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", ["script", "module"])
def test_run_unmodified(tmp_path, way):
    (tmp_path / "program.py").write_text(PROGRAM)
    target = [str(tmp_path / "program.py")] if way == "script" else ["-m", "program"]
    done = subprocess.run(
        [sys.executable, "-m", "mycelium.cli.main", "fiber", "run", *target, "--help", "-x", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert (done.returncode, done.stdout) == (0, "ran --help -x 1 __main__\n"), done.stderr


def test_processes_that_a_program_starts_have_the_name_too(tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import multiprocessing, subprocess, sys
            from fiber.chain.models import Node

            def child(queue):
                queue.put(Node.__module__)

            if __name__ == "__main__":
                context = multiprocessing.get_context("spawn")
                queue = context.Queue()
                process = context.Process(target=child, args=(queue,))
                process.start()
                process.join(30)
                assert process.exitcode == 0, process.exitcode
                print(queue.get(timeout=5))
                asked = "import fiber, mycelium.fiber; print(fiber is mycelium.fiber, fiber.constants.NONCE)"
                print(subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True).stdout)
        """)
    )
    done = run("-m", "mycelium.cli.main", "fiber", "run", str(tmp_path / "program.py"))
    assert done.stdout.split() == ["mycelium.chain.models", "True", "nonce"], done.stderr


def test_what_a_program_exits_with_is_what_the_command_exits_with(tmp_path):
    (tmp_path / "program.py").write_text("import sys; sys.exit(7)")
    assert run("-m", "mycelium.cli.main", "fiber", "run", str(tmp_path / "program.py")).returncode == 7
    (tmp_path / "program.py").write_text("raise ValueError('of the program')")
    done = run("-m", "mycelium.cli.main", "fiber", "run", str(tmp_path / "program.py"))
    assert done.returncode == 1
    assert "ValueError: of the program" in done.stderr


def test_what_cannot_be_run(tmp_path):
    for arguments in ([], ["-m"], [str(tmp_path / "none.py")]):
        done = run("-m", "mycelium.cli.main", "fiber", "run", *arguments)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
    done = run("-m", "mycelium.cli.main", "fiber", "run", "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
