"""What the candidates are given to do, one row of a table per workload.

Owns: the seven workloads of the chopin-pg benchmark (the same SQL, the same random
numbers, the same counts with ``--full``), their pipelined forms, connecting, first use
of a statement and the simple query. Bulk work (rows, executemany) is in ``rows``.
Rules:
- One raw connection per candidate, prepared statements cached, autocommit.
- Every candidate has a schema of its own, so the SQL text is the same for all and
  nobody works on a table that another one has bloated.
- What is run is computed before the clock starts. Each run returns something that
  must be equal for all candidates; `state` is compared as well where tables change.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.candidates import Session
from bench.limit import Limit, RawConnection, int4, serial_limit
from bench.pgscript import script

MASK = 0xFFFFFFFF
WORLD_ROWS = 10_000
CRUD_ROWS = 10_000
CRUD_WARM_ID = 20_000
QUERY_COUNTS = (1, 5, 10, 15, 20)

Items = Sequence[Any]
Opener = Callable[[], Awaitable[Session]]


@dataclass(frozen=True)
class Seat:
    """What one candidate has at hand in one workload."""

    session: Session
    connect_trust: Opener | None = None
    connect_scram: Opener | None = None


@dataclass(frozen=True)
class Sizes:
    """How many operations one sample has: quick, by default, and in full.

    With 0 the workload is left out at that scale.
    """

    quick: int
    default: int
    full: int

    def of(self, scale: str) -> int:
        """The number for 'quick', 'default' or 'full'."""
        sizes = {"quick": self.quick, "default": self.default, "full": self.full}
        return sizes[scale]


@dataclass(frozen=True)
class Workload:
    """One row of the table: what is run, on what, and how it is checked.

    `inputs` gives what the operations work on, endlessly; `run` works through a list
    of them. At most `warm` operations are run before the first sample, and at least
    `least_warm`, on `warm_inputs` where those differ. `before` is SQL that is run in
    the candidate's schema ahead of every sample, outside the clock; `state` is a query
    whose result must be the same in all schemas in the end. A sample is taken in
    `slices`, between which the candidates take turns. `limit` makes, from the same
    inputs, the raw exchange that shows what the server can do. `needs` names an opener
    of Seat.
    `tables` is SQL that makes, where it is missing, what all candidates read. An item
    stands for `weight` of the units that are counted. `pgbench` is the same work as a
    script for pgbench, PostgreSQL's own client in C. `lacking` names candidates that
    have no way to do it; with `is_countable` its round trips are counted. With
    `is_serial` client and server never work at the same time, see ``cores``.
    """

    name: str
    group: str
    unit: str
    sizes: Sizes
    inputs: Callable[[], Iterator[Any]]
    run: Callable[[Seat, Items], Awaitable[Any]]
    warm: int = 200
    least_warm: int = 1
    slices: int = 8
    warm_inputs: Callable[[], Iterator[Any]] | None = None
    before: str = ""
    state: str = ""
    limit: Limit | None = None
    needs: str = ""
    tables: tuple[str, ...] = ()
    weight: int = 1
    pgbench: str = ""
    lacking: tuple[str, ...] = ()
    is_countable: bool = True
    is_serial: bool = False

    @property
    def is_divisible(self) -> bool:
        """Whether any number of items will do: they can be run slice by slice."""
        return self.slices > 1

    def least_of(self, scale: str) -> int:
        """The fewest items in a sample: one for each slice, or one at all."""
        return 1 if scale == "quick" else self.slices

    @property
    def counted(self) -> int:
        """The items whose round trips are counted."""
        return 1


def random_ids(seed: int) -> Iterator[int]:
    """The ids 1..10000 of the original benchmark: xorshift32 from this seed."""
    state = seed
    while True:
        state ^= (state << 13) & MASK
        state ^= state >> 17
        state ^= (state << 5) & MASK
        yield 1 + state % WORLD_ROWS


def world_values() -> list[tuple[int, int]]:
    """The rows of the table world: its generator starts anew with every 1000 rows."""
    rows: list[tuple[int, int]] = []
    for first in range(1, WORLD_ROWS + 1, 1000):
        numbers = random_ids((first * 0x9E3779B9) & MASK)
        rows += [(first + offset, next(numbers)) for offset in range(1000)]
    return rows


def setup_statements() -> list[str]:
    """SQL that fills the schema of one candidate, to be run one by one."""
    values = ", ".join(f"({key}, {number})" for key, number in world_values())
    return [
        "CREATE TABLE world (id INT PRIMARY KEY, randomnumber INT NOT NULL)",
        f"INSERT INTO world (id, randomnumber) VALUES {values}",
        "CREATE TABLE crud (id INT PRIMARY KEY, val TEXT, count INT)",
        f"INSERT INTO crud (id, val, count) SELECT i, 'val_' || i, i"
        f" FROM generate_series(0, {CRUD_ROWS - 1}) AS i",
        "CREATE UNLOGGED TABLE bulk (id int4, name text, ratio float8)",
        # Plans must not differ between candidates for want of statistics.
        "VACUUM ANALYZE world",
        "VACUUM ANALYZE crud",
    ]


# -- the seven workloads, one query after the other ---------------------------------

SELECT_1 = "SELECT 1"
PARAMETER = "SELECT $1::int4 + $2::int4"
CRUD_SELECT = "SELECT val FROM crud WHERE id = $1"
CRUD_UPDATE = "UPDATE crud SET count = count + 1 WHERE id = $1"
CRUD_INSERT = (
    "INSERT INTO crud (id, val, count) VALUES ($1, $2, $3)"
    " ON CONFLICT (id) DO UPDATE SET count = crud.count + 1"
)
WORLD_SELECT = "SELECT id, randomnumber FROM world WHERE id = $1"
WORLD_UPDATE = "UPDATE world SET randomnumber = $1 WHERE id = $2"
WORLD_UPDATE_BATCH = (
    "UPDATE world SET randomnumber = new.number"
    " FROM unnest($1::int4[], $2::int4[]) AS new (id, number) WHERE world.id = new.id"
)


async def run_select_1(seat: Seat, items: Items) -> Any:
    fetchrow = seat.session.fetchrow
    row = None
    for _ in items:
        row = await fetchrow(SELECT_1)
    return row and row[0]


async def run_parameter(seat: Seat, items: Items) -> Any:
    fetchrow = seat.session.fetchrow
    row = None
    for number in items:
        row = await fetchrow(PARAMETER, number, 10)
    return row and row[0]


async def run_crud_select(seat: Seat, items: Items) -> Any:
    fetchrow = seat.session.fetchrow
    row = None
    for key in items:
        row = await fetchrow(CRUD_SELECT, key)
    return row and row[0]


async def run_crud_update(seat: Seat, items: Items) -> None:
    execute = seat.session.execute
    for key in items:
        await execute(CRUD_UPDATE, key)


async def run_crud_insert(seat: Seat, items: Items) -> None:
    execute = seat.session.execute
    for key in items:
        await execute(CRUD_INSERT, key, "new", 0)


async def run_multi(seat: Seat, items: Items) -> Any:
    fetchrow = seat.session.fetchrow
    rows: list[Any] = []
    for request in items:
        rows = [await fetchrow(WORLD_SELECT, key) for key in request]
    return [tuple(row) for row in rows]


async def run_updates(seat: Seat, items: Items) -> None:
    fetchrow, execute = seat.session.fetchrow, seat.session.execute
    for request in items:
        for key, number in request:
            row = await fetchrow(WORLD_SELECT, key)
            await execute(WORLD_UPDATE, number, row[0])


def limit_of_multi(raw: RawConnection, items: Items) -> Callable[[], None]:
    """One raw round trip for each id of each request."""
    one_by_one = serial_limit(WORLD_SELECT, lambda key: [int4(key)], "SELECT 1")
    return one_by_one(raw, [key for request in items for key in request])


def requests_of(seed: int, count: int) -> Callable[[], Iterator[list[int]]]:
    """Requests of `count` ids each."""

    def inputs() -> Iterator[list[int]]:
        ids = random_ids(seed)
        while True:
            yield [next(ids) for _ in range(count)]

    return inputs


def changes_of(seed: int, count: int) -> Callable[[], Iterator[list[tuple[int, int]]]]:
    """Requests of `count` pairs: the id to change, its new number."""

    def inputs() -> Iterator[list[tuple[int, int]]]:
        ids = random_ids(seed)
        while True:
            yield [(next(ids), next(ids)) for _ in range(count)]

    return inputs


def batches_of(seed: int, count: int) -> Callable[[], Iterator[list[tuple[int, int]]]]:
    """As changes_of, but an id comes once: one UPDATE changes a row only once."""

    def inputs() -> Iterator[list[tuple[int, int]]]:
        ids = random_ids(seed)
        while True:
            batch: dict[int, int] = {}
            while len(batch) < count:
                batch.setdefault(next(ids), next(ids))
            yield sorted(batch.items())

    return inputs


def crud_ids(seed: int) -> Callable[[], Iterator[int]]:
    """Keys of rows that exist in the table crud."""
    return lambda: (number % CRUD_ROWS for number in random_ids(seed))


def new_crud_ids() -> Iterator[int]:
    """Keys that the table crud does not have yet."""
    return (key for key in itertools.count(CRUD_ROWS) if key != CRUD_WARM_ID)


SERIAL = [
    Workload(
        "select_1",
        "serial reads",
        "q/s",
        Sizes(500, 1500, 100_000),
        lambda: random_ids(1),
        run_select_1,
        limit=serial_limit(SELECT_1, lambda _: (), "SELECT 1"),
        pgbench=script([SELECT_1]),
        is_serial=True,
    ),
    Workload(
        "param",
        "serial reads",
        "q/s",
        Sizes(500, 1500, 100_000),
        lambda: random_ids(0x9E3779B9),
        run_parameter,
        limit=serial_limit(PARAMETER, lambda key: map(int4, (key, 10)), "SELECT 1"),
        pgbench=script([PARAMETER]),
        is_serial=True,
    ),
    Workload(
        "crud_select",
        "serial reads",
        "q/s",
        Sizes(500, 1500, 10_000),
        crud_ids(0xDEADBEEF),
        run_crud_select,
        limit=serial_limit(CRUD_SELECT, lambda key: [int4(key)], "SELECT 1"),
        pgbench=script([CRUD_SELECT]),
        is_serial=True,
    ),
    *(
        Workload(
            f"multi_{count}",
            "serial reads",
            "req/s",
            Sizes(max(500 // count, 25), max(1500 // count, 75), 500),
            requests_of(0xABCDEF01, count),
            run_multi,
            warm_inputs=requests_of(0x12345678, count),
            limit=limit_of_multi,
            pgbench=script([WORLD_SELECT] * count),
            is_serial=True,
        )
        for count in QUERY_COUNTS
    ),
    Workload(
        "crud_update",
        "serial writes",
        "q/s",
        Sizes(400, 1200, 10_000),
        crud_ids(0xCAFEF00D),
        run_crud_update,
        before="VACUUM crud",
        state="SELECT count(*), sum(count) FROM crud",
        limit=serial_limit(CRUD_UPDATE, lambda key: [int4(key)], "UPDATE 1"),
        pgbench=script([CRUD_UPDATE]),
        is_serial=True,
    ),
    Workload(
        "crud_insert",
        "serial writes",
        "q/s",
        Sizes(400, 1200, 10_000),
        new_crud_ids,
        run_crud_insert,
        warm_inputs=lambda: itertools.repeat(CRUD_WARM_ID),
        before="VACUUM crud",
        state="SELECT count(*), max(id), sum(count) FROM crud",
        is_serial=True,
    ),
    *(
        Workload(
            f"updates_{count}",
            "serial writes",
            "req/s",
            Sizes(max(200 // count, 12), max(600 // count, 36), 500),
            changes_of(0x13572468, count),
            run_updates,
            warm_inputs=changes_of(0x24681357, count),
            before="VACUUM world",
            state="SELECT count(*), sum(randomnumber) FROM world",
            pgbench=script([WORLD_SELECT, WORLD_UPDATE] * count),
            is_serial=True,
        )
        for count in QUERY_COUNTS
    ),
]


# -- many at once on one connection -------------------------------------------------


async def run_multi_pipelined(seat: Seat, items: Items) -> Any:
    fetchrow_many = seat.session.fetchrow_many
    rows: list[Any] = []
    for request in items:
        rows = await fetchrow_many(WORLD_SELECT, [(key,) for key in request])
    return [tuple(row) for row in rows]


async def run_updates_batched(seat: Seat, items: Items) -> None:
    fetchrow_many = seat.session.fetchrow_many
    execute = seat.session.execute
    for request in items:
        rows = await fetchrow_many(WORLD_SELECT, [(key,) for key, _ in request])
        numbers = [number for _, number in request]
        await execute(WORLD_UPDATE_BATCH, [row[0] for row in rows], numbers)


def different_statements(seed: int) -> Callable[[], Iterator[list[tuple[str, int]]]]:
    """Requests of 20 statements that differ in their texts, each with an id."""

    def inputs() -> Iterator[list[tuple[str, int]]]:
        ids = random_ids(seed)
        while True:
            yield [(text, next(ids)) for text in DIFFERENT]

    return inputs


DIFFERENT = [
    f"SELECT id, randomnumber + {number} AS n FROM world WHERE id = $1"
    for number in range(20)
]


async def run_batch(seat: Seat, items: Items) -> Any:
    batch = seat.session.batch
    results: list[Any] = []
    for request in items:
        results = await batch(request)
    return [tuple(row) for rows in results for row in rows]


async def run_pipeline(seat: Seat, items: Items) -> Any:
    pipeline = seat.session.pipeline
    rows: list[Any] = []
    for request in items:
        rows = await pipeline(request)
    return [tuple(row) for row in rows]


PIPELINED = [
    *(
        Workload(
            name,
            "pipelined",
            "req/s",
            Sizes(40, 150, 500),
            different_statements(0xABCDEF01),
            run,
            warm_inputs=different_statements(0x12345678),
            # The server plans a statement anew the first five times.
            least_warm=6,
        )
        for name, run in (("batch_20", run_batch), ("pipeline_20", run_pipeline))
    ),
    *(
        Workload(
            f"multi_pipelined_{count}",
            "pipelined",
            "req/s",
            Sizes(max(800 // count, 40), max(3000 // count, 150), 500),
            requests_of(0xABCDEF01, count),
            run_multi_pipelined,
            warm_inputs=requests_of(0x12345678, count),
            pgbench=script([WORLD_SELECT] * count, is_pipelined=True),
            is_serial=count == 1,
        )
        for count in QUERY_COUNTS
    ),
    *(
        Workload(
            f"updates_batched_{count}",
            "pipelined",
            "req/s",
            Sizes(max(400 // count, 20), max(1200 // count, 60), 500),
            batches_of(0x13572468, count),
            run_updates_batched,
            warm_inputs=batches_of(0x24681357, count),
            before="VACUUM world",
            state="SELECT count(*), sum(randomnumber) FROM world",
            is_serial=count == 1,
        )
        for count in QUERY_COUNTS
    ),
]


# -- connecting, first use, simple queries ------------------------------------------


async def run_connect_trust(seat: Seat, items: Items) -> None:
    assert seat.connect_trust is not None
    for _ in items:
        session = await seat.connect_trust()
        await session.close()


async def run_connect_scram(seat: Seat, items: Items) -> None:
    assert seat.connect_scram is not None
    for _ in items:
        session = await seat.connect_scram()
        await session.close()


async def run_first_use(seat: Seat, items: Items) -> Any:
    fetchrow = seat.session.fetchrow
    row = None
    for number in items:
        row = await fetchrow(f"SELECT $1::int4 + {number}", 1)
    return row and row[0]


async def run_first_use_plain(seat: Seat, items: Items) -> Any:
    fetchrow = seat.session.fetchrow
    row = None
    for number in items:
        row = await fetchrow(f"SELECT {number}")
    return row and row[0]


async def run_script(seat: Seat, items: Items) -> None:
    script = seat.session.script
    for _ in items:
        await script(SELECT_1)


OCCASIONAL = [
    Workload(
        "first_use",
        "connection",
        "q/s",
        Sizes(100, 400, 2000),
        itertools.count,
        run_first_use,
        warm_inputs=lambda: itertools.count(10_000_000),
        is_serial=True,
    ),
    Workload(
        "first_use_plain",
        "connection",
        "q/s",
        Sizes(100, 400, 2000),
        itertools.count,
        run_first_use_plain,
        warm_inputs=lambda: itertools.count(10_000_000),
        is_serial=True,
    ),
    Workload(
        "script",
        "connection",
        "q/s",
        Sizes(500, 1500, 20_000),
        itertools.count,
        run_script,
        is_serial=True,
    ),
    Workload(
        "connect_trust",
        "connection",
        "conn/s",
        Sizes(15, 40, 200),
        itertools.count,
        run_connect_trust,
        warm=3,
        slices=3,
        needs="connect_trust",
    ),
    Workload(
        "connect_scram",
        "connection",
        "conn/s",
        Sizes(15, 40, 200),
        itertools.count,
        run_connect_scram,
        warm=3,
        slices=3,
        needs="connect_scram",
    ),
]
