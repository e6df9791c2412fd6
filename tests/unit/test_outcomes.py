"""What an operation is told whose connection was lost, or that was given up."""

import pytest

from chopin._outcomes import (
    Lost,
    connection_lost,
    dropped,
    may_commit,
    outcomes,
    tell_outcome,
    timed_out,
)
from chopin.exceptions import (
    AdminShutdownError,
    ConnectionDoesNotExistError,
    InterfaceError,
    InvalidPasswordError,
    SerializationError,
    TooManyConnectionsError,
)
from chopin.retry import kind_of, outcome_of

READ = "SELECT a FROM t WHERE b = $1"
WRITE = "UPDATE t SET a = 1"
CALL = "CALL p($1)"
IDLE, IN_BLOCK, FAILED = "I", "T", "E"
UNKNOWN, UNDONE, UNSENT = "unknown", "rolled_back", "not_sent"
# The texts of which only the transaction's own end can tell more.
ENDS = ["COMMIT", "commit;", "END", "end work", "COMMIT AND CHAIN", "/**/ Commit"]
ABORTS = ["ROLLBACK", "rollback;", "ABORT", " Abort work", "ROLLBACK AND CHAIN"]
# What may commit before it fails: by itself, but not in a block; as one of several.
# And what cannot.
ACTS = [
    CALL,
    "call p()",
    " \n\tDo $$BEGIN COMMIT; END$$",
    "-- a comment\nCALL p()",
    "/* a\ncomment */ -- and\n /**/DO 'BEGIN END'",
    "SELECT 1; CALL p()",
    "-- a comment\rCALL p()",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
    "create unique index\nconcurrently i ON t (a)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX TABLE t",
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    "VACUUM",
    "Cluster",
]
# in a block, where this one is taken for a script that ends it
HARMLESS_IN_BLOCK = [sql for sql in ACTS if "COMMIT" not in sql]
SCRIPTS = [
    "INSERT INTO t VALUES (1); COMMIT; SELECT 1",
    "INSERT INTO t VALUES (1); END; SELECT 1",
    "BEGIN; INSERT INTO t VALUES (1); commit and chain; SELECT 1",
    "PREPARE TRANSACTION 'x'; SELECT 1",
    "ROLLBACK; INSERT INTO t VALUES (1)",
    "SELECT 1; -- done\nCOMMIT; SELECT 2",
    "SELECT 1;/* done */COMMIT; SELECT 2",
]
OTHERS = [
    READ,
    WRITE,
    "COMMIT",
    "COMMIT;",
    "INSERT INTO t VALUES (1); SELECT 1",
    "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT INTO t SELECT call FROM calls",
    "SELECT docall()",
    "CREATE INDEX i ON t (a)",
    "CREATE TABLE vacuum (a int)",
    "SELECT concurrently FROM t",
    "UPDATE t SET a = 'the end'",
    "SELECT CASE WHEN a THEN 1 END FROM t; SELECT 1",
    "",
]


def sent(sql, *, begins=False, is_refused=False):
    """An operation that was handed to the transport."""
    return Lost(sql, True, begins, is_refused)


def unsent(sql):
    """One that was not."""
    return Lost(sql, False, False, False)


def told(*lost, status=IDLE):
    """What each of them is told."""
    return list(outcomes(lost, status))


# Lost with their connection


