"""Running a pool: what it tells of itself, and what can be done to it while it serves.

What `test_pool*.py` beside this one show of closing and of the life of a connection is
not shown again.
"""

import asyncio
import contextlib
import gc
import logging
import re

import pytest

import chopin
from tests.support.backends import Gate, frozen, until, until_gone
from tests.support.oneversion import on_one_version
from tests.support.pools import (
    PID,
    SESSIONS_ARE,
    assert_serves,
    borrowed,
    eventually,
    patience,
    turns,
)
from tests.support.poolwatch import assert_recovered, looked, sessions, until_rides

pytestmark = on_one_version

SHORT = 0.05
TINY = 0.02
READ = "SELECT $1::int AS n"
COUNTERS = (
    *("opened", "closed", "acquired", "rides", "waits", "timeouts"),
    *("connect_failures", "resets", "validations_failed", "leaks"),
)


@contextlib.asynccontextmanager
async def waiting(pool, *calls):
    """Calls that stand in line inside of the block, and are called off after it."""
    count = pool.stats().waiting
    tasks = [asyncio.ensure_future(call) for call in calls]
    await eventually(lambda: pool.stats().waiting == count + len(tasks))
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Numbers.


async def test_stats_of_the_moment(create, observer):
    """What is open, used, opened and waited for, as it is just now."""
    pool = await create(min_size=1, max_size=3)

    def now(*names):
        stats = pool.stats()
        return tuple(getattr(stats, name) for name in names)

    sizes = ("size", "idle", "lent", "shared", "opening", "waiting")
    assert now("min_size", "max_size") == (1, 3)
    assert now(*sizes) == (1, 1, 0, 0, 0, 0)
    async with pool.acquire():
        assert now(*sizes) == (1, 0, 1, 0, 0, 0)
        with Gate(observer) as gate:
            query = asyncio.create_task(pool.fetchval(f"SELECT 1 FROM {gate.sql}"))
            await gate.reached()
            assert now(*sizes) == (2, 0, 1, 1, 0, 0)
            async with pool.acquire(), waiting(pool, pool.acquire(), pool.execute("")):
                assert now(*sizes) == (3, 0, 2, 1, 0, 2)
            assert now(*sizes) == (3, 1, 1, 1, 0, 0)
        await query
    assert now(*sizes) == (3, 3, 0, 0, 0, 0)
    assert repr(pool) == "<chopin.Pool open, 3 of 3 connections>"
    await pool.close()
    assert now(*sizes) == (0, 0, 0, 0, 0, 0)
    assert repr(pool) == "<chopin.Pool closed, 0 of 3 connections>"


async def test_stats_of_the_past(create, observer):
    """Each of the counters counts what its name says, once."""
    pool = await create(min_size=1, max_size=1)
    seen = pool.stats()

    def counted():
        nonlocal seen
        before, seen = seen, pool.stats()
        gained = {n: getattr(seen, n) - getattr(before, n) for n in COUNTERS}
        return {name: count for name, count in gained.items() if count}

    assert (seen.opened, seen.closed, seen.acquired) == (1, 0, 0)
    await pool.fetchval("SELECT 1")
    assert counted() == {}
    async with pool.acquire() as conn:
        await conn.fetchval("SELECT 1")
    assert counted() == {"acquired": 1}
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem = '1MB'")
    await eventually(lambda: pool.get_idle_size() == 1)
    assert counted() == {"acquired": 1, "resets": 1}
    async with borrowed(pool):
        async with waiting(pool, pool.acquire(), pool.fetchval("SELECT 1")):
            pass
        assert counted() == {"acquired": 1, "waits": 2}
        waited = seen.waited
        with pytest.raises(chopin.PoolTimeoutError):
            await pool.acquire(timeout=TINY)
        assert counted() == {"waits": 1, "timeouts": 1}
        task = asyncio.create_task(pool.fetchval("SELECT 1"))
        await turns()
    assert await task == 1
    assert counted() == {"waits": 1}
    assert seen.waited > waited
    await pool.flush("all")
    await eventually(lambda: pool.get_idle_size() == 1)
    assert counted() == {"opened": 1, "closed": 1}
    pid = await pool.fetchval(PID)
    observer.execute("SELECT pg_terminate_backend(%s)", [pid])
    await until_gone(observer, pid)
    await eventually(lambda: pool.stats().opened == 3)
    assert counted() == {"opened": 1, "closed": 1}
    pool.set_connect_args(database="nope")
    await pool.flush("all")
    await eventually(lambda: pool.stats().connect_failures)
    assert counted()["connect_failures"] >= 1


