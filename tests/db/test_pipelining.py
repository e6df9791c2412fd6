"""Several calls at once on one connection: in order, each with its own result."""

import asyncio
import itertools
import random

import pytest

import chopin
from tests.support.proxy import recorded

ECHO = "SELECT $1::int"


async def outcomes(*calls):
    """Results and classes of errors of calls that were made at once."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return [type(one) if isinstance(one, BaseException) else one for one in done]


async def test_each_call_gets_its_own_result(conn):
    """Twenty calls at once are answered each with its own."""
    for _ in "prepared", "cached":
        got = await asyncio.gather(*(conn.fetchval(ECHO, i) for i in range(20)))
        assert got == list(range(20))


async def test_all_methods_at_once(conn):
    """Calls of every kind share a connection."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    got = await asyncio.gather(
        conn.fetch(ECHO, 1),
        conn.execute("INSERT INTO t VALUES (1)"),
        conn.fetchrow("SELECT count(*) FROM t"),
        conn.executemany("INSERT INTO t VALUES ($1)", [(2,), (3,)]),
        conn.fetchval("SELECT sum(a) FROM t"),
        conn.execute("INSERT INTO t VALUES ($1)", 4),
        conn.fetchmany("INSERT INTO t VALUES ($1) RETURNING a", [(5,), (6,)]),
        conn.fetchval("SELECT sum(a) FROM t"),
        conn.execute("DELETE FROM t; SELECT 1"),
        conn.fetch("TABLE t"),
    )
    assert got == [
        [(1,)], "INSERT 0 1", (1,), 2, 6, "INSERT 0 1", [(5,), (6,)], 21,
        "SELECT 1", [],
    ]  # fmt: skip


async def test_order_is_that_of_the_calls(conn):
    """Calls take effect in the order in which they were made, cached or not."""
    await conn.execute("CREATE TEMP TABLE t (a serial, b int)")
    insert = "INSERT INTO t (b) VALUES ($1)"
    await asyncio.gather(
        conn.execute(insert, 0),
        conn.execute("INSERT INTO t (b) VALUES (1)"),
        conn.fetch("INSERT INTO t (b) VALUES ($1::int)", 2),
        conn.execute(insert, 3),
        conn.executemany(insert, [(4,), (5,)]),
        conn.fetchval("INSERT INTO t (b) VALUES (6) RETURNING b"),
        conn.execute(insert, 7),
    )
    got = await conn.fetch("SELECT b FROM t ORDER BY a")
    assert [row[0] for row in got] == list(range(8))


async def test_errors_are_isolated(conn):
    """A call's error is its own; its neighbours do not notice."""
    for _ in range(2):
        got = await outcomes(
            conn.fetchval(ECHO, 1),
            conn.fetchval("SELECT 1 / $1::int", 0),
            conn.fetchval(ECHO, 2),
            conn.fetchval("SELEC 1"),
            conn.fetchval(ECHO, "x"),
            conn.fetchval(ECHO, 3),
            conn.execute("SELECT 1; SELECT nope"),
            conn.executemany(ECHO, [(1,), ("x",)]),
            conn.fetchval(ECHO),
            conn.fetchval(ECHO, 4),
        )
        assert got == [
            1, chopin.DivisionByZeroError, 2, chopin.PostgresSyntaxError,
            chopin.DataError, 3, chopin.UndefinedColumnError, chopin.DataError,
            chopin.InterfaceError, 4,
        ]  # fmt: skip


