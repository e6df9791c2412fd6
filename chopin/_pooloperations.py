"""What a pool's operator asks and changes while it runs.

Owns: `Operated`, the part of `Pool` that is about its size, its holders and its
connections as a whole.
Layer L5. Imports the pool's other modules but `pool`.

Rules
- What is asked for may be asked from any thread; what is changed is changed in each
  event loop by itself.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from chopin._poolclosing import State
from chopin._poolstats import PoolStats

if TYPE_CHECKING:
    from chopin._lease import Holder
    from chopin._poolpart import PoolPart
    from chopin._poolsettings import PoolSettings
    from chopin._slots import Counts


class Operated:
    """The part of `Pool` for who operates it."""

    __slots__ = ("_is_disabled", "_live")

    _settings: PoolSettings
    _state: State
    _is_disabled: bool
    _parts: dict[asyncio.AbstractEventLoop, PoolPart]
    _live: dict[asyncio.AbstractEventLoop, PoolPart]
    _past: Counts

    def get_size(self) -> int:
        """The number of connections, all event loops together."""
        return sum(len(part.pool.slots) for part in self._all_parts())

    def get_idle_size(self) -> int:
        """The number of connections that nobody uses."""
        return sum(len(part.pool.idle) for part in self._all_parts())

    def get_min_size(self) -> int:
        """The number of connections that are kept in each event loop."""
        return self._settings.limits.min_size

    def get_max_size(self) -> int:
        """The number of connections that there may be."""
        return self._settings.budget.max_size

    def get_init_size(self) -> int:
        """The number of connections that are opened at first."""
        return self._settings.init_size

    def stats(self) -> PoolStats:
        """What the pool is doing, and what it has done.

        Example:
            >>> pool.stats().waiting
            0
        """
        parts = self._all_parts()
        pools = [part.pool for part in parts]
        sizes = self.get_min_size(), self.get_max_size()
        return PoolStats.of(pools, self._past, *sizes)._replace(
            listening=sum(part.hub.size for part in parts),
            listeners=sum(part.hub.listeners for part in parts),
        )

    def holders(self) -> list[Holder]:
        """Who holds connections of this pool, the longest first.

        Example:
            >>> for holder in pool.holders():
            ...     print(holder)
        """
        held = [holder for part in self._all_parts() for holder in part.holders()]
        return sorted(held, key=lambda holder: -holder.seconds)

    def set_connect_args(self, dsn: str | None = None, **options: Any) -> None:
        """Connect differently from now on; open connections stay as they are.

        Args:
            dsn: as for `chopin.connect`.
            options: as for `chopin.connect`.
        """
        self._settings.set_connect_args(dsn, options)

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be; what is too much goes when free.

        Args:
            max_size: at most, in all event loops together.
            min_size: at least, in each; None to leave it, as far as `max_size` allows.
        """
        self._settings.resize(max_size, min_size)
        self._in_each_loop(lambda part: part.tick())

    async def expire_connections(self) -> None:
        """Replace every connection: idle ones now, the others once they are free.

        That of `listen` is replaced at once; who listens gets a `Gap`.
        """
        await self.flush("gracefully")

    async def flush(self, which: Literal["idle", "gracefully", "all"] = "idle") -> None:
        """Close connections; new ones are opened as they are needed.

        Args:
            which: "idle" closes those that nobody uses, "gracefully" the others too
                once they are free, "all" all of them at once, and what runs on them
                fails.
        """
        if which not in ("idle", "gracefully", "all"):
            raise ValueError(
                f'which is expected to be "idle", "gracefully" or "all", got {which!r}'
            )
        self._in_each_loop(lambda part: part.flush(which))

    def disable(self) -> None:
        """Refuse new work with PoolDisabledError; what is running goes on."""
        self._is_disabled = True
        self._live = {}

    def enable(self) -> None:
        """Undo `disable`."""
        self._is_disabled = False
        if self._state is State.OPEN:
            self._live = dict(self._parts)

    def _all_parts(self) -> list[PoolPart]:
        return list(self._parts.values())

    def _in_each_loop(self, action: Callable[[PoolPart], Any]) -> None:
        """Do something with each part, in its own loop."""
        try:
            here = get_running_loop()
        except RuntimeError:
            here = None
        for part in self._all_parts():
            if part.loop is here:
                action(part)
            elif not part.loop.is_closed():
                part.loop.call_soon_threadsafe(action, part)
