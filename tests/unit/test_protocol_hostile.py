"""Bytes that no honest server sends, and what must never be written.

Whatever arrives, the session ends with a typed error or goes on; it never crashes or
hangs, and takes no memory on the word of a length.
"""

import functools
import mmap
import pathlib
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chopin._many import start_many
from chopin._ops import (
    ROWS,
    start_execute,
    start_prepare,
    start_query,
)
from chopin._simple import start_simple
from chopin._startup import start_startup
from chopin.exceptions import DataError, InterfaceError, PostgresError, ProtocolError
from tests.support import backend as b
from tests.support.fakes import (
    CLOSED,
    CLOSING,
    OPEN,
    READY,
    STARTING,
    WELCOME,
    BareSession,
    open_session,
)
from tests.support.script import (
    COLUMNS,
    DESCRIBED,
    INT4,
    SQL,
    done,
    int4,
    many,
    prepare,
    prepared,
    query,
    row,
    simple,
)

GIB = 1 << 30
ROOT = pathlib.Path(__file__).parents[2]


def executing():
    """A session whose statement is about to send rows, and its operation."""
    session = open_session()
    prepared(session)
    op = query(ROWS)(session, {})
    session.feed(b.bind_complete())
    return session, op


def preparing():
    """A session that waits for a description, and its operation."""
    session = open_session()
    op = prepare()(session, {})
    session.feed(b.parse_complete())
    return session, op


def starting(minor_version=0):
    """A session that waits for its first message, and its operation."""
    session = BareSession()
    return session, start_startup(session, {"user": "ada"}, minor_version)


def assert_broken(session, *ops):
    """The session is over, by a ProtocolError that everybody has got."""
    session.loop.run()
    assert session.state == CLOSED
    assert type(session.closed_by) is ProtocolError, repr(session.closed_by)
    assert session.count("broken") == 1
    assert [type(op.exception()) for op in ops] == [ProtocolError] * len(ops)


# -- frames ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, -1, -(2**31), 2**30 + 1, 2**31 - 1])
@pytest.mark.parametrize("kind", [b"D", b"Z", b"N", b"?"])
def test_frame_of_an_impossible_length(kind, length):
    """A length below 4 or beyond the limit is refused by the five bytes alone."""
    session, op = executing()
    room = len(session.get_buffer(-1))
    session.feed(kind + struct.pack("!i", length))
    assert_broken(session, op)
    assert len(session.get_buffer(-1)) <= room


@pytest.mark.parametrize("length", [2**18 + 1, 2**30])
def test_frame_is_small_before_the_server_has_proved_itself(length):
    """During startup no message needs more than 256 KiB."""
    session, op = starting()
    session.feed(b"E" + struct.pack("!i", length))
    session.loop.run()
    assert session.state == CLOSED
    assert type(op.exception()) is ProtocolError


@pytest.mark.parametrize(
    "message",
    [
        b.notice_response("x" * 50_000),
        b.notice_response("x"),
        b.parameter_status("a", "x"),
        b.notification_response(1, "a", "x"),
        b.authentication_cleartext_password(),
        b.backend_key_data(1, b"abcd"),
    ],
    ids=["long", "notice", "parameter", "notification", "request", "key"],
)
@pytest.mark.parametrize("is_in", [False, True])
def test_startup_without_an_end(message, is_in):
    """Nor do all of its messages together need more, also behind AuthenticationOk."""
    session, op = starting()
    session.feed(b.authentication_ok() * is_in)
    most = (2**18 - 8) // (len(message) - 1)
    session.feed(message * most)
    assert session.state == STARTING
    session.feed(message * 3)
    assert_broken(session, op)
    assert "until the session is open" in str(session.closed_by)


def test_limit_of_the_startup_ends_with_it():
    """What came before an open session, and what comes after, is not counted."""
    session = open_session()
    session.feed(b.notice_response("x" * 50_000) * 20)
    session.begin_closing()
    session.feed(b.notice_response("x" * 50_000) * 20)
    assert session.state == CLOSING
    assert session.count("notice") == 40


def test_big_frame_is_taken_when_the_session_is_open():
    """A row of several MiB arrives in reads of any size."""
    session, op = executing()
    text = b"x" * (3 << 20)
    session.feed(row(1, text) + done(1) + READY)
    assert op.result() == [(1, text.decode())]


