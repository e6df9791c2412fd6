"""Places of a pool: none is lost, none is kept for nobody, and the end comes.

Here are the ways of losing one that were found: what a user's code raises in the midst
of the pool's, checks that are cut short, handles that nobody has any more, closes that
cross each other. A place that was lost is missed at the latest by `assert_whole_pool`.
"""

import asyncio
import contextlib
import decimal
import fractions
import gc
import math

import pytest

import chopin
from tests.support.await_points import WHEN, cancel_at
from tests.support.backends import until_gone
from tests.support.oneversion import on_one_version
from tests.support.pools import (
    PID,
    assert_serves,
    borrowed,
    eventually,
    patience,
    turns,
)
from tests.support.poolwatch import OtherLoop, until_rides

pytestmark = on_one_version

READ = "SELECT $1::int AS n"
JOBS = 6
ROUNDS = 20
TINY = 1e-9


class Oops(Exception):
    """What goes wrong in a user's code."""


@pytest.fixture
async def pool(create):
    """A pool of one connection."""
    return await create(max_size=1)


async def assert_whole_pool(pool):
    """All its places can be used at once, and it can be closed."""
    await assert_serves(pool)
    async with patience():
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(pool.get_max_size()):
                conn = await stack.enter_async_context(pool.acquire())
                assert await conn.fetchval("SELECT 1") == 1
            assert len(pool.holders()) == pool.get_max_size()
        assert pool.holders() == []
        await pool.close()
    assert pool.get_size() == 0


# Who gives back.


async def test_dispatcher(create):
    """Who acquires for others waits until they give back what he has given them."""
    pool = await create(min_size=2, max_size=2)
    go_on = asyncio.Event()

    async def work(conn):
        await go_on.wait()
        try:
            return await conn.fetchval("SELECT 1")
        finally:
            await pool.release(conn)

    async def dispatch():
        async with asyncio.TaskGroup() as group:
            return [group.create_task(work(await pool.acquire())) for _ in range(JOBS)]

    async with patience():
        dispatching = asyncio.create_task(dispatch())
        await eventually(lambda: pool.stats().waiting == 1 or dispatching.done())
        go_on.set()
        assert [task.result() for task in await dispatching] == [1] * JOBS
    await assert_whole_pool(pool)


async def test_who_holds_all_in_blocks(create):
    """Where a block holds each of them, nobody else will: then it is told."""
    pool = await create(max_size=2)
    async with patience():
        async with pool.acquire(), pool.acquire():
            with pytest.raises(chopin.PoolDeadlockError):
                await pool.acquire()
    await assert_whole_pool(pool)


@pytest.mark.parametrize("how", ["close", "terminate", "server"])
async def test_ended_and_kept(pool, observer, how):
    """A connection that has ended takes no place, though its user still has it."""
    conn = await pool.acquire()
    pid = conn.get_server_pid()
    if how == "close":
        await conn.close()
    elif how == "terminate":
        conn.terminate()
    else:
        observer.execute("SELECT pg_terminate_backend(%s)", [pid])
        await until_gone(observer, pid)
    async with patience():
        async with borrowed(pool) as other:
            assert await other.fetchval(PID) != pid
            # late, and nobody's business
            await pool.release(conn)
            assert await other.fetchval("SELECT 1") == 1
            [holder] = pool.holders()
            assert holder.pid == other.get_server_pid()
    await assert_whole_pool(pool)


async def test_ended_and_kept_at_the_close(pool):
    """Nor is it waited for."""
    conn = await pool.acquire()
    await conn.close()
    async with patience():
        await pool.close()
    await pool.release(conn)


async def test_released_in_another_loop(pool):
    """A connection is given back in its own event loop only."""
    conn = await pool.acquire()
    async with OtherLoop(asyncio.new_event_loop) as other:
        with pytest.raises(chopin.InterfaceError, match="event loop"):
            await other.run(pool.release(conn))
    assert await conn.fetchval("SELECT 1") == 1
    await pool.release(conn)
    await assert_whole_pool(pool)


# What a user's code raises.


