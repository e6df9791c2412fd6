"""Codecs of the date and time types: bytes both ways, limits, text forms, refusals."""

from __future__ import annotations

import datetime
import math
import os
import re
import struct
import time
from collections.abc import Iterator
from datetime import UTC, date, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin import _codecs_text
from chopin._codecs import CodecMap, decode_value, encode_value
from chopin.exceptions import DataError

DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ = (
    1082,
    1083,
    1114,
    1184,
    1186,
    1266,
)
SIZES = {DATE: 4, TIME: 8, TIMESTAMP: 8, TIMESTAMPTZ: 8, INTERVAL: 16, TIMETZ: 12}

DAY_US = 86_400_000_000
EPOCH_ORDINAL = date(2000, 1, 1).toordinal()
LAST32, LAST64 = 2**31 - 1, 2**63 - 1
FIRST32, FIRST64 = -(2**31), -(2**63)
EAST = timezone(timedelta(hours=5, minutes=30, seconds=7))


def at(*fields: int, tz: datetime.tzinfo | None = None) -> datetime.datetime:
    return datetime.datetime(*fields, tzinfo=tz)  # type: ignore[misc,arg-type]


def days_of(*fields: int) -> int:
    return date(*fields).toordinal() - EPOCH_ORDINAL


# Both directions: type, value, layout, fields of the wire.
PAIRS = [
    (DATE, date(2000, 1, 1), "!i", [0]),
    (DATE, date(1999, 12, 31), "!i", [-1]),
    (DATE, date(2000, 2, 29), "!i", [59]),
    (DATE, date(1900, 3, 1), "!i", [-36465]),
    (DATE, date(1, 1, 2), "!i", [-730118]),
    (DATE, date(9999, 12, 30), "!i", [2921938]),
    (DATE, date.max, "!i", [LAST32]),
    (DATE, date.min, "!i", [FIRST32]),
    (DATE, "0001-12-31 BC", "!i", [-730120]),
    (DATE, "0044-03-15 BC", "!i", [-746117]),
    (DATE, "4714-11-24 BC", "!i", [-2451545]),
    (DATE, "10000-01-01", "!i", [2921940]),
    (DATE, "5874897-12-31", "!i", [2145031948]),
    (TIME, datetime.time(0), "!q", [0]),
    (TIME, datetime.time(1, 2, 3, 4), "!q", [3_723_000_004]),
    (TIME, datetime.time.max, "!q", [DAY_US - 1]),
    (TIME, "24:00:00", "!q", [DAY_US]),
    (TIMETZ, datetime.time(1, tzinfo=UTC), "!qi", [3_600_000_000, 0]),
    (TIMETZ, datetime.time(0, tzinfo=EAST), "!qi", [0, -19807]),
    (
        TIMETZ,
        datetime.time(0, tzinfo=timezone(-timedelta(hours=15, minutes=59))),
        "!qi",
        [0, 57540],
    ),
    (TIMETZ, "24:00:00+00", "!qi", [DAY_US, 0]),
    (TIMETZ, "24:00:00-05:30", "!qi", [DAY_US, 19800]),
    (TIMETZ, "24:00:00+01:00:03", "!qi", [DAY_US, -3603]),
    (TIMESTAMP, at(2000, 1, 1), "!q", [0]),
    (TIMESTAMP, at(1999, 12, 31, 23, 59, 59, 999999), "!q", [-1]),
    (TIMESTAMP, at(2020, 1, 1), "!q", [631_152_000_000_000]),
    (TIMESTAMP, at(1, 1, 1, 0, 0, 0, 1), "!q", [-63_082_281_599_999_999]),
    (TIMESTAMP, datetime.datetime.max, "!q", [LAST64]),
    (TIMESTAMP, datetime.datetime.min, "!q", [FIRST64]),
    (TIMESTAMP, "0001-12-31 23:59:59.999999 BC", "!q", [-63_082_281_600_000_001]),
    (TIMESTAMP, "4714-11-24 00:00:00 BC", "!q", [-211_813_488_000_000_000]),
    (TIMESTAMP, "10000-01-01 00:00:00", "!q", [252_455_616_000_000_000]),
    (TIMESTAMP, "294276-12-31 23:59:59.999999", "!q", [9_223_371_331_199_999_999]),
    (TIMESTAMPTZ, at(2000, 1, 1, tz=UTC), "!q", [0]),
    (TIMESTAMPTZ, at(2020, 1, 1, 0, 0, 0, 5, tz=UTC), "!q", [631_152_000_000_005]),
    (TIMESTAMPTZ, datetime.datetime.max, "!q", [LAST64]),
    (TIMESTAMPTZ, datetime.datetime.min, "!q", [FIRST64]),
    (TIMESTAMPTZ, "10000-01-01 00:00:00+00", "!q", [252_455_616_000_000_000]),
    (TIMESTAMPTZ, "0001-12-31 12:00:00.5+00 BC", "!q", [-63_082_324_799_500_000]),
    (INTERVAL, timedelta(0), "!qii", [0, 0, 0]),
    (INTERVAL, timedelta(1, 2, 3), "!qii", [2_000_003, 1, 0]),
    (INTERVAL, timedelta(days=-1, seconds=5), "!qii", [5_000_000, -1, 0]),
    (INTERVAL, timedelta.max, "!qii", [DAY_US - 1, 999_999_999, 0]),
    (INTERVAL, timedelta.min, "!qii", [0, -999_999_999, 0]),
    (INTERVAL, "infinity", "!qii", [LAST64, LAST32, LAST32]),
    (INTERVAL, "-infinity", "!qii", [FIRST64, FIRST32, FIRST32]),
    (INTERVAL, "1000000000 days", "!qii", [0, 1_000_000_000, 0]),
    (INTERVAL, "999999999 days 24:00:00", "!qii", [DAY_US, 999_999_999, 0]),
    (INTERVAL, "-999999999 days -00:00:00.000001", "!qii", [-1, -999_999_999, 0]),
    (
        INTERVAL,
        "-178956970 years -8 mons +3 days -04:05:06.7",
        "!qii",
        [-14_706_700_000, 3, FIRST32],
    ),
    (
        INTERVAL,
        "178956970 years 7 mons -2147483648 days -2562047788:00:54.775808",
        "!qii",
        [FIRST64, FIRST32, LAST32],
    ),
]


