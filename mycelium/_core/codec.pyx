# cython: language_level=3
# cython: autotestdict=False
"""Encoding and verified decoding of every table in schemas/wire.fbs, and the tags that name an encoding.

Owns shape: bounds, widths, enums, names, counts. Must not know sessions, signatures, clocks or what a merge
means. Tag 0x01 is JSON (text.py), 0x02 FlatBuffers. Whatever is not exactly valid raises MalformedMessage, or
OversizedMessage above the cap of its class; a decoded object holds only what was verified. What a peer would
refuse to decode raises the same errors when it is encoded.

Cost of a message with 1 KiB payload: decode and read all fields 0.3 us, encode 0.1 us; of a batch of 512
changes: decode 11 us, encode 32 us.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t

from mycelium._core.cursor cimport (
    ChangeSpan, Cursor, Sink, cursor_over, cursor_slice, cursor_u16, cursor_u64, sink_copy, sink_u8, sink_u16,
    sink_u32, sink_u64, sink_zero, span_load, span_store,
)
from mycelium._core.reader cimport (
    enum_read, items_read, number_read, reader_open, string_read, table_read,
)
from mycelium._core.wire cimport (
    FIELDS_MAX, KINDS, NAME_MAX, T_BOOL, T_U8, T_U64, Field, Reader, Schema, Table, bytes_open, offset_follow,
    table_open, vector_open,
)
from mycelium._core.writer cimport (
    Writer, capacity_for, changes_bytes, vtable_write, whole, writer_drop, writer_finish, writer_open,
)

from mycelium import config
from mycelium._core import schema
from mycelium.errors import MalformedMessage, OversizedMessage

TABLE_REF, CHANGE, BATCH, SIGNED_BATCH = schema.TABLE_REF, schema.CHANGE, schema.BATCH, schema.SIGNED_BATCH
GOSSIP, ORIGIN_VERSION, VERSION_VECTOR = schema.GOSSIP, schema.ORIGIN_VERSION, schema.VERSION_VECTOR
SYNC_REQUEST, SYNC_RESPONSE, SPACE_DIGEST = schema.SYNC_REQUEST, schema.SYNC_RESPONSE, schema.SPACE_DIGEST
PING, PONG, ENDPOINT_RECORD, CALL = schema.PING, schema.PONG, schema.ENDPOINT_RECORD, schema.CALL
HELLO, IDENTITY = schema.HELLO, schema.IDENTITY
SPACE_ACK, NODE_STATUS, SYNC = schema.SPACE_ACK, schema.NODE_STATUS, schema.SYNC
CLAIM, SIGNED_CLAIM, PROOF, PROOF_HEAD = schema.CLAIM, schema.SIGNED_CLAIM, schema.PROOF, schema.PROOF_HEAD
BLACKLIST_SYNC = schema.BLACKLIST_SYNC
BATCH_REFS, BRANCH, TREE = schema.BATCH_REFS, schema.BRANCH, schema.TREE

cdef enum:
    K_MESSAGE = 0
    K_CHANGE = 2
    K_BATCH = 3
    MESSAGE_TYPES = 13
    TAG_FLATBUFFERS = 2

cdef Schema SCHEMA
cdef uint32_t[MESSAGE_TYPES] TYPE_BYTES_MAX
cdef uint8_t[2][68] MESSAGE_HEADS
cdef uint32_t MESSAGE_BYTES_MAX = config.DATA_BYTES_MAX
cdef uint32_t CHANGES_MAX = config.BATCH_CHANGES_HARD_MAX
cdef uint32_t BATCH_TABLES_MAX = config.TABLES_PER_BATCH_MAX


cdef int _table_load(Table* table, described) except -1:
    """Copy a table of schema.py into C and lay it out: widest fields first, so that none needs padding."""
    cdef uint32_t i, slot = 4
    cdef Field* field
    table.count, table.bytes_max, table.wide = len(described.fields), described.bytes_max, 0
    for i in range(table.count):
        field, source = &table.field[i], described.fields[i]
        field.type = schema.TYPES.index(source.type)
        field.required = source.required
        field.width = 1 if field.type == T_BOOL else 1 << field.type - T_U8 if field.type <= T_U64 else 4
        field.table = schema.KINDS[source.table] if source.table else 0
        field.high = 1 if field.type == T_BOOL else len(source.enum) - 1 if source.enum else 255
        field.low_bytes, field.high_bytes = source.low, source.high
    for width in (8, 4, 2, 1):
        for i in range(table.count):
            if table.field[i].width == width:
                table.field[i].slot = slot
                table.wide |= width == 8
                slot += width
    table.inline_bytes = (slot + 3) & ~<uint32_t>3
    return 0


cdef int _schema_load() except -1:
    """Before the first call. The constants above must be those of schema.py and config.py."""
    cdef int kind, type
    assert (len(schema.TABLES), len(schema.SIZE_MAX)) == (KINDS, MESSAGE_TYPES)
    assert config.NAME_BYTES_MAX == NAME_MAX
    assert (schema.MESSAGE, schema.CHANGE, schema.BATCH) == (K_MESSAGE, K_CHANGE, K_BATCH)
    assert max(len(table.fields) for table in schema.TABLES) <= FIELDS_MAX
    assert max(map(schema.depth, range(KINDS))) <= config.DEPTH_MAX
    SCHEMA.tables_max, SCHEMA.items_max = config.TABLES_MAX, config.VECTOR_ITEMS_MAX
    for kind in range(KINDS):
        _table_load(&SCHEMA.table[kind], schema.TABLES[kind])
    for type in range(MESSAGE_TYPES):
        TYPE_BYTES_MAX[type] = schema.SIZE_MAX[type]
    return 0


cdef int _message_head_load(bint signed) except -1:
    """The constant start of a message: table at 28, sender at 64, then signature and payload."""
    cdef Sink sink
    sink.data, sink.size, sink.at = MESSAGE_HEADS[signed], 68, 0
    sink_zero(&sink, 68)
    sink_u32(&sink, 0, 28)
    vtable_write(&sink, 4, &SCHEMA.table[K_MESSAGE], 0x7F if signed else 0x3F)
    sink_u32(&sink, 28, 28 - 4)
    sink_u32(&sink, 48, 64 - 48)
    sink_u32(&sink, 52, (168 if signed else 100) - 52)
    sink_u32(&sink, 56, 100 - 56 if signed else 0)
    return sink_u32(&sink, 64, 32)


_schema_load()
_message_head_load(False)
_message_head_load(True)


cdef int _malformed(str why) except -1:
    raise MalformedMessage(why)


cdef int _type_oversized(int type, size_t size) except -1:
    raise OversizedMessage(f"{schema.MESSAGE_TYPES[type]} of {size} bytes, at most {TYPE_BYTES_MAX[type]}")


# --- messages ---------------------------------------------------------------------------------------------


@cython.final
@cython.freelist(256)
@cython.auto_pickle(False)
cdef class Message:
    """A verified envelope. Byte fields are copied out of the received bytes when they are asked for."""

    def __cinit__(self):
        self.data = b""

    def __init__(self):
        raise TypeError("a Message comes from decode_message")

    @property
    def sender_id(self):
        """32 bytes."""
        return self._slice(self.sender_at, 32)

    @property
    def payload(self):
        return self._slice(self.payload_at, self.payload_bytes)

    @property
    def signature(self):
        """64 bytes, or none in auth_mode `session`."""
        return self._slice(self.signature_at, self.signature_bytes)

    def fields(self):
        """All seven in the schema's order, which is that of encode_message: cheaper than one by one."""
        return (
            self.version, self.type, self._slice(self.sender_at, 32), self.timestamp, self.nonce,
            self._slice(self.payload_at, self.payload_bytes),
            self._slice(self.signature_at, self.signature_bytes),
        )

    cdef bytes _slice(self, size_t at, size_t count):
        cdef Cursor cursor
        cursor_over(&cursor, self.data, 1)
        return cursor_slice(&cursor, at, count)

    def __repr__(self):
        return f"<Message {schema.MESSAGE_TYPES[self.type]} nonce={self.nonce}, {self.payload_bytes} bytes>"


