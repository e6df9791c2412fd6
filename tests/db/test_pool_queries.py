"""create_pool: queries and transactions of the pool itself; many tasks, many loops.

What is expected of the methods that asyncpg's pool has was first seen to hold for it.
"""

import asyncio
import contextlib
import itertools
import threading

import pytest

import chopin
from tests.support.backends import Gate, until
from tests.support.pools import (
    PATIENCE_S,
    PID,
    SESSIONS,
    SESSIONS_ARE,
    assert_serves,
    borrowed,
    eventually,
    patience,
)

SHORT = 0.02
CLOSED = "^pool is closed$"
numbers = itertools.count(1)


# Single queries.


class Row(chopin.Record):
    """The user's own."""


RESULTS = [
    ("fetch", ("SELECT $1::int AS a, 'x' AS b", 1), {}, [(1, "x")]),
    ("fetch", ("SELECT 1 WHERE false",), {}, []),
    ("fetchrow", ("SELECT generate_series($1::int, 5)", 2), {}, (2,)),
    ("fetchrow", ("SELECT 1 WHERE false",), {}, None),
    ("fetchval", ("SELECT $1::int", 3), {}, 3),
    ("fetchval", ("SELECT 1 AS a, $1::text AS b", "x"), {"column": 1}, "x"),
    ("fetchval", ("SELECT 1 AS a, 'y' AS b",), {"column": "b"}, "y"),
    ("fetchval", ("SELECT 1 WHERE false",), {}, None),
    ("fetchmany", ("SELECT $1::int * 2", [(1,), (2,)]), {}, [(2,), (4,)]),
    ("execute", ("SELECT 1; SELECT 2 UNION SELECT 3",), {}, "SELECT 2"),
    ("execute", ("SELECT $1::int", 1), {}, "SELECT 1"),
    ("executemany", ("SELECT $1::int", [(1,), (2,)]), {}, 2),
]
ERRORS = [
    ("fetch", ("SELECT 1/0",), chopin.DivisionByZeroError),
    ("fetch", ("SELECT $1::int / 0", 1), chopin.DivisionByZeroError),
    ("fetchrow", ("SELEC 1",), chopin.PostgresSyntaxError),
    ("fetchval", ("SELECT nope",), chopin.UndefinedColumnError),
    ("execute", ("SELECT 1; SELECT 1/0",), chopin.DivisionByZeroError),
    ("execute", ("SELECT 1 / $1::int", 0), chopin.DivisionByZeroError),
    ("executemany", ("SELECT 1 / $1::int", [(0,)]), chopin.DivisionByZeroError),
    ("fetchmany", ("SELECT 1 / $1::int", [(0,)]), chopin.DivisionByZeroError),
    ("fetch", ("SELECT $1::int", "x"), chopin.DataError),
    ("fetchval", ("SELECT $1::int",), chopin.InterfaceError),
    ("executemany", ("SELECT $1::int", [("x",)]), chopin.DataError),
]


async def test_single_query(create):
    """The pool's methods are those of a connection."""
    pool = await create(max_size=1)
    for method, args, options, expected in RESULTS:
        call = getattr(pool, method)
        for _ in range(2):
            assert await call(*args, **options) == expected
            assert await call(*args, timeout=PATIENCE_S, **options) == expected
        if method in ("fetch", "fetchrow", "fetchmany"):
            got = await call(*args, record_class=Row)
            rows = got if isinstance(got, list) else [got]
            assert {type(row) for row in rows if row is not None} <= {Row}
            assert got == expected
    await assert_serves(pool, size=1)


async def test_single_query_fails(create):
    """Its error is the one that a connection would have raised, the query with it."""
    pool = await create(max_size=1)
    for method, args, error in ERRORS:
        for _ in range(2):
            with pytest.raises(error) as caught:
                await getattr(pool, method)(*args)
            if caught.type not in (chopin.DataError, chopin.InterfaceError):
                assert caught.value.query == args[0]
            await assert_serves(pool, size=1)


SINGLE = ["fetch", "fetchrow", "fetchval", "fetchmany", "execute", "executemany"]


def blocked(pool, method, gate, **options):
    """A query of the pool that waits at the gate."""
    sql = f"SELECT $1::int FROM {gate.sql}"
    args = [(1,), (2,)] if "many" in method else 1
    return getattr(pool, method)(sql, args, **options)


async def test_single_query_times_out(create, observer):
    """A query that takes too long is stopped; its connection stays."""
    pool = await create(max_size=1, command_timeout=SHORT)
    with Gate(observer) as gate:
        for method, timeout in itertools.product(SINGLE, (SHORT, 0, None)):
            async with patience():
                with pytest.raises(TimeoutError):
                    await blocked(pool, method, gate, timeout=timeout)
        async with patience():
            async with pool.acquire() as conn:
                assert await conn.fetchval("SELECT 1", timeout=PATIENCE_S) == 1
        await until(
            observer, "SELECT count(*) = 0 FROM pg_locks WHERE NOT granted"
            " AND locktype = 'advisory' AND objid = %s", gate.key,
        )  # fmt: skip
    assert pool.get_size() == 1


