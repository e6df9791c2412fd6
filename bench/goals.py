"""What is to be reached: one table of workload, measure, rival and ratio.

A goal without a rival is a figure as it is: KiB of memory.

`python -m bench --check` compares a run with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.candidates import SUBJECT
from bench.measure import LIMIT, Outcome
from bench.pools import BASELINE_POOL, NO_RESET_POOL
from bench.poolwork import TASK_COUNTS
from bench.stats import CPU, EACH, MEMORY, P99, ROW, THROUGHPUT, figure, ratio
from bench.typework import TYPED
from bench.workloads import QUERY_COUNTS

SERIAL_READS = (
    "select_1",
    "param",
    "crud_select",
    *(f"multi_{count}" for count in QUERY_COUNTS),
)
SERIAL_WRITES = (
    "crud_update",
    "crud_insert",
    *(f"updates_{count}" for count in QUERY_COUNTS),
)
PIPELINED = (
    "multi_pipelined_5",
    "multi_pipelined_20",
    "updates_batched_5",
    "updates_batched_20",
)
# In arrays of numbers Python's own objects are most of the price: see docs/design.md.
HALF_THE_PRICE = ("timestamptz", "numeric", "uuid", "text", "int8", "float8", "jsonb")
NOT_DEARER = tuple(one.name for one in TYPED if one.family.name != "null")


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: at least in throughput, at most in everything else."""

    workload: str
    measure: str
    rival: str
    ratio: float
    subject: str = SUBJECT

    @property
    def sign(self) -> str:
        """Which way it has to go."""
        return ">=" if self.measure == THROUGHPUT else "<="

    def is_met(self, reached: float) -> bool:
        """Whether this ratio is good enough."""
        if self.measure == THROUGHPUT:
            return reached >= self.ratio
        return reached <= self.ratio

    def reached(self, outcome: Outcome) -> float | None:
        """What the goal looks at; None where it was not measured."""
        if not self.rival:
            return figure(outcome, self.measure, self.subject)
        return ratio(outcome, self.measure, self.subject, self.rival)


GOALS = (
    *(Goal(name, THROUGHPUT, "asyncpg", 1.4) for name in SERIAL_READS),
    *(Goal(name, THROUGHPUT, "asyncpg", 1.15) for name in SERIAL_WRITES),
    *(
        Goal(name, CPU, "asyncpg", 0.55)
        for name in (*SERIAL_READS, *SERIAL_WRITES, *PIPELINED)
    ),
    Goal("multi_pipelined_20", THROUGHPUT, "asyncpg", 8.0),
    Goal("batch_20", THROUGHPUT, "asyncpg", 8.0),
    Goal("pipeline_20", THROUGHPUT, "asyncpg", 6.0),
    Goal("rows_all_six", THROUGHPUT, "asyncpg", 2.5),
    Goal("rows_no_numeric", THROUGHPUT, "asyncpg", 3.2),
    Goal("rows_int_float", THROUGHPUT, "asyncpg", 2.6),
    Goal("rows_all_six", THROUGHPUT, "psycopg", 2.0),
    Goal("rows_no_numeric", THROUGHPUT, "psycopg", 2.0),
    Goal("rows_int_float", THROUGHPUT, "psycopg", 1.3),
    Goal("executemany", THROUGHPUT, "asyncpg", 1.15),
    Goal("executemany", THROUGHPUT, LIMIT, 0.9),
    Goal("executemany", CPU, "asyncpg", 0.5),
    Goal("connect_scram", THROUGHPUT, "asyncpg", 1.0),
    Goal("pool_reads_64", THROUGHPUT, BASELINE_POOL, 6.0),
    Goal("pool_reads_64", THROUGHPUT, NO_RESET_POOL, 3.0),
    Goal("pool_reads_64", THROUGHPUT, NO_RESET_POOL, 2.5, subject="chopin_depth_1"),
    Goal("pool_writes_64", THROUGHPUT, BASELINE_POOL, 1.5),
    *(
        Goal(f"pool_{name}_{tasks}", P99, BASELINE_POOL, 1.0)
        for name in ("reads", "writes", "mixed", "slow")
        for tasks in TASK_COUNTS
    ),
    Goal("pool_slow_offered", P99, BASELINE_POOL, 1.0),
    Goal("pool_memory", MEMORY, "", 64.0),
    *(Goal(f"decode_{name}", EACH, "asyncpg", 0.5) for name in HALF_THE_PRICE),
    *(Goal(f"decode_{name}", ROW, "asyncpg", 0.5) for name in HALF_THE_PRICE),
    *(Goal(name, EACH, "asyncpg", 1.0) for name in NOT_DEARER),
)


@dataclass(frozen=True)
class Verdict:
    """A goal, and what was reached; None where it was not measured."""

    goal: Goal
    reached: float | None

    @property
    def is_met(self) -> bool:
        """Whether it was measured and is good enough."""
        return self.reached is not None and self.goal.is_met(self.reached)


def judge(outcomes: Iterable[Outcome]) -> list[Verdict]:
    """Verdicts on the goals of those workloads that have been run."""
    by_name = {outcome.workload: outcome for outcome in outcomes}
    return [
        Verdict(goal, goal.reached(by_name[goal.workload]))
        for goal in GOALS
        if goal.workload in by_name
    ]
