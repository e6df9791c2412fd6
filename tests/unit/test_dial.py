"""Which host is dialled, for how long, what is kept of it, and how to cancel there.

Played by scripted servers against `chopin.connect`, on asyncio and on uvloop.
"""

import asyncio
import contextlib
import errno
import os
import pwd
import random
import socket
import struct
import sys

import pytest

import chopin
from chopin.config import Host, parse_config
from chopin.dial import (
    NoTLSError,
    Place,
    _is_connected_at_once,
    plan_tls,
    request_cancel,
    resolve,
)
from chopin.exceptions import (
    CannotConnectNowError,
    InvalidAuthorizationSpecificationError,
    InvalidPasswordError,
    QueryCanceledError,
    TargetServerAttributeNotMatched,
    TooManyConnectionsError,
)
from tests.support import backend as b
from tests.support.await_points import WHEN, Surroundings, cancel_at
from tests.support.certificates import Authority
from tests.support.fakes import on_both_loops
from tests.support.handshake import open_session
from tests.support.postmaster import Canned, Postmaster
from tests.support.session import ClientClosedError, SessionEndedError

BOOL, TEXT, INT4 = 16, 25, 23
ONE = Canned([("one", INT4)], [[struct.pack("!i", 1)]])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls")).issue(
        "localhost", dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )


def options(*servers, **more):
    return {
        "host": [server.host for server in servers],
        "port": [server.port for server in servers],
        "user": "ada",
        "password": "secret",
        "database": "ada",
        "sslmode": "disable",
        "timeout": 30,
        **more,
    }


async def connect(*servers, **more):
    return await chopin.connect(**options(*servers, **more))


class BlackHole:
    """Listens, and never says a word: the kernel takes the connection."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        return self

    def __exit__(self, *error):
        self._listener.close()


class Closed:
    """A port at which nobody listens."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.host, self.port = listener.getsockname()


def refuses(code, text="not now"):
    """A handshake that ends with a FATAL error, after it has said a lot."""

    async def handshake(conn):
        conn.send(b.parameter_status("server_version", "6.6.6"))
        conn.send(b.parameter_status("evil", "on"))
        conn.send(b.backend_key_data(666, b"evil"))
        conn.send(b.error_response(text, code=code, severity="FATAL"))
        raise SessionEndedError

    return handshake


# -- time ------------------------------------------------------------------------------


@pytest.mark.parametrize("sslmode", ["disable", "require"])
@on_both_loops
async def test_host_that_never_answers_is_given_up(sslmode, certificate):
    """connect_timeout is for each host: the next one has its own."""
    with BlackHole() as first:
        async with Postmaster(tls=certificate) as second:
            connection = await connect(
                first, second, connect_timeout=0.1, sslmode=sslmode
            )
            await connection.close()
            assert len(second.sessions) == 1


@on_both_loops
async def test_time_for_everything():
    """`timeout` ends it, however many hosts there are, and says where it was."""
    closed = Closed()
    with BlackHole() as first, BlackHole() as second:
        with pytest.raises(TimeoutError) as caught:
            await connect(closed, first, second, timeout=0.05, connect_timeout=20)
    doing, before = caught.value.__notes__
    assert doing == f"while connecting to {first.host}:{first.port}"
    where = f"connecting to {closed.host}:{closed.port}: ConnectionRefusedError: "
    assert before.startswith(f"before that, {where}")


@on_both_loops
async def test_all_hosts_fail():
    """The error is the last one's; what went before is noted, with where it was."""
    closed = Closed()
    starting, gone = refuses("57P03"), "/nonexistent/.s.PGSQL.1"
    with BlackHole() as first:
        async with Postmaster(handshake=starting) as second:
            places = options(first, second, closed, connect_timeout=0.2)
            places["host"].insert(0, gone)
            places["port"].insert(0, 1)
            with pytest.raises(ConnectionRefusedError) as caught:
                await chopin.connect(**places)
    assert caught.value.__notes__ == [
        f"while connecting to {closed.host}:{closed.port}",
        f"before that, connecting to {gone}: FileNotFoundError: "
        "[Errno 2] No such file or directory",
        f"before that, connecting to {first.host}:{first.port}: TimeoutError",
        f"before that, connecting to {second.host}:{second.port}: "
        "CannotConnectNowError: not now",
    ]


