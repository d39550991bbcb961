# cython: language_level=3
"""Which (sender, nonce) pairs were accepted within the freshness window.

Owns: the decision stale / future / replayed / full, and the memory of accepted pairs. Must not: read a clock,
verify a signature, or store anything in `check`: the caller verifies in between and then calls `commit`, so
that a stranger costs no memory. All memory, at most 76 bytes an entry, is taken by the constructor and never
grows.

Entries are forgotten by ticks of 1/62 of the accepted span, not one by one: a pair is remembered for at least
the window and at most one tick longer. Reclaiming touches each entry once, and each has paid for a signature.
"""
import os

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.string cimport memcmp, memcpy

from mycelium._core.hashing cimport (
    PROBE_MAX,
    hash_account,
    hash_pair,
    slots_home,
    slots_next,
    slots_remove,
)

from mycelium.errors import ReplayedMessage, ReplayTableFull, StaleMessage, UsageError

OK = 0
STALE = 1
FUTURE = 2
REPLAYED = 3
FULL = 4
BEFORE_START = 5


cdef enum Verdict:
    V_OK = 0
    V_STALE = 1
    V_FUTURE = 2
    V_REPLAYED = 3
    V_FULL = 4
    V_BEFORE_START = 5

cdef enum:
    NONE = 0xFFFFFFFF                  # no entry, no sender
    ENTRIES_LIMIT = 1 << 30            # slot numbers, twice as many, stay within 32 bits


# noexcept: pure arithmetic over a record that its caller knows to be in use
cdef uint64_t entry_hash(const void* owner, uint32_t number) noexcept:
    cdef const Table* table = <const Table*>owner
    return hash_pair(&table.key, table.entries[number].sender, table.entries[number].nonce)


# noexcept: as above
cdef uint64_t sender_hash(const void* owner, uint32_t number) noexcept:
    cdef const Table* table = <const Table*>owner
    return hash_account(&table.key, table.senders[number].account)


cdef const uint8_t* account_of(bytes sender) except NULL:
    if PyBytes_GET_SIZE(sender) != 32:
        raise UsageError(f"a sender is 32 bytes, not {len(sender)}")
    return <const uint8_t*>PyBytes_AS_STRING(sender)


cdef int find_sender(const Table* table, const uint8_t* account, Place* place) except -1:
    """Whether the probe ended within its bound; place.sender is NONE where the account is not known."""
    cdef const Slots* slots = &table.sender_slots
    cdef uint32_t at = slots_home(slots, hash_account(&table.key, account))
    cdef uint32_t cell
    for _ in range(PROBE_MAX):
        cell = slots.cells[at]
        place.sender_at = at
        if cell == 0:
            place.sender = NONE
            return 1
        if memcmp(table.senders[cell - 1].account, account, 32) == 0:
            place.sender = cell - 1
            return 1
        at = slots_next(slots, at)
    return 0


cdef int find_entry(const Table* table, uint32_t sender, uint64_t nonce, Place* place) except -1:
    """1: found at place.entry_at; 0: not there, and place.entry_at is free for it; 2: the probe reached its
    bound."""
    cdef const Slots* slots = &table.entry_slots
    cdef uint32_t at = slots_home(slots, hash_pair(&table.key, sender, nonce))
    cdef uint32_t cell
    cdef const Entry* entry
    for _ in range(PROBE_MAX):
        cell = slots.cells[at]
        place.entry_at = at
        if cell == 0:
            return 0
        entry = &table.entries[cell - 1]
        if entry.nonce == nonce and entry.sender == sender:
            return 1
        at = slots_next(slots, at)
    return 2


