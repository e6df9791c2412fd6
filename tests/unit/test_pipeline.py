"""A pipeline on a session without a server: every order, and errors everywhere.

The session is real, the loop is asyncio's; what the server says is fed by hand.
"""

import asyncio
import functools
import inspect
import random

import pytest

from chopin._codecs import CodecMap
from chopin._ops import start_query
from chopin._protocol import Session
from chopin._rows import Record
from chopin._startup import start_startup
from chopin.exceptions import (
    ConnectionDoesNotExistError,
    DivisionByZeroError,
    InterfaceError,
    PipelineAbortedError,
    UndefinedTableError,
    UniqueViolationError,
)
from chopin.pipeline import Pipeline
from tests.support import backend as b
from tests.support.fakes import READY, WELCOME, in_words, parse_messages
from tests.support.script import COLUMNS, DIVISION, INT4, SQL, prepared, row

SELECTED = b.bind_complete() + row(7) + b.command_complete("SELECT 1")
DESCRIBED = b.parse_complete() + b.parameter_description([INT4]) + COLUMNS
NO_TABLE = b.error_response("no table", code="42P01")
STALE = b.error_response("cached plan must not change result type", code="0A000",
                         routine="RevalidateCachedQuery")  # fmt: skip
GONE = b.error_response("prepared statement does not exist", code="26000")
DUPLICATE = b.error_response("duplicate", code="23505")
ANSWER = [(7, "x")]
WRITE = "INSERT INTO t VALUES ($1) RETURNING a, b"
BIND = ["Bind s1 (00000001)", "Execute 0"]


class LoopSession(Session):
    """A session in the running loop, connected to a list."""

    def __init__(self):
        self.loop_ = asyncio.get_running_loop()
        self.written = []
        self.open_groups = {}
        self.n_cancels = 0
        super().__init__(self.loop_, self.loop_.time, CodecMap(), Record, {})
        self.connected(self.written.append)
        start_startup(self, {"user": "ada"})
        self.feed(WELCOME)

    def on_cancel_needed(self):
        self.n_cancels += 1

    def on_deadline(self, when):
        self.loop_.call_at(when, self.expire)

    def sent(self):
        """In words, what was written since the last call."""
        data = b"".join(self.written)
        self.written.clear()
        return [in_words(message) for message in parse_messages(data)]


class NoLoggers:
    query = None


class FakeConnection:
    """As much of a connection as a pipeline looks at."""

    _command_timeout = None
    _observers = NoLoggers

    def __init__(self, session):
        self._session = session


def in_loop(test):
    """Run a test with a session that has `SQL` prepared; no task may be left."""

    @functools.wraps(test)
    def run(**arguments):
        async def main():
            session = LoopSession()
            prepared(session)
            await asyncio.sleep(0)
            session.written.clear()
            await test(session, **arguments)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not session.gate.line

        asyncio.run(main())

    signature = inspect.signature(test)
    _, *arguments = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=arguments)
    return run


def pipeline(session, barrier="statement", timeout=None):
    return Pipeline(FakeConnection(session), barrier, timeout)


async def turns(n=5):
    """Let tasks run."""
    for _ in range(n):
        await asyncio.sleep(0)


async def say(session, data):
    """The server says something: in a callback of the loop, as a transport has it."""
    session.loop_.call_soon(session.feed, data)
    await turns()


def outcome(reply):
    """The answer, or the class of the error."""
    error = reply.exception()
    return reply.result() if error is None else type(error)


@in_loop
async def test_sent_at_once(session):
    """What is prepared is written without a task, each statement with its Sync."""
    async with pipeline(session) as p:
        one, two = p.fetch(SQL, 1), p.fetch(SQL, 1)
        await asyncio.sleep(0)
        assert session.sent() == [*BIND, "Sync"] * 2
        await say(session, SELECTED + READY)
        assert (one.done(), two.done()) == (True, False)
        await say(session, SELECTED + READY)
    assert (one.result(), two.result()) == (ANSWER, ANSWER)


