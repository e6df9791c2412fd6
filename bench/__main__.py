"""``python -m bench``: one table of Chopin beside asyncpg and psycopg 3.

Without arguments it starts a private server, runs every workload of one connection on
asyncio and on uvloop in about ten minutes and prints the tables; ``--quick`` takes
about two. ``python -m bench pool`` does so with the pools and takes about
twenty minutes, or three with ``--quick``. ``python -m bench types`` does so with what
single values cost, type by type, on one loop, and takes about three, or half a one with
``--quick``. ``python -m bench all --seconds 180`` runs everything, all but the types in
the time that it is given, which is what ``make bench`` does, with ``--quick``: what
does not fit is left out then.
Serial workloads have one core for client and server, the others have all that there
are. On a machine that others use as well, ``--core 0``, one for all, is the steadiest.
"""

import argparse
import asyncio
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.candidates import DEFAULT_CANDIDATES, importable
from bench.cores import pin
from bench.goals import judge
from bench.loops import LOOPS, loop_factory
from bench.measure import Contest, Outcome, Plan, measure
from bench.poolcontest import PoolContest, PoolPlan
from bench.pools import importable_pools
from bench.proxy import Traffic
from bench.registry import (
    POOL_WORKLOADS,
    TYPE_WORKLOADS,
    WORKLOADS,
    chosen_workloads,
)
from bench.report import (
    LEGEND,
    Table,
    as_json,
    goals_table,
    head,
    machine,
    placing,
    pools_tables,
    results_table,
    types_tables,
    versions_of,
)
from bench.results import write_results
from bench.server import Target, open_target
from bench.shares import Shares
from bench.typecontest import TypeContest
from bench.typework import LACKING
from bench.words import BenchError
from bench.workloads import Workload

Some = TypeVar("Some")
Work = TypeVar("Work", bound=Workload)

ROUNDS = {"quick": 3, "default": 7, "full": 7}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = result.add_argument
    add(
        "workloads",
        nargs="*",
        help="names or patterns (multi_*), or 'connection', 'pool' and 'types' for all"
        " of a kind, or 'all' for all of them; all of one connection if none",
    )
    add("--list", action="store_true", help="print the names of the workloads")
    add("--candidates", default=",".join(DEFAULT_CANDIDATES), metavar="A,B")
    add("--loop", choices=(*LOOPS, "both"), default="both")
    scale = result.add_mutually_exclusive_group()
    scale.add_argument("--quick", dest="scale", action="store_const", const="quick")
    scale.add_argument("--full", dest="scale", action="store_const", const="full")
    add("--rounds", type=int, help="interleaved rounds (quick 3, else 7)")
    add(
        "--seconds",
        type=float,
        default=0.0,
        help="that all but the types shall take; what cannot be that short takes more",
    )
    add("--no-trips", action="store_true", help="do not count round trips")
    add("--seed", type=int, default=1, help="of the order of candidates")
    add("--dsn", help="use this server, and not a private one")
    add("--unix", action="store_true", help="connect to it over its Unix socket")
    add("--server-version", type=int, help="of the private server, such as 16")
    add("--core", type=int, help="pin this process and the private server to a core")
    add("--json", type=Path, metavar="FILE", help="write the raw results")
    add("--markdown", action="store_true", help="print Markdown tables")
    add("--check", action="store_true", help="compare with the goals")
    add(
        "--strict", action="store_true", help="as --check, and exit 1 if one is not met"
    )
    result.set_defaults(scale="default")
    return result


@dataclass(frozen=True)
class Part:
    """One kind of workloads: what is measured, how, and the tables made of it."""

    heading: str
    plan: Plan
    contest: Callable[..., Contest]
    tables: Callable[[Sequence[Outcome], Sequence[str]], list[Table]]
    # What single values cost has nothing to do with the kind of loop.
    is_for_one_loop: bool = False

    @property
    def names(self) -> list[str]:
        """Of the candidates."""
        return [candidate.name for candidate in self.plan.candidates]


def run_loop(
    name: str, part: Part, target: Target
) -> tuple[list[Outcome], dict[str, str]]:
    """Measure everything on one kind of loop, and say what is done."""

    def tell(outcome: Outcome) -> None:
        print(f"{name}: {outcome.workload} done", file=sys.stderr)
        for problem in outcome.problems:
            print(f"{name}: {problem}", file=sys.stderr)

    with asyncio.Runner(loop_factory=loop_factory(name)) as runner:
        return runner.run(measure(part.plan, part.contest, target, tell))


def with_known_traffic(
    outcomes: list[Outcome], known: dict[str, dict[str, Traffic]]
) -> list[Outcome]:
    """The outcomes, with the round trips that were counted on the first loop."""
    for outcome in outcomes:
        outcome.traffic = known.setdefault(outcome.workload, outcome.traffic)
    return outcomes


def available_loops(choice: str) -> list[str]:
    """The kinds of loops that are wanted and installed."""
    wanted = LOOPS if choice == "both" else (choice,)
    for name in wanted:
        if loop_factory(name) is None:
            print(f"{name}: not installed, left out", file=sys.stderr)
    found = [name for name in wanted if loop_factory(name) is not None]
    if not found:
        raise BenchError("no event loop is left")
    return found