cdef Message _message_open(bytes data):
    cdef Message message = Message.__new__(Message)
    cdef const Table* table = &SCHEMA.table[K_MESSAGE]
    cdef Reader reader
    cdef size_t[FIELDS_MAX] at
    cdef size_t pos = 0, sender_at = 0, payload_at = 0, signature_at = 0
    cdef uint32_t sender_bytes = 0
    reader_open(&reader, &SCHEMA, K_MESSAGE, data, 1)
    offset_follow(&reader, 0, &pos)
    table_open(&reader, table, pos, at)
    enum_read(&reader, &table.field[1], at[1], &message.type)
    if <size_t>PyBytes_GET_SIZE(data) > TYPE_BYTES_MAX[message.type]:
        _type_oversized(message.type, PyBytes_GET_SIZE(data))
    if at[0]:
        cursor_u16(&reader.cursor, at[0], &message.version)
    if at[3]:
        cursor_u64(&reader.cursor, at[3], &message.timestamp)
    if at[4]:
        cursor_u64(&reader.cursor, at[4], &message.nonce)
    bytes_open(&reader, &table.field[2], at[2], &sender_at, &sender_bytes)
    bytes_open(&reader, &table.field[5], at[5], &payload_at, &message.payload_bytes)
    bytes_open(&reader, &table.field[6], at[6], &signature_at, &message.signature_bytes)
    message.sender_at = <uint32_t>sender_at
    message.payload_at = <uint32_t>payload_at
    message.signature_at = <uint32_t>signature_at
    message.data = data
    return message


