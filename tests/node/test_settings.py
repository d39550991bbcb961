"""node.toml: defaults, paths, and one clear line for each way to get it wrong."""

from pathlib import Path

import pytest

from mycelium.errors import ConfigError, KeyFileError
from mycelium.identity import account as accounts
from mycelium.identity.keys import Keypair
from mycelium.node.settings import Settings, listen_url, parse_listen

CLIENT = accounts.format(bytes(range(32)))

GOOD = f"""[node]
data_dir = "data"
listen = "127.0.0.1:9191"

[identity]
seed_env = "NODE_SEED"

[network]
netuid = 64
genesis = "0x{"2f" * 32}"

[membership]
file = "../members.toml"

[tables.scores]
merge = "lww"

[tables."task.results"]
merge = "append"
space = "tasks"

[auth]
mode = "signed"
clients = ["{CLIENT}"]
"""


def write(tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def mistakes(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Settings.load(path)
    return str(caught.value).replace(f"{path}:", "L")


def test_reads_every_setting(tmp_path):
    settings = Settings.load(write(tmp_path, GOOD))
    assert settings.data_dir == tmp_path / "data"
    assert (settings.host, settings.port) == ("127.0.0.1", 9191)
    assert settings.url == "ws://127.0.0.1:9191"
    assert settings.netuid == 64
    assert settings.genesis == b"\x2f" * 32
    assert settings.members_file == tmp_path.parent / "members.toml"
    assert settings.tables["scores"].space == "main"
    assert settings.tables["task.results"].merge == "append"
    assert settings.tables["task.results"].space == "tasks"
    assert settings.auth_mode == "signed"
    assert settings.clients == {bytes(range(32))}


def test_defaults(tmp_path):
    text = GOOD.split("[auth]")[0].replace('listen = "127.0.0.1:9191"\n', "")
    settings = Settings.load(write(tmp_path, text))
    assert (settings.host, settings.port) == ("127.0.0.1", 9090)
    assert settings.auth_mode == "session"
    assert settings.clients == frozenset()


def test_relative_paths_start_at_the_file_and_not_at_the_working_directory(tmp_path, monkeypatch):
    folder = tmp_path / "conf"
    folder.mkdir()
    write(folder, GOOD)
    monkeypatch.chdir(tmp_path)
    assert Settings.load("conf/node.toml").data_dir == folder / "data"


def test_absolute_and_home_paths_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = GOOD.replace('"data"', '"~/data"').replace("../members.toml", "/etc/members.toml")
    settings = Settings.load(write(tmp_path, text))
    assert settings.data_dir == tmp_path / "home/data"
    assert settings.members_file == Path("/etc/members.toml")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('data_dir = "data"\n', "", "L1: node.data_dir is missing"),
        ('data_dir = "data"', "data_dir = 7", "L2: node.data_dir is 7\n  write a directory"),
        ('data_dir = "data"', 'data_dir = ""', "L2: node.data_dir is empty"),
        (
            'data_dir = "data"',
            'datadir = "data"',
            "L2: node.datadir is not known -- did you mean 'data_dir'?",
        ),
        ("127.0.0.1:9191", "9191", "L3: node.listen is '9191': has no host or no port"),
        ("127.0.0.1:9191", "127.0.0.1:x", "L3: node.listen is '127.0.0.1:x': the port is not"),
        ("127.0.0.1:9191", "127.0.0.1:70000", "the port is not a number from 0 to 65535"),
        ("127.0.0.1:9191", "::1:9191", "an IPv6 address is written in [brackets]"),
        ("127.0.0.1:9191", "a b:9191", "the host is neither a name nor an address"),
        ("[network]\n", "[networks]\n", "network is missing"),
        ("netuid = 64", "netuid = 65536", "L9: network.netuid is 65536"),
        ("netuid = 64", 'netuid = "64"', "L9: network.netuid is '64'"),
        ("2f" * 32, "2f" * 31, "L10: network.genesis is"),
        ("2f" * 32, "2g" * 32, "not 64 hex digits"),
        ('file = "../members.toml"', "", "L12: membership.file is missing"),
        ('merge = "lww"', 'merge = "lvw"', "did you mean 'lww'?"),
        ('merge = "lww"', "", "tables.scores.merge is missing"),
        (
            'merge = "lww"',
            'merge = "lww"\nspce = "x"',
            "tables.scores.spce is not known\n  did you mean 'space'?",
        ),
        ('space = "tasks"', 'space = "Tasks"', "L20: tables.task.results.space is 'Tasks'"),
        ("[tables.scores]", "[tables.Scores]", "L15: tables.Scores is no table name"),
        ("[tables.scores]", "[tables]\nother = 3\n[tables.scores]", "tables.other is 3"),
        ('mode = "signed"', 'mode = "sign"', "auth.mode is 'sign'"),
        (CLIENT, CLIENT[:-1] + "1", "auth.clients is wrong"),
        (f'clients = ["{CLIENT}"]', f'clients = "{CLIENT}"', "auth.clients is"),
        ('seed_env = "NODE_SEED"', "", "L5: [identity] names no hotkey"),
        ("[identity]\n", '[identity]\nkey_file = "k"\n', "names more than one hotkey (key_file, seed_env)"),
        ('seed_env = "NODE_SEED"', 'wallet = "w"', "L5: identity.hotkey is missing"),
        ('seed_env = "NODE_SEED"', 'hotkey = "w"', "L5: identity.wallet is missing"),
        (
            "[identity]\n",
            '[identity]\nwallet_path = "w"\n',
            "L6: identity.wallet_path has no meaning beside seed_env",
        ),
    ],
)
def test_each_mistake_names_key_line_and_remedy(tmp_path, old, new, expected):
    assert old in GOOD
    assert expected in mistakes(tmp_path, GOOD.replace(old, new))


