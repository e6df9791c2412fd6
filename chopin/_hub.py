"""The one connection of an event loop that listens for everybody: `Pool.listen`.

Owns: `Hub`, and the part of `Pool` that listens and speaks.
Layer L5. Imports L0, L3, `listening` and the pool's settings and opening.

Theory of operation
    A task, the keeper, has the connection for itself: it connects, says LISTEN and
    UNLISTEN for what has changed in the table of who hears what, asks the server from
    time to time whether it is there, and begins anew when the connection is lost. Users
    only change the table and wait until the keeper has followed. So a user who is
    cancelled, or leaves early, disturbs nothing.

Rules
- There is a connection while somebody listens, and a while longer. It does not count
  in `max_size`, for it is no use to anybody else.
- Who has entered hears everything, or gets a `Gap` behind which he hears everything.
- A connection that hears nothing may be dead: silence is asked, and no answer is the
  end of it.

Source: PostgreSQL documentation, "LISTEN", "Asynchronous Notification".
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from chopin._ops import start_sync
from chopin._poolopening import is_final
from chopin.exceptions import (
    ConnectionDoesNotExistError,
    InterfaceError,
    PoolError,
)
from chopin.listening import (
    QUEUE_SIZE,
    Channels,
    Leave,
    Notifications,
    Notifying,
    Overflow,
    script,
)
from chopin.types import Gap

if TYPE_CHECKING:
    from chopin._looppool import LoopPool
    from chopin._poolopening import Opener
    from chopin._poolpart import PoolPart
    from chopin._poolsettings import PoolSettings
    from chopin.aio import WireProtocol
    from chopin.connection import Connection
    from chopin.exceptions import PostgresLogMessage

log = logging.getLogger("chopin.pool")

# Seconds for the server to answer, with nothing else heard of it meanwhile.
ANSWER_TIMEOUT = 5.0
# Seconds for which the connection is kept when nobody listens any more.
GRACE = 10.0
_FIRST_PAUSE = 0.01
_LAST_PAUSE = 1.0


class Hub:
    """Listens for the blocks of one event loop.

    Args:
        settings: of the pool.
        loop: the running loop.
        clock: returns seconds.
        opener: makes connections.
        start: runs a coroutine as a task of the pool.
        pool: what else this loop has of the pool.
    """

    def __init__(
        self,
        settings: PoolSettings,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        opener: Opener,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        pool: LoopPool,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._clock = clock
        self._opener = opener
        self._start = start
        self._pool = pool
        self._channels = Channels()
        # what the server has confirmed on this connection
        self._confirmed: set[str] = set()
        # blocks: those that wait for that, until when; and those that have had it
        self._entering: dict[Notifications, tuple[asyncio.Future[None], float]] = {}
        self._entered: set[Notifications] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._connection: Connection | None = None
        self._is_outdated = False
        self._heard = 0
        self._pause = 0.0
        # since when nobody listens, and why, where a `Gap` must tell of it
        self._lost: tuple[float, BaseException] | None = None

    @property
    def size(self) -> int:
        """How many connections it has: one or none."""
        return int(self._connection is not None)

    @property
    def listeners(self) -> int:
        """How many blocks there are."""
        return len(self._entering) + len(self._entered)

    # -- users -------------------------------------------------------------------------

    async def enter(self, block: Notifications) -> Leave:
        """Have a block told what it wants to hear; returns when that is so."""
        self._check()
        self._channels.add(block.channels, block, block.put)
        if self._confirmed.issuperset(block.channels):
            self._entered.add(block)
            return self._leave
        ready = self._loop.create_future()
        until = self._clock() + self._settings.limits.retry_connect
        self._entering[block] = ready, until
        self._change()
        try:
            await ready
        except BaseException:
            self._remove(block)
            if ready.done() and not ready.cancelled():
                ready.exception()  # has been seen
            raise
        return self._leave

    async def _leave(self, block: Notifications) -> None:
        self._remove(block)

    def _remove(self, block: Notifications) -> None:
        self._entering.pop(block, None)
        self._entered.discard(block)
        if self._channels.discard(block.channels, block):
            self._changed.set()

    def _check(self) -> None:
        if self._pool.is_closing:
            raise PoolError("pool is closing")
        settings = self._settings
        if settings.listen_dsn is None and (
            settings.pooler is not None
            or any(slot.connection._session.pooled for slot in self._pool.slots)
        ):
            raise InterfaceError(
                "cannot listen behind a pooler in transaction mode, where nothing is "
                "heard: give the server's own address as listen_dsn"
            )

    def _change(self) -> None:
        """Have the keeper look at the table."""
        self._changed.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = self._start(self._keep())

    # -- the keeper --------------------------------------------------------------------

    async def _keep(self) -> None:
        """Have a connection as long as somebody listens."""
        try:
            while self.listeners:
                self._is_outdated = False
                try:
                    slot = await self._opener.connect(listens=True)
                except Exception as error:
                    await self._connect_failed(error, is_final(error))
                    continue
                failure = None
                try:
                    await self._serve(slot.connection)
                except Exception as error:
                    self._lose(error)
                    failure = error
                finally:
                    if not self._loop.is_closed():
                        self._detach(slot.connection)
                        slot.connection.terminate()
                if failure is not None:
                    await self._connect_failed(failure, False)
        except asyncio.CancelledError:
            self._end(PoolError("pool is closing"))
            raise
        except Exception as error:
            self._end(error)
            raise

    async def _serve(self, connection: Connection) -> None:
        """Listen on a connection until nobody wants to hear anything any more.

        Raises:
            Exception: the connection is of no use any more.
        """
        session = connection._session
        self._connection = connection
        session.listen(self)
        while not self._is_outdated:
            self._changed.clear()
            if not session.is_open:
                raise _end_of(session)
            await self._confirm(connection)
            is_used = bool(self.listeners)
            interval = self._settings.listen_check
            rest = interval if is_used else 0.0 if self._pool.is_closing else GRACE
            if not await self._wait(rest):
                if not is_used:
                    break
                await self._ask(session)
        else:
            self._lose(InterfaceError("the pool's connections were replaced"))
        self._detach(connection)
        with contextlib.suppress(Exception):
            await connection.close(timeout=ANSWER_TIMEOUT)

    def _detach(self, connection: Connection) -> None:
        """What the connection says from now on is not for the blocks any more."""
        connection._session.listen(connection)
        self._connection = None
        self._confirmed.clear()

    async def _confirm(self, connection: Connection) -> None:
        """Say LISTEN and UNLISTEN for what has changed, and tell those who wait."""
        wanted = set(self._channels.heard)
        gone, new = self._confirmed - wanted, wanted - self._confirmed
        self._confirmed -= gone
        texts = [script("UNLISTEN", gone)] if gone else []
        texts += [script("LISTEN", new)] if new else []
        if texts:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await connection._simple("; ".join(texts))
            except TimeoutError:
                raise _silence() from None
            self._confirmed |= new
        self._pause = 0.0
        self._tell_lost()
        for block, (ready, _) in list(self._entering.items()):
            if self._confirmed.issuperset(block.channels) and not ready.done():
                ready.set_result(None)
                del self._entering[block]
                self._entered.add(block)

    async def _ask(self, session: WireProtocol) -> None:
        """See that the server is there.

        Raises:
            TimeoutError: it is not; at least it said nothing for `ANSWER_TIMEOUT`.
        """
        began = self._clock()
        answered = asyncio.Event()
        op = start_sync(session)
        op.add_done_callback(lambda _: answered.set())
        while not answered.is_set():
            heard = self._heard
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await answered.wait()
            if not answered.is_set() and heard == self._heard:
                # it may have been gone for as long as nothing was asked
                self._lose(_silence(), began - self._settings.listen_check)
                break
        if self._lost is not None:
            raise self._lost[1]
        op.result()

    async def _wait(self, seconds: float) -> bool:
        """Wait for a change; whether there was one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()
        return self._changed.is_set()

    async def _connect_failed(self, error: Exception, is_final: bool) -> None:
        """Tell those who have waited for long enough, and wait a little."""
        now = self._clock()
        for block, (ready, until) in list(self._entering.items()):
            if (is_final or now >= until) and not ready.done():
                del self._entering[block]
                ready.set_exception(_again(error))
        if is_final:
            self._end(error)
        if self.listeners:
            level = logging.DEBUG if self._pause else logging.WARNING
            log.log(level, "pool.listen() has no connection: %r", error)
            self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LAST_PAUSE)
            await asyncio.sleep(self._pause * (1 - random.random() / 2))

    def _lose(self, error: BaseException, since: float | None = None) -> None:
        """The connection is gone: those who have listened are told when it is back."""
        if self._lost is None and self._entered:
            self._lost = self._clock() if since is None else since, error

    def _tell_lost(self) -> None:
        """It listens again: say since when it has not."""
        if self._lost is not None:
            since, reason = self._lost
            self._lost = None
            gap = Gap(self._clock() - since, 0, reason)
            for block in self._entered:
                block.put_gap(gap)

    # -- what the session says ---------------------------------------------------------

    def on_notice(self, message: PostgresLogMessage) -> None:
        """Called by the session for a NoticeResponse."""
        if self._connection is not None:
            self._connection.on_notice(message)

    def on_notification(self, pid: int, channel: str, payload: str) -> None:
        """Called by the session for a NotificationResponse."""
        self._heard += 1
        if self._lost is not None:
            self._tell_lost()  # this came in one read with the answer to LISTEN
        self._channels.deliver(None, (pid, channel, payload))

    def on_closed(self) -> None:
        """Called by the session when it has ended."""
        connection = self._connection
        if connection is not None:
            self._lose(_end_of(connection._session))
            connection.on_closed()
        self._changed.set()

    # -- the pool ----------------------------------------------------------------------

    def renew(self) -> None:
        """Take another connection; those who listen get a `Gap`."""
        self._is_outdated = True
        self._changed.set()

    def close(self) -> None:
        """The pool is closing: end the blocks, then the connection."""
        self._end(PoolError("pool is closing"))
        self._changed.set()
        if self._connection is None and self._keeper is not None:
            self._keeper.cancel()

    def terminate(self) -> None:
        """End everything now, without a word to the server."""
        self.close()
        if self._connection is not None:
            self._connection.terminate()

    def cut(self) -> None:
        """Its event loop is gone: the server sees the connection end."""
        connection, self._connection = self._connection, None
        self._keeper = None
        if connection is not None:
            connection._session.cut()

    def _end(self, error: BaseException) -> None:
        """Nobody hears anything any more."""
        for block, (ready, _) in self._entering.items():
            self._channels.discard(block.channels, block)
            if not ready.done():
                ready.set_exception(_again(error))
        for block in self._entered:
            self._channels.discard(block.channels, block)
            block.end(error)
        self._entering.clear()
        self._entered.clear()
        self._lost = None


