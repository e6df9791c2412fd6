"""executemany: all rows or none, whatever the rows are made of."""

import asyncio
import re

import pytest

import chopin

INSERT = "INSERT INTO t VALUES ($1, $2)"


class Sized:
    """Iterable more than once, but no sequence."""

    def __iter__(self):
        return iter([(1, "a"), (2, "b")])


@pytest.fixture
async def table(conn):
    """A temporary table ``t (a int PRIMARY KEY, b text)``; returns its rows."""
    await conn.execute("CREATE TEMP TABLE t (a int PRIMARY KEY, b text)")

    async def rows():
        return [tuple(row) for row in await conn.fetch("SELECT * FROM t ORDER BY a")]

    return rows


@pytest.mark.parametrize(
    "args",
    [
        [(1, "a"), (2, "b")],
        ((1, "a"), (2, "b")),
        [[1, "a"], [2, "b"]],
        {1: "a", 2: "b"}.items(),
        Sized(),
    ],
)
async def test_any_iterable_of_sequences(conn, table, args):
    """Rows are sequences, in any iterable; their number is returned."""
    assert await conn.executemany(INSERT, args) == 2
    assert await table() == [(1, "a"), (2, "b")]


async def test_number_of_rows(conn, table):
    """All the rows that were touched are counted, however many each time."""
    rows = [(i, "x") for i in range(100)]
    assert await conn.executemany(INSERT, rows) == 100
    update = "UPDATE t SET b = 'y' WHERE a < $1"
    assert await conn.executemany(update, [(0,), (12,), (200,), (10,)]) == 122
    assert await conn.executemany("SET application_name TO 'x'", [()] * 3) == 0
    assert await conn.executemany("", [()]) == 0


async def test_generator_is_read_once(conn, table):
    """A generator is enough, also for more rows than go out at once."""
    rows = [(i, "x" * (i % 100)) for i in range(10_000)]
    await conn.executemany(INSERT, (row for row in rows))
    assert await table() == rows


async def test_records_are_rows(conn, table):
    """What was fetched can be inserted."""
    await conn.executemany(INSERT, [(1, "a"), (2, None)])
    fetched = await conn.fetch("SELECT a + 2, b FROM t")
    await conn.executemany(INSERT, fetched)
    assert await table() == [(1, "a"), (2, None), (3, "a"), (4, None)]


@pytest.mark.parametrize("args", [[], (), iter([])])
async def test_no_rows(conn, table, args):
    """Nothing to do is done without error."""
    await conn.executemany(INSERT, args)
    assert await table() == []


async def test_statement_without_parameters(conn):
    """Empty rows run a statement without parameters as often as there are rows."""
    await conn.execute("CREATE TEMP SEQUENCE s")
    await conn.executemany("SELECT nextval('s')", [()] * 5)
    assert await conn.fetchval("SELECT last_value FROM s") == 5


async def test_large_rows(conn, table):
    """Rows larger than any buffer go through."""
    rows = [(i, chr(97 + i) * 700_000) for i in range(4)]
    await conn.executemany(INSERT, rows)
    assert await table() == rows


REFUSED = [
    (
        "a late row",
        [(1, "a"), (2, "b"), ("x", "c")],
        chopin.DataError,
        "invalid input for query argument $1 in element #2 of executemany() sequence:"
        " 'x' ('str' object cannot be interpreted as an integer)",
    ),
    (
        "the second argument",
        [(1, 5)],
        chopin.DataError,
        "invalid input for query argument $2 in element #0 of executemany() sequence:"
        " 5 (expected str, got int)",
    ),
    (
        "no sequence",
        [(1, "a"), 2],
        chopin.DataError,
        "invalid input in executemany() argument sequence element #1:"
        " expected a sequence, got int",
    ),
    (
        "a mapping",
        [{"a": 1, "b": 2}],
        chopin.DataError,
        "invalid input in executemany() argument sequence element #0:"
        " expected a sequence, got dict",
    ),
    (
        "too few",
        [(1, "a"), (2,)],
        chopin.InterfaceError,
        "the server expects 2 arguments for this query, 1 was passed",
    ),
    (
        "too many",
        [(1, "a", 3)],
        chopin.InterfaceError,
        "the server expects 2 arguments for this query, 3 were passed",
    ),
]


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
@pytest.mark.parametrize("is_lazy", [False, True])
async def test_refused_rows(conn, table, args, error, message, is_lazy):
    """A row that cannot be sent is named by its index, and no row is inserted."""
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        await conn.executemany(INSERT, iter(args) if is_lazy else args)
    assert await table() == []
    assert not conn.is_in_transaction()


