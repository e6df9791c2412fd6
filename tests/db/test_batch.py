"""batch: different statements in one flight, all of them or none."""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chopin

INSERT = "INSERT INTO t VALUES ($1, $2)"
SELECT = "SELECT * FROM t ORDER BY a"
names = itertools.count(1)


@pytest.fixture
async def table(conn):
    """A temporary table ``t (a int PRIMARY KEY, b text)``; returns its rows."""
    await conn.execute("CREATE TEMP TABLE t (a int PRIMARY KEY, b text)")

    async def rows():
        return [tuple(row) for row in await conn.fetch(SELECT)]

    return rows


async def test_results(conn, table):
    """A list of rows for each statement, with its status and its count."""
    for is_prepared in (False, True):
        inserted, rows, changed, gone, empty = await conn.batch(
            [
                (INSERT, 1, "x"),
                SELECT,
                ("UPDATE t SET b = $1", "y"),
                ["DELETE FROM t WHERE a = $1 RETURNING b", 1],
                "",
            ]
        )
        assert (inserted, inserted.status, inserted.row_count) == ([], "INSERT 0 1", 1)
        assert (rows, rows.status, rows.row_count) == ([(1, "x")], "SELECT 1", 1)
        assert (changed, changed.status) == ([], "UPDATE 1"), is_prepared
        assert gone[0]["b"] == "y"
        assert (empty, empty.status, empty.row_count) == ([], "", None)
        assert isinstance(rows, chopin.Result)
    assert await table() == []


async def test_nothing_to_do(conn):
    """No statements need no round trip."""
    assert await conn.batch([]) == []
    assert await conn.batch(iter(())) == []


async def test_record_class(conn):
    """The rows of all statements are of the class."""

    class Row(chopin.Record):
        pass

    results = await conn.batch(["SELECT 1", "SELECT 2"], record_class=Row)
    assert [type(result[0]) for result in results] == [Row, Row]


async def test_into(conn, connect):
    """Rows in another shape; one that does not fit takes no effect, and is named."""

    @dataclass
    class Point:
        x: int
        y: int

    texts = ["SELECT 1 AS x, 2 AS y", "SELECT 3 AS x, 4 AS y"]
    for _ in range(2):
        results = await conn.batch(texts, into=Point)
        assert results == [[Point(1, 2)], [Point(3, 4)]]
        assert await conn.batch(texts, into=dict) == [
            [{"x": 1, "y": 2}],
            [{"x": 3, "y": 4}],
        ]
        with pytest.raises(chopin.InterfaceError) as caught:
            await conn.batch([*texts, "SELECT 5 AS z"], into=Point)
        assert caught.value.batch_index == 2
        assert await conn.fetchval("SELECT 1") == 1


async def test_one_flight(conn, server, connect):
    """Prepared statements need one message group: one transaction."""
    texts = [f"SELECT pg_current_xact_id()::text, {i}" for i in range(3)]
    results = await conn.batch(texts)
    assert len({result[0][0] for result in results}) == 1
    assert set(texts) <= set(conn._session.statements)


