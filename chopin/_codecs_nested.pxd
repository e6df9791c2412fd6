# cython: language_level=3
"""Codecs of arrays and ranges over other codecs. See _codecs_nested.pyx."""

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

# The format is the element's: text when its codec is.
cdef Codec array_of(Codec element, uint32_t oid, str name)
cdef Codec range_of(Codec bound, uint32_t oid, str name)

cdef object decode_array(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_array(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_array_text(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_array_text(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_range(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_range(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_range_text(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_range_text(Codec codec, WriteBuffer out, object value) except -1
