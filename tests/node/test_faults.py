"""What an operator can get wrong, and a disk that fills up: one clear line, exit code 2, and nothing written."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
from pathlib import Path

import clikit
import kit
import pytest
from nodekit import Mesh, Place, agreed, places, run, settings, until

import mycelium
from mycelium.database import rocks
from mycelium.errors import AddressInUse, StoreCorrupt, StoreForeign, StoreFull, StoreLocked
from mycelium.identity import wallet


@pytest.fixture
def place(tmp_path) -> Place:
    """A node that never ran."""
    return places(tmp_path, 1)[0]


@pytest.fixture
def used(place) -> Place:
    """A node that ran, and holds something."""

    async def main():
        async with Mesh([place]) as mesh:
            await mesh.start()
            await mesh[0].database.table("scores").put("k", "v" * 100)

    run(main())
    return place


def tree(directory: Path) -> dict[str, str]:
    """Every file under the directory, and a digest of what is in it; directories too.

    Without RocksDB's diary: it begins a new LOG whenever it is asked to open a store, also one that it finds damaged.
    """
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "/"
        for path in sorted(directory.rglob("*"))
        if not re.fullmatch(r"LOG(\.old\.\d+)?", path.name)
    }


def refused(place: Place, *said: str, mistakes: int = 1) -> None:
    """`node run` says one line (for each mistake) with all of `said`, exits with 2, and leaves every file as it was."""
    before = tree(place.directory)
    out, err = clikit.run("node", "run", "--config", place.config, code=2)
    assert out == ""
    assert len(err.splitlines()) == mistakes, err
    assert err.startswith("error: ")
    for words in said:
        assert words in err, err
    after = tree(place.directory)
    assert after == before, {
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    }


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# --- settings ---------------------------------------------------------------------------------------------


def test_no_configuration_file(place):
    place.config.unlink()
    refused(place, str(place.config), "no such configuration file")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("netuid = 7", "netuid = -1", "netuid"),
        ('merge = "lww"', 'merge = "newest"', "merge"),
        ('mode = "session"', 'mode = "signd"', "signed"),
        ("data_dir", "datadir", "data_dir"),
        ('listen = "127', 'listen = "nowhere:', "listen"),
        ("genesis", "genesys", "genesis"),
        ("[node]", "[node", "node.toml"),
    ],
)
def test_a_bad_setting(place, old, new, said):
    edit(place.config, old, new)
    # A name that is not known is one mistake, the name that is missing for it another.
    refused(place, str(place.config), said, mistakes=2 if new in ("datadir", "genesys") else 1)


def test_a_bad_members_file(place):
    edit(place.directory / "members.toml", "validator", "validater")
    refused(place, str(place.directory / "members.toml"), "validator")
    (place.directory / "members.toml").unlink()
    refused(place, str(place.directory / "members.toml"))


# --- hotkey -----------------------------------------------------------------------------------------------


def test_a_missing_key_file(place):
    (place.directory / "hotkey.json").unlink()
    refused(place, str(place.directory / "hotkey.json"))


def test_a_damaged_key_file(place):
    (place.directory / "hotkey.json").write_text('{"secretSeed": "0x12')
    refused(place, str(place.directory / "hotkey.json"))
    (place.directory / "hotkey.json").write_bytes(b"$NACL" + bytes(64))
    refused(place, str(place.directory / "hotkey.json"))


# --- data directory ---------------------------------------------------------------------------------------


def test_a_directory_of_something_else(place):
    place.data_dir.mkdir()
    (place.data_dir / "thesis.txt").write_text("years of work")
    refused(place, str(place.data_dir), "set data_dir")


def test_a_file_where_the_data_directory_should_be(place):
    place.data_dir.write_text("a file")
    refused(place, str(place.data_dir), "not a directory")


def test_the_store_of_another_account(used):
    other = kit.keypair("someone else")
    (used.directory / "hotkey.json").unlink()
    wallet.write_file(used.directory / "hotkey.json", other)
    refused(used, "data directory belongs to", used.address, str(used.data_dir), "set another data_dir")


def test_the_store_of_another_network(used):
    edit(used.config, "netuid = 7", "netuid = 8")
    refused(used, "netuid 7", str(used.data_dir), "[network]")


@pytest.mark.parametrize("damage", ["CURRENT", "MANIFEST", "gone"])
def test_a_damaged_store(used, damage):
    if damage == "CURRENT":
        (used.data_dir / "CURRENT").write_text("nonsense\n")
    else:
        (manifest,) = used.data_dir.glob("MANIFEST-*")
        if damage == "gone":
            manifest.unlink()
        else:
            data = bytearray(manifest.read_bytes())
            data[: len(data) // 2] = os.urandom(len(data) // 2)
            manifest.write_bytes(data)
    refused(used, str(used.data_dir), "is damaged", "restore a backup")


def test_a_damaged_table_file_is_named_when_it_is_read(used):
    """RocksDB checks a block when it reads it: what is wrong is said then, and nothing wrong is served."""

    async def main():
        async with Mesh([used]) as mesh:
            await mesh.start()
            with pytest.raises(StoreCorrupt, match=str(used.data_dir)):
                await mesh[0].database.table("scores").get("k")

    async def fill():
        async with Mesh([used]) as mesh:
            await mesh.start()
            for number in range(50):
                await mesh[0].database.table("scores").put("k", os.urandom(2_000) + bytes([number]))

    run(fill())
    damaged = 0
    for path in used.data_dir.glob("*.sst"):
        data = bytearray(path.read_bytes())
        at = data.find(b"scores")
        if at >= 0:
            data[at + 20 : at + 400] = bytes(380)
            path.write_bytes(data)
            damaged += 1
    assert damaged
    try:
        run(main())
    except StoreCorrupt as error:
        # The index is built from the rows: it may be found already when the node starts.
        assert str(used.data_dir) in str(error)  # noqa: PT017


def test_a_store_that_is_in_use(used):
    async def main():
        async with Mesh([used]) as mesh:
            await mesh.start()
            used.config.write_text(settings(used, listen="127.0.0.1:0"))
            err = (await asyncio.to_thread(clikit.run, "node", "run", "--config", used.config, code=2))[1]
            assert err.startswith(f"error: {used.data_dir} is in use by another process -- ")
            assert len(err.splitlines()) == 1
            with pytest.raises(StoreLocked):
                await Mesh([used]).start()
            await mesh[0].database.table("scores").put("still", 1)

    run(main())


# --- port -------------------------------------------------------------------------------------------------


def test_a_port_in_use(place):
    with socket.create_server(("127.0.0.1", place.port)):
        refused(place, f"127.0.0.1:{place.port}", "another process listens", "listen")
        with pytest.raises(AddressInUse):
            run(Mesh([place]).start())
    assert not place.data_dir.exists()


def test_a_port_in_use_leaves_the_store_as_it_was(used):
    with socket.create_server(("127.0.0.1", used.port)):
        refused(used, f"127.0.0.1:{used.port}")


def test_an_address_of_another_machine(place):
    place.config.write_text(settings(place, listen="192.0.2.1:9090"))
    refused(place, "192.0.2.1:9090", "address of this machine")


def test_after_the_remedy_it_runs(used):
    """What was refused before did no harm."""
    edit(used.config, "netuid = 7", "netuid = 8")
    with pytest.raises(StoreForeign):
        run(Mesh([used]).start())
    edit(used.config, "netuid = 8", "netuid = 7")

    async def main():
        async with Mesh([used]) as mesh:
            await mesh.start()
            assert await mesh[0].database.table("scores").get("k") == "v" * 100

    run(main())


# --- disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Gives a place its data directory on a file system of 48 MiB, where the tests may mount one."""
    mounted = []
    monkeypatch.setattr(rocks.RocksStore.__init__, "__kwdefaults__", {"reserve_bytes": 0})

    def mount(place: Place) -> Path:
        place.data_dir.mkdir()
        command = f"mount -t tmpfs -o size=48m tmpfs {place.data_dir} 2>/dev/null"
        if os.geteuid() != 0 or os.system(command) != 0:
            pytest.skip("mounting a small file system needs privileges")
        mounted.append(place.data_dir)
        return place.data_dir

    yield mount
    for path in mounted:
        os.system(f"umount -l {path}")


