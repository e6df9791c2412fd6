"""The time a workload may take, and its round trips, counted on real sockets."""

import asyncio
import itertools
import struct
import time
from types import SimpleNamespace

import pytest

from bench import measure
from bench.limit import int4, message, reply_end, serial_limit
from bench.measure import Contest, Plan, Sample, joined, takes_part
from bench.proxy import Traffic, counting_proxy, through
from bench.server import Target
from bench.shares import FLOOR, Shares
from bench.workloads import Sizes, Workload
from bench.yardstick import PGBENCH


async def run_nothing(seat, items):
    """As fast as can be; the clock is a fake."""


def workload(**more):
    """A workload of operations that do nothing."""
    return Workload(
        *("fake", "fakes", "q/s", Sizes(20, 20, 20), itertools.count, run_nothing),
        **more,
    )


class Player:
    """Takes a fixed time for each item, by the clock of the test."""

    def __init__(self, name, seconds):
        self.name = name
        self.seconds = seconds
        self.counts = []

    def ready(self, items):
        """Hand out a sample, as whoever has a clock of his own."""
        self.counts.append(len(items))

        async def run():
            return Sample(len(items) * self.seconds, 0.0)

        return run

    async def close(self):
        """Nothing is open."""


def contest_of(players, work, scale="quick", **plan):
    """A contest of these players, which are connected."""
    plan = {"rounds": 7, "seed": 1, **plan}
    target = Target("postgresql://nowhere/x", private=False)
    contest = Contest(work, Plan([], [work], scale, **plan), target, None)
    contest._players = list(players)
    return contest


async def test_samples_fit_into_the_seconds_that_there_are(monkeypatch):
    """Seven rounds of both players take about what was given."""
    monkeypatch.setattr(measure.time, "perf_counter", lambda: 0.0)
    players = [Player("chopin", 0.001), Player("asyncpg", 0.003)]
    contest = contest_of(players, workload(), seconds=7.0)
    await contest._fit(itertools.count())
    size = contest.outcome.operations
    assert size * 0.004 * 7 == pytest.approx(7.0, rel=0.02)


@pytest.mark.parametrize(("scale", "least"), [("quick", 1), ("default", 8)])
async def test_a_sample_has_one_operation_for_each_slice_at_least(
    monkeypatch, scale, least
):
    """However slow everybody is; one at all where it must be quick."""
    monkeypatch.setattr(measure.time, "perf_counter", lambda: 0.0)
    work = workload(weight=1000)
    contest = contest_of([Player("chopin", 60.0)], work, scale, seconds=1.0)
    await contest._fit(itertools.count())
    assert contest.outcome.operations == least * 1000


@pytest.mark.parametrize(
    ("seconds", "slices"),
    [(7.0, 8), (7.0 * 4 * 2 * measure.TURN_SECONDS, 4), (0.01, 1)],
)
async def test_turns_are_not_too_short(monkeypatch, seconds, slices):
    """Two players take eight turns each in a round, or as many as there is time for."""
    monkeypatch.setattr(measure.time, "perf_counter", lambda: 0.0)
    players = [Player("chopin", 0.0001), Player("asyncpg", 0.0001)]
    contest = contest_of(players, workload(), seconds=seconds)
    await contest._fit(itertools.count())
    assert contest._slices == slices


async def test_counting_round_trips_has_its_part_of_the_seconds(monkeypatch):
    """It comes after the rounds."""
    monkeypatch.setattr(measure.time, "perf_counter", lambda: 0.0)
    contest = contest_of(
        [Player("chopin", 0.004)], workload(), seconds=7.0, counts_trips=True
    )
    await contest._fit(itertools.count())
    expected = 7.0 - measure.COUNTING_SECONDS
    assert contest.outcome.operations * 0.004 * 7 == pytest.approx(expected, abs=0.05)


class Clock:
    """Goes on by so much each time it is read."""

    def __init__(self, step):
        self.now = 0.0
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    ("step", "more", "counts"),
    [
        (0.0, {"warm": 20}, [1, 2, 4, 8, 5]),
        (0.0, {"warm": 20, "least_warm": 15}, [15, 5]),
        (0.1, {"warm": 20}, [1, 2]),
        (9.0, {"warm": 20, "least_warm": 6}, [6]),
        (0.0, {"warm": 0}, []),
    ],
)
async def test_warming_up_takes_half_a_round_at_most(monkeypatch, step, more, counts):
    """But what has to be done in any case is done."""
    monkeypatch.setattr(measure.time, "perf_counter", Clock(step))
    player = Player("chopin", 0.0)
    await contest_of([player], workload(**more), seconds=7.0)._warm_up()
    assert player.counts == counts


async def test_pgbench_does_not_warm_up_again_and_again(monkeypatch):
    """Nothing of it is there after it has played."""
    monkeypatch.setattr(measure.time, "perf_counter", Clock(0.0))
    players = [Player("chopin", 0.0), Player(PGBENCH, 0.0)]
    await contest_of(players, workload(), seconds=7.0)._warm_up()
    assert players[0].counts[:3] == [1, 2, 4]
    assert players[1].counts == [1]


async def test_all_is_warmed_up_where_time_does_not_count():
    """But no more than a sample has."""
    player = Player("chopin", 0.0)
    await contest_of([player], workload(warm=30))._warm_up()
    assert player.counts == [20]


