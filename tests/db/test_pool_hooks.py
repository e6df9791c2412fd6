"""create_pool: the user's functions, how to connect, and the life of a connection.

What is expected here was first seen to hold for asyncpg, but for `idle_timeout` and
`max_lifetime`, which it does not have.
"""

import asyncio
import functools
import gc
import itertools

import pytest

import chopin
from tests.support.backends import until, until_gone
from tests.support.pools import (
    PID,
    SESSIONS_ARE,
    assert_serves,
    borrowed,
    eventually,
    patience,
    turns,
)

TINY = 0.05  # seconds that a connection may be idle
SHORT = 0.02
MEMORY = "SHOW work_mem"
HOOKS = ["init", "setup", "reset"]
# Names that the pool gives to connect, whoever connects.
OURS = {"loop", "connection_class", "record_class"}


class Oops(Exception):
    """The user's own."""


class Hook:
    """A coroutine function that remembers its calls, and does what it is told."""

    def __init__(self, then=None):
        self.calls = []
        self.then = then
        self.entered = asyncio.Event()

    async def __call__(self, conn):
        self.calls.append(conn)
        self.entered.set()
        if self.then is not None:
            await self.then(conn)


async def fail(conn):
    """Fail."""
    raise Oops


async def wait(conn):
    """Never end."""
    await asyncio.Event().wait()


# When which hook is called.


async def test_hooks(create):
    """`init` is called once for each connection, the others for each of its users."""
    init, setup, reset = Hook(), Hook(), Hook()
    pool = await create(max_size=1, init=init, setup=setup, reset=reset)
    assert init.calls == []
    lent = []
    for number in range(1, 4):
        async with pool.acquire() as conn:
            lent.append(conn)
            assert setup.calls == lent
            assert len(reset.calls) == number - 1
        assert len(reset.calls) == number
    [raw] = init.calls
    assert type(raw) is chopin.Connection
    assert reset.calls == [raw] * 3
    await pool.fetchval("SELECT 1")
    assert [len(hook.calls) for hook in (init, setup, reset)] == [1, 4, 4]
    await pool.close()
    assert [len(hook.calls) for hook in (init, setup, reset)] == [1, 4, 4]


@pytest.mark.parametrize("opened", [0, 3])
async def test_init_before_setup(create, opened):
    """`init` sees each connection when it is opened, before anybody else does."""
    calls = []

    async def init(conn):
        calls.append(("init", await conn.fetchval(PID)))

    async def setup(conn):
        calls.append(("setup", await conn.fetchval(PID)))

    pool = await create(init_size=opened, max_size=3, init=init, setup=setup)
    assert [name for name, _ in calls] == ["init"] * opened
    pids = [pid for _, pid in calls]
    assert len(set(pids)) == opened
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
    assert calls[-1] == ("setup", pid)
    assert calls.count(("init", pid)) == 1


async def test_what_init_sets(create):
    """What `init` has put on a connection is there for its users."""

    async def init(conn):
        await conn.execute("CREATE TEMP TABLE t AS SELECT 5 AS a")
        await conn.fetchval("SELECT 1")

    pool = await create(max_size=1, init=init)
    assert await pool.fetchval("SELECT a FROM t") == 5
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT a FROM t") == 5
    assert await pool.fetchval("SELECT a FROM t") == 5


async def test_what_setup_sets(create):
    """What `setup` does is done anew for each user."""

    async def setup(conn):
        assert isinstance(conn, chopin.Connection)
        await conn.execute("SET work_mem TO '1MB'")

    pool = await create(max_size=1, setup=setup)
    for _ in range(2):
        async with pool.acquire() as conn:
            assert await conn.fetchval(MEMORY) == "1MB"
            await conn.execute("SET work_mem TO '2MB'")
    assert await pool.fetchval(MEMORY) == "1MB"
    assert await pool.execute("SELECT 1") == "SELECT 1"


async def test_reset_instead_of_ours(create, tidy):
    """A function as `reset` is called instead of the reset SQL, and may run it."""
    seen = []

    async def reset(conn):
        assert not conn.is_in_transaction()
        seen.append(await conn.fetchval(MEMORY))
        await conn.execute("SET work_mem TO '3MB'")

    pool = await create(max_size=1, reset=reset)
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem TO '1MB'")
        await conn.transaction().start()
        await conn.execute("SET work_mem TO '2MB'")
    tidy.loop_errors.clear()
    assert seen == ["1MB"]
    assert await pool.fetchval(MEMORY) == "3MB"

    async def reset_by_the_query(conn):
        assert "RESET" in conn.get_reset_query()
        await conn.execute(conn.get_reset_query())

    pool = await create(max_size=1, reset=reset_by_the_query)
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem TO '1MB'")
    assert await pool.fetchval(MEMORY) == "4MB"


