"""Progress: nothing in two seconds, then how far, how fast and how long; nothing where nobody watches."""

import io

import pytest

from mycelium.cli.progress import Line, amount, span, text
from mycelium.database import schema
from mycelium.database.backup import restore, write_identity
from mycelium.database.rocks import RocksStore
from mycelium.database.schema import StoreIdentity


class Terminal(io.StringIO):
    def isatty(self):
        return True


def line(stream, **keywords):
    now = [100.0]
    return Line("copying", "bytes", 1000, stream=stream, clock=lambda: now[0], **keywords), now


def test_the_first_two_seconds_show_nothing():
    stream = Terminal()
    shown, now = line(stream)
    for _ in range(19):
        now[0] += 0.1
        shown.at(100)
    assert stream.getvalue() == ""
    now[0] += 0.2
    shown.at(500)
    assert stream.getvalue() == "\r\x1b[Kcopying: 500 B of 1000 B (50 %), 238 B/s, 2 s left"
    shown.clear()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_it_is_written_now_and_then_and_not_each_time():
    stream = Terminal()
    shown, now = line(stream)
    now[0] += 3
    for done in range(1000):
        now[0] += 0.001
        shown.at(done)
    assert 4 <= stream.getvalue().count("\r") <= 6


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["a pipe", "with --json"])
def test_nobody_watches(stream):
    shown, now = line(stream, on=not stream.isatty())
    now[0] += 60
    shown.at(500)
    shown.say("x")
    shown.clear()
    assert stream.getvalue() == ""


def test_what_is_shown():
    assert text("reading", "rows", 5000, None, 2.0) == "reading: 5,000 rows, 2,500 rows/s"
    assert text("reading", "rows", 0, 10, 0.0) == "reading: 0 rows of 10 rows (0 %), 0 rows/s"
    assert amount(1536, "bytes") == "1.5 KiB"
    assert amount(5 * 2**50, "bytes") == "5120.0 TiB"
    assert (span(59), span(61), span(7300)) == ("59 s", "1 min 1 s", "2 h 1 min")


def test_restoring_says_how_far_it_is(tmp_path):
    store = RocksStore(tmp_path / "data")
    try:
        write_identity(store, StoreIdentity(schema.FORMAT, bytes(32), 7, bytes(32), 1))
        store.checkpoint(tmp_path / "backup")
    finally:
        store.close()
    seen = []
    restore(tmp_path / "backup", tmp_path / "restored", lambda copied, total: seen.append((copied, total)))
    files = [path for path in (tmp_path / "backup").iterdir() if path.is_file()]
    assert len(seen) == len(files)
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in files)
