"""Order and clocks: interleaved rounds, wall time and client CPU of each sample.

Owns: what a sample is, who plays in a workload, the check that all did equal work.
Rules:
- In every round all candidates run the same operations, in random order and taking
  turns within the round, so that a machine that gets slower or faster meanwhile does
  so for all of them.
- The clock runs around the workload only. CPU is that of this process, all threads;
  the server is another process.
- The garbage collector stays on, as users have it; it is run once before a round's
  first turn of everybody, so that nobody pays for what was left before.
- A candidate that fails, or returns something else than the others, is taken out of
  that workload and the report says why.
"""

import asyncio
import gc
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from bench.candidates import BASELINE, Candidate, Session
from bench.limit import LimitError, RawConnection
from bench.server import Administration, Target, schema_of, search_path
from bench.workloads import Items, Seat, Workload

LIMIT = "limit"
SAMPLE_TIMEOUT = 300.0
CLOSE_TIMEOUT = 10.0


@dataclass(frozen=True)
class Sample:
    """Seconds that passed, and seconds of CPU that this process used."""

    wall: float
    cpu: float

    def __add__(self, other: "Sample") -> "Sample":
        return Sample(self.wall + other.wall, self.cpu + other.cpu)


NOTHING = Sample(0.0, 0.0)


@dataclass(frozen=True)
class WholeSample(Sample):
    """A sample of one turn: what it has besides cannot be added up.

    A contest adds every turn to `NOTHING`; the sum is the turn as it is.
    """

    def __radd__(self, other: Sample) -> Sample:
        return self if other == NOTHING else self + other

    def __add__(self, other: Sample) -> Sample:
        raise ValueError("such a workload has one slice")


@dataclass
class Outcome:
    """All samples of one workload, by player and in order of rounds."""

    workload: str
    group: str
    unit: str
    operations: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What is to be measured: who, what, how large, how often."""

    candidates: Sequence[Candidate]
    workloads: Sequence[Workload]
    scale: str
    rounds: int
    seed: int


class Player(Protocol):
    """A candidate, or the server's limit, in one workload."""

    name: str

    def ready(self, items: Items) -> Callable[[], Awaitable[Any]]:
        """Do what comes before the clock; the result is what is measured."""
        ...

    async def close(self) -> None:
        """Give up the connection."""
        ...


class CandidatePlayer:
    """A driver with its own connection."""

    def __init__(self, name: str, workload: Workload, seat: Seat) -> None:
        self.name = name
        self._workload = workload
        self._seat = seat

    def ready(self, items: Items) -> Callable[[], Awaitable[Any]]:
        """Nothing to do before."""
        return partial(self._workload.run, self._seat, items)

    async def close(self) -> None:
        """Close the connection."""
        await self._seat.session.close()


class LimitPlayer:
    """The same messages sent raw; they are encoded before the clock starts."""

    name = LIMIT

    def __init__(self, workload: Workload, raw: RawConnection) -> None:
        self._workload = workload
        self._raw = raw

    def ready(self, items: Items) -> Callable[[], Awaitable[Any]]:
        """Encode all messages."""
        assert self._workload.limit is not None
        exchange = self._workload.limit(self._raw, items)

        async def run() -> None:
            exchange()

        return run

    async def close(self) -> None:
        """Close the connection."""
        self._raw.close()


async def open_session(candidate: Candidate, target: Target) -> Session:
    """A connection of this candidate that works in its own schema."""
    session = await candidate.connect(target.dsn)
    path = search_path(schema_of(candidate.name))
    await session.script(f"SET search_path TO {path}")
    return session


async def open_seat(candidate: Candidate, target: Target) -> Seat:
    """Everything that a workload may need of this candidate."""
    session = await open_session(candidate, target)
    if not target.private:
        return Seat(session)
    return Seat(
        session,
        connect_trust=partial(candidate.connect, target.dsn),
        connect_scram=partial(candidate.connect, target.scram_dsn()),
    )


async def take_sample(action: Callable[[], Awaitable[Any]]) -> tuple[Sample, Any]:
    """Run the action once under the clock; the sample, and what the action returned.

    Raises TimeoutError after SAMPLE_TIMEOUT seconds.
    """
    async with asyncio.timeout(SAMPLE_TIMEOUT):
        cpu = time.process_time()
        wall = time.perf_counter()
        result = await action()
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
    return Sample(wall, cpu), result


