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
SNAPSHOT_HEADER_BYTES_MAX: Final = 64 * 1024
MARKS_MAX: Final = 256
"""Bridges of a network that status shows."""
OBJECT_PIECE_BYTES: Final = 128 * 1024
"""A piece of a large object, as other clients of the object store have it."""
OBJECT_PIECES_UNDERWAY: Final = 16
"""Sent and not yet acknowledged while an object is written: so much more is in memory."""
OBJECT_PIECES_ASKED: Final = 16
"""Pieces that are asked for at once while an object is read."""
OBJECT_LEFT_MS: Final = 3_600_000
"""Pieces without a description that are older than this were left by an upload that was broken off."""
OBJECTS_MAX: Final = 256
"""Objects of a bucket that are looked at; there are two snapshots of a space at a time."""
SNAPSHOTS_KEPT: Final = 2
"""Of a space: the newest, and the one before for who is still reading it."""
NODE_PAUSE_S: Final = 0.25
NODE_PAUSE_MAX_S: Final = 10.0
"""Between two tries to connect to a bridge's node, twice as long after each."""
KEEPER_LOOK_S: Final = 5.0
"""Between two looks at a stream, its settings and its snapshots: three requests a space."""
SNAPSHOT_PAUSE_MIN_MS: Final = 1_000
SNAPSHOT_SHARE: Final = 10
"""Between two snapshots of a space: this many times what the last one took, as each reads the whole space."""
SNAPSHOT_RETRY_MS: Final = 3_000
"""After one that failed."""
WINDOW_MESSAGES: Final = 2_048
"""Batches that a bridge has published and not yet seen acknowledged."""
WINDOW_BYTES: Final = 16 * 1024 * 1024
"""Of them; so much is in the bridge's memory, and is sent again after a broken connection."""
WINDOW_SPAN: Final = 4_096
"""Entries of the feed between the oldest of them and the newest: as far back goes a bridge that has lost its cursor."""
ACK_S: Final = 10.0
"""Without an acknowledgement for so long a bridge looks after its streams and sends again."""
BRIDGE_TICK_S: Final = 0.5
"""Between two notes of a bridge's cursor, while it moves: what is read again after a crash."""
BRIDGE_NOTE_S: Final = 5.0
"""Between two notes while nothing moves, so that others see that it lives."""
BRIDGE_CALM_S: Final = 1.0
"""What went wrong is over when nothing did for so long: a stream that lets little through is told of once."""
BRIDGE_CHECK_S: Final = 60.0
"""Between two looks at whether the servers sync what they acknowledge."""
BUSY_BATCHES: Final = 64
"""A bridge that is further behind puts snapshots off, as they read everything too, unless somebody lacks something."""
SNAPSHOT_PUT_OFF_MS: Final = 600_000
"""For so long at most: a bridge may always be behind."""
BRIDGE_PAUSE_S: Final = 0.25
BRIDGE_PAUSE_MAX_S: Final = 10.0
"""After something failed, until it is tried again: twice as long after each."""
STREAM_SETTLED_MS: Final = 5_000
"""What another process put into a stream so long ago has come to the bridge's node as well, over the mesh."""
