"""Arguments of numpy: scalars are the numbers that they hold, and nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chopin._codecbase import ElementError
from chopin._codecs import encode_value

numpy = pytest.importorskip("numpy")

BOOL, BYTEA, CHAR, INT8, INT2, INT4, TEXT, OID = 16, 17, 18, 20, 21, 23, 25, 26
POINT, CIRCLE, FLOAT4, FLOAT8, NUMERIC, XID8 = 600, 718, 700, 701, 1700, 5069
BOOLS, INT4S, INT8S, FLOAT8S, TEXTS, NUMERICS = 1000, 1007, 1016, 1022, 1009, 1231
OIDVECTOR, TID, INT4RANGE, DATE, INTERVAL = 30, 27, 3904, 1082, 1186

#: Type, name of numpy's class and what it is made of, the same in Python.
SCALARS = [
    (BOOL, "bool_", True, True),
    (BOOL, "bool_", False, False),
    *(
        (oid, kind, 5, 5)
        for oid in (INT2, INT4, INT8, OID, XID8, NUMERIC)
        for kind in ("int8", "uint8", "int16", "int32", "int64", "uint64", "float64")
    ),
    (INT8, "int64", -(2**63), -(2**63)),
    (XID8, "uint64", 2**64 - 1, 2**64 - 1),
    (NUMERIC, "uint64", 2**64 - 1, 2**64 - 1),
    (INT4, "bool_", True, True),
    (INT4, "float32", 2, 2),
    (FLOAT4, "float16", 0.5, 0.5),
    (FLOAT4, "float64", 0.1, 0.1),
    (FLOAT8, "float16", 0.5, 0.5),
    (FLOAT8, "float32", 0.5, 0.5),
    (FLOAT8, "float64", 0.1, 0.1),
    (FLOAT8, "longdouble", 0.1, 0.1),
    (FLOAT8, "uint64", 2**64 - 1, float(2**64 - 1)),
    (NUMERIC, "float16", 0.5, 0.5),
    (NUMERIC, "float32", 0.1, 0.10000000149011612),
    (NUMERIC, "float64", 0.1, 0.1),
    (TEXT, "str_", "é", "é"),
    (BYTEA, "bytes_", b"ab", b"ab"),
    (CHAR, "bytes_", b"a", b"a"),
]


@pytest.mark.parametrize(("oid", "kind", "value", "same"), SCALARS)
def test_scalars(oid: int, kind: str, value: Any, same: Any) -> None:
    """A scalar has the bytes of the Python value that it stands for."""
    scalar = getattr(numpy, kind)(value)
    assert encode_value(oid, scalar) == encode_value(oid, same)


#: Type, name of numpy's class and what it is made of, error, part of its text.
REFUSED = [
    (BOOL, "int8", 1, TypeError, r"a boolean is required \(got type int\)"),
    (INT2, "int64", 2**15, OverflowError, "value out of int16 range"),
    (INT4, "float64", 1.5, ValueError, "a whole number is required"),
    (INT4, "float32", "nan", ValueError, "cannot convert float NaN to integer"),
    (INT4, "complex128", 5, TypeError, "'complex' object cannot be interpreted"),
    (INT4, "str_", "1", TypeError, "'str' object cannot be interpreted"),
    (OID, "int64", -1, OverflowError, "value out of uint32 range"),
    (XID8, "int64", -1, OverflowError, "value out of uint64 range"),
    (FLOAT8, "complex64", 5, TypeError, "must be real number, not complex"),
    (FLOAT8, "complex128", 5 + 1j, TypeError, "must be real number, not complex"),
    (FLOAT4, "float64", 1e39, ValueError, "value out of float32 range"),
    (NUMERIC, "complex64", 5, TypeError, "conversion from complex to Decimal"),
    (TEXT, "int64", 5, TypeError, "expected str, got int64"),
    (DATE, "datetime64", "2020-01-01", TypeError, "datetime64"),
    (INTERVAL, "timedelta64", timedelta(days=5), TypeError, "timedelta64"),
]


@pytest.mark.parametrize(("oid", "kind", "value", "error", "reason"), REFUSED)
def test_refused_scalars(
    oid: int, kind: str, value: Any, error: type[Exception], reason: str
) -> None:
    """What would lose a part, or means something else, is refused."""
    scalar = getattr(numpy, kind)(value)
    with pytest.raises(error, match=reason):
        encode_value(oid, scalar)


@pytest.mark.parametrize("oid", [INT2, INT4, INT8, OID, XID8, NUMERIC, FLOAT4, FLOAT8])
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
@pytest.mark.parametrize("unit", ["ns", "Y"])
def test_dates_are_no_numbers(oid: int, kind: str, unit: str) -> None:
    """Not even in the units in which an item of them is one."""
    with pytest.raises(TypeError, match=f"'{kind}' object is no number"):
        encode_value(oid, getattr(numpy, kind)(3, unit))
    with pytest.raises(ElementError, match="object is no number"):
        encode_value(INT8S, numpy.array([3], f"{kind}[{unit}]"))


#: Type, dtype, what is in the array.
ARRAYS = [
    (BOOLS, "bool", [True, False]),
    (INT4S, "int64", [1, -2]),
    (INT4S, "int8", [[1, 2], [3, 4]]),
    (INT4S, "float64", [1.0, 2.0]),
    (INT4S, "float64", []),
    (FLOAT8S, "float32", [0.5, 1]),
    (NUMERICS, "float64", [0.1, 1]),
    (TEXTS, "str", ["a", "é"]),
    (TEXTS, "object", ["a", None]),
    (OIDVECTOR, "int64", [1, 2]),
    (POINT, "float32", [0.5, 1]),
]


@pytest.mark.parametrize(("oid", "dtype", "items"), ARRAYS)
def test_arrays(oid: int, dtype: str, items: Any) -> None:
    """An array is the list of its items, in as many dimensions."""
    assert encode_value(oid, numpy.array(items, dtype)) == encode_value(oid, items)


def test_inside_of_other_values() -> None:
    """Scalars are taken wherever a number is."""
    one, two = numpy.int64(1), numpy.float32(2)
    assert encode_value(CIRCLE, ((one, two), two)) == encode_value(CIRCLE, ((1, 2), 2))
    assert encode_value(TID, (one, two)) == encode_value(TID, (1, 2))
    assert encode_value(INT4RANGE, (one, two)) == encode_value(INT4RANGE, (1, 2))
    with pytest.raises(TypeError, match="must be real number, not complex"):
        encode_value(POINT, (one, numpy.complex64(1)))
    with pytest.raises(ElementError, match="a whole number is required"):
        encode_value(INT4S, numpy.array([1, 1.5]))


def test_memory_of_arrays() -> None:
    """bytea takes the memory of an array, in the order of its items."""
    array = numpy.arange(6, dtype="u1").reshape(2, 3)
    assert encode_value(BYTEA, array) == bytes([0, 1, 2, 3, 4, 5])
    assert encode_value(BYTEA, array.T) == bytes([0, 3, 1, 4, 2, 5])
    assert encode_value(BYTEA, array[0, ::2]) == bytes([0, 2])
    with pytest.raises(TypeError, match="bytes-like|buffer"):
        encode_value(BYTEA, numpy.int64)
