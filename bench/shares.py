"""The seconds that a run is given, shared out among its workloads.

Owns: how long the next workload may take.
Rules:
- Every workload gets an equal part of what is left when it begins: time that one did
  not need goes to those that come later, and who takes longer than his part, because
  his smallest sample does, takes it from them.
- Nobody gets less than `FLOOR` of the part that all would have if they kept to it. A
  run in which many cannot keep to theirs takes longer than it was given, rather than
  ending in samples of nothing.
"""

import time
from collections.abc import Callable

FLOOR = 0.8


class Shares:
    """So many seconds for so many workloads, from now on."""

    def __init__(
        self, seconds: float, count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._least = FLOOR * seconds / max(count, 1)
        self._left = count

    def take(self) -> float:
        """The seconds of the next workload, which begins now."""
        left = self._end - self._clock()
        share = max(left / max(self._left, 1), self._least)
        self._left -= 1
        return share
