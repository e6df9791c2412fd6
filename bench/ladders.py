"""Workloads with a size that grows: inserts, joins, columns, statements.

Owns: Npgsql's insert ladder and its prepared joins; what a query costs where there are
more columns in its row or more statements in the cache.
Rules:
- The insert ladder puts rows of (int4, text, int4, text) into an empty table, in the
  three ways that there are: a statement for each row, one call for all, COPY. What is
  counted are rows; a driver that lacks a way is left out of it.
- "Batched" is the driver's executemany, by which all of them send many rows at once.
- Statements are cached as each driver does it by default: 100 in asyncpg, Chopin and
  psycopg. The longest row, 300 statements in turn, finds none of them in the cache.
"""

import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from bench.candidates import AsyncpgSession, PsycopgSession
from bench.limit import (
    EXECUTE,
    SYNC,
    RawConnection,
    bind,
    int4,
    reply_end,
    serial_limit,
)
from bench.pgscript import script
from bench.shapes import table_of
from bench.workloads import Items, Seat, Sizes, Workload

# -- inserts ------------------------------------------------------------------------

ROW_COUNTS = (1, 100, 1000, 10_000)
COLUMNS = ("int1", "text1", "int2", "text2")
INSERT = f"INSERT INTO data ({', '.join(COLUMNS)}) VALUES ($1, $2, $3, $4)"
MAKE_DATA = (
    "CREATE TABLE IF NOT EXISTS data (int1 int4, text1 text, int2 int4, text2 text);"
    " TRUNCATE data"
)
DATA_STATE = (
    "SELECT count(*), sum(int1), sum(int2), sum(length(text1 || text2)) FROM data"
)

Rows = Sequence[tuple[int, str, int, str]]
Load = Callable[[Any, Rows], Awaitable[Any]]


def new_rows(count: int) -> Callable[[], Iterator[Rows]]:
    """Lists of so many rows, each made when it is asked for."""

    def inputs() -> Iterator[Rows]:
        for first in itertools.count(step=count):
            yield [
                (number, f"the text of row {number}", 8, "some more text")
                for number in range(first % 1_000_000, first % 1_000_000 + count)
            ]

    return inputs


async def run_unbatched(seat: Seat, items: Items) -> None:
    execute = seat.session.execute
    for rows in items:
        for row in rows:
            await execute(INSERT, *row)


async def run_batched(seat: Seat, items: Items) -> None:
    executemany = seat.session.executemany
    for rows in items:
        await executemany(INSERT, rows)


async def copy_records(session: AsyncpgSession, rows: Rows) -> None:
    """asyncpg's method, and Chopin's."""
    await session.connection.copy_records_to_table("data", records=rows)


async def copy_by_rows(session: PsycopgSession, rows: Rows) -> None:
    """psycopg: binary rows, one by one into its buffer."""
    statement = f"COPY data ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
    cursor = session.connection.cursor()
    async with cursor.copy(statement) as copy:
        copy.set_types(["int4", "text", "int4", "text"])
        for row in rows:
            await copy.write_row(row)


async def load_columns(session: Any, rows: Rows) -> None:
    """ADBC: made into Arrow columns first."""
    await session.load("data", COLUMNS, rows)


# By the class of the session; who is not here has no COPY of Python rows.
LOADERS: dict[str, Load] = {
    "AsyncpgSession": copy_records,
    "ChopinSession": copy_records,
    "PsycopgSession": copy_by_rows,
    "AdbcSession": load_columns,
}


async def run_copy(seat: Seat, items: Items) -> None:
    load = LOADERS[type(seat.session).__name__]
    for rows in items:
        await load(seat.session, rows)


def limit_of_batched(raw: RawConnection, items: Items) -> Callable[[], None]:
    """The same messages encoded beforehand: a Bind and an Execute for each row."""
    raw.prepare(INSERT)
    end = reply_end("INSERT 0 1")
    payloads = [
        b"".join(
            bind((int4(one), text.encode(), int4(other), more.encode())) + EXECUTE
            for one, text, other, more in rows
        )
        + SYNC
        for rows in items
    ]

    def exchanges() -> None:
        for payload in payloads:
            raw.exchange(payload, end)

    return exchanges


