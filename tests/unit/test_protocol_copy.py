"""COPY and streams: what is written, and what is made of every order of replies.

Each script is played in all the ways of `tests.support.script`, so that a notification,
a notice or a parameter comes between any two messages.
"""

import gc
import struct
import weakref

import pytest

from chopin._copy import describe_columns, start_copy_in, start_copy_out
from chopin._ops import STREAM
from chopin._protocol import Statement
from chopin._statements import statement_name
from chopin._streams import ItemIterator
from chopin.exceptions import (
    DataError,
    DivisionByZeroError,
    FeatureNotSupportedError,
    InterfaceError,
    InvalidCachedStatementError,
    ProtocolError,
    QueryCanceledError,
)
from tests.support import backend as b
from tests.support.fakes import CLOSED, OPEN, READY, open_session
from tests.support.script import (
    CANCEL_ENDED,
    CANCELED,
    COLUMNS,
    CUTS,
    DIVISION,
    EXECUTE,
    FAILED,
    IN_BLOCK,
    INT4,
    LOST,
    SQL,
    TEXT,
    Call,
    Ends,
    Fails,
    Has,
    Refused,
    Say,
    Script,
    Sent,
    Start,
    Waits,
    blocked,
    by_name,
    cancel,
    cancels,
    done,
    int4,
    prepared,
    query,
    rider,
    row,
    simple,
    state,
)

OUT = 'COPY "t" TO STDOUT (FORMAT binary)'
IN = 'COPY "t" FROM STDIN (FORMAT binary)'
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
RUNS = b.parse_complete() + b.bind_complete()
BEGINS_OUT = RUNS + b.copy_out_response(1, [1, 1])
BEGINS_IN = RUNS + b.copy_in_response(1, [1, 1])
COPIED = b.command_complete("COPY 2")
BEGUN = b.command_complete("BEGIN")


def sent(sql):
    """The words of a statement without parameters, but for its Sync."""
    return f"Parse {sql!r} ()", "Bind ()", "Execute 0"


def sent_named(sql):
    """The same of a statement that has a name, as it is sent for the first time."""
    name = statement_name(sql).decode()
    return f"Parse {name} {sql!r} ()", f"Bind {name} ()", "Execute 0"


def field(data):
    return b"\xff\xff\xff\xff" if data is None else struct.pack("!i", len(data)) + data


def binary(*values):
    """A row of the binary format."""
    return struct.pack("!h", len(values)) + b"".join(map(field, values))


def columns(session):
    return Statement(session, "", b"", describe_columns(["a", "b"], [INT4, TEXT]))


def copy_out(session, ops):
    return start_copy_out(session, OUT, columns(session), None)


def copy_bytes(session, ops):
    return start_copy_out(session, 'COPY "t" TO STDOUT (FORMAT csv)', None, None)


def copy_in(session, ops):
    return start_copy_in(session, IN, columns(session))


def bytes_in(session, ops):
    return start_copy_in(session, 'COPY "t" FROM STDIN (FORMAT csv)', None)


def as_text(codec, value):
    if value == "bad":
        raise ValueError("a bad value")
    return str(value).encode()


def text_in(session, ops):
    sql = 'COPY "t" FROM STDIN (FORMAT text)'
    return start_copy_in(session, sql, columns(session), as_text)


def asked(start, sql, name, *more):
    """COPY with a question in front, for a statement of that name."""

    def make(session, ops):
        # what `prepared` has let the session know
        description = session.descriptions[SQL]
        question = Statement(session, "the question", name, description)
        return start(session, sql, columns(session), *more, asked=question)

    return make


class Taken:
    """What waits in the flow of "copy"; chunks are joined."""

    def __init__(self, *items):
        self.items = list(items)

    def play(self, play):
        got = play.ops["copy"].flow.take()
        if got and isinstance(got[0], bytes):
            got = [b"".join(got)]
        assert got == self.items


def put(*rows):
    """Give rows to "copy"."""
    return Call(lambda session, ops: [ops["copy"].put_row(row) for row in rows])


def refused(row, error, match):
    """Give a row to "copy" that it does not take."""

    def function(session, ops):
        with pytest.raises(error, match=match):
            ops["copy"].put_row(row)

    return Call(function)


def taken_back(session, ops):
    ops["copy"].give_up()


