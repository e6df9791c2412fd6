"""Borrowed connections: what they can do, and that they can nothing once given back.

What is expected here was first seen to hold for asyncpg, which refuses a release while
something still runs on the connection.
"""

import asyncio
import contextlib
import gc
import inspect
import re
from typing import ClassVar

import pytest

import chopin
from tests.support.backends import Gate, until
from tests.support.pools import PID, SESSIONS_ARE, assert_serves, patience, turns

RELEASED = "connection has been released back to the pool"
UNDERLYING = "the underlying connection has been released back to the pool"
NOT_GRANTED = (
    "SELECT count(*) FROM pg_locks"
    " WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
)


@pytest.fixture
async def pool(create):
    """A pool of one connection."""
    return await create(max_size=1)


def public_methods(kind):
    """The names of what users call, without what the session calls back."""
    return [
        name
        for name in dir(kind)
        if not name.startswith(("_", "on_")) and callable(getattr(kind, name))
    ]


def some_arguments(method):
    """An argument for each parameter that has no default; for a bound method."""
    args, options = [], {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.default is not parameter.empty:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            options[parameter.name] = "text"
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            args.append("SELECT 1")
    return args, options


async def assert_refuses(thing, name, text):
    """The method raises, when it is called or when it is awaited."""
    method = getattr(thing, name)
    args, options = some_arguments(method)
    with pytest.raises(chopin.InterfaceError, match=f"^{re.escape(text)}$"):
        result = method(*args, **options)
        if inspect.isawaitable(result):
            await result


# Alive.


async def test_is_a_connection(create, pool):
    """A borrowed connection is one, with all that one has."""
    async with pool.acquire() as conn:
        assert isinstance(conn, chopin.Connection)
        for name in public_methods(chopin.Connection):
            assert callable(getattr(conn, name)), name
        assert not conn.is_closed()
        assert conn.get_server_pid() == await conn.fetchval(PID)
        assert conn.get_settings().application_name
        assert str(conn.get_server_pid()) in repr(conn) or "Connection" in repr(conn)


async def test_tells_coroutine_functions(pool):
    """Tools that wrap methods see which of them are coroutine functions."""
    async with pool.acquire() as conn:
        assert inspect.iscoroutinefunction(conn.fetch)
        assert not inspect.iscoroutinefunction(conn.is_closed)


async def test_works_like_a_connection(pool):
    """Statements, cursors, transactions and many rows at once work as they do."""
    async with pool.acquire() as conn:
        await conn.execute("CREATE TEMP TABLE t (a int)")
        async with conn.transaction():
            await conn.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,), (3,)])
            assert [row["a"] async for row in conn.cursor("TABLE t")] == [1, 2, 3]
            cursor = await conn.cursor("SELECT a FROM t WHERE a > $1", 1)
            assert await cursor.fetch(5) == [(2,), (3,)]
        statement = await conn.prepare("SELECT a FROM t WHERE a = $1")
        assert await statement.fetchval(2) == 2
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("DELETE FROM t")
        await transaction.rollback()
        got = await conn.fetchmany("DELETE FROM t WHERE a = $1 RETURNING a", [(1,)])
        assert got == [(1,)]
        assert await conn.fetchrow("SELECT count(*) FROM t") == (2,)
        await conn.reset()
        assert await conn.fetchval("SELECT 1") == 1
    await assert_serves(pool, size=1)


# Released.


@pytest.fixture(scope="module")
def method_names():
    """Of a connection."""
    names = public_methods(chopin.Connection)
    assert {"fetch", "execute", "is_closed", "close", "terminate"} < set(names)
    return names


@pytest.mark.parametrize("again", [False, True], ids=["idle", "used by another"])
async def test_released(pool, method_names, again):
    """Every method of a connection that was given back says so; the next user's works.

    It does not matter whether the connection has another user by then.
    """
    async with pool.acquire() as old:
        await old.fetchval("SELECT 1")
    async with contextlib.AsyncExitStack() as stack:
        if again:
            new = await stack.enter_async_context(pool.acquire())
        for name in method_names:
            text = f"cannot call Connection.{name}(): {RELEASED}"
            await assert_refuses(old, name, text)
        assert "released" in repr(old)
        assert isinstance(old, chopin.Connection)
        if again:
            assert await new.fetchval("SELECT 1") == 1
    await assert_serves(pool, size=1)


