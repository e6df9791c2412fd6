"""The scripted server is right: asyncpg, which knows nothing of it, is served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop

from chopin.auth import check_complete
from chopin.exceptions import InvalidPasswordError, ProtocolError
from chopin.scram import ScramClient
from tests.support import backend
from tests.support.certificates import Authority, Certificate
from tests.support.postmaster import BackendConnection, Canned, Postmaster

INT4 = 23
TEXT = 25
ONE = Canned(columns=[("one", INT4)], rows=[[struct.pack("!i", 1)]])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Authority(tmp_path_factory.mktemp("tls")).issue(
        "server", dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )


@contextlib.asynccontextmanager
async def connected(
    server: Postmaster, **options: Any
) -> AsyncIterator[asyncpg.Connection]:
    options.setdefault("ssl", False)
    connection = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user="ada",
        password="secret",
        database="ada",
        **options,
    )
    try:
        yield connection
    finally:
        await connection.close()


def trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.root_path))


@pytest.mark.parametrize("auth", ["trust", "password", "md5", "scram-sha-256"])
@pytest.mark.parametrize("unix", [False, True])
async def test_asyncpg_connects_and_fetches(auth: str, unix: bool) -> None:
    """Each authentication lets asyncpg in, and a canned row arrives."""
    async with Postmaster(
        statements={"SELECT 1 AS one": ONE}, auth=auth, unix=unix
    ) as server:
        async with connected(server) as connection:
            assert await connection.fetch("SELECT 1 AS one") == [(1,)]
        await server.finished()
    (session,) = server.sessions
    assert session.names()[0] == "StartupMessage"
    assert session.names()[-1] == "Terminate"


@pytest.mark.parametrize("direct", [False, True])
async def test_asyncpg_connects_over_tls(
    direct: bool, certificate: Certificate
) -> None:
    """SSLRequest and the direct handshake both end in a verified session."""
    context = trusting(certificate)
    context.set_alpn_protocols(["postgresql"])
    async with (
        Postmaster(
            statements={"SELECT 1 AS one": ONE},
            auth="scram-sha-256-plus",
            tls=certificate,
        ) as server,
        connected(server, ssl=context, direct_tls=direct) as connection,
    ):
        assert await connection.fetchval("SELECT 1 AS one") == 1
    (session,) = server.sessions
    assert session.tls is not None
    assert session.tls.selected_alpn_protocol() == "postgresql"
    assert ("SSLRequest" in session.names()) is not direct


async def test_direct_tls_without_alpn_is_refused(certificate: Certificate) -> None:
    """As PostgreSQL 17 does it, a direct handshake without ALPN ends there."""
    async with Postmaster(tls=certificate) as server:
        with pytest.raises((ConnectionError, asyncpg.PostgresError)):
            async with connected(server, ssl=trusting(certificate), direct_tls=True):
                pass
    assert server.sessions == []


@pytest.mark.parametrize("auth", ["password", "md5", "scram-sha-256"])
async def test_wrong_password_is_refused(auth: str) -> None:
    """A wrong password ends in 28P01, whatever the method."""
    async with Postmaster(auth=auth, password="other") as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            async with connected(server):
                pass


async def test_parameters_rows_and_transactions() -> None:
    """Parameters are described and recorded, the status follows BEGIN and COMMIT."""
    rows: list[list[bytes | None]] = [[b"ada", None], [b"bob", struct.pack("!i", 7)]]
    people = Canned([("name", TEXT), ("n", INT4)], rows, parameters=[INT4])
    sql = "SELECT name, n FROM people WHERE n > $1"
    async with Postmaster(statements={sql: people}) as server:
        async with connected(server) as connection:
            async with connection.transaction():
                assert connection.is_in_transaction()
                got = await connection.fetch(sql, 5)
            assert not connection.is_in_transaction()
            assert got == [("ada", None), ("bob", 7)]
        (bind,) = [m for m in server.sessions[0].messages if m.name == "Bind"]
    assert bind["parameters"] == [struct.pack("!i", 5)]


async def test_row_limits_suspend_the_portal() -> None:
    """A cursor gets its rows in the portions that it asks for."""
    rows = [[struct.pack("!i", i)] for i in range(5)]
    numbers = Canned([("n", INT4)], rows)
    async with (
        Postmaster(statements={"SELECT n": numbers}) as server,
        connected(server) as connection,
        connection.transaction(),
    ):
        got = [row["n"] async for row in connection.cursor("SELECT n", prefetch=2)]
    assert got == [0, 1, 2, 3, 4]


async def test_errors_skip_to_sync_and_the_session_lives() -> None:
    """Canned and unknown statements fail, the next one works."""
    statements = {
        "SELECT 1 AS one": ONE,
        "SELECT 1/0": Canned(
            [("x", INT4)], error={"code": "22012", "message": "division by zero"}
        ),
    }
    async with (
        Postmaster(statements=statements) as server,
        connected(server) as connection,
    ):
        with pytest.raises(asyncpg.DivisionByZeroError, match="division by zero"):
            await connection.fetch("SELECT 1/0")
        with pytest.raises(asyncpg.PostgresSyntaxError, match="no canned answer"):
            await connection.fetch("SELECT unknown")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute("SELECT unknown")
        assert await connection.fetchval("SELECT 1 AS one") == 1
        assert (
            await connection.execute("SELECT 1 AS one; SELECT 1 AS one") == "SELECT 1"
        )


async def test_cancel_request_ends_a_waiting_statement() -> None:
    """A cancel request with the right key reaches the session that it means."""
    gate = asyncio.Event()
    waiting = Canned([("x", INT4)], [[struct.pack("!i", 1)]], gate=gate)
    statements = {"SELECT pg_sleep(1)": waiting, "SELECT 1 AS one": ONE}
    seen: list[BackendConnection | None] = []

    async def on_cancel(conn: BackendConnection | None, _: Any) -> None:
        seen.append(conn)

    async with Postmaster(statements=statements, on_cancel=on_cancel) as server:
        async with connected(server) as connection:
            with pytest.raises(TimeoutError):
                await connection.fetch("SELECT pg_sleep(1)", timeout=0.05)
            assert await connection.fetchval("SELECT 1 AS one") == 1
            gate.set()
            assert await connection.fetchval("SELECT pg_sleep(1)") == 1
        (request,) = server.cancel_requests
        (session,) = server.sessions
    assert (request["pid"], request["key"]) == (session.pid, session.key)
    assert seen == [session]


def test_it_runs_on_uvloop(certificate: Certificate) -> None:
    """TLS, SCRAM, a row and a cancel request work on uvloop as well."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_asyncpg_connects_over_tls(False, certificate))
        runner.run(test_asyncpg_connects_over_tls(True, certificate))
        runner.run(test_asyncpg_connects_and_fetches("md5", True))
        runner.run(test_cancel_request_ends_a_waiting_statement())
        runner.run(test_leaving_closes_everything())


