# cython: language_level=3
"""What a coroutine awaits until its reply has come. See _waiter.pyx."""

cdef enum:
    WAITING = 0
    RESOLVED = 1
    FAILED = 2
    CANCELLED = 3


cdef class Waiter:
    cdef public bint _asyncio_future_blocking
    cdef object loop             # only for get_loop() and for waking from outside
    cdef int outcome
    cdef object value            # the result, or the exception
    cdef object callback         # the awaiting task's wake-up
    cdef object context

    cdef int resolve(self, object value) except -1
    cdef int fail(self, object error) except -1
    cdef int settle(self) except -1
    cdef int wake(self) except -1