@pytest.mark.parametrize(
    ("sql", "idle", "in_block"),
    [
        (READ, UNDONE, UNDONE),
        ("VALUES (1)", UNDONE, UNDONE),
        (WRITE, UNKNOWN, UNDONE),
        ("SELECT f()", UNKNOWN, UNDONE),  # a function of the user's
        ("SELECT a FROM t FOR UPDATE", UNKNOWN, UNDONE),
        ("INSERT INTO t VALUES (1); DELETE FROM s", UNKNOWN, UNDONE),
        ("SAVEPOINT s", UNKNOWN, UNDONE),
        (None, UNKNOWN, UNDONE),
        ("", UNKNOWN, UNDONE),
        *((sql, UNKNOWN, UNKNOWN) for sql in ENDS),
        ("PREPARE TRANSACTION 'x'", UNKNOWN, UNKNOWN),
        ("INSERT INTO t VALUES (1); COMMIT", UNKNOWN, UNKNOWN),
        ("COMMIT; INSERT INTO t VALUES (1)", UNKNOWN, UNKNOWN),
        *((sql, UNKNOWN, UNDONE) for sql in ABORTS),
        # A name that only seems to be the end of a block, and one that is none
        ("UPDATE t SET a = 'the end'", UNKNOWN, UNKNOWN),
        ("UPDATE t SET ending = 1", UNKNOWN, UNDONE),
    ],
)
def test_one_statement(sql, idle, in_block):
    """A read has done nothing; what is in a block is undone but what ends it."""
    assert told(sent(sql)) == [idle]
    assert told(sent(sql), status=IN_BLOCK) == [in_block]
    assert told(sent(sql), status=FAILED) == [in_block]
    assert told(sent(sql, begins=True)) == [in_block]


@pytest.mark.parametrize("abort", ["ROLLBACK", "ABORT"])
def test_script_that_goes_on_behind_its_block(abort):
    """What follows in the same text is a transaction of its own."""
    sql = f"{abort}; INSERT INTO t VALUES (1)"
    assert told(sent(sql), status=IN_BLOCK) == [UNKNOWN]


@pytest.mark.parametrize("status", [IDLE, IN_BLOCK, FAILED])
@pytest.mark.parametrize("sql", [READ, WRITE, "COMMIT", None])
def test_not_sent(sql, status):
    """Whatever it is."""
    assert told(unsent(sql), status=status) == [UNSENT]


@pytest.mark.parametrize("status", [IDLE, IN_BLOCK, FAILED])
@pytest.mark.parametrize("sql", [READ, WRITE, "COMMIT", None])
def test_refused(sql, status):
    """What a FATAL error came for instead of its end is undone."""
    assert told(sent(sql, is_refused=True), status=status) == [UNDONE]


@pytest.mark.parametrize("sql", ACTS + SCRIPTS)
def test_refused_behind_its_own_commit(sql):
    """What commits by itself may have done so before the FATAL error."""
    assert told(sent(sql, is_refused=True)) == [UNKNOWN]


@pytest.mark.parametrize("sql", HARMLESS_IN_BLOCK)
def test_refused_in_a_block(sql):
    """But in a block the server does not let it."""
    assert told(sent(sql, is_refused=True), status=IN_BLOCK) == [UNDONE]
    assert told(sent(sql, begins=True, is_refused=True)) == [UNDONE]


def test_none():
    """Nothing was in flight."""
    assert told() == told(status=IN_BLOCK) == []


@pytest.mark.parametrize("end", [*ENDS, *ABORTS])
def test_behind_the_end_of_a_block(end):
    """What was sent behind it is on its own."""
    *_, before, _, after = told(sent(WRITE), sent(end), sent(WRITE), status=IN_BLOCK)
    assert (before, after) == (UNDONE, UNKNOWN)


def test_behind_the_beginning_of_a_block():
    """What was sent ahead of it may be done, what comes behind is undone with it."""
    lost = [sent(WRITE), sent(WRITE, begins=True), sent(WRITE), sent(None)]
    assert told(*lost) == [UNKNOWN, UNDONE, UNDONE, UNDONE]


def test_two_blocks():
    """The first may have been committed, and the second was not."""
    block = [sent(WRITE, begins=True), sent("COMMIT")]
    got = told(*block, sent(WRITE), *block)
    assert got == [UNDONE, UNKNOWN, UNKNOWN, UNDONE, UNKNOWN]


def test_sent_in_part():
    """Each by itself: the first was refused, and the last never sent."""
    lost = [sent(WRITE, is_refused=True), sent(WRITE), sent(READ), unsent(READ)]
    assert told(*lost) == [UNDONE, UNKNOWN, UNDONE, UNSENT]


def test_refused_end():
    """A COMMIT that was refused has ended the block all the same."""
    lost = [sent("COMMIT", is_refused=True), sent(WRITE)]
    assert told(*lost, status=IN_BLOCK) == [UNDONE, UNKNOWN]


# Failed


