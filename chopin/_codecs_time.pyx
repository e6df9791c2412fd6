# cython: language_level=3, cdivision=True
"""Codecs of the date and time types.

Owns: date, time, timetz, timestamp, timestamptz, interval, and their exchange format
"tuple".
Layer L2. Imports L0, L1 and `_codecbase`.

Rules
- The server counts from 2000-01-01 in the proleptic Gregorian calendar: days for date,
  microseconds for the rest. Year 0 is 1 BC.
- No value that the server can hold makes a row fail. What Python's class cannot hold
  (BC, year > 9999, 24:00:00, an interval past the range of timedelta) decodes to `str`,
  in the text form that PostgreSQL writes with DateStyle ISO and IntervalStyle postgres.
- An encoder takes such a string back, and no other: a string is accepted when it is
  exactly what the decoder would give, or the word for an infinity. Parsing general
  date strings is the server's work: `$1::text::date`.
- date and the timestamps decode their infinities to the largest and smallest value of
  the Python class, naive even for timestamptz, and encode these to infinity, which is
  what programs written for asyncpg expect. timedelta has no such habit: an infinite
  interval is the string.
- Bytes that no server writes (out of a type's range) are a DataError.

Source: PostgreSQL docs "Date/Time Types", and the server functions named below.
"""

import datetime
import re
from operator import index

cimport cpython.datetime as dt
from cpython.long cimport PyLong_AsLongLong
from cpython.object cimport Py_TYPE
from libc.stdint cimport (
    INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int32_t, int64_t, uint64_t,
)

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value
from chopin._codecs_scalar cimport check_year
from chopin._wire cimport get_int32, get_int64

dt.import_datetime()

cdef object UTC = datetime.timezone.utc
cdef object DATE_MAX = datetime.date.max
cdef object DATE_MIN = datetime.date.min
cdef object DATETIME_MAX = datetime.datetime.max
cdef object DATETIME_MIN = datetime.datetime.min

cdef enum:
    DAYS_MIN = -730119              # 0001-01-01, Python's first day
    DAYS_MAX = 2921939              # 9999-12-31, Python's last day
    SERVER_DAYS_MIN = -2451545      # 4714-11-24 BC: DATETIME_MIN_JULIAN
    SERVER_DAYS_MAX = 2145031948    # 5874897-12-31: DATE_END_JULIAN - 1
    TIMEDELTA_DAYS_MAX = 999999999
    ZONE_LIMIT = 16 * 3600          # TZDISP_LIMIT: offsets end at 15:59:59

cdef extern from *:
    """
    #define US_PER_SECOND 1000000LL
    #define US_PER_DAY 86400000000LL
    #define SERVER_US_MIN (-211813488000000000LL)
    #define SERVER_US_END 9223371331200000000LL
    #define PYTHON_US_MIN (-63082281600000000LL)
    #define PYTHON_US_MAX 252455615999999999LL
    """
    # constants for the compiler, which divides by them
    const int64_t US_PER_SECOND
    const int64_t US_PER_DAY
    const int64_t SERVER_US_MIN     # MIN_TIMESTAMP
    const int64_t SERVER_US_END     # END_TIMESTAMP, exclusive
    const int64_t PYTHON_US_MIN     # 0001-01-01 00:00:00
    const int64_t PYTHON_US_MAX     # 9999-12-31 23:59:59.999999

POINT_FORM = re.compile(
    r"(\d{4,7})-(\d\d)-(\d\d)"
    r"(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00)?)?( BC)?",
    re.A,
)
MIDNIGHT_FORM = re.compile(r"24:00:00([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?", re.A)
INTERVAL_FORM = re.compile(
    r"(?:([+-]?\d{1,10}) years?)? ?(?:([+-]?\d{1,10}) mons?)? ?"
    r"(?:([+-]?\d{1,10}) days?)? ?"
    r"(?:([+-]?)(\d{2,10}):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?",
    re.A,
)


# Calendar.

