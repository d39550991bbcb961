# cython: language_level=3
"""SipHash-2-4 with 128-bit output (Aumasson and Bernstein, 2012; the 128-bit mode of the authors' C code).

Keyed, so that a peer who chooses row keys cannot choose where they land in a table. About 40 ns for 48 bytes.
The caller vouches that `data` holds `size` bytes. Little-endian loads are the host's: the hash never leaves
the process, and on a big-endian host it would only differ from the published vectors.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef struct Hash:
    uint64_t low
    uint64_t high


cdef inline uint64_t rotate_left(uint64_t x, int bits) noexcept:
    return (x << bits) | (x >> (64 - bits))


cdef inline void sip_round(uint64_t* v) noexcept:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotate_left(v[1], 13) ^ v[0]
    v[3] = rotate_left(v[3], 16) ^ v[2]
    v[0] = rotate_left(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = rotate_left(v[1], 17) ^ v[2]
    v[3] = rotate_left(v[3], 21) ^ v[0]
    v[2] = rotate_left(v[2], 32)


cdef inline Hash siphash(const uint64_t* seed, const uint8_t* data, size_t size) noexcept:
    cdef uint64_t[4] v
    cdef uint64_t word = 0
    cdef size_t at = 0
    cdef int i
    cdef Hash out
    v[0] = seed[0] ^ <uint64_t>0x736F6D6570736575
    v[1] = seed[1] ^ <uint64_t>0x646F72616E646F6D ^ <uint64_t>0xEE
    v[2] = seed[0] ^ <uint64_t>0x6C7967656E657261
    v[3] = seed[1] ^ <uint64_t>0x7465646279746573
    while size - at >= 8:
        memcpy(&word, data + at, 8)
        v[3] ^= word
        sip_round(v)
        sip_round(v)
        v[0] ^= word
        at += 8
    word = <uint64_t>(size & 0xFF) << 56
    for i in range(<int>(size - at)):
        word |= <uint64_t>data[at + i] << (8 * i)
    v[3] ^= word
    sip_round(v)
    sip_round(v)
    v[0] ^= word
    v[2] ^= <uint64_t>0xEE
    for i in range(4):
        sip_round(v)
    out.low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= <uint64_t>0xDD
    for i in range(4):
        sip_round(v)
    out.high = v[0] ^ v[1] ^ v[2] ^ v[3]
    return out
