"""``python -m bench.profilehot``: where the time of the hot path goes.

Three cases, `pool.fetch` and `Connection.fetch` of one row and a fetch of 100,000 rows
of six columns, on each kind of event loop, as two tables:

- whose it is: the same query on a bare event loop, by Chopin's session alone, by
  Connection and by Pool; what a line costs more than the one before is that layer's;
- where it runs: samples of perf by part of the program.

CPU is that of this process, in the kernel too. Takes about a minute.
"""

import argparse
import asyncio
import importlib
import random
import resource
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chopin
from bench.floor import READY, STARTUP
from bench.limit import message
from bench.loops import LOOPS, loop_factory
from bench.profileplaces import Place, perf, places_table, recorded
from bench.report import Table, machine
from bench.words import BenchError
from chopin._ops import ROWS, start_query
from chopin.testing import TemporaryServer

ONE_ROW = "SELECT $1::int4 AS id, 7 AS number"
MANY = 100_000
CALLS = 300
MANY_ROWS = f"""
    SELECT n AS id, 'a text of some length' AS name, n::float8 AS score,
        '2026-02-28 12:30:15Z'::timestamptz AS at, 19.90::numeric AS price,
        n % 2 = 0 AS sold
    FROM generate_series(1, {MANY}) n
"""

PAGE = """# Where the time of the hot path goes

Made by `python -m bench.profilehot --markdown docs/profile.md`; do not edit it. What
follows from it is in [design.md](design.md).

*Whose it is*: CPU time of the client for one call, the least of interleaved rounds,
since whatever else the machine does can only add to it. The bare event loop sends the
same bytes, waits for the end of the answer by a Future and makes nothing of it. The
session is Chopin's core, without any object that users see; it wakes its task as soon
as the answer has been read, where a Future takes a turn of the loop more. "Its own" is
what a line adds to the one above it.

*Where it is*: samples of the client's CPU by who was running, for the last of our
lines. What the interpreter does for Chopin counts as the interpreter's there. On a
virtual machine much of what the kernel is charged with is the time until it wakes."""

Call = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one call, as the program's own and as the kernel's."""

    user: float
    kernel: float

    @property
    def whole(self) -> float:
        """Both."""
        return self.user + self.kernel


@dataclass(frozen=True)
class Case:
    """What is profiled: calls by layer, the last of which is what users call.

    Attributes:
        name: for people.
        layers: the first is the floor; each contains the one before.
        peers: others to compare with, in no order.
        calls: in each round.
    """

    name: str
    layers: dict[str, Call]
    peers: dict[str, Call]
    calls: int


class Floor(asyncio.BufferedProtocol):
    """An event loop's transport that sends the same bytes and drains the answer."""

    def __init__(self) -> None:
        self._memory = bytearray(1 << 18)
        self._end = b""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> Any:
        """As much as Chopin would give."""
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """See whether ReadyForQuery is there."""
        # as slices of bytes: it may be cut anywhere
        self._end = (self._end + bytes(self._memory[max(nbytes - 6, 0) : nbytes]))[-6:]
        if self._end.startswith(READY):
            self._waiter.set_result(None)

    def exchange(self, request: bytes) -> asyncio.Future[None]:
        """Send, and wait for the reply."""
        self._end = b""
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiter


async def floor(port: int, sql: str, parameters: bytes) -> Call:
    """A call that has the server run a statement, and makes nothing of the answer."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Floor, "127.0.0.1", port)
    parse = message(b"P", b"s\0" + sql.encode() + b"\0\0\0")
    for request in (STARTUP, parse + message(b"S", b"")):
        await protocol.exchange(request)
    bind = message(b"B", b"\0s\0\0\1\0\1" + parameters + b"\0\1\0\1")
    request = bind + message(b"E", b"\0\0\0\0\0") + message(b"S", b"")

    async def call() -> None:
        await protocol.exchange(request)

    return call


def by_session(connection: Any, sql: str, *args: Any) -> Call:
    """A call of the session below a Connection, which has run the statement before."""
    session = connection._session

    async def call() -> Any:
        op: Any = start_query(session, sql, args, ROWS, 0, None, None)
        return await op

    return call


def fetches(fetch: Any, *args: Any) -> Call:
    """A call of some fetch."""

    async def call() -> Any:
        return await fetch(*args)

    return call


async def make_cases(port: int) -> list[Case]:
    """Connect everybody, and run everything once."""
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
    asyncpg = importlib.import_module("asyncpg")
    ours, theirs = await chopin.connect(dsn), await asyncpg.connect(dsn)
    pool = await chopin.create_pool(dsn, min_size=1, max_size=1)
    their_pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
    for fetch in (ours.fetch, theirs.fetch, pool.fetch, their_pool.fetch):
        await fetch(ONE_ROW, 7)
        await fetch(ONE_ROW, 7)
    await ours.fetch(MANY_ROWS)
    await theirs.fetch(MANY_ROWS)
    one_row = struct.pack("!hii", 1, 4, 7)
    connection_layers = {
        "bare event loop": await floor(port, ONE_ROW, one_row),
        "session": by_session(ours, ONE_ROW, 7),
        "Connection.fetch": fetches(ours.fetch, ONE_ROW, 7),
    }
    many_layers = {
        "bare event loop": await floor(port, MANY_ROWS, b"\0\0"),
        "session": by_session(ours, MANY_ROWS),
        "Connection.fetch": fetches(ours.fetch, MANY_ROWS),
    }
    return [
        Case(
            "one row: Pool.fetch",
            connection_layers | {"Pool.fetch": fetches(pool.fetch, ONE_ROW, 7)},
            {"asyncpg's Pool.fetch": fetches(their_pool.fetch, ONE_ROW, 7)},
            CALLS,
        ),
        Case(
            "one row: Connection.fetch",
            connection_layers,
            {"asyncpg's fetch": fetches(theirs.fetch, ONE_ROW, 7)},
            CALLS,
        ),
        Case(
            f"{MANY:,} rows of six columns",
            many_layers,
            {"asyncpg's fetch": fetches(theirs.fetch, MANY_ROWS)},
            1,
        ),
    ]


# -- measuring -----------------------------------------------------------------------


async def cost_of(call: Call, calls: int) -> Cost:
    """The CPU time of one call."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(calls):
        await call()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return Cost(
        (after.ru_utime - before.ru_utime) / calls,
        (after.ru_stime - before.ru_stime) / calls,
    )


