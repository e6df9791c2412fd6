# cython: language_level=3
"""The table of all types, and the scopes that override it. See _codecs.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from chopin._codecbase cimport Codec
from chopin._codecs_composite cimport Scope
from chopin._codecs_registry cimport Registry


cdef class CodecMap(Scope):
    cdef readonly CodecMap parent
    cdef CodecMap root           # the outermost scope: a pool's, or a connection's
    cdef Registry registry       # of the root: what is said in advance, or None
    cdef dict own                # oid -> Codec; replaced as a whole by every change
    cdef dict facts              # of the root: oid -> CatalogType; replaced as well
    cdef dict derived            # oid -> Codec made of the others
    cdef uint64_t derived_at     # ... when the version was this
    cdef set wanted              # of the root: types to ask the catalog for
    cdef dict fallbacks          # oid -> Codec in text format, for what nobody knows
    cdef uint64_t changes        # of this scope alone

    cdef Codec get(self, uint32_t oid)
    cdef Codec find(self, uint32_t oid)
    cpdef bint known(self, uint32_t oid) except -1
    cdef Codec derive(self, uint32_t oid, int depth)
    cdef Codec chosen(self, Codec codec, fact, int depth)
    cdef Codec under_domain(self, fact, int depth)
    cdef Codec refitted(self, Codec codec, int depth)
    cdef Codec complete(self, Codec codec)
    cdef Codec part(self, uint32_t oid, int depth)
    cdef Codec build(self, fact, int depth)
    cdef Codec build_over(self, fact, Codec under)
    cdef Codec binary_codec(self, uint32_t oid)
    cdef uint64_t current_version(self) noexcept
    cdef int replace(self, dict changed, tuple removed) except -1


cdef Codec over(Codec codec, Codec element)

# Which nested type the bytes or the text of a codec's values are: "array", "range",
# "multirange", "composite", whatever domains are above; "" for what has no parts.
cdef str layout_of(Codec codec)
