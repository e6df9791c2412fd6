"""set_type_codec and its kin: types that the user's own functions handle."""

import asyncio
import gc
import json
import re
import types

import pytest

import chopin
from tests.support.proxy import recorded

CATALOG = {"schema": "pg_catalog"}


def refuse(value):
    """A codec function that fails."""
    raise ValueError("not that one")


def fail(value):
    """A codec function with a defect."""
    raise KeyError("boom")


@pytest.fixture
async def schema(observer):
    """A schema with a type of each kind."""
    name = "chopin_kinds"
    observer.execute(f"CREATE SCHEMA {name}")
    observer.execute(f"CREATE TYPE {name}.mood AS ENUM ('calm', 'wild')")
    observer.execute(f"CREATE DOMAIN {name}.small AS int CHECK (VALUE < 100)")
    observer.execute(f"CREATE TYPE {name}.pair AS (a int, b text)")
    observer.execute(f"CREATE TYPE {name}.span AS RANGE (subtype = float8)")
    yield name
    observer.execute(f"DROP SCHEMA {name} CASCADE")


async def test_text(conn):
    """The functions see and return text by default."""
    seen = []

    def decode(text):
        seen.append(text)
        return json.loads(text)

    await conn.set_type_codec("json", encoder=json.dumps, decoder=decode, **CATALOG)
    assert await conn.fetchval("SELECT $1::json", {"a": [1]}) == {"a": [1]}
    assert seen == ['{"a": [1]}']
    assert await conn.fetchval("SELECT '[1, 2]'::json") == [1, 2]


async def test_binary(conn):
    """In binary the functions see the bytes of the wire."""
    await conn.set_type_codec(
        "jsonb",
        encoder=lambda value: b"\x01" + json.dumps(value).encode(),
        decoder=lambda data: (type(data), data[:1], json.loads(data[1:])),
        format="binary",
        **CATALOG,
    )
    got = await conn.fetchval("SELECT $1::jsonb", {"a": 1})
    assert got == (bytes, b"\x01", {"a": 1})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("date", (5,), "2000-01-06"),
        ("time", (5_000_000,), "00:00:05"),
        ("timetz", (5_000_000, -3600), "00:00:05+01"),
        ("timestamp", (5_000_000,), "2000-01-01 00:00:05"),
        ("timestamptz", (5_000_000,), "2000-01-01 00:00:05+00"),
        ("interval", (14, 3, 5_000_000), "1 year 2 mons 3 days 00:00:05"),
    ],
)
async def test_tuple(conn, name, value, text):
    """As a tuple the functions see the fields of a date or time."""
    await conn.set_type_codec(
        name, encoder=lambda v: v, decoder=lambda v: v, format="tuple", **CATALOG
    )
    got = await conn.fetchrow(f"SELECT $1::{name}, $1::{name}::text", value)
    assert got == (value, text)
    assert type(got[0]) is tuple


async def test_null_is_not_for_codecs(conn):
    """NULL is None both ways; the functions are not asked."""
    await conn.set_type_codec("json", encoder=fail, decoder=fail, **CATALOG)
    row = await conn.fetchrow("SELECT $1::json, NULL::json, $2::json[]", None, [None])
    assert row == (None, None, [None])


async def test_elements_of_arrays(conn):
    """Arrays use the codec of their elements, before and after it is set."""
    sent = [{"a": 1}, None, {"b": [2]}]
    assert await conn.fetchval("SELECT '{1,2}'::json[]") == ["1", "2"]
    await conn.set_type_codec("json", encoder=json.dumps, decoder=json.loads, **CATALOG)
    assert await conn.fetchval("SELECT $1::json[]", sent) == sent
    assert await conn.fetchval("SELECT '{1,2}'::json[]") == [1, 2]
    await conn.reset_type_codec("json", **CATALOG)
    assert await conn.fetchval("SELECT '{1,2}'::json[]") == ["1", "2"]