@on_both_loops
async def test_refusal_tells_what_was_tried_before():
    """Of several hosts, the one that can be reached may be the wrong one."""
    closed = Closed()
    async with Postmaster(handshake=refuses("28P01")) as server:
        with pytest.raises(InvalidPasswordError) as caught:
            await connect(closed, server)
    (note,) = caught.value.__notes__
    assert note.startswith(f"before that, connecting to {closed.host}:{closed.port}: ")


@on_both_loops
async def test_server_that_closes_at_once():
    """It is an OSError or an InterfaceError, never a hang."""

    async def close(conn):
        await conn.close()

    async with Postmaster(opening=close) as server:
        with pytest.raises((OSError, chopin.PostgresError)):
            await connect(server)


# -- which host ------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["57P03", "53300"])
@on_both_loops
async def test_nothing_of_the_first_host_survives(code):
    """Parameters, process id and cancel key are those of the one that is ready."""
    async with Postmaster(handshake=refuses(code)) as first, Postmaster() as second:
        connection = await connect(first, second)
        assert connection.get_server_version().major == 18
        assert not hasattr(connection.get_settings(), "evil")
        (session,) = second.sessions
        assert connection.get_server_pid() == session.pid
        await connection.close()


@pytest.mark.parametrize(
    ("code", "error"),
    [("57P03", CannotConnectNowError), ("53300", TooManyConnectionsError)],
)
@on_both_loops
async def test_no_host_is_ready(code, error):
    """What the last server said is what the caller gets."""
    async with Postmaster(handshake=refuses(code, "full")) as server:
        with pytest.raises(error, match="full"):
            await connect(server)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("28P01", InvalidPasswordError),
        ("28000", InvalidAuthorizationSpecificationError),
        ("3D000", chopin.InvalidCatalogNameError),
    ],
)
@on_both_loops
async def test_who_refuses_us_is_not_followed_by_another(code, error):
    """Wrong credentials are not tried all over the place."""
    async with Postmaster(handshake=refuses(code)) as first, Postmaster() as second:
        with pytest.raises(error):
            await connect(first, second)
        assert second.connections == []


@on_both_loops
async def test_password_of_the_passfile_belongs_to_its_host(tmp_path):
    """The second host is not shown the password of the first one."""
    async with (
        Postmaster(auth="password", handshake=refuses("57P03")) as first,
        Postmaster(auth="md5") as second,
    ):
        passfile = tmp_path / "pgpass"
        passfile.write_text(f"*:{first.port}:*:*:other\n*:{second.port}:*:*:secret\n")
        passfile.chmod(0o600)
        connection = await connect(first, second, password=None, passfile=passfile)
        await connection.close()


def standby(**more):
    return Postmaster(parameters={"in_hot_standby": "on"}, **more)


def read_only_primary():
    return Postmaster(parameters={"default_transaction_read_only": "on"})


TARGETS = {
    # which of these will do: 0 a primary, 1 a standby, 2 a primary that is read-only
    "any": {0, 1, 2},
    "primary": {0, 2},
    "read-write": {0},
    "standby": {1},
    "read-only": {1, 2},
    "prefer-standby": {1},
}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("wanted", TARGETS)
@on_both_loops
async def test_target_session_attrs(wanted, order):
    """The first host of the kind that is wanted is taken, the others are left."""
    async with Postmaster() as primary, standby() as copy, read_only_primary() as lazy:
        servers = [primary, copy, lazy]
        hosts = [servers[i] for i in order]
        connection = await connect(*hosts, target_session_attrs=wanted)
        expected = next(servers[i] for i in order if i in TARGETS[wanted])
        (session,) = expected.sessions
        assert connection.get_server_pid() == session.pid
        await connection.close()
        for server in servers:
            await server.finished()


@pytest.mark.parametrize("wanted", ["standby", "primary", "read-write", "read-only"])
@on_both_loops
async def test_no_host_is_of_the_kind(wanted):
    """The error says what is wanted, and what there is."""
    server = standby() if wanted in ("primary", "read-write") else Postmaster()
    async with server:
        with pytest.raises(TargetServerAttributeNotMatched, match=wanted):
            await connect(server, target_session_attrs=wanted)
        await server.finished()
        # as libpq: else the server logs a connection that was reset, with TLS
        assert server.sessions[0].names()[-1] == "Terminate"


