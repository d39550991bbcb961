"""Limits of a fleet: several processes of one account. With unit and cost."""

from __future__ import annotations

from typing import Final

FLEET_SLOTS: Final = 16
"""Slots of a space, unless the fleet's file says otherwise when its bucket is made. Each is an entry of the bucket."""
FLEET_SLOTS_MAX: Final = 1_024
FLEET_MEMBERS_MAX: Final = 128
"""Members in the bucket. Everyone hears everyone's heartbeat, so what they hear together grows with the square."""
FLEET_SPACES_MAX: Final = 64
"""Spaces that one member holds; each is a name and a term in its heartbeat, 40 bytes or so."""
FLEET_ENTRY_BYTES_MAX: Final = 16 * 1024
"""An entry of the bucket that is read."""
FLEET_ID_CHARS_MAX: Final = 32
"""The name of a member."""
FLEET_URL_CHARS_MAX: Final = 256
FLEET_WHY_CHARS_MAX: Final = 160

FLEET_LEASE_MS: Final = 2_500
"""A member that has not renewed for so long is taken for gone. Shorter fails over sooner, and oftener for nothing."""
FLEET_LEASE_MIN_MS: Final = 500
FLEET_LEASE_MAX_MS: Final = 60_000
"""What another member claims for itself is not waited for longer than this."""
FLEET_LEASE_OWN: Final = 0.8
"""Of its lease a member relies on this part: what remains is for clocks that do not run equally fast."""
FLEET_RENEWALS: Final = 3
"""Heartbeats in one lease."""
FLEET_TICK_MS: Final = 100
"""Between two looks at what ran out; adds to a fail-over."""
FLEET_RETRY_MS: Final = 100
"""Before an entry is written again whose fate is not known, and before a late heartbeat is sent again."""
FLEET_PUTS_MAX: Final = 64
"""Entries of the bucket that one member writes at the same time."""
FLEET_CLOSED_MAX: Final = 4_096
"""Terms known to be closed that a member remembers of a space, 100 bytes each."""
FLEET_PUBLISH_S: Final = 1.0
"""For the answer to a publish; then it is published again, the same."""
FLEET_PAUSE_S: Final = 0.05
"""Before the same is asked again of a server that did not answer; doubles each time, up to FLEET_PAUSE_MAX_S."""
FLEET_PAUSE_MAX_S: Final = 0.4
FLEET_WATCH_HEARTBEAT_MS: Final = 500
"""How often the server says that a watch of the bucket lives; it costs each member two small messages a second."""
FLEET_WATCH_MISSED_MAX: Final = 3
"""So many missed, a watch is made anew."""

# --- the node's side ----------------------------------------------------------------------------------------

FLEET_WRITE_S: Final = 6.0
"""A write waits so long for the stream's word; longer than a fail-over, shorter than its caller waits."""
FLEET_ROUTE_S: Final = 6.0
"""A request waits so long for somebody to have its shard: a lease runs out, and another member takes over."""
FLEET_LOOK_S: Final = 0.1
"""Between two looks for who has a shard, where nobody says that it changed."""
FLEET_GRACE_S: Final = 1.0
"""A connection to NATS that broke is made anew in less, or there is no server: then writes are refused at once."""
FLEET_DIAL_S: Final = 2.0
"""For a session with another member."""
FLEET_WAITING_MAX: Final = 65_536
"""Writes to one space that wait for the batch before them."""
FLEET_SETTLE_S: Final = 0.25
"""Between two tries of what came over the stream and could not be taken yet."""
FLEET_LEAVE_S: Final = 3.0
"""A member that ends gives its shards away for so long, and then ends."""
FLEET_START_S: Final = 3.0
"""A member that starts waits so long for NATS before it goes on without."""
FLEET_CONDITION_S: Final = 1.0
"""Between two looks of a member at what is wrong with it."""
