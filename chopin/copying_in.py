"""COPY into the server: rows, or bytes in a format.

Owns: `CopyIn`, what `copy_in` returns.
Layer L5. Imports L0 - L4 and streaming.

Rules
- The server stores all of a COPY or nothing: what is left by an exception is called
  off.
- Rows go in the binary format. Where a column has no binary form here, all of them go
  as text, and nobody sees it.
- What is not sent yet is at most one chunk: the writer waits while the server takes
  nothing.

Source: PostgreSQL documentation, "COPY".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from chopin import _copysql as sql
from chopin._copy import CopyInOp, start_copy_in
from chopin._copycolumns import forget, start_with_columns
from chopin._copyfiles import Data, chunks
from chopin._copytext import text_of
from chopin._execute import ATTEMPTS, Turn, alone, within
from chopin._streams import NOTHING
from chopin.exceptions import InterfaceError, PostgresError
from chopin.streaming import Loan, Use, in_its_loop

if TYPE_CHECKING:
    from chopin._copycolumns import Known
    from chopin._protocol import Statement
    from chopin.connection import Connection

_SLICE = 256 * 1024


class CopyIn:
    """A COPY to write to; made by `copy_in()` and used in `async with`.

    What was written is stored when the block is left in order; nothing of it is stored
    when it is left by an exception. While it is open, no other call can be made on its
    connection: InterfaceError.

    An error of the server is raised by the call that comes next, or by the end of the
    block. Its `context` says in which line, where the server knows.

    Args:
        lend: makes the loan of a connection.
        table: as SQL.
        columns: their names, None for all.
        where: a condition as SQL.
        timeout: seconds for each wait.
        format: of bytes, None for rows.
        options: of COPY.
        waits: whether the block begins when the server has; else its errors come later.

    Example:
        >>> async with conn.copy_in("works", columns=["title", "opus"]) as copy:
        ...     await copy.write_row(("Nocturnes", 9))
        ...     await copy.write_rows([("Ballade", 23), ("Études", 10)])
        >>> copy.status
        'COPY 3'
    """

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_columns",
        "_format",
        "_has_raised",
        "_is_ended",
        "_known",
        "_op",
        "_options",
        "_status",
        "_table",
        "_use",
        "_waits",
        "_where",
    )

    def __init__(
        self,
        lend: Callable[[float | None], Loan],
        table: str,
        columns: list[str] | None,
        where: str | None,
        timeout: float | None,
        format: str | None,
        options: Mapping[str, Any],
        waits: bool = True,
    ) -> None:
        self._use: Use | None = Use(lend, timeout)
        self._op: CopyInOp | None = None
        self._known: Known | None = None
        sql.check_options(format, options, None)
        self._table = table
        self._columns = columns
        self._where = where
        self._format = format
        self._options = options
        self._status = ""
        self._has_raised = False
        self._is_ended = False
        self._waits = waits
        self._attempts = 0

    def __repr__(self) -> str:
        state = "ended" if self._use is None else "open" if self._op else "not begun"
        return f"<chopin.CopyIn {state}, {self.rows} rows, {self.bytes} bytes>"

    def __del__(self) -> None:
        use, self._use = self._use, None
        op = self._op
        if op is None or use is None or use.connection is None:
            return

        def drop() -> None:
            op.cancel()
            use.drop()

        in_its_loop(use.connection, drop)

    @property
    def rows(self) -> int:
        """How many rows were written so far; 0 where they go as bytes."""
        return 0 if self._op is None else self._op.n_rows

    @property
    def bytes(self) -> int:
        """How many bytes were sent so far."""
        return 0 if self._op is None else self._op.size

    @property
    def status(self) -> str:
        """The command tag, such as "COPY 3"; empty until everything is stored."""
        return self._status

    async def __aenter__(self) -> Self:
        use = self._use
        if use is None or self._op is not None:
            raise InterfaceError("a COPY can be used once")
        try:
            connection = await use.begin()
            use.log(f"COPY {self._table} FROM STDIN", ())
            async with within(use.timeout):
                await self._start(connection)
            if self._waits:
                await self._room(use)
        except BaseException as error:
            await self._give_up(error)
            raise
        return self

    async def _start(self, connection: Connection) -> None:
        session = connection._session
        if self._format is not None:
            async with Turn(session):
                await alone(session)
                command = self._command(self._format, sql.columns_of(self._columns))
                self._op = start_copy_in(session, command, None)
            return

        def start(known: Known, asked: Statement | None) -> CopyInOp:
            columns = known.statement
            if known.is_binary:
                command = self._command("binary", known.listed)
                return start_copy_in(session, command, columns, None, asked)
            command = self._command("text", known.listed)
            return start_copy_in(session, command, columns, text_of, asked)

        self._op, self._known = await start_with_columns(
            session, self._table, self._columns, start, self._waits
        )

    async def _start_again(self, use: Use, error: BaseException) -> bool:
        """The table was altered: write what was written to its columns of today.

        Returns whether that was the reason, and has helped. Nobody else writes: where
        several tasks may, the block has begun when the server had.
        """
        op, known, connection = self._op, self._known, use.connection
        if op is None or known is None or connection is None:
            return False
        rows = op.kept
        if rows is None or not isinstance(error, PostgresError):
            return False
        self._attempts += 1
        is_stale = forget(connection._session, known, op, error)
        if self._attempts == ATTEMPTS or not is_stale:
            return False
        async with within(use.timeout):
            await self._start(connection)
        for row in rows:
            op = self._op
            assert op is not None
            if op.put_row(row):
                await self._room(use)
        return True

    def _command(self, format: str, columns: str) -> str:
        source = self._table + columns
        return sql.command(source, "FROM STDIN", format, self._options, self._where)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_ended = True
        if error is not None:
            await self._give_up(error)
            return
        try:
            await self._finish()
        except BaseException as failure:
            await self._give_up(failure)
            raise
        await self._end(None)

    async def _finish(self) -> None:
        op, use = self._op, self._use
        if op is None or use is None or self._has_raised:
            return
        op.finish()
        try:
            async with within(use.timeout):
                self._status = await op
        except PostgresError as error:
            if not await self._start_again(use, error):
                raise
            await self._finish()

    async def _give_up(self, error: BaseException) -> None:
        """See that nothing is stored; wait for that unless nobody has the time."""
        op, use = self._op, self._use
        try:
            if op is None or op.done() or use is None:
                return
            op.give_up()
            if isinstance(error, Exception) and not isinstance(error, TimeoutError):
                with contextlib.suppress(Exception):  # what was asked for
                    async with within(use.timeout):
                        await op
        finally:
            if op is not None:
                op.cancel()
            await self._end(error)

    def _end(self, error: BaseException | None) -> Awaitable[None]:
        use, self._use = self._use, None
        return NOTHING if use is None else use.end(error)

    # -- data --------------------------------------------------------------------------

    def write_row(self, row: Sequence[Any]) -> Awaitable[None]:
        """Write one row; await what it returns.

        Args:
            row: a value for each column.

        Raises:
            DataError: a value does not fit; the message names row and column. The row
                was not written; the COPY goes on if this error is caught.
            PostgresError: the server has refused what came before.
        """
        op = self._op
        if op is None or op.put_row(row):
            return self._go_on()
        return NOTHING

    async def write_rows(
        self, rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]
    ) -> None:
        """Write many rows, as by `write_row`; they are consumed as they are sent.

        Args:
            rows: an iterable or an asynchronous iterable of rows.
        """
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                await self.write_row(row)
            return
        iterator = iter(rows)
        while self._op is None or self._op.feed(iterator):
            await self._go_on()

    async def write(self, data: Data) -> None:
        """Write bytes of the COPY's format; a row may be cut anywhere.

        Args:
            data: bytes, or another object with a buffer of bytes.
        """
        view = memoryview(data).cast("B")
        for begin in range(0, len(view), _SLICE):
            op = self._op
            if op is None or op.put_bytes(view[begin : begin + _SLICE]):
                await self._go_on()

    async def write_from(self, source: Any) -> None:
        """Write all bytes of a source, as by `write`.

        Args:
            source: a path, a file opened for reading bytes, an asynchronous iterable of
                bytes, or a buffer.
        """
        async with contextlib.aclosing(chunks(source)) as pieces:
            async for piece in pieces:
                await self.write(piece)

    async def _go_on(self) -> None:
        """Let others run, wait while the server takes nothing, see if it has failed."""
        op, use = self._op, self._use
        if self._is_ended or self._has_raised:
            op = None
        if op is None or use is None or use.connection is None:
            raise InterfaceError("the COPY is not open: write within its block")
        await asyncio.sleep(0)
        await self._room(use)

    async def _room(self, use: Use) -> None:
        """Wait while the server takes nothing; raise what it has ended with."""
        op, connection = self._op, use.connection
        assert op is not None and connection is not None
        for waiter in (op.opened(), connection._session.gate.wait_writable()):
            if not waiter.done():
                async with within(use.timeout):
                    await waiter
        # the end is awaited where there is one task only, and a row that would be lost
        if not op.done() and (not op.ended or op.kept is None):
            op.settle_doubt()
            return
        if not self._has_raised:
            try:
                async with within(use.timeout):
                    await op
            except BaseException as error:
                if await self._start_again(use, error):
                    return
                self._has_raised = True
                raise
        self._has_raised = True
        raise InterfaceError("the COPY has ended")
