"""Order and clocks: interleaved rounds, wall time and client CPU of each sample.

Owns: what a sample is, who plays in a workload, the check that all did equal work.
Rules:
- In every round all candidates run the same operations, in random order and taking
  turns within the round, so that a machine that gets slower or faster meanwhile does
  so for all of them.
- The clock runs around the workload only. CPU is that of this process, all threads;
  the server is another process.
- The garbage collector stays on, as users have it; it is run once before a round's
  first turn of everybody, so that nobody pays for what was left before. What is there
  before all workloads, modules most of all, is kept out of its sight: there is more of
  it here than in any service.
- A candidate that fails, or returns something else than the others, is taken out of
  that workload and the report says why.
- With `Plan.seconds` a workload takes about that long: how many operations a sample
  has is found out beforehand, and is the same for all. Candidates take turns within a
  round only as long as a turn does not become too short to be more than its beginning.
- A serial workload has one core for client and server, see ``cores``.
- Round trips are counted in a pass of their own, see ``proxy``.
"""

import asyncio
import contextlib
import dataclasses
import gc
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from bench.candidates import BASELINE, Candidate, Session
from bench.cores import placed
from bench.limit import LimitError, RawConnection
from bench.proxy import CountingProxy, Traffic, counting_proxy, through
from bench.server import (
    SHARED_SCHEMA,
    Administration,
    Target,
    schema_of,
    search_path,
)
from bench.shares import Shares
from bench.workloads import Items, Seat, Workload
from bench.yardstick import PGBENCH, Pgbench, find_pgbench

LIMIT = "limit"
SAMPLE_TIMEOUT = 300.0
CLOSE_TIMEOUT = 10.0
COUNT_TIMEOUT = 10.0
# Those that nobody competes with.
YARDSTICKS = (LIMIT, PGBENCH)
MOST_OPERATIONS = 1_000_000
# Of a candidate; switching to another one leaves the caches cold.
TURN_SECONDS = 0.004
# Of a workload's seconds, where round trips are counted as well.
COUNTING_SECONDS = 0.2


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
    """All samples of one workload, by player and in order of rounds.

    `cores` is how many client and server had together; 0 where that is not known.
    """

    workload: str
    group: str
    unit: str
    operations: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    cores: int = 0


@dataclass(frozen=True)
class Plan:
    """What is to be measured: who, what, how large, how often.

    `seconds` is what one workload shall take, and `shares` says so for the next one;
    how large its samples are follows from `scale` where it is 0. With `counts_trips`
    round trips are counted as well.
    """

    candidates: Sequence[Candidate]
    workloads: Sequence[Workload]
    scale: str
    rounds: int
    seed: int
    seconds: float = 0.0
    counts_trips: bool = False
    shares: Shares | None = None


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


