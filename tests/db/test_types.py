"""Values of the built-in types, both ways, and what is refused."""

import datetime
import decimal
import ipaddress
import math
import re
import uuid
from datetime import date, time, timedelta
from decimal import Decimal

import pytest

import chopin
from chopin.types import Point, Range

UTC = datetime.UTC


def at(*fields, tz=None):
    """A datetime, naive unless a zone is given."""
    return datetime.datetime(*fields, tzinfo=tz)


def offset(**fields):
    """A fixed time zone."""
    return datetime.timezone(timedelta(**fields))


# The type, a literal of it in SQL, and the value in Python.
VALUES = [
    ("bool", "true", True),
    ("bool", "false", False),
    ("int2", "-32768", -32768),
    ("int2", "32767", 32767),
    ("int4", "-2147483648", -2147483648),
    ("int4", "2147483647", 2147483647),
    ("int8", "-9223372036854775808", -9223372036854775808),
    ("int8", "9223372036854775807", 9223372036854775807),
    ("oid", "4294967295", 4294967295),
    ("xid", "5", 5),
    ("float4", "1.25", 1.25),
    ("float4", "-Infinity", -math.inf),
    ("float8", "0.1", 0.1),
    ("float8", "Infinity", math.inf),
    ("float8", "2.2250738585072014e-308", 2.2250738585072014e-308),
    ("text", "", ""),
    ("text", "naïve 🐘 名", "naïve 🐘 名"),
    ("varchar", "x", "x"),
    ("bpchar", "x ", "x "),
    ("name", "x", "x"),
    ('"char"', "x", b"x"),
    ("bytea", r"\x00ff5c", b"\x00\xff\\"),
    ("bytea", "", b""),
    ("json", '{"a":  1}', '{"a":  1}'),
    ("jsonb", '{"a": [1, null]}', '{"a": [1, null]}'),
    ("jsonpath", '$."a"', '$."a"'),
    (
        "uuid",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ),
    ("numeric", "0", Decimal("0")),
    ("numeric", "1.50", Decimal("1.50")),
    ("numeric", "100000", Decimal("100000")),
    ("numeric", "-0.00001", Decimal("-0.00001")),
    (
        "numeric",
        "12345678901234567890.123456789",
        Decimal("12345678901234567890.123456789"),
    ),
    ("numeric", "Infinity", Decimal("Infinity")),
    ("numeric", "-Infinity", Decimal("-Infinity")),
    ("date", "2000-01-01", date(2000, 1, 1)),
    ("date", "1999-12-31", date(1999, 12, 31)),
    ("date", "2024-02-29", date(2024, 2, 29)),
    ("date", "0001-01-02", date(1, 1, 2)),
    ("date", "infinity", date.max),
    ("date", "-infinity", date.min),
    ("time", "00:00:00", time(0)),
    ("time", "23:59:59.999999", time(23, 59, 59, 999999)),
    ("timetz", "12:00:00.5+02", time(12, 0, 0, 500000, offset(hours=2))),
    ("timetz", "12:00:00-05:30", time(12, tzinfo=offset(hours=-5, minutes=-30))),
    ("timestamp", "2000-01-01 00:00:00", at(2000, 1, 1)),
    ("timestamp", "1969-07-20 20:17:40.000001", at(1969, 7, 20, 20, 17, 40, 1)),
    ("timestamp", "9999-12-31 23:59:59", at(9999, 12, 31, 23, 59, 59)),
    ("timestamp", "infinity", datetime.datetime.max),
    ("timestamp", "-infinity", datetime.datetime.min),
    (
        "timestamptz",
        "2024-02-29 12:30:00.25+00",
        at(2024, 2, 29, 12, 30, 0, 250000, tz=UTC),
    ),
    ("timestamptz", "infinity", datetime.datetime.max),
    ("timestamptz", "-infinity", datetime.datetime.min),
    ("interval", "00:00:00", timedelta()),
    ("interval", "-3 days +04:05:06.7", timedelta(-3, 14706, 700000)),
    ("interval", "1000 days", timedelta(1000)),
    ("inet", "192.0.2.1", ipaddress.ip_address("192.0.2.1")),
    ("inet", "192.0.2.1/24", ipaddress.ip_interface("192.0.2.1/24")),
    ("inet", "2001:db8::1", ipaddress.ip_address("2001:db8::1")),
    ("inet", "2001:db8::1/64", ipaddress.ip_interface("2001:db8::1/64")),
    ("cidr", "192.0.2.0/24", ipaddress.ip_network("192.0.2.0/24")),
    ("cidr", "2001:db8::/32", ipaddress.ip_network("2001:db8::/32")),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("point", "(1.5,-2)", Point(1.5, -2.0)),
    ("int4range", "[1,5)", Range(1, 5)),
    ("int4range", "empty", Range(empty=True)),
    ("int4range", "(,5)", Range(None, 5)),
    ("int8range", "[1,)", Range(1, None)),
    (
        "numrange",
        "(1.5,2.5]",
        Range(Decimal("1.5"), Decimal("2.5"), lower_inc=False, upper_inc=True),
    ),
    ("daterange", "[2020-01-01,2020-02-01)", Range(date(2020, 1, 1), date(2020, 2, 1))),
    ("tsrange", "(,)", Range()),
    ("tstzrange", '["2020-01-01 00:00:00+00",)', Range(at(2020, 1, 1, tz=UTC), None)),
]


