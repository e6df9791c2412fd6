"""Rows by shape and by number: what each kind of row costs.

Owns: the tables of rows that look alike within each and differ between them, and the
table that is read up to a million rows.
Rules:
- Rows come from a table, as in ``rows``, and are freed inside the clock.
- A sample is a number of whole results; what is counted are rows.
- The limit drains the same rows raw and decodes nothing.
"""

import itertools
from collections.abc import Callable
from typing import Any

from bench.limit import EXECUTE, SYNC, Limit, RawConnection, bind, reply_end
from bench.workloads import Items, Seat, Sizes, Workload

SHAPED_ROWS = 5000
WIDE = 50
WORDS = "'the word number ' || i"
MANY_ROWS = 1_000_000
# A row more hardly takes time: it is the round trip that does.
FEW_ROWS = 100
ROW_NUMBERS = (1, 10, 100, 1000, 10_000, 100_000, MANY_ROWS)

# By name: the columns, as expressions of the row's number i.
SHAPES = {
    "narrow": ["i::int4"],
    "wide": [f"(i + {number})::int4" for number in range(WIDE)],
    "text": [f"{WORDS} || repeat('x', {more})" for more in (0, 10, 20, 150)],
    "numeric": ["(i * 0.01)::numeric(12, 2)"] * 4,
    "times": [
        "'2024-01-01 00:00:00+00'::timestamptz + i * interval '1 second'",
        "'2024-01-01 00:00:00'::timestamp + i * interval '1 millisecond'",
        "'2024-01-01'::date + i % 1000",
    ],
    "arrays": [
        "ARRAY(SELECT (i + n)::int4 FROM generate_series(1, 10) AS n)",
        "ARRAY['one', 'two', 'three ' || i]",
    ],
    "nulls": [
        f"CASE WHEN i % 5 = {number} % 5 THEN (i + {number})::int4 END"
        for number in range(10)
    ],
}


def table_of(name: str, columns: list[str], count: int) -> str:
    """SQL that makes a table of so many rows where it is missing."""
    listed = ", ".join(f"{column} AS c{at}" for at, column in enumerate(columns))
    return (
        f"CREATE UNLOGGED TABLE IF NOT EXISTS {name} AS"
        f" SELECT {listed} FROM generate_series(1, {count}) AS i"
    )


def run_fetches(query: str) -> Callable[[Seat, Items], Any]:
    """A run that fetches all rows of a query, again and again."""

    async def run(seat: Seat, items: Items) -> Any:
        fetch = seat.session.fetch
        rows: Any = None
        for _ in items:
            # What was there before goes first, as where a function returns.
            rows = None
            rows = await fetch(query)
        return len(rows), tuple(rows[0]), tuple(rows[-1])

    return run


def limit_of_fetches(query: str, count: int) -> Limit:
    """The raw exchanges that fetch the same rows."""

    def limit(raw: RawConnection, items: Items) -> Callable[[], None]:
        raw.prepare(query)
        payload = bind(()) + EXECUTE + SYNC
        end = reply_end(f"SELECT {count}")

        def exchanges() -> None:
            for _ in items:
                raw.exchange(payload, end)

        return exchanges

    return limit


def fetching(
    name: str, group: str, query: str, count: int, sizes: Sizes, tables: tuple[str, ...]
) -> Workload:
    """A workload that fetches so many rows by a query."""
    return Workload(
        name,
        group,
        "rows/s",
        sizes,
        itertools.count,
        run_fetches(query),
        warm=3,
        # A million rows are enough for one sample.
        slices=max(1, min(4, MANY_ROWS // (2 * count))),
        limit=limit_of_fetches(query, count),
        tables=tables,
        weight=count,
        is_serial=count <= FEW_ROWS,
    )


BY_SHAPE = [
    fetching(
        f"shape_{name}",
        "rows by shape",
        f"SELECT * FROM shape_{name}",
        SHAPED_ROWS,
        Sizes(4, 20, 100),
        (table_of(f"shape_{name}", columns, SHAPED_ROWS), f"ANALYZE shape_{name}"),
    )
    for name, columns in SHAPES.items()
]


def sizes_of(count: int) -> Sizes:
    """Results in a sample; the longest ones are left out where it must be quick."""
    if count == MANY_ROWS:
        return Sizes(0, 1, 1)
    return Sizes(
        *(max(2, min(2000, rows // count)) for rows in (50_000, 300_000, 10**6))
    )


BY_NUMBER = [
    fetching(
        f"fetch_{count}",
        "rows by number",
        f"SELECT c0, c1 FROM many_rows LIMIT {count}",
        count,
        sizes_of(count),
        (
            table_of("many_rows", ["i::int4", "i * 0.5::float8"], MANY_ROWS),
            "ANALYZE many_rows",
        ),
    )
    for count in ROW_NUMBERS
]
