"""Storms: thousands of calls of every kind that are cut off at random, at once.

Whatever was cut off, the pool serves afterwards: each query that ended well has had its
own answer, no connection is lost or lent twice, and the server shows no session that is
busy, in a transaction, holds a lock, or that the pool knows nothing of.
"""

import asyncio
import itertools
import random

import pytest

import chopin
from tests.support.poolwatch import assert_recovered, looked, sessions, until_rides

CALLS = 10_000
FEW = 500  # on the servers that are not asked for all of it
AT_ONCE = 24
LONGEST_S = 0.02
MAX_SIZE = 6
PATIENCE_S = 20

numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def open_transactions(tidy):
    """The loop is told of every transaction that is left open; of nothing else."""
    yield
    text = "Resetting connection with an active transaction"
    tidy.loop_errors[:] = [
        context
        for context in tidy.loop_errors
        if not context["message"].startswith(text)
    ]


@pytest.fixture
def calls(server):
    """How many calls a storm has: all of them on one of the servers."""
    return CALLS if server.binaries.major == 16 else FEW


@pytest.fixture(autouse=True)
def marks(observer):
    """The table ``storm (number int, text text)``, empty."""
    observer.execute("SET lock_timeout = '5s'")
    observer.execute(
        "CREATE UNLOGGED TABLE IF NOT EXISTS storm (number int, text text)"
    )
    observer.execute("TRUNCATE storm")


# -- what is cut off: each returns what it got and what it should have been ------------


async def fast_read(pool, number):
    """Known after a while, so that it rides."""
    return await pool.fetchval("SELECT $1::int AS n", number), number


async def many_rows(pool, number):
    """An answer that comes in several reads."""
    rows = await pool.fetch(
        "SELECT $1::int, i FROM generate_series(1, 500) AS i", number
    )
    return {row[0] for row in rows}, {number}


async def new_text(pool, number):
    """A text that no session has seen."""
    return await pool.fetchval(f"SELECT $1::int + {number}", number), 2 * number


async def slow(pool, number):
    """Takes its time, and is no plain read."""
    sql = "SELECT $1::int FROM pg_sleep(0.01)"
    return await pool.fetchval(sql, number), number


async def write(pool, number):
    """Takes effect by itself."""
    sql = "INSERT INTO storm VALUES ($1, 'write')"
    return await pool.execute(sql, number), "INSERT 0 1"


async def script(pool, number):
    """Several statements as text, the last of which is slow."""
    sql = f"SELECT {number}; SELECT 1 FROM pg_sleep(0.002)"
    return await pool.execute(sql), "SELECT 1"


async def many(pool, number):
    """Execute-many: all rows or none."""
    sql = "INSERT INTO storm VALUES ($1, 'many')"
    return await pool.executemany(sql, [(number,)] * 3), 3


async def set_and_leave(pool, number):
    """A setting that nobody else may see."""
    sql = f"SELECT set_config('storm.number', '{number}', false)"
    return await pool.fetchval(sql), str(number)


async def nobodys_setting(pool, number):
    """Nobody's setting is there."""
    sql = "SELECT current_setting('storm.number', true) AS s"
    return (await pool.fetchval(sql) or ""), ""


async def lock(pool, number):
    """A lock of the session, by a connection of one's own."""
    async with pool.acquire() as conn:
        await conn.execute("SELECT pg_advisory_lock_shared($1)", number)
        return await conn.fetchval("SELECT $1::int", number), number


async def lock_and_leave(pool, number):
    """The same by a single query, and it is not unlocked."""
    sql = "SELECT $1::int FROM pg_advisory_lock_shared($1::int)"
    return await pool.fetchval(sql, number), number


async def transaction(pool, number):
    """A block: both rows or none."""
    async with pool.transaction() as conn:
        await conn.execute("INSERT INTO storm VALUES ($1, 'block')", number)
        await conn.execute("INSERT INTO storm VALUES ($1, 'block')", number)
        return await conn.fetchval("SELECT $1::int", number), number


