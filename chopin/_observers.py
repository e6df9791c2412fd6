"""Who is told what a connection does: messages of the server, its end, every query.

Owns: log listeners, termination listeners and query loggers of a connection.
Layer L5. Imports L0.

Rules
- A callback is called in the loop, never in the middle of reading: plain functions by
  `call_soon`, coroutine functions as a task. What it raises goes to the loop's exception
  handler and disturbs nobody.
- With no query logger a call pays one truth test for all of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from chopin.exceptions import InterfaceError, PostgresLogMessage

if TYPE_CHECKING:
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
        conn_addr: the server's (host, port), or the path of its socket.
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
    """The callbacks of one connection.

    Args:
        connection: what callbacks get as their first argument.
    """

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
                "expected a callable or an `async def` function, got "
                f"{callback!r}"
            )
        return callback

    def call(self, callback: Callback, *args: Any) -> None:
        """Have `callback` called by the loop."""
        loop = asyncio.get_running_loop()
        if inspect.iscoroutinefunction(callback):
            task = loop.create_task(callback(*args))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        else:
            loop.call_soon(callback, *args)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {
                    "message": "a callback of a connection failed",
                    "exception": error,
                    "task": task,
                }
            )

    def tell_notice(self, connection: Connection, message: PostgresLogMessage) -> None:
        """Pass a NoticeResponse on; a WARNING that nobody hears becomes no Python one."""
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
