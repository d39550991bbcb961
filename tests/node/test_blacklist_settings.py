"""The [blacklist] section of node.toml: defaults, all of it, and each mistake by its line."""

from __future__ import annotations

import kit
import pytest
from nodekit import places

from mycelium.errors import ConfigError
from mycelium.identity.account import format as format_account
from mycelium.node.settings import Settings
from mycelium.peer.blacklist import Rules

A, B = (kit.keypair(name).account for name in "ab")
TEXT_A, TEXT_B = format_account(A), format_account(B)


@pytest.fixture
def load(tmp_path):
    (place,) = places(tmp_path, 1)

    def loaded(section: str) -> Settings:
        text = place.config.read_text()
        place.config.write_text(text + section)
        try:
            return Settings.load(place.config)
        finally:
            place.config.write_text(text)

    return loaded


def test_without_the_section_the_specifications_defaults_hold(load):
    assert load("").blacklist == load("[blacklist]\n").blacklist == Rules()
    assert (Rules().failures, Rules().greylist_ms, Rules().greylistings) == (5, 3_600_000, 10)
    assert Rules().pardon_rao == 1000 * 10**9


def test_all_of_it(load):
    section = (
        "[blacklist]\nfailures = 3\ngreylist_s = 60\ngreylistings = 2\npardon_tao = 0\nclaims = false\n"
        f'always = ["{TEXT_A}"]\nnever = ["{TEXT_B}"]\n'
    )
    assert load(section).blacklist == Rules(3, 60_000, 2, 0, frozenset({A}), frozenset({B}), False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("failures = 0", "failures"),
        ("greylist_s = 0", "greylist_s"),
        ("greylistings = -1", "greylistings"),
        ("pardon_tao = 21000001", "pardon_tao"),
        ("claims = 1", "claims"),
        ('always = ["5F"]', "always"),
        ("never = [1]", "never"),
        ("fails = 5", "fails"),
        (f'always = ["{TEXT_A}"]\nnever = ["{TEXT_A}"]', "both name"),
    ],
    ids=[
        "failures",
        "greylist",
        "greylistings",
        "pardon",
        "claims",
        "account",
        "type",
        "unknown",
        "both lists",
    ],
)
def test_mistakes(load, line, said):
    with pytest.raises(ConfigError, match=said):
        load(f"[blacklist]\n{line}\n")
