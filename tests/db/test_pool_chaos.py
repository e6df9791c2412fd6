"""Chaos: backends and servers that are terminated, killed, restarted, full or silent.

Whatever happens to the server, each call ends with its own answer or with an error that
says whether it may have taken effect, nobody waits for longer than was said, and when
the server is there again so is the pool: as many connections as it keeps, and no more.

Servers that are killed are of this module's own and of one version.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
from types import SimpleNamespace

import psycopg
import pytest

import chopin
from chopin.retry import kind_of, outcome_of
from chopin.testing import DEFAULT_HBA, TemporaryServer
from tests.support.backends import frozen, until
from tests.support.faultproxy import FaultProxy, Faults
from tests.support.oneversion import on_one_version
from tests.support.pools import (
    PID,
    assert_serves,
    borrowed,
    patience,
    pool_factory,
)
from tests.support.poolwatch import assert_recovered, looked, sessions

SHORT = 0.05
PATIENCE_S = 20
LONG_SLEEP = "SELECT pg_sleep(60)"
SLEEPS = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
USER, PASSWORD = "changing", "first"

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def mortal():
    """A server that may be killed."""
    hba = (f"host all {USER} 127.0.0.1/32 scram-sha-256", *DEFAULT_HBA)
    with TemporaryServer(users={USER: PASSWORD}, hba=hba) as server:
        yield server


@contextlib.contextmanager
def observing(server):
    """A connection by another driver, to see what there is."""
    with contextlib.closing(psycopg.connect(server.dsn, autocommit=True)) as observer:
        yield observer


@pytest.fixture
async def place(mortal):
    """The mortal server, running: server, name, dsn, tcp_dsn, create, loop_errors.

    Nothing is left of the test's own afterwards, neither sessions nor tasks, and the
    loop had nothing to report.
    """
    if not mortal.is_running:
        mortal.start()
    name, errors = f"chaos-{next(numbers)}", []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context))
    before = asyncio.all_tasks()
    place = SimpleNamespace(
        server=mortal,
        name=name,
        dsn=f"{mortal.dsn}&application_name={name}",
        tcp_dsn=f"{mortal.tcp_dsn}?application_name={name}",
        loop_errors=errors,
    )
    async with pool_factory(place.dsn) as place.create:
        yield place
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert left == set(), "the test left tasks"
    assert errors == [], "the loop had errors to report"
    if mortal.is_running:
        with observing(mortal) as observer:
            assert await looked(lambda: not sessions(observer, name))


# How a server ends. None of it waits for the loop.
ENDS = {
    "fast": lambda server: server.stop("fast"),
    "immediate": lambda server: server.stop("immediate"),
    "kill": lambda server: server.kill(),
}


async def end(server, how):
    """End the server, and let the loop go on meanwhile."""
    await asyncio.to_thread(ENDS[how], server)


async def start(server):
    """Start it again, and let the loop go on meanwhile."""
    await asyncio.to_thread(server.start)


def assert_lost(error):
    """An error of somebody whose connection was lost with his work under way."""
    assert isinstance(error, chopin.ConnectionDoesNotExistError), repr(error)
    assert error.kind == "transient"
    assert error.outcome in ("unknown", "rolled_back", "not_sent")


async def asleep(server):
    """Wait until somebody sleeps on the server."""
    with observing(server) as observer:
        await until(observer, SLEEPS)


# Backends.


@pytest.mark.slow
async def test_terminated_at_random(create, observer, application_name):
    """Backends that are terminated all the time, whatever they do.

    What ended well is there once, what says that it has not taken effect is not there,
    and nobody is told anything that he could not try again.
    """
    observer.execute("CREATE UNLOGGED TABLE IF NOT EXISTS chaos (number int)")
    observer.execute("TRUNCATE chaos")
    pool = await create(min_size=2, max_size=4)
    rng = random.Random(7)
    done, undone, unknown, over = [], [], [], asyncio.Event()

    async def single(number):
        await pool.execute("INSERT INTO chaos VALUES ($1)", number)

    async def block(number):
        async with pool.transaction() as conn:
            await conn.execute("INSERT INTO chaos VALUES ($1)", number)
            assert await conn.fetchval("SELECT $1::int", number) == number

    async def retried(number):
        async def insert(conn):
            await conn.execute("INSERT INTO chaos VALUES ($1)", number)

        await pool.run_in_transaction(insert, retry=20)

    async def read(number):
        assert await pool.fetchval("SELECT $1::int AS n", number) == number
        undone.append(number)

    async def work():
        for number in numbers:
            if over.is_set():
                return
            call = rng.choice([single, block, retried, read, read])
            try:
                await call(number)
            except chopin.PostgresError as error:
                assert_lost(error)
                is_unknown = error.outcome == "unknown"
                (unknown if is_unknown else undone).append(number)
            except chopin.InterfaceError as error:
                assert "connection is closed" in str(error)
                # a single query found it closed when its turn came
                assert call is block or error.outcome == "not_sent", call.__name__
                assert error.kind == "transient"
                undone.append(number)
            else:
                if call is not read:
                    done.append(number)

    killed = 0
    async with asyncio.timeout(PATIENCE_S):
        tasks = [asyncio.create_task(work()) for _ in range(8)]
        while killed < 100:
            found = sessions(observer, application_name)
            if found:
                [pid, *_] = rng.choice(found)
                observer.execute("SELECT pg_terminate_backend(%s)", [pid])
                killed += 1
            await asyncio.sleep(0.001)
        over.set()
        await asyncio.gather(*tasks)
    rows = observer.execute("SELECT number FROM chaos").fetchall()
    there = [number for (number,) in rows]
    assert len(there) == len(set(there))
    assert set(done) <= set(there)
    assert set(there) <= {*done, *unknown}
    assert done and undone
    await assert_recovered(pool, observer, application_name)


@on_one_version
async def test_terminated_with_a_line(create, observer):
    """Who waits for the connection of somebody who loses it gets another one."""
    pool = await create(max_size=1)
    async with patience():
        async with borrowed(pool) as conn:
            waiting = asyncio.create_task(pool.fetchval(PID))
            also = asyncio.ensure_future(pool.acquire())
            pid = conn.get_server_pid()
            observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            with pytest.raises((chopin.PostgresError, chopin.InterfaceError)):
                await conn.fetchval("SELECT 1")
        assert await waiting != pid
        await pool.release(await also)
    await assert_serves(pool, size=1)


async def test_terminated_while_it_is_reset(create, observer, application_name):
    """A connection that ends while it is being cleaned is nobody's loss."""
    pool = await create(max_size=1)
    for _ in range(10):
        async with patience():
            async with pool.acquire() as conn:
                pid = conn.get_server_pid()
                await conn.execute("SET work_mem = '1MB'; LISTEN something")
            observer.execute("SELECT pg_terminate_backend(%s)", [pid])
            await looked(lambda: pool.get_size() == 0)
            assert pool.get_size() == 0
            assert await pool.fetchval("SHOW work_mem") == "4MB"
    await assert_recovered(pool, observer, application_name, size=1)


