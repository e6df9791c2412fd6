"""What a COPY must know before it is sent: types of columns, literals of arguments.

Owns: the questions for a table's columns, and the one for arguments as literals.
Layer L4. Imports L0, L3 and `_execute`.

Rules
- What the columns are is asked by describing a query that is never executed. That needs
  no right to read the table, says what is true now in whatever snapshot, and waits for
  an ALTER TABLE that has not ended, which a look into the catalog does not.
- They are asked for with every COPY, so that no ALTER TABLE of somebody else can make
  the server misread a value. Once they are known, question and COPY travel together, in
  one transaction; if the answer is another one than before, that COPY is called off and
  sent again. Not in a transaction block, which would fail with it: there the question
  goes alone, and what was described stays locked up to the end of the block.
- A COPY names its columns, so that values cannot get into others.
- Nothing here goes through a codec for text, which may be the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chopin import _statements
from chopin._copy import CopyInOp, CopyOutOp, describe_columns
from chopin._copysql import columns_of, quoted
from chopin._execute import ATTEMPTS, Turn, alone, begun, heal, learn_types, unblocked
from chopin._ops import ROWS, start_own, start_parse_and_execute, start_prepare
from chopin._protocol import Statement
from chopin.exceptions import InvalidCachedStatementError, PostgresError

if TYPE_CHECKING:
    from typing import Any

    from chopin._ops import PrepareOp
    from chopin._protocol import Op
    from chopin._rows import Description
    from chopin.aio import WireProtocol

# Whether it is partitioned, and the numbers of the columns that COPY does not have.
_ABOUT = """
SELECT c.relkind OPERATOR(pg_catalog.=) 'p',
    ARRAY(
        SELECT a.attname
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
          AND a.attgenerated OPERATOR(pg_catalog.<>) ''
    )
