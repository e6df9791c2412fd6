"""What the pool decides for a call: which connection, and who is next."""

import pytest

from tests.support.poolfakes import World, fast_read

SIZES = pytest.mark.parametrize("size", [1, 10, 100])


@SIZES
def test_single_query(benchmark, size):
    """An idle connection for one query, and back."""
    benchmark.group = "pool: single query"
    world = World(size, max_size=size)
    read = fast_read()

    def single():
        slot = world.pool.take_single(read, 0.0)
        assert slot is not None
        world.pool.give_single(slot, read, 0.0, 0.0)
        return slot

    assert benchmark(single) is not None


@SIZES
def test_lend(benchmark, size):
    """A connection that is taken and given back."""
    benchmark.group = "pool: lend"
    world = World(size, max_size=size)

    def lend():
        slot = world.pool.take(0.0)
        assert slot is not None
        world.pool.give(slot, 0.0)
        return slot

    assert benchmark(lend) is not None


@SIZES
def test_ride(benchmark, size):
    """All are busy with fast reads: a read rides on the one with the fewest."""
    benchmark.group = "pool: ride"
    world = World(size, max_size=size, depth=16)
    read = fast_read()
    for _ in range(size):
        world.share()

    def ride():
        slot = world.pool.ride(0.0)
        assert slot is not None
        world.pool.give_single(slot, read, 0.0, 0.0)
        return slot

    assert benchmark(ride) is not None


@pytest.mark.parametrize("waiting", [1, 100, 1000])
def test_hand_over(benchmark, waiting):
    """A connection that comes back goes to the first in line; another one joins it."""
    benchmark.group = "pool: hand over"
    world = World(1, max_size=1)
    held = [world.lend()]
    for _ in range(waiting):
        world.join()

    def hand_over():
        slot = held.pop()
        world.join()
        world.give(slot)
        world.loop.run()
        slot.lease = object()
        held.append(slot)
        return slot

    assert benchmark(hand_over) is not None
