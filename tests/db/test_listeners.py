"""Log, termination and query listeners; what a connection says of itself; its end."""

import asyncio
import gc
import re
import weakref

import pytest

import chopin
from tests.support.proxy import recorded

RESET = ["pg_advisory_unlock_all()", "CLOSE ALL", "UNLISTEN *", "RESET ALL"]


def notice(level, text, **options):
    """A statement that makes the server say something."""
    using = ", ".join(f"{key} = '{value}'" for key, value in options.items())
    return f"DO $$BEGIN RAISE {level} '{text}'{using and ' USING '}{using}; END$$"


class Ears:
    """Callbacks that remember what they were called with."""

    def __init__(self):
        self.heard = []
        self._changed = asyncio.Event()

    def __call__(self, *args):
        self.heard.append(args)
        self._changed.set()

    async def listen(self, *args):
        """The same as a coroutine function."""
        self(*args)

    async def until(self, count):
        """Wait for so many calls."""
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.heard


@pytest.fixture
async def ears():
    """New `Ears`."""
    return Ears()


# Log listeners.


@pytest.mark.parametrize(
    ("level", "options", "kind", "sqlstate"),
    [
        ("NOTICE", {}, chopin.PostgresLogMessage, "00000"),
        ("INFO", {}, chopin.PostgresLogMessage, "00000"),
        ("WARNING", {}, chopin.PostgresWarning, "01000"),
        ("NOTICE", {"ERRCODE": "01P01"}, chopin.exceptions.DeprecatedFeature, "01P01"),
        ("WARNING", {"ERRCODE": "XY123"}, chopin.PostgresWarning, "XY123"),
    ],
)
async def test_log_listener(conn, ears, level, options, kind, sqlstate):
    """What the server says comes as an object with all that it said."""
    conn.add_log_listener(ears)
    await conn.execute(notice(level, "hey", DETAIL="d", HINT="h", **options))
    [(got_conn, message)] = await ears.until(1)
    assert got_conn is conn
    assert isinstance(message, kind)
    assert (message.severity, message.severity_en) == (level, level)
    assert message.sqlstate == sqlstate
    assert (message.message, message.detail, message.hint) == ("hey", "d", "h")
    assert message.as_dict()["message"] == "hey"
    assert str(message).endswith("hey")


@pytest.mark.parametrize(
    "call",
    [
        lambda conn, sql: conn.execute(sql),
        lambda conn, sql: conn.fetch(sql),
        lambda conn, sql: conn.executemany(sql, [()]),
    ],
    ids=["execute", "fetch", "executemany"],
)
async def test_log_of_every_method(conn, ears, call):
    """However a statement is run, what it logs is heard, in order."""
    conn.add_log_listener(ears)
    for i in range(3):
        await call(conn, notice("NOTICE", f"number {i}"))
    heard = await ears.until(3)
    assert [message.message for _, message in heard] == [
        f"number {i}" for i in range(3)
    ]


async def test_log_before_an_error(conn, ears):
    """What was said before an error is heard, and is no error."""
    conn.add_log_listener(ears)
    with pytest.raises(chopin.DivisionByZeroError):
        await conn.execute(f"{notice('NOTICE', 'soon')}; SELECT 1/0")
    [(_, message)] = await ears.until(1)
    assert message.message == "soon"


@pytest.mark.parametrize("args", [(), (0,)])
@pytest.mark.parametrize("is_async", [False, True])
async def test_log_ahead_of_the_answer(conn, ears, is_async, args):
    """Who awaits a call knows afterwards everything that the server has said of it."""
    conn.add_log_listener(ears.listen if is_async else ears)
    await conn.execute(
        "CREATE FUNCTION pg_temp.said(i int) RETURNS int LANGUAGE plpgsql AS "
        "$$BEGIN RAISE NOTICE 'one'; PERFORM pg_sleep(0.01); RAISE NOTICE 'two'; "
        "RETURN i; END$$"
    )
    for number in range(1, 6):
        await conn.execute(f"SELECT pg_temp.said({'$1' if args else 0})", *args)
        assert len(ears.heard) == 2 * number


async def test_log_listeners_are_a_set(conn):
    """A listener counts once, however often it is added, and can be removed."""
    one, two = Ears(), Ears()
    conn.add_log_listener(one)
    conn.add_log_listener(one)
    conn.add_log_listener(two.listen)
    await conn.execute(notice("NOTICE", "first"))
    await two.until(1)
    conn.remove_log_listener(one)
    conn.remove_log_listener(one)
    await conn.execute(notice("NOTICE", "second"))
    await two.until(2)
    assert len(one.heard) == 1


