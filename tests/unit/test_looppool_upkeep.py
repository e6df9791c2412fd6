"""Which connections the pool replaces, closes, checks and gives up."""

import pytest

from chopin._looppool import STAGGER
from chopin._slots import CHECKING, GONE, IDLE, LENT, SETTLING, SHARED
from tests.support.poolfakes import (
    closing,
    in_surplus,
    stale,
    too_many,
    too_old,
    used_up,
    worlds,
    write,
)

DEEP = {"depth": 16}
make = pytest.fixture(worlds)


# What is replaced when it is given back


RETIRED = [too_old, used_up, stale, in_surplus, closing, too_many]


@pytest.mark.parametrize("why", RETIRED, ids=lambda why: why.__name__)
def test_retired(make, why):
    """It is closed when its user gives it back, and nobody gets it."""
    world = make(2, max_queries=100)
    other, slot = world.lend(), world.lend()
    why(world, slot)
    assert slot.state is LENT
    world.give(slot)
    assert slot.state is GONE
    assert world.host.closed == [slot]
    assert world.pool.counts.closed == 1
    assert list(world.pool.slots) == [other]


@pytest.mark.parametrize("why", RETIRED, ids=lambda why: why.__name__)
def test_retired_though_somebody_waits(make, why):
    """Not even who waits is handed a connection that is to be replaced."""
    world = make(2, max_size=2, max_queries=100)
    world.lend()
    slot = world.lend()
    ticket = world.join()
    why(world, slot)
    world.give(slot)
    assert slot.state is GONE
    assert not ticket.done()


@pytest.mark.parametrize("why", RETIRED[:4], ids=lambda why: why.__name__)
def test_retired_after_its_last_rider(make, why):
    """A single query is no reason to keep it either; and it has gone from `shared`."""
    world = make(1, max_queries=100, **DEEP)
    slot = world.share(1)
    why(world, slot)
    world.end(slot)
    assert slot.state is SHARED
    world.end(slot)
    assert slot.state is GONE


@pytest.mark.parametrize("why", RETIRED, ids=lambda why: why.__name__)
def test_retired_while_it_is_cleaned(make, why):
    """When that has ended."""
    world = make(2, max_queries=100)
    world.lend()
    slot = world.lend()
    world.give(slot, is_dirty=True)
    why(world, slot)
    world.settled(slot)
    assert slot.state is GONE


def test_stale_connection_is_not_used_behind_its_cleaning(make):
    """Who comes after a flush gets a new one."""
    world = make(1)
    slot = world.lend()
    world.give(slot, is_dirty=True)
    world.pool.flush("gracefully")
    assert world.take() is None
    ticket = world.join()
    world.settled(slot)
    assert slot.state is GONE
    assert world.opened() is ticket.result()


@pytest.mark.parametrize("why", [stale, closing], ids=lambda why: why.__name__)
def test_retired_after_a_check(make, why):
    """A connection that is alive is not for that reason kept."""
    world = make(1)
    (slot,) = world.pool.due_for_check(world.now, 0)
    why(world, slot)
    world.pool.checked(slot, True, world.now)
    assert slot.state is GONE


def test_connection_within_its_limits_stays(make):
    """One moment before its time, and with as many queries as it may have."""
    world = make(1, max_queries=100)
    slot = world.lend()
    slot.expires = world.now + 0.001
    slot.session.submitted = 100
    world.give(slot)
    assert slot.state is IDLE


def test_surplus_is_given_up_once(make):
    """The next connection that comes back stays."""
    world = make(2)
    first, second = world.lend(), world.lend()
    world.pool.surplus = 1
    world.give(first)
    world.give(second)
    assert (first.state, second.state) == (GONE, IDLE)


def test_dead_connection_is_dropped_when_given_back(make):
    """There is nothing to close, and who waits gets another one."""
    world = make(1, max_size=1)
    slot = world.lend()
    ticket = world.join()
    slot.session.is_open = False
    world.give(slot)
    assert slot.state is GONE
    assert world.host.closed == []
    assert world.opened() is ticket.result()


@pytest.mark.parametrize("end", ["die", "flush"])
def test_connection_ends_with_its_riders_on_it(make, end):
    """They all come back, the pool counts it once, and nobody is put on it."""
    world = make(1, max_size=1, **DEEP)
    slot = world.share(2)
    ticket = world.join_to_ride()
    if end == "die":
        world.die(slot)
        assert slot.state is SHARED
    else:
        world.pool.flush("all")
    for _ in range(3):
        world.end(slot)
    assert slot.state is GONE
    assert world.pool.counts.closed == 1
    assert not ticket.done()
    assert world.opened() is ticket.result()