async def test_single_query_is_cancelled(create, observer):
    """A query whose task is cancelled is stopped; its connection stays."""
    pool = await create(max_size=1)
    for method in SINGLE:
        with Gate(observer) as gate:
            task = asyncio.create_task(blocked(pool, method, gate))
            await gate.reached()
            task.cancel()
            async with patience():
                with pytest.raises(asyncio.CancelledError):
                    await task
            await assert_serves(pool, size=1)


# Many tasks, many loops.


async def test_many_tasks(create, observer, application_name):
    """Each of many tasks on few connections gets what it asked for."""
    pool = await create(max_size=5)

    async def user(number):
        kind = number % 5
        if kind == 0:
            return await pool.fetchval("SELECT $1::int", number)
        if kind == 1:
            rows = await pool.fetch("SELECT generate_series($1::int, $1 + 3)", number)
            assert [row[0] for row in rows] == [number + i for i in range(4)]
            return number
        if kind == 2:
            with pytest.raises(chopin.DivisionByZeroError):
                await pool.fetchrow("SELECT $1::int / 0", number)
            return number
        async with pool.acquire() as conn:
            if kind == 3:
                return await conn.fetchval("SELECT $1::int", number)
            setting = f"SET LOCAL chopin.number TO {number}"
            async with conn.transaction():
                await conn.execute(setting)
                await asyncio.sleep(0)
                return int(await conn.fetchval("SHOW chopin.number"))

    async with patience():
        got = await asyncio.gather(*[user(number) for number in range(200)])
    assert got == list(range(200))
    # one more may still be being opened
    await eventually(lambda: pool.get_size() == pool.stats().size)
    size = pool.get_size()
    assert 1 <= size <= 5
    assert observer.execute(SESSIONS, [application_name]).fetchone() == (size,)
    await assert_serves(pool, size=size)


@contextlib.contextmanager
def another_loop():
    """Another thread's loop; gives a function that runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine):
        there = asyncio.run_coroutine_threadsafe(coroutine, loop)
        return asyncio.wait_for(asyncio.wrap_future(there), PATIENCE_S)

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_another_loop(create, observer, application_name):
    """Another thread's loop has connections of its own, out of the same maximum."""
    pool = await create(max_size=2)

    async def acquire():
        return await pool.acquire()

    with another_loop() as run:
        here = await pool.acquire()
        there = await run(acquire())
        assert here.get_server_pid() != there.get_server_pid()
        got = await asyncio.gather(
            here.fetchval(PID), run(there.fetchval(PID)), return_exceptions=True
        )
        assert got == [here.get_server_pid(), there.get_server_pid()]
        with pytest.raises(TimeoutError):
            await run(asyncio.wait_for(acquire(), SHORT))
        await run(pool.release(there))
        await pool.release(here)
        assert await run(pool.fetchval(PID)) == got[1]
        assert await pool.fetchval(PID) == got[0]
        assert observer.execute(SESSIONS, [application_name]).fetchone() == (2,)
        async with patience():
            await pool.close()
        await until(observer, SESSIONS_ARE, application_name, 0)
        with pytest.raises(chopin.InterfaceError, match=CLOSED):
            await run(pool.fetchval(PID))


# Transactions.


class Oops(Exception):
    """The user's own."""


@pytest.fixture
def table(observer):
    """A table ``(a int)`` with one row, 0; gives its name."""
    name = f"pool_{next(numbers)}"
    observer.execute(f"CREATE TABLE {name} AS SELECT 0 AS a")
    yield name
    observer.execute(f"DROP TABLE {name}")


async def test_transaction(table, create, observer):
    """A block of the pool's is a connection in a transaction: all of it or nothing."""
    pool = await create(max_size=1)
    async with pool.transaction() as conn:
        assert isinstance(conn, chopin.Connection)
        assert conn.is_in_transaction()
        await conn.execute(f"UPDATE {table} SET a = 1")
        with pytest.raises(Oops):
            async with conn.transaction():
                await conn.execute(f"UPDATE {table} SET a = 2")
                raise Oops
    with pytest.raises(chopin.InterfaceError, match="released back to the pool"):
        await conn.fetchval("SELECT 1")
    assert observer.execute(f"SELECT a FROM {table}").fetchone() == (1,)

    with pytest.raises(Oops):
        async with pool.transaction() as conn:
            await conn.execute(f"UPDATE {table} SET a = 3")
            raise Oops
    with pytest.raises(chopin.DivisionByZeroError):
        async with pool.transaction() as conn:
            await conn.execute(f"UPDATE {table} SET a = 4")
            await conn.fetch("SELECT 1/0")
    assert observer.execute(f"SELECT a FROM {table}").fetchone() == (1,)
    await assert_serves(pool, size=1)


