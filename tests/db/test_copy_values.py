"""COPY and streams where a wrong value, or a lost one, would go unseen."""

import asyncio
import contextlib
import datetime
import io

import pytest

import chopin
from chopin import _copycolumns

THEN = datetime.datetime(2027, 2, 22)


async def read(stream):
    """All that comes, in a list."""
    return [item async for item in stream]


async def until_waiting(observer, conn):
    """Until a connection waits for a lock."""
    waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1"
    while await observer.fetchval(waits, conn.get_server_pid()) != "Lock":
        await observer.execute("SELECT pg_stat_clear_snapshot()")
        await asyncio.sleep(0)


@pytest.fixture
async def table(connect):
    """Makes a table that other sessions see: its name, for columns as SQL."""
    maker = await connect()
    names = []

    async def make(columns, name="of_today"):
        await maker.execute(f"CREATE TABLE {name} ({columns})")
        names.append(name)
        return name

    yield make
    for name in names:
        await maker.execute(f"DROP TABLE {name}")


# -- the columns of today --------------------------------------------------------------


@pytest.mark.parametrize("is_known", [False, True])
async def test_altered_while_copy_waits_for_it(connect, conn, table, is_known):
    """Who waits for the end of an ALTER TABLE takes the types that it leaves."""
    name = await table("a int8")
    if is_known:
        await conn.copy_records_to_table(name, records=[(1,)])
    other = await connect()
    async with other.transaction():
        await other.execute(f"ALTER TABLE {name} ALTER a TYPE timestamp USING now()")
        copy = asyncio.create_task(conn.copy_records_to_table(name, records=[(5,)]))
        await until_waiting(other, conn)
    with pytest.raises(chopin.DataError, match="expected a datetime"):
        await copy
    assert await conn.copy_records_to_table(name, records=[(THEN,)]) == "COPY 1"
    assert THEN in [row[0] for row in await conn.fetch(f"SELECT a FROM {name}")]


@pytest.mark.parametrize("is_known", [False, True])
async def test_altered_behind_a_lock_that_questions_pass(
    connect, conn, table, is_known
):
    """No ALTER TABLE comes between what was asked and what is written."""
    name = await table("a int8")
    if is_known:
        await conn.copy_records_to_table(name, records=[(1,)])
    other = await connect()
    for each in conn, other:
        await each.execute("SET deadlock_timeout = '20ms'")
    alter = f"ALTER TABLE {name} ALTER a TYPE timestamp USING now()"
    transaction = other.transaction()
    await transaction.start()
    await other.execute(f"LOCK TABLE {name} IN SHARE MODE")  # as CREATE INDEX does
    copy = asyncio.create_task(conn.copy_records_to_table(name, records=[(5,)]))
    await until_waiting(other, conn)
    try:
        await other.execute(alter)
        await transaction.commit()
    except chopin.DeadlockDetectedError:
        await transaction.rollback()
    try:
        assert await copy == "COPY 1"
    except chopin.DeadlockDetectedError:
        assert await conn.fetch(f"SELECT FROM {name} WHERE extract(year from a) < 2020")
    else:
        assert 5 in [row[0] for row in await conn.fetch(f"SELECT a FROM {name}")]


async def test_rows_are_written_once_more(connect, conn, table):
    """What was written before the server has refused the old columns is not lost."""
    name = await table("a int4, b text")
    await conn.copy_records_to_table(name, records=[(0, "x")])
    other = await connect()
    for count, change in (3, "ADD c int"), (40_000, "ALTER a TYPE int8"), (1, "DROP c"):
        await other.execute(f"TRUNCATE {name}")
        await other.execute(f"ALTER TABLE {name} {change}")
        columns = ["a", "b"]
        if change == "DROP c":
            columns.append("c")
            with pytest.raises(chopin.UndefinedColumnError):
                await conn.copy_records_to_table(
                    name, records=[(1, "y", 2)], columns=columns
                )
            continue
        rows = [(i, "y" * 5) for i in range(count)]
        done = await conn.copy_records_to_table(name, records=rows, columns=columns)
        assert done == f"COPY {count}"
        assert await read(conn.stream(f"SELECT a, b FROM {name} ORDER BY a")) == rows
        async with conn.copy_in(name, columns=columns) as copy:
            await copy.write_row((-1, "z"))
        assert (copy.rows, copy.status) == (1, "COPY 1")
    assert await conn.fetchval("SELECT 1") == 1


class Overwriting:
    """A row that puts its values where those of the row before are."""

    def __init__(self, number, values):
        self.number, self.values = number, values

    def __iter__(self):
        for each in self.values:
            each[0] = self.number
        return iter(self.values)


