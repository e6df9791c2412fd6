"""A connection in somebody's hands: the handle that users hold, and who holds it.

Owns: `PoolAcquireContext`, `Lease` (who, since when), the handle classes, and which
leases a task has.
Layer L5. Imports L0 and connection.

Theory of operation
    A handle is not a wrapper: it is a fresh connection object of the pool's connection
    class over the same session, and shares everything with the pool's own object but
    the transaction that it is in. So calls on it cost what they cost on a connection,
    and `isinstance` holds. When it is released its class is changed to one whose
    methods raise, and the session is taken away from it, so that whatever its user has
    kept (statements, cursors, transactions) cannot reach the next user.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import warnings
import weakref
from collections.abc import Callable, Generator
from contextvars import ContextVar
from types import CodeType, FrameType, MemberDescriptorType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from chopin._released import RELEASED
from chopin.connection import Connection
from chopin.exceptions import InterfaceError

if TYPE_CHECKING:
    from chopin._poolpart import PoolPart
    from chopin._slots import Slot
    from chopin.pool import Pool

#: The leases of this task, and of those from which it was started.
_holding: ContextVar[tuple[Lease, ...]] = ContextVar("chopin_leases", default=())

_STACK_DEPTH = 30


class Holder(NamedTuple):
    """Who holds a connection of a pool.

    Attributes:
        pid: the server process.
        task: the name of the task that acquired it.
        seconds: how long ago.
        sql: the text that ran on it last, or None.
        stack: where it was acquired, innermost call last, as "file:line in function";
            empty unless the pool has a `leak_threshold`.
    """

    pid: int
    task: str
    seconds: float
    sql: str | None
    stack: tuple[str, ...]

    def __str__(self) -> str:
        sql = "nothing yet" if self.sql is None else " ".join(self.sql.split())
        shown = sql if len(sql) <= 60 else f"{sql[:57]}..."
        return f"{self.task} for {self.seconds:.3g} s (pid {self.pid}, last: {shown})"


class PoolAcquireContext:
    """What `acquire` returns: await it, or use it in `async with`."""

    __slots__ = ("_connection", "_is_used", "_pool", "_timeout")

    def __init__(self, pool: Pool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: Connection | None = None
        self._is_used = False

    def _use(self) -> None:
        if self._is_used:
            raise InterfaceError("a connection is already acquired")
        self._is_used = True

    def __await__(self) -> Generator[Any, None, Connection]:
        self._use()
        return self._pool._acquire(self._timeout).__await__()

    async def __aenter__(self) -> Connection:
        self._use()
        connection = self._connection = await self._pool._acquire(self._timeout)
        lease: Lease = connection._lease  # type: ignore[attr-defined]
        lease.is_scoped = True
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)

    def drop(self) -> None:
        """Give the connection back where nobody can await; hooks run by themselves."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection._is_released:
            lease: Lease = connection._lease  # type: ignore[attr-defined]
            lease.part._release_soon(connection)