async def test_pool_that_nobody_has(dsn):
    """It lives as long as somebody has a connection of it."""
    conn = await (await chopin.create_pool(dsn, min_size=1, max_size=1)).acquire()
    gc.collect()
    await turns()
    assert await conn.fetchval("SELECT 1") == 1
    with pytest.warns(ResourceWarning, match="unclosed pool"):
        with pytest.warns(ResourceWarning, match="was acquired from a pool"):
            del conn
            gc.collect()
        await turns()
        gc.collect()


async def test_released_in_its_block(pool):
    """A connection that was given back inside of its block is of no more use there."""
    async with pool.acquire() as conn:
        await pool.release(conn)
        text = f"cannot call Connection.fetch(): {RELEASED}"
        with pytest.raises(chopin.InterfaceError, match=re.escape(text)):
            await conn.fetch("SELECT 1")
    await assert_serves(pool, size=1)


@contextlib.asynccontextmanager
async def next_user(pool):
    """Somebody else in the middle of a transaction, who must not notice anything."""
    async with pool.acquire() as conn:
        await conn.execute("DROP TABLE IF EXISTS pg_temp.mine")
        await conn.execute("CREATE TEMP TABLE mine (a int)")
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("INSERT INTO mine VALUES (1)")
        yield conn
        assert conn.is_in_transaction()
        assert await conn.fetchval("SELECT count(*) FROM mine") == 1
        await transaction.commit()
        assert await conn.fetchval("SELECT count(*) FROM mine") == 1
    await assert_serves(pool, size=1)


async def test_statement_of_a_released_connection(pool):
    """A prepared statement goes with its connection."""
    async with pool.acquire() as conn:
        statement = await conn.prepare("SELECT $1::text")
        assert await statement.fetchval("x") == "x"
        factory = statement.cursor("x")
    async with next_user(pool):
        for name in public_methods(type(statement)):
            text = f"cannot call {type(statement).__name__}.{name}(): {UNDERLYING}"
            await assert_refuses(statement, name, text)
        with pytest.raises(chopin.InterfaceError, match=UNDERLYING):
            await factory


async def test_cursor_of_a_released_connection(pool):
    """So do cursors, whichever way they are read."""
    async with pool.acquire() as conn:
        async with conn.transaction():
            cursor = await conn.cursor("SELECT generate_series(1, 100)")
            assert await cursor.fetch(1) == [(1,)]
            rows = conn.cursor("SELECT generate_series(1, 100)").__aiter__()
            assert await anext(rows) == (1,)
            factory = conn.cursor("SELECT 1")
    async with next_user(pool) as conn:
        for name in public_methods(type(cursor)):
            method = getattr(cursor, name)
            with pytest.raises(
                chopin.InterfaceError, match=f"Cursor.{name}.*{UNDERLYING}"
            ):
                await (method() if name == "fetchrow" else method(1))
        for attempt in (
            lambda: anext(rows),
            lambda: factory.__aiter__().__anext__(),
            lambda: factory.__await__().send(None),
        ):
            with pytest.raises(chopin.InterfaceError, match=UNDERLYING):
                await attempt()


async def test_transaction_of_a_released_connection(pool, tidy):
    """So do transactions: those of the next user are not ended by them."""
    async with pool.acquire() as conn:
        started, unused = conn.transaction(), conn.transaction()
        await started.start()
        await conn.fetchval("SELECT 1")
    tidy.loop_errors.clear()  # the pool had to end a transaction
    async with next_user(pool):
        for attempt, name in (
            (started.commit, "commit"),
            (started.rollback, "rollback"),
            (unused.start, "start"),
            (unused.__aenter__, ""),
        ):
            with pytest.raises(
                chopin.InterfaceError, match=f"Transaction.{name}.*{UNDERLYING}"
            ):
                await attempt()


async def test_block_of_a_released_connection(pool):
    """The end of a transaction's block finds that the connection is gone."""
    async with pool.acquire() as conn:
        with pytest.raises(chopin.InterfaceError, match=UNDERLYING):
            async with conn.transaction():
                await conn.fetchval("SELECT 1")
                await pool.release(conn)
                async with next_user(pool):
                    pass
    await assert_serves(pool, size=1)


async def test_query_of_a_released_connection(pool, observer):
    """A query that still runs at the release ends; the next user is served."""
    with Gate(observer) as gate:
        async with pool.acquire() as conn:
            running = asyncio.create_task(conn.fetch(f"SELECT 1 FROM {gate.sql}"))
            await gate.reached()
        async with patience():
            with pytest.raises((chopin.PostgresError, chopin.InterfaceError)):
                await running
            await assert_serves(pool, size=1)
        await until(observer, f"SELECT ({NOT_GRANTED}) = 0", gate.key)


