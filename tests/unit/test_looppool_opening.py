"""When the pool opens connections, and what it does when that fails."""

import pytest

from chopin._looppool import STAGGER
from chopin._slots import GONE
from chopin.exceptions import InvalidPasswordError
from tests.support.poolfakes import worlds

make = pytest.fixture(worlds)
#: of a back-off that has failed for long, the longest
LONGEST_BACKOFF = 1.0


# Opening


def test_floor_is_opened_at_once(make):
    """As many together as there are openers."""
    world = make(min_size=5, max_size=10, openers=3)
    world.pool.consider_opening(world.now)
    assert world.host.connecting == 3
    world.opened()
    assert world.host.connecting == 3
    while world.host.connecting:
        world.opened()
    assert world.pool.size == len(world.pool.idle) == 5


def test_floor_is_kept(make):
    """What is lost is replaced."""
    world = make(2, min_size=2, max_size=10)
    world.die(world.pool.idle[0])
    assert world.host.connecting == 1
    assert world.pool.size == 2


def test_empty_pool_opens_at_once_for_who_waits(make):
    """Nothing can come back to them."""
    world = make(max_size=10, openers=3)
    for expected in (1, 2, 3, 3):
        world.join()
        assert world.host.connecting == expected


def test_connections_for_who_waits_are_staggered(make):
    """The first at once; most are served by what comes back meanwhile."""
    world = make(1, max_size=10, openers=3)
    world.lend()
    for _ in range(6):
        world.join()
    assert world.host.begun == 1
    world.advance(STAGGER * 0.9)
    assert world.host.begun == 1
    world.advance(STAGGER * 0.2)
    assert world.host.begun == 2
    world.advance(STAGGER)
    assert world.host.begun == 3


def test_no_more_openers_than_are_allowed(make):
    """However long the connects take."""
    world = make(1, max_size=10, openers=2)
    world.lend()
    for _ in range(6):
        world.join()
    world.advance(100 * STAGGER)
    assert world.host.connecting == 2
    world.opened()
    assert world.host.connecting == 2


@pytest.mark.parametrize("how", ["served", "cancelled"])
def test_nothing_is_opened_for_who_has_gone(make, how):
    """Of 50 calls that came at once, one connect has begun and no other does."""
    world = make(1, max_size=50)
    slot = world.lend()
    tickets = [world.join() for _ in range(50)]
    for ticket in tickets:
        if how == "served":
            world.give(slot)
        else:
            world.cancel(ticket)
    world.advance(100 * STAGGER)
    assert world.host.begun == 1
    world.opened()
    assert world.host.begun == 1


def test_nothing_is_opened_for_calls_that_were_cancelled(make):
    """Not even when a connection is lost, before the next alarm."""
    world = make(2, max_size=2)
    slots = [world.lend(), world.lend()]
    for ticket in [world.join(), world.join()]:
        world.cancel(ticket)
    slots[0].session.is_open = False
    world.give(slots[0])
    assert world.host.begun == 0


def test_no_more_is_opened_than_who_waits(make):
    """What is being opened already is for somebody."""
    world = make(1, max_size=10, openers=5)
    world.lend()
    world.join()
    world.advance(10 * STAGGER)
    assert world.host.begun == 1


def test_never_above_the_maximum(make):
    """Those that are being opened count."""
    world = make(2, max_size=3, openers=5)
    world.lend()
    world.lend()
    for _ in range(5):
        world.join()
    world.advance(10 * STAGGER)
    assert world.pool.size == 3
    world.failed()
    world.advance(10)
    assert world.pool.size == 3


def test_nothing_is_opened_beyond_the_budget(make):
    """It is tried again when it is told that there may be room."""
    world = make(1, room=1, max_size=10)
    world.lend()
    ticket = world.join()
    assert world.host.begun == 0
    world.host.room = 2
    world.advance(STAGGER)
    world.pool.consider_opening(world.now)
    assert world.opened() is ticket.result()


def test_new_connection_goes_to_who_waits(make):
    """Or is idle."""
    world = make(max_size=2)
    tickets = [world.join(), world.join()]
    assert world.opened() is tickets[0].result()
    world.cancel(tickets[1])
    world.opened()
    assert len(world.pool.idle) == 1


def test_cancelled_connect(make):
    """It counts for nothing any more."""
    world = make(max_size=1)
    world.join().cancel()
    world.pool.is_closing = True
    world.host.connecting -= 1
    world.pool.open_cancelled()
    assert world.pool.size == world.host.claimed == 0


def test_closing_pool_opens_nothing(make):
    """Whoever waits and whatever is missing; what was under way is closed."""
    world = make(max_size=5, min_size=2, openers=1)
    world.pool.consider_opening(world.now)
    world.pool.is_closing = True
    world.join()
    slot = world.opened()
    world.pool.sweep(world.now)
    assert slot.state is GONE
    assert world.host.begun == 1


# Connects that fail


def failing(make, **limits):
    """A pool whose connect fails, again and again; and who waits for it."""
    world = make(**{"max_size": 5, "openers": 1, "retry_connect": 60.0, **limits})
    return world, world.join()


