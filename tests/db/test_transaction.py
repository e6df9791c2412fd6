"""transaction: blocks, blocks inside of blocks, and what they send."""

import asyncio
import itertools
import re

import pytest

import chopin
from tests.support.proxy import recorded

LEVELS = ["read_uncommitted", "read_committed", "repeatable_read", "serializable"]
SETTINGS = (
    "SELECT current_setting('transaction_isolation'),"
    " current_setting('transaction_read_only'),"
    " current_setting('transaction_deferrable')"
)
MANUAL = "cannot use Connection.transaction() in a manually started transaction"


class Oops(Exception):
    """The user's own."""


@pytest.fixture
async def table(conn):
    """A temporary table ``t (a int)``; returns its values."""
    await conn.execute("CREATE TEMP TABLE t (a int)")

    async def rows():
        return [row[0] for row in await conn.fetch("SELECT a FROM t ORDER BY a")]

    return rows


async def insert(conn, value):
    """A write that can be undone."""
    await conn.execute("INSERT INTO t VALUES ($1)", value)


async def test_commits(conn, table):
    """A block that ends commits what it did."""
    async with conn.transaction():
        await insert(conn, 1)
        await insert(conn, 2)
        assert conn.is_in_transaction()
    assert not conn.is_in_transaction()
    assert await conn.fetchval("SELECT pg_current_xact_id_if_assigned()::text") is None
    assert await table() == [1, 2]


async def test_rolls_back(conn, table):
    """A block that an exception leaves undoes what it did; the exception goes on."""
    with pytest.raises(Oops):
        async with conn.transaction():
            await insert(conn, 1)
            raise Oops
    assert not conn.is_in_transaction()
    assert await table() == []


@pytest.mark.parametrize("first", ["SELECT 1/0", "SELEC 1", "SELECT nope"])
@pytest.mark.parametrize("method", ["fetch", "fetchval", "execute", "prepare"])
async def test_error_in_the_first_statement(conn, method, first):
    """The block's first statement may fail: the block ends in order."""
    call = getattr(conn, method)
    if (method, first) == ("prepare", "SELECT 1/0"):
        first = "SELECT 1::nope"
    for _ in range(2):
        with pytest.raises(chopin.PostgresError) as caught:
            async with conn.transaction():
                assert conn.is_in_transaction()
                await call(first)
        assert caught.value.query == first
        assert not conn.is_in_transaction()
        assert await conn.fetchval("SELECT 1") == 1


async def test_error_is_over_with_the_block(conn, table):
    """After a server's error a block only answers that it is aborted."""
    with pytest.raises(chopin.InFailedSQLTransactionError) as caught:
        async with conn.transaction():
            await insert(conn, 1)
            with pytest.raises(chopin.DivisionByZeroError):
                await conn.fetch("SELECT 1/0")
            assert conn.is_in_transaction()
            await conn.fetch("SELECT 1")
    assert caught.value.sqlstate == "25P02"
    assert not conn.is_in_transaction()
    assert await table() == []


async def test_client_errors_leave_the_block_alone(conn, table):
    """An argument that is refused never reached the server: the block goes on."""
    async with conn.transaction():
        with pytest.raises(chopin.DataError):
            await insert(conn, "x")
        with pytest.raises(chopin.InterfaceError):
            await conn.fetch("SELECT $1::int")
        await insert(conn, 1)
        with pytest.raises(chopin.DataError):
            await insert(conn, "x")
    assert await table() == [1]


async def test_start_commit_rollback(conn, table):
    """A transaction can be run without a block."""
    transaction = conn.transaction()
    assert not conn.is_in_transaction()
    await transaction.start()
    await insert(conn, 1)
    assert conn.is_in_transaction()
    await transaction.commit()
    assert not conn.is_in_transaction()

    transaction = conn.transaction()
    await transaction.start()
    await insert(conn, 2)
    await transaction.rollback()
    assert not conn.is_in_transaction()
    assert await table() == [1]