def overwritten(kind):
    """Rows of a list and a bytearray, each time with the next number in them."""
    values = [0], bytearray(1)
    numbers = range(3)
    if kind == "a list":
        return [([number], bytearray([number])) for number in numbers]
    if kind == "rows":
        return [Overwriting(number, values) for number in numbers]
    if kind == "a generator":
        return (tuple(Overwriting(number, values)) for number in numbers)

    async def made():
        for number in numbers:
            yield tuple(Overwriting(number, values))

    return made()


@pytest.mark.parametrize("kind", ["a list", "rows", "a generator", "asynchronous"])
@pytest.mark.parametrize("is_altered", [True, False])
async def test_values_that_change_are_written_once_more(
    connect, conn, table, is_altered, kind
):
    """They are stored as they were given, and not as they have become since."""
    name = await table("a int4[], b bytea")
    await conn.copy_records_to_table(name, records=[([9], b"x")])
    other = await connect()
    await other.execute(f"TRUNCATE {name}")
    if is_altered:
        await other.execute(f"ALTER TABLE {name} ALTER a TYPE int8[]")
    else:
        await conn.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
    done = await conn.copy_records_to_table(name, records=overwritten(kind))
    assert done == "COPY 3"
    want = [([number], bytes([number])) for number in range(3)]
    assert await read(conn.stream(f"SELECT a, b FROM {name} ORDER BY a")) == want


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize("count", [1, 40_000])
async def test_another_table_of_the_name(connect, table, size, count):
    """Rows are written once where a table took the place of one just like it."""
    name = await table("a int4, b text")
    conn, other = await connect(statement_cache_size=size), await connect()
    rows = [(i, "y" * 5) for i in range(count)]
    generated = "b text GENERATED ALWAYS AS ('z') STORED"
    for change in (
        f"DROP TABLE {name}; CREATE TABLE {name} (a int4, b text)",
        f"ALTER TABLE {name} DROP b; ALTER TABLE {name} ADD b text",
        f"ALTER TABLE {name} DROP b; ALTER TABLE {name} ADD {generated}",
    ):
        await conn.copy_records_to_table(name, records=[(0, "x")])
        await read(conn.copy_out(name))
        await other.execute(f"TRUNCATE {name}; {change}")
        if change.endswith(generated):
            await other.execute(f"INSERT INTO {name} SELECT generate_series(1, 5)")
            assert await read(conn.copy_out(name)) == [(i,) for i in range(1, 6)]
            continue
        done = await conn.copy_records_to_table(name, records=rows)
        assert done == f"COPY {count}"
        assert await read(conn.copy_out(name)) == rows


@pytest.mark.parametrize("size", [0, 100])
async def test_out_of_a_table_that_was_altered(connect, table, size):
    """The rows of today come, unseen."""
    name = await table("a int4")
    conn, other = await connect(statement_cache_size=size), await connect()
    await other.execute(f"INSERT INTO {name} VALUES (1)")
    for change in "ALTER a TYPE int8", "ADD b int":
        before = await read(conn.copy_out(name))
        await other.execute(f"ALTER TABLE {name} {change}")
        assert [row[0] for row in await read(conn.copy_out(name))] == [before[0][0]]


async def test_columns_that_never_hold(conn, table):
    """What fails as if the table had changed is not tried for ever."""
    name = await table("a int4")
    await conn.execute(
        "CREATE FUNCTION pg_temp.stale() RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$"
        " BEGIN RAISE 'cache lookup failed' USING ERRCODE = 'XX000'; END $$"
    )
    with pytest.raises(chopin.InternalServerError, match="cache lookup failed"):
        await conn.copy_records_to_table(name, records=[(1,)], where="pg_temp.stale()")
    assert await conn.fetchval("SELECT 1") == 1


async def test_altered_since_the_snapshot_of_the_block(connect, conn, table):
    """The types of the table count, and not those that the block may see."""
    name = await table("a int8")
    other = await connect()
    async with conn.transaction(isolation="repeatable_read"):
        await conn.execute("SELECT 1")
        await other.execute(f"ALTER TABLE {name} ALTER a TYPE timestamp USING now()")
        with pytest.raises(chopin.DataError, match="expected a datetime"):
            async with conn.transaction():
                await conn.copy_records_to_table(name, records=[(5,)])
        await conn.copy_records_to_table(name, records=[(THEN,)])
    assert await conn.fetchval(f"SELECT a FROM {name}") == THEN


