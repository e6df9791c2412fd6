# cython: annotation_typing=False, nonecheck=True
"""What the pool of one event loop decides: who gets which connection, and when.

Owns: `LoopPool`. What it decides about is in `_slots`.
Layer L5. Imports `_slots`. No await, no I/O, no clock of its own: time
is handed in, and what is to be done is asked of the `Host`.

Theory of operation
    A slot is in one of these states, and in no collection but the one named here.

    | state    | is                                           | kept in    |
    | -------- | -------------------------------------------- | ---------- |
    | IDLE     | connected, clean, used by nobody             | `idle`     |
    | LENT     | used by who acquired it                      |            |
    | SINGLE   | busy with one single query                   |            |
    | SHARED   | busy with fast reads; others may ride        | `shared`   |
    | SETTLING | being cleaned after its last use             | `settling` |
    | CHECKING | being asked whether the server is there      |            |
    | GONE     | closed, or about to be                       |            |

    All but GONE are in `slots`. Idle slots are a stack, so that few connections do most
    of the work and the others can be closed; calls that wait are queues, and a slot
    that becomes free goes from hand to hand to whoever has waited longest.

Riding (design.md, "Reads that ride")
    A fast read may share a connection that is busy with fast reads and nothing else.
    Fast is what took less than `FAST_READ` seconds on average, whenever it went alone;
    what has never been run is not fast. Nobody rides behind a head that has been
    waiting for `LONG_WAIT`, or deeper than `depth`.
    Whoever needs a connection of his own must not starve behind riders: for each call
    in `line`, one shared slot, the oldest ones first, takes no new riders and so
    becomes free.

Slow queries
    Where there are fast reads, queries that are known to be slow do not take the last
    connection, so that a few of them do not stop everything: they stand in a line of
    their own, `slow_line`. Not in pools of less than `FEW`, where one is too many.

Rules
- `take*` and `give*` are plain calls; who gets None stands in line by `join`.
- A ticket whose task was cancelled in the turn in which it got its slot gives it back
  by `leave`.
- It is compiled: the .pxd has the types of fields and hot methods in C. A field that is
  not named there does not exist.
- Sizes are counted from `slots`, `opening` and `closing`, never kept beside them. What
  is being closed has its place until the server has let it go, so that there is never
  one connection too many.
"""

from __future__ import annotations