async def costs(case: Case, rounds: int) -> dict[str, Cost]:
    """Of all layers and peers: the least of interleaved rounds."""
    calls = case.layers | case.peers
    found: dict[str, list[Cost]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            found[name].append(await cost_of(calls[name], case.calls))
    return {name: least(every) for name, every in found.items()}


def least(every: Sequence[Cost]) -> Cost:
    """The least of the whole, parted as the sum is.

    The kernel counts in ticks whether program or kernel has used the CPU, of which a
    round has too few.
    """
    whole = min(cost.whole for cost in every)
    total = sum(cost.whole for cost in every)
    user = whole * sum(cost.user for cost in every) / total
    return Cost(user, whole - user)


async def places(case: Case, seconds: float) -> list[Place]:
    """Where the samples of the last layer were taken."""
    call = list(case.layers.values())[-1]
    loop = asyncio.get_running_loop()
    with recorded() as found:
        end = loop.time() + seconds
        while loop.time() < end:
            await cost_of(call, case.calls)
    return found


# -- the tables ----------------------------------------------------------------------


def layers_table(case: Case, found: dict[str, Cost]) -> Table:
    """Whose it is."""
    whole = found[list(case.layers)[-1]].whole
    before = 0.0
    rows = []
    for name in (*case.layers, *case.peers):
        cost = found[name]
        micro = [f"{1e6 * one:,.1f}" for one in (cost.whole, cost.user, cost.kernel)]
        own, share = "", ""
        if name in case.layers:
            own = f"{1e6 * (cost.whole - before):,.1f}"
            share = f"{100 * (cost.whole - before) / whole:.0f} %"
            before = cost.whole
        rows.append([name, *micro, own, share])
    return Table(
        ["", "CPU µs", "in the program", "in the kernel", "its own", "share"], rows
    )


async def profile(port: int, options: argparse.Namespace) -> list[tuple[str, Table]]:
    """All tables of this loop, with their headings."""
    tables = []
    for case in await make_cases(port):
        found = await costs(case, options.rounds)
        tables.append((f"{case.name}, whose", layers_table(case, found)))
        if not options.no_perf:
            at = await places(case, options.seconds)
            tables.append((f"{case.name}, where", places_table(at)))
        print(f"{case.name} done", file=sys.stderr)
    return tables


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench.profilehot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--loop", choices=(*LOOPS, "both"), default="both")
    add("--rounds", type=int, default=21)
    add("--seconds", type=float, default=4.0, help="under perf, for each case (4)")
    add("--no-perf", action="store_true", help="only whose it is")
    add("--markdown", type=Path, metavar="FILE", help="write Markdown tables")
    return result


def run(options: argparse.Namespace) -> None:
    """Profile on each loop; print the tables, or write the page."""
    if not options.no_perf:
        perf()
    is_page = options.markdown is not None
    parts = [PAGE] if is_page else []
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    parts.append(f"{facts}.")
    with TemporaryServer() as server:
        for name in LOOPS if options.loop == "both" else (options.loop,):
            factory = loop_factory(name)
            if factory is None:
                raise BenchError(f"{name} is not installed")
            # connections need no end here: the loop's is theirs, and the server's
            runner = asyncio.Runner(loop_factory=factory)
            parts.append(f"## {name}")
            for heading, table in runner.run(profile(server.port, options)):
                parts.append(f"### {heading} ({name})")
                parts.append(table.render(is_page))
    text = "\n\n".join(parts) + "\n"
    if is_page:
        options.markdown.write_text(text, encoding="utf-8")
    else:
        print(text)


def main() -> int:
    """Entry point; errors that the user can mend are one line."""
    try:
        run(parser().parse_args())
    except BenchError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