async def test_refused_row_after_many(conn, table):
    """Rows that were sent already are undone as well."""
    rows = ((i, "x" * 100) if i < 5000 else (None, 5) for i in range(6000))
    with pytest.raises(chopin.DataError, match="in element #5000 of executemany"):
        await conn.executemany(INSERT, rows)
    assert await table() == []
    await conn.executemany(INSERT, [(1, "a")])
    assert await table() == [(1, "a")]


@pytest.mark.parametrize("n", [3, 3000])
async def test_error_of_the_server(conn, table, n):
    """One row that the server refuses undoes all of them."""
    await conn.execute("INSERT INTO t VALUES (1, 'there')")
    rows = [*((i + 10, "x") for i in range(n)), (1, "again"), (2, "after")]
    with pytest.raises(chopin.UniqueViolationError) as caught:
        await conn.executemany(INSERT, rows)
    assert caught.value.detail == "Key (a)=(1) already exists."
    assert await table() == [(1, "there")]
    assert not conn.is_in_transaction()


async def test_error_of_the_iterable(conn, table):
    """What the iterable raises comes out as it is, and no row is inserted."""

    def rows():
        yield (1, "a")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await conn.executemany(INSERT, rows())
    assert await table() == []
    assert await conn.fetchval("SELECT 1") == 1


async def test_inside_a_transaction(conn, table):
    """Inside a block the rows are part of it; an inner block undoes them."""
    async with conn.transaction():
        await conn.execute("INSERT INTO t VALUES (1, 'first')")
        with pytest.raises(chopin.DataError):
            async with conn.transaction():
                await conn.executemany(INSERT, [(2, "b"), ("x", "c")])
        with pytest.raises(chopin.UniqueViolationError):
            async with conn.transaction():
                await conn.executemany(INSERT, [(2, "b"), (1, "c")])
        await conn.executemany(INSERT, [(4, "d")])
    assert await table() == [(1, "first"), (4, "d")]


async def test_refused_row_inside_a_transaction(conn, table):
    """An argument that was refused does not undo what the block did before."""
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("INSERT INTO t VALUES (1, 'first')")
    with pytest.raises(chopin.DataError):
        await conn.executemany(INSERT, [("x", "c")])
    assert conn.is_in_transaction()
    await transaction.rollback()
    assert await table() == []


@pytest.mark.parametrize("args", [5, None])
async def test_rows_must_be_iterable(conn, args):
    """What cannot be iterated over is a TypeError."""
    with pytest.raises(TypeError, match="is not iterable"):
        await conn.executemany("SELECT $1::int", args)
    assert await conn.fetchval("SELECT 1") == 1


async def test_bad_statement(conn):
    """The statement's own errors come out, even if there is no row."""
    with pytest.raises(chopin.PostgresSyntaxError):
        await conn.executemany("SELEC 1", [()])
    with pytest.raises(chopin.UndefinedTableError):
        await conn.executemany("INSERT INTO nowhere VALUES ($1)", [(1,)])


async def test_rows_of_a_select_are_dropped(conn):
    """A statement with rows can be executed many times as well."""
    query = "SELECT repeat('x', $1) FROM generate_series(1, 10)"
    assert await conn.executemany(query, [(1000,)] * 50) == 500
    assert await conn.fetchval("SELECT 1") == 1


async def test_result_that_cannot_be_read(conn, table):
    """The rows are lost, and the error says that the statements were executed."""
    await conn.set_type_codec(
        "int8", schema="pg_catalog", encoder=str, decoder=lambda text: 1 / 0
    )
    with pytest.raises(ZeroDivisionError) as caught:
        await conn.fetchmany(f"{INSERT} RETURNING 1::int8", [(1, "x")])
    assert caught.value.outcome == "unknown"
    assert await table() == [(1, "x")]


# Rows that come by themselves, and rows without end


async def lazily(rows, error=None):
    """An asynchronous generator of rows; `error` is raised behind them."""
    for row in rows:
        await asyncio.sleep(0)
        yield row
    if error is not None:
        raise error


async def test_asynchronous_rows(conn, table):
    """An asynchronous iterable is as good, for few rows and for many."""
    rows = [(i, "x" * (i % 100)) for i in range(3000)]
    await conn.executemany(INSERT, lazily(rows[:3]))
    await conn.executemany(INSERT, lazily(rows[3:]))
    await conn.executemany(INSERT, lazily([]))
    assert await table() == rows
    query = "SELECT $1::int * 2"
    assert await conn.fetchmany(query, lazily([(1,), (2,)])) == [(2,), (4,)]
    statement = await conn.prepare(query)
    assert await statement.fetchmany(lazily([(3,)])) == [(6,)]


async def test_asynchronous_rows_on_a_pool(create):
    """And so they are on a pool."""
    pool = await create(max_size=1)
    await pool.executemany("SELECT $1::int", lazily([(1,), (2,)]))
    assert await pool.fetchmany("SELECT $1::int", lazily([(1,), (2,)])) == [(1,), (2,)]


