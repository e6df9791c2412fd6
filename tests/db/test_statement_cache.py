"""Statements behind fetch and execute: kept, evicted, healed; what they cost."""

import contextlib
from datetime import datetime
from decimal import Decimal

import pytest

import chopin
from tests.support.proxy import recorded

# Statements of this session that contain a word, whatever their names are.
HELD = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE $1"


async def held(conn, word):
    """How many statements with `word` the server keeps, this question not counted."""
    return await conn.fetchval(HELD, f"%{word}%")


@pytest.fixture
def alter(observer):
    """A table ``chopin_altered (a int)`` with one row; runs DDL on another session."""
    observer.execute("CREATE TABLE chopin_altered AS SELECT 1 AS a")
    yield observer.execute
    observer.execute("DROP TABLE IF EXISTS chopin_altered")


# What calls cost.


async def test_cached_statement_is_one_round_trip(connect, tcp_dsn):
    """A statement that is known is bound, executed and answered at once."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        query = "SELECT $1::int, $2::text"
        await conn.fetch(query, 1, "x")
        for method in conn.fetch, conn.fetchrow, conn.fetchval, conn.execute:
            wire.clear()
            await method(query, 1, "x")
            assert wire.round_trips == ["BES"]


@pytest.mark.parametrize(
    ("query", "args"),
    [
        ("SELECT 1", ()),
        ("SELECT now(), 'x', 1.5::numeric", ()),
        ("SELECT '{1,2}'::int[], '[1,2)'::int4range", ()),
    ],
)
async def test_first_use_without_arguments(connect, tcp_dsn, query, args):
    """A new statement costs its description and its execution, as with arguments.

    Asked for its rows in the same flight, it could bring values in a format that nobody
    can read, and running it again is no cure for one that writes.
    """
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await conn.fetch(query, *args)
        assert wire.round_trips == ["PDS", "BES"]
        wire.clear()
        await conn.fetch(query, *args)
        assert wire.round_trips == ["BES"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int4", 1), ("int4[]", [1]), ("text[]", ["x"]), ("uuid[]", []),
        ("timestamptz[]", []), ("jsonb[]", ["1"]), ("int4range", (1, 2)),
        ("numrange[]", []), ("tstzrange", ()), ("inet[]", ["192.0.2.1"]),
        ("regclass", "pg_class"), ("money[]", ["1"]),
    ],
)  # fmt: skip
async def test_built_in_types_are_known(connect, tcp_dsn, name, value):
    """No built-in type, array or range makes a fresh connection ask the server."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        query = f"SELECT $1::{name}"
        await conn.fetchval(query, value)
        assert len(wire.round_trips) <= 2
        wire.clear()
        await conn.fetchval(query, value)
        assert wire.round_trips == ["BES"]


async def test_enum_is_asked_for_once(connect, tcp_dsn):
    """A type of the user's costs one question to the catalog, the first time."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('calm', 'wild')")
        wire.clear()
        assert await conn.fetchval("SELECT $1::pg_temp.mood", "calm") == "calm"
        assert len(wire.round_trips) <= 4
        wire.clear()
        await conn.fetchval("SELECT 1, $1::pg_temp.mood", "wild")
        assert len(wire.round_trips) <= 2


async def test_executemany_is_one_round_trip(connect, tcp_dsn):
    """Many executions of a known statement go out without an answer in between."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        query = "SELECT $1::int"
        await conn.fetch(query, 1)
        wire.clear()
        await conn.executemany(query, [(i,) for i in range(100)])
        assert wire.kinds.count("E") >= 100
        assert wire.kinds.count("S") == 1


async def test_dropping_and_evicting_costs_nothing(connect, tcp_dsn):
    """Statements are closed by messages that ride with the next call."""
    async with recorded(connect, tcp_dsn, statement_cache_size=1) as (conn, wire):
        await conn.fetchval("SELECT 100")
        cost = len(wire.round_trips)
        statement = await conn.prepare("SELECT 1 AS dropped")
        del statement
        for i in range(5):
            wire.clear()
            await conn.fetchval(f"SELECT {i}")
            assert len(wire.round_trips) == cost
            await conn.fetchval(f"SELECT {i}")
        assert await held(conn, "dropped") == 0