def test_no_tables(tmp_path):
    text = GOOD.replace('[tables.scores]\nmerge = "lww"\n', "").replace(
        '[tables."task.results"]\nmerge = "append"\nspace = "tasks"\n', "[tables]\n"
    )
    assert "no table is declared" in mistakes(tmp_path, text)


def test_all_mistakes_in_one_pass(tmp_path):
    text = GOOD.replace("9191", "x").replace("64", "-1", 1).replace('"signed"', '"no"').replace("lww", "lw")
    lines = mistakes(tmp_path, text).splitlines()
    assert [line.split(":")[0] for line in lines] == ["L3", "L9", "L16", "L23"]


def test_a_secret_put_in_the_wrong_place_is_not_printed(tmp_path):
    seed = "5e" * 32
    text = mistakes(tmp_path, GOOD.replace('seed_env = "NODE_SEED"', f'seed_env = "0x{seed}"'))
    assert "seed_env is not the name of a variable" in text
    assert seed not in text
    text = mistakes(tmp_path, GOOD.replace('seed_env = "NODE_SEED"', f'seed = "0x{seed}"'))
    assert "identity.seed is not known\n" in text or "identity.seed is not known --" in text
    assert seed not in text


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        Settings.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="is a directory"):
        Settings.load(tmp_path)
    path = write(tmp_path, "")
    path.write_bytes(b"[node]\nname = '\xff'\n")
    with pytest.raises(ConfigError, match=r":2: is not UTF-8"):
        Settings.load(path)


def test_syntax_error_names_the_line(tmp_path):
    assert mistakes(tmp_path, "[node]\ndata_dir =\n").startswith("L2: ")


def test_keypair_from_each_source(tmp_path, monkeypatch):
    keypair = Keypair.from_seed(b"s" * 32)
    monkeypatch.setenv("NODE_SEED", "0x" + (b"s" * 32).hex())
    assert Settings.load(write(tmp_path, GOOD)).keypair().account == keypair.account
    monkeypatch.delenv("NODE_SEED")
    with pytest.raises(KeyFileError, match="NODE_SEED"):
        Settings.load(write(tmp_path, GOOD)).keypair()
    text = GOOD.replace('seed_env = "NODE_SEED"', 'key_file = "hot.json"')
    with pytest.raises(KeyFileError, match=r"hot\.json"):
        Settings.load(write(tmp_path, text)).keypair()
    text = GOOD.replace('seed_env = "NODE_SEED"', 'wallet = "w"\nhotkey = "h"\nwallet_path = "ws"')
    with pytest.raises(KeyFileError, match="ws/w/hotkeys/h"):
        Settings.load(write(tmp_path, text)).keypair()


