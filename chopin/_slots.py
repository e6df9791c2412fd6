# cython: annotation_typing=False, nonecheck=True
"""What the pool's decisions are about: connections, calls that wait, statements.

Owns: `Slot` and its `State`, `Ticket`, `Read`, `Reads`, `Limits`, `Counts`.
Layer L5. Imports L1 and `_effects`. Nothing here decides anything but whether a read
is fast. Compiled, with the C types of all fields in the .pxd.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any, Protocol

from chopin._effects import READS, effects
from chopin._waiter import Waiter

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections import deque

    from chopin._lease import Lease

#: Mean time in seconds of a read that may share a connection with others.
FAST_READ = 0.005
#: Mean time in seconds of a query that leaves the last connection to others.
SLOW_QUERY = 0.05

# The mean time of what has never run.
_UNKNOWN = math.inf


class State(enum.Enum):
    """What a slot is doing; see the table above."""

    IDLE = 0
    LENT = 1
    SINGLE = 2
    SHARED = 3
    SETTLING = 4
    CHECKING = 5
    GONE = 6


IDLE, LENT, SINGLE, SHARED, SETTLING, CHECKING, GONE = State


class PooledSession(Protocol):
    """What the decisions need to know of a session."""

    @property
    def is_open(self) -> bool:
        """It takes operations."""

    @property
    def is_ready(self) -> bool:
        """What is started now is sent at once."""

    @property
    def is_clean(self) -> bool:
        """It is open, idle and as it was made."""

    @property
    def restoring(self) -> int:
        """How many cleanings have not ended."""

    @property
    def submitted(self) -> int:
        """How many operations it has been given."""


class Read:
    """What is known of a statement: is it a plain read, and how long does it take."""

    __slots__ = ("is_fast", "is_read", "is_slow", "mean")

    def __init__(self, is_read: bool) -> None:
        self.is_read = is_read
        self.is_fast = False
        self.is_slow = False
        self.mean = _UNKNOWN

    def took(self, seconds: float) -> None:
        """Learn from a run that had a connection to itself.

        The first run has prepared the statement too and counts for little; a slow reply
        may be the fault of a busy event loop, so a quick one weighs more.
        """
        fast, slow = FAST_READ, SLOW_QUERY
        if self.mean == _UNKNOWN:
            self.mean = seconds
        else:
            weight = 0.5 if seconds < self.mean else 0.1
            self.mean += (seconds - self.mean) * weight
            self.is_fast = self.is_read and self.mean < fast
        self.is_slow = self.mean >= slow


class Reads(dict[str, Read]):
    """SQL -> what is known of it; what is asked for the first time is entered."""

    MOST = 1000

    def __missing__(self, sql: str) -> Read:
        if len(self) >= self.MOST:
            del self[next(iter(self))]
        read = self[sql] = Read(bool(effects(sql) & READS))
        return read


class Slot:
    """A connection of the pool.

    Attributes:
        session: what talks to the server.
        connection: the user's object that `init` was given; it lives as long.
        state: see the module.
        lease: who has acquired it.
        singles: single queries that it is busy with.
        since: when the oldest of them was sent, or became the oldest.
        idle_since: when it was used last.
        checked: when it was last known that the server is there.
        expires: when it is replaced because of its age.
        is_stale: replace it once it is free.
        may_pass: while it is SETTLING: it may be used already.
        is_slow: while it is SINGLE: the query is known to be slow.
        opened: when it was made.
        is_for_others: another loop waits for its place.
    """

    __slots__ = (
        "__weakref__",
        "checked",
        "connection",
        "expires",
        "idle_since",
        "is_for_others",
        "is_slow",
        "is_stale",
        "lease",
        "may_pass",
        "opened",
        "session",
        "since",
        "singles",
        "state",
    )

    def __init__(
        self, session: PooledSession, connection: Any, now: float, expires: float
    ) -> None:
        self.session = session
        self.connection = connection
        self.state = LENT
        self.lease: Lease | None = None
        self.singles = 0
        self.since = now
        self.opened = now
        self.idle_since = now
        self.checked = now
        self.expires = expires
        self.is_stale = False
        self.is_for_others = False
        self.may_pass = False
        self.is_slow = False


class Ticket(Waiter):
    """A call that waits: an awaitable whose result is the slot.

    Attributes:
        read: what is known of the statement of a single query; None for a connection
            of one's own.
        deadline: when it has waited long enough, by the pool's clock.
        number: of its arrival.
        queue: where it stands.
        slot: what it was handed.
        task: the task that waits, where it holds a connection already.
    """

    __slots__ = ("deadline", "number", "queue", "read", "since", "slot", "task")

    def __init__(
        self,
        loop: AbstractEventLoop,
        read: Read | None,
        since: float,
        deadline: float,
        number: int,
        task: object,
        queue: deque[Ticket],
    ) -> None:
        super().__init__(loop)
        self.read = read
        self.queue = queue
        self.since = since
        self.deadline = deadline
        self.number = number
        self.task = task
        self.slot: Slot | None = None


class Counts:
    """What has happened so far; see `PoolStats`."""

    __slots__ = (
        "acquired",
        "closed",
        "connect_failures",
        "leaks",
        "opened",
        "resets",
        "rides",
        "timeouts",
        "validations_failed",
        "waited",
        "waits",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
        self.waited = 0.0

    def add(self, more: Counts) -> None:
        """Add what has happened elsewhere."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(more, name))

    acquired: int
    closed: int
    connect_failures: int
    leaks: int
    opened: int
    resets: int
    rides: int
    timeouts: int
    validations_failed: int
    waited: float
    waits: int


class Limits:
    """What the pool may do; see `create_pool` for each. They may change at any time."""

    __slots__ = (
        "check_after",
        "depth",
        "idle_timeout",
        "max_lifetime",
        "max_queries",
        "max_size",
        "min_size",
        "openers",
        "retry_connect",
    )

    def __init__(
        self,
        *,
        min_size: int = 0,
        max_size: int = 10,
        max_queries: float = math.inf,
        idle_timeout: float = math.inf,
        max_lifetime: float = math.inf,
        check_after: float = math.inf,
        depth: int = 1,
        openers: int = 3,
        retry_connect: float = 5.0,
    ) -> None:
        self.min_size = min_size
        self.max_size = max_size
        self.max_queries = max_queries
        self.idle_timeout = idle_timeout
        self.max_lifetime = max_lifetime
        self.check_after = check_after
        self.depth = depth
        self.openers = openers
        self.retry_connect = retry_connect
