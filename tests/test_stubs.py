"""The type checker, the linter and the stubs of the extensions agree with the code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("sources")]


def tool(root, *arguments, **environment):
    """Run a module of the development tools at the top of the tree; its output is the message of the failure."""
    command = [sys.executable, "-m", *arguments]
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={**os.environ, **environment}, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_stubs_describe_the_extensions(root):
    modules = [f"mycelium._core.{path.stem}" for path in sorted((root / "mycelium" / "_core").glob("*.pyx"))]
    assert len(modules) == 5
    options = ["--allowlist", "ci/stubtest-allow.txt", "--mypy-config-file", "pyproject.toml"]
    # A cache of its own: another worker may be running mypy now.
    tool(root, "mypy.stubtest", *modules, *options, MYPY_CACHE_DIR=".mypy_cache/stubtest")


def test_mypy_strict(root):
    tool(root, "mypy", "--strict", "mycelium")


def test_ruff_check(root):
    tool(root, "ruff", "check", "--no-cache", ".")


def test_ruff_format(root):
    tool(root, "ruff", "format", "--check", "--no-cache", ".")
