# cython: language_level=3
"""When a session may send. See _gate.pyx."""

from libc.stdint cimport uint64_t

from chopin._waiter cimport Waiter


cdef class Flights:
    cdef object pieces           # deque of (bytes, number of the last operation)

    cdef int add(self, bytes data, uint64_t number) except -1


cdef class Gate:
    cdef object loop
    cdef readonly bint blocked
    cdef bint open               # the session takes operations at all
    cdef bint ended              # and never will again
    cdef int abandoned           # operations that were cancelled and have not ended
    cdef int cancelling          # cancel requests under way
    cdef bint paused             # the transport's buffer is full
    cdef bint unconfirmed        # a BEGIN is on its way: what follows must be inside
    cdef bint held               # by a group that is still being written
    cdef bint encoding           # a message is half written: code of the user's runs
    cdef readonly object stream  # an operation that its user feeds or takes from
    cdef readonly object line    # deque of tickets: calls that are not sent yet
    cdef public object after_stream  # called when a stream has ended, or None
    cdef bint handing_over       # the next in line has its turn and has not run yet
    cdef list unblock_waiters
    cdef list writable_waiters

    cdef int update(self) except -1
    cdef int occupy(self, object stream) except -1
    cdef int vacate(self, object stream) except -1
    cdef int encode(self, bint begins) except -1
