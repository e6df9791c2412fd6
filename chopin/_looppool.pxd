# cython: language_level=3
"""The C types of what is in _looppool.py, which is the source of this module."""

cimport cython

from chopin._slots cimport Counts, Limits, Read, Slot, Ticket

cdef object IDLE, LENT, SINGLE, SHARED, SETTLING, CHECKING, GONE


@cython.final
cdef class LoopPool:
    cdef readonly Limits limits
    cdef readonly object host
    cdef public object loop
    cdef readonly object clock
    cdef readonly object random
    cdef readonly dict slots
    cdef readonly list idle
    cdef readonly dict shared
    cdef readonly dict settling
    cdef readonly object line
    cdef readonly object slow_line
    cdef readonly object reads_waiting
    cdef readonly tuple queues
    cdef readonly object reads
    cdef readonly Counts counts
    cdef public Py_ssize_t opening
    cdef public Py_ssize_t closing
    cdef public bint is_closing
    cdef public Py_ssize_t surplus
    cdef public object last_failure
    cdef double _last_fast
    cdef double _failing_since
    cdef double _failed
    cdef double _backoff
    cdef double _not_before
    cdef double _next_stagger
    cdef object _numbers

    cpdef Slot take(self, double now)
    cpdef Slot take_single(self, Read read, double now)

    @cython.locals(slot=Slot, after=double)
    cdef bint _must_check(self, double now) except -1

    @cython.locals(slot=Slot)
    cdef Slot _pop_idle(self)
    cdef _begin_single(self, Slot slot, Read read, double now)
    cdef bint _has_room_for_slow(self, double now) except -1

    @cython.locals(slot=Slot, best=Slot, limit=Py_ssize_t)
    cpdef Slot ride(self, double now)
    cdef bint _takes_riders(self, Slot slot, double now) except -1

    @cython.locals(submitted=Py_ssize_t)
    cdef bint _is_due(self, Slot slot, double now) except -1
    cpdef give_single(self, Slot slot, Read read, double began, double now)
    cdef _end_single(self, Slot slot, double now)
    cpdef give(self, Slot slot, double now)
    cdef _pass_on_unsettled(self, Slot slot, double now)

    @cython.locals(ticket=Ticket)
    cdef _place(self, Slot slot, double now)

    @cython.locals(best=Ticket)
    cdef Ticket _next_ticket(self, double now)
    cdef Py_ssize_t _kept(self, double now) except -1

    @cython.locals(ticket=Ticket, depth=Py_ssize_t)
    cdef _admit_riders(self, Slot slot, double now)
    cdef _hand_over(self, Ticket ticket, Slot slot, double now)
    cdef bint _remove(self, Slot slot) except -1