def _silence() -> TimeoutError:
    return TimeoutError(f"the server did not answer in {ANSWER_TIMEOUT:g} s")


def _end_of(session: WireProtocol) -> BaseException:
    return session.closed_by or ConnectionDoesNotExistError("the connection was lost")


def _again(error: BaseException) -> BaseException:
    """The same error for one more task."""
    try:
        return copy.copy(error)
    except Exception:
        return error


class Listened(Notifying):
    """The part of `Pool` that listens and speaks."""

    __slots__ = ()

    _live: dict[asyncio.AbstractEventLoop, PoolPart]

    if TYPE_CHECKING:

        def _part(self) -> PoolPart: ...

    def listen(
        self,
        *channels: str,
        queue_size: int = QUEUE_SIZE,
        overflow: Overflow = "drop_oldest",
    ) -> Notifications:
        """Listen to channels, in an `async with` block.

        All blocks of an event loop share one connection, beside `max_size`. When it is
        lost, another one is opened; until that is possible, it is tried. Then a `Gap`
        comes, behind which nothing is missing.

        Args:
            channels: their names; case matters.
            queue_size: notifications that may wait for the reader.
            overflow: what happens when more come. "drop_oldest" and "drop_newest" leave
                a `Gap` in their place, "error" ends the iteration with an error.

        Raises:
            InterfaceError: there is a pooler in transaction mode, and no `listen_dsn`.
            PoolError: the pool is closed; the iteration raises it too.
            OSError, PostgresError: no connection could be had, as for `connect`.

        Example:
            >>> async with pool.listen("jobs") as notifications:
            ...     async for item in notifications:
            ...         await work()  # item may be a Gap: look at the table anyway

        Source: PostgreSQL documentation, "LISTEN".
        """
        return Notifications(self._enter_hub, channels, queue_size, overflow)

    async def _enter_hub(self, block: Notifications) -> Leave:
        part = self._live.get(asyncio.get_running_loop()) or self._part()
        return await part.hub.enter(block)
