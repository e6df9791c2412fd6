"""script: one text with several statements, and all of its results."""

import asyncio
from typing import NamedTuple

import pytest

import chopin


class Pair(NamedTuple):
    a: int
    b: str


async def test_all_results(conn):
    """Each statement has its rows, its status and its count."""
    results = await conn.script(
        """
        CREATE TEMP TABLE t (a int, b text);
        INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, 'semicolon; quoted');
        SELECT * FROM t ORDER BY a;
        /* nothing */ ;
        DELETE FROM t WHERE a < 3 RETURNING a
        """
    )
    assert [result.status for result in results] == [
        "CREATE TABLE",
        "INSERT 0 3",
        "SELECT 3",
        "DELETE 2",
    ]
    assert [result.row_count for result in results] == [None, 3, 3, 2]
    assert results[2] == [(1, "x"), (2, None), (3, "semicolon; quoted")]
    assert results[3][0]["a"] == 1


@pytest.mark.parametrize("text", ["", " ; ;", "-- nothing"])
async def test_no_statement(conn, text):
    """Nothing to do has no results."""
    assert await conn.script(text) == []


async def test_record_class(conn):
    """The rows of all results are of the class."""

    class Row(chopin.Record):
        pass

    (result,) = await conn.script("SELECT 1 AS a", record_class=Row)
    assert type(result[0]) is Row


async def test_into(conn):
    """Rows in another shape; where they do not fit, the script has run all the same."""
    results = await conn.script("SELECT 1 AS a, 'x' AS b; SELECT 2 AS c", into=dict)
    assert results == [[{"a": 1, "b": "x"}], [{"c": 2}]]
    assert await conn.script("SELECT 1, 2", into=tuple) == [[(1, 2)]]
    with pytest.raises(chopin.InterfaceError) as caught:
        await conn.script("SELECT 1 AS a, 'x' AS b; SELECT 2 AS c", into=Pair)
    assert caught.value.outcome == "unknown"
    assert await conn.script("SELECT 1 AS a, 'x' AS b", into=Pair) == [[Pair(1, "x")]]


# -- values ----------------------------------------------------------------------------

SAME = [
    "true",
    "false",
    "NULL::int",
    "42::int2",
    "-42",
    "9223372036854775807",
    "17::oid",
    "3000000000::text::xid",
    "1.5::float4",
    "0.1::float4",
    "0.1::float8",
    "'-Infinity'::float8",
    "12.340::numeric",
    "'1e100'::numeric",
    "'x''y'::text",
    "'x'::varchar(3)",
    "'x'::char(3)",
    "'x'::name",
    "'x'::\"char\"",
    "'\\377'::\"char\"",
    "''::\"char\"",
    "'\\x00ff'::bytea",
    "''::bytea",
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
    "'{\"a\": 1}'::json",
    "'{\"a\": 1}'::jsonb",
    "'2024-02-29'::date",
    "'infinity'::date",
    "'-infinity'::date",
    "'0044-03-15 BC'::date",
    "'10000-01-01'::date",
    "'12:34:56.789'::time",
    "'24:00'::time",
    "'12:34:56+05:30'::timetz",
    "'2024-02-29 12:34:56.789'::timestamp",
    "'2024-02-29 12:34:56'::timestamp",
    "'infinity'::timestamp",
    "'2024-02-29 12:34:56.123456+05:30'::timestamptz",
    "'-infinity'::timestamptz",
    "'1900-01-01 00:00:00+00:19:32'::timestamptz",
    "'1 year 2 mons 3 days 04:05:06.789'::interval",
    "'-1 mons +3 days -04:05:06.7'::interval",
    "'-13 mons'::interval",
    "'1 day'::interval",
    "'0'::interval",
    "'16/B374D848'::pg_lsn",
    "'10.0.0.1'::inet",
    "'10.0.0.1/8'::inet",
    "'::1'::inet",
    "'10.0.0.0/8'::cidr",
    "'08:00:2b:01:02:03'::macaddr",
    "'{1,2,NULL}'::int[]",
    "'{{1.5,2},{3,NaN}}'::numeric[]",
    "'{}'::text[]",
    '\'{"a,b","c\\"d",NULL,"NULL"}\'::text[]',
    "'{2024-02-29}'::date[]",
    "'[1,5)'::int4range",
    "'empty'::int4range",
    "'(,2024-02-29]'::daterange",
    "'{[1,3),[5,7)}'::int4multirange",
    "'pg_class'::regclass",
    "'(1,2)'::point::text",
    "pg_sleep(0)",
    "'1 2'::oidvector",
    "'a:1'::tsvector",
]


