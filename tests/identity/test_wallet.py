"""Hotkeys in wallets, files and the environment: every shape found in the field, every mistake with its remedy."""

import json
import os
import stat

import pytest
import sr25519

from mycelium.errors import ConfigError, KeyFileError
from mycelium.identity import account, wallet
from mycelium.identity.keys import Keypair

PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
PAIR = Keypair.from_phrase(PHRASE)
OTHER_SEED = bytes(range(32)).hex()
OTHER = Keypair.from_seed(bytes(range(32)))
OTHER_PRIVATE = sr25519.pair_from_seed(bytes(range(32)))[1].hex()


def put(path, content, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(mode)
    return path


def fields(pair, **secret):
    public = "0x" + pair.account.hex()
    return {
        "ss58Address": account.format(pair.account),
        "accountId": public,
        "publicKey": public,
        "cryptoType": 1,
        **secret,
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            fields(OTHER, secretSeed="0x" + OTHER_SEED, privateKey="0x" + OTHER_PRIVATE, secretPhrase=None),
            OTHER,
        ),
        (fields(OTHER, secretSeed=None, privateKey="0x" + OTHER_PRIVATE), OTHER),
        (fields(PAIR, secretPhrase=PHRASE), PAIR),
        (fields(PAIR, secretPhrase=PHRASE, secretSeed="", privateKey=None), PAIR),
        ({"secretSeed": OTHER_SEED}, OTHER),
        (OTHER_SEED.encode(), OTHER),
        (f"0x{OTHER_SEED}\n".encode(), OTHER),
        (OTHER_PRIVATE.encode(), OTHER),
        (f"{PHRASE}\n".encode(), PAIR),
    ],
)
def test_every_shape_of_key_file(tmp_path, content, expected):
    file = put(tmp_path / "default" / "hotkeys" / "hot", content)
    assert wallet.load_file(file) == expected
    assert wallet.load("default", "hot", tmp_path) == expected
    assert wallet.load("default", "hot", str(tmp_path)) == expected


def test_the_home_directory_is_where_wallets_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / ".bittensor" / "wallets" / "w" / "hotkeys" / "h", fields(PAIR, secretPhrase=PHRASE))
    assert wallet.load("w", "h") == PAIR


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"$NACL\x01\x02\xff", "encrypted"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162", "encrypted"),
        (b"gAAAAABk0000000", "encrypted"),
        (b"", "holds no hotkey"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"secretSeed": ', "not JSON"),
        (b"[1, 2]", "words"),
        (b"\xc3\xa9", "not JSON"),
        (b'{"a":' * 10_000, "not JSON"),
        (fields(PAIR), "only the public key"),
        (fields(PAIR, secretSeed="0x12"), "secretSeed is not 32 bytes"),
        (fields(PAIR, secretSeed=12), "secretSeed is not 32 bytes"),
        (fields(PAIR, secretSeed="zz" * 32), "secretSeed is not 32 bytes"),
        (fields(PAIR, privateKey="0x" + OTHER_SEED), "privateKey is not 64 bytes"),
        (fields(PAIR, privateKey="0x" + "ff" * 64), "not an sr25519 key"),
        (fields(PAIR, secretPhrase="bottom drive"), "words"),
        (fields(PAIR, secretPhrase=7), "only the public key"),
        (fields(PAIR, secretSeed=OTHER_SEED), "ss58Address"),
        ({"secretSeed": OTHER_SEED, "publicKey": "0x" + "00" * 32}, "publicKey"),
        ({"secretSeed": OTHER_SEED, "accountId": 5}, "accountId"),
        ({"secretSeed": OTHER_SEED, "cryptoType": 0}, "sr25519"),
        ({"secretSeed": OTHER_SEED, "cryptoType": "x"}, "sr25519"),
        (b" " * 70_000, "70000 bytes"),
    ],
)
def test_what_is_no_hotkey_is_said_with_file_and_remedy(tmp_path, content, said):
    file = put(tmp_path / "w" / "hotkeys" / "h", content)
    with pytest.raises(KeyFileError, match=said) as caught:
        wallet.load("w", "h", tmp_path)
    assert isinstance(caught.value, ConfigError)
    assert str(file) in str(caught.value)
    for secret in (OTHER_SEED, OTHER_PRIVATE, "bottom"):
        assert secret not in str(caught.value)


