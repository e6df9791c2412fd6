"""`codecs=` and `json=`: values in the form that users want, for a whole pool."""

import dataclasses
import enum
import itertools
import json
from decimal import Decimal
from typing import NamedTuple

import pytest

import chopin
from chopin import JSON, Array, Range, TypeCodec
from tests.support.proxy import recorded

numbers = itertools.count(1)

DDL = """
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TYPE price AS (amount numeric, unit text);
CREATE TYPE spot AS (x int, y int, note jsonb);
CREATE DOMAIN label AS mood;
CREATE DOMAIN doc AS jsonb;
CREATE DOMAIN user_id AS int;
CREATE TYPE span AS RANGE (subtype = numeric, multirange_type_name = spans);
CREATE TYPE deep AS (m mood, ms mood[], p price, ps price[], d doc, u user_id, s span);
CREATE TABLE item (
    id user_id PRIMARY KEY, mood mood, prices price[], doc doc, raw json
);
"""


class Mood(enum.Enum):
    """By value and by name."""

    CALM = "calm"
    wild = 2


@dataclasses.dataclass(frozen=True)
class Price:
    """As the type."""

    amount: Decimal
    unit: str = "EUR"


class Spot(NamedTuple):
    """In another order than the type."""

    y: int
    x: int
    note: object = None


@dataclasses.dataclass(frozen=True)
class UserId:
    """More than a number."""

    number: int


USER_ID = TypeCodec(encoder=lambda each: each.number, decoder=UserId, format="value")
CODECS = {"mood": Mood, "price": Price, "spot": Spot, "user_id": USER_ID}


@pytest.fixture
def schema(observer):
    """A schema with a type of each kind, on the search path of nobody."""
    name = f"said_{next(numbers)}"
    observer.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {DDL}")
    observer.execute("RESET search_path")
    yield name
    observer.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
async def pool(create, schema):
    """A pool that finds the types without a schema, and whose values are classes."""
    return await create(
        min_size=2,
        max_size=2,
        json=True,
        codecs=CODECS,
        server_settings={"search_path": schema},
    )


async def test_every_place(pool):
    """A type has the form that was wanted alone, in arrays, composites and records."""
    price, spot = Price(Decimal("5.0"), "EUR"), Spot(1, 2, {"a": [1]})
    row = await pool.fetchrow(
        "SELECT $1::mood, $2::price, $3::spot, $4::mood[], $5::price[]",
        Mood.wild, price, spot, [Mood.CALM, None], [price, (1, "x"), {"unit": "y"}],
    )  # fmt: skip
    assert row == (
        Mood.wild, price, spot, [Mood.CALM, None],
        [price, Price(1, "x"), Price(None, "y")],
    )  # fmt: skip
    deep = (
        Mood.CALM, [Mood.wild], price, [price], {"b": 1}, UserId(7), Range(1, 2),
    )  # fmt: skip
    assert await pool.fetchval("SELECT $1::deep", deep) == deep
    got = await pool.fetchval("SELECT ROW('calm'::mood, (1, 'x')::price, '1'::doc)")
    assert got == (
        Mood.CALM, Price(1, "x"), 1,
    )  # fmt: skip
    assert await pool.fetchval(
        "SELECT array_agg(m) FROM unnest($1::mood[]) m", ["wild"]
    )


async def test_domains(pool):
    """A domain has its form but in a column, which the server reports by its base."""
    assert await pool.fetchval("SELECT $1::user_id[]", [UserId(7)]) == [UserId(7)]
    assert await pool.fetchval("SELECT $1::label", Mood.wild) is Mood.wild
    await pool.execute("INSERT INTO item VALUES ($1)", UserId(7))
    query = "SELECT id FROM item WHERE id = $1::user_id"
    assert await pool.fetchval(query, UserId(7)) == 7
    assert await pool.fetchval("SELECT ARRAY[id] FROM item") == [UserId(7)]


