"""Where the tasks of a pool workload run: in this loop, or in threads with their own.

Owns: opening and warming a pool, the tasks of a sample, their latencies.
Rules:
- A pool is open to its full size, and every connection has run the workload's
  statements, before it is played.
- A stage returns sums to compare and latencies; clocks around the whole are read by
  whoever plays it, but for `poolworkers` and `poolmemory`, where they run elsewhere.
"""

import asyncio
import statistics
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from bench.loops import loop_factory
from bench.measure import Sample, WholeSample
from bench.pools import Enter, Opening, PoolCandidate, PoolSession
from bench.poolwork import PoolWorkload
from bench.server import Target
from bench.words import BenchError
from bench.workloads import Items

THREADS = 2
OPEN_TIMEOUT = 60.0


@dataclass(frozen=True)
class PoolSample(WholeSample):
    """A sample with the latencies of single operations, in seconds."""

    p50: float
    p99: float
    p999: float


@dataclass(frozen=True)
class MemorySample(WholeSample):
    """A sample of opening connections, and the KiB that each of them takes."""

    memory: float


@dataclass(frozen=True)
class Played:
    """What was returned, to be compared, and the seconds of single operations.

    `sample` is for a stage that reads its own clocks.
    """

    check: Any
    latencies: Sequence[float] = ()
    sample: Sample | None = None


class Stage(Protocol):
    """Tasks, wherever they are, that can be given operations."""

    async def play(self, items: Items) -> Played:
        """Run all operations."""
        ...

    async def close(self) -> None:
        """Close the pools."""
        ...


def percentiles(latencies: Sequence[float]) -> tuple[float, float, float]:
    """The median, and what 99 of 100 and 999 of 1000 do not exceed."""
    if len(latencies) < 2:
        return latencies[0], latencies[0], latencies[0]
    cuts = statistics.quantiles(latencies, n=1000, method="inclusive")
    return cuts[499], cuts[989], cuts[998]


def timed(sample: Sample, played: Played) -> Sample:
    """The sample with all that is known of it."""
    if played.sample is not None:
        sample = played.sample
    if not played.latencies:
        return sample
    return PoolSample(sample.wall, sample.cpu, *percentiles(played.latencies))


def running_loop_name() -> str:
    """Of the kind of loop that runs, as in `bench.loops`."""
    module = type(asyncio.get_running_loop()).__module__
    return "uvloop" if module.startswith("uvloop") else "asyncio"


async def open_pool(enter: Enter, size: int, workload: PoolWorkload) -> PoolSession:
    """Open a pool that shall have so many connections, and warm up all of them."""
    async with asyncio.timeout(OPEN_TIMEOUT):
        pool = await enter()
        try:
            await warm_up(pool, size, workload)
        except BaseException:
            await pool.close()
            raise
    return pool


async def warm_up(pool: PoolSession, size: int, workload: PoolWorkload) -> None:
    """Run the workload's statements on so many connections, lent at the same time."""
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(pool.acquire()) for _ in range(size)
        ]
        for connection in connections:
            for query, args in workload.statements:
                await connection.fetchrow(query, *args)
    if pool.size() < size:
        raise BenchError(f"{pool.size()} connections are open, not {size}")


class LoopStage:
    """Tasks in the running loop on one pool."""

    def __init__(self, pool: PoolSession, workload: PoolWorkload, tasks: int) -> None:
        self._pool = pool
        self._run = workload.run
        self._tasks = tasks

    @classmethod
    async def open(
        cls, candidate: PoolCandidate, workload: PoolWorkload, target: Target
    ) -> "LoopStage":
        """With a pool of its own."""
        opening = Opening(target.dsn, candidate.name, workload.size)
        pool = await open_pool(candidate.enter(opening), workload.size, workload)
        return cls(pool, workload, workload.tasks)

    async def play(self, items: Items) -> Played:
        """Start the tasks and wait for all."""
        latencies: list[float] = []
        shared = iter(items)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._run(self._pool, shared, latencies.append))
                    for _ in range(self._tasks)
                ]
        except ExceptionGroup as errors:
            # As many as there are tasks, and mostly the same.
            raise errors.exceptions[0] from None
        return Played(sum(task.result() for task in tasks), latencies)

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()


class LoopThread:
    """A thread that runs an event loop of this kind until it is told to stop."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        self._is_ready.wait()

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=loop_factory(self._kind)) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._is_ready.set()
        await self._end.wait()

    async def call(self, coroutine: Any) -> Any:
        """Run a coroutine in that loop and wait for it in this one."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


class ThreadStage:
    """Two threads with a loop each; the pool of a loop is whatever `enter` gives."""

    def __init__(self, threads: Sequence[LoopThread]) -> None:
        self._threads = threads
        self._stages: list[LoopStage] = []

    @classmethod
    async def open(
        cls, candidate: PoolCandidate, workload: PoolWorkload, target: Target
    ) -> "ThreadStage":
        """Start the threads, and open the pool in one after the other."""
        opening = Opening(target.dsn, candidate.name, workload.size, THREADS)
        enter = candidate.enter(opening)
        kind = running_loop_name()
        stage = cls([LoopThread(kind) for _ in range(THREADS)])
        try:
            for thread in stage._threads:
                pool = await thread.call(open_pool(enter, opening.part, workload))
                stage._stages.append(
                    LoopStage(pool, workload, workload.tasks // THREADS)
                )
        except BaseException:
            await stage.close()
            raise
        return stage

    async def play(self, items: Items) -> Played:
        """Every thread takes its part of the operations."""
        parts = await asyncio.gather(
            *(
                thread.call(stage.play(items[index::THREADS]))
                for index, (thread, stage) in enumerate(
                    zip(self._threads, self._stages, strict=True)
                )
            )
        )
        latencies = [seconds for part in parts for seconds in part.latencies]
        return Played(sum(part.check for part in parts), latencies)

    async def close(self) -> None:
        """Close the pools, each in its loop, and end the threads."""
        try:
            for thread, stage in zip(self._threads, self._stages, strict=False):
                await thread.call(stage.close())
        finally:
            for thread in self._threads:
                thread.stop()
