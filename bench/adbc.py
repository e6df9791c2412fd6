"""ADBC: whole results as Arrow columns, by its PostgreSQL driver in C++.

Owns: what its rows and its loading are here. It takes part where many rows are read or
written, and nowhere else: it has no prepared statement to keep, and a call of it for
one row is several round trips.
Rules:
- Its calls block the event loop, which has nothing else to do here.
- A result is a pyarrow table: no Python object is made for a value, which is less work
  than what all others do. Only its first and last row are looked at, as of all.
- Numerics come as text, without loss; those of the looked-at rows are converted.
"""

import importlib.metadata
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow
from adbc_driver_postgresql import dbapi

__version__ = importlib.metadata.version("adbc-driver-postgresql")
# It would take a Python int for an int8, which COPY refuses for an int4.
ARROW_TYPES = {int: pyarrow.int32(), str: pyarrow.string()}
ARROW_VERSION = str(pyarrow.__version__)


class ArrowRows:
    """A table as the check of a workload looks at it: its length, and single rows."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        position = index % len(self)
        return tuple(
            converted(column.field, column.values[position].as_py())
            for column in (
                Column(self._table.schema.field(number), self._table.column(number))
                for number in range(self._table.num_columns)
            )
        )


class Column:
    """A column with its name and type."""

    def __init__(self, field: Any, values: Any) -> None:
        self.field = field
        self.values = values


def converted(field: Any, value: Any) -> Any:
    """A numeric as Decimal; anything else as it is."""
    metadata = field.metadata or {}
    is_numeric = metadata.get(b"ADBC:postgresql:typname") == b"numeric"
    is_numeric |= getattr(field.type, "type_name", "") == "numeric"
    return Decimal(value) if is_numeric and value is not None else value


class AdbcSession:
    """One connection; what it does not offer fails, and is left out."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._cursor = connection.cursor()

    async def fetch(self, query: str, *args: Any) -> Any:
        """All rows, in columns."""
        self._cursor.execute(query, args or None)
        return ArrowRows(self._cursor.fetch_arrow_table())

    async def script(self, query: str) -> Any:
        """Without rows."""
        self._cursor.execute(query)

    async def load(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Rows into a table: made into columns, and sent by COPY."""
        arrays = [
            pyarrow.array(values, ARROW_TYPES[type(values[0])])
            for values in zip(*rows, strict=True)
        ]
        data = pyarrow.table(arrays, list(columns))
        self._cursor.adbc_ingest(table, data, mode="append")

    async def close(self) -> None:
        """Close the connection."""
        self._cursor.close()
        self.connection.close()


async def connect(dsn: str) -> AdbcSession:
    """In autocommit, as all others are."""
    return AdbcSession(dbapi.connect(dsn, autocommit=True))