def fill(path: Path) -> Path:
    """Leave no byte free."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(64 * 1024))
    return ballast


def test_a_full_disk_refuses_writes_and_recovers(tmp_path, small_disk):
    made = places(tmp_path, 2)

    async def main():
        disk = small_disk(made[0])
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            full, other = mesh.nodes
            async with mycelium.connect(made[0].url, made[0].keypair) as remote:
                scores = remote.database.table("scores")
                await scores.put("before", b"1", ack=1)
                ballast = fill(disk)
                refused_at = None
                acked = []
                for number in range(200):
                    try:
                        await scores.put(f"{number}", os.urandom(20_000))
                        acked.append(number)
                    except StoreFull as error:
                        refused_at = str(error)
                        break
                assert refused_at is not None
                assert str(made[0].data_dir) in refused_at
                for _ in range(3):
                    with pytest.raises(StoreFull):
                        await scores.put("more", os.urandom(20_000))
                # What peers send cannot be stored either; that is nobody's fault and ends no session.
                for number in range(20):
                    await other.database.table("scores").put(f"other {number}", os.urandom(20_000))
                await until(lambda: full.metrics.messages_in[4] >= 1, "a push that finds no room")
                assert await scores.get("before") == b"1"
                assert len([row async for row in scores.scan()]) >= 1 + len(acked)
                assert (await remote.status())["rejects"] == {}
                assert len(full.replicator.members()) == 1

                ballast.unlink()
                await scores.put("after", b"2", ack=1)
                for number in acked:
                    assert await scores.get(f"{number}") is not None
            await agreed(mesh.nodes)
            assert await full.database.table("scores").get("other 19") is not None
            assert await other.database.table("scores").get("after") == b"2"

    run(main())


def test_the_reserve_refuses_before_the_disk_is_full(tmp_path, monkeypatch):
    made = places(tmp_path, 2)
    free = [10**12]
    monkeypatch.setattr(rocks, "_free_bytes", lambda _: free[0])
    monkeypatch.setattr(rocks, "_SPACE_CHECK_BYTES", 0)

    async def main():
        async with Mesh(made) as mesh:
            await mesh.start()
            await mesh.connected()
            scores = mesh[0].database.table("scores")
            await scores.put("before", 1, ack=1)
            free[0] = 1_000_000
            with pytest.raises(StoreFull, match="writes are refused until"):
                await scores.put("refused", 1)
            assert await scores.get("before") == 1
            free[0] = 10**12
            await scores.put("after", 1, ack=1)
            await agreed(mesh.nodes)
            assert [row.key async for row in mesh[1].database.table("scores").scan()] == ["after", "before"]

    run(main())


def test_a_new_node_needs_room(place, monkeypatch):
    monkeypatch.setattr(rocks, "_free_bytes", lambda _: 1000)
    with pytest.raises(StoreFull):
        run(Mesh([place]).start())
    assert not place.data_dir.exists()