def test_where_to_be_reached_and_rotation(tmp_path):
    head = GOOD.replace(
        'listen = "127.0.0.1:9191"', 'advertise = ["203.0.113.7", "2001:db8::1"]\nbootstrap = ["ws://a:1"]'
    )
    found = Settings.load(write(tmp_path, head + '[rotation]\nrange = "9000-9003"\n'))
    assert found.advertise == ("203.0.113.7", "2001:db8::1")
    assert found.bootstrap == ("ws://a:1",)
    assert (list(found.rotation.ports), found.rotation.enabled) == ([9000, 9001, 9002, 9003], True)
    assert (found.rotation.period_ms, found.rotation.overlap_ms) == (14_400_000, 600_000)
    assert found.uplink_mbit == 100
    assert (
        Settings.load(write(tmp_path, GOOD.replace("listen =", "uplink_mbit = 9\nlisten ="))).uplink_mbit == 9
    )
    none = Settings.load(write(tmp_path, GOOD.replace("listen =", "advertise = []\nlisten =")))
    assert (none.advertise, none.bootstrap, none.rotation) == ((), (), None)
    assert Settings.load(write(tmp_path, GOOD)).advertise is None
    text = GOOD + "[rotation]\nperiod_s = 600\nenabled = false\n"
    asked = Settings.load(write(tmp_path, text)).rotation
    assert (asked.enabled, asked.overlap_ms) == (False, 300_000)
    assert list(asked.ports) == list(range(9090, 9101))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ('range = "9090"', "rotation.range is '9090': not two ports"),
        ('range = "9100-9090"', "a range has 2 to 1024 ports"),
        ('range = "9090-9090"', "a range has 2 to 1024 ports"),
        ('range = "1-70000"', "a range has 2 to 1024 ports"),
        ('range = "80-90"', "ports are from 1024 to 65535"),
        ('range = "65000-65536"', "ports are from 1024 to 65535"),
        ('range = "-"', "not two ports"),
        ('range = "9090-\u0661"', "not two ports"),
        ("range = 9090", "rotation.range is 9090"),
        ("period_s = 1", "rotation.period_s is 1\n  write a whole number from 60"),
        ("period_s = 600\noverlap_s = 600", "rotation.overlap_s is 600, no less than period_s"),
        ('enabled = "yes"', "rotation.enabled is 'yes'\n  write true or false"),
        ("enabled = 1", "rotation.enabled is 1\n  write true or false"),
        ("ports = 1", "rotation.ports is not known"),
    ],
    ids=str,
)
def test_mistakes_in_rotation(tmp_path, section, expected):
    assert expected in mistakes(tmp_path, GOOD + f"[rotation]\n{section}\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('advertise = ["ws://a:1"]', "node.advertise"),
        ('advertise = ["a b"]', "write a host alone"),
        ('advertise = "a"', "a list of hosts"),
        ('advertise = ["a", "b", "c", "d", "e"]', "node.advertise has 5 hosts\n  name 4"),
        ('bootstrap = ["a"]', "node.bootstrap"),
        ("uplink_mbit = 0", "node.uplink_mbit is 0"),
        ('bootstrap = ["http://a:1"]', 'write it like "ws://203.0.113.7:9090"'),
    ],
)
def test_mistakes_in_where_to_be_reached(tmp_path, line, expected):
    assert expected in mistakes(tmp_path, GOOD.replace("listen =", f"{line}\nlisten ="))


def test_listen_addresses():
    assert parse_listen("0.0.0.0:0") == ("0.0.0.0", 0)
    assert parse_listen("[::1]:9090") == ("::1", 9090)
    assert parse_listen("node-1.example:80") == ("node-1.example", 80)
    assert listen_url("::", 5) == "ws://[::1]:5"
    assert listen_url("0.0.0.0", 5) == "ws://127.0.0.1:5"
    assert listen_url("10.0.0.1", 5) == "ws://10.0.0.1:5"
    for text in ("", ":1", "a:", "[::1:5", "[x]:5", "a:-1", "a:١"):
        with pytest.raises(ValueError):
            parse_listen(text)
