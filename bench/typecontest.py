"""The contest of types: few and many values in turn, and what one more of them costs.

Owns: who plays in a type workload, and what a sample of it is.
Rules: those of ``measure``, whose rounds, shuffling, comparing and dropping are used.
"""

import dataclasses
import gc
from functools import partial
from typing import Any

from bench.candidates import Candidate
from bench.measure import (
    Contest,
    Plan,
    Player,
    Sample,
    WholeSample,
    open_session,
    take_sample,
    takes_part,
)
from bench.server import SHARED_SCHEMA, Administration, Target
from bench.typework import PARAMETERS, TypeSeat, TypeWorkload
from bench.workloads import Items


@dataclasses.dataclass(frozen=True)
class TypeSample(WholeSample):
    """Nanoseconds of CPU for one value more, and for a row or a call with one value.

    What it is besides is the sample with many values.
    """

    each: float
    row: float


class TypePlayer:
    """A driver with its connection, and values to send."""

    def __init__(self, name: str, workload: TypeWorkload, seat: TypeSeat) -> None:
        self.name = name
        self._workload = workload
        self._seat = seat

    def ready(self, items: Items, many: int = 1) -> Any:
        """With so many columns or parameters; nothing to do before."""
        return partial(self._workload.run, self._seat, items, many)

    async def close(self) -> None:
        """Close the connection."""
        await self._seat.session.close()


class TypeContest(Contest):
    """One type in one direction, played by all drivers in interleaved rounds."""

    def __init__(
        self, workload: TypeWorkload, plan: Plan, target: Target, admin: Administration
    ) -> None:
        super().__init__(workload, plan, target, admin)
        self._type_workload = workload

    async def _open_candidates(self) -> None:
        family = self._type_workload.family
        try:
            for statement in family.statements(max(self._size, PARAMETERS)):
                await self._admin.execute(SHARED_SCHEMA, statement)
        except Exception as error:
            self._complain("the server", f"cannot make the table: {error}")
            return
        for candidate in self._plan.candidates:
            if not takes_part(candidate, self._type_workload):
                continue
            try:
                seat = await self._seat(candidate)
            except Exception as error:
                self._complain(candidate.name, f"cannot take part: {error!r}")
                continue
            self._players.append(TypePlayer(candidate.name, self._type_workload, seat))

    async def _seat(self, candidate: Candidate) -> TypeSeat:
        """A connection that knows the type, and what it makes of its values."""
        family = self._type_workload.family
        session = await open_session(candidate, self._target)
        # or it plans a thousand parameters again and again
        await session.script("SET plan_cache_mode TO force_generic_plan")
        tune = family.tunes.get(candidate.name)
        if tune is not None:
            await tune(session)
            # a cursor has the adapters that its connection had when it was made
            session = type(session)(session.connection)  # type: ignore[call-arg]
        query = f"SELECT {family.read} FROM {family.table} LIMIT {PARAMETERS}"
        return TypeSeat(session, values=[row[0] for row in await session.fetch(query)])

    async def _turn(
        self, player: Player, items: Items, *, is_first: bool
    ) -> tuple[Sample, Any]:
        assert isinstance(player, TypePlayer)
        many = self._type_workload.many
        gc.collect()
        # what was given back to the system, or is in no cache, is so for both
        await player.ready(items)()
        few, one = await take_sample(player.ready(items))
        lot, all_of_them = await take_sample(player.ready(items, many))
        each = 1e9 * (lot.cpu - few.cpu) / len(items) / (many - 1)
        sample = TypeSample(lot.wall, lot.cpu, each, 1e9 * few.cpu / len(items))
        return sample, (one, all_of_them)
