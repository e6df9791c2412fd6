# cython: language_level=3, nonecheck=True
"""The session: bytes in, bytes out, and a FIFO of operations between them.

Owns: `Session` (framing, transaction status, parameters, statements, what is in
flight), `Op` (one operation) and `Statement`.
Layer L3. Imports L0 - L2. Knows no event loop: `loop` (only `call_soon`), `clock` and
`write` are handed in, what must be done outside is asked for by `on_*` methods.

Theory of operation
    An operation is a group of messages that ends with one Sync. The session keeps the
    operations in the order in which they were sent; whatever the server says belongs to
    the first of them until its ReadyForQuery, which takes it off. Sending a second one
    before that is all that pipelining is. The error of one skips nothing of another.

    An operation says by its program what must come, by letters:

    | letter | message                         |
    | ------ | ------------------------------- |
    | 1 2 c  | Parse, Bind, Execute of a rider |
    | 3 P    | CloseComplete, ParseComplete    |
    | t T    | its description                 |
    | 2      | BindComplete                    |
    | *      | rows and what ends them         |
    | ~      | anything (simple queries, startup, COPY) |

    An ErrorResponse ends the program. What else it does not expect is a ProtocolError
    and closes the session: nobody could say whose rows come after it.

Rules
- ParameterStatus, NoticeResponse and NotificationResponse never reach an operation.
- Tasks are woken when a read has been taken in completely, behind callbacks for it.
- What a task does then is written together. When it may be is for the `Gate` to say.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._codecs cimport CodecMap
from chopin._gate cimport Flights, Gate
from chopin._messages cimport decode_string, parse_fields, unexpected
from chopin._rows cimport Description, ParamPlan, RowPlan
from chopin._shapes cimport plan_in_shape
from chopin._waiter cimport WAITING, Waiter
from chopin._wire cimport (
    MSG_COMMAND_COMPLETE,
    MSG_DATA_ROW,
    MSG_EMPTY_QUERY_RESPONSE,
    MSG_ERROR_RESPONSE,
    MSG_NO_DATA,
    MSG_NOTICE_RESPONSE,
    MSG_NOTIFICATION_RESPONSE,
    MSG_PARAMETER_STATUS,
    MSG_PARSE_COMPLETE,
    MSG_PORTAL_SUSPENDED,
    MSG_READY_FOR_QUERY,
    MSG_ROW_DESCRIPTION,
    OUT_BIND,
    OUT_CLOSE,
    OUT_EXECUTE,
    OUT_PARSE,
    TXN_BLOCK,
    TXN_FAILED,
    TXN_IDLE,
    TXN_UNKNOWN,
    Cursor,
    cursor_left,
    cursor_over,
    get_int32,
    take_int32,
)

from chopin import _effects, _outcomes, _statements
from chopin.exceptions import (
    InterfaceError,
    PostgresError,
    PostgresLogMessage,
    ProtocolError,
)

cdef CodecMap TABLE = CodecMap()  # without what users have said
cdef double NEVER = float("inf")
cdef Py_ssize_t FRAME_LIMIT = 1 << 30     # the server's own limit on a message
cdef Py_ssize_t STARTING_LIMIT = 1 << 18  # on all of the startup; 600 bytes are usual


cdef class Op(Waiter):
    """One operation: messages up to its ReadyForQuery, and who waits for it."""

    cdef int settle(self) except -1:
        if self.session is not None and self.session.parsing:
            self.session.settled.append(self)
        else:
            Waiter.settle(self)
        return 0

    def cancel(self, msg=None):
        """The waiting task was cancelled: it goes on, the operation is dropped."""
        if not Waiter.cancel(self, msg):
            return False
        self.abandon()
        return True

    cdef int abandon(self) except -1:
        """Nobody waits any more: drop what comes, stop the server from making more."""
        cdef Session session = self.session
        if session is None or self.abandoned:
            return 0
        self.abandoned = True
        session.gate.abandoned += 1
        session.gate.update()
        if session.head is self:
            session._cancel_head()
        return 0

    cdef int on_rows(self, ReadBuffer inp) except -1:
        """The next frame is a complete DataRow: consume it and those behind it."""
        raise ProtocolError("DataRow where none was expected")

    cdef int on_message(
        self, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        """Check a message against the program and take the step."""
        cdef char step = self.step[0]
        cdef bint fits
        if step == STEP_ANY:
            return self.on_step(step, kind, data, size)
        if self.error is not None:
            fits = False
        elif step == STEP_ROWS or step == STEP_RIDER_END:
            fits = (
                kind == MSG_COMMAND_COMPLETE
                or kind == MSG_EMPTY_QUERY_RESPONSE
                or (kind == MSG_PORTAL_SUSPENDED and step == STEP_ROWS)
            )
        elif step == STEP_COLUMNS:
            fits = kind == MSG_ROW_DESCRIPTION or kind == MSG_NO_DATA
        elif step == STEP_PARSE:
            fits = kind == MSG_PARSE_COMPLETE
        else:
            fits = kind == <unsigned char>step and step != STEP_DONE
        if not fits:
            if kind in b"GHdc" and step == STEP_ROWS and self.error is None:
                return self.on_copy(kind)
            raise ProtocolError(unexpected(kind, step))
        self.step += 1
        if kind == MSG_COMMAND_COMPLETE:
            self.completed = step == STEP_ROWS
            self.session.on_tag(data, size)
        if step != STEP_BIND and step != STEP_CLOSE and step != STEP_RIDER_PARSE:
            self.on_step(step, kind, data, size)
        return 0

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        """A step with content: P t T * or, in a program of ~, any message."""
        return 0

    cdef int on_copy(self, unsigned char kind) except -1:
        """A message of COPY where the program has none."""
        raise ProtocolError(unexpected(kind, self.step[0]))

    cdef int on_error(self, object error) except -1:
        """ErrorResponse: the rest of the group is skipped by the server."""
        if self.error is None or isinstance(error, PostgresError):
            self.error = error
        return 0

    cdef int on_ready(self) except -1:
        """ReadyForQuery: the end."""
        if self.error is not None:
            self.fail(self.error)
        else:
            self.resolve(None)
        return 0


cdef class Statement:
    """A statement of one session: its name on the server, and how its values travel.

    `row_rule` is what has been seen of its results. A limit in Execute switches
    parallel query off on the server, and no limit would fetch a whole table for one
    row, so a statement asked for one row runs with limit 2 at first; one that ended
    with at most one row runs without a limit from then on, one that had more keeps
    limit 1. A locking SELECT always has limit 1.
    """

    def __init__(self, Session session, str sql, bytes name, Description description):
        self.sql = sql
        self.name = name
        self.description = description
        self.used = True
        self.row_rule = ROWS_UNKNOWN
        self.locking = _statements.locks_rows(sql)
        self.plan(session)

    def __del__(self):
        if self.owner is not None and not self.closed:
            self.owner.closes.append(b"S" + self.name)

    cdef int plan(self, Session session) except -1:
        """Resolve the codecs, again when the session's codecs have changed."""
        cdef uint64_t version = session.codecs.current_version()
        cdef CodecMap codecs = TABLE if self.sql in _statements.OWN else session.codecs
        self.params = ParamPlan(self.description, codecs)
        self.rows = RowPlan(self.description, codecs, session.record_class)
        self.codec_version = version
        self.bind_head = b"\0" + self.name + b"\0" + self.params.formats
        self.bind_tail = self.rows.formats
        self.other_plans = None
        return 0

    cdef RowPlan plan_for(self, Session session, object shape):
        """The plan of rows in a shape; None: the session's record class."""
        if shape is None or shape is session.record_class:
            return self.rows
        if self.other_plans is None:
            self.other_plans = {}
        return plan_in_shape(self.other_plans, self.description, self.rows, shape)


