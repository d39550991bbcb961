# cython: language_level=3
"""Where a key lies among sorted, disjoint, half-open ranges. Reads the key as far as it is long."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from mycelium._core.cursor cimport Cursor, cursor_over


cdef inline int key_order(const uint8_t* key, size_t size, bytes bound) except -2:
    """-1, 0 or 1 as the key is before, equal to or after the bound, byte by byte, the shorter first."""
    cdef Cursor other
    cdef int order
    cursor_over(&other, bound, 0)
    order = memcmp(key, other.data, min(size, other.size))
    if order == 0:
        return (size > other.size) - (size < other.size)
    return 1 if order > 0 else -1


cdef inline int key_inside(const uint8_t* key, size_t size, tuple starts, tuple stops) except -1:
    """Whether a key is in one of the ranges: the last one that starts at or before it, by bisection."""
    cdef Py_ssize_t low = 0, high = len(starts), middle
    while low < high:
        middle = (low + high) >> 1
        if key_order(key, size, <bytes?>starts[middle]) < 0:
            high = middle
        else:
            low = middle + 1
    if low == 0:
        return 0
    stop = stops[low - 1]
    return 1 if stop is None else key_order(key, size, <bytes?>stop) < 0
