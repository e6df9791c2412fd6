"""Which results are drawn, and how: one row of a table per picture.

Owns: the pictures of the report by name, and the points that are taken from results.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.candidates import SUBJECT
from bench.charts import Axes, Curve, Panel, Point, Row, curves_chart, ratios_chart
from bench.ladders import COLUMN_COUNTS, JOIN_COUNTS, ROW_COUNTS, STATEMENT_COUNTS
from bench.measure import Outcome
from bench.poolcurves import CLIENTS, CONNECTIONS
from bench.poolwork import TASK_COUNTS
from bench.report import row_name
from bench.shapes import ROW_NUMBERS
from bench.standing import rivals_in
from bench.stats import P99, THROUGHPUT, rates, ratio
from bench.svg import in_order
from bench.workloads import QUERY_COUNTS

# Outcomes by loop and by the name of their workload.
Results = Mapping[str, Mapping[str, Outcome]]
# Of one player in one row: a value for each round.
Figure = Callable[[Outcome, str], Sequence[float]]


def rate(outcome: Outcome, name: str) -> Sequence[float]:
    """Operations per second."""
    return rates(outcome, name) if outcome.samples.get(name) else []


def microseconds(outcome: Outcome, name: str) -> Sequence[float]:
    """Time of one operation."""
    return [1e6 / value for value in rate(outcome, name)]


def p99_milliseconds(outcome: Outcome, name: str) -> Sequence[float]:
    """What 99 of 100 operations do not exceed."""
    found = (getattr(one, P99, None) for one in outcome.samples.get(name, ()))
    return [seconds * 1e3 for seconds in found if seconds is not None]


@dataclass(frozen=True)
class CurveFigure:
    """Curves over the number in the names of workloads.

    `patterns` gives by heading the name with ``{}`` for the number. One pattern has a
    panel for each loop, several have one each, of the first loop.
    """

    title: str
    patterns: Mapping[str, str]
    xs: Sequence[int]
    axes: Axes
    value: Figure = rate


def queries(label: str) -> Axes:
    """Requests per second over the queries in a request."""
    return Axes(label, "requests/s", is_y_log=True)


def over_tasks(label: str, *, is_y_log: bool) -> Axes:
    """Something over a number of tasks that grows fast."""
    return Axes("tasks", label, is_x_log=True, is_y_log=is_y_log)


REQUEST = "queries in a request"
FIGURES = {
    "multi": CurveFigure(
        "TFB multiple queries, one after the other",
        {"": "multi_{}"},
        QUERY_COUNTS,
        queries(REQUEST),
    ),
    "multi_pipelined": CurveFigure(
        "TFB multiple queries, all at once where the driver can",
        {"": "multi_pipelined_{}"},
        QUERY_COUNTS,
        queries(REQUEST),
    ),
    "updates": CurveFigure(
        "TFB updates: a SELECT and an UPDATE for each row, one after the other",
        {"": "updates_{}"},
        QUERY_COUNTS,
        queries("rows in a request"),
    ),
    "updates_batched": CurveFigure(
        "TFB updates: all SELECTs at once, one UPDATE for all rows",
        {"": "updates_batched_{}"},
        QUERY_COUNTS,
        queries("rows in a request"),
    ),
    "curve": CurveFigure(
        "A pool of 10 connections, SELECT by key (pgbench: a connection for each task)",
        {"": "curve_{}"},
        CLIENTS,
        Axes("tasks", "queries/s"),
    ),
    "curve_p99": CurveFigure(
        "The same pool: the latency that 99 of 100 queries do not exceed",
        {"": "curve_{}"},
        CLIENTS,
        Axes("tasks", "p99 in ms", is_y_log=True),
        p99_milliseconds,
    ),
    "slow_p99": CurveFigure(
        "One query in a hundred sleeps 200 ms: p99 of the others",
        {"": "pool_slow_{}"},
        TASK_COUNTS,
        over_tasks("p99 in ms", is_y_log=True),
        p99_milliseconds,
    ),
    "mixed": CurveFigure(
        "Reads and writes, 4 : 1, on a pool of 10 connections",
        {"": "pool_mixed_{}"},
        TASK_COUNTS,
        over_tasks("queries/s", is_y_log=False),
    ),
    "pool_size": CurveFigure(
        "64 tasks on a pool of 1 to 100 connections",
        {"": "pool_size_{}"},
        CONNECTIONS,
        Axes("connections", "queries/s", is_x_log=True),
    ),
    "insert": CurveFigure(
        "Rows into an empty table, in three ways",
        {
            "a statement for each": "insert_unbatched_{}",
            "executemany": "insert_batched_{}",
            "COPY": "insert_copy_{}",
        },
        ROW_COUNTS,
        Axes("rows", "rows/s", is_x_log=True, is_y_log=True),
    ),
    "joins": CurveFigure(
        "Prepared joins of tables with one row",
        {"": "joins_{}"},
        JOIN_COUNTS,
        Axes("joins", "µs per query"),
        microseconds,
    ),
    "fetch": CurveFigure(
        "fetch of few and of many rows: int4, float8",
        {"": "fetch_{}"},
        ROW_NUMBERS,
        Axes("rows", "rows/s", is_x_log=True, is_y_log=True),
    ),
    "columns": CurveFigure(
        "One row of 1 to 1000 int4 columns",
        {"": "columns_{}"},
        COLUMN_COUNTS,
        Axes("columns", "µs per query", is_x_log=True, is_y_log=True),
        microseconds,
    ),
    "statements": CurveFigure(
        "So many statements in turn (the caches hold 100)",
        {"": "statements_{}"},
        STATEMENT_COUNTS,
        Axes("statements", "µs per query", is_x_log=True),
        microseconds,
    ),
}


def draw(figure_: CurveFigure, results: Results) -> str | None:
    """The picture; None where nothing of it was measured."""
    if len(figure_.patterns) == 1:
        (pattern,) = figure_.patterns.values()
        panels = [
            Panel(loop, curves_of(figure_, pattern, outcomes))
            for loop, outcomes in results.items()
        ]
    else:
        loop, outcomes = next(iter(results.items()))
        panels = [
            Panel(f"{loop}, {heading}", curves_of(figure_, pattern, outcomes))
            for heading, pattern in figure_.patterns.items()
        ]
    panels = [panel for panel in panels if panel.curves]
    return curves_chart(figure_.title, figure_.axes, panels) if panels else None


def curves_of(
    figure_: CurveFigure, pattern: str, outcomes: Mapping[str, Outcome]
) -> list[Curve]:
    """A curve for each player that has been there, in the order of the styles."""
    points: dict[str, list[Point]] = {}
    for x in figure_.xs:
        outcome = outcomes.get(pattern.format(x))
        for player in outcome.samples if outcome is not None else ():
            assert outcome is not None
            values = figure_.value(outcome, player)
            if values:
                points.setdefault(player, []).append(Point.of(float(x), values))
    return [Curve(player, points[player]) for player in in_order(points)]


def draw_ratios(
    outcomes: Sequence[Outcome], title: str, note: str, measure: str
) -> str | None:
    """How many times as fast as each rival Chopin is, or as sparing, in every row."""
    rows: list[Row] = []
    group = ""
    for outcome in outcomes:
        ratios = {
            name: value if measure == THROUGHPUT else 1 / value
            for name in rivals_in(outcome)
            if (value := ratio(outcome, measure, SUBJECT, name) or 0.0) > 0.0
        }
        if not ratios:
            continue
        if outcome.group != group:
            group = outcome.group
            rows.append(Row(group))
        rows.append(Row(row_name(outcome), ratios))
    if not rows:
        return None
    return ratios_chart(title, note, rows)
