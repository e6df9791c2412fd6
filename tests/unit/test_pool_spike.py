"""Pools in bad times, on a scripted server and a clock that costs nothing.

Many calls at once, a server that goes away and comes back, connects that hang or fail.
What is counted is connects, what is measured is the time of the loop.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
from types import SimpleNamespace

import pytest

import chopin
from chopin._looppool import STAGGER
from chopin._poolopening import WHO
from tests.support import backend
from tests.support.handshake import shake_hands
from tests.support.poolfakes import in_virtual_time
from tests.support.postmaster import Canned, Postmaster, SessionEndedError
from tests.support.tinyserver import serve_statements

SQL = "SELECT a FROM t"
WHO_IT_IS = Canned([("session_user", 19), ("role", 25)], [(b"ada", b"none")])
CONNECT_S = 0.150
QUERY_S = 0.002
REQUESTS = 50
#: In which bytes arrive.
MOMENT = 0.001
#: What the clock says is right to this.
EXACTLY = 0.0005
#: The longest pause between two connects that fail, and a moment.
LONGEST_PAUSE = 1.0
IDLE_S = 300.0


def now():
    """The time of the loop, in seconds."""
    return asyncio.get_running_loop().time()


class Pause(asyncio.Event):
    """A gate that opens for each who comes, after a while."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    async def wait(self):
        await asyncio.sleep(self.seconds)

    def is_set(self):
        return True