@pytest.mark.parametrize(("name", "literal", "value"), VALUES)
async def test_value(conn, name, literal, value):
    """A value arrives as it is in the server, and goes there again unchanged."""
    quoted = literal.replace("'", "''")
    got = await conn.fetchval(f"SELECT '{quoted}'::{name}")
    assert got == value
    assert type(got) is type(value)
    row = await conn.fetchrow(
        f"SELECT $1::{name}, ($1::{name})::text, ('{quoted}'::{name})::text", value
    )
    assert row[0] == value
    assert row[1] == row[2]


@pytest.mark.parametrize(("name", "literal", "value"), VALUES)
async def test_array_of_values(conn, name, literal, value):
    """Arrays of the type hold the value and NULL, in any number of dimensions."""
    for sent in [value], [value, None, value], [[value, value], [None, value]], [None]:
        got = await conn.fetchval(f"SELECT $1::{name}[]", sent)
        assert got == sent
    assert type((await conn.fetchval(f"SELECT $1::{name}[]", [value]))[0]) is type(
        value
    )


@pytest.mark.parametrize("name", sorted({name for name, _, _ in VALUES}))
async def test_null(conn, name):
    """NULL is None, alone and as an array; an empty array is an empty list."""
    row = await conn.fetchrow(
        f"SELECT $1::{name}, $2::{name}[], $3::{name}[]", None, None, []
    )
    assert row == (None, None, [])


async def test_not_a_number(conn):
    """NaN is NaN in all three types that have it."""
    row = await conn.fetchrow(
        "SELECT $1::float4, $2::float8, $3::numeric, 'NaN'::numeric",
        math.nan, math.nan, Decimal("NaN"),
    )  # fmt: skip
    assert all(value != value for value in row)
    assert [type(value) for value in row] == [float, float, Decimal, Decimal]


@pytest.mark.parametrize(
    "text",
    [
        "0", "0.00", "1.50", "10000", "100000000", "1.0", "0.0001", "0.00010",
        "-9999.9999",
        "123456789012345678901234567890", "1e20", "-1e-20", "9999", "10001.0001",
        "0.000000000000000000000000000001", "1" + "0" * 200, "0." + "0" * 200 + "1",
    ],
)  # fmt: skip
async def test_numeric_keeps_its_scale(conn, text):
    """Digits and scale are the server's, and nothing is in exponents."""
    want = await conn.fetchval(f"SELECT '{text}'::numeric::text")
    got = await conn.fetchval(f"SELECT '{text}'::numeric")
    assert got == Decimal(text)
    assert f"{got:f}" == want
    assert got.as_tuple().exponent <= 0
    sent = Decimal(text)
    back, shown = await conn.fetchrow("SELECT $1::numeric, $1::numeric::text", sent)
    assert back == sent
    assert Decimal(shown) == sent


async def test_numeric_ignores_the_context(conn):
    """The user's decimal context neither rounds nor traps."""
    long = "1." + "3" * 60
    with decimal.localcontext() as context:
        context.prec = 5
        context.traps[decimal.Inexact] = True
        got = await conn.fetchrow(
            "SELECT $1::numeric, $2::numeric", Decimal(long), long
        )
    assert [str(value) for value in got] == [long, long]