@on_both_loops
async def test_host_of_another_kind_that_does_not_let_go(monkeypatch):
    """It holds nobody up for long."""
    monkeypatch.setattr(sys.modules["chopin.connect"], "_FAREWELL", 0.05)

    async def handshake(conn):
        conn.send(b.authentication_ok())
        conn.ready()
        await conn.expect("Terminate")
        with contextlib.suppress(ClientClosedError):
            await conn.read(1)
        raise SessionEndedError

    async with Postmaster(handshake=handshake) as first, standby() as second:
        connection = await connect(first, second, target_session_attrs="standby")
        await connection.close()


@on_both_loops
async def test_standby_is_preferred_and_not_there():
    """Then any host will do."""
    async with Postmaster() as server:
        connection = await connect(server, target_session_attrs="prefer-standby")
        await connection.close()
        assert len(server.sessions) == 2


@pytest.mark.parametrize("is_standby", [False, True])
@on_both_loops
async def test_server_that_does_not_say_what_it_is(is_standby):
    """Older than 14, or behind a pooler: it is asked."""
    recovery = Canned([("r", BOOL)], [[bytes([is_standby])]])
    read_only = Canned([("d", TEXT)], [[b"off"]])
    async with Postmaster(
        statements={
            "SELECT pg_catalog.pg_is_in_recovery()": recovery,
            "SHOW default_transaction_read_only": read_only,
        }
    ) as server:
        del server.parameters["in_hot_standby"]
        del server.parameters["default_transaction_read_only"]
        wanted = "standby" if is_standby else "read-write"
        connection = await connect(server, target_session_attrs=wanted)
        await connection.close()


@on_both_loops
async def test_hosts_in_random_order(monkeypatch):
    """load_balance_hosts=random deals the hosts; without it they are in order."""
    monkeypatch.setattr(random, "sample", lambda items, n: list(reversed(items)))
    async with Postmaster() as first, Postmaster() as second:
        await (await connect(first, second)).close()
        assert (len(first.sessions), len(second.sessions)) == (1, 0)
        connection = await connect(first, second, load_balance_hosts="random")
        await connection.close()
        assert (len(first.sessions), len(second.sessions)) == (1, 1)


# -- with and without TLS --------------------------------------------------------------


def only(*, with_tls):
    """A handshake that pg_hba.conf allows with TLS only, or without it only."""

    async def handshake(conn):
        if (conn.tls is not None) is not with_tls:
            await refuses("28000")(conn)
        conn.send(b.authentication_ok())
        conn.ready()

    return handshake


@pytest.mark.parametrize(("sslmode", "with_tls"), [("allow", True), ("prefer", False)])
@on_both_loops
async def test_other_way_is_tried_when_the_rules_refuse_the_first(
    sslmode, with_tls, certificate
):
    """As libpq: pg_hba.conf may allow one way only."""
    async with Postmaster(tls=certificate, handshake=only(with_tls=with_tls)) as server:
        connection = await connect(server, sslmode=sslmode)
        await connection.close()
        assert [conn.tls is not None for conn in server.sessions] == [
            not with_tls,
            with_tls,
        ]


@on_both_loops
async def test_prefer_goes_without_tls_where_there_is_none():
    """The answer N is enough."""
    async with Postmaster() as server:
        await (await connect(server, sslmode="prefer")).close()
        assert server.sessions[0].names()[:2] == ["SSLRequest", "StartupMessage"]


@pytest.mark.parametrize("sslmode", ["allow", "prefer"])
@on_both_loops
async def test_refusal_of_a_server_without_tls_is_told_as_it_is(sslmode):
    """Not plain once more, and the missing TLS is not what is complained of."""
    refusing = only(with_tls=True)
    async with Postmaster(handshake=refusing) as first, Postmaster() as second:
        with pytest.raises(InvalidAuthorizationSpecificationError) as caught:
            await connect(first, second, sslmode=sslmode)
        assert len(first.sessions) == 1
        assert second.connections == []
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == (sslmode == "allow")
    assert all("with TLS, which the server does not have" in note for note in notes)


def refuses_login(text):
    """A handshake that wants the password and then refuses it, as for LDAP or PAM."""

    async def handshake(conn):
        conn.send(b.authentication_cleartext_password())
        await conn.expect_response("PasswordMessage")
        await refuses("28000", text)(conn)

    return handshake


