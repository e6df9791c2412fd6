"""Connections in somebody's hands: who holds them, and what is left when they are back.

What they can do on a real server is told in ``tests/db/test_pool_handles.py``. Here a
scripted server sees what is sent: by what was given back, nothing.
"""

import abc
import asyncio
import gc
import inspect
import re
import struct
import threading
import types
import warnings
import weakref

import pytest

import chopin
from chopin import _lease
from chopin._lease import Holder, holds_one_of, lease_of
from tests.support.poolfakes import in_virtual_time
from tests.support.postmaster import Canned, Postmaster

SQL = "SELECT a FROM t"
ONE = Canned([("a", 23)], [(struct.pack("!i", 1),)])
RELEASED = "connection has been released back to the pool"
UNDERLYING = "the underlying connection has been released back to the pool"
DROPPED = "was acquired from a pool and dropped"


def methods(kind):
    """The names of all that can be called on it."""
    return [
        name
        for name in dir(kind)
        if not name.startswith("_") and callable(getattr(kind, name))
    ]


class Server(Postmaster):
    """Answers `SQL`, and what resets a session."""

    def __init__(self):
        session = types.SimpleNamespace(own_roles="")
        made = types.SimpleNamespace(_session=session)
        reset = chopin.Connection.get_reset_query(made).split(";")
        tidied = {sql.strip(): Canned(tag="SET") for sql in reset}
        super().__init__(unix=True, statements={SQL: ONE} | tidied)

    def heard(self):
        """The names of all messages so far, of all connections."""
        return [name for conn in self.sessions for name in conn.names()]


def create(server, **options):
    """A pool of one connection."""
    place = {"host": server.host, "port": server.port, "user": "ada"}
    sizes = {"min_size": 0, "max_size": 1}
    return chopin.create_pool(**place, database="app", **sizes | options)


def part_of(pool):
    """The part of a pool that belongs to this loop."""
    return pool._parts[asyncio.get_running_loop()]


async def settle():
    """Let everybody do what he can."""
    await asyncio.sleep(0.01)


def assert_at_rest(pool, size=1):
    """All its connections are idle, and nobody waits."""
    stats = pool.stats()
    assert (stats.size, stats.idle) == (size, size)
    assert (stats.lent, stats.waiting) == (0, 0)
    assert pool.holders() == []


# Given back


class Own(chopin.Connection):
    """Has methods of every kind."""

    noted = "noted"

    def plain(self, *args):
        """The user's own."""

    async def awaited(self):
        """The user's own."""

    async def generated(self):
        """The user's own."""
        yield

    @classmethod
    def of_class(cls):
        """The user's own."""

    @staticmethod
    def of_nobody():
        """The user's own."""

    @property
    def twice(self):
        """By way of the server."""
        return self.get_server_pid() * 2

    def _private(self):
        return self._session.backend_pid


@pytest.fixture(scope="module")
def released():
    """Connections of both classes that were given back, by class."""
    made = {}

    @in_virtual_time
    async def make():
        async with Server() as server:
            for kind in (chopin.Connection, Own):
                async with create(server, connection_class=kind) as pool:
                    async with pool.acquire() as made[kind]:
                        assert made[kind].get_server_pid()

    make()
    return made


EVERY_METHOD = [
    *((chopin.Connection, name) for name in methods(chopin.Connection)),
    *((Own, name) for name in methods(Own)),
]


def test_there_are_methods():
    """The table has those that matter, and the user's own."""
    assert (chopin.Connection, "fetch") in EVERY_METHOD
    assert (chopin.Connection, "is_closed") in EVERY_METHOD
    assert len(methods(Own)) == len(methods(chopin.Connection)) + 5


@pytest.mark.parametrize(("kind", "name"), EVERY_METHOD)
def test_method_of_what_was_given_back(released, kind, name):
    """It raises when it is called, whatever it is called with."""
    text = f"^{re.escape(f'cannot call Connection.{name}(): {RELEASED}')}$"
    for arguments in ((), (1, 2, 3)):
        with pytest.raises(chopin.InterfaceError, match=text):
            getattr(released[kind], name)(*arguments)


def test_rest_of_what_was_given_back(released):
    """What is built on the session fails; what is not, stays."""
    conn = released[Own]
    for attempt in (lambda: conn.twice, conn._private):
        with pytest.raises(chopin.InterfaceError, match=RELEASED):
            attempt()
    assert conn.noted == "noted"
    assert isinstance(conn, Own)
    assert type(conn).__name__ == type(conn).__qualname__ == "Own"
    assert repr(conn) == f"<{Own.__module__}.Own [released]>"
    assert conn == conn
    assert {conn: 1}[conn] == 1


