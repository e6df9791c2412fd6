"""prepare and PreparedStatement."""

import asyncio
import re

import pytest

import chopin
from chopin.types import Attribute, Type

INT4 = Type(23, "int4", "scalar", "pg_catalog")
TEXT = Type(25, "text", "scalar", "pg_catalog")
BOOL = Type(16, "bool", "scalar", "pg_catalog")

HELD = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1"


class Row(chopin.Record):
    """A record class of the user's own."""


async def test_what_is_known_of_a_statement(conn):
    """Name, text, parameters and columns are there before the first run."""
    query = "SELECT $1::int AS a, $2::text AS b, $1 > 1"
    statement = await conn.prepare(query)
    assert statement.get_query() == statement._query == query
    assert statement.get_name()
    assert statement.get_statusmsg() is None
    assert statement.get_parameters() == (INT4, TEXT)
    assert statement.get_attributes() == (
        Attribute("a", INT4),
        Attribute("b", TEXT),
        Attribute("?column?", BOOL),
    )
    got = await conn.fetchval(
        "SELECT statement FROM pg_prepared_statements WHERE name = $1",
        statement.get_name(),
    )
    assert got == query


@pytest.mark.parametrize(
    ("type_name", "want"),
    [
        ("int4[]", Type(1007, "int4[]", "array", "pg_catalog")),
        ("text[]", Type(1009, "text[]", "array", "pg_catalog")),
        ("int4range", Type(3904, "int4range", "range", "pg_catalog")),
        ("varchar(3)", Type(1043, "varchar", "scalar", "pg_catalog")),
        ("timestamptz", Type(1184, "timestamptz", "scalar", "pg_catalog")),
        ("oid", Type(26, "oid", "scalar", "pg_catalog")),
        ("money", Type(790, "money", "scalar", "pg_catalog")),
    ],
)
async def test_types_of_parameters(conn, type_name, want):
    """Types are named as the server names them."""
    statement = await conn.prepare(f"SELECT $1::{type_name}")
    assert statement.get_parameters() == (want,)
    assert statement.get_attributes()[0].type == want


async def test_types_of_the_user(conn):
    """A type of the user's own is given with its name and schema."""
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('calm', 'wild')")
    statement = await conn.prepare("SELECT $1::pg_temp.mood, $2::pg_temp.mood[]")
    mood, moods = statement.get_parameters()
    assert (mood.name, mood.kind) == ("mood", "scalar")
    assert (moods.name, moods.kind) == ("mood[]", "array")
    assert mood.schema == moods.schema
    assert mood.schema.startswith("pg_temp_")
    oids = await conn.fetchrow(
        "SELECT 'pg_temp.mood'::regtype::oid, 'pg_temp.mood[]'::regtype::oid"
    )
    assert oids == (mood.oid, moods.oid)


async def test_statement_without_columns(conn):
    """No parameters and no columns are empty tuples."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    for query in "INSERT INTO t VALUES (1)", "", "SELECT", "SET work_mem = '5MB'":
        statement = await conn.prepare(query)
        assert statement.get_parameters() == ()
        assert statement.get_attributes() == ()
        assert isinstance(await statement.fetch(), list)


async def test_fetch_methods(conn):
    """A statement fetches as a connection does, any number of times."""
    statement = await conn.prepare("SELECT i, i + $1 FROM generate_series(1, 3) AS i")
    for n in 10, 20, 30:
        rows = await statement.fetch(n)
        assert [tuple(row) for row in rows] == [(1, n + 1), (2, n + 2), (3, n + 3)]
        assert await statement.fetchrow(n) == (1, n + 1)
        assert await statement.fetchval(n) == 1
        assert await statement.fetchval(n, column=1) == n + 1
    rows = await statement.fetchmany([(1,), (2,)])
    assert [row[1] for row in rows] == [2, 3, 4, 3, 4, 5]
    assert await statement.fetchmany([]) == []


async def test_no_rows(conn):
    """Where a connection returns None, so does a statement."""
    statement = await conn.prepare("SELECT 1 WHERE $1")
    assert await statement.fetch(False) == []
    assert await statement.fetchrow(False) is None
    assert await statement.fetchval(False) is None


async def test_executemany(conn):
    """A statement executes many at once, all or none."""
    await conn.execute("CREATE TEMP TABLE t (a int UNIQUE)")
    statement = await conn.prepare("INSERT INTO t VALUES ($1)")
    assert await statement.executemany((i,) for i in range(3)) == 3
    assert await statement.executemany([]) == 0
    with pytest.raises(chopin.UniqueViolationError):
        await statement.executemany([(3,), (0,)])
    with pytest.raises(chopin.DataError, match=r"\$1 in element #1 of executemany"):
        await statement.executemany([(3,), ("x",)])
    assert await conn.fetch("SELECT a FROM t ORDER BY a") == [(0,), (1,), (2,)]


async def test_status(conn):
    """The status is that of the last run to the end."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    statement = await conn.prepare("INSERT INTO t VALUES ($1), ($1)")
    await statement.fetch(1)
    assert statement.get_statusmsg() == "INSERT 0 2"
    select = await conn.prepare("SELECT a FROM t WHERE a = $1")
    await select.fetch(1)
    assert select.get_statusmsg() == "SELECT 2"
    await select.fetch(7)
    assert select.get_statusmsg() == "SELECT 0"
    assert statement.get_statusmsg() == "INSERT 0 2"


