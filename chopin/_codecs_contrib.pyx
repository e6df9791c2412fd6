# cython: language_level=3
"""Codecs of types that extensions bring: hstore, cube, those of pgvector and PostGIS.

Owns: their names, the decode and encode functions of these types.
Layer L2. Imports L0, L1 and `_codecs_scalar`.

Rules
- Such a type has another OID in each database, and any extension may call a type
  "vector": nothing here is used before a user says so, by `set_builtin_type_codec` or
  `codecs=`. Until then these types are their text.
- numpy is asked for when a codec that makes arrays of it is, and by nobody else.

| name                                          | value                              |
| --------------------------------------------- | ---------------------------------- |
| pg_contrib.hstore                             | dict of str to str or None         |
| pg_contrib.cube                               | tuple of floats, or of two of them |
| pgvector.vector, pgvector.halfvec             | list of floats                     |
| pgvector.vector.numpy, pgvector.halfvec.numpy | numpy array, float32 and float16   |
| pgvector.sparsevec                            | (dimensions, {index: float})       |
| postgis.ewkb                                  | bytes, EWKB                        |

Source: PostgreSQL docs, "hstore", "cube"; pgvector, files vector.c, halfvec.c and
sparsevec.c, functions `vector_send` and following; PostGIS, `LWGEOM_send`.
"""

from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport INT16_MAX, INT32_MAX, int32_t, uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport (
    LISTS_OF_NUMBERS,
    NO_LISTS,
    Codec,
    bad_size,
    bad_value,
    decode_fn,
    encode_fn,
    new_codec,
)
from chopin._codecs_scalar cimport (
    decode_bytea,
    decode_text,
    double_of,
    encode_bytea,
    encode_text,
    integer_of,
    single_of,
)
from chopin._wire cimport (
    FORMAT_BINARY,
    Cursor,
    bits_of_double,
    bits_of_float,
    cursor_left,
    cursor_over,
    double_of_bits,
    float_of_bits,
    get_int32,
    get_uint16,
    get_uint32,
    get_uint64,
    take_bytes,
    take_int32,
)

from chopin._codecbase import ElementError
from chopin.exceptions import InterfaceError

cdef extern from "Python.h":
    double PyFloat_Unpack2(const char *data, int little_endian) except? -1
    int PyFloat_Pack2(double number, char *to, int little_endian) except -1

cdef enum:
    CUBE_IS_POINT = 0x80000000
    CUBE_DIMENSIONS = 0x7FFFFFFF


# hstore.

