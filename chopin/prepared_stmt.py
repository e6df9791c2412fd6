"""A statement that the user holds.

Owns: `PreparedStatement`.
Layer L5. Imports L0, L2 - L4 and cursor.

Rules
- It lives as long as the object; when that is dropped, its Close rides on whatever is
  sent next.
- Its calls take the same way as those of the connection, behind one check more.

Source: PostgreSQL documentation, "PREPARE", "Extended Query".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from chopin._execute import ATTEMPTS, Turn, was_hit
from chopin._fitting import Row
from chopin._ops import ROW, ROWS, VALUE, start_execute
from chopin._released import check_held
from chopin._shapes import row_shape
from chopin.cursor import CursorFactory
from chopin.exceptions import InterfaceError, PostgresError
from chopin.many import Rows
from chopin.types import Attribute, Type

if TYPE_CHECKING:
    from chopin._fitting import Shape
    from chopin._protocol import Statement
    from chopin._rows import Record
    from chopin.connection import Connection


Other = TypeVar("Other")


class PreparedStatement(Generic[Row]):
    """A prepared statement, made by `Connection.prepare`.

    Example:
        >>> statement = await conn.prepare("SELECT $1::int * 2")
        >>> [await statement.fetchval(i) for i in range(3)]
        [0, 2, 4]
    """

    __slots__ = ("_connection", "_last_status", "_shape", "_statement", "_types")

    def __init__(
        self,
        connection: Connection,
        statement: Statement,
        types: dict[int, Type],
        shape: Any,
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._types = types
        self._shape = shape
        self._last_status: str | None = None

    @property
    def _query(self) -> str:
        """The SQL text, by the name by which OpenTelemetry asks for it."""
        return self._statement.sql

    def get_name(self) -> str:
        """The statement's name on the server; empty for the unnamed one."""
        return self._open("get_name").name.decode("utf-8")

    def get_query(self) -> str:
        """The SQL text."""
        return self._open("get_query").sql

    def get_statusmsg(self) -> str | None:
        """The last execution's status, such as "SELECT 2"; None before the first."""
        self._open("get_statusmsg")
        return self._last_status

    def get_parameters(self) -> tuple[Type, ...]:
        """The types of the parameters, in order."""
        statement = self._open("get_parameters")
        return tuple(self._types[oid] for oid in statement.description.parameter_oids)

    def get_attributes(self) -> tuple[Attribute, ...]:
        """The columns of the result: name and type of each, in order."""
        statement = self._open("get_attributes")
        return tuple(
            Attribute(column.name, self._types[column.type_oid])
            for column in statement.description.columns
        )

    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None
    ) -> CursorFactory[Row]:
        """Return a cursor over the statement's rows; see `Connection.cursor`."""
        statement = self._open("cursor")
        return CursorFactory(
            self._connection,
            statement.sql,
            statement,
            args,
            prefetch,
            timeout,
            self._shape,
        )

    async def explain(self, *args: Any, analyze: bool = False) -> Any:
        """Return the statement's plan, as objects made from EXPLAIN's JSON.

        Args:
            args: the statement's arguments.
            analyze: run the statement, inside of a transaction that is rolled back,
                and report actual times.

        Source: PostgreSQL documentation, "EXPLAIN".
        """
        statement = self._open("explain")
        connection = self._connection
        options = "FORMAT JSON, VERBOSE" + (", ANALYZE" if analyze else "")
        sql = f"EXPLAIN ({options}) {statement.sql}"
        if not analyze:
            return _parsed(await connection.fetchval(sql, *args))
        block = connection.transaction()
        await block.start()
        try:
            return _parsed(await connection.fetchval(sql, *args))
        finally:
            await block.rollback()

    @overload
    async def fetch(
        self,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> list[Row]: ...
    @overload
    async def fetch(
        self,
        *args: Any,
        timeout: float | None = None,
        into: Shape[Other],
    ) -> list[Other]: ...
    async def fetch(
        self,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> list[Any]:
        """Run the statement and return its rows; see `Connection.fetch`.

        `record_class` and `into` are those of `prepare` where none is given.
        """
        shape = row_shape(record_class, into)
        return await self._run("fetch", ROWS, 0, args, timeout, shape)

    @overload
    async def fetchrow(
        self,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> Row | None: ...
    @overload
    async def fetchrow(
        self,
        *args: Any,
        timeout: float | None = None,
        into: Shape[Other],
    ) -> Other | None: ...
    async def fetchrow(
        self,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> Any:
        """Run the statement and return its first row; see `Connection.fetchrow`."""
        shape = row_shape(record_class, into)
        return await self._run("fetchrow", ROW, 0, args, timeout, shape)

    async def fetchval(
        self, *args: Any, column: int | str = 0, timeout: float | None = None
    ) -> Any:
        """Run the statement and return one value; see `Connection.fetchval`."""
        if type(column) is int and column >= 0:
            return await self._run("fetchval", VALUE, column, args, timeout, None)
        row = await self._run("fetchval", ROW, 0, args, timeout, None)
        return None if row is None else row[column]

    @overload
    async def fetchmany(
        self,
        args: Rows,
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> list[Row]: ...
    @overload
    async def fetchmany(
        self,
        args: Rows,
        *,
        timeout: float | None = None,
        into: Shape[Other],
    ) -> list[Other]: ...
    async def fetchmany(
        self,
        args: Rows,
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> list[Any]:
        """Run the statement for each sequence of arguments; return all the rows."""
        statement = self._open("fetchmany")
        shape = row_shape(record_class, into)
        if shape is None:
            shape = self._shape
        rows: list[Any] = await self._connection._many(
            statement.sql, args, timeout, True, shape, statement
        )
        return rows

    async def executemany(self, args: Rows, *, timeout: float | None = None) -> int:
        """Run the statement for each sequence of arguments: all of them or none.

        Returns:
            How many rows it has touched or returned, all together.
        """
        statement = self._open("executemany")
        count: int = await self._connection._many(
            statement.sql, args, timeout, False, None, statement
        )
        return count

    def _open(self, method: str) -> Statement:
        check_held(self._connection, f"PreparedStatement.{method}")
        if self._statement.closed:
            raise InterfaceError(
                f"cannot call PreparedStmt.{method}(): the prepared statement is closed"
            )
        if self._connection.is_closed():
            raise InterfaceError(
                f"cannot call PreparedStatement.{method}(): the underlying connection "
                "is closed"
            )
        return self._statement

    async def _run(
        self,
        method: str,
        want: int,
        column: int,
        args: tuple[Any, ...],
        timeout: float | None,
        shape: Any,
    ) -> Any:
        statement = self._open(method)
        connection = self._connection
        session = connection._session
        if shape is None:
            shape = self._shape
        epoch = session.epoch
        async with connection._limited(statement.sql, args, timeout):
            for attempt in range(ATTEMPTS):
                async with Turn(session):
                    op = start_execute(session, statement, args, want, column, shape)
                op.keeps_status = True
                try:
                    result = await op
                    self._last_status = op.status
                    return result
                except PostgresError as error:
                    if attempt + 1 == ATTEMPTS or session.epoch != epoch:
                        raise
                    if not was_hit(session, statement.sql, op, error):
                        raise
        raise AssertionError("the last attempt returns or raises")


def _parsed(plan: Any) -> Any:
    return json.loads(plan) if isinstance(plan, str) else plan
