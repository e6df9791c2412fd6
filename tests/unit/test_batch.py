"""A group of statements and a script, whatever the server says and where it fails.

Every script is played whole, byte by byte, cut at every offset, and with the beginning
of another message behind every reply; see `tests.support.script`.
"""

import copy
import pickle

import pytest

from chopin._batch import Result, start_group, start_results
from chopin._ops import RESULT, ROW, ROWS, STATUS, VALUE, known_statement
from chopin._protocol import Statement
from chopin.exceptions import (
    ConnectionDoesNotExistError,
    DataError,
    DivisionByZeroError,
    InterfaceError,
    QueryCanceledError,
    UndefinedColumnError,
)
from tests.support import backend as b
from tests.support.fakes import READY, open_session
from tests.support.script import (
    BEGIN,
    CANCEL_ENDED,
    CANCELED,
    COLUMNS,
    CUTS,
    DESCRIBED,
    DIVISION,
    FAILED,
    INT4,
    LOST,
    SQL,
    TEXT,
    Ends,
    Fails,
    Has,
    Refused,
    Say,
    Script,
    Sent,
    Start,
    Waits,
    at,
    blocked,
    broken_off,
    by_name,
    cancel,
    done,
    prepared,
    rider,
    row,
    status,
)

WRITE = "INSERT INTO t VALUES ($1)"
PLAIN = "SELECT 1, 'x'"
BIND = ["Bind s1 (00000001)", "Execute 0"]
BIND_WRITE = ["Bind s2 (00000001)", "Execute 0"]
INSERTED = b.bind_complete() + b.command_complete("INSERT 0 1")
SELECTED = b.bind_complete() + row(7) + done(1)


def both(session):
    """Two statements are cached: one brings rows, the other does not."""
    prepared(session)
    prepared(session, WRITE, b.no_data(), b"s2")


def group(*requests, deadline=0.0):
    """Send requests, each (text, arguments, want) or with a column."""

    def make(session, ops):
        parts = []
        for sql, args, want, *column in requests:
            statement = known_statement(session, sql)
            assert statement is not None, sql
            parts.append((statement, args, want, *(column or (0,)), None))
        return start_group(session, parts, deadline)

    return make


def script(sql):
    return lambda session, ops: start_results(session, sql, None)


WRITE_AND_READ = group((WRITE, (1,), RESULT), (SQL, (1,), RESULT))
FOUR = group(
    (SQL, (1,), ROWS), (SQL, (1,), ROW), (SQL, (1,), VALUE, 1), (WRITE, (1,), STATUS)
)


def index_of(label):
    """What `batch_index` the error of an operation has."""
    return lambda session, ops: ops[label].exception().batch_index


def answers(session, ops):
    return [(list(each), each.status) for each in ops["g"].result()]


def described_plain(session):
    """A statement without parameters, described by another session of the pool."""
    prepared(session, PLAIN, parameters=())
    session.statements.clear()


def in_flight(session, ops):
    return session.in_first_flight


def cached(session, ops):
    return sorted(session.statements)