# Servers.


@pytest.mark.slow
@pytest.mark.parametrize("how", [*ENDS, "backend"])
async def test_crash(place, how):
    """Everybody is told; when the server is back, the pool is whole by itself.

    One runs a query, one is in a block, one is idle; with "backend" the server itself
    does not end: it restarts all its sessions when one is killed.
    """
    pool = await place.create(min_size=3, max_size=4)
    opened = pool.stats().opened
    running = asyncio.create_task(pool.fetchval(LONG_SLEEP))
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("CREATE TEMP TABLE t (a int)")
        pid = conn.get_server_pid()
        await asleep(place.server)
        if how == "backend":
            os.kill(pid, signal.SIGKILL)
        else:
            await end(place.server, how)
        async with patience():
            with pytest.raises(chopin.PostgresError) as caught:
                await running
            assert_lost(caught.value)
            assert await looked(conn.is_closed)
        with pytest.raises(chopin.InterfaceError, match="connection is closed"):
            await conn.fetchval("SELECT 1")
        if how != "backend":
            assert pool.get_idle_size() == 0
            await start(place.server)
    assert await looked(lambda: pool.get_idle_size() == pool.get_size() == 3)
    # nobody asked for more than what the pool keeps; what was opened while the server
    # had not noticed yet is lost again
    assert 3 <= pool.stats().opened - opened <= (6 if how == "backend" else 3)
    with observing(place.server) as observer:
        await assert_recovered(pool, observer, place.name, size=3)


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
async def test_restart_under_load(place, how):
    """Who comes while the server is away waits until it is back, and is served.

    Only those are told of it whose connection was lost under them.
    """
    pool = await place.create(min_size=2, max_size=4, retry_connect=PATIENCE_S)
    errors, served, over = [], [], asyncio.Event()

    async def user():
        while not over.is_set():
            number = next(numbers)
            try:
                sql = "SELECT $1::int FROM pg_sleep(0.001)"
                assert await pool.fetchval(sql, number) == number
            except chopin.PostgresError as error:
                errors.append(error)
            else:
                served.append(number)

    async def assert_served():
        before = len(served)
        assert await looked(lambda: len(served) > before + 100)

    tasks = [asyncio.create_task(user()) for _ in range(8)]
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(2):
            await assert_served()
            await end(place.server, how)
            assert await looked(lambda: pool.stats().waiting == len(tasks))
            assert pool.get_size() == 0
            await start(place.server)
        await assert_served()
        over.set()
        await asyncio.gather(*tasks)
    for error in errors:
        assert_lost(error)
    assert len(errors) <= 2 * pool.get_max_size()
    with observing(place.server) as observer:
        await assert_recovered(pool, observer, place.name)
    # three servers have had at most so many
    assert pool.stats().opened <= 3 * pool.get_max_size()


