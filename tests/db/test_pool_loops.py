"""One pool used from several event loops: in threads at once, and one after the other.

Each loop has connections of its own. How many there may be counts for all of them
together, as the server sees it; whoever has too few gets some from whoever can miss
them, and from loops that are no more. What is done to the pool from one loop is done
to all of it.

Every test has this loop, of either kind, and another one, of either kind.
"""

import asyncio
import contextlib
import gc
import itertools
import sys
import threading
import warnings

import psycopg
import pytest
import uvloop

import chopin
from chopin._poolpart import PoolPart
from tests.support.backends import Gate, frozen, until
from tests.support.faultproxy import FaultProxy, Faults
from tests.support.oneversion import on_one_version
from tests.support.pools import (
    PATIENCE_S,
    PID,
    SESSIONS_ARE,
    assert_serves,
    eventually,
    patience,
    pool_factory,
    turns,
)
from tests.support.poolwatch import OtherLoop, assert_recovered, looked, sessions

pytestmark = on_one_version

FACTORIES = {"plain": asyncio.new_event_loop, "uv": uvloop.new_event_loop}
SHORT = 0.05
CLOSING = "^pool is closing$"
CLOSED = "^pool is closed$"

numbers = itertools.count(1)


@pytest.fixture(params=FACTORIES.values(), ids=FACTORIES)
def factory(request):
    """Makes the other loop."""
    return request.param


@pytest.fixture
async def other(factory):
    """The other loop, running in a thread."""
    async with OtherLoop(factory) as loop:
        yield loop


@pytest.fixture
async def create(dsn, other):
    """A factory of pools, which end before the other loop does; see `pool_factory`."""
    async with pool_factory(dsn) as make:
        yield make


async def take(pool, count=1):
    """Acquire so many connections."""
    return [await pool.acquire() for _ in range(count)]


async def give(pool, held):
    """Release them."""
    for conn in held:
        await pool.release(conn)


async def warm(pool, count):
    """Have so many idle connections."""
    await give(pool, await take(pool, count))


@contextlib.asynccontextmanager
async def most_sessions(server, application_name):
    """Look all the time how many sessions of that name there are.

    Gives a list with the highest number that was seen twice in a row: a server process
    ends a moment after its client has said goodbye.
    """
    most, is_over = [0], threading.Event()
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"

    def look():
        with contextlib.closing(
            psycopg.connect(server.dsn, autocommit=True)
        ) as observer:
            before = set()
            while not is_over.is_set():
                pids = set(observer.execute(sql, [application_name]).fetchall())
                most[0] = max(most[0], len(pids & before))
                before = pids
                observer.execute("SELECT pg_sleep(0.02)")

    looking = asyncio.create_task(asyncio.to_thread(look))
    try:
        yield most
    finally:
        is_over.set()
        await looking


# At once.


async def work(pool, count):
    """Use the pool in all ways; every answer must be one's own."""
    for _ in range(count):
        number = next(numbers)
        assert await pool.fetchval("SELECT $1::int AS n", number) == number
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT $1::int AS m", number) == number
        async with pool.transaction() as conn:
            await conn.execute(f"SET LOCAL work_mem = '{64 + number % 1000}kB'")
            rows = await conn.fetch("SELECT $1::int FROM generate_series(1, 3)", number)
            assert [row[0] for row in rows] == [number] * 3
        assert await pool.execute(f"SELECT {number}") == "SELECT 1"


@pytest.mark.slow
@pytest.mark.parametrize("max_size", [1, 3])
async def test_at_once(create, other, server, observer, application_name, max_size):
    """Both loops have all they want in turn, and the server never more than is allowed.

    With one connection for both, it goes to and fro.
    """

    async def works():
        await asyncio.gather(*(work(pool, 15) for _ in range(4)))

    pool = await create(max_size=max_size)
    async with most_sessions(server, application_name) as most:
        async with patience():
            await asyncio.gather(works(), other.start(works()))
    assert most[0] <= max_size
    assert pool.get_size() <= max_size
    await assert_recovered(pool, observer, application_name)
    await other.run(assert_serves(pool))


