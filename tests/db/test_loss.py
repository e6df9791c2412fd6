"""Loss: sessions that are terminated, killed, cut off or spoiled at any place.

Whatever happens to the connection, a call ends with an error of its own, the connection
knows that it is closed, its termination listener is called once, and nothing is left.
"""

import asyncio
import contextlib
import os
import signal

import psycopg
import pytest

import chopin
import chopin.aio
from chopin.testing import TemporaryServer
from tests.support.await_points import Surroundings
from tests.support.backends import Gate, assert_whole, frozen, until, until_gone
from tests.support.faultproxy import ACTIONS, FaultProxy, Faults

IN_THE_MIDDLE = "connection was closed in the middle of operation"
CLOSED = "^connection is closed$"
PATIENCE_S = 20
HANGING_S = 3  # much longer than all time-outs of a session together
BIG = "x" * 100_000
# How a session may end while something is asked of it, and what the server says of it.
ENDS = {
    "terminate": "terminating connection due to administrator command",
    "kill": None,
    "drop": None,
    "reset": None,
}


class Listener:
    """Counts the calls of a termination listener."""

    def __init__(self, conn):
        self.calls = []
        self.over = asyncio.Event()
        conn.add_termination_listener(self.called)

    def called(self, conn):
        self.calls.append(conn)
        self.over.set()

    async def wait(self, conn):
        """Wait for the end; nobody has been told twice."""
        async with asyncio.timeout(PATIENCE_S):
            await self.over.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.calls == [conn]


async def assert_closed(conn):
    """Every call says that the connection is closed; closing it again is harmless."""
    assert conn.is_closed()
    for attempt in (
        lambda: conn.fetch("SELECT 1"),
        lambda: conn.fetchval("SELECT $1::int", 1),
        lambda: conn.execute("SELECT 1"),
        lambda: conn.executemany("SELECT $1::int", [(1,)]),
        lambda: conn.batch(["SELECT 1"]),
        lambda: conn.batch([]),
        lambda: conn.script("SELECT 1"),
        lambda: conn.pipeline().__aenter__(),
        lambda: conn.prepare("SELECT 1"),
        lambda: conn.reset(),
        lambda: conn.transaction().start(),
    ):
        with pytest.raises(chopin.InterfaceError, match=CLOSED):
            await attempt()
    await conn.close()
    conn.terminate()


async def call(conn, gate, method):
    """A call that waits at the gate."""
    sql = f"SELECT $1::int FROM {gate.sql}"
    if method == "fetch":
        await conn.fetch(sql, 1)
    elif method == "execute":
        await conn.execute(f"SELECT 1; SELECT 2 FROM {gate.sql}")
    elif method == "executemany":
        await conn.executemany(sql, [(1,), (2,)])
    elif method == "batch":
        await conn.batch(["SELECT 1", (sql, 1), "SELECT 2"])
    elif method == "script":
        await conn.script(f"SELECT 1; SELECT 2 FROM {gate.sql}")
    elif method == "pipeline":
        async with conn.pipeline() as p:
            p.fetch("SELECT 1")
            p.fetch(sql, 1)
            p.fetch("SELECT 2")
    elif method == "statement":
        await (await conn.prepare(sql)).fetch(1)
    elif method == "transaction":
        async with conn.transaction():
            await conn.execute("SELECT 1")
            async with conn.transaction():
                await conn.fetch(sql, 1)
    else:
        async with conn.transaction():
            async for _ in conn.cursor(sql, 1):
                pass


def end_session(how, pid, observer, proxy):
    """Have the session end without its client."""
    if how == "terminate":
        observer.execute("SELECT pg_terminate_backend(%s)", [pid])
    else:
        proxy.break_all(how)


