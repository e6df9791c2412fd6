"""The codecs of scalar types, value by value, against the bytes that PostgreSQL sends.

The bytes in the tables are those of the server's send functions; the third column says
what they are in SQL.
"""

from __future__ import annotations

import array
import datetime
import ipaddress
import math
import struct
import uuid
from collections.abc import Iterator
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from typing import Any

import pytest
from asyncpg.pgproto.pgproto import UUID as TheirUUID  # a subclass by its name only
from hypothesis import example, given
from hypothesis import strategies as st

from chopin._codecs import decode_value, encode_value
from chopin.exceptions import DataError
from chopin.types import Point

BOOL, BYTEA, CHAR, NAME, INT8, INT2, INT4, TEXT, OID = (
    16,
    17,
    18,
    19,
    20,
    21,
    23,
    25,
    26,
)
XID, CID, JSON, XML, XID8, POINT, CIDR = 28, 29, 114, 142, 5069, 600, 650
FLOAT4, FLOAT8, UNKNOWN, MACADDR, INET = 700, 701, 705, 829, 869
BPCHAR, VARCHAR, NUMERIC, VOID, CSTRING = 1042, 1043, 1700, 2278, 2275
UUID, PG_LSN, JSONB, JSONPATH = 2950, 3220, 3802, 4072

ANY_UUID = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")

