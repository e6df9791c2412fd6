# cython: language_level=3, nonecheck=True
"""Execute-many: one statement, many rows of arguments, all or nothing.

Owns: `ManyOp` and how its group is written in parts.
Layer L3. Imports L0 - L3.

Rules
- The group is one: Bind and Execute for each row, one Sync. It is an implicit
  transaction.
- It is encoded and written in parts of 64 KiB; the session is held in between, so that
  nothing of another operation gets into the group.
- Nothing is sent until the first part is encoded, so that a small group with an
  argument that does not fit leaves no trace. Later, the group is made to fail on the
  server.
- What the server says is counted: as many rows must have been executed as were sent.
"""

from cpython.bytes cimport PyBytes_AS_STRING

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._ops cimport RowsOp, put_bind, put_parse, refuse_copy
from chopin._protocol cimport STEP_ANY, Op, Session, Statement
from chopin._rows cimport argument_error
from chopin._waiter cimport WAITING
from chopin._wire cimport (
    MSG_BIND_COMPLETE,
    MSG_COMMAND_COMPLETE,
    MSG_EMPTY_QUERY_RESPONSE,
)

from chopin.exceptions import ProtocolError

cdef Py_ssize_t CHUNK = 64 * 1024    # written at once

# Execute of the unnamed portal without a limit, and Sync.
cdef bytes EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"
cdef bytes SYNC = b"S\0\0\0\x04"

# Makes the rest of a group fail, so that nothing of it takes effect.
cdef str GIVE_UP = (
    "chopin: the caller has given up, nothing of this group may take effect"
)


cdef class ManyOp(RowsOp):
    """Bind and Execute for each row of arguments, one Sync: all or nothing.

    The session is held from `start_many` to `finish` or `give_up`, so that nothing of
    another operation gets into the group.
    """

    cdef int on_rows(self, ReadBuffer inp) except -1:
        if self.error is not None or self.n_bound == self.n_done:
            raise ProtocolError("DataRow where none was expected")
        return self.take_rows(inp)

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step != STEP_ANY:
            return 0
        if self.error is None and kind == MSG_BIND_COMPLETE:
            self.n_bound += 1
        elif self.error is None and (
            kind == MSG_COMMAND_COMPLETE or kind == MSG_EMPTY_QUERY_RESPONSE
        ):
            self.n_done += 1
        elif self.n_bound > self.n_done:
            return refuse_copy(self, kind)
        if self.n_bound > self.element or not 0 <= self.n_bound - self.n_done <= 1:
            raise ProtocolError("the replies of an execute-many group are out of turn")
        if self.error is not None or kind not in b"2CI":
            raise ProtocolError(f"unexpected message {chr(kind)!r} in execute-many")
        return 0

    cdef int on_ready(self) except -1:
        if not self.ended:
            raise ProtocolError("ReadyForQuery before the end of an execute-many group")
        if self.error is None and self.n_done != self.element:
            raise ProtocolError(
                f"{self.element} rows of arguments were sent and {self.n_done} executed"
            )
        if self.error is None:
            self.error = self.bad
        if self.error is None:
            self.resolve(self.rows)
        return Op.on_ready(self)

    def feed(self, rows):
        """Encode and write rows of arguments from the iterator, about 64 KiB.

        Returns whether there may be more to come; the last part is written by `finish`,
        with Sync. Raises what encoding or the iterator raises; then `give_up` is due.
        """
        cdef Session session = self.session
        cdef WriteBuffer out
        cdef Statement statement = self.statement
        cdef Py_ssize_t begin
        cdef bint more = False
        if session is None or self.error is not None or self.outcome != WAITING:
            return False
        out = session.out
        begin = out.length
        try:
            if not self.sent:
                self.begin_group()
            for row in rows:
                if type(row) is not tuple:
                    row = row_of_arguments(row, self.element)
                statement.params.check_count(len(row))
                put_bind(out, b"", statement, <tuple>row, self.element)
                out.put_raw(PyBytes_AS_STRING(EXECUTE), 10)
                self.element += 1
                if out.length - begin >= CHUNK:
                    more = True
                    break
        except BaseException:
            out.length = out.message = begin
            raise
        if not self.sent:
            self.sent = True
            session.closes.clear()
            session.riders.clear()
            session.note(self, statement.sql, statement.leaves_state)
            session.hold(self)
        if more:
            session.flush()
        return more

    cdef int begin_group(self) except -1:
        """What goes ahead of the first row: riders, Parse of an unnamed statement."""
        cdef Statement statement = self.statement
        cdef bytes program = self.session.put_ahead(self)
        if not statement.name:
            put_parse(self.session.out, b"", statement.sql,
                      statement.description.parameter_oids)
            program += b"P"
        self.program = program + b"~"
        self.step = PyBytes_AS_STRING(self.program)
        return 0

    def finish(self):
        """Write Sync; the answer comes once everything is executed.

        When the operation has ended already, nothing of the group takes effect.
        """
        if self.outcome != WAITING:
            self.give_up()
        else:
            self._end()

    def give_up(self):
        """Make the whole group fail on the server, whatever of it was sent."""
        if self.sent and not self.ended and self.session is not None:
            put_parse(self.session.out, b"", GIVE_UP, ())
            self._end()
            self.abandon()

    def _end(self):
        cdef Session session = self.session
        if self.ended or session is None:
            return
        self.ended = True
        session.out.put_raw(PyBytes_AS_STRING(SYNC), 5)
        session.release()


cdef tuple row_of_arguments(row, Py_ssize_t element):
    if isinstance(row, (str, bytes, dict)) or not hasattr(row, "__iter__"):
        raise argument_error(
            f"invalid input in executemany() argument sequence element #{element}: "
            f"expected a sequence, got {type(row).__name__}"
        )
    return tuple(row)


def start_many(Session session, Statement statement, bint want_rows, record_class):
    """Begin an execute-many group; feed it, then `finish` or `give_up`."""
    cdef ManyOp op = ManyOp.__new__(ManyOp)
    session.check_open()
    if statement.codec_version != session.codecs.current_version():
        statement.plan(session)
    op.loop = session.loop
    op.statement = statement
    op.plan = statement.plan_for(session, record_class)
    op.rows = [] if want_rows else None
    op.program = b"~"
    op.step = PyBytes_AS_STRING(op.program)
    op.session = session
    return op
