"""Every limit of Mycelium, with its unit and what raising it costs. Imports nothing; reads no files.

Names end in their unit: `_bytes`, `_ns`, `_ms`, `_s`; counts end in `_max`. More are in `peer`, `database`, `admin`.
"""

from __future__ import annotations

from typing import Final

# --- protocol ---------------------------------------------------------------------------------------------

PROTOCOL_VERSION: Final = 1
PROTOCOL_VERSIONS: Final = (1,)
"""Versions this build speaks, best first."""
SUBPROTOCOL: Final = "mycelium.v1"
"""The WebSocket subprotocol (RFC 6455 section 1.9)."""

HANDSHAKE_BYTES_MAX: Final = 2 * 1024
"""A handshake message. Read before anything is authenticated, so this is what a stranger may make us hold."""
CONTROL_BYTES_MAX: Final = 64 * 1024
"""A ping, a record, a handshake's confirmation."""
DATA_BYTES_MAX: Final = 1024 * 1024
"""A gossip or sync message, and so a signed batch, or a vector of about 10,000 origins. Every queue bound below
rises with it."""
FRAME_BYTES_MAX: Final = DATA_BYTES_MAX + 64 * 1024
"""A sealed WebSocket frame: the largest message, its length prefix, and small ones coalesced with it."""
CALL_BYTES_MAX: Final = 768 * 1024
"""The body of a call over a session: a 512 KiB value and its JSON overhead."""

# --- codec ------------------------------------------------------------------------------------------------

VECTOR_ITEMS_MAX: Final = 65_536
"""Items of any vector in a buffer; bounds the loop a hostile length could start."""
TABLES_MAX: Final = 65_536
"""Tables visited while one buffer is verified: a shared offset cannot make the work exceed this."""
DEPTH_MAX: Final = 8
"""Nesting of tables; the schemas need three."""

# --- data -------------------------------------------------------------------------------------------------

KEY_BYTES_MAX: Final = 1024
VALUE_BYTES_MAX: Final = 512 * 1024
NAME_BYTES_MAX: Final = 64
"""The name of a table or space."""
BATCH_CHANGES_MAX: Final = 512
"""A batch is flushed at this many changes. More amortises its signature (54 us) further and delays the first."""
BATCH_CHANGES_HARD_MAX: Final = 16_384
"""A batch from the wire, or an explicit `batch()`, may hold this many."""
BATCH_BYTES: Final = 64 * 1024
"""A batch is flushed when its changes reach this size."""
BATCH_BYTES_MAX: Final = 704 * 1024
"""An encoded batch. In JSON it travels as base64, a third longer, and must still fit a message of DATA_BYTES_MAX."""
BATCH_DELAY_MS: Final = 5
"""A batch is flushed this long after its first change."""
TABLES_PER_BATCH_MAX: Final = 256
DOTS_PER_REMOVE_MAX: Final = 1024
"""Observed insertions that one set removal may name (48 bytes each)."""

CLOCK_AHEAD_MS: Final = 2_000
"""A batch further ahead of the local clock waits until it is due. Only delays; never decides validity."""
ANCHOR_SKEW_MS: Final = 3_600_000
"""A batch's clock may differ this much from the time of its reference block. Decides validity, the same everywhere."""
HELD_BATCHES_MAX: Final = 1_000
"""Batches of one account waiting to be due; beyond it they are dropped and fetched again by vector."""
HELD_BYTES_MAX: Final = 1024 * 1024
HELD_TOTAL_BATCHES_MAX: Final = 16 * HELD_BATCHES_MAX
"""Of all accounts together."""
HELD_TOTAL_BYTES_MAX: Final = 16 * HELD_BYTES_MAX
HELD_TRIES_MAX: Final = 512
"""Held batches tried again in one tick: 70 us each."""
WRITE_AHEAD_MAX_MS: Final = 24 * ANCHOR_SKEW_MS
"""Writes go on after a clock that was ahead by less than this was set right; peers take them when they are due."""
TABLE_SETS_MAX: Final = 32
"""Combinations of tables in a batch whose row prefixes are remembered, up to 20 KiB each."""
GAPS_PER_ORIGIN_MAX: Final = 32
"""Ranges held beyond the contiguous head of one origin; a batch that would open another is left to sync. They are
written again with every batch, 84 bytes each."""
GENERATIONS_MAX: Final = 16
"""Databases of one account in one space: restored backups. Bounds what an account can add to everyone's vectors; of
further ones nothing is stored, here or at any node that knows as many."""

