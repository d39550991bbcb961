"""Where settings come from: flags before the environment before `.env` before the file before defaults."""

import itertools
import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mycelium.errors import ConfigError
from mycelium.identity.keys import Keypair
from mycelium.node import configuration, options
from mycelium.node.settings import Settings
from mycelium.tomlfile import TomlFile

FILE = """[node]
data_dir = "data"
listen = "127.0.0.1:9191"

[identity]
wallet = "w"
hotkey = "h"

[network]
netuid = 64

[chain]
network = "test"

[tables.scores]
merge = "lww"
"""
EVERYTHING = (
    FILE.replace('wallet = "w"', 'wallet_path = "p"\nwallet = "w"')
    + """
[rotation]
[peers]
"5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY" = ["ws://127.0.0.1:9"]
"""
)


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "node.toml"
    found.write_text(FILE)
    return found


def read(path, environ=None, env_file=None, **flags):
    return configuration.read(
        path, {key.replace("__", "."): text for key, text in flags.items()}, environ or {}, env_file
    )


def origins(found):
    return {value.path: value.origin for value in found.values()}


def values(found):
    return {value.path: value.value for value in found.values()}


def test_the_file_alone(path):
    found = read(path)
    assert found.settings() == Settings.load(path)
    assert origins(found)["node.listen"] == f"{path}:3"
    assert origins(found)["tables.scores.merge"] == f"{path}:16"
    assert origins(found)["tables.scores.space"] == "default"
    assert values(found)["tables.scores.space"] == "main"
    assert found.notes == []


def test_each_place_counts_before_the_next(path, tmp_path):
    env_file = tmp_path / "my.env"
    env_file.write_text("# mine\nNETUID=5\nexport MYCELIUM_NODE_LISTEN='127.0.0.1:5'\n")
    environ = {"MYCELIUM_NETWORK_NETUID": "4"}
    places = {
        "file": (64, f"{path}:10"),
        "env_file": (5, f"{env_file}:2 NETUID"),
        "environ": (4, "environment variable MYCELIUM_NETWORK_NETUID"),
        "flag": (3, "--set network.netuid"),
    }
    for said in itertools.product((False, True), repeat=3):
        env_file_said, environ_said, flag_said = said
        found = read(
            path,
            environ if environ_said else {},
            env_file if env_file_said else None,
            **({"network__netuid": "3"} if flag_said else {}),
        )
        strongest = (
            "flag" if flag_said else "environ" if environ_said else "env_file" if env_file_said else "file"
        )
        assert (values(found)["network.netuid"], origins(found)["network.netuid"]) == places[strongest], said
        assert found.settings().netuid == places[strongest][0]
        assert found.settings().port == (5 if env_file_said else 9191)


@pytest.mark.parametrize(("name", "option"), sorted(options.BY_ALIAS.items()), ids=sorted(options.BY_ALIAS))
def test_every_alias_sets_its_setting(path, name, option):
    text = {"integer": "7", "strings": "ws://127.0.0.1:7"}.get(option.kind, "test")
    found = read(path, {name: text})
    assert origins(found)[option.path] == f"environment variable {name}"
    found.settings()


def test_our_own_name_counts_before_an_alias_and_the_first_alias_before_the_next(path):
    environ = {"MYCELIUM_IDENTITY_HOTKEY": "a", "HOTKEY_NAME": "b", "BT_WALLET_HOTKEY": "c"}
    for expected in ("a", "b", "c"):
        assert values(read(path, environ))["identity.hotkey"] == expected
        del environ[next(iter(environ))]


def test_an_empty_variable_counts_as_none(path):
    assert origins(read(path, {"NETUID": ""}))["network.netuid"] == f"{path}:10"


def test_addresses_of_the_chain(path):
    one, two = "ws://127.0.0.1:1", "ws://127.0.0.1:2"
    for environ, expected in (
        ({"SUBTENSOR_ADDRESS": one, "SUBTENSOR_NETWORK": "finney"}, (one,)),
        ({"BT_CHAIN_ENDPOINT": one, "BT_FALLBACK_ENDPOINTS": two}, (one, two)),
        ({"BT_NETWORK": one}, (one,)),
        ({"MYCELIUM_CHAIN_ENDPOINTS": f"{one}, {two}"}, (one, two)),
        ({"MYCELIUM_CHAIN_ENDPOINTS": f'["{one}"]'}, (one,)),
        ({"MYCELIUM_CHAIN_ENDPOINTS": two, "SUBTENSOR_ADDRESS": one}, (two,)),
    ):
        settings = read(path, environ).settings()
        assert settings.chain.endpoints == expected
        assert settings.chain.network == ""