cdef struct Civil:
    int64_t year        # 0 is 1 BC
    int month
    int day


cdef inline Civil civil_of_days(int64_t days) noexcept nogil:
    """The date `days` after 2000-01-01.

    Counts in years that begin in March, so that the leap day is a year's last, from
    March of the year -8000, which lies before the server's first day: nothing here is
    negative, and plain division is floor division.
    """
    cdef Civil civil
    cdef int64_t n = days + 730425 + 20 * 146097    # 0000-03-01, then 20 * 400 years
    cdef int64_t era = n / 146097
    cdef int day = <int>(n - era * 146097)          # of 400 years
    cdef int century = day / 36524
    cdef int quad, year, march
    if century == 4:                                # the era's last leap day
        century = 3
    day -= century * 36524
    quad = day / 1461
    day -= quad * 1461
    year = day / 365
    if year == 4:                                   # the four years' leap day
        year = 3
    day -= year * 365
    march = (5 * day + 2) / 153                     # 0 is March, 11 is February
    civil.day = day - (153 * march + 2) / 5 + 1
    civil.year = (era - 20) * 400 + century * 100 + quad * 4 + year
    if march >= 10:
        civil.year += 1
        civil.month = march - 9
    else:
        civil.month = march + 3
    return civil


cdef inline int64_t days_of_civil(int64_t year, int month, int day) noexcept nogil:
    """Days from 2000-01-01 to a date; the year not before -7999."""
    cdef int64_t y = year + 8000
    cdef int march = month - 3
    if march < 0:
        march += 12
        y -= 1
    return (
        y * 365 + y / 4 - y / 100 + y / 400 + (153 * march + 2) / 5 + day - 1
        - 730425 - 20 * 146097
    )


cdef inline int64_t floor_days(int64_t us) noexcept nogil:
    cdef int64_t days = us / US_PER_DAY
    return days - 1 if us < days * US_PER_DAY else days


# The text form of what Python cannot hold.

cdef str text_of_clock(uint64_t us):
    """``HH:MM:SS[.ffffff]`` without trailing zeros, as the server writes it."""
    cdef uint64_t seconds = us / 1000000
    cdef uint64_t minutes = seconds / 60
    cdef int fraction = us % 1000000
    text = f"{minutes / 60:02d}:{minutes % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


cdef str text_of_date(int64_t days, str clock):
    """``YYYY-MM-DD[ clock][ BC]``; `clock` is empty or begins with a space."""
    cdef Civil civil = civil_of_days(days)
    year = civil.year if civil.year > 0 else 1 - civil.year
    era = "" if civil.year > 0 else " BC"
    return f"{year:04d}-{civil.month:02d}-{civil.day:02d}{clock}{era}"


cdef str text_of_timestamp(int64_t us, str zone):
    cdef int64_t days = floor_days(us)
    return text_of_date(days, f" {text_of_clock(us - days * US_PER_DAY)}{zone}")


cdef str text_of_zone(int32_t west):
    """``+HH[:MM[:SS]]``, positive to the east; the wire counts to the west."""
    cdef int32_t n = abs(west)
    text = f"{'-' if west > 0 else '+'}{n // 3600:02d}"
    if n % 3600:
        text += f":{n // 60 % 60:02d}"
    if n % 60:
        text += f":{n % 60:02d}"
    return text


cdef str text_of_interval(int32_t months, int32_t days, int64_t us):
    """IntervalStyle postgres: ``-1 years -2 mons +3 days -04:05:06.7``."""
    cdef bint negative = False      # the unit before is: a plus must be written
    cdef int32_t n
    cdef list parts = []
    for n, unit in ((months / 12, "year"), (months % 12, "mon"), (days, "day")):
        if n:
            plus = "+" if negative and n > 0 else ""
            parts.append(f"{plus}{n} {unit}{'' if n == 1 else 's'}")
            negative = n < 0
    if us < 0:
        # unsigned: the smallest int64 has no positive counterpart
        parts.append("-" + text_of_clock(0 - <uint64_t>us))
    elif us or not parts:
        parts.append(("+" if negative else "") + text_of_clock(us))
    return " ".join(parts)


