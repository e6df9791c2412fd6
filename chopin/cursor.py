"""Cursors: the rows of a query in portions, inside of a transaction.

Owns: `CursorFactory` (what `cursor()` returns), `CursorIterator` (`async for`) and
`Cursor` (`await`).
Layer L5. Imports L0, L2 - L4.

Rules
- A cursor is a portal: it lives in a transaction block and is closed by its end, or by
  what is sent behind its last row.
- Reading ahead: once an iterator has come to its second portion, the next one is asked
  for while the rows of the current one are being used. Not before, because a row that
  nobody asked for may raise an error, and an error ends the transaction.
- The portal moves on whether or not its rows are taken. When they were not, because the
  call was cancelled, say, the cursor is over: nobody reads on behind a gap.

Source: PostgreSQL documentation, "Extended Query", "MOVE".
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from chopin import _statements
from chopin._execute import Turn, prepare
from chopin._fitting import Row
from chopin._portals import start_bind, start_portal
from chopin._released import check_held
from chopin._simple import start_simple
from chopin.exceptions import InterfaceError, NoActiveSQLTransactionError

if TYPE_CHECKING:
    from chopin._portals import PortalOp
    from chopin._protocol import Statement
    from chopin._rows import RowPlan
    from chopin.connection import Connection

T = TypeVar("T")

PREFETCH = 50

_numbers = itertools.count(1)


class CursorFactory(Generic[Row]):
    """What `cursor()` returns: iterate over it, or await it for a `Cursor`."""

    __slots__ = (
        "_args",
        "_connection",
        "_prefetch",
        "_query",
        "_shape",
        "_statement",
        "_timeout",
    )

    def __init__(
        self,
        connection: Connection,
        query: str,
        statement: Statement | None,
        args: tuple[Any, ...],
        prefetch: int | None,
        timeout: float | None,
        shape: Any,
    ) -> None:
        if prefetch is not None and prefetch <= 0:
            raise InterfaceError("prefetch argument must be greater than zero")
        self._connection = connection
        self._query = query
        self._statement = statement
        self._args = args
        self._prefetch = prefetch
        self._timeout = timeout
        self._shape = shape

    def __aiter__(self) -> CursorIterator[Row]:
        return CursorIterator(
            self._connection,
            self._query,
            self._statement,
            self._args,
            self._shape,
            PREFETCH if self._prefetch is None else self._prefetch,
            self._timeout,
        )

    def __await__(self) -> Generator[Any, None, Cursor[Row]]:
        if self._prefetch is not None:
            raise InterfaceError(
                "prefetch argument can only be specified for iterable cursor"
            )
        cursor: Cursor[Row] = Cursor(
            self._connection,
            self._query,
            self._statement,
            self._args,
            self._shape,
        )
        return cursor._bind(self._timeout).__await__()


class PortalCursor(Generic[Row]):
    """A portal on its way: bound by its first rows, closed by its transaction.

    asyncpg has a `BaseCursor`. By that name Sentry's integration would take us for it,
    and fail for want of asyncpg's private methods.
    """

    __slots__ = (
        "_args",
        "_connection",
        "_exhausted",
        "_has_lost",
        "_plan",
        "_portal",
        "_query",
        "_shape",
        "_statement",
    )

    def __init__(
        self,
        connection: Connection,
        query: str,
        statement: Statement | None,
        args: tuple[Any, ...],
        shape: Any,
    ) -> None:
        self._connection = connection
        self._query = query
        self._statement = statement
        self._args: tuple[Any, ...] | None = args
        self._shape = shape
        self._portal = b""
        self._plan: RowPlan | None = None  # since the portal is bound
        self._exhausted = False
        self._has_lost = False

    def __repr__(self) -> str:
        state = "exhausted" if self._exhausted else ""
        return f'<{type(self).__name__} "{self._query[:30]}" {state}>'

    def _check_transaction(self) -> None:
        self._connection._session.ensure_open()
        if not self._connection.is_in_transaction():
            raise NoActiveSQLTransactionError(
                "cursor cannot be created outside of a transaction"
            )

    async def _prepare(self) -> Statement:
        """The statement; one of our own, so that nothing else closes it."""
        connection = self._connection
        self._check_transaction()
        if self._statement is None:
            self._statement = await prepare(
                connection._session, self._query, _statements.unique_name()
            )
        self._portal = b"chopin_portal_%x" % next(_numbers)
        self._plan = None
        return self._statement

    def _start(self, limit: int) -> PortalOp:
        """Ask for rows; the first time the portal is bound with it."""
        self._check_whole()
        assert self._statement is not None
        args, self._args = self._args, None
        op = start_portal(
            self._connection._session,
            self._statement,
            self._portal,
            args,
            limit,
            self._shape,
            self._plan,
        )
        self._plan = op.row_plan
        return op

    async def _rows(self, limit: int, timeout: float | None) -> list[Row]:
        """The next rows: at most `limit`, 0 for all."""
        self._check_transaction()
        async with self._connection._limited(self._query, self._args or (), timeout):
            if self._statement is None or not self._portal:
                await self._prepare()
            async with Turn(self._connection._session):
                op = self._start(limit)
            return await self._take(op)

    async def _take(self, op: PortalOp) -> list[Row]:
        """The rows of a portion; behind the last one the portal is closed.

        The tables of an open portal cannot be altered, be there more rows or not.
        """
        rows: list[Row]
        rows, self._exhausted = await self._answer(op)
        if self._exhausted:
            self._connection._session.closes.append(b"P" + self._portal)
        return rows

    def _check_whole(self) -> None:
        """Refuse to send anything behind a call whose rows were lost."""
        if self._has_lost:
            raise InterfaceError(
                "cannot go on: rows of the cursor were lost, since an earlier call was "
                "ended by an error or a cancellation; make a new cursor"
            )

    async def _answer(self, op: Awaitable[T]) -> T:
        """The answer to what was sent, by which the portal moves on."""
        try:
            return await op
        except BaseException as error:
            # what the server has refused it refuses again
            if getattr(error, "outcome", None) != "rolled_back":
                self._has_lost = True
            raise


class CursorIterator(PortalCursor[Row]):
    """Rows one by one, fetched in portions; made by `async for`."""

    __slots__ = ("_ahead", "_buffer", "_portions", "_prefetch", "_timeout")

    def __init__(
        self,
        connection: Connection,
        query: str,
        statement: Statement | None,
        args: tuple[Any, ...],
        shape: Any,
        prefetch: int,
        timeout: float | None,
    ) -> None:
        super().__init__(connection, query, statement, args, shape)
        self._buffer: collections.deque[Row] = collections.deque()
        self._prefetch = prefetch
        self._timeout = timeout
        self._portions = 0
        self._ahead: PortalOp | None = None

    def __aiter__(self) -> CursorIterator[Row]:
        return self

    async def __anext__(self) -> Row:
        check_held(self._connection, "CursorIterator.__anext__")
        if not self._buffer and not self._exhausted:
            await self._fill()
        if not self._buffer:
            raise StopAsyncIteration
        return self._buffer.popleft()

    async def _fill(self) -> None:
        """Take the next portion, and perhaps ask for the one behind it."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            rows = await self._rows(self._prefetch, self._timeout)
        else:
            async with self._connection._limited(self._query, (), self._timeout):
                rows = await self._take(ahead)
        self._buffer.extend(rows)
        self._portions += 1
        session = self._connection._session
        if (
            self._portions > 1
            and not self._exhausted
            and not (session.gate.blocked or session.gate.line)
        ):
            self._ahead = self._start(self._prefetch)


