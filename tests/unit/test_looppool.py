"""Who gets which connection, in a time that stands still."""

import asyncio
import enum
import math

import pytest

from chopin._slots import (
    GONE,
    IDLE,
    LENT,
    SETTLING,
    SHARED,
    SINGLE,
    Counts,
    Read,
    Reads,
)
from tests.support.fakes import on_both_loops
from tests.support.poolfakes import (
    FakeSession,
    World,
    fast_read,
    slow_read,
    worlds,
    write,
)

DEEP = {"depth": 16}
make = pytest.fixture(worlds)


class Holder:
    """As much of a lease as `is_deadlocked` looks at."""

    def __init__(self, task):
        self.task = task
        self.active = True
        self.is_scoped = True


def held_by(world, task):
    slot = world.lend()
    slot.lease = Holder(task)
    return slot


# Idle connections


def test_idle_connections_are_a_stack(make):
    """What was used last is used next, so that the others grow cold."""
    world = make(3)
    first, second = world.lend(), world.lend()
    world.give(first)
    world.give(second)
    assert world.take() is second
    assert world.take() is first


def test_single_takes_from_the_same_stack(make):
    """And gives back to it."""
    world = make(2)
    hot = world.pool.idle[-1]
    assert world.begin(Read(False)) is hot
    assert hot.state is SINGLE
    world.end(hot)
    assert hot.state is IDLE
    assert world.pool.idle[-1] is hot


def test_taking_from_nothing_is_none(make):
    """The pool never waits."""
    world = make(1)
    world.lend()
    assert world.take() is None
    assert world.pool.take_single(fast_read(), world.now) is None


def test_dead_idle_connection_is_not_handed_out(make):
    """It is dropped, and the next one of the stack is taken."""
    world = make(2)
    cold, hot = world.pool.idle
    hot.session.is_open = False
    assert world.take() is cold
    assert hot.state is GONE
    assert world.host.closed == []
    assert world.pool.counts.closed == 1


def test_last_idle_connection_is_dead(make):
    """Then there is none."""
    world = make(1)
    world.pool.idle[0].session.is_open = False
    assert world.take() is None
    assert world.pool.size == 0


def test_only_a_fast_read_shares(make):
    """Whatever else runs alone, and so does all of it where the depth is 1."""
    world = make(4, **DEEP)
    kinds = [world.begin(r) for r in (fast_read(), slow_read(), write(), Read(True))]
    assert [slot.state for slot in kinds] == [SHARED, SINGLE, SINGLE, SINGLE]
    world.end(kinds[0])
    world.pool.limits.depth = 1
    assert world.begin(fast_read()).state is SINGLE


def test_reads_are_known_by_their_text():
    """Whatever kind of text it is."""
    reads = Reads()
    text = enum.StrEnum("Query", {"ONE": "SELECT 1"}).ONE
    assert reads[text] is reads["SELECT 1"]
    assert reads[text].is_read
    assert not reads["DELETE FROM t"].is_read


# Lines


def test_connection_goes_to_who_has_waited_longest(make):
    """From hand to hand, without being idle in between."""
    world = make(1, max_size=1)
    slot = world.lend()
    tickets = [world.join() for _ in range(3)]
    for ticket in tickets:
        world.give(slot)
        assert ticket.result() is slot
        assert slot.state is LENT
        assert world.pool.idle == []
    world.give(slot)
    assert world.pool.idle == [slot]


def test_lines_are_served_by_age(make):
    """A read that waits comes neither before nor behind its turn."""
    world = make(1, max_size=1)
    slot = world.lend()
    kinds = [None, fast_read(), None, write(), fast_read()]
    tickets = [world.join(r, may_ride=r is not None and r.is_fast) for r in kinds]
    served = []
    for _ in kinds:
        if slot.singles:
            world.end(slot)
        else:
            world.give(slot)
        served += [n for n, t in enumerate(tickets) if t.done() and n not in served]
    assert served == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("read", "state"), [(None, LENT), (write(), SINGLE), (slow_read(), SINGLE)]
)
def test_hand_off_begins_the_use(make, read, state):
    """The slot is in its new state before the task that waited has run."""
    world = make(1, max_size=1)
    slot = world.lend()
    ticket = world.join(read)
    world.clock.now += 1
    world.give(slot)
    assert ticket.result() is slot
    assert slot.state is state
    assert slot.singles == (read is not None)
    assert slot.since == world.now