def decode_message(bytes data not None):
    """The Message in `data`: a tag and an encoding. MalformedMessage, or OversizedMessage by its type."""
    if <uint32_t>PyBytes_GET_SIZE(data) > MESSAGE_BYTES_MAX:
        raise OversizedMessage(f"{len(data)} bytes, at most {MESSAGE_BYTES_MAX}")
    if PyBytes_GET_SIZE(data) == 0:
        _malformed("empty")
    if PyBytes_AS_STRING(data)[0] == TAG_FLATBUFFERS:
        return _message_open(data)
    from mycelium._core import text
    # One representation serves both encodings: the values are written and verified as FlatBuffers.
    values = text.message_from_json(data)
    if <size_t>PyBytes_GET_SIZE(data) > TYPE_BYTES_MAX[values[1]]:
        _type_oversized(values[1], PyBytes_GET_SIZE(data))
    return _message_open(encode_message(*values))


def encode_message(
    version, type, bytes sender_id not None, timestamp, nonce, bytes payload not None,
    bytes signature not None = b"", int encoding=2,
):
    """Tag and envelope. `sender_id` has 32 bytes, `signature` 64 or none; `encoding` is the tag, 1 or 2."""
    cdef uint16_t version_number = whole(version)
    cdef uint8_t kind = whole(type)
    cdef uint64_t timestamp_ns = whole(timestamp), nonce_number = whole(nonce)
    cdef size_t payload_bytes = PyBytes_GET_SIZE(payload), signature_bytes = PyBytes_GET_SIZE(signature)
    cdef size_t payload_at = 100 + (4 + signature_bytes if signature_bytes else 0)
    # Padded to 8, as the official library does, so that a buffer of ours may be nested in another.
    cdef size_t size = (payload_at + 4 + payload_bytes + 7) & ~<size_t>7
    cdef bytes data
    cdef Sink sink
    if kind >= MESSAGE_TYPES:
        _malformed(f"no message type {kind}")
    if PyBytes_GET_SIZE(sender_id) != 32 or signature_bytes not in (0, 64):
        _malformed("a sender has 32 bytes, a signature 64 or none")
    if payload_bytes > TYPE_BYTES_MAX[kind] or 1 + size > TYPE_BYTES_MAX[kind]:
        _type_oversized(kind, 1 + size)
    if encoding != TAG_FLATBUFFERS:
        from mycelium._core import text
        values = (version, type, sender_id, timestamp, nonce, payload, signature)
        return text.message_to_json(encoding, values)
    data = PyBytes_FromStringAndSize(NULL, 1 + size)
    sink.data, sink.size, sink.at = <uint8_t*>PyBytes_AS_STRING(data), 1 + size, 0
    sink_u8(&sink, 0, TAG_FLATBUFFERS)
    sink.data += 1
    sink.size = size
    sink_copy(&sink, MESSAGE_HEADS[signature_bytes != 0], 68)
    sink_u64(&sink, 32, timestamp_ns)
    sink_u64(&sink, 40, nonce_number)
    sink_u16(&sink, 60, version_number)
    sink_u8(&sink, 62, kind)
    sink_copy(&sink, PyBytes_AS_STRING(sender_id), 32)
    if signature_bytes:
        sink_u32(&sink, 100, 64)
        sink.at = 104
        sink_copy(&sink, PyBytes_AS_STRING(signature), 64)
    sink_u32(&sink, payload_at, <uint32_t>payload_bytes)
    sink.at = payload_at + 4
    sink_copy(&sink, PyBytes_AS_STRING(payload), payload_bytes)
    sink_zero(&sink, size - sink.at)
    return data


def size_max(int type):
    """Bytes that a message of `type` may have, with its tag."""
    if not 0 <= type < MESSAGE_TYPES:
        _malformed(f"no message type {type}")
    return TYPE_BYTES_MAX[type]


# --- batches ----------------------------------------------------------------------------------------------


