# cython: language_level=3
"""Python values into tables, as their description says, front to back: a table, then what it points to.

Owns the layout; must not know any table of Mycelium but Change, whose vectors are long. A value that a reader
would refuse raises the same errors here. Every table lies behind its vtable and every child behind its
parent, a vtable serves all equal tables that follow each other, all padding is zero: equal values give equal
bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mycelium._core.cursor cimport (
    Sink, cursor_fail, cursor_oversized, sink_copy, sink_u8, sink_u16, sink_u32, sink_u64, sink_zero,
)
from mycelium._core.reader cimport name_check
from mycelium._core.wire cimport (
    KINDS, T_BYTES, T_NAME, T_RANGES, T_STRINGS, T_TABLE, T_TABLES, T_U8, T_U16, T_U16S, T_U32, Field, Schema,
    Table,
)


cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject* PyBytes_New "PyBytes_FromStringAndSize" (const char*, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject**, Py_ssize_t) except -1
    char* PyBytes_Start "PyBytes_AS_STRING" (PyObject*)
    void Py_XDECREF(PyObject*)
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL


cdef struct Writer:
    PyObject* buffer                # a bytes object that nothing else has seen; writer_drop releases it
    Sink sink
    const Schema* schema
    size_t bytes_max
    size_t[KINDS] vtable_at
    uint32_t[KINDS] vtable_fields   # bit i: field i is present in that vtable
    int changes_kind                # the kind that changes_write writes
    uint32_t changes_tables         # tables that its changes may name


cdef inline int writer_open(Writer* writer, const Schema* schema, int kind, size_t capacity) except -1:
    cdef int i
    # Asked for at once where it is known: growing a large buffer costs more than filling it.
    capacity = min(capacity, schema.table[kind].bytes_max)
    writer.buffer = PyBytes_New(NULL, capacity)
    writer.sink.data, writer.sink.size, writer.sink.at = <uint8_t*>PyBytes_Start(writer.buffer), capacity, 0
    writer.schema = schema
    writer.bytes_max = schema.table[kind].bytes_max
    writer.changes_kind = -1
    writer.changes_tables = 0
    for i in range(KINDS):
        writer.vtable_at[i] = 0
    return 0


cdef inline size_t capacity_for(values, int depth) except 0:
    """About what `values` will take. A guess that saves growing; it looks no deeper than a table goes."""
    cdef size_t total = 48
    if isinstance(values, bytes):
        return total + <size_t>PyBytes_GET_SIZE(values)
    if depth and isinstance(values, (tuple, list)):
        for value in values:
            total += capacity_for(value, depth - 1)
    return total


cdef inline void writer_drop(Writer* writer) noexcept:
    # Releases memory and cannot fail. _PyBytes_Resize leaves NULL behind when it does.
    Py_XDECREF(writer.buffer)
    writer.buffer = NULL


cdef inline int writer_grow(Writer* writer, size_t more) except -1:
    """Room for `more` bytes behind what is written. The cap holds before memory is asked for."""
    cdef size_t capacity = writer.sink.at + more
    if more > writer.bytes_max or capacity > writer.bytes_max:
        cursor_oversized(capacity, writer.bytes_max)
    if capacity > writer.sink.size:
        capacity = max(capacity, min(2 * writer.sink.size, writer.bytes_max))
        _PyBytes_Resize(&writer.buffer, capacity)
        writer.sink.data, writer.sink.size = <uint8_t*>PyBytes_Start(writer.buffer), capacity
    return 0


cdef inline int writer_align(Writer* writer, size_t width, size_t offset) except -1:
    """Pad until the position is `offset` modulo `width`, a power of two."""
    cdef size_t padding = (offset - writer.sink.at) & (width - 1)
    writer_grow(writer, padding)
    return sink_zero(&writer.sink, padding)


cdef inline bytes writer_finish(Writer* writer, int kind, values):
    """The whole buffer with `values` as its root, padded to 8."""
    cdef Py_ssize_t root
    writer_grow(writer, 4)
    sink_zero(&writer.sink, 4)
    root = table_write(writer, kind, values)
    sink_u32(&writer.sink, 0, <uint32_t>root)
    writer_align(writer, 8, 0)
    _PyBytes_Resize(&writer.buffer, writer.sink.at)
    return <bytes>writer.buffer


cdef inline int vtable_write(Sink* sink, size_t pos, const Table* table, uint32_t fields) except -1:
    """The vtable at `pos` that says which of `fields` (a bit each) are present."""
    cdef uint32_t i
    sink_u16(sink, pos, <uint16_t>(4 + 2 * table.count))
    sink_u16(sink, pos + 2, <uint16_t>table.inline_bytes)
    for i in range(table.count):
        sink_u16(sink, pos + 4 + 2 * i, table.field[i].slot if fields >> i & 1 else 0)
    return 0


cdef inline size_t vtable_place(Writer* writer, int kind, uint32_t fields) except 0:
    """Where the vtable for `fields` lies: the kind's latest, or a new one."""
    cdef const Table* table = &writer.schema.table[kind]
    if writer.vtable_at[kind] and writer.vtable_fields[kind] == fields:
        return writer.vtable_at[kind]
    writer_align(writer, 2, 0)
    writer_grow(writer, 4 + 2 * table.count)
    vtable_write(&writer.sink, writer.sink.at, table, fields)
    writer.vtable_at[kind], writer.vtable_fields[kind] = writer.sink.at, fields
    writer.sink.at += 4 + 2 * table.count
    return writer.vtable_at[kind]


