"""Every backend message in every step of every program.

A step takes the messages that PostgreSQL's documentation has there ("Message Flow") and
no other: the session ends with a ProtocolError, whoever waits is told, nobody hangs.
"""

import pytest

from chopin._batch import start_group, start_results
from chopin._ops import ROWS, STATUS
from chopin._portals import start_bind
from chopin._startup import start_startup
from chopin.exceptions import ProtocolError
from tests.support import backend as b
from tests.support.fakes import CLOSED, READY, WELCOME, BareSession, open_session
from tests.support.script import (
    COLUMNS,
    INT4,
    SQL,
    described,
    done,
    first_use,
    many,
    portal,
    prepare,
    prepared,
    query,
    row,
    simple,
)

MESSAGES = {
    "Authentication": b.authentication_ok(),
    "BackendKeyData": b.backend_key_data(1, b"1234"),
    "BindComplete": b.bind_complete(),
    "CloseComplete": b.close_complete(),
    "CommandComplete": done(1),
    "CopyBothResponse": b.copy_both_response(),
    "CopyData": b.copy_data(b"1\n"),
    "CopyDone": b.copy_done(),
    "CopyInResponse": b.copy_in_response(),
    "CopyOutResponse": b.copy_out_response(),
    "DataRow": row(1),
    "EmptyQueryResponse": b.empty_query_response(),
    "ErrorResponse": b.error_response("failed", code="22012"),
    "FunctionCallResponse": b.message(b"V", b"\xff\xff\xff\xff"),
    "NegotiateProtocolVersion": b.negotiate_protocol_version((3, 0)),
    "NoData": b.no_data(),
    "NoticeResponse": b.notice_response(),
    "NotificationResponse": b.notification_response(1, "channel"),
    "ParameterDescription": b.parameter_description([INT4]),
    "ParameterStatus": b.parameter_status("TimeZone", "UTC"),
    "ParseComplete": b.parse_complete(),
    "PortalSuspended": b.portal_suspended(),
    "ReadyForQuery": READY,
    "RowDescription": COLUMNS,
    # letters that mean nothing from a server
    "Zero": b.message(b"\0"),
    "Query": b.message(b"Q", b"SELECT 1\0"),
    "High": b.message(b"\xff"),
}
ALWAYS = {"NoticeResponse", "NotificationResponse", "ParameterStatus"}
ROWS_END = {"CommandComplete", "EmptyQueryResponse", "PortalSuspended"}
# a statement that turns out to be COPY, where its rows would be
COPY = {"CopyInResponse", "CopyOutResponse", "CopyData", "CopyDone"}
ROWS_STEP = {"DataRow"} | ROWS_END | COPY
# a text may hold any number of statements, so their replies come in any order
SIMPLE_STEP = ROWS_STEP - {"PortalSuspended"} | {"RowDescription", "Ready"}
# ... but where each has a result, its rows are described, and end
SCRIPT_ROWS = {"DataRow", "CommandComplete"} | COPY
STARTUP = {"Authentication", "BackendKeyData", "NegotiateProtocolVersion", "Ready"}
RIDER = b.parse_complete() + b.bind_complete() + b.command_complete("BEGIN")
PARSED = b.parse_complete() + b.parameter_description([INT4])


def with_rider(make):
    def start(session):
        session.riders.append("BEGIN")
        return make(session, {})

    return start


def with_close(make):
    def start(session):
        session.closes.append(b"Sold")
        return make(session, {})

    return start


def without(make):
    return lambda session: make(session, {})


def fed(session):
    """A part of it is sent, and there is more to come."""
    op = many()(session, {})
    assert op.feed(iter([(1,)] * 3000))
    op.send()
    return op


def finished(session):
    op = many()(session, {})
    op.feed(iter([(1,), (2,)]))
    op.finish()
    return op


def grouped(session):
    part = (session.statements[SQL], (1,), ROWS, 0, None)
    return start_group(session, [part, part], 0.0)


def scripted(session):
    return start_results(session, "SELECT 1; SELECT 2", None)


def bind(session):
    return start_bind(session, session.statements[SQL], b"p1", (1,), None)


def nothing(session):
    return None


def startup(session):
    return start_startup(session, {"user": "ada"})


