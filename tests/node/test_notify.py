"""The service manager is told what happens to a node; it is a datagram socket of the test."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager

import clikit
import pytest
from nodekit import Mesh, places, run

from mycelium.node.notify import TEXT_MAX, Notify


class Manager:
    """What systemd is to a service: a socket, and what was said to it, as lists of assignments."""

    def __init__(self, address: str | bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(65_536).decode().split("\n"))
            except BlockingIOError:
                return found

    async def hears(self, wanted: str) -> list[list[str]]:
        """Wait until an assignment that begins so is said; everything up to and with it."""
        found: list[list[str]] = []
        loop = asyncio.get_running_loop()
        while not any(line.startswith(wanted) for lines in found for line in lines):
            found.append((await loop.sock_recv(self.socket, 65_536)).decode().split("\n"))
        return found


@contextmanager
def managed(address):
    manager = Manager(address)
    try:
        yield manager
    finally:
        manager.socket.close()


@pytest.fixture
def manager(tmp_path):
    with managed(str(tmp_path / "notify")) as manager:
        manager.address = str(tmp_path / "notify")
        yield manager


# --- what the environment says ----------------------------------------------------------------------------


def test_without_a_manager_nothing_is_done():
    environ = {"PATH": "x"}
    told = Notify.from_environment(environ)
    assert not told.listened_to
    assert told.status("hello") is False
    told.stopping()
    told.close()
    assert environ == {"PATH": "x"}


def test_what_was_for_this_process_is_not_passed_on(manager):
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())}
    told = Notify.from_environment(environ)
    assert environ == {}
    assert told.listened_to
    assert told._watchdog_s == 6
    told.close()
    assert not told.listened_to


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"},
    ],
    ids=["nothing", "never", "no number", "negative", "of another process"],
)
def test_no_watchdog_where_none_is_asked_for(manager, said):
    told = Notify.from_environment({"NOTIFY_SOCKET": manager.address, **said})
    assert told._watchdog_s is None
    told.close()


def test_a_socket_in_no_file_system():
    name = f"mycelium-{os.getpid()}-{id(object())}"
    with managed(f"\0{name}") as manager:
        told = Notify(f"@{name}")
        assert told.status("here")
        assert manager.heard() == [["STATUS=here"]]
        told.close()


def test_a_manager_of_another_machine_is_not_told(caplog):
    told = Notify("vsock:2:1234")
    assert not told.listened_to
    assert "unset it, or use Type=exec" in caplog.text


# --- what is said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\nREADY=1", "a\r\n READY=1", " a\tREADY=1 "], ids=["lf", "crlf", "tab"])
def test_a_status_is_one_line(manager, text):
    told = Notify(manager.address)
    assert told.status(text)
    assert told.status("long " * 1000)
    short, long = manager.heard()
    assert short == ["STATUS=a READY=1"]
    assert len(long) == 1
    assert len(long[0]) == len("STATUS=") + TEXT_MAX
    told.close()


def test_ready_the_watchdog_and_only_news(manager):
    async def main():
        told = Notify(manager.address, watchdog_s=0.06)
        text = "one"
        async with told.serving(lambda: text):
            assert await manager.hears("READY=1") == [["WATCHDOG=1", "READY=1", "STATUS=one"]]
            assert await manager.hears("WATCHDOG=1") == [["WATCHDOG=1"]]
            text = "two"
            found = await manager.hears("STATUS=")
            assert found[-1] == ["WATCHDOG=1", "STATUS=two"]
            assert found[:-1] in ([], [["WATCHDOG=1"]])
        manager.heard()
        told.stopping()
        ((first, second),) = manager.heard()
        assert (first, second[:15]) == ("STOPPING=1", "STATUS=draining")
        await asyncio.sleep(0.1)  # three beats, were there any
        assert manager.heard() == []
        told.close()

    run(main())


def test_without_a_watchdog_no_sign_of_life(manager):
    async def main():
        told = Notify(manager.address)
        async with told.serving(lambda: "here"):
            assert await manager.hears("READY=1") == [["READY=1", "STATUS=here"]]
        told.close()

    run(main())


def test_a_manager_that_is_not_there_yet_is_told_later(tmp_path, caplog):
    async def main():
        told = Notify(str(tmp_path / "late"), watchdog_s=0.03)
        async with told.serving(lambda: "here"):
            while "does not hear" not in caplog.text:
                await asyncio.sleep(0)
            with managed(str(tmp_path / "late")) as manager:
                assert (await manager.hears("READY=1"))[0] == ["WATCHDOG=1", "READY=1", "STATUS=here"]
        told.close()

    run(main())
    assert caplog.text.count("does not hear") == 1, "said once and not with every beat"


def test_a_manager_that_does_not_read_holds_nothing_up(manager):
    told = Notify(manager.address)
    sent = 0
    while told.status(str(sent)):
        sent += 1
    assert sent == len(manager.heard()) > 0
    assert told.status("again")
    told.close()


def test_a_status_that_fails_does_not_restart_the_node(manager, caplog):
    async def main():
        told = Notify(manager.address, watchdog_s=0.03)
        async with told.serving(lambda: 1 / 0):
            await manager.hears("READY=1")
            await manager.hears("WATCHDOG=1")
        told.close()

    run(main())
    assert "ZeroDivisionError" in caplog.text


# --- a node -----------------------------------------------------------------------------------------------


def test_a_node_is_ready_lives_and_stops(tmp_path, manager):
    """As Type=notify sees it: the status names the epoch and the sessions, and follows what happens."""

    async def main():
        async with Mesh(places(tmp_path, 2)) as mesh:
            process = await asyncio.create_subprocess_exec(
                *clikit.command("node", "run", "--config", mesh.places[0].config),
                stdout=asyncio.subprocess.DEVNULL,
                env=clikit.environment(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000"),
                start_new_session=True,
            )
            try:
                before = await manager.hears("READY=1")
                assert before[0][0].startswith("STATUS=opening")
                (status,) = [line for line in before[-1] if line.startswith("STATUS=")]
                assert mesh.places[0].url in status
                assert "epoch " in status
                assert "sessions with 0 of 1 members" in status
                await mesh.start(1)
                await manager.hears(f"STATUS={status[7:].replace('with 0', 'with 1')}")
                assert (await manager.hears("WATCHDOG=1"))[-1][0] == "WATCHDOG=1"
                process.send_signal(signal.SIGTERM)
                assert (await manager.hears("STOPPING=1"))[-1][1].startswith("STATUS=draining")
                assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    run(main())


def test_a_node_that_does_not_start_is_never_ready(tmp_path, manager):
    (place,) = places(tmp_path, 1)
    place.config.write_text(place.config.read_text() + "[nonsense]\n")
    clikit.run(
        "node", "run", "--config", place.config, code=2, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000"
    )
    assert not any("READY=1" in lines for lines in manager.heard())