class Server(Postmaster):
    """Takes its time to let somebody in and to answer; can go away and come back.

    Attributes:
        attempts: when somebody came in, or tried to.
        is_starting: it lets nobody in, and says so.
        hangs: how many of those who come next are never answered.
    """

    def __init__(self, connect=CONNECT_S, **options):
        answer = Canned([("a", 23)], [(struct.pack("!i", 1),)], gate=Pause(QUERY_S))
        super().__init__(
            self.serve,
            unix=True,
            handshake=self.let_in,
            statements={SQL: answer, WHO: WHO_IT_IS},
            **options,
        )
        self.connect = connect
        self.attempts = []
        self.is_starting = False
        self.hangs = 0
        self._goes_down = asyncio.Event()

    async def let_in(self, conn):
        self.attempts.append(now())
        if self.hangs:
            self.hangs -= 1
            await asyncio.Event().wait()
        await asyncio.sleep(self.connect)
        if self.is_starting:
            text = "the database system is starting up"
            conn.send(backend.error_response(text, code="57P03", severity="FATAL"))
            raise SessionEndedError
        await shake_hands(conn)

    async def serve(self, conn):
        """Answer until the server goes down, or the driver leaves."""
        ends = [
            asyncio.ensure_future(serve_statements(conn)),
            asyncio.ensure_future(self._goes_down.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        if self._goes_down.is_set():
            text = "terminating connection due to administrator command"
            conn.send(backend.error_response(text, code="57P01", severity="FATAL"))

    async def end_sessions(self):
        """Say goodbye to everybody, and give them a moment to notice."""
        self._goes_down.set()
        await asyncio.sleep(MOMENT)
        self._goes_down = asyncio.Event()

    @contextlib.contextmanager
    def nobody_listens(self):
        """Connections are refused meanwhile."""
        path = os.path.join(self.host, f".s.PGSQL.{self.port}")
        os.rename(path, f"{path}.aside")
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(path)
            try:
                yield
            finally:
                os.replace(f"{path}.aside", path)

    @contextlib.contextmanager
    def without_socket(self):
        """Nobody can find it meanwhile."""
        path = os.path.join(self.host, f".s.PGSQL.{self.port}")
        os.rename(path, f"{path}.aside")
        try:
            yield
        finally:
            os.rename(f"{path}.aside", path)

    @contextlib.contextmanager
    def starting_up(self):
        """Connections are turned away meanwhile."""
        self.is_starting = True
        try:
            yield
        finally:
            self.is_starting = False


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The pool's clock is the loop's, and chance adds nothing to any pause."""
    monkeypatch.setattr("chopin._poolpart.time", SimpleNamespace(monotonic=now))
    monkeypatch.setattr("chopin.pool.monotonic", now)
    chance = SimpleNamespace(random=lambda: 0.0)
    monkeypatch.setattr("chopin._poolpart.random", chance)


def create(server, **options):
    """A pool for the server, of up to 20 connections and with no floor."""
    place = {"host": server.host, "port": server.port, "user": "ada"}
    sizes = {"min_size": 0, "max_size": 20}
    return chopin.create_pool(
        **place, database="app", password="secret", **sizes | options
    )


async def acquire(pool):
    """A query on a connection of one's own."""
    async with pool.acquire() as conn:
        return await conn.fetchval(SQL)


async def single(pool):
    """A query on any connection."""
    return await pool.fetchval(SQL)


async def storm(pool, call, requests=REQUESTS):
    """So many at once; returns how long it took until the last was served."""
    began = now()
    assert await asyncio.gather(*(call(pool) for _ in range(requests))) == (
        [1] * requests
    )
    return now() - began


async def told(*calls):
    """What each call raised, and after how long; none may be served."""
    began = now()

    async def one(call):
        try:
            result = await call
        except Exception as error:
            return error, now() - began
        raise AssertionError(f"it was served: {result!r}")

    return await asyncio.gather(*map(one, calls))


def assert_whole(pool, size):
    """So many connections, nobody uses one, nobody waits and nothing is opened."""
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.opening) == (size, size, 0)
    assert stats.opened - stats.closed == size
    assert stats.waiting == stats.lent == stats.shared == 0


# Many at once


@pytest.mark.parametrize("call", [acquire, single])
@pytest.mark.parametrize("max_size", [20, 50])
@in_virtual_time
async def test_spike(call, max_size):
    """What is there serves them all long before a connect could: one is begun."""
    async with Server() as server, create(server, min_size=5, max_size=max_size) as p:
        assert_whole(p, 5)
        took = await storm(p, call)
        assert took == pytest.approx(QUERY_S * REQUESTS / 5, abs=EXACTLY)
        assert p.stats().opening == 1
        await asyncio.sleep(10 * CONNECT_S)
        assert len(server.attempts) == 6
        assert_whole(p, 6)
        await asyncio.sleep(2 * IDLE_S)
        assert_whole(p, 5)
        assert len(server.attempts) == 6


@in_virtual_time
async def test_spike_of_reads_that_ride():
    """Nobody waits at all, and it takes no longer."""
    async with Server() as server, create(server, min_size=5, max_size=50) as pool:
        for _ in range(3):
            await single(pool)
        took = await storm(pool, single)
        assert took == pytest.approx(QUERY_S * REQUESTS / 5, abs=EXACTLY)
        stats = pool.stats()
        assert (stats.rides, stats.waits) == (REQUESTS - 5, 0)
        await asyncio.sleep(10 * CONNECT_S)
        assert len(server.attempts) == 6


@in_virtual_time
async def test_spike_that_lasts():
    """Connects begin one after the other, no more at once than there are openers."""
    async with Server() as server, create(server, min_size=5, max_size=50) as pool:
        began = now()
        took = await storm(pool, acquire, 10 * REQUESTS)
        assert took < QUERY_S * 10 * REQUESTS / 5
        begun = [when - began for when in server.attempts[5:]]
        assert begun == pytest.approx(
            [0, STAGGER, 2 * STAGGER, CONNECT_S], abs=2 * QUERY_S
        )
        await asyncio.sleep(10 * CONNECT_S)
        assert_whole(pool, 9)


@pytest.mark.parametrize("call", [acquire, single])
@in_virtual_time
async def test_spike_of_a_pool_without_connections(call):
    """They are served by the first few that come, as soon as those are there."""
    async with Server() as server, create(server, max_size=50) as pool:
        took = await storm(pool, call)
        rounds = -(-REQUESTS // 3)
        assert took == pytest.approx(CONNECT_S + QUERY_S * rounds, abs=EXACTLY)
        await asyncio.sleep(10 * CONNECT_S)
        assert len(server.attempts) == 4
        assert_whole(pool, 4)


@in_virtual_time
async def test_spike_of_a_small_pool():
    """There are never more connections than there may be."""
    async with Server() as server, create(server, min_size=2, max_size=2) as pool:
        took = await storm(pool, acquire)
        assert took == pytest.approx(QUERY_S * REQUESTS / 2, abs=EXACTLY)
        assert len(server.attempts) == 2
        assert_whole(pool, 2)


# A server that goes away

AWAY = {
    "refuses": Server.nobody_listens,
    "is gone": Server.without_socket,
    "starts up": Server.starting_up,
}


@pytest.mark.parametrize("away", AWAY)
@in_virtual_time
async def test_server_comes_back(away):
    """Who waits is served when it does, and the pool has its floor again."""
    failed = []

    async def connect(*args, **options):
        try:
            return await chopin.connect(*args, **options)
        except Exception:
            failed.append(now())
            raise

    async with (
        Server(connect=0) as server,
        create(server, min_size=5, openers=1, connect=connect) as pool,
    ):
        with AWAY[away](server):
            began = now()
            await server.end_sessions()
            storming = asyncio.create_task(storm(pool, acquire))
            await asyncio.sleep(3.5)
            assert not storming.done()
            assert pool.stats().waiting == REQUESTS
            assert pool.get_size() == 0
        server.attempts.clear()
        took = await storming
        await asyncio.sleep(1)
        # and one for those who wait, as in any other spike
        assert_whole(pool, 6)
        assert len(server.attempts) == 6
    pauses = [b - a for a, b in itertools.pairwise(failed)]
    expected = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]
    assert pauses == pytest.approx(expected[: len(pauses)], abs=EXACTLY)
    assert failed[0] - began < EXACTLY
    assert took < 3.5 + LONGEST_PAUSE + QUERY_S * REQUESTS
    assert pool.stats().connect_failures == len(failed) == 10


@pytest.mark.parametrize("away", AWAY)
@in_virtual_time
async def test_floor_comes_back_though_nobody_waits(away):
    """Soon after the server does; however long it was away, it is not pestered."""
    async with Server(connect=0) as server, create(server, min_size=5) as pool:
        with AWAY[away](server):
            await server.end_sessions()
            await asyncio.sleep(60)
            assert pool.get_size() == 0
            # no more than the openers, each second
            assert pool.stats().connect_failures < 3 * 64
        server.attempts.clear()
        await asyncio.sleep(LONGEST_PAUSE + EXACTLY)
        assert_whole(pool, 5)
        assert len(server.attempts) == 5


@in_virtual_time
async def test_server_goes_away_under_those_who_use_it():
    """They are told what has become of their queries; others notice nothing."""
    async with Server() as server, create(server, min_size=2) as pool:
        using = [asyncio.create_task(acquire(pool)) for _ in range(2)]
        await asyncio.sleep(QUERY_S / 2)
        waiting = asyncio.create_task(acquire(pool))
        await asyncio.sleep(0)
        await server.end_sessions()
        for (error, _), *_ in [await told(task) for task in using]:
            assert isinstance(error, chopin.ConnectionDoesNotExistError)
            assert error.outcome == "rolled_back"
        assert await waiting == 1
        await asyncio.sleep(10 * CONNECT_S)
        stats = pool.stats()
        assert (stats.connect_failures, stats.timeouts, stats.lent) == (0, 0, 0)
        assert stats.size == stats.idle <= 3


# Connects that end badly


@pytest.mark.parametrize(
    ("away", "error"),
    [
        ("refuses", ConnectionRefusedError),
        ("is gone", FileNotFoundError),
        ("starts up", chopin.CannotConnectNowError),
    ],
)
@in_virtual_time
async def test_told_after_a_while(away, error):
    """When connects have failed for `retry_connect` seconds; then all begins anew."""
    async with Server(connect=0) as server, create(server, retry_connect=5) as pool:
        with AWAY[away](server):
            calls = [acquire(pool), single(pool), acquire(pool)]
            answers = await told(*calls)
            assert [type(each) for each, _ in answers] == [error] * 3
            assert len({id(each) for each, _ in answers}) == 3
            for _, seconds in answers:
                assert 5 <= seconds <= 5 + LONGEST_PAUSE
            n_failed = pool.stats().connect_failures
            # nobody waits, and there is no floor: nothing is tried
            await asyncio.sleep(600)
            assert pool.stats().connect_failures == n_failed
            [(_, seconds)] = await told(single(pool))
            assert 5 <= seconds <= 5 + LONGEST_PAUSE
        assert await single(pool) == 1
        assert_whole(pool, 1)


@in_virtual_time
async def test_told_by_the_time_of_the_call():
    """Whoever waits less long than that is told why there was no connection."""
    async with Server(connect=0) as server, create(server, retry_connect=60) as pool:
        with server.nobody_listens():
            [(error, seconds)] = await told(pool.fetchval(SQL, timeout=2))
            assert isinstance(error, chopin.PoolTimeoutError)
            assert isinstance(error.__cause__, ConnectionRefusedError)
            assert seconds == pytest.approx(2, abs=EXACTLY)
        assert await single(pool) == 1


@pytest.mark.parametrize("size", [0, 1])
@in_virtual_time
async def test_connect_that_hangs(size):
    """Those behind it serve everybody, and it is given up when its time is over."""
    options = {"min_size": size, "max_size": 10, "openers": 2, "timeout": 5}
    async with Server() as server, create(server, **options) as pool:
        server.attempts.clear()
        server.hangs = 1
        held = [await pool.acquire() for _ in range(size)]
        took = await storm(pool, acquire)
        # the first hangs; the second begins behind it, at once or a little later
        begins = STAGGER if size else 0
        least = begins + CONNECT_S
        assert least < took < least + QUERY_S * REQUESTS + EXACTLY
        assert pool.stats().opening == 1 + (len(server.attempts) > 2)
        for conn in held:
            await pool.release(conn)
        await asyncio.sleep(6)
        stats = pool.stats()
        assert (stats.opening, stats.connect_failures) == (0, 1)
        assert_whole(pool, len(server.attempts) - 1 + size)


@in_virtual_time
async def test_every_connect_hangs():
    """Who waits is told by their own time-out, or by that of connecting."""
    async with Server() as server, create(server, timeout=3, retry_connect=0) as pool:
        server.hangs = 100
        answers = await told(single(pool), acquire(pool), pool.fetchval(SQL, timeout=1))
        kinds = [(type(error), round(seconds, 3)) for error, seconds in answers]
        assert kinds == [
            (TimeoutError, 3),
            (TimeoutError, 3),
            (chopin.PoolTimeoutError, 1),
        ]
        server.hangs = 0
        assert await single(pool) == 1


# What is told at once


@pytest.mark.parametrize("size", [0, 2])
@in_virtual_time
async def test_wrong_password(size):
    """Trying again cannot help: everybody is told when the first few have failed."""
    async with Server(auth="password") as server, create(server, min_size=size) as pool:
        assert await single(pool) == 1
        server.password = "another"
        server.attempts.clear()
        await server.end_sessions()
        answers = await told(acquire(pool), single(pool), acquire(pool), single(pool))
        for error, seconds in answers:
            assert isinstance(error, chopin.InvalidPasswordError)
            assert seconds == pytest.approx(CONNECT_S, abs=MOMENT + EXACTLY)
        assert len(server.attempts) == 3
        server.password = "secret"
        assert await single(pool) == 1


@pytest.mark.parametrize(
    "problem", [ValueError("no"), chopin.UndefinedTableError("no")], ids=repr
)
@in_virtual_time
async def test_init_fails(problem):
    """Who waits is told; no connection is left, and the next ones are good."""
    fails = [problem] * 2

    async def init(conn):
        if fails:
            raise fails.pop()

    async with Server() as server, create(server, init=init) as pool:
        answers = await told(acquire(pool), single(pool))
        for error, seconds in answers:
            assert type(error) is type(problem)
            assert seconds == pytest.approx(CONNECT_S, abs=EXACTLY)
        assert len(server.attempts) == 2
        for conn in server.sessions:
            await conn.finished.wait()
        assert_whole(pool, 0)
        assert await single(pool) == 1
        assert_whole(pool, 1)


@in_virtual_time
async def test_init_fails_for_a_while():
    """What the network is to blame for is tried again."""
    fails = [ConnectionResetError("reset")] * 3

    async def init(conn):
        if fails:
            raise fails.pop()

    async with (
        Server() as server,
        create(server, init=init, max_size=1) as pool,
    ):
        began = now()
        assert await single(pool) == 1
        expected = 4 * CONNECT_S + 0.01 + 0.02 + 0.04 + QUERY_S
        assert now() - began == pytest.approx(expected, abs=EXACTLY)
        assert len(server.attempts) == 4
        assert pool.stats().connect_failures == 3
        assert_whole(pool, 1)


# Pools that share a budget


@in_virtual_time
async def test_pools_at_rest_leave_each_other_alone():
    """The floor of one is no reason to close connections of the other."""
    budget = chopin.Budget(10)
    sizes = {"min_size": 10, "max_size": 10, "budget": budget}
    async with (
        Server() as server,
        create(server, **sizes) as first,
        create(server, **sizes) as second,
    ):
        await asyncio.sleep(200)
        assert_whole(first, 10)
        assert_whole(second, 0)
        assert len(server.attempts) == 10


@in_virtual_time
async def test_pool_with_idle_connections_gives_one_up():
    """Also where another has more of them, which are all in use."""
    budget = chopin.Budget(9)
    sizes = {"max_size": 9, "budget": budget}
    async with (
        Server() as server,
        create(server, **sizes) as busy,
        create(server, **sizes) as idle,
        create(server, **sizes) as waits,
    ):
        held = [await busy.acquire() for _ in range(5)]
        for conn in [await idle.acquire() for _ in range(4)]:
            await idle.release(conn)
        began = now()
        assert await single(waits) == 1
        assert now() - began < 2 * CONNECT_S
        assert (busy.get_size(), idle.get_size(), waits.get_size()) == (5, 3, 1)
        assert budget.used == len(server.attempts) - 1 == 9
        for conn in held:
            await busy.release(conn)
