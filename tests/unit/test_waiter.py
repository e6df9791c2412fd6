"""What a task awaits: settled once, woken outside of its own await, cancelled."""

import asyncio
import contextvars
import gc
import weakref

import pytest

import chopin.aio  # noqa: F401  (says which error a cancelled waiter raises)
from chopin._ops import ROWS, start_query
from chopin._waiter import Waiter
from tests.support import backend as b
from tests.support.fakes import READY, Loop, on_both_loops, open_session
from tests.support.script import SQL, done, prepared, row

var = contextvars.ContextVar("var", default="outside")


def waiter():
    return Waiter(asyncio.get_running_loop())


@on_both_loops
async def test_result_is_returned():
    """Whether it is there already or comes later."""
    early = waiter()
    early.set_result((1, 2))
    assert await early == (1, 2)
    late = waiter()
    asyncio.get_running_loop().call_soon(late.set_result, None)
    assert await late is None


@on_both_loops
async def test_result_now_runs_the_task():
    """Within the call, in the task's own context; and only if it still waits."""
    loop = asyncio.get_running_loop()
    left, waits, ran = waiter(), waiter(), []

    async def wait(for_what):
        var.set("inside")
        ran.append((await for_what, var.get()))

    def answer():
        left.set_result_now(1)
        assert ran == []
        waits.set_result_now(2)
        assert ran == [(2, "inside")]

    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(wait(left))
        tasks.create_task(wait(waits))
        await asyncio.sleep(0)
        gone.cancel()
        loop.call_soon(answer)
    assert gone.cancelled()
    assert ran == [(2, "inside")]


@on_both_loops
async def test_exception_is_raised():
    """The very same object."""
    error = LookupError("gone")
    early, late = waiter(), waiter()
    early.set_exception(error)
    asyncio.get_running_loop().call_soon(late.set_exception, error)
    for failed in (early, late):
        with pytest.raises(LookupError) as caught:
            await failed
        assert caught.value is error


@on_both_loops
async def test_exception_as_a_result_is_returned():
    """A value is a value."""
    got = waiter()
    got.set_result(StopIteration(5))
    assert isinstance(await got, StopIteration)


@pytest.mark.parametrize(
    "first", ["set_result", "set_exception", "cancel"], ids=lambda name: name
)
@pytest.mark.parametrize(
    "second", ["set_result", "set_result_now", "set_exception", "cancel"]
)
def test_first_outcome_wins(first, second):
    """Later ones do nothing."""
    got = Waiter(Loop())
    values = {
        "set_result": (1,),
        "set_result_now": (1,),
        "set_exception": (LookupError(),),
        "cancel": (),
    }
    getattr(got, first)(*values[first])
    before = (got.done(), got.cancelled(), got.exception())
    assert getattr(got, second)(*values[second]) in (None, False)
    assert (got.done(), got.cancelled(), got.exception()) == before


@on_both_loops
async def test_waiting_task_is_cancelled():
    """It sees CancelledError; a reply that comes later is dropped."""
    got = waiter()
    task = asyncio.ensure_future(wait(got))
    await asyncio.sleep(0)
    assert task.cancel("why")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert got.cancelled()
    got.set_result(1)
    assert got.cancelled()


