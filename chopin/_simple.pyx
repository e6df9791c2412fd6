# cython: language_level=3, nonecheck=True
"""Simple queries: SQL as text, of one statement or of several.

Owns: `SimpleOp`, and how texts are sent: what rides ahead of them is in front of them.
Layer L3. Imports L0 - L3.

Rules
- The server parses a text as a whole before it runs any of it.
- Message layouts: PostgreSQL documentation, "Message Formats", "Simple Query".
"""

from cpython.bytes cimport PyBytes_AS_STRING

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._ops cimport RowsOp, check_writable, refuse_copy, tag_of
from chopin._protocol cimport Op, Session
from chopin._wire cimport (
    MSG_COMMAND_COMPLETE,
    MSG_EMPTY_QUERY_RESPONSE,
    MSG_ROW_DESCRIPTION,
    OUT_QUERY,
    TXN_BLOCK,
)

from chopin._ops import check_timeout, start_sync
from chopin.exceptions import ProtocolError


cdef class SimpleOp(RowsOp):
    """A Query message: one or more statements as text; answers with the last tag."""

    cdef int on_rows(self, ReadBuffer inp) except -1:
        if self.error is not None:
            raise ProtocolError("DataRow where none was expected")
        return self.take_rows(inp)

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if self.error is not None:
            return refuse_copy(self, kind, False)
        if kind == MSG_COMMAND_COMPLETE:
            self.session.on_tag(data, size)
            self.completed = True
            self.status = tag_of(data, size)
        elif kind == MSG_EMPTY_QUERY_RESPONSE:
            self.status = ""
        elif kind != MSG_ROW_DESCRIPTION:
            return refuse_copy(self, kind, False)
        return 0

    cdef int on_error(self, object error) except -1:
        shift_position(error, self.prefix)
        return Op.on_error(self, error)

    cdef int on_ready(self) except -1:
        if self.error is None:
            self.resolve(self.status or "")
        return Op.on_ready(self)


def start_script(Session session, query, timeout):
    """Send SQL as text; None when that cannot be done now."""
    cdef Op op
    if session.gate.blocked or session.gate.line:
        session.check_open()
        return None
    if type(query) is not str:
        return None
    if timeout is not None:
        timeout = check_timeout(timeout)
    op = start_simple(session, query)
    if timeout is not None:
        session.set_deadline(op, session.clock() + <double>timeout)
    return op


def start_simple(Session session, str sql):
    """Send a Query message; what waits to ride goes in front of its text."""
    cdef SimpleOp op = SimpleOp.__new__(SimpleOp)
    op.prefix = put_query(session, op, sql)
    session.submit(op)
    return op


cdef int put_query(Session session, Op op, str sql) except -1:
    """Write a Query message for `op`; returns how many characters ride in front.

    The server runs nothing of a text that it cannot parse. BEGIN then rides again, but
    without its SAVEPOINT the block around would be lost, so that goes by itself. Where
    the session may be in no transaction by then, it does not: its failure must skip
    the text, which would run outside of any.
    """
    cdef WriteBuffer out = session.out
    cdef Py_ssize_t mark
    cdef str prefix
    check_writable(session)
    for which in session.closes:
        if which.startswith(b"P"):      # what the text may be about to alter
            start_sync(session)
            break
    if session.riders and session.txn == TXN_BLOCK and session.head is None:
        for rider in session.riders:
            if rider.startswith("SAVEPOINT"):
                start_sync(session)
                break
    mark = out.length
    prefix = "".join([rider + "; " for rider in session.riders])
    try:
        out.begin_message(OUT_QUERY)
        out.put_cstring(prefix + sql, "the query")
        out.end_message()
    except BaseException:
        out.length = out.message = mark
        raise
    op.loop = session.loop
    if session.riders:
        op.riders = tuple(session.riders)
        session.riders.clear()
    op.program = b"~"
    op.step = PyBytes_AS_STRING(op.program)
    session.note(op, sql, None)
    return <int>len(prefix)


cdef int shift_position(error, int prefix) except -1:
    """Let the position of an error be in the user's text, without what rides."""
    position = getattr(error, "position", None)
    if prefix and position and position.isdigit():
        error.position = str(max(int(position) - prefix, 1))
    return 0
