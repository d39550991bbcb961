"""Builds the source distribution, a wheel from it, and tests that wheel in an environment of its own, far from here.

    python ci/wheel_test.py [--python PYTHON] [--smoke] [--dir DIR] [-- PYTEST ARGUMENTS]

What is tested is what people install: the tests run from the unpacked source distribution without its package, so that
nothing but the installed wheel can be imported. --smoke stops after ci/wheel_smoke.py, with the package's own
dependencies and no extra. PYTHON is the interpreter of the new environment, this one without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "ci" / "constraints.txt"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED_S:5.1f} s] {text}", flush=True)


STARTED_S = time.monotonic()


def run(*command: str | Path, cwd: Path, quiet: bool = False) -> int:
    """The exit code; with `quiet` the output is shown only where that is not 0, and then this program ends."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MYCELIUM_", "PYTEST_")) and name != "VIRTUAL_ENV"
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=quiet, text=True, check=False)
    if quiet and done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode


def copy_of_the_sources(to: Path) -> None:
    """What git tracks or would track; of anything else a distribution must not depend."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def build_sdist(source: Path, dist: Path) -> Path:
    """The archive, made with the setuptools of this environment."""
    dist.mkdir()
    run(sys.executable, "-c", BUILD, dist, cwd=source, quiet=True)
    (archive,) = dist.glob("*.tar.gz")
    return archive


def build_wheel(python: Path, archive: Path, work: Path) -> Path:
    """From the archive alone; pip gets what the build needs by itself."""
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", work / "dist", archive, cwd=work, quiet=True)
    (wheel,) = (work / "dist").glob("*.whl")
    return wheel


def check_contents(archive: Path, wheel: Path) -> None:
    """The wheel has every file of the package that the archive has, and beside them only what was compiled."""
    with tarfile.open(archive) as tar:
        wanted = {name.partition("/")[2] for name in tar.getnames() if Path(name).suffix}
    found = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in wanted if name.startswith("mycelium/")}
    beside = {name for name in found - inside if ".dist-info/" not in name}
    if lost := sorted(inside - found):
        sys.exit(f"the wheel lacks {', '.join(lost)}: name them in [tool.setuptools.package-data]")
    if strange := sorted(name for name in beside if not name.endswith(".so")):
        sys.exit(f"the wheel has {', '.join(strange)}")


def unpack_without_the_package(archive: Path, to: Path) -> Path:
    """Tests and all that they read, as the archive has them. Recorded answers beside the repository come along."""
    with tarfile.open(archive) as tar:
        tar.extractall(to, filter="data")
    (tree,) = to.iterdir()
    shutil.rmtree(tree / "mycelium")
    beside = ROOT.parent / "shared"
    if beside.is_dir():
        (to / "shared").symlink_to(beside.resolve())
    return tree


def main(work: Path, options: argparse.Namespace) -> int:
    copy_of_the_sources(work / "source")
    archive = build_sdist(work / "source", work / "dist")
    say(f"{archive.name}: {archive.stat().st_size // 1024} KiB")
    run(options.python, "-m", "venv", work / "venv", cwd=work, quiet=True)
    python = work / "venv" / "bin" / "python"
    wheel = build_wheel(python, archive, work)
    check_contents(archive, wheel)
    say(f"{wheel.name}: {wheel.stat().st_size // 1024} KiB, built from it")
    install = (
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-input",
        "--disable-pip-version-check",
        "-c",
        CONSTRAINTS,
    )
    run(*install, wheel, cwd=work, quiet=True)
    say("installed, without an extra")
    tree = unpack_without_the_package(archive, work / "elsewhere")
    if code := run(python, tree / "ci" / "wheel_smoke.py", cwd=work):
        return code
    say("the smoke test passed")
    if options.smoke:
        return 0
    run(*install, f"{wheel}[dev]", cwd=work, quiet=True)
    say("installed, with what the tests need")
    arguments = options.pytest or ["-n", "2", "-m", "not soak and not nightly"]
    return run(python, "-m", "pytest", "-p", "no:benchmark", *arguments, cwd=tree)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Test the package as people install it.")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--dir", type=Path, help="work here and leave it; it must not exist")
    parser.add_argument("pytest", nargs="*")
    given = parser.parse_args()
    if given.dir is None:
        with tempfile.TemporaryDirectory(prefix="mycelium-wheel-") as temporary:
            sys.exit(main(Path(temporary), given))
    given.dir.mkdir(parents=True)
    sys.exit(main(given.dir.resolve(), given))
