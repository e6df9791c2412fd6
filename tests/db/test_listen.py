"""LISTEN and NOTIFY on a connection, with asyncpg beside it.

What is expected of `add_listener` and `remove_listener` was first seen to hold for
asyncpg, but where it is said.
"""

import asyncio

import asyncpg
import pytest

import chopin
from tests.support.await_points import WHEN, cancel_at
from tests.support.backends import until_gone
from tests.support.pools import (
    PATIENCE_S,
    PID,
    assert_serves,
    eventually,
    patience,
    turns,
)
from tests.support.proxy import recorded

CHANNELS = "SELECT array(SELECT pg_listening_channels())"
MANY = 10_000
ODD = ['x"; DROP TABLE t; --', "Case", "case", " ", "é" * 31, "a.b", "😀"]


@pytest.fixture
async def speaker(connect):
    """Another connection."""
    return await connect()


class Ears:
    """Listeners that remember what they were called with."""

    def __init__(self):
        self.heard = []

    def plain(self, *args):
        self.heard.append(args)

    async def coroutine(self, *args):
        self.heard.append(args)

    async def until(self, count):
        async with patience():
            await eventually(lambda: len(self.heard) >= count)
        return self.heard


@pytest.fixture
def ears():
    return Ears()


async def next_of(notifications, count=1):
    """The next items."""
    async with patience():
        return [await anext(notifications) for _ in range(count)]


async def payloads(notifications, count=1):
    """The next payloads."""
    return [item.payload for item in await next_of(notifications, count)]


@pytest.mark.parametrize("driver", [chopin, asyncpg], ids=["chopin", "asyncpg"])
async def test_listeners(driver, dsn, speaker, ears):
    """Each is called once, however often it was added; LISTEN and UNLISTEN are sent."""
    conn = await driver.connect(dsn)
    assert await conn.add_listener("a", ears.plain) is None
    await conn.add_listener("a", ears.plain)
    await conn.add_listener("A b", ears.coroutine)
    assert sorted(await conn.fetchval(CHANNELS)) == ["A b", "a"]
    await speaker.execute("NOTIFY a, 'one'")
    await speaker.execute('NOTIFY "A b"; NOTIFY nobody')
    pid = speaker.get_server_pid()
    assert await ears.until(2) == [(conn, pid, "a", "one"), (conn, pid, "A b", "")]
    await conn.remove_listener("a", ears.coroutine)
    await conn.remove_listener("never", ears.plain)
    assert await conn.fetchval("SELECT count(*) FROM pg_listening_channels()") == 2
    await conn.remove_listener("a", ears.plain)
    assert await conn.fetchval(CHANNELS) == ["A b"]
    await speaker.execute('NOTIFY a; NOTIFY "A b"')
    await ears.until(3)
    assert len(ears.heard) == 3
    await conn.close()
    assert await conn.remove_listener("A b", ears.coroutine) is None
    with pytest.raises(driver.InterfaceError, match="connection is closed"):
        await conn.add_listener("a", ears.plain)


async def test_listener_must_be_callable(conn):
    """Nothing is sent for one that is not; asyncpg has sent LISTEN by then."""
    with pytest.raises(chopin.InterfaceError, match="expected a callable"):
        await conn.add_listener("a", 7)
    assert await conn.fetchval(CHANNELS) == []


@pytest.mark.parametrize("channel", ODD)
async def test_odd_names(conn, speaker, ears, channel):
    """A name is a name, and heard as it was given."""
    await conn.add_listener(channel, ears.plain)
    assert await conn.fetchval(CHANNELS) == [channel]
    await speaker.notify(channel, channel)
    assert [args[2:] for args in await ears.until(1)] == [(channel, channel)]
    await conn.remove_listener(channel, ears.plain)
    assert await conn.fetchval(CHANNELS) == []


async def test_limits(conn, speaker):
    """What we refuse the server would cut or refuse, and what we take it takes."""
    async with conn.listen("n" * 63) as notifications:
        await speaker.notify("n" * 63, "p" * 7999)
        assert await payloads(notifications) == ["p" * 7999]
    for channel, payload in (("n" * 64, ""), ("n", "p" * 8000), ("", "")):
        with pytest.raises(chopin.InvalidParameterValueError):
            await conn.fetchval("SELECT pg_notify($1, $2)", channel, payload)
        with pytest.raises(ValueError, match="channel|payload"):
            await conn.notify(channel, payload)
    assert not conn.is_in_transaction()


