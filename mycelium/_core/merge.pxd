# cython: language_level=3
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from mycelium._core.changes cimport Changes
from mycelium._core.clocks cimport Clocks
from mycelium._core.cursor cimport ChangeSpan
from mycelium._core.rows cimport Row, Rows
from mycelium._core.siphash cimport Hash


cdef class Index:
    cdef Clocks clocks
    cdef uint64_t[2] seed
    cdef Hash hash(self, const uint8_t* key, size_t size) noexcept


cdef class Plan:
    cdef readonly bytes winners
    cdef list keys
    cdef list values
    cdef uint8_t* columns
    cdef int add(self, int column, bytes key, object value) except -1


cdef class _Resolver:
    cdef Index index
    cdef Plan plan
    cdef object get
    cdef Changes changes
    cdef Rows rows
    cdef uint8_t* winners
    cdef uint8_t* key
    cdef int open_tables(self, tuple prefixes, bytes merges) except -1
    cdef int open_rows(self) except -1
    cdef void mark(self, int32_t i) noexcept
    cdef Row* row_of(self, int32_t i, const ChangeSpan* span, uint32_t dot_at) except NULL
    cdef int touch(self) except -1
    cdef bytes key_of(self, int32_t i, uint32_t dot_at)
    cdef bytes key_of_row(self, const Row* row)
    cdef bytes value_of(self, int32_t i)
    cdef bytes sum_of(self, const Row* row)
    cdef int look_up(self) except -1
    cdef int read(self, int column, list keys, list places) except -1
    cdef int absorb(self, Row* row, int column, bytes stored) except -1
    cdef int settle(self) except -1
