"""The TechEmpower database tests as a web service: four ways to the database, two apps.

Owns: `DATABASES` and `APPS`; ``python -m bench.serviceapps APP DATABASE --dsn DSN``,
one service under uvicorn that prints its port.
Rules:
- All do what the TechEmpower rules say: rows are read one query each, at random.
- asyncpg and chopin run the same lines, with another module imported. "chopin_tuned"
  uses what only Chopin has, psycopg its pipeline mode.
- Pools are of equal size and open at the start. Statements are prepared.

Source: TechEmpower Framework Benchmarks, "Project Information: Framework Tests".
"""

import argparse
import asyncio
import html
import importlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs

WORLDS = 10_000
MOST = 500
READ = "SELECT id, randomnumber FROM world WHERE id = $1"
READ_FORTUNES = "SELECT id, message FROM fortune"
UPDATE = "UPDATE changing SET randomnumber = $1 WHERE id = $2"
READ_CHANGING = "SELECT id, randomnumber FROM changing WHERE id = $1"
ADDED = (0, "Additional fortune added at request time.")

Row = Sequence[Any]


# -- ways to the database ------------------------------------------------------------


class Asyncpg:
    """asyncpg as its users write it; with another module, the same of Chopin."""

    def __init__(self, module: str = "asyncpg") -> None:
        self._module = importlib.import_module(module)

    async def open(self, dsn: str, size: int) -> None:
        """Open the pool."""
        self.pool = await self._module.create_pool(dsn, min_size=size, max_size=size)

    async def world(self, key: int) -> Row:
        """One row."""
        row: Row = await self.pool.fetchrow(READ, key)
        return row

    async def worlds(self, keys: Sequence[int]) -> list[Row]:
        """A query for each row, on one connection."""
        async with self.pool.acquire() as connection:
            return [await connection.fetchrow(READ, key) for key in keys]

    async def fortunes(self) -> list[Row]:
        """All fortunes."""
        rows: list[Row] = await self.pool.fetch(READ_FORTUNES)
        return rows

    async def update(self, keys: Sequence[int], numbers: Sequence[int]) -> list[Row]:
        """A query for each row, then all updates; returns the rows as they were."""
        async with self.pool.acquire() as connection:
            rows = [await connection.fetchrow(READ_CHANGING, key) for key in keys]
            await connection.executemany(UPDATE, zip(numbers, keys, strict=True))
        return rows


class ChopinTuned(Asyncpg):
    """Chopin with the queries of a request in one round trip, each of its own."""

    def __init__(self) -> None:
        super().__init__("chopin")

    async def worlds(self, keys: Sequence[int]) -> list[Row]:
        """All queries sent at once."""
        rows: list[Row] = await self.pool.fetchmany(READ, [(key,) for key in keys])
        return rows

    async def update(self, keys: Sequence[int], numbers: Sequence[int]) -> list[Row]:
        """All queries sent at once, then all updates."""
        async with self.pool.acquire() as connection:
            rows: list[Row] = await connection.fetchmany(
                READ_CHANGING, [(key,) for key in keys]
            )
            await connection.executemany(UPDATE, zip(numbers, keys, strict=True))
        return rows


class Psycopg:
    """psycopg 3 with its pool, prepared statements and pipeline mode."""

    async def open(self, dsn: str, size: int) -> None:
        """Open the pool."""
        pools = importlib.import_module("psycopg_pool")
        options = {"autocommit": True, "prepare_threshold": 0}
        self.pool = pools.AsyncConnectionPool(
            dsn, min_size=size, max_size=size, kwargs=options, open=False
        )
        await self.pool.open(wait=True)

    async def world(self, key: int) -> Row:
        """One row."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(percent(READ), (key,), binary=True)
            row: Row = await cursor.fetchone()
        return row

    async def worlds(self, keys: Sequence[int]) -> list[Row]:
        """All queries sent at once."""
        async with self.pool.connection() as connection:
            return await self._pipelined(connection, READ, keys)

    async def _pipelined(
        self, connection: Any, query: str, keys: Sequence[int]
    ) -> list[Row]:
        text = percent(query)
        async with connection.pipeline():
            cursors = [
                await connection.execute(text, (key,), binary=True) for key in keys
            ]
            return [await cursor.fetchone() for cursor in cursors]

    async def fortunes(self) -> list[Row]:
        """All fortunes."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(READ_FORTUNES, binary=True)
            rows: list[Row] = await cursor.fetchall()
        return rows

    async def update(self, keys: Sequence[int], numbers: Sequence[int]) -> list[Row]:
        """All queries sent at once, then all updates, as one transaction."""
        async with self.pool.connection() as connection:
            rows = await self._pipelined(connection, READ_CHANGING, keys)
            async with connection.transaction(), connection.cursor() as cursor:
                pairs = list(zip(numbers, keys, strict=True))
                await cursor.executemany(percent(UPDATE), pairs)
        return rows


