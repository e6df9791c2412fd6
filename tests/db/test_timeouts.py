"""Time-outs: of calls, of connecting and closing, and with a server that is frozen.

No test measures time: those that say "promptly" would wait for a lock, or for a process
that does nothing, until `PATIENCE_S` without the time-out.
"""

import asyncio
import contextlib

import pytest

import chopin
import chopin.aio
from tests.support.await_points import Surroundings
from tests.support.backends import Gate, assert_whole, frozen, until
from tests.support.faultproxy import FaultProxy, Faults

SHORT = 0.02
LONG = 3600
PATIENCE_S = 10
BIG = "x" * 1_000_000
# What a call ends with when its connection does.
ENDED = (chopin.InterfaceError, chopin.ConnectionDoesNotExistError)


def patience():
    """A limit on what would otherwise hang."""
    return asyncio.timeout(PATIENCE_S)


@pytest.fixture
def short_drain(monkeypatch):
    """A server has a moment to end what was cancelled."""
    monkeypatch.setattr(chopin.aio, "CANCEL_TIMEOUT", 0.1)


async def ended(conn):
    """Wait until the connection has ended by itself."""
    if not conn.is_closed():
        over = asyncio.Event()
        conn.add_termination_listener(lambda conn: over.set())
        async with asyncio.timeout(PATIENCE_S):
            await over.wait()
    assert conn.is_closed()


async def call(conn, gate, method, timeout):
    """A call that waits at the gate."""
    sql = f"SELECT $1::int FROM {gate.sql}"
    if method == "execute":
        return await conn.execute(f"SELECT 1 FROM {gate.sql}", timeout=timeout)
    if method in ("executemany", "fetchmany"):
        return await getattr(conn, method)(sql, [(1,), (2,)], timeout=timeout)
    if method.startswith("statement."):
        statement = await conn.prepare(sql)
        name = method.partition(".")[2]
        args = [[(1,)]] if "many" in name else [1]
        return await getattr(statement, name)(*args, timeout=timeout)
    if method == "cursor":
        async with conn.transaction():
            async for _ in conn.cursor(sql, 1, timeout=timeout):
                pass
    elif method in ("cursor.fetch", "cursor.fetchrow", "cursor.forward"):
        async with conn.transaction():
            cursor = await conn.cursor(sql, 1)
            args = [] if method == "cursor.fetchrow" else [1]
            name = method.partition(".")[2]
            await getattr(cursor, name)(*args, timeout=timeout)
    elif method == "reset":
        name = f"slow_{gate.key}"
        await conn.execute(
            f"CREATE FUNCTION pg_temp.{name}() RETURNS int LANGUAGE sql AS"
            f" 'SELECT 1 FROM {gate.sql}'"
        )
        conn.get_reset_query = lambda: f"SELECT pg_temp.{name}()"
        await conn.reset(timeout=timeout)
    else:
        return await getattr(conn, method)(sql, 1, timeout=timeout)
    return None


METHODS = (
    "fetch",
    "fetchrow",
    "fetchval",
    "execute",
    "executemany",
    "fetchmany",
    "statement.fetch",
    "statement.fetchrow",
    "statement.fetchval",
    "statement.fetchmany",
    "statement.executemany",
    "cursor",
    "cursor.fetch",
    "cursor.fetchrow",
    "cursor.forward",
)


@pytest.mark.parametrize("method", METHODS)
async def test_of_a_call(method, conn, observer):
    """A call raises TimeoutError, is stopped on the server, and harms nobody else."""
    async with patience():
        for _ in range(2):  # the second time the statement is known
            before = Surroundings()
            with Gate(observer) as gate:
                with pytest.raises(TimeoutError):
                    await call(conn, gate, method, SHORT)
                await assert_whole(conn, observer)
            assert not conn.is_closed()
            await before.check()


@pytest.mark.parametrize("method", METHODS[::2])
async def test_command_timeout(method, connect, observer):
    """`command_timeout` is for every call that names none."""
    conn = await connect(command_timeout=SHORT)
    async with patience():
        with Gate(observer) as gate:
            with pytest.raises(TimeoutError):
                await call(conn, gate, method, None)
        # the check has no time-out of its own: it must not need any
        conn._command_timeout = None
        await assert_whole(conn, observer)