@cython.final
cdef class ReplayWindow:
    """Accepted (sender, nonce) pairs of the last `window_ns`, with a cap for each sender and one overall.

    `entries_max` 1..2^30; `per_sender_max` at least 1; a time stamp is fresh within [now - window_ns, now +
    ahead_ns] and not before `started_ns` (a restart loses the memory, so nothing older is trusted). `seed`
    (16 bytes; default: the system's randomness) keys the hash tables. Times are ns since the Unix epoch,
    0..2^64-1, or OverflowError. Raises UsageError for impossible limits, MemoryError.
    """

    def __cinit__(self, object entries_max, object per_sender_max, object window_ns, object ahead_ns,
                  uint64_t started_ns, bytes seed=None):
        cdef uint32_t bucket
        cdef size_t count
        cdef Table* table = &self.table
        if not 1 <= entries_max <= ENTRIES_LIMIT or per_sender_max < 1:
            raise UsageError(f"entries_max {entries_max} or per_sender_max {per_sender_max} is out of range")
        if not (0 <= window_ns <= 1 << 62 and 0 <= ahead_ns <= 1 << 62):
            raise UsageError(f"window_ns {window_ns} or ahead_ns {ahead_ns} is not within 0..2^62")
        if seed is None:
            seed = os.urandom(16)
        if PyBytes_GET_SIZE(seed) != 16:
            raise UsageError(f"a seed is 16 bytes, not {len(seed)}")
        memcpy(&table.key, PyBytes_AS_STRING(seed), 16)
        count = entries_max
        self.entries_max = <uint32_t>count
        self.per_sender_max = min(per_sender_max, entries_max)
        self.window_ns = window_ns
        self.ahead_ns = ahead_ns
        self.started_ns = started_ns
        self.tick_ns = (window_ns + ahead_ns) // (TICKS - 2) + 1
        # Zeroed pages are not resident until they are touched: a quiet node pays for what it uses.
        table.entries = <Entry*>PyMem_RawCalloc(count, sizeof(Entry))
        table.senders = <Sender*>PyMem_RawCalloc(count, sizeof(Sender))
        table.entry_slots.cells = <uint32_t*>PyMem_RawCalloc(2 * count, sizeof(uint32_t))
        table.sender_slots.cells = <uint32_t*>PyMem_RawCalloc(2 * count, sizeof(uint32_t))
        if not (table.entries and table.senders and table.entry_slots.cells and table.sender_slots.cells):
            raise MemoryError
        table.entry_slots.capacity = table.sender_slots.capacity = <uint32_t>(2 * count)
        table.entry_free = table.sender_free = NONE
        for bucket in range(TICKS):
            table.buckets[bucket] = NONE

    def __dealloc__(self):
        PyMem_RawFree(self.table.entries)
        PyMem_RawFree(self.table.senders)
        PyMem_RawFree(self.table.entry_slots.cells)
        PyMem_RawFree(self.table.sender_slots.cells)

    def __len__(self):
        return self.live

    @property
    def memory_bytes(self):
        """All memory of the table: the same from its construction to its end."""
        return self.entries_max * (sizeof(Entry) + sizeof(Sender) + 4 * sizeof(uint32_t)) + sizeof(Table)

    def check(self, bytes sender not None, uint64_t nonce, uint64_t timestamp_ns, uint64_t now_ns):
        """OK, or why the message is refused. Stores nothing; the signature need not be verified yet.

        `sender` is 32 bytes (UsageError). Cost: two keyed hashes and, where a tick has passed, the reclaiming
        of its entries.
        """
        cdef Place place
        return self.judge(account_of(sender), nonce, timestamp_ns, now_ns, &place)

    def commit(self, bytes sender not None, uint64_t nonce, uint64_t timestamp_ns, uint64_t now_ns):
        """Remember a message whose signature holds. The verdict is taken anew, since others may have come
        between.

        Raises StaleMessage (stale, future or before the start), ReplayedMessage, ReplayTableFull; then
        nothing is stored.
        """
        cdef Place place
        cdef const uint8_t* account = account_of(sender)
        cdef int verdict = self.judge(account, nonce, timestamp_ns, now_ns, &place)
        if verdict == V_OK:
            self.store(account, nonce, timestamp_ns, &place)
        elif verdict == V_REPLAYED:
            raise ReplayedMessage(f"nonce {nonce} was accepted before")
        elif verdict == V_FULL:
            raise ReplayTableFull("no room to remember the nonce")
        else:
            raise StaleMessage(f"stamped {timestamp_ns} ns, which is not fresh at {now_ns} ns")

    cdef int judge(
        self, const uint8_t* account, uint64_t nonce, uint64_t stamp, uint64_t now, Place* place
    ) except -1:
        cdef int found
        cdef uint64_t edge = now - self.window_ns if now > self.window_ns else 0
        # Differences are taken only where they cannot wrap: any u64 may come from the wire.
        if stamp < self.started_ns:
            return V_BEFORE_START
        if stamp < now and now - stamp > self.window_ns:
            return V_STALE
        if stamp > now and stamp - now > self.ahead_ns:
            return V_FUTURE
        if edge < self.swept * self.tick_ns or edge - self.swept * self.tick_ns >= self.tick_ns:
            self.sweep(edge // self.tick_ns)
        # The clock went back to a time whose entries are gone: what cannot be told from a replay is refused.
        if stamp < self.forgotten_ns:
            return V_STALE
        if not find_sender(&self.table, account, place):
            return V_FULL
        if place.sender == NONE:
            return V_FULL if self.live == self.entries_max else V_OK
        found = find_entry(&self.table, place.sender, nonce, place)
        if found == 1:
            return V_REPLAYED
        if found == 2 or self.live == self.entries_max:
            return V_FULL
        if self.table.senders[place.sender].live >= self.per_sender_max:
            return V_FULL
        return V_OK

    cdef int store(self, const uint8_t* account, uint64_t nonce, uint64_t stamp, Place* place) except -1:
        """Insert a pair that `judge` found OK. A new sender's record is made first, as its number is in the
        hash."""
        cdef Table* table = &self.table
        cdef uint32_t sender = place.sender
        cdef uint32_t number
        cdef uint32_t bucket
        cdef uint64_t tick = stamp // self.tick_ns
        if sender == NONE:
            sender = table.sender_free if table.sender_free != NONE else table.senders_used
            if find_entry(table, sender, nonce, place) != 0:
                raise ReplayTableFull("no room to remember the nonce")
            if table.sender_free != NONE:
                table.sender_free = table.senders[sender].live
            else:
                table.senders_used += 1
            memcpy(table.senders[sender].account, account, 32)
            table.senders[sender].live = 0
            table.sender_slots.cells[place.sender_at] = sender + 1
        if table.entry_free != NONE:
            number = table.entry_free
            table.entry_free = table.entries[number].next
        else:
            number = table.entries_used
            table.entries_used += 1
        assert number < self.entries_max and sender < self.entries_max
        bucket = <uint32_t>(tick % TICKS)
        table.entries[number].nonce = nonce
        table.entries[number].tick = tick
        table.entries[number].sender = sender
        table.entries[number].next = table.buckets[bucket]
        table.buckets[bucket] = number
        table.entry_slots.cells[place.entry_at] = number + 1
        table.senders[sender].live += 1
        self.live += 1
        return 0

    cdef int sweep(self, uint64_t low) except -1:
        """Forget the entries of all ticks before `low`; a clock that went back only moves the mark."""
        cdef Table* table = &self.table
        cdef uint64_t tick = self.swept
        cdef uint64_t last
        cdef uint32_t number, kept, following
        if tick < low:
            last = tick + TICKS if low - tick > TICKS else low
            while tick < last:
                number = table.buckets[tick % TICKS]
                kept = NONE
                while number != NONE:
                    following = table.entries[number].next
                    if table.entries[number].tick < low:
                        self.forget(number)
                    else:
                        # Accepted while the clock was far ahead: shares the bucket, keeps its place.
                        table.entries[number].next = kept
                        kept = number
                    number = following
                table.buckets[tick % TICKS] = kept
                tick += 1
        self.swept = low
        return 0

    cdef int forget(self, uint32_t number) except -1:
        """Give an entry's slot and record back, and its sender's with the last one. Its bucket is the
        caller's."""
        cdef Table* table = &self.table
        cdef Entry* entry = &table.entries[number]
        cdef Sender* sender = &table.senders[entry.sender]
        cdef Place place
        found = find_entry(table, entry.sender, entry.nonce, &place)
        assert found == 1 and sender.live > 0
        slots_remove(&table.entry_slots, place.entry_at, table, entry_hash)
        # Does not wrap: the tick ended before the edge of the window.
        self.forgotten_ns = max(self.forgotten_ns, (entry.tick + 1) * self.tick_ns)
        sender.live -= 1
        if sender.live == 0:
            find_sender(table, sender.account, &place)
            assert place.sender == entry.sender
            slots_remove(&table.sender_slots, place.sender_at, table, sender_hash)
            sender.live = table.sender_free
            table.sender_free = entry.sender
        entry.next = table.entry_free
        table.entry_free = number
        self.live -= 1
        return 0
