"""Random values of every family of types, and what the server and others make of them.

`LITERALS` makes texts that the server reads, within the server's limits and not those
of Python: each is decoded, sent back, and must be the same text again; where psycopg
(which reads the server's text) and asyncpg (which reads its bytes) agree on a value,
ours is the same. `VALUES` makes values of Python with the text that the server must
read as the same value.

Hypothesis only draws: the same values every time, many in one round trip.
"""

import datetime
import functools
import json
from datetime import timedelta
from decimal import Decimal

import asyncpg
import psycopg
import psycopg.types.json
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

UTC = datetime.UTC
SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "lc_monetary": "C",
}
#: So many values of a type, in round trips of so many.
COUNT, BATCH = 60, 30

DDL = r"""
CREATE TYPE random_mood AS ENUM ('calm', 'so so', 'a"b\c', '{x,(y)}', 'NULL', 'é');
CREATE TYPE random_pair AS (a int4, b text, c numeric[], d timestamptz);
"""


@pytest.fixture(scope="module")
def made(observer):
    """Types that are not built in."""
    observer.execute(f"SET search_path = public; {DDL}")
    yield
    observer.execute("DROP TYPE random_pair; DROP TYPE random_mood")
    observer.execute("RESET search_path")


@functools.cache
def drawn(strategy):
    """So many values of a strategy, always the same ones."""
    values = []

    @settings(
        max_examples=COUNT,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value):
        values.append(value)

    collect()
    return values


def batches(values):
    """Lists of at most `BATCH`."""
    return [values[i : i + BATCH] for i in range(0, len(values), BATCH)]


# -- texts that the server reads ----------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
FLOAT4 = st.floats(width=32).map(repr)
FLOAT8 = st.floats().map(repr)
FINITE = st.floats(-1e9, 1e9).map(repr)
DIGITS = st.text("0123456789", min_size=1, max_size=45)
NUMERIC = st.one_of(
    st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), DIGITS, DIGITS),
    st.builds("{}e{}".format, DIGITS, st.integers(-60, 60)),
    st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "1e131071", "-1e-16383", "9999e9996"]
    ),
)
CLOCK = st.builds(
    "{:02}:{:02}:{:02}.{:06}".format,
    *(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)),
    st.integers(0, 999999),
)
SHIFT = st.builds(
    "{}{:02}:{:02}:{:02}".format,
    *(st.sampled_from("+-"), st.integers(0, 15), st.integers(0, 59)),
    st.integers(0, 59),
)


def days(last_year):
    """Days after Christ and before, of months of 28 days; not Python's first and last.

    Those two are sent as the infinities.
    """
    form = "{:04}-{:02}-{:02}".format
    month_and_day = st.integers(1, 12), st.integers(1, 28)
    return st.one_of(
        st.builds(form, st.integers(2, 9999), *month_and_day),
        st.builds(
            "{}-{:02}-{:02}".format, st.integers(10000, last_year), *month_and_day
        ),
    ), st.builds("{:04}-{:02}-{:02}".format, st.integers(1, 4713), *month_and_day)


def moments(shift):
    """Timestamps, with this behind the clock."""
    after, before = days(294275)
    return st.one_of(
        st.builds("{} {}{}".format, after, CLOCK, shift),
        st.builds("{} {}{} BC".format, before, CLOCK, shift),
        st.sampled_from(
            [
                "infinity",
                "-infinity",
                "9999-12-31 23:59:59.999998",
                "0001-01-01 00:00:00.000001",
                "10000-01-01 00:00:00",
                "0001-12-31 23:59:59.999999 BC",
                "2000-01-01 00:00:00",
            ]
        ),
    )


DATES = st.one_of(
    days(5874896)[0],
    days(5874896)[1].map("{} BC".format),
    st.sampled_from(["infinity", "-infinity", "2000-02-29", "1900-02-28"]),
)
YEARS = st.dates(datetime.date(1, 1, 2), datetime.date(9999, 12, 30))
TIMESTAMPTZ = moments(SHIFT)
INTERVALS = st.builds(
    "{} years {} mons {} days {}{}".format,
    *(st.integers(-900_000, 900_000), st.integers(-30, 30)),
    *(st.integers(-400_000, 400_000), st.sampled_from(["", "-"]), CLOCK),
)
BITS = st.text("01", max_size=70)
HEX = "0123456789abcdef"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e99, 1e99) | TEXT,
    lambda part: st.lists(part) | st.dictionaries(TEXT, part),
    max_leaves=5,
).map(lambda value: json.dumps(value, ensure_ascii=False))