# The type, what is sent, and the value that the server has then.
CONVERTED = [
    ("int4", True, 1),
    ("float8", 1, 1.0),
    ("float8", Decimal("1.5"), 1.5),
    ("float4", 0.1, 0.10000000149011612),
    ("numeric", 5, Decimal(5)),
    ("numeric", "1.10", Decimal("1.10")),
    ("numeric", 1.1, Decimal.from_float(1.1)),
    ("numeric", 0.5, Decimal("0.5")),
    ("varchar(2)", "abc", "ab"),
    ("char(3)", "a", "a  "),
    ("bytea", bytearray(b"x"), b"x"),
    ("bytea", memoryview(b"abcd")[::1], b"abcd"),
    (
        "uuid",
        "6BA7B8109DAD11D180B400C04FD430C8",
        uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ),
    ("date", at(2020, 1, 2, 3, 4), date(2020, 1, 2)),
    ("time", time(1, tzinfo=UTC), time(1)),
    ("timestamp", date(2020, 1, 1), at(2020, 1, 1)),
    ("timestamptz", at(2020, 1, 1, 2, tz=offset(hours=2)), at(2020, 1, 1, tz=UTC)),
    ("inet", "192.0.2.1/24", ipaddress.ip_interface("192.0.2.1/24")),
    (
        "inet",
        ipaddress.ip_network("192.0.2.0/24"),
        ipaddress.ip_interface("192.0.2.0/24"),
    ),
    ("cidr", "192.0.2.0/24", ipaddress.ip_network("192.0.2.0/24")),
    ("point", (1, 2), Point(1.0, 2.0)),
    ("int4[]", (1, 2), [1, 2]),
    ("int4[]", {1}, [1]),
    ("int4[]", range(3), [0, 1, 2]),
    ("int4[]", {1: "x"}.keys(), [1]),
    ("int4range", (1, 2), Range(1, 3)),
    ("int4range", [1, 2], Range(1, 3)),
    ("int4range", (1,), Range(1, None)),
    ("int4range", (), Range(empty=True)),
    ("int4range", Range(1, 5, upper_inc=True), Range(1, 6)),
    ("numrange", (1, 2), Range(Decimal(1), Decimal(2), upper_inc=True)),
]


@pytest.mark.parametrize(("name", "sent", "value"), CONVERTED)
async def test_converted(conn, name, sent, value):
    """Other Python types are taken where nothing is lost."""
    got = await conn.fetchval(f"SELECT $1::{name}", sent)
    assert got == value
    assert type(got) is type(value)


