# cython: language_level=3, nonecheck=True
"""When a session may send, and who is next.

Owns: `Gate`: what blocks a session, the calls that wait for that to pass, and the line
in which they stand. `Flights`: what goes together behind a pooler.
Layer L1. Imports L0 and `Waiter` beside it.

Rules
- `blocked`: a cancelled operation has not ended yet, a cancel request is under way (it
  could hit whatever is sent now), a BEGIN has not been answered yet (if it fails, what
  is sent now would run outside of the block), a group is being written in parts,
  arguments are being encoded (which may run code of the user's), the peer does not
  read, a stream is open, or the session is not open.
- Calls are sent in the order in which they were made. One that can be sent at once,
  with nobody in line, passes without a word here; every other stands in line until its
  last message group is sent.
- A stream (COPY, the rows of a query one by one) goes on only as its user does. Who
  waited for its end could be the user's own task: everybody else gets an error.
- Session says what happens by the fields, and calls `update` behind it.
"""

from libc.stdint cimport uint64_t

from chopin._waiter cimport Waiter

import collections

from chopin.exceptions import InterfaceError

# What surely arrives in one piece: a packet of Ethernet, less what TLS and TCP add.
cdef Py_ssize_t PIECE = 1300


cdef class Flights:
    """What waits to be written behind a pooler, one piece at a time.

    PgBouncer before 1.21 gives a server to the next client when ReadyForQuery comes
    while it knows of no other Sync. What it has passed on of a group by then stays on
    that server: its answers go to somebody else, and its rest to another server. So a
    piece is written when the one before has been answered: operations that are small
    enough to arrive together, or a single one.
    """

    def __cinit__(self):
        self.pieces = collections.deque()

    cdef int add(self, bytes data, uint64_t number) except -1:
        """An operation is to be written."""
        cdef bytes before
        if self.pieces:
            before = self.pieces[-1][0]
            if len(before) + len(data) <= PIECE:
                self.pieces[-1] = before + data, number
                return 0
        self.pieces.append((data, number))
        return 0


cdef class Gate:
    """What a session's calls pass on their way out."""

    def __init__(self, loop):
        self.loop = loop
        self.blocked = True
        self.line = collections.deque()
        self.unblock_waiters = []
        self.writable_waiters = []

    cdef int update(self) except -1:
        """A field has changed: see who need not wait any longer."""
        cdef list waiters
        self.blocked = (
            self.abandoned > 0 or self.cancelling > 0 or self.paused or self.held
            or self.encoding or self.unconfirmed or self.stream is not None
            or not self.open
        )
        if self.writable_waiters and (not self.paused or self.ended):
            waiters, self.writable_waiters = self.writable_waiters, []
            resolve_all(waiters)
        if self.unblock_waiters and (
            self.stream is not None or not self.keeps_waiting
        ):
            waiters, self.unblock_waiters = self.unblock_waiters, []
            resolve_all(waiters)
        return 0

    cdef int occupy(self, object stream) except -1:
        """A stream begins: nobody else may use the session."""
        self.stream = stream
        return self.update()

    cdef int vacate(self, object stream) except -1:
        """The stream has ended, or its user has gone."""
        if self.stream is stream:
            self.stream = None
            self.update()
            if self.after_stream is not None:
                self.after_stream()
        return 0

    cdef int encode(self, bint begins) except -1:
        """Arguments are about to be encoded, which may run any code, or have been.

        What that code asks of the session in between has to wait.
        """
        self.encoding = begins
        if begins:
            self.blocked = True  # which nobody has waited for
            return 0
        return self.update()

    def free(self):
        """Whatever stream is open, its user has gone."""
        self.vacate(self.stream)

    def ensure_free(self):
        """InterfaceError while a stream is open."""
        if self.stream is not None:
            raise InterfaceError(
                "cannot use the connection while a COPY or a stream is open on it",
                hint="Leave its block first (`async with`, or aclose()), use another "
                "connection, or read with cursor(), which allows other calls.",
            )

    @property
    def is_draining(self):
        """Whether a cancelled operation or a cancel request has not ended yet."""
        return not self.ended and (self.abandoned > 0 or self.cancelling > 0)

    @property
    def keeps_waiting(self):
        """Whether there is anything to wait for; not in a session that is ending."""
        return self.blocked and (self.open or self.is_draining)

    def wait_unblocked(self):
        """An awaitable that ends when `blocked` may be false by now, or on the end."""
        cdef Waiter waiter = Waiter(self.loop)
        if self.keeps_waiting and self.stream is None:
            self.unblock_waiters.append(waiter)
        else:
            waiter.resolve(None)
        return waiter

    def wait_writable(self):
        """An awaitable that ends when the transport has room, or on the end."""
        cdef Waiter waiter = Waiter(self.loop)
        if self.paused and not self.ended:
            self.writable_waiters.append(waiter)
        else:
            waiter.resolve(None)
        return waiter

    def join(self):
        """Stand in line: an awaitable that ends when everybody before has left."""
        cdef Waiter ticket = Waiter(self.loop)
        self.line.append(ticket)
        if len(self.line) == 1:
            ticket.resolve(None)
        return ticket

    def enter(self):
        """The call whose ticket was resolved goes on."""
        self.handing_over = False

    def leave(self, Waiter ticket):
        """Let the next one have its turn."""
        cdef bint is_first = self.line[0] is ticket
        self.line.remove(ticket)
        if is_first:
            self.handing_over = bool(self.line)
            if self.handing_over:
                (<Waiter>self.line[0]).resolve(None)


cdef int resolve_all(list waiters) except -1:
    for waiter in waiters:
        (<Waiter>waiter).resolve(None)
    return 0
