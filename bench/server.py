"""The PostgreSQL server that all candidates talk to, and the schemas they work in.

Owns: the settings of the private server, roles and schemas, the connection for
administration.
Rules:
- Every candidate has a schema of its own with the same tables; a schema that all
  share holds what is only read. All of them are dropped in the end.
- fsync is off and nothing runs in the background, so that it is the drivers that
  are measured and not the disk; the report prints the settings.
- With a server of the user's own (``--dsn``) nothing is set, and what needs our own
  server (the limit rows, connecting by SCRAM and by trust) is left out.
"""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from bench.limit import RawConnection
from bench.rows import facts_statements
from bench.words import BenchError
from bench.workloads import setup_statements

SETTINGS = {
    "shared_buffers": "256MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # 200 that are idle, and those of the pool before that have not gone yet.
    "max_connections": "500",
    "timezone": "UTC",
}
SHOWN = ("server_version", *SETTINGS, "ssl")
SHARED_SCHEMA = "bench_shared"
SCRAM_ROLE = "bench_scram"
SCRAM_PASSWORD = "not a secret"
HBA = (
    f"local all {SCRAM_ROLE} scram-sha-256",
    f"host all {SCRAM_ROLE} 127.0.0.1/32 scram-sha-256",
    "local all all trust",
    "host all all 127.0.0.1/32 trust",
)


@dataclass(frozen=True)
class Target:
    """Where the server is: `dsn` for the candidates, and whether it is our own.

    `postmaster` is the process id of our own.
    """

    dsn: str
    private: bool
    postmaster: int | None = None

    def scram_dsn(self) -> str:
        """The same server, as the role that must prove its password by SCRAM."""
        parts = urlsplit(self.dsn)
        place = parts.netloc.rpartition("@")[2]
        password = SCRAM_PASSWORD.replace(" ", "%20")
        return urlunsplit(parts._replace(netloc=f"{SCRAM_ROLE}:{password}@{place}"))

    @property
    def _query(self) -> dict[str, str]:
        query = parse_qs(urlsplit(self.dsn).query)
        return {key: values[0] for key, values in query.items()}

    @property
    def address(self) -> tuple[str, int] | str:
        """Host and port, or the path of the Unix socket."""
        parts, query = urlsplit(self.dsn), self._query
        host = parts.hostname or query.get("host", "127.0.0.1")
        port = parts.port or int(query.get("port", "5432"))
        return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)

    def open_raw(self, schema: str) -> RawConnection:
        """A raw connection that works in this schema; for our own server only."""
        parts, query = urlsplit(self.dsn), self._query
        parameters = {
            "user": parts.username or query.get("user", "postgres"),
            "database": parts.path.lstrip("/") or "postgres",
            "search_path": search_path(schema),
        }
        return RawConnection(self.address, parameters)


def schema_of(name: str) -> str:
    """The schema in which a candidate works."""
    return f"bench_{name}"


def search_path(schema: str) -> str:
    """The search path of whoever works in this schema."""
    return f"{schema}, {SHARED_SCHEMA}, public"


def without_tls(dsn: str) -> str:
    """The DSN with sslmode=disable: drivers differ in what they try at first."""
    separator = "&" if urlsplit(dsn).query else "?"
    return f"{dsn}{separator}sslmode=disable"


@contextlib.contextmanager
def open_target(
    dsn: str | None, version: int | None, unix: bool = False
) -> Iterator[Target]:
    """A Target: the server behind `dsn`, or a private one that is stopped in the end.

    `version` and `unix` (connect over the Unix socket, not over TCP) are for the
    private one. Raises BenchError when there is neither.
    """
    if dsn is not None:
        yield Target(dsn, private=False)
        return
    try:
        testing = importlib.import_module("chopin.testing")
    except ImportError as error:
        raise BenchError(
            f"no private server ({error}): build chopin, or name a server with --dsn"
        ) from None
    try:
        server = testing.TemporaryServer(
            version=version,
            settings=SETTINGS,
            hba=HBA,
            users={SCRAM_ROLE: SCRAM_PASSWORD},
        )
    except testing.TemporaryServerError as error:
        raise BenchError(str(error)) from None
    with server:
        dsn = without_tls(server.dsn if unix else server.tcp_dsn)
        yield Target(dsn, private=True, postmaster=server.pid)


class Administration:
    """The connection that makes the tables, and cleans them between samples."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._schemas: list[str] = []

    @classmethod
    async def open(cls, target: Target) -> "Administration":
        """Connect with asyncpg. Raises BenchError when it is not installed."""
        try:
            driver = importlib.import_module("asyncpg")
        except ImportError:
            raise BenchError(
                "asyncpg is needed to compare: pip install 'chopin[bench]'"
            ) from None
        return cls(await driver.connect(target.dsn))

    async def make_schemas(self, names: Sequence[str], scale: str) -> None:
        """Make the shared schema and one for each candidate."""
        await self._make(SHARED_SCHEMA, facts_statements(scale))
        for name in names:
            await self._make(schema_of(name), setup_statements())

    async def _make(self, schema: str, statements: Sequence[str]) -> None:
        await self._connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await self._connection.execute(f"CREATE SCHEMA {schema}")
        self._schemas.append(schema)
        for statement in statements:
            await self.execute(schema, statement)

    async def execute(self, schema: str, statement: str) -> None:
        """Run one statement in a schema."""
        await self._connection.execute(f"SET search_path TO {search_path(schema)}")
        await self._connection.execute(statement)

    async def state(self, schema: str, query: str) -> tuple[Any, ...]:
        """The one row of a query in a schema."""
        await self._connection.execute(f"SET search_path TO {search_path(schema)}")
        # A prepared statement could still mean the table of the schema before.
        statement = await self._connection.prepare(query, name="")
        return tuple(await statement.fetchrow())

    async def settings(self) -> dict[str, str]:
        """The server's settings that matter here."""
        return {
            name: await self._connection.fetchval("SELECT current_setting($1)", name)
            for name in SHOWN
        }

    async def close(self) -> None:
        """Drop what was made and close the connection."""
        for schema in self._schemas:
            await self._connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await self._connection.close()
