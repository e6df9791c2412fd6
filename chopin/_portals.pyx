# cython: language_level=3, nonecheck=True
"""Portals: the rows of a statement in portions.

Owns: `PortalOp`, and the functions that bind a portal and ask for its rows.
Layer L3. Imports L0 - L3.

Rules
- A portal lasts as long as its transaction; who binds it sees that there is one.
- Message layouts: PostgreSQL documentation, "Message Formats".
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t

from chopin._buffers cimport WriteBuffer
from chopin._ops cimport WANT_PORTION, QueryOp, finish_group, put_bind, tag_of
from chopin._protocol cimport STEP_ROWS, Op, Session, Statement
from chopin._wire cimport MSG_COMMAND_COMPLETE, MSG_PORTAL_SUSPENDED, OUT_EXECUTE


cdef class PortalOp(QueryOp):
    """Some rows of a portal; answers (rows, whether these were the last)."""

    cdef bint exhausted

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step == STEP_ROWS:
            self.exhausted = kind != MSG_PORTAL_SUSPENDED
            if kind == MSG_COMMAND_COMPLETE:
                self.status = tag_of(data, size)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and self.bad is None:
            self.answer = (self.rows, self.exhausted)
        return QueryOp.on_ready(self)


def start_bind(Session session, Statement statement, bytes portal, tuple args):
    """Send Bind of a portal, and Sync; its rows are asked for later."""
    cdef WriteBuffer out = session.out
    cdef Op op = Op.__new__(Op)
    cdef Py_ssize_t mark = out.length
    cdef bytes program
    check_bindable(session, statement, args)
    try:
        program = session.put_ahead(op)
        put_bind(out, portal, statement, args, -1)
    except BaseException:
        out.length = out.message = mark
        raise
    session.note(op, statement.sql, statement.leaves_state)
    finish_group(session, op, program + b"2")
    return op


def start_portal(
    Session session, Statement statement, bytes portal, args, Py_ssize_t limit,
    shape,
):
    """Send Execute of a portal for `limit` rows (0: all), its Bind first.

    Args:
        args: the arguments, or None when the portal is bound already.
    """
    cdef WriteBuffer out = session.out
    cdef PortalOp op = PortalOp.__new__(PortalOp)
    cdef Py_ssize_t mark = out.length
    cdef bytes program
    check_bindable(session, statement, args)
    op.statement = statement
    op.plan = statement.plan_for(session, shape)
    op.want = WANT_PORTION
    op.rows = []
    try:
        program = session.put_ahead(op)
        if args is not None:
            put_bind(out, portal, statement, <tuple>args, -1)
            program += b"2"
        out.begin_message(OUT_EXECUTE)
        out.put_raw(PyBytes_AS_STRING(portal), len(portal) + 1)
        out.put_int32(<int32_t>limit)
        out.end_message()
    except BaseException:
        out.length = out.message = mark
        raise
    session.note(op, statement.sql, statement.leaves_state)
    finish_group(session, op, program + b"*")
    return op


cdef int check_bindable(Session session, Statement statement, args) except -1:
    """The session is open, the plan is up to date, the number of arguments is right."""
    session.check_open()
    if args is not None:
        if statement.codec_version != session.codecs.current_version():
            statement.plan(session)
        statement.params.check_count(len(args))
    return 0
