"""What is done again when a cancel request has hit what it was not meant for."""

from types import SimpleNamespace

import pytest

from chopin._execute import heal, heal_group
from chopin.exceptions import PostgresError, QueryCanceledError


def is_healed(sql, *, is_bystander=True, has_run=False, status="I", sent=2):
    """Whether a text is run again whose operation got the error of a cancel request."""
    op = SimpleNamespace(
        bystander=is_bystander, completed=has_run, riders=(), number=sent
    )
    session = SimpleNamespace(transaction_status=status, riders=[], ended_with=1)
    return heal(session, sql, op, QueryCanceledError("canceling statement"))


@pytest.mark.parametrize("sql", ["SELECT 1", "INSERT INTO t VALUES (1)"])
def test_statement(sql):
    """The error has undone it."""
    assert is_healed(sql)


def test_script_that_was_half_done():
    """It is undone as a whole."""
    assert is_healed("SELECT 1; INSERT INTO t VALUES (1)", has_run=True)


@pytest.mark.parametrize(
    "sql", ["INSERT INTO t VALUES (1); COMMIT; SELECT 1", "SELECT 1; CALL p()"]
)
def test_script_that_may_have_committed(sql):
    """Nobody knows how far it came."""
    assert not is_healed(sql, has_run=True)


@pytest.mark.parametrize("sql", ["CALL p()", "DO 'BEGIN END'"])
def test_what_commits_by_itself(sql):
    """It may have done so before the request came."""
    assert not is_healed(sql)


@pytest.mark.parametrize("status", ["T", "E"])
def test_in_a_block(status):
    """The error has undone more than the statement."""
    assert not is_healed("SELECT 1", status=status)


def test_request_that_was_meant_for_it():
    """Somebody has cancelled it himself."""
    assert not is_healed("SELECT 1", is_bystander=False)


def test_block_that_has_ended_since():
    """It would run outside of the block that it was sent in."""
    assert not is_healed("SELECT 1", sent=1)


# Groups


class Cache(SimpleNamespace):
    """As much of a session as healing looks at, with some statements cached."""

    def __init__(self, *texts):
        statements = {
            sql: SimpleNamespace(closed=False, name=sql.encode(), cached=True)
            for sql in texts
        }
        super().__init__(
            transaction_status="I",
            riders=[],
            closes=[],
            pooled=False,
            statements=statements,
            descriptions=dict.fromkeys(texts),
            ended_with=0,
        )


def grouped(texts, code, **fields):
    """Whether a group is repeated after an error; and what is still cached then."""
    session = Cache(*texts)
    op = SimpleNamespace(
        bystander=True,
        completed=True,
        riders=(),
        sql="\n;\n".join(texts),
        number=1,
    )
    error = PostgresError.new({"S": "ERROR", "C": code, "M": "no", **fields})
    return heal_group(session, texts, op, error), list(session.statements)


def test_group_whose_plan_is_stale():
    """All of its statements are described again."""
    stale = grouped(["SELECT 1", "SELECT 2"], "0A000", R="RevalidateCachedQuery")
    assert stale == (True, [])


def test_group_that_a_cancel_request_has_hit():
    """It is repeated if none of it can have committed by itself."""
    plain = ["SELECT 1", "INSERT INTO t VALUES (1)"]
    assert grouped(plain, "57014") == (True, plain)
    for bad in ("CALL p()", "COMMIT", "SET a = 1"):
        assert not grouped(["SELECT 1", bad], "57014")[0]


def test_group_with_another_error():
    """It stands, and so does what is known."""
    assert grouped(["SELECT 1"], "23505") == (False, ["SELECT 1"])