def test_errors_of_what_was_given_back(released):
    """It is the user's fault, and nothing was sent."""
    with pytest.raises(chopin.InterfaceError) as info:
        released[chopin.Connection].fetch("SELECT 1")
    assert (info.value.kind, info.value.outcome) == ("client", "not_sent")


@in_virtual_time
async def test_nothing_is_sent_by_what_was_given_back():
    """Statements, cursors and transactions: the server does not hear of them."""
    async with Server() as server, create(server) as pool:
        async with pool.acquire() as conn:
            statement = await conn.prepare(SQL)
            async with conn.transaction():
                cursor = await conn.cursor(SQL)
                rows = aiter(conn.cursor(SQL, prefetch=1))
                assert await anext(rows) == (1,)
            transaction = conn.transaction()
            factories = [conn.cursor(SQL), statement.cursor()]
        await settle()
        heard = server.heard()
        attempts = {
            "call PreparedStatement": [
                getattr(statement, name) for name in methods(type(statement))
            ],
            "call Cursor": [getattr(cursor, name) for name in methods(type(cursor))],
            "call CursorIterator": [
                lambda: anext(rows),
                *(lambda f=f: anext(aiter(f)) for f in factories),
            ],
            "call Transaction": [
                *(transaction.start, transaction.commit, transaction.rollback),
                transaction.__aenter__,
            ],
            "go on": [lambda f=f: f.__await__().send(None) for f in factories],
        }
        for words, calls in attempts.items():
            assert calls
            for call in calls:
                text = rf"^cannot {words}(\.\w+\(\))?: {UNDERLYING}$"
                with pytest.raises(chopin.InterfaceError, match=text):
                    await _awaited(call)
        await settle()
        assert server.heard() == heard
        assert_at_rest(pool)