FROM pg_catalog.pg_class AS c
WHERE c.oid OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.regclass
"""
_statements.OWN.add(_ABOUT)

# The settings in which a literal says all of a value: some styles of dates have names
# of time zones that mean another one when they are read, fewer digits another float.
_SETTINGS = {"DateStyle": "ISO", "extra_float_digits": "1"}
_EXACT = [
    f"pg_catalog.set_config('{name}', '{value}', true)"
    for name, value in _SETTINGS.items()
]
_AS_BEFORE = [
    f"pg_catalog.set_config('{name}', was.{name}, true)" for name in _SETTINGS
]
_WERE = [f"pg_catalog.current_setting('{name}') AS {name}" for name in _SETTINGS]
_BEFORE = f"FROM (SELECT {', '.join(_WERE)} OFFSET 0) AS was"

_TEXT, _BYTEA_ARRAY = 25, 1001

_MOST_KNOWN = 100

_Op = TypeVar("_Op", CopyInOp, CopyOutOp)


class Known(NamedTuple):
    """What was found out of the columns that a COPY of a table has.

    Attributes:
        asked: the question for the columns, those that COPY has not included; it has a
            name where it can be described again without being parsed.
        statement: never executed; its columns and its parameters are those of the COPY.
        version: of the codecs that it was made with.
        is_partitioned: whether the table is.
        names: of the columns of the COPY.
        listed: the same, as SQL in parentheses.
        is_binary: whether all of them travel in binary.
        may_be_kept: whether any change of the columns changes those of `asked`, which a
            column that ceases to be generated does not.
    """

    asked: Statement
    statement: Statement
    version: int
    is_partitioned: bool
    names: list[str]
    listed: str
    is_binary: bool
    may_be_kept: bool


async def start_with_columns(
    session: WireProtocol,
    table: str,
    names: Sequence[str] | None,
    start: Callable[[Known, Statement | None], _Op | None],
    waits: bool = True,
) -> tuple[_Op | None, Known]:
    """Send a COPY for which the columns of its table must be known.

    Args:
        session: of the connection.
        table: as SQL.
        names: of the columns, None for all that COPY has.
        start: sends it, if it can be sent with such columns; the second argument is the
            question that goes in front, None if it is settled.
        waits: until the server has begun, though the data need not.

    Returns:
        What `start` has returned, and what it was given.

    Raises:
        UndefinedTableError: there is no such table.
        InvalidCachedStatementError: its columns were altered again and again.
    """
    key = (table, None if names is None else tuple(names))
    for attempt in range(ATTEMPTS):
        op: _Op | None = None
        async with Turn(session):
            await alone(session)
            known = session.copied.get(key)
            is_idle = session.transaction_status == "I" and not session.riders
            if known is None or not (is_idle and _holds(known, session)):
                known = await _ask(session, table, names)
                _keep(session, key, known)
            is_idle = session.transaction_status == "I"
            op = start(known, known.asked if is_idle else None)
        try:
            if op is not None and (waits or not _is_sure(op)):
                await begun(op, op.opened())
            return op, known
        except PostgresError as error:
            if attempt + 1 == ATTEMPTS or not forget(session, known, op, error):
                raise
    raise AssertionError("the last attempt returns or raises")


def forget(
    session: WireProtocol, known: Known, op: Op | None, error: PostgresError
) -> bool:
    """Whether a COPY may be sent again with what its columns are by now.

    Args:
        session: of the connection.
        known: what was thought of them.
        op: the COPY.
        error: what it has ended with.
    """
    for key in [key for key, each in session.copied.items() if each is known]:
        del session.copied[key]
    return heal(session, known.asked.sql, op, error)


def _holds(known: Known, session: WireProtocol) -> bool:
    return known.version == session.codecs.version and not known.asked.closed


def _is_sure(op: Op) -> bool:
    return isinstance(op, CopyInOp) and op.is_sure


def _keep(session: WireProtocol, key: Any, known: Known) -> None:
    session.copied.pop(key, None)
    if known.may_be_kept:
        session.copied[key] = known
    if len(session.copied) > _MOST_KNOWN:
        del session.copied[next(iter(session.copied))]


def _query(table: str, names: Sequence[str] | None) -> str:
    return f"SELECT {', '.join(map(quoted, names)) if names else '*'} FROM {table}"


async def _ask(session: WireProtocol, table: str, names: Sequence[str] | None) -> Known:
    """Ask for the columns and learn their types, for who has the turn."""
    query = _query(table, names)
    for attempt in range(ATTEMPTS):
        question = _prepare(session, query)
        about = start_own(session, _ABOUT, (_TEXT,), (table,))
        try:
            asked = await question
            ((is_partitioned, generated),) = await about
        except PostgresError as error:
            await unblocked(session)
            if attempt + 1 == ATTEMPTS or not heal(session, query, question, error):
                raise
        else:
            break
    await unblocked(session)
    described = asked.description
    columns = described.columns
    if not names:
        columns = tuple(each for each in columns if each.name not in generated)
    own = [column.name for column in columns]
    found = describe_columns(own, [column.type_oid for column in columns])
    await learn_types(session, found)
    statement = Statement(session, f"COPY {table}", b"", found)
    return Known(
        asked,
        statement,
        session.codecs.version,
        is_partitioned,
        own,
        columns_of(own),
        is_binary(statement),
        len(columns) == len(described.columns),
    )


def _prepare(session: WireProtocol, query: str) -> PrepareOp:
    """Have it described, under a name where that can be relied on."""
    keep = (
        _statements.is_admitted(session, query) and query not in session.in_first_flight
    )
    if keep:
        _statements.forget(session, query)
    name = _statements.statement_name(query) if keep else b""
    return start_prepare(session, query, name, keep)


async def _described(session: WireProtocol, query: str) -> Description:
    """What the server says of a query, for who has the turn."""
    for attempt in range(ATTEMPTS):
        op = start_prepare(session, query, b"", False)
        try:
            statement = await op
        except PostgresError as error:
            if attempt + 1 == ATTEMPTS or not heal(session, query, op, error):
                raise
        else:
            await unblocked(session)
            description: Description = statement.description
            return description
        await unblocked(session)
    raise AssertionError("the last attempt returns or raises")


async def start_with_query(
    session: WireProtocol,
    query: str,
    start: Callable[[Statement, Statement | None], CopyOutOp | None],
) -> CopyOutOp | None:
    """Send a COPY of a query without arguments; it is never sent again by itself.

    Raises:
        InvalidCachedStatementError: its columns were altered in between.
    """
    async with Turn(session):
        description = await _described(session, query)
        await learn_types(session, description)
        statement = Statement(session, query, b"", description)
        is_idle = session.transaction_status == "I"
        op = start(statement, statement if is_idle else None)
    if op is not None:
        try:
            await begun(op, op.opened())
        except InvalidCachedStatementError as error:
            error.outcome = "unknown"  # the query may have run
            raise
    return op


def is_binary(statement: Statement) -> bool:
    """Whether all columns travel in binary."""
    return all(codec.format for codec in statement.rows.codecs)


async def literals_of(
    session: WireProtocol, query: str, args: tuple[Any, ...]
) -> list[str]:
    """The arguments of a query as SQL, made by the server, for who has the turn.

    Raises:
        DataError: an argument does not fit its parameter.
        InterfaceError: there are too many or too few.
    """
    description: Description | None = session.descriptions.get(query)
    if description is None:
        description = await _described(session, query)
    oids = description.parameter_oids
    # format() writes a value as its type does. -1: a type whose name alone would mean
    # a length of 1 (character, bit) gets another name.
    texts = [
        f"pg_catalog.format('%L::%s', ${n}, pg_catalog.format_type({oid}, -1))"
        for n, oid in enumerate(oids, 1)
    ]
    # the elements are evaluated in their order
    items = [*_EXACT, *texts, *_AS_BEFORE]
    converted = [f"pg_catalog.convert_to({item}, 'UTF8')" for item in items]
    sql = f"SELECT ARRAY[{', '.join(converted)}]::pg_catalog.bytea[] {_BEFORE}"
    asked = describe_columns(["literals"], [_BYTEA_ARRAY], oids)
    await learn_types(session, description)
    op = start_parse_and_execute(
        session, Statement(session, sql, b"", asked), args, ROWS, 0, None
    )
    rows = await op
    await unblocked(session)
    return [literal.decode() for literal in rows[0][0][len(_EXACT) : -len(_AS_BEFORE)]]
