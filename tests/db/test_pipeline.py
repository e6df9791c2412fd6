"""pipeline: many statements at once on real servers."""

import asyncio
import itertools
from typing import NamedTuple

import pytest

import chopin
from tests.support.pools import assert_serves, patience, turns

INSERT = "INSERT INTO t VALUES ($1)"
SELECT = "SELECT a FROM t ORDER BY a"
numbers = itertools.count(1)


class Pair(NamedTuple):
    a: int
    b: int


@pytest.fixture
async def table(conn):
    """A temporary table ``t (a int PRIMARY KEY)``; returns its values."""
    await conn.execute("CREATE TEMP TABLE t (a int PRIMARY KEY)")

    async def values():
        return [row[0] for row in await conn.fetch(SELECT)]

    return values


async def test_replies(conn, table):
    """Each statement has its own reply, in order, new and prepared ones alike."""
    for n in range(3):
        async with conn.pipeline() as p:
            status = p.execute(INSERT, n)
            rows = p.fetch(SELECT)
            row = p.fetchrow("SELECT a, a + 1 AS b FROM t WHERE a = $1", n)
            value = p.fetchval("SELECT a, a + 1 AS b FROM t WHERE a = $1", n, column=1)
            named = p.fetchval("SELECT a AS x, 5 AS y FROM t", column="y")
            last = p.fetchval("SELECT 1, 2", column=-1)
            none = p.fetchrow("SELECT a FROM t WHERE a = 99")
            assert await value == n + 1
        assert status.result() == "INSERT 0 1"
        assert [each["a"] for each in rows.result()] == list(range(n + 1))
        assert (await row, await named, await last) == ((n, n + 1), 5, 2)
        assert none.result() is None


@pytest.mark.parametrize("barrier", ["statement", "group"])
async def test_into(conn, barrier):
    """Rows in another shape, of new statements and of prepared ones."""
    for _ in range(2):
        async with conn.pipeline(barrier=barrier) as p:
            rows = p.fetch("SELECT 1 AS a, 2 AS b", into=Pair)
            row = p.fetchrow("SELECT 1 AS a, 2 AS b", into=dict)
            p.sync()
            bad = p.fetch("SELECT 1 AS c", into=Pair)
            p.sync()
            last = p.fetchval("SELECT 3")
            with pytest.raises(chopin.InterfaceError, match="c"):
                await bad
        assert rows.result() == [Pair(1, 2)]
        assert (row.result(), last.result()) == ({"a": 1, "b": 2}, 3)


async def test_no_such_column(conn):
    """It is the reply's error; the others have their answers."""
    with pytest.raises(KeyError):
        async with conn.pipeline() as p:
            p.fetchval("SELECT 1 AS a", column="b")
            good = p.fetchval("SELECT 2")
    assert good.result() == 2


async def test_statements_are_independent(conn, table):
    """An error skips nothing of the others, and is raised where it is awaited."""
    async with conn.pipeline() as p:
        p.execute(INSERT, 1)
        bad = p.execute(INSERT, 1)
        p.execute(INSERT, 2)
        with pytest.raises(chopin.UniqueViolationError) as caught:
            await bad
    assert caught.value.query == INSERT
    assert await table() == [1, 2]


async def test_groups(conn, table):
    """What is between two points of sync is all or nothing."""
    async with conn.pipeline(barrier="group") as p:
        p.execute(INSERT, 1)
        p.execute(INSERT, 2)
        p.sync()
        first = p.execute(INSERT, 3)
        bad = p.execute(INSERT, 1)
        after = p.execute(INSERT, 4)
        p.sync()
        p.execute(INSERT, 5)
        with pytest.raises(chopin.UniqueViolationError):
            await bad
        for reply in (first, after):
            with pytest.raises(chopin.PipelineAbortedError, match="statement #1 of it"):
                await reply
    assert await table() == [1, 2, 5]


