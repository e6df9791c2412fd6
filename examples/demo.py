"""A tour of Chopin on a private PostgreSQL server: run it with ``make demo``.

It starts a server, fills an online music shop with more than 100,000 order lines, does
what the shop's service would do, and says how fast that was. The server and everything
on it are gone when it ends.

    python examples/demo.py [--orders N] [--loop asyncio]
"""

import argparse
import asyncio
import importlib.util
import platform
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import chopin
from chopin.testing import TemporaryServer, TemporaryServerError

SEED = 1810
CUSTOMERS = 5_000
ORDERS = 45_000
MOST_LINES = 5  # of one order; 3 on the average

SCHEMA = """
CREATE TABLE customers (
    id int PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    city text NOT NULL,
    since date NOT NULL
);
CREATE TABLE products (
    id int PRIMARY KEY,
    name text NOT NULL UNIQUE,
    price numeric(10, 2) NOT NULL CHECK (price > 0),
    stock int NOT NULL CONSTRAINT stock_is_not_negative CHECK (stock >= 0)
);
CREATE TABLE orders (
    id int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    placed timestamptz NOT NULL,
    status text NOT NULL
);
CREATE TABLE order_lines (
    order_id int NOT NULL,
    line int2 NOT NULL,
    product_id int NOT NULL,
    quantity int NOT NULL,
    price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
CREATE TABLE coupons (
    code text PRIMARY KEY,
    uses_left int NOT NULL CONSTRAINT coupon_is_used_up CHECK (uses_left >= 0)
);
INSERT INTO coupons VALUES ('NOCTURNE', 0);
"""

FIRST_NAMES = [
    "Ada", "Amélie", "Béla", "Clara", "Edvard", "Fanny", "Frédéric", "Franz", "George",
    "Ignacy", "Isaac", "Józef", "Julia", "Karol", "Leoš", "Louise", "Ludwik", "Maria",
    "Maurice", "Nadia", "Pauline", "Robert", "Wanda", "Witold", "Zofia",
]  # fmt: skip
LAST_NAMES = [
    "Bacewicz", "Boulanger", "Dubois", "Farrenc", "Fontana", "Gomółka", "Grieg",
    "Grzymała", "Hensel", "Janáček", "Jędrzejewicz", "Landowska", "Liszt",
    "Mendelssohn", "Moniuszko", "Ogińska", "Paderewska", "Ravel", "Sand", "Schumann",
    "Stirling", "Szymanowski", "Viardot", "Wieniawski", "Wodzińska", "Żywny",
]  # fmt: skip
CITIES = [
    "Warszawa", "Paris", "Wien", "Majorka", "Nohant", "Kraków", "London", "Praha",
    "Leipzig", "Berlin",
]  # fmt: skip
MATERIALS = [
    "Brass", "Ebony", "Golden", "Ivory-white", "Oak", "Rosewood", "Silver", "Spruce",
    "Velvet",
]  # fmt: skip
THINGS = [
    "bow case", "capo", "chair", "conductor's baton", "cymbal", "drum stool",
    "harp string", "manuscript book", "metronome", "mouthpiece", "music stand",
    "oboe reed", "piano bench", "piano lamp", "plectrum", "rosin", "shoulder rest",
    "triangle", "tuning fork", "violin string",
]  # fmt: skip
STATUSES = ("delivered", "delivered", "delivered", "shipped", "paid", "returned")

CITY_TOTALS = """
SELECT c.city,
       count(DISTINCT o.id) AS orders,
       sum(l.quantity * l.price) AS revenue,
       round(avg(l.quantity * l.price), 2) AS mean_line
FROM customers c
JOIN orders o ON o.customer_id = c.id
JOIN order_lines l ON l.order_id = o.id
WHERE o.placed >= $1
GROUP BY c.city ORDER BY revenue DESC LIMIT $2
"""
BEST_SELLERS = """
SELECT p.name AS product, p.price, sum(l.quantity) AS sold
FROM order_lines l JOIN products p ON p.id = l.product_id
GROUP BY p.id ORDER BY sold DESC, p.id LIMIT $1
"""
LAST_ORDERS = """
SELECT o.id AS order, o.placed::date AS placed, o.status,
       array_agg(p.name ORDER BY l.line) AS products,
       sum(l.quantity * l.price) AS total
FROM orders o
JOIN order_lines l ON l.order_id = o.id
JOIN products p ON p.id = l.product_id
WHERE o.customer_id = $1
GROUP BY o.id ORDER BY o.placed DESC LIMIT $2
"""