async def test_wrong_cancel_key_is_recorded_and_ignored() -> None:
    """A cancel request for nobody is answered by closing, nothing else."""
    async with Postmaster() as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        code = backend.CANCEL_REQUEST_CODE
        writer.write(struct.pack("!iiii", 16, code, 1000, 1))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert [request["pid"] for request in server.cancel_requests] == [1000]


async def test_script_speaks_for_itself() -> None:
    """A script reads by name and says what it likes, in one segment or many."""

    async def script(conn: BackendConnection) -> None:
        got = await conn.expect("Query")
        assert got["query"] == "LISTEN x"
        await conn.dribble(
            backend.command_complete("LISTEN")
            + backend.notification_response(7, "x", "hello")
            + backend.ready_for_query()
        )
        await conn.expect_closed()

    async with Postmaster(script) as server:
        async with connected(server) as connection:
            assert await connection.execute("LISTEN x") == "LISTEN"
        await server.finished()


async def test_failing_script_fails_the_test() -> None:
    """A message that the script does not expect is an error of the test."""

    async def script(conn: BackendConnection) -> None:
        await conn.expect("Parse")

    with pytest.raises(AssertionError, match="expected Parse, got Query"):
        async with Postmaster(script) as server, connected(server) as connection:
            with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
                await connection.execute("SELECT 1")