def test_our_own_names_of_two_that_exclude_each_other_are_a_mistake(path):
    environ = {"MYCELIUM_CHAIN_ENDPOINTS": "ws://127.0.0.1:1", "MYCELIUM_CHAIN_NETWORK": "test"}
    with pytest.raises(
        ConfigError, match=r"variable MYCELIUM_CHAIN_NETWORK: chain.network has no meaning beside"
    ):
        read(path, environ).settings()


def test_a_stronger_place_puts_another_way_of_saying_it_out_of_force(path, tmp_path):
    settings = read(path, {"MYCELIUM_IDENTITY_KEY_FILE": "k"}).settings()
    assert settings.identity.key_file == tmp_path / "k"
    assert settings.identity.wallet == ""
    settings = read(path, {"MYCELIUM_MEMBERSHIP_FILE": "m.toml"}, network__genesis="2f" * 32).settings()
    assert settings.members_file == tmp_path / "m.toml"
    assert settings.chain is None


def test_a_foreign_variable_does_not_change_who_a_node_is(path, tmp_path):
    path.write_text(FILE.replace('wallet = "w"\nhotkey = "h"', 'key_file = "k"'))
    found = read(path, {"WALLET_NAME": "other", "HOTKEY_NAME": "other"})
    assert found.settings().identity.key_file == tmp_path / "k"
    assert found.notes == [
        "environment variable WALLET_NAME is not used: identity.key_file is set",
        "environment variable HOTKEY_NAME is not used: identity.key_file is set",
    ]
    genesis = f'netuid = 64\ngenesis = "{"2f" * 32}"'
    path.write_text(FILE.replace("[chain]\nnetwork", "[membership]\nfile").replace("netuid = 64", genesis))
    found = read(path, {"SUBTENSOR_NETWORK": "finney", "NETUID": "9"})
    assert found.settings().members_file == tmp_path / "test"
    assert found.settings().netuid == 9
    assert found.notes == ["environment variable SUBTENSOR_NETWORK is not used: membership.file is set"]


def test_tables_and_peers_from_outside(path):
    account = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
    found = read(
        path,
        {"MYCELIUM_PEERS": f'{{ "{account}" = ["ws://127.0.0.1:1"] }}'},
        **{"tables__task.results.merge": "append", "tables__task.results.space": "tasks"},
    )
    assert found.settings().tables["task.results"].space == "tasks"
    assert list(found.settings().peers.values()) == [("ws://127.0.0.1:1",)]
    assert origins(found)[f"peers.{account}"] == "environment variable MYCELIUM_PEERS"
    only = read(path, {"MYCELIUM_TABLES": '{ a = { merge = "set" } }'}).settings()
    assert list(only.tables) == ["a"]


def mistakes(found):
    with pytest.raises(ConfigError) as caught:
        found.settings()
    error = caught.value
    return [f"{error.what} -- {error.remedy}"] if error.remedy else error.what.splitlines()


def test_every_mistake_of_every_place_in_one_pass(path):
    path.write_text(FILE.replace("127.0.0.1:9191", "9191").replace('merge = "lww"', 'merge = "lwv"'))
    environ = {
        "NETUID": "many",
        "MYCELIUM_NODE_LISTNE": "x",
        "MYCELIUM_BLACKLIST_CLAIMS": "maybe",
        "MYCELIUM_ROTATION": "x",
    }
    said = mistakes(read(path, environ, chain__epoch_blocks="0", log__levle="info"))
    assert said == [
        "--set log.levle: is not known -- did you mean 'log.level'?",
        "environment variable MYCELIUM_NODE_LISTNE: is not known -- did you mean 'MYCELIUM_NODE_LISTEN'?",
        "environment variable NETUID: network.netuid is 'many' -- write a whole number from 0 to 65535",
        "--set chain.epoch_blocks: chain.epoch_blocks is 0 -- write a whole number from 1 to 1000000",
        "environment variable MYCELIUM_BLACKLIST_CLAIMS: blacklist.claims is 'maybe' -- write true or false",
        f"{path}:3: node.listen is '9191': has no host or no port -- write HOST:PORT, like \"127.0.0.1:9090\"",
        f"{path}:16: tables.scores.merge is 'lwv' -- "
        'write one of "lww", "counter", "set", "append", "own"; did you mean \'lww\'?',
    ]


