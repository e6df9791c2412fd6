"""Cursors: by iteration and by await."""

import asyncio
import contextlib

import pytest

import chopin
from chopin._execute import Turn

LOST = "rows of the cursor were lost"
SERIES = "SELECT i FROM generate_series(1, $1::int) AS i"


class Row(chopin.Record):
    """A record class of the user's own."""


async def values(cursor):
    """The first column of all rows."""
    return [row[0] async for row in cursor]


@pytest.mark.parametrize("n", [0, 1, 49, 50, 51, 500])
async def test_iteration(conn, n):
    """All rows come in order, whether they fill the last batch or not."""
    async with conn.transaction():
        assert await values(conn.cursor(SERIES, n)) == list(range(1, n + 1))


@pytest.mark.parametrize("prefetch", [1, 2, 3, 10, 1000])
async def test_prefetch(conn, prefetch):
    """The size of the batches does not change what comes."""
    async with conn.transaction():
        got = await values(conn.cursor(SERIES, 10, prefetch=prefetch))
    assert got == list(range(1, 11))


@pytest.mark.parametrize("prefetch", [0, -1])
async def test_prefetch_must_be_positive(conn, prefetch):
    """A batch has at least one row."""
    async with conn.transaction():
        with pytest.raises(
            chopin.InterfaceError, match="prefetch argument must be greater than zero"
        ):
            await values(conn.cursor("SELECT 1", prefetch=prefetch))


async def test_prefetch_is_for_iteration(conn):
    """An awaited cursor is told how many rows to fetch by its own methods."""
    async with conn.transaction():
        with pytest.raises(
            chopin.InterfaceError,
            match="prefetch argument can only be specified for iterable cursor",
        ):
            await conn.cursor("SELECT 1", prefetch=3)


async def test_fetch_fetchrow_forward(conn):
    """An awaited cursor goes on where it was, whichever method moved it."""
    async with conn.transaction():
        cursor = await conn.cursor(SERIES, 20)
        assert await cursor.fetchrow() == (1,)
        assert await cursor.fetch(3) == [(2,), (3,), (4,)]
        assert await cursor.forward(3) == 3
        assert await cursor.fetchrow() == (8,)
        assert [row[0] for row in await cursor.fetch(100)] == list(range(9, 21))
        assert await cursor.fetch(100) == []
        assert await cursor.fetchrow() is None
        assert await cursor.forward(3) == 0


async def test_forward_over_the_end(conn):
    """forward says how many rows there were to skip."""
    async with conn.transaction():
        cursor = await conn.cursor(SERIES, 5)
        assert await cursor.forward(3) == 3
        assert await cursor.forward(10) == 2
        assert await cursor.fetch(1) == []


@pytest.mark.parametrize("n", [0, -1])
async def test_number_of_rows_must_be_positive(conn, n):
    """Cursors go forward by at least one row."""
    async with conn.transaction():
        cursor = await conn.cursor(SERIES, 3)
        for method in cursor.fetch, cursor.forward:
            with pytest.raises(
                chopin.InterfaceError, match="n must be greater than zero"
            ):
                await method(n)
        assert await cursor.fetchrow() == (1,)


async def test_outside_of_a_transaction(conn):
    """A cursor needs a transaction, and says so before anything is sent."""
    message = "cursor cannot be created outside of a transaction"
    with pytest.raises(chopin.NoActiveSQLTransactionError, match=message):
        await conn.cursor("SELECT 1")
    with pytest.raises(chopin.NoActiveSQLTransactionError, match=message):
        await values(conn.cursor("SELECT 1"))
    assert await conn.fetchval("SELECT 1") == 1


async def test_transaction_of_the_user(conn):
    """A transaction that was started by hand will do."""
    await conn.execute("BEGIN")
    assert await values(conn.cursor(SERIES, 3)) == [1, 2, 3]
    await conn.execute("COMMIT")


async def test_after_the_transaction(conn):
    """A cursor ends with its transaction."""
    async with conn.transaction():
        cursor = await conn.cursor(SERIES, 20)
        await cursor.fetch(2)
    with pytest.raises(
        chopin.NoActiveSQLTransactionError,
        match="cursor cannot be created outside of a transaction",
    ):
        await cursor.fetch(2)
    with pytest.raises(chopin.PostgresError):
        async with conn.transaction():
            await cursor.fetch(2)
    assert await conn.fetchval("SELECT 1") == 1


