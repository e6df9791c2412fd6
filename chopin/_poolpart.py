"""The part of a pool that belongs to one event loop: does what `LoopPool` decides.

Owns: `PoolPart`: opening and closing connections, cleaning and checking them, timers,
waiting with a time-out, the leases and the hub of this loop.
Layer L5. Imports L0, L3, L4 and the pool's other modules but `pool`.

Rules
- It knows the pool's settings and not the pool, so that a pool that was dropped can be
  noticed.
- Everything here runs in its loop but what `Spender` has and `bury`, which may be
  called from any thread.
- What it does in the background are tasks of its own, which end with it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from chopin import _statements
from chopin._execute import unblocked
from chopin._hub import Hub
from chopin._lease import Holder, Lease, holds_one_of, lend, take_back
from chopin._looppool import LoopPool
from chopin._ops import check_timeout, start_sync
from chopin._poolopening import Opener, is_final
from chopin._poolsettings import PoolSettings, run_hook
from chopin._slots import GONE, Read, Slot, Ticket
from chopin.aio import WireProtocol
from chopin.connection import Connection
from chopin.exceptions import (
    InterfaceError,
    PoolDeadlockError,
    PoolError,
    PoolTimeoutError,
)

log = logging.getLogger("chopin.pool")

#: Seconds for a server to answer a Sync, and for a connection to say goodbye.
CHECK_TIMEOUT = 5.0
# Seconds after which is looked whether others still wait for a connection.
_LOOK = 0.25


class PoolPart:
    """One event loop's connections of a pool.

    Args:
        settings: of the pool.
        loop: the running loop.
    """

    def __init__(self, settings: PoolSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        # not `loop.time`, which stands still during a turn of uvloop
        self.clock = time.monotonic
        self.pool = LoopPool(settings.limits, self, loop, self.clock, random.random)
        self.is_stopped = False
        self._opener = Opener(settings, loop, self.clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._openers: set[asyncio.Task[Any]] = set()
        self.leases: set[Lease] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wake_time = math.inf
        self._on_drained: Callable[[], None] | None = None
        self._burial = threading.Lock()
        # a fork of this process has no part in it
        self.pid = os.getpid()
        self.hub = Hub(settings, loop, self.clock, self._opener, self._start, self.pool)

    # -- single queries and acquisitions -----------------------------------------------

    def _deadline(self, timeout: float | None) -> float:
        """When a call that begins now has waited long enough for a connection."""
        if timeout is None:
            timeout = self.settings.acquire_timeout
        elif type(timeout) not in (int, float) or timeout != timeout:
            timeout = check_timeout(timeout)
        return self.clock() + timeout

    def ride(self, read: Read, now: float) -> Slot | None:
        """A busy connection that a fast read may share, or None."""
        if not read.is_fast or self.pool.limits.depth == 1 or holds_one_of(self):
            return None
        return self.pool.ride(now)

    def wait_single(
        self, read: Read, began: float, timeout: float | None
    ) -> Coroutine[Any, Any, Slot]:
        """Get a connection for a single query that could not be had at once.

        Args:
            read: what is known of the query.
            began: when it was asked for.
            timeout: seconds.

        Returns:
            A coroutine that returns the slot.
        """
        return self._wait(read, began, self._deadline(timeout))

    async def acquire(self, timeout: float | None) -> Connection:
        """A connection for one user, set up as the pool's `setup` says."""
        pool = self.pool
        began = self.clock()
        deadline = self._deadline(timeout)
        slot = pool.take(began)
        if slot is None:
            slot = await self._wait(None, began, deadline)
        pool.counts.acquired += 1
        lease = slot.lease = Lease(self, slot, self.clock(), timeout)
        if self.settings.leak_threshold != math.inf:
            lease.keep_stack()
        handle = lend(lease)
        if self.settings.setup is not None:
            try:
                async with asyncio.timeout(_left(deadline, self.clock())):
                    await run_hook("setup", self.settings.setup, handle)
            except BaseException:
                if not handle._is_released:
                    pool.discard(slot)
                    self._release(handle, lease)
                raise
        return handle

    async def _wait(self, read: Read | None, began: float, deadline: float) -> Slot:
        """Stand in line for a connection, again if it has ended when it comes."""
        while True:
            ticket = self._stand_in_line(read, began, deadline)
            try:
                slot: Slot = await ticket
            except BaseException:
                if not self.loop.is_closed():
                    self.pool.leave(ticket, self.clock())
                raise
            if slot.state is not GONE and slot.session.is_open:
                return slot
            self.pool.leave(ticket, self.clock())

    def _stand_in_line(
        self, read: Read | None, began: float, deadline: float
    ) -> Ticket:
        pool = self.pool
        if pool.is_closing:
            raise PoolError("pool is closing")
        task = None
        if holds_one_of(self):
            task = asyncio.current_task()
            if pool.is_deadlocked(task):
                raise PoolDeadlockError(
                    "every connection of the pool is held by a task that waits for "
                    f"another one: {self._describe_holders()}",
                    hint="acquire one connection per task, or raise max_size",
                )
        may_ride = (
            read is not None and read.is_fast and task is None and pool.limits.depth > 1
        )
        ticket = pool.join(read, may_ride, self.clock(), deadline, task)
        ticket.since = began
        return ticket

    def _release(self, handle: Connection, lease: Lease) -> None:
        """Take a connection back; hands it on unless there is a hook."""
        slot, session = lease.slot, handle._session
        if lease.is_reported:
            log.warning(
                "a connection that seemed to have leaked was released: %s",
                lease.holder(self.clock()),
            )
        lease.end()
        handle._observers.log.clear()
        handle._stop_listening("it was released to the pool")
        if session.is_open and (
            handle._top_xact is not None
            # not one that is being rolled back already
            or (session.transaction_status != "I" and not session.restoring)
        ):
            try:
                handle._report_open_transaction()
            finally:  # whatever the loop's handler raises
                self._take_back(handle, slot)
        else:
            self._take_back(handle, slot)

    def _take_back(self, handle: Connection, slot: Slot) -> None:
        session, settings = handle._session, self.settings
        take_back(handle)
        _end_use(session, "the connection was released")
        if settings.reset_policy == "always":
            session.dirty = True
        elif settings.reset_policy == "never":
            session.dirty = False
        if settings.reset_hook is None:
            self.pool.give(slot, self.clock())

    async def release(self, handle: Connection, timeout: float | None) -> None:
        """Take a connection back from its user and hand it on, seen by `reset` or not.

        Args:
            handle: the connection.
            timeout: seconds for the user's `reset`; as that of the acquisition if None.
        """
        lease: Lease = handle._lease  # type: ignore[attr-defined]
        self._release(handle, lease)
        if self.settings.reset_hook is not None:
            await self._run_reset(lease, timeout)

    def _release_soon(self, handle: Connection) -> None:
        """`release` where nobody can await it; `reset` runs in the background."""
        lease: Lease = handle._lease  # type: ignore[attr-defined]
        self._release(handle, lease)
        if self.settings.reset_hook is not None:
            self._start_with(lease.slot, self._run_reset(lease, None))

    async def _run_reset(self, lease: Lease, timeout: float | None) -> None:
        hook = self.settings.reset_hook
        assert hook is not None
        session = lease.slot.connection._session
        try:
            async with asyncio.timeout(lease.timeout if timeout is None else timeout):
                if session.is_open:
                    session.restore()
                    if session.restoring:
                        await unblocked(session)
                        await start_sync(session)
                    await run_hook("reset", hook, lease.slot.connection)
                    session.dirty = False
        except BaseException:
            self.pool.discard(lease.slot)
            raise
        self.pool.give(lease.slot, self.clock())

    def flush(self, which: str) -> None:
        """Close connections; the next ones know nothing of what these have learnt."""
        self._opener.forget()
        self.pool.flush(which)
        if which != "idle":
            self.hub.renew()

    def recover(self, lease: Lease) -> None:
        """A handle was dropped without being released: take its connection back."""
        if lease.slot.lease is not lease:
            return
        lease.end()
        own = lease.slot.connection
        own._session.listen(own)
        own._observers.log.clear()
        own._stop_listening("it was released to the pool")
        if not lease.is_reported:
            self.pool.counts.leaks += 1
        own._session.dirty = True
        _end_use(own._session, "the connection was dropped")
        if self.settings.reset_hook is not None:
            self._start_with(lease.slot, self._run_reset(lease, None))
        else:
            self.pool.give(lease.slot, self.clock())

    # -- what LoopPool asks for --------------------------------------------------------

    def open_one(self) -> None:
        """Connect in the background."""
        task = self._start(self._open())
        self._openers.add(task)
        task.add_done_callback(self._opener_ended)

    def _opener_ended(self, task: asyncio.Task[None]) -> None:
        self._openers.discard(task)
        if not task.cancelled() or self._burial.locked():
            return
        # here, since a task may be cancelled before it has begun
        if self.pool.is_closing:
            self.pool.open_cancelled()
        else:
            error = InterfaceError("the pool's connect or init was cancelled")
            self.pool.open_failed(error, False, self.clock())

    async def _open(self) -> None:
        try:
            slot = await self._connect()
        except Exception as error:
            if not self._burial.locked():
                self.pool.open_failed(error, is_final(error), self.clock())
        else:
            if self._burial.locked():
                slot.connection._session.terminate()
            else:
                self.pool.opened(slot, self.clock())

    async def open_first(self, count: int) -> None:
        """Open connections and wait for them.

        Raises:
            PoolError: the pool was terminated meanwhile.
            BaseException: the first failure.
        """
        pool = self.pool
        while pool.opening < min(count, pool.limits.max_size) and self.claim(False):
            pool.opening += 1
        missing = pool.opening

        async def one() -> None:
            nonlocal missing
            slot = await self._connect()
            missing -= 1
            pool.opened(slot, self.clock())

        def some(count: int) -> asyncio.Future[list[BaseException | None]]:
            # tasks also where it is one, so that `terminate` can end it
            tasks = [self.loop.create_task(one()) for _ in range(count)]
            for task in tasks:
                self._openers.add(task)
                task.add_done_callback(self._openers.discard)
            return asyncio.gather(*tasks, return_exceptions=True)

        try:
            results = await some(min(missing, 1))
            # if it fails, the others need not fail as well
            if results == [None] and not pool.is_closing:
                results = await some(missing)
        finally:
            # some may not even have begun
            for _ in range(0 if self._burial.locked() else missing):
                pool.open_cancelled()
        if pool.is_closing:
            raise PoolError("pool is closed")
        for result in results:
            if result is not None:
                raise result

    async def _connect(self) -> Slot:
        if not self.pool.slots:
            self._opener.forget()  # it may be another server that is there now
        slot = await self._opener.connect()
        session: WireProtocol = slot.connection._session
        ref = weakref.ref(slot)
        session.on_restored = functools.partial(self._settled, ref)
        session.closed.add_done_callback(functools.partial(self._closed, ref))
        return slot

    def check(self, slot: Slot) -> None:
        """Ask its server in the background whether it is there."""
        self._start_with(slot, self._check(slot))

    def settle(self, slot: Slot) -> bool:
        """Roll back what is open, and reset what may have been left behind.

        The next user may come behind our own reset, which does not fail in a session
        that lives. A transaction must have ended first, since he may ask whether he is
        in one; and SQL of the user's may fail.
        """
        session: WireProtocol = slot.connection._session
        sql = ""
        if session.dirty:
            sql = self.settings.reset_sql or self._reset_query(slot)
            self.pool.counts.resets += 1
            _statements.forget_temporary(session)
        may_pass = session.transaction_status == "I" and not session.in_flight
        # an old PgBouncer gives its server away behind the reset, with a part of what
        # follows read already
        may_pass = may_pass and not session.pooled
        session.restore(sql)
        # a role may be there no more, and then nobody may be who the login is
        may_pass = may_pass and not session.own_roles
        return may_pass and self.settings.has_own_reset

    def _reset_query(self, slot: Slot) -> str:
        """What the connection's class says, which may be the user's and fail."""
        try:
            return slot.connection.get_reset_query() or ""
        except BaseException:
            self.pool.discard(slot)
            raise

    def _settled(self, ref: weakref.ref[Slot]) -> None:
        slot = ref()
        if slot is not None:
            self.pool.settled(slot, self.clock())

    def _closed(self, ref: weakref.ref[Slot], _: object) -> None:
        slot = ref()
        if slot is not None:
            self.pool.lost(slot)

    def close_slot(self, slot: Slot) -> None:
        """Say goodbye in the background."""
        task = self._start(self._close(slot))
        task.add_done_callback(functools.partial(self._slot_closed, slot))

    def _slot_closed(self, slot: Slot, _: object) -> None:
        slot.connection._session.terminate()
        if not self._burial.locked():
            self.pool.has_closed(slot, self.clock())

    async def _close(self, slot: Slot) -> None:
        try:
            await slot.connection.close(timeout=CHECK_TIMEOUT)
        except Exception as error:
            log.debug("a connection did not close in order: %r", error)

    def wake_at(self, when: float) -> None:
        """Have `_tick` called at this time at the latest."""
        if when >= self._wake_time or self.is_stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_time = when
        delay = max(when - self.clock(), 0.0)
        self._timer = self.loop.call_later(delay, _tick, weakref.ref(self))

    def claim(self, is_needed: bool) -> bool:
        """One connection out of the budget."""
        return self.settings.budget.claim(self, is_needed)

    def unclaim(self) -> None:
        """One connection back to the budget."""
        self.settings.budget.unclaim(self)
        self._see_drained()

    # -- other loops -------------------------------------------------------------------

    @property
    def idle_count(self) -> int:
        """About how many connections nobody uses; asked from any thread."""
        return len(self.pool.idle)

    def yield_soon(self) -> None:
        """Another loop or pool has not got its share: give a connection up."""
        self._from_outside(self._yield)

    def retry_soon(self) -> None:
        """Another loop or pool has given a connection up, or the budget has changed."""
        self._from_outside(self._look)

    def _from_outside(self, callback: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            self.bury()

    def _yield(self) -> None:
        pool = self.pool
        if self.is_stopped or pool.yield_one():
            return
        if self.settings.budget.is_over_share(self):
            pool.surplus = max(pool.surplus, 1)
            self.wake_at(self.clock() + _LOOK)

    def _look(self) -> None:
        if not self.is_stopped:
            self.tick()

    def bury(self) -> None:
        """Its event loop was closed, or stands still for good: its connections end.

        From any thread.
        """
        if not self._burial.acquire(blocking=False):
            return
        self.is_stopped = True
        pool = self.pool
        size = pool.size
        pool.is_closing = True
        pool.opening = pool.closing = 0
        for slot in list(pool.slots):
            slot.state = GONE
            slot.connection._session.cut()
        self.hub.cut()
        for collection in (pool.slots, pool.idle, pool.shared, pool.settling):
            collection.clear()
        pool.counts.closed += size
        self._tasks.clear()
        for _ in range(size):
            self.unclaim()
        self.settings.budget.leave(self)
        self._see_drained()

    # -- housekeeping ------------------------------------------------------------------

    def tick(self) -> None:
        """Whatever is due: time-outs, old and idle connections, checks, leaks."""
        now = self.clock()
        self._wake_time = math.inf
        next_time = self.pool.expire(now, self._time_out)
        self.pool.sweep(now)
        interval = self.settings.check_interval
        if interval != math.inf:
            for slot in self.pool.due_for_check(now, interval):
                self.check(slot)
        if self.settings.leak_threshold != math.inf:
            self._report_leaks(now)
        if not any(self.pool.waiting):
            self.settings.budget.forget_hunger(self)
        self._shrink()
        self.wake_at(min(next_time, now + self.settings.pause))

    def _shrink(self) -> None:
        """Give up what the budget has no room for, now or when it is free."""
        excess = self.settings.budget.excess(self)
        while excess > 0 and self.pool.yield_one():
            excess -= 1
        if excess > 0:
            self.pool.surplus = excess
        elif self.pool.surplus and self.settings.budget.is_wanted(self):
            self.wake_at(self.clock() + _LOOK)
        else:
            self.pool.surplus = 0

    def _time_out(self, ticket: Ticket) -> Exception:
        pool = self.pool
        waited = self.clock() - ticket.since
        error = PoolTimeoutError(
            f"no connection became free within {waited:.3g} s: {len(pool.slots)} of "
            f"{pool.limits.max_size} open, {pool.opening} being opened, "
            f"{sum(1 for _ in pool.waiting)} calls waiting",
            detail=f"held by {self._describe_holders()}",
            hint="hold connections for a shorter time, or raise max_size",
        )
        error.__cause__ = pool.last_failure
        return error

    def _describe_holders(self) -> str:
        held = self.holders()
        shown = "; ".join(map(str, held[:10])) or "nobody"
        more = len(held) - 10
        return f"{shown}; and {more} more" if more > 0 else shown

    def holders(self) -> list[Holder]:
        """Who holds connections, the longest first."""
        now = self.clock()
        leases = [slot.lease for slot in list(self.pool.slots)]
        held = [lease.holder(now) for lease in leases if lease is not None]
        return sorted(held, key=lambda holder: -holder.seconds)

    def _report_leaks(self, now: float) -> None:
        for slot in self.pool.slots:
            lease = slot.lease
            if lease is None or lease.is_reported:
                continue
            if now - lease.since >= self.settings.leak_threshold:
                lease.is_reported = True
                self.pool.counts.leaks += 1
                holder = lease.holder(now)
                log.warning(
                    "a connection seems to have leaked, it is held by %s; acquired at\n"
                    "%s",
                    holder,
                    "\n".join(holder.stack),
                )

    async def _check(self, slot: Slot) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await start_sync(slot.connection._session)
        except Exception:
            # the others that are idle may be gone as well
            for other in self.pool.due_for_check(self.clock(), CHECK_TIMEOUT):
                self.check(other)
            self.pool.checked(slot, False, self.clock())
            slot.connection._session.terminate()
        else:
            self.pool.checked(slot, True, self.clock())

    # -- the end -----------------------------------------------------------------------

    @property
    def is_drained(self) -> bool:
        """Whether it is closing, and everything has ended."""
        return self.pool.is_closing and not (self.pool.size or self._tasks)

    def close(self, is_fast: bool, on_drained: Callable[[], None]) -> None:
        """Close what is idle at once, what is used when it is given back.

        Args:
            is_fast: do not wait for who uses a connection.
            on_drained: called when all of it has ended.
        """
        pool = self.pool
        self._on_drained = on_drained
        pool.is_closing = True
        for task in list(self._openers):
            task.cancel()
        pool.fail_waiting(lambda: PoolError("pool is closing"))
        self.hub.close()
        pool.flush("all" if is_fast else "idle")
        for slot in list(pool.settling):
            pool.discard(slot)
        self._see_drained()

    def reopen(self) -> None:
        """The close was called off."""
        self._on_drained = None
        self.pool.is_closing = False
        self.tick()

    def terminate(self) -> None:
        """End everything now, without a word to the server."""
        if self.loop.is_closed():
            self.bury()
            return
        pool = self.pool
        pool.is_closing = True
        self.hub.terminate()
        for task in self._tasks | self._openers:
            task.cancel()
        pool.fail_waiting(lambda: PoolError("pool is closing"))
        for slot in list(pool.slots):
            pool.lost(slot)
            slot.connection._session.terminate()
        self.stop()

    def stop(self) -> None:
        """Nothing is left to do."""
        self.is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self.settings.budget.leave(self)

    def _see_drained(self) -> None:
        if self._on_drained is not None and self.is_drained:
            self._on_drained()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _start_with(self, slot: Slot, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start what nobody else knows of the slot; if it is cancelled, both end."""
        task = self._start(coroutine)
        task.add_done_callback(functools.partial(self._cut_off, slot))

    def _cut_off(self, slot: Slot, task: asyncio.Task[None]) -> None:
        # here, since a task may be cancelled before it has begun
        if task.cancelled() and not self._burial.locked():
            self.pool.discard(slot)
            slot.connection._session.terminate()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._see_drained()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.call_exception_handler(
                {
                    "message": "a background task of a pool failed",
                    "exception": error,
                    "task": task,
                }
            )


def _end_use(session: WireProtocol, text: str) -> None:
    """Nothing of what its user has begun may reach the next one."""
    session.epoch += 1
    session.gate.free()
    if session.gate.line:
        session.terminate()  # calls that are not sent yet would go on
    elif session.in_flight:
        session.drop_all(text)


def _left(deadline: float, now: float) -> float | None:
    """The time until a deadline, as a time-out."""
    return None if deadline == math.inf else deadline - now


def _tick(ref: weakref.ref[PoolPart]) -> None:
    part = ref()
    if part is not None:
        part.tick()
