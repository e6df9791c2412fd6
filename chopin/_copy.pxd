# cython: language_level=3
"""The operations of COPY. See _copy.pyx."""

from chopin._buffers cimport WriteBuffer
from chopin._ops cimport RowsOp
from chopin._protocol cimport Op, Statement
from chopin._waiter cimport Waiter


cdef class CopyOutOp(RowsOp):
    cdef int stage
    cdef Statement asked         # was described with these columns; None: no matter
    cdef bint is_moved           # they are of the same types, but elsewhere
    cdef str status
    cdef WriteBuffer chunk

    cdef int respond(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int complete(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int take_data(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int take_row(self, const unsigned char *data, Py_ssize_t size) except -1


cdef class CopyInOp(Op):
    cdef int stage
    cdef Statement asked
    cdef Statement prepared              # the COPY itself; None: the unnamed statement
    cdef bint is_moved
    cdef readonly bint is_sure           # data may be sent before there is an answer
    cdef list rows                       # so far, while another try is possible
    cdef object doubtful                 # one that the columns of then do not take
    cdef str status
    cdef readonly Statement statement    # whose parameters are the columns; or None
    cdef tuple codecs                    # of the columns; None: bytes as they are
    cdef object text_of                  # (codec, value) -> bytes of COPY's text form
    cdef WriteBuffer data                # what is not sent yet: one CopyData message
    cdef bint in_row                     # values of a row are being encoded
    cdef readonly bint ended             # CopyDone or CopyFail is sent, or of no use
    cdef Waiter waiter
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t size        # bytes of data that were sent

    cdef int respond(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int complete(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int open_message(self) except -1
    cdef int add_row(self, row, bint may_change) except -1
    cdef int encode_row(self, tuple row) except -1
    cdef int put_values(self, tuple row) except -1
    cdef int put_text(self, tuple row, int *column) except -1
    cdef int change(self) except -1
    cdef int look(self) except -1
    cdef int send(self) except -1
    cdef int end(self) except -1