async def test_says_that_it_is_in_a_transaction(conn):
    """A started transaction counts as one, whether it was used yet or not."""
    async with conn.transaction():
        assert conn.is_in_transaction()
        async with conn.transaction():
            assert conn.is_in_transaction()
        assert conn.is_in_transaction()
    assert not conn.is_in_transaction()


async def test_enters_as_none(conn):
    """The block has no object of its own."""
    async with conn.transaction() as entered:
        assert entered is None


async def test_states(conn):
    """Each step is possible once and in order; the message says where it stands."""

    async def refused(method, message):
        with pytest.raises(chopin.InterfaceError, match=f"^{re.escape(message)}$"):
            await method()

    transaction = conn.transaction()
    for word in "commit", "rollback":
        await refused(
            getattr(transaction, word),
            f"cannot {word}; the transaction is not yet started",
        )
    await transaction.start()
    await refused(transaction.start, "cannot start; the transaction is already started")
    await conn.fetchval("SELECT 1")
    await transaction.commit()
    for word in "start", "commit", "rollback":
        await refused(
            getattr(transaction, word),
            f"cannot {word}; the transaction is already committed",
        )
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetchval("SELECT 1")
    await transaction.rollback()
    for word in "start", "commit", "rollback":
        await refused(
            getattr(transaction, word),
            f"cannot {word}; the transaction is already rolled back",
        )


async def test_no_end_by_hand_inside_of_a_block(conn, table):
    """A block ends by itself only."""
    transaction = conn.transaction()
    async with transaction:
        await insert(conn, 1)
        for word in "commit", "rollback":
            with pytest.raises(
                chopin.InterfaceError,
                match=f"cannot manually {word} from within an `async with` block",
            ):
                await getattr(transaction, word)()
        with pytest.raises(
            chopin.InterfaceError,
            match="cannot enter context: already in an `async with` block",
        ):
            await transaction.__aenter__()
        await insert(conn, 2)
    assert await table() == [1, 2]


async def test_block_is_used_once(conn):
    """A transaction cannot be entered again."""
    transaction = conn.transaction()
    async with transaction:
        await conn.fetchval("SELECT 1")
    with pytest.raises(
        chopin.InterfaceError,
        match="cannot start; the transaction is already committed",
    ):
        async with transaction:
            pass


@pytest.mark.parametrize("isolation", [None, *LEVELS])
@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("deferrable", [False, True])
async def test_options(conn, isolation, readonly, deferrable):
    """The options are the transaction's, and only this one's."""
    async with conn.transaction(
        isolation=isolation, readonly=readonly, deferrable=deferrable
    ):
        got = await conn.fetchrow(SETTINGS)
    words = {False: "off", True: "on"}
    assert got == (
        (isolation or "read_committed").replace("_", " "),
        words[readonly],
        words[deferrable],
    )
    assert await conn.fetchrow(SETTINGS) == ("read committed", "off", "off")


async def test_readonly(conn):
    """A read-only transaction refuses to write, from its first statement on."""
    query = "CREATE TABLE chopin_never (a int)"
    for method in conn.execute, conn.fetch:
        with pytest.raises(chopin.ReadOnlySQLTransactionError):
            async with conn.transaction(readonly=True):
                await method(query)
    assert await conn.fetchval("SELECT to_regclass('chopin_never')") is None


@pytest.mark.parametrize(
    "isolation",
    ["foo", "SERIALIZABLE", "read committed", "serializable; DROP TABLE t", 5],
)
async def test_unknown_isolation(conn, isolation):
    """Only the four levels are known; others do not reach the server."""
    with pytest.raises(ValueError, match="isolation is expected to be either of"):
        conn.transaction(isolation=isolation)


async def test_snapshot_is_one(conn, connect):
    """A repeatable-read block does not see what others commit meanwhile."""
    other = await connect()
    await other.execute("CREATE TABLE chopin_snapshot (a int)")
    count = "SELECT count(*) FROM chopin_snapshot"
    try:
        async with conn.transaction(isolation="repeatable_read"):
            assert await conn.fetchval(count) == 0
            await other.execute("INSERT INTO chopin_snapshot VALUES (1)")
            assert await conn.fetchval(count) == 0
        assert await conn.fetchval(count) == 1
    finally:
        await other.execute("DROP TABLE chopin_snapshot")


