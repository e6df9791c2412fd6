"""What an operation writes and what it makes of the replies, however they arrive.

Every script below is played whole, byte by byte, cut at every offset, and with the
beginning of another message behind every reply; see `tests.support.script`.
"""

import struct

import pytest

from chopin._ops import (
    ROW,
    ROWS,
    STATUS,
    VALUE,
)
from chopin._portals import start_bind
from chopin._startup import (
    start_startup,
)
from chopin.exceptions import (
    ConnectionDoesNotExistError,
    DataError,
    DivisionByZeroError,
    InterfaceError,
    InvalidAuthorizationSpecificationError,
    InvalidCachedStatementError,
    PostgresSyntaxError,
    QueryCanceledError,
    ReadOnlySQLTransactionError,
)
from tests.support import backend as b
from tests.support.fakes import (
    CLOSED,
    OPEN,
    READY,
    WELCOME,
)
from tests.support.script import (
    BEGIN,
    COLUMNS,
    CUTS,
    DESCRIBED,
    DIVISION,
    EXECUTE,
    FAILED,
    FLIGHT,
    IN_BLOCK,
    INT4,
    INT8,
    LOST,
    PARSE,
    SQL,
    TEXT,
    UNHEARD_OF,
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
    by_name,
    described,
    done,
    first_use,
    names,
    portal,
    prepare,
    prepared,
    query,
    rider,
    row,
    simple,
    state,
    status,
)

STARTUP = [
    Script(
        "startup-trust",
        Start("up", lambda s, _: start_startup(s, {"user": "ada", "database": "db"})),
        Call(lambda s, _: check_startup(s, (3, 0), {"user": "ada", "database": "db"})),
        Start("asked", lambda s, ops: ops["up"].next_request()),
        Waits("asked"),
        Say(WELCOME),
        Ends("asked", (0, b"")),
        Start("ready", lambda s, ops: ops["up"].next_request()),
        Ends("ready"),
        Has(state, OPEN),
        Has(status, "I"),
        Has(lambda s, _: s.parameters["server_version"], "18.0"),
        Has(lambda s, _: (s.backend_pid, s.cancel_key), (4321, b"\1\2\3\4")),
        is_open=False,
    ),
    Script(
        "startup-sasl",
        Start("up", lambda s, _: start_startup(s, {"user": "ada"})),
        Call(lambda s, _: s.written.clear()),
        Say(b.authentication_sasl(["SCRAM-SHA-256"])),
        Start("sasl", lambda s, ops: ops["up"].next_request()),
        Ends("sasl", (10, b"SCRAM-SHA-256\0\0")),
        Say(b.authentication_sasl_continue(b"r=1") + b.authentication_sasl_final(b"v")),
        Start("first", lambda s, ops: ops["up"].next_request()),
        Start("final", lambda s, ops: ops["up"].next_request()),
        Ends("first", (11, b"r=1")),
        Ends("final", (12, b"v")),
        is_open=False,
    ),
    Script(
        "startup-refused",
        Start("up", lambda s, _: start_startup(s, {"user": "ada"})),
        Start("asked", lambda s, ops: ops["up"].next_request()),
        Say(b.error_response("no entry", code="28000", severity="FATAL")),
        Fails("asked", InvalidAuthorizationSpecificationError, "no entry"),
        LOST,
        Has(state, CLOSED),
        is_open=False,
    ),
    Script(
        "startup-protocol-3.2",
        Start("up", lambda s, _: start_startup(s, {"user": "ada"}, 2)),
        Call(lambda s, _: check_startup(s, (3, 2), {"user": "ada"})),
        Say(b.authentication_ok(), b.backend_key_data(1, bytes(256)), READY),
        Has(state, OPEN),
        Has(lambda s, ops: (ops["up"].minor_version, len(s.cancel_key)), (2, 256)),
        is_open=False,
    ),
    Script(
        "startup-protocol-negotiated-down",
        Start("up", lambda s, _: start_startup(s, {"user": "ada"}, 2)),
        Say(b.negotiate_protocol_version((3, 0)), b.authentication_ok()),
        Say(b.backend_key_data(1, b"4444"), READY),
        Has(state, OPEN),
        Has(lambda s, ops: (ops["up"].minor_version, s.cancel_key), (0, b"4444")),
        is_open=False,
    ),
]


def check_startup(session, version, parameters):
    (data,) = session.written
    got = b.parse_startup(data[4:])
    assert (got["version"], got["parameters"]) == (version, parameters)
    session.written.clear()


