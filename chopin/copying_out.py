"""COPY out of the server: rows, or bytes in a format.

Owns: `CopyOut`, what `copy_out` returns.
Layer L5. Imports L0 - L4 and streaming.

Rules
- Rows come in the binary format and are decoded by the plan of a query. Where a column
  has no binary form here, the rows come by a query instead, and nobody sees it.
- Arguments of bytes are made literals by the server, since COPY has no parameters.

Source: PostgreSQL documentation, "COPY".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from chopin import _copysql as sql
from chopin._copy import CopyOutOp, start_copy_out
from chopin._copycolumns import (
    is_binary,
    literals_of,
    start_with_columns,
    start_with_query,
)
from chopin._execute import Turn, alone, begun
from chopin._ops import RowsOp
from chopin.streaming import Loan, Stream, T, start_stream

if TYPE_CHECKING:
    from chopin._copycolumns import Known
    from chopin._protocol import Statement
    from chopin.connection import Connection


class CopyOut(Stream[T]):
    """What a COPY brings, read by `async for`; made by `copy_out()`.

    Records, or chunks of bytes where there is a format. See `Stream`.

    Args:
        lend: makes the loan of a connection.
        source: a table or a query, as SQL.
        args: of the query; None for a table.
        columns: of the table.
        timeout: seconds for each wait.
        shape: of the rows, from `row_shape`.
        format: of bytes, None for rows.
        options: of COPY.
    """

    __slots__ = ("_args", "_columns", "_format", "_options", "_shape", "_source")

    def __init__(
        self,
        lend: Callable[[float | None], Loan],
        source: str,
        args: tuple[Any, ...] | None,
        columns: list[str] | None,
        timeout: float | None,
        shape: Any,
        format: str | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(lend, timeout)
        sql.check_options(format, options, shape)
        self._source = source
        self._args = args
        self._columns = columns
        self._format = format
        self._options = options
        self._shape = shape

    async def _start(self, connection: Connection) -> RowsOp:
        use = self._use
        assert use is not None
        use.log(self._source, self._args or ())
        if self._format is not None:
            return await self._start_bytes(connection, self._format)
        return await self._start_rows(connection)

    async def _start_bytes(self, connection: Connection, format: str) -> RowsOp:
        session = connection._session
        async with Turn(session):
            await alone(session)
            if self._args:
                escapes = session.parameters.get("standard_conforming_strings") == "off"
                literals = await literals_of(session, self._source, self._args)
                source = sql.with_literals(self._source, literals, escapes)
            else:
                source = self._source
            command = self._command(source, format, sql.columns_of(self._columns))
            op = start_copy_out(session, command, None, None)
        return await begun(op, op.opened())

    async def _start_rows(self, connection: Connection) -> RowsOp:
        """As COPY in binary, or as a query where that cannot be."""
        session = connection._session
        query = self._source

        def start(
            columns: Statement,
            asked: Statement | None,
            listed: str = "",
        ) -> CopyOutOp | None:
            if not is_binary(columns):
                return None
            command = self._command(query, "binary", listed)
            return start_copy_out(session, command, columns, self._shape, asked)

        def start_table(known: Known, asked: Statement | None) -> CopyOutOp | None:
            if known.is_partitioned:  # for the server to refuse, as it does
                command = self._command(query, "text", known.listed)
                return start_copy_out(session, command, None, None)
            return start(known.statement, asked, known.listed)

        op = None
        if self._args is None:
            op, known = await start_with_columns(
                session, query, self._columns, start_table
            )
            if op is None:
                names = ", ".join(map(sql.quoted, known.names))
                query = f"SELECT {names} FROM ONLY {query}"
        elif not self._args:
            op = await start_with_query(session, query, start)
        if op is not None:
            return op
        return await start_stream(connection, query, self._args or (), self._shape)

    def _command(self, source: str, format: str, columns: str) -> str:
        if self._args is None:
            source += columns
        else:
            source = sql.in_parentheses(source)
        return sql.command(source, "TO STDOUT", format, self._options)

    @property
    def status(self) -> str:
        """The command tag, such as "COPY 3"; empty until everything has come."""
        return self._status.replace("SELECT", "COPY")