async def _awaited(call):
    """Call something with as many arguments as it needs."""
    needed = [
        "x"
        for parameter in inspect.signature(call).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    result = call(*needed)
    if inspect.isawaitable(result):
        await result


# Giving back


@in_virtual_time
async def test_given_back_again():
    """It does nothing: not when another has it, nor after the end of the pool."""
    async with Server() as server:
        async with create(server) as pool:
            conn = await pool.acquire()
            await pool.release(conn)
            await pool.release(conn)
            assert_at_rest(pool)
            async with pool.acquire() as other:
                await pool.release(conn)
                assert pool.stats().lent == 1
                assert await other.fetchval(SQL) == 1
        await pool.release(conn)
        assert pool.get_size() == 0


@pytest.mark.parametrize("is_back", [False, True])
@in_virtual_time
async def test_given_to_another_pool(is_back):
    """It is refused, also when it was given back to its own already."""
    async with Server() as server, create(server) as own, create(server) as other:
        conn = await own.acquire()
        if is_back:
            await own.release(conn)
        text = (
            f"Pool.release() received invalid connection: {conn!r} is not a member of "
            "this pool"
        )
        with pytest.raises(chopin.InterfaceError, match=f"^{re.escape(text)}$"):
            await other.release(conn)
        if not is_back:
            assert await conn.fetchval(SQL) == 1
        await own.release(conn)
        assert_at_rest(own)


@in_virtual_time
async def test_own_connection_of_the_pool():
    """What `init` has seen is the pool's, and nobody can give it back."""
    seen = []

    async def init(conn):
        seen.append(conn)

    async with Server() as server, create(server, init=init) as pool:
        async with pool.acquire() as conn:
            assert lease_of(seen[0]) is None
            assert lease_of(conn) is not None
            with pytest.raises(chopin.InterfaceError, match="not a member"):
                await pool.release(seen[0])
            assert await conn.fetchval(SQL) == 1
        assert_at_rest(pool)
        seen.clear()


@pytest.mark.parametrize("end", ["terminate", "fast"])
@in_virtual_time
async def test_given_back_after_the_end(end):
    """The connection was closed under its user; giving it back is no error."""
    async with Server() as server, create(server) as pool:
        conn = await pool.acquire()
        if end == "terminate":
            pool.terminate()
        else:
            await pool.close("fast")
        with pytest.raises(chopin.InterfaceError, match="connection is closed"):
            await conn.fetchval(SQL)
        assert conn.is_closed()
        await pool.release(conn)
        with pytest.raises(chopin.InterfaceError, match=RELEASED):
            conn.is_closed()
        assert pool.get_size() == 0


@pytest.mark.parametrize("timeouts", [(3, None), (None, 3), (9, 3)])
@in_virtual_time
async def test_time_to_reset(timeouts):
    """That of the release, and if there is none that of the acquisition."""
    of_acquire, of_release = timeouts

    async def reset(conn):
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    async with Server() as server, create(server, reset=reset) as pool:
        conn = await pool.acquire(timeout=of_acquire)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await pool.release(conn, timeout=of_release)
        assert loop.time() - began == pytest.approx(3)
        assert pool.get_size() == 0


# Dropped


@in_virtual_time
async def test_dropped():
    """It comes back by itself, with a warning that names it, and is counted."""
    async with Server() as server, create(server) as pool:
        conn = await pool.acquire()
        shown = re.escape(repr(conn))
        assert await conn.fetchval(SQL) == 1
        with pytest.warns(ResourceWarning, match=f"^{shown} {DROPPED}"):
            del conn
        await settle()
        assert_at_rest(pool)
        assert (pool.stats().leaks, pool.stats().resets) == (1, 1)
        assert await pool.fetchval(SQL) == 1
        assert len(server.sessions) == 1


@in_virtual_time
async def test_dropped_while_somebody_waits():
    """He is served."""
    async with Server() as server, create(server) as pool:
        conn = await pool.acquire()
        waits = asyncio.create_task(pool.fetchval(SQL))
        await settle()
        assert not waits.done()
        with pytest.warns(ResourceWarning, match=DROPPED):
            del conn
        assert await waits == 1


@in_virtual_time
async def test_dropped_in_the_middle_of_something():
    """What runs is stopped and what is open rolled back before the next one comes."""
    async with Server() as server, create(server) as pool:
        conn = await pool.acquire()
        transaction = conn.transaction()
        await transaction.start()
        assert await conn.fetchval(SQL) == 1
        assert conn.is_in_transaction()
        with pytest.warns(ResourceWarning, match=DROPPED):
            del conn, transaction
            gc.collect()
        async with pool.acquire() as conn:
            assert not conn.is_in_transaction()
            assert await conn.fetchval(SQL) == 1
        said = [message.fields.get("query") for message in server.sessions[0].messages]
        assert [sql for sql in said if sql and sql.startswith("ROLLBACK")]


@in_virtual_time
async def test_dropped_in_a_cycle_and_another_thread():
    """Wherever it is found by the collector."""
    # so that the loop tells calls from the wrong thread
    asyncio.get_running_loop().set_debug(True)
    async with Server() as server, create(server) as pool:
        cycle = [await pool.acquire()]
        cycle.append(cycle)
        found = weakref.ref(cycle[0])
        del cycle
        caught = []

        def collect():
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                gc.collect()
                caught.extend(heard)

        thread = threading.Thread(target=collect)
        thread.start()
        thread.join()
        assert found() is None
        assert [each.category for each in caught] == [ResourceWarning]
        await settle()
        assert_at_rest(pool)


@in_virtual_time
async def test_dropped_when_the_pool_has_ended():
    """There is nothing to take back."""
    async with Server() as server, create(server) as pool:
        conn = await pool.acquire()
        pool.terminate()
        await settle()  # until then it is kept, for its listeners
        with pytest.warns(ResourceWarning, match=DROPPED):
            del conn
        await settle()
        assert pool.get_size() == 0


@pytest.mark.parametrize("kind", [chopin.Connection, Own])
@in_virtual_time
async def test_given_back_and_dropped(kind):
    """Nothing is warned of; the next user's connection stays his."""
    async with Server() as server, create(server, connection_class=kind) as pool:
        conn = await pool.acquire()
        await pool.release(conn)
        async with pool.acquire() as other:
            del conn
            gc.collect()
            await settle()
            assert pool.stats().lent == 1
            assert await other.fetchval(SQL) == 1
        assert pool.stats().leaks == 0


def test_dropped_when_its_loop_has_ended():
    """Nobody is left who could take it back."""
    runner = asyncio.Runner()
    left = []

    async def lend():
        async with Server() as server:
            pool = await create(server)
            left.extend([pool, await pool.acquire()])
            pool.terminate()

    runner.run(lend())
    runner.close()
    with pytest.warns(ResourceWarning, match=DROPPED):
        left.pop()


# Who holds one


@in_virtual_time
async def test_holds_one():
    """A task holds one of a pool from its acquisition to its release."""
    async with Server() as server, create(server) as pool, create(server) as other:
        async with pool.acquire():
            async with other.acquire():
                assert holds_one_of(part_of(pool))
                assert holds_one_of(part_of(other))
            assert holds_one_of(part_of(pool))
            assert not holds_one_of(part_of(other))
        assert not holds_one_of(part_of(pool))


@in_virtual_time
async def test_holds_one_of_another_pool():
    """What others hold of that one does not matter."""
    async with Server() as server, create(server) as pool, create(server) as other:
        held, over = asyncio.Event(), asyncio.Event()

        async def hold():
            async with other.acquire():
                held.set()
                await over.wait()

        holder = asyncio.create_task(hold())
        await held.wait()
        async with pool.acquire():
            assert holds_one_of(part_of(pool))
            assert not holds_one_of(part_of(other))
        over.set()
        await holder


@in_virtual_time
async def test_connection_in_unknown_hands():
    """Whoever got it from a task that has ended may be anybody, until it is back."""
    async with Server() as server, create(server) as pool:

        async def get():
            return await pool.acquire()

        task = asyncio.create_task(get())
        await asyncio.wait([task])
        assert holds_one_of(part_of(pool))
        await pool.release(task.result())
        assert not holds_one_of(part_of(pool))


async def on_demand(ask):
    """Wait for each question, and say whether this task holds a connection."""
    answers = []
    for question, part in ask:
        await question.wait()
        answers.append(holds_one_of(part))
    return answers


@in_virtual_time
async def test_task_that_was_started_by_a_holder():
    """It holds what that one held, until that is given back, by whomever."""
    async with Server() as server, create(server) as pool:
        first, second = asyncio.Event(), asyncio.Event()
        async with pool.acquire() as conn:
            ask = [(first, part_of(pool)), (second, part_of(pool))]
            child = asyncio.create_task(on_demand(ask))
            first.set()
            await settle()
            await asyncio.create_task(pool.release(conn))
            assert not holds_one_of(part_of(pool))
        second.set()
        assert await child == [True, False]


@in_virtual_time
async def test_task_that_was_started_before():
    """What its parent acquires later is none of its business, and the reverse."""
    async with Server() as server, create(server, max_size=2) as pool:
        async with pool.acquire():
            part = part_of(pool)
        asked, acquired, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        child = asyncio.create_task(on_demand([(asked, part)]))

        async def hold():
            async with pool.acquire():
                acquired.set()
                await over.wait()

        holder = asyncio.create_task(hold())
        await acquired.wait()
        assert not holds_one_of(part)
        async with pool.acquire():
            asked.set()
            assert await child == [False]
        over.set()
        await holder


@in_virtual_time
async def test_grandchild():
    """It does not matter how many tasks are in between."""
    async with Server() as server, create(server) as pool:

        async def descend(depth):
            if depth:
                return await asyncio.create_task(descend(depth - 1))
            return holds_one_of(part_of(pool))

        async with pool.acquire():
            assert await descend(3)
        assert not await descend(3)


@in_virtual_time
async def test_what_a_task_held_is_forgotten():
    """However often, and by whomever it was given back."""
    async with Server() as server, create(server, max_size=3) as pool:
        for _ in range(10):
            conns = [await pool.acquire() for _ in range(3)]
            assert len(_lease._holding.get()) == 3
            await pool.release(conns[1])
            await asyncio.create_task(pool.release(conns[0]))
            await pool.release(conns[2])
        assert _lease._holding.get() == ()
        await asyncio.create_task(pool.release(await pool.acquire()))
        async with pool.acquire():
            assert len(_lease._holding.get()) == 1
        assert_at_rest(pool, size=3)


@in_virtual_time
async def test_dropped_one_is_not_held():
    """Not from the moment on in which it is dropped."""
    async with Server() as server, create(server) as pool:
        conn = await pool.acquire()
        part = part_of(pool)
        assert holds_one_of(part)
        with pytest.warns(ResourceWarning, match=DROPPED):
            del conn
        assert not holds_one_of(part)
        await settle()


@in_virtual_time
async def test_holder_who_would_wait_for_himself():
    """He is told, and so is the task that he has started and waits for; others wait."""
    async with Server() as server, create(server) as pool:
        async with pool.acquire() as conn:
            for attempt in (pool.acquire(), pool.fetchval(SQL)):
                with pytest.raises(chopin.PoolDeadlockError) as info:
                    await attempt
                assert f"pid {conn.get_server_pid()}" in str(info.value)
                assert (info.value.kind, info.value.outcome) == ("pool", "not_sent")
            # it may end by itself, since its parent may go on meanwhile
            child = asyncio.create_task(pool.fetchval(SQL))
            await settle()
            assert not child.done()
        assert await child == 1


# What is told of holders


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        (None, "nothing yet"),
        ("SELECT 1", "SELECT 1"),
        ("SELECT 1\n  FROM\tt ", "SELECT 1 FROM t"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 57 + "..."),
    ],
)
def test_holder_in_words(sql, shown):
    """Who, how long, which server process, and the beginning of what ran last."""
    holder = Holder(4711, "worker", 12.3456, sql, ())
    assert str(holder) == f"worker for 12.3 s (pid 4711, last: {shown})"