INDEX_ENTRIES_MAX: Final = 4_000_000
"""Keys whose clock is kept in memory, 24 bytes each at up to 3/4 load. Beyond it a write reads the row first (3 us)."""

# --- store ------------------------------------------------------------------------------------------------

MEMTABLE_BYTES: Final = 32 * 1024 * 1024
"""One write buffer of a column family. Larger means fewer flushes and more memory."""
MEMTABLES_TOTAL_BYTES: Final = 128 * 1024 * 1024
"""All write buffers together."""
BLOCK_CACHE_BYTES: Final = 64 * 1024 * 1024
WAL_TOTAL_BYTES: Final = 256 * 1024 * 1024
DISK_RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Writes are refused while less than this is free, so that compaction and the WAL never meet a full disk."""

# --- sync -------------------------------------------------------------------------------------------------

SYNC_WINDOW_BYTES: Final = 4 * 1024 * 1024
"""What one sync request may bring before the requester asks again."""
SYNC_RESPONSE_BYTES: Final = 256 * 1024
"""The size a sync response is filled to. One larger batch travels alone."""
GOSSIP_BYTES: Final = 512 * 1024
"""Batches that became durable together travel in one message up to this size."""
SYNC_REPEAT_MIN_MS: Final = 250
SYNC_REPEAT_MAX_MS: Final = 8_000
"""Who asks again for what he was just sent gets it after this, each time twice as long; before, only what is new."""
SYNC_TIMEOUT_MS: Final = 10_000
"""A fetch that brought nothing new for this long is given up, and its peer left alone for three times as long."""
SYNC_FETCH_MAX_MS: Final = 60_000
"""A fetch ends after this long whatever it brings, so that one peer cannot keep the others from being asked."""
SYNC_BAR_MS: Final = 10_000
"""An origin whose batches cannot be taken now is left out of requests for this long, so that others get their turn."""
SYNC_RANGES_MAX: Final = 16_384
"""Ranges beyond gaps in one request; above it only heads are sent, and some batches come twice."""
COMMIT_RETRY_S: Final = 0.25
"""Between two tries to make durable what is applied, while the disk refuses."""

# --- peers ------------------------------------------------------------------------------------------------

HANDSHAKE_TIMEOUT_MS: Final = 5_000
HANDSHAKES_PENDING_MAX: Final = 256
"""Connections that have not finished their handshake; each may hold HANDSHAKE_BYTES_MAX."""
COOKIE_THRESHOLD: Final = 32
"""Pending handshakes above which a cookie is asked for before any public-key work."""
COOKIE_LIFETIME_S: Final = 120
PING_INTERVAL_MS: Final = 1_000
"""Also how soon two nodes notice that their vectors differ."""
SILENCE_MS: Final = 15_000
"""A session that is silent for this long is closed."""
SUSPECT_MISSES: Final = 3
"""Pings in a row without a word make a suspect."""
LIVENESS_PROBERS: Final = 3
"""Others who are asked whether they hear a suspect."""
LIVENESS_PROBE_MS: Final = 2_000
"""For their answers; a suspect that nobody speaks for is dead then."""
LIVENESS_LAG_MS: Final = 500
"""A node whose own tick comes later than this accuses nobody."""
LIVENESS_HEALTH_MAX: Final = 7
"""How often a node has itself to blame, at most; its times are so many times longer, and once more."""
LIVENESS_RECOVERY_MS: Final = 10_000
"""Without a reason to blame itself for this long, it forgives itself once."""
STATUS_INTERVAL_MS: Final = 10_000
"""Between two statuses that a member is sent; each is some 150 bytes."""
STATUS_TEXT_CHARS_MAX: Final = 64
"""Of each text in a member's status, for terminals."""
FINGERPRINT_PERIOD_MS: Final = 3_600_000
"""Between two comparisons of rows with a member, half to one and a half of it; a million rows cost each side 4 s."""
FINGERPRINT_SERVE_MS: Final = 60_000
"""A member that compares more often than this is refused."""
FINGERPRINT_FRESH_MS: Final = 60_000
"""Rows younger than this are not compared: they may be on their way."""
FINGERPRINT_PARTS: Final = 16
FINGERPRINT_ROWS_MAX: Final = 32
"""A range of so many rows is not cut further."""
FINGERPRINT_RANGES_MAX: Final = 1_024
FINGERPRINT_KEYS_MAX: Final = 1_024
"""Ranges looked into in one comparison, and rows made anew after it."""
FINGERPRINT_SLICE_ROWS: Final = 500
FINGERPRINT_SLICE_BATCHES: Final = 16
"""Between two turns of the loop: some 2 ms."""
FINGERPRINT_CALL_S: Final = 60.0
DIAL_BACKOFF_MIN_MS: Final = 200
DIAL_BACKOFF_MAX_MS: Final = 15_000
DIAL_TIMEOUT_MS: Final = 5_000
SESSIONS_MAX: Final = 512
"""Members with a session; each session costs about 30 KiB and its outbound queue."""
CLIENTS_MAX: Final = 256
"""Sessions of local programs."""
CLIENTS_PER_ACCOUNT_MAX: Final = 64
"""Of one account that is listed as a client; the node's own may take all of CLIENTS_MAX."""
OUTBOUND_BYTES_MAX: Final = 4 * 1024 * 1024
"""A peer's outbound queue. Pushes beyond it are dropped and repaired by vector."""
OUTBOUND_MESSAGES_MAX: Final = 4_096
CONTROL_QUEUE_BYTES_MAX: Final = 1024 * 1024
"""Control messages a peer may leave unread before its session is closed; they are never dropped."""
TRANSPORT_BUFFER_BYTES: Final = 1024 * 1024
"""What is handed to the socket's buffer before we wait for it to drain."""
LINK_MESSAGES_PER_S: Final = 4_000
LINK_MESSAGES_BURST: Final = 32_000
"""Of one member, weighed by type in `peer.link`: pings count 80. What is sent beyond is not read until its time has
come; 4,000 batches that are known already cost a tenth of a core."""
LINK_BYTES_PER_S: Final = 128 * 1024 * 1024
LINK_BYTES_BURST: Final = 256 * 1024 * 1024
"""The same in bytes; a member that catches up is sent some 60 MiB a second."""
HOLD_MAX_S: Final = 2.0
"""A member's reading is put off by so much at once; its keep-alive must not die of it."""
ARRIVALS_PER_S: Final = 64
ARRIVALS_BURST: Final = 512
"""Connections of one address that is not this machine's own; each may cost 0.3 ms of handshake."""
ARRIVAL_ADDRESSES_MAX: Final = 8_192
"""Addresses whose connections are counted, 200 bytes each; the one that is quiet for longest gives way."""
CALLS_PER_CLIENT_MAX: Final = 1_024
"""Calls of one session under way at once; a further one is answered with Overloaded."""
CALL_TIMEOUT_MS: Final = 30_000
SEEN_MAX: Final = 131_072
"""Digests of applied batches remembered, 24 bytes each: a repeat is known without reading the log."""

