"""`into=`: rows in other shapes than Record, wherever rows are asked for."""

import asyncio
import gc
import itertools
import weakref
from dataclasses import dataclass, make_dataclass
from typing import Any, NamedTuple, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

import chopin
from tests.support.poolwatch import until_rides

SERIES = "SELECT i AS id, 'n' || i AS name FROM generate_series(1, $1::int) AS i"
WANT = [(1, "n1"), (2, "n2"), (3, "n3")]

numbers = itertools.count(1)


@dataclass
class User:
    id: int
    name: str


class Pair(NamedTuple):
    name: str
    id: int


class Typed(TypedDict):
    id: int
    name: str
    age: NotRequired[int]


class Struct(msgspec.Struct):
    id: int
    name: str


class Model(pydantic.BaseModel):
    id: int
    name: str


def join(number, name):
    return f"{number}{name}"


class Row(chopin.Record):
    """A class of records."""


SHAPES = {
    tuple: tuple,
    dict[str, Any]: dict,
    User: lambda row: User(**row),
    Pair: lambda row: Pair(**row),
    Typed: dict,
    Struct: lambda row: Struct(**row),
    Model: lambda row: Model(**row),
    join: lambda row: join(*row),
}


@pytest.fixture
def table(observer):
    """The name of a table of its own with the columns id and name, and one row."""
    name = f"into_{next(numbers)}"
    observer.execute(f"DROP TABLE IF EXISTS {name}")
    observer.execute(f"CREATE TABLE {name} AS SELECT 1 AS id, 'ann'::text AS name")
    yield name
    observer.execute(f"DROP TABLE {name}")


@pytest.mark.parametrize("into", SHAPES)
async def test_everywhere(conn, create, into):
    """Every method that brings rows brings them in the shape that was asked for."""
    make = SHAPES[into]
    want = [make(row) for row in await conn.fetch(SERIES, 3)]
    pool = await create()
    statement = await conn.prepare(SERIES)
    shaped = await conn.prepare(SERIES, into=into)
    for held in conn, pool:
        for _ in "first", "cached":
            assert await held.fetch(SERIES, 3, into=into) == want
            assert await held.fetchrow(SERIES, 3, into=into) == want[0]
        assert await held.fetchrow(SERIES, 0, into=into) is None
        assert await held.fetch(SERIES, 0, into=into) == []
        assert await held.fetchmany(SERIES, [(1,), (3,)], into=into) == want[:1] + want
    assert await statement.fetch(3, into=into) == want
    assert await statement.fetchrow(3, into=into) == want[0]
    assert await statement.fetchmany([(3,)], into=into) == want
    assert await shaped.fetch(3) == want
    assert await shaped.fetchrow(3) == want[0]
    assert await shaped.fetchmany([(3,)]) == want
    assert await shaped.fetch(3, into=dict) == [{"id": i, "name": n} for i, n in WANT]
    async with conn.transaction():
        assert [row async for row in conn.cursor(SERIES, 3, into=into)] == want
        assert [row async for row in shaped.cursor(3, prefetch=1)] == want
        cursor = await conn.cursor(SERIES, 3, into=into)
        assert await cursor.fetchrow() == want[0]
        assert await cursor.fetch(5) == want[1:]
    assert type((await statement.fetch(1))[0]) is chopin.Record


async def test_large_result(conn):
    """Rows that come in many pieces, too."""
    rows = await conn.fetch(SERIES, 50_000, into=User)
    assert rows == [User(i, f"n{i}") for i in range(1, 50_001)]


async def test_shapes_of_one_statement_at_once(conn, create):
    """Pipelined calls, and reads that ride, have their own shapes."""
    pool = await create(max_size=1, pipeline_depth=100)
    await until_rides(pool, SERIES, 3)
    shapes = [*SHAPES, None, Row] * 3
    records = await conn.fetch(SERIES, 3)
    for held in conn, pool:
        rides = pool.stats().rides
        got = await asyncio.gather(
            *(held.fetch(SERIES, 3, into=into) for into in shapes)
        )
        for into, rows in zip(shapes, got, strict=True):
            assert rows == [SHAPES.get(into, lambda row: row)(row) for row in records]
        assert {type(row) for row in got[len(SHAPES)]} == {chopin.Record}
        assert {type(row) for row in got[len(SHAPES) + 1]} == {Row}
    assert pool.stats().rides > rides


