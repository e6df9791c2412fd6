"""All workloads by name, and how a user picks some of them.

Those of one connection are what is measured where nothing is said; those of pools and
of types are picked by name, or all of them by the words ``pool`` and ``types``; ``all``
is everything.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from typing import TypeVar

from bench.copying import COPIES
from bench.ladders import GROWING
from bench.poolcurves import CURVED
from bench.poolwork import POOLED, PoolWorkload
from bench.rows import BULK
from bench.shapes import BY_NUMBER, BY_SHAPE
from bench.typework import TYPED, TypeWorkload
from bench.words import BenchError
from bench.workloads import OCCASIONAL, PIPELINED, SERIAL, Workload

# What all workloads of a kind can be picked by.
CONNECTION = "connection"
POOL = "pool"
TYPES = "types"
ALL = "all"

Some = TypeVar("Some", bound=Workload)


def by_name(workloads: Iterable[Some]) -> dict[str, Some]:
    """Workloads by name. Raises ValueError when a name comes twice."""
    table: dict[str, Some] = {}
    for workload in workloads:
        if workload.name in table:
            raise ValueError(f"workload {workload.name!r} comes twice")
        table[workload.name] = workload
    return table


TABLES = [*BY_SHAPE, *BY_NUMBER, *GROWING]
WORKLOADS = by_name([*SERIAL, *PIPELINED, *BULK, *COPIES, *OCCASIONAL, *TABLES])
POOL_WORKLOADS: dict[str, PoolWorkload] = by_name([*POOLED, *CURVED])
TYPE_WORKLOADS: dict[str, TypeWorkload] = by_name(TYPED)


def chosen_workloads(
    patterns: Sequence[str],
) -> tuple[list[Workload], list[PoolWorkload], list[TypeWorkload]]:
    """The workloads that match one of the patterns, in the order of the tables.

    Raises BenchError for a pattern that matches none.
    """
    known = {
        *(ALL, CONNECTION, POOL, TYPES),
        *(*WORKLOADS, *POOL_WORKLOADS, *TYPE_WORKLOADS),
    }
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise BenchError(f"no workload matches {pattern!r}; see --list")
    return (
        _picked(WORKLOADS, (CONNECTION, ALL), patterns or [CONNECTION]),
        _picked(POOL_WORKLOADS, (POOL, ALL), patterns),
        _picked(TYPE_WORKLOADS, (TYPES, ALL), patterns),
    )


def _picked(
    table: dict[str, Some], words: Sequence[str], patterns: Sequence[str]
) -> list[Some]:
    return [
        workload
        for name, workload in table.items()
        if any(one in words or fnmatch.fnmatch(name, one) for one in patterns)
    ]
