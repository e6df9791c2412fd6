"""Notifications wherever a server may put them, queues, and names that cannot be."""

import asyncio

import pytest

import chopin
from chopin._ops import start_sync
from chopin.listening import Notifications, check_channel, check_payload, script
from tests.support import backend as b
from tests.support.fakes import READY, on_both_loops, open_session
from tests.support.pools import turns
from tests.support.postmaster import Postmaster

DONE = b.command_complete("SELECT 2")
COLUMNS = b.row_description([("a", 0, 0, 25, -1, -1, 0)])


def said(payload, channel="c"):
    """A notification on the wire."""
    return b.notification_response(7, channel, payload)


# What the server answers to a query, and where it puts what was said.
ANSWERS = {
    "between rows": (
        COLUMNS
        + b.data_row([b"1"])
        + said("1")
        + said("é")
        + b.data_row([b"2"])
        + said("")
        + DONE
        + READY
    ),
    "ahead of the answer": said("1") + said("é") + said("") + DONE + READY,
    "behind it": DONE + READY + said("1") + said("é") + said(""),
    "around it": DONE + said("1") + READY + said("é") + said(""),
    "in an error": (
        said("1") + b.error_response("no", code="22012") + said("é") + READY + said("")
    ),
    "in COPY": (
        b.copy_out_response()
        + b.copy_data(b"1\n")
        + said("1")
        + b.copy_data(b"2\n")
        + said("é")
        + b.copy_done()
        + said("")
        + b.command_complete("COPY 2")
        + READY
    ),
}
HEARD = [(7, "c", "1"), (7, "c", "é"), (7, "c", "")]


def speaker(answer, is_slow=False):
    """A server that answers LISTEN and UNLISTEN, and everything else with `answer`."""

    async def speak(conn):
        while True:
            got = await conn.receive()
            if got.name != "Query":
                return
            words = got["query"].split()
            if words[0] in ("LISTEN", "UNLISTEN"):
                conn.send(b.command_complete(words[0]) + READY)
            elif is_slow:
                await conn.dribble(answer)
            else:
                conn.send(answer)
                await conn.flush()

    return Postmaster(speak)


async def connect(server):
    """A connection to a scripted server."""
    return await chopin.connect(
        host=server.host,
        port=server.port,
        user="ada",
        password="secret",
        database="app",
        ssl="disable",
    )


@pytest.mark.parametrize("is_slow", [False, True], ids=["at-once", "byte-by-byte"])
@pytest.mark.parametrize("answer", ANSWERS)
@on_both_loops
async def test_anywhere(answer, is_slow):
    """It reaches listeners and blocks in order, and never the query."""
    heard, later = [], []

    async def listen(*args):
        later.append(args)

    async with speaker(ANSWERS[answer], is_slow) as server:
        conn = await connect(server)
        await conn.add_listener("c", lambda *args: heard.append(args))
        await conn.add_listener("c", listen)
        await conn.add_listener("other", listen)
        async with asyncio.timeout(10), conn.listen("c") as notifications:
            try:
                await conn.execute("speak")
            except chopin.DivisionByZeroError:
                assert answer == "in an error"
            assert [tuple(await anext(notifications)) for _ in HEARD] == HEARD
        await turns()  # the loop calls the listeners
        assert heard == later == [(conn, *each) for each in HEARD]
        await conn.close()


@on_both_loops
async def test_many_at_once():
    """A thousand in one read are no recursion and lose nothing."""
    many = b"".join(said(str(number)) for number in range(1000))
    heard = []
    async with speaker(DONE + READY + many) as server:
        conn = await connect(server)
        await conn.add_listener("c", lambda *args: heard.append(args[3]))
        async with asyncio.timeout(10), conn.listen("c") as notifications:
            await conn.execute("speak")
            got = [(await anext(notifications)).payload for _ in range(1000)]
        await turns()
        assert got == heard == list(map(str, range(1000)))
        await conn.close()