# --- session ----------------------------------------------------------------------------------------------

REKEY_BYTES: Final = 2**30
REKEY_S: Final = 15 * 60
REKEY_FRAMES: Final = 2**31
"""AES-GCM under a counter stays far from its bound of 2^32 frames a key (NIST SP 800-38D)."""
FRAMES_PER_KEY_MAX: Final = 2**32
"""A session ends rather than seal or open one more frame than this under one key."""
REKEY_ANSWER_S: Final = 60
"""A peer that leaves an offer of new keys unanswered for this long is disconnected."""
REKEYS_PER_TICK_MAX: Final = 8
"""Offers of new keys heard between two ticks: each costs us 0.1 ms of public-key work."""

# --- replay -----------------------------------------------------------------------------------------------

REPLAY_WINDOW_NS: Final = 60 * 10**9
REPLAY_AHEAD_NS: Final = 2 * 10**9
REPLAY_ENTRIES_MAX: Final = 1_048_576
REPLAY_PER_SENDER_MAX: Final = 262_144
"""4,300 messages a second over the window. To fill the table, four members would have to sign 17,000 messages a second,
which is most of what one core can verify."""

# --- memory -----------------------------------------------------------------------------------------------

MALLOC_MMAP_BYTES: Final = 2 * 1024 * 1024
"""Allocations from this size on, RocksDB's buffers among them, are given back when freed. At 512 KiB, where messages
are, a node were a quarter smaller and a tenth slower: each buffer costs its page faults again."""
MALLOC_TRIM_BYTES: Final = 8 * 1024 * 1024
"""Free memory kept at the top of the heap."""

