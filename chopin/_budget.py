"""How many connections there may be, for all pools and event loops of a process.

Owns: `Budget` and `Limit`.
Layer L5. Imports L0 and `_locks`.

Rules
- Budgets are a tree: a pool has one of its own, which may be part of one for a database
  and user, which is part of the whole. A connection is counted in each of them.
- They are asked when a connection is opened or closed, never while one is lent, and are
  the only thing that event loops share. One lock guards them all.
- Connections are also given back by finalizers and signal handlers, which come at any
  point, even under the lock: giving back waits for nobody.
- Who has calls that wait and gets nothing is remembered. Whoever has something idle, or
  else whoever has most, is asked to give something up, in its own loop, and what comes
  back is offered to those who wait. They ask again as long as calls wait.
- Connections that are only to be kept in store take what is free, and nobody's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import monotonic
from typing import NamedTuple, Protocol

from chopin._locks import Lock
from chopin.exceptions import InterfaceError

# Seconds after which who has not asked again is taken to have stopped.
_HUNGER = 0.25

#: In `Budget.limits`: any database, any user.
ALL = "all"


class Limit(NamedTuple):
    """What one database and user may have of a budget.

    Attributes:
        max_size: connections at most.
        init_size: opened when a pool of theirs is initialised, where it says nothing.
        min_size: kept, where a pool says nothing.
    """

    max_size: int
    init_size: int | None = None
    min_size: int | None = None


class Spender(Protocol):
    """Who opens connections: the part of a pool that belongs to one event loop.

    All of it may be called from any thread.
    """

    @property
    def idle_count(self) -> int:
        """About how many of its connections nobody uses."""

    def yield_soon(self) -> None:
        """Give up a connection that can be missed."""

    def retry_soon(self) -> None:
        """There may be room again, or less than there was."""


_lock = Lock()


class Budget:
    """A number of connections that several pools share.

    Args:
        max_size: connections at most, of all pools that are given this budget.
        limits: (database, user) -> `Limit`, or (maximum, initial, minimum). Either name
            may be "all". The first of these that is there counts: database and user,
            any database and the user, the database and any user, all.

    Raises:
        InterfaceError: a number makes no sense.

    Example:
        >>> budget = chopin.Budget(40, {("app", "reports"): (5, 0, 0)})
        >>> app = chopin.create_pool("postgresql:///app?user=web", budget=budget)
        >>> reports = chopin.create_pool(
        ...     "postgresql:///app?user=reports", budget=budget)
    """

    def __init__(
        self,
        max_size: int,
        limits: Mapping[tuple[str, str], Limit | tuple[int, ...]] | None = None,
    ) -> None:
        self._check(max_size)
        self.max_size = max_size
        self.used = 0
        self._parent: Budget | None = None
        self._spenders: dict[Spender, int] = {}
        # since when, and when they have asked last
        self._hungry: dict[Spender, tuple[float, float]] = {}
        self._limits: dict[tuple[str, str], tuple[Limit, Budget]] = {}
        for key, value in (limits or {}).items():
            limit = Limit(*value)
            self._limits[key] = (limit, self.part(limit.max_size))

    @staticmethod
    def _check(max_size: object) -> None:
        if isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1:
            raise InterfaceError(
                f"max_size is expected to be greater than zero, got {max_size!r}"
            )

    def part(self, max_size: int) -> Budget:
        """A budget of its own whose connections count here too."""
        budget = Budget(max_size)
        budget._parent = self
        return budget

    def limit_for(self, database: str, user: str) -> tuple[Limit | None, Budget]:
        """What counts for this database and user: the limit and its budget."""
        for key in ((database, user), (ALL, user), (database, ALL), (ALL, ALL)):
            if key in self._limits:
                return self._limits[key]
        return None, self

    def resize(self, max_size: int) -> None:
        """Change the number; connections above it close when they become free."""
        self._check(max_size)
        with _lock:
            self.max_size = max_size
            concerned = {*self._spenders, *self._hungry}
        for spender in concerned:
            spender.retry_soon()

    # -- for pools ---------------------------------------------------------------------

    def claim(self, spender: Spender, is_needed: bool = True) -> bool:
        """Count one connection more; False if there is no room for it.

        Then `spender` is told when there is, and somebody else is asked to make room,
        if it is needed and not only to be kept in store. Room that others wait for is
        left to who has least.
        """
        rich: Spender | None = None
        with _lock:
            full = self._full() or self._contested(spender, is_needed)
            if full is None:
                for budget in self._chain():
                    budget.used += 1
                    budget._spenders[spender] = budget._spenders.get(spender, 0) + 1
                    budget._hungry.pop(spender, None)
                return True
            full._spenders.setdefault(spender, 0)
            if not is_needed:
                return False
            now = monotonic()
            since, _ = full._hungry.get(spender, (now, now))
            full._hungry[spender] = since, now
            if full.used < full.max_size:
                return False
            others = {s: n for s, n in full._spenders.items() if s is not spender and n}
            if others:
                rich = max(others, key=lambda s: (s.idle_count > 0, others[s]))
        if rich is not None:
            rich.yield_soon()
        return False

    def unclaim(self, spender: Spender) -> None:
        """Count one connection less, and tell who waits for it."""
        _lock.call(partial(self._unclaim, spender))

    def _unclaim(self, spender: Spender) -> list[Callable[[], None]]:
        hungry: list[Callable[[], None]] = []
        for budget in self._chain():
            budget.used -= 1
            if spender in budget._spenders:  # it may have left already
                budget._spenders[spender] -= 1
            hungry += [s.retry_soon for s in budget._hungry if s is not spender]
        return hungry

    def leave(self, spender: Spender) -> None:
        """A spender ends; it has given everything back."""
        _lock.call(partial(self._leave, spender))

    def _leave(self, spender: Spender) -> tuple[()]:
        for budget in self._chain():
            budget._spenders.pop(spender, None)
            budget._hungry.pop(spender, None)
        return ()

    def is_over_share(self, spender: Spender) -> bool:
        """Whether others wait while `spender` has more than an equal part."""
        with _lock:
            for budget in self._chain():
                waiting = [s for s in budget._hungry if s is not spender]
                share = budget.max_size / max(len(budget._spenders), 1)
                if waiting and budget._spenders.get(spender, 0) > share:
                    return True
        return False

    def is_wanted(self, spender: Spender) -> bool:
        """Whether a connection less of `spender` would be of use to others."""
        with _lock:
            return any(
                budget.used > budget.max_size or any(budget._waiting_beside(spender))
                for budget in self._chain()
            )

    def excess(self, spender: Spender) -> int:
        """How many `spender` has above an equal part, where there are too many."""
        excess = 0
        with _lock:
            for budget in self._chain():
                if budget.used > budget.max_size:
                    share = budget.max_size // max(len(budget._spenders), 1)
                    excess = max(excess, budget._spenders.get(spender, 0) - share)
        return excess

    def forget_hunger(self, spender: Spender) -> None:
        """`spender` does not wait for a connection any more."""
        with _lock:
            for budget in self._chain():
                budget._hungry.pop(spender, None)

    def _chain(self) -> list[Budget]:
        chain = [self]
        while chain[-1]._parent is not None:
            chain.append(chain[-1]._parent)
        return chain

    def _contested(self, spender: Spender, is_needed: bool) -> Budget | None:
        """The budget with room for others, who have less or have waited longer."""
        now = monotonic()
        for budget in self._chain():
            count, hungry = budget._spenders.get, budget._hungry
            since, _ = hungry.get(spender, (now, now))
            mine = count(spender, 0), since
            for other, since in budget._waiting_beside(spender):
                if not is_needed or (count(other, 0), since) < mine:
                    return budget
        return None

    def _waiting_beside(self, spender: Spender) -> Iterator[tuple[Spender, float]]:
        """Others that have asked here lately, and since when they have."""
        now = monotonic()
        for other, (since, asked) in self._hungry.items():
            if other is not spender and now - asked <= _HUNGER:
                yield other, since

    def _full(self) -> Budget | None:
        for budget in self._chain():
            if budget.used >= budget.max_size:
                return budget
        return None