@pytest.mark.slow
@pytest.mark.parametrize("how", [*ENDS, "backend"])
async def test_listening_goes_on(place, how):
    """Who listens is told of the gap when the server is back, and hears all behind it.

    What is said without a pause has no other holes than that.
    """
    pool = await place.create(max_size=2, retry_connect=PATIENCE_S)
    heard, over = [], asyncio.Event()

    async def speak():
        for number in itertools.count():
            if over.is_set():
                return
            with contextlib.suppress(chopin.PostgresError):
                await pool.notify("chaos", str(number))

    async with asyncio.timeout(PATIENCE_S), pool.listen("chaos") as notifications:
        speaking = asyncio.create_task(speak())
        for _ in range(100):
            heard.append(await anext(notifications))
        with observing(place.server) as observer:
            listens = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            [(pid,)] = observer.execute(listens).fetchall()
        if how == "backend":
            os.kill(pid, signal.SIGKILL)
        else:
            await end(place.server, how)
            await start(place.server)
        while not isinstance(heard[-1], chopin.Gap):
            heard.append(await anext(notifications))
        gap = len(heard)
        for _ in range(100):
            heard.append(await anext(notifications))
        over.set()
        await speaking
    assert 0 < heard[gap - 1].seconds < PATIENCE_S
    for part in (heard[: gap - 1], heard[gap:]):
        numbers = [int(item.payload) for item in part]
        # one that was lost on its way has never been said
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] - len(numbers) < 3
    stats = pool.stats()
    assert (stats.listening, stats.listeners) == (1, 0)
    with observing(place.server) as observer:
        await pool.close()
        assert await looked(lambda: not sessions(observer, place.name))


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
async def test_transaction_is_tried_again(place, how):
    """A transaction whose server ends before COMMIT is run again, and is there once."""
    with observing(place.server) as observer:
        observer.execute("DROP TABLE IF EXISTS again")
        observer.execute("CREATE TABLE again (attempt int)")
    pool = await place.create(max_size=1)
    entered, attempts = asyncio.Event(), []

    async def insert(conn):
        attempts.append(conn.get_server_pid())
        await conn.execute("INSERT INTO again VALUES ($1)", len(attempts))
        if len(attempts) == 1:
            entered.set()
            await conn.fetchval(LONG_SLEEP)
        return len(attempts)

    task = asyncio.create_task(pool.run_in_transaction(insert))
    async with asyncio.timeout(PATIENCE_S):
        await entered.wait()
        await asleep(place.server)
        await end(place.server, how)
        await start(place.server)
        assert await task == 2
    with observing(place.server) as observer:
        assert observer.execute("SELECT * FROM again").fetchall() == [(2,)]


