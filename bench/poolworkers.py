"""Two worker processes: Chopin's runtime, or two processes of another driver.

Owns: the worker, how it is told what to do, the stage that starts it.
``python -m bench.poolworkers POOL WORKLOAD DSN LOOP SOCKET WORKERS`` is one worker of
a driver without a runtime, or the parent of all workers of one that has it.
Rules:
- A worker connects to SOCKET, opens its pool and says so; then it is sent lists of
  operations, answers each with what came of it, and ends when the socket is closed.
  A message is a line of JSON.
- Workers live as long as the contest: starting them is not measured.
- The clocks are the workers' own: from the first that started to the last that ended,
  and the CPU of all. They count from the same moment on Linux and on macOS.
"""

import argparse
import asyncio
import contextlib
import gc
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.loops import LOOPS, loop_factory
from bench.measure import Sample
from bench.pools import POOLS, Opening, PoolCandidate
from bench.poolstages import (
    OPEN_TIMEOUT,
    LoopStage,
    Played,
    open_pool,
    running_loop_name,
)
from bench.poolwork import SEVERAL_LOOPS, PoolWorkload
from bench.server import Target
from bench.words import BenchError
from bench.workloads import Items

WORKERS = 2
SELF = ("-m", "bench.poolworkers")
# Of one message; a list of latencies is a long line.
LINE_LIMIT = 1 << 26
END_TIMEOUT = 10.0
TOO_EARLY = "a worker has ended before it began"

Message = dict[str, Any]


async def send(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    """Write one message."""
    writer.write(json.dumps(message).encode() + b"\n")
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None when the other side has closed."""
    line = await reader.readline()
    return json.loads(line) if line else None


# -- in a worker --------------------------------------------------------------------


@dataclass(frozen=True)
class Errand:
    """What a worker must know; its own main, once it is bound to that."""

    pool: str
    workload: str
    dsn: str
    socket: str

    async def run(self) -> None:
        """Open the pool, and play what is asked for until nobody asks."""
        reader, writer = await asyncio.open_unix_connection(
            self.socket, limit=LINE_LIMIT
        )
        workload = next(one for one in SEVERAL_LOOPS if one.name == self.workload)
        size = workload.size // WORKERS
        enter = POOLS[self.pool].enter(Opening(self.dsn, self.pool, size))
        pool = await open_pool(enter, size, workload)
        stage = LoopStage(pool, workload, workload.tasks // WORKERS)
        await send(writer, {"loop": running_loop_name()})
        while (message := await receive(reader)) is not None:
            gc.collect()
            # Of the thread, since workers are threads of one process without a GIL.
            cpu, started = time.thread_time(), time.perf_counter()
            played = await stage.play(message["items"])
            ended, cpu = time.perf_counter(), time.thread_time() - cpu
            await send(
                writer,
                {
                    "check": played.check,
                    "latencies": played.latencies,
                    "started": started,
                    "ended": ended,
                    "cpu": cpu,
                },
            )
        await stage.close()
        writer.close()


def joined(parts: list[Message]) -> Played:
    """What all workers did together."""
    wall = max(part["ended"] for part in parts) - min(part["started"] for part in parts)
    latencies = [seconds for part in parts for seconds in part["latencies"]]
    sample = Sample(wall, sum(part["cpu"] for part in parts))
    return Played(sum(part["check"] for part in parts), latencies, sample)


# -- in the benchmark ---------------------------------------------------------------


class WorkerStage:
    """The processes, and a stream to each worker."""

    def __init__(self) -> None:
        self._processes: list[asyncio.subprocess.Process] = []
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._cleanup = contextlib.AsyncExitStack()

    @classmethod
    async def open(
        cls, candidate: PoolCandidate, workload: PoolWorkload, target: Target
    ) -> "WorkerStage":
        """Start the workers and wait until all have opened their pools."""
        stage = cls()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await stage._start(candidate, workload, target)
        except BaseException:
            await stage.close()
            raise
        return stage

    async def _start(
        self, candidate: PoolCandidate, workload: PoolWorkload, target: Target
    ) -> None:
        folder = self._cleanup.enter_context(tempfile.TemporaryDirectory())
        path = str(Path(folder, "socket"))
        arrived: asyncio.Queue[Any] = asyncio.Queue()

        async def welcome(*streams: Any) -> None:
            arrived.put_nowait(streams)

        server = await asyncio.start_unix_server(welcome, path, limit=LINE_LIMIT)
        self._cleanup.callback(server.close)
        each = WORKERS if candidate.has_runtime else 1
        for _ in range(WORKERS // each):
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *SELF,
                    *(candidate.name, workload.name, target.dsn),
                    *(running_loop_name(), path, str(each)),
                )
            )
        while len(self._streams) < WORKERS:
            self._streams.append(await self._next(arrived))
        for reader, _ in self._streams:
            message = await receive(reader)
            if message is None:
                raise ConnectionError(TOO_EARLY)
            if message["loop"] != running_loop_name():
                raise BenchError(f"a worker runs on {message['loop']}")

    async def _next(self, arrived: asyncio.Queue[Any]) -> Any:
        """The streams of the next worker that comes, unless a process ends before."""
        waiting = [asyncio.ensure_future(arrived.get())]
        waiting += [asyncio.ensure_future(one.wait()) for one in self._processes]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for future in waiting[1:]:
            future.cancel()
        if not waiting[0].done():
            waiting[0].cancel()
            raise ConnectionError(TOO_EARLY)
        return waiting[0].result()

    async def play(self, items: Items) -> Played:
        """Every worker takes its part of the operations."""

        async def play_part(index: int) -> Message:
            reader, writer = self._streams[index]
            await send(writer, {"items": items[index::WORKERS]})
            message = await receive(reader)
            if message is None:
                raise ConnectionError("a worker has ended")
            return message

        return joined(await asyncio.gather(*map(play_part, range(WORKERS))))

    async def close(self) -> None:
        """Let the workers end, and end those that do not."""
        for _, writer in self._streams:
            writer.close()
        for process in self._processes:
            try:
                async with asyncio.timeout(END_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await self._cleanup.aclose()


def run_plainly(main: Callable[[], Coroutine[Any, Any, None]], loop: str) -> None:
    """One worker on a loop of this kind."""
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(main())


def main() -> None:
    """Be one worker, or start all with Chopin's runtime."""
    parser = argparse.ArgumentParser(prog="python -m bench.poolworkers")
    parser.add_argument("pool", choices=list(POOLS))
    parser.add_argument("workload")
    parser.add_argument("dsn")
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("socket")
    parser.add_argument("workers", type=int)
    options = parser.parse_args()
    errand = Errand(options.pool, options.workload, options.dsn, options.socket)
    if options.workers == 1:
        run_plainly(errand.run, options.loop)
    else:
        runtime = importlib.import_module("chopin.runtime")
        is_uvloop = options.loop == "uvloop"
        runtime.run(errand.run, workers=options.workers, uvloop=is_uvloop)


if __name__ == "__main__":
    # Workers that are started anew look for what they run in this module's real name.
    importlib.import_module("bench.poolworkers").main()
