"""What the pools are given to do: many tasks on few connections.

Owns: the table of pool workloads, and what one task does in each.
Rules:
- The tasks of a sample share one list of operations and take the next one as soon as
  they are done with the last, without a pause, until the list is empty.
- Every operation is timed by the task that waits for it.
- Tasks without a pause meet the more sleepers in a second the faster their pool is:
  ten connections sleep all the time at 5000 operations in a second, whoever's they
  are. `run_offered` gives all pools the same load in time; latencies there begin when
  an operation is due, whatever keeps it from beginning.
- The number that a row is set to follows from its id: in whatever order the writes
  come, the tables end up equal, and so do the sums that reads return.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from bench.pools import POOL_SIZE, PoolSession
from bench.workloads import (
    WORLD_ROWS,
    WORLD_SELECT,
    WORLD_UPDATE,
    Sizes,
    Workload,
    random_ids,
)

TASK_COUNTS = (1, 10, 64, 256, 1000)
MOST_TASKS_IF_QUICK = 256
SLOW_TASKS_IF_QUICK = (10, 64)
SLEEP = "SELECT pg_sleep($1)"
SLEEP_SECONDS = 0.2
# Of so many operations one sleeps, and the first that does is in the middle of these.
SLEEPER_EVERY = 100
# Operations in a second; three connections sleep then.
OFFERED = 1500
WRITE_EVERY = 5
# In a transaction, where every driver's fetchrow serves for both statements.
UPDATE_RETURNING = f"{WORLD_UPDATE} RETURNING randomnumber"
STATE = "SELECT count(*), sum(id::bigint * randomnumber) FROM world"

clock = time.perf_counter
Record = Callable[[float], None]
Turn = Callable[[PoolSession, Iterator[Any], Record], Coroutine[Any, Any, int]]


@dataclass(frozen=True)
class PoolWorkload(Workload):
    """A row of the table: as `Workload`, where `run` is what each task does.

    `run` takes operations from an iterator that all tasks share, records the seconds
    that each took, and returns a number to be compared. `stage` says where the tasks
    are: in this "loop", in "threads" with a loop each, in "workers", which are other
    processes, or that there are none, but the "memory" of connections is taken.
    `size` is how many connections are open, in all loops together. `statements` are
    run on every connection before the first sample. `pools` names who takes part,
    all if empty; `most_rounds` is for what does not vary. A sample that need not be
    quick has at least `least` operations.
    """

    run: Turn  # type: ignore[assignment]  # not a seat and a list: see above
    tasks: int = 1
    stage: str = "loop"
    size: int = POOL_SIZE
    statements: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    pools: tuple[str, ...] = ()
    most_rounds: int | None = None
    least: int = 0

    @property
    def is_divisible(self) -> bool:
        """Any number of operations will do, but not where memory is looked at."""
        return self.stage != "memory"

    def least_of(self, scale: str) -> int:
        """Some operations for each task, and enough for percentiles."""
        if scale == "quick":
            return max(100, self.tasks)
        return max(100, self.tasks * 2, self.least)

    @property
    def counted(self) -> int:
        """One for every connection."""
        return self.size


def number_of(key: int) -> int:
    """The number that a write gives to the row with this id."""
    return 1 + key * 7919 % WORLD_ROWS


# -- what a task does ---------------------------------------------------------------


async def run_reads(pool: PoolSession, items: Iterator[int], record: Record) -> int:
    fetchrow = pool.fetchrow
    total = 0
    for key in items:
        started = clock()
        row = await fetchrow(WORLD_SELECT, key)
        record(clock() - started)
        total += row[1]
    return total


async def run_writes(pool: PoolSession, items: Iterator[int], record: Record) -> int:
    execute = pool.execute
    total = 0
    for key in items:
        started = clock()
        tag = await execute(WORLD_UPDATE, number_of(key), key)
        record(clock() - started)
        total += tag == "UPDATE 1"
    return total


async def run_mixed(
    pool: PoolSession, items: Iterator[tuple[bool, int]], record: Record
) -> int:
    fetchrow, execute = pool.fetchrow, pool.execute
    total = 0
    for is_write, key in items:
        started = clock()
        if is_write:
            tag = await execute(WORLD_UPDATE, number_of(key), key)
            record(clock() - started)
            total += tag == "UPDATE 1"
        else:
            row = await fetchrow(WORLD_SELECT, key)
            record(clock() - started)
            # Its number depends on who was first.
            total += row[0]
    return total


async def run_slow(
    pool: PoolSession, items: Iterator[tuple[bool, int]], record: Record
) -> int:
    fetchrow = pool.fetchrow
    total = 0
    for is_sleeper, key in items:
        if is_sleeper:
            # Not recorded: the fast ones are looked at.
            await fetchrow(SLEEP, SLEEP_SECONDS)
            continue
        started = clock()
        row = await fetchrow(WORLD_SELECT, key)
        record(clock() - started)
        total += row[1]
    return total


async def run_offered(
    pool: PoolSession, items: Iterator[tuple[bool, int]], record: Record
) -> int:
    fetchrow = pool.fetchrow

    async def read(key: int, due: float) -> int:
        row = await fetchrow(WORLD_SELECT, key)
        record(clock() - due)
        return int(row[1])

    async def sleep() -> int:
        await fetchrow(SLEEP, SLEEP_SECONDS)
        return 0

    started = clock()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for index, (is_sleeper, key) in enumerate(items):
            due = started + index / OFFERED
            # Late ones begin at once.
            if clock() < due:
                await asyncio.sleep(due - clock())
            tasks.append(group.create_task(sleep() if is_sleeper else read(key, due)))
    return sum(task.result() for task in tasks)


async def run_acquire(pool: PoolSession, items: Iterator[int], record: Record) -> int:
    acquire = pool.acquire
    total = 0
    for key in items:
        started = clock()
        async with acquire() as connection:
            row = await connection.fetchrow(WORLD_SELECT, key)
        record(clock() - started)
        total += row[1]
    return total


async def run_transaction(
    pool: PoolSession, items: Iterator[int], record: Record
) -> int:
    acquire = pool.acquire
    total = 0
    for key in items:
        started = clock()
        async with acquire() as connection, connection.transaction():
            read = await connection.fetchrow(WORLD_SELECT, key)
            wrote = await connection.fetchrow(UPDATE_RETURNING, number_of(key), key)
        record(clock() - started)
        total += read[0] + wrote[0]
    return total


async def run_nothing(pool: PoolSession, items: Iterator[Any], record: Record) -> int:
    return 0


# -- what they work on --------------------------------------------------------------


def keys() -> Iterator[int]:
    """Random ids of the table world."""
    return random_ids(0x2545F491)


def marked(every: int) -> Callable[[], Iterator[tuple[bool, int]]]:
    """Random ids; of so many one, in the middle of them, is marked."""

    def inputs() -> Iterator[tuple[bool, int]]:
        ids = keys()
        return ((index % every == every // 2, next(ids)) for index in count())

    return inputs


def sizes_of(tasks: int) -> Sizes:
    """Operations in a sample: a second or so for the slowest, some for every task.

    Where it must be quick, there are not a thousand tasks.
    """
    if tasks == 1:
        return Sizes(200, 1500, 5000)
    quick = max(300, tasks) if tasks <= MOST_TASKS_IF_QUICK else 0
    return Sizes(quick, max(3000, 5 * tasks), max(20_000, 20 * tasks))


def slow_sizes_of(tasks: int) -> Sizes:
    """Fewer where one task sleeps by itself: 0.2 s in every hundred operations.

    Any sample takes 0.2 s, so two numbers of tasks are enough where it must be quick.
    """
    if tasks == 1:
        return Sizes(0, 500, 2000)
    sizes = sizes_of(tasks)
    if tasks in SLOW_TASKS_IF_QUICK:
        return sizes
    return dataclasses.replace(sizes, quick=0)


READ = (WORLD_SELECT, (1,))
WRITE = (WORLD_UPDATE, (number_of(1), 1))
WRITE_BACK = (UPDATE_RETURNING, (number_of(1), 1))

CURVES = [
    PoolWorkload(
        f"pool_{name}_{tasks}",
        f"pool, {name}",
        "q/s",
        sizes(tasks),
        inputs,
        run,
        warm=max(500, 2 * tasks),
        slices=1,
        before="VACUUM world" if WRITE in statements else "",
        state=STATE,
        tasks=tasks,
        statements=statements,
        is_serial=tasks == 1,
        # Slow ones end in waves: with two of them it is chance who has a third.
        least=10 * tasks if name == "slow" else 0,
    )
    for name, inputs, run, statements, sizes in (
        ("reads", keys, run_reads, (READ,), sizes_of),
        ("writes", keys, run_writes, (WRITE,), sizes_of),
        ("mixed", marked(WRITE_EVERY), run_mixed, (READ, WRITE), sizes_of),
        ("slow", marked(SLEEPER_EVERY), run_slow, (READ,), slow_sizes_of),
    )
    for tasks in TASK_COUNTS
]

PACED = [
    PoolWorkload(
        "pool_slow_offered",
        "pool, slow",
        "q/s",
        # Most of its time nothing is done.
        Sizes(0, 3000, 15_000),
        marked(SLEEPER_EVERY),
        run_offered,
        warm=450,
        slices=1,
        state=STATE,
        statements=(READ,),
    )
]

HELD = [
    PoolWorkload(
        f"pool_{name}_{tasks}",
        "pool, connections lent",
        unit,
        sizes_of(tasks),
        keys,
        run,
        slices=1,
        before="VACUUM world" if len(statements) > 1 else "",
        state=STATE,
        tasks=tasks,
        statements=statements,
    )
    for name, unit, run, statements in (
        ("acquire", "q/s", run_acquire, (READ,)),
        ("transaction", "tx/s", run_transaction, (READ, WRITE_BACK)),
    )
    for tasks in (10, 64)
]

SEVERAL_LOOPS = [
    PoolWorkload(
        f"pool_{stage}",
        "pool, two loops",
        "q/s",
        sizes_of(64),
        keys,
        run_reads,
        slices=1,
        state=STATE,
        tasks=64,
        stage=stage,
        statements=(READ,),
        pools=("chopin", "asyncpg", "asyncpg_noreset"),
        # They have their own way to the server.
        is_countable=False,
    )
    for stage in ("threads", "workers")
]

MEMORY = PoolWorkload(
    "pool_memory",
    "pool, memory of idle connections",
    "conn/s",
    Sizes(100, 200, 200),
    count,
    run_nothing,
    warm=0,
    slices=1,
    stage="memory",
    statements=(READ,),
    pools=("chopin", "asyncpg", "psycopg"),
    most_rounds=1,
    is_countable=False,
    needs="200 connections",
)

POOLED = [*CURVES, *PACED, *HELD, *SEVERAL_LOOPS, MEMORY]