@in_virtual_time
async def test_holders():
    """Those who hold a connection now, the longest first."""
    async with Server() as server, create(server, max_size=3) as pool:
        over = asyncio.Event()

        async def hold():
            async with pool.acquire() as conn:
                await conn.fetchval(SQL)
                await over.wait()

        tasks = []
        for name in ("one", "two"):
            tasks.append(asyncio.create_task(hold(), name=name))
            await settle()
        conn = await pool.acquire()
        *held, own = pool.holders()
        assert [holder.task for holder in held] == ["one", "two"]
        assert [holder.sql for holder in held] == [SQL, SQL]
        assert held[0].seconds >= held[1].seconds >= own.seconds >= 0
        assert (own.pid, own.sql, own.stack) == (conn.get_server_pid(), None, ())
        assert own.task == asyncio.current_task().get_name()
        await pool.release(conn)
        assert [holder.task for holder in pool.holders()] == ["one", "two"]
        over.set()
        await asyncio.gather(*tasks)
        assert pool.holders() == []


@in_virtual_time
async def test_where_it_was_acquired():
    """With a threshold for leaks: the user's own calls, the innermost last."""
    async with Server() as server, create(server, leak_threshold=3600) as pool:

        async def inner():
            return await pool.acquire()

        async def outer():
            return await inner()

        conn = await outer()
        [holder] = pool.holders()
        await pool.release(conn)
        code = inner.__code__
        place = re.escape(f"{code.co_filename}:{code.co_firstlineno + 1} in inner")
        assert re.fullmatch(place, holder.stack[-1])
        assert holder.stack[-2].endswith(" in outer")
        assert not [line for line in holder.stack if "/chopin/pool.py" in line]