async def test_warning_that_is_an_error(pool):
    """A log listener that was forgotten may be an error: all is given back."""
    conn = await pool.acquire()
    conn.add_log_listener(print)
    with pytest.raises(chopin.InterfaceWarning, match="active log listener"):
        await pool.release(conn)
    await pool.release(conn)
    await assert_whole_pool(pool)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
async def test_handler_that_ends_the_program(pool, raised):
    """So may a transaction that was forgotten."""

    def end(loop, context):
        raise raised

    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    conn = await pool.acquire()
    await conn.execute("BEGIN")
    loop.set_exception_handler(end)
    try:
        with pytest.raises(raised):
            await pool.release(conn)
    finally:
        loop.set_exception_handler(handler)
    await assert_whole_pool(pool)


async def test_setup_that_gives_back(create):
    """A `setup` that has released its connection does not harm whoever has it next."""
    released, go_on = asyncio.Event(), asyncio.Event()

    async def setup(conn):
        if not released.is_set():
            await pool.release(conn)
            released.set()
            await go_on.wait()
            raise Oops

    pool = await create(max_size=1, setup=setup)
    failing = asyncio.create_task(pool.fetchval(PID))
    async with patience():
        await released.wait()
        async with borrowed(pool, "the next user") as conn:
            go_on.set()
            with pytest.raises(Oops):
                await failing
            [holder] = pool.holders()
            assert holder.task == "the next user"
            assert await conn.fetchval("SELECT 1") == 1
    await assert_whole_pool(pool)


async def closed_by_init(conn):
    """Closes it."""
    await conn.close()


async def ended_by_init(conn):
    """Ends it."""
    conn.terminate()


async def cancelled_by_init(conn):
    """Cancels itself."""
    raise asyncio.CancelledError


@pytest.mark.parametrize("init", [closed_by_init, ended_by_init, cancelled_by_init])
@pytest.mark.parametrize("min_size", [0, 1])
async def test_init_that_makes_nothing(create, init, min_size):
    """An `init` that leaves nothing to use fails as one that raises, and is told."""
    pool = create(min_size=min_size, max_size=1, init=init, retry_connect=0)
    expected = chopin.InterfaceError
    if min_size and init is cancelled_by_init:
        expected = asyncio.CancelledError  # which nobody but its task may take away
    async with patience():
        with pytest.raises(expected) as caught:
            await pool
            await pool.fetchval("SELECT 1")
        if expected is not asyncio.CancelledError:
            assert "init" in str(caught.value)
            assert not isinstance(caught.value, chopin.PoolTimeoutError)
    assert pool.get_size() == 0


async def test_class_that_cannot_be_derived_from(create):
    """A class of which no handles can be made is refused before the first is needed."""

    class Demanding(chopin.Connection):
        def __init_subclass__(cls, *, tag):
            super().__init_subclass__()

    with pytest.raises(TypeError, match="connection_class.*tag"):
        create(connection_class=Demanding)


@pytest.mark.parametrize("when", WHEN)
async def test_reset_of_a_block_is_cancelled(create, when):
    """A reset inside of a block that is cancelled stays cancelled, `reset=` or not."""

    async def reset(conn):
        await conn.execute(conn.get_reset_query())

    pool = await create(max_size=1, reset=reset)

    async def use():
        async with pool.acquire() as conn:
            await conn.execute("SELECT 1")
            block = conn.transaction()
            await block.__aenter__()
            await conn.execute("SELECT 2")
            await conn.reset()

    number = 0
    was_cancelled = True
    while was_cancelled:
        number += 1
        async with patience():
            was_cancelled = await cancel_at({number}, use(), when)
            assert await pool.fetchval("SELECT 1") == 1
    # opening excepted: three queries, what ends the block, and the release
    assert number > 4
    await assert_whole_pool(pool)


# Time-outs.

NO_TIMES = [
    ("1", ValueError),
    ("soon", ValueError),
    ([], ValueError),
    (True, ValueError),
    (math.nan, ValueError),
    (0, TimeoutError),
    (-1, TimeoutError),
]


