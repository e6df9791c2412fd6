"""create_pool: a pool that is not open, is being opened, is closing or closed.

What is expected here was first seen to hold for asyncpg, but for `close(mode, timeout)`
and `cancel_close`, which it does not have, and for who waits when the pool is closed.
"""

import asyncio
import contextlib
import gc

import pytest

import chopin
from tests.support.backends import Gate, until
from tests.support.pools import (
    SESSIONS_ARE,
    assert_serves,
    borrowed,
    patience,
    turns,
)

SHORT = 0.02
NOT_OPEN = "^pool is not initialized$"
CLOSING = "^pool is closing$"
CLOSED = "^pool is closed$"


class Oops(Exception):
    """The user's own."""


# Opening.

USES = {
    "acquire": lambda pool: pool.acquire(),
    "async with acquire": lambda pool: pool.acquire().__aenter__(),
    "fetch": lambda pool: pool.fetch("SELECT 1"),
    "fetchrow": lambda pool: pool.fetchrow("SELECT 1"),
    "fetchval": lambda pool: pool.fetchval("SELECT 1"),
    "fetchmany": lambda pool: pool.fetchmany("SELECT 1", [()]),
    "execute": lambda pool: pool.execute("SELECT 1"),
    "executemany": lambda pool: pool.executemany("SELECT 1", [()]),
    "transaction": lambda pool: pool.transaction().__aenter__(),
    "run_in_transaction": lambda pool: pool.run_in_transaction(asyncio.sleep),
}


async def test_opened_by_await(create):
    """`await pool` opens it and is the pool; once more is no harm."""
    pool = create()
    assert isinstance(pool, chopin.Pool)
    assert await pool is pool
    assert await pool is pool
    assert await pool.fetchval("SELECT 1") == 1
    async with pool as entered:
        assert entered is pool
        assert await pool.fetchval("SELECT 1") == 1
    assert pool.is_closing()


async def test_opened_by_block(create):
    """A block opens the pool and closes it."""
    async with create(min_size=1) as pool:
        assert pool.get_size() == 1
        assert not pool.is_closing()
    assert pool.is_closing()
    assert pool.get_size() == 0


async def test_block_fails(create):
    """The pool is closed when an exception leaves its block."""
    with pytest.raises(Oops):
        async with create(min_size=1) as pool:
            raise Oops
    assert pool.is_closing()
    assert pool.get_size() == 0


async def test_not_opened(create):
    """A pool that nobody awaited says so."""
    pool = create()
    for use in USES.values():
        with pytest.raises(chopin.InterfaceError, match=NOT_OPEN):
            await use(pool)


async def test_not_opened_and_closed(create):
    """What was not opened cannot be closed; asking how big it is does no harm."""
    pool = create(min_size=1, max_size=3)
    with pytest.raises(chopin.InterfaceError, match=NOT_OPEN):
        await pool.close()
    with pytest.raises(chopin.InterfaceError, match=NOT_OPEN):
        pool.terminate()
    assert (pool.get_size(), pool.get_idle_size()) == (0, 0)
    assert (pool.get_init_size(), pool.get_min_size(), pool.get_max_size()) == (1, 1, 3)
    assert not pool.is_closing()


