# cython: language_level=3
"""What goes to whom, in which order and in which frame; and which ids were seen before.

Owns: the seen-set, each peer's bounded outbound queue, and the frames built from the queues. Must not: know a
socket, a session or what a message says; read a clock or draw randomness (a seed is passed in).

A message is queued by reference, never copied. The next frame of a peer is the concatenation of its queued
messages, each after its length (u32, little-endian), in the order control, repair, push, bulk. Peers whose
queues begin with the same message objects are handed one and the same frame: publishing to n peers copies
each message once, not n times.
"""
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memcmp, memcpy, memset

from mycelium._core.hashing cimport slots_home, slots_next, slots_remove
from mycelium._core.siphash cimport Hash, siphash

from mycelium.errors import Overloaded, UsageError

CONTROL = 0
REPAIR = 1
PUSH = 2
BULK = 3

cdef enum:
    C_CONTROL = 0
    C_PUSH = 2
    PREFIX_BYTES = 4
    # Frames kept to be shared; their messages are kept too, as much again. The newest is always kept.
    BUILT_BYTES_MAX = 2 * 1024 * 1024
    RING_MIN = 8
    RING_KEPT_MAX = 64                 # a larger ring gives its memory back when it is empty
    ENTRIES_LIMIT = 1 << 30            # slot numbers, twice as many, stay within 32 bits
    BYTES_LIMIT = 0x7FFFFFFF           # so that a message's length fits its prefix


# noexcept: reads one record that its caller knows to be in use
cdef uint64_t print_hash(const void* owner, uint32_t number) noexcept:
    return (<const SeenTable*>owner).prints[number].high


@cython.final
cdef class SeenSet:
    """The newest `entries_max` (1..2^30) ids; adding one more forgets the oldest. 24 bytes an id, taken at
    once.

    Ids are bytes of any length, kept as keyed 128-bit digests: who does not know `seed` (16 bytes; default:
    the system's randomness) can neither make two ids look alike nor make lookups slow. Raises UsageError,
    MemoryError.
    """

    def __cinit__(self, object entries_max, bytes seed=None):
        cdef size_t count
        cdef SeenTable* table = &self.table
        if not 1 <= entries_max <= ENTRIES_LIMIT:
            raise UsageError(f"entries_max {entries_max} is not within 1..2^30")
        if seed is None:
            seed = os.urandom(16)
        if PyBytes_GET_SIZE(seed) != 16:
            raise UsageError(f"a seed is 16 bytes, not {len(seed)}")
        memcpy(table.seed, PyBytes_AS_STRING(seed), 16)
        count = entries_max
        table.prints = <Hash*>PyMem_RawCalloc(count, sizeof(Hash))
        table.slots.cells = <uint32_t*>PyMem_RawCalloc(2 * count, sizeof(uint32_t))
        if not (table.prints and table.slots.cells):
            raise MemoryError
        table.slots.capacity = <uint32_t>(2 * count)
        self.entries_max = <uint32_t>count

    def __dealloc__(self):
        PyMem_RawFree(self.table.prints)
        PyMem_RawFree(self.table.slots.cells)

    def __len__(self):
        return self.used

    def __contains__(self, bytes id not None):
        cdef Hash wanted = self.print_of(id)
        cdef uint32_t at
        return self.find(&wanted, &at) == 1

    @property
    def memory_bytes(self):
        """All memory of the set: the same from its construction to its end."""
        return self.entries_max * (sizeof(Hash) + 2 * sizeof(uint32_t)) + sizeof(SeenTable)

    def add(self, bytes id not None):
        """Whether the id is new; it is then remembered. Adding a known id does not make it younger."""
        cdef SeenTable* table = &self.table
        cdef Hash wanted = self.print_of(id)
        cdef uint32_t at
        cdef uint32_t number = self.used
        if self.find(&wanted, &at) == 1:
            return False
        if self.used < self.entries_max:
            self.used += 1
        else:
            number = self.oldest
            self.oldest = (number + 1) % self.entries_max
            assert self.find(&table.prints[number], &at) == 1
            slots_remove(&table.slots, at, table, print_hash)
            self.find(&wanted, &at)
        table.prints[number] = wanted
        table.slots.cells[at] = number + 1
        return True

    cdef Hash print_of(self, bytes id):
        return siphash(self.table.seed, <const uint8_t*>PyBytes_AS_STRING(id), PyBytes_GET_SIZE(id))

    cdef int find(self, const Hash* wanted, uint32_t* at) except -1:
        """1 and the slot of the print, or 0 and the slot where it would go. Half the slots are free, so it
        ends."""
        cdef const SeenTable* table = &self.table
        cdef const Hash* known
        cdef uint32_t slot = slots_home(&table.slots, wanted.high)
        while table.slots.cells[slot] != 0:
            known = &table.prints[table.slots.cells[slot] - 1]
            if known.low == wanted.low and known.high == wanted.high:
                at[0] = slot
                return 1
            slot = slots_next(&table.slots, slot)
        at[0] = slot
        return 0