cdef int read_point(str value, int64_t *days, int64_t *us) except -1:
    """The days and the microseconds of the day in a string of the forms above.

    Both stay as they are when it has another form. What comes out may be no date that
    exists: the caller writes it as text again and compares.
    """
    cdef int64_t y
    match = POINT_FORM.fullmatch(value)
    if match:
        year, month, day, hour, minute, second, fraction, era = match.groups("0")
        y = int(year) if era == "0" else 1 - <int64_t>int(year)
        if y > -7999:
            days[0] = days_of_civil(y, int(month), int(day))
            us[0] = us_of_clock(
                int(hour), int(minute), int(second), int(fraction.ljust(6, "0"))
            )
    return 0


# Parts of the decoders and encoders.

cdef inline object datetime_of_us(int64_t us, object zone):
    """The datetime `us` after 2000-01-01; within Python's years."""
    cdef int64_t days = floor_days(us)
    cdef Civil civil = civil_of_days(days)
    cdef int64_t left = us - days * US_PER_DAY
    cdef int seconds = <int>(left / 1000000)
    return dt.datetime_new(
        <int>civil.year, civil.month, civil.day,
        seconds / 3600, seconds / 60 % 60, seconds % 60,
        <int>(left - seconds * US_PER_SECOND), zone,
    )


cdef inline object clock_of_us(int64_t us, object zone):
    """The time `us` after midnight; less than 24 hours."""
    cdef int seconds = <int>(us / 1000000)
    return dt.time_new(
        seconds / 3600, seconds / 60 % 60, seconds % 60,
        <int>(us - seconds * US_PER_SECOND), zone,
    )


cdef inline int64_t us_of_clock(int hour, int minute, int second, int us) noexcept:
    return (hour * 3600 + minute * 60 + second) * US_PER_SECOND + us


cdef inline int64_t clock_of_datetime(object value) noexcept:
    return us_of_clock(
        dt.datetime_hour(value), dt.datetime_minute(value),
        dt.datetime_second(value), dt.datetime_microsecond(value),
    )


cdef inline int64_t days_of_date(object value) except? -1:
    """Days from 2000-01-01 to a date, or to the date of a datetime."""
    check_year(value, dt.date_year(value))
    return days_of_civil(dt.date_year(value), dt.date_month(value), dt.date_day(value))


cdef inline int64_t us_of_datetime(object value) except? -1:
    """Microseconds from 2000-01-01 to what a datetime shows, zone not regarded."""
    return days_of_date(value) * US_PER_DAY + clock_of_datetime(value)


cdef inline int64_t days_of_interval(int32_t months, int32_t days, int64_t us) noexcept:
    """The days of the timedelta: a year has 365, a month left over 30."""
    return <int64_t>(months / 12) * 365 + (months % 12) * 30 + days + floor_days(us)


cdef inline int64_t us_of_timedelta(object value) noexcept:
    """Less than 2**63: only for offsets from UTC, which are less than a day."""
    return (
        dt.timedelta_days(value) * US_PER_DAY
        + dt.timedelta_seconds(value) * US_PER_SECOND + dt.timedelta_microseconds(value)
    )


cdef inline int put_four(WriteBuffer out, int32_t value) except -1:
    out.put_int32(4)
    return out.put_int32(value)


cdef inline int put_eight(WriteBuffer out, int64_t value) except -1:
    out.put_int32(8)
    return out.put_int64(value)


cdef inline int put_timetz(WriteBuffer out, int64_t us, int32_t west) except -1:
    out.put_int32(12)
    out.put_int64(us)
    return out.put_int32(west)


cdef inline int put_interval(
    WriteBuffer out, int64_t us, int32_t days, int32_t months
) except -1:
    out.put_int32(16)
    out.put_int64(us)
    out.put_int32(days)
    return out.put_int32(months)


