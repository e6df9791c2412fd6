"""Transaction blocks and savepoints.

Owns: `Transaction`: when BEGIN, SAVEPOINT and their ends are sent, and whether at all.
Layer L5. Imports L0, L3 and L4.

Rules
- BEGIN and SAVEPOINT wait for the first statement and ride ahead of it, in its group:
  no round trip of their own, and if they fail the statement does not run. A block in
  which nothing was sent sends nothing. RELEASE SAVEPOINT rides on what comes next.
- What was called before a block begins or ends is sent before: BEGIN rides on none of
  it, and it is part of the block that ends.
- Whether there is anything to commit or to roll back is what the server said last
  (ReadyForQuery), never a count kept here. A connection whose ROLLBACK failed is
  closed.

Source: PostgreSQL documentation, "BEGIN", "SAVEPOINT", "Transaction Isolation".
"""

from __future__ import annotations

import enum
import itertools
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from chopin._execute import calls_sent, fetch_value, unblocked
from chopin._ops import start_sync
from chopin._released import check_held
from chopin.exceptions import (
    InterfaceError,
    InterfaceWarning,
    InvalidSavepointSpecificationError,
    PostgresError,
)

if TYPE_CHECKING:
    from chopin.connection import Connection

Isolation = Literal[
    "read_committed", "read_uncommitted", "repeatable_read", "serializable"
]

ISOLATION_LEVELS = {
    "read_committed": "READ COMMITTED",
    "read_uncommitted": "READ UNCOMMITTED",
    "repeatable_read": "REPEATABLE READ",
    "serializable": "SERIALIZABLE",
}

_numbers = itertools.count(1)


class TransactionState(enum.Enum):
    """Where a transaction is in its life."""

    NEW = 0
    STARTED = 1
    COMMITTED = 2
    ROLLEDBACK = 3
    FAILED = 4