async def test_values_are_those_of_fetch(conn):
    """The same Python values, though they come as text."""
    query = f"SELECT {', '.join(SAME)}"
    (fetched,) = await conn.fetch(query)
    ((script,),) = await conn.script(query)
    differences = [
        (sql, want, got)
        for sql, want, got in zip(SAME, fetched, script, strict=True)
        if (repr(want), type(want)) != (repr(got), type(got))
    ]
    assert differences == []


async def test_domains_within_other_types(connect):
    """Arrays and ranges of domains, and domains over them, are read as by fetch."""
    conn = await connect(json=True, codecs={"int8[]": "array.bounded"})
    await conn.execute(
        """
        CREATE DOMAIN pg_temp.num AS int4;
        CREATE DOMAIN pg_temp.positive AS pg_temp.num CHECK (value > 0);
        CREATE DOMAIN pg_temp.place AS pg_lsn;
        CREATE DOMAIN pg_temp.letter AS "char";
        CREATE DOMAIN pg_temp.doc AS jsonb;
        CREATE DOMAIN pg_temp.day AS date;
        CREATE DOMAIN pg_temp.ints AS pg_temp.num[];
        CREATE DOMAIN pg_temp.span AS int4range;
        CREATE DOMAIN pg_temp.spans AS int4multirange;
        CREATE TYPE pg_temp.dayrange AS RANGE (subtype = pg_temp.day);
        """
    )
    query = """
        SELECT '{1,NULL,2}'::pg_temp.positive[], '{16/B374D848}'::pg_temp.place[],
            '{x,"\\377"}'::pg_temp.letter[], '{null,"[1]",NULL}'::pg_temp.doc[],
            ARRAY['{1,2}', '{}', NULL, '{{3},{4}}']::pg_temp.ints[],
            '{"[1,5)",empty,NULL}'::pg_temp.span[],
            ARRAY['{[1,2)}', '{}']::pg_temp.spans[],
            '[2024-02-29,infinity)'::pg_temp.dayrange, '[5:6]={1,2}'::int8[]
    """
    (fetched,) = await conn.fetch(query)
    ((script,),) = await conn.script(query)
    assert repr(script) == repr(fetched)


TEXT = [
    ("(1,'a')::pg_temp.pair", "(1,a)"),
    ("ROW(1, 2)", "(1,2)"),
    ("'(1,2)'::point", "(1,2)"),
    ("'merry'::pg_temp.mood", "merry"),
]


async def test_what_is_text(conn):
    """Composite types and the like stay as the server writes them."""
    await conn.execute("CREATE TYPE pg_temp.pair AS (a int, b text)")
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('merry')")
    for sql, want in TEXT:
        assert (await conn.script(f"SELECT {sql}"))[0][0][0] == want


async def test_other_forms_are_text(conn):
    """No value is guessed where DateStyle or IntervalStyle are others."""
    results = await conn.script(
        """
        SET DateStyle = 'SQL, DMY';
        SET IntervalStyle = 'sql_standard';
        SET bytea_output = 'escape';
        SELECT '2024-02-01'::date, '2024-02-01 01:02'::timestamp,
            '2024-02-01 01:02+00'::timestamptz, '1 year 2 days'::interval, 'ab'::bytea
        """
    )
    row = results[-1][0]
    assert row[0] == "01/02/2024"
    assert all(isinstance(value, str) for value in row)


