# cython: language_level=3
"""Booleans, numbers of fixed size, text, bytes, uuid, JSON. See _codecs_scalar.pyx."""

from libc.stdint cimport int64_t, uint64_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

cdef object decode_bool(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_int2(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_int4(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_int8(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_uint4(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_uint8(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_float4(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_float8(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_text(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_char(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_bytea(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_uuid(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_jsonb(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_void(Codec codec, const unsigned char *data, Py_ssize_t size)

cdef int encode_bool(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_int2(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_int4(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_int8(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_uint4(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_uint8(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_float4(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_float8(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_text(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_char(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_bytea(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_uuid(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_jsonb(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_void(Codec codec, WriteBuffer out, object value) except -1

# An integer between `low` and `high`; OverflowError says "value out of `what` range".
cdef int64_t integer_of(
    object value, int64_t low, int64_t high, str what
) except? -1

# An integer of 0 to 2**64 - 1; OverflowError outside of that.
cdef uint64_t uint64_of(object value) except? 0

# The nearest float of 32 bits; ValueError when a finite number is too large.
cdef float single_of(double number) except? -1

# The nearest double of a real number; TypeError when it is none.
cdef double double_of(object value) except? -1

# ValueError when a date has another year than the fields of its base class.
cdef int check_year(object value, int year) except -1

# The Python scalar of a scalar of numpy; any other value as it is.
cdef object plain_scalar(object value)


cdef inline int nibble_of(Py_UCS4 c) noexcept nogil:
    """The value of a hexadecimal digit, -1 for another character."""
    if u"0" <= c <= u"9":
        return <int>c - c"0"
    if u"a" <= c <= u"f" or u"A" <= c <= u"F":
        return (<int>c | 0x20) - c"a" + 10
    return -1
