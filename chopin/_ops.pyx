# cython: language_level=3, nonecheck=True
"""The operations of a session: what each writes, and what it makes of the replies.

Owns: prepare, execute, and the `start_*` functions that send them. Each returns its
operation, which is awaited for the answer. Simple queries are in _simple, portals in
_portals, execute-many in _many, startup and the end in _startup.
Layer L3. Imports L0 - L3.

Rules
- A `start_*` function writes whole groups or nothing: whatever an encoder raises, the
  buffer is put back to where it was and the riders stay for the next group.
- `start_query` is the way of every cached statement: a plain call that returns None
  whenever something is not as usual, and the caller takes the long way.
- Message layouts: PostgreSQL documentation, "Message Formats".
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._protocol cimport (
    ROWS_AT_MOST_ONE,
    ROWS_MANY,
    ROWS_UNKNOWN,
    STEP_COLUMNS,
    STEP_PARAMETERS,
    STEP_PARSE,
    STEP_ROWS,
    Op,
    Session,
    Statement,
)
from chopin._rows cimport (
    Description,
    ParamPlan,
    RowPlan,
    add_note,
    parse_description,
)
from chopin._shapes cimport ShapedPlan
from chopin._streams cimport Flow
from chopin._waiter cimport RESOLVED
from chopin._wire cimport (
    MSG_COMMAND_COMPLETE,
    MSG_COPY_DATA,
    MSG_COPY_DONE,
    MSG_COPY_IN_RESPONSE,
    MSG_COPY_OUT_RESPONSE,
    MSG_DATA_ROW,
    MSG_PORTAL_SUSPENDED,
    MSG_ROW_DESCRIPTION,
    OUT_BIND,
    OUT_COPY_FAIL,
    OUT_DESCRIBE,
    OUT_PARSE,
    TXN_FAILED,
)

from chopin import _statements
from chopin.exceptions import (
    DataError,
    InterfaceError,
    InvalidCachedStatementError,
    OutdatedSchemaCacheError,
    ProtocolError,
)

ROWS = WANT_ROWS
ROW = WANT_ROW
VALUE = WANT_VALUE
STATUS = WANT_STATUS
STREAM = WANT_STREAM
RESULT = WANT_RESULT

# Execute of the unnamed portal with limits 0, 1, 2, and Sync behind it.
cdef bytes EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"
cdef bytes SYNC = b"S\0\0\0\x04"
cdef list EXECUTE_SYNC = [EXECUTE[:-1] + bytes([n]) + SYNC for n in range(3)]


# -- one statement -------------------------------------------------------------------


cdef class RowsOp(Op):
    """An operation that brings rows."""

    cdef int take_rows(self, ReadBuffer inp) except -1:
        """Decode the DataRows that lie ready; drop them when nobody wants them.

        A row that cannot be decoded spoils the result and not the session, whatever
        the user's part in it raises: the task that waits for the rows gets that.
        """
        cdef const unsigned char *body = NULL
        cdef Py_ssize_t size, begin = inp.start
        cdef list rows = self.rows if self.flow is None else self.flow.items
        cdef RowPlan plan = self.plan
        if rows is not None and self.bad is None and not self.abandoned:
            try:
                while True:
                    size = inp.next_frame(MSG_DATA_ROW, &body)
                    if size < 0:
                        break
                    self.n_rows += 1
                    rows.append(plan.decode_row(body, size))
            except ProtocolError:
                raise
            except BaseException as error:
                self.spoil(error)
        while inp.next_frame(MSG_DATA_ROW, &body) >= 0:
            self.n_rows += 1
        if self.flow is not None:
            self.flow.arrived(inp.start - begin)
        return 0

    cdef int spoil(self, error) except -1:
        """Keep the error of a value; a type that was altered is asked for again.

        Of a stream nobody wants the rest.
        """
        self.bad = error
        if isinstance(self.plan, ShapedPlan):
            add_note(error, f"in row {self.n_rows} of what was fetched")
        if isinstance(error, OutdatedSchemaCacheError):
            self.session.codecs.outdated()
        if self.flow is not None:
            self.fail(spoiled(error))
            self.abandon()
        return 0

    cdef int settle(self) except -1:
        if self.flow is not None:
            self.flow.end(self, self.outcome == RESOLVED)
        return Op.settle(self)

    def leave(self):
        """The reader of a stream has gone; what is not done yet is called off."""
        self.cancel()
        if self.flow.session is not None:
            self.flow.session.gate.vacate(self)

    @property
    def rows_so_far(self):
        """How many rows have come."""
        return self.n_rows


cdef object spoiled(error):
    """The error of a result that cannot be read: the statement has been executed."""
    try:
        error.outcome = "unknown"
    except Exception:
        pass  # the class of the user's has no place for it, or something else there
    return error


cdef class QueryOp(RowsOp):
    """Bind and Execute of a statement, perhaps with its Parse in front."""

    cdef int on_rows(self, ReadBuffer inp) except -1:
        cdef const unsigned char *body = NULL
        cdef Py_ssize_t size
        if self.step[0] != STEP_ROWS or self.error is not None:
            raise ProtocolError("DataRow where none was expected")
        if (
            self.n_rows == 0 and (self.want == WANT_ROW or self.want == WANT_VALUE)
            and self.bad is None and not self.abandoned
        ):
            size = inp.next_frame(MSG_DATA_ROW, &body)
            self.n_rows = 1
            try:
                if self.want == WANT_VALUE:
                    self.answer = self.plan.decode_one(body, size, self.column)
                else:
                    self.answer = self.plan.decode_row(body, size)
            except ProtocolError:
                raise
            except BaseException as error:
                self.spoil(error)
        return self.take_rows(inp)

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step == STEP_ROWS:
            if kind == MSG_COMMAND_COMPLETE and (
                self.want == WANT_STATUS or self.want == WANT_STREAM
                or self.keeps_status
            ):
                self.status = tag_of(data, size)
            if self.want == WANT_ROW or self.want == WANT_VALUE:
                self.learn(kind)
        elif step == STEP_PARSE:
            if self.parses:
                _statements.admit(self.session, self.statement)
        elif step == STEP_PARAMETERS:
            self.raw_parameters = PyBytes_FromStringAndSize(<const char *>data, size)
        elif step == STEP_COLUMNS:
            self.described(kind, data, size)
        return 0

    cdef int on_copy(self, unsigned char kind) except -1:
        return refuse_copy(self, kind)

    cdef int learn(self, unsigned char kind) except -1:
        """See how many rows the statement had; Statement says what for."""
        cdef Statement statement = self.statement
        if kind == MSG_PORTAL_SUSPENDED or self.n_rows > 1:
            statement.row_rule = ROWS_MANY
        elif statement.row_rule == ROWS_UNKNOWN:
            statement.row_rule = ROWS_AT_MOST_ONE
        return 0

    cdef int described(
        self, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        """The description that came with Parse: is it the one the plan was made for?

        The parameters' types were declared in Parse, so only the columns can differ.
        """
        cdef bytes columns = None
        cdef Statement statement = self.statement
        if kind == MSG_ROW_DESCRIPTION:
            columns = PyBytes_FromStringAndSize(<const char *>data, size)
        if columns == self.sent.raw_columns:
            return 0
        if columns != statement.description.raw_columns:
            statement.description = parse_description(self.raw_parameters, columns)
            statement.plan(self.session)
            _statements.describe(self.session, statement.sql, statement.description)
        return self.replan()

    cdef int replan(self) except -1:
        """The columns are not those of the plan: make one for those of the statement.

        Another operation that shares the statement may have been told of them.
        """
        cdef Statement statement = self.statement
        cdef bytes formats = self.plan.formats
        shape = self.plan.shape
        self.sent = statement.description
        try:
            self.plan = statement.plan_for(self.session, shape)
        except Exception as error:
            self.bad = error  # the columns of today do not fit the shape
        if statement.rows.formats != formats:
            self.bad = InvalidCachedStatementError(
                "the columns of the statement have changed while it was sent; it has "
                "been executed, but its rows came in formats that do not fit them"
            )
        return 0

    cdef int on_ready(self) except -1:
        if self.parses:
            self.session.in_first_flight.discard(self.statement.sql)
        if self.error is not None:
            self.fail(self.error)
        elif self.bad is not None:
            self.fail(spoiled(self.bad))
            self.bad = None
        elif self.want == WANT_STATUS or self.want == WANT_STREAM:
            self.resolve(self.status or "")
        elif self.want == WANT_ROWS:
            self.resolve(self.rows)
        else:
            self.resolve(self.answer)
        self.answer = self.rows = None
        return 0


def check_timeout(timeout):
    """A time-out as float; TimeoutError at once when there is no time at all.

    Raises:
        ValueError: it is no number.
    """
    if type(timeout) is not float:
        try:
            if isinstance(timeout, (bool, str)):
                raise TypeError
            timeout = float(timeout)
        except (TypeError, ValueError):
            raise ValueError(
                f"invalid timeout value: expected non-negative float (got {timeout!r})"
            ) from None
    if timeout != timeout:
        raise ValueError("invalid timeout value: expected non-negative float (got nan)")
    if <double>timeout <= 0:
        raise not_begun()
    return timeout


cdef object not_begun():
    error = TimeoutError()
    error.outcome = "not_sent"
    return error


def start_query(
    Session session, query, tuple args, int want, int column, timeout, shape
):
    """Send a cached statement; None when it is not cached or cannot be sent now.

    Args:
        want: ROWS, ROW, VALUE, STATUS or STREAM.
        column: position of the value for VALUE.
        timeout: seconds from now, or None.
    """
    if session.gate.blocked or session.gate.line or session.codecs.root.wanted:
        session.check_open()
        return None
    if timeout is not None:
        timeout = check_timeout(timeout)
    op = start_cached(session, query, args, want, column, shape)
    if timeout is not None and op is not None:
        session.set_deadline(<QueryOp>op, session.clock() + <double>timeout)
    return op


cpdef start_cached(
    Session session, query, tuple args, int want, int column, shape
):
    """`start_query` for who has the turn already.

    None also if the statement is to be described again, see `may_fit`.
    """
    cdef Statement statement
    found = None if session.pooled else session.statements.get(query)
    if found is not None:
        statement = <Statement>found
    else:
        statement = unnamed_statement(session, query)
        if statement is None:
            return None
    if not fits(session, statement, shape):
        return None
    try:
        if found is None:
            return start_parse_and_execute(
                session, statement, args, want, column, shape
            )
        return start_execute(session, statement, args, want, column, shape)
    except DataError as error:
        if not may_fit(session, statement, error):
            raise
    return None


cpdef bint may_fit(Session session, Statement statement, error) except -1:
    """Whether an argument may fit the statement when it has been described again.

    Others have fitted it: the types of its parameters may be out of date, of which the
    server says nothing. It is forgotten then. In a failed block nobody can ask.
    """
    if (
        not isinstance(error, DataError) or not statement.has_fitted
        or session.txn == TXN_FAILED
    ):
        return False
    _statements.doubt(session, statement.sql)
    return True


def fits(Session session, Statement statement, shape):
    """Whether the columns of a statement of the cache fit the shape.

    If not, what is known of it is forgotten: it may be out of date, and who asks the
    server again knows for sure.
    """
    if shape is None:
        return True
    try:
        statement.plan_for(session, shape)
    except InterfaceError:
        _statements.doubt(session, statement.sql)
        return False
    return True


cdef Statement unnamed_statement(Session session, query):
    """The unnamed statement, for a described text that is not to have a name.

    That is so behind a pooler, where names cannot be relied on; while the Parse of the
    named one is on its way; and for texts without parameters that are not admitted to
    the cache. Those that have some are described each time: see _execute.
    """
    description = session.descriptions.get(query)
    if description is None:
        return None
    if (
        session.pooled
        or query in session.in_first_flight
        or not (
            (<Description>description).parameter_oids
            or _statements.is_admitted(session, query)
        )
    ):
        found = session.unnamed.get(query)
        if (
            found is not None and (<Statement>found).description is description
            and (<Statement>found).codec_version == session.codecs.current_version()
        ):
            return found
        if not unknown_types(session, <Description>description):
            statement = Statement(session, query, b"", <Description>description)
            _statements.keep_unnamed(session, statement)
            return statement
    return None


def known_statement(Session session, str query):
    """The statement for a text that need not be described, or None.

    It is the cached one; or an unnamed one; or one that is new to this session, has no
    parameters and was described by another one, and is parsed with its first use.
    """
    found = None if session.pooled else session.statements.get(query)
    if found is not None:
        (<Statement>found).used = True
        return found
    found = unnamed_statement(session, query)
    if found is None:
        description = session.descriptions.get(query)
        if (
            description is not None and not (<Description>description).parameter_oids
            and not unknown_types(session, <Description>description)
        ):
            name = _statements.statement_name(query)
            found = Statement(session, query, name, <Description>description)
    return found


cdef list unknown_types(Session session, Description description):
    """The OIDs of a statement's types that are not known."""
    columns = [column.type_oid for column in description.columns]
    oids = {*description.parameter_oids, *columns} - {0}
    return [oid for oid in oids if not session.codecs.known(oid)]