def make_parts(options: argparse.Namespace, loops: int) -> list[Part]:
    """Candidates and workloads from the command line, less what cannot be had.

    They are measured on so many `loops`, which share the seconds that are given.
    """
    rounds = ROUNDS[options.scale] if options.rounds is None else options.rounds
    if rounds < 1:
        raise BenchError("--rounds must be 1 or more")
    names = options.candidates.split(",")
    connection, pool, types = chosen_workloads(options.workloads)
    connection = fitting(possible(connection, options.dsn), options.scale)
    pool = fitting(possible(pool, options.dsn), options.scale)
    how = options.scale, rounds, options.seed, 0.0, not options.no_trips
    shares = None
    if options.seconds:
        shares = Shares(options.seconds, loops * (len(connection) + len(pool)))
    parts: list[Part] = []
    if connection:
        drivers = usable(importable(names))
        plan = Plan(drivers, connection, *how, shares)
        parts.append(Part("one connection", plan, Contest, connection_tables))
    if pool:
        pools = usable(importable_pools(names))
        pool_plan = PoolPlan(pools, pool, *how, shares)
        parts.append(Part("pools", pool_plan, PoolContest, pools_tables))
    if types:
        able = [name for name in names if name not in LACKING]
        drivers = usable(importable(able))
        plan = Plan(drivers, possible(types, options.dsn), *how)
        if options.scale == "quick":
            # CPU varies less than time: three will do, and the others have the time.
            plan = dataclasses.replace(plan, rounds=min(rounds, ROUNDS["quick"]))
        parts.append(Part("types", plan, TypeContest, types_tables, True))
    return parts


def fitting(workloads: Sequence[Work], scale: str) -> list[Work]:
    """The workloads that there are at this scale; the others are printed."""
    others = [one.name for one in workloads if not one.sizes.of(scale)]
    if others:
        print(f"left out of the short run: {', '.join(others)}", file=sys.stderr)
    return [one for one in workloads if one.sizes.of(scale)]


def usable(found: tuple[list[Some], list[str]]) -> list[Some]:
    """The candidates; why others are not there is printed."""
    candidates, reasons = found
    for reason in reasons:
        print(f"left out: {reason}", file=sys.stderr)
    if not candidates:
        raise BenchError("no candidate is left")
    return candidates


def possible(workloads: Sequence[Work], dsn: str | None) -> list[Work]:
    """The workloads that the server can be used for; the others are printed."""
    if dsn is None:
        return list(workloads)
    for workload in workloads:
        if workload.needs:
            print(f"left out: {workload.name}: not with --dsn", file=sys.stderr)
    return [workload for workload in workloads if not workload.needs]


def connection_tables(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[Table]:
    """The one table of the workloads of one connection."""
    return [results_table(outcomes, names)]


def versions_in(parts: Iterable[Part]) -> dict[str, str]:
    """Versions of all candidates."""
    return {
        name: version
        for part in parts
        for name, version in versions_of(part.plan.candidates).items()
    }


def run(options: argparse.Namespace) -> int:
    """Measure, print, judge; the exit status."""
    loops = available_loops(options.loop)
    parts = make_parts(options, len(loops))
    if options.core is not None:
        pin(options.core)
    facts, versions = machine(), versions_in(parts)
    raw: dict[str, Any] = {
        "arguments": sys.argv[1:],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": facts,
        "versions": versions,
        "loops": {},
    }
    started = time.monotonic()
    is_all_met = True
    sections: list[str] = []
    measured: list[Outcome] = []
    traffic: dict[str, dict[str, Traffic]] = {}
    with open_target(options.dsn, options.server_version, options.unix) as target:
        for loop, part in itertools.product(loops, parts):
            if part.is_for_one_loop and loop != loops[0]:
                continue
            is_counted = part.plan.counts_trips and loop == loops[0]
            plan = dataclasses.replace(part.plan, counts_trips=is_counted)
            part = dataclasses.replace(part, plan=plan)
            outcomes, raw["settings"] = run_loop(loop, part, target)
            outcomes = with_known_traffic(outcomes, traffic)
            measured += outcomes
            raw["loops"].setdefault(loop, []).extend(map(as_json, outcomes))
            raw["seconds"] = time.monotonic() - started
            if options.json is not None:
                # A long run that is broken off has not been for nothing.
                write_results(options.json, raw)
            title = f"{loop}, {part.heading}: {plan.scale}, {plan.rounds} rounds"
            sections.append(f"## {title}" if options.markdown else f"== {title} ==")
            tables = part.tables(outcomes, part.names)
            problems = [f"- {text}" for one in outcomes for text in one.problems]
            verdicts = judge(outcomes)
            is_all_met &= all(verdict.is_met for verdict in verdicts)
            sections += [table.render(options.markdown) for table in tables]
            if problems:
                sections.append("\n".join(problems))
            if options.check or options.strict:
                sections.append(goals_table(verdicts).render(options.markdown))
    print_report(head(facts, versions, raw["settings"]), sections, options.markdown)
    print(f"\n{LEGEND}; {placing(measured)}; took {raw['seconds']:.0f} s")
    return 1 if options.strict and not is_all_met else 0


def print_report(top: str, sections: Sequence[str], markdown: bool) -> None:
    """The head and all sections, apart by empty lines."""
    print(f"```\n{top}\n```" if markdown else top)
    for section in sections:
        print(f"\n{section}")


def main() -> int:
    """Entry point; errors that the user can mend are one line."""
    options = parser().parse_args()
    if options.list:
        every = [
            *WORKLOADS.values(),
            *POOL_WORKLOADS.values(),
            *TYPE_WORKLOADS.values(),
        ]
        print("\n".join(f"{one.name:22} {one.group}" for one in every))
        return 0
    try:
        return run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
