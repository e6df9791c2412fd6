"""The contest of pools: as that of connections, with latencies.

Owns: who plays in a pool workload, and what a sample of it is.
Rules: those of ``measure``, whose rounds, shuffling, comparing and dropping are used.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from bench.measure import Contest, Plan, Player, Sample
from bench.poolmemory import MemoryStage
from bench.pools import PoolCandidate
from bench.poolstages import LoopStage, Stage, ThreadStage, timed
from bench.poolwork import PoolWorkload
from bench.poolworkers import WorkerStage
from bench.server import Administration, Target
from bench.workloads import Items

OpenStage = Callable[[PoolCandidate, PoolWorkload, Target], Awaitable[Stage]]
STAGES: dict[str, OpenStage] = {
    "loop": LoopStage.open,
    "threads": ThreadStage.open,
    "workers": WorkerStage.open,
    "memory": MemoryStage.open,
}


@dataclasses.dataclass(frozen=True)
class PoolPlan(Plan):
    """A Plan whose candidates are pools, and whose workloads are theirs."""

    candidates: Sequence[PoolCandidate]  # type: ignore[assignment]  # of another kind
    workloads: Sequence[PoolWorkload]


class PoolPlayer:
    """A pool on the stage of a workload."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self._stage = stage
        self.close = stage.close

    def ready(self, items: Items) -> Callable[[], Awaitable[Any]]:
        """Nothing to do before."""
        return partial(self._stage.play, items)


class PoolContest(Contest):
    """One pool workload, played by all pools in interleaved rounds."""

    def __init__(
        self,
        workload: PoolWorkload,
        plan: PoolPlan,
        target: Target,
        admin: Administration,
    ) -> None:
        rounds = min(plan.rounds, workload.most_rounds or plan.rounds)
        own = dataclasses.replace(plan, rounds=rounds)
        super().__init__(workload, own, target, admin)
        self._pools = [
            pool
            for pool in plan.candidates
            if not workload.pools or pool.name in workload.pools
        ]
        self._pool_workload = workload

    async def _open_candidates(self) -> None:
        workload = self._pool_workload
        for pool in self._pools:
            try:
                stage = await STAGES[workload.stage](pool, workload, self._target)
            except Exception as error:
                self._complain(pool.name, f"cannot be opened: {error!r}")
                continue
            self._players.append(PoolPlayer(pool.name, stage))

    async def _open_yardsticks(self, clients: int = 1) -> None:
        await super()._open_yardsticks(self._pool_workload.tasks)

    async def _turn(
        self, player: Player, items: Items, *, is_first: bool
    ) -> tuple[Sample, Any]:
        sample, played = await super()._turn(player, items, is_first=is_first)
        # pgbench tells no latencies.
        if played is None:
            return sample, None
        return timed(sample, played), played.check
