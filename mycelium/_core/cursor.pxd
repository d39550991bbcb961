# cython: language_level=3
"""Checked access to borrowed memory: the only place in `_core` that follows a pointer (invariant 8).

Owns bounds and byte order; must not know what the bytes mean. A read or write outside [0, size) raises
MalformedMessage and touches nothing. Integers are little-endian on the wire and are assembled from single
bytes, so that neither the host's byte order nor an odd address matters; compilers make one load of it.

The memory belongs to a `bytes` object that the caller keeps alive for as long as the cursor is used.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


ctypedef packed struct ChangeSpan:
    # 20 bytes, host order: where one verified change lies in its batch's bytes. What codec hands to merge.
    uint16_t table
    uint8_t op
    uint8_t reserved
    uint32_t key_at
    uint32_t key_bytes
    uint32_t value_at
    uint32_t value_bytes


cdef struct Cursor:
    const uint8_t* data
    size_t size


cdef struct Sink:
    uint8_t* data
    size_t size                 # bytes that may be written
    size_t at                   # bytes written so far


cdef inline int cursor_fail(const char* why, size_t at) except -1:
    """Raise MalformedMessage. Imported on failure only: a .pxd has no module of its own to hold the class."""
    from mycelium.errors import MalformedMessage
    raise MalformedMessage(f"{why.decode('ascii')} at byte {at}")


cdef inline int cursor_oversized(size_t count, size_t count_max) except -1:
    """Raise OversizedMessage."""
    from mycelium.errors import OversizedMessage
    raise OversizedMessage(f"{count} bytes, at most {count_max}")


cdef inline int cursor_over(Cursor* cursor, bytes data, size_t skip) except -1:
    """Point at `data` without its first `skip` bytes."""
    if skip > <size_t>PyBytes_GET_SIZE(data):
        cursor_fail(b"truncated", 0)
    cursor.data = <const uint8_t*>PyBytes_AS_STRING(data) + skip
    cursor.size = <size_t>PyBytes_GET_SIZE(data) - skip
    return 0


cdef inline int cursor_need(const Cursor* cursor, size_t at, size_t count) except -1:
    """`count` bytes exist from `at` on. Written so that no sum can wrap."""
    if count > cursor.size or at > cursor.size - count:
        cursor_fail(b"out of bounds", at)
    return 0


cdef inline int cursor_u8(const Cursor* cursor, size_t at, uint8_t* out) except -1:
    cursor_need(cursor, at, 1)
    out[0] = cursor.data[at]
    return 0


cdef inline int cursor_u16(const Cursor* cursor, size_t at, uint16_t* out) except -1:
    cdef const uint8_t* p
    cursor_need(cursor, at, 2)
    p = cursor.data + at
    out[0] = <uint16_t>(p[0] | (<uint16_t>p[1] << 8))
    return 0


cdef inline int cursor_u32(const Cursor* cursor, size_t at, uint32_t* out) except -1:
    cdef const uint8_t* p
    cursor_need(cursor, at, 4)
    p = cursor.data + at
    out[0] = p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)
    return 0


cdef inline int cursor_u64(const Cursor* cursor, size_t at, uint64_t* out) except -1:
    cdef const uint8_t* p
    cursor_need(cursor, at, 8)
    p = cursor.data + at
    out[0] = (
        p[0] | (<uint64_t>p[1] << 8) | (<uint64_t>p[2] << 16) | (<uint64_t>p[3] << 24)
        | (<uint64_t>p[4] << 32) | (<uint64_t>p[5] << 40) | (<uint64_t>p[6] << 48) | (<uint64_t>p[7] << 56)
    )
    return 0


cdef inline const uint8_t* cursor_at(const Cursor* cursor, size_t at, size_t count) except NULL:
    """`count` readable bytes at `at`; the caller reads no further."""
    cursor_need(cursor, at, count)
    return cursor.data + at


cdef inline bytes cursor_slice(const Cursor* cursor, size_t at, size_t count):
    """A copy of `count` bytes."""
    cursor_need(cursor, at, count)
    return PyBytes_FromStringAndSize(<const char*>cursor.data + at, <Py_ssize_t>count)


cdef inline int span_load(const Cursor* spans, size_t index, ChangeSpan* out) except -1:
    """Span number `index` of packed spans."""
    if index >= spans.size // sizeof(ChangeSpan):
        cursor_fail(b"no such change", index)
    memcpy(out, spans.data + index * sizeof(ChangeSpan), sizeof(ChangeSpan))
    return 0


cdef inline int sink_need(const Sink* sink, size_t at, size_t count) except -1:
    if count > sink.size or at > sink.size - count:
        cursor_fail(b"write out of bounds", at)
    return 0


cdef inline int sink_u8(Sink* sink, size_t at, uint8_t value) except -1:
    sink_need(sink, at, 1)
    sink.data[at] = value
    return 0


cdef inline int sink_u16(Sink* sink, size_t at, uint16_t value) except -1:
    cdef uint8_t* p
    sink_need(sink, at, 2)
    p = sink.data + at
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)
    return 0


cdef inline int sink_u32(Sink* sink, size_t at, uint32_t value) except -1:
    cdef uint8_t* p
    sink_need(sink, at, 4)
    p = sink.data + at
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)
    p[2] = <uint8_t>(value >> 16)
    p[3] = <uint8_t>(value >> 24)
    return 0


cdef inline int sink_u64(Sink* sink, size_t at, uint64_t value) except -1:
    sink_u32(sink, at, <uint32_t>value)
    sink_u32(sink, at + 4, <uint32_t>(value >> 32))
    return 0


cdef inline int sink_copy(Sink* sink, const void* source, size_t count) except -1:
    """Append `count` bytes of `source`."""
    sink_need(sink, sink.at, count)
    memcpy(sink.data + sink.at, source, count)
    sink.at += count
    return 0


cdef inline int sink_zero(Sink* sink, size_t count) except -1:
    """Append zeros: a fresh buffer holds what the heap held before, and that must not travel."""
    sink_need(sink, sink.at, count)
    memset(sink.data + sink.at, 0, count)
    sink.at += count
    return 0


cdef inline int span_store(Sink* sink, const ChangeSpan* span) except -1:
    """Append a span."""
    return sink_copy(sink, span, sizeof(ChangeSpan))