@pytest.mark.parametrize("sslmode", ["allow", "prefer"])
@on_both_loops
async def test_refused_password_is_not_sent_the_other_way(sslmode, certificate):
    """Neither again in the clear, nor is another error shown than the server's."""
    handshake = refuses_login("LDAP authentication failed")
    async with Postmaster(tls=certificate, handshake=handshake) as server:
        with pytest.raises(InvalidAuthorizationSpecificationError, match="LDAP"):
            await connect(server, sslmode=sslmode, require_auth="password")
        assert len(server.sessions) == 1


@pytest.mark.parametrize("sslmode", ["allow", "prefer"])
@on_both_loops
async def test_both_refusals_are_told(sslmode, certificate):
    """Over TLS it may be a certificate that is missing, and no rule is for plain."""

    async def handshake(conn):
        await refuses("28000", "no certificate" if conn.tls else "no entry")(conn)

    async with Postmaster(tls=certificate, handshake=handshake) as server:
        with pytest.raises(InvalidAuthorizationSpecificationError) as caught:
            await connect(server, sslmode=sslmode)
    told = [str(caught.value), *caught.value.__notes__]
    want = ["no entry", "before that, with TLS: no certificate"]
    if sslmode == "allow":
        want = ["no certificate", "before that, without TLS: no entry"]
    assert told == want


@on_both_loops
async def test_broken_handshake_is_no_reason_to_go_without_tls(tmp_path):
    """sslmode=prefer with a root certificate refuses a server of another authority."""
    authority, other = Authority(tmp_path), Authority(tmp_path)
    served = other.issue("localhost", dns_names=["localhost"])
    async with Postmaster(tls=served) as server:
        with pytest.raises(OSError):
            await connect(
                server, sslmode="verify-ca", sslrootcert=str(authority.root_path)
            )
        assert len(server.connections) == 1


@on_both_loops
async def test_unix_socket_needs_no_tls():
    """sslmode does not apply there."""
    async with Postmaster(unix=True, auth="password") as server:
        await (await connect(server, sslmode="require")).close()
        assert server.sessions[0].names()[0] == "StartupMessage"


@pytest.mark.parametrize("peer", ["own", "other"])
@on_both_loops
async def test_requirepeer(peer):
    """Who runs the server behind a socket is looked at before a byte leaves."""
    own = pwd.getpwuid(os.getuid()).pw_name
    async with Postmaster(unix=True) as server:
        if peer == "own":
            await (await connect(server, requirepeer=own)).close()
            return
        with pytest.raises(chopin.InterfaceError, match="requirepeer"):
            await connect(server, requirepeer=own + "x")
        await server.finished()
        assert server.sessions == []


def test_plan_of_tls():
    """The ways by sslmode: (with TLS, whether it is optional); a socket has one."""
    plans = {
        "disable": [(False, False)],
        "allow": [(False, False), (True, False)],
        "prefer": [(True, True), (False, False)],
        "require": [(True, False)],
        "verify-ca": [(True, False)],
        "verify-full": [(True, False)],
    }
    for sslmode, plan in plans.items():
        config = parse_config(host="localhost", user="ada", sslmode=sslmode)
        assert plan_tls(config, config.hosts[0]) == plan
        config = parse_config(host="/tmp", user="ada", sslmode=sslmode)
        assert plan_tls(config, config.hosts[0]) == [(False, False)]


@on_both_loops
async def test_addresses_are_looked_up_once_each():
    """A hostaddr is dialled as it is, and no address is tried twice."""
    config = parse_config(host="name.invalid", hostaddr="127.0.0.1", user="ada")
    assert await resolve(config.hosts[0]) == [(socket.AF_INET, ("127.0.0.1", 5432))]
    config = parse_config(host="@abstract", user="ada")
    ((family, path),) = await resolve(config.hosts[0])
    assert (family, path[0]) == (socket.AF_UNIX, "\0")


@pytest.mark.parametrize("name", ["db..svc", "x" * 64 + ".example"])
@on_both_loops
async def test_name_that_no_host_can_have(name):
    """It is not there, like any other that is not: the next host may be."""
    config = parse_config(host=name, user="ada")
    with pytest.raises(socket.gaierror, match="no name of a host"):
        await resolve(config.hosts[0])