@pytest.mark.parametrize("how", ["terminate", "drop", "reset"])
@pytest.mark.parametrize(
    "method",
    [
        "fetch",
        "execute",
        "executemany",
        "batch",
        "script",
        "pipeline",
        "statement",
        "transaction",
        "cursor",
    ],
)
async def test_in_the_middle(method, how, connect, tcp_dsn, observer):
    """A call that is being worked on says that it was cut off, and why, if known."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        listener = Listener(conn)
        with Gate(observer) as gate:
            task = asyncio.create_task(call(conn, gate, method))
            await gate.reached()
            queued = asyncio.create_task(conn.fetch("SELECT 1"))
            await asyncio.sleep(0)
            end_session(how, conn.get_server_pid(), observer, proxy)
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(chopin.ConnectionDoesNotExistError) as caught:
                    await task
                with pytest.raises(
                    (chopin.PostgresError, chopin.InterfaceError)
                ) as other:
                    await queued
            await listener.wait(conn)
        reason = ENDS[how]
        text = IN_THE_MIDDLE + (f": {reason}" if reason else "")
        assert str(caught.value) == text
        assert caught.value.sqlstate == "08003"
        assert "closed" in str(other.value)
        if how == "terminate":
            assert isinstance(caught.value.__cause__, chopin.AdminShutdownError)
        elif how == "reset":
            assert isinstance(caught.value.__cause__, ConnectionResetError)
        await assert_closed(conn)
        assert len(listener.calls) == 1


async def test_idle(conn, observer):
    """An idle connection notices its end by itself."""
    listener = Listener(conn)
    observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
    await listener.wait(conn)
    await assert_closed(conn)


async def test_idle_and_used_at_once(conn, observer):
    """A call that is made before the end could be noticed is told of it."""
    pid = conn.get_server_pid()
    observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(chopin.ConnectionDoesNotExistError, match=IN_THE_MIDDLE):
        await conn.fetchval("SELECT 1")
    await assert_closed(conn)


async def test_idle_in_a_transaction(conn, observer):
    """A block whose connection has gone ends with the error that says so."""
    listener = Listener(conn)
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        async with conn.transaction():
            await conn.execute("SELECT 1")
            observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
            await listener.wait(conn)
            await conn.execute("SELECT 1")
    await assert_closed(conn)


@pytest.mark.parametrize("how", ["drop", "reset"])
async def test_idle_and_cut_off(how, connect, tcp_dsn):
    """Whoever uses it next has done nothing wrong, and may try another connection."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        listener = Listener(conn)
        proxy.break_all(how)
        await listener.wait(conn)
        with pytest.raises(chopin.InterfaceError, match=CLOSED) as caught:
            await conn.execute("SELECT 1")
        assert caught.value.kind == "transient"
        assert isinstance(caught.value.__cause__, ConnectionError)


async def test_closed_by_its_user(conn):
    """That is a mistake, which another connection would not cure."""
    await conn.close()
    with pytest.raises(chopin.InterfaceError, match=CLOSED) as caught:
        await conn.execute("SELECT 1")
    assert caught.value.kind == "client"


async def test_user_error_in_a_lost_block(conn, observer):
    """The user's exception goes through a block whose connection has gone."""
    listener = Listener(conn)
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.execute("SELECT 1")
            observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
            await listener.wait(conn)
            raise ZeroDivisionError
    await assert_closed(conn)


async def test_commit_of_a_lost_block(conn, observer):
    """A block that cannot be committed does not end as if it were."""
    listener = Listener(conn)
    with pytest.raises(chopin.InterfaceError):
        async with conn.transaction():
            await conn.execute("SELECT 1")
            observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
            await listener.wait(conn)
    await assert_closed(conn)


async def test_lost_while_cancelling(connect, tcp_dsn, observer):
    """A connection that goes while a call is being cancelled is closed, that is all."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        listener = Listener(conn)
        with Gate(observer) as gate:
            task = asyncio.create_task(call(conn, gate, "fetch"))
            await gate.reached()
            proxy.may_cancel.clear()
            task.cancel()
            waiting = asyncio.create_task(conn.fetch("SELECT 1"))
            await proxy.until_cancels(1)
            proxy.break_all("reset")
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises((chopin.PostgresError, chopin.InterfaceError)):
                    await waiting
            await listener.wait(conn)
        await assert_closed(conn)


async def test_lost_while_an_execute_many_is_written(conn, observer):
    """The end of the connection between two chunks is an error like any other."""
    listener = Listener(conn)
    await conn.execute("CREATE TEMP TABLE t (a text)")

    def rows():
        for number in range(2000):
            if number == 5:
                pid = conn.get_server_pid()
                observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            yield (BIG,)

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises((chopin.ConnectionDoesNotExistError, chopin.InterfaceError)):
            await conn.executemany("INSERT INTO t VALUES ($1)", rows())
    await listener.wait(conn)
    await assert_closed(conn)


async def test_terminate_while_an_execute_many_is_written(conn):
    """So is the user's own `terminate`, called by the iterable itself."""
    await conn.execute("CREATE TEMP TABLE t (a text)")
    listener = Listener(conn)

    def rows():
        for number in range(2000):
            if number == 500:
                conn.terminate()
            yield (BIG,)

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises((chopin.ConnectionDoesNotExistError, chopin.InterfaceError)):
            await conn.executemany("INSERT INTO t VALUES ($1)", rows())
    await listener.wait(conn)
    await assert_closed(conn)