SIMPLE = [
    Script(
        "simple",
        Start("q", simple("SELECT 1")),
        Sent("Query SELECT 1"),
        Say(COLUMNS, row(1), row(2), done(2)),
        Waits("q"),
        Say(READY),
        Ends("q", "SELECT 2"),
    ),
    Script(
        "simple-several-statements",
        Start("q", simple("SELECT 1; CREATE TABLE t ()")),
        Say(COLUMNS, row(1), done(1), b.command_complete("CREATE TABLE"), READY),
        Ends("q", "CREATE TABLE"),
    ),
    Script(
        "simple-empty",
        Start("q", simple("")),
        Sent("Query"),
        Say(b.empty_query_response(), READY),
        Ends("q", ""),
    ),
    Script(
        "simple-error-in-the-middle",
        Start("q", simple("SELECT 1; SELECT 1/0; SELECT 2")),
        Say(COLUMNS, row(1), done(1), COLUMNS, DIVISION, READY),
        Fails("q", DivisionByZeroError),
        Has(state, OPEN),
    ),
    Script(
        "simple-with-riders",
        rider("BEGIN"),
        rider("SAVEPOINT a"),
        Start("q", simple("SELEC")),
        Sent("Query BEGIN; SAVEPOINT a; SELEC"),
        Say(b.command_complete("BEGIN"), b.command_complete("SAVEPOINT")),
        Say(b.error_response("syntax", code="42601", position="21"), FAILED),
        Fails("q", PostgresSyntaxError),
        Has(lambda s, ops: ops["q"].exception().position, "1"),
        Has(lambda s, ops: ops["q"].riders, ("BEGIN", "SAVEPOINT a")),
        Has(lambda s, _: s.riders, []),
        Has(status, "E"),
    ),
    Script(
        "simple-copy-in-is-refused",
        Start("q", simple("COPY t FROM STDIN")),
        Call(names),
        Say(b.copy_in_response(0, [0])),
        Sent("CopyFail this call has no data to copy"),
        Say(b.error_response("COPY failed", code="57014"), READY),
        Fails("q", QueryCanceledError, "COPY failed"),
        Has(state, OPEN),
    ),
    Script(
        "simple-copy-out-is-drained",
        Start("q", simple("COPY t TO STDOUT")),
        Say(b.copy_out_response(0, [0]), b.copy_data(b"1\n"), b.copy_data(b"2\n")),
        Say(b.copy_done(), b.command_complete("COPY 2"), READY),
        Ends("q", "COPY 2"),
    ),
    Script(
        "copy-in-is-refused",
        Start("q", query(STATUS)),
        Call(names),
        Say(b.bind_complete(), b.copy_in_response(0, [0])),
        Sent("CopyFail this call has no data to copy", "Sync"),
        Say(b.error_response("COPY failed", code="57014"), READY),
        Fails("q", QueryCanceledError),
        Has(state, OPEN),
        given=prepared,
    ),
    Script(
        "copy-out-is-drained",
        Start("q", query(STATUS)),
        Say(b.bind_complete(), b.copy_out_response(0, [0]), b.copy_data(b"1\n")),
        Say(b.copy_done(), b.command_complete("COPY 1"), READY),
        Ends("q", "COPY 1"),
        given=prepared,
    ),
]

PREPARE = [
    Script(
        "prepare",
        Start("p", prepare()),
        Sent(*PARSE),
        Say(b.parse_complete(), DESCRIBED),
        Waits("p"),
        Say(READY),
        Has(lambda s, ops: ops["p"].result() is s.statements[SQL], True),
        Has(lambda s, _: [c.name for c in s.descriptions[SQL].columns], ["a", "b"]),
        Has(lambda s, _: s.descriptions[SQL].parameter_oids, (INT4,)),
    ),
    Script(
        "prepare-no-rows",
        Start("p", prepare(keep=False)),
        Say(b.parse_complete(), b.parameter_description([]), b.no_data(), READY),
        Has(lambda s, ops: ops["p"].result().description.columns, ()),
        Has(lambda s, _: s.statements, {}),
    ),
    Script(
        "prepare-without-parse",
        Start("p", prepare(parse=False)),
        Sent("Describe S s1", "Sync"),
        Say(DESCRIBED, READY),
        Has(lambda s, ops: ops["p"].result().name, b"s1"),
    ),
    Script(
        "prepare-error",
        Start("p", prepare()),
        Say(b.error_response("syntax", code="42601"), READY),
        Fails("p", PostgresSyntaxError),
        Has(lambda s, _: (s.statements, s.descriptions), ({}, {})),
    ),
    Script(
        "prepare-error-after-parse-closes-the-statement",
        Start("p", prepare()),
        Call(names),
        Say(b.parse_complete(), DIVISION, READY),
        Fails("p", DivisionByZeroError),
        Start("p", prepare(b"s2")),
        Sent("Close S s1", *[word.replace("s1", "s2") for word in PARSE]),
        Say(b.close_complete(), b.parse_complete(), DESCRIBED, READY),
        Has(lambda s, _: s.statements[SQL].name, b"s2"),
    ),
]

