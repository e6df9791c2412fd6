"""Many statements at once, without a task for each.

Owns: `Pipeline` and `Reply`: statements are queued by plain calls, sent as they come,
and their answers awaited when they are wanted.
Layer L5. Imports L0 - L4.

Rules
- A unit is what shares one Sync, and one fate: a statement by itself, or a group up to
  the next `sync`.
- Units are sent in the order in which they were queued, and in turn with all other
  calls of the connection. One that can be sent at once is; for others the pipeline
  stands in line, and one task sends them, however many there are.
- A statement whose description fails is described once more behind what was queued
  before it: it may be about a table that is made there.
- What heals is repeated only if nothing behind it has run: the order is kept.
- Nobody is left waiting: every reply is settled when the block is left.

Source: PostgreSQL documentation, "Pipelining".
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload

from chopin._batch import GroupOp, start_group
from chopin._effects import READS, effects
from chopin._execute import (
    ATTEMPTS,
    HEALABLE,
    Turn,
    check_query,
    heal_group,
    statements_for,
    unblocked,
)
from chopin._ops import (
    ROW,
    ROWS,
    STATUS,
    VALUE,
    QueryOp,
    check_timeout,
    fits,
    known_statement,
    start_query,
)
from chopin._outcomes import dropped
from chopin._shapes import row_shape
from chopin._waiter import Waiter
from chopin.exceptions import InterfaceError, PipelineAbortedError, PostgresError

if TYPE_CHECKING:
    from chopin._fitting import Row, Shape
    from chopin._protocol import Statement
    from chopin._rows import Record
    from chopin.aio import WireProtocol
    from chopin.connection import Connection

Barrier = Literal["statement", "group"]

T = TypeVar("T")


class _Failure:
    """What a unit has failed with, and whether anybody has been told."""

    __slots__ = ("error", "is_seen")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.is_seen = False


class Reply(Generic[T]):
    """The answer to a statement of a pipeline: await it when you want it.

    It may be awaited more than once, by several tasks. Who is cancelled while he waits
    calls nothing off: the statement belongs to the pipeline.

    Example:
        >>> async with conn.pipeline() as p:
        ...     one, two = p.fetchval("SELECT 1"), p.fetchval("SELECT 2")
        >>> await one, two.result()
        (1, 2)
    """

    __slots__ = (
        "_answer",
        "_column",
        "_error",
        "_failure",
        "_is_done",
        "_pipeline",
        "_waiters",
        "args",
        "query",
        "shape",
        "want",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        query: str,
        args: tuple[Any, ...],
        want: int,
        column: int | str,
        shape: Any,
    ) -> None:
        self._pipeline = pipeline
        self.query = query
        self.args = args
        self.want = want
        self._column = column
        self.shape = shape
        self._is_done = False
        self._answer: Any = None
        self._error: BaseException | None = None
        self._failure: _Failure | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        if not self._is_done:
            yield from self._wait().__await__()
        return self.result()

    def __repr__(self) -> str:
        state = "done" if self._is_done else "waiting"
        return f"<chopin.Reply {state} {self.query!r}>"

    def done(self) -> bool:
        """Whether the answer, or the error, is there."""
        return self._is_done

    def result(self) -> T:
        """The answer, or the error raised.

        Raises:
            InterfaceError: it is not there yet.
        """
        error = self.exception()
        if error is None:
            return cast("T", self._answer)
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def exception(self) -> BaseException | None:
        """The error, or None; the pipeline does not raise it any more then.

        Raises:
            InterfaceError: the answer is not there yet.
        """
        if not self._is_done:
            raise InterfaceError("the reply is not there yet: await it")
        if self._failure is not None:
            self._failure.is_seen = True
        return self._error

    @property
    def request_column(self) -> int:
        """The column that is asked of the server's row, for a value."""
        return self._column if self.want == VALUE else 0  # type: ignore[return-value]

    def settle(self, answer: Any) -> None:
        """The answer is there; a value by name is picked out of its row."""
        if self.want == ROW and self._column != 0 and answer is not None:
            answer = answer[self._column]
        self._answer = answer
        self._end()

    def fail(self, error: BaseException, failure: _Failure) -> None:
        """There is no answer."""
        self._error = error
        self._failure = failure
        self._end()

    def _end(self) -> None:
        self._is_done = True
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = None

    async def _wait(self) -> None:
        self._pipeline.sync()
        while not self._is_done:
            if self._waiters is None:
                self._waiters = []
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