async def test_statistics_of_both(create, other, application_name):
    """Numbers and holders are those of all loops; anybody may ask, at any time."""
    pool = await create(max_size=3)
    [here] = await take(pool)
    there = await other.run(take(pool, 2))
    stats = pool.stats()
    assert (stats.size, stats.lent, stats.idle, stats.acquired) == (3, 3, 0, 3)
    assert (pool.get_size(), pool.get_idle_size()) == (3, 0)
    pids = {conn.get_server_pid() for conn in [here, *there]}
    assert {holder.pid for holder in pool.holders()} == pids
    assert len({holder.task for holder in pool.holders()}) == 2
    assert await other.run(_holders(pool)) == pids
    await other.run(give(pool, there))
    await pool.release(here)
    assert (pool.get_size(), pool.get_idle_size()) == (3, 3)
    assert pool.holders() == []


async def _holders(pool):
    return {holder.pid for holder in pool.holders()}


@pytest.mark.slow
async def test_statistics_meanwhile(create, other):
    """They can be asked for from any thread while loops are busy and calls wait."""
    pool = await create(max_size=1, pipeline_depth=1)
    asked, errors, is_over = 0, [], threading.Event()

    def ask():
        nonlocal asked
        while not is_over.is_set():
            try:
                # of several moments, since nothing stands still for them
                assert pool.stats().size >= 0
                assert pool.get_idle_size() <= 2 >= len(pool.holders())
                assert repr(pool).startswith("<chopin.Pool open, ")
            except Exception as error:
                errors.append(error)
            asked += 1

    async def queries():
        await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(300)))

    asking = asyncio.create_task(asyncio.to_thread(ask))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        async with patience():
            await asyncio.gather(queries(), other.start(queries()))
    finally:
        sys.setswitchinterval(interval)
        is_over.set()
        await asking
    assert errors == []
    assert asked > 0


# From hand to hand.


async def test_idle_connection_of_another(create, other, observer, application_name):
    """A loop that needs a connection gets the place of an idle one of another loop."""
    pool = await create(max_size=2)
    await warm(pool, 2)
    async with patience():
        held = await other.run(take(pool, 1))
        assert (pool.get_size(), pool.get_idle_size()) == (2, 1)
        held += await other.run(take(pool, 1))
        assert (pool.get_size(), pool.get_idle_size()) == (2, 0)
        await other.run(give(pool, held))
        await assert_serves(pool)
    await other.run(assert_serves(pool))
    await assert_recovered(pool, observer, application_name)


async def test_busy_connection_of_another(create, other):
    """If none is idle, the next one that is given back goes to the loop without."""
    pool = await create(max_size=2)
    async with patience():
        held = await take(pool, 2)
        waiting = other.start(pool.fetchval("SELECT $1::int", 5))
        assert await looked(lambda: pool.stats().waiting == 1)
        await pool.release(held.pop())
        assert await waiting == 5
        assert await held[0].fetchval("SELECT 1") == 1
        await give(pool, held)
    await assert_serves(pool)


async def test_busy_connection_with_a_line(create, other):
    """Neither loop starves, though tasks of both stand in line all the time."""
    pool = await create(max_size=1, pipeline_depth=1)
    over, served = threading.Event(), {"here": 0, "there": 0}

    async def user(where):
        while not over.is_set():
            await pool.fetchval("SELECT 1")
            served[where] += 1

    async def users(where):
        await asyncio.gather(*(user(where) for _ in range(3)))

    async with patience():
        tasks = [asyncio.create_task(users("here")), other.start(users("there"))]
        for _ in range(3):
            before = dict(served)
            assert await looked(
                lambda before=before: all(served[w] > before[w] + 5 for w in served)
            )
        over.set()
        await asyncio.gather(*tasks)
    await assert_serves(pool)


async def test_nothing_left_for_another(create, other):
    """A loop whose calls wait in vain is told in time, and has everything later."""
    pool = await create(max_size=2)
    held = await take(pool, 2)
    async with patience():
        for use in (pool.fetchval("SELECT 1", timeout=SHORT), _acquire(pool, SHORT)):
            with pytest.raises(chopin.PoolTimeoutError):
                await other.start(use)
        await give(pool, held)
        await other.run(warm(pool, 2))
    assert pool.get_size() == 2


async def _acquire(pool, timeout):
    return await pool.acquire(timeout=timeout)