cdef inline object whole(value):
    """`value`, an int. Cython's own conversion would take a float and cut it, or run an object's __int__."""
    if not isinstance(value, int):
        raise TypeError(f"an int is needed, not {type(value).__name__}")
    return value


cdef inline Py_ssize_t table_write(Writer* writer, int kind, values) except -1:
    """Write a table and all below it; its position."""
    cdef const Table* table = &writer.schema.table[kind]
    cdef tuple held = (values,) if table.count == 1 else tuple(values)
    cdef uint32_t i, fields = 0
    cdef size_t pos, vtable_at
    cdef const Field* field
    if <size_t>len(held) != table.count:
        cursor_fail(b"a table with the wrong number of fields", writer.sink.at)
    for i in range(table.count):
        field = &table.field[i]
        if field.type < T_BYTES or field.required or (
            held[i] is not None if field.type == T_TABLE else len(held[i]) > 0
        ):
            fields |= <uint32_t>1 << i
    vtable_at = vtable_place(writer, kind, fields)
    writer_align(writer, 8 if table.wide else 4, 4 if table.wide else 0)
    pos = writer.sink.at
    writer_grow(writer, table.inline_bytes)
    sink_zero(&writer.sink, table.inline_bytes)
    sink_u32(&writer.sink, pos, <uint32_t>(pos - vtable_at))
    for i in range(table.count):
        if fields >> i & 1:
            field_write(writer, &table.field[i], pos + table.field[i].slot, held[i])
    return pos


cdef inline int field_write(Writer* writer, const Field* field, size_t at, value) except -1:
    cdef Py_ssize_t child
    if field.type >= T_BYTES:
        child = child_write(writer, field, value)
        return sink_u32(&writer.sink, at, <uint32_t>(child - at))
    whole(value)
    if field.type <= T_U8:
        if not 0 <= value <= field.high:
            cursor_fail(b"unknown enum value", at)
        return sink_u8(&writer.sink, at, value)
    if field.type == T_U16:
        return sink_u16(&writer.sink, at, value)
    if field.type == T_U32:
        return sink_u32(&writer.sink, at, value)
    return sink_u64(&writer.sink, at, value)


