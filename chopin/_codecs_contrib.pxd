# cython: language_level=3
"""Codecs of types that extensions bring. See _codecs_contrib.pyx."""

from chopin._codecbase cimport Codec


# The codec of that name, such as "pg_contrib.hstore"; None when there is none.
cdef Codec contrib_codec(str name)
