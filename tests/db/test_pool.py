"""create_pool: opening, sizes, acquire and release, waiting for a connection.

What is expected here was first seen to hold for asyncpg, but for what it does not have.
"""

import asyncio
import contextlib
import copy
import gc
import pickle
import re

import pytest

import chopin
from tests.support.await_points import WHEN, cancel_at
from tests.support.backends import Gate, until, until_gone
from tests.support.pools import (
    PATIENCE_S,
    PID,
    SESSIONS_ARE,
    assert_serves,
    borrowed,
    eventually,
    patience,
    turns,
)

SHORT = 0.02
NOT_OPEN = "^pool is not initialized$"
CLOSED = "^pool is closed$"


class Oops(Exception):
    """The user's own."""


# Arguments.

SMALL = "expected to be greater or equal to zero"
WRONG = [
    ({"max_size": 0}, ValueError, "max_size is expected to be greater than zero"),
    ({"max_size": -1}, ValueError, "max_size is expected to be greater than zero"),
    ({"min_size": -1}, ValueError, f"min_size is {SMALL}"),
    ({"min_size": 3}, ValueError, "min_size is greater than max_size"),
    ({"init_size": -1}, ValueError, f"init_size is {SMALL}"),
    ({"init_size": 3}, ValueError, "init_size is greater than max_size"),
    (
        {"init_size": 1, "min_size": 2},
        ValueError,
        "init_size is smaller than min_size",
    ),
    ({"max_queries": 0}, ValueError, "max_queries is expected to be greater than zero"),
    (
        {"max_inactive_connection_lifetime": -1},
        ValueError,
        f"max_inactive_connection_lifetime is {SMALL}",
    ),
    (
        {"connection_class": object},
        TypeError,
        "connection_class is expected to be a subclass of",
    ),
    ({"record_class": tuple}, TypeError, "record_class is expected to be a subclass"),
]
# What asyncpg does not have, or does not look at.
ALSO_WRONG = [
    {"min_size": "1"},
    {"max_size": 1.5},
    {"max_queries": "many"},
    {"acquire_timeout": -1},
    {"acquire_timeout": "1"},
    {"idle_timeout": -1},
    {"max_lifetime": -1},
    {"pipeline_depth": 0},
    {"pipeline_depth": -1},
    {"pipeline_depth": 1.5},
    {"per_loop": 0},
    {"openers": 0},
    {"retry_connect": -1},
    {"leak_threshold": -1},
    {"validate": "sometimes"},
    {"validate": "idle"},
    {"validate": "idle:soon"},
    {"validate": "idle:-1"},
    {"validate": "background:"},
    {"reset": ""},
    {"reset": "sometimes"},
    {"reset": 5},
    {"connect": "x"},
    {"setup": "x"},
    {"init": 5},
    {"budget": 5},
    {"connection_class": "x"},
    {"record_class": "x"},
]


async def test_wrong_argument(create):
    """What cannot be right is refused when the pool is made."""
    for options, error, text in WRONG:
        with pytest.raises(error, match=text):
            create(**options)


async def test_wrong_argument_of_ours(create):
    """Whatever is wrong with an argument, the message says which one it is."""
    for options in ALSO_WRONG:
        [name] = options
        with pytest.raises((TypeError, ValueError, chopin.InterfaceError), match=name):
            create(**options)


async def test_unknown_argument(create):
    """An option that nobody knows is refused, at the latest when it would be used."""
    with pytest.raises(TypeError, match="min_sice"):
        await create(min_size=1, min_sice=1)


async def test_cannot_be_copied(create):
    """Neither a pool nor a borrowed connection can be copied or pickled."""
    pool = await create()
    async with pool.acquire() as conn:
        for thing in pool, conn:
            for duplicate in copy.copy, copy.deepcopy, pickle.dumps:
                with pytest.raises(TypeError):
                    duplicate(thing)


# Sizes.


