"""What one value costs, type by type: decoded from a row, encoded for a statement.

Owns: the table of types and how their values are made; decoding and encoding a few
and many of them.
Rules:
- Decoding is fetching: rows of one column and rows of `WIDE` columns with the same
  value, from a table, all in one result, freed inside of the clock. There are many, or
  it would be chance whether a run of the garbage collector falls into a sample.
- Encoding is calling: a prepared statement with one parameter and one with
  `PARAMETERS`. A sceptic may prefer executemany or COPY, but there the price of a row
  hides that of a value, and drivers differ in how they send rows; here all of them
  encode one Bind message, and the server has nothing to do for it but read.
- The two sizes make a price per value in which rows, calls and sockets have no part:
  what the others cost more, divided by how many more there are.
- Every driver is given back the values that it has decoded itself, in its own classes.
- The server runs in another process and is not in the figures.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from bench.candidates import Session
from bench.server import SHARED_SCHEMA
from bench.workloads import Items, Seat, Sizes, Workload

WIDE = 6
# No more: what is longer than 15 KiB as SQL is not kept prepared.
PARAMETERS = 500
ROWS = Sizes(4_000, 20_000, 100_000)
CALLS = Sizes(6, 20, 60)

# psqlpy panics at types that it does not know, which ends the process; ADBC makes no
# Python objects.
LACKING = ("psqlpy", "adbc")
# The two directions.
DECODE = "decode"
ENCODE = "encode"

Tune = Callable[[Session], Awaitable[Any]]


@dataclass(frozen=True)
class Family:
    """A type and how to make values of it.

    `made` is SQL for the value in row `i` of the table, and `read` that for reading
    it back from column `v`. `before` is SQL to be run first. `tunes` are what drivers
    have to be told, by their name. Of values with a `weight` there are so many times
    fewer, since each takes longer.
    """

    name: str
    sql_type: str
    made: str
    read: str = "v"
    before: str = ""
    weight: int = 1
    is_argument: bool = True
    tunes: dict[str, Tune] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """Where its values are, in the schema that all share."""
        return f"types_{self.name}"

    def statements(self, rows: int) -> list[str]:
        """SQL that makes the table."""
        made = (
            f"CREATE UNLOGGED TABLE {self.table} AS"
            f" SELECT ({self.made}) AS v FROM generate_series(1, {rows}) AS i"
        )
        return [
            f"DROP TABLE IF EXISTS {self.table}",
            *filter(None, [self.before]),
            made,
        ]


@dataclass(frozen=True)
class TypeSeat(Seat):
    """A connection, and values that it has fetched to be sent back."""

    values: Sequence[Any] = ()


Run = Callable[[TypeSeat, Items, int], Awaitable[Any]]


@dataclass(frozen=True)
class TypeWorkload(Workload):
    """A row of the table: as `Workload`, where `run` works with few and with many.

    Its third argument says how many columns or parameters.
    """

    run: Run  # type: ignore[assignment]  # with one argument more: see above
    family: Family = field(kw_only=True)
    many: int = field(kw_only=True)


# -- what drivers have to be told -----------------------------------------------------


async def decode_json(session: Session) -> None:
    await session.connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )


async def dump_dicts_as_jsonb(session: Session) -> None:
    from psycopg.types.json import JsonbBinaryDumper

    session.connection.adapters.register_dumper(dict, JsonbBinaryDumper)


async def use_hstore(session: Session) -> None:
    await session.connection.set_builtin_type_codec(
        "hstore", schema=SHARED_SCHEMA, codec_name="pg_contrib.hstore"
    )


async def register_hstore(session: Session) -> None:
    from psycopg.types import TypeInfo, hstore

    info = await TypeInfo.fetch(session.connection, "hstore")
    assert info is not None
    hstore.register_hstore(info, session.connection)


async def load_enum_as_text(session: Session) -> None:
    from psycopg.types import TypeInfo, string

    info = await TypeInfo.fetch(session.connection, "bench_color")
    assert info is not None
    adapters = session.connection.adapters
    adapters.register_loader(info.oid, string.TextBinaryLoader)


async def register_composite(session: Session) -> None:
    from psycopg.types import composite

    info = await composite.CompositeInfo.fetch(session.connection, "bench_item")
    assert info is not None
    composite.register_composite(info, session.connection)


# -- the table -------------------------------------------------------------------------

NEW_YEAR = "'2024-01-01 00:00+00'"
MOMENT = "i * interval '1.37 second'"
JSON = "json_build_object('id', i, 'name', 'row ' || i, 'tags', json_build_array(1, 2))"
DROP_TYPE = "DROP TYPE IF EXISTS {0} CASCADE; CREATE TYPE {0} AS {1}"


def array_of(
    sql_type: str, item: str, length: int = 10, suffix: str = "", read: str = "v"
) -> Family:
    """Arrays of so many items, made by SQL of `i` and `j`."""
    items = (
        f"SELECT array_agg(({item})::{sql_type}) FROM generate_series(1, {length}) j"
    )
    return Family(
        *(f"{sql_type}_array{suffix}", f"{sql_type}[]", items, read), weight=length
    )


FAMILIES = (
    Family("null", "int4", "NULL::int4"),
    Family("bool", "bool", "i % 3 = 0"),
    Family("int2", "int2", "(hashint4(i) % 32768)::int2"),
    Family("int4", "int4", "hashint4(i)"),
    Family("int8", "int8", "hashint8extended(i, 0)"),
    Family("float4", "float4", "(i * 0.37)::float4"),
    Family("float8", "float8", "i * 0.37::float8"),
    Family("numeric", "numeric", "(i * 0.01)::numeric(12, 2)"),
    Family(
        "numeric_long",
        "numeric",
        "hashint8extended(i, 0)::numeric ^ 2 * 1.01",
        weight=4,
    ),
    Family("text", "text", "'row number ' || i"),
    Family("text_not_ascii", "text", "'Zeile für Zeile ' || i"),
    Family("text_long", "text", "repeat(md5(i::text), 32)", weight=10),
    Family("varchar", "varchar", "('row number ' || i)::varchar"),
    Family("bytea", "bytea", "decode(md5(i::text), 'hex')"),
    Family("uuid", "uuid", "md5(i::text)::uuid"),
    Family("json", "json", JSON),
    Family("jsonb", "jsonb", f"{JSON}::jsonb"),
    Family(
        *("jsonb_decoded", "jsonb", f"{JSON}::jsonb"),
        weight=10,
        tunes={
            "chopin": decode_json,
            "asyncpg": decode_json,
            "psycopg": dump_dicts_as_jsonb,
        },
    ),
    Family("date", "date", "'2024-01-01'::date + i % 10000"),
    Family("time", "time", f"time '00:00' + {MOMENT}"),
    Family("timetz", "timetz", f"timetz '00:00+02' + {MOMENT}", weight=4),
    Family("timestamp", "timestamp", f"timestamp '2024-01-01' + {MOMENT}", weight=4),
    Family(
        "timestamptz", "timestamptz", f"timestamptz {NEW_YEAR} + {MOMENT}", weight=4
    ),
    Family(
        "interval",
        "interval",
        "make_interval(days => i % 100, secs => i * 0.37)",
        weight=4,
    ),
    Family("inet", "inet", "'10.0.0.0'::inet + i", weight=4),
    Family(
        *("cidr", "cidr", "network(set_masklen('10.0.0.0'::inet + i * 256, 24))"),
        weight=10,
    ),
    Family("macaddr", "macaddr", "('08002b' || left(md5(i::text), 6))::macaddr"),
    Family("bit", "bit(16)", "i::bit(16)", weight=4),
    Family("varbit", "varbit", "i::bit(32)::varbit", weight=4),
    Family("money", "money", "(i * 0.01)::numeric::money"),
    Family("point", "point", "point(i, i * 0.5)", weight=4),
    Family("box", "box", "box(point(i + 1, i + 1), point(i, i))", weight=10),
    Family("path", "path", "path(polygon(box(point(i, i), point(0, 0))))", weight=10),
    Family("polygon", "polygon", "polygon(box(point(i, i), point(0, 0)))", weight=10),
    Family("int4range", "int4range", "int4range(i, i + 10)", weight=10),
    Family(
        *("tstzrange", "tstzrange"),
        f"tstzrange(timestamptz {NEW_YEAR} + {MOMENT}, '2099-01-01 00:00+00')",
        weight=10,
    ),
    Family(
        *("int4multirange", "int4multirange"),
        "int4multirange(int4range(i, i + 2), int4range(i + 5, i + 7))",
        weight=10,
    ),
    Family(
        *("enum", "bench_color", "('{red,green,blue}'::bench_color[])[1 + i % 3]"),
        before=DROP_TYPE.format("bench_color", "ENUM ('red', 'green', 'blue')"),
        tunes={"psycopg": load_enum_as_text},
    ),
    Family(
        *("composite", "bench_item", "ROW(i, 'row number ' || i, i * 0.5)::bench_item"),
        before=DROP_TYPE.format("bench_item", "(id int4, name text, ratio float8)"),
        weight=10,
        tunes={"psycopg": register_composite},
    ),
    Family(
        *("record", "record", "i", "ROW(v, 'row number', v * 0.5::float8)"),
        weight=10,
        is_argument=False,
    ),
    Family(
        *("hstore", "hstore", "hstore('{a,b,c}', ARRAY[i::text, 'x', NULL])"),
        before=f"CREATE EXTENSION IF NOT EXISTS hstore SCHEMA {SHARED_SCHEMA}",
        weight=10,
        tunes={
            "chopin": use_hstore,
            "asyncpg": use_hstore,
            "psycopg": register_hstore,
        },
    ),
    array_of("int4", "hashint4(i + j)"),
    array_of("int4", "hashint4(i + j)", 100, "_100"),
    array_of("int4", "hashint4(i + j)", 10, "_2d", "ARRAY[v, v]"),
    array_of("int8", "hashint8extended(i + j, 0)"),
    array_of("int8", "hashint8extended(i + j, 0)", 100, "_100"),
    array_of("float8", "i * j * 0.37"),
    array_of("bool", "(i + j) % 3 = 0"),
    array_of("text", "'item ' || j"),
    array_of("uuid", "md5((i + j)::text)"),
    array_of("timestamptz", f"timestamptz {NEW_YEAR} + j * {MOMENT}"),
    array_of("numeric", "((i + j) * 0.01)::numeric(12, 2)"),
)


# -- the two directions ----------------------------------------------------------------


async def run_decode(family: Family, seat: TypeSeat, items: Items, columns: int) -> Any:
    """Fetch a row for each item, all in one result."""
    values = ", ".join([family.read] * columns)
    rows = await seat.session.fetch(
        f"SELECT {values} FROM {family.table} LIMIT {len(items)}"
    )
    return len(rows), plain(rows[0][0]), plain(rows[-1][-1])


async def run_encode(
    family: Family, seat: TypeSeat, items: Items, parameters: int
) -> Any:
    """Call as often as there are items."""
    wanted = ",".join(f"${n}::{family.sql_type}" for n in range(1, parameters + 1))
    query = f"SELECT 1 WHERE ROW({wanted}) IS NULL"
    fetch = seat.session.fetch
    arguments = seat.values[:parameters]
    rows: list[Any] = []
    for _ in items:
        rows = await fetch(query, *arguments)
    return len(rows)


def plain(value: Any) -> Any:
    """A value in classes that are nobody's own, so that drivers can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) or hasattr(value, "keys"):
        return [plain(item) for item in value]
    if hasattr(value, "lower_inc"):
        return plain((value.lower, value.upper, value.lower_inc, value.upper_inc))
    if hasattr(value, "is_closed") or type(value).__name__ == "Multirange":
        return [plain(item) for item in value]
    if hasattr(value, "as_string"):
        return value.as_string()
    return value


def decoding(family: Family) -> TypeWorkload:
    """Rows of this type; an item is a row."""
    sizes = Sizes(*(size // family.weight for size in dataclasses.astuple(ROWS)))
    return _workload(DECODE, family, sizes, run_decode, WIDE)


def encoding(family: Family) -> TypeWorkload:
    """Arguments of this type; an item is a call."""
    many = PARAMETERS // min(family.weight, 10)
    return _workload(ENCODE, family, CALLS, run_encode, many)


def _workload(
    group: str, family: Family, sizes: Sizes, run: Callable[..., Any], many: int
) -> TypeWorkload:
    return TypeWorkload(
        *(f"{group}_{family.name}", group, "ns", sizes, count, partial(run, family)),
        slices=1,
        lacking=LACKING,
        is_countable=False,
        family=family,
        many=many,
    )


TYPED = [
    *map(decoding, FAMILIES),
    *(encoding(family) for family in FAMILIES if family.is_argument),
]
