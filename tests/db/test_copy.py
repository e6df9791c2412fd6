"""COPY into tables and out of them, on connections and pools, rows and bytes."""

import asyncio
import contextlib
import datetime
import decimal
import gc
import io
import os
import signal
import uuid

import asyncpg
import pytest

import chopin
from chopin import _copycolumns
from tests.support.await_points import WHEN, Surroundings, cancel_at
from tests.support.backends import Gate, assert_whole, until_gone
from tests.support.pools import assert_serves, patience

MOST_SUSPENSIONS = 60
PROGRESS = "SELECT bytes_processed FROM pg_stat_progress_copy WHERE pid = %s"
WORKS = [(1, "Nocturnes"), (2, "tab\tand\\slash\n"), (3, None), (4, "Études")]


@pytest.fixture
async def works(conn):
    """A table ``works (id int PRIMARY KEY, title text)``; returns its rows."""
    await conn.execute("CREATE TEMP TABLE works (id int PRIMARY KEY, title text)")

    async def rows():
        return [tuple(row) for row in await conn.fetch("TABLE works ORDER BY id")]

    return rows


async def read(stream):
    """All that comes, in a list."""
    return [item async for item in stream]


async def each(items):
    """An asynchronous iterable."""
    for item in items:
        await asyncio.sleep(0)
        yield item


# -- in --------------------------------------------------------------------------------


async def test_rows_go_in_by_one_and_by_many(conn, works):
    """Rows of any sequence, one by one, from iterables of both kinds."""
    async with conn.copy_in("works") as copy:
        await copy.write_row(WORKS[0])
        await copy.write_rows(iter([list(WORKS[1])]))
        await copy.write_rows(each([await conn_row(WORKS[2])]))
        await copy.write_rows([])
        await copy.write_row(WORKS[3])
        assert copy.rows == 4
        assert copy.status == ""
    assert copy.status == "COPY 4"
    assert copy.bytes > 60
    assert await works() == WORKS


async def conn_row(values):
    """The same values, as a list."""
    return list(values)


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({"format": "csv"}, b"1,Nocturnes\n2,\n"),
        ({"format": "text"}, b"1\tNocturnes\n2\t\\N\n"),
        (
            {"format": "csv", "header": True, "delimiter": ";"},
            b"a;b\n1;Nocturnes\n2;\n",
        ),
        ({"format": "csv", "columns": ["title", "id"]}, b"Nocturnes,1\n,2\n"),
        ({"format": "csv", "null": "?", "quote": "'"}, b"1,'Nocturnes'\n2,?\n"),
        (
            {"format": "text", "delimiter": "'", "null": "?"},
            b"1'Nocturnes\n2'?\n",
        ),
        ({"format": "csv", "encoding": "latin1"}, b"1,Nocturnes\n2,\n"),
        ({"format": "csv", "force_null": ["title"]}, b'1,Nocturnes\n2,""\n'),
        ({"format": "csv", "where": "id < 3"}, b"1,Nocturnes\n2,\n3,x\n"),
        ({"format": "csv", "header": "match"}, b"id,title\n1,Nocturnes\n2,\n"),
    ],
)
async def test_bytes_go_in(conn, works, options, data):
    """Bytes in a format, cut anywhere, with all options of COPY."""
    async with conn.copy_in("works", **options) as copy:
        await copy.write(data[:3])
        await copy.write(bytearray(data[3:5]))
        await copy.write(memoryview(data)[5:])
    assert copy.status == "COPY 2"
    assert copy.rows == 0
    assert await works() == [(1, "Nocturnes"), (2, None)]


async def test_more_than_any_buffer(conn, works):
    """Rows and bytes that are larger than what is sent at once."""
    rows = [(n, "x" * (300_000 if n % 7 == 0 else n)) for n in range(50)]
    assert await conn.copy_records_to_table("works", records=rows) == "COPY 50"
    assert await works() == rows
    await conn.execute("TRUNCATE works")
    data = "".join(f"{n},{text}\n" for n, text in rows).encode()
    assert await conn.copy_to_table("works", source=data, format="csv") == "COPY 50"
    assert await works() == rows


async def test_columns_that_copy_has(conn):
    """Neither dropped columns nor generated ones; identities; any order."""
    await conn.execute(
        'CREATE TEMP TABLE "T t" (gone int, a int, g int GENERATED ALWAYS AS (a * 2)'
        ' STORED, "B""b" text, n int GENERATED ALWAYS AS IDENTITY);'
        ' ALTER TABLE "T t" DROP COLUMN gone'
    )
    async with conn.copy_in("T t") as copy:
        await copy.write_row((1, "x", 7))
    async with conn.copy_in("T t", columns=['B"b', "a"]) as copy:
        await copy.write_row(("y", 2))
    assert await conn.fetch('TABLE "T t"') == [(1, 2, "x", 7), (2, 4, "y", 1)]
    assert await read(conn.copy_out("T t")) == [(1, "x", 7), (2, "y", 1)]
    got = await read(conn.copy_out("T t", columns=["n", 'B"b']))
    assert [dict(row) for row in got] == [{"n": 7, 'B"b': "x"}, {"n": 1, 'B"b': "y"}]


