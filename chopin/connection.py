"""The connection that users hold.

Owns: `connect` and `Connection`: asyncpg's methods over one session.
Layer L5. Imports everything below, and the concepts beside it (many, customizing,
listening, copying, transaction, cursor, prepared_stmt), which do not import it back.

Rules
- A method that sends a cached statement is one coroutine with one await: `start_query`
  writes, the operation is awaited. Whatever is not as usual goes to `_run`.
- Several calls at once are sent in the order in which they were made, and each gets its
  own result or error; nobody needs a lock.
- A method leaves the connection usable or closed, wherever it is cancelled.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Unpack, overload

from chopin import _statements, introspect
from chopin._codecs import scope_of
from chopin._execute import (
    HEALABLE,
    Turn,
    heal,
    prepare,
    run_query,
    unblocked,
    within,
)
from chopin._limited import Limited
from chopin._observers import (
    ConnectionParameters,
    LoggedQuery,
    Observers,
)
from chopin._ops import (
    ROW,
    ROWS,
    STATUS,
    VALUE,
    QueryOp,
    start_query,
)
from chopin._rows import Record, check_record_class
from chopin._settings import ConnectionSettings, parse_server_version
from chopin._shapes import row_shape
from chopin._sharedconfig import shared_config
from chopin._simple import SimpleOp, start_script, start_simple
from chopin.aio import WireProtocol
from chopin.batching import Batched
from chopin.codecs import CodecSpec, JSONOption
from chopin.config import ConnectOptions
from chopin.connect import connect_session
from chopin.copying import Copying
from chopin.cursor import CursorFactory
from chopin.customizing import Customized
from chopin.exceptions import InterfaceError, PostgresError
from chopin.listening import Channels, Listening
from chopin.many import ManyTimes
from chopin.pipeline import Pipelined
from chopin.prepared_stmt import PreparedStatement
from chopin.streaming import Itself
from chopin.transaction import Isolation, Transaction
from chopin.types import ServerVersion

if TYPE_CHECKING:
    from chopin._fitting import Row, Shape


class Connection(Listening, ManyTimes, Batched, Pipelined, Customized, Copying):
    """A connection to a PostgreSQL server. Made by `connect`, never by calling it.

    Calls from several tasks are pipelined: they are sent as they come and answered in
    that order. Inside of a transaction they are all part of it.
    """

    __slots__ = (
        "__weakref__",
        "_command_timeout",
        "_config",
        "_loop",
        "_record_class",
        "_top_xact",
    )

    #: Whether it is a pool's handle that was given back.
    _is_released = False

    def __init__(self, session: WireProtocol) -> None:
        self._session = session
        self._config = session.config
        self._loop = session.loop
        self._command_timeout = session.config.command_timeout
        self._record_class = session.record_class
        self._observers = Observers()
        self._channels = Channels()
        self._top_xact: Transaction | None = None
        session.listen(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connection cannot be copied or pickled")

    def __repr__(self) -> str:
        state = "closed" if self.is_closed() else f"pid {self.get_server_pid()}"
        return f"<{type(self).__module__}.{type(self).__name__} {state}>"

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is None or session.transport is None or self.is_closed():
            return
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(session.terminate)
        warnings.warn(
            f"unclosed connection {self!r}; close it with 'await connection.close()'",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )

    # -- queries -----------------------------------------------------------------------

    @overload
    async def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> list[Record]: ...
    @overload
    async def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> list[Row]: ...
    async def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> list[Any]:
        """Run a query and return its rows.

        Args:
            query: one SQL statement, with parameters written $1, $2, ...
            args: their values.
            timeout: seconds for everything, the connection's `command_timeout` if None.
            record_class: a subclass of `Record` for these rows.
            into: what a row becomes instead: `tuple`, `dict`, a dataclass, a NamedTuple
                or TypedDict, a class of attrs, msgspec or pydantic, whose fields are
                found by the names of the columns; any other class or function is called
                with the values.

        Returns:
            The rows as a list, empty when there are none.

        Raises:
            PostgresError: what the server says, in the class of its SQLSTATE.
            DataError: an argument does not fit its parameter; nothing was sent.
            TimeoutError: it took longer; the server was asked to stop.
            InterfaceError: the columns do not fit `into`.

        Example:
            >>> rows = await conn.fetch("SELECT id FROM users WHERE age > $1", 30)
            >>> users = await conn.fetch("SELECT id, name FROM users", into=User)

        Source: PostgreSQL documentation, "Extended Query".
        """
        if timeout is None:
            timeout = self._command_timeout
        shape = None
        if record_class is not None or into is not None:
            shape = row_shape(record_class, into)
        if self._observers.query:
            return await self._run(ROWS, 0, query, args, timeout, shape)
        op = start_query(self._session, query, args, ROWS, 0, timeout, shape)
        if op is None:
            return await self._run(ROWS, 0, query, args, timeout, shape)
        try:
            return await op
        except PostgresError as error:
            return await self._retry(error, op, ROWS, 0, query, args, timeout, shape)

    @overload
    async def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> Record | None: ...
    @overload
    async def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> Row | None: ...
    async def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> Any:
        """Run a query and return its first row, or None when there is none.

        Arguments and errors are those of `fetch`. The server may stop after the first
        row; a locking query (FOR UPDATE) locks no other one.

        Example:
            >>> row = await conn.fetchrow("SELECT * FROM users WHERE id = $1", 7)
        """
        if timeout is None:
            timeout = self._command_timeout
        shape = None
        if record_class is not None or into is not None:
            shape = row_shape(record_class, into)
        if self._observers.query:
            return await self._run(ROW, 0, query, args, timeout, shape)
        op = start_query(self._session, query, args, ROW, 0, timeout, shape)
        if op is None:
            return await self._run(ROW, 0, query, args, timeout, shape)
        try:
            return await op
        except PostgresError as error:
            return await self._retry(error, op, ROW, 0, query, args, timeout, shape)

    async def fetchval(
        self,
        query: str,
        *args: Any,
        column: int | str = 0,
        timeout: float | None = None,
    ) -> Any:
        """Run a query and return one value of its first row.

        Args:
            query: as for `fetch`.
            args: as for `fetch`.
            column: position or name of the column.
            timeout: as for `fetch`.

        Returns:
            The value, or None when there is no row.

        Raises:
            IndexError, KeyError: there is no such column.

        Example:
            >>> total = await conn.fetchval("SELECT count(*) FROM users")
        """
        if type(column) is not int or column < 0:
            row = await self.fetchrow(query, *args, timeout=timeout)
            return None if row is None else row[column]
        if timeout is None:
            timeout = self._command_timeout
        if self._observers.query:
            return await self._run(VALUE, column, query, args, timeout, None)
        op = start_query(self._session, query, args, VALUE, column, timeout, None)
        if op is None:
            return await self._run(VALUE, column, query, args, timeout, None)
        try:
            return await op
        except PostgresError as error:
            return await self._retry(
                error, op, VALUE, column, query, args, timeout, None
            )

    async def execute(
        self, query: str, *args: Any, timeout: float | None = None
    ) -> str:
        """Run SQL and return the status of its last command; rows are dropped.

        Without arguments the text may hold several statements, separated by
        semicolons; they run as one transaction unless they say otherwise. With
        arguments it is one statement.

        Returns:
            The command tag, such as "INSERT 0 1".

        Example:
            >>> await conn.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
            'INSERT 0 1'
            >>> await conn.execute("UPDATE t SET a = $1", 2)
            'UPDATE 1'

        Source: PostgreSQL documentation, "Simple Query".
        """
        if timeout is None:
            timeout = self._command_timeout
        if self._observers.query:
            return await self._run(STATUS, 0, query, args, timeout, None)
        op: QueryOp | SimpleOp | None
        if args:
            op = start_query(self._session, query, args, STATUS, 0, timeout, None)
        else:
            op = start_script(self._session, query, timeout)
        if op is None:
            return await self._run(STATUS, 0, query, args, timeout, None)
        try:
            return await op
        except PostgresError as error:
            return await self._retry(error, op, STATUS, 0, query, args, timeout, None)

    async def _run(
        self,
        want: int,
        column: int,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        shape: Any,
    ) -> Any:
        """The long way of `fetch` and its kin."""
        async with self._limited(query, args, timeout):
            if want == STATUS and not args:
                return await self._simple(query)
            return await run_query(self._session, query, args, want, column, shape)

    async def _retry(
        self,
        error: PostgresError,
        op: QueryOp | SimpleOp,
        want: int,
        column: int,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        shape: Any,
    ) -> Any:
        """Run a query again whose error can be healed; raise the others."""
        error.query = query
        if error.sqlstate not in HEALABLE or not heal(self._session, query, op, error):
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return await self._run(want, column, query, args, timeout, shape)

    async def _simple(self, query: str) -> str:
        """Send SQL as text, in its turn."""
        async with Turn(self._session):
            op = start_simple(self._session, query)
        status: str = await op
        return status

    def _limited(self, query: str, args: Any, timeout: float | None) -> Limited:
        """The frame of everything that goes the long way: time-out, names, loggers."""
        return Limited(self, query, args, timeout)

    def _started(self) -> float | None:
        """When a query begins, by `monotonic`; None if no logger wants to know."""
        return time.monotonic() if self._observers.query else None

    def _ended(
        self,
        query: str,
        args: Any,
        timeout: float | None,
        started: float | None,
        failure: BaseException | None,
    ) -> None:
        """A query has ended: its error is given its name, the loggers are told."""
        if isinstance(failure, PostgresError) and failure.query is None:
            failure.query = query
        if started is not None:
            self._tell_query(query, args, timeout, started, failure)

    def _tell_query(
        self,
        query: str,
        args: Any,
        timeout: float | None,
        started: float,
        failure: BaseException | None,
    ) -> None:
        """Tell the query loggers of a query that began at `started` and has ended."""
        elapsed = time.monotonic() - started
        addr, params = self._addr, self._params
        self._observers.tell_query(
            LoggedQuery(query, args, timeout, elapsed, failure, addr, params)
        )

    # -- statements, cursors, transactions ---------------------------------------------

    @overload
    async def prepare(
        self,
        query: str,
        *,
        name: str | None = None,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> PreparedStatement[Record]: ...
    @overload
    async def prepare(
        self,
        query: str,
        *,
        name: str | None = None,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> PreparedStatement[Row]: ...
    async def prepare(
        self,
        query: str,
        *,
        name: str | None = None,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> PreparedStatement[Any]:
        """Prepare a statement that the caller holds.

        The methods of the connection prepare and cache by themselves; this is for what
        `PreparedStatement` tells of a statement.

        Args:
            query: one SQL statement.
            name: on the server; None for a unique one, "" for the unnamed statement,
                which lasts until something else is parsed.
            timeout: seconds.
            record_class: of its rows.
            into: what its rows become, as for `fetch`.

        Example:
            >>> statement = await conn.prepare("SELECT $1::int + 1")
            >>> await statement.fetchval(41)
            42
        """
        shape = row_shape(record_class, into)
        wire_name = _statements.unique_name() if name is None else name.encode("utf-8")
        async with self._limited(query, (), timeout):
            statement = await prepare(self._session, query, wire_name)
        types = introspect.describe_types(self._session.codecs, statement.description)
        return PreparedStatement(self, statement, types, shape)

    @overload
    def cursor(
        self,
        query: str,
        *args: Any,
        prefetch: int | None = None,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> CursorFactory[Record]: ...
    @overload
    def cursor(
        self,
        query: str,
        *args: Any,
        prefetch: int | None = None,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> CursorFactory[Row]: ...
    def cursor(
        self,
        query: str,
        *args: Any,
        prefetch: int | None = None,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> CursorFactory[Any]:
        """Return a cursor, to iterate over (`async for`) or to await.

        Args:
            query: as for `fetch`.
            args: as for `fetch`.
            prefetch: rows fetched at a time while iterating (50).
            timeout: seconds for each fetch.
            record_class: of its rows.
            into: what its rows become, as for `fetch`.

        Example:
            >>> async with conn.transaction():
            ...     async for row in conn.cursor("SELECT * FROM big"):
            ...         print(row)
        """
        self._session.ensure_open()
        shape = row_shape(record_class, into)
        return CursorFactory(self, query, None, args, prefetch, timeout, shape)

    def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> Transaction:
        """Return a transaction block, or a savepoint inside of one.

        BEGIN goes out with the first statement; an unused block sends nothing.

        Args:
            isolation: "read_committed", "read_uncommitted", "repeatable_read",
                "serializable", or None for the server's default.
            readonly: the mode READ ONLY.
            deferrable: the mode DEFERRABLE.

        Example:
            >>> async with conn.transaction():
            ...     await conn.execute("UPDATE accounts SET balance = 0")
        """
        self._session.ensure_open()
        return Transaction(self, isolation, readonly, deferrable)

    def _lend(self, timeout: float | None) -> Itself:
        return Itself(self)

    def is_in_transaction(self) -> bool:
        """Whether a transaction block is open, failed or about to begin."""
        session = self._session
        if session.transaction_status in ("T", "E"):
            return True
        # a BEGIN that waits for its statement, or has not been answered
        return bool(session.riders or (self._top_xact and session.in_flight))

    # -- the server --------------------------------------------------------------------

    def get_server_pid(self) -> int:
        """The process id of the server process for this connection."""
        return self._session.backend_pid

    def get_server_version(self) -> ServerVersion:
        """The server's version.

        Example:
            >>> conn.get_server_version()
            ServerVersion(major=18, minor=0, micro=4, releaselevel='final', serial=0)
        """
        return parse_server_version(self._session.parameters.get("server_version", ""))

    def get_settings(self) -> ConnectionSettings:
        """The settings that the server reports, as attributes.

        Example:
            >>> conn.get_settings().TimeZone
            'UTC'
        """
        return ConnectionSettings(self._session.parameters)

    # -- the end -----------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return not self._session.is_open

    async def close(self, *, timeout: float | None = None) -> None:
        """Close the connection: stop what is running, say goodbye.

        Args:
            timeout: seconds after which it is aborted.

        Raises:
            TimeoutError: it was aborted.
        """
        await self._session.end(timeout)

    def terminate(self) -> None:
        """Close the connection at once, without a word to the server.

        May be called outside of the event loop's callbacks, and from a finalizer.
        """
        self._session.terminate()

    async def reset(self, *, timeout: float | None = None) -> None:
        """Bring the session back to how it was after `connect`.

        Rolls back what is open; resets settings, and the role to that of the pool's
        `init`; releases advisory locks, cursors, channels, temporary tables. Listeners
        are removed, but those of its end and query loggers.

        Args:
            timeout: seconds.
        """
        self._session.ensure_open()
        session = self._session
        async with within(timeout):
            await unblocked(session)
            self._observers.log.clear()
            self._stop_listening("the connection was reset")
            if self.is_in_transaction() or self._top_xact is not None:
                self._report_open_transaction()
                self._top_xact = None
                session.restore()
            query = self.get_reset_query()
            _statements.forget_temporary(session)
            if query:
                await self.execute(query)
            session.made_temporary = False

    def _report_open_transaction(self) -> None:
        """A transaction that no `async with` block holds was forgotten by somebody."""
        if self._top_xact is not None and self._top_xact.is_managed:
            return
        self._loop.call_exception_handler(
            {
                "message": "Resetting connection with an active transaction "
                f"{self._top_xact or self!r}"
            }
        )

    def get_reset_query(self) -> str:
        """The SQL that `reset` runs; override it in a subclass to run less or more.

        Its last part makes the session's user and role again what the pool's `init` has
        made of them, if it has.
        """
        return (
            "SET statement_timeout = 0;\nSET SESSION AUTHORIZATION DEFAULT;\n"
            "RESET ALL;\n"
            "SELECT pg_catalog.pg_advisory_unlock_all();\n"
            "CLOSE ALL;\nUNLISTEN *;\nDISCARD TEMP;\nDISCARD SEQUENCES;"
            f"{self._session.own_roles}"
        )

    # -- what tools that watch asyncpg connections look at -----------------------------

    @property
    def _addr(self) -> Any:
        place = self._session.place
        if place is None:
            return None
        return (
            place.address if place.host.is_unix else (place.host.host, place.host.port)
        )

    @property
    def _params(self) -> ConnectionParameters:
        config = self._config
        return ConnectionParameters(
            config.user, config.database, dict(config.server_settings)
        )


def connection_over(
    session: WireProtocol, connection_class: type[Connection]
) -> Connection:
    """A connection over a new session, which ends where the class cannot be made."""
    try:
        return connection_class(session)
    except BaseException:  # nobody else knows of the session
        session.terminate()
        raise


async def connect(
    dsn: str | None = None,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    connection_class: type[Connection] = Connection,
    record_class: type[Record] = Record,
    pooler: Literal["transaction"] | None = None,
    json: JSONOption = None,
    codecs: Mapping[str, CodecSpec] | None = None,
    **options: Unpack[ConnectOptions],
) -> Connection:
    """Connect to a server.

    Args:
        dsn: a `postgresql://` URI or `key=value` pairs; see `chopin.config` for the
            keys, which are all of libpq's and asyncpg's.
        loop: the running loop, for compatibility; there is no other one to take.
        connection_class: a subclass of `Connection`.
        record_class: a subclass of `Record` for all rows.
        pooler: "transaction" when a pooler in that mode is in between: no named
            prepared statements are used. Found out by itself otherwise.
        json: how `json` and `jsonb` are read and written: True, a module such as json
            or orjson, or `chopin.JSON`; they are `str` if None.
        codecs: in which form values of types come and go, by the types' names: an
            `Enum`, a class for a composite type, the name of a codec, `TypeCodec`.
        options: host, port, user, password, database, ssl, timeout and all the others,
            see `chopin.config.ConnectOptions`.

    Raises:
        ClientConfigurationError: an option cannot be meant.
        OSError, TimeoutError: no server could be reached.
        PostgresError: the server refuses us.

    Example:
        >>> conn = await chopin.connect("postgresql://ann@localhost/app")
        >>> await conn.fetchval("SELECT 1")
        1
        >>> await conn.close()

    Source: PostgreSQL documentation, "Database Connection Control Functions".
    """
    if loop is not None and loop is not asyncio.get_running_loop():
        raise InterfaceError("loop is expected to be the running event loop")
    if not isinstance(connection_class, type) or not issubclass(  # type: ignore[redundant-expr]
        connection_class, Connection
    ):
        raise InterfaceError(
            "connection_class is expected to be a subclass of chopin.Connection, got "
            f"{connection_class!r}"
        )
    if pooler not in (None, "transaction"):
        raise InterfaceError(f'pooler is expected to be "transaction", got {pooler!r}')
    check_record_class(record_class)
    scope = scope_of(codecs, json)
    session = await connect_session(
        shared_config(dsn, options), record_class=record_class, codecs=scope
    )
    session.pooled = pooler is not None
    return connection_over(session, connection_class)