def percent(query: str) -> str:
    """The query with psycopg's placeholders; its parameters are in order."""
    return query.replace("$1", "%s").replace("$2", "%s")


DATABASES: dict[str, Callable[[], Any]] = {
    "asyncpg": Asyncpg,
    "chopin": lambda: Asyncpg("chopin"),
    "chopin_tuned": ChopinTuned,
    "psycopg": Psycopg,
}


# -- what is answered ----------------------------------------------------------------


def how_many(text: str | None) -> int:
    """The number of queries that a request may ask for: 1 to 500, 1 for nonsense."""
    try:
        return min(max(int(text or 1), 1), MOST)
    except ValueError:
        return 1


def some_keys(count: int) -> list[int]:
    """Different keys, in order, so that no two updates wait for each other."""
    return sorted(random.sample(range(1, WORLDS + 1), count))


def as_world(row: Row) -> dict[str, int]:
    """A row as it is shown."""
    return {"id": row[0], "randomNumber": row[1]}


async def single(database: Any) -> Any:
    return as_world(await database.world(random.randint(1, WORLDS)))


async def several(database: Any, count: int) -> Any:
    return [as_world(row) for row in await database.worlds(some_keys(count))]


async def changed(database: Any, count: int) -> Any:
    keys = some_keys(count)
    numbers = [random.randint(1, WORLDS) for _ in keys]
    rows = await database.update(keys, numbers)
    return [
        {"id": row[0], "randomNumber": number}
        for row, number in zip(rows, numbers, strict=True)
    ]


def fortunes_page(rows: Sequence[Row]) -> str:
    """The page, with one fortune more, sorted by their texts."""
    fortunes = sorted([*map(tuple, rows), ADDED], key=lambda fortune: fortune[1])
    cells = "".join(
        f"<tr><td>{key}</td><td>{html.escape(text)}</td></tr>" for key, text in fortunes
    )
    return (
        "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
        f"<tr><th>id</th><th>message</th></tr>{cells}</table></body></html>"
    )


# -- the applications ----------------------------------------------------------------


def plain_asgi(database: Any) -> Callable[..., Awaitable[None]]:
    """No framework: what is left is the server, the driver and the answer."""
    json_type = [(b"content-type", b"application/json")]
    html_type = [(b"content-type", b"text/html; charset=utf-8")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path, headers = scope["path"], json_type
        if path == "/db":
            body = json.dumps(await single(database)).encode()
        elif path == "/fortunes":
            headers = html_type
            body = fortunes_page(await database.fortunes()).encode()
        else:
            values = parse_qs(scope["query_string"].decode()).get("queries", [""])
            work = several if path == "/queries" else changed
            count = how_many(values[0])
            body = json.dumps(await work(database, count)).encode()
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


def fastapi_app(database: Any) -> Any:
    """FastAPI as its users write it."""
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    app = FastAPI()

    @app.get("/db")
    async def db() -> dict[str, int]:
        answer: dict[str, int] = await single(database)
        return answer

    @app.get("/queries")
    async def queries(queries: str | None = None) -> list[dict[str, int]]:
        answer: list[dict[str, int]] = await several(database, how_many(queries))
        return answer

    @app.get("/updates")
    async def updates(queries: str | None = None) -> list[dict[str, int]]:
        answer: list[dict[str, int]] = await changed(database, how_many(queries))
        return answer

    @app.get("/fortunes", response_class=HTMLResponse)
    async def fortunes() -> str:
        return fortunes_page(await database.fortunes())

    return app


APPS: dict[str, Callable[[Any], Any]] = {"asgi": plain_asgi, "fastapi": fastapi_app}


def with_clock(app: Any) -> Callable[..., Awaitable[None]]:
    """The app, which also says at /cpu how many seconds it has used."""

    async def clocked(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/cpu":
            await app(scope, receive, send)
            return
        body = repr(time.process_time()).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return clocked


async def serve(app: str, database: str, dsn: str, size: int) -> None:
    """Serve until SIGTERM."""
    import uvicorn

    way = DATABASES[database]()
    await way.open(dsn, size)
    config = uvicorn.Config(
        with_clock(APPS[app](way)),
        port=0,
        http="httptools",
        log_level="warning",
        access_log=False,
        lifespan="off",
    )

    class Server(uvicorn.Server):
        """Says at which port it is, as soon as it can be used."""

        async def startup(self, sockets: Any = None) -> None:
            """Begin to listen."""
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    await Server(config).serve()
    await way.pool.close()


def main() -> None:
    """One service, on uvloop."""
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m bench.serviceapps")
    parser.add_argument("app", choices=list(APPS))
    parser.add_argument("database", choices=list(DATABASES))
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--size", type=int, default=10)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.app, options.database, options.dsn, options.size))


if __name__ == "__main__":
    main()