async def test_views_partitions_and_schemas(conn, observer):
    """Whatever COPY can write to, by its name, or (schema, name)."""
    observer.execute(
        'DROP SCHEMA IF EXISTS "Copy" CASCADE; CREATE SCHEMA "Copy";'
        ' CREATE TABLE "Copy".parted (a int, b text) PARTITION BY LIST (a);'
        ' CREATE TABLE "Copy".one PARTITION OF "Copy".parted FOR VALUES IN (1);'
        ' CREATE TABLE "Copy".two PARTITION OF "Copy".parted FOR VALUES IN (2);'
        ' CREATE VIEW "Copy".shown AS SELECT b FROM "Copy".parted;'
        ' CREATE FUNCTION "Copy".keep() RETURNS trigger LANGUAGE plpgsql AS'
        ' $$BEGIN INSERT INTO "Copy".parted VALUES (1, NEW.b); RETURN NEW; END$$;'
        ' CREATE TRIGGER keep INSTEAD OF INSERT ON "Copy".shown'
        ' FOR EACH ROW EXECUTE FUNCTION "Copy".keep()'
    )
    try:
        async with conn.copy_in(("Copy", "parted")) as copy:
            await copy.write_rows([(1, "x"), (2, "y")])
        async with conn.copy_in("shown", schema="Copy") as copy:
            await copy.write_row(("z",))
        assert await read(conn.copy_out("two", schema="Copy")) == [(2, "y")]
        got = await read(conn.copy_out('SELECT * FROM "Copy".parted ORDER BY b'))
        assert got == [(1, "x"), (2, "y"), (1, "z")]
        with pytest.raises(chopin.UndefinedTableError):
            await read(conn.copy_out("Copy.two"))
    finally:
        observer.execute('DROP SCHEMA "Copy" CASCADE')


async def test_names_are_only_names(conn, works):
    """Nothing in a name or an option is SQL."""
    evil = 'works" (id); DROP TABLE works; --'
    with pytest.raises(chopin.UndefinedTableError):
        await conn.copy_records_to_table(evil, records=[])
    with pytest.raises(chopin.UndefinedColumnError):
        await conn.copy_records_to_table("works", columns=[evil], records=[])
    evil = "'); DROP TABLE works; --"
    await read(conn.copy_out("works", format="csv", null=evil))
    assert await works() == []


async def test_rights_to_write_are_enough(connect, observer):
    """A role that may INSERT and not SELECT can copy in."""
    observer.execute(
        "DROP TABLE IF EXISTS letterbox; CREATE TABLE letterbox (a int, b text);"
        " GRANT INSERT ON letterbox TO scram_user"
    )
    try:
        conn = await connect()
        await conn.execute("SET ROLE scram_user")
        with pytest.raises(chopin.InsufficientPrivilegeError):
            await conn.fetch("TABLE letterbox")
        got = await conn.copy_records_to_table("letterbox", records=[(1, "x")])
        assert got == "COPY 1"
        await conn.execute("RESET ROLE")
        assert await conn.fetch("TABLE letterbox") == [(1, "x")]
    finally:
        observer.execute("DROP TABLE letterbox")


@pytest.mark.parametrize("change", ["int8", "timestamp", "text"])
async def test_types_of_today(conn, observer, change):
    """A type that somebody else has altered meanwhile is known at the next COPY."""
    observer.execute("DROP TABLE IF EXISTS altered; CREATE TABLE altered (a float8)")
    value = {
        "int8": 1 << 40,
        "timestamp": datetime.datetime(2027, 2, 22),
        "text": "x",
    }[change]
    try:
        for _ in range(2):
            await conn.copy_records_to_table("altered", records=[(0.5,)])
            assert await read(conn.copy_out("altered")) == [(0.5,)]
            observer.execute("TRUNCATE altered")
        observer.execute(
            f"ALTER TABLE altered ALTER a TYPE {change} USING NULL::{change}"
        )
        await conn.copy_records_to_table("altered", records=[(value,)])
        assert await read(conn.copy_out("altered")) == [(value,)]
        assert await read(conn.copy_out("SELECT a FROM altered")) == [(value,)]
    finally:
        observer.execute("DROP TABLE altered")


async def test_a_known_table_takes_no_question_of_its_own(conn, works, monkeypatch):
    """Question and COPY travel together from the second time on, but in a block."""
    asked = []
    ask = _copycolumns._ask

    async def counted(*args):
        asked.append(args)
        return await ask(*args)

    monkeypatch.setattr(_copycolumns, "_ask", counted)
    for n in range(3):
        await conn.copy_records_to_table("works", records=[(n, "x")])
    assert len(await read(conn.copy_out("works"))) == 3
    assert len(asked) == 1
    async with conn.transaction():
        await conn.execute("ALTER TABLE works ALTER title TYPE int USING 7")
        await conn.copy_records_to_table("works", records=[(3, 7)])
    assert len(asked) == 2
    await conn.execute("ALTER TABLE works ADD more int")
    await conn.copy_records_to_table("works", records=[(4, 7, 8)])
    with pytest.raises(chopin.DataError, match="columns"):
        await conn.copy_records_to_table("works", records=[(5, 7)])
    await conn.execute("DROP TABLE works")
    with pytest.raises(chopin.UndefinedTableError):
        await conn.copy_records_to_table("works", records=[(5, 7)])


