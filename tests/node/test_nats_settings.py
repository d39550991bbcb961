"""The [nats] section of node.toml: defaults, all of it, each mistake by its line, and no secret in any text."""

from __future__ import annotations

import pytest
from nodekit import places

from mycelium.errors import ConfigError
from mycelium.node import logs
from mycelium.node.nats_settings import DEFAULT_URL, Login, NatsSettings, given_urls
from mycelium.node.settings import Settings

ALL = """
[nats]
urls = ["nats://a:4222", "tls://u:hunter22@[::1]:4223"]
user = "bridge"
password_env = "NATS_PASSWORD"
tls_ca = "ca.pem"
tls_cert = "/etc/cert.pem"
tls_key = "key.pem"
monitors = ["http://a:8222"]
system_creds_file = "sys.creds"
accept_unsynced = true
replicas = 3
keep_hours = 0
keep_bytes = 1000000
keep_messages = 5
discard = "new"
duplicate_window_s = 60
snapshot_hours = 0
"""


@pytest.fixture
def load(tmp_path):
    (place,) = places(tmp_path, 1)

    def loaded(section: str) -> Settings:
        place.config.write_text(place.config.read_text() + section)
        return Settings.load(place.config)

    return loaded


@pytest.mark.parametrize("section", ["", "[nats]\n"], ids=["none", "empty"])
def test_without_it_one_server_on_this_machine(load, section):
    found = load(section).nats
    assert found == NatsSettings()
    assert found.urls == (DEFAULT_URL,)
    assert not found.login
    assert not found.accept_unsynced


def test_all_of_it(load, tmp_path):
    found = load(ALL)
    base = found.path.parent
    assert found.nats == NatsSettings(
        urls=("nats://a:4222", "tls://u:hunter22@[::1]:4223"),
        login=Login(user="bridge", password_env="NATS_PASSWORD"),
        tls_ca=base / "ca.pem",
        tls_cert=base.__class__("/etc/cert.pem"),
        tls_key=base / "key.pem",
        monitors=("http://a:8222",),
        system=Login(creds_file=base / "sys.creds"),
        accept_unsynced=True,
        replicas=3,
        keep_hours=None,
        keep_bytes=1_000_000,
        keep_messages=5,
        discard="new",
        duplicate_window_s=60,
        snapshot_hours=None,
    )
    assert "hunter22" not in repr(found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('urls = ["http://a"]', "begins with none of nats://"),
        ('urls = ["nats://"]', "no host"),
        ('urls = ["nats://a:99999"]', "does not parse"),
        ('urls = ["nats://a:1/path"]', "goes on after"),
        ('urls = "nats://a"', "nats.urls is"),
        ('monitors = ["nats://a"]', "begins with none of http://"),
        ('creds_file = "a"\nnkey_file = "b"', "nkey_file is set beside creds_file"),
        ('token_env = "A"\nuser = "b"', "token_env is set beside user"),
        ('password_env = "A"', "nats.user is missing"),
        ('system_password_env = "A"', "nats.system_user is missing"),
        ('tls_cert = "a"', "nats.tls_key is missing"),
        ('tls_key = "a"', "nats.tls_cert is missing"),
        ("replicas = 6", "nats.replicas is 6"),
        ("keep_hours = -1", "nats.keep_hours is -1"),
        ('discard = "both"', "nats.discard is 'both'"),
        ("keep_hours = 1\nduplicate_window_s = 3601", "longer than a stream keeps"),
        ("url = 1", "did you mean 'urls'"),
    ],
    ids=lambda value: value.split(" ")[0] if "=" in value else "",
)
def test_mistakes(load, line, said):
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        load(f"[nats]\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        'urls = ["nats://u:hunter22@"]',
        'urls = ["http://u:hunter22@a"]',
        'urls = ["nats://u:hunter22@a/x"]',
        'urls = ["nats://u:hunter22@a:b"]',
        'user = "u"\npassword_env = "hunter22!"',
        'token_env = "hunter22!"',
    ],
    ids=["host", "scheme", "path", "port", "password", "token"],
)
def test_a_mistake_shows_no_secret(load, line):
    with pytest.raises(ConfigError) as raised:
        load(f"[nats]\n{line}\n")
    assert "hunter22" not in str(raised.value)


def test_secrets_are_known_to_who_hides_them(load, tmp_path):
    settings = load(
        '[nats]\nurls = ["nats://u:swordfish%21@a", "nats://t0kent0ken@b"]\nuser = "bridge"\n'
        'password_env = "NATS_PW"\nsystem_creds_file = "sys.creds"\n'
    )
    seed = "SUAOHJAQXJZXN2DTGUZHWXKZEZQ3QYNZF4H5V2WYKVLKOBVCHWYEQW2W7A"
    (settings.path.parent / "sys.creds").write_text(
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    found = logs.secrets_of(settings, {"NATS_PW": "correct horse"})
    assert {"swordfish!", "swordfish%21", "t0kent0ken", "correct horse", seed} <= found
    assert "u" not in found
    assert not any("-----" in text for text in found)


def test_a_file_of_credentials_that_is_not_there_is_no_secret(load):
    settings = load('[nats]\ncreds_file = "none.creds"\n')
    assert settings.nats.secret_texts({}) == frozenset()


def test_urls_of_an_option():
    assert given_urls("nats://a, tls://b:1,") == ("nats://a", "tls://b:1")
    for wrong in ("", ",", "http://u:hunter22@a", ",".join(["nats://a"] * 65)):
        with pytest.raises(ConfigError) as raised:
            given_urls(wrong)
        assert "hunter22" not in str(raised.value)
        assert "nats://127.0.0.1:4222" in raised.value.remedy