async def test_server_that_reports_an_error_while_an_execute_many_is_written(conn):
    """An error in the first row comes while the others are being written."""
    await conn.execute("CREATE TEMP TABLE t (a text CHECK (a <> ''))")
    rows = [("",), *[(BIG,)] * 200]
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(chopin.CheckViolationError):
            await conn.executemany("INSERT INTO t VALUES ($1)", rows)
    assert await conn.fetch("SELECT a FROM t") == []


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_own_end_in_the_middle(how, conn, observer):
    """Who closes a connection under a call ends the call; it is told once."""
    listener = Listener(conn)
    with Gate(observer) as gate:
        task = asyncio.create_task(call(conn, gate, "fetch"))
        queued = asyncio.create_task(conn.fetch("SELECT 1"))
        await gate.reached()
        if how == "close":
            await conn.close()
        else:
            conn.terminate()
        for ended in (task, queued):
            with pytest.raises((chopin.InterfaceError, chopin.PostgresError)) as caught:
                await ended
            assert "closed" in str(caught.value)
    await listener.wait(conn)
    await assert_closed(conn)


async def test_close_twice_at_once(conn):
    """Two tasks may close the same connection."""
    listener = Listener(conn)
    await asyncio.gather(conn.close(), conn.close(), conn.close(timeout=5))
    await listener.wait(conn)
    await assert_closed(conn)


# -- a server of the test's own: it is killed and started again ------------------------


@pytest.fixture
def own_server(server):
    """A server that a test may kill."""
    with TemporaryServer(bindir=server.binaries.bindir) as own:
        yield own


async def test_server_goes(own_server):
    """Whatever the server dies of, its connections end, and new ones can be made."""
    for how in ("stop", "immediate", "kill", "kill a backend"):
        before = Surroundings()
        conns = [await chopin.connect(own_server.dsn) for _ in range(2)]
        listeners = [Listener(conn) for conn in conns]
        await conns[0].fetchval("SELECT 1")
        busy = asyncio.create_task(conns[0].fetch("SELECT pg_sleep(60), $1::int", 1))
        with psycopg.connect(own_server.dsn, autocommit=True) as watcher:
            sleeping = (
                "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
            )
            await until(watcher, sleeping, conns[0].get_server_pid())
        if how == "kill a backend":
            os.kill(conns[0].get_server_pid(), signal.SIGKILL)
        elif how == "kill":
            await asyncio.to_thread(own_server.kill)
        else:
            mode = "fast" if how == "stop" else how
            await asyncio.to_thread(own_server.stop, mode)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(chopin.ConnectionDoesNotExistError, match=IN_THE_MIDDLE):
                await busy
            for conn, listener in zip(conns, listeners, strict=True):
                await listener.wait(conn)
                await assert_closed(conn)
        await before.check()
        if not own_server.is_running:
            with pytest.raises(OSError):
                await chopin.connect(own_server.dsn)
            await asyncio.to_thread(own_server.start)


# -- a network that breaks at a given byte ---------------------------------------------


