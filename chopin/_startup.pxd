# cython: language_level=3
"""How a session begins and how it ends. See _startup.pyx."""

from chopin._protocol cimport Op
from chopin._waiter cimport Waiter
from chopin._wire cimport Cursor


cdef class StartupOp(Op):
    cdef list requests
    cdef Waiter asked
    cdef bint ready
    cdef readonly int minor_version

    cdef int answer(self) except -1
    cdef int negotiate(self, Cursor *c) except -1
