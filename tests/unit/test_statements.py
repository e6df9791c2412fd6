"""Which statements a session keeps: admission, eviction, names, invalidation."""

import pytest

from chopin import _statements
from chopin._ops import ROWS, start_query
from tests.support import backend as b
from tests.support.fakes import READY, open_session
from tests.support.script import COLUMNS, INT4, SQL, done, prepared, query


class Kept:
    """What the policy knows of a statement."""

    def __init__(self, sql):
        self.sql = sql
        self.name = _statements.statement_name(sql)
        self.used = True
        self.cached = self.closed = False


def kept(session, *texts):
    for sql in texts:
        _statements.admit(session, Kept(sql))


def limited(size, length=0):
    session = open_session()
    session.statement_cache_size = size
    session.statement_size_limit = length
    return session


def test_name_is_the_same_in_every_session():
    """A digest of the text, short enough for the server, and safe in a message."""
    one, two = _statements.statement_name("SELECT 1"), _statements.statement_name("é")
    assert one == _statements.statement_name("SELECT 1")
    assert one != two
    for name in (one, two, _statements.statement_name("\ud800"), b"chopin_stmt_1"):
        assert len(name) < 64
        assert name.replace(b"_", b"").isalnum()


def test_names_of_the_user_s_statements_are_unique():
    """No two are the same, and none is that of a cached one."""
    names = {_statements.unique_name() for _ in range(100)}
    assert len(names) == 100
    assert not any(len(name) == len(_statements.statement_name("x")) for name in names)


@pytest.mark.parametrize(
    ("size", "length", "sql", "is_admitted"),
    [
        (100, 0, "x" * 100_000, True),
        (100, 10, "x" * 10, True),
        (100, 10, "x" * 11, False),
        (0, 0, "x", False),
        (-1, 0, "x", False),
    ],
)
def test_admission(size, length, sql, is_admitted):
    """The cache is on, and the text is not too long."""
    assert _statements.is_admitted(limited(size, length), sql) is is_admitted


def test_nothing_is_admitted_behind_a_pooler():
    """A name may be that of another server's statement there."""
    session = limited(10, 10)
    assert _statements.is_admitted(session, "SELECT 1")
    session.pooled = True
    assert not _statements.is_admitted(session, "SELECT 1")


def test_oldest_unused_one_goes():
    """A second chance for what was used since the last look."""
    session = limited(3)
    kept(session, "a", "b", "c")
    for statement in session.statements.values():
        statement.used = False
    session.statements["a"].used = True
    kept(session, "d")
    assert list(session.statements) == ["c", "a", "d"]
    assert not session.statements["a"].used
    assert session.closes == [b"S" + _statements.statement_name("b")]


def test_all_were_used():
    """Then the oldest goes; the policy ends."""
    session = limited(3)
    kept(session, "a", "b", "c", "d")
    assert list(session.statements) == ["b", "c", "d"]


def test_cache_that_was_made_smaller():
    """Room is made for as many as there are too many."""
    session = limited(10)
    kept(session, *"abcdefgh")
    session.statement_cache_size = 2
    kept(session, "z")
    assert len(session.statements) == 2
    assert "z" in session.statements
    assert len(session.closes) == 7


def test_forgotten_one_is_closed_once():
    """Ahead of the next group, and never twice."""
    session = limited(3)
    kept(session, "a")
    statement = session.statements["a"]
    _statements.forget(session, "a")
    _statements.forget(session, "a")
    assert session.closes == [b"S" + statement.name]
    assert (statement.cached, statement.closed) == (False, True)


def test_lost_ones_are_not_closed():
    """The server has dropped them itself."""
    session = limited(3)
    kept(session, "a", "b")
    statement = session.statements["a"]
    _statements.lose_all(session)
    assert session.closes == []
    assert session.statements == {}
    assert (statement.cached, statement.closed) == (False, True)


def test_all_are_forgotten_with_their_descriptions():
    """Types and plans may have changed."""
    session = limited(3)
    kept(session, "a", "b")
    _statements.describe(session, "a", object())
    _statements.forget_all(session)
    assert (session.statements, session.descriptions) == ({}, {})
    assert len(session.closes) == 2


def test_sweep_takes_what_was_not_used_since_the_last_one():
    """One life is between one and two sweeps long."""
    session = limited(3)
    kept(session, "a", "b")
    _statements.sweep(session)
    assert list(session.statements) == ["a", "b"]
    session.statements["b"].used = True
    _statements.sweep(session)
    assert list(session.statements) == ["b"]


