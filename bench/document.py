"""``python -m bench.document RESULT.json...`` writes docs/benchmarks.md and its plots.

The first result is what is shown; the others, of other versions of Python say, are
compared with it in one table. Prose is in ``document.md`` beside this file, where a
line that begins with ``@`` stands for what is made of the results.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.candidates import BASELINE, SUBJECT
from bench.figures import FIGURES, draw, draw_ratios
from bench.measure import YARDSTICKS, Outcome
from bench.pools import POOLS
from bench.report import (
    MISSING,
    Table,
    cpu_cell,
    digits,
    head,
    latency_cell,
    number,
    present_in,
    times,
    trips_cell,
)
from bench.results import read_results
from bench.standing import (
    LEVEL,
    mean_against_best,
    mean_ratio,
    standing,
    standings,
)
from bench.stats import CPU, P50, P99, P999, THROUGHPUT, rates, spread
from bench.typework import DECODE, ENCODE
from bench.words import BenchError

TEMPLATE = Path(__file__).with_name("document.md")
REMARKS = Path(__file__).with_name("remarks.md")
PLOTS = "benchmarks"


@dataclass(frozen=True)
class Run:
    """One file of results."""

    raw: dict[str, Any]

    @property
    def loops(self) -> dict[str, list[Outcome]]:
        """Outcomes by loop, but for those of single values, whose rates say nothing."""
        return {
            loop: [one for one in outcomes if one.group not in (DECODE, ENCODE)]
            for loop, outcomes in self.raw["loops"].items()
        }

    @property
    def python(self) -> str:
        """The version, as in 3.13."""
        return ".".join(self.raw["machine"]["python"].split(".")[:2])

    def of_group(self, loop: str, group: str) -> list[Outcome]:
        """The outcomes of a group of workloads."""
        return [one for one in self.loops[loop] if one.group == group]

    def by_name(self) -> dict[str, dict[str, Outcome]]:
        """Outcomes by loop and workload."""
        return {
            loop: {outcome.workload: outcome for outcome in outcomes}
            for loop, outcomes in self.loops.items()
        }


@dataclass
class Document:
    """The report being made: its text, and its plots by file name."""

    runs: Sequence[Run]
    remarks: Mapping[str, str]
    plots: dict[str, str] = field(default_factory=dict)

    def render(self, template: str) -> str:
        """The template with every directive done."""
        return "\n".join(map(self._line, template.splitlines())).rstrip() + "\n"

    def _line(self, line: str) -> str:
        if not line.startswith("@"):
            return line
        word, _, argument = line[1:].partition(" ")
        if word not in DIRECTIVES:
            raise BenchError(f"document.md has an unknown directive: {line}")
        return DIRECTIVES[word](self, argument)

    # -- directives ---------------------------------------------------------------

    def head(self, _: str) -> str:
        """Machine, versions, settings, command of every run."""
        return "\n\n".join(
            "```\n"
            + head(run.raw["machine"], run.raw["versions"], run.raw["settings"])
            + f"\ncommand:  python -m bench {' '.join(run.raw['arguments'])}"
            + f"\ndate:     {run.raw['date']}, took {run.raw['seconds'] / 60:.0f} min"
            + "\n```"
            for run in self.runs
        )

    def ratios(self, kind: str) -> str:
        """The overview of all rows, of the first loop."""
        note = "how many times that driver's rate Chopin's is"
        return self._overview(kind, "rate", note, THROUGHPUT)

    def cpu(self, kind: str) -> str:
        """The same for the CPU of the client."""
        note = "how many times Chopin's CPU for one operation that driver takes"
        return self._overview(kind, "client CPU", note, CPU)

    def curve(self, name: str) -> str:
        """One picture of curves."""
        if name not in FIGURES:
            raise BenchError(f"document.md has an unknown figure: {name}")
        plot = draw(FIGURES[name], self.runs[0].by_name())
        return self._plot(name.replace("_", "-"), FIGURES[name].title, plot)

    def table(self, group: str) -> str:
        """A group of workloads, a table for each loop."""
        parts = []
        for number_, loop in enumerate(self.runs[0].loops):
            outcomes = self.runs[0].of_group(loop, group)
            if not outcomes:
                continue
            make = pool_table if group.startswith("pool") else group_table
            table = make(outcomes).as_markdown()
            if number_:
                table = folded(loop, table)
            parts.append(table if number_ else f"On {loop}:\n\n{table}")
        return "\n\n".join(parts) or "Not measured in this run."

    def means(self, _: str) -> str:
        """A row for each group, a column for each run and loop."""
        columns = [(run, loop) for run in self.runs for loop in run.loops]
        header = ["", *(f"{run.python}, {loop}" for run, loop in columns)]
        groups = list(
            dict.fromkeys(one.group for run, loop in columns for one in run.loops[loop])
        )
        rows = [
            [group, *(means_cell(run.of_group(loop, group)) for run, loop in columns)]
            for group in groups
        ]
        return Table(
            header, [row for row in rows if set(row[1:]) != {MISSING}]
        ).as_markdown()

    def below(self, _: str) -> str:
        """The rows in which Chopin is not level with its best rival."""
        rows: list[list[str]] = []
        for run in self.runs:
            for loop, outcomes in run.loops.items():
                rows += [
                    [
                        one.outcome.workload,
                        f"{run.python}, {loop}",
                        one.rival,
                        f"{times(one.ratio)} ({digits(one.low)} - {digits(one.high)})",
                        times(one.cpu),
                        self._remark(one.outcome.workload),
                    ]
                    for one in standings(outcomes)
                    if not one.is_level
                ]
        if not rows:
            return f"None: no ratio is below {LEVEL}."
        header = ["row", "run", "best rival", "ratio (quartiles)", "CPU", "why"]
        return Table(header, rows).as_markdown()

    def problems(self, _: str) -> str:
        """Who was left out of which row, and why; each once."""
        lines = dict.fromkeys(
            problem
            for run in self.runs
            for outcomes in run.loops.values()
            for outcome in outcomes
            for problem in outcome.problems
        )
        return "\n".join(f"- {line}" for line in lines) or "Nobody."

    # -- parts --------------------------------------------------------------------

    def _remark(self, workload: str) -> str:
        fitting = (name for name in self.remarks if workload.startswith(name))
        return self.remarks.get(max(fitting, key=len, default=""), "")

    def _overview(self, kind: str, what: str, note: str, measure: str) -> str:
        loop, outcomes = next(iter(self.runs[0].loops.items()))
        title = f"How Chopin compares, {what}: {kind}"
        note = f"{loop}; each mark: {note}"
        plot = draw_ratios(outcomes, title, note, measure, is_pool=kind == "pools")
        return self._plot(f"{measure}-{kind.replace(' ', '-')}", title, plot)

    def _plot(self, name: str, title: str, plot: str | None) -> str:
        if plot is None:
            return "Not measured in this run."
        self.plots[f"{name}.svg"] = plot
        return f"![{title}]({PLOTS}/{name}.svg)"


DIRECTIVES: dict[str, Callable[[Document, str], str]] = {
    "head": Document.head,
    "ratios": Document.ratios,
    "cpu": Document.cpu,
    "curve": Document.curve,
    "table": Document.table,
    "means": Document.means,
    "below": Document.below,
    "problems": Document.problems,
}


def folded(summary: str, content: str) -> str:
    """What is there for who asks."""
    return f"<details><summary>On {summary}</summary>\n\n{content}\n\n</details>"


def group_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each workload: of each player rate, CPU and round trips."""
    names = [name for one in outcomes for name in one.samples]
    players = [name for name in dict.fromkeys(names) if name not in YARDSTICKS]
    players.sort(key=lambda name: (name != SUBJECT, name != BASELINE))
    players += present_in(outcomes, YARDSTICKS)
    rows = [
        [
            outcome.workload,
            outcome.unit,
            *(player_cell(outcome, name) for name in players),
            standing_cell(outcome),
        ]
        for outcome in outcomes
    ]
    return Table(["", "unit", *players, "against the best"], rows)


