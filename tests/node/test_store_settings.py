"""The [store] section of node.toml: defaults, all of it, and each mistake by its line."""

from __future__ import annotations

import pytest
from nodekit import places

from mycelium.config.database import SNAPSHOT_LACK_MIN
from mycelium.errors import ConfigError
from mycelium.node.settings import Settings
from mycelium.node.store_settings import StoreSettings


@pytest.fixture
def load(tmp_path):
    (place,) = places(tmp_path, 1)

    def loaded(section: str) -> Settings:
        place.config.write_text(place.config.read_text() + section)
        return Settings.load(place.config)

    return loaded


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("", StoreSettings(None, SNAPSHOT_LACK_MIN)),
        ("[store]\n", StoreSettings(None, SNAPSHOT_LACK_MIN)),
        ("[store]\nlog_keep_hours = 0\nsnapshot_lack = 0\n", StoreSettings(None, 0)),
        ("[store]\nlog_keep_hours = 168\n", StoreSettings(168, SNAPSHOT_LACK_MIN)),
    ],
    ids=["none", "empty", "all", "hours"],
)
def test_what_is_said(load, section, wanted):
    assert load(section).store == wanted


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("log_keep_hours = -1", "store.log_keep_hours is -1"),
        ('log_keep_hours = "a week"', "store.log_keep_hours is 'a week'"),
        ("snapshot_lack = -1", "store.snapshot_lack is -1"),
        ("log_keep = 1", "log_keep"),
    ],
    ids=["negative", "text", "lack", "unknown"],
)
def test_mistakes(load, line, said):
    with pytest.raises(ConfigError, match=said):
        load(f"[store]\n{line}\n")
