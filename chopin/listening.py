"""LISTEN and NOTIFY: what somebody says on a channel comes to who listens there.

Owns: `Notifications` (an `async with` block and its bounded queue), `Channels` (who
hears what on one session), asyncpg's listeners, and the checks of names and payloads.
Layer L5. Imports L0, L4 and `_observers`.

Rules
- Nothing of the user's runs in the middle of reading: a block only gets an item into
  its queue, callbacks are called by the loop, in the order in which notifications came.
- Who listens on a connection is in its table behind LISTEN's answer: he does not hear
  what was meant for its former user, and misses nothing that is said from then on.
- A LISTEN within a transaction block takes effect with its COMMIT and is undone by a
  ROLLBACK. So it is said again behind the block, until it was said outside of one: no
  listener is deaf without knowing.
- A reader that is too slow loses notifications or fails, by its own choice. It holds
  nobody up and its queue does not grow.

Source: PostgreSQL documentation, "LISTEN", "NOTIFY", "UNLISTEN".
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from chopin._observers import Callback, Observed, Observers
from chopin.exceptions import (
    ConnectionDoesNotExistError,
    InterfaceError,
    QueryCanceledError,
)
from chopin.types import Gap, Notification

if TYPE_CHECKING:
    from chopin.aio import WireProtocol

Overflow = Literal["drop_oldest", "drop_newest", "error"]
#: What a notification consists of: process id, channel, payload.
Said = tuple[int, str, str]
#: Takes it in, with the connection that it came on.
Put = Callable[[Any, Said], None]
#: Ends a block.
Leave = Callable[["Notifications"], Awaitable[None]]

_POLICIES = ("drop_oldest", "drop_newest", "error")
QUEUE_SIZE = 1000
# Bytes, as the server is built by default.
_NAME_LIMIT = 63
_PAYLOAD_LIMIT = 7999
# faster than to call the class
_make: Callable[[type[Notification], Said], Notification] = tuple.__new__
_NOTIFY = "SELECT pg_catalog.pg_notify($1, $2)"

# -- words ---------------------------------------------------------------------------


def _check_text(name: str, value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is expected to be a str, got {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{name} is expected to have no NUL character, got {value!r}")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} is expected to have no surrogates, got {value[:40]!r}"
        ) from None
    if size > limit:
        raise ValueError(
            f"{name} is expected to have at most {limit} bytes in UTF-8, got {size}: "
            f"{value[:40]!r}"
        )
    return value


def check_channel(channel: object) -> str:
    """Refuse what is no name of a channel.

    The server would cut a longer one in LISTEN, and refuse it in NOTIFY.

    Raises:
        TypeError: it is no str.
        ValueError: it is empty, longer than 63 bytes, or has a NUL in it.
    """
    text = _check_text("channel", channel, _NAME_LIMIT)
    if not text:
        raise ValueError("channel is expected to be a name, got ''")
    return text


def check_payload(payload: object) -> str:
    """Refuse what is no payload; None is nothing (``""``).

    Raises:
        TypeError: it is no str.
        ValueError: it is longer than 7999 bytes, or has a NUL in it.
    """
    return _check_text("payload", "" if payload is None else payload, _PAYLOAD_LIMIT)


def script(word: str, channels: Iterable[str]) -> str:
    """LISTEN or UNLISTEN for some channels.

    Example:
        >>> script("LISTEN", ["jobs", 'a"b'])
        'LISTEN "jobs"; LISTEN "a""b"'
    """
    quoted = (channel.replace('"', '""') for channel in channels)
    return "; ".join(f'{word} "{name}"' for name in quoted)


def check_session(session: WireProtocol) -> None:
    """Refuse to listen where nothing would be heard.

    Raises:
        InterfaceError: there is a pooler in transaction mode, or the session is closed.
    """
    session.ensure_open()
    if session.pooled:
        raise InterfaceError(
            "cannot listen behind a pooler in transaction mode, where nothing is "
            "heard: connect to the server itself"
        )


# -- what users hold -----------------------------------------------------------------


class Notifications:
    """What is said on some channels: use it in `async with`, then in `async for`.

    Whatever is sent after the block was entered comes, in order. The iteration never
    ends by itself: it raises when nothing can come any more.

    Made by `Connection.listen` and `Pool.listen`, which describe the arguments.

    Example:
        >>> async with pool.listen("jobs") as notifications:
        ...     async for item in notifications:
        ...         if isinstance(item, chopin.Gap):
        ...             print("read the table again:", item)
        ...         else:
        ...             print(item.channel, item.payload)
    """

    __slots__ = (
        "__weakref__",
        "_end",
        "_enter",
        "_items",
        "_leave",
        "_missing",
        "_overflow",
        "_size",
        "_waiters",
        "channels",
    )

    def __init__(
        self,
        enter: Callable[[Notifications], Awaitable[Leave]],
        channels: tuple[str, ...],
        queue_size: int,
        overflow: Overflow,
    ) -> None:
        if not channels:
            raise ValueError("channels are expected to be one or more, got none")
        if type(queue_size) is not int or queue_size < 1:
            raise ValueError(
                f"queue_size is expected to be greater than zero, got {queue_size!r}"
            )
        if overflow not in _POLICIES:
            raise ValueError(
                f"overflow is expected to be either of {_POLICIES}, got {overflow!r}"
            )
        #: What is listened to, each once.
        self.channels = tuple(dict.fromkeys(map(check_channel, channels)))
        self._enter: Callable[[Notifications], Awaitable[Leave]] | None = enter
        self._leave: Leave | None = None
        self._size = queue_size
        self._overflow = overflow
        self._items: deque[Said | Gap] = deque()
        # of what was dropped in front of the items
        self._missing: Gap | None = None
        self._end: BaseException | None = InterfaceError(
            "cannot iterate: use 'async with ... as notifications' first"
        )
        self._waiters: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        enter, self._enter = self._enter, None
        if enter is None:
            raise InterfaceError("cannot enter twice: call listen() for each block")
        self._end = None
        try:
            self._leave = await enter(self)
        except BaseException:
            self.end(InterfaceError("cannot go on: listening has failed"))
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leave, self._leave = self._leave, None
        self._items.clear()
        self.end(InterfaceError("cannot go on: the block of listen() is over"))
        if leave is not None:
            await leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification | Gap:
        while not self._items and self._missing is None:
            if self._end is not None:
                raise self._end.with_traceback(None)
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:  # cancelled
                    self._waiters.remove(waiter)
        if self._missing is not None:
            gap, self._missing = self._missing, None
            return gap
        item = self._items.popleft()
        return item if isinstance(item, Gap) else _make(Notification, item)

    # -- for who has the notifications -------------------------------------------------

    def put(self, connection: object, said: Said) -> None:
        """Take a notification into the queue, or do what `overflow` says."""
        if self._end is not None:
            return
        if len(self._items) >= self._size:
            if self._overflow == "error":
                self.end(
                    InterfaceError(
                        f"the reader is too slow: {self._size} notifications wait for "
                        "it, which is its queue_size"
                    )
                )
                return
            if self._overflow == "drop_newest":
                self.put_gap(Gap(0.0, 1, None))
                return
            dropped = self._items.popleft()
            gap = dropped if isinstance(dropped, Gap) else Gap(0.0, 1, None)
            self._missing = _joined(self._missing, gap)
        self._items.append(said)
        if self._waiters:
            self._wake()

    def put_gap(self, gap: Gap) -> None:
        """Say that something is missing here; several in a row are one."""
        if self._end is not None:
            return
        last = self._items[-1] if self._items else None
        if isinstance(last, Gap):
            self._items[-1] = _joined(last, gap)
        else:
            self._items.append(gap)
            self._wake()

    def end(self, error: BaseException) -> None:
        """Nothing comes any more: `error` is raised behind what is in the queue."""
        if self._end is None:
            self._end = error
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _joined(one: Gap | None, other: Gap) -> Gap:
    if one is None:
        return other
    return Gap(
        one.seconds + other.seconds,
        one.dropped + other.dropped,
        other.reason or one.reason,
    )


# -- who hears what ------------------------------------------------------------------


class Channels:
    """Who hears what on one session, in the order in which they came.

    Attributes:
        heard: channel -> who hears it (a block or a callback) -> how it is told.
        coming: channel -> calls whose LISTEN is not answered yet.
        epoch: how often all of it was forgotten.
        n_over: how many blocks and streams have ended since somebody listens.
        is_due: whether LISTEN is to be said again when the next of them has.
    """

    __slots__ = ("_calls", "coming", "epoch", "heard", "is_due", "n_over")

    def __init__(self) -> None:
        self.heard: dict[str, dict[object, Put]] = {}
        self.coming: Counter[str] = Counter()
        self.epoch = self.n_over = 0
        self.is_due = False
        self._calls: deque[tuple[Callback, Any, Said]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self.heard.values()))

    def __bool__(self) -> bool:
        return bool(self.heard or self.coming)

    def add(self, channels: Iterable[str], who: object, put: Put) -> None:
        """Have `put` told what is said on these channels."""
        for channel in channels:
            self.heard.setdefault(channel, {})[who] = put

    def discard(self, channels: Iterable[str], who: object) -> list[str]:
        """Undo `add`.

        Returns:
            Those of the channels that nobody hears any more, nor is about to.
        """
        unheard = []
        for channel in channels:
            hearers = self.heard.get(channel, {})
            if hearers.pop(who, None) is not None and not hearers:
                del self.heard[channel]
                if not self.coming[channel]:
                    unheard.append(channel)
        return unheard

    def deliver(self, connection: Any, said: Said) -> None:
        """A notification came."""
        hearers = self.heard.get(said[1])
        if hearers:
            for put in hearers.values():
                put(connection, said)

    def forget(self, error: BaseException) -> None:
        """The session hears no more: end the blocks, drop the callbacks."""
        self.epoch += 1
        self.is_due = False
        heard, self.heard = self.heard, {}
        for hearers in heard.values():
            for who in hearers:
                if isinstance(who, Notifications):
                    who.end(error)

    def drop_calls(self) -> None:
        """Call no callbacks for what has come already."""
        self._calls.clear()

    def caller(self, call: Callback) -> Put:
        """Make of a function one that has the loop call it, when it comes to that."""
        calls, call_all = self._calls, self._call_all

        def put(connection: Any, said: Said) -> None:
            if not calls:
                connection._loop.call_soon(call_all)
            calls.append((call, connection, said))

        return put

    def _call_all(self) -> None:
        """Call what has come so far; what comes meanwhile has its own turn."""
        calls = self._calls
        try:
            for _ in range(len(calls)):
                call, connection, said = calls.popleft()
                try:
                    call(connection, *said)
                except Exception as error:
                    text = "a listener of a connection failed"
                    connection._loop.call_exception_handler(
                        {"message": text, "exception": error}
                    )
        finally:
            if calls:
                calls[0][1]._loop.call_soon(self._call_all)


# -- parts of Connection and Pool ----------------------------------------------------


class Notifying:
    """The part of `Connection` and of `Pool` that speaks."""

    __slots__ = ()

    if TYPE_CHECKING:

        def fetchval(
            self, query: str, *args: Any, timeout: float | None = None
        ) -> Coroutine[Any, Any, Any]:
            """See `Connection.fetchval`."""

    async def notify(
        self,
        channel: str,
        payload: str | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Say something on a channel, to all who listen there when it is committed.

        In a transaction that is at its COMMIT; the same payload is then said once.

        Args:
            channel: its name, 1 to 63 bytes in UTF-8; case matters.
            payload: at most 7999 bytes in UTF-8; None is nothing.
            timeout: seconds, as for `fetchval`.

        Raises:
            TypeError, ValueError: one of them cannot be sent; nothing was.

        Example:
            >>> await conn.notify("jobs", "7")

        Source: PostgreSQL documentation, "NOTIFY".
        """
        texts = check_channel(channel), check_payload(payload)
        await self.fetchval(_NOTIFY, *texts, timeout=timeout)


