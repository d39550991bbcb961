"""ci/client_env.py makes an environment once, whole or not at all, and says why where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients.runkit import client_env


def wheel(directory, name="tiny", version="1.0"):
    """A package of one module, as pip installs it: nothing is fetched for these tests."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def place(tmp_path):
    """Somewhere with one client, "tiny"; `make()` is `environment` there."""
    clients, cache = tmp_path / "clients", tmp_path / "cache"
    clients.mkdir()

    class Place:
        def __init__(self):
            self.clients, self.cache = clients, cache
            self.pin("1.0")

        def pin(self, version):
            (clients / "tiny.txt").write_text(f"{wheel(tmp_path, version=version)}\n")

        def make(self, name="tiny"):
            return client_env.environment(name, cache=cache, clients=clients)

        def version(self):
            script = tmp_path / "says.py"
            script.write_text("import tiny\nprint(tiny.VERSION)\n")
            command = self.make().command(script)
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return Place()


def test_an_environment_is_made_once_and_anew_for_other_pins(place):
    assert place.make().made
    assert not place.make().made
    assert place.version() == "1.0"
    place.pin("2.0")
    assert place.make().made
    assert place.version() == "2.0"
    assert [path.name for path in place.cache.iterdir() if path.is_dir()] == ["tiny"]


def test_a_build_that_was_killed_is_not_taken_for_whole(place):
    begun = place.cache / ".tiny.build-abc" / "new"
    begun.mkdir(parents=True)
    half = place.cache / "tiny" / "bin"
    half.mkdir(parents=True)
    assert place.make().made
    assert place.version() == "1.0"
    assert not begun.parent.exists()


def test_an_environment_whose_interpreter_went_is_made_anew(place):
    python = place.make().directory / "bin" / "python"
    python.unlink()
    python.symlink_to(place.cache / "nowhere")
    assert place.make().made
    assert place.version() == "1.0"


def test_those_who_need_it_at_the_same_time_make_it_once(place):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: place.make(), range(3)))
    assert sorted(one.made for one in found) == [False, False, True]


def test_what_cannot_be_had_says_so_in_the_installers_words(place):
    (place.clients / "gone.txt").write_text("--no-index\nno-such-package-anywhere==1.0\n")
    with pytest.raises(client_env.Unavailable, match=r"No matching distribution found for no-such-package"):
        place.make("gone")
    assert not (place.cache / "gone").exists()
    assert place.make().made, "the others are not held up by it"


def test_a_failure_is_remembered_for_a_while(place, monkeypatch):
    asked = []

    def fails(source, directory):
        asked.append(source.name)
        raise client_env.Unavailable("no network\nat all")

    monkeypatch.setattr(client_env, "_pip", fails)
    for _ in range(2):
        with pytest.raises(client_env.Unavailable, match=r"^no network\nat all$"):
            place.make()
    assert len(asked) == 1
    with pytest.raises(client_env.Unavailable):
        client_env.environment("tiny", cache=place.cache, clients=place.clients, again=True)
    assert len(asked) == 2
    failure = place.cache / ".tiny.failed"
    os.utime(failure, (0, 0))
    monkeypatch.undo()
    assert place.make().made
    assert not failure.exists()


def test_an_installer_that_hangs_is_given_up(place, monkeypatch):
    monkeypatch.setattr(client_env, "BUILD_S_MAX", 0.01)
    with pytest.raises(client_env.Unavailable, match="not done after"):
        place.make()


def test_without_node_there_is_a_reason(place, tmp_path, monkeypatch):
    (place.clients / "js.json").write_text("{}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(client_env.Unavailable, match="node is not installed"):
        place.make("js")
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v16.20.0\n")
    node.chmod(0o755)
    with pytest.raises(client_env.Unavailable, match=r"node v16.20.0: version 18 or later is needed"):
        place.make("js")
    node.write_text("#!/bin/sh\necho v20.1.0\n")
    with pytest.raises(client_env.Unavailable, match="npm is not installed"):
        place.make("js")


def test_npms_reason_is_between_its_codes_and_its_advice(place, tmp_path, monkeypatch):
    (place.clients / "js.json").write_text("{}")
    said = (
        "code ETARGET",
        "notarget No matching version",
        "notarget In most cases",
        "A complete log is in x",
    )
    npm = "\n".join(f"echo 'npm error {line}' >&2" for line in said)
    for name, script in {"node": "echo v20.1.0", "npm": f"{npm}\nexit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(client_env.Unavailable, match=r"^npm error notarget No matching version$"):
        place.make("js")


def test_a_client_that_nobody_wrote_down(place, root):
    with pytest.raises(KeyError):
        place.make("unheard-of")
    command = [sys.executable, str(root / "ci" / "client_env.py"), "unheard-of"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bittensor" in done.stderr


def test_every_pin_is_exact(root):
    """What is not pinned would be another client tomorrow."""
    clients = root / "ci" / "clients"
    for path in clients.glob("*.txt"):
        pins = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert pins
        assert [line for line in pins if "==" not in line] == [], path.name
    assert client_env.names(clients) == [
        "async-substrate-interface",
        "bittensor",
        "polkadot-api",
        "substrate-interface",
    ]
