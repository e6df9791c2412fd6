# cython: language_level=3
"""The table of all types that are known beforehand. See _codecs_table.pyx."""

from libc.stdint cimport uint32_t

from chopin._codecbase cimport Codec

cdef dict TABLE              # oid -> Codec
cdef dict ARRAYS             # oid of an element -> oid of its array
cdef dict NAMES              # name -> Codec

cdef int add_to_table(Codec codec, uint32_t array_oid) except -1
