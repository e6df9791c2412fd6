"""`pool.listen` on real servers: a connection of each loop, whatever happens to it."""

import asyncio
import contextlib
import gc

import pytest
import uvloop

import chopin
from tests.support.await_points import WHEN, cancel_at
from tests.support.faultproxy import FaultProxy, Faults
from tests.support.oneversion import on_one_version
from tests.support.pools import assert_serves, patience
from tests.support.poolwatch import OtherLoop, looked, sessions

FACTORIES = {"plain": asyncio.new_event_loop, "uv": uvloop.new_event_loop}
MANY = 10_000


async def payloads(notifications, count=1):
    """The next payloads; a gap is not among them."""
    async with patience():
        return [(await anext(notifications)).payload for _ in range(count)]


async def gap_of(notifications):
    """The next item, which must be a gap."""
    async with patience():
        item = await anext(notifications)
    assert isinstance(item, chopin.Gap)
    return item


async def test_listen(create, observer, application_name):
    """One connection beside the pool's own, whatever the number of blocks."""
    pool = await create(min_size=1, max_size=1)
    assert pool.stats().listening == 0
    async with (
        pool.acquire() as conn,
        pool.listen("a", "B b") as both,
        pool.listen("a") as one,
    ):
        assert len(sessions(observer, application_name)) == 2
        stats = pool.stats()
        assert (stats.size, stats.listening, stats.listeners) == (1, 1, 2)
        assert pool.get_size() == pool.get_max_size() == 1
        await conn.notify("a", "é")
        await conn.execute('NOTIFY "B b"')
        pid = conn.get_server_pid()
        async with patience():
            assert await anext(both) == chopin.Notification(pid, "a", "é")
            assert await anext(both) == chopin.Notification(pid, "B b", "")
            assert await anext(one) == chopin.Notification(pid, "a", "é")
    await assert_serves(pool, size=1)
    await pool.close()
    assert await looked(lambda: not sessions(observer, application_name))


async def test_entered_means_listening(create):
    """What is said as soon as a block is entered is heard, for the first and later."""
    pool = await create()
    for number in range(50):
        async with pool.listen(f"a{number % 3}") as notifications:
            await pool.notify(f"a{number % 3}", str(number))
            assert await payloads(notifications) == [str(number)]


async def test_many(create):
    """Ten thousand to a hundred blocks: each hears all of its own, in order."""
    pool = await create()
    async with contextlib.AsyncExitStack() as stack:
        blocks = [
            await stack.enter_async_context(pool.listen(str(number), queue_size=MANY))
            for number in range(100)
        ]
        async with pool.listen(*map(str, range(100)), queue_size=MANY) as every:
            await pool.execute(
                "SELECT pg_notify((n % 100)::text, n::text)"
                f" FROM generate_series(0, {MANY - 1}) AS n"
            )
            assert await payloads(every, MANY) == list(map(str, range(MANY)))
        for number, block in enumerate(blocks):
            want = list(map(str, range(number, MANY, 100)))
            assert await payloads(block, MANY // 100) == want


async def test_terminated(create, observer, application_name):
    """The backend ends: a gap, then everything again."""
    pool = await create()
    async with pool.listen("a") as notifications:
        for number in range(3):
            [(pid, *_)] = sessions(observer, application_name)
            observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            gap = await gap_of(notifications)
            assert isinstance(gap.reason, chopin.AdminShutdownError)
            assert 0 < gap.seconds < 5
            observer.execute("SELECT pg_notify('a', %s)", [str(number)])
            assert await payloads(notifications) == [str(number)]


async def test_network_that_swallows_everything(tcp_dsn, create, observer, monkeypatch):
    """A dead link says nothing at all: it is asked, and another one is made."""
    monkeypatch.setattr("chopin._hub.ANSWER_TIMEOUT", 0.1)
    async with FaultProxy(tcp_dsn) as proxy:
        options = {"listen_check": 0.1, "ssl": "disable"}
        pool = await create(proxy.dsn, **options)
        async with pool.listen("a") as notifications:
            observer.execute("SELECT pg_notify('a', 'before')")
            assert await payloads(notifications) == ["before"]
            # what comes from now on is lost without a word, on this connection
            proxy.to_client.after, proxy.to_client.action = proxy.passed, "stall"
            proxy.to_client = Faults()
            gap = await gap_of(notifications)
            assert isinstance(gap.reason, TimeoutError)
            observer.execute("SELECT pg_notify('a', 'after')")
            assert await payloads(notifications) == ["after"]
        await pool.close()


@pytest.mark.parametrize("when", WHEN)
async def test_cancelled_while_entering(create, observer, application_name, when):
    """Wherever that is, the next block hears, and closing leaves nothing."""
    for number in range(1, 50):
        pool = await create()
        went_on = await cancel_at([number], pool.listen("a").__aenter__(), when)
        async with pool.listen("a") as notifications:
            await pool.notify("a", "x")
            assert await payloads(notifications) == ["x"]
        await pool.close()
        assert pool.stats().listening == 0
        if not went_on:
            break
    assert number > 1
    assert await looked(lambda: not sessions(observer, application_name))


async def test_init(create):
    """`init` sees the connection, as it sees all."""
    seen = []

    async def init(conn):
        seen.append(await conn.fetchval("SELECT 1"))

    pool = await create(init=init)
    async with pool.listen("a"):
        assert seen == [1]


async def test_disabled_and_closed(create):
    """No block is entered then; who listens goes on while the pool is disabled."""
    pool = create()
    with pytest.raises(chopin.PoolError, match="not initialized"):
        async with pool.listen("a"):
            pass
    await pool
    async with pool.listen("a") as notifications:
        pool.disable()
        with pytest.raises(chopin.PoolDisabledError):
            async with pool.listen("a"):
                pass
        pool.enable()
        await pool.notify("a", "x")
        assert await payloads(notifications) == ["x"]
        await pool.close()
        with pytest.raises(chopin.PoolError, match="pool is closing"):
            await anext(notifications)
    with pytest.raises(chopin.PoolError, match="pool is closed"):
        async with pool.listen("a"):
            pass


async def test_dropped_pool(dsn, observer, application_name):
    """A pool that is dropped takes its listening connection along, with a warning."""
    pool = await chopin.create_pool(dsn, min_size=0)
    async with pool.listen("a"):
        pass
    assert len(sessions(observer, application_name)) == 1
    with pytest.warns(ResourceWarning, match="unclosed pool"):
        del pool
        gc.collect()
    assert await looked(lambda: not sessions(observer, application_name))


# Other loops.


@on_one_version
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
async def test_each_loop(server, create, factory, observer, application_name):
    """Each loop has a connection of its own, and what is said is heard in both."""
    async with OtherLoop(factory) as other:
        pool = await create()

        async def hear():
            async with pool.listen("a") as notifications:
                entered.set()
                return await payloads(notifications, 2)

        async def enter():
            nonlocal entered
            entered = asyncio.Event()
            hearing = asyncio.create_task(hear())
            await entered.wait()
            return hearing

        entered = None
        async with pool.listen("a") as notifications:
            hearing = await other.run(enter())
            assert pool.stats().listening == 2
            for payload in "xy":
                await pool.notify("a", payload)
            assert await payloads(notifications, 2) == ["x", "y"]

            async def result():
                return await hearing

            assert await other.run(result()) == ["x", "y"]
        await pool.close()
        assert pool.stats().listening == 0
        assert await looked(lambda: not sessions(observer, application_name))