class PgbenchPlayer:
    """pgbench; it runs a round's operations in one go and reads its own clock."""

    name = PGBENCH

    def __init__(self, pgbench: Pgbench) -> None:
        self._pgbench = pgbench

    def ready(self, items: Items) -> Callable[[], Awaitable[Any]]:
        """Nothing to do before."""
        return partial(self._run, len(items))

    async def _run(self, count: int) -> Sample:
        return Sample(*await self._pgbench.run(count))

    async def close(self) -> None:
        """Remove its files."""
        self._pgbench.close()


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
        self._started = time.perf_counter()
        self._size = workload.sizes.of(plan.scale)
        self._slices = workload.slices
        self._is_timed = plan.seconds > 0 and workload.is_divisible
        self._shuffle = random.Random(plan.seed).shuffle
        self.outcome = Outcome(
            workload.name, workload.group, workload.unit, self._size * workload.weight
        )

    async def play(self) -> Outcome:
        """Connect everybody, warm up, play the rounds, compare the tables."""
        workload = self._workload
        inputs = workload.inputs()
        try:
            await self._make_tables()
            await self._open()
            await self._warm_up()
            if self._is_timed:
                await self._fit(inputs)
            for _ in range(self._plan.rounds):
                items = list(itertools.islice(inputs, self._size))
                samples = await self._round(sliced(items, self._slices))
                for name, sample in samples.items():
                    self.outcome.samples.setdefault(name, []).append(sample)
            await self._compare_tables()
        finally:
            for player in self._players:
                await self._close(player)
        return self.outcome

    def _warm(self, count: int) -> Items:
        workload = self._workload
        inputs = (workload.warm_inputs or workload.inputs)()
        return list(itertools.islice(inputs, count))

    async def _warm_up(self) -> None:
        """Run all that there is, or as much as half the seconds of a round allow."""
        workload, plan = self._workload, self._plan
        if not self._is_timed:
            await self._round([self._warm(min(workload.warm, self._size))])
            return
        items = self._warm(workload.warm)
        end = time.perf_counter() + plan.seconds / plan.rounds / 2
        size = max(workload.least_of(plan.scale), workload.least_warm)
        idle = ""
        while items:
            await self._round([items[:size]], idle)
            items = items[size:]
            size *= 2
            # It knows what being started takes, and nothing of it stays warm.
            idle = PGBENCH
            if time.perf_counter() > end:
                break

    async def _make_tables(self) -> None:
        for statement in self._workload.tables:
            await self._admin.execute(SHARED_SCHEMA, statement)

    async def _fit(self, inputs: Iterator[Any]) -> None:
        """Find the operations with which all rounds take the seconds that are left."""
        plan, workload = self._plan, self._workload
        least = size = workload.least_of(plan.scale)
        spent = time.perf_counter() - self._started
        if plan.counts_trips and workload.is_countable:
            spent += COUNTING_SECONDS
        share = max(plan.seconds - spent, plan.seconds / 2) / plan.rounds
        while True:
            started = time.perf_counter()
            samples = await self._round([list(itertools.islice(inputs, size))])
            whole = time.perf_counter() - started
            working = sum(sample.wall for sample in samples.values())
            if not samples or working > share / 8 or size >= MOST_OPERATIONS:
                break
            size *= 4
        # Cleaning up before a round takes time as well, but must not take it all.
        left = max(share - max(whole - working, 0.0), share / 3)
        each = max(working, 1e-9) / size
        self._size = min(max(int(left / each), least), MOST_OPERATIONS)
        turns = int(each * self._size / max(len(samples), 1) / TURN_SECONDS)
        self._slices = max(min(workload.slices, turns), 1)
        self.outcome.operations = self._size * workload.weight

    async def traffic(self, proxy: CountingProxy) -> dict[str, Traffic]:
        """Round trips and bytes of one operation, by candidate; nothing is timed.

        The contest's target must be the proxy, which is slow only while it counts.
        """
        workload = self._workload
        inputs = workload.inputs()
        size = workload.counted if workload.is_divisible else self._size
        warm = self._warm(min(max(size, 2), workload.warm))
        items = list(itertools.islice(inputs, size))
        counted: dict[str, Traffic] = {}
        delay, proxy.delay = proxy.delay, 0.0
        try:
            await self._open_candidates()
            await self._round([warm])
            proxy.delay = delay
            for player in self._players:
                # What nobody waits for, a goodbye, is on its way yet.
                await asyncio.sleep(delay)
                proxy.traffic = Traffic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(COUNT_TIMEOUT):
                        await self._turn(player, items, is_first=True)
                        await asyncio.sleep(delay)
                    counted[player.name] = proxy.traffic.per(size * workload.weight)
        finally:
            for player in self._players:
                await self._close(player)
        return counted

    async def _open(self) -> None:
        await self._open_candidates()
        await self._open_yardsticks()

    async def _open_candidates(self) -> None:
        workload = self._workload
        for candidate in self._plan.candidates:
            if not takes_part(candidate, workload):
                continue
            try:
                seat = await open_seat(candidate, self._target)
            except Exception as error:
                self._complain(candidate.name, f"cannot connect: {error!r}")
                continue
            self._players.append(CandidatePlayer(candidate.name, workload, seat))

    async def _open_yardsticks(self, clients: int = 1) -> None:
        workload = self._workload
        if not self._target.private:
            return
        if workload.limit is not None:
            try:
                raw = self._target.open_raw(schema_of(LIMIT))
                self._players.append(LimitPlayer(workload, raw))
            except (OSError, LimitError) as error:
                self._complain(LIMIT, f"cannot connect: {error!r}")
        program = find_pgbench() if workload.pgbench else None
        if program is not None:
            path = search_path(schema_of(PGBENCH))
            script = workload.pgbench
            pgbench = Pgbench(program, self._target.dsn, path, script, clients)
            self._players.append(PgbenchPlayer(pgbench))

    async def _round(self, turns: Sequence[Items], idle: str = "") -> dict[str, Sample]:
        """One sample of every player but the idle one: the sum of its turns."""
        samples: dict[str, Sample] = {}
        for number, items in enumerate(turns):
            self._shuffle(self._players)
            results: dict[str, Any] = {}
            for player in list(self._players):
                if player.name == idle or (player.name == PGBENCH and number):
                    continue
                try:
                    sample, results[player.name] = await self._turn(
                        player,
                        joined(turns) if player.name == PGBENCH else items,
                        is_first=number == 0,
                    )
                except Exception as error:
                    await self._drop(player, f"failed: {error!r}")
                    continue
                samples[player.name] = samples.get(player.name, NOTHING) + sample
            for name in YARDSTICKS:
                results.pop(name, None)
            await self._compare("returned", results)
        remaining = {player.name for player in self._players} - {idle}
        return {name: samples[name] for name in remaining}

    async def _turn(
        self, player: Player, items: Items, *, is_first: bool
    ) -> tuple[Sample, Any]:
        if is_first:
            gc.collect()
            if self._workload.before:
                schema = schema_of(player.name)
                await self._admin.execute(schema, self._workload.before)
        sample, result = await take_sample(player.ready(items))
        # pgbench reads its own clock.
        return (result, None) if isinstance(result, Sample) else (sample, result)

    async def _compare_tables(self) -> None:
        if not self._workload.state:
            return
        states = {
            player.name: await self._admin.state(
                schema_of(player.name), self._workload.state
            )
            for player in self._players
            if player.name != PGBENCH
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


def takes_part(candidate: Candidate, workload: Workload) -> bool:
    """Whether a candidate is meant for a workload, and has a way to do it."""
    is_meant = not candidate.groups or workload.group in candidate.groups
    return is_meant and candidate.name not in workload.lacking


def joined(turns: Sequence[Items]) -> Items:
    """All items of all turns."""
    return [item for items in turns for item in items]


def sliced(items: Items, count: int) -> list[Items]:
    """The items in so many parts of nearly equal length, fewer if there are few."""
    size = -(-len(items) // count)
    return [items[start : start + size] for start in range(0, len(items), size)]


def shorten(value: object) -> str:
    """The representation, cut at 120 characters."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


async def meet(candidates: Sequence[Any], target: Target) -> None:
    """Connect once with every driver, while this process has all its cores.

    psqlpy counts them then, and has as many threads ever after. Pools come without.
    """
    for candidate in candidates:
        if isinstance(candidate, Candidate):
            # Whoever cannot connect is told of in each row.
            with contextlib.suppress(Exception):
                session = await candidate.connect(target.dsn)
                await session.close()


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
        await admin.make_schemas([*names, *YARDSTICKS], plan.scale)
        await meet(plan.candidates, target)
        gc.collect()
        gc.freeze()
        for workload in plan.workloads:
            if plan.shares is not None:
                plan = dataclasses.replace(plan, seconds=plan.shares.take())
            with placed(target.postmaster, workload.is_serial) as cores:
                outcome = await contest(workload, plan, target, admin).play()
            outcome.cores = cores
            if plan.counts_trips and workload.is_countable:
                with counting_proxy(target.address) as proxy:
                    near = Target(through(target.dsn, proxy.port), target.private)
                    counting = contest(workload, plan, near, admin)
                    outcome.traffic = await counting.traffic(proxy)
                    outcome.problems += [
                        problem
                        for problem in counting.outcome.problems
                        if problem not in outcome.problems
                    ]
            outcomes.append(outcome)
            tell(outcome)
    finally:
        gc.unfreeze()
        await admin.close()
    return outcomes, settings