cdef class Session:
    """One connection to a server, without the connection.

    Args:
        loop: has `call_soon(callback, *args, context=None)`.
        clock: returns seconds; `Op` deadlines are in its time.
        codecs: the codec table of this session.
        record_class: class of rows where a call names none.
        descriptions: SQL -> Description, shared by the sessions of a pool.
    """

    def __init__(self, loop, clock, CodecMap codecs, record_class, dict descriptions):
        self.loop = loop
        self.clock = clock
        self.codecs = codecs
        self.record_class = record_class
        self.descriptions = descriptions
        self.out = WriteBuffer()
        self.inp = ReadBuffer()
        self.settled = []
        self.frame_limit = STARTING_LIMIT
        self.state = STARTING
        self.txn = TXN_UNKNOWN
        self.parameters = {}
        self.cancel_key = b""
        self.gate = Gate(loop)
        self.next_deadline = NEVER
        self.statements, self.unnamed = {}, {}
        self.in_first_flight = set()
        self.closes, self.riders, self.flights = [], [], Flights()
        self.dirty = self.made_temporary = True  # until somebody cares
        self.statement_cache_size, self.statement_size_limit = 100, 15360

    # -- what is asked of the layer above ----------------------------------------------

    def on_notice(self, message):
        """A NoticeResponse, as PostgresLogMessage."""

    def on_notification(self, pid, channel, payload):
        """A NotificationResponse."""

    def on_cancel_needed(self):
        """Send a CancelRequest; call `cancel_ended` when its socket is closed."""

    def on_drained(self):
        """No cancelled operation and no cancel request is left."""

    def on_deadline(self, when):
        """Call `expire` at clock time `when`; an earlier order is void."""

    def on_broken(self):
        """Abort the transport: the peer broke the protocol."""

    def _on_flow(self, bint flows):
        """Go on reading, or stop it: what has come waits to be used."""

    # -- bytes in ----------------------------------------------------------------------

    def get_buffer(self, sizehint):
        """Memory for the next read."""
        return self.inp.room()

    def buffer_updated(self, Py_ssize_t n):
        """`n` bytes have arrived in what `get_buffer` gave."""
        self.inp.received(n)
        self.parsing = True
        try:
            self._frames()
        except BaseException as error:
            self.break_off(error)
            if not isinstance(error, Exception):
                self._wake_later()
                raise
        if self.settled and not self.told:
            self._wake()
        else:
            self.told = False
            self._wake_later()  # which also writes what a callback has asked
        if self.head is None:
            self.inp.shrink()

    def feed(self, data):
        """Take `data` in, as if it had been read."""
        cdef Py_ssize_t done = 0, n
        while done < len(data) and self.state != CLOSED:
            view = self.get_buffer(-1)
            n = min(len(view), len(data) - done)
            view[:n] = data[done:done + n]
            self.buffer_updated(n)
            done += n

    cdef int _frames(self) except -1:
        """Work off every complete frame: type byte, int32 length with itself, body."""
        cdef ReadBuffer inp = self.inp
        cdef const unsigned char *frame
        cdef Py_ssize_t have
        cdef int32_t length
        while True:
            have = inp.end - inp.start
            if have < 5:
                inp.wanted = 0
                return 0
            frame = inp.data + inp.start
            length = get_int32(frame + 1)
            if length < 4 or length > self.frame_limit:
                raise ProtocolError(
                    f"message {chr(frame[0])!r} says a length of {length}, allowed are "
                    f"4 to {self.frame_limit}"
                    + " more until the session is open" * (self.state == STARTING)
                )
            if have - 1 < length:
                inp.wanted = <Py_ssize_t>length + 1
                return 0
            if frame[0] == MSG_DATA_ROW and self.head is not None:
                self.head.on_rows(inp)
                continue
            inp.start += <Py_ssize_t>length + 1
            self._message(frame[0], frame + 5, length - 4)
            if self.state == STARTING:
                self.frame_limit -= length
            elif self.state == CLOSED:
                return 0

    cdef int _message(
        self, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if kind == MSG_READY_FOR_QUERY:
            return self._ready(data, size)
        if kind == MSG_ERROR_RESPONSE:
            return self._error(data, size)
        if kind == MSG_PARAMETER_STATUS:
            return self._parameter(data, size)
        if kind == MSG_NOTICE_RESPONSE:
            self.told = True
            self.on_notice(PostgresLogMessage.new(parse_fields(data, size)))
            return 0
        if kind == MSG_NOTIFICATION_RESPONSE:
            return self._notification(data, size)
        if self.head is None:
            raise ProtocolError(f"message {chr(kind)!r} while nothing was asked")
        return self.head.on_message(kind, data, size)

    cdef int _ready(self, const unsigned char *data, Py_ssize_t size) except -1:
        """ReadyForQuery: one byte, I (idle), T (in a block), E (in a failed block)."""
        cdef Op op = self.head
        if size != 1 or data[0] not in (TXN_IDLE, TXN_BLOCK, TXN_FAILED):
            raise ProtocolError("ReadyForQuery with an unknown transaction status")
        if op is None:
            raise ProtocolError("ReadyForQuery while nothing was asked")
        if op.error is None and op.step[0] not in (STEP_DONE, STEP_ANY):
            raise ProtocolError(unexpected(MSG_READY_FOR_QUERY, op.step[0]))
        if self.after_block is not None and data[0] == TXN_IDLE != self.txn:
            self.after_block()
        self.txn = data[0]
        if data[0] == TXN_IDLE:
            self.has_altered = False
        self.head = op.next
        op.next = None
        if self.head is None:
            self.tail = None
        try:
            op.on_ready()
        except BaseException as error:
            # it is in no list any more, so nobody else would tell its task
            op.fail(error)
            raise
        finally:
            op.session = None
        if op.riders is not None:
            self._confirm(op)
        op.error = None  # its traceback may lead to whoever holds the operation
        if op.abandoned:
            self.gate.abandoned -= 1
            self._changed()
        if self.head is not None and self.head.abandoned:
            self._cancel_head()
        return 0

    cdef int _error(self, const unsigned char *data, Py_ssize_t size) except -1:
        error = PostgresError.new(parse_fields(data, size))
        if getattr(error, "severity_en", None) in ("FATAL", "PANIC"):
            self.last_fatal = error
        if self.head is not None:
            if self.head.sql is not None:
                in_block = self.txn != TXN_IDLE or self.head.riders
                _outcomes.tell_outcome(error, self.head.sql, in_block)
            self.head.on_error(error)
        elif self.last_fatal is None:
            # nobody can be told, and what follows cannot be trusted
            raise ProtocolError(f"ErrorResponse while nothing was asked: {error}")
        return 0

    cdef int _parameter(self, const unsigned char *data, Py_ssize_t size) except -1:
        """ParameterStatus: two zero-terminated strings, name and value."""
        cdef Cursor c = cursor_over(data, size)
        cdef str name = decode_string(&c), value = decode_string(&c)
        if c.failed or cursor_left(&c):
            raise ProtocolError("ParameterStatus is not a name and a value")
        before = self.parameters.get(name)
        self.parameters[name] = value
        if name == "search_path" and before not in (None, value):
            _statements.forget_all(self)
        elif name == "client_encoding" and value.upper() not in ("UTF8", "UNICODE"):
            raise InterfaceError(
                f"client_encoding was changed to {value}: only UTF8 is supported, "
                "values would be misread; remove the SET that did it"
            )
        return 0

    cdef int _notification(self, const unsigned char *data, Py_ssize_t size) except -1:
        """NotificationResponse: int32 process id, channel and payload as strings."""
        cdef Cursor c = cursor_over(data, size)
        cdef int32_t pid = take_int32(&c)
        cdef str channel = decode_string(&c), payload = decode_string(&c)
        if c.failed or cursor_left(&c):
            raise ProtocolError("NotificationResponse is cut short")
        self.told = True
        self.on_notification(pid, channel, payload)
        return 0

    cdef int on_tag(self, const unsigned char *data, Py_ssize_t size) except -1:
        """CommandComplete: see whether the command made prepared statements stale.

        The first letters tell almost always that it did not.
        """
        if size < 5 or not (
            (data[0] == c"A" and data[1] == c"L")
            or (data[0] == c"D" and data[2] != c"L")
            or (data[0] == c"C" and data[1] == c"R")
            or (data[0] == c"R" and data[1] == c"O")
        ):
            return 0
        tag = PyBytes_FromStringAndSize(<const char *>data, size).rstrip(b"\0")
        action = _statements.TAGS.get(tag) or _statements.TAGS.get(tag.split(b" ")[0])
        if action is not None:
            action(self)
        return 0

    cdef int _wake(self) except -1:
        """Run the tasks whose operations have ended; write what they ask together."""
        cdef list settled
        cdef Op op
        cdef Py_ssize_t i
        try:
            while self.settled:
                settled, self.settled = self.settled, []
                for i, op in enumerate(settled):
                    try:
                        op.wake()
                    except BaseException:
                        self.settled = settled[i + 1:] + self.settled
                        raise
        finally:
            self._wake_later()
        return 0

    cdef int _wake_later(self) except -1:
        """The read is over: tasks that did not run yet are left to the event loop."""
        cdef list settled
        self.parsing = False
        settled, self.settled = self.settled, []
        for op in settled:
            Waiter.settle(op)
        return self.flush()

    # -- bytes out ---------------------------------------------------------------------

    def connected(self, write):
        """The transport is there: `write` takes bytes."""
        self.write = write

    cdef int note(self, Op op, str sql, Statement statement) except -1:
        """The operation will run this text, which may be that of a statement."""
        op.sql = self.last_sql = sql
        if self.dirty and self.made_temporary:
            return 0
        if statement is None or not statement.is_clean:
            if not _effects.effects(sql) & _effects.CLEAN:
                self.dirty = True
                self.made_temporary |= _statements.makes_tables(sql)
            elif statement is not None:
                statement.is_clean = True
        return 0

    cdef int submit(self, Op op) except -1:
        """The operation's messages are in `out`: enter it into the FIFO and send them.

        At once when nothing is in flight; otherwise with what else this turn brings.
        """
        cdef bint is_alone = self.head is None
        self._enter(op)
        if self.pooled:
            self.flights.add(self.out.take(), op.number)
        return self.flush() if is_alone and not self.parsing else self.flush_soon()

    cdef int flush_soon(self) except -1:
        if not self.parsing and not self.flush_scheduled:
            self.flush_scheduled = True
            self.loop.call_soon(self.flush_now)
        return 0

    cdef int hold(self, Op op) except -1:
        """Enter an operation whose messages are written in parts; until `release`."""
        self._enter(op)
        self.gate.held = True
        return self.gate.update()

    cdef int _enter(self, Op op) except -1:
        op.session = self
        self.submitted += 1
        op.number = self.submitted
        if op.riders is not None:
            self._begins(op)
        if self.head is None:
            self.head = op
        else:
            self.tail.next = op
        self.tail = op
        return 0

    cdef int release(self) except -1:
        """The last part is in `out`."""
        self.gate.held = False
        self.flush()
        return self.gate.update()

    def flush_now(self):
        """Write what has been gathered, with what the next in line adds to it."""
        if self.gate.handing_over and not self.gate.blocked:
            self.loop.call_soon(self.flush_now)
            return
        self.flush_scheduled = False
        self.flush()

    cdef int flush(self) except -1:
        if self.write is None or self.gate.encoding:
            return 0
        if self.out.length:
            self.flushed = self.submitted
            self.write(self.out.take())
        elif self.pooled and self.flights.pieces and self.head.number > self.flushed:
            data, self.flushed = self.flights.pieces.popleft()
            self.write(data)
        return 0

    def pause_writing(self):
        """The transport holds more than it likes: send nothing new."""
        self.gate.paused = True
        self.gate.update()

    def resume_writing(self):
        """The transport has room again."""
        self.gate.paused = False
        self.gate.update()

    cdef bytes put_ahead(self, Op op):
        """Write what rides ahead of a group; returns its part of the program.

        Close of what was dropped or is over, then BEGIN, SAVEPOINT and the like. Being
        in the group, the failure of a rider skips the statement, which would otherwise
        run outside of its transaction.
        """
        cdef WriteBuffer out = self.out
        cdef bytes program = b""
        for which in self.closes:
            out.begin_message(OUT_CLOSE)
            out.put_raw(PyBytes_AS_STRING(which), len(which) + 1)
            out.end_message()
            program += b"3"
        for sql in self.riders:
            out.begin_message(OUT_PARSE)
            out.put_byte(0)
            out.put_cstring(sql, "the query")
            out.put_int16(0)
            out.end_message()
            out.begin_message(OUT_BIND)
            out.put_raw(b"\0\0\0\0\0\0\0\0", 8)
            out.end_message()
            out.begin_message(OUT_EXECUTE)
            out.put_raw(b"\0\0\0\0\0", 5)
            out.end_message()
            program += b"12c"
        if self.riders:
            op.riders = tuple(self.riders)
        self.n_closes = len(self.closes)
        return program

    cdef int _begins(self, Op op) except -1:
        """The operation has riders: if a block begins with it, let nothing overtake."""
        if _outcomes.begun_block(op.riders):
            self.gate.unconfirmed = True
            self.gate.update()
        return 0

    cdef int _confirm(self, Op op) except -1:
        """The operation with riders has ended: has the block begun?

        If not, its BEGIN rides again on what comes next, so that nothing of the block
        can run outside of it, unless nobody is in the block any more.
        """
        self.gate.unconfirmed = False
        if op.error is not None and self.txn == TXN_IDLE and op.number > self.left_with:
            self.riders[:0] = _outcomes.begun_block(op.riders)
        return self._changed()

    cdef int _changed(self) except -1:
        """Less is in the way than before."""
        self.gate.update()
        if not self.gate.is_draining:
            self.on_drained()
        return 0

    # -- being open, blocked, closed ---------------------------------------------------

    cdef int check_open(self) except -1:
        if self.state == OPEN:
            return 0
        error = InterfaceError("connection is closed")
        if self.closed_by is not None:
            error.kind = "transient"  # not closed by who uses it: another one may do
        raise error from self.closed_by

    def ensure_open(self):
        """InterfaceError unless the session can take operations."""
        self.check_open()

    cdef int opened(self) except -1:
        """Startup is complete."""
        self.state, self.frame_limit = OPEN, FRAME_LIMIT
        self.gate.open = True
        return self.gate.update()

    @property
    def is_open(self):
        """Whether the session takes operations, now or when their turn comes."""
        return self.state == OPEN

    @property
    def is_ready(self):
        """Whether an operation that is started now is sent at once."""
        return self.state == OPEN and not self.gate.blocked and not self.gate.line

    @property
    def is_clean(self):
        """Whether the session is as it was made: idle, nothing left behind."""
        return (
            self.state == OPEN and self.head is None and not self.dirty
            and self.txn == TXN_IDLE and not self.gate.blocked and not self.riders
        )

    cdef int _cancel_head(self) except -1:
        """Ask for a CancelRequest; if it is late it may hit those behind the head."""
        if not self.head.cancel_sent:
            self.head.cancel_sent = True
            self._begin_cancel()
            self.on_cancel_needed()
        return 0

    def _begin_cancel(self):
        """A cancel request may go out, and hit those behind; `cancel_ended` follows."""
        cdef Op op = self.head
        if op is None or not op.abandoned:
            return False
        while op.next is not None:
            op = op.next
            op.bystander = True
        self.gate.cancelling += 1
        self.gate.update()
        return True

    def cancel_ended(self):
        """The server has closed the socket of a cancel request, or that failed."""
        self.gate.cancelling -= 1
        self._changed()

    def drop_all(self, text):
        """Fail what users have in flight, and stop the server's work."""
        cdef Op op = self.head
        while op is not None:
            if not op.restores:
                op.fail(_outcomes.dropped(text))
                op.abandon()
            op = op.next

    def begin_closing(self):
        """Take no new operations."""
        if self.state != CLOSED:
            self.state = CLOSING
            self.gate.open = False
            self.gate.update()

    def break_off(self, error):
        """The peer broke the protocol, or we did: end the session with `error`."""
        if self.state == CLOSED:
            return
        self._end(error, error)
        self.on_broken()

    def lost(self, error, tell=None):
        """The transport is gone: `tell` is called, then what was in flight fails."""
        cdef list ops = []
        cdef Op op = self.head
        if self.state != CLOSED:
            self.parsing = True  # nobody goes on ahead of those who are told
            reason = self.last_fatal or error
            while op is not None:
                ops.append(op)
                op = op.next
            each = _outcomes.outcomes(map(self._lost, ops), self.transaction_status)
            for op, outcome in zip(ops, each):
                op.fail(_outcomes.connection_lost(reason, outcome))
            self._end(None, reason)
        try:
            if tell is not None:
                tell()
        finally:
            self._wake_later()

    def _lost(self, Op op):
        return _outcomes.Lost(
            op.sql, op.number <= self.flushed, bool(_outcomes.begun_block(op.riders)),
            op.error is not None and op.error is self.last_fatal
            and not op.completed and op.program[-1:] != b"~",
        )

    def _end(self, failure, reason):
        cdef Op op
        self.state = CLOSED
        self.closed_by = reason
        self.write = None
        while self.head is not None:
            op = self.head
            self.head = op.next
            op.next = None
            op.fail(failure)
            op.session = None
        self.tail = None
        self.gate.abandoned = 0
        self.gate.open, self.gate.ended = False, True
        self.gate.update()

    # -- deadlines ---------------------------------------------------------------------

    cdef int set_deadline(self, Op op, double deadline) except -1:
        """Fail `op` with TimeoutError at `deadline`; one timer serves the session."""
        op.deadline = deadline
        if deadline < self.next_deadline:
            self.next_deadline = deadline
            self.on_deadline(deadline)
        return 0

    def expire(self):
        """Fail the operations whose deadline has passed; order the next call."""
        cdef double now = self.clock(), earliest = NEVER
        cdef Op op = self.head
        while op is not None:
            if op.deadline and op.outcome == WAITING:
                if op.deadline <= now:
                    op.fail(_outcomes.timed_out(op.sql))
                    op.abandon()
                elif op.deadline < earliest:
                    earliest = op.deadline
            op = op.next
        self.next_deadline = earliest
        if earliest != NEVER:
            self.on_deadline(earliest)

    # -- transactions ------------------------------------------------------------------

    @property
    def transaction_status(self):
        """The last ReadyForQuery's status: "I", "T" or "E"; "" before the first."""
        return chr(self.txn) if self.txn else ""

    @property
    def in_flight(self):
        """Whether an operation has not ended yet."""
        return self.head is not None