@in_loop
async def test_a_group_has_one_sync(session):
    """It is written when it ends, and answered when its ReadyForQuery is there."""
    async with pipeline(session, "group") as p:
        one, two = p.fetch(SQL, 1), p.fetchval(SQL, 1)
        await turns()
        assert session.sent() == []
        p.sync()
        three = p.execute(SQL, 1)
        assert session.sent() == [*BIND, "Bind s1 (00000001)", "Execute 2", "Sync"]
        await say(session, SELECTED * 2)
        assert not one.done()
        await say(session, READY)
        p.sync()
        await asyncio.sleep(0)
        assert session.sent() == [*BIND, "Sync"]
        await say(session, SELECTED + READY)
    assert [outcome(each) for each in (one, two, three)] == [ANSWER, 7, "SELECT 1"]


@pytest.mark.parametrize("position", range(4))
@in_loop
async def test_error_in_a_group(session, position):
    """All of the group fail: one by the error, the others by what names it."""
    async with pipeline(session, "group") as p:
        replies = [p.fetch(SQL, 1) for _ in range(3)]
        p.sync()
        after = p.fetch(SQL, 1)
        p.sync()
        await say(session, SELECTED * position + DIVISION + READY)
        await say(session, SELECTED + READY)
        wanted = [PipelineAbortedError] * 3
        if position == 3:  # the commit, which is nobody's
            wanted = [DivisionByZeroError] * 3
        else:
            wanted[position] = DivisionByZeroError
        assert [outcome(reply) for reply in replies] == wanted
        if position < 3:
            aborted = replies[position - 1].exception()
            assert (aborted.batch_index, aborted.outcome) == (position, "rolled_back")
            assert aborted.__cause__ is replies[position].exception()
        assert outcome(after) == ANSWER


@in_loop
async def test_new_statements_are_described_in_one_flight(session):
    """One task describes them and sends what was queued, in order."""
    async with pipeline(session) as p:
        replies = [p.fetch(f"{SQL}, {n}", 1) for n in range(3)]
        replies.append(p.fetch(SQL, 1))
        await turns()
        assert [word.split()[0] for word in session.sent()] == [
            "Parse",
            "Describe",
            "Sync",
        ] * 3
        await say(session, (DESCRIBED + READY) * 3)
        await turns()
        words = session.sent()
        assert [word.split()[0] for word in words] == ["Bind", "Execute", "Sync"] * 4
        assert words[-3:] == [*BIND, "Sync"]
        await say(session, (SELECTED + READY) * 4)
    assert [outcome(reply) for reply in replies] == [ANSWER] * 4


@in_loop
async def test_other_calls_come_behind(session):
    """A call of the connection does not overtake what was queued before."""
    async with pipeline(session) as p:
        p.fetch("SELECT $1::int4, 'new'", 1)
        assert start_query(session, SQL, (1,), 0, 0, None, None) is None
        await turns()
        await say(session, DESCRIBED + READY)
        await turns()
        assert start_query(session, SQL, (1,), 0, 0, None, None) is not None
        await say(session, (SELECTED + READY) * 2)


@in_loop
async def test_described_again_behind_what_makes_it(session):
    """A statement about a table that is made ahead of it in the pipeline."""
    async with pipeline(session) as p:
        made = p.execute(SQL, 1)
        session.sent()
        await say(session, SELECTED + READY)
        first, second = p.execute("CREATE"), p.fetch("SELECT FROM made")
        await turns()
        session.sent()
        await say(
            session,
            b.parse_complete() + b.parameter_description([]) + b.no_data() + READY,
        )
        await say(session, NO_TABLE + READY)
        await turns()
        assert [w.split()[0] for w in session.sent()] == [
            "Bind", "Execute", "Sync", "Parse", "Describe", "Sync",
        ]  # fmt: skip
        await say(
            session, b.bind_complete() + b.command_complete("CREATE TABLE") + READY
        )
        await say(
            session, b.parse_complete() + b.parameter_description([]) + COLUMNS + READY
        )
        await turns()
        await say(session, SELECTED + READY)
    assert [outcome(each) for each in (made, first, second)] == [
        "SELECT 1",
        "CREATE TABLE",
        ANSWER,
    ]


