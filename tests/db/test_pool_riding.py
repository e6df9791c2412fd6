"""Riding: which single queries share a connection that is busy, and which never do.

What has a rider is seen on the wire, with the server's replies withheld: a rider's
messages are sent behind those of the head before anything is answered. All of that is
begun in one turn of the loop, so that no rule but the one in question can forbid it.
"""

import asyncio
import contextlib
import itertools

import pytest

import chopin
from tests.support.backends import until
from tests.support.pools import PATIENCE_S, borrowed, patience, turns
from tests.support.poolwatch import assert_recovered, looked, sessions, until_rides
from tests.support.proxy import recorded

READ = "SELECT $1::int AS n"
RIDERS = 5
DEEP = 1000
LONG_S = 0.02  # longer than anybody may join those who wait

numbers = itertools.count(1)


@pytest.fixture
async def pool(create):
    """A pool of one connection that many may share, in which `READ` rides."""
    pool = await create(max_size=1, pipeline_depth=DEEP)
    await until_rides(pool, READ, 0)
    return pool


@pytest.fixture
def table(observer):
    """A table of one row ``(id 1, n 5)`` of the test's own."""
    name = f"ride_{next(numbers)}"
    observer.execute(f"DROP TABLE IF EXISTS {name}")
    observer.execute(f"CREATE TABLE {name} AS SELECT 1 AS id, 5 AS n")
    yield name
    observer.execute("SET lock_timeout = '5s'")
    observer.execute(f"DROP TABLE {name}")


@contextlib.asynccontextmanager
async def wired(tcp_dsn, **options):
    """A pool of one connection through a `Wire`, in which `READ` rides."""

    async def open_pool(dsn, **more):
        options.setdefault("pipeline_depth", DEEP)
        return await chopin.create_pool(dsn, min_size=0, max_size=1, **options, **more)

    async with recorded(open_pool, tcp_dsn) as (pool, wire):
        if options.get("pipeline_depth") != 1:
            await until_rides(pool, READ, 0)
        yield pool, wire


async def riders_of(head, pool, wire):
    """How many of `RIDERS` reads ride when they begin in the same turn as `head`.

    The others stand in line; what was sent is as many groups. All get their answers.
    """
    assert await looked(lambda: pool.get_idle_size() == 1)
    await turns(20)
    wire.clear()
    before = pool.stats()
    with wire.withheld():
        tasks = [asyncio.ensure_future(head)]
        tasks += [asyncio.ensure_future(pool.fetchval(READ, n)) for n in range(RIDERS)]
        await turns(20)
        rides = pool.stats().rides - before.rides
        assert pool.stats().waiting == RIDERS - rides
        assert await looked(lambda: groups(wire) >= 1 + rides)
        await turns(20)
        assert groups(wire) == 1 + rides
    async with patience():
        results = await asyncio.gather(*tasks)
    assert results[1:] == list(range(RIDERS))
    return rides


async def until_blocked(observer, table):
    """Wait until somebody waits for a lock of the table."""
    waits = (
        "SELECT count(*) > 0 FROM pg_locks"
        " WHERE relation = %s::regclass AND NOT granted"
    )
    await until(observer, waits, table)


def groups(wire):
    """How many questions were sent."""
    return wire.kinds.count("S") + wire.kinds.count("Q")


# -- who has riders --------------------------------------------------------------------


async def test_fast_reads_ride(tcp_dsn):
    """Reads that are known to be fast are sent behind each other."""
    async with wired(tcp_dsn) as (pool, wire):
        for _ in range(20):
            # a process that was stopped in between may have waited for too long
            if await riders_of(pool.fetchval(READ, 7), pool, wire) == RIDERS:
                return
        raise AssertionError(f"they do not all ride: {pool.stats()}")


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchval", "execute"])
async def test_methods(method, pool):
    """Each method that runs one statement may ride, and gets what it always gets."""
    wanted = {
        "fetch": [(3,)],
        "fetchrow": (3,),
        "fetchval": 3,
        "execute": "SELECT 1",
    }[method]
    for _ in range(50):
        before = pool.stats().rides
        results = await asyncio.gather(
            *(getattr(pool, method)(READ, 3) for _ in range(RIDERS))
        )
        assert results == [wanted] * RIDERS
        if pool.stats().rides > before:
            return
    raise AssertionError(f"{method} never rides")