def test_descriptions_have_an_end():
    """A program that builds its SQL from values does not fill the memory."""
    session = limited(3)
    for number in range(_statements.DESCRIPTIONS + 50):
        _statements.describe(session, f"SELECT {number}", number)
    assert len(session.descriptions) == _statements.DESCRIPTIONS
    assert "SELECT 0" not in session.descriptions
    _statements.describe(session, "SELECT 100", "again")
    assert len(session.descriptions) == _statements.DESCRIPTIONS


def test_prepared_again_under_another_name():
    """The older statement of the same text is closed."""
    session = limited(3)
    prepared(session, "SELECT 1", name=b"one")
    prepared(session, "SELECT 1", name=b"two")
    assert session.statements["SELECT 1"].name == b"two"
    assert session.closes == [b"Sone"]


def test_prepared_again_under_the_same_name_is_not_closed():
    """What has replaced it on the server would be closed with it."""
    session = limited(3)
    prepared(session, "SELECT 1", name=b"one")
    _statements.forget(session, "SELECT 1")
    assert session.closes == [b"Sone"]
    session.closes.clear()
    prepared(session, "SELECT 1", name=b"one")
    assert session.closes == []
    assert session.statements["SELECT 1"].name == b"one"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SET search_path TO a, b", False),
        ("reset all;", False),
        ("LISTEN x", False),
        ("SELECT set_config('a.b', $1, false)", False),
        ("select pg_catalog.pg_advisory_lock($1) AS got", False),
        ("SELECT pg_try_advisory_lock(1, 2);", False),
        ("CREATE TEMP TABLE t (a int)", True),
        ("SELECT mine($1)", True),
        ("CALL p()", True),
        ("SET a.b TO 1; SELECT mine()", True),
        ("SELECT set_config('a.b', mine(), false)", True),
        ("SELECT pg_advisory_lock(mine(1))", True),
        # what is made from then on may be in the temporary schema
        ("SET search_path = pg_temp", True),
        ('SET SESSION search_path TO public, "pg_temp_3"', True),
        ("set schema 'PG_TEMP'", True),
        ("SET search_path = E'pg\\x5ftemp'", True),
        ("SET search_path = U&\"pg!005ftemp\" UESCAPE '!'", True),
        ("SET search_path = 'pg_' -- and\n 'temp'", True),
        ("SET search_path = 'a', \"$user\"", False),
        ("SELECT set_config('search_path', 'pg_temp', false)", True),
        ("SELECT set_config('Search_Path', $1, false)", True),
        ("SELECT set_config($1, $2, false)", True),
        ("SELECT set_config('search_path', 'a, b', false)", False),
        ("SELECT set_config('search_path', 'pg' || '_' || 'temp', false)", True),
        # a cursor runs what its query calls
        ("DECLARE c CURSOR FOR SELECT make_temp()", True),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT a, b FROM t", False),
    ],
)
def test_what_may_make_temporary_tables(sql, expected):
    """Whatever leaves state behind and is not known to make none."""
    assert _statements.makes_tables(sql) is expected


def run_unnamed(session, columns=COLUMNS):
    """The statement of a query whose text is parsed again, and what was sent."""
    session.sent()
    op = query(ROWS)(session, {})
    session.loop.run()
    assert [message.name for message in session.sent()] == [
        "Parse",
        "Describe",
        "Bind",
        "Execute",
        "Sync",
    ]
    session.feed(b.parse_complete() + b.parameter_description([INT4]) + columns)
    session.feed(b.bind_complete() + done(0) + READY)
    assert op.result() == []
    return op.statement


def test_plan_of_an_unnamed_statement_is_kept():
    """Behind a pooler each use parses; what was made of the description stays."""
    session = open_session()
    prepared(session)
    session.pooled = True
    first = run_unnamed(session)
    assert run_unnamed(session) is first
    described = open_session()
    prepared(described)
    session.descriptions[SQL] = described.descriptions[SQL]  # somebody has asked again
    second = run_unnamed(session)
    assert second is not first
    others = b.row_description([("c", INT4, 0)])
    assert run_unnamed(session, others) is second
    assert [column.name for column in second.description.columns] == ["c"]
    assert run_unnamed(session, others) is second
    _statements.forget_all(session)
    assert start_query(session, SQL, (1,), ROWS, 0, None, None) is None


def test_unnamed_statements_have_an_end():
    """So many plans are kept, the last ones."""
    session = open_session()
    for number in range(_statements.UNNAMED + 10):
        _statements.keep_unnamed(session, Kept(str(number)))
    assert len(session.unnamed) == _statements.UNNAMED
    assert next(iter(session.unnamed)) == "10"