INTEGER = "object cannot be interpreted as an integer"
UNEVEN = "non-homogeneous array: sub-arrays must have the same length"
# The type, the value, and asyncpg's reason where it has one that says something.
REFUSED = [
    ("int2", 40000, "value out of int16 range"),
    ("int2", -32769, "value out of int16 range"),
    ("int4", 2**31, "value out of int32 range"),
    ("int4", -(2**31) - 1, "value out of int32 range"),
    ("int8", 2**63, "value out of int64 range"),
    ("int8", 2**200, "value out of int64 range"),
    ("oid", -1, "value out of uint32 range"),
    ("oid", 2**32, "value out of uint32 range"),
    ("int4", "1", f"'str' {INTEGER}"),
    ("int4", b"1", f"'bytes' {INTEGER}"),
    ("int4", [1], f"'list' {INTEGER}"),
    ("int8", "x", f"'str' {INTEGER}"),
    ("int4", 1.5, None),
    ("int2", -0.5, None),
    ("int8", Decimal("1.5"), None),
    ("int4", math.nan, None),
    ("int4", math.inf, None),
    ("bool", 1, "a boolean is required (got type int)"),
    ("bool", "t", "a boolean is required (got type str)"),
    ("float8", "1", "must be real number, not str"),
    ("float8", 2**5000, "int too large to convert to float"),
    ("float4", 1e300, "value out of float32 range"),
    ("text", 5, "expected str, got int"),
    ("text", b"x", "expected str, got bytes"),
    ("varchar", 5, "expected str, got int"),
    ("text", "\ud800", None),
    ("json", {"a": 1}, "expected str, got dict"),
    ("jsonb", {"a": 1}, "expected str, got dict"),
    ("bytea", "x", "a bytes-like object is required, not 'str'"),
    ("bytea", 5, "a bytes-like object is required, not 'int'"),
    ("bytea", [1], "a bytes-like object is required, not 'list'"),
    ("uuid", "x", "invalid UUID 'x': length must be between 32..36 characters, got 1"),
    ("uuid", 5, None),
    ("uuid", b"x" * 16, None),
    ("date", "2020-01-01", None),
    ("date", 5, None),
    ("time", "12:00", None),
    ("timetz", time(1), None),
    (
        "timestamp",
        "x",
        "expected a datetime.date or datetime.datetime instance, got 'str'",
    ),
    ("timestamp", at(2020, 1, 1, tz=UTC), None),
    (
        "timestamptz",
        5,
        "expected a datetime.date or datetime.datetime instance, got 'int'",
    ),
    ("interval", "a while", None),
    ("interval", 5, None),
    ("numeric", "x", None),
    (
        "inet",
        "300.0.0.1",
        "'300.0.0.1' does not appear to be an IPv4 or IPv6 interface",
    ),
    ("cidr", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
    ("point", (1,), None),
    ("point", 5, None),
    ("macaddr", 5, "expected str, got int"),
    ('"char"', "x", "a bytes-like object is required, not 'str'"),
    ("int4[]", 5, "a sized iterable container expected (got type 'int')"),
    ("int4[]", "{1}", "a sized iterable container expected (got type 'str')"),
    ("int4[]", b"1", "a sized iterable container expected (got type 'bytes')"),
    ("int4[]", {"a": 1}, "a sized iterable container expected (got type 'dict')"),
    (
        "int4[]",
        [[[[[[[1]]]]]]],
        "number of array dimensions (7) exceed the maximum expected (6)",
    ),
    ("int4range", 5, "list, tuple or Range object expected (got type <class 'int'>)"),
    ("int4range", (1, 2, 3), "expected 0, 1 or 2 elements in range (got 3)"),
]


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
async def test_refused(conn, name, value, reason):
    """The error names the argument and shows its value; nothing was sent."""
    shown = repr(value)
    if len(shown) > 40:
        shown = shown[:40] + "..."
    start = f"invalid input for query argument $2: {shown} ("
    async with conn.transaction():
        with pytest.raises(chopin.DataError) as caught:
            await conn.fetchval(f"SELECT $1::int, $2::{name}", 1, value)
        assert await conn.fetchval("SELECT 1") == 1
    message = str(caught.value)
    assert message.startswith(start)
    assert message.endswith(")")
    if reason is not None:
        assert message == f"{start}{reason})"
    assert isinstance(caught.value, chopin.PostgresError)
    assert caught.value.sqlstate == "22000"
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("int4[]", ["x"], f"$1[0]: 'x' ('str' {INTEGER})"),
        ("text[]", ["a", 5], "$1[1]: 5 (expected str, got int)"),
        ("bool[]", [True, None, 1], "$1[2]: 1 (a boolean is required (got type int))"),
        ("int2[]", [[1, 2], [3, 70000]], "$1[1][1]: 70000 (value out of int16 range)"),
        ("int4[]", [[1], [2, 3]], f"$1[1]: [2, 3] ({UNEVEN})"),
        ("int4[]", [1, [2]], f"$1[1]: [2] ({UNEVEN})"),
        ("int4[]", [[1], None], f"$1[1]: None ({UNEVEN})"),
        ("int4range", ("a", 2), f"$1.lower: 'a' ('str' {INTEGER})"),
        ("int4range[]", [(1, 2), (1, "b")], f"$1[1].upper: 'b' ('str' {INTEGER})"),
    ],
)
async def test_refused_element(conn, name, value, message):
    """An element that is refused is named by its place in the argument."""
    with pytest.raises(chopin.DataError) as caught:
        await conn.fetchval(f"SELECT $1::{name}", value)
    assert str(caught.value) == f"invalid input for query argument {message}"


async def test_long_value_is_cut(conn):
    """At most 40 characters of a value are shown."""
    with pytest.raises(chopin.DataError) as caught:
        await conn.fetchval("SELECT $1::int", "x" * 1000)
    assert str(caught.value) == (
        f"invalid input for query argument $1: '{'x' * 39}... ('str' {INTEGER})"
    )


async def test_nul_in_text(conn):
    """Text cannot hold NUL; whoever says so, the connection goes on."""
    with pytest.raises(chopin.DataError):
        await conn.fetchval("SELECT $1::text", "a\0b")
    assert await conn.fetchval("SELECT 1") == 1