def finish(session, ops):
    ops["copy"].finish()


def data(session, ops):
    """What was sent as CopyData, and CopyDone behind it."""
    *messages, end, sync = session.sent()
    assert (end.name, sync.name) == ("CopyDone", "Sync")
    return [message.fields["data"] for message in messages]


def stream(session, ops):
    session.gate.ensure_free()


OUTGOING = [
    Script(
        "out",
        Start("copy", copy_out),
        Sent(*sent(OUT), "Sync"),
        Has(blocked, (True, False)),
        Refused(stream, InterfaceError),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(int4(1), b"x"))),
        Taken((1, "x")),
        Waits("copy"),
        Say(b.copy_data(binary(int4(2), None)), b.copy_data(TRAILER), b.copy_done()),
        Say(COPIED, READY),
        Taken((2, None)),
        Ends("copy", "COPY 2"),
        Has(lambda _, ops: ops["copy"].rows_so_far, 2),
        Refused(stream, InterfaceError),  # until its reader has gone
        Call(lambda _, ops: ops["copy"].leave()),
        Has(blocked, (False, False)),
        Has(state, OPEN),
    ),
    Script(
        "out-nothing",
        Start("copy", copy_out),
        Say(BEGINS_OUT, b.copy_data(HEADER + TRAILER), b.copy_done(), COPIED, READY),
        Taken(),
        Ends("copy", "COPY 2"),
    ),
    Script(
        "out-header-alone-and-with-an-extension",
        Start("copy", copy_out),
        Say(BEGINS_OUT, b.copy_data(HEADER[:-4] + int4(3) + b"abc")),
        Say(b.copy_data(binary(int4(1), b"x")), b.copy_data(TRAILER), b.copy_done()),
        Say(COPIED, READY),
        Taken((1, "x")),
        Ends("copy", "COPY 2"),
    ),
    Script(
        "out-bytes",
        Start("copy", copy_bytes),
        Say(RUNS + b.copy_out_response(0, [0, 0]), b.copy_data(b"1,x\n")),
        Say(b.copy_data(b"2,\n"), b.copy_data(b""), b.copy_done(), COPIED, READY),
        Taken(b"1,x\n2,\n"),
        Ends("copy", "COPY 2"),
        Has(lambda _, ops: ops["copy"].rows_so_far, 0),
    ),
    Script(
        "out-refused",
        Start("copy", copy_out),
        Say(DIVISION, READY),
        Fails("copy", DivisionByZeroError),
        Has(blocked, (False, False)),
        Has(state, OPEN),
    ),
    Script(
        "out-error-in-the-middle",
        Start("copy", copy_out),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(int4(1), b"x")), DIVISION, READY),
        Taken((1, "x")),
        Fails("copy", DivisionByZeroError),
        Has(state, OPEN),
    ),
    Script(
        "out-begins-a-block",
        rider("BEGIN"),
        Start("copy", copy_out),
        Sent(*sent("BEGIN"), *sent(OUT), "Sync"),
        Say(RUNS + BEGUN + BEGINS_OUT, b.copy_data(HEADER + TRAILER), b.copy_done()),
        Say(COPIED, IN_BLOCK),
        Ends("copy", "COPY 2"),
        Has(lambda s, _: s.transaction_status, "T"),
    ),
    Script(
        "out-abandoned",
        Start("copy", copy_out),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(int4(1), b"x"))),
        cancel("copy"),
        Has(cancels, 1),
        Has(blocked, (True, True)),
        Call(stream),  # who comes now waits for the end, and gets no error
        Say(b.copy_data(binary(int4(1), b"x")), CANCELED, READY),
        Has(blocked, (True, True)),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        Taken((1, "x")),
    ),
    Script(
        "out-abandoned-ahead-of-the-response",
        Start("copy", copy_out),
        cancel("copy"),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(int4(1), b"x"))),
        Say(b.copy_data(TRAILER), b.copy_done(), COPIED, READY),
        CANCEL_ENDED,
        Taken(),
        Has(blocked, (False, False)),
    ),
    Script(
        "out-behind-a-query",
        Start("query", simple("SELECT 1")),
        Start("copy", copy_out),
        cancel("copy"),
        Has(cancels, 0),
        Say(b.command_complete("SELECT 1"), READY),
        Has(cancels, 1),
        Say(CANCELED, READY),
        CANCEL_ENDED,
        Ends("query", "SELECT 1"),
        Has(blocked, (False, False)),
    ),
    Script(
        "out-a-value-that-is-none",
        Start("copy", copy_out),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(int4(1), b"x"))),
        Say(b.copy_data(binary(b"???", b"x"))),
        Taken((1, "x")),
        Fails("copy", DataError, "int4"),
        Has(cancels, 1),
        Say(b.copy_data(binary(int4(3), b"x")), CANCELED, READY),
        CANCEL_ENDED,
        Taken(),
        Has(state, OPEN),
    ),
    Script(
        "out-other-columns-than-described",
        Start("copy", copy_out),
        Say(RUNS + b.copy_out_response(1, [1, 1, 1])),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Say(b.copy_data(HEADER + binary(b"", b"", b"")), CANCELED, READY),
        CANCEL_ENDED,
        Has(state, OPEN),
    ),
    Script(
        "out-lost",
        Start("copy", copy_out),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(int4(1), b"x"))),
        LOST,
        Taken((1, "x")),
        Has(lambda _, ops: ops["copy"].done(), True),
        Has(state, CLOSED),
    ),
]

