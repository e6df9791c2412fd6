"""What a COPY must know before it is sent: types of columns, literals of arguments.

Owns: the question for a table's columns, and the one for arguments as literals.
Layer L4. Imports L0, L3 and `_execute`.

Rules
- The types of a table's columns are in the catalog, which everybody may read: nobody
  needs the right to read the table in order to write to it.
- They are asked for with every COPY, so that no ALTER TABLE of somebody else can make
  the server misread a value. Once they are known, question and COPY travel together;
  if the answer is another one than before, that COPY is called off ahead of its data
  and sent again. Not in a transaction block, which would fail with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from chopin import _statements
from chopin._copy import CopyInOp, CopyOutOp, describe_columns
from chopin._execute import Turn, learn_types, run_now, unblocked
from chopin._ops import ROWS, start_cached, start_parse_and_execute, start_prepare
from chopin._protocol import Statement
from chopin.exceptions import PostgresError

if TYPE_CHECKING:
    from chopin._rows import Description
    from chopin.aio import WireProtocol

_COLUMNS = """
SELECT a.attname::pg_catalog.text, a.atttypid
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.regclass
  AND a.attnum OPERATOR(pg_catalog.>) 0
  AND NOT a.attisdropped
  AND a.attgenerated::pg_catalog.text OPERATOR(pg_catalog.=) ''
ORDER BY a.attnum
"""

_statements.OWN.add(_COLUMNS)

_TEXT, _TEXT_ARRAY = 25, 1009

_MOST_KNOWN = 100

_Op = TypeVar("_Op", CopyInOp, CopyOutOp)


class Known(NamedTuple):
    """What was found out of the columns that a COPY of a table has.

    Attributes:
        types: (name, OID of its type) of all columns of the table.
        statement: never executed; its columns and its parameters are those of the COPY.
        version: of the codecs that it was made with.
    """

    types: list[Any]
    statement: Statement
    version: int


async def start_with_columns(
    session: WireProtocol,
    table: str,
    names: Sequence[str] | None,
    start: Callable[[Statement], _Op | None],
) -> tuple[_Op | None, Statement]:
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
    """
    key = (table, None if names is None else tuple(names))
    known = session.copied.get(key)
    if known is not None and known.version == session.codecs.version:
        op = await _start_known(session, table, known, start)
        if op is not None:
            return op, known.statement
    async with Turn(session):
        known = session.copied[key] = await _ask(session, table, names)
        if len(session.copied) > _MOST_KNOWN:
            del session.copied[next(iter(session.copied))]
        return start(known.statement), known.statement


async def _start_known(
    session: WireProtocol,
    table: str,
    known: Known,
    start: Callable[[Statement], _Op | None],
) -> _Op | None:
    """Send the question and the COPY together; None if it has to be sent otherwise."""
    op = None
    async with Turn(session):
        if session.transaction_status != "I" or session.riders:
            return None
        question = start_cached(session, _COLUMNS, (table,), ROWS, 0, None)
        if question is None:
            return None
        op = start(known.statement)
    try:
        if await question == known.types:
            return op
    except PostgresError:
        pass  # asked again, it will be raised or healed
    except BaseException:
        if op is not None:
            op.leave()
        raise
    if op is not None:
        op.leave()
    return None


async def _ask(session: WireProtocol, table: str, names: Sequence[str] | None) -> Known:
    """Ask for the columns and learn their types, for who has the turn."""
    rows = await run_now(session, _COLUMNS, (table,), ROWS)
    types: dict[str, int] = dict([tuple(row) for row in rows])
    if not names:
        names = list(types)
    # of a column that is not there, the server will say so
    found = describe_columns(names, [types.get(name, _TEXT) for name in names])
    await learn_types(session, found)
    statement = Statement(session, f"COPY {table}", b"", found)
    return Known(rows, statement, session.codecs.version)


async def columns_of_query(session: WireProtocol, query: str) -> Statement:
    """The columns of a query without arguments, for who has the turn."""
    statement = await start_prepare(session, query, b"", False)
    await unblocked(session)
    await learn_types(session, statement.description)
    return Statement(session, query, b"", statement.description)


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
        statement = await start_prepare(session, query, b"", False)
        await unblocked(session)
        description = statement.description
    oids = description.parameter_oids
    texts = [
        f"pg_catalog.concat(pg_catalog.quote_nullable(${n}::pg_catalog.text), '::',"
        f" pg_catalog.pg_typeof(${n})::pg_catalog.text)"
        for n in range(1, len(oids) + 1)
    ]
    sql = f"SELECT ARRAY[{', '.join(texts)}]::pg_catalog.text[]"
    asked = describe_columns(["literals"], [_TEXT_ARRAY], oids)
    await learn_types(session, description)
    op = start_parse_and_execute(
        session, Statement(session, sql, b"", asked), args, ROWS, 0, None
    )
    rows = await op
    await unblocked(session)
    literals: list[str] = rows[0][0]
    return literals