# -- rows ------------------------------------------------------------------------------

ONE, TWO = struct.pack("!i", 4) + int4(1), struct.pack("!i", 1) + b"x"


def data_row(count, *fields):
    return b.message(b"D", struct.pack("!H", count) + b"".join(fields))


def length(n):
    return struct.pack("!i", n)


BAD_ROWS = {
    "no-count": b.message(b"D"),
    "half-a-count": b.message(b"D", b"\0"),
    "no-fields": data_row(0),
    "a-field-too-few": data_row(1, ONE),
    "a-field-too-many": data_row(3, ONE, TWO, TWO),
    "all-fields-of-the-world": data_row(65535, ONE, TWO),
    "count-is-a-lie": data_row(2, ONE),
    "count-is-a-lie-in-the-length": data_row(2, ONE, b"\0\0"),
    "length-minus-2": data_row(2, length(-2), TWO),
    "length-minus-2-at-the-end": data_row(2, ONE, length(-2)),
    "length-least": data_row(2, length(-(2**31)), TWO),
    "length-greatest": data_row(2, ONE, length(2**31 - 1), b"x"),
    "length-one-beyond": data_row(2, ONE, length(2), b"x"),
    "length-into-the-next-message": data_row(2, ONE, length(20), b"x"),
    "trailing-byte": data_row(2, ONE, TWO, b"\0"),
    "trailing-field": data_row(2, ONE, TWO, TWO),
}


@pytest.mark.parametrize("want", [0, 1, 2])
@pytest.mark.parametrize("name", BAD_ROWS)
def test_row_that_does_not_fit_its_description(name, want):
    """Counts and lengths must agree with the description and with the message."""
    session = open_session()
    prepared(session)
    op = query(want)(session, {})
    session.feed(b.bind_complete() + BAD_ROWS[name] + done(1) + READY)
    assert_broken(session, op)


@pytest.mark.parametrize("name", BAD_ROWS)
def test_row_of_a_group_that_does_not_fit(name):
    """The same in execute-many."""
    session = open_session()
    prepared(session)
    op = many(want_rows=True)(session, {})
    op.feed(iter([(1,)]))
    op.finish()
    session.feed(b.bind_complete() + BAD_ROWS[name] + done(1) + READY)
    assert_broken(session, op)


# -- descriptions ----------------------------------------------------------------------

COLUMN = b"a\0" + struct.pack("!IhIhih", 0, 0, INT4, 4, -1, 0)
BAD_COLUMNS = {
    "empty": b"",
    "half-a-count": b"\0",
    "count-without-columns": b"\0\1",
    "count-too-great": b"\0\2" + COLUMN,
    "count-too-small": b"\0\1" + COLUMN * 2,
    "count-of-65535": b"\xff\xff" + COLUMN,
    "name-without-end": b"\0\1" + b"a" * 30,
    "cut-by-one": b"\0\1" + COLUMN[:-1],
    "nothing-behind-the-name": b"\0\1" + COLUMN[:2],
    "trailing-byte": b"\0\1" + COLUMN + b"\0",
}
BAD_PARAMETERS = {
    "empty": b"",
    "half-a-count": b"\0",
    "count-too-great": b"\0\2" + int4(23),
    "count-too-small": b"\0\1" + int4(23) * 2,
    "count-of-65535": b"\xff\xff" + int4(23),
    "half-an-oid": b"\0\1\0\0",
    "trailing-byte": b"\0\1" + int4(23) + b"\0",
}
NO_PARAMETERS = b.parameter_description([])


@pytest.mark.parametrize("name", BAD_COLUMNS)
def test_columns_that_do_not_add_up(name):
    """A RowDescription that is cut, or has too much, ends the session."""
    session, op = preparing()
    session.feed(NO_PARAMETERS + b.message(b"T", BAD_COLUMNS[name]) + READY)
    assert_broken(session, op)


@pytest.mark.parametrize("name", BAD_COLUMNS)
def test_columns_that_do_not_add_up_behind_a_parse(name):
    """The same where statement and description come in one flight."""
    session, op = flight()
    session.feed(b.parameter_description([INT4]))
    session.feed(b.message(b"T", BAD_COLUMNS[name]))
    assert_broken(session, op)


