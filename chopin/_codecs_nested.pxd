# cython: language_level=3
"""Codecs of arrays over other codecs. See _codecs_nested.pyx."""

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

# The format is the element's: text when its codec is.
cdef Codec array_of(Codec element, uint32_t oid, str name)

cdef object decode_array(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_array(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_array_text(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_array_text(Codec codec, WriteBuffer out, object value) except -1

# The field in `scratch` between double quotes, as array and range literals have it.
cdef int put_quoted(WriteBuffer out, WriteBuffer scratch) except -1
