"""What one user of a pool has begun, set or prepared never reaches the next one.

Here are the ways round that were found: ends of blocks that are cut off, tasks that
outlive their connection, what was learnt of tables that have changed meanwhile; and
that nothing is done twice, or taken for done.
"""

import asyncio
import contextlib
import datetime
import itertools
import types

import pytest

import chopin
from chopin.retry import outcome_of
from tests.support.await_points import WHEN, cancel_at
from tests.support.backends import Gate
from tests.support.oneversion import on_one_version
from tests.support.pools import (
    PID,
    assert_serves,
    borrowed,
    patience,
    turns,
)

pytestmark = on_one_version

# Leaves a setting, a role and a lock; what LOOK shows of them.
LEAVE = (
    "SELECT set_config('search_path', 'pg_temp', false), pg_advisory_lock(8100000);"
    "SET ROLE pg_monitor"
)
LOOK = """
    SELECT current_setting('search_path'), current_user::text, (
        SELECT count(*) FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""
NOON = datetime.datetime(2020, 1, 1, 12, 30)
ROUNDS = 20
CALLS = 3

numbers = itertools.count(1)


class Oops(Exception):
    """What goes wrong in a user's code."""


class Sparing(chopin.Connection):
    """A connection whose reset does nothing while its user says so."""

    spares = False

    def get_reset_query(self):
        """SQL."""
        return "" if self.spares else super().get_reset_query()


class Thorough(chopin.Connection):
    """A connection whose reset may not run in a transaction block."""

    def get_reset_query(self):
        """SQL."""
        return "DISCARD ALL"


@pytest.fixture
async def pool(create):
    """A pool of one connection."""
    return await create(max_size=1)


@pytest.fixture
def table(observer):
    """An empty table ``(a int)`` of the test's own."""
    name = f"safe_{next(numbers)}"
    observer.execute(f"DROP TABLE IF EXISTS {name}")
    observer.execute(f"CREATE TABLE {name} (a int)")
    yield name
    observer.execute("SET lock_timeout = '5s'")
    observer.execute(f"DROP TABLE {name}")


def rows(observer, table):
    """What is committed."""
    found = observer.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    return found if len(found) != 1 else found[0]


# The end of a block that is cut off.


async def cancelled_commit(conn):
    """Be cancelled while COMMIT is on its way, and go on."""
    task = asyncio.current_task()
    with pytest.raises(asyncio.CancelledError):
        async with conn.transaction():
            await conn.execute("SELECT 1")
            asyncio.get_running_loop().call_soon(task.cancel)
    task.uncancel()


async def late_commit(conn):
    """Have no time left for COMMIT, and go on."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, conn.transaction():
            await conn.execute("SELECT 1")
            limit.reschedule(asyncio.get_running_loop().time())


async def late_rollback(conn):
    """Have no time left for ROLLBACK, and go on."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, conn.transaction():
            await conn.execute("SELECT 1")
            limit.reschedule(asyncio.get_running_loop().time())
            raise Oops


async def sparing_reset(conn):
    """Reset the connection inside of a block, but for what was set."""
    block = conn.transaction()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(block)
        await conn.execute("SELECT 1")
        conn.spares = True
        await conn.reset()
        conn.spares = False
        stack.pop_all()


@pytest.mark.parametrize(
    "end", [cancelled_commit, late_commit, late_rollback, sparing_reset]
)
async def test_end_of_a_block_is_no_reset(create, end):
    """That a block was ended for its user does not make the session clean."""
    pool = await create(max_size=1, connection_class=Sparing)
    clean = await pool.fetchrow(LOOK)
    async with patience():
        async with pool.acquire() as conn:
            pid = conn.get_server_pid()
            await conn.execute(LEAVE)
            await end(conn)
            assert await conn.fetchrow(LOOK) != clean
        async with pool.acquire() as conn:
            assert conn.get_server_pid() == pid
            assert await conn.fetchrow(LOOK) == clean
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("when", WHEN)
async def test_cancelled_anywhere_in_a_block(pool, when):
    """Wherever a block is cancelled, what was set in it is not there afterwards."""
    clean = await pool.fetchrow(LOOK)

    async def use():
        async with pool.transaction() as conn:
            await conn.execute(LEAVE)
            await conn.execute("SELECT 1")

    for number in itertools.count(1):
        async with patience():
            was_cancelled = await cancel_at({number}, use(), when)
            assert await pool.fetchrow(LOOK) == clean, number
            async with pool.acquire() as conn:
                assert await conn.fetchrow(LOOK) == clean, number
                assert not conn.is_in_transaction()
        if not was_cancelled:
            break
    # its two queries and COMMIT
    assert number > 3
    await assert_serves(pool, size=1)


# Tasks that outlive their connection.


