# cython: language_level=3
"""Codecs of booleans, numbers of fixed size, text, bytes, uuid and JSON.

Owns: the decode and encode functions of these types; which type uses which is said by
the table in `_codecs.pyx`.
Layer L2. Imports L0 and L1.

Rules
- Binary format, except that the text pair also serves every type without a binary form.
- Numbers are exact or refused: an integer type takes `2.0` and refuses `1.5`.
- Text is UTF-8 both ways (`client_encoding` is UTF8 on every session).
- A zero character in text is left to the server, which refuses it with 22021.
"""

from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.float cimport (
    PyFloat_AS_DOUBLE,
    PyFloat_AsDouble,
    PyFloat_CheckExact,
    PyFloat_FromDouble,
)
from cpython.long cimport (
    PyLong_AsUnsignedLongLong,
    PyLong_Check,
    PyLong_FromLongLong,
    PyLong_FromUnsignedLong,
    PyLong_FromUnsignedLongLong,
)
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.unicode cimport PyUnicode_Check
from libc.math cimport isfinite
from libc.stdint cimport (
    INT16_MAX,
    INT16_MIN,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    UINT32_MAX,
    int64_t,
    uint32_t,
    uint64_t,
)
from libc.string cimport memcpy

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value
from chopin._instances cimport get_slot, new_object, set_slot, untrack
from chopin._wire cimport (
    bits_of_double,
    bits_of_float,
    double_of_bits,
    float_of_bits,
    get_int16,
    get_int32,
    get_int64,
    get_uint32,
    get_uint64,
    put_uint32,
    put_uint64,
)

import datetime
import sys
import uuid

cdef extern from *:
    """
    /* 16 bytes, big-endian, from and to an int. The public functions are of 3.13. */
    static inline PyObject *chopin_int_of_16(const unsigned char *p) {
    #if PY_VERSION_HEX >= 0x030D0000
        return PyLong_FromUnsignedNativeBytes(p, 16, Py_ASNATIVEBYTES_BIG_ENDIAN);
    #else
        return _PyLong_FromByteArray(p, 16, 0, 0);
    #endif
    }
    static inline int chopin_16_of_int(PyObject *n, unsigned char *p) {
    #if PY_VERSION_HEX >= 0x030D0000
        Py_ssize_t need = PyLong_AsNativeBytes(
            n, p, 16,
            Py_ASNATIVEBYTES_BIG_ENDIAN | Py_ASNATIVEBYTES_UNSIGNED_BUFFER |
            Py_ASNATIVEBYTES_REJECT_NEGATIVE);
        if (need > 16) {
            PyErr_SetString(PyExc_OverflowError, "int too big to convert");
        }
        return need < 0 || need > 16 ? -1 : 0;
    #else
        return _PyLong_AsByteArray((PyLongObject *)n, p, 16, 0, 0);
    #endif
    }
    /* Lets the exception that a function above has set take its course. */
    static inline PyObject *chopin_raise(void) {
        return NULL;
    }
    """
    object raise_current_error "chopin_raise"()
    object int_of_16 "chopin_int_of_16"(const unsigned char *p)
    int put_int_as_16 "chopin_16_of_int"(object n, unsigned char *p) except -1

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 greatest)
    void *PyUnicode_DATA(object text)
    object PyLong_FromLong(long value)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    PyObject *decode_utf8_or_null "PyUnicode_DecodeUTF8"(
        const char *data, Py_ssize_t size, const char *errors
    )
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    int PyBuffer_ToContiguous(
        void *data, Py_buffer *view, Py_ssize_t size, char order
    ) except -1

cdef object UUID = uuid.UUID
cdef object UUID_INT = uuid.UUID.__dict__["int"]
cdef object UUID_IS_SAFE = uuid.UUID.__dict__["is_safe"]
cdef object UUID_SAFETY_UNKNOWN = uuid.SafeUUID.unknown


