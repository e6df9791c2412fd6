"""Pools that are hurt on purpose: what the server shows of them, and other event loops.

Owns: `assert_recovered`, that a pool and its sessions are as if nothing had happened;
`until_rides`, which makes a statement known as a fast read; `OtherLoop`, an event loop
in a thread of its own.
Rules:

- What a pool has left behind is for the server to say, by the application's name.
- Nothing is synchronised by the clock: what is not so yet is looked at again.
- Only what users can see is looked at.
"""

import asyncio
import threading

PATIENCE_S = 20
PAUSE_S = 0.002

# All that a session can show of a user who has gone.
_SESSIONS = """
    SELECT pid, state, xact_start IS NOT NULL AS in_block, wait_event, query,
        (SELECT count(*) FROM pg_locks AS l WHERE l.pid = a.pid
            AND locktype = 'advisory') AS locks
    FROM pg_stat_activity AS a WHERE application_name = %s
"""


async def looked(what):
    """Look until `what()` is true, and return what it is at last."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not (seen := what()):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(PAUSE_S)
    return seen


def sessions(observer, application_name):
    """The sessions of that name: pid, state, in_block, wait_event, query, locks."""
    return observer.execute(_SESSIONS, [application_name]).fetchall()


async def assert_recovered(pool, observer, application_name, *, size=None):
    """Nobody uses the pool: it serves, and so do all of its connections.

    No session is busy, in a transaction, holds an advisory lock, or is unknown to the
    pool.

    Args:
        pool: nothing of the test's own runs on it.
        observer: sees the server.
        application_name: of the pool's sessions.
        size: how many connections it must have come back to; None: any number.
    """
    async with asyncio.timeout(PATIENCE_S):
        assert await pool.fetchval("SELECT $1::int", 42) == 42
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT $1::int", 43) == 43

    def is_sound():
        found = sessions(observer, application_name)
        stats = pool.stats()
        return (
            stats.idle == stats.size == len(found)
            and not (stats.lent or stats.shared or stats.opening or stats.waiting)
            and (size is None or stats.size == size)
            and all(s[1] == "idle" and not s[2] and not s[5] for s in found)
        )

    if not await looked(is_sound):
        found = "\n".join(map(str, sessions(observer, application_name)))
        raise AssertionError(f"{pool.stats()}, and the server shows\n{found}")
    assert pool.holders() == []
    assert pool.get_idle_size() == pool.get_size() <= pool.get_max_size()


async def until_rides(pool, sql, *args):
    """Run a read until the pool lets it ride: it is known, and known to be fast.

    As many as there can be connections and one more begin in the same turn.
    """
    count = pool.get_max_size() + 1
    for _ in range(200):
        before = pool.stats().rides
        await asyncio.gather(*(pool.fetch(sql, *args) for _ in range(count)))
        if pool.stats().rides > before:
            return
    raise AssertionError(f"{sql!r} never rides: {pool.stats()}")


class OtherLoop:
    """An event loop that runs in a thread of its own inside of the block.

    Args:
        factory: makes the loop.

    Attributes:
        loop: the event loop.
    """

    def __init__(self, factory):
        self.loop = factory()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    async def __aenter__(self):
        self._thread.start()
        return self

    async def __aexit__(self, *exc_info):
        if not self.loop.is_closed():
            await self.end()

    def start(self, coroutine):
        """Run a coroutine there; the future is one of this loop."""
        return asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        )

    async def run(self, coroutine):
        """Run a coroutine there, and wait for it."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.start(coroutine)

    async def end(self):
        """End the loop as `asyncio.run` does: its tasks are cancelled first."""
        await self.run(_cancel_all())
        await self.stop()

    async def stop(self):
        """Stop the loop and close it, whatever there is left in it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        await asyncio.to_thread(self._thread.join, PATIENCE_S)
        assert not self._thread.is_alive()
        self.loop.close()


async def _cancel_all():
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