# What Python's classes cannot hold.
BEYOND = [
    ("date", "0044-03-15 BC"),
    ("date", "0001-12-31 BC"),
    ("date", "4714-11-24 BC"),
    ("date", "10000-01-01"),
    ("date", "5874897-12-31"),
    ("time", "24:00:00"),
    ("timetz", "24:00:00+02"),
    ("timestamp", "0044-03-15 12:00:00 BC"),
    ("timestamp", "294276-12-31 23:59:59.999999"),
    ("timestamptz", "0044-03-15 12:00:00+00 BC"),
    ("timestamptz", "10000-01-01 00:00:00+00"),
]


@pytest.mark.parametrize(("name", "text"), BEYOND)
async def test_beyond_python(conn, name, text):
    """What Python cannot hold is text as the server writes it, and can be sent back."""
    row = await conn.fetchrow(
        f"SELECT 1, x, x::text, ARRAY[x, NULL], 2 FROM CAST('{text}' AS {name}) AS x"
    )
    assert row == (1, row[2], row[2], [row[2], None], 2)
    assert row[1] == text
    back = await conn.fetchrow(f"SELECT $1::{name}, $1::{name} = '{text}'", row[1])
    assert back == (row[1], True)


async def test_beyond_python_in_one_row_of_many(conn):
    """One such value does not take the others with it."""
    rows = await conn.fetch(
        "SELECT d FROM unnest('{2000-01-01, 0044-03-15 BC, infinity}'::date[]) AS d"
    )
    assert [row[0] for row in rows] == [date(2000, 1, 1), "0044-03-15 BC", date.max]


async def test_beyond_python_in_a_range(conn):
    """Bounds of a range follow the same rule."""
    got = await conn.fetchval("SELECT '[0044-03-15 BC,2000-01-01)'::daterange")
    assert got == Range("0044-03-15 BC", date(2000, 1, 1))


async def test_infinite_interval(server, conn):
    """An infinite interval, which PostgreSQL 17 has, is text."""
    if server.version[0] < 17:
        with pytest.raises(chopin.DataError):
            await conn.fetchval("SELECT 'infinity'::interval")
    else:
        for text in "infinity", "-infinity":
            got = await conn.fetchrow(
                f"SELECT '{text}'::interval, $1::interval::text", text
            )
            assert got == (text, text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1 year", timedelta(365)),
        ("1 mon", timedelta(30)),
        ("1 year 2 mons -3 days 04:05:06.7", timedelta(422, 14706, 700000)),
        ("-1 mons +1 day", timedelta(-29)),
        ("14 mons", timedelta(425)),
        ("-00:00:00.000001", timedelta(microseconds=-1)),
    ],
)
async def test_months_in_intervals(conn, text, want):
    """A year has 365 days and a month 30, as timedelta has neither."""
    assert await conn.fetchval(f"SELECT '{text}'::interval") == want


async def test_naive_timestamptz_is_local(conn):
    """A naive datetime for timestamptz is in the local time zone of the program."""
    naive = at(2020, 7, 1, 12)
    assert await conn.fetchval("SELECT $1::timestamptz", naive) == naive.astimezone(UTC)


async def test_timetz_offset_with_seconds(conn):
    """Offsets have seconds, as the server's do."""
    got = await conn.fetchval("SELECT '12:00:00+02:30:15'::timetz")
    assert got == time(12, tzinfo=offset(hours=2, minutes=30, seconds=15))
    assert await conn.fetchval("SELECT $1::timetz", got) == got


async def test_uuid_is_the_standard_class(conn):
    """UUIDs are `uuid.UUID`, in every respect."""
    got = await conn.fetchval("SELECT '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid")
    want = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    assert type(got) is uuid.UUID
    assert (got, hash(got), repr(got)) == (want, hash(want), repr(want))
    assert (got.version, got.int, got.is_safe) == (want.version, want.int, want.is_safe)


# Types without a Python class of their own, and how the server writes them.
AS_TEXT = [
    ("money", "$1.00"),
    ("regclass", "pg_class"),
    ("regtype", "integer"),
    ("tsvector", "'a' 'b'"),
    ("macaddr8", "08:00:2b:01:02:03:04:05"),
    ("regproc", "now"),
    ("tsquery", "'a' & 'b'"),
]