cdef dict MODULES = sys.modules
cdef object DATE = datetime.date
cdef object DATETIME = datetime.datetime


cdef object plain_scalar(object value):
    """The bool, int, float or str of a scalar of numpy; any other value as it is.

    numpy's own conversions would do, but for complex numbers, which lose a part by
    them. numpy is never imported here: without it, there are no values of it.
    """
    numpy = MODULES.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
            # some items of which are numbers, in a unit that would be lost
            raise TypeError(f"'{type(value).__name__}' object is no number")
        return value.item()
    return value


cdef int check_year(object value, int year) except -1:
    """ValueError when a date has another year than the fields of its base class.

    pandas' NaT is a datetime whose fields say the first day of Python's calendar, and
    its Timestamp holds years in which the fields say another.
    """
    if type(value) is not DATETIME and type(value) is not DATE and value.year != year:
        raise ValueError(f"not a date within Python's years: its year is {value.year}")
    return 0


cdef object decode_bool(Codec codec, const unsigned char *data, Py_ssize_t size):
    """One byte, 0 or 1. Source: server function `boolsend`."""
    if size != 1:
        return bad_size(codec, size, "1")
    if data[0] > 1:
        return bad_value(codec, f"the byte is {data[0]}, neither 0 nor 1")
    return data[0] == 1


cdef int encode_bool(Codec codec, WriteBuffer out, object value) except -1:
    """One byte, 0 or 1; TypeError for anything but a bool, numpy's included.

    Integers are refused: `1` for true is mostly a mistake in the order of arguments.
    Source: server function `boolrecv`.
    """
    if value is not True and value is not False:
        value = plain_scalar(value)
    if value is not True and value is not False:
        raise TypeError(f"a boolean is required (got type {type(value).__name__})")
    out.put_int32(1)
    out.put_byte(value is True)
    return 0


cdef object whole_number(object value):
    """The int of a number that is no int, without loss; TypeError, ValueError.

    `__index__` and `__int__` are taken; a real number must be whole.
    """
    value = plain_scalar(value)
    if PyLong_Check(value):
        return value
    if isinstance(value, (str, bytes, bytearray)) or not (
        hasattr(value, "__index__") or hasattr(value, "__int__")
    ):
        raise TypeError(
            f"'{type(value).__name__}' object cannot be interpreted as an integer"
        )
    number = int(value)
    if hasattr(value, "__float__") and number != value:
        raise ValueError("a whole number is required: the fraction would be lost")
    return number


cdef int64_t integer_of(
    object value, int64_t low, int64_t high, str what
) except? -1:
    """An integer between `low` and `high`; OverflowError outside of them."""
    cdef int overflow = 0
    cdef int64_t number
    if not PyLong_Check(value):
        value = whole_number(value)
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or number < low or number > high:
        raise OverflowError(f"value out of {what} range")
    return number


