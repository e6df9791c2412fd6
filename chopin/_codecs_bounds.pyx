# cython: language_level=3
"""Where the subscripts of an array begin: `Array` as value and as argument.

Owns: how lower bounds are read and written. All the rest of an array is the matter of
`_codecs_nested`.
Layer L2. Imports L0, `_codecbase` and the codecs of users.

Source: PostgreSQL docs "Arrays", "Array Input and Output Syntax"; arrayfuncs.c.
"""

import re

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint32_t

from chopin._codecbase cimport Codec
from chopin._codecs_custom cimport renamed
from chopin._wire cimport FORMAT_TEXT, get_int32, put_uint32

from chopin.codecs import Array

cdef object lower_bounds_of_text = re.compile(rb"\[([+-]?\d+):").findall
cdef object count_braces = re.compile(rb"\{+").match


cdef Codec bounded(Codec codec):
    cdef Codec copy = renamed(codec, codec.oid, codec.name, codec.schema, codec.kind)
    copy.delimiter = codec.delimiter
    copy.detail = codec
    copy.decode = decode_bounded
    return copy


cdef object decode_bounded(Codec codec, const unsigned char *data, Py_ssize_t size):
    """An array of either format, as `codec.detail` reads it, and its lower bounds."""
    cdef Codec plain = <Codec>codec.detail
    cdef list items = plain.decode(plain, data, size)
    cdef int i
    if not items:
        return Array(items)
    if plain.format == FORMAT_TEXT:
        return Array(items, text_bounds(data[:size]))
    return Array(items, [get_int32(data + 16 + 8 * i) for i in range(get_int32(data))])


cdef list text_bounds(bytes literal):
    """The lower bounds of an array literal that is not empty."""
    if literal.startswith(b"["):
        head = literal.partition(b"=")[0]
        return [int(bound) for bound in lower_bounds_of_text(head)]
    return [1] * count_braces(literal).end()


cdef tuple bounds_for(int n_dims, int32_t *lengths, object value):
    """The lower bounds of an `Array` of these dimensions."""
    cdef tuple bounds = value.lower_bounds
    cdef int i
    if not bounds:
        return (1,) * n_dims
    if len(bounds) != n_dims:
        raise ValueError(
            f"an array of {n_dims} dimension{'s' if n_dims > 1 else ''} has "
            f"{len(bounds)} lower bounds"
        )
    for i in range(n_dims):
        if <int64_t>bounds[i] + lengths[i] > INT32_MAX:
            raise ValueError(f"the lower bound {bounds[i]} is too large")
    return bounds


cdef int put_bounds(char *at, int n_dims, int32_t *lengths, object value) except -1:
    cdef tuple bounds = bounds_for(n_dims, lengths, value)
    cdef int i
    for i in range(n_dims):
        put_uint32(at + 8 * i + 4, <uint32_t><int32_t>bounds[i])
    return 0


cdef bytes bounds_literal(int n_dims, int32_t *lengths, object value):
    cdef tuple bounds = bounds_for(n_dims, lengths, value)
    cdef int i
    if not value.lower_bounds:
        return b""
    parts = [f"[{bounds[i]}:{bounds[i] + lengths[i] - 1}]" for i in range(n_dims)]
    return ("".join(parts) + "=").encode()
