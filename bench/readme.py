"""The tables of the README, made of results: what stands between two markers.

Owns: which rows README.md shows, under which names, and with which columns.
Rules:
- ``<!-- bench: NAME -->`` begins a table and ``<!-- /bench -->`` ends it; what is
  between them is made, and nothing else in the file is touched.
- A cell has one figure for each loop of the run, in their order: ``1.42x / 1.33x``.
- Figures are those of the page: medians of the ratios within rounds.
- A row for which client and server had one core is marked as on the page.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.candidates import BASELINE, SUBJECT
from bench.measure import LIMIT, Outcome
from bench.pools import BASELINE_POOL, NO_RESET_POOL
from bench.report import MISSING, ONE_CORE, Table, digits
from bench.standing import standing
from bench.stats import CPU, MEMORY, P99, THROUGHPUT, figure, ratio
from bench.words import BenchError

BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
PEER = "psycopg"
# In the name of a row: whose figures they are, where not Chopin's as it comes.
OF = " of "

# Outcomes by loop and by the name of their workload.
Results = Mapping[str, Mapping[str, Outcome]]


@dataclass(frozen=True)
class Column:
    """One figure: Chopin's by `rival`'s, or `player`'s own where there is no rival."""

    title: str
    measure: str
    rival: str = ""
    player: str = SUBJECT

    def of(self, outcome: Outcome) -> str:
        """The cell for one loop."""
        if not self.rival:
            value = figure(outcome, self.measure, self.player)
            return MISSING if value is None else digits(value)
        value = ratio(outcome, self.measure, self.player, self.rival)
        if value is None:
            return MISSING
        return f"{value:.2f}x" if self.measure == THROUGHPUT else f"{value:.2f}"


@dataclass(frozen=True)
class BestColumn(Column):
    """Chopin's by that of the other driver that is hardest to beat in the row."""

    def of(self, outcome: Outcome) -> str:
        """The cell for one loop; who it is says the page."""
        one = standing(outcome)
        return MISSING if one is None else f"{one.ratio:.2f}x"


@dataclass(frozen=True)
class Tableau:
    """One table: its columns, and workloads under the names that users know.

    A row is a workload, or ``WORKLOAD of PLAYER``.
    """

    columns: Sequence[Column]
    rows: Mapping[str, str]
    what: str = ""

    def made_of(self, results: Results) -> Table:
        """A row for each workload."""
        body = [
            [
                f"{label}{mark_of(row, results)}",
                *(cell_of(column, row, results) for column in self.columns),
            ]
            for row, label in self.rows.items()
        ]
        corner = ", ".join(filter(None, (self.what, f"on {' / '.join(results)}")))
        return Table([corner, *(column.title for column in self.columns)], body)


def mark_of(row: str, results: Results) -> str:
    """Behind the label, where client and server had one core."""
    workload = row.partition(OF)[0]
    found = (outcomes.get(workload) for outcomes in results.values())
    return f" {ONE_CORE}" if any(one and one.cores == 1 for one in found) else ""


def cell_of(column: Column, row: str, results: Results) -> str:
    """The figures of all loops; one dash where there is none."""
    workload, _, player = row.partition(OF)
    if player:
        column = replace(column, player=player)
    cells = [
        column.of(outcomes[workload]) if workload in outcomes else MISSING
        for outcomes in results.values()
    ]
    return MISSING if set(cells) == {MISSING} else " / ".join(cells)


DRIVERS = (
    Column("against asyncpg", THROUGHPUT, BASELINE),
    Column("CPU, asyncpg is 1", CPU, BASELINE),
    Column("against psycopg", THROUGHPUT, PEER),
    BestColumn("against the best of all", THROUGHPUT),
)
LIMITED = (*DRIVERS, Column("against the server's limit", THROUGHPUT, LIMIT))
POOLS = (
    Column("against asyncpg", THROUGHPUT, BASELINE_POOL),
    Column("against it without resets", THROUGHPUT, NO_RESET_POOL),
    Column("against psycopg", THROUGHPUT, PEER),
    Column("p99, asyncpg is 1", P99, BASELINE_POOL),
)
TABLES = {
    "crud": Tableau(
        DRIVERS,
        {
            "select_1": "serial reads: `SELECT 1`",
            "crud_select": "a row by its key",
            "crud_insert": "`INSERT`",
            "crud_update": "`UPDATE` by key",
            "multi_20": "20 reads in a row",
            "multi_pipelined_20": "20 reads at once, against 20 in a row",
            "updates_20": "20 reads and updates in a row",
            "batch_20": "`batch` of 20 different statements, against 20 in a row",
            "pipeline_20": "`pipeline` of the same",
        },
    ),
    "rows": Tableau(
        LIMITED,
        {
            "rows_all_six": "rows of six columns with `numeric`",
            "rows_no_numeric": "the same without",
            "rows_int_float": "rows of `int4`, `float8`",
            "into_tuple": "rows as tuples (`into=`)",
            "into_dict": "as dicts",
            "into_dataclass": "as dataclasses",
            "stream": "`stream`, against cursors",
        },
    ),
    "writes": Tableau(
        LIMITED,
        {
            "executemany": "`executemany`",
            "insert_unbatched_100": "100 rows by a statement each",
            "insert_batched_100": "by `executemany`",
            "insert_copy_100": "by COPY",
        },
    ),
    "copy": Tableau(
        LIMITED,
        {
            "copy_in_records": "`copy_records_to_table`",
            "copy_in": "`write_row`, row by row",
            "copy_out": "decoded rows by `copy_out`, against `fetch` and `rows()`",
        },
    ),
    "pool": Tableau(
        POOLS,
        {
            **{
                f"pool_reads_{tasks}": f"{tasks}, reads"
                for tasks in (1, 10, 64, 256, 1000)
            },
            f"pool_reads_64{OF}chopin_depth_1": "64, reads, `pipeline_depth=1`",
            "pool_writes_64": "64, writes",
            "pool_mixed_64": "64, reads and writes",
            "pool_slow_64": "64, reads, 1 % of them slow (200 ms)",
            "pool_acquire_64": "64, `async with pool.acquire()`",
            "pool_transaction_64": "64, transactions",
            "pool_threads": "64, reads, two event loops in two threads",
            "pool_workers": "64, reads, `chopin.run` with two workers",
        },
        what="tasks, what",
    ),
    "connect": Tableau(
        DRIVERS,
        {
            "connect_scram": "connecting, SCRAM",
            "connect_trust": "connecting, no password",
            "first_use": "a statement that is new",
        },
    ),
    "memory": Tableau(
        tuple(
            Column(name, MEMORY, player=name) for name in (SUBJECT, BASELINE_POOL, PEER)
        ),
        {"pool_memory": "KiB for an idle connection of a pool"},
    ),
}


def with_tables(text: str, results: Results) -> str:
    """The text with all its tables made anew.

    Raises BenchError for a table that is not known, and for a marker without an end.
    """
    for name in re.findall(r"<!-- bench: (.*?) -->", text):
        if name not in TABLES:
            raise BenchError(f"no table is named {name!r}; try {', '.join(TABLES)}")
    if len(BLOCK.findall(text)) != text.count("<!-- bench: "):
        raise BenchError("a table begins within another one, or has no end")

    def made(match: re.Match[str]) -> str:
        table = TABLES[match[2]].made_of(results).as_markdown()
        return f"{match[1]}\n{table}\n\n{match[3]}"

    return BLOCK.sub(made, text)
