"""How fast notifications are heard: `python -m bench.notify`.

Another connection says 10,000 things in one transaction; the clock runs from its end
until a hundred listeners on one connection have heard all that is theirs:

- spread: each listens to a channel of its own;
- fan-out: all listen to one channel, on which a hundredth is said.

Candidates: callbacks of Chopin (`add_listener`) and of asyncpg, Chopin's blocks
(`Connection.listen` and `Pool.listen`, each read by a task), and psycopg's generator,
whose notifications are handed to functions by a dictionary.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import psycopg

import chopin
from bench.loops import run_on_each
from chopin.testing import TemporaryServer

LISTENERS = 100
SPEAK = "SELECT pg_notify('c' || n %% %s, n::text) FROM generate_series(1, %s) AS n"

#: The channel of each listener.
Channels = list[str]


class Tally:
    """Counts what is heard, and says when it is all."""

    def __init__(self) -> None:
        self.missing = 0
        self.is_over = asyncio.Event()

    def expect(self, count: int) -> None:
        """Start to count."""
        self.missing = count
        self.is_over.clear()

    def hear(self, *_: Any) -> None:
        """One was heard."""
        self.missing -= 1
        if not self.missing:
            self.is_over.set()


def hearer(tally: Tally) -> Callable[..., None]:
    """A listener of its own."""
    return lambda connection, pid, channel, payload: tally.hear()


@contextlib.asynccontextmanager
async def by_callback(
    module: Any, dsn: str, channels: Channels, tally: Tally
) -> AsyncIterator[None]:
    """`add_listener` of Chopin or asyncpg."""
    connection = await module.connect(dsn)
    for channel in channels:
        await connection.add_listener(channel, hearer(tally))
    yield
    await connection.close()


@contextlib.asynccontextmanager
async def by_block(
    source: Any, channels: Channels, tally: Tally
) -> AsyncIterator[None]:
    """`listen` of Chopin's connection or pool, and a task for each block."""

    async def read(notifications: Any) -> None:
        async for _ in notifications:
            tally.hear()

    async with source, contextlib.AsyncExitStack() as stack:
        blocks = [
            await stack.enter_async_context(source.listen(channel, queue_size=1 << 20))
            for channel in channels
        ]
        tasks = [asyncio.create_task(read(block)) for block in blocks]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class ClosingConnection:
    """A connection in `async with`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> None:
        self._connection = await chopin.connect(self._dsn)
        self.listen = self._connection.listen

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


@contextlib.asynccontextmanager
async def by_generator(
    dsn: str, channels: Channels, tally: Tally
) -> AsyncIterator[None]:
    """psycopg's `notifies`."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    handlers: dict[str, list[Callable[..., None]]] = {}
    for channel in channels:
        handlers.setdefault(channel, []).append(hearer(tally))
        await connection.execute(f'LISTEN "{channel}"')

    async def read() -> None:
        async for heard in connection.notifies():
            for handler in handlers[heard.channel]:
                handler(connection, heard.pid, heard.channel, heard.payload)

    task = asyncio.create_task(read())
    yield
    task.cancel()
    await asyncio.wait([task])
    await connection.close()


async def measure(dsn: str, rounds: int, count: int) -> None:
    """Interleave the candidates and print medians: per second and CPU of each."""
    speaker = psycopg.connect(dsn, autocommit=True)
    for title, spread in (("spread", LISTENERS), ("fan-out", 1)):
        said = count if spread > 1 else count // LISTENERS
        heard = count
        channels = [f"c{number % spread}" for number in range(LISTENERS)]
        tally = Tally()
        times: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            candidates = {
                "chopin, callbacks": by_callback(chopin, dsn, channels, tally),
                "asyncpg, callbacks": by_callback(asyncpg, dsn, channels, tally),
                "chopin, blocks": by_block(ClosingConnection(dsn), channels, tally),
                "chopin, pool's blocks": by_block(
                    chopin.create_pool(dsn, min_size=0), channels, tally
                ),
                "psycopg, generator": by_generator(dsn, channels, tally),
            }
            for name in random.sample(list(candidates), len(candidates)):
                async with candidates[name]:
                    await asyncio.sleep(0.01)
                    tally.expect(heard)
                    speaker.execute(SPEAK, [spread, said])
                    wall, cpu = time.perf_counter(), time.process_time()
                    async with asyncio.timeout(60):
                        await tally.is_over.wait()
                    times.setdefault(name, []).append(
                        (time.perf_counter() - wall, time.process_time() - cpu)
                    )
        print(f"{title}: {LISTENERS} listeners, {said} notifications")
        for name, pairs in sorted(times.items()):
            wall, cpu = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
            print(
                f"  {name:22} {heard / wall:10,.0f} heard/s"
                f" {cpu / heard * 1e6:8.2f} µs CPU"
            )
    speaker.close()


def main() -> None:
    """Run on both loops."""
    parser = argparse.ArgumentParser(prog="python -m bench.notify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=10_000, help="heard in each round")
    options = parser.parse_args()
    with TemporaryServer() as server:
        run_on_each(lambda: measure(server.tcp_dsn, options.rounds, options.count))


if __name__ == "__main__":
    main()
