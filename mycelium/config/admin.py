"""Limits of the admin port. Each with its unit, and what it costs to reach it."""

from __future__ import annotations

from typing import Final

CONNECTIONS_MAX: Final = 64
"""Open at once, dashboards too. Another one is closed at once."""
CONNECTIONS_PER_ADDRESS_MAX: Final = 16
"""Of one address that is not this machine's own: a stranger without a token must not lock out who has it."""
HEAD_BYTES_MAX: Final = 16 * 1024
"""Of a request's line and headers; a longer one is answered with 431, or with 400 before it is whole."""
HEAD_S: Final = 5.0
"""For a request's headers to be complete; then the connection is closed. Also how often a connection is looked at."""
UNREAD_S: Final = 15.0
"""How long an answer may lie unread; then the connection is dropped, with what it held (up to 1 MiB)."""
KEEP_ALIVE_S: Final = 20
"""Between two requests of one connection: Prometheus asks every 15 s."""

LIVE_CLIENTS_MAX: Final = 16
"""Dashboards that are told each second. Another one is refused with 503, and asks again later."""
LIVE_MESSAGE_BYTES_MAX: Final = 1024
"""Of what a dashboard sends, which is nothing."""
LIVE_PERIOD_S: Final = 1.0

HISTORY_SAMPLES: Final = 300
"""Five minutes of rates: some 20 KiB."""
LAG_PERIOD_S: Final = 0.1
"""How often the loop's lag is measured: 10 timers a second, 20 us of a second's work."""

ALONE_MS: Final = 30_000
"""So long after its start a node waits for others to compare with; then it is ready without."""
BEHIND_MS: Final = 30_000
"""A space that was not seen complete for so long is behind. Under load two nodes are rarely equal at one instant."""
EPOCH_LATE_MS: Final = 60_000
"""How long after its first block an epoch may be unknown: it is read from the chain, with retries."""
SHOWN_MAX: Final = 1_024
"""Entries of any list that is shown. There are at most 512 sessions; an owner may blacklist thousands."""