# (oid, value, bytes, what it is in SQL)
BOTH_WAYS: list[tuple[int, Any, str, str]] = [
    (BOOL, True, "01", "true"),
    (BOOL, False, "00", "false"),
    (INT2, 0, "0000", "0::int2"),
    (INT2, -32768, "8000", "(-32768)::int2"),
    (INT2, 32767, "7fff", "32767::int2"),
    (INT4, -1, "ffffffff", "-1"),
    (INT4, -(2**31), "80000000", "-2147483648"),
    (INT4, 2**31 - 1, "7fffffff", "2147483647"),
    (INT8, 258, "0000000000000102", "258::int8"),
    (INT8, -(2**63), "8000000000000000", "-9223372036854775808"),
    (INT8, 2**63 - 1, "7fffffffffffffff", "9223372036854775807"),
    (OID, 2**32 - 1, "ffffffff", "4294967295::oid"),
    (XID, 3, "00000003", "'3'::xid"),
    (CID, 0, "00000000", "'0'::cid"),
    (XID8, 2**64 - 1, "ffffffffffffffff", "'18446744073709551615'::xid8"),
    (PG_LSN, 0x16B374D848, "00000016b374d848", "'16/B374D848'::pg_lsn"),
    (FLOAT4, 1.5, "3fc00000", "1.5::float4"),
    (FLOAT4, math.inf, "7f800000", "'infinity'::float4"),
    (FLOAT4, -math.inf, "ff800000", "'-infinity'::float4"),
    (FLOAT8, 0.1, "3fb999999999999a", "0.1::float8"),
    (FLOAT8, -0.0, "8000000000000000", "'-0'::float8"),
    (FLOAT8, math.inf, "7ff0000000000000", "'infinity'::float8"),
    (FLOAT8, 5e-324, "0000000000000001", "5e-324::float8"),
    (TEXT, "", "", "''"),
    (TEXT, "a", "61", "'a'"),
    (TEXT, "\xe9", "c3a9", "U&'\\00e9'"),
    (TEXT, "0123456789abcdef!", b"0123456789abcdef!".hex(), "17 ASCII characters"),
    (TEXT, "0123456\xe9", b"0123456".hex() + "c3a9", "the last one is not ASCII"),
    (TEXT, "\U0001f40d", "f09f908d", "U&'\\+01f40d'"),
    (VARCHAR, "ab", "6162", "'ab'::varchar"),
    (BPCHAR, "ab  ", "61622020", "'ab'::char(4)"),
    (NAME, "pg_class", b"pg_class".hex(), "'pg_class'::name"),
    (UNKNOWN, "x", "78", "'x'"),
    (CSTRING, "x", "78", "a cstring"),
    (XML, "<a/>", "3c612f3e", "'<a/>'::xml"),
    (JSON, '{"a": 1}', b'{"a": 1}'.hex(), """'{"a": 1}'::json"""),
    (JSONB, '{"a": 1}', "01" + b'{"a": 1}'.hex(), """'{"a": 1}'::jsonb"""),
    (JSONPATH, "$.a", "01242e61", "'$.a'::jsonpath"),
    (CHAR, b"a", "61", "'a'::\"char\""),
    (CHAR, b"\xff", "ff", "'\\377'::\"char\""),
    (BYTEA, b"", "", "''::bytea"),
    (BYTEA, b"\x00\xff", "00ff", "'\\x00ff'::bytea"),
    (UUID, ANY_UUID, ANY_UUID.hex, f"'{ANY_UUID}'::uuid"),
    (UUID, uuid.UUID(int=0), "00" * 16, "the nil uuid"),
    (UUID, uuid.UUID(int=2**128 - 1), "ff" * 16, "the max uuid"),
    (NUMERIC, Decimal("0"), "0000000000000000", "0::numeric"),
    (NUMERIC, Decimal("0.00"), "0000000000000002", "0.00"),
    (NUMERIC, Decimal("1"), "00010000000000000001", "1::numeric"),
    (NUMERIC, Decimal("-1"), "00010000400000000001", "-1::numeric"),
    (NUMERIC, Decimal("9999"), "0001000000000000270f", "9999::numeric"),
    (NUMERIC, Decimal("10000"), "00010001000000000001", "10000::numeric"),
    (NUMERIC, Decimal("1.50"), "000200000000000200011388", "1.50"),
    (NUMERIC, Decimal("-0.001"), "0001ffff40000003000a", "-0.001"),
    (NUMERIC, Decimal("0.00010001"), "0002ffff0000000800010001", "0.00010001"),
    (NUMERIC, Decimal("1E-10"), "0001fffd0000000a0064", "0.0000000001"),
    (NUMERIC, Decimal("123456.7800"), "000300010000000400" + "0c0d801e78", "a mix"),
    (NUMERIC, Decimal("1E+131071"), "00017fff0000000003e8", "the most digits before"),
    (NUMERIC, Decimal("1E-16383"), "0001f00000003fff000a", "the most digits after"),
    (NUMERIC, Decimal("Infinity"), "00000000d0000000", "'infinity'::numeric"),
    (NUMERIC, Decimal("-Infinity"), "00000000f0000000", "'-infinity'::numeric"),
    (INET, ipaddress.ip_address("1.2.3.4"), "0220000401020304", "'1.2.3.4'::inet"),
    (
        INET,
        ipaddress.ip_interface("1.2.3.4/8"),
        "0208000401020304",
        "'1.2.3.4/8'::inet",
    ),
    (INET, ipaddress.ip_address("::1"), "03800010" + "00" * 15 + "01", "'::1'::inet"),
    (
        INET,
        ipaddress.ip_interface("2001:db8::1/64"),
        "03400010" + "20010db8" + "00" * 11 + "01",
        "'2001:db8::1/64'::inet",
    ),
    (CIDR, ipaddress.ip_network("10.0.0.0/8"), "020801040a000000", "'10/8'::cidr"),
    (CIDR, ipaddress.ip_network("::/0"), "03000110" + "00" * 16, "'::/0'::cidr"),
    (MACADDR, "08:00:2b:01:02:03", "08002b010203", "'08:00:2b:01:02:03'::macaddr"),
    (POINT, Point(1.5, -2.0), "3ff8000000000000c000000000000000", "point(1.5, -2)"),
]


@pytest.mark.parametrize(("oid", "value", "data", "sql"), BOTH_WAYS)
def test_value_and_bytes(oid: int, value: Any, data: str, sql: str) -> None:
    """A value has the server's bytes, and the bytes are the value, type included."""
    got = decode_value(oid, bytes.fromhex(data))
    assert encode_value(oid, value).hex() == data, sql
    assert (got, type(got)) == (value, type(value)), sql
    if isinstance(value, float):
        assert math.copysign(1, got) == math.copysign(1, value), sql


class Indexed:
    """An integer that is no int."""

    def __index__(self) -> int:
        return 7