async def test_columns_that_change(conn, table, observer):
    """After ALTER TABLE by another the shape is fitted anew: it may not fit."""
    query = f"SELECT * FROM {table}"
    assert await conn.fetch(query, into=User) == [User(1, "ann")]
    observer.execute(f"ALTER TABLE {table} RENAME name TO nick")
    observer.execute(f"ALTER TABLE {table} RENAME id TO name")
    observer.execute(f"ALTER TABLE {table} RENAME nick TO id")
    # the same types under other names: the server does not mind, and neither may we
    observer.execute(f"ALTER TABLE {table} ADD age int")
    with pytest.raises(chopin.InterfaceError, match='User: it has no field "age"'):
        await conn.fetch(query, into=User)
    assert await conn.fetch(query, into=Typed) == [
        {"name": 1, "id": "ann", "age": None}
    ]
    many = await conn.fetchmany(query, [()], into=dict)
    assert many == [{"name": 1, "id": "ann", "age": None}]
    observer.execute(f"ALTER TABLE {table} DROP age")
    # what was known of the columns did not fit, those of today do
    assert await conn.fetchmany(query, [()], into=User) == [User("ann", 1)]
    for _ in range(2):
        assert await conn.fetch(query, into=User) == [User("ann", 1)]


@pytest.mark.parametrize("cache", [{}, {"statement_cache_size": 0}])
@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchmany"])
async def test_columns_that_fit_at_last(connect, table, observer, method, cache):
    """A misfit is no verdict: the columns are looked at anew each time."""
    conn = await connect(**cache)
    arguments = [[()]] if method == "fetchmany" else []
    call = getattr(conn, method)
    query = f"SELECT * FROM {table}"
    observer.execute(f"ALTER TABLE {table} RENAME name TO nick")
    for _ in range(2):
        with pytest.raises(chopin.InterfaceError, match='no column "name"'):
            await call(query, *arguments, into=User)
    observer.execute(f"ALTER TABLE {table} RENAME nick TO name")
    for _ in range(2):
        got = await call(query, *arguments, into=User)
        assert got in (User(1, "ann"), [User(1, "ann")])
    assert await conn.fetchval("SELECT 1") == 1


async def test_columns_that_change_within_a_flight(create, table, observer):
    """What comes with the first use of a statement counts, not what a pool knew."""
    pool = await create(max_size=2)
    query = f"SELECT * FROM {table}"
    async with pool.acquire() as one, pool.acquire() as other:
        assert await one.fetch(query, into=User) == [User(1, "ann")]
        observer.execute(f"ALTER TABLE {table} RENAME name TO nick")
        with pytest.raises(chopin.InterfaceError, match='no column "name"') as caught:
            await other.fetch(query, into=User)
        assert caught.value.outcome == "unknown"  # the query has run
        assert await other.fetch(query, into=dict) == [{"id": 1, "nick": "ann"}]
        with pytest.raises(chopin.InterfaceError, match='no column "name"') as caught:
            await other.fetch(query, into=User)
        assert caught.value.outcome == "not_sent"


async def test_misfit_does_nothing(conn, table):
    """A statement whose rows would not fit is not executed."""
    query = f"UPDATE {table} SET id = id + 1 RETURNING id"
    for _ in range(2):
        for call in conn.fetch, conn.fetchrow:
            with pytest.raises(chopin.InterfaceError, match='no column "name"'):
                await call(query, into=User)
    with pytest.raises(chopin.InterfaceError, match='no column "name"'):
        await conn.fetchmany(query, [()], into=User)
    async with conn.transaction():
        with pytest.raises(chopin.InterfaceError, match='no column "name"'):
            async for _ in conn.cursor(f"SELECT id FROM {table}", into=User):
                pass
        assert await conn.fetchval(f"SELECT id FROM {table}") == 1
    assert await conn.fetch(query, into=dict) == [{"id": 2}]


async def test_statements_without_rows(conn, table):
    """They fit everything."""
    for into in SHAPES:
        insert = f"INSERT INTO {table} VALUES ($1, $2)"
        assert await conn.fetch(insert, 1, "x", into=into) == []
        assert await conn.fetchrow(insert, 1, "x", into=into) is None
        assert await conn.fetchmany(insert, [(1, "x")], into=into) == []


async def test_errors_of_the_users_code(conn, create):
    """They come as they are; the connection and the calls beside go on."""

    class Wrong(Exception):
        pass

    def fail(number, name):
        if number == 2:
            raise Wrong(name)
        return number

    pool = await create(max_size=1)
    for held in conn, pool:
        got = await asyncio.gather(
            held.fetch(SERIES, 3),
            held.fetch(SERIES, 3, into=fail),
            held.fetch(SERIES, 1, into=fail),
            held.fetchrow(SERIES, 3, into=fail),
            return_exceptions=True,
        )
        assert [got[0], *got[2:]] == [WANT, [1], 1]
        assert isinstance(got[1], Wrong)
        assert got[1].__notes__ == ["in row 2 of what was fetched"]
        with pytest.raises(Wrong):
            await held.fetchmany(SERIES, [(3,)], into=fail)
        assert await held.fetchval("SELECT 1") == 1
    async with conn.transaction():
        with pytest.raises(Wrong):
            async for _ in conn.cursor(SERIES, 3, into=fail):
                pass
        assert await conn.fetchval("SELECT 1") == 1


