# cython: language_level=3
"""Execute-many. See _many.pyx."""

from libc.stdint cimport int64_t

from chopin._buffers cimport WriteBuffer
from chopin._ops cimport RowsOp
from chopin._protocol cimport Statement


cdef class ManyOp(RowsOp):
    cdef readonly Statement statement
    cdef Py_ssize_t n_bound      # replies so far
    cdef Py_ssize_t n_done
    cdef int64_t row_count       # touched by all of them
    cdef Py_ssize_t element      # position of the next row of arguments
    cdef readonly bint sent      # the first part is written, the session is held
    cdef bint ended              # Sync is written
    cdef WriteBuffer part        # rows that are encoded and not handed over yet

    cpdef bint is_over(self)
    cdef int begin_group(self) except -1
    cdef int hand_over(self) except -1
    cdef int _end(self) except -1