@pytest.mark.parametrize("n", [2, 3000])
async def test_error_of_asynchronous_rows(conn, table, n):
    """What the iterable raises comes out, nothing is stored, the connection goes on."""
    rows = [(i, "x" * 50) for i in range(n)]
    with pytest.raises(LookupError):
        await conn.executemany(INSERT, lazily(rows, LookupError()))
    with pytest.raises(chopin.DataError, match=f"in element #{n} of executemany"):
        await conn.executemany(INSERT, lazily([*rows, ("x", "y")]))
    assert await table() == []


@pytest.mark.parametrize("n", [2, 3000])
async def test_cancelled_while_rows_are_waited_for(conn, table, n):
    """Nothing is stored, and whoever stands in line has his turn."""
    started = asyncio.Event()

    async def rows():
        for i in range(n):
            yield (i, "x" * 50)
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(conn.executemany(INSERT, rows()))
    await started.wait()
    behind = asyncio.create_task(conn.fetchval("SELECT count(*) FROM t"))
    await asyncio.sleep(0)
    assert not behind.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await behind == 0


async def test_refused_row_leaves_the_block_alone(conn, table):
    """Of few rows nothing is sent if one does not fit, so the block goes on."""
    async with conn.transaction():
        await conn.execute("INSERT INTO t VALUES (1, 'first')")
        with pytest.raises(chopin.DataError):
            await conn.executemany(INSERT, lazily([(2, "x"), ("x", "y")]))
        await conn.executemany(INSERT, lazily([(3, "x")]))
    assert await table() == [(1, "first"), (3, "x")]


@pytest.mark.parametrize("is_lazy", [False, True])
async def test_input_is_left_when_the_server_refuses(conn, table, is_lazy):
    """The rest is not consumed, and the error names the element."""
    n_taken = 0

    def rows():
        nonlocal n_taken
        for i in range(10_000_000):
            n_taken = i
            yield (7 if i == 9 else i, "x" * 50)

    with pytest.raises(chopin.UniqueViolationError) as caught:
        await conn.executemany(INSERT, lazily(rows()) if is_lazy else rows())
    assert caught.value.batch_index == 9
    assert "in element #9 of executemany() sequence" in caught.value.__notes__
    assert n_taken < 1_000_000
    assert await table() == []


async def test_both_sides_have_much_to_say(conn):
    """Large rows go out while large rows come in, and nobody waits for the other."""
    query = "SELECT repeat($1, 200)"
    rows = await conn.fetchmany(query, (("x" * 100,) for _ in range(2000)))
    assert len(rows) == 2000
    assert {len(row[0]) for row in rows} == {20_000}


async def test_server_ends_while_rows_are_sent(conn):
    """The error is that of the connection, wherever it was."""
    query = "SELECT pg_terminate_backend(pg_backend_pid()), $1::text"
    with pytest.raises((chopin.ConnectionDoesNotExistError, chopin.InterfaceError)):
        await conn.executemany(query, lazily(("x" * 1000,) for _ in range(100_000)))
    assert conn.is_closed()


async def test_error_that_never_heals(conn):
    """What looks like a stale plan is tried three times, and not for ever."""
    await conn.execute(
        """
        CREATE TEMP SEQUENCE tries;
        CREATE FUNCTION pg_temp.fail(int) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM nextval('tries');
            RAISE 'cache lookup failed for type 1' USING ERRCODE = 'XX000';
        END $$
        """
    )
    with pytest.raises(chopin.InternalServerError):
        await conn.executemany("SELECT pg_temp.fail($1)", [(1,)])
    assert await conn.fetchval("SELECT last_value FROM tries") == 3


@pytest.mark.parametrize("way", ["fetch", "transaction", "pipeline"])
async def test_iterator_that_uses_the_connection(conn, table, way):
    """It would wait for itself for ever, so that it is refused."""

    async def rows():
        if way == "fetch":
            yield await conn.fetchrow("SELECT 1, 'a'")
        elif way == "transaction":
            async with conn.transaction():
                yield (1, "a")
        else:
            async with conn.pipeline() as p:
                yield await p.fetchrow("SELECT 1, 'a'")

    with pytest.raises(chopin.InterfaceError, match="in the iterator"):
        await conn.executemany(INSERT, rows())
    assert await table() == []
    assert await conn.executemany(INSERT, lazily([(1, "a")])) == 1


async def test_iterator_that_outlives_its_statement(connect):
    """Statements that are not used are dropped, but not those that are at work."""
    conn = await connect(max_cached_statement_lifetime=0.05)
    await conn.execute("CREATE TEMP TABLE t (a int)")

    async def rows():
        for n in range(4):
            yield (n,)
            await asyncio.sleep(0.06)

    assert await conn.executemany("INSERT INTO t VALUES ($1)", rows()) == 4