async def test_constructor_that_meddles(connect):
    """It may end the connection, or the task that waits for its rows."""
    conn = await connect()

    def terminate(*values):
        conn.terminate()
        return values

    with pytest.raises((chopin.PostgresConnectionError, chopin.InterfaceError)):
        await conn.fetch(SERIES, 5000, into=terminate)
        await conn.fetchval("SELECT 1")
    assert conn.is_closed()

    conn = await connect()

    def cancel(*values):
        task.cancel()
        return values

    task = asyncio.create_task(conn.fetch(SERIES, 5000, into=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.fetchval("SELECT 1") == 1


async def test_what_is_no_shape(conn, create):
    """It is refused before anything is sent."""
    pool = await create()
    for held in conn, pool:
        with pytest.raises(TypeError, match="into is expected to be a class"):
            await held.fetch("SELECT 1", into="dict")
        with pytest.raises(chopin.InterfaceError, match="specified together"):
            await held.fetchrow("SELECT 1", into=dict, record_class=Row)
        with pytest.raises(TypeError, match="into is what one row becomes"):
            await held.fetchmany("SELECT 1", [], into=list)
    with pytest.raises(TypeError, match="into is expected"):
        await conn.prepare("SELECT 1", into=1)
    with pytest.raises(TypeError, match="into is expected"):
        conn.cursor("SELECT 1", into=1)
    assert await conn.fetchval("SELECT 1") == 1


async def test_connection_class_that_does_not_know_it(create):
    """A method of the user's gets `into` only where it was given."""

    class Own(chopin.Connection):
        __slots__ = ()

        async def fetch(self, query, *args, timeout=None, record_class=None):
            return await super().fetch(query, *args, record_class=record_class)

    pool = await create(connection_class=Own)
    assert await pool.fetch(SERIES, 3) == WANT
    assert type((await pool.fetch(SERIES, 1, record_class=Row))[0]) is Row
    with pytest.raises(TypeError, match="into"):
        await pool.fetch(SERIES, 3, into=tuple)
    assert await pool.fetchrow(SERIES, 3, into=tuple) == WANT[0]


async def test_record_class_of_the_connection(connect):
    """`into=Record` is the plain one, whatever the connection's own is."""
    conn = await connect(record_class=Row)
    assert type(await conn.fetchrow(SERIES, 1)) is Row
    assert type(await conn.fetchrow(SERIES, 1, into=chopin.Record)) is chopin.Record
    assert type(await conn.fetchrow(SERIES, 1, into=Row)) is Row


async def test_class_is_dropped_with_the_statement(conn):
    """What a held statement knows of a class ends with it."""
    cls = make_dataclass("Once", ["id", "name"])
    ref = weakref.ref(cls)
    statement = await conn.prepare(SERIES)
    assert len(await statement.fetch(3, into=cls)) == 3
    del statement, cls
    await asyncio.sleep(0)  # this task was woken by the operation, which has the rows
    gc.collect()
    assert ref() is None


async def test_with_a_query_logger(conn):
    """The long way makes the same."""
    seen = []
    with conn.query_logger(seen.append):
        assert await conn.fetch(SERIES, 3, into=User) == [User(*row) for row in WANT]
        assert await conn.fetchrow(SERIES, 3, into=dict) == {"id": 1, "name": "n1"}
    await asyncio.sleep(0)
    assert len(seen) == 2


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("by", ["shape", "codec"])
async def test_exceptions_that_are_no_errors(conn, error, by):
    """Whatever the user's code raises, nobody waits for ever."""

    def fail(*values):
        raise error("of the user's")

    into = tuple
    if by == "codec":
        await conn.set_type_codec(
            "int4", schema="pg_catalog", encoder=str, decoder=fail
        )
    else:
        into = fail
    for call in conn.fetch, conn.fetchrow:
        with pytest.raises(error, match="of the user's"):
            async with asyncio.timeout(10):
                await call("SELECT 1::int4", into=into)
        assert await conn.fetchval("SELECT 'x'") == "x"


async def test_stale_plan_as_an_error_of_the_user(conn):
    """What a constructor raises heals nothing: the statement has run once."""
    runs = []

    def fail(number):
        runs.append(number)
        raise chopin.InvalidCachedStatementError("of the user's")

    await conn.execute("CREATE TEMP SEQUENCE runs")
    for count in 1, 2:
        with pytest.raises(chopin.InvalidCachedStatementError, match="of the user's"):
            await conn.fetch("SELECT nextval('runs')", into=fail)
        assert runs == list(range(1, count + 1))
