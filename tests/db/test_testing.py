"""chopin.testing with real servers: what it promises about their life and death."""

import asyncio
import os
import pwd
import select
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from chopin import testing
from chopin._testing_cluster import SCRATCH, Account
from chopin.testing import TemporaryServer, TemporaryServerError, find_servers

DEADLINE_MS = 60_000
is_linux = pytest.mark.skipif(sys.platform != "linux", reason="uses pidfd")


@pytest.fixture
def private_server(server):
    """A factory of servers of the version under test that a test may do harm to."""
    servers = []

    def make(**options):
        made = TemporaryServer(bindir=server.binaries.bindir, **options)
        servers.append(made)
        made.start()
        return made

    yield make
    for made in servers:
        made.close()


class Watch:
    """Waits for the end of a process that need not be a child."""

    def __init__(self, pid):
        self._file = os.pidfd_open(pid)

    def has_ended(self):
        """Wait for the end; False if it does not come."""
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        ended = bool(poll.poll(DEADLINE_MS))
        os.close(self._file)
        return ended


def exists(pid):
    return Path(f"/proc/{pid}").exists()


def backends(server):
    """Process ids of all of the server's children."""
    with psycopg.connect(server.dsn) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
    return [pid for (pid,) in rows]


def test_accepts_connections_on_socket_and_tcp(server):
    """Both addresses lead to the version that was asked for."""
    for dsn in (server.dsn, server.tcp_dsn):
        with psycopg.connect(dsn) as connection:
            number = connection.info.server_version
        assert (number // 10000, number % 10000) == server.version


def test_runs_as_its_account_in_private(server):
    """The server is never root's, and its files are closed to others."""
    owner = Path(f"/proc/{server.pid}").stat().st_uid
    assert owner == (
        pwd.getpwnam("postgres").pw_uid if not os.getuid() else os.getuid()
    )
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.directory.parent.stat().st_mode) == 0o700


def test_settings_reach_the_server(private_server):
    """Given settings win over defaults; None leaves the server's own."""
    server = private_server(settings={"work_mem": "7MB", "fsync": None})
    assert server.psql("SHOW work_mem; SHOW fsync; SHOW full_page_writes") == (
        "7MB\non\noff"
    )


def test_bad_setting_is_told_with_the_log(server):
    """What the server says about a setting is in the error, and nothing is left."""
    bad = TemporaryServer(bindir=server.binaries.bindir, settings={"work_mem": "a lot"})
    with pytest.raises(TemporaryServerError, match='invalid value .* "work_mem"'):
        bad.start()
    assert not bad.directory.exists()
    with pytest.raises(TemporaryServerError, match="closed: make a new one"):
        bad.start()


@pytest.mark.parametrize("user", ["scram_user", "md5_user", "password_user"])
def test_password_users_must_log_in(server, passwords, user):
    """The right password opens, another one and none do not."""
    for dsn in (server.dsn, server.tcp_dsn):
        psycopg.connect(dsn, user=user, password=passwords[user]).close()
        for wrong in ("wrong", ""):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(dsn, user=user, password=wrong)


def test_stores_passwords_as_asked(server):
    """Users have SCRAM verifiers, md5_users MD5 hashes."""
    got = server.psql(
        "SELECT rolname, left(rolpassword, 3) FROM pg_authid"
        " WHERE rolpassword IS NOT NULL ORDER BY 1"
    )
    assert got == "md5_user|md5\npassword_user|SCR\nscram_user|SCR"


def test_hba_lines_replace_the_default(private_server):
    """Only what the lines allow may connect, beside psql."""
    server = private_server(
        hba=["host other bob 127.0.0.1/32 trust"],
        users={"bob": None},
        databases=["other", 'odd "name"'],
    )
    assert server.psql("SELECT 1", database='odd "name"') == "1"
    psycopg.connect(server.tcp_dsn, user="bob", dbname="other").close()
    for options in ({}, {"user": "bob"}, {"dbname": "other"}):
        with pytest.raises(psycopg.OperationalError, match="no pg_hba"):
            psycopg.connect(server.tcp_dsn, **options)