def test_workloads_share_the_seconds_that_are_left():
    """One that takes less leaves more for the others, and the other way round."""
    clock = Clock(0.0)
    shares = Shares(100.0, 10, clock)
    assert shares.take() == 10.0
    clock.now = 1.0
    assert shares.take() == 11.0
    clock.now = 28.0
    assert shares.take() == 9.0


def test_nobody_has_less_than_the_floor():
    """Even where nothing is left at all, or nobody was counted on."""
    clock = Clock(0.0)
    shares = Shares(100.0, 2, clock)
    clock.now = 200.0
    assert [shares.take() for _ in range(3)] == [FLOOR * 50.0] * 3


async def test_pgbench_plays_once_in_a_round_and_does_the_same_work():
    """It is a process that has to be started; nothing of it is compared."""
    players = [Player("chopin", 1.0), Player(PGBENCH, 1.0)]
    contest = contest_of(players, workload())
    samples = await contest._round([range(3), range(3, 6), range(6, 7)])
    assert [one.counts for one in players] == [[3, 3, 1], [7]]
    assert {name: sample.wall for name, sample in samples.items()} == {
        "chopin": 7.0,
        PGBENCH: 7.0,
    }
    assert contest.outcome.problems == []


def test_turns_are_joined_in_their_order():
    """The same items as all others have."""
    assert joined([range(2), range(2, 3)]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("groups", "lacking", "takes"),
    [((), (), True), (("rows",), (), False), (("fakes",), (), True), ((), "x", False)],
)
def test_who_takes_part(groups, lacking, takes):
    """Whoever is meant for the group, and has a way to do it."""
    candidate = SimpleNamespace(name="x", groups=groups)
    assert takes_part(candidate, workload(lacking=tuple(lacking))) is takes


# -- round trips --------------------------------------------------------------------


class Echo:
    """Answers every line with a line as long."""

    def __init__(self):
        self.ended = asyncio.Semaphore(0)

    async def __call__(self, reader, writer):
        """Serve one connection, until its end."""
        while line := await reader.readline():
            writer.write(b"-" * (len(line) - 1) + b"\n")
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.ended.release()


def wait_until_passed(proxy, size):
    """Block the loop until so many bytes have gone through: nobody can answer."""
    for _ in range(5000):
        if proxy.traffic.sent >= size:
            return
        time.sleep(0.001)
    raise AssertionError(f"only {proxy.traffic.sent} of {size} bytes have passed")


async def exchange(proxy, bursts):
    """Send each burst, and wait for as many lines as it has."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for burst in bursts:
        for line in burst:
            before = proxy.traffic.sent
            writer.write(line + b"\n")
            wait_until_passed(proxy, before + len(line) + 1)
        for _ in burst:
            await reader.readline()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("bursts", "turns"),
    [([[b"one"]], 1), ([[b"one", b"two", b"three"]], 1), ([[b"one"], [b"two"]], 2)],
)
async def test_what_is_sent_without_waiting_is_one_round_trip(bursts, turns):
    """However many messages it has."""
    echo = Echo()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        with counting_proxy(server.sockets[0].getsockname()[:2], 0.02) as proxy:
            await exchange(proxy, bursts)
            sent = sum(len(line) + 1 for burst in bursts for line in burst)
            assert proxy.traffic == Traffic(turns, sent, sent)
            await exchange(proxy, bursts)
            assert proxy.traffic.per(2) == Traffic(turns, sent, sent)
        for _ in range(2):
            await echo.ended.acquire()


async def test_the_proxy_is_slow_only_while_it_counts():
    """Not for the warm-up, which is longer."""
    proxy = SimpleNamespace(delay=0.02, traffic=Traffic())
    player = Player("chopin", 0.0)
    delays = []

    def ready(items):
        delays.append((len(items), proxy.delay))

        async def run():
            proxy.traffic.turns += 3 * len(items)

        return run

    player.ready = ready
    counted = await contest_of([player], workload()).traffic(proxy)
    assert delays == [(2, 0.0), (1, 0.02)]
    assert counted == {"chopin": Traffic(3.0, 0.0, 0.0)}


def test_the_proxy_stands_in_the_servers_place():
    """User, password and parameters stay."""
    dsn = "postgresql://u:p%20w@10.0.0.1:5432/db?host=/tmp&sslmode=disable"
    assert through(dsn, 99) == "postgresql://u:p%20w@127.0.0.1:99/db?sslmode=disable"
    assert through("postgresql:///db", 99) == "postgresql://127.0.0.1:99/db"


# -- the limit ----------------------------------------------------------------------


def test_the_limit_of_serial_queries_is_a_round_trip_for_each():
    """Bytes are made before, and every reply must end as it should."""
    sent = []

    class Raw:
        def prepare(self, query):
            sent.append(query)

        def exchange(self, payload, end):
            sent.append((payload, end))

    limit = serial_limit("SELECT $1", lambda key: [int4(key)], "SELECT 1")
    run = limit(Raw(), [7, 8])
    assert sent == ["SELECT $1"]
    run()
    assert [end for _, end in sent[1:]] == [reply_end("SELECT 1")] * 2
    for (payload, _), key in zip(sent[1:], (7, 8), strict=True):
        assert struct.pack("!i", key) in payload
        assert payload.endswith(message(b"S", b""))
