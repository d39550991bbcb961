# cython: language_level=3
"""The C layout of what codec hands out. For codec.pyx alone: no other extension cimports these classes."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef class Message:
    cdef bytes data                     # tag and buffer, verified
    cdef readonly uint16_t version
    cdef readonly uint8_t type
    cdef readonly uint64_t timestamp    # ns since the Unix epoch
    cdef readonly uint64_t nonce
    cdef uint32_t sender_at             # positions count from the buffer's start, one byte behind the tag
    cdef uint32_t payload_at
    cdef uint32_t payload_bytes
    cdef uint32_t signature_at
    cdef uint32_t signature_bytes

    cdef bytes _slice(self, size_t at, size_t count)


cdef class Batch:
    cdef readonly bytes raw             # what was signed
    cdef readonly bytes spans           # packed ChangeSpan[count], offsets into raw
    cdef readonly str space
    cdef readonly tuple tables          # of (name, merge)
    cdef readonly uint16_t netuid
    cdef readonly uint64_t generation
    cdef readonly uint64_t seq_first
    cdef readonly uint32_t count
    cdef readonly uint64_t epoch
    cdef readonly uint64_t ref_block
    cdef readonly uint64_t hlc_first    # 48 bits of ms, 16 bits of counter
    cdef uint32_t genesis_at
    cdef uint32_t account_at
    cdef uint32_t prev_digest_at

    cdef bytes _slice(self, size_t at)
    cdef tuple _change(self, size_t index)