cpdef start_execute(
    Session session, Statement statement, tuple args, int want, int column, shape
):
    """Send Bind, Execute and Sync of a statement that is prepared."""
    cdef QueryOp op = QueryOp.__new__(QueryOp)
    op.program = b"2*"
    write_execution(session, statement, op, args, want, column, shape, False)
    statement.used = True
    return op


cpdef start_parse_and_execute(
    Session session, Statement statement, tuple args, int want, int column, shape
):
    """Send Parse, Describe, Bind, Execute and Sync: one flight for an unprepared one.

    Parse declares the types of the parameters as the description has them, so that a
    description that is out of date cannot make the server misread a value.
    """
    cdef QueryOp op = QueryOp.__new__(QueryOp)
    op.program = b"PtT2*"
    op.parses = bool(statement.name)
    write_execution(session, statement, op, args, want, column, shape, True)
    if op.parses:
        session.in_first_flight.add(statement.sql)
    return op


def start_own(Session session, str sql, tuple oids, tuple args):
    """Send a statement of our own in one flight, though nobody has described it.

    Args:
        sql: the statement; all its columns have a binary form.
        oids: the types of its parameters.
        args: their values.

    Its columns come with the answer; that they are binary is all that must be known.
    """
    cdef bytearray parameters = bytearray(len(oids).to_bytes(2, "big"))
    for oid in oids:
        parameters += (<int>oid).to_bytes(4, "big")
    description = parse_description(bytes(parameters), None)
    statement = Statement(session, sql, b"", description)
    return start_parse_and_execute(session, statement, args, WANT_ROWS, 0, None)