@pytest.mark.slow
@pytest.mark.parametrize(("over", "min_size"), [("tcp", 0), ("unix", 2)])
async def test_server_is_away(place, over, min_size):
    """Who waits is told after `retry_connect`, each by an error of his own.

    It can be tried again, since nothing was sent; and the pool serves as soon as the
    server does, though nobody has opened it anew.
    """
    dsn = place.tcp_dsn if over == "tcp" else place.dsn
    pool = await place.create(
        dsn, min_size=min_size, max_size=3, retry_connect=0.2, acquire_timeout=None
    )
    await end(place.server, "fast")
    async with asyncio.timeout(PATIENCE_S):
        assert await looked(lambda: pool.get_size() == 0)
        errors = await asyncio.gather(
            *(pool.fetchval("SELECT 1") for _ in range(3)),
            *(pool.acquire() for _ in range(3)),
            pool.execute("SELECT 1"),
            return_exceptions=True,
        )
        for error in errors:
            assert isinstance(error, OSError), repr(error)
            assert not isinstance(error, TimeoutError)
            assert (kind_of(error), outcome_of(error)) == ("transient", "not_sent")
        assert len({id(error) for error in errors}) == len(errors)
        await start(place.server)
        # where nobody waits and nothing is kept, nothing has been tried
        assert await looked(lambda: pool.get_size() == min_size)
        await assert_serves(pool)
    assert pool.stats().connect_failures > 0


# Servers that refuse.


class Door(FaultProxy):
    """A proxy that may refuse whoever comes, in the name of the server.

    Attributes:
        refusal: (SQLSTATE, text) for whoever comes; None: the server decides.
        comers: how many have come.
    """

    def __init__(self, dsn):
        super().__init__(dsn)
        self.refusal = None
        self.comers = 0

    async def _serve(self, reader, writer):
        self.comers += 1
        if self.refusal is None:
            await super()._serve(reader, writer)
            return
        self._writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            size = int.from_bytes(await reader.readexactly(4))
            await reader.readexactly(size - 4)
            code, text = self.refusal
            fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
            writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
            await writer.drain()
        writer.close()


PASSING = {
    "starting": ("57P03", "the database system is starting up", "transient"),
    "recovering": ("57P03", "the database system is in recovery mode", "transient"),
    "full": ("53300", "sorry, too many clients already", "resource"),
}
FOR_GOOD = {
    "password": ("28P01", "password authentication failed", "permanent"),
    "hba": ("28000", "no pg_hba.conf entry", "permanent"),
    "database": ("3D000", "database does not exist", "permanent"),
}


