"""Who is told what a connection does: messages of the server, its end, every query.

Owns: log listeners, termination listeners and query loggers of a connection.
Layer L5. Imports L0.

Rules
- A callback is called in the loop, never in the middle of reading: plain functions by
  `call_soon`, coroutine functions as a task. What it raises goes to the loop's
  exception handler and disturbs nobody.
- With no query logger a call pays one truth test for all of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from chopin.exceptions import InterfaceError, PostgresLogMessage

if TYPE_CHECKING:
    from chopin.aio import WireProtocol
    from chopin.connection import Connection

Callback = Callable[..., Any] | Callable[..., Coroutine[Any, Any, Any]]


class ConnectionParameters(NamedTuple):
    """What a connection was made with, as far as others need to know it."""

    user: str
    database: str
    server_settings: dict[str, str]


class LoggedQuery(NamedTuple):
    """A query that has ended, as a query logger is told of it.

    Attributes:
        query: the SQL text.
        args: its arguments.
        timeout: seconds that it was given, or None.
        elapsed: seconds that it took.
        exception: what it ended with, or None.
        conn_addr: the server's (host, port), or the path of its socket; None if the
            connection was released to its pool meanwhile.
        conn_params: user, database and settings.
    """

    query: str
    args: Any
    timeout: float | None
    elapsed: float
    exception: BaseException | None
    conn_addr: Any
    conn_params: ConnectionParameters


class Observers:
    """The callbacks of one connection; a dictionary of each kind keeps their order."""

    def __init__(self) -> None:
        self.log: dict[Callback, None] = {}
        self.termination: dict[Callback, None] = {}
        self.query: dict[Callback, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @staticmethod
    def check(callback: Callback) -> Callback:
        """Refuse what cannot be called."""
        if not callable(callback):
            raise InterfaceError(
                f"expected a callable or an `async def` function, got {callback!r}"
            )
        return callback

    def call(self, callback: Callback, *args: Any) -> None:
        """Have `callback` called by the loop."""
        loop = asyncio.get_running_loop()
        if not inspect.iscoroutinefunction(callback):
            loop.call_soon(callback, *args)
            return
        try:
            task = loop.create_task(callback(*args))
        except Exception as error:  # it cannot be called like that
            self._tell_failure(loop, error)
            return
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell_failure(task.get_loop(), error, task=task)

    def _tell_failure(
        self, loop: asyncio.AbstractEventLoop, error: BaseException, **more: Any
    ) -> None:
        message = "a callback of a connection failed"
        loop.call_exception_handler({"message": message, "exception": error, **more})

    def tell_notice(self, connection: Connection, message: PostgresLogMessage) -> None:
        """Pass a NoticeResponse on; a WARNING nobody hears becomes no Python one."""
        for callback in list(self.log):
            self.call(callback, connection, message)

    def tell_closed(self, connection: Connection) -> None:
        """The connection has ended: say so once."""
        callbacks, self.termination = self.termination, {}
        for callback in callbacks:
            self.call(callback, connection)
        self.log.clear()

    def tell_query(self, record: LoggedQuery) -> None:
        """Pass a query that has ended on."""
        for callback in list(self.query):
            self.call(callback, record)

    @contextlib.contextmanager
    def logging(self, callback: Callback) -> Iterator[None]:
        """Have `callback` told of the queries of a `with` block."""
        self.query[self.check(callback)] = None
        try:
            yield
        finally:
            self.query.pop(callback, None)


class Observed:
    """The part of `Connection` that is about its observers."""

    __slots__ = ("_observers", "_session")

    _observers: Observers
    _session: WireProtocol

    def add_log_listener(self, callback: Callback) -> None:
        """Have `callback(connection, message)` called for every NoticeResponse.

        Args:
            callback: a function or a coroutine function.
        """
        self._session.ensure_open()
        self._observers.log[Observers.check(callback)] = None

    def remove_log_listener(self, callback: Callback) -> None:
        """Undo `add_log_listener`; nothing happens when it was not there."""
        self._observers.log.pop(callback, None)

    def add_termination_listener(self, callback: Callback) -> None:
        """Have `callback(connection)` called once when the connection ends, however."""
        self._observers.termination[Observers.check(callback)] = None

    def remove_termination_listener(self, callback: Callback) -> None:
        """Undo `add_termination_listener`."""
        self._observers.termination.pop(callback, None)

    def add_query_logger(self, callback: Callback) -> None:
        """Have `callback(LoggedQuery)` called for every query that ends."""
        self._session.ensure_open()
        self._observers.query[Observers.check(callback)] = None

    def remove_query_logger(self, callback: Callback) -> None:
        """Undo `add_query_logger`."""
        self._observers.query.pop(callback, None)

    def query_logger(
        self, callback: Callback
    ) -> contextlib.AbstractContextManager[None]:
        """Have `callback(LoggedQuery)` called for the queries of a `with` block.

        Example:
            >>> with conn.query_logger(print):
            ...     await conn.fetch("SELECT 1")
        """
        return self._observers.logging(callback)

    def on_notice(self, message: PostgresLogMessage) -> None:
        """Called by the session for a NoticeResponse."""
        self._observers.tell_notice(cast("Connection", self), message)

    def on_closed(self) -> None:
        """Called by the session when it has ended."""
        self._observers.tell_closed(cast("Connection", self))
