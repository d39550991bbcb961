# cython: language_level=3
"""FlatBuffers' binary format over cursor.pxd: opening tables and vectors, each fully checked before any use.

Owns the format's rules (flatbuffers.dev, "FlatBuffer Internals"); must not know Mycelium's tables, which come
as descriptions. Positions are relative to the buffer's start, and so are alignments.

Stricter than the official verifier in three ways, so that nothing is guessed and work is linear in the input:
a table claims its bytes from a budget of the buffer's own size, and so does a vector (shared offsets cannot
make a buffer describe more than it holds); a vtable longer than the schema is refused (a new field is a new
protocol version); a bool is 0 or 1.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mycelium._core.cursor cimport Cursor, cursor_fail, cursor_need, cursor_u16, cursor_u32


cdef enum:
    FIELDS_MAX = 13             # of the widest table, Batch
    KINDS = 27                  # tables in schemas/wire.fbs
    NAME_MAX = 64               # config.NAME_BYTES_MAX


cdef enum FieldType:
    T_BOOL = 0
    T_U8 = 1
    T_U16 = 2
    T_U32 = 3
    T_U64 = 4
    T_BYTES = 5                 # from here on the inline part is an offset
    T_STRING = 6
    T_NAME = 7                  # a string of 1..64 of [a-z0-9_.-]
    T_TABLE = 8
    T_TABLES = 9
    T_STRINGS = 10
    T_U16S = 11
    T_RANGES = 12               # structs {first: u64, last: u64}, ascending and disjoint


cdef struct Field:
    uint8_t type
    uint8_t required
    uint8_t width               # bytes inline, and their alignment
    uint8_t slot                # where the writer puts it within the table
    uint8_t table               # kind of the nested table or items
    uint8_t high                # greatest value of an enum or bool
    uint32_t low_bytes          # of T_BYTES, when not empty
    uint32_t high_bytes


cdef struct Table:
    uint32_t count              # fields
    uint32_t inline_bytes       # as the writer lays it out
    uint32_t wide               # holds a u64: the writer places it at 4 modulo 8
    uint32_t bytes_max          # of a buffer whose root it is
    Field[FIELDS_MAX] field


cdef struct Schema:
    Table[KINDS] table
    uint32_t tables_max         # opened while one buffer is read
    uint32_t items_max          # of a vector, except of bytes


cdef struct Reader:
    Cursor cursor
    const Schema* schema
    size_t budget               # bytes that tables and vectors may still claim
    uint32_t tables             # tables that may still be opened


cdef inline int reader_claim(Reader* reader, size_t at, size_t count) except -1:
    cursor_need(&reader.cursor, at, count)
    if count > reader.budget:
        cursor_fail(b"shared or overlapping parts", at)
    reader.budget -= count
    return 0


cdef inline int offset_follow(Reader* reader, size_t at, size_t* target) except -1:
    """The position that the unsigned offset at `at` names: always ahead of it, always aligned."""
    cdef uint32_t offset = 0
    cursor_u32(&reader.cursor, at, &offset)
    if offset == 0 or (at + offset) & 3:
        cursor_fail(b"bad offset", at)
    target[0] = at + offset
    return 0


cdef inline int table_open(Reader* reader, const Table* table, size_t pos, size_t* at) except -1:
    """Verify the table at `pos`. at[i] becomes the position of field i's inline part, 0 where absent."""
    cdef uint32_t soffset = 0, i
    cdef uint16_t vtable_bytes = 0, table_bytes = 0, offset = 0
    cdef int64_t vtable
    cdef const Field* field
    cursor_u32(&reader.cursor, pos, &soffset)
    # The vtable may lie on either side of its table.
    vtable = <int64_t>pos - <int64_t><int32_t>soffset
    if pos & 3 or vtable < 0 or vtable & 1:
        cursor_fail(b"misplaced table", pos)
    cursor_u16(&reader.cursor, <size_t>vtable, &vtable_bytes)
    cursor_u16(&reader.cursor, <size_t>vtable + 2, &table_bytes)
    if vtable_bytes < 4 or vtable_bytes & 1 or vtable_bytes > 4 + 2 * table.count or table_bytes < 4:
        cursor_fail(b"bad vtable", <size_t>vtable)
    cursor_need(&reader.cursor, <size_t>vtable, vtable_bytes)
    if reader.tables == 0:
        cursor_fail(b"too many tables", pos)
    reader.tables -= 1
    reader_claim(reader, pos, table_bytes)
    for i in range(table.count):
        field = &table.field[i]
        offset = 0
        if 4 + 2 * i < vtable_bytes:
            cursor_u16(&reader.cursor, <size_t>vtable + 4 + 2 * i, &offset)
        if offset == 0:
            if field.required:
                cursor_fail(b"required field absent", pos)
            at[i] = 0
            continue
        if offset < 4 or offset + field.width > table_bytes or (pos + offset) & (field.width - 1):
            cursor_fail(b"misplaced field", pos + offset)
        at[i] = pos + offset
    return 0


cdef inline int vector_open(
    Reader* reader, size_t at, uint32_t item_bytes, size_t* start, uint32_t* count
) except -1:
    """Verify the vector that the offset at `at` names: its items lie at start[0], count[0] of them."""
    cdef size_t pos = 0
    offset_follow(reader, at, &pos)
    cursor_u32(&reader.cursor, pos, count)
    # A vector of bytes is bounded by the buffer alone.
    if item_bytes > 1 and count[0] > reader.schema.items_max:
        cursor_fail(b"too many items", pos)
    # flatc aligns structs only where there are some.
    if item_bytes == 16 and count[0] and (pos + 4) & 7:
        cursor_fail(b"misaligned structs", pos)
    reader_claim(reader, pos, 4 + <size_t>count[0] * item_bytes)
    start[0] = pos + 4
    return 0


cdef inline int bytes_open(
    Reader* reader, const Field* field, size_t at, size_t* start, uint32_t* count
) except -1:
    """A T_BYTES field; `at` is from table_open. Absent and empty are one value; a required one is checked."""
    start[0] = 0
    count[0] = 0
    if at:
        vector_open(reader, at, 1, start, count)
    if (count[0] or field.required) and not field.low_bytes <= count[0] <= field.high_bytes:
        cursor_fail(b"wrong width", at)
    return 0
