# cython: language_level=3, nonecheck=True
"""What a coroutine awaits until its reply has come.

Owns: `Waiter`, the part of asyncio's Future protocol that a Task needs, and nothing of
asyncio itself.
Layer L1. Imports nothing of ours.

Why not `loop.create_future()`: a Future wakes its task through `call_soon`, which costs
a turn of the loop (a `select` with no time-out, and its Python frames on asyncio) for
every reply. A Waiter is woken by whoever resolved it, once the read that brought the
reply has been taken in completely; what the tasks send next leaves in the same turn, in
one write. On SELECT 1 in a row that is 2 us a reply, 3 - 5 % of the client's CPU (see
docs/design.md).

Rules
- One task awaits a waiter, once. Users never see one: they await a coroutine around it.
- `resolve`, `fail` and `cancel` settle it; the first of them wins, later ones do
  nothing.
- `settle` decides when the task is woken. Here: at once through the loop's `call_soon`.
  An operation puts itself on its session's list instead, which is worked off at the end
  of the read. In no case is a task woken from inside of its own `await`.
"""

from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit

cdef extern from *:
    """
    /* Set StopIteration with a value. A `raise` would make a traceback for it, which
       takes longer than all else that happens here. What is a tuple or an exception,
       as every row is, must be wrapped, or it is taken for the arguments. */
    static void chopin_stop_with(PyObject *value)
    {
        PyObject *stop;
        if (!PyTuple_Check(value) && !PyExceptionInstance_Check(value)) {
            PyErr_SetObject(PyExc_StopIteration, value);
            return;
        }
        stop = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    }
    """
    void stop_with "chopin_stop_with"(object value)

cdef object cancelled_error = KeyboardInterrupt


def use_cancelled_error(error):
    """Say what `cancel` raises in the waiting task: asyncio's CancelledError.

    Handed in by the asyncio layer when it is imported; this layer knows no event loop.
    """
    global cancelled_error
    cancelled_error = error


cdef class Waiter:
    """An awaitable that is resolved, failed or cancelled once."""

    def __init__(self, loop):
        self.loop = loop

    # -- the side that knows the answer ------------------------------------------------

    cdef int resolve(self, object value) except -1:
        if self.outcome == WAITING:
            self.outcome = RESOLVED
            self.value = value
            self.settle()
        return 0

    cdef int fail(self, object error) except -1:
        if self.outcome == WAITING:
            self.outcome = FAILED
            self.value = error
            self.settle()
        return 0

    cdef int settle(self) except -1:
        """The outcome is there: see that the task learns of it."""
        if self.callback is not None:
            self.loop.call_soon(self.callback, self, context=self.context)
            self.callback = self.context = None
        return 0

    cdef int wake(self) except -1:
        """Run the task's wake-up in its context; only from a callback of the loop."""
        cdef object callback = self.callback
        cdef object context = self.context
        if callback is None:
            return 0
        self.callback = self.context = None
        try:
            PyContext_Enter(context)
        except RuntimeError:
            # a loop that reads inside of the task's own context: the ordinary way then
            self.loop.call_soon(callback, self, context=context)
            return 0
        try:
            callback(self)
        finally:
            PyContext_Exit(context)
        return 0

    def set_result(self, value):
        """Resolve from Python."""
        self.resolve(value)

    def set_result_now(self, value):
        """Resolve, and run the waiting task; only from a callback of the loop."""
        if self.outcome == WAITING:
            self.outcome = RESOLVED
            self.value = value
            self.wake()

    def set_exception(self, error):
        """Fail from Python."""
        self.fail(error)

    # -- the side that waits: what asyncio.Task asks of a future -----------------------

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.outcome == WAITING:
            self._asyncio_future_blocking = True
            return self
        if self.outcome == RESOLVED:
            stop_with(self.value)
            raise StopIteration  # the one that is set; Cython returns NULL
        return self.result()

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        if context is None:
            context = PyContext_CopyCurrent()
        if self.outcome != WAITING:
            self.loop.call_soon(callback, self, context=context)
            return
        if self.callback is not None:
            raise RuntimeError("one task awaits a waiter")
        self.callback = callback
        self.context = context

    def remove_done_callback(self, callback):
        if self.callback is None or self.callback != callback:
            return 0
        self.callback = self.context = None
        return 1

    def cancel(self, msg=None):
        """Give up waiting; False when the outcome is there already."""
        if self.outcome != WAITING:
            return False
        self.outcome = CANCELLED
        self.value = cancelled_error() if msg is None else cancelled_error(msg)
        self.settle()
        return True

    def done(self):
        return self.outcome != WAITING

    def cancelled(self):
        return self.outcome == CANCELLED

    def result(self):
        if self.outcome == WAITING:
            raise RuntimeError("the reply has not come yet")
        if self.outcome == RESOLVED:
            return self.value
        if self.value is None:
            raise RuntimeError("the error was raised already")
        # given away: error -> traceback -> awaiting frame -> self would be a cycle
        error, self.value = self.value, None
        raise error

    def exception(self):
        if self.outcome == WAITING:
            raise RuntimeError("the reply has not come yet")
        return self.value if self.outcome == FAILED else None
