# cython: language_level=3, nonecheck=True
"""What streams have in common: data that comes faster than it is used.

Owns: `Flow`, where rows or chunks pile up until somebody takes them, `ItemIterator`,
the `async for` over what was taken, and `NOTHING`, which is awaited where there is
nothing to wait for.
Layer L3. Imports L0, L1 and `Session`.

Rules
- Past `LIMIT` bytes the transport is asked to stop reading, so that the server has to
  stop as well. Whoever takes what is there takes all of it, and reading goes on.
- Nobody else uses the session until the reader has seen the end, though the server may
  be done long before: else a loop that calls something else would fail with many rows
  and work with few.
- An item of a portion costs no coroutine: `ItemIterator` is an awaitable that has its
  value already.
"""

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF

from chopin._protocol cimport Session
from chopin._waiter cimport Waiter

from chopin.exceptions import InterfaceError

cdef Py_ssize_t LIMIT = 256 * 1024   # bytes that may wait to be taken

cdef extern from *:
    """
    /* An awaitable whose value is there, without the StopIteration that carries it
       otherwise: up to 3.11 `async for` asks am_send before tp_iternext. */
    static PyObject *(*chopin_next_item)(PyObject *);

    static PySendResult
    chopin_send(PyObject *self, PyObject *Py_UNUSED(value), PyObject **result)
    {
        *result = chopin_next_item(self);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }

    static int
    chopin_install_send(PyTypeObject *type, PyObject *(*next_item)(PyObject *))
    {
        chopin_next_item = next_item;
        type->tp_as_async->am_send = chopin_send;
        PyType_Modified(type);
        return 0;
    }

    /* Set StopIteration with a value. From 3.12 on `async for` asks tp_iternext alone,
       and the exception is half of what an item costs: the same one carries them all,
       unless somebody has kept it. */
    static int
    chopin_carry(PyObject *carrier, PyObject *value)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        PyStopIterationObject *stop = (PyStopIterationObject *)carrier;
        if (Py_REFCNT(stop) == 1 && stop->traceback == NULL && stop->context == NULL) {
            Py_XSETREF(stop->value, Py_NewRef(value));
            PyErr_SetRaisedException(Py_NewRef(carrier));
            return 0;
        }
    #endif
        PyObject *other = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (other == NULL)
            return -1;
        PyErr_SetObject(PyExc_StopIteration, other);
        Py_DECREF(other);
        return 0;
    }
    """
    int chopin_carry(PyObject *carrier, object value) except -1
    int chopin_install_send(
        PyTypeObject *type, PyObject *(*next_item)(PyObject *) except NULL
    ) except -1


cdef class Flow:
    """What has come of a stream and was not taken yet."""

    def __cinit__(self):
        self.items = []

    cdef int begin(self, Session session, object op) except -1:
        """The operation was sent: the session is its own until `end`."""
        self.session = session
        return session.gate.occupy(op)

    cdef int arrived(self, Py_ssize_t size) except -1:
        """`items` has more, which took `size` bytes on the wire."""
        self.size += size
        self.waiting += size
        if self.waiting >= LIMIT and not (self.stopped or self.ended):
            self.stopped = True
            self.session._on_flow(False)
        return self.wake()

    cdef int wake(self) except -1:
        """Whoever waits is to look."""
        cdef Waiter waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.resolve(None)
        return 0

    cdef int end(self, object op, bint is_done) except -1:
        """The operation is done or is given up; what came before may be taken."""
        self.ended = True
        if self.session is not None:
            if self.stopped:
                self.stopped = False
                self.session._on_flow(True)
            if not is_done:
                self.session.gate.vacate(op)
        return self.wake()

    def take(self):
        """All that has come since the last call; an empty list if nothing has."""
        items = self.items
        self.items = []
        self.waiting = 0
        if self.stopped:
            self.stopped = False
            self.session._on_flow(True)
        return items

    def wait(self):
        """An awaitable that ends when there is something, or nothing will come."""
        cdef Waiter waiter = Waiter(self.session.loop)
        if self.items or self.ended:
            waiter.resolve(None)
        else:
            self.waiter = waiter
        return waiter


cdef class Nothing:
    """An awaitable that is done, with None: what need not wait returns it."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


NOTHING = Nothing()


cdef class ItemIterator:
    """`async for` over what comes in portions.

    Args:
        refill: a coroutine function that returns the next portion, a list that is not
            empty and that nobody else uses, or raises StopAsyncIteration.
        dropped: called when the iterator goes away.
        items: holds the rest of a portion, the next one last; shared by the iterators
            of a stream, so that what one of them has left is there for the next.
    """

    def __init__(self, refill, dropped, list items=None):
        self.items = [] if items is None else items
        self.refill = refill
        self.dropped = dropped
        self.carrier = StopIteration()

    def __del__(self):
        if self.dropped is not None:
            self.dropped()

    def __aiter__(self):
        return self

    def __anext__(self):
        if self.items:
            return self
        return self._next_portion()

    async def _next_portion(self):
        items = await self.refill()
        items.reverse()
        self.items.extend(items)
        return self.items.pop()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        chopin_carry(<PyObject *>self.carrier, pop_item(self))
        raise StopIteration  # the one that is set; Cython returns NULL


cdef object pop_item(ItemIterator iterator):
    if not iterator.items:
        raise InterfaceError("another task has taken the item: read in one task")
    return iterator.items.pop()


cdef PyObject *next_item(PyObject *iterator) except NULL:
    item = pop_item(<ItemIterator>iterator)
    Py_INCREF(item)
    return <PyObject *>item


chopin_install_send(<PyTypeObject *>ItemIterator, next_item)
