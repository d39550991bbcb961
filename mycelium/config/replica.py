"""Limits of who follows a stream: fleet members and read replicas; with unit and cost."""

from __future__ import annotations

from typing import Final

INTAKE_WAITING_MAX: Final = 4_096
"""Batches of a stream that cannot be taken yet and wait in memory; with so many no more is read of that stream."""
INTAKE_WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
INTAKE_RETRY_MIN_MS: Final = 1_000
INTAKE_RETRY_MAX_MS: Final = 30_000
"""Between two tries of what waits, twice as long after each that changed nothing. A try costs up to 70 us a batch."""
INTAKE_REFUSALS_KEPT: Final = 32
"""Refused batches that status names, the newest; 500 bytes each."""
INTAKE_TEXT_CHARS_MAX: Final = 200
"""Of a refusal's text and subject: a stranger may have chosen them."""
PULL_MESSAGES: Final = 512
"""Asked for at once. A second request is on its way while these are applied."""
PULL_BYTES: Final = 8 * 1024 * 1024
"""Asked for at once, and the most that lies undone before the next is asked for: twice this is in memory."""
PULL_EXPIRES_MS: Final = 30_000
PULL_HEARTBEAT_MS: Final = 1_000
"""Without a word for twice this, the server, the stream or the consumer is taken for lost, and looked for anew. A word
is 80 bytes; a fleet member has to have read a stream to its end within seconds of a server's death."""
CONSUMER_IDLE_S: Final = 120
"""The server forgets a consumer that asks for nothing for so long."""
FOLLOW_RETRY_MIN_MS: Final = 200
FOLLOW_RETRY_MAX_MS: Final = 5_000
"""Between two looks for a stream or server that is not there."""
FOLLOW_LOOK_MS: Final = 5_000
"""Between two looks at how far the stream goes."""
FOLLOW_SAVE_MESSAGES: Final = 64
"""Messages after which the position is written down while there is no end of them; a restart reads so many again."""
BLOCKED_MS: Final = 60_000
"""A replica that is full for so long looks for a snapshot that has what it waits for."""
LACKING_LOOK_MS: Final = 60_000
"""Between two looks whether seals name more than is here."""
LACKING_KEPT: Final = 4_096
"""Origins for which that was searched, 100 bytes each."""
REPLICA_TICK_S: Final = 1.0
SPOOL_READ_BYTES: Final = 1024 * 1024
"""Of a snapshot's file at once."""
SNAPSHOT_LOOK_MS: Final = 30_000
"""Between two looks at the snapshots of a space: for proofs, and for what is lacking; one request for each."""
