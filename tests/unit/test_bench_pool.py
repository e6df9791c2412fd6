"""The benchmark of pools: its tasks, its stages, its contest, its tables and goals."""

import asyncio
import itertools
import json
import os
import threading
from contextlib import asynccontextmanager

import pytest

from bench import poolmemory, poolwork, poolworkers
from bench.goals import GOALS, Goal, judge
from bench.measure import NOTHING, Outcome, Sample
from bench.poolcontest import STAGES, PoolContest, PoolPlan
from bench.pools import POOLS, Opening, PoolCandidate, importable_pools
from bench.poolstages import (
    LoopStage,
    MemorySample,
    Played,
    PoolSample,
    ThreadStage,
    open_pool,
    percentiles,
    timed,
)
from bench.poolwork import (
    MEMORY,
    READ,
    PoolWorkload,
    Sizes,
    marked,
    number_of,
    run_acquire,
    run_mixed,
    run_reads,
    run_slow,
    run_transaction,
    run_writes,
)
from bench.poolworkers import Errand, WorkerStage, joined
from bench.registry import POOL_WORKLOADS, chosen_workloads
from bench.report import goals_table, pools_tables
from bench.server import Target
from bench.stats import CPU, P99, THROUGHPUT, figure, ratio
from bench.stats import MEMORY as MEMORY_MEASURE
from bench.words import BenchError

TARGET = Target("postgresql://nowhere/x", private=False)


class FakeConnection:
    """Answers reads with (id, 10 times the id), and the write with its arguments."""

    def __init__(self):
        self.statements = []

    async def fetchrow(self, query, *args):
        """A row, after a turn of the loop."""
        await asyncio.sleep(0)
        self.statements.append((query.partition(" ")[0], *args))
        return args[0], args[0] * 10

    @asynccontextmanager
    async def transaction(self):
        """Note where it begins and ends."""
        self.statements.append("begin")
        yield
        self.statements.append("commit")


class FakePool:
    """A pool of so many connections; it knows how many were lent at the same time."""

    def __init__(self, size=2, tag="UPDATE 1"):
        self.connections = [FakeConnection() for _ in range(size)]
        self.idle = list(self.connections)
        self.lent = self.most_lent = 0
        self.busy = self.most_busy = 0
        self.tag = tag
        self.threads = set()
        self.asked = []
        self.is_closed = False

    def size(self):
        """All of them."""
        return len(self.connections)

    @asynccontextmanager
    async def acquire(self):
        """The next that is idle, or the first again."""
        connection = self.idle.pop() if self.idle else self.connections[0]
        self.lent += 1
        self.most_lent = max(self.most_lent, self.lent)
        yield connection
        self.lent -= 1
        self.idle.append(connection)

    async def fetchrow(self, query, *args):
        """A row; `busy` counts the callers inside."""
        self.threads.add(threading.get_ident())
        self.asked.append(args[0])
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        return args[0], args[0] * 10

    async def execute(self, query, *args):
        """The command tag."""
        return self.tag

    async def close(self):
        """Remember it."""
        self.is_closed = True


def workload(run=run_reads, **fields):
    """A workload of 20 operations on 2 connections, by 4 tasks if nothing is said."""
    fields = {"tasks": 4, "size": 2, "slices": 1, **fields}
    return PoolWorkload(
        *("pool_fake", "fakes", "q/s", Sizes(20, 20, 20), itertools.count, run),
        **fields,
    )


def candidate(name, pool):
    """A candidate whose pool is known, or cannot be had."""

    def enter_of(module, opening):
        async def enter():
            if isinstance(pool, Exception):
                raise pool
            return pool

        return enter

    return PoolCandidate(name, "asyncpg", "asyncpg.create_pool", enter_of, "fake")


# -- candidates ---------------------------------------------------------------------


