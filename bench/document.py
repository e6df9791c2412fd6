"""``python -m bench.document RESULT.json...`` writes docs/benchmarks.md and its plots.

The first result is what is shown; the others, of other versions of Python say, are
compared with it in one table. Prose is in ``document.md`` beside this file, where a
line that begins with ``@`` stands for what is made of the results. With ``--readme
README.md`` the tables of that file are made of the first result as well.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import FIGURES, draw, draw_ratios
from bench.grouptables import table_of
from bench.measure import Outcome
from bench.pools import POOLS
from bench.poolwork import MEMORY
from bench.prices import dearer, draw_prices, prices_table
from bench.readme import with_tables
from bench.report import (
    ONE_CORE,
    Table,
    digits,
    head,
    memory_row,
    present_in,
    row_name,
    times,
)
from bench.results import read_results
from bench.standing import LEVEL, Standing, standings
from bench.stats import CPU, THROUGHPUT
from bench.summary import answer_table, draw_answer, means_table, verdict
from bench.typework import DECODE, ENCODE
from bench.words import BenchError

TEMPLATE = Path(__file__).with_name("document.md")
REMARKS = Path(__file__).with_name("remarks.md")
PLOTS = "benchmarks"
UNMEASURED = "Not measured in this run."
# Groups whose rates say nothing: they are about something else.
PRICES = (DECODE, ENCODE)
UNRATED = (*PRICES, MEMORY.group)
BUSY = 0.5


@dataclass(frozen=True)
class Run:
    """One file of results."""

    raw: dict[str, Any]

    @property
    def loops(self) -> dict[str, list[Outcome]]:
        """Outcomes by loop, but for those whose rates say nothing."""
        return {
            loop: [one for one in outcomes if one.group not in UNRATED]
            for loop, outcomes in self.raw["loops"].items()
        }

    @property
    def unrated(self) -> list[Outcome]:
        """Prices of values and memory, of the first loop that has them."""
        found = [
            [one for one in outcomes if one.group in UNRATED]
            for outcomes in self.raw["loops"].values()
        ]
        return next(filter(None, found), [])

    @property
    def prices(self) -> list[Outcome]:
        """What single values cost."""
        return [one for one in self.unrated if one.group in PRICES]

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

    def everything(self) -> dict[str, dict[str, Outcome]]:
        """The same with those whose rates say nothing."""
        return {
            loop: {outcome.workload: outcome for outcome in outcomes}
            for loop, outcomes in self.raw["loops"].items()
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

    def machine(self, _: str) -> str:
        """Where and when, in a paragraph; and whether the machine had other work."""
        raw = self.runs[0].raw
        facts = raw["machine"]
        load, cores = facts["load"][0], facts["cores"]
        busy = (
            f" **It was busy when this began: load {load:.1f} on {cores} cores.**"
            if load > BUSY * cores
            else ""
        )
        if "--quick" in raw["arguments"]:
            busy += " **A short run: spreads are wide.**"
        return (
            f"Measured on {raw['date']}: Python {facts['python']}, PostgreSQL"
            f" {raw['settings']['server_version']} on the same machine, {cores} cores"
            f" of {facts['processor']}, {facts['system'].partition('-')[0]}."
            f" [Versions and settings](#machine-versions-settings).{busy}"
        )

    def verdict(self, _: str) -> str:
        """How many rows are ahead, level, behind; for each loop of each run."""
        return "\n".join(
            f"- Python {run.python}, {loop}: {verdict(outcomes)}."
            for run in self.runs
            for loop, outcomes in run.loops.items()
        )

    def cores(self, _: str) -> str:
        """Which rows had one core, and why."""
        outcomes = itertools.chain(*self.runs[0].loops.values())
        if not any(outcome.cores == 1 for outcome in outcomes):
            return (
                "Client and server had all cores in all rows: rates of serial queries"
                " are mostly what it takes to wake the other core."
            )
        return (
            f"In rows marked {ONE_CORE} client and server had one core together: they"
            " work in turns there, and on two it would be measured how long it takes to"
            " wake the other one. All other rows had all cores:"
            " [more](#how-it-is-measured)."
        )

    def answer(self, kind: str) -> str:
        """The means of all groups: a picture of the first loop, a table for each."""
        tables = []
        for loop in self.runs[0].loops:
            outcomes = self._of_kind(loop, kind)
            if outcomes:
                tables.append((loop, answer_table(outcomes).as_markdown()))
        if not tables:
            return UNMEASURED
        loop = tables[0][0]
        title = f"How many times the others' rate Chopin's is: {kind}"
        note = f"{loop}; geometric means of the rows of each group"
        plot = draw_answer(self._of_kind(loop, kind), title, note)
        picture = self._plot(f"answer-{kind.replace(' ', '-')}", title, plot)
        return f"{picture}\n\n{by_loop(tables)}"

    def types(self, _: str) -> str:
        """What single values cost: a picture, and a table to open."""
        if not self.runs[0].prices:
            return UNMEASURED
        title = "Reading and sending a value: the others' client CPU over Chopin's"
        plot = draw_prices(
            self.runs[0].prices, title, "each mark: one type, one other driver"
        )
        return (
            f"{self._plot('prices', title, plot)}\n\nDearer than with the best of the"
            f" others: {dearer(self.runs[0].prices)}.\n\n"
            + folded(
                "All types, ns for a value",
                prices_table(self.runs[0].prices).as_markdown(),
            )
        )

    def memory(self, _: str) -> str:
        """What idle connections keep."""
        rows = [
            memory_row(one, name)
            for one in self.runs[0].unrated
            if one.group == MEMORY.group
            for name in present_in([one], [*POOLS])
        ]
        header = ["pool", "KiB per idle connection", "connections/s opened"]
        return Table(header, rows).as_markdown() if rows else UNMEASURED

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
        return by_loop(
            [
                (loop, table_of(group, outcomes).as_markdown())
                for loop in self.runs[0].loops
                if (outcomes := self.runs[0].of_group(loop, group))
            ]
        )

    def means(self, _: str) -> str:
        """A row for each group, a column for each run and loop."""
        return means_table(self.runs).as_markdown()

    def below(self, _: str) -> str:
        """The rows in which Chopin is not level with its best rival."""
        found = [
            (f"{run.python}, {loop}", one)
            for run in self.runs
            for loop, outcomes in run.loops.items()
            for one in standings(outcomes)
            if not one.is_level
        ]
        if not found:
            return f"None: no ratio is below {LEVEL}."
        rows = [
            [
                row_name(one.outcome),
                where,
                one.rival,
                f"{times(one.ratio)} ({digits(one.low)} - {digits(one.high)})",
                times(one.cpu),
                self._remark(one),
            ]
            for where, one in sorted(found, key=lambda pair: pair[1].ratio)
        ]
        header = ["row", "run", "best rival", "ratio (quartiles)", "CPU", "why"]
        return Table(header, rows, words=("run", "best rival", "why")).as_markdown()

    def problems(self, _: str) -> str:
        """Who was left out of which row, and why; each once."""
        lines = dict.fromkeys(
            problem
            for run in self.runs
            for outcomes in run.raw["loops"].values()
            for outcome in outcomes
            for problem in outcome.problems
        )
        return "\n".join(f"- {line}" for line in lines) or "Nobody."

    # -- parts --------------------------------------------------------------------

    def _remark(self, one: Standing) -> str:
        name = one.outcome.workload
        fitting = (known for known in self.remarks if name.startswith(known))
        known = self.remarks.get(max(fitting, key=len, default=""), "")
        if one.high >= 1:
            doubt = "The quartiles reach 1x: this run cannot tell."
            return f"{doubt} {known}".rstrip()
        return known or "**Not explained.**"

    def _of_kind(self, loop: str, kind: str) -> list[Outcome]:
        return [
            one
            for one in self.runs[0].loops[loop]
            if one.group.startswith("pool") == (kind == "pools")
        ]

    def _overview(self, kind: str, what: str, note: str, measure: str) -> str:
        loop = next(iter(self.runs[0].loops))
        title = f"How Chopin compares, {what}: {kind}"
        note = f"{loop}; each mark: {note}"
        plot = draw_ratios(self._of_kind(loop, kind), title, note, measure)
        return self._plot(f"{measure}-{kind.replace(' ', '-')}", title, plot)

    def _plot(self, name: str, title: str, plot: str | None) -> str:
        if plot is None:
            return UNMEASURED
        self.plots[f"{name}.svg"] = plot
        return f"![{title}]({PLOTS}/{name}.svg)"


DIRECTIVES: dict[str, Callable[[Document, str], str]] = {
    "machine": Document.machine,
    "verdict": Document.verdict,
    "cores": Document.cores,
    "answer": Document.answer,
    "types": Document.types,
    "memory": Document.memory,
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
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def by_loop(tables: Sequence[tuple[str, str]]) -> str:
    """The first to be seen, the others to open."""
    if not tables:
        return UNMEASURED
    (loop, table), *others = tables
    more = [folded(f"On {other}", content) for other, content in others]
    return "\n\n".join([f"On {loop}:", table, *more])


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
        "--readme",
        type=Path,
        metavar="FILE",
        help="make the tables between its markers, too",
    )
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
        if options.readme is not None:
            readme = with_tables(
                options.readme.read_text("utf-8"), runs[0].everything()
            )
            options.readme.write_text(readme, encoding="utf-8")
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