# Classes of the user's own


@in_virtual_time
async def test_handle_has_what_the_connection_has():
    """Attributes are those of the connection itself, for all of its users."""

    async def init(conn):
        conn.note = "from init"

    async with Server() as server:
        pool = create(server, connection_class=Own, init=init)
        async with pool:
            async with pool.acquire() as conn:
                assert conn.note == "from init"
                conn.note = "from the first"
            async with pool.acquire() as conn:
                assert conn.note == "from the first"
                assert conn.twice == conn.get_server_pid() * 2


@in_virtual_time
async def test_slots_of_the_user():
    """It does not matter where a class keeps its attributes."""

    class Slotted(chopin.Connection):
        __slots__ = ("note",)

    async def init(conn):
        conn.note = "from init"

    async with Server() as server:
        async with create(server, connection_class=Slotted, init=init) as pool:
            async with pool.acquire() as conn:
                assert conn.note == "from init"


class Abstract(abc.ABC):
    """A class of a metaclass."""

    @abc.abstractmethod
    def name(self):
        """To be written."""


class Concrete(chopin.Connection, Abstract):
    """A connection of that metaclass."""

    def name(self):
        return "concrete"


@in_virtual_time
async def test_metaclass_of_the_user():
    """Handles are of it too."""
    async with Server() as server:
        async with create(server, connection_class=Concrete) as pool:
            async with pool.acquire() as conn:
                assert isinstance(conn, Abstract)
                assert conn.name() == "concrete"
            text = f"^{re.escape(f'cannot call Connection.name(): {RELEASED}')}$"
            with pytest.raises(chopin.InterfaceError, match=text):
                conn.name()


@in_virtual_time
async def test_handles_are_of_few_classes():
    """No class is made for each acquisition."""
    async with Server() as server, create(server) as pool:
        lent, back = set(), set()
        for _ in range(5):
            async with pool.acquire() as conn:
                lent.add(type(conn))
            back.add(type(conn))
        assert (len(lent), len(back)) == (1, 1)