async def test_other_columns_of_the_same_number(connect, conn, table):
    """A column that took the place of another is not written by mistake."""
    name = await table("a int, b int")
    await conn.copy_records_to_table(name, records=[(1, 2)])
    other = await connect()
    await other.execute(f"ALTER TABLE {name} DROP a, ADD c text")
    with pytest.raises(chopin.DataError, match='column "c"'):
        await conn.copy_records_to_table(name, records=[(3, 4)])
    assert await conn.copy_records_to_table(name, records=[(5, "x")]) == "COPY 1"
    assert await read(conn.copy_out(name)) == [(2, None), (5, "x")]


async def test_a_column_that_is_no_longer_generated(connect, conn, table):
    """It counts from then on."""
    name = await table("a int, b int GENERATED ALWAYS AS (a + 1) STORED")
    await conn.copy_records_to_table(name, records=[(1,)])
    assert await read(conn.copy_out(name)) == [(1,)]
    other = await connect()
    await other.execute(f"ALTER TABLE {name} ALTER b DROP EXPRESSION")
    await conn.copy_records_to_table(name, records=[(3, 7)])
    assert await read(conn.copy_out(name)) == [(1, 2), (3, 7)]


async def test_a_query_altered_in_between(connect, conn, table, monkeypatch):
    """Described, altered and copied: an error, and no value of another type."""
    name = await table("a int8")
    other = await connect()
    learn = _copycolumns.learn_types

    async def alter(*args):
        await learn(*args)
        await other.execute(f"ALTER TABLE {name} ALTER a TYPE timestamp USING now()")
        await other.execute(f"INSERT INTO {name} VALUES (now())")

    monkeypatch.setattr(_copycolumns, "learn_types", alter)
    with pytest.raises(chopin.InvalidCachedStatementError, match="try again"):
        await read(conn.copy_out(f"SELECT a FROM {name}"))
    monkeypatch.undo()
    ((value,),) = await read(conn.copy_out(f"SELECT a FROM {name}"))
    assert isinstance(value, datetime.datetime)


async def test_no_columns(conn, table):
    """A table without columns has rows all the same."""
    name = await table("")
    assert await conn.copy_records_to_table(name, records=[(), ()]) == "COPY 2"
    assert await read(conn.copy_out(name)) == [(), ()]


async def test_a_partitioned_table_out(conn):
    """The server refuses it, whether its columns have a binary form or not."""
    for number, kind in enumerate(("int", "aclitem")):
        await conn.execute(
            f"CREATE TEMP TABLE parted{number} (a {kind}, b int) PARTITION BY LIST (b)"
        )
        with pytest.raises(chopin.WrongObjectTypeError, match="partitioned"):
            await read(conn.copy_out(f"parted{number}"))
    assert await conn.fetchval("SELECT 1") == 1


async def test_a_codec_of_the_users_for_the_type_of_names(conn):
    """What we ask the server ourselves does not go through it."""
    await conn.execute("CREATE TEMP TABLE loud (a text, b int)")
    await conn.set_type_codec(
        "text", schema="pg_catalog", encoder=str.upper, decoder=str.lower
    )
    await conn.copy_records_to_table("loud", records=[("x", 1)])
    (data,) = await read(conn.copy_out("SELECT a FROM loud WHERE a = $1", "x",
                                       format="csv"))  # fmt: skip
    assert data == b"X\n"


# -- arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("char(3)", "abc", "abc"),
        ("bpchar", "abc", "abc"),
        ("bit(4)", chopin.BitString("1010"), "1010"),
        ("varchar(2)", "ab", "ab"),
        ("numeric(6, 2)", 7, "7.00"),
        ('"char"', b"x", "x"),
        ("interval", datetime.timedelta(days=-1, seconds=5), "-1 days +00:00:05"),
        ("bool", True, "t"),
        ("text", "it's \\ \n", None),
    ],
)
async def test_arguments_that_are_compared(conn, kind, value, text):
    """A literal is the whole value, of a type that has a length by default too."""
    await conn.execute(f"CREATE TEMP TABLE compared (a {kind})")
    await conn.execute("INSERT INTO compared VALUES ($1)", value)
    query = "SELECT a FROM compared WHERE a = $1 AND a = ANY($2)"
    for args in ((value, [value]),):
        (data,) = await read(conn.copy_out(query, *args, format="text"))
        assert text is None or data.decode() == f"{text}\n"
    query = "SELECT a FROM compared WHERE a = $1 OR $1 IS NULL"
    assert len(await read(conn.copy_out(query, None, format="text"))) == 1