FAILURES = {
    "server": ((INSERT, 1, "again"), chopin.UniqueViolationError),
    "parse": ("SELEC 1", chopin.PostgresSyntaxError),
    "table": ("SELECT * FROM nowhere", chopin.UndefinedTableError),
    "argument": ((INSERT, "one", "x"), chopin.DataError),
    "count": ((INSERT, 1), chopin.InterfaceError),
    "encoding": ("SELECT '\ud800'", UnicodeEncodeError),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("index", [0, 1, 2])
async def test_error(conn, table, name, index):
    """It names the statement, and nothing has taken effect."""
    bad, kind = FAILURES[name]
    await conn.execute("INSERT INTO t VALUES (1, 'there')")
    statements = [(INSERT, 5, "x"), (INSERT, 6, "x")]
    statements.insert(index, bad)
    for _ in range(2):
        with pytest.raises(kind) as caught:
            await conn.batch(statements)
        assert caught.value.batch_index == index
        assert caught.value.__notes__[-1].startswith(
            f"in statement #{index} of the batch: "
        )
        if isinstance(caught.value, chopin.PostgresError):
            assert caught.value.query == (bad if isinstance(bad, str) else bad[0])
        assert not conn.is_in_transaction()
        assert await table() == [(1, "there")]


async def test_error_of_the_commit(conn):
    """A deferred constraint fails with no statement of the batch."""
    await conn.execute(
        "CREATE TEMP TABLE d (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(chopin.UniqueViolationError) as caught:
        await conn.batch([("INSERT INTO d VALUES ($1)", 1)] * 2)
    assert caught.value.batch_index is None
    assert await conn.fetch("SELECT * FROM d") == []


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("SELECT 1; SELECT 2", "use script()"),
        ([("SELECT 1",), 5], "statement #1 of the batch"),
        ([()], "statement #0 of the batch"),
        ([(1, "SELECT 1")], "statement #0 of the batch"),
        ([None], "got NoneType"),
        (5, "not iterable"),
    ],
)
async def test_what_is_no_batch(conn, statements, message):
    """Anything but texts and their arguments is refused, and nothing is sent."""
    with pytest.raises(
        TypeError, match=message.replace("(", r"\(").replace(")", r"\)")
    ):
        await conn.batch(statements)
    assert await conn.fetchval("SELECT 1") == 1


async def test_inside_a_block(conn, table):
    """The batch is a part of the block, and its failure that of the block."""
    async with conn.transaction():
        await conn.batch([(INSERT, 1, "x"), (INSERT, 2, "x")])
        with pytest.raises(chopin.UniqueViolationError):
            async with conn.transaction():
                await conn.batch([(INSERT, 3, "x"), (INSERT, 1, "x")])
        await conn.batch([(INSERT, 4, "x")])
    assert [row[0] for row in await table()] == [1, 2, 4]


async def test_result_that_cannot_be_read(conn, table):
    """The rows are lost, and the error says that the statements were executed."""
    await conn.set_type_codec(
        "int8", schema="pg_catalog", encoder=str, decoder=lambda text: 1 / 0
    )
    with pytest.raises(ZeroDivisionError) as caught:
        await conn.batch([(INSERT, 1, "x"), "SELECT 1::int8"])
    assert (caught.value.batch_index, caught.value.outcome) == (1, "unknown")
    assert await table() == [(1, "x")]


async def test_more_statements_than_the_cache_keeps(connect):
    """A batch may have more texts than there is room for prepared statements."""
    conn = await connect(statement_cache_size=3)
    statements = [(f"SELECT $1::int + {i}", 1) for i in range(10)]
    for _ in range(2):
        results = await conn.batch(statements)
        assert [result[0][0] for result in results] == list(range(1, 11))
    assert len(conn._session.statements) == 3


async def test_without_a_cache(connect):
    """Unnamed statements do as well."""
    conn = await connect(statement_cache_size=0)
    for _ in range(2):
        results = await conn.batch([("SELECT $1::int", 1), "SELECT 2", "SELECT 2"])
        assert [result[0][0] for result in results] == [1, 2, 2]


async def test_types_that_are_not_built_in(conn):
    """They are asked for before the batch is sent."""
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('merry', 'sad')")
    await conn.execute("CREATE TYPE pg_temp.pair AS (a int, m pg_temp.mood)")
    results = await conn.batch(
        [
            ("SELECT $1::pg_temp.mood[]", ["merry"]),
            "SELECT (1, 'sad')::pg_temp.pair",
        ]
    )
    assert [result[0][0] for result in results] == [["merry"], (1, "sad")]


async def test_stale_plans_heal(conn, connect):
    """Somebody alters the tables of several statements: the batch is repeated."""
    other = await connect()
    name = f"stale_{next(names)}"
    texts = [f"SELECT * FROM {name}_{i}" for i in range(4)]
    for i in range(4):
        await other.execute(f"CREATE TABLE {name}_{i} AS SELECT 1 AS a")
    try:
        await conn.batch([*texts, ("SELECT $1::int", 1)])
        for i in range(4):
            await other.execute(f"ALTER TABLE {name}_{i} ALTER a TYPE text")
        results = await conn.batch([*texts, ("SELECT $1::int", 1)])
        assert [result[0][0] for result in results] == ["1"] * 4 + [1]
        async with conn.transaction():
            for i in range(4):
                await other.execute(f"ALTER TABLE {name}_{i} ADD c int")
            results = await conn.batch(texts)
            assert results[3] == [("1", None)]
    finally:
        for i in range(4):
            await other.execute(f"DROP TABLE {name}_{i}")