async def test_number_of_arguments(conn):
    """A wrong number of arguments is told as a connection does."""
    statement = await conn.prepare("SELECT $1::int, $2::int")
    for method in statement.fetch, statement.fetchrow, statement.fetchval:
        with pytest.raises(
            chopin.InterfaceError,
            match="the server expects 2 arguments for this query, 1 was passed",
        ):
            await method(1)
    assert await statement.fetchval(1, 2) == 1


async def test_statement_survives_errors(conn):
    """Errors of the server and of arguments do not use a statement up."""
    statement = await conn.prepare("SELECT 10 / $1::int")
    for _ in range(3):
        with pytest.raises(chopin.DivisionByZeroError):
            await statement.fetchval(0)
        with pytest.raises(chopin.DataError, match=re.escape("$1: 'x'")):
            await statement.fetchval("x")
        with pytest.raises(asyncio.TimeoutError):
            await statement.fetch(1, timeout=0)
        assert await statement.fetchval(5) == 2


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELEC 1", chopin.PostgresSyntaxError),
        ("SELECT 1; SELECT 2", chopin.PostgresSyntaxError),
        ("SELECT nope", chopin.UndefinedColumnError),
        ("SELECT * FROM nowhere", chopin.UndefinedTableError),
        ("SELECT $1", None),
        ("SELECT $2::int", chopin.IndeterminateDatatypeError),
    ],
)
async def test_bad_statement(conn, query, error):
    """What the server has to say about a statement comes from prepare."""
    if error is None:
        await conn.prepare(query)
    else:
        with pytest.raises(error) as caught:
            await conn.prepare(query)
        assert caught.value.query == query
    assert await conn.fetchval("SELECT 1") == 1


async def test_named_statement(conn):
    """A name that the user gives is the server's name; it can be given once."""
    statement = await conn.prepare("SELECT 1", name="mine")
    assert statement.get_name() == "mine"
    assert await statement.fetchval() == 1
    got = await conn.fetchval(
        "SELECT statement FROM pg_prepared_statements WHERE name = 'mine'"
    )
    assert got == "SELECT 1"
    with pytest.raises(
        chopin.DuplicatePreparedStatementError,
        match='prepared statement "mine" already exists',
    ):
        await conn.prepare("SELECT 2", name="mine")
    assert await statement.fetchval() == 1


async def test_unnamed_statement(conn):
    """An empty name makes the unnamed statement, which leaves nothing behind."""
    statement = await conn.prepare("SELECT $1::int AS unnamed", name="")
    assert statement.get_name() == ""
    assert await statement.fetchval(5) == 5
    assert await conn.fetchval(HELD, "SELECT $1::int AS unnamed") == 0


async def test_every_prepare_is_a_statement_of_its_own(conn):
    """Two statements with the same text do not share their fate, nor the cache's."""
    query = "SELECT 1 AS twice"
    await conn.fetchval(query)
    first, second = await conn.prepare(query), await conn.prepare(query)
    assert len({first.get_name(), second.get_name()}) == 2
    await conn.execute(f'DEALLOCATE "{first.get_name()}"')
    with pytest.raises(chopin.InvalidSQLStatementNameError):
        await first.fetch()
    assert await second.fetchval() == 1
    assert await conn.fetchval(query) == 1


async def test_dropped_statement_is_closed(conn):
    """A statement that nobody holds any more goes from the server by itself."""
    query = "SELECT 1 AS dropped"
    statement = await conn.prepare(query)
    assert await conn.fetchval(HELD, query) == 1
    del statement
    await conn.fetchval("SELECT 1")
    assert await conn.fetchval(HELD, query) == 0