async def test_name_in_any_case(conn):
    """Of a built-in type, as asyncpg takes it."""
    await conn.set_type_codec("JSON", encoder=json.dumps, decoder=json.loads, **CATALOG)
    assert await conn.fetchval("SELECT '{\"a\": 1}'::json") == {"a": 1}
    await conn.reset_type_codec("Json", **CATALOG)
    assert await conn.fetchval("SELECT '1'::json") == "1"


async def test_reset(conn):
    """A type gets its own codec back; statements that are cached notice it."""
    query = "SELECT $1::json"
    for _ in range(2):
        assert await conn.fetchval(query, "1") == "1"
        await conn.set_type_codec("json", encoder=str, decoder=int, **CATALOG)
        assert await conn.fetchval(query, 1) == 1
        await conn.reset_type_codec("json", **CATALOG)
    assert await conn.fetchval(query, "1") == "1"
    await conn.reset_type_codec("int8", **CATALOG)


async def test_set_again(conn):
    """The last codec counts."""
    query = "SELECT '1'::json"
    for factor in 1, 2, 3:
        await conn.set_type_codec(
            "json", encoder=str, decoder=lambda t, f=factor: int(t) * f, **CATALOG
        )
        assert await conn.fetchval(query) == factor


async def test_only_on_this_connection(connect, conn):
    """Another connection keeps its codecs."""
    other = await connect()
    await conn.set_type_codec("json", encoder=str, decoder=int, **CATALOG)
    assert await conn.fetchval("SELECT '1'::json") == 1
    assert await other.fetchval("SELECT '1'::json") == "1"


async def test_survives_reset_of_the_connection(conn):
    """Codecs are the client's: resetting the session leaves them."""
    await conn.set_type_codec("json", encoder=str, decoder=int, **CATALOG)
    await conn.reset()
    await conn.reload_schema_state()
    assert await conn.fetchval("SELECT '1'::json") == 1


async def test_prepared_statement_follows_the_codecs(conn):
    """A statement that the user holds uses the codecs of the moment, as others do."""
    statement = await conn.prepare("SELECT '1'::json")
    await conn.set_type_codec("json", encoder=str, decoder=int, **CATALOG)
    assert await statement.fetchval() == 1
    assert await conn.fetchval("SELECT '1'::json") == 1
    assert await (await conn.prepare("SELECT '1'::json")).fetchval() == 1


@pytest.mark.parametrize("name", ["integer", "int4", "int"])
async def test_names_of_sql(conn, name):
    """Types of the catalog may be given by the names that SQL has for them."""
    await conn.set_type_codec(
        name, encoder=lambda v: str(v + 1), decoder=lambda t: -int(t), **CATALOG
    )
    assert await conn.fetchval("SELECT $1::int", 5) == -6


async def test_enum(conn, schema):
    """An enum of the user's can have a codec; its array follows."""
    query = f"SELECT $1::{schema}.mood[]"
    assert await conn.fetchval(query, ["calm"]) == ["calm"]
    await conn.set_type_codec(
        "mood", schema=schema, encoder=str.lower, decoder=str.upper
    )
    assert await conn.fetchval(f"SELECT $1::{schema}.mood", "Calm") == "CALM"
    assert await conn.fetchval(query, ["CALM", None]) == ["CALM", None]
    await conn.reset_type_codec("mood", schema=schema)
    assert await conn.fetchval(query, ["calm"]) == ["calm"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "small",
            chopin.UnsupportedClientFeatureError,
            "custom codecs on domain types are not supported",
        ),
        (
            "span",
            chopin.InterfaceError,
            "cannot use custom codec on type chopin_kinds.span: it is neither a scalar"
            " type nor a composite type",
        ),
        (
            "_mood",
            chopin.InterfaceError,
            "cannot use custom codec on type chopin_kinds._mood: it is neither a scalar"
            " type nor a composite type",
        ),
        ("nope", ValueError, "unknown type: chopin_kinds.nope"),
    ],
)
async def test_types_that_cannot_have_one(conn, schema, name, error, message):
    """Domains, ranges and arrays have no codec of the user's."""
    with pytest.raises(error) as caught:
        await conn.set_type_codec(name, schema=schema, encoder=str, decoder=str)
    assert caught.value.args[0] == message


