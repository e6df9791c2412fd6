"""The session on an event loop: what its `on_*` calls mean in asyncio.

Owns: `WireProtocol`, a `Session` that is an asyncio protocol: timers, the cancel
request, the end of the connection, and who is told of what.
Layer L4. Imports L0, L3 and dial.

Rules
- It runs in the callbacks of one loop and never blocks or awaits in them.
- The user's object is held weakly, so that a connection that was dropped without being
  closed can be noticed.
- The cancellation contract: the caller goes on at once; the session is blocked until
  the cancel socket was closed by the server and the operation's ReadyForQuery is there;
  past `CANCEL_TIMEOUT` the transport is aborted. So a late cancellation can hit nobody
  else, and a server that is frozen holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from chopin import _statements
from chopin._protocol import Session
from chopin._simple import start_simple
from chopin._startup import send_terminate
from chopin._waiter import use_cancelled_error
from chopin.dial import Place, request_cancel
from chopin.exceptions import ConnectionDoesNotExistError

if TYPE_CHECKING:
    from chopin._codecs import CodecMap
    from chopin._copycolumns import Known
    from chopin._rows import Description, Record
    from chopin._simple import SimpleOp
    from chopin.config import ConnectConfig
    from chopin.exceptions import PostgresLogMessage

use_cancelled_error(asyncio.CancelledError)

#: Seconds for a cancelled operation to end on the server, its cancel request included.
CANCEL_TIMEOUT = 5.0
# Seconds after which it is asked for once more: the server drops a request that comes
# before its process has taken up the query. Each time it waits twice as long.
_CANCEL_PAUSE = 0.1


class Listener(Protocol):
    """Who is told of what no operation asked for."""

    def on_notice(self, message: PostgresLogMessage) -> None:
        """A NoticeResponse came."""

    def on_notification(self, pid: int, channel: str, payload: str) -> None:
        """A NotificationResponse came."""

    def on_closed(self) -> None:
        """The connection has ended."""


class WireProtocol(Session, asyncio.BufferedProtocol):
    """One connection to a server.

    Args:
        config: how it was made.
        codecs: the codecs of this session.
        record_class: of its rows.
        descriptions: what is known of statements; a pool shares one dictionary.
    """

    def __init__(
        self,
        config: ConnectConfig,
        codecs: CodecMap,
        record_class: type[Record],
        descriptions: dict[str, Description],
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop, loop.time, codecs, record_class, descriptions)
        self.statement_cache_size = config.statement_cache_size
        self.statement_size_limit = config.max_cacheable_statement_size
        self.config = config
        self.place: Place | None = None
        # whether the server has asked for anything, or let us in unasked
        self.has_auth_begun = False
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self._listener: weakref.ref[Listener] | None = None
        # ... which is kept for the end that it has asked for
        self._last_listener: Listener | None = None
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._cancel_timer: asyncio.TimerHandle | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._restoration: str | None = None
        self._cleans = False
        # whether `end` waits for the server to close, when its place is free there too
        self.lingers = False
        # a fork of this process has the socket too, and must leave it alone
        self._pid = os.getpid()
        # groups of statements that are not ended yet, and what ends them
        self.open_groups: dict[object, Callable[[], None]] = {}
        self.restoring = 0
        # SQL for who a pool's `init` has made this session, "" if it has not
        self.own_roles = ""
        # what is known of tables that were copied, see _copycolumns
        self.copied: dict[Any, Known] = {}
        self.on_restored: Callable[[], None] | None = None

    def listen(self, listener: Listener) -> None:
        """Tell `listener`, which is held weakly, what happens from now on."""
        self._listener = weakref.ref(listener)

    # -- asyncio's side ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there: the session may send."""
        # uvloop's transports are not registered as asyncio.Transport
        self.transport = cast("asyncio.Transport", transport)
        self.connected(self.transport.write)
        self._sweep_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: end timers and tasks, and tell the listener."""
        if exc is None and self.is_open:
            # as from a server that was killed: its user has not closed it
            exc = ConnectionResetError("the server has closed the connection")
        listener = None if self._listener is None else self._listener()
        self.lost(exc, None if listener is None else listener.on_closed)
        self._last_listener = None
        self._stop_draining()
        for timer in (self._deadline_timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def eof_received(self) -> bool:
        """The server sends no more; False has the loop close the transport."""
        return False

    # -- the session's side ------------------------------------------------------------

    def on_notice(self, message: PostgresLogMessage) -> None:
        """Pass a message of the server on to the listener."""
        listener = None if self._listener is None else self._listener()
        if listener is not None:
            listener.on_notice(message)

    def on_notification(self, pid: int, channel: str, payload: str) -> None:
        """Pass a notification on to the listener."""
        listener = None if self._listener is None else self._listener()
        if listener is not None:
            listener.on_notification(pid, channel, payload)

    def on_deadline(self, when: float) -> None:
        """Have `expire` called at `when`, and not when it was asked for before."""
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._deadline_timer = self.loop.call_at(when, self.expire)

    def on_broken(self) -> None:
        """The session cannot go on: abort the transport."""
        self.abort()

    def _on_flow(self, flows: bool) -> None:
        """Have the transport read, or not: then the server has to wait."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if flows:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def on_cancel_needed(self) -> None:
        """Send a cancel request, and watch that the operation ends after it."""
        self._stop_draining()
        self._drain_timer = self.loop.call_later(CANCEL_TIMEOUT, self._check_drained)
        self._request_cancel(_CANCEL_PAUSE)

    def _request_cancel(self, pause: float) -> None:
        task = self.loop.create_task(self._cancel(pause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_draining(self) -> None:
        for timer in (self._drain_timer, self._cancel_timer):
            if timer is not None:
                timer.cancel()
        self._drain_timer = self._cancel_timer = None

    def on_drained(self) -> None:
        """What was cancelled has ended; do what `restore` was asked for."""
        self._stop_draining()
        if self._restoration is not None and self.is_open:
            sql, self._restoration = self._restoration, None
            texts = [sql] if sql else []
            if self.in_flight or self.transaction_status != "I":
                # not in one text with `sql`, which may not run in a block
                texts.insert(0, "ROLLBACK")
            cleans, self._cleans = self._cleans, False
            op = None
            for text in texts:
                op = start_simple(self, text)
                op.restores = True
            if cleans:  # nor has our own text made a table
                self.dirty = self.made_temporary = False
            if op is None:
                self._restored(None)
            else:
                op.add_done_callback(self._restored)

    def restore(self, sql: str | None = None) -> None:
        """Nobody is left who could end the transaction block: see that it ends.

        Args:
            sql: what brings the session back to how it was made, which may be nothing
                (""); None if only the block is to end.

        It is rolled back as soon as nothing can cancel the ROLLBACK any more, and `sql`
        runs behind it. Nobody waits for that: what is sent meanwhile comes behind it,
        and if it fails, the session ends. `restoring` is not 0 until it is done, then
        `on_restored` is called.
        """
        if self.gate.stream is not None:
            # not cancelled: who awaits it would take that for a cancellation of his own
            self.drop_all("the transaction ended while a COPY or a stream was open")
            self.gate.free()
        self.riders.clear()
        self.left_with = self.submitted
        if self._restoration is None:
            self.restoring += 1
            self._restoration = ""
        if sql is not None:
            self._restoration = sql or self._restoration
            self._cleans = True
        if not self.gate.is_draining:
            self.on_drained()

    def _restored(self, op: SimpleOp | None) -> None:
        self.restoring -= 1
        if op is not None and op.exception() is not None:
            self.terminate()
        if self.on_restored is not None:
            self.on_restored()

    async def _cancel(self, pause: float) -> None:
        try:
            if self.place is not None and self.cancel_key:
                async with asyncio.timeout(CANCEL_TIMEOUT):
                    await request_cancel(
                        self.config, self.place, self.backend_pid, self.cancel_key
                    )
        except Exception:
            # The operation may still end by itself; if not, the timer ends the session.
            pass
        finally:
            self.cancel_ended()
        if self._drain_timer is not None and self._cancel_timer is None:
            self._cancel_timer = self.loop.call_later(pause, self._cancel_again, pause)

    def _cancel_again(self, pause: float) -> None:
        self._cancel_timer = None
        if self._begin_cancel():
            self._request_cancel(2 * pause)

    def _check_drained(self) -> None:
        self._drain_timer = None
        if self.gate.is_draining:
            self.break_off(
                ConnectionDoesNotExistError(
                    "connection was closed: the server did not end a cancelled query "
                    f"within {CANCEL_TIMEOUT:g} seconds"
                )
            )

    def _sweep_later(self) -> None:
        """Drop statements that go unused for `max_cached_statement_lifetime`."""
        lifetime = self.config.max_cached_statement_lifetime
        if lifetime:
            self._sweep_timer = self.loop.call_later(lifetime, self._sweep)

    def _sweep(self) -> None:
        _statements.sweep(self)
        self._sweep_later()

    # -- the end -----------------------------------------------------------------------

    def abort(self) -> None:
        """Close the connection at once; what is in flight fails."""
        if self.transport is None:
            return
        if self.loop.is_closed() or self._pid != os.getpid():
            self.cut()
        else:
            self.transport.abort()

    def terminate(self) -> None:
        """End the session from any place, without waiting for anything."""
        if self._listener is not None and not self.closed.done():
            self._last_listener = self._listener()
        self.lost(None)
        self.abort()

    def cut(self) -> None:
        """End the session where its event loop is gone: the server sees it end.

        Not in a fork, where it is the parent's: there, nothing is left of it.
        """
        if self._pid != os.getpid():
            self.lost(None)
            return
        sock = self.extra_info("socket")
        # uvloop closes its sockets with the loop, and refuses everything then
        with contextlib.suppress(Exception):
            sock.shutdown(socket.SHUT_RDWR)

    async def end(self, timeout: float | None) -> None:
        """Close the connection: stop what is in flight, say goodbye, wait for the end.

        Args:
            timeout: seconds for all of it, after which the connection is aborted; None
                for as long as it takes.

        Raises:
            TimeoutError: it took longer.
        """
        if self.transport is None or self.closed.done():
            return
        self.begin_closing()
        try:
            async with asyncio.timeout(timeout):
                if self.in_flight:
                    self.drop_all("connection is closed")
                # of a stream that has come; while one is open, nobody waits at the gate
                self.gate.free()
                while self.gate.is_draining:
                    await self.gate.wait_unblocked()
                if not self.closed.done():
                    send_terminate(self)
                    if not self.lingers or timeout is None:
                        self.transport.close()
                # one turn of the loop closes a transport that has nothing left to send
                await asyncio.sleep(0)
                if not self.closed.done():
                    await asyncio.shield(self.closed)
        except BaseException:
            self.terminate()
            raise

    def extra_info(self, name: str) -> Any:
        """`get_extra_info` of the transport."""
        return None if self.transport is None else self.transport.get_extra_info(name)