async def test_statement_outlives_ddl(conn, connect):
    """Objects of the user are prepared again when the columns have changed."""
    other = await connect()
    await other.execute("CREATE TABLE chopin_prepared (a int)")
    try:
        statement = await conn.prepare("INSERT INTO chopin_prepared VALUES ($1)")
        await statement.fetch(1)
        await other.execute("ALTER TABLE chopin_prepared ADD b text DEFAULT 'x'")
        await statement.fetch(2)
        got = await conn.fetch("SELECT * FROM chopin_prepared ORDER BY a")
        assert [tuple(row) for row in got] == [(1, "x"), (2, "x")]
    finally:
        await other.execute("DROP TABLE chopin_prepared")


async def test_record_class(connect, conn):
    """A statement makes rows of its own class, or of the connection's."""
    statement = await conn.prepare("SELECT 1", record_class=Row)
    plain = await conn.prepare("SELECT 1")
    assert type(await statement.fetchrow()) is Row
    assert type(await plain.fetchrow()) is chopin.Record
    [row] = await statement.fetchmany([()])
    assert type(row) is Row
    async with conn.transaction():
        assert [type(row) async for row in statement.cursor()] == [Row]
    other = await connect(record_class=Row)
    statement = await other.prepare("SELECT 1")
    assert type(await statement.fetchrow()) is Row


async def test_cursor(conn):
    """A statement opens cursors, by iteration and by await."""
    statement = await conn.prepare("SELECT i FROM generate_series(1, $1::int) AS i")
    async with conn.transaction():
        assert [row[0] async for row in statement.cursor(5, prefetch=2)] == [
            1,
            2,
            3,
            4,
            5,
        ]
        cursor = await statement.cursor(5)
        assert await cursor.fetch(2) == [(1,), (2,)]
        assert await cursor.fetchrow() == (3,)
    assert await statement.fetchval(3) == 1


async def test_cursor_outside_of_a_transaction(conn):
    """A cursor lives in a transaction only."""
    statement = await conn.prepare("SELECT 1")
    with pytest.raises(
        chopin.NoActiveSQLTransactionError,
        match="cursor cannot be created outside of a transaction",
    ):
        await statement.cursor()
    assert await statement.fetchval() == 1


async def test_explain(conn):
    """The plan of the statement with these arguments, as data."""
    statement = await conn.prepare("SELECT $1::int AS a, $2::text AS b")
    [got] = await statement.explain(1, "it's")
    assert got["Plan"]["Node Type"] == "Result"
    assert got["Plan"]["Output"] == ["1", "'it''s'::text"]
    assert "Actual Rows" not in got["Plan"]
    assert await statement.fetchrow(1, "x") == (1, "x")


@pytest.mark.parametrize("is_in_block", [False, True])
async def test_explain_analyze(conn, is_in_block):
    """The statement is run for its plan, but what it did is undone."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    statement = await conn.prepare("INSERT INTO t VALUES ($1)")
    if is_in_block:
        async with conn.transaction():
            await conn.execute("INSERT INTO t VALUES (7)")
            [got] = await statement.explain(1, analyze=True)
    else:
        [got] = await statement.explain(1, analyze=True)
    assert got["Plan"]["Node Type"] == "ModifyTable"
    assert "Actual Rows" in got["Plan"]
    assert await conn.fetch("TABLE t") == ([(7,)] if is_in_block else [])
    assert not conn.is_in_transaction()


METHODS = [
    ("get_name", ()),
    ("get_query", ()),
    ("get_statusmsg", ()),
    ("get_parameters", ()),
    ("get_attributes", ()),
    ("fetch", (1,)),
    ("fetchrow", (1,)),
    ("fetchval", (1,)),
    ("fetchmany", ([(1,)],)),
    ("executemany", ([(1,)],)),
    ("explain", (1,)),
    ("cursor", (1,)),
]


@pytest.mark.parametrize(("method", "args"), METHODS, ids=[name for name, _ in METHODS])
async def test_closed_connection(conn, method, args):
    """A statement ends with its connection, and says so."""
    statement = await conn.prepare("SELECT $1::int")
    await conn.close()
    message = (
        f"cannot call PreparedStatement.{method}(): the underlying connection is closed"
    )
    with pytest.raises(chopin.InterfaceError, match=f"^{re.escape(message)}$"):
        result = getattr(statement, method)(*args)
        await result
