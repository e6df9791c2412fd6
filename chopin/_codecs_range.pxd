# cython: language_level=3
"""Codecs of ranges and multiranges over other codecs. See _codecs_range.pyx."""

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

# The format is that of the bounds: text when their codec is.
cdef Codec range_of(Codec bound, uint32_t oid, str name)
cdef Codec multirange_of(Codec ranges, uint32_t oid, str name)

cdef object decode_range(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_range(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_range_text(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_range_text(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_multirange(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_multirange(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_multirange_text(
    Codec codec, const unsigned char *data, Py_ssize_t size
)
cdef int encode_multirange_text(Codec codec, WriteBuffer out, object value) except -1
