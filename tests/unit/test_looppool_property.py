"""Whatever happens, in whatever order: no connection is lost, lent twice or too many.

A random life of a pool: users come, wait, are cancelled and go, connections open, fail
and die, time passes, and what the pool may do changes. Behind each step all that must
always be true is looked at, and in the end everybody who still waits must be served.
"""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from chopin._slots import CHECKING, GONE, LENT, SETTLING, SHARED, SINGLE, Read
from tests.support.poolfakes import World, fast_read, slow_read

#: more turns than any pool here needs to serve everybody
TURNS = 200


# What comes more than once comes more often.
KINDS = ["acquire", *["read"] * 3, "read of a holder", "new read", "slow read"]
EVENTS = [
    *["ring"] * 6, "begin_checks", "unblock", "unblock", "die", "fail", "flush",
    "resize", "give_up_one", "close",
]  # fmt: skip


READS = {
    "read": fast_read,
    "read of a holder": fast_read,
    "new read": lambda: Read(True),
    "slow read": slow_read,
}


def pick(choices, index):
    return choices[index % len(choices)]


class PoolLife(RuleBasedStateMachine):
    """A pool, its users, and who waits.

    Attributes:
        users: slot -> the single queries that run on it, or None for its borrower.
        tickets: of the calls that have not been woken, in the order of their arrival.
        seen: slots that were in the pool.
    """

    @initialize(
        idle=st.integers(0, 4),
        max_size=st.integers(1, 5),
        min_size=st.integers(0, 2),
        depth=st.integers(1, 3),
        openers=st.integers(1, 3),
        room=st.sampled_from([1, 2, 3, math.inf]),
        idle_timeout=st.sampled_from([1.0, math.inf]),
        max_queries=st.sampled_from([2, math.inf]),
    )
    def begin(self, idle, room, max_size, **limits):
        self.world = World(
            min(idle, room, max_size),
            room,
            max_size=max_size,
            retry_connect=0.5,
            max_lifetime=10.0,
            **limits,
        )
        self.pool = self.world.pool
        self.users = {}
        self.tickets = []
        self.checks = []
        self.seen = set()
        self.allow()
        self.world.host.open_one = self.open_one
        self.pool.consider_opening(self.world.now)

    def open_one(self):
        """The pool begins a connect, which it has counted already."""
        assert self.pool.size <= self.pool.limits.max_size
        assert not self.pool.is_closing
        self.world.host.connecting += 1

    # -- what is compared with what was before the step --------------------------------

    def allow(self):
        """From here on riders are counted."""
        self.riders = {slot: slot.singles for slot in self.pool.shared}
        self.reserved = self.find_reserved()
        self.stale = {slot for slot in self.pool.slots if slot.is_stale}

    def find_reserved(self):
        n_waiting = sum(not ticket.done() for ticket in self.pool.line)
        return set(list(self.pool.shared)[:n_waiting])

    def pending(self, queue):
        return [t for t in self.tickets if t.queue is queue and not t.done()]

    # -- users -------------------------------------------------------------------------

    def use(self, slot, read=None):
        """Somebody has got a slot and goes to work."""
        if read is None:
            assert slot.state is LENT
            assert slot not in self.users, "lent twice"
            self.users[slot] = None
            slot.lease = object()
        else:
            assert slot.state in (SINGLE, SHARED)
            assert self.users.setdefault(slot, []) is not None, "lent twice"
            self.users[slot].append(read)
        slot.session.submitted += 1

    def may_be_handed_out(self, slot):
        """To somebody who has not waited."""
        waiting = [t for t in self.pool.waiting if t.queue is not self.pool.slow_line]
        assert not waiting, "overtaken"
        assert slot.session.is_open
        assert slot.session.is_clean or slot.session.is_ready
        assert slot not in self.users, "lent twice"

    @rule(
        kind=st.sampled_from(KINDS),
        count=st.integers(0, 4),
        patience=st.sampled_from([0.01, 1.0, math.inf]),
        steps=st.lists(st.integers(0, 60), max_size=6),
        how=st.sampled_from(["clean", "dirty", "blocked", "dead", "cancelled"]),
    )
    def work(self, kind, count, patience, steps, how):
        """Some tasks want a connection, and some of what is under way ends."""
        for _ in range(count):
            if kind == "acquire":
                self.acquire(patience)
            else:
                self.query(kind, patience)
            self.look()
        for index in steps:
            ends = {
                self.wake: any(ticket.done() for ticket in self.tickets),
                self.give: self.users,
                self.open: self.world.host.connecting,
                self.settle: self.world.host.settling,
                self.end_check: self.checks,
                self.cancel: how == "cancelled" and self.tickets,
            }
            possible = [end for end, is_possible in ends.items() if is_possible]
            if possible:
                pick(possible, index)(index // len(possible), how)
            self.look()

    def acquire(self, patience):
        slot = self.world.take()
        if slot is None:
            self.tickets.append(self.world.join(patience=patience))
        else:
            self.may_be_handed_out(slot)
            self.use(slot)

    def query(self, kind, patience):
        read = READS[kind]()
        may_ride = kind == "read" and self.pool.limits.depth > 1
        slot = self.pool.take_single(read, self.world.now)
        if slot is not None:
            self.may_be_handed_out(slot)
            self.use(slot, read)
            return
        if may_ride:
            slot = self.pool.ride(self.world.now)
            if slot is not None:
                assert not self.pending(self.pool.reads_waiting), "overtaken"
                assert slot.session.is_ready
                assert 1 < slot.singles <= self.pool.limits.depth
                self.use(slot, read)
                return
        ticket = self.world.join(read, may_ride=may_ride, patience=patience)
        self.tickets.append(ticket)

    def wake(self, index, how=None):
        """A task whose call has ended goes on, unless its slot has gone meanwhile."""
        ticket = pick([t for t in self.tickets if t.done()], index)
        self.tickets.remove(ticket)
        if ticket.exception() is None and ticket.result().state is not GONE:
            self.use(ticket.result(), ticket.read)

    def cancel(self, index, how):
        """A task is cancelled: waiting, or in the turn in which it was served."""
        ticket = pick(self.tickets, index)
        self.tickets.remove(ticket)
        self.world.cancel(ticket)

    def give(self, index, how):
        """A user, or one of several, has finished."""
        slot = pick(list(self.users), index)
        if how == "dead":
            slot.session.is_open = False
        reads = self.users[slot]
        if reads is None:
            del self.users[slot]
            self.world.give(slot, is_dirty=how == "dirty", is_blocked=how == "blocked")
            return
        if how == "blocked":
            slot.session.is_blocked = True
        read = reads.pop(index % len(reads))
        if not reads:
            del self.users[slot]
        self.world.end(slot, read)

    # -- connections -------------------------------------------------------------------

    def settle(self, index, how):
        slot = pick(self.world.host.settling, index)
        slot.session.is_blocked = False
        self.world.settled(slot)

    def open(self, index, how):
        self.world.opened(self.world.now + (0.5 if how == "dead" else math.inf))

    # -- time and housekeeping ---------------------------------------------------------

    @rule(
        seconds=st.sampled_from([0.0, 0.0, 0.0, 0.004, 0.02, 0.06, 0.5, 2.0]),
        event=st.sampled_from(EVENTS),
        index=st.integers(0, 60),
    )
    def pass_time(self, seconds, event, index):
        """And something happens, which is rare where there are users."""
        self.world.advance(seconds)
        self.look()
        getattr(self, event)(index)

    def ring(self, _):
        """The alarm rings though nobody has set it."""
        self.world.tick()

    def begin_checks(self, index):
        due = self.pool.due_for_check(self.world.now, index % 2)
        assert all(slot.state is CHECKING for slot in due)
        self.checks += due

    def end_check(self, index, how):
        slot = pick(self.checks, index)
        self.checks.remove(slot)
        is_alive = how != "dead" and slot.session.is_open
        self.pool.checked(slot, is_alive, self.world.now)

    def unblock(self, index):
        """What was cancelled on a session has ended; the pool is not told."""
        for slot in list(self.pool.slots)[: index % 3]:
            slot.session.is_blocked = False

    def die(self, index):
        if self.pool.slots:
            self.world.die(pick(list(self.pool.slots), index))

    def fail(self, index):
        if self.world.host.connecting:
            self.world.failed(is_final=index % 2 == 0)

    def flush(self, index):
        self.pool.flush(pick(["idle", "gracefully", "all"], index))

    def resize(self, index):
        limits = self.pool.limits
        limits.max_size = 1 + index % 5
        limits.min_size = min(index % 3, limits.max_size)
        limits.depth = 1 + index % 3
        self.world.tick()

    def give_up_one(self, index):
        """Another loop has none."""
        if not self.pool.yield_one() and index % 2:
            self.pool.surplus = 1

    def close(self, _):
        """As a graceful close begins, and, the second time, is called off."""
        if self.pool.is_closing:
            self.pool.is_closing = False
            self.pool.consider_opening(self.world.now)
            return
        self.pool.is_closing = True
        while self.world.host.connecting:
            self.world.host.connecting -= 1
            self.pool.open_cancelled()
        self.pool.fail_waiting(lambda: InterruptedError("closing"))
        self.pool.flush("idle")
        for slot in list(self.pool.settling):
            self.pool.discard(slot)

    # -- what is always true -----------------------------------------------------------

    @invariant()
    def look(self):
        self.world.check()
        self.none_is_lost()
        self.each_is_used_by_whom_it_should()
        self.calls_are_served_in_order()
        self.riders_ride_where_they_may()
        self.nobody_waits_without_need()

    def none_is_lost(self):
        self.seen |= self.pool.slots.keys()
        for slot in self.seen - self.pool.slots.keys():
            assert slot.state is GONE
        for slot in self.world.host.closed:
            assert slot not in self.pool.slots
        assert len(set(self.world.host.closed)) == len(self.world.host.closed)
        counts = self.pool.counts
        assert counts.opened - counts.closed == len(self.pool.slots)

    def each_is_used_by_whom_it_should(self):
        """By its users, and by those that have it and have not been woken."""
        on_the_way = [
            ticket.result()
            for ticket in self.tickets
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None
        ]
        for slot in self.pool.slots:
            reads = self.users.get(slot, ())
            n_users = 1 if reads is None else len(reads)
            n_users += on_the_way.count(slot)
            assert n_users == (slot.state is LENT) + slot.singles, slot.state
        assert all(slot.state is SETTLING for slot in self.pool.settling)

    def calls_are_served_in_order(self):
        for queue in self.pool.queues:
            numbers = [t.number for t in self.tickets if t.queue is queue]
            waiting = [t.number for t in self.pending(queue)]
            served = [
                ticket.number
                for ticket in self.tickets
                if ticket.queue is queue
                and ticket.done()
                and ticket.exception() is None
            ]
            assert numbers == sorted(numbers)
            assert not (served and waiting) or max(served) < min(waiting)

    def riders_ride_where_they_may(self):
        for slot, before in self.riders.items():
            if slot.singles <= before or slot not in self.pool.shared:
                continue
            assert slot.singles <= self.pool.limits.depth
            assert slot.session.is_ready
            assert slot not in self.stale
            assert slot not in self.reserved & self.find_reserved()
        self.allow()

    def nobody_waits_without_need(self):
        if self.pool.is_closing:
            assert self.pool.idle == [], "who is to close it?"
        for queue in self.pool.queues:
            assert not any(ticket.cancelled() for ticket in queue)

    # -- the end -----------------------------------------------------------------------

    def teardown(self):
        """Everybody finishes, connects succeed: whoever waits is served or late."""
        if not hasattr(self, "pool"):
            return
        if self.pool.is_closing:
            self.close(0)
        for _ in range(TURNS):
            self.turn()
            if not self.is_busy():
                break
        assert not any(self.pool.waiting), "somebody waits for ever"
        assert self.users == {}
        for _ in range(TURNS):
            self.turn()
        self.world.check()
        assert len(self.pool.idle) == len(self.pool.slots)
        limits = self.pool.limits
        floor = min(limits.min_size, limits.max_size, self.world.host.room)
        assert len(self.pool.slots) >= floor

    def is_busy(self):
        return self.users or self.tickets or self.checks or self.world.host.settling

    def turn(self):
        while any(ticket.done() for ticket in self.tickets):
            self.wake(0)
        for slot in list(self.users):
            self.give(list(self.users).index(slot), "clean")
        for slot in list(self.pool.slots):
            slot.session.is_blocked = False
        for slot in list(self.world.host.settling):
            self.world.settled(slot)
        while self.checks:
            self.end_check(0, "clean")
        for _ in range(self.world.host.connecting):
            self.world.opened()
        self.world.advance(0.1)


TestPoolLife = PoolLife.TestCase
TestPoolLife.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
