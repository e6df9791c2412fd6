# cython: language_level=3
"""Lower bounds of arrays. See _codecs_bounds.pyx."""

from libc.stdint cimport int32_t

from chopin._codecbase cimport Codec

# The codec of an array whose values have their lower bounds: `Array` instead of `list`.
cdef Codec bounded(Codec codec)

# As `codec.detail` reads it, and its bounds.
cdef object decode_bounded(Codec codec, const unsigned char *data, Py_ssize_t size)

# Write the bounds of an `Array` into the header of an array in binary form: `at` is
# behind its first 12 bytes. ValueError: they do not fit to the dimensions.
cdef int put_bounds(char *at, int n_dims, int32_t *lengths, object value) except -1

# The same for an array literal: what stands in front of its brace.
cdef bytes bounds_literal(int n_dims, int32_t *lengths, object value)
