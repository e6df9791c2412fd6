"""Bulk workloads: decoding many rows, and executemany, beside the server's limit.

Owns: the table ``facts`` that all candidates read, the three column sets, rows in other
shapes, and the bulk insert. The limit rows send the very same Bind and Execute
messages, encoded beforehand, over a plain socket and drain the replies.
Rules:
- The rows come from a table, not from generate_series itself: computing them would
  take the server longer than any client needs to decode them.
- Result rows are freed inside the clock: users pay for that too.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.limit import (
    EXECUTE,
    SYNC,
    RawConnection,
    bind,
    float8,
    int4,
    reply_end,
)
from bench.workloads import Items, Seat, Sizes, Workload

ROW_SIZES = Sizes(20_000, 300_000, 500_000)
INSERT_SIZES = Sizes(2000, 20_000, 100_000)
INSERT = "INSERT INTO bulk (id, name, ratio) VALUES ($1, $2, $3)"

COLUMN_SETS = {
    "rows_all_six": "id, name, ratio, at, flag, price",
    "rows_no_numeric": "id, name, ratio, at, flag",
    "rows_int_float": "id, ratio",
}


@dataclass
class Fact:
    """What a row becomes where objects are wanted."""

    id: int
    name: str
    ratio: float


SHAPES = {"into_tuple": tuple, "into_dict": dict, "into_dataclass": Fact}
SHAPED = "id, name, ratio"


def facts_statements(scale: str) -> list[str]:
    """SQL that makes the table that is read, in a schema that all share."""
    count = ROW_SIZES.of(scale)
    return [
        "CREATE UNLOGGED TABLE facts AS"
        " SELECT i::int4 AS id, 'row number ' || i AS name, i * 0.5::float8 AS ratio,"
        " '2024-01-01 00:00:00+00'::timestamptz + i * interval '1 second' AS at,"
        " i % 3 = 0 AS flag, (i * 0.01)::numeric(12, 2) AS price"
        f" FROM generate_series(1, {count}) AS i",
        "VACUUM ANALYZE facts",
    ]


def select_of(columns: str) -> str:
    """The query that reads these columns of all rows."""
    return f"SELECT {columns} FROM facts"


def run_rows(columns: str) -> Callable[[Seat, Items], Any]:
    """A run that fetches all rows of these columns at once."""
    query = select_of(columns)

    async def run(seat: Seat, items: Items) -> Any:
        rows = await seat.session.fetch(query)
        return len(rows), tuple(rows[0]), tuple(rows[-1])

    return run


def run_into(shape: type) -> Callable[[Seat, Items], Any]:
    """A run that fetches all rows in this shape."""
    query = select_of(SHAPED)

    async def run(seat: Seat, items: Items) -> Any:
        rows = await seat.session.fetch_into(shape, query)
        return len(rows), rows[0], rows[-1]

    return run


def limit_of_rows(columns: str) -> Callable[[RawConnection, Items], Any]:
    """The raw exchange that fetches the same rows and decodes nothing."""

    def limit(raw: RawConnection, items: Items) -> Callable[[], None]:
        raw.prepare(select_of(columns))
        payload = bind(()) + EXECUTE + SYNC
        end = reply_end(f"SELECT {len(items)}")
        return lambda: raw.exchange(payload, end)

    return limit


def new_rows() -> Iterator[tuple[int, str, float]]:
    """Rows for the bulk insert."""
    return ((i, f"row number {i}", i * 0.5) for i in itertools.count())


async def run_executemany(seat: Seat, items: Items) -> None:
    await seat.session.executemany(INSERT, items)


async def run_executemany_generator(seat: Seat, items: Items) -> None:
    await seat.session.executemany(INSERT, (row for row in items))


def limit_of_executemany(raw: RawConnection, items: Items) -> Callable[[], None]:
    """The raw exchange that inserts the same rows: a Bind and an Execute for each."""
    raw.prepare(INSERT)
    messages = [
        bind((int4(key), name.encode(), float8(ratio))) + EXECUTE
        for key, name, ratio in items
    ]
    payload = b"".join(messages) + SYNC
    end = reply_end("INSERT 0 1")
    return lambda: raw.exchange(payload, end)


BULK = [
    Workload(
        "executemany",
        "bulk",
        "rows/s",
        INSERT_SIZES,
        new_rows,
        run_executemany,
        warm=INSERT_SIZES.default,
        slices=1,
        before="TRUNCATE bulk",
        state="SELECT count(*), sum(id), sum(ratio), sum(length(name)) FROM bulk",
        limit=limit_of_executemany,
    ),
    Workload(
        "executemany_generator",
        "bulk",
        "rows/s",
        INSERT_SIZES,
        new_rows,
        run_executemany_generator,
        warm=INSERT_SIZES.default,
        slices=1,
        before="TRUNCATE bulk",
        state="SELECT count(*), sum(id), sum(ratio), sum(length(name)) FROM bulk",
    ),
    *(
        Workload(
            name,
            "rows",
            "rows/s",
            ROW_SIZES,
            itertools.count,
            run_rows(columns),
            warm=ROW_SIZES.full,
            slices=1,
            limit=limit_of_rows(columns),
        )
        for name, columns in COLUMN_SETS.items()
    ),
    *(
        Workload(
            name,
            "rows as objects",
            "rows/s",
            ROW_SIZES,
            itertools.count,
            run_into(shape),
            warm=ROW_SIZES.full,
            slices=1,
            limit=limit_of_rows(SHAPED),
        )
        for name, shape in SHAPES.items()
    ),
]