@cython.final
@cython.auto_pickle(False)
cdef class Batch:
    """A verified batch: `raw` is what was signed, `spans` says where each change lies in it."""

    def __cinit__(self):
        self.raw = self.spans = b""
        self.space = ""
        self.tables = ()

    def __init__(self):
        raise TypeError("a Batch comes from decode_batch")

    @property
    def genesis(self):
        """32 bytes."""
        return self._slice(self.genesis_at)

    @property
    def account(self):
        """32 bytes: the writer."""
        return self._slice(self.account_at)

    @property
    def prev_digest(self):
        """32 bytes: BLAKE3 of the origin's previous batch in this space."""
        return self._slice(self.prev_digest_at)

    cdef bytes _slice(self, size_t at):
        cdef Cursor cursor
        cursor_over(&cursor, self.raw, 0)
        return cursor_slice(&cursor, at, 32)

    cdef tuple _change(self, size_t index):
        cdef Cursor raw, spans
        cdef ChangeSpan span
        cursor_over(&raw, self.raw, 0)
        cursor_over(&spans, self.spans, 0)
        span_load(&spans, index, &span)
        return (
            span.table, span.op,
            cursor_slice(&raw, span.key_at, span.key_bytes),
            cursor_slice(&raw, span.value_at, span.value_bytes),
        )

    def change(self, Py_ssize_t index):
        """Change number `index` as (table, op, key, value)."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self._change(index)

    def changes(self):
        """All changes in order, as (table, op, key, value)."""
        cdef uint32_t i
        return [self._change(i) for i in range(self.count)]


cdef int _batch_check(uint64_t seq_first, uint64_t hlc_first, size_t count, size_t tables) except -1:
    """The rules that span fields. The last sequence number and the last clock must exist."""
    if not 1 <= count <= CHANGES_MAX:
        _malformed(f"a batch of {count} changes, not 1 to {CHANGES_MAX}")
    if tables > BATCH_TABLES_MAX:
        _malformed(f"a batch over {tables} tables, at most {BATCH_TABLES_MAX}")
    if seq_first < 1 or seq_first > UINT64_MAX - (count - 1) or hlc_first > UINT64_MAX - (count - 1):
        _malformed("sequence number or clock out of range")
    return 0


cdef bytes _spans_read(Reader* reader, size_t start, uint32_t count, size_t tables):
    """Verify `count` changes, whose offsets lie at `start`, into packed spans."""
    cdef const Table* table = &SCHEMA.table[K_CHANGE]
    cdef bytes spans = PyBytes_FromStringAndSize(NULL, count * sizeof(ChangeSpan))
    cdef size_t[FIELDS_MAX] at
    cdef size_t pos = 0, key_at = 0, value_at = 0
    cdef uint32_t i, key_bytes = 0, value_bytes = 0
    cdef uint8_t op = 0
    cdef uint64_t number = 0
    cdef ChangeSpan span
    cdef Sink sink
    sink.data, sink.size, sink.at = <uint8_t*>PyBytes_AS_STRING(spans), count * sizeof(ChangeSpan), 0
    for i in range(count):
        offset_follow(reader, start + 4 * <size_t>i, &pos)
        table_open(reader, table, pos, at)
        number_read(reader, &table.field[0], at[0], &number)
        if number >= tables:
            _malformed(f"change {i} names table {number} of {tables}")
        enum_read(reader, &table.field[1], at[1], &op)
        bytes_open(reader, &table.field[2], at[2], &key_at, &key_bytes)
        bytes_open(reader, &table.field[3], at[3], &value_at, &value_bytes)
        span.table, span.op, span.reserved = <uint16_t>number, op, 0
        span.key_at, span.key_bytes = <uint32_t>key_at, key_bytes
        span.value_at, span.value_bytes = <uint32_t>value_at, value_bytes
        span_store(&sink, &span)
    return spans


def decode_batch(bytes raw not None):
    """The Batch in `raw`, each change verified. MalformedMessage; OversizedMessage above BATCH_BYTES_MAX."""
    cdef Batch batch = Batch.__new__(Batch)
    cdef const Table* table = &SCHEMA.table[K_BATCH]
    cdef Reader reader
    cdef size_t[FIELDS_MAX] at
    cdef size_t pos = 0, genesis_at = 0, account_at = 0, prev_digest_at = 0
    cdef uint64_t netuid = 0, announced = 0
    cdef uint32_t count = 0
    reader_open(&reader, &SCHEMA, K_BATCH, raw, 0)
    offset_follow(&reader, 0, &pos)
    table_open(&reader, table, pos, at)
    number_read(&reader, &table.field[0], at[0], &netuid)
    bytes_open(&reader, &table.field[1], at[1], &genesis_at, &count)
    batch.space = string_read(&reader, at[2], True)
    bytes_open(&reader, &table.field[3], at[3], &account_at, &count)
    number_read(&reader, &table.field[4], at[4], &batch.generation)
    number_read(&reader, &table.field[5], at[5], &batch.seq_first)
    number_read(&reader, &table.field[6], at[6], &announced)
    bytes_open(&reader, &table.field[7], at[7], &prev_digest_at, &count)
    number_read(&reader, &table.field[8], at[8], &batch.epoch)
    number_read(&reader, &table.field[9], at[9], &batch.ref_block)
    number_read(&reader, &table.field[10], at[10], &batch.hlc_first)
    batch.tables = tuple(items_read(&reader, &table.field[11], at[11]))
    vector_open(&reader, at[12], 4, &pos, &count)
    if count != announced:
        _malformed(f"{count} changes where {announced} are announced")
    _batch_check(batch.seq_first, batch.hlc_first, count, len(batch.tables))
    batch.netuid, batch.count = <uint16_t>netuid, count
    batch.genesis_at, batch.account_at = <uint32_t>genesis_at, <uint32_t>account_at
    batch.prev_digest_at = <uint32_t>prev_digest_at
    batch.spans = _spans_read(&reader, pos, count, len(batch.tables))
    batch.raw = raw
    return batch


def encode_batch(
    netuid, bytes genesis not None, str space not None, bytes account not None, generation, seq_first,
    bytes prev_digest not None, epoch, ref_block, hlc_first, tables, changes,
):
    """A batch of `changes` (table index, op, key, value) over `tables` (name, merge). Not yet signed."""
    cdef tuple held = tuple(changes)
    cdef tuple named = tuple(tables)
    cdef Writer writer
    _batch_check(whole(seq_first), whole(hlc_first), len(held), len(named))
    writer_open(&writer, &SCHEMA, K_BATCH, 1024 + changes_bytes(&SCHEMA.table[K_CHANGE], held))
    try:
        writer.changes_kind, writer.changes_tables = K_CHANGE, <uint32_t>len(named)
        return writer_finish(&writer, K_BATCH, (
            netuid, genesis, space, account, generation, seq_first, len(held), prev_digest, epoch, ref_block,
            hlc_first, named, held,
        ))
    finally:
        writer_drop(&writer)


# --- the other tables -------------------------------------------------------------------------------------


cdef int _kind_check(int kind) except -1:
    if not K_MESSAGE < kind < KINDS:
        _malformed(f"no table of kind {kind}")
    return 0


def encode(int kind, values):
    """A table from its fields in schema order; nested tables are tuples, their vectors lists.

    A table of one field is that field's value (VersionVector is a list). Absent bytes are b"",
    absent text is "", an absent table None. A Batch goes through encode_batch and so is checked whole.
    """
    cdef Writer writer
    _kind_check(kind)
    if kind == K_BATCH:
        fields = tuple(values)
        if len(fields) != 13 or fields[6] != len(fields[12]):
            _malformed("a batch has 13 fields and counts its changes")
        return encode_batch(*fields[:6], *fields[7:])
    writer_open(&writer, &SCHEMA, kind, capacity_for(values, 4))
    try:
        return writer_finish(&writer, kind, values)
    finally:
        writer_drop(&writer)


def decode(int kind, bytes data not None):
    """The verified fields of the table in `data`, in the form that encode takes."""
    cdef Reader reader
    cdef size_t pos = 0
    cdef Batch batch
    _kind_check(kind)
    if kind == K_BATCH:
        batch = decode_batch(data)
        return (
            batch.netuid, batch.genesis, batch.space, batch.account, batch.generation, batch.seq_first,
            batch.count, batch.prev_digest, batch.epoch, batch.ref_block, batch.hlc_first, list(batch.tables),
            batch.changes(),
        )
    reader_open(&reader, &SCHEMA, kind, data, 0)
    offset_follow(&reader, 0, &pos)
    return table_read(&reader, kind, pos)


def encode_gossip(batches, int hops=0):
    """The payload of a Gossip message from (batch bytes, signature) pairs."""
    return encode(schema.GOSSIP, (batches, hops))


def decode_gossip(bytes data not None):
    """The (batch bytes, signature) pairs of a Gossip payload, neither looked into, and its hops."""
    return decode(schema.GOSSIP, data)


def to_json(int kind, values):
    """The table as JSON behind tag 0x01. Values that encode refuses are refused here."""
    from mycelium._core import text
    encode(kind, values)
    return text.table_to_json(kind, values)


def from_json(int kind, bytes data not None):
    """The fields in JSON behind tag 0x01, under exactly the rules of decode."""
    from mycelium._core import text
    _kind_check(kind)
    values = text.table_from_json(kind, data)
    encode(kind, values)
    return values
