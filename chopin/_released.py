"""What is left of a pool's connection for those who kept something of it.

Owns: the stand-in for the session of a handle that was given back, and the check that
statements, cursors and transactions make ahead of each call.
Layer L5. Imports L0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from chopin.exceptions import InterfaceError

if TYPE_CHECKING:
    from chopin.connection import Connection


class Released:
    """Stands in for the session of a handle that was given back."""

    #: Query loggers are told of what the release has stopped, but not where it ran.
    place = None

    def __getattr__(self, name: str) -> NoReturn:
        raise InterfaceError(
            "cannot go on: the underlying connection has been released back to the pool"
        )


RELEASED: Any = Released()


def check_held(connection: Connection, call: str) -> None:
    """Refuse a call on what came from a pool's connection that was given back."""
    if connection._is_released:
        raise InterfaceError(
            f"cannot call {call}(): the underlying connection has been released back "
            "to the pool"
        )