async def test_race(create):
    """Whoever opens or uses a pool that is being opened is told that it is too soon."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def init(conn):
        entered.set()
        await go_on.wait()

    pool = create(init=init, min_size=1)
    opening = asyncio.ensure_future(pool)
    await entered.wait()
    with pytest.raises(
        chopin.InterfaceError, match="^pool is being initialized in another task$"
    ):
        await pool
    text = (
        "pool is being initialized, but not yet ready: likely there is a race between"
        " creating a pool and using it"
    )
    for use in USES.values():
        with pytest.raises(chopin.InterfaceError, match=f"^{text}$"):
            await use(pool)
    go_on.set()
    assert await opening is pool
    await assert_serves(pool)


async def test_cannot_be_opened(create):
    """The error of connecting is that of opening; the pool is closed then."""
    pool = create(database="nope", min_size=1)
    async with patience():
        with pytest.raises(chopin.InvalidCatalogNameError):
            await pool
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await pool.acquire()


async def test_nobody_is_there(create, unused_tcp_port):
    """A server that does not answer is an error of the network."""
    pool = create("postgresql://x@127.0.0.1", port=unused_tcp_port, min_size=1)
    async with patience():
        with pytest.raises(OSError):
            await pool


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_opening_ends_halfway(create, observer, application_name, how):
    """A pool that was not opened as a whole leaves no connection."""
    count, reached = 0, asyncio.Event()

    async def init(conn):
        nonlocal count
        count += 1
        if count == 3:
            if how == "fails":
                raise Oops
            reached.set()
            await asyncio.Event().wait()

    pool = create(init=init, min_size=3, max_size=3)
    opening = asyncio.ensure_future(pool)
    if how == "fails":
        with pytest.raises(Oops):
            await opening
    else:
        await reached.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await until(observer, SESSIONS_ARE, application_name, 0)
    assert pool.get_size() == 0
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await pool.acquire()


@pytest.mark.parametrize("hanging", [1, 2], ids=["the first", "the others"])
async def test_terminated_while_opening(create, observer, application_name, hanging):
    """`terminate` ends what is being connected; who opens the pool is told."""
    count, reached = 0, asyncio.Event()

    async def init(conn):
        nonlocal count
        count += 1
        if count >= hanging:
            reached.set()
            await asyncio.Event().wait()

    pool = create(init=init, min_size=3, max_size=3)
    opening = asyncio.ensure_future(pool)
    await reached.wait()
    pool.terminate()
    assert pool.is_closing()
    async with patience():
        with pytest.raises(chopin.PoolError, match=CLOSED):
            await opening
    assert pool.is_closing()
    assert (pool.get_size(), pool._settings.budget.used) == (0, 0)
    await until(observer, SESSIONS_ARE, application_name, 0)


async def test_terminated_by_init(create, observer, application_name):
    """Also from within, or where all are connected already."""

    async def init(conn):
        pool.terminate()

    pool = create(init=init, min_size=1)
    async with patience():
        with pytest.raises(chopin.PoolError, match=CLOSED):
            await pool
    assert pool.is_closing()
    assert pool.get_size() == 0
    await until(observer, SESSIONS_ARE, application_name, 0)


# Closing.


async def test_close_waits_for_holders(create, observer, application_name):
    """`close` lets those that have a connection go on, and nobody else begin."""
    pool = await create(min_size=1, max_size=3)
    conn = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await turns()
    assert pool.is_closing()
    assert not closing.done()
    for use in USES.values():
        with pytest.raises(chopin.InterfaceError, match=CLOSING):
            await use(pool)
    assert not closing.done()
    assert await conn.fetchval("SELECT 1") == 1
    await pool.release(conn)
    async with patience():
        await closing
    await until(observer, SESSIONS_ARE, application_name, 0)
    assert pool.get_size() == 0


async def test_closed(create):
    """A closed pool says so."""
    pool = await create(min_size=1)
    await pool.close()
    assert pool.is_closing()
    assert (pool.get_size(), pool.get_idle_size()) == (0, 0)
    for use in USES.values():
        with pytest.raises(chopin.InterfaceError, match=CLOSED):
            await use(pool)


async def test_closed_twice(create):
    """Closing again is no harm, nor is closing at the same time."""
    pool = await create(min_size=1)
    async with patience():
        async with borrowed(pool):
            closing = [asyncio.create_task(pool.close()) for _ in range(2)]
            await turns()
        await asyncio.gather(*closing)
        await pool.close()
    pool.terminate()
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        async with pool:
            await pool.fetchval("SELECT 1")


async def test_close_turns_away_those_that_wait(create):
    """Who waits for a connection when the pool is closed is told."""
    pool = await create(max_size=1)
    async with patience():
        async with borrowed(pool):
            waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
            await turns()
            closing = asyncio.create_task(pool.close())
            with pytest.raises(chopin.InterfaceError, match="pool is clos"):
                await waiting
            assert not closing.done()
        await closing


@pytest.mark.parametrize("how", ["cancel", "wait_for"])
async def test_close_is_cut_short(create, observer, application_name, how):
    """A `close` that is cancelled ends all connections at once."""
    pool = await create(min_size=1)
    conn = await pool.acquire()
    if how == "cancel":
        closing = asyncio.create_task(pool.close())
        await turns()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.close(), SHORT)
    with pytest.raises(chopin.InterfaceError):
        await conn.fetchval("SELECT 1")
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await pool.acquire()
    await pool.release(conn)
    await until(observer, SESSIONS_ARE, application_name, 0)


async def test_close_with_a_timeout(create, observer, application_name):
    """`close(timeout=...)` ends the connections that were not given back in time."""
    pool = await create(min_size=1)
    conn = await pool.acquire()
    async with patience():
        with contextlib.suppress(TimeoutError):
            await pool.close(timeout=SHORT)
    with pytest.raises(chopin.InterfaceError):
        await conn.fetchval("SELECT 1")
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await pool.acquire()
    await pool.release(conn)
    await until(observer, SESSIONS_ARE, application_name, 0)


async def test_close_fast(create, observer, application_name):
    """`close("fast")` does not wait for those that have a connection."""
    pool = await create(min_size=1)
    conn = await pool.acquire()
    async with patience():
        await pool.close("fast")
    with pytest.raises(chopin.InterfaceError):
        await conn.fetchval("SELECT 1")
    await pool.release(conn)
    await until(observer, SESSIONS_ARE, application_name, 0)
    with pytest.raises(ValueError, match="mode"):
        await pool.close("slowly")


async def test_close_is_taken_back(create):
    """`cancel_close` ends a graceful close; the pool goes on."""
    pool = await create(max_size=1)
    async with patience():
        async with borrowed(pool):
            closing = asyncio.create_task(pool.close())
            await turns()
            pool.cancel_close()
            with pytest.raises(chopin.InterfaceError):
                await closing
            assert not pool.is_closing()
    await assert_serves(pool, size=1)


async def test_closed_again_once_taken_back(create):
    """Each `close` is told of its own end, also when the next one has begun by then."""
    pool = await create(max_size=1)
    async with patience():
        async with borrowed(pool) as conn:
            called_off = [asyncio.create_task(pool.close()) for _ in range(2)]
            await turns()
            pool.cancel_close()
            again = asyncio.create_task(pool.close())
            await turns()
            for closing in called_off:
                with pytest.raises(chopin.InterfaceError, match="called off"):
                    await closing
            assert pool.is_closing()
            assert not again.done()
            assert await conn.fetchval("SELECT 1") == 1
        await again
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await pool.acquire()


async def test_close_is_taken_back_and_cancelled(create):
    """Who is cancelled at the same time is cancelled; the pool goes on."""
    pool = await create(max_size=1)
    async with patience():
        async with borrowed(pool):
            closing = asyncio.create_task(pool.close())
            await turns()
            pool.cancel_close()
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
    await assert_serves(pool, size=1)


async def test_terminate(create, observer, application_name):
    """`terminate` ends all connections at once, whatever they do."""
    pool = await create(min_size=3, max_size=3)
    conn = await pool.acquire()
    with Gate(observer) as gate:
        query = asyncio.create_task(pool.fetch(f"SELECT 1 FROM {gate.sql}"))
        await gate.reached()
        pool.terminate()
        assert pool.is_closing()
        async with patience():
            with pytest.raises((chopin.PostgresError, chopin.InterfaceError)):
                await query
    assert (pool.get_size(), pool.get_idle_size()) == (0, 0)
    with pytest.raises(chopin.InterfaceError):
        await conn.fetchval("SELECT 1")
    with pytest.raises(chopin.InterfaceError, match=CLOSED):
        await pool.acquire()
    await pool.release(conn)
    pool.terminate()
    await pool.close()
    await until(observer, SESSIONS_ARE, application_name, 0)


@pytest.mark.parametrize("size", [0, 2])
async def test_dropped(dsn, size):
    """Who drops a pool without closing it is told; its connections end."""
    pool = await chopin.create_pool(dsn, min_size=size, max_size=2)
    if not size:
        await pool.fetchval("SELECT 1")
    with pytest.warns(ResourceWarning, match="unclosed"):
        del pool
        gc.collect()