async def test_copies_of_a_table(pool):
    """executemany takes objects; the row of a table has them too."""
    row = (UserId(1), Mood.wild, [Price(Decimal(1))], {"a": 1}, [2])
    await pool.executemany("INSERT INTO item VALUES ($1, $2, $3, $4, $5)", [row])
    assert await pool.fetchval("SELECT item FROM item") == row
    assert await pool.fetchrow("SELECT * FROM item") == (1, *row[1:])


async def test_prepared_and_cursor(pool):
    """Prepared statements and cursors have the same values."""
    async with pool.transaction() as connection:
        statement = await connection.prepare("SELECT $1::price")
        assert await statement.fetchval(Price(1)) == Price(1)
        query = "SELECT unnest($1::mood[])"
        got = [row async for row in connection.cursor(query, list(Mood))]
        assert got == [(each,) for each in Mood]


async def test_no_round_trip_for_the_catalogs_types(connect, tcp_dsn):
    """What is said of built-in types costs nothing: to describe and to run."""
    codec = TypeCodec(encoder=Decimal, decoder=float, format="value")
    options = {"json": True, "codecs": {"numeric": codec, "int4[]": "array.bounded"}}
    async with recorded(connect, tcp_dsn, **options) as (conn, wire):
        query = "SELECT $1::jsonb, $2::numeric[], $3::int[]"
        got = await conn.fetchrow(query, {"a": 1}, [1], Array([1], 0))
        assert got == ({"a": 1}, [1.0], [1])
        assert wire.kinds.count("S") == 2


async def test_one_round_trip_for_a_users_type(connect, tcp_dsn, schema):
    """A user's type is looked up by one query, all that it is made of included."""
    async with recorded(connect, tcp_dsn, codecs=CODECS) as (conn, wire):
        query = f"SELECT $1::{schema}.deep[]"
        assert await conn.fetchval(query, []) == []
        assert wire.kinds.count("S") == 3  # to describe, to look up, to run
        assert await conn.fetchval(f"SELECT $1::{schema}.price[]", [Price(1)])
        assert wire.kinds.count("S") == 5


async def test_hostile_search_path(create, schema, observer):
    """A name of the catalog is its type whatever the search path puts in front."""
    observer.execute(f"CREATE TYPE {schema}.jsonb AS ENUM ('x')")
    pool = await create(
        json=True, server_settings={"search_path": f"{schema},pg_catalog"}
    )
    assert await pool.fetchval("SELECT 'x'::jsonb") == "x"
    assert await pool.fetchval("SELECT '[1]'::pg_catalog.jsonb") == [1]


async def test_schemas(create, schema):
    """A name with a schema is for that one; a mistake is told by the key."""
    pool = await create(codecs={f"{schema}.mood": Mood, "other.mood": str, "nope": str})
    assert await pool.fetchval(f"SELECT 'calm'::{schema}.mood") is Mood.CALM


# -- types that change ---------------------------------------------------------------


class Grown(enum.Enum):
    """Knows a label that comes later."""

    CALM = "calm"
    WILD = "wild"
    LATE = "late"


async def test_new_label(create, schema, observer):
    """ALTER TYPE ADD VALUE: known to the class both ways, else named in the error."""
    pool = await create(codecs={"mood": Grown})
    other = await create(codecs={"mood": Mood})
    query = f"SELECT $1::{schema}.mood"
    for each in pool, other:
        assert await each.fetchval(query, "calm")
    observer.execute(f"ALTER TYPE {schema}.mood ADD VALUE 'late'")
    assert await pool.fetchval(query, Grown.LATE) is Grown.LATE
    with pytest.raises(
        chopin.DataError, match="no member of Mood has the label 'late'"
    ):
        await other.fetchval(query, "late")
    assert await other.fetchval(query, "calm") is Mood.CALM
    with pytest.raises(chopin.InvalidTextRepresentationError, match="sad"):
        await pool.fetchval(query, "sad")


@dataclasses.dataclass(frozen=True)
class Taxed(Price):
    """Knows an attribute that comes later."""

    tax: int | None = None


