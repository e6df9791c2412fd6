"""Errors of the server: their classes, what they carry, and that life goes on."""

import inspect

import pytest

import chopin
from chopin import exceptions

SETUP = """
    CREATE TEMP TABLE t (
        a int CONSTRAINT pk PRIMARY KEY,
        b int NOT NULL CONSTRAINT positive CHECK (b > 0),
        c int CONSTRAINT self REFERENCES t
    );
    INSERT INTO t VALUES (1, 1);
"""


async def error_of(conn, query, *args):
    """The error that a query ends with."""
    with pytest.raises(chopin.PostgresError) as caught:
        await conn.fetch(query, *args)
    return caught.value


@pytest.mark.parametrize(
    ("query", "kind", "fields"),
    [
        (
            "INSERT INTO t VALUES (1, 1)",
            chopin.UniqueViolationError,
            {
                "sqlstate": "23505",
                "severity": "ERROR",
                "severity_en": "ERROR",
                "message": 'duplicate key value violates unique constraint "pk"',
                "detail": "Key (a)=(1) already exists.",
                "table_name": "t",
                "constraint_name": "pk",
            },
        ),
        (
            "INSERT INTO t VALUES (2, NULL)",
            chopin.NotNullViolationError,
            {"sqlstate": "23502", "table_name": "t", "column_name": "b"},
        ),
        (
            "INSERT INTO t VALUES (2, 0)",
            chopin.CheckViolationError,
            {"sqlstate": "23514", "constraint_name": "positive"},
        ),
        (
            "INSERT INTO t VALUES (2, 1, 77)",
            chopin.ForeignKeyViolationError,
            {"sqlstate": "23503", "constraint_name": "self"},
        ),
        (
            "SELEC 1",
            chopin.PostgresSyntaxError,
            {"message": 'syntax error at or near "SELEC"', "position": "1"},
        ),
        (
            "SELECT * FROM nowhere",
            chopin.UndefinedTableError,
            {"sqlstate": "42P01", "position": "15"},
        ),
        ("SELECT nope FROM t", chopin.UndefinedColumnError, {"position": "8"}),
        (
            "SELECT nope()",
            chopin.UndefinedFunctionError,
            {
                "hint": "No function matches the given name and argument types. You"
                " might need to add explicit type casts."
            },
        ),
        (
            "SELECT 'x'::int",
            chopin.InvalidTextRepresentationError,
            {"message": 'invalid input syntax for type integer: "x"'},
        ),
        ("SELECT 99999999999::int", chopin.NumericValueOutOfRangeError, {}),
        ("SELECT 1/0", chopin.DivisionByZeroError, {"sqlstate": "22012"}),
        ("SELECT '2000-13-13'::date", chopin.DatetimeFieldOverflowError, {}),
        ("SET nope TO 1", chopin.UndefinedObjectError, {}),
        ("SELECT 1::int4range", chopin.CannotCoerceError, {}),
        (
            "DO $$BEGIN PERFORM 1/0; END$$",
            chopin.DivisionByZeroError,
            {
                "context": 'SQL statement "SELECT 1/0"\n'
                "PL/pgSQL function inline_code_block line 1 at PERFORM"
            },
        ),
        (
            "DO $$BEGIN RAISE 'boo'; END$$",
            chopin.RaiseError,
            {"sqlstate": "P0001", "message": "boo"},
        ),
        (
            "DO $$BEGIN RAISE 'boo' USING errcode = 'ZZ001', detail = 'D', hint = 'H',"
            " column = 'cc', constraint = 'kk', datatype = 'dd', table = 'tt',"
            " schema = 'ss'; END$$",
            exceptions.UnknownPostgresError,
            {
                "sqlstate": "ZZ001",
                "detail": "D",
                "hint": "H",
                "schema_name": "ss",
                "table_name": "tt",
                "column_name": "cc",
                "data_type_name": "dd",
                "constraint_name": "kk",
            },
        ),
    ],
)
@pytest.mark.parametrize("method", ["fetch", "execute"])
async def test_error(conn, method, query, kind, fields):
    """An SQLSTATE has its class, and the error has every field of the server's."""
    await conn.execute(SETUP)
    with pytest.raises(chopin.PostgresError) as caught:
        await getattr(conn, method)(query)
    error = caught.value
    assert type(error) is kind
    assert {name: getattr(error, name) for name in fields} == fields
    assert error.args[0] == error.message
    assert error.query == query
    assert error.as_dict()["sqlstate"] == error.sqlstate
    assert all(getattr(error, name) == value for name, value in error.as_dict().items())
    assert await conn.fetchval("SELECT 1") == 1


async def test_text_of_an_error(conn):
    """str() is the message with detail and hint; args has the message alone."""
    error = await error_of(
        conn, "DO $$BEGIN RAISE 'boo' USING detail = 'why', hint = 'do so'; END$$"
    )
    assert str(error) == "boo\nDETAIL:  why\nHINT:  do so"
    assert error.args == ("boo",)
    error = await error_of(conn, "SELECT 1/0")
    assert str(error) == "division by zero"
    assert (error.detail, error.hint, error.constraint_name) == (None, None, None)


