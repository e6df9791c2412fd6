"""A scripted PostgreSQL server inside the test's own event loop.

Owns: listening, TLS by either negotiation, authentication, cancel requests, and
a tiny server that answers canned statements. It runs on asyncio and on uvloop.

    async with Postmaster(statements={"SELECT 1": select_one}) as server:
        connection = await connect(host=server.host, port=server.port, ...)

    async def script(conn):
        await conn.expect("Query")
        conn.send(command_complete("SELECT 0") + ready_for_query())

    async with Postmaster(script) as server: ...

Rules:

- A script that fails makes the ``async with`` fail, also when the driver hangs
  on what it did not get: the connection is reset, so that the driver wakes up.
- Leaving the ``async with`` ends all scripts and closes all sockets.

Theory: a connection has three parts, each of which a test can replace.

    opening     first bytes: TLS, CancelRequest, StartupMessage    `opening=`
    handshake   authentication up to ReadyForQuery                 `handshake=`
    script      what the test is about, or the tiny server         `script`

What a script can do stands in `tests.support.session`, the honest and the hostile
handshakes in `tests.support.handshake`, the tiny server in
`tests.support.tinyserver`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

from tests.support.backend import FrontendMessage
from tests.support.certificates import Certificate
from tests.support.handshake import ATTACKS, AUTHENTICATION, open_session, shake_hands
from tests.support.session import (
    BackendConnection,
    ClientClosedError,
    Hook,
    SessionEndedError,
)
from tests.support.tinyserver import Canned, serve_statements

__all__ = [
    "ATTACKS",
    "AUTHENTICATION",
    "BackendConnection",
    "Canned",
    "ClientClosedError",
    "Postmaster",
    "SessionEndedError",
]

PARAMETERS = {
    "server_version": "18.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "integer_datetimes": "on",
    "in_hot_standby": "off",
    "default_transaction_read_only": "off",
    "TimeZone": "UTC",
}


class Postmaster:
    """A server on a loopback port, or on a unix socket.

    Args:
        script: what to do in each session after ReadyForQuery; the tiny server
            when left out.
        statements: SQL -> `Canned`, for the tiny server.
        auth: a name in `AUTHENTICATION`.
        user, password: what the client must present.
        tls: the certificate to serve; None answers ``N``.
        require_client_certificate: ask for one and check it.
        unix: listen on a unix socket in a new directory, which is then `host`.
        attack: a name in `ATTACKS`, or None for an honest server.
        protocol: the newest protocol version served.
        iterations: of the SCRAM verifier.
        parameters: ParameterStatus messages to send, beside the usual ones.
        opening, handshake: replace a part, see the head of the module.
        on_cancel: awaited with the session, or None for a wrong key, and the
            request, while the driver waits for the cancel socket to close.
    """

    def __init__(
        self,
        script: Hook | None = None,
        *,
        statements: Mapping[str, Canned] | None = None,
        auth: str = "trust",
        user: str = "ada",
        password: str = "secret",
        tls: Certificate | None = None,
        require_client_certificate: bool = False,
        unix: bool = False,
        attack: str | None = None,
        protocol: tuple[int, int] = (3, 2),
        iterations: int = 4096,
        parameters: Mapping[str, str] | None = None,
        opening: Hook | None = None,
        handshake: Hook | None = None,
        on_cancel: Callable[
            [BackendConnection | None, FrontendMessage], Awaitable[None]
        ]
        | None = None,
    ) -> None:
        assert auth in AUTHENTICATION, f"no authentication {auth!r}"
        assert attack is None or attack in ATTACKS, f"no attack {attack!r}"
        self.statements = dict(statements or {})
        self.auth = auth
        self.user = user
        self.password = password
        self.tls = tls
        self.attack = attack
        self.protocol = protocol
        self.iterations = iterations
        self.salt = os.urandom(16)
        self.parameters = {**PARAMETERS, **(parameters or {})}
        self.host = ""
        self.port = 0
        #: every accepted connection, cancel requests too
        self.connections: list[BackendConnection] = []
        #: every CancelRequest, right or wrong
        self.cancel_requests: list[FrontendMessage] = []
        #: everything that went wrong in a script
        self.errors: list[BaseException] = []
        self._script = script or serve_statements
        self._opening = opening or open_session
        self._handshake = handshake or shake_hands
        self._on_cancel = on_cancel
        self._unix = unix
        self._directory: str | None = None
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            needed = ssl.CERT_REQUIRED if require_client_certificate else ssl.CERT_NONE
            self._context = tls.server_context(
                client_certificates=needed, has_alpn=attack != "no-alpn"
            )

    @property
    def sessions(self) -> list[BackendConnection]:
        """The connections that sent a StartupMessage."""
        return [conn for conn in self.connections if conn.startup is not None]

    async def __aenter__(self) -> Postmaster:
        """Listen."""
        if self._unix:
            self._directory = self.host = tempfile.mkdtemp(prefix="chopin-")
            self.port = 5432
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(os.path.join(self.host, f".s.PGSQL.{self.port}"))
        else:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.bind(("127.0.0.1", 0))
            self.host, self.port = listener.getsockname()
        listener.listen(128)
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End everything, then report what went wrong in a script."""
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for conn in self.connections:
            # a task that was cancelled before its first step has closed nothing
            conn.abort()
            conn.finished.set()
        if self._directory is not None:
            shutil.rmtree(self._directory)
        if not self.errors:
            return
        if error is None:
            raise self.errors[0]
        for failure in self.errors:
            error.add_note(f"the server's script failed: {failure!r}")

    async def finished(self) -> None:
        """Wait until every script so far has ended, and raise what it raised."""
        for conn in list(self.connections):
            await conn.finished.wait()
        if self.errors:
            raise self.errors.pop(0)

    def find(self, request: FrontendMessage) -> BackendConnection | None:
        """Return the session that a CancelRequest means, if its key is right."""
        for conn in self.sessions:
            if (conn.pid, conn.key) == (request["pid"], request["key"]):
                return conn
        return None

    async def take_cancel(self, request: FrontendMessage) -> None:
        """Record a CancelRequest and tell the session that it means."""
        self.cancel_requests.append(request)
        target = self.find(request)
        if self._on_cancel is not None:
            await self._on_cancel(target, request)
        if target is not None:
            target.cancelled.set()

    async def serve_tls(self, conn: BackendConnection) -> None:
        """Do the handshake with this server's certificate."""
        assert self._context is not None
        await conn.start_tls(self._context)

    def _accept(self) -> None:
        # A plain call: a cancelled sock_accept() can lose a socket it has taken.
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = BackendConnection(self, sock, pid=1000 + len(self.connections))
        self.connections.append(conn)
        task = asyncio.get_running_loop().create_task(self._serve(conn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, conn: BackendConnection) -> None:
        try:
            await self._opening(conn)
            if conn.startup is not None and not conn.is_closed:
                await self._handshake(conn)
                await self._script(conn)
            await conn.close()
        except SessionEndedError:
            await conn.close()
        except Exception as error:
            self.errors.append(error)
            conn.abort()
        finally:
            conn.abort()
            conn.finished.set()