@pytest.mark.parametrize(
    ("init_size", "min_size", "max_size", "opened"),
    [(None, 0, 2, 0), (None, 2, 3, 2), (3, 1, 4, 3), (1, 0, 1, 1)],
)
async def test_sizes(
    create, observer, application_name, init_size, min_size, max_size, opened
):
    """A pool opens `init_size` connections, or `min_size`; then it grows on demand."""
    pool = await create(init_size=init_size, min_size=min_size, max_size=max_size)
    assert pool.get_init_size() == opened
    assert (pool.get_min_size(), pool.get_max_size()) == (min_size, max_size)
    assert (pool.get_size(), pool.get_idle_size()) == (opened, opened)
    await until(observer, SESSIONS_ARE, application_name, opened)
    held = []
    for lent in range(1, max_size + 1):
        held.append(await pool.acquire())
        size = max(opened, lent)
        assert (pool.get_size(), pool.get_idle_size()) == (size, size - lent)
    assert len({conn.get_server_pid() for conn in held}) == max_size
    await until(observer, SESSIONS_ARE, application_name, max_size)
    for conn in held:
        await pool.release(conn)
    assert (pool.get_size(), pool.get_idle_size()) == (max_size, max_size)


async def test_grows_no_more_than_needed(create):
    """Who comes after another gets the same connection: the one given back last."""
    pool = await create(max_size=3)
    first = {await pool.fetchval(PID) for _ in range(5)}
    assert len(first) == pool.get_size() == 1
    one, two = await pool.acquire(), await pool.acquire()
    pid = two.get_server_pid()
    await pool.release(one)
    await pool.release(two)
    async with pool.acquire() as conn:
        assert conn.get_server_pid() == pid
    assert pool.get_size() == 2


async def test_floor_is_kept(create, observer, application_name):
    """A connection of the minimum that ends is replaced though nobody asks for one."""
    pool = await create(min_size=2, max_size=3)
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
    observer.execute("SELECT pg_terminate_backend(%s)", [pid])
    await until_gone(observer, pid)
    await until(observer, SESSIONS_ARE, application_name, 2)
    await assert_serves(pool)


# Acquire and release.


async def test_acquire_both_ways(create):
    """A connection can be had by a block, or by await and release."""
    pool = await create(max_size=1)
    async with pool.acquire() as conn:
        pid = await conn.fetchval(PID)
        assert pool.get_idle_size() == 0
    assert pool.get_idle_size() == 1
    conn = await pool.acquire()
    assert await conn.fetchval(PID) == pid
    assert await pool.release(conn) is None
    conn = await pool.acquire(timeout=PATIENCE_S)
    assert await conn.fetchval(PID) == pid
    await pool.release(conn, timeout=PATIENCE_S)
    await assert_serves(pool, size=1)


async def test_acquire_is_used_once(create):
    """One acquire is one connection."""
    pool = await create()
    once = "^a connection is already acquired$"
    acquire = pool.acquire()
    async with acquire:
        with pytest.raises(chopin.InterfaceError, match=once):
            async with acquire:
                pass
    with pytest.raises(chopin.InterfaceError, match=once):
        async with acquire:
            pass
    acquire = pool.acquire()
    conn = await acquire
    with pytest.raises(chopin.InterfaceError, match=once):
        async with acquire:
            pass
    await pool.release(conn)
    await assert_serves(pool, size=1)


async def test_acquire_that_is_not_used(create):
    """`acquire` alone takes nothing and warns of nothing."""
    pool = await create(max_size=1)
    for _ in range(3):
        pool.acquire()
    await assert_serves(pool, size=1)


async def test_release_of_what_is_not_ours(create, connect):
    """Only a connection that this pool lent can be given back to it."""
    pool, other = await create(), await create()
    raw = await connect()
    async with other.acquire() as theirs:
        for what in None, 5, raw, theirs:
            text = (
                f"Pool.release() received invalid connection: {what!r} is not a member"
                " of this pool"
            )
            with pytest.raises(chopin.InterfaceError, match=f"^{re.escape(text)}$"):
                await pool.release(what)
        assert await theirs.fetchval("SELECT 1") == 1
    assert await raw.fetchval("SELECT 1") == 1


async def test_released_twice(create):
    """Giving back what was given back does nothing, even when another has it now."""
    pool = await create(max_size=1)
    async with pool.acquire() as conn:
        await pool.release(conn)
        await pool.release(conn)
        async with pool.acquire() as second:
            await pool.release(conn)
            assert pool.get_idle_size() == 0
            assert await second.fetchval("SELECT 1") == 1
    await pool.release(conn)
    await assert_serves(pool, size=1)


