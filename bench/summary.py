"""The answer ahead of all figures: Chopin against each driver, by kind of work.

Owns: the table and the picture of means, the sentence that counts the rows, the table
that compares runs.
Rules:
- A mean is geometric: twice as fast in one row and half as fast in the next are level.
- No mean stands without the worst row that it is made of.
"""

import statistics
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from bench.candidates import BASELINE, SUBJECT
from bench.charts import Row, ratios_chart
from bench.measure import Outcome
from bench.report import MISSING, Table, times
from bench.standing import (
    LEVEL,
    mean_against_best,
    mean_ratio,
    rivals_in,
    standings,
)
from bench.stats import CPU, THROUGHPUT, ratio
from bench.svg import in_order

ALL = "all of them"
WORST = "the worst row, and whose"


def groups_of(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by group, in the order in which they were measured."""
    return {
        group: list(members)
        for group, members in groupby(outcomes, key=lambda outcome: outcome.group)
    }


def rivals_of(outcomes: Iterable[Outcome]) -> list[str]:
    """Everybody who is there at least once, in the order of the pictures."""
    return in_order(name for outcome in outcomes for name in rivals_in(outcome))


def answer_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each group: the mean against each rival, CPU, and the worst row."""
    rivals = rivals_of(outcomes)
    rows = [
        answer_row(group, members, rivals)
        for group, members in groups_of(outcomes).items()
    ]
    rows.append(answer_row(f"**{ALL}**", outcomes, rivals))
    header = ["", "rows", *rivals, f"CPU, {BASELINE} is 1", WORST]
    return Table(header, [row for row in rows if row], words=(WORST,))


def answer_row(
    title: str, outcomes: Sequence[Outcome], rivals: Sequence[str]
) -> list[str]:
    """One group; nothing where nobody is to be compared with."""
    known = standings(outcomes)
    if not known:
        return []
    worst = min(known, key=lambda one: one.ratio)
    cpu = mean_ratio(outcomes, CPU, BASELINE)
    return [
        title,
        str(len(known)),
        *(against_cell(outcomes, rival) for rival in rivals),
        MISSING if cpu is None else f"{cpu:.2f}",
        f"{times(worst.ratio)} {worst.rival}, `{worst.outcome.workload}`",
    ]


def against_cell(outcomes: Sequence[Outcome], rival: str) -> str:
    """The mean, and the least: '1.41x (1.10x)'."""
    ratios = [ratio(outcome, THROUGHPUT, SUBJECT, rival) for outcome in outcomes]
    known = [one for one in ratios if one]
    if not known:
        return MISSING
    return f"**{times(statistics.geometric_mean(known))}** ({times(min(known))})"


def draw_answer(outcomes: Sequence[Outcome], title: str, note: str) -> str | None:
    """The means as a picture."""
    rows = [
        Row(
            group,
            {
                rival: mean
                for rival in rivals_of(members)
                if (mean := mean_ratio(members, THROUGHPUT, rival))
            },
        )
        for group, members in groups_of(outcomes).items()
    ]
    rows = [row for row in rows if row.ratios]
    return ratios_chart(title, note, rows) if rows else None


def verdict(outcomes: Sequence[Outcome]) -> str:
    """In how many rows Chopin is ahead, level or behind, in words."""
    known = standings(outcomes)
    ahead = sum(one.ratio >= 1 / LEVEL for one in known)
    behind = sum(not one.is_level for one in known)
    level = len(known) - ahead - behind
    return (
        f"of {len(known)} rows Chopin is ahead of the *best* other driver in {ahead},"
        f" level within 3 % in {level}, behind in {behind}"
    )


def means_table(runs: Sequence[Any]) -> Table:
    """A row for each group, a column for each loop of each run."""
    columns = [(run, loop) for run in runs for loop in run.loops]
    header = ["", *(f"{run.python}, {loop}" for run, loop in columns)]
    groups = dict.fromkeys(
        outcome.group for run, loop in columns for outcome in run.loops[loop]
    )
    rows = [
        [group, *(means_cell(run.of_group(loop, group)) for run, loop in columns)]
        for group in groups
    ]
    return Table(header, [row for row in rows if set(row[1:]) != {MISSING}])


def means_cell(outcomes: Sequence[Outcome]) -> str:
    """Against asyncpg, its CPU, and against the best of each row."""
    rate = mean_ratio(outcomes, THROUGHPUT, BASELINE)
    if rate is None:
        return MISSING
    cpu = mean_ratio(outcomes, CPU, BASELINE)
    return f"{times(rate)}, CPU {times(cpu)}; {times(mean_against_best(outcomes))}"
