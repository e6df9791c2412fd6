"""The pools that are compared, behind one small interface.

Owns: how each pool is opened, and what one call on it is.
Rules:
- Every pool has as many connections as it may have, all open before a clock starts,
  and works in its own schema, named when its connections are made: what a pool resets
  must not take it away.
- Statements are prepared and results binary, as in ``candidates``; but a pool is
  taken as its package makes it: what is given out, checked and reset by default is
  what is measured. Variations have an entry of their own.
- Where a pool's own method has the right shape it is handed out as it is.
- A pool serves one event loop; for several loops there are several pools, unless one
  can serve them all.
"""

import importlib
import importlib.metadata
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from bench.candidates import CANDIDATES, Call
from bench.server import schema_of, search_path

POOL_SIZE = 10
# Of `PoolCandidate.name`; all others are compared with these two.
BASELINE_POOL = "asyncpg"
NO_RESET_POOL = "asyncpg_noreset"


class PoolSession(Protocol):
    """One open pool, as seen by one event loop."""

    @property
    def fetchrow(self) -> Call:
        """`await fetchrow(query, *args)`: the first row, on any connection."""
        ...

    @property
    def execute(self) -> Call:
        """`await execute(query, *args)`: the command tag."""
        ...

    @property
    def acquire(self) -> Callable[[], AbstractAsyncContextManager[Any]]:
        """`async with acquire() as c`: a connection, with fetchrow and transaction."""
        ...

    @property
    def size(self) -> Callable[[], int]:
        """`size()`: how many connections are open."""
        ...

    @property
    def close(self) -> Call:
        """`await close()`: close all connections."""
        ...


class NativePool:
    """asyncpg's pool and Chopin's: the interface above is theirs."""

    def __init__(self, pool: Any) -> None:
        self.fetchrow = pool.fetchrow
        self.execute = pool.execute
        self.acquire = pool.acquire
        self.size = pool.get_size
        self.close = pool.close


class PsycopgPool:
    """psycopg_pool: it gives out connections, and they run the queries."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        # Its connections have a fetchrow: see _psycopg_connection.
        self.acquire = pool.connection
        self.close = pool.close

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, args, prepare=True, binary=True)
            return await cursor.fetchone()

    async def execute(self, query: str, *args: Any) -> Any:
        """The command tag."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, args, prepare=True, binary=True)
            return cursor.statusmessage

    def size(self) -> int:
        """All connections, idle or not."""
        return int(self._pool.get_stats()["pool_size"])


# What opens the pool, to be called once in each loop that uses it.
Enter = Callable[[], Awaitable[PoolSession]]


@dataclass(frozen=True)
class Opening:
    """What is to be opened: where, by whom, how large, for how many loops.

    `size` is that of all loops together; every loop gets its part.
    """

    dsn: str
    name: str
    size: int
    loops: int = 1

    @property
    def part(self) -> int:
        """The connections of one loop."""
        return self.size // self.loops

    @property
    def path(self) -> str:
        """The search path of every connection."""
        return search_path(schema_of(self.name)).replace(" ", "")


def _enter_asyncpg(module: ModuleType, opening: Opening, **options: Any) -> Enter:
    async def enter() -> PoolSession:
        pool = await module.create_pool(
            opening.dsn,
            min_size=opening.part,
            max_size=opening.part,
            server_settings={"search_path": opening.path},
            **options,
        )
        return NativePool(pool)

    return enter


def _enter_asyncpg_noreset(module: ModuleType, opening: Opening) -> Enter:
    no_reset = type(
        "NoReset", (module.Connection,), {"get_reset_query": lambda self: ""}
    )
    return _enter_asyncpg(module, opening, connection_class=no_reset)


def _enter_chopin(module: ModuleType, opening: Opening, **options: Any) -> Enter:
    # One pool for all loops: each has its own connections of it, and its own floor.
    pool = module.create_pool(
        opening.dsn,
        min_size=opening.part,
        max_size=opening.size,
        per_loop=opening.part,
        server_settings={"search_path": opening.path},
        **options,
    )

    async def enter() -> PoolSession:
        await pool
        return NativePool(pool)

    return enter


