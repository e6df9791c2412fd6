"""What a COPY must know before it is sent: types of columns, literals of arguments.

Owns: the questions for a table's columns, and the one for arguments as literals.
Layer L4. Imports L0, L3 and `_execute`.

Rules
- What the columns are is asked by describing a query that is never executed. That needs
  no right to read the table, says what is true now in whatever snapshot, and waits for
  an ALTER TABLE that has not ended, which a look into the catalog does not.
- They are asked for with every COPY, so that no ALTER TABLE of somebody else can make
  the server misread a value. Once they are known, question and COPY travel together;
  if the answer is another one than before, that COPY is called off ahead of its data
  and sent again. Not in a transaction block, which would fail with it, and where what
  was described stays locked.
- A COPY names its columns, so that values cannot get into others.
- Nothing here goes through a codec for text, which may be the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chopin import _statements
from chopin._copy import CopyInOp, CopyOutOp, describe_columns
from chopin._copysql import quoted
from chopin._execute import ATTEMPTS, Turn, heal, learn_types, unblocked
from chopin._ops import ROWS, start_own, start_parse_and_execute, start_prepare
from chopin._protocol import Statement
from chopin.exceptions import InvalidCachedStatementError, PostgresError

if TYPE_CHECKING:
    from typing import Any

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

_TEXT, _BYTEA_ARRAY = 25, 1001

_MOST_KNOWN = 100

_Op = TypeVar("_Op", CopyInOp, CopyOutOp)


class Known(NamedTuple):
    """What was found out of the columns that a COPY of a table has.

    Attributes:
        raw_columns: as the server has described them, those that COPY has not included.
        statement: never executed; its columns and its parameters are those of the COPY.
        version: of the codecs that it was made with.
        is_partitioned: whether the table is.
        may_be_kept: whether any change of the columns changes `raw_columns`, which a
            column that ceases to be generated does not.
    """

    raw_columns: bytes | None
    statement: Statement
    version: int
    is_partitioned: bool
    may_be_kept: bool

    @property
    def names(self) -> list[str]:
        """Of the columns of the COPY."""
        return [column.name for column in self.statement.description.columns]


async def start_with_columns(
    session: WireProtocol,
    table: str,
    names: Sequence[str] | None,
    start: Callable[[Known], _Op | None],
) -> tuple[_Op | None, Known]:
    """Send a COPY for which the columns of its table must be known.

    Args:
        session: of the connection.
        table: as SQL.
        names: of the columns, None for all that COPY has.
        start: sends it, if it can be sent with such columns.

    Returns:
        What `start` has returned, and what it was given.

    Raises:
        UndefinedTableError: there is no such table.
        InvalidCachedStatementError: its columns were altered again and again.
    """
    key = (table, None if names is None else tuple(names))
    for _ in range(ATTEMPTS):
        known = session.copied.get(key)
        async with Turn(session):
            is_idle = session.transaction_status == "I" and not session.riders
            if known is None or known.version != session.codecs.version or not is_idle:
                known = await _ask(session, table, names)
                _keep(session, key, known)
            if session.transaction_status != "I":
                return start(known), known
            question = start_prepare(session, _query(table, names), b"", False)
            op = start(known)
        try:
            if (await question).description.raw_columns == known.raw_columns:
                return op, known
        except PostgresError:
            pass  # asked again, it will be raised or healed
        except BaseException:
            if op is not None:
                op.leave()
            raise
        session.copied.pop(key, None)
        if op is not None:
            op.leave()
    raise InvalidCachedStatementError(
        f"the columns of {table} have changed while COPY was sent; try again"
    )


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
    described = await _described(session, _query(table, names))
    ((is_partitioned, generated),) = await start_own(
        session, _ABOUT, (_TEXT,), (table,)
    )
    await unblocked(session)
    columns = described.columns
    if not names:
        columns = tuple(each for each in columns if each.name not in generated)
    found = describe_columns(
        [column.name for column in columns], [column.type_oid for column in columns]
    )
    await learn_types(session, found)
    statement = Statement(session, f"COPY {table}", b"", found)
    return Known(
        described.raw_columns,
        statement,
        session.codecs.version,
        is_partitioned,
        len(columns) == len(described.columns),
    )


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
    session: WireProtocol, query: str, start: Callable[[Statement], CopyOutOp | None]
) -> CopyOutOp | None:
    """Send a COPY of a query without arguments; it is never sent again by itself.

    Raises:
        InvalidCachedStatementError: its columns were altered in between.
    """
    async with Turn(session):
        description = await _described(session, query)
        await learn_types(session, description)
        statement = Statement(session, query, b"", description)
        if session.transaction_status != "I" or not is_binary(statement):
            return start(statement)
        question = start_prepare(session, query, b"", False)
        op = start(statement)
    try:
        answer = await question
        if answer.description.raw_columns != description.raw_columns:
            raise InvalidCachedStatementError(
                "the columns of the query have changed while COPY was sent; try again"
            )
    except BaseException:
        if op is not None:
            op.leave()
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
        f"pg_catalog.convert_to(pg_catalog.format('%L::%s', ${n},"
        f" pg_catalog.format_type({oid}, -1)), 'UTF8')"
        for n, oid in enumerate(oids, 1)
    ]
    sql = f"SELECT ARRAY[{', '.join(texts)}]::pg_catalog.bytea[]"
    asked = describe_columns(["literals"], [_BYTEA_ARRAY], oids)
    await learn_types(session, description)
    op = start_parse_and_execute(
        session, Statement(session, sql, b"", asked), args, ROWS, 0, None
    )
    rows = await op
    await unblocked(session)
    return [literal.decode() for literal in rows[0][0]]