@in_loop
async def test_what_cannot_be_described(session):
    """It fails by itself; the others are sent."""
    with pytest.raises(UndefinedTableError):
        async with pipeline(session) as p:
            bad, good = p.fetch("SELECT FROM nowhere"), p.fetch(SQL, 1)
            await turns()
            await say(session, NO_TABLE + READY)
            await turns()
            await say(session, SELECTED + READY)
    assert (outcome(bad), outcome(good)) == (UndefinedTableError, ANSWER)


@in_loop
async def test_first_error_that_nobody_has_seen(session):
    """The end of the block raises it, and no other."""
    with pytest.raises(UniqueViolationError):
        async with pipeline(session) as p:
            seen, unseen, last = (p.fetch(SQL, 1) for _ in range(3))
            await say(session, DIVISION + READY + DUPLICATE + READY + DIVISION + READY)
            with pytest.raises(DivisionByZeroError):
                await seen
    assert outcome(unseen) is UniqueViolationError
    assert outcome(last) is DivisionByZeroError


@in_loop
async def test_error_of_a_group_is_seen_by_any_of_it(session):
    """Who has awaited one statement of a group knows of its failure."""
    async with pipeline(session, "group") as p:
        one, _two = p.fetch(SQL, 1), p.fetch(SQL, 1)
        p.sync()
        await say(session, SELECTED + DIVISION + READY)
        with pytest.raises(PipelineAbortedError):
            await one


@in_loop
async def test_awaited_twice_and_by_several(session):
    """A reply may be awaited as often as one likes; each gets the answer."""
    async with pipeline(session) as p:
        reply = p.fetch(SQL, 1)

        async def wait():
            return await reply

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await turns()
        tasks[0].cancel()
        await turns()
        assert session.n_cancels == 0
        await say(session, SELECTED + READY)
        assert await asyncio.gather(*tasks[1:]) == [ANSWER] * 2
        assert await reply == ANSWER


@in_loop
async def test_result_before_the_answer(session):
    """There is none yet, and it says so."""
    async with pipeline(session) as p:
        reply = p.fetch(SQL, 1)
        assert repr(reply) == f"<chopin.Reply waiting {SQL!r}>"
        for ask in (reply.result, reply.exception):
            with pytest.raises(InterfaceError, match="await it"):
                ask()
        await say(session, SELECTED + READY)
    assert repr(reply) == f"<chopin.Reply done {SQL!r}>"


@pytest.mark.parametrize("barrier", ["statement", "group"])
@in_loop
async def test_left_by_an_exception(session, barrier):
    """What is not sent is dropped, what is under way called off; all are settled."""
    with pytest.raises(LookupError):
        async with pipeline(session, barrier) as p:
            sent = p.fetch(SQL, 1)
            p.sync()
            queued = p.fetch("SELECT 'new'")
            p.sync()
            last = p.fetch(SQL, 1)
            raise LookupError
    for reply in (sent, queued, last):
        with pytest.raises(InterfaceError, match="the pipeline was left before"):
            await reply
    assert sent.exception().outcome == "unknown"
    assert queued.exception().outcome == "not_sent"
    assert session.n_cancels == 1
    session.cancel_ended()
    await say(session, SELECTED + READY)
    assert session.is_ready