def test_a_driver_means_all_its_pools(monkeypatch):
    """A pool's own name means that one; drivers without a pool are passed over."""
    monkeypatch.setattr(PoolCandidate, "why_not", lambda self: "")
    found, reasons = importable_pools(["asyncpg", "chopin_depth_1", "psqlpy"])
    assert [pool.name for pool in found] == [
        "asyncpg",
        "asyncpg_noreset",
        "chopin_depth_1",
    ]
    assert reasons == []


def test_unknown_and_missing_pools_are_told():
    """With what there is, and with why not."""
    found, reasons = importable_pools(["nosuchpool"])
    assert found == []
    assert reasons[0].startswith("nosuchpool: no such pool, known are chopin,")
    missing = PoolCandidate("x", "asyncpg", "asyncpg.no_such_name", None, "fake")
    assert "no_such_name" in missing.why_not()
    missing = PoolCandidate("x", "asyncpg", "no_such_module.name", None, "fake")
    assert "no_such_module" in missing.why_not()


def test_connections_are_shared_by_the_loops():
    """Ten in all: five for each of two loops; the path is without spaces."""
    opening = Opening("postgresql://x", "asyncpg", 10, loops=2)
    assert opening.part == 5
    assert opening.path == "bench_asyncpg,bench_shared,public"


class FakeModule:
    """A driver that notes what its pool is made with."""

    class Connection:
        """A base with a reset query."""

        def get_reset_query(self):
            """Something to reset."""
            return "RESET ALL"

    def __init__(self):
        self.options = []

    def create_pool(self, dsn, **options):
        """An awaitable of a pool."""
        self.options.append(options)
        pool = FakePool()
        pool.get_size = pool.size

        class Opened:
            fetchrow, execute, acquire = pool.fetchrow, pool.execute, pool.acquire
            get_size, close = pool.size, pool.close

            def __await__(self):
                yield from ()
                return self

        return Opened()


async def test_asyncpg_has_a_pool_for_every_loop_and_chopin_one_for_all():
    """All connections are open at once; Chopin's knows how many a loop may have."""
    module, opening = FakeModule(), Opening("postgresql://x", "any", 10, loops=2)
    enter = POOLS["asyncpg"].enter_of(module, opening)
    await enter()
    await enter()
    assert [(one["min_size"], one["max_size"]) for one in module.options] == [
        (5, 5)
    ] * 2
    module = FakeModule()
    enter = POOLS["chopin"].enter_of(module, opening)
    await enter()
    await enter()
    assert [
        (one["min_size"], one["max_size"], one["per_loop"]) for one in module.options
    ] == [(5, 10, 5)]


async def test_variations_differ_in_what_they_say():
    """No reset, and nothing that rides."""
    module, opening = FakeModule(), Opening("postgresql://x", "any", 10)
    await POOLS["asyncpg_noreset"].enter_of(module, opening)()
    await POOLS["chopin_depth_1"].enter_of(module, opening)()
    no_reset, alone = module.options
    assert no_reset["connection_class"]().get_reset_query() == ""
    assert alone["pipeline_depth"] == 1


# -- workloads ----------------------------------------------------------------------


@pytest.mark.parametrize("one", POOL_WORKLOADS.values(), ids=lambda one: one.name)
def test_workloads_can_be_played(one):
    """Inputs repeat themselves, stages and pools exist, a turn is the whole sample."""
    first = list(itertools.islice(one.inputs(), 50))
    assert first == list(itertools.islice(one.inputs(), 50))
    assert one.stage in STAGES
    assert set(one.pools) <= set(POOLS)
    assert one.slices == 1
    # Nobody is idle from the beginning.
    sizes = [one.sizes.of(scale) for scale in ("quick", "default")]
    assert one.tasks <= min(filter(None, sizes))
    assert one.tasks <= one.least_of("quick") <= one.least_of("default")