async def test_stats_of_riders(create):
    """A read that shared a connection is a ride."""
    pool = await create(max_size=1)
    await until_rides(pool, READ, 1)
    assert pool.stats().rides > 0
    assert pool.stats().acquired == 0


# Who holds what.


async def test_holders(create):
    """Who has acquired which connection, how long ago, and what he ran on it last."""
    pool = await create(max_size=3)
    assert pool.holders() == []
    async with borrowed(pool, "ann") as one, borrowed(pool, "bob") as two:
        await one.fetchval("SELECT\n  41 + 1")
        [ann, bob] = pool.holders()
        assert (ann.task, bob.task) == ("ann", "bob")
        assert (ann.pid, bob.pid) == (one.get_server_pid(), two.get_server_pid())
        assert (ann.sql, bob.sql) == ("SELECT\n  41 + 1", None)
        assert ann.seconds >= bob.seconds >= 0
        assert ann.stack == ()
        text = rf"ann for \d\S* s \(pid {ann.pid}, last: SELECT 41 \+ 1\)"
        assert re.fullmatch(text, str(ann))
        assert "last: nothing yet" in str(bob)
        await two.execute(f"SELECT '{'x' * 100}'")
        assert len(str(pool.holders()[1])) < 120
        # single queries hold nothing that anybody could forget to give back
        await pool.fetchval("SELECT 1")
        assert len(pool.holders()) == 2
    assert pool.holders() == []


async def test_timeout_names_what_runs(create, observer):
    """The error of who waited in vain has the SQL that runs just now."""
    pool = await create(max_size=1)
    with Gate(observer) as gate:
        async with borrowed(pool, "carl") as conn:
            running = asyncio.create_task(conn.fetch(f"SELECT 9 FROM {gate.sql}"))
            await gate.reached()
            with pytest.raises(chopin.PoolTimeoutError) as caught:
                await pool.acquire(timeout=TINY)
            gate.open()
            await running
    assert "carl for 0" in str(caught.value)
    assert f"last: SELECT 9 FROM {gate.sql}" in str(caught.value)
    assert "1 of 1 open" in str(caught.value)
    assert caught.value.__cause__ is None


async def test_many_holders(create):
    """An error message does not list hundreds of them."""
    pool = await create(max_size=12)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(12):
            await stack.enter_async_context(borrowed(pool, f"task {number}"))
        with pytest.raises(chopin.PoolTimeoutError) as caught:
            await pool.acquire(timeout=TINY)
        assert len(pool.holders()) == 12
    assert "task 0 for" in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert "task 11" not in str(caught.value)


# Leaks.


async def leaky(pool):
    """Acquires a connection, here."""
    return await pool.acquire()


async def test_leak_is_reported(create, caplog):
    """Who holds a connection for too long is reported once, with where he got it."""
    caplog.set_level(logging.WARNING, "chopin.pool")
    pool = await create(max_size=2, leak_threshold=SHORT)
    conn = await asyncio.create_task(leaky(pool), name="dora")
    await conn.fetchval("SELECT 17")
    [holder] = pool.holders()
    assert any(line.endswith("in leaky") for line in holder.stack)
    assert all("/chopin/" not in line for line in holder.stack)
    await eventually(lambda: caplog.records)
    [report] = caplog.records
    assert (report.name, report.levelname) == ("chopin.pool", "WARNING")
    text = report.getMessage()
    for word in "dora for", "last: SELECT 17", f"pid {holder.pid}", "in leaky":
        assert word in text
    assert f"{__file__}:" in text
    assert pool.stats().leaks == 1
    # by the time that another one is reported, it would be again
    other = await pool.acquire()
    await eventually(lambda: len(caplog.records) == 2)
    assert "dora" not in caplog.records[1].getMessage()
    assert pool.stats().leaks == 2
    await pool.release(conn)
    assert len(caplog.records) == 3
    assert "was released: dora" in caplog.records[2].getMessage()
    await pool.release(other)
    assert pool.stats().leaks == 2
    await assert_serves(pool)


