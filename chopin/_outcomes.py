"""What can have become of the operations in flight when a connection was lost.

Owns: `outcomes`, the rule behind the attribute `outcome`, and the errors of operations
that did not come to an end.
Layer L3. Imports L0 and `_effects`.

Rules
- "unknown" unless something proves the contrary: whoever repeats a statement on the
  strength of this must not do it twice.
- An open block dies with its connection, and so does all that ran in it. Only what
  ends a block may have been done.
- What the server refused with a FATAL error before it was done is undone: a statement
  is committed behind its CommandComplete (at Sync), never ahead of it.

Source: PostgreSQL documentation, "Pipelining".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from chopin._effects import READS, effects
from chopin.exceptions import (
    ConnectionDoesNotExistError,
    InterfaceError,
    PostgresError,
)

if TYPE_CHECKING:
    from chopin.exceptions import Outcome

_rolls_back = re.compile(r"\s*(?:rollback|abort)\b[^;]*;?\s*", re.I).fullmatch
_leaves_block = re.compile(r"\b(?:commit|end|prepare|rollback|abort)\b", re.I).search

# ... at the beginning of a statement; who has comments may have one there
_ends_block = re.compile(
    r"(?:^|;)\s*(?:commit|end|prepare|rollback|abort)\b|--|/\*", re.I
).search

# a statement that can commit by itself, comments ahead of it skipped: code of the
# user's, and what takes several transactions and may leave an invalid index, say
_acts = re.compile(
    r"(?:^|;)(?:\s|--[^\r\n]*[\r\n]|/\*.*?\*/)*"
    r"(?:(?:call|do|vacuum|cluster|reindex)\b"
    r"|(?:create|drop|alter)\b[^;]*\bconcurrently\b)",
    re.IGNORECASE | re.DOTALL,
).search


class Lost(NamedTuple):
    """An operation whose end nobody has seen.

    Attributes:
        sql: its text, or None for what runs none.
        is_sent: whether any of it was handed to the transport.
        begins: whether BEGIN goes ahead of it.
        is_refused: whether a FATAL error came in place of its CommandComplete.
    """

    sql: str | None
    is_sent: bool
    begins: bool
    is_refused: bool


def outcomes(lost: Iterable[Lost], status: str) -> Iterator[Outcome]:
    """Say of each operation "not_sent", "rolled_back" or "unknown".

    Args:
        lost: what was in flight, in the order in which it was sent.
        status: the transaction status that the server reported last.

    Example:
        >>> update = Lost("UPDATE t SET a = 1", True, False, False)
        >>> list(outcomes([update], "I")), list(outcomes([update], "T"))
        (['unknown'], ['rolled_back'])
    """
    in_block = status in ("T", "E")
    for op in lost:
        in_block = in_block or op.begins
        sql = op.sql or ""
        stays = not _leaves_block(sql)
        if not op.is_sent:
            yield "not_sent"
        elif (
            (op.is_refused and not may_commit(sql, in_block))
            or effects(sql) & READS
            or (in_block and (stays or _rolls_back(sql)))
        ):
            yield "rolled_back"
        else:
            yield "unknown"
        if not stays:
            in_block = False


def begun_block(riders: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those of what rides ahead that begin a block, savepoints in it included.

    Example:
        >>> begun_block(("ROLLBACK", "BEGIN", "SAVEPOINT a")), begun_block(None)
        (('BEGIN', 'SAVEPOINT a'), ())
    """
    riders = riders or ()
    for number, rider in enumerate(riders):
        if rider.startswith("BEGIN"):
            return riders[number:]
    return ()


def may_commit(sql: str, in_block: bool) -> bool:
    """Whether a text that fails may have committed something before.

    Args:
        sql: the text.
        in_block: whether it began in a transaction block, where none of them can.
    """
    is_script = ";" in sql.rstrip().rstrip(";")
    ends_block = is_script and _leaves_block(sql) and _ends_block(sql)
    return bool(ends_block or (not in_block and _acts(sql)))


def tell_outcome(error: PostgresError, sql: str, in_block: bool) -> None:
    """Say of an error that what came before it in the text may be committed.

    Args:
        error: of the server.
        sql: the text that failed.
        in_block: whether it began in a transaction block.
    """
    if error.outcome == "rolled_back" and may_commit(sql, in_block):
        error.outcome = "unknown"


def connection_lost(reason: BaseException | None, outcome: Outcome) -> Exception:
    """The error of an operation whose connection has ended.

    Args:
        reason: a FATAL error of the server, an error of the socket, or None.
        outcome: of the operation.
    """
    text = "connection was closed in the middle of operation"
    if isinstance(reason, PostgresError):
        text += f": {reason.args[0] if reason.args else ''}"
    error = ConnectionDoesNotExistError(text)
    error.__cause__ = reason
    error.outcome = outcome
    if isinstance(reason, PostgresError):
        error.kind = reason.kind
    return error


def dropped(text: str) -> Exception:
    """The error of an operation that somebody else has given up."""
    error = InterfaceError(text)
    error.outcome = "unknown"
    return error


def timed_out(sql: str | None) -> Exception:
    """The error of an operation that took too long."""
    error = TimeoutError()
    is_read = sql is not None and effects(sql) & READS
    error.outcome = "rolled_back" if is_read else "unknown"  # type: ignore[attr-defined]
    return error
