"""How a pool makes a connection: by the user's functions, within its time.

Owns: `Opener`, what the connections of one event loop share; who `init` has made of
them; which failures will not pass.
Layer L5. Imports L0, L2 - L4, retry and the pool's settings and slots.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chopin import _statements
from chopin._codecs import CodecMap
from chopin._copysql import quoted
from chopin._execute import Turn
from chopin._ops import start_own
from chopin._poolsettings import PoolSettings, run_hook
from chopin._slots import Slot
from chopin.connect import connect_session
from chopin.connection import connection_over
from chopin.exceptions import InterfaceError
from chopin.retry import kind_of

if TYPE_CHECKING:
    from chopin._rows import Description
    from chopin.aio import WireProtocol
    from chopin.connection import Connection

#: Who the session is, and the role that was set ("none": none).
WHO = "SELECT session_user, pg_catalog.current_setting('role', true)"
_statements.OWN.add(WHO)

# Places of which is known what their connections have learnt: enough for a cluster, and
# an end for names whose addresses change.
_MOST_PLACES = 16


class Opener:
    """Makes connections for one event loop's part of a pool.

    Args:
        settings: of the pool.
        loop: the running loop.
        clock: returns seconds.
    """

    def __init__(
        self,
        settings: PoolSettings,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._clock = clock
        # OIDs mean nothing to another server or database
        self._learnt: dict[object, tuple[CodecMap, dict[str, Description]]] = {}

    def forget(self) -> None:
        """Tell new connections nothing of what the old ones have learnt."""
        self._learnt.clear()

    def _share(self, session: WireProtocol) -> None:
        """Let a new session know what others in the same place have learnt."""
        assert session.place is not None
        place = session.place.address, session.config.database
        if place not in self._learnt:
            if len(self._learnt) == _MOST_PLACES:
                del self._learnt[next(iter(self._learnt))]
            self._learnt[place] = CodecMap(None, self._settings.registry), {}
        codecs, session.descriptions = self._learnt[place]
        session.codecs = CodecMap(codecs)

    async def connect(self, *, listens: bool = False) -> Slot:
        """A new connection that `init` has seen, within the time for connecting.

        Args:
            listens: it is for `Pool.listen`, perhaps to another address.

        Raises:
            TimeoutError: that is over.
            InterfaceError: `connect` or `init` has made something that is of no use.
        """
        settings = self._settings
        async with asyncio.timeout(settings.connect_timeout):
            connection = await self._make(listens)
            session = connection._session
            if settings.pooler is not None and not listens:
                session.pooled = True
            # a function that connects may have done anything
            session.dirty = settings.connect is not None
            session.made_temporary = False
            try:
                if settings.init is not None:
                    await run_hook("init", settings.init, connection)
                    _check(connection)
                # one that listens is never reset
                if session.dirty and not (session.pooled or listens):
                    session.own_roles = await _roles(session)
                session.dirty = False
            except BaseException:
                session.terminate()
                raise
        session.lingers = True
        now = self._clock()
        lifetime = settings.limits.max_lifetime * (1 - 0.05 * random.random())
        return Slot(session, connection, now, now + lifetime)

    async def _make(self, listens: bool) -> Connection:
        settings = self._settings
        if settings.connect is None:
            session = await connect_session(
                settings.listen_config if listens else settings.config,
                record_class=settings.record_class,
            )
            self._share(session)
            return connection_over(session, settings.connection_class)
        dsn, options = settings.listen_args if listens else settings.connect_args
        connection: Any = await settings.connect(
            dsn,
            loop=self._loop,
            connection_class=settings.connection_class,
            record_class=settings.record_class,
            **settings.said_of_types,
            **options,
        )
        if isinstance(connection, settings.connection_class):
            return connection
        raise InterfaceError(
            f"the pool's connect returned {type(connection).__name__}, expected "
            f"{settings.connection_class.__name__}"
        )


def is_final(error: Exception) -> bool:
    """Whether connecting once more cannot help, such as with a wrong password."""
    return not isinstance(error, OSError) and kind_of(error) in ("permanent", "client")


async def _roles(session: WireProtocol) -> str:
    """SQL that makes somebody of the login again, as `init` or `connect` has; or ""."""
    async with Turn(session):
        op = start_own(session, WHO, (), ())
    ((user, role),) = await op
    sql = ""
    if user != session.config.user:
        sql += f"\nSET SESSION AUTHORIZATION {quoted(user)};"
    if role not in ("none", None):  # other servers may not know it
        sql += f"\nSET ROLE {quoted(role)};"
    return sql


def _check(connection: Connection) -> None:
    """Raise unless it is as `init` must leave it."""
    session = connection._session
    if not session.is_open:
        if session.closed_by is not None:
            session.ensure_open()  # not init, but the server
        raise InterfaceError("the pool's init has closed the connection")
    if session.in_flight or session.transaction_status != "I":
        raise InterfaceError("the pool's init has left a transaction or a query open")