async def test_a_longer_one_for_a_call(connect, observer):
    """A call's own time-out goes before `command_timeout`."""
    conn = await connect(command_timeout=SHORT)
    async with patience():
        with Gate(observer) as gate:
            task = asyncio.create_task(call(conn, gate, "fetchval", LONG))
            await gate.reached()
            await asyncio.sleep(SHORT * 2)  # it would be over by now
            gate.open()
            assert await task == 1


async def test_is_for_preparing_too(conn, observer):
    """A statement that waits while it is parsed has no time-out of its own for that."""
    observer.execute("SET lock_timeout = '5s'")
    observer.execute("CREATE TABLE IF NOT EXISTS for_preparing (a int)")
    sql = "SELECT a FROM for_preparing WHERE a = $1"
    calls = [
        lambda: conn.fetch(sql, 1, timeout=SHORT),
        lambda: conn.executemany(sql, [(1,)], timeout=SHORT),
        lambda: conn.prepare(sql, timeout=SHORT),
    ]
    async with patience():
        with observer.transaction():
            observer.execute("LOCK TABLE for_preparing")
            for attempt in calls:
                with pytest.raises(TimeoutError):
                    await attempt()
                await assert_whole(conn, observer)
        assert await conn.fetch(sql, 1) == []


@pytest.mark.parametrize("timeout", [0, -1, 0.0])
async def test_no_time_at_all(timeout, conn):
    """With no time left nothing is sent; so it is for texts that are known, too."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    sql = "INSERT INTO t VALUES ($1) RETURNING a"
    statement = await conn.prepare(sql)
    await conn.fetch(sql, 1)
    for attempt in (
        lambda: conn.fetch(sql, 2, timeout=timeout),
        lambda: conn.fetchrow(sql, 2, timeout=timeout),
        lambda: conn.fetchval(sql, 2, timeout=timeout),
        lambda: conn.execute(sql, 2, timeout=timeout),
        lambda: conn.execute("INSERT INTO t VALUES (2)", timeout=timeout),
        lambda: conn.executemany(sql, [(2,)], timeout=timeout),
        lambda: conn.fetchmany(sql, [(2,)], timeout=timeout),
        lambda: conn.fetch("INSERT INTO t VALUES ($1)", 2, timeout=timeout),
        lambda: conn.prepare("SELECT 2", timeout=timeout),
        lambda: statement.fetch(2, timeout=timeout),
        lambda: statement.executemany([(2,)], timeout=timeout),
    ):
        with pytest.raises(TimeoutError):
            await attempt()
    assert await conn.fetch("SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize("timeout", ["1", True])
@pytest.mark.parametrize("sql", ["SELECT $1::int", "SELECT $1::int AS a_new_one"])
async def test_not_a_number(sql, timeout, conn):
    """What is no number of seconds is refused, and nothing is sent."""
    await conn.fetch("SELECT $1::int", 1)
    with pytest.raises((ValueError, TypeError), match="timeout"):
        await conn.fetch(sql, 1, timeout=timeout)
    assert await conn.fetchval("SELECT $1::int", 2) == 2


async def test_behind_a_call_with_more_time(conn, observer):
    """A queued call ends at its own time; the one ahead goes on."""
    async with patience():
        with Gate(observer) as gate:
            for timeout in (None, LONG):
                slow = asyncio.create_task(call(conn, gate, "fetchval", timeout))
                await gate.reached()
                with pytest.raises(TimeoutError):
                    await conn.fetchval("SELECT $1::int", 5, timeout=SHORT)
                assert not slow.done()
                with gate.ajar():
                    assert await slow == 1
        await assert_whole(conn, observer)


@pytest.fixture
async def timers(monkeypatch):
    """The timers that were made on the loop: (delay, handle) by the handle's id.

    The delay is None where a point in time was given.
    """
    loop = asyncio.get_running_loop()
    made = {}

    def recording(name):
        original = getattr(loop, name)

        def record(when, callback, *args, **options):
            handle = original(when, callback, *args, **options)
            # each loop has one of the two call the other
            if name == "call_later":
                made[id(handle)] = when, handle
            else:
                made.setdefault(id(handle), (None, handle))
            return handle

        monkeypatch.setattr(loop, name, record)

    recording("call_at")
    recording("call_later")
    return made


def pending(timers, delay=None):
    """Timers that may still fire, all or those of one delay."""
    return [
        handle
        for its_delay, handle in timers.values()
        if not handle.cancelled() and delay in (None, its_delay)
    ]


async def test_one_timer(connect, timers):
    """Time-outs that are never reached cost one timer for all, and none is left."""
    conn = await connect(max_cached_statement_lifetime=0)
    await conn.fetchval("SELECT $1::int", 1)
    timers.clear()
    for _ in range(50):
        await conn.fetchval("SELECT $1::int", 1, timeout=LONG)
    await asyncio.gather(
        *(conn.fetch("SELECT $1::int", n, timeout=LONG + n) for n in range(50))
    )
    assert len(timers) == 1
    await conn.close()
    assert pending(timers) == []


async def test_no_timer_without_timeouts(connect, timers):
    """A call without a time-out makes no timer."""
    conn = await connect(max_cached_statement_lifetime=0)
    await conn.fetchval("SELECT $1::int", 1)
    timers.clear()
    for _ in range(5):
        await conn.fetchval("SELECT $1::int", 1)
        await conn.execute("SELECT 1")
    assert timers == {}


async def test_every_cancelled_call_has_the_whole_limit(conn, observer, timers):
    """The time that the server has to end a call is counted from its cancellation."""
    for _ in range(2):
        with Gate(observer) as gate:
            with pytest.raises(TimeoutError):
                await call(conn, gate, "fetchval", SHORT)
            await assert_whole(conn, observer)
        limit = chopin.aio.CANCEL_TIMEOUT
        assert any(delay == limit for delay, _ in timers.values())
        assert pending(timers, limit) == [], "the limit of what has ended still runs"


async def test_in_a_block(conn, observer):
    """A time-out in a block aborts it; the block cannot be gone on with unseen."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    async with patience():
        for is_first in (True, False):
            with Gate(observer) as gate:
                with pytest.raises(chopin.InFailedSQLTransactionError):
                    async with conn.transaction():
                        if not is_first:
                            await conn.execute("INSERT INTO t VALUES (1)")
                        with pytest.raises(TimeoutError):
                            await call(conn, gate, "fetchval", SHORT)
                        await conn.execute("INSERT INTO t VALUES (2)")
            await assert_whole(conn, observer)
    assert await conn.fetch("SELECT a FROM t") == []