@on_one_version
@pytest.mark.parametrize("why", PASSING)
async def test_refused_for_a_while(create, tcp_dsn, why):
    """A server that cannot just now is asked again, until it can or time is over."""
    *refusal, kind = PASSING[why]
    async with patience(), Door(tcp_dsn) as door:
        pool = await create(door.dsn, ssl="disable", acquire_timeout=None)
        door.refusal = refusal
        waiting = [asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(3)]
        assert await looked(lambda: pool.stats().connect_failures >= 3)
        assert not any(task.done() for task in waiting)
        door.refusal = None
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        await pool.close()

        pool = await create(door.dsn, ssl="disable", retry_connect=SHORT)
        door.refusal = refusal
        for use in (lambda: pool.acquire(), lambda: pool.fetchval("SELECT 1")):
            with pytest.raises(chopin.PostgresError, match=refusal[1]) as caught:
                await use()
            assert (caught.value.kind, caught.value.outcome) == (kind, "not_sent")
            assert caught.value.sqlstate == refusal[0]
        door.refusal = None
        await assert_serves(pool, size=1)
        await pool.close()


@on_one_version
@pytest.mark.parametrize("why", FOR_GOOD)
async def test_refused_for_good(create, tcp_dsn, why):
    """What trying again cannot help is told at once to everybody who waits."""
    *refusal, kind = FOR_GOOD[why]
    async with patience(), Door(tcp_dsn) as door:
        pool = await create(
            door.dsn,
            ssl="disable",
            openers=1,
            acquire_timeout=None,
            retry_connect=PATIENCE_S,
        )
        door.refusal = refusal
        errors = await asyncio.gather(
            *(pool.fetchval("SELECT 1") for _ in range(3)), return_exceptions=True
        )
        for error in errors:
            assert isinstance(error, chopin.PostgresError)
            assert (error.sqlstate, error.kind) == (refusal[0], kind)
            assert error.outcome == "not_sent"
        assert len({id(error) for error in errors}) == 3
        assert door.comers == 1
        door.refusal = None
        await assert_serves(pool, size=1)
        await pool.close()


@on_one_version
async def test_one_that_serves_is_enough(create, tcp_dsn):
    """Refused connects are not told while there is a connection to wait for."""
    async with patience(), Door(tcp_dsn) as door:
        pool = await create(door.dsn, ssl="disable", retry_connect=0.0)
        async with borrowed(pool) as conn:
            pid = conn.get_server_pid()
            door.refusal = FOR_GOOD["password"][:2]
            waiting = asyncio.create_task(pool.fetchval(PID))
            assert await looked(lambda: pool.stats().connect_failures > 0)
            with pytest.raises(chopin.PoolTimeoutError) as caught:
                await pool.acquire(timeout=SHORT)
            cause = caught.value.__cause__
            assert isinstance(cause, chopin.InvalidPasswordError)
            assert not waiting.done()
        assert await waiting == pid
        await pool.close()