cdef inline Py_ssize_t child_write(Writer* writer, const Field* field, value) except -1:
    """What an offset field points to; its position."""
    cdef bytes data
    if field.type == T_BYTES:
        data = value
        if data is None or not field.low_bytes <= <size_t>PyBytes_GET_SIZE(data) <= field.high_bytes:
            cursor_fail(b"wrong width", writer.sink.at)
        return vector_write(writer, PyBytes_GET_SIZE(data), PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    if field.type <= T_NAME:
        return string_write(writer, value, field.type == T_NAME)
    if field.type == T_TABLE:
        return table_write(writer, field.table, value)
    if field.type == T_TABLES and field.table == writer.changes_kind:
        return changes_write(writer, value)
    return items_write(writer, field, tuple(value))


cdef inline Py_ssize_t vector_write(Writer* writer, size_t count, const void* source, size_t size) except -1:
    """A count and `size` bytes."""
    cdef size_t pos
    writer_align(writer, 4, 0)
    pos = writer.sink.at
    writer_grow(writer, 4 + size)
    sink_u32(&writer.sink, pos, <uint32_t>count)
    writer.sink.at += 4
    sink_copy(&writer.sink, source, size)
    return pos


cdef inline Py_ssize_t string_write(Writer* writer, str value, bint name) except -1:
    cdef Py_ssize_t size = 0, pos
    cdef const char* text = NULL
    if value is None:
        raise TypeError("a string field is None")
    try:
        text = PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError:
        cursor_fail(b"text with lone surrogates", writer.sink.at)
    if name:
        name_check(<const uint8_t*>text, size, writer.sink.at)
    pos = vector_write(writer, size, text, size)
    writer_grow(writer, 1)
    sink_zero(&writer.sink, 1)
    return pos


cdef inline Py_ssize_t items_write(Writer* writer, const Field* field, tuple items) except -1:
    """A vector of tables, strings, u16 or ranges."""
    cdef size_t item_bytes = 2 if field.type == T_U16S else 16 if field.type == T_RANGES else 4
    cdef size_t pos, at, i, count = <size_t>len(items)
    cdef uint64_t first = 0, last = 0, previous = 0
    cdef Py_ssize_t child
    if count > writer.schema.items_max:
        cursor_fail(b"too many items", writer.sink.at)
    writer_align(writer, 8 if field.type == T_RANGES else 4, 4 if field.type == T_RANGES else 0)
    pos = writer.sink.at
    writer_grow(writer, 4 + count * item_bytes)
    sink_zero(&writer.sink, 4 + count * item_bytes)
    sink_u32(&writer.sink, pos, <uint32_t>count)
    for i in range(count):
        at = pos + 4 + i * item_bytes
        if field.type == T_U16S:
            sink_u16(&writer.sink, at, whole(items[i]))
        elif field.type == T_RANGES:
            low, high = items[i]
            first, last = whole(low), whole(high)
            if first > last or (i and first <= previous):
                cursor_fail(b"ranges out of order", at)
            previous = last
            sink_u64(&writer.sink, at, first)
            sink_u64(&writer.sink, at + 8, last)
        else:
            if field.type == T_STRINGS:
                child = string_write(writer, items[i], False)
            else:
                child = table_write(writer, field.table, items[i])
            sink_u32(&writer.sink, at, <uint32_t>(child - at))
    return pos


cdef inline size_t padded(size_t size) noexcept:
    """`size` rounded up to 4. Arithmetic alone, so it cannot fail."""
    return (size + 3) & ~<size_t>3


cdef inline size_t changes_bytes(const Table* table, tuple changes) except 0:
    """What changes_write will take. Every change is a tuple (table, op, key, value), its bytes in bounds."""
    cdef size_t i, key_bytes, value_bytes, total = 4
    cdef bytes key, value
    for i in range(<size_t>len(changes)):
        if not isinstance(changes[i], tuple) or len(<tuple>changes[i]) != 4:
            raise TypeError("a change is a tuple (table, op, key, value)")
        key, value = (<tuple>changes[i])[2], (<tuple>changes[i])[3]
        if key is None or value is None:
            raise TypeError("the key and value of a change are bytes")
        key_bytes, value_bytes = PyBytes_GET_SIZE(key), PyBytes_GET_SIZE(value)
        if not table.field[2].low_bytes <= key_bytes <= table.field[2].high_bytes:
            cursor_fail(b"a key of a wrong width in change", i)
        if value_bytes > table.field[3].high_bytes:
            cursor_fail(b"a value of a wrong width in change", i)
        total += 4 + table.inline_bytes + 4 + padded(key_bytes)
        if value_bytes:
            total += 4 + padded(value_bytes)
    return total


cdef inline Py_ssize_t changes_write(Writer* writer, tuple changes) except -1:
    """Batch.changes: room for all is made once, then each is a table of 16 bytes, its key and its value."""
    cdef const Table* table = &writer.schema.table[writer.changes_kind]
    cdef size_t count = <size_t>len(changes), need = changes_bytes(table, changes), bare, full, pos, at, i
    cdef bytes key, value
    cdef uint16_t named
    cdef uint8_t op
    bare = vtable_place(writer, writer.changes_kind, 0b0111)
    full = vtable_place(writer, writer.changes_kind, 0b1111)
    writer_align(writer, 4, 0)
    pos = writer.sink.at
    writer_grow(writer, need)
    sink_zero(&writer.sink, 4 + 4 * count)
    sink_u32(&writer.sink, pos, <uint32_t>count)
    for i in range(count):
        named, op = whole((<tuple>changes[i])[0]), whole((<tuple>changes[i])[1])
        key, value = (<tuple>changes[i])[2], (<tuple>changes[i])[3]
        if named >= writer.changes_tables or op > table.field[1].high:
            cursor_fail(b"a change with an unknown table or op", writer.sink.at)
        at = writer.sink.at
        sink_u32(&writer.sink, pos + 4 + 4 * i, <uint32_t>(at - (pos + 4 + 4 * i)))
        sink_zero(&writer.sink, table.inline_bytes)
        sink_u32(&writer.sink, at, <uint32_t>(at - (full if PyBytes_GET_SIZE(value) else bare)))
        sink_u16(&writer.sink, at + table.field[0].slot, named)
        sink_u8(&writer.sink, at + table.field[1].slot, op)
        change_bytes(writer, at + table.field[2].slot, key)
        if PyBytes_GET_SIZE(value):
            change_bytes(writer, at + table.field[3].slot, value)
    return pos


cdef inline int change_bytes(Writer* writer, size_t at, bytes data) except -1:
    """A key or value behind its change, within the room already made, and padding to 4."""
    cdef size_t size = <size_t>PyBytes_GET_SIZE(data)
    sink_u32(&writer.sink, at, <uint32_t>(writer.sink.at - at))
    sink_u32(&writer.sink, writer.sink.at, <uint32_t>size)
    writer.sink.at += 4
    sink_copy(&writer.sink, PyBytes_AS_STRING(data), size)
    return sink_zero(&writer.sink, padded(size) - size)