async def test_script_that_waits_in_vain_is_told() -> None:
    """A script that wants more than the driver says fails when the driver goes."""

    async def script(conn: BackendConnection) -> None:
        await conn.expect("Terminate", "Query")

    with pytest.raises(AssertionError, match="client closed, expected Query"):
        async with Postmaster(script) as server:
            async with connected(server) as connection:
                connection.terminate()
            await server.finished()


async def test_error_of_the_body_names_the_script() -> None:
    """When both fail, the test's own error is kept and the script's is noted."""

    async def script(conn: BackendConnection) -> None:
        raise RuntimeError("script")

    with pytest.raises(ZeroDivisionError) as caught:
        async with Postmaster(script) as server:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                async with connected(server):
                    pass
            for conn in server.connections:
                await conn.finished.wait()
            raise ZeroDivisionError
    assert "RuntimeError('script')" in caught.value.__notes__[0]


async def test_leaving_closes_everything() -> None:
    """Connections that are still open are reset, the port and the files are gone."""
    async with Postmaster(unix=True) as server:
        directory = server.host
        path = f"{directory}/.s.PGSQL.{server.port}"
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"half")
        await writer.drain()
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    assert not os.path.exists(directory)
    assert all(conn.is_closed for conn in server.connections)


async def test_protocol_is_negotiated_down() -> None:
    """A newer protocol and unknown options are answered with what is served."""
    async with Postmaster(protocol=(3, 0)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        payload = struct.pack("!i", 3 << 16 | 2) + b"user\0ada\0_pq_.x\x001\0\0"
        writer.write(struct.pack("!i", len(payload) + 4) + payload)
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        version, n, *rest = struct.unpack("!ii7s", await reader.readexactly(length - 4))
        writer.close()
        await writer.wait_closed()
    assert (kind, version, n, rest) == (b"v", 3 << 16, 1, [b"_pq_.x\0"])


async def test_client_certificate_is_asked_for(tmp_path: Path) -> None:
    """With require_client_certificate only a signed certificate gets in."""
    authority = Authority(tmp_path)
    server_certificate = authority.issue("server", ip_addresses=["127.0.0.1"])
    client = authority.issue("ada", is_client=True)
    async with Postmaster(
        tls=server_certificate, require_client_certificate=True
    ) as server:
        context = trusting(server_certificate)
        with pytest.raises((OSError, asyncpg.PostgresError)):
            async with connected(server, ssl=context):
                pass
        context.load_cert_chain(client.cert_path, client.key_path)
        async with connected(server, ssl=context):
            pass
    assert server.sessions[-1].tls is not None
    peer = server.sessions[-1].tls.getpeercert()
    assert peer is not None
    assert peer["subject"] == ((("commonName", "ada"),),)


async def authenticate(server: Postmaster) -> str:
    """Log in as a driver would, in clear text, and return the mechanism."""
    reader, writer = await asyncio.open_connection(server.host, server.port)

    async def request() -> tuple[int, bytes]:
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        payload = await reader.readexactly(length - 4)
        if kind == b"E":
            raise ConnectionRefusedError(payload)
        return struct.unpack("!i", payload[:4])[0], payload[4:]

    def respond(data: bytes) -> None:
        writer.write(backend.message(b"p", data))

    try:
        startup = struct.pack("!i", 3 << 16) + b"user\0ada\0\0"
        writer.write(struct.pack("!i", len(startup) + 4) + startup)
        _, offered = await request()
        scram = ScramClient(
            offered.decode().strip("\0").split("\0"),
            "ada",
            "secret",
            channel_binding="prefer",
            cbind_data=None,
            tls=False,
        )
        first = scram.client_first()
        size = struct.pack("!i", len(first))
        respond(scram.mechanism.encode() + b"\0" + size + first)
        for take, answer in (
            (scram.server_first, scram.client_final),
            (scram.server_final, None),
        ):
            code, data = await request()
            if code == 0:
                break
            take(data)
            if answer is not None:
                respond(answer())
        check_complete(
            require_auth=None,
            channel_binding="prefer",
            answered="scram-sha-256",
            scram=scram,
        )
        assert (await request())[0] == 0
        return scram.mechanism
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_scram_without_attack() -> None:
    """The hand-made client of the next tests gets into an honest server."""
    async with Postmaster(auth="scram-sha-256") as server:
        assert await authenticate(server) == "SCRAM-SHA-256"


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        ("ok-after-sasl-continue", "before it proved"),
        ("ok-without-sasl-final", "before it proved"),
        ("bad-nonce", "nonce"),
        ("nonce-not-continued", "nonce"),
        ("mandatory-extension", "malformed"),
        ("zero-iterations", "iteration"),
        ("negative-iterations", "iteration"),
        ("too-many-iterations", "100001"),
        ("huge-iterations", "malformed"),
        ("wrong-signature", "signature is wrong"),
        ("empty-signature", "malformed"),
        ("empty-sasl-final", "malformed"),
        ("long-sasl-final", "malformed"),
        ("plus-without-tls", "without TLS"),
    ],
)
async def test_attacks_on_scram_are_refused(attack: str, text: str) -> None:
    """Each attack does what its name says, and the exchange notices."""
    async with Postmaster(auth="scram-sha-256", attack=attack) as server:
        with pytest.raises(ProtocolError, match=text):
            await authenticate(server)


