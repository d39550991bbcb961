# cython: language_level=3
"""The probe table that `replay` and `fanout` share, and its short keyed hash. Header only: no module of its own.

Owns: `Slots`, an open-addressing table of item numbers with linear probing and backward-shift deletion, so that
it holds no graves and never needs a rebuild; and SipHash-1-3 (Aumasson and Bernstein 2012; the variant CPython
uses for its dicts) over fixed sizes. Must not: allocate, or know what an item is.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from mycelium._core.siphash cimport sip_round

cdef enum:
    PROBE_MAX = 256
    # At a load of 1/2, the most that Slots is filled to, a run this long has a probability below 1e-15 a slot
    # (linear probing: e^(-0.19 n)). Reaching it means the key leaked; the insertion is refused.

cdef struct HashKey:
    uint64_t k0
    uint64_t k1

cdef struct Slots:
    uint32_t* cells      # 0 = empty, otherwise item number + 1
    uint32_t capacity

ctypedef uint64_t (*HashOf)(const void* owner, uint32_t item) noexcept


# All below is integer arithmetic within arrays sized by its caller: nothing can raise, hence `noexcept`.

cdef inline void sip_start(uint64_t* v, const HashKey* key) noexcept:
    v[0] = key.k0 ^ <uint64_t>0x736F6D6570736575
    v[1] = key.k1 ^ <uint64_t>0x646F72616E646F6D
    v[2] = key.k0 ^ <uint64_t>0x6C7967656E657261
    v[3] = key.k1 ^ <uint64_t>0x7465646279746573


cdef inline void sip_word(uint64_t* v, uint64_t word) noexcept:
    v[3] ^= word
    sip_round(v)
    v[0] ^= word


cdef inline uint64_t sip_end(uint64_t* v) noexcept:
    v[2] ^= 0xFF
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline uint64_t hash_account(const HashKey* key, const uint8_t* account) noexcept:
    """SipHash-1-3 of 32 bytes."""
    cdef uint64_t[4] v
    cdef uint64_t[4] words
    memcpy(words, account, 32)
    sip_start(v, key)
    sip_word(v, words[0])
    sip_word(v, words[1])
    sip_word(v, words[2])
    sip_word(v, words[3])
    sip_word(v, <uint64_t>32 << 56)
    return sip_end(v)


cdef inline uint64_t hash_pair(const HashKey* key, uint64_t first, uint64_t second) noexcept:
    """SipHash-1-3 of two words."""
    cdef uint64_t[4] v
    sip_start(v, key)
    sip_word(v, first)
    sip_word(v, second)
    sip_word(v, <uint64_t>16 << 56)
    return sip_end(v)


cdef inline uint32_t slots_home(const Slots* slots, uint64_t hashed) noexcept:
    """The slot where probing for a hash begins: its upper half, scaled to the capacity (Lemire 2019)."""
    return <uint32_t>(((hashed >> 32) * slots.capacity) >> 32)


cdef inline uint32_t slots_next(const Slots* slots, uint32_t at) noexcept:
    at += 1
    return 0 if at == slots.capacity else at


cdef inline uint32_t distance(uint32_t start, uint32_t end, uint32_t capacity) noexcept:
    return end - start if end >= start else end + capacity - start


cdef inline void slots_remove(Slots* slots, uint32_t at, const void* owner, HashOf hash_of) noexcept:
    """Empty the slot `at`, moving back each later item of its run that would become unreachable (Knuth 6.4
    R)."""
    cdef uint32_t hole = at
    cdef uint32_t home
    cdef uint32_t capacity = slots.capacity
    while True:
        at = slots_next(slots, at)
        if slots.cells[at] == 0:
            break
        home = slots_home(slots, hash_of(owner, slots.cells[at] - 1))
        # It may fill the hole only if the hole lies on its way from home: cyclically home <= hole < at.
        if distance(home, at, capacity) >= distance(hole, at, capacity):
            slots.cells[hole] = slots.cells[at]
            hole = at
    slots.cells[hole] = 0
