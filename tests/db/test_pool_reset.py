"""What one user of a connection leaves behind does not come to the next one.

What is expected here was first seen to hold for asyncpg, which always resets and waits
for it, but for temporary tables and roles, which it leaves.
"""

import asyncio
import itertools

import pytest

import chopin
from tests.support.backends import Gate, until
from tests.support.pools import PID, assert_serves, patience, turns

LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
MEMORY = "SHOW work_mem"
COUNT = "SELECT coalesce(nullif(current_setting('chopin.resets', true), ''), '0')::int"
COUNT_UP = (
    "SELECT set_config('chopin.resets', (coalesce(nullif("
    "current_setting('chopin.resets', true), ''), '0')::int + 1)::text, false)"
)
numbers = itertools.count(8_000_001)  # of locks, and of names


class Counting(chopin.Connection):
    """A connection whose reset does nothing but count how often it was run."""

    def get_reset_query(self):
        """SQL."""
        return COUNT_UP


class Never(chopin.Connection):
    """A connection whose reset does nothing."""

    said = ""

    def get_reset_query(self):
        """No SQL."""
        return self.said


class Failing(chopin.Connection):
    """A connection that does not know how to be reset."""

    def get_reset_query(self):
        """No answer."""
        raise ZeroDivisionError


@pytest.fixture
async def pool(create):
    """A pool of one connection."""
    return await create(max_size=1)


# What can be left, and how the next user would see it.
LEFT = {
    "SET": ("SET work_mem TO '1MB'", MEMORY, "4MB"),
    "set_config": ("SELECT set_config('work_mem', '1MB', false)", MEMORY, "4MB"),
    "a setting that is reported": ("SET intervalstyle TO 'sql_standard'",
        "SHOW intervalstyle", "postgres"),
    "a setting of the user's": ("SET chopin.mine TO 'x'",
        "SELECT coalesce(current_setting('chopin.mine', true), '')", ""),
    "a default of transactions":
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW default_transaction_read_only", "off"),
    "DO": ("DO $$BEGIN PERFORM set_config('work_mem', '1MB', false); END$$",
        MEMORY, "4MB"),
    "a comment": ("/* SELECT 1 */ SET work_mem TO '1MB' -- no", MEMORY, "4MB"),
    "a lock": ("SELECT pg_advisory_lock(8000000)",
        LOCKS.replace("%s", "8000000"), 0),
    "a lock among rows":
        ("SELECT a, pg_try_advisory_lock(a) FROM generate_series(8000000, 8000001) a",
        LOCKS.replace("%s", "8000001"), 0),
    "LISTEN": ("LISTEN chopin", "SELECT count(*) FROM pg_listening_channels()", 0),
    "a cursor": ("DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) FROM pg_cursors WHERE name = 'c'", 0),
}  # fmt: skip
# What asyncpg would leave.
LEFT_TOO = {
    "a temporary table": ("CREATE TEMP TABLE t AS SELECT 1",
        "SELECT to_regclass('pg_temp.t')::text", None),
    "SELECT INTO": ("SELECT 1 AS a INTO TEMP t",
        "SELECT to_regclass('pg_temp.t')::text", None),
    "a role": ("SET ROLE pg_monitor", "SELECT current_user::text", "postgres"),
    "a session's user": ("SET SESSION AUTHORIZATION pg_monitor",
        "SELECT session_user::text", "postgres"),
}  # fmt: skip


async def prepared(conn, sql):
    """Run it as a prepared statement."""
    await (await conn.prepare(sql)).fetch()


async def in_a_transaction(conn, sql):
    """Run it in a transaction that is committed."""
    async with conn.transaction():
        await conn.fetch(sql)


async def with_others(conn, sql):
    """Run it among others at once."""
    await conn.execute(f"SELECT 1; {sql}")


WAYS = [
    lambda conn, sql: conn.execute(sql),
    lambda conn, sql: conn.fetch(sql),
    lambda conn, sql: conn.fetchval(sql),
    lambda conn, sql: conn.executemany(sql, [()]),
    prepared,
    in_a_transaction,
    with_others,
]


async def assert_leaves_nothing(pool, sql, look, expected):
    """However it is run, neither the next borrower nor the next query sees it."""
    pid = await pool.fetchval(PID)
    for number, run in enumerate(WAYS):
        async with pool.acquire() as conn:
            await run(conn, sql)
        async with pool.acquire() as conn:
            assert await conn.fetchval(look) == expected, number
        async with pool.acquire() as conn:
            await run(conn, sql)
        assert await pool.fetchval(look) == expected, number
    for number, run in enumerate([pool.execute, pool.fetch, pool.fetchval]):
        await run(sql)
        assert await pool.fetchval(look) == expected, number
        await run(sql)
        async with pool.acquire() as conn:
            assert await conn.fetchval(look) == expected, number
    assert await pool.fetchval(PID) == pid