cdef int write_execution(
    Session session, Statement statement, QueryOp op, tuple args, int want, int column,
    object shape, bint parse,
) except -1:
    cdef WriteBuffer out = session.out
    cdef Py_ssize_t mark = out.length
    cdef bint ahead = bool(session.riders or session.closes)
    cdef bytes tail
    check_writable(session)
    if statement.codec_version != session.codecs.current_version():
        statement.plan(session)
    op.loop = session.loop
    op.statement = statement
    op.sent = statement.description
    op.plan = statement.plan_for(session, shape)
    op.want = want
    op.column = column
    if want == WANT_ROWS:
        op.rows = []
    elif want == WANT_STREAM:
        op.flow = Flow()
    statement.params.check_count(len(args))
    try:
        if ahead:
            op.program = session.put_ahead(op) + op.program
        if parse:
            put_parse(out, statement.name, statement.sql,
                      statement.description.parameter_oids)
            put_describe(out, statement.name)
        bind(session, b"", statement, args)
        tail = <bytes>EXECUTE_SYNC[limit_for(statement, want)]
        out.put_raw(PyBytes_AS_STRING(tail), 15)
    except BaseException:
        out.length = out.message = mark
        raise
    if ahead:
        ahead_written(session)
    statement.has_fitted = True
    op.step = PyBytes_AS_STRING(op.program)
    session.note(op, statement.sql, statement)
    session.submit(op)
    if op.flow is not None:
        op.flow.begin(session, op)
    return 0