async def test_log_listener_fails(conn, tidy, ears):
    """What a listener raises goes to the loop's handler; nothing else is disturbed."""

    def fail(conn, message):
        raise LookupError("not my day")

    conn.add_log_listener(fail)
    conn.add_log_listener(ears)
    assert await conn.execute(notice("NOTICE", "hey")) == "DO"
    await ears.until(1)
    assert await conn.fetchval("SELECT 1") == 1
    [context] = tidy.loop_errors
    tidy.loop_errors.clear()
    assert str(context["exception"]) == "not my day"


@pytest.mark.parametrize(
    "method", ["add_log_listener", "add_termination_listener", "add_query_logger"]
)
async def test_listener_must_be_callable(conn, method):
    """What cannot be called is refused when it is added."""
    with pytest.raises(chopin.InterfaceError, match="expected a callable or an `async"):
        getattr(conn, method)(5)


async def test_nobody_listens(conn):
    """Without a listener what the server says is dropped."""
    assert await conn.execute(notice("WARNING", "hey")) == "DO"


# Termination listeners.


@pytest.mark.parametrize("how", ["close", "terminate", "killed", "killed in a query"])
async def test_termination_listener(connect, observer, how):
    """However a connection ends, its listeners are called once, with it closed."""
    conn, plain, coroutine, removed = await connect(), Ears(), Ears(), Ears()
    conn.add_termination_listener(lambda con: plain(con, con.is_closed()))
    conn.add_termination_listener(coroutine.listen)
    conn.add_termination_listener(removed)
    conn.remove_termination_listener(removed)
    if how == "close":
        await conn.close()
    elif how == "terminate":
        conn.terminate()
    elif how == "killed":
        observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
    else:
        with pytest.raises(chopin.ConnectionDoesNotExistError):
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await plain.until(1) == [(conn, True)]
    assert await coroutine.until(1) == [(conn,)]
    await conn.close()
    conn.terminate()
    assert len(plain.heard) == len(coroutine.heard) == 1
    assert removed.heard == []


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_termination_listener_of_what_nobody_has(dsn, how, ears):
    """Who ends a connection and forgets it has its listeners called all the same."""
    conn = await chopin.connect(dsn)
    conn.add_termination_listener(lambda con: ears(con.is_closed()))
    ended = weakref.ref(conn)
    if how == "close":
        await conn.close()
    else:
        conn.terminate()
    del conn
    assert await ears.until(1) == [(True,)]
    gc.collect()
    assert ended() is None


async def test_killed_while_idle(connect, observer, ears):
    """A connection that the server has ended knows it without being used."""
    conn = await connect()
    conn.add_termination_listener(ears)
    observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
    await ears.until(1)
    assert conn.is_closed()
    with pytest.raises(chopin.InterfaceError, match="^connection is closed$"):
        await conn.fetch("SELECT 1")


async def test_killed_in_a_query(connect):
    """The query says what the server's last words were."""
    conn = await connect()
    with pytest.raises(chopin.ConnectionDoesNotExistError) as caught:
        await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    words = "terminating connection due to administrator command"
    assert str(caught.value) == (
        f"connection was closed in the middle of operation: {words}"
    )
    assert caught.value.sqlstate == "08003"
    cause = caught.value.__cause__
    assert type(cause) is chopin.AdminShutdownError
    assert cause.args[0] == words
    assert conn.is_closed()


# Query loggers.


@pytest.mark.parametrize("is_async", [False, True])
async def test_killed_is_told_ahead_of_the_error(connect, observer, ears, is_async):
    """Who gets the error of a lost connection: its listeners have been called."""
    conn = await connect()
    conn.add_termination_listener(ears.listen if is_async else ears)
    call = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
    observer.execute("SELECT pg_terminate_backend(%s)", [conn.get_server_pid()])
    with pytest.raises(chopin.ConnectionDoesNotExistError):
        await call
    assert ears.heard == [(conn,)]


async def test_query_logger(conn, ears):
    """Each query is told with what is known of it afterwards."""
    conn.add_query_logger(ears)
    await conn.fetch("SELECT $1::int", 5, timeout=7)
    [(got,)] = await ears.until(1)
    assert got.query == "SELECT $1::int"
    assert (got.args, got.timeout, got.exception) == ((5,), 7, None)
    assert type(got.elapsed) is float
    assert got.elapsed >= 0
    assert got.conn_addr
    assert (got.conn_params.user, got.conn_params.database) == ("postgres", "postgres")