async def test_transaction_as_wanted(create):
    """The block takes what a connection's transaction takes, and a time-out."""
    pool = await create(max_size=1)
    async with pool.transaction(
        isolation="serializable", readonly=True, deferrable=True
    ) as conn:
        got = await conn.fetchrow(
            "SELECT current_setting('transaction_isolation'),"
            " current_setting('transaction_read_only'),"
            " current_setting('transaction_deferrable')"
        )
        assert got == ("serializable", "on", "on")
    for method in (
        pool.transaction(isolation="nope").__aenter__,
        lambda: pool.run_in_transaction(asyncio.sleep, isolation="nope"),
    ):
        with pytest.raises(ValueError, match="isolation"):
            await method()
    async with borrowed(pool):
        with pytest.raises(TimeoutError):
            async with pool.transaction(timeout=SHORT):
                pass
        with pytest.raises(TimeoutError):
            await pool.run_in_transaction(asyncio.sleep, timeout=SHORT)
    await assert_serves(pool, size=1)


async def test_run_in_transaction(table, create, observer):
    """A function's transaction is committed when it returns, undone when it raises."""
    pool = await create(max_size=1)
    calls = 0

    async def change(conn, value, error=None):
        nonlocal calls
        calls += 1
        assert conn.is_in_transaction()
        await conn.execute(f"UPDATE {table} SET a = $1", value)
        if error is not None:
            raise error
        return value * 2

    assert await pool.run_in_transaction(change, 1) == 2
    assert observer.execute(f"SELECT a FROM {table}").fetchone() == (1,)
    for retry in None, 5:
        calls = 0
        with pytest.raises(Oops):
            await pool.run_in_transaction(change, 2, Oops(), retry=retry)
        assert calls == 1
    assert observer.execute(f"SELECT a FROM {table}").fetchone() == (1,)
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_conflicts_are_tried_again(table, create, observer, isolation):
    """Who was in another's way begins again, as often as was said."""
    pool = await create(max_size=1)
    calls, conflicts = 0, 1

    async def add(conn, amount):
        nonlocal calls
        calls += 1
        value = await conn.fetchval(f"SELECT a FROM {table}")
        if calls <= conflicts:
            observer.execute(f"UPDATE {table} SET a = a + 10")
        await conn.execute(f"UPDATE {table} SET a = $1", value + amount)
        return value

    def run(retry=None):
        return pool.run_in_transaction(add, 1, retry=retry, isolation=isolation)

    assert await run() == 10
    assert calls == 2
    assert observer.execute(f"SELECT a FROM {table}").fetchone() == (11,)

    calls, conflicts = 0, 99
    for retry in 1, 2, chopin.Retry(attempts=3, base=0.001):
        calls = 0
        with pytest.raises(chopin.SerializationError) as caught:
            await run(retry)
        assert calls == (retry if isinstance(retry, int) else 3)
        assert (caught.value.kind, caught.value.outcome) == ("transient", "rolled_back")
    await assert_serves(pool, size=1)


async def test_deadlocks_are_tried_again(create):
    """Whom the server has chosen to end a deadlock begins again."""
    pool = await create(max_size=2, server_settings={"deadlock_timeout": "5ms"})
    locks = [next(numbers), next(numbers)]
    both = asyncio.Barrier(2)
    calls = 0

    async def lock(conn, first, second):
        nonlocal calls
        calls += 1
        await conn.fetchval("SELECT pg_advisory_xact_lock($1)", first)
        if calls <= 2:
            await both.wait()
        await conn.fetchval("SELECT pg_advisory_xact_lock($1)", second)
        return first

    async with patience():
        got = await asyncio.gather(
            pool.run_in_transaction(lock, *locks),
            pool.run_in_transaction(lock, *locks[::-1]),
        )
    assert got == locks
    assert calls == 3
    await assert_serves(pool)


WAITS_AT_COMMIT = """
    CREATE TEMP TABLE t (a int) ON COMMIT DROP;
    CREATE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared({key}); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION pg_temp.wait();
    INSERT INTO t VALUES (1)
"""


async def test_unknown_outcome_is_not_tried_again(create, observer):
    """A COMMIT that nobody answered may have been one: it is not tried again."""
    pool = await create(max_size=1)
    pids = []

    async def work(conn):
        pids.append(conn.get_server_pid())
        await conn.execute(WAITS_AT_COMMIT.format(key=gate.key))

    with Gate(observer) as gate:
        task = asyncio.create_task(pool.run_in_transaction(work, retry=5))
        await gate.reached()
        observer.execute("SELECT pg_terminate_backend(%s)", pids)
        async with patience():
            with pytest.raises((chopin.PostgresError, chopin.InterfaceError)) as caught:
                await task
    assert caught.value.outcome == "unknown"
    assert len(pids) == 1
    await assert_serves(pool, size=1)
