"""Every base type of the server: its text, our value, and its text again.

`LITERALS` names each type of pg_type that is not made of others, with values in the
very form in which the server writes them. A server with a type that is not here fails:
then a row is missing here, and perhaps a codec.
"""

import contextlib
import math

import asyncpg
import pytest

import chopin

#: By type: literals, as the server writes them.
LITERALS = {
    "bool": ["true", "false"],
    "bytea": [r"\x", r"\x00ff5c27"],
    "char": ["x", r"\377", ""],
    "name": ["x", "a name"],
    "int8": ["-9223372036854775808", "9223372036854775807", "0"],
    "int2": ["-32768", "32767"],
    "int2vector": ["1", "1 -2 32767"],
    "int4": ["-2147483648", "2147483647"],
    "regproc": ["now", "pg_sleep", "-"],
    "text": ["", "naïve 🐘", ' quo"te\\ {},NULL ', "NULL"],
    "oid": ["0", "4294967295"],
    "tid": ["(0,1)", "(4294967295,65535)"],
    "xid": ["3", "4294967295"],
    "cid": ["0", "4294967295"],
    "oidvector": ["0", "1 4294967295"],
    "json": ['{"a":  [1, null]}', '"é"', "null"],
    "xml": ["<a>é</a>"],
    "point": ["(1.5,-2)", "(Infinity,NaN)"],
    "lseg": ["[(1,2),(3,4.5)]"],
    "path": ["((1,2),(3,4))", "[(1,2),(3,4)]", "((0,0))"],
    "box": ["(3,4),(1,2)"],
    "polygon": ["((1,2),(3,4),(5,6))"],
    "line": ["{1,2,-3.5}"],
    "cidr": ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "192.0.2.1/32"],
    "float4": ["1.25", "-Infinity", "NaN", "1e-45", "3.4028235e+38", "-0"],
    "float8": ["0.1", "Infinity", "NaN", "5e-324", "1.7976931348623157e+308", "-0"],
    "circle": ["<(1,2),3.5>"],
    "macaddr8": ["08:00:2b:01:02:03:04:ff"],
    "money": ["$1.00", "-$92,233,720,368,547,758.08"],
    "macaddr": ["08:00:2b:01:02:ff"],
    "inet": ["192.0.2.1/32", "192.0.2.1/24", "2001:db8::1/128", "::/0"],
    "aclitem": ["postgres=r/postgres", "=r/postgres"],
    "bpchar": ["x", ""],
    "varchar": ["x ", ""],
    "date": ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"],
    "time": ["00:00:00", "23:59:59.999999", "24:00:00"],
    "timestamp": [
        "1969-07-20 20:17:40.000001",
        "infinity",
        "0044-03-15 12:00:00 BC",
        "294276-12-31 23:59:59.999999",
    ],
    "timestamptz": [
        "1969-07-20 20:17:40.000001+00",
        "-infinity",
        "0044-03-15 12:00:00+00 BC",
        "294276-12-31 23:59:59.999999+00",
    ],
    "interval": ["00:00:00", "-3 days +04:05:06.7", "-178000000 years"],
    "timetz": ["12:00:00.5+02", "12:00:00-05:30", "24:00:00+02"],
    "bit": ["1", "0", "101010101"],
    "varbit": ["", "1", "101010101"],
    "numeric": ["0", "1.50", "-0.0001", "NaN", "-Infinity", "1" + "0" * 131071],
    "refcursor": ["a cursor"],
    "regprocedure": ["pg_sleep(double precision)", "-"],
    "regoper": ["||/", "0"],
    "regoperator": ["+(integer,integer)", "0"],
    "regclass": ["pg_class", "-"],
    "regtype": ["integer", "timestamp with time zone", "-"],
    "uuid": ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
    "txid_snapshot": ["10:20:10,14,15", "1:9223372036854775807:"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "tsvector": ["'a':1A,2 'it''s' 'ö'", ""],
    "tsquery": ["'a' & !'b' | 'c':*A", "'a' <2> 'it''s'", ""],
    "regconfig": ["simple", "english"],
    "regdictionary": ["simple"],
    "jsonb": ['{"a": [1, null]}', '"é"', "null"],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "regnamespace": ["pg_catalog", "-"],
    "regrole": ["postgres", "-"],
    "regcollation": ['"C"', "-"],
    "pg_snapshot": ["10:20:10,14,15", "1:18446744073709551615:"],
    "xid8": ["0", "18446744073709551615"],
}

