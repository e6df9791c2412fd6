"""How far down it goes: the same query on a bare socket and on a bare event loop.

`python -m bench.floor` sends SELECT 1, prepared, one after another and 20 at once:

- by a blocking socket that sends bytes encoded beforehand and looks for ReadyForQuery;
- by an asyncio protocol that does no more than that, and wakes its task by a Future;
- by asyncpg and by Chopin.

What lies between the second line and Chopin's is all that Chopin can still save; what
lies between the first two is the event loop's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import statistics
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

import chopin
from bench.limit import message
from bench.loops import run_on_each
from chopin.testing import TemporaryServer

AT_ONCE = 20
READY = b"Z\0\0\0\5"


STARTUP_BODY = b"user\0postgres\0database\0postgres\0\0"
STARTUP = struct.pack("!ii", len(STARTUP_BODY) + 8, 3 << 16) + STARTUP_BODY
PREPARE = message(b"P", b"s\0SELECT 1\0\0\0") + message(b"S", b"")
QUERY = (
    message(b"B", b"\0s\0\0\0\0\0\0\1\0\1")
    + message(b"E", b"\0\0\0\0\0")
    + message(b"S", b"")
)


class Socket:
    """A blocking socket."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in (STARTUP, PREPARE):
            self._exchange(request, 1)

    def _exchange(self, request: bytes, count: int) -> None:
        self._socket.sendall(request)
        while count:
            count -= self._socket.recv(65536).count(READY)

    async def one(self) -> None:
        """One query."""
        self._exchange(QUERY, 1)

    async def many(self) -> None:
        """Many queries in one write."""
        self._exchange(QUERY * AT_ONCE, AT_ONCE)

    async def close(self) -> None:
        """Leave."""
        self._socket.close()


class Protocol(asyncio.Protocol):
    """An event loop's transport, and a Future for each reply."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        """Count what is ready."""
        self._missing -= data.count(READY)
        if not self._missing:
            self._waiter.set_result(None)

    def exchange(self, request: bytes, count: int) -> asyncio.Future[None]:
        """Send, and wait for as many replies."""
        self._missing = count
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiter

    async def one(self) -> None:
        """One query."""
        await self.exchange(QUERY, 1)

    async def many(self) -> None:
        """Many queries in one write."""
        await self.exchange(QUERY * AT_ONCE, AT_ONCE)

    async def close(self) -> None:
        """Leave."""
        self.transport.abort()


class Driver:
    """A driver's connection."""

    def __init__(self, connection: Any, is_concurrent: bool) -> None:
        self._connection = connection
        self._is_concurrent = is_concurrent

    async def one(self) -> None:
        """One query."""
        await self._connection.fetchrow("SELECT 1")

    async def many(self) -> None:
        """Many queries, at once where that is possible."""
        fetchrow = self._connection.fetchrow
        if self._is_concurrent:
            await asyncio.gather(*(fetchrow("SELECT 1") for _ in range(AT_ONCE)))
            return
        for _ in range(AT_ONCE):
            await fetchrow("SELECT 1")

    async def close(self) -> None:
        """Leave."""
        await self._connection.close()


async def measure(host: str, port: int, rounds: int, calls: int) -> None:
    """Interleave the candidates and print medians: wall and CPU time in µs."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Protocol, host, port)
    for request in (STARTUP, PREPARE):
        await protocol.exchange(request, 1)
    dsn = f"postgresql://postgres@{host}:{port}/postgres"
    candidates: dict[str, Any] = {
        "blocking socket": Socket(host, port),
        "bare event loop": protocol,
        "asyncpg": Driver(await asyncpg.connect(dsn), is_concurrent=False),
        "chopin": Driver(await chopin.connect(dsn), is_concurrent=True),
    }
    for method, n in (("one", calls), ("many", calls // AT_ONCE)):
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name in random.sample(list(candidates), len(candidates)):
                call: Callable[[], Awaitable[None]] = getattr(candidates[name], method)
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(n):
                    await call()
                times[name].append(
                    (
                        (time.perf_counter() - wall) / n * 1e6,
                        (time.process_time() - cpu) / n * 1e6,
                    )
                )
        print("one query" if method == "one" else f"{AT_ONCE} queries")
        for name, pairs in times.items():
            wall, cpu = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
            print(f"  {name:16} {wall:8.1f} µs {cpu:8.1f} µs CPU")
    for candidate in candidates.values():
        await candidate.close()


def main() -> None:
    """Run on both loops."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--calls", type=int, default=3000, help="in each round")
    options = parser.parse_args()
    with TemporaryServer() as server:
        run_on_each(
            lambda: measure("127.0.0.1", server.port, options.rounds, options.calls)
        )


if __name__ == "__main__":
    main()
