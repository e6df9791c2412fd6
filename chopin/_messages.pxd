# cython: language_level=3
"""The bodies of messages that are made of strings. See _messages.pyx."""

from chopin._wire cimport Cursor


cdef str decode_string(Cursor *c)
cdef dict parse_fields(const unsigned char *data, Py_ssize_t size)
cdef str unexpected(unsigned char kind, char step)