async def test_lost_statements_heal(conn):
    """Statements that the server has not got any more are made again."""
    statements = [("SELECT $1::int", 1), ("SELECT $1::int + 1", 1)]
    await conn.batch(statements)
    await conn.execute("DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$")
    results = await conn.batch(statements)
    assert [result[0][0] for result in results] == [1, 2]


async def test_cancelled(conn, table):
    """Nothing has taken effect, and the connection goes on."""
    task = asyncio.create_task(
        conn.batch([(INSERT, 1, "x"), "SELECT pg_sleep(60)", (INSERT, 2, "x")])
    )
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await table() == []


async def test_out_of_time(conn, table):
    """The time-out is for the whole of it."""
    with pytest.raises(TimeoutError):
        await conn.batch([(INSERT, 1, "x"), "SELECT pg_sleep(60)"], timeout=0.05)
    assert await table() == []


async def test_server_ends_in_the_middle(conn):
    """The error says that nobody knows, and the connection is closed."""
    with pytest.raises(chopin.ConnectionDoesNotExistError) as caught:
        await conn.batch(
            ["SELECT 1", "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 2"]
        )
    assert caught.value.outcome in ("unknown", "rolled_back")
    assert conn.is_closed()
    with pytest.raises(chopin.InterfaceError, match="closed"):
        await conn.batch(["SELECT 1"])


@pytest.mark.parametrize("position", [0, 1])
async def test_copy_is_refused(conn, table, position):
    """COPY has no data here: an error, and a connection that is usable or closed."""
    statements = ["SELECT 1"]
    statements.insert(position, "COPY t FROM STDIN")
    with pytest.raises((chopin.PostgresError, chopin.InterfaceError)):
        await conn.batch(statements)
    if position == 1:
        assert await table() == []
    else:
        with contextlib.suppress(chopin.InterfaceError, chopin.PostgresError):
            assert await table() == []


async def test_loggers_are_told(conn):
    """One call is one query for a logger, with all texts and arguments."""
    told = []
    with conn.query_logger(told.append):
        await conn.batch([("SELECT $1::int", 1), "SELECT 2"])
        with pytest.raises(chopin.DivisionByZeroError):
            await conn.batch(["SELECT 1", "SELECT 1 / 0"])
    await asyncio.sleep(0)
    assert [query.query for query in told] == [
        "SELECT $1::int;\nSELECT 2",
        "SELECT 1;\nSELECT 1 / 0",
    ]
    assert told[0].args == [(1,), ()]
    assert isinstance(told[1].exception, chopin.DivisionByZeroError)


async def test_batches_at_once(conn):
    """They are pipelined, each with its own results or error."""
    results = await asyncio.gather(
        conn.batch(["SELECT 1", ("SELECT $1::int", 2)]),
        conn.batch(["SELECT 1 / 0"]),
        conn.batch(["SELECT 3"]),
        conn.fetchval("SELECT 4"),
        return_exceptions=True,
    )
    assert [result[0][0] for result in results[0]] == [1, 2]
    assert isinstance(results[1], chopin.DivisionByZeroError)
    assert (results[2][0][0][0], results[3]) == (3, 4)


async def test_on_a_pool(create):
    """A pool lends a connection for it."""
    pool = await create(max_size=1)
    results = await pool.batch([("SELECT $1::int", 1), "SELECT 2"])
    assert [result[0][0] for result in results] == [1, 2]
    with pytest.raises(chopin.DivisionByZeroError):
        await pool.batch(["SELECT 1 / 0"])
    with pytest.raises(TimeoutError):
        await pool.batch(["SELECT pg_sleep(60)"], timeout=0.05)
    assert await pool.fetchval("SELECT 3") == 3


