"""`mycelium sim`: what it prints, what it draws, and its exit codes."""

from __future__ import annotations

import json

import clikit
from simkit import SMALL


def test_the_list_names_every_scenario():
    out, _ = clikit.invoke("sim", "list")
    assert "calm" in out
    assert "storm" in out
    assert {one["name"] for one in clikit.invoke_json("sim", "list")} >= {"calm", "storm", "silent_fifth"}


def test_a_run_ends_with_a_summary_and_a_picture(tmp_path):
    path = tmp_path / "spread.svg"
    out, err = clikit.invoke("sim", "run", "calm", "--nodes", 4, "--seed", 2, "--plot", path)
    for said in ("members", "sr25519", "copies for each", "p99", "invariants", "trace"):
        assert said in out
    assert "\x1b" not in out + err
    assert path.read_text().startswith("<svg")


def test_json_is_one_object():
    (summary,) = clikit.invoke_json("sim", "run", "calm", "--nodes", 4, "--seed", 2)
    assert summary["nodes"] == 4
    assert summary["crypto"] == "real"
    assert len(summary["trace"]) == 32


def test_several_seeds_are_counted(tmp_path):
    out, _ = clikit.invoke("sim", "run", "calm", "--nodes", 3, "--seeds", "1..3")
    assert "3 seeds, 0 failed" in out
    found = clikit.invoke_json("sim", "run", "calm", "--nodes", 3, "--seeds", "1..2")
    assert [one["seed"] for one in found] == [1, 2]


def test_a_failure_is_exit_code_1_with_the_command_that_repeats_it(tmp_path):
    path = tmp_path / "hard.toml"
    path.write_text(SMALL + "[expect]\np99_ms = 1\n")
    _, err = clikit.invoke("sim", "run", path, "--seed", 7, code=1)
    assert f"mycelium sim run {path} --nodes 4 --seed 7" in err
    out, _ = clikit.invoke("sim", "run", path, "--seeds", "1..2", code=1)
    assert "seed 1 failed" in out
    assert "2 seeds, 2 failed" in out
    out, _ = clikit.invoke("sim", "run", path, "--seeds", "1..1", "--json", code=1)
    assert "Failed" in out or "p99" in out


def test_usage_errors_are_exit_code_2(tmp_path):
    for arguments in (
        ["run", "no-such-scenario"],
        ["run", "calm", "--seeds", "3"],
        ["run", "calm", "--seeds", "3..1"],
        ["run", "calm", "--seeds", "1..2", "--plot", tmp_path / "x.svg"],
        ["run", tmp_path / "absent.toml"],
        ["run", "equivocator", "--nodes", "2"],
    ):
        _, err = clikit.invoke("sim", *arguments, code=2)
        assert err.startswith("error: ")


def test_the_whole_command_from_a_shell():
    out, err = clikit.run("sim", "run", "calm", "--nodes", 3, "--json")
    assert json.loads(out)["nodes"] == 3
    assert err == ""