async def test_new_attribute(create, schema, observer):
    """ALTER TYPE ADD ATTRIBUTE: the first value is an error, then the class has it."""
    pool = await create(max_size=1, codecs={"price": Taxed})
    query = f"SELECT (1, 'x', 7)::{schema}.price"
    old = await pool.fetchval(f"SELECT $1::{schema}.price", Taxed(1, "x"))
    assert old == Taxed(1, "x")
    observer.execute(f"ALTER TYPE {schema}.price ADD ATTRIBUTE tax int")
    with pytest.raises(chopin.OutdatedSchemaCacheError):
        await pool.fetchval(query)
    assert await pool.fetchval(query) == Taxed(1, "x", 7)
    assert (
        await pool.fetchval(f"SELECT ($1::{schema}.price).tax", Taxed(1, "x", 8)) == 8
    )


async def test_attribute_that_the_class_does_not_take(create, schema, observer):
    """A class without the new attribute is told by name, and nothing is lost unseen."""
    pool = await create(max_size=1, codecs={"price": Price})
    query = f"SELECT (1, 'x', 7)::{schema}.price"
    observer.execute(f"ALTER TYPE {schema}.price ADD ATTRIBUTE tax int")
    with pytest.raises(
        chopin.InterfaceError, match="no parameter for the attribute 'tax'"
    ):
        await pool.fetchval(query)
    assert await pool.fetchval("SELECT 1") == 1


async def test_dropped_and_created(create, schema, observer):
    """A type that is made anew, even of another kind, is met anew."""
    pool = await create(codecs={"price": Price})
    query = f"SELECT (1, 'x')::{schema}.price"
    assert await pool.fetchval(query) == Price(1, "x")
    observer.execute(
        f"DROP TYPE {schema}.price CASCADE;"
        f"CREATE TYPE {schema}.price AS (unit text, amount numeric)"
    )
    assert await pool.fetchval(f"SELECT ('x', 1)::{schema}.price") == Price(1, "x")
    observer.execute(
        f"DROP TYPE {schema}.price; CREATE TYPE {schema}.price AS ENUM ('x')"
    )
    with pytest.raises(
        chopin.InterfaceError, match="the class Price, which is not for"
    ):
        await pool.fetchval(f"SELECT 'x'::{schema}.price")
    with pytest.raises(chopin.InterfaceError, match=r"\$1: codecs\['price'\]"):
        await pool.fetchval(f"SELECT $1::{schema}.price", "x")
    assert await pool.fetchval("SELECT 1") == 1


# -- the codecs of one connection ----------------------------------------------------


async def test_connection_overrides(create, schema):
    """set_type_codec is for one connection, stays with it, and can be taken back."""
    pool = await create(min_size=2, max_size=2, json=True, codecs={"mood": Mood})
    query = f"SELECT '1'::json, 'calm'::{schema}.mood"
    async with pool.acquire() as first, pool.acquire() as second:
        pid = first.get_server_pid()
        catalog = {"schema": "pg_catalog"}
        await first.set_type_codec("json", encoder=str, decoder=list, **catalog)
        await first.set_type_codec(
            "mood", encoder=str, decoder=str.upper, schema=schema
        )
        assert await first.fetchrow(query) == (["1"], "CALM")
        assert await second.fetchrow(query) == (1, Mood.CALM)
    async with pool.acquire() as first, pool.acquire() as second:
        if first.get_server_pid() != pid:
            first, second = second, first
        assert await first.fetchrow(query) == (["1"], "CALM")  # as with asyncpg
        await first.reset_type_codec("json", **catalog)
        await first.reset_type_codec("mood", schema=schema)
        for each in first, second:
            assert await each.fetchrow(query) == (1, Mood.CALM)


async def test_format_value(conn):
    """set_type_codec has the format "value" too."""
    await conn.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=float, format="value"
    )
    got = await conn.fetchrow(
        "SELECT 1.5::numeric, $1::numeric[], '[1,2]'::numrange", [2]
    )
    assert got == (1.5, [2.0], Range(1.0, 2.0, upper_inc=True))
    assert type(got[0]) is float