# -- a server that does nothing --------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["fetch", "execute", "executemany", "statement.fetch"]
)
async def test_frozen_server(method, conn, observer, short_drain):
    """Calls return at their time; the connection ends within its limit."""
    before = Surroundings()
    with Gate(observer) as gate:
        with gate.ajar():
            await call(conn, gate, method, None)
            statement = await conn.prepare(f"SELECT $1::int FROM {gate.sql}")
        async with patience():
            with frozen(conn.get_server_pid()):
                if method == "statement.fetch":
                    attempt = statement.fetch(1, timeout=SHORT)
                else:
                    attempt = call(conn, gate, method, SHORT)
                with pytest.raises(TimeoutError):
                    await attempt
                # whoever comes now waits for the end, which is not for ever
                with pytest.raises(ENDED, match="closed"):
                    await conn.fetch("SELECT $1::int", 1)
                await ended(conn)
                await before.check()


async def test_frozen_server_that_does_not_read(conn, short_drain):
    """An execute-many that the server does not take in ends at its time."""
    await conn.execute("CREATE TEMP TABLE t (a text)")
    async with patience():
        await conn.executemany("INSERT INTO t VALUES ($1)", [("x",)])
        before = Surroundings()
        with frozen(conn.get_server_pid()):
            rows = ((BIG,) for _ in range(100))
            with pytest.raises(TimeoutError):
                await conn.executemany("INSERT INTO t VALUES ($1)", rows, timeout=SHORT)
            await ended(conn)
            await before.check()


