"""COPY and streams, as users call them.

Owns: `Copying`, the part of `Connection` and of `Pool` with `stream`, `copy_out`,
`copy_in` and asyncpg's four methods, and the options of COPY.
Layer L5. Imports L0 - L4, streaming, copying_in and copying_out.

Rules
- Each method works on a connection that it is lent: a connection's own self, or one
  that a pool gives away until the end.
- Without a format, data are rows: encoded and decoded as those of queries are. With
  one, they are bytes in that format. Only asyncpg's methods have a format where none is
  named: COPY's own, which is text.

Source: PostgreSQL documentation, "COPY".
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

from chopin import _copysql as sql
from chopin._copyfiles import sink
from chopin._execute import within
from chopin._ops import check_timeout
from chopin._rows import Record
from chopin._shapes import row_shape
from chopin.copying_in import CopyIn
from chopin.copying_out import CopyOut
from chopin.exceptions import InterfaceError
from chopin.streaming import Loan, RowStream

if TYPE_CHECKING:
    from chopin._fitting import Row, Shape

Table = str | tuple[str, str]
Format = Literal["text", "csv", "binary"]
Lend = Callable[[float | None], Loan]


class CopyOptions(TypedDict, total=False):
    """Options of COPY in both directions.

    Attributes:
        delimiter: the character between columns.
        null: the string that stands for NULL.
        header: whether the first line has the names of the columns; going in, "match"
            has the server check them.
        quote: the character around values, of "csv".
        escape: the character ahead of a quote in a value, of "csv".
        encoding: of the data, the connection's UTF-8 by default.
        oids: of servers before 12.
    """

    delimiter: str | None
    null: str | None
    header: bool | Literal["match"] | None
    quote: str | None
    escape: str | None
    encoding: str | None
    oids: bool | None


class CopyOutOptions(CopyOptions, total=False):
    """Options of COPY out of the server.

    Attributes:
        force_quote: columns that are always quoted, True for all, of "csv".
    """

    force_quote: bool | Iterable[str] | None


class CopyInOptions(CopyOptions, total=False):
    """Options of COPY into the server.

    Attributes:
        freeze: whether rows are frozen, in a table made in the same transaction.
        default: the string that stands for a column's default (PostgreSQL 16).
        force_quote: none that the server takes; asyncpg has it.
        force_not_null: columns in which nothing is taken for NULL, of "csv".
        force_null: columns in which the null string is NULL even if quoted, of "csv".
        on_error: "stop" or "ignore" (PostgreSQL 17).
        log_verbosity: "default", "verbose" or "silent" (PostgreSQL 17).
        reject_limit: how many errors are ignored at most (PostgreSQL 18).
    """

    freeze: bool | None
    default: str | None
    force_quote: bool | Iterable[str] | None
    force_not_null: bool | Iterable[str] | None
    force_null: bool | Iterable[str] | None
    on_error: str | None
    log_verbosity: str | None
    reject_limit: int | None


class Copying:
    """COPY and streams, for a connection and for a pool."""

    __slots__ = ()

    def _lend(self, timeout: float | None) -> Loan:
        """A connection for as long as it is used."""
        raise NotImplementedError

    # -- piece by piece ----------------------------------------------------------------

    def stream(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Shape[Row] | None = None,
    ) -> RowStream[Row]:
        """Read the rows of a query one by one, as the server sends them.

        The memory that it takes does not depend on the number of rows: a reader that is
        slow makes the server wait. No transaction is needed.

        Args:
            query: one SQL statement.
            args: its arguments.
            timeout: seconds for each wait for the server, `command_timeout` if None.
            record_class: a subclass of `Record` for these rows.
            into: what these rows become, as for `fetch`.

        Raises:
            PostgresError: what the server says, where it says it.
            InterfaceError: another call is made on the connection meanwhile.

        Example:
            >>> async for row in conn.stream("SELECT * FROM big WHERE id > $1", 7):
            ...     print(row["id"])

        Source: PostgreSQL documentation, "Extended Query".
        """
        shape = row_shape(record_class, into)
        return RowStream(self._lend, query, args, timeout, shape)

    @overload
    def copy_out(
        self,
        source: Table,
        *args: Any,
        columns: Iterable[str] | None = None,
        schema: str | None = None,
        format: None = None,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Shape[Row] | None = None,
    ) -> CopyOut[Row]: ...

    @overload
    def copy_out(
        self,
        source: Table,
        *args: Any,
        columns: Iterable[str] | None = None,
        schema: str | None = None,
        format: Format,
        timeout: float | None = None,
        **options: Unpack[CopyOutOptions],
    ) -> CopyOut[bytes]: ...

    def copy_out(
        self,
        source: Table,
        *args: Any,
        columns: Iterable[str] | None = None,
        schema: str | None = None,
        format: Format | None = None,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
        **options: Unpack[CopyOutOptions],
    ) -> CopyOut[Any]:
        """Read a table, or what a query returns, by COPY: rows, or bytes in a format.

        Without `format` the loop gets records, as `fetch` returns them; with one it
        gets bytes, in chunks that end where a row ends.

        Args:
            source: the name of a table, or a query: what begins as one (SELECT, VALUES,
                WITH, TABLE, INSERT, UPDATE, DELETE, MERGE) is one. (schema, table) is
                always a table, and so is what has a `schema`.
            args: of the query.
            columns: of the table, None for all but those that are generated.
            schema: of the table.
            format: "csv", "text" or "binary" for bytes.
            timeout: seconds for each wait for the server, `command_timeout` if None.
            record_class: a subclass of `Record` for these rows.
            into: what these rows become, as for `fetch`.
            options: of COPY, for bytes; see `CopyOutOptions`.

        Raises:
            PostgresError: what the server says, where it says it.
            InterfaceError: another call is made on the connection meanwhile.

        Example:
            >>> async for row in conn.copy_out("works"):
            ...     print(row["title"])
            >>> async for chunk in conn.copy_out("works", format="csv", header=True):
            ...     file.write(chunk)

        Source: PostgreSQL documentation, "COPY".
        """
        names = _names(columns)
        values: tuple[Any, ...] | None = None
        if schema is None and sql.is_query(source):
            if names is not None:
                raise InterfaceError("`columns` is for a table, not for a query")
            text, values = cast("str", source), args
        else:
            if args:
                raise InterfaceError(f"arguments are for a query, not for {source!r}")
            text = sql.table(source, schema)
        shape = row_shape(record_class, into)
        return CopyOut(self._lend, text, values, names, timeout, shape, format, options)

    def copy_in(
        self,
        table: Table,
        *,
        columns: Iterable[str] | None = None,
        schema: str | None = None,
        format: Format | None = None,
        where: str | None = None,
        timeout: float | None = None,
        **options: Unpack[CopyInOptions],
    ) -> CopyIn:
        r"""Write to a table by COPY: rows, or bytes in a format.

        Args:
            table: its name, or (schema, table).
            columns: those that are written, None for all but those that are generated.
            schema: of the table.
            format: "csv", "text" or "binary" for bytes; None for rows.
            where: a condition as SQL; rows for which it does not hold are left out.
            timeout: seconds for each wait for the server, `command_timeout` if None.
            options: of COPY, for bytes; `freeze` for rows too. See `CopyInOptions`.

        Returns:
            A `CopyIn`, to be used in `async with`.

        Example:
            >>> async with conn.copy_in("works", columns=["title", "opus"]) as copy:
            ...     for number in range(1, 28):
            ...         await copy.write_row((f"Work {number}", number))
            >>> async with conn.copy_in("works", format="csv") as copy:
            ...     await copy.write(b"Nocturnes,9\n")

        Source: PostgreSQL documentation, "COPY".
        """
        name = sql.table(table, schema)
        return CopyIn(
            self._lend, name, _names(columns), where, timeout, format, options
        )

    # -- asyncpg's methods -------------------------------------------------------------

    async def copy_from_table(
        self,
        table_name: str,
        *,
        output: Any,
        columns: Iterable[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
        format: Format | None = None,
        **options: Unpack[CopyOutOptions],
    ) -> str:
        """Copy a table to a file, a path or a function.

        Args:
            table_name: the table.
            output: a path, an object with `write`, or a coroutine function that takes
                bytes.
            columns: their names, None for all.
            schema_name: the table's schema.
            timeout: seconds for everything.
            format: "text", which is the default, "csv" or "binary".
            options: of COPY; see `CopyOutOptions`.

        Returns:
            The command tag, such as "COPY 100".

        Example:
            >>> await conn.copy_from_table("works", output="works.csv", format="csv")
            'COPY 3'
        """

        async def work(lend: Lend) -> str:
            stream: CopyOut[bytes] = CopyOut(
                lend, sql.table(table_name, schema_name), None, _names(columns),
                timeout, None, format or "text", options,
            )  # fmt: skip
            return await _drain(stream, write)

        async with sink(output) as write:
            return await self._whole(timeout, work)

    async def copy_from_query(
        self,
        query: str,
        *args: Any,
        output: Any,
        timeout: float | None = None,
        format: Format | None = None,
        **options: Unpack[CopyOutOptions],
    ) -> str:
        """Copy what a query returns to a file, a path or a function.

        Args:
            query: one SQL statement.
            args: its arguments.
            output: a path, an object with `write`, or a coroutine function that takes
                bytes.
            timeout: seconds for everything.
            format: "text", which is the default, "csv" or "binary".
            options: of COPY; see `CopyOutOptions`.

        Returns:
            The command tag, such as "COPY 100".

        Example:
            >>> await conn.copy_from_query(
            ...     "SELECT title FROM works WHERE opus > $1", 9, output="works.txt")
            'COPY 2'
        """

        async def work(lend: Lend) -> str:
            stream: CopyOut[bytes] = CopyOut(
                lend, query, args, None, timeout, None, format or "text", options
            )
            return await _drain(stream, write)

        async with sink(output) as write:
            return await self._whole(timeout, work)

    async def copy_to_table(
        self,
        table_name: str,
        *,
        source: Any,
        columns: Iterable[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
        format: Format | None = None,
        where: str | None = None,
        **options: Unpack[CopyInOptions],
    ) -> str:
        """Copy bytes from a file, a path, an iterable or a buffer to a table.

        Args:
            table_name: the table.
            source: a path, an object with `read`, an asynchronous iterable of bytes,
                or a buffer.
            columns: their names, None for all.
            schema_name: the table's schema.
            timeout: seconds for everything.
            format: "text", which is the default, "csv" or "binary".
            where: a condition as SQL; rows for which it does not hold are left out.
            options: of COPY; see `CopyInOptions`.

        Returns:
            The command tag, such as "COPY 100".

        Example:
            >>> await conn.copy_to_table("works", source="works.csv", format="csv")
            'COPY 3'
        """

        async def work(lend: Lend) -> str:
            copy = CopyIn(
                lend, sql.table(table_name, schema_name), _names(columns), where,
                timeout, format or "text", options,
            )  # fmt: skip
            async with copy:
                await copy.write_from(source)
            return copy.status

        return await self._whole(timeout, work)

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
        columns: Iterable[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
        where: str | None = None,
    ) -> str:
        """Copy rows to a table.

        Args:
            table_name: the table.
            records: an iterable or an asynchronous iterable of rows.
            columns: their names, None for all.
            schema_name: the table's schema.
            timeout: seconds for everything.
            where: a condition as SQL; rows for which it does not hold are left out.

        Returns:
            The command tag, such as "COPY 100".

        Raises:
            DataError: a value does not fit; the message names row and column.

        Example:
            >>> await conn.copy_records_to_table(
            ...     "works", records=[("Nocturnes", 9), ("Ballade", 23)])
            'COPY 2'
        """

        async def work(lend: Lend) -> str:
            copy = CopyIn(
                lend, sql.table(table_name, schema_name), _names(columns), where,
                timeout, None, {}, waits=False,
            )  # fmt: skip
            async with copy:
                await copy.write_rows(records)
            return copy.status

        return await self._whole(timeout, work)

    async def _whole(
        self, timeout: float | None, work: Callable[[Lend], Awaitable[str]]
    ) -> str:
        """Do all of a COPY in its time, of which getting a connection is a part.

        No context manager made of an asynchronous generator: the event loop keeps a
        list of those, which costs more than to send a few rows.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        async with within(timeout), self._lend(timeout) as connection:
            default = connection._command_timeout if timeout is None else None
            async with within(default):
                return await work(connection._lend)


async def _drain(stream: CopyOut[bytes], write: Callable[[bytes], Any]) -> str:
    """Write all that comes; what a writer raises calls the COPY off."""
    async with stream:
        async for chunk in stream:
            await write(chunk)
    return stream.status


def _names(columns: Iterable[str] | None) -> list[str] | None:
    if isinstance(columns, str):
        raise TypeError("columns is expected to be a list of names, got a str")
    return list(columns) if columns is not None else None