async def test_what_is_made_in_the_pipeline(conn):
    """A statement may use what one before it makes."""
    async with conn.pipeline() as p:
        p.execute("CREATE TEMP TABLE made (a int)")
        for n in range(3):
            p.execute("INSERT INTO made VALUES ($1)", n)
        p.execute("ALTER TABLE made ADD b text DEFAULT 'x'")
        rows = p.fetch("SELECT * FROM made ORDER BY a")
    assert rows.result() == [(0, "x"), (1, "x"), (2, "x")]


@pytest.mark.parametrize("barrier", ["statement", "group"])
async def test_transactions_inside(conn, table, barrier):
    """A block has what was queued in it, new and prepared statements alike."""
    for n in range(2):
        async with conn.pipeline(barrier=barrier) as p:
            p.execute(INSERT, 10 * n)
            async with conn.transaction():
                p.execute(f"{INSERT} -- new", 10 * n + 1)
            with pytest.raises(LookupError):
                async with conn.transaction():
                    p.execute(f"{INSERT} -- gone", 10 * n + 2)
                    raise LookupError
            p.execute(INSERT, 10 * n + 3)
        assert not conn.is_in_transaction()
    assert await table() == [0, 1, 3, 10, 11, 13]


async def test_inside_of_a_transaction(conn, table):
    """BEGIN goes ahead of the first; a failure is the block's."""
    with pytest.raises(chopin.UniqueViolationError):
        async with conn.transaction():
            async with conn.pipeline() as p:
                p.execute(INSERT, 1)
                p.execute(INSERT, 1)
                p.execute(INSERT, 2)
    assert await table() == []


async def test_in_order_with_other_calls(conn, table):
    """A call of the connection comes behind what was queued before it."""
    async with conn.pipeline() as p:
        for n in range(3):
            p.execute(f"{INSERT} -- {n}", n)
            assert await conn.fetchval("SELECT count(*) FROM t") == n + 1


async def test_more_than_the_buffers_hold(conn, table):
    """Large arguments and large rows, while nobody waits."""
    text = "x" * 100_000
    async with conn.pipeline() as p:
        replies = [p.fetchval("SELECT $1 || $2", text, str(n)) for n in range(100)]
        await p.flush()
    assert all(reply.result() == f"{text}{n}" for n, reply in enumerate(replies))


async def test_stale_plans_heal(conn, connect):
    """A plan that was made stale is made anew, if nothing behind it has run."""
    other = await connect()
    name = f"piped_{next(numbers)}"
    await other.execute(f"CREATE TABLE {name} AS SELECT 1 AS a")
    try:
        await conn.fetch(f"SELECT * FROM {name}")
        await other.execute(f"ALTER TABLE {name} ALTER a TYPE text")
        async with conn.pipeline() as p:
            reply = p.fetchval(f"SELECT * FROM {name}")
        assert reply.result() == "1"
    finally:
        await other.execute(f"DROP TABLE {name}")


@pytest.mark.parametrize("barrier", ["statement", "group"])
@pytest.mark.parametrize("state", ["new", "known", "stale"])
async def test_arguments_that_change(conn, connect, state, barrier):
    """What counts is what they held when the statement was queued."""
    await conn.execute("DROP TABLE IF EXISTS chopin_held")
    await conn.execute("CREATE TABLE chopin_held (n int[], data bytea, docs jsonb[])")
    sql = "INSERT INTO chopin_held VALUES ($1, $2, $3) RETURNING *"
    try:
        if state != "new":
            await conn.fetch(sql, [7], b"", [])
        if state == "stale":
            other = await connect()
            await other.execute("ALTER TABLE chopin_held ADD more int")
        numbers, data, docs = [[0]], bytearray(1), ["0"]
        async with conn.pipeline(barrier=barrier) as p:
            for n in range(3):
                numbers[0][0], data[0], docs[0] = n, n, str(n)
                p.fetch(sql, numbers, data, docs)
        rows = await conn.fetch("SELECT * FROM chopin_held WHERE docs <> '{}'")
        assert [tuple(row[:3]) for row in rows] == [
            ([[n]], bytes([n]), [str(n)]) for n in range(3)
        ]
    finally:
        await conn.execute("DROP TABLE chopin_held")


