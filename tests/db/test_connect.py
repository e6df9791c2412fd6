"""connect: where to, as whom, how safe, and with which settings."""

import asyncio
import gc
import hashlib
import os
import socket
import ssl
import weakref
from urllib.parse import quote

import pytest

import chopin
from chopin import authenticate, exceptions
from tests.support.proxy import Wire

WHO = "SELECT current_user::text"
IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
USERS = ["scram_user", "md5_user", "password_user"]


def authority(server):
    """DSN parameters that make the server's authority known."""
    return f"&sslrootcert={quote(str(server.ca_file))}"


# Addresses.


async def test_unix_socket(server, connect, application_name):
    """A directory as host is that of a Unix socket; so is the path of the socket."""
    file = f"{server.host}/.s.PGSQL.{server.port}"
    options = {
        "user": "postgres",
        "database": "postgres",
        "server_settings": {"application_name": application_name},
    }
    for where in {"host": server.host, "port": server.port}, {"host": file}:
        conn = await connect(None, **where, **options)
        assert await conn.fetchval("SELECT inet_client_addr()") is None


async def test_tcp(server, connect, tcp_dsn):
    """A name or an address as host is for TCP."""
    conn = await connect(tcp_dsn)
    got = await conn.fetchval("SELECT host(inet_client_addr())")
    assert got == "127.0.0.1"
    assert await conn.fetchval("SELECT inet_server_port()") == server.port


async def test_abstract_socket(server, connect, application_name):
    """A host that begins with @ is an abstract Unix socket."""
    name = f"chopin-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}/.s.PGSQL.{server.port}")
    wire = Wire("127.0.0.1", server.port)
    await wire.start(listener)
    try:
        conn = await connect(
            None, host=f"@{name}", port=server.port, user="postgres",
            application_name=application_name,
        )  # fmt: skip
        assert await conn.fetchval("SELECT 1") == 1
        await conn.close()
    finally:
        await wire.stop()


async def test_hostaddr(server, connect, application_name):
    """hostaddr is dialled, host is only a name then."""
    conn = await connect(
        None, host="nowhere.invalid", hostaddr="127.0.0.1", port=server.port,
        user="postgres", database="postgres", application_name=application_name,
    )  # fmt: skip
    assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://postgres@127.0.0.1:{port}/postgres?application_name={name}",
        "postgres://127.0.0.1:{port}/?user=postgres&application_name={name}",
        "postgres:///postgres?host=127.0.0.1&port={port}&user=postgres"
        "&application_name={name}",
        "postgres://postgres@/?host={directory}&port={port}&application_name={name}",
        "postgres://postgres@{encoded}:{port}/postgres?application_name={name}",
        "host=127.0.0.1 port={port} user=postgres application_name='{name}'",
        "host = {directory} port={port} dbname=postgres user='postgres'"
        " application_name={name}",
    ],
)
async def test_forms_of_dsn(server, connect, application_name, form):
    """A DSN is a URI, in all its forms, or key=value pairs."""
    dsn = form.format(
        port=server.port, directory=server.host, encoded=quote(server.host, safe=""),
        name=application_name,
    )  # fmt: skip
    conn = await connect(dsn)
    got = await conn.fetchrow(
        "SELECT current_user::text, current_database()::text,"
        " current_setting('application_name')"
    )
    assert got == ("postgres", "postgres", application_name)


async def test_environment(server, connect, application_name, monkeypatch):
    """What is not given comes from libpq's environment variables."""
    for name, value in {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": "scram_user",
        "PGPASSWORD": "scram-secret",
        "PGDATABASE": "postgres",
        "PGAPPNAME": application_name,
        "PGOPTIONS": "-c work_mem=7MB",
    }.items():
        monkeypatch.setenv(name, value)
    conn = await connect(None)
    got = await conn.fetchrow(
        "SELECT current_user::text, current_database()::text, host(inet_server_addr()),"
        " current_setting('application_name'), current_setting('work_mem')"
    )
    assert got == ("scram_user", "postgres", "127.0.0.1", application_name, "7MB")
    conn = await connect(None, user="postgres")
    assert await conn.fetchval(WHO) == "postgres"


async def test_arguments_win(connect, tcp_dsn):
    """An argument counts more than the DSN."""
    conn = await connect(
        tcp_dsn, user="scram_user", password="scram-secret", database="template1"
    )
    got = await conn.fetchrow(f"{WHO}, current_database()::text")
    assert got == ("scram_user", "template1")