async def test_no_leak(create, caplog):
    """What is given back in time is not reported, nor is anything without threshold."""
    caplog.set_level(logging.WARNING, "chopin.pool")
    pool = await create(max_size=2, leak_threshold=60)
    unlimited = await create(max_size=1)
    witness = await create(max_size=1, leak_threshold=TINY)
    async with borrowed(pool), borrowed(unlimited):
        async with witness.acquire() as conn:
            pid = conn.get_server_pid()
            await eventually(lambda: caplog.records)
        assert all(f"pid {pid}" in r.getMessage() for r in caplog.records)
    assert pool.stats().leaks == unlimited.stats().leaks == 0


@pytest.mark.parametrize("threshold", [None, TINY], ids=["", "reported"])
async def test_dropped_in_a_transaction(create, threshold, observer, application_name):
    """A handle that nobody has is taken back as it would be released, and counted once.

    Its transaction is undone, and what it has set and locked is reset.
    """
    pool = await create(max_size=1, leak_threshold=threshold)
    conn = await pool.acquire()
    pid = conn.get_server_pid()
    await conn.execute("SET work_mem = '1MB'; SELECT pg_advisory_lock(5)")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("CREATE TABLE dropped_with_its_handle (a int)")
    if threshold:
        await eventually(lambda: pool.stats().leaks)
    with pytest.warns(ResourceWarning, match="dropped"):
        del conn, transaction
        gc.collect()
    async with patience():
        assert await pool.fetchval(PID) == pid
    assert await pool.fetchval("SHOW work_mem") == "4MB"
    table = await pool.fetchval("SELECT to_regclass('dropped_with_its_handle')::text")
    assert table is None
    assert pool.stats().leaks == 1
    assert pool.holders() == []
    await assert_recovered(pool, observer, application_name, size=1)


async def test_dropped_while_others_wait(create):
    """Who waits gets the connection that was dropped."""
    pool = await create(max_size=1)
    conn = await pool.acquire()
    async with patience():
        task = asyncio.create_task(pool.fetchval(PID))
        await turns()
        pid = conn.get_server_pid()
        with pytest.warns(ResourceWarning, match="dropped"):
            del conn
            gc.collect()
        assert await task == pid


# Sizes.


async def test_resize_up(create):
    """Who waits is served as soon as there may be more."""
    pool = await create(max_size=1)
    async with patience(), borrowed(pool), borrowed_later(pool) as second:
        assert not second.done()
        pool.resize(2)
        await pool.release(await second)
    assert pool.get_max_size() == 2
    assert pool.get_size() == 2


@contextlib.asynccontextmanager
async def borrowed_later(pool):
    """A task that waits for a connection; its result is the connection."""
    async with waiting(pool, pool.acquire()) as [task]:
        yield task


async def test_resize_down(create, observer, application_name):
    """What nobody uses goes at once, the rest when it is given back."""
    pool = await create(max_size=4)
    held = [await pool.acquire() for _ in range(4)]
    await pool.release(held.pop())
    pool.resize(2)
    await until(observer, SESSIONS_ARE, application_name, 3)
    assert (pool.get_size(), pool.get_max_size()) == (3, 2)
    for conn in held:
        assert await conn.fetchval("SELECT 1") == 1
    async with waiting(pool, pool.fetchval("SELECT 1")) as [task]:
        await pool.release(held.pop())
        await until(observer, SESSIONS_ARE, application_name, 2)
        assert not task.done()
        await pool.release(held.pop())
        async with patience():
            assert await task == 1
    assert pool.get_size() == 2
    await pool.release(held.pop())
    await assert_recovered(pool, observer, application_name, size=2)