def test_pools_are_picked_by_one_word_or_by_pattern():
    """And with the workloads of one connection where both are named."""
    connection, pool, _ = chosen_workloads(["pool"])
    assert (connection, pool) == ([], list(POOL_WORKLOADS.values()))
    connection, pool, _ = chosen_workloads(["connection", "pool_reads_1*"])
    assert len(connection) > 20
    names = [one.name for one in pool]
    assert names == ["pool_reads_1", "pool_reads_10", "pool_reads_1000"]


def test_one_of_so_many_is_marked():
    """In the middle of them, so that samples neither begin nor end with it."""
    first = list(itertools.islice(marked(100)(), 200))
    assert [index for index, (is_marked, _) in enumerate(first) if is_marked] == [
        50,
        150,
    ]


def test_the_number_of_a_row_follows_from_its_id():
    """All are in the range of the table, and not all the same."""
    numbers = {number_of(key) for key in range(1, 10_001)}
    assert min(numbers) >= 1 and max(numbers) <= 10_000
    assert len(numbers) == 10_000


@pytest.mark.parametrize(
    ("run", "items", "total", "timed_operations"),
    [
        (run_reads, [1, 2], 30, 2),
        (run_writes, [1, 2], 2, 2),
        (run_mixed, [(True, 5), (False, 7)], 8, 2),
        (run_slow, [(True, 5), (False, 7)], 70, 1),
        (run_acquire, [1, 2], 30, 2),
        (run_transaction, [3], 3 + number_of(3), 1),
    ],
)
async def test_a_task_returns_what_it_saw(run, items, total, timed_operations):
    """A sum that is equal for all pools, and a latency for each but the sleepers."""
    latencies = []
    assert await run(FakePool(), iter(items), latencies.append) == total
    assert len(latencies) == timed_operations
    assert all(seconds > 0 for seconds in latencies)


async def test_a_write_that_changed_nothing_is_not_counted():
    """The command tag says what was done."""
    for run, items in ((run_writes, [1, 2]), (run_mixed, [(True, 5)])):
        assert await run(FakePool(tag="UPDATE 0"), iter(items), [].append) == 0


async def test_offered_operations_begin_when_they_are_due(monkeypatch):
    """They wait for nobody before them; latencies count from when they were due."""
    monkeypatch.setattr(poolwork, "OFFERED", 1e9)
    pool, latencies = FakePool(), []
    items = [(True, 0), *((False, key) for key in range(1, 10))]
    assert await poolwork.run_offered(pool, iter(items), latencies.append) == 450
    assert pool.most_busy == 10
    assert len(latencies) == 9


async def test_offered_operations_are_spread_in_time(monkeypatch):
    """Each sleep ends when the next one is due, and from then on its latency counts."""
    now, pauses, latencies = 10.0, [], []

    async def sleep(seconds):
        # Of 0 seconds it is what the pool does, and takes one; all come at the end.
        nonlocal now
        now += seconds or 1.0
        if seconds:
            pauses.append(seconds)

    monkeypatch.setattr(poolwork, "clock", lambda: now)
    monkeypatch.setattr(poolwork.asyncio, "sleep", sleep)
    monkeypatch.setattr(poolwork, "OFFERED", 4)
    items = [(False, key) for key in range(1, 5)]
    total = await poolwork.run_offered(FakePool(), iter(items), latencies.append)
    assert total == 100
    assert pauses == [0.25, 0.25, 0.25]
    assert latencies == [1.75, 2.5, 3.25, 4.0]


async def test_a_transaction_is_two_statements_on_one_connection():
    """Within its block."""
    pool = FakePool(size=1)
    await run_transaction(pool, iter([3]), [].append)
    assert pool.connections[0].statements == [
        *("begin", ("SELECT", 3), ("UPDATE", number_of(3), 3), "commit")
    ]


# -- stages -------------------------------------------------------------------------


def test_percentiles_of_a_hundred_and_one():
    """The 50th and the 99th of 0 to 100; one value is both."""
    assert percentiles([float(value) for value in reversed(range(101))]) == (
        *(50.0, 99.0, 99.9),
    )
    assert percentiles([7.0]) == (7.0, 7.0, 7.0)


