"""Pools for tests: made, borrowed from, and found whole again.

Owns: `pool_factory`, which ends what it made; `borrowed`, a connection that another
task holds; `assert_serves`, that a pool works; `same_connection`, two users in turn.
Rules:

- Nothing is synchronised by the clock: what another task does is waited for by an
  event, what the server does by looking at it (`tests.support.backends.until`).
- What would hang without the pool's help is inside of `patience`.
"""

import asyncio
import contextlib

import chopin

PATIENCE_S = 10
PID = "SELECT pg_backend_pid()"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
SESSIONS_ARE = f"SELECT ({SESSIONS}) = %s"
TURNS = 5  # of the loop: long enough for what needs no server
LOOKS = 5000


def patience():
    """A limit on what would otherwise hang."""
    return asyncio.timeout(PATIENCE_S)


async def turns(count=TURNS):
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def eventually(what):
    """Let the loop turn until `what()` is true."""
    for _ in range(LOOKS):
        if what():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


@contextlib.asynccontextmanager
async def pool_factory(dsn):
    """A function that makes pools, of up to two connections and not opened yet."""
    pools = []

    def make(dsn=dsn, **options):
        pool = chopin.create_pool(dsn, **{"min_size": 0, "max_size": 2} | options)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        # one that was never opened has nothing to end, and says so
        with contextlib.suppress(chopin.InterfaceError):
            pool.terminate()
    await turns()


@contextlib.asynccontextmanager
async def borrowed(pool, name="borrower"):
    """A connection that a task of that name holds inside of the block."""
    holds, over = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def hold():
        async with pool.acquire() as conn:
            holds.set_result(conn)
            await over.wait()

    task = asyncio.create_task(hold(), name=name)
    await asyncio.wait([task, holds], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield holds.result() if holds.done() else await task
    finally:
        over.set()
        await task


async def assert_serves(pool, *, size=None):
    """The pool works, and nobody holds one of its connections."""
    async with patience():
        assert await pool.fetchval("SELECT $1::int", 42) == 42
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT $1::int", 43) == 43
            assert not conn.is_in_transaction()
    # what the last users have left may still be being reset
    await eventually(lambda: pool.get_idle_size() == pool.get_size())
    if size is not None:
        assert pool.get_size() == size
