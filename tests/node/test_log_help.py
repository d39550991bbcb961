"""Every line that a person may act on says what to do: its text, or the table of `node.log_help`."""

import ast
import io
import json
import logging
from pathlib import Path

import pytest

import mycelium
from mycelium.node import log_help, logs
from mycelium.node.log_settings import LogSettings
from mycelium.node.ratelimit import Quiet
from mycelium.redaction import Redactor

ROOT = Path(mycelium.__file__).parent
OF_A_NODE = ("node", "database", "metagraph", "peer", "protocol", "identity", "doctor")
OF_THE_CHAIN = (
    "aio",
    "cache",
    "feeds",
    "runtime",
    "source",
    "submission",
    "connection",
    "access",
    "rpc",
    "socket",
)


def modules():
    for package in OF_A_NODE:
        yield from sorted((ROOT / package).glob("*.py"))
    yield from (ROOT / "chain" / f"{name}.py" for name in OF_THE_CHAIN)


def spoken():
    """(place, text, whether it has a traceback) of each warning and error."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name = ast.unparse(node.func.value).lower()
            level = node.func.attr in {"warning", "error", "critical"}
            if not level or not (name.endswith(("log", "_quiet", "logger"))) or not node.args:
                continue
            bug = any(keyword.arg == "exc_info" for keyword in node.keywords)
            yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.literal_eval(node.args[0]), bug


SPOKEN = list(spoken())


def test_the_lines_are_found():
    assert len(SPOKEN) > 25


def test_every_warning_and_error_says_what_to_do():
    """A new one has ` -- ` and the remedy in its text, or a line in `node/log_help.py`."""
    silent = [
        (place, text)
        for place, text, bug in SPOKEN
        if " -- " not in text
        and not bug
        and text not in log_help.HELP
        and text not in log_help.SAY_IT_THEMSELVES
    ]
    assert silent == []


def test_the_table_has_no_line_that_nobody_says():
    assert log_help.HELP.keys() - {text for _, text, _ in SPOKEN} == set()


@pytest.fixture
def stream():
    found = io.StringIO()
    log = logs.Log(LogSettings("info", "json"), Redactor(), found)
    yield found
    log.close()


def test_the_log_adds_it(stream):
    logging.getLogger("mycelium.node.x").error("cannot store a proof: %s", "no space")
    logging.getLogger("mycelium.node.x").info("cannot store a proof: %s", "no space")
    logging.getLogger("mycelium.node.x").error("cannot store a proof: %s -- do this", "no space")
    helps = [json.loads(line).get("help") for line in stream.getvalue().splitlines()]
    assert helps == [log_help.HELP["cannot store a proof: %s"], None, "do this"]


def test_the_log_adds_it_to_what_was_held_back_too(stream):
    quiet = Quiet(logging.getLogger("mycelium.node.x"), 0)
    quiet._last["cannot store a proof: %s"] = (0.0, 3)
    quiet.error("cannot store a proof: %s", "no space")
    line = json.loads(stream.getvalue())
    assert "3 more like it" in line["event"]
    assert line["help"]
