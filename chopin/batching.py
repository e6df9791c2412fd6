"""Several statements in one call.

Owns: `batch` (different statements, one flight, all or nothing) and `script` (one text
with several statements, all of its results), for `Connection` and `Pool`.
Layer L5. Imports L0 - L4.

Rules
- A batch is one message group, hence an implicit transaction: its results are returned
  when it is committed, and an error has undone all of it.
- An error names the statement: `batch_index`, and a note.
- What heals for one statement heals for all: a batch is repeated as a whole.

Source: PostgreSQL documentation, "Pipelining", "Multiple Statements in a Simple Query".
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chopin._batch import GroupOp, Result, ScriptOp, start_group, start_results
from chopin._execute import ATTEMPTS, Turn, heal_group, statements_for
from chopin._ops import RESULT
from chopin._shapes import row_shape
from chopin.exceptions import PostgresError

if TYPE_CHECKING:
    from chopin._fitting import Shape
    from chopin._limited import Limited
    from chopin._protocol import Session
    from chopin._rows import Record
    from chopin.aio import WireProtocol
    from chopin.connection import Connection

#: A statement of a batch: its text, or the text and the arguments.
BatchStatement = str | Sequence[Any]

_Request = tuple[str, tuple[Any, ...]]
_OpT = TypeVar("_OpT", GroupOp, ScriptOp)
_TEXT_LENGTH = 60  # of a statement in a note; longer ones are cut


class Batched:
    """The part of `Connection` that runs several statements in one call."""

    __slots__ = ()

    _session: WireProtocol

    if TYPE_CHECKING:

        def _limited(self, query: str, args: Any, timeout: float | None) -> Limited: ...

    async def batch(
        self,
        statements: Iterable[BatchStatement],
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Shape[Any] | None = None,
    ) -> list[Result]:
        """Run different statements in one flight: all of them or none.

        They are one transaction, without BEGIN and COMMIT; inside of a transaction
        block they are a part of it. Statements are prepared and kept as those of
        `fetch`. They are described before the first of them runs, so none of them can
        use a table that another one of the same batch creates.

        Args:
            statements: each a text, or a sequence of a text and its arguments.
            timeout: seconds for everything, the connection's `command_timeout` if None.
            record_class: of the rows.
            into: what a row becomes instead, as of `Connection.fetch`.

        Returns:
            A `Result` for each statement: the list of its rows, with `status` and
            `row_count`.

        Raises:
            PostgresError: what the server says; `batch_index` is the position of the
                statement that failed, or None if it was the commit.
            DataError: an argument does not fit; nothing was sent.
            TypeError: something else than a text and its arguments is in the list.

        Example:
            >>> inserted, total = await conn.batch([
            ...     ("INSERT INTO t VALUES ($1)", 7),
            ...     "SELECT count(*) FROM t"])
            >>> inserted.row_count, total[0][0]
            (1, 1)
        """
        requests = requests_of(statements)
        shape = row_shape(record_class, into)
        session = self._session
        session.ensure_open()
        if not requests:
            return []
        texts = [sql for sql, _ in requests]

        async def send() -> GroupOp:
            async with Turn(session):
                return await _send_batch(session, requests, shape)

        args = [each for _, each in requests]
        async with self._limited(";\n".join(texts), args, timeout):
            try:
                op = await _until_healed(session, texts, send)
                if op.unread:
                    raise _unread(op.unread)
            except Exception as error:
                _name_statement(error, texts)
                raise
        results: list[Result] = op.result()
        return results

    async def script(
        self,
        sql: str,
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Shape[Any] | None = None,
    ) -> list[Result]:
        """Run a text with several statements and return all their results.

        It is sent as it is, as `execute` does, and takes no arguments. The statements
        are one transaction unless they say otherwise.

        The server sends the values as text. Those of the types that `fetch` reads as
        numbers, times, `UUID`, addresses or bytes, and arrays and ranges of them, come
        as the same Python values; composite types and what has another form come as
        `str`.

        Args:
            sql: statements, separated by semicolons.
            timeout: as for `batch`.
            record_class: of the rows.
            into: what a row becomes instead, as of `Connection.fetch`.

        Returns:
            A `Result` for each statement.

        Raises:
            PostgresError: what the server says; `batch_index` is the number of
                statements that had ended before, and a note has the line.

        Example:
            >>> created, counted = await conn.script(
            ...     "CREATE TEMP TABLE t (a int); SELECT count(*) FROM t")
            >>> created.status, counted[0][0]
            ('CREATE TABLE', 0)

        Source: PostgreSQL documentation, "Multiple Statements in a Simple Query".
        """
        shape = row_shape(record_class, into)
        session = self._session

        async def send() -> ScriptOp:
            async with Turn(session):
                return start_results(session, sql, shape)

        async with self._limited(sql, (), timeout):
            try:
                op = await _until_healed(session, [sql], send)
            except PostgresError as error:
                _name_line(error, sql)
                raise
        results: list[Result] = op.result()
        return results


class PoolBatched:
    """The part of `Pool` that runs several statements in one call."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _within(
            self, timeout: float | None
        ) -> contextlib.AbstractAsyncContextManager[Connection]: ...

    async def batch(
        self,
        statements: Iterable[BatchStatement],
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Shape[Any] | None = None,
    ) -> list[Result]:
        """Run different statements in one flight, all or none; see `Connection.batch`.

        Args:
            statements: each a text, or a sequence of a text and its arguments.
            timeout: seconds for everything, waiting for a connection included.
            record_class: of the rows.
            into: what a row becomes instead, as of `Connection.fetch`.

        Example:
            >>> await pool.batch([("DELETE FROM t WHERE a = $1", 7), "SELECT 1"])
        """
        async with self._within(timeout) as connection:
            return await connection.batch(
                statements, record_class=record_class, into=into
            )

    async def script(
        self,
        sql: str,
        *,
        timeout: float | None = None,
        record_class: type[Record] | None = None,
        into: Shape[Any] | None = None,
    ) -> list[Result]:
        """Run a text with several statements; see `Connection.script`.

        Args:
            sql: statements, separated by semicolons.
            timeout: seconds for everything, waiting for a connection included.
            record_class: of the rows.
            into: what a row becomes instead, as of `Connection.fetch`.

        Example:
            >>> await pool.script("SELECT 1; SELECT 2")
        """
        async with self._within(timeout) as connection:
            return await connection.script(sql, record_class=record_class, into=into)


