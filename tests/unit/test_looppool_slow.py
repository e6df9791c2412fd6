"""Slow queries do not take the last connection where there are fast reads."""

import pytest

from chopin._looppool import FEW, LULL
from chopin._slots import IDLE, SHARED, SINGLE
from tests.support.poolfakes import fast_read, slow_read, worlds

make = pytest.fixture(worlds)


def busy(make, size=FEW, **limits):
    """A world where a fast read has just ended."""
    world = make(size, max_size=size, **limits)
    world.end(world.begin(fast_read()))
    return world


def begin_slow(world, count):
    """Slow queries that find connections."""
    return [world.begin(slow_read()) for _ in range(count)]


def take_slow(world):
    return world.pool.take_single(slow_read(), world.now)


def test_last_connection_is_kept(make):
    """A fast read finds it at once."""
    world = busy(make)
    begin_slow(world, FEW - 1)
    assert take_slow(world) is None
    assert world.begin(fast_read()) is not None


def test_last_connection_is_for_whoever_acquires_it(make):
    """Only queries that are known to be slow are kept from it."""
    world = busy(make)
    begin_slow(world, FEW - 1)
    assert world.lend() is not None


def test_all_are_taken_where_nothing_is_fast(make):
    """Nobody would use what is kept."""
    world = make(FEW, max_size=FEW)
    begin_slow(world, FEW)


def test_all_are_taken_of_few(make):
    """One of them would be too many."""
    world = busy(make, FEW - 1)
    begin_slow(world, FEW - 1)


def test_slow_queries_follow_each_other(make):
    """And fast reads that wait beside them do not keep them from it."""
    world = busy(make, depth=5)
    (first, *_) = begin_slow(world, FEW - 1)
    world.share(riders=0)
    slow = world.join(slow_read())
    read = world.join(fast_read())
    world.end(first, slow_read(), took=0.2)
    assert slow.result() is first
    assert (first.state, first.is_slow) == (SINGLE, True)
    assert not read.done()
    world.pool.leave(read, world.now)


def test_who_is_not_slow_does_not_wait_behind(make):
    """For the connection that is kept."""
    world = busy(make, depth=5)
    begin_slow(world, FEW - 1)
    last = world.share()
    slow, other = world.join(slow_read()), world.join()
    world.end(last)
    assert other.result() is last
    assert not slow.done()
    world.pool.leave(slow, world.now)


def test_riders_go_on_where_a_slow_query_has_no_room(make):
    """It would not get their connection."""
    world = busy(make, depth=5)
    begin_slow(world, FEW - 1)
    world.share()
    slow = world.join(slow_read())
    assert world.ride() is not None
    world.pool.leave(slow, world.now)


def test_riders_make_room_for_a_slow_query(make):
    """Where they have one connection more than is kept for them."""
    world = busy(make, depth=5)
    begin_slow(world, FEW - 2)
    first, second = world.share(), world.share()
    slow = world.join(slow_read())
    assert world.ride() is second
    world.end(first)
    assert slow.result() is first
    assert second.state is SHARED
    assert world.ride() is second


def test_kept_no_longer_than_fast_reads_come(make):
    """A while behind the last of them a slow query has all connections."""
    world = busy(make)
    begin_slow(world, FEW - 1)
    slow = world.join(slow_read())
    world.advance(LULL * 0.9)
    assert not slow.done()
    (idle,) = world.pool.idle
    world.end(world.begin(fast_read()))
    world.advance(LULL * 0.9)
    assert idle.state is IDLE
    assert not slow.done()
    world.advance(LULL * 1.2)
    assert slow.result() is idle


def test_time_out_of_a_slow_query(make):
    """Waiting in a line of its own is waiting."""
    world = busy(make)
    begin_slow(world, FEW - 1)
    slow = world.join(slow_read(), patience=LULL * 0.5)
    world.advance(LULL * 0.4)
    assert not slow.done()
    world.advance(LULL * 0.2)
    assert isinstance(slow.exception(), TimeoutError)


def test_what_becomes_quick_is_slow_no_longer():
    """It is what has been measured lately."""
    read = slow_read()
    assert read.is_slow
    assert not fast_read().is_slow
    for _ in range(10):
        read.took(0.0001)
    assert not read.is_slow
