# cython: language_level=3
"""The rows that one batch touches, and what becomes of each. Header only; the rules are described in merge.pyx.

Owns what is decided of one row, given its stored state and the changes of the batch to it. Must not: allocate, touch a
Python object, or know where rows are stored. Nothing here can raise, hence `noexcept`.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from mycelium._core.changes cimport MERGE_COUNTER, MERGE_SET, OP_PUT
from mycelium._core.clocks cimport Clocks, Slot, clocks_probe, clocks_put
from mycelium._core.siphash cimport Hash

cdef enum:
    COLUMN_LIVE = 0
    COLUMN_DEAD = 1
    STATE_NONE = 0
    STATE_LIVE = 1              # 1 << column
    STATE_DEAD = 2

# What is to be done about a row, of which `change` or `removal` is the cause.
cdef enum:
    ACT_PUT_LIVE = 1
    ACT_DELETE_LIVE = 2
    ACT_PUT_DEAD = 4
    ACT_DELETE_DEAD = 8
    ACT_VISIBLE = 16


cdef struct Row:
    Hash hash
    uint64_t hlc                # of the stored row, then as decided; counters: the greatest of all contributions
    uint64_t seq                # counters: the greatest of all contributions
    uint64_t sum_low            # counters: i128, two's complement
    uint64_t sum_high
    int32_t change              # the last put, delete, add or insert of the batch, -1 for none
    int32_t removal             # sets: the last removal of the batch, -1 for none
    uint32_t dot_at             # sets: where `removal` names the dot
    uint8_t merge
    uint8_t op                  # of `change`
    uint8_t state               # as stored, then as decided
    uint8_t fetch               # bit c: column c must be read
    bint newer                  # the batch's candidate orders above the stored row of an equal clock


cdef struct Rows:
    Row* row
    int64_t count
    int32_t* buckets            # 0 for none, or the number of a row + 1; twice as many as rows, a power of two
    uint64_t mask


cdef inline Row* rows_of(Rows* rows, Hash hash) noexcept:
    """The row of that key, made on first sight. The caller has room for every call it makes."""
    cdef uint64_t at = hash.low & rows.mask
    cdef Row* row
    while rows.buckets[at] != 0:
        row = &rows.row[rows.buckets[at] - 1]
        if row.hash.low == hash.low and row.hash.high == hash.high:
            return row
        at = (at + 1) & rows.mask
    row = &rows.row[rows.count]
    rows.count += 1
    rows.buckets[at] = <int32_t>rows.count
    row.hash = hash
    row.change = -1
    row.removal = -1
    return row


cdef inline void row_add(Row* row, uint64_t high, uint64_t low) noexcept:
    """Add an i128. It holds 2^64 additions of i64, and an origin has no more sequence numbers than that."""
    row.sum_low += low
    row.sum_high += high + (row.sum_low < low)


cdef inline int32_t row_candidate(const Row* row) noexcept:
    """The change whose clock is held against the stored one, or -1: an insertion never is."""
    return row.removal if row.merge == MERGE_SET else row.change


cdef inline void row_look_up(Row* row, const Clocks* clocks, uint64_t hlc_first) noexcept:
    """Take the stored state from the index, or note what must be read: unknown rows, equal clocks, counters."""
    cdef int32_t candidate = row_candidate(row)
    cdef Slot slot
    if row.merge == MERGE_COUNTER:
        row.fetch = 1 << COLUMN_LIVE
        return
    slot = clocks.slots[clocks_probe(clocks, row.hash)]
    if slot.low == 0:
        row.fetch = 0 if clocks.complete else 1 << COLUMN_LIVE | 1 << COLUMN_DEAD
        return
    row.hlc = slot.hlc
    row.state = STATE_DEAD if slot.high & 1 else STATE_LIVE
    if row.merge == MERGE_SET and row.state == STATE_LIVE:
        return
    if candidate >= 0 and row.hlc == hlc_first + <uint64_t>candidate:
        row.fetch = row.state
        row.state = STATE_NONE


cdef inline int row_decide(Row* row, uint64_t hlc_first) noexcept:
    """Move `state` and `hlc` to what they will be; returns what must be done for it."""
    cdef int32_t candidate = row_candidate(row)
    cdef uint64_t hlc = hlc_first + <uint64_t>candidate
    cdef uint8_t before = row.state
    if row.merge == MERGE_COUNTER:
        return ACT_PUT_LIVE
    if candidate < 0:
        if before != STATE_NONE:
            return 0            # seen before, or dead: a removal may come first
        row.state = STATE_LIVE
        row.hlc = hlc_first + <uint64_t>row.change
        return ACT_PUT_LIVE | ACT_VISIBLE
    # A live dot always yields to its removal; everything else to the greater clock.
    if row.merge == MERGE_SET and before == STATE_LIVE:
        row.hlc = 0
        row.newer = True
    if before != STATE_NONE and (row.hlc > hlc or (row.hlc == hlc and not row.newer)):
        return 0
    row.hlc = hlc
    if row.merge != MERGE_SET and row.op == OP_PUT:
        row.state = STATE_LIVE
        return ACT_PUT_LIVE | ACT_VISIBLE | (ACT_DELETE_DEAD if before == STATE_DEAD else 0)
    row.state = STATE_DEAD
    if before == STATE_DEAD:
        return ACT_PUT_DEAD | (0 if row.merge == MERGE_SET else ACT_VISIBLE)
    return ACT_PUT_DEAD | ACT_VISIBLE | (ACT_DELETE_LIVE if before == STATE_LIVE else 0)


cdef inline void rows_learn(const Rows* rows, Clocks* clocks) noexcept:
    """Bring the index up to what was decided, and to what was read on the way."""
    cdef int64_t r
    for r in range(rows.count):
        if rows.row[r].merge != MERGE_COUNTER and rows.row[r].state != STATE_NONE:
            clocks_put(clocks, rows.row[r].hash, rows.row[r].hlc, rows.row[r].state == STATE_DEAD)
