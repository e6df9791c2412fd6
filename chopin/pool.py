"""The pool that users hold.

Owns: `create_pool`, `Pool` and `PoolStats`: asyncpg's pool, and what it lacks.
Layer L5. Imports everything below and the pool's other modules.

Where what is
    `_looppool` decides, `_poolpart` does it for one event loop, `_lease` is a
    connection in somebody's hands, `_hub` the one that listens for all, `_budget`
    counts connections for all loops and pools, `_poolsettings` reads the arguments.

Rules
- A single query is one coroutine. When a connection is idle it has one await, for the
  answer: taking and giving back are plain calls.
- Every event loop that uses the pool gets a part of its own on first use. What belongs
  to one part is touched in its loop only.
- A pool is used after `await` or in `async with`, and never after it was closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from asyncio import get_running_loop
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
)
from time import monotonic
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from chopin._coroutines import returns_coroutine
from chopin._hub import Listened
from chopin._lease import PoolAcquireContext, lease_of
from chopin._locks import Lock
from chopin._ops import ROW, ROWS, STATUS, VALUE, start_query
from chopin._poolclosing import State, begin_closing, wait_drained, warn_when_slow
from chopin._pooloperations import Operated
from chopin._poolpart import PoolPart
from chopin._poolsettings import PoolOptions, PoolSettings
from chopin._rows import Record
from chopin._shapes import row_shape
from chopin._simple import start_script
from chopin._slots import Counts, Read
from chopin.batching import PoolBatched
from chopin.connection import Connection
from chopin.copying import Copying
from chopin.exceptions import (
    InterfaceError,
    InterfaceWarning,
    PoolDisabledError,
    PoolError,
    PostgresError,
)
from chopin.many import Rows
from chopin.pipeline import PoolPipelined
from chopin.retry import Retry

if TYPE_CHECKING:
    from chopin._fitting import Row, Shape
    from chopin.transaction import Isolation

T = TypeVar("T")

#: What asyncpg's `acquire` returns, for annotations: here it is a `Connection`.
PoolConnectionProxy = Connection

# A text that may hold several statements shares its connection with nobody.
_SCRIPT = Read(False)


def _named(shape: Any) -> dict[str, Any]:
    """The argument that a shape was given as; a user's method may not know `into`."""
    if shape is None:
        return {}
    is_record = isinstance(shape, type) and issubclass(shape, Record)
    return {"record_class" if is_record else "into": shape}