async def test_query_logger_of_every_method(conn, ears):
    """Every method that runs a query of the user's is logged once."""
    conn.add_query_logger(ears)
    rows = [(1,), (2,)]
    await conn.fetchrow("SELECT $1::int", 1)
    await conn.fetchval("SELECT 1")
    await conn.execute("SELECT 2")
    await conn.executemany("SELECT $1::int", rows)
    await conn.fetchmany("SELECT $1::int", rows)
    heard = await ears.until(5)
    assert [(one.query, one.args) for (one,) in heard] == [
        ("SELECT $1::int", (1,)),
        ("SELECT 1", ()),
        ("SELECT 2", ()),
        ("SELECT $1::int", rows),
        ("SELECT $1::int", rows),
    ]


@pytest.mark.parametrize(
    ("query", "args", "error"),
    [
        ("SELECT 1/0", (), chopin.DivisionByZeroError),
        ("SELEC 1", (), chopin.PostgresSyntaxError),
        ("SELECT $1::int", ("x",), chopin.DataError),
    ],
)
@pytest.mark.parametrize("method", ["fetch", "execute"])
async def test_query_logger_sees_errors(conn, ears, method, query, args, error):
    """A failed query is logged with its exception."""
    conn.add_query_logger(ears)
    with pytest.raises(error) as caught:
        await getattr(conn, method)(query, *args)
    [(got,)] = await ears.until(1)
    assert got.exception is caught.value
    assert (got.query, got.args) == (query, args)


async def test_query_logger_that_cannot_be_called(conn, tidy, ears):
    """It goes to the loop's handler as well; the query has its result."""

    async def deaf():
        """Takes no record."""

    conn.add_query_logger(deaf)
    conn.add_query_logger(ears)
    assert await conn.fetchval("SELECT 1") == 1
    assert [row["?column?"] async for row in conn.stream("SELECT 2")] == [2]
    await ears.until(2)
    assert [type(one["exception"]) for one in tidy.loop_errors] == [TypeError] * 2
    tidy.loop_errors.clear()


async def test_query_logger_for_a_while(conn):
    """As a context manager a logger is there inside of the block only."""
    inside, after = Ears(), Ears()
    with conn.query_logger(inside) as entered:
        assert entered is None
        await conn.fetch("SELECT 1")
    conn.add_query_logger(after.listen)
    await conn.fetch("SELECT 2")
    [(got,)] = await after.until(1)
    assert got.query == "SELECT 2"
    conn.remove_query_logger(after.listen)
    await conn.fetch("SELECT 3")
    assert [one.query for (one,) in inside.heard] == ["SELECT 1"]


# What a connection says of itself.


async def test_server_version(server, conn):
    """The version as a tuple with names."""
    got = conn.get_server_version()
    assert type(got) is chopin.types.ServerVersion
    assert (got.major, got.minor, got.micro) == (
        server.version[0],
        0,
        server.version[1],
    )
    assert (got.releaselevel, got.serial) == ("final", 0)


async def test_server_pid(conn):
    """The process id of the session."""
    assert conn.get_server_pid() == await conn.fetchval("SELECT pg_backend_pid()")


async def test_settings(conn):
    """Settings that the server reports are attributes, and follow changes."""
    settings = conn.get_settings()
    assert settings.client_encoding == "UTF8"
    assert settings.TimeZone == "UTC"
    assert settings.server_version.startswith(str(conn.get_server_version().major))
    assert not hasattr(settings, "nope")
    await conn.execute("SET timezone = 'Europe/Berlin'; SET application_name = 'other'")
    assert conn.get_settings().TimeZone == settings.TimeZone == "Europe/Berlin"
    assert settings.application_name == "other"
    assert "Europe/Berlin" in repr(settings)


async def test_closed_connection_still_knows(connect):
    """What is known of the session outlives it."""
    conn = await connect()
    pid = conn.get_server_pid()
    await conn.close()
    assert conn.is_closed()
    assert not conn.is_in_transaction()
    assert conn.get_server_pid() == pid
    assert conn.get_settings().TimeZone == "UTC"
    assert conn.get_server_version().major >= 15
    assert all(part in conn.get_reset_query() for part in RESET)


