"""fetch, fetchrow, fetchval and fetchmany: what they return and what they refuse."""

import asyncio
import itertools

import pytest

import chopin

ARGUMENT_HINT = "Check the query against the passed list of arguments."


class Row(chopin.Record):
    """A record class of the user's own."""

    def __getattr__(self, name):
        return self[name]


async def test_fetch_returns_records(conn):
    """All rows in order, as a list of records."""
    rows = await conn.fetch("SELECT i, i * 2 AS twice FROM generate_series(1, 3) AS i")
    assert type(rows) is list
    assert {type(row) for row in rows} == {chopin.Record}
    assert [tuple(row) for row in rows] == [(1, 2), (2, 4), (3, 6)]
    assert [row["twice"] for row in rows] == [2, 4, 6]


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("SELECT 1 WHERE false", []),
        ("SELECT", [()]),
        ("SELECT FROM generate_series(1, 2)", [(), ()]),
        ("VALUES (1, 'a'), (2, NULL)", [(1, "a"), (2, None)]),
        ("SELECT 1;", [(1,)]),
        ("CREATE TEMP TABLE fetched (a int)", []),
        ("SET LOCAL work_mem = '4MB'", []),
        ("SHOW integer_datetimes", [("on",)]),
        ("", []),
        (";", []),
        ("-- nothing", []),
    ],
)
async def test_fetch_of_any_statement(conn, query, want):
    """Statements without rows, rows without columns and empty statements all work."""
    for _ in "prepared", "cached":
        rows = await conn.fetch(query)
        assert [tuple(row) for row in rows] == want
        await conn.execute("DROP TABLE IF EXISTS fetched")