async def test_results_are_not_mixed_up(pool):
    """Riders of one statement and of others get the answers to their own arguments."""
    texts = "SELECT $1::text AS t"
    rows = "SELECT $1::int AS a, g FROM generate_series(1, $2::int) AS g"
    await until_rides(pool, texts, "x")
    await until_rides(pool, rows, 1, 2)
    before = pool.stats().rides

    async def one(n):
        for i in range(n, n + 20):
            assert await pool.fetchval(READ, i) == i
            assert await pool.fetchval(texts, f"t{i}") == f"t{i}"
            count = i % 7
            got = await pool.fetch(rows, i, count)
            assert got == [(i, g) for g in range(1, count + 1)]

    async with patience():
        await asyncio.gather(*(one(100 * n) for n in range(50)))
    assert pool.stats().rides > before
    assert pool.get_size() == 1


HEADS = {
    "a write": "UPDATE {table} SET n = n + 1",
    "a write that returns": "UPDATE {table} SET n = n + 1 RETURNING n",
    "FOR UPDATE": "SELECT n FROM {table} FOR UPDATE",
    "FOR KEY SHARE": "SELECT n FROM {table} FOR KEY SHARE",
    "set_config": "SELECT set_config('storm.x', '1', false)",
    "a setting": "SET statement_timeout = '1min'",
    "an advisory lock": "SELECT pg_advisory_lock(5)",
    "an advisory lock of a block": "SELECT pg_advisory_xact_lock(5)",
    "nextval": "SELECT nextval('{table}_s')",
    "a notification": "SELECT pg_notify('x', 'y')",
    "a temporary table": "CREATE TEMP TABLE x AS SELECT 1",
    "SELECT INTO": "SELECT 1 AS n INTO TEMP y",
    "a WITH that writes": "WITH w AS (UPDATE {table} SET n = 3 RETURNING 1) TABLE w",
    "a function of the user's": "SELECT {table}_f()",
    "LISTEN": "LISTEN x",
    "EXPLAIN": "EXPLAIN SELECT 1",
    "several statements": "SELECT 1; SELECT 2",
}


