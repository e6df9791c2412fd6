"""Rows one by one, as the server sends them.

Owns: `Stream`, what `stream` and `copy_out` have in common, and `RowStream`, the rows
of a query.
Layer L5. Imports L0, L3 and L4.

Rules
- A stream has a connection for itself, from its first row to its last: a pool's until
  then, its own one where it was asked for on a connection.
- The reader sets the pace. When about 256 KiB wait for it, the socket is not read any
  more, and the server has to wait.
- Leaving early, in whatever way, stops the server and frees the connection.

Source: PostgreSQL documentation, "Extended Query".
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from chopin._execute import check_query, run_query, within
from chopin._ops import STREAM, RowsOp, check_timeout
from chopin._streams import NOTHING, ItemIterator
from chopin.exceptions import InterfaceError

if TYPE_CHECKING:
    from chopin._ops import QueryOp
    from chopin.connection import Connection

T = TypeVar("T")


class Loan(Protocol):
    """A connection for a while."""

    async def __aenter__(self) -> Connection:
        """Get it."""

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give it back."""

    def drop(self) -> None:
        """Give it back where nobody can await; what runs on it was given up."""


class Itself:
    """The loan of a connection to its own methods."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Connection:
        return self._connection

    def __aexit__(self, *exc_info: object) -> Awaitable[None]:
        return NOTHING

    def drop(self) -> None:
        """Nothing was taken."""


class Use:
    """A connection in use by something that lasts: the loan, the log, the end.

    Args:
        lend: returns a `Loan`, of which getting it may take so many seconds.
        timeout: seconds for each wait; the connection's `command_timeout` if None.
    """

    __slots__ = (
        "_args",
        "_lend",
        "_loan",
        "_query",
        "_started",
        "connection",
        "timeout",
    )

    def __init__(
        self, lend: Callable[[float | None], Loan], timeout: float | None
    ) -> None:
        self._lend = lend
        self._loan: Loan | None = None
        self._query: str | None = None
        self._args: tuple[Any, ...] = ()
        self._started: float | None = None
        self.timeout = timeout
        self.connection: Connection | None = None

    async def begin(self) -> Connection:
        """Get the connection; from here on `end` or `drop` is due."""
        if self.timeout is not None:
            self.timeout = check_timeout(self.timeout)
        loan = self._lend(self.timeout)
        connection = self.connection = await loan.__aenter__()
        self._loan = loan
        if self.timeout is None:
            self.timeout = connection._command_timeout
        connection._session.ensure_open()
        return connection

    def log(self, query: str, args: tuple[Any, ...]) -> None:
        """Name the query in errors, and tell the query loggers of it at the end."""
        assert self.connection is not None
        self._query, self._args = query, args
        self._started = self.connection._started()

    def end(self, error: BaseException | None) -> Awaitable[None]:
        """Give the connection back; await what it returns."""
        self._end_log(error)
        loan, self._loan = self._loan, None
        if loan is None:
            return NOTHING
        self.connection = None
        return loan.__aexit__(None, None, None)

    def drop(self) -> None:
        """Give the connection back where nobody can await."""
        self._end_log(None)
        loan, self._loan = self._loan, None
        if loan is not None:
            self.connection = None
            loan.drop()

    def _end_log(self, error: BaseException | None) -> None:
        query, self._query = self._query, None
        if query is None:
            return
        assert self.connection is not None
        self.connection._ended(query, self._args, self.timeout, self._started, error)


def in_its_loop(connection: Connection, action: Callable[[], None]) -> None:
    """Do something on a connection from a finalizer, which may run in any thread."""
    loop = connection._loop
    if asyncio._get_running_loop() is loop:
        action()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(action)


class Stream(Generic[T]):
    """What comes from the server piece by piece; read it by `async for`, once.

    In `async with` the stream ends with the block, and a loop that was left can be
    taken up again. Without, it ends with its loop, however that is left.

    While it is open, no other call can be made on its connection: InterfaceError.
    In a transaction block, a stream that is left early is a statement that was
    cancelled, which fails the block; read with `cursor` there.
    """

    __slots__ = (
        "__weakref__",
        "_has_failed",
        "_is_entered",
        "_is_read",
        "_is_waiting",
        "_items",
        "_op",
        "_status",
        "_use",
    )

    def __init__(
        self, lend: Callable[[float | None], Loan], timeout: float | None
    ) -> None:
        self._use: Use | None = Use(lend, timeout)
        self._op: RowsOp | None = None
        self._status = ""
        self._items: list[T] = []
        self._is_entered = False
        self._is_read = False
        self._is_waiting = False
        self._has_failed = False

    def __repr__(self) -> str:
        state = "ended" if self._use is None else "open" if self._op else "not begun"
        return f"<chopin.{type(self).__name__} {state}, {self.rows} rows>"

    def __del__(self) -> None:
        if self._op is None or self._use is None:
            return
        self._drop()
        if self._is_entered and not sys.is_finalizing():
            warnings.warn(
                f"unclosed stream {self!r}; use 'async with' or 'await aclose()'",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )

    @property
    def rows(self) -> int:
        """How many rows have come so far; 0 where they come as bytes."""
        return 0 if self._op is None else self._op.rows_so_far

    @property
    def bytes(self) -> int:
        """How many bytes have come so far, as they were on the wire."""
        return 0 if self._op is None else self._op.flow.size

    @property
    def status(self) -> str:
        """The command tag, such as "SELECT 3"; empty until everything has come."""
        return self._status

    async def _start(self, connection: Connection) -> RowsOp:
        """Send what brings the data."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        if self._is_entered or self._is_read:
            raise InterfaceError("a stream can be used once")
        self._is_entered = True
        use = self._use
        assert use is not None
        try:
            await self._begin(use)
        except BaseException as error:
            await self._end(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> ItemIterator[T]:
        if not self._is_entered:
            if self._is_read:
                raise InterfaceError("a stream can be read once")
            self._is_read = True
        return ItemIterator(self._portion, self._left, self._items)

    async def aclose(self) -> None:
        """End the stream: the server stops, the connection is free."""
        await self._end(None)

    async def _begin(self, use: Use) -> RowsOp:
        connection = await use.begin()
        async with within(use.timeout):
            op = self._op = await self._start(connection)
        return op

    async def _portion(self) -> list[T]:
        """What has come, for the iterator."""
        use = self._use
        if use is None:
            if self._has_failed:
                raise InterfaceError("the stream was ended by an error, not at its end")
            raise StopAsyncIteration
        if self._is_waiting:
            raise InterfaceError(
                "another task waits for the next item of this stream",
                hint="read it in one task, and hand the items on by a queue",
            )
        self._is_waiting = True
        try:
            items = await self._wait(use)
        except BaseException as error:
            await self._end(error)
            raise
        finally:
            self._is_waiting = False
        if not items:
            await self._end(None)
            raise StopAsyncIteration
        return items

    async def _wait(self, use: Use) -> list[T]:
        op = self._op or await self._begin(use)
        flow = op.flow
        if items := flow.take():
            return items
        async with within(use.timeout):
            while not (items := flow.take()) and not op.done():
                await flow.wait()
        if not items:
            if op.cancelled():
                raise InterfaceError("the stream was closed")
            self._status = await op
        return items

    async def _end(self, error: BaseException | None) -> None:
        use, self._use = self._use, None
        if use is None:
            return
        self._has_failed = error is not None
        if self._op is not None:
            self._op.leave()
        await use.end(error)

    def _left(self) -> None:
        """An iterator is gone."""
        if not self._is_entered:
            self._drop()

    def _drop(self) -> None:
        """End the stream where nobody can await."""
        use, self._use = self._use, None
        if use is None or use.connection is None:
            return
        op = self._op

        def drop() -> None:
            if op is not None:
                op.leave()
            use.drop()

        in_its_loop(use.connection, drop)


class RowStream(Stream[T]):
    """The rows of a query; made by `stream()`.

    Args:
        lend: makes the loan of a connection.
        query: one SQL statement.
        args: its arguments.
        timeout: seconds for each wait.
        shape: of the rows, from `row_shape`.
    """

    __slots__ = ("_args", "_query", "_shape")

    def __init__(
        self,
        lend: Callable[[float | None], Loan],
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        shape: Any,
    ) -> None:
        super().__init__(lend, timeout)
        check_query(query)
        self._query = query
        self._args = args
        self._shape = shape

    async def _start(self, connection: Connection) -> RowsOp:
        assert self._use is not None
        self._use.log(self._query, self._args)
        return await start_stream(connection, self._query, self._args, self._shape)


async def start_stream(
    connection: Connection,
    query: str,
    args: tuple[Any, ...],
    shape: Any,
) -> QueryOp:
    """Run a query whose rows come as they are taken; returns with the first ones."""
    session = connection._session
    op: QueryOp = await run_query(session, query, args, STREAM, 0, shape)
    return op