class _Unit:
    """Statements that share one Sync."""

    __slots__ = ("attempts", "replies", "started")

    def __init__(self, replies: list[Reply[Any]]) -> None:
        self.replies = replies
        self.attempts = 1
        self.started = 0.0

    @property
    def texts(self) -> list[str]:
        return [reply.query for reply in self.replies]


def _only_reads(*units: _Unit) -> bool:
    """Whether it is all the same in which order they run."""
    return all(effects(sql) & READS for unit in units for sql in unit.texts)


# How a value is taken whose owner may change it before it is encoded, perhaps again.
_COPIES: dict[type, Callable[[Any], Any]] = {
    list: lambda values: list(map(_taken, values)),
    tuple: lambda values: tuple(map(_taken, values)),
    dict: lambda values: {key: _taken(value) for key, value in values.items()},
    bytearray: bytes,
    memoryview: bytes,
}


def _taken(value: Any) -> Any:
    """An argument as it is now."""
    copy = _COPIES.get(type(value))
    return value if copy is None else copy(value)


class Pipeline:
    """Statements queued by plain calls; made by `Connection.pipeline`.

    Example:
        >>> async with conn.pipeline() as p:
        ...     user = p.fetchrow("SELECT * FROM users WHERE id = $1", 7)
        ...     p.execute("UPDATE users SET seen = now() WHERE id = $1", 7)
        >>> (await user)["name"]
        'Ann'
    """

    __slots__ = (
        "_connection",
        "_context",
        "_driver",
        "_epoch",
        "_failures",
        "_group",
        "_idle",
        "_in_flight",
        "_is_grouped",
        "_is_open",
        "_queue",
        "_session",
        "_stale",
        "_timeout",
        "_turn",
    )

    def __init__(
        self, connection: Connection, barrier: Barrier, timeout: float | None
    ) -> None:
        if barrier not in ("statement", "group"):
            raise ValueError(
                f'barrier is expected to be "statement" or "group", got {barrier!r}'
            )
        if timeout is None:
            timeout = connection._command_timeout
        self._timeout = None if timeout is None else check_timeout(timeout)
        self._connection = connection
        self._session: WireProtocol = connection._session
        self._epoch = self._session.epoch
        self._is_grouped = barrier == "group"
        self._is_open = False
        self._group: list[Reply[Any]] = []  # up to the next sync
        self._queue: deque[_Unit] = deque()  # not sent yet
        self._in_flight: dict[QueryOp, _Unit] = {}
        self._stale: list[tuple[_Unit, QueryOp, PostgresError]] = []
        self._failures: list[_Failure] = []
        self._driver: asyncio.Task[None] | None = None
        self._turn: Turn | None = None
        self._idle: Waiter | None = None
        self._context = contextvars.copy_context()  # of who queues, for the callbacks

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise InterfaceError("the pipeline is entered already")
        self._session.ensure_open()
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self._finish()
        finally:
            self._is_open = False
            if self._group or not self._is_idle():
                await self._abandon()
        if kind is not None:
            return
        for failure in self._failures:
            if not failure.is_seen:
                failure.is_seen = True
                try:
                    raise failure.error
                finally:
                    del failure, error

    # -- what is queued ----------------------------------------------------------------

    @overload
    def fetch(
        self,
        query: str,
        *args: Any,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> Reply[list[Record]]: ...
    @overload
    def fetch(self, query: str, *args: Any, into: Shape[Row]) -> Reply[list[Row]]: ...
    def fetch(
        self,
        query: str,
        *args: Any,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> Reply[Any]:
        """Queue a query; its reply is the list of rows, as of `Connection.fetch`.

        Args:
            query: one SQL statement.
            args: its arguments.
            record_class: of the rows.
            into: what a row becomes instead.
        """
        return self._add(query, args, ROWS, 0, row_shape(record_class, into))

    @overload
    def fetchrow(
        self,
        query: str,
        *args: Any,
        record_class: type[Record] | None = None,
        into: None = None,
    ) -> Reply[Record | None]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, into: Shape[Row]
    ) -> Reply[Row | None]: ...
    def fetchrow(
        self,
        query: str,
        *args: Any,
        record_class: type[Record] | None = None,
        into: Any = None,
    ) -> Reply[Any]:
        """Queue a query; its reply is the first row or None."""
        return self._add(query, args, ROW, 0, row_shape(record_class, into))

    def fetchval(self, query: str, *args: Any, column: int | str = 0) -> Reply[Any]:
        """Queue a query; its reply is a value of the first row or None."""
        if type(column) is int and column >= 0:
            return self._add(query, args, VALUE, column, None)
        return self._add(query, args, ROW, column, None)

    def execute(self, query: str, *args: Any) -> Reply[str]:
        """Queue one statement; its reply is the command tag, such as "UPDATE 1"."""
        return self._add(query, args, STATUS, 0, None)

    def sync(self) -> None:
        """End the group: what is queued from now on has another fate.

        Does nothing where each statement is by itself. So do awaiting a reply, `flush`
        and a transaction block that begins or ends: they end the group too.
        """
        if self._group:
            group, self._group = self._group, []
            self._session.open_groups.pop(self, None)
            self._submit(_Unit(group))

    async def flush(self) -> None:
        """Wait until everything that was queued is sent; an open group ends.

        A loop that queues without end awaits it now and then, so that it is not faster
        than the server reads.
        """
        self.sync()
        while self._driver is not None:
            await asyncio.wait([self._driver])
        await self._session.gate.wait_writable()

    def _add(
        self,
        query: str,
        args: tuple[Any, ...],
        want: int,
        column: int | str,
        shape: Any,
    ) -> Reply[Any]:
        if not self._is_open:
            raise InterfaceError(
                "cannot queue a statement: the pipeline is used in its "
                "`async with` block only"
            )
        check_query(query)
        self._connection._session.ensure_open()
        if not _COPIES.keys().isdisjoint(map(type, args)):
            args = tuple(map(_taken, args))
        reply: Reply[Any] = Reply(self, query, args, want, column, shape)
        if self._is_grouped:
            self._group.append(reply)
            self._session.open_groups[self] = self.sync
        else:
            self._submit(_Unit([reply]))
        return reply

    # -- sending -----------------------------------------------------------------------

    def _submit(self, unit: _Unit) -> None:
        """Send a unit now if that is possible, otherwise in its turn."""
        session = self._session
        if session.epoch != self._epoch:
            error = InterfaceError(
                "cannot go on: the underlying connection has been released back to the "
                "pool"
            )
            self._fail(unit, error, None)
            return
        is_free = self._driver is None and session.is_ready
        if not is_free or session.codecs.wants or not self._send_known(unit):
            self._queue.append(unit)
            self._drive()

    def _send_known(self, unit: _Unit) -> bool:
        """Send a unit if none of its statements has to be described."""
        if len(unit.replies) == 1:
            return self._send_one(unit)
        session = self._session
        found: dict[str, Statement | Exception] = {}
        for reply in unit.replies:
            statement = known_statement(session, reply.query)
            if statement is None or not fits(session, statement, reply.shape):
                return False
            found[reply.query] = statement
        return self._send(unit, found)

    def _send_one(self, unit: _Unit) -> bool:
        """Send a cached statement by itself, as `Connection.fetch` does."""
        (reply,) = unit.replies
        try:
            op = start_query(
                self._session,
                reply.query,
                reply.args,
                reply.want,
                reply.request_column,
                self._timeout,
                reply.shape,
            )
        except Exception as error:
            self._fail(unit, error, None)
            return True
        if op is None:
            return False
        self._sent(unit, op)
        return True

    def _sent(self, unit: _Unit, op: QueryOp) -> None:
        if self._connection._observers.query:
            unit.started = monotonic()
        self._in_flight[op] = unit
        op.add_done_callback(self._ended, context=self._context)

    def _drive(self) -> None:
        """Have a task send what is queued; it stands in line from now on."""
        if self._driver is None:
            try:
                self._turn = Turn(self._session).join()
            except InterfaceError as error:
                self._fail_queued(error)
                return
            self._driver = self._session.loop.create_task(self._send_queued())
            self._driver.add_done_callback(self._driven)

    async def _send_queued(self) -> None:
        assert self._turn is not None
        try:
            async with asyncio.timeout(self._timeout) as limit, self._turn:
                while self._queue:
                    await unblocked(self._session)
                    await self._send_described()
                    if self._timeout is not None:  # from now on for what is left
                        limit.reschedule(self._session.loop.time() + self._timeout)
        except Exception as error:
            self._fail_queued(error)
        finally:
            self._end_driving()

    def _driven(self, task: asyncio.Task[None]) -> None:
        """The task has ended; if it was called off before it began, end for it."""
        if task is self._driver:
            self._end_driving()

    def _end_driving(self) -> None:
        """Nobody sends any more: leave the line; nothing is left behind."""
        assert self._turn is not None
        self._turn.leave()
        self._driver = self._turn = None
        self._fail_queued(InterfaceError("sending what was queued was called off"))
        self._see_idle()

    async def _send_described(self) -> None:
        """Describe all that is queued, and send it up to what has to wait."""
        session = self._session
        queue = self._queue
        found = await statements_for(
            session,
            [(reply.query, reply.shape) for unit in queue for reply in unit.replies],
        )
        is_first = True
        while queue and all(sql in found for sql in queue[0].texts):
            unit = queue[0]
            is_bad = any(isinstance(found[sql], Exception) for sql in unit.texts)
            if not is_first and (is_bad or session.gate.blocked):
                break  # until what was sent just now has been done
            queue.popleft()
            if not self._send(unit, found):
                queue.appendleft(unit)
                break
            is_first = False

    def _send(self, unit: _Unit, found: dict[str, Statement | Exception]) -> bool:
        """Send a unit, whose statements are known, or fail it; False to describe it."""
        requests = []
        for index, reply in enumerate(unit.replies):
            statement = found[reply.query]
            if isinstance(statement, Exception):
                self._fail(unit, statement, index)
                return True
            requests.append(
                (statement, reply.args, reply.want, reply.request_column, reply.shape)
            )
        deadline = 0.0
        if self._timeout is not None:
            deadline = self._session.loop.time() + self._timeout
        try:
            op = start_group(self._session, requests, deadline)
        except Exception as error:
            self._fail(unit, error, getattr(error, "batch_index", None))
            return True
        if op is not None:
            self._sent(unit, op)
        return op is not None

    # -- answers -----------------------------------------------------------------------

    def _ended(self, op: QueryOp) -> None:
        """A unit has its answer."""
        unit = self._in_flight.pop(op, None)
        if unit is None:
            return  # it was called off
        error = op.exception()
        if error is None:
            if self._stale and not _only_reads(
                unit, *(each[0] for each in self._stale)
            ):
                self._fail_stale()
            self._settle(unit, op)
        elif (
            isinstance(error, PostgresError)
            and error.sqlstate in HEALABLE
            and unit.attempts < ATTEMPTS
        ):
            self._stale.append((unit, op, error))
        else:
            self._fail(unit, error, getattr(error, "batch_index", None))
        if not self._in_flight:
            if self._stale:
                self._repeat_stale()
            if self._idle is not None and self._is_idle():
                self._idle.set_result_now(None)  # a turn of the loop less

    def _settle(self, unit: _Unit, op: QueryOp) -> None:
        """Hand out the answers of a unit; those that cannot be read are errors."""
        answers, unread = [op.result()], {}
        if isinstance(op, GroupOp):
            (answers,), unread = answers, op.unread or {}
        for index, (reply, answer) in enumerate(
            zip(unit.replies, answers, strict=True)
        ):
            error: BaseException | None = unread.get(index)
            if error is None:
                try:
                    reply.settle(answer)
                except (LookupError, TypeError) as wrong_column:
                    error = wrong_column
            if error is not None:
                self._fail_one(reply, error)
            self._tell(unit, reply)

    def _fail(self, unit: _Unit, error: BaseException, index: int | None) -> None:
        """Fail a unit: the statement at `index` with the error, the others because."""
        failure = _Failure(error)
        self._failures.append(failure)
        if index is None or len(unit.replies) == 1:
            for reply in unit.replies:
                reply.fail(error, failure)
        else:
            for position, reply in enumerate(unit.replies):
                reply.fail(
                    error if position == index else _aborted(error, index), failure
                )
        if isinstance(error, PostgresError) and error.query is None:
            error.query = unit.replies[index or 0].query
        for reply in unit.replies:
            self._tell(unit, reply)

    def _fail_one(self, reply: Reply[Any], error: BaseException) -> None:
        failure = _Failure(error)
        self._failures.append(failure)
        reply.fail(error, failure)

    def _fail_queued(self, error: Exception) -> None:
        """Nothing of what is queued can be sent."""
        while self._queue:
            self._fail(self._queue.popleft(), error, None)
        self._see_idle()

    def _fail_stale(self) -> None:
        """Something behind them has run: they cannot be repeated any more."""
        stale, self._stale = self._stale, []
        for unit, _, error in stale:
            self._fail(unit, error, error.batch_index)

    def _repeat_stale(self) -> None:
        """Nothing is in flight: send again what can be healed, ahead of the others."""
        stale, self._stale = self._stale, []
        again = []
        for unit, op, error in stale:
            is_ours = self._session.epoch == self._epoch and self._is_open
            if is_ours and heal_group(self._session, unit.texts, op, error):
                unit.attempts += 1
                again.append(unit)
            else:
                self._fail(unit, error, error.batch_index)
        self._queue.extendleft(reversed(again))
        if again:
            self._drive()

    def _tell(self, unit: _Unit, reply: Reply[Any]) -> None:
        """Tell the query loggers of a statement that has ended.

        It may be in the middle of reading, and others wait for the end of the pipeline:
        what goes wrong here stays here.
        """
        if not self._connection._observers.query:
            return
        try:
            self._connection._tell_query(
                reply.query, reply.args, self._timeout, unit.started, reply._error
            )
        except Exception as error:
            self._session.loop.call_exception_handler(
                {"message": "a query logger was not told", "exception": error}
            )

    # -- the end -----------------------------------------------------------------------

    def _see_idle(self) -> None:
        if self._idle is not None and self._is_idle():
            self._idle.set_result(None)

    def _is_idle(self) -> bool:
        return not (self._queue or self._in_flight or self._stale or self._driver)

    async def _finish(self) -> None:
        """Send everything and wait for all answers."""
        self.sync()
        while not self._is_idle():
            self._idle = Waiter(self._session.loop)
            await self._idle

    async def _abandon(self) -> None:
        """Settle what is left: drop what is not sent, call off what is."""
        self._session.open_groups.pop(self, None)
        unsent = [*self._queue, _Unit(self._group)]
        self._queue.clear()
        self._group = []
        for unit in unsent:
            for reply in unit.replies:
                error = InterfaceError("the pipeline was left before this was sent")
                reply.fail(error, _Failure(error))
        in_flight, self._in_flight = self._in_flight, {}
        self._fail_stale()
        for op, unit in in_flight.items():
            left = dropped("the pipeline was left before the answer was there")
            for reply in unit.replies:
                reply.fail(left, _Failure(left))
            op.cancel()
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.wait([self._driver])


def _aborted(error: BaseException, index: int) -> PipelineAbortedError:
    """The error of a statement whose group has failed by another one's."""
    aborted = PipelineAbortedError(
        f"nothing of the statement's group has taken effect: statement #{index} of it "
        "has failed"
    )
    aborted.__cause__ = error
    aborted.batch_index = index
    aborted.kind = getattr(error, "kind", aborted.kind)
    aborted.outcome = getattr(error, "outcome", aborted.outcome)
    return aborted


class Pipelined:
    """The part of `Connection` that makes pipelines."""

    __slots__ = ()

    def pipeline(
        self, *, barrier: Barrier = "statement", timeout: float | None = None
    ) -> Pipeline:
        """Return a pipeline, to be used in `async with`.

        Its `fetch`, `fetchrow`, `fetchval` and `execute` are plain calls: they queue a
        statement, which is sent as soon as the connection takes it, and return a reply
        to be awaited. Arguments count as they are when it is queued, but for objects of
        other classes than Python's own, which must not change until the reply is there.

        The end of the block waits for all of them, and raises the first error that
        nobody has been told. If the block is left by an exception, what is not sent is
        dropped and the server is told to stop what is under way, of which some may have
        taken effect.

        Args:
            barrier: "statement" if each statement is by itself; "group" if those up to
                the next `sync` are all or nothing.
            timeout: seconds for each statement or group from when it is sent, and for
                describing those that are new; the connection's `command_timeout` if
                None.

        Example:
            >>> async with conn.pipeline() as p:
            ...     replies = [p.fetchval("SELECT $1::int", n) for n in range(1000)]
            >>> sum([await reply for reply in replies])
            499500

        Source: PostgreSQL documentation, "Pipelining".
        """
        return Pipeline(cast("Connection", self), barrier, timeout)


class PoolPipelined:
    """The part of `Pool` that makes pipelines."""

    __slots__ = ()

    if TYPE_CHECKING:
        acquire: Callable[..., contextlib.AbstractAsyncContextManager[Connection]]

    @contextlib.asynccontextmanager
    async def pipeline(
        self, *, barrier: Barrier = "statement", timeout: float | None = None
    ) -> AsyncIterator[Pipeline]:
        """A pipeline on a connection of its own; see `Connection.pipeline`.

        Args:
            barrier: as for `Connection.pipeline`.
            timeout: seconds to wait for a connection.

        Example:
            >>> async with pool.pipeline() as p:
            ...     one, two = p.fetchval("SELECT 1"), p.fetchval("SELECT 2")
        """
        async with (
            self.acquire(timeout=timeout) as connection,
            connection.pipeline(barrier=barrier) as pipeline,
        ):
            yield pipeline