async def test_service(server, connect, tmp_path, application_name):
    """A service file has the parameters of a service, with a DSN or without."""
    file = tmp_path / "services"
    file.write_text(
        f"[mine]\nhost=127.0.0.1\nport={server.port}\nuser=postgres\n"
        f"dbname=postgres\napplication_name={application_name}\n"
    )
    for dsn, options in (None, {"service": "mine"}), ("postgres:///?service=mine", {}):
        conn = await connect(dsn, servicefile=file, **options)
        assert await conn.fetchval("SHOW application_name") == application_name
    with pytest.raises(exceptions.ClientConfigurationError, match="other"):
        await connect(None, servicefile=file, service="other")


async def test_several_hosts(server, connect, tcp_dsn):
    """The next host is tried when one cannot be reached."""
    conn = await connect(
        tcp_dsn, host=["127.0.0.1", "/nowhere", "127.0.0.1"], port=[1, 2, server.port]
    )
    assert await conn.fetchval("SELECT inet_server_port()") == server.port
    conn = await connect(
        tcp_dsn, host="127.0.0.1,127.0.0.1", port=f"1,{server.port}",
        load_balance_hosts="random",
    )  # fmt: skip
    assert await conn.fetchval("SELECT inet_server_port()") == server.port


async def test_credentials_end_the_search(server, connect, tcp_dsn):
    """Who refuses the password is not followed by the next host."""
    with pytest.raises(chopin.InvalidPasswordError):
        await connect(
            tcp_dsn, host=["127.0.0.1", server.host], port=server.port,
            user="scram_user", password="wrong",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"host": "127.0.0.1", "port": 1}, ConnectionRefusedError),
        ({"host": "/nowhere"}, FileNotFoundError),
        ({"host": ["127.0.0.1", "/nowhere"], "port": 1}, OSError),
        ({"host": "nowhere.invalid"}, OSError),
    ],
)
async def test_nobody_there(connect, tcp_dsn, options, error):
    """A host that cannot be reached is an OSError."""
    with pytest.raises(error):
        await connect(tcp_dsn, **options)


async def test_many_at_once(connect):
    """Connections may be opened at once."""
    conns = await asyncio.gather(*(connect() for _ in range(8)))
    pids = {await conn.fetchval("SELECT pg_backend_pid()") for conn in conns}
    assert len(pids) == 8


async def test_loop_of_the_caller(connect):
    """The running loop may be given."""
    conn = await connect(loop=asyncio.get_running_loop())
    assert await conn.fetchval("SELECT 1") == 1


# What is refused.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"user": "nobody"}, chopin.InvalidAuthorizationSpecificationError, "role"),
        ({"database": "nope"}, chopin.InvalidCatalogNameError, '"nope" does not exist'),
        ({"server_settings": {"nope": "5"}}, chopin.UndefinedObjectError, '"nope"'),
        (
            {"server_settings": {"work_mem": "much"}},
            chopin.InvalidParameterValueError,
            "work_mem",
        ),
    ],
)
async def test_refused_by_the_server(connect, tcp_dsn, options, error, message):
    """What the server does not accept is its own error."""
    with pytest.raises(error, match=message):
        await connect(tcp_dsn, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"host": ["127.0.0.1", "127.0.0.1"], "port": [1, 2, 3]},
            "could not match 3 port numbers to 2 hosts",
        ),
        (
            {"server_settings": {"work_mem": 5}},
            "server_settings is expected to be None",
        ),
        ({"target_session_attrs": "foo"}, "target_session_attrs is expected to be one"),
        ({"ssl": "foo"}, "must be one of: disable, allow, prefer, require, verify-ca"),
        ({"dsn": "http://host"}, 'scheme is expected to be either "postgresql" or'),
        ({"dsn": "postgres:///?sslmod=require"}, "sslmod"),
    ],
)
async def test_bad_configuration(connect, options, message):
    """What cannot be meant is a ClientConfigurationError before anything is dialled."""
    with pytest.raises(exceptions.ClientConfigurationError, match=message) as caught:
        await connect(**options)
    assert isinstance(caught.value, chopin.InterfaceError)
    assert isinstance(caught.value, ValueError)