# --- shutdown ---------------------------------------------------------------------------------------------

DRAIN_S: Final = 8
"""SIGTERM: time to finish calls, flush and say goodbye. The process is gone within 10 seconds."""

# --- links ------------------------------------------------------------------------------------------------

PENDING_PER_ADDRESS_MAX: Final = 64
"""Unfinished handshakes of one address (an IPv4 address, an IPv6 /64). Raising it lets one host crowd out others."""
GREETING_BUFFER_BYTES: Final = 4 * 1024
"""The read buffer a connection starts with; it grows only as bytes arrive, and only once there is a session."""
READ_BYTES: Final = 256 * 1024
"""Taken from a socket in one read. With the largest frame it bounds a read buffer to 2 MiB."""
FLUSH_BYTES: Final = 1024 * 1024
"""Sealed and written to one link before the others get their turn."""
COALESCED_BYTES: Final = 128 * 1024
"""A frame is filled up to this size with small messages. Larger gains nothing and holds control messages up."""
KEEPALIVE_S: Final = 30
"""A connection on which nothing moves is probed by the system after this long, and is gone three probes of
KEEPALIVE_PROBE_S later: a program that only watches sends nothing, and its machine may have vanished."""
KEEPALIVE_PROBE_S: Final = 10
CLOSE_LINGER_MS: Final = 1_000
"""After our close frame the socket stays open this long, so that a reset does not swallow the reason."""
DUPLICATE_STALE_MS: Final = 3_000
"""A session silent for this long gives way to any new one of the same account."""
DIALS_MAX: Final = 16
"""Outgoing connection attempts under way at once."""
CALLS_PENDING_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bodies of the calls of one session under way at once; beyond it a call is answered with Overloaded."""
PEER_CALLS_MAX: Final = 32
"""Calls of one member under way at this node at once. With 255 members that is 8,160 tasks of about 3 KiB."""
PEER_CALLS_OUT_MAX: Final = 24
"""Calls to one member under way at once: fewer than it takes, as it counts one until its answer has left."""
PEER_CALLS_BYTES_MAX: Final = 1024 * 1024
"""Bodies of one member's calls under way at once."""
PEER_CALL_TIMEOUT_MS: Final = 10_000
CALL_PART_BYTES: Final = 256 * 1024
"""An answer above CALL_BYTES_MAX is sent in parts of this size, for who asks for it so."""
STREAM_WINDOW_BYTES: Final = 256 * 1024
"""What a streaming call may send ahead of its reader. Its reader holds this much and one item more."""

# --- discovery --------------------------------------------------------------------------------------------

ENDPOINT_ADDRESSES_MAX: Final = 4
"""In one endpoint record. A member can make every other dial so many."""
ENDPOINT_HOST_CHARS_MAX: Final = 253
ENDPOINT_BYTES_MAX: Final = 2 * 1024
"""An encoded endpoint record; one with one address has about 200 bytes."""
ENDPOINT_LIFETIME_MS: Final = 48 * 3_600_000
"""An endpoint record is valid for so long, and made anew at half of it."""
ENDPOINT_CLOCK_SLACK_MS: Final = 10 * 60_000
"""By so much the clocks of two nodes may differ before one thinks the other's record too early or over."""
ENDPOINT_UPDATES_MAX: Final = 32
"""New records of one account taken in one go; each is verified (40 us) and passed on by everybody."""
ENDPOINT_UPDATE_MS: Final = 60_000
"""One more may come after each such time."""
ENDPOINTS_MAX: Final = 4_096
"""Records kept, 1 KiB each. Members alone have one, so an epoch's size is the bound that counts."""
ENDPOINTS_PER_CALL_MAX: Final = 64
"""Records in one call: 3 ms of verifying."""
ENDPOINT_COMPARE_MS: Final = 20_000
"""Between two comparisons of the whole book with a peer drawn at random, 100 bytes when it is equal."""
ENDPOINT_RELAYS: Final = 3
"""Peers that a newly learnt record is passed on to. More reach everybody sooner, in a mesh that is not full."""
ENDPOINT_ANNOUNCE_S: Final = 5.0
"""For peers to take a new record of ours, before we go on without them; they get it by comparison."""
MESH_FULL_MAX: Final = 256
"""Up to so many members each has a session with each; above it with MESH_NEIGHBOURS of them."""
MESH_NEIGHBOURS: Final = 24
BOOTSTRAP_RETRY_MS: Final = 5_000
"""Between two rounds of dialling the bootstrap list while there is no session."""

