# cython: language_level=3
"""The changes of one batch as merge sees them: checked spans, row keys, headers and the order of changes.

Header only. Owns the layout that merge.pyx describes; must not know the index, the store or what wins.
Pointers come from cursor.pxd alone; writes go through a Sink of ROW_KEY_BYTES_MAX bytes.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from mycelium._core.cursor cimport (
    ChangeSpan, Cursor, Sink, cursor_at, cursor_need, sink_copy, sink_need, span_load,
)

cdef extern from *:
    """
    #define changes_prefetch(address) __builtin_prefetch(address)
    """
    void changes_prefetch(const void* address) noexcept

cdef enum:
    HEADER_BYTES = 56           # hlc8 account32 generation8 seq8
    DOT_BYTES = 48              # account32 generation8 seq8: the header without its clock
    COUNTER_BYTES = 72          # a header and an i128
    NAMES_BYTES_MAX = 131       # space 00 table 00 merge, with names of up to 64 bytes
    PREFETCH_BYTES = 256        # of a value: further on the processor has seen the pattern
    ROW_KEY_BYTES_MAX = 2240    # names, twice the longest key, its end and a header, rounded up

cdef enum:
    MERGE_LWW = 0
    MERGE_COUNTER = 1
    MERGE_SET = 2
    MERGE_APPEND = 3
    MERGE_OWN = 4
    MERGE_MAX = 4
    OP_PUT = 0
    OP_DELETE = 1
    OP_ADD = 2
    OP_INSERT = 3
    OP_REMOVE = 4
    OP_MAX = 4


cdef struct Table:
    Cursor prefix
    uint8_t merge


cdef struct Limits:
    uint32_t key_bytes
    uint32_t value_bytes
    uint32_t dots


cdef struct Changes:
    Cursor raw
    Cursor spans
    Table* tables
    uint32_t tables_count
    int32_t count
    uint64_t seq_first
    uint64_t hlc_first
    uint8_t[HEADER_BYTES] header    # of the change last stamped; account and generation never differ


cdef inline void store_u64(uint8_t* out, uint64_t value) noexcept:
    """Big-endian, so that the order of bytes is the order of numbers."""
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (56 - 8 * i))


cdef inline uint64_t load_u64(const uint8_t* data) noexcept:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = (value << 8) | data[i]
    return value


cdef inline int changes_fail(const char* why, int32_t i, uint64_t a, uint64_t b) except -1:
    from mycelium.errors import MalformedMessage
    raise MalformedMessage(f"change {i}: {why.decode('ascii')} ({a}, {b})")


cdef inline bint op_allowed(uint8_t merge, uint8_t op) noexcept:
    if merge == MERGE_LWW or merge == MERGE_OWN:
        return op == OP_PUT or op == OP_DELETE
    if merge == MERGE_SET:
        return op == OP_INSERT or op == OP_REMOVE
    return op == (OP_ADD if merge == MERGE_COUNTER else OP_PUT)


cdef inline bint value_allowed(uint8_t op, uint32_t value_bytes, const Limits* limits) noexcept:
    if op == OP_DELETE:
        return value_bytes == 0
    if op == OP_ADD:
        return value_bytes == 8
    if op == OP_REMOVE:
        return value_bytes % DOT_BYTES == 0 and value_bytes // DOT_BYTES <= limits.dots
    return value_bytes <= limits.value_bytes


cdef inline int64_t changes_check(const Changes* c, const Limits* limits) except -1:
    """Refuse the batch before any effect (MalformedMessage); returns how many rows it can touch."""
    cdef uint64_t content = 0
    cdef uint32_t at
    cdef int64_t rows = 0
    cdef ChangeSpan span
    cdef uint8_t merge
    cdef int32_t i
    for i in range(c.count):
        span_load(&c.spans, i, &span)
        if span.table >= c.tables_count:
            changes_fail(b"no such table (number, count)", i, span.table, c.tables_count)
        cursor_need(&c.raw, span.key_at, span.key_bytes)
        cursor_need(&c.raw, span.value_at, span.value_bytes)
        if span.key_bytes == 0 or span.key_bytes > limits.key_bytes:
            changes_fail(b"length of key (bytes, most)", i, span.key_bytes, limits.key_bytes)
        # A batch is larger than the first cache; fetching it now, many lines at once, takes 0.1 us off a change.
        changes_prefetch(cursor_at(&c.raw, span.key_at, 1))
        for at in range(span.value_at, span.value_at + min(span.value_bytes, PREFETCH_BYTES), 64):
            changes_prefetch(cursor_at(&c.raw, at, 1))
        merge = c.tables[span.table].merge
        if not op_allowed(merge, span.op):
            changes_fail(b"operation that the merge type has not (operation, merge type)", i, span.op, merge)
        if not value_allowed(span.op, span.value_bytes, limits):
            changes_fail(b"length of value (operation, bytes)", i, span.op, span.value_bytes)
        content += <uint64_t>span.key_bytes + span.value_bytes
        # Spans that share bytes would let 1 MiB from a peer cost the work and memory of gigabytes.
        if content > c.raw.size:
            changes_fail(b"shares bytes with another (bytes so far, in the batch)", i, content, c.raw.size)
        rows += span.value_bytes // DOT_BYTES if span.op == OP_REMOVE else 1
    return rows


cdef inline const uint8_t* changes_stamp(Changes* c, int32_t i) noexcept:
    """The header of change `i`, valid until the next stamp."""
    store_u64(c.header, c.hlc_first + <uint64_t>i)
    store_u64(c.header + 48, c.seq_first + <uint64_t>i)
    return c.header


cdef inline int sink_escaped(Sink* out, const uint8_t* key, size_t size) except -1:
    """00 becomes 00 FF and 00 01 ends the key: prefix-free, and sorted as the keys are."""
    cdef uint8_t* to
    cdef size_t i
    if memchr(key, 0, size) == NULL:
        sink_copy(out, key, size)
    else:
        sink_need(out, out.at, 2 * size)
        to = out.data + out.at
        for i in range(size):
            to[0] = key[i]
            to += 1
            if key[i] == 0:
                to[0] = 0xFF
                to += 1
        out.at = to - out.data
    return sink_copy(out, b"\x00\x01", 2)


cdef inline int sink_row_key(Sink* out, const Table* table, const uint8_t* key, size_t size,
                             const uint8_t* header, const uint8_t* dot) except -1:
    """Append a row key. `header` gives clock and origin; `dot` (48 bytes) names the insertion, for sets."""
    sink_copy(out, table.prefix.data, table.prefix.size)
    if table.merge == MERGE_LWW or table.merge == MERGE_OWN:
        return sink_copy(out, key, size)
    sink_escaped(out, key, size)
    if table.merge == MERGE_COUNTER:
        return sink_copy(out, header + 8, 40)
    if table.merge == MERGE_APPEND:
        return sink_copy(out, header, HEADER_BYTES)
    return sink_copy(out, dot, DOT_BYTES)


cdef inline int changes_key(Changes* c, Sink* out, int32_t i, uint32_t dot_at) except -1:
    """Append the row key of change `i`; of a removal, that of the dot at `dot_at`."""
    cdef ChangeSpan span
    cdef const uint8_t* key
    cdef const uint8_t* dot
    span_load(&c.spans, i, &span)
    key = cursor_at(&c.raw, span.key_at, span.key_bytes)
    changes_stamp(c, i)
    dot = cursor_at(&c.raw, dot_at, DOT_BYTES) if span.op == OP_REMOVE else c.header + 8
    return sink_row_key(out, &c.tables[span.table], key, span.key_bytes, c.header, dot)


cdef inline int changes_order(Changes* c, int32_t i, int column, const Cursor* stored) except? -2:
    """Compare change `i` with a stored row of the same clock by (account, op, value, generation, seq): <0, 0, >0."""
    cdef size_t payload = stored.size - HEADER_BYTES
    cdef const uint8_t* row = cursor_at(stored, 0, stored.size)
    cdef const uint8_t* value
    cdef ChangeSpan span
    cdef int order
    cursor_need(stored, 0, HEADER_BYTES)
    span_load(&c.spans, i, &span)
    value = cursor_at(&c.raw, span.value_at, span.value_bytes)
    order = memcmp(changes_stamp(c, i) + 8, row + 8, 32)
    if order == 0:
        order = <int>span.op - column           # put = LIVE = 0, delete = DEAD = 1
    if order == 0:
        order = memcmp(value, row + HEADER_BYTES, min(payload, <size_t>span.value_bytes))
    if order == 0 and payload != span.value_bytes:
        order = 1 if span.value_bytes > payload else -1
    if order == 0:
        order = memcmp(c.header + 40, row + 40, 16)
    return (order > 0) - (order < 0)