def points(template, least=1, most=6):
    """So many points in a template with one place for all of them."""
    point = st.builds("({},{})".format, FINITE, FINITE)
    return st.lists(point, min_size=least, max_size=most).map(
        lambda parts: template.format(",".join(parts))
    )


def ranges(bound, key):
    """Range literals over literals of bounds, which are sorted by a key."""
    quoted = st.one_of(st.just(""), bound)

    def build(lower, upper, opening, closing):
        if lower and upper and key(lower) > key(upper):
            lower, upper = upper, lower
        return f"{opening}{quote(lower)},{quote(upper)}{closing}"

    return st.one_of(
        st.just("empty"),
        st.builds(build, quoted, quoted, st.sampled_from("[("), st.sampled_from(")]")),
    )


def quote(text):
    """An element between quotes, as arrays, rows and ranges have it; "" for none."""
    if text == "":
        return ""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def arrays(element):
    """Array literals of up to three dimensions, with NULL among the elements."""
    item = st.one_of(
        st.just("NULL"),
        element.map(lambda text: quote(text) or '""'),
    )

    @st.composite
    def build(draw):
        shape = draw(st.lists(st.integers(1, 3), max_size=3))

        def part(lengths):
            if not lengths:
                return draw(item)
            return "{" + ",".join(part(lengths[1:]) for _ in range(lengths[0])) + "}"

        return part(shape) if shape else "{}"

    return build()


IDENTITY = st.builds("{}/{}".format, st.ip_addresses(), st.integers(0, 32))
NETWORKS = st.one_of(
    st.builds("{}.{}.{}.0/{}".format, *[st.integers(0, 255)] * 3, st.integers(24, 32)),
    st.builds(
        "{:x}:{:x}::/{}".format, *[st.integers(1, 65535)] * 2, st.integers(32, 128)
    ),
)
MOODS = st.sampled_from(["calm", "so so", 'a"b\\c', "{x,(y)}", "NULL", "é"])
INT4 = st.integers(-(2**31), 2**31 - 1).map(str)
INT8 = st.integers(-(2**63), 2**63 - 1).map(str)
SMALL = st.integers(-(10**6), 10**6).map(str)
INT4_RANGES = ranges(SMALL, int)
PAIRS = st.builds(
    "({},{},{},{})".format,
    *(st.just("") | INT4, st.just("") | TEXT.map(lambda text: quote(text) or '""')),
    *(st.just("") | arrays(NUMERIC).map(quote), st.just("") | TIMESTAMPTZ.map(quote)),
)
LITERALS = {
    "bool": st.sampled_from(["true", "false"]),
    "int2": st.integers(-(2**15), 2**15 - 1).map(str),
    "int4": INT4,
    "int8": INT8,
    "oid": st.integers(0, 2**32 - 1).map(str),
    "xid8": st.integers(0, 2**64 - 1).map(str),
    "float4": FLOAT4,
    "float8": FLOAT8,
    "numeric": NUMERIC,
    "text": TEXT,
    "varchar": TEXT,
    "bpchar": TEXT,
    "bytea": st.binary().map(lambda data: "\\x" + data.hex()),
    "uuid": st.uuids().map(str),
    "json": JSON,
    "jsonb": JSON,
    "date": DATES,
    "time": st.one_of(CLOCK, st.just("24:00:00")),
    "timetz": st.builds("{}{}".format, CLOCK | st.just("24:00:00"), SHIFT),
    "timestamp": moments(st.just("")),
    "timestamptz": TIMESTAMPTZ,
    "interval": INTERVALS,
    "inet": IDENTITY,
    "cidr": NETWORKS,
    "macaddr": st.text(HEX, min_size=12, max_size=12),
    "macaddr8": st.text(HEX, min_size=16, max_size=16),
    "bit(13)": st.text("01", min_size=13, max_size=13),
    "varbit": BITS,
    "money": st.integers(-(2**63), 2**63 - 1).map(lambda n: str(Decimal(n) / 100)),
    "point": points("{}", 1, 1),
    "lseg": points("[{}]", 2, 2),
    "box": points("{}", 2, 2),
    "path": st.one_of(points("[{}]"), points("({})")),
    "polygon": points("({})"),
    "circle": st.builds("<{},{}>".format, points("{}", 1, 1), st.floats(0, 1e9)),
    "line": st.builds("{{1,{},{}}}".format, FINITE, FINITE),
    "int4range": INT4_RANGES,
    "int8range": ranges(INT8.filter(lambda text: abs(int(text)) < 2**62), int),
    "numrange": ranges(NUMERIC.filter(lambda text: "N" not in text), Decimal),
    "daterange": ranges(YEARS.map(str), str),
    "tsrange": ranges(YEARS.map("{} 12:34:56.789".format), str),
    "int4multirange": st.lists(INT4_RANGES, max_size=4).map(
        lambda parts: "{" + ",".join(parts) + "}"
    ),
    "random_mood": MOODS,
    "random_pair": PAIRS,
    "int4[]": arrays(INT4),
    "int8[]": arrays(INT8),
    "float8[]": arrays(FLOAT8),
    "bool[]": arrays(st.sampled_from(["t", "f"])),
    "text[]": arrays(TEXT),
    "numeric[]": arrays(NUMERIC),
    "uuid[]": arrays(st.uuids().map(str)),
    "timestamptz[]": arrays(TIMESTAMPTZ),
    "jsonb[]": arrays(JSON),
    "int4range[]": arrays(INT4_RANGES),
    "random_mood[]": arrays(MOODS),
    "random_pair[]": arrays(PAIRS),
}
#: What psycopg or asyncpg has in no form, or in another one.
WITHOUT_JUDGES = {
    *("bit(13)", "varbit", "xid8", "circle", "line", "lseg", "point", "box", "path"),
    *("polygon", "random_pair", "random_pair[]", "random_mood[]"),
}