VALUES = [
    ("int4", -7),
    ("float8", 1.5e-300),
    ("float4", float("inf")),
    ("bool", True),
    ("numeric", decimal.Decimal("-12.340")),
    ("text", 'a\tb\\N\n"\r,é'),
    ("varchar", "\\."),
    ("date", datetime.date(2027, 2, 28)),
    ("time", datetime.time(23, 59, 59, 999999)),
    ("timestamp", datetime.datetime(1, 1, 2)),
    ("timestamp", datetime.datetime.max),
    ("timestamptz", datetime.datetime.min),
    ("date", datetime.date.max),
    ("date[]", [datetime.date.min, None]),
    ('"char"', b"x"),
    ("pg_lsn", (1 << 32) + 10),
    ("int4multirange", [chopin.Range(1, 5), chopin.Range(7, 9)]),
    ("int4multirange[]", [[chopin.Range(1, 5)], [], None]),
    ("timestamptz", datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)),
    ("interval", datetime.timedelta(days=-3, microseconds=7)),
    ("uuid", uuid.UUID(int=7)),
    ("bytea", b"\0\\\xff"),
    ("jsonb", '{"a": "\\"\\n"}'),
    ("int4[]", [[1, 2], [3, None]]),
    ("text[]", ["", "null", 'a"b\\', "{x,y}", None]),
    ("int4range", chopin.Range(1, 5)),
    ("daterange", chopin.Range(empty=True)),
    ("tstzrange", chopin.Range(datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC))),
    ("bit(3)", chopin.BitString("101")),
    ("varbit", chopin.BitString("10101010 1")),
    ("inet", __import__("ipaddress").ip_interface("10.0.0.1/8")),
    ("cidr", __import__("ipaddress").ip_network("10.0.0.0/8")),
]


async def test_a_type_without_a_binary_form(conn):
    """All columns go as text then, and what is stored is the same; out by a query."""
    types = ", ".join(f"c{n} {name}" for n, (name, _) in enumerate(VALUES))
    await conn.execute(f"CREATE TEMP TABLE all_types (acl aclitem, {types})")
    rows = [
        ("postgres=r/postgres", *[value for _, value in VALUES]),
        (None, *[None for _ in VALUES]),
    ]
    user = await conn.fetchval("SELECT current_user")
    rows[0] = (f"{user}=r/{user}", *rows[0][1:])
    assert await conn.copy_records_to_table("all_types", records=rows) == "COPY 2"
    assert await conn.fetch("TABLE all_types") == rows
    stream = conn.copy_out("all_types")
    assert await read(stream) == rows
    assert (stream.status, stream.rows) == ("COPY 2", 2)
    got = await read(conn.copy_out("SELECT acl, c0 FROM all_types LIMIT 1"))
    assert got == [(f"{user}=r/{user}", -7)]


async def test_a_codec_of_the_users_for_text(conn):
    """It is used, and the rest of the row goes as text with it."""
    await conn.execute("CREATE TEMP TABLE prices (a int, price numeric, b timestamptz)")
    await conn.set_type_codec(
        "numeric", schema="pg_catalog", encoder=lambda v: f"{v}.5", decoder=lambda v: v
    )
    when = datetime.datetime(2027, 2, 22, tzinfo=datetime.UTC)
    await conn.copy_records_to_table("prices", records=[(1, 7, when)])
    assert await read(conn.copy_out("prices")) == [(1, "7.5", when)]
    with pytest.raises(chopin.DataError, match='column "a" of row 1'):
        await conn.copy_records_to_table("prices", records=[("x", 7, when)])


async def test_types_of_users(conn, observer):
    """Enums, domains and composite types are asked for as for queries."""
    observer.execute(
        "DROP SCHEMA IF EXISTS kinds CASCADE; CREATE SCHEMA kinds;"
        " CREATE TYPE kinds.mood AS ENUM ('sad', 'gay');"
        " CREATE DOMAIN kinds.small AS int CHECK (value < 10);"
        " CREATE TYPE kinds.pair AS (a int, m kinds.mood);"
        " CREATE TABLE kinds.t (m kinds.mood, s kinds.small, p kinds.pair[])"
    )
    row = ("gay", 7, [(1, "sad"), None])
    try:
        async with conn.copy_in("t", schema="kinds") as copy:
            await copy.write_row(row)
        assert await read(conn.copy_out(("kinds", "t"))) == [row]
    finally:
        observer.execute("DROP SCHEMA kinds CASCADE")


# -- errors and ends of COPY IN --------------------------------------------------------


async def test_an_exception_calls_it_off(conn, works):
    """Nothing is stored, the exception goes on, the connection is usable."""
    with pytest.raises(ZeroDivisionError):
        async with conn.copy_in("works") as copy:
            await copy.write_rows(WORKS)
            raise ZeroDivisionError
    assert copy.status == ""
    assert await works() == []
    with pytest.raises(chopin.InterfaceError, match="not open"):
        await copy.write_row((1, "x"))
    with pytest.raises(chopin.InterfaceError, match="once"):
        await copy.__aenter__()


async def test_a_value_that_does_not_fit(conn, works):
    """Row and column are in the message; nothing is stored, or the rest if caught."""
    with pytest.raises(
        chopin.DataError, match=r"invalid input for column \"id\" of row 2: 'x' \("
    ) as caught:
        await conn.copy_records_to_table("works", records=[(1, "a"), ("x", "b")])
    assert caught.value.kind == "client"
    assert await works() == []
    async with conn.copy_in("works") as copy:
        await copy.write_row((1, "a"))
        with contextlib.suppress(chopin.DataError):
            await copy.write_row((2, 7))
        await copy.write_row((3, "c"))
    assert await works() == [(1, "a"), (3, "c")]