async def test_queries_before_the_release(pool):
    """What was asked for and not awaited does not come to the next user."""
    for _ in range(5):
        async with pool.acquire() as conn:
            tasks = [
                asyncio.create_task(conn.fetchval("SELECT $1::int", number))
                for number in range(3)
            ]
            await turns(1)
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT $1::int", 42) == 42
        await asyncio.gather(*tasks, return_exceptions=True)
    await assert_serves(pool)


# Connections of the user's own class.


class Connection(chopin.Connection):
    """The user's own."""

    async def fetch(self, query, *args, **options):
        """Every row twice."""
        return [
            row for row in await super().fetch(query, *args, **options) for _ in "ab"
        ]

    async def execute(self, query, *args, **options):
        """The status in small letters."""
        return (await super().execute(query, *args, **options)).lower()

    async def count(self, limit):
        """A method that is not ours."""
        return await self.fetchval("SELECT count(*) FROM generate_series(1, $1)", limit)

    @property
    def twice(self):
        """A property that is not ours."""
        return self.note * 2


class Row(chopin.Record):
    """The user's own."""

    def __getattr__(self, name):
        return self[name]


async def test_connection_class(create):
    """The pool's connections are of the class that was asked for, in full."""

    async def init(conn):
        assert type(conn) is Connection
        conn.note = conn.get_server_pid()

    pool = await create(max_size=1, connection_class=Connection, init=init)
    for _ in range(2):
        async with pool.acquire() as conn:
            pid = conn.get_server_pid()
            assert isinstance(conn, Connection)
            assert await conn.count(7) == 7
            assert (conn.note, conn.twice) == (pid, pid * 2)
            assert await conn.fetch("SELECT 1") == [(1,), (1,)]
            assert await conn.execute("SELECT 1") == "select 1"
    assert await pool.fetch("SELECT 1") == [(1,), (1,)]
    assert await pool.execute("SELECT 1") == "select 1"
    assert await pool.execute("SELECT $1::int", 1) == "select 1"
    await assert_serves(pool, size=1)


class Demanding(chopin.Connection):
    """A class that cannot be made of a session alone."""

    def __init__(self, session, extra):
        super().__init__(session)


async def test_connection_class_that_cannot_be_made(
    create, observer, application_name, connect
):
    """Its error is that of the call, and nothing stays on the server."""
    pool = await create(max_size=1, connection_class=Demanding)
    for use in (pool.fetchval, pool.execute):
        with pytest.raises(TypeError, match="extra"):
            await use("SELECT 1")
    with pytest.raises(TypeError, match="extra"):
        await connect(connection_class=Demanding)
    await until(observer, SESSIONS_ARE, application_name, 0)


class Picky(chopin.Connection):
    """A class that changes nothing but one method that others are built on."""

    async def fetchrow(self, query, *args, **options):
        """Nothing."""


async def test_one_method_of_the_users(create):
    """It is enough to override one method for the pool to use it."""
    pool = await create(max_size=1, connection_class=Picky)
    assert await pool.fetchrow("SELECT 1") is None
    assert await pool.fetchval("SELECT 1") == 1
    assert await pool.fetch("SELECT 1") == [(1,)]
    await assert_serves(pool, size=1)


class Logged(chopin.Connection):
    """A class that does something at the end of its methods."""

    calls: ClassVar = []

    async def executemany(self, command, args, **options):
        """The same, and a note."""
        await super().executemany(command, args, **options)
        self.calls.append("executemany")

    async def fetchmany(self, query, args, **options):
        """The same, and a note."""
        self.calls.append("fetchmany")
        return await super().fetchmany(query, args, **options)

    async def fetchval(self, query, *args, **options):
        """The same, and a note."""
        self.calls.append("fetchval")
        return await super().fetchval(query, *args, **options)


async def test_other_methods_of_the_users(create):
    """The same for the methods that run many, and for values."""
    Logged.calls.clear()
    pool = await create(max_size=1, connection_class=Logged)
    await pool.executemany("SELECT $1::int", [(1,)])
    assert await pool.fetchmany("SELECT $1::int", [(1,)]) == [(1,)]
    assert await pool.fetchval("SELECT 1") == 1
    assert Logged.calls == ["executemany", "fetchmany", "fetchval"]