class Transaction:
    """A transaction block, or a savepoint inside of one; made by `transaction()`.

    Use it as `async with`, which commits, or rolls back on an exception; or call
    `start`, and `commit` or `rollback`.

    Example:
        >>> async with conn.transaction(isolation="serializable"):
        ...     await conn.execute("INSERT INTO t VALUES (1)")
    """

    __slots__ = (
        "_begin",
        "_conn",
        "_deferrable",
        "_id",
        "_isolation",
        "_managed",
        "_nested",
        "_readonly",
        "_state",
    )

    def __init__(
        self,
        connection: Connection,
        isolation: Isolation | None,
        readonly: bool,
        deferrable: bool,
    ) -> None:
        if isolation is not None and isolation not in ISOLATION_LEVELS:
            raise ValueError(
                f"isolation is expected to be either of {set(ISOLATION_LEVELS)}, got "
                f"{isolation!r}"
            )
        self._conn = connection
        self._isolation = isolation
        self._readonly = readonly
        self._deferrable = deferrable
        self._state = TransactionState.NEW
        self._managed = False
        self._nested = False
        self._id = ""
        self._begin = ""

    @property
    def is_managed(self) -> bool:
        """Whether an `async with` block will end it."""
        return self._managed

    @property
    def is_rolled_back(self) -> bool:
        """Whether nothing of it was kept: it was rolled back, by whomever."""
        return self._state is TransactionState.ROLLEDBACK

    def __repr__(self) -> str:
        modes = [
            self._isolation or "",
            "readonly" if self._readonly else "",
            "deferrable" if self._deferrable else "",
        ]
        shown = " ".join([f"state:{self._state.name.lower()}", *filter(None, modes)])
        return f"<chopin.Transaction {shown} {id(self):#x}>"

    async def __aenter__(self) -> None:
        if self._managed:
            raise InterfaceError(
                "cannot enter context: already in an `async with` block"
            )
        self._managed = True
        await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._check("exit")
        except InterfaceError:
            # a generator that is being closed exits a block that was ended already
            if kind is GeneratorExit:
                return
            raise
        try:
            if kind is None:
                await self._commit()
            else:
                await self._rollback()
        except InvalidSavepointSpecificationError:
            # SAVEPOINT has not been run, for the reason that `error` has
            if error is None:
                raise
        finally:
            self._managed = False

    async def start(self) -> None:
        """Begin the block: what follows on the connection is part of it.

        Raises:
            InterfaceError: it was started before; a block was opened by hand; the
                isolation differs from that of the block around.
        """
        check_held(self._conn, "Transaction.start")
        if self._state is TransactionState.STARTED:
            raise InterfaceError("cannot start; the transaction is already started")
        self._check_not_ended("start")
        conn = self._conn
        session = conn._session
        session.ensure_open()
        await calls_sent(session)
        check_held(conn, "Transaction.start")
        outer = conn._top_xact
        if outer is None and (session.gate.is_draining or session.restoring):
            await unblocked(session)  # a cancelled COMMIT, say, may not have ended yet
            if session.restoring and session.transaction_status != "I":
                await start_sync(session)  # its ROLLBACK is on its way
            check_held(conn, "Transaction.start")  # a pool may have it by now
        if outer is None:
            if session.transaction_status in ("T", "E"):
                raise InterfaceError(
                    "cannot use Connection.transaction() in a manually started "
                    "transaction"
                )
            conn._top_xact = self
            self._begin = self._begin_sql()
        else:
            await self._check_isolation(outer)
            check_held(conn, "Transaction.start")
            self._nested = True
            self._id = f"chopin_savepoint_{next(_numbers)}"
            self._begin = f"SAVEPOINT {self._id}"
        session.riders.append(self._begin)
        self._state = TransactionState.STARTED

    def _begin_sql(self) -> str:
        words = ["BEGIN"]
        if self._isolation:
            words.append(f"ISOLATION LEVEL {ISOLATION_LEVELS[self._isolation]}")
        if self._readonly:
            words.append("READ ONLY")
        if self._deferrable:
            words.append("DEFERRABLE")
        return " ".join(words)

    async def _check_isolation(self, outer: Transaction) -> None:
        if self._isolation is None or self._isolation == outer._isolation:
            return
        current = outer._isolation
        if current is None:
            shown = await fetch_value(self._conn._session, "SHOW transaction_isolation")
            current = shown.replace(" ", "_")
            outer._isolation = current
        if self._isolation != current:
            raise InterfaceError(
                "nested transaction has a different isolation level: "
                f"current {self._isolation!r} != outer {current!r}"
            )

    async def commit(self) -> None:
        """Commit the block, or release the savepoint.

        Raises:
            InterfaceError: it is not started, or an `async with` block ends it.
            PostgresError: the server cannot commit (deferred constraints, conflicts).
        """
        if self._managed:
            raise InterfaceError(
                "cannot manually commit from within an `async with` block"
            )
        self._check("commit")
        await self._commit()

    async def rollback(self) -> None:
        """Roll the block back, or to the savepoint.

        Raises:
            InterfaceError: it is not started, or an `async with` block ends it.
        """
        if self._managed:
            raise InterfaceError(
                "cannot manually rollback from within an `async with` block"
            )
        self._check("rollback")
        await self._rollback()

    async def _commit(self) -> None:
        await self._calls_sent()
        if self._leave_unsent():
            self._state = TransactionState.COMMITTED
            return
        session = self._conn._session
        self._leave()
        if self._nested and session.transaction_status == "T":
            session.riders.append(f"RELEASE SAVEPOINT {self._id}")
            self._state = TransactionState.COMMITTED
            return
        # Savepoints that wait for their release are released by the commit.
        session.riders.clear()
        sql = f"RELEASE SAVEPOINT {self._id}" if self._nested else "COMMIT"
        status = await self._finish(sql)
        self._state = TransactionState.COMMITTED
        if status == "ROLLBACK":
            self._state = TransactionState.ROLLEDBACK
            warnings.warn(
                InterfaceWarning(
                    "the transaction was rolled back instead of committed: a statement "
                    "of it had failed, and the error was swallowed"
                ),
                stacklevel=3,
            )

    async def _rollback(self) -> None:
        await self._calls_sent()
        if not self._leave_unsent():
            session = self._conn._session
            self._leave()
            session.riders.clear()
            is_over = session.transaction_status == "I" and not session.in_flight
            if session.is_open and not is_over:
                sql = f"ROLLBACK TO {self._id}" if self._nested else "ROLLBACK"
                await self._finish(sql)
        if not self._nested:
            self._conn._top_xact = None
        self._state = TransactionState.ROLLEDBACK

    async def _calls_sent(self) -> None:
        """Wait until what was called in the block is sent, ahead of its end."""
        try:
            await calls_sent(self._conn._session)
        except BaseException:
            # what waits to be sent would run outside of the block
            self._conn._top_xact = None
            self._state = TransactionState.FAILED
            self._conn.terminate()
            raise

    def _leave(self) -> None:
        """Nothing that was sent so far is run again, nor is its BEGIN."""
        session = self._conn._session
        session.ended_with = session.submitted
        if not self._nested:
            session.left_with = session.submitted
            if session.closes:  # cursors end with their block
                session.closes[:] = [c for c in session.closes if c.startswith(b"S")]

    def _leave_unsent(self) -> bool:
        """Take the block's begin back if nothing has ridden on it yet."""
        session = self._conn._session
        pending = session.riders
        if self._begin not in pending:
            return False
        del pending[pending.index(self._begin) :]
        if not self._nested:
            self._conn._top_xact = None
        return True

    async def _finish(self, sql: str) -> str:
        """Send what ends the block; the connection does not outlive its failure."""
        conn = self._conn
        if not self._nested:
            conn._top_xact = None
        try:
            return await conn.execute(sql)
        except PostgresError:
            self._state = TransactionState.FAILED
            # a nested block leaves the one around it failed, which refuses what comes
            if not self._nested and conn._session.transaction_status != "I":
                conn._session.restore()
            raise
        except BaseException:
            # cancelled or timed out: nobody can say what the server has made of it
            self._state = TransactionState.FAILED
            if self._nested:
                conn.terminate()
            else:
                conn._session.restore()
            raise

    def _check(self, operation: str) -> None:
        check_held(self._conn, f"Transaction.{operation}")
        if self._state is TransactionState.NEW:
            raise InterfaceError(
                f"cannot {operation}; the transaction is not yet started"
            )
        self._check_not_ended(operation)

    def _check_not_ended(self, operation: str) -> None:
        words = {
            TransactionState.COMMITTED: "already committed",
            TransactionState.ROLLEDBACK: "already rolled back",
            TransactionState.FAILED: "in error state",
        }
        word = words.get(self._state)
        if word is not None:
            raise InterfaceError(f"cannot {operation}; the transaction is {word}")
