"""Reads that share a connection: each rule of it."""

import math

import pytest

from chopin._looppool import LONG_WAIT, STAGGER
from chopin._slots import FAST_READ, GONE, SHARED, SINGLE, Read
from tests.support.poolfakes import (
    fast_read,
    in_surplus,
    slow_read,
    too_old,
    used_up,
    worlds,
    write,
)

DEEP = {"depth": 16}
make = pytest.fixture(worlds)


# Riding


def test_rides_behind_fast_reads(make):
    """On the connection with the fewest of them."""
    world = make(2, max_size=2, **DEEP)
    full, slot = world.share(3), world.share(1)
    assert world.ride() is slot
    assert (full.singles, slot.singles) == (4, 3)
    assert slot.state is SHARED
    assert world.pool.counts.rides == 1


@pytest.mark.parametrize("read", [slow_read(), write(), Read(True)])
def test_nobody_rides_behind_what_is_not_a_fast_read(make, read):
    """Slow, a write, or never seen before."""
    world = make(1, max_size=1, **DEEP)
    world.begin(read)
    assert world.ride() is None


def test_nobody_rides_on_a_lent_connection(make):
    """Its user may be in a transaction, or hold a lock."""
    world = make(1, max_size=1, **DEEP)
    world.lend()
    assert world.ride() is None


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth(make, depth):
    """How many share a connection in all; 1 switches it off."""
    world = make(1, max_size=1, depth=depth)
    slot = world.begin(fast_read())
    rides = [world.ride() for _ in range(depth + 1)]
    assert rides == [slot] * (depth - 1) + [None, None]
    assert slot.singles == depth


def test_depth_that_was_lowered(make):
    """Who rides already stays, and nobody follows."""
    world = make(1, max_size=1, **DEEP)
    slot = world.share(3)
    ticket = world.join_to_ride()
    world.pool.limits.depth = 2
    assert world.ride() is None
    world.end(slot)
    assert not ticket.done()
    world.end(slot)
    world.end(slot)
    assert slot.singles == 2


def test_nobody_rides_behind_a_head_that_waits_long(make):
    """Its reply is late, and who knows why."""
    world = make(1, max_size=1, **DEEP)
    slot = world.begin(fast_read())
    world.clock.now += LONG_WAIT * 0.9
    assert world.ride() is slot
    world.clock.now += LONG_WAIT * 0.2
    assert world.ride() is None


def test_reply_of_the_head_shows_that_the_server_is_at_work(make):
    """What comes behind it has not waited long."""
    world = make(1, max_size=1, **DEEP)
    slot = world.begin(fast_read())
    assert world.ride() is slot
    world.clock.now += LONG_WAIT * 2
    world.end(slot)
    assert world.ride() is slot


@pytest.mark.parametrize("how", ["ride", "line"])
def test_reads_on_a_stale_connection_end(make, how):
    """Else it would never be free and never be replaced."""
    world = make(1, max_size=1, **DEEP)
    slot = world.share(1)
    ticket = world.join_to_ride() if how == "line" else None
    world.pool.flush("gracefully")
    if ticket is None:
        assert world.ride() is None
    world.end(slot)
    world.end(slot)
    assert slot.state is GONE
    assert ticket is None or not ticket.done()
    assert ticket is None or world.opened() is ticket.result()


@pytest.mark.parametrize(
    "why", [too_old, used_up, in_surplus], ids=lambda why: why.__name__
)
@pytest.mark.parametrize("how", ["ride", "line"])
def test_connection_under_steady_reads_is_replaced(make, how, why):
    """Whatever its reason to go: riders that follow each other do not keep it alive."""
    world = make(1, max_size=1, max_queries=100, **DEEP)
    slot = world.share(1)
    why(world, slot)
    for _ in range(10):
        if slot.state is not SHARED:
            break
        if how == "ride":
            world.ride()
        else:
            world.join_to_ride()
        world.end(slot)
    assert slot.state is GONE
    while world.host.connecting:
        world.opened()


@pytest.mark.parametrize("how", ["ride", "line"])
def test_nobody_rides_on_a_blocked_connection(make, how):
    """Something on it is being cancelled."""
    world = make(1, max_size=1, **DEEP)
    slot = world.share(2)
    slot.session.is_blocked = True
    if how == "ride":
        assert world.ride() is None
    else:
        ticket = world.join_to_ride()
        world.end(slot)
        assert not ticket.done()
        slot.session.is_blocked = False
        world.end(slot)
        assert ticket.result() is slot


def test_connections_of_own_are_reserved_ahead_of_riders(make):
    """For each call in line, the oldest shared connections take no riders any more."""
    world = make(3, max_size=3, **DEEP)
    first, second, third = (world.share() for _ in range(3))
    ticket, other = world.join(), world.join(write())
    assert [world.ride() for _ in range(3)] == [third] * 3
    world.end(first)
    assert ticket.result() is first
    assert world.ride() is third
    world.end(second)
    assert other.result() is second


def test_reads_that_wait_do_not_ride_on_what_is_reserved(make):
    """They come behind the call for which it is to become free."""
    world = make(1, max_size=1, depth=2)
    slot = world.share(1)
    ticket = world.join()
    reads = [world.join_to_ride() for _ in range(2)]
    world.end(slot)
    assert not any(read.done() for read in reads)
    world.end(slot)
    assert ticket.result() is slot
    world.give(slot)
    assert [read.result() for read in reads] == [slot, slot]
    assert slot.singles == 2


def test_connection_is_free_again_for_riders_when_the_line_is(make):
    """The call for which it was reserved is cancelled."""
    world = make(1, max_size=1, **DEEP)
    slot = world.share()
    ticket = world.join()
    assert world.ride() is None
    world.cancel(ticket)
    assert world.ride() is slot