async def test_lost_statements_heal(conn):
    """Statements that the server has not got any more are made again, in order."""
    texts = ["SELECT $1::int", "SELECT $1::int + 1", "SELECT $1::int + 2"]
    await conn.batch([(text, 1) for text in texts])
    await conn.execute("DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$")
    async with conn.pipeline() as p:
        replies = [p.fetchval(text, 1) for text in texts]
    assert [reply.result() for reply in replies] == [1, 2, 3]


async def test_left_by_an_exception(conn, table):
    """What is under way is called off, and the connection goes on."""
    with pytest.raises(LookupError):
        async with conn.pipeline() as p:
            slow = p.execute("SELECT pg_sleep(60)")
            await p.flush()
            unsent = p.execute(f"{INSERT} -- new", 1)
            raise LookupError
    assert slow.exception().outcome == "unknown"
    assert unsent.exception().outcome == "not_sent"
    assert await table() == []


async def test_cancelled(conn, table):
    """A task that is cancelled leaves the block at once."""

    async def work():
        async with conn.pipeline() as p:
            p.execute("SELECT pg_sleep(60)")
            await asyncio.sleep(0)

    task = asyncio.create_task(work())
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await table() == []


async def test_time_out_of_a_reply(conn):
    """Who does not want to wait any more does not call the statement off."""
    async with conn.pipeline() as p:
        reply = p.fetchval("SELECT pg_sleep(0.1) IS NULL")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await reply
    assert reply.result() is False


async def test_time_out_of_the_statements(conn):
    """A statement that takes longer fails; the pipeline goes on."""
    async with conn.pipeline(timeout=0.05) as p:
        slow = p.fetchval("SELECT pg_sleep(60)")
        with pytest.raises(TimeoutError):
            await slow
        assert await conn.fetchval("SELECT 1") == 1
        good = p.fetchval("SELECT 2")
    assert good.result() == 2


async def test_server_ends_in_the_middle(conn):
    """Every reply says so."""
    with pytest.raises(chopin.ConnectionDoesNotExistError):
        async with conn.pipeline() as p:
            first = p.fetchval("SELECT 1")
            p.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            last = p.fetchval("SELECT 2")
    assert first.result() == 1
    assert isinstance(last.exception(), Exception)
    assert conn.is_closed()


async def test_loggers_are_told(conn):
    """Each statement is a query of its own."""
    told = []
    with conn.query_logger(told.append):
        async with conn.pipeline() as p:
            p.fetchval("SELECT $1::int", 1)
            bad = p.execute("SELECT 1 / 0")
            with pytest.raises(chopin.DivisionByZeroError):
                await bad
    await asyncio.sleep(0)
    assert [query.query for query in told] == ["SELECT $1::int", "SELECT 1 / 0"]
    assert told[0].args == (1,)
    assert isinstance(told[1].exception, chopin.DivisionByZeroError)


async def test_two_pipelines(conn):
    """They take turns on the connection."""

    async def work(k):
        async with conn.pipeline() as p:
            replies = [p.fetchval(f"SELECT $1::int + {k}", n) for n in range(20)]
            await asyncio.sleep(0)
        return [reply.result() for reply in replies]

    results = await asyncio.gather(*[work(k) for k in range(3)])
    assert results == [[n + k for n in range(20)] for k in range(3)]