def flight():
    session = open_session()
    prepared(session)
    session.pooled = True
    op = query(ROWS)(session, {})
    session.feed(b.parse_complete())
    return session, op


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_parameters_that_do_not_add_up(name):
    """A ParameterDescription that is cut, or has too much, ends the session."""
    session, op = preparing()
    session.feed(b.message(b"t", BAD_PARAMETERS[name]) + COLUMNS + READY)
    assert_broken(session, op)


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_parameters_that_do_not_add_up_behind_a_parse(name):
    """The same where statement and description come in one flight."""
    session, op = flight()
    session.feed(b.message(b"t", BAD_PARAMETERS[name]))
    session.feed(b.row_description([("b", INT4)]))
    assert_broken(session, op)


def test_greatest_number_of_columns():
    """65,535 columns are described and decoded."""
    session, op = preparing()
    columns = b.message(b"T", b"\xff\xff" + COLUMN * 65535)
    session.feed(NO_PARAMETERS + columns + READY)
    assert len(op.result().description.columns) == 65535


# -- errors and notices ----------------------------------------------------------------

FIELDS = {
    "nothing": b"",
    "only-the-end": b"\0",
    "no-sqlstate": b"SERROR\0VERROR\0Mno state\0\0",
    "empty-sqlstate": b"SERROR\0C\0Mempty\0\0",
    "long-sqlstate": b"SERROR\0C" + b"9" * 500 + b"\0Mlong\0\0",
    "twice": b"SERROR\0C22012\0Mfirst\0Msecond\0\0",
    "unknown-fields": b"SERROR\0C22012\0\x01one\0\xfftwo\0zthree\0Mtext\0\0",
    "not-utf-8": b"SERROR\0C22012\0M\xff\xfe\xc3\0\0",
    "sqlstate-not-utf-8": b"SERROR\0C\xff\xff\0Mtext\0\0",
    "format-string": b"SERROR\0C22012\0M%s%n%x{0}\0\0",
    "a-mebibyte": b"SERROR\0C22012\0M" + b"x" * (1 << 20) + b"\0\0",
    "no-last-zero": b"SERROR\0C22012\0Mtext\0",
    "text-without-end": b"SERROR\0C22012\0Mtext",
    "code-alone": b"S",
    "bytes-behind-the-end": b"SERROR\0C22012\0Mtext\0\0junk",
    "position-is-no-number": b"SERROR\0C22012\0Mtext\0Pabc\0\0",
    "severity-unheard-of": b"SBOO\0VBOO\0C22012\0Mtext\0\0",
}


@pytest.mark.parametrize("name", FIELDS)
def test_error_of_any_shape_is_an_error(name):
    """What fields there are does not matter: the caller gets a PostgresError."""
    session, op = executing()
    session.feed(b.message(b"E", FIELDS[name]) + READY)
    session.loop.run()
    assert session.state == OPEN
    assert isinstance(op.exception(), PostgresError)
    str(op.exception()), repr(op.exception())


@pytest.mark.parametrize("name", FIELDS)
def test_error_of_any_shape_in_a_simple_query(name):
    """The same where positions are corrected for riders."""
    session = open_session()
    session.riders.append("BEGIN")
    op = start_simple(session, "SELECT 1")
    session.feed(b.message(b"E", FIELDS[name]) + READY)
    session.loop.run()
    assert isinstance(op.exception(), PostgresError)


@pytest.mark.parametrize("name", FIELDS)
def test_notice_of_any_shape_is_a_notice(name):
    """A notice never disturbs the operation."""
    session, op = executing()
    session.feed(b.message(b"N", FIELDS[name]) + row(1) + done(1) + READY)
    assert op.result() == [(1, "x")]
    assert session.count("notice") == 1


def test_last_of_repeated_fields_counts():
    """As documented for `parse_fields`."""
    session, op = executing()
    session.feed(b.message(b"E", FIELDS["twice"]) + READY)
    assert op.exception().args == ("second",)


# -- the other messages ----------------------------------------------------------------