cdef inline int check_size(Codec codec, Py_ssize_t size, int expected) except -1:
    if size != expected:
        bad_size(codec, size, str(expected))
    return 0


cdef object wrong_type(object value, str attribute, str expected):
    """Raise: with the reason that asyncpg gives, and what is expected."""
    raise TypeError(
        f"'{Py_TYPE(value).tp_name.decode()}' object has no attribute '{attribute}': "
        f"{expected} expected, or a string that the decoder of the type gives"
    )


# date

cdef object decode_date(Codec codec, const unsigned char *data, Py_ssize_t size):
    """date: int32 BE, days since 2000-01-01.

    The extreme int32 are -infinity (date.min) and infinity (date.max); BC and years
    past 9999 are `str`. DataError: any size but 4, days outside of the server's range.
    Source: date.c:date_send.
    """
    cdef int32_t days
    cdef Civil civil
    check_size(codec, size, 4)
    days = get_int32(data)
    if DAYS_MIN <= days <= DAYS_MAX:
        civil = civil_of_days(days)
        return dt.date_new(<int>civil.year, civil.month, civil.day)
    if days == INT32_MAX:
        return DATE_MAX
    if days == INT32_MIN:
        return DATE_MIN
    if not SERVER_DAYS_MIN <= days <= SERVER_DAYS_MAX:
        bad_value(codec, f"{days} days since 2000-01-01 are out of range")
    return text_of_date(days, "")


cdef int encode_date(Codec codec, WriteBuffer out, object value) except -1:
    """date from a date or datetime (its date part), or an object with `toordinal()`.

    date.max and date.min are sent as infinity and -infinity. TypeError otherwise, and
    for a string that is not a date of the form described at the top.
    Source: date.c:date_recv.
    """
    cdef int64_t days
    if dt.PyDate_Check(value):
        days = days_of_date(value)
    elif isinstance(value, str):
        return put_four(out, days_of_text(value))
    else:
        try:
            ordinal = value.toordinal()
        except AttributeError:
            wrong_type(value, "toordinal", "a datetime.date or datetime.datetime")
        days = PyLong_AsLongLong(ordinal) - 730120
        if not DAYS_MIN <= days <= DAYS_MAX:
            raise OverflowError("date value out of range")
    if days == DAYS_MAX:
        return put_four(out, INT32_MAX)
    return put_four(out, INT32_MIN if days == DAYS_MIN else <int32_t>days)


cdef int32_t days_of_text(str value) except? -1:
    """Days of a string that `decode_date` gives, or of the word for an infinity."""
    cdef int64_t days = 0
    cdef int64_t us = 0
    if value == "infinity":
        return INT32_MAX
    if value == "-infinity":
        return INT32_MIN
    read_point(value, &days, &us)
    # the reverse must give the very string: no 30 February, no date of Python's years
    if (
        DAYS_MIN <= days <= DAYS_MAX
        or not SERVER_DAYS_MIN <= days <= SERVER_DAYS_MAX
        or text_of_date(days, "") != value
    ):
        wrong_type(value, "toordinal", "a datetime.date or datetime.datetime")
    return <int32_t>days


# time and timetz

cdef object decode_time(Codec codec, const unsigned char *data, Py_ssize_t size):
    """time: int64 BE, microseconds since midnight, 0 to 24 hours inclusive.

    24:00:00, which datetime.time cannot hold, is the string. DataError: any size but
    8, microseconds outside of the day.
    Source: date.c:time_send.
    """
    check_size(codec, size, 8)
    cdef int64_t us = get_int64(data)
    if not 0 <= us <= US_PER_DAY:
        bad_value(codec, f"{us} microseconds are not within a day")
    if us == US_PER_DAY:
        return "24:00:00"
    return clock_of_us(us, None)


cdef int encode_time(Codec codec, WriteBuffer out, object value) except -1:
    """time from a time or datetime (its time part), zone not regarded, or "24:00:00".

    TypeError: anything else.
    Source: date.c:time_recv.
    """
    return put_eight(out, us_of_time(value))


