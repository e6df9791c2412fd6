# cython: language_level=3
"""The operations of a session. See _ops.pyx."""

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._protocol cimport Op, Session, Statement
from chopin._rows cimport Description, RowPlan
from chopin._streams cimport Flow

# What a query's caller wants.
cdef enum:
    WANT_ROWS = 0                # the list of rows
    WANT_ROW = 1                 # the first row or None
    WANT_VALUE = 2               # one value of the first row or None
    WANT_STATUS = 3              # the command tag
    WANT_PORTION = 4             # rows of a portal, and whether there are more
    WANT_STREAM = 5              # rows as they come, by way of a Flow
    WANT_RESULT = 6              # the rows and the command tag: a Result


cdef class RowsOp(Op):
    cdef RowPlan plan
    cdef list rows               # None: they are dropped
    cdef object bad              # exception of a decoder: the result is lost
    cdef Py_ssize_t n_rows
    cdef readonly Flow flow      # where a stream's rows wait; None: it is none

    cdef int take_rows(self, ReadBuffer inp) except -1
    cdef int spoil(self, error) except -1


cdef class QueryOp(RowsOp):
    cdef readonly Statement statement
    cdef int want
    cdef int column
    cdef object answer           # the one row or value
    cdef readonly str status     # the command tag, where it is wanted
    cdef public bint keeps_status
    cdef bytes raw_parameters
    cdef Description sent        # what the plan was made for
    cdef bint parses             # a named statement: admitted when it is parsed

    cdef int learn(self, unsigned char kind) except -1
    cdef int described(
        self, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1
    cdef int replan(self) except -1


cdef class PrepareOp(Op):
    cdef str sql
    cdef bytes name
    cdef bint keep               # in the session's cache
    cdef bint parsed
    cdef bytes raw_parameters
    cdef bytes raw_columns


cdef int check_writable(Session session) except -1
cdef int ahead_written(Session session) except -1
cdef int bind(Session session, bytes portal, Statement statement, tuple args) except -1
cdef int put_bind(
    WriteBuffer out, bytes portal, Statement statement, tuple args, Py_ssize_t element
) except -1
cpdef bint may_fit(Session session, Statement statement, error) except -1
cdef int limit_for(Statement statement, int want) noexcept
cdef int finish_group(Session session, Op op, bytes program) except -1
cdef int put_describe(WriteBuffer out, bytes name) except -1
cdef str tag_of(const unsigned char *data, Py_ssize_t size)
cdef int put_parse(WriteBuffer out, bytes name, str sql, tuple oids) except -1
cdef object spoiled(error)
cdef int refuse_copy(Op op, unsigned char kind, bint has_sync=*) except -1
