# cython: language_level=3
"""Codecs of the geometric types. See _codecs_geo.pyx."""

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

cdef object decode_point(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_line(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_lseg(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_box(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_path(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_polygon(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef object decode_circle(Codec codec, const unsigned char *data, Py_ssize_t size)

cdef int encode_point(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_line(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_two_points(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_path(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_polygon(Codec codec, WriteBuffer out, object value) except -1
cdef int encode_circle(Codec codec, WriteBuffer out, object value) except -1
