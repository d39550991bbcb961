# cython: language_level=3
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mycelium._core.hashing cimport HashKey, Slots

cdef enum:
    TICKS = 64

cdef struct Entry:                     # 24 bytes
    uint64_t nonce
    uint64_t tick                      # of its time stamp
    uint32_t sender                    # number of the sender in the pool
    uint32_t next                      # the next entry of its bucket, or the next free one

cdef struct Sender:                    # 36 bytes
    uint8_t account[32]
    uint32_t live                      # its entries; while the record is free, the next free one

cdef struct Table:
    HashKey key
    Entry* entries                     # pools of `entries_max`, used from the front
    Sender* senders
    Slots entry_slots                  # two slots for each record of a pool: load at most 1/2
    Slots sender_slots
    uint32_t entries_used              # records of the pool that were ever in use
    uint32_t senders_used
    uint32_t entry_free                # first of the list of free records below entries_used
    uint32_t sender_free
    uint32_t buckets[TICKS]            # lists of entries by tick modulo TICKS

cdef struct Place:                     # where a pair is, or would go
    uint32_t sender
    uint32_t sender_at
    uint32_t entry_at

@cython.final
cdef class ReplayWindow:
    cdef Table table
    cdef uint32_t entries_max
    cdef uint32_t per_sender_max
    cdef uint32_t live
    cdef uint64_t window_ns
    cdef uint64_t ahead_ns
    cdef uint64_t started_ns
    cdef uint64_t tick_ns
    cdef uint64_t swept                # no live entry has an earlier tick
    cdef uint64_t forgotten_ns         # entries with an earlier stamp than this may be gone

    cdef int judge(
        self, const uint8_t* account, uint64_t nonce, uint64_t stamp, uint64_t now, Place* place
    ) except -1
    cdef int sweep(self, uint64_t low) except -1
    cdef int forget(self, uint32_t number) except -1
    cdef int store(self, const uint8_t* account, uint64_t nonce, uint64_t stamp, Place* place) except -1