cdef int limit_for(Statement statement, int want) noexcept:
    """The limit in Execute for what is wanted; Statement says why."""
    if want == WANT_ROW or want == WANT_VALUE:
        if statement.locking or statement.row_rule == ROWS_MANY:
            return 1
        if statement.row_rule == ROWS_UNKNOWN:
            return 2
    return 0


cdef int check_writable(Session session) except -1:
    """InterfaceError unless a message may be begun now."""
    session.check_open()
    if session.gate.encoding:
        raise InterfaceError(
            "cannot use the connection while it encodes the arguments of a query"
        )
    return 0


cdef int ahead_written(Session session) except -1:
    """What `put_ahead` wrote is on its way; others may have been added since."""
    del session.closes[:session.n_closes]
    session.riders.clear()
    return 0


cdef int bind(Session session, bytes portal, Statement statement, tuple args) except -1:
    """Bind into what the session has to write, while nothing else gets there.

    InterfaceError: code of the user's has closed the session.
    """
    if not args:
        return put_bind(session.out, portal, statement, args, -1)
    session.gate.encode(True)
    try:
        put_bind(session.out, portal, statement, args, -1)
    finally:
        session.gate.encode(False)
    return session.check_open()


cdef int put_bind(
    WriteBuffer out, bytes portal, Statement statement, tuple args, Py_ssize_t element
) except -1:
    """Bind: portal and statement name, formats, values, result formats.

    A statement's `bind_head` begins with the zero that ends the portal's name.
    """
    # of one plan, and kept: an encoder may run code that has the plan made anew
    cdef ParamPlan params = statement.params
    cdef bytes head = statement.bind_head, tail = statement.bind_tail
    out.begin_message(OUT_BIND)
    if portal:
        out.put_raw(PyBytes_AS_STRING(portal), len(portal))
    out.put_raw(PyBytes_AS_STRING(head), len(head))
    params.encode(out, args, element)
    out.put_raw(PyBytes_AS_STRING(tail), len(tail))
    return out.end_message()


