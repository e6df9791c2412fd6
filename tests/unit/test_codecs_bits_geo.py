"""The codecs of bit strings, identifiers and geometry, against the server's bytes."""

from __future__ import annotations

import gc
import ipaddress
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin._codecbase import ElementError
from chopin._codecs import CodecMap, decode_value, encode_value
from chopin.exceptions import DataError
from chopin.types import (
    BitString,
    Box,
    Circle,
    Line,
    LineSegment,
    Path,
    Point,
    Polygon,
)

INT2VECTOR, TID, OIDVECTOR = 22, 27, 30
INT2VECTOR_ARRAY, OIDVECTOR_ARRAY = 1006, 1013
POINT, LSEG, PATH, BOX, POLYGON, LINE, CIRCLE = 600, 601, 602, 603, 604, 628, 718
MACADDR8, BIT, VARBIT, TXID_SNAPSHOT, PG_SNAPSHOT = 774, 1560, 1562, 2970, 5038

VECTOR = "00000001" + "00000000"
EUI = "08:00:2b:01:02:03:04:05"


def doubles(*numbers: float) -> str:
    """Floats as the wire has them."""
    return struct.pack(f">{len(numbers)}d", *numbers).hex()


# (oid, value, bytes, what it is in SQL)
BOTH_WAYS: list[tuple[int, Any, str, str]] = [
    (BIT, BitString("1"), "0000000180", "B'1'"),
    (BIT, BitString("0" * 8), "0000000800", "B'00000000'"),
    (VARBIT, BitString(""), "00000000", "''::varbit"),
    (VARBIT, BitString("101010101"), "00000009aa80", "B'101010101'::varbit"),
    (MACADDR8, EUI, "08002b0102030405", f"'{EUI}'::macaddr8"),
    (TID, (0, 1), "000000000001", "'(0,1)'::tid"),
    (TID, (2**32 - 1, 65535), "ffffffffffff", "'(4294967295,65535)'::tid"),
    (
        PG_SNAPSHOT,
        (1, 2**64 - 1, ()),
        "00000000" + "00" * 7 + "01" + "ff" * 8,
        "'1:18446744073709551615:'::pg_snapshot",
    ),
    (
        TXID_SNAPSHOT,
        (10, 20, (10, 14)),
        "00000002" + "".join(f"{n:016x}" for n in (10, 20, 10, 14)),
        "'10:20:10,14'::txid_snapshot",
    ),
    (
        INT2VECTOR,
        [1, -2],
        VECTOR + "00000015" + "0000000200000000" + "000000020001" + "00000002fffe",
        "'1 -2'::int2vector",
    ),
    (
        OIDVECTOR,
        [2**32 - 1],
        VECTOR + "0000001a" + "0000000100000000" + "00000004ffffffff",
        "'4294967295'::oidvector",
    ),
    (LINE, Line(1, 2, 3), doubles(1, 2, 3), "'{1,2,3}'::line"),
    (LSEG, LineSegment((1, 2), (3, 4)), doubles(1, 2, 3, 4), "'[(1,2),(3,4)]'::lseg"),
    (BOX, Box((3, 4), (1, 2)), doubles(3, 4, 1, 2), "'(3,4),(1,2)'::box"),
    (
        PATH,
        Path((1, 2), (3, math.inf)),
        "00" + "00000002" + doubles(1, 2, 3, math.inf),
        "'[(1,2),(3,infinity)]'::path",
    ),
    (
        PATH,
        Path((1, 2), is_closed=True),
        "01" + "00000001" + doubles(1, 2),
        "'((1,2))'::path",
    ),
    (
        POLYGON,
        Polygon((1, 2), (3, 4)),
        "00000002" + doubles(1, 2, 3, 4),
        "'((1,2),(3,4))'::polygon",
    ),
    (CIRCLE, Circle((1, 2), 3), doubles(1, 2, 3), "'<(1,2),3>'::circle"),
]


@pytest.mark.parametrize(("oid", "value", "data", "sql"), BOTH_WAYS)
def test_value_and_bytes(oid: int, value: Any, data: str, sql: str) -> None:
    """A value has the server's bytes, and the bytes are the value, types included."""
    got = decode_value(oid, bytes.fromhex(data))
    assert encode_value(oid, value).hex() == data, sql
    assert (got, type(got), repr(got)) == (value, type(value), repr(value)), sql