# Housekeeping


def test_sweep_closes_what_was_idle_for_too_long(make):
    """Above the floor, the coldest first."""
    world = make(4, min_size=2, max_size=10, idle_timeout=10.0)
    cold = list(world.pool.idle[:2])
    world.advance(9.9)
    world.pool.sweep(world.now)
    assert world.pool.size == 4
    world.advance(0.2)
    world.pool.sweep(world.now)
    assert world.host.closed == cold
    assert world.pool.size == 2
    assert world.host.begun == 0


def test_sweep_spares_what_was_used(make):
    """Its time begins when it is given back."""
    world = make(2, idle_timeout=10.0)
    world.advance(9)
    slot = world.lend()
    world.advance(9)
    world.give(slot)
    world.advance(9)
    world.pool.sweep(world.now)
    assert world.pool.idle == [slot]


def test_sweep_replaces_what_is_too_old(make):
    """Also below the floor, and opens another one."""
    world = make(min_size=1, max_size=2)
    slot = world.connect(expires=world.now + 10)
    world.pool.sweep(world.now + 9.9)
    assert slot.state is IDLE
    world.pool.sweep(world.now + 10)
    assert slot.state is GONE
    assert world.host.connecting == 1


def test_sweep_drops_what_is_dead(make):
    """It need not be closed."""
    world = make(2)
    world.pool.idle[0].session.is_open = False
    world.pool.sweep(world.now)
    assert world.pool.size == 1
    assert world.host.closed == []


def test_sweep_fills_up(make):
    """After the floor was raised."""
    world = make(1, max_size=10)
    world.pool.limits.min_size = 3
    world.pool.sweep(world.now)
    assert world.pool.size == 3


def test_resize_down(make):
    """What is idle goes at once, what is used when it is given back."""
    world = make(4, max_size=4)
    slots = [world.lend(), world.lend(), world.lend()]
    world.pool.limits.max_size = 1
    world.pool.sweep(world.now)
    assert set(world.pool.slots) == set(slots)
    ticket = world.join()
    for slot in slots[:2]:
        world.give(slot)
        assert slot.state is GONE
    assert not ticket.done()
    world.give(slots[2])
    assert ticket.result() is slots[2]
    assert world.host.begun == 0


def test_resize_up(make):
    """Who waits is served by what may be opened now."""
    world = make(1, max_size=1)
    world.lend()
    ticket = world.join()
    assert world.host.begun == 0
    world.pool.limits.max_size = 2
    world.pool.sweep(world.now)
    assert world.opened() is ticket.result()


def test_check_in_the_background(make):
    """Those that nobody has heard of for long; nobody gets them meanwhile."""
    world = make(2)
    hot = world.lend()
    world.advance(10)
    world.give(hot)
    assert world.pool.due_for_check(world.now, 10.1) == []
    (due,) = world.pool.due_for_check(world.now, 10)
    assert due.state is CHECKING
    assert world.take() is hot
    assert world.take() is None
    world.advance(1)
    world.pool.checked(due, True, world.now)
    assert due.state is IDLE
    assert due.checked == world.now
    assert world.pool.due_for_check(world.now, 1) == []


def test_check_keeps_the_order_of_the_stack(make):
    """The coldest below, so that the coldest are closed first."""
    world = make(4)
    before = list(world.pool.idle)
    world.advance(10)
    hot = world.lend()
    world.give(hot)
    due = world.pool.due_for_check(world.now, 10)
    assert due == before[2::-1]
    for slot in due:
        world.pool.checked(slot, True, world.now)
    assert world.pool.idle == before


def test_check_of_a_dead_connection(make):
    """It is closed, counted and replaced."""
    world = make(1, min_size=1)
    (slot,) = world.pool.due_for_check(world.now, 0)
    world.pool.checked(slot, False, world.now)
    assert slot.state is GONE
    assert world.host.closed == [slot]
    assert world.pool.counts.validations_failed == 1
    assert world.host.connecting == 1


def test_check_of_a_connection_that_has_ended_meanwhile(make):
    """By itself, or because it was closed."""
    world = make(2)
    first, second = world.pool.due_for_check(world.now, 0)
    world.die(first)
    world.pool.flush("all")
    world.pool.checked(first, False, world.now)
    world.pool.checked(second, True, world.now)
    assert world.pool.size == 0
    assert world.pool.counts.validations_failed == 0


def test_checked_connection_goes_to_who_waits(make):
    """Who came while it was being asked."""
    world = make(1, max_size=1)
    (slot,) = world.pool.due_for_check(world.now, 0)
    assert world.take() is None
    ticket = world.join()
    world.pool.checked(slot, True, world.now)
    assert ticket.result() is slot


