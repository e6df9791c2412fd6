"""The long way of a call: waiting for its turn, preparing, healing.

Owns: what happens when `start_query` could not send a statement at once, what is done
about errors that the caller need not see, and `within`, the time-out that may be none.
Layer L4. Imports L0, L3 and introspect.

Rules
- The short way is `start_query` and one await, in the methods of `Connection`.
  Everything here may await more than once; a cancellation at any of them leaves the
  session usable.
- The first use of a text is described in a round trip of its own, unless it has no
  parameters and some session of the pool has described it before, or it is not to be
  kept on the server; then Parse, Describe, Bind and Execute go together. A text with
  parameters is described in each session that keeps it: the types that another one was
  told, before somebody's ALTER TABLE, could make the server lose a part of a value.
- An error is healed only if nothing of the statement can have taken effect: outside of
  a block its failure has undone it, and in a block only if it was the block's first
  statement, so that both can be done again. What is healed: a cached plan that no
  longer fits the schema, a prepared statement that a pooler has not got here or has got
  already, and a late cancellation that was meant for the operation ahead.

Source: PostgreSQL documentation, "Extended Query", "Pipelining".
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from chopin import _statements, introspect
from chopin._ops import (
    STREAM,
    VALUE,
    fits,
    is_behind,
    known_statement,
    start_cached,
    start_own,
    start_parse_and_execute,
    start_prepare,
    start_sync,
)
from chopin._outcomes import begun_block, may_commit
from chopin._protocol import Statement
from chopin._simple import SimpleOp
from chopin._streams import NOTHING
from chopin.exceptions import (
    InterfaceError,
    InvalidCachedStatementError,
    PostgresError,
)

if TYPE_CHECKING:
    from chopin._copy import CopyInOp
    from chopin._ops import PrepareOp, QueryOp, RowsOp
    from chopin._protocol import Op, Session
    from chopin._rows import Description
    from chopin._waiter import Waiter
    from chopin.aio import WireProtocol

_LeavableOp = TypeVar("_LeavableOp", bound="RowsOp | CopyInOp")

ATTEMPTS = 3

# SQLSTATEs that may be healed; everything else is raised at once.
_STALE_PLAN = "0A000"
_INTERNAL = "XX000"
_NO_STATEMENT = "26000"
_STATEMENT_EXISTS = "42P05"
_CANCELED = "57014"
_is_plain = re.compile(
    r"\s*(?:select|insert|update|delete|merge|values|table|with)\b", re.IGNORECASE
).match
_names_statements = re.compile(
    r"\b(?:execute|deallocate|prepare)\b", re.IGNORECASE
).search
HEALABLE = frozenset(
    {_STALE_PLAN, _INTERNAL, _NO_STATEMENT, _STATEMENT_EXISTS, _CANCELED}
)


class Turn:
    """`async with Turn(session):` it is this call's turn to send.

    Calls are sent in the order in which they were made. Leave the block when the last
    message group is sent, and await its answer outside.

    Raises:
        InterfaceError: the session is closed.
    """

    __slots__ = ("_session", "_ticket")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ticket: Waiter | None = None

    def join(self) -> Self:
        """Stand in line from now on, before the block is entered; then `leave` is due.

        Raises:
            InterfaceError: the session is closed.
        """
        self._session.ensure_open()
        self._session.gate.ensure_free()
        check_feeder(self._session)
        self._ticket = self._session.gate.join()
        return self

    def leave(self) -> None:
        """Let the next one have its turn; nothing happens the second time."""
        if self._ticket is not None:
            ticket, self._ticket = self._ticket, None
            self._session.gate.leave(ticket)

    async def __aenter__(self) -> None:
        session = self._session
        if self._ticket is None:
            self.join()
        assert self._ticket is not None
        try:
            await self._ticket
            session.gate.enter()
            await unblocked(session)
            if session.codecs.wants:
                await _learn_again(session)
        except BaseException:
            self.leave()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        self.leave()


class _NoLimit:
    """Any time may pass, which `asyncio.timeout(None)` says at length."""

    __slots__ = ()

    def __aenter__(self) -> Awaitable[None]:
        return NOTHING

    def __aexit__(self, *exc_info: object) -> Awaitable[None]:
        return NOTHING


_NO_LIMIT = _NoLimit()


def within(timeout: float | None) -> _NoLimit | asyncio.Timeout:
    """`asyncio.timeout` where there is a time-out in seconds."""
    return _NO_LIMIT if timeout is None else asyncio.timeout(timeout)


def check_query(query: object) -> None:
    """TypeError unless the text of a query is one."""
    if not isinstance(query, str):
        raise TypeError(f"query is expected to be a str, got {type(query).__name__}")


def check_feeder(session: Session) -> None:
    """Refuse a call of the iterator that feeds an execute-many: it would wait for it.

    Raises:
        InterfaceError: that is so.
    """
    if session.feeder is not None and session.feeder is asyncio.current_task():
        raise InterfaceError(
            "cannot use the connection in the iterator whose rows executemany() sends "
            "on it",
            hint="Fetch what it needs first, or use another connection.",
        )


async def run_query(
    session: Session,
    sql: str,
    args: tuple[Any, ...],
    want: int,
    column: int = 0,
    shape: Any = None,
) -> Any:
    """Run a statement whatever it takes; arguments as of `start_query`."""
    epoch = session.epoch
    for attempt in range(ATTEMPTS):
        op: Op | None = None
        try:
            op = await _send(session, sql, args, want, column, shape)
            return await (begun(op, op.flow.wait()) if want == STREAM else op)
        except PostgresError as error:
            if attempt + 1 == ATTEMPTS or session.epoch != epoch:
                raise
            if not heal(session, sql, op, error):
                raise
    raise AssertionError("the last attempt returns or raises")


async def begun(op: _LeavableOp, signal: Waiter) -> _LeavableOp:
    """Wait until a stream or a COPY has begun, or has ended; return it.

    Args:
        op: what was sent; it is left if nobody waits for it any more.
        signal: ends then.

    Raises what it has ended with.
    """
    try:
        await signal
    except BaseException:
        op.leave()
        raise
    if op.done() and op.exception() is not None:
        await op
    return op


async def fetch_value(session: Session, sql: str, *args: Any) -> Any:
    """The first value of the first row, for statements of our own."""
    return await run_query(session, sql, args, VALUE)


async def _send(
    session: Session,
    sql: str,
    args: tuple[Any, ...],
    want: int,
    column: int,
    shape: Any,
) -> QueryOp:
    """Send the statement in its turn."""
    async with Turn(session):
        if want == STREAM:
            await alone(session)
        return await _send_now(session, sql, args, want, column, shape)


async def _send_now(
    session: Session,
    sql: str,
    args: tuple[Any, ...],
    want: int,
    column: int = 0,
    shape: Any = None,
) -> QueryOp:
    """Send the statement, described and prepared as need be, for who has the turn."""
    while True:
        op = start_cached(session, sql, args, want, column, shape)
        if op is not None:
            return op
        description = session.descriptions.get(sql)
        if description is None or description.parameter_oids:
            description = await _describe(session, sql)
            op = start_cached(session, sql, args, want, column, shape)
            if op is not None:
                return op
            name = b""
        else:
            await learn_types(session, description)
            op = start_cached(session, sql, args, want, column, shape)
            if op is not None:
                return op
            name = _statements.statement_name(sql)
        if description is not None:
            statement = Statement(session, sql, name, description)
            return start_parse_and_execute(
                session, statement, args, want, column, shape
            )


async def _describe(session: Session, sql: str) -> Description | None:
    """Have the server describe the text, under a name where it is to be cached.

    Returns None if that has failed for a reason that is removed now.
    """
    keep = _statements.is_admitted(session, sql)
    name = _statements.statement_name(sql) if keep else b""
    op = start_prepare(session, sql, name, keep)
    try:
        statement = await op
    except PostgresError as error:
        if error.sqlstate not in (_STATEMENT_EXISTS, _CANCELED):
            raise
        if not heal(session, sql, op, error):
            raise
        await unblocked(session)
        return None
    await unblocked(session)
    description: Description = statement.description
    await learn_types(session, description)
    return description


async def learn_types(session: Session, description: Description) -> None:
    """Ask the catalog for the types of a statement that are not known yet."""
    unknown = introspect.unknown_types(session.codecs, description)
    if unknown:
        await _learn(session, unknown)


async def _learn(session: Session, asked: list[int]) -> None:
    """Take in what the catalog says of types, for who has the turn.

    It is one flight, for which nothing need be described or kept on the server, and
    another one for what records may hold.
    """
    oids = [oid for oid in asked if oid not in introspect.RECORDS]
    if oids:
        op = start_own(session, introspect.BY_OID, (introspect.OIDS,), (oids,))
        types = introspect.found(await op)
        missing = introspect.missing(types, oids)
        if missing and session.transaction_status != "I":
            # The snapshot of a block may be older than a type: ask again after it.
            session.codecs.want([each.oid for each in missing])
            missing = []
        await unblocked(session)
        session.codecs.learn([*types, *missing])
    if len(oids) < len(asked):
        types = introspect.found(await start_own(session, introspect.OF_USERS, (), ()))
        await unblocked(session)
        session.codecs.learn([*types, introspect.RECORD])


async def _learn_again(session: Session) -> None:
    """Ask for types that may have been altered, or were met inside of a record.

    In a failed transaction nothing can be asked: somebody does it later.
    """
    if session.transaction_status == "E":
        return
    wanted = session.codecs.take_wanted()
    session.codecs.want(wanted)  # by all sessions, until they are learnt
    try:
        await _learn(session, wanted)
    except PostgresError:
        await unblocked(session)


async def prepare(session: Session, sql: str, name: bytes) -> Statement:
    """A statement that the caller holds, with codecs for all its types."""
    async with Turn(session):
        for attempt in range(ATTEMPTS):
            op = start_prepare(session, sql, name, False)
            try:
                statement = await op
                break
            except PostgresError as error:
                if attempt + 1 == ATTEMPTS or not was_hit(session, sql, op, error):
                    raise
                await unblocked(session)
        await unblocked(session)
        await learn_types(session, statement.description)
    return statement


async def unblocked(session: Session) -> None:
    """Wait until the session takes messages again, for who has the turn."""
    while session.gate.blocked:
        session.ensure_open()
        session.gate.ensure_free()
        await session.gate.wait_unblocked()


async def alone(session: Session) -> None:
    """Wait until no call is in flight, for who has the turn.

    For what cannot be run again once it has begun, because its rows were taken from the
    user or given to him: the request to cancel a call ahead of it could hit it.
    """
    if is_behind(session):
        await start_sync(session, takes_riders=False)
        await unblocked(session)


async def calls_sent(session: WireProtocol) -> None:
    """Wait until what was called before is sent; groups that are open end."""
    check_feeder(session)
    for end in list(session.open_groups.values()):
        end()
    if session.gate.line:
        with contextlib.suppress(InterfaceError):  # it is closed: nothing will be sent
            async with Turn(session):
                pass


async def statements_for(
    session: Session, wanted: Iterable[tuple[str, Any]]
) -> dict[str, Statement | Exception]:
    """A statement for each text, for who has the turn: described in one flight.

    It is the cached one, or one that is to be parsed in the caller's own group, or the
    error of its description. If its columns do not fit the shape that is wanted, they
    are those of today. Use the statements before anything else is awaited: what is kept
    in the cache may be closed then.

    Args:
        session: to ask on.
        wanted: texts, each with the shape of its rows.
    """
    found: dict[str, Statement | Exception] = {}
    asked: dict[str, PrepareOp] = {}
    again: list[tuple[str, Any]] = []
    for sql, shape in wanted:
        if sql in asked:
            continue
        statement = found.get(sql) or known_statement(session, sql)
        if isinstance(statement, Exception):
            continue
        if statement is not None and fits(session, statement, shape):
            found[sql] = statement
            continue
        keep = _statements.is_admitted(session, sql)
        name = _statements.statement_name(sql) if keep else b""
        try:
            asked[sql] = start_prepare(session, sql, name, keep)
        except (InterfaceError, ValueError) as error:
            found[sql] = error
    for sql, op in asked.items():
        try:
            found[sql] = await op
        except PostgresError as error:
            error.query = sql
            is_removed = error.sqlstate in (_STATEMENT_EXISTS, _CANCELED)
            if is_removed and heal(session, sql, op, error):
                again.append((sql, None))
            else:
                found[sql] = error
    if asked:
        await unblocked(session)
    if again:
        found |= await statements_for(session, again)
    for sql in asked:
        each = found[sql]
        if isinstance(each, Statement):
            await learn_types(session, each.description)
    return {sql: _unless_closed(session, each) for sql, each in found.items()}


def _unless_closed(
    session: Session, statement: Statement | Exception
) -> Statement | Exception:
    """An unnamed one for a statement that the cache has no room for."""
    if isinstance(statement, Statement) and statement.closed:
        return Statement(session, statement.sql, b"", statement.description)
    return statement


def heal(session: Session, sql: str, op: Op | None, error: PostgresError) -> bool:
    """Drop what `error` shows to be stale; whether `sql` may be run again.

    If so, the session has been made ready for it.
    """
    # a result that could not be read: the statement has run
    if error.outcome == "unknown" or not _invalidate(session, sql, op, error):
        return False
    if op is not None and op.number <= session.ended_with:
        return False  # the block that it was in has ended, or is about to
    block = begun_block(None if op is None else op.riders)
    status = session.transaction_status
    if status == "E" and block:
        session.riders.extend(("ROLLBACK", *block))
        return True
    return status == "I"


def was_hit(session: Session, sql: str, op: Op, error: PostgresError) -> bool:
    """`heal`, of nothing but a cancellation that was meant for the operation ahead."""
    return error.sqlstate == _CANCELED and heal(session, sql, op, error)


def heal_group(
    session: Session, texts: Sequence[str], op: Op | None, error: PostgresError
) -> bool:
    """`heal` for statements that were sent as one group, to be repeated as a whole.

    Who has altered the tables of one of them may have altered those of others: all of
    them are described again.
    """
    if error.sqlstate == _CANCELED and not all(map(_is_plain, texts)):
        return False
    sql = texts[0] if op is None or op.sql is None else op.sql
    if not heal(session, sql, op, error):
        return False
    if error.sqlstate in (_STALE_PLAN, _INTERNAL):
        for sql in texts:
            _statements.doubt(session, sql)
    return True


def _invalidate(
    session: Session, sql: str, op: Op | None, error: PostgresError
) -> bool:
    """Forget what the error says is no longer true; False if it says no such thing."""
    code = error.sqlstate
    if code == _CANCELED:
        # a statement that can commit by itself may have done so
        return (
            op is not None
            and op.bystander
            and _is_plain(sql) is not None
            # a part of a script may have run, and is undone with the rest of it
            and not (op.completed and may_commit(sql, False))
        )
    if code in (_NO_STATEMENT, _STATEMENT_EXISTS):
        if "chopin_" not in str(error) and (
            isinstance(op, SimpleOp) or _names_statements(sql)
        ):
            return False  # one of the user's own
        session.pooled = True
        _statements.lose_all(session)
        return True
    if isinstance(error, InvalidCachedStatementError) or (
        code == _INTERNAL and "cache lookup failed" in str(error)
    ):
        _statements.doubt(session, sql)
        return True
    return False