async def test_each_call_is_a_transaction_of_its_own(conn):
    """A failed write leaves those before and behind it alone."""
    await conn.execute("CREATE TEMP TABLE t (a int UNIQUE)")
    insert = "INSERT INTO t VALUES ($1)"
    got = await outcomes(*(conn.execute(insert, i) for i in (1, 2, 1, 3, 3, 4)))
    assert [one for one in got if one != "INSERT 0 1"] == [
        chopin.UniqueViolationError
    ] * 2
    assert await conn.fetch("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,), (4,)]


async def test_statement_that_cannot_be_prepared(conn):
    """Calls of one bad statement all get that statement's error, more than once."""
    for _ in range(2):
        got = await outcomes(
            *(conn.fetch("SELECT nope, $1::int", i) for i in range(3)),
            conn.fetchval(ECHO, 1),
        )
        assert got == [chopin.UndefinedColumnError] * 3 + [1]


async def test_sent_without_waiting(connect, tcp_dsn):
    """All calls are on the wire before the first answer is read."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await conn.fetchval(ECHO, 0)
        wire.clear()
        with wire.withheld():
            calls = [asyncio.ensure_future(conn.fetchval(ECHO, i)) for i in range(10)]
            await wire.until_sent("S", 10)
            assert not any(call.done() for call in calls)
        assert await asyncio.gather(*calls) == list(range(10))
        assert len(wire.round_trips) == 1


async def test_transaction_is_shared(conn):
    """Calls at once inside of a block are all part of it."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    insert = "INSERT INTO t VALUES ($1)"
    async with conn.transaction():
        await asyncio.gather(*(conn.execute(insert, i) for i in range(5)))
    assert await conn.fetchval("SELECT count(*) FROM t") == 5
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await asyncio.gather(*(conn.execute(insert, i) for i in range(5)))
            raise ZeroDivisionError
    assert await conn.fetchval("SELECT count(*) FROM t") == 5


async def test_first_calls_of_a_block(conn):
    """When a block begins with several calls at once, all of them are inside."""
    level = "SHOW transaction_isolation"
    async with conn.transaction(isolation="serializable"):
        got = await asyncio.gather(
            conn.fetchval(level),
            conn.fetchval("SELECT current_setting('transaction_isolation')"),
            conn.fetchval(level),
            conn.execute("SELECT 1"),
        )
    assert got == ["serializable"] * 3 + ["SELECT 1"]


async def test_error_inside_of_a_block(conn):
    """Behind an error inside of a block, the block is aborted for the others too."""
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            got = await outcomes(
                conn.fetchval(ECHO, 1),
                conn.fetchval("SELECT 1/0"),
                conn.fetchval(ECHO, 2),
            )
            assert got == [
                1, chopin.DivisionByZeroError, chopin.InFailedSQLTransactionError,
            ]  # fmt: skip
            raise ZeroDivisionError
    assert await conn.fetchval(ECHO, 3) == 3


async def test_prepared_statements_and_prepare(conn):
    """prepare and statements take part."""
    first = await conn.prepare(ECHO)
    got = await asyncio.gather(
        first.fetchval(1),
        conn.prepare("SELECT 2"),
        first.fetchval(3),
        conn.fetchval("SELECT 4"),
    )
    assert (got[0], got[2], got[3]) == (1, 3, 4)
    assert await got[1].fetchval() == 2


async def test_types_that_must_be_looked_up(conn):
    """Looking up a type of the user's in between does not mix anything up."""
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('calm', 'wild')")
    got = await asyncio.gather(
        conn.fetchval(ECHO, 1),
        conn.fetchval("SELECT $1::pg_temp.mood[]", ["calm"]),
        conn.fetchval(ECHO, 2),
        conn.fetchval("SELECT '{wild}'::pg_temp.mood[]"),
        conn.fetchval(ECHO, 3),
    )
    assert got == [1, ["calm"], 2, ["wild"], 3]


async def test_large_results_at_once(conn):
    """Results that come in many pieces are not mixed."""
    query = "SELECT repeat($1, i) FROM generate_series(1, 500) AS i"
    got = await asyncio.gather(*(conn.fetch(query, c) for c in "abcdef"))
    for letter, rows in zip("abcdef", got, strict=True):
        assert [row[0] for row in rows] == [letter * i for i in range(1, 501)]


async def test_large_arguments_at_once(conn):
    """More than the sockets take at once goes both ways without a deadlock."""
    texts = [letter * 1_000_000 for letter in "abcdefgh"]
    got = await asyncio.gather(*(conn.fetchval("SELECT $1::text", t) for t in texts))
    assert got == texts


async def test_mixture(conn):
    """A few hundred calls of all kinds, many at once, all get what is theirs."""
    dice = random.Random(1)
    numbers = itertools.count()

    async def value(n):
        assert await conn.fetchval(f"SELECT $1::int + {n % 7}", n) == n + n % 7

    async def rows(n):
        got = await conn.fetch("SELECT i FROM generate_series(1, $1::int) AS i", n % 50)
        assert len(got) == n % 50

    async def error(n):
        with pytest.raises(chopin.DivisionByZeroError):
            await conn.fetch("SELECT $1::int / 0", n)

    async def refused(n):
        with pytest.raises(chopin.DataError):
            await conn.fetch(ECHO, str(n))

    async def script(n):
        assert await conn.execute(f"SELECT {n}; SELECT 1") == "SELECT 1"

    async def many(n):
        await conn.executemany(ECHO, [(i,) for i in range(n % 20)])

    async def new(n):
        assert await conn.fetchval(f"SELECT {n} AS n{n}") == n

    kinds = [value, value, rows, error, refused, script, many, new]

    async def worker():
        for _ in range(15):
            await dice.choice(kinds)(next(numbers))

    await asyncio.gather(*(worker() for _ in range(20)))
    assert not conn.is_in_transaction()


async def test_close_behind_calls(connect):
    """Calls in flight end in order or with the connection; none is left waiting."""
    conn = await connect()
    calls = [asyncio.ensure_future(conn.fetchval(ECHO, i)) for i in range(5)]
    await asyncio.gather(*calls[:1])
    await conn.close()
    got = await outcomes(*calls)
    for i, one in enumerate(got):
        assert one in (
            i, chopin.InterfaceError, chopin.ConnectionDoesNotExistError,
            chopin.QueryCanceledError,
        )  # fmt: skip


async def test_terminate_with_calls_in_flight(connect, tcp_dsn):
    """Calls whose connection is terminated end at once, and say so."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await conn.fetchval(ECHO, 0)
        wire.clear()
        with wire.withheld():
            calls = [asyncio.ensure_future(conn.fetchval(ECHO, i)) for i in range(3)]
            await wire.until_sent("S", 3)
            conn.terminate()
            got = await outcomes(*calls)
        assert set(got) <= {chopin.ConnectionDoesNotExistError, chopin.InterfaceError}
        assert conn.is_closed()
