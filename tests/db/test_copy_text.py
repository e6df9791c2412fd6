"""COPY in text: what is stored is what an INSERT of the same value stores."""

import datetime
import ipaddress
from decimal import Decimal

import pytest

import chopin
from chopin import Array, Range

DAY = datetime.date(2027, 2, 22)
NOON = datetime.datetime(2027, 2, 22, 12, 30, 0, 5)

TYPES = """
CREATE TYPE pg_temp.mood AS ENUM ('so so', 'null');
CREATE DOMAIN pg_temp.letter AS "char";
CREATE DOMAIN pg_temp.place AS pg_lsn;
CREATE DOMAIN pg_temp.ints AS int4[];
CREATE DOMAIN pg_temp.span AS int4range;
CREATE DOMAIN pg_temp.doc AS jsonb;
CREATE TYPE pg_temp.inner_pair AS (a pg_temp.mood, b text);
CREATE TYPE pg_temp.many AS (
    letter "char", domain pg_temp.letter, lsn pg_lsn, place pg_temp.place,
    ranges int4multirange, pair pg_temp.inner_pair, pairs pg_temp.inner_pair[],
    bounded int4[], words text[], span interval, vector int2vector, data bytea,
    doc pg_temp.doc
);
"""

MANY = (
    b"x",
    b"(",
    2**63 + 5,
    7,
    [Range(1, 3), Range(5, None)],
    ("so so", ""),
    [("null", 'a "b" \\c, d'), None, (None, "NULL")],
    Array([1, 2], 0),
    ["", None, "null", "{", "a\tb\n"],
    datetime.timedelta(days=-1, seconds=5, microseconds=1),
    [1, 2],
    b"\\\0",
    '{"a": [1, "null"]}',
)

# Type, value.
VALUES = [
    ("pg_temp.many", MANY),
    ("pg_temp.many", (None,) * len(MANY)),
    ("pg_temp.many[]", [MANY, None]),
    ('"char"[]', [b"a", b"\0", b",", None]),
    ("pg_lsn[]", [1, 2**64 - 1]),
    ("pg_temp.letter[]", [b"a", b"b"]),
    ("pg_temp.place[]", [2**32]),
    ("pg_temp.ints[]", [[1, 2], [], None]),
    ("pg_temp.span[]", [Range(1, 5), Range(empty=True), Range()]),
    ("pg_temp.doc[]", ["null", '"x"', "5"]),
    ("pg_temp.mood[]", ["null", "so so", None]),
    ("int4[]", Array([1, None], -3)),
    ("int4[]", Array([[1, 2], [3, 4]], (0, 5))),
    ("int4[]", Array([], 7)),
    ("int4[]", [[[1], [None]]]),
    ("text[]", Array(["a,b"], 0)),
    ("int2vector", [1, 2]),
    ("oidvector", [1, 2]),
    ("oidvector[]", [[1, 2], None]),
    ("int4multirange", []),
    ("datemultirange[]", [[Range(DAY, None)], []]),
    ("tsrange", Range(NOON, datetime.datetime.max, lower_inc=False)),
    ("numrange[]", [Range(Decimal("1.50"), Decimal("NaN"), upper_inc=True)]),
    ("daterange", Range(datetime.date.min, datetime.date.max)),
    ("interval", datetime.timedelta(days=-7, microseconds=1)),
    ("interval", datetime.timedelta(days=999_999_999, hours=23)),
    ("timestamp[]", [datetime.datetime.max, datetime.datetime.min, NOON, None]),
    ("timestamptz", "10000-01-01 00:00:00+00"),
    ("date", "0044-03-15 BC"),
    ("timetz", "24:00:00-05:30"),
    ("float4[]", [0.1, float("inf"), float("nan"), 1e-40]),
    ("inet[]", [ipaddress.ip_interface("10.0.0.1/8")]),
    ("varbit[]", [chopin.BitString(""), chopin.BitString("101")]),
]


async def stored(conn, kind, value):
    """What an INSERT and a COPY in text make of a value, as the server's bytes."""
    await conn.execute(f"CREATE TEMP TABLE both_ways (a {kind}, acl aclitem)")
    await conn.execute("INSERT INTO both_ways VALUES ($1)", value)
    await conn.copy_records_to_table("both_ways", records=[(value, None)])
    rows = await conn.script("SELECT a::text, hashtext(a::text) FROM both_ways")
    await conn.execute("DROP TABLE both_ways")
    return rows[0]


async def test_what_is_stored(conn):
    """Nothing of a value is lost, however deep it lies."""
    await conn.execute(TYPES)
    for style in "postgres", "sql_standard", "iso_8601":
        await conn.execute(f"SET IntervalStyle = '{style}'")
        for kind, value in VALUES:
            inserted, copied = await stored(conn, kind, value)
            assert (kind, copied) == (kind, inserted)


async def test_codecs_of_the_user(connect):
    """What they make is what is stored, and what nobody can write is refused."""
    months = chopin.TypeCodec(
        encoder=lambda n: (n, -1, -5), decoder=tuple, format="tuple"
    )
    days = chopin.TypeCodec(
        encoder=lambda n: (n,), decoder=lambda t: t[0], format="tuple"
    )
    whole = chopin.TypeCodec(
        encoder=lambda v: Array(v, 0), decoder=list, format="value"
    )
    raw = chopin.TypeCodec(encoder=bytes, decoder=bytes, format="binary")
    conn = await connect(
        json=True,
        codecs={
            "interval": months, "date": days, "int4[]": whole, "mood[]": whole,
            "int8[]": "array.bounded", "raw": raw,
        },
    )  # fmt: skip
    await conn.execute(TYPES)
    await conn.execute("CREATE DOMAIN pg_temp.raw AS macaddr")
    for kind, value in [
        ("interval", 14),
        ("interval[]", [1, -1]),
        ("date", 2_921_939),  # 9999-12-31, which is not infinity
        ("date", 2**31 - 1),
        ("int4[]", [1]),
        ("pg_temp.mood[]", ["null"]),
        ("int8[]", Array([1], 5)),
        ("pg_temp.doc[]", ["null", None, {"a": "\\"}]),
    ]:
        inserted, copied = await stored(conn, kind, value)
        assert (kind, copied) == (kind, inserted)
    with pytest.raises(chopin.DataError, match="raw has no text form here"):
        await stored(conn, "pg_temp.raw[]", [b"123456"])
