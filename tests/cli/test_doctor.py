"""doctor: before the first start, beside a running node, and when something is wrong; exit 1 when a check fails."""

import json
import socket

import clikit
import pytest

from mycelium.devnet.layout import prepare


@pytest.fixture
def place(tmp_path):
    return prepare(tmp_path / "net", 1)[0]


def checks(place, code=0, *arguments):
    out, _ = clikit.invoke("doctor", "--config", place.config, "--json", *arguments, code=code)
    found = json.loads(out)
    return found, {check["name"]: check for check in found["checks"]}


def test_before_the_first_start(place):
    found, by_name = checks(place)
    assert found["verdict"] in {"ok", "warn"}
    assert by_name["port"]["verdict"] == "ok"
    assert by_name["store"]["verdict"] == "skipped"
    assert by_name["registration"]["verdict"] == "ok"
    assert by_name["data directory"]["found"].endswith("is made at the first start")
    assert not place.data_dir.exists(), "it wrote"
    assert {check["verdict"] for check in found["checks"]} <= {"ok", "warn", "fail", "skipped"}
    assert all(check["remedy"] for check in found["checks"] if check["verdict"] in {"warn", "fail"})


def test_beside_a_running_node_and_after_it(place):
    with clikit.running(place.config) as (_, ready):
        clikit.invoke("put", "records", "k", "1", "--config", place.config)
        before = sorted(path.name for path in place.directory.iterdir())
        _, by_name = checks(place)
        assert ready["url"] in by_name["port"]["found"]
        assert "of a checkpoint of the running node read" in by_name["store"]["found"]
        assert by_name["running node"]["verdict"] == "ok"
        assert sorted(path.name for path in place.directory.iterdir()) == before
        clikit.invoke("put", "records", "k", "2", "--config", place.config)
        assert clikit.invoke("get", "records", "k", "--config", place.config)[0] == "2\n"
    _, by_name = checks(place)
    assert by_name["running node"]["verdict"] == "skipped"
    assert "rows of the store read" in by_name["store"]["found"]


def test_people_see_a_line_for_each_and_what_to_do(place):
    (place.directory / "hotkey.json").chmod(0o644)
    with socket.create_server(("127.0.0.1", place.port)):
        out, err = clikit.invoke("doctor", "--config", place.config, code=1)
    assert err == "" or "can be read or changed" in err
    assert f"-> chmod 600 {place.directory / 'hotkey.json'}" in out
    assert "fail    port: something that is not this node listens on" in out
    assert "\x1b" not in out
    assert out.splitlines()[-1].startswith("18 checks: 2 failed") or "2 failed" in out.splitlines()[-1]


def test_a_missing_key_is_a_failed_check_and_a_mistake_in_the_file_is_exit_2(place):
    (place.directory / "hotkey.json").unlink()
    found, by_name = checks(place, 1)
    assert found["verdict"] == "fail"
    assert "there is no key file at" in by_name["hotkey"]["found"]
    assert by_name["registration"]["verdict"] == "skipped"
    place.config.write_text("[node]\n")
    out, err = clikit.invoke("doctor", "--config", place.config, "--json", code=2)
    assert out == ""
    assert json.loads(err)["kind"] == "ConfigError"