async def test_unknown_key(connect, tcp_dsn):
    """A key of the DSN that is neither a parameter nor a setting is named."""
    with pytest.raises(
        (exceptions.ClientConfigurationError, chopin.UndefinedObjectError), match="nope"
    ):
        await connect(f"{tcp_dsn}&nope=5")


async def test_unknown_argument(connect):
    """An argument that does not exist is a TypeError."""
    with pytest.raises(TypeError, match="nope"):
        await connect(nope=5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, r"expected greater than 0 float \(got 0"),
        (-1, r"expected greater than 0 float \(got -1"),
        ("x", r"expected greater than 0 float \(got 'x'\)"),
        (True, r"expected greater than 0 float \(got True\)"),
    ],
)
async def test_bad_command_timeout(connect, value, message):
    """A time-out for commands is more than nothing."""
    with pytest.raises(ValueError, match=f"invalid command_timeout value: {message}"):
        await connect(command_timeout=value)


async def test_command_timeout(connect):
    """A time-out for commands is that of every call without one of its own."""
    conn = await connect(command_timeout=0.02)
    for method in conn.execute, conn.fetch:
        with pytest.raises(asyncio.TimeoutError):
            await method("SELECT pg_sleep(60)")
    assert await conn.execute("SELECT pg_sleep(0.04)", timeout=60) == "SELECT 1"


async def test_no_time_to_connect(connect):
    """A time-out of nothing is over at once."""
    with pytest.raises(asyncio.TimeoutError):
        await connect(timeout=0)


# Settings.


async def test_server_settings(connect, tcp_dsn):
    """Settings go along with the first message, from wherever they are given."""
    conn = await connect(
        f"{tcp_dsn}&work_mem=7MB&search_path=pg_catalog",
        server_settings={"jit": "off", "lock_timeout": "5s"},
        options="-c idle_session_timeout=9min",
    )
    names = ["work_mem", "search_path", "jit", "lock_timeout", "idle_session_timeout"]
    got = await conn.fetch(
        "SELECT current_setting(x) FROM unnest($1::text[]) AS x", names
    )
    assert [row[0] for row in got] == ["7MB", "pg_catalog", "off", "5s", "9min"]
    await conn.execute("SET jit = on")
    await conn.execute("RESET ALL")
    assert await conn.fetchval("SHOW jit") == "off"


async def test_application_name(connect, application_name):
    """The name is a parameter of its own."""
    conn = await connect(application_name=f"{application_name}-b")
    assert await conn.fetchval("SHOW application_name") == f"{application_name}-b"
    assert conn.get_settings().application_name == f"{application_name}-b"


async def test_client_encoding_is_utf8(connect):
    """Whatever is set, text is UTF-8."""
    conn = await connect()
    assert conn.get_settings().client_encoding == "UTF8"
    assert await conn.fetchval("SELECT '🐘'") == "🐘"


# Which server will do.


@pytest.mark.parametrize("wanted", ["any", "primary", "read-write", "prefer-standby"])
async def test_target_session_attrs(connect, wanted):
    """A primary is what these ask for, or do with."""
    conn = await connect(target_session_attrs=wanted)
    assert await conn.fetchval("SELECT pg_is_in_recovery()") is False


@pytest.mark.parametrize("wanted", ["standby", "read-only"])
async def test_target_session_attrs_not_met(connect, wanted):
    """No such server among the hosts is an error, and leaves no connection."""
    with pytest.raises(
        exceptions.TargetServerAttributeNotMatched,
        match="None of the hosts match the target attribute requirement",
    ):
        await connect(target_session_attrs=wanted)


async def test_read_only_server(connect):
    """A session that cannot write is read-only, and not read-write."""
    settings = {"default_transaction_read_only": "on"}
    for wanted in "read-only", "primary":
        conn = await connect(target_session_attrs=wanted, server_settings=settings)
        assert await conn.fetchval("SHOW transaction_read_only") == "on"
    with pytest.raises(exceptions.TargetServerAttributeNotMatched):
        await connect(target_session_attrs="read-write", server_settings=settings)