async def test_notify(conn, speaker):
    """It says nothing with None, says it at COMMIT, and leaves the session clean."""
    speaker._session.dirty = False  # as a pool says
    async with conn.listen("a") as notifications:
        async with speaker.transaction():
            await speaker.notify("a", "in a block")
            await speaker.notify("a", "in a block")
            await conn.notify("a")
            assert await payloads(notifications) == [""]
        assert await payloads(notifications) == ["in a block"]
        with pytest.raises(ZeroDivisionError):
            async with speaker.transaction():
                await speaker.notify("a", "never")
                raise ZeroDivisionError
        await speaker.notify("a", "' || 1/0 || '")
        assert await payloads(notifications) == ["' || 1/0 || '"]
    assert not speaker._session.dirty


# Blocks.


async def test_block(conn, speaker):
    """It hears all of its channels in order, then no more."""
    async with conn.listen("a", "b", "a") as notifications:
        assert notifications.channels == ("a", "b")
        for number in range(10):
            await speaker.notify("ab"[number % 2], str(number))
        got = await next_of(notifications, 10)
        pid = speaker.get_server_pid()
        assert got == [(pid, "ab"[n % 2], str(n)) for n in range(10)]
        assert got[0] == chopin.Notification(pid=pid, channel="a", payload="0")
        async with conn.listen("b", "c"):
            pass
        assert sorted(await conn.fetchval(CHANNELS)) == ["a", "b"]
    assert await conn.fetchval(CHANNELS) == []


async def test_while_it_works(conn, speaker):
    """Queries and blocks do not notice each other."""
    async with conn.listen("a") as notifications:

        async def speak():
            for number in range(200):
                await speaker.notify("a", str(number))

        speaking = asyncio.create_task(speak())
        rows = "SELECT generate_series(1, $1::int) AS a"
        numbers = 0
        while not speaking.done() or not numbers:
            got = await conn.fetch(rows, 300)
            assert [row[0] for row in got] == list(range(1, 301))
            numbers += 1
        await speaking
        assert await payloads(notifications, 200) == list(map(str, range(200)))


async def test_table_and_notifications(conn, speaker):
    """Listening first and reading then misses nothing and needs no luck."""
    await conn.execute("CREATE TABLE IF NOT EXISTS listened (number int)")
    await conn.execute("TRUNCATE listened")
    insert = "INSERT INTO listened VALUES ($1)"
    over = asyncio.Event()

    async def write():
        number = 0
        while not over.is_set():
            async with speaker.transaction():
                await speaker.execute(insert, number)
                await speaker.notify("listened", str(number))
            number += 1
        return number

    writing = asyncio.create_task(write())
    for _ in range(20):
        async with conn.listen("listened") as notifications:
            rows = await conn.fetch("SELECT number FROM listened ORDER BY 1")
            seen = len(rows)
            for _ in range(3):
                number = int((await payloads(notifications))[0])
                assert number <= seen, "one is missing"
                seen = max(seen, number + 1)
    over.set()
    await writing


@pytest.mark.parametrize("how", ["close", "terminate", "backend"])
async def test_end_of_the_connection(how, connect, observer):
    """Who listens is told."""
    conn = await connect()
    async with conn.listen("a") as notifications:
        waiting = asyncio.ensure_future(anext(notifications))
        await turns()
        if how == "close":
            await conn.close()
        elif how == "terminate":
            conn.terminate()
        else:
            pid = conn.get_server_pid()
            observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        with pytest.raises(
            chopin.ConnectionDoesNotExistError, match="while it listened"
        ) as caught:
            async with patience():
                await waiting
        assert caught.value.kind == "transient"
        if how == "backend":
            cause = caught.value.__cause__
            assert isinstance(cause, chopin.AdminShutdownError)
    with pytest.raises(chopin.InterfaceError, match="connection is closed"):
        async with conn.listen("a"):
            pass