cdef int put_parse(WriteBuffer out, bytes name, str sql, tuple oids) except -1:
    """Parse: statement name, query, int16 count and int32 types of parameters."""
    out.begin_message(OUT_PARSE)
    out.put_raw(PyBytes_AS_STRING(name), len(name) + 1)
    out.put_cstring(sql, "the query")
    out.put_int16(<int>len(oids))
    for oid in oids:
        out.put_int32(<int32_t><unsigned int>oid)
    return out.end_message()


cdef int put_describe(WriteBuffer out, bytes name) except -1:
    out.begin_message(OUT_DESCRIBE)
    out.put_byte(c"S")
    out.put_raw(PyBytes_AS_STRING(name), len(name) + 1)
    return out.end_message()


cdef int finish_group(Session session, Op op, bytes program) except -1:
    """Riders are taken, the program is set, Sync is written: send the operation."""
    ahead_written(session)
    return end_group(session, op, program)


cdef int end_group(Session session, Op op, bytes program) except -1:
    session.out.put_raw(PyBytes_AS_STRING(SYNC), 5)
    op.loop = session.loop
    op.program = program
    op.step = PyBytes_AS_STRING(op.program)
    return session.submit(op)


cdef str tag_of(const unsigned char *data, Py_ssize_t size):
    """CommandComplete: one zero-terminated string."""
    return (<const char *>data)[:size].rstrip(b"\0").decode("utf-8", "replace")


# -- prepare ------------------------------------------------------------------