@pytest.mark.parametrize(
    "name",
    [
        "MYCELIUM_SESSIONS",
        "MYCELIUM_NODE_SERVICE_HOST",
        "MYCELIUM_NODE_SERVICE_PORT_HTTP",
        "MYCELIUM_NODE_PORT",
        "MYCELIUM_NODE_PORT_9090_TCP_ADDR",
    ],
)
def test_variables_of_others_that_look_like_ours(path, name):
    found = read(path, {name: "tcp://10.0.0.1:9090"})
    found.settings()
    assert found.notes == []


def test_a_variable_that_means_nothing_is_said_and_no_mistake(path):
    found = read(path, {"MYCELIUM_IMAGE": "x"})
    found.settings()
    assert found.notes == ["environment variable MYCELIUM_IMAGE means nothing to a node"]


def test_what_means_nothing_in_an_env_file_is_said_with_its_line(path, tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("MYCELIUM_IMAGE=x\n\nMYCELIUM_NODE_LISTNE=x\n")
    found = read(path, {}, env_file)
    assert mistakes(found) == [
        f"{env_file}:3 MYCELIUM_NODE_LISTNE: is not known -- did you mean 'MYCELIUM_NODE_LISTEN'?"
    ]
    assert found.notes == [f"{env_file}:1 MYCELIUM_IMAGE means nothing to a node"]


def test_the_variable_that_holds_the_seed_may_be_called_as_a_setting_is(path):
    path.write_text(FILE.replace('wallet = "w"\nhotkey = "h"', 'seed_env = "MYCELIUM_NODE_SEED"'))
    read(path, {"MYCELIUM_NODE_SEED": "5e" * 32}).settings()


def test_secrets_are_not_among_the_values(path):
    seed = "5e" * 32
    path.write_text(FILE.replace('wallet = "w"\nhotkey = "h"', f'seed_env = "{seed}"'))
    found = read(path, {"MYCELIUM_CHAIN_ENDPOINTS": "wss://me:hunter22@h/v1/KEYKEYKEY"})
    assert values(found)["identity.seed_env"] == "[hidden]"
    assert values(found)["chain.endpoints"] == ["wss://[hidden]@h/..."]
    said = "\n".join(mistakes(found))
    assert "an address carries no user or password" in said
    for secret in (seed, "hunter22", "KEYKEYKEY"):
        assert secret not in said


# --- finding the file ---------------------------------------------------------------------------------------


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match=r"node.toml, .*home/.config/mycelium/config.toml, /etc/mycelium"):
        configuration.locate(None, {})
    in_home = tmp_path / "home/.config/mycelium/config.toml"
    in_home.parent.mkdir(parents=True)
    in_home.touch()
    assert configuration.locate(None, {}) == (in_home, "found")
    (tmp_path / "node.toml").touch()
    assert configuration.locate(None, {}) == (tmp_path / "node.toml", "found")
    named = {"MYCELIUM_CONFIG": "other.toml"}
    assert configuration.locate(None, named) == (tmp_path / "other.toml", "MYCELIUM_CONFIG")
    assert configuration.locate(tmp_path / "x", named) == (tmp_path / "x", "--config")
    assert (
        configuration.default_places({"XDG_CONFIG_HOME": str(tmp_path)})[1]
        == tmp_path / "mycelium/config.toml"
    )


