"""The workloads of the gate, and the process in which they are counted.

Owns: the table `WORKS`; ``python -m bench.gatework JOBS NAME...``, which runs each
of them N and 2N times and calls `mark` in between, for whoever counts from outside.
Rules:
- A workload is one way through the driver, from the call that a user makes down to
  the bytes, against a `Script`: no socket, no server, no time.
- What is counted must be the same each time: every workload has a process of its own,
  forked off with everything imported and nothing run; what is in memory then is kept
  from the garbage collector, which runs as it does for users.
"""

import asyncio
import datetime
import decimal
import functools
import gc
import ipaddress
import os
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.gateserver import Answer, Script, ScriptedLoop, parameters_of, stop_time

DSN = "postgresql://bench@127.0.0.1/bench?sslmode=disable"
SELECT = "SELECT column_0, column_1 FROM t WHERE column_0 = $1"
INSERT = "INSERT INTO t VALUES ($1, $2, $3)"
WIDE = "SELECT * FROM wide"
INT4, INT8, TEXT = 23, 20, 25
AT_ONCE = 20
WARM = 40

Run = Callable[[], Awaitable[Any]]

# -- what travels --------------------------------------------------------------------

NOON = datetime.datetime(2026, 2, 28, 12, 30, 15, 123456)
NOON_UTC = NOON.replace(tzinfo=datetime.UTC)

#: One row of each family of types: (OID, value).
FAMILIES: dict[str, Sequence[tuple[int, Any]]] = {
    "integers": [(21, 7), (INT4, -70_000), (INT8, 1 << 40), (26, 4_000_000_000)],
    "floats": [(700, 0.5), (701, 1e100), (701, -0.1), (16, True)],
    "text": [(TEXT, "Nocturne"), (1043, "Op. 9, Nº 2"), (17, b"\0\1" * 32)],
    "time": [
        (1082, NOON.date()),
        (1083, NOON.time()),
        (1114, NOON),
        (1184, NOON_UTC),
        (1186, datetime.timedelta(days=3, seconds=7)),
    ],
    "numeric": [
        (1700, decimal.Decimal("1234.56")),
        (1700, decimal.Decimal("-0.000001")),
        (1700, decimal.Decimal("98765432109876543210.123456789")),
    ],
    "others": [
        (2950, uuid.UUID(int=1 << 90)),
        (3802, '{"key": [1, 2, 3]}'),
        (869, ipaddress.ip_address("192.0.2.7")),
    ],
    "arrays": [(1007, list(range(20))), (1009, ["a", None, "ccc"]), (1022, [0.5] * 8)],
}

#: The row of the long fetch: six types that tables are made of.
SIX = [
    (INT4, 123_456),
    (TEXT, "a text of some length"),
    (701, 2.5),
    (1184, NOON_UTC),
    (1700, decimal.Decimal("19.90")),
    (16, True),
]


async def encoded(row: Sequence[tuple[int, Any]]) -> list[bytes]:
    """A row as it travels, by our own encoders."""
    oids = [oid for oid, _ in row]
    connection, script = await connected({"ENCODE": Answer(parameters=oids)})
    await connection.fetch("ENCODE", *[value for _, value in row])
    return parameters_of(script.binds[-1])


async def connected(answers: dict[str, Answer]) -> tuple[Any, Script]:
    """A connection to a script of its own."""
    import chopin

    loop = asyncio.get_running_loop()
    assert isinstance(loop, ScriptedLoop)
    loop.script = Script(answers)
    return await chopin.connect(DSN), loop.script


def one_row(columns: int = 2) -> Answer:
    """One row of int4."""
    row = [b"\0\0\0\7"] * columns
    return Answer((INT4,), (INT4,) * columns, (row,))


# -- one connection ------------------------------------------------------------------


async def fetch_one() -> Run:
    connection, _ = await connected({SELECT: one_row()})
    return functools.partial(connection.fetch, SELECT, 7)


async def fetchval_one() -> Run:
    connection, _ = await connected({SELECT: one_row()})
    return functools.partial(connection.fetchval, SELECT, 7)


async def fetch_six(rows: int) -> Run:
    answer = Answer((), [oid for oid, _ in SIX], [await encoded(SIX)] * rows)
    connection, _ = await connected({WIDE: answer})
    return functools.partial(connection.fetch, WIDE)


async def fetch_pipelined() -> Run:
    connection, _ = await connected({SELECT: one_row()})
    fetch = connection.fetch

    async def run() -> None:
        await asyncio.gather(*[fetch(SELECT, number) for number in range(AT_ONCE)])

    return run


async def executemany(rows: int) -> Run:
    answer = Answer((INT4, TEXT, INT8), tag="INSERT 0 1")
    connection, _ = await connected({INSERT: answer})
    values = [(number, f"row {number}", number << 33) for number in range(rows)]
    return functools.partial(connection.executemany, INSERT, values)


async def transaction() -> Run:
    answer = Answer((INT4, TEXT, INT8), tag="INSERT 0 1")
    connection, _ = await connected({INSERT: answer})

    async def run() -> None:
        async with connection.transaction():
            await connection.execute(INSERT, 1, "one", 1)

    return run


async def first_use() -> Run:
    """Parse, describe and plan a statement of 20 columns; nothing is kept of it."""
    import chopin

    loop = asyncio.get_running_loop()
    assert isinstance(loop, ScriptedLoop)
    loop.script = Script({SELECT: one_row(columns=20)})
    connection = await chopin.connect(DSN, statement_cache_size=0)
    return functools.partial(connection.fetch, SELECT, 7)