async def test_block_that_outlives_its_connection(pool, table, observer):
    """A block that waits to begin does not begin in the hands of the next user."""
    with Gate(observer) as gate:
        async with pool.acquire() as conn:
            query = asyncio.create_task(conn.execute(f"SELECT FROM {gate.sql}"))
            await gate.reached()
            query.cancel()
            await asyncio.wait([query])
            # the query is still being cancelled, and BEGIN waits for its end
            late = asyncio.create_task(conn.transaction().start())
            await asyncio.sleep(0)
            assert not late.done()

            async def use():
                async with pool.acquire() as other:
                    assert not other.is_in_transaction()
                    await other.execute(f"INSERT INTO {table} VALUES (1)")
                    return other.is_in_transaction()

            using = asyncio.create_task(use())
            await asyncio.sleep(0)
        async with patience():
            assert await using is False
            with pytest.raises(chopin.InterfaceError, match="released"):
                await late
    assert rows(observer, table) == (1,)
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("does_commit", [False, True])
async def test_calls_that_outlive_their_connection(pool, table, observer, does_commit):
    """Calls that stand in line do not run in the block of the next user."""
    count = f"SELECT count(*) FROM {table}"
    with pytest.raises(Oops):
        async with pool.acquire() as conn:
            # none was run before: each has to ask for its types first
            calls = [
                asyncio.create_task(
                    conn.execute(f"INSERT INTO {table} VALUES ($1) -- {n}", n)
                )
                for n in range(CALLS)
            ]
            await asyncio.sleep(0)
            raise Oops
    async with patience(), pool.acquire() as conn:
        block = conn.transaction()
        await block.start()
        await conn.execute(f"INSERT INTO {table} VALUES (77)")
        await asyncio.wait(calls)
        assert await conn.fetchval(count) == 1
        await (block.commit() if does_commit else block.rollback())
    for call in calls:
        error = call.exception()
        assert isinstance(
            error, (chopin.InterfaceError, chopin.ConnectionDoesNotExistError)
        )
    assert rows(observer, table) == ((77,) if does_commit else [])
    await assert_serves(pool, size=1)


@types.coroutine
def interrupted(number, coroutine, meanwhile):
    """Run a coroutine; `meanwhile` between its n-th answer and its going on.

    Returns:
        How many answers it has waited for, and its error if it has one.
    """
    steps = coroutine.__await__()
    go_on, value = steps.send, None
    for count in itertools.count():
        try:
            waits_for = go_on(value)
        except StopIteration:
            return count, None
        except Exception as error:
            return count, error
        try:
            yield waits_for
        except BaseException as error:
            go_on, value = steps.throw, error
        else:
            go_on, value = steps.send, None
        if count + 1 == number:
            yield from meanwhile().__await__()


async def test_call_that_would_be_repeated(pool, table, observer):
    """A call that has to be sent again is not, where its connection was given back."""
    count = f"SELECT count(*) FROM {table}"
    sql = f"INSERT INTO {table} VALUES ($1) RETURNING *"
    others = []

    async def hand_over():
        await pool.release(conn)
        other = await stack.enter_async_context(pool.acquire())
        others.append((other, await other.fetchval(count)))

    with Gate(observer) as gate:
        for number in itertools.count(1):
            others.clear()
            async with patience(), contextlib.AsyncExitStack() as stack:
                conn = await stack.enter_async_context(pool.acquire())
                await conn.fetch(sql, number)
                # it is stale by now, and stands in line behind what is being cancelled
                observer.execute(f"ALTER TABLE {table} ADD b{number} int")
                observer.execute(f"TRUNCATE {table}")
                query = asyncio.create_task(conn.execute(f"SELECT FROM {gate.sql}"))
                await gate.reached()
                query.cancel()
                await asyncio.wait([query])
                last, error = await interrupted(
                    number, conn.fetch(sql, number), hand_over
                )
                if not others:
                    assert error is None
                    break
                [(other, done)] = others
                assert done == (error is None)
                assert await other.fetchval(count) == done, number
    # its turn, the error, and what heals it
    assert last >= 3
    await assert_serves(pool, size=1)


async def test_coroutine_that_is_closed(pool, observer):
    """A single query whose coroutine is closed holds nothing up."""
    with Gate(observer) as gate:
        sql = f"SELECT FROM {gate.sql}"
        with gate.ajar():
            for _ in range(2):
                await pool.fetch(sql)
        pid = await pool.fetchval(PID)
        call = pool.fetch(sql)
        call.send(None)
        await gate.reached()
        call.close()
        async with patience():
            assert await pool.fetchval(PID) == pid
    await assert_serves(pool, size=1)


# What is known of tables.


