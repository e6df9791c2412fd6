"""A COPY of rows is a prepared statement: kept, lost, refused, and like any other."""

import pytest

import chopin
from tests.support.await_points import WHEN, cancel_at

MOST_SUSPENSIONS = 60
COPIES = """SELECT statement FROM pg_prepared_statements
WHERE statement LIKE 'COPY%' ORDER BY statement"""


@pytest.fixture
async def table(conn):
    """A table ``kept (id int PRIMARY KEY)``."""
    await conn.execute("CREATE TEMP TABLE kept (id int PRIMARY KEY)")
    return "kept"


async def copies(conn):
    """The commands that the server keeps."""
    return [row[0] for row in await conn.fetch(COPIES)]


async def ids(conn):
    """What is stored."""
    return [row[0] for row in await conn.fetch("SELECT id FROM kept ORDER BY id")]


async def test_parsed_once(conn, table):
    """It stays on the server, whatever becomes of a COPY; one for each command."""
    for n in range(3):
        await conn.copy_records_to_table(table, records=[(n,)])
    with pytest.raises(chopin.UniqueViolationError):
        await conn.copy_records_to_table(table, records=[(9,), (0,)])
    async with conn.transaction():
        await conn.copy_records_to_table(table, records=[(3,)])
    assert len(await copies(conn)) == 1
    await conn.copy_records_to_table(table, records=[(10,), (4,)], where="id < 9")
    assert len(await copies(conn)) == 2
    assert await ids(conn) == [0, 1, 2, 3, 4]


async def test_refused_at_the_first_time(connect):
    """The statement stays, and is known to stay."""
    conn = await connect()
    await conn.execute("CREATE TEMP TABLE kept (id int CHECK (id > 0))")
    for _ in range(2):
        with pytest.raises(chopin.CheckViolationError):
            await conn.copy_records_to_table("kept", records=[(0,)])
        with pytest.raises(chopin.PostgresSyntaxError):
            await conn.copy_records_to_table("kept", records=[(1,)], where="id >")
        assert len(await copies(conn)) == 1
    await conn.copy_records_to_table("kept", records=[(1,)])
    assert await ids(conn) == [1]


@pytest.mark.parametrize(
    "options", [{"statement_cache_size": 0}, {"max_cacheable_statement_size": 10}]
)
async def test_not_kept(connect, options):
    """Where no statement is, or none of that length."""
    conn = await connect(**options)
    await conn.execute("CREATE TEMP TABLE kept (id int)")
    for n in range(3):
        await conn.copy_records_to_table("kept", records=[(n,)])
    assert await copies(conn) == []
    assert await ids(conn) == [0, 1, 2]


async def test_makes_room(connect):
    """It has a place in the cache as any other."""
    conn = await connect(statement_cache_size=2)
    await conn.execute("CREATE TEMP TABLE kept (id int)")
    for n in range(6):
        await conn.copy_records_to_table("kept", records=[(n,)], where=f"id = {n}")
    assert len(await copies(conn)) < 3
    assert await ids(conn) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("what", ["ALL", "the COPY"])
async def test_lost(conn, table, what):
    """Whoever drops it behind our back: the rows are sent again, and stored once."""
    await conn.copy_records_to_table(table, records=[(0,)])
    drop = "DEALLOCATE ALL"
    if what != "ALL":
        name = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'COPY%'"
        drop = f'DEALLOCATE "{await conn.fetchval(name)}"'
    await conn.execute(f"DO $$ BEGIN EXECUTE '{drop}'; END $$")
    await conn.copy_records_to_table(table, records=((n,) for n in (1, 2)))
    assert await ids(conn) == [0, 1, 2]


async def test_lost_in_a_transaction(conn, table):
    """There it would fail with the whole block: the command is parsed each time."""
    await conn.copy_records_to_table(table, records=[(0,)])
    async with conn.transaction():
        await conn.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
        await conn.copy_records_to_table(table, records=[(1,)])
    assert await ids(conn) == [0, 1]


async def test_discarded(conn, table):
    """Whoever drops all of them where we see it costs nobody an error."""
    for n in range(3):
        await conn.copy_records_to_table(table, records=[(n,)])
        await conn.execute("DEALLOCATE ALL")
    assert await ids(conn) == [0, 1, 2]


@pytest.mark.parametrize("when", WHEN)
async def test_cancelled_at_every_await(connect, when):
    """What is known of the server's statements is true wherever it is given up."""
    for number in range(1, MOST_SUSPENSIONS):
        conn = await connect()
        await conn.execute("CREATE TEMP TABLE kept (id int)")
        copy = conn.copy_records_to_table("kept", records=[(1,)])
        is_cancelled = await cancel_at({number}, copy, when)
        for n in 2, 3:
            await conn.copy_records_to_table("kept", records=[(n,)])
        assert len(await copies(conn)) == 1
        assert not conn._session.pooled  # as if a pooler had taken it away
        assert (await ids(conn))[-2:] == [2, 3]
        await conn.close()
        if not is_cancelled:
            return
    raise AssertionError("it never came to its end")


async def test_the_same_text_as_a_query(conn, table):
    """It is refused as any other COPY that is run as a query."""
    await conn.copy_records_to_table(table, records=[(1,)])
    (command,) = await copies(conn)
    for text in command, "COPY kept FROM STDIN":
        with pytest.raises(chopin.QueryCanceledError, match="no data to copy"):
            await conn.fetch(text)
        await conn.copy_records_to_table(table, records=[(len(text),)])
    assert len(await ids(conn)) == 3