async def test_record_class(create):
    """Rows are of the class that was asked for, of the pool's first of all."""
    pool = await create(max_size=1, record_class=Row)
    assert (await pool.fetchrow("SELECT 1 AS a")).a == 1
    assert (await pool.fetch("SELECT 1 AS a"))[0].a == 1
    assert (await pool.fetchmany("SELECT $1::int AS a", [(1,)]))[0].a == 1
    row = await pool.fetchrow("SELECT 1 AS a", record_class=chopin.Record)
    assert type(row) is chopin.Record
    async with pool.acquire() as conn:
        assert (await conn.fetchrow("SELECT 1 AS a")).a == 1
        statement = await conn.prepare("SELECT 1 AS a")
        assert (await statement.fetchrow()).a == 1
        async with conn.transaction():
            async for row in conn.cursor("SELECT 1 AS a"):
                assert row.a == 1


# Listeners.

NOTICE = "DO $$BEGIN RAISE NOTICE 'hey'; END$$"


async def test_log_listener_goes_with_the_release(pool):
    """A log listener that was left on a connection is removed, with a warning."""
    heard = []

    def listen(conn, message):
        heard.append((conn, message.message))

    async with pool.acquire() as conn:
        conn.add_log_listener(listen)
        await conn.execute(NOTICE)
        await turns()
        assert heard == [(conn, "hey")]
        with pytest.warns(
            chopin.InterfaceWarning,
            match="is being released to the pool but has 1 active log listener",
        ):
            await pool.release(conn)
    async with pool.acquire() as conn:
        await conn.execute(NOTICE)
        await turns()
    assert len(heard) == 1


async def test_log_listener_goes_with_the_handle(pool):
    """That of a handle that was dropped does not hear the next user."""
    heard = []
    conn = await pool.acquire()
    conn.add_log_listener(lambda *said: heard.append(said))
    with pytest.warns(ResourceWarning, match="dropped"):
        del conn
        gc.collect()
    async with patience(), pool.acquire() as conn:
        await conn.execute(NOTICE)
        await turns()
    assert heard == []


async def test_listener_that_was_removed(pool):
    """Who has tidied up hears no warning."""
    async with pool.acquire() as conn:
        conn.add_log_listener(print)
        conn.remove_log_listener(print)
    await assert_serves(pool, size=1)


async def test_listeners_of_init(create):
    """What `init` has put on a connection hears all of its users, till the end."""
    queries, ended = [], []

    def at_the_end(conn):
        ended.append(conn)

    async def init(conn):
        conn.add_query_logger(lambda record: queries.append(record.query))
        conn.add_termination_listener(at_the_end)

    pool = await create(max_size=1, init=init)
    async with pool.acquire() as conn:
        await conn.fetchval("SELECT 1 AS one")
    await pool.fetchval("SELECT 2 AS two")
    await turns()
    assert [query for query in queries if "AS" in query] == [
        "SELECT 1 AS one",
        "SELECT 2 AS two",
    ]
    assert ended == []
    await pool.close()
    await turns()
    assert len(ended) == 1


async def test_query_logger_of_a_block(pool):
    """A query logger hears its block and nothing else."""
    queries = []
    async with pool.acquire() as conn:
        with conn.query_logger(lambda record: queries.append(record.query)):
            await conn.fetchval("SELECT 1 AS one")
    await pool.fetchval("SELECT 2 AS two")
    await turns()
    assert queries == ["SELECT 1 AS one"]


async def test_query_logger_is_told_of_what_the_release_stops(pool, observer):
    """The query has the error of the release, and no other one."""
    told = []
    conn = await pool.acquire()
    with Gate(observer) as gate, conn.query_logger(told.append):
        sql = f"SELECT 1 FROM {gate.sql}"
        task = asyncio.create_task(conn.fetchval(sql))
        await gate.reached()
        await pool.release(conn)
        with pytest.raises(chopin.InterfaceError, match="was released"):
            await task
        await turns()
    assert [record.query for record in told] == [sql]
    assert "was released" in str(told[0].exception)


async def test_types_of_a_connection(create):
    """A codec that `init` has set holds for all users of the connection."""

    async def init(conn):
        await conn.set_type_codec(
            "int8", schema="pg_catalog", encoder=str, decoder=lambda text: f"<{text}>"
        )

    pool = await create(max_size=1, init=init)
    for _ in range(2):
        assert await pool.fetchval("SELECT 5::int8") == "<5>"
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT 6::int8") == "<6>"
            statement = await conn.prepare("SELECT $1::int8")
            assert await statement.fetchval(7) == "<7>"