GROUPS = [
    Script(
        "results",
        Start("g", WRITE_AND_READ),
        Sent(*BIND_WRITE, *BIND, "Sync"),
        Say(INSERTED),
        Say(SELECTED),
        Waits("g"),
        Say(READY),
        Has(answers, [([], "INSERT 0 1"), ([(7, "x")], "SELECT 1")]),
        given=both,
    ),
    Script(
        "whatever-is-wanted",
        Start("g", FOUR),
        Sent(
            *BIND,
            "Bind s1 (00000001)",
            "Execute 2",
            "Bind s1 (00000001)",
            "Execute 2",
            *BIND_WRITE,
            "Sync",
        ),
        Say(b.bind_complete(), row(1), row(2), done(2)),
        Say(b.bind_complete(), row(3), b.portal_suspended()),
        Say(b.bind_complete(), row(4, b"v"), done(1)),
        Say(INSERTED, READY),
        Ends("g", [[(1, "x"), (2, "x")], (3, "x"), "v", "INSERT 0 1"]),
        given=both,
    ),
    Script(
        "no-row",
        Start("g", FOUR),
        Say(*[b.bind_complete() + done(0)] * 3, INSERTED, READY),
        Ends("g", [[], None, None, "INSERT 0 1"]),
        given=both,
    ),
    Script(
        "begin-goes-ahead",
        rider("BEGIN READ WRITE"),
        Start("g", WRITE_AND_READ),
        Sent(*BEGIN, *BIND_WRITE, *BIND, "Sync"),
        Has(blocked, (True, False)),
        Say(b.parse_complete(), b.bind_complete(), b.command_complete("BEGIN")),
        Say(INSERTED, SELECTED, b.ready_for_query(b"T")),
        Has(status, "T"),
        Has(answers, [([], "INSERT 0 1"), ([(7, "x")], "SELECT 1")]),
        given=both,
    ),
    Script(
        "begin-fails",
        rider("BEGIN READ WRITE"),
        Start("g", WRITE_AND_READ),
        Say(DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), None),
        given=both,
    ),
    Script(
        "first-fails",
        Start("g", WRITE_AND_READ),
        Say(DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), 0),
        given=both,
    ),
    Script(
        "second-fails-at-bind",
        Start("g", WRITE_AND_READ),
        Say(INSERTED, DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), 1),
        given=both,
    ),
    Script(
        "second-fails-within-its-rows",
        Start("g", WRITE_AND_READ),
        Say(INSERTED, b.bind_complete(), row(1), DIVISION, FAILED),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), 1),
        given=both,
    ),
    Script(
        "commit-fails",
        Start("g", WRITE_AND_READ),
        Say(INSERTED, SELECTED, DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), None),
        given=both,
    ),
    Script(
        "result-that-cannot-be-read",
        Start("g", group((SQL, (1,), ROWS), (SQL, (1,), ROWS), (WRITE, (1,), STATUS))),
        Say(b.bind_complete(), b.data_row([b"bad", b"x"]), row(1), done(2)),
        Say(SELECTED, INSERTED, READY),
        Has(lambda s, ops: ops["g"].result()[1:], [[(7, "x")], "INSERT 0 1"]),
        Has(lambda s, ops: list(ops["g"].unread), [0]),
        Has(lambda s, ops: type(ops["g"].unread[0]), DataError),
        Has(lambda s, ops: ops["g"].unread[0].outcome, "unknown"),
        given=both,
    ),
    Script(
        "argument-that-does-not-fit",
        rider("BEGIN READ WRITE"),
        Refused(group((WRITE, (1,), RESULT), (SQL, ("x",), RESULT)), DataError),
        Refused(group((WRITE, (1,), RESULT), (SQL, (), RESULT)), InterfaceError),
        Sent(),
        Has(lambda s, ops: (s.in_flight, s.riders), (False, ["BEGIN READ WRITE"])),
        given=both,
    ),
    Script(
        "cancelled",
        Start("g", WRITE_AND_READ),
        Start("h", WRITE_AND_READ),
        cancel("g"),
        Has(blocked, (True, True)),
        Say(INSERTED, b.bind_complete(), row(1), CANCELED, READY),
        CANCEL_ENDED,
        Say(INSERTED, SELECTED, READY),
        Has(lambda s, ops: len(ops["h"].result()), 2),
        Has(blocked, (False, False)),
        given=both,
    ),
    Script(
        "hit-by-somebody-elses-cancel-request",
        Start("g", WRITE_AND_READ),
        Say(INSERTED, CANCELED, READY),
        Fails("g", QueryCanceledError),
        given=both,
    ),
    Script(
        "out-of-time",
        Start("g", group((SQL, (1,), ROWS), deadline=1005.0)),
        at(4.0),
        Waits("g"),
        at(5.0),
        Fails("g", TimeoutError),
        given=both,
    ),
    Script(
        "connection-lost",
        Start("g", WRITE_AND_READ),
        Say(INSERTED),
        LOST,
        Fails("g", ConnectionDoesNotExistError, "closed in the middle"),
        Has(lambda s, ops: ops["g"].exception().outcome, "unknown"),
        given=both,
    ),
    Script(
        "first-use-of-what-another-session-has-described",
        Start("g", group((PLAIN, (), ROWS), (PLAIN, (), ROWS))),
        Has(in_flight, {PLAIN}),
        Say(b.parse_complete(), b.parameter_description([]), COLUMNS, SELECTED),
        Has(cached, [PLAIN]),
        Say(SELECTED),
        Has(in_flight, {PLAIN}),
        Say(READY),
        Ends("g", [[(7, "x")], [(7, "x")]]),
        Has(in_flight, set()),
        given=described_plain,
    ),
    Script(
        "first-use-that-fails",
        Start("g", group((PLAIN, (), ROWS))),
        Say(DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(in_flight, set()),
        Has(cached, []),
        given=described_plain,
    ),
    Script(
        "unnamed",
        Start("g", lambda s, ops: unnamed(s)),
        Sent(
            f"Parse {SQL!r} (23)",
            "Describe S",
            "Bind (00000001)",
            "Execute 0",
            *BIND_WRITE,
            "Sync",
        ),
        Say(b.parse_complete(), DESCRIBED, SELECTED, INSERTED, READY),
        Ends("g", [[(7, "x")], "INSERT 0 1"]),
        given=both,
    ),
]


def unnamed(session):
    description = session.descriptions[SQL]
    parts = [
        (Statement(session, SQL, b"", description), (1,), ROWS, 0, None),
        (session.statements[WRITE], (1,), STATUS, 0, None),
    ]
    return start_group(session, parts, 0.0)


# -- scripts ---------------------------------------------------------------------------

TWO_COLUMNS = b.row_description([("a", INT4, 0), ("b", TEXT, 0)])


def text_row(*values):
    return b.data_row([None if v is None else v.encode() for v in values])