class Pool(Operated, Listened, Copying, PoolBatched, PoolPipelined):
    """Connections to one database, for any number of tasks and event loops.

    Made by `create_pool`, which describes the arguments.

    Example:
        >>> async with chopin.create_pool("postgresql:///app") as pool:
        ...     rows = await pool.fetch("SELECT id FROM users WHERE age > $1", 30)
        ...     async with pool.acquire() as conn:
        ...         await conn.execute("SET search_path TO reports")
    """

    __slots__ = (
        "__weakref__",
        "_closing",
        "_lock",
        "_parts",
        "_past",
        "_settings",
        "_state",
    )

    def __init__(self, dsn: str | None = None, **options: Unpack[PoolOptions]) -> None:
        self._settings = PoolSettings(dsn, **options)
        self._state = State.NEW
        self._is_disabled = False
        self._parts: dict[asyncio.AbstractEventLoop, PoolPart] = {}
        # the same while the pool may be used: the one lookup of a single query
        self._live: dict[asyncio.AbstractEventLoop, PoolPart] = {}
        self._past = Counts()
        self._lock = Lock()
        self._closing: asyncio.Task[Any] | None = None

    def __class_getitem__(cls, _: Any) -> type[Pool]:
        return cls

    def __reduce__(self) -> NoReturn:
        raise TypeError("a pool cannot be copied or pickled: make another one")

    def __repr__(self) -> str:
        return (
            f"<chopin.Pool {self._state.value}, {self.get_size()} of "
            f"{self.get_max_size()} connections>"
        )

    # -- the beginning -----------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self._initialize().__await__()

    async def __aenter__(self) -> Self:
        return await self._initialize()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._state is not State.CLOSED:
            await self.close()

    async def _initialize(self) -> Self:
        if self._state is State.OPEN:
            return self
        if self._state is not State.NEW:
            where = " in another task" if self._state is State.OPENING else ""
            raise PoolError(f"pool is {self._state.value}{where}")
        self._state = State.OPENING
        part = PoolPart(self._settings, get_running_loop())
        self._parts[part.loop] = part
        try:
            await part.open_first(self._settings.init_size)
            with self._lock:
                if self._state is not State.OPENING:  # by now
                    raise PoolError(f"pool is {self._state.value}")
                self._state = State.OPEN
                if not self._is_disabled:
                    self._live = dict(self._parts)
        except BaseException:
            part.terminate()
            self._parts.clear()
            self._state = State.CLOSED
            raise
        part.tick()
        return self

    def _part(self) -> PoolPart:
        """This event loop's part, where `_live` has none: made, or an error."""
        if self._state is not State.OPEN:
            text = f"pool is {self._state.value}"
            if self._state is State.OPENING:
                text += (
                    ", but not yet ready: likely there is a race between creating a "
                    "pool and using it"
                )
            raise PoolError(text)
        if self._is_disabled:
            raise PoolDisabledError(
                "pool is disabled", hint="enable() makes it serve again"
            )
        loop = get_running_loop()
        with self._lock:
            if self._state is not State.OPEN:  # by now
                raise PoolError(f"pool is {self._state.value}")
            self._bury_dead(lambda loop: loop.is_closed())
            part = self._parts.get(loop)
            if part is None:
                part = PoolPart(self._settings, loop)
            # replaced, not changed: other threads may be reading
            self._parts = {**self._parts, loop: part}
            self._live = dict(self._parts)
        part.tick()
        return part

    def _bury_dead(self, is_dead: Callable[[asyncio.AbstractEventLoop], bool]) -> None:
        """Forget event loops that were closed with their connections open.

        And those of the process that this one is a fork of.
        """
        for loop, part in list(self._parts.items()):
            if part.pid != os.getpid() or is_dead(loop):
                part.bury()
                self._past.add(part.pool.counts)
                self._parts = {k: p for k, p in self._parts.items() if p is not part}

    def __del__(self) -> None:
        parts = [
            part
            for part in getattr(self, "_parts", {}).values()
            if part.pool.size or part.hub.size
        ]
        if not parts or self._state is State.CLOSED:
            return
        for part in parts:
            if part.loop.is_closed():
                part.bury()
            else:
                part.loop.call_soon_threadsafe(part.terminate)
        warnings.warn(
            f"unclosed pool {self!r}; close it with 'await pool.close()' or use "
            "'async with'",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )

    # -- single queries ----------------------------------------------------------------

    @overload
    def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> Coroutine[Any, Any, list[Record]]: ...
    @overload
    def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> Coroutine[Any, Any, list[Row]]: ...
    @returns_coroutine
    def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> Coroutine[Any, Any, list[Any]]:
        """Run a query on some connection and return its rows; see `Connection.fetch`.

        A plain read that is known to be fast may share a connection with others when
        none is idle.

        Args:
            query: one SQL statement.
            args: its arguments.
            timeout: seconds for everything, waiting for a connection included.
            record_class: of the rows.
            into: what the rows become, as for `Connection.fetch`.

        Raises:
            PoolTimeoutError: no connection became free in time.

        Example:
            >>> rows = await pool.fetch("SELECT * FROM users WHERE age > $1", 30)
        """
        shape = None
        if record_class is not None or into is not None:
            shape = row_shape(record_class, into)
        return self._single(ROWS, 0, query, args, timeout, shape)

    @overload
    def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> Coroutine[Any, Any, Record | None]: ...
    @overload
    def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        into: Shape[Row],
    ) -> Coroutine[Any, Any, Row | None]: ...
    @returns_coroutine
    def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a query and return its first row; see `Connection.fetchrow`, `fetch`.

        Example:
            >>> user = await pool.fetchrow("SELECT * FROM users WHERE id = $1", 7)
        """
        shape = None
        if record_class is not None or into is not None:
            shape = row_shape(record_class, into)
        return self._single(ROW, 0, query, args, timeout, shape)

    @returns_coroutine
    def fetchval(
        self,
        query: str,
        *args: Any,
        column: int | str = 0,
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a query and return one value; see `Connection.fetchval` and `fetch`.

        Example:
            >>> total = await pool.fetchval("SELECT count(*) FROM users")
        """
        if type(column) is int and column >= 0:
            return self._single(VALUE, column, query, args, timeout, None)
        return self._column(column, query, args, timeout)

    @returns_coroutine
    def execute(
        self, query: str, *args: Any, timeout: float | None = None
    ) -> Coroutine[Any, Any, str]:
        """Run SQL and return its command tag; see `Connection.execute` and `fetch`.

        Example:
            >>> await pool.execute("UPDATE users SET seen = now() WHERE id = $1", 7)
            'UPDATE 1'
        """
        return self._single(STATUS, 0, query, args, timeout, None)

    async def executemany(
        self,
        command: str,
        args: Rows,
        *,
        timeout: float | None = None,
    ) -> int:
        """Run a statement for each sequence of arguments: all of them or none.

        See `Connection.executemany`.

        Example:
            >>> await pool.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,)])
            2
        """
        async with self._within(timeout) as connection:
            return await connection.executemany(command, args)

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
        """Run a query for each sequence of arguments and return all their rows.

        See `Connection.fetchmany`.

        Example:
            >>> rows = await pool.fetchmany(
            ...     "INSERT INTO t VALUES ($1) RETURNING id", [(1,), (2,)])
        """
        shape = _named(row_shape(record_class, into))
        async with self._within(timeout) as connection:
            rows: list[Any] = await connection.fetchmany(query, args, **shape)
        return rows

    @contextlib.asynccontextmanager
    async def _within(self, timeout: float | None) -> AsyncIterator[Connection]:
        """A connection, and a limit on getting and using it together."""
        began = monotonic()
        async with self.acquire(timeout=timeout) as connection:
            left = None if timeout is None else float(timeout) - (monotonic() - began)
            async with asyncio.timeout(left):
                yield connection

    async def _single(
        self,
        want: int,
        column: int,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        shape: Any,
    ) -> Any:
        """The way of every single query.

        With an idle connection and a cached statement it has one await.
        """
        part = self._live.get(get_running_loop()) or self._part()
        settings, pool = part.settings, part.pool
        if not settings.is_plain:
            return await self._on_handle(want, column, query, args, timeout, shape)
        is_script = want == STATUS and not args
        read = _SCRIPT if is_script else pool.reads[query]
        began = now = monotonic()
        slot = pool.take_single(read, now)
        if slot is None:
            slot = part.ride(read, now)
            began = 0.0
        if slot is None:
            slot = await part.wait_single(read, now, timeout)
            began = 0.0 if slot.singles > 1 else monotonic()
            if timeout is not None:
                timeout = float(timeout) - (monotonic() - now)
        connection: Connection = slot.connection
        if timeout is None:
            timeout = connection._command_timeout
        op: Any = None
        try:
            if not connection._observers.query:
                session: Any = connection._session
                if is_script:
                    op = start_script(session, query, timeout)
                else:
                    op = start_query(session, query, args, want, column, timeout, shape)
            if op is None:
                return await connection._run(want, column, query, args, timeout, shape)
            return await op
        except PostgresError as error:
            if op is None:
                raise
            return await connection._retry(
                error, op, want, column, query, args, timeout, shape
            )
        except BaseException as error:
            if op is not None and not op.done():
                op.cancel()  # the coroutine is being closed
            is_cut = isinstance(error, (asyncio.CancelledError, TimeoutError))
            if is_cut and monotonic() - began < read.mean:
                began = 0.0  # it would have taken nobody knows how long
            raise
        finally:
            if settings.reset_policy == "always":
                slot.connection._session.dirty = True
            pool.give_single(slot, read, began, monotonic())

    async def _column(
        self,
        column: int | str,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
    ) -> Any:
        row = await self._single(ROW, 0, query, args, timeout, None)
        return None if row is None else row[column]

    async def _on_handle(
        self,
        want: int,
        column: int,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        shape: Any,
    ) -> Any:
        """A single query where the user's hooks or his connection class have a say."""
        async with self._within(timeout) as connection:
            if want == ROWS:
                return await connection.fetch(query, *args, **_named(shape))
            if want == ROW:
                return await connection.fetchrow(query, *args, **_named(shape))
            if want == VALUE:
                return await connection.fetchval(query, *args, column=column)
            return await connection.execute(query, *args)

    # -- connections -------------------------------------------------------------------

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext:
        """A connection of one's own, to be used in `async with` or to be awaited.

        Args:
            timeout: seconds to wait for one; the pool's `acquire_timeout` if None.

        Raises:
            PoolTimeoutError: none became free in time; the message names the holders.
            PoolDeadlockError: none ever will, because all are held by tasks that wait.

        Example:
            >>> async with pool.acquire() as conn:
            ...     async with conn.transaction():
            ...         await conn.execute("INSERT INTO t VALUES (1)")
        """
        return PoolAcquireContext(self, timeout)

    def _lend(self, timeout: float | None) -> PoolAcquireContext:
        return self.acquire(timeout=timeout)

    async def _acquire(self, timeout: float | None) -> Connection:
        part = self._live.get(get_running_loop()) or self._part()
        connection = await part.acquire(timeout)
        connection._lease.pool = self  # type: ignore[attr-defined]
        return connection

    async def release(
        self, connection: Connection, *, timeout: float | None = None
    ) -> None:
        """Give a connection back; it cannot be used any more.

        An open transaction is rolled back. What may have been left in the session is
        reset ahead of whatever is sent on it next; nothing waits for that. Releasing it
        twice is no error.

        Args:
            connection: from `acquire` of this pool.
            timeout: seconds for the pool's `reset` function.

        Raises:
            InterfaceError: it is not a connection of this pool.
        """
        lease = lease_of(connection)
        if lease is None or lease.part.settings is not self._settings:
            raise InterfaceError(
                f"Pool.release() received invalid connection: {connection!r} is not a "
                "member of this pool"
            )
        if connection._is_released:
            return
        if lease.part.loop is not get_running_loop():
            raise InterfaceError(
                "cannot release the connection in another event loop than the one in "
                "which it was acquired"
            )
        left = {
            "notification": len(connection._channels),
            "log": len(connection._observers.log),
        }
        name = repr(connection) if any(left.values()) else ""
        await lease.part.release(connection, timeout)
        for kind, count in left.items():
            if count:
                warnings.warn(
                    InterfaceWarning(
                        f"{name} is being released to the pool but has {count} active "
                        f"{kind} listener{'s' if count > 1 else ''}"
                    ),
                    stacklevel=3,
                )

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Connection]:
        """A connection with a transaction block open on it.

        Args:
            isolation: as for `Connection.transaction`.
            readonly: as for `Connection.transaction`.
            deferrable: as for `Connection.transaction`.
            timeout: seconds to wait for a connection.

        Example:
            >>> async with pool.transaction() as conn:
            ...     await conn.execute("UPDATE accounts SET balance = balance - 1")
        """
        async with (
            self.acquire(timeout=timeout) as connection,
            connection.transaction(
                isolation=isolation, readonly=readonly, deferrable=deferrable
            ),
        ):
            yield connection

    async def run_in_transaction(
        self,
        function: Callable[..., Awaitable[T]],
        *args: Any,
        retry: Retry | int | None = None,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
        timeout: float | None = None,
    ) -> T:
        """Call a coroutine function in a transaction; again, if the server asks for it.

        The function is called once more when the transaction was rolled back for a
        reason that may have passed: a serialization failure, a deadlock, a connection
        that was lost before COMMIT. It is not when nobody can say whether it was
        committed, unless `retry` says that this does no harm.

        Args:
            function: called with the connection and `args`; has no other effects than
                those of the transaction.
            args: for the function.
            retry: how often and how fast: a `Retry`, a number of attempts, or None for
                `Retry()`.
            isolation: as for `Connection.transaction`.
            readonly: as for `Connection.transaction`.
            deferrable: as for `Connection.transaction`.
            timeout: seconds to wait for a connection, each time.

        Returns:
            What the function returns.

        Example:
            >>> async def book(conn, seat):
            ...     await conn.execute("UPDATE seats SET guest = 7 WHERE id = $1", seat)
            >>> await pool.run_in_transaction(book, 12, isolation="serializable")
        """

        async def attempt() -> T:
            async with self.acquire(timeout=timeout) as connection:
                block = connection.transaction(
                    isolation=isolation, readonly=readonly, deferrable=deferrable
                )
                async with block:
                    result = await function(connection, *args)
                if block.is_rolled_back:
                    error = InterfaceError(
                        "nothing was committed: a statement had failed, and the "
                        "function has swallowed the error"
                    )
                    error.outcome = "rolled_back"
                    raise error
                return result

        return await Retry.of(retry).run(attempt)

    # -- the end -----------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the pool is being closed or has been."""
        return self._state in (State.CLOSING, State.CLOSED)

    async def close(
        self,
        mode: Literal["gracefully", "fast"] = "gracefully",
        timeout: float | None = None,
    ) -> None:
        """Close the pool and all its connections, in all event loops.

        Args:
            mode: "gracefully" waits until connections in use are given back, "fast"
                closes them at once.
            timeout: seconds after which the pool is terminated and TimeoutError raised.

        Raises:
            InterfaceError: `cancel_close` was called meanwhile.
            TimeoutError: it took longer.
        """
        if mode not in ("gracefully", "fast"):
            raise ValueError(
                f'mode is expected to be "gracefully" or "fast", got {mode!r}'
            )
        if self._state is State.CLOSED:
            return
        if self._state in (State.NEW, State.OPENING):
            raise PoolError(f"pool is {self._state.value}")
        closing = self._closing
        if closing is not None and self._state is State.CLOSING:
            if closing.get_loop() is not get_running_loop():
                raise PoolError("pool is closing, in another event loop")
            if mode == "fast":
                self._in_each_loop(lambda part: part.pool.flush("all"))
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.wait([closing])
            except TimeoutError:
                if self._closing is closing:
                    self.terminate()
                raise
            self._check_called_off(closing)
            return
        changed = asyncio.Event()
        with self._lock:
            self._state = State.CLOSING
            self._live = {}
            closing = self._closing = asyncio.create_task(
                wait_drained(changed, self._all_parts, self._bury_dead)
            )
        begin_closing(changed, self._in_each_loop, self._bury_dead, mode == "fast")
        try:
            async with asyncio.timeout(timeout):
                await warn_when_slow(closing, self.holders)
            self._check_called_off(closing)
            closing.result()  # or what has ended it
        except BaseException:
            if self._closing is closing:
                self.terminate()
            raise
        self._state = State.CLOSED
        self._in_each_loop(PoolPart.stop)

    def _check_called_off(self, closing: asyncio.Task[Any]) -> None:
        if self._closing is closing:
            return
        if self._state is State.OPEN:  # and not closing again
            self._in_each_loop(PoolPart.reopen)  # if that was in the midst of closing
        raise InterfaceError("the pool's close was called off")

    def cancel_close(self) -> None:
        """Call a graceful `close` off that is still waiting: the pool serves again.

        The `close` raises InterfaceError. Nothing happens when none is waiting.
        """
        with self._lock:
            closing = self._closing
            if self._state is not State.CLOSING or closing is None:
                return
            self._state, self._closing = State.OPEN, None
        closing.get_loop().call_soon_threadsafe(closing.cancel)
        self._in_each_loop(PoolPart.reopen)
        if not self._is_disabled:
            self._live = dict(self._parts)

    def terminate(self) -> None:
        """Close all connections at once, without a word to the server.

        Whoever is opening the pool gets PoolError. May be called from a signal handler.
        """
        if self._state is State.CLOSED:
            return
        if self._state is State.NEW:
            raise PoolError(f"pool is {self._state.value}")
        self._lock.call(self._end)

    def _end(self) -> tuple[Callable[[], None]]:
        self._state = State.CLOSED
        self._live = {}
        self._bury_dead(lambda loop: loop.is_closed())
        return (lambda: self._in_each_loop(PoolPart.terminate),)


def create_pool(dsn: str | None = None, **options: Unpack[PoolOptions]) -> Pool:
    """Make a pool of connections; `await` it or use it in `async with`.

    Args:
        dsn: as for `chopin.connect`.
        options: those of `PoolOptions`, which describes them, and of `chopin.connect`.

    Raises:
        ValueError, TypeError, InterfaceError: an argument cannot be meant; its name is
            in the message.
        ClientConfigurationError: an option of `chopin.connect` cannot be meant.

    Example:
        >>> async with chopin.create_pool("postgresql:///app", max_size=20) as pool:
        ...     await pool.fetchval("SELECT 1")
        1
    """
    return Pool(dsn, **options)
