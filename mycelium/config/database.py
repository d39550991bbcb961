"""Limits of the store, of the log's horizon and of snapshots, with unit and cost."""

from __future__ import annotations

from typing import Final

# --- the store ------------------------------------------------------------------------------------------

MEMTABLE_SMALL_BYTES: Final = 4 * 1024 * 1024
"""A write buffer of a column of small rows (vectors, the feed, notes): a batch writes 300 bytes to them, so that one as
large as those of the bulk would fill for hours, and look like a leak."""

# --- the horizon ------------------------------------------------------------------------------------------

LOG_KEEP_EPOCHS_MIN: Final = 2
"""Batches of this epoch and the one before are never dropped, whatever the setting says: they may be on their way."""
LOG_KEEP_HOURS_MAX: Final = 24 * 3_660
HORIZON_PERIOD_MS: Final = 3_600_000
"""Between two walks along the log that drop what is superseded."""
HORIZON_SLICE_MS: Final = 2.0
"""Of work between two turns of the loop; one batch of many changes may take it a little further."""
HORIZON_WRITE_BATCHES: Final = 64
"""Batches that are dropped in one write, at most."""

# --- serving a snapshot -----------------------------------------------------------------------------------

SNAPSHOT_PAGE_BYTES: Final = 512 * 1024
"""A page is filled to this size with whole batches; one larger batch travels alone."""
SNAPSHOT_PAGE_BATCHES_MAX: Final = 4_096
"""In one page; a batch of one change is 400 bytes."""
SNAPSHOT_SURVEY_MS: Final = 3_600_000
"""For so long the survey of a space is served to all who ask; what was written since comes by ordinary sync."""
SNAPSHOT_SURVEY_BATCHES_MAX: Final = 16_000_000
"""In all surveys of a node, 8 bytes each. A space with more is not served as a snapshot but from its log."""
SNAPSHOT_MARKS_MAX: Final = 2_000_000
"""Runs of 256 numbers in which a row has its source, 270 bytes each, while a survey is made."""
SNAPSHOT_PAGES_PER_S: Final = 64
SNAPSHOT_PAGES_BURST: Final = 128
"""Pages of one member: 32 MiB a second, some 5 ms of reading each."""
SNAPSHOT_SERVE_BYTES_PER_S: Final = 32 * 1024 * 1024
SNAPSHOT_SERVE_BYTES_BURST: Final = 64 * 1024 * 1024
SNAPSHOT_OFFERS_PER_S: Final = 2
SNAPSHOT_OFFERS_BURST: Final = 32
"""Of one member; an offer is a vector, up to a megabyte."""
SNAPSHOT_ROWS_MAX: Final = 256
"""Rows of one call whose batches are asked for; 20 us each."""
SNAPSHOT_SERVERS_MAX: Final = 4
"""Members that are being served pages at once; a further one is told to ask another."""
SNAPSHOT_SERVED_MS: Final = 10_000
"""A member that asked for no page for this long is being served no more."""

SNAPSHOT_ORIGINS_MAX: Final = 12_000
"""In an offer, 50 bytes each; what others there are comes by ordinary sync."""

# --- fetching one -----------------------------------------------------------------------------------------

SNAPSHOT_LACK_MIN: Final = 200_000
"""A node that lacks so many changes fetches a snapshot; below it the log is as fast and needs no comparison after."""
SNAPSHOT_OFFERERS: Final = 8
"""Members that are asked what they have, and fetched from if they have it."""
SNAPSHOT_RANGES_PER_ORIGIN: Final = 16
"""Ranges that the numbers of one origin are divided into; fewer than GAPS_PER_ORIGIN_MAX, as each may be a gap."""
SNAPSHOT_RANGE_MIN: Final = 4_096
"""Numbers in a range, at least."""
SNAPSHOT_ASKS_PER_PEER: Final = 2
"""Pages asked of one member at once: one travels while the other is read."""
SNAPSHOT_SURVEY_S: Final = 120.0
"""For members to get their snapshots ready; those that are by then are fetched from."""
SNAPSHOT_SURVEY_WAIT_S: Final = 3.0
"""For further ones, once two are ready."""
SNAPSHOT_RECRUIT_S: Final = 2.0
"""Between two looks for further members that could give their share."""
SNAPSHOT_PAGE_S: Final = 15.0
"""For one answer."""
SNAPSHOT_SLOW: Final = 8
"""A member whose pages take so many times longer than the median of the others is asked no more while they are."""
SNAPSHOT_WAIT_MS: Final = 500
"""After a page that could not be taken whole (an epoch or a policy is not known yet), each time twice as long."""
SNAPSHOT_TRIES_MAX: Final = 6
"""For one range; then ordinary sync is left to see to it."""
SNAPSHOT_AVOID_MS: Final = 600_000
"""A member that gave up, broke a rule or withheld rows is not fetched from for so long."""
SNAPSHOT_REPORT_MS: Final = 5_000
"""Between two lines in the log about a fetch under way."""
SNAPSHOT_OFFER_MS: Final = 15_000
"""Between two times that members are asked what they have, while they differ."""
SNAPSHOT_COMPARE: Final = 2
"""Members, others than it came from where there are any, whose rows must equal ours before a snapshot counts as
compared."""
SNAPSHOT_COMPARE_MS: Final = 65_000
"""Between two comparisons with one member, more than FINGERPRINT_SERVE_MS."""
SYNC_VOID_MS: Final = 30_000
"""A member that has dropped what we lack is not asked for that space by ordinary sync for so long."""