async def test_kinds_of_functions(create):
    """Whatever can be called and gives an awaitable will do."""
    calls = []

    async def note(name, conn):
        calls.append(name)

    pool = await create(
        max_size=1,
        init=functools.partial(note, "init"),
        setup=lambda conn: note("setup", conn),
        reset=lambda conn: note("reset", conn),
    )
    async with pool.acquire():
        pass
    assert calls == ["init", "setup", "reset"]


# Hooks that fail.


async def use(pool):
    """Acquire and release."""
    async with pool.acquire() as conn:
        return await conn.fetchval(PID)


@pytest.mark.parametrize("name", HOOKS)
async def test_hook_fails(create, observer, application_name, name):
    """Its error is that of the call; the connection is not used any more."""
    hook = Hook()
    pool = await create(max_size=1, **{name: hook})
    if name != "init":
        pid = await use(pool)
    hook.then = fail
    async with patience():
        for attempt in use, lambda pool: pool.fetchval(PID):
            with pytest.raises(Oops):
                await attempt(pool)
            await until(observer, SESSIONS_ARE, application_name, 0)
            await eventually(lambda: pool.get_size() == 0)
        hook.then = None
        if name != "init":
            assert await use(pool) != pid
        await assert_serves(pool, size=1)


@pytest.mark.parametrize("name", HOOKS)
async def test_hook_is_no_coroutine_function(create, observer, application_name, name):
    """A function that gives no awaitable is noticed when it is called, not later."""
    pool = await create(max_size=1, **{name: lambda conn: None})
    async with patience():
        with pytest.raises((TypeError, chopin.InterfaceError)):
            await use(pool)
    await until(observer, SESSIONS_ARE, application_name, 0)


@pytest.mark.parametrize("name", HOOKS)
async def test_cancelled_in_a_hook(create, observer, application_name, name):
    """Who is cancelled while a hook runs has taken no connection from the pool.

    A release may go on without its task: then the hook is let end.
    """
    go_on = asyncio.Event()
    hook = Hook(lambda conn: go_on.wait())
    pool = await create(max_size=1, **{name: hook})
    for _ in range(2):
        go_on.clear()
        hook.entered.clear()
        async with patience():
            task = asyncio.create_task(use(pool))
            await hook.entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        go_on.set()
        await assert_serves(pool, size=1)
        await pool.expire_connections()
    await assert_serves(pool, size=1)
    await until(observer, SESSIONS_ARE, application_name, 1)


@pytest.mark.parametrize("name", ["init", "setup"])
async def test_time_out_in_a_hook(create, name):
    """The time for acquiring is that of its hooks too."""
    go_on = asyncio.Event()
    hook = Hook(lambda conn: go_on.wait())
    pool = await create(min_size=int(name == "setup"), max_size=1, **{name: hook})
    with pytest.raises(TimeoutError):
        await pool.acquire(timeout=SHORT)
    async with patience():
        await hook.entered.wait()
    go_on.set()
    await assert_serves(pool, size=1)


async def test_init_that_never_ends(create):
    """The time for connecting is that of `init` too: another connection is opened."""
    hook = Hook(wait)
    pool = await create(max_size=1, timeout=SHORT * 5, init=hook)
    using = asyncio.create_task(use(pool))
    await hook.entered.wait()
    hook.then = None
    async with patience():
        await using
    assert len(hook.calls) == 2
    await assert_serves(pool, size=1)


async def test_reset_of_what_was_dropped(create):
    """A handle that nobody has is taken back as it would be released."""
    reset = Hook()
    pool = await create(max_size=1, reset=reset)
    conn = await pool.acquire()
    with pytest.warns(ResourceWarning, match="dropped"):
        del conn
        gc.collect()
    async with patience():
        await reset.entered.wait()
    await assert_serves(pool, size=1)


async def test_time_out_in_reset(create, observer, application_name):
    """A release that takes too long ends with the connection."""
    hook = Hook(wait)
    pool = await create(max_size=1, reset=hook)
    conn = await pool.acquire()
    with pytest.raises(TimeoutError):
        await pool.release(conn, timeout=SHORT)
    await until(observer, SESSIONS_ARE, application_name, 0)
    # one that acquire was given is that of the release too
    async with patience():
        conn = await pool.acquire(timeout=SHORT * 5)
        with pytest.raises(TimeoutError):
            await pool.release(conn)
        assert pool.get_size() == 0
    await until(observer, SESSIONS_ARE, application_name, 0)
    hook.then = None
    await assert_serves(pool, size=1)