async def test_unknown_type(conn):
    """A type that is not there is a ValueError with its full name."""
    for call in (
        conn.set_type_codec("nope", encoder=str, decoder=str),
        conn.reset_type_codec("nope"),
        conn.set_builtin_type_codec("nope", codec_name="int4"),
    ):
        with pytest.raises(ValueError, match=r"^unknown type: public\.nope$"):
            await call
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("int4", "tuple", "int4 type does not support the 'tuple' exchange format"),
        (
            "int4",
            "foo",
            "invalid `format` argument, expected 'text', 'binary' or 'tuple',"
            " got 'foo'",
        ),
    ],
)
async def test_bad_format(conn, name, format, message):
    """Only dates and times can be tuples; other formats do not exist."""
    with pytest.raises(chopin.InterfaceError, match=f"^{re.escape(message)}$"):
        await conn.set_type_codec(
            name, encoder=str, decoder=str, format=format, **CATALOG
        )


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (refuse, "not that one"),
        (fail, "'boom'"),
        (lambda value: 5, "expected str, got int"),
        (lambda value: None, "expected str, got NoneType"),
        (lambda value: b"x", "expected str, got bytes"),
    ],
)
async def test_encoder_fails(conn, encoder, reason):
    """What an encoder raises, or wrongly returns, becomes a DataError about $n."""
    await conn.set_type_codec("varchar", encoder=encoder, decoder=str, **CATALOG)
    with pytest.raises(chopin.DataError) as caught:
        await conn.fetchval("SELECT $1::int, $2::varchar", 1, "x")
    assert str(caught.value) == f"invalid input for query argument $2: 'x' ({reason})"
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("decoder", "error"), [(refuse, ValueError), (fail, KeyError), (int, ValueError)]
)
async def test_decoder_fails(conn, decoder, error):
    """What a decoder raises comes out of the call; the connection goes on."""
    await conn.set_type_codec("varchar", encoder=str, decoder=decoder, **CATALOG)
    query = "SELECT i, 'x'::varchar FROM generate_series(1, 1000) AS i"
    for method in conn.fetch, conn.fetchrow:
        with pytest.raises(error):
            await method(query)
        assert await conn.fetchval("SELECT 1") == 1
    async with conn.transaction():
        with pytest.raises(error):
            await conn.fetch(query)
        assert await conn.fetchval("SELECT 1") == 1


async def test_only_the_failing_call_fails(conn):
    """A decoder's error is its own call's, not its neighbours'."""
    await conn.set_type_codec("varchar", encoder=str, decoder=fail, **CATALOG)
    with pytest.raises(KeyError):
        await conn.fetchval("SELECT 'x'::varchar")
    assert await conn.fetchval("SELECT 'x'::text") == "x"


async def test_executemany_with_codec(conn):
    """executemany names the row for which an encoder fails."""
    await conn.execute("CREATE TEMP TABLE t (a json)")
    await conn.set_type_codec("json", encoder=json.dumps, decoder=json.loads, **CATALOG)
    await conn.executemany("INSERT INTO t VALUES ($1)", [({"a": 1},), ([2],)])
    assert await conn.fetch("SELECT a FROM t") == [({"a": 1},), ([2],)]
    with pytest.raises(chopin.DataError, match=r"\$1 in element #1 of executemany"):
        await conn.executemany("INSERT INTO t VALUES ($1)", [(1,), (object(),)])
    assert await conn.fetchval("SELECT count(*) FROM t") == 2