EXECUTION = [
    Script(
        "rows",
        Start("q", query(ROWS)),
        Sent(*EXECUTE),
        Say(b.bind_complete(), row(1), b.data_row([None, b"y"]), row(-3), done(3)),
        Waits("q"),
        Say(READY),
        Ends("q", [(1, "x"), (None, "y"), (-3, "x")]),
        given=prepared,
    ),
    Script(
        "no-rows",
        Start("q", query(ROWS)),
        Say(b.bind_complete(), done(0), READY),
        Ends("q", []),
        given=prepared,
    ),
    Script(
        "row-of-none",
        Start("q", query(ROW)),
        Say(b.bind_complete(), done(0), READY),
        Ends("q", None),
        given=prepared,
    ),
    Script(
        "value-of-a-column",
        Start("q", query(VALUE, column=1)),
        Say(b.bind_complete(), row(1, b"right"), done(1), READY),
        Ends("q", "right"),
        given=prepared,
    ),
    Script(
        "status",
        Start("q", query(STATUS)),
        Sent(*EXECUTE),
        Say(b.bind_complete(), row(1), b.command_complete("INSERT 0 1"), READY),
        Ends("q", "INSERT 0 1"),
        given=prepared,
    ),
    Script(
        "empty-query",
        Start("q", query(ROWS)),
        Say(b.bind_complete(), b.empty_query_response(), READY),
        Ends("q", []),
        given=prepared,
    ),
    Script(
        "null-argument",
        Start("q", query(ROWS, None)),
        Sent("Bind s1 (-)", "Execute 0", "Sync"),
        Say(b.bind_complete(), done(0), READY),
        Ends("q", []),
        given=prepared,
    ),
    Script(
        "error-behind-rows",
        Start("q", query(ROWS)),
        Say(b.bind_complete(), row(1), DIVISION, READY),
        Fails("q", DivisionByZeroError),
        Start("r", query(ROWS)),
        Say(b.bind_complete(), row(2), done(1), READY),
        Ends("r", [(2, "x")]),
        given=prepared,
    ),
    Script(
        "value-that-cannot-be-decoded",
        Start("q", query(ROWS)),
        Say(b.bind_complete(), row(1), b.data_row([b"abc", b"x"]), row(3), done(3)),
        Waits("q"),
        Say(READY),
        Has(lambda s, ops: isinstance(ops["q"].exception(), DataError), True),
        Has(lambda s, ops: "'a'" in ops["q"].exception().__notes__[0], True),
        Has(state, OPEN),
        given=prepared,
    ),
    Script(
        "asynchronous-messages-between-rows",
        Start("q", query(ROWS)),
        Say(b.notice_response("1"), b.bind_complete(), b.notification_response(7, "c")),
        Say(
            row(1), b.notice_response("2"), row(2), b.parameter_status("TimeZone", "X")
        ),
        Say(row(3), b.notification_response(8, "d", "p"), done(3), READY),
        Ends("q", [(1, "x"), (2, "x"), (3, "x")]),
        Has(lambda s, _: s.parameters["TimeZone"], "X"),
        Has(
            lambda s, _: [
                e for e in s.events if e[1] != "mind the gap" and e[1][0] != 7
            ],
            [("notice", "1"), ("notice", "2"), ("notification", (8, "d", "p"))],
        ),
        given=prepared,
    ),
    Script(
        "fatal-then-end",
        Start("q", query(ROWS)),
        Start("r", query(ROWS)),
        Say(b.bind_complete(), row(1)),
        Say(b.error_response("going down", code="57P01", severity="FATAL")),
        LOST,
        Fails("q", ConnectionDoesNotExistError, "going down"),
        Fails("r", ConnectionDoesNotExistError, "going down"),
        Has(state, CLOSED),
        given=prepared,
    ),
    Script(
        "fatal-while-idle-then-end",
        Say(b.error_response("going down", code="57P01", severity="FATAL")),
        LOST,
        Has(state, CLOSED),
        Has(lambda s, _: s.closed_by.sqlstate, "57P01"),
    ),
]

