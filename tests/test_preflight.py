"""ci/preflight.sh says what a machine lacks: each case is made with a PATH that holds nothing but stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SH = shutil.which("sh")
CC = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")


@pytest.fixture
def machine(tmp_path, root):
    """`run()` checks a machine whose only programs are those given to `put`."""
    programs = tmp_path / "bin"
    programs.mkdir()

    class Machine:
        def put(self, name, script):
            path = programs / name
            path.write_text(f"#!{SH}\n{script}\n")
            path.chmod(0o755)

        def put_python(self, name="python3", before=""):
            """The real interpreter, after the shell lines `before` had their chance to answer instead."""
            self.put(name, f'{before}\nexec "{sys.executable}" "$@"')

        def put_compiler(self, name="cc"):
            # It needs a PATH of its own, to find its assembler and the like.
            self.put(name, f'PATH="{Path(CC).parent}:/usr/bin:/bin"; exec "{CC}" "$@"')

        def run(self, **environment):
            return subprocess.run(
                [SH, str(root / "ci" / "preflight.sh")],
                env={"PATH": str(programs), **environment},
                capture_output=True,
                text=True,
                check=False,
            )

        def refuses(self, *expected, **environment):
            answer = self.run(**environment)
            assert answer.returncode == 2
            assert answer.stdout == "", "nothing that a shell could take for an answer"
            first, *remedies = answer.stderr.splitlines()
            assert first.startswith("mycelium: ")
            assert [line.split(":")[0].strip() for line in remedies] == ["Debian, Ubuntu", "Fedora", "macOS"]
            for text in expected:
                assert text in answer.stderr

    return Machine()


NO_OWN_COMPILER = 'case "$2" in *\\"CC\\"*) echo; exit;; esac'


def test_a_whole_machine_is_described(machine):
    machine.put_python(before=NO_OWN_COMPILER)
    machine.put_compiler()
    answer = machine.run()
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "PYTHON='python3' CC='cc'\n", "")


def test_no_python(machine):
    machine.put_compiler()
    machine.refuses("Python 3.11 or later is needed, and none was found", "apt install python3")


def test_old_python(machine):
    machine.put("python3", "echo 3 9")
    machine.refuses("Python 3.11 or later is needed, and python3 is 3.9")


def test_a_shim_without_its_python_is_passed_over(machine):
    machine.put("python3.14", "echo 'python3.14: command not found' >&2; exit 127")
    machine.put("python3.12", "echo 2 7")
    machine.put_python(before=NO_OWN_COMPILER)
    machine.put_compiler()
    assert machine.run().stdout.startswith("PYTHON='python3' ")


def test_an_older_python_that_is_whole_is_preferred(machine):
    machine.put_python("python3.14", before='case "$2" in *Python.h*) exit 1;; esac')
    machine.put_python("python3.11", before=NO_OWN_COMPILER)
    machine.put_compiler()
    assert machine.run().stdout.startswith("PYTHON='python3.11' ")


def test_the_python_of_the_environment_is_the_only_one(machine):
    machine.put_python("python3.13")
    machine.put("mine", "echo 3 10")
    machine.refuses("mine is 3.10", PYTHON="mine")


def test_no_venv_module(machine):
    machine.put_python(before='case "$2" in *ensurepip*) exit 1;; esac')
    version = "{}.{}".format(*sys.version_info[:2])
    machine.refuses("has no venv module", f"apt install python{version}-venv")


def test_no_compiler(machine):
    machine.put_python()
    machine.refuses("a C compiler is needed", "build-essential", "xcode-select --install")


def test_a_compiler_that_is_named_but_not_there(machine):
    machine.put_python()
    machine.put_compiler()
    machine.refuses("CC is clang-99", CC="clang-99")


def test_a_compiler_without_the_c_library(machine):
    machine.put_python(before=NO_OWN_COMPILER)
    machine.put("cc", "exit 1")
    machine.refuses("(cc) does not compile", "build-essential")


def test_no_headers(machine, tmp_path):
    machine.put_python(
        before=f'{NO_OWN_COMPILER}\ncase "$2" in *get_path*) echo {tmp_path}/none; exit;; esac'
    )
    machine.put_compiler()
    machine.refuses("no usable Python.h in", "python3-devel", "-dev")


def make(root, *arguments):
    """What make says, free of what a make around the tests has put into the environment."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_make_alone_lists_its_targets(root):
    targets = [line.split()[0] for line in make(root).splitlines()[1:]]
    assert " ".join(targets) == "help demo test soak nightly wheel-test bench docs lint venv build clean"


def test_the_demo_takes_a_time(root):
    assert "/mycelium devnet demo --for 30 " in make(root, "--dry-run", "demo", "FOR=30")
    assert "/mycelium devnet demo " in make(root, "--dry-run", "demo")


def test_ctrl_c_is_no_failure_of_the_demo(root):
    assert make(root, "--dry-run", "demo").rstrip().endswith("|| [ $? -eq 130 ]")


def test_the_tests_leave_out_the_long_ones(root):
    assert "-m 'not soak and not nightly'" in make(root, "--dry-run", "test")