async def test_serialization_failure(conn, connect):
    """A conflict at the end is raised by the block, which is over then."""
    other = await connect()
    await other.execute("CREATE TABLE chopin_conflict AS SELECT 1 AS a")
    update = "UPDATE chopin_conflict SET a = a + 1"
    try:
        with pytest.raises(chopin.SerializationError) as caught:
            async with conn.transaction(isolation="serializable"):
                await conn.fetchval("SELECT a FROM chopin_conflict")
                await other.execute(update)
                await conn.execute(update)
        assert caught.value.sqlstate == "40001"
        assert not conn.is_in_transaction()
    finally:
        await other.execute("DROP TABLE chopin_conflict")


async def test_commit_that_fails(conn):
    """What a deferred constraint says at COMMIT comes out of the block."""
    await conn.execute(
        "CREATE TEMP TABLE d (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(chopin.UniqueViolationError):
        async with conn.transaction():
            await conn.execute("INSERT INTO d VALUES (1), (1)")
    assert not conn.is_in_transaction()
    assert await conn.fetch("TABLE d") == []


# Blocks inside of blocks.


async def test_inner_block(conn, table):
    """An inner block can be undone alone."""
    async with conn.transaction():
        await insert(conn, 1)
        with pytest.raises(Oops):
            async with conn.transaction():
                await insert(conn, 2)
                async with conn.transaction():
                    await insert(conn, 3)
                raise Oops
        async with conn.transaction():
            await insert(conn, 4)
        with pytest.raises(chopin.DivisionByZeroError):
            async with conn.transaction():
                await insert(conn, 5)
                await conn.execute("SELECT 1/0")
        await insert(conn, 6)
    assert await table() == [1, 4, 6]


async def test_outer_block_undoes_inner(conn, table):
    """What an inner block has done goes with the outer one."""
    with pytest.raises(Oops):
        async with conn.transaction():
            async with conn.transaction():
                await insert(conn, 1)
            raise Oops
    assert await table() == []


async def test_inner_block_first(conn, table):
    """The outer block may have nothing of its own before the inner one."""
    async with conn.transaction():
        with pytest.raises(Oops):
            async with conn.transaction():
                await insert(conn, 1)
                raise Oops
        with pytest.raises(chopin.DivisionByZeroError):
            async with conn.transaction():
                await conn.fetch("SELECT 1/0")
        async with conn.transaction():
            await insert(conn, 2)
        await insert(conn, 3)
    assert await table() == [2, 3]


async def test_inner_start_commit_rollback(conn, table):
    """Inner transactions work without blocks as well."""
    outer = conn.transaction()
    await outer.start()
    await insert(conn, 1)
    inner = conn.transaction()
    await inner.start()
    await insert(conn, 2)
    await inner.rollback()
    inner = conn.transaction()
    await inner.start()
    await insert(conn, 3)
    await inner.commit()
    await outer.commit()
    assert await table() == [1, 3]


@pytest.mark.parametrize(
    ("outer", "inner"), list(itertools.product([None, *LEVELS], repeat=2))
)
async def test_isolation_of_inner_blocks(conn, outer, inner):
    """An inner block has the level of the outer one, and may say so."""
    level = outer or "read_committed"
    if inner in (None, level):
        async with conn.transaction(isolation=outer):
            async with conn.transaction(isolation=inner):
                got = await conn.fetchval("SHOW transaction_isolation")
        assert got == level.replace("_", " ")
        return
    message = (
        "nested transaction has a different isolation level:"
        f" current '{inner}' != outer '{level}'"
    )
    with pytest.raises(chopin.InterfaceError, match=message):
        async with conn.transaction(isolation=outer):
            async with conn.transaction(isolation=inner):
                pass
    assert not conn.is_in_transaction()


async def test_isolation_by_default_of_the_session(conn):
    """Without a level the outer block has that of the session."""
    await conn.execute("SET default_transaction_isolation = 'serializable'")
    async with conn.transaction():
        async with conn.transaction(isolation="serializable"):
            assert await conn.fetchval("SHOW transaction_isolation") == "serializable"


# Transactions that the user runs in SQL.


async def test_manual_transaction(conn):
    """A block does not join a transaction that was begun in SQL."""
    await conn.execute("BEGIN")
    assert conn.is_in_transaction()
    with pytest.raises(chopin.InterfaceError, match=re.escape(MANUAL)):
        await conn.transaction().start()
    with pytest.raises(chopin.InterfaceError, match=re.escape(MANUAL)):
        async with conn.transaction():
            pass
    assert conn.is_in_transaction()
    await conn.execute("ROLLBACK")
    assert not conn.is_in_transaction()
    async with conn.transaction():
        assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION", "SELECT 1; BEGIN"])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "END", "ABORT"])
async def test_is_in_transaction_follows_the_server(conn, begin, end):
    """What the server says counts, whoever began."""
    await conn.execute(begin)
    assert conn.is_in_transaction()
    with pytest.raises(chopin.PostgresError):
        await conn.fetch("SELECT 1/0")
    assert conn.is_in_transaction()
    await conn.fetch(end)
    assert not conn.is_in_transaction()


async def test_block_ended_in_sql(conn, table):
    """A block that SQL has ended under it ends without harm."""
    async with conn.transaction():
        await insert(conn, 1)
        await conn.execute("ROLLBACK")
        assert not conn.is_in_transaction()
    assert await table() == []
    assert not conn.is_in_transaction()


async def test_closed_connection(conn):
    """There is no transaction on a closed connection."""
    transaction = conn.transaction()
    await conn.close()
    with pytest.raises(chopin.InterfaceError, match="connection is closed"):
        await transaction.start()
    with pytest.raises(chopin.InterfaceError, match="^connection is closed$"):
        conn.transaction()


async def test_closed_inside_of_a_block(conn, connect):
    """A connection may be closed inside of a block; its work is lost."""
    await conn.execute("CREATE TABLE chopin_lost (a int)")
    other = await connect()
    try:
        with pytest.raises(chopin.InterfaceError, match="connection is closed"):
            async with conn.transaction():
                await conn.execute("INSERT INTO chopin_lost VALUES (1)")
                await conn.close()
                await conn.fetch("SELECT 1")
        assert await other.fetchval("SELECT count(*) FROM chopin_lost") == 0
    finally:
        await other.execute("DROP TABLE chopin_lost")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "new"),
        ({"readonly": True}, "new readonly"),
        ({"deferrable": True}, "new deferrable"),
        (
            {"isolation": "serializable", "readonly": True, "deferrable": True},
            "new serializable readonly deferrable",
        ),
    ],
)
async def test_repr(conn, options, words):
    """A transaction shows its state and options."""
    transaction = conn.transaction(**options)
    assert re.match(rf"<[\w.]+\.Transaction state:{words} 0x", repr(transaction))
    await transaction.start()
    assert f"state:{words.replace('new', 'started')}" in repr(transaction)
    await transaction.rollback()
    assert f"state:{words.replace('new', 'rolledback')}" in repr(transaction)