async def test_hook_of_one_waits_for_no_other(create):
    """While a hook is busy with one connection, others are served."""
    busy = []

    async def init(conn):
        if not busy:
            busy.append(conn)
            await go_on.wait()

    go_on = asyncio.Event()
    pool = await create(max_size=2, init=init)
    first = asyncio.create_task(use(pool))
    async with patience():
        await eventually(lambda: bool(busy))
        assert await use(pool) != busy[0].get_server_pid()
        go_on.set()
        await first
    await assert_serves(pool)


async def test_init_fails_for_those_that_wait(create):
    """When connections cannot be made, all who wait for one are told."""
    pool = await create(max_size=1, init=fail)
    async with patience():
        got = await asyncio.gather(
            *[use(pool) for _ in range(5)], return_exceptions=True
        )
    assert [type(error) for error in got] == [Oops] * 5


# How to connect.


async def test_connect_hook(create, dsn):
    """A function as `connect` connects instead of ours, with what ours would get."""
    seen = []

    class Connection(chopin.Connection):
        pass

    class Row(chopin.Record):
        pass

    async def connect(*args, **options):
        seen.append((args, options))
        return await chopin.connect(*args, **options)

    pool = await create(
        init_size=2,
        connect=connect,
        connection_class=Connection,
        record_class=Row,
        server_settings={"work_mem": "1MB"},
    )
    async with borrowed(pool), borrowed(pool) as conn:
        assert isinstance(conn, Connection)
        assert type(await conn.fetchrow(MEMORY)) is Row
        assert await conn.fetchval(MEMORY) == "1MB"
    assert len(seen) == 2
    for args, options in seen:
        assert args == (dsn,)
        assert options.pop("server_settings") == {"work_mem": "1MB"}
        assert set(options) == OURS
        assert options["connection_class"] is Connection
        assert options["record_class"] is Row
        assert options["loop"] in (None, asyncio.get_running_loop())


async def test_what_a_connect_hook_sets(create):
    """It is there for the first users, up to the first reset, as what `init` sets."""

    async def connect(*args, **options):
        connection = await chopin.connect(*args, **options)
        await connection.execute("SET statement_timeout = '77s'")
        return connection

    pool = await create(max_size=1, connect=connect)
    shown = []
    for _ in range(3):
        async with pool.acquire() as conn:
            shown.append(await conn.fetchval("SHOW statement_timeout"))
            if len(shown) == 2:
                await conn.execute("SET work_mem = '5MB'")
    assert shown == ["77s", "77s", "0"]


async def test_connect_hook_gives_something_else(create):
    """What a `connect` of the user's returns must be a connection."""
    for result in "text", None:

        async def give(*args, result=result, **options):
            return result

        pool = create(connect=give, min_size=1)
        text = f"(?=.*expected)(?=.*Connection).*{type(result).__name__}"
        async with patience():
            with pytest.raises(chopin.InterfaceError, match=text):
                await pool


async def test_connect_hook_fails(create):
    """Its error is that of who wanted the connection; it is asked again later."""
    calls = itertools.count(1)

    async def connect(*args, **options):
        if next(calls) <= 2:
            raise Oops
        return await chopin.connect(*args, **options)

    pool = await create(max_size=1, connect=connect)
    async with patience():
        for _ in range(2):
            with pytest.raises(Oops):
                await use(pool)
        await assert_serves(pool, size=1)


async def test_connecting_fails(create):
    """What is wrong with connecting is said to who wanted the connection."""
    pool = await create(database="nope", max_size=1)
    async with patience():
        for attempt in use, lambda pool: pool.fetchval(PID):
            with pytest.raises(chopin.InvalidCatalogNameError):
                await attempt(pool)
    assert pool.get_size() == 0


async def test_time_out_of_connecting(create):
    """`timeout` is that of connecting, not of waiting for a connection."""
    pool = await create(max_size=1, timeout=10, command_timeout=20)
    async with borrowed(pool):
        waiting = asyncio.create_task(use(pool))
        await turns()
        assert not waiting.done()
    await waiting


