"""Makes server processes wait at a point that the test chooses, and sees them wait.

Owns: `Gate`, an advisory lock that a statement waits for; `frozen`, a server process
that does nothing at all; `until`, which looks at the server until something is so;
`assert_whole`, that a connection is usable or closed.
Rules:

- Nothing is synchronised by the clock: a test goes on when the server says so.
- `observer` is a synchronous connection of another driver. It holds the locks, so they
  go when the test does.

Source: PostgreSQL documentation, "Advisory Locks", "The Statistics Collector".
"""

import asyncio
import contextlib
import itertools
import os
import signal

import pytest

import chopin

# Looks at the server, 2 ms of the server's time apart, before a test gives up.
LOOKS = 2500
_numbers = itertools.count(7_000_001)  # of locks, and of answers


async def until(observer, what, *args):
    """Return when the query `what` gives true; args as for psycopg."""
    for _ in range(LOOKS):
        for _ in range(3):
            await asyncio.sleep(0)
        if observer.execute(what, args).fetchone()[0]:
            return
        observer.execute("SELECT pg_sleep(0.002)")
    raise AssertionError(f"the server never came to {what!r} with {args!r}")


async def until_gone(observer, pid):
    """Wait until the server process has ended."""
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
    await until(observer, gone, pid)


async def assert_whole(conn, observer):
    """The connection is closed, or it works and is in no transaction."""
    if conn.is_closed():
        with pytest.raises(chopin.InterfaceError, match="connection is closed"):
            await conn.fetchval("SELECT 1")
        return
    own = [next(_numbers) for _ in range(3)]
    got = await asyncio.gather(
        conn.fetchval("SELECT $1::int AS a", own[0]),
        conn.fetch("SELECT $1::int AS b, 'x' AS c", own[1]),
        conn.fetchrow("SELECT $1::int AS d", own[2]),
        conn.execute("SELECT 1 UNION ALL SELECT 2"),
    )
    assert got == [own[0], [(own[1], "x")], (own[2],), "SELECT 2"], f"got {got}"
    assert not conn.is_in_transaction(), "a transaction was left open"
    state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
    found = observer.execute(state, [conn.get_server_pid()]).fetchone()
    assert found == ("idle",), f"the server says {found}"


class Gate:
    """A point in a statement where the server waits until the gate is opened.

    Attributes:
        key: of the advisory lock; `pg_advisory_xact_lock(key)` waits.
        sql: a FROM item that waits and gives one row.
    """

    def __init__(self, observer):
        self._observer = observer
        self._is_open = False
        self.key = next(_numbers)
        self.sql = f"pg_advisory_xact_lock_shared({self.key})"
        observer.execute("SELECT pg_advisory_lock(%s)", [self.key])

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.open()

    def open(self):
        """Let those that wait go on."""
        if not self._is_open:
            self._is_open = True
            self._observer.execute("SELECT pg_advisory_unlock(%s)", [self.key])

    @contextlib.contextmanager
    def ajar(self):
        """Open inside of the block, and shut again afterwards."""
        self._observer.execute("SELECT pg_advisory_unlock(%s)", [self.key])
        try:
            yield
        finally:
            self._observer.execute("SELECT pg_advisory_lock(%s)", [self.key])

    async def reached(self, count=1):
        """Wait until so many statements wait at the gate."""
        waiting = (
            "SELECT count(*) >= %s FROM pg_locks"
            " WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        )
        await until(self._observer, waiting, count, self.key)


@contextlib.contextmanager
def frozen(pid):
    """Stop a process of the server inside of the block: it neither reads nor writes."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
