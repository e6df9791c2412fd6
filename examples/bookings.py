"""What the two example services have in common: tables, errors and the command line.

Guests book seats in a concert hall and give each other money, which is in cents.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator

import chopin
from chopin.retry import kind_of
from chopin.testing import TemporaryServer, TemporaryServerError

# Run at each start: it may run again, and in several services at the same time.
SCHEMA = """
SELECT pg_advisory_xact_lock(1810);
CREATE SCHEMA IF NOT EXISTS concert_hall;
CREATE TABLE IF NOT EXISTS concert_hall.concerts (
    id int PRIMARY KEY,
    title text NOT NULL,
    day date NOT NULL,
    price int NOT NULL
);
CREATE TABLE IF NOT EXISTS concert_hall.guests (
    name text PRIMARY KEY,
    balance int NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS concert_hall.bookings (
    concert int REFERENCES concert_hall.concerts,
    seat int,
    guest text NOT NULL REFERENCES concert_hall.guests,
    PRIMARY KEY (concert, seat)
);
INSERT INTO concert_hall.concerts VALUES
    (1, 'Nocturnes', '2027-02-22', 2500),
    (2, 'Préludes', '2027-03-01', 3000),
    (3, 'Mazurkas', '2027-04-06', 1000)
ON CONFLICT DO NOTHING;
INSERT INTO concert_hall.guests VALUES
    ('Clara', 500000), ('Franz', 500000), ('George', 500000), ('Jane', 2000)
ON CONFLICT DO NOTHING;
"""
ADD = "UPDATE guests SET balance = balance + $2 WHERE name = $1 RETURNING balance"
REPORT = """
SELECT title, count(seat) AS seats, count(seat) * price AS takings
FROM concerts LEFT JOIN bookings ON concert = id CROSS JOIN pg_sleep($1)
GROUP BY id ORDER BY id
"""

# What an error means to a client: by its class, or else by its kind.
BY_CLASS: dict[type[BaseException], tuple[int, str]] = {
    chopin.CheckViolationError: (409, "there is not enough money"),
    chopin.DataError: (400, "a value is too large or has a character that cannot be"),
    chopin.ForeignKeyViolationError: (404, "there is no such concert or guest"),
    chopin.UniqueViolationError: (409, "the seat is taken"),
}
BY_KIND: dict[str, tuple[int, str]] = {
    "canceled": (504, "that took too long"),
    "pool": (503, "all connections are busy"),
    "resource": (503, "the database has too much to do"),
    "transient": (503, "the database cannot do it just now"),
}


def answer_to(error: Exception) -> tuple[int, str] | None:
    """HTTP status and explanation; None if it is an error of the service."""
    for kind in type(error).__mro__:
        if kind in BY_CLASS:
            return BY_CLASS[kind]
    return BY_KIND.get(kind_of(error))


@contextlib.contextmanager
def command_line(description: str) -> Iterator[argparse.Namespace]:
    """The options; without a DSN it is that of a server that lasts as long as this."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("dsn", nargs="?", help="default: that of a private server")
    parser.add_argument("--port", type=int, default=8080, help="default: 8080; 0: any")
    parser.add_argument("--wait", type=float, default=5.0, help="s for a connection")
    options = parser.parse_args()
    if options.dsn is not None:
        yield options
        return
    try:
        server = TemporaryServer()
        server.start()
    except TemporaryServerError as error:
        sys.exit(f"no DSN is given, and no server can be started: {error}")
    with contextlib.closing(server):
        options.dsn = server.dsn
        yield options