def place_of(family, address):
    host, port = address if family == socket.AF_INET else ("localhost", 0)
    return Place(Host(host, None, port), family, address, None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loop does it")
@on_both_loops
async def test_server_on_this_machine_is_there_at_once():
    """What the kernel has connected already takes no turn of the loop."""
    with BlackHole() as server, socket.socket() as sock:
        sock.setblocking(False)
        address = (server.host, server.port)
        assert _is_connected_at_once(sock, place_of(socket.AF_INET, address))
        assert sock.getpeername() == address


@pytest.mark.parametrize("address", [("127.0.0.1", 0), ("192.0.2.1", 5432), "@unix"])
@on_both_loops
async def test_everything_else_is_left_to_the_loop(address):
    """Where nobody listens it fails as ever; other machines are not dialled yet."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    refused = address[1] == 0
    if refused:
        address = (Closed().host, Closed().port)
    with socket.socket(family) as sock:
        sock.setblocking(False)
        assert not _is_connected_at_once(sock, place_of(family, address))
        if refused:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(sock, address)
        else:
            assert sock.getsockname() in {("0.0.0.0", 0), ""}


@contextlib.contextmanager
def full_queue(address):
    """Connections to a unix socket, until there is no room for one more."""
    with contextlib.ExitStack() as waiting:
        error = 0
        while not error:
            sock = waiting.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            error = sock.connect_ex(address)
        assert error == errno.EAGAIN
        yield


async def _says_nothing(conn):
    """The opening of one that may be gone without a word."""
    with contextlib.suppress(SessionEndedError):
        await open_session(conn)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a refusal")
@pytest.mark.parametrize("requirepeer", [None, pwd.getpwuid(os.getuid()).pw_name])
@on_both_loops
async def test_socket_with_a_full_queue_is_waited_for(requirepeer):
    """As the kernel would wait: there is room when the server has taken the others."""
    async with Postmaster(unix=True, opening=_says_nothing) as server:
        with full_queue(f"{server.host}/.s.PGSQL.{server.port}"):
            connection = await connect(server, requirepeer=requirepeer)
        await connection.close()
        assert len(server.sessions) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a refusal")
@on_both_loops
async def test_socket_with_a_queue_that_stays_full():
    """It is a server that never answers."""
    host = f"@chopin-{os.getpid()}"
    path = "\0" + host[1:] + "/.s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with full_queue(path), pytest.raises(TimeoutError):
            await chopin.connect(
                host=host, user="ada", requirepeer="nobody", timeout=0.1
            )


# -- the cancel request ----------------------------------------------------------------


class Gate(asyncio.Event):
    """Says when somebody waits at it."""

    def __init__(self):
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self):
        self.reached.set()
        return await super().wait()


CANCEL_WAYS = {
    # sslmode and more, whether the server has TLS, what the cancel request says
    "plain": ({"sslmode": "disable"}, False, ["CancelRequest"]),
    "tls": ({"sslmode": "require"}, True, ["SSLRequest", "CancelRequest"]),
    "direct": (
        {"sslmode": "require", "sslnegotiation": "direct"},
        True,
        ["CancelRequest"],
    ),
    "prefer-without-tls": ({"sslmode": "prefer"}, False, ["CancelRequest"]),
    "prefer-with-tls": (
        {"sslmode": "prefer"},
        True,
        ["SSLRequest", "CancelRequest"],
    ),
    "allow": ({"sslmode": "allow"}, True, ["CancelRequest"]),
    "long-key": ({"max_protocol_version": "3.2"}, False, ["CancelRequest"]),
}


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("way", CANCEL_WAYS)
@on_both_loops
async def test_cancel_request_goes_the_way_of_its_session(way, unix, certificate):
    """With TLS where the session has it, to its process and with its key."""
    settings, has_tls, names = CANCEL_WAYS[way]
    gate = Gate()
    slow = Canned([("one", INT4)], [[struct.pack("!i", 1)]], gate=gate)
    async with Postmaster(
        statements={"SLOW": slow, "SELECT 1": ONE},
        tls=certificate if has_tls else None,
        unix=unix,
    ) as server:
        connection = await connect(server, **settings)
        (session,) = server.sessions
        task = asyncio.ensure_future(connection.fetch("SLOW"))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.fetchval("SELECT 1") == 1
        (request,) = server.cancel_requests
        assert (request["pid"], request["key"]) == (session.pid, session.key)
        assert len(session.key) == (32 if way == "long-key" else 4)
        cancel = server.connections[-1]
        assert cancel.names() == (["CancelRequest"] if unix else names)
        assert (cancel.tls is None) == (session.tls is None)
        await connection.close()


@on_both_loops
async def test_cancel_request_is_not_sent_without_the_tls_of_its_session(certificate):
    """The key would be everybody's: somebody who answers N now gets nothing."""
    gate, is_gone = Gate(), asyncio.Event()

    async def opening(conn):
        try:
            await open_session(conn)
        finally:
            if conn is not conn.server.connections[0]:
                is_gone.set()

    slow = Canned([("one", INT4)], [[struct.pack("!i", 1)]], gate=gate)
    async with Postmaster(
        statements={"SLOW": slow}, tls=certificate, opening=opening
    ) as server:
        connection = await connect(server, sslmode="prefer")
        task = asyncio.ensure_future(connection.fetch("SLOW"))
        await gate.reached.wait()
        server.tls = None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await is_gone.wait()
        assert server.connections[1].names() == ["SSLRequest"]
        gate.set()
        await connection.close()


@on_both_loops
async def test_late_cancellation_is_told_to_nobody():
    """A task that was cancelled when its reply was there is cancelled all the same."""
    gate = asyncio.Event()
    slow = Canned(
        [("one", INT4)], [], error={"code": "57014", "message": "late"}, gate=gate
    )
    gate.set()
    async with Postmaster(statements={"SLOW": slow}) as server:
        connection = await connect(server)
        with pytest.raises(QueryCanceledError, match="late"):
            await connection.fetch("SLOW")
        await connection.close()


@on_both_loops
async def test_request_that_comes_too_early_is_repeated(monkeypatch):
    """A server drops the request if its process has not taken up the query yet."""
    monkeypatch.setattr(chopin.aio, "_CANCEL_PAUSE", 0.001)
    taken = asyncio.Event()

    async def on_cancel(target, request):
        if len(server.cancel_requests) == 3:
            taken.set()

    async def script(conn):
        await conn.expect("Query")
        await taken.wait()
        conn.send(b.error_response(code="57014", message="at last"))
        conn.send(b.ready_for_query())
        await conn.expect("Query")
        conn.send(b.command_complete("SELECT 0") + b.ready_for_query())

    async with Postmaster(script, on_cancel=on_cancel) as server:
        connection = await connect(server)
        task = asyncio.ensure_future(connection.execute("SLOW"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.execute("FAST") == "SELECT 0"
        assert len(server.cancel_requests) == 3
        await connection.close()


@on_both_loops
async def test_request_cancel_by_itself(certificate):
    """It returns when the server has closed the socket."""
    seen = []

    async def on_cancel(target, request):
        seen.append((target, request["pid"]))

    async with Postmaster(on_cancel=on_cancel) as server:
        config = parse_config(**options(server))
        connection = await connect(server)
        place = connection._session.place
        await request_cancel(config, place, 12345, b"none")
        assert seen == [(None, 12345)]
        await connection.close()


# -- connecting is cancelled -----------------------------------------------------------


CONNECT_WAYS = {
    "plain": {},
    "tls": {"sslmode": "require"},
    "standby": {"target_session_attrs": "standby"},
    "second-host": {},
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("way", CONNECT_WAYS)
@on_both_loops
async def test_cancelled_connect_leaves_nothing(way, when, certificate):
    """Wherever connecting is cancelled: no task, no socket, on both sides."""
    statements = {
        "SELECT pg_catalog.pg_is_in_recovery()": Canned([("r", BOOL)], [[b"\1"]]),
        "SHOW default_transaction_read_only": Canned([("d", TEXT)], [[b"off"]]),
    }
    async with Postmaster(
        auth="scram-sha-256-plus",
        tls=certificate if way == "tls" else None,
        statements=statements,
    ) as server:
        if way == "standby":
            del server.parameters["in_hot_standby"]
        hosts = [Closed(), server] if way == "second-host" else [server]

        async def attempt():
            await (await connect(*hosts, **CONNECT_WAYS[way])).close()

        await attempt()
        surroundings = Surroundings()
        n_cancelled = n_uncancelled = 0
        # where a suspension ends with an error, it is not "answered" and is passed
        while n_uncancelled < 3:
            number = n_cancelled + n_uncancelled + 1
            if await cancel_at([number], attempt(), when):
                n_cancelled += 1
            else:
                n_uncancelled += 1
            await surroundings.check()
        assert n_cancelled > 3


@on_both_loops
async def test_refused_without_tls_names_the_mode():
    """NoTLSError says what to change."""
    async with Postmaster() as server:
        with pytest.raises(NoTLSError, match="sslmode=require"):
            await connect(server, sslmode="require")