@pytest.mark.parametrize(("oid", "value", "layout", "fields"), PAIRS)
def test_value_and_bytes(oid: int, value: Any, layout: str, fields: list[int]) -> None:
    """A value is sent as the bytes from which the same value is received."""
    data = struct.pack(layout, *fields)
    assert encode_value(oid, value) == data
    got = decode_value(oid, data)
    assert (got, type(got)) == (value, type(value))
    if isinstance(value, datetime.datetime | datetime.time):
        assert got.tzinfo == value.tzinfo


def test_utc_is_the_constant() -> None:
    """timestamptz and timetz in UTC share one zone object, on which encoders rely."""
    assert decode_value(TIMESTAMPTZ, bytes(8)).tzinfo is UTC
    assert decode_value(TIMETZ, bytes(12)).tzinfo is UTC


# Sent, but received as something else: type, value, layout, fields.
ONE_WAY = [
    (DATE, at(2020, 1, 1, 23, 59), "!i", [7305]),
    (DATE, at(2020, 1, 1, 23, tz=EAST), "!i", [7305]),
    (DATE, "infinity", "!i", [LAST32]),
    (DATE, "-infinity", "!i", [FIRST32]),
    (TIME, at(2020, 1, 1, 0, 0, 1, tz=UTC), "!q", [1_000_000]),
    (TIME, datetime.time(0, 0, 1, tzinfo=EAST), "!q", [1_000_000]),
    (
        TIMETZ,
        at(2020, 7, 1, 1, tz=ZoneInfo("Europe/Berlin")),
        "!qi",
        [3600000000, -7200],
    ),
    (TIMESTAMP, date(2020, 1, 1), "!q", [631_152_000_000_000]),
    (TIMESTAMP, date.min, "!q", [FIRST64]),
    (TIMESTAMP, date.max, "!q", [days_of(9999, 12, 31) * DAY_US]),
    (TIMESTAMP, "-infinity", "!q", [FIRST64]),
    (TIMESTAMPTZ, "infinity", "!q", [LAST64]),
    (TIMESTAMPTZ, datetime.datetime.max.replace(tzinfo=UTC), "!q", [LAST64]),
    (TIMESTAMPTZ, datetime.datetime.min.replace(tzinfo=UTC), "!q", [FIRST64]),
    (TIMESTAMPTZ, at(2000, 1, 1, 5, 30, 7, tz=EAST), "!q", [0]),
    (
        TIMESTAMPTZ,
        at(2020, 7, 1, tz=ZoneInfo("Europe/Berlin")),
        "!q",
        [days_of(2020, 6, 30) * DAY_US + 22 * 3_600_000_000],
    ),
    # the second 02:30 of the night in which summer time ends
    (
        TIMESTAMPTZ,
        at(2020, 10, 25, 2, 30, tz=ZoneInfo("Europe/Berlin")).replace(fold=1),
        "!q",
        [days_of(2020, 10, 25) * DAY_US + 5_400_000_000],
    ),
    # before Python's first year in UTC, which the server has no trouble with
    (
        TIMESTAMPTZ,
        at(1, 1, 1, tz=EAST),
        "!q",
        [-63_082_281_600_000_000 - 19_807_000_000],
    ),
]