class Intlike:
    """What only `int()` takes."""

    def __int__(self) -> int:
        return 7


class Real:
    """A real number that is no float."""

    def __float__(self) -> float:
        return 2.5


class Text(str):
    """A str of the user's own."""


class Number(Decimal):
    """A Decimal of the user's own, which shows itself in its own way."""

    def __str__(self) -> str:
        return "a number"


class ForeignUUID:
    """A UUID of another library."""

    bytes = ANY_UUID.bytes


class ShortUUID:
    """Something with an attribute `bytes` that is no UUID."""

    bytes = b"123"


class OwnUUID(uuid.UUID):
    """A UUID of the user's own."""


# (oid, value, the value that has the same bytes)
ALSO_TAKEN: list[tuple[int, Any, Any]] = [
    (INT4, True, 1),
    (INT2, Indexed(), 7),
    (INT4, Intlike(), 7),
    (INT8, 2.0, 2),
    (INT8, Decimal("1E+3"), 1000),
    (INT4, Fraction(4, 2), 2),
    (OID, Indexed(), 7),
    (XID8, Indexed(), 7),
    (FLOAT8, 1, 1.0),
    (FLOAT8, True, 1.0),
    (FLOAT8, Real(), 2.5),
    (FLOAT8, Indexed(), 7.0),
    (FLOAT8, Decimal("1.5"), 1.5),
    (FLOAT4, Fraction(1, 2), 0.5),
    (FLOAT4, 1e-50, 0.0),
    (TEXT, Text("abc"), "abc"),
    (JSONB, Text("[]"), "[]"),
    (BYTEA, bytearray(b"ab"), b"ab"),
    (BYTEA, memoryview(b"ab"), b"ab"),
    (BYTEA, memoryview(b"abc")[::2], b"ac"),
    (BYTEA, array.array("H", [258]), struct.pack("=H", 258)),
    (CHAR, bytearray(b"a"), b"a"),
    (UUID, str(ANY_UUID), ANY_UUID),
    (UUID, ANY_UUID.hex.upper(), ANY_UUID),
    (UUID, Text(ANY_UUID), ANY_UUID),
    (UUID, ForeignUUID(), ANY_UUID),
    (UUID, OwnUUID(int=ANY_UUID.int), ANY_UUID),
    (UUID, TheirUUID(str(ANY_UUID)), ANY_UUID),
    (NUMERIC, True, Decimal(1)),
    (NUMERIC, 2**64, Decimal(2**64)),
    (NUMERIC, -(10**30), Decimal(-(10**30))),
    (NUMERIC, 1.5, Decimal("1.5")),
    (NUMERIC, 1.1, Decimal.from_float(1.1)),
    (NUMERIC, "12.50", Decimal("12.50")),
    (NUMERIC, " 1_000 ", Decimal(1000)),
    (NUMERIC, (0, (1, 2), -1), Decimal("1.2")),
    (NUMERIC, Number("1.5"), Decimal("1.5")),
    (NUMERIC, Decimal("-0.0"), Decimal("0.0")),
    (NUMERIC, "-inf", Decimal("-Infinity")),
    (INET, "1.2.3.4", ipaddress.ip_address("1.2.3.4")),
    (INET, "::1/64", ipaddress.ip_interface("::1/64")),
    (INET, ipaddress.ip_interface("1.2.3.4/32"), ipaddress.ip_address("1.2.3.4")),
    (INET, ipaddress.ip_network("1.2.3.0/24"), ipaddress.ip_interface("1.2.3.0/24")),
    (CIDR, "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
    (CIDR, ipaddress.ip_address("::1"), ipaddress.ip_network("::1/128")),
    (POINT, (1, 2), Point(1, 2)),
    (POINT, [1, 2.5], Point(1, 2.5)),
    *(
        (MACADDR, spelling, "08:00:2b:01:02:03")
        for spelling in (
            "08:00:2B:01:02:03",
            " 8:0:2b:1:2:3 ",
            "08-00-2b-01-02-03",
            "08002b:010203",
            "08002b-010203",
            "0800.2b01.0203",
            "0800-2b01-0203",
            "08002b010203",
        )
    ),
]


@pytest.mark.parametrize(("oid", "value", "same"), ALSO_TAKEN)
def test_other_python_types(oid: int, value: Any, same: Any) -> None:
    """What stands for the same value has the same bytes."""
    assert encode_value(oid, value) == encode_value(oid, same)


# (oid, value, error, part of its text)
REFUSED: list[tuple[int, Any, type[Exception], str]] = [
    (BOOL, 1, TypeError, r"a boolean is required \(got type int\)"),
    (BOOL, "t", TypeError, r"a boolean is required \(got type str\)"),
    (INT2, 32768, OverflowError, "value out of int16 range"),
    (INT2, -32769, OverflowError, "value out of int16 range"),
    (INT4, 2**31, OverflowError, "value out of int32 range"),
    (INT4, -(2**31) - 1, OverflowError, "value out of int32 range"),
    (INT8, 2**63, OverflowError, "value out of int64 range"),
    (INT8, -(2**70), OverflowError, "value out of int64 range"),
    (OID, -1, OverflowError, "value out of uint32 range"),
    (OID, 2**32, OverflowError, "value out of uint32 range"),
    (XID8, -1, OverflowError, "value out of uint64 range"),
    (XID8, 2**64, OverflowError, "value out of uint64 range"),
    (INT4, 1.5, ValueError, "a whole number is required"),
    (INT4, Decimal("1.5"), ValueError, "a whole number is required"),
    (XID8, 1.5, ValueError, "a whole number is required"),
    (INT4, math.nan, ValueError, "cannot convert float NaN to integer"),
    (INT4, math.inf, OverflowError, "cannot convert float infinity to integer"),
    (INT4, "1", TypeError, "'str' object cannot be interpreted as an integer"),
    (INT4, b"1", TypeError, "'bytes' object cannot be interpreted as an integer"),
    (INT4, Real(), TypeError, "'Real' object cannot be interpreted as an integer"),
    (FLOAT4, 1e39, ValueError, "value out of float32 range"),
    (FLOAT4, "1", TypeError, "must be real number, not str"),
    (FLOAT8, "1", TypeError, "must be real number, not str"),
    (FLOAT8, 2**2000, OverflowError, "int too large to convert to float"),
    (TEXT, 1, TypeError, "expected str, got int"),
    (TEXT, b"a", TypeError, "expected str, got bytes"),
    (TEXT, "\ud800", UnicodeEncodeError, "surrogates not allowed"),
    (JSON, {}, TypeError, "expected str, got dict"),
    (JSONB, {}, TypeError, "expected str, got dict"),
    (JSONB, "\ud800", UnicodeEncodeError, "surrogates not allowed"),
    (CHAR, b"ab", ValueError, r"one byte is required \(got 2\)"),
    (CHAR, b"", ValueError, r"one byte is required \(got 0\)"),
    (CHAR, "a", TypeError, "a bytes-like object is required, not 'str'"),
    (BYTEA, "a", TypeError, "a bytes-like object is required, not 'str'"),
    (BYTEA, [1], TypeError, "a bytes-like object is required, not 'list'"),
    (UUID, "x", ValueError, "invalid UUID 'x': length must be between 32..36"),
    (UUID, "g" * 32, ValueError, "unexpected character 'g'"),
    (UUID, "\u0660" * 32, ValueError, "unexpected character"),
    (UUID, "1" * 33, ValueError, "32 digits expected, got 33"),
    (UUID, "1" * 31 + "-", ValueError, "32 digits expected, got 31"),
    (UUID, 1, TypeError, "expected UUID or str, got int"),
    (UUID, b"1" * 16, TypeError, "expected UUID or str, got bytes"),
    (UUID, ShortUUID(), TypeError, "expected UUID or str, got ShortUUID"),
    (NUMERIC, "x", ValueError, "not a number that Decimal can read"),
    (NUMERIC, b"1", TypeError, "conversion from bytes to Decimal is not supported"),
    (NUMERIC, Fraction(1, 2), TypeError, "conversion from Fraction to Decimal"),
    (NUMERIC, Decimal("1E+131072"), ValueError, "exponent is too large"),
    (NUMERIC, Decimal("-1E+999999"), ValueError, "exponent is too large"),
    (NUMERIC, 10**131072, ValueError, "exponent is too large"),
    (NUMERIC, 1 << 500_000, ValueError, "exponent is too large"),
    (NUMERIC, Decimal("1E-16384"), ValueError, "exponent is too small"),
    (NUMERIC, "1e99999999999999999999", ValueError, "not a number that Decimal"),
    (INET, "x", ValueError, "'x' does not appear to be an IPv4 or IPv6 interface"),
    (INET, "1.2.3.4/33", ValueError, "does not appear to be"),
    (INET, ipaddress.ip_address("fe80::1%eth0"), ValueError, "the scope of an address"),
    (CIDR, "10.0.0.1/8", ValueError, "10.0.0.1/8 has host bits set"),
    (CIDR, "10", ValueError, "'10' does not appear to be an IPv4 or IPv6 network"),
    (MACADDR, 1, TypeError, "expected str, got int"),
    *(
        (MACADDR, spelling, ValueError, "is not a macaddr")
        for spelling in (
            "",
            "x",
            "08:00:2b:01:02",
            "08:00:2b:01:02:03:04",
            "0800:2b01:0203",
            "08002b.010203",
            "08002b0102030",
            "gg:00:2b:01:02:03",
            "108:0:2b:01:02:03",
            "08:00:2b:01:02:",
        )
    ),
    (POINT, (1,), ValueError, r"a pair of numbers is required \(got 1 values\)"),
    (POINT, (1, 2, 3), ValueError, r"a pair of numbers is required \(got 3 values\)"),
    (POINT, 1, TypeError, r"a pair of numbers is required \(got int\)"),
    (POINT, {1: 2, 3: 4}, TypeError, r"a pair of numbers is required \(got dict\)"),
    (POINT, ("a", 1), TypeError, "must be real number, not str"),
    (POINT, (10**400, 1), OverflowError, "int too large to convert to float"),
]


@pytest.mark.parametrize(
    ("oid", "value", "error", "reason"),
    REFUSED,
    ids=[f"{row[0]}-{index}" for index, row in enumerate(REFUSED)],
)
def test_refused_values(
    oid: int, value: Any, error: type[Exception], reason: str
) -> None:
    """What the type cannot hold raises the reason, in the class that fits."""
    with pytest.raises(error, match=reason):
        encode_value(oid, value)


# (oid, bytes, part of the message)
HOSTILE: list[tuple[int, str, str]] = [
    *((BOOL, data, "1 expected") for data in ("", "0001")),
    (BOOL, "02", "the byte is 2"),
    *((INT2, data, "2 expected") for data in ("", "00", "000000")),
    *((oid, "000000", "4 expected") for oid in (INT4, OID, XID, CID, FLOAT4)),
    *((oid, "00" * 9, "8 expected") for oid in (INT8, XID8, PG_LSN, FLOAT8)),
    *((CHAR, data, "1 expected") for data in ("", "6161")),
    *((UUID, "00" * size, "16 expected") for size in (0, 15, 17)),
    *((TEXT, data, "utf-8") for data in ("ff", "c3", "6161c0af", "eda080", "80")),
    (JSON, "ff", "utf-8"),
    (JSONB, "", "1 or more expected"),
    (JSONB, "027b7d", "version 2 is not known"),
    (JSONB, "01ff", "utf-8"),
    (VOID, "00", "0 expected"),
    (MACADDR, "00" * 5, "6 expected"),
    (POINT, "00" * 15, "16 expected"),
    (NUMERIC, "", "8 or more expected"),
    (NUMERIC, "00010000000000", "8 or more expected"),
    (NUMERIC, "0001000000000000", "10 expected"),
    (NUMERIC, "00000000000000000001", "8 expected"),
    (NUMERIC, "ffff000000000000", "131078 expected"),
    (NUMERIC, "00010000000000002710", "a group of four digits is 10000"),
    (NUMERIC, "00010000100000000001", "sign 0x1000 is not known"),
    (NUMERIC, "00000000c0010000", "sign 0xc001 is not known"),
    (NUMERIC, "00010000000040000001", "display scale 16384"),
    (INET, "", "8 or 20 expected"),
    (INET, "022000", "8 or 20 expected"),
    (INET, "0420000401020304", "address family 4 is not known"),
    (INET, "02200004010203", "8 expected"),
    (INET, "022000100102030405", "8 expected"),
    (INET, "0221000401020304", "prefix length 33 is above 32"),
    (INET, "0381001" + "0" + "00" * 16, "prefix length 129 is above 128"),
    (CIDR, "020801040a000001", "has host bits set"),
]


@pytest.mark.parametrize(("oid", "data", "message"), HOSTILE)
def test_hostile_bytes(oid: int, data: str, message: str) -> None:
    """Bytes that the type cannot have are a DataError that says what is wrong."""
    with pytest.raises(DataError, match=message):
        decode_value(oid, bytes.fromhex(data))


ALL_OIDS = sorted({row[0] for row in BOTH_WAYS} | {VOID})


@pytest.mark.parametrize("oid", ALL_OIDS)
@given(data=st.binary(max_size=64))
def test_random_bytes(oid: int, data: bytes) -> None:
    """Any bytes decode or are a DataError, and what decodes encodes again."""
    try:
        value = decode_value(oid, data)
    except DataError:
        return
    encode_value(oid, value)


def truncations() -> Iterator[tuple[int, bytes]]:
    """Every proper beginning of every value of fixed size or with a size inside."""
    variable = {
        TEXT,
        VARCHAR,
        BPCHAR,
        NAME,
        UNKNOWN,
        CSTRING,
        XML,
        JSON,
        JSONB,
        JSONPATH,
    }
    for oid, _, text, _ in BOTH_WAYS:
        if oid not in variable | {BYTEA}:
            data = bytes.fromhex(text)
            yield from ((oid, data[:size]) for size in range(len(data)))


def test_truncated_values() -> None:
    """A value that is cut short is a DataError, wherever it is cut."""
    cases = list(truncations())
    assert len(cases) > 200
    for oid, data in cases:
        with pytest.raises(DataError):
            decode_value(oid, data)


@given(number=st.integers(-(2**63), 2**63 - 1))
def test_int8_round_trip(number: int) -> None:
    """Every int of 64 bits comes back."""
    assert encode_value(INT8, number) == struct.pack(">q", number)
    assert decode_value(INT8, struct.pack(">q", number)) == number


@given(number=st.floats())
def test_float8_round_trip(number: float) -> None:
    """Every float comes back bit by bit, NaN too."""
    data = encode_value(FLOAT8, number)
    assert data == struct.pack(">d", number)
    assert struct.pack(">d", decode_value(FLOAT8, data)) == data


@given(text=st.text())
@example("a" * 7 + "\xff")
@example("\x00" * 8)
def test_text_round_trip(text: str) -> None:
    """Every text comes back, with zeros too, which only the server refuses."""
    data = encode_value(TEXT, text)
    assert data == text.encode()
    assert decode_value(TEXT, data) == text


@given(number=st.uuids())
def test_uuid_round_trip(number: uuid.UUID) -> None:
    """A decoded UUID is one like those of the constructor, in every respect."""
    got = decode_value(UUID, encode_value(UUID, number))
    assert got == number
    assert hash(got) == hash(number)
    assert str(got) == str(number)
    assert got.is_safe is uuid.SafeUUID.unknown
    assert got.version == number.version
    assert decode_value(UUID, encode_value(UUID, str(number))) == number


def same_decimal(got: Decimal, want: Decimal) -> bool:
    """Whether both show the same digits; `1E+2` is shown as `100`."""
    return format(got, "f") == format(want, "f") or (got.is_nan() and want.is_nan())


@given(
    number=st.decimals(allow_nan=False, allow_infinity=False).filter(
        lambda d: -16000 < d.adjusted() < 16000
    )
)
@example(Decimal("1E+131071"))
@example(Decimal("1234567890.1234567890"))
def test_numeric_round_trip(number: Decimal) -> None:
    """A Decimal comes back with every digit, and without an exponent above 0."""
    want = number + 0 if number.is_zero() and number.is_signed() else number
    want = want.copy_abs() if want.is_zero() else want
    got = decode_value(NUMERIC, encode_value(NUMERIC, number))
    assert same_decimal(got, want)
    exponent = got.as_tuple().exponent
    assert isinstance(exponent, int)
    assert exponent <= 0


@given(number=st.integers())
@example(10**4)
@example(10**15 + 10**4)
@example(-(10**18))
@example(2**63)
@example(7**3000)
def test_numeric_from_int(number: int) -> None:
    """An int of any size is exact, by whichever way it goes."""
    assert decode_value(NUMERIC, encode_value(NUMERIC, number)) == number
    assert encode_value(NUMERIC, number) == encode_value(NUMERIC, Decimal(number))


@given(number=st.floats())
def test_numeric_from_float(number: float) -> None:
    """A float keeps its exact binary value."""
    got = decode_value(NUMERIC, encode_value(NUMERIC, number))
    assert same_decimal(
        got, Decimal(number).copy_abs() if number == 0 else Decimal(number)
    )


@pytest.mark.parametrize("name", ["NaN", "-NaN", "sNaN", "NaN123"])
def test_numeric_nan(name: str) -> None:
    """Every NaN is the one that numeric has."""
    data = encode_value(NUMERIC, Decimal(name))
    assert data.hex() == "00000000c0000000"
    assert decode_value(NUMERIC, data).is_qnan()


def test_numeric_shows_no_digits_past_the_display_scale() -> None:
    """Digits behind the display scale are left out, as by the server's own output."""
    got = decode_value(NUMERIC, bytes.fromhex("0003000000000005000104d2162e"))
    assert str(got) == "1.12345"
    got = decode_value(NUMERIC, bytes.fromhex("0002000000000000000104d2"))
    assert str(got) == "1"


def test_numeric_of_the_greatest_size() -> None:
    """All the digits that numeric can have are read and written."""
    number = Decimal("9" * 131072 + "." + "9" * 16383)
    assert decode_value(NUMERIC, encode_value(NUMERIC, number)) == number


def test_numeric_of_a_great_int() -> None:
    """An int is exact where it has to be taken apart by halves."""
    number = 12345 - (1 << 60_000)
    assert decode_value(NUMERIC, encode_value(NUMERIC, number)) == number


def test_numeric_leaves_the_decimal_context_alone() -> None:
    """The user's precision, traps and capitals have no say, and no flag is raised."""
    with localcontext() as context:
        context.prec = 3
        context.capitals = 0
        context.clear_traps()
        context.clear_flags()
        for number in (Decimal("1E+10"), 2**200, "123456.789", Decimal("1E-9")):
            want = Decimal(number)
            assert decode_value(NUMERIC, encode_value(NUMERIC, number)) == want
        with pytest.raises(ValueError, match="not a number"):
            encode_value(NUMERIC, "x")
        assert not any(getcontext().flags.values())


def test_float_nan() -> None:
    """NaN travels both ways."""
    assert math.isnan(decode_value(FLOAT8, encode_value(FLOAT8, math.nan)))
    assert math.isnan(decode_value(FLOAT4, encode_value(FLOAT4, math.nan)))


def test_void_is_none() -> None:
    """What a function without a result returns is None."""
    assert decode_value(VOID, b"") is None
    assert encode_value(VOID, datetime.date(2000, 1, 1)) == b""


def test_text_error_has_its_cause() -> None:
    """The error of text that is not UTF-8 says where, and carries the decoder's own."""
    with pytest.raises(DataError, match="byte 0xff in position 1") as caught:
        decode_value(TEXT, b"a\xff")
    assert isinstance(caught.value.__context__, UnicodeDecodeError)


def test_a_released_buffer_is_refused() -> None:
    """A memoryview that was released is a ValueError, not a wrong read."""
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        encode_value(BYTEA, view)


def test_a_buffer_is_let_go() -> None:
    """The buffer of an argument is not held after the call."""
    data = bytearray(b"abc")
    assert encode_value(BYTEA, data) == b"abc"
    data.append(0)
    assert encode_value(BYTEA, data) == b"abc\x00"