class Lease:
    """What is known of one acquisition of a connection.

    Attributes:
        active: it has not been released.
        frames: where it was acquired.
        is_reported: as a leak.
        is_scoped: an `async with` block will release it, and so its task.
        name: of the task that acquired it.
        pool: is not dropped as long as somebody holds a connection of it.
        since: when it was acquired.
        timeout: that was given for that.
    """

    __slots__ = (
        "active",
        "frames",
        "is_reported",
        "is_scoped",
        "name",
        "part",
        "pool",
        "since",
        "slot",
        "task_ref",
        "timeout",
    )

    def __init__(
        self, part: PoolPart, slot: Slot, since: float, timeout: float | None
    ) -> None:
        self.part = part
        self.pool: Pool | None = None
        self.slot = slot
        self.since = since
        self.timeout = timeout
        task: Any = asyncio.current_task()
        # not the task, whose result may be the very handle
        self.task_ref = weakref.ref(task)
        self.name: str = task.get_name()
        self.active = True
        part.leases.add(self)
        self.is_reported = False
        self.is_scoped = False
        self.frames: tuple[tuple[CodeType, int], ...] = ()
        _holding.set((*(lease for lease in _holding.get() if lease.active), self))

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task that acquired it, as long as there is one."""
        return self.task_ref()

    def keep_stack(self) -> None:
        """Remember who calls; cheap, since it is made readable only when wanted."""
        frames: list[tuple[CodeType, int]] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and len(frames) < _STACK_DEPTH:
            if not frame.f_code.co_filename.startswith(_OWN_FILES):
                frames.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        self.frames = tuple(reversed(frames))

    def end(self) -> None:
        """The connection is released."""
        self.active = False
        self.pool = None
        self.part.leases.discard(self)
        self.slot.lease = None
        held = _holding.get()
        if self in held:
            _holding.set(tuple(lease for lease in held if lease.active))

    def holder(self, now: float) -> Holder:
        """What the user is told of it."""
        session = self.slot.connection._session
        return Holder(
            session.backend_pid,
            self.name,
            now - self.since,
            session.last_sql,
            tuple(
                f"{code.co_filename}:{line} in {code.co_name}"
                for code, line in self.frames
            ),
        )


_OWN_FILES = __file__.rpartition("/")[0]


def holds_one_of(part: PoolPart) -> bool:
    """Whether this task, or one that started it, holds a connection of `part`.

    Or may hold one: what was acquired by a task that has ended, such as by
    `asyncio.wait_for` on Python 3.11 or by `asyncio.gather`, is in unknown hands.
    """
    if not part.leases:
        return False
    leases = _holding.get()
    if any(lease.active and lease.part is part for lease in leases):
        return True
    tasks = (lease.task for lease in part.leases)
    return any(task is None or task.done() for task in tasks)


# -- handles -------------------------------------------------------------------------


def lend(lease: Lease) -> Connection:
    """A handle for whoever has acquired the connection."""
    own = lease.slot.connection
    kind: Any = type(own)
    handle: Any = object.__new__(_lent_class(kind))
    session = own._session
    handle._session = session
    handle._config = own._config
    handle._loop = own._loop
    handle._command_timeout = own._command_timeout
    handle._record_class = own._record_class
    handle._observers = own._observers
    handle._channels = own._channels
    handle._top_xact = None
    handle._lease = lease
    state = getattr(own, "__dict__", None)
    if state is not None:
        handle.__dict__ = state
    _copy_slots(kind, own, handle)
    session.listen(handle)
    return cast("Connection", handle)


def lease_of(connection: object) -> Lease | None:
    """The lease of a handle; None for what is no handle."""
    return getattr(connection, "_lease", None)


def take_back(handle: Any) -> None:
    """Make a handle unusable."""
    own = handle._lease.slot.connection
    own._session.listen(own)
    _copy_slots(type(own), handle, own)
    handle._session = RELEASED
    handle._top_xact = None
    kind: Any = type(handle)
    handle.__class__ = _released_class(kind)


def _copy_slots(kind: Any, source: object, target: object) -> None:
    for name in _own_slots(kind):
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


def check_class(kind: Any) -> None:
    """See that handles of a user's class can be made.

    Raises:
        TypeError: they cannot, such as for what its `__init_subclass__` demands.
    """
    try:
        lent: Any = _lent_class(kind)
        _released_class(lent)
    except Exception as error:
        raise TypeError(
            f"connection_class is expected to allow subclasses of {kind!r}: {error}"
        ) from error


@functools.cache
def _own_slots(kind: type[Connection]) -> tuple[str, ...]:
    """The slots that a user's class has added; a `__dict__` is shared instead."""
    return tuple(
        name
        for cls in itertools.takewhile(lambda cls: cls is not Connection, kind.__mro__)
        for name, member in vars(cls).items()
        if isinstance(member, MemberDescriptorType)
    )


@functools.cache
def _lent_class(base: type[Connection]) -> type[Connection]:
    """The class of handles for connections of a class."""
    return _derive(base, {"__slots__": ("_lease",), "__del__": _dropped})


@functools.cache
def _released_class(lent: type[Connection]) -> type[Connection]:
    """What handles of a class become when they are released."""
    members: dict[str, Any] = {
        name: _refusal(name)
        for name in dir(lent)
        if not name.startswith("_") and callable(getattr(lent, name))
    }
    members.update(
        __slots__=(),
        __del__=lambda _: None,
        __repr__=_repr_released,
        _is_released=True,
    )
    return _derive(lent, members)


def _derive(base: type[Connection], members: dict[str, Any]) -> type[Connection]:
    members.update(
        __module__=base.__module__, __qualname__=base.__qualname__, __doc__=base.__doc__
    )
    metaclass: Any = type(base)
    return cast("type[Connection]", metaclass(base.__name__, (base,), members))


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise InterfaceError(
            f"cannot call Connection.{name}(): connection has been released back to "
            "the pool"
        )

    return refuse


def _repr_released(self: Connection) -> str:
    kind = type(self)
    return f"<{kind.__module__}.{kind.__qualname__} [released]>"


def _dropped(self: Any) -> None:
    """A handle was dropped without being released: say so, and take it back."""
    lease = self._lease
    if not lease.active:
        return
    lease.active = False
    part, loop = lease.part, self._loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(part.recover, lease)
    warnings.warn(
        f"{self!r} was acquired from a pool and dropped; release it with 'async with "
        "pool.acquire()' or 'await pool.release(connection)'",
        ResourceWarning,
        source=self,
        stacklevel=1,
    )