@pytest.mark.parametrize("transport", ["unix", "tcp", "tls"])
@pytest.mark.parametrize("timeout", [None, SHORT])
@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
async def test_close_of_a_frozen_server(
    is_busy, timeout, transport, connect, dsn, tcp_dsn, server, short_drain
):
    """`close` ends the connection, in its time or in that of the limit."""
    if transport == "tls" and not server.binaries.has_tls:
        pytest.skip("this server was built without TLS")
    if transport == "tls" and timeout is None:
        pytest.skip("TLS says goodbye by itself, within asyncio's own limit of 30 s")
    before = Surroundings()
    options = {"unix": {}, "tcp": {"ssl": "disable"}, "tls": {"ssl": "require"}}
    conn = await connect(dsn if transport == "unix" else tcp_dsn, **options[transport])
    task = None
    async with patience():
        with frozen(conn.get_server_pid()):
            if is_busy:
                task = asyncio.create_task(conn.fetch("SELECT 1"))
                await asyncio.sleep(0)
            try:
                await conn.close(timeout=timeout)
            except TimeoutError:
                assert timeout is not None
            assert conn.is_closed()
            if task is not None:
                with pytest.raises(ENDED):
                    await task
            await before.check()


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_close_while_a_cancel_request_hangs(how, connect, tcp_dsn, observer):
    """What is left of a cancellation goes with the connection."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        with Gate(observer) as gate:
            tasks = asyncio.all_tasks()
            proxy.may_cancel.clear()
            with pytest.raises(TimeoutError):
                await call(conn, gate, "fetchval", SHORT)
            await proxy.until_cancels(1)
            if how == "close":
                with pytest.raises(TimeoutError):
                    await conn.close(timeout=SHORT)
            else:
                conn.terminate()
            assert conn.is_closed()
            for _ in range(10):
                await asyncio.sleep(0)
            left = [
                task
                for task in asyncio.all_tasks() - tasks
                if "chopin" in task.get_coro().cr_code.co_filename
            ]
            assert left == []


async def test_lost_cancel_request(connect, tcp_dsn, observer, short_drain):
    """When the request to stop does not get through, the connection ends."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        with Gate(observer) as gate:
            proxy.may_cancel.clear()
            async with patience():
                with pytest.raises(TimeoutError):
                    await call(conn, gate, "fetchval", SHORT)
                await ended(conn)
            proxy.may_cancel.set()


# -- connecting ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timeout", "connect_timeout"])
@pytest.mark.parametrize("after", [0, 1, 20, 200])
async def test_of_connecting(name, after, tcp_dsn):
    """A server that falls silent at any place of the start is given up."""
    faults = Faults(after=after, action="stall")
    async with FaultProxy(tcp_dsn, to_client=faults) as proxy:
        sockets = Surroundings()
        async with patience():
            with pytest.raises(TimeoutError):
                await chopin.connect(proxy.dsn, ssl="disable", **{name: 0.1})
        await proxy.stop()
        await sockets.check()


async def test_no_time_to_connect(tcp_dsn):
    """With no time left there is no connection."""
    before = Surroundings()
    for timeout in (0, 0.000001):
        with pytest.raises((TimeoutError, ValueError)):
            await chopin.connect(tcp_dsn, ssl="disable", timeout=timeout)
    await before.check()


async def test_backend_of_a_timed_out_call(conn, observer):
    """The server has really stopped, not only been forgotten."""
    with Gate(observer) as gate:
        with pytest.raises(TimeoutError):
            await call(conn, gate, "fetch", SHORT)
        idle = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s"
        await until(observer, idle, conn.get_server_pid())


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_end_of_a_block_of_a_frozen_server(end, connect, short_drain):
    """`command_timeout` is for COMMIT and ROLLBACK, too: a block cannot hang."""
    conn = await connect(command_timeout=SHORT)
    async with patience():
        with contextlib.ExitStack() as stack:
            with pytest.raises((TimeoutError, chopin.ConnectionDoesNotExistError)):
                async with conn.transaction():
                    await conn.execute("SELECT 1")
                    stack.enter_context(frozen(conn.get_server_pid()))
                    if end == "rollback":
                        raise ZeroDivisionError
            await ended(conn)