def test_checked_connection_that_is_unclean(make):
    """Such as with notices of the server under way: it is settled."""
    world = make(1)
    (slot,) = world.pool.due_for_check(world.now, 0)
    slot.session.is_dirty = True
    world.pool.checked(slot, True, world.now)
    assert slot.state is SETTLING


def ask(world, way):
    """Somebody wants a connection."""
    if way == "take":
        return world.take()
    return world.pool.take_single(write(), world.now)


@pytest.mark.parametrize("way", ["take", "single"])
def test_check_at_use(make, way):
    """What was idle for long is not handed out before it has answered, all of it."""
    world = make(3, check_after=10)
    cold, warm, _ = world.pool.idle
    world.advance(10)
    hot = ask(world, way)
    world.advance(0.1)
    assert ask(world, way) is None
    assert world.host.checks == [warm, cold]
    assert world.pool.idle == []
    ticket = world.join()
    world.pool.checked(cold, True, world.now)
    assert ticket.result() is cold
    assert hot.state is not CHECKING


@pytest.mark.parametrize("way", ["take", "single"])
def test_check_at_each_use(make, way):
    """Only of the one that is wanted, however long ago the last one was."""
    world = make(2, check_after=-1)
    cold, hot = world.pool.idle
    assert ask(world, way) is None
    assert world.host.checks == [hot]
    assert world.pool.idle == [cold]
    ticket = world.join()
    world.pool.checked(hot, True, world.now)
    assert ticket.result() is hot


# Flushing


def busy(world):
    """A connection in each state."""
    idle = world.pool.idle[0]
    lent, single, shared, settling = (
        world.lend(), world.begin(write()), world.share(1), world.lend(),
    )  # fmt: skip
    world.give(settling, is_blocked=True)
    return {
        "idle": idle,
        "lent": lent,
        "single": single,
        "shared": shared,
        "settling": settling,
    }


@pytest.mark.parametrize(
    ("which", "gone"),
    [
        ("idle", {"idle"}),
        ("gracefully", {"idle"}),
        ("all", {"idle", "lent", "single", "shared", "settling"}),
    ],
)
def test_flush(make, which, gone):
    """Which connections go at once."""
    world = make(5, **DEEP)
    slots = busy(world)
    world.pool.flush(which)
    assert {name for name, slot in slots.items() if slot.state is GONE} == gone
    assert len(world.host.closed) == len(gone)
    if which == "all":
        return
    world.give(slots["lent"])
    world.end(slots["single"])
    world.end(slots["shared"])
    world.end(slots["shared"])
    slots["settling"].session.is_blocked = False
    world.settled(slots["settling"])
    assert world.pool.size == (0 if which == "gracefully" else 4)


def test_flush_spares_what_comes_later(make):
    """The floor is opened anew, and those are not stale."""
    world = make(2, min_size=2)
    world.pool.flush("gracefully")
    while world.host.connecting:
        world.opened()
    assert len(world.pool.idle) == 2
    assert not any(slot.is_stale for slot in world.pool.slots)


def test_discarding_twice(make):
    """It is closed once and counted once."""
    world = make(2)
    slot = world.lend()
    world.pool.discard(slot)
    world.pool.discard(slot)
    world.pool.lost(slot)
    world.give(slot)
    assert world.host.closed == [slot]
    assert world.pool.counts.closed == 1
    assert world.pool.size == 1


# Other loops


def test_yields_the_coldest(make):
    """One connection that nobody uses; nothing if all are used."""
    world = make(2)
    cold, hot = world.pool.idle
    assert world.pool.yield_one()
    assert world.host.closed == [cold]
    assert world.pool.idle == [hot]
    world.lend()
    assert not world.pool.yield_one()


def test_what_is_yielded_and_not_taken(make):
    """The floor has it back, a moment later."""
    world = make(1, min_size=1, max_size=1)
    assert world.pool.yield_one()
    assert world.host.connecting == 0
    world.advance(STAGGER)
    world.opened()
    assert len(world.pool.idle) == 1


@pytest.mark.parametrize("how", ["idle", "surplus"])
def test_what_is_yielded_is_not_taken_back(make, how):
    """Neither for the floor nor for who waits here: it is for another loop."""
    world = make(2, room=2, min_size=2, max_size=2)
    if how == "idle":
        assert world.pool.yield_one()
    else:
        slot = world.lend()
        world.lend()
        world.join()
        world.pool.surplus = 1
        world.host.room = 1  # the budget leaves the other place to the other loop
        world.give(slot)
    assert world.host.claimed == 1
    assert world.host.connecting == 0
