"""``python -m bench.profile WORKLOAD``: one workload, and where its time goes.

Uses perf where it is installed, because most of the time is spent in compiled code
that Python's own profiler does not see; cProfile otherwise, or with ``--tool``.
`bench.profilehot` does so with the hot path, layer by layer.
Python 3.12 and later name Python functions in perf's output with ``-X perf``.
"""

import argparse
import asyncio
import contextlib
import cProfile
import itertools
import pstats
import shutil
import sys
import time
from collections.abc import Iterator

from bench.candidates import SUBJECT, Candidate, importable
from bench.loops import LOOPS, loop_factory
from bench.measure import open_seat
from bench.profileplaces import places_table, recorded
from bench.registry import WORKLOADS
from bench.server import (
    SHARED_SCHEMA,
    Administration,
    Target,
    open_target,
    schema_of,
)
from bench.words import BenchError
from bench.workloads import Workload

LINES = 40


@contextlib.contextmanager
def with_cprofile() -> Iterator[None]:
    """Profile Python functions and print those with the most time of their own."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(LINES)


@contextlib.contextmanager
def with_perf() -> Iterator[None]:
    """Sample this process with perf and print in which parts of it the samples were."""
    with recorded() as places:
        yield
    print(places_table(places).as_text())


TOOLS = {"perf": with_perf, "cprofile": with_cprofile}


async def profile(
    workload: Workload,
    candidate: Candidate,
    target: Target,
    options: argparse.Namespace,
) -> None:
    """Warm up, then repeat the workload for so many seconds under the profiler."""
    admin = await Administration.open(target)
    try:
        await admin.make_schemas([candidate.name], options.scale)
        for statement in workload.tables:
            await admin.execute(SHARED_SCHEMA, statement)
        seat = await open_seat(candidate, target)
        inputs = workload.inputs()
        size = workload.sizes.of(options.scale)

        async def sample() -> None:
            items = list(itertools.islice(inputs, size))
            if workload.before:
                await admin.execute(schema_of(candidate.name), workload.before)
            await workload.run(seat, items)

        await sample()
        samples = 0
        cpu, started = time.process_time(), time.perf_counter()
        with TOOLS[options.tool]():
            while time.perf_counter() < started + options.seconds:
                await sample()
                samples += 1
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        await seat.session.close()
    finally:
        await admin.close()
    operations = samples * size * workload.weight
    print(
        f"{candidate.name} {workload.name} on {options.loop}:"
        f" {operations / wall:,.0f} {workload.unit},"
        f" {cpu / operations * 1e6:.2f} µs CPU per operation under {options.tool}"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench.profile", description=__doc__
    )
    add = result.add_argument
    add("workload", choices=list(WORKLOADS), metavar="WORKLOAD")
    add("--candidate", default=SUBJECT)
    add("--loop", choices=LOOPS, default="asyncio")
    add("--tool", choices=list(TOOLS), default=default_tool())
    add("--seconds", type=float, default=5.0)
    add("--scale", choices=("quick", "default", "full"), default="default")
    add("--dsn", help="use this server, and not a private one")
    add("--unix", action="store_true", help="connect to it over its Unix socket")
    add("--server-version", type=int, help="of the private server, such as 16")
    return result


def default_tool() -> str:
    """perf where it is installed."""
    return "perf" if shutil.which("perf") else "cprofile"


def run(options: argparse.Namespace) -> None:
    """Find everything that was asked for, and profile it."""
    workload = WORKLOADS[options.workload]
    candidates, reasons = importable([options.candidate])
    if not candidates:
        raise BenchError(reasons[0])
    if options.dsn is not None and workload.needs:
        raise BenchError(f"{workload.name} needs a private server, leave out --dsn")
    factory = loop_factory(options.loop)
    if factory is None:
        raise BenchError(f"{options.loop} is not installed")
    with (
        open_target(options.dsn, options.server_version, options.unix) as target,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        runner.run(profile(workload, candidates[0], target, options))


def main() -> int:
    """Entry point; errors that the user can mend are one line."""
    try:
        run(parser().parse_args())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