async def test_own_function_to_connect(create, schema):
    """A pool's own `connect` is handed what was said."""

    async def connect(dsn, **options):
        seen.append((options["json"], options["codecs"]))
        return await chopin.connect(dsn, **options)

    seen = []
    pool = await create(min_size=1, connect=connect, json=True, codecs=CODECS)
    assert await pool.fetchval("SELECT '[1]'::json") == [1]
    assert await pool.fetchval(f"SELECT 'calm'::{schema}.mood") is Mood.CALM
    assert seen == [(True, CODECS)]


async def test_mistakes_are_told_first(dsn):
    """Nothing is opened for arguments that cannot be meant."""
    for options in {"codecs": {"mood": "nope"}}, {"json": "orjson"}:
        with pytest.raises(chopin.InterfaceError):
            await chopin.connect(dsn, **options)
        with pytest.raises(chopin.InterfaceError):
            chopin.create_pool(dsn, **options)


# -- JSON ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option", [True, json, JSON(), JSON(loads=json.loads, dumps=json.dumps)]
)
async def test_json(connect, option):
    """json and jsonb are values, everywhere."""
    conn = await connect(json=option)
    value = {"é": [1, 2.5, None, "x"], "n": {}}
    got = await conn.fetchrow(
        "SELECT $1::json, $1::jsonb, $2::jsonb[], $3::jsonb[], ROW($1::jsonb),"
        " '{\"a\": 1, \"a\": 2}'::json, NULL::json, 'null'::jsonb, $4::jsonb",
        value, [value, None], [(1, 2), "x"], None,
    )  # fmt: skip
    assert got == (
        value, value, [value, None], [[1, 2], "x"], (value,), {"a": 2},
        None, None, None,
    )  # fmt: skip
    assert await conn.fetchval("SELECT $1::jsonb IS NULL", None) is True
    with pytest.raises(chopin.DataError, match=r"\$1.*not.*serializable"):
        await conn.fetchval("SELECT $1::jsonb", object())
    with pytest.raises(chopin.DataError, match=r"\$1\[1\]"):
        await conn.fetchval("SELECT $1::jsonb[]", [1, object()])
    assert await conn.fetchval("SELECT '5'::jsonpath") == "5"


async def test_json_numbers(connect):
    """What the server can hold is exact: whole numbers have no limit of 64 bits."""
    conn = await connect(json=True)
    number = 10**400 + 7
    assert await conn.fetchval("SELECT $1::jsonb", number) == number
    assert await conn.fetchval("SELECT '1e400'::jsonb") == 10**400
    with pytest.raises(chopin.DataError, match="4300 digits"):
        await conn.fetchval("SELECT '1e5000'::jsonb")
    assert await conn.fetchval("SELECT 1") == 1


# -- other forms ---------------------------------------------------------------------


async def test_lower_bounds(connect):
    """Bounds go and come, in binary and in text."""
    conn = await connect(
        codecs={"int[]": "array.bounded", "pg_catalog.money[]": "array.bounded"}
    )
    for name, one in ("int", 1), ("money", "$1.00"):
        query = f"SELECT $1::{name}[], array_dims($1::{name}[])"
        for array, dims in (
            (Array([one, one], 0), "[0:1]"),
            (Array([[one], [one]], (-5, 3)), "[-5:-4][3:3]"),
            ([one], "[1:1]"),
            (Array([], 7), None),
        ):
            got = await conn.fetchrow(query, array)
            assert got == (array, dims)
            bounds = (
                tuple(
                    int(part.split(":")[0]) for part in (dims or "")[1:-1].split("][")
                )
                if dims
                else ()
            )
            assert got[0].lower_bounds == bounds
    assert await conn.fetchval("SELECT ($1::int[])[7]", Array([1, 2, 3], 5)) == 3
    with pytest.raises(chopin.DataError, match=r"\$1.*lower bound 2147483647 is too"):
        await conn.fetchval("SELECT $1::int[]", Array([1], 2**31 - 1))