cdef object decode_hstore(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 number of pairs; each an int32 size and key, an int32 size (-1: NULL) and
    value. As a dict. Source: server function `hstore_send`.
    """
    cdef Cursor c = cursor_over(data, size)
    cdef int32_t n = take_int32(&c)
    cdef int32_t i, length
    cdef const unsigned char *text
    cdef dict result = {}
    if c.failed or n < 0 or n > cursor_left(&c) / 8:
        return bad_value(codec, f"{n} pairs do not take {size} bytes")
    for i in range(n):
        length = take_int32(&c)
        text = take_bytes(&c, length)
        if text is NULL:
            return bad_value(codec, f"key {i} of {length} bytes is out of range")
        key = decode_text(codec, text, length)
        length = take_int32(&c)
        if c.failed:
            return bad_value(codec, f"value {i} is missing")
        if length == -1:
            result[key] = None
            continue
        text = take_bytes(&c, length)
        if text is NULL:
            return bad_value(codec, f"value {i} of {length} bytes is out of range")
        result[key] = decode_text(codec, text, length)
    if c.at != c.end:
        return bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef int encode_hstore(Codec codec, WriteBuffer out, object value) except -1:
    """hstore from a mapping, or from an iterable of pairs, of str to str or None.

    Layout as in `decode_hstore`. TypeError, ValueError; ElementError for a value.
    Source: server function `hstore_recv`.
    """
    cdef Py_ssize_t start
    cdef list pairs
    if PyUnicode_Check(value):
        raise TypeError("expected a mapping or pairs of str, got str")
    pairs = list(value.items() if hasattr(value, "items") else value)
    if len(pairs) > INT32_MAX // 8:
        raise ValueError(f"{len(pairs)} pairs are too many")
    start = out.begin_field()
    out.put_int32(<int32_t>len(pairs))
    for key, item in pairs:
        if key is None:
            raise ValueError("null value not allowed in hstore key")
        encode_text(codec, out, key)
        try:
            if item is None:
                out.put_int32(-1)
            else:
                encode_text(codec, out, item)
        except (TypeError, ValueError) as error:
            raise ElementError(f"[{key!r}]", item, str(error)) from error
    out.end_field(start)
    return 0


# cube.

cdef tuple doubles_at(const unsigned char *data, Py_ssize_t n):
    return tuple(
        [PyFloat_FromDouble(double_of_bits(get_uint64(data + 8 * i))) for i in range(n)]
    )


cdef object decode_cube(Codec codec, const unsigned char *data, Py_ssize_t size):
    """uint32 dimensions, its highest bit for a point; float8 of one or two corners.

    A point as a tuple of floats, a box as a tuple of two. Source: `cube_send`.
    """
    cdef uint32_t header
    cdef Py_ssize_t n
    if size < 4:
        return bad_size(codec, size, "4 or more")
    header = get_uint32(data)
    n = header & CUBE_DIMENSIONS
    if header & CUBE_IS_POINT:
        if size - 4 != 8 * n:
            return bad_value(codec, f"{n} dimensions do not take {size - 4} bytes")
        return doubles_at(data + 4, n)
    if size - 4 != 16 * n:
        return bad_value(codec, f"2 x {n} dimensions do not take {size - 4} bytes")
    return doubles_at(data + 4, n), doubles_at(data + 4 + 8 * n, n)


cdef int encode_cube(Codec codec, WriteBuffer out, object value) except -1:
    """cube from a sequence of numbers, or from two such sequences of the same length.

    Layout as in `decode_cube`. TypeError, ValueError. Source: `cube_recv`.
    """
    cdef tuple numbers = numbers_of(value)
    cdef uint32_t header = CUBE_IS_POINT
    cdef Py_ssize_t n = len(numbers)
    if n == 2 and hasattr(type(numbers[0]), "__len__"):
        corners = [numbers_of(corner) for corner in numbers]
        n = len(corners[0])
        if n != len(corners[1]):
            raise ValueError(f"corners of {n} and {len(corners[1])} dimensions")
        header = 0
        numbers = corners[0] + corners[1]
    if n > INT16_MAX:
        raise ValueError(f"{n} dimensions are too many")
    out.put_int32(<int32_t>(4 + 8 * len(numbers)))
    out.put_int32(<int32_t>(header | <uint32_t>n))
    for number in numbers:
        out.put_int64(<long long>bits_of_double(double_of(number)))
    return 0


# The vectors of pgvector.

cdef tuple numbers_of(object value):
    """A sequence of numbers; TypeError for text, bytes and mappings."""
    if isinstance(value, (str, bytes, bytearray)) or hasattr(type(value), "keys"):
        raise TypeError(f"a sequence of numbers expected, got {type(value).__name__}")
    return tuple(value)


cdef Py_ssize_t dimensions_of(
    Codec codec, const unsigned char *data, Py_ssize_t size, int width
) except -1:
    """The dimensions of a dense vector: int16 dimensions, int16 zero, the numbers."""
    cdef Py_ssize_t n
    if size < 4:
        bad_size(codec, size, "4 or more")
    n = get_uint16(data)
    if size - 4 != width * n:
        bad_value(codec, f"{n} dimensions do not take {size - 4} bytes")
    return n


cdef object decode_vector(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A list of float4; layout as in `dimensions_of`. Source: `vector_send`."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = dimensions_of(codec, data, size, 4)
    cdef list result = PyList_New(n)
    for i in range(n):
        item = PyFloat_FromDouble(float_of_bits(get_uint32(data + 4 + 4 * i)))
        Py_INCREF(item)
        PyList_SET_ITEM(result, i, item)
    return result


cdef object decode_halfvec(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A list of floats of 16 bits; layout as in `dimensions_of`. See `halfvec_send`."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = dimensions_of(codec, data, size, 2)
    cdef list result = PyList_New(n)
    for i in range(n):
        item = PyFloat_FromDouble(PyFloat_Unpack2(<const char *>data + 4 + 2 * i, 0))
        Py_INCREF(item)
        PyList_SET_ITEM(result, i, item)
    return result


# `codec.py_decode` is numpy.frombuffer. The array is copied out of the bytes to be in
# the machine's order and to be written to.

cdef object decode_vector_numpy(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """A numpy array of float32; layout as in `dimensions_of`."""
    dimensions_of(codec, data, size, 4)
    raw = PyBytes_FromStringAndSize(<const char *>data + 4, size - 4)
    return codec.py_decode(raw, ">f4").astype("f4")


cdef object decode_halfvec_numpy(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """A numpy array of float16; layout as in `dimensions_of`."""
    dimensions_of(codec, data, size, 2)
    raw = PyBytes_FromStringAndSize(<const char *>data + 4, size - 4)
    return codec.py_decode(raw, ">f2").astype("f2")


cdef Py_ssize_t put_floats(WriteBuffer out, object value) except -1:
    """A vector out of a buffer of C's float or double; -2 when `value` is none.

    The same as item by item, without a Python float for each. Returns how many.
    """
    cdef Py_buffer view
    cdef Py_ssize_t i, n
    cdef bint is_double
    if not PyObject_CheckBuffer(value):
        return -2
    try:
        PyObject_GetBuffer(value, &view, PyBUF_ND | PyBUF_FORMAT)
    except (BufferError, ValueError):   # the latter from numpy
        return -2                       # strided, or in Fortran's order
    try:
        if view.ndim != 1 or view.format is NULL or view.format not in (b"f", b"d"):
            return -2
        is_double = view.format == b"d"
        n = view.len // view.itemsize
        check_dimensions(n)
        for i in range(n):
            out.put_int32(<int32_t>bits_of_float(single_of(
                (<double *>view.buf)[i] if is_double else (<float *>view.buf)[i]
            )))
        return n
    finally:
        PyBuffer_Release(&view)


cdef int check_dimensions(Py_ssize_t n) except -1:
    if n > INT16_MAX:
        raise ValueError(f"a vector of {n} dimensions is too long")
    return 0


cdef int encode_dense(WriteBuffer out, object value, bint is_half) except -1:
    """A dense vector from a sequence of numbers; layout as in `dimensions_of`."""
    cdef Py_ssize_t start = out.begin_field()
    cdef Py_ssize_t n = -2
    cdef Py_ssize_t i
    cdef tuple numbers
    out.put_int32(0)
    if not is_half:
        n = put_floats(out, value)
    if n == -2:
        numbers = numbers_of(value)
        n = len(numbers)
        check_dimensions(n)
        for i in range(n):
            try:
                put_number(out, numbers[i], is_half)
            except (TypeError, ValueError, OverflowError) as error:
                raise ElementError(f"[{i}]", numbers[i], str(error)) from error
    # put back by `start`: the buffer may have moved
    out.data[start + 4] = <char>(n >> 8)
    out.data[start + 5] = <char>(n & 0xFF)
    out.end_field(start)
    return 0


cdef int put_number(WriteBuffer out, object value, bint is_half) except -1:
    """A float of 32 or 16 bits, rounded to the nearest."""
    cdef double number = double_of(value)
    if not is_half:
        return out.put_int32(<int32_t>bits_of_float(single_of(number)))
    out.reserve(2)
    PyFloat_Pack2(number, out.data + out.length, 0)
    out.length += 2
    return 0


cdef int encode_vector(Codec codec, WriteBuffer out, object value) except -1:
    """vector from a sequence of numbers, or a buffer of them; `vector_recv`.

    Numbers are rounded to float4; ElementError for what is none or too large.
    """
    return encode_dense(out, value, False)


cdef int encode_halfvec(Codec codec, WriteBuffer out, object value) except -1:
    """halfvec from a sequence of numbers, rounded to 16 bits; `halfvec_recv`."""
    return encode_dense(out, value, True)


cdef object decode_sparsevec(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 dimensions, int32 number of entries, int32 zero, the indices (int32, from
    0), the values (float4). As `(dimensions, {index: value})`. See `sparsevec_send`.
    """
    cdef Py_ssize_t n, i
    cdef int32_t dimensions, index
    cdef int32_t last = -1
    cdef dict entries = {}
    if size < 12:
        return bad_size(codec, size, "12 or more")
    dimensions = get_int32(data)
    n = get_int32(data + 4)
    if dimensions < 0:
        return bad_value(codec, f"it has {dimensions} dimensions")
    if n < 0 or size - 12 != 8 * n:
        return bad_value(codec, f"{n} entries do not take {size - 12} bytes")
    for i in range(n):
        index = get_int32(data + 12 + 4 * i)
        if not last < index < dimensions:
            return bad_value(codec, f"index {index} after {last}, of {dimensions}")
        last = index
        entries[index] = <double>float_of_bits(
            get_uint32(data + 12 + 4 * n + 4 * i)
        )
    return dimensions, entries


cdef int encode_sparsevec(Codec codec, WriteBuffer out, object value) except -1:
    """sparsevec from `(dimensions, {index: value})`; entries of 0 are left out.

    Layout as in `decode_sparsevec`. TypeError, ValueError; ElementError for an entry.
    Source: pgvector, `sparsevec_recv`.
    """
    if (
        not isinstance(value, tuple)
        or len(value) != 2
        or not hasattr(value[1], "items")
    ):
        raise TypeError("expected (dimensions, {index: value})")
    cdef int32_t n = <int32_t>integer_of(value[0], 0, INT32_MAX, "int32")
    cdef dict entries = {}
    for index, number in value[1].items():
        try:
            key = integer_of(index, 0, n - 1, f"0..{n - 1}")
            entries[key] = <double>single_of(double_of(number))
        except (TypeError, ValueError, OverflowError) as error:
            raise ElementError(f"[1][{index!r}]", number, str(error)) from error
    indices = sorted([index for index in entries if entries[index]])
    if len(indices) > INT16_MAX:
        raise ValueError(f"{len(indices)} entries are too many")
    out.put_int32(<int32_t>(12 + 8 * len(indices)))
    out.put_int32(n)
    out.put_int32(<int32_t>len(indices))
    out.put_int32(0)
    for index in indices:
        out.put_int32(<int32_t>index)
    for index in indices:
        out.put_int32(<int32_t>bits_of_float(<float><double>entries[index]))
    return 0


cdef struct ContribRow:
    const char *name
    decode_fn decode
    encode_fn encode
    bint atomic
    bint needs_numpy
    int lists


cdef ContribRow *CONTRIB = [
    ContribRow(
        "pg_contrib.hstore", decode_hstore, encode_hstore, False, False, NO_LISTS
    ),
    ContribRow("pg_contrib.cube", decode_cube, encode_cube, False, False, NO_LISTS),
    ContribRow(
        "pgvector.vector", decode_vector, encode_vector, False, False, LISTS_OF_NUMBERS
    ),
    ContribRow(
        "pgvector.halfvec", decode_halfvec, encode_halfvec, False, False,
        LISTS_OF_NUMBERS,
    ),
    ContribRow(
        "pgvector.sparsevec", decode_sparsevec, encode_sparsevec, False, False, NO_LISTS
    ),
    ContribRow("postgis.ewkb", decode_bytea, encode_bytea, True, False, NO_LISTS),
    ContribRow(
        "pgvector.vector.numpy", decode_vector_numpy, encode_vector, False, True,
        LISTS_OF_NUMBERS,
    ),
    ContribRow(
        "pgvector.halfvec.numpy", decode_halfvec_numpy, encode_halfvec, False, True,
        LISTS_OF_NUMBERS,
    ),
    ContribRow(NULL, NULL, NULL, False, False, NO_LISTS),
]


cdef Codec contrib_codec(str name):
    cdef ContribRow *row = CONTRIB
    cdef Codec codec
    while row.name is not NULL and row.name.decode() != name:
        row += 1
    if row.name is NULL:
        return None
    codec = new_codec(
        0, name, "scalar", FORMAT_BINARY, row.atomic, row.decode, row.encode
    )
    codec.lists = row.lists
    if row.needs_numpy:
        try:
            import numpy
        except ImportError:
            raise InterfaceError(f"the codec {name} needs numpy") from None
        codec.py_decode = numpy.frombuffer
    return codec
