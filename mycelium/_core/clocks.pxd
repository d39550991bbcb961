# cython: language_level=3
"""The table behind merge.Index: row-key hash -> newest clock, open addressing with linear probing.

A slot is 24 bytes: 127 bits of keyed hash, one bit `dead`, and the clock; low == 0 marks it empty. At most
3/4 of the slots are used. The home of a hash is its rank scaled to the table's length (no mask, so the last
doubling ends exactly at the length entries_max needs; growing walks both tables in order).

Growing allocates the doubled table beside the old one: while it lasts, about 60 ms per million entries (most of it
the kernel's zeroing), that is 1.5 times the new table's memory. Nothing here touches a Python object, so nothing can
raise: when memory for growth is refused, the table stays as long as it is and evicts.
Invariant 8: every slot number is below slots_count (clocks_home scales into it, clocks_next wraps).
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport uint64_t

from mycelium._core.siphash cimport Hash


cdef extern from *:
    """
    #define clocks_prefetch(address) __builtin_prefetch(address)
    """
    void clocks_prefetch(const void* address) noexcept


cdef struct Slot:
    uint64_t low
    uint64_t high           # bit 0: the newest operation removed the row
    uint64_t hlc


cdef struct Clocks:
    Slot* slots
    uint64_t slots_count
    uint64_t count
    uint64_t count_max
    int doublings           # left until the table has the length count_max needs
    bint complete           # False once an entry was dropped: then a miss says nothing


cdef inline uint64_t clocks_full(uint64_t count_max) noexcept:
    """Slots for count_max entries at 3/4 load."""
    return count_max + (count_max + 2) // 3 + 1


cdef inline bint clocks_open(Clocks* c, uint64_t count_max) noexcept:
    """False when memory is refused. A new table is 64 to 128 slots long, or as long as it will ever be."""
    cdef uint64_t full = clocks_full(count_max)
    c.doublings = 0
    while (full >> c.doublings) > 128:
        c.doublings += 1
    c.slots_count = full >> c.doublings
    c.count = 0
    c.count_max = count_max
    c.slots = <Slot*>PyMem_RawCalloc(c.slots_count, sizeof(Slot))
    return c.slots != NULL


cdef inline uint64_t clocks_home(const Clocks* c, uint64_t word) noexcept:
    return ((word >> 32) * c.slots_count) >> 32


cdef inline uint64_t clocks_next(const Clocks* c, uint64_t at) noexcept:
    at += 1
    return 0 if at == c.slots_count else at


cdef inline uint64_t clocks_probe(const Clocks* c, Hash hash) noexcept:
    """The slot of `hash`, or the empty one where it belongs. Ends, as a quarter of the slots is empty."""
    cdef uint64_t at = clocks_home(c, hash.low)
    while c.slots[at].low != 0:
        if c.slots[at].low == hash.low and (c.slots[at].high | 1) == (hash.high | 1):
            return at
        at = clocks_next(c, at)
    return at


cdef inline bint clocks_grow(Clocks* c) noexcept:
    """False when the table is at its full length, or memory for the doubled one is refused."""
    cdef Clocks grown = c[0]
    cdef uint64_t i
    cdef Hash hash
    if c.doublings == 0:
        return False
    grown.doublings = c.doublings - 1
    grown.slots_count = clocks_full(c.count_max) >> grown.doublings
    grown.slots = <Slot*>PyMem_RawCalloc(grown.slots_count, sizeof(Slot))
    if grown.slots == NULL:
        return False
    for i in range(c.slots_count):
        if c.slots[i].low != 0:
            hash.low = c.slots[i].low
            hash.high = c.slots[i].high
            grown.slots[clocks_probe(&grown, hash)] = c.slots[i]
    PyMem_RawFree(c.slots)
    c[0] = grown
    return True


cdef inline void clocks_evict(Clocks* c, uint64_t random) noexcept:
    """Drop the entry at or after a random slot, closing the gap (Knuth, TAOCP 6.4, algorithm R)."""
    cdef uint64_t hole = clocks_home(c, random)
    cdef uint64_t at, home
    while c.slots[hole].low == 0:
        hole = clocks_next(c, hole)
    at = clocks_next(c, hole)
    while c.slots[at].low != 0:
        home = clocks_home(c, c.slots[at].low)
        # The entry may move back only if its home is not within (hole, at], cyclically.
        if (home <= hole or home > at) if hole <= at else (home <= hole and home > at):
            c.slots[hole] = c.slots[at]
            hole = at
        at = clocks_next(c, at)
    c.slots[hole].low = 0
    c.count -= 1
    c.complete = False


cdef inline void clocks_put(Clocks* c, Hash hash, uint64_t hlc, bint dead) noexcept:
    cdef uint64_t at = clocks_probe(c, hash)
    if c.slots[at].low == 0:
        # The hash is keyed, so its other half is a fair draw that no peer can aim.
        if c.count >= c.count_max:
            clocks_evict(c, hash.high)
            at = clocks_probe(c, hash)
        elif (c.count + 1) * 4 > c.slots_count * 3:
            if not clocks_grow(c):
                clocks_evict(c, hash.high)
            at = clocks_probe(c, hash)
        c.count += 1
    c.slots[at].low = hash.low
    c.slots[at].high = (hash.high & ~<uint64_t>1) | dead
    c.slots[at].hlc = hlc