#: Whose values have another text than what was read: months have become days.
CHANGED = {"interval"}


def plain(value):
    """A value without the differences between three drivers' classes for it."""
    if isinstance(value, list | tuple) or type(value).__name__ == "Multirange":
        return [plain(item) for item in value]
    if hasattr(value, "lower_inc"):
        empty = value.isempty
        inclusive = (value.lower_inc, value.upper_inc) if not empty else None
        return "range", empty, plain(value.lower), plain(value.upper), inclusive
    if isinstance(value, float | Decimal) and value != value:
        return "NaN"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return "moment", value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, datetime.time):
        return "time", value.replace(tzinfo=None), value.utcoffset()
    return value


@pytest.fixture
async def settled(connect, made):
    """A connection whose texts do not depend on where the tests run."""
    return await connect(server_settings=SETTINGS)


@pytest.fixture
async def asyncpg_fetch(server, made):
    """Values of literals by asyncpg."""
    theirs = await asyncpg.connect(server.dsn, server_settings=SETTINGS)

    async def fetch(query, texts):
        return [row[0] for row in await theirs.fetch(query, texts)]

    yield fetch
    await theirs.close()


@pytest.fixture
def psycopg_fetch(server, made):
    """Values of literals by psycopg, of the server's text; JSON is text for it too."""
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    with psycopg.connect(server.dsn, autocommit=True, options=options) as theirs:
        psycopg.types.json.set_json_loads(bytes.decode, theirs)
        cursor = psycopg.RawCursor(theirs)

        async def fetch(query, texts):
            return [row[0] for row in cursor.execute(query, [texts]).fetchall()]

        yield fetch


async def judged(fetch, query, texts):
    """What another driver makes of each text; an exception where it fails."""
    try:
        return await fetch(query, texts)
    except Exception as error:
        if len(texts) == 1:
            return [error]
    half = len(texts) // 2
    return [
        *await judged(fetch, query, texts[:half]),
        *await judged(fetch, query, texts[half:]),
    ]


def reading(name):
    """A query for values, and their text, of a list of literals."""
    return (
        f"SELECT v, v::text FROM unnest($1::text[]) WITH ORDINALITY AS t(x, n),"
        f" CAST(x AS {name}) AS v ORDER BY n"
    )


async def written(conn, name, values):
    """What the server has of our values: themselves, and their texts."""
    numbers = range(1, len(values) + 1)
    query = ", ".join(f"${n}::{name}, (${n}::{name})::text" for n in numbers)
    row = tuple(await conn.fetchrow(f"SELECT {query}", *values))
    return row[::2], list(row[1::2])


@pytest.mark.parametrize("name", LITERALS)
async def test_literals(settled, asyncpg_fetch, psycopg_fetch, name):
    """Text to value to text, and the value is what two other drivers say that it is."""
    query = reading(name)
    agreed = 0
    for texts in batches(drawn(LITERALS[name])):
        rows = await settled.fetch(query, texts)
        ours = [row[0] for row in rows]
        back, canonical = await written(settled, name, ours)
        assert [*map(plain, back)] == [*map(plain, ours)]
        if name not in CHANGED:
            assert canonical == [row[1] for row in rows]
        theirs = await judged(psycopg_fetch, query, texts)
        others = await judged(asyncpg_fetch, query, texts)
        for text, our, their, other in zip(texts, ours, theirs, others, strict=True):
            if plain(their) == plain(other):
                agreed += 1
                assert plain(our) == plain(their), text
    assert (agreed == 0) == (name in WITHOUT_JUDGES)


