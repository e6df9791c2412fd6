"""Curves of a pool: over the tasks that use it, and over its connections.

Owns: pgagroal's curve, which is pgbench's read-only script (``-S -M prepared``) for 1
to 200 clients, here tasks on one pool of ten connections; and 64 tasks on pools of one
to a hundred. pgbench itself has a connection for each client.
"""

import dataclasses

from bench.pgscript import script
from bench.poolwork import READ, STATE, PoolWorkload, keys, run_reads, sizes_of
from bench.workloads import WORLD_SELECT, Sizes

CLIENTS = (1, 10, 25, 50, 75, 100, 150, 200)
CLIENTS_IF_QUICK = (1, 10, 25, 50, 100)
CONNECTIONS = (1, 10, 50, 100)
TASKS = 64


def client_sizes_of(tasks: int) -> Sizes:
    """As in all pool workloads; pgbench has to connect so many clients each time."""
    sizes = sizes_of(tasks)
    return sizes if tasks in CLIENTS_IF_QUICK else dataclasses.replace(sizes, quick=0)


BY_TASKS = [
    PoolWorkload(
        f"curve_{tasks}",
        "pool, curve of tasks",
        "q/s",
        client_sizes_of(tasks),
        keys,
        run_reads,
        warm=max(500, 2 * tasks),
        slices=1,
        state=STATE,
        tasks=tasks,
        statements=(READ,),
        pgbench=script([WORLD_SELECT]),
        is_serial=tasks == 1,
    )
    for tasks in CLIENTS
]

BY_CONNECTIONS = [
    PoolWorkload(
        f"pool_size_{size}",
        "pool, curve of connections",
        "q/s",
        sizes_of(TASKS),
        keys,
        run_reads,
        slices=1,
        state=STATE,
        tasks=TASKS,
        size=size,
        statements=(READ,),
        pools=("chopin", "asyncpg", "psycopg"),
    )
    for size in CONNECTIONS
]

CURVED = [*BY_TASKS, *BY_CONNECTIONS]