cdef int64_t us_of_time(object value) except -1:
    """Microseconds since midnight of whatever `encode_time` takes."""
    if dt.PyTime_Check(value):
        return us_of_clock(
            dt.time_hour(value), dt.time_minute(value),
            dt.time_second(value), dt.time_microsecond(value),
        )
    if dt.PyDateTime_Check(value):
        check_year(value, dt.date_year(value))
        return clock_of_datetime(value)
    if isinstance(value, str) and value == "24:00:00":
        return US_PER_DAY
    wrong_type(value, "hour", "a datetime.time")


cdef object decode_timetz(Codec codec, const unsigned char *data, Py_ssize_t size):
    """timetz: int64 BE, microseconds since midnight; int32 BE, seconds west of UTC.

    The zone is kept to the second. 24:00:00 is a string with its zone
    (``24:00:00+02``). DataError: any size but 12, a time outside of the day, a zone of
    16 hours or more.
    Source: date.c:timetz_send.
    """
    check_size(codec, size, 12)
    cdef int64_t us = get_int64(data)
    cdef int32_t west = get_int32(data + 8)
    if not 0 <= us <= US_PER_DAY:
        bad_value(codec, f"{us} microseconds are not within a day")
    if not -ZONE_LIMIT < west < ZONE_LIMIT:
        bad_value(codec, f"{west} seconds west of UTC are out of range")
    if us == US_PER_DAY:
        return "24:00:00" + text_of_zone(west)
    if west == 0:
        return clock_of_us(us, UTC)
    return clock_of_us(us, dt.timezone_new(dt.timedelta_new(0, -west, 0)))


cdef int encode_timetz(Codec codec, WriteBuffer out, object value) except -1:
    """timetz from a time or datetime with a zone, or the string that 24:00 decodes to.

    A zone whose offset depends on the date (zoneinfo) needs a datetime. TypeError:
    anything else, no zone. ValueError: an offset of 16 hours or more, or with a
    fraction of a second.
    Source: date.c:timetz_recv.
    """
    cdef int64_t offset
    if isinstance(value, str):
        return put_timetz(out, US_PER_DAY, west_of_text(value))
    if dt.PyTime_Check(value):
        zone = dt.time_tzinfo(value)
    elif dt.PyDateTime_Check(value):
        zone = dt.datetime_tzinfo(value)
    else:
        wrong_type(value, "tzinfo", "a datetime.time with a zone")
    if zone is UTC:
        return put_timetz(out, us_of_time(value), 0)
    delta = None if zone is None else value.utcoffset()
    if delta is None:
        raise TypeError(
            "'NoneType' object has no attribute 'utcoffset': a time whose zone has a "
            "fixed offset is expected, such as datetime.timezone"
        )
    offset = us_of_timedelta(delta)
    if offset % US_PER_SECOND:
        raise ValueError(f"the offset from UTC must be in whole seconds, got {delta}")
    offset = offset / US_PER_SECOND
    if not -ZONE_LIMIT < offset < ZONE_LIMIT:
        raise ValueError(f"the offset from UTC must be less than 16 hours, got {delta}")
    return put_timetz(out, us_of_time(value), <int32_t>-offset)


cdef int32_t west_of_text(str value) except? -1:
    """Seconds west of UTC in ``24:00:00+HH[:MM[:SS]]``, exactly as it is decoded."""
    cdef int32_t west = 0
    match = MIDNIGHT_FORM.fullmatch(value)
    if match:
        sign, hours, minutes, seconds = match.groups(default="0")
        west = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        if sign == "+":
            west = -west
    if (
        match is None
        or not -ZONE_LIMIT < west < ZONE_LIMIT
        or "24:00:00" + text_of_zone(west) != value
    ):
        wrong_type(value, "tzinfo", "a datetime.time with a zone")
    return west


