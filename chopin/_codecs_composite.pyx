# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""Codecs of composite types and of anonymous records, in binary form.

Owns: `composite_of` and `record_of`, which make the codec of a composite type from
those of its attributes, and that of `record`, whose values say what is in them.
Layer L2. Imports L0, L1, `_codecbase` and `_records`.

Rules
- A composite value names the type of every attribute. If they are not those that the
  codec was made for, the type has been altered: OutdatedSchemaCacheError, never a value
  under a wrong name.
- A type inside of a record that nobody knows cannot be asked for while the row is read:
  its value is the bytes of the wire.
- Records nest as deep as the bytes say, so their depth is counted and has a limit.

Source: PostgreSQL docs "Composite Types"; rowtypes.c:record_send, record_recv.
"""

from collections.abc import Mapping

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int32_t, uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value, new_codec
from chopin._records cimport SET_RECORD_ITEM, new_names, new_record, record_track
from chopin._wire cimport (
    FORMAT_BINARY, Cursor, cursor_left, cursor_over, get_int32, get_uint32, take_int32,
)

from chopin._codecbase import ElementError
from chopin._records import Record as RecordClass
from chopin.exceptions import OutdatedSchemaCacheError, UnsupportedClientFeatureError

cdef extern from *:
    void PyObject_GC_Track(object op) noexcept
    void PyObject_GC_UnTrack(object op) noexcept

cdef enum:
    ATTRIBUTE = 8       # bytes of an attribute at least: OID and size
    MAX_DEPTH = 200     # of records in records; the server's own stack allows thousands

cdef object Record = RecordClass


cdef class Scope:
    """Where a record finds the codecs of what is in it."""

    cdef Codec binary_codec(self, uint32_t oid):
        return None


cdef class Attributes:
    """What a composite type consists of; the `detail` of its codec."""

    cdef tuple names
    cdef tuple codecs
    cdef dict positions         # name -> position
    cdef object record_names    # of the records that are made


cdef Codec composite_of(uint32_t oid, str name, str schema, tuple names, tuple codecs):
    """The codec of the composite type `oid` with these attributes."""
    cdef Attributes attributes = Attributes.__new__(Attributes)
    cdef Codec codec
    cdef bint atomic = True
    for part in codecs:
        atomic = atomic and (<Codec>part).atomic
    attributes.names = names
    attributes.codecs = codecs
    attributes.positions = {names[i]: i for i in range(len(names))}
    attributes.record_names = new_names(names)
    codec = new_codec(
        oid, name, "composite", FORMAT_BINARY, atomic, decode_composite,
        encode_composite,
    )
    codec.schema = schema
    codec.detail = attributes
    return codec


cdef Codec record_of(uint32_t oid, str name, Scope scope):
    """The codec of anonymous records, whose types are looked up in `scope`."""
    cdef Codec codec = new_codec(
        oid, name, "pseudo", FORMAT_BINARY, False, decode_record, encode_record
    )
    codec.detail = scope
    return codec


# Composite types.

cdef object decode_composite(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 count of attributes; per attribute uint32 OID of its type, int32 size, or
    -1 for NULL, and its bytes. All BE. A Record.

    OutdatedSchemaCacheError: another count or type than the codec knows.
    DataError: an attribute past the end, bytes left over.
    Source: rowtypes.c:record_send.
    """
    cdef Attributes attributes = <Attributes>codec.detail
    cdef tuple codecs = attributes.codecs
    cdef Py_ssize_t count = len(codecs)
    cdef const unsigned char *at = data + 4
    cdef const unsigned char *end = data + size
    cdef Codec part
    cdef Py_ssize_t length
    cdef Py_ssize_t i
    if size < 4:
        bad_size(codec, size, "4 or more")
    if get_int32(data) != count:
        raise altered_count(codec, get_int32(data), count)
    record = new_record(<PyTypeObject *>Record, attributes.record_names, count)
    for i in range(count):
        if end - at < ATTRIBUTE:
            bad_value(codec, "an attribute is missing")
        part = <Codec>PyTuple_GET_ITEM(codecs, i)
        if get_uint32(at) != part.oid:
            raise altered_type(codec, i, get_uint32(at), part)
        length = get_int32(at + 4)
        at += ATTRIBUTE
        if length == -1:
            value = None
        elif length < 0 or length > end - at:
            bad_value(codec, f"an attribute of {length} bytes is out of range")
        else:
            value = part.decode(part, at, length)
            at += length
        Py_INCREF(value)
        SET_RECORD_ITEM(record, i, <PyObject *>value)
    if at != end:
        bad_value(codec, f"{end - at} bytes are left over")
    if not codec.atomic:
        record_track(record)
    return record


cdef object altered_count(Codec codec, int32_t got, Py_ssize_t expected):
    return OutdatedSchemaCacheError(
        f"unexpected number of attributes of composite type: {got}, "
        f"expected {expected}",
        schema=codec.schema,
        data_type=codec.name,
    )


cdef object altered_type(Codec codec, Py_ssize_t position, uint32_t got, Codec part):
    return OutdatedSchemaCacheError(
        f"unexpected data type of composite type attribute {position}: "
        f"{got}, expected {part.oid} ({part.name})",
        schema=codec.schema,
        data_type=codec.name,
        position=position,
    )


