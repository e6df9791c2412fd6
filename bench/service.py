"""``python -m bench.service``: a whole web service on each driver, under load.

The TechEmpower database tests (a row, 20 rows by 20 queries, fortunes, 20 updates)
under uvicorn with uvloop and httptools, once as bare ASGI and once with FastAPI. The
services and PostgreSQL are processes of their own; this one sends the requests and
checks the answers. Every service is asked in every round, in random order.

Needs: pip install 'chopin[bench]'.
"""

import argparse
import asyncio
import contextlib
import functools
import importlib
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.loops import loop_factory
from bench.poolstages import percentiles
from bench.report import Table, machine
from bench.server import open_target
from bench.serviceapps import APPS, DATABASES, WORLDS, fortunes_page
from bench.serviceload import Check, get, load
from bench.words import BenchError

BASELINE = "asyncpg"
COUNT = 20
STOP_S = 10.0
WARM_S = 0.3
INTRODUCTION = f"""# A web service on each driver

Made by `python -m bench.service --out docs/service.md`; do not edit it. Single drivers
and pools, and how all is measured: [Benchmarks](benchmarks.md).

The database tests of TechEmpower: a row by its key, {COUNT} rows by {COUNT} queries, a
page of fortunes, {COUNT} rows read and updated. The services run under uvicorn with
uvloop and httptools, one process each, and use their drivers as their users would;
`chopin_tuned` sends the queries of a request at once. PostgreSQL and the client that
asks are processes of their own, on the same machine. Every service is asked in every
round, in random order, and every answer is checked.

Ratios are medians of those within each round: of rates more is better, of CPU less. CPU
is that of the service for one request, most of it the web framework's, which all have
in common.
"""
FORTUNES = [
    (1, "fortune: No such file or directory"),
    (2, "A computer scientist is someone who fixes things that aren't broken."),
    (3, "After enough decimal places, nobody gives a damn."),
    (4, "A bad random number generator: 1, 1, 1, 1, 1, 4.33e+67, 1, 1, 1"),
    (5, "A computer program does what you tell it to do, not what you want it to do."),
    (6, "Emacs is a nice operating system, but I prefer UNIX. — Tom Christaensen"),
    (7, "Any program that runs right is obsolete."),
    (8, "A list is only as strong as its weakest link. — Donald Knuth"),
    (9, "Feature: A bug with seniority."),
    (10, "Computers make very fast, very accurate mistakes."),
    (11, '<script>alert("This should not be displayed in a browser alert box.");'),
    (12, "フレームワークのベンチマーク"),
]
SETUP = f"""
    CREATE TABLE world (id int PRIMARY KEY, randomnumber int NOT NULL);
    INSERT INTO world SELECT n, 1 + n * 7919 % {WORLDS}
        FROM generate_series(1, {WORLDS}) n;
    CREATE TABLE changing (LIKE world INCLUDING ALL);
    INSERT INTO changing SELECT * FROM world;
    CREATE TABLE fortune (id int PRIMARY KEY, message text NOT NULL);
    VACUUM ANALYZE
"""


# -- what must be answered -----------------------------------------------------------


def check_world(world: Any) -> None:
    """A row of the table that nobody changes."""
    if world["randomNumber"] != 1 + world["id"] * 7919 % WORLDS:
        raise BenchError(f"{world} is not what is in the table")


def check_single(body: bytes) -> None:
    check_world(json.loads(body))


def check_count(worlds: Any, count: int) -> None:
    """As many different rows as were asked for, with numbers as they may be."""
    if len({world["id"] for world in worlds}) != count:
        raise BenchError(f"{len(worlds)} rows are not {count} different ones")
    for world in worlds:
        if not (1 <= world["id"] <= WORLDS and 1 <= world["randomNumber"] <= WORLDS):
            raise BenchError(f"{world} cannot be")


def check_several(body: bytes, count: int = COUNT) -> None:
    worlds = json.loads(body)
    check_count(worlds, count)
    for world in worlds:
        check_world(world)


def check_changed(body: bytes, count: int = COUNT) -> None:
    check_count(json.loads(body), count)


def check_fortunes(body: bytes) -> None:
    if body.decode() != fortunes_page(FORTUNES):
        raise BenchError(f"this is not the page of fortunes: {body[:300]!r}")


@dataclass(frozen=True)
class Test:
    """One of TechEmpower's: what is asked for, and what must be answered."""

    name: str
    path: str
    check: Check


TESTS = (
    Test("single query", "/db", check_single),
    Test(f"{COUNT} queries", f"/queries?queries={COUNT}", check_several),
    Test("fortunes", "/fortunes", check_fortunes),
    Test(f"{COUNT} updates", f"/updates?queries={COUNT}", check_changed),
)