async def connect() -> Run:
    connection, _ = await connected({})
    await connection.close()

    async def run() -> None:
        import chopin

        await (await chopin.connect(DSN)).close()

    return run


# -- a pool --------------------------------------------------------------------------


async def opened_pool(size: int) -> Any:
    """A pool whose connections have all run the statement, and know it to be fast."""
    import chopin

    loop = asyncio.get_running_loop()
    assert isinstance(loop, ScriptedLoop)
    loop.script = Script({SELECT: one_row(), "SELECT 1": one_row()})
    pool = await chopin.create_pool(DSN, min_size=size, max_size=size)
    connections = [await pool.acquire() for _ in range(size)]
    for connection in connections:
        await connection.fetch(SELECT, 7)
        await pool.release(connection)
    return pool


async def pool_fetch() -> Run:
    pool = await opened_pool(1)
    return functools.partial(pool.fetch, SELECT, 7)


async def pool_acquire() -> Run:
    pool = await opened_pool(1)

    async def run() -> None:
        async with pool.acquire() as connection:
            await connection.fetch(SELECT, 7)

    return run


async def pool_at_once() -> Run:
    """Twice as many reads as there are connections: the later half rides."""
    pool = await opened_pool(AT_ONCE // 2)
    fetch = pool.fetch

    async def run() -> None:
        await asyncio.gather(*[fetch(SELECT, number) for number in range(AT_ONCE)])

    return run


# -- values --------------------------------------------------------------------------


async def encode(family: str, rows: int) -> Run:
    pairs = FAMILIES[family]
    answer = Answer([oid for oid, _ in pairs], tag="INSERT 0 1")
    connection, _ = await connected({INSERT: answer})
    values = [tuple(value for _, value in pairs)] * rows
    return functools.partial(connection.executemany, INSERT, values)


async def decode(family: str, rows: int) -> Run:
    pairs = FAMILIES[family]
    answer = Answer((), [oid for oid, _ in pairs], [await encoded(pairs)] * rows)
    connection, _ = await connected({WIDE: answer})
    return functools.partial(connection.fetch, WIDE)


# -- the table -----------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A row of the gate's table.

    Attributes:
        what: is counted, for people.
        prepare: makes the connection, and returns what is run.
        times: N; the count is the difference between 2N and N runs.
        per: what the count is divided by beside N, the rows of one run.
    """

    what: str
    prepare: Callable[[], Awaitable[Run]]
    times: int
    per: int = 1


ROWS = 10_000
MANY = 1_000
FEW = 200

WORKS: dict[str, Work] = {
    "fetch_one": Work("fetch of one row", fetch_one, 400),
    "fetchval_one": Work("fetchval of one row", fetchval_one, 400),
    "fetch_pipelined": Work("one of 20 fetches at once", fetch_pipelined, 30, AT_ONCE),
    "fetch_10000": Work(
        "row of 10,000 with six types", functools.partial(fetch_six, ROWS), 1, ROWS
    ),
    "executemany_1000": Work(
        "row of executemany", functools.partial(executemany, MANY), 4, MANY
    ),
    "transaction": Work("transaction with one statement", transaction, 100),
    "first_use": Work("first use of a statement", first_use, 60),
    "connect": Work("connect and close", connect, 20),
    "pool_fetch": Work("pool.fetch of one row", pool_fetch, 400),
    "pool_acquire": Work("acquire, fetch, release", pool_acquire, 200),
    "pool_at_once": Work("one of 20 pool.fetch at once", pool_at_once, 30, AT_ONCE),
    **{
        f"{verb}_{family}": Work(
            f"row of {family}, {verb}d",
            functools.partial(function, family, FEW),
            8,
            FEW,
        )
        for verb, function in (("encode", encode), ("decode", decode))
        for family in FAMILIES
    },
}


def mark() -> None:
    """Call the function of the C library that the counting tool looks out for."""
    os.getpriority(os.PRIO_PROCESS, 0)


async def count(work: Work) -> None:
    """Between the first two marks it runs N times, between the last two 2N times."""
    run = await work.prepare()

    async def repeat(times: int) -> None:
        for _ in range(times):
            await run()

    await repeat(max(2, WARM // work.per))
    for times in (work.times, 2 * work.times):
        gc.collect()
        gc.freeze()
        mark()
        await repeat(times)
        mark()


def run_work(name: str) -> None:
    """Count one workload."""
    with asyncio.Runner(loop_factory=ScriptedLoop) as runner:
        runner.run(count(WORKS[name]))


def run_forked(name: str) -> None:
    """Count one workload in a process of its own, and end that.

    What has been imported is there already; what another workload does to the memory
    is not. Nothing is taken apart in the end: the counting is over.
    """
    status = 1
    try:
        run_work(name)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(names: Sequence[str], jobs: int) -> int:
    """Count these workloads, so many at a time; prints the process id of each."""
    import chopin  # noqa: F401  # once, for all of them

    waiting = list(reversed(names))
    running: set[int] = set()
    worst = 0
    while waiting or running:
        if waiting and len(running) < jobs:
            name = waiting.pop()
            pid = os.fork()
            if not pid:
                run_forked(name)
            running.add(pid)
            print(name, pid, flush=True)
            continue
        pid, status = os.wait()
        running.discard(pid)
        worst = max(worst, os.waitstatus_to_exitcode(status))
    return worst


if __name__ == "__main__":
    stop_time()
    sys.exit(main(sys.argv[2:], int(sys.argv[1])))