INCOMING = [
    Script(
        "in",
        Start("copy", copy_in),
        Start("opened", lambda _, ops: ops["copy"].opened()),
        Sent(*sent(IN)),
        Waits("opened"),
        Refused(stream, InterfaceError),
        Say(BEGINS_IN),
        Ends("opened"),
        put((1, "x"), [2, None]),
        Sent(),
        Call(finish),
        Has(data, [HEADER + binary(int4(1), b"x") + binary(int4(2), None) + TRAILER]),
        Has(blocked, (False, False)),
        Waits("copy"),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
        Has(lambda _, ops: (ops["copy"].n_rows, ops["copy"].size), (2, 50)),
    ),
    Script(
        "in-bytes",
        Start("copy", bytes_in),
        Say(RUNS + b.copy_in_response(0, [0, 0])),
        Call(lambda _, ops: [ops["copy"].put_bytes(data) for data in (b"1,", b"x\n")]),
        Call(finish),
        Call(lambda s, _: s.sent().pop(0)),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
    ),
    Script(
        "in-text",
        Start("copy", text_in),
        Say(RUNS + b.copy_in_response(0, [0, 0])),
        put((1, "x"), (2, None)),
        refused((1, "bad"), DataError, "column \"b\" of row 3: 'bad' .a bad value"),
        Sent(*sent('COPY "t" FROM STDIN (FORMAT text)')),
        Call(finish),
        Has(data, [b"1\tx\n2\t\\N\n"]),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
    ),
    Script(
        "in-nothing",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        Call(finish),
        Say(b.command_complete("COPY 0"), READY),
        Ends("copy", "COPY 0"),
    ),
    Script(
        "in-refused",
        Start("copy", copy_in),
        Start("opened", lambda _, ops: ops["copy"].opened()),
        Say(DIVISION, READY),
        Ends("opened"),
        Fails("copy", DivisionByZeroError),
        Has(blocked, (False, False)),
        Sent(*sent(IN), "Sync"),
        Call(finish),
        Call(taken_back),
        Sent(),
        Has(state, OPEN),
    ),
    Script(
        "in-error-in-the-middle",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        put((1, "x")),
        Sent(*sent(IN)),
        Say(DIVISION),
        Waits("copy"),
        Sent("Sync"),
        Say(READY),
        Fails("copy", DivisionByZeroError),
        Has(lambda _, ops: ops["copy"].put_row((2, "y")), True),
        Call(finish),
        Sent(),
        Has(blocked, (False, False)),
        Start("next", simple("SELECT 1")),
        Say(b.command_complete("SELECT 1"), READY),
        Ends("next", "SELECT 1"),
    ),
    Script(
        "in-error-at-the-end",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        put((1, "x")),
        Call(finish),
        Start("next", simple("SELECT 1")),
        Say(DIVISION, READY),
        Fails("copy", DivisionByZeroError),
        Say(b.command_complete("SELECT 1"), READY),
        Ends("next", "SELECT 1"),
    ),
    Script(
        "in-given-up",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        put((1, "x")),
        Call(taken_back),
        Sent(*sent(IN), "CopyFail the caller has given up", "Sync"),
        Has(cancels, 0),
        Has(blocked, (False, False)),
        Say(CANCELED, READY),
        Fails("copy", QueryCanceledError),
        Has(state, OPEN),
    ),
    Script(
        "in-cancelled",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        cancel("copy"),
        Sent(*sent(IN), "CopyFail the caller has given up", "Sync"),
        Has(cancels, 1),
        Has(blocked, (True, True)),
        Say(CANCELED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
    ),
    Script(
        "in-cancelled-ahead-of-the-response",
        Start("copy", copy_in),
        cancel("copy"),
        Say(BEGINS_IN, CANCELED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        Has(state, OPEN),
    ),
    Script(
        "in-cancelled-after-its-end",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        Call(finish),
        Call(lambda s, _: s.sent()),
        cancel("copy"),
        Sent(),
        Has(cancels, 1),
        Say(COPIED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
    ),
    Script(
        "in-begins-a-block",
        rider("BEGIN"),
        Start("copy", copy_in),
        Sent(*sent("BEGIN"), *sent(IN)),
        Say(RUNS + BEGUN + BEGINS_IN),
        Call(finish),
        Say(COPIED, IN_BLOCK),
        Ends("copy", "COPY 2"),
    ),
    Script(
        "in-a-block-that-does-not-begin",
        rider("BEGIN"),
        Start("copy", copy_in),
        Say(DIVISION, READY),
        Fails("copy", DivisionByZeroError),
        Has(lambda s, _: s.riders, ["BEGIN"]),
    ),
    Script(
        "in-fails-its-block",
        Start("begin", simple("BEGIN")),
        Say(BEGUN, IN_BLOCK),
        Start("copy", copy_in),
        Say(BEGINS_IN),
        Call(taken_back),
        Say(CANCELED, FAILED),
        Has(lambda s, _: s.transaction_status, "E"),
    ),
    Script(
        "in-rows-that-do-not-fit",
        Start("copy", copy_in),
        Say(BEGINS_IN),
        put((1, "x")),
        refused(("y", "x"), DataError, "column \"a\" of row 2: 'y'"),
        refused((2,), DataError, "row 2 has 1 value, COPY has 2 columns"),
        refused({"a": 1}, DataError, "row 2 .* got dict"),
        refused(7, DataError, "row 2 .* got int"),
        put((2, "y")),
        Sent(*sent(IN)),
        Call(finish),
        Has(data, [HEADER + binary(int4(1), b"x") + binary(int4(2), b"y") + TRAILER]),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
    ),
    Script(
        "in-other-columns-than-described",
        Start("copy", copy_in),
        Say(RUNS + b.copy_in_response(1, [1])),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Sent(*sent(IN), "CopyFail the caller has given up", "Sync"),
        Say(CANCELED, READY),
        CANCEL_ENDED,
        Has(state, OPEN),
    ),
    Script(
        "in-lost",
        Start("copy", copy_in),
        Start("opened", lambda _, ops: ops["copy"].opened()),
        LOST,
        Ends("opened"),
        Call(lambda _, ops: ops["copy"].put_row((1, "x"))),
        Call(finish),
        Call(taken_back),
        Has(state, CLOSED),
    ),
]

# What the server says of the question that goes in front.
DESCRIBED = b.parameter_description([]) + COLUMNS
OTHERS = b.parameter_description([]) + b.row_description([("a", 0, 0, 23, 4, -1, 0)])
# of another table
MOVED = DESCRIBED.replace(b"a" + bytes(5), b"a" + bytes(4) + b"\7")
KEPT = [(1, "x"), (2, "y")]


class Number(int):
    """A number that may have more in it, which may change."""


MUTABLE = (Number(7), "x")


def keys(row):
    """A row that is neither a tuple nor a list."""
    return dict.fromkeys(row).keys()


ROWS = binary(int4(1), b"x") + binary(int4(2), b"y")


def kept(session, ops):
    return ops["copy"].kept


def put_kept(session, ops):
    assert [ops["copy"].put_row(row) for row in KEPT] == [False, False]


ASKED = [
    Script(
        "asked-out",
        Start("copy", asked(start_copy_out, OUT, b"s2", None)),
        Sent("Describe S s2", *sent(OUT), "Sync"),
        Say(DESCRIBED, BEGINS_OUT, b.copy_data(HEADER + TRAILER), b.copy_done()),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
        given=prepared,
    ),
    Script(
        "asked-out-others",
        Start("copy", asked(start_copy_out, OUT, b"", None)),
        Sent("Parse 'the question' ()", "Describe S", *sent(OUT), "Sync"),
        Say(b.parse_complete(), OTHERS),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Has(cancels, 1),
        Say(BEGINS_OUT, b.copy_data(HEADER + binary(b"?", b"")), CANCELED, READY),
        CANCEL_ENDED,
        Taken(),
        Has(state, OPEN),
        given=prepared,
    ),
    Script(
        "asked-out-moved",
        Start("copy", asked(start_copy_out, OUT, b"s2", None)),
        Say(MOVED, BEGINS_OUT, b.copy_data(HEADER + TRAILER), b.copy_done()),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
        Has(cancels, 0),
        given=prepared,
    ),
    Script(
        "asked-out-moved-and-refused",
        Start("copy", asked(start_copy_out, OUT, b"s2", None)),
        Say(MOVED, DIVISION, READY),
        Fails("copy", InvalidCachedStatementError, "columns"),
        given=prepared,
    ),
    Script(
        "asked-in-one-flight",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Has(lambda _, ops: ops["copy"].is_sure, True),
        Call(put_kept),
        Has(kept, KEPT),
        Call(finish),
        Call(lambda s, _: s.loop.run()),
        Sent(
            "Describe S s2",
            *sent_named(IN),
            f"CopyData {HEADER + ROWS + TRAILER}",
            "CopyDone",
            "Sync",
        ),
        Say(DESCRIBED, BEGINS_IN, COPIED, READY),
        Ends("copy", "COPY 2"),
        Has(kept, None),
        Start("again", asked(start_copy_in, IN, b"s2")),
        Call(lambda s, _: s.loop.run()),
        Sent("Describe S s2", *sent_named(IN)[1:]),
        given=prepared,
    ),
    Script(
        "asked-in-waits-with-the-second-part",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Has(lambda _, ops: ops["copy"].put_row((1, "x" * 70_000)), True),
        Call(lambda s, _: s.loop.run()),
        Sent("Describe S s2", *sent_named(IN)),
        Say(DESCRIBED, BEGINS_IN),
        Has(kept, None),
        Has(lambda _, ops: ops["copy"].put_row((2, None)), True),
        Has(lambda s, _: [message.name for message in s.sent()], ["CopyData"]),
        Call(finish),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
        given=prepared,
    ),
    Script(
        "asked-in-values-that-may-change",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        # nobody's code comes between the rows of a list
        Has(lambda _, ops: ops["copy"].feed(iter([MUTABLE, list(MUTABLE)])), False),
        Has(lambda _, ops: ops["copy"].put_row((1, "x")), False),
        Has(lambda _, ops: ops["copy"].put_row(MUTABLE), True),
        Has(lambda _, ops: ops["copy"].feed(each for each in [MUTABLE]), True),
        Has(lambda _, ops: ops["copy"].feed(iter([keys(KEPT[0])])), False),
        Has(lambda _, ops: ops["copy"].feed(iter([keys(MUTABLE)])), True),
        Say(DESCRIBED, BEGINS_IN),
        Has(kept, None),
        put(MUTABLE),
        given=prepared,
    ),
    Script(
        "asked-in-refused-by-the-server",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Say(b.error_response("cached plan must not change", code="0A000")),
        Waits("copy"),
        Has(lambda _, ops: ops["copy"].ended, True),
        Has(lambda _, ops: ops["copy"].put_row([3, "z"]), True),
        Has(kept, [*KEPT, (3, "z")]),
        Sent("Describe S s2", *sent_named(IN), "Sync"),
        Say(READY),
        Fails("copy", FeatureNotSupportedError),
        Has(kept, [*KEPT, (3, "z")]),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "asked-in-others",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Say(OTHERS),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Has(kept, KEPT),
        Sent(
            "Describe S s2", *sent_named(IN), "CopyFail the caller has given up", "Sync"
        ),
        Say(BEGINS_IN, CANCELED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "asked-in-others-when-all-is-sent",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Call(finish),
        Say(OTHERS),
        Has(lambda _, ops: ops["copy"].exception().outcome, "unknown"),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Has(kept, None),  # nobody may write them again
        Has(cancels, 1),
        Say(BEGINS_IN, COPIED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "asked-in-moved-when-all-is-sent",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Call(finish),
        Say(MOVED, BEGINS_IN, COPIED, READY),
        Ends("copy", "COPY 2"),
        Has(cancels, 0),
        given=prepared,
    ),
    Script(
        "asked-in-moved-before-all-is-sent",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Say(MOVED, BEGINS_IN),
        Call(finish),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
        given=prepared,
    ),
    Script(
        "asked-in-moved-and-refused",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Call(finish),
        Say(MOVED, DIVISION, READY),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Has(kept, KEPT),
        given=prepared,
    ),
    Script(
        "asked-in-moved-and-refused-later",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        Call(put_kept),
        Call(finish),
        Say(MOVED, BEGINS_IN, DIVISION, READY),
        Fails("copy", DivisionByZeroError),
        Has(kept, None),
        given=prepared,
    ),
    Script(
        "asked-in-others-unnamed",
        Start("copy", asked(start_copy_in, IN, b"")),
        Has(lambda _, ops: ops["copy"].is_sure, False),
        Start("opened", lambda _, ops: ops["copy"].opened()),
        Say(b.parse_complete(), OTHERS),
        Ends("opened"),
        Fails("copy", InvalidCachedStatementError, "columns"),
        Sent(
            "Parse 'the question' ()",
            "Describe S",
            *sent(IN),
            "CopyFail the caller has given up",
            "Sync",
        ),
        Say(BEGINS_IN, CANCELED, READY),
        CANCEL_ENDED,
        given=prepared,
    ),
    Script(
        "asked-in-a-doubtful-row",
        Start("copy", asked(start_copy_in, IN, b"s2")),
        put((1, "x")),
        Has(lambda _, ops: ops["copy"].put_row(("y", "x")), True),
        Has(kept, [(1, "x"), ("y", "x")]),
        refused((3, "z"), InterfaceError, "await"),
        Say(DESCRIBED, BEGINS_IN),
        Refused(lambda _, ops: ops["copy"].settle_doubt(), DataError),
        put((4, "z")),
        Call(lambda s, _: s.sent()),
        Call(finish),
        Has(data, [HEADER + binary(int4(1), b"x") + binary(int4(4), b"z") + TRAILER]),
        Say(COPIED, READY),
        Ends("copy", "COPY 2"),
        given=prepared,
    ),
]

STREAMED = [
    Script(
        "stream",
        Start("copy", query(STREAM, 1)),
        Sent(*EXECUTE),
        Refused(stream, InterfaceError),
        Say(b.bind_complete(), row(1)),
        Taken((1, "x")),
        Say(row(2), row(3), done(3), READY),
        Taken((2, "x"), (3, "x")),
        Ends("copy", "SELECT 3"),
        Has(lambda _, ops: ops["copy"].rows_so_far, 3),
        Refused(stream, InterfaceError),  # until its reader has gone
        Call(lambda _, ops: ops["copy"].leave()),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "stream-error-in-the-middle",
        Start("copy", query(STREAM, 1)),
        Say(b.bind_complete(), row(1), DIVISION, READY),
        Taken((1, "x")),
        Fails("copy", DivisionByZeroError),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "stream-abandoned",
        Start("copy", query(STREAM, 1)),
        Say(b.bind_complete(), row(1)),
        cancel("copy"),
        Has(cancels, 1),
        Say(row(2), CANCELED, READY),
        CANCEL_ENDED,
        Taken((1, "x")),
        Has(blocked, (False, False)),
        given=prepared,
    ),
    Script(
        "stream-a-value-that-is-none",
        Start("copy", query(STREAM, 1)),
        Say(b.bind_complete(), b.data_row([b"???", b"x"])),
        Fails("copy", DataError, "int4"),
        Has(cancels, 1),
        Say(row(2), CANCELED, READY),
        CANCEL_ENDED,
        Has(state, OPEN),
        given=prepared,
    ),
]

SCRIPTS = by_name(OUTGOING, INCOMING, ASKED, STREAMED)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, cut):
    """A script ends the same however its bytes arrive."""
    SCRIPTS[name].play(CUTS[cut])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_cut_at_every_offset(name):
    """A script ends the same wherever its bytes are cut in two."""
    SCRIPTS[name].play_cut_anywhere()


DATA = b.copy_data(HEADER + binary(int4(1), b"x"))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (copy_out, b.copy_data(HEADER)),
        (copy_out, b.copy_done()),
        (copy_out, COPIED),
        (copy_out, READY),
        (copy_out, BEGINS_IN),
        (copy_out, row(1)),
        (copy_out, b.message(b"H", b"\1")),
        (copy_out, b.copy_out_response(0, [0, 0])),
        (copy_out, BEGINS_OUT + BEGINS_OUT),
        (copy_out, BEGINS_OUT + b.copy_data(b"PGCOPY")),
        (copy_out, BEGINS_OUT + b.copy_data(b"x" + HEADER[1:])),
        (copy_out, BEGINS_OUT + b.copy_data(HEADER[:11] + b"\0\1\0\0\0\0\0\0")),
        (copy_out, BEGINS_OUT + b.copy_data(HEADER[:15] + b"\xff\xff\xff\xff")),
        (copy_out, BEGINS_OUT + b.copy_data(HEADER[:15] + b"\0\0\0\1")),
        (copy_out, BEGINS_OUT + DATA + b.copy_data(binary(int4(1)))),
        (copy_out, BEGINS_OUT + DATA + b.copy_data(binary(int4(1), b"x") + b"y")),
        (copy_out, BEGINS_OUT + DATA + b.copy_data(binary(int4(1), b"x")[:-1])),
        (copy_out, BEGINS_OUT + DATA + b.copy_data(b"")),
        (copy_out, BEGINS_OUT + DATA + b.copy_data(TRAILER) + DATA),
        (copy_out, BEGINS_OUT + DATA + b.copy_done()),
        (copy_out, BEGINS_OUT + DATA + COPIED),
        (copy_out, BEGINS_OUT + DATA + READY),
        (copy_out, BEGINS_OUT + DIVISION + DATA),
        (copy_out, BEGINS_OUT + DATA + b.copy_data(TRAILER) + b.copy_done() + READY),
        (copy_bytes, b.copy_out_response(0) + b.copy_done() + b.copy_data(b"x")),
        (copy_in, COPIED),
        (copy_in, READY),
        (copy_in, BEGINS_OUT),
        (copy_in, b.copy_data(b"x")),
        (copy_in, b.message(b"G", b"\1")),
        (copy_in, BEGINS_IN + BEGINS_IN),
        (copy_in, BEGINS_IN + COPIED),
        (copy_in, BEGINS_IN + READY),
        (copy_in, BEGINS_IN + row(1)),
        (copy_in, DIVISION + BEGINS_IN),
    ],
)
def test_out_of_turn(start, said):
    """What no server says ends the session, and whoever waits learns of it."""
    session = open_session()
    op = start(session, {})
    session.feed(said)
    assert session.state == CLOSED
    assert type(session.closed_by) is ProtocolError
    assert op.done()
    assert session.gate.stream is None


def test_parts_are_sent_as_they_fill():
    """Rows leave in messages of about 60 KiB, each whole, whatever else is flushed."""
    session = open_session()
    op = start_copy_in(session, IN, columns(session))
    session.feed(BEGINS_IN)
    session.sent()
    rows = iter([(n, "x" * 1000) for n in range(200)])
    sizes = []
    while op.feed(rows):
        session.feed(b.notice_response("mind the gap", code="01000"))
        (message,) = session.sent()
        sizes.append(len(message.fields["data"]))
    op.finish()
    rest, end, _ = session.sent()
    assert end.name == "CopyDone"
    assert len(sizes) == 3
    assert all(60 * 1024 <= size <= 64 * 1024 for size in sizes)
    assert sum(sizes) + len(rest.fields["data"]) == len(HEADER) + 200 * 1014 + 2


def fill(session, op, size):
    """Have the server send so many bytes of rows, about."""
    message = b.copy_data(binary(int4(1), b"x" * 1000))
    session.feed(message * (size // len(message) + 1))


def test_flow_stops_the_transport():
    """Past the limit reading stops; who takes what is there has it go on."""
    session = open_session()
    op = copy_out(session, {})
    session.feed(BEGINS_OUT + b.copy_data(HEADER))
    fill(session, op, 200 * 1024)
    assert session.count("flow") == 0
    fill(session, op, 100 * 1024)
    assert [event for event in session.events if event[0] == "flow"] == [
        ("flow", False)
    ]
    fill(session, op, 100 * 1024)  # what was read already
    assert len(op.flow.take()) == op.rows_so_far
    assert session.events[-1] == ("flow", True)
    assert op.flow.take() == []
    assert session.count("flow") == 2


@pytest.mark.parametrize("end", [lambda s, op: op.cancel(), lambda s, op: s.lost(None)])
def test_the_end_of_a_stream_has_the_transport_read(end):
    """A stream that is given up while reading is stopped: its end must be read."""
    session = open_session()
    op = copy_out(session, {})
    session.feed(BEGINS_OUT + b.copy_data(HEADER))
    fill(session, op, 300 * 1024)
    end(session, op)
    assert [event for event in session.events if event[0] == "flow"] == [
        ("flow", False),
        ("flow", True),
    ]


def test_drop_all_calls_copy_in_off():
    """A server that waits for data looks at no cancel request: it gets CopyFail."""
    session = open_session()
    op = copy_in(session, {})
    session.feed(BEGINS_IN)
    session.sent()
    session.drop_all("the connection was released")
    assert [message.name for message in session.sent()] == ["CopyFail", "Sync"]
    assert type(op.exception()) is InterfaceError
    session.feed(CANCELED + READY)
    session.cancel_ended()
    assert not session.gate.blocked


def test_rows_and_bytes_are_not_mixed():
    """Each COPY takes what it was begun for."""
    session = open_session()
    op = copy_in(session, {})
    with pytest.raises(InterfaceError, match="takes rows"):
        op.put_bytes(b"x")
    op.give_up()
    op = bytes_in(session, {})
    with pytest.raises(InterfaceError, match="takes bytes"):
        op.put_row((1,))


def test_an_item_costs_no_coroutine():
    """What is there already is awaited without one; the rest comes by `refill`."""
    portions = [[1, 2], [3]]
    dropped = []

    async def refill():
        if not portions:
            raise StopAsyncIteration
        return portions.pop(0)

    async def read(items):
        return [item async for item in items]

    items = ItemIterator(refill, lambda: dropped.append(True))
    with pytest.raises(StopIteration) as end:
        read(items).send(None)
    assert end.value.value == [1, 2, 3]
    assert dropped == []
    del items, end
    assert dropped == [True]


def test_an_item_is_awaited_by_hand_too():
    """`await anext(...)`, and an awaitable's protocol without am_send."""
    portions = [[1, 2, 3]]

    async def refill():
        return portions.pop()

    iterator = ItemIterator(refill, lambda: None)

    async def read():
        return await anext(iterator), await anext(iterator)

    with pytest.raises(StopIteration) as end:
        read().send(None)
    assert end.value.value == (1, 2)
    with pytest.raises(StopIteration) as end:
        next(iterator.__anext__().__await__())
    assert end.value.value == 3


def test_items_that_are_exceptions_tuples_and_none():
    """Each comes out as it is, whatever carries it."""
    error, row = StopIteration("mine"), (1, 2)
    iterator = ItemIterator(None, lambda: None, [None, error, row, ()])

    async def read():
        return [await anext(iterator) for _ in range(4)]

    with pytest.raises(StopIteration) as end:
        read().send(None)
    assert end.value.value == [(), row, error, None]


def test_a_kept_exception_keeps_its_item():
    """Who catches the StopIteration of an item by hand has it for himself."""
    iterator = ItemIterator(None, lambda: None, [3, 2, 1])
    kept = []
    for _ in range(3):
        with pytest.raises(StopIteration) as end:
            next(iterator)
        kept.append(end.value)
    assert [each.value for each in kept] == [1, 2, 3]


def test_an_iterator_that_is_gone_keeps_no_item():
    """The last item is not held by what has carried it."""

    class Item:
        """Can be referred to weakly."""

    iterator = ItemIterator(None, lambda: None, [Item()])

    async def read(items):
        return weakref.ref(await anext(items))

    with pytest.raises(StopIteration) as end:
        read(iterator).send(None)
    del iterator
    gc.collect()
    assert end.value.value() is None