@pytest.mark.parametrize(("sql", "look", "expected"), LEFT.values(), ids=LEFT)
async def test_left_behind(pool, sql, look, expected):
    """Nothing that was set, locked, opened or listened to is there afterwards."""
    await assert_leaves_nothing(pool, sql, look, expected)


@pytest.mark.parametrize(("sql", "look", "expected"), LEFT_TOO.values(), ids=LEFT_TOO)
async def test_left_behind_by_name(pool, sql, look, expected):
    """Nor is who one was, nor what was created for the session."""
    await assert_leaves_nothing(pool, sql, look, expected)


@pytest.fixture
def hidden(observer):
    """SQL that takes a lock and sets something without any word about it."""
    name = f"pool_hidden_{next(numbers)}"
    key = next(numbers)
    observer.execute(f"CREATE TABLE {name} (a int)")
    observer.execute(
        f"CREATE FUNCTION {name}() RETURNS int LANGUAGE plpgsql AS $$BEGIN"
        f" PERFORM set_config('work_mem', '1MB', false), pg_advisory_lock({key});"
        " RETURN 1; END$$"
    )
    observer.execute(
        f"CREATE FUNCTION {name}_t() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        f" PERFORM {name}(); RETURN new; END$$"
    )
    observer.execute(
        f"CREATE TRIGGER t BEFORE INSERT ON {name} FOR EACH ROW"
        f" EXECUTE FUNCTION {name}_t()"
    )
    observer.execute(f"CREATE VIEW {name}_v AS SELECT {name}() AS a")
    yield name, key
    observer.execute(f"DROP VIEW {name}_v")
    observer.execute(f"DROP TABLE {name}")
    observer.execute(f"DROP FUNCTION {name}_t()")
    observer.execute(f"DROP FUNCTION {name}()")


async def test_left_behind_by_a_function(hidden, pool):
    """A function whose effects nobody knows may have had some."""
    name, key = hidden
    sql = f"SELECT {name}()"
    await assert_leaves_nothing(pool, sql, MEMORY, "4MB")
    await assert_leaves_nothing(pool, sql, LOCKS.replace("%s", str(key)), 0)


@pytest.mark.parametrize("sql", ["TABLE {}_v", "INSERT INTO {} VALUES (1)"])
async def test_left_behind_unseen(hidden, create, sql):
    """What no text can tell, such as what a view or a trigger does, needs "always"."""
    pool = await create(max_size=1, reset="always")
    name, key = hidden
    sql = sql.format(name)
    await assert_leaves_nothing(pool, sql, MEMORY, "4MB")
    await assert_leaves_nothing(pool, sql, LOCKS.replace("%s", str(key)), 0)


async def test_left_behind_by_many(pool):
    """The pool's methods that run many leave nothing either."""
    sql = "SELECT set_config('work_mem', $1, false)"
    for method in pool.executemany, pool.fetchmany:
        await method(sql, [("1MB",), ("2MB",)])
        assert await pool.fetchval(MEMORY) == "4MB"


async def test_left_behind_by_an_error(pool):
    """What was set before an error that the user has caught is reset."""
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem TO '1MB'")
        with pytest.raises(chopin.DivisionByZeroError):
            await conn.fetch("SELECT 1/0")
    assert await pool.fetchval(MEMORY) == "4MB"
    with pytest.raises(chopin.DivisionByZeroError):
        async with pool.acquire() as conn:
            await conn.execute("SET work_mem TO '1MB'")
            await conn.execute("SELECT 1/0")
    assert await pool.fetchval(MEMORY) == "4MB"


@pytest.mark.parametrize("way", ["connection", "pool"])
async def test_lock_is_free_though_nobody_comes(pool, observer, way):
    """A lock goes when its holder gives the connection back, not when one is needed."""
    key = next(numbers)
    if way == "pool":
        await pool.fetchval("SELECT pg_advisory_lock($1)", key)
    else:
        async with pool.acquire() as conn:
            await conn.fetchval("SELECT pg_advisory_lock($1)", key)
            assert observer.execute(LOCKS, [key]).fetchone() == (1,)
    await until(observer, f"SELECT ({LOCKS}) = 0", key)
    await assert_serves(pool, size=1)