async def test_parameters_of_all_one_format(connect, tcp_dsn):
    """A Bind with binary arguments says so once for all."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        query = "SELECT $1::int, $2::int, $3::int"
        await conn.fetch(query, 1, 2, 3)
        wire.clear()
        await conn.fetch(query, 1, 2, 3)
        [bind] = [content for kind, content in wire.messages if kind == "B"]
        _portal, _name, rest = bind.split(b"\0", 2)
        assert rest.startswith(b"\0\x01\0\x01\0\x03")


# What is kept.


async def test_statements_are_kept(conn):
    """A statement is prepared once, whichever method uses it."""
    query = "SELECT $1::int AS kept"
    for method in conn.fetch, conn.fetchrow, conn.fetchval, conn.execute:
        await method(query, 1)
    await conn.executemany(query, [(1,)])
    await conn.fetchmany(query, [(1,)])
    assert await held(conn, "kept") == 1


async def test_cache_size(connect):
    """No more statements than asked for are kept; one in use stays."""
    conn = await connect(statement_cache_size=3)
    for i in range(20):
        assert await conn.fetchval(f"SELECT {i} AS evicted, $1::int", i) == i
        assert await conn.fetchval("SELECT $1::int AS hot", i) == i
    assert await held(conn, "evicted") <= 3
    assert await held(conn, "") <= 3


async def test_no_cache(connect):
    """Without a cache nothing is kept on the server, and everything works."""
    conn = await connect(statement_cache_size=0)
    await conn.execute("CREATE TEMP TABLE t (a int)")
    for i in range(3):
        assert await conn.fetchval("SELECT $1::int", i) == i
        assert await conn.fetch("SELECT $1::int[], 'x'", [i]) == [([i], "x")]
        assert await conn.fetchrow("SELECT 1 WHERE $1", False) is None
        assert await conn.execute("INSERT INTO t VALUES ($1)", i) == "INSERT 0 1"
    await conn.executemany("INSERT INTO t VALUES ($1)", [(3,), (4,)])
    assert await conn.fetchval("SELECT sum(a) FROM t") == 10
    with pytest.raises(chopin.DivisionByZeroError):
        await conn.fetch("SELECT 1 / $1::int", 0)
    async with conn.transaction():
        assert await conn.fetchval("SELECT $1::int", 1) == 1
        got = [
            row[0]
            async for row in conn.cursor("SELECT a FROM t ORDER BY a", prefetch=2)
        ]
        assert got == [0, 1, 2, 3, 4]
    # The question itself goes unnamed too.
    assert await held(conn, "") == 0
    statement = await conn.prepare("SELECT $1::int")
    await conn.fetchval("SELECT 5")
    assert await statement.fetchval(6) == 6


@pytest.mark.parametrize(
    ("sql", "args", "count"), [("SELECT 2", (), 1), ("SELECT $1::int", (2,), 2)]
)
async def test_round_trips_without_a_cache(connect, tcp_dsn, sql, args, count):
    """A known statement costs one round trip, and one more if it has parameters.

    Their types may have changed since it was described.
    """
    async with recorded(connect, tcp_dsn, statement_cache_size=0) as (conn, wire):
        await conn.fetchval(sql, *args)
        wire.clear()
        assert await conn.fetchval(sql, *args) == 2
        assert len(wire.round_trips) == count


async def test_types_are_fresh_without_a_cache(connect, observer):
    """Nothing of a value is lost when somebody else has altered a column."""
    observer.execute("DROP TABLE IF EXISTS fresh; CREATE TABLE fresh (day date)")
    insert = "INSERT INTO fresh VALUES ($1) RETURNING day"
    noon = datetime(2020, 1, 1, 12, 30)
    conn = await connect(statement_cache_size=0)
    assert await conn.fetchval(insert, noon) == noon.date()
    observer.execute("ALTER TABLE fresh ALTER day TYPE timestamp")
    assert await conn.fetchval(insert, noon) == noon
    await conn.executemany(insert, [(noon,)])
    observer.execute("DROP TABLE fresh")


async def test_long_statements_are_not_kept(connect):
    """A statement over the size limit is used and forgotten."""
    conn = await connect(max_cacheable_statement_size=50)
    long = f"SELECT $1::int AS long -- {'x' * 50}"
    for i in range(3):
        assert await conn.fetchval(long, i) == i
        assert await conn.fetchval("SELECT $1::int AS short", i) == i
    assert await held(conn, " AS short") == 1
    assert await held(conn, "xxxxx") == 0


async def test_equal_text_is_one_statement(conn):
    """Statements are told apart by their text, whole."""
    await conn.fetchval("SELECT 1 AS same")
    await conn.fetchval("".join(["SELECT 1", " AS same"]))
    assert await held(conn, "AS same") == 1
    await conn.fetchval("SELECT 1 AS same ")
    assert await held(conn, "AS same") == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("statement_cache_size", -1),
        ("max_cached_statement_lifetime", -1),
        ("max_cacheable_statement_size", -1),
    ],
)
async def test_bad_options(connect, option, value):
    """Sizes are not negative."""
    with pytest.raises(
        ValueError, match=f"{option} is expected to be greater or equal to 0, got -1"
    ):
        await connect(**{option: value})


# What happens to statements from outside.


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchval"])
async def test_columns_changed_by_another(conn, alter, method):
    """`SELECT *` after ALTER TABLE by another session has the new columns, unseen."""
    call = getattr(conn, method)
    query = "SELECT * FROM chopin_altered WHERE $1"
    changes = [
        ("ADD b text", (1, None)),
        ("ALTER b TYPE int USING 5", (1, 5)),
        ("DROP b", (1,)),
        ("ALTER a TYPE text", ("1",)),
        ("RENAME a TO c", ("1",)),
    ]
    await call(query, True)
    for change, want in changes:
        alter(f"ALTER TABLE chopin_altered {change}")
        got = await call(query, True)
        row = got[0] if method == "fetch" else got
        assert row == (want[0] if method == "fetchval" else want)
    if method != "fetchval":
        assert list(row.keys()) == ["c"]


async def test_record_class_outlives_healing(conn, alter):
    """The statement that is prepared again makes the rows that were asked for."""

    class Row(chopin.Record):
        """A record class of the user's own."""

    query = "SELECT * FROM chopin_altered"
    await conn.fetch(query, record_class=Row)
    alter("ALTER TABLE chopin_altered ADD b int")
    [row] = await conn.fetch(query, record_class=Row)
    assert (type(row), len(row)) == (Row, 2)