@pytest.mark.parametrize("validate", ["always", "off"])
@pytest.mark.parametrize("is_busy", [False, True])
async def test_timeout_that_is_none(create, is_busy, validate):
    """What cannot be meant is told at once, whatever the pool would have to do first.

    Nor does a check of the connection, or a call that waits, outlive that.
    """
    pool = await create(min_size=1, max_size=1, validate=validate)
    await pool.fetchval(PID)
    async with contextlib.AsyncExitStack() as stack:
        if is_busy:
            await stack.enter_async_context(borrowed(pool))
        async with patience():
            for timeout, error in NO_TIMES:
                with pytest.raises(error):
                    await pool.fetchval("SELECT 1", timeout=timeout)
                if error is ValueError or is_busy:
                    with pytest.raises(error):
                        await pool.acquire(timeout=timeout)
        assert not pool.stats().waiting
    assert pool.stats().opened == 1
    await assert_whole_pool(pool)


@pytest.mark.parametrize("kind", [decimal.Decimal, fractions.Fraction])
async def test_timeout_that_is_some_other_number(create, kind):
    """What can be made a float is one, for who has to wait as well."""
    pool = await create(min_size=1, max_size=1)
    async with borrowed(pool):
        waiting = asyncio.create_task(pool.fetchval("SELECT 42", timeout=kind(60)))
        await turns()
    async with patience():
        assert await waiting == 42
        assert await pool.fetchmany("SELECT $1::int", [(1,)], timeout=kind(60))
    await assert_whole_pool(pool)


# Checks.


@pytest.mark.parametrize("use", ["acquire", "fetchval"])
@pytest.mark.parametrize("how", [0, TINY, "cancelled"])
async def test_check_that_is_cut_short(create, use, how):
    """Who does not wait for the answer to a check costs no connection."""
    pool = await create(min_size=1, max_size=1, validate="always")
    pid = await pool.fetchval(PID)

    async def go():
        timeout = None if how == "cancelled" else how
        if use == "fetchval":
            return await pool.fetchval(PID, timeout=timeout)
        async with pool.acquire(timeout=timeout) as conn:
            return await conn.fetchval(PID)

    for _ in range(ROUNDS):
        task = asyncio.create_task(go())
        if how == "cancelled":
            await asyncio.sleep(0)
            task.cancel()
        async with patience():
            [got] = await asyncio.gather(task, return_exceptions=True)
            assert got == pid or isinstance(got, (TimeoutError, asyncio.CancelledError))
            assert await pool.fetchval(PID) == pid
    assert (pool.stats().opened, pool.stats().validations_failed) == (1, 0)
    await assert_whole_pool(pool)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("kind", ["check", "reset"])
async def test_all_tasks_are_cancelled(create, kind, turn):
    """Whoever cancels all tasks of his loop, those of the pool too, can go on."""

    async def reset(conn):
        await conn.execute("RESET ALL")

    options = {"validate": "always"} if kind == "check" else {"reset": reset}
    pool = await create(min_size=1, max_size=1, **options)
    users = []
    if kind == "check":
        users.append(asyncio.create_task(pool.fetchval("SELECT 1")))
    else:
        loan = pool.acquire()
        await loan.__aenter__()
        loan.drop()
    await turns(turn)
    tasks = {*users, *asyncio.all_tasks()} - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    async with patience():
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await pool.fetchval("SELECT 42") == 42
        await pool.close()


async def test_check_that_is_cut_short_and_riders(create):
    """Nor is it anything to those who would share that connection."""
    pool = await create(
        min_size=1, max_size=1, validate="always", pipeline_depth=JOBS + 1
    )
    await until_rides(pool, READ, 0)
    for _ in range(ROUNDS):
        first, *others = (
            asyncio.create_task(pool.fetchval(READ, n)) for n in range(JOBS)
        )
        await asyncio.sleep(0)
        first.cancel()
        async with patience():
            assert await asyncio.gather(*others) == list(range(1, JOBS))
            await asyncio.wait([first])
    assert pool.stats().opened == 1
    await assert_whole_pool(pool)


# Handles that nobody has.


async def acquired(pool):
    """A coroutine, and so a task, that has a connection for its result."""
    return await pool.acquire()


