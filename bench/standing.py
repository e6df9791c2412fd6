"""Who is ahead, row by row: Chopin against each rival, and against the best of them.

Owns: who is a rival, what "level" means.
Rules:
- Rivals are all other drivers as they come, and asyncpg's pool without its resets.
  The limit and pgbench are yardsticks, a variation of Chopin is Chopin.
- The best rival of a row is the one whose median ratio is the worst for Chopin.
- A row is level from LEVEL on: two runs of the same driver differ by as much.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.candidates import SUBJECT
from bench.measure import YARDSTICKS, Outcome
from bench.stats import CPU, ratio

LEVEL = 0.97
OURS = (SUBJECT, "chopin_depth_1")


@dataclass(frozen=True)
class Standing:
    """Chopin against its best rival in one row: how many times its rate."""

    outcome: Outcome
    rival: str
    ratio: float
    low: float
    high: float
    cpu: float

    @property
    def is_level(self) -> bool:
        """Whether Chopin is ahead, or as fast as can be told."""
        return self.ratio >= LEVEL


def rivals_in(outcome: Outcome) -> list[str]:
    """Those that Chopin competes with, and that have samples."""
    left_out = (*YARDSTICKS, *OURS)
    return [
        name for name, one in outcome.samples.items() if one and name not in left_out
    ]


def ratios_against(outcome: Outcome, rival: str) -> list[float]:
    """How many times the rival's rate ours was, round by round."""
    pairs = zip(outcome.samples[SUBJECT], outcome.samples[rival], strict=True)
    return [their.wall / our.wall for our, their in pairs]


def standing(outcome: Outcome) -> Standing | None:
    """How Chopin stands in a row; None where it or all others are missing."""
    rivals = rivals_in(outcome)
    if not outcome.samples.get(SUBJECT) or not rivals:
        return None

    def median(rival: str) -> float:
        return statistics.median(ratios_against(outcome, rival))

    best = min(rivals, key=median)
    ratios = ratios_against(outcome, best)
    low, _, high = (
        statistics.quantiles(ratios, n=4, method="inclusive")
        if len(ratios) > 1
        else ratios * 3
    )
    cpu = ratio(outcome, CPU, SUBJECT, best)
    return Standing(outcome, best, median(best), low, high, cpu or 0.0)


def standings(outcomes: Iterable[Outcome]) -> list[Standing]:
    """Of all rows in which there is somebody to compare with."""
    return [one for one in map(standing, outcomes) if one is not None]


def mean_ratio(outcomes: Sequence[Outcome], measure: str, rival: str) -> float | None:
    """The geometric mean of ratios against one rival; None where there is none."""
    ratios = [ratio(outcome, measure, SUBJECT, rival) for outcome in outcomes]
    known = [one for one in ratios if one]
    return statistics.geometric_mean(known) if known else None


def mean_against_best(outcomes: Sequence[Outcome]) -> float | None:
    """The geometric mean of the ratios against each row's best rival."""
    ratios = [one.ratio for one in standings(outcomes)]
    return statistics.geometric_mean(ratios) if ratios else None