#: By type: a query for a value, for the types that the server makes but does not read.
MADE_BY_THE_SERVER = {
    "pg_node_tree": "SELECT ev_action FROM pg_rewrite LIMIT 1",
    "pg_ndistinct": "SELECT stxdndistinct FROM pg_statistic_ext_data",
    "pg_dependencies": "SELECT stxddependencies FROM pg_statistic_ext_data",
    "pg_mcv_list": "SELECT stxdmcv FROM pg_statistic_ext_data",
}
#: Types of which no query can return a value: they lie inside of indexes.
OUT_OF_REACH = {"gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}

#: What asyncpg reads in a type of C that is too small or has a sign.
WRONG_IN_ASYNCPG = {"-178000000 years", "FFFFFFFF/FFFFFFFF"}

BASE_TYPES = """
    SELECT typname::text FROM pg_type AS t
    WHERE typtype = 'b' AND typnamespace = 'pg_catalog'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
"""

# A type name that means what pg_type means by it: "bit" alone is bit(1).
CASES = [(f'pg_catalog."{name}"', texts) for name, texts in LITERALS.items()]
IDS = list(LITERALS)
XML = 'pg_catalog."xml"'


def quoted(text):
    """A literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture
def has_xml(observer):
    """Whether the server was built with libxml, without which it reads no XML."""
    query = "SELECT setting FROM pg_config WHERE name = 'CONFIGURE'"
    return "--with-libxml" in observer.execute(query).fetchone()[0]


@pytest.fixture
async def utc(connect):
    """A connection whose texts do not depend on where the tests run."""
    return await connect(
        server_settings={"TimeZone": "UTC", "extra_float_digits": "1"},
    )


async def test_every_base_type_is_here(conn):
    """The server has no base type that these tests do not know."""
    names = {row[0] for row in await conn.fetch(BASE_TYPES)}
    assert names == {*LITERALS, *MADE_BY_THE_SERVER, *OUT_OF_REACH}


async def test_no_base_type_is_looked_up(conn):
    """Every base type and its array is in the table: none costs a round trip."""
    rows = await conn.fetch(
        f"SELECT typname, oid, typarray FROM pg_type WHERE typname IN ({BASE_TYPES})"
    )
    known = conn._session.codecs.known
    assert {
        (row["typname"], oid)
        for row in rows
        for oid in (row["oid"], row["typarray"])
        if oid and not known(oid)
    } == set()


@pytest.mark.parametrize(("name", "texts"), CASES, ids=IDS)
async def test_text_to_value_to_text(utc, has_xml, name, texts):
    """A literal becomes a value, and the value becomes the same text in the server."""
    if name == XML and not has_xml:
        pytest.skip("the server was built without libxml")
    for text in texts:
        value, canonical = await utc.fetchrow(
            f"SELECT x, x::text FROM CAST({quoted(text)} AS {name}) AS x"
        )
        assert canonical == text
        assert await utc.fetchval(f"SELECT $1::{name}::text", value) == text


@pytest.mark.parametrize(("name", "texts"), CASES, ids=IDS)
async def test_array(utc, has_xml, name, texts):
    """Arrays hold the same values, NULL and no values."""
    if name == XML and not has_xml:
        pytest.skip("the server was built without libxml")
    is_vector = name.endswith('vector"') and not name.endswith('tsvector"')
    literals = ", ".join(map(quoted, texts))
    row = await utc.fetchrow(
        f"SELECT ARRAY[{literals}, NULL]::{name}[], ARRAY[]::{name}[], NULL::{name}[]"
    )
    assert row[1:] == ([], None)
    single = [
        await utc.fetchval(f"SELECT CAST({quoted(text)} AS {name})") for text in texts
    ]
    assert repr(row[0]) == repr([*single, None])
    # a list inside of an array would be a dimension
    sent = [tuple(x) if is_vector and x else x for x in row[0]]
    back = await utc.fetchrow(
        f"SELECT $1::{name}[]::text, ARRAY[{literals}, NULL]::{name}[]::text"
        f", $2::{name}[]::text, $3::{name}::text, '{{}}'::{name}[]",
        sent,
        [],
        None,
    )
    assert back == (back[1], back[1], "{}", None, [])


@pytest.mark.parametrize(("name", "texts"), CASES, ids=IDS)
async def test_in_a_range(utc, name, texts):
    """Where the server can order values, ranges hold the same ones as their bounds."""
    try:
        await utc.execute(f"CREATE TYPE pg_temp.span AS RANGE (subtype = {name})")
    except chopin.UndefinedObjectError:
        pytest.skip("the server cannot order values of this type")
    for text in texts:
        value = await utc.fetchval(f"SELECT CAST({quoted(text)} AS {name})")
        row = await utc.fetchrow(
            "SELECT $1::pg_temp.span, $1::pg_temp.span::text,"
            f" pg_temp.span(NULL, CAST({quoted(text)} AS {name}))::text",
            chopin.Range(None, value),
        )
        assert repr(row[0].upper) == repr(value)
        assert row[1] == row[2]


@pytest.mark.parametrize("name", MADE_BY_THE_SERVER)
async def test_what_only_the_server_makes(conn, name):
    """Such values are their text."""
    async with conn.transaction():
        await conn.execute(
            "CREATE TABLE t AS SELECT i % 3 AS a, i % 3 AS b"
            " FROM generate_series(1, 100) AS i;"
            "CREATE STATISTICS s ON a, b FROM t; ANALYZE t"
        )
        query = MADE_BY_THE_SERVER[name]
        value, text = await conn.fetchrow(
            f"SELECT x, x::text FROM ({query}) AS q(x) WHERE x IS NOT NULL"
        )
        assert value == text
        with pytest.raises(chopin.FeatureNotSupportedError):
            async with conn.transaction():
                await conn.fetchval(f"SELECT $1::{name}", value)
        await conn.execute("DROP TABLE t")


async def test_any_array(conn):
    """Arrays of any type, as the statistics have them, are their text."""
    value, text = await conn.fetchrow(
        "SELECT most_common_vals, most_common_vals::text FROM pg_stats"
        " WHERE most_common_vals IS NOT NULL LIMIT 1"
    ) or (None, None)
    assert value == text


def plain(value):
    """A value without the difference between two drivers' classes for it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    kind = type(value).__name__
    if hasattr(value, "is_closed"):
        return kind, value.is_closed, [tuple(point) for point in value]
    if kind == "Circle":
        return kind, tuple(value.center), value.radius  # theirs is no Point
    if isinstance(value, tuple):
        return kind, [plain(item) for item in value]
    if kind == "BitString":
        return kind, len(value), value.bytes
    if kind == "Decimal" and value.is_nan():
        return "NaN"
    return kind, value


async def test_asyncpg_has_the_same_values(utc, has_xml, server):
    """What asyncpg decodes is what we decode, class by class."""
    theirs = await asyncpg.connect(server.dsn, server_settings={"TimeZone": "UTC"})
    try:
        compared, different = 0, {}
        for name, texts in CASES:
            if name == XML and not has_xml:
                continue
            for text in set(texts) - WRONG_IN_ASYNCPG:
                query = f"SELECT CAST({quoted(text)} AS {name})"
                # asyncpg refuses what Python's date classes cannot hold
                with contextlib.suppress(ValueError, OverflowError):
                    want = plain(await theirs.fetchval(query))
                    got = plain(await utc.fetchval(query))
                    compared += 1
                    if got != want:
                        different[name, text] = got, want
        assert different == {}
        assert compared > 110
    finally:
        await theirs.close()