import bisect
import collections
import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from chopin._slots import (
    CHECKING,
    GONE,
    IDLE,
    LENT,
    SETTLING,
    SHARED,
    SINGLE,
    Counts,
    Limits,
    Read,
    Reads,
    Slot,
    Ticket,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

#: Seconds without a reply after which nobody joins the riders of a connection.
LONG_WAIT = 0.005
#: Connections of which none is kept from slow queries.
FEW = 4
#: Seconds behind a fast read within which the next is expected.
LULL = 0.2
#: Seconds between the beginnings of two openings for calls that wait.
STAGGER = 0.05

# Seconds after which a connect that failed has nothing to do with the next.
_FORGIVEN = 2.0


class Host(Protocol):
    """Who does what is decided here."""

    def open_one(self) -> None:
        """Begin to connect; ends with `opened` or `open_failed`."""

    def close_slot(self, slot: Slot) -> None:
        """Close its connection; ends with `has_closed`. The slot is GONE already."""

    def check(self, slot: Slot) -> None:
        """Ask its server whether it is there; ends with `checked`."""

    def settle(self, slot: Slot) -> bool:
        """Clean its session; ends with `settled`.

        Returns whether it may be used meanwhile, behind what cleans it.
        """

    def wake_at(self, when: float) -> None:
        """Call `expire` at this time at the latest."""

    def claim(self, is_needed: bool) -> bool:
        """Take one connection out of the budget that all loops share.

        Where there is none, others are asked for one if it is needed.
        """

    def unclaim(self) -> None:
        """Give one back."""


class LoopPool:
    """The decisions for the connections of one event loop.

    Args:
        limits: shared with the pool, which may change them.
        host: does what is decided.
        loop: has `call_soon`, for the tickets.
        clock: returns seconds.
        random: returns numbers from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        limits: Limits,
        host: Host,
        loop: AbstractEventLoop,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.host = host
        self.loop = loop
        self.clock = clock
        self.random = random
        self.slots: dict[Slot, None] = {}
        self.idle: list[Slot] = []
        self.shared: dict[Slot, None] = {}
        self.settling: dict[Slot, None] = {}
        self.line: collections.deque[Ticket] = collections.deque()
        self.slow_line: collections.deque[Ticket] = collections.deque()
        self.reads_waiting: collections.deque[Ticket] = collections.deque()
        self.queues = (self.line, self.slow_line, self.reads_waiting)
        self._last_fast = -math.inf
        self.reads = Reads()
        self.counts = Counts()
        self.opening = 0
        self.closing = 0
        self.is_closing = False
        self.surplus = 0  # connections that another loop needs more than we do
        self.last_failure: BaseException | None = None
        self._failing_since = math.inf
        self._failed = math.inf
        self._backoff = 0.0
        self._not_before = -math.inf
        self._next_stagger = -math.inf
        self._numbers = itertools.count()

    @property
    def _living(self) -> int:
        """Connections, those that are being opened included."""
        return len(self.slots) + self.opening

    @property
    def size(self) -> int:
        """Connections, those that are being opened or closed included."""
        return len(self.slots) + self.opening + self.closing

    @property
    def waiting(self) -> Iterator[Ticket]:
        """The calls that wait."""
        tickets = itertools.chain.from_iterable(self.queues)
        return (ticket for ticket in tickets if not ticket.done())

    # -- taking ------------------------------------------------------------------------

    def take(self, now: float) -> Slot | None:
        """A connection for one user, or None: then `join`."""
        if self._must_check(now):
            return None
        slot = self._pop_idle()
        if slot is None:
            return None
        slot.state = LENT
        slot.since = now
        return slot

    def take_single(self, read: Read, now: float) -> Slot | None:
        """A connection for one query, or None: then `ride` or `join`.

        Goes with `give_single`.
        """
        if self._must_check(now):
            return None
        if read.is_slow and not self._has_room_for_slow(now):
            return None
        slot = self._pop_idle()
        if slot is not None:
            self._begin_single(slot, read, now)
        return slot

    def _must_check(self, now: float) -> bool:
        """Whether the next idle connection is to be asked first whether it is there.

        Then it is asked in the background, and comes to who waits, if it answers: a
        time-out or a cancellation of theirs does not concern it. So are the others that
        were idle for long, but where each is asked at each use.
        """
        if not self.idle:
            return False
        slot, after = self.idle[-1], self.limits.check_after
        if now - slot.checked <= after:
            return False
        most = 1 if after < 0 else None
        for slot in self.due_for_check(now, max(after, 0.0), most):
            self.host.check(slot)
        return True

    def _pop_idle(self) -> Slot | None:
        idle = self.idle
        while idle:
            slot = idle.pop()
            if slot.session.is_open:
                return slot
            self.lost(slot)
        for slot in self.settling:
            if slot.may_pass and slot.session.is_ready and not slot.is_stale:
                if any(self.waiting):
                    return None  # it is theirs, once it is clean
                # what its next user sends comes behind what cleans it
                del self.settling[slot]
                return slot
        return None

    def _begin_single(self, slot: Slot, read: Read, now: float) -> None:
        slot.singles = 1
        slot.since = now
        if read.is_fast and self.limits.depth > 1:
            slot.state = SHARED
            self.shared[slot] = None
        else:
            slot.state = SINGLE
            slot.is_slow = read.is_slow

    def _has_room_for_slow(self, now: float) -> bool:
        """Whether one more slow query leaves a connection to the fast reads."""
        most = self.limits.max_size
        if most < FEW or now - self._last_fast >= LULL:
            return True
        return sum(s.is_slow and s.state is SINGLE for s in self.slots) < most - 1

    def ride(self, now: float) -> Slot | None:
        """A connection that is busy with fast reads and takes one more, or None.

        For a fast read whose task holds no connection: it could be waited for by the
        very task that the reads ahead of it wait for. Goes with `give_single`.
        """
        if self.reads_waiting:
            return None
        limit = self.limits.depth
        best = None
        for slot in itertools.islice(self.shared, self._kept(now), None):
            if slot.singles < limit and self._takes_riders(slot, now):
                best, limit = slot, slot.singles
                if limit == 1:
                    break
        if best is not None:
            best.singles += 1
            self.counts.rides += 1
            if len(self.slots) < self.limits.max_size and not self.opening:
                self.consider_opening(now, 1)
        return best

    def _takes_riders(self, slot: Slot, now: float) -> bool:
        return (
            now - slot.since < LONG_WAIT
            and slot.session.is_ready
            and not self._is_due(slot, now)
        )

    def _is_due(self, slot: Slot, now: float) -> bool:
        """Whether a connection is to be closed once it is free."""
        limits, submitted = self.limits, slot.session.submitted
        return (
            slot.is_stale
            or now >= slot.expires
            or submitted > limits.max_queries
            or (self.surplus > 0 and now - slot.opened >= STAGGER)
            or self.is_closing
            or len(self.slots) + self.opening > limits.max_size
        )

    # -- giving back -------------------------------------------------------------------

    def give_single(self, slot: Slot, read: Read, began: float, now: float) -> None:
        """A single query has ended.

        Args:
            slot: where it ran.
            read: what is known of it.
            began: when it was sent with the connection to itself; 0 if it rode.
            now: the time.
        """
        if began:
            read.took(now - began)
        if read.is_fast:
            self._last_fast = now
        slot.since = now
        self._end_single(slot, now)

    def _end_single(self, slot: Slot, now: float) -> None:
        slot.singles -= 1
        if slot.state is GONE:
            return
        if slot.singles:
            if self.reads_waiting:
                self._admit_riders(slot, now)
            return
        if slot.state is SHARED:
            self.shared.pop(slot, None)
        slot.is_slow = False
        self.give(slot, now)

    def give(self, slot: Slot, now: float) -> None:
        """A connection is free: clean it, replace it, hand it on or keep it."""
        session = slot.session
        if slot.state is GONE:
            return
        is_clean = session.is_clean
        if not (is_clean or session.is_open):
            self.lost(slot)
        elif self._is_due(slot, now):
            is_for_others = self.surplus > 0
            self.surplus = max(self.surplus - 1, 0)
            self.discard(slot, is_for_others)
        elif not is_clean:
            slot.state = SETTLING
            self.settling[slot] = None
            slot.may_pass = self.host.settle(slot)
            if slot.may_pass and any(self.waiting):
                self._pass_on_unsettled(slot, now)
        else:
            slot.idle_since = slot.checked = now
            self._place(slot, now)

    def settled(self, slot: Slot, now: float) -> None:
        """A session is clean again, or has ended."""
        if slot.state is SETTLING and not slot.session.restoring:
            del self.settling[slot]
            self.give(slot, now)

    def _pass_on_unsettled(self, slot: Slot, now: float) -> None:
        """Hand a session on while it is being cleaned, if what comes waits behind."""
        if slot.state is SETTLING and slot.session.is_ready:
            del self.settling[slot]
            self._place(slot, now)

    def _place(self, slot: Slot, now: float) -> None:
        """Hand a clean connection to whoever has waited longest, or keep it."""
        is_awaited = self.line or self.slow_line or self.reads_waiting
        ticket = self._next_ticket(now) if is_awaited else None
        if ticket is None:
            slot.state = IDLE
            self.idle.append(slot)
            return
        if ticket.read is not None:
            self._begin_single(slot, ticket.read, now)
            self._hand_over(ticket, slot, now)
            if slot.state is SHARED:
                self._admit_riders(slot, now)
        else:
            slot.state = LENT
            slot.since = now
            self._hand_over(ticket, slot, now)

    def _next_ticket(self, now: float) -> Ticket | None:
        """Take the call that has waited longest out of its queue."""
        best = None
        for queue in self.queues:
            while queue and queue[0].done():
                queue.popleft()
            if not queue or (best is not None and best.number < queue[0].number):
                continue
            if queue is not self.slow_line or self._has_room_for_slow(now):
                best = queue[0]
        if best is not None:
            best.queue.popleft()
        return best

    def _kept(self, now: float) -> int:
        """How many shared slots take no new riders, since others wait for them."""
        kept = len(self.line)
        if self.slow_line and self._has_room_for_slow(now):
            kept += 1
        return kept

    def _admit_riders(self, slot: Slot, now: float) -> None:
        """Let fast reads that wait ride, unless the slot is to become free."""
        if slot in itertools.islice(self.shared, self._kept(now)):
            return
        reads, depth = self.reads_waiting, self.limits.depth
        while reads and slot.singles < depth and self._takes_riders(slot, now):
            ticket = reads[0]
            if not ticket.done() and not (ticket.read and ticket.read.is_fast):
                return  # it has become slow, and waits for a connection of its own
            reads.popleft()
            if ticket.done():
                continue
            slot.singles += 1
            self.counts.rides += 1
            self._hand_over(ticket, slot, now)

    def _hand_over(self, ticket: Ticket, slot: Slot, now: float) -> None:
        self.counts.waited += now - ticket.since
        ticket.slot = slot
        ticket.set_result(slot)

    # -- waiting -----------------------------------------------------------------------

    def join(
        self,
        read: Read | None,
        may_ride: bool,
        now: float,
        deadline: float,
        task: object,
    ) -> Ticket:
        """Stand in line.

        Args:
            read: of a single query; None for a connection of one's own.
            may_ride: whether the single query may share a connection.
            now: the time.
            deadline: when it has waited long enough; infinity for never.
            task: who waits.
        """
        if may_ride:
            queue = self.reads_waiting
        else:
            queue = self.slow_line if read and read.is_slow else self.line
        number = next(self._numbers)
        ticket = Ticket(self.loop, read, now, deadline, number, task, queue)
        queue.append(ticket)
        self.counts.waits += 1
        if deadline != math.inf:
            self.host.wake_at(deadline)
        if queue is self.slow_line:
            self.host.wake_at(now + LULL)
        self.consider_opening(now)
        return ticket

    def leave(self, ticket: Ticket, now: float) -> None:
        """The call goes away without the slot that it may have got already."""
        if ticket.slot is not None:
            if ticket.read is None:
                self.give(ticket.slot, now)
            else:
                self._end_single(ticket.slot, now)
            return
        ticket.cancel()
        try:
            ticket.queue.remove(ticket)
        except ValueError:
            pass  # taken out already, as one that waits no longer

    def is_deadlocked(self, task: object) -> bool:
        """Whether every connection is held by a task that waits for another one.

        Args:
            task: one more that is about to wait.
        """
        if self.opening or len(self.slots) < self.limits.max_size:
            return False
        waiting = {ticket.task for ticket in self.waiting if ticket.task is not None}
        waiting.add(task)
        leases = [slot.lease for slot in self.slots]
        return all(
            lease is not None
            and lease.active
            and lease.is_scoped  # else some other task may release it
            and lease.task in waiting
            for lease in leases
        )

    def expire(self, now: float, make_error: Callable[[Ticket], Exception]) -> float:
        """Fail the tickets whose time is over; returns when the next one's is."""
        earliest = math.inf
        for queue in self.queues:
            late = [t for t in queue if t.done() or t.deadline <= now]
            for ticket in late:
                queue.remove(ticket)
                if not ticket.done():
                    self.counts.timeouts += 1
                    ticket.set_exception(make_error(ticket))
            for ticket in queue:
                earliest = min(earliest, ticket.deadline)
        return earliest

    def fail_waiting(self, make_error: Callable[[], BaseException]) -> None:
        """Tell every call that waits that nothing will come."""
        for queue in self.queues:
            while queue:
                ticket = queue.popleft()
                if not ticket.done():
                    ticket.set_exception(make_error())

    # -- opening -----------------------------------------------------------------------

    def consider_opening(self, now: float, riders: int = 0) -> None:
        """Open what is missing: up to the floor at once, for calls that wait in turn.

        A call that waits is most often served by a connection that comes back before a
        new one is there. So they begin one after the other, and none begins when nobody
        waits any more; but a connect that hangs does not hold up the next.
        """
        limits = self.limits
        if len(self.slots) >= limits.max_size or self.is_closing:
            return
        if now < self._not_before:
            self.host.wake_at(self._not_before)
            return
        free = limits.openers - self.opening
        if self.size >= limits.max_size or free <= 0:
            return
        missing = limits.min_size - self._living
        if missing > 0:
            self._open(min(missing, free), is_needed=False)
            free = limits.openers - self.opening
        coming = self.opening + self.closing
        wanted = riders + sum(map(len, self.queues)) - coming
        if wanted <= 0 or free <= 0:
            return
        if not self.slots:
            self._open(min(wanted, free))
        elif now >= self._next_stagger:
            self._next_stagger = now + STAGGER
            self._open(1)
            self.host.wake_at(self._next_stagger)
        else:
            self.host.wake_at(self._next_stagger)

    def _open(self, count: int, is_needed: bool = True) -> None:
        if self.clock() - self._failed > _FORGIVEN:
            self._failing_since = math.inf
        for _ in range(count):
            if self.size >= self.limits.max_size:
                return
            if not self.host.claim(is_needed):
                if is_needed:
                    self.host.wake_at(self.clock() + STAGGER)  # to ask again
                return
            self.opening += 1
            self.host.open_one()

    def opened(self, slot: Slot, now: float) -> None:
        """A connection is there."""
        self.opening -= 1
        self.counts.opened += 1
        self.last_failure = None
        self._failing_since = math.inf
        self._backoff = 0.0
        self._not_before = -math.inf
        self.slots[slot] = None
        self.give(slot, now)
        self.consider_opening(now)

    def open_failed(self, error: BaseException, is_final: bool, now: float) -> None:
        """A connect has failed: try again a little later, or tell those who wait.

        Args:
            error: why.
            is_final: trying again cannot help, such as with a wrong password.
            now: the time.
        """
        self.opening -= 1
        self.host.unclaim()
        self.counts.connect_failures += 1
        self.last_failure = error
        self._failing_since = min(self._failing_since, now)
        self._failed = now
        self._backoff = min(max(self._backoff * 2, 0.01), 1.0)
        self._not_before = now + self._backoff * (1 - self.random() / 2)
        is_long = now - self._failing_since >= self.limits.retry_connect
        if (is_final or is_long) and not self.slots and not self.opening:
            self.fail_waiting(functools.partial(_again, error))
        if self.limits.min_size or any(self.waiting):
            self.host.wake_at(self._not_before)

    def open_cancelled(self) -> None:
        """A connect was given up because the pool closes."""
        self.opening -= 1
        self.host.unclaim()

    # -- the end of a connection -------------------------------------------------------

    def lost(self, slot: Slot) -> None:
        """A session has ended by itself."""
        if self._remove(slot):
            self.host.unclaim()
            self.consider_opening(self.clock())

    def discard(self, slot: Slot, is_for_others: bool = False) -> None:
        """Close a connection, whatever it is doing.

        Args:
            slot: the connection.
            is_for_others: another loop waits for its place: do not take it again.
        """
        if self._remove(slot):
            self.closing += 1
            slot.is_for_others = is_for_others
            self.host.close_slot(slot)

    def has_closed(self, slot: Slot, now: float) -> None:
        """A connection that was discarded has ended: its place is free."""
        self.closing -= 1
        self.host.unclaim()
        if not slot.is_for_others or any(self.waiting):
            self.consider_opening(now)
        else:  # perhaps they have not taken it, and the floor is missing one
            self.host.wake_at(now + STAGGER)

    def _remove(self, slot: Slot) -> bool:
        if slot not in self.slots:
            return False
        del self.slots[slot]
        if slot.state is IDLE and slot in self.idle:
            self.idle.remove(slot)
        self.shared.pop(slot, None)
        self.settling.pop(slot, None)
        slot.state = GONE
        self.counts.closed += 1
        return True

    # -- housekeeping ------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Close what is too old or was idle for too long, coldest first; fill up."""
        limits = self.limits
        for slot in list(self.idle):
            if not slot.session.is_open:
                self.lost(slot)
            elif (
                slot.expires <= now
                or self._living > limits.max_size
                or (
                    now - slot.idle_since >= limits.idle_timeout
                    and self._living > limits.min_size
                )
            ):
                self.discard(slot)
        self._serve_slow(now)
        self.consider_opening(now)

    def _serve_slow(self, now: float) -> None:
        """Fast reads have ceased: what was kept for them is free for slow queries."""
        while self.slow_line and self.idle and self._has_room_for_slow(now):
            self._place(self.idle.pop(), now)
        if self.slow_line:
            self.host.wake_at(now + LULL)

    def due_for_check(
        self, now: float, interval: float, most: int | None = None
    ) -> list[Slot]:
        """Idle slots that were not known to be alive for so long; they are CHECKING.

        Args:
            now: the time.
            interval: seconds.
            most: how many, those on top of the stack first; None for all.
        """
        hot = reversed(self.idle)
        due = [slot for slot in hot if now - slot.checked >= interval][:most]
        for slot in due:
            self.idle.remove(slot)
            slot.state = CHECKING
        return due

    def checked(self, slot: Slot, is_alive: bool, now: float) -> None:
        """A check has ended."""
        if slot.state is GONE:
            return
        if not is_alive:
            self.counts.validations_failed += 1
            self.discard(slot)
            return
        slot.checked = now
        is_wanted = any(self.waiting)
        if is_wanted or self._is_due(slot, now) or not slot.session.is_clean:
            self.give(slot, now)
        else:
            slot.state = IDLE
            bisect.insort_left(self.idle, slot, key=lambda other: other.idle_since)

    def yield_one(self) -> bool:
        """Another loop has none: give up an idle connection; False if there is none.

        None that is new: where there are fewer connections than loops, they would do
        nothing but change hands.
        """
        now = self.clock()
        for slot in self.idle:
            if now - slot.opened >= STAGGER:
                self.discard(slot, is_for_others=True)
                return True
        return False

    def flush(self, which: str) -> None:
        """Replace connections: those that are idle, all in time, or all at once."""
        for slot in list(self.slots):
            if slot.state is IDLE or which == "all":
                self.discard(slot)
            elif which == "gracefully":
                slot.is_stale = True


def _again(error: BaseException) -> BaseException:
    """The same error for one more task: a traceback of its own, where that can be."""
    try:
        return copy.copy(error)
    except Exception:
        return error
