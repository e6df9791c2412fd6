# cython: language_level=3
"""What users say of types in advance. See _codecs_registry.pyx."""

from libc.stdint cimport uint32_t

from chopin._codecbase cimport Codec


cdef class Registry:
    cdef dict by_oid        # OID of a type of the table -> (key, what is said of it)
    cdef dict by_name       # "mood" or "app.mood" -> what is said of it

    # What is said of a type, with its key; None for nothing. `fact` is what the catalog
    # says of it, None for a type of the table.
    cdef tuple find(self, uint32_t oid, object fact)
    # The codec that `said` means for a type that has `known` otherwise; `facts` is what
    # the catalog says of others.
    cdef Codec choose(self, tuple said, Codec known, object fact, dict facts)