@on_both_loops
async def test_task_cancelled_after_the_result_was_set():
    """The cancellation counts, as with asyncio's own futures."""
    got = waiter()
    task = asyncio.ensure_future(wait(got))
    await asyncio.sleep(0)
    got.set_result(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_both_loops
async def test_time_out_around_a_waiter():
    """asyncio.timeout cancels it and raises TimeoutError."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await waiter()


async def wait(got):
    return await got


@on_both_loops
async def test_task_goes_on_in_its_own_context():
    """Whatever context the reply came in."""

    async def task():
        var.set("inside")
        await got
        return var.get()

    got = waiter()
    waiting = asyncio.ensure_future(task())
    await asyncio.sleep(0)
    contextvars.copy_context().run(got.set_result, None)
    assert await waiting == "inside"
    assert var.get() == "outside"


def test_one_task_only():
    """A second one would never be woken, so it is refused."""
    got = Waiter(Loop())
    got.add_done_callback(print)
    with pytest.raises(RuntimeError, match="one task"):
        got.add_done_callback(print)


def test_question_before_the_answer():
    """There is no result and no exception yet."""
    got = Waiter(Loop())
    assert not got.done()
    assert not got.cancelled()
    for question in (got.result, got.exception):
        with pytest.raises(RuntimeError):
            question()


def test_error_is_given_away():
    """Kept, it would hold its traceback, which holds the awaiting frame, and so on."""
    got = Waiter(Loop())
    got.set_exception(LookupError())
    with pytest.raises(LookupError):
        got.result()
    with pytest.raises(RuntimeError, match="already"):
        got.result()


@on_both_loops
async def test_awaiting_makes_no_cycle():
    """A coroutine that failed is freed without the garbage collector."""

    class Local:
        pass

    async def fail(seen):
        local = Local()
        seen.append(weakref.ref(local))
        got = waiter()
        got.set_exception(LookupError())
        await got

    seen = []
    gc.disable()
    try:
        with pytest.raises(LookupError) as caught:
            await fail(seen)
        del caught
        assert seen[0]() is None
    finally:
        gc.enable()


def test_callback_can_be_removed():
    """As asyncio.timeout and Task expect."""
    loop, calls = Loop(), []
    got = Waiter(loop)
    assert got.remove_done_callback(calls.append) == 0
    got.add_done_callback(calls.append)
    assert got.remove_done_callback(calls.append) == 1
    got.set_result(1)
    loop.run()
    assert calls == []
    got.add_done_callback(calls.append)
    assert calls == [], "never inside of the call"
    loop.run()
    assert calls == [got]


# -- operations: woken when a read has been taken in -----------------------------------


def asked(session, value=1):
    return start_query(session, SQL, (value,), ROWS, 0, None, None)


def ready_session():
    session = open_session()
    prepared(session)
    session.written.clear()
    return session


ANSWER = b.bind_complete() + row(1) + done(1) + READY


def test_tasks_are_woken_at_the_end_of_a_read():
    """Not in the middle of it, in the order of their operations, and not later."""
    session, seen = ready_session(), []
    ops = [asked(session) for _ in range(3)]
    for number, op in enumerate(ops):
        op.add_done_callback(
            lambda op, number=number: seen.append((number, session.in_flight))
        )
    session.feed(ANSWER * 3)
    assert seen == [(0, False), (1, False), (2, False)]


def test_what_woken_tasks_send_is_written_together():
    """One write for a whole read."""
    session = ready_session()
    ops = [asked(session) for _ in range(3)]
    session.loop.run()
    session.written.clear()
    for op in ops:
        op.add_done_callback(lambda op: asked(session))
    session.feed(ANSWER * 3)
    assert len(session.written) == 1
    assert [m.name for m in session.sent()] == ["Bind", "Execute", "Sync"] * 3


def test_operations_of_one_turn_are_written_together():
    """The first goes out at once, the others with the end of the turn."""
    session = ready_session()
    for value in range(4):
        asked(session, value)
    assert len(session.written) == 1
    session.loop.run()
    assert len(session.written) == 2
    assert [m.name for m in session.sent()] == ["Bind", "Execute", "Sync"] * 4


def test_callback_that_raises_does_not_hold_up_the_others():
    """The error comes out of the read, everybody else is woken all the same."""
    session, seen = ready_session(), []
    ops = [asked(session) for _ in range(3)]

    def fail(op):
        raise LookupError("in a callback")

    ops[0].add_done_callback(fail)
    ops[1].add_done_callback(seen.append)
    ops[2].add_done_callback(seen.append)
    with pytest.raises(LookupError):
        session.feed(ANSWER * 3)
    session.loop.run()
    assert seen == ops[1:]
    assert session.is_open


def test_callback_gets_its_context_in_a_read():
    """The context of the task, not that of the transport."""
    session, seen = ready_session(), []
    op = asked(session)
    context = contextvars.copy_context()
    context.run(var.set, "of the task")
    op.add_done_callback(lambda op: seen.append(var.get()), context=context)
    session.feed(ANSWER)
    assert seen == ["of the task"]


def test_cancelled_outside_of_a_read():
    """The task is woken through the loop."""
    session, seen = ready_session(), []
    op = asked(session)
    op.add_done_callback(seen.append)
    assert op.cancel()
    assert not op.cancel()
    assert seen == []
    session.loop.run()
    assert seen == [op]