@on_both_loops
async def test_lost_in_the_same_read():
    """What came in front of the end is heard, then the end is told."""
    heard, over = [], asyncio.Event()

    async def speak(conn):
        await conn.expect("Query")
        conn.send(b.command_complete("LISTEN") + READY)
        await conn.expect("Query")
        error = b.error_response("going", code="57P01", severity="FATAL")
        conn.send(said("last") + error)

    async with Postmaster(speak) as server:
        conn = await connect(server)
        conn.add_termination_listener(lambda _: over.set())
        block = conn.listen("c")
        async with asyncio.timeout(10), block as notifications:
            await conn.add_listener("c", lambda *args: heard.append(args[3]))
            with pytest.raises(chopin.ConnectionDoesNotExistError):
                await conn.execute("speak")
            await over.wait()
            assert (await anext(notifications)).payload == "last"
            with pytest.raises(
                chopin.ConnectionDoesNotExistError, match="while it listened"
            ) as caught:
                await anext(notifications)
            assert isinstance(caught.value.__cause__, chopin.AdminShutdownError)
        assert heard == ["last"]


@on_both_loops
async def test_listener_fails():
    """What a listener raises goes to the loop's handler; the others are called."""
    heard, errors = [], []

    def fail(*args):
        raise ZeroDivisionError

    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: errors.append(context["exception"])
    )
    async with speaker(DONE + READY + said("1") + said("2")) as server:
        conn = await connect(server)
        await conn.add_listener("c", fail)
        await conn.add_listener("c", lambda *args: heard.append(args[3]))
        async with asyncio.timeout(10), conn.listen("c") as notifications:
            await conn.execute("speak")
            for _ in range(2):
                await anext(notifications)
        await turns()
        assert heard == ["1", "2"]
        assert [type(error) for error in errors] == [ZeroDivisionError] * 2
        await conn.close()


def test_after_block():
    """The session tells when a block has ended; what is in none ends none."""
    session, told = open_session(), []
    session.after_block = lambda: told.append(session.transaction_status)
    for status in b"I", b"T", b"E", b"T":
        start_sync(session)
        session.feed(b.ready_for_query(status))
        assert told == []
    start_sync(session)
    start_sync(session)
    session.feed(READY + READY)
    assert told == ["T"]
    start_sync(session)
    session.feed(b.ready_for_query(b"E"))
    start_sync(session)
    session.feed(READY)
    assert told == ["T", "E"]


# Queues


async def entered(**options):
    """A block that nobody speaks to, and a list of those who left."""
    left = []

    async def leave(block):
        left.append(block)

    async def enter(block):
        return leave

    settings = {"queue_size": 3, "overflow": "drop_oldest"} | options
    return Notifications(enter, ("c",), *settings.values()), left


def put(block, *payloads):
    """Say something to a block."""
    for payload in payloads:
        block.put(None, (7, "c", payload))


async def taken(block, count):
    """What comes next, in short: payloads, and what is said of gaps."""
    items = [await anext(block) for _ in range(count)]
    return [
        (round(item.seconds), item.dropped)
        if isinstance(item, chopin.Gap)
        else item.payload
        for item in items
    ]


LOST = chopin.Gap(2.0, 0, OSError("lost"))


@pytest.mark.parametrize(
    ("overflow", "items", "want"),
    [
        ("drop_oldest", "abc", ["a", "b", "c"]),
        ("drop_oldest", "abcd", [(0, 1), "b", "c", "d"]),
        ("drop_oldest", "abcdef", [(0, 3), "d", "e", "f"]),
        ("drop_oldest", "a-bcd", [(2, 1), "b", "c", "d"]),
        ("drop_oldest", "ab-cd", [(0, 2), (2, 0), "c", "d"]),
        ("drop_oldest", "abc-", ["a", "b", "c", (2, 0)]),
        ("drop_newest", "abcd", ["a", "b", "c", (0, 1)]),
        ("drop_newest", "abcdef", ["a", "b", "c", (0, 3)]),
        ("drop_newest", "abc-d-", ["a", "b", "c", (4, 1)]),
        ("drop_newest", "ab-c", ["a", "b", (2, 1)]),
        ("drop_newest", "--", [(4, 0)]),
    ],
)
@on_both_loops
async def test_slow_reader(overflow, items, want):
    """A queue of three: what is dropped leaves a gap where it was, and is counted."""
    block, _ = await entered(overflow=overflow)
    async with block:
        for item in items:
            if item == "-":
                block.put_gap(LOST)
            else:
                put(block, item)
        assert await taken(block, len(want)) == want
        put(block, "x")
        assert await taken(block, 1) == ["x"]