async def test_costs_no_round_trip(connect, tcp_dsn):
    """A codec for a type of the catalog is set without asking the server."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        for name in "json", "jsonb", "uuid", "inet", "timestamptz", "numeric":
            await conn.set_type_codec(name, encoder=str, decoder=str, **CATALOG)
            await conn.reset_type_codec(name, **CATALOG)
        assert wire.kinds == ""


async def test_inside_of_a_transaction(conn, schema):
    """Codecs may be set inside of a block, also for types of the user's."""
    async with conn.transaction():
        await conn.execute("CREATE TABLE pg_temp.t (a int)")
        await conn.set_type_codec(
            "mood", schema=schema, encoder=str.lower, decoder=str.upper
        )
        await conn.set_type_codec("json", encoder=str, decoder=int, **CATALOG)
        got = await conn.fetchrow(f"SELECT 'calm'::{schema}.mood, '1'::json")
        assert got == ("CALM", 1)


async def test_builtin_for_domain(conn, schema):
    """A type of the user's can be given the codec of a type of the catalog."""
    await conn.set_builtin_type_codec("small", schema=schema, codec_name="int4")
    assert await conn.fetchval(f"SELECT $1::{schema}.small", 5) == 5


async def test_builtin_format(conn):
    """The format of a codec of the catalog can be asked for."""
    assert await conn.fetchval("SELECT '5'::xid") == 5
    await conn.set_builtin_type_codec(
        "xid", schema="pg_catalog", codec_name="text", format="text"
    )
    assert await conn.fetchval("SELECT '5'::xid") == "5"
    await conn.reset_type_codec("xid", **CATALOG)
    assert await conn.fetchval("SELECT '5'::xid") == 5


async def test_unknown_builtin(conn, schema):
    """A codec that does not exist is named."""
    with pytest.raises(chopin.InterfaceError, match="nope"):
        await conn.set_builtin_type_codec("mood", schema=schema, codec_name="nope")


# -- functions that use the connection while it writes ---------------------------------


@types.coroutine
def resumed(coroutine, awaited):
    """Go on with a coroutine that awaits something."""
    while True:
        yield awaited
        try:
            awaited = coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def eager_task(coroutine):
    """A task that takes its first step at once, as those of `eager_task_factory`."""
    return asyncio.create_task(resumed(coroutine, coroutine.send(None)))


async def by_fetchval(conn, sql):
    return await conn.fetchval(sql, "x")


async def by_statement(conn, sql):
    return await (await conn.prepare(sql)).fetchval("x")


async def by_cursor(conn, sql):
    async with conn.transaction():
        rows = [row[0] async for row in conn.cursor(sql, "x")]
    return rows.pop()


async def by_portal(conn, sql):
    async with conn.transaction():
        return (await (await conn.cursor(sql, "x")).fetchrow())[0]


async def by_batch(conn, sql):
    return (await conn.batch([(sql, "x")]))[0][0][0]


async def by_pipeline(conn, sql):
    async with conn.pipeline() as pipe:
        reply = pipe.fetchval(sql, "x")
    return await reply


async def by_fetchmany(conn, sql):
    return (await conn.fetchmany(sql, [("x",)]))[0][0]