async def nested(pool, number):
    """A savepoint, and a cursor in it."""
    got = []
    async with pool.acquire() as conn, conn.transaction():
        async with conn.transaction():
            sql = "SELECT $1::int FROM generate_series(1, 30)"
            async for row in conn.cursor(sql, number, prefetch=10):
                got.append(row[0])
    return got, [number] * 30


async def begin_and_leave(pool, number):
    """A transaction that its user does not end."""
    async with pool.acquire() as conn:
        await conn.execute("BEGIN")
        await conn.execute("INSERT INTO storm VALUES ($1, 'never')", number)
        return await conn.fetchval("SELECT $1::int", number), number


async def retried(pool, number):
    """A transaction that is tried again."""

    async def work(conn):
        return await conn.fetchval("SELECT $1::int", number)

    return await pool.run_in_transaction(work), number


async def error(pool, number):
    """A read that fails on its argument."""
    try:
        got = await pool.fetchval("SELECT 7 / ($1::int - $1::int) AS e", number)
    except chopin.DivisionByZeroError:
        got = "error"
    return got, "error"


async def held(pool, number):
    """A connection that is held without being used."""
    async with pool.acquire():
        await asyncio.sleep(0.003)
    return None, None


CALLS_TO = (
    *(fast_read,) * 6,
    *(many_rows, new_text, slow, write, script, many, set_and_leave, nobodys_setting),
    *(lock, lock_and_leave, transaction, nested, begin_and_leave, retried, error, held),
)


# -- how: at random, but the same each time --------------------------------------------


async def turns(count):
    """So many turns of the loop, after which it is the same as at once."""
    for _ in range(count):
        await asyncio.sleep(0)


def cut_at(rng, longest):
    """When to cut: after some turns of the loop, which may be none, or after a time."""
    if rng.random() < 0.5:
        return turns(rng.randrange(12))
    return asyncio.sleep(rng.random() * longest)


async def cancelled(coroutine, rng, longest=LONGEST_S):
    """Cancel it some time after its beginning; what it got if it was faster."""
    cut = cut_at(rng, longest)
    task = asyncio.ensure_future(coroutine)
    await cut
    task.cancel()
    return await task


async def storm(pool, rng, count, one):
    """Run `one(call, number)` for so many random calls; returns wrong answers.

    Args:
        pool: all is done on it.
        rng: the source of random numbers.
        count: of the calls.
        one: given the coroutine function and a number that nothing else has; raises
            what is expected.
    """
    wrong, ended = [], 0
    left = iter(range(count))

    async def work():
        nonlocal ended
        for _ in left:
            try:
                got, wanted = await one(rng.choice(CALLS_TO), next(numbers))
            except (asyncio.CancelledError, TimeoutError):
                pass
            except Exception as error:
                wrong.append(error)
            else:
                ended += 1
                if got != wanted:
                    wrong.append((got, wanted))
            assert pool.get_size() <= pool.get_max_size()

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert 0 < ended < count, f"{ended} of {count} calls came to their end"
    return wrong


