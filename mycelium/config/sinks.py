"""Limits of the sinks of the change feed, with unit and cost. Names end in their unit; counts end in `_MAX`."""

from __future__ import annotations

from typing import Final

SINK_GROUP_CHANGES: Final = 20_000
"""Changes written in one transaction at most, one batch more or less: some 10 MiB of text, a third of a second."""
SINK_GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of keys and values in one transaction, one batch more or less. In memory up to four times: payloads, rows, text."""
SINK_FILL_ROWS: Final = 10_000
"""Rows of an export handed to a sink at once."""
SINK_SAMPLE_ROWS: Final = 1_000
"""Rows of a table from whose values its columns are inferred, held in memory until then."""
SINK_SAMPLE_SURE: Final = 100
"""With fewer rows than this, whole numbers become `numeric`, which takes fractions too."""
SINK_COLUMNS_MAX: Final = 64
"""Columns inferred for a table: whoever writes values must not make a table of any width."""
SINK_BACKOFF_MIN_MS: Final = 200
SINK_BACKOFF_MAX_MS: Final = 15_000
"""Between two attempts to reach a sink or the node. An attempt costs one connection."""
SINK_CONNECT_S: Final = 10
SINK_LOCK_WAIT_S: Final = 10
"""How long a transaction waits for somebody else's lock, before the sink says so and tries again."""
SINK_IDLE_S: Final = 60
"""While nothing comes, the position moves on with the feed once in this long, so that it never falls behind it."""
SINK_PARQUET_S: Final = 60
"""Between two files of a table: each is a file to open for whoever reads them."""
SINK_PARQUET_ROWS: Final = 100_000
SINK_PARQUET_BYTES: Final = 64 * 1024 * 1024
"""A file is written before its time when this much has gathered; in memory it is some four times that."""