# What goes over the wire.


async def test_unused_block_sends_nothing(connect, tcp_dsn):
    """A block without a statement costs nothing, however it ends."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        async with conn.transaction():
            pass
        with pytest.raises(Oops):
            async with conn.transaction(isolation="serializable", readonly=True):
                raise Oops
        for end in "commit", "rollback":
            transaction = conn.transaction()
            await transaction.start()
            await getattr(transaction, end)()
        async with conn.transaction():
            async with conn.transaction():
                pass
        assert wire.kinds == ""
        assert not conn.is_in_transaction()
        assert await conn.fetchval("SELECT 1") == 1


async def test_unused_inner_block_sends_nothing(connect, tcp_dsn):
    """So does an unused block inside of one in use."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        async with conn.transaction():
            await conn.fetchval("SELECT 1")
            wire.clear()
            async with conn.transaction():
                pass
            with pytest.raises(Oops):
                async with conn.transaction():
                    raise Oops
            assert wire.kinds == ""


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchval", "execute"])
async def test_begin_rides(connect, tcp_dsn, method):
    """BEGIN goes with the first statement: two round trips for a block of one."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        query, args = "SELECT $1::int", (1,)
        if method == "execute":
            query, args = "SELECT 1", ()
        for _ in range(2):
            wire.clear()
            async with conn.transaction(isolation="serializable"):
                await getattr(conn, method)(query, *args)
            cost = len(wire.round_trips)
        assert cost == 2


async def test_begin_is_in_the_group_of_its_statement(connect, tcp_dsn):
    """BEGIN and the first statement share one Sync: one fails, both fail."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        await conn.fetchval("SELECT $1::int", 1)
        wire.clear()
        async with conn.transaction():
            await conn.fetchval("SELECT $1::int", 1)
            assert wire.kinds.count("S") == 1
            assert wire.kinds.endswith("S")
            assert "Q" not in wire.kinds


