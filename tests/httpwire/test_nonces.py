"""Used nonces: once each, within the window, over a restart and across workers, and in bounded memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from httpwire.httpkit import Clock
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config import HTTP_WINDOW_NS
from mycelium.http.nonces import NonceBook

A, B = b"a" * 32, b"b" * 32
WINDOW_S = HTTP_WINDOW_NS / 10**9


@pytest.fixture
def clock():
    return Clock()


def test_once_each(clock):
    book = NonceBook(clock_ns=clock)
    nonce = clock.nonce(1)
    assert book.check(A, nonce)
    assert book.check(A, nonce), "looking does not use it up"
    assert len(book) == 0
    assert book.commit(A, nonce)
    assert not book.check(A, nonce)
    assert not book.commit(A, nonce)
    assert book.commit(B, nonce), "another validator's nonces are its own"


@pytest.mark.parametrize("offset_s", [-WINDOW_S - 1, WINDOW_S + 1, -(10**9)])
def test_only_of_now(clock, offset_s):
    book = NonceBook(clock_ns=clock)
    assert not book.check(A, clock.nonce(offset_s))
    assert not book.commit(A, clock.nonce(offset_s))


def test_one_from_the_future_cannot_come_again_later(clock):
    """Fiber forgets a nonce 120 s after it came, and takes it until 120 s after its own time."""
    book = NonceBook(clock_ns=clock)
    nonce = clock.nonce(WINDOW_S - 2)
    assert book.commit(A, nonce)
    for _ in range(25):
        clock.now_ns += 10 * 10**9
        assert not book.commit(A, nonce)


def test_without_a_file_nothing_from_before_the_start_is_taken(clock):
    nonce = clock.nonce()
    clock.now_ns += 10**9
    assert not NonceBook(clock_ns=clock).check(A, nonce)


def test_a_restart_forgets_nothing(clock, tmp_path):
    path, nonce = tmp_path / "nonces.sqlite", clock.nonce()
    first = NonceBook(path, clock_ns=clock)
    assert first.commit(A, nonce)
    # No close: as after a kill.
    clock.now_ns += 10**9
    second = NonceBook(path, clock_ns=clock)
    assert not second.commit(A, nonce)
    assert second.commit(A, clock.nonce(-5)), "a restart refuses nobody who was on the way"
    first.close()
    second.close()
    second.close()


def test_workers_share_what_they_have_seen(clock, tmp_path):
    workers = [NonceBook(tmp_path / "nonces.sqlite", clock_ns=clock) for _ in range(4)]
    for number in range(50):
        nonce = clock.nonce(tail=str(number))
        assert [worker.commit(A, nonce) for worker in workers].count(True) == 1
    for worker in workers:
        worker.close()


def test_workers_that_begin_together_all_have_the_file(clock, tmp_path, caplog):
    with ThreadPoolExecutor(8) as workers:
        for number in range(100):
            path = tmp_path / f"{number}.sqlite"
            for book in workers.map(lambda path: NonceBook(path, clock_ns=clock), [path] * 8):
                book.close()
    assert not caplog.text


def test_a_file_that_is_locked_for_a_moment_is_waited_for(clock, tmp_path, caplog):
    path = tmp_path / "nonces.sqlite"
    with sqlite3.connect(path, isolation_level=None) as other, ThreadPoolExecutor(1) as thread:
        other.execute("begin exclusive")
        made = thread.submit(NonceBook, path, clock_ns=clock)
        time.sleep(0.3)
        assert not made.done()
        other.execute("commit")
        made.result().close()
    other.close()
    assert not caplog.text


def test_what_came_while_the_file_was_locked_is_written_later(clock, tmp_path):
    path = tmp_path / "nonces.sqlite"
    book = NonceBook(path, clock_ns=clock)
    during = [clock.nonce(tail=str(number)) for number in range(3)]
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin immediate")
        assert all(book.commit(A, nonce) for nonce in during)
        other.execute("commit")
    other.close()
    assert book.commit(A, clock.nonce(tail="after"))
    # No close: as after a kill.
    worker = NonceBook(path, clock_ns=clock)
    assert not any(worker.commit(A, nonce) for nonce in during)
    worker.close()
    book.close()


def test_threads_share_one(clock, tmp_path):
    """A miner's configuration is made on a thread of its own, and its synchronous dependencies run on others."""
    with ThreadPoolExecutor(8) as threads:
        book = threads.submit(NonceBook, tmp_path / "nonces.sqlite", clock_ns=clock).result()
        nonces = [clock.nonce(tail=str(number)) for number in range(200)]
        first = list(threads.map(lambda nonce: book.commit(A, nonce), nonces * 4))
    assert first.count(True) == 200
    book.close()


def test_closing_waits_for_who_is_in_the_file(tmp_path):
    script = f"""
import logging, threading, time
from pathlib import Path
from mycelium.http.nonces import NonceBook

logging.disable()

def use(book, name, ended):
    number = 0
    while not ended.is_set():
        number += 1
        book.commit(b"a" * 32, f"{{time.time_ns()}}_{{name}}{{number}}")

for round in range(40):
    book, ended = NonceBook(Path({str(tmp_path)!r}) / f"{{round}}.sqlite"), threading.Event()
    threads = [threading.Thread(target=use, args=(book, name, ended)) for name in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    book.close()
    ended.set()
    for thread in threads:
        thread.join()
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_the_file_is_bounded_by_the_window(clock, tmp_path):
    path = tmp_path / "nonces.sqlite"
    book = NonceBook(path, clock_ns=clock)
    for number in range(60):
        for tail in range(10):
            assert book.commit(A, clock.nonce(tail=f"{number}-{tail}"))
        clock.now_ns += 60 * 10**9
    book.close()
    with sqlite3.connect(path) as db:
        (rows,) = db.execute("select count(*) from seen").fetchone()
    db.close()
    assert rows <= 10 * 6


def test_a_place_where_no_file_can_be_is_logged_and_done_without(clock, tmp_path, caplog):
    book = NonceBook(tmp_path / "nowhere" / "nonces.sqlite", clock_ns=clock)
    assert "known to this process alone" in caplog.text
    nonce = clock.nonce(1)
    assert book.commit(A, nonce)
    assert not book.commit(A, nonce)


def test_a_full_disk_keeps_the_process_safe(clock, tmp_path, caplog):
    book = NonceBook(tmp_path / "nonces.sqlite", clock_ns=clock)
    book._db.execute("drop table seen")
    nonce = clock.nonce()
    assert book.commit(A, nonce)
    assert not book.commit(A, nonce)
    assert "other workers do not know" in caplog.text
    book.close()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-300, 300), st.integers(0, 60)), max_size=60))
def test_as_a_set_would_say(steps):
    clock = Clock()
    book, used = NonceBook(clock_ns=clock), set()
    started_ns = clock.now_ns
    for tail, offset_s, passed_s in steps:
        clock.now_ns += passed_s * 10**9
        nonce = clock.nonce(offset_s, str(tail))
        made_ns = clock.now_ns + offset_s * 10**9
        fresh = abs(offset_s) * 10**9 <= HTTP_WINDOW_NS and made_ns >= started_ns
        assert book.check(A, nonce) is (fresh and nonce not in used)
        assert book.commit(A, nonce) is (fresh and nonce not in used)
        if fresh:
            used.add(nonce)