async def test_settings_of_connecting_stay(create):
    """What the connection was opened with is what it is reset to."""
    pool = await create(max_size=1, server_settings={"work_mem": "2MB"})
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem TO '1MB'")
    assert await pool.fetchval(MEMORY) == "2MB"


WHO = "SELECT ARRAY[session_user, current_user]::text[]"
ROLES = {
    "role": ('SET ROLE "{}"', ["postgres", "{}"]),
    "by a function": ("SELECT set_config('role', '{}', false)", ["postgres", "{}"]),
    "user": ('SET SESSION AUTHORIZATION "{}"', ["{}", "{}"]),
    "both": (
        'SET SESSION AUTHORIZATION "{}"; SET ROLE pg_monitor',
        ["{}", "pg_monitor"],
    ),
}


@pytest.fixture
def role(observer):
    """A role whose name must be quoted, and that may be `pg_monitor`."""
    name = f'Who "{next(numbers)}" is'
    quoted = name.replace('"', '""')
    observer.execute(f'CREATE ROLE "{quoted}" IN ROLE pg_monitor')
    yield name
    observer.execute(f'DROP ROLE IF EXISTS "{quoted}"')


@pytest.mark.parametrize("hook", ["init", "connect"])
@pytest.mark.parametrize(("sql", "who"), ROLES.values(), ids=ROLES)
async def test_role_of_init_stays(create, role, sql, who, hook):
    """Who `init` or `connect` has made it is what the connection is reset to."""
    escaped = role if sql.startswith("SELECT") else role.replace('"', '""')
    sql, who = sql.format(escaped), [part.format(role) for part in who]

    async def connect(*args, **options):
        conn = await chopin.connect(*args, **options)
        await conn.execute(sql)
        return conn

    hooks = {"init": lambda conn: conn.execute(sql), "connect": connect}
    pool = await create(max_size=1, **{hook: hooks[hook]})
    pid = await pool.fetchval(PID)
    assert await pool.fetchval(WHO) == who
    for other in ("SET work_mem TO '1MB'", "SET ROLE pg_monitor", "RESET ROLE"):
        async with pool.acquire() as conn:
            await conn.execute(other)
        assert await pool.fetchval(WHO) == who, other
        await pool.execute(other)
        async with pool.acquire() as conn:
            assert await conn.fetchval(WHO) == who, other
            await conn.execute(other)
            await conn.reset()
            assert await conn.fetchval(WHO) == who, other
    await pool.execute("SET SESSION AUTHORIZATION DEFAULT")
    assert await asyncio.gather(*(pool.fetchval(WHO) for _ in range(3))) == [who] * 3
    assert await pool.fetchval(PID) == pid


async def test_role_that_is_gone(create, observer, role):
    """Nobody is served by a connection that cannot become who it was."""
    quoted = role.replace('"', '""')
    other = f"{quoted} anew"
    name = [quoted]
    pool = await create(max_size=1, init=lambda c: c.execute(f'SET ROLE "{name[0]}"'))
    pid = await pool.fetchval(PID)
    observer.execute(f'ALTER ROLE "{quoted}" RENAME TO "{other}"')
    name[0] = other
    try:
        async with patience():
            await pool.execute("SET work_mem TO '1MB'")
            who = await asyncio.gather(*(pool.fetchval(WHO) for _ in range(3)))
            assert who == [["postgres", other.replace('""', '"')]] * 3
            assert await pool.fetchval(PID) != pid
    finally:
        observer.execute(f'DROP ROLE "{other}"')


async def test_statements_stay(pool):
    """A statement that was prepared once is not prepared again for the next user."""
    sql = "SELECT 7 AS lucky"
    when = "SELECT prepare_time FROM pg_prepared_statements WHERE statement = $1"
    async with pool.acquire() as conn:
        await conn.fetch(sql)
        first = await conn.fetchval(when, sql)
        assert first is not None
        await conn.execute("SET work_mem TO '1MB'")
    for again in range(4):
        async with pool.acquire() as conn:
            await conn.fetch(sql)
            assert await conn.fetchval(when, sql) == first
            await conn.execute("SET work_mem TO '2MB'")
            if again > 1:
                await conn.reset()
    await pool.fetch(sql)
    assert await pool.fetchval(when, sql) == first


# Transactions.

BEGUN = {
    "by hand": lambda conn: conn.execute("BEGIN"),
    "by fetch": lambda conn: conn.fetch("BEGIN"),
    "among others": lambda conn: conn.execute("SELECT 1; BEGIN; SELECT 2"),
    "started": lambda conn: conn.transaction().start(),
}


