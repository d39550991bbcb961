"""The [store] section of `node.toml`. Parses; opens nothing.

```toml
[store]                            # all of it may be left out
feed_keep_hours = 168              # who reads the feed and falls further behind begins anew; 0: kept for good
log_keep_hours = 168               # what was overwritten is kept in the log for so long; 0: for good
snapshot_lack = 200000             # a node that lacks so many changes fetches a snapshot and not the log; 0: never
```
"""

from __future__ import annotations

from dataclasses import dataclass

from mycelium.config.database import LOG_KEEP_HOURS_MAX, SNAPSHOT_LACK_MIN
from mycelium.config.feed import FEED_KEEP_HOURS, FEED_KEEP_HOURS_MAX
from mycelium.tomlfile import Section

_LACK_MAX = 10**12


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """log_keep_hours, feed_keep_hours: None keeps all of it. snapshot_lack: changes; 0 never fetches a snapshot."""

    log_keep_hours: int | None = None
    snapshot_lack: int = SNAPSHOT_LACK_MIN
    feed_keep_hours: int | None = FEED_KEEP_HOURS


def parse(section: Section) -> StoreSettings:
    """Read the section; mistakes are recorded in its file."""
    hours = section.integer("log_keep_hours", 0, LOG_KEEP_HOURS_MAX, 0)
    lack = section.integer("snapshot_lack", 0, _LACK_MAX, SNAPSHOT_LACK_MIN)
    feed = section.integer("feed_keep_hours", 0, FEED_KEEP_HOURS_MAX, FEED_KEEP_HOURS)
    section.finish()
    return StoreSettings(hours or None, lack, feed or None)