async def test_columns_changed_by_oneself(conn):
    """One's own DDL is noticed as well."""
    await conn.execute("CREATE TEMP TABLE t AS SELECT 1 AS a")
    query = "SELECT * FROM t"
    assert await conn.fetchrow(query) == (1,)
    await conn.execute("ALTER TABLE t ADD b text DEFAULT 'x'")
    assert await conn.fetchrow(query) == (1, "x")
    await conn.execute("DROP TABLE t; CREATE TEMP TABLE t AS SELECT 2.5::float8 AS z")
    row = await conn.fetchrow(query)
    assert dict(row) == {"z": 2.5}


async def test_stale_statement_inside_of_a_block(conn, alter):
    """Inside of a block nothing can be healed: the error says why."""
    query = "SELECT * FROM chopin_altered"
    await conn.fetch(query)
    alter("ALTER TABLE chopin_altered ADD b int")
    with pytest.raises(
        chopin.InvalidCachedStatementError,
        match="cached statement plan is invalid due to a database schema or"
        " configuration change",
    ) as caught:
        async with conn.transaction():
            await conn.fetch("SELECT 1")
            await conn.fetch(query)
    assert isinstance(caught.value, chopin.FeatureNotSupportedError)
    assert not conn.is_in_transaction()
    assert await conn.fetch(query) == [(1, None)]


