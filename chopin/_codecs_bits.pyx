# cython: language_level=3
"""Codecs of bit strings, hardware addresses and the server's own identifiers.

Owns: the decode and encode functions of bit, varbit, macaddr, macaddr8, tid,
txid_snapshot, pg_snapshot, int2vector and oidvector.
Layer L2. Imports L0, L1 and `_codecs_scalar`.

Rules
- What has no class in Python is a tuple of its fields, or a str when its text is what
  people write.
- Whether a value makes sense (the order of the ids in a snapshot) is left to the
  server, which says so; whether it fits its fields is seen to here.
"""

from collections.abc import Mapping

from cpython.long cimport (
    PyLong_FromUnsignedLong,
    PyLong_FromUnsignedLongLong,
)
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport (
    INT16_MAX,
    INT16_MIN,
    INT32_MAX,
    UINT16_MAX,
    UINT32_MAX,
    int32_t,
    int64_t,
    uint16_t,
    uint32_t,
)
from libc.string cimport memmove

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value
from chopin._codecs_scalar cimport encode_bytea, integer_of, nibble_of, uint64_of
from chopin._instances cimport fill, new_object, set_slot, untrack
from chopin._oids cimport OID_INT2, OID_OID
from chopin._wire cimport (
    get_int16,
    get_int32,
    get_uint16,
    get_uint32,
    get_uint64,
    put_uint32,
)

from chopin import types
from chopin._codecbase import ElementError

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 greatest)
    void *PyUnicode_DATA(object text)
    Py_UCS4 PyUnicode_READ_CHAR(object text, Py_ssize_t i) noexcept
    object PyLong_FromLong(long value)

cdef object BitString = types.BitString
cdef object BITS_BYTES = types.BitString.__dict__["_bytes"]
cdef object BITS_LENGTH = types.BitString.__dict__["_bitlength"]
cdef const char *HEX = b"0123456789abcdef"


# Bit strings.