async def test_the_server_refuses_a_row(conn, works):
    """Its error comes once, as it is, with the line, and the connection is usable."""
    with pytest.raises(chopin.UniqueViolationError) as caught:
        await conn.copy_records_to_table(
            "works", records=[(1, "a"), (2, "b"), (1, "c")]
        )
    assert "COPY works, line 3" in caught.value.context
    assert caught.value.query.startswith("COPY")
    assert await works() == []


async def test_the_server_refuses_in_the_middle(conn, works):
    """The next writes get the error; at the end it is not raised again."""
    async with conn.copy_in("works", format="csv") as copy:
        with pytest.raises(chopin.PostgresError, match="integer"):
            async with asyncio.timeout(60):
                while True:  # a busy server may take its time to end the command
                    await copy.write(b"x," + b"y" * 10_000 + b"\n")
        with pytest.raises(chopin.InterfaceError, match="not open"):
            await copy.write(b"1,x\n")
    assert copy.status == ""
    assert await works() == []


async def test_the_server_refuses_it_all(conn, works):
    """What is wrong with the command is raised where the block begins."""
    with pytest.raises(chopin.UndefinedTableError):
        async with conn.copy_in("nothing_there"):
            pytest.fail("the block was entered")
    with pytest.raises(chopin.UndefinedColumnError):
        async with conn.copy_in("works", columns=["id", "nope"]):
            pytest.fail("the block was entered")
    with pytest.raises(chopin.PostgresSyntaxError) as caught:
        async with conn.transaction(), conn.copy_in("works", where="id <"):
            pytest.fail("the block was entered")
    command = 'COPY "works"("id", "title") FROM STDIN (FORMAT binary) WHERE id <'
    assert int(caught.value.position) == len(command) + 1
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"table": "t", "columns": "a, b"}, TypeError),
        ({"table": ""}, ValueError),
        ({"table": 7}, TypeError),
        ({"table": ("a", "b", "c")}, ValueError),
        ({"table": ("a", "b"), "schema": "c"}, chopin.InterfaceError),
        ({"table": "t", "format": "parquet"}, ValueError),
        ({"table": "t", "delimiter": ";"}, chopin.InterfaceError),
        ({"table": "t", "timout": 5}, TypeError),
    ],
)
async def test_arguments_that_cannot_be_meant(conn, options, error):
    """They are refused before anything is sent."""
    with pytest.raises(error):
        conn.copy_in(**options)


async def test_options_that_cannot_be_meant(conn, works):
    """The value of an option is looked at before anything is sent."""
    for options in ({"delimiter": 7}, {"force_null": "title"}, {"on_error": "a b"}):
        with pytest.raises(TypeError, match=next(iter(options))):
            async with conn.copy_in("works", format="csv", **options):
                pytest.fail("the block was entered")
    assert await conn.fetchval("SELECT 1") == 1


async def test_rows_or_bytes(conn, works):
    """A COPY takes what it was begun for, and says so."""
    with pytest.raises(chopin.InterfaceError, match="takes rows"):
        async with conn.copy_in("works") as copy:
            await copy.write(b"1,x")
    with pytest.raises(chopin.InterfaceError, match="takes bytes"):
        async with conn.copy_in("works", format="csv") as copy:
            await copy.write_row((1, "x"))
    assert await works() == []


async def test_dropped_in_the_middle(conn, works):
    """A COPY that was entered by hand and forgotten is called off."""
    await conn.copy_in("works").__aenter__()
    gc.collect()
    assert await conn.fetchval("SELECT 1") == 1
    assert await works() == []


# -- others on the connection ----------------------------------------------------------


async def test_nobody_else_may_use_it(conn, works):
    """Calls of the own task and of others get an error, instead of waiting for ever."""
    refused = pytest.raises(chopin.InterfaceError, match="COPY or a stream is open")

    async def from_another_task():
        with refused:
            await conn.fetchval("SELECT 1")
        return True

    async with patience():
        async with conn.copy_in("works") as copy:
            await copy.write_row((1, "x"))
            for call in (conn.fetchval, conn.execute, conn.prepare):
                with refused:
                    await call("SELECT 1")
            with refused:
                await conn.executemany("SELECT $1::int", [(1,)])
            with refused:
                await read(conn.copy_out("works"))
            assert await asyncio.create_task(from_another_task())
            assert await asyncio.wait_for(from_another_task(), 5)
        async for _ in conn.copy_out("SELECT generate_series(1, 3)"):
            assert await asyncio.create_task(from_another_task())
        assert await works() == [(1, "x")]


async def test_a_source_that_uses_the_connection(conn, works):
    """It gets the error and so does the COPY, which stores nothing."""

    async def rows():
        yield (1, "x")
        yield (2, await conn.fetchval("SELECT 'y'"))

    async with patience():
        with pytest.raises(chopin.InterfaceError, match="COPY or a stream is open"):
            await conn.copy_records_to_table("works", records=rows())
    assert await works() == []


async def test_calls_that_came_before(conn, works):
    """What was sent ahead ends first; COPY waits for its turn."""
    before = [asyncio.create_task(conn.fetchval(f"SELECT {n}")) for n in range(3)]
    await asyncio.sleep(0)
    await conn.copy_records_to_table("works", records=WORKS)
    assert [await task for task in before] == [0, 1, 2]