@pytest.fixture
def geometry(observer):
    """A stand-in for PostGIS: a base type of that name whose bytes are its value."""
    observer.execute("""
        CREATE SCHEMA gis; SET search_path = gis;
        CREATE TYPE geometry;
        CREATE FUNCTION g_in(cstring) RETURNS geometry
            LANGUAGE internal IMMUTABLE STRICT AS 'byteain';
        CREATE FUNCTION g_out(geometry) RETURNS cstring
            LANGUAGE internal IMMUTABLE STRICT AS 'byteaout';
        CREATE FUNCTION g_recv(internal) RETURNS geometry
            LANGUAGE internal IMMUTABLE STRICT AS 'bytearecv';
        CREATE FUNCTION g_send(geometry) RETURNS bytea
            LANGUAGE internal IMMUTABLE STRICT AS 'byteasend';
        CREATE TYPE geometry (INPUT = g_in, OUTPUT = g_out, RECEIVE = g_recv,
            SEND = g_send, DELIMITER = ':');
        CREATE TYPE site AS (id int, place geometry);
        RESET search_path""")
    yield
    observer.execute("DROP SCHEMA gis CASCADE")


POINT = bytes.fromhex("0101000000000000000000f03f0000000000000040")


async def test_geometry(create, geometry):
    """A geometry is text until more is said: bytes, or what functions make of it."""
    queries = "SELECT $1::gis.geometry", "SELECT $1::gis.geometry[]"
    text = "\\x" + POINT.hex()
    plain = await create()
    assert await plain.fetchval(queries[0], text) == text
    assert await plain.fetchval(queries[1], [text, text]) == [text, text]
    pool = await create(codecs={"geometry": "postgis.ewkb"})
    assert await pool.fetchval(queries[0], POINT) == POINT
    assert await pool.fetchval(queries[1], [POINT, memoryview(POINT)]) == [POINT] * 2
    assert await pool.fetchval("SELECT $1::gis.site", (1, POINT)) == (1, POINT)
    codec = TypeCodec(encoder=bytes.fromhex, decoder=bytes.hex, format="binary")
    pool = await create(codecs={"gis.geometry": codec})
    assert await pool.fetchval(queries[0], POINT.hex()) == POINT.hex()
    assert await pool.fetchval(queries[1], [POINT.hex()]) == [POINT.hex()]


async def test_geometry_of_one_connection(conn, geometry):
    """The same by set_builtin_type_codec and set_type_codec, in text too."""
    at = {"schema": "gis"}
    await conn.set_builtin_type_codec("geometry", codec_name="postgis.ewkb", **at)
    assert await conn.fetchval("SELECT $1::gis.geometry[]", [POINT]) == [POINT]
    await conn.set_type_codec(
        "geometry", encoder=lambda v: "\\x" + v.hex(), decoder=len, format="text", **at
    )
    two = await conn.fetchval("SELECT $1::gis.geometry[]", [POINT, POINT])
    assert two == [2 + 2 * len(POINT)] * 2


async def test_in_scripts(connect, observer):
    """The text of a script's values is read as JSON and as members as well."""

    class Mood(enum.Enum):
        calm = "calm"

    observer.execute("CREATE TYPE script_mood AS ENUM ('calm')")
    try:
        conn = await connect(json=True, codecs={"script_mood": Mood})
        sql = (
            """SELECT '{"a": [1]}'::json, '[2]'::jsonb, ARRAY['[3]'::jsonb],"""
            " 'calm'::script_mood, ARRAY['calm'::script_mood]"
        )
        want = [({"a": [1]}, [2], [[3]], Mood.calm, [Mood.calm])]
        assert await conn.fetch(sql) == want
        assert (await conn.script(sql))[0] == want
    finally:
        observer.execute("DROP TYPE script_mood")