# What is given, how the operation is started, what has come already, and what may come.
STEPS = {
    "idle": (prepared, nothing, b"", set()),
    "rider-parse": (prepared, with_rider(query()), b"", {"ParseComplete"}),
    "rider-bind": (prepared, with_rider(query()), RIDER[:5], {"BindComplete"}),
    "rider-end": (
        prepared,
        with_rider(query()),
        RIDER[:10],
        {"CommandComplete", "EmptyQueryResponse"},
    ),
    "behind-rider": (prepared, with_rider(query()), RIDER, {"BindComplete"}),
    "close": (prepared, with_close(query()), b"", {"CloseComplete"}),
    "bind": (prepared, without(query()), b"", {"BindComplete"}),
    "rows": (
        prepared,
        without(query()),
        b.bind_complete(),
        ROWS_STEP,
    ),
    "status": (
        prepared,
        without(query(STATUS)),
        b.bind_complete() + row(1),
        ROWS_STEP,
    ),
    "copy-out": (
        prepared,
        without(query()),
        b.bind_complete() + b.copy_out_response(),
        ROWS_STEP,
    ),
    "rows-ended": (prepared, without(query()), b.bind_complete() + done(0), {"Ready"}),
    "failed": (prepared, without(query()), MESSAGES["ErrorResponse"], {"Ready"}),
    "flight-parse": (described, without(first_use()), b"", {"ParseComplete"}),
    "flight-parameters": (
        described,
        without(first_use()),
        PARSED[:5],
        {"ParameterDescription"},
    ),
    "flight-columns": (
        described,
        without(first_use()),
        PARSED,
        {"RowDescription", "NoData"},
    ),
    "flight-bind": (
        described,
        without(first_use()),
        PARSED + COLUMNS,
        {"BindComplete"},
    ),
    "prepare-parse": (None, without(prepare()), b"", {"ParseComplete"}),
    "prepare-parameters": (
        None,
        without(prepare()),
        PARSED[:5],
        {"ParameterDescription"},
    ),
    "prepare-columns": (
        None,
        without(prepare()),
        PARSED,
        {"RowDescription", "NoData"},
    ),
    "prepare-ended": (None, without(prepare()), PARSED + COLUMNS, {"Ready"}),
    "portal-rows": (
        prepared,
        without(portal(None, 2)),
        b"",
        ROWS_STEP,
    ),
    "portal-ended": (
        prepared,
        without(portal(None, 2)),
        b.portal_suspended(),
        {"Ready"},
    ),
    "bind-only": (prepared, bind, b"", {"BindComplete"}),
    "bind-ended": (prepared, bind, b.bind_complete(), {"Ready"}),
    "many-under-way": (prepared, fed, b"", {"BindComplete"}),
    "many-rows": (
        prepared,
        fed,
        b.bind_complete(),
        ROWS_STEP - {"PortalSuspended"},
    ),
    "many-ended": (prepared, finished, (b.bind_complete() + done(0)) * 2, {"Ready"}),
    "many-failed": (prepared, fed, MESSAGES["ErrorResponse"], set()),
    "many-failed-and-ended": (prepared, finished, MESSAGES["ErrorResponse"], {"Ready"}),
    "group-bind": (prepared, grouped, b"", {"BindComplete"}),
    "group-rows": (prepared, grouped, b.bind_complete(), ROWS_STEP),
    "group-next-bind": (
        prepared,
        grouped,
        b.bind_complete() + done(0),
        {"BindComplete"},
    ),
    "group-next-rows": (
        prepared,
        grouped,
        b.bind_complete() + done(0) + b.bind_complete() + row(1),
        ROWS_STEP,
    ),
    "group-ended": (
        prepared,
        grouped,
        (b.bind_complete() + done(0)) * 2,
        {"Ready"},
    ),
    "group-failed": (
        prepared,
        grouped,
        b.bind_complete() + done(0) + MESSAGES["ErrorResponse"],
        {"Ready"},
    ),
    "script": (None, scripted, b"", SIMPLE_STEP - {"DataRow"}),
    "script-rows": (None, scripted, COLUMNS, SCRIPT_ROWS),
    "script-next": (None, scripted, COLUMNS + done(0), SIMPLE_STEP - {"DataRow"}),
    "script-failed": (None, scripted, MESSAGES["ErrorResponse"], {"Ready"}),
    "simple": (None, without(simple("SELECT 1")), b"", SIMPLE_STEP),
    "simple-rows": (None, without(simple("SELECT 1")), COLUMNS, SIMPLE_STEP),
    "simple-failed": (
        None,
        without(simple("SELECT 1")),
        MESSAGES["ErrorResponse"],
        {"Ready"},
    ),
    # in which order the server proves itself is what `chopin.authenticate` looks at
    "startup": ("startup", startup, b"", STARTUP),
    "authenticated": ("startup", startup, b.authentication_ok(), STARTUP),
}