async def test_stale_statement_is_forgotten_inside_of_a_block(conn, alter):
    """After such an error the block can be run again and succeeds."""
    query = "SELECT * FROM chopin_altered"
    await conn.fetch(query)
    alter("ALTER TABLE chopin_altered ADD b int")
    with pytest.raises(chopin.InvalidCachedStatementError):
        async with conn.transaction():
            await conn.fetch("SELECT 1")
            await conn.fetch(query)
    async with conn.transaction():
        await conn.fetch("SELECT 1")
        assert await conn.fetch(query) == [(1, None)]


@pytest.mark.parametrize(
    ("made", "undone"),
    [
        ("ALTER TABLE pg_temp.t ALTER a TYPE text", "ROLLBACK"),
        ("ALTER TABLE pg_temp.t ALTER a TYPE text", "ROLLBACK TO s; COMMIT"),
        ("ALTER TABLE pg_temp.t ALTER a TYPE text", "ROLLBACK TO s; ROLLBACK"),
        ("DROP TABLE pg_temp.t; CREATE TEMP TABLE t (a text)", "ROLLBACK"),
        ("SAVEPOINT r; ALTER TABLE pg_temp.t ALTER a TYPE text", "COMMIT of nothing"),
    ],
)
async def test_types_that_are_undone(conn, made, undone):
    """A statement that was prepared for types of a block does not outlive them."""
    insert = "INSERT INTO pg_temp.t VALUES ($1)"
    await conn.execute("CREATE TEMP TABLE t (a int)")
    await conn.execute("BEGIN; SAVEPOINT s")
    await conn.execute(made)
    await conn.execute(insert, "x")
    if undone == "COMMIT of nothing":
        with pytest.raises(chopin.DivisionByZeroError):
            await conn.execute("SELECT 1 / 0")
        assert await conn.execute("COMMIT") == "ROLLBACK"
    else:
        if undone.startswith("ROLLBACK TO s; R"):
            await conn.execute("ROLLBACK TO s; ALTER TABLE t ALTER a TYPE text")
            await conn.execute(insert, "x")
            undone = "ROLLBACK"
        await conn.execute(undone)
    assert await conn.execute(insert, 5) == "INSERT 0 1"


async def test_table_that_is_undone(conn):
    """Nor one for a table that was never there, when another one takes its name."""
    insert = "INSERT INTO pg_temp.t VALUES ($1)"
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.execute("CREATE TEMP TABLE t (a text)")
            await conn.execute(insert, "x")
            raise ZeroDivisionError
    await conn.execute("CREATE TEMP TABLE t (a int)")
    assert await conn.execute(insert, 5) == "INSERT 0 1"


async def test_undone_without_ddl(conn):
    """A block that is rolled back and has altered nothing leaves the cache alone."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    await conn.fetch("SELECT 'kept', $1::int", 1)
    await conn.execute("BEGIN")
    await conn.execute("INSERT INTO pg_temp.t VALUES ($1)", 1)
    await conn.execute("ROLLBACK")
    assert await held(conn, "kept") == 1


async def test_search_path(conn, observer):
    """A change of search_path leads a statement to the other table."""
    observer.execute("CREATE SCHEMA chopin_path")
    observer.execute("CREATE TABLE chopin_path.pg_mine AS SELECT 'x' AS z")
    try:
        await conn.execute("CREATE TEMP TABLE pg_mine AS SELECT 1 AS a")
        query = "SELECT * FROM pg_mine"
        assert await conn.fetchrow(query) == (1,)
        await conn.execute("SET search_path = chopin_path, pg_temp")
        row = await conn.fetchrow(query)
        assert dict(row) == {"z": "x"}
    finally:
        await conn.close()
        observer.execute("DROP SCHEMA chopin_path CASCADE")


UNSEEN = "DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$"


@pytest.mark.parametrize("forget", ["DEALLOCATE ALL", "DISCARD ALL", UNSEEN])
async def test_statements_taken_away(conn, forget):
    """Statements that the server has forgotten are prepared again, unseen."""
    query = "SELECT $1::int"
    for i in range(3):
        assert await conn.fetchval(query, i) == i
        await conn.execute(forget)
    assert await conn.execute(query, 1) == "SELECT 1"
    await conn.execute(forget)
    await conn.executemany(query, [(1,), (2,)])


async def test_statement_taken_away_inside_of_a_block(conn):
    """Inside of a block the error comes out; the next block is fine."""
    query = "SELECT $1::int"
    assert await conn.fetchval(query, 1) == 1
    with pytest.raises(chopin.InvalidSQLStatementNameError):
        async with conn.transaction():
            await conn.execute(UNSEEN)
            await conn.fetchval(query, 2)
    async with conn.transaction():
        assert await conn.fetchval(query, 3) == 3


async def test_dropped_table(conn, alter):
    """What cannot be healed is the server's own error."""
    query = "SELECT * FROM chopin_altered"
    await conn.fetch(query)
    alter("DROP TABLE chopin_altered")
    for _ in range(2):
        with pytest.raises(chopin.UndefinedTableError):
            await conn.fetch(query)
    assert await conn.fetchval("SELECT 1") == 1


