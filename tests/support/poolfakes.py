"""A pool without connections, and a pool in a time that does not pass by itself.

Owns: what `chopin._looppool.LoopPool` is handed instead of sessions, an event loop, a
clock and a `PoolPart`; `World`, all of them together; `VirtualLoop`, an event loop
whose waiting costs nothing.
Rules:

- What the pool asks for is written down, and done when the test says so: connects end
  by `World.opened` and `World.failed`, settling by `World.settled`.
- Time moves by `World.advance`, which keeps the pool's alarms as `PoolPart` does.
- `World.check` says what is true of every pool at any moment.
"""

import asyncio
import functools
import math
import selectors

from chopin._looppool import LoopPool
from chopin._slots import (
    CHECKING,
    GONE,
    IDLE,
    LENT,
    SETTLING,
    SHARED,
    SINGLE,
    Limits,
    Read,
    Slot,
)
from tests.support.fakes import Clock, Loop, _tidily

# More alarms than any test has at one moment: they ring without end.
MANY = 1000


def fast_read():
    """A read that was alone with a connection, twice, and took a millisecond."""
    read = Read(True)
    read.took(0.001)
    read.took(0.001)
    assert read.is_fast
    return read


def slow_read():
    """A read that takes 200 ms."""
    read = Read(True)
    for _ in range(3):
        read.took(0.2)
    return read


def write():
    """A statement that is fast, and no read."""
    read = Read(False)
    for _ in range(3):
        read.took(0.0001)
    return read


class FakeSession:
    """As much of a session as the pool looks at.

    Attributes:
        is_open: it takes operations.
        is_blocked: what is started now has to wait.
        is_dirty: something is left in it that a reset takes away.
        restoring: cleanings that have not ended.
        submitted: operations that it has been given.
    """

    def __init__(self):
        self.is_open = True
        self.is_blocked = False
        self.is_dirty = False
        self.restoring = 0
        self.submitted = 0

    @property
    def is_ready(self):
        return self.is_open and not self.is_blocked

    @property
    def is_clean(self):
        return self.is_ready and not self.is_dirty and not self.restoring


class Host:
    """Writes down what the pool asks for.

    Attributes:
        connecting: connects that have not ended.
        begun: connects in all.
        checks: slots, once for each check that has not ended.
        closed: slots, in the order in which they were to be closed.
        settling: slots, once for each cleaning that has not ended.
        may_pass: whether a session may be used behind what cleans it.
        alarm: when the pool wants to be woken.
        claimed: connections that it has out of the budget.
        room: how many there are in the budget.
    """

    def __init__(self, room=math.inf):
        self.connecting = 0
        self.begun = 0
        self.checks = []
        self.closed = []
        self.settling = []
        self.may_pass = True
        self.alarm = math.inf
        self.claimed = 0
        self.room = room

    def open_one(self):
        self.connecting += 1
        self.begun += 1

    def close_slot(self, slot):
        assert slot.state is GONE
        self.closed.append(slot)
        self.pool.has_closed(slot, self.pool.clock())

    def check(self, slot):
        assert slot.state is CHECKING
        self.checks.append(slot)

    def settle(self, slot):
        assert slot.state is SETTLING
        may_pass = self.may_pass and not slot.session.restoring
        slot.session.is_dirty = False
        slot.session.restoring += 1
        self.settling.append(slot)
        return may_pass

    def wake_at(self, when):
        self.alarm = min(self.alarm, when)

    def claim(self, is_needed=True):
        if self.claimed >= self.room:
            return False
        self.claimed += 1
        return True

    def unclaim(self):
        self.claimed -= 1
        assert self.claimed >= 0


