"""Cancellation: at every await of every operation, in storms, and of what is queued.

After a cancelled call the connection is usable or closed, never in between: the next
calls get their own results, no transaction is open that nobody knows of, and no task
and no socket is left.
"""

import asyncio
import contextlib
import itertools
import random
import signal

import pytest

import chopin
from tests.support.await_points import WHEN, Surroundings, cancel_at
from tests.support.backends import Gate, assert_whole, until
from tests.support.faultproxy import FaultProxy

# More suspensions than any operation here has: a series that is longer never ends.
MOST_SUSPENSIONS = 200
MANY_ROWS = 3000
BIG_VALUE = "x" * 8000
BIG_MANY = 60  # values of that size: several chunks of execute-many
SEEDS = (1, 2, 3)
STORM = 300

numbers = itertools.count(1)


@contextlib.contextmanager
def stuck_for(seconds):
    """Fail, and do not hang, where the event loop gets no turn any more."""

    def ring(*_):
        raise AssertionError(f"the event loop was stuck for {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def marks(observer):
    """Counts the rows of a number in the table ``marks (number int, text text)``.

    The table stays: dropping it would wait for a session that a failed test has left.
    """
    observer.execute("SET lock_timeout = '5s'")
    observer.execute(
        "CREATE UNLOGGED TABLE IF NOT EXISTS marks (number int, text text)"
    )
    return lambda number: observer.execute(
        "SELECT count(*) FROM marks WHERE number = %s", [number]
    ).fetchone()[0]


# -- the operations, each with a number that nothing else has ------------------------


class Run:
    """One run of an operation.

    Attributes:
        conn: where it runs.
        number: for its values.
        is_leaving: whether it has come to the end of its transaction.
    """

    def __init__(self, conn):
        self.conn = conn
        self.number = next(numbers)
        self.is_leaving = False

    async def mark(self, text=""):
        await self.conn.execute("INSERT INTO marks VALUES ($1, $2)", self.number, text)


async def fetch_first(run):
    """Not prepared yet."""
    rows = await run.conn.fetch(f"SELECT $1::int, {run.number}", run.number)
    assert rows == [(run.number, run.number)]


async def fetch_cached(run):
    """Prepared, after the first run."""
    assert await run.conn.fetch("SELECT $1::int AS n", run.number) == [(run.number,)]


async def fetch_many_rows(run):
    """An answer that comes in several reads."""
    rows = await run.conn.fetch(
        "SELECT $1::int, i, repeat('x', 100) FROM generate_series(1, $2::int) AS i",
        run.number,
        MANY_ROWS,
    )
    assert len(rows) == MANY_ROWS and rows[-1][:2] == (run.number, MANY_ROWS)


async def fetchrow(run):
    """A row of many, so that the portal is suspended."""
    row = await run.conn.fetchrow(
        "SELECT $1::int FROM generate_series(1, 9)", run.number
    )
    assert row == (run.number,)


async def fetchval(run):
    """Also of a text that is new."""
    value = await run.conn.fetchval(f"SELECT $1::int + {run.number} * 0", run.number)
    assert value == run.number


async def execute_simple(run):
    """Several statements as text."""
    sql = f"SELECT {run.number}; SELECT 1; SELECT generate_series(1, {run.number % 7})"
    assert await run.conn.execute(sql) == f"SELECT {run.number % 7}"


async def execute_with_args(run):
    """A statement with parameters."""
    await run.mark()


async def executemany_small(run):
    """All in one write."""
    rows = [(run.number, "a"), (run.number, "b")]
    await run.conn.executemany("INSERT INTO marks VALUES ($1, $2)", rows)


async def executemany_large(run):
    """Written in several chunks."""
    rows = ((run.number, BIG_VALUE) for _ in range(BIG_MANY))
    await run.conn.executemany("INSERT INTO marks VALUES ($1, $2)", rows)


async def fetchmany(run):
    """Execute-many with rows."""
    rows = await run.conn.fetchmany(
        "INSERT INTO marks VALUES ($1, $2) RETURNING number", [(run.number, "")] * 3
    )
    assert rows == [(run.number,)] * 3


async def executemany_lazily(run):
    """Rows that have to be waited for."""

    async def rows():
        for _ in range(3):
            await asyncio.sleep(0)
            yield run.number, ""

    await run.conn.executemany("INSERT INTO marks VALUES ($1, $2)", rows())


async def batch_first(run):
    """Statements that are not prepared yet."""
    mark = f"INSERT INTO marks VALUES ($1, '{run.number}')"
    results = await run.conn.batch([(mark, run.number), f"SELECT {run.number}"])
    assert results[1] == [(run.number,)]


async def batch_cached(run):
    """Statements that are prepared, after the first run."""
    mark = ("INSERT INTO marks VALUES ($1, $2)", run.number, "")
    await run.conn.batch([mark, "SELECT generate_series(1, 1000)", mark])


async def script(run):
    """Several statements as text, with their results."""
    mark = f"INSERT INTO marks VALUES ({run.number})"
    results = await run.conn.script(f"{mark}; SELECT {run.number}; {mark}")
    assert results[1] == [(run.number,)]


async def pipeline(run):
    """Statements by themselves, new and prepared ones; one of them writes."""
    async with run.conn.pipeline() as p:
        new = p.fetchval(f"SELECT {run.number}")
        p.execute("INSERT INTO marks VALUES ($1, $2)", run.number, "")
        assert await new == run.number
        last = p.fetchval("SELECT $1::int", run.number)
    assert last.result() == run.number


async def pipeline_group(run):
    """A group, all or nothing."""
    async with run.conn.pipeline(barrier="group") as p:
        for text in ("a", "b"):
            p.execute("INSERT INTO marks VALUES ($1, $2)", run.number, text)
        new = p.fetchval(f"SELECT {run.number}")
    assert new.result() == run.number


async def transaction_batch(run):
    """A block whose first statements are a batch."""
    async with run.conn.transaction():
        await batch_first(run)
        run.is_leaving = True


async def transaction_pipeline(run):
    """A block in a pipeline, which waits for what was queued."""
    async with run.conn.pipeline() as p:
        async with run.conn.transaction():
            p.execute(f"INSERT INTO marks VALUES ({run.number})")
            p.execute("INSERT INTO marks VALUES ($1, $2)", run.number, "")
            run.is_leaving = True


async def transaction_commit(run):
    """A block with two statements."""
    async with run.conn.transaction():
        await run.mark()
        await run.mark()
        run.is_leaving = True


async def transaction_first_use(run):
    """A block whose first statement is prepared in it."""
    async with run.conn.transaction():
        await run.conn.fetch(f"INSERT INTO marks VALUES ({run.number}) RETURNING 1")
        await run.mark()
        run.is_leaving = True


async def transaction_simple(run):
    """A block whose first statement is text."""
    async with run.conn.transaction():
        await run.conn.execute(f"INSERT INTO marks VALUES ({run.number})")
        await run.conn.execute(f"INSERT INTO marks VALUES ({run.number})")
        run.is_leaving = True


async def transaction_many(run):
    """A block whose first statement is an execute-many of several chunks."""
    async with run.conn.transaction():
        rows = ((run.number, BIG_VALUE) for _ in range(BIG_MANY))
        await run.conn.executemany("INSERT INTO marks VALUES ($1, $2)", rows)
        run.is_leaving = True


async def transaction_rollback(run):
    """A block that is left by an exception."""
    with contextlib.suppress(ZeroDivisionError):
        async with run.conn.transaction():
            await run.mark()
            raise ZeroDivisionError


async def transaction_nested(run):
    """Blocks in a block: one that is released, one that is rolled back."""
    conn = run.conn
    async with conn.transaction(isolation="serializable"):
        await run.mark()
        async with conn.transaction():
            await run.mark()
        with contextlib.suppress(ZeroDivisionError):
            async with conn.transaction():
                await run.mark()
                raise ZeroDivisionError
        await run.mark()
        run.is_leaving = True


async def transaction_by_hand(run):
    """start, commit and rollback."""
    for end in ("commit", "rollback"):
        block = run.conn.transaction()
        await block.start()
        try:
            await run.mark()
        except BaseException:
            await block.rollback()
            raise
        run.is_leaving = True
        await getattr(block, end)()


async def prepare(run):
    """A statement that the user holds, of a type that has to be looked up."""
    statement = await run.conn.prepare(f"SELECT $1::int, {run.number}, NULL::pg_class")
    assert await statement.fetch(run.number) == [(run.number, run.number, None)]
    assert await statement.fetchval(run.number + 1) == run.number + 1


async def cursor_iteration(run):
    """Several portions, the later ones read ahead."""
    got = []
    async with run.conn.transaction():
        sql = "SELECT i + $1::int FROM generate_series(1, 23) AS i"
        async for row in run.conn.cursor(sql, run.number, prefetch=5):
            got.append(row[0] - run.number)
    assert got == list(range(1, 24))


async def cursor_left(run):
    """An iteration that is left while a portion is on its way."""
    async with run.conn.transaction():
        sql = "SELECT i + $1::int FROM generate_series(1, 23) AS i"
        async for row in run.conn.cursor(sql, run.number, prefetch=5):
            if row[0] == run.number + 12:
                break
        assert await run.conn.fetchval("SELECT $1::int", run.number) == run.number


async def cursor_by_hand(run):
    """fetch, fetchrow and forward."""
    async with run.conn.transaction():
        cursor = await run.conn.cursor("SELECT generate_series(1, $1::int)", 20)
        assert await cursor.fetch(3) == [(1,), (2,), (3,)]
        assert await cursor.forward(4) == 4
        assert await cursor.fetchrow() == (8,)
        assert len(await cursor.fetch(50)) == 12


async def reset(run):
    """Within a block that was begun by hand."""
    await run.conn.execute("BEGIN")
    try:
        await run.mark()
    finally:
        await run.conn.reset()


async def close(run):
    """A goodbye in order."""
    await run.conn.close()


ALL = {
    operation.__name__: operation
    for operation in (
        fetch_first,
        fetch_cached,
        fetch_many_rows,
        fetchrow,
        fetchval,
        execute_simple,
        execute_with_args,
        executemany_small,
        executemany_large,
        executemany_lazily,
        fetchmany,
        batch_first,
        batch_cached,
        script,
        pipeline,
        pipeline_group,
        transaction_batch,
        transaction_pipeline,
        transaction_commit,
        transaction_first_use,
        transaction_simple,
        transaction_many,
        transaction_rollback,
        transaction_nested,
        transaction_by_hand,
        prepare,
        cursor_iteration,
        cursor_left,
        cursor_by_hand,
        reset,
        close,
    )
}
# Operations whose rows are there at the end, if they have run undisturbed.
ROWS = {
    "execute_with_args": 1,
    "executemany_small": 2,
    "executemany_large": BIG_MANY,
    "executemany_lazily": 3,
    "fetchmany": 3,
    "batch_first": 1,
    "batch_cached": 2,
    "script": 2,
    "pipeline": 1,
    "pipeline_group": 2,
    "transaction_batch": 1,
    "transaction_pipeline": 2,
    "transaction_commit": 2,
    "transaction_first_use": 2,
    "transaction_simple": 2,
    "transaction_many": BIG_MANY,
    "transaction_nested": 3,
    "transaction_by_hand": 1,
}
# Where a cancellation may meet a ROLLBACK, whose failure ends the connection; or calls
# of a block that are not sent yet at its end.
MAY_CLOSE = {
    "transaction_pipeline",
    "transaction_rollback",
    "transaction_nested",
    "transaction_by_hand",
    "close",
}


async def every_suspension(name, when, connect, observer, marks, second=None):
    """Cancel the operation at each of its suspensions, and `second` ones later."""
    conn = await connect()
    for number in range(1, MOST_SUSPENSIONS):
        run = Run(conn)
        before = Surroundings()
        places = {number} if second is None else {number, number + second}
        is_cancelled = await cancel_at(places, ALL[name](run), when)
        if name == "reset" and is_cancelled:
            await conn.reset()  # what was left to do
        await assert_whole(conn, observer)
        await before.check()
        rows = ROWS.get(name, 0)
        if not is_cancelled:
            assert marks(run.number) == rows
            return number
        if name.startswith("transaction") and not run.is_leaving:
            rows = 0
        assert marks(run.number) in (0, rows)
        if conn.is_closed():
            assert name in MAY_CLOSE or second is not None
            conn = await connect()
    raise AssertionError(f"{name} never came to its end")


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", ALL)
async def test_at_every_await(name, when, connect, observer, marks, tidy):
    """Wherever an operation is cancelled, nothing is left in between."""
    for _ in range(50):
        suspensions = await every_suspension(name, when, connect, observer, marks)
        if suspensions > 1:
            break  # else the answer was quicker than the cancellation
    if name == "reset":
        # of the block that was begun by hand, and forgotten
        assert all("active transaction" in e["message"] for e in tidy.loop_errors)
        tidy.loop_errors.clear()
    assert suspensions > 1, "nothing was cancelled"


@pytest.mark.parametrize("second", [1, 2])
@pytest.mark.parametrize(
    "name", [name for name in ALL if name[:5] in ("trans", "curso")]
)
async def test_again_while_cleaning_up(name, second, connect, observer, marks):
    """A second cancellation may hit what the first one has made necessary."""
    await every_suspension(name, "waiting", connect, observer, marks, second)


# -- connecting ------------------------------------------------------------------------


@pytest.fixture(params=["trust", "scram", "md5", "tls", "tls-scram"])
def way(request, server, application_name, passwords):
    """How to connect: DSN and options."""
    user, options = "postgres", {"ssl": "disable"}
    if request.param.startswith("tls"):
        if not server.binaries.has_tls:
            pytest.skip("this server was built without TLS")
        options = {"ssl": "require"}
    for method in ("scram", "md5"):
        if method in request.param:
            user = f"{method}_user"
            options["password"] = passwords[user]
    place = f"{user}@127.0.0.1:{server.port}/postgres"
    return f"postgresql://{place}?application_name={application_name}", options


@pytest.mark.parametrize("when", WHEN)
async def test_connect_at_every_await(when, way):
    """A cancelled connect leaves nothing, on neither side."""
    dsn, options = way
    made = []

    async def connect():
        made.append(await chopin.connect(dsn, **options))

    for number in range(1, MOST_SUSPENSIONS):
        before = Surroundings()
        is_cancelled = await cancel_at({number}, connect(), when)
        if is_cancelled:
            assert made == []
        else:
            assert number > 2
            assert await made[0].fetchval("SELECT 7") == 7
            await made[0].close()
        await before.check()
        if not is_cancelled:
            break


# -- while the server works on it ------------------------------------------------------


async def run_at_gate(conn, gate, method):
    """An operation that waits at the gate on the server."""
    if method in ("fetch", "fetchrow", "fetchval"):
        await getattr(conn, method)(f"SELECT $1::int FROM {gate.sql}", 1)
    elif method == "execute":
        await conn.execute(f"SELECT 1; SELECT 2 FROM {gate.sql}; SELECT 3")
    elif method == "execute with args":
        await conn.execute(f"SELECT $1::int FROM {gate.sql}", 1)
    elif method in ("executemany", "fetchmany"):
        keys = [(1,), (gate.key,), (2,)]
        await getattr(conn, method)("SELECT 1 FROM pg_advisory_xact_lock($1)", keys)
    elif method == "transaction":
        async with conn.transaction():
            await conn.fetch(f"SELECT 1 FROM {gate.sql}")
    elif method == "statement":
        statement = await conn.prepare(f"SELECT $1::int FROM {gate.sql}")
        await statement.fetch(1)
    else:
        row = f"CASE i WHEN 12 THEN {gate.sql}::text END"
        sql = f"SELECT {row} FROM generate_series(1, 20) AS i"
        async with conn.transaction():
            if method == "cursor":
                cursor = await conn.cursor(sql)
                await cursor.fetch(5)
                await cursor.fetch(10)
            else:
                async for _ in conn.cursor(sql, prefetch=5):
                    pass


METHODS = (
    "fetch",
    "fetchrow",
    "fetchval",
    "execute",
    "execute with args",
    "executemany",
    "fetchmany",
    "transaction",
    "statement",
    "cursor",
    "iteration",
)


@pytest.mark.parametrize("method", METHODS)
async def test_stops_the_server(method, conn, observer):
    """A call that the server is working on is stopped there, too."""
    for _ in range(2):
        before = Surroundings()
        with Gate(observer) as gate:
            task = asyncio.create_task(run_at_gate(conn, gate, method))
            await gate.reached()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # the gate is still shut: only its end can let the next ones through
            await assert_whole(conn, observer)
        assert not conn.is_closed()
        await before.check()


@pytest.mark.parametrize("method", ["prepare", "fetch"])
async def test_stops_the_server_while_it_parses(method, conn, observer, marks):
    """A Parse that waits for a table is stopped, and the statement works later."""
    sql = "SELECT text FROM marks WHERE false"
    pid = conn.get_server_pid()
    with observer.transaction():
        observer.execute("LOCK TABLE marks")
        task = asyncio.create_task(getattr(conn, method)(sql))
        waiting = "SELECT count(*) = 1 FROM pg_locks WHERE pid = %s AND NOT granted"
        await until(observer, waiting, pid)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_whole(conn, observer)
    assert await conn.fetch(sql) == []
    statement = await conn.prepare(sql)
    assert await statement.fetch() == []


def slow_commit(observer, request):
    """A gate in the COMMIT of whoever inserts into the table ``checked``."""
    gate = Gate(observer)
    observer.execute(
        "CREATE TABLE checked (number int);"
        "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$BEGIN PERFORM {gate.sql}; RETURN NULL; END$$;"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON checked"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_gate()"
    )
    request.addfinalizer(
        lambda: observer.execute("DROP TABLE checked; DROP FUNCTION wait_at_gate()")
    )
    return gate


async def checked_block(conn):
    """A block whose COMMIT waits at the gate of `slow_commit`."""
    async with conn.transaction():
        await conn.execute("INSERT INTO checked VALUES (1)")


async def test_commit_that_the_server_works_on(conn, observer, request):
    """A commit that is stopped has undone its block, and the connection knows."""
    with slow_commit(observer, request) as gate:
        task = asyncio.create_task(checked_block(conn))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_whole(conn, observer)
        assert not conn.is_closed()
        assert await conn.fetch("SELECT number FROM checked") == []


# -- several at once -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fetch", "fetchval", "execute", "statement"])
async def test_queued_behind_a_cancelled_one(method, conn, observer):
    """Who was sent behind a call that is cancelled gets an own result."""
    statement = await conn.prepare("SELECT $1::int AS n")
    calls = {
        "fetch": (lambda n: conn.fetch("SELECT $1::int", n), lambda n: [(n,)]),
        "fetchval": (lambda n: conn.fetchval("SELECT $1::int", n), lambda n: n),
        "execute": (lambda n: conn.execute("SELECT 1"), lambda n: "SELECT 1"),
        "statement": (statement.fetchval, lambda n: n),
    }
    call, answer = calls[method]
    with Gate(observer) as gate:
        slow = asyncio.create_task(conn.fetch(f"SELECT 1 FROM {gate.sql}"))
        await gate.reached()
        queued = [asyncio.create_task(call(n)) for n in range(5)]
        await asyncio.sleep(0)
        slow.cancel()
        later = [asyncio.create_task(call(n)) for n in range(5, 10)]
        assert await asyncio.gather(*queued, *later) == [answer(n) for n in range(10)]
        assert slow.cancelled()
        await assert_whole(conn, observer)


async def test_a_queued_one_is_cancelled(conn, observer):
    """Who is cancelled behind another call does not stop that one."""
    with Gate(observer) as gate:
        slow = asyncio.create_task(conn.fetchval(f"SELECT 7 FROM {gate.sql}"))
        await gate.reached()
        queued = [
            asyncio.create_task(conn.fetchval("SELECT $1::int", n)) for n in (1, 2)
        ]
        await asyncio.sleep(0)
        queued[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued[0]
        later = asyncio.create_task(conn.fetchval("SELECT $1::int", 3))
        await asyncio.sleep(0)
        assert not slow.done()
        gate.open()
        assert await asyncio.gather(slow, queued[1], later) == [7, 2, 3]
    await assert_whole(conn, observer)


async def call_at_gate(conn, gate, method):
    """A call that waits at the gate; its answer is 7."""
    sql = f"SELECT 7 FROM {gate.sql}"
    if method == "fetchval":
        return await conn.fetchval(sql)
    if method == "execute":
        return (await conn.execute(sql)) == "SELECT 1" and 7
    if method == "executemany":
        await conn.executemany("SELECT pg_advisory_xact_lock($1)", [(gate.key,)])
        return 7
    if method == "fetchmany":
        sql = "SELECT 7 FROM pg_advisory_xact_lock($1)"
        return (await conn.fetchmany(sql, [(gate.key,)]))[0][0]
    raise ValueError(method)


@pytest.mark.parametrize("method", ["fetchval", "execute", "executemany", "fetchmany"])
async def test_late_cancel_request(method, connect, tcp_dsn, observer):
    """A cancel request that comes too late hits nobody who did not ask for it.

    The one behind the cancelled call is being worked on when the request arrives.
    """
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        with Gate(observer) as first, Gate(observer) as second:
            with second.ajar():
                # known to the session, so that the next call of it is sent at once
                assert await call_at_gate(conn, second, method) == 7
            slow = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {first.sql}"))
            await first.reached()
            behind = asyncio.create_task(call_at_gate(conn, second, method))
            await asyncio.sleep(0)
            proxy.may_cancel.clear()
            slow.cancel()
            await proxy.until_cancels(1)
            first.open()
            await second.reached()
            proxy.may_cancel.set()
            await proxy.until_cancels_ended(1)
            second.open()
            assert await behind == 7
        await assert_whole(conn, observer)
        await conn.close()


@pytest.mark.parametrize("method", ["prepare", "fetchval"])
async def test_late_cancel_request_for_a_statement_that_is_held(
    method, connect, tcp_dsn, observer, marks
):
    """Neither its Parse nor its execution is hit, while one waits for a lock."""
    sql = "SELECT 7 WHERE NOT EXISTS (SELECT FROM marks WHERE false)"
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        held = await conn.prepare(sql)
        with Gate(observer) as first:
            slow = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {first.sql}"))
            await first.reached()
            with observer.transaction():
                observer.execute("LOCK TABLE marks")
                call = conn.prepare(sql) if method == "prepare" else held.fetchval()
                behind = asyncio.create_task(call)
                await asyncio.sleep(0)
                proxy.may_cancel.clear()
                slow.cancel()
                await proxy.until_cancels(1)
                first.open()
                waits = (
                    "SELECT count(*) = 1 FROM pg_locks WHERE pid = %s AND NOT granted"
                )
                await until(
                    observer, waits + " AND relation > 0", conn.get_server_pid()
                )
                proxy.may_cancel.set()
                await proxy.until_cancels_ended(1)
            answer = await behind
            assert (await answer.fetchval() if method == "prepare" else answer) == 7
        await assert_whole(conn, observer)
        await conn.close()


@pytest.mark.parametrize("n", [1, 300])
@pytest.mark.parametrize("is_slow", [True, False])
async def test_late_cancel_request_while_rows_are_made(
    is_slow, n, connect, tcp_dsn, observer
):
    """An execute-many that begins to be written meanwhile waits for its end."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        with Gate(observer) as first, Gate(observer) as second:
            sql = f"SELECT $1::text FROM {second.sql}"
            with second.ajar():
                await conn.fetchmany(sql, [("x",)])
            slow = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {first.sql}"))
            await first.reached()
            is_asked, may_go_on = asyncio.Event(), asyncio.Event()
            proxy.may_cancel.clear()

            def rows():
                slow.cancel()
                yield from [("x" * 300,)] * n

            async def slow_rows():
                is_asked.set()
                await may_go_on.wait()
                for row in rows():
                    yield row

            args = slow_rows() if is_slow else rows()
            behind = asyncio.create_task(conn.fetchmany(sql, args))
            if is_slow:
                await is_asked.wait()
                may_go_on.set()
            await proxy.until_cancels(1)
            first.open()
            idle = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s"
            await until(observer, idle, conn.get_server_pid())
            proxy.may_cancel.set()
            await proxy.until_cancels_ended(1)
            second.open()
            assert len(await behind) == n
        await assert_whole(conn, observer)
        await conn.close()


async def taken_at_gate(conn, gate, method):
    """What takes its rows from the user, or gives them away before its end; 3 rows."""
    query = (
        f"SELECT CASE n WHEN 3 THEN pg_advisory_xact_lock_shared({gate.key})::text"
        " ELSE repeat('x', 20000) END FROM generate_series(1, 3) AS n"
    )
    if method == "executemany":
        return await conn.executemany(
            "SELECT pg_advisory_xact_lock_shared($1)", iter([(gate.key,)] * 3)
        )
    if method == "executemany in parts":
        rows = ((gate.key, "x" * 30_000) for _ in range(3))
        return await conn.executemany(
            "SELECT $2::text FROM pg_advisory_xact_lock_shared($1)", rows
        )
    if method == "copy records":
        records = [(n,) for n in range(3)]
        status = await conn.copy_records_to_table(
            "gated", records=records, columns=["a"]
        )
        return int(status.split()[1])
    if method == "copy bytes in":
        status = await conn.copy_to_table("gated", source=b"1\n2\n3\n", columns=["a"])
        return int(status.split()[1])
    if method == "copy bytes out":
        chunks = [chunk async for chunk in conn.copy_out(query, format="csv")]
        return b"".join(chunks).count(b"\n")
    if method == "copy rows out":
        return len([_ async for _ in conn.copy_out(query)])
    if method == "stream":
        return len([_ async for _ in conn.stream(query)])
    raise ValueError(method)


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize(
    "method",
    [
        "executemany",
        "executemany in parts",
        "copy records",
        "copy bytes in",
        "copy bytes out",
        "copy rows out",
        "stream",
    ],
)
async def test_late_cancel_request_for_what_cannot_be_repeated(
    method, begins, connect, tcp_dsn, observer
):
    """What could not be sent once more waits until nothing is ahead of it."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        with Gate(observer) as first, Gate(observer) as second:
            await conn.execute(
                "CREATE TEMP TABLE gated (a int, b text DEFAULT"
                f" pg_advisory_xact_lock_shared({second.key})::text)"
            )
            with second.ajar():
                assert await taken_at_gate(conn, second, method) == 3
            slow = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {first.sql}"))
            await first.reached()
            if begins:
                block = conn.transaction()
                await block.start()
            behind = asyncio.create_task(taken_at_gate(conn, second, method))
            await asyncio.sleep(0.01)
            proxy.may_cancel.clear()
            slow.cancel()
            await proxy.until_cancels(1)
            first.open()
            waits = (
                "SELECT state LIKE 'idle%%' OR EXISTS (SELECT FROM pg_locks AS l"
                " WHERE l.objid = %s AND l.pid = a.pid AND NOT granted)"
                " FROM pg_stat_activity AS a WHERE pid = %s"
            )
            await until(observer, waits, second.key, conn.get_server_pid())
            proxy.may_cancel.set()
            await proxy.until_cancels_ended(1)
            second.open()
            assert await behind == 3
            if begins:
                await block.commit()
        await assert_whole(conn, observer)
        await conn.close()


@pytest.mark.parametrize("method", ["execute", "fetch"])
async def test_late_cancel_request_for_what_has_committed(
    method, connect, tcp_dsn, observer, marks
):
    """What commits in its middle is never run twice, whatever else becomes of it."""
    number = next(numbers)
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        with Gate(observer) as first, Gate(observer) as second:
            sql = (
                f"DO $$BEGIN INSERT INTO marks VALUES ({number}); COMMIT;"
                f" PERFORM {second.sql}; END$$"
            )
            with second.ajar():
                await conn.fetch(sql)  # known, so that the next one is sent at once
            observer.execute("DELETE FROM marks WHERE number = %s", [number])
            slow = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {first.sql}"))
            await first.reached()
            behind = asyncio.create_task(getattr(conn, method)(sql))
            for _ in range(5):
                await asyncio.sleep(0)
            proxy.may_cancel.clear()
            slow.cancel()
            await proxy.until_cancels(1)
            first.open()
            await second.reached()
            proxy.may_cancel.set()
            await proxy.until_cancels_ended(1)
            second.open()
            with contextlib.suppress(chopin.QueryCanceledError):
                await behind
        await assert_whole(conn, observer)
        assert marks(number) == 1
        await conn.close()


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_end_behind_a_cancelled_sibling(end, connect, tcp_dsn, observer, marks):
    """A block is cancelled while its end waits for a cancelled call to be over."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        run = Run(conn)
        may_end = asyncio.Event()

        async def block():
            async with conn.transaction():
                await run.mark()
                await may_end.wait()
                if end == "rollback":
                    raise ZeroDivisionError

        with Gate(observer) as gate:
            task = asyncio.create_task(block())
            await asyncio.sleep(0)
            sibling = asyncio.create_task(conn.fetch(f"SELECT 1 FROM {gate.sql}"))
            await gate.reached()
            proxy.may_cancel.clear()
            sibling.cancel()
            await proxy.until_cancels(1)
            may_end.set()
            for _ in range(3):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.may_cancel.set()
            await assert_whole(conn, observer)
        assert marks(run.number) == 0
        await conn.close()


async def test_new_block_behind_a_cancelled_commit(conn, observer, request):
    """A block may begin at once, while the COMMIT of another is still being stopped."""
    with slow_commit(observer, request) as gate:
        task = asyncio.create_task(checked_block(conn))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with conn.transaction():
            assert await conn.fetch("SELECT number FROM checked") == []
        await assert_whole(conn, observer)


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nope", "SELECT 1; SELEC 2"])
async def test_block_whose_first_text_fails(sql, conn, observer, marks):
    """What comes behind a failed first statement is in the block, or refused."""
    run = Run(conn)
    with pytest.raises((ZeroDivisionError, chopin.InFailedSQLTransactionError)):
        async with conn.transaction():
            with pytest.raises(chopin.PostgresError):
                await conn.execute(sql)
            await run.mark()
            raise ZeroDivisionError
    assert marks(run.number) == 0
    await assert_whole(conn, observer)


FIRST = {
    "execute": lambda conn: conn.execute("SELEC 1"),
    "script": lambda conn: conn.script("SELEC 1"),
    "fetch": lambda conn: conn.fetch("SELECT 1 / $1::int", 0),
}


async def cancelled(call):
    """Cancel a call that has been sent and not been answered."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, chopin.PostgresError):
        await task


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("first", FIRST)
async def test_block_whose_first_call_is_cancelled(first, depth, conn, observer, marks):
    """What comes behind it is in the block, though its BEGIN may not have run."""
    run = Run(conn)
    with pytest.raises((ZeroDivisionError, chopin.InFailedSQLTransactionError)):
        async with conn.transaction():
            if depth == 1:
                await cancelled(FIRST[first](conn))
            else:
                with contextlib.suppress(ZeroDivisionError):
                    async with conn.transaction():
                        await cancelled(FIRST[first](conn))
                        raise ZeroDivisionError
            await run.mark()
            raise ZeroDivisionError
    assert marks(run.number) == 0
    await assert_whole(conn, observer)


async def test_block_that_ends_while_its_begin_fails(conn, observer, tidy):
    """Its BEGIN does not ride again, on what comes behind the block."""
    block = conn.transaction()
    await block.start()
    first = asyncio.create_task(conn.execute("SELEC 1"))
    end = asyncio.create_task(block.rollback())
    await asyncio.sleep(0)
    end.cancel()
    await asyncio.gather(first, end, return_exceptions=True)
    await conn.execute("SELECT 1")
    assert not conn.is_in_transaction()
    await assert_whole(conn, observer)
    tidy.loop_errors.clear()


async def test_close_behind_a_cancelled_call(connect, tcp_dsn, observer):
    """A stream that waits for it to be over does not keep a connection open."""
    async with FaultProxy(tcp_dsn) as proxy:
        conn = await connect(proxy.dsn, ssl="disable")
        await conn.fetch("SELECT 1")  # known: nothing of it need be asked
        with Gate(observer) as gate:
            slow = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {gate.sql}"))
            await gate.reached()

            async def read():
                return [row async for row in conn.stream("SELECT 1")]

            reading = asyncio.create_task(read())
            await asyncio.sleep(0)
            proxy.may_cancel.clear()
            slow.cancel()
            await proxy.until_cancels(1)
            gate.open()
            idle = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s"
            await until(observer, idle, conn.get_server_pid())
            with stuck_for(10):
                closing = asyncio.create_task(conn.close(timeout=20))
                await asyncio.sleep(0)
                proxy.may_cancel.set()
                await closing
            with pytest.raises(chopin.InterfaceError, match="connection is closed"):
                await reading
        assert conn.is_closed()


async def test_reset_behind_a_cancelled_begin(conn, observer, tidy):
    """What a cancelled call has begun is seen by the reset that comes after it."""
    task = asyncio.create_task(conn.execute("BEGIN"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await conn.reset()
    await assert_whole(conn, observer)
    tidy.loop_errors.clear()  # a forgotten block may be complained of


@pytest.mark.parametrize("seed", SEEDS)
async def test_storm(seed, conn, observer):
    """Many calls at once on one connection, cancelled at random: all that are not get
    their own results.
    """
    dice = random.Random(seed)
    before = Surroundings()
    statement = await conn.prepare("SELECT $1::int, pg_sleep($2::float8)")

    async def call(n):
        kind = dice.randrange(7)
        nap = dice.choice((0, 0, 0, 0.001))
        if kind == 0:
            return await conn.fetchval("SELECT $1::int, pg_sleep($2::float8)", n, nap)
        if kind == 1:
            return (await conn.fetch(f"SELECT {n}, $1::int", n))[0][1]
        if kind == 2:
            assert (
                await conn.execute(f"SELECT pg_sleep({nap}); SELECT {n}") == "SELECT 1"
            )
        elif kind == 3:
            return await statement.fetchval(n, nap)
        elif kind == 4:
            await conn.executemany("SELECT $1::int", [(n,), (n,)])
        elif kind == 5:
            rows = await conn.fetchmany("SELECT $1::int", [(n,), (n + 1,)])
            assert rows == [(n,), (n + 1,)]
        else:
            sql = "SELECT $1::int FROM generate_series(1, 100)"
            assert await conn.fetch(sql, n) == [(n,)] * 100
        return n

    tasks = [asyncio.create_task(call(n)) for n in range(STORM)]
    cancelled = set(dice.sample(range(STORM), STORM // 3))
    for n in sorted(cancelled, key=lambda n: dice.random()):
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        tasks[n].cancel()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    for n, answer in enumerate(got):
        if not isinstance(answer, asyncio.CancelledError):
            assert answer == n, (n, n in cancelled)
        assert n in cancelled or answer == n
    assert not conn.is_closed()
    await assert_whole(conn, observer)
    await before.check()


async def test_cursor_bound_beside_an_execute_many(conn, observer, marks):
    """A cursor that is made while an execute-many is being written disturbs neither."""
    sql = "INSERT INTO marks VALUES ($1, $2)"
    number = next(numbers)
    async with conn.transaction():
        await conn.executemany(sql, [(number, "first")])
        rows = ((number, BIG_VALUE) for _ in range(500))

        async def cursor():
            made = await conn.cursor("SELECT generate_series(1, 3)")
            return await made.fetch(5)

        got, _ = await asyncio.gather(cursor(), conn.executemany(sql, rows))
        assert got == [(1,), (2,), (3,)]
    assert marks(number) == 501
    await assert_whole(conn, observer)


async def test_siblings_of_one_answer(conn, observer):
    """One task cancels another whose answer has come in the same read."""

    async def first(tasks):
        await conn.fetchval("SELECT $1::int", 1)
        for task in tasks[:3]:
            task.cancel()

    for _ in range(20):
        others = []
        ahead = asyncio.create_task(first(others))
        others += [
            asyncio.create_task(conn.fetchval("SELECT $1::int", n)) for n in range(5)
        ]
        await ahead
        got = await asyncio.gather(*others, return_exceptions=True)
        assert [type(error) for error in got[:3]] == [asyncio.CancelledError] * 3
        assert got[3:] == [3, 4]
        await assert_whole(conn, observer)