cdef tuple values_of(Codec codec, object value):
    """The values of an argument in the order of the attributes.

    A mapping has some of them by name, the others are NULL; an object of a dataclass
    has all of them by name; of anything else that can be iterated over they are the
    items. TypeError, ValueError: it does not fit.
    """
    cdef Attributes attributes = <Attributes>codec.detail
    cdef list items
    if isinstance(value, Mapping):
        items = [None] * len(attributes.names)
        for name in value:
            position = attributes.positions.get(name)
            if position is None:
                raise ValueError(
                    f"{name!r} is not a valid element of composite type {codec.name}"
                )
            items[position] = value[name]
        return tuple(items)
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        return attributes_of(codec, value)
    if isinstance(value, (str, bytes, bytearray, memoryview)) or not (
        hasattr(kind, "__iter__") and hasattr(kind, "__len__")
    ):
        raise TypeError(
            f"a tuple, a mapping or a record expected (got type '{kind.__name__}')"
        )
    values = tuple(value)
    if len(values) != len(attributes.names):
        raise ValueError(
            f"composite type {codec.name} has {len(attributes.names)} attributes, "
            f"{len(values)} {'was' if len(values) == 1 else 'were'} passed"
        )
    return values


cdef tuple attributes_of(Codec codec, object value):
    """The attributes of an object in the order of the type's, by their names.

    ValueError: it does not have one of them.
    """
    cdef Attributes attributes = <Attributes>codec.detail
    cdef list items = []
    for name in attributes.names:
        try:
            items.append(getattr(value, name))
        except AttributeError:
            raise ValueError(
                f"{type(value).__name__} has no {name!r}, which composite type "
                f"{codec.name} has"
            ) from None
    return tuple(items)


cdef tuple names_of(Codec codec):
    return (<Attributes>codec.detail).names


cdef tuple codecs_of(Codec codec):
    return (<Attributes>codec.detail).codecs


cdef int encode_composite(Codec codec, WriteBuffer out, object value) except -1:
    """The layout of `decode_composite`.

    TypeError: neither a mapping nor a sized iterable. ValueError: attributes that the
    type does not have, too few or too many. ElementError: one that its codec refuses.
    Source: rowtypes.c:record_recv.
    """
    cdef Attributes attributes = <Attributes>codec.detail
    cdef tuple values = values_of(codec, value)
    cdef Py_ssize_t start = out.begin_field()
    cdef Py_ssize_t i = 0
    cdef Codec part
    out.put_int32(<int32_t>len(values))
    try:
        for i in range(len(values)):
            part = <Codec>PyTuple_GET_ITEM(attributes.codecs, i)
            out.put_int32(<int32_t>part.oid)
            if values[i] is None:
                out.put_int32(-1)
            else:
                part.encode(part, out, values[i])
    except ElementError as error:
        raise ElementError(
            f".{attributes.names[i]}{error.path}", error.value, error.reason
        ) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ElementError(f".{attributes.names[i]}", values[i], str(error)) from error
    out.end_field(start)
    return 0


# Anonymous records.

cdef object decode_record(Codec codec, const unsigned char *data, Py_ssize_t size):
    """The layout of `decode_composite`, of any attributes. A tuple.

    DataError: more attributes than bytes for them, one past the end, bytes left over,
    records too deep in each other.
    Source: rowtypes.c:record_send.
    """
    cdef Scope scope = <Scope>codec.detail
    cdef Cursor c = cursor_over(data, size)
    cdef int32_t count = take_int32(&c)
    if c.failed:
        bad_size(codec, size, "4 or more")
    if count < 0 or count > cursor_left(&c) / ATTRIBUTE:
        bad_value(codec, f"{count} attributes are out of range")
    if scope.depth == MAX_DEPTH:
        bad_value(codec, f"it has more than {MAX_DEPTH} records in each other")
    scope.depth += 1
    try:
        result = read_attributes(codec, &c, count)
    finally:
        scope.depth -= 1
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef tuple read_attributes(Codec codec, Cursor *c, Py_ssize_t count):
    """The tuple of the attributes; the collector knows it when it is full."""
    cdef Scope scope = <Scope>codec.detail
    cdef const unsigned char *at
    cdef Codec part
    cdef Py_ssize_t length, i
    cdef tuple result = PyTuple_New(count)
    cdef object value
    if count == 0:
        return result
    PyObject_GC_UnTrack(result)
    for i in range(count):
        at = c.at
        if c.end - at < ATTRIBUTE:
            bad_value(codec, "an attribute is missing")
        length = get_int32(at + 4)
        at += ATTRIBUTE
        if length == -1:
            value = None
        elif length < 0 or length > c.end - at:
            bad_value(codec, f"an attribute of {length} bytes is out of range")
        else:
            part = scope.binary_codec(get_uint32(at - ATTRIBUTE))
            if part is None:
                value = at[:length]
            else:
                value = part.decode(part, at, length)
            at += length
        c.at = at
        Py_INCREF(value)
        PyTuple_SET_ITEM(result, i, value)
    PyObject_GC_Track(result)
    return result


cdef int encode_record(Codec codec, WriteBuffer out, object value) except -1:
    """UnsupportedClientFeatureError: the server does not read anonymous records."""
    raise UnsupportedClientFeatureError(
        "input of anonymous composite types is not supported",
        hint="Consider declaring an explicit composite type and using it to cast the "
        "argument.",
        detail="PostgreSQL does not implement anonymous composite type input.",
    )