@cython.final
cdef class Queue:
    """One peer's queued messages, by class. Private to Fanout, which keeps the caps."""

    def __dealloc__(self):
        cdef int klass
        for klass in range(CLASSES):
            self.pop(klass, self.rings[klass].count)
            PyMem_RawFree(self.rings[klass].items)

    cdef int push(self, bytes message, int klass) except -1:
        cdef Ring* ring = &self.rings[klass]
        cdef PyObject** wider
        cdef size_t at, capacity
        cdef size_t framed_bytes = PyBytes_GET_SIZE(message) + PREFIX_BYTES
        if ring.count == ring.capacity:
            capacity = ring.capacity * 2 if ring.capacity else RING_MIN
            wider = <PyObject**>PyMem_RawMalloc(capacity * sizeof(PyObject*))
            if wider == NULL:
                raise MemoryError
            for at in range(ring.count):
                wider[at] = ring.items[(ring.head + at) & (ring.capacity - 1)]
            PyMem_RawFree(ring.items)
            ring.items = wider
            ring.capacity = capacity
            ring.head = 0
        Py_INCREF(message)
        ring.items[(ring.head + ring.count) & (ring.capacity - 1)] = <PyObject*>message
        ring.count += 1
        if klass == C_CONTROL:
            self.control_bytes += framed_bytes
        else:
            self.queued_bytes += framed_bytes
            self.messages += 1
        return 0

    cdef int pop(self, int klass, size_t count) except -1:
        """Let go of the oldest `count` messages of a class."""
        cdef Ring* ring = &self.rings[klass]
        cdef PyObject* message
        cdef size_t framed_bytes = 0
        assert count <= ring.count
        for _ in range(count):
            message = ring.items[ring.head]
            framed_bytes += PyBytes_GET_SIZE(<object>message) + PREFIX_BYTES
            ring.head = (ring.head + 1) & (ring.capacity - 1)
            ring.count -= 1
            Py_DECREF(<object>message)
        if ring.count == 0 and ring.capacity > RING_KEPT_MAX:
            PyMem_RawFree(ring.items)
            memset(ring, 0, sizeof(Ring))
        if klass == C_CONTROL:
            self.control_bytes -= framed_bytes
        else:
            self.queued_bytes -= framed_bytes
            self.messages -= count
        return 0


cdef size_t gather(Queue queue, size_t bytes_max, PyObject** messages, size_t* counts) except 0:
    """Borrow the messages of the next frame into `messages`, which has room for all; the size of that
    frame."""
    cdef size_t size_bytes = 0
    cdef size_t total = 0
    cdef size_t at, framed_bytes
    cdef int klass
    cdef bint fits = True
    cdef Ring* ring
    for klass in range(CLASSES):
        counts[klass] = 0
        ring = &queue.rings[klass]
        for at in range(ring.count if fits else 0):
            messages[total] = ring.items[(ring.head + at) & (ring.capacity - 1)]
            framed_bytes = PyBytes_GET_SIZE(<object>messages[total]) + PREFIX_BYTES
            if total and size_bytes + framed_bytes > bytes_max:
                fits = False
                break
            size_bytes += framed_bytes
            counts[klass] += 1
            total += 1
    return size_bytes