CLOSED = [
    lambda conn: conn.fetch("SELECT 1"),
    lambda conn: conn.fetchrow("SELECT 1"),
    lambda conn: conn.fetchval("SELECT 1"),
    lambda conn: conn.fetchmany("SELECT 1", [()]),
    lambda conn: conn.execute("SELECT 1"),
    lambda conn: conn.execute("SELECT $1::int", 1),
    lambda conn: conn.executemany("SELECT 1", [()]),
    lambda conn: conn.executemany("SELECT 1", []),
    lambda conn: conn.prepare("SELECT 1"),
    lambda conn: conn.cursor("SELECT 1"),
    lambda conn: conn.transaction(),
    lambda conn: conn.reset(),
    lambda conn: conn.set_type_codec(
        "json", schema="pg_catalog", encoder=str, decoder=str
    ),
]


@pytest.mark.parametrize("call", CLOSED)
async def test_closed_connection_does_nothing(connect, call):
    """Whatever needs a session says that there is none."""
    conn = await connect()
    await conn.close()
    with pytest.raises(chopin.InterfaceError, match="^connection is closed$"):
        await call(conn)


async def test_close_and_terminate_again(connect):
    """Ending what has ended is no error."""
    for first, second in ("close", "terminate"), ("terminate", "close"):
        conn = await connect()
        for method in first, second, first:
            result = getattr(conn, method)()
            if result is not None:
                assert await result is None
            assert conn.is_closed()


async def test_close_says_goodbye(connect, observer, application_name):
    """After close the server has no such session."""
    conn = await connect()
    await conn.close()
    found = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"
    for _ in range(500):
        if observer.execute(found, [application_name]).fetchone() is None:
            break
        observer.execute("SELECT pg_sleep(0.01)")
    assert observer.execute(found, [application_name]).fetchone() is None


async def test_forgotten_connection_warns(connect, dsn):
    """A connection that nobody closes is closed with a warning."""
    conn = await chopin.connect(dsn)
    with pytest.warns(ResourceWarning, match="unclosed connection"):
        del conn
        gc.collect()


# Reset.


async def test_reset(conn):
    """reset brings the session back to where it was."""
    await conn.execute(
        "SET work_mem = '7MB'; LISTEN chopin_channel; SELECT pg_advisory_lock(4)"
    )
    assert await conn.reset() is None
    assert await conn.fetchval("SELECT current_setting('work_mem')") == "4MB"
    got = await conn.fetchrow(
        "SELECT (SELECT count(*) FROM pg_listening_channels()),"
        " (SELECT count(*) FROM pg_locks"
        "  WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
    )
    assert got == (0, 0)


@pytest.mark.parametrize("begin", ["block", "sql"])
async def test_reset_inside_of_a_transaction(conn, tidy, begin):
    """An open transaction is rolled back, and the loop's handler is told."""
    await conn.execute("DROP TABLE IF EXISTS undone")
    if begin == "block":
        await conn.transaction().start()
    else:
        await conn.execute("BEGIN")
    await conn.execute("CREATE TABLE undone (a int)")
    await conn.reset()
    assert not conn.is_in_transaction()
    [context] = tidy.loop_errors
    tidy.loop_errors.clear()
    assert "Resetting connection with an active transaction" in context["message"]
    assert await conn.fetchval("SELECT to_regclass('undone')") is None
    async with conn.transaction():
        assert conn.is_in_transaction()
        assert await conn.fetchval("SELECT 2") == 2


async def test_reset_query(connect, conn):
    """A connection class can have its own reset query."""

    class Mine(chopin.Connection):
        """Keeps its settings."""

        def get_reset_query(self):
            return "UNLISTEN *"

    assert all(part in conn.get_reset_query() for part in RESET)
    mine = await connect(connection_class=Mine)
    assert type(mine) is Mine
    await mine.execute("SET work_mem = '7MB'; LISTEN chopin_channel")
    await mine.reset()
    got = await mine.fetchrow(
        "SELECT current_setting('work_mem'),"
        " (SELECT count(*) FROM pg_listening_channels())"
    )
    assert got == ("7MB", 0)


async def test_empty_reset_query(connect, tcp_dsn):
    """An empty reset query sends nothing."""

    class Mine(chopin.Connection):
        """Is not reset at all."""

        def get_reset_query(self):
            return ""

    async with recorded(connect, tcp_dsn, connection_class=Mine) as (conn, wire):
        await conn.reset()
        assert wire.kinds == ""


async def test_unfit_connection_class(connect):
    """A connection class must be a subclass of Connection."""
    with pytest.raises(
        chopin.InterfaceError,
        match=re.escape("connection_class is expected to be a subclass of "),
    ):
        await connect(connection_class=int)
