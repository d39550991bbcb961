# cython: language_level=3
"""Which keys of a batch lie outside the ranges that its writer may touch. About 20 ns a change.

Owns the comparison of keys with ranges, in place, where the batch's bytes are; knows no policy: the ranges of a table
and operation are asked once for each pair that occurs. Ranges are sorted, disjoint and half-open.
"""

from libc.stdint cimport uint32_t

from mycelium._core.allow cimport key_inside
from mycelium._core.cursor cimport ChangeSpan, Cursor, cursor_at, cursor_fail, cursor_over, span_load


def first_outside(bytes raw not None, bytes spans not None, find):
    """The index of the first change whose key is in none of its ranges; -1 when there is none.

    raw, spans: of a batch that `codec` has verified. find: (table, op) -> (starts, stops), two tuples of bytes of equal
    length, the last stop None for no bound; or None where every key is allowed. MalformedMessage for spans that
    leave `raw`, ValueError for ranges that are none.
    """
    cdef Cursor data, packed
    cdef ChangeSpan span
    cdef uint32_t i, count
    cdef int pair, last_pair = -1
    cdef dict known = {}
    cdef tuple starts = (), stops = ()
    cdef bint everything = False
    cursor_over(&data, raw, 0)
    cursor_over(&packed, spans, 0)
    if packed.size % sizeof(ChangeSpan):
        cursor_fail(b"half a span", packed.size)
    count = <uint32_t>(packed.size // sizeof(ChangeSpan))
    for i in range(count):
        span_load(&packed, i, &span)
        pair = span.table << 8 | span.op
        if pair != last_pair:
            if pair not in known:
                known[pair] = find(span.table, span.op)
            ranges = known[pair]
            everything = ranges is None
            if not everything:
                starts, stops = ranges
                if len(starts) != len(stops):
                    raise ValueError("as many starts as stops")
            last_pair = pair
        if not everything and not key_inside(
            cursor_at(&data, span.key_at, span.key_bytes), span.key_bytes, starts, stops
        ):
            return i
    return -1