@cython.final
cdef class Fanout:
    """The outbound queues of all peers. A peer is any int the caller chose; an unknown one is as if empty.

    A peer holds at most `queue_bytes_max` (prefixes counted) and `queue_messages_max` of repair, push and
    bulk together, and beside them at most `control_bytes_max`, and again `queue_messages_max`, of control. A
    full queue refuses; the peer whose push was refused is marked lagging, since only the caller's repair can
    mend that. Raises UsageError for impossible limits.
    """

    def __cinit__(self, object queue_bytes_max, object queue_messages_max, object control_bytes_max):
        for limit in (queue_bytes_max, queue_messages_max, control_bytes_max):
            if not 1 <= limit <= BYTES_LIMIT:
                raise UsageError(f"a limit of {limit} is not within 1..2^31 - 1")
        self.queue_bytes_max = queue_bytes_max
        self.queue_messages_max = queue_messages_max
        self.control_bytes_max = control_bytes_max
        self.queues = {}
        self.listed = []

    def __dealloc__(self):
        cdef int number
        for number in range(FRAMES):
            self.forget_built(&self.built[number])

    def add_peer(self, object peer):
        """Give a peer an empty queue; UsageError if it has one."""
        cdef Queue queue
        if peer in self.queues:
            raise UsageError(f"peer {peer} was added before")
        queue = Queue()
        queue.peer = peer
        self.queues[peer] = queue

    def remove_peer(self, object peer):
        """Forget a peer and all that is queued for it. Nothing happens if it is unknown."""
        cdef int klass
        cdef Queue queue = self.queues.pop(peer, None)
        if queue is not None:
            for klass in range(CLASSES):
                self.pending_messages -= queue.rings[klass].count
                queue.pop(klass, queue.rings[klass].count)
            if queue.listed:
                self.listed.remove(queue)
            self.settle()

    def peers(self):
        """All peers, in the order in which they were added."""
        return list(self.queues)

    def publish(self, bytes message not None, int klass, object peers not None):
        """Queue one message for each of `peers`; those that did not take it: their queue is full, or unknown.

        A push so refused counts as dropped, and its peer as lagging. A control message so refused means that
        the caller must close that peer. UsageError for a class that is none.
        """
        cdef Queue queue
        cdef list refused = []
        if not 0 <= klass < CLASSES:
            raise UsageError(f"{klass} is not a class of messages")
        for peer in peers:
            queue = self.queues.get(peer)
            if queue is None or not self.put(queue, message, klass):
                refused.append(peer)
        return refused

    def send(self, object peer, bytes message not None, int klass):
        """Whether the peer's queue took the message. Overloaded for control beyond its cap: close that peer."""
        cdef Queue queue
        if not 0 <= klass < CLASSES:
            raise UsageError(f"{klass} is not a class of messages")
        queue = self.queues.get(peer)
        if queue is not None and self.put(queue, message, klass):
            return True
        if queue is not None and klass == C_CONTROL:
            raise Overloaded(f"peer {peer} leaves {queue.control_bytes} bytes of control messages unread")
        return False

    def take(self, object peer, Py_ssize_t bytes_max):
        """The peer's next frame body of at most `bytes_max` bytes, or None when nothing is queued.

        A message above `bytes_max` travels alone. Order is kept within a class; a class waits for those before.
        """
        cdef Queue queue = self.queues.get(peer)
        cdef PyObject** messages
        cdef size_t counts[CLASSES]
        cdef size_t total = 0 if queue is None else queue.messages + queue.rings[C_CONTROL].count
        cdef size_t size_bytes
        cdef int klass
        cdef bytes frame
        if total == 0:
            return None
        messages = <PyObject**>PyMem_RawMalloc(total * sizeof(PyObject*))
        if messages == NULL:
            raise MemoryError
        try:
            size_bytes = gather(queue, max(bytes_max, 0), messages, counts)
            total = counts[0] + counts[1] + counts[2] + counts[3]
            frame = self.frame_of(messages, total, size_bytes)
        finally:
            PyMem_RawFree(messages)
        for klass in range(CLASSES):
            queue.pop(klass, counts[klass])
        self.pending_messages -= total
        self.settle()
        return frame

    def pending_bytes(self, object peer):
        """Bytes queued for the peer, prefixes counted."""
        cdef Queue queue = self.queues.get(peer)
        return 0 if queue is None else queue.queued_bytes + queue.control_bytes

    def pending(self, object peer):
        """Whether anything is queued for the peer."""
        cdef Queue queue = self.queues.get(peer)
        return queue is not None and queue.messages + queue.rings[C_CONTROL].count > 0

    def lagging(self, object peer):
        """Whether a push to the peer was dropped since `clear_lagging`."""
        cdef Queue queue = self.queues.get(peer)
        return queue is not None and queue.lagging

    def clear_lagging(self, object peer):
        """The caller has begun to repair what the peer missed."""
        cdef Queue queue = self.queues.get(peer)
        if queue is not None:
            queue.lagging = False

    def dropped(self, object peer):
        """Pushes dropped since the peer was added."""
        cdef Queue queue = self.queues.get(peer)
        return 0 if queue is None else queue.dropped

    def ready(self):
        """The peers for which something was queued since the last call, each once, the first first."""
        cdef Queue queue
        cdef list peers = []
        for queue in self.listed:
            queue.listed = False
            peers.append(queue.peer)
        self.listed = []
        return peers

    def pick(self, object peers not None, Py_ssize_t count, uint64_t seed):
        """`count` of `peers` at distinct places, or all if there are fewer, in random order; equal seeds,
        equal picks.

        Fisher-Yates over SplitMix64 (Steele, Lea and Flood 2014), without modulo bias. UsageError for a
        negative count.
        """
        cdef list chosen = list(peers)
        cdef uint64_t state = seed
        cdef uint64_t drawn, left
        cdef Py_ssize_t at, other
        if count < 0:
            raise UsageError(f"cannot pick {count} peers")
        count = min(count, len(chosen))
        for at in range(count):
            left = len(chosen) - at
            while True:
                drawn = splitmix(&state)
                # 2^64 mod left draws from the bottom are refused, so that what remains divides evenly.
                if drawn >= (<uint64_t>0 - left) % left:
                    break
            other = at + <Py_ssize_t>(drawn % left)
            chosen[at], chosen[other] = chosen[other], chosen[at]
        return chosen[:count]

    cdef int put(self, Queue queue, bytes message, int klass) except -1:
        cdef size_t framed_bytes = PyBytes_GET_SIZE(message) + PREFIX_BYTES
        cdef bint fits
        if klass == C_CONTROL:
            fits = (queue.control_bytes + framed_bytes <= self.control_bytes_max
                    and queue.rings[C_CONTROL].count < self.queue_messages_max)
        else:
            fits = (queue.queued_bytes + framed_bytes <= self.queue_bytes_max
                    and queue.messages < self.queue_messages_max)
        if not fits:
            if klass == C_PUSH:
                queue.dropped += 1
                queue.lagging = True
            return 0
        queue.push(message, klass)
        self.pending_messages += 1
        if not queue.listed:
            self.listed.append(queue)
            queue.listed = True
        return 1

    cdef bytes frame_of(self, PyObject** messages, size_t count, size_t size_bytes):
        """The frame of these messages: one that was built before, or a new one, which is kept for the next
        peer."""
        cdef Built* slot
        cdef uint64_t mark = 0
        cdef size_t at
        cdef bytes frame
        for at in range(count):
            mark = (mark ^ <uint64_t><size_t>messages[at]) * <uint64_t>0x9E3779B97F4A7C15
        for number in range(FRAMES):
            slot = &self.built[number]
            if slot.mark != mark or slot.count != count:
                continue
            if memcmp(slot.messages, messages, count * sizeof(PyObject*)) == 0:
                self.frames_shared += 1
                return <bytes>slot.frame
        frame = join(messages, count, size_bytes)
        self.keep(frame, messages, count, mark)
        self.frames_built += 1
        return frame

    cdef int keep(self, bytes frame, PyObject** messages, size_t count, uint64_t mark) except -1:
        """Remember a new frame in place of the oldest. Owning its messages keeps their addresses from being
        reused."""
        cdef size_t size_bytes = PyBytes_GET_SIZE(frame)
        cdef Built* slot
        cdef size_t at
        cdef PyObject** copy = <PyObject**>PyMem_RawMalloc(count * sizeof(PyObject*))
        if copy == NULL:
            raise MemoryError
        for _ in range(FRAMES):
            slot = &self.built[self.built_next]
            self.forget_built(slot)
            self.built_next = (self.built_next + 1) % FRAMES
            if self.built_bytes + size_bytes <= BUILT_BYTES_MAX:
                break
        memcpy(copy, messages, count * sizeof(PyObject*))
        for at in range(count):
            Py_INCREF(<object>copy[at])
        Py_INCREF(frame)
        slot.frame = <PyObject*>frame
        slot.messages = copy
        slot.count = count
        slot.size_bytes = size_bytes
        slot.mark = mark
        self.built_bytes += size_bytes
        return 0

    cdef int forget_built(self, Built* slot) except -1:
        cdef size_t at
        if slot.frame != NULL:
            for at in range(slot.count):
                Py_DECREF(<object>slot.messages[at])
            Py_DECREF(<object>slot.frame)
            PyMem_RawFree(slot.messages)
            self.built_bytes -= slot.size_bytes
            memset(slot, 0, sizeof(Built))
        return 0

    cdef int settle(self) except -1:
        """With nothing queued anywhere, no frame can be shared again: hold none."""
        cdef int number
        if self.pending_messages == 0:
            for number in range(FRAMES):
                self.forget_built(&self.built[number])
        return 0


cdef bytes join(PyObject** messages, size_t count, size_t size_bytes):
    """Each message after its length as u32, little-endian; `size_bytes` is the sum that `gather` found."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size_bytes)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(frame)
    cdef const uint8_t* end = to + size_bytes
    cdef size_t at, length
    for at in range(count):
        length = PyBytes_GET_SIZE(<object>messages[at])
        assert length + PREFIX_BYTES <= <size_t>(end - to)
        to[0] = <uint8_t>(length & 0xFF)
        to[1] = <uint8_t>(length >> 8 & 0xFF)
        to[2] = <uint8_t>(length >> 16 & 0xFF)
        to[3] = <uint8_t>(length >> 24 & 0xFF)
        memcpy(to + PREFIX_BYTES, PyBytes_AS_STRING(<object>messages[at]), length)
        to += PREFIX_BYTES + length
    assert to == end
    return frame


# noexcept: integers only
cdef uint64_t splitmix(uint64_t* state) noexcept:
    cdef uint64_t mixed
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    mixed = state[0]
    mixed = (mixed ^ (mixed >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * <uint64_t>0x94D049BB133111EB
    return mixed ^ (mixed >> 31)
