"""Behind PgBouncer in transaction mode: statements that are gone, or there already.

Its client's next transaction may run on another server, so a prepared statement that
one of them has is not there, or is there although this client never made it. With
`max_prepared_statements` PgBouncer (1.21 and later) follows them by itself.

Without PgBouncer these tests are skipped: ``apt-get install pgbouncer``.
"""

import asyncio
import contextlib
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess

import psycopg
import pytest

import chopin
from chopin._statements import statement_name
from tests.support.backends import Gate, until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
START_LOOKS = 2000
START_NAP_S = 0.005
SERVERS = 3  # server connections behind one pooler
ROUNDS = 8

numbers = itertools.count(1)


def version():
    """The version of PgBouncer, (0, 0) if there is none."""
    if PGBOUNCER is None:
        return (0, 0)
    text = subprocess.run(
        [PGBOUNCER, "--version"], capture_output=True, text=True, check=True
    ).stdout
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", text).groups()))


class Pooler:
    """A running PgBouncer in front of a server.

    Args:
        server: a `TemporaryServer`.
        directory: a private directory for its files.
        prepared: its `max_prepared_statements`.
    """

    def __init__(self, server, directory, prepared):
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": SERVERS,
            "server_round_robin": 1,  # the next transaction goes to another server
            "ignore_startup_parameters": "extra_float_digits",
            "logfile": directory / "log",
        }
        if version() >= (1, 21):
            settings["max_prepared_statements"] = prepared
        lines = [
            "[databases]",
            f"postgres = host=127.0.0.1 port={server.port} user=postgres",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        (directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self):
        account = {}
        if os.geteuid() == 0:  # it refuses to run as root
            entry = pwd.getpwnam("postgres")
            for path in (self._directory, self._directory / "pgbouncer.ini"):
                os.chown(path, entry.pw_uid, entry.pw_gid)
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self._process = subprocess.Popen(
            [PGBOUNCER, "-q", self._directory / "pgbouncer.ini"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **account,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _wait(self):
        """Wait until it listens."""
        for _ in range(START_LOOKS):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                self.on_all_servers("SELECT 1")
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(START_NAP_S)
        log = self._directory / "log"
        raise RuntimeError(
            f"PgBouncer did not start: {log.exists() and log.read_text()}"
        )

    def on_all_servers(self, sql):
        """Run `sql` on each of the server connections: in blocks that overlap."""
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(psycopg.connect(self.dsn)) for _ in range(SERVERS)
            ]
            for client in clients:
                client.execute("SELECT 1")
            for client in clients:
                client.execute(sql)


@pytest.fixture(scope="module", params=[0, 200], ids=["plain", "prepared"])
def pooler(request, server, tmp_path_factory):
    """PgBouncer with `max_prepared_statements` of 0 and of 200."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    if request.param and version() < (1, 21):
        pytest.skip("this PgBouncer is older than 1.21: no max_prepared_statements")
    # below the server's own directory, which its account can enter
    directory = server.directory / f"pgbouncer-{request.param}"
    directory.mkdir()
    with Pooler(server, directory, request.param) as pooler:
        yield pooler


OPTIONS = {
    "default": {},
    "no-cache": {"statement_cache_size": 0},
    "pooler": {"pooler": "transaction"},
}


@pytest.fixture(params=OPTIONS)
def options(request):
    """The ways to connect that are meant to work behind a pooler."""
    return OPTIONS[request.param]


@pytest.fixture
async def clients(pooler, connect, options):
    """Two connections through the pooler; they share its servers."""
    return [await connect(pooler.dsn, ssl="disable", **options) for _ in range(2)]


async def in_a_gather(conn, values):
    """Each value by itself, all at once."""
    return await asyncio.gather(
        *[conn.fetchval("SELECT $1::text", value) for value in values]
    )


async def in_a_pipeline(conn, values):
    """Each value by itself, in a pipeline."""
    async with conn.pipeline() as pipeline:
        replies = [pipeline.fetchval("SELECT $1::text", value) for value in values]
        return [await reply for reply in replies]


async def in_a_batch(conn, values):
    """All values in one group, behind a query."""
    ahead = asyncio.ensure_future(conn.fetchval("SELECT pg_sleep(0.001)"))
    await asyncio.sleep(0)
    results = await conn.batch([("SELECT $1::text", value) for value in values])
    await ahead
    return [rows[0][0] for rows in results]


async def by_executemany(conn, values):
    """All values in one group that is written in parts, behind a query."""
    ahead = asyncio.ensure_future(conn.fetchval("SELECT pg_sleep(0.001)"))
    await asyncio.sleep(0)
    rows = await conn.fetchmany("SELECT $1::text", [(value,) for value in values])
    await ahead
    return [row[0] for row in rows]


WAYS = [in_a_gather, in_a_pipeline, in_a_batch, by_executemany]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("size", [10, 3000, 100_000])
async def test_more_than_a_packet(pooler, connect, way, size):
    """However long what is sent at once, nobody gets an answer of somebody else's.

    PgBouncer before 1.21 gives the server away when the first answer passes it while a
    group behind has arrived in part.
    """
    first, *others = [
        await connect(pooler.dsn, ssl="disable", pooler="transaction")
        for _ in range(SERVERS + 2)
    ]
    is_over = asyncio.Event()

    async def ask(conn):
        number = 0
        while not is_over.is_set():
            number += 1
            assert await conn.fetchval("SELECT $1::int", number) == number

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for conn in others:
            group.create_task(ask(conn))
        for n in range(ROUNDS):
            values = [f"{n} {i} " + "x" * size for i in range(20)]
            assert await way(first, values) == values
        is_over.set()


async def pids(conn, count):
    """The server processes that some transactions in a row ran on."""
    return {await conn.fetchval("SELECT pg_backend_pid()") for _ in range(count)}


async def test_there_are_several_servers(clients):
    """What these tests are about does happen: transactions change the server."""
    assert len(await pids(clients[0], ROUNDS)) > 1


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchval", "execute"])
async def test_calls(method, clients):
    """Calls work on whatever server they come to, with texts new and known."""
    for number in range(ROUNDS):
        for conn in clients:
            sql = f"SELECT $1::int, {number // 2}"
            got = await getattr(conn, method)(sql, number)
            want = {
                "fetch": [(number, number // 2)],
                "fetchrow": (number, number // 2),
                "fetchval": number,
                "execute": "SELECT 1",
            }
            assert got == want[method]


@pytest.mark.parametrize("method", ["executemany", "fetchmany"])
async def test_execute_many(method, clients):
    """So does execute-many."""
    for number in range(ROUNDS):
        for conn in clients:
            rows = [(number,), (number + 1,)]
            got = await getattr(conn, method)("SELECT $1::int AS many", rows)
            assert got == (rows if method == "fetchmany" else len(rows))


async def test_batches_and_pipelines(clients):
    """So do several statements at once, new and known ones."""
    for number in range(ROUNDS):
        for conn in clients:
            texts = [f"SELECT $1::int + {k}, {number // 2}" for k in range(3)]
            results = await conn.batch([(text, 1) for text in texts])
            assert [result[0][0] for result in results] == [1, 2, 3]
            async with conn.pipeline() as p:
                replies = [p.fetchval(text, 2) for text in texts]
            assert [reply.result() for reply in replies] == [2, 3, 4]
            assert len(await conn.script("SELECT 1; SELECT 2")) == 2


async def test_copy(clients, observer):
    """COPY and streams, in order, left early, refused: each is one transaction."""
    observer.execute(
        "DROP TABLE IF EXISTS pooled_copy;"
        " CREATE TABLE pooled_copy (a int CHECK (a <> 7000))"
    )
    try:
        for n in range(4):
            conn = clients[n % 2]
            await conn.copy_records_to_table("pooled_copy", records=[(n,)])
            with pytest.raises(ZeroDivisionError):
                async with conn.copy_in("pooled_copy") as copy:
                    await copy.write_rows((i,) for i in range(6_999))
                    raise ZeroDivisionError
            with pytest.raises(chopin.CheckViolationError):
                async with conn.copy_in("pooled_copy") as copy:
                    # more is on its way when the server refuses
                    await copy.write_rows((i,) for i in range(500_000))
            async for _ in conn.stream("SELECT generate_series(1, $1::int)", 100_000):
                break
            assert len([row async for row in conn.copy_out("pooled_copy")]) == n + 1
    finally:
        observer.execute("DROP TABLE pooled_copy")


async def test_blocks(clients, pooler, observer):
    """So do transactions: a block's first statement takes its BEGIN along."""
    observer.execute("CREATE UNLOGGED TABLE IF NOT EXISTS pooled (number int)")
    observer.execute("TRUNCATE pooled")
    for conn in clients:
        # from here on it is known that there is a pooler
        sql = f"SELECT $1::int AS known_{next(numbers)}"
        make_known(pooler, sql)
        assert await conn.fetchval(sql, 1) == 1
    for number in range(ROUNDS):
        for conn in clients:
            async with conn.transaction():
                pid = await conn.fetchval("SELECT pg_backend_pid() AS in_a_block")
                await conn.execute("INSERT INTO pooled VALUES ($1)", number)
                rows = await conn.fetch("SELECT $1::int, pg_backend_pid()", number)
                assert rows == [(number, pid)]
                async with conn.transaction():
                    assert await conn.fetchval("SELECT $1::text", "x") == "x"
            with pytest.raises(ZeroDivisionError):
                async with conn.transaction():
                    await conn.execute("INSERT INTO pooled VALUES ($1)", -1)
                    raise ZeroDivisionError
    counted = observer.execute("SELECT count(*), min(number) FROM pooled").fetchone()
    assert counted == (ROUNDS * len(clients), 0)


def make_known(pooler, sql):
    """Prepare `sql` on every server, under the name that a connection would give it."""
    name = statement_name(sql).decode("ascii")
    pooler.on_all_servers(f'PREPARE "{name}" AS {sql}')


async def number_of(conn, method, sql, number):
    """Run `sql` by a method and return the number that it gave."""
    if method == "fetchval":
        return await conn.fetchval(sql, number)
    if method == "execute":
        return number if await conn.execute(sql, number) == "SELECT 1" else None
    if method == "executemany":
        count = await conn.executemany(sql, [(number,), (number,)])
        return number if count == 2 else None
    if method == "fetchmany":
        return (await conn.fetchmany(sql, [(number,), (number,)]))[1][0]
    if method == "prepare":
        return await (await conn.prepare(sql)).fetchval(number)
    rows = [row[0] async for row in conn.cursor(sql, number)]
    return rows[0]


@pytest.mark.parametrize(
    ("method", "is_block"),
    [
        (method, is_block)
        for method in ("fetchval", "execute", "executemany", "fetchmany")
        for is_block in (False, True)
    ]
    # these two are of use on one server only
    + [("prepare", True), ("cursor", True)],
)
@pytest.mark.parametrize("trouble", ["there-already", "gone"])
async def test_heals(trouble, method, is_block, pooler, connect, options):
    """A statement that the server has already, or no more, is no matter to the caller.

    In a block it is the first statement, which is repeated with its BEGIN.
    """
    conn = await connect(pooler.dsn, ssl="disable", **options)
    sql = f"SELECT $1::int AS heals_{next(numbers)}"
    if trouble == "there-already":
        make_known(pooler, sql)
    else:
        for number in range(2):
            assert await conn.fetchval(sql, number) == number
        pooler.on_all_servers("DEALLOCATE ALL")
    for number in range(3):
        if is_block:
            async with conn.transaction():
                assert await number_of(conn, method, sql, number) == number
                assert await conn.execute("SELECT 7") == "SELECT 1"
        else:
            assert await number_of(conn, method, sql, number) == number


async def test_cursors(clients):
    """A cursor's portal lives in its block, and so on one server."""
    for _ in range(ROUNDS):
        for conn in clients:
            async with conn.transaction():
                sql = "SELECT generate_series(1, $1::int) AS i"
                got = [row[0] async for row in conn.cursor(sql, 9, prefetch=2)]
                assert got == list(range(1, 10))
                cursor = await conn.cursor(sql, 5)
                assert await cursor.fetch(2) == [(1,), (2,)]


async def test_many_at_once(clients):
    """Calls that are sent together get their own results."""
    for _ in range(3):
        calls = [
            conn.fetchval(f"SELECT $1::int, {number % 5}", number)
            for conn in clients
            for number in range(40)
        ]
        assert await asyncio.gather(*calls) == [*range(40)] * len(clients)


async def test_errors_are_told(clients):
    """What is the statement's own fault is not tried again, nor hidden."""
    for _ in range(ROUNDS):
        for conn in clients:
            with pytest.raises(chopin.DivisionByZeroError):
                await conn.fetch("SELECT 1 / $1::int", 0)
            with pytest.raises(chopin.DivisionByZeroError):
                async with conn.transaction():
                    await conn.fetch("SELECT 1 / $1::int", 0)
            assert not conn.is_in_transaction()


async def test_cancellation(clients, observer):
    """A cancelled call is stopped through the pooler, and hits nobody else."""
    for conn in clients:
        with Gate(observer) as gate:
            task = asyncio.create_task(conn.fetchval(f"SELECT 1 FROM {gate.sql}"))
            await gate.reached()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # its server is free again although the gate is shut
            nobody = (
                "SELECT count(*) = 0 FROM pg_locks"
                " WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
            )
            await until(observer, nobody, gate.key)
            numbers = range(ROUNDS)
            calls = [conn.fetchval("SELECT $1::int", n) for n in numbers]
            assert await asyncio.gather(*calls) == list(numbers)


async def test_listening_is_refused(pooler, connect):
    """Where it is known that nothing would be heard, nobody waits for it."""
    conn = await connect(pooler.dsn, ssl="disable", pooler="transaction")
    for listen in (conn.listen("a").__aenter__, lambda: conn.add_listener("a", print)):
        with pytest.raises(chopin.InterfaceError, match="pooler in transaction mode"):
            await listen()


async def test_listening_is_refused_by_pools(pooler, dsn):
    """A pool may be told where to listen instead; speaking needs nothing."""
    options = {"ssl": "disable", "min_size": 0, "max_size": 2}
    async with chopin.create_pool(pooler.dsn, **options) as pool:
        # from here on it is known that there is a pooler
        sql = f"SELECT $1::int AS known_{next(numbers)}"
        make_known(pooler, sql)
        await pool.fetchval(sql, 1)
        with pytest.raises(chopin.InterfaceError, match="give .* as listen_dsn"):
            async with pool.listen("a"):
                pass
    options["pooler"] = "transaction"
    async with (
        asyncio.timeout(20),
        chopin.create_pool(pooler.dsn, listen_dsn=dsn, **options) as pool,
        pool.listen("a") as notifications,
    ):
        for number in range(ROUNDS):
            await pool.notify("a", str(number))
            assert (await anext(notifications)).payload == str(number)


async def test_pooler_that_goes(server, connect, tmp_path):
    """A pooler that is killed is the loss of its connections."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    directory = server.directory / f"pgbouncer-{tmp_path.name}"
    directory.mkdir()
    with Pooler(server, directory, 0) as pooler:
        conn = await connect(pooler.dsn, ssl="disable")
        assert await conn.fetchval("SELECT 1") == 1
        over = asyncio.Event()
        conn.add_termination_listener(lambda conn: over.set())
    async with asyncio.timeout(20):
        await over.wait()
    with pytest.raises(chopin.InterfaceError, match="connection is closed"):
        await conn.fetchval("SELECT 1")