INCIDENTS_MAX: Final = 64
"""What went wrong of late, kept for the status; 300 bytes each."""

# --- blacklist: the rest is in `config.peer` --------------------------------------------------------------

CLAIM_BYTES_MAX: Final = 512
"""An encoded claim; one has some 250 bytes."""
PROOF_BYTES_MAX: Final = 2 * BATCH_BYTES_MAX + 1024
"""A proof: two batches at most. It is kept for good, one for each origin and space that has one."""

# --- port rotation ----------------------------------------------------------------------------------------

ROTATION_PERIOD_S: Final = 4 * 3_600
ROTATION_OVERLAP_S: Final = 600
"""Old and new port both accept for so long: what a peer needs to hear of the new one by way of others."""
ROTATION_PORTS: Final = (9_090, 9_100)
ROTATION_PORTS_MAX: Final = 1_024
ROTATION_RETRY_MS: Final = 60_000
"""After a failed rotation the next try waits so long, each time twice as long, up to the period."""
ROTATION_JITTER: Final = 0.25
"""Of the period, earlier or later: nodes that were started together must not rotate together."""

# --- chain client -----------------------------------------------------------------------------------------

CHAIN_CONNECT_S: Final = 10.0
"""To open a connection to an endpoint, TLS and all."""
CHAIN_REQUEST_S: Final = 30.0
"""From a question to its answer, with every endpoint that is tried on the way."""
CHAIN_INCLUSION_S: Final = 90.0
"""From a submission to its block: five blocks of the real chain, and some patience."""
CHAIN_PING_S: Final = 15.0
"""Of silence, after which a ping is sent. Also how long a send may take."""
CHAIN_IDLE_S: Final = 60.0
"""Of silence, pings unanswered, after which a connection is given up."""
CHAIN_BACKOFF_MIN_S: Final = 0.25
CHAIN_BACKOFF_MAX_S: Final = 30.0
"""Between two tries of one endpoint; the wait is drawn uniformly below a bound that doubles."""
CHAIN_BUSY_S: Final = 10.0
"""More than that for an endpoint that answered 403 or 429."""
CHAIN_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""One answer. The metadata of the public chain is 0.7 MiB in hex, all its metagraphs about 10 MiB."""
CHAIN_NOTICES_MAX: Final = 1_024
"""Notices of one subscription that wait to be read; a slower reader loses the subscription."""
CHAIN_RUNTIMES_MAX: Final = 4
"""Runtimes of one connection kept decoded, 3 MiB each."""
CHAIN_METADATA_FILES_MAX: Final = 16
"""Metadata files in the cache directory, 0.4 MiB each; the oldest go."""
CHAIN_KEYS_PAGE: Final = 512
"""Keys of a map read at once; nodes refuse more than 1,000."""
CHAIN_METADATA_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one runtime's metadata, in a file or an answer. The public chain's is 0.35 MiB."""
CHAIN_BLOCKS_REMEMBERED_MAX: Final = 1_024
"""Blocks whose number and runtime version are remembered, 200 bytes each."""
CHAIN_ERA_BLOCKS: Final = 8
"""Blocks in which an extrinsic may be included; a power of two, as eras are. What comes later is void by itself."""
CHAIN_SUBMISSIONS_MAX: Final = 3
"""Times an extrinsic is signed anew when a node refuses its nonce or its era for what happened meanwhile."""
CHAIN_SCAN_S: Final = 1.0
"""Between two looks at new blocks for an extrinsic whose watch was lost."""
CHAIN_THREADS_MAX: Final = 4
"""Threads of one AsyncConnection that read, and as many that submit: so many calls are under way at once."""