async def test_scram_error_reads_like_a_wrong_password() -> None:
    """A refusal inside of SCRAM is the one that drivers know."""
    async with Postmaster(auth="scram-sha-256", attack="scram-error") as server:
        with pytest.raises(InvalidPasswordError):
            await authenticate(server)


async def test_hidden_plus_is_noticed(certificate: Certificate) -> None:
    """libpq binds the channel; with PLUS taken out, its flag gives it away."""
    psycopg = pytest.importorskip("psycopg")

    async def log_in(server: Postmaster, channel_binding: str) -> None:
        connection = await psycopg.AsyncConnection.connect(
            host="localhost",
            hostaddr=server.host,
            port=server.port,
            user="ada",
            password="secret",
            sslmode="verify-full",
            sslrootcert=str(certificate.root_path),
            channel_binding=channel_binding,
        )
        await connection.close()

    auth = "scram-sha-256-plus"
    async with Postmaster(auth=auth, tls=certificate) as server:
        await log_in(server, "require")
        await log_in(server, "disable")
    initial = [
        m for s in server.sessions for m in s.messages if "mechanism" in m.fields
    ]
    assert [m["mechanism"] for m in initial] == [
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-256",
    ]
    async with Postmaster(auth=auth, tls=certificate, attack="hide-plus") as server:
        with pytest.raises(psycopg.OperationalError, match="server-does-support"):
            await log_in(server, "prefer")


@pytest.mark.parametrize(
    ("attack", "want"),
    [
        (None, b"N"),
        ("plaintext-with-s", b"S" + backend.authentication_ok()),
        ("plaintext-after-s", b"S" + backend.authentication_ok()),
        ("error-before-tls", b"E"),
        ("odd-tls-answer", b"X"),
    ],
)
async def test_answers_to_ssl_request(attack: str | None, want: bytes) -> None:
    """A server without TLS says N, each attack what its name says."""
    async with Postmaster(attack=attack) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(struct.pack("!ii", 8, backend.SSL_REQUEST_CODE))
        assert await reader.readexactly(len(want)) == want
        writer.close()
        await writer.wait_closed()