@pytest.mark.parametrize(
    ("sql", "expected"),
    [(sql, True) for sql in ACTS + SCRIPTS] + [(sql, False) for sql in OTHERS],
)
def test_failed(sql, expected):
    """A script with a commit in it, CALL and DO may have done something."""
    assert may_commit(sql, False) is expected
    error = SerializationError("again")
    tell_outcome(error, sql, False)
    assert outcome_of(error) == (UNKNOWN if expected else UNDONE)


@pytest.mark.parametrize("sql", HARMLESS_IN_BLOCK)
def test_failed_in_a_block(sql):
    """CALL and DO cannot commit in a block."""
    error = SerializationError("again")
    tell_outcome(error, sql, True)
    assert outcome_of(error) == UNDONE


@pytest.mark.parametrize("sql", SCRIPTS)
def test_script_that_ends_its_block(sql):
    """What came before the end may be committed, in a block as well."""
    error = SerializationError("again")
    tell_outcome(error, sql, True)
    assert outcome_of(error) == UNKNOWN


def test_failed_without_a_doubt():
    """What is known otherwise stays."""
    error = SerializationError("again")
    error.outcome = UNSENT
    tell_outcome(error, CALL, False)
    assert outcome_of(error) == UNSENT


# The error


@pytest.mark.parametrize("outcome", [UNKNOWN, UNDONE, UNSENT])
def test_lost_without_a_reason(outcome):
    """The socket has ended, and nobody has said why."""
    error = connection_lost(None, outcome)
    assert type(error) is ConnectionDoesNotExistError
    assert str(error) == "connection was closed in the middle of operation"
    assert (kind_of(error), outcome_of(error)) == ("transient", outcome)
    assert error.__cause__ is None


def test_lost_by_the_network():
    """The socket's error is the cause, and stays out of the text as with asyncpg."""
    reason = ConnectionResetError(104, "reset")
    error = connection_lost(reason, UNKNOWN)
    assert str(error) == "connection was closed in the middle of operation"
    assert (kind_of(error), outcome_of(error)) == ("transient", UNKNOWN)
    assert error.__cause__ is reason


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (AdminShutdownError("terminating connection"), "transient"),
        (TooManyConnectionsError("sorry"), "resource"),
        (InvalidPasswordError("no"), "permanent"),
    ],
    ids=["shutdown", "too many", "password"],
)
def test_lost_by_the_server(reason, kind):
    """What it said is in the text, and says what kind of error it is."""
    assert reason.kind == kind
    error = connection_lost(reason, UNDONE)
    assert type(error) is ConnectionDoesNotExistError
    assert str(error) == (
        f"connection was closed in the middle of operation: {reason.args[0]}"
    )
    assert (kind_of(error), outcome_of(error)) == (kind, UNDONE)
    assert error.__cause__ is reason


def test_lost_by_a_server_without_words():
    """An error without a message is no reason to fail."""
    error = connection_lost(AdminShutdownError(), UNDONE)
    assert str(error) == "connection was closed in the middle of operation: "


def test_each_has_an_error_of_its_own():
    """What is set on one is not set on the other, or on the class."""
    reason = AdminShutdownError("bye")
    first, second = connection_lost(reason, UNSENT), connection_lost(reason, UNDONE)
    assert (first.outcome, second.outcome) == (UNSENT, UNDONE)
    assert ConnectionDoesNotExistError("x").outcome == UNKNOWN


# Given up


def test_dropped():
    """The server may have done it or not."""
    error = dropped("the connection was released")
    assert type(error) is InterfaceError
    assert str(error) == "the connection was released"
    assert (kind_of(error), outcome_of(error)) == ("client", UNKNOWN)
    assert InterfaceError("x").outcome == UNSENT


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [(READ, UNDONE), (WRITE, UNKNOWN), ("COMMIT", UNKNOWN), (None, UNKNOWN)],
)
def test_timed_out(sql, outcome):
    """Python's own error, without words; a read has done nothing."""
    error = timed_out(sql)
    assert type(error) is TimeoutError
    assert error.args == ()
    assert (kind_of(error), outcome_of(error)) == ("canceled", outcome)
    assert outcome_of(TimeoutError()) == UNKNOWN