def test_tls_certificate_is_for_loopback(server):
    """A strict client verifies the server's certificate, and shows its own."""
    if not server.binaries.has_tls:
        pytest.skip("this server was built without TLS")
    context = ssl.create_default_context(cafile=server.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(server.client_cert, server.client_key)
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            assert secure.version() == "TLSv1.3"


def test_client_certificate_logs_in(private_server, server):
    """The client certificate is the superuser's, by a cert line."""
    if not server.binaries.has_tls:
        pytest.skip("this server was built without TLS")
    mine = private_server(tls=True, hba=["hostssl all all 127.0.0.1/32 cert"])
    options = {"sslmode": "verify-full", "sslrootcert": mine.ca_file}
    certificate = {"sslcert": mine.client_cert, "sslkey": mine.client_key}
    dsn = mine.tcp_dsn.replace("@127.0.0.1", "@localhost") + "?hostaddr=127.0.0.1"
    with psycopg.connect(dsn, **options, **certificate) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("postgres",)
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        psycopg.connect(dsn, **options)


def test_tls_needs_a_server_that_has_it(server):
    """Asking a server for what it was not built with is an error at once."""
    if server.binaries.has_tls:
        TemporaryServer(bindir=server.binaries.bindir, tls=True)
        return
    with pytest.raises(TemporaryServerError, match="with TLS was found"):
        TemporaryServer(bindir=server.binaries.bindir, tls=True)


def test_psql_returns_values_and_errors(server):
    """Output is bare; a failed statement raises what the server said."""
    assert server.psql("SELECT 1, NULL, 'é'; SELECT 2") == "1||é\n2"
    with pytest.raises(TemporaryServerError, match="division by zero"):
        server.psql("SELECT 1/0; SELECT 1")


def test_stop_keeps_data_and_port(private_server):
    """A stopped server goes on where it was; `restart` is both in one."""
    server = private_server()
    port, pid = server.port, server.pid
    server.psql("CREATE TABLE t AS SELECT 42 AS a")
    server.stop()
    assert not server.is_running
    server.stop()
    server.start()
    assert (server.port, server.pid != pid) == (port, True)
    server.restart()
    assert server.psql("SELECT a FROM t") == "42"


def test_start_twice_is_an_error(server):
    """A running server cannot be started."""
    with pytest.raises(TemporaryServerError, match="running already"):
        server.start()


def test_stop_modes(private_server):
    """After "fast" the server starts as left, after "immediate" it recovers."""
    server = private_server()
    server.stop("fast")
    server.start()
    assert "automatic recovery" not in server.log()
    server.stop("immediate")
    server.start()
    assert "automatic recovery" in server.log()
    with pytest.raises(ValueError, match="mode is 'smart'"):
        server.stop("smart")


@is_linux
def test_kill_takes_sessions_along(private_server):
    """SIGKILL of the postmaster ends every backend, even a busy one; data is kept."""
    server = private_server()
    server.psql("CREATE TABLE t (a int)")
    children = backends(server)
    busy = psycopg.connect(server.dsn, autocommit=True)
    busy.execute("SELECT 1")
    watches = [Watch(pid) for pid in [server.pid, busy.info.backend_pid]]
    busy.pgconn.send_query(b"SELECT pg_sleep(1000)")
    server.kill()
    assert all(watch.has_ended() for watch in watches)
    assert not any(exists(pid) for pid in children)
    with pytest.raises(psycopg.OperationalError):
        busy.execute("SELECT 1")
    busy.close()
    server.start()
    assert server.psql("SELECT count(*) FROM t") == "0"


def test_close_leaves_nothing(private_server):
    """Neither file nor process nor shared memory stays, even of a killed server."""
    server = private_server()
    pid, children = server.pid, backends(server)
    lock_file = (server.datadir / "postmaster.pid").read_text()
    segment = lock_file.splitlines()[6].split()[1]
    server.kill()
    server.close()
    server.close()
    assert not server.directory.exists()
    assert not any(map(exists, [pid, *children]))
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    assert segment not in [line.split()[1] for line in segments]


def test_server_that_died_is_seen(private_server):
    """A postmaster that ended by itself is not running, and can be started again."""
    server = private_server()
    watch = Watch(server.pid)
    os.kill(server.pid, signal.SIGQUIT)
    assert watch.has_ended()
    assert server._guard.wait(60)
    assert not server.is_running
    server.start()
    assert server.psql("SELECT 1") == "1"


async def test_async_context_manager(server):
    """`async with` starts and closes without holding the loop."""
    async with TemporaryServer(bindir=server.binaries.bindir) as mine:
        assert mine.psql("SELECT 1") == "1"
    assert not mine.directory.exists()


@pytest.mark.parametrize("cancels", [1, 2])
async def test_start_that_is_cancelled_leaves_nothing(server, monkeypatch, cancels):
    """A thread cannot be cancelled: what it has started ends with the task."""
    mine = TemporaryServer(bindir=server.binaries.bindir)
    is_starting = threading.Event()
    make_cluster = mine._make_cluster

    def tell():
        is_starting.set()
        make_cluster()

    monkeypatch.setattr(mine, "_make_cluster", tell)

    async def use():
        async with mine:
            raise AssertionError("it was cancelled")

    task = asyncio.create_task(use())
    await asyncio.to_thread(is_starting.wait)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not mine.is_running
    assert not mine.directory.exists()


def test_takes_another_port_when_one_is_taken(private_server, monkeypatch):
    """A port that somebody took in the meantime costs another try."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1]]

        class Probe(socket.socket):
            def getsockname(self):
                return ("127.0.0.1", ports.pop()) if ports else super().getsockname()

        monkeypatch.setattr(testing.socket, "socket", Probe)
        server = private_server()
        assert ports == []
        assert server.port != taken.getsockname()[1]
        assert server.log().count("could not bind") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives servers away")
def test_copies_programs_that_the_account_cannot_reach(
    private_server, monkeypatch, server
):
    """Programs below a closed directory are copied once, and run."""
    if server.binaries.source == "pg_config" or "/usr/" in str(server.binaries.bindir):
        pytest.skip("this server's files are not all in one directory")
    monkeypatch.setattr(
        Account, "can_enter", lambda account, path: "pginst" not in str(path)
    )
    mine = private_server()
    home = SCRATCH.home(Account.for_servers())
    assert str(mine._programs).startswith(f"{home}/programs-")
    assert mine.psql("SELECT 1") == "1"


SCRIPT = """
import os, sys
from chopin.testing import TemporaryServer
server = TemporaryServer(bindir=sys.argv[1])
server.start()
print(server.pid, server._guard.pid, server.directory.parent, flush=True)
{then}
"""


def program_with_server(then):
    """A program that starts a server and then does something; what it printed."""
    bindir = find_servers()[0].bindir
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(then=then), bindir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, guard, directory = program.stdout.readline().split()
    return program, int(pid), int(guard), Path(directory)


@is_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_dies_with_its_program(number):
    """However the program ends, server and files go."""
    program, pid, guard, directory = program_with_server("sys.stdin.read()")
    with program:
        watches = [Watch(pid), Watch(guard)]
        assert directory.exists()
        program.send_signal(number)
    assert all(watch.has_ended() for watch in watches)
    assert not directory.exists()


@is_linux
@pytest.mark.parametrize(
    "then", ["", "sys.exit(3)", "1 / 0", "os._exit(1)", "os.fork() or sys.exit()"]
)
def test_server_dies_at_exit(then):
    """A program that forgets its server does not leave it; a fork does not matter."""
    program, pid, guard, directory = program_with_server(then)
    watches = []
    with program:
        for process in (pid, guard):
            try:
                watches.append(Watch(process))
            except ProcessLookupError:
                continue
    assert all(watch.has_ended() for watch in watches)
    assert not exists(pid)
    assert not directory.exists()


@is_linux
def test_forked_child_leaves_the_server_alone():
    """The exit of a forked child, with its exit handlers, is not the program's."""
    then = "pid = os.fork()\nif not pid: sys.exit()\nos.waitpid(pid, 0)\n"
    then += "print(server.psql('SELECT 1'), server.directory.exists())"
    program, *_ = program_with_server(then)
    with program:
        assert program.stdout.read() == "1 True\n"


@is_linux
def test_server_dies_with_its_guard(private_server):
    """Even a killed guard leaves no server."""
    server = private_server()
    watch = Watch(server.pid)
    os.kill(server._guard.pid, signal.SIGKILL)
    assert watch.has_ended()
    assert not server.is_running


def test_prints_found_servers():
    """`python -m chopin.testing` lists what `find_servers` finds."""
    done = subprocess.run(
        [sys.executable, "-m", "chopin.testing"], capture_output=True, text=True
    )
    assert done.returncode == 0
    got = [line.split()[-1] for line in done.stdout.splitlines()]
    assert got == [str(found.bindir) for found in find_servers()]
