# cython: language_level=3
"""Simple queries: SQL as text. See _simple.pyx."""

from chopin._ops cimport RowsOp
from chopin._protocol cimport Op, Session


cdef class SimpleOp(RowsOp):
    cdef str status
    cdef int prefix              # characters of riders in front of the user's text


cdef int put_query(Session session, Op op, str sql) except -1