async def lost_with_its_task(pool):
    """A task has ended, and nobody has asked for its result."""
    task = asyncio.create_task(acquired(pool))
    await asyncio.wait([task])


async def lost_in_a_group(pool):
    """One of several has got a connection, and the other is cancelled."""
    group = asyncio.gather(acquired(pool), acquired(pool))
    await eventually(lambda: pool.stats().waiting == 1 and pool.stats().lent == 1)
    await turns()
    group.cancel()
    await asyncio.gather(group, return_exceptions=True)


async def lost_in_the_last_turn(pool):
    """Who waits for the task is cancelled in the turn in which it has ended."""
    inner = asyncio.create_task(acquired(pool))
    outer = asyncio.ensure_future(waits_for(inner))
    inner.add_done_callback(lambda _: outer.cancel())
    await asyncio.wait([outer])


async def waits_for(task):
    """The task's result."""
    return await task


@pytest.mark.parametrize(
    "lose", [lost_with_its_task, lost_in_a_group, lost_in_the_last_turn]
)
async def test_result_that_is_lost(pool, lose):
    """A connection that was the result of a task comes back when that is dropped."""
    with pytest.warns(ResourceWarning, match="dropped"):
        async with patience():
            await lose(pool)
            while not pool.stats().leaks:
                gc.collect()
                await asyncio.sleep(0)
    await assert_whole_pool(pool)


# Closing.


@pytest.mark.parametrize("count", range(4))
async def test_close_is_taken_back_at_once(create, count):
    """`cancel_close` in the first turns of a close leaves a pool that serves."""
    pool = await create(min_size=1)
    async with borrowed(pool):
        closing = asyncio.create_task(pool.close())
        await turns(count)
        pool.cancel_close()
        if count == 0:
            # it had not begun, and nothing was taken back
            await turns()
            pool.cancel_close()
        async with patience():
            with pytest.raises(chopin.InterfaceError, match="called off"):
                await closing
            await turns()
        assert not pool.is_closing()
    await assert_whole_pool(pool)


async def test_close_is_taken_back_by_a_thread(create, monkeypatch):
    """`cancel_close` of another thread comes when the close has only just begun.

    It knows no more than the task of a close that was called off before.
    """
    pool = await create(min_size=1)
    async with patience():
        async with borrowed(pool):
            closing = asyncio.create_task(pool.close())
            await turns()
            pool.cancel_close()
            with pytest.raises(chopin.InterfaceError, match="called off"):
                await closing
        begin = chopin.pool.begin_closing

        def begin_late(*args):
            pool.cancel_close()
            return begin(*args)

        monkeypatch.setattr("chopin.pool.begin_closing", begin_late)
        with pytest.raises(chopin.InterfaceError, match="called off"):
            await pool.close()
        monkeypatch.undo()
        assert not pool.is_closing()
    await assert_whole_pool(pool)


async def test_two_closes(create):
    """Who waits for the close of another is told how that went."""
    pool = await create(min_size=1)
    async with patience():
        async with borrowed(pool):
            closes = [asyncio.create_task(pool.close()) for _ in range(3)]
            await turns()
            pool.cancel_close()
            errors = await asyncio.gather(*closes, return_exceptions=True)
        assert {type(error) for error in errors} == {chopin.InterfaceError}
        assert {str(error) for error in errors} == {"the pool's close was called off"}
        async with borrowed(pool):
            first = asyncio.create_task(pool.close())
            await turns()
            with pytest.raises(TimeoutError):
                await pool.close(timeout=TINY)
            assert not first.done()
        await first
    assert pool.is_closing()


async def test_close_that_becomes_fast(create):
    """`close("fast")` ends one that waits for those who hold connections."""
    pool = await create(min_size=1)
    conn = await pool.acquire()
    async with patience():
        closing = asyncio.create_task(pool.close())
        await turns()
        await pool.close("fast")
        await closing
    with pytest.raises(chopin.InterfaceError):
        await conn.fetchval("SELECT 1")
    await pool.release(conn)
    assert pool.get_size() == 0
