"""What a pool tells of itself in numbers.

Owns: `PoolStats`.
Layer L5. Imports `_looppool`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from chopin._looppool import LoopPool
from chopin._slots import Counts


class PoolStats(NamedTuple):
    """A pool at one moment, all its event loops together.

    Attributes:
        size: connections, those that are being opened included.
        idle: of them, used by nobody.
        lent: acquired.
        shared: busy with single queries.
        opening: being opened.
        waiting: calls that wait for a connection.
        min_size: the floor of each event loop.
        max_size: the maximum of the process.
        opened: connections opened since the pool was made.
        closed: connections closed or lost.
        acquired: acquisitions.
        rides: single queries that shared a busy connection.
        waits: calls that had to wait.
        waited: seconds that they have waited, all together.
        timeouts: calls that have waited in vain.
        connect_failures: connects that failed.
        resets: connections that were reset.
        validations_failed: connections that were found dead by a check.
        leaks: connections that were held for too long or dropped.
        listening: connections of `Pool.listen`, which count neither in `size` nor in
            `max_size`: one in each event loop where somebody listens.
        listeners: blocks of `Pool.listen`.
    """

    size: int
    idle: int
    lent: int
    shared: int
    opening: int
    waiting: int
    min_size: int
    max_size: int
    opened: int
    closed: int
    acquired: int
    rides: int
    waits: int
    waited: float
    timeouts: int
    connect_failures: int
    resets: int
    validations_failed: int
    leaks: int
    listening: int = 0
    listeners: int = 0

    @classmethod
    def of(
        cls, pools: Sequence[LoopPool], past: Counts, min_size: int, max_size: int
    ) -> Self:
        """Add up what the parts of a pool say.

        Args:
            pools: the decisions of each event loop.
            past: what has happened in event loops that are no more.
            min_size: as in the result.
            max_size: as in the result.
        """
        total = Counts()
        total.add(past)
        for pool in pools:
            total.add(pool.counts)
        slots = [slot for pool in pools for slot in list(pool.slots)]
        opening = sum(pool.opening for pool in pools)
        return cls(
            size=len(slots) + opening,
            idle=sum(len(pool.idle) for pool in pools),
            lent=sum(slot.lease is not None for slot in slots),
            shared=sum(slot.singles > 0 for slot in slots),
            opening=opening,
            waiting=sum(len(queue) for pool in pools for queue in pool.queues),
            min_size=min_size,
            max_size=max_size,
            **{name: getattr(total, name) for name in Counts.__slots__},
        )
