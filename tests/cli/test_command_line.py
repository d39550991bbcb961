"""The command line throughout: every command, its help, --json, errors, completion, and how soon it answers."""

import json
import os
import re
import resource
import subprocess
import sys

import clikit
import pytest

from mycelium.cli import lazy
from mycelium.cli.main import COMMANDS

PASSED_ON = {"fiber run", "fiber post-ip"}
"""Their options are those of the program that they run: a --json is its own."""


def walk():
    """Every command there is: (its words, what click has of it)."""

    def below(words, command):
        commands = getattr(command, "commands", None)
        if commands is None:
            yield " ".join(words), command
            return
        for name, sub in commands.items():
            yield from below([*words, name], sub)

    for name, place in COMMANDS.items():
        yield from below([name], lazy.loaded(place)[name])


ALL = dict(walk())


def test_the_walk_finds_commands_at_every_depth():
    assert {"version", "get", "node run", "config check", "devnet fault", "sim run"} <= ALL.keys()
    assert len(ALL) > 30


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"fiber post-ip"}))  # its help is that of fiber-post-ip
def test_every_command_has_help_with_an_example(name):
    out, _ = clikit.invoke(*name.split(), "--help")
    assert re.search(rf"^ {{5}}(\w+=\S+ )*mycelium {name}\b", out, re.MULTILINE), "no example, or not set off"
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", sorted(ALL.keys() - PASSED_ON))
def test_nothing_that_help_says_is_swallowed_as_markup(name):
    """Rich takes [word] for a style and shows nothing of it: a section of a file is named without its brackets."""
    command = ALL[name]
    parts = [getattr(one, name, None) for one in command.params for name in ("help", "rich_help_panel")]
    said = [part for part in (command.help, *parts) if part]
    assert [text for text in said if re.search(r"(?<!\\)\[/?[a-z]+\]", text)] == []


@pytest.mark.parametrize("name", sorted(ALL.keys() - PASSED_ON))
def test_every_command_has_json(name):
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", sorted(ALL.keys() - PASSED_ON))
def test_an_unknown_option_is_one_line_a_remedy_and_exit_2(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, err = clikit.invoke(*name.split(), "--no-such-option", code=2)
    assert out == ""
    assert re.fullmatch(rf"error: No such option: --no-such-option.* -- see mycelium {name} --help\n", err), (
        err
    )
    out, err = clikit.invoke(*name.split(), "--no-such-option", "--json", code=2)
    assert out == ""
    assert json.loads(err).keys() == {"error", "help", "kind"}
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_command_by_what_it_says_of_itself():
    out, _ = clikit.invoke("--help")
    for name, place in COMMANDS.items():
        assert re.search(rf"^│ {name}\b", out, re.MULTILINE), name
        command = lazy.loaded(place)[name]
        first = " ".join(command.help.split("\n\n")[0].split())
        assert place.help == first, f"COMMANDS[{name!r}] in cli/main.py"


@pytest.mark.parametrize("name", ["node", "config", "policy", "devnet", "sim"])
def test_a_group_without_a_command_shows_its_help(name):
    out, err = clikit.invoke(name, code=2)
    assert "Commands" in out + err


def test_a_command_that_is_none_names_the_nearest():
    _, err = clikit.invoke("vresion", code=2)
    assert err == "error: No such command 'vresion'. Did you mean 'version'? -- see mycelium --help\n"
    _, err = clikit.invoke("node", "rnu", "--json", code=2)
    assert json.loads(err) == {
        "error": "No such command 'rnu'. Did you mean 'run'?",
        "help": "see mycelium node --help",
        "kind": "UsageError",
    }


def test_a_value_that_is_none_and_a_missing_argument():
    _, err = clikit.invoke("devnet", "up", "--nodes", "many", code=2)
    assert err.startswith("error: Invalid value for '--nodes'")
    assert err.count("\n") == 1
    _, err = clikit.invoke("get", code=2)
    assert err == "error: Missing argument 'TABLE' -- see mycelium get --help\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, tmp_path):
    out, _ = clikit.invoke("completion", shell)
    assert "_MYCELIUM_COMPLETE" in out
    assert clikit.invoke_json("completion", shell) == [{"shell": shell, "script": out.rstrip("\n")}]
    clikit.invoke("completion", "tcsh", code=2)


def test_the_completion_of_bash_is_a_script_and_names_commands(tmp_path):
    script = tmp_path / "mycelium.bash"
    script.write_text(clikit.invoke("completion", "bash")[0])
    subprocess.run(["bash", "-n", str(script)], check=True)
    found = subprocess.run(
        [sys.executable, "-c", "from mycelium.cli.main import main; main()"],
        env=clikit.environment(_MYCELIUM_COMPLETE="complete_bash", COMP_WORDS="mycelium no", COMP_CWORD="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == ["node"]


def test_no_color_is_respected(tmp_path):
    for name in ("NO_COLOR", "TERM"):
        out, _ = clikit.run("--help", **{name: "1" if name == "NO_COLOR" else "dumb"})
        assert "\x1b" not in out


# --- how soon ---------------------------------------------------------------------------------------------


def cpu_s(code, *, times=5):
    """The least processor time that a new Python needs for some code; others share this machine's cores."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", code],
            env=clikit.environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


HELP = "import sys; sys.argv = ['mycelium', '--help']; from mycelium.cli.main import main; main()"


def test_help_takes_less_than_150_ms():
    assert cpu_s(HELP) < 0.150


def test_importing_mycelium_takes_less_than_100_ms():
    assert cpu_s("import mycelium") < 0.100


LOADED = "import sys; {}; print(' '.join(m for m in {!r} if m in sys.modules))"


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import mycelium", ["asyncio", "uvloop", "rocksdict", "substrateinterface", "structlog", "rich"]),
        ("import mycelium.chain, mycelium.chain.weights", ["uvloop", "rocksdict", "picows", "structlog"]),
        ("import mycelium.node.node", ["structlog", "rich", "typer"]),
        ("import mycelium.cli.main", ["asyncio", "uvloop", "rocksdict", "rich", "msgspec", "structlog"]),
    ],
    ids=["mycelium", "chain", "node", "cli"],
)
def test_what_an_import_does_not_load(code, unwanted):
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code, unwanted)],
        env={**clikit.environment(), "TYPER_USE_RICH": os.environ.get("TYPER_USE_RICH", "1")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["mycelium", "mycelium.chain", "mycelium.node.node", "mycelium.cli.main"])
def test_an_import_leaves_logging_alone(module):
    code = (
        f"import logging, {module}; root = logging.root; assert not root.handlers, root.handlers; "
        "assert root.level == logging.WARNING; "
        "ours = [n for n, l in root.manager.loggerDict.items() "
        "if n.startswith('mycelium') and isinstance(l, logging.Logger) and (l.handlers or not l.propagate)]; "
        "assert not ours, ours"
    )
    subprocess.run([sys.executable, "-c", code], env=clikit.environment(), check=True)
