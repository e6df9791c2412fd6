# cython: language_level=3, nonecheck=True
"""COPY: bulk data out of the server and into it.

Owns: `CopyOutOp`, `CopyInOp` and the `start_*` functions that send them.
Layer L3. Imports L0 - L3.

Theory of operation
    COPY goes as Parse, Bind and Execute. In front of it, in the same group and so in
    the same transaction, its columns are asked for: what was described stays locked,
    and no ALTER TABLE comes between. Where the question is a prepared statement that
    is only described, the server itself refuses if the columns are others by now, so
    that the first data may go with it; else they wait until we have seen the answer.
    A COPY IN of rows is a prepared statement itself then: to parse it costs the server
    as much as storing a few dozen rows.

    Out: CopyOutResponse, CopyData (one for each row), CopyDone, CommandComplete. A row
    of the binary format has the very layout of a DataRow, so it is decoded by the plan
    of a query. In: CopyInResponse, then we send CopyData, and CopyDone or CopyFail.
    Sync comes last: a server that takes data skips it, and one that has refused them
    skips everything else.

Rules
- What comes out goes through a `Flow`. What goes in is gathered in a buffer of the
  operation's own and sent in messages of about 60 KiB; the session's own buffer, which
  anything may flush, never has a part of a message.
- No more than one CopyData is sent before the server has said that it takes data; its
  rows are kept until then, for another try with the columns of that day. The values
  must be the same then: whose code could change them is not called before.
- Data are written again only where the server has refused, or was told by CopyFail, and
  cannot have stored them.
- The session is held while COPY IN is open. Whoever gives it up sends CopyFail: a
  server that waits for data does not look at cancel requests.
- A row is in the buffer as a whole or not at all.

Source: PostgreSQL documentation, "COPY", "COPY Operations".
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._codecbase cimport Codec
from chopin._ops cimport (
    RowsOp,
    ahead_written,
    check_writable,
    put_bind,
    put_describe,
    put_parse,
    tag_of,
)
from chopin._protocol cimport (
    STEP_ANY,
    STEP_COLUMNS,
    STEP_PARSE,
    Op,
    Session,
    Statement,
)
from chopin._rows cimport (
    Column,
    Description,
    RowPlan,
    argument_error,
    parse_columns,
    parse_description,
    refused_at,
)
from chopin._streams cimport Flow
from chopin._waiter cimport WAITING, Waiter
from chopin._wire cimport (
    MSG_COMMAND_COMPLETE,
    MSG_COPY_DATA,
    MSG_COPY_DONE,
    MSG_COPY_IN_RESPONSE,
    MSG_COPY_OUT_RESPONSE,
    MSG_ROW_DESCRIPTION,
    OUT_COPY_FAIL,
    get_int32,
    get_uint16,
)

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from chopin import _statements
from chopin._codecbase import ElementError
from chopin.exceptions import (
    InterfaceError,
    InvalidCachedStatementError,
    ProtocolError,
)

# Sent at once. A block that a row may reach over a little stays within 64 KiB.
cdef Py_ssize_t CHUNK = 60 * 1024

# Signature, int32 flags, int32 length of the header's extension.
cdef bytes HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
cdef enum:
    SIGNATURE_SIZE = 11
    HEADER_SIZE = 19
    CRITICAL_FLAGS = 0xFFFF0000  # of which we know none
    TRAILER = 0xFFFF             # in place of a row's number of fields

cdef bytes COPY_DONE = b"c\0\0\0\x04"
cdef bytes SYNC = b"S\0\0\0\x04"
# Bind of the unnamed statement without parameters, Execute without a limit.
cdef bytes BIND = b"B\0\0\0\x0c" + bytes(8)
cdef bytes EXECUTE = b"E\0\0\0\x09" + bytes(5)

# What the server says of a COPY: no parameters, no columns.
cdef Description NOTHING = parse_description(b"\0\0", None)

# Types beside int and str whose values never change; iterators without users' code.
cdef frozenset CONSTANT = frozenset((
    type(None), bool, float, bytes, Decimal, date, datetime, time, timedelta, UUID,
))
cdef frozenset PLAIN = frozenset((type(iter([])), type(iter(()))))

# How far a COPY has come.
cdef enum:
    ASKED = 0                    # no response yet
    BEGUN = 1                    # out: the header of the binary format is due
    DATA = 2
    TRAILED = 3                  # out: the trailer of the binary format has come
    DONE = 4                     # out: CopyDone
    COMPLETE = 5                 # CommandComplete

# What columns are beside those of then, see `compare`.
cdef enum:
    SAME = 0
    MOVED = 1
    OTHERS = 2


cdef int put_copy(
    Session session, Op op, str sql, Statement asked, Statement prepared
) except -1:
    """Write a COPY without its Sync, the question for its columns in front.

    `prepared` is its statement, which is parsed if it is not in the cache; None for the
    unnamed one.
    """
    cdef WriteBuffer out = session.out
    cdef Py_ssize_t mark = out.length
    cdef bytes program
    check_writable(session)
    try:
        program = session.put_ahead(op)
        if asked is not None:
            if not asked.name:
                put_parse(out, b"", asked.sql, ())
                program += b"P"
            asked.used = True
            put_describe(out, asked.name)
            program += b"tT"
        if prepared is None:
            put_parse(out, b"", sql, ())
            program += b"P"
            out.put_raw(PyBytes_AS_STRING(BIND), PyBytes_GET_SIZE(BIND))
        else:
            if not prepared.cached:
                put_parse(out, prepared.name, sql, ())
                program += b"P"
            prepared.used = True
            put_bind(out, b"", prepared, (), -1)
        out.put_raw(PyBytes_AS_STRING(EXECUTE), PyBytes_GET_SIZE(EXECUTE))
    except BaseException:
        out.length = out.message = mark
        raise
    ahead_written(session)
    op.loop = session.loop
    op.program = program + b"2~"
    op.step = PyBytes_AS_STRING(op.program)
    return session.note(op, sql, None)


cdef int compare(
    Statement asked, unsigned char kind, const unsigned char *data, Py_ssize_t size
) except -1:
    """What the server describes, beside what it did when `asked` was made.

    SAME; MOVED: of the same names and types, but in another table, or another column;
    OTHERS.
    """
    cdef bytes columns = None
    if kind == MSG_ROW_DESCRIPTION:
        columns = PyBytes_FromStringAndSize(<const char *>data, size)
    if columns == asked.description.raw_columns:
        return SAME
    if columns is None or asked.description.raw_columns is None:
        return OTHERS
    if types_of(parse_columns(columns)) == types_of(asked.description.columns):
        return MOVED
    return OTHERS


cdef list types_of(tuple columns):
    return [((<Column>each).name, (<Column>each).type_oid) for each in columns]


# -- out -----------------------------------------------------------------------------


cdef class CopyOutOp(RowsOp):
    """COPY ... TO STDOUT: rows, or chunks of bytes, by way of its flow."""

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step == STEP_COLUMNS and not self.abandoned:
            found = compare(self.asked, kind, data, size)
            self.is_moved = found == MOVED
            if found == OTHERS:
                self.fail(columns_changed())
                self.abandon()
        if step != STEP_ANY:
            return 0
        if self.error is None:
            if kind == MSG_COPY_DATA and BEGUN <= self.stage <= TRAILED:
                return self.take_data(data, size)
            if kind == MSG_COPY_OUT_RESPONSE and self.stage == ASKED:
                return self.respond(data, size)
            if kind == MSG_COPY_DONE and BEGUN <= self.stage <= TRAILED:
                if self.stage != TRAILED and self.plan is not None:
                    if not self.abandoned:
                        raise ProtocolError("binary COPY data without its trailer")
                self.stage = DONE
                return 0
            if kind == MSG_COMMAND_COMPLETE:
                return self.complete(data, size)
        raise ProtocolError(f"unexpected message {chr(kind)!r} in COPY TO STDOUT")

    cdef int respond(self, const unsigned char *data, Py_ssize_t size) except -1:
        """CopyOutResponse: int8 format, int16 number of columns, int16 each."""
        cdef RowPlan plan = self.plan
        if size < 3 or (plan is not None and data[0] != 1):
            raise ProtocolError("CopyOutResponse does not say what was asked for")
        if plan is None:
            self.stage = DATA
        else:
            self.stage = BEGUN
            if get_uint16(data + 1) != plan.size and not self.abandoned:
                self.spoil(columns_changed())
        return self.flow.wake()

    cdef int complete(self, const unsigned char *data, Py_ssize_t size) except -1:
        """CommandComplete."""
        if self.stage != DONE:
            raise ProtocolError("COPY TO STDOUT has ended without CopyDone")
        self.stage = COMPLETE
        self.completed = True
        self.status = tag_of(data, size)
        return 0

    cdef int take_data(self, const unsigned char *data, Py_ssize_t size) except -1:
        """CopyData: this one and those behind it that have come as a whole."""
        cdef ReadBuffer inp = self.session.inp
        cdef Py_ssize_t begin = inp.start - size - 5
        cdef WriteBuffer chunk = self.chunk
        if self.plan is None:
            chunk.reserve(inp.end - begin)
        while size >= 0:
            if self.abandoned:
                pass
            elif self.plan is None:
                chunk.put_raw(data, size)
            else:
                self.take_row(data, size)
            size = inp.next_frame(MSG_COPY_DATA, &data)
        if self.plan is None and chunk.length:
            self.flow.items.append(chunk.take())
        return self.flow.arrived(inp.start - begin)

    cdef int take_row(self, const unsigned char *data, Py_ssize_t size) except -1:
        """One CopyData of the binary format.

        Ahead of the first row, in the same message: 11 bytes of signature, int32 flags,
        int32 length of an extension and as many bytes. A row is as in DataRow; int16 -1
        in place of its number of fields is the end.
        """
        cdef Py_ssize_t skipped
        if self.stage == BEGUN:
            if size < HEADER_SIZE or memcmp(
                data, PyBytes_AS_STRING(HEADER), SIGNATURE_SIZE
            ):
                raise ProtocolError("binary COPY data without its signature")
            if <uint32_t>get_int32(data + SIGNATURE_SIZE) & CRITICAL_FLAGS:
                raise ProtocolError("binary COPY data with unknown flags")
            skipped = <uint32_t>get_int32(data + SIGNATURE_SIZE + 4)
            if skipped > size - HEADER_SIZE:
                raise ProtocolError("binary COPY data with a header that is too long")
            skipped += HEADER_SIZE
            self.stage = DATA
            data += skipped
            size -= skipped
            if size == 0:
                return 0
        if self.stage == TRAILED:
            raise ProtocolError("binary COPY data behind its trailer")
        if size == 2 and get_uint16(data) == TRAILER:
            self.stage = TRAILED
            return 0
        try:
            self.flow.items.append(self.plan.decode_row(data, size))
            self.n_rows += 1
        except ProtocolError:
            raise
        except BaseException as error:  # whatever a codec of the user's raises
            self.spoil(error)
        return 0

    def opened(self):
        """An awaitable that ends when something has come, or nothing will."""
        return self.flow.wait()

    cdef int on_ready(self) except -1:
        if self.error is not None:
            self.fail(refusal(self.error, self.is_moved and self.stage == ASKED))
        elif self.stage != COMPLETE:
            raise ProtocolError("ReadyForQuery in the midst of COPY TO STDOUT")
        else:
            self.resolve(self.status)
        self.bad = None
        return 0


def start_copy_out(
    Session session, str sql, Statement statement, shape, Statement asked=None
):
    """Send COPY ... TO STDOUT; what comes waits in the `flow` of the operation.

    Args:
        sql: the command; of the binary format where there is a statement.
        statement: has the plan of the rows; None for chunks of bytes as they come.
        shape: of the rows; None for the session's record class.
        asked: whose columns must be those of the server, where that is in question:
            InvalidCachedStatementError if not.
    """
    cdef CopyOutOp op = CopyOutOp.__new__(CopyOutOp)
    if statement is None:
        op.chunk = WriteBuffer()
    else:
        op.plan = statement.plan_for(session, shape)
    op.flow = Flow()
    op.asked = asked
    put_copy(session, op, sql, asked, None)
    session.out.put_raw(PyBytes_AS_STRING(SYNC), 5)
    session.submit(op)
    op.flow.begin(session, op)
    return op


# -- in ------------------------------------------------------------------------------


cdef class CopyInOp(Op):
    """COPY ... FROM STDIN: encoded rows, or bytes as they are.

    The session is held from the start to `finish` or `give_up`.
    """

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        if step == STEP_PARSE and self.prepared is not None:
            # It stays on the server whatever becomes of the COPY.
            _statements.admit(self.session, self.prepared)
        if step == STEP_COLUMNS and self.outcome == WAITING:
            found = compare(self.asked, kind, data, size)
            self.is_moved = found == MOVED
            if found == OTHERS:
                self.change()
        if step != STEP_ANY:
            return 0
        if self.error is None:
            if kind == MSG_COPY_IN_RESPONSE and self.stage == ASKED:
                return self.respond(data, size)
            if kind == MSG_COMMAND_COMPLETE:
                return self.complete(data, size)
        raise ProtocolError(f"unexpected message {chr(kind)!r} in COPY FROM STDIN")

    cdef int respond(self, const unsigned char *data, Py_ssize_t size) except -1:
        """CopyInResponse: int8 format, int16 number of columns, int16 each."""
        if size < 3:
            raise ProtocolError("CopyInResponse is cut short")
        self.stage = DATA
        if self.statement is not None and self.outcome == WAITING:
            if get_uint16(data + 1) != len(self.codecs):
                self.change()
            else:
                self.rows = None
        return self.look()

    cdef int change(self) except -1:
        """The columns are not those that the rows are encoded for.

        If all is sent nothing can be taken back. The server itself would have refused:
        this was another one, where a pooler has such a statement of somebody else's.
        """
        error = columns_changed()
        if self.ended:
            self.rows = None
            error.outcome = "unknown"
        self.fail(error)
        return self.abandon()

    cdef int complete(self, const unsigned char *data, Py_ssize_t size) except -1:
        """CommandComplete."""
        if self.stage != DATA or not self.ended:
            raise ProtocolError("COPY FROM STDIN has ended ahead of its data")
        self.stage = COMPLETE
        self.completed = True
        self.status = tag_of(data, size)
        return 0

    cdef int on_error(self, object error) except -1:
        """ErrorResponse: the server skips everything up to Sync."""
        Op.on_error(self, error)
        return self.end()

    cdef int on_ready(self) except -1:
        if self.error is not None:
            self.fail(refusal(self.error, self.is_moved and self.stage == ASKED))
        elif self.stage != COMPLETE:
            raise ProtocolError("ReadyForQuery in the midst of COPY FROM STDIN")
        else:
            self.resolve(self.status)
        return 0

    # -- who waits -------------------------------------------------------------------

    def opened(self):
        """An awaitable that ends when the server takes data, or will take none."""
        cdef Waiter waiter = Waiter(self.loop)
        if self.stage == ASKED and self.outcome == WAITING:
            self.waiter = waiter
        else:
            waiter.resolve(None)
        return waiter

    cdef int look(self) except -1:
        """Whoever waits for the response is to look."""
        cdef Waiter waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.resolve(None)
        return 0

    cdef int settle(self) except -1:
        if self.session is not None:
            self.session.gate.vacate(self)
        self.look()
        return Op.settle(self)

    # -- data ------------------------------------------------------------------------

    cdef int open_message(self) except -1:
        """CopyData begins."""
        if self.data.length == 0:
            self.data.begin_message(MSG_COPY_DATA)
        return 0

    def put_row(self, row):
        """Encode a row; returns whether it is time to send, or to see what happened.

        Raises:
            DataError: a value does not fit its column, or there are too many or too
                few; nothing of the row is kept.
        """
        return self.add_row(row, True) != 0

    def feed(self, rows):
        """Encode rows from an iterator until it is time to send, as by `put_row`."""
        cdef bint may_change = type(rows) not in PLAIN  # from one row to the next
        for row in rows:
            if self.add_row(row, may_change):
                return True
        return False

    cdef int add_row(self, row, bint may_change) except -1:
        """`put_row`, as a C integer."""
        if self.codecs is None:
            raise InterfaceError(
                "this COPY takes bytes: use write(), or leave `format` away for rows"
            )
        if type(row) is not tuple:
            may_change |= type(row) is not list
            row = values_of(row, self.n_rows)
        if self.ended:
            if self.rows is not None:
                self.rows.append(row)
            return 1
        if self.doubtful is not None:
            raise InterfaceError("await what write_row() returns before the next row")
        try:
            self.encode_row(<tuple>row)
        except Exception:
            if self.rows is None:
                raise
            self.doubtful = row
            return 1
        self.n_rows += 1
        if self.rows is not None:
            self.rows.append(row)
            if may_change and not is_constant(<tuple>row):
                return 1
        if self.data.length < CHUNK:
            return 0
        if self.stage != ASKED:
            self.send()
        return 1

    cdef int encode_row(self, tuple row) except -1:
        """Into the buffer, as a whole or not at all."""
        cdef WriteBuffer out = self.data
        cdef Py_ssize_t begin
        if len(row) != len(self.codecs):
            raise wrong_length(self, len(row))
        if self.in_row:
            raise InterfaceError("a row is being encoded: its values cannot write")
        self.open_message()
        begin = out.length
        self.in_row = True
        try:
            self.put_values(row)
        except BaseException:
            out.length = begin
            raise
        finally:
            self.in_row = False
        return 0

    def settle_doubt(self):
        """A row that did not fit is looked at again, now that the columns are sure.

        Raises:
            DataError: it does not.
        """
        row, self.doubtful = self.doubtful, None
        if row is not None:
            self.add_row(row, True)

    @property
    def kept(self):
        """Rows so far, while another try is possible, else None."""
        if self.rows is None or self.doubtful is None:
            return self.rows
        return [*self.rows, self.doubtful]

    cdef int put_values(self, tuple row) except -1:
        """A row: int16 number of fields, then as in Bind; or a line of text."""
        cdef WriteBuffer out = self.data
        cdef Codec codec
        cdef int i = 0
        try:
            if self.text_of is not None:
                return self.put_text(row, &i)
            out.put_int16(<int>len(row))
            for value in row:
                if value is None:
                    out.put_int32(-1)
                else:
                    codec = <Codec>self.codecs[i]
                    codec.encode(codec, out, value)
                i += 1
        except InterfaceError as error:
            raise error.with_msg(f"{place(self, i, '')}: {error.args[0]}") from None
        except Exception as error:
            value = row[i]
            path = ""
            if isinstance(error, ElementError):
                path, value = error.path, error.value
            raise refused_at(place(self, i, path), value, error) from error
        return 0

    cdef int put_text(self, tuple row, int *column) except -1:
        """A row as a line: fields parted by tabs, a line feed behind the last."""
        cdef WriteBuffer out = self.data
        cdef bytes text
        for value in row:
            if column[0]:
                out.put_byte(c"\t")
            if value is None:
                out.put_raw(b"\\N", 2)
            else:
                text = self.text_of(self.codecs[column[0]], value)
                out.put_raw(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            column[0] += 1
        return out.put_byte(c"\n")

    def put_bytes(self, data):
        """Add bytes as they are, of any length; returns as `put_row`.

        Args:
            data: an object with a contiguous buffer of bytes.
        """
        cdef Py_buffer view
        if self.ended:
            return True
        if self.statement is not None:
            raise InterfaceError(
                "this COPY takes rows: use write_row(), or give a `format` for bytes"
            )
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len:
                self.open_message()
                self.data.put_raw(view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        if self.data.length >= CHUNK:
            self.send()
            return True
        return False

    cdef int send(self) except -1:
        """Send what was gathered as one CopyData."""
        cdef Session session = self.session
        cdef bytes message
        if self.data.length == 0:
            return 0
        self.data.end_message()
        message = self.data.take()
        if session is None or session.write is None or self.ended:
            return 0
        self.size += len(message) - 5
        session.flush()
        session.write(message)
        return 0

    # -- the end ---------------------------------------------------------------------

    def finish(self):
        """Send the rest and CopyDone; the answer comes once everything is stored."""
        cdef Session session = self.session
        cdef WriteBuffer rest = self.data
        if self.ended or session is None:
            return
        if self.statement is not None and self.text_of is None:
            self.open_message()
            rest.put_int16(TRAILER)
        if rest.length:
            rest.end_message()
            session.out.put_raw(rest.data, rest.length)
            self.size += rest.length - 5
            rest.length = 0
        session.out.put_raw(PyBytes_AS_STRING(COPY_DONE), 5)
        self.end()

    def leave(self):
        """Call it off, and do not wait for that."""
        self.cancel()

    def give_up(self):
        """Send CopyFail: nothing is stored."""
        cdef Session session = self.session
        if self.ended or session is None:
            return
        session.out.begin_message(OUT_COPY_FAIL)
        session.out.put_cstring("the caller has given up", "the reason")
        session.out.end_message()
        self.end()

    cdef int end(self) except -1:
        """Nothing but Sync will be sent any more."""
        cdef Session session = self.session
        if not self.ended:
            self.ended = True
            session.out.put_raw(PyBytes_AS_STRING(SYNC), 5)
            session.gate.vacate(self)
            session.release()
        return 0

    cdef int abandon(self) except -1:
        self.give_up()
        return Op.abandon(self)


cdef object columns_changed():
    return InvalidCachedStatementError(
        "the columns of the table have changed while COPY was sent; try again"
    )


cdef object refusal(error, bint is_moved):
    """The error of the server, which may be that of columns that have moved."""
    return columns_changed() if is_moved else error


cdef str place(CopyInOp op, int column, str path):
    """Where a value is: ``column "a"[0] of row 3``; rows count from 1, as in COPY."""
    cdef Column found = op.statement.description.columns[column]
    return f'column "{found.name}"{path} of row {op.n_rows + 1}'


cdef object wrong_length(CopyInOp op, Py_ssize_t length):
    cdef Py_ssize_t size = len(op.codecs)
    return argument_error(
        f"row {op.n_rows + 1} has {length} value{'' if length == 1 else 's'}, "
        f"COPY has {size} column{'' if size == 1 else 's'}"
    )


cdef tuple values_of(row, Py_ssize_t n_rows):
    """The values of a row that is no tuple."""
    if isinstance(row, (str, bytes, bytearray, dict)) or not hasattr(row, "__iter__"):
        raise argument_error(
            f"row {n_rows + 1} is expected to be a sequence of values, got "
            f"{type(row).__name__}"
        )
    return tuple(row)


cdef bint is_constant(tuple row) except -1:
    """Whether its values are sure never to change."""
    for value in row:
        kind = type(value)
        if kind is not int and kind is not str and kind not in CONSTANT:
            return False
    return True


cdef Statement prepared_for(Session session, str sql):
    """The prepared statement of a COPY, in the cache or to be parsed; None: none."""
    cdef Statement found = session.statements.get(sql)
    if found is not None:
        return found
    if sql in session.in_first_flight or not _statements.is_admitted(session, sql):
        return None
    name = _statements.statement_name(sql)
    return Statement(session, sql, name, NOTHING)


def start_copy_in(
    Session session, str sql, Statement statement, text_of=None, Statement asked=None
):
    """Send COPY ... FROM STDIN.

    Put data into the operation when it `is_sure` of its columns, or else once it is
    `opened`.

    Args:
        sql: the command.
        statement: whose parameters are the columns; None for bytes as they are.
        text_of: encodes a value (codec, value) in COPY's text format, if that is what
            the command says; None for the binary format.
        asked: whose columns must be those of the server, where that is in question:
            InvalidCachedStatementError if not. Where it has a name the COPY has one as
            well, and can be sent again if the server does not know it.
    """
    cdef CopyInOp op = CopyInOp.__new__(CopyInOp)
    op.statement = statement
    op.codecs = None if statement is None else statement.params.codecs
    op.text_of = text_of
    op.data = WriteBuffer()
    if statement is not None and text_of is None:
        op.open_message()
        op.data.put_raw(PyBytes_AS_STRING(HEADER), HEADER_SIZE)
    op.asked = asked
    op.is_sure = statement is not None and (asked is None or asked.name != b"")
    if op.is_sure and asked is not None:
        op.prepared = prepared_for(session, sql)
        op.rows = []
    put_copy(session, op, sql, asked, op.prepared)
    session.hold(op)
    session.flush_soon()
    session.gate.occupy(op)
    return op


def describe_columns(names, oids, parameter_oids=None):
    """A Description of columns that no statement has described.

    Args:
        names: of the columns.
        oids: of their types.
        parameter_oids: types of parameters; None for those of the columns.
    """
    cdef Description description = Description.__new__(Description)
    cdef Column column
    cdef list columns = []
    for name, oid in zip(names, oids, strict=True):
        column = Column.__new__(Column)
        column.name = name
        column.type_oid = oid
        columns.append(column)
    description.columns = tuple(columns)
    description.raw_columns = b""  # there are some
    description.parameter_oids = tuple(
        oids if parameter_oids is None else parameter_oids
    )
    return description
