"""The [fleet] section: what it means, and that each mistake is named with its remedy."""

from __future__ import annotations

import pytest

from mycelium.config.fleet import FLEET_LEASE_MS, FLEET_SLOTS
from mycelium.errors import ConfigError
from mycelium.node.settings import Settings

BASE = """
[node]
data_dir = "data"
[identity]
wallet = "w"
hotkey = "h"
[network]
netuid = 64
[chain]
network = "test"
[tables.scores]
merge = "lww"
[tables.aside]
merge = "lww"
space = "other"
"""


def parsed(tmp_path, text, nats="[nats]\n"):
    path = tmp_path / "node.toml"
    path.write_text(BASE + nats + text)
    return Settings.load(path)


def test_without_the_section_a_node_is_alone(tmp_path):
    settings = parsed(tmp_path, "", nats="")
    assert (settings.fleet, settings.held) == (None, None)


def test_what_is_not_said_has_a_default(tmp_path):
    settings = parsed(tmp_path, '[fleet]\nid = "a"\n')
    fleet = settings.fleet
    assert (fleet.id, fleet.url, fleet.lease_ms) == ("a", "", FLEET_LEASE_MS)
    assert settings.held == fleet.holds == {"main", "other", "sys"}
    assert [fleet.slots_of(space) for space in ("main", "other", "sys")] == [FLEET_SLOTS, FLEET_SLOTS, 1]


def test_everything_is_read(tmp_path):
    text = (
        '[fleet]\nid = "eu-1_x"\nholds = ["other"]\nurl = "ws://10.0.0.1:9090"\nlease_ms = 5000\nshards = 4\n'
        "[fleet.spaces.other]\nshards = 1\n"
    )
    fleet = parsed(tmp_path, text).fleet
    assert (fleet.id, fleet.url, fleet.lease_ms) == ("eu-1_x", "ws://10.0.0.1:9090", 5000)
    assert fleet.holds == {"other", "sys"}
    assert [fleet.slots_of(space) for space in ("main", "other", "sys")] == [4, 1, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fleet]\n", "fleet.id is missing"),
        ('[fleet]\nid = "A"\n', "no name has"),
        ('[fleet]\nid = "-a"\n', "no name has"),
        (f'[fleet]\nid = "{"a" * 33}"\n', "1 to 32 characters"),
        (
            '[fleet]\nid = "a"\nholds = ["main", "nothing"]\n',
            "'nothing' -- name spaces of declared tables: main, other",
        ),
        ('[fleet]\nid = "a"\nurl = "http://h:1"\n', "no address of a node"),
        ('[fleet]\nid = "a"\nurl = "ws://u:secret@h:1"\n', "a password in it"),
        ('[fleet]\nid = "a"\nlease_ms = 10\n', "lease_ms is 10 -- write a whole number from 500"),
        ('[fleet]\nid = "a"\nshards = 0\n', "shards is 0"),
        ('[fleet]\nid = "a"\n[fleet.spaces.nothing]\nshards = 1\n', "shards is of 'nothing'"),
        ('[fleet]\nid = "a"\n[fleet.spaces.sys]\nshards = 2\n', "sys, which is never divided"),
        ('[fleet]\nid = "a"\nlaese_ms = 10\n', "lease_ms"),
        ('[rotation]\n[fleet]\nid = "a"\n', "at one address"),
    ],
    ids=range(13),
)
def test_a_mistake_is_named(tmp_path, text, said):
    with pytest.raises(ConfigError) as error:
        parsed(tmp_path, text)
    assert said in str(error.value).replace("\n  ", " -- ")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("listen", ["0.0.0.0:9090", "[::]:9090"], ids=["4", "6"])
def test_a_node_that_listens_everywhere_says_where_others_dial_it(tmp_path, listen):
    path = tmp_path / "node.toml"
    text = BASE.replace("[identity]", f'listen = "{listen}"\n[identity]') + '[nats]\n[fleet]\nid = "a"\n'
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"fleet.url is missing[\s\S]*listens on all addresses"):
        Settings.load(path)
    path.write_text(text + 'url = "ws://10.0.0.1:9090"\n')
    assert Settings.load(path).fleet.url == "ws://10.0.0.1:9090"


def test_it_needs_nats(tmp_path):
    with pytest.raises(ConfigError, match="writes through NATS"):
        parsed(tmp_path, '[fleet]\nid = "a"\n', nats="")