@pytest.mark.parametrize("has_failed", [False, True], ids=["open", "failed"])
@pytest.mark.parametrize("begin", BEGUN.values(), ids=BEGUN)
async def test_open_transaction(pool, tidy, begin, has_failed):
    """A transaction that was left open is rolled back, and the loop is told."""
    pid = await pool.fetchval(PID)
    async with pool.acquire() as conn:
        await begin(conn)
        await conn.execute("CREATE TEMP TABLE t (a int)")
        if has_failed:
            with pytest.raises(chopin.DivisionByZeroError):
                await conn.fetch("SELECT 1/0")
        assert conn.is_in_transaction()
    [context] = tidy.loop_errors
    tidy.loop_errors.clear()
    assert "Resetting connection with an active transaction" in context["message"]
    async with pool.acquire() as conn:
        assert conn.get_server_pid() == pid
        assert not conn.is_in_transaction()
        assert await conn.fetchval("SELECT to_regclass('pg_temp.t')::text") is None
        async with conn.transaction():
            assert await conn.fetchval("SELECT 1") == 1
    await assert_serves(pool, size=1)


async def test_open_transaction_of_a_query(pool, tidy):
    """Nor does a single query leave a transaction open."""
    for call in (
        lambda: pool.execute("BEGIN"),
        lambda: pool.fetch("BEGIN"),
        lambda: pool.execute("BEGIN; SELECT 1"),
    ):
        await call()
        await assert_serves(pool, size=1)
        with pytest.raises(chopin.DivisionByZeroError):
            await pool.execute("BEGIN; SELECT 1/0")
        await assert_serves(pool, size=1)
    tidy.loop_errors.clear()


MAKE_T = """CREATE FUNCTION make_t() RETURNS int LANGUAGE plpgsql AS
    $$BEGIN CREATE TEMP TABLE t (a int); RETURN 1; END$$"""


@pytest.mark.parametrize(
    "texts",
    [
        ["SET search_path = pg_temp", "CREATE TABLE t (a int)"],
        ["DECLARE c CURSOR WITH HOLD FOR SELECT make_t()"],
    ],
    ids=["search_path", "cursor"],
)
async def test_statements_about_temporary_tables_go_with_them(pool, texts):
    """Or the next user's table of that name would have the columns of the last."""
    await pool.execute(MAKE_T)
    async with pool.acquire() as conn:
        for text in texts:
            await conn.execute(text)
        assert await conn.fetch("SELECT * FROM t") == []
    async with pool.acquire() as conn:
        async with conn.transaction():
            await conn.execute("CREATE TEMP TABLE t AS SELECT 'x' AS b, 'y' AS c")
            assert await conn.fetch("SELECT * FROM t") == [("x", "y")]
    await pool.execute("DROP FUNCTION make_t")


async def test_transaction_block_is_nobodys_fault(pool):
    """A block that was still open at the release is rolled back without a report."""
    with pytest.raises(chopin.InterfaceError):
        async with pool.acquire() as conn:
            async with conn.transaction():
                await conn.execute("CREATE TEMP TABLE t (a int)")
                await pool.release(conn)
    assert await pool.fetchval("SELECT to_regclass('pg_temp.t')::text") is None


async def test_ended_transaction(pool):
    """The loop is told nothing of transactions that have ended, however they began."""
    async with pool.acquire() as conn:
        await conn.execute("BEGIN")
        await conn.execute("COMMIT")
        transaction = conn.transaction()
        await transaction.start()
        await transaction.rollback()
    await assert_serves(pool, size=1)


# The user's own reset.


async def test_reset_query_of_a_class(create):
    """A connection class may say what a reset is, and that it is nothing."""
    pool = await create(max_size=1, connection_class=Counting)
    for number in range(1, 4):
        async with pool.acquire() as conn:
            await conn.execute("SET work_mem TO '1MB'")
            assert await conn.fetchval(COUNT) == number - 1
        async with pool.acquire() as conn:
            assert await conn.fetchval(COUNT) == number
            assert await conn.fetchval(MEMORY) == "1MB"
            await conn.execute(f"SET chopin.resets TO '{number - 1}'")

    for said in "", None:
        kind = type("Never", (Never,), {"said": said})
        pool = await create(max_size=1, connection_class=kind)
        async with pool.acquire() as conn:
            await conn.execute("SET work_mem TO '1MB'")
        assert await pool.fetchval(MEMORY) == "1MB"


