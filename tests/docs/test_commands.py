"""Every command in docs/ exists and takes what it is given; those that need a network run on one of four nodes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import clikit
import docskit
import pytest

QUICK = docskit.DOCS / "quickstart.md"
LIVE = ["quickstart.md", "concepts.md", "operating.md", "security.md"]


def cases():
    found = {line: page for page in docskit.PAGES for line in docskit.mentioned(page)}
    return [pytest.param(line, id=f"{page.stem}: {line[9:60]}") for line, page in found.items()]


def fault(line):
    """What is wrong with a command as it is printed; "" if nothing is. In prose its arguments may be missing."""
    command, path, rest = docskit.resolve(line)
    if hasattr(command, "get_command"):
        # A group alone, `mycelium COMMAND --help`, or what is no command.
        stray = [word for word in rest[:1] if not word.isupper() and not word.startswith("-")]
        return f"{' '.join(path) or 'mycelium'} has no command {stray[0]}" if stray else ""
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = [word.partition("=")[0] for word in rest if word.startswith("--") and word != "--"]
    unknown = set(given) - options - {"--help"}
    if unknown and not command.context_settings.get("ignore_unknown_options"):
        return f"{' '.join(path)} has no option {min(unknown)}"
    return ""


@pytest.mark.parametrize("line", cases())
def test_every_command_exists_and_takes_its_options(line):
    assert fault(line) == ""


@pytest.mark.parametrize("line", sorted({line for page in docskit.PAGES for line in docskit.console(page)}))
def test_every_command_of_a_block_is_complete(line):
    if not line.startswith("mycelium "):
        return
    command, path, rest = docskit.resolve(line)
    command.make_context(" ".join(path), rest)  # an error of usage if it is not


@pytest.mark.parametrize(
    "wrong", ["mycelium frobnicate", "mycelium node frobnicate", "mycelium get records k --no-such-option"]
)
def test_a_wrong_command_is_seen(wrong):
    assert fault(wrong) != ""


def test_every_page_with_a_live_command_is_run():
    """A new page with commands for `net/` must be run as well."""
    with_live = {page.name for page in docskit.PAGES if any("net/" in line for line in docskit.console(page))}
    assert with_live == set(LIVE)


# --- on a network -------------------------------------------------------------------------------------------


@contextmanager
def network(directory):
    """The network that the quickstart starts, in `directory`, and an environment in which `mycelium` is this one."""
    (begin,) = [line for line in docskit.console(QUICK) if line.startswith("mycelium devnet up")]
    folder = directory / "bin"
    folder.mkdir()
    program = folder / "mycelium"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mycelium.cli.main "$@"\n')
    program.chmod(0o755)
    env = clikit.environment(PATH=f"{folder}:{os.environ['PATH']}")
    process = subprocess.Popen(
        [*clikit.command(*docskit.words(begin)), "--json"],
        cwd=directory,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read().decode()
        assert len(json.loads(line)["nodes"]) == 4
        yield env
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # of the group that it leads, as it was started
            process.communicate()


def shell(lines, directory, env):
    """Run lines as a person types them, each of which must succeed; what each printed."""
    done = subprocess.run(
        ["sh", "-euxc", "\n".join(lines)], cwd=directory, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def live(page, directory):
    """The commands of a page that a network of four is enough for, with their directory and without what ends it."""
    known = [
        line for line in docskit.console(page) if "net/" in line or line.startswith(("mycelium restore", "."))
    ]
    text = "\n".join(known + [line for line in docskit.console(page) if "fault" in line])
    return text.replace("/tmp/", f"{directory}/").splitlines()


@pytest.mark.timeout(180)
def test_what_is_printed_works_on_a_network_of_four(tmp_path):
    (example,) = docskit.blocks(QUICK, "python")
    pages = {name: live(docskit.DOCS / name, tmp_path) for name in LIVE}
    with network(tmp_path) as env:
        out = shell(pages["concepts.md"], tmp_path, env)
        assert out.splitlines()[0] == "7"
        assert '{"event":1}' in out
        shell(pages["operating.md"], tmp_path, env)
        assert (tmp_path / "mycelium-restored").is_dir()
        shell(pages["security.md"], tmp_path, env)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", example],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, "put miner-9 {'score': 0.41}\n"), done.stderr
        # Last, as it takes a permit away.
        out = shell(pages["quickstart.md"], tmp_path, env)
        assert '{"score":0.93}' in out
