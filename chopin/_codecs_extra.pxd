# cython: language_level=3
"""Codecs of numeric and network addresses. See _codecs_extra.pyx."""

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

cdef object decode_numeric(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_inet(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_cidr(Codec codec, const unsigned char *data, Py_ssize_t size)

cdef int encode_numeric(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_inet(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_cidr(Codec codec, WriteBuffer out, object value) except -1
