"""Tables of the page, a group of workloads each: every player with rate, spread, CPU.

Owns: which columns they have.
"""

import statistics
from collections.abc import Sequence

from bench.candidates import BASELINE, SUBJECT
from bench.measure import YARDSTICKS, Outcome
from bench.pools import POOLS
from bench.report import (
    MISSING,
    Table,
    cpu_cell,
    latency_cell,
    number,
    present_in,
    row_name,
    times,
    trips_cell,
)
from bench.standing import standing
from bench.stats import P50, P99, P999, rates, spread

BEST = "against the best"


def table_of(group: str, outcomes: Sequence[Outcome]) -> Table:
    """Of whichever kind the group needs."""
    make = pool_table if group.startswith("pool") else group_table
    return make(outcomes)


def group_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each workload: of each player rate, CPU and round trips."""
    names = [name for one in outcomes for name in one.samples]
    players = [name for name in dict.fromkeys(names) if name not in YARDSTICKS]
    players.sort(key=lambda name: (name != SUBJECT, name != BASELINE))
    players += present_in(outcomes, YARDSTICKS)
    rows = [
        [
            row_name(outcome),
            outcome.unit,
            *(player_cell(outcome, name) for name in players),
            standing_cell(outcome),
        ]
        for outcome in outcomes
    ]
    header = ["", "unit", *players, BEST]
    return Table(header, rows, words=("unit", BEST))


def player_cell(outcome: Outcome, name: str) -> str:
    """Rate and spread; below it CPU and round trips of one operation."""
    if not outcome.samples.get(name):
        return MISSING
    values = rates(outcome, name)
    top = f"{number(statistics.median(values))} ±{spread(values):.0%}"
    below = [f"{cpu_cell(outcome, name)} µs"]
    if name in outcome.traffic:
        trips = trips_cell(outcome, name)
        below.append(f"{trips} trip{'s' if trips != '1' else ''}")
    return top if name in YARDSTICKS else f"{top}<br>{', '.join(below)}"


def standing_cell(outcome: Outcome) -> str:
    """How many times the best rival's rate, and whose that is."""
    one = standing(outcome)
    return MISSING if one is None else f"**{times(one.ratio)}** {one.rival}"


def pool_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each pool in each workload, with latencies."""
    rows: list[list[str]] = []
    for outcome in outcomes:
        rows.append([f"{row_name(outcome)}, {outcome.unit}"])
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
    return Table([*header, BEST], rows, words=(BEST,))