@pytest.mark.parametrize("read", [None, write()], ids=["acquire", "single"])
def test_hand_off_survives_who_is_cancelled_in_the_same_turn(make, read):
    """Who has got a connection and cannot use it gives it to the next in line."""
    world = make(1, max_size=1)
    slot = world.lend()
    gone, next_one = world.join(read), world.join()
    world.give(slot)
    assert gone.done()
    assert not next_one.done()
    world.cancel(gone)
    assert next_one.result() is slot
    assert slot.state is LENT
    assert slot.singles == 0


def test_rider_cancelled_in_the_same_turn_makes_room(make):
    """The others stay, and the next read that waits rides."""
    world = make(1, max_size=1, depth=2)
    slot = world.share(1)
    gone, next_one = world.join_to_ride(), world.join_to_ride()
    world.end(slot)
    assert gone.done()
    assert not next_one.done()
    world.cancel(gone)
    assert next_one.result() is slot
    assert slot.singles == 2


def test_cancelled_call_is_out_of_its_line(make):
    """The task's cancellation has ended the ticket before `leave` sees it."""
    world = make(1, max_size=1, **DEEP)
    world.lend()
    tickets = [world.join(), world.join_to_ride()]
    for ticket in tickets:
        world.cancel(ticket)
    assert list(world.pool.line) == []
    assert list(world.pool.reads_waiting) == []


def test_call_that_goes_by_itself_is_out_of_its_line(make):
    """Without having been cancelled."""
    world = make(1, max_size=1)
    world.lend()
    ticket = world.join()
    world.pool.leave(ticket, world.now)
    assert ticket.cancelled()
    assert list(world.pool.line) == []
    world.pool.leave(ticket, world.now)


def test_cancelled_calls_are_passed_over(make):
    """A connection goes to the first that still waits."""
    world = make(1, max_size=1)
    slot = world.lend()
    gone = [world.join(), world.join_to_ride()]
    stays = world.join()
    for ticket in gone:
        ticket.cancel()
    world.give(slot)
    assert stays.result() is slot


def test_who_leaves_a_closed_connection_gives_nothing_back(make):
    """It was closed between the hand-off and the cancellation."""
    world = make(1, max_size=1)
    slot = world.lend()
    ticket = world.join()
    world.give(slot)
    world.die(slot)
    assert slot.state is GONE
    world.cancel(ticket)
    assert world.pool.size == 0


def test_newcomers_do_not_overtake(make):
    """Not even for a connection that is being cleaned and could be used by now."""
    world = make(1, max_size=1)
    slot = world.lend()
    ticket = world.join()
    world.give(slot, is_blocked=True)
    assert not ticket.done()
    slot.session.is_blocked = False
    assert world.take() is None
    world.settled(slot)
    assert ticket.result() is slot