def few_sizes_of(count: int) -> Sizes:
    """Lists of rows in a sample where each row is a round trip."""
    quick, *others = (max(1, rows // count) for rows in (200, 2000, 10_000))
    return Sizes(quick if count <= 100 else 0, *others)


def many_sizes_of(count: int) -> Sizes:
    """Lists of rows in a sample where many are sent at once."""
    totals = (4000, 20_000, 100_000)
    return Sizes(*(max(2, min(1000, total // count)) for total in totals))


def batched_sizes_of(count: int) -> Sizes:
    """As those of COPY; a driver that takes long for 10,000 rows is not quick."""
    sizes = many_sizes_of(count)
    return sizes if count <= 1000 else dataclasses.replace(sizes, quick=0)


INSERTS = [
    Workload(
        f"insert_{way}_{count}",
        "insert ladder",
        "rows/s",
        sizes(count),
        new_rows(count),
        run,
        warm=2,
        slices=2 if run is not run_unbatched or count <= 100 else 1,
        before=MAKE_DATA,
        state=DATA_STATE,
        limit=limit_of_batched if run is run_batched else None,
        weight=count,
        lacking=lacking,
        # As many as there are rows, and it would take their time.
        is_countable=run is not run_unbatched or count <= 100,
        is_serial=run is run_unbatched or count == 1,
    )
    for way, run, sizes, lacking in (
        ("unbatched", run_unbatched, few_sizes_of, ("adbc",)),
        ("batched", run_batched, batched_sizes_of, ("adbc",)),
        ("copy", run_copy, many_sizes_of, ("psqlpy",)),
    )
    for count in ROW_COUNTS
]

# -- joins --------------------------------------------------------------------------

JOIN_COUNTS = (0, 1, 2, 5, 10)


def join_tables(count: int) -> tuple[str, ...]:
    """SQL that makes the tables of a join, with one row in each."""
    return tuple(
        statement
        for number in range(count + 1)
        for statement in (
            f"CREATE TABLE IF NOT EXISTS join{number} (id int4 PRIMARY KEY, data int4)",
            f"INSERT INTO join{number} VALUES (1, {number}) ON CONFLICT DO NOTHING",
            f"ANALYZE join{number}",
        )
    )


def join_query(count: int) -> str:
    """The sum of a column over so many joined tables."""
    total = " + ".join(f"join{number}.data" for number in range(count + 1))
    joins = "".join(
        f" JOIN join{number} ON join{number}.id = join{number - 1}.id"
        for number in range(1, count + 1)
    )
    return f"SELECT {total} FROM join0{joins}"


def run_query(query: str) -> Callable[[Seat, Items], Any]:
    """A run that fetches one row again and again."""

    async def run(seat: Seat, items: Items) -> Any:
        fetchrow = seat.session.fetchrow
        row = None
        for _ in items:
            row = await fetchrow(query)
        return row and tuple(row)

    return run


def asking(name: str, group: str, query: str, **more: Any) -> Workload:
    """A workload of one query without parameters that has one row."""
    return Workload(
        name,
        group,
        "q/s",
        Sizes(100, 600, 5000),
        itertools.count,
        run_query(query),
        limit=serial_limit(query, lambda _: (), "SELECT 1"),
        pgbench=script([query]),
        is_serial=True,
        **more,
    )


JOINS = [
    asking(
        f"joins_{count}",
        "prepared joins",
        join_query(count),
        tables=join_tables(count),
    )
    for count in JOIN_COUNTS
]

# -- growth -------------------------------------------------------------------------

COLUMN_COUNTS = (1, 10, 100, 1000)
STATEMENT_COUNTS = (1, 10, 90, 300)

BY_COLUMNS = [
    asking(
        f"columns_{count}",
        "columns",
        f"SELECT * FROM columns_{count}",
        # The query must be short: asyncpg does not keep statements over 15 KiB.
        tables=(table_of(f"columns_{count}", ["i::int4"] * count, 1),),
    )
    for count in COLUMN_COUNTS
]


def run_statements(count: int) -> Callable[[Seat, Items], Any]:
    """A run that takes so many statements in turn."""
    queries = [f"SELECT $1::int4 + {number}" for number in range(count)]

    async def run(seat: Seat, items: Items) -> Any:
        fetchrow = seat.session.fetchrow
        return [(await fetchrow(queries[item % count], 1))[0] for item in items]

    return run


BY_STATEMENTS = [
    Workload(
        f"statements_{count}",
        "statements",
        "q/s",
        Sizes(300, 900, 6000),
        itertools.count,
        run_statements(count),
        # Prepared by all of them, the slowest of which does so at the fifth use.
        warm=max(200, 2 * count),
        least_warm=count,
        # One of them would be counted, and be in the cache.
        is_countable=count <= 100,
        is_serial=True,
    )
    for count in STATEMENT_COUNTS
]

GROWING = [*INSERTS, *JOINS, *BY_COLUMNS, *BY_STATEMENTS]