async def test_in_a_transaction(conn, works):
    """COPY may be what begins a block; a block that is rolled back takes it along."""
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.copy_records_to_table("works", records=WORKS)
            assert await works() == WORKS
            raise ZeroDivisionError
    assert await works() == []
    async with conn.transaction():
        with contextlib.suppress(ZeroDivisionError):
            async with conn.transaction(), conn.copy_in("works") as copy:
                await copy.write_rows(WORKS)
                raise ZeroDivisionError
        await conn.copy_records_to_table("works", records=WORKS[:1])
        assert await read(conn.copy_out("works")) == WORKS[:1]
    assert await works() == WORKS[:1]


async def test_copy_left_open_at_the_end_of_a_transaction(conn, works):
    """The block cannot be committed: it is rolled back, and the COPY is called off."""
    copy = conn.copy_in("works")
    with pytest.raises(chopin.InterfaceError):
        async with conn.transaction():
            await copy.__aenter__()
            await copy.write_rows(WORKS)
    assert await works() == []


async def test_notices_and_notifications_in_between(conn, works, observer):
    """They reach their listeners while a COPY is open."""
    heard = asyncio.Event()
    conn.add_log_listener(lambda connection, message: heard.set())
    await conn.execute(
        "CREATE FUNCTION pg_temp.say() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE NOTICE 'row %', NEW.id; RETURN NEW; END$$;"
        " CREATE TRIGGER say BEFORE INSERT ON works FOR EACH ROW"
        " EXECUTE FUNCTION pg_temp.say(); LISTEN gossip"
    )
    async with patience(), conn.copy_in("works", format="csv") as copy:
        observer.execute("NOTIFY gossip")
        await copy.write(b"".join(b"%d,x\n" % n for n in range(20_000)))
        await heard.wait()
    assert copy.status == "COPY 20000"


async def test_query_loggers(conn, works):
    """COPY and streams are told of when they end, with their errors."""
    told = []
    with conn.query_logger(told.append):
        await conn.copy_records_to_table("works", records=WORKS)
        await read(conn.copy_out("works", format="csv"))
        await read(conn.stream("SELECT $1::int", 7))
        with pytest.raises(chopin.DivisionByZeroError):
            await read(conn.stream("SELECT 1/0"))
        async for _ in conn.stream("SELECT generate_series(1, 2)"):
            break
    await asyncio.sleep(0)
    own = [(each.query, each.args, type(each.exception)) for each in told]
    assert own == [
        ('COPY "works" FROM STDIN', (), type(None)),
        ('"works"', (), type(None)),
        ("SELECT $1::int", (7,), type(None)),
        ("SELECT 1/0", (), chopin.DivisionByZeroError),
        ("SELECT generate_series(1, 2)", (), type(None)),
    ]


# -- time-outs, cancellation, death ----------------------------------------------------


async def test_time_out_of_the_whole(conn, works, observer):
    """asyncpg's methods have one for everything; the connection stays usable."""
    with Gate(observer) as gate:
        await conn.execute(
            "CREATE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN PERFORM 1 FROM {gate.sql}; RETURN NEW; END$$;"
            " CREATE TRIGGER wait BEFORE INSERT ON works FOR EACH ROW"
            " EXECUTE FUNCTION pg_temp.wait()"
        )
        with pytest.raises(TimeoutError):
            await conn.copy_records_to_table("works", records=WORKS, timeout=0.1)
        with pytest.raises(TimeoutError):
            async with conn.copy_in("works", timeout=0.1) as copy:
                await copy.write_rows(WORKS)
        await assert_whole(conn, observer)
    assert await works() == []


async def copies_in(conn):
    await conn.copy_records_to_table("marks_of_copy", records=[(n,) for n in range(9)])


async def copies_bytes_in(conn):
    data = each([b"%d\n" % n for n in range(9)])
    await conn.copy_to_table("marks_of_copy", source=data)


async def writes(conn):
    async with conn.copy_in("marks_of_copy") as copy:
        await copy.write_rows([(n,) for n in range(9)])
        await asyncio.sleep(0)
        await copy.write_rows(each([]))


async def fails(conn):
    with contextlib.suppress(ZeroDivisionError):
        async with conn.copy_in("marks_of_copy") as copy:
            await copy.write_row((1,))
            raise ZeroDivisionError
    await writes(conn)


async def copies_out(conn):
    await read(conn.copy_out("marks_of_copy"))
    await writes(conn)


async def streams(conn):
    async with conn.stream("SELECT generate_series(1, $1::int)", 3) as rows:
        await read(rows)
    await writes(conn)