def session_in(step):
    given, start, said, _ = STEPS[step]
    session = BareSession() if given == "startup" else open_session()
    if callable(given):
        given(session)
    op = start(session)
    session.feed(said)
    assert session.closed_by is None, "the way to the step is no way"
    return session, op


def expected_in(step):
    expected = ALWAYS | {
        "ReadyForQuery" if name == "Ready" else name for name in STEPS[step][3]
    }
    return expected if step == "idle" else expected | {"ErrorResponse"}


ACCEPTED = [
    (step, message) for step in STEPS for message in MESSAGES
    if message in expected_in(step)
]  # fmt: skip
REFUSED = [
    (step, message) for step in STEPS for message in MESSAGES
    if message not in expected_in(step)
]  # fmt: skip


@pytest.mark.parametrize(("step", "message"), ACCEPTED)
def test_expected_message_is_taken(step, message):
    """The session goes on."""
    session, _ = session_in(step)
    session.feed(MESSAGES[message])
    assert session.closed_by is None
    assert session.count("broken") == 0


@pytest.mark.parametrize(("step", "message"), REFUSED)
def test_unexpected_message_ends_the_session(step, message):
    """The session is closed, its transport aborted, the waiter has the error."""
    session, op = session_in(step)
    session.feed(MESSAGES[message])
    session.loop.run()
    assert session.state == CLOSED
    assert type(session.closed_by) is ProtocolError
    assert session.count("broken") == 1
    assert op is None or type(op.exception()) is ProtocolError


@pytest.mark.parametrize("step", [step for step in STEPS if step != "idle"])
def test_end_of_connection_tells_whoever_waits(step):
    """Wherever the connection is lost, no waiter stays behind."""
    session, op = session_in(step)
    session.lost(ConnectionResetError())
    session.loop.run()
    assert op.done()
    assert isinstance(op.exception(), Exception)


def test_those_behind_are_told_too():
    """A broken session fails every operation in flight with the same error."""
    session = open_session()
    prepared(session)
    ops = [query()(session, {}) for _ in range(3)]
    session.feed(b.no_data())
    assert {type(op.exception()) for op in ops} == {ProtocolError}


def test_what_comes_behind_is_not_looked_at():
    """Bytes of a session that has ended are no notifications and no parameters."""
    session = open_session()
    session.feed(b.no_data() + MESSAGES["NotificationResponse"])
    session.feed(b.parameter_status("late", "1") + MESSAGES["NotificationResponse"])
    assert session.count("notification") == 0
    assert "late" not in session.parameters
    assert session.count("broken") == 1


def test_fatal_error_while_idle_is_kept_as_the_reason():
    """The server says why it goes while nothing is asked."""
    session = open_session()
    error = b.error_response("shutting down", code="57P01", severity="FATAL")
    session.feed(error)
    assert session.state != CLOSED
    session.lost(None)
    assert session.closed_by.sqlstate == "57P01"


def test_ready_for_query_opens_only_once():
    """A second ReadyForQuery of a startup is one that nobody asked for."""
    session = BareSession()
    startup(session)
    session.feed(WELCOME + READY)
    assert type(session.closed_by) is ProtocolError


@pytest.mark.parametrize("n_replies", [0, 1, 3])
def test_group_is_done_only_when_every_row_is(n_replies):
    """As many Binds as were sent must have been completed, or somebody lies."""
    session, op = session_in("many-under-way")
    op.finish()
    session.feed((b.bind_complete() + done(0)) * n_replies + READY)
    assert session.state == CLOSED
    assert type(op.exception()) is ProtocolError
