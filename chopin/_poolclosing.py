"""The end of a pool whose parts live in several event loops.

Owns: `State`, that of the whole; `begin_closing`, `wait_drained` and `warn_when_slow`.
Layer L5. Imports the pool's parts.

Rules
- Another event loop may end at any moment and tells nobody: it is looked at.
- A part is drained when all that it has begun has ended, goodbyes included.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chopin._poolpart import PoolPart

_log = logging.getLogger("chopin.pool")

# Seconds between two looks whether another event loop is still there.
_LOOK = 0.2
# Seconds after which is said who holds the close up.
_SLOW = 60.0

ForEach = Callable[[Callable[["PoolPart"], Any]], None]
Loop = asyncio.AbstractEventLoop
BuryDead = Callable[[Callable[[Loop], bool]], None]


class State(enum.Enum):
    """Where a pool is in its life; the words stand in messages."""

    NEW = "not initialized"
    OPENING = "being initialized"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


def _is_dead(loop: Loop) -> bool:
    return not loop.is_running()


def begin_closing(
    changed: asyncio.Event, in_each_loop: ForEach, bury_dead: BuryDead, is_fast: bool
) -> None:
    """Have all parts close.

    Args:
        changed: set when a part is drained.
        in_each_loop: runs a function of a part in its loop.
        bury_dead: forgets the parts of loops for which a function returns True.
        is_fast: do not wait for who uses a connection.
    """
    here = asyncio.get_running_loop()

    def on_drained() -> None:
        with contextlib.suppress(RuntimeError):
            here.call_soon_threadsafe(changed.set)

    bury_dead(_is_dead)
    in_each_loop(lambda part: part.close(is_fast, on_drained))


async def wait_drained(
    changed: asyncio.Event,
    find_parts: Callable[[], list[PoolPart]],
    bury_dead: BuryDead,
) -> None:
    """Wait until all parts have ended.

    Args:
        changed: of `begin_closing`.
        find_parts: returns those that are left.
        bury_dead: as for `begin_closing`.
    """
    here = asyncio.get_running_loop()
    while parts := [part for part in find_parts() if not part.is_drained]:
        pause = None if {part.loop for part in parts} == {here} else _LOOK
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await changed.wait()
        changed.clear()
        bury_dead(_is_dead)


async def warn_when_slow(
    closing: asyncio.Task[Any], describe_holders: Callable[[], list[Any]]
) -> None:
    """Wait until a close has ended in whatever way; say once who holds it up."""
    done, _ = await asyncio.wait([closing], timeout=_SLOW)
    if not done:
        _log.warning(
            "Pool.close() is taking over 60 seconds to complete. Connections are held "
            "by %s",
            "; ".join(map(str, describe_holders())) or "nobody",
        )
        await asyncio.wait([closing])
