"""The [admin] section: what it says when it is left out, and each mistake with its line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.errors import ConfigError
from mycelium.node import admin_settings
from mycelium.node.admin_settings import AdminSettings, is_loopback
from mycelium.tomlfile import TomlFile


def parsed(tmp_path: Path, text: str) -> AdminSettings:
    path = tmp_path / "node.toml"
    path.write_text(text)
    file = TomlFile(path, "configuration file")
    found = admin_settings.parse(file.root.section("admin", "an [admin] section", required=False), tmp_path)
    file.root.finish()
    file.check()
    return found


def test_left_out(tmp_path):
    assert parsed(tmp_path, "") == AdminSettings(True, "127.0.0.1", 9091, False, None, frozenset())


def test_everything(tmp_path):
    text = '[admin]\nenabled = false\nlisten = "0.0.0.0:0"\ntoken_file = "t"\nhosts = ["Node1.Example"]\n'
    assert parsed(tmp_path, text) == AdminSettings(
        False, "0.0.0.0", 0, True, tmp_path / "t", frozenset({"node1.example"})
    )


@pytest.mark.parametrize("listen", ["127.0.0.1:9091", "localhost:1", "[::1]:9091", "127.3.2.1:0"])
def test_this_machine_needs_no_token(tmp_path, listen):
    assert parsed(tmp_path, f'[admin]\nlisten = "{listen}"\n').chosen


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('listen = "0.0.0.0:9091"', "0.0.0.0 can be reached from other machines"),
        ('listen = "[::]:9091"', ":: can be reached"),
        ('listen = "192.168.1.7:9091"', "can be reached"),
        ('listen = "node1.example:9091"', "can be reached"),
        ('listen = "9091"', "has no host or no port"),
        ('listen = "127.0.0.1:99999"', "0 to 65535"),
        ("listen = 9091", "admin.listen is 9091"),
        ('lisen = "127.0.0.1:1"', "did you mean 'listen'"),
        ("enabled = 1", "write true or false"),
        ("hosts = [1]", "admin.hosts"),
        ("token_file = 7", "admin.token_file is 7"),
    ],
)
def test_mistakes(tmp_path, line, said):
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, f"[admin]\n{line}\n")
    assert said in str(caught.value)
    assert "node.toml:2: " in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected
