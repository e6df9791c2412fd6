"""Types made of types: composites, records, multiranges, domains, arrays of them."""

import asyncio
import datetime
import decimal
import itertools
from collections.abc import Mapping
from decimal import Decimal

import asyncpg
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import chopin
from chopin.types import Range
from tests.support.await_points import WHEN, cancel_at
from tests.support.proxy import recorded

numbers = itertools.count(1)

DDL = """
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TYPE pair AS (a int, gone date, b text);
ALTER TYPE pair DROP ATTRIBUTE gone;
CREATE DOMAIN small AS int CHECK (VALUE < 1000000);
CREATE DOMAIN smaller AS small;
CREATE DOMAIN ints AS int[];
CREATE DOMAIN dpair AS pair;
CREATE DOMAIN drange AS int4range;
CREATE TYPE span AS RANGE (subtype = float8, multirange_type_name = spans);
CREATE TYPE moods AS RANGE (subtype = mood, multirange_type_name = mood_ranges);
CREATE TYPE deep AS (
    p pair, ps pair[], m mood, ms mood[], s smaller, ss smaller[], i ints, d dpair,
    ds dpair[], r span, rs spans, dr drange, mr moods, j jsonb
);
CREATE TYPE "odd ""name" AS ("select" int, "a b" text, "Ä" bool);
CREATE TABLE item (id int, pair pair, gone int, tags text[]);
ALTER TABLE item DROP COLUMN gone;
INSERT INTO item VALUES (1, (2, 'x'), '{a,b}'), (2, NULL, NULL);
"""


@pytest.fixture
def schema(observer):
    """A schema with types made of types, on the search path of nobody."""
    name = f"nested_{next(numbers)}"
    observer.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {DDL}")
    observer.execute("RESET search_path")
    yield name
    observer.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
async def nested(connect, schema):
    """A connection that finds the types without a schema."""
    return await connect(server_settings={"search_path": schema})


# A value of every kind, in SQL.
EXPRESSIONS = [
    "(1, 'x')::pair",
    "(NULL, NULL)::pair",
    "NULL::pair",
    "ARRAY[(1, 'x')::pair, NULL, (2, NULL)::pair]",
    "ARRAY[[(1, 'x')::pair], [(2, 'y')::pair]]",
    "ROW((1, 'x'), ARRAY[(1, NULL)::pair], 'calm', '{wild,NULL}', 5, '{6,NULL}',"
    " '{1,2}', (3, 'q'), ARRAY[(4, 'r')::dpair], '[1,2)', '{[1,2),[4,5)}', '[1,9)',"
    " '[calm,wild]', '{\"a\": 1}')::deep",
    "ROW(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)::deep",
    '(1, \'x\', true)::"odd ""name"',
    "(SELECT item FROM item WHERE id = 1)",
    "(SELECT array_agg(item ORDER BY id) FROM item)",
    "(5, 'x')::dpair",
    "ARRAY[(5, 'x')::dpair]",
    "5::smaller",
    "ARRAY[5::smaller, NULL]",
    "'{1,NULL,3}'::ints",
    "ARRAY['{1}'::ints, '{2,3}'::ints]",
    "'[1,5)'::drange",
    "ARRAY['[1,5)'::drange]",
    "'[calm,wild]'::moods",
    "'{[calm,calm]}'::mood_ranges",
    "'{}'::int4multirange",
    "'{[1,3),[5,7),[9,)}'::int4multirange",
    "'{(,)}'::int8multirange",
    "'{[1.5,2.5],(3,4)}'::nummultirange",
    "'{[2020-01-01,2020-02-01)}'::datemultirange",
    "'{[2020-01-01 01:00,)}'::tsmultirange",
    "'{(,2020-01-01 01:00+00)}'::tstzmultirange",
    "ARRAY['{[1,3)}'::int4multirange, '{}', NULL]",
    "'{[1,2],[4,5)}'::spans",
    "ROW(1, 'a', NULL, 2.5, '{1,2}'::int[])",
    "ROW()",
    "ROW('calm'::mood, 5::smaller, (1, 'x')::pair, '[1,2)'::span, '{1}'::ints)",
    "ROW(ROW(1, ROW('x'::text)), ARRAY[ROW(1), ROW(2)])",
    "ARRAY[ROW(1, 'a'), ROW(2, NULL)]",
    "'{}'::pair[]",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
async def test_as_asyncpg(nested, schema, dsn, expression):
    """Values and their classes are those of asyncpg, on the first fetch and later."""
    other = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        # which has to know beforehand what is in a record
        await other.prepare(
            "SELECT $1::mood, $2::smaller, $3::ints, $4::pair, $5::span, $6::int[],"
            " NULL::record[]"
        )
        want = await other.fetch(f"SELECT {expression} AS x")
    finally:
        await other.close()
    for _ in range(2):
        got = await nested.fetch(f"SELECT {expression} AS x")
        assert repr(got) == repr(want)
    assert names(got[0]) == names(want[0])


def names(value):
    """The names of the attributes of a value, at any depth."""
    if hasattr(value, "items"):
        return [(key, names(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [names(item) for item in value]
    return None


SENT = [e for e in EXPRESSIONS if "ROW(" not in e or "::deep" in e]


@pytest.mark.parametrize("expression", SENT)
async def test_there_and_back(nested, expression):
    """What was fetched can be sent, and is the same to the server."""
    value, name, text = await nested.fetchrow(
        f"SELECT x, pg_typeof(x)::text, x::text FROM (SELECT {expression}) AS s(x)"
    )
    if name.endswith("ints[]"):
        value = tuple(value)
    got = await nested.fetchrow(f"SELECT $1::{name}, $1::{name}::text", value)
    assert tuple(got) == (list(value) if isinstance(value, tuple) else value, text)


async def test_arguments(nested):
    """Composite values are tuples, lists, mappings and records, also in arrays."""

    class Proxy(Mapping):
        """A mapping of the user's."""

        def __getitem__(self, key):
            return {"a": 7}[key]

        def __iter__(self):
            return iter("a")

        def __len__(self):
            return 1

    record = await nested.fetchval("SELECT (3, 'z')::pair")
    for sent, want in (
        ((1, "x"), "(1,x)"),
        ([1, None], "(1,)"),
        ({"b": "y"}, "(,y)"),
        ({}, "(,)"),
        (Proxy(), "(7,)"),
        (record, "(3,z)"),
    ):
        assert await nested.fetchval("SELECT $1::pair::text", sent) == want
        if not isinstance(sent, list):
            got = await nested.fetchval("SELECT ($1::pair[])[1]::text", [sent])
            assert got == want
    rows = [((1, "x"), [{"a": 2}]), (None, [])]
    await nested.execute("CREATE TEMP TABLE t (p pair, q pair[])")
    await nested.executemany("INSERT INTO t VALUES ($1, $2)", rows)
    assert await nested.fetch("SELECT * FROM t") == [
        ((1, "x"), [(2, None)]),
        (None, []),
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pair", (1, 2), "$1.b: 2 (expected str, got int)"),
        ("pair", (1,), "$1: (1,) (composite type pair has 2 attributes, 1 was passed)"),
        (
            "pair",
            {"c": 1},
            "$1: {'c': 1} ('c' is not a valid element of composite type pair)",
        ),
        (
            "deep",
            {"ps": [None, {"a": "x"}]},
            "$1.ps[1].a: 'x' ('str' object cannot be interpreted as an integer)",
        ),
        (
            "int4multirange",
            [(1, 2), (1, "x")],
            "$1[1].upper: 'x' ('str' object cannot be interpreted as an integer)",
        ),
        ("int4multirange", "{}", "$1: '{}' (expected a sequence (got type 'str'))"),
    ],
)
async def test_refused(nested, name, value, message):
    """What is refused is named by its path, and nothing was sent."""
    with pytest.raises(chopin.DataError) as caught:
        await nested.fetchval(f"SELECT $1::{name}", value)
    assert str(caught.value) == f"invalid input for query argument {message}"


async def test_records_are_no_arguments(nested):
    """The server does not read records: the error is asyncpg's."""
    with pytest.raises(chopin.UnsupportedClientFeatureError) as caught:
        await nested.fetchval("SELECT $1::record", (1, 2))
    assert caught.value.args[0] == (
        "query argument $1: input of anonymous composite types is not supported"
    )
    assert await nested.fetchval("SELECT 1") == 1


async def test_set_returning_records(nested):
    """Functions may return records; the row type of a table is learnt on the way."""
    rows = await nested.fetch(
        "SELECT ROW(i, 'calm'::mood) FROM generate_series(1, 3) i"
    )
    assert [row[0] for row in rows] == [(1, "calm"), (2, "calm"), (3, "calm")]
    query = "SELECT ROW(1, item) FROM item WHERE id = 1"
    first = await nested.fetchval(query)
    assert first[0] == 1
    assert isinstance(first[1], bytes)
    assert await nested.fetchval(query) == (1, (1, (2, "x"), ["a", "b"]))


async def test_rows_without_a_binary_form(nested):
    """A row type with an attribute that has none is its text, alone and in arrays."""
    query = (
        "SELECT n, n::text, ARRAY[n] FROM pg_namespace n WHERE nspname = 'pg_catalog'"
    )
    value, text, array = await nested.fetchrow(query)
    assert (value, array) == (text, [text])


# -- what is learnt ----------------------------------------------------------------


async def test_one_query_for_all(connect, tcp_dsn, schema):
    """The types of a statement and all they are made of cost one query, once."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await conn.fetchval("SELECT 1")
        wire.clear()
        sql = f"SELECT NULL::{schema}.deep, $1::{schema}.pair[], NULL::{schema}.item"
        await conn.fetchrow(sql, [(1, "x")])
        asked = wire.kinds.count("S")
        wire.clear()
        await conn.fetchrow(sql, [(1, "x")])
        await conn.fetchval(f"SELECT NULL::{schema}.smaller[]")
        assert (asked, wire.kinds.count("S")) == (3, 3)


async def test_built_in_arrays_cost_nothing(connect, tcp_dsn):
    """Arrays, ranges and multiranges of built-in types are known beforehand."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        wire.clear()
        got = await conn.fetchrow(
            "SELECT $1::int[], $2::uuid[], NULL::tstzrange[], NULL::nummultirange[]",
            [1], [],
        )  # fmt: skip
        assert got == ([1], [], None, None)
        assert wire.kinds.count("S") == 2


async def test_hostile_search_path(connect, schema, observer):
    """Nothing in a search path can stand in for the catalog."""
    observer.execute(f"""
        SET search_path = {schema};
        CREATE TABLE pg_type (oid oid); CREATE TABLE pg_range (oid oid);
        CREATE TABLE pg_namespace (oid oid); CREATE TABLE pg_attribute (oid oid);
        CREATE FUNCTION unnest(oid[]) RETURNS SETOF oid LANGUAGE sql AS 'SELECT 0::oid';
        CREATE FUNCTION cardinality(oid[]) RETURNS int LANGUAGE sql AS 'SELECT 1/0';
        CREATE FUNCTION eq(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT 1/0 = 1';
        CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = eq);
        CREATE OPERATOR >= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = eq);
        CREATE DOMAIN text AS pg_catalog.int4; CREATE DOMAIN oid AS pg_catalog.int4;
        CREATE DOMAIN name AS pg_catalog.int4;
        RESET search_path""")
    path = f"{schema}, pg_catalog"
    conn = await connect(server_settings={"search_path": path})
    before = await conn.fetch("SELECT name, setting FROM pg_settings")
    got = await conn.fetchval("SELECT ROW((1, 'x'), NULL, 'calm')::record")
    assert got == ((1, "x"), None, "calm")
    got = await conn.fetchval("SELECT $1::deep", {"p": (1, "x"), "rs": [(1, 2)]})
    assert (got["p"], got["rs"]) == ((1, "x"), [Range(1.0, 2.0, upper_inc=True)])
    await conn.set_type_codec(
        "mood", schema=schema, encoder=str.lower, decoder=str.upper
    )
    assert await conn.fetchval("SELECT 'calm'::mood") == "CALM"
    assert await conn.fetch("SELECT name, setting FROM pg_settings") == before


@pytest.mark.parametrize(
    ("ddl", "before", "after"),
    [
        ("ALTER TYPE {}.pair ADD ATTRIBUTE c int", (None, None), (None, None, None)),
        ("ALTER TYPE {}.pair DROP ATTRIBUTE b", (None, None), (None,)),
        ("ALTER TYPE {}.pair ALTER ATTRIBUTE b TYPE int", (None, None), (None, None)),
    ],
)
async def test_altered_type(connect, schema, observer, ddl, before, after):
    """The first value of an altered type is an error; all is well from then on."""
    one, other = await connect(), await connect()
    observer.execute(f"DROP TABLE {schema}.item")
    observer.execute(f"DROP TYPE {schema}.deep")
    query = f"SELECT ARRAY[jsonb_populate_record(NULL::{schema}.pair, '{{}}')]"
    statement = await other.prepare(query)
    for conn in one, other:
        assert await conn.fetchval(query) == [before]
    observer.execute(f"DROP DOMAIN {schema}.dpair")
    observer.execute(ddl.format(schema))
    with pytest.raises(chopin.OutdatedSchemaCacheError) as caught:
        await one.fetchval(query)
    assert caught.value.data_type_name == "pair"
    for _ in range(2):
        assert await one.fetchval(query) == [after]
    await other.reload_schema_state()
    assert await statement.fetchval() == [after]
    assert await other.fetchval(query) == [after]


async def test_renamed_attribute(nested, schema, observer):
    """A new name cannot be seen in a value: reload_schema_state() asks for it."""
    query = "SELECT (1, 'x')::pair"
    assert dict(await nested.fetchval(query)) == {"a": 1, "b": "x"}
    observer.execute(f"ALTER TYPE {schema}.pair RENAME ATTRIBUTE a TO z")
    await nested.reload_schema_state()
    assert dict(await nested.fetchval(query)) == {"z": 1, "b": "x"}


async def test_altered_in_a_transaction(nested, schema, observer):
    """In a failed transaction types are not asked for; afterwards they are."""
    query = "SELECT jsonb_populate_record(NULL::pair, '{}')"
    assert len(await nested.fetchval(query)) == 2
    with pytest.raises(chopin.OutdatedSchemaCacheError):
        async with nested.transaction():
            await nested.execute("ALTER TYPE pair ADD ATTRIBUTE c int")
            await nested.fetchval(query)
    assert len(await nested.fetchval(query)) == 2
    async with nested.transaction():
        await nested.reload_schema_state()
        with pytest.raises(chopin.DivisionByZeroError):
            async with nested.transaction():
                await nested.fetchval("SELECT 1 / 0")
        assert len(await nested.fetchval(query)) == 2


async def test_made_anew(nested):
    """A type dropped and made again is another one."""
    for columns, want in ("a int", (1,)), ("b text, c int", ("1", 1)):
        await nested.execute(f"CREATE TYPE again AS ({columns})")
        sql = f"SELECT ROW({', '.join(map(repr, map(str, want)))})::again"
        assert await nested.fetchval(sql) == want
        assert await nested.fetchval("SELECT $1::again[]", [want]) == [want]
        await nested.execute("DROP TYPE again")


async def test_a_type_younger_than_the_snapshot(dsn, schema):
    """It is text for a block that cannot see what it is, and for nobody else."""
    settings = {"search_path": schema}
    async with chopin.create_pool(
        dsn, min_size=2, max_size=2, server_settings=settings
    ) as pool:
        query = "SELECT ARRAY['(1,x)'::young], 'calm'::mood"
        async with pool.acquire() as one, pool.acquire() as other:
            async with one.transaction(isolation="repeatable_read"):
                await one.execute("SELECT 1")
                await other.execute("CREATE TYPE young AS (a int, b text)")
                assert await one.fetchrow(query) == ('{"(1,x)"}', "calm")
                assert await other.fetchrow(query) == ([(1, "x")], "calm")
                # as when a type was altered: asked for all, it sees some
                await one.reload_schema_state()
                await one.fetchrow(query)
            for each in one, other:
                assert await each.fetchrow(query) == ([(1, "x")], "calm")


async def test_younger_than_the_snapshot_and_not_learnt(dsn, schema):
    """The same when another connection has had the text described, and no more."""
    settings = {"search_path": schema}
    async with chopin.create_pool(
        dsn, min_size=2, max_size=2, server_settings=settings
    ) as pool:
        query = "SELECT ARRAY['(1,x)'::younger]"
        async with pool.acquire() as one, pool.acquire() as other:
            async with one.transaction(isolation="repeatable_read"):
                await one.execute("SELECT 1")
                await other.execute("CREATE TYPE younger AS (a int, b text)")
                assert await cancel_at({2}, other.fetchval(query))
                assert query in other._session.descriptions
                async with asyncio.timeout(10):
                    assert await one.fetchval(query) == '{"(1,x)"}'
            for each in one, other:
                assert await each.fetchval(query) == [(1, "x")]


LEARNT = {
    "array": ("SELECT ARRAY['calm'::mood]", ["calm"]),
    "pair": ("SELECT (1, 'x')::pair AS p, 7", (1, "x")),
    "record": ("SELECT ROW('calm'::mood)", ("calm",)),
    "records": ("SELECT ARRAY[ROW('calm'::mood)]", [("calm",)]),
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("what", LEARNT)
async def test_cancelled_first_use(connect, schema, what, when):
    """Whoever is next learns the types that a cancelled call has not learnt."""
    sql, want = LEARNT[what]
    for number in itertools.count(1):
        conn = await connect(server_settings={"search_path": schema})
        is_cancelled = await cancel_at({number}, conn.fetchval(sql), when)
        assert await conn.fetchval(sql) == want, f"cancelled at suspension {number}"
        assert await conn.fetchval(sql) == want
        await conn.close()
        if not is_cancelled:
            break
    assert number > 2, "nothing was cancelled"


async def test_cancelled_first_use_in_a_batch(connect, schema):
    """The same of several statements that are described in one flight."""
    for number in itertools.count(1):
        conn = await connect(server_settings={"search_path": schema})
        texts = [sql for sql, _ in LEARNT.values()]
        is_cancelled = await cancel_at({number}, conn.batch(texts))
        for sql, want in LEARNT.values():
            assert await conn.fetchval(sql) == want, f"cancelled at {number}"
        await conn.close()
        if not is_cancelled:
            break
    assert number > 2, "nothing was cancelled"


async def test_all_of_a_pool_know(dsn, schema):
    """What a connection of a pool has learnt, the others need not ask for."""
    async with chopin.create_pool(dsn, min_size=2, max_size=2) as pool:
        query = f"SELECT (1, 'x')::{schema}.pair, 'calm'::{schema}.mood"
        async with pool.acquire() as one, pool.acquire() as other:
            want = ((1, "x"), "calm")
            oid = await one.fetchval(f"SELECT '{schema}.mood'::regtype::oid")
            assert not other._session.codecs.known(oid)
            assert await one.fetchrow(query) == want
            assert other._session.codecs.known(oid)
            assert await other.fetchrow(query) == want
            await other.set_type_codec(
                "mood", schema=schema, encoder=str.lower, decoder=str.upper
            )
            assert await other.fetchrow(query) == ((1, "x"), "CALM")
            assert await one.fetchrow(query) == want


# -- codecs of the user's ----------------------------------------------------------


async def test_codecs_of_parts(nested, schema):
    """A codec of a type is in force in arrays, composites, ranges and domains of it."""
    await nested.fetchval("SELECT NULL::deep")
    await nested.set_type_codec(
        "mood", schema=schema, encoder=str.lower, decoder=str.upper
    )
    got = await nested.fetchrow(
        "SELECT $1::deep, '[calm,wild]'::moods, '{[calm,calm]}'::mood_ranges,"
        " ROW('calm'::mood)",
        {"m": "CALM", "ms": ["WILD"], "mr": ("CALM", "WILD")},
    )
    assert (got[0]["m"], got[0]["ms"]) == ("CALM", ["WILD"])
    both = Range("CALM", "WILD", upper_inc=True)
    assert (got[0]["mr"], got[1]) == (both, both)
    assert got[2] == [Range("CALM", "CALM", upper_inc=True)]
    assert got[3] == ("CALM",)
    await nested.reset_type_codec("mood", schema=schema)
    assert await nested.fetchval("SELECT '{calm}'::mood[]") == ["calm"]


async def test_codec_of_bounds(nested):
    """A codec of a bound is in force in built-in ranges and multiranges of it."""
    await nested.set_type_codec(
        "date",
        schema="pg_catalog",
        encoder=lambda value: value.isoformat(),
        decoder=lambda text: datetime.date.fromisoformat(text) - datetime.timedelta(1),
    )
    day = datetime.date(2020, 1, 1)
    got = await nested.fetchrow(
        "SELECT $1::daterange, $1::daterange::text, '{[2020-01-01,)}'::datemultirange",
        Range(day, None),
    )
    eve = datetime.date(2019, 12, 31)
    assert got == (Range(eve, None), "[2020-01-01,)", [Range(eve, None)])


async def test_codec_of_a_composite(nested, schema):
    """A composite type can be an object of the user's, in tuple format only."""
    with pytest.raises(chopin.UnsupportedClientFeatureError) as caught:
        await nested.set_type_codec("pair", schema=schema, encoder=str, decoder=str)
    assert caught.value.args[0] == (
        "only tuple-format codecs can be used on composite types"
    )
    await nested.set_type_codec(
        "pair",
        schema=schema,
        format="tuple",
        encoder=lambda value: (int(value.real), str(value.imag)),
        decoder=lambda row: complex(row["a"], float(row["b"])),
    )
    assert await nested.fetchval("SELECT $1::pair", 1 + 2j) == 1 + 2j
    got = await nested.fetchval("SELECT $1::deep", {"p": 3j, "ps": [1j, None]})
    assert (got["p"], got["ps"]) == (3j, [1j, None])
    await nested.reset_type_codec("pair", schema=schema)
    assert await nested.fetchval("SELECT (1, '2')::pair") == (1, "2")


@pytest.mark.parametrize("name", ["dpair", "ints", "smaller"])
async def test_domains_have_no_codec(nested, schema, name):
    """The error and its hint are asyncpg's."""
    with pytest.raises(chopin.UnsupportedClientFeatureError) as caught:
        await nested.set_type_codec(name, schema=schema, encoder=str, decoder=str)
    assert caught.value.args[0] == "custom codecs on domain types are not supported"
    assert caught.value.hint == "Set the codec on the base type."


@pytest.mark.parametrize("name", ["span", "spans", "_pair"])
async def test_ranges_and_arrays_have_no_codec(nested, schema, name):
    """Nor have ranges, multiranges and arrays."""
    with pytest.raises(chopin.InterfaceError, match="neither a scalar type nor a comp"):
        await nested.set_type_codec(name, schema=schema, encoder=str, decoder=str)


@pytest.mark.parametrize("name", ["pair", "span", "spans", "_pair"])
async def test_only_scalars_can_be_another_type(nested, schema, name):
    """A built-in type's codec is for base types, enums and domains."""
    with pytest.raises(chopin.InterfaceError) as caught:
        await nested.set_builtin_type_codec(name, schema=schema, codec_name="int4")
    assert caught.value.args[0] == f"cannot alias non-scalar type {schema}.{name}"


# -- any values --------------------------------------------------------------------

TEXTS = st.none() | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
)
INTS = st.none() | st.integers(-(2**31), 2**31 - 1)
SMALL = st.none() | st.integers(-(2**31), 999_999)
MOODS = st.none() | st.sampled_from(["calm", "wild"])
FLOATS = st.floats(allow_nan=False)
PAIRS = st.none() | st.tuples(INTS, TEXTS)
SPANS = st.builds(
    lambda a, b, lower, upper: Range(
        min(a, b), max(a, b), lower_inc=lower, upper_inc=upper
    ),
    FLOATS, FLOATS, st.booleans(), st.booleans(),
).filter(lambda r: r.lower < r.upper)  # fmt: skip
DEEP = st.tuples(
    PAIRS, st.none() | st.lists(PAIRS, max_size=3), MOODS,
    st.none() | st.lists(MOODS, max_size=3), SMALL, st.lists(SMALL, max_size=3),
    st.none() | st.lists(INTS, max_size=3), PAIRS, st.lists(PAIRS, max_size=3),
    st.none() | SPANS, st.none() | st.lists(SPANS, max_size=1), st.none(), st.none(),
    st.none(),
)  # fmt: skip


async def test_any_value(nested, schema, server):
    """Any value comes back as it was, and is to the server what another driver sends.

    psycopg sends the text that the server makes of it, and gets the same text again.
    """
    values = []

    @settings(
        max_examples=60,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(DEEP, min_size=1, max_size=3))
    def collect(rows):
        values.append(rows)

    collect()
    with psycopg.connect(server.dsn, autocommit=True) as other:
        other.execute(f"SET search_path = {schema}")
        for rows in values:
            got, text = await nested.fetchrow(
                "SELECT $1::deep[], $1::deep[]::text", rows
            )
            assert [tuple(row) for row in got] == rows
            cursor = other.execute("SELECT (%s::deep[])::text", [text])
            assert cursor.fetchone() == (text,)
            assert await nested.fetchval("SELECT $1::text::deep[]", text) == got


async def test_numbers_in_multiranges(nested):
    """The server orders and merges what is sent."""
    sent = [(Decimal("2.5"), 9), Range(1, decimal.Decimal(3)), ()]
    got = await nested.fetchval("SELECT $1::nummultirange", sent)
    assert got == [Range(Decimal(1), Decimal(9), upper_inc=True)]