@pytest.mark.parametrize("how", ["once", "often"])
async def test_what_has_no_riders(how, tcp_dsn, table, observer):
    """Nothing is sent behind what is not a plain read, however well it is known."""
    observer.execute(f"CREATE SEQUENCE {table}_s OWNED BY {table}.n")
    observer.execute(
        f"CREATE FUNCTION {table}_f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    had = {}
    try:
        async with wired(tcp_dsn) as (pool, wire):
            for name, sql in HEADS.items():
                sql = sql.format(table=table)
                run = pool.execute if ";" in sql else pool.fetch
                for _ in range(8 if how == "often" and "TEMP" not in sql else 0):
                    await run(sql)
                if rides := await riders_of(run(sql), pool, wire):
                    had[name] = rides
    finally:
        observer.execute(f"DROP FUNCTION {table}_f()")
    assert had == {}


async def test_first_time(tcp_dsn):
    """A read that nobody has run before has the connection to itself."""
    async with wired(tcp_dsn) as (pool, wire):
        sql = f"SELECT $1::int + {next(numbers)} * 0"
        assert await riders_of(pool.fetchval(sql, 7), pool, wire) == 0


async def test_first_time_does_not_ride(pool, observer, table):
    """Nor does it share the connection with those that are known."""
    rides = pool.stats().rides
    tasks = [pool.fetchval(READ, 1)]
    tasks += [pool.fetchval(f"SELECT $1::int + {n}", 1) for n in range(RIDERS)]
    assert await asyncio.gather(*tasks) == [1, *range(1, RIDERS + 1)]
    assert pool.stats().rides == rides


async def test_slow(pool):
    """A slow read has no riders, and is none, however often it was run."""
    slow = "SELECT count(*) FROM generate_series(1, $1::int) AS g"
    size = 200_000
    for _ in range(5):
        assert await pool.fetchval(slow, size) == size
    rides = pool.stats().rides
    for _ in range(3):
        tasks = [pool.fetchval(slow, size) for _ in range(3)]
        assert await asyncio.gather(*tasks) == [size] * 3
    assert pool.stats().rides == rides


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_cut_off_is_not_fast(how, pool, table, observer):
    """A slow read that did not come to its end, however often, is not known as fast."""
    slow = f"SELECT n + 0 * $1::int FROM {table}"
    with observer.transaction():
        observer.execute(f"LOCK TABLE {table}")
        first = asyncio.ensure_future(pool.fetchval(slow, 1))
        await asyncio.sleep(LONG_S)
    assert await first == 5
    with observer.transaction():
        observer.execute(f"LOCK TABLE {table}")
        for _ in range(8):
            timeout = 0.003 if how == "timed out" else None
            task = asyncio.ensure_future(pool.fetchval(slow, 1, timeout=timeout))
            if how == "cancelled":  # the time may be over before anybody can look
                await until_blocked(observer, table)
                task.cancel()
            with pytest.raises((asyncio.CancelledError, TimeoutError)):
                await task
            assert await looked(lambda: pool.get_idle_size() == 1)
        rides = pool.stats().rides
        head = asyncio.ensure_future(pool.fetchval(slow, 1))
        riders = [asyncio.ensure_future(pool.fetchval(READ, n)) for n in range(RIDERS)]
        await turns(10)
        had = pool.stats().rides - rides
    async with patience():
        assert await head == 5
        assert await asyncio.gather(*riders) == list(range(RIDERS))
    assert had == 0


async def test_long_wait(pool, table, observer):
    """Nobody joins those who have been waiting for a while."""
    sql = f"SELECT n + 0 * $1::int FROM {table}"
    await until_rides(pool, sql, 1)
    with observer.transaction():
        observer.execute(f"LOCK TABLE {table}")
        head = asyncio.ensure_future(pool.fetchval(sql, 1))
        await asyncio.sleep(LONG_S)
        rides = pool.stats().rides
        late = [asyncio.ensure_future(pool.fetchval(READ, n)) for n in range(RIDERS)]
        await turns(10)
        assert (pool.stats().rides, pool.stats().waiting) == (rides, RIDERS)
    async with patience():
        assert await head == 5
        assert await asyncio.gather(*late) == list(range(RIDERS))


@pytest.mark.parametrize("is_in_block", [False, True])
async def test_acquired(is_in_block, tcp_dsn):
    """A connection that somebody has acquired has no riders, idle or in a block."""
    async with wired(tcp_dsn) as (pool, wire):
        async with borrowed(pool) as conn:
            block = conn.transaction()
            if is_in_block:
                await block.start()
            assert await conn.fetchval(READ, 1) == 1
            wire.clear()
            rides = pool.stats().rides
            tasks = [
                asyncio.ensure_future(pool.fetchval(READ, n)) for n in range(RIDERS)
            ]
            with wire.withheld():
                own = asyncio.ensure_future(conn.fetchval(READ, 8))
                await turns(20)
                assert await looked(lambda: groups(wire) == 1)
                assert (pool.stats().rides, pool.stats().waiting) == (rides, RIDERS)
            assert await own == 8
            if is_in_block:
                await block.rollback()
        async with patience():
            assert await asyncio.gather(*tasks) == list(range(RIDERS))


async def acquired_elsewhere(pool):
    """A connection that a task which has ended meanwhile has acquired."""

    async def acquire():
        return await pool.acquire()

    return await asyncio.create_task(acquire())


async def test_depth(tcp_dsn):
    """No more share a connection than `pipeline_depth`; with 1, nobody does."""
    for depth in (1, 2, 4):
        async with wired(tcp_dsn, pipeline_depth=depth) as (pool, wire):
            for _ in range(20):
                await pool.fetchval(READ, 1)
            most = 0
            for _ in range(20):
                most = max(most, await riders_of(pool.fetchval(READ, 1), pool, wire))
            assert most == depth - 1


async def test_a_place_that_is_free_is_filled(create):
    """Those who stand in line ride as soon as there is room, and none is forgotten."""
    pool = await create(max_size=1, pipeline_depth=3)
    await until_rides(pool, READ, 0)
    rides = pool.stats().rides
    async with patience():
        got = await asyncio.gather(*(pool.fetchval(READ, n) for n in range(200)))
    assert got == list(range(200))
    assert pool.stats().rides > rides + 3


# -- riders and each other -------------------------------------------------------------


@pytest.mark.parametrize("is_head_hit", [False, True])
async def test_each_for_himself(
    is_head_hit, pool, table, observer, application_name, monkeypatch
):
    """An error, a cancellation or a time-out of some touches none of the others."""
    # however slow the machine is, the head has not been waiting for long
    monkeypatch.setattr("chopin._looppool.LONG_WAIT", 60.0)
    sql = f"SELECT 100 / $1::int FROM {table} WHERE id = 1"
    await until_rides(pool, sql, 1)
    rides = pool.stats().rides
    cancelled = set(range(0 if is_head_hit else 1, 100, 10))
    timed_out = set(range(3, 100, 10))
    failing = set(range(5, 100, 10))
    with observer.transaction():
        observer.execute(f"LOCK TABLE {table}")
        tasks = [
            asyncio.ensure_future(
                pool.fetchval(
                    sql,
                    0 if n in failing else n + 1,
                    timeout=0.02 if n in timed_out else None,
                )
            )
            for n in range(100)
        ]
        await turns(10)
        assert pool.stats().rides > rides
        await until_blocked(observer, table)
        for n in cancelled:
            tasks[n].cancel()
        await asyncio.wait([tasks[n] for n in cancelled | timed_out])
    async with patience():
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for n, result in enumerate(results):
        if n in cancelled:
            assert isinstance(result, asyncio.CancelledError), (n, result)
        elif n in timed_out:
            assert isinstance(result, TimeoutError), (n, result)
        elif n in failing:
            assert isinstance(result, chopin.DivisionByZeroError), (n, result)
        else:
            assert result == 100 // (n + 1), (n, result)
    assert pool.stats().opened == 1
    await assert_recovered(pool, observer, application_name, size=1)


async def test_lost_under_riders(pool, table, observer, application_name):
    """Riders whose connection is lost are told so; the pool goes on."""
    sql = f"SELECT n + $1::int FROM {table}"
    await until_rides(pool, sql, 1)
    with observer.transaction():
        observer.execute(f"LOCK TABLE {table}")
        tasks = [asyncio.ensure_future(pool.fetchval(sql, n)) for n in range(RIDERS)]
        await turns(10)
        for pid, *_ in sessions(observer, application_name):
            observer.execute("SELECT pg_terminate_backend(%s)", [pid])
        async with patience():
            results = await asyncio.gather(*tasks, return_exceptions=True)
    for error in results:
        assert isinstance(error, chopin.ConnectionDoesNotExistError)
        assert error.outcome in ("not_sent", "rolled_back")
    await assert_recovered(pool, observer, application_name, size=1)


async def test_nothing_leaks_to_riders(create, observer, application_name):
    """What single queries leave in a session is gone before anybody else comes."""
    pool = await create(max_size=1, pipeline_depth=DEEP)
    setting = "SELECT current_setting($1::text, true) AS s"
    await pool.fetchval(setting, "TimeZone")
    zone = await pool.fetchval(setting, "TimeZone")
    for leave in (
        "SET TimeZone TO 'Asia/Tokyo'",
        "SELECT set_config('TimeZone', 'Asia/Tokyo', false)",
        "BEGIN; SET TimeZone TO 'Asia/Tokyo'",
        "BEGIN; SET TimeZone TO 'Asia/Tokyo'; COMMIT",
    ):
        for _ in range(5):
            got = await asyncio.gather(
                pool.fetchval(setting, "TimeZone"),
                pool.execute(leave),
                *(pool.fetchval(setting, "TimeZone") for _ in range(RIDERS)),
            )
            del got[1]
            assert got == [zone] * (RIDERS + 1), leave
    await pool.execute("CREATE TEMP TABLE ride_temp (a int)")
    with pytest.raises(chopin.UndefinedTableError):
        await pool.fetch("SELECT * FROM ride_temp")
    await pool.fetch("SELECT pg_advisory_lock(6)")
    await assert_recovered(pool, observer, application_name, size=1)


@pytest.mark.parametrize("what", ["acquire", "write", "first time"])
async def test_nobody_starves(what, create):
    """Whoever needs a connection of his own gets one under an endless load of reads."""
    pool = await create(min_size=2, max_size=2, pipeline_depth=DEEP)
    await until_rides(pool, READ, 0)
    is_over = False
    done = 0

    async def load(n):
        nonlocal done
        while not is_over:
            assert await pool.fetchval(READ, n) == n
            done += 1

    async def one(n):
        if what == "acquire":
            async with pool.acquire() as conn:
                assert await conn.fetchval("SELECT $1::int", n) == n
        elif what == "write":
            await pool.execute("SELECT pg_notify('x', $1)", str(n))
        else:
            assert await pool.fetchval(f"SELECT {n}") == n

    tasks = [asyncio.ensure_future(load(n)) for n in range(60)]
    try:
        assert await looked(lambda: done > 100)
        async with patience():
            for n in range(20):
                before = done
                await asyncio.gather(*(one(n) for _ in range(4)))
                # all who were there before, and some who have come back
                assert done - before < 2000, "it had to wait for too many of them"
    finally:
        is_over = True
        await asyncio.gather(*tasks)
    assert pool.stats().rides


# -- the deadlock that the server cannot see -------------------------------------------

ACQUIRE = {
    "block": lambda pool: pool.acquire().__aenter__(),
    "wait_for": lambda pool: asyncio.wait_for(pool.acquire(), PATIENCE_S),
    "gather": lambda pool: first_of(asyncio.gather(pool.acquire())),
}


async def first_of(group):
    """What the first of several tasks has got."""
    return (await group)[0]


async def in_a_task(pool):
    """By a task that is started by the one that holds the lock."""
    return await asyncio.create_task(pool.fetchval(READ, 9))


async def in_a_group(pool):
    """By one of several of them."""
    async with asyncio.TaskGroup() as group:
        first = group.create_task(pool.fetchval(READ, 9))
    return first.result()


async def in_a_grandchild(pool):
    """By a task of a task."""
    return await asyncio.create_task(in_a_task(pool))


FETCH = {
    "itself": lambda pool: pool.fetchval(READ, 9),
    "task": in_a_task,
    "group": in_a_group,
    "grandchild": in_a_grandchild,
    "wait_for": lambda pool: asyncio.wait_for(pool.fetchval(READ, 9), PATIENCE_S),
}


WAYS = [(acquire, "itself") for acquire in ACQUIRE] + [
    ("block", fetch) for fetch in FETCH if fetch != "itself"
]


@pytest.mark.parametrize(
    ("acquire", "fetch"),
    [(ACQUIRE[acquire], FETCH[fetch]) for acquire, fetch in WAYS],
    ids=["-".join(ways) for ways in WAYS],
)
async def test_deadlock(acquire, fetch, create, table):
    """Who holds a lock does not ride behind a read that waits for it.

    The pool has a third connection, which is busy for a moment: when it becomes free,
    whoever holds the lock gets it, and goes on.
    """
    pool = await create(max_size=3, pipeline_depth=DEEP)
    blocked = f"SELECT n + $1::int FROM {table}"
    await until_rides(pool, blocked, 1)
    await until_rides(pool, READ, 1)
    rides = pool.stats().rides
    begun = asyncio.Event()

    async def holder():
        conn = await acquire(pool)
        try:
            async with conn.transaction():
                await conn.execute(f"LOCK TABLE {table}")
                reader = asyncio.ensure_future(pool.fetchval(blocked, 1))
                begun.set()
                # in the next turn, behind the reader
                got = await fetch(pool)
                assert not reader.done()
        finally:
            await pool.release(conn)
        return got, await reader

    async with borrowed(pool):
        task = asyncio.ensure_future(holder())
        await begun.wait()
        await turns(20)
        rode = pool.stats().rides - rides
    async with patience():
        assert await task == (9, 6)
    assert rode == 0


@pytest.mark.parametrize("sql", ["LOCK TABLE {}", "ALTER TABLE {} ADD x int"])
async def test_deadlock_is_told(sql, create, table):
    """Where there is no third connection, the pool ends it: this one it can see."""
    pool = await create(max_size=2, pipeline_depth=DEEP)
    blocked = f"SELECT n + $1::int FROM {table}"
    await until_rides(pool, blocked, 1)
    await until_rides(pool, READ, 1)
    async with patience():
        async with pool.transaction() as conn:
            await conn.execute(sql.format(table))
            reader = asyncio.ensure_future(pool.fetchval(blocked, 1))
            await asyncio.sleep(0)
            with pytest.raises(chopin.PoolTimeoutError):
                await pool.fetchval(READ, 9, timeout=0.05)
            assert not reader.done()
        assert await reader == 6


async def test_others_ride_meanwhile(create, table):
    """That somebody holds a connection is no reason for others not to ride."""
    pool = await create(max_size=2, pipeline_depth=DEEP)
    await until_rides(pool, READ, 1)
    async with borrowed(pool):
        for _ in range(50):
            before = pool.stats().rides
            await asyncio.gather(*(pool.fetchval(READ, n) for n in range(RIDERS)))
            if pool.stats().rides > before:
                return
    raise AssertionError("nobody rides")


async def test_nobody_rides_while_it_is_unknown_who_holds(create, table):
    """What a task has acquired that has ended may be in anybody's hands."""
    pool = await create(max_size=2, pipeline_depth=DEEP)
    await until_rides(pool, READ, 1)
    conn = await acquired_elsewhere(pool)
    before = pool.stats().rides
    await asyncio.gather(*(pool.fetchval(READ, n) for n in range(RIDERS)))
    assert pool.stats().rides == before
    await pool.release(conn)
    await until_rides(pool, READ, 1)


async def test_who_has_released_rides(pool):
    """Nor is that somebody has held one before."""
    async with pool.acquire():
        pass
    await until_rides(pool, READ, 1)