# -- the services --------------------------------------------------------------------


@dataclass
class Service:
    """One service: what it is made of, and what was measured of it by test."""

    app: str
    database: str
    process: subprocess.Popen[str]
    port: int = 0
    rounds: dict[str, list["Round"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """One service in one round: requests per second, seconds."""

    rate: float
    p50: float
    p99: float
    cpu: float


@contextlib.contextmanager
def started(
    apps: Sequence[str], databases: Sequence[str], dsn: str, size: int
) -> Iterator[list[Service]]:
    """Services of all combinations, which end with the block."""
    services: list[Service] = []
    try:
        for app in apps:
            for database in databases:
                command = [sys.executable, "-m", "bench.serviceapps", app, database]
                command += ["--dsn", dsn, "--size", str(size)]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                services.append(Service(app, database, process))
        for service in services:
            assert service.process.stdout is not None
            said = service.process.stdout.readline()
            if not said:
                raise BenchError(f"{service.app} on {service.database} does not start")
            service.port = int(said)
        yield services
    finally:
        for service in services:
            service.process.terminate()
        for service in services:
            try:
                service.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()


async def make_tables(dsn: str) -> Any:
    """The tables; returns the connection that has made them."""
    connection = await importlib.import_module("asyncpg").connect(dsn)
    for statement in SETUP.split(";"):
        await connection.execute(statement)
    await connection.executemany("INSERT INTO fortune VALUES ($1, $2)", FORTUNES)
    return connection


async def verify(service: Service, connection: Any) -> None:
    """Ask everything once; what is said to be updated must be in the table.

    Raises BenchError for an answer that is wrong, whichever it is.
    """
    for test in TESTS:
        test.check(await get(service.port, test.path))
    for asked, count in (("1", 1), ("500", 500), ("0", 1), ("", 1), ("x", 1)):
        check_several(await get(service.port, f"/queries?queries={asked}"), count)
    worlds = json.loads(await get(service.port, "/updates?queries=500"))
    check_count(worlds, 500)
    rows = dict(await connection.fetch("SELECT id, randomnumber FROM changing"))
    if any(rows[world["id"]] != world["randomNumber"] for world in worlds):
        raise BenchError(f"{service.database} has not updated what it says")


async def play(service: Service, test: Test, connections: int, seconds: float) -> None:
    """One test of one service in one round."""
    cpu = float(await get(service.port, "/cpu"))
    done = await load(service.port, test.path, connections, seconds, test.check)
    cpu = float(await get(service.port, "/cpu")) - cpu
    count = len(done.latencies)
    p50, p99, _ = percentiles(done.latencies)
    result = Round(count / done.seconds, p50, p99, cpu / count)
    service.rounds.setdefault(test.name, []).append(result)


async def measure(services: list[Service], options: argparse.Namespace) -> None:
    """Verify and warm up everything, then play all rounds."""
    connection = await make_tables(options.tables)
    options.server = await connection.fetchval("SHOW server_version")
    try:
        for service in services:
            await verify(service, connection)
        shuffle = random.Random(options.seed).shuffle
        for test in chosen_tests(options.tests):
            for service in services:
                await load(
                    service.port, test.path, options.connections, WARM_S, test.check
                )
            for _ in range(options.rounds):
                order = list(services)
                shuffle(order)
                await connection.execute("VACUUM changing")
                for service in order:
                    await play(service, test, options.connections, options.seconds)
            print(f"{test.name} done", file=sys.stderr)
    finally:
        await connection.close()


def chosen_tests(names: Sequence[str]) -> list[Test]:
    """The tests whose paths begin with one of these; all if there are none."""
    paths = tuple(f"/{name}" for name in names)
    return [test for test in TESTS if not paths or test.path.startswith(paths)]


# -- the tables ----------------------------------------------------------------------


def middle(service: Service, test: str, name: str) -> float:
    """The median of a figure."""
    return float(statistics.median(getattr(one, name) for one in service.rounds[test]))


def ratio(service: Service, other: Service, test: str, name: str) -> float:
    """The median of the ratios within each round."""
    pairs = zip(service.rounds[test], other.rounds[test], strict=True)
    return float(
        statistics.median(getattr(a, name) / getattr(b, name) for a, b in pairs)
    )


def table(services: Sequence[Service], app: str) -> Table:
    """All tests of one app."""
    players = {one.database: one for one in services if one.app == app}
    base = players.get(BASELINE)
    rows: list[list[str]] = []
    for test in next(iter(players.values())).rounds:
        rows.append([test])
        for name, player in players.items():
            figure = functools.partial(middle, player, test)
            times = [""] * 2
            if base is not None:
                times = [
                    f"{ratio(player, base, test, key):.2f}" for key in ("rate", "cpu")
                ]
            rows.append(
                [
                    name,
                    f"{figure('rate'):,.0f}",
                    times[0],
                    f"{figure('p50') * 1e3:.2f}",
                    f"{figure('p99') * 1e3:.2f}",
                    f"{figure('cpu') * 1e6:.0f}",
                    times[1],
                ]
            )
    header = ["", "requests/s", f"x {BASELINE}", "p50 ms", "p99 ms", "CPU µs"]
    return Table([*header, f"CPU x {BASELINE}"], rows)


def as_json(services: Sequence[Service]) -> list[dict[str, Any]]:
    """Everything that was measured."""
    return [
        {
            "app": service.app,
            "database": service.database,
            "rounds": {
                test: [vars(one) for one in rounds]
                for test, rounds in service.rounds.items()
            },
        }
        for service in services
    ]


# -- the command ---------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench.service", description=__doc__
    )
    add = result.add_argument
    paths = [test.path[1:].split("?")[0] for test in TESTS]
    add("tests", nargs="*", metavar="TEST", help=f"of {', '.join(paths)}; all if none")
    add("--apps", default=",".join(APPS), metavar="A,B")
    add("--candidates", default=",".join(DATABASES), metavar="A,B")
    add("--rounds", type=int, default=7)
    add("--seconds", type=float, default=2.0, help="of each service in each round (2)")
    add("--connections", type=int, default=64, help="HTTP connections (64)")
    add("--size", type=int, default=10, help="of each pool (10)")
    add("--seed", type=int, default=1, help="of the order in each round")
    add("--server-version", type=int, help="of the private server, such as 16")
    add("--json", type=Path, metavar="FILE", help="write the raw results")
    add("--markdown", action="store_true", help="print Markdown tables")
    add("--out", type=Path, metavar="FILE", help="write the page, in Markdown")
    return result


def listed(text: str, known: Sequence[str]) -> list[str]:
    """Names from the command line. Raises BenchError for one that is not known."""
    names = text.split(",")
    for name in names:
        if name not in known:
            raise BenchError(f"{name!r} is none of {', '.join(known)}")
    return names


def run(options: argparse.Namespace) -> None:
    """Start everything, measure, print."""
    apps = listed(options.apps, list(APPS))
    databases = listed(options.candidates, list(DATABASES))
    if not chosen_tests(options.tests):
        raise BenchError(f"no test is named {' or '.join(options.tests)}")
    factory = loop_factory("uvloop")
    if factory is None:
        raise BenchError("uvloop is needed: pip install 'chopin[bench]'")
    with open_target(None, options.server_version) as target:
        options.tables = target.dsn
        with (
            started(apps, databases, target.dsn, options.size) as services,
            asyncio.Runner(loop_factory=factory) as runner,
        ):
            runner.run(measure(services, options))
    facts: dict[str, Any] = machine()
    if options.out is not None:
        options.out.write_text(
            f"{INTRODUCTION}\n{report(services, facts, options, markdown=True)}",
            encoding="utf-8",
        )
    print(report(services, facts, options, markdown=options.markdown), end="")
    if options.json is not None:
        raw = {
            "machine": facts,
            "arguments": sys.argv[1:],
            "services": as_json(services),
        }
        options.json.write_text(json.dumps(raw, indent=1), encoding="utf-8")


def report(
    services: Sequence[Service],
    facts: dict[str, Any],
    options: argparse.Namespace,
    *,
    markdown: bool,
) -> str:
    """Machine, versions and settings, and a table for each app."""
    databases = dict.fromkeys(service.database for service in services)
    versions = {name: version_of(name) for name in databases}
    versions["PostgreSQL"] = options.server
    head = [f"{name}: {value}" for name, value in {**facts, **versions}.items()]
    head.append(
        f"{options.connections} HTTP connections, pools of {options.size}, "
        f"{options.rounds} rounds of {options.seconds:g} s; medians"
    )
    parts = ["\n".join(["```", *head, "```"] if markdown else head)]
    for app in dict.fromkeys(service.app for service in services):
        title = f"## {app}" if markdown else f"== {app} =="
        parts.append(f"{title}\n\n{table(services, app).render(markdown)}")
    return "\n\n".join(parts) + "\n"


def version_of(database: str) -> str:
    """Of the driver's package."""
    return str(importlib.import_module(database.partition("_")[0]).__version__)


def main() -> int:
    """Entry point; errors that the user can mend are one line."""
    try:
        run(parser().parse_args())
    except BenchError as error:
        print(f"service: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