SCRIPTS = [
    Script(
        "script",
        Start("g", script("SELECT 1; CREATE; SELECT 2;;")),
        Sent("Query SELECT 1; CREATE; SELECT 2;;"),
        Say(TWO_COLUMNS, text_row("1", "x"), text_row(None, ""), done(2)),
        Say(b.command_complete("CREATE TABLE")),
        Say(TWO_COLUMNS, done(0)),
        Waits("g"),
        Say(READY),
        Has(
            answers,
            [
                ([(1, "x"), (None, "")], "SELECT 2"),
                ([], "CREATE TABLE"),
                ([], "SELECT 0"),
            ],
        ),
    ),
    Script(
        "empty-script",
        Start("g", script("")),
        Say(b.empty_query_response(), READY),
        Ends("g", []),
    ),
    Script(
        "script-behind-begin",
        rider("BEGIN READ WRITE"),
        Start("g", script("SELECT 1")),
        Sent("Query BEGIN READ WRITE; SELECT 1"),
        Say(b.command_complete("BEGIN"), TWO_COLUMNS, text_row("1", "x"), done(1)),
        Say(b.ready_for_query(b"T")),
        Has(answers, [([(1, "x")], "SELECT 1")]),
    ),
    Script(
        "script-fails",
        rider("BEGIN READ WRITE"),
        Start("g", script("SELECT 1; SELECT x")),
        Say(b.command_complete("BEGIN"), TWO_COLUMNS, text_row("1", "x"), done(1)),
        Say(b.error_response("no x", code="42703", position="35")),
        Say(FAILED),
        Fails("g", UndefinedColumnError),
        Has(index_of("g"), 1),
        Has(lambda s, ops: ops["g"].exception().position, "17"),
    ),
    Script(
        "script-whose-begin-fails",
        rider("BEGIN READ WRITE"),
        Start("g", script("SELECT 1")),
        Say(DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), None),
    ),
    Script(
        "script-fails-within-rows",
        Start("g", script("SELECT 1")),
        Say(TWO_COLUMNS, text_row("1", "x"), DIVISION, READY),
        Fails("g", DivisionByZeroError),
        Has(index_of("g"), 0),
    ),
    Script(
        "text-that-is-no-number-stays-text",
        Start("g", script("SELECT 1")),
        Say(TWO_COLUMNS, text_row("one", "x"), done(1), READY),
        Has(answers, [([("one", "x")], "SELECT 1")]),
    ),
    Script(
        "script-cancelled",
        Start("g", script("SELECT 1")),
        cancel("g"),
        Say(TWO_COLUMNS, text_row("1", "x"), CANCELED, READY),
        CANCEL_ENDED,
        Has(blocked, (False, False)),
    ),
]

ALL = by_name(GROUPS, SCRIPTS)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ALL)
def test_script(name, cut):
    """However the bytes are cut into reads."""
    ALL[name].play(CUTS[cut])


@pytest.mark.parametrize("name", ALL)
def test_script_cut_anywhere(name):
    """Cut once, at every offset."""
    ALL[name].play_cut_anywhere()


def test_error_at_every_position():
    """Wherever the error comes, its index is that of the part whose turn it was."""
    replies = [
        (b.bind_complete(), 0),
        (b.command_complete("INSERT 0 1"), 0),
        (b.bind_complete(), 1),
        (row(7), 1),
        (done(1), 1),
        (b"", None),
    ]
    for position, (_, index) in enumerate(replies):
        session = open_session()
        both(session)
        op = WRITE_AND_READ(session, {})
        session.feed(b"".join(reply for reply, _ in replies[:position]))
        session.feed(DIVISION + READY)
        assert op.exception().batch_index == index, position
        assert session.is_ready


def test_group_says_what_it_runs():
    """Holders and outcomes are told of all texts, each once."""
    session = open_session()
    both(session)
    WRITE_AND_READ(session, {})
    assert session.last_sql == f"{WRITE}\n;\n{SQL}"


def test_group_that_hides_a_write_behind_a_comment():
    """Lost with its connection, it is no read."""
    session = open_session()
    read = f"{SQL} -- a comment"
    prepared(session, read)
    prepared(session, WRITE, b.no_data(), b"s2")
    op = group((read, (1,), ROWS), (WRITE, (1,), STATUS))(session, {})
    session.lost(None)
    assert op.exception().outcome == "unknown"


# -- results ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "count"),
    [("INSERT 0 5", 5), ("SELECT 0", 0), ("CREATE TABLE", None), ("", None)],
)
def test_row_count(tag, count):
    """The number at the tag's end, where it has one."""
    assert Result([], tag).row_count == count


def test_result_is_a_list():
    """It is compared, copied, pickled and shown with what it has."""
    result = Result([(1,), (2,)], "SELECT 2")
    assert result == [(1,), (2,)]
    assert (len(result), result[1], list(result)) == (2, (2,), [(1,), (2,)])
    for twin in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert (type(twin), twin, twin.status) == (Result, result, "SELECT 2")
    assert repr(result) == "<Result 'SELECT 2' [(1,), (2,)]>"
    with pytest.raises(AttributeError):
        result.status = "SELECT 3"


def test_broken_arguments_name_their_place():
    """The index of the statement is on the error."""
    session = open_session()
    both(session)
    with pytest.raises(DataError) as caught:
        group((SQL, (1,), ROWS), (SQL, next(broken_off(0)), ROWS))(session, {})
    assert caught.value.batch_index == 1
