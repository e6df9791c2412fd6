# cython: language_level=3
"""Codecs of composite types and anonymous records. See _codecs_composite.pyx."""

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec


cdef class Scope:
    cdef int depth              # of the records in records that are being read
    # The codec for the binary form of a type; None when there is none.
    cdef Codec binary_codec(self, uint32_t oid)


# All of `codecs` are in binary format; there are as many as `names`.
cdef Codec composite_of(uint32_t oid, str name, str schema, tuple names, tuple codecs)
cdef Codec record_of(uint32_t oid, str name, Scope scope)

# Of such a codec: the names and the codecs of the attributes; what an object has under
# these names.
cdef tuple names_of(Codec codec)
cdef tuple codecs_of(Codec codec)
cdef tuple attributes_of(Codec codec, object value)

cdef object decode_composite(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_composite(Codec codec, WriteBuffer out, object value) except -1

cdef object decode_record(Codec codec, const unsigned char *data, Py_ssize_t size)
cdef int encode_record(Codec codec, WriteBuffer out, object value) except -1