async def test_resize_of_the_floor(create, observer, application_name):
    """What is missing to the new minimum is opened though nobody asks for it."""
    pool = await create(max_size=4, idle_timeout=TINY)
    pool.resize(4, 3)
    assert pool.get_min_size() == 3
    await until(observer, SESSIONS_ARE, application_name, 3)
    pool.resize(2, 1)
    await until(observer, SESSIONS_ARE, application_name, 1)
    assert (pool.get_min_size(), pool.get_max_size()) == (1, 2)
    await assert_serves(pool)


@pytest.mark.parametrize(
    ("sizes", "name"),
    [((0,), "max_size"), ((1, 2), "min_size"), ((2, -1), "min_size"), (("3",), "max")],
)
async def test_resize_wrongly(create, sizes, name):
    """Sizes that cannot be are refused, and nothing is changed."""
    pool = await create(min_size=1, max_size=3)
    with pytest.raises((ValueError, TypeError), match=name):
        pool.resize(*sizes)
    assert (pool.get_min_size(), pool.get_max_size()) == (1, 3)


async def test_resize_below_the_floor(create, observer, application_name):
    """The minimum goes with the maximum, if nothing is said of it."""
    pool = await create(min_size=3, max_size=3)
    pool.resize(1)
    assert (pool.get_min_size(), pool.get_max_size()) == (1, 1)
    await assert_recovered(pool, observer, application_name, size=1)
    pool.resize(3)
    assert pool.get_min_size() == 1


# Replacing connections.


@pytest.mark.parametrize("which", ["idle", "gracefully", "all"])
async def test_flush(create, observer, application_name, which):
    """Idle ones go at once; those in use stay, go when given back, or go at once."""
    pool = await create(max_size=3)
    async with borrowed(pool) as conn, borrowed(pool):
        before = {row[0] for row in sessions(observer, application_name)}
        async with pool.acquire() as third:
            idle = third.get_server_pid()
        await pool.flush(which)
        await until_gone(observer, idle)
        pid = conn.get_server_pid()
        if which == "all":
            with pytest.raises(chopin.InterfaceError, match="connection is closed"):
                await conn.fetchval("SELECT 1")
            assert await looked(lambda: not sessions(observer, application_name))
        else:
            assert await conn.fetchval(PID) == pid
    assert len(before) == 2
    await assert_recovered(pool, observer, application_name)
    after = {row[0] for row in sessions(observer, application_name)}
    assert after & before == (before if which == "idle" else set())


async def test_flush_under_a_query(create, observer):
    """With "all" a query that runs fails; gracefully, it comes to its end."""
    pool = await create(max_size=1)
    for which in "gracefully", "all":
        with Gate(observer) as gate:
            query = asyncio.create_task(pool.fetchval(f"SELECT 1 FROM {gate.sql}"))
            await gate.reached()
            await pool.flush(which)
            async with patience():
                if which == "all":
                    with pytest.raises(
                        (chopin.PostgresError, chopin.InterfaceError)
                    ) as caught:
                        await query
                    assert caught.value.outcome == "unknown"
                else:
                    gate.open()
                    assert await query == 1
        await assert_serves(pool, size=1)
    assert pool.stats().closed == 2


async def test_flush_of_the_floor(create, observer, application_name):
    """What the pool keeps is there again by itself."""
    pool = await create(min_size=2, max_size=3)
    before = {row[0] for row in sessions(observer, application_name)}
    await pool.flush()
    assert await looked(
        lambda: (
            len({row[0] for row in sessions(observer, application_name)} - before) == 2
        )
    )
    await assert_recovered(pool, observer, application_name, size=2)


