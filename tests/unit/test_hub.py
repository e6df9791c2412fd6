"""The connection of `Pool.listen`, on a scripted server and a clock that costs nothing.

The server can be silent, slow, away or unwilling, and comes back; what is counted is
connections, what is measured is the time of the loop.
"""

import asyncio
import contextlib
import itertools
import re
from types import SimpleNamespace

import pytest

import chopin
from chopin._hub import ANSWER_TIMEOUT, GRACE
from tests.support import backend as b
from tests.support.await_points import WHEN, cancel_at
from tests.support.fakes import READY
from tests.support.handshake import shake_hands
from tests.support.poolfakes import in_virtual_time
from tests.support.pools import turns
from tests.support.postmaster import Postmaster, SessionEndedError
from tests.support.session import ClientClosedError

CHECK_S = 30.0
#: In which bytes arrive.
EXACTLY = 0.01


def now():
    """The time of the loop, in seconds."""
    return asyncio.get_running_loop().time()


class Server(Postmaster):
    """Follows LISTEN and UNLISTEN and answers Sync, unless it is told otherwise.

    Attributes:
        listening: session -> its channels.
        queries: what was asked, in order.
        attempts: when somebody came.
        refusal: (SQLSTATE, text) with which it turns away who comes.
        is_silent: it takes everything in and says nothing.
        is_standby: it refuses LISTEN.
        syncs: how often it was asked whether it is there.
        was_asked: set when that happens.
    """

    def __init__(self):
        super().__init__(self.serve, unix=True, handshake=self.let_in)
        self._goes_down = asyncio.Event()
        self.listening = {}
        self.queries = []
        self.attempts = []
        self.refusal = None
        self.is_silent = False
        self.is_standby = False
        self.syncs = 0
        self.was_asked = asyncio.Event()

    async def let_in(self, conn):
        self.attempts.append(now())
        if self.refusal is not None:
            code, text = self.refusal
            conn.send(b.error_response(text, code=code, severity="FATAL"))
            raise SessionEndedError
        await shake_hands(conn)

    async def serve(self, conn):
        """Answer until the server goes down, or the driver leaves."""
        self.listening[conn] = set()
        ends = [
            asyncio.ensure_future(self.converse(conn)),
            asyncio.ensure_future(self._goes_down.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self.listening[conn]
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        if self._goes_down.is_set():
            text = "terminating connection due to administrator command"
            conn.send(b.error_response(text, code="57P01", severity="FATAL"))

    async def converse(self, conn):
        with contextlib.suppress(ClientClosedError):
            while (got := await conn.receive()).name != "Terminate":
                if got.name == "Query":
                    self.queries.append(got["query"])
                    self.answer(conn, self.listening[conn], got["query"])
                else:
                    self.syncs += 1
                    self.was_asked.set()
                    if not self.is_silent:
                        conn.send(READY)

    def answer(self, conn, channels, query):
        if self.is_standby:
            text = "cannot execute LISTEN during recovery"
            conn.send(b.error_response(text, code="25006") + READY)
            return
        tags = b""
        for word, channel in re.findall(r'(\w+) "(\w+)"', query):
            {"LISTEN": channels.add, "UNLISTEN": channels.discard}[word](channel)
            tags += b.command_complete(word)
        if not self.is_silent:
            conn.send(tags + READY)

    def say(self, channel, payload):
        """Tell those who listen; how many that were."""
        hearing = [conn for conn, heard in self.listening.items() if channel in heard]
        for conn in hearing:
            conn.send(b.notification_response(7, channel, payload))
        return len(hearing)

    async def end_sessions(self):
        """Say goodbye to everybody, and give them a moment to notice."""
        self._goes_down.set()
        await asyncio.sleep(0.001)
        self._goes_down.clear()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The pool's clock is the loop's, and chance adds nothing to any pause."""
    monkeypatch.setattr("chopin._poolpart.time", SimpleNamespace(monotonic=now))
    monkeypatch.setattr("chopin.pool.monotonic", now)
    chance = SimpleNamespace(random=lambda: 0.0)
    monkeypatch.setattr("chopin._poolpart.random", chance)
    monkeypatch.setattr("chopin._hub.random", chance)


def create(server, **options):
    """A pool for the server, with no connection of its own."""
    return chopin.create_pool(
        host=server.host,
        port=server.port,
        user="ada",
        database="app",
        password="secret",
        **{"min_size": 0, "listen_check": CHECK_S} | options,
    )


def counts(pool):
    """Connections that listen, and blocks."""
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.opening) == (0, 0, 0)
    return stats.listening, stats.listeners


async def moment():
    """Bytes arrive, and what they lead to happens."""
    await asyncio.sleep(0.001)


async def assert_hears(server, notifications, payload="still there"):
    """What is said now comes next."""
    assert server.say(notifications.channels[0], payload) == 1
    async with asyncio.timeout(1):
        assert (await anext(notifications)).payload == payload


async def gap_of(notifications):
    """The next item, which must be a gap."""
    item = await anext(notifications)
    assert isinstance(item, chopin.Gap)
    return item


@in_virtual_time
async def test_one_connection_for_all():
    """A hundred blocks, three channels: one connection, one LISTEN for each channel."""
    names = "abc"
    async with Server() as server, create(server) as pool:
        blocks = [pool.listen(names[n % 3]) for n in range(100)]
        await asyncio.gather(*(block.__aenter__() for block in blocks))
        assert counts(pool) == (1, 100)
        assert len(server.attempts) == 1
        said = sorted(re.findall('LISTEN "(.)"', "".join(server.queries)))
        assert said == list(names)
        for name in names:
            assert server.say(name, f"to {name}") == 1
        for n, block in enumerate(blocks):
            assert (await anext(block)).payload == f"to {names[n % 3]}"
        for block in blocks[:-1]:
            await block.__aexit__(None, None, None)
        await moment()
        assert list(server.listening.values()) == [{"a"}]
        assert counts(pool) == (1, 1)
        await assert_hears(server, blocks[-1])
        await blocks[-1].__aexit__(None, None, None)


@in_virtual_time
async def test_second_block_waits_for_nothing():
    """What is listened to already needs no round trip, and misses nothing."""
    async with Server() as server, create(server) as pool:
        async with pool.listen("a") as first:
            server.is_silent = True
            async with pool.listen("a") as second:
                await assert_hears(server, first)
                assert (await anext(second)).payload == "still there"
            server.is_silent = False
        assert len(server.queries) == 1


@in_virtual_time
async def test_grace():
    """The connection outlasts its last block for a while, and is used again."""
    async with Server() as server, create(server) as pool:
        for _ in range(3):
            async with pool.listen("a") as notifications:
                await assert_hears(server, notifications)
            await asyncio.sleep(GRACE / 2)
            assert counts(pool) == (1, 0)
        assert list(server.listening.values()) == [set()]
        await asyncio.sleep(GRACE)
        assert counts(pool) == (0, 0)
        assert not server.listening
        async with pool.listen("a") as notifications:
            await assert_hears(server, notifications)
        assert len(server.attempts) == 2


@in_virtual_time
async def test_lost():
    """The connection ends: a gap comes when another one listens to everything."""
    async with (
        Server() as server,
        create(server) as pool,
        pool.listen("a", "b") as both,
        pool.listen("b") as other,
    ):
        server.say("b", "before")
        await moment()
        server.refusal = "57P03", "the database system is starting up"
        began = now()
        await server.end_sessions()
        await asyncio.sleep(5)
        assert counts(pool) == (0, 2)
        server.refusal = None
        for block in (both, other):
            assert (await anext(block)).payload == "before"
            gap = await gap_of(block)
            assert gap.seconds == pytest.approx(now() - began, abs=EXACTLY)
            assert gap.dropped == 0
            assert isinstance(gap.reason, chopin.AdminShutdownError)
        assert list(server.listening.values()) == [{"a", "b"}]
        await assert_hears(server, both)
        await assert_hears(server, other)


@in_virtual_time
async def test_pauses():
    """A server that is away is tried after 10 ms, then twice that, up to a second."""
    async with Server() as server, create(server) as pool, pool.listen("a") as block:
        server.refusal = "57P03", "the database system is starting up"
        await server.end_sessions()
        await asyncio.sleep(600)
        server.refusal = None
        await gap_of(block)
        pauses = [y - x for x, y in itertools.pairwise(server.attempts[1:])]
        want = [min(0.02 * 2**n, 1.0) for n in range(len(pauses))]
        assert pauses == pytest.approx(want, abs=EXACTLY)
        assert len(pauses) > 590
        # and from the beginning the next time
        server.attempts.clear()
        await server.end_sessions()
        assert (await gap_of(block)).seconds == pytest.approx(0.01, abs=EXACTLY)
        assert len(server.attempts) == 1


@in_virtual_time
async def test_silence():
    """A server that does not answer is taken for dead, whatever the socket says."""
    async with Server() as server, create(server) as pool, pool.listen("a") as block:
        await asyncio.sleep(10 * CHECK_S)
        assert server.syncs == pytest.approx(10, abs=1)
        assert len(server.attempts) == 1
        server.is_silent = True
        server.was_asked.clear()
        await server.was_asked.wait()
        server.is_silent = False
        began = now()
        gap = await gap_of(block)
        assert now() - began == pytest.approx(ANSWER_TIMEOUT, abs=0.2)
        # nobody knows since when it was dead
        assert gap.seconds == pytest.approx(CHECK_S + ANSWER_TIMEOUT, abs=0.2)
        assert isinstance(gap.reason, TimeoutError)
        assert len(server.attempts) == 2
        await assert_hears(server, block)


@in_virtual_time
async def test_slow_answer():
    """One that is busy with notifications is not dead."""
    async with Server() as server, create(server) as pool, pool.listen("a") as block:
        server.is_silent = True
        for number in range(30):
            await asyncio.sleep(ANSWER_TIMEOUT * 0.9)
            server.say("a", str(number))
            assert (await anext(block)).payload == str(number)
        assert server.syncs == 1
        assert len(server.attempts) == 1
        server.is_silent = False
        for conn in server.listening:
            conn.send(READY)
        await asyncio.sleep(10 * CHECK_S)
        assert len(server.attempts) == 1


@in_virtual_time
async def test_no_check():
    """With `listen_check=0` nothing is asked."""
    async with (
        Server() as server,
        create(server, listen_check=0) as pool,
        pool.listen("a"),
    ):
        await asyncio.sleep(100 * CHECK_S)
        assert server.syncs == 0


@pytest.mark.parametrize(
    ("refusal", "error", "seconds"),
    [
        (("57P03", "starting up"), chopin.CannotConnectNowError, 5.0),
        (("28P01", "password"), chopin.InvalidPasswordError, 0.0),
        (("3D000", "no such database"), chopin.InvalidCatalogNameError, 0.0),
        ("standby", chopin.ReadOnlySQLTransactionError, 5.0),
    ],
)
@in_virtual_time
async def test_cannot_enter(refusal, error, seconds):
    """Entering is tried for `retry_connect` seconds, if that can help at all."""
    async with Server() as server, create(server) as pool:
        server.is_standby = refusal == "standby"
        server.refusal = None if server.is_standby else refusal
        began = now()
        for result in await asyncio.gather(
            *(pool.listen("a").__aenter__() for _ in range(3)), return_exceptions=True
        ):
            assert isinstance(result, error)
        assert now() - began == pytest.approx(seconds, abs=0.7)
        await moment()
        assert counts(pool) == (0, 0)
        attempts = len(server.attempts)
        await asyncio.sleep(100)
        assert len(server.attempts) == attempts, "nobody wants it"
        server.refusal, server.is_standby = None, False
        async with pool.listen("a") as notifications:
            await assert_hears(server, notifications)


@in_virtual_time
async def test_lost_for_good():
    """Who listens is told what will not pass; a block of later may be luckier."""
    async with Server() as server, create(server) as pool:
        async with pool.listen("a") as block:
            server.refusal = "28P01", "password authentication failed"
            await server.end_sessions()
            with pytest.raises(chopin.InvalidPasswordError):
                await anext(block)
            assert counts(pool) == (0, 0)
            server.refusal = None
            async with pool.listen("a") as other:
                await assert_hears(server, other)
            with pytest.raises(chopin.InvalidPasswordError):
                await anext(block)


@in_virtual_time
async def test_standby_for_a_while():
    """After a failover the new server may be none yet: who listens waits for it."""
    async with Server() as server, create(server) as pool, pool.listen("a") as block:
        server.is_standby = True
        await server.end_sessions()
        await asyncio.sleep(60)
        server.is_standby = False
        gap = await gap_of(block)
        assert gap.seconds == pytest.approx(60, abs=1.1)
        assert isinstance(gap.reason, chopin.AdminShutdownError)
        await assert_hears(server, block)


@in_virtual_time
async def test_enters_while_it_is_lost():
    """Who comes meanwhile waits, misses nothing from then on and gets no gap."""
    async with Server() as server, create(server) as pool, pool.listen("a") as old:
        server.refusal = "57P03", "the database system is starting up"
        await server.end_sessions()
        await asyncio.sleep(2)
        entering = asyncio.create_task(pool.listen("a", "b").__aenter__())
        await asyncio.sleep(1)
        assert not entering.done()
        server.refusal = None
        new = await entering
        await gap_of(old)
        await assert_hears(server, new)
        assert (await anext(old)).payload == "still there"
        await new.__aexit__(None, None, None)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])
@in_virtual_time
async def test_cancelled_while_entering(is_first, when):
    """Wherever that is, nothing is left of it, and the others do not notice."""

    async def listen(pool, channel):
        async with pool.listen(channel) as notifications:
            await assert_hears(server, notifications)

    async with Server() as server, create(server) as pool:
        for number in range(1, 50):
            if is_first:
                await asyncio.sleep(2 * GRACE)
                assert counts(pool) == (0, 0)
            other = pool.listen("b")
            if not is_first:
                await other.__aenter__()
            went_on = await cancel_at([number], listen(pool, "a"), when)
            await moment()
            assert counts(pool)[1] == int(not is_first)
            if not is_first:
                await assert_hears(server, other)
                assert list(server.listening.values()) == [{"b"}]
                await other.__aexit__(None, None, None)
            if not went_on:
                break
        assert number > 1
        await listen(pool, "a")


@pytest.mark.parametrize("how", ["close", "fast", "terminate"])
@pytest.mark.parametrize("state", ["listening", "connecting", "pausing", "asking"])
@in_virtual_time
async def test_pool_ends(how, state):
    """Who listens, or is about to, is told; the connection is gone, at once."""
    async with Server() as server:
        pool = await create(server)
        block = pool.listen("a")
        if state in ("listening", "asking"):
            await block.__aenter__()
            waiting = asyncio.ensure_future(anext(block))
        else:
            waiting = asyncio.create_task(block.__aenter__())
        if state == "pausing":
            server.refusal = "57P03", "the database system is starting up"
            await asyncio.sleep(2)
        elif state == "asking":
            server.is_silent = True
            await asyncio.sleep(CHECK_S + 1)
            assert server.syncs
        else:
            await turns(2)
        began = now()
        if how == "terminate":
            pool.terminate()
            assert counts(pool)[1] == 0, "they are told at once"
        else:
            await pool.close("fast" if how == "fast" else "gracefully")
        with pytest.raises(chopin.PoolError, match="pool is closing"):
            await waiting
        assert now() - began <= ANSWER_TIMEOUT + 1
        await moment()
        assert counts(pool) == (0, 0)
        assert not server.listening
        with pytest.raises(chopin.PoolError, match="clos"):
            async with pool.listen("a"):
                pass
        await block.__aexit__(None, None, None)


@in_virtual_time
async def test_close_called_off():
    """The blocks have ended, and new ones may be entered."""
    async with Server() as server, create(server) as pool:
        async with pool.listen("a") as block, pool.acquire():
            closing = asyncio.create_task(pool.close())
            await moment()
            with pytest.raises(chopin.PoolError, match="pool is closing"):
                await anext(block)
            pool.cancel_close()
            async with pool.listen("a") as again:
                await assert_hears(server, again)
            with pytest.raises(chopin.InterfaceError, match="called off"):
                await closing


@pytest.mark.parametrize("which", ["idle", "gracefully", "all"])
@in_virtual_time
async def test_flush(which):
    """`expire_connections` and its kin bring another connection, and a gap."""
    async with Server() as server, create(server) as pool, pool.listen("a") as block:
        await pool.flush(which)
        await moment()
        if which != "idle":
            gap = await gap_of(block)
            assert gap.seconds < 1
            assert isinstance(gap.reason, chopin.InterfaceError)
        assert len(server.attempts) == 1 + (which != "idle")
        assert counts(pool) == (1, 1)
        await assert_hears(server, block)
    assert not server.listening


@in_virtual_time
async def test_flush_while_connecting():
    """Who was about to listen does so on a connection that is newer than the flush."""
    async with Server() as server, create(server) as pool:
        entering = asyncio.create_task(pool.listen("a").__aenter__())
        await turns(2)
        await pool.expire_connections()
        block = await entering
        await asyncio.sleep(1)
        assert len(server.attempts) == 2
        assert len(server.listening) == 1
        await block.__aexit__(None, None, None)


@in_virtual_time
async def test_hooks_and_arguments():
    """It is made like the others: by `connect` and `init`, to `listen_dsn`."""
    seen = []

    async def connect(dsn, **options):
        seen.append((dsn, "host" in options, "port" in options))
        own = {"host": server.host, "port": server.port}
        return await chopin.connect(**own | options)

    async def init(conn):
        seen.append("init")

    async with Server() as server:
        place = "postgresql://direct:5432/app"
        pool = create(server, connect=connect, init=init, listen_dsn=place)
        async with pool, pool.listen("a") as notifications:
            await assert_hears(server, notifications)
        assert seen == [(place, False, False), "init"]


@in_virtual_time
async def test_transaction_pooler():
    """What would never hear anything is refused, unless there is a way around it."""
    async with Server() as server:
        async with create(server, pooler="transaction") as pool:
            with pytest.raises(chopin.InterfaceError, match="pooler.*listen_dsn"):
                async with pool.listen("a"):
                    pass
        place = f"postgresql://?host={server.host}&port={server.port}"
        pool = create(server, pooler="transaction", listen_dsn=place)
        async with pool, pool.listen("a") as notifications:
            await assert_hears(server, notifications)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"listen_check": -1}, ValueError, "listen_check is expected to be"),
        ({"listen_check": "x"}, ValueError, "listen_check is expected to be"),
        ({"listen_dsn": "nonsense://"}, ValueError, "invalid DSN"),
    ],
)
def test_arguments_that_cannot_be(options, error, text):
    """They are refused before anything is opened."""
    with pytest.raises((error, chopin.InterfaceError), match=text):
        chopin.create_pool(**options)
