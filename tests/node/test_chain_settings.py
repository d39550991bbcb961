"""[chain] in node.toml: defaults, and one clear line for each way to get it wrong."""

import pytest

from mycelium.chain import networks
from mycelium.errors import ConfigError
from mycelium.identity import account as accounts
from mycelium.node.settings import Settings

OBSERVER = accounts.format(bytes(range(32)))
HEAD = """[node]
data_dir = "data"
[identity]
seed_env = "NODE_SEED"
[network]
netuid = 64
[tables.scores]
merge = "lww"
"""


def load(tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(HEAD + text)
    return Settings.load(path)


def mistakes(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_the_chain_is_the_default(tmp_path):
    settings = load(tmp_path, "")
    assert settings.members_file is None
    assert settings.genesis is None
    assert settings.chain.network == networks.DEFAULT == "finney"
    assert settings.chain.endpoints == networks.endpoints("finney")
    assert settings.chain.stake_min_rao == 1000 * 10**9
    assert settings.chain.epoch_blocks == 360
    assert settings.chain.observers == frozenset()
    assert settings.chain.change_percent_max == 50
    assert settings.chain.outage_max_s == 3000


def test_every_setting(tmp_path):
    text = f"""[chain]
endpoints = ["ws://127.0.0.1:9944", "wss://other.example"]
archive = ["wss://archive.example:443"]
stake_min_tao = "0.5"
epoch_blocks = 100
observers = ["{OBSERVER}"]
change_percent_max = 20
outage_max_s = 60
"""
    chain = load(tmp_path, text).chain
    assert chain.endpoints == ("ws://127.0.0.1:9944", "wss://other.example")
    assert chain.network == ""
    assert chain.archive == ("wss://archive.example:443",)
    assert chain.stake_min_rao == 5 * 10**8
    assert chain.epoch_blocks == 100
    assert chain.observers == {bytes(range(32))}
    assert (chain.change_percent_max, chain.outage_max_s) == (20, 60)


def test_members_from_a_file_and_from_the_chain_exclude_each_other(tmp_path):
    text = '[membership]\nfile = "m.toml"\n'
    assert "network.genesis is missing" in mistakes(tmp_path, text)
    assert "remove one of the two" in mistakes(tmp_path, text + '[chain]\nnetwork = "test"\n')


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('network = "fini"', "finney"),
        (
            'network = "test"\nendpoints = ["ws://127.0.0.1:1"]',
            "chain.network has no meaning beside endpoints",
        ),
        ('endpoints = ["http://a:1"]', "chain.endpoints is 'http://a:1': not a WebSocket address"),
        ('endpoints = ["ws://user:secret@a:1"]', "an address carries no user or password"),
        ('archive = "wss://a"', "chain.archive is"),
        ("stake_min_tao = 1000", "chain.stake_min_tao is 1000"),
        ('stake_min_tao = "1.0000000001"', "chain.stake_min_tao is"),
        ("epoch_blocks = 0", "chain.epoch_blocks is 0"),
        ('observers = ["5xyz"]', "chain.observers is wrong"),
        ("change_percent_max = 101", "chain.change_percent_max is 101"),
        ("outage_max_s = 3600", "chain.outage_max_s is 3600"),
        ("outagemax_s = 3", "did you mean 'outage_max_s'?"),
    ],
)
def test_each_mistake_is_named(tmp_path, line, expected):
    assert expected in mistakes(tmp_path, f"[chain]\n{line}\n")