cdef object decode_bits(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 number of bits, then the bits, filled up with zeros, as `BitString`.

    Source: server function `varbit_send`.
    """
    cdef Py_ssize_t n
    if size < 4:
        return bad_size(codec, size, "4 or more")
    n = get_int32(data)
    if n < 0 or size - 4 != (n + 7) >> 3:
        return bad_value(codec, f"{n} bits do not take {size - 4} bytes")
    if n & 7 and data[size - 1] & (0xFF >> (n & 7)):
        return bad_value(codec, "there are bits behind the last one")
    made = new_object(BitString)
    untrack(made)
    set_slot(
        BITS_BYTES, made, PyBytes_FromStringAndSize(<const char *>data + 4, size - 4)
    )
    set_slot(BITS_LENGTH, made, PyLong_FromLong(<long>n))
    return made


cdef int encode_bits(Codec codec, WriteBuffer out, object value) except -1:
    """bit, varbit from a `BitString`, or from any buffer, eight bits for each byte.

    TypeError for anything else. Source: server function `varbit_recv`.
    """
    cdef Py_ssize_t start
    cdef object n = None
    if isinstance(value, BitString):
        n = len(value)
        value = value.bytes
    start = out.begin_field()
    encode_bytea(codec, out, value)
    # where encode_bytea has its int32 of bytes, bit strings have theirs of bits
    if n is None:
        n = 8 * (out.length - start - 8)
    if n > INT32_MAX:
        raise ValueError(f"a string of {n} bits is too long")
    put_uint32(out.data + start + 4, n)
    out.end_field(start)
    return 0


# Hardware addresses.

cdef object hex_pairs(const unsigned char *data, int n):
    """Bytes as pairs of digits with colons between."""
    cdef char *to
    cdef int i
    text = PyUnicode_New(3 * n - 1, 127)
    to = <char *>PyUnicode_DATA(text)
    for i in range(n):
        to[3 * i] = HEX[data[i] >> 4]
        to[3 * i + 1] = HEX[data[i] & 15]
        if i < n - 1:
            to[3 * i + 2] = c":"
    return text


cdef int put_hex_pairs(unsigned char *to, str text) noexcept:
    """Parse up to 8 pairs of digits, with one kind of separator between or behind any.

    Returns the number of digits, -1 when it is something else.
    """
    cdef int n = 0
    cdef int nibble
    cdef Py_UCS4 separator = 0
    cdef bint may_part = False
    cdef Py_UCS4 c
    for c in text:
        nibble = nibble_of(c)
        if nibble < 0:
            if not may_part or c not in u":-." or separator not in (0, c):
                return -1
            separator = c
            may_part = False
            continue
        if n == 16:
            return -1
        to[n >> 1] = <unsigned char>(to[n >> 1] | nibble if n & 1 else nibble << 4)
        may_part = n & 1
        n += 1
    return n


cdef bint put_usual_macaddr(unsigned char *to, str text) noexcept:
    """Parse ``08:00:2b:01:02:03``; False, and nothing of use in `to`, for another."""
    cdef int high, low, i
    if len(text) != 17:
        return False
    for i in range(6):
        high = nibble_of(PyUnicode_READ_CHAR(text, 3 * i))
        low = nibble_of(PyUnicode_READ_CHAR(text, 3 * i + 1))
        if high < 0 or low < 0:
            return False
        if i < 5 and PyUnicode_READ_CHAR(text, 3 * i + 2) != c":":
            return False
        to[i] = <unsigned char>(high << 4 | low)
    return True


cdef object decode_macaddr(Codec codec, const unsigned char *data, Py_ssize_t size):
    """6 bytes as a str, `08:00:2b:01:02:03`. Source: server's `macaddr_send`."""
    if size != 6:
        return bad_size(codec, size, "6")
    return hex_pairs(data, 6)


# The spellings of a macaddr: separator, and by the number of parts the digits of each.
cdef dict MACADDR_PARTS = {":": {6: 2, 2: 6}, "-": {6: 2, 2: 6, 3: 4}, ".": {3: 4}}


cdef int encode_macaddr(Codec codec, WriteBuffer out, object value) except -1:
    """6 bytes from a str in any spelling that the server reads.

    Those are `08:00:2b:01:02:03` (leading zeros may be left out), `08-00-2b-01-02-03`,
    `08002b:010203`, `08002b-010203`, `0800.2b01.0203`, `0800-2b01-0203` and
    `08002b010203`. TypeError unless it is a str, ValueError for other spellings.
    Source: PostgreSQL docs, "Network Address Types", macaddr; `macaddr_recv`.
    """
    cdef unsigned char[8] data
    if not PyUnicode_Check(value):
        raise TypeError(f"expected str, got {type(value).__name__}")
    if put_usual_macaddr(data, str(value)):
        out.put_field(data, 6)
        return 0
    parts = [value.strip()]
    digits = 12
    for separator, widths in MACADDR_PARTS.items():
        if separator in value:
            parts = value.strip().split(separator)
            digits = widths.get(len(parts), 0)
            break
    joined = "".join([part.zfill(2) if part else "" for part in parts])
    if (
        len(joined) != 12
        or any([len(part) > digits for part in parts])
        or put_hex_pairs(data, joined) != 12
    ):
        raise ValueError(
            f"{value!r} is not a macaddr: write it as '08:00:2b:01:02:03'"
        )
    out.put_field(data, 6)
    return 0


cdef object decode_macaddr8(Codec codec, const unsigned char *data, Py_ssize_t size):
    """8 bytes as a str, `08:00:2b:01:02:03:04:05`. Source: `macaddr8_send`."""
    if size != 8:
        return bad_size(codec, size, "8")
    return hex_pairs(data, 8)


cdef int encode_macaddr8(Codec codec, WriteBuffer out, object value) except -1:
    """8 bytes from a str in any spelling that the server reads.

    Those are eight pairs of digits, each perhaps followed by a separator, which is a
    colon, a hyphen or a point, always the same. Six pairs are a macaddr, into whose
    middle `ff:fe` goes. TypeError unless it is a str, ValueError for other spellings.
    Source: PostgreSQL docs, "Network Address Types", macaddr8; `macaddr8_in`.
    """
    cdef unsigned char[8] data
    cdef int n
    if not PyUnicode_Check(value):
        raise TypeError(f"expected str, got {type(value).__name__}")
    n = put_hex_pairs(data, str(value).strip())
    if n == 12:
        memmove(data + 5, data + 3, 3)
        data[3] = 0xFF
        data[4] = 0xFE
    elif n != 16:
        raise ValueError(
            f"{value!r} is not a macaddr8: write it as '08:00:2b:01:02:03:04:05'"
        )
    out.put_field(data, 8)
    return 0


# What the server calls its rows and transactions by.

cdef tuple fields_of(object value, Py_ssize_t n):
    """A tuple or list of `n` fields; TypeError, ValueError."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"list or tuple expected (got type {type(value).__name__})")
    if len(value) != n:
        raise ValueError(f"{n} values are required (got {len(value)})")
    return tuple(value)


cdef object decode_tid(Codec codec, const unsigned char *data, Py_ssize_t size):
    """uint32 block and uint16 offset, as a tuple. Source: server's `tidsend`."""
    if size != 6:
        return bad_size(codec, size, "6")
    made = (
        PyLong_FromUnsignedLong(get_uint32(data)), PyLong_FromLong(get_uint16(data + 4))
    )
    untrack(made)
    return made


cdef int encode_tid(Codec codec, WriteBuffer out, object value) except -1:
    """uint32 block and uint16 offset from a tuple or list of two integers.

    TypeError, ValueError, OverflowError. Source: server function `tidrecv`.
    """
    cdef tuple fields = fields_of(value, 2)
    cdef int64_t block = integer_of(fields[0], 0, UINT32_MAX, "uint32")
    cdef int64_t offset = integer_of(fields[1], 0, UINT16_MAX, "uint16")
    out.put_int32(6)
    out.put_int32(<int32_t><uint32_t>block)
    out.put_int16(<uint16_t>offset)
    return 0


cdef object decode_snapshot(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 number of ids in progress, uint64 xmin, uint64 xmax, then the ids.

    As `(xmin, xmax, (id, ...))`. Source: server function `pg_snapshot_send`.
    """
    cdef Py_ssize_t n, i
    if size < 20:
        return bad_size(codec, size, "20 or more")
    n = get_int32(data)
    if n < 0 or size - 20 != 8 * n:
        return bad_value(codec, f"{n} ids do not take {size - 20} bytes")
    ids = PyTuple_New(n)
    if n:                       # the empty tuple is everybody's
        untrack(ids)
    for i in range(n):
        fill(ids, i, PyLong_FromUnsignedLongLong(get_uint64(data + 20 + 8 * i)))
    made = (
        PyLong_FromUnsignedLongLong(get_uint64(data + 4)),
        PyLong_FromUnsignedLongLong(get_uint64(data + 12)),
        ids,
    )
    untrack(made)
    return made


cdef int encode_snapshot(Codec codec, WriteBuffer out, object value) except -1:
    """A snapshot from `(xmin, xmax, (id, ...))`, lists or tuples.

    Layout as in `decode_snapshot`. TypeError, ValueError, OverflowError. Source: server
    function `pg_snapshot_recv`.
    """
    cdef tuple fields = fields_of(value, 3)
    if not isinstance(fields[2], (tuple, list)):
        raise TypeError(
            f"list or tuple of ids expected (got type {type(fields[2]).__name__})"
        )
    cdef tuple ids = tuple(fields[2])
    if len(ids) > INT32_MAX // 8:
        raise ValueError(f"{len(ids)} ids are too many")
    out.put_int32(<int32_t>(20 + 8 * len(ids)))
    out.put_int32(<int32_t>len(ids))
    for number in (fields[0], fields[1], *ids):
        out.put_int64(<int64_t>uint64_of(number))
    return 0


# The vectors of the catalog: arrays of one dimension that begins at 0, without NULLs.

cdef object read_vector(
    Codec codec, const unsigned char *data, Py_ssize_t size, uint32_t element, int width
):
    """A list of integers of `width` bytes, of type `element`."""
    cdef Py_ssize_t n, i
    cdef const unsigned char *at = data + 20
    if size < 20:
        return bad_size(codec, size, "20 or more")
    if get_int32(data) != 1 or get_int32(data + 4) or get_int32(data + 16):
        return bad_value(codec, "it is no array of one dimension from 0, without NULL")
    if get_uint32(data + 8) != element:
        return bad_value(
            codec,
            f"its elements have type OID {get_uint32(data + 8)}, {element} expected",
        )
    n = get_int32(data + 12)
    if n < 0 or size - 20 != (4 + width) * n:
        return bad_value(codec, f"{n} elements do not take {size - 20} bytes")
    for i in range(n):
        if get_int32(at + (4 + width) * i) != width:
            return bad_value(codec, f"element {i} has not {width} bytes")
    cdef list result = PyList_New(n)
    for i in range(n):
        item = (
            PyLong_FromLong(get_int16(at + 4)) if width == 2
            else PyLong_FromUnsignedLong(get_uint32(at + 4))
        )
        Py_INCREF(item)
        PyList_SET_ITEM(result, i, item)
        at += 4 + width
    return result


cdef int put_vector(
    WriteBuffer out, object value, uint32_t element, int width,
    int64_t low, int64_t high, str what,
) except -1:
    """The layout of `read_vector` from a sized iterable of integers."""
    cdef Py_ssize_t i
    cdef int64_t number
    kind = type(value)
    if (
        not (hasattr(kind, "__iter__") and hasattr(kind, "__len__"))
        or isinstance(value, (str, bytes, bytearray, memoryview, Mapping))
    ):
        raise TypeError(
            f"a sized iterable container expected (got type '{kind.__name__}')"
        )
    cdef tuple items = tuple(value)
    if not items:
        raise ValueError(
            "the server reads no empty vector in binary: write ''::oidvector or "
            "''::int2vector"
        )
    if len(items) > INT32_MAX // 8:
        raise ValueError(f"{len(items)} elements are too many")
    out.put_int32(<int32_t>(20 + (4 + width) * len(items)))
    for field in (1, 0, element, len(items), 0):
        out.put_int32(<int32_t>field)
    for i in range(len(items)):
        try:
            number = integer_of(items[i], low, high, what)
        except (TypeError, ValueError, OverflowError) as error:
            raise ElementError(f"[{i}]", items[i], str(error)) from error
        out.put_int32(width)
        if width == 2:
            out.put_int16(<uint16_t>number)
        else:
            out.put_int32(<int32_t><uint32_t>number)
    return 0


cdef object decode_int2vector(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A list of int16; layout as an array's. Source: server's `int2vectorsend`."""
    return read_vector(codec, data, size, OID_INT2, 2)


cdef int encode_int2vector(Codec codec, WriteBuffer out, object value) except -1:
    """A vector of int16 from a sized iterable. Source: server's `int2vectorrecv`."""
    return put_vector(out, value, OID_INT2, 2, INT16_MIN, INT16_MAX, "int16")


cdef object decode_oidvector(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A list of uint32; layout as an array's. Source: server's `oidvectorsend`."""
    return read_vector(codec, data, size, OID_OID, 4)


cdef int encode_oidvector(Codec codec, WriteBuffer out, object value) except -1:
    """A vector of uint32 from a sized iterable. Source: server's `oidvectorrecv`."""
    return put_vector(out, value, OID_OID, 4, 0, UINT32_MAX, "uint32")