@pytest.mark.parametrize(("oid", "value", "data", "sql"), BOTH_WAYS)
def test_what_is_atomic_is_not_tracked(
    oid: int, value: Any, data: str, sql: str
) -> None:
    """Values of the types called atomic are off the garbage collector's list."""
    got = decode_value(oid, bytes.fromhex(data))
    assert gc.is_tracked(got) is not CodecMap().lookup(oid).atomic, sql


@pytest.mark.parametrize(("oid", "value", "data", "sql"), BOTH_WAYS)
def test_truncated_and_extended(oid: int, value: Any, data: str, sql: str) -> None:
    """Fewer bytes or more are a DataError, wherever they end."""
    raw = bytes.fromhex(data)
    for wrong in *(raw[:n] for n in range(len(raw))), raw + b"\0", raw + raw:
        with pytest.raises(DataError):
            decode_value(oid, wrong)


class Vertices:
    """Points of another library: no sequence, but it can be iterated."""

    def __iter__(self) -> Any:
        return iter([(1, 2), (3, 4)])


# (oid, value, the value that has the same bytes)
ALSO_TAKEN: list[tuple[int, Any, Any]] = [
    (BIT, b"\xa0", BitString("10100000")),
    (VARBIT, bytearray(b""), BitString("")),
    (VARBIT, memoryview(b"abc")[::2], BitString.frombytes(b"ac")),
    *(
        (MACADDR8, spelling, EUI)
        for spelling in (
            EUI.upper(),
            f" {EUI}\n",
            "08-00-2b-01-02-03-04-05",
            "08.00.2b.01.02.03.04.05",
            "08002b:0102030405",
            "08002b-0102030405",
            "0800.2b01.0203.0405",
            "08002b0102030405",
            f"{EUI}:",
        )
    ),
    (MACADDR8, "08:00:2b:01:02:03", "08:00:2b:ff:fe:01:02:03"),
    (TID, [1, 2.0], (1, 2)),
    (PG_SNAPSHOT, [1, 2, [1]], (1, 2, (1,))),
    (INT2VECTOR, (1, 2), [1, 2]),
    (INT2VECTOR_ARRAY, [[1, 2], None, [3]], [[1, 2], None, [3]]),
    (INT2VECTOR_ARRAY, [[(1, 2)], [(3,)]], [[[1, 2]], [[3]]]),
    (INT2VECTOR_ARRAY, [[], []], []),
    (OIDVECTOR_ARRAY, [(1, 2), range(1)], [[1, 2], [0]]),
    (OIDVECTOR, range(1, 3), [1, 2]),
    (LINE, [1, 2, 3], Line(1, 2, 3)),
    (LSEG, ([1, 2], Point(3, 4)), LineSegment((1, 2), (3, 4))),
    (BOX, [(3, 4), (1, 2)], Box((3, 4), (1, 2))),
    (PATH, ((1, 2), (3, 4)), Path((1, 2), (3, 4), is_closed=True)),
    (PATH, [(1, 2), (3, 4)], Path((1, 2), (3, 4))),
    (PATH, Polygon((1, 2), (3, 4)), Path((1, 2), (3, 4), is_closed=True)),
    (PATH, Vertices(), Path((1, 2), (3, 4))),
    (POLYGON, [(1, 2), (3, 4)], Polygon((1, 2), (3, 4))),
    (POLYGON, Path((1, 2), (3, 4)), Polygon((1, 2), (3, 4))),
    (CIRCLE, [[1, 2], True], Circle((1, 2), 1)),
]


@pytest.mark.parametrize(("oid", "value", "same"), ALSO_TAKEN)
def test_other_python_types(oid: int, value: Any, same: Any) -> None:
    """What stands for the same value has the same bytes."""
    assert encode_value(oid, value) == encode_value(oid, same)