def test_a_sample_is_told_its_latencies():
    """Or is the stage's own, where the clocks were elsewhere."""
    played = Played(1, [1.0, 1.0, 1.0])
    assert timed(Sample(2.0, 1.0), played) == PoolSample(2.0, 1.0, 1.0, 1.0, 1.0)
    memory = MemorySample(3.0, 1.0, 20.0)
    assert timed(Sample(2.0, 1.0), Played(1, sample=memory)) is memory
    elsewhere = Played(1, [1.0], Sample(9.0, 8.0))
    assert timed(Sample(2.0, 1.0), elsewhere) == PoolSample(9.0, 8.0, 1.0, 1.0, 1.0)


def test_a_sample_with_latencies_is_of_one_turn():
    """Percentiles of two turns cannot be added."""
    sample = PoolSample(2.0, 1.0, 0.1, 0.2, 0.2)
    assert NOTHING + sample is sample
    for before in (sample, Sample(1.0, 1.0)):
        with pytest.raises(ValueError, match="one slice"):
            before + sample


async def test_tasks_share_the_operations():
    """Every one is done once, and by as many tasks at a time as there are."""
    pool = FakePool()
    stage = LoopStage(pool, workload(), 4)
    played = await stage.play(list(range(1, 21)))
    assert sorted(pool.asked) == list(range(1, 21))
    assert pool.most_busy == 4
    assert played.check == sum(range(10, 210, 10))
    assert len(played.latencies) == 20
    await stage.close()
    assert pool.is_closed


async def test_every_connection_is_warm_before_the_clock():
    """All are lent at once, and run the statements."""
    pool = FakePool(size=3)
    one = workload(size=3, statements=(READ,))
    stage = await LoopStage.open(candidate("asyncpg", pool), one, TARGET)
    assert pool.most_lent == 3
    assert [connection.statements for connection in pool.connections] == [
        [("SELECT", 1)]
    ] * 3
    await stage.close()


async def test_a_pool_that_is_too_small_does_not_play():
    """It would be measured with fewer connections than the others; it is closed."""
    pool = FakePool(size=1)

    async def enter():
        return pool

    with pytest.raises(BenchError, match="1 connections are open, not 2"):
        await open_pool(enter, 2, workload())
    assert pool.is_closed


async def test_threads_take_a_part_each():
    """Each has a pool of its own, in its own thread, and none of them is this one."""
    made = []

    def enter_of(module, opening):
        async def enter():
            made.append(FakePool(opening.part))
            return made[-1]

        return enter

    one = PoolCandidate("asyncpg", "asyncpg", "asyncpg.create_pool", enter_of, "fake")
    stage = await ThreadStage.open(one, workload(), TARGET)
    played = await stage.play([1, 2, 3, 4, 5])
    await stage.close()
    assert [pool.asked for pool in made] == [[1, 3, 5], [2, 4]]
    assert [pool.size() for pool in made] == [1, 1]
    assert played.check == 150
    assert len(played.latencies) == 5
    threads = [thread for pool in made for thread in pool.threads]
    assert len({*threads, threading.get_ident()}) == 3
    assert all(pool.is_closed for pool in made)


