"""Loads a table by COPY, reads it back and exports it to a file, with progress.

Run it without arguments for a private server, or with a DSN. ``--rows`` says how much.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import chopin
from chopin.testing import TemporaryServer, TemporaryServerError

SCHEMA = """
CREATE TEMP TABLE measurements (
    station int NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    celsius float8
)
"""
COLUMNS = ["station", "celsius"]


class Progress:
    """Says at most ten times how far something is."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._step = max(total // 10, 1)
        self._total = total
        self._next = self._step
        self._began = time.perf_counter()

    def show(self, count: int) -> None:
        """`count` rows are done."""
        if count < self._next and count < self._total:
            return
        self._next = count + self._step
        rate = count / max(time.perf_counter() - self._began, 1e-9)
        print(f"{self._what:9} {count:>9,} of {self._total:,}, {rate:,.0f} rows/s")


def measurements(count: int) -> Iterator[tuple[int, float | None]]:
    """Rows as they could come from anywhere; a hundredth has no value."""
    for number in range(count):
        value = random.gauss(15, 8)
        yield number % 1000, None if number % 100 == 99 else round(value, 2)


async def load(conn: chopin.Connection, count: int) -> None:
    """Write rows one by one; they are stored when the block is left, or not at all."""
    progress = Progress("load", count)
    async with conn.copy_in("measurements", columns=COLUMNS) as copy:
        for row in measurements(count):
            await copy.write_row(row)
            progress.show(copy.rows)
    print(copy.status)


async def find_the_warmest(conn: chopin.Connection, count: int) -> None:
    """Read all rows, a few at a time in memory; the reader sets the pace."""
    progress = Progress("read", count)
    warmest, number = float("-inf"), 0
    async for row in conn.copy_out("measurements", columns=COLUMNS):
        number += 1
        if row["celsius"] is not None and row["celsius"] > warmest:
            warmest = row["celsius"]
        progress.show(number)
    print(f"the warmest was {warmest:g} degrees")


async def export(conn: chopin.Connection, path: Path) -> None:
    """Write what a query returns to a file, as CSV."""
    status = await conn.copy_from_query(
        "SELECT station, round(avg(celsius)::numeric, 2) AS mean FROM measurements"
        " WHERE station < $1 GROUP BY station ORDER BY station",
        500,
        output=path,
        format="csv",
        header=True,
    )
    with path.open() as file:
        print(f"{status}: {file.readline().strip()}")


async def main(dsn: str, count: int) -> None:
    async with (
        chopin.create_pool(dsn, min_size=1, max_size=2) as pool,
        pool.acquire() as conn,
    ):
        await conn.execute(SCHEMA)
        await load(conn, count)
        try:
            await conn.copy_records_to_table(
                "measurements", records=[(1, 20.5), (2, "warm")], columns=COLUMNS
            )
        except chopin.DataError as error:
            print(f"not stored: {error}")
        await find_the_warmest(conn, count)
        with tempfile.TemporaryDirectory() as directory:
            await export(conn, Path(directory) / "means.csv")


@contextlib.contextmanager
def server_of(dsn: str | None) -> Iterator[str]:
    """The DSN, or that of a server that lasts as long as the block."""
    if dsn is not None:
        yield dsn
        return
    try:
        server = TemporaryServer()
        server.start()
    except TemporaryServerError as error:
        sys.exit(f"no DSN is given, and no server can be started: {error}")
    with contextlib.closing(server):
        yield server.dsn


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dsn", nargs="?", help="default: that of a private server")
    parser.add_argument("--rows", type=int, default=500_000)
    options = parser.parse_args()
    with server_of(options.dsn) as dsn:
        asyncio.run(main(dsn, options.rows))
