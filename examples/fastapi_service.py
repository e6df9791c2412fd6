"""A web service with FastAPI: python examples/fastapi_service.py [DSN] [--port 8080].

Without a DSN it runs on a private PostgreSQL server, which is gone with the service.
The same service with aiohttp is in aiohttp_service.py, what both share in bookings.py.
Try it out at http://localhost:8080/docs.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Annotated, Any

import uvicorn
from bookings import ADD, REPORT, SCHEMA, answer_to, command_line
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, PositiveInt

import chopin

GRACE_S = 10  # for requests that are running at the end


class Booking(BaseModel):
    """A seat that is wanted."""

    concert: int
    seat: int
    guest: str


class Transfer(BaseModel):
    """Money to be given."""

    payer: str
    payee: str
    amount: PositiveInt


def pool_of(request: Request) -> chopin.Pool:
    pool: chopin.Pool = request.state.pool
    return pool


Pool = Annotated[chopin.Pool, Depends(pool_of)]
Row = dict[str, Any]
Seconds = Annotated[float, Query(ge=0, le=3600)]
routes = APIRouter()


@contextlib.asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """End what is inside with TimeoutError when the client hangs up."""
    async with asyncio.timeout(None) as limit:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            limit.reschedule(asyncio.get_running_loop().time())

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()


@routes.get("/concerts")
async def concerts(pool: Pool) -> list[Row]:
    query = "SELECT id, title, day, price FROM concerts ORDER BY day"
    return [dict(row) for row in await pool.fetch(query)]


@routes.get("/guests/{name}")
async def guest(name: str, pool: Pool) -> Row:
    query = "SELECT name, balance FROM guests WHERE name = $1"
    row = await pool.fetchrow(query, name)
    if row is None:
        raise HTTPException(404, "there is no such guest")
    return dict(row)


@routes.post("/bookings", status_code=201)
async def book(wanted: Booking, pool: Pool) -> dict[str, int]:
    """Take a seat and pay for it: who cannot pay has not taken it either."""
    take = "INSERT INTO bookings (concert, seat, guest) VALUES ($1, $2, $3)"
    look = "SELECT price FROM concerts WHERE id = $1"
    async with pool.transaction() as conn:
        await conn.execute(take, wanted.concert, wanted.seat, wanted.guest)
        price = await conn.fetchval(look, wanted.concert)
        balance = await conn.fetchval(ADD, wanted.guest, -price)
    return {"seat": wanted.seat, "price": price, "balance": balance}


async def move(conn: chopin.Connection, wanted: Transfer) -> dict[str, int]:
    """Change both balances or none; returns what they are then."""
    changes = [(wanted.payer, -wanted.amount), (wanted.payee, wanted.amount)]
    balances = {}
    # in one order for all: two who wait for each other would both have to begin again
    for name, change in sorted(changes):
        balances[name] = await conn.fetchval(ADD, name, change)
        if balances[name] is None:
            raise HTTPException(404, "there is no such guest")
    return balances


@routes.post("/transfers")
async def transfer(wanted: Transfer, pool: Pool) -> dict[str, int]:
    """Give money away; it is tried again when others have come in between."""
    run = pool.run_in_transaction
    return await run(move, wanted, isolation="serializable", retry=10)


@routes.get("/report")
async def report(
    request: Request, pool: Pool, lasts: Seconds = 1, limit: Seconds = 30
) -> list[Row]:
    """A slow query; whatever ends it here ends it in the database too."""
    async with while_connected(request):
        rows = await pool.fetch(REPORT, lasts, timeout=limit)
    return [dict(row) for row in rows]


@routes.get("/stats")
async def stats(pool: Pool) -> Row:
    return pool.stats()._asdict()


async def explain(request: Request, error: Exception) -> JSONResponse:
    """Answer errors; one that nobody has thought of is logged and becomes a 500."""
    known = answer_to(error)
    if known is None:
        raise error
    status, detail = known
    return JSONResponse({"detail": detail}, status)


def create_app(dsn: str, wait: float) -> FastAPI:
    """The service; its pool is opened at the start and closed at the end."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        search_path = {"search_path": "concert_hall"}
        async with chopin.create_pool(
            dsn, min_size=2, acquire_timeout=wait, server_settings=search_path
        ) as pool:
            await pool.execute(SCHEMA)
            yield {"pool": pool}

    app = FastAPI(title="Concert hall", lifespan=lifespan)
    app.include_router(routes)
    for kind in (chopin.PostgresError, chopin.PoolError, OSError):
        app.add_exception_handler(kind, explain)
    return app


class Server(uvicorn.Server):
    """Says where it is, as soon as it can be used."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()
        print(f"http://{host}:{port}", flush=True)


if __name__ == "__main__":
    with command_line(__doc__) as options, contextlib.suppress(KeyboardInterrupt):
        server = Server(
            uvicorn.Config(
                create_app(options.dsn, options.wait),
                port=options.port,
                log_level="warning",
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        # on uvloop if it is installed; uvicorn stops on SIGTERM and SIGINT by itself
        chopin.run(server.serve, workers=1)