# -- the data set: the same on every run ----------------------------------------------


def customers(rng: random.Random) -> Iterator[tuple[int, str, str, str, date]]:
    """Rows of customers."""
    for n in range(1, CUSTOMERS + 1):
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        since = date(2019, 1, 1) + timedelta(days=rng.randrange(2000))
        email = f"customer{n}@example.org"
        yield n, f"{first} {last}", email, rng.choice(CITIES), since


def products(rng: random.Random) -> list[tuple[int, str, Decimal, int]]:
    """Rows of products."""
    names = [f"{material} {thing}" for material in MATERIALS for thing in THINGS]
    return [
        (n, name, Decimal(rng.randrange(290, 49_900)) / 100, rng.randrange(200, 900))
        for n, name in enumerate(names, start=1)
    ]


def orders(rng: random.Random, count: int) -> Iterator[tuple[int, int, datetime, str]]:
    """Rows of orders: some customers come often, most do not."""
    begin = datetime(2024, 1, 1, 8, tzinfo=UTC)
    for n in range(1, count + 1):
        customer = 1 + int(CUSTOMERS * rng.random() ** 2)
        placed = begin + timedelta(minutes=n * 1_000_000 // count, seconds=n % 60)
        yield n, customer, placed, rng.choice(STATUSES)


def order_lines(
    rng: random.Random, count: int, shelf: Sequence[tuple[int, str, Decimal, int]]
) -> Iterator[tuple[int, int, int, int, Decimal]]:
    """Rows of order lines: one to five for each order, cheap at the price of then."""
    for order in range(1, count + 1):
        for line in range(1, rng.randint(1, MOST_LINES) + 1):
            product, _, price, _ = rng.choice(shelf)
            yield order, line, product, rng.choice((1, 1, 1, 2, 3, 10)), price


# -- what it looks like ----------------------------------------------------------------


def heading(number: int, text: str) -> None:
    line = f"{number}. {text}"
    print(f"\n\033[1m{line}\033[0m" if sys.stdout.isatty() else f"\n{line}")


def say(text: str) -> None:
    print(f"   {text}".rstrip())


def shown(value: Any) -> str:
    """A value as a cell of a table shows it."""
    if isinstance(value, list):
        more = f" and {len(value) - 1} more" if len(value) > 1 else ""
        return f"{value[0]}{more}"
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    return str(value)


def print_table(rows: Sequence[chopin.Record]) -> None:
    """Rows with their column names; numbers to the right."""
    names = list(rows[0].keys())
    cells = [names, *([shown(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_right = [isinstance(value, int | Decimal) for value in rows[0]]
    for cell_row in cells:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cell_row, widths, to_right, strict=True)
        ]
        say("  " + "   ".join(padded).rstrip())
        if cell_row is names:
            say("  " + "   ".join("-" * width for width in widths))


def rate(count: int, seconds: float, what: str) -> str:
    return f"{seconds * 1000:9,.1f} ms {count / seconds:11,.0f} {what}/s"


# -- the tour --------------------------------------------------------------------------


async def load(conn: chopin.Connection, n_orders: int) -> None:
    """Make the tables and fill them."""
    heading(1, "A music shop, loaded with executemany")
    await conn.execute(SCHEMA)
    rng = random.Random(SEED)
    shelf = products(rng)
    tables: list[tuple[str, Iterable[tuple[Any, ...]]]] = [
        ("customers", customers(rng)),
        ("products", shelf),
        ("orders", orders(rng, n_orders)),
        ("order_lines", order_lines(rng, n_orders, shelf)),
    ]
    for name, source in tables:
        rows = list(source)  # made beforehand, so that only the sending is timed
        places = ", ".join(f"${n}" for n in range(1, len(rows[0]) + 1))
        started = time.perf_counter()
        await conn.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
        seconds = time.perf_counter() - started
        say(f"{name:12} {len(rows):8,} rows {rate(len(rows), seconds, 'rows')}")
    await conn.execute(
        """
        ALTER TABLE order_lines ADD FOREIGN KEY (order_id) REFERENCES orders;
        ALTER TABLE order_lines ADD FOREIGN KEY (product_id) REFERENCES products;
        CREATE INDEX ON orders (customer_id, placed);
        ANALYZE;
        """
    )


async def ask(conn: chopin.Connection) -> None:
    """Look things up, join and aggregate."""
    heading(2, "What the service asks")
    started = time.perf_counter()
    for n in range(1, 1001):
        await conn.fetchrow("SELECT name, city FROM customers WHERE id = $1", n)
    seconds = time.perf_counter() - started
    say(f"1,000 customers by id, one by one  {rate(1000, seconds, 'queries')}")

    async def table(title: str, sql: str, *args: Any) -> None:
        await conn.fetch(sql, *args)  # prepares it; the second one is timed
        began = time.perf_counter()
        rows = await conn.fetch(sql, *args)
        say("")
        say(f"{title} ({(time.perf_counter() - began) * 1000:.1f} ms)")
        print_table(rows)

    await table("The last orders of customer 42", LAST_ORDERS, 42, 3)
    await table("Best sellers", BEST_SELLERS, 3)
    since = datetime(2025, 1, 1, tzinfo=UTC)
    await table("Revenue by city since 2025", CITY_TOTALS, since, 3)


async def buy(conn: chopin.Connection, order: int, product: int, quantity: int) -> None:
    """Place an order: all of it or nothing; a used-up coupon does not spoil it."""
    async with conn.transaction():
        await conn.execute("INSERT INTO orders VALUES ($1, 42, now(), 'paid')", order)
        try:
            async with conn.transaction():  # inside of another: a savepoint
                await conn.execute(
                    "UPDATE coupons SET uses_left = uses_left - 1 WHERE code = $1",
                    "NOCTURNE",
                )
        except chopin.CheckViolationError as error:
            say(f"  rolled back to the savepoint: {error.constraint_name}")
        price = await conn.fetchval(
            "UPDATE products SET stock = stock - $2 WHERE id = $1 RETURNING price",
            product,
            quantity,
        )
        await conn.execute(
            "INSERT INTO order_lines VALUES ($1, 1, $2, $3, $4)",
            order,
            product,
            quantity,
            price,
        )


async def transact(conn: chopin.Connection) -> None:
    """One order that is placed and one that is not."""
    heading(3, "A transaction with a savepoint, and one that is rolled back")
    first, second = 9_000_001, 9_000_002
    for order, quantity in ((first, 2), (second, 100_000)):
        say(f"order {order}: {quantity:,} pieces of product 7, with a coupon")
        try:
            await buy(conn, order, product=7, quantity=quantity)
            say("  committed")
        except chopin.CheckViolationError as error:
            say(f"  rolled back as a whole: {error.constraint_name}")
    query = "SELECT id FROM orders WHERE id = ANY($1)"
    there = [row["id"] for row in await conn.fetch(query, [first, second])]
    say(f"in the table afterwards: {there}")


async def together(conn: chopin.Connection) -> None:
    """The same queries in a row and all at once, on one connection."""
    heading(4, "20 queries on one connection: one after another, and all at once")
    sql = "SELECT * FROM orders WHERE id = $1"
    rounds = 100

    async def in_a_row() -> None:
        for n in range(1, 21):
            await conn.fetchrow(sql, n)

    async def at_once() -> None:
        await asyncio.gather(*(conn.fetchrow(sql, n) for n in range(1, 21)))

    async def timed(one_round: Callable[[], Awaitable[None]]) -> float:
        await one_round()
        started = time.perf_counter()
        for _ in range(rounds):
            await one_round()
        return time.perf_counter() - started

    slow, fast = await timed(in_a_row), await timed(at_once)
    say(f"await, 20 times    {rate(20 * rounds, slow, 'queries')}")
    say(f"asyncio.gather     {rate(20 * rounds, fast, 'queries')}")
    say(f"{slow / fast:.1f} times as fast: sent together, answered in order")


async def walk(conn: chopin.Connection) -> None:
    """Every order line through a cursor, and all of them at once."""
    heading(5, "Every order line: through a cursor, and all at once")
    sql = "SELECT order_id, quantity, price FROM order_lines"
    total, count = Decimal(0), 0
    started = time.perf_counter()
    async with conn.transaction(readonly=True):
        async for row in conn.cursor(sql, prefetch=1000):
            total += row["quantity"] * row["price"]
            count += 1
    seconds = time.perf_counter() - started
    say(f"cursor, added up one by one  {rate(count, seconds, 'rows')}")
    started = time.perf_counter()
    rows = await conn.fetch(sql)
    seconds = time.perf_counter() - started
    say(f"fetch, kept in a list        {rate(len(rows), seconds, 'rows')}")
    server_says = await conn.fetchval("SELECT sum(quantity * price) FROM order_lines")
    say(f"revenue: {total:,}, and the server agrees: {total == server_says}")


async def give_up(conn: chopin.Connection) -> None:
    """Stop waiting for a slow query; the server stops too."""
    heading(6, "A slow query is given up, the connection goes on")
    pid = conn.get_server_pid()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(0.25):
            await conn.execute("SELECT pg_sleep(60)")
    except TimeoutError:
        say(f"TimeoutError after {time.perf_counter() - started:.2f} s")
    started = time.perf_counter()
    same = await conn.fetchval("SELECT pg_backend_pid()") == pid
    milliseconds = (time.perf_counter() - started) * 1000
    say(f"the server was told: {milliseconds:.1f} ms later the next query is answered")
    say(f"the same connection: {same}")


async def fail(conn: chopin.Connection) -> None:
    """Errors by class, from the server and from arguments."""
    heading(7, "Errors have classes")
    wrong: list[tuple[str, tuple[Any, ...]]] = [
        ("INSERT INTO coupons VALUES ('NOCTURNE', 3)", ()),
        ("UPDATE orders SET customer_id = $1 WHERE id = 1", (0,)),
        ("SELECT nam FROM customers", ()),
        ("SELECT * FROM customers WHERE id = $1", ("forty-two",)),
    ]
    for sql, args in wrong:
        try:
            await conn.fetch(sql, *args)
        except chopin.PostgresError as error:
            say(f"{type(error).__name__} ({error.sqlstate})")
            say(f"    {str(error).splitlines()[0]}")


async def serve(dsn: str) -> None:
    """A rush: many customers look and buy at once, on a few connections."""
    heading(8, "200 customers at once on a pool of 5 connections")
    looks = "SELECT * FROM products WHERE id = $1"

    async def buy_one(conn: chopin.Connection) -> None:
        stock = await conn.fetchval("SELECT stock FROM products WHERE id = 1")
        await conn.execute("UPDATE products SET stock = $1 WHERE id = 1", stock - 1)

    async def visit(pool: chopin.Pool, number: int) -> None:
        for product in range(1, 21):
            await pool.fetchrow(looks, product)
        if number % 20 == 0:
            await pool.run_in_transaction(
                buy_one, isolation="serializable", retry=chopin.Retry(attempts=50)
            )

    async with chopin.create_pool(dsn, max_size=5) as pool:
        stock = "SELECT stock FROM products WHERE id = 1"
        before = await pool.fetchval(stock)
        started = time.perf_counter()
        await asyncio.gather(*(visit(pool, number) for number in range(200)))
        seconds = time.perf_counter() - started
        stats = pool.stats()
        say(f"looked at products  {rate(200 * 20, seconds, 'queries')}")
        say(f"{stats.size} connections; {stats.rides:,} reads shared one with others")
        sold = before - await pool.fetchval(stock)
        say(f"sold, though all wanted the same one at the same time: {sold}")


async def tour(server: TemporaryServer, n_orders: int) -> None:
    """Connect, and show everything."""
    conn = await chopin.connect(server.dsn, application_name="demo")
    try:
        await load(conn, n_orders)
        await ask(conn)
        await transact(conn)
        await together(conn)
        await walk(conn)
        await give_up(conn)
        await fail(conn)
    finally:
        await conn.close()
    await serve(server.dsn)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop when it is wanted and installed."""
    if name == "asyncio" or importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", type=int, default=ORDERS, help="how many to make")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    factory = loop_factory(options.loop)
    loop = "asyncio" if factory is None else "uvloop"
    print(f"Chopin {chopin.__version__}, Python {platform.python_version()}, {loop}")
    started = time.perf_counter()
    try:
        with TemporaryServer() as server:
            version = ".".join(map(str, server.version))
            seconds = time.perf_counter() - started
            print(f"PostgreSQL {version}, a private server, started in {seconds:.1f} s")
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(tour(server, options.orders))
    except TemporaryServerError as error:
        sys.exit(f"demo: {error}")
    print(
        f"\nThe server is stopped and its files are gone. "
        f"{time.perf_counter() - started:.1f} s in all."
    )


if __name__ == "__main__":
    main()
