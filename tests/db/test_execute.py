"""execute: scripts without arguments, single statements with them."""

import pytest

import chopin


@pytest.mark.parametrize(
    ("query", "tag"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT i FROM generate_series(1, 3) AS i", "SELECT 3"),
        ("VALUES (1), (2)", "SELECT 2"),
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 1 WHERE false; SELECT 2", "SELECT 1"),
        ("INSERT INTO t VALUES (4), (5)", "INSERT 0 2"),
        ("UPDATE t SET a = a", "UPDATE 3"),
        ("DELETE FROM t WHERE a = 1", "DELETE 1"),
        ("DELETE FROM t WHERE false", "DELETE 0"),
        ("TRUNCATE t", "TRUNCATE TABLE"),
        ("CREATE TEMP TABLE u (a int)", "CREATE TABLE"),
        ("CREATE TEMP TABLE u AS TABLE t", "SELECT 3"),
        ("DROP TABLE t", "DROP TABLE"),
        ("BEGIN; ROLLBACK", "ROLLBACK"),
        ("SET work_mem = 1000", "SET"),
        ("DO 'BEGIN END'", "DO"),
        ("SHOW work_mem", "SHOW"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("VACUUM pg_am", "VACUUM"),
        (
            "MERGE INTO t USING (VALUES (1)) AS s (b) ON s.b = t.a"
            " WHEN MATCHED THEN DELETE",
            "MERGE 1",
        ),
    ],
)
async def test_returns_the_status(conn, query, tag):
    """The server's word on the last statement."""
    await conn.execute(
        "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2), (3)"
    )
    assert await conn.execute(query) == tag


@pytest.mark.parametrize(
    ("query", "args", "tag"),
    [
        ("SELECT $1::int", (5,), "SELECT 1"),
        ("INSERT INTO t VALUES ($1), ($2)", (7, None), "INSERT 0 2"),
        ("UPDATE t SET a = $1", (9,), "UPDATE 3"),
        ("DELETE FROM t WHERE a > $1", (1,), "DELETE 2"),
    ],
)
async def test_returns_the_status_with_arguments(conn, query, args, tag):
    """With arguments the statement is prepared; the status is the same."""
    await conn.execute(
        "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2), (3)"
    )
    assert await conn.execute(query, *args) == tag


@pytest.mark.parametrize("query", ["", ";", " ; ;", "-- nothing", "/* nothing */;"])
async def test_nothing_to_execute(conn, query):
    """Nothing is no error and has no status."""
    assert await conn.execute(query) == ""
    assert await conn.fetchval("SELECT 1") == 1


async def test_script_is_one_transaction(conn):
    """An error in one statement undoes those before it; those behind do not run."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    with pytest.raises(chopin.DivisionByZeroError):
        await conn.execute(
            "INSERT INTO t VALUES (1); SELECT 1/0; INSERT INTO t VALUES (2)"
        )
    assert await conn.fetch("TABLE t") == []
    assert not conn.is_in_transaction()


async def test_script_with_its_own_transaction(conn):
    """BEGIN and COMMIT in a script are the script's business."""
    await conn.execute(
        "CREATE TEMP TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); COMMIT; BEGIN"
    )
    assert conn.is_in_transaction()
    assert await conn.execute("ROLLBACK") == "ROLLBACK"
    assert not conn.is_in_transaction()
    assert await conn.fetch("TABLE t") == [(1,)]


async def test_script_discards_rows(conn):
    """The rows of a script are dropped, however many."""
    query = "SELECT repeat('x', 1000) FROM generate_series(1, 3000); SELECT 1, 2"
    assert await conn.execute(query) == "SELECT 1"
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("method", ["execute", "fetch", "fetchrow", "fetchval"])
async def test_several_statements_take_no_arguments(conn, method):
    """Arguments belong to one statement."""
    with pytest.raises(chopin.PostgresSyntaxError) as caught:
        await getattr(conn, method)("SELECT $1::int; SELECT 2", 1)
    assert caught.value.args[0] == (
        "cannot insert multiple commands into a prepared statement"
    )
    assert await conn.fetchval("SELECT 1") == 1


async def test_execute_number_of_arguments(conn):
    """A wrong number of arguments is told before anything is done."""
    await conn.execute("CREATE TEMP TABLE t (a int)")
    with pytest.raises(
        chopin.InterfaceError,
        match="the server expects 1 argument for this query, 2 were passed",
    ):
        await conn.execute("INSERT INTO t VALUES ($1)", 1, 2)
    assert await conn.fetch("TABLE t") == []


async def test_parameter_without_arguments_in_a_script(conn):
    """A script has no parameters: the server says so."""
    with pytest.raises(chopin.UndefinedParameterError, match="there is no parameter"):
        await conn.execute("SELECT $1::int")


async def test_script_knows_all_utf8(conn):
    """Names, literals and comments are UTF-8."""
    await conn.execute('CREATE TEMP TABLE "größe" ("名" text)')
    await conn.execute("INSERT INTO \"größe\" VALUES ('🐘') -- naïve")
    row = await conn.fetchrow('TABLE "größe"')
    assert dict(row) == {"名": "🐘"}


async def test_script_sent_in_several_reads(conn):
    """A long script is taken whole."""
    script = ";".join(f"SELECT {i}, '{'x' * 100}'" for i in range(2000))
    assert await conn.execute(script) == "SELECT 1"