async def session(dsn, **options):
    """A short life with something of everything; returns what it saw."""
    seen = []
    conn = await chopin.connect(dsn, ssl="disable", **options)
    try:
        await conn.execute("CREATE TEMP TABLE t (a int, b text)")
        async with conn.transaction():
            await conn.executemany(
                "INSERT INTO t VALUES ($1, $2)", [(1, "x"), (2, "y")]
            )
        seen.append(await conn.fetch("SELECT a, b FROM t WHERE a < $1", 5))
        seen.append(await conn.fetch("SELECT a, b FROM t WHERE a < $1", 5))
        seen.append(await conn.fetchval("SELECT array_agg(a) FROM t"))
        seen.append(await conn.fetchrow("SELECT * FROM generate_series(1, 9) AS i"))
        seen.append(await conn.execute("DELETE FROM t WHERE a = 1; SELECT 1"))
        seen.append(await conn.fetchmany("SELECT $1::int", [(1,), (2,)]))
        statement = await conn.prepare("SELECT $1::text")
        seen.append(await statement.fetchval("z"))
        with contextlib.suppress(chopin.DivisionByZeroError):
            await conn.fetch("SELECT 1/0")
            seen.append("no error")
        async with conn.transaction():
            async for row in conn.cursor("SELECT generate_series(1, 5)", prefetch=2):
                seen.append(row[0])
        seen += await asyncio.gather(
            *(conn.fetchval("SELECT $1::int + 1", n) for n in range(3))
        )
    finally:
        conn.terminate()
    return seen


SEEN = [
    [(1, "x"), (2, "y")],
    [(1, "x"), (2, "y")],
    [1, 2],
    (1,),
    "SELECT 1",
    [(1,), (2,)],
    "z",
    *range(1, 6),
    *range(1, 4),
]


@pytest.mark.parametrize("way", ["to_client", "to_server"])
async def test_one_byte_at_a_time(way, tcp_dsn):
    """How the bytes are cut up changes nothing."""
    async with FaultProxy(tcp_dsn, **{way: Faults(at_a_time=1)}) as proxy:
        assert await session(proxy.dsn) == SEEN


@pytest.mark.parametrize("size", [2, 3, 7])
async def test_few_bytes_at_a_time(size, tcp_dsn):
    """Nor do other cuts."""
    async with FaultProxy(tcp_dsn, to_client=Faults(at_a_time=size)) as proxy:
        assert await session(proxy.dsn) == SEEN


