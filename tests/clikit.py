"""Shared by the tests of the command: one node in a process of its own, and ways to run commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

import mycelium
from mycelium.cli.main import app
from mycelium.node import options

ROOT = Path(mycelium.__file__).parents[1]
"""Where the package lies that is tested: the source tree, or the place where it is installed."""
TREE = Path(__file__).resolve().parents[1]
"""The repository, or an unpacked source distribution."""


def command(*arguments):
    """The command line of `mycelium ARGUMENTS`."""
    return [sys.executable, "-m", "mycelium.cli.main", *map(str, arguments)]


def environment(**extra):
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("MYCELIUM_") and key not in options.BY_ALIAS
    }
    return {**env, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **extra}


def run(*arguments, code=0, stdin=None, timeout=60, **extra):
    """`mycelium ARGUMENTS` as a process; asserts the exit code and that no traceback was shown."""
    done = subprocess.run(
        command(*arguments), input=stdin, capture_output=True, timeout=timeout, env=environment(**extra)
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    assert done.returncode == code, f"exit {done.returncode}\n{out}\n{err}"
    return out, err


def invoke(*arguments, code=0, stdin=None):
    """`mycelium ARGUMENTS` in this process; asserts the exit code. Returns (stdout, stderr)."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"exit {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result.stdout, result.stderr


def invoke_json(*arguments, code=0, stdin=None):
    """Like `invoke` with --json; the objects of its lines."""
    out, _ = invoke(*arguments, "--json", code=code, stdin=stdin)
    return [json.loads(line) for line in out.splitlines()]


@contextmanager
def running(config, *arguments, plain=False):
    """`node run` on that configuration, ready; ended by its process id. Yields (process, ready line).

    plain: as for people, and the line as it is.
    """
    process = subprocess.Popen(
        command(
            "node", "run", "--config", config, *(() if plain else ("--json",)), "--until-eof", *arguments
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read().decode()
        yield process, line.decode() if plain else json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