def test_an_env_file_may_name_the_configuration(path, tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text(f"MYCELIUM_CONFIG={path}\nNETUID=3\n")
    found = configuration.read(None, {}, {"MYCELIUM_ENV_FILE": str(env_file)})
    assert found.path == path
    assert found.settings().netuid == 3


def test_a_seed_may_be_in_the_env_file_alone(path, tmp_path, monkeypatch):
    path.write_text(FILE.replace('wallet = "w"\nhotkey = "h"', 'seed_env = "SEED_OF_MINE"'))
    env_file = tmp_path / ".env"
    env_file.write_text(f"SEED_OF_MINE={'5e' * 32}\nOTHER_OF_MINE=x\n")
    monkeypatch.setenv("SEED_OF_MINE", "")
    monkeypatch.delenv("SEED_OF_MINE")
    configuration.read(path, {}, {}, env_file)
    assert "SEED_OF_MINE" not in os.environ
    settings = configuration.load(path, {}, None, env_file)
    assert settings.keypair().account
    assert "OTHER_OF_MINE" not in os.environ
    monkeypatch.setenv("SEED_OF_MINE", "6e" * 32)
    assert configuration.load(path, {}, None, env_file).keypair() != Keypair.from_seed(
        bytes.fromhex("5e" * 32)
    )


def test_no_env_file_is_read_unasked(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("NETUID=3\n")
    assert read(path).settings().netuid == 64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the environment file: No such file"),
        (b"NETUID=3\nthis is prose\n", ":2: is no NAME=VALUE"),
        (b"# mine\n\n\nNETUID=3\n\n  this is prose\n", ":6: is no NAME=VALUE"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_an_env_file_that_is_none(path, tmp_path, content, said):
    env_file = tmp_path / ".env"
    if content is not None:
        env_file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read(path, {}, env_file)


# --- the table of settings ----------------------------------------------------------------------------------


def asked(tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(text)
    file = TomlFile(path, "configuration file")
    Settings.parse(file)
    return file.asked


def test_the_table_has_every_setting_that_is_read_and_no_other(tmp_path):
    """A new setting belongs into `node/options.py`: from there it has its variable, its flag and its documentation."""
    genesis = f'netuid = 64\ngenesis = "0x{"2f" * 32}"'
    members = EVERYTHING.replace('[chain]\nnetwork = "test"', '[membership]\nfile = "m"')
    fleet = EVERYTHING.replace("[rotation]", '[nats]\n[fleet]\nid = "a"\n[fleet.spaces.main]')
    found = asked(tmp_path, EVERYTHING) | asked(tmp_path, members.replace("netuid = 64", genesis))
    replica = re.sub(r"\[identity\]\n(\w+ = .*\n)*", '[replica]\nwrites_at = "ws://a:1"\n', EVERYTHING)
    found |= asked(tmp_path, replica)
    found |= asked(tmp_path, fleet)
    sections = {where for where, (kind, _) in found.items() if kind == "dict"}
    keys = {where: said for where, said in found.items() if where not in sections}
    read_here = set()
    for where, (kind, default) in keys.items():
        option = options.find(".".join(map(str, where)))
        assert option is not None, f"{where} is read and not in options.OPTIONS"
        read_here.add(option.path)
        expected = {"str": "text", "int": "integer", "bool": "flag", "list": "strings"}[kind]
        assert option.kind == expected, option.path
        if option.default != options.REQUIRED:
            assert (option.default or None) == (default or None), f"{option.path}: its default is {default!r}"
        else:
            assert default is None, option.path
    declared = {option.path for option in options.OPTIONS if option.kind != options.TABLE}
    assert declared == read_here, "in options.OPTIONS and read nowhere"
    tables = {option.path for option in options.OPTIONS if option.kind == options.TABLE}
    assert tables <= {".".join(where) for where in sections}


def test_no_two_settings_have_a_variable_in_common():
    names = [
        name for option in options.OPTIONS for name in (option.variable, *option.aliases) if name
    ] + list(options.PROGRAM_VARIABLES)
    assert len(names) == len(set(names))


def test_the_table_is_in_the_order_of_sections_and_says_what_each_means():
    sections = [option.section for option in options.OPTIONS]
    assert [key for key, _ in itertools.groupby(sections)] == list(options.SECTIONS)
    for option in options.OPTIONS:
        assert option.meaning.endswith("."), option.path
        assert len(option.meaning) <= 120, option.path


@given(
    st.text(max_size=40), st.sampled_from([option for option in options.OPTIONS if "*" not in option.path])
)
@example("0", next(option for option in options.OPTIONS if option.kind == options.TABLE))
def test_text_of_any_kind_is_a_value_or_stays_text(text, option):
    found = configuration.convert(option, text)
    kinds = {"text": str, "integer": int, "flag": bool, "strings": list, "table": dict}
    assert isinstance(found, (kinds[option.kind], str))