async def test_released_by_another_task(create):
    """It does not matter who gives a connection back."""
    pool = await create(max_size=1)
    conn = await pool.acquire()
    await asyncio.create_task(pool.release(conn))
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_ended_by_its_user(create, observer, how):
    """A connection that its user ends is replaced by the pool."""
    pool = await create(max_size=1)
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
        if how == "close":
            await conn.close()
        else:
            conn.terminate()
        with pytest.raises(chopin.InterfaceError):
            await conn.fetchval("SELECT 1")
    await until_gone(observer, pid)
    assert await pool.fetchval(PID) != pid
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("where", ["idle", "lent"])
async def test_ended_by_the_server(create, observer, where):
    """A connection that the server ended is replaced by the pool."""
    pool = await create(max_size=1)
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
        if where == "lent":
            with pytest.raises(chopin.PostgresError):
                await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    if where == "idle":
        observer.execute("SELECT pg_terminate_backend(%s)", [pid])
    await until_gone(observer, pid)
    await eventually(lambda: pool.get_size() == 0)
    assert await pool.fetchval(PID) != pid
    await assert_serves(pool, size=1)


async def test_exception_in_the_block(create):
    """An exception passes; the connection goes back, its transaction undone."""
    pool = await create(max_size=1)
    with pytest.raises(Oops):
        async with pool.acquire() as conn:
            async with conn.transaction():
                await conn.execute("CREATE TEMP TABLE t (a int)")
                raise Oops
    assert await pool.fetchval("SELECT to_regclass('pg_temp.t')") is None
    with pytest.raises(chopin.DivisionByZeroError):
        async with pool.acquire() as conn:
            await conn.fetch("SELECT 1/0")
    await assert_serves(pool, size=1)


async def test_generator_that_is_left(create):
    """A generator that holds a connection gives it back when it is closed."""
    pool = await create(max_size=1)

    async def rows():
        async with pool.acquire() as conn, conn.transaction():
            async for row in conn.cursor("SELECT generate_series(1, 1000)"):
                yield row[0]

    async with contextlib.aclosing(rows()) as numbers:
        async for number in numbers:
            if number == 3:
                break
    await assert_serves(pool, size=1)


async def test_handle_that_is_dropped(create):
    """A connection that nobody can give back any more goes back by itself."""
    pool = await create(max_size=1)
    conn = await pool.acquire()
    pid = conn.get_server_pid()
    with pytest.warns(ResourceWarning, match="release"):
        del conn
        gc.collect()
    async with patience():
        assert await pool.fetchval(PID) == pid
    await assert_serves(pool, size=1)


# Waiting.


async def test_waits_for_a_connection(create):
    """Who comes to an exhausted pool waits until a connection is given back."""
    pool = await create(max_size=1)
    async with borrowed(pool) as conn:
        pid = conn.get_server_pid()
        waiting = asyncio.ensure_future(pool.acquire())
        await turns()
        assert not waiting.done()
    async with patience():
        conn = await waiting
    assert conn.get_server_pid() == pid
    await pool.release(conn)
    await assert_serves(pool, size=1)


async def test_child_of_a_borrower_waits(create):
    """A task that a borrower has started may wait for that borrower's connection."""
    pool = await create(max_size=1)
    async with patience():
        async with pool.acquire():
            waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
            await turns()
            assert not waiting.done()
        assert await waiting == 1
    await assert_serves(pool, size=1)


async def test_first_come_first_served(create):
    """Those that wait are served in their order."""
    pool = await create(max_size=1)
    served = []

    async def user(number):
        async with pool.acquire() as conn:
            await conn.fetchval("SELECT 1")
            served.append(number)

    async with borrowed(pool):
        tasks = []
        for number in range(8):
            tasks.append(asyncio.create_task(user(number)))
            await turns()
    async with patience():
        await asyncio.gather(*tasks)
    assert served == list(range(8))
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("timeout", [SHORT, 0, -1])
async def test_timeout(create, timeout):
    """Who waits longer than he wanted to is told so, and has taken nothing."""
    pool = await create(max_size=1)
    async with borrowed(pool) as conn:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await pool.acquire(timeout=timeout)
            with pytest.raises(TimeoutError):
                async with pool.acquire(timeout=timeout):
                    pass
        assert await conn.fetchval("SELECT 1") == 1
    await assert_serves(pool, size=1)


