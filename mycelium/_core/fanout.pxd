# cython: language_level=3
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mycelium._core.hashing cimport Slots
from mycelium._core.siphash cimport Hash

cdef enum:
    CLASSES = 4
    FRAMES = 8

cdef struct SeenTable:
    uint64_t[2] seed
    Hash* prints                       # keyed digests, a ring of `entries_max`; the oldest is overwritten
    Slots slots                        # two for each print: load at most 1/2

@cython.final
cdef class SeenSet:
    cdef SeenTable table
    cdef uint32_t entries_max
    cdef uint32_t used
    cdef uint32_t oldest               # where the next print goes once the ring is full

    cdef int find(self, const Hash* wanted, uint32_t* at) except -1
    cdef Hash print_of(self, bytes id)

cdef struct Ring:                      # a queue of owned references to bytes
    PyObject** items
    size_t capacity                    # a power of two, or 0
    size_t head
    size_t count

@cython.final
cdef class Queue:
    cdef object peer
    cdef Ring rings[CLASSES]
    cdef size_t queued_bytes           # framed, outside the control class
    cdef size_t control_bytes
    cdef size_t messages               # outside the control class
    cdef uint64_t dropped
    cdef bint lagging
    cdef bint listed                   # stands in Fanout.listed

    cdef int push(self, bytes message, int klass) except -1
    cdef int pop(self, int klass, size_t count) except -1

cdef struct Built:                     # a frame and the messages it was built from, all owned; or zeros
    PyObject* frame
    PyObject** messages
    size_t count
    size_t size_bytes
    uint64_t mark                      # a mix of the messages' addresses, which are compared in full after it

@cython.final
cdef class Fanout:
    cdef dict queues                   # peer -> Queue, in the order of add_peer
    cdef list listed                   # queues that gained a message since the last `ready`
    cdef size_t queue_bytes_max
    cdef size_t queue_messages_max
    cdef size_t control_bytes_max
    cdef size_t pending_messages       # over all peers and classes
    cdef Built built[FRAMES]           # the newest frames, overwritten in turn
    cdef uint32_t built_next
    cdef size_t built_bytes            # of all frames in `built`
    cdef readonly uint64_t frames_built
    cdef readonly uint64_t frames_shared

    cdef int put(self, Queue queue, bytes message, int klass) except -1
    cdef bytes frame_of(self, PyObject** messages, size_t count, size_t size_bytes)
    cdef int keep(self, bytes frame, PyObject** messages, size_t count, uint64_t mark) except -1
    cdef int forget_built(self, Built* slot) except -1
    cdef int settle(self) except -1