# A batch and a transaction are the same --------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just(INSERT), st.integers(0, 5), st.sampled_from("xyz")),
    st.tuples(st.just("UPDATE t SET b = b || $1 RETURNING a, b"), st.just("u")),
    st.tuples(st.just("DELETE FROM t WHERE a > $1"), st.integers(0, 5)),
    st.tuples(st.just("SELECT 10 / $1::int"), st.integers(0, 2)),
    st.just(SELECT),
    st.just("INSERT INTO t SELECT a + 6, b FROM t"),
)


async def in_a_row(conn, statements):
    """The same in a transaction block: results, or the index of what failed."""
    results = []
    try:
        async with conn.transaction():
            for each in statements:
                sql, *args = (each,) if isinstance(each, str) else each
                statement = await conn.prepare(sql)
                rows = await statement.fetch(*args)
                results.append((rows, statement.get_statusmsg()))
    except chopin.PostgresError as error:
        return type(error), len(results)
    return results


async def in_a_batch(conn, statements):
    """Results, or the index of what failed."""
    try:
        results = await conn.batch(statements)
    except chopin.PostgresError as error:
        return type(error), error.batch_index
    return [(list(result), result.status) for result in results]


@pytest.fixture(scope="module")
def runner(server):
    """Two connections in one loop, each with a table of its own."""
    with asyncio.Runner() as runner:

        async def connected():
            connection = await chopin.connect(server.dsn)
            await connection.execute("CREATE TEMP TABLE t (a int PRIMARY KEY, b text)")
            return connection

        pair = runner.run(connected()), runner.run(connected())
        yield runner, pair
        for connection in pair:
            runner.run(connection.close())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(statements=st.lists(STEPS, max_size=8))
def test_batch_is_a_transaction(runner, statements):
    """Results, errors, and what is left behind are those of a transaction block."""
    runner, pair = runner

    async def compare():
        got = await in_a_batch(pair[0], statements)
        want = await in_a_row(pair[1], statements)
        assert got == want
        left = [await each.fetch(SELECT) for each in pair]
        assert left[0] == left[1]

    runner.run(compare())


@pytest.fixture
def turned(observer):
    """A table ``chopin_turned (a, b)`` with 1 and 2; called, it has ``(b, a)``."""
    observer.execute("CREATE TABLE chopin_turned AS SELECT 1 AS a, 2 AS b")

    def turn():
        observer.execute("DROP TABLE chopin_turned")
        observer.execute("CREATE TABLE chopin_turned AS SELECT 2 AS b, 1 AS a")

    yield turn
    observer.execute("DROP TABLE chopin_turned")


@pytest.mark.parametrize(
    "options", [{"statement_cache_size": 0}, {"pooler": "transaction"}], ids=str
)
@pytest.mark.parametrize("way", ["batch", "group", "statements"])
async def test_columns_that_somebody_else_has_turned(connect, turned, options, way):
    """Every row of a text that is there twice is read by the columns of today."""
    conn = await connect(**options)
    query = "SELECT * FROM chopin_turned"
    await conn.fetch(query)
    turned()
    if way == "batch":
        rows = [each[0] for each in await conn.batch([query] * 3)]
    else:
        barrier = "group" if way == "group" else "statement"
        async with conn.pipeline(barrier=barrier) as p:
            p.execute("SELECT 'has to be described'")
            replies = [p.fetchrow(query) for _ in range(3)]
        rows = [reply.result() for reply in replies]
    assert [dict(row) for row in rows] == [{"b": 2, "a": 1}] * 3


async def test_columns_that_another_session_was_told_of(create, turned):
    """A named statement is bound again behind its Parse, which shows new columns."""
    pool = await create(min_size=2, max_size=2)
    query = "SELECT * FROM chopin_turned"
    async with pool.acquire() as one, pool.acquire() as other:
        await one.fetch(query)
        turned()
        results = await other.batch([query] * 3)
    assert [dict(rows[0]) for rows in results] == [{"b": 2, "a": 1}] * 3