# -- requests ------------------------------------------------------------------------


def requests_of(statements: Iterable[BatchStatement]) -> list[_Request]:
    """Text and arguments of each statement of a batch.

    Raises:
        TypeError: one of them is neither a text nor a sequence that begins with one.
    """
    if isinstance(statements, (str, bytes)):
        raise TypeError(
            "statements are expected to be a list of texts, or of sequences of a text "
            f"and its arguments, got {type(statements).__name__}: for a text with "
            "several statements use script()"
        )
    return [_request(index, each) for index, each in enumerate(statements)]


def _request(index: int, statement: BatchStatement) -> _Request:
    if isinstance(statement, str):
        return statement, ()
    if isinstance(statement, (tuple, list)) and statement:
        sql, *args = statement
        if isinstance(sql, str):
            return sql, tuple(args)
    raise TypeError(
        f"statement #{index} of the batch is expected to be a text, or a tuple of a "
        f"text and its arguments, got {type(statement).__name__}"
    )


# -- sending -------------------------------------------------------------------------


async def _send_batch(
    session: Session, requests: list[_Request], shape: Any
) -> GroupOp:
    """Describe what is not known yet, in one flight, and send the group."""
    op = None
    while op is None:
        found = await statements_for(session, [(sql, shape) for sql, _ in requests])
        group = []
        for index, (sql, args) in enumerate(requests):
            statement = found[sql]
            if isinstance(statement, Exception):
                statement.batch_index = index  # type: ignore[attr-defined]
                raise statement
            group.append((statement, args, RESULT, 0, shape))
        op = start_group(session, group, 0.0)
    return op


async def _until_healed(
    session: Session, texts: Sequence[str], send: Callable[[], Awaitable[_OpT]]
) -> _OpT:
    """Send an operation, and again if its error can be healed; it has ended then."""
    epoch = session.epoch
    for attempt in range(ATTEMPTS):
        op: _OpT | None = None
        try:
            op = await send()
            await op
        except PostgresError as error:
            if attempt + 1 == ATTEMPTS or session.epoch != epoch:
                raise
            if not heal_group(session, texts, op, error):
                raise
        else:
            return op
    raise AssertionError("the last attempt returns or raises")


def _unread(errors: dict[int, BaseException]) -> BaseException:
    """The error of the first result that could not be read."""
    index = min(errors)
    error: Any = errors[index]
    with contextlib.suppress(AttributeError):
        error.batch_index = index
    return cast("BaseException", error)


# -- errors --------------------------------------------------------------------------


def _name_statement(error: Exception, texts: Sequence[str]) -> None:
    """Say in a note which statement of a batch has failed."""
    index = getattr(error, "batch_index", None)
    if index is None:
        return
    sql = texts[index]
    if isinstance(error, PostgresError):
        error.query = sql
    shown = sql if len(sql) <= _TEXT_LENGTH else sql[:_TEXT_LENGTH] + "..."
    error.add_note(f"in statement #{index} of the batch: {shown}")


def _name_line(error: PostgresError, sql: str) -> None:
    """Say in a note how far a script has come, and where it is at fault."""
    if error.batch_index is None:
        return
    where = f"after {error.batch_index} statements of the script"
    if error.position and error.position.isdigit():
        lines = sql[: int(error.position) - 1].split("\n")
        where += f", at line {len(lines)}, column {len(lines[-1]) + 1}"
    error.add_note(where)