async def test_first_in_its_transaction(conn):
    """A cursor may be the first thing in a block, or in a block inside."""
    async with conn.transaction():
        cursor = await conn.cursor(SERIES, 3)
        async with conn.transaction():
            assert await values(conn.cursor(SERIES, 2)) == [1, 2]
        assert await cursor.fetch(5) == [(1,), (2,), (3,)]


async def test_several_cursors_and_queries(conn):
    """Cursors and queries of one connection take turns as they like."""
    async with conn.transaction():
        first = await conn.cursor(SERIES, 10)
        second = await conn.cursor("SELECT -i FROM generate_series(1, 10) AS i")
        got = []
        for _ in range(3):
            got += await first.fetch(2)
            got.append(await second.fetchrow())
            assert await conn.fetchval("SELECT 7") == 7
        async for (i,) in conn.cursor(SERIES, 3, prefetch=1):
            got.append(await conn.fetchrow("SELECT $1::int * 100", i))
    assert [row[0] for row in got] == [1, 2, -1, 3, 4, -2, 5, 6, -3, 100, 200, 300]


async def test_two_iterations_at_once(conn):
    """Loops inside each other over the same statement do not mix their rows."""
    async with conn.transaction():
        got = [
            (a, b)
            async for (a,) in conn.cursor(SERIES, 5, prefetch=2)
            async for (b,) in conn.cursor(SERIES, 3, prefetch=2)
        ]
    assert got == [(a, b) for a in range(1, 6) for b in range(1, 4)]


async def test_left_early(conn):
    """A loop may be left; the connection and the transaction go on."""
    async with conn.transaction():
        async for (i,) in conn.cursor(SERIES, 1000, prefetch=10):
            if i == 15:
                break
        assert await conn.fetchval("SELECT 1") == 1
    assert await conn.fetchval("SELECT 2") == 2


async def test_error_on_the_way(conn):
    """An error in a later batch comes out of the loop, after the rows before it."""
    got = []
    with pytest.raises(chopin.DivisionByZeroError):
        async with conn.transaction():
            async for (i,) in conn.cursor(
                "SELECT 10 / (5 - i) FROM generate_series(1, 9) AS i", prefetch=2
            ):
                got.append(i)
    assert got == [2, 3, 5, 10]
    assert not conn.is_in_transaction()


async def test_rolled_back_to_before_the_cursor(conn):
    """A cursor opened in an inner block that was undone is gone."""
    with pytest.raises(chopin.InvalidCursorNameError):
        async with conn.transaction():
            with pytest.raises(chopin.DivisionByZeroError):
                async with conn.transaction():
                    cursor = await conn.cursor(SERIES, 10)
                    await cursor.fetch(1)
                    await conn.fetch("SELECT 1/0")
            await cursor.fetch(1)


async def test_bad_statement(conn):
    """The statement's own errors come from opening it."""
    with pytest.raises(chopin.PostgresSyntaxError):
        async with conn.transaction():
            await conn.cursor("SELEC 1")
    with pytest.raises(chopin.PostgresSyntaxError):
        async with conn.transaction():
            await values(conn.cursor("SELEC 1"))


async def test_number_of_arguments(conn):
    """A wrong number of arguments is told when the cursor is opened."""
    message = "the server expects 1 argument for this query, 0 were passed"
    async with conn.transaction():
        with pytest.raises(chopin.InterfaceError, match=message):
            await values(conn.cursor(SERIES))
        with pytest.raises(chopin.InterfaceError, match=message):
            await conn.cursor(SERIES)
        assert await values(conn.cursor(SERIES, 2)) == [1, 2]


async def test_bad_argument(conn):
    """An argument that cannot be sent is named, and the block goes on."""
    async with conn.transaction():
        with pytest.raises(chopin.DataError, match=r"\$1: 'x'"):
            await conn.cursor(SERIES, "x")
        assert await values(conn.cursor(SERIES, 2)) == [1, 2]


