"""The files of a local network: what is written, what stays when it is used again, what is refused."""

import stat

import pytest

from mycelium.devnet import chainlayout
from mycelium.devnet.layout import TABLES, free_ports, prepare, read_tables
from mycelium.errors import ConfigError
from mycelium.metagraph.membership import StaticSource
from mycelium.node.settings import Settings


def test_settings_and_members_are_what_a_node_reads(tmp_path):
    places = prepare(tmp_path / "net", 3)
    source = StaticSource.load(tmp_path / "net/members.toml")
    members = source.epoch().members
    assert list(members) == [place.keypair.account for place in places]
    assert [member.role for member in members.values()] == ["owner", "validator", "validator"]
    for place in places:
        settings = Settings.load(place.config)
        assert settings.keypair() == place.keypair
        assert settings.url == place.url
        assert members[place.keypair.account].urls == (place.url,)
        assert settings.data_dir == place.data_dir
        assert {(table.name, table.merge) for table in settings.tables.values()} == set(TABLES)
        assert stat.S_IMODE((place.directory / "hotkey.json").stat().st_mode) == 0o600
        assert not place.data_dir.exists()
    assert len({Settings.load(place.config).genesis for place in places}) == 1


def test_used_again_it_keeps_hotkeys_and_network(tmp_path):
    first = prepare(tmp_path / "net", 2)
    (first[0].data_dir).mkdir()
    genesis = Settings.load(first[0].config).genesis
    time_ms = StaticSource.load(tmp_path / "net/members.toml").genesis_time_ms
    second = prepare(tmp_path / "net", 2)
    assert [place.keypair for place in second] == [place.keypair for place in first]
    assert Settings.load(second[0].config).genesis == genesis
    assert StaticSource.load(tmp_path / "net/members.toml").genesis_time_ms == time_ms
    assert second[0].data_dir.exists()


def test_two_networks_are_two(tmp_path):
    one, other = prepare(tmp_path / "one", 1)[0], prepare(tmp_path / "other", 1)[0]
    assert one.keypair != other.keypair
    assert Settings.load(one.config).genesis != Settings.load(other.config).genesis


def test_refuses_another_size_and_a_directory_that_is_not_its_own(tmp_path):
    prepare(tmp_path / "net", 2)
    with pytest.raises(ConfigError, match="2 nodes, not of 3"):
        prepare(tmp_path / "net", 3)
    (tmp_path / "net/network.json").write_text("{")
    with pytest.raises(ConfigError, match=r"network\.json"):
        prepare(tmp_path / "net", 2)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        prepare(tmp_path, 2)
    with pytest.raises(ConfigError, match="Not a directory"):
        prepare(tmp_path / "file/net", 2)


def test_ports_are_distinct_and_below_those_of_clients():
    ports = free_ports(64)
    assert len(set(ports)) == 64
    assert all(10_240 <= port < 65_536 for port in ports)


TABLES_FILE = '[tables.mine]\nmerge = "append"\nspace = "aside"\n'


def test_tables_of_a_file_take_the_place_of_ours(tmp_path):
    (tmp_path / "tables.toml").write_text(TABLES_FILE)
    tables = read_tables(tmp_path / "tables.toml")
    for places in (
        prepare(tmp_path / "static", 1, tables=tables),
        chainlayout.prepare(tmp_path / "chain", 1, tables=tables).nodes,
    ):
        found = Settings.load(places[0].config).tables
        assert [(table.name, table.merge, table.space) for table in found.values()] == [
            ("mine", "append", "aside")
        ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one"),
        ("[tables]\n", "no table is declared"),
        ('[tables.mine]\nmerge = "best"\n', "tables.mine.merge"),
        (TABLES_FILE + "[node]\n", "node"),
        ('[tables.mine]\nmerge = "lww"\nspace = "sys"\n', "the network's own"),
        ("[tables", "end of a table declaration"),
    ],
    ids=list("abcdef"),
)
def test_what_is_no_file_of_tables_is_said_before_anything_is_written(tmp_path, text, said):
    (tmp_path / "tables.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_tables(tmp_path / "tables.toml")
    with pytest.raises(ConfigError):
        read_tables(tmp_path / "none.toml")
