"""Members files: what is read from a good one, and that every mistake is named with its line."""

import pytest

from mycelium.errors import ConfigError
from mycelium.identity import account as accounts
from mycelium.metagraph.membership import Epoch, Member, StaticSource

ALICE = accounts.format(bytes(range(32)))
BOB = accounts.format(bytes(range(1, 33)))

GOOD = f"""
[chain]
genesis_time_ms = 1_700_000_000_000
block_ms = 12_000
tempo = 100

[[member]]
account = "{ALICE}"
role = "owner"
stake_rao = 5

[[member]]
account = "{BOB}"
role = "miner"
urls = ["ws://127.0.0.1:9090", "wss://node.example:443"]
"""


def write(tmp_path, text):
    path = tmp_path / "members.toml"
    path.write_text(text)
    return path


def mistakes(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        StaticSource.load(path)
    return str(caught.value).replace(f"{path}:", "L")


def test_reads_members_and_blocks(tmp_path):
    source = StaticSource.load(write(tmp_path, GOOD), clock_ms=lambda: 1_700_000_000_000 + 12_000 * 250)
    epoch = source.epoch()
    assert epoch.number == 2
    assert source.tempo == 100
    assert epoch.members[accounts.parse(ALICE)] == Member(accounts.parse(ALICE), "owner", 5, ())
    assert epoch.members[accounts.parse(BOB)].urls == ("ws://127.0.0.1:9090", "wss://node.example:443")
    assert source.block_now(1_700_000_000_000 + 11_999) == 0
    assert source.block_now(1_700_000_000_000 + 12_000) == 1
    assert source.block_now(0) == 0
    assert source.block_time_ms(7) == 1_700_000_000_000 + 84_000
    assert source.epoch_at(2**40).members == epoch.members
    assert source.epoch_at(3).number == 3


def test_members_of_an_epoch_cannot_be_changed(tmp_path):
    epoch = StaticSource.load(write(tmp_path, GOOD)).epoch()
    with pytest.raises(TypeError):
        epoch.members[b"x" * 32] = Member(b"x" * 32, "owner")
    with pytest.raises(AttributeError):
        epoch.number = 7


@pytest.mark.parametrize(
    ("role", "writes", "reads"),
    [("owner", True, True), ("validator", True, True), ("observer", False, True), ("miner", False, False)],
)
def test_rights_of_a_role(role, writes, reads):
    account = b"a" * 32
    epoch = Epoch(0, {account: Member(account, role)})
    assert epoch.may_write(account) is writes
    assert epoch.may_read(account) is reads
    assert epoch.role(account) == role


def test_a_stranger_has_no_rights():
    epoch = Epoch(0, {})
    assert epoch.role(b"s" * 32) is None
    assert not epoch.may_write(b"s" * 32)
    assert not epoch.may_read(b"s" * 32)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            f'account = "{BOB}"',
            f'account = "{ALICE}"',
            "L13: member.account is listed twice, first on line 8",
        ),
        (f'account = "{BOB}"', 'account = "5Fxyz"', "L13: member.account is wrong: '5Fxyz'"),
        (f'account = "{BOB}"\n', "", "L12: member.account is missing"),
        ('role = "miner"', 'role = "miners"', "L14: member.role is 'miners'"),
        ("stake_rao = 5", "stake_rao = -1", "L10: member.stake_rao is -1"),
        ("stake_rao = 5", "stake_rao = true", "L10: member.stake_rao is True"),
        ("stake_rao = 5", 'stake = "5"', "L10: member.stake is not known\n  did you mean 'stake_rao'?"),
        ("ws://127.0.0.1:9090", "http://127.0.0.1:9090", "L15: member.urls is 'http://127.0.0.1:9090'"),
        ("ws://127.0.0.1:9090", "ws://127.0.0.1", "has no host or no port"),
        ("ws://127.0.0.1:9090", "ws://127.0.0.1:99999", "Port out of range"),
        ("ws://127.0.0.1:9090", "ws://me:secret@127.0.0.1:1", "carries no user or password"),
        ('urls = ["ws', 'urls = [7, "ws', "L15: member.urls has an item that is not text"),
        ("[chain]", "[chains]", "chains is not known"),
        ("genesis_time_ms = 1_700_000_000_000", "", "L2: chain.genesis_time_ms is missing"),
        ("tempo = 100", "tempo = 0", "L5: chain.tempo is 0"),
        ("tempo = 100", "tempo = = 0", "L5: Invalid value"),
        ("[[member]]", "[[members]]", "no member is listed"),
    ],
)
def test_each_mistake_names_its_line(tmp_path, old, new, expected):
    assert old in GOOD
    assert expected in mistakes(tmp_path, GOOD.replace(old, new))


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path):
    text = GOOD.replace("tempo = 100", "tempo = 0").replace('"owner"', '"lord"').replace(BOB, "nobody")
    lines = mistakes(tmp_path, text).splitlines()
    assert [line.split(":")[0] for line in lines] == ["L5", "L9", "L13"]
    assert all(" -- " in line for line in lines)


def test_a_missing_file_says_what_it_is(tmp_path):
    with pytest.raises(ConfigError, match="no such members file"):
        StaticSource.load(tmp_path / "absent.toml")