async def test_on_a_pool(create):
    """It has a connection of its own, which is given back."""
    pool = await create(max_size=1)
    async with pool.pipeline() as p:
        one, two = p.fetchval("SELECT 1"), p.fetchval("SELECT $1::int", 2)
    assert (one.result(), two.result()) == (1, 2)
    with pytest.raises(chopin.DivisionByZeroError):
        async with pool.pipeline() as p:
            p.execute("SELECT 1 / 0")
    assert await pool.fetchval("SELECT 3") == 3
    with pytest.raises(chopin.InterfaceError, match="`async with` block only"):
        p.fetch("SELECT 1")


async def test_released_in_the_middle(create):
    """Nothing of a pipeline reaches the next user of the connection."""
    pool = await create(max_size=1)
    await pool.execute("CREATE TEMP TABLE t (a int)")
    conn = await pool.acquire()
    with pytest.raises(chopin.InterfaceError):
        async with conn.pipeline(barrier="group") as p:
            reply = p.execute("CREATE TABLE never_made (a int)")
            await pool.release(conn)
            with pytest.raises(chopin.InterfaceError, match="released"):
                p.fetch("SELECT 1")
            with pytest.raises(chopin.InterfaceError, match="released"):
                await reply
            raise chopin.InterfaceError("left")
    assert await pool.fetchval("SELECT to_regclass('never_made')") is None


@pytest.mark.parametrize("queued", [0, 2])
async def test_released_while_it_ends(create, queued):
    """Who waits for the end gets an error, and so do the query loggers."""
    pool = await create(max_size=1)
    conn = await pool.acquire()
    await conn.execute("SELECT pg_sleep($1)", 0)
    told = []

    async def work():
        async with conn.pipeline() as p:
            for _ in range(2):
                p.execute("SELECT pg_sleep($1)", 1)
            for number in range(queued):
                p.execute(f"SELECT {number} AS new")

    async with patience():
        with conn.query_logger(told.append):
            task = asyncio.create_task(work())
            await turns()
            await pool.release(conn)
            with pytest.raises((chopin.InterfaceError, chopin.PostgresError)):
                await task
            await turns()
    assert len(told) == 2 + queued
    assert all(record.exception is not None for record in told)
    await assert_serves(pool, size=1)


async def test_text_that_is_parsed_in_the_flight_ahead(create):
    """It is not parsed twice under one name, as if a pooler had it already."""
    pool = await create(min_size=2, max_size=2)
    async with pool.acquire() as one, pool.acquire() as other:
        await one.fetch("SELECT 5")
        async with other.pipeline() as p:
            p.fetchval("SELECT 'has to be described'")
            replies = [p.fetchval("SELECT 5") for _ in range(3)]
        assert [reply.result() for reply in replies] == [5, 5, 5]
        assert not other._session.pooled


async def test_timeout_of_a_long_row(conn):
    """Each statement has its time, however long those take that must wait in turn."""
    async with conn.pipeline(timeout=0.6) as p:
        for n in range(4):
            p.execute(f"CREATE TEMP TABLE t{n} AS SELECT 1 AS a FROM pg_sleep(0.2)")
            p.execute(f"INSERT INTO t{n} VALUES (2)")
    assert await conn.fetchval("SELECT count(*) FROM t3") == 2


async def test_stale_statement_of_a_block_that_was_rolled_back(conn, observer):
    """It is not repeated behind the block, where it would be committed."""
    observer.execute("CREATE TABLE chopin_stale (a int)")
    query = "INSERT INTO chopin_stale VALUES ($1) RETURNING *"
    try:
        await conn.fetch(query, 1)
        observer.execute("ALTER TABLE chopin_stale ADD b int")
        with pytest.raises(chopin.InvalidCachedStatementError):
            async with conn.pipeline() as p:
                with pytest.raises(ZeroDivisionError):
                    async with conn.transaction():
                        p.fetch(query, 2)
                        raise ZeroDivisionError
        assert await conn.fetchval("SELECT count(*) FROM chopin_stale") == 1
        assert len(await conn.fetch(query, 3)) == 1
    finally:
        observer.execute("DROP TABLE chopin_stale")
