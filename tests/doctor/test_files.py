"""Checks of files: hotkey, wallet, configuration, data directory, and the store's checksums."""

import os
import subprocess
import sys
from pathlib import Path

import kit
import pytest

from mycelium.database.rocks import RocksStore
from mycelium.database.store import Column
from mycelium.doctor import files
from mycelium.doctor.finding import Verdict
from mycelium.identity import wallet as wallets
from mycelium.node.settings import IdentitySettings, Settings

OK, WARN, FAIL, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED


@pytest.fixture
def wallet(tmp_path):
    """Settings of a hotkey in a wallet as Bittensor makes it."""
    folder = tmp_path / "wallets/w/hotkeys"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent, folder.parent.parent):
        place.chmod(0o700)
    wallets.write_file(folder / "h", kit.keypair("h"))
    return IdentitySettings("w", "h", tmp_path / "wallets")


def test_the_hotkey(wallet):
    assert files.hotkey(wallet).verdict is OK
    wallet.file.chmod(0o640)
    found = files.hotkey(wallet)
    assert (found.verdict, found.remedy) == (FAIL, f"chmod 600 {wallet.file}")
    wallet.file.unlink()
    found = files.hotkey(wallet)
    assert found.verdict is FAIL
    assert "there is no hotkey at" in found.found


def test_a_hotkey_in_the_environment(monkeypatch):
    identity = IdentitySettings(seed_env="SEED_OF_MINE")
    assert files.hotkey(identity).verdict is FAIL
    monkeypatch.setenv("SEED_OF_MINE", "5e" * 32)
    assert files.hotkey(identity).verdict is OK
    assert files.wallet(identity).verdict is SKIPPED
    found = files.secrets_in_environment(os.environ, identity)
    assert found.verdict is WARN
    assert "5e5e" not in found.found
    assert files.secrets_in_environment({}, identity).verdict is OK


def test_the_wallet(wallet, tmp_path):
    assert files.wallet(wallet).verdict is OK
    (tmp_path / "wallets/w/coldkeypub.txt").touch()
    assert files.wallet(wallet).verdict is OK
    (tmp_path / "wallets/w/coldkey").touch()
    assert files.wallet(wallet).verdict is WARN
    (tmp_path / "wallets/w").chmod(0o770)
    found = files.wallet(wallet)
    assert (found.verdict, found.remedy) == (FAIL, f"chmod 700 {tmp_path / 'wallets/w'}")
    assert files.wallet(IdentitySettings("w", "h", tmp_path / "no")).verdict is FAIL
    assert files.wallet(IdentitySettings(key_file=tmp_path / "k")).verdict is SKIPPED


def test_the_configuration(tmp_path):
    path = tmp_path / "node.toml"
    path.touch(0o644)
    path.chmod(0o644)
    assert files.configuration_file(path).verdict is OK
    assert files.configuration_file(path, secrets=True).verdict is FAIL
    path.chmod(0o600)
    assert files.configuration_file(path, secrets=True).verdict is OK
    path.chmod(0o622)
    assert files.configuration_file(path).verdict is FAIL


def settings_at(tmp_path, netuid=7):
    (tmp_path / "node.toml").write_text(
        f'[node]\ndata_dir = "data"\n[identity]\nkey_file = "k"\n[network]\nnetuid = {netuid}\n'
        f'genesis = "{"2f" * 32}"\n[membership]\nfile = "m"\n[tables.t]\nmerge = "lww"\n'
    )
    return Settings.load(tmp_path / "node.toml")


def test_the_data_directory(tmp_path):
    account = kit.keypair("h").account
    settings = settings_at(tmp_path)
    assert "first start" in files.data_dir(settings, account).found
    settings.data_dir.mkdir()
    assert files.data_dir(settings, account).verdict is OK
    (settings.data_dir / "thesis.txt").touch()
    assert files.data_dir(settings, account).verdict is FAIL
    (settings.data_dir / "MYCELIUM").write_text("A Mycelium data directory.\nnetuid 8\n")
    found = files.data_dir(settings, account)
    assert found.verdict is FAIL
    assert "belongs to netuid 8, not to 7" in found.found
    assert files.data_dir(settings_at(tmp_path, 8), None).verdict is OK
    (settings.data_dir / "MYCELIUM").write_text("A Mycelium data directory.\naccount 5F\n")
    assert "belongs to account 5F" in files.data_dir(settings, account).found


def test_a_data_directory_that_is_a_file(tmp_path):
    settings = settings_at(tmp_path)
    settings.data_dir.touch()
    assert files.data_dir(settings, None).verdict is FAIL


def store_at(path, rows=2000):
    store = RocksStore(path)
    batch = store.batch()
    for number in range(rows):
        batch.put(b"%d" % number, os.urandom(200), store.column(Column.LIVE))
    store.commit(batch)
    store.sync()
    return store


def test_a_store_that_is_whole(tmp_path):
    assert files.integrity(tmp_path / "data", "the store").verdict is SKIPPED
    store_at(tmp_path / "data").close()
    before = {path.name for path in (tmp_path / "data").iterdir() if path.suffix == ".sst"}
    seen = []
    found = files.integrity(tmp_path / "data", "the store", seen.append)
    assert (found.verdict, found.found) == (OK, "2,000 rows of the store read, every checksum right")
    assert before == {path.name for path in (tmp_path / "data").iterdir() if path.suffix == ".sst"}
    RocksStore(tmp_path / "data").close()


def test_rows_that_are_only_in_the_log_are_read_too(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests/doctor'); import os, pathlib, test_files as t; "
        f"t.store_at(pathlib.Path({str(tmp_path / 'data')!r}), 10); os._exit(9)"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root}/tests"},
        check=False,
    )
    assert done.returncode == 9
    assert files.integrity(tmp_path / "data", "the store").found.startswith("10 rows")


def test_a_store_with_a_flipped_bit(tmp_path):
    store_at(tmp_path / "data").close()
    (table, *_) = sorted((tmp_path / "data").glob("*.sst"), key=lambda path: -path.stat().st_size)
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    found = files.integrity(tmp_path / "data", "the store")
    assert found.verdict is FAIL
    assert "is damaged" in found.found
    assert "mycelium restore" in found.remedy


def test_a_store_that_lost_a_file(tmp_path):
    store_at(tmp_path / "data").close()
    (table, *_) = sorted((tmp_path / "data").glob("*.sst"), key=lambda path: -path.stat().st_size)
    table.unlink()
    assert files.integrity(tmp_path / "data", "the store").verdict is FAIL


def test_a_store_that_another_process_has_open(tmp_path):
    data = tmp_path / "data"
    code = (
        "import pathlib, sys; from mycelium.database.rocks import RocksStore; "
        f"store = RocksStore(pathlib.Path({str(data)!r})); print('open', flush=True); sys.stdin.read(); store.close()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout.readline() == b"open\n"
        found = files.integrity(data, "the store")
        assert found.verdict is FAIL
        assert "does not answer as a node" in found.found
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
    assert files.integrity(data, "the store").verdict is OK
