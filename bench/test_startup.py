"""How soon the command answers, in processor time of a new Python: others may share the cores.

`--help` has a limit of 150 ms, the import of the package one of 100 ms (`tests/cli/test_command_line.py` holds both).
"""

import subprocess
import sys

import pytest

CODES = {
    "python alone": "pass",
    "import mycelium": "import mycelium",
    "import mycelium.chain": "import mycelium.chain",
    "mycelium --help": "import sys; sys.argv = ['mycelium', '--help']; from mycelium.cli.main import main; main()",
    "mycelium version": "import sys; sys.argv = ['mycelium', 'version']; from mycelium.cli.main import main; main()",
    "mycelium config options": (
        "import sys; sys.argv = ['mycelium', 'config', 'options']; from mycelium.cli.main import main; main()"
    ),
}


@pytest.mark.parametrize("name", CODES)
def test_startup(benchmark, name):
    command = [sys.executable, "-c", CODES[name]]
    benchmark.pedantic(
        lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True), rounds=7, warmup_rounds=1
    )