@pytest.mark.parametrize("in_a_block", [False, True])
async def test_arguments_under_settings_that_lose_something(conn, in_a_block):
    """A literal is exact however values look, and the settings stay as they are."""
    settings = {
        "DateStyle": "SQL, DMY",
        "extra_float_digits": "-5",
        "TimeZone": "Asia/Kolkata",  # IST is Israel's too
        "IntervalStyle": "sql_standard",
    }
    for name, value in settings.items():
        await conn.execute(f"SET {name} = '{value}'")
    then = datetime.datetime(2027, 2, 1, 12, tzinfo=datetime.UTC)
    span = datetime.timedelta(days=-1, seconds=5)
    values = (1 / 3, [2 / 3], then, chopin.Range(then, None), then.date(), span)
    types = "float8", "float8[]", "timestamptz", "tstzrange", "date", "interval"
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(types))
    places = ", ".join(f"${n}::{kind}" for n, kind in enumerate(types, 1))
    await conn.execute(f"CREATE TEMP TABLE exact ({columns})")
    await conn.execute(f"INSERT INTO exact VALUES ({places})", *values)
    compared = " AND ".join(f"c{n} = ${n + 1}::{kind}" for n, kind in enumerate(types))
    async with conn.transaction() if in_a_block else contextlib.nullcontext():
        query = f"SELECT 1 FROM exact WHERE {compared}"
        assert await read(conn.copy_out(query, *values, format="text")) == [b"1\n"]
        for name, value in settings.items():
            assert await conn.fetchval(f"SHOW {name}") == value


# -- files -----------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A file without a buffer: it takes and gives a part at a time, or nothing yet."""

    def __init__(self, data=b"", is_ready=True):
        self.data, self.is_ready = bytearray(data), is_ready

    def readable(self):
        return True

    def write(self, data):
        if not self.is_ready:
            return None
        self.data += bytes(data[:7])
        return min(7, len(data))

    def readinto(self, buffer):
        if not self.is_ready:
            return None
        part = bytes(self.data[: min(7, len(buffer))])
        del self.data[:7]
        buffer[: len(part)] = part
        return len(part)


async def test_files_without_a_buffer(conn):
    """All bytes are written and read, and what a file does not do yet is no end."""
    await conn.execute("CREATE TEMP TABLE lines (a text)")
    text = b"".join(b"line %d\n" % n for n in range(100))
    assert await conn.copy_to_table("lines", source=Pipe(text)) == "COPY 100"
    pipe = Pipe()
    assert await conn.copy_from_table("lines", output=pipe) == "COPY 100"
    assert pipe.data == text
    for call in (
        conn.copy_to_table("lines", source=Pipe(text, is_ready=False)),
        conn.copy_from_table("lines", output=Pipe(is_ready=False)),
    ):
        with pytest.raises(BlockingIOError, match="does not wait"):
            await call
    assert await conn.fetchval("SELECT count(*) FROM lines") == 100


# -- streams ---------------------------------------------------------------------------


async def test_a_loop_is_taken_up_again(conn):
    """Nothing is lost of what had come when the first loop was left."""
    async with conn.stream("SELECT generate_series(1, 1000)") as rows:
        got = []
        for _ in range(3):
            async for row in rows:
                got.append(row[0])
                if len(got) % 7 == 0:
                    break
        kept = aiter(rows)
        got.append((await anext(kept))[0])
        got += [row[0] async for row in rows]
    assert got == list(range(1, 1001))


async def test_two_tasks_read_one_stream(conn):
    """Who would wait for ever, or take what is another's, gets an error."""
    query = "SELECT i, repeat('x', 3000) FROM generate_series(1, 2000) AS i"
    for shares in (True, False):
        got = []
        async with conn.stream(query) as rows:
            shared = aiter(rows)

            async def worker(rows=rows, shared=shared, shares=shares, got=got):
                async for row in shared if shares else rows:
                    got.append(row[0])
                    await asyncio.sleep(0)

            async with asyncio.timeout(30):
                results = await asyncio.gather(
                    *(worker() for _ in range(3)), return_exceptions=True
                )
        assert sorted(got) == list(range(1, 2001))
        assert None in results
        for error in filter(None, results):
            assert isinstance(error, chopin.InterfaceError)
            assert "another task" in str(error)
    assert await conn.fetchval("SELECT 1") == 1


