"""One event loop per core: python examples/workers.py postgresql://localhost/app.

Each worker has a core, an event loop and a pool of its own, and asks the server for two
seconds what it can. Together they have no more than 20 connections. Try Ctrl-C.
"""

import asyncio
import functools
import sys
import time

import chopin
from chopin.runtime import Worker, run

SECONDS = 2.0
TASKS = 32  # of each worker
CONNECTIONS = 20  # of all workers


async def ask(pool: chopin.Pool, until: float) -> int:
    """Ask until the time is over; returns how often."""
    asked = 0
    while time.monotonic() < until:
        assert await pool.fetchval("SELECT $1::int", asked) == asked
        asked += 1
    return asked


async def main(dsn: str, worker: Worker) -> None:
    size = worker.share(max(CONNECTIONS, worker.count))
    async with chopin.create_pool(dsn, min_size=0, max_size=size) as pool:
        until = time.monotonic() + SECONDS
        asked = sum(await asyncio.gather(*(ask(pool, until) for _ in range(TASKS))))
        # The line and its end in one piece: all workers write to the same output.
        sys.stdout.write(
            f"worker {worker.index} of {worker.count}, core {worker.cpu}:"
            f" {asked / SECONDS:,.0f} queries/s, {pool.get_size()} connections\n"
        )


if __name__ == "__main__":
    run(functools.partial(main, sys.argv[1]))
