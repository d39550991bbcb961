"""The daemon's log: two forms, what to do apart from what happened, no secret, and no flood."""

import io
import json
import logging

import pytest
from structlog.stdlib import ProcessorFormatter

from mycelium.errors import ConfigError
from mycelium.node import logs
from mycelium.node.log_settings import LogSettings
from mycelium.redaction import HIDDEN, Redactor

SEED = "5e" * 32


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def logged():
    """Make a log over a stream; all are closed at the end."""
    made = []

    def make(form="auto", level="info", stream=None, secrets=(), **keywords):
        stream = io.StringIO() if stream is None else stream
        log = logs.Log(LogSettings(level, form), Redactor(secrets), stream, **keywords)
        made.append(log)
        return log, stream

    level = logging.root.level
    yield make
    for log in reversed(made):
        log.close()
    assert not [one for one in logging.root.handlers if isinstance(one.formatter, ProcessorFormatter)]
    assert logging.root.level == level


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_where_there_is_no_terminal(logged):
    _, stream = logged()
    logging.getLogger("mycelium.test").warning("%d things are wrong -- mend %s", 3, "them")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "mycelium.test",
        "event": "3 things are wrong",
        "help": "mend them",
    }


def test_a_console_on_a_terminal_without_colour_if_wanted(logged, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, stream = logged(stream=Terminal())
    logging.getLogger("mycelium.test").warning("something -- do this")
    assert "\x1b[" in stream.getvalue()
    assert "something" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    _, plain = logged(stream=Terminal())
    logging.getLogger("mycelium.test").warning("something -- do this")
    assert "\x1b" not in plain.getvalue()
    assert "do this" in plain.getvalue()


def test_the_form_can_be_said(logged):
    _, console = logged("console")
    _, structured = logged("json", stream=Terminal())
    logging.getLogger("mycelium.test").warning("x")
    assert "warning" in console.getvalue()
    assert "{" not in console.getvalue()
    assert "\x1b" not in console.getvalue()
    assert lines(structured)[0]["event"] == "x"


def test_an_error_says_its_remedy_apart(logged):
    _, stream = logged()
    logging.getLogger("mycelium.test").error("cannot: %s", ConfigError("the file is bad", "mend it"))
    (line,) = lines(stream)
    assert (line["event"], line["help"]) == ("cannot: the file is bad", "mend it")


def test_a_bug_has_its_traceback_and_no_local_variable(logged):
    for form in ("json", "console"):
        _, stream = logged(form)
        local = SEED
        try:
            raise RuntimeError("boom " + local[:0])
        except RuntimeError:
            logging.getLogger("mycelium.test").exception("the handler failed")
        text = stream.getvalue()
        assert "Traceback" in text
        assert "RuntimeError: boom" in text
        assert SEED not in text
        assert "report it" in text


def test_the_level_is_kept_and_changes(logged):
    log, stream = logged(level="warning")
    logger = logging.getLogger("mycelium.test")
    logger.info("quiet")
    log.set_level("debug")
    logger.debug("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_secrets_are_hidden_wherever_they_are(logged):
    log, stream = logged("json", secrets=[SEED])
    logger = logging.getLogger("other.library")
    logger.warning("seed %s", SEED)
    logger.warning(f"seed 0x{SEED.upper()}")
    logger.warning("at wss://me:hunter22@host/KEYKEY")
    try:
        raise ValueError(SEED)
    except ValueError:
        logger.exception("bad")
    log.redact.add(["another secret"])
    logger.warning("another secret", extra={"more": SEED})
    text = stream.getvalue()
    for secret in (SEED, "hunter22", "KEYKEY", "another secret"):
        assert secret.lower() not in text.lower()
    assert text.count(HIDDEN) >= 5


def test_repeats_are_held_back_and_counted(logged):
    now = [0.0]
    _, stream = logged(repeats=logs.Repeats(lambda: now[0]))
    logger = logging.getLogger("mycelium.test")
    for number in range(100):
        logger.warning("the same of %d", number)
        logger.warning("another")
    assert len(lines(stream)) == 2 * logs.BURST
    now[0] += logs.INTERVAL_S
    logger.warning("the same of %d", 100)
    last = lines(stream)[-1]
    assert (last["event"], last["left_out"]) == ("the same of 100", 100 - logs.BURST)
    logger.warning("the same of %d", 101)
    assert "left_out" not in lines(stream)[-1]


def test_what_is_remembered_of_repeats_has_a_cap():
    repeats = logs.Repeats(lambda: 0.0)
    for number in range(5000):
        record = logging.LogRecord("x", logging.WARNING, "", 0, f"of its own {number}", (), None)
        assert repeats.filter(record)
    assert len(repeats._kinds) == 1024


def test_debug_is_never_held_back():
    repeats = logs.Repeats(lambda: 0.0)
    record = logging.LogRecord("x", logging.DEBUG, "", 0, "same", (), None)
    assert all(repeats.filter(record) for _ in range(100))