@pytest.mark.parametrize(("name", "text"), AS_TEXT)
async def test_as_text(conn, name, text):
    """The rest is text both ways, also in arrays."""
    quoted = text.replace("'", "''")
    got = await conn.fetchrow(f"SELECT '{quoted}'::{name}, $1::{name}", text)
    assert got == (text, text)
    assert await conn.fetchval(f"SELECT $1::{name}[]", [text, None]) == [text, None]
    with pytest.raises(chopin.DataError, match=r"\$1: 5 \(expected str, got int\)"):
        await conn.fetchval(f"SELECT $1::{name}", 5)


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ("'{}'::int[]", []),
        ("'{{1,2},{3,NULL}}'::int[]", [[1, 2], [3, None]]),
        ("'[5:6]={1,2}'::int[]", [1, 2]),
        ("'[0:0][2:3]={{1,2}}'::int[]", [[1, 2]]),
        ('\'{a,NULL,"NULL",""}\'::text[]', ["a", None, "NULL", ""]),
        ("ARRAY['[1,3)'::int4range, NULL]", [Range(1, 3), None]),
        ("(SELECT array_agg(oid) FROM pg_class WHERE false)", None),
        ("ARRAY[[[1]],[[2]]]", [[[1]], [[2]]]),
        ("pg_sleep(0)", None),
        ("'x'", "x"),
        ("NULL", None),
        ("current_user", "postgres"),
        ("current_schemas(false)", ["public"]),
        ("'a'::\"char\"", b"a"),
        ("1::smallint", 1),
        ("'0/16B3748'::pg_lsn", 23803720),
        ("'5'::xid8", 5),
    ],
)
async def test_expression(conn, expression, want):
    """What common expressions give."""
    assert await conn.fetchval(f"SELECT {expression}") == want


async def test_large_array(conn):
    """An array of 100,000 elements goes both ways."""
    numbers = list(range(100_000))
    assert await conn.fetchval("SELECT $1::int8[]", numbers) == numbers
    assert await conn.fetchval(
        "SELECT sum(x) FROM unnest($1::int8[]) AS x", numbers
    ) == (sum(numbers))


async def test_array_that_lies_about_its_size(conn):
    """An array has the elements that iteration gives, whatever its length says."""

    class Liar(list):
        """Longer than it says."""

        def __len__(self):
            return 2

        def __iter__(self):
            return iter([1, 2, 3])

    assert await conn.fetchval("SELECT $1::int[]", Liar([1])) == [1, 2, 3]
    assert await conn.fetchval("SELECT 1") == 1


async def test_enum_and_domain(conn):
    """Values of enums are text; a domain is its base type; arrays of both work."""
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('calm', 'wild')")
    await conn.execute("CREATE DOMAIN pg_temp.small AS int CHECK (VALUE < 100)")
    row = await conn.fetchrow(
        "SELECT $1::pg_temp.mood, $2::pg_temp.mood[], $3::pg_temp.small,"
        " $4::pg_temp.small[]",
        "calm",
        ["wild", None],
        5,
        [6, None],
    )
    assert row == ("calm", ["wild", None], 5, [6, None])
    with pytest.raises(
        chopin.InvalidTextRepresentationError, match="invalid input value"
    ):
        await conn.fetchval("SELECT $1::pg_temp.mood", "angry")
    with pytest.raises(chopin.DataError, match=r"\$1: 5 \(expected str, got int\)"):
        await conn.fetchval("SELECT $1::pg_temp.mood", 5)
    with pytest.raises(chopin.CheckViolationError):
        await conn.fetchval("SELECT $1::pg_temp.small", 100)


async def test_range_of_the_user(conn):
    """A range type of the user's own has the codec of its bounds."""
    await conn.execute("CREATE TYPE pg_temp.span AS RANGE (subtype = float8)")
    got = await conn.fetchrow(
        "SELECT $1::pg_temp.span, '[1,2)'::pg_temp.span", (1, 2.5)
    )
    assert got == (Range(1.0, 2.5, upper_inc=True), Range(1.0, 2.0))


async def test_type_that_was_made_anew(conn):
    """A type dropped and made again under its name is not taken for the old one."""
    for labels in "'one'", "'two', 'three'":
        await conn.execute(f"CREATE TYPE pg_temp.again AS ENUM ({labels})")
        last = re.findall(r"\w+", labels)[-1]
        got = await conn.fetchval("SELECT $1::pg_temp.again", last)
        assert got == last
        assert await conn.fetchval("SELECT $1::pg_temp.again[]", [last]) == [last]
        await conn.execute("DROP TYPE pg_temp.again")
