"""A web service with aiohttp: python examples/aiohttp_service.py [DSN] [--port 8080].

Without a DSN it runs on a private PostgreSQL server, which is gone with the service.
The same service with FastAPI is in fastapi_service.py, what both share in bookings.py.

    curl localhost:8080/concerts
    curl localhost:8080/bookings -d '{"concert": 1, "seat": 7, "guest": "Clara"}'
    curl localhost:8080/transfers -d '{"payer": "Franz", "payee": "Jane", "amount": 9}'
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from bookings import ADD, REPORT, SCHEMA, answer_to, command_line

import chopin

GRACE_S = 5.0  # for what is running at the end; aiohttp waits twice as long
POOL = web.AppKey("pool", chopin.Pool)
routes = web.RouteTableDef()


def answer(data: object, status: int = 200) -> web.Response:
    text = json.dumps(data, default=str)  # dates as ISO 8601
    return web.json_response(text=text, status=status)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors; one that nobody has thought of is logged and becomes a 500."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return answer({"detail": error.reason}, error.status)
    except Exception as error:
        known = answer_to(error)
        if known is None:
            raise
        status, detail = known
        return answer({"detail": detail}, status)


async def body(request: web.Request, **types: type) -> list[Any]:
    """The fields of the JSON that was sent, in the order of their types."""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        given = await request.json()
        values = [given[name] for name in types]
        if [type(value) for value in values] == list(types.values()):
            return values
    wanted = ", ".join(f"{name} ({kind.__name__})" for name, kind in types.items())
    raise web.HTTPBadRequest(reason=f"send a JSON object with {wanted}")


def seconds(request: web.Request, name: str, default: float) -> float:
    """A number of the query string, at most an hour."""
    with contextlib.suppress(ValueError):
        value = float(request.query.get(name, default))
        if 0 <= value <= 3600:
            return value
    raise web.HTTPBadRequest(reason=f"{name} must be a number from 0 to 3600")


@routes.get("/concerts")
async def concerts(request: web.Request) -> web.Response:
    query = "SELECT id, title, day, price FROM concerts ORDER BY day"
    return answer([dict(row) for row in await request.app[POOL].fetch(query)])


@routes.get("/guests/{name}")
async def guest(request: web.Request) -> web.Response:
    query = "SELECT name, balance FROM guests WHERE name = $1"
    row = await request.app[POOL].fetchrow(query, request.match_info["name"])
    if row is None:
        raise web.HTTPNotFound(reason="there is no such guest")
    return answer(dict(row))


@routes.post("/bookings")
async def book(request: web.Request) -> web.Response:
    """Take a seat and pay for it: who cannot pay has not taken it either."""
    concert, seat, name = await body(request, concert=int, seat=int, guest=str)
    take = "INSERT INTO bookings (concert, seat, guest) VALUES ($1, $2, $3)"
    async with request.app[POOL].transaction() as conn:
        await conn.execute(take, concert, seat, name)
        price = await conn.fetchval("SELECT price FROM concerts WHERE id = $1", concert)
        balance = await conn.fetchval(ADD, name, -price)
    return answer({"seat": seat, "price": price, "balance": balance}, 201)


async def move(
    conn: chopin.Connection, payer: str, payee: str, amount: int
) -> dict[str, int]:
    """Change both balances or none; returns what they are then."""
    balances = {}
    # in one order for all: two who wait for each other would both have to begin again
    for name, change in sorted([(payer, -amount), (payee, amount)]):
        balances[name] = await conn.fetchval(ADD, name, change)
        if balances[name] is None:
            raise web.HTTPNotFound(reason="there is no such guest")
    return balances


@routes.post("/transfers")
async def transfer(request: web.Request) -> web.Response:
    """Give money away; it is tried again when others have come in between."""
    payer, payee, amount = await body(request, payer=str, payee=str, amount=int)
    if amount <= 0:
        raise web.HTTPBadRequest(reason="the amount must be greater than 0")
    run = request.app[POOL].run_in_transaction
    left = await run(move, payer, payee, amount, isolation="serializable", retry=10)
    return answer(left)


@routes.get("/report")
async def report(request: web.Request) -> web.Response:
    """A slow query; whatever ends it here ends it in the database too."""
    lasts, limit = seconds(request, "lasts", 1), seconds(request, "limit", 30)
    rows = await request.app[POOL].fetch(REPORT, lasts, timeout=limit)
    return answer([dict(row) for row in rows])


@routes.get("/stats")
async def stats(request: web.Request) -> web.Response:
    return answer(request.app[POOL].stats()._asdict())


def create_app(dsn: str, wait: float) -> web.Application:
    """The service; its pool is opened at the start and closed at the end."""

    async def database(app: web.Application) -> AsyncIterator[None]:
        search_path = {"search_path": "concert_hall"}
        async with chopin.create_pool(
            dsn, min_size=2, acquire_timeout=wait, server_settings=search_path
        ) as pool:
            await pool.execute(SCHEMA)
            app[POOL] = pool
            yield

    app = web.Application(middlewares=[explain])
    app.add_routes(routes)
    app.cleanup_ctx.append(database)
    return app


async def serve(app: web.Application, port: int) -> None:
    """Serve until it is cancelled; say where, as soon as it can be used."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,  # when a client hangs up
        shutdown_timeout=GRACE_S,
    )
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0]
        print(f"http://{host}:{port}", flush=True)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    with command_line(__doc__) as options, contextlib.suppress(KeyboardInterrupt):
        app = create_app(options.dsn, options.wait)
        # on uvloop if it is installed; SIGTERM and SIGINT cancel it
        chopin.run(lambda: serve(app, options.port), workers=1)
