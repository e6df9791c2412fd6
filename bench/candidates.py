"""The drivers that are compared, behind one small interface.

Owns: how each driver connects and what its fastest fair form of a call is.
Rules:
- Every candidate gets the same SQL text with ``$1`` placeholders, a prepared
  statement that stays prepared, autocommit, and binary results.
- Where a driver's own method has the right shape it is handed out as it is, so that
  no layer of ours is measured.
- A driver without pipelining runs the queries of ``fetchrow_many``, ``batch`` and
  ``pipeline`` in a row.
- A driver that cannot be imported is left out, and the reason is told.
"""

import importlib
import importlib.metadata
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

BASELINE = "asyncpg"
SUBJECT = "chopin"


Call = Callable[..., Awaitable[Any]]
Names = Sequence[str]


async def look_at(rows: AsyncIterable[Any]) -> Any:
    """How many there are, and the last one."""
    count, row = 0, ()
    async for row in rows:  # noqa: B007
        count += 1
    return count, tuple(row)


class Session(Protocol):
    """One open connection of one candidate."""

    connection: Any

    @property
    def fetchrow(self) -> Call:
        """`await fetchrow(query, *args)`: the first row."""
        ...

    @property
    def fetch(self) -> Call:
        """`await fetch(query, *args)`: all rows in a list."""
        ...

    @property
    def execute(self) -> Call:
        """`await execute(query, *args)`: no rows."""
        ...

    @property
    def executemany(self) -> Call:
        """`await executemany(query, rows)`: once for every row, all or nothing."""
        ...

    @property
    def script(self) -> Call:
        """`await script(query)`: by the simple query protocol."""
        ...

    @property
    def close(self) -> Call:
        """`await close()`: say goodbye and close the connection."""
        ...

    async def fetchrow_many(
        self, query: str, arguments: Iterable[tuple[Any, ...]]
    ) -> list[Any]:
        """Run one query with each tuple of arguments, all at once where possible."""
        ...

    async def batch(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run (query, *args) of each, one transaction where possible; their rows."""
        ...

    async def pipeline(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run (query, *args) of each by itself, at once where possible; first rows."""
        ...

    async def fetch_into(self, shape: type, query: str) -> list[Any]:
        """All rows as `tuple`, `dict`, or a class that is called with the values."""
        ...

    async def copy_in(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """Store rows by COPY that come one by one."""
        ...

    async def copy_in_records(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """Store rows by COPY that are there."""
        ...

    async def copy_out(self, query: str, types: Names) -> Any:
        """Read rows by COPY, one by one; their number and the last of them."""
        ...

    async def stream(self, query: str) -> Any:
        """Read rows one by one, in bounded memory; as `copy_out`."""
        ...


class AsyncpgSession:
    """asyncpg: one operation at a time, so many queries run in a row."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.fetchrow = connection.fetchrow
        self.fetch = connection.fetch
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.script = connection.execute
        self.close = connection.close

    async def fetchrow_many(
        self, query: str, arguments: Iterable[tuple[Any, ...]]
    ) -> list[Any]:
        """In a row: there is no pipelining."""
        fetchrow = self.fetchrow
        return [await fetchrow(query, *one) for one in arguments]

    async def batch(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In a row."""
        fetch = self.fetch
        return [await fetch(*one) for one in statements]

    async def pipeline(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In a row."""
        fetchrow = self.fetchrow
        return [await fetchrow(*one) for one in statements]

    async def fetch_into(self, shape: type, query: str) -> list[Any]:
        """Made from records, by position, which is faster than by name."""
        rows = await self.fetch(query)
        if shape is tuple or shape is dict:
            return [shape(row) for row in rows]
        return [shape(*row) for row in rows]

    async def copy_in_records(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """In one call."""
        copy = self.connection.copy_records_to_table
        await copy(table, columns=columns, records=rows)

    async def copy_in(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """By an asynchronous generator: there is nothing to write to."""

        async def each() -> AsyncIterator[Any]:
            for row in rows:
                yield row

        copy = self.connection.copy_records_to_table
        await copy(table, columns=columns, records=each())

    async def copy_out(self, query: str, types: Names) -> Any:
        """By a query: COPY brings bytes only."""
        rows = await self.fetch(query)
        for row in rows:  # noqa: B007
            pass
        return len(rows), tuple(row)

    async def stream(self, query: str) -> Any:
        """By a cursor, a thousand rows at a time."""
        async with self.connection.transaction():
            return await look_at(self.connection.cursor(query, prefetch=1000))


class ChopinSession(AsyncpgSession):
    """Chopin: asyncpg's methods, and calls made at once are pipelined."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.connection = connection

    async def copy_in(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """By `write_row`."""
        async with self.connection.copy_in(table, columns=columns) as copy:
            for row in rows:
                await copy.write_row(row)

    async def copy_out(self, query: str, types: Names) -> Any:
        """By `copy_out`."""
        return await look_at(self.connection.copy_out(query))

    async def stream(self, query: str) -> Any:
        """By `stream`."""
        return await look_at(self.connection.stream(query))

    async def batch(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """One message group."""
        results: list[Any] = await self.connection.batch(statements)
        return results

    async def pipeline(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """A message group each, in pipeline mode."""
        async with self.connection.pipeline() as pipeline:
            fetchrow = pipeline.fetchrow
            replies = [fetchrow(*one) for one in statements]
        return [reply.result() for reply in replies]

    async def fetch_into(self, shape: type, query: str) -> list[Any]:
        """By an argument."""
        rows: list[Any] = await self.fetch(query, into=shape)
        return rows

    async def fetchrow_many(
        self, query: str, arguments: Iterable[tuple[Any, ...]]
    ) -> list[Any]:
        """A message group each, in pipeline mode."""
        async with self.connection.pipeline() as pipeline:
            fetchrow = pipeline.fetchrow
            replies = [fetchrow(query, *one) for one in arguments]
        return [reply.result() for reply in replies]


class PsycopgSession:
    """psycopg 3: one raw cursor used again and again, pipeline mode for many."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._cursor = connection.cursor(binary=True)
        self.close = connection.close

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row."""
        cursor = self._cursor
        await cursor.execute(query, args, prepare=True)
        return await cursor.fetchone()

    async def fetch(self, query: str, *args: Any) -> Any:
        """All rows."""
        cursor = self._cursor
        await cursor.execute(query, args, prepare=True)
        return await cursor.fetchall()

    async def execute(self, query: str, *args: Any) -> Any:
        """Run and forget the rows."""
        await self._cursor.execute(query, args, prepare=True)

    async def executemany(self, query: str, rows: Sequence[tuple[Any, ...]]) -> Any:
        """Run for every row."""
        await self._cursor.executemany(query, rows)

    async def script(self, query: str) -> Any:
        """Run without arguments, the simple query protocol."""
        # Without arguments and with text results this is the simple query protocol.
        await self._cursor.execute(query, binary=False)

    async def fetchrow_many(
        self, query: str, arguments: Iterable[tuple[Any, ...]]
    ) -> list[Any]:
        """In pipeline mode."""
        execute = self.connection.execute
        async with self.connection.pipeline():
            cursors = [
                await execute(query, one, prepare=True, binary=True)
                for one in arguments
            ]
            return [await cursor.fetchone() for cursor in cursors]

    async def batch(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In pipeline mode."""
        execute = self.connection.execute
        async with self.connection.pipeline():
            cursors = [
                await execute(query, args, prepare=True, binary=True)
                for query, *args in statements
            ]
            return [await cursor.fetchall() for cursor in cursors]

    async def pipeline(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In pipeline mode, where it has no statement by itself."""
        return [rows[0] for rows in await self.batch(statements)]

    async def fetch_into(self, shape: type, query: str) -> list[Any]:
        """By a row factory."""
        rows_module = importlib.import_module("psycopg.rows")
        known: dict[type, Any] = {
            tuple: rows_module.tuple_row,
            dict: rows_module.dict_row,
        }
        self._cursor.row_factory = known.get(shape) or rows_module.args_row(shape)
        rows: list[Any] = await self.fetch(query)
        return rows

    async def copy_in(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """By `write_row` in binary."""
        command = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
        async with self._cursor.copy(command) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)

    copy_in_records = copy_in

    async def copy_out(self, query: str, types: Names) -> Any:
        """By `rows` in binary."""
        command = f"COPY ({query}) TO STDOUT (FORMAT binary)"
        async with self._cursor.copy(command) as copy:
            copy.set_types(types)
            return await look_at(copy.rows())

    async def stream(self, query: str) -> Any:
        """By `stream`, a thousand rows at a time where libpq can."""
        return await look_at(self._cursor.stream(query, binary=True, size=1000))


class PsqlpySession:
    """psqlpy (Rust, tokio): dicts made into tuples, many queries run in a row."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.script = connection.execute_batch

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row."""
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None

    async def fetch(self, query: str, *args: Any) -> Any:
        """All rows."""
        result = await self.connection.execute(query, args, prepared=True)
        return [tuple(row.values()) for row in result.result()]

    async def execute(self, query: str, *args: Any) -> Any:
        """Run and forget the rows."""
        await self.connection.execute(query, args, prepared=True)

    async def executemany(self, query: str, rows: Iterable[tuple[Any, ...]]) -> Any:
        """Run for every row; it takes a list only."""
        rows = rows if isinstance(rows, list) else list(rows)
        await self.connection.execute_many(query, rows, prepared=True)

    async def fetchrow_many(
        self, query: str, arguments: Iterable[tuple[Any, ...]]
    ) -> list[Any]:
        """In a row."""
        return [await self.fetchrow(query, *one) for one in arguments]

    async def batch(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In a row."""
        return [await self.fetch(*one) for one in statements]

    async def pipeline(self, statements: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In a row."""
        return [await self.fetchrow(*one) for one in statements]

    async def fetch_into(self, shape: type, query: str) -> list[Any]:
        """Made from its dicts."""
        rows = (await self.connection.execute(query, (), prepared=True)).result()
        if shape is dict:
            return list(rows)
        if shape is tuple:
            return [tuple(row.values()) for row in rows]
        return [shape(*row.values()) for row in rows]

    async def copy_in(
        self, table: str, columns: Names, types: Names, rows: Iterable[Any]
    ) -> None:
        """By INSERT: COPY takes bytes only."""
        places = ", ".join(f"${n}" for n, _ in enumerate(columns, 1))
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
        await self.executemany(insert, rows)

    copy_in_records = copy_in

    async def copy_out(self, query: str, types: Names) -> Any:
        """By a query."""
        rows = await self.fetch(query)
        return len(rows), rows[-1]

    async def stream(self, query: str) -> Any:
        """By a query."""
        return await self.copy_out(query, ())

    async def close(self) -> None:
        """Close the connection."""
        self.connection.close()


async def _open_asyncpg(module: ModuleType, dsn: str) -> Session:
    return AsyncpgSession(await module.connect(dsn))


async def _open_chopin(module: ModuleType, dsn: str) -> Session:
    return ChopinSession(await module.connect(dsn))


async def _open_psycopg(module: ModuleType, dsn: str) -> Session:
    connection = await module.AsyncConnection.connect(
        dsn, autocommit=True, cursor_factory=module.AsyncRawCursor
    )
    return PsycopgSession(connection)


async def _open_psqlpy(module: ModuleType, dsn: str) -> Session:
    return PsqlpySession(await module.connect(dsn))


async def _open_plainly(module: ModuleType, dsn: str) -> Session:
    session: Session = await module.connect(dsn)
    return session


def _asyncpg_note(module: ModuleType) -> str:
    return "many queries run in a row"


def _chopin_note(module: ModuleType) -> str:
    return "many queries in pipeline mode"


def _psycopg_note(module: ModuleType) -> str:
    return f"{module.pq.__impl__} build, raw cursor, many queries in pipeline mode"


def _psqlpy_note(module: ModuleType) -> str:
    return "dicts made into tuples, many queries run in a row"


def _adbc_note(module: ModuleType) -> str:
    return f"whole results as Arrow columns, pyarrow {module.ARROW_VERSION}"


# Where many rows are read or written.
GROUPS_OF_ADBC = ("rows", "rows by shape", "rows by number", "insert ladder")


@dataclass(frozen=True)
class Candidate:
    """A driver: its name, how it connects, and how it is used here.

    `package` is what is imported and whose version is told, where that is not the name;
    `groups` are the groups of workloads it takes part in, all if empty.
    """

    name: str
    open_session: Callable[[ModuleType, str], Awaitable[Session]]
    note_of: Callable[[ModuleType], str]
    package: str = ""
    groups: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name in the head of the report."""
        return self.name

    @property
    def module(self) -> ModuleType:
        """The driver's module. Raises ImportError where it is not installed."""
        return importlib.import_module(self.package or self.name)

    def connect(self, dsn: str) -> Awaitable[Session]:
        """Open a connection; an awaitable of a Session."""
        return self.open_session(self.module, dsn)

    def describe(self) -> str:
        """Version and manner of use, for the head of the report."""
        try:
            version = importlib.metadata.version(self.package or self.name)
        except importlib.metadata.PackageNotFoundError:
            version = str(getattr(self.module, "__version__", "not installed"))
        return f"{version} ({self.note_of(self.module)})"


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("chopin", _open_chopin, _chopin_note),
        Candidate("asyncpg", _open_asyncpg, _asyncpg_note),
        Candidate("psycopg", _open_psycopg, _psycopg_note),
        Candidate("psqlpy", _open_psqlpy, _psqlpy_note),
        Candidate("adbc", _open_plainly, _adbc_note, "bench.adbc", GROUPS_OF_ADBC),
    )
}
DEFAULT_CANDIDATES = ("chopin", "asyncpg", "psycopg", "psqlpy", "adbc")


def importable(names: Iterable[str]) -> tuple[list[Candidate], list[str]]:
    """Split names into the candidates that can be used and reasons for the rest."""
    found: list[Candidate] = []
    reasons: list[str] = []
    for name in names:
        candidate = CANDIDATES.get(name)
        if candidate is None:
            known = ", ".join(CANDIDATES)
            reasons.append(f"{name}: no such candidate, known are {known}")
            continue
        try:
            connect = getattr(candidate.module, "connect")  # noqa: B009
        except (ImportError, AttributeError) as error:
            reasons.append(f"{name}: cannot be used here ({error})")
            continue
        if callable(connect):
            found.append(candidate)
    return found, reasons
