"""Tables for the terminal and in Markdown, and the raw results as JSON.

Owns: how numbers are written, which columns the table has, the head with machine,
versions and settings.
"""

import dataclasses
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.candidates import BASELINE, SUBJECT, Candidate
from bench.goals import Goal, Verdict
from bench.measure import YARDSTICKS, Outcome
from bench.pools import BASELINE_POOL, NO_RESET_POOL, PoolCandidate
from bench.stats import (
    CPU,
    EACH,
    MEMORY,
    P50,
    P99,
    P999,
    ROW,
    THROUGHPUT,
    cpu_per_operation,
    figure,
    rates,
    ratio,
    spread,
)
from bench.typework import DECODE, ENCODE

MISSING = "-"
# Of a row for which client and server had one core.
ONE_CORE = "†"
LEGEND = (
    "rates are medians with the distance between the quartiles; latencies and CPU per"
    " operation are medians, CPU is that of this process or of its workers; ratios are"
    " medians of the ratios within each round; trips are round trips per operation,"
    " counted apart; limit: the same bytes sent raw, and drained; pgbench: the same SQL"
)


@dataclass(frozen=True)
class Table:
    """Header and rows of text; a row with one cell is a heading within the table."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    # Further columns, by their names, of words and not of figures.
    words: Sequence[str] = ()

    def _widths(self) -> list[int]:
        lines = [self.header, *(row for row in self.rows if len(row) > 1)]
        return [
            max(len(cell) for cell in column) for column in zip(*lines, strict=True)
        ]

    def as_text(self) -> str:
        """Aligned columns, the first to the left and all others to the right."""
        widths = self._widths()

        def line(row: Sequence[str]) -> str:
            if len(row) == 1:
                return f"\n{row[0]}"
            cells = [row[0].ljust(widths[0])]
            cells += [
                cell.rjust(width)
                for cell, width in zip(row[1:], widths[1:], strict=True)
            ]
            return "  ".join(cells).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([line(self.header), rule, *map(line, self.rows)])

    def as_markdown(self) -> str:
        """A Markdown table; headings become bold rows."""

        def line(row: Sequence[str]) -> str:
            cells = [f"**{row[0]}**"] if len(row) == 1 else list(row)
            cells += [""] * (len(self.header) - len(cells))
            return "| " + " | ".join(cells) + " |"

        sides = [":" if name not in self.words else "-" for name in self.header[1:]]
        rule = "| --- |" + "".join(f" ---{side} |" for side in sides)
        return "\n".join([line(self.header), rule, *map(line, self.rows)])

    def render(self, markdown: bool) -> str:
        """The one or the other."""
        return self.as_markdown() if markdown else self.as_text()


def number(value: float) -> str:
    """Three digits that matter and a suffix: 606, 12.3k, 1.31M."""
    for suffix, unit in (("M", 1e6), ("k", 1e3)):
        # 999.5 and more would be rounded to four digits of the smaller unit.
        if value >= unit * 0.9995:
            return digits(value / unit) + suffix
    return digits(value)


def digits(value: float) -> str:
    """Two or three digits that matter, without an exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    if 0 < value < 0.0995:
        return f"{value:.3f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def short(value: float) -> str:
    """A number as short as it can be: 5k, 1.5M, 20."""
    label = number(value)
    figures, suffix = label.rstrip("kM"), label[len(label.rstrip("kM")) :]
    if "." in figures:
        figures = figures.rstrip("0").rstrip(".")
    return figures + suffix


def times(value: float | None) -> str:
    """A ratio, as in 1.52x."""
    return MISSING if value is None else f"{value:.2f}x"


def row_name(outcome: Outcome) -> str:
    """The workload's name, marked where client and server had one core."""
    mark = f" {ONE_CORE}" if outcome.cores == 1 else ""
    return f"{outcome.workload}{mark}"


def placing(outcomes: Iterable[Outcome]) -> str:
    """What the mark means; or that serial queries, too, had all cores."""
    if any(outcome.cores == 1 for outcome in outcomes):
        return f"{ONE_CORE} client and server had one core, in turns"
    return "no row had one core for client and server"


