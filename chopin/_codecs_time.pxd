# cython: language_level=3
"""Codecs of the date and time types. See _codecs_time.pyx."""

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec

cdef object decode_date(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_date(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_time(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_time(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_timetz(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_timetz(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_timestamp(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_timestamp(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_timestamptz(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_timestamptz(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_interval(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_interval(Codec codec, WriteBuffer out, object value) except -1

# The exchange format "tuple" of custom codecs: the fields as the server counts them.
cdef object decode_date_tuple(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_date_tuple(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_time_tuple(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_time_tuple(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_timetz_tuple(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_timetz_tuple(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_timestamp_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
)
cdef int encode_timestamp_tuple(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_timestamptz_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
)
cdef int encode_timestamptz_tuple(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_interval_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
)
cdef int encode_interval_tuple(Codec codec, WriteBuffer out, object value) except -1