# --- epochs -----------------------------------------------------------------------------------------------

EPOCH_ANCHOR_BLOCKS: Final = 25
"""New batches refer to a block of every so many: 5 minutes. Each is one that late readers look up, 1 ms on a fast line;
of the hour by which a batch may differ from its block this takes as much."""
EPOCH_ANCHOR_MS: Final = 300_000
"""Or to a block that is so much newer, where blocks come more slowly, or came to a halt."""
EPOCH_BEHIND_MS: Final = 90_000
"""An endpoint may be behind another for so long: then its silence about a block is no objection any more, and its
being behind a problem."""
EPOCH_WANTED_MAX: Final = 1_024
"""Epochs, and blocks' times, that are needed and not known; members can name any, so the oldest give way."""
EPOCH_TIMES_READ_MAX: Final = 64
"""Blocks whose time is asked for in one go."""
EPOCH_RETRY_MS: Final = 1_000
"""After an epoch could not be read, or was not believed; doubles with each time."""
EPOCH_RETRY_MAX_MS: Final = 60_000
EPOCH_OLDER_RETRY_MAX_MS: Final = 3_600_000
"""For an epoch that is not the present one: members can name many that no endpoint has."""
EPOCH_DOUBTS_MAX: Final = 16
"""Epochs that wait for a second endpoint, 80 KiB each where they have 256 members."""
EPOCHS_CACHED_MAX: Final = 128
"""In memory, for batches that come late: 300 bytes a member where their members differ."""
EPOCH_TIMES_CACHED_MAX: Final = 8_192
"""Times of blocks in memory, 100 bytes each."""
EPOCH_TICK_S: Final = 0.5
EPOCH_START_S: Final = 60
"""A node that knows no epoch yet waits this long for the chain before it gives up."""
EPOCH_STALL_S: Final = 90
"""A final block older than this makes a node ask another endpoint: a node can hang and still answer. Blocks come every
12 s, and are final after three."""
EPOCH_STALL_MAX_S: Final = 3_600
"""Between two such changes where the others are no newer, or this machine's clock is wrong; doubles up to this."""
EPOCH_OPINION_S: Final = 5.0
"""For one question to an endpoint that is not the one followed: it is waited for before an epoch begins."""
EPOCH_CLOCK_MS: Final = 60_000
"""A final block that is newer than this machine's clock by more than this is called a wrong clock."""


# --- access control ---------------------------------------------------------------------------------------

POLICY_BYTES_MAX: Final = 64 * 1024
"""A policy document, which every node keeps and parses once."""
POLICY_RULES_MAX: Final = 1_000
"""Rules, quotas and revoked grants of one document; each is looked at once for a pair of account and table."""
POLICIES_CACHED_MAX: Final = 16
"""Parsed documents in memory, up to 1 MiB each."""
RIGHTS_CACHED_MAX: Final = 4_096
"""Accounts whose rights are remembered, about 1 KiB each."""
GRANT_BLOCKS_MAX: Final = 8
"""Times a grant can be handed on; each is a signature to verify, 54 us, once."""
GRANT_BYTES_MAX: Final = 8 * 1024
"""A grant travels in every batch that needs it."""
GRANTS_PER_BATCH_MAX: Final = 8
SEAL_EPOCHS: Final = 64
"""For so many epochs after a writer departed this node watches its log and attests where it ended."""
GRANTS_CACHED_MAX: Final = 1_024
"""Grants whose signatures were verified, up to 8 KiB each."""


# --- signed HTTP requests ---------------------------------------------------------------------------------

