"""The files of deploy/, each held by its own tool where that is here: systemd-analyze, node, docker; and against the
commands and settings that they name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from mycelium.config import DRAIN_S
from mycelium.node import options

pytestmark = pytest.mark.usefixtures("sources")
ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "mycelium.service"
EXPOSURE_MAX = 20
"""Tenths, as `systemd-analyze security` counts: 1.2 is what it finds."""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


def ran(*command: object, **keywords: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def settings_of_unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_systemd_takes_the_unit(tmp_path):
    program = tmp_path / "mycelium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "mycelium.service"
    unit.write_text(UNIT.read_text().replace("/opt/mycelium/bin/mycelium", str(program)))
    assert ran(tool("systemd-analyze"), "verify", unit).strip() == ""


def test_the_unit_is_confined():
    """Fails above the threshold by its exit code."""
    ran(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", UNIT)


def test_the_unit_fits_the_program():
    unit = settings_of_unit()
    assert unit["Type"] == ["notify"]
    assert int(unit["TimeoutStopSec"][0]) > DRAIN_S + 2
    assert unit["SystemCallErrorNumber"] == ["EPERM"], "without it the node is killed"
    assert unit["RestartPreventExitStatus"] == ["2"]
    (variable, value) = unit["Environment"][0].split("=")
    assert variable in {option.variable for option in options.OPTIONS}
    assert value == "%d/" + unit["LoadCredential"][0].split(":")[0], (
        "the credential that is loaded is the one that is read"
    )


def test_pm2_gets_the_program_and_the_time_to_drain(tmp_path):
    code = f"console.log(JSON.stringify(require({json.dumps(str(DEPLOY / 'pm2' / 'ecosystem.config.js'))})))"
    said = ran(tool("node"), "-e", code, env={**os.environ, "MYCELIUM": "/m", "MYCELIUM_CONFIG": "/c"})
    (app,) = json.loads(said)["apps"]
    assert [app["script"], *app["args"]] == ["/m", "node", "run", "--config", "/c"]
    assert app["interpreter"] == "none"
    assert app["kill_timeout"] > 1000 * (DRAIN_S + 2)
    assert app["stop_exit_codes"] == [2]


def test_compose_and_dockerfile_say_the_same():
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    service = compose["services"]["mycelium"]
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    assert (DEPLOY / "docker" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert any(volume.endswith(":/wallets:ro") for volume in service["volumes"]), "wallets are only read"
    for target in ("/var/lib/mycelium", "/etc/mycelium/node.toml"):
        assert any(f":{target}" in volume for volume in service["volumes"])
        assert target in dockerfile
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_S + 2
    assert service["healthcheck"]["test"][0] == "CMD"
    (extras,) = re.findall(r"^ARG EXTRAS=([\w,]+)$", dockerfile, re.MULTILINE)
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= optional.keys()
    assert '".[$EXTRAS]"' in dockerfile
    stages = re.findall(r"^FROM ", dockerfile, re.MULTILINE)
    assert len(stages) == 2
    last = dockerfile.rpartition("FROM ")[2]
    assert "USER mycelium" in last
    assert "HEALTHCHECK" in last
    asked = dict(re.findall(r"^ARG (\w+)=(\d+)$", last, re.MULTILINE))
    # Keys are their owner's alone, so the container must be able to be that user.
    assert service["build"]["args"] == {name: f"${{{name}:-{value}}}" for name, value in asked.items()}
    assert set(asked) == {"UID", "GID"}


def test_docker_takes_the_compose_file(tmp_path):
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose here")
    ran(docker, "compose", "-f", DEPLOY / "docker" / "compose.yaml", "config", "--quiet")