async def harmless(pool):
    """Everything that leaves nothing behind."""
    async with pool.acquire() as conn:
        await conn.fetch("SELECT a, lower('X') FROM generate_series(1, 3) AS a")
        await conn.fetchval("SELECT count(*) FROM pg_class WHERE relname = $1", "x")
    async with pool.acquire() as conn:
        async with conn.transaction(isolation="serializable", readonly=True):
            await conn.fetch("SELECT 1")
            async with conn.transaction():
                await conn.execute("SET LOCAL work_mem TO '1MB'")
    async with pool.acquire() as conn:
        statement = await conn.prepare("SELECT $1::int")
        await statement.fetch(1)
        async with conn.transaction():
            assert [row async for row in conn.cursor("SELECT 1")]
        await conn.executemany("SELECT $1::int", [(1,), (2,)])
    with pytest.raises(chopin.DivisionByZeroError):
        async with pool.acquire() as conn:
            async with conn.transaction():
                await conn.fetch("SELECT 1/0")
    await pool.fetch("SELECT 1")
    await pool.execute("SELECT 1")
    await pool.fetchmany("SELECT $1::int", [(1,), (2,)])
    with pytest.raises(chopin.DivisionByZeroError):
        await pool.fetch("SELECT 1/0")


async def test_nothing_to_reset(create):
    """What leaves nothing behind is not reset."""
    pool = await create(max_size=1, connection_class=Counting)
    await harmless(pool)
    assert await pool.fetchval(COUNT) == 0
    assert pool.stats().resets == 0


async def test_reset_always(create):
    """`reset="always"` resets after every borrower."""
    pool = await create(max_size=1, reset="always", connection_class=Counting)
    for number in range(3):
        async with pool.acquire() as conn:
            assert await conn.fetchval(COUNT) == number
    assert pool.stats().resets == 3


async def test_reset_never(create, tidy):
    """`reset="never"` leaves everything but a transaction."""
    pool = await create(max_size=1, reset="never", connection_class=Counting)
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem TO '1MB'")
        await conn.transaction().start()
        await conn.execute("CREATE TEMP TABLE t (a int)")
    tidy.loop_errors.clear()
    async with pool.acquire() as conn:
        assert not conn.is_in_transaction()
        assert await conn.fetchval("SELECT to_regclass('pg_temp.t')::text") is None
        assert await conn.fetchval(MEMORY) == "1MB"
        assert await conn.fetchval(COUNT) == 0
    assert pool.stats().resets == 0


async def test_reset_by_sql(create):
    """`reset` may be the SQL itself; it is run where something was left behind."""
    pool = await create(max_size=1, reset=COUNT_UP)
    async with pool.acquire() as conn:
        await conn.fetchval("SELECT 1")
    assert await pool.fetchval(COUNT) == 0
    async with pool.acquire() as conn:
        await conn.execute("SET work_mem TO '1MB'")
    assert await pool.fetchval(COUNT) == 1
    assert await pool.fetchval(MEMORY) == "1MB"
    await pool.execute("SET work_mem TO '2MB'")
    assert await pool.fetchval(COUNT) == 2


async def test_reset_fails(create, observer):
    """A connection that cannot be reset has no next user."""
    pool = await create(max_size=1, reset="SELECT 1/0")
    for use in (
        lambda conn: conn.execute("SET work_mem TO '1MB'"),
        lambda conn: conn.execute("CREATE TEMP TABLE t (a int)"),
    ):
        async with pool.acquire() as conn:
            pid = conn.get_server_pid()
            await use(conn)
        async with patience():
            assert await pool.fetchval(PID) != pid
        await until(
            observer, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s", pid
        )
    await assert_serves(pool, size=1)


@pytest.mark.parametrize("use", ["acquire", "execute"])
async def test_reset_query_fails(create, use):
    """Who gives a connection back is told, and the connection has no next user."""
    pool = await create(max_size=1, connection_class=Failing)
    pid = await pool.fetchval(PID)
    with pytest.raises(ZeroDivisionError):
        if use == "execute":
            await pool.execute("SET work_mem TO '1MB'")
        else:
            async with pool.acquire() as conn:
                await conn.execute("SET work_mem TO '1MB'")
    async with patience():
        assert await pool.fetchval(PID) != pid
    await assert_serves(pool, size=1)


async def test_nobody_waits_for_the_reset(create, observer):
    """A release returns before the server has reset anything; who comes next waits."""
    with Gate(observer) as gate:
        pool = await create(max_size=1, reset=f"SELECT {gate.sql}")
        async with patience():
            async with pool.acquire() as conn:
                pid = conn.get_server_pid()
                await conn.execute("SET work_mem TO '1MB'")
            await gate.reached()
            following = asyncio.create_task(pool.fetchval(PID))
            await turns()
            assert not following.done()
            gate.open()
            assert await following == pid
    await assert_serves(pool, size=1)