@pytest.mark.parametrize("when", WHEN)
async def test_cancelled_while_entering(conn, speaker, when):
    """Wherever that is, the connection goes on, and the next block hears."""

    async def listen():
        async with conn.listen("a") as notifications:
            await speaker.notify("a", "x")
            assert await payloads(notifications) == ["x"]

    for number in range(1, 50):
        went_on = await cancel_at([number], listen(), when)
        await listen()
        assert await conn.fetchval(CHANNELS) == []
        if not went_on:
            break
    assert number > 2


async def test_reset(conn, speaker, ears):
    """It ends blocks and forgets listeners, as asyncpg does."""
    await conn.add_listener("a", ears.plain)
    async with conn.listen("a") as notifications:
        await conn.reset()
        with pytest.raises(chopin.InterfaceError, match="the connection was reset"):
            await anext(notifications)
        await speaker.notify("a", "to nobody")
        assert await conn.fetchval(CHANNELS) == []
        await conn.add_listener("a", ears.plain)
        await speaker.notify("a", "again")
        assert [args[3] for args in await ears.until(1)] == ["again"]


# Transactions.


@pytest.mark.parametrize(
    "ends", ["commit", "rollback", "savepoint", "by hand", "fails"]
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
async def test_added_in_a_transaction(conn, speaker, ears, ends, is_first):
    """It listens from the end of the block on, whatever that is.

    With asyncpg it is deaf after a rollback, and so is whoever is added next.
    """
    block = conn.transaction()
    await block.start()
    if not is_first:
        await conn.fetchval("SELECT 1")
    if ends == "savepoint":
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await conn.add_listener("a", ears.plain)
                raise ZeroDivisionError
        await block.commit()
    else:
        await conn.add_listener("a", ears.plain)
        await speaker.notify("a", "too early")
        if ends == "commit":
            await block.commit()
        elif ends == "rollback":
            await block.rollback()
        elif ends == "by hand":
            await conn.execute("ROLLBACK")
        else:
            with pytest.raises(chopin.DivisionByZeroError):
                await conn.execute("SELECT 1 / 0")
            await block.rollback()
    await turns()
    assert await conn.fetchval(CHANNELS) == ["a"]
    await speaker.notify("a", "now")
    assert [args[3] for args in await ears.until(1)] == ["now"]


async def test_added_while_a_block_ends(conn, speaker, ears):
    """Another task rolls back in the same packet."""
    async with patience():
        await conn.execute("BEGIN")
        adding = conn.add_listener("a", ears.plain)
        await asyncio.gather(adding, conn.execute("ROLLBACK"))
        await turns()
        assert await conn.fetchval(CHANNELS) == ["a"]
        await speaker.notify("a", "now")
        await ears.until(1)


async def test_added_while_a_block_begins(conn, speaker, ears):
    """Something from before it is still running."""
    async with patience():
        before = asyncio.create_task(conn.fetchval("SELECT pg_sleep(0.01)"))
        await turns()
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await conn.add_listener("a", ears.plain)
                await before
                raise ZeroDivisionError
        await turns()
        assert await conn.fetchval(CHANNELS) == ["a"]


async def undone_block(conn, ears):
    """A listener is added in a block that rolls back, just now."""
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.add_listener("a", ears.plain)
            raise ZeroDivisionError


@pytest.mark.parametrize("ends", ["rollback", "fails", "fails in a savepoint"])
async def test_the_next_block_is_undone_too(conn, speaker, ears, ends):
    """LISTEN is said again in that one, and undone or refused there."""
    await undone_block(conn, ears)
    if ends == "rollback":
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await conn.execute("SELECT 1")
                raise ZeroDivisionError
    else:
        with pytest.raises(chopin.DivisionByZeroError):
            async with conn.transaction():
                if ends == "fails":
                    await conn.execute("SELECT 1 / 0")
                async with conn.transaction():
                    await conn.execute("SELECT 1 / 0")
    await turns()
    assert await conn.fetchval(CHANNELS) == ["a"]
    await speaker.notify("a", "now")
    assert [args[3] for args in await ears.until(1)] == ["now"]


async def test_many_blocks_are_undone(conn, ears):
    """It listens as soon as there is room between them."""
    await undone_block(conn, ears)
    for _ in range(20):
        with pytest.raises(chopin.DivisionByZeroError):
            async with conn.transaction():
                await conn.execute("SELECT 1 / 0")
    await turns()
    assert await conn.fetchval(CHANNELS) == ["a"]


async def test_block_that_begins_and_ends_around_it(conn, ears):
    """Whoever adds a listener need not know of the block that others are beginning."""
    async with patience():
        await asyncio.gather(
            conn.execute("BEGIN"),
            conn.add_listener("a", ears.plain),
            conn.execute("ROLLBACK"),
        )
        await turns()
        assert await conn.fetchval(CHANNELS) == ["a"]


@pytest.mark.parametrize("how", ["stream", "copy_out", "copy_in"])
async def test_stream_behind_the_block(conn, speaker, ears, how):
    """LISTEN cannot be said while a stream or a COPY is open; it is, behind that."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    async with patience():
        await undone_block(conn, ears)
        if how == "copy_in":
            async with conn.copy_in("t") as copy:
                await turns()
                await copy.write_row((1,))
        else:
            rows = conn.stream if how == "stream" else conn.copy_out
            async for _ in rows("SELECT generate_series(1, 3)"):
                await turns()
        await turns()
        assert await conn.fetchval(CHANNELS) == ["a"]
        await speaker.notify("a", "now")
        await ears.until(1)


async def test_no_time_limit_behind_the_block(connect, ears):
    """`command_timeout` is for calls of the user's: LISTEN waits for longer."""
    conn = await connect(command_timeout=0.2)
    await undone_block(conn, ears)
    await conn.execute("SELECT pg_sleep(0.5)", timeout=PATIENCE_S)
    await turns()
    assert await conn.fetchval(CHANNELS) == ["a"]


async def test_said_once_behind_a_block(connect, tcp_dsn, ears):
    """Later blocks have nothing to do with it."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await undone_block(conn, ears)
        await turns()
        assert await conn.fetchval(CHANNELS) == ["a"]
        said = wire.kinds.count("Q")
        for _ in range(3):
            async with conn.transaction():
                await conn.fetchval("SELECT 1")
            await turns()
        await conn.fetchval("SELECT 1")
        assert wire.kinds.count("Q") == said + 3  # the COMMITs


async def test_refused_behind_the_block(conn, tidy, ears, monkeypatch):
    """If the server does not want it, nobody is deaf without knowing."""
    await undone_block(conn, ears)
    monkeypatch.setattr("chopin.listening.script", lambda *_: "SELECT 1 / 0")
    async with patience():
        await eventually(lambda: tidy.loop_errors)
    monkeypatch.undo()
    [context] = tidy.loop_errors
    tidy.loop_errors.clear()
    assert isinstance(context["exception"], chopin.DivisionByZeroError)
    await conn.add_listener("a", ears.plain)
    assert await conn.fetchval(CHANNELS) == ["a"]


async def test_added_and_removed_at_once(conn, speaker, ears):
    """Who leaves does not take the channel from who is about to come."""

    async def pass_by():
        await conn.add_listener("a", print)
        await conn.remove_listener("a", print)

    async with patience():
        for _ in range(3):
            await asyncio.gather(pass_by(), conn.add_listener("a", ears.plain))
            assert await conn.fetchval(CHANNELS) == ["a"]
            await conn.remove_listener("a", ears.plain)
            assert await conn.fetchval(CHANNELS) == []


async def test_removed_in_a_transaction_that_rolls_back(conn, speaker, ears):
    """Nobody is called, and who is added again hears."""
    await conn.add_listener("a", ears.plain)
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.remove_listener("a", ears.plain)
            raise ZeroDivisionError
    await speaker.notify("a", "to nobody")
    await conn.fetchval("SELECT 1")
    async with conn.listen("a") as notifications:
        await speaker.notify("a", "to the block")
        assert await payloads(notifications) == ["to the block"]
    assert ears.heard == []


async def test_in_a_failed_transaction(conn, ears):
    """Nothing can be added there; a block that ends there ends."""
    block = conn.transaction()
    await block.start()
    async with conn.listen("a"):
        with pytest.raises(chopin.DivisionByZeroError):
            await conn.execute("SELECT 1 / 0")
        with pytest.raises(chopin.InFailedSQLTransactionError):
            await conn.add_listener("b", ears.plain)
    await block.rollback()
    await turns()
    assert await conn.fetchval(CHANNELS) == []


# Pools' connections.


@pytest.fixture
async def pool(create):
    """A pool of one connection."""
    return await create(max_size=1)


async def test_released(pool, speaker, ears):
    """Listeners that were left go with a warning, and the next user hears nothing."""
    conn = await pool.acquire()
    pid = await conn.fetchval(PID)
    await conn.add_listener("a", ears.plain)
    await conn.add_listener("b", ears.plain)
    await speaker.notify("a", "mine")
    [(got, *_)] = await ears.until(1)
    assert got is conn
    with pytest.warns(chopin.InterfaceWarning, match="2 active notification listeners"):
        await pool.release(conn)
    with pytest.raises(chopin.InterfaceError, match="released back to the pool"):
        await conn.remove_listener("a", ears.plain)
    async with pool.acquire() as conn:
        assert await conn.fetchval(PID) == pid
        assert await conn.fetchval(CHANNELS) == []
        async with conn.listen("b") as notifications:
            await speaker.notify("a", "nobody's")
            await speaker.notify("b", "his")
            assert await payloads(notifications) == ["his"]
    await turns()
    assert len(ears.heard) == 1
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("reset", ["auto", "never", "always"])
async def test_released_within_a_block(create, speaker, reset):
    """Who still reads is told; what was said to him is not said to the next one."""
    pool = await create(max_size=1, reset=reset)
    conn = await pool.acquire()
    async with conn.listen("a") as notifications:
        waiting = asyncio.ensure_future(anext(notifications))
        await turns()
        await speaker.notify("a", "one")
        async with patience():
            assert (await waiting).payload == "one"
        await speaker.notify("a", "two")
        with pytest.warns(chopin.InterfaceWarning, match="1 active notification"):
            await pool.release(conn)
        async with pool.acquire() as other, other.listen("a") as his:
            await speaker.notify("a", "his")
            assert (await payloads(his))[-1] == "his"
    await assert_serves(pool, size=1)


async def test_released_ahead_of_what_was_said(pool, speaker, ears):
    """The next user's listener on the same channel hears nothing of before."""
    for _ in range(20):
        conn = await pool.acquire()
        await conn.add_listener("a", lambda *args: None)
        speaking = asyncio.gather(*(speaker.notify("a", "before") for _ in range(5)))
        await turns(1)
        with pytest.warns(chopin.InterfaceWarning):
            await pool.release(conn)
        async with pool.acquire() as other:
            await speaking
            await other.add_listener("a", ears.plain)
            await speaker.notify("a", "after")
            await ears.until(1)
            await other.remove_listener("a", ears.plain)
            assert {args[3] for args in ears.heard} == {"after"}
            ears.heard.clear()


async def test_dropped(pool, speaker, ears):
    """A connection that is dropped takes its listeners along."""
    conn = await pool.acquire()
    await conn.add_listener("a", ears.plain)
    with pytest.warns(ResourceWarning, match="was acquired from a pool and dropped"):
        del conn
    await turns()
    await assert_serves(pool, size=1)
    async with pool.acquire() as conn:
        assert await conn.fetchval(CHANNELS) == []
        await speaker.notify("a", "to nobody")
    assert ears.heard == []


async def test_unclosed(dsn, observer):
    """A connection with listeners that is dropped is closed, with a warning."""
    conn = await chopin.connect(dsn)
    pid = conn.get_server_pid()
    await conn.add_listener("a", print)
    with pytest.warns(ResourceWarning, match="unclosed connection"):
        del conn
    await until_gone(observer, pid)


# Speed.


async def test_many(conn, speaker):
    """Ten thousand to a hundred listeners: each hears all of its own, in order."""
    heard = {str(number): [] for number in range(100)}

    def listen(conn, pid, channel, payload):
        heard[channel].append(int(payload))

    for channel in heard:
        await conn.add_listener(channel, listen)
    async with conn.listen(*heard, queue_size=MANY) as notifications:
        await speaker.execute(
            "SELECT pg_notify((n % 100)::text, n::text)"
            f" FROM generate_series(0, {MANY - 1}) AS n"
        )
        got = await next_of(notifications, MANY)
    await turns()
    assert [int(each.payload) for each in got] == list(range(MANY))
    for channel, numbers in heard.items():
        assert numbers == list(range(int(channel), MANY, 100))