class World:
    """A `LoopPool`, and everything that it knows.

    Args:
        idle: connections that it has at first.
        room: in the budget.
        limits: see `Limits`; here no connection is kept and none grows old, unless it
            is said.
    """

    def __init__(self, idle=0, room=math.inf, **limits):
        self.clock = Clock()
        self.loop = Loop()
        self.host = Host(room)
        self.jitter = 0.0
        self.pool = LoopPool(
            Limits(**limits), self.host, self.loop, self.clock, lambda: self.jitter
        )
        self.host.pool = self.pool
        floor, self.pool.limits.min_size = self.pool.limits.min_size, 0
        for _ in range(idle):
            self.connect().opened = -math.inf  # long ago
        self.pool.limits.min_size = floor

    @property
    def now(self):
        return self.clock.now

    # -- connections -------------------------------------------------------------------

    def connect(self, expires=math.inf):
        """A connection of which nobody has asked the host, as a pool begins."""
        assert self.host.claim()
        self.pool.opening += 1
        slot = Slot(FakeSession(), None, self.now, expires)
        self.pool.opened(slot, self.now)
        return slot

    def opened(self, expires=math.inf, session=None):
        """A connect that the pool has asked for succeeds."""
        assert self.host.connecting, "the pool opens nothing"
        self.host.connecting -= 1
        slot = Slot(session or FakeSession(), None, self.now, expires)
        self.pool.opened(slot, self.now)
        return slot

    def failed(self, error=None, *, is_final=False):
        """A connect that the pool has asked for fails."""
        assert self.host.connecting, "the pool opens nothing"
        self.host.connecting -= 1
        error = error or ConnectionRefusedError("refused")
        self.pool.open_failed(error, is_final, self.now)

    def die(self, slot):
        """The server closes a connection; the pool is told unless somebody uses it."""
        slot.session.is_open = False
        if slot.lease is None and not slot.singles:
            self.pool.lost(slot)

    def settled(self, slot):
        """The oldest cleaning of a slot's session ends."""
        self.host.settling.remove(slot)
        slot.session.restoring -= 1
        self.pool.settled(slot, self.now)

    # -- users -------------------------------------------------------------------------

    def take(self):
        return self.pool.take(self.now)

    def lend(self):
        """A connection that must be there, taken by somebody."""
        slot = self.take()
        assert slot is not None
        assert slot.state is LENT
        slot.lease = object()
        return slot

    def give(self, slot, *, is_dirty=False, is_blocked=False):
        """A connection comes back, in some state."""
        slot.session.is_dirty = is_dirty or is_blocked
        slot.session.is_blocked = is_blocked
        slot.lease = None
        self.pool.give(slot, self.now)

    def begin(self, read):
        """A single query that must find an idle connection."""
        slot = self.pool.take_single(read, self.now)
        assert slot is not None
        return slot

    def share(self, riders=0):
        """A connection that is busy with a fast read, and riders behind it."""
        slot = self.begin(fast_read())
        assert slot.state is SHARED
        slot.singles += riders
        return slot

    def ride(self):
        return self.pool.ride(self.now)

    def end(self, slot, read=None, took=0.0):
        """A single query ends; it rode unless it is said how long it took."""
        read = fast_read() if read is None else read
        began = self.now - took if took else 0.0
        self.pool.give_single(slot, read, began, self.now)

    def join(self, read=None, *, may_ride=False, patience=math.inf, task=None):
        deadline = self.now + patience
        return self.pool.join(read, may_ride, self.now, deadline, task)

    def join_to_ride(self, read=None):
        """A fast read stands in line."""
        return self.join(read or fast_read(), may_ride=True)

    def cancel(self, ticket):
        """The task that waits is cancelled, and goes when it is woken."""
        ticket.cancel()
        self.pool.leave(ticket, self.now)

    # -- time --------------------------------------------------------------------------

    def advance(self, seconds):
        """Time passes, and the alarm rings whenever the pool has set it."""
        end = self.now + seconds
        for _ in range(MANY):
            if self.host.alarm > end:
                self.clock.now = end
                return
            self.clock.now = max(self.now, self.host.alarm)
            self.tick()
        raise AssertionError("the alarm never stops")

    def tick(self):
        """The alarm rings."""
        self.host.alarm = math.inf
        when = self.pool.expire(self.now, lambda ticket: TimeoutError("too late"))
        self.pool.sweep(self.now)
        if when != math.inf:
            self.host.wake_at(when)

    # -- truths ------------------------------------------------------------------------

    def check(self):
        """Every slot is where its state says, and every claim is for a connection."""
        pool, host = self.pool, self.host
        collections = {IDLE: pool.idle, SHARED: pool.shared, SETTLING: pool.settling}
        for state, collection in collections.items():
            members = [slot for slot in pool.slots if slot.state is state]
            assert len(members) == len(collection), state
            assert set(members) == set(collection), state
        for slot in pool.slots:
            assert slot.state is not GONE
            least, most = _SINGLES.get(slot.state, (0, 0))
            assert least <= slot.singles <= most, slot.state
        assert pool.opening == host.connecting
        assert host.claimed == pool.size == len(pool.slots) + host.connecting
        assert host.claimed <= host.room
        if pool.idle:
            waiting = [t for t in pool.waiting if t.queue is not pool.slow_line]
            assert not waiting, "a call waits beside a connection"
        assert all(slot.session.is_clean for slot in pool.idle)
        for queue in pool.queues:
            numbers = [ticket.number for ticket in queue]
            assert numbers == sorted(numbers)


_SINGLES = {SINGLE: (1, 1), SHARED: (1, math.inf), CHECKING: (0, 0)}


def worlds():
    """A fixture: a function that makes worlds, each of which must end in order."""
    made = []

    def make(idle=0, room=math.inf, **limits):
        made.append(World(idle, room, **limits))
        return made[-1]

    yield make
    for world in made:
        world.check()


# -- reasons to replace a connection ---------------------------------------------------


def too_old(world, slot):
    """It has reached its age."""
    slot.expires = world.now


def used_up(world, slot):
    """It has run more than 100 queries."""
    slot.session.submitted = 101


def stale(world, slot):
    """It is to be replaced in time."""
    world.pool.flush("gracefully")


def in_surplus(world, slot):
    """Another loop needs one."""
    world.pool.surplus = 1


def closing(world, slot):
    """The pool comes to its end."""
    world.pool.is_closing = True


def too_many(world, slot):
    """There may be one connection only."""
    world.pool.limits.max_size = 1


# -- virtual time ----------------------------------------------------------------------


class _Skipping(selectors.DefaultSelector):
    """Waits no longer than it takes the kernel to pass bytes on, and says it had."""

    GRACE = 0.0005

    def __init__(self):
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout=None):
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(self.GRACE)
        if not events and timeout is None:
            return super().select(None)
        if not events:
            self.skipped += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when nothing is left to do but wait.

    Both ends of each connection must be served by it, for bytes that are under way in
    another thread or process are not waited for.
    """

    def __init__(self):
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self):
        return 1000.0 + self._skipping.skipped

    def run_in_executor(self, executor, func, *args):
        # Timeouts would pass before the thread does: `close` alone waits 300 seconds
        # for the executor's threads.
        raise AssertionError("no threads in virtual time, they are not waited for")


def in_virtual_time(test):
    """Run a test on a `VirtualLoop`; it must leave no task and no loop error."""

    @functools.wraps(test)
    def run(**arguments):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(_tidily(test(**arguments)))

    return run