async def test_flush_what(create):
    """Anything else is refused."""
    pool = await create(min_size=1)
    with pytest.raises(ValueError, match="which is expected to be"):
        await pool.flush("some")
    assert pool.get_size() == 1


# Disabled.


async def test_disabled(create):
    """New calls are refused, those that were there come to their end."""
    pool = await create(max_size=1)
    async with patience(), borrowed(pool) as conn:
        async with borrowed_later(pool) as second:
            pool.disable()
            for use in (
                lambda: pool.acquire(),
                lambda: pool.fetch("SELECT 1"),
                lambda: pool.execute("SELECT 1"),
                lambda: pool.executemany("SELECT 1", [()]),
                lambda: pool.transaction().__aenter__(),
                lambda: pool.run_in_transaction(asyncio.sleep),
            ):
                with pytest.raises(chopin.PoolDisabledError) as caught:
                    await use()
                error = caught.value
                assert (error.kind, error.outcome) == ("pool", "not_sent")
            assert await conn.fetchval("SELECT 1") == 1
            assert not second.done()
            await pool.release(conn)
            assert await (await second).fetchval("SELECT 1") == 1
            await pool.release(await second)
    assert not pool.is_closing()
    pool.enable()
    await assert_serves(pool, size=1)
    pool.enable()
    await assert_serves(pool, size=1)


async def test_disabled_before_it_is_opened(create):
    """It stays so when it is opened."""
    pool = create(min_size=1)
    pool.disable()
    await pool
    with pytest.raises(chopin.PoolDisabledError):
        await pool.fetchval("SELECT 1")
    pool.enable()
    await assert_serves(pool, size=1)


async def test_disabled_and_closed(create):
    """A disabled pool can be closed; to enable it then does not open it."""
    pool = await create(min_size=1)
    pool.disable()
    await pool.close()
    pool.enable()
    with pytest.raises(chopin.InterfaceError, match="^pool is closed$"):
        await pool.fetchval("SELECT 1")


# Closing.


@pytest.mark.parametrize("is_released", [True, False])
async def test_close_with_a_lost_connection(create, observer, is_released):
    """A connection that dies in its holder's hands does not hold up the close."""
    pool = await create(max_size=2)
    conn = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await turns()
    assert not closing.done()
    pid = conn.get_server_pid()
    observer.execute("SELECT pg_terminate_backend(%s)", [pid])
    async with patience():
        if is_released:
            await pool.release(conn)
        await closing
        await pool.release(conn)
    assert pool.get_size() == 0
    assert pool.is_closing()


async def test_terminate_during_close(create, observer, application_name):
    """`terminate` ends a close that waits."""
    pool = await create(max_size=2)
    conn = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await turns()
    pool.terminate()
    async with patience():
        await closing
    with pytest.raises(chopin.InterfaceError, match="connection is closed"):
        await conn.fetchval("SELECT 1")
    await until(observer, SESSIONS_ARE, application_name, 0)
    await pool.release(conn)


async def test_close_again_with_less_patience(create, observer, application_name):
    """A second `close` waits for the first, and ends both when its own time is over."""
    pool = await create(max_size=2)
    conn = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await turns()
    async with patience():
        with pytest.raises(TimeoutError):
            await pool.close(timeout=TINY)
        await closing
    assert pool.get_size() == 0
    await until(observer, SESSIONS_ARE, application_name, 0)
    await pool.release(conn)


async def test_close_is_taken_back_at_any_time(create, observer, application_name):
    """`cancel_close` before, in or after the turn of the last release.

    The pool is closed and has nothing, or it is open and whole.
    """
    ends = set()
    for turn in range(40):
        pool = await create(min_size=1, max_size=1)
        conn = await pool.acquire()
        closing = asyncio.create_task(pool.close())
        await turns()
        await pool.release(conn)
        if turn < 30:
            await turns(turn)
        else:
            await asyncio.wait([closing])
        pool.cancel_close()
        async with patience():
            [error] = await asyncio.gather(closing, return_exceptions=True)
        assert error is None or "called off" in str(error)
        assert pool.is_closing() == (error is None)
        ends.add(type(error))
        if error is None:
            assert pool.get_size() == 0
        else:
            assert await looked(lambda pool=pool: pool.get_idle_size() == 1)
            await assert_recovered(pool, observer, application_name, size=1)
            async with pool.acquire():
                with pytest.raises(chopin.PoolTimeoutError):
                    await asyncio.create_task(acquire_soon(pool))
            await pool.close()
        await until(observer, SESSIONS_ARE, application_name, 0)
    assert ends == {type(None), chopin.InterfaceError}


