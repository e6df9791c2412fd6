# cython: language_level=3
"""The table of all types, and the scopes that override it. See _codecs.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from chopin._codecbase cimport Codec


cdef class CodecMap:
    cdef readonly CodecMap parent
    cdef dict own                # oid -> Codec; replaced as a whole by every change
    cdef dict fallbacks          # oid -> Codec in text format, for what nobody knows
    cdef uint64_t changes        # of this scope alone

    cdef Codec get(self, uint32_t oid)
    cdef Codec find(self, uint32_t oid)
    cdef uint64_t current_version(self) noexcept
    cdef int replace(self, dict changed, tuple removed) except -1
