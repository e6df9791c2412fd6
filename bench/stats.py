"""The few numbers that are made of samples: medians, spread, ratios.

Rules:
- A ratio is the median of the ratios of single rounds, not the ratio of two medians:
  what slows the machine down for a round slows both sides of that round.
- The spread is the distance between the quartiles, in parts of the median.
"""

import statistics
from collections.abc import Sequence

from bench.measure import Outcome

THROUGHPUT = "throughput"
# The others are named as the field of a sample, and less of them is better.
CPU = "cpu"
P50 = "p50"
P99 = "p99"
P999 = "p999"
MEMORY = "memory"
EACH = "each"
ROW = "row"


def rates(outcome: Outcome, name: str) -> list[float]:
    """Operations per second in every round."""
    return [outcome.operations / sample.wall for sample in outcome.samples[name]]


def cpu_per_operation(outcome: Outcome, name: str) -> float:
    """Median seconds of client CPU for one operation."""
    samples = outcome.samples[name]
    return statistics.median(sample.cpu for sample in samples) / outcome.operations


def figure(outcome: Outcome, measure: str, name: str) -> float | None:
    """Median of a field of the samples; None where they do not have it."""
    values = [
        getattr(sample, measure, None) for sample in outcome.samples.get(name, ())
    ]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def spread(values: Sequence[float]) -> float:
    """Distance between the quartiles as a part of the median; 0 for one value."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def ratio(outcome: Outcome, measure: str, name: str, other: str) -> float | None:
    """How `name` compares with `other`: above 1 is more throughput, CPU, latency.

    None where one of the two has no samples, or none with that figure.
    """
    ours, theirs = outcome.samples.get(name), outcome.samples.get(other)
    if not ours or not theirs:
        return None
    pairs = list(zip(ours, theirs, strict=True))
    if measure == THROUGHPUT:
        return statistics.median(their.wall / our.wall for our, their in pairs)
    if not all(hasattr(sample, measure) for pair in pairs for sample in pair):
        return None
    return statistics.median(
        _less_ratio(getattr(our, measure), getattr(their, measure))
        for our, their in pairs
    )


def _less_ratio(our: float, their: float) -> float:
    # A clock that has not advanced means less than its resolution.
    return our / max(their, 1e-6)