# timestamp and timestamptz

cdef inline object decode_us(
    Codec codec, const unsigned char *data, Py_ssize_t size, object zone
):
    """What the two timestamps have in common."""
    check_size(codec, size, 8)
    cdef int64_t us = get_int64(data)
    if PYTHON_US_MIN <= us <= PYTHON_US_MAX:
        return datetime_of_us(us, zone)
    if us == INT64_MAX:
        return DATETIME_MAX
    if us == INT64_MIN:
        return DATETIME_MIN
    if not SERVER_US_MIN <= us < SERVER_US_END:
        bad_value(codec, f"{us} microseconds since 2000-01-01 are out of range")
    return text_of_timestamp(us, "" if zone is None else "+00")


cdef object decode_timestamp(Codec codec, const unsigned char *data, Py_ssize_t size):
    """timestamp: int64 BE, microseconds since 2000-01-01 00:00:00; a naive datetime.

    The extreme int64 are -infinity (datetime.min) and infinity (datetime.max); BC and
    years past 9999 are `str`. DataError: any size but 8, outside of the server's range.
    Source: timestamp.c:timestamp_send.
    """
    return decode_us(codec, data, size, None)


cdef object decode_timestamptz(Codec codec, const unsigned char *data, Py_ssize_t size):
    """timestamptz: int64 BE, microseconds since 2000-01-01 00:00:00 UTC.

    A datetime in UTC, but the infinities are datetime.min and datetime.max without a
    zone, as asyncpg has them; BC and years past 9999 are `str`, in UTC (``+00``).
    DataError: any size but 8, outside of the server's range.
    Source: timestamp.c:timestamptz_send.
    """
    return decode_us(codec, data, size, UTC)


cdef int encode_timestamp(Codec codec, WriteBuffer out, object value) except -1:
    """timestamp from a naive datetime, or a date (its midnight).

    datetime.max and datetime.min are sent as infinity and -infinity. TypeError: a
    datetime with a zone, anything else.
    Source: timestamp.c:timestamp_recv.
    """
    cdef int64_t us
    if dt.PyDateTime_Check(value):
        if dt.datetime_tzinfo(value) is not None and value.utcoffset() is not None:
            raise TypeError(
                "can't subtract offset-naive and offset-aware datetimes: the type "
                "timestamp has no zone, pass a datetime without tzinfo"
            )
        us = us_of_datetime(value)
    elif dt.PyDate_Check(value):
        us = days_of_date(value) * US_PER_DAY
    else:
        return put_eight(out, us_of_text(value, ""))
    return put_us(out, us)


cdef int encode_timestamptz(Codec codec, WriteBuffer out, object value) except -1:
    """timestamptz from a datetime; one without a zone, and a date, are local time.

    datetime.max and datetime.min, naive or in UTC, are sent as infinity and -infinity.
    TypeError: anything else. OverflowError: a naive datetime at the end of the calendar
    of which the platform cannot tell the zone.
    Source: timestamp.c:timestamptz_recv.
    """
    cdef int64_t us
    if not dt.PyDate_Check(value):
        return put_eight(out, us_of_text(value, "+00"))
    if not dt.PyDateTime_Check(value):
        value = datetime_of_us(days_of_date(value) * US_PER_DAY, None)
    zone = dt.datetime_tzinfo(value)
    us = us_of_datetime(value)
    if zone is not UTC:
        offset = None if zone is None else value.utcoffset()
        if offset is None and PYTHON_US_MIN < us < PYTHON_US_MAX:
            # the zone of the process, at the time in question
            offset = value.astimezone().utcoffset()
        if offset is not None:
            us -= us_of_timedelta(offset)
    return put_us(out, us)


cdef inline int put_us(WriteBuffer out, int64_t us) except -1:
    """Write the microseconds; Python's first and last stand for the infinities."""
    if us == PYTHON_US_MAX:
        return put_eight(out, INT64_MAX)
    return put_eight(out, INT64_MIN if us == PYTHON_US_MIN else us)