async def test_dropped_type(conn):
    """A type made anew under the same name is looked up again."""
    query = "SELECT $1::pg_temp.mood"
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('calm')")
    assert await conn.fetchval(query, "calm") == "calm"
    await conn.execute("DROP TYPE pg_temp.mood")
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('wild')")
    assert await conn.fetchval(query, "wild") == "wild"
    await conn.reload_schema_state()
    assert await conn.fetchval(query, "wild") == "wild"


async def test_preparing_holds_no_lock(conn, alter):
    """A prepared statement that waits to be used does not keep others from DDL."""
    statement = await conn.prepare("SELECT * FROM chopin_altered")
    alter("SET lock_timeout = '5s'")
    alter("ALTER TABLE chopin_altered ADD b int")
    alter("RESET lock_timeout")
    assert await conn.fetchval("SELECT 1") == 1
    del statement


@pytest.mark.parametrize("query", ["EXECUTE nowhere", "DEALLOCATE nowhere"])
@pytest.mark.parametrize("way", ["execute", "fetch", "script", "batch", "executemany"])
async def test_statements_of_the_users_own(conn, query, way):
    """That they are not there does not mean that there is a pooler in between."""
    calls = {
        "execute": lambda: conn.execute(query),
        "fetch": lambda: conn.fetch(query),
        "script": lambda: conn.script(query),
        "batch": lambda: conn.batch([query]),
        "executemany": lambda: conn.executemany(query, [()]),
    }
    with pytest.raises(chopin.InvalidSQLStatementNameError):
        await calls[way]()
    assert not conn._session.pooled
    async with conn.listen("channel"):
        pass


@pytest.mark.parametrize("way", ["fetch", "batch"])
async def test_statement_dropped_while_arguments_are_encoded(conn, way):
    """It is closed with the next group."""
    kept = []

    def encode(value):
        kept.clear()
        return str(value)

    await conn.set_type_codec(
        "int4", schema="pg_catalog", encoder=encode, decoder=int, format="text"
    )
    query = "SELECT $1::int"
    await conn.fetchval(query, 1)
    first = await conn.prepare("SELECT 'dropped first'")
    kept.append(await conn.prepare("SELECT 'dropped meanwhile'"))
    del first
    if way == "fetch":
        await conn.fetch(query, 1)
    else:
        await conn.batch([(query, 1)])
    await conn.execute("SELECT 1")
    await conn.fetch("SELECT 2")
    assert await held(conn, "dropped") == 0


# Parameters that somebody else has given another type.

ALTERED = [
    ("bigint", 2**40, 2**40),
    ("text", "one", "one"),
    ("numeric", 1.5, Decimal("1.5")),
    ("int[]", [1, 2], [1, 2]),
]