@on_both_loops
async def test_tasks_are_served_in_order_and_none_is_forgotten():
    """Real tasks: of three, the first is cancelled in the turn of its hand-off."""
    world = World(1, max_size=1)
    world.pool.loop = asyncio.get_running_loop()
    slot = world.lend()
    served = []

    async def use(name):
        ticket = world.join()
        try:
            got = await ticket
        except asyncio.CancelledError:
            world.pool.leave(ticket, world.now)
            raise
        served.append(name)
        await asyncio.sleep(0)
        world.give(got)

    tasks = [asyncio.create_task(use(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[2].cancel()
    world.give(slot)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = [isinstance(result, asyncio.CancelledError) for result in results]
    assert cancelled == [True, False, True, False]
    assert served == ["b", "d"]
    assert world.pool.idle == [slot]
    world.check()


# Time-outs


def test_call_that_has_waited_long_enough_is_told(make):
    """At its own time, and the others wait on."""
    world = make(1, max_size=1, **DEEP)
    world.lend()
    late = [world.join(patience=2.0), world.join(fast_read(), patience=3.0)]
    patient = world.join()
    world.advance(1.999)
    assert not late[0].done()
    world.advance(0.002)
    assert isinstance(late[0].exception(), TimeoutError)
    assert not late[1].done()
    world.advance(1.0)
    assert isinstance(late[1].exception(), TimeoutError)
    assert not patient.done()
    assert world.pool.counts.timeouts == 2
    assert list(world.pool.waiting) == [patient]


def test_expire_says_when_to_come_again(make):
    """The earliest deadline of both lines, or never."""
    world = make(1, max_size=1, **DEEP)
    world.lend()
    fail = TimeoutError
    assert world.pool.expire(world.now, fail) == math.inf
    world.join(patience=5.0)
    world.join(fast_read(), may_ride=True, patience=3.0)
    assert world.host.alarm == world.now + 3.0
    assert world.pool.expire(world.now, fail) == world.now + 3.0
    assert world.pool.expire(world.now + 4, fail) == world.now + 5.0


def test_error_of_a_time_out_is_made_for_each(make):
    """It is asked for with the ticket that it is about."""
    world = make(1, max_size=1)
    world.lend()
    tickets = [world.join(patience=1.0) for _ in range(2)]
    world.pool.expire(world.now + 1, lambda ticket: TimeoutError(ticket.number))
    assert [t.exception().args for t in tickets] == [(t.number,) for t in tickets]


def test_cancelled_call_does_not_time_out(make):
    """Nor does one that was served."""
    world = make(1, max_size=1)
    slot = world.lend()
    served, cancelled = world.join(patience=1.0), world.join(patience=1.0)
    world.give(slot)
    cancelled.cancel()
    world.advance(2.0)
    assert served.result() is slot
    assert world.pool.counts.timeouts == 0


# Settling


def test_unclean_connection_is_cleaned_first(make):
    """It is in nobody's hands until then, and idle behind."""
    world = make(1)
    slot = world.lend()
    world.give(slot, is_dirty=True)
    assert world.host.settling == [slot]
    assert slot.state is SETTLING
    assert world.pool.idle == []
    world.settled(slot)
    assert slot.state is IDLE


def test_cleaning_that_ends_at_once(make):
    """The host may call back before it returns."""
    world = make(1, max_size=1)
    slot = world.lend()
    ticket = world.join()

    def settle(slot):
        slot.session.is_dirty = False
        world.pool.settled(slot, world.now)
        return True

    world.host.settle = settle
    world.give(slot, is_dirty=True)
    assert ticket.result() is slot
    world.give(slot, is_dirty=True)
    assert world.pool.idle == [slot]


@pytest.mark.parametrize("how", ["line", "stack"])
def test_unclean_connection_is_used_behind_its_cleaning(make, how):
    """What comes is sent behind the reset: nobody waits for that."""
    world = make(1, max_size=1)
    slot = world.lend()
    if how == "line":
        ticket = world.join()
        world.give(slot, is_dirty=True)
        assert ticket.result() is slot
    else:
        world.give(slot, is_dirty=True)
        assert world.take() is slot
    assert slot.state is LENT
    world.settled(slot)
    assert slot.state is LENT


@pytest.mark.parametrize("how", ["line", "stack"])
def test_blocked_connection_is_not_used_behind_its_cleaning(make, how):
    """While something is being cancelled on it, who gets it would have to wait."""
    world = make(1, max_size=1)
    slot = world.lend()
    ticket = world.join() if how == "line" else None
    world.give(slot, is_blocked=True)
    assert slot.state is SETTLING
    if how == "stack":
        assert world.take() is None
        ticket = world.join()
    assert not ticket.done()
    slot.session.is_blocked = False
    world.settled(slot)
    assert ticket.result() is slot


@pytest.mark.parametrize("how", ["line", "stack"])
def test_connection_is_not_used_behind_a_cleaning_that_may_fail(make, how):
    """The host says when it is so: whoever comes waits for the end of it."""
    world = make(1, max_size=1)
    slot = world.lend()
    world.host.may_pass = False
    ticket = world.join() if how == "line" else None
    world.give(slot, is_dirty=True)
    if how == "stack":
        assert world.take() is None
        ticket = world.join()
    assert not ticket.done()
    world.settled(slot)
    assert ticket.result() is slot


def test_blocked_connection_hides_no_other(make):
    """Of those being cleaned, one that can be used is found behind one that cannot."""
    world = make(2, max_size=2)
    blocked, usable = world.lend(), world.lend()
    world.give(blocked, is_blocked=True)
    world.give(usable, is_dirty=True)
    assert world.take() is usable


def test_unclean_connection_is_not_kept_for_who_has_gone(make):
    """A line in which nobody waits any more makes no connection clean."""
    world = make(1, max_size=1)
    slot = world.lend()
    world.join().cancel()
    world.give(slot, is_dirty=True)
    assert slot.state is SETTLING
    assert world.pool.idle == []
    world.settled(slot)
    assert slot.state is IDLE


def test_idle_connection_is_preferred_to_one_being_cleaned(make):
    """The order of what is sent is then nobody's concern."""
    world = make(2)
    slot = world.lend()
    world.give(slot, is_dirty=True)
    assert world.take() is not slot


def test_cleaning_ends_while_the_next_user_is_at_work(make):
    """His own traces are cleaned again, and that comes to an end."""
    world = make(1)
    slot = world.lend()
    world.give(slot, is_dirty=True)
    assert world.take() is slot
    world.give(slot, is_dirty=True)
    assert world.host.settling == [slot, slot]
    for _ in range(3):
        if world.host.settling:
            assert slot.state is SETTLING
            world.settled(slot)
    assert world.host.settling == []
    assert slot.state is IDLE


def test_connection_dies_while_it_is_cleaned(make):
    """It is told once, by whichever way it comes first."""
    world = make(2)
    first, second = world.lend(), world.lend()
    world.give(first, is_dirty=True)
    world.give(second, is_dirty=True)
    world.die(first)
    world.settled(first)
    second.session.is_open = False
    world.settled(second)
    assert first.state is second.state is GONE
    assert world.pool.counts.closed == 2


def test_new_connection_that_is_unclean_is_cleaned(make):
    """What `init` has left behind is not handed to anybody."""
    world = make(max_size=1)
    ticket = world.join()
    session = FakeSession()
    session.is_dirty = session.is_blocked = True
    slot = world.opened(session=session)
    assert slot.state is SETTLING
    assert not ticket.done()
    slot.session.is_blocked = False
    world.settled(slot)
    assert ticket.result() is slot


# Deadlocks


def test_deadlock(make):
    """Every connection is held by a task that waits, or is about to."""
    world = make(2, max_size=2)
    held_by(world, "a")
    held_by(world, "b")
    assert not world.pool.is_deadlocked("a")
    world.join(task="a")
    assert world.pool.is_deadlocked("b")
    assert not world.pool.is_deadlocked("c")


def test_task_with_all_connections_waits_for_one_more(make):
    """It is deadlocked alone."""
    world = make(2, max_size=2)
    held_by(world, "a")
    held_by(world, "a")
    assert world.pool.is_deadlocked("a")


def test_dropped_connection_is_no_deadlock(make):
    """Its handle was dropped, and it is about to come back."""
    world = make(1, max_size=1)
    held_by(world, "a").lease.active = False
    assert not world.pool.is_deadlocked("a")


@pytest.mark.parametrize(
    "way_out", ["opening", "room", "single", "settling", "checking", "cancelled"]
)
def test_no_deadlock(make, way_out):
    """Some connection is still to come."""
    world = make(2, max_size=2)
    checking = world.pool.due_for_check(world.now, 0) if way_out == "checking" else []
    for slot in checking[1:]:
        world.pool.checked(slot, True, world.now)
    held_by(world, "a")
    if way_out == "single":
        world.begin(write())
    elif way_out == "settling":
        world.give(world.lend(), is_blocked=True)
    elif way_out != "checking":
        held_by(world, "b")
    ticket = world.join(task="b")
    assert world.pool.is_deadlocked("a") is (
        way_out in {"opening", "room", "cancelled"}
    )
    if way_out == "opening":
        world.pool.limits.max_size = 3
        world.pool.sweep(world.now)
        assert world.host.connecting == 1
        world.pool.limits.max_size = 2
    elif way_out == "room":
        world.pool.limits.max_size = 3
    elif way_out == "cancelled":
        ticket.cancel()
    assert not world.pool.is_deadlocked("a")


# Counts


def test_counts(make):
    """Of a short life."""
    world = make(1, max_size=1)
    slot = world.lend()
    served, late = world.join(), world.join(patience=3.0)
    world.clock.now += 2
    world.give(slot)
    assert served.result() is slot
    world.advance(2)
    assert late.exception() is not None
    world.die(slot)
    world.give(slot)
    counts = world.pool.counts
    assert (counts.waits, counts.waited, counts.timeouts) == (2, 2.0, 1)
    assert (counts.opened, counts.closed) == (1, 1)


def test_counts_are_added():
    """All of them."""
    one, two = Counts(), Counts()
    for value, name in enumerate(Counts.__slots__):
        setattr(one, name, value)
        setattr(two, name, 100)
    two.add(one)
    values = [getattr(two, name) for name in Counts.__slots__]
    assert values == [100 + value for value in range(len(values))]


def test_waiting_shows_who_waits(make):
    """Of both lines, without those who are done."""
    world = make(1, max_size=1)
    world.lend()
    tickets = [world.join(), world.join_to_ride(), world.join()]
    tickets[2].cancel()
    assert list(world.pool.waiting) == tickets[:2]
    world.pool.fail_waiting(lambda: InterruptedError("over"))
    assert list(world.pool.waiting) == []
    assert all(isinstance(t.exception(), InterruptedError) for t in tickets[:2])
