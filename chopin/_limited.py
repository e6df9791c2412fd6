"""The frame of a call that goes the long way.

Owns: `Limited`: its time-out, the query's name in its errors, what the query loggers
are told.
Layer L5. Imports L3 and L4.

Rules
- A class, and no context manager made of generators: without a time-out nothing is
  awaited, and one row by `executemany` takes a quarter less.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chopin._execute import check_query
from chopin._ops import check_timeout
from chopin._streams import NOTHING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from chopin.connection import Connection


class Limited:
    """`async with`: what is done within is one call of a connection's, of one query.

    Args:
        connection: whose loggers are told, and whose `command_timeout` holds.
        query: the SQL text.
        args: its arguments.
        timeout: seconds, the connection's `command_timeout` if None.

    Raises:
        TypeError: the query is no str.
        TimeoutError: the time has passed.
    """

    __slots__ = ("_args", "_connection", "_limit", "_query", "_started", "_timeout")

    def __init__(
        self, connection: Connection, query: str, args: Any, timeout: float | None
    ) -> None:
        check_query(query)
        self._connection = connection
        self._query = query
        self._args = args
        self._timeout = connection._command_timeout if timeout is None else timeout
        self._started: float | None = None
        self._limit: asyncio.Timeout | None = None

    def __aenter__(self) -> Awaitable[object]:
        self._started = self._connection._started()
        if self._timeout is None:
            return NOTHING
        try:
            timeout = check_timeout(self._timeout)
        except BaseException as error:
            self._end(error)
            raise
        self._limit = asyncio.timeout(timeout)
        return self._limit.__aenter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        if self._limit is not None:
            return self._leave(self._limit, kind, error, trace)
        self._end(error)
        return NOTHING

    async def _leave(
        self,
        limit: asyncio.Timeout,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the time-out, which raises if it was what has ended the call."""
        try:
            await limit.__aexit__(kind, error, trace)
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._end(error)
            del error, trace  # the frame is in the traceback

    def _end(self, failure: BaseException | None) -> None:
        self._connection._ended(
            self._query, self._args, self._timeout, self._started, failure
        )