@on_both_loops
async def test_slow_reader_that_wants_an_error():
    """It gets what is in the queue, then the error."""
    block, _ = await entered(overflow="error")
    async with block:
        put(block, "a", "b", "c", "d", "e")
        assert await taken(block, 3) == ["a", "b", "c"]
        put(block, "f")
        for _ in range(2):
            with pytest.raises(chopin.InterfaceError, match="too slow: 3 "):
                await anext(block)


@on_both_loops
async def test_readers():
    """Each item goes to one reader; one that is cancelled takes none along."""
    block, _ = await entered()
    async with block:
        readers = [asyncio.create_task(anext(block)) for _ in range(3)]
        await asyncio.sleep(0)
        put(block, "a", "b")
        readers[0].cancel()
        await asyncio.wait(readers[:1])
        assert [(await reader).payload for reader in readers[1:]] == ["a", "b"]


@on_both_loops
async def test_reader_that_looks_again_and_again():
    """Nothing is kept of those who were cancelled."""
    block, _ = await entered()
    async with block:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(block)
        assert block._waiters == []
        put(block, "a")
        assert await taken(block, 1) == ["a"]


@on_both_loops
async def test_block_is_over():
    """Who still reads is told so, and what was not read is dropped."""
    block, left = await entered()
    async with block:
        reader = asyncio.create_task(anext(block))
        await asyncio.sleep(0)
        assert not left
    assert left == [block]
    for late in (reader, anext(block)):
        with pytest.raises(chopin.InterfaceError, match="is over"):
            await late
    with pytest.raises(chopin.InterfaceError, match="cannot enter twice"):
        async with block:
            pass


@on_both_loops
async def test_block_must_be_entered():
    """`async for` alone would not say when listening begins."""
    block, _ = await entered()
    with pytest.raises(chopin.InterfaceError, match="use 'async with"):
        await anext(block)


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((), ValueError, "channels are expected to be one or more"),
        ((7,), TypeError, "channel is expected to be a str, got int"),
        (("",), ValueError, "channel is expected to be a name, got ''"),
        (("a\0b",), ValueError, "channel is expected to have no NUL"),
        (("\ud800",), ValueError, "channel is expected to have no surrogates"),
        (("é" * 32,), ValueError, "channel is expected to have at most 63 bytes"),
        (("a", "b" * 64), ValueError, "at most 63 bytes in UTF-8, got 64: 'bbb"),
    ],
)
@on_both_loops
async def test_channels_that_cannot_be(args, error, text):
    """Each says what is wrong, before anything is sent."""
    with pytest.raises(error, match=text):
        Notifications(None, args, 1, "error")


@pytest.mark.parametrize(
    ("queue_size", "overflow", "text"),
    [
        (0, "error", "queue_size is expected to be greater than zero, got 0"),
        (None, "error", "queue_size .* got None"),
        (True, "error", "queue_size .* got True"),
        (1, "wait", "overflow is expected to be either of .* got 'wait'"),
    ],
)
@on_both_loops
async def test_arguments_that_cannot_be(queue_size, overflow, text):
    """So do these."""
    with pytest.raises(ValueError, match=text):
        Notifications(None, ("a",), queue_size, overflow)


def test_longest():
    """The limits are those of the server, which db tests show."""
    assert check_channel("é" * 31) == "é" * 31
    assert check_payload("x" * 7999) == "x" * 7999
    assert check_payload(None) == ""
    with pytest.raises(ValueError, match="payload .* at most 7999 bytes"):
        check_payload("é" * 4000)
    with pytest.raises(TypeError, match="payload is expected to be a str, got bytes"):
        check_payload(b"x")


def test_script():
    """Nothing gets out of the quotes."""
    got = script("LISTEN", ["a", 'x"; DROP TABLE t; --', "É"])
    assert got == 'LISTEN "a"; LISTEN "x""; DROP TABLE t; --"; LISTEN "É"'