# Passwords.


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("way", ["unix", "tcp"])
async def test_password(server, connect, dsn, tcp_dsn, passwords, user, way):
    """Every method lets the right password in, and no other."""
    where = dsn if way == "unix" else tcp_dsn
    options = {"user": user, "ssl": "disable", "require_auth": user.split("_")[0]}
    if user == "scram_user":
        options["require_auth"] = "scram-sha-256"
    conn = await connect(where, password=passwords[user], **options)
    assert await conn.fetchval(WHO) == user
    for wrong in "wrong", "", None:
        with pytest.raises(chopin.InvalidPasswordError) as caught:
            await connect(where, password=wrong, **options)
        assert caught.value.sqlstate == "28P01"


async def test_password_in_the_dsn(server, connect, application_name):
    """A password may be part of the DSN."""
    conn = await connect(
        f"postgres://scram_user:scram%2Dsecret@127.0.0.1:{server.port}/postgres"
        f"?application_name={application_name}"
    )
    assert await conn.fetchval(WHO) == "scram_user"


async def test_password_is_hashed_once(connect, tcp_dsn, passwords, monkeypatch):
    """The slow hash of SCRAM is made once, and again when the password has changed."""
    kept = {}
    monkeypatch.setattr(authenticate, "SALTED", kept)
    slowly = hashlib.pbkdf2_hmac
    hashed = []

    def hash_password(name, password, *args):
        hashed.append(password)
        return slowly(name, password, *args)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", hash_password)
    options = {"user": "scram_user", "password": passwords["scram_user"]}
    for _ in range(3):
        conn = await connect(tcp_dsn, **options)
        assert await conn.fetchval(WHO) == "scram_user"
    assert len(hashed) == 1
    for _ in range(2):
        with pytest.raises(chopin.InvalidPasswordError):
            await connect(tcp_dsn, **options | {"password": "wrong"})
    assert len(hashed) == 3
    assert len(kept) == 1


async def test_closed_connection_leaves_nothing(tcp_dsn, passwords):
    """Session, socket and password are freed without the garbage collector."""
    gc.disable()
    try:
        conn = await chopin.connect(
            tcp_dsn,
            user="scram_user",
            password=passwords["scram_user"],
            ssl="disable",  # asyncio's TLS is a circle of its own
        )
        session = weakref.ref(conn._session)
        await conn.close()
        del conn
        await asyncio.sleep(0)
        assert session() is None
    finally:
        gc.enable()


async def test_clear_text_password(server, connect, dsn, tcp_dsn, passwords):
    """A password goes in clear text only where nobody can listen, or if asked for."""
    options = {"user": "password_user", "password": passwords["password_user"]}
    with pytest.raises(chopin.InterfaceError, match="clear text") as caught:
        await connect(tcp_dsn, ssl="disable", **options)
    assert options["password"] not in str(caught.value)
    await connect(dsn, **options)
    await connect(tcp_dsn, ssl="disable", require_auth="password", **options)
    if server.binaries.has_tls:
        await connect(tcp_dsn, ssl="require", **options)


@pytest.mark.parametrize("kind", ["function", "coroutine function", "awaitable"])
async def test_password_callable(connect, tcp_dsn, kind):
    """A callable is asked for the password at every connect."""
    asked = []

    def function():
        asked.append(1)
        return "scram-secret"

    async def coroutine_function():
        return function()

    def awaitable():
        return asyncio.ensure_future(coroutine_function())

    password = {
        "function": function,
        "coroutine function": coroutine_function,
        "awaitable": awaitable,
    }[kind]
    for n in 1, 2:
        conn = await connect(tcp_dsn, user="scram_user", password=password)
        assert await conn.fetchval(WHO) == "scram_user"
        assert len(asked) == n


async def test_password_callable_fails(connect, tcp_dsn):
    """What a callable raises comes out of connect."""

    async def fail():
        raise LookupError("no token today")

    with pytest.raises(LookupError, match="no token today"):
        await connect(tcp_dsn, user="scram_user", password=fail)
    with pytest.raises((TypeError, chopin.InterfaceError)):
        await connect(tcp_dsn, user="scram_user", password=lambda: 5)


async def test_passfile(server, connect, tcp_dsn, dsn, tmp_path):
    """A password file has the password by host, port, database and user."""
    file = tmp_path / "passwords"
    file.write_text(
        "# comment\n"
        f"other:{server.port}:*:scram_user:wrong\n"
        f"127.0.0.1:{server.port}:*:scram_user:scram-secret\n"
        "*:*:*:*:wrong\n"
    )
    file.chmod(0o600)
    conn = await connect(tcp_dsn, user="scram_user", passfile=file)
    assert await conn.fetchval(WHO) == "scram_user"
    with pytest.raises(chopin.InvalidPasswordError):
        await connect(dsn, user="scram_user", passfile=file)