FLIGHTS = [
    Script(
        "one-flight",
        Start("q", first_use()),
        Sent(*FLIGHT),
        Say(b.parse_complete(), DESCRIBED, b.bind_complete(), row(1), done(1), READY),
        Ends("q", [(1, "x")]),
        Has(lambda s, _: s.statements[SQL].name, b"s1"),
        Has(lambda s, _: s.in_first_flight, set()),
        given=described,
    ),
    Script(
        "one-flight-with-changed-columns-of-the-same-formats",
        Start("q", first_use()),
        Say(b.parse_complete(), b.parameter_description([INT4])),
        Say(b.row_description([("big", INT8, 0)]), b.bind_complete()),
        Say(b.data_row([struct.pack("!q", 2**40)]), done(1), READY),
        Has(lambda s, ops: [dict(row) for row in ops["q"].result()], [{"big": 2**40}]),
        Has(lambda s, _: s.descriptions[SQL].columns[0].name, "big"),
        given=described,
    ),
    Script(
        "one-flight-with-changed-columns-of-other-formats",
        Start("q", first_use()),
        Say(b.parse_complete(), b.parameter_description([INT4])),
        Say(b.row_description([("a", UNHEARD_OF, 0), ("b", TEXT, 0)])),
        Say(b.bind_complete(), b.data_row([b"\xff\xfe", b"x"]), done(1), READY),
        Fails("q", InvalidCachedStatementError, "formats"),
        Has(state, OPEN),
        Has(lambda s, _: s.descriptions[SQL].columns[0].type_oid, UNHEARD_OF),
        given=described,
    ),
    Script(
        "one-flight-with-an-error-in-parse",
        Start("q", first_use()),
        Say(b.error_response("no table", code="42P01"), READY),
        Has(lambda s, ops: ops["q"].exception().sqlstate, "42P01"),
        Has(lambda s, _: (s.statements, s.in_first_flight), ({}, set())),
        given=described,
    ),
    Script(
        "second-use-while-the-first-parse-is-under-way",
        Start("q", first_use()),
        Start("r", query(ROWS, 2)),
        Sent(
            *FLIGHT,
            f"Parse {SQL!r} (23)",
            "Describe S",
            "Bind (00000002)",
            "Execute 0",
            "Sync",
        ),
        Say(b.error_response("no table", code="42P01"), READY),
        Has(lambda s, ops: ops["q"].exception().sqlstate, "42P01"),
        Waits("r"),
        Say(b.parse_complete(), DESCRIBED, b.bind_complete(), row(2), done(1), READY),
        Ends("r", [(2, "x")]),
        given=described,
    ),
    Script(
        "pipelined-three-with-an-error-in-the-second",
        Start("q", query(ROWS, 1)),
        Sent(*EXECUTE),
        Start("r", query(ROWS, 0)),
        Start("s", query(VALUE, 3)),
        Sent(
            "Bind s1 (00000000)",
            "Execute 0",
            "Sync",
            "Bind s1 (00000003)",
            "Execute 2",
            "Sync",
        ),
        Say(b.bind_complete(), row(1), done(1), READY),
        Ends("q", [(1, "x")]),
        Say(b.bind_complete(), row(7), DIVISION),
        Waits("r"),
        Say(READY, b.bind_complete(), row(3)),
        Fails("r", DivisionByZeroError),
        Waits("s"),
        Say(done(1), READY),
        Ends("s", 3),
        given=prepared,
    ),
    Script(
        "pipelined-and-answered-in-one-read",
        Start("q", query(ROWS, 1)),
        Start("r", query(ROWS, 0)),
        Start("s", simple("BEGIN")),
        Say(
            b.bind_complete(),
            row(1),
            done(1),
            READY,
            DIVISION,
            READY,
            b.command_complete("BEGIN"),
            IN_BLOCK,
        ),
        Ends("q", [(1, "x")]),
        Fails("r", DivisionByZeroError),
        Ends("s", "BEGIN"),
        Has(status, "T"),
        given=prepared,
    ),
]

