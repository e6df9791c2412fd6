# cython: language_level=3
"""Codecs whose values are of classes of the user's. See _codecs_classes.pyx."""

from chopin._codecbase cimport Codec

# Whether `enum_codec` made it.
cdef bint is_enum_codec(Codec codec) noexcept

# A codec for an enum, or another type that is text, whose values are the members of an
# `Enum`; None when the values of `known` are not text. `labels` are those of the enum.
cdef Codec enum_codec(Codec known, object cls, tuple labels)

# A codec for a composite type whose values are made by calling `factory`; None when the
# values of `known` are not of a composite type. TypeError: it cannot be called so.
cdef Codec class_codec(Codec known, object factory)

# By a class of the user's, from the record that `codec.element` reads.
cdef object decode_object(Codec codec, const unsigned char *data, Py_ssize_t size)
