# cython: language_level=3
"""Codecs of JSON that is read and written. See _codecs_json.pyx."""

from chopin._codecbase cimport Codec

# A codec of the type of `known`, whose values are JSON in `str`, as `spec` (`JSON`)
# says; None when they are not.
cdef Codec json_codec(Codec known, object spec)

# What reads the text of a codec that `json_codec` made; None for another codec.
cdef Codec json_in_text(Codec codec)