@pytest.mark.parametrize("how", ["expired", "flushed", "another"])
async def test_types_that_somebody_else_changes(create, observer, table, how):
    """A connection that is new goes by the types of today, as it does with asyncpg."""
    pool = await create(max_size=2)
    observer.execute(f"ALTER TABLE {table} ADD b date")
    insert = f"INSERT INTO {table} VALUES ($1, $2)"
    await pool.execute(insert, 1, NOON)
    observer.execute(f"ALTER TABLE {table} ALTER a TYPE bigint, ALTER b TYPE timestamp")
    async with contextlib.AsyncExitStack() as stack:
        if how == "expired":
            await pool.expire_connections()
        elif how == "flushed":
            await pool.flush("all")
        else:
            await stack.enter_async_context(borrowed(pool))
        await pool.execute(insert, 3_000_000_000, NOON)
        async with pool.acquire() as conn:
            found = await conn.fetch(f"SELECT * FROM {table} WHERE a > $1", 2**32 - 2)
            assert found == []
    assert rows(observer, table) == [
        (1, NOON.replace(hour=0, minute=0)),
        (3_000_000_000, NOON),
    ]


async def test_temporary_tables_of_two(create):
    """Two connections have a temporary table each, of one name and other types."""
    pool = await create(max_size=2)
    async with pool.acquire() as first, pool.acquire() as second:
        for conn, kind, value in ((first, "int", 1), (second, "text", "abc")):
            await conn.execute(f"CREATE TEMP TABLE t (a {kind})")
            await conn.execute("INSERT INTO t VALUES ($1)", value)
            assert await conn.fetchval("TABLE t") == value


MADE = [
    "CREATE TEMP TABLE t (a {})",
    "create temporary table t as select null::{} as a",
    "CREATE TABLE pg_temp.t (a {})",
    "SELECT NULL::{} AS a INTO TEMP t",
    "DO $$BEGIN EXECUTE 'CREATE TE' || 'MP TABLE t (a {})'; END$$",
]


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("how", ["released", "reset"])
async def test_temporary_tables_one_after_the_other(pool, made, how):
    """What was prepared for a temporary table that our reset has dropped is gone too.

    Else a value would be cut to the type that the table of the last user had.
    """
    insert = "INSERT INTO t VALUES ($1) RETURNING a::text"
    kinds = (
        ("date", NOON, "2020-01-01"),
        ("timestamp", NOON, "2020-01-01 12:30:00"),
        ("text", "abc", "abc"),
    )
    pid = await pool.fetchval(PID)
    async with contextlib.AsyncExitStack() as stack:
        conn = await stack.enter_async_context(pool.acquire())
        for kind, value, expected in kinds:
            await conn.execute(made.format(kind))
            for _ in range(2):
                assert await conn.fetchval(insert, value) == expected
            if how == "released":
                await stack.aclose()
                conn = await stack.enter_async_context(pool.acquire())
            else:
                await conn.reset()
        assert conn.get_server_pid() == pid


# Done once.

SERIALIZATION = "RAISE EXCEPTION 'again' USING ERRCODE = '40001'"
COMMITS = [
    ("CALL {0}_p($1)", (7,)),
    ("CALL {0}_p(7)", ()),
    ("-- a comment\n /* and */ call {0}_p(7);", ()),
    (f"DO $$BEGIN INSERT INTO {{0}} VALUES (7); COMMIT; {SERIALIZATION}; END$$", ()),
    (f"INSERT INTO {{0}} VALUES (7); COMMIT; DO $$BEGIN {SERIALIZATION}; END$$", ()),
    (f"INSERT INTO {{0}} VALUES (7); SELECT 1; END; DO $$BEGIN {SERIALIZATION}; END$$",
        ()),
]  # fmt: skip
UNDONE = [
    ("INSERT INTO {0} VALUES (7); SELECT {0}_f()", ()),
    ("INSERT INTO {0} VALUES ({0}_f())", ()),
    ("INSERT INTO {0} SELECT {0}_f() + $1", (7,)),
]  # fmt: skip


@pytest.fixture
def routines(observer, table):
    """A procedure that inserts, commits and fails, a function that only fails."""
    observer.execute(
        f"CREATE PROCEDURE {table}_p(value int) LANGUAGE plpgsql AS $$BEGIN"
        f" INSERT INTO {table} VALUES (value); COMMIT; {SERIALIZATION}; END$$"
    )
    observer.execute(
        f"CREATE FUNCTION {table}_f() RETURNS int LANGUAGE plpgsql AS $$BEGIN"
        f" {SERIALIZATION}; END$$"
    )
    yield
    observer.execute(f"DROP PROCEDURE {table}_p; DROP FUNCTION {table}_f")