@in_loop
async def test_left_while_statements_are_described(session):
    """The task ends with the block."""
    with pytest.raises(LookupError):
        async with pipeline(session) as p:
            queued = p.fetch("SELECT 'new'")
            await turns()
            raise LookupError
    assert outcome(queued) is InterfaceError
    session.cancel_ended()
    await say(session, DESCRIBED + READY)
    assert session.is_ready


@in_loop
async def test_cancelled_at_the_end(session):
    """A task that is cancelled while it waits for the last answers goes on at once."""

    async def work():
        async with pipeline(session) as p:
            p.fetch(SQL, 1)

    task = asyncio.create_task(work())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.n_cancels == 1
    session.cancel_ended()
    await say(session, SELECTED + READY)
    assert session.is_ready


@in_loop
async def test_connection_is_lost(session):
    """Everybody is told, and the outcome of what was sent is open."""
    with pytest.raises(ConnectionDoesNotExistError):
        async with pipeline(session) as p:
            sent, queued = p.execute(SQL, 1), p.fetch("SELECT 'new'")
            await turns()
            session.lost(ConnectionResetError())
            await turns()
            with pytest.raises(InterfaceError, match="closed"):
                p.fetch(SQL, 1)
    assert outcome(sent) is ConnectionDoesNotExistError
    assert isinstance(queued.exception(), Exception)


@pytest.mark.parametrize("behind", [None, SQL, WRITE])
@in_loop
async def test_stale_plan(session, behind):
    """It is made anew and repeated, unless something else than a read has run behind.

    What it would read then is not what it was asked for.
    """
    prepared(session, WRITE, name=b"s2")
    async with pipeline(session) as p:
        first = p.fetch(SQL, 1)
        second = behind and p.fetch(behind, 1)
        await turns()
        session.sent()
        await say(session, STALE + READY + (SELECTED + READY if behind else b""))
        if behind != WRITE:
            await turns()
            await say(session, b.close_complete() + DESCRIBED + READY)
            await turns()
            await say(session, SELECTED + READY)
        error = first.exception()
    if behind:
        assert outcome(second) == ANSWER
    if behind == WRITE:
        assert error.sqlstate == "0A000"
    else:
        assert first.result() == ANSWER


@in_loop
async def test_statements_that_a_pooler_has_lost(session):
    """All of them fail, none has run: all are repeated, in order, unnamed.

    The first one goes at once, and by itself: see `Flights`.
    """
    unnamed = ["Parse", "Describe", "Bind", "Execute", "Sync"]
    async with pipeline(session) as p:
        replies = [p.fetch(SQL, 1) for _ in range(3)]
        await asyncio.sleep(0)
        session.sent()
        await say(session, (GONE + READY) * 3)
        await turns()
        assert [w.split()[0] for w in session.sent()] == unnamed
        await say(session, DESCRIBED + SELECTED + READY)
        assert [w.split()[0] for w in session.sent()] == unnamed * 2
        await say(session, (DESCRIBED + SELECTED + READY) * 2)
    assert [outcome(reply) for reply in replies] == [ANSWER] * 3


@in_loop
async def test_arguments_that_do_not_fit(session):
    """Nothing of the unit is sent, and the error is its own."""
    async with pipeline(session, "group") as p:
        bad, good = p.fetch(SQL, "x"), p.fetch(SQL, 1)
        p.sync()
        assert session.sent() == []
        assert "invalid input" in str(bad.exception())
        assert outcome(good) is PipelineAbortedError
        p.fetch(SQL, 1)
        p.sync()
        await say(session, SELECTED + READY)


@in_loop
async def test_released_in_the_middle(session):
    """A group that is open when the pool takes the connection back is never sent."""
    with pytest.raises(InterfaceError, match="released back to the pool"):
        async with pipeline(session, "group") as p:
            reply = p.fetch(SQL, 1)
            session.epoch += 1
            for end in list(session.open_groups.values()):
                end()
            assert session.sent() == []
            assert reply.done()