async def test_dml_with_returning(conn):
    """Rows of a data-changing statement can be iterated over."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    async with conn.transaction():
        query = "INSERT INTO t SELECT i FROM generate_series(1, 5) AS i RETURNING a"
        assert await values(conn.cursor(query, prefetch=2)) == [1, 2, 3, 4, 5]
        assert await values(conn.cursor("INSERT INTO t VALUES (6)")) == []
    assert await conn.fetchval("SELECT count(*) FROM t") == 6


async def test_record_class(conn):
    """Cursors make rows of the class asked for."""
    async with conn.transaction():
        got = [row async for row in conn.cursor("SELECT 1", record_class=Row)]
        cursor = await conn.cursor("SELECT 1", record_class=Row)
        got += [await cursor.fetchrow()]
    assert [type(row) for row in got] == [Row, Row]


async def test_rows_of_any_size(conn):
    """Batches larger than the buffers are whole."""
    query = "SELECT repeat('x', 100000) FROM generate_series(1, 20)"
    async with conn.transaction():
        got = await values(conn.cursor(query, prefetch=7))
    assert got == ["x" * 100_000] * 20


async def test_cursor_is_closed_with_the_connection(conn):
    """Neither a cursor nor a factory works on a closed connection."""
    transaction = conn.transaction()
    await transaction.start()
    cursor = await conn.cursor(SERIES, 5)
    await cursor.fetch(1)
    await conn.close()
    with pytest.raises(chopin.InterfaceError):
        await cursor.fetch(1)
    with pytest.raises(chopin.InterfaceError, match="connection is closed"):
        await conn.cursor("SELECT 1")


async def test_shows_its_query(conn):
    """A cursor's repr tells its query."""
    async with conn.transaction():
        assert '"SELECT 1 AS shown"' in repr(await conn.cursor("SELECT 1 AS shown"))


@pytest.mark.parametrize("way", ["await", "async for"])
async def test_codecs_change(conn, way):
    """The rows of a cursor are read as its beginning has asked for them.

    Its statement may be used again meanwhile, with other codecs.
    """
    schema = "pg_catalog"
    statement = await conn.prepare("SELECT i + 1000 FROM generate_series(1, 9) AS i")
    await conn.set_type_codec("int4", schema=schema, encoder=str, decoder=int)
    async with conn.transaction():
        if way == "await":
            cursor = await statement.cursor()
        else:
            cursor = aiter(statement.cursor(prefetch=2))
            assert (await anext(cursor))[0] == 1001
        await conn.reset_type_codec("int4", schema=schema)
        assert (await statement.fetch())[0][0] == 1001
        if way == "await":
            got = [row[0] for row in await cursor.fetch(9)]
        else:
            got = [1001, *await values(cursor)]
    assert got == list(range(1001, 1010))


# Calls that were ended before their answer was there.


class Unread(Exception):
    """What a shape raises of a row."""