def assert_all_or_nothing(observer):
    """What belongs together was done together, and what was left open was undone."""
    rows = observer.execute(
        "SELECT text, number, count(*) FROM storm GROUP BY 1, 2"
    ).fetchall()
    whole = {"write": 1, "many": 3, "block": 2}
    assert [row for row in rows if whole.get(row[0]) != row[2]] == []


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 16])
async def test_cancelled(depth, create, calls, observer, application_name):
    """Tasks that are cancelled after any number of turns, or any time."""
    rng = random.Random(depth)
    pool = await create(min_size=2, max_size=MAX_SIZE, pipeline_depth=depth)

    if depth > 1:
        await until_rides(pool, "SELECT $1::int AS n", 1)

    async def one(call, number):
        return await cancelled(call(pool, number), rng)

    assert await storm(pool, rng, calls // 2, one) == []
    await assert_recovered(pool, observer, application_name)
    assert bool(pool.stats().rides) == (depth > 1)
    assert_all_or_nothing(observer)


@pytest.mark.slow
async def test_timed_out(create, calls, observer, application_name):
    """Tasks that run into a time-out of their own."""
    rng = random.Random(3)
    pool = await create(min_size=2, max_size=MAX_SIZE)

    async def one(call, number):
        async with asyncio.timeout(rng.random() * LONGEST_S):
            return await call(pool, number)

    assert await storm(pool, rng, calls // 10, one) == []
    await assert_recovered(pool, observer, application_name)
    assert_all_or_nothing(observer)


@pytest.mark.slow
async def test_time_outs_of_queries(create, calls, observer, application_name):
    """Queries that run into time-outs of theirs, waiting for a connection included."""
    rng = random.Random(4)
    pool = await create(min_size=2, max_size=MAX_SIZE)

    async def one(_, number):
        timeout = rng.random() * LONGEST_S
        sql = rng.choice(
            [
                "SELECT $1::int AS n",
                "SELECT $1::int AS n",
                "SELECT $1::int FROM pg_sleep(0.005)",
                f"SELECT $1::int, {number}",
            ]
        )
        return await pool.fetchval(sql, number, timeout=timeout), number

    assert await storm(pool, rng, calls // 10, one) == []
    await assert_recovered(pool, observer, application_name)


class Oops(Exception):
    """The user's own."""


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["init", "setup", "reset"])
async def test_failing_hooks(failing, create, calls, observer, application_name):
    """Hooks that fail, hang or are cancelled with their task, some of the time."""
    rng = random.Random(5)
    is_over = False
    failures = []

    async def hook(conn):
        lot = rng.random()
        if failing == "reset":
            await conn.reset()
        assert await conn.fetchval("SELECT 5") == 5
        if is_over:
            return
        if lot < 0.2:
            failures.append(conn)
            raise Oops
        if lot < 0.3:
            await conn.execute("BEGIN")
            raise Oops
        if lot < 0.4:
            await conn.fetchval("SELECT 1 FROM pg_sleep(0.05)")
        if lot < 0.42:
            conn.terminate()
            raise Oops

    # few queries, so that there are many connections for `init` to see
    pool = await create(
        max_size=MAX_SIZE, max_queries=3, retry_connect=0.0, **{failing: hook}
    )

    async def one(call, number):
        try:
            return await cancelled(call(pool, number), rng, 10 * LONGEST_S)
        except Oops:
            raise asyncio.CancelledError from None

    while not failures:  # on a busy machine few calls come as far as the hook
        assert await storm(pool, rng, calls // 20, one) == []
    is_over = True
    await assert_recovered(pool, observer, application_name)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["fast", "gracefully", "terminate"])
async def test_closed_in_a_storm(end, create, observer, application_name):
    """A pool that is closed in any way under all of that ends, and so do all calls."""
    rng = random.Random(6)
    for _ in range(5):
        pool = await create(min_size=2, max_size=MAX_SIZE)
        tasks = []
        for _ in range(100):
            call = rng.choice(CALLS_TO)
            number = next(numbers)
            tasks.append(asyncio.create_task(call(pool, number), name=call.__name__))
        await asyncio.sleep(rng.random() * LONGEST_S)
        if end == "terminate":
            pool.terminate()
        else:
            async with asyncio.timeout(PATIENCE_S):
                await pool.close(end)
        assert pool.get_size() == 0
        _, pending = await asyncio.wait(tasks, timeout=PATIENCE_S)
        names = [task.get_name() for task in pending]
        for task in pending:
            task.cancel()
        assert names == [], "these calls never end"
        for task in tasks:
            if task.exception() is None:
                got, wanted = task.result()
                assert got == wanted
            else:
                assert isinstance(
                    task.exception(), (chopin.InterfaceError, chopin.PostgresError)
                )
        assert await looked(lambda: not sessions(observer, application_name))