# -- values of Python ---------------------------------------------------------------

#: Infinity is sent for these.
ENDS = {datetime.datetime.min, datetime.datetime.max}
ZONES = st.builds(
    lambda seconds: datetime.timezone(timedelta(seconds=seconds)),
    st.integers(-57599, 57599),
)
PLAIN_INT = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.one_of(
    st.builds(
        lambda sign, digits, power: Decimal((sign, digits, power)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), min_size=1, max_size=50),
        st.integers(-70, 70),
    ),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1E+131071", "-0"]).map(Decimal),
)
MOMENTS = st.datetimes(
    # in UTC these are years of Python as well
    min_value=datetime.datetime(1, 1, 3),
    max_value=datetime.datetime(9999, 12, 29),
    timezones=ZONES,
)


def listed(value, text=str):
    """The literal of a list, by the text of what is in it."""
    if isinstance(value, list):
        return "{" + ",".join(listed(item, text) for item in value) + "}"
    return "NULL" if value is None else quote(text(value)) or '""'


def text_of_span(value):
    """A timedelta as an interval literal of days and microseconds."""
    return (
        f"{value.days} days {value.seconds * 10**6 + value.microseconds} microseconds"
    )


def lists(item):
    """Lists of one or two dimensions, with None among the items."""
    item = item | st.none()
    pair = st.lists(item, min_size=2, max_size=2)
    return st.lists(item, max_size=5) | st.lists(pair, min_size=1, max_size=3)


#: By type: values, and how to write the literal of one.
VALUES = {
    "int8": (PLAIN_INT, str),
    "float4": (st.floats(width=32), repr),
    "float8": (st.floats(), repr),
    "numeric": (DECIMALS | PLAIN_INT, str),
    "text": (TEXT, str),
    "bytea": (st.binary(), lambda value: "\\x" + value.hex()),
    "uuid": (st.uuids(), str),
    "date": (YEARS, str),
    "time": (st.times(), str),
    "timetz": (st.times(timezones=ZONES), str),
    "timestamp": (st.datetimes().filter(lambda value: value not in ENDS), str),
    "timestamptz": (MOMENTS, str),
    "interval": (st.timedeltas(), text_of_span),
    "inet": (st.ip_addresses(), str),
    "macaddr": (st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":")), str),
    "int8[]": (lists(PLAIN_INT), listed),
    "float8[]": (lists(st.floats()), functools.partial(listed, text=repr)),
    "numeric[]": (lists(DECIMALS), listed),
    "text[]": (lists(TEXT), listed),
    "uuid[]": (lists(st.uuids()), listed),
    "timestamptz[]": (lists(MOMENTS), listed),
}


@pytest.mark.parametrize("name", VALUES)
async def test_values(settled, name):
    """The server has the same of our value as of a literal that others have written."""
    strategy, text_of = VALUES[name]
    for values in batches(drawn(strategy)):
        _, got = await written(settled, name, values)
        rows = await settled.fetch(reading(name), [text_of(value) for value in values])
        assert got == [row[1] for row in rows]


PAIRS_OF_TEXT = st.dictionaries(TEXT, TEXT | st.none(), max_size=4)


async def test_hstore(settled):
    """Keys and values of an hstore, both ways; skipped where the server has none."""
    if not await settled.fetchval(
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'hstore'"
    ):
        pytest.skip("the server has no extension hstore")
    await settled.execute(
        "CREATE SCHEMA IF NOT EXISTS ext_hstore;"
        "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA ext_hstore;"
        "SET search_path = public, ext_hstore"
    )
    await settled.set_builtin_type_codec(
        "hstore", schema="ext_hstore", codec_name="pg_contrib.hstore"
    )
    for values in batches(drawn(PAIRS_OF_TEXT)):
        texts = [
            ",".join(f"{listed(key)}=>{listed(item)}" for key, item in value.items())
            for value in values
        ]
        back, got = await written(settled, "hstore", values)
        rows = await settled.fetch(reading("hstore"), texts)
        assert list(back) == [row[0] for row in rows] == values
        assert got == [row[1] for row in rows]
