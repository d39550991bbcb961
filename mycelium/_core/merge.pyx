# cython: language_level=3
"""Decide what a batch does to the store's rows: which changes are newest, and which rows they put and delete.

Owns the layout of row keys and rows, the order of changes, and the in-memory index of clocks. Touches no store
and no clock, checks no signature and no right; whoever calls has decided that the batch is valid and, for
counters, that it was not applied before. The Python border is crossed once a batch, and once more for each
column when rows must be read. About 0.2 us a change.

Row key: prefix = space 00 table 00 u8(merge), then
    lww, own    key
    counter     esc(key) account32 generation8
    set         esc(key) account32 generation8 seq8
    append      esc(key) hlc8 account32 generation8 seq8
esc(key) writes 00 as 00 FF and ends with 00 01. Integers are big-endian.
Row: hlc8 account32 generation8 seq8 payload. The payload is the value (lww, own, append), the element (set) or
the sum of one origin as i128 (counter; its header has the greatest seq and hlc of the contributions).

Column LIVE has what readers see, column DEAD the tombstones, which are headers alone. A key of lww or own has a row
in one of them at most. A set's insertion is a dot (account, generation, seq); removals name the dots they
observed, and a dot that is dead stays dead, whichever of the two arrives first.

lww order: (hlc, account, op, value, generation, seq), larger wins. It is total over distinct changes, and every other
state is a sum, a union or a maximum, so replicas that hold the same batches hold the same bytes (invariant 2).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cimport cython

from mycelium._core.changes cimport (
    COUNTER_BYTES, DOT_BYTES, HEADER_BYTES, MERGE_APPEND, MERGE_COUNTER, MERGE_MAX, MERGE_SET, NAMES_BYTES_MAX, OP_ADD,
    OP_REMOVE, ROW_KEY_BYTES_MAX, Changes, Limits, Table, changes_check, changes_key, changes_order, changes_stamp,
    load_u64, sink_row_key, store_u64,
)
from mycelium._core.clocks cimport (
    Clocks, Slot, clocks_home, clocks_open, clocks_prefetch, clocks_probe, clocks_put,
)
from mycelium._core.cursor cimport ChangeSpan, Cursor, Sink, cursor_at, cursor_over, sink_copy, span_load
from mycelium._core.rows cimport (
    ACT_DELETE_DEAD, ACT_DELETE_LIVE, ACT_PUT_DEAD, ACT_PUT_LIVE, ACT_VISIBLE, COLUMN_DEAD, COLUMN_LIVE, STATE_NONE,
    Row, row_add, row_candidate, row_decide, row_look_up, rows_learn, rows_of,
)
from mycelium._core.siphash cimport Hash, siphash

from mycelium import config
from mycelium.errors import MalformedMessage, StoreCorrupt, UsageError

LIVE = 0
DEAD = 1

cdef enum:
    FETCH_KEYS_MAX = 128    # rows read at once: with the largest values, 64 MiB

cdef Limits LIMITS
LIMITS.key_bytes = config.KEY_BYTES_MAX
LIMITS.value_bytes = config.VALUE_BYTES_MAX
LIMITS.dots = config.DOTS_PER_REMOVE_MAX
cdef int32_t CHANGES_MAX = config.BATCH_CHANGES_HARD_MAX
cdef uint32_t TABLES_MAX = config.TABLES_PER_BATCH_MAX

if NAMES_BYTES_MAX + 2 * LIMITS.key_bytes + 2 + HEADER_BYTES > ROW_KEY_BYTES_MAX:
    raise UsageError("KEY_BYTES_MAX exceeds what changes.pxd reserves for a row key")


cdef object corrupt(str what):
    return StoreCorrupt(what, "The data directory is damaged: restore it from a backup.")


cdef int merge_of(bytes row_key) except -1:
    """The merge type that a row key carries after its two names."""
    cdef Py_ssize_t at = row_key.find(b"\0", row_key.find(b"\0") + 1) + 1
    if at < 2 or at >= len(row_key) or row_key[at] > MERGE_MAX:
        raise corrupt("a row key without space, table and merge type")
    return row_key[at]


@cython.final
cdef class Index:
    """Row key -> the clock of its newest row and whether that is a tombstone, for rows of lww, own and set.

    24 bytes an entry at up to 3/4 load; at `entries_max` entries one is dropped for each new one. A miss means "no
    such row" only while `complete` is True: from the start, until an entry was dropped or `clear` was called. So a
    new Index describes an empty store, or a store whose rows have all been given to `load`.
    """

    def __cinit__(self, entries_max, bytes seed not None):
        if not 1 <= entries_max < 2**31:
            raise UsageError("entries_max must be from 1 to 2^31 - 1")
        if len(seed) != 16:
            raise UsageError("the seed of an Index is 16 bytes")
        memcpy(self.seed, PyBytes_AS_STRING(seed), 16)
        self.clocks.complete = True
        if not clocks_open(&self.clocks, entries_max):
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.clocks.slots)

    def __len__(self):
        return self.clocks.count

    @property
    def complete(self):
        return self.clocks.complete

    @property
    def memory_bytes(self):
        return self.clocks.slots_count * sizeof(Slot)

    cdef Hash hash(self, const uint8_t* key, size_t size) noexcept:     # noexcept: arithmetic alone
        cdef Hash out = siphash(self.seed, key, size)
        out.high &= ~<uint64_t>1
        if out.low == 0:
            out.low = 1         # 0 marks an empty slot
        return out

    def load(self, rows, bint dead):
        """Take (row key, row or its header) pairs of one column; returns how many entries were set. StoreCorrupt."""
        cdef uint64_t hlc
        cdef bytes key, row
        cdef Hash hash
        cdef Slot slot
        loaded = 0
        for key, row in rows:
            if key is None or row is None or len(row) < HEADER_BYTES:
                raise corrupt("a row is shorter than its header")
            if merge_of(key) in (MERGE_COUNTER, MERGE_APPEND):
                continue
            hlc = load_u64(<const uint8_t*>PyBytes_AS_STRING(row))
            hash = self.hash(<const uint8_t*>PyBytes_AS_STRING(key), len(key))
            slot = self.clocks.slots[clocks_probe(&self.clocks, hash)]
            if slot.low == 0 or slot.hlc < hlc or (slot.hlc == hlc and dead):
                clocks_put(&self.clocks, hash, hlc, dead)
                loaded += 1
        return loaded

    def clear(self):
        """Forget everything: each row is read before it is judged, until a new Index is loaded."""
        cdef Clocks empty
        if not clocks_open(&empty, self.clocks.count_max):
            raise MemoryError
        empty.complete = False
        PyMem_RawFree(self.clocks.slots)
        self.clocks = empty


@cython.final
cdef class Plan:
    """What a batch does to the store. `winners`: bit i (LSB first) is 1 if change i is visible after the batch.

    Visible are a put or delete that stands, an add, an insertion that is not dead, a removal that was the first to
    kill a dot, and every append. A change that a later one of its batch overrides is not.
    """

    def __cinit__(self):
        self.keys = []
        self.values = []

    def __dealloc__(self):
        PyMem_Free(self.columns)

    cdef int add(self, int column, bytes key, object value) except -1:
        """new_plan made room: a row needs two operations at most."""
        self.columns[len(self.keys)] = column
        self.keys.append(key)
        self.values.append(value)
        return 0

    @property
    def ops(self):
        """[(column, row key, row or None to delete), ...]; each (column, row key) occurs once."""
        cdef list ops = []
        cdef Py_ssize_t i
        for i in range(len(self.keys)):
            ops.append((<int>self.columns[i], self.keys[i], self.values[i]))
        return ops

    def __len__(self):
        return len(self.keys)

    def emit(self, put, delete, tuple columns not None):
        """Call put(key, row, columns[c]) or delete(key, columns[c]) for each operation; returns their number."""
        live, dead = columns
        cdef Py_ssize_t i
        cdef Py_ssize_t count = len(self.keys)
        for i in range(count):
            column = dead if self.columns[i] else live
            value = self.values[i]
            if value is None:
                delete(self.keys[i], column)
            else:
                put(self.keys[i], value, column)
        return count


cdef Plan new_plan(int64_t ops_max):
    cdef Plan plan = Plan()
    plan.columns = <uint8_t*>PyMem_Calloc(ops_max + 1, 1)
    if plan.columns == NULL:
        raise MemoryError
    return plan


@cython.final
cdef class _Resolver:
    """One batch on its way: touch, fetch, settle. It never changes the index."""

    def __dealloc__(self):
        PyMem_Free(self.changes.tables)
        PyMem_Free(self.rows.row)
        PyMem_Free(self.rows.buckets)
        PyMem_Free(self.winners)
        PyMem_Free(self.key)

    cdef int open_tables(self, tuple prefixes, bytes merges) except -1:
        """Point at each table's prefix. `prefixes` must outlive the resolver's use of them."""
        cdef Table* tables
        cdef uint32_t i
        if len(prefixes) != len(merges) or len(prefixes) > TABLES_MAX:
            raise MalformedMessage(f"{len(prefixes)} tables with {len(merges)} merge types")
        tables = <Table*>PyMem_Calloc(len(prefixes) + 1, sizeof(Table))
        if tables == NULL:
            raise MemoryError
        self.changes.tables = tables
        self.changes.tables_count = len(prefixes)
        for i in range(self.changes.tables_count):
            cursor_over(&tables[i].prefix, <bytes?>prefixes[i], 0)
            if tables[i].prefix.size > NAMES_BYTES_MAX or merges[i] > MERGE_MAX:
                raise MalformedMessage(f"table {i}: names too long, or unknown merge type {merges[i]}")
            tables[i].merge = merges[i]
        return 0

    cdef int open_rows(self) except -1:
        """Check the changes, then make room for every row they can touch."""
        cdef int64_t rows_max = changes_check(&self.changes, &LIMITS)
        cdef uint64_t buckets = 16
        while buckets < 2 * <uint64_t>rows_max:
            buckets *= 2
        self.plan = new_plan(2 * rows_max)
        self.rows.mask = buckets - 1
        self.rows.row = <Row*>PyMem_Calloc(rows_max + 1, sizeof(Row))
        self.rows.buckets = <int32_t*>PyMem_Calloc(buckets, sizeof(int32_t))
        self.winners = <uint8_t*>PyMem_Calloc(self.changes.count // 8 + 1, 1)
        self.key = <uint8_t*>PyMem_Calloc(ROW_KEY_BYTES_MAX, 1)
        if self.rows.row == NULL or self.rows.buckets == NULL or self.winners == NULL or self.key == NULL:
            raise MemoryError
        return 0

    cdef void mark(self, int32_t i) noexcept:     # noexcept: one bit of an array of count bits
        self.winners[i >> 3] |= 1 << (i & 7)

    cdef Row* row_of(self, int32_t i, const ChangeSpan* span, uint32_t dot_at) except NULL:
        """The row that change `i` touches: changes of one batch meet here."""
        cdef Sink sink = Sink(self.key, ROW_KEY_BYTES_MAX, 0)
        cdef Clocks* clocks = &self.index.clocks
        cdef Row* row
        changes_key(&self.changes, &sink, i, dot_at)
        row = rows_of(&self.rows, self.index.hash(sink.data, sink.at))
        row.merge = self.changes.tables[span.table].merge
        clocks_prefetch(&clocks.slots[clocks_home(clocks, row.hash.low)])
        return row

    cdef int touch(self) except -1:
        """Gather the changes by row. A later change of the batch has the greater clock, so the last one counts."""
        cdef ChangeSpan span
        cdef uint64_t amount
        cdef uint32_t dot_at
        cdef int32_t i
        cdef Row* row
        for i in range(self.changes.count):
            span_load(&self.changes.spans, i, &span)
            if span.op == OP_REMOVE:
                for dot_at in range(span.value_at, span.value_at + span.value_bytes, DOT_BYTES):
                    row = self.row_of(i, &span, dot_at)
                    row.removal = i
                    row.dot_at = dot_at
            elif self.changes.tables[span.table].merge != MERGE_APPEND:
                row = self.row_of(i, &span, 0)
                row.change = i
                row.op = span.op
                if span.op == OP_ADD:
                    self.mark(i)
                    amount = load_u64(cursor_at(&self.changes.raw, span.value_at, 8))
                    row_add(row, <uint64_t>0 - (amount >> 63), amount)
                    row.hlc = self.changes.hlc_first + <uint64_t>i
                    row.seq = self.changes.seq_first + <uint64_t>i
        return 0

    cdef bytes key_of(self, int32_t i, uint32_t dot_at):
        cdef Sink sink = Sink(self.key, ROW_KEY_BYTES_MAX, 0)
        changes_key(&self.changes, &sink, i, dot_at)
        return PyBytes_FromStringAndSize(<const char*>sink.data, sink.at)

    cdef bytes key_of_row(self, const Row* row):
        return self.key_of(row.change, 0) if row.change >= 0 else self.key_of(row.removal, row.dot_at)

    cdef bytes value_of(self, int32_t i):
        cdef ChangeSpan span
        cdef bytes value
        cdef Sink sink
        span_load(&self.changes.spans, i, &span)
        value = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + <Py_ssize_t>span.value_bytes)
        sink = Sink(<uint8_t*>PyBytes_AS_STRING(value), HEADER_BYTES + span.value_bytes, 0)
        sink_copy(&sink, changes_stamp(&self.changes, i), HEADER_BYTES)
        sink_copy(&sink, cursor_at(&self.changes.raw, span.value_at, span.value_bytes), span.value_bytes)
        return value

    cdef bytes sum_of(self, const Row* row):
        cdef uint8_t[COUNTER_BYTES] value
        memcpy(value, changes_stamp(&self.changes, row.change), HEADER_BYTES)
        store_u64(value, row.hlc)
        store_u64(value + 48, row.seq)
        store_u64(value + 56, row.sum_high)
        store_u64(value + 64, row.sum_low)
        return PyBytes_FromStringAndSize(<const char*>value, COUNTER_BYTES)

    cdef int look_up(self) except -1:
        """Learn the stored state of every row: from the index, or at most one read a column for 128 of them."""
        cdef int64_t r
        cdef int column
        for r in range(self.rows.count):
            row_look_up(&self.rows.row[r], &self.index.clocks, self.changes.hlc_first)
        for column in range(2):
            keys = []
            places = []
            for r in range(self.rows.count):
                if self.rows.row[r].fetch >> column & 1:
                    keys.append(self.key_of_row(&self.rows.row[r]))
                    places.append(r)
                    if len(keys) == FETCH_KEYS_MAX:
                        self.read(column, keys, places)
                        keys = []
                        places = []
            if keys:
                self.read(column, keys, places)
        return 0

    cdef int read(self, int column, list keys, list places) except -1:
        cdef list stored = self.get(column, keys)
        cdef Py_ssize_t i
        if stored is None or len(stored) != len(places):
            raise corrupt(f"the store did not answer all of {len(places)} keys")
        for i in range(len(places)):
            if stored[i] is not None:
                self.absorb(&self.rows.row[<int64_t>places[i]], column, <bytes?>stored[i])
        return 0

    cdef int absorb(self, Row* row, int column, bytes stored) except -1:
        """Take in a row that was read: its state and clock, and where the batch's candidate stands to it."""
        cdef int32_t candidate = row_candidate(row)
        cdef const uint8_t* data
        cdef Cursor cursor
        cursor_over(&cursor, stored, 0)
        if (cursor.size < HEADER_BYTES or (column == COLUMN_DEAD and cursor.size != HEADER_BYTES)
                or (row.merge == MERGE_COUNTER and cursor.size != COUNTER_BYTES)):
            raise corrupt(f"a row of {cursor.size} bytes in column {column}")
        if row.state != STATE_NONE:
            raise corrupt("a row is both live and dead")
        data = cursor_at(&cursor, 0, cursor.size)
        if row.merge == MERGE_COUNTER:
            row.hlc = max(row.hlc, load_u64(data))
            row.seq = max(row.seq, load_u64(data + 48))
            row_add(row, load_u64(data + 56), load_u64(data + 64))
            return 0
        row.state = 1 << column
        row.hlc = load_u64(data)
        if candidate >= 0 and row.hlc == self.changes.hlc_first + <uint64_t>candidate:
            if row.merge == MERGE_SET:
                row.newer = memcmp(changes_stamp(&self.changes, candidate), data, HEADER_BYTES) > 0
            else:
                row.newer = changes_order(&self.changes, candidate, column, &cursor) > 0
        return 0

    cdef int settle(self) except -1:
        """Decide each row and plan what the store must do."""
        cdef int32_t i, cause
        cdef ChangeSpan span
        cdef int64_t r
        cdef bytes key
        cdef Row* row
        cdef int act
        for r in range(self.rows.count):
            row = &self.rows.row[r]
            act = row_decide(row, self.changes.hlc_first)
            if act == 0:
                continue
            cause = row.removal if row.removal >= 0 else row.change
            key = self.key_of_row(row)
            if act & ACT_PUT_LIVE:
                value = self.sum_of(row) if row.merge == MERGE_COUNTER else self.value_of(cause)
                self.plan.add(COLUMN_LIVE, key, value)
            if act & ACT_DELETE_LIVE:
                self.plan.add(COLUMN_LIVE, key, None)
            if act & ACT_PUT_DEAD:
                header = changes_stamp(&self.changes, cause)
                self.plan.add(COLUMN_DEAD, key, PyBytes_FromStringAndSize(<const char*>header, HEADER_BYTES))
            if act & ACT_DELETE_DEAD:
                self.plan.add(COLUMN_DEAD, key, None)
            if act & ACT_VISIBLE:
                self.mark(cause)
        for i in range(self.changes.count):
            span_load(&self.changes.spans, i, &span)
            if self.changes.tables[span.table].merge == MERGE_APPEND:
                self.mark(i)
                self.plan.add(COLUMN_LIVE, self.key_of(i, 0), self.value_of(i))
        return 0