async def test_per_loop(create, other, observer, application_name):
    """`per_loop` is the most that one loop may have of them."""
    pool = await create(max_size=3, per_loop=2)
    async with patience():
        held = await take(pool, 2)
        with pytest.raises(chopin.PoolTimeoutError):
            await asyncio.create_task(_acquire(pool, SHORT))
        there = await other.run(take(pool, 1))
        with pytest.raises(chopin.PoolTimeoutError):
            await other.start(_acquire(pool, SHORT))
        assert (pool.get_size(), pool.get_max_size()) == (3, 3)
        await give(pool, held)
        there += await other.run(take(pool, 1))
        assert pool.get_size() <= 3
        await other.run(give(pool, there))
    await assert_recovered(pool, observer, application_name)


async def test_floor_of_each(create, other, observer, application_name):
    """`min_size` is for each loop, as far as there is room."""
    pool = await create(min_size=2, max_size=3)
    assert await other.run(pool.fetchval("SELECT 1")) == 1
    assert await looked(lambda: pool.get_size() == pool.get_idle_size() == 3)
    await until(observer, SESSIONS_ARE, application_name, 3)
    await warm(pool, 3)
    await assert_recovered(pool, observer, application_name)


async def test_budget_of_both(create, other, dsn):
    """A budget holds for all pools and all of their loops."""
    budget = chopin.Budget(2)
    one = await create(budget=budget, max_size=2)
    two = await create(budget=budget, max_size=2)
    async with patience():
        held = [*await take(one), *await other.run(take(two))]
        for use in (lambda: _acquire(two, SHORT), lambda: _acquire(one, SHORT)):
            with pytest.raises(chopin.PoolTimeoutError):
                await asyncio.create_task(use())
            with pytest.raises(chopin.PoolTimeoutError):
                await other.start(use())
        await one.release(held[0])
        held += await other.run(take(one))
        assert (one.get_size(), two.get_size()) == (1, 1)
        await other.run(two.release(held[1]))
        await other.run(one.release(held[2]))
        await two.close()
        await warm(one, 2)
        await one.close()
    assert budget.used == 0


# All of the pool.


async def test_resize_of_both(create, other, observer, application_name):
    """A pool that is made smaller is so as a whole, and as soon as it can be."""
    pool = await create(max_size=6)
    await warm(pool, 3)
    await other.run(warm(pool, 3))
    assert pool.get_size() == 6
    pool.resize(3)
    assert await looked(lambda: pool.get_size() <= 3)
    assert pool.get_size() <= 3
    await assert_recovered(pool, observer, application_name)
    pool.resize(6)
    held = [*await take(pool, 3), *await other.run(take(pool, 3))]
    assert pool.get_size() == 6
    pool.resize(2)
    assert pool.get_size() == 6
    await give(pool, held[:3])
    await other.run(give(pool, held[3:]))
    assert await looked(lambda: pool.get_size() <= 2)
    await assert_serves(pool)
    await other.run(assert_serves(pool))
    await assert_recovered(pool, observer, application_name)
    assert pool.get_size() <= 2


@pytest.mark.parametrize("which", ["idle", "all"])
async def test_flush_of_both(create, other, observer, application_name, which):
    """`flush` closes connections of all loops."""
    pool = await create(max_size=4)
    await warm(pool, 2)
    held = await other.run(take(pool, 2))
    await other.run(pool.release(held.pop()))
    before = {row[0] for row in sessions(observer, application_name)}
    assert len(before) == 4
    await pool.flush(which)
    left = 0 if which == "all" else 1
    assert await looked(lambda: pool.get_size() == left)
    await until(observer, SESSIONS_ARE, application_name, left)
    if which == "all":
        with pytest.raises(chopin.InterfaceError, match="connection is closed"):
            await other.run(held[0].fetchval("SELECT 1"))
    else:
        assert await other.run(held[0].fetchval("SELECT 1")) == 1
    await other.run(give(pool, held))
    await assert_serves(pool)
    await other.run(assert_serves(pool))


async def test_disabled_for_both(create, other):
    """A pool that is disabled from one loop is so for all, until it is enabled."""
    pool = await create(max_size=2)
    held = await other.run(take(pool))
    pool.disable()
    for use in (lambda: pool.fetchval("SELECT 1"), lambda: _acquire(pool, None)):
        with pytest.raises(chopin.PoolDisabledError):
            await use()
        with pytest.raises(chopin.PoolDisabledError):
            await other.start(use())
    assert await other.run(held[0].fetchval("SELECT 1")) == 1
    await other.run(give(pool, held))
    pool.enable()
    await assert_serves(pool)
    await other.run(assert_serves(pool))