async def leaves_early(conn):
    async for _ in conn.stream("SELECT generate_series(1, 1000000)"):
        break
    await writes(conn)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(
    "operation",
    [copies_in, copies_bytes_in, writes, fails, copies_out, streams, leaves_early],
)
async def test_cancelled_at_every_await(connect, observer, tidy, operation, when):
    """Wherever it is: all or nothing is stored, and the connection is usable."""
    observer.execute("CREATE TABLE IF NOT EXISTS marks_of_copy (a int)")
    conn = await connect()
    for number in range(1, MOST_SUSPENSIONS):
        observer.execute("TRUNCATE marks_of_copy")
        before = Surroundings()
        is_cancelled = await cancel_at({number}, operation(conn), when)
        assert not conn.is_closed()
        await assert_whole(conn, observer)
        await before.check()
        stored = observer.execute("SELECT count(*) FROM marks_of_copy").fetchone()[0]
        if not is_cancelled:
            assert stored == 9
            return
        assert stored in (0, 9)
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("direction", ["in", "out", "stream"])
async def test_the_server_dies(connect, observer, direction):
    """kill -9 in the middle of it: an error, and nobody waits for ever."""
    from chopin.testing import TemporaryServer

    with TemporaryServer() as server:
        conn = await connect(server.dsn)
        await conn.execute("CREATE TABLE t (a int, b text)")
        is_alive = True

        def kill():
            nonlocal is_alive
            if is_alive:
                is_alive = False
                os.kill(conn.get_server_pid(), signal.SIGKILL)

        async with patience():
            with pytest.raises((chopin.ConnectionDoesNotExistError, OSError)):
                if direction == "in":
                    async with conn.copy_in("t") as copy:
                        kill()
                        while True:
                            await copy.write_row((1, "x" * 1000))
                elif direction == "out":
                    query = "SELECT generate_series(1, 100000000)"
                    async for _ in conn.copy_out(query):
                        kill()
                else:
                    async for _ in conn.stream("SELECT generate_series(1, 100000000)"):
                        kill()
            assert conn.is_closed()


async def test_closed_in_the_middle(connect):
    """`close()` from elsewhere ends a COPY with an error that says so."""
    conn = await connect()
    await conn.execute("CREATE TEMP TABLE t (a int)")
    async with patience():
        with pytest.raises(chopin.InterfaceError):
            async with conn.copy_in("t") as copy:
                await copy.write_row((1,))
                await conn.close()
                await copy.write_row((2,))
        assert conn.is_closed()
        conn = await connect()
        with pytest.raises(chopin.InterfaceError):
            async for _ in conn.stream("SELECT generate_series(1, 10000000)"):
                await conn.close()


# -- out -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "options", "want"),
    [
        ("works", {}, [(1, "x"), (2, None)]),
        (("pg_temp", "works"), {}, [(1, "x"), (2, None)]),
        ("works", {"columns": ["title"]}, [("x",), (None,)]),
        ("SELECT id + 1 AS n FROM works", {}, [(2,), (3,)]),
        ("SELECT id FROM works; ", {}, [(1,), (2,)]),
        ("  -- a comment\n(SELECT id FROM works) -- another", {}, [(1,), (2,)]),
        ("/* a */ WITH w AS (TABLE works) TABLE w", {}, [(1, "x"), (2, None)]),
        ("VALUES (1, 'a')", {}, [(1, "a")]),
        ("UPDATE works SET id = id + 5 RETURNING id", {}, [(6,), (7,)]),
        ("works", {"format": "csv"}, [b"1,x\n2,\n"]),
        ("works", {"format": "text"}, [b"1\tx\n2\t\\N\n"]),
        ("works", {"format": "csv", "header": True}, [b"id,title\n1,x\n2,\n"]),
        (
            "works",
            {"format": "csv", "force_quote": ["title"], "quote": "'"},
            [b"1,'x'\n2,\n"],
        ),
        ("works", {"format": "csv", "force_quote": True}, [b'"1","x"\n"2",\n']),
        ("works", {"format": "csv", "force_quote": False}, [b"1,x\n2,\n"]),
        ("works", {"format": "csv", "null": "\\", "delimiter": "'"}, [b"1'x\n2'\\\n"]),
        ("SELECT 1 WHERE false", {"format": "csv"}, []),
        ("SELECT 1 WHERE false", {}, []),
    ],
)
async def test_out(conn, works, source, options, want):
    """Tables and queries, as rows and as bytes."""
    await conn.copy_records_to_table("works", records=[(1, "x"), (2, None)])
    async with conn.copy_out(source, **options) as stream:
        assert await read(stream) == want
    assert stream.status.startswith("COPY ")
    assert stream.bytes > 0 or want == []
    assert stream.rows == (0 if "format" in options else len(want))
    assert await read(conn.copy_out(source, **options)) is not None


async def test_arguments(conn):
    """They become literals where bytes are wanted, as no text of theirs could."""
    text = "it's \\ $1 \x7f é"
    query = (
        "SELECT $1 AS a, '$1' AS b, $2::int + 1 /* $1 /* $2 */ */, $tag$ $1 $tag$,"
        " e'\\'$2', $3::timestamptz, $4::int[] AS \"$4\", $5::text IS NULL -- $5"
    )
    when = datetime.datetime(2027, 2, 22, tzinfo=datetime.UTC)
    args = (text, 7, when, [1, None], None)
    rows = await read(conn.copy_out(query, *args))
    assert rows == [(text, "$1", 8, " $1 ", "'$2", when, [1, None], True)]
    for setting in ("on", "off"):
        await conn.execute(f"SET standard_conforming_strings = {setting}")
        (data,) = await read(conn.copy_out(query, *args, format="csv"))
        fields = data.decode().rstrip("\n").split(",", 6)
        assert fields[:5] == [text, "$1", "8", " $1 ", "'$2"]
        assert fields[6] == '"{1,NULL}",t'
    with pytest.raises(chopin.InterfaceError, match="expects 5 arguments"):
        await read(conn.copy_out(query, 1, format="csv"))
    with pytest.raises(chopin.DataError, match="\\$2"):
        await read(conn.copy_out(query, text, "x", when, [], None, format="csv"))
    with pytest.raises(chopin.InterfaceError, match="arguments are for a query"):
        conn.copy_out("works", 7)
    with pytest.raises(chopin.InterfaceError, match="columns"):
        conn.copy_out("SELECT 1", columns=["a"])


