"""What a COPY must know before it is sent: types of columns, literals of arguments.

Owns: the question for a table's columns, and the one for arguments as literals.
Layer L4. Imports L0, L3 and `_execute`.

Rules
- The types of a table's columns are in the catalog, which everybody may read: nobody
  needs the right to read the table in order to write to it.
- They are asked for with every COPY. Once they are known, the question travels ahead of
  the COPY and takes no time of its own; what it answers is looked at before the first
  byte of data goes out. So no ALTER TABLE of somebody else can make the server misread
  a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chopin._copy import describe_columns
from chopin._execute import learn_types, run_now, unblocked
from chopin._ops import ROWS, start_parse_and_execute, start_prepare
from chopin._protocol import Statement

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

_TEXT, _TEXT_ARRAY = 25, 1009


async def columns_of(
    session: WireProtocol, table: str, names: Sequence[str] | None
) -> Statement:
    """The columns that a COPY of a table has, for who has the turn.

    Args:
        session: it is this call's turn on it.
        table: as SQL.
        names: of the columns, None for all that COPY has.

    Returns:
        A statement that is never executed: its columns and its parameters are the
        columns.

    Raises:
        UndefinedTableError: there is no such table.
    """
    rows = await run_now(session, _COLUMNS, (table,), ROWS)
    types: dict[str, int] = dict([tuple(row) for row in rows])
    if not names:
        names = list(types)
    # of a column that is not there, the server will say so
    found = describe_columns(names, [types.get(name, _TEXT) for name in names])
    await learn_types(session, found)
    return Statement(session, f"COPY {table}", b"", found)


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