async def test_password_is_not_shown(connect, tcp_dsn):
    """Neither errors nor reprs have the password in them."""
    with pytest.raises(chopin.InvalidPasswordError) as caught:
        await connect(tcp_dsn, user="scram_user", password="wrong-secret")
    assert "wrong-secret" not in repr(caught.value) + str(caught.value)
    conn = await connect(tcp_dsn, user="scram_user", password="scram-secret")
    assert "scram-secret" not in repr(conn) + str(conn.get_settings())


@pytest.mark.parametrize(
    ("user", "require_auth", "is_let_in"),
    [
        ("scram_user", "scram-sha-256", True),
        ("scram_user", "md5,scram-sha-256", True),
        ("scram_user", "!md5,!password", True),
        ("scram_user", "md5", False),
        ("scram_user", "!scram-sha-256", False),
        ("md5_user", "scram-sha-256", False),
        ("md5_user", "!md5", False),
        ("password_user", "scram-sha-256,md5", False),
        ("postgres", "none", True),
        ("postgres", "scram-sha-256", False),
        ("postgres", "!none", False),
    ],
)
async def test_require_auth(connect, tcp_dsn, passwords, user, require_auth, is_let_in):
    """Only the methods that are allowed are answered; also for none at all."""
    options = {
        "user": user, "password": passwords.get(user), "require_auth": require_auth,
        "ssl": "disable",
    }  # fmt: skip
    if is_let_in:
        conn = await connect(tcp_dsn, **options)
        assert await conn.fetchval(WHO) == user
    else:
        with pytest.raises(chopin.InterfaceError, match="require_auth"):
            await connect(tcp_dsn, **options)


# TLS.