def rate_cell(outcome: Outcome, name: str) -> str:
    """Median rate and spread, as in '12.3k ±4%'."""
    if not outcome.samples.get(name):
        return MISSING
    values = sorted(rates(outcome, name))
    middle = len(values) // 2
    median = (values[middle] + values[-middle - 1]) / 2
    return f"{number(median)} ±{spread(values):.0%}"


def cpu_cell(outcome: Outcome, name: str) -> str:
    """Median CPU of one operation in microseconds."""
    if not outcome.samples.get(name):
        return MISSING
    seconds = cpu_per_operation(outcome, name)
    # A process that runs for a moment has no CPU that could be told.
    return digits(seconds * 1e6) if seconds else MISSING


def subject_of(names: Sequence[str]) -> str:
    """Whose ratios are shown: Chopin's, or the first that is not the baseline's."""
    if SUBJECT in names:
        return SUBJECT
    return next((name for name in names if name != BASELINE), BASELINE)


def results_table(outcomes: Sequence[Outcome], names: Sequence[str]) -> Table:
    """One row per workload: rates, ratios and CPU of all candidates."""
    subject = subject_of(names)
    players = present_in(outcomes, [*names, *YARDSTICKS])
    counted = [name for name in names if any(name in one.traffic for one in outcomes)]
    rivals = [name for name in players if name != subject]
    header = [
        "workload",
        "unit",
        *players,
        *(f"vs {name}" for name in rivals),
        *(f"CPU µs {name}" for name in players),
        f"CPU vs {BASELINE}",
        *(f"trips {name}" for name in counted),
    ]
    rows: list[list[str]] = []
    for group, members in groupby(outcomes, key=lambda outcome: outcome.group):
        rows.append([group])
        for outcome in members:
            rows.append(
                [
                    row_name(outcome),
                    outcome.unit,
                    *(rate_cell(outcome, name) for name in players),
                    *(
                        times(ratio(outcome, THROUGHPUT, subject, name))
                        for name in rivals
                    ),
                    *(cpu_cell(outcome, name) for name in players),
                    times(ratio(outcome, CPU, subject, BASELINE)),
                    *(trips_cell(outcome, name) for name in counted),
                ]
            )
    return Table(header, rows)