def test_an_encrypted_hotkey_says_what_to_do(tmp_path):
    with pytest.raises(KeyFileError) as caught:
        wallet.load_file(put(tmp_path / "k", b"$NACL..."))
    assert "password" in caught.value.remedy


def test_missing_names_what_is_there(tmp_path):
    put(tmp_path / "mine" / "hotkeys" / "alpha", b"")
    put(tmp_path / "mine" / "hotkeys" / "alphapub.txt", b"")
    with pytest.raises(KeyFileError, match="no hotkey at") as caught:
        wallet.load("mine", "beta", tmp_path)
    assert "alpha" in caught.value.remedy
    assert "pub.txt" not in caught.value.remedy
    with pytest.raises(KeyFileError) as caught:
        wallet.load("yours", "beta", tmp_path)
    assert "mine" in caught.value.remedy
    with pytest.raises(KeyFileError) as caught:
        wallet.load("yours", "beta", tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in caught.value.remedy
    with pytest.raises(KeyFileError, match="no key file"):
        wallet.load_file(tmp_path / "nothing")


def test_a_directory_is_no_key_file(tmp_path):
    with pytest.raises(KeyFileError, match="not a file"):
        wallet.load_file(tmp_path)


def test_a_file_of_another_user(tmp_path, monkeypatch):
    """Told by the error alone: the tests may run as root, who may read everything."""
    file = put(tmp_path / "k", OTHER_SEED.encode())

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(file), "read_bytes", refuse)
    with pytest.raises(KeyFileError, match=r"cannot read .*k: Permission denied") as caught:
        wallet.load_file(file)
    assert "user who owns it" in caught.value.remedy


@pytest.mark.parametrize("name", ["", ".", "..", "../coldkey", "a/b", "/etc/passwd", "a\x00b"])
def test_names_stay_inside_the_wallet(tmp_path, name):
    put(tmp_path / "coldkey", OTHER_SEED.encode())
    for names in ((name, "h"), ("w", name)):
        with pytest.raises(KeyFileError, match="not the name"):
            wallet.load(*names, tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_readable_key_file_is_warned_about(tmp_path, caplog, mode):
    file = put(tmp_path / "k", OTHER_SEED.encode(), mode)
    assert wallet.load_file(file) == OTHER
    assert f"chmod 600 {file}" in caplog.text
    assert OTHER_SEED not in caplog.text


def test_a_private_key_file_is_not_warned_about(tmp_path, caplog):
    wallet.load_file(put(tmp_path / "k", OTHER_SEED.encode()))
    assert not caplog.records


def test_environment(monkeypatch):
    monkeypatch.setenv("MY_SEED", " 0x" + OTHER_SEED)
    assert wallet.from_env("MY_SEED") == OTHER
    monkeypatch.setenv("MY_SEED", PHRASE)
    assert wallet.from_env("MY_SEED") == PAIR
    for value in ("", "nonsense", OTHER_SEED[:-2]):
        monkeypatch.setenv("MY_SEED", value)
        with pytest.raises(KeyFileError, match="MY_SEED"):
            wallet.from_env("MY_SEED")
    monkeypatch.delenv("MY_SEED")
    with pytest.raises(KeyFileError, match="MY_SEED is not set"):
        wallet.from_env("MY_SEED")


@pytest.mark.parametrize("pair", [OTHER, Keypair.development("//Alice")])
def test_written_files_are_private_and_read_back(tmp_path, pair, caplog):
    file = tmp_path / "key"
    before = os.umask(0)
    try:
        wallet.write_file(file, pair)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert wallet.load_file(file) == pair
    assert not caplog.records
    content = json.loads(file.read_bytes())
    assert set(content) == {
        "accountId",
        "publicKey",
        "privateKey",
        "secretPhrase",
        "secretSeed",
        "ss58Address",
        "cryptoType",
    }


def test_a_key_is_never_overwritten(tmp_path):
    file = tmp_path / "key"
    wallet.write_file(file, OTHER)
    before = file.read_bytes()
    with pytest.raises(KeyFileError, match="exists"):
        wallet.write_file(file, PAIR)
    assert file.read_bytes() == before
    with pytest.raises(KeyFileError, match="cannot write"):
        wallet.write_file(tmp_path / "nowhere" / "key", PAIR)