# (oid, value, error, part of its text)
REFUSED: list[tuple[int, Any, type[Exception], str]] = [
    (BIT, "101", TypeError, "a bytes-like object is required, not 'str'"),
    (BIT, 5, TypeError, "a bytes-like object is required, not 'int'"),
    (BIT, memoryview(bytearray(2**28)), ValueError, "2147483648 bits is too long"),
    (MACADDR8, 1, TypeError, "expected str, got int"),
    *(
        (MACADDR8, spelling, ValueError, "is not a macaddr8")
        for spelling in (
            "",
            ":",
            "x",
            "08:00:2b:01:02",
            f"{EUI}:06",
            f"{EUI}::",
            f":{EUI}",
            "8:0:2b:1:2:3:4:5",
            "080:02b0102030405",
            "08:00-2b:01:02:03:04:05",
            "gg:00:2b:01:02:03:04:05",
            "08 00 2b 01 02 03 04 05",
            "\u0660" * 16,
        )
    ),
    (TID, 1, TypeError, "list or tuple expected"),
    (TID, (1,), ValueError, r"2 values are required \(got 1\)"),
    (TID, (2**32, 1), OverflowError, "value out of uint32 range"),
    (TID, (-1, 1), OverflowError, "value out of uint32 range"),
    (TID, (1, 65536), OverflowError, "value out of uint16 range"),
    (TID, (1, 1.5), ValueError, "a whole number is required"),
    (PG_SNAPSHOT, "1:2:", TypeError, "list or tuple expected"),
    (PG_SNAPSHOT, (1, 2), ValueError, r"3 values are required \(got 2\)"),
    (PG_SNAPSHOT, (1, 2, 3), TypeError, "list or tuple of ids expected"),
    (PG_SNAPSHOT, (1, 2**64, ()), OverflowError, "value out of uint64 range"),
    (PG_SNAPSHOT, (1, 2, (-1,)), OverflowError, "value out of uint64 range"),
    (INT2VECTOR, [], ValueError, "the server reads no empty vector in binary"),
    (INT2VECTOR, "1 2", TypeError, "a sized iterable container expected"),
    (INT2VECTOR, {1: 2}, TypeError, "a sized iterable container expected"),
    (INT2VECTOR, 1, TypeError, "a sized iterable container expected"),
    (INT2VECTOR, [1, 32768], ElementError, "value out of int16 range"),
    (OIDVECTOR, [-1], ElementError, "value out of uint32 range"),
    (OIDVECTOR, [None], ElementError, "'NoneType' object cannot be"),
    (LINE, (1, 2), ValueError, r"three numbers is required \(got 2 values\)"),
    (LINE, 1, TypeError, r"three numbers is required \(got int\)"),
    (LINE, (1, 2, "3"), TypeError, "must be real number, not str"),
    (BOX, (1, 2, 3, 4), ValueError, r"a pair of points is required \(got 4 values\)"),
    (BOX, {1, 2}, TypeError, r"a pair of points is required \(got set\)"),
    (LSEG, ((1, 2), 3), ElementError, r"a pair of numbers is required \(got int\)"),
    (PATH, [], ValueError, "at least one point is required"),
    (PATH, 1, TypeError, "'int' object is not iterable"),
    (PATH, [(1, 2), (3, "x")], ElementError, "must be real number, not str"),
    (POLYGON, Path(), ValueError, "at least one point is required"),
    (POLYGON, "ab", TypeError, r"points are required \(got str\)"),
    (POLYGON, ipaddress.ip_address("::1"), TypeError, "is not iterable"),
    (CIRCLE, (1, 2, 3), ValueError, r"and a radius is required \(got 3 values\)"),
    (CIRCLE, ((1, 2), None), TypeError, "must be real number, not NoneType"),
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


def test_the_place_of_a_refused_point() -> None:
    """The error of a point says which of the points it is."""
    with pytest.raises(ElementError) as caught:
        encode_value(POLYGON, [(1, 2), (3, 4, 5)])
    assert (caught.value.path, caught.value.value) == ("[1]", (3, 4, 5))


# (oid, bytes, part of the message)
HOSTILE: list[tuple[int, str, str]] = [
    (BIT, "", "4 or more expected"),
    (BIT, "ffffffff", "-1 bits do not take 0 bytes"),
    (BIT, "7fffffff00", "2147483647 bits do not take 1 bytes"),
    (BIT, "00000009ff", "9 bits do not take 1 bytes"),
    (BIT, "0000000181", "there are bits behind the last one"),
    (MACADDR8, "00" * 6, "8 expected"),
    (TID, "00" * 8, "6 expected"),
    (PG_SNAPSHOT, "00" * 19, "20 or more expected"),
    (PG_SNAPSHOT, "ffffffff" + "00" * 16, "-1 ids do not take 0 bytes"),
    (PG_SNAPSHOT, "7fffffff" + "00" * 24, "2147483647 ids do not take 8 bytes"),
    (INT2VECTOR, VECTOR, "20 or more expected"),
    (INT2VECTOR, "00" * 20, "it is no array of one dimension"),
    (INT2VECTOR, VECTOR + "0000001a" + "00" * 8, "OID 26, 21 expected"),
    (INT2VECTOR, VECTOR + "00000015" + "00000000" + "00000001", "no array of one"),
    (OIDVECTOR, VECTOR + "0000001a" + "ffffffff00000000", "-1 elements do not take"),
    (OIDVECTOR, VECTOR + "0000001a" + "7fffffff00000000", "do not take 0 bytes"),
    (
        OIDVECTOR,
        VECTOR + "0000001a" + "0000000100000000" + "ffffffff00000000",
        "element 0 has not 4 bytes",
    ),
    (LINE, doubles(1, 2), "24 expected"),
    (BOX, doubles(1, 2), "32 expected"),
    (LSEG, doubles(1, 2), "32 expected"),
    (CIRCLE, doubles(1, 2), "24 expected"),
    (PATH, "", "21 or more expected"),
    (PATH, "02" + "00000001" + doubles(1, 2), "the first byte is 2"),
    (PATH, "00" + "00000000", "0 points do not take 0 bytes"),
    (PATH, "00" + "ffffffff", "-1 points do not take 0 bytes"),
    (POLYGON, "7fffffff" + doubles(1, 2), "2147483647 points do not take 16 bytes"),
    (POLYGON, "10000001" + doubles(1, 2), "268435457 points do not take 16 bytes"),
]


@pytest.mark.parametrize(("oid", "data", "message"), HOSTILE)
def test_hostile_bytes(oid: int, data: str, message: str) -> None:
    """Bytes that the type cannot have are a DataError that says what is wrong."""
    with pytest.raises(DataError, match=message):
        decode_value(oid, bytes.fromhex(data))


@st.composite
def near_values(draw: st.DrawFn) -> tuple[int, bytes]:
    """Bytes of a real value with some of them changed, cut or added."""
    oid, _, text, _ = draw(st.sampled_from(BOTH_WAYS))
    data = bytearray.fromhex(text)
    for _ in range(draw(st.integers(0, 3))):
        if data:
            at = draw(st.integers(0, len(data) - 1))
            data[at] = draw(st.integers(0, 255))
    return oid, bytes(data) + draw(st.binary(max_size=16))


@given(near_values())
def test_near_values(case: tuple[int, bytes]) -> None:
    """Almost a value is one, which has these very bytes, or a DataError."""
    oid, data = case
    try:
        value = decode_value(oid, data)
    except DataError:
        return
    if value != []:
        again = decode_value(oid, encode_value(oid, value))
        assert repr(again) == repr(value)


@pytest.mark.parametrize("oid", sorted({row[0] for row in BOTH_WAYS}))
@given(data=st.binary(max_size=64))
def test_random_bytes(oid: int, data: bytes) -> None:
    """Any bytes decode or are a DataError, and what decodes encodes again."""
    try:
        value = decode_value(oid, data)
    except DataError:
        return
    encode_value(oid, value)


@given(st.text("01"))
def test_bits_round_trip(text: str) -> None:
    """Every string of bits comes back, and can be asked like one of its own making."""
    bits = BitString(text)
    got = decode_value(VARBIT, encode_value(VARBIT, bits))
    assert got == bits
    assert hash(got) == hash(bits)
    assert (list(got), got.to_int()) == (list(bits), bits.to_int())


POINTS = st.tuples(st.floats(), st.floats())


@given(st.lists(POINTS, min_size=1), st.booleans())
def test_path_round_trip(points: list[tuple[float, float]], is_closed: bool) -> None:
    """Every path comes back bit by bit, NaN too."""
    data = encode_value(PATH, Path(*points, is_closed=is_closed))
    got = decode_value(PATH, data)
    assert (len(got), got.is_closed) == (len(points), is_closed)
    assert encode_value(PATH, got) == data


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**32 - 1)))
def test_identifiers_round_trip(ids: list[int], oids: list[int]) -> None:
    """Snapshots and vectors of any length come back."""
    snapshot = (1, 2**64 - 1, tuple(ids))
    assert decode_value(PG_SNAPSHOT, encode_value(PG_SNAPSHOT, snapshot)) == snapshot
    if oids:
        assert decode_value(OIDVECTOR, encode_value(OIDVECTOR, oids)) == oids