WAYS = [
    by_fetchval, by_statement, by_cursor, by_portal, by_batch, by_pipeline,
    by_fetchmany,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("known", [False, True])
async def test_encoder_ends_the_connection(conn, way, known):
    """An encoder that ends the connection: the call is told, and does not wait."""
    if known:
        await conn.fetchval("SELECT $1::text", "x")

    def encode(value):
        conn.terminate()
        return value

    await conn.set_type_codec("text", encoder=encode, decoder=str, **CATALOG)
    with pytest.raises(chopin.InterfaceError, match="connection is closed"):
        async with asyncio.timeout(5):
            await way(conn, "SELECT $1::text")


@pytest.mark.parametrize("way", WAYS)
async def test_encoder_asks_something(conn, way):
    """What an encoder asks of its connection is sent behind its own query."""
    sql = "SELECT $1::text || $2::text"
    asked = []

    def encode(value):
        if value == "x":
            asked.append(eager_task(conn.fetchval("SELECT $1::text || 'b'", "a")))
            asked.append(eager_task(conn.execute("SELECT 1")))
            asked.append(eager_task(conn.fetchval(sql, "c", "d")))
        return value

    assert await conn.fetchval("SELECT $1::text || 'b'", "a") == "ab"
    assert await conn.fetchval(sql, "c", "d") == "cd"
    await conn.set_type_codec("text", encoder=encode, decoder=str, **CATALOG)
    async with asyncio.timeout(5):
        assert await way(conn, "SELECT $1::text || 'y'") == "xy"
        assert await asyncio.gather(*asked) == ["ab", "SELECT 1", "cd"]
        assert await conn.fetchval(sql, "e", "f") == "ef"


async def test_encoder_changes_codecs(conn):
    """Codecs that change while values are encoded count for what comes behind."""
    sql = "SELECT $1::text || $2::text || $3::text"
    asked = []

    def encode(value):
        if value == "x":
            change = conn.set_type_codec("int4", encoder=str, decoder=str, **CATALOG)
            with pytest.raises(StopIteration):
                change.send(None)
            asked.append(eager_task(conn.fetchval(sql, "a", "b", "c")))
        return value

    assert await conn.fetchval(sql, "a", "b", "c") == "abc"
    await conn.set_type_codec("text", encoder=encode, decoder=str, **CATALOG)
    async with asyncio.timeout(5):
        assert await conn.fetchval(sql, "x", "y", "z") == "xyz"
        assert await asked[0] == "abc"
        assert await conn.fetchval("SELECT 1") == "1"


async def test_encoder_drops_a_statement(conn):
    """A statement whose last user is an encoder is closed on the server."""
    held = [await conn.prepare("SELECT 11"), await conn.prepare("SELECT 22")]

    def encode(value):
        held.clear()
        return value

    await conn.set_type_codec("text", encoder=encode, decoder=str, **CATALOG)
    await conn.prepare("SELECT $1::text")
    held.pop()
    gc.collect()
    assert await conn.fetchval("SELECT $1::text", "x") == "x"
    await conn.fetchval("SELECT 1")
    left = await conn.fetch("SELECT statement FROM pg_prepared_statements")
    assert {"SELECT 11", "SELECT 22"}.isdisjoint(row[0] for row in left)


class Unnotable(Exception):
    """An exception that takes no notes, and has no outcome."""

    __notes__ = None

    @property
    def outcome(self):
        return "none"

    @outcome.setter
    def outcome(self, value):
        raise RuntimeError("there is none")


@pytest.mark.parametrize("into", [None, tuple])
async def test_decoder_raises_anything(conn, into):
    """Whatever a decoder raises spoils the result and not the connection."""

    def decode(value):
        raise Unnotable

    await conn.set_type_codec("text", encoder=str, decoder=decode, **CATALOG)
    with pytest.raises(Unnotable):
        await conn.fetch("SELECT 'x'::text", into=into)
    assert await conn.fetchval("SELECT 1") == 1


# -- queries of our own ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "name", "oid", "char"])
async def test_not_for_the_catalog(conn, schema, name):
    """A codec of a type that the catalog consists of is not for our own queries."""

    def turned(value):
        return str(value)[::-1] + "!"

    await conn.set_type_codec(name, encoder=turned, decoder=turned, **CATALOG)
    got = await conn.fetchrow(
        f"SELECT 'calm'::{schema}.mood, ARRAY['wild'::{schema}.mood],"
        f" (ROW(1, NULL)::{schema}.pair).a, '[1, 2)'::{schema}.span"
    )
    assert got == ("calm", ["wild"], 1, chopin.Range(1, 2))
    await conn.set_type_codec("mood", schema=schema, encoder=str, decoder=str.upper)
    assert await conn.fetchval(f"SELECT 'calm'::{schema}.mood") == "CALM"
    await conn.execute("CREATE TABLE pg_temp.counts (a int, b int)")
    for _ in range(2):
        await conn.copy_records_to_table("counts", records=[(1, 2)], columns=["b", "a"])
    assert await conn.fetch("SELECT a, b FROM pg_temp.counts") == [(2, 1)] * 2