@pytest.mark.parametrize("is_in_block", [False, True])
@pytest.mark.parametrize(("type_", "value", "stored"), ALTERED)
async def test_parameter_changed_by_another(
    conn, alter, type_, value, stored, is_in_block
):
    """A value that fits the column as it is now goes in, in each way of passing it."""
    insert = "INSERT INTO chopin_altered VALUES ($1) RETURNING a"
    await conn.fetch(insert, 1)
    await conn.executemany(insert, [(1,), (2,)])
    await conn.execute("DELETE FROM chopin_altered WHERE a = $1", 1)
    alter("TRUNCATE chopin_altered")
    alter(f"ALTER TABLE chopin_altered ALTER a TYPE {type_} USING null")
    async with conn.transaction() if is_in_block else contextlib.nullcontext():
        assert await conn.fetchval(insert, value) == stored
        await conn.execute("DELETE FROM chopin_altered WHERE a = $1", value)
        assert await conn.fetch("SELECT * FROM chopin_altered") == []
    assert (await conn.fetchrow(insert, value))["a"] == stored


async def test_many_parameters_changed_by_another(conn, alter):
    """Execute-many has the statement described again, if nothing of it was sent."""
    insert = "INSERT INTO chopin_altered VALUES ($1)"
    await conn.executemany(insert, [(1,), (2,)])
    alter("ALTER TABLE chopin_altered ALTER a TYPE bigint")
    await conn.executemany(insert, [(3,), (2**40,)])
    assert await conn.fetchval("SELECT max(a) FROM chopin_altered") == 2**40
    alter("ALTER TABLE chopin_altered ALTER a TYPE text")
    with pytest.raises(chopin.DataError, match="element #0 of executemany"):
        await conn.executemany(insert, iter([("a",), ("b",)]))  # is used up
    assert await conn.executemany(insert, [("a",), ("b",)]) == 2


async def in_a_pipeline(conn, *statements):
    """Queue statements, each by itself, and await them."""
    async with conn.pipeline() as pipeline:
        replies = [pipeline.fetch(*each) for each in statements]
        return [await reply for reply in replies]


async def in_a_group(conn, *statements):
    """Queue statements as a group of a pipeline, and await them."""
    async with conn.pipeline(barrier="group") as pipeline:
        replies = [pipeline.fetch(*each) for each in statements]
        return [await reply for reply in reversed(replies)][::-1]


async def in_a_batch(conn, *statements):
    """Send statements as a batch."""
    return await conn.batch(statements)


@pytest.mark.parametrize("send", [in_a_pipeline, in_a_group, in_a_batch])
async def test_parameters_of_several_changed_by_another(conn, alter, send):
    """Each statement that has ceased to fit is described again, ahead of the flight."""
    insert = "INSERT INTO chopin_altered VALUES ($1) RETURNING a"
    select = "SELECT a FROM chopin_altered WHERE a = $1"
    await send(conn, (insert, 5), (select, 5))
    alter("ALTER TABLE chopin_altered ALTER a TYPE text")
    *_, rows = await send(conn, (select, "1"), (insert, "one"), (select, "one"))
    assert [row["a"] for row in rows] == ["one"]
    with pytest.raises(chopin.DataError, match="expected str, got int"):
        await send(conn, (select, "1"), (insert, 5))
    assert len(await conn.fetch("SELECT * FROM chopin_altered")) == 3


async def test_unfit_argument_costs_one_description(connect, tcp_dsn):
    """An argument that fits neither before nor after asks the server once."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        query = "SELECT $1::int"
        await conn.fetch(query, 1)
        wire.clear()
        for _ in range(3):
            with pytest.raises(chopin.DataError, match="argument \\$1: 'one'"):
                await conn.fetch(query, "one")
            with pytest.raises(chopin.DataError, match="element #0"):
                await conn.executemany("SELECT $1::int, 2", [("one",)])
        assert wire.round_trips == ["CPDS", "PDS"]
        assert await conn.fetchval(query, 2) == 2


async def test_unfit_argument_in_a_failed_block(conn):
    """Nothing can be asked there; the error is that of the argument."""
    await conn.fetch("SELECT $1::int", 1)
    async with conn.transaction():
        with pytest.raises(chopin.UndefinedTableError):
            await conn.execute("SELECT 1 FROM nowhere")
        with pytest.raises(chopin.DataError, match="argument \\$1: 'one'"):
            await conn.fetch("SELECT $1::int", "one")
        await conn.execute("ROLLBACK")