async def test_timeout_names_the_holders(create):
    """The error says who has the connections, since when, and what he did last."""
    pool = await create(min_size=2, max_size=2, acquire_timeout=SHORT)
    async with borrowed(pool, "ann") as one, borrowed(pool, "bob") as two:
        await one.fetchval("SELECT 41 + 1")
        await two.execute("SET application_name TO DEFAULT")
        for attempt in (
            lambda: pool.acquire(timeout=SHORT / 2),
            lambda: pool.acquire(),
            lambda: pool.fetch("SELECT 1"),
            lambda: pool.execute("SELECT 1"),
            lambda: pool.transaction().__aenter__(),
        ):
            with pytest.raises(chopin.PoolTimeoutError) as caught:
                await attempt()
            text = str(caught.value)
            for word in "ann", "bob", "SELECT 41 + 1", "SET application_name":
                assert word in text
            assert re.search(r"\d(\.\d+)? ?s", text)
            assert isinstance(caught.value, TimeoutError)
            assert isinstance(caught.value, chopin.PoolError)
            assert (caught.value.kind, caught.value.outcome) == ("pool", "not_sent")
    await assert_serves(pool, size=2)


async def test_waits_for_itself(create):
    """A task that has everything and wants more is told at once that it cannot be."""
    pool = await create(max_size=1, acquire_timeout=None)
    async with patience():
        async with pool.acquire() as conn:
            for use in (lambda: pool.acquire(), lambda: pool.fetchval("SELECT 1")):
                with pytest.raises(chopin.PoolDeadlockError):
                    await use()
            assert await conn.fetchval("SELECT 1") == 1
    await assert_serves(pool, size=1)


async def test_cancelled_while_waiting(create):
    """Who is cancelled while he waits gets nothing; those behind him do."""
    pool = await create(max_size=1)
    async with borrowed(pool):
        tasks = [asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(5)]
        await turns()
        for task in tasks[::2]:
            task.cancel()
        await turns()
    async with patience():
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results[::2]] == [asyncio.CancelledError] * 3
    assert results[1::2] == [1, 1]
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("is_last", [True, False], ids=["alone", "one behind"])
async def test_cancelled_while_it_is_served(create, is_last):
    """A connection is not lost when its next user is cancelled as he gets it."""
    pool = await create(max_size=1)
    entered = []

    async def user(number):
        async with pool.acquire():
            entered.append(number)

    for turn in range(20):
        entered.clear()
        async with patience():
            conn = await pool.acquire()
            cancelled = asyncio.create_task(user(1))
            behind = None if is_last else asyncio.create_task(user(2))
            await turns()
            releasing = asyncio.create_task(pool.release(conn))
            await turns(turn)
            cancelled.cancel()
            await asyncio.wait([releasing, cancelled])
            if behind:
                await behind
            assert cancelled.cancelled() or 1 in entered
        await assert_serves(pool, size=1)

    async with patience():
        conn = await pool.acquire()
        cancelled = asyncio.create_task(user(1))
        await turns()
        await pool.release(conn)
        cancelled.cancel()
        await asyncio.wait([cancelled])
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("when", WHEN)
async def test_cancelled_anywhere(create, when):
    """Wherever a user is cancelled, his connection goes back or is replaced."""

    async def user():
        async with pool.acquire() as conn:
            async with conn.transaction():
                await conn.fetchval("SELECT 1")
            await conn.execute("SET work_mem TO '1MB'")

    for is_connected in False, True:
        number = 1
        while True:
            pool = await create(max_size=1)
            if is_connected:
                await pool.fetchval("SELECT 1")
            async with patience():
                if not await cancel_at([number], user(), when):
                    break
            await assert_serves(pool, size=1)
            assert await pool.fetchval("SHOW work_mem") == "4MB"
            await pool.close()
            number += 1
        assert number > 3


async def test_cancelled_in_the_block(create, observer):
    """What a cancelled user was waiting for is stopped, and the next one is served."""
    pool = await create(max_size=1)

    async def user():
        async with pool.acquire() as conn:
            await conn.execute(f"SELECT 1 FROM {gate.sql}")

    with Gate(observer) as gate:
        task = asyncio.create_task(user())
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_serves(pool, size=1)