BAD_MESSAGES = {
    "ready-without-status": b.message(b"Z"),
    "ready-with-an-unknown-status": b.message(b"Z", b"X"),
    "ready-with-zero": b.message(b"Z", b"\0"),
    "ready-with-two": b.message(b"Z", b"II"),
    "parameter-without-value": b.message(b"S", b"name\0"),
    "parameter-without-end": b.message(b"S", b"name\0value"),
    "parameter-empty": b.message(b"S"),
    "parameter-with-more": b.message(b"S", b"name\0value\0more"),
    "notification-empty": b.message(b"A"),
    "notification-without-pid": b.message(b"A", b"\0\0"),
    "notification-without-payload": b.message(b"A", int4(1) + b"channel\0"),
    "notification-without-end": b.message(b"A", int4(1) + b"channel\0payload"),
    "notification-with-more": b.message(b"A", int4(1) + b"a\0b\0c"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_malformed_message_ends_the_session(name):
    """A body that is not what its letter says ends the session."""
    session, op = executing()
    session.feed(done(0) + BAD_MESSAGES[name])
    assert_broken(session, op)


@pytest.mark.parametrize(
    "message",
    [
        b.message(b"1", b"x"),
        b.message(b"2", b"x"),
        b.message(b"3", b"x"),
        b.message(b"n", b"x"),
        b.message(b"s", b"x"),
        b.message(b"I", b"x"),
    ],
)
def test_body_of_a_message_that_has_none(message):
    """It ends the session or is not looked at; nobody is left waiting."""
    session = open_session()
    prepared(session)
    op = query(ROWS)(session, {})
    session.feed(message)
    session.lost(None)
    session.loop.run()
    assert op.done()


@pytest.mark.parametrize(
    "tag", [b"", b"\0", b"SELECT 1", b"\xff\xfe\0", b"ALTER", b"DROP"]
)
def test_command_tag_of_any_shape(tag):
    """A tag without its zero is taken as far as it goes."""
    session = open_session()
    op = start_simple(session, "x")
    session.feed(b.message(b"C", tag) + READY)
    assert isinstance(op.result(), str)


@pytest.mark.parametrize("n_bytes", [0, 1, 3, 5, 32, 257])
def test_cancel_key_of_a_wrong_size(n_bytes):
    """Protocol 3.0 has a key of four bytes."""
    session, op = starting()
    session.feed(b.authentication_ok() + b.backend_key_data(1, bytes(n_bytes)))
    session.loop.run()
    assert session.state == CLOSED
    assert type(op.exception()) is ProtocolError


KEY_SIZES = [(3, False), (4, True), (32, True), (256, True), (257, False)]


@pytest.mark.parametrize(("n_bytes", "is_fine"), KEY_SIZES)
def test_cancel_key_of_protocol_3_2(n_bytes, is_fine):
    """Protocol 3.2 has keys of up to 256 bytes."""
    session, _ = starting(2)
    session.feed(b.authentication_ok() + b.backend_key_data(1, bytes(n_bytes)))
    assert (session.closed_by is None) is is_fine


@pytest.mark.parametrize(
    "message",
    [
        b.message(b"K"),
        b.message(b"K", b"\0\0\0"),
        b.message(b"R"),
        b.message(b"R", b"\0\0\0"),
        b.message(b"v"),
        b.message(b"v", int4(3 << 16)),
        b.negotiate_protocol_version((4, 0)),
        b.negotiate_protocol_version((2, 0)),
        b.negotiate_protocol_version((3, 3)),
        b.negotiate_protocol_version((3, 0), ["_pq_.option"]),
        b.message(b"v", struct.pack("!ii", 3 << 16, -1)),
    ],
)
def test_malformed_startup_message(message):
    """What cannot be meant during startup ends it."""
    session, op = starting(2)
    session.feed(message)
    session.loop.run()
    assert session.state == CLOSED
    assert type(op.exception()) is ProtocolError


def test_other_encoding_at_startup_is_refused():
    """A server that does not take up our client_encoding would send other texts."""
    session, _ = starting()
    session.feed(WELCOME.replace(b"UTF8\0", b"EUC1\0"))
    assert session.state == CLOSED


# -- what is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        lambda session: start_simple(session, "SELECT 'a\0b'"),
        lambda session: start_prepare(session, "SELECT 'a\0b'", b"s", True),
        lambda session: start_prepare(session, "SELECT 1", b"a\0b", False),
        lambda session: start_prepare(session, "\ud800", b"s", True),
    ],
    ids=["query", "prepare", "statement-name", "surrogate"],
)
def test_zero_and_surrogate_are_refused_before_a_byte(start):
    """A zero would end the text early and let its rest be read as something else."""
    session = open_session()
    session.riders.append("BEGIN")
    with pytest.raises(ValueError):
        start(session)
    session.flush_now()
    assert session.written == []
    assert session.riders == ["BEGIN"]
    assert not session.in_flight


