"""What an idle connection takes in the client: resident memory of a fresh process.

Owns: the process that opens the connections and measures itself, and the stage that
starts it. ``python -m bench.poolmemory POOL DSN LOOP COUNT`` is that process.
Rules:
- A smaller pool is opened and used first, and stays: what is loaded and made once is
  no connection's, and the holes that loading has left in memory are filled.
- All connections have run a query, so that they have what buffers they keep; then all
  are given back. Garbage is collected, and free memory given back to the system,
  ahead of each look.

Linux only: it reads /proc.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path

from bench.loops import LOOPS, loop_factory
from bench.measure import Sample
from bench.pools import POOLS, Opening, PoolCandidate, PoolSession
from bench.poolstages import MemorySample, Played, open_pool, running_loop_name
from bench.poolwork import MEMORY, PoolWorkload
from bench.server import Target
from bench.words import BenchError
from bench.workloads import Items

FEW = 50
SELF = ("-m", "bench.poolmemory")


def resident() -> int:
    """Bytes of this process that are in memory, without garbage."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        # Another libc, which keeps what it has.
        pass
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def open_some(candidate: PoolCandidate, dsn: str, size: int) -> PoolSession:
    """A pool of this size, all of it used once."""
    enter = candidate.enter(Opening(dsn, candidate.name, size))
    return await open_pool(enter, size, MEMORY)


async def weigh(candidate: PoolCandidate, dsn: str, size: int) -> MemorySample:
    """Open so many connections; what it took, and what each of them keeps."""
    few = await open_some(candidate, dsn, FEW)
    before = resident()
    cpu, wall = time.process_time(), time.perf_counter()
    pool = await open_some(candidate, dsn, size)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory = (resident() - before) / size / 1024
    await pool.close()
    await few.close()
    return MemorySample(wall, cpu, memory)


class MemoryStage:
    """Starts the process for each sample; nothing is open in between."""

    def __init__(self, candidate: PoolCandidate, target: Target) -> None:
        self._name = candidate.name
        self._dsn = target.dsn

    @classmethod
    async def open(
        cls, candidate: PoolCandidate, workload: PoolWorkload, target: Target
    ) -> "MemoryStage":
        """There is nothing to open yet."""
        return cls(candidate, target)

    async def play(self, items: Items) -> Played:
        """As many connections as there are items."""
        if not items:
            return Played(0, sample=Sample(0.0, 0.0))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *SELF,
            self._name,
            self._dsn,
            running_loop_name(),
            str(len(items)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise BenchError(errors.decode().strip().rpartition("\n")[2])
        return Played(len(items), sample=MemorySample(**json.loads(output)))

    async def close(self) -> None:
        """There is nothing to close."""


def main() -> None:
    """Measure this process and print the sample."""
    parser = argparse.ArgumentParser(prog="python -m bench.poolmemory")
    parser.add_argument("pool", choices=list(POOLS))
    parser.add_argument("dsn")
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        sample = runner.run(weigh(POOLS[options.pool], options.dsn, options.count))
    print(json.dumps(vars(sample)))


if __name__ == "__main__":
    main()