async def test_threads_end_where_a_pool_cannot_be_opened():
    """The error is the pool's."""
    before = threading.active_count()
    broken = candidate("asyncpg", RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        await ThreadStage.open(broken, workload(), TARGET)
    assert threading.active_count() == before


# -- workers ------------------------------------------------------------------------


def test_workers_are_one_sample_together():
    """From the first that started to the last that ended; CPU and sums are added."""
    parts = [
        {"check": 1, "latencies": [0.1], "started": 10.0, "ended": 12.0, "cpu": 0.5},
        {"check": 2, "latencies": [0.2], "started": 11.0, "ended": 14.0, "cpu": 0.25},
    ]
    assert joined(parts) == Played(3, [0.1, 0.2], Sample(4.0, 0.75))


async def test_a_worker_plays_until_the_socket_is_closed(monkeypatch, tmp_path):
    """It says that it is ready, answers each list, and closes its pool."""
    pool = FakePool(size=5)
    monkeypatch.setitem(poolworkers.POOLS, "asyncpg", candidate("asyncpg", pool))
    path = str(tmp_path / "socket")
    arrived = asyncio.get_running_loop().create_future()

    async def welcome(reader, writer):
        arrived.set_result((reader, writer))

    async with await asyncio.start_unix_server(welcome, path):
        errand = Errand("asyncpg", "pool_workers", "postgresql://nowhere/x", path)
        worker = asyncio.create_task(errand.run())
        reader, writer = await arrived
        assert await poolworkers.receive(reader) == {"loop": "asyncio"}
        await poolworkers.send(writer, {"items": [1, 2, 3]})
        answer = await poolworkers.receive(reader)
        writer.close()
        await worker
        await writer.wait_closed()
    assert answer["check"] == 60
    assert len(answer["latencies"]) == 3
    assert answer["started"] < answer["ended"]
    assert pool.is_closed


# What a process is that speaks as a worker does, but has no pool.
WORKER = """
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[5])
stream = connection.makefile("rw")
def send(message):
    stream.write(json.dumps(message) + chr(10))
    stream.flush()
send({"loop": sys.argv[4]})
for line in stream:
    items = json.loads(line)["items"]
    send({"check": sum(items), "latencies": [1.0], "started": 1.0, "ended": 3.0,
          "cpu": 0.5})
"""


async def test_two_processes_take_a_part_each(monkeypatch):
    """They are started by the benchmark where the driver has no runtime."""
    monkeypatch.setattr(poolworkers, "SELF", ("-c", WORKER))
    stage = await WorkerStage.open(POOLS["asyncpg"], workload(), TARGET)
    played = await stage.play([1, 2, 3])
    await stage.close()
    assert played == Played(6, [1.0, 1.0], Sample(2.0, 1.0))


async def test_workers_that_cannot_begin_are_told_at_once(monkeypatch):
    """There is no waiting for somebody who will not come."""
    monkeypatch.setattr(poolworkers, "SELF", ("-c", ""))
    with pytest.raises(ConnectionError, match="ended before it began"):
        await WorkerStage.open(POOLS["asyncpg"], workload(), TARGET)


async def test_workers_on_another_loop_do_not_play(monkeypatch):
    """What they did would stand in the wrong table."""
    other = WORKER.replace("sys.argv[4]", "'another'")
    monkeypatch.setattr(poolworkers, "SELF", ("-c", other))
    with pytest.raises(BenchError, match="a worker runs on another"):
        await WorkerStage.open(POOLS["asyncpg"], workload(), TARGET)


# -- memory -------------------------------------------------------------------------


async def test_memory_is_what_the_process_prints(monkeypatch):
    """One process for each sample; without connections there is none to start."""
    sample = {"wall": 2.0, "cpu": 1.0, "memory": 40.0}
    program = f"import sys; assert sys.argv[4] == '3'; print('{json.dumps(sample)}')"
    monkeypatch.setattr(poolmemory, "SELF", ("-c", program))
    stage = await poolmemory.MemoryStage.open(POOLS["asyncpg"], MEMORY, TARGET)
    assert await stage.play([]) == Played(0, sample=Sample(0.0, 0.0))
    played = await stage.play([0, 1, 2])
    assert played == Played(3, sample=MemorySample(**sample))


async def test_memory_that_cannot_be_measured_says_why(monkeypatch):
    """The last line of what the process complained of."""
    monkeypatch.setattr(poolmemory, "SELF", ("-c", "raise SystemExit('too many')"))
    stage = await poolmemory.MemoryStage.open(POOLS["asyncpg"], MEMORY, TARGET)
    with pytest.raises(BenchError, match="^too many$"):
        await stage.play([0])


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux only")
def test_resident_memory_grows_with_what_is_kept():
    """At least nearly as much as was taken."""
    before = poolmemory.resident()
    kept = b"x" * (16 << 20)
    assert poolmemory.resident() - before > len(kept) * 0.9


# -- the contest --------------------------------------------------------------------


class FakeAdmin:
    """Tables that are always equal."""

    async def execute(self, schema, statement):
        """There is no server."""

    async def state(self, schema, query):
        """The same."""
        return (1,)


async def play(answers, **fields):
    """A contest of 20 operations in 3 rounds between pools by name."""
    plan = PoolPlan(
        [candidate(name, pool) for name, pool in answers.items()],
        [workload(**fields)],
        *("quick", 3, 1),
    )
    contest = PoolContest(plan.workloads[0], plan, TARGET, FakeAdmin())
    return await contest.play()


async def test_every_round_is_a_sample_with_latencies():
    """Of every pool; they are closed in the end."""
    answers = {"asyncpg": FakePool(), "psycopg": FakePool()}
    result = await play(answers)
    assert result.problems == []
    assert {name: len(samples) for name, samples in result.samples.items()} == {
        "asyncpg": 3,
        "psycopg": 3,
    }
    for sample in itertools.chain(*result.samples.values()):
        assert 0 < sample.p50 <= sample.p99 < sample.wall
    assert all(pool.is_closed for pool in answers.values())


async def test_unequal_work_is_taken_out():
    """A pool that writes nothing is fast."""
    answers = {"asyncpg": FakePool(), "psycopg": FakePool(tag="UPDATE 0")}
    result = await play(answers, run=run_writes)
    assert list(result.samples) == ["asyncpg"]
    assert result.problems == ["pool_fake: psycopg returned 0, the others 20"]


async def test_a_pool_that_fails_says_why_once():
    """Not once for every task."""

    async def fail(pool, items, record):
        if pool.tag == "":
            raise RuntimeError("boom")
        return 0

    answers = {"asyncpg": FakePool(), "psycopg": FakePool(tag="")}
    result = await play(answers, run=fail)
    assert result.problems == ["pool_fake: psycopg failed: RuntimeError('boom')"]
    assert answers["psycopg"].is_closed


async def test_a_pool_that_cannot_be_opened_does_not_stop_the_others():
    """The report says why it is missing."""
    answers = {"asyncpg": FakePool(), "psycopg": RuntimeError("boom")}
    result = await play(answers)
    assert list(result.samples) == ["asyncpg"]
    problem = "pool_fake: psycopg cannot be opened: RuntimeError('boom')"
    assert result.problems == [problem]


async def test_a_workload_may_name_pools_and_rounds():
    """Others are not even opened; what does not vary is measured once."""
    answers = {"asyncpg": FakePool(), "psycopg": RuntimeError("boom")}
    result = await play(answers, pools=("asyncpg",), most_rounds=1)
    assert result.problems == []
    assert {name: len(samples) for name, samples in result.samples.items()} == {
        "asyncpg": 1
    }


# -- figures, tables and goals ------------------------------------------------------


def outcome(name="pool_reads_64", **samples):
    """An Outcome of 100 operations."""
    return Outcome(name, "pool, reads", "q/s", 100, samples)


def test_latencies_are_compared_within_rounds():
    """A round that is slow for both changes nothing; less is better."""
    result = outcome(
        chopin=[
            PoolSample(1.0, 1.0, 0.1, 0.2, 0.2),
            PoolSample(9.0, 9.0, 0.9, 1.8, 1.8),
        ],
        asyncpg=[
            PoolSample(2.0, 2.0, 0.2, 0.8, 0.8),
            PoolSample(18.0, 18.0, 1.8, 7.2, 7.2),
        ],
    )
    assert ratio(result, P99, "chopin", "asyncpg") == pytest.approx(0.25)
    assert figure(result, P99, "chopin") == pytest.approx(1.0)


def test_what_a_sample_does_not_have_is_none():
    """Plain samples have no latency, and absent pools no figure."""
    result = outcome(chopin=[Sample(1.0, 1.0)], asyncpg=[Sample(1.0, 1.0)])
    assert ratio(result, P99, "chopin", "asyncpg") is None
    assert figure(result, P99, "chopin") is None
    assert figure(result, CPU, "psycopg") is None


def cells(text):
    """The words of a line."""
    return text.split()


def test_pools_have_a_row_each_and_memory_its_own_table():
    """Ratios are of each pool against the two of asyncpg."""
    result = outcome(
        chopin=[PoolSample(0.5, 0.1, 0.001, 0.002, 0.002)],
        asyncpg=[PoolSample(2.0, 0.2, 0.004, 0.008, 0.008)],
        asyncpg_noreset=[PoolSample(1.0, 0.1, 0.002, 0.004, 0.004)],
    )
    memory = outcome("pool_memory", chopin=[MemorySample(2.0, 1.0, 40.0)])
    names = ["chopin", "asyncpg", "asyncpg_noreset", "psycopg"]
    pool_table, memory_table = pools_tables([result, memory], names)
    assert pool_table.rows == [
        ["pool_reads_64, q/s"],
        ["chopin", "200 ±0%", *cells("4.00x 2.00x 1.00 2.00 0.25x 2.00 1000 -")],
        ["asyncpg", "50.0 ±0%", *cells("1.00x 0.50x 4.00 8.00 1.00x 8.00 2000 -")],
        [
            *("asyncpg_noreset", "100 ±0%"),
            *cells("2.00x 1.00x 2.00 4.00 0.50x 4.00 1000 -"),
        ],
    ]
    assert memory_table.rows == [["chopin", "40.0", "50.0 ±0%"]]
    assert all(len(row) == len(memory_table.header) for row in memory_table.rows)


def test_latency_and_memory_are_met_from_below():
    """Throughput is met from above."""
    assert Goal("x", P99, "asyncpg", 1.0).is_met(1.0)
    assert not Goal("x", P99, "asyncpg", 1.0).is_met(1.01)
    assert not Goal("x", MEMORY_MEASURE, "", 64.0).is_met(65.0)
    assert Goal("x", THROUGHPUT, "asyncpg", 6.0).is_met(6.1)


def test_memory_is_judged_as_it_is():
    """There is no rival, and the table says KiB."""
    result = outcome("pool_memory", chopin=[MemorySample(2.0, 1.0, 40.0)])
    (verdict,) = judge([result])
    assert (verdict.reached, verdict.is_met) == (40.0, True)
    assert goals_table([verdict]).rows == [
        ["pool_memory", "memory", "chopin", "-", "<= 64.0 KiB", "40.0 KiB", "met"]
    ]


def test_riding_off_is_judged_too():
    """By its own samples, not by those of the default."""
    result = outcome(
        chopin=[PoolSample(1.0, 1.0, 0.1, 0.1, 0.1)],
        chopin_depth_1=[PoolSample(2.0, 1.0, 0.1, 0.1, 0.1)],
        asyncpg_noreset=[PoolSample(6.0, 1.0, 0.1, 0.1, 0.1)],
    )
    reached = {
        verdict.goal.subject: verdict.reached
        for verdict in judge([result])
        if verdict.goal.rival == "asyncpg_noreset"
    }
    assert reached == {"chopin": 6.0, "chopin_depth_1": 3.0}


def test_the_curves_have_a_latency_goal_at_every_load():
    """Four kinds of work, five numbers of tasks, and the one with offered load."""
    goals = [goal for goal in GOALS if goal.measure == P99]
    assert len({goal.workload for goal in goals}) == 21