async def test_savepoint_rides(connect, tcp_dsn):
    """SAVEPOINT goes with the first statement of the inner block."""
    async with recorded(connect, tcp_dsn) as (conn, wire):
        async with conn.transaction():
            await conn.fetchval("SELECT $1::int", 1)
            async with conn.transaction():
                await conn.fetchval("SELECT $1::int", 1)
            wire.clear()
            async with conn.transaction():
                await conn.fetchval("SELECT $1::int", 1)
            assert len(wire.round_trips) <= 2


async def test_failed_begin_skips_the_statement(connect, tcp_dsn):
    """If the server refuses BEGIN, the statement does not run outside of any block."""
    create = "CREATE TABLE chopin_never (a int)"
    async with recorded(connect, tcp_dsn) as (conn, wire):
        for method in conn.execute, conn.fetch:
            # What a standby does with a serializable transaction, for one.
            wire.replace(b"BEGIN", b"BEGUN")
            with pytest.raises(chopin.PostgresSyntaxError, match="BEGUN"):
                async with conn.transaction():
                    await method(create)
            wire.replace(b"BEGUN", b"BEGIN")
            assert not conn.is_in_transaction()
            assert await conn.fetchval("SELECT to_regclass('chopin_never')") is None
            async with conn.transaction():
                assert await conn.fetchval("SELECT 1") == 1


async def test_begin_is_when_the_first_statement_is(connect, conn):
    """The transaction's time and snapshot are those of its first statement."""
    other = await connect()
    async with conn.transaction(isolation="repeatable_read"):
        before = await other.fetchval("SELECT clock_timestamp()")
        assert await conn.fetchval("SELECT now()") >= before


@pytest.mark.parametrize(
    "first",
    [
        lambda conn: conn.fetch("SELECT 1"),
        lambda conn: conn.fetchrow("SELECT $1::int", 1),
        lambda conn: conn.execute("SELECT 1; SELECT 2"),
        lambda conn: conn.execute("SELECT $1::int", 1),
        lambda conn: conn.executemany("SELECT $1::int", [(1,), (2,)]),
        lambda conn: conn.fetchmany("SELECT $1::int", [(1,), (2,)]),
        lambda conn: conn.fetchval(""),
        lambda conn: conn.fetchval("SELECT $1::pg_temp.mood[]", ["calm"]),
        lambda conn: conn.prepare("SELECT 1"),
    ],
    ids=[
        "fetch", "fetchrow", "script", "execute", "executemany", "fetchmany", "nothing",
        "type of the user", "prepare",
    ],
)  # fmt: skip
async def test_whatever_comes_first(conn, first):
    """Whichever call is a block's first, what follows is inside of the block."""
    await conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('calm')")
    for _ in range(2):
        async with conn.transaction(isolation="serializable"):
            await first(conn)
            got = await conn.fetchval("SHOW transaction_isolation")
            assert got == "serializable"
            assert conn.is_in_transaction()
        assert not conn.is_in_transaction()