HTTP_WINDOW_NS: Final = 120_000_000_000
"""How far the time in a request's nonce may be from now, as Fiber has it."""
HTTP_NONCES_MAX: Final = 1 << 20
"""Nonces remembered in all, 76 bytes each: 4,000 requests a second, for the four minutes in which one could come
again."""
HTTP_NONCES_PER_VALIDATOR_MAX: Final = 1 << 18
HTTP_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a request, read and hashed before anybody knows who sent it."""
HTTP_BODIES_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of all bodies that are still on their way to one app; who sends more of them is told to come later."""
HTTP_BODY_S: Final = 30.0
"""Within this a body must have come; a slow sender holds what it has sent so far."""
HTTP_HEAD_BYTES_MAX: Final = 64 * 1024
"""Of a message's headers, with what comes before and after them and is no body. Parsers have no limit, and take ever
longer for a header that does not end."""
HTTP_HEAD_S: Final = 10.0
"""Within this the headers of a request must have come, where `http.listener` is what listens."""
HTTP_KEY_TTL_S: Final = 5 * 60 * 60
"""For so long a symmetric key is good, as Fiber has it."""
HTTP_KEYS_PER_VALIDATOR_MAX: Final = 16
HTTP_KEYS_MAX: Final = 8_192
"""Symmetric keys of all validators, 1 KiB each; the oldest give way."""
HTTP_CONNECTIONS_MAX: Final = 1_024
"""Of one httpx client to miners; each is a descriptor and some 10 KiB."""
HTTP_IDLE_S: Final = 4.0
"""A connection is used again within this: servers close theirs after 5 s without a request."""
HTTP_ANSWER_BUFFER_BYTES_MAX: Final = 256 * 1024
"""Of an answer, read ahead of who asked for it."""
HTTP_HANDSHAKE_S: Final = 3
"""For each of the two requests of a handshake, as Fiber has it."""
SESSION_DIAL_MS: Final = 5_000
"""For a session with a miner that offered one; requests go by HTTP meanwhile."""
SESSION_RETRY_MIN_S: Final = 5.0
SESSION_RETRY_MAX_S: Final = 600.0
"""After a failed attempt at a session the next waits, each time twice as long."""
SESSION_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one whole answer over a session, held in memory on both sides."""


# --- development chain ------------------------------------------------------------------------------------

DEVCHAIN_BLOCK_MS: Final = 250
"""Between two blocks when they are made by time. Subtensor: 12,000; its fast-block build: 250."""
DEVCHAIN_STATES_MAX: Final = 256
"""Blocks whose state can be read, as on a node that prunes. Each keeps the values that its block overwrote."""
DEVCHAIN_BLOCKS_MAX: Final = 16_384
"""Blocks whose header and body are kept, about 2 KiB each; of older ones only the hash, 32 bytes each."""
DEVCHAIN_FINALITY_LAG: Final = 2
"""A block is final when it has this many successors, unless blocks are made instantly: then at once."""
DEVCHAIN_BLOCK_EXTRINSICS_MAX: Final = 512
"""In one block; the rest waits in the pool. One takes about 0.5 ms to apply."""
DEVCHAIN_POOL_READY_MAX: Final = 8_192
"""Transactions that can go into the next block, as in a node; each is a few hundred bytes."""
DEVCHAIN_POOL_FUTURE_MAX: Final = 819
"""Transactions whose nonce has a gap before it, as in a node."""
DEVCHAIN_POOL_BYTES_MAX: Final = 20 * 1024 * 1024
DEVCHAIN_BAN_MS: Final = 30 * 60 * 1000
"""An extrinsic that was refused or is in a block is not looked at again for this long, as in a node."""
DEVCHAIN_BANNED_MAX: Final = 4_096
"""Hashes remembered for it, 100 bytes each; the oldest give way."""
DEVCHAIN_REQUEST_BYTES_MAX: Final = 15 * 1024 * 1024
"""Of one request or batch, as in a node. One of up to twice this is read and refused, above that the socket closes."""
DEVCHAIN_RESPONSE_BYTES_MAX: Final = 15 * 1024 * 1024
DEVCHAIN_BATCH_MAX: Final = 1_000
"""Requests in one batch; they are answered in one go, so it also bounds how long others wait."""
DEVCHAIN_CONNECTIONS_MAX: Final = 512
"""A further one is answered with HTTP 429, as a node does at 100. Each costs about 50 KiB."""
DEVCHAIN_SUBSCRIPTIONS_MAX: Final = 1_024
"""Of one connection, as in a node."""
DEVCHAIN_NOTIFICATIONS_BYTES_MAX: Final = 16 * 1024 * 1024
"""Not yet read by one connection; beyond it the connection is dropped. New heads are 600 bytes each."""
DEVCHAIN_KEYS_PAGE_MAX: Final = 1_000
"""Keys in one page, as in a node."""
DEVCHAIN_CLOSE_S: Final = 2
"""When the server stops, time for clients to answer the closing handshake."""
