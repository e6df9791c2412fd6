# cython: language_level=3
"""Bit strings, hardware addresses, system identifiers. See _codecs_bits.pyx."""

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

cdef object decode_bits(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_macaddr(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_macaddr8(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_tid(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_snapshot(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_int2vector(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_oidvector(Codec codec, const unsigned char *data, Py_ssize_t size)

cdef int encode_bits(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_macaddr(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_macaddr8(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_tid(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_snapshot(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_int2vector(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_oidvector(Codec codec, WriteBuffer out, object value) except -1