def present_in(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[str]:
    """Those of the names that have played at least once."""
    return [name for name in names if any(name in one.samples for one in outcomes)]


def trips_cell(outcome: Outcome, name: str) -> str:
    """Round trips of one operation, or how many operations share one: 1/10k."""
    traffic = outcome.traffic.get(name)
    if traffic is None:
        return MISSING
    turns = traffic.turns
    return f"1/{short(1 / turns)}" if 0 < turns < 0.1 else short(turns)


POOL_HEADER = (
    "pool",
    "rate",
    *(f"vs {name}" for name in (BASELINE_POOL, NO_RESET_POOL)),
    "p50 ms",
    "p99 ms",
    f"p99 vs {BASELINE_POOL}",
    "p99.9 ms",
    "CPU µs",
    "trips",
)


def pools_tables(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[Table]:
    """A row for each pool under the name of each workload; one table for memory."""
    rows: list[list[str]] = []
    memory: list[list[str]] = []
    for outcome in outcomes:
        present = present_in([outcome], [*names, *YARDSTICKS])
        if all(figure(outcome, MEMORY, name) is not None for name in present):
            memory += [memory_row(outcome, name) for name in present]
            continue
        rows.append([f"{row_name(outcome)}, {outcome.unit}"])
        rows += [pool_row(outcome, name) for name in present]
    tables = [
        Table(POOL_HEADER, rows),
        Table(("pool", "KiB per idle connection", "connections/s opened"), memory),
    ]
    return [table for table in tables if table.rows]


def pool_row(outcome: Outcome, name: str) -> list[str]:
    """One pool in one workload."""
    rivals = (BASELINE_POOL, NO_RESET_POOL)
    return [
        name,
        rate_cell(outcome, name),
        *(times(ratio(outcome, THROUGHPUT, name, rival)) for rival in rivals),
        *(latency_cell(outcome, field, name) for field in (P50, P99)),
        times(ratio(outcome, P99, name, BASELINE_POOL)),
        latency_cell(outcome, P999, name),
        cpu_cell(outcome, name),
        trips_cell(outcome, name),
    ]


def latency_cell(outcome: Outcome, measure: str, name: str) -> str:
    """A percentile of the latencies, in milliseconds."""
    seconds = figure(outcome, measure, name)
    return MISSING if seconds is None else digits(seconds * 1e3)


def memory_row(outcome: Outcome, name: str) -> list[str]:
    """What the idle connections of one pool take."""
    memory = figure(outcome, MEMORY, name)
    assert memory is not None
    return [name, digits(memory), rate_cell(outcome, name)]


def types_tables(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[Table]:
    """A table for each direction: nanoseconds of CPU, and how many times ours others'.

    Once for a value alone, and once for it with the row or the call around it.
    """
    subject = subject_of(names)
    rivals = [name for name in names if name != subject]
    return [
        Table(
            [f"{group}, ns", *types_header(names, rivals, WHOLE[group])],
            [types_row(outcome, names, subject, rivals) for outcome in members],
        )
        for group, members in groupby(outcomes, key=lambda outcome: outcome.group)
    ]


# What the second half of each table is about.
WHOLE = {DECODE: "row of one", ENCODE: "call with one"}


def types_header(names: Sequence[str], rivals: Sequence[str], whole: str) -> list[str]:
    """Twice the same."""
    each = [*names, *(f"vs {name}" for name in rivals)]
    return [*each, *(f"{whole}: {cell}" for cell in each)]


def types_row(
    outcome: Outcome, names: Sequence[str], subject: str, rivals: Sequence[str]
) -> list[str]:
    """One type in one direction."""
    cells = [outcome.workload.partition("_")[2]]
    for measure in (EACH, ROW):
        for name in names:
            value = figure(outcome, measure, name)
            cells.append(MISSING if value is None else digits(value))
        cells += [times(ratio(outcome, measure, name, subject)) for name in rivals]
    return cells


def goals_table(verdicts: Iterable[Verdict]) -> Table:
    """One row per goal: what was asked for, what was reached, met or not."""
    rows = []
    for verdict in verdicts:
        goal = verdict.goal
        word = "met" if verdict.is_met else "NOT MET"
        rows.append(
            [
                goal.workload,
                goal.measure,
                goal.subject,
                goal.rival or MISSING,
                f"{goal.sign} {goal_cell(goal, goal.ratio)}",
                goal_cell(goal, verdict.reached),
                "not measured" if verdict.reached is None else word,
            ]
        )
    header = ["workload", "measure", "who", "against", "goal", "reached", ""]
    return Table(header, rows)


def goal_cell(goal: Goal, value: float | None) -> str:
    """What was asked for, or reached: a ratio, or the figure where nobody is rival."""
    if goal.rival or value is None:
        return times(value)
    return f"{digits(value)} KiB"


def machine() -> dict[str, Any]:
    """What the figures depend on, of this machine and this interpreter."""
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load": list(os.getloadavg()),
        "python": sys.version.split()[0],
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return next(names, "unknown").strip()


def head(
    facts: dict[str, Any], versions: dict[str, str], settings: dict[str, str]
) -> str:
    """Machine, versions and server settings in a few lines."""
    load = ", ".join(f"{value:.1f}" for value in facts["load"])
    width = max(9, *(len(name) + 1 for name in versions))
    lines = [
        f"machine:  {facts['processor']}, {facts['cores']} cores, load {load},"
        f" {facts['system']}",
        f"python:   {facts['python']}",
        f"server:   PostgreSQL {settings['server_version']}",
        "settings: "
        + ", ".join(
            f"{name} = {value}"
            for name, value in settings.items()
            if name != "server_version"
        ),
        *(f"{name + ':':{width}} {version}" for name, version in versions.items()),
    ]
    return "\n".join(lines)


def versions_of(candidates: Iterable[Candidate | PoolCandidate]) -> dict[str, str]:
    """Version and manner of use by candidate."""
    return {candidate.title: candidate.describe() for candidate in candidates}


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One outcome with all its samples."""
    return dataclasses.asdict(outcome)
