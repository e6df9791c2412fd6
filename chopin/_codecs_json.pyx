# cython: language_level=3
"""JSON as Python's values, by a library of the user's or by ours.

Owns: `json_codec`, which makes a codec of the functions that `JSON` names, and what
they are when it names none.
Layer L2. Imports L0, L1, `_codecbase`, the codecs of text and those of users.

Rules
- A loader gets `bytes` or `str` of its own, never a view of the session's memory, which
  it might keep.
- With functions of the user's, their values and errors are theirs. With ours, JSON that
  the server has taken is read exactly: what orjson would round (whole numbers of more
  than 64 bits) or refuses is read by the interpreter's `json`, and what it does not
  write is written by it.

Source: PostgreSQL docs, "JSON Types".
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport int32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value
from chopin._codecs_custom cimport call_encoder, renamed
from chopin._codecs_scalar cimport decode_jsonb, decode_text
from chopin._wire cimport FORMAT_TEXT

import json

from chopin.codecs import find_orjson

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    LONG_NUMBER = 19    # digits of the least number that may not fit into 64 bits

cdef object raw_decode = json.JSONDecoder().raw_decode
cdef object standard_loads = json.loads
cdef object standard_dumps = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


cdef class Functions:
    """What reads and writes; the `detail` of a codec. Attributes None: ours."""

    cdef object loads
    cdef object dumps
    cdef bint takes_bytes
    cdef bint has_version       # jsonb: a version byte goes in front
    cdef object fast_loads      # those of orjson, None when it is not there
    cdef object fast_dumps


cdef Codec json_codec(Codec known, object spec):
    cdef Functions functions = Functions.__new__(Functions)
    cdef Codec codec
    if known.decode != decode_text and known.decode != decode_jsonb:
        return None
    functions.has_version = known.decode == decode_jsonb
    functions.loads = spec.loads
    functions.dumps = spec.dumps
    functions.takes_bytes = spec.format == "binary"
    orjson = find_orjson()
    if orjson is not None:
        functions.fast_loads = orjson.loads
        functions.fast_dumps = orjson.dumps
    codec = renamed(known, known.oid, known.name, known.schema, known.kind)
    codec.atomic = False
    codec.detail = functions
    # an array may have lists as elements then, see _codecs_nested
    codec.py_encode = spec.dumps or standard_dumps
    codec.decode = decode_json
    codec.encode = encode_json
    return codec


cdef Codec json_in_text(Codec codec):
    cdef Functions functions, plain
    cdef Codec made
    if codec.decode != decode_json:
        return None
    functions = <Functions>codec.detail
    plain = Functions.__new__(Functions)
    plain.loads = functions.loads
    plain.dumps = functions.dumps
    plain.takes_bytes = functions.takes_bytes
    plain.fast_loads = functions.fast_loads
    plain.fast_dumps = functions.fast_dumps
    made = renamed(codec, codec.oid, codec.name, codec.schema, codec.kind)
    made.format = FORMAT_TEXT
    made.detail = plain
    return made


# Reading.

cdef object decode_json(Codec codec, const unsigned char *data, Py_ssize_t size):
    """JSON as UTF-8, for jsonb behind a version byte of 1.

    DataError: another version, no UTF-8. What the user's function raises goes through.
    Source: server functions `json_send`, `jsonb_send`.
    """
    cdef Functions functions = <Functions>codec.detail
    if functions.has_version:
        if size < 1:
            return bad_size(codec, size, "1 or more")
        if data[0] != 1:
            return bad_value(codec, f"version {data[0]} is not known, 1 is")
        data += 1
        size -= 1
    if functions.loads is None:
        return read_exactly(codec, functions.fast_loads, data, size)
    if functions.takes_bytes:
        return functions.loads(PyBytes_FromStringAndSize(<const char *>data, size))
    return functions.loads(decode_text(codec, data, size))


cdef object read_exactly(
    Codec codec, object fast_loads, const unsigned char *data, Py_ssize_t size
):
    """The value of JSON; DataError when it is none, or is too deep for Python."""
    if fast_loads is not None and not has_long_number(data, size):
        try:
            return fast_loads(PyBytes_FromStringAndSize(<const char *>data, size))
        except ValueError:
            pass        # a lone surrogate, a number past the greatest float
    while size and is_space(data[0]):
        data += 1
        size -= 1
    while size and is_space(data[size - 1]):
        size -= 1
    text = decode_text(codec, data, size)
    try:
        value, end = raw_decode(text)
        # saves three calls of `loads`, which says best what is wrong
        return value if end == len(text) else standard_loads(text)
    except (ValueError, RecursionError) as error:
        return bad_value(codec, str(error))


cdef inline bint is_space(unsigned char byte) noexcept nogil:
    return byte == c" " or byte == c"\n" or byte == c"\r" or byte == c"\t"


cdef inline bint is_digit(unsigned char byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef bint has_long_number(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Whether there are 19 digits in a row, in a string perhaps.

    Every such row has a digit at a position that is a multiple of 19: only one byte of
    19 is looked at.
    """
    cdef Py_ssize_t at = LONG_NUMBER - 1
    cdef Py_ssize_t first, last
    while at < size:
        if is_digit(data[at]):
            first = last = at
            while first > 0 and is_digit(data[first - 1]):
                first -= 1
            while last + 1 < size and is_digit(data[last + 1]):
                last += 1
            if last - first + 1 >= LONG_NUMBER:
                return True
        at += LONG_NUMBER
    return False


# Writing.

cdef int encode_json(Codec codec, WriteBuffer out, object value) except -1:
    """The layout of `decode_json`.

    TypeError: the value cannot be written, or `dumps` returned neither str nor bytes;
    ValueError: NaN, an infinity, a value that contains itself; or what `dumps` raised.
    Source: server functions `json_recv`, `jsonb_recv`.
    """
    cdef Functions functions = <Functions>codec.detail
    cdef const char *data
    cdef Py_ssize_t size
    if functions.dumps is None:
        text = write_standard(functions.fast_dumps, value)
    else:
        text = call_encoder(functions.dumps, value)
    if PyBytes_Check(text):
        data = PyBytes_AS_STRING(text)
        size = PyBytes_GET_SIZE(text)
    elif PyUnicode_Check(text):
        data = PyUnicode_AsUTF8AndSize(text, &size)
    else:
        raise TypeError(
            f"dumps is expected to return str or bytes, got {type(text).__name__}"
        )
    out.put_int32(<int32_t>(size + functions.has_version))
    if functions.has_version:
        out.put_byte(1)
    out.put_raw(data, size)
    return 0


cdef object write_standard(object fast_dumps, object value):
    if fast_dumps is not None:
        try:
            return fast_dumps(value)
        except TypeError:
            pass        # keys that are no str, an int of more than 64 bits
    return call_encoder(standard_dumps, value)