@in_loop
async def test_used_outside_of_its_block(session):
    """A pipeline is for its block, and cannot be entered twice."""
    p = pipeline(session)
    with pytest.raises(InterfaceError, match="`async with` block only"):
        p.fetch(SQL, 1)
    async with p:
        with pytest.raises(InterfaceError, match="entered already"):
            await p.__aenter__()
        with pytest.raises(TypeError, match="query is expected to be a str"):
            p.fetch(5)
    with pytest.raises(InterfaceError, match="`async with` block only"):
        p.execute(SQL, 1)
    with pytest.raises(ValueError, match="barrier is expected"):
        pipeline(session, "none")


@in_loop
async def test_flush_waits_until_all_is_sent(session):
    """Not for the answers."""
    async with pipeline(session, "group") as p:
        p.fetch("SELECT 'new'", 1)
        task = asyncio.create_task(p.flush())
        await turns()
        assert not task.done()
        await say(session, DESCRIBED + READY)
        await task
        assert [w.split()[0] for w in session.sent()][-3:] == [
            "Bind", "Execute", "Sync",
        ]  # fmt: skip
        await say(session, SELECTED + READY)


@in_loop
async def test_time_is_over(session):
    """A statement that takes too long fails, and is called off."""
    with pytest.raises(TimeoutError):
        async with pipeline(session, timeout=0.001) as p:
            sent = p.fetch(SQL, 1)
            with pytest.raises(TimeoutError):
                await sent
            await asyncio.sleep(0)
            queued = p.fetch("SELECT 'new'")  # the session is blocked: it has to wait
    assert outcome(queued) is TimeoutError
    session.cancel_ended()
    await say(session, SELECTED + READY)
    assert session.is_ready


@pytest.mark.parametrize("seed", range(20))
def test_any_order(seed):
    """Random units, errors and cuts: each reply is what its unit has come to."""
    rng = random.Random(seed)
    sizes = [rng.randint(1, 4) for _ in range(8)]
    faults = [rng.choice([None, None, rng.randrange(size)]) for size in sizes]
    said = b"".join(
        SELECTED * size + READY
        if fault is None
        else SELECTED * fault + DIVISION + READY
        for size, fault in zip(sizes, faults, strict=True)
    )

    @in_loop
    async def play(session):
        replies = []
        async with pipeline(session, "group") as p:
            for size in sizes:
                replies.append([p.fetch(SQL, 1) for _ in range(size)])
                p.sync()
                if rng.random() < 0.3:
                    await asyncio.sleep(0)
            begin = 0
            while begin < len(said):
                end = begin + rng.randint(1, 60)
                await say(session, said[begin:end])
                begin = end
            got = [[outcome(reply) for reply in unit] for unit in replies]
        for unit, fault in zip(got, faults, strict=True):
            if fault is None:
                assert unit == [ANSWER] * len(unit)
            else:
                assert unit.pop(fault) is DivisionByZeroError
                assert unit == [PipelineAbortedError] * len(unit)

    play()


@pytest.mark.parametrize("barrier", ["statement", "group"])
@in_loop
async def test_telling_fails(session, barrier):
    """Whatever is wrong with telling the query loggers: the pipeline ends."""
    errors = []
    session.loop_.set_exception_handler(lambda _, context: errors.append(context))
    p = pipeline(session, barrier)
    p._connection._observers = type("Observers", (), {"query": {print: None}})
    p._connection._tell_query = lambda *args: 1 / 0
    async with asyncio.timeout(1):
        with pytest.raises(DivisionByZeroError):
            async with p:
                one = p.fetch(SQL, 1)
                p.sync()
                two = p.fetch(SQL, 1)
                answers = SELECTED + READY + DIVISION + READY
                session.loop_.call_soon(session.feed, answers)
    assert [outcome(each) for each in (one, two)] == [ANSWER, DivisionByZeroError]
    assert [each["message"] for each in errors] == ["a query logger was not told"] * 2