def test_reads_that_wait_are_admitted_in_order(make):
    """As soon as one that rides has made room."""
    world = make(1, max_size=1, depth=3)
    slot = world.share(2)
    tickets = [world.join_to_ride() for _ in range(3)]
    for number, ticket in enumerate(tickets):
        assert [t.done() for t in tickets] == [n < number for n in range(3)]
        world.end(slot)
        assert ticket.result() is slot
        assert slot.singles == 3


def test_newcomers_do_not_overtake_reads_that_wait(make):
    """There is room, but somebody else has waited for it."""
    world = make(1, max_size=1, depth=3)
    slot = world.share(1)
    slot.session.is_blocked = True
    ticket = world.join_to_ride()
    slot.session.is_blocked = False
    assert world.ride() is None
    world.end(slot)
    assert ticket.result() is slot


def test_cancelled_read_keeps_nobody_from_riding(make):
    """It waits no longer."""
    world = make(1, max_size=1, depth=2)
    slot = world.share(1)
    world.cancel(world.join_to_ride())
    slot.singles -= 1  # as if there had been room from the beginning
    assert world.ride() is slot


def test_whole_line_of_reads_rides_on_a_free_connection(make):
    """As many as the depth allows, with one connection."""
    world = make(1, max_size=1, depth=3)
    slot = world.lend()
    tickets = [world.join_to_ride() for _ in range(5)]
    world.give(slot)
    assert [ticket.done() for ticket in tickets] == [True] * 3 + [False] * 2
    assert slot.state is SHARED
    assert slot.singles == 3
    assert world.pool.counts.rides == 2


def test_read_that_has_become_slow_does_not_ride(make):
    """Though it was fast when it began to wait."""
    world = make(1, max_size=1, depth=2)
    slot = world.share(1)
    read = fast_read()
    ticket = world.join_to_ride(read)
    read.took(1.0)
    assert not read.is_fast
    world.end(slot)
    assert not ticket.done()
    world.end(slot)
    assert ticket.result() is slot
    assert slot.state is SINGLE


def test_rider_that_never_was_does_not_make_the_head_young(make):
    """Who is cancelled in the turn of the hand-off says nothing of the head's reply."""
    world = make(1, max_size=1, depth=3)
    slot = world.share(2)
    gone, waits = world.join_to_ride(), world.join_to_ride()
    world.end(slot)
    assert gone.done()
    world.clock.now += LONG_WAIT * 2
    world.cancel(gone)
    assert not waits.done()
    world.end(slot)
    assert waits.result() is slot


def test_riding_asks_for_more_connections(make):
    """Where there may be more: one after the other, and none when it is full."""
    world = make(1, max_size=3, **DEEP)
    slot = world.share()
    for _ in range(5):
        assert world.ride() is slot
    assert world.host.connecting == 1
    world.opened()
    assert world.host.begun == 1
    world.advance(STAGGER)
    world.lend()
    slot.since = world.now
    assert world.ride() is slot
    assert world.host.begun == 2
    world.opened()
    world.lend()
    world.advance(STAGGER)
    slot.since = world.now
    assert world.ride() is slot
    assert world.host.begun == 2


# What is fast


def test_read_is_fast_when_it_was_twice():
    """The first run has prepared it and decides nothing."""
    read = Read(True)
    assert not read.is_fast
    read.took(0.0001)
    assert not read.is_fast
    read.took(0.0001)
    assert read.is_fast


@pytest.mark.parametrize("times", [[0.2] * 20, [0.0001, 0.2, 0.2], [FAST_READ] * 9])
def test_read_is_slow(times):
    """On average it takes `FAST_READ` or more."""
    read = Read(True)
    for seconds in times:
        read.took(seconds)
    assert not read.is_fast


def test_read_that_was_slow_at_first_becomes_fast():
    """The first run may have waited for a lock, or read from a disk."""
    read = Read(True)
    read.took(0.2)
    for _ in range(10):
        read.took(0.0005)
    assert read.is_fast


def test_what_writes_is_never_fast():
    """However fast it is."""
    assert not write().is_fast


def test_learns_only_from_who_was_alone(make):
    """A rider's time is that of those ahead of it."""
    world = make(1, max_size=1, **DEEP)
    alone, rider = Read(True), Read(True)
    slot = world.share(1)
    world.end(slot, rider)
    assert rider.mean == math.inf
    world.clock.now += 0.5
    world.end(slot, alone, took=0.5)
    assert alone.mean == 0.5


@pytest.mark.parametrize(
    ("sql", "is_read"),
    [
        ("SELECT name FROM users WHERE id = $1", True),
        ("VALUES (1)", True),
        ("TABLE users", True),
        ("SELECT 1 FOR UPDATE", False),
        ("SELECT set_config('a.b', 'c', false)", False),
        ("SELECT pg_advisory_lock(1)", False),
        ("SELECT mine()", False),
        ("UPDATE users SET name = 'x'", False),
        ("SELECT 1; SELECT 2", False),
        ("BEGIN", False),
        ("", False),
    ],
)
def test_known_by_its_text(make, sql, is_read):
    """What may write, lock or leave state behind is no read."""
    world = make()
    read = world.pool.reads[sql]
    assert read.is_read is is_read
    assert world.pool.reads[sql] is read


def test_knows_only_so_many_texts(make):
    """The oldest is forgotten."""
    world = make()
    first = world.pool.reads["SELECT 0"]
    for number in range(1, 1001):
        world.pool.reads[f"SELECT {number}"]
    assert len(world.pool.reads) == 1000
    assert world.pool.reads["SELECT 0"] is not first
