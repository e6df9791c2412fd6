# cython: language_level=3
"""The C types of what is in _slots.py, which is the source of this module."""

cimport cython

from chopin._waiter cimport Waiter

cdef double _UNKNOWN


@cython.final
cdef class Read:
    cdef public bint is_fast
    cdef public bint is_read
    cdef public bint is_slow
    cdef public double mean

    @cython.locals(fast=double, slow=double)
    cpdef took(self, double seconds)


@cython.final
cdef class Slot:
    cdef object __weakref__
    cdef public double checked
    cdef public object connection
    cdef public double expires
    cdef public double idle_since
    cdef public bint is_for_others
    cdef public bint is_slow
    cdef public bint is_stale
    cdef public object lease
    cdef public bint may_pass
    cdef public double opened
    cdef public object session
    cdef public double since
    cdef public Py_ssize_t singles
    cdef public object state


@cython.final
cdef class Ticket(Waiter):
    cdef public double deadline
    cdef public Py_ssize_t number
    cdef public object queue
    cdef public Read read
    cdef public double since
    cdef public Slot slot
    cdef public object task


@cython.final
cdef class Counts:
    cdef public Py_ssize_t acquired
    cdef public Py_ssize_t closed
    cdef public Py_ssize_t connect_failures
    cdef public Py_ssize_t leaks
    cdef public Py_ssize_t opened
    cdef public Py_ssize_t resets
    cdef public Py_ssize_t rides
    cdef public Py_ssize_t timeouts
    cdef public Py_ssize_t validations_failed
    cdef public double waited
    cdef public Py_ssize_t waits


@cython.final
cdef class Limits:
    cdef public double check_after
    cdef public Py_ssize_t depth
    cdef public double idle_timeout
    cdef public double max_lifetime
    cdef public double max_queries
    cdef public Py_ssize_t max_size
    cdef public Py_ssize_t min_size
    cdef public Py_ssize_t openers
    cdef public double retry_connect