cdef int64_t us_of_text(object value, str zone) except? -1:
    """Microseconds of a string that the decoder gives, or of an infinity's word."""
    cdef int64_t days = 0
    cdef int64_t us = 0
    if isinstance(value, str):
        if value == "infinity":
            return INT64_MAX
        if value == "-infinity":
            return INT64_MIN
        read_point(value, &days, &us)
    if SERVER_DAYS_MIN <= days < SERVER_US_END / US_PER_DAY:
        us += days * US_PER_DAY
        if (
            not PYTHON_US_MIN <= us <= PYTHON_US_MAX
            and text_of_timestamp(us, zone) == value
        ):
            return us
    raise TypeError(
        "expected a datetime.date or datetime.datetime instance, "
        f"got '{type(value).__name__}'"
    )


# interval

cdef object decode_interval(Codec codec, const unsigned char *data, Py_ssize_t size):
    """interval: int64 BE microseconds, int32 BE days, int32 BE months.

    A timedelta in which a year counts 365 days and a month left over 30, as asyncpg
    has it; the exact fields come through the exchange format "tuple". What timedelta
    cannot hold is `str`, the infinities too: all three fields at their largest or
    smallest. DataError: any size but 16.
    Source: timestamp.c:interval_send.
    """
    check_size(codec, size, 16)
    cdef int64_t us = get_int64(data)
    cdef int32_t days = get_int32(data + 8)
    cdef int32_t months = get_int32(data + 12)
    cdef int64_t sum_days = days_of_interval(months, days, us)
    cdef int64_t left
    if -TIMEDELTA_DAYS_MAX <= sum_days <= TIMEDELTA_DAYS_MAX:
        left = us % US_PER_DAY
        if left < 0:
            left += US_PER_DAY
        return dt.timedelta_new(
            <int>sum_days, <int>(left / US_PER_SECOND), <int>(left % US_PER_SECOND)
        )
    if us == INT64_MAX and days == INT32_MAX and months == INT32_MAX:
        return "infinity"
    if us == INT64_MIN and days == INT32_MIN and months == INT32_MIN:
        return "-infinity"
    return text_of_interval(months, days, us)


cdef int encode_interval(Codec codec, WriteBuffer out, object value) except -1:
    """interval from a timedelta: its days, and seconds and below as microseconds.

    Or from a string that `decode_interval` gives. TypeError otherwise: objects that
    only look like a timedelta may have months, which would be lost.
    Source: timestamp.c:interval_recv.
    """
    if dt.PyDelta_Check(value):
        return put_interval(
            out,
            us_of_clock(
                0, 0, dt.timedelta_seconds(value), dt.timedelta_microseconds(value)
            ),
            dt.timedelta_days(value),
            0,
        )
    if isinstance(value, str):
        return put_interval_text(out, value)
    wrong_type(value, "days", "a datetime.timedelta")


cdef int put_interval_text(WriteBuffer out, str value) except -1:
    """Write the interval of a string, exactly as it is decoded."""
    cdef int64_t sum_days
    cdef int64_t us = 0
    cdef int32_t days = 0
    cdef int32_t months = 0
    if value == "infinity":
        return put_interval(out, INT64_MAX, INT32_MAX, INT32_MAX)
    if value == "-infinity":
        return put_interval(out, INT64_MIN, INT32_MIN, INT32_MIN)
    match = INTERVAL_FORM.fullmatch(value)
    if match:
        year, month, day, sign, hour, minute, second, fraction = match.groups("0")
        clock = (int(hour) * 3600 + int(minute) * 60 + int(second)) * 1000000
        clock += int(fraction.ljust(6, "0"))
        months = int(year) * 12 + int(month)    # OverflowError past the server's range
        days = int(day)
        us = -clock if sign == "-" else clock
        sum_days = days_of_interval(months, days, us)
        if (
            not -TIMEDELTA_DAYS_MAX <= sum_days <= TIMEDELTA_DAYS_MAX
            and text_of_interval(months, days, us) == value
        ):
            return put_interval(out, us, days, months)
    wrong_type(value, "days", "a datetime.timedelta")