async def test_set_connect_args(create, dsn):
    """Other arguments hold for connections that are opened later."""
    pool = await create(max_size=2, server_settings={"work_mem": "1MB"})
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
        assert await conn.fetchval(MEMORY) == "1MB"
        pool.set_connect_args(dsn, server_settings={"work_mem": "2MB"})
        async with pool.acquire() as second:
            assert await second.fetchval(MEMORY) == "2MB"
        assert await conn.fetchval(MEMORY) == "1MB"
    async with pool.acquire() as conn:
        assert conn.get_server_pid() == pid
        assert await conn.fetchval(MEMORY) == "1MB"
    await pool.expire_connections()
    async with pool.acquire() as conn, pool.acquire() as second:
        for each in conn, second:
            assert await each.fetchval(MEMORY) == "2MB"
    pool.set_connect_args(dsn=dsn)
    await pool.expire_connections()
    assert await pool.fetchval(MEMORY) == "4MB"


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
async def test_password_is_asked_for_each_time(create, tcp_dsn, passwords, kind):
    """A callable gives the password of the moment for each connection."""
    calls = []

    def password():
        calls.append(kind)
        return passwords["scram_user"]

    async def password_later():
        return password()

    options = {"password": password if kind == "function" else password_later}
    pool = await create(tcp_dsn, init_size=2, user="scram_user", **options)
    assert len(calls) == 2
    await use(pool)
    assert len(calls) == 2
    await pool.expire_connections()
    assert await pool.fetchval("SELECT current_user::text") == "scram_user"
    assert len(calls) == 3


# The life of a connection.


async def test_expire_connections(create, observer):
    """Every connection is replaced, those that are in use at their release."""
    pool = await create(init_size=2)
    async with borrowed(pool) as conn:
        pid = conn.get_server_pid()
        async with pool.acquire() as second:
            other = second.get_server_pid()
        await pool.expire_connections()
        assert await conn.fetchval("SELECT 1") == 1
        assert await pool.fetchval(PID) not in (pid, other)
    await until_gone(observer, pid)
    async with pool.acquire() as conn, pool.acquire() as second:
        assert not {conn.get_server_pid(), second.get_server_pid()} & {pid, other}
    await until_gone(observer, other)
    kept = await pool.fetchval(PID)
    assert await pool.fetchval(PID) == kept


async def test_max_queries(create, observer):
    """A connection that has run its number of queries is replaced."""
    pool = await create(max_size=1, max_queries=5)
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
        for _ in range(7):
            assert await conn.fetchval(PID) == pid
    await until_gone(observer, pid)
    got = [await pool.fetchval(PID) for _ in range(30)]
    assert pid not in got
    assert all(got.count(each) <= 6 for each in got)
    runs = [each for each, _ in itertools.groupby(got)]
    assert len(runs) == len(set(runs)) >= 5
    pool = await create(max_size=1, max_queries=1000)
    assert len({await pool.fetchval(PID) for _ in range(30)}) == 1


@pytest.mark.parametrize("name", ["max_inactive_connection_lifetime", "idle_timeout"])
async def test_idle_for_too_long(create, observer, application_name, name):
    """A connection that nobody uses ends, down to the minimum."""
    pool = await create(**{name: TINY}, max_size=3)
    async with pool.acquire(), pool.acquire():
        pass
    await until(observer, SESSIONS_ARE, application_name, 0)
    await eventually(lambda: pool.get_size() == 0)
    await assert_serves(pool, size=1)


async def test_idle_for_long_and_needed(create, observer, application_name):
    """What belongs to the minimum, or is in use, does not end for being old."""
    floor = await create(min_size=1, max_size=3, max_inactive_connection_lifetime=TINY)
    for_ever = await create(max_inactive_connection_lifetime=0)
    used = await create(max_inactive_connection_lifetime=TINY)
    async with floor.acquire(), floor.acquire(), floor.acquire():
        pass
    pid = await for_ever.fetchval(PID)
    async with borrowed(used) as conn:
        await until(observer, SESSIONS_ARE, application_name, 3)
        await eventually(lambda: floor.get_size() == 1)
        # by the time that this one is gone, any other would be
        witness = await create(max_inactive_connection_lifetime=TINY)
        await witness.fetchval("SELECT 1")
        await eventually(lambda: witness.get_size() == 0)
        assert await conn.fetchval("SELECT 1") == 1
    assert floor.get_size() == 1
    assert await for_ever.fetchval(PID) == pid


async def test_max_lifetime(create, observer):
    """A connection ends when it is old, and not while it is in use."""
    pool = await create(max_size=1, max_lifetime=TINY)
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
        witness = await create(idle_timeout=TINY)
        await witness.fetchval("SELECT 1")
        await eventually(lambda: witness.get_size() == 0)
        assert await conn.fetchval(PID) == pid
    await until_gone(observer, pid)
    async with patience():
        assert await pool.fetchval(PID) != pid
        await eventually(lambda: pool.get_size() == 0)