def _enter_chopin_depth_1(module: ModuleType, opening: Opening) -> Enter:
    return _enter_chopin(module, opening, pipeline_depth=1)


def _psycopg_connection(module: ModuleType) -> type:
    """A connection with a fetchrow, so that all pools give out the same thing."""

    async def fetchrow(connection: Any, query: str, *args: Any) -> Any:
        cursor = await connection.execute(query, args, prepare=True, binary=True)
        return await cursor.fetchone() if cursor.description else None

    return type("BenchConnection", (module.AsyncConnection,), {"fetchrow": fetchrow})


def _enter_psycopg(module: ModuleType, opening: Opening) -> Enter:
    pools = importlib.import_module("psycopg_pool")

    async def enter() -> PoolSession:
        pool = pools.AsyncConnectionPool(
            opening.dsn,
            connection_class=_psycopg_connection(module),
            kwargs={
                "autocommit": True,
                "cursor_factory": module.AsyncRawCursor,
                "options": f"-c search_path={opening.path}",
                "prepare_threshold": 0,
            },
            min_size=opening.part,
            max_size=opening.part,
            open=False,
        )
        await pool.open(wait=True)
        return PsycopgPool(pool)

    return enter


@dataclass(frozen=True)
class PoolCandidate:
    """A pool: whose it is, how it is opened, and what it is told.

    `maker` is what must be importable, as "module.name". With `has_runtime` the driver
    starts worker processes by itself.
    """

    name: str
    driver: str
    maker: str
    enter_of: Callable[[ModuleType, Opening], Enter]
    note: str
    has_runtime: bool = False

    @property
    def title(self) -> str:
        """The name in the head of the report."""
        return f"pool {self.name}"

    def enter(self, opening: Opening) -> Enter:
        """What opens the pool in a loop; it is to be called once in each."""
        return self.enter_of(CANDIDATES[self.driver].module, opening)

    def describe(self) -> str:
        """Version and manner of use, for the head of the report."""
        package = self.maker.partition(".")[0]
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            module = importlib.import_module(package)
            version = str(getattr(module, "__version__", "not installed"))
        return f"{version} ({self.note})"

    def why_not(self) -> str:
        """Why it cannot be used here; empty where it can."""
        package, _, name = self.maker.partition(".")
        try:
            getattr(importlib.import_module(package), name)
        except (ImportError, AttributeError) as error:
            return f"cannot be used here ({error})"
        return ""


POOLS = {
    pool.name: pool
    for pool in (
        PoolCandidate(
            "chopin",
            "chopin",
            "chopin.create_pool",
            _enter_chopin,
            "default",
            has_runtime=True,
        ),
        PoolCandidate(
            "chopin_depth_1",
            "chopin",
            "chopin.create_pool",
            _enter_chopin_depth_1,
            "pipeline_depth=1: nothing rides",
            has_runtime=True,
        ),
        PoolCandidate(
            BASELINE_POOL, "asyncpg", "asyncpg.create_pool", _enter_asyncpg, "default"
        ),
        PoolCandidate(
            NO_RESET_POOL,
            "asyncpg",
            "asyncpg.create_pool",
            _enter_asyncpg_noreset,
            "a get_reset_query that returns nothing",
        ),
        PoolCandidate(
            "psycopg",
            "psycopg",
            "psycopg_pool.AsyncConnectionPool",
            _enter_psycopg,
            "default, autocommit, raw cursors",
        ),
    )
}


def importable_pools(names: Iterable[str]) -> tuple[list[PoolCandidate], list[str]]:
    """The pools that are meant by names, and reasons for what is left out.

    A name is a pool's or a driver's; the driver's means all its pools.
    """
    found: dict[str, PoolCandidate] = {}
    reasons: list[str] = []
    for name in names:
        meant = [pool for pool in POOLS.values() if name in (pool.name, pool.driver)]
        if not meant and name not in CANDIDATES:
            reasons.append(f"{name}: no such pool, known are {', '.join(POOLS)}")
        for pool in meant:
            reason = pool.why_not()
            if reason:
                reasons.append(f"pool {pool.name}: {reason}")
            else:
                found[pool.name] = pool
    return list(found.values()), reasons