async def test_where_in_the_server(conn):
    """The place in the server's source is there too."""
    error = await error_of(conn, "SELECT 1/0")
    assert error.server_source_filename == "int.c"
    assert error.server_source_function == "int4div"
    assert int(error.server_source_line) > 0


@pytest.mark.parametrize(
    ("query", "bases"),
    [
        (
            "INSERT INTO t VALUES (1, 1)",
            [chopin.IntegrityConstraintViolationError, chopin.PostgresError],
        ),
        ("SELEC 1", [chopin.SyntaxOrAccessError]),
        ("SELECT 1/0", [chopin.DataError]),
        ("SELECT * FROM nowhere", [chopin.SyntaxOrAccessError]),
    ],
)
async def test_classes_of_errors(conn, query, bases):
    """Errors can be caught by the class of their SQLSTATE's first two characters."""
    await conn.execute(SETUP)
    error = await error_of(conn, query)
    for base in bases:
        assert isinstance(error, base)
    assert not isinstance(error, chopin.InterfaceError)


async def test_class_of_the_user(conn):
    """A subclass of PostgresError with an SQLSTATE is used for it from then on."""

    class Mine(chopin.PostgresError):
        """For functions of one's own."""

        sqlstate = "ZZ777"

    error = await error_of(
        conn, "DO $$BEGIN RAISE 'boo' USING errcode = 'ZZ777'; END$$"
    )
    assert type(error) is Mine


async def test_insufficient_privilege(server, connect):
    """What one may not do is told by its class."""
    conn = await connect(user="scram_user", password="scram-secret")
    error = await error_of(conn, "SELECT * FROM pg_authid")
    assert type(error) is chopin.InsufficientPrivilegeError


async def test_query_canceled_by_the_server(conn):
    """statement_timeout is the server's error, not a TimeoutError."""
    await conn.execute("SET statement_timeout = 1")
    error = await error_of(conn, "SELECT pg_sleep(10)")
    assert type(error) is chopin.QueryCanceledError
    await conn.execute("SET statement_timeout = 0")
    assert await conn.fetchval("SELECT 1") == 1


async def test_lock_not_available(connect, conn):
    """A lock that is not to be had at once is an error of its own."""
    other = await connect()
    await other.execute("SELECT pg_advisory_lock(77)")
    await conn.execute("SET lock_timeout = 1")
    error = await error_of(conn, "SELECT pg_advisory_lock(77)")
    assert type(error) is chopin.LockNotAvailableError


@pytest.mark.parametrize(
    ("method", "query"),
    [
        *(
            (method, query)
            for method in ("fetch", "fetchrow", "fetchval", "execute")
            for query in ("SELECT 1/0", "SELEC 1")
        ),
        ("fetch", "SELECT 1 / (2 - i) FROM generate_series(1, 3) AS i"),
        ("execute", "SELECT 1; SELECT 1 / (2 - i) FROM generate_series(1, 3) AS i"),
        ("prepare", "SELEC 1"),
    ],
)
async def test_life_goes_on(conn, method, query):
    """After an error the next call is answered as ever, many times."""
    for i in range(5):
        with pytest.raises(chopin.PostgresError):
            await getattr(conn, method)(query)
        assert await conn.fetchval("SELECT $1::int", i) == i
        assert not conn.is_in_transaction()


async def test_error_in_another_encoding_of_messages(conn):
    """What an error quotes comes in UTF-8."""
    error = await error_of(conn, 'SELECT "größe"')
    assert error.message == 'column "größe" does not exist'


async def test_duplicate_and_missing_statements(conn):
    """Errors about prepared statements come with a hint about poolers."""
    await conn.execute("PREPARE mine AS SELECT 1")
    error = await error_of(conn, "PREPARE mine AS SELECT 1")
    assert type(error) is chopin.DuplicatePreparedStatementError
    error = await error_of(conn, "EXECUTE nobodys")
    assert type(error) is chopin.InvalidSQLStatementNameError
    assert error.sqlstate == "26000"


def test_names_of_errors():
    """Every class of the module is an attribute of the package, as in asyncpg."""
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        assert inspect.isclass(kind)
        assert getattr(chopin, name) is kind


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (chopin.InterfaceError, [Exception]),
        (exceptions.ClientConfigurationError, [chopin.InterfaceError, ValueError]),
        (exceptions.ProtocolError, [exceptions.InternalClientError]),
        (exceptions.TargetServerAttributeNotMatched, [exceptions.InternalClientError]),
        (exceptions.OutdatedSchemaCacheError, [exceptions.InternalClientError]),
        (exceptions.UnsupportedClientFeatureError, [chopin.InterfaceError]),
        (chopin.InvalidCachedStatementError, [chopin.FeatureNotSupportedError]),
        (chopin.ConnectionDoesNotExistError, [chopin.PostgresConnectionError]),
        (chopin.QueryCanceledError, [chopin.OperatorInterventionError]),
        (chopin.DataError, [chopin.PostgresError]),
        (exceptions.InterfaceWarning, [UserWarning]),
    ],
)
def test_family_of_errors(kind, bases):
    """Errors of the client have the bases that programs catch."""
    for base in bases:
        assert issubclass(kind, base)
    if issubclass(kind, chopin.InterfaceError):
        assert not issubclass(kind, chopin.PostgresError)