def player_cell(outcome: Outcome, name: str) -> str:
    """Rate and spread; below it CPU and round trips of one operation."""
    if not outcome.samples.get(name):
        return MISSING
    values = rates(outcome, name)
    top = f"{number(statistics.median(values))} ±{spread(values):.0%}"
    below = [f"{cpu_cell(outcome, name)} µs"]
    if name in outcome.traffic:
        below.append(f"{trips_cell(outcome, name)} trips")
    return top if name in YARDSTICKS else f"{top}<br>{', '.join(below)}"


def standing_cell(outcome: Outcome) -> str:
    """How many times the best rival's rate, and whose that is."""
    one = standing(outcome)
    return MISSING if one is None else f"**{times(one.ratio)}** {one.rival}"


def pool_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each pool in each workload, with latencies."""
    rows: list[list[str]] = []
    for outcome in outcomes:
        rows.append([f"{outcome.workload}, {outcome.unit}"])
        for name in present_in([outcome], [*POOLS, *YARDSTICKS]):
            values = rates(outcome, name)
            rows.append(
                [
                    name,
                    f"{number(statistics.median(values))} ±{spread(values):.0%}",
                    *(latency_cell(outcome, one, name) for one in (P50, P99, P999)),
                    MISSING if name in YARDSTICKS else cpu_cell(outcome, name),
                    trips_cell(outcome, name),
                    standing_cell(outcome) if name == SUBJECT else "",
                ]
            )
    header = ["pool", "rate", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "trips"]
    return Table([*header, "against the best"], rows)


def means_cell(outcomes: Sequence[Outcome]) -> str:
    """Against asyncpg, its CPU, and against the best of each row."""
    rate = mean_ratio(outcomes, THROUGHPUT, BASELINE)
    if rate is None:
        return MISSING
    cpu = mean_ratio(outcomes, CPU, BASELINE)
    return f"{times(rate)}, CPU {times(cpu)}; {times(mean_against_best(outcomes))}"


def read_remarks(text: str) -> dict[str, str]:
    """Lines ``name: remark``; what begins with # or says nothing is left out."""
    pairs = (line.partition(": ") for line in text.splitlines() if ": " in line)
    return {
        name.strip(): remark.strip()
        for name, _, remark in pairs
        if not name.startswith("#")
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench.document", description=__doc__
    )
    result.add_argument("results", nargs="+", type=Path, metavar="RESULT.json")
    result.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks.md"), metavar="FILE"
    )
    return result


def main() -> int:
    """Entry point; errors that the user can mend are one line."""
    options = parser().parse_args()
    try:
        runs = [Run(read_results(path)) for path in options.results]
        remarks = read_remarks(REMARKS.read_text(encoding="utf-8"))
        document = Document(runs, remarks)
        text = document.render(TEMPLATE.read_text(encoding="utf-8"))
    except (BenchError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    folder = options.out.parent / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    for name, plot in document.plots.items():
        (folder / name).write_text(plot, encoding="utf-8")
    print(f"{options.out}, and {len(document.plots)} plots in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
