# cython: language_level=3, nonecheck=True
"""Portals: the rows of a statement in portions.

Owns: `PortalOp`, and the functions that bind a portal and ask for its rows.
Layer L3. Imports L0 - L3.

Rules
- A portal lasts as long as its transaction; who binds it sees that there is one.
- Its rows come in the formats of its Bind: the plan that Bind was written by goes on to
  all that asks for rows, whatever becomes of the statement's codecs meanwhile.
- Message layouts: PostgreSQL documentation, "Message Formats".
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t

from chopin._buffers cimport WriteBuffer
from chopin._ops cimport (
    WANT_PORTION,
    QueryOp,
    bind,
    check_writable,
    finish_group,
    tag_of,
)
from chopin._protocol cimport STEP_ROWS, Session, Statement
from chopin._rows cimport RowPlan
from chopin._wire cimport MSG_COMMAND_COMPLETE, MSG_PORTAL_SUSPENDED, OUT_EXECUTE


cdef class PortalOp(QueryOp):
    """Some rows of a portal; answers (rows, whether these were the last)."""

    cdef bint exhausted

    @property
    def row_plan(self):
        """How the rows of the portal come."""
        return self.plan

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step == STEP_ROWS:
            self.exhausted = kind != MSG_PORTAL_SUSPENDED
            if kind == MSG_COMMAND_COMPLETE:
                self.status = tag_of(data, size)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and self.bad is None and self.rows is not None:
            self.answer = (self.rows, self.exhausted)
        return QueryOp.on_ready(self)


def start_bind(
    Session session, Statement statement, bytes portal, tuple args, shape
):
    """Send Bind of a portal, and Sync; its rows are asked for later."""
    cdef WriteBuffer out = session.out
    cdef PortalOp op = PortalOp.__new__(PortalOp)
    cdef Py_ssize_t mark = out.length
    cdef bytes program
    check_bindable(session, statement, args)
    op.statement = statement
    op.plan = statement.plan_for(session, shape)
    op.want = WANT_PORTION
    try:
        program = session.put_ahead(op)
        bind(session, portal, statement, args)
    except BaseException:
        out.length = out.message = mark
        raise
    session.note(op, statement.sql, statement)
    finish_group(session, op, program + b"2")
    return op


def start_portal(
    Session session, Statement statement, bytes portal, args, Py_ssize_t limit,
    shape, RowPlan plan,
):
    """Send Execute of a portal for `limit` rows (0: all), its Bind first.

    Args:
        args: the arguments, or None when the portal is bound already.
        plan: the `row_plan` of what has bound it, None when nothing has.
    """
    cdef WriteBuffer out = session.out
    cdef PortalOp op = PortalOp.__new__(PortalOp)
    cdef Py_ssize_t mark = out.length
    cdef bytes program
    check_bindable(session, statement, args)
    op.statement = statement
    op.plan = statement.plan_for(session, shape) if plan is None else plan
    op.want = WANT_PORTION
    op.rows = []
    try:
        program = session.put_ahead(op)
        if args is not None:
            bind(session, portal, statement, <tuple>args)
            program += b"2"
        out.begin_message(OUT_EXECUTE)
        out.put_raw(PyBytes_AS_STRING(portal), len(portal) + 1)
        out.put_int32(<int32_t>limit)
        out.end_message()
    except BaseException:
        out.length = out.message = mark
        raise
    session.note(op, statement.sql, statement)
    finish_group(session, op, program + b"*")
    return op


cdef int check_bindable(Session session, Statement statement, args) except -1:
    """The session is open, the plan is up to date, the number of arguments is right."""
    check_writable(session)
    if args is not None:
        if statement.codec_version != session.codecs.current_version():
            statement.plan(session)
        statement.params.check_count(len(args))
    return 0
