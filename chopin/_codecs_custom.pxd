# cython: language_level=3
"""Codecs of functions of the user's, and copies of codecs. See _codecs_custom.pyx."""

from libc.stdint cimport uint32_t

from chopin._codecbase cimport Codec

cdef Codec custom_codec(Codec known, uint32_t oid, str name, str kind, str format)
cdef Codec renamed(Codec codec, uint32_t oid, str name, str schema, str kind)
cdef Codec unknown_codec(uint32_t oid)

# By a function of the user's, from what `codec.element` reads.
cdef object decode_via_python(Codec codec, const unsigned char *data, Py_ssize_t size)

# What a function of the user's makes of an argument.
cdef object call_encoder(object function, object value)