async def test_round_trips_of_arguments(conn):
    """Described once; then a question for the literals, and COPY."""
    query = "SELECT $1::int"
    for expected in (3, 2, 2):
        before = conn._session.submitted
        await read(conn.copy_out(query, 7, format="csv"))
        assert conn._session.submitted - before == expected


class Row(chopin.Record):
    """A record class of the user's own."""


async def test_shapes(conn):
    """Rows become what a query's rows can become."""
    query = "SELECT 1 AS a, 'x' AS b"
    for rows in (conn.copy_out, conn.stream):
        (row,) = await read(rows(query, record_class=Row))
        assert (type(row), row["b"]) == (Row, "x")
        assert await read(rows(query, into=dict)) == [{"a": 1, "b": "x"}]
        assert await read(rows(query, into=tuple)) == [(1, "x")]
    await conn.execute("CREATE TEMP TABLE t AS SELECT 1 AS a")
    assert await read(conn.copy_out("t", into=dict)) == [{"a": 1}]
    with pytest.raises(chopin.InterfaceError, match="no rows"):
        conn.copy_out("t", format="csv", into=dict)


async def test_an_error_in_the_middle_of_out(conn):
    """What came before is there; then the server's error, and the connection works."""
    query = "SELECT 1 / (5 - i) FROM generate_series(1, 9) AS i"
    got = []
    with pytest.raises(chopin.DivisionByZeroError):
        async for row in conn.copy_out(query):
            got.append(row[0])
    assert got in ([0, 0, 0, 1], [])
    assert await conn.fetchval("SELECT 1") == 1


# -- asyncpg's methods -----------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"format": "csv"},
        {"format": "csv", "header": True, "delimiter": "|", "null": "?"},
        {"format": "csv", "force_quote": True, "quote": "'", "escape": "!"},
        {"format": "csv", "force_quote": ["title"]},
        {"format": "binary", "columns": ["title"]},
        {"columns": ["title", "id"], "encoding": "utf-8"},
    ],
)
async def test_as_asyncpg_does(conn, dsn, observer, options, tmp_path):
    """The same calls give the same bytes, tags and rows."""
    observer.execute(
        "DROP TABLE IF EXISTS compared; CREATE TABLE compared (id int, title text);"
        " INSERT INTO compared VALUES (1, 'x'), (2, NULL), (3, 'a|b''!\"')"
    )
    other = await asyncpg.connect(dsn)
    try:
        got = []
        for number, one in enumerate((other, conn)):
            path = tmp_path / str(number)
            out = io.BytesIO()
            tags = [await one.copy_from_table("compared", output=path, **options)]
            tags.append(await one.copy_from_table("compared", output=out, **options))
            assert path.read_bytes() == out.getvalue()
            into = {
                name: value for name, value in options.items() if name != "force_quote"
            }
            tags.append(await one.copy_to_table("compared", source=path, **into))
            out.seek(0)
            tags.append(
                await one.copy_to_table("compared", source=out, where="id > 1", **into)
                if "id" in into.get("columns", ["id"])
                else None
            )
            rows = observer.execute("SELECT * FROM compared ORDER BY 1, 2").fetchall()
            observer.execute(
                "TRUNCATE compared; INSERT INTO compared VALUES (1, 'x'), (2, NULL),"
                " (3, 'a|b''!\"')"
            )
            got.append((out.getvalue(), tags, rows))
        assert got[0] == got[1]
    finally:
        await other.close()
        observer.execute("DROP TABLE compared")


async def test_outputs_and_sources(conn, works, tmp_path):
    """Paths, files, functions, iterables and buffers; what we opened is closed."""
    path = tmp_path / "works.csv"
    await conn.copy_records_to_table("works", records=WORKS)
    got = []

    async def write(data):
        got.append(data)

    query = "SELECT * FROM works WHERE id < $1"
    assert await conn.copy_from_query(query, 3, output=write, format="csv") == "COPY 2"
    with path.open("wb") as file:
        assert (
            await conn.copy_from_query(query, 3, output=file, format="csv") == "COPY 2"
        )
        assert not file.closed
    assert path.read_bytes() == b"".join(got)
    assert await conn.copy_from_query(query, 5, output=str(path)) == "COPY 4"
    data = path.read_bytes()
    for source in (path, str(path), io.BytesIO(data), data, each([data[:5], data[5:]])):
        await conn.execute("TRUNCATE works")
        assert await conn.copy_to_table("works", source=source) == "COPY 4"
        assert await works() == WORKS
    with pytest.raises(TypeError, match="output is expected to be"):
        await conn.copy_from_table("works", output=7)
    with pytest.raises(TypeError):
        await conn.copy_to_table("works", source=7)
    with pytest.raises(TypeError):
        await conn.copy_to_table("works", source=io.StringIO("1\tx"))
    with pytest.raises(FileNotFoundError):
        await conn.copy_to_table("works", source=tmp_path / "none")
    assert await works() == WORKS