@pytest.mark.parametrize("method", ["execute", "script", "fetch", "batch"])
@pytest.mark.parametrize("bad", ["SELEC 1", "SELECT nope", "SELECT 1 / 0"])
async def test_inner_block_whose_first_text_fails(conn, table, method, bad):
    """Whatever is wrong with it, the block around goes on without it."""

    async def call():
        if method == "batch":
            return await conn.batch([(bad,)])
        return await getattr(conn, method)(bad)

    async with conn.transaction():
        await insert(conn, 1)
        for _ in range(2):
            with pytest.raises(chopin.PostgresError) as caught:
                async with conn.transaction():
                    await call()
            assert caught.value.sqlstate in ("42601", "42703", "22012")
            assert caught.value.query == bad
        async with conn.transaction():
            await conn.execute("INSERT INTO t VALUES (2)")
        await insert(conn, 3)
    assert await table() == [1, 2, 3]


async def test_inner_block_in_a_failed_one(conn, table):
    """What fails in it says why, not that its savepoint is not there."""
    failed = chopin.InFailedSQLTransactionError
    for method in conn.execute, conn.fetch:
        with pytest.raises(failed):
            async with conn.transaction():
                await conn.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(chopin.DivisionByZeroError):
                    await conn.execute("SELECT 1 / 0")
                async with conn.transaction():
                    await method("INSERT INTO t VALUES (2)")
    assert await table() == []


async def test_savepoint_that_cannot_be_released(conn, table):
    """The block around it has failed; what follows does not run outside of it."""
    failed = chopin.InFailedSQLTransactionError
    with pytest.raises(failed):
        async with conn.transaction():
            await conn.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(failed):
                async with conn.transaction():
                    with pytest.raises(chopin.DivisionByZeroError):
                        await conn.execute("SELECT 1 / 0")
            await conn.execute("INSERT INTO t VALUES (2)")
    assert await table() == []


async def test_statement_that_is_stale_when_its_block_ends(conn, observer):
    """A task that nobody waits for does not repeat it behind the ROLLBACK."""
    observer.execute("CREATE TABLE chopin_stale (a int)")
    query = "INSERT INTO chopin_stale VALUES ($1) RETURNING *"
    try:
        await conn.fetch(query, 1)
        observer.execute("ALTER TABLE chopin_stale ADD b int")
        with pytest.raises(Oops):
            async with conn.transaction():
                task = asyncio.create_task(conn.fetch(query, 2))
                await asyncio.sleep(0)
                raise Oops
        with pytest.raises(chopin.InvalidCachedStatementError):
            await task
        assert await conn.fetchval("SELECT count(*) FROM chopin_stale") == 1
    finally:
        observer.execute("DROP TABLE chopin_stale")


async def test_begin_behind_a_cancelled_commit(conn):
    """A block begins when the ROLLBACK for the one before has been answered."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, conn.transaction():
            await conn.execute("SELECT 1")
            task = asyncio.create_task(conn.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
            limit.reschedule(0)
    async with conn.transaction():
        assert await conn.fetchval("SELECT 1") == 1


async def test_in_a_block_whose_begin_is_not_answered(conn):
    """It is open for a cursor too, which waits for its turn."""
    async with conn.transaction():
        task = asyncio.create_task(conn.fetchval("SELECT 1"))
        await asyncio.sleep(0)
        assert conn.is_in_transaction()
        cursor = await conn.cursor("SELECT generate_series(1, 3)")
        assert len(await cursor.fetch(9)) == 3
        assert await task == 1
    assert not conn.is_in_transaction()


async def test_in_a_block_whose_first_statement_was_cancelled(conn):
    """A cursor says what has become of the block, not that there is none."""
    with pytest.raises(chopin.InFailedSQLTransactionError):
        async with conn.transaction():
            with pytest.raises(TimeoutError):
                await conn.execute("SELECT pg_sleep(60)", timeout=0.05)
            assert conn.is_in_transaction()
            await conn.cursor("SELECT 1")
    assert not conn.is_in_transaction()
    assert await conn.fetchval("SELECT 1") == 1