def places(total, count):
    """About `count` positions of `total` bytes, the first ones all."""
    return [*range(6), *range(6, total, max(total // count, 1))]


@pytest.fixture
async def replies(tcp_dsn):
    """How many bytes the server sends in a `session`."""
    async with FaultProxy(tcp_dsn) as proxy:
        assert await session(proxy.dsn) == SEEN
        return proxy.passed


LOSSES = (
    chopin.ConnectionDoesNotExistError,
    chopin.InterfaceError,
    OSError,  # while connecting
)


@pytest.mark.parametrize("action", [a for a in ACTIONS if a != "stall"])
@pytest.mark.parametrize("way", ["to_client", "to_server"])
async def test_break_at_every_place(way, action, tcp_dsn, replies, server):
    """Wherever a connection breaks, the call that is under way ends with an error."""
    is_exhaustive = server.binaries.major == 16
    count = 40 if is_exhaustive else 4
    async with FaultProxy(tcp_dsn) as proxy:
        for after in places(replies if way == "to_client" else 1500, count):
            setattr(proxy, way, Faults(after=after, action=action))
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(LOSSES) as caught:
                    await session(proxy.dsn)
            assert not isinstance(caught.value, TimeoutError)


async def test_stall_at_every_place(tcp_dsn, replies, server, monkeypatch):
    """Wherever a connection falls silent, time-outs end the call and the connection."""
    monkeypatch.setattr(chopin.aio, "CANCEL_TIMEOUT", 0.02)
    count = 8 if server.binaries.major == 16 else 3
    async with FaultProxy(tcp_dsn) as proxy:
        for after in places(replies, count)[5:]:
            proxy.to_client = Faults(after=after, action="stall")
            guard = asyncio.timeout(HANGING_S)
            with pytest.raises((TimeoutError, *LOSSES)):
                async with guard:
                    await session(proxy.dsn, timeout=0.1, command_timeout=0.02)
            assert not guard.expired(), (
                f"hangs when it falls silent after {after} bytes"
            )


# What a byte that was inverted may lead to; never to anything else, nor to silence.
SPOILT = (
    chopin.PostgresError,
    chopin.InterfaceError,
    chopin.InternalClientError,
    OSError,
    TimeoutError,
    UnicodeDecodeError,
)


async def test_spoilt_byte_at_every_place(tcp_dsn, replies, server, monkeypatch):
    """A byte that is wrong makes a wrong value or an error, and no call hangs.

    A length that is too large makes the session wait for more: hence the time-outs.
    """
    monkeypatch.setattr(chopin.aio, "CANCEL_TIMEOUT", 0.02)
    count = 80 if server.binaries.major == 16 else 10
    odd = {}
    async with FaultProxy(tcp_dsn) as proxy:
        for position in places(replies, count):
            proxy.to_client = Faults(corrupt=position)
            guard = asyncio.timeout(HANGING_S)
            try:
                async with guard:
                    await session(proxy.dsn, timeout=0.2, command_timeout=0.05)
            except SPOILT:
                if guard.expired():
                    odd.setdefault("hangs", []).append(position)
            except Exception as error:
                odd.setdefault(repr(error), []).append(position)
    assert odd == {}


# -- COPY where nobody copies ----------------------------------------------------------


@pytest.fixture
async def table(conn):
    """A temporary table ``t`` with five rows."""
    await conn.execute("CREATE TEMP TABLE t AS SELECT generate_series(1, 5) AS a")


@pytest.mark.parametrize(
    "method", ["fetch", "fetchrow", "fetchval", "execute", "prepared"]
)
async def test_copy_in(method, conn, table, observer):
    """COPY FROM STDIN in a call without data ends with an error, also in a block."""

    async def attempt():
        sql = "COPY t FROM STDIN"
        if method == "prepared":
            return await (await conn.prepare(sql)).fetch()
        return await getattr(conn, method)(sql)

    for _ in range(2):
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(chopin.QueryCanceledError, match="no data to copy"):
                await attempt()
        await assert_whole(conn, observer)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(chopin.QueryCanceledError, match="no data to copy"):
                async with conn.transaction():
                    await attempt()
        await assert_whole(conn, observer)
    assert not conn.is_closed()
    assert await conn.fetchval("SELECT count(*) FROM t") == 5


@pytest.mark.parametrize(
    "method", ["fetch", "fetchrow", "fetchval", "execute", "prepared"]
)
async def test_copy_out(method, conn, table, observer):
    """COPY TO STDOUT in a call that takes no data is drained."""
    sql = "COPY t TO STDOUT"
    answers = {"fetch": [], "prepared": [], "execute": "COPY 5"}
    for _ in range(2):
        async with asyncio.timeout(PATIENCE_S):
            if method == "prepared":
                got = await (await conn.prepare(sql)).fetch()
            else:
                got = await getattr(conn, method)(sql)
        assert got == answers.get(method)
        await assert_whole(conn, observer)
    assert not conn.is_closed()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("sql", ["COPY t FROM STDIN", "COPY t TO STDOUT"])
async def test_copy_in_execute_many(sql, count, conn, table, observer):
    """So it is in an execute-many; the server may end the session for it."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(chopin.PostgresError):
            await conn.executemany(sql, [()] * count)
            assert sql.endswith("STDOUT")
        await assert_whole(conn, observer)


@pytest.mark.parametrize("sql", ["COPY t FROM STDIN", "COPY t TO STDOUT"])
async def test_copy_beside_others(sql, conn, table, observer):
    """Calls that were sent behind a COPY end, with their answer or an error."""
    async with asyncio.timeout(PATIENCE_S):
        got = await asyncio.gather(
            conn.fetchval("SELECT $1::int", 1),
            conn.execute(sql),
            *(conn.fetchval("SELECT $1::int", n) for n in (2, 3)),
            return_exceptions=True,
        )
        assert got[0] == 1
        for n in (2, 3):
            if isinstance(got[n], Exception):
                assert conn.is_closed()
            else:
                assert got[n] == n
        await assert_whole(conn, observer)


async def test_cancelled_copy_out(conn, observer):
    """A COPY that is drained can be cancelled, like everything else."""
    task = asyncio.create_task(
        conn.execute("COPY (SELECT generate_series(1, 100000000)) TO STDOUT")
    )
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_whole(conn, observer)
    assert not conn.is_closed()


async def test_killed_while_frozen(conn, observer):
    """A server process that goes while it does nothing is noticed."""
    listener = Listener(conn)
    pid = conn.get_server_pid()
    with frozen(pid):
        task = asyncio.create_task(conn.fetch("SELECT 1"))
        await asyncio.sleep(0)
        observer.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(chopin.ConnectionDoesNotExistError, match=IN_THE_MIDDLE):
        await task
    await listener.wait(conn)
    await until_gone(observer, pid)
    await assert_closed(conn)
