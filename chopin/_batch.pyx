# cython: language_level=3, nonecheck=True
"""Several statements in one message group, each with a result of its own.

Owns: `Result`, `GroupOp` (different statements, one Sync: all or nothing) and
`ScriptOp` (one text with several statements, by the simple protocol).
Layer L3. Imports L0 - L3.

Rules
- A group is written whole or not at all. It is an implicit transaction: what its parts
  answer is told at its end, when it is committed.
- An error of the server says, as `batch_index`, which part it belongs to: the one whose
  replies were due. What fails before the first (a BEGIN that goes ahead) or behind the
  last (a deferred constraint) belongs to none.
- A result that cannot be read fails alone, since its statement has been executed.
- The simple protocol has values as text: `TextCodecs` reads them.

Source: PostgreSQL documentation, "Pipelining", "Multiple Statements in a Simple Query".
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._codecs_text cimport TextCodecs
from chopin._ops cimport (
    WANT_RESULT,
    WANT_ROWS,
    WANT_STATUS,
    QueryOp,
    ahead_written,
    check_writable,
    limit_for,
    may_fit,
    put_bind,
    put_describe,
    put_parse,
    refuse_copy,
    spoiled,
    tag_of,
)
from chopin._protocol cimport STEP_ROWS, Op, Session, Statement
from chopin._rows cimport Description, RowPlan, parse_description
from chopin._shapes cimport plan_in_shape
from chopin._simple cimport SimpleOp, put_query
from chopin._wire cimport (
    MSG_COMMAND_COMPLETE,
    MSG_COPY_IN_RESPONSE,
    MSG_EMPTY_QUERY_RESPONSE,
    MSG_ROW_DESCRIPTION,
)

from chopin.exceptions import ProtocolError

# Execute of the unnamed portal with limits 0, 1, 2; and Sync.
cdef bytes EXECUTE = b"E\0\0\0\x09\0\0\0\0"
cdef list EXECUTES = [EXECUTE + bytes([n]) for n in range(3)]
cdef bytes SYNC = b"S\0\0\0\x04"


cdef class Result(list):
    """What one of several statements has brought: its rows, as a list, and its status.

    Attributes:
        status: the command tag, such as "INSERT 0 1".

    Example:
        >>> results = await conn.batch(["SELECT 7 AS n", "DELETE FROM t"])
        >>> results[0][0]["n"], results[1].status, results[1].row_count
        (7, 'DELETE 3', 3)
    """

    def __init__(self, rows=(), status=""):
        list.__init__(self, rows)
        self.status = status

    @property
    def row_count(self):
        """How many rows the command has touched or returned; None if it says none."""
        last = self.status.rpartition(" ")[2]
        return int(last) if last.isdigit() else None

    def __repr__(self):
        return f"<Result {self.status!r} {list.__repr__(self)}>"

    def __reduce__(self):
        return type(self), (list(self), self.status)


cdef Result new_result():
    cdef Result result = Result.__new__(Result)
    result.status = ""
    return result


# -- groups --------------------------------------------------------------------------


cdef class Part:
    """One statement of a group, and what is wanted of it."""


cdef class GroupOp(QueryOp):
    """Bind and Execute of each part, one Sync; answers with the list of answers.

    It is a query that becomes the next one whenever a part has ended. `unread` has the
    errors of results that could not be read, by index; None for none.
    """

    cdef Part add(self, Session session, tuple request, set parsing):
        """Make a part: statement, arguments, what is wanted, column, shape."""
        cdef Part part = Part.__new__(Part)
        cdef Statement statement = <Statement>request[0]
        if statement.name and not statement.cached and (
            statement.owner is None and statement.sql in session.in_first_flight
        ):
            # its Parse is on its way in another group, and may fail there
            statement = Statement(session, statement.sql, b"", statement.description)
        part.statement = statement
        part.want = request[2]
        part.column = request[3]
        part.parses = bool(statement.name) and not statement.cached and (
            statement.owner is None and statement.sql not in parsing
        )
        if part.parses:
            parsing.add(statement.sql)
        self.parts.append(part)
        return part

    cdef int begin_part(self) except -1:
        cdef Part part = self.parts[self.index]
        self.statement = part.statement
        self.sent = part.sent
        self.plan = part.plan
        self.want = part.want
        self.column = part.column
        self.parses = part.parses
        self.n_rows = 0
        self.answer = None
        self.status = None
        if part.want == WANT_RESULT:
            self.rows = <list>new_result()
        else:
            self.rows = [] if part.want == WANT_ROWS else None
        if part.statement.name and not part.parses and (
            part.sent is not part.statement.description
        ):
            self.replan()  # the part that parsed it was told of other columns
        return 0

    cdef int end_part(self) except -1:
        if self.bad is not None:
            if self.unread is None:
                self.unread = {}
            self.unread[self.index] = spoiled(self.bad)
            self.bad = None
            self.answer = None
        elif self.want == WANT_RESULT:
            (<Result><object>self.rows).status = self.status or ""
            self.answer = self.rows
        elif self.want == WANT_ROWS:
            self.answer = self.rows
        elif self.want == WANT_STATUS:
            self.answer = self.status or ""
        self.answers.append(self.answer)
        self.answer = self.rows = None
        self.index += 1
        if self.index < len(self.parts):
            self.begin_part()
        return 0

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        QueryOp.on_step(self, step, kind, data, size)
        if step == STEP_ROWS:
            self.end_part()
        return 0

    cdef int on_copy(self, unsigned char kind) except -1:
        if kind == MSG_COPY_IN_RESPONSE and self.index < len(self.parts) - 1:
            return 0  # the server takes the next part for a breach, and hangs up
        return refuse_copy(self, kind)

    cdef int on_error(self, object error) except -1:
        if (
            self.error is None and self.index < len(self.parts)
            and self.step - PyBytes_AS_STRING(self.program) >= self.ahead
        ):
            error.batch_index = self.index
        return Op.on_error(self, error)

    cdef int on_ready(self) except -1:
        cdef Part part
        for each in self.parts:
            part = <Part>each
            if part.parses:
                self.session.in_first_flight.discard(part.statement.sql)
        if self.error is not None:
            self.fail(self.error)
        else:
            self.resolve(self.answers)
        self.answers = self.answer = self.rows = None
        return 0


def start_group(Session session, list requests, double deadline):
    """Send statements as one group: the answers are told when it is committed.

    None if one of them is to be described again, as for `start_cached`.

    Args:
        requests: at least one (Statement, arguments, ROWS, ROW, VALUE, STATUS or
            RESULT, column for VALUE, shape of the rows or None).
        deadline: by the session's clock; 0 for none.

    Raises:
        DataError, InterfaceError: arguments do not fit; `batch_index` says where, and
            nothing was written.
    """
    cdef WriteBuffer out = session.out
    cdef GroupOp op = GroupOp.__new__(GroupOp)
    cdef Py_ssize_t mark = out.length
    cdef set parsing = set()
    cdef Statement statement
    cdef bytes ahead
    check_writable(session)
    op.parts = []
    op.answers = []
    op.keeps_status = True
    try:
        ahead = session.put_ahead(op)
        program = [ahead]
        session.gate.encode(True)
        try:
            for request in requests:
                program.append(write_part(session, op, <tuple>request, parsing))
        finally:
            session.gate.encode(False)
        session.check_open()  # code of the user's may have closed it
        out.put_raw(PyBytes_AS_STRING(SYNC), 5)
    except BaseException as error:
        out.length = out.message = mark
        if op.parts and session.is_open:
            if may_fit(session, (<Part>op.parts[-1]).statement, error):
                return None
            note_index(error, len(op.parts) - 1)
        raise
    ahead_written(session)
    session.in_first_flight |= parsing
    op.loop = session.loop
    op.ahead = len(ahead)
    op.program = b"".join(program)
    op.step = PyBytes_AS_STRING(op.program)
    op.begin_part()
    for request in requests:
        statement = <Statement>(<tuple>request)[0]
        statement.has_fitted = True
        session.note(op, statement.sql, statement)
    op.sql = session.last_sql = text_of(requests)
    session.submit(op)
    if deadline:
        session.set_deadline(op, deadline)
    return op


cdef bytes write_part(Session session, GroupOp op, tuple request, set parsing):
    """Write one statement of a group; returns its part of the program."""
    cdef WriteBuffer out = session.out
    cdef Part part = op.add(session, request, parsing)
    cdef Statement statement = part.statement
    cdef tuple args = <tuple>request[1]
    cdef bytes execute
    cdef bint parse = part.parses or not statement.name
    if statement.codec_version != session.codecs.current_version():
        statement.plan(session)
    part.sent = statement.description
    part.plan = statement.plan_for(session, request[4])
    statement.params.check_count(len(args))
    if parse:
        put_parse(out, statement.name, statement.sql,
                  statement.description.parameter_oids)
        put_describe(out, statement.name)
    put_bind(out, b"", statement, args, -1)
    execute = EXECUTES[limit_for(statement, part.want)]
    out.put_raw(PyBytes_AS_STRING(execute), 10)
    return b"PtT2*" if parse else b"2*"


cdef int note_index(error, Py_ssize_t index) except -1:
    try:
        error.batch_index = index
    except AttributeError:
        pass  # a codec of the user's has raised something with slots
    return 0


cdef str text_of(list requests):
    """The text of a group, for whoever asks what was sent or what it can have done.

    A comment at the end of one text must not hide where the next one begins.
    """
    if len(requests) == 1:
        return (<Statement>(<tuple>requests[0])[0]).sql
    return "\n;\n".join(
        {(<Statement>(<tuple>request)[0]).sql: None for request in requests}
    )


# -- scripts -------------------------------------------------------------------------


cdef class ScriptOp(SimpleOp):
    """A Query message; answers with a Result for each of its statements."""

    cdef int on_rows(self, ReadBuffer inp) except -1:
        if self.error is not None or not self.in_rows:
            raise ProtocolError("DataRow where none was expected")
        return self.take_rows(inp)

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if self.error is not None:
            return refuse_copy(self, kind, False)
        if kind == MSG_ROW_DESCRIPTION and not self.in_rows:
            self.in_rows = True
            self.begin_rows(
                parse_description(
                    b"\0\0", PyBytes_FromStringAndSize(<const char *>data, size)
                )
            )
        elif kind == MSG_COMMAND_COMPLETE:
            self.session.on_tag(data, size)
            self.completed = True
            self.end_statement(tag_of(data, size))
        elif kind == MSG_EMPTY_QUERY_RESPONSE and not self.in_rows:
            pass
        else:
            return refuse_copy(self, kind, False)
        return 0

    cdef int begin_rows(self, Description description) except -1:
        """Rows that do not fit the shape are lost, and the script goes on."""
        cdef Session session = self.session
        self.rows = <list>new_result()
        self.plan = RowPlan(
            description, TextCodecs(session.codecs), session.record_class
        )
        if self.shape is not None:
            try:
                self.plan = plan_in_shape({}, description, self.plan, self.shape)
            except Exception as error:
                self.bad = error
        return 0

    cdef int end_statement(self, str status) except -1:
        cdef Result result = new_result()
        if self.in_rows:
            result = <Result><object>self.rows
        result.status = status
        self.results.append(result)
        self.in_rows = False
        self.rows = None
        return 0

    cdef int on_error(self, object error) except -1:
        cdef Py_ssize_t n_riders = 0 if self.riders is None else len(self.riders)
        if self.error is None and len(self.results) >= n_riders:
            error.batch_index = len(self.results) - n_riders
        return SimpleOp.on_error(self, error)

    cdef int on_ready(self) except -1:
        if self.error is None:
            if self.in_rows:
                raise ProtocolError("ReadyForQuery within the rows of a statement")
            if self.bad is not None:
                self.error = spoiled(self.bad)
            elif self.riders is not None:
                del self.results[:len(self.riders)]
            if self.error is None:
                self.resolve(self.results)
        self.bad = self.results = self.rows = None
        return Op.on_ready(self)


def start_results(Session session, str sql, shape):
    """Send a Query message whose results are wanted."""
    cdef ScriptOp op = ScriptOp.__new__(ScriptOp)
    op.results = []
    op.shape = shape
    op.prefix = put_query(session, op, sql)
    session.submit(op)
    return op