async def test_codecs_of_the_user(conn):
    """One that takes text is used; one that takes another form leaves the text."""
    set_codec = conn.set_type_codec
    await set_codec("json", schema="pg_catalog", encoder=str, decoder=lambda s: [s])
    await set_codec("jsonb", schema="pg_catalog", encoder=str, decoder=lambda s: {s})
    await set_codec("int4", schema="pg_catalog", encoder=str, decoder=lambda s: s + "!")
    await set_codec(
        "int8", schema="pg_catalog", encoder=str, decoder=len, format="binary"
    )
    query = "SELECT '1'::json, '2'::jsonb, 3::int4, 4::int8, '{5}'::int4[]"
    (row,) = (await conn.script(query))[0]
    assert tuple(row) == (["1"], {"2"}, "3!", "4", ["5!"])


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index", "note"),
    [
        ("SELECT 1; SELECT 1 / 0", 1, "after 1 statements of the script"),
        (
            "SELECT 1;\nSELECT 2;\n  SELECT nothing",
            2,
            "after 2 statements of the script, at line 3, column 10",
        ),
        (
            "SELECT 1;\nSELEC",
            0,
            "after 0 statements of the script, at line 2, column 1",
        ),
        (
            "SELECT 'ä', nothing",
            0,
            "after 0 statements of the script, at line 1, colum",
        ),
    ],
)
async def test_error(conn, text, index, note):
    """It says how many statements had ended, and where the fault lies."""
    with pytest.raises(chopin.PostgresError) as caught:
        await conn.script(text)
    assert caught.value.batch_index == index
    assert caught.value.__notes__[-1].startswith(note)
    assert caught.value.query == text
    assert await conn.fetchval("SELECT 1") == 1


async def test_a_script_is_one_transaction(conn):
    """Unless it says otherwise, all of it is undone by an error."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    with pytest.raises(chopin.DivisionByZeroError):
        await conn.script("INSERT INTO t VALUES (1); SELECT 1 / 0")
    with pytest.raises(chopin.DivisionByZeroError) as caught:
        await conn.script("INSERT INTO t VALUES (2); COMMIT; SELECT 1 / 0")
    assert caught.value.outcome == "unknown"
    assert await conn.fetch("SELECT a FROM t") == [(2,)]


async def test_inside_a_block(conn):
    """BEGIN goes ahead of the text, and neither its result nor its length shows."""
    with pytest.raises(chopin.UndefinedColumnError) as caught:
        async with conn.transaction():
            await conn.script("SELECT nothing")
    assert caught.value.position == "8"
    async with conn.transaction():
        assert await conn.script("SELECT 1; SELECT 2") == [[(1,)], [(2,)]]


@pytest.mark.parametrize("copy", ["FROM STDIN", "TO STDOUT"])
async def test_copy(conn, copy):
    """COPY IN is refused and COPY OUT dropped; the connection goes on."""
    await conn.execute("CREATE TEMP TABLE t AS SELECT 1 AS a")
    try:
        results = await conn.script(f"SELECT 1; COPY t {copy}; SELECT 2")
    except chopin.QueryCanceledError:
        assert copy == "FROM STDIN"
    else:
        assert [result.status for result in results] == [
            "SELECT 1",
            "COPY 1",
            "SELECT 1",
        ]
    assert await conn.fetchval("SELECT count(*) FROM t") == 1


@pytest.mark.parametrize("text", [None, 5, b"SELECT 1"])
async def test_no_text(conn, text):
    """What is no text is refused."""
    with pytest.raises(TypeError, match="query is expected to be a str"):
        await conn.script(text)


async def test_time_out_and_cancellation(conn):
    """The server is stopped, and the connection goes on."""
    with pytest.raises(TimeoutError):
        await conn.script("SELECT 1; SELECT pg_sleep(60)", timeout=0.05)
    task = asyncio.create_task(conn.script("SELECT 1; SELECT pg_sleep(60)"))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.script("SELECT 1") == [[(1,)]]


async def test_loggers_are_told(conn):
    """A script is one query."""
    told = []
    with conn.query_logger(told.append):
        await conn.script("SELECT 1; SELECT 2")
    await asyncio.sleep(0)
    assert [query.query for query in told] == ["SELECT 1; SELECT 2"]


async def test_on_a_pool(create):
    """A pool lends a connection, and resets it where the script has left something."""
    pool = await create(max_size=1)
    assert await pool.script("SELECT 1; SET work_mem = '77MB'") == [[(1,)], []]
    assert await pool.fetchval("SHOW work_mem") != "77MB"