async def cut(call):
    """Cancel a call that has been sent and not answered."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.mark.parametrize("call", ["fetch", "fetchrow", "forward"])
@pytest.mark.parametrize("then", ["fetch", "fetchrow", "forward"])
async def test_cut(conn, call, then):
    """The portal has moved on: no later call passes over what was lost."""

    def called(cursor, name):
        return cursor.fetchrow() if name == "fetchrow" else getattr(cursor, name)(10)

    with contextlib.suppress(ZeroDivisionError):
        async with conn.transaction():
            cursor = await conn.cursor(SERIES, 100)
            await cut(called(cursor, call))
            for _ in range(2):
                with pytest.raises(chopin.InterfaceError, match=LOST):
                    await called(cursor, then)
            raise ZeroDivisionError


async def test_timed_out(conn):
    """The same when its time was over."""
    query = "SELECT i, pg_sleep(0.1) FROM generate_series(1, 100) AS i"
    with pytest.raises(TimeoutError):
        async with conn.transaction():
            cursor = await conn.cursor(query)
            try:
                await cursor.fetch(100, timeout=0.05)
            finally:
                with pytest.raises(chopin.InterfaceError, match=LOST):
                    await cursor.fetch(10)


@pytest.mark.parametrize("way", ["await", "async for"])
async def test_unread(conn, way):
    """Rows that could not be read are lost with those beside them."""

    def picky(i):
        if i == 5:
            raise Unread
        return i

    async with conn.transaction():
        if way == "await":
            cursor = await conn.cursor(SERIES, 100, into=picky)
            assert await cursor.fetch(3) == [1, 2, 3]
            with pytest.raises(Unread):
                await cursor.fetch(3)
            with pytest.raises(chopin.InterfaceError, match=LOST):
                await cursor.fetch(3)
        else:
            cursor = aiter(conn.cursor(SERIES, 100, prefetch=3, into=picky))
            assert [await anext(cursor) for _ in range(3)] == [1, 2, 3]
            with pytest.raises(Unread):
                await anext(cursor)
            with pytest.raises(chopin.InterfaceError, match=LOST):
                await anext(cursor)
        assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("read", [2, 4, 6])
async def test_iteration_cut(conn, read):
    """Rows of the portion that is there are given out; of the next ones none are.

    From the third portion on they have been asked for ahead.
    """
    with contextlib.suppress(ZeroDivisionError):
        async with conn.transaction():
            cursor = aiter(conn.cursor(SERIES, 100, prefetch=2))
            for i in range(1, read + 1):
                assert (await anext(cursor))[0] == i
            await cut(anext(cursor))
            for _ in range(2):
                with pytest.raises(chopin.InterfaceError, match=LOST):
                    await anext(cursor)
            raise ZeroDivisionError


@pytest.mark.parametrize("way", ["fetch", "forward", "async for"])
async def test_cut_ahead_of_its_turn(conn, way):
    """A call that waits to be sent has not moved the cursor, which goes on."""
    async with conn.transaction():
        if way == "async for":
            cursor = aiter(conn.cursor(SERIES, 100, prefetch=1))
            assert (await anext(cursor))[0] == 1
        else:
            cursor = await conn.cursor(SERIES, 100)
            assert await cursor.fetchrow() == (1,)
        async with Turn(conn._session):
            if way == "async for":
                await cut(anext(cursor))
            else:
                await cut(getattr(cursor, way)(1))
        following = anext(cursor) if way == "async for" else cursor.fetchrow()
        assert await following == (2,)


async def test_cut_ahead_of_another_call(conn):
    """What was called before that, and not sent, is not sent any more."""
    with contextlib.suppress(ZeroDivisionError):
        async with conn.transaction():
            cursor = await conn.cursor(SERIES, 100)
            task = asyncio.create_task(cursor.fetch(10))
            await asyncio.sleep(0)
            turn = Turn(conn._session).join()
            waiting = asyncio.create_task(cursor.fetch(10))
            task.cancel()
            await asyncio.wait([task])
            turn.leave()
            with pytest.raises(chopin.InterfaceError, match=LOST):
                await waiting
            raise ZeroDivisionError


async def test_error_of_the_server(conn):
    """What the server refuses it refuses again, in its own words."""
    with pytest.raises(chopin.InFailedSQLTransactionError):
        async with conn.transaction():
            cursor = await conn.cursor(
                "SELECT 1 / (2 - i) FROM generate_series(1, 3) i"
            )
            assert await cursor.fetchrow() == (1,)
            with pytest.raises(chopin.DivisionByZeroError):
                await cursor.fetchrow()
            await cursor.fetchrow()


@pytest.mark.parametrize("prefetch", [1, 5, 50])
@pytest.mark.parametrize("change", ["DROP TABLE over", "ALTER TABLE over ADD j int"])
async def test_table_is_free_behind_the_last_row(conn, prefetch, change):
    """A portal is closed behind its last row: its table can be altered in the block."""
    async with conn.transaction():
        await conn.execute("CREATE TABLE over AS SELECT generate_series(1, 5) AS i")
        rows = conn.cursor("SELECT i FROM over", prefetch=prefetch)
        assert await values(rows) == [1, 2, 3, 4, 5]
        await conn.execute(change)
        by_hand = await conn.cursor("SELECT 1 FROM pg_class LIMIT 3")
        assert len(await by_hand.fetch(9)) == 3
        left = await conn.fetchval("SELECT count(*) FROM pg_cursors")
        assert left == 1  # that of the question itself
        await conn.execute("DROP TABLE IF EXISTS over")


async def test_closes_nothing_behind_its_block(conn):
    """What the end of the block has closed is not closed once more."""
    async with conn.transaction():
        assert await values(conn.cursor(SERIES, 3)) == [1, 2, 3]
        assert any(which.startswith(b"P") for which in conn._session.closes)
    assert not any(which.startswith(b"P") for which in conn._session.closes)