class Cursor(PortalCursor[Row]):
    """A cursor to fetch from by hand; made by awaiting `cursor()`.

    Example:
        >>> async with conn.transaction():
        ...     cursor = await conn.cursor("SELECT generate_series(1, 100)")
        ...     await cursor.forward(10)
        ...     row = await cursor.fetchrow()
    """

    __slots__ = ()

    async def _bind(self, timeout: float | None) -> Cursor[Row]:
        """Bind the portal, so that errors of the query come now."""
        async with self._connection._limited(self._query, self._args or (), timeout):
            statement = await self._prepare()
            args, self._args = self._args, None
            assert args is not None
            session = self._connection._session
            async with Turn(session):
                op = start_bind(session, statement, self._portal, args, self._shape)
                self._plan = op.row_plan
            await op
        return self

    async def fetch(self, n: int, *, timeout: float | None = None) -> list[Row]:
        """Return the next `n` rows, fewer at the end.

        Args:
            n: how many, at least 1.
            timeout: seconds.
        """
        check_held(self._connection, "Cursor.fetch")
        if n <= 0:
            raise InterfaceError("n must be greater than zero")
        if self._exhausted:
            return []
        return await self._rows(n, timeout)

    async def fetchrow(self, *, timeout: float | None = None) -> Row | None:
        """Return the next row, or None at the end."""
        check_held(self._connection, "Cursor.fetchrow")
        rows = await self.fetch(1, timeout=timeout)
        return rows[0] if rows else None

    async def forward(self, n: int, *, timeout: float | None = None) -> int:
        """Skip `n` rows; returns how many there were to skip.

        Source: PostgreSQL documentation, "MOVE".
        """
        check_held(self._connection, "Cursor.forward")
        if n <= 0:
            raise InterfaceError("n must be greater than zero")
        if self._exhausted:
            return 0
        session = self._connection._session
        portal = self._portal.decode("ascii")
        async with self._connection._limited(self._query, (), timeout):
            async with Turn(session):
                self._check_whole()
                op = start_simple(session, f'MOVE FORWARD {n:d} "{portal}"')
            status: str = await self._answer(op)
        moved = int(status.split()[1])
        self._exhausted = moved < n
        return moved