def resolve(Index index not None, bytes raw not None, bytes spans not None, prefixes, bytes merges not None,
            bytes account not None, uint64_t generation, uint64_t seq_first, uint64_t hlc_first, get):
    """Decide a batch of `account` at `generation` and bring `index` up to it; returns the Plan for the store.

    `spans` is packed ChangeSpan[] into `raw`; `prefixes[t]` and `merges[t]` describe table t. Change i has sequence
    number seq_first + i and clock hlc_first + i. `get(column, row_keys)` answers with a list of rows or None; it
    is called for counters, equal clocks, and what an incomplete index does not know, 128 keys at a time.
    MalformedMessage comes before any effect, also when changes share bytes; StoreCorrupt, or what `get` raises,
    leaves the index as it was. If the plan is then not written, the caller must clear the index.
    """
    cdef _Resolver resolver = _Resolver()
    cdef tuple names = tuple(prefixes)
    cdef Changes* changes = &resolver.changes
    cdef Py_ssize_t count = len(spans) // <Py_ssize_t>sizeof(ChangeSpan)
    if len(account) != 32 or len(spans) != count * <Py_ssize_t>sizeof(ChangeSpan) or count > CHANGES_MAX:
        raise MalformedMessage(f"an account of {len(account)} bytes with spans of {len(spans)}")
    if <uint64_t>count > <uint64_t>0xFFFFFFFFFFFFFFFF - max(seq_first, hlc_first):
        raise MalformedMessage("sequence numbers or clocks beyond 64 bits")
    resolver.index = index
    resolver.get = get
    cursor_over(&changes.raw, raw, 0)
    cursor_over(&changes.spans, spans, 0)
    changes.count = <int32_t>count
    changes.seq_first = seq_first
    changes.hlc_first = hlc_first
    memcpy(changes.header + 8, PyBytes_AS_STRING(account), 32)
    store_u64(changes.header + 40, generation)
    resolver.open_tables(names, merges)
    resolver.open_rows()
    resolver.touch()
    resolver.look_up()
    resolver.settle()
    resolver.plan.winners = PyBytes_FromStringAndSize(<const char*>resolver.winners, (count + 7) // 8)
    rows_learn(&resolver.rows, &index.clocks)     # last, and it cannot fail
    return resolver.plan


def row_key(int merge, bytes prefix not None, bytes key not None, uint64_t hlc=0, bytes account not None=bytes(32),
            uint64_t generation=0, uint64_t seq=0):
    """The row key of one record (lww, own), contribution (counter), insertion (set) or fact (append). UsageError."""
    cdef uint8_t[ROW_KEY_BYTES_MAX] out
    cdef uint8_t[HEADER_BYTES] header
    cdef Sink sink = Sink(&out[0], ROW_KEY_BYTES_MAX, 0)
    cdef Cursor name
    cdef Table table
    if not 0 <= merge <= MERGE_MAX or len(account) != 32:
        raise UsageError("a row key needs a known merge type and an account of 32 bytes")
    if len(prefix) > NAMES_BYTES_MAX or len(key) > LIMITS.key_bytes:
        raise UsageError("names or key of a row key are too long")
    store_u64(header, hlc)
    memcpy(header + 8, PyBytes_AS_STRING(account), 32)
    store_u64(header + 40, generation)
    store_u64(header + 48, seq)
    table.merge = merge
    cursor_over(&table.prefix, prefix, 0)
    cursor_over(&name, key, 0)
    sink_row_key(&sink, &table, cursor_at(&name, 0, name.size), name.size, header, header + 8)
    return PyBytes_FromStringAndSize(<const char*>out, sink.at)


def escape(bytes key not None):
    """`key` as it stands within the row keys of counter, set and append tables, with its end mark."""
    return key.replace(b"\0", b"\0\xff") + b"\0\1"


def unescape(bytes row_key not None, Py_ssize_t at):
    """(key, where what follows it begins) of the escaped key at `at` of a row key. StoreCorrupt."""
    # Every 00 of escaped text leads a pair, so the first 00 01 is the end.
    cdef Py_ssize_t end = row_key.find(b"\0\1", at) if at >= 0 else -1
    if end < 0 or row_key.count(b"\0", at, end) != row_key.count(b"\0\xff", at, end):
        raise corrupt("a row key whose key does not end")
    return row_key[at:end].replace(b"\0\xff", b"\0"), end + 2


def keyed_hash(bytes seed not None, bytes data not None):
    """SipHash-2-4-128 as the index uses it, 16 bytes; `seed` has 16. UsageError."""
    cdef uint64_t[2] words
    cdef Cursor cursor
    cdef Hash hash
    if len(seed) != 16:
        raise UsageError("a seed has 16 bytes")
    memcpy(words, PyBytes_AS_STRING(seed), 16)
    cursor_over(&cursor, data, 0)
    hash = siphash(words, cursor_at(&cursor, 0, cursor.size), cursor.size)
    return PyBytes_FromStringAndSize(<const char*>&hash, sizeof(Hash))