async def test_fetch_of_dml(conn):
    """Rows come from RETURNING only."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    assert await conn.fetch("INSERT INTO t VALUES (1), (2)") == []
    got = await conn.fetch("UPDATE t SET a = a + $1 RETURNING a", 10)
    assert sorted(got) == [(11,), (12,)]
    assert await conn.fetchrow("DELETE FROM t WHERE a = 11") is None
    assert await conn.fetchval("DELETE FROM t RETURNING a") == 12
    assert await conn.fetchval("SELECT count(*) FROM t") == 0


async def test_fetchrow(conn):
    """The first row, or None."""
    for _ in range(3):
        row = await conn.fetchrow("SELECT i AS n FROM generate_series(5, $1) AS i", 9)
        assert (type(row), row["n"]) == (chopin.Record, 5)
        assert await conn.fetchrow("SELECT 1 WHERE $1", False) is None
        assert await conn.fetchrow(";") is None


@pytest.mark.parametrize(
    ("column", "want"), [(0, 1), (1, 2), (-1, 3), ("a", 1), ("c", 3)]
)
async def test_fetchval_column(conn, column, want):
    """The column is given by its index or name."""
    got = await conn.fetchval("SELECT 1 AS a, 2 AS b, 3 AS c", column=column)
    assert got == want


async def test_fetchval(conn):
    """The first column of the first row; None stands for NULL and for no row."""
    for _ in range(3):
        assert await conn.fetchval("SELECT 1, 2 UNION ALL SELECT 3, 4") == 1
        assert await conn.fetchval("SELECT $1::int", None) is None
        assert await conn.fetchval("SELECT 1 WHERE false") is None
        assert await conn.fetchval("") is None


@pytest.mark.parametrize(
    ("query", "column", "error"),
    [
        ("SELECT 1", 5, IndexError),
        ("SELECT", 0, IndexError),
        ("SELECT 1", "x", KeyError),
    ],
)
async def test_fetchval_without_such_a_column(conn, query, column, error):
    """A column that is not there is an error of the caller; the connection goes on."""
    with pytest.raises(error):
        await conn.fetchval(query, column=column)
    assert await conn.fetchval("SELECT 7") == 7


async def test_fetchmany(conn):
    """One flat list with the rows of all executions, in order."""
    await conn.execute("CREATE TEMP TABLE t (a serial, b text)")
    rows = await conn.fetchmany(
        "INSERT INTO t (b) VALUES ($1) RETURNING a, b", [("x",), ("y",), ("z",)]
    )
    assert [tuple(row) for row in rows] == [(1, "x"), (2, "y"), (3, "z")]
    series = "SELECT i FROM generate_series(1, $1::int) AS i"
    rows = await conn.fetchmany(series, ((n,) for n in (2, 0, 1)))
    assert [tuple(row) for row in rows] == [(1,), (2,), (1,)]
    assert await conn.fetchmany(series, []) == []
    assert await conn.fetchmany("INSERT INTO t (b) VALUES ($1)", [("w",)]) == []


async def test_fetchmany_is_atomic(conn):
    """An error in one execution undoes all of them."""
    await conn.execute("CREATE TEMP TABLE t (a int UNIQUE)")
    query = "INSERT INTO t VALUES ($1) RETURNING a"
    with pytest.raises(chopin.UniqueViolationError):
        await conn.fetchmany(query, [(1,), (2,), (1,)])
    with pytest.raises(chopin.DataError, match=r"\$1 in element #1 of executemany"):
        await conn.fetchmany(query, [(1,), ("x",)])
    assert await conn.fetch("SELECT a FROM t") == []


@pytest.mark.parametrize(
    ("query", "args", "message"),
    [
        (
            "SELECT $1::int",
            (),
            "the server expects 1 argument for this query, 0 were passed",
        ),
        (
            "SELECT $1::int",
            (1, 2),
            "the server expects 1 argument for this query, 2 were passed",
        ),
        (
            "SELECT $1::int, $2::int",
            (1,),
            "the server expects 2 arguments for this query, 1 was passed",
        ),
        (
            "SELECT 1",
            (1,),
            "the server expects 0 arguments for this query, 1 was passed",
        ),
    ],
)
async def test_number_of_arguments(conn, query, args, message):
    """A wrong number of arguments says both numbers and gives a hint."""
    for method in conn.fetch, conn.fetchrow, conn.fetchval:
        with pytest.raises(chopin.InterfaceError) as caught:
            await method(query, *args)
        assert caught.value.args[0] == message
        assert caught.value.hint.startswith(ARGUMENT_HINT)
        assert f"\nHINT:  {ARGUMENT_HINT}" in str(caught.value)
    assert await conn.fetchval("SELECT 1") == 1


async def test_as_many_arguments_as_the_protocol_has(conn):
    """65,535 arguments work, one more is refused before anything is sent."""
    numbers = range(65535)
    query = f"SELECT ARRAY[{','.join(f'${i + 1}::int4' for i in numbers)}]"
    got = await conn.fetchval(query, *numbers)
    assert got == list(numbers)
    with pytest.raises(
        chopin.InterfaceError,
        match="the number of query arguments cannot exceed 65535",
    ):
        await conn.fetchval("SELECT 1", *range(65536))
    assert await conn.fetchval("SELECT 2") == 2


@pytest.mark.parametrize("query", [5, None, b"SELECT 1", ["SELECT 1"]])
async def test_query_must_be_text(conn, query):
    """What is not a str is a TypeError, and the connection stays usable."""
    for method in conn.fetch, conn.fetchrow, conn.fetchval, conn.execute, conn.prepare:
        with pytest.raises(TypeError):
            await method(query)
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("query", ["SELECT '\0'", "SELECT '\ud800'"])
async def test_query_that_cannot_be_sent(conn, query):
    """NUL and lone surrogates are refused; nothing of them reaches the server."""
    for method in conn.fetch, conn.execute, conn.prepare:
        with pytest.raises((ValueError, chopin.InterfaceError, chopin.PostgresError)):
            await method(query)
        assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("timeout", [0, 0.0, -1])
async def test_no_time_at_all(conn, timeout):
    """A time-out of nothing is over at once, and the connection stays usable."""
    calls = [
        conn.fetch("SELECT 1", timeout=timeout),
        conn.fetchrow("SELECT 1", timeout=timeout),
        conn.fetchval("SELECT 1", timeout=timeout),
        conn.fetchmany("SELECT $1::int", [(1,)], timeout=timeout),
        conn.execute("SELECT 1", timeout=timeout),
        conn.execute("SELECT $1::int", 1, timeout=timeout),
        conn.executemany("SELECT $1::int", [(1,)], timeout=timeout),
    ]
    for call in calls:
        with pytest.raises(asyncio.TimeoutError):
            await call
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("timeout", ["x", True, False])
async def test_timeout_must_be_a_number(conn, timeout):
    """Text and truth values are no time-outs."""
    with pytest.raises(ValueError, match="invalid timeout value: expected") as caught:
        await conn.fetch("SELECT 1", timeout=timeout)
    assert str(caught.value) == (
        f"invalid timeout value: expected non-negative float (got {timeout!r})"
    )
    assert await conn.fetchval("SELECT 1") == 1


async def test_enough_time(conn):
    """A time-out that is not reached changes nothing."""
    for method in conn.fetchval, conn.execute:
        assert await method("SELECT 1", timeout=60) in (1, "SELECT 1")


async def test_record_class(connect, conn):
    """A record class is taken per connection and per call."""
    query = "SELECT 1 AS a"
    assert type((await conn.fetch(query))[0]) is chopin.Record
    assert type((await conn.fetch(query, record_class=Row))[0]) is Row
    assert (await conn.fetchrow(query, record_class=Row)).a == 1
    assert type((await conn.fetch(query))[0]) is chopin.Record
    [row] = await conn.fetchmany("SELECT $1::int AS a", [(3,)], record_class=Row)
    assert (type(row), row.a) == (Row, 3)

    other = await connect(record_class=Row)
    assert type(await other.fetchrow(query)) is Row
    assert (
        type(await other.fetchrow(query, record_class=chopin.Record)) is chopin.Record
    )
    assert await other.fetchval(query) == 1


class WithInit(chopin.Record):
    """Must be refused: it has a say in how rows are made."""

    def __init__(self):
        pass


class WithNew(chopin.Record):
    """Must be refused as well."""

    def __new__(cls):
        return None


@pytest.mark.parametrize(
    ("record_class", "message"),
    [
        (tuple, r"record_class is expected to be a subclass of \w+\.Record, got"),
        (5, r"record_class is expected to be a subclass of \w+\.Record, got"),
        (WithInit, "record_class must not redefine __new__ or __init__"),
        (WithNew, "record_class must not redefine __new__ or __init__"),
    ],
)
async def test_unfit_record_class(connect, conn, record_class, message):
    """A record class must be a plain subclass of Record."""
    for call in (
        conn.fetch("SELECT 1", record_class=record_class),
        conn.fetchrow("SELECT 1", record_class=record_class),
        conn.prepare("SELECT 1", record_class=record_class),
        connect(record_class=record_class),
    ):
        with pytest.raises(chopin.InterfaceError, match=message):
            await call
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("size", [0, 1, 8191, 65535, 65536, 262143, 262144, 3_000_000])
async def test_values_of_any_size(conn, size):
    """A value arrives whole, however it is cut on its way."""
    text, data = "x" * size, bytes(size)
    row = await conn.fetchrow("SELECT $1::text, $2::bytea, 7", text, data)
    assert tuple(row) == (text, data, 7)


async def test_many_rows(conn):
    """Results larger than any buffer are complete and in order."""
    query = "SELECT i, i::text, repeat('x', i % 50) FROM generate_series(1, $1) AS i"
    rows = await conn.fetch(query, 10_000)
    assert len(rows) == 10_000
    assert all(
        tuple(row) == (i, str(i), "x" * (i % 50)) for i, row in enumerate(rows, 1)
    )


async def test_many_columns(conn):
    """A row has as many columns as the server allows."""
    values = ", ".join(map(str, range(1600)))
    row = await conn.fetchrow(f"SELECT {values}")
    assert tuple(row) == tuple(range(1600))


async def locked_by(conn, other, query):
    """Which of the rows 1, 2, 3 a fetchrow of `query` locks."""
    async with conn.transaction():
        await conn.fetchrow(query)
        free = await other.fetch(
            "SELECT a FROM chopin_locked ORDER BY a FOR UPDATE SKIP LOCKED"
        )
    return {1, 2, 3} - set(itertools.chain(*free))


@pytest.fixture
def three_rows(observer):
    """A table with three rows that all connections see."""
    observer.execute("CREATE TABLE chopin_locked AS VALUES (1), (2), (3)")
    observer.execute("ALTER TABLE chopin_locked RENAME column1 TO a")
    yield
    observer.execute("DROP TABLE chopin_locked")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM chopin_locked ORDER BY a FOR UPDATE",
        "SELECT a FROM chopin_locked ORDER BY a FOR NO KEY UPDATE",
        "select a from chopin_locked order by a\nfor\tupdate skip locked",
        "WITH x AS (SELECT 1) SELECT a FROM chopin_locked, x ORDER BY a FOR UPDATE",
        "SELECT * FROM (SELECT a FROM chopin_locked ORDER BY a FOR UPDATE) AS s",
    ],
)
async def test_fetchrow_locks_one_row(connect, conn, three_rows, query):
    """A locking SELECT stops after its first row, however often it has run."""
    other = await connect()
    for _ in range(3):
        assert await locked_by(conn, other, query) == {1}


async def test_fetchrow_does_not_transfer_the_table(conn):
    """A statement with many rows is stopped early, also when it is known."""
    await conn.execute("CREATE TEMP SEQUENCE counter")
    query = "SELECT nextval('counter') FROM generate_series(1, 10000)"
    for _ in range(3):
        assert await conn.fetchrow(query) is not None
        assert await conn.fetchval(query) is not None
    assert await conn.fetchval("SELECT last_value FROM counter") < 100


@pytest.fixture
def worker_function(observer):
    """A function that tells which process runs it, in parallel workers as well."""
    observer.execute(
        "CREATE FUNCTION chopin_worker() RETURNS int LANGUAGE plpgsql"
        " PARALLEL SAFE AS 'BEGIN RETURN pg_backend_pid(); END'"
    )
    yield
    observer.execute("DROP FUNCTION chopin_worker")


async def test_fetchval_runs_in_parallel(server, conn, worker_function):
    """A statement known to return one row runs in the server's parallel workers."""
    is_new = server.version[0] >= 16
    setting = "debug_parallel_query" if is_new else "force_parallel_mode"
    await conn.execute(f"SET {setting} = on")
    query = "SELECT chopin_worker()"
    [(worker,)] = await conn.fetch(query)
    assert worker != conn.get_server_pid()
    await conn.fetchval(query)
    assert await conn.fetchval(query) != conn.get_server_pid()
    [worker] = await conn.fetchrow(query)
    assert worker != conn.get_server_pid()


async def test_fetchrow_of_a_statement_that_changes_its_mind(conn):
    """One row once and many later: the first row every time, nothing left over."""
    query = "SELECT i FROM generate_series(1, $1::int) AS i"
    for n in (1, 1, 1, 5000, 1, 0, 2, 5000):
        row = await conn.fetchrow(query, n)
        assert row == ((1,) if n else None)
    assert len(await conn.fetch(query, 30)) == 30


async def test_fetch_waits_for_the_rest(conn):
    """An error behind the first rows is raised, not lost with them."""
    query = "SELECT 1 / (3 - i) FROM generate_series(1, 5) AS i"
    with pytest.raises(chopin.DivisionByZeroError):
        await conn.fetch(query)
    assert await conn.fetchval("SELECT 1") == 1