RIDERS = [
    Script(
        "begin-rides-ahead",
        rider("BEGIN READ WRITE"),
        Start("q", query(ROWS)),
        Sent(*BEGIN, *EXECUTE),
        Has(
            lambda s, ops: (s.riders, ops["q"].riders),
            ([], ("BEGIN READ WRITE",)),
        ),
        Say(b.parse_complete(), b.bind_complete(), b.command_complete("BEGIN")),
        Say(b.bind_complete(), row(1), done(1), IN_BLOCK),
        Ends("q", [(1, "x")]),
        Has(status, "T"),
        given=prepared,
    ),
    Script(
        "begin-fails-and-the-statement-is-not-run",
        rider("BEGIN READ WRITE"),
        Start("q", query(ROWS)),
        Say(b.parse_complete(), b.bind_complete()),
        Say(b.error_response("recovery is in progress", code="25006"), READY),
        Fails("q", ReadOnlySQLTransactionError),
        Has(status, "I"),
        given=prepared,
    ),
    Script(
        "arguments-that-cannot-be-encoded-leave-the-riders",
        rider("BEGIN READ WRITE"),
        Refused(query(ROWS, "x"), DataError),
        Sent(),
        Has(lambda s, _: (s.riders, s.in_flight), (["BEGIN READ WRITE"], False)),
        Start("q", query(ROWS)),
        Sent(*BEGIN, *EXECUTE),
        given=prepared,
    ),
    Script(
        "a-wrong-number-of-arguments-leaves-the-riders",
        rider("BEGIN READ WRITE"),
        Refused(query(ROWS, 1, 2), InterfaceError),
        Sent(),
        Has(lambda s, _: (s.riders, s.in_flight), (["BEGIN READ WRITE"], False)),
        given=prepared,
    ),
    Script(
        "closes-ride-ahead",
        Call(lambda s, _: [s.closes.append(name) for name in (b"old", b"older")]),
        rider("BEGIN READ WRITE"),
        Start("q", query(ROWS)),
        Sent("Close S old", "Close S older", *BEGIN, *EXECUTE),
        Say(b.close_complete() * 2, b.parse_complete(), b.bind_complete()),
        Say(b.command_complete("BEGIN"), b.bind_complete(), done(0), IN_BLOCK),
        Ends("q", []),
        Start("r", query(ROWS)),
        Sent(*EXECUTE),
        given=prepared,
    ),
    Script(
        "riders-ahead-of-prepare",
        rider("BEGIN READ WRITE"),
        Start("p", prepare()),
        Sent(*BEGIN, *PARSE),
        Say(b.parse_complete(), b.bind_complete(), b.command_complete("BEGIN")),
        Say(b.parse_complete(), DESCRIBED, IN_BLOCK),
        Has(lambda s, ops: ops["p"].result().name, b"s1"),
    ),
]


PORTALS = [
    Script(
        "portal-suspended-and-gone-on",
        Start("one", portal((1,), 2)),
        Sent("Bind s1 p1 (00000001)", "Execute p1 2", "Sync"),
        Say(b.bind_complete(), row(1), row(2), b.portal_suspended(), IN_BLOCK),
        Ends("one", ([(1, "x"), (2, "x")], False)),
        Start("two", portal(None, 2)),
        Sent("Execute p1 2", "Sync"),
        Say(row(3), done(3), IN_BLOCK),
        Ends("two", ([(3, "x")], True)),
        Has(lambda s, ops: ops["two"].status, "SELECT 3"),
        given=prepared,
    ),
    Script(
        "portal-bound-first",
        Start(
            "bind",
            lambda s, _: start_bind(s, s.statements[SQL], b"p1", (1,)),
        ),
        Sent("Bind s1 p1 (00000001)", "Sync"),
        Say(b.bind_complete(), IN_BLOCK),
        Ends("bind"),
        Start("all", portal(None, 0)),
        Sent("Execute p1 0", "Sync"),
        Say(b.error_response("no portal", code="34000"), FAILED),
        Has(lambda s, ops: ops["all"].exception().sqlstate, "34000"),
        given=prepared,
    ),
]

SCRIPTS = by_name(STARTUP, SIMPLE, PREPARE, EXECUTION, FLIGHTS, RIDERS, PORTALS)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, cut):
    """A script ends the same however its bytes arrive."""
    SCRIPTS[name].play(CUTS[cut])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_cut_at_every_offset(name):
    """A script ends the same wherever its bytes are cut in two."""
    SCRIPTS[name].play_cut_anywhere()