# The exchange format "tuple".

cdef int64_t int64_field(object value, Py_ssize_t i) except? -1:
    """The integer at a position of a tuple; TypeError and OverflowError as int has."""
    return PyLong_AsLongLong(index(value[i]))


cdef int32_t int32_field(object value, Py_ssize_t i) except? -1:
    cdef int64_t number = int64_field(value, i)
    if not INT32_MIN <= number <= INT32_MAX:
        raise OverflowError("value too large to convert to int32_t")
    return <int32_t>number


cdef int check_tuple(object value, str name, Py_ssize_t n) except -1:
    """TypeError or ValueError unless `value` is a list or tuple of `n`."""
    wanted = f"{name} tuple encoder: expecting {n} element{'' if n == 1 else 's'}"
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{wanted} in tuple, got type {type(value).__name__}")
    if len(value) != n:
        raise ValueError(f"{wanted} in tuple, got {len(value)}")
    return 0


cdef object decode_date_tuple(Codec codec, const unsigned char *data, Py_ssize_t size):
    """date as ``(days,)`` since 2000-01-01; the infinities are the extreme int32."""
    check_size(codec, size, 4)
    return (get_int32(data),)


cdef int encode_date_tuple(Codec codec, WriteBuffer out, object value) except -1:
    """date from ``(days,)``; the server checks the range."""
    check_tuple(value, "date", 1)
    return put_four(out, int32_field(value, 0))


cdef object decode_time_tuple(Codec codec, const unsigned char *data, Py_ssize_t size):
    """time as ``(microseconds,)`` since midnight; 24:00 is 86,400,000,000."""
    check_size(codec, size, 8)
    return (get_int64(data),)


cdef int encode_time_tuple(Codec codec, WriteBuffer out, object value) except -1:
    """time from ``(microseconds,)``; the server checks the range."""
    check_tuple(value, "time", 1)
    return put_eight(out, int64_field(value, 0))


cdef object decode_timetz_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """timetz as ``(microseconds, seconds west of UTC)``."""
    check_size(codec, size, 12)
    return (get_int64(data), get_int32(data + 8))


cdef int encode_timetz_tuple(Codec codec, WriteBuffer out, object value) except -1:
    """timetz from ``(microseconds, seconds west of UTC)``; the server checks both."""
    check_tuple(value, "timetz", 2)
    return put_timetz(out, int64_field(value, 0), int32_field(value, 1))


cdef object decode_timestamp_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """timestamp as ``(microseconds,)`` since 2000-01-01; the extremes are infinite."""
    check_size(codec, size, 8)
    return (get_int64(data),)


cdef int encode_timestamp_tuple(Codec codec, WriteBuffer out, object value) except -1:
    """timestamp from ``(microseconds,)``; the server checks the range."""
    check_tuple(value, "timestamp", 1)
    return put_eight(out, int64_field(value, 0))


cdef object decode_timestamptz_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """timestamptz as ``(microseconds,)`` since 2000-01-01 UTC."""
    return decode_timestamp_tuple(codec, data, size)


cdef int encode_timestamptz_tuple(Codec codec, WriteBuffer out, object value) except -1:
    """timestamptz from ``(microseconds,)``; the server checks the range."""
    return encode_timestamp_tuple(codec, out, value)


cdef object decode_interval_tuple(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """interval as ``(months, days, microseconds)``."""
    check_size(codec, size, 16)
    return (get_int32(data + 12), get_int32(data + 8), get_int64(data))


cdef int encode_interval_tuple(Codec codec, WriteBuffer out, object value) except -1:
    """interval from ``(months, days, microseconds)``."""
    check_tuple(value, "interval", 3)
    return put_interval(
        out, int64_field(value, 2), int32_field(value, 1), int32_field(value, 0)
    )