@pytest.mark.parametrize(
    ("sql", "args", "commits"),
    [(*case, True) for case in COMMITS] + [(*case, False) for case in UNDONE],
)
async def test_commits_by_itself(pool, table, routines, observer, sql, args, commits):
    """What may have committed before it failed is not done again; the rest is."""
    count = 0

    @chopin.retry(attempts=3, base=0.001)
    async def call():
        nonlocal count
        count += 1
        await pool.execute(sql.format(table), *args)

    async with patience():
        with pytest.raises(chopin.SerializationError) as caught:
            await call()
    assert outcome_of(caught.value) == ("unknown" if commits else "rolled_back")
    assert count == (1 if commits else 3)
    assert rows(observer, table) == ((7,) if commits else [])
    await assert_serves(pool, size=1)


async def test_commits_by_itself_in_a_block(pool, table, routines, observer):
    """In a block nothing of that can commit: all of it may be done again."""
    for sql, args in (*COMMITS[:3], *UNDONE):
        with pytest.raises(chopin.PostgresError) as caught:
            async with pool.transaction() as conn:
                await conn.execute(f"INSERT INTO {table} VALUES (8)")
                await conn.execute(sql.format(table), *args)
        assert outcome_of(caught.value) == "rolled_back", sql
    assert rows(observer, table) == []


@pytest.mark.parametrize("args", [(), (7,)])
async def test_commits_by_itself_and_is_lost(pool, table, observer, args):
    """Nor is a procedure whose connection the server has ended in the midst of it."""
    with Gate(observer) as gate:
        observer.execute(
            f"CREATE PROCEDURE {table}_p(value int) LANGUAGE plpgsql AS $$BEGIN"
            f" INSERT INTO {table} VALUES (value); COMMIT;"
            f" PERFORM 1 FROM {gate.sql}; END$$"
        )
        try:
            pid = await pool.fetchval(PID)
            sql = f"CALL {table}_p({'$1' if args else 7})"
            call = asyncio.create_task(pool.execute(sql, *args))
            await gate.reached()
            observer.execute("SELECT pg_terminate_backend(%s)", [pid])
            async with patience():
                with pytest.raises(chopin.ConnectionDoesNotExistError) as caught:
                    await call
        finally:
            observer.execute(f"DROP PROCEDURE {table}_p")
    assert outcome_of(caught.value) == "unknown"
    assert not chopin.Retry().is_worth(caught.value)
    assert rows(observer, table) == (7,)
    await assert_serves(pool, size=1)


async def test_error_that_a_function_swallows(pool, table, observer):
    """What was rolled back in spite of its function is told, and not tried again."""
    calls = []

    async def book(conn):
        calls.append(conn)
        await conn.execute(f"INSERT INTO {table} VALUES (1)")
        with contextlib.suppress(chopin.DivisionByZeroError):
            await conn.fetch("SELECT 1/0")
        return "booked"

    with pytest.warns(chopin.InterfaceWarning, match="rolled back instead"):
        with pytest.raises(chopin.InterfaceError, match="nothing was committed") as got:
            await pool.run_in_transaction(book)
    assert outcome_of(got.value) == "rolled_back"
    assert len(calls) == 1
    assert rows(observer, table) == []
    await assert_serves(pool, size=1)


# Our own reset.


@pytest.mark.parametrize("how", ["nothing", "cancelled"])
async def test_who_comes_behind_the_reset(pool, how):
    """Who does nothing behind our reset, or little, costs no connection."""
    for _ in range(ROUNDS):
        async with pool.acquire() as conn:
            await conn.execute("SET work_mem = '1MB'")
        async with patience(), pool.acquire() as conn:
            if how == "cancelled":
                query = asyncio.create_task(conn.fetchval(PID))
                await turns(1)
                query.cancel()
                await asyncio.wait([query])
    assert await pool.fetchval("SHOW work_mem") == "4MB"
    assert pool.stats().opened == 1
    await assert_serves(pool, size=1)


@pytest.mark.parametrize(
    "options",
    [{"reset": "DISCARD ALL"}, {"connection_class": Thorough}],
    ids=["reset", "connection_class"],
)
async def test_reset_that_may_not_run_in_a_block(create, tidy, observer, options):
    """It runs behind the end of a block that was left open, or was cancelled in it."""
    pool = await create(max_size=1, **options)
    clean = await pool.fetchrow(LOOK)
    for is_cancelled in (False, True):
        with Gate(observer) as gate:
            async with pool.acquire() as conn:
                await conn.execute(LEAVE)
                await conn.execute("BEGIN")
                if is_cancelled:
                    query = asyncio.create_task(conn.execute(f"SELECT FROM {gate.sql}"))
                    await gate.reached()
                    query.cancel()
                    await asyncio.wait([query])
            assert len(tidy.loop_errors) == 1
            tidy.loop_errors.clear()
            async with patience():
                assert await pool.fetchrow(LOOK) == clean
    assert pool.stats().opened == 1
    await assert_serves(pool, size=1)
