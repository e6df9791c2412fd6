"""One value to bytes and back, by type; the call from Python is in each figure."""

import datetime
import uuid
from decimal import Decimal

import pytest

from chopin._codecs import decode_value, encode_value

NOW = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC)

# By name: the OID and a value.
VALUES = {
    "bool": (16, True),
    "int4": (23, 123_456),
    "int8": (20, 123_456_789_012),
    "float8": (701, 1234.5678),
    "numeric": (1700, Decimal("12345.6789")),
    "text": (25, "a line of text, not long"),
    "text_unicode": (25, "ein schöner Text, πλέον"),
    "bytea": (17, b"a line of bytes, not long"),
    "uuid": (2950, uuid.UUID(int=0x550E8400E29B41D4A716446655440000)),
    "timestamptz": (1184, NOW),
    "timestamp": (1114, NOW.replace(tzinfo=None)),
    "date": (1082, NOW.date()),
    "interval": (1186, datetime.timedelta(days=3, seconds=5)),
    "jsonb": (3802, '{"a": 1, "b": [true, null]}'),
    "int4_array": (1007, list(range(10))),
    "text_array": (1009, ["one", "two", "three"]),
}
NAMED = pytest.mark.parametrize(("oid", "value"), VALUES.values(), ids=VALUES)


@NAMED
def test_encode(benchmark, oid, value):
    """To bytes."""
    benchmark.group = "encode"
    assert benchmark(encode_value, oid, value)


@NAMED
def test_decode(benchmark, oid, value):
    """From bytes."""
    benchmark.group = "decode"
    data = encode_value(oid, value)
    assert benchmark(decode_value, oid, data) == value