@pytest.mark.parametrize("name", ["user\0x", "application_name"])
@pytest.mark.parametrize("value", ["x\0user\0root", "\0"])
def test_zero_in_a_startup_value_is_refused_before_a_byte(name, value):
    """What follows the zero would be read as a setting of its own: another user."""
    session = BareSession()
    with pytest.raises(ValueError):
        start_startup(session, {"user": "ada", name: value})
    session.flush_now()
    assert session.written == []
    assert not session.in_flight


def test_zero_in_a_rider_is_refused_before_a_byte():
    """A rider is checked as any other text."""
    session = open_session()
    prepared(session)
    session.written.clear()
    session.riders.append("SAVEPOINT a\0b")
    with pytest.raises(ValueError):
        query(ROWS)(session, {})
    session.flush_now()
    assert session.written == []


def with_parameters(count):
    session = open_session()
    op = start_prepare(session, "many", b"s1", True)
    oids = struct.pack("!H", count) + int4(INT4) * count
    session.feed(b.parse_complete() + b.message(b"t", oids) + b.no_data() + READY)
    op.result()
    session.written.clear()
    return session


def test_greatest_number_of_parameters():
    """65,535 parameters are sent, in one message whose count says so."""
    session = with_parameters(65535)
    start_query(session, "many", (None,) * 65535, ROWS, 0, None, None)
    bind = session.sent()[0]
    assert len(bind["parameters"]) == 65535


@pytest.mark.parametrize("count", [65534, 65536, 131071])
def test_a_number_of_parameters_that_is_not_the_server_s(count):
    """65,536 would wrap to 0: whatever does not fit is refused before a byte."""
    session = with_parameters(65535)
    with pytest.raises(InterfaceError, match="65535"):
        start_query(session, "many", (None,) * count, ROWS, 0, None, None)
    session.flush_now()
    assert session.written == []


@pytest.mark.parametrize("size", [GIB - 1, GIB, 2**31 - 1, 2**31, 2**32 + 4])
def test_message_of_more_than_a_gibibyte_is_refused(size):
    """No length wraps: nothing is copied and nothing is sent."""
    session = open_session()
    prepared(session, parameters=(17,))
    session.written.clear()
    with mmap.mmap(-1, size) as sparse, memoryview(sparse) as huge:
        with pytest.raises(DataError, match="1 GiB"):
            query(ROWS, huge)(session, {})
    session.flush_now()
    assert session.written == []
    op = query(ROWS, b"small")(session, {})
    session.feed(b.bind_complete() + done(0) + READY)
    assert op.result() == []


# -- what must not crash, each in a process of its own ---------------------------------

CRASHES = {
    "feed": "op.feed(iter([(1,)])); op.send()",
    "finish": "op.finish()",
    "give-up": "op.give_up()",
}
GROUP = """
from chopin._many import start_many
from tests.support.fakes import READY, open_session
from tests.support.script import SQL, prepared
session = open_session()
prepared(session)
op = start_many(session, session.statements[SQL], False, None)
assert op.feed(iter([(1,)] * 10_000))
op.send()
{end}
{then}
session.loop.run()
assert op.done()
assert op.exception() is not None
"""


@pytest.mark.parametrize("end", ["session.lost(None)", "session.feed(READY)"])
@pytest.mark.parametrize("then", CRASHES)
def test_group_goes_on_when_its_session_has_ended(then, end):
    """The connection is lost while arguments are still being written."""
    program = GROUP.format(end=end, then=CRASHES[then])
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr[-500:]