async def test_handle_dropped_in_another(create, other):
    """A handle that is collected in any thread goes back to the loop that it is of."""
    pool = await create(max_size=1)
    held = await other.run(take(pool))
    pid = held[0].get_server_pid()
    await other.run(turns())
    with pytest.warns(ResourceWarning, match="dropped"):
        held.clear()
        gc.collect()
    async with patience():
        assert await other.start(pool.fetchval(PID)) == pid
    assert pool.stats().leaks == 1


# The end, from here.


async def test_close(create, other, observer, application_name):
    """`close` waits for those who have connections in any loop, and turns others away.

    Connections of the other loop are closed there, and it says that the pool is closed.
    """
    pool = await create(max_size=2)
    [here] = await take(pool)
    there = await other.run(take(pool))
    waiting = other.start(_acquire(pool, None))
    assert await looked(lambda: pool.stats().waiting == 1)
    closing = asyncio.create_task(pool.close())
    async with patience():
        with pytest.raises(chopin.InterfaceError, match=CLOSING):
            await waiting
        with pytest.raises(chopin.InterfaceError, match=CLOSING):
            await other.start(pool.fetchval("SELECT 1"))
        await pool.release(here)
        assert await other.run(there[0].fetchval("SELECT 1")) == 1
        assert not closing.done()
        await other.run(give(pool, there))
        await closing
    await until(observer, SESSIONS_ARE, application_name, 0)
    assert pool.get_size() == 0
    for use in (lambda: pool.fetchval("SELECT 1"), lambda: _acquire(pool, None)):
        with pytest.raises(chopin.InterfaceError, match=CLOSED):
            await other.start(use())


async def test_close_from_the_other(create, other, observer, application_name):
    """It does not matter which loop closes the pool."""
    pool = await create(min_size=1, max_size=2)
    async with patience():
        await other.run(pool.fetchval("SELECT 1"))
        await other.run(pool.close())
        with pytest.raises(chopin.InterfaceError, match=CLOSED):
            await pool.fetchval("SELECT 1")
    await until(observer, SESSIONS_ARE, application_name, 0)