async def acquire_soon(pool):
    """Acquire, or be told very soon."""
    return await pool.acquire(timeout=TINY)


async def test_nothing_to_take_back(create):
    """`cancel_close` of a pool that is not closing does nothing."""
    pool = create(max_size=1)
    pool.cancel_close()
    await pool
    pool.cancel_close()
    await assert_serves(pool, size=1)
    await pool.close()
    pool.cancel_close()
    assert pool.is_closing()


async def test_close_while_it_connects(create, observer, application_name):
    """A connect that is under way is called off, whoever waits for it is told."""
    entered = asyncio.Event()

    async def init(conn):
        entered.set()
        await asyncio.Event().wait()

    pool = await create(max_size=1, init=init)
    task = asyncio.create_task(pool.fetchval("SELECT 1"))
    await entered.wait()
    async with patience():
        await pool.close()
        with pytest.raises(chopin.InterfaceError, match="pool is closing"):
            await task
    assert pool.get_size() == 0
    await until(observer, SESSIONS_ARE, application_name, 0)


# Budgets.


async def test_budget(create, observer, application_name):
    """Two pools share connections, and nobody keeps what he does not use."""
    budget = chopin.Budget(3)
    one = await create(budget=budget, max_size=3)
    two = await create(budget=budget, max_size=3)
    async with patience():
        held = [await one.acquire() for _ in range(3)]
        with pytest.raises(chopin.PoolTimeoutError):
            await two.acquire(timeout=TINY)
        waits = asyncio.create_task(two.fetchval(PID))
        await turns()
        await one.release(held.pop())
        assert await waits
        for conn in held:
            await one.release(conn)
        held = [await two.acquire() for _ in range(3)]
        assert (one.get_size(), two.get_size(), budget.used) == (0, 3, 3)
        await until(observer, SESSIONS_ARE, application_name, 3)
        for conn in held:
            await two.release(conn)
        await two.close()
        assert budget.used == one.get_size()
        await one.close()
        assert budget.used == 0


async def test_budget_under_load(create, observer, application_name):
    """Everybody is served out of it in turn, and never by more than there may be."""
    budget = chopin.Budget(2)
    pools = [await create(budget=budget, max_size=2) for _ in range(3)]
    most = 0

    async def use(pool):
        nonlocal most
        for number in range(20):
            assert await pool.fetchval(READ, number) == number
            async with pool.acquire() as conn:
                assert await conn.fetchval(READ, number) == number
            most = max(most, budget.used, sum(p.get_size() for p in pools))

    async with patience():
        await asyncio.gather(*(use(pool) for pool in pools for _ in range(2)))
    assert most <= 2
    assert sum(pool.get_size() for pool in pools) <= 2
    await until(observer, SESSIONS_ARE, application_name, budget.used)
    for pool in pools:
        await pool.close()
    assert budget.used == 0