class Listening(Observed, Notifying):
    """The part of `Connection` that listens."""

    __slots__ = ("_channels",)

    _channels: Channels
    _loop: asyncio.AbstractEventLoop

    if TYPE_CHECKING:
        _is_released: bool

        async def execute(self, query: str, *args: Any) -> str:
            """See `Connection`."""

        async def _simple(self, query: str) -> str:
            """See `Connection`."""

        def is_closed(self) -> bool:
            """See `Connection`."""

    async def add_listener(self, channel: str, callback: Callback) -> None:
        """Have a function called for what is said on a channel.

        In a transaction that begins with its end. A listener that was added twice is
        called once.

        Args:
            channel: its name; case matters.
            callback: a function or a coroutine function, called with the connection,
                the speaker's process id, the channel and the payload.

        Raises:
            InterfaceError: there is a pooler in transaction mode.

        Example:
            >>> await conn.add_listener("jobs", lambda conn, pid, channel, payload: ...)

        Source: PostgreSQL documentation, "LISTEN".
        """
        call = Observers.check(callback)
        if inspect.iscoroutinefunction(callback):
            call = functools.partial(self._observers.call, callback)
        put = self._channels.caller(call)
        await self._listen((check_channel(channel),), callback, put)

    async def remove_listener(self, channel: str, callback: Callback) -> None:
        """Undo `add_listener`; nothing happens when it was not there."""
        if self.is_closed():
            return
        unheard = self._channels.discard([channel], callback)
        if unheard:
            await self.execute(script("UNLISTEN", unheard))

    def listen(
        self,
        *channels: str,
        queue_size: int = QUEUE_SIZE,
        overflow: Overflow = "drop_oldest",
    ) -> Notifications:
        """Listen to channels, in an `async with` block.

        Args:
            channels: their names; case matters.
            queue_size: notifications that may wait for the reader.
            overflow: what happens when more come. "drop_oldest" and "drop_newest" leave
                a `Gap` in their place, "error" ends the iteration with an error.

        Raises:
            InterfaceError: there is a pooler in transaction mode.

        Example:
            >>> async with conn.listen("jobs", "news") as notifications:
            ...     async for item in notifications:
            ...         print(item)

        The iteration raises ConnectionDoesNotExistError when the connection ends;
        `Pool.listen` goes on with another one.

        Source: PostgreSQL documentation, "LISTEN".
        """
        return Notifications(self._enter_block, channels, queue_size, overflow)

    async def _enter_block(self, block: Notifications) -> Leave:
        await self._listen(block.channels, block, block.put)
        return self._leave_block

    async def _leave_block(self, block: Notifications) -> None:
        unheard = self._channels.discard(block.channels, block)
        session = self._session
        # in a failed transaction nothing can be sent, and what comes is dropped
        if unheard and session.is_open and session.transaction_status != "E":
            await self.execute(script("UNLISTEN", unheard))

    async def _listen(self, channels: tuple[str, ...], who: object, put: Put) -> None:
        """Send LISTEN for what nobody hears yet, then have `put` told."""
        check_session(self._session)
        table = self._channels
        unheard = [channel for channel in channels if channel not in table.heard]
        if unheard:
            gate = self._session.gate
            again = functools.partial(_is_over, weakref.ref(self))
            self._session.after_block = gate.after_stream = again
            table.coming.update(unheard)
            epoch, n_over = table.epoch, table.n_over
            try:
                await self.execute(script("LISTEN", unheard))
            finally:
                table.coming -= Counter(unheard)
            self._session.ensure_open()
            if epoch != table.epoch:
                raise InterfaceError("cannot listen: the connection was reset")
            if self._session.transaction_status != "I":
                table.is_due = True
            elif table.n_over != n_over:  # perhaps it was in that block
                self._loop.call_soon(_listen_again, weakref.ref(self))
        table.add(channels, who, put)

    async def _listen_again(self) -> None:
        """A block is over in which LISTEN was said, and perhaps undone."""
        if self._is_released:
            return
        table, session = self._channels, self._session
        epoch, n_over = table.epoch, -1
        error: Exception | None = None
        # a block that has ended meanwhile may be the one in which it was said
        while n_over != table.n_over or isinstance(error, QueryCanceledError):
            if not table.heard:
                return
            n_over, error = table.n_over, None
            try:
                await self._simple(script("LISTEN", table.heard))
            except Exception as failure:
                error = failure
            if table.epoch != epoch or not session.is_open:
                return  # the listeners know, or are about to
            if session.transaction_status != "I" or (error and session.gate.stream):
                table.is_due = True
                return
        if error is not None:
            table.forget(error)
            raise error

    def on_notification(self, pid: int, channel: str, payload: str) -> None:
        """Called by the session for a NotificationResponse."""
        self._channels.deliver(self, (pid, channel, payload))

    def on_closed(self) -> None:
        """Called by the session when it has ended."""
        if self._channels.heard:
            error = ConnectionDoesNotExistError(
                "connection was closed while it listened"
            )
            error.__cause__ = self._session.closed_by
            self._channels.forget(error)
        super().on_closed()

    def _stop_listening(self, why: str) -> None:
        """Nobody who has listened so far shall hear anything more."""
        self._channels.drop_calls()
        if self._channels:
            self._channels.forget(InterfaceError(f"cannot listen any more: {why}"))


def _is_over(ref: weakref.ref[Listening]) -> None:
    """A block or a stream is over; called in the middle of reading."""
    connection = ref()
    if connection is not None:
        table = connection._channels
        table.n_over += 1
        if table.is_due:
            table.is_due = False
            connection._loop.call_soon(_listen_again, ref)


def _listen_again(ref: weakref.ref[Listening]) -> None:
    connection = ref()
    if connection is not None:
        connection._observers.call(connection._listen_again)