async def test_an_output_that_fails(conn, works):
    """Its error is raised, and the server stops."""

    async def write(data):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        await conn.copy_from_query("SELECT generate_series(1, 10000000)", output=write)
    assert await conn.fetchval("SELECT 1") == 1


# -- pools -----------------------------------------------------------------------------


async def test_on_a_pool(create, observer):
    """All of it; the connection goes back in the end, however that comes."""
    observer.execute("DROP TABLE IF EXISTS pooled; CREATE TABLE pooled (a int, b text)")
    try:
        async with create(max_size=1) as pool, patience():
            records = [(1, "x"), (2, "y")]
            assert (
                await pool.copy_records_to_table("pooled", records=records) == "COPY 2"
            )
            async with pool.copy_in("pooled") as copy:
                await copy.write_row((3, "z"))
            assert len(await read(pool.copy_out("pooled"))) == 3
            with pytest.raises(ZeroDivisionError):
                async with pool.copy_in("pooled") as copy:
                    await copy.write_row((4, "z"))
                    raise ZeroDivisionError
            async for _ in pool.stream("SELECT generate_series(1, 1000000)"):
                break
            assert await pool.fetchval("SELECT count(*) FROM pooled") == 3
            async with pool.stream("SELECT generate_series(1, 1000000)") as rows:
                assert await anext(aiter(rows)) == (1,)
            with pytest.raises(chopin.UndefinedTableError):
                await pool.copy_records_to_table("nope", records=[])
            with pytest.raises(chopin.DivisionByZeroError):
                await read(pool.stream("SELECT 1/0"))
            out = io.BytesIO()
            assert await pool.copy_from_table("pooled", output=out) == "COPY 3"
            await assert_serves(pool, size=1)
    finally:
        observer.execute("DROP TABLE pooled")


async def test_a_pool_with_hooks(create):
    """`reset` is called for a stream that was dropped too, and then it is free."""
    calls = []

    async def reset(conn):
        calls.append(await conn.fetchval("SELECT 1"))

    async with create(max_size=1, reset=reset) as pool, patience():
        async for _ in pool.stream("SELECT generate_series(1, 1000000)"):
            break
        await pool.copy_from_query("SELECT 1", output=io.BytesIO())
        assert calls == [1, 1]


async def test_released_with_a_stream_open(create):
    """A stream on a connection that was given back ends, and hurts nobody."""
    async with create(max_size=1) as pool, patience():
        conn = await pool.acquire()
        rows = conn.stream("SELECT generate_series(1, 10000000)")
        iterator = aiter(rows)
        assert await anext(iterator) == (1,)
        await pool.release(conn)
        with pytest.raises(chopin.InterfaceError):
            await read(iterator)
        await assert_serves(pool, size=1)
        with pytest.raises(chopin.InterfaceError):
            conn.copy_out("t")


async def test_many_streams_of_a_pool_dropped(create):
    """A storm of streams that are left early, called off, cancelled."""
    async with create(max_size=3) as pool, patience():

        async def use(number):
            if number % 3 == 0:
                async for _ in pool.stream("SELECT generate_series(1, 100000)"):
                    break
            elif number % 3 == 1:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001 * number):
                        await read(pool.copy_out("SELECT generate_series(1, 100000)"))
            else:
                assert len(await read(pool.stream("SELECT generate_series(1, 9)"))) == 9

        await asyncio.gather(*map(use, range(60)))
        await assert_serves(pool)


# -- back-pressure ---------------------------------------------------------------------


async def test_a_reader_that_sleeps_stops_the_server(conn, observer):
    """COPY stands still on the server until what it has sent is taken."""
    query = "SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) AS i"
    pid = conn.get_server_pid()

    def progress():
        row = observer.execute(PROGRESS, [pid]).fetchone()
        return None if row is None else row[0]

    async with patience(), conn.copy_out(query) as rows:
        iterator = aiter(rows)
        assert (await anext(iterator))[0] == 1
        # what the kernel holds is sent at first; then it stands
        seen = []
        while len(set(seen[-20:])) > 1 or len(seen) < 20:
            observer.execute("SELECT pg_sleep(0.002)")
            await asyncio.sleep(0)
            seen.append(progress())
        stands = seen[-1]
        assert stands < 20_000_000
        assert rows.bytes < 2_000_000
        assert len(await read(iterator)) == 99_999
    assert rows.rows == 100_000


async def test_memory_is_flat(conn):
    """200,000 rows go through without being gathered on our side."""
    await conn.execute("CREATE TEMP TABLE t (a int, b text)")

    def rows():
        for n in range(200_000):
            yield n, f"row number {n}"
            assert copy.rows - n < 2

    async with conn.copy_in("t") as copy:
        await copy.write_rows(rows())
    stream = conn.copy_out("t")
    most = n = 0
    async for _ in stream:
        n += 1
        most = max(most, stream.rows - n)
    assert n == 200_000
    assert most < 60_000


async def test_killed_while_stopped(connect, observer):
    """A server that ends while nobody reads is found out when reading goes on."""
    conn = await connect()
    query = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
    lost = (chopin.ConnectionDoesNotExistError, chopin.AdminShutdownError)
    pid = None
    async with patience():
        with pytest.raises(lost):
            async for _ in conn.stream(query):
                if pid is None:
                    pid = conn.get_server_pid()
                    observer.execute("SELECT pg_terminate_backend(%s)", [pid])
                    await until_gone(observer, pid)
    assert conn.is_closed()
