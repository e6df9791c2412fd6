# cython: language_level=3
"""The one shape of every codec. See _codecbase.pyx."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer

cdef extern from *:
    """
    #ifndef CHOPIN_CODECBASE_H
    #define CHOPIN_CODECBASE_H
    /* Hand on the exception that a C call has set: Cython sees NULL and propagates. */
    static inline PyObject *chopin_propagate(void) { return NULL; }
    static inline PyObject *chopin_none(void) { return Py_NewRef(Py_None); }
    #endif
    """
    object propagate "chopin_propagate"()
    PyObject *new_none "chopin_none"() noexcept

# Decode `size` bytes of one value that is not NULL. Must check `size` itself and raise
# through `bad_size` or `bad_value`.
ctypedef object (*decode_fn)(Codec codec, const unsigned char *data, Py_ssize_t size)

# A decode_fn for a loop: it counts no reference to the codec, which the loop keeps
# alive, and the caller takes over the one that it returns. NULL says that an exception
# is set.
ctypedef PyObject *(*field_fn)(
    PyObject *codec, const unsigned char *data, Py_ssize_t size
) noexcept

# Encode one value that is not None: int32 length and the bytes. Raises TypeError,
# ValueError, OverflowError or ElementError with the reason; what it has written so far
# is dropped by the caller.
ctypedef int (*encode_fn)(Codec codec, WriteBuffer out, object value) except -1


# Codec.lists: whether values of the type are lists, which matters in an array of it.
cdef enum:
    NO_LISTS = 0
    LISTS_OF_SCALARS = 1         # multiranges
    LISTS = 2                    # domains over arrays
    LISTS_OF_NUMBERS = 3         # vectors


cdef class Codec:
    cdef readonly uint32_t oid
    cdef uint32_t base               # the type whose bytes it has, that under domains
    cdef readonly str name
    cdef readonly str schema
    cdef readonly str kind           # scalar, array, range ... as get_parameters() says
    cdef readonly int format         # FORMAT_BINARY or FORMAT_TEXT, both directions
    cdef readonly bint atomic        # its values refer to nothing the GC must follow
    cdef readonly Codec element      # arrays: the element; ranges: the bound
    cdef object detail               # what the family of the codec needs beside it
    cdef int lists                   # NO_LISTS and following
    cdef char delimiter              # between elements in the literal of an array of it
    cdef object py_decode            # custom codecs: Python callables
    cdef object py_encode
    cdef decode_fn decode
    cdef encode_fn encode


cdef Codec new_codec(
    uint32_t oid, str name, str kind, int format, bint atomic,
    decode_fn decode, encode_fn encode,
)

cdef object bad_size(Codec codec, Py_ssize_t size, str expected)
cdef object bad_value(Codec codec, str reason)