cdef class PrepareOp(Op):
    """Parse and Describe of a statement; answers with its Statement.

    The statement is made, and kept or given an owner, when the server is done with it,
    not when the waiting task comes to run: a task that was cancelled in between would
    leave a statement on the server that nobody knows of.
    """

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step == STEP_PARSE:
            self.parsed = True
        elif step == STEP_PARAMETERS:
            self.raw_parameters = PyBytes_FromStringAndSize(<const char *>data, size)
        elif kind == MSG_ROW_DESCRIPTION:
            self.raw_columns = PyBytes_FromStringAndSize(<const char *>data, size)
        return 0

    cdef int on_ready(self) except -1:
        cdef Description description
        cdef Statement statement
        cdef Session session = self.session
        if self.error is not None:
            if self.parsed and self.name:
                session.closes.append(b"S" + self.name)
            return Op.on_ready(self)
        description = parse_description(self.raw_parameters, self.raw_columns)
        statement = Statement(session, self.sql, self.name, description)
        if self.keep:
            _statements.admit(session, statement)
            # By whoever is next, if who had it described is gone before he has asked.
            session.codecs.want(unknown_types(session, description))
        elif self.name:
            statement.owner = session
        if self.keep or not self.name:
            _statements.describe(session, self.sql, description)
        self.resolve(statement)
        return 0


def start_prepare(Session session, str sql, bytes name, bint keep, bint parse=True):
    """Send Parse, Describe and Sync.

    Args:
        name: of the statement on the server; empty: the unnamed one.
        keep: whether the statement goes into the session's cache.
        parse: False when the statement is known to be on the server already.
    """
    cdef WriteBuffer out = session.out
    cdef PrepareOp op = PrepareOp.__new__(PrepareOp)
    cdef Py_ssize_t mark = out.length
    cdef bytes program
    check_writable(session)
    if b"\0" in name:
        raise ValueError("the name of a statement must not contain a zero character")
    op.sql = sql
    op.name = name
    op.keep = keep
    try:
        program = session.put_ahead(op)
        if parse:
            put_parse(out, name, sql, ())
            program += b"P"
        put_describe(out, name)
    except BaseException:
        out.length = out.message = mark
        raise
    finish_group(session, op, program + b"tT")
    return op


# -- what is in all of them -----------------------------------------------------------


def start_sync(Session session, bint takes_riders=True):
    """Send Sync alone: its answer shows that the server has done what came before.

    Args:
        takes_riders: whether what waits to ride goes ahead of it.
    """
    cdef Op op = Op.__new__(Op)
    check_writable(session)
    if takes_riders:
        finish_group(session, op, session.put_ahead(op))
    else:
        end_group(session, op, b"")
    return op


def is_behind(Session session):
    """Whether what is sent now would be behind a call of somebody's.

    When that is cancelled, the request for it may hit what is behind. And behind a
    pooler what is written in parts has to be by itself, see `Flights`.
    """
    cdef Op op = session.head
    while op is not None:
        if not op.restores or session.pooled:
            return True
        op = op.next
    return False


cdef int refuse_copy(Op op, unsigned char kind, bint has_sync=True) except -1:
    """COPY in a call that has no data for it: end it, or the session would hang.

    COPY OUT is drained. COPY IN is answered with CopyFail; the server has swallowed the
    Sync that came with the statement, so another one follows. When more was sent behind
    it, the server takes that for COPY data and nothing can be told apart any more. A
    simple query has none.
    """
    cdef Session session = op.session
    if op.error is None and (
        kind == MSG_COPY_DATA or kind == MSG_COPY_DONE or kind == MSG_COPY_OUT_RESPONSE
    ):
        return 0
    if kind != MSG_COPY_IN_RESPONSE or op.next is not None or op.error is not None:
        raise ProtocolError(f"unexpected message {chr(kind)!r} in a query")
    session.out.begin_message(OUT_COPY_FAIL)
    session.out.put_cstring(
        "this call has no data to copy", "the reason"
    )
    session.out.end_message()
    if has_sync:
        session.out.put_raw(PyBytes_AS_STRING(SYNC), 5)
    return session.flush()