def test_operation_on_a_closed_session_is_refused():
    """Nobody would ever answer it."""
    session = open_session()
    prepared(session)
    statement = session.statements[SQL]
    session.lost(None)
    with pytest.raises(InterfaceError, match="closed"):
        start_execute(session, statement, (1,), ROWS, 0, None)
    with pytest.raises(InterfaceError, match="closed"):
        start_many(session, statement, False, None)
    with pytest.raises(InterfaceError, match="closed"):
        start_simple(session, "SELECT 1")
    with pytest.raises(InterfaceError, match="closed"):
        start_prepare(session, "SELECT 1", b"", False)


# -- anything at all -------------------------------------------------------------------


def many_of_two(session, ops):
    op = many(want_rows=True)(session, ops)
    op.feed(iter([(1,), (2,)]))
    op.finish()
    return op


# What is started, and what an honest server says to it.
TRANSCRIPTS = {
    "startup": (None, WELCOME),
    "query": (query(ROWS), b.bind_complete() + row(1) + row(2) + done(2) + READY),
    "prepare": (
        lambda session, ops: start_prepare(session, "other", b"s2", True),
        b.parse_complete() + DESCRIBED + READY,
    ),
    "many": (
        many_of_two,
        (b.bind_complete() + row(1) + done(1)) * 2 + READY,
    ),
    "simple": (
        simple("SELECT 1"),
        b.notice_response() + COLUMNS + row(1) + done(1) + READY,
    ),
    "error": (query(ROWS), b.error_response("no", code="22012") + READY),
}


def survive(name, data, sizes):
    """Feed `data` in pieces: it ends well or with a typed error, and nobody waits."""
    make, _ = TRANSCRIPTS[name]
    if make is None:
        session, op = starting()
        ops = [op]
    else:
        session = open_session()
        prepared(session)
        ops = [make(session, {}), query(ROWS)(session, {})]
    at = 0
    for size in sizes:
        session.feed(data[at : at + size])
        at += size
    session.feed(data[at:])
    session.lost(ConnectionResetError())
    session.loop.run()
    assert session.state == CLOSED
    for op in ops:
        assert op.done()
        if (error := op.exception()) is not None:
            assert isinstance(error, (PostgresError, ProtocolError, InterfaceError))


SIZES = st.lists(st.integers(1, 40), max_size=6)
names = functools.partial(st.sampled_from, sorted(TRANSCRIPTS))


@settings(max_examples=300, deadline=None)
@given(name=names(), data=st.binary(max_size=200), sizes=SIZES)
def test_random_bytes(name, data, sizes):
    """Noise."""
    survive(name, data, sizes)


@settings(max_examples=300, deadline=None)
@given(
    name=names(),
    messages=st.lists(
        st.tuples(st.sampled_from(b"123ACDEGHIKNRSTVWZcdnstv"), st.binary(max_size=30)),
        max_size=8,
    ),
    sizes=SIZES,
)
def test_random_messages(name, messages, sizes):
    """Well-formed frames with noise in them."""
    data = b"".join(b.message(bytes([kind]), body) for kind, body in messages)
    survive(name, data, sizes)


@settings(max_examples=300, deadline=None)
@given(
    name=names(),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from("=+-"), st.binary(
            min_size=1, max_size=3)),
        min_size=1, max_size=4,
    ),
    sizes=SIZES,
)  # fmt: skip
def test_honest_transcripts_with_mistakes(name, changes, sizes):
    """What a server says, with some bytes replaced, put in or left out."""
    data = TRANSCRIPTS[name][1]
    for where, what, noise in changes:
        at = int(where * len(data))
        behind = at if what == "+" else at + len(noise)
        data = data[:at] + (b"" if what == "-" else noise) + data[behind:]
    survive(name, data, sizes)


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_every_single_byte_changed(name):
    """Every byte of what a server says, changed in three ways."""
    _, data = TRANSCRIPTS[name]
    for at in range(len(data)):
        for byte in (0, 255, data[at] ^ 1):
            survive(name, data[:at] + bytes([byte]) + data[at + 1 :], [])


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_every_prefix(name):
    """The connection ends after every byte."""
    _, data = TRANSCRIPTS[name]
    for end in range(len(data)):
        survive(name, data[:end], [])
