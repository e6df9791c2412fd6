# cython: language_level=3, nonecheck=True
"""Execute-many: one statement, many rows of arguments, all or nothing.

Owns: `ManyOp` and how its group is written in parts.
Layer L3. Imports L0 - L3.

Rules
- The group is one: Bind and Execute for each row, one Sync. It is an implicit
  transaction.
- It is encoded into memory of its own and handed to the session in parts of 64 KiB.
  From the first part to the end the session is held, so that nothing of another
  operation gets into the group.
- A small group is handed over at its end, so that an argument that does not fit leaves
  no trace. Once a part is sent, the group is made to fail on the server.
- Rows are made by the user's code, and that may take its time: before the first part,
  and before `finish` if there was none, see that the session takes messages.
- What the server says is counted: as many rows must have been executed as were sent.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._ops cimport (
    RowsOp,
    ahead_written,
    check_writable,
    put_bind,
    put_parse,
    refuse_copy,
    spoiled,
)
from chopin._protocol cimport STEP_ANY, Op, Session, Statement
from chopin._rows cimport argument_error
from chopin._waiter cimport WAITING
from chopin._wire cimport (
    MSG_BIND_COMPLETE,
    MSG_COMMAND_COMPLETE,
    MSG_EMPTY_QUERY_RESPONSE,
)

from chopin.exceptions import ProtocolError

cdef int64_t MAX_DIGIT = 10**17      # of a number of rows: no overflow
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

    An error of the server has the position of its row as `batch_index`.
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
            self.row_count += count_in(data, size)
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
        if self.error is None and self.bad is not None:
            self.error = spoiled(self.bad)
        if self.error is None:
            self.resolve(self.row_count if self.rows is None else self.rows)
        return Op.on_ready(self)

    cdef int on_error(self, object error) except -1:
        if (
            self.error is None and self.step[0] == STEP_ANY
            and self.n_done < self.element
        ):
            error.batch_index = self.n_done
        return Op.on_error(self, error)

    def feed(self, rows):
        """Encode rows of arguments until there are about 64 KiB; returns whether.

        If so `send` them, and feed what is left of `rows`. Raises what encoding or the
        iterator raises; then `give_up` is due.
        """
        cdef WriteBuffer part = self.part
        cdef Statement statement = self.statement
        if self.is_over():
            return False
        for row in rows:
            if type(row) is not tuple:
                row = row_of_arguments(row, self.element)
            statement.params.check_count(len(row))
            put_bind(part, b"", statement, <tuple>row, self.element)
            part.put_raw(PyBytes_AS_STRING(EXECUTE), 10)
            self.element += 1
            if part.length >= CHUNK:
                return True
        return False

    def send(self):
        """Write the rows that are encoded, unless the group has failed already.

        Let replies in, and wait until the transport takes more.
        """
        if not self.is_over():
            self.hand_over()
            self.session.flush()

    cpdef bint is_over(self):
        """Whether no more rows are wanted: the group has failed already."""
        return (
            self.session is None or self.error is not None or self.outcome != WAITING
        )

    cdef int hand_over(self) except -1:
        """Put the rows that are encoded behind what the session has to write."""
        cdef Session session = self.session
        cdef WriteBuffer out = session.out
        cdef WriteBuffer part = self.part
        cdef Py_ssize_t mark = out.length
        if not self.sent:
            check_writable(session)
            try:
                self.begin_group()
            except BaseException:
                out.length = out.message = mark
                raise
            self.sent = True
            ahead_written(session)
            session.note(self, self.statement.sql, self.statement)
            session.hold(self)
        out.put_raw(part.data, part.length)
        part.length = 0
        return 0

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
        """Write what is left and Sync; the answer comes once everything is executed.

        When the operation has ended already, nothing of the group takes effect.
        """
        if self.outcome != WAITING:
            self.give_up()
        elif not self.ended and self.session is not None:
            if self.error is None:
                self.hand_over()
            self._end()

    def give_up(self):
        """Make the whole group fail on the server, whatever of it was sent."""
        if self.sent and not self.ended and self.session is not None:
            put_parse(self.session.out, b"", GIVE_UP, ())
            self._end()
            self.abandon()

    cdef int _end(self) except -1:
        self.ended = True
        self.session.out.put_raw(PyBytes_AS_STRING(SYNC), 5)
        return self.session.release()


cdef int64_t count_in(const unsigned char *tag, Py_ssize_t size) noexcept:
    """How many rows a command has touched: the number that ends CommandComplete's tag.

    Layout: a zero-terminated string such as ``INSERT 0 1``; 0 where it has no number.
    """
    cdef int64_t count = 0, digit = 1
    cdef Py_ssize_t i = size - 2
    while i >= 0 and c"0" <= tag[i] <= c"9" and digit <= MAX_DIGIT:
        count += digit * (tag[i] - c"0")
        digit *= 10
        i -= 1
    return count


cdef tuple row_of_arguments(row, Py_ssize_t element):
    if isinstance(row, (str, bytes, dict)) or not hasattr(row, "__iter__"):
        raise argument_error(
            f"invalid input in executemany() argument sequence element #{element}: "
            f"expected a sequence, got {type(row).__name__}"
        )
    return tuple(row)


def start_many(Session session, Statement statement, bint want_rows, shape):
    """Begin an execute-many group; feed it, then `finish` or `give_up`."""
    cdef ManyOp op = ManyOp.__new__(ManyOp)
    session.check_open()
    if statement.codec_version != session.codecs.current_version():
        statement.plan(session)
    op.loop = session.loop
    op.statement = statement
    op.plan = statement.plan_for(session, shape)
    op.rows = [] if want_rows else None
    op.program = b"~"
    op.step = PyBytes_AS_STRING(op.program)
    op.session = session
    op.part = WriteBuffer()
    return op