async def test_a_stream_that_failed_has_no_end(conn):
    """Read on, after an error was caught, it does not look complete."""
    query = "SELECT i, 1 / (500 - i), repeat('x', 900) FROM generate_series(1, 900) i"
    rows = aiter(conn.stream(query))
    with pytest.raises(chopin.DivisionByZeroError):
        while True:
            await anext(rows)
    with pytest.raises(chopin.InterfaceError, match="ended by an error"):
        await anext(rows)


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
async def test_a_codec_that_ends_it_all(conn, error):
    """Who reads gets what it raises; the connection lives."""

    def decode(_):
        raise error

    await conn.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=bytes, decoder=decode, format="binary"
    )
    for rows in (conn.stream, conn.copy_out):
        with contextlib.suppress(error):
            await read(rows("SELECT '1'::jsonb"))
            pytest.fail("it was not raised")
        assert await conn.fetchval("SELECT 1") == 1


async def test_written_while_the_block_is_left(conn):
    """A row of another task that comes too late is refused, and not dropped."""
    await conn.execute("CREATE TEMP TABLE late (a int)")
    refused = []

    async def write(copy):
        with pytest.raises(chopin.InterfaceError, match="within its block"):
            await copy.write_row((2,))
        refused.append(True)

    async with conn.copy_in("late") as copy:
        await copy.write_row((1,))
        task = asyncio.create_task(write(copy))
    await task
    assert (refused, copy.status) == ([True], "COPY 1")


async def test_several_tasks_write_what_is_refused(conn):
    """Each of them gets an error, whatever it waits for when the server refuses."""
    await conn.execute("CREATE TEMP TABLE shared (a int CHECK (a < 100))")

    async def write(copy):
        for i in range(1_000_000):
            await copy.write_row((i,))
            if i % 100 == 0:
                await asyncio.sleep(0)

    with pytest.raises(chopin.CheckViolationError):
        async with asyncio.timeout(30), conn.copy_in("shared") as copy:
            tasks = [asyncio.create_task(write(copy)) for _ in range(3)]
            errors = await asyncio.gather(*tasks, return_exceptions=True)
            for error in errors:
                if not isinstance(error, chopin.CheckViolationError):
                    assert type(error) is chopin.InterfaceError
                    assert "ended" in str(error) or "not open" in str(error)
            raise next(e for e in errors if not isinstance(e, chopin.InterfaceError))
    assert await conn.fetch("TABLE shared") == []


async def test_called_off_by_somebody_else(conn):
    """That is raised once; then the COPY is over, as after an error of the server."""
    await conn.execute("CREATE TEMP TABLE called_off (a int)")
    async with conn.copy_in("called_off") as copy:
        await copy.write_row((1,))
        conn._session.drop_all("called off")
        for match in "called off", "not open":
            with pytest.raises(chopin.InterfaceError, match=match):
                await copy.write_row((1,))
    assert await conn.fetch("TABLE called_off") == []


class AsyncFile:
    """Its methods are coroutine functions, as those of asynchronous libraries are."""

    def __init__(self, data=b""):
        self.data = data

    async def write(self, data):
        self.data += data

    async def read(self, size):
        data, self.data = self.data[:size], self.data[size:]
        return data


async def test_files_of_coroutine_functions(conn):
    """They are awaited: what they are given is written."""
    await conn.execute("CREATE TEMP TABLE filed (a int)")
    await conn.copy_to_table("filed", source=AsyncFile(b"1\n2\n"))
    file = AsyncFile()
    await conn.copy_from_table("filed", output=file)
    assert file.data == b"1\n2\n"


async def test_left_open_at_the_end_of_a_transaction(conn):
    """Who comes back to a COPY or a stream gets an error, and is not cancelled."""
    await conn.execute("CREATE TEMP TABLE left_open (a int)")
    for use in (conn.copy_in("left_open"), conn.stream("SELECT pg_sleep(60)")):
        with pytest.raises(chopin.InterfaceError, match="is open"):
            async with conn.transaction():
                await conn.execute("SELECT 1")
                task = asyncio.create_task(use_it(use))
                await asyncio.sleep(0)
                assert conn._session.gate.stream is not None
        with pytest.raises(chopin.InterfaceError, match="transaction ended"):
            await task
        assert await conn.fetchval("SELECT 1") == 1
    assert await conn.fetch("TABLE left_open") == []


async def use_it(use):
    """Until its end."""
    async with use:
        if hasattr(use, "write_row"):
            while True:
                await use.write_row((1,))
                await asyncio.sleep(0)
        await read(use)


async def test_a_value_that_writes(conn):
    """A row cannot be put into the middle of another."""
    await conn.execute("CREATE TEMP TABLE nested (a int)")

    class Value:
        def __index__(self):
            copy.write_row((1,))
            return 2

    async with conn.copy_in("nested") as copy:
        with pytest.raises(chopin.InterfaceError, match="being encoded"):
            await copy.write_row((Value(),))
        await copy.write_row((3,))
    assert await conn.fetchval("SELECT sum(a) FROM nested") == 3