async def test_limits(create, observer, application_name, server):
    """What a database and user may have, where the pool does not say it itself."""
    user, limits = server.user, {}
    limits[server.database, user] = chopin.Limit(2, init_size=2, min_size=1)
    limits["template1", "all"] = (1, 0, 0)
    limits["all", "all"] = (1, 1, 0)
    budget = chopin.Budget(4, limits)
    one = await create(budget=budget, min_size=None, max_size=None)
    two = await create(budget=budget, min_size=None, max_size=None)
    assert (one.get_init_size(), one.get_min_size(), one.get_max_size()) == (2, 1, 2)
    # the limit is for both of them together
    assert (one.get_size(), two.get_size(), budget.used) == (2, 0, 2)
    other = await create(
        budget=budget, database="template1", min_size=None, max_size=None
    )
    assert (other.get_init_size(), other.get_max_size(), other.get_size()) == (0, 1, 0)
    async with patience():
        async with one.acquire(), two.acquire(), other.acquire():
            assert budget.used == 3
            for pool in one, two, other:
                with pytest.raises(chopin.PoolTimeoutError):
                    await asyncio.create_task(acquire_soon(pool))
            await until(observer, SESSIONS_ARE, application_name, 3)
        for pool in one, two, other:
            await pool.close()
    assert budget.used == 0


async def test_budget_of_a_dropped_pool(create, dsn):
    """A pool that nobody has any more leaves the budget."""
    budget = chopin.Budget(1)
    pool = await chopin.create_pool(dsn, min_size=1, max_size=1, budget=budget)
    other = await create(budget=budget, max_size=1)
    with pytest.warns(ResourceWarning, match="unclosed pool"):
        del pool
        gc.collect()
    async with patience():
        await assert_serves(other, size=1)
    assert budget.used == 1


# Checks.


@pytest.fixture
def silenced(monkeypatch):
    """Stop a process of the server inside of the block: checks give it up soon.

    Only there, since one that answers may be slow to do so.
    """

    @contextlib.contextmanager
    def silence(pid):
        with frozen(pid), monkeypatch.context() as patch:
            patch.setattr("chopin._poolpart.CHECK_TIMEOUT", SHORT)
            yield

    return silence


@pytest.mark.parametrize("mode", ["always", "idle:0"])
@pytest.mark.parametrize("use", ["acquire", "fetchval"])
async def test_checked_before_use(create, silenced, mode, use):
    """A connection that does not answer is replaced before its user has it."""
    pool = await create(max_size=1, validate=mode)  # so that it is the same one twice
    pid = await pool.fetchval(PID)
    assert await pool.fetchval(PID) == pid
    async with patience():
        with silenced(pid):
            if use == "acquire":
                async with pool.acquire() as conn:
                    assert await conn.fetchval(PID) != pid
            else:
                assert await pool.fetchval(PID) != pid
            await eventually(lambda: pool.stats().validations_failed == 1)
    await assert_serves(pool)


async def test_checked_in_the_background(create, silenced):
    """A connection that does not answer is replaced though nobody uses it."""
    pool = await create(min_size=1, max_size=1, validate=f"background:{TINY}")
    pid = await pool.fetchval(PID)
    async with patience():
        with silenced(pid):
            await eventually(lambda: pool.stats().validations_failed == 1)
        kept = await pool.fetchval(PID)
        assert kept != pid
        checked = await create(min_size=1, max_size=1, validate=f"background:{TINY}")
        # one that answers stays
        await eventually(lambda: checked.get_idle_size() == 1)
        assert await pool.fetchval(PID) == kept


@pytest.mark.parametrize("mode", ["off", "idle:60", "background:60"])
async def test_not_checked(create, silenced, mode):
    """Nobody is asked otherwise: a query is the first to find out."""
    pool = await create(max_size=1, validate=mode)
    pid = await pool.fetchval(PID)
    async with patience():
        with silenced(pid):
            with pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1", timeout=SHORT)
        assert pool.stats().validations_failed == 0
        await assert_serves(pool)


async def test_checks_cost_no_connection(create):
    """Connections that answer are kept, whichever way they are asked."""
    for mode in "always", "idle:0", "background:0.001":
        pool = await create(min_size=2, max_size=2, validate=mode)
        for _ in range(20):
            assert await pool.fetchval("SELECT 1") == 1
            async with pool.acquire() as one, pool.acquire() as two:
                assert await one.fetchval("SELECT 1") + await two.fetchval("SELECT 2")
        assert pool.stats().opened == 2
        assert pool.stats().validations_failed == 0
        await pool.close()
