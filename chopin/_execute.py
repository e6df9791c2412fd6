"""The long way of a call: waiting for its turn, preparing, healing.

Owns: what happens when `start_query` could not send a statement at once, and what is done
about errors that the caller need not see.
Layer L4. Imports L0, L3.

Rules
- The short way is `start_query` and one await, in the methods of `Connection`. Everything
  here may await more than once; a cancellation at any of them leaves the session usable.
- The first use of a text is described in a round trip of its own, unless some session of
  the pool has described it before; then Parse, Describe, Bind and Execute go together.
- An error is healed only if nothing of the statement can have taken effect: outside of a
  block its failure has undone it, and in a block only if it was the block's first
  statement, so that both can be done again. What is healed: a cached plan that no longer
  fits the schema, a prepared statement that a pooler has not got here or has got already,
  and a late cancellation that was meant for the operation ahead.

Source: PostgreSQL documentation, "Extended Query", "Pipelining".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chopin import _statements
from chopin._ops import (
    VALUE,
    start_parse_and_execute,
    start_prepare,
    start_query,
)
from chopin._protocol import Statement
from chopin._waiter import Waiter
from chopin.exceptions import InvalidCachedStatementError, PostgresError

if TYPE_CHECKING:
    from chopin._ops import QueryOp
    from chopin._protocol import Op, Session
    from chopin._rows import Record

_ATTEMPTS = 3

# SQLSTATEs that may be healed; everything else is raised at once.
_STALE_PLAN = "0A000"
_INTERNAL = "XX000"
_NO_STATEMENT = "26000"
_STATEMENT_EXISTS = "42P05"
_CANCELED = "57014"
HEALABLE = frozenset(
    {_STALE_PLAN, _INTERNAL, _NO_STATEMENT, _STATEMENT_EXISTS, _CANCELED}
)


async def wait_for_turn(session: Session) -> None:
    """Wait until the session takes operations.

    Raises:
        InterfaceError: it is closed.
    """
    while session.blocked:
        session.ensure_open()
        await session.wait_unblocked()
    session.ensure_open()


async def run_query(
    session: Session,
    sql: str,
    args: tuple[Any, ...],
    want: int,
    column: int = 0,
    record_class: type[Record] | None = None,
) -> Any:
    """Run a statement whatever it takes; arguments as of `start_query`."""
    for attempt in range(_ATTEMPTS):
        op: Op | None = None
        try:
            op = await _send(session, sql, args, want, column, record_class)
            return await op
        except PostgresError as error:
            if attempt + 1 == _ATTEMPTS or not heal(session, sql, op, error):
                raise
    raise AssertionError("the last attempt returns or raises")


async def fetch_value(session: Session, sql: str, *args: Any) -> Any:
    """The first value of the first row, for statements of our own."""
    return await run_query(session, sql, args, VALUE)


async def _send(
    session: Session,
    sql: str,
    args: tuple[Any, ...],
    want: int,
    column: int,
    record_class: type[Record] | None,
) -> QueryOp:
    """Send the statement, described and prepared as need be."""
    while True:
        await wait_for_turn(session)
        op = start_query(session, sql, args, want, column, None, record_class)
        if op is not None:
            return op
        waiters = session.preparing.get(sql)
        if waiters is not None:
            waiter = Waiter(session.loop)
            waiters.append(waiter)
            await waiter
            continue
        description = session.descriptions.get(sql)
        if description is None:
            await _prepare(session, sql)
            continue
        statement = Statement(
            session, sql, _statements.statement_name(sql), description
        )
        return start_parse_and_execute(
            session, statement, args, want, column, record_class
        )


async def _prepare(session: Session, sql: str) -> None:
    """Have the server describe the text, under a name where it is to be cached.

    Others that want the same text meanwhile wait for this one.
    """
    keep = _statements.is_admitted(session, sql) and not session.pooled
    name = _statements.statement_name(sql) if keep else b""
    waiters: list[Waiter] = []
    session.preparing[sql] = waiters
    try:
        await start_prepare(session, sql, name, keep)
    finally:
        del session.preparing[sql]
        for waiter in waiters:
            waiter.set_result(None)


async def cached_statement(session: Session, sql: str) -> Statement:
    """A statement for execute-many and cursors: named where it may be cached.

    Unnamed, it is only known as long as nothing else is parsed; the caller parses it
    again in its own group.
    """
    while True:
        await wait_for_turn(session)
        if not session.pooled:
            statement = session.statements.get(sql)
            if statement is not None:
                return statement
        description = session.descriptions.get(sql)
        is_named = _statements.is_admitted(session, sql) and not session.pooled
        if description is not None and not is_named:
            return Statement(session, sql, b"", description)
        waiters = session.preparing.get(sql)
        if waiters is not None:
            waiter = Waiter(session.loop)
            waiters.append(waiter)
            await waiter
        else:
            await _prepare(session, sql)


def heal(session: Session, sql: str, op: Op | None, error: PostgresError) -> bool:
    """Make the session ready to run `sql` again after `error`; False if that is wrong."""
    code = error.sqlstate
    riders = () if op is None else op.riders or ()
    status = session.transaction_status
    if status == "E":
        if not riders or not riders[0].startswith("BEGIN"):
            return False
    elif status != "I":
        return False
    if code == _CANCELED:
        if op is None or not op.bystander:
            return False
    elif code in (_NO_STATEMENT, _STATEMENT_EXISTS):
        session.pooled = True
        _statements.lose_all(session)
    elif isinstance(error, InvalidCachedStatementError) or (
        code == _INTERNAL and "cache lookup failed" in str(error)
    ):
        session.descriptions.pop(sql, None)
        _statements.forget(session, sql)
    else:
        return False
    if riders:
        if status == "E":
            session.add_rider("ROLLBACK")
        for rider in riders:
            session.add_rider(rider)
    return True