async def test_password_is_changed(place):
    """A pool goes on with what it has; new connections need the new password."""
    pool = await place.create(
        place.tcp_dsn, user=USER, password=PASSWORD, max_size=2, acquire_timeout=None
    )
    who = "SELECT current_user::text"
    with observing(place.server) as observer:
        assert await pool.fetchval(who) == USER
        observer.execute(f"ALTER ROLE {USER} PASSWORD 'second'")
        try:
            assert await pool.fetchval(who) == USER
            await pool.expire_connections()
            async with patience():
                for _ in range(2):
                    with pytest.raises(chopin.InvalidPasswordError):
                        await pool.fetchval(who)
            pool.set_connect_args(place.tcp_dsn, user=USER, password="second")
            async with patience():
                assert await pool.fetchval(who) == USER
        finally:
            observer.execute(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'")


async def test_role_is_full(place):
    """A limit of the server's own is waited for, like one of the pool's."""
    with observing(place.server) as observer:
        observer.execute("DROP ROLE IF EXISTS few")
        observer.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 1")
        one = await place.create(user="few", max_size=1, acquire_timeout=None)
        two = await place.create(user="few", max_size=1, acquire_timeout=None)
        async with patience():
            async with one.acquire():
                waiting = asyncio.create_task(two.fetchval("SELECT current_user::text"))
                assert await looked(lambda: two.stats().connect_failures > 1)
                assert not waiting.done()
                await one.expire_connections()
            assert await waiting == "few"


# Servers that say nothing.


@contextlib.asynccontextmanager
async def silence(tcp_dsn):
    """A proxy that passes nothing on to who comes from now on."""
    async with FaultProxy(tcp_dsn, to_client=Faults(after=0, action="stall")) as proxy:
        yield proxy


@on_one_version
async def test_connect_gets_no_answer(create, tcp_dsn):
    """Nobody waits for a connect for longer than he wanted to, and it is called off."""
    async with patience(), silence(tcp_dsn) as proxy:
        pool = await create(proxy.dsn, ssl="disable")
        with pytest.raises(chopin.PoolTimeoutError, match="being opened"):
            await pool.acquire(timeout=SHORT)
        with pytest.raises(chopin.PoolTimeoutError, match="being opened"):
            await pool.fetchval("SELECT 1", timeout=SHORT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await pool.execute("SELECT 1")
        assert pool.stats().opening > 0
        await pool.close()
        assert pool.get_size() == pool.stats().opening == 0


@on_one_version
async def test_connect_times_out(create, tcp_dsn):
    """A connect that takes longer than `timeout` is tried again, and told at last."""
    async with patience(), silence(tcp_dsn) as proxy:
        pool = await create(
            proxy.dsn,
            ssl="disable",
            timeout=SHORT,
            retry_connect=2 * SHORT,
            acquire_timeout=None,
        )
        with pytest.raises(TimeoutError) as caught:
            await pool.fetchval("SELECT 1")
        assert not isinstance(caught.value, chopin.PoolTimeoutError)
        assert pool.stats().connect_failures > 1
        proxy.to_client = Faults()
        await assert_serves(pool)
        await pool.close()


@on_one_version
async def test_opening_gets_no_answer(create, tcp_dsn):
    """A pool that cannot be opened in time is closed, and leaves nothing."""
    async with patience(), silence(tcp_dsn) as proxy:
        pool = create(proxy.dsn, ssl="disable", min_size=2, timeout=SHORT)
        with pytest.raises(TimeoutError):
            await pool
        assert pool.is_closing()
        assert pool.get_size() == 0


async def test_server_is_frozen(place):
    """A server that stops answering is given up in time; later it serves again."""
    pool = await place.create(max_size=2)
    pid = await pool.fetchval(PID)
    async with patience():
        with frozen(place.server.pid), frozen(pid):
            with pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1", timeout=SHORT)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await pool.acquire(timeout=SHORT)
                with pytest.raises(TimeoutError):
                    await pool.fetchval("SELECT 1", timeout=SHORT)
        await assert_serves(pool)


@on_one_version
async def test_backend_is_frozen(create):
    """A connection that says nothing keeps nobody but its user from working."""
    pool = await create(max_size=2)
    async with patience():
        pid = await pool.fetchval(PID)
        with frozen(pid):
            with pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1", timeout=SHORT)
            for _ in range(3):
                assert await pool.fetchval(PID) != pid
            async with pool.acquire() as conn:
                assert conn.get_server_pid() != pid
        await assert_serves(pool)


@on_one_version
@pytest.mark.parametrize("validate", ["always", "idle:0"])
@pytest.mark.parametrize("use", ["acquire", "fetchval"])
async def test_check_gets_no_answer(create, observer, application_name, use, validate):
    """A check of a silent connection takes no longer than its caller wanted to wait."""
    pool = await create(min_size=2, max_size=2, validate=validate)
    pids = [row[0] for row in sessions(observer, application_name)]
    with contextlib.ExitStack() as stack:
        for pid in pids:
            stack.enter_context(frozen(pid))
        # much less than a check may take
        async with asyncio.timeout(2):
            with pytest.raises(TimeoutError) as caught:
                if use == "acquire":
                    await pool.acquire(timeout=SHORT)
                else:
                    await pool.fetchval("SELECT 1", timeout=SHORT)
        assert caught.value.__class__ is not TimeoutError or use == "fetchval"
    await assert_serves(pool)
