# cython: language_level=3
"""What streams have in common. See _streams.pyx."""

from chopin._protocol cimport Session
from chopin._waiter cimport Waiter


cdef class Flow:
    cdef Session session
    cdef list items              # what has come and was not taken yet
    cdef Py_ssize_t waiting      # its size on the wire
    cdef readonly Py_ssize_t size    # of all that has come
    cdef bint stopped            # the transport reads no more
    cdef bint ended              # nobody will take anything
    cdef Waiter waiter

    cdef int begin(self, Session session, object op) except -1
    cdef int arrived(self, Py_ssize_t size) except -1
    cdef int wake(self) except -1
    cdef int end(self, object op, bint is_done) except -1


cdef class ItemIterator:
    cdef list items              # the next one is the last of them
    cdef object refill
    cdef object dropped
    cdef object carrier          # a StopIteration, for all items
