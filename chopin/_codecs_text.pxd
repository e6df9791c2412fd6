# cython: language_level=3
"""Codecs for values that come as text. See _codecs_text.pyx."""

from chopin._codecs cimport CodecMap


cdef class TextCodecs(CodecMap):
    pass
