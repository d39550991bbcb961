"""Environments for other people's clients of the chain: one each, made once and kept under .venv-clients.

    python ci/client_env.py [NAME...]     make those that are missing, all by default, and say where they are

What a client needs is pinned in ci/clients: NAME.txt is installed by pip into a virtual environment, NAME.json by npm
into a directory. Where packages come from is the business of pip's and npm's own configuration. An environment is
built beside its place and moved there when it is whole, under a lock, so that a build that was killed is not taken
for one that is done, and test workers that need one at the same time make it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
CLIENTS: Final = Path(__file__).resolve().parent / "clients"
CACHE: Final = ROOT / ".venv-clients"
MARKER: Final = ".made-from"
"""In a whole environment: the digest of what it was made from."""
REMEMBERED_S: Final = 300
"""For so long a failure is not tried again by tests: each of them would wait for the network anew."""
BUILD_S_MAX: Final = 500
"""What one environment may take: a slow network counts, a hanging one must not hold a test run up for ever."""
NODE_MAJOR_MIN: Final = 18
"""What @polkadot/api 16 asks for."""

PIP: Final = (
    *("install", "--quiet", "--no-input", "--disable-pip-version-check", "--prefer-binary"),
    *("--retries", "1", "--timeout", "15"),
)
NPM: Final = (
    *("install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"),
    *("--fetch-retries=1", "--fetch-timeout=15000"),
)


class Unavailable(Exception):
    """An environment cannot be made here: the text says why, as the installer put it."""


class Environment(NamedTuple):
    """A whole environment. made: by this call, and not found."""

    name: str
    directory: Path
    made: bool

    def command(self, script: Path) -> list[str]:
        """What runs a script in it."""
        if script.suffix == ".py":
            return [str(self.directory / "bin" / "python"), str(script)]
        return [_program("node"), str(script)]

    def variables(self) -> dict[str, str]:
        """What the script's environment must hold for its imports to be found."""
        return {"NODE_PATH": str(self.directory / "node_modules")}


def names(clients: Path = CLIENTS) -> list[str]:
    """The clients there are."""
    return sorted(path.stem for path in clients.iterdir() if path.suffix in (".txt", ".json"))


def environment(
    name: str, *, cache: Path = CACHE, clients: Path = CLIENTS, again: bool = False
) -> Environment:
    """The environment of a client, made if it is missing or was made from something else.

    again: try even if that has failed a moment ago. Raises Unavailable where it cannot be made, KeyError for a
    client that nobody wrote down.
    """
    source = next(
        (clients / f"{name}{end}" for end in (".txt", ".json") if (clients / f"{name}{end}").exists()), None
    )
    if source is None:
        raise KeyError(name)
    build = _pip if source.suffix == ".txt" else _npm
    digest = _digest(source)
    target = cache / name
    if _whole(target, digest):
        return Environment(name, target, made=False)
    cache.mkdir(exist_ok=True)
    with _locked(cache / f".{name}.lock"):
        if _whole(target, digest):
            return Environment(name, target, made=False)
        failure = cache / f".{name}.failed"
        if not again:
            _recall(failure, digest)
        try:
            _make(target, digest, lambda made: build(source, made))
        except Unavailable as error:
            failure.write_text(f"{digest}\n{error}")
            raise
        failure.unlink(missing_ok=True)
    return Environment(name, target, made=True)


def _make(target: Path, digest: str, build: Callable[[Path], None]) -> None:
    """Build beside the place and move there; the lock is held."""
    prefix = f".{target.name}.build-"
    for left in target.parent.glob(f"{prefix}*"):
        # Who was killed while building held the lock that is ours now.
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as temporary:
        made = Path(temporary) / "new"
        build(made)
        (made / MARKER).write_text(digest)
        if target.exists():
            target.rename(Path(temporary) / "old")
        made.rename(target)


def _recall(failure: Path, digest: str) -> None:
    """Raise what was raised a moment ago for the same pins."""
    if failure.exists() and time.time() - failure.stat().st_mtime < REMEMBERED_S:
        made_from, _, reason = failure.read_text().partition("\n")
        if made_from == digest:
            raise Unavailable(reason)


def _digest(source: Path) -> str:
    """Of what an environment depends on: the pins, and which interpreter they are for."""
    runs = (
        f"{sys.implementation.cache_tag} {os.uname().machine}" if source.suffix == ".txt" else _node_version()
    )
    return hashlib.sha256(source.read_bytes() + runs.encode()).hexdigest()


def _whole(target: Path, digest: str) -> bool:
    # The interpreter is a link to the one it was made with, which may have gone since.
    python = target / "bin" / "python"
    if python.is_symlink() and not python.exists():
        return False
    marker = target / MARKER
    return marker.exists() and marker.read_text() == digest


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel takes back from a process that dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- what makes them ------------------------------------------------------------------------------------------


def _pip(source: Path, directory: Path) -> None:
    """A virtual environment without a pip of its own: ours installs into it, which saves the time to unpack one."""
    venv.create(directory, symlinks=True)
    python = str(directory / "bin" / "python")
    _installed(
        [sys.executable, "-m", "pip", "--python", python, *PIP, "--requirement", str(source)], directory
    )


def _npm(source: Path, directory: Path) -> None:
    npm = _program("npm")
    directory.mkdir()
    shutil.copy(source, directory / "package.json")
    _installed([npm, *NPM], directory)


def _installed(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"the installer was not done after {BUILD_S_MAX} s") from None
    if done.returncode:
        raise Unavailable(_reason(done.stderr or done.stdout) or f"the installer left with {done.returncode}")


def _reason(output: str) -> str:
    """What an installer gives as its reason: pip on its last line, npm after the codes and before much advice."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    of_npm = [line for line in lines if line.startswith("npm error ")]
    telling = [line for line in of_npm if line.split()[2] not in ("code", "errno", "syscall", "type")]
    return (telling[:1] or lines[-1:] or [""])[0]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found


def _node_version() -> str:
    """The major version of node. Unavailable where there is none, or one that is too old."""
    answer = subprocess.run([_program("node"), "--version"], capture_output=True, text=True, check=False)
    version = answer.stdout.strip()
    major = version.removeprefix("v").split(".")[0]
    if not major.isdecimal() or int(major) < NODE_MAJOR_MIN:
        raise Unavailable(f"node {version or 'does not run'}: version {NODE_MAJOR_MIN} or later is needed")
    return f"node {major}"


def main(wanted: list[str]) -> int:
    """Make environments; 1 when one could not be made, 2 for a name that is not known."""
    status = 0
    known = names()
    for name in wanted or known:
        if name not in known:
            print(f"{name} is no client: there are {', '.join(known)}", file=sys.stderr)
            return 2
        began = time.monotonic()
        try:
            found = environment(name, again=True)
        except Unavailable as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
        else:
            took = f"made in {time.monotonic() - began:.1f} s" if found.made else "there already"
            print(f"{name}: {found.directory.relative_to(ROOT)}, {took}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