def test_back_off_grows(make):
    """From 10 ms, twice as long each time, never more than a second."""
    world, ticket = failing(make)
    pauses = []
    for _ in range(10):
        world.failed()
        failed = world.now
        assert world.host.connecting == 0
        while not world.host.connecting:
            assert world.host.alarm > world.now
            world.advance(world.host.alarm - world.now)
        pauses.append(world.now - failed)
    expected = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]
    assert pauses == pytest.approx(expected)
    assert not ticket.done()
    assert world.pool.counts.connect_failures == 10


def test_back_off_has_jitter(make):
    """Of up to a half, so that pools that failed together do not come together."""
    world, _ = failing(make)
    world.jitter = 1.0
    world.failed()
    assert world.host.alarm == pytest.approx(world.now + 0.005)
    world.advance(0.006)
    world.jitter = 0.5
    world.failed()
    assert world.host.alarm == pytest.approx(world.now + 0.015)


def test_nothing_is_opened_during_the_back_off(make):
    """Whoever comes."""
    world, _ = failing(make)
    world.failed()
    for _ in range(5):
        world.join()
    world.pool.sweep(world.now)
    assert world.host.connecting == 0


def test_success_ends_the_back_off(make):
    """The next failure waits as shortly as the first."""
    world, ticket = failing(make)
    for _ in range(5):
        world.failed()
        world.advance(LONGEST_BACKOFF)
    slot = world.opened()
    assert ticket.result() is slot
    assert world.pool.last_failure is None
    world.join()
    world.failed()
    assert world.host.alarm == pytest.approx(world.now + 0.01)


def test_who_waits_is_told_after_a_while(make):
    """When connects have failed for `retry_connect` seconds; each has its own error."""
    world, ticket = failing(make, retry_connect=5.0)
    other = world.join_to_ride()
    began = world.now
    while not ticket.done():
        assert world.now - began < 5.0 + LONGEST_BACKOFF
        world.failed(ConnectionRefusedError(111, "refused"))
        world.advance(0 if ticket.done() else LONGEST_BACKOFF)
    assert world.now - began >= 5.0
    errors = [ticket.exception(), other.exception()]
    assert [error.args for error in errors] == [(111, "refused")] * 2
    assert errors[0] is not errors[1]
    assert list(world.pool.waiting) == []


def test_without_retry_who_waits_is_told_at_once(make):
    """`retry_connect` is 0."""
    world, ticket = failing(make, retry_connect=0.0)
    world.failed()
    assert isinstance(ticket.exception(), ConnectionRefusedError)


def test_patience_is_for_failures_that_follow_each_other(make):
    """One that is long past says nothing of a server that goes away now."""
    world = make(1, max_size=2, retry_connect=5.0)
    slot = world.lend()
    ticket = world.join()
    world.failed()
    world.give(slot)
    world.pool.give(ticket.result(), world.now)
    world.advance(3600)
    while world.host.connecting:  # whatever was tried meanwhile
        world.failed()
        world.advance(3600)
    world.die(slot)
    ticket = world.join()
    world.failed()
    assert not ticket.done()
    world.advance(LONGEST_BACKOFF)
    assert world.opened() is ticket.result()


def test_permanent_error_is_told_at_once(make):
    """Trying again cannot help."""
    world, ticket = failing(make)
    error = InvalidPasswordError("wrong")
    world.failed(error, is_final=True)
    assert isinstance(ticket.exception(), InvalidPasswordError)
    assert world.pool.last_failure is error


def test_who_can_be_served_otherwise_is_not_told(make):
    """There are other connections, which may come back."""
    world = make(1, max_size=2, retry_connect=0.0)
    slot = world.lend()
    ticket = world.join()
    world.failed(is_final=True)
    assert not ticket.done()
    world.give(slot)
    assert ticket.result() is slot


def test_who_may_be_served_by_another_connect_is_not_told(make):
    """It has not ended yet; when it has failed too, they are told."""
    world = make(max_size=2, retry_connect=0.0)
    tickets = [world.join(), world.join()]
    world.failed()
    assert not any(ticket.done() for ticket in tickets)
    world.failed()
    assert all(ticket.exception() for ticket in tickets)


def test_floor_is_tried_again_though_nobody_waits(make):
    """The pool is whole when the server comes back."""
    world = make(2, min_size=2, max_size=5)
    for slot in list(world.pool.idle):
        world.die(slot)
    for _ in range(50):
        while world.host.connecting:
            world.failed()
        world.advance(LONGEST_BACKOFF)
    assert world.host.connecting
    while world.host.connecting:
        world.opened()
    assert world.pool.size == len(world.pool.idle) == 2


def test_nothing_is_tried_again_without_need(make):
    """No floor is missing and nobody waits."""
    world, ticket = failing(make)
    world.cancel(ticket)
    world.failed()
    world.advance(60)
    assert world.host.begun == 1


def test_error_that_cannot_be_copied_is_shared(make):
    """It is told all the same."""

    class OddError(Exception):
        def __reduce__(self):
            raise TypeError("no")

    world, ticket = failing(make)
    error = OddError()
    world.failed(error, is_final=True)
    assert ticket.exception() is error


def test_connect_that_hangs_does_not_hold_up_the_others(make):
    """Another one begins behind it, and serves who waits."""
    world = make(1, max_size=10, openers=2)
    world.lend()
    tickets = [world.join() for _ in range(3)]
    world.advance(STAGGER)
    assert world.host.connecting == 2
    for ticket in tickets:
        assert world.opened() is ticket.result()
        world.advance(STAGGER)