@pytest.mark.parametrize(("oid", "value", "layout", "fields"), ONE_WAY)
def test_value_to_bytes(oid: int, value: Any, layout: str, fields: list[int]) -> None:
    """Related classes are taken for a date, a time or a timestamp."""
    assert encode_value(oid, value) == struct.pack(layout, *fields)


def test_date_of_an_object_with_an_ordinal() -> None:
    """A date class that is no subclass of datetime.date is told by `toordinal`."""

    class Calendar:
        def __init__(self, ordinal: int) -> None:
            self.ordinal = ordinal

        def toordinal(self) -> int:
            return self.ordinal

    assert encode_value(DATE, Calendar(EPOCH_ORDINAL)) == bytes(4)
    with pytest.raises(OverflowError, match="out of range"):
        encode_value(DATE, Calendar(0))


@pytest.fixture
def berlin() -> Iterator[None]:
    """The process in the time zone of Berlin."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("value", "hours"),
    [
        (at(2020, 1, 1), -1),
        (at(2020, 7, 1), -2),
        (date(2020, 1, 1), -1),
        (date(2020, 7, 1), -2),
        (at(2020, 1, 1, tz=UTC), 0),
    ],
)
def test_naive_timestamptz_is_local_time(value: date, hours: int) -> None:
    """A datetime without a zone, and a date, mean local time on that day."""
    days = value.toordinal() - EPOCH_ORDINAL
    want = struct.pack("!q", days * DAY_US + hours * 3_600_000_000)
    assert encode_value(TIMESTAMPTZ, value) == want


@pytest.mark.usefixtures("berlin")
def test_naive_infinity_has_no_zone() -> None:
    """datetime.max without a zone is infinity wherever the process runs."""
    assert encode_value(TIMESTAMPTZ, datetime.datetime.max) == struct.pack("!q", LAST64)
    assert encode_value(TIMESTAMPTZ, date.min) == struct.pack("!q", FIRST64)


@pytest.mark.parametrize(
    ("months", "days"),
    [
        (1, 30),
        (11, 330),
        (12, 365),
        (13, 395),
        (-1, -30),
        (-11, -330),
        (-12, -365),
        (-13, -395),
        (-25, -760),
    ],
)
def test_months_of_an_interval(months: int, days: int) -> None:
    """A year of an interval counts 365 days and a month left over 30, either sign."""
    got = decode_value(INTERVAL, struct.pack("!qii", -1, 2, months))
    assert got == timedelta(days=days + 2, microseconds=-1)


NOT_DATETIME = "expected a datetime.date or datetime.datetime instance, got 'str'"

# What asyncpg refuses with the same words at the beginning.
REFUSED = [
    (DATE, "2020-01-01", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "9999-12-31", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "0044-02-30 BC", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "10000-1-01", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "10000-01-01 00:00:00", TypeError, "'str' object has no"),
    (DATE, "010000-01-01", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "5874898-01-01", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "4714-11-23 BC", TypeError, "'str' object has no attribute 'toordinal'"),
    (DATE, "9999999-12-31 BC", TypeError, "'str' object has no attribute 'toordinal'"),
    (
        DATE,
        "\u0661\u0660000-01-01",
        TypeError,
        "'str' object has no attribute 'toordinal'",
    ),
    (DATE, 1, TypeError, "'int' object has no attribute 'toordinal'"),
    (DATE, None, TypeError, "'NoneType' object has no attribute 'toordinal'"),
    (DATE, datetime.time(0), TypeError, "'datetime.time' object has no attribute"),
    (TIME, "23:59:59", TypeError, "'str' object has no attribute 'hour'"),
    (
        TIME,
        timedelta(1),
        TypeError,
        "'datetime.timedelta' object has no attribute 'hour'",
    ),
    (TIMETZ, "24:00:00", TypeError, "'str' object has no attribute 'tzinfo'"),
    (TIMETZ, "24:00:00-00", TypeError, "'str' object has no attribute 'tzinfo'"),
    (TIMETZ, "24:00:00+16", TypeError, "'str' object has no attribute 'tzinfo'"),
    (TIMETZ, 1.5, TypeError, "'float' object has no attribute 'tzinfo'"),
    (
        TIMETZ,
        datetime.time(0),
        TypeError,
        "'NoneType' object has no attribute 'utcoffset'",
    ),
    (
        TIMETZ,
        datetime.time(0, tzinfo=ZoneInfo("Europe/Berlin")),
        TypeError,
        "a time whose zone has a fixed offset",
    ),
    (
        TIMETZ,
        datetime.time(0, tzinfo=timezone(timedelta(hours=16))),
        ValueError,
        "less than 16 hours, got 16:00:00",
    ),
    (
        TIMETZ,
        datetime.time(0, tzinfo=timezone(timedelta(seconds=1.5))),
        ValueError,
        "whole seconds, got 0:00:01.5",
    ),
    (TIMESTAMP, at(2020, 1, 1, tz=UTC), TypeError, "can't subtract offset-naive and"),
    (TIMESTAMP, "2020-01-01 00:00:00", TypeError, NOT_DATETIME),
    (TIMESTAMP, "10000-01-01 00:00:00+00", TypeError, NOT_DATETIME),
    (TIMESTAMP, "10000-01-01", TypeError, NOT_DATETIME),
    (TIMESTAMP, "10000-02-30 00:00:00", TypeError, NOT_DATETIME),
    (TIMESTAMP, "10000-01-01 24:00:00", TypeError, NOT_DATETIME),
    (TIMESTAMP, "10000-01-01 00:00:00.10", TypeError, NOT_DATETIME),
    (TIMESTAMP, "294277-01-01 00:00:00", TypeError, NOT_DATETIME),
    (TIMESTAMP, "9999999-01-01 00:00:00", TypeError, NOT_DATETIME),
    (TIMESTAMP, timedelta(1), TypeError, "instance, got 'timedelta'"),
    (TIMESTAMPTZ, "10000-01-01 00:00:00", TypeError, NOT_DATETIME),
    (TIMESTAMPTZ, "10000-01-01 00:00:00+01", TypeError, NOT_DATETIME),
    (TIMESTAMPTZ, datetime.time(0), TypeError, "instance, got 'time'"),
    (INTERVAL, "1 day", TypeError, "'str' object has no attribute 'days'"),
    (INTERVAL, "", TypeError, "'str' object has no attribute 'days'"),
    (INTERVAL, "178956970 years 8 mons", OverflowError, "too large"),
    (INTERVAL, "999999999 days", TypeError, "'str' object has no attribute 'days'"),
    (INTERVAL, "1000000000 day", TypeError, "'str' object has no attribute 'days'"),
    (INTERVAL, 5, TypeError, "'int' object has no attribute 'days'"),
]


@pytest.mark.parametrize(("oid", "value", "error", "reason"), REFUSED)
def test_refused(oid: int, value: Any, error: type[Exception], reason: str) -> None:
    """What cannot be encoded says why, in words that users of asyncpg know."""
    with pytest.raises(error, match=re.escape(reason)):
        encode_value(oid, value)


def test_interval_refuses_look_alikes() -> None:
    """An object with days and months is no timedelta: its months would be lost."""

    class Delta:
        months, days, seconds, microseconds = 1, 2, 3, 4

    with pytest.raises(TypeError, match=re.escape("datetime.timedelta")):
        encode_value(INTERVAL, Delta())


OUT_OF_RANGE = [
    (DATE, "!i", [-2451546]),
    (DATE, "!i", [2145031949]),
    (TIME, "!q", [-1]),
    (TIME, "!q", [DAY_US + 1]),
    (TIMETZ, "!qi", [-1, 0]),
    (TIMETZ, "!qi", [DAY_US + 1, 0]),
    (TIMETZ, "!qi", [0, 57600]),
    (TIMETZ, "!qi", [0, -57600]),
    (TIMETZ, "!qi", [0, FIRST32]),
    (TIMESTAMP, "!q", [-211_813_488_000_000_001]),
    (TIMESTAMP, "!q", [9_223_371_331_200_000_000]),
    (TIMESTAMPTZ, "!q", [FIRST64 + 1]),
    (TIMESTAMPTZ, "!q", [LAST64 - 1]),
]


@pytest.mark.parametrize(("oid", "layout", "fields"), OUT_OF_RANGE)
def test_bytes_out_of_range(oid: int, layout: str, fields: list[int]) -> None:
    """A number that no server sends is an error of the data."""
    with pytest.raises(DataError, match="cannot decode a value of type"):
        decode_value(oid, struct.pack(layout, *fields))


@pytest.mark.parametrize(("oid", "size"), SIZES.items())
def test_wrong_size(oid: int, size: int) -> None:
    """Every other number of bytes is refused."""
    for n in range(2 * size):
        if n != size:
            with pytest.raises(DataError, match=f"{n} bytes received, {size} expected"):
                decode_value(oid, bytes(n))


@given(st.sampled_from(list(SIZES)), st.binary(max_size=17))
def test_any_bytes(oid: int, data: bytes) -> None:
    """Bytes make a value that encodes again, or a DataError: nothing else."""
    try:
        value = decode_value(oid, data)
    except DataError:
        return
    again = encode_value(oid, value)
    assert decode_value(oid, again) == value
    if isinstance(value, str):
        assert again == data


@given(st.dates(date(1, 1, 2), date(9999, 12, 30)))
def test_any_date(value: date) -> None:
    """Every date comes back, and its bytes are its distance from 2000."""
    data = encode_value(DATE, value)
    assert data == struct.pack("!i", value.toordinal() - EPOCH_ORDINAL)
    assert decode_value(DATE, data) == value


@given(st.datetimes())
def test_any_timestamp(value: datetime.datetime) -> None:
    """Every datetime comes back, and its bytes are its distance from 2000."""
    data = encode_value(TIMESTAMP, value)
    assert decode_value(TIMESTAMP, data) == value
    if datetime.datetime.min < value < datetime.datetime.max:
        us = (value - at(2000, 1, 1)) // timedelta(microseconds=1)
        assert data == struct.pack("!q", us)


@given(
    st.datetimes(at(1, 1, 3), at(9999, 12, 29), timezones=st.timezones() | st.just(UTC))
)
def test_any_timestamptz(value: datetime.datetime) -> None:
    """Every aware datetime comes back as the same moment in UTC."""
    got = decode_value(TIMESTAMPTZ, encode_value(TIMESTAMPTZ, value))
    assert (got, got.tzinfo) == (value.astimezone(UTC), UTC)


@given(st.times(), st.integers(-57599, 57599))
def test_any_time(value: datetime.time, offset: int) -> None:
    """Every time comes back, with its zone to the second where the type has one."""
    assert decode_value(TIME, encode_value(TIME, value)) == value
    aware = value.replace(tzinfo=timezone(timedelta(seconds=offset)))
    got = decode_value(TIMETZ, encode_value(TIMETZ, aware))
    assert (got, got.utcoffset()) == (aware, aware.utcoffset())


@given(st.timedeltas())
def test_any_interval(value: timedelta) -> None:
    """Every timedelta comes back."""
    assert decode_value(INTERVAL, encode_value(INTERVAL, value)) == value


@given(
    st.integers(FIRST32, LAST32),
    st.integers(FIRST32, LAST32),
    st.integers(FIRST64, LAST64),
)
def test_any_fields_of_an_interval(months: int, days: int, us: int) -> None:
    """What timedelta cannot hold is text that stands for the very same fields."""
    data = struct.pack("!qii", us, days, months)
    years = abs(months) // 12 * (1 if months > 0 else -1)
    total = (
        timedelta.resolution * us // timedelta(1) + days + (months - years * 12) * 30
    )
    total += years * 365
    got = decode_value(INTERVAL, data)
    if abs(total) <= 999_999_999:
        assert got == timedelta(days=total, microseconds=us % DAY_US)
    else:
        assert encode_value(INTERVAL, got) == data


# The exchange format "tuple" of custom codecs.
TUPLES = [
    (DATE, (LAST32,), "!i", [LAST32]),
    (DATE, (-746117,), "!i", [-746117]),
    (TIME, (DAY_US,), "!q", [DAY_US]),
    (TIMETZ, (DAY_US, -3723), "!qi", [DAY_US, -3723]),
    (TIMESTAMP, (FIRST64,), "!q", [FIRST64]),
    (TIMESTAMPTZ, (LAST64,), "!q", [LAST64]),
    (INTERVAL, (1, -2, 3_000_000), "!qii", [3_000_000, -2, 1]),
    (INTERVAL, (FIRST32, LAST32, FIRST64), "!qii", [FIRST64, LAST32, FIRST32]),
]


def exchange(oid: int) -> object:
    """A codec that takes and gives the fields of the wire themselves."""
    codecs = CodecMap()
    name = codecs.lookup(oid).name
    codecs.register(
        oid,
        name,
        "pg_catalog",
        encoder=lambda v: v,
        decoder=lambda v: v,
        format="tuple",
    )
    return codecs.lookup(oid)


@pytest.mark.parametrize(("oid", "value", "layout", "fields"), TUPLES)
def test_tuple_and_bytes(
    oid: int, value: tuple[int, ...], layout: str, fields: list[int]
) -> None:
    """The format "tuple" gives and takes the fields as the server counts them."""
    codec, data = exchange(oid), struct.pack(layout, *fields)
    assert decode_value(codec, data) == value
    assert encode_value(codec, value) == data
    assert encode_value(codec, list(value)) == data
    with pytest.raises(DataError, match="bytes received"):
        decode_value(codec, data + b"\0")


@pytest.mark.parametrize(
    ("oid", "value", "error", "reason"),
    [
        (
            DATE,
            (1, 2),
            ValueError,
            "date tuple encoder: expecting 1 element in tuple, got 2",
        ),
        (DATE, (), ValueError, "expecting 1 element in tuple, got 0"),
        (DATE, "a", TypeError, "expecting 1 element in tuple, got type str"),
        (DATE, (2**31,), OverflowError, "value too large to convert to int32_t"),
        (DATE, (1.5,), TypeError, "'float' object cannot be interpreted as an integer"),
        (TIMESTAMP, (2**63,), OverflowError, "to convert"),
        (TIMETZ, (1,), ValueError, "expecting 2 elements in tuple, got 1"),
        (INTERVAL, (1, 2), ValueError, "expecting 3 elements in tuple, got 2"),
        (INTERVAL, (1, 2, "3"), TypeError, "'str' object cannot be interpreted"),
    ],
)
def test_tuple_refused(
    oid: int, value: object, error: type[Exception], reason: str
) -> None:
    """A tuple of another length or with anything but integers is refused."""
    with pytest.raises(error, match=re.escape(reason)):
        encode_value(exchange(oid), value)


class NaT(datetime.datetime):
    """As that of pandas: of no year, and of the first one in its fields."""

    year = property(lambda self: math.nan)  # type: ignore[assignment]


@pytest.mark.parametrize("oid", [DATE, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ])
@pytest.mark.parametrize("zone", [None, UTC, EAST])
def test_no_date_at_all(oid: int, zone: datetime.tzinfo | None) -> None:
    """What shows another year than its fields say is refused, and no infinity."""
    with pytest.raises((TypeError, ValueError), match="not a date|offset"):
        encode_value(oid, NaT(1, 1, 1, tzinfo=zone))


@pytest.mark.parametrize("oid", [TIME, TIMETZ])
def test_the_end_of_the_day_as_text(oid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no midnight, where Python (from 3.14 on) reads it as one."""

    class Time(datetime.time):
        @classmethod
        def fromisoformat(cls, text: str) -> datetime.time:
            return datetime.time.fromisoformat(text.replace("24:", "00:"))

    codec = _codecs_text.TextCodecs(CodecMap()).lookup(oid)
    monkeypatch.setattr(_codecs_text, "time", Time)
    for text in "24:00:00", "24:00:00+01":
        assert decode_value(codec, text.encode()) == text
    assert decode_value(codec, b"23:59:59") == datetime.time(23, 59, 59)
