"""``python -m bench.copymemory``: how much memory COPY and streams take.

Loads rows into a private server and reads them back, by COPY and by a query, and says
how far the memory of this process has grown meanwhile. It must not depend on the number
of rows.
"""

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import Any

import chopin
from chopin.testing import TemporaryServer

MIB = 1 << 20


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


class Watch:
    """The most memory that was seen since the beginning, and the time since then."""

    def __init__(self) -> None:
        self._begin = resident()
        self._most = self._begin
        self._began = time.perf_counter()

    def look(self, number: int) -> None:
        """Look at the memory, not at each row."""
        if number % 10_000 == 0:
            self._most = max(self._most, resident())

    def report(self, what: str, count: int) -> None:
        """Say what it was."""
        seconds = time.perf_counter() - self._began
        grown = (self._most - self._begin) / MIB
        print(
            f"{what:8} {count:>9,} rows  {count / seconds:>9,.0f}/s  {grown:6.1f} MiB"
        )


async def read(what: str, rows: AsyncIterable[Any]) -> None:
    """Read all rows, and report."""
    watch, count = Watch(), 0
    async for _ in rows:
        count += 1
        watch.look(count)
    watch.report(what, count)


async def main(dsn: str, count: int) -> None:
    conn = await chopin.connect(dsn)
    await conn.execute("CREATE UNLOGGED TABLE facts (id int4, name text, ratio float8)")
    watch = Watch()

    def rows() -> Iterator[tuple[int, str, float]]:
        for number in range(count):
            watch.look(number)
            yield number, f"row number {number}", number * 0.5

    await conn.copy_records_to_table("facts", records=rows())
    watch.report("in", count)
    await read("out", conn.copy_out("facts"))
    await read("stream", conn.stream("SELECT * FROM facts"))
    await conn.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    options = parser.parse_args()
    with TemporaryServer() as server:
        asyncio.run(main(server.dsn, options.rows))