@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [
        ("disable", False), ("allow", False), ("prefer", True), ("require", True),
        ("verify-ca", True), ("verify-full", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["argument", "dsn", "environment"])
async def test_sslmode(server, connect, tcp_dsn, monkeypatch, mode, encrypted, way):
    """Each mode encrypts as it should, or refuses a server that cannot."""
    if server.binaries.has_tls:
        tcp_dsn += authority(server)
    elif mode.startswith("verify"):
        tcp_dsn += "&sslrootcert=system"
    options = {}
    if way == "argument":
        options["ssl"] = mode
    elif way == "dsn":
        tcp_dsn += f"&sslmode={mode}"
    else:
        monkeypatch.setenv("PGSSLMODE", mode)
    if not server.binaries.has_tls and mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises((ConnectionError, exceptions.ClientConfigurationError)):
            await connect(tcp_dsn, **options)
        return
    conn = await connect(tcp_dsn, **options)
    assert await conn.fetchval(IS_ENCRYPTED) == (encrypted and server.binaries.has_tls)


async def test_no_tls_on_unix_sockets(connect):
    """Unix sockets are never encrypted, whatever is asked for."""
    for mode in "require", "verify-full":
        conn = await connect(ssl=mode)
        assert await conn.fetchval(IS_ENCRYPTED) is False


async def test_unknown_authority(server, connect, tcp_dsn, tmp_path):
    """A server whose authority is unknown is not talked to in the strict modes."""
    if not server.binaries.has_tls:
        with pytest.raises(ConnectionError):
            await connect(tcp_dsn, ssl="require")
        return
    for mode in "verify-ca", "verify-full":
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(f"{tcp_dsn}&sslrootcert={server.client_cert}", ssl=mode)
        missing = quote(str(tmp_path / "missing.crt"))
        with pytest.raises(exceptions.ClientConfigurationError, match="missing.crt"):
            await connect(f"{tcp_dsn}&sslrootcert={missing}", ssl=mode)


async def test_name_of_the_server(server, connect, tcp_dsn):
    """verify-full wants the name that was dialled in the certificate."""
    if not server.binaries.has_tls:
        with pytest.raises(ConnectionError):
            await connect(tcp_dsn, ssl="require")
        return
    tcp_dsn += authority(server)
    address = {"hostaddr": "127.0.0.1", "port": server.port}
    conn = await connect(tcp_dsn, host="localhost", ssl="verify-full", **address)
    assert await conn.fetchval(IS_ENCRYPTED)
    other = {"host": "other.example.org", **address}
    conn = await connect(tcp_dsn, ssl="verify-ca", **other)
    assert await conn.fetchval(IS_ENCRYPTED)
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(tcp_dsn, ssl="verify-full", **other)


async def test_context_of_the_user(server, connect, tcp_dsn):
    """An SSLContext is used as it is."""
    context = ssl.create_default_context()
    if not server.binaries.has_tls:
        with pytest.raises(ConnectionError):
            await connect(tcp_dsn, ssl=context)
        return
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(tcp_dsn, ssl=context)
    context.load_verify_locations(server.ca_file)
    conn = await connect(tcp_dsn, ssl=context)
    assert await conn.fetchval(IS_ENCRYPTED)


async def test_everything_over_tls(server, connect, tcp_dsn):
    """Large values in both directions, errors and many calls at once go over TLS."""
    mode = "require" if server.binaries.has_tls else "prefer"
    conn = await connect(tcp_dsn, ssl=mode)
    texts = [letter * 500_000 for letter in "abc"]
    for text in texts:
        assert await conn.fetchval("SELECT $1::text", text) == text
    with pytest.raises(chopin.DivisionByZeroError):
        await conn.fetch("SELECT 1/0")
    assert len(await conn.fetch("SELECT generate_series(1, 20000)")) == 20_000
    async with conn.transaction():
        got = [row[0] async for row in conn.cursor("SELECT generate_series(1, 120)")]
    assert got == list(range(1, 121))


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
async def test_channel_binding(server, connect, tcp_dsn, binding):
    """The password exchange is bound to the TLS channel if wanted, or refused."""
    options = {
        "user": "scram_user", "password": "scram-secret", "channel_binding": binding,
    }  # fmt: skip
    if server.binaries.has_tls:
        conn = await connect(tcp_dsn, ssl="require", **options)
        assert await conn.fetchval(WHO) == "scram_user"
    if binding == "require":
        with pytest.raises(chopin.InterfaceError, match="channel_binding=require"):
            await connect(tcp_dsn, ssl="disable", **options)
    else:
        conn = await connect(tcp_dsn, ssl="disable", **options)
        assert await conn.fetchval(WHO) == "scram_user"


@pytest.mark.parametrize("user", ["md5_user", "postgres"])
async def test_channel_binding_needs_scram(server, connect, tcp_dsn, passwords, user):
    """Methods that have no channel binding are refused when it is required."""
    mode = "require" if server.binaries.has_tls else "disable"
    with pytest.raises(chopin.InterfaceError, match="channel_binding=require"):
        await connect(
            tcp_dsn, user=user, password=passwords.get(user), ssl=mode,
            channel_binding="require",
        )  # fmt: skip


async def test_wrong_password_over_tls(server, connect, tcp_dsn):
    """A bound exchange refuses a wrong password like any other."""
    mode = "require" if server.binaries.has_tls else "disable"
    with pytest.raises(chopin.InvalidPasswordError):
        await connect(tcp_dsn, user="scram_user", password="wrong", ssl=mode)


async def test_client_certificate(server, connect, tcp_dsn):
    """A client certificate is shown to the server, unless it must not be."""
    if not server.binaries.has_tls:
        with pytest.raises(ConnectionError):
            await connect(tcp_dsn, ssl="require")
        return
    tcp_dsn += f"&sslcert={quote(str(server.client_cert))}"
    tcp_dsn += f"&sslkey={quote(str(server.client_key))}"
    who = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    conn = await connect(tcp_dsn, ssl="require")
    assert await conn.fetchval(who) == "/CN=postgres"
    conn = await connect(tcp_dsn, ssl="require", sslcertmode="disable")
    assert await conn.fetchval(who) is None


# Protocol versions.


async def test_newer_protocol(server, connect):
    """Protocol 3.2 is used where the server has it; otherwise 3.0 will do."""
    conn = await connect(max_protocol_version="3.2")
    assert await conn.fetchval("SELECT 1") == 1
    if server.version[0] >= 18:
        conn = await connect(min_protocol_version="3.2")
        assert await conn.fetchval("SELECT 1") == 1
    else:
        with pytest.raises(chopin.InterfaceError, match=r"3\.[02]"):
            await connect(min_protocol_version="3.2")