@pytest.mark.parametrize("how", ["fast", "terminate", "time-out"])
async def test_end_under_a_query(create, other, observer, application_name, how):
    """What runs in the other loop fails when the pool is ended at once."""
    pool = await create(max_size=2)
    with Gate(observer) as gate:
        query = other.start(pool.fetchval(f"SELECT 1 FROM {gate.sql}"))
        await gate.reached()
        async with patience():
            if how == "terminate":
                pool.terminate()
            elif how == "fast":
                await pool.close("fast")
            else:
                with pytest.raises(TimeoutError):
                    await pool.close(timeout=SHORT)
            with pytest.raises((chopin.PostgresError, chopin.InterfaceError)):
                await query
    # a server process that waits does not see that its client has gone
    await until(observer, SESSIONS_ARE, application_name, 0)
    assert await looked(lambda: pool.get_size() == 0)
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await other.start(pool.fetchval("SELECT 1"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["gracefully", "fast"])
async def test_close_under_load(create, other, observer, application_name, mode):
    """All calls end while the pool is closed, in both loops."""
    pool = await create(max_size=3)
    allowed = (chopin.InterfaceError, chopin.PostgresError)
    ended = {"here": 0, "there": 0}

    async def user(where):
        try:
            while True:
                await work(pool, 1)
                ended[where] += 1
        except allowed:
            return

    async def users(where):
        await asyncio.gather(*(user(where) for _ in range(4)))

    async with patience():
        tasks = [asyncio.create_task(users("here")), other.start(users("there"))]
        assert await looked(lambda: min(ended.values()) > 3)
        await pool.close(mode)
        await asyncio.gather(*tasks)
    await until(observer, SESSIONS_ARE, application_name, 0)
    assert pool.get_size() == 0


async def test_close_is_taken_back(create, other, observer, application_name):
    """A close that is called off is so for all loops: they have all that they had.

    Time-outs and the floor too, though one loop had closed everything already.
    """
    pool = await create(min_size=1, max_size=2)
    await other.run(pool.fetchval("SELECT 1"))
    assert await looked(lambda: pool.get_size() == 2)
    [here] = await take(pool)
    closing = asyncio.create_task(pool.close())
    assert await looked(lambda: pool.get_size() == 1)
    pool.cancel_close()
    async with patience():
        with pytest.raises(chopin.InterfaceError):
            await closing
        assert not pool.is_closing()
        assert await looked(lambda: pool.get_size() == 2)
        there = await other.run(take(pool))
        with pytest.raises(chopin.PoolTimeoutError):
            await other.start(_acquire(pool, SHORT))
        await other.run(give(pool, there))
        await pool.release(here)
    await assert_recovered(pool, observer, application_name, size=2)
    await pool.close()


# The end of a loop.


@contextlib.contextmanager
def untidy():
    """A loop that is left with its transports open warns of them, and rightly so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


class Collecting:
    """Somebody else's part of a budget: garbage is collected while it is looked at."""

    @property
    def idle_count(self):
        gc.collect()
        return 0

    def yield_soon(self):
        """It has nothing that can be missed."""


async def test_collected_while_others_are_counted(
    dsn, factory, observer, application_name
):
    """A pool that was dropped with its loop gives back, whoever comes to collect it."""
    budgets = []

    async def leave():
        cycle = [await chopin.create_pool(dsn, min_size=1, max_size=1)]
        cycle.append(cycle)
        budgets.append(cycle[0]._settings.budget)

    budget = chopin.Budget(1)
    assert budget.claim(Collecting())
    claim = threading.Thread(target=budget.claim, args=(Collecting(),), daemon=True)
    with untidy():
        gc.disable()
        try:
            async with OtherLoop(factory) as last:
                await last.run(leave())
                await last.stop()
            assert budgets[0].used == 1
            claim.start()
            await asyncio.to_thread(claim.join, PATIENCE_S)
        finally:
            gc.enable()
    assert not claim.is_alive()
    assert budgets[0].used == 0
    await until(observer, SESSIONS_ARE, application_name, 0)


async def test_terminated_while_a_loop_joins(
    create, other, observer, application_name, monkeypatch
):
    """As by a signal handler, which comes at any point: nobody waits for himself."""
    pool = create(max_size=2)
    await other.run(asyncio.wait_for(pool, None))
    assert await other.run(pool.fetchval("SELECT 1")) == 1

    def make(*args):
        pool.terminate()
        return PoolPart(*args)

    monkeypatch.setattr("chopin.pool.PoolPart", make)
    monkeypatch.setattr(make, "terminate", PoolPart.terminate, raising=False)
    with pytest.raises(chopin.PoolError, match=CLOSING):
        await pool.fetchval("SELECT 1")
    with pytest.raises(chopin.PoolError, match=CLOSED):
        await pool.fetchval("SELECT 1")
    await until(observer, SESSIONS_ARE, application_name, 0)
    assert pool.get_size() == 0


@pytest.mark.parametrize("held", [0, 2])
async def test_loop_is_closed(
    create, factory, server, observer, application_name, held
):
    """What a loop had that was closed is there for the others, who have waited."""
    pool = await create(max_size=2)
    await pool.fetchval("SELECT 1")
    with untidy():
        async with OtherLoop(factory) as last:
            there = await last.run(take(pool, 2))
            if not held:
                await last.run(give(pool, there))
            waiting = asyncio.create_task(pool.fetchval("SELECT 1")) if held else None
            await turns()
            async with most_sessions(server, application_name) as most:
                await last.stop()
                async with patience():
                    if waiting is not None:
                        assert await waiting == 1
                    await warm(pool, 2)
        assert most[0] <= 2
        await assert_recovered(pool, observer, application_name, size=2)
        async with patience():
            await pool.close()
        assert pool.get_size() == 0
        del there


async def test_loop_is_closed_while_it_connects(create, factory, tcp_dsn):
    """A connect that never ended takes nobody's place."""
    async with FaultProxy(tcp_dsn, to_client=Faults(after=0, action="stall")) as proxy:
        pool = await create(proxy.dsn, ssl="disable", max_size=1)
        with untidy():
            async with OtherLoop(factory) as last:
                waiting = last.start(pool.fetchval("SELECT 1"))
                assert await looked(lambda: pool.stats().opening == 1)
                await last.stop()
                waiting.cancel()
            proxy.to_client = Faults()
            async with patience():
                assert await pool.fetchval("SELECT 1", timeout=5) == 1
                await pool.close()
        assert pool.get_size() == 0


async def test_loop_is_closed_while_it_opens_the_pool(factory, dsn):
    """What was counted for the pool is given back by its end, and once."""
    entered = []

    async def init(conn):
        entered.append(conn)
        if len(entered) == 2:
            await asyncio.Event().wait()

    budget = chopin.Budget(4)
    pool = chopin.create_pool(dsn, min_size=3, max_size=3, init=init, budget=budget)
    with untidy():
        async with OtherLoop(factory) as last:
            opening = last.start(asyncio.wait_for(pool, None))
            assert await looked(lambda: len(entered) == 3)
            await last.stop()
            pool.terminate()
            assert (budget.used, pool.is_closing()) == (0, True)
            del opening, last, pool
            entered.clear()
        # what was opening it is found by the collector
    assert budget.used == 0


@pytest.mark.parametrize("how", ["end", "stop"])
async def test_loop_that_listens_ends(create, factory, observer, application_name, how):
    """With its loop a listening connection goes; those of other loops stay."""
    pool = await create()
    with untidy():
        async with pool.listen("a") as notifications:
            async with OtherLoop(factory) as other:
                await other.run(pool.listen("a").__aenter__())
                assert pool.stats().listening == 2
                await getattr(other, how)()
            async with pool.acquire() as conn, patience():
                await conn.notify("a", "x")
                assert (await anext(notifications)).payload == "x"
        await pool.close()
        assert pool.stats().listening == 0
        assert await looked(lambda: not sessions(observer, application_name))


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_pool_is_closed_after_a_loop(
    create, factory, observer, application_name, how
):
    """Closing a pool ends what a closed loop has left, and frees its budget."""
    budget = chopin.Budget(2)
    pool = await create(max_size=2, budget=budget)
    with untidy():
        async with OtherLoop(factory) as last:
            await last.run(warm(pool, 2))
            await last.stop()
        async with patience():
            if how == "close":
                await pool.close()
            else:
                pool.terminate()
        assert pool.get_size() == 0
        assert budget.used == 0
        await until(observer, SESSIONS_ARE, application_name, 0)


@pytest.mark.parametrize("how", ["end", "stop"])
async def test_loop_ends_during_close(create, factory, how):
    """`close` does not wait for a loop that has ended, and nobody has cancelled it."""
    pool = await create(max_size=2)
    with untidy():
        async with OtherLoop(factory) as last:
            there = await last.run(take(pool))
            [here] = await take(pool)
            closing = asyncio.create_task(pool.close())
            await last.run(turns())
            if how == "end":
                await last.end()
            else:
                await last.stop()
            await turns()
            assert not closing.done()
            assert await here.fetchval("SELECT 1") == 1
            await pool.release(here)
            async with patience():
                await closing
        assert pool.get_size() == 0
        del there


async def test_one_loop_after_the_other(create, factory, observer, application_name):
    """A pool that is used by `asyncio.run` again and again has what is allowed.

    The connections of loops that have ended do not stay.
    """
    pool = create(min_size=1, max_size=2)
    counted = []

    async def program(number):
        await pool
        assert await pool.fetchval("SELECT $1::int", number) == number
        async with pool.acquire() as one, pool.acquire() as two:
            assert await one.fetchval("SELECT 1") + await two.fetchval("SELECT 1") == 2
        counted.append(len(sessions(observer, application_name)))

    def programs():
        for number in range(4):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(program(number))
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(pool.close())

    with untidy():
        async with patience():
            await asyncio.to_thread(programs)
    assert counted == [2] * 4
    assert pool.get_size() == 0
    assert pool.stats().opened == pool.stats().closed == 8
    await until(observer, SESSIONS_ARE, application_name, 0)


async def test_check_of_another(create, other, observer, application_name, monkeypatch):
    """A silent connection of one loop holds up nobody in the other."""
    pool = await create(max_size=2, validate="always")
    pid = await other.run(pool.fetchval(PID))
    # those that answer have it as well, and a machine may be slow
    monkeypatch.setattr("chopin._poolpart.CHECK_TIMEOUT", 5 * SHORT)
    async with patience():
        with frozen(pid):
            await assert_serves(pool)
            assert await other.start(pool.fetchval(PID)) != pid
            await eventually(lambda: pool.stats().validations_failed == 1)
    await other.run(assert_serves(pool))