cdef object decode_int2(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int16 BE. Source: server function `int2send`."""
    if size != 2:
        return bad_size(codec, size, "2")
    return PyLong_FromLong(get_int16(data))


cdef int encode_int2(Codec codec, WriteBuffer out, object value) except -1:
    """int16 BE; OverflowError outside of -32768..32767. Source: `int2recv`."""
    cdef int64_t number = integer_of(value, INT16_MIN, INT16_MAX, "int16")
    out.put_int32(2)
    out.put_int16(<unsigned short>number)
    return 0


cdef object decode_int4(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 BE. Source: server function `int4send`."""
    if size != 4:
        return bad_size(codec, size, "4")
    return PyLong_FromLong(get_int32(data))


cdef int encode_int4(Codec codec, WriteBuffer out, object value) except -1:
    """int32 BE; OverflowError outside of its range. Source: `int4recv`."""
    cdef int64_t number = integer_of(value, INT32_MIN, INT32_MAX, "int32")
    out.reserve(8)
    put_uint32(out.data + out.length, 4)
    put_uint32(out.data + out.length + 4, <uint32_t>number)
    out.length += 8
    return 0


cdef object decode_int8(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int64 BE. Source: server function `int8send`."""
    if size != 8:
        return bad_size(codec, size, "8")
    return PyLong_FromLongLong(get_int64(data))


cdef int encode_int8(Codec codec, WriteBuffer out, object value) except -1:
    """int64 BE; OverflowError outside of its range. Source: `int8recv`."""
    cdef int64_t number = integer_of(value, INT64_MIN, INT64_MAX, "int64")
    out.reserve(12)
    put_uint32(out.data + out.length, 8)
    put_uint64(out.data + out.length + 4, <unsigned long long>number)
    out.length += 12
    return 0


cdef object decode_uint4(Codec codec, const unsigned char *data, Py_ssize_t size):
    """uint32 BE: oid, xid, cid. Source: server function `oidsend`."""
    if size != 4:
        return bad_size(codec, size, "4")
    return PyLong_FromUnsignedLong(get_uint32(data))


cdef int encode_uint4(Codec codec, WriteBuffer out, object value) except -1:
    """uint32 BE; OverflowError outside of its range. Source: `oidrecv`."""
    cdef int64_t number = integer_of(value, 0, UINT32_MAX, "uint32")
    out.put_int32(4)
    out.put_int32(<int>number)
    return 0


cdef object decode_uint8(Codec codec, const unsigned char *data, Py_ssize_t size):
    """uint64 BE: xid8, pg_lsn. Source: server function `xid8send`."""
    if size != 8:
        return bad_size(codec, size, "8")
    return PyLong_FromUnsignedLongLong(get_uint64(data))


cdef uint64_t uint64_of(object value) except? 0:
    """An integer of 0 to 2**64 - 1; OverflowError outside of that."""
    if not PyLong_Check(value):
        value = whole_number(value)
    try:
        return PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        raise OverflowError("value out of uint64 range") from None


cdef int encode_uint8(Codec codec, WriteBuffer out, object value) except -1:
    """uint64 BE; OverflowError outside of its range. Source: `xid8recv`."""
    cdef uint64_t number = uint64_of(value)
    out.put_int32(8)
    out.put_int64(<int64_t>number)
    return 0


cdef double double_of(object value) except? -1:
    """The nearest double of a number.

    TypeError when it is none or not a real one, OverflowError for an int that is too
    large.
    """
    if PyFloat_CheckExact(value):
        return PyFloat_AS_DOUBLE(value)
    if not PyLong_Check(value):
        value = plain_scalar(value)
    return PyFloat_AsDouble(value)


cdef object decode_float4(Codec codec, const unsigned char *data, Py_ssize_t size):
    """IEEE 754 single BE, widened to a float. Source: server function `float4send`."""
    if size != 4:
        return bad_size(codec, size, "4")
    return PyFloat_FromDouble(float_of_bits(get_uint32(data)))


cdef float single_of(double number) except? -1:
    """The nearest float of 32 bits; ValueError when a finite number is too large."""
    cdef float single = <float>number
    if not isfinite(single) and isfinite(number):
        raise ValueError("value out of float32 range")
    return single


cdef int encode_float4(Codec codec, WriteBuffer out, object value) except -1:
    """IEEE 754 single BE, rounded to the nearest (what is too small becomes 0).

    NaN and the infinities travel; ValueError when a finite number is too large;
    TypeError when it is no number. Source: server function `float4recv`.
    """
    cdef float single = single_of(double_of(value))
    out.put_int32(4)
    out.put_int32(<int>bits_of_float(single))
    return 0


cdef object decode_float8(Codec codec, const unsigned char *data, Py_ssize_t size):
    """IEEE 754 double BE. Source: server function `float8send`."""
    if size != 8:
        return bad_size(codec, size, "8")
    return PyFloat_FromDouble(double_of_bits(get_uint64(data)))


cdef int encode_float8(Codec codec, WriteBuffer out, object value) except -1:
    """IEEE 754 double BE, from a float or what `float()` takes for a number.

    TypeError when it is no number, OverflowError for an int that is too large.
    Source: server function `float8recv`.
    """
    cdef double number = double_of(value)
    out.reserve(12)
    put_uint32(out.data + out.length, 8)
    put_uint64(out.data + out.length + 4, bits_of_double(number))
    out.length += 12
    return 0


cdef object not_utf8(Codec codec):
    """Raise: the text is not UTF-8; the interpreter's error is set and is chained."""
    try:
        raise_current_error()
    except UnicodeDecodeError as error:
        return bad_value(codec, str(error))


cdef inline bint is_ascii(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Whether no byte has its highest bit set."""
    cdef uint64_t seen = 0
    cdef uint64_t word
    cdef Py_ssize_t i = 0
    while i + 8 <= size:
        memcpy(&word, data + i, 8)
        seen |= word
        i += 8
    while i < size:
        seen |= data[i]
        i += 1
    return not seen & 0x8080808080808080ULL


cdef object decode_text(Codec codec, const unsigned char *data, Py_ssize_t size):
    """UTF-8 without a terminator: text, varchar, bpchar, name, json, ...

    Serves the text format of any type too. Short ASCII is told and copied here: 15 to
    30 percent faster than the interpreter's decoder, which does all the rest.
    Source: server function `textsend`.
    """
    cdef PyObject *text
    if size > 1 and is_ascii(data, size):
        result = PyUnicode_New(size, 127)
        memcpy(PyUnicode_DATA(result), data, size)
        return result
    text = decode_utf8_or_null(<const char *>data, size, NULL)
    if text is NULL:
        return not_utf8(codec)
    result = <object>text
    Py_DECREF(result)
    return result


cdef int encode_text(Codec codec, WriteBuffer out, object value) except -1:
    """UTF-8 without a terminator; TypeError unless it is a str.

    UnicodeEncodeError (a ValueError) for lone surrogates. Source: `textrecv`.
    """
    cdef Py_ssize_t size
    cdef const char *data
    if not PyUnicode_Check(value):
        raise TypeError(f"expected str, got {type(value).__name__}")
    data = PyUnicode_AsUTF8AndSize(value, &size)
    out.put_field(data, size)
    return 0


cdef object decode_char(Codec codec, const unsigned char *data, Py_ssize_t size):
    """The type "char" (with quotes): one byte, of no encoding. Source: `charsend`."""
    if size != 1:
        return bad_size(codec, size, "1")
    return PyBytes_FromStringAndSize(<const char *>data, 1)


cdef int encode_char(Codec codec, WriteBuffer out, object value) except -1:
    """The type "char": any buffer of one byte; ValueError for another length.

    Source: server function `charrecv`.
    """
    cdef Py_ssize_t position = out.length
    encode_bytea(codec, out, value)
    if out.length - position != 5:
        raise ValueError(f"one byte is required (got {out.length - position - 4})")
    return 0


cdef object decode_bytea(Codec codec, const unsigned char *data, Py_ssize_t size):
    """The bytes themselves. Source: server function `byteasend`."""
    return PyBytes_FromStringAndSize(<const char *>data, size)


cdef int encode_bytea(Codec codec, WriteBuffer out, object value) except -1:
    """The bytes of any buffer, copied once; TypeError when it is none.

    Takes strided memory too, in C order. Source: server function `bytearecv`.
    """
    cdef Py_buffer view
    cdef Py_ssize_t position
    if PyBytes_CheckExact(value):
        out.put_field(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return 0
    PyObject_GetBuffer(value, &view, PyBUF_FULL_RO)
    try:
        position = out.begin_field()
        out.reserve(view.len)
        PyBuffer_ToContiguous(out.data + out.length, &view, view.len, c"C")
        out.length += view.len
        out.end_field(position)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef object decode_uuid(Codec codec, const unsigned char *data, Py_ssize_t size):
    """16 bytes, network order, as a real `uuid.UUID`.

    The object is made without its constructor, which costs twenty times as much, and is
    taken off the garbage collector's list: an int and an enum member end no cycle.
    Source: server function `uuid_send`.
    """
    if size != 16:
        return bad_size(codec, size, "16")
    result = new_object(UUID)
    untrack(result)
    set_slot(UUID_INT, result, int_of_16(data))
    set_slot(UUID_IS_SAFE, result, UUID_SAFETY_UNKNOWN)
    return result


cdef int put_uuid_digits(unsigned char *to, str text) except -1:
    """Parse 32 hexadecimal digits, hyphens anywhere, into 16 bytes; ValueError."""
    cdef Py_ssize_t length = len(text)
    cdef int digits = 0
    cdef int nibble
    cdef Py_UCS4 c
    if length < 32 or length > 36:
        raise ValueError(
            f"invalid UUID {text!r}: length must be between 32..36 characters, "
            f"got {length}"
        )
    for c in text:
        if c == u"-":
            continue
        nibble = nibble_of(c)
        if nibble < 0:
            raise ValueError(f"invalid UUID {text!r}: unexpected character {c!r}")
        if digits < 32:
            to[digits >> 1] = <unsigned char>(
                to[digits >> 1] | nibble if digits & 1 else nibble << 4
            )
        digits += 1
    if digits != 32:
        raise ValueError(f"invalid UUID {text!r}: 32 digits expected, got {digits}")
    return 0


cdef int encode_uuid(Codec codec, WriteBuffer out, object value) except -1:
    """16 bytes, network order, from a `uuid.UUID` or a str of 32 digits and hyphens.

    An object that is neither is asked for its attribute `bytes`, as UUIDs of other
    libraries have one. TypeError, ValueError. Source: server function `uuid_recv`.
    """
    cdef unsigned char[16] data
    if type(value) is UUID:
        put_int_as_16(get_slot(UUID_INT, value), data)
    elif isinstance(value, UUID):
        # asyncpg's says that it is a subclass, and has no such slot
        put_int_as_16(value.int, data)
    elif PyUnicode_Check(value):
        put_uuid_digits(data, str(value))
    else:
        raw = getattr(value, "bytes", None)
        if not isinstance(raw, bytes) or len(raw) != 16:
            raise TypeError(f"expected UUID or str, got {type(value).__name__}")
        out.put_field(PyBytes_AS_STRING(raw), 16)
        return 0
    out.put_field(data, 16)
    return 0


cdef object decode_jsonb(Codec codec, const unsigned char *data, Py_ssize_t size):
    """Version byte 1, then JSON as UTF-8: jsonb and jsonpath.

    Source: server function `jsonb_send`.
    """
    if size < 1:
        return bad_size(codec, size, "1 or more")
    if data[0] != 1:
        return bad_value(codec, f"version {data[0]} is not known, 1 is")
    return decode_text(codec, data + 1, size - 1)


cdef int encode_jsonb(Codec codec, WriteBuffer out, object value) except -1:
    """Version byte 1, then JSON as UTF-8; TypeError unless it is a str.

    Source: server function `jsonb_recv`.
    """
    cdef Py_ssize_t size
    cdef const char *data
    if not PyUnicode_Check(value):
        raise TypeError(f"expected str, got {type(value).__name__}")
    data = PyUnicode_AsUTF8AndSize(value, &size)
    out.put_int32(<int>(size + 1))
    out.put_byte(1)
    out.put_raw(data, size)
    return 0


cdef object decode_void(Codec codec, const unsigned char *data, Py_ssize_t size):
    """No bytes, None: the result of functions without one. Source: `void_send`."""
    if size != 0:
        return bad_size(codec, size, "0")
    return None


cdef int encode_void(Codec codec, WriteBuffer out, object value) except -1:
    """No bytes, whatever the value is. Source: server function `void_recv`."""
    out.put_int32(0)
    return 0
