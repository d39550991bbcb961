"""Limits of the change feed and of exports, with unit and cost. Names end in their unit; counts end in `_MAX`."""

from __future__ import annotations

from typing import Final

FEED_KEEP_HOURS: Final = 168
"""How long the feed is kept unless the operator says otherwise: a week, some 100 bytes a batch."""
FEED_KEEP_HOURS_MAX: Final = 24 * 3_660
FEED_MARK_MS: Final = 3_600_000
"""Between two marks of how far the feed has come: retention is as exact as that."""
FEED_MARKS_MAX: Final = 100_000
"""16 bytes each. With one an hour ten years are kept."""
FEED_PRUNE_ENTRIES: Final = 4_096
"""Entries that are deleted in one write: some 8 ms of the loop."""
FEED_PAGE_BYTES: Final = 1024 * 1024
"""Batches that a reader takes from the log at once: one larger batch travels alone. A reader holds one page."""
FEED_PAGE_ENTRIES: Final = 256
"""Entries that a reader looks at between two turns of the loop, 4 us each."""
FEED_WINDOW_BYTES: Final = 2 * 1024 * 1024
"""What a feed or an export sends ahead of a remote reader, who holds it. At 256 KiB it waits half of the time."""
FEED_PROGRESS_S: Final = 1.0
"""A remote reader for whom there is nothing is told no more often how far the feed has come."""
EXPORT_SLICE_ROWS: Final = 512
"""Rows between two turns of the loop, 2 us each."""
EXPORT_SLICE_BATCHES: Final = 16
"""Batches between two turns of the loop: up to 16 of a megabyte each are in memory."""
