"""One statement, many rows of arguments.

Owns: `ManyTimes`, the part of `Connection` that executes a statement for each of many
sequences of arguments: all of them or none.
Layer L5. Imports L0 - L4.

Rules
- The arguments are consumed while they are sent, and never more of them than the
  server takes. Those of an asynchronous iterable may be slow: meanwhile the session is
  theirs, and so, once a part was sent, is an open transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

from chopin._execute import ATTEMPTS, Turn, alone, heal, statements_for, unblocked
from chopin._many import ManyOp, start_many
from chopin._ops import may_fit
from chopin._protocol import Statement
from chopin._shapes import row_shape
from chopin.exceptions import PostgresError

if TYPE_CHECKING:
    from chopin._fitting import Row, Shape
    from chopin._limited import Limited
    from chopin._protocol import Session
    from chopin._rows import Record
    from chopin.aio import WireProtocol

#: Rows of arguments: sequences, in an iterable of either kind and of any length.
Rows = Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]


class ManyTimes:
    """The part of `Connection` that executes a statement many times."""

    __slots__ = ()

    _session: WireProtocol

    if TYPE_CHECKING:

        def _limited(self, query: str, args: Any, timeout: float | None) -> Limited: ...

    async def executemany(
        self,
        command: str,
        args: Rows,
        *,
        timeout: float | None = None,
    ) -> int:
        """Run a statement once for each sequence of arguments: all of them or none.

        Args:
            command: one SQL statement.
            args: an iterable of sequences, synchronous or asynchronous, of any length;
                it is consumed while it is sent, and not to its end if the server
                refuses a row. While an asynchronous one is waited for, the connection
                serves nobody else and may be in a transaction. The iterable itself
                cannot use the connection.
            timeout: seconds for everything.

        Returns:
            How many rows it has touched or returned, all together.

        Raises:
            PostgresError: what the server says; `batch_index` is the position of the
                row that it refused.
            DataError: an argument does not fit; the message names the element.

        Example:
            >>> await conn.executemany(
            ...     "INSERT INTO t VALUES ($1, $2)", [(1, 2), (3, 4)])
            2
        """
        count: int = await self._many(command, args, timeout, False, None)
        return count

    @overload
    async def fetchmany(
        self,
        query: str,
        args: Rows,
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> list[Record]: ...
    @overload
    async def fetchmany(
        self,
        query: str,
        args: Rows,
        *,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> list[Row]: ...
    async def fetchmany(
        self,
        query: str,
        args: Rows,
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> list[Any]:
        """Run a query once for each sequence of arguments and return all their rows.

        Arguments and errors are those of `executemany`; `record_class` and `into` those
        of `fetch`.

        Example:
            >>> rows = await conn.fetchmany(
            ...     "INSERT INTO t VALUES ($1) RETURNING id", [(1,), (2,)])
        """
        shape = row_shape(record_class, into)
        rows: list[Any] = await self._many(query, args, timeout, True, shape)
        return rows

    async def _many(
        self,
        command: str,
        args: Rows,
        timeout: float | None,
        want_rows: bool,
        shape: Any,
        statement: Statement | None = None,
    ) -> Any:
        """The rows of an execute-many, or the number of those that it has touched.

        With a statement of the user's, or the cached one.
        """
        async with self._limited(command, args, timeout):
            for attempt in range(ATTEMPTS):
                op = await self._send_many(command, args, want_rows, shape, statement)
                try:
                    return await op
                except PostgresError as error:
                    if (
                        _is_repeatable(args, statement)
                        and attempt + 1 < ATTEMPTS
                        and heal(self._session, command, op, error)
                    ):
                        continue
                    if error.batch_index is not None:
                        error.add_note(
                            f"in element #{error.batch_index} of executemany() sequence"
                        )
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _send_many(
        self,
        command: str,
        args: Rows,
        want_rows: bool,
        shape: Any,
        held: Statement | None,
    ) -> ManyOp:
        """Write all of an execute-many group, in its turn.

        Arguments that do not fit may do so once the statement is described again.
        """
        session = self._session
        is_repeatable = _is_repeatable(args, held)
        async with Turn(session):
            statement = held or await self._statement_for(
                command, shape, isinstance(args, AsyncIterable)
            )
            op = start_many(session, statement, want_rows, shape)
            try:
                await _feed(op, args, session, is_repeatable)
                await _may_begin(op, session, is_repeatable)
                op.finish()
            except BaseException as error:
                op.give_up()
                is_unsent = is_repeatable and not op.sent
                if not is_unsent or not may_fit(session, statement, error):
                    raise
            else:
                statement.has_fitted = True
                return op
        return await self._send_many(command, args, want_rows, shape, held)

    async def _statement_for(
        self, command: str, shape: Any, is_slow: bool
    ) -> Statement:
        """The cached statement, or an unnamed one that the group parses.

        What is cached may be closed, as unused, before a slow iterable is through.
        """
        found = (await statements_for(self._session, [(command, shape)]))[command]
        if isinstance(found, Exception):
            raise found
        if found.cached and not is_slow:
            return found
        return Statement(self._session, command, b"", found.description)


def _is_repeatable(args: Rows, held: Statement | None) -> bool:
    """Whether it can be sent again: an iterator is used up."""
    return held is None and isinstance(args, (list, tuple))


async def _feed(op: ManyOp, args: Rows, session: Session, is_repeatable: bool) -> None:
    """Feed rows of arguments to an operation until it wants no more."""
    if isinstance(args, AsyncIterable):
        session.feeder = asyncio.current_task()
        try:
            async for row in args:
                if op.feed((row,)):
                    await _send_part(op, session, is_repeatable)
                if op.is_over():
                    break
        finally:
            session.feeder = None
    else:
        rows = iter(args)
        while op.feed(rows):
            await _send_part(op, session, is_repeatable)


async def _may_begin(op: ManyOp, session: Session, is_repeatable: bool) -> None:
    """Wait until the first part can be written.

    While the user's code made rows, a call ahead may have been cancelled: the request
    for that could hit the group.
    """
    if not op.sent:
        await unblocked(session)
        if session.pooled or not is_repeatable:
            await alone(session)


async def _send_part(op: ManyOp, session: Session, is_repeatable: bool) -> None:
    """Write what is encoded; let replies in; wait while the server does not read."""
    await _may_begin(op, session, is_repeatable)
    op.send()
    await asyncio.sleep(0)
    await session.gate.wait_writable()
