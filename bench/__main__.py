"""``python -m bench``: one table of Chopin beside asyncpg and psycopg 3.

Without arguments it starts a private server, runs every workload on asyncio and on
uvloop in about five minutes and prints the tables; ``--quick`` takes about one.
On a machine that others use as well, ``--core 0`` gives the steadiest ratios.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.candidates import DEFAULT_CANDIDATES, importable
from bench.goals import judge
from bench.loops import LOOPS, loop_factory
from bench.measure import Outcome, Plan, measure
from bench.registry import WORKLOADS, chosen_workloads
from bench.report import (
    LEGEND,
    as_json,
    goals_table,
    head,
    machine,
    results_table,
    versions_of,
)
from bench.server import Target, open_target
from bench.words import BenchError

ROUNDS = {"quick": 3, "default": 7, "full": 7}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = result.add_argument
    add("workloads", nargs="*", help="names or patterns (multi_*); all if none")
    add("--list", action="store_true", help="print the names of the workloads")
    add("--candidates", default=",".join(DEFAULT_CANDIDATES), metavar="A,B")
    add("--loop", choices=(*LOOPS, "both"), default="both")
    scale = result.add_mutually_exclusive_group()
    scale.add_argument("--quick", dest="scale", action="store_const", const="quick")
    scale.add_argument("--full", dest="scale", action="store_const", const="full")
    add("--rounds", type=int, help="interleaved rounds (quick 3, else 7)")
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


def run_loop(
    name: str, plan: Plan, target: Target
) -> tuple[list[Outcome], dict[str, str]] | None:
    """Measure everything on one kind of loop; None where it cannot be had."""
    factory = loop_factory(name)
    if factory is None:
        print(f"{name}: not installed, left out", file=sys.stderr)
        return None

    def tell(outcome: Outcome) -> None:
        print(f"{name}: {outcome.workload} done", file=sys.stderr)
        for problem in outcome.problems:
            print(f"{name}: {problem}", file=sys.stderr)

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure(plan, target, tell))


def pin(core: int) -> None:
    """Bind this process, and all that it starts from now on, to one core.

    Client and server then take turns, and how long it takes to wake a core, which
    varies much on busy and on virtual machines, is not measured any more.
    """
    try:
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError) as error:
        raise BenchError(f"--core {core} does not work here: {error}") from None


def make_plan(options: argparse.Namespace) -> Plan:
    """Candidates and workloads from the command line, less what cannot be had."""
    candidates, reasons = importable(options.candidates.split(","))
    for reason in reasons:
        print(f"left out: {reason}", file=sys.stderr)
    if not candidates:
        raise BenchError("no candidate is left")
    rounds = ROUNDS[options.scale] if options.rounds is None else options.rounds
    if rounds < 1:
        raise BenchError("--rounds must be 1 or more")
    workloads = chosen_workloads(options.workloads)
    if options.dsn is not None:
        for workload in workloads:
            if workload.needs:
                print(f"left out: {workload.name}: not with --dsn", file=sys.stderr)
        workloads = [workload for workload in workloads if not workload.needs]
    return Plan(candidates, workloads, options.scale, rounds, options.seed)


def run(options: argparse.Namespace) -> int:
    """Measure, print, judge; the exit status."""
    plan = make_plan(options)
    if options.core is not None:
        pin(options.core)
    loops = LOOPS if options.loop == "both" else (options.loop,)
    facts, versions = machine(), versions_of(plan.candidates)
    names = [candidate.name for candidate in plan.candidates]
    raw: dict[str, Any] = {
        "arguments": sys.argv[1:],
        "machine": facts,
        "versions": versions,
        "loops": {},
    }
    started = time.monotonic()
    is_all_met = True
    sections: list[str] = []
    with open_target(options.dsn, options.server_version, options.unix) as target:
        for loop in loops:
            result = run_loop(loop, plan, target)
            if result is None:
                continue
            outcomes, raw["settings"] = result
            raw["loops"][loop] = [as_json(outcome) for outcome in outcomes]
            title = f"{loop}: {plan.scale}, {plan.rounds} rounds"
            sections.append(f"## {title}" if options.markdown else f"== {title} ==")
            sections.append(results_table(outcomes, names).render(options.markdown))
            problems = [f"- {text}" for one in outcomes for text in one.problems]
            if problems:
                sections.append("\n".join(problems))
            if options.check or options.strict:
                verdicts = judge(outcomes)
                is_all_met &= all(verdict.is_met for verdict in verdicts)
                sections.append(goals_table(verdicts).render(options.markdown))
    if not raw["loops"]:
        raise BenchError("no event loop is left")
    raw["seconds"] = time.monotonic() - started
    print_report(head(facts, versions, raw["settings"]), sections, options.markdown)
    print(f"\n{LEGEND}; took {raw['seconds']:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(raw, indent=1), encoding="utf-8")
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
        print("\n".join(f"{one.name:22} {one.group}" for one in WORKLOADS.values()))
        return 0
    try:
        return run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
