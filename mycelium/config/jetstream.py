"""Limits of what speaks to NATS, with unit and cost. Names end in their unit; counts end in `_MAX`."""

from __future__ import annotations

from typing import Final

CONNECT_S: Final = 4
"""For TCP, TLS and login at one server."""
PAUSE_S: Final = 0.25
"""After all servers failed, until they are tried again; doubles each time, up to PAUSE_MAX_S."""
PAUSE_MAX_S: Final = 10.0
PING_S: Final = 1
"""Between two pings; a server that does not answer PINGS_MAX of them is left. One is 6 bytes each way."""
PINGS_MAX: Final = 2
REQUEST_S: Final = 5.0
"""For one answer of JetStream's API."""
SEND_BUFFER_BYTES: Final = 2 * 1024 * 1024
"""Published and not yet handed to the socket; beyond it a publisher waits."""
MONITOR_S: Final = 4.0
"""For one answer of a server's monitoring."""
MONITOR_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one such answer; it is a few KiB."""
SERVERS_MAX: Final = 256
"""Servers of a cluster that are asked."""
SYSTEM_QUIET_S: Final = 0.5
"""All servers have answered a request to the system account when none did for so long."""
STREAMS_MAX: Final = 4_096
"""Streams of an account that are listed."""