class Contest:
    """One workload, played by all candidates in interleaved rounds."""

    def __init__(
        self, workload: Workload, plan: Plan, target: Target, admin: Administration
    ) -> None:
        self._workload = workload
        self._plan = plan
        self._target = target
        self._admin = admin
        self._players: list[Player] = []
        self._size = workload.sizes.of(plan.scale)
        self._shuffle = random.Random(plan.seed).shuffle
        self.outcome = Outcome(workload.name, workload.group, workload.unit, self._size)

    async def play(self) -> Outcome:
        """Connect everybody, warm up, play the rounds, compare the tables."""
        workload = self._workload
        inputs = workload.inputs()
        warm_inputs = (workload.warm_inputs or workload.inputs)()
        warm = list(itertools.islice(warm_inputs, min(workload.warm, self._size)))
        try:
            await self._open()
            await self._round([warm])
            for _ in range(self._plan.rounds):
                items = list(itertools.islice(inputs, self._size))
                samples = await self._round(sliced(items, workload.slices))
                for name, sample in samples.items():
                    self.outcome.samples.setdefault(name, []).append(sample)
            await self._compare_tables()
        finally:
            for player in self._players:
                await self._close(player)
        return self.outcome

    async def _open(self) -> None:
        workload = self._workload
        for candidate in self._plan.candidates:
            try:
                seat = await open_seat(candidate, self._target)
            except Exception as error:
                self._complain(candidate.name, f"cannot connect: {error!r}")
                continue
            self._players.append(CandidatePlayer(candidate.name, workload, seat))
        if workload.limit is not None and self._target.private:
            try:
                raw = self._target.open_raw(schema_of(LIMIT))
            except (OSError, LimitError) as error:
                self._complain(LIMIT, f"cannot connect: {error!r}")
                return
            self._players.append(LimitPlayer(workload, raw))

    async def _round(self, turns: Sequence[Items]) -> dict[str, Sample]:
        """One sample of every player: the sum of its turns."""
        samples: dict[str, Sample] = {}
        for number, items in enumerate(turns):
            self._shuffle(self._players)
            results: dict[str, Any] = {}
            for player in list(self._players):
                try:
                    sample, results[player.name] = await self._turn(
                        player, items, is_first=number == 0
                    )
                except Exception as error:
                    await self._drop(player, f"failed: {error!r}")
                    continue
                samples[player.name] = samples.get(player.name, NOTHING) + sample
            results.pop(LIMIT, None)
            await self._compare("returned", results)
        remaining = {player.name for player in self._players}
        return {name: samples[name] for name in remaining}

    async def _turn(
        self, player: Player, items: Items, *, is_first: bool
    ) -> tuple[Sample, Any]:
        if is_first:
            gc.collect()
            if self._workload.before:
                schema = schema_of(player.name)
                await self._admin.execute(schema, self._workload.before)
        return await take_sample(player.ready(items))

    async def _compare_tables(self) -> None:
        if not self._workload.state:
            return
        states = {
            player.name: await self._admin.state(
                schema_of(player.name), self._workload.state
            )
            for player in self._players
        }
        await self._compare("left", states)

    async def _compare(self, what: str, results: dict[str, Any]) -> None:
        """Take out whoever differs from what most have, or else the baseline."""
        if not results:
            return
        names = sorted(results, key=lambda name: name != BASELINE)
        values = [results[name] for name in names]
        expected = max(values, key=values.count)
        for player in list(self._players):
            got = results.get(player.name, expected)
            if got != expected:
                message = f"{what} {shorten(got)}, the others {shorten(expected)}"
                await self._drop(player, message)

    async def _drop(self, player: Player, problem: str) -> None:
        self._complain(player.name, problem)
        self._players.remove(player)
        self.outcome.samples.pop(player.name, None)
        await self._close(player)

    async def _close(self, player: Player) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await player.close()
        except Exception as error:
            self._complain(player.name, f"cannot close: {error!r}")

    def _complain(self, name: str, problem: str) -> None:
        self.outcome.problems.append(f"{self._workload.name}: {name} {problem}")


def sliced(items: Items, count: int) -> list[Items]:
    """The items in so many parts of nearly equal length, fewer if there are few."""
    size = -(-len(items) // count)
    return [items[start : start + size] for start in range(0, len(items), size)]


def shorten(value: object) -> str:
    """The representation, cut at 120 characters."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


async def measure(
    plan: Plan,
    contest: Callable[..., Contest],
    target: Target,
    tell: Callable[[Outcome], None],
) -> tuple[list[Outcome], dict[str, str]]:
    """Play all workloads on the running loop; the outcomes and the server's settings.

    `contest` is `Contest` or made of it. `tell` is called with each outcome as soon as
    it is there.
    """
    admin = await Administration.open(target)
    outcomes: list[Outcome] = []
    try:
        settings = await admin.settings()
        names = [candidate.name for candidate in plan.candidates]
        await admin.make_schemas([*names, LIMIT], plan.scale)
        for workload in plan.workloads:
            outcome = await contest(workload, plan, target, admin).play()
            outcomes.append(outcome)
            tell(outcome)
    finally:
        await admin.close()
    return outcomes, settings
