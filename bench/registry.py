"""All workloads by name, and how a user picks some of them."""

import fnmatch
from collections.abc import Iterable, Sequence

from bench.rows import BULK
from bench.words import BenchError
from bench.workloads import OCCASIONAL, PIPELINED, SERIAL, Workload


def by_name(workloads: Iterable[Workload]) -> dict[str, Workload]:
    """Workloads by name. Raises ValueError when a name comes twice."""
    table: dict[str, Workload] = {}
    for workload in workloads:
        if workload.name in table:
            raise ValueError(f"workload {workload.name!r} comes twice")
        table[workload.name] = workload
    return table


WORKLOADS = by_name([*SERIAL, *PIPELINED, *BULK, *OCCASIONAL])


def chosen_workloads(patterns: Sequence[str]) -> list[Workload]:
    """The workloads that match one of the patterns, in the order of the table.

    Raises BenchError for a pattern that matches none.
    """
    for pattern in patterns:
        if not fnmatch.filter(WORKLOADS, pattern):
            raise BenchError(f"no workload matches {pattern!r}; see --list")
    return [
        workload
        for name, workload in WORKLOADS.items()
        if not patterns or any(fnmatch.fnmatch(name, one) for one in patterns)
    ]
