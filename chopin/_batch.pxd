# cython: language_level=3
"""Several statements in one message group. See _batch.pyx."""

from chopin._ops cimport QueryOp
from chopin._protocol cimport Session, Statement
from chopin._rows cimport Description, RowPlan
from chopin._simple cimport SimpleOp


cdef class Result(list):
    cdef readonly str status     # the command tag; empty for an empty statement


cdef class Part:
    cdef Statement statement
    cdef Description sent        # what the plan was made for
    cdef RowPlan plan
    cdef int want
    cdef int column
    cdef bint parses             # a named statement that is new to the session


cdef class GroupOp(QueryOp):
    cdef list parts
    cdef Py_ssize_t ahead        # steps of the program that belong to riders
    cdef Py_ssize_t index        # of the part whose replies are due
    cdef list answers            # of the parts that have ended
    cdef readonly dict unread    # index -> exception of a decoder

    cdef Part add(self, Session session, tuple request, set parsing)
    cdef int begin_part(self) except -1
    cdef int end_part(self) except -1


cdef class ScriptOp(SimpleOp):
    cdef list results            # of riders too
    cdef object shape
    cdef bint in_rows            # a result set has been described and has not ended

    cdef int begin_rows(self, Description description) except -1
    cdef int end_statement(self, str status) except -1
