# cython: language_level=3
"""Tables into Python values, as their description says; every part is verified on the way.

Owns the rules of a single field: enums, names, UTF-8, widths, ranges. Must not know any table of Mycelium.
A table becomes a tuple of its fields in schema order, and a table of one field that field's value.
"""

from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mycelium._core.cursor cimport (
    cursor_at, cursor_fail, cursor_over, cursor_oversized, cursor_slice, cursor_u8, cursor_u16, cursor_u32,
    cursor_u64,
)
from mycelium._core.wire cimport (
    FIELDS_MAX, NAME_MAX, T_BOOL, T_BYTES, T_NAME, T_RANGES, T_STRINGS, T_TABLE, T_TABLES, T_U8, T_U16,
    T_U16S, T_U32, T_U64, Field, Reader, Schema, Table, bytes_open, offset_follow, table_open, vector_open,
)


cdef extern from "Python.h":
    str PyUnicode_DecodeUTF8(const char*, Py_ssize_t, const char*)


cdef inline int reader_open(
    Reader* reader, const Schema* schema, int kind, bytes data, size_t skip
) except -1:
    """Read `data` behind its first `skip` bytes, of a size that the kind allows."""
    cursor_over(&reader.cursor, data, skip)
    if reader.cursor.size > schema.table[kind].bytes_max:
        cursor_oversized(reader.cursor.size, schema.table[kind].bytes_max)
    reader.schema = schema
    reader.budget = reader.cursor.size
    reader.tables = schema.tables_max
    return 0


cdef inline int enum_read(Reader* reader, const Field* field, size_t at, uint8_t* value) except -1:
    value[0] = 0
    if at:
        cursor_u8(&reader.cursor, at, value)
        if value[0] > field.high:
            cursor_fail(b"unknown enum value", at)
    return 0


cdef inline int name_check(const uint8_t* text, size_t count, size_t at) except -1:
    """1..64 of [a-z0-9_.-]: `text` has `count` readable bytes."""
    cdef size_t i
    cdef uint8_t c
    if not 1 <= count <= NAME_MAX:
        cursor_fail(b"a name is too long or empty,", at)
    for i in range(count):
        c = text[i]
        if not (97 <= c <= 122 or 48 <= c <= 57 or c == 95 or c == 45 or c == 46):
            cursor_fail(b"a name holds other than a-z, 0-9, '_', '.' and '-'", at)
    return 0


cdef inline str string_read(Reader* reader, size_t at, bint name):
    cdef size_t start = 0
    cdef uint32_t count = 0
    cdef uint8_t nul = 1
    cdef const uint8_t* text
    vector_open(reader, at, 1, &start, &count)
    cursor_u8(&reader.cursor, start + count, &nul)
    if nul:
        cursor_fail(b"a string without its NUL", start)
    text = cursor_at(&reader.cursor, start, count)
    if name:
        name_check(text, count, start)
    try:
        return PyUnicode_DecodeUTF8(<const char*>text, count, NULL)
    except UnicodeDecodeError:
        cursor_fail(b"a string that is not UTF-8", start)


cdef inline list items_read(Reader* reader, const Field* field, size_t at):
    """A vector of tables, strings, u16 or ranges, built item by item: a claimed count allocates nothing."""
    cdef uint32_t item_bytes = 2 if field.type == T_U16S else 16 if field.type == T_RANGES else 4
    cdef size_t start = 0, pos = 0
    cdef uint32_t count = 0, i
    cdef uint16_t number = 0
    cdef uint64_t first = 0, last = 0, previous = 0
    cdef list items = []
    vector_open(reader, at, item_bytes, &start, &count)
    for i in range(count):
        if field.type == T_TABLES:
            offset_follow(reader, start + 4 * <size_t>i, &pos)
            items.append(table_read(reader, field.table, pos))
        elif field.type == T_STRINGS:
            items.append(string_read(reader, start + 4 * <size_t>i, False))
        elif field.type == T_U16S:
            cursor_u16(&reader.cursor, start + 2 * <size_t>i, &number)
            items.append(number)
        else:
            cursor_u64(&reader.cursor, start + 16 * <size_t>i, &first)
            cursor_u64(&reader.cursor, start + 16 * <size_t>i + 8, &last)
            if first > last or (i and first <= previous):
                cursor_fail(b"ranges out of order", start)
            previous = last
            items.append((first, last))
    return items


cdef inline int number_read(Reader* reader, const Field* field, size_t at, uint64_t* value) except -1:
    """A T_U16, T_U32 or T_U64; an absent one is 0."""
    cdef uint16_t u16 = 0
    cdef uint32_t u32 = 0
    value[0] = 0
    if at == 0:
        return 0
    if field.type == T_U16:
        cursor_u16(&reader.cursor, at, &u16)
        value[0] = u16
    elif field.type == T_U32:
        cursor_u32(&reader.cursor, at, &u32)
        value[0] = u32
    else:
        cursor_u64(&reader.cursor, at, value)
    return 0


cdef inline object field_read(Reader* reader, const Field* field, size_t at):
    cdef size_t start = 0
    cdef uint32_t count = 0
    cdef uint8_t small = 0
    cdef uint64_t number = 0
    if field.type <= T_U8:
        enum_read(reader, field, at, &small)
        return bool(small) if field.type == T_BOOL else small
    if field.type <= T_U64:
        number_read(reader, field, at, &number)
        return number
    if field.type == T_BYTES:
        bytes_open(reader, field, at, &start, &count)
        return cursor_slice(&reader.cursor, start, count)
    if field.type <= T_NAME:
        return string_read(reader, at, field.type == T_NAME) if at else ""
    if field.type == T_TABLE:
        if at == 0:
            return None
        offset_follow(reader, at, &start)
        return table_read(reader, field.table, start)
    return items_read(reader, field, at) if at else []


cdef inline object table_read(Reader* reader, int kind, size_t pos):
    """Recursive as deep as the schema is, which has no table within itself."""
    cdef const Table* table = &reader.schema.table[kind]
    cdef size_t[FIELDS_MAX] at
    cdef uint32_t i
    cdef tuple values
    table_open(reader, table, pos, at)
    if table.count == 1:
        return field_read(reader, &table.field[0], at[0])
    values = PyTuple_New(table.count)
    for i in range(table.count):
        value = field_read(reader, &table.field[i], at[i])
        Py_INCREF(value)
        PyTuple_SET_ITEM(values, i, value)
    return values
